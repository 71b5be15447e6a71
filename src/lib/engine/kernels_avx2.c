/*
 * The kernels for AVX2 with FMA and BMI2 (Haswell and later, Zen and later). This file is compiled for such machines alone and
 * reached through the table, after kernels.c has asked.
 *
 * 32 lanes are four vectors of 8. Bits become factors by vpermilps: its control looks at the lowest two bits of each element, so
 * a table (miss, hit, miss, hit) and a word shifted by 0, 1, 2 .. choose between the two, in two instructions for 8 states.
 */
#include "lib/engine/kernels_internal.h"
#include "lib/engine/kernels_pairs.h"

#include <immintrin.h>
#include <stdbool.h>

#define V 8U /* floats of a vector */
#define INLINE static inline __attribute__((always_inline))

/* Row m: the numbers of the bits that are set in m, a byte each: how vpermd packs the elements of a mask. */
#define N_BELOW(m, k) (((m) & 1 & -(0 < (k))) + ((m) >> 1 & 1 & -(1 < (k))) + ((m) >> 2 & 1 & -(2 < (k))) + ((m) >> 3 & 1 & -(3 < (k))) + \
                       ((m) >> 4 & 1 & -(4 < (k))) + ((m) >> 5 & 1 & -(5 < (k))) + ((m) >> 6 & 1 & -(6 < (k))))
#define PLACE(m, k) ((uint64_t)((m) >> (k) & 1) * (k) << (8 * N_BELOW(m, k)))
#define ROW(m) (PLACE(m, 1) | PLACE(m, 2) | PLACE(m, 3) | PLACE(m, 4) | PLACE(m, 5) | PLACE(m, 6) | PLACE(m, 7))
#define ROWS_4(m) ROW(m), ROW((m) + 1), ROW((m) + 2), ROW((m) + 3)
#define ROWS_16(m) ROWS_4(m), ROWS_4((m) + 4), ROWS_4((m) + 8), ROWS_4((m) + 12)
#define ROWS_64(m) ROWS_16(m), ROWS_16((m) + 16), ROWS_16((m) + 32), ROWS_16((m) + 48)
static const uint64_t packing[256] = {ROWS_64(0), ROWS_64(64), ROWS_64(128), ROWS_64(192)};

INLINE __m256i load(const void *p)
{
    return _mm256_loadu_si256(p);
}

/* Bits 8 q .. 8 q + 7 of a word of 32, each at the bottom of an element. */
INLINE __m256i bits_at_bottom(__m256i word, unsigned q)
{
    return _mm256_srlv_epi32(word, _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32((int)(q * V))));
}

INLINE __m256 choose(__m256 table, __m256i word, unsigned q)
{
    return _mm256_permutevar_ps(table, bits_at_bottom(word, q));
}

INLINE __m256 table_of(float if_0, float if_1)
{
    return _mm256_setr_ps(if_0, if_1, if_0, if_1, if_0, if_1, if_0, if_1);
}

INLINE __m256 table_of_masks(void)
{
    return _mm256_castsi256_ps(_mm256_setr_epi32(0, -1, 0, -1, 0, -1, 0, -1));
}

/* Lanes 0..7, 8..15, 16..23, 24..31, by the tree of kernels.h. */
INLINE float lane_sum(const __m256 lane[4])
{
    __m256 eight = _mm256_add_ps(_mm256_add_ps(lane[0], lane[2]), _mm256_add_ps(lane[1], lane[3]));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

struct step {
    __m256 stay, jump, e;
};

INLINE __m256i bf16_pair(__m256 low, __m256 high)
{
    const __m256i half = _mm256_set1_epi32(0x8000);
    __m256i l = _mm256_srli_epi32(_mm256_add_epi32(_mm256_castps_si256(low), half), 16);
    return _mm256_blend_epi16(l, _mm256_add_epi32(_mm256_castps_si256(high), half), 0xaa);
}

/* 32 states; @match and @valid hold their bits. */
INLINE void forward_32(float *x, uint32_t match, uint32_t valid, bool is_whole, const struct step *s, __m256 sum[4], uint16_t *save)
{
    const __m256i m = _mm256_set1_epi32((int)match), is_valid = _mm256_set1_epi32((int)valid);
    __m256 v[4];
    for (unsigned q = 0; q < 4; q++) {
        v[q] = _mm256_mul_ps(_mm256_fmadd_ps(_mm256_loadu_ps(x + q * V), s->stay, s->jump), choose(s->e, m, q));
        if (!is_whole)
            v[q] = _mm256_and_ps(v[q], choose(table_of_masks(), is_valid, q));
        _mm256_storeu_ps(x + q * V, v[q]);
        sum[q] = _mm256_add_ps(sum[q], v[q]);
    }
    if (save) {
        _mm256_storeu_si256((void *)save, bf16_pair(v[0], v[2]));
        _mm256_storeu_si256((void *)(save + 2 * V), bf16_pair(v[1], v[3]));
    }
}

INLINE float forward_all(float *x, uint32_t n, const uint64_t *match, const struct step *s, uint16_t *save)
{
    __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
    size_t base = 0;
    for (; base + 64 <= n; base += 64) {
        forward_32(x + base, (uint32_t)match[base / 64], 0, true, s, sum, save ? save + base : NULL);
        forward_32(x + base + 32, (uint32_t)(match[base / 64] >> 32), 0, true, s, sum, save ? save + base + 32 : NULL);
    }
    if (base < n) {
        uint64_t valid = kernel_valid(n, base);
        forward_32(x + base, (uint32_t)match[base / 64], (uint32_t)valid, false, s, sum, save ? save + base : NULL);
        forward_32(x + base + 32, (uint32_t)(match[base / 64] >> 32), (uint32_t)(valid >> 32), false, s, sum, save ? save + base + 32 : NULL);
    }
    return lane_sum(sum);
}

static float forward(float *x, uint32_t n, const uint64_t *match, float stay, float jump, float hit, float miss, uint16_t *save)
{
    const struct step s = {_mm256_set1_ps(stay), _mm256_set1_ps(jump), table_of(miss, hit)};
    return save ? forward_all(x, n, match, &s, save) : forward_all(x, n, match, &s, NULL);
}

struct sums {
    __m256 post[4], b[4], alt[4];
};

INLINE void backward_32(float *b, const uint16_t *saved, uint32_t match, uint32_t alt, uint32_t valid, bool is_whole, const struct step *s, float *post,
                        struct sums *sum)
{
    const __m256i m = _mm256_set1_epi32((int)match), a = _mm256_set1_epi32((int)alt), is_valid = _mm256_set1_epi32((int)valid);
    const __m256i upper = _mm256_set1_epi32((int)0xffff0000U);
    for (unsigned q = 0; q < 4; q++) {
        __m256i pair = load(saved + (q & 1) * 2 * V);
        __m256 f = _mm256_castsi256_ps(q < 2 ? _mm256_slli_epi32(pair, 16) : _mm256_and_si256(pair, upper));
        __m256 v = _mm256_fmadd_ps(_mm256_loadu_ps(b + q * V), s->stay, s->jump);
        if (!is_whole)
            v = _mm256_and_ps(v, choose(table_of_masks(), is_valid, q));
        __m256 p = _mm256_mul_ps(v, f);
        _mm256_storeu_ps(post + q * V, p);
        sum->post[q] = _mm256_add_ps(sum->post[q], p);
        sum->alt[q] = _mm256_add_ps(sum->alt[q], _mm256_and_ps(p, choose(table_of_masks(), a, q)));
        v = _mm256_mul_ps(v, choose(s->e, m, q));
        _mm256_storeu_ps(b + q * V, v);
        sum->b[q] = _mm256_add_ps(sum->b[q], v);
    }
}

static void backward(float *b, uint32_t n, const uint16_t *saved, const uint64_t *match, const uint64_t *alt, float stay, float jump,
                     float hit, float miss, float *post, float out[3])
{
    const struct step s = {_mm256_set1_ps(stay), _mm256_set1_ps(jump), table_of(miss, hit)};
    const __m256 zero = _mm256_setzero_ps();
    struct sums sum = {{zero, zero, zero, zero}, {zero, zero, zero, zero}, {zero, zero, zero, zero}};
    size_t base = 0;
    for (; base + 64 <= n; base += 64)
        for (unsigned half = 0; half < 64; half += 32)
            backward_32(b + base + half, saved + base + half, (uint32_t)(match[base / 64] >> half), (uint32_t)(alt[base / 64] >> half), 0, true, &s,
                        post + base + half, &sum);
    if (base < n)
        for (unsigned half = 0; half < 64; half += 32)
            backward_32(b + base + half, saved + base + half, (uint32_t)(match[base / 64] >> half), (uint32_t)(alt[base / 64] >> half),
                        (uint32_t)(kernel_valid(n, base) >> half), false, &s, post + base + half, &sum);
    out[0] = lane_sum(sum.post);
    out[1] = lane_sum(sum.b);
    out[2] = lane_sum(sum.alt);
}

INLINE __m256i packing_of(unsigned mask)
{
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const void *)&packing[mask]));
}

/* Most are below: 64 are looked at together. */
static uint32_t above(const float *post, uint32_t n, float cut, uint32_t *out_index, float *out_value)
{
    const __m256 limit = _mm256_set1_ps(cut);
    uint32_t count = 0;
    size_t base = 0;
    for (; base + 64 <= n; base += 64) {
        uint64_t is_above = 0;
        for (unsigned q = 0; q < 8; q++) {
            __m256 v = _mm256_loadu_ps(post + base + q * V);
            is_above |= (uint64_t)(unsigned)_mm256_movemask_ps(_mm256_cmp_ps(v, limit, _CMP_GT_OQ)) << (q * V);
        }
        uint32_t n_here = (uint32_t)_mm_popcnt_u64(is_above);
        if (n_here && n_here <= 8) {
            kernel_take_few(post, is_above, (uint32_t)base, n_here, out_index + count, out_value + count);
            count += n_here;
            continue;
        }
        for (size_t at = base; is_above; is_above >>= 8, at += V) {
            unsigned m = (unsigned)is_above & 0xff;
            __m256i how = packing_of(m);
            _mm256_storeu_ps(out_value + count, _mm256_permutevar8x32_ps(_mm256_loadu_ps(post + at), how));
            _mm256_storeu_si256((void *)(out_index + count), _mm256_add_epi32(how, _mm256_set1_epi32((int)at)));
            count += (uint32_t)_mm_popcnt_u32(m);
        }
    }
    for (; base < n; base++) {
        out_index[count] = (uint32_t)base;
        out_value[count] = post[base];
        count += post[base] > cut;
    }
    return count;
}

/* Rows of a vector are 4 words. Squares of 4 bits and more change places between vectors, smaller ones within. */
INLINE void swap_between(uint64_t *a, uint64_t *b, int side, uint64_t mask)
{
    __m256i x = load(a), y = load(b);
    __m256i t = _mm256_and_si256(_mm256_xor_si256(_mm256_srli_epi64(x, side), y), _mm256_set1_epi64x((long long)mask));
    _mm256_storeu_si256((void *)a, _mm256_xor_si256(x, _mm256_slli_epi64(t, side)));
    _mm256_storeu_si256((void *)b, _mm256_xor_si256(y, t));
}

/* Rows without bit @side of their number take the partner's lower bits upwards, those with it the upper ones downwards. */
INLINE __m256i swap_within(__m256i a, __m256i other, int side, uint64_t mask)
{
    const __m256i is_upper = side == 2 ? _mm256_setr_epi64x(0, 0, -1, -1) : _mm256_setr_epi64x(0, -1, 0, -1);
    __m256i low = _mm256_set1_epi64x((long long)mask);
    __m256i keep = _mm256_xor_si256(low, is_upper);
    __m256i moved = _mm256_blendv_epi8(_mm256_slli_epi64(other, side), _mm256_srli_epi64(other, side), is_upper);
    return _mm256_or_si256(_mm256_and_si256(keep, a), _mm256_andnot_si256(keep, moved));
}

static void transpose(uint64_t a[64])
{
    for (unsigned i = 0; i < 32; i += 4)
        swap_between(a + i, a + i + 32, 32, 0x00000000ffffffff);
    for (unsigned i = 0; i < 64; i += 4)
        if (!(i & 16))
            swap_between(a + i, a + i + 16, 16, 0x0000ffff0000ffff);
    for (unsigned i = 0; i < 64; i += 4)
        if (!(i & 8))
            swap_between(a + i, a + i + 8, 8, 0x00ff00ff00ff00ff);
    for (unsigned i = 0; i < 64; i += 8)
        swap_between(a + i, a + i + 4, 4, 0x0f0f0f0f0f0f0f0f);
    for (unsigned i = 0; i < 64; i += 4) {
        __m256i v = load(a + i);
        v = swap_within(v, _mm256_permute4x64_epi64(v, 0x4e), 2, 0x3333333333333333);
        v = swap_within(v, _mm256_permute4x64_epi64(v, 0xb1), 1, 0x5555555555555555);
        _mm256_storeu_si256((void *)(a + i), v);
    }
}

/* All ones where bit at % 32 of the half word is set: it goes to the top. */
INLINE unsigned bits_at(__m256i words, __m256i at)
{
    return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_sllv_epi32(words, _mm256_andnot_si256(at, _mm256_set1_epi32(31)))));
}

/* The bit of each number, in the order of the list. Returns how many are set. @load_8 gives 8 numbers from @from. */
#define BITS_IN_ORDER(name, number, load_8) \
    static uint32_t name(const number *order, uint32_t n, const uint64_t *bits, uint64_t *out) \
    { \
        uint32_t n_one = 0; \
        for (size_t base = 0; base < n; base += 64) { \
            uint64_t word = 0; \
            number last[64] = {0}; \
            const number *from = order + base; \
            if (n - base < 64) \
                from = memcpy(last, from, (n - base) * sizeof *last); \
            for (unsigned q = 0; q < 8; q++, from += V) { \
                uint32_t halves[V]; \
                for (unsigned j = 0; j < V; j++) \
                    halves[j] = kernel_half_word(bits, from[j]); \
                word |= (uint64_t)bits_at(load(halves), load_8) << (q * V); \
            } \
            out[base / 64] = word &= kernel_valid(n, base); \
            n_one += (uint32_t)_mm_popcnt_u64(word); \
        } \
        return n_one; \
    }

BITS_IN_ORDER(bits_in_order, uint32_t, load(from))
BITS_IN_ORDER(bits_in_order16, uint16_t, _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)from)))

/* 8 numbers at once are packed to either side; a vector that would end beyond its part of the list is left to the loop of
 * single numbers. */
static uint32_t partition(const uint32_t *order, uint32_t n, const uint64_t *bits, uint32_t *out, uint64_t *out_in_order)
{
    uint32_t n_zero = n - bits_in_order(order, n, bits, out_in_order), at[2] = {0, n_zero};
    for (size_t base = 0; base < n; base += V) {
        unsigned m = (unsigned)(out_in_order[base / 64] >> (base % 64)) & 0xff, n_m = (unsigned)_mm_popcnt_u32(m);
        if (base + V <= n && at[0] + V <= n_zero && at[1] + V <= n) {
            __m256i v = load(order + base);
            _mm256_storeu_si256((void *)(out + at[0]), _mm256_permutevar8x32_epi32(v, packing_of(m ^ 0xff)));
            _mm256_storeu_si256((void *)(out + at[1]), _mm256_permutevar8x32_epi32(v, packing_of(m)));
            at[0] += V - n_m;
            at[1] += n_m;
        } else {
            for (unsigned j = 0; j < V && base + j < n; j++)
                out[at[m >> j & 1]++] = order[base + j];
        }
    }
    return n_zero;
}

INLINE __m128i pack16(__m128i v, unsigned mask)
{
    __m128i at = _mm_cvtepu8_epi16(_mm_loadl_epi64((const void *)&packing[mask])); /* number j is bytes 2 j and 2 j + 1 */
    return _mm_shuffle_epi8(v, _mm_add_epi16(_mm_mullo_epi16(at, _mm_set1_epi16(0x0202)), _mm_set1_epi16(0x0100)));
}

static uint32_t partition16(const uint16_t *order, uint32_t n, const uint64_t *bits, uint16_t *out, uint64_t *out_in_order)
{
    uint32_t n_zero = n - bits_in_order16(order, n, bits, out_in_order), at[2] = {0, n_zero};
    for (size_t base = 0; base < n; base += V) {
        unsigned m = (unsigned)(out_in_order[base / 64] >> (base % 64)) & 0xff, n_m = (unsigned)_mm_popcnt_u32(m);
        if (base + V <= n && at[0] + V <= n_zero && at[1] + V <= n) {
            __m128i v = _mm_loadu_si128((const void *)(order + base));
            _mm_storeu_si128((void *)(out + at[0]), pack16(v, m ^ 0xff));
            _mm_storeu_si128((void *)(out + at[1]), pack16(v, m));
            at[0] += V - n_m;
            at[1] += n_m;
        } else {
            for (unsigned j = 0; j < V && base + j < n; j++)
                out[at[m >> j & 1]++] = order[base + j];
        }
    }
    return n_zero;
}

INLINE __m128i milli_8(__m256 x)
{
    __m256 v = _mm256_fmadd_ps(x, _mm256_set1_ps(1000.0F), _mm256_set1_ps(0.5F));
    v = _mm256_min_ps(_mm256_max_ps(v, _mm256_setzero_ps()), _mm256_set1_ps(1000.0F)); /* max gives its second for a NaN */
    __m256i whole = _mm256_cvttps_epi32(v);
    return _mm_packus_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
}

static void milli(const float *x, size_t n, uint16_t *out)
{
    size_t base = 0;
    for (; base + V <= n; base += V)
        _mm_storeu_si128((void *)(out + base), milli_8(_mm256_loadu_ps(x + base)));
    if (base < n) {
        float last[V] = {0};
        uint16_t got[V];
        for (size_t i = base; i < n; i++)
            last[i - base] = x[i];
        _mm_storeu_si128((void *)got, milli_8(_mm256_loadu_ps(last)));
        for (size_t i = base; i < n; i++)
            out[i] = got[i - base];
    }
}

INLINE uint64_t sum_of(__m256i four)
{
    uint64_t of[4];
    _mm256_storeu_si256((void *)of, four);
    return of[0] + of[1] + of[2] + of[3];
}

/* Squares of two numbers are at most 2,000,000: 1,000 of them fit 32 bits. */
static void masked_sums(const float *x, uint32_t n, const uint64_t *bits, size_t stride, uint32_t count, float *out)
{
    for (uint32_t k = 0; k < count; k++, bits += stride) {
        __m256 sum[4] = {_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps()};
        for (size_t base = 0; base < n; base += 32) {
            const __m256i word = _mm256_set1_epi32((int)(uint32_t)(bits[base / 64] >> (base % 64)));
            for (unsigned q = 0; q < 4; q++)
                sum[q] = _mm256_add_ps(sum[q], _mm256_and_ps(choose(table_of_masks(), word, q), _mm256_loadu_ps(x + base + q * V)));
        }
        out[k] = lane_sum(sum);
    }
}

/* 32 of the 64 rows. */
INLINE void spread_32(const uint64_t *pattern, unsigned shift, const uint32_t *left, const uint32_t *right, uint32_t n, const uint32_t *of_left,
                      const uint32_t *of_right, uint32_t *sum)
{
    __m256i l[4], r[4];
    for (unsigned q = 0; q < 4; q++)
        l[q] = r[q] = _mm256_setzero_si256();
    for (uint32_t i = 0; i < n; i++) {
        const __m256i word = _mm256_set1_epi32((int)(uint32_t)(pattern[i] >> shift));
        const __m256i a = _mm256_set1_epi32((int)left[i]), b = _mm256_set1_epi32((int)right[i]);
        for (unsigned q = 0; q < 4; q++) {
            const __m256i mask = _mm256_castps_si256(choose(table_of_masks(), word, q));
            l[q] = _mm256_add_epi32(l[q], _mm256_and_si256(mask, a));
            r[q] = _mm256_add_epi32(r[q], _mm256_and_si256(mask, b));
        }
    }
    for (unsigned q = 0; q < 4; q++) {
        __m256i v = _mm256_add_epi32(_mm256_mullo_epi32(l[q], _mm256_loadu_si256((const void *)(of_left + q * V))),
                                     _mm256_mullo_epi32(r[q], _mm256_loadu_si256((const void *)(of_right + q * V))));
        _mm256_storeu_si256((void *)(sum + q * V), _mm256_add_epi32(_mm256_loadu_si256((const void *)(sum + q * V)), v));
    }
}

static void spread(const uint64_t *pattern, const uint32_t *left, const uint32_t *right, uint32_t n, const uint32_t *of_left,
                   const uint32_t *of_right, uint32_t *sum)
{
    spread_32(pattern, 0, left, right, n, of_left, of_right, sum);
    spread_32(pattern, 32, left, right, n, of_left + 32, of_right + 32, sum + 32);
}

static void row_sums(const uint16_t *x, size_t n, uint64_t *out_sum, uint64_t *out_square)
{
    __m256i sum = _mm256_setzero_si256(), square = sum;
    const __m256i one = _mm256_set1_epi16(1), low = _mm256_set1_epi64x(0xffffffff);
    size_t base = 0;
    while (base + 16 <= n) {
        __m256i part = _mm256_setzero_si256(), part_square = part;
        for (unsigned i = 0; i < 1000 && base + 16 <= n; i++, base += 16) {
            __m256i v = load(x + base);
            part = _mm256_add_epi32(part, _mm256_madd_epi16(v, one));
            part_square = _mm256_add_epi32(part_square, _mm256_madd_epi16(v, v));
        }
        sum = _mm256_add_epi64(sum, _mm256_add_epi64(_mm256_and_si256(part, low), _mm256_srli_epi64(part, 32)));
        square = _mm256_add_epi64(square, _mm256_add_epi64(_mm256_and_si256(part_square, low), _mm256_srli_epi64(part_square, 32)));
    }
    uint64_t total = sum_of(sum), total_square = sum_of(square);
    for (; base < n; base++) {
        total += x[base];
        total_square += (uint32_t)x[base] * x[base];
    }
    *out_sum = total;
    *out_square = total_square;
}

/* The bits of 512 classes are 64 bytes, four tables of 16: @table holds each twice, once a half. 32 haplotypes from 16-bit classes. */
INLINE uint32_t class_bits_32(const uint16_t *class_of, const __m256i table[4], bool is_short)
{
    __m256i powers = _mm256_set1_epi64x((long long)0x8040201008040201), c[2], at[2];
    for (unsigned half = 0; half < 2; half++) {
        c[half] = load(class_of + half * 16);
        at[half] = _mm256_srli_epi16(c[half], 3);
        c[half] = _mm256_and_si256(c[half], _mm256_set1_epi16(7));
    }
    __m256i byte = _mm256_packus_epi16(at[0], at[1]), in_byte = _mm256_packus_epi16(c[0], c[1]);
    __m256i by_16 = _mm256_slli_epi16(byte, 3), by_32 = _mm256_slli_epi16(byte, 2); /* bits 4 and 5 go to the top: byte < 64 */
    byte = _mm256_and_si256(byte, _mm256_set1_epi8(15));
    __m256i got = _mm256_blendv_epi8(_mm256_shuffle_epi8(table[0], byte), _mm256_shuffle_epi8(table[1], byte), by_16);
    if (!is_short) {
        __m256i upper = _mm256_blendv_epi8(_mm256_shuffle_epi8(table[2], byte), _mm256_shuffle_epi8(table[3], byte), by_16);
        got = _mm256_blendv_epi8(got, upper, by_32);
    }
    __m256i power = _mm256_shuffle_epi8(powers, in_byte);
    __m256i is_set = _mm256_cmpeq_epi8(_mm256_and_si256(got, power), power);
    return (uint32_t)_mm256_movemask_epi8(_mm256_permute4x64_epi64(is_set, 0xd8)); /* packus went by halves */
}

INLINE void class_bits_all(const uint16_t *class_of, uint32_t n_hap, const __m256i table[4], bool is_short, uint64_t *out)
{
    size_t base = 0;
    for (; base + 64 <= n_hap; base += 64)
        out[base / 64] = class_bits_32(class_of + base, table, is_short) | (uint64_t)class_bits_32(class_of + base + 32, table, is_short) << 32;
    if (base < n_hap) {
        uint16_t last[64] = {0};
        for (size_t h = base; h < n_hap; h++)
            last[h - base] = class_of[h];
        out[base / 64] = (class_bits_32(last, table, is_short) | (uint64_t)class_bits_32(last + 32, table, is_short) << 32) & kernel_valid(n_hap, base);
    }
}

static void class_bits(const uint16_t *class_of, uint32_t n_hap, const uint64_t *of_class, uint32_t n_class, uint64_t *out)
{
    if (n_class > 512) {
        bits_in_order16(class_of, n_hap, of_class, out);
        return;
    }
    uint64_t bits[8] = {0};
    for (size_t i = 0; i < sq_kernel_words(n_class); i++)
        bits[i] = of_class[i];
    __m256i table[4];
    for (unsigned i = 0; i < 4; i++)
        table[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)(bits + i * 2)));
    if (n_class <= 256)
        class_bits_all(class_of, n_hap, table, true, out);
    else
        class_bits_all(class_of, n_hap, table, false, out);
}

const struct sq_kernels sq_kernels_avx2 = KERNEL_TABLE("avx2");
