/*
 * The kernels for AVX-512 (F, BW, DQ, VL: Skylake-X and later, Zen 4 and later). This file is compiled for such machines alone
 * and reached through the table, after kernels.c has asked.
 *
 * 32 lanes are two vectors of 16. A word of bits is four masks of 16, so emissions are blends and cost no memory.
 */
#include "lib/engine/kernels_internal.h"
#include "lib/engine/kernels_pairs.h"

#include <immintrin.h>
#include <stdbool.h>

#define V 16U /* floats of a vector */

static inline __mmask16 mask_of(uint64_t word, unsigned quarter)
{
    return (__mmask16)(word >> (quarter * V));
}

/* Lanes 0..15 and 16..31, by the tree of kernels.h. */
static inline float lane_sum(__m512 low, __m512 high)
{
    __m512 sixteen = _mm512_add_ps(low, high);
    __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(sixteen), _mm512_extractf32x8_ps(sixteen, 1));
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

struct step {
    __m512 stay, jump, hit, miss;
};

/* Two vectors of floats as bf16: the first in the lower halves of 32 bits. */
static inline __m512i bf16_pair(__m512 low, __m512 high)
{
    const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32((int)0xffff0000U);
    __m512i l = _mm512_srli_epi32(_mm512_add_epi32(_mm512_castps_si512(low), half), 16);
    __m512i h = _mm512_add_epi32(_mm512_castps_si512(high), half);
    return _mm512_ternarylogic_epi32(upper, h, l, 0xca); /* upper ? h : l */
}

/* A block of 64 states: is_whole: all of them are valid. */
static inline __attribute__((always_inline)) void forward_block(float *x, uint64_t match, uint64_t valid, bool is_whole, const struct step *s,
                                                               __m512 sum[2], uint16_t *save)
{
    for (unsigned half = 0; half < 2; half++) {
        __m512 v[2];
        for (unsigned j = 0; j < 2; j++) {
            unsigned q = half * 2 + j;
            __m512 moved = _mm512_fmadd_ps(_mm512_loadu_ps(x + q * V), s->stay, s->jump);
            __m512 e = _mm512_mask_blend_ps(mask_of(match, q), s->miss, s->hit);
            v[j] = is_whole ? _mm512_mul_ps(moved, e) : _mm512_maskz_mul_ps(mask_of(valid, q), moved, e);
            _mm512_storeu_ps(x + q * V, v[j]);
            sum[j] = _mm512_add_ps(sum[j], v[j]);
        }
        if (save)
            _mm512_storeu_si512(save + half * 2 * V, bf16_pair(v[0], v[1]));
    }
}

static inline __attribute__((always_inline)) float forward_all(float *x, uint32_t n, const uint64_t *match, const struct step *s, uint16_t *save)
{
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    size_t base = 0;
    for (; base + 64 <= n; base += 64)
        forward_block(x + base, match[base / 64], 0, true, s, sum, save ? save + base : NULL);
    if (base < n)
        forward_block(x + base, match[base / 64], kernel_valid(n, base), false, s, sum, save ? save + base : NULL);
    return lane_sum(sum[0], sum[1]);
}

static float forward(float *x, uint32_t n, const uint64_t *match, float stay, float jump, float hit, float miss, uint16_t *save)
{
    const struct step s = {_mm512_set1_ps(stay), _mm512_set1_ps(jump), _mm512_set1_ps(hit), _mm512_set1_ps(miss)};
    return save ? forward_all(x, n, match, &s, save) : forward_all(x, n, match, &s, NULL);
}

struct sums {
    __m512 post[2], b[2], alt[2];
};

static inline __attribute__((always_inline)) void backward_block(float *b, const uint16_t *saved, uint64_t match, uint64_t alt, uint64_t valid,
                                                                bool is_whole, const struct step *s, float *post, struct sums *sum)
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000U);
    for (unsigned half = 0; half < 2; half++) {
        __m512i pair = _mm512_loadu_si512(saved + half * 2 * V);
        __m512 f[2] = {_mm512_castsi512_ps(_mm512_slli_epi32(pair, 16)), _mm512_castsi512_ps(_mm512_and_si512(pair, upper))};
        for (unsigned j = 0; j < 2; j++) {
            unsigned q = half * 2 + j;
            __m512 v = _mm512_loadu_ps(b + q * V);
            v = is_whole ? _mm512_fmadd_ps(v, s->stay, s->jump) : _mm512_maskz_fmadd_ps(mask_of(valid, q), v, s->stay, s->jump);
            __m512 p = _mm512_mul_ps(v, f[j]);
            _mm512_storeu_ps(post + q * V, p);
            sum->post[j] = _mm512_add_ps(sum->post[j], p);
            sum->alt[j] = _mm512_mask_add_ps(sum->alt[j], mask_of(alt, q), sum->alt[j], p);
            v = _mm512_mul_ps(v, _mm512_mask_blend_ps(mask_of(match, q), s->miss, s->hit));
            _mm512_storeu_ps(b + q * V, v);
            sum->b[j] = _mm512_add_ps(sum->b[j], v);
        }
    }
}

static void backward(float *b, uint32_t n, const uint16_t *saved, const uint64_t *match, const uint64_t *alt, float stay, float jump,
                     float hit, float miss, float *post, float out[3])
{
    const struct step s = {_mm512_set1_ps(stay), _mm512_set1_ps(jump), _mm512_set1_ps(hit), _mm512_set1_ps(miss)};
    const __m512 zero = _mm512_setzero_ps();
    struct sums sum = {{zero, zero}, {zero, zero}, {zero, zero}};
    size_t base = 0;
    for (; base + 64 <= n; base += 64)
        backward_block(b + base, saved + base, match[base / 64], alt[base / 64], 0, true, &s, post + base, &sum);
    if (base < n)
        backward_block(b + base, saved + base, match[base / 64], alt[base / 64], kernel_valid(n, base), false, &s, post + base, &sum);
    out[0] = lane_sum(sum.post[0], sum.post[1]);
    out[1] = lane_sum(sum.b[0], sum.b[1]);
    out[2] = lane_sum(sum.alt[0], sum.alt[1]);
}

/* Most are below: four vectors are looked at together. What is packed is stored whole, into the room behind the arrays:
 * packing into memory is microcode on Zen 4. */
static uint32_t above(const float *post, uint32_t n, float cut, uint32_t *out_index, float *out_value)
{
    const __m512 limit = _mm512_set1_ps(cut);
    const __m512i counting = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    uint32_t count = 0;
    for (size_t base = 0; base < n; base += 64) {
        uint64_t valid = kernel_valid(n, base), is_above = 0;
        for (unsigned q = 0; q < 4; q++) {
            __mmask16 m = mask_of(valid, q);
            is_above |= (uint64_t)_mm512_mask_cmp_ps_mask(m, _mm512_maskz_loadu_ps(m, post + base + q * V), limit, _CMP_GT_OQ) << (q * V);
        }
        uint32_t n_here = (uint32_t)_mm_popcnt_u64(is_above);
        if (n_here && n_here <= 8) {
            kernel_take_few(post, is_above, (uint32_t)base, n_here, out_index + count, out_value + count);
            count += n_here;
            continue;
        }
        for (unsigned q = 0; q < 4 && n_here; q++) {
            __mmask16 m = mask_of(is_above, q);
            _mm512_storeu_ps(out_value + count, _mm512_maskz_compress_ps(m, _mm512_maskz_loadu_ps(m, post + base + q * V)));
            _mm512_storeu_si512(out_index + count,
                                _mm512_maskz_compress_epi32(m, _mm512_add_epi32(counting, _mm512_set1_epi32((int)(base + q * V)))));
            count += (uint32_t)_mm_popcnt_u32(m);
        }
    }
    return count;
}

/* Rows of a vector are 8 words. Squares of 32, 16 and 8 bits change places between vectors... */
static inline __attribute__((always_inline)) void swap_between(__m512i *a, __m512i *b, unsigned side, uint64_t mask)
{
    const __m512i low = _mm512_set1_epi64((long long)mask);
    __m512i up = _mm512_sll_epi64(*b, _mm_cvtsi32_si128((int)side)), down = _mm512_srl_epi64(*a, _mm_cvtsi32_si128((int)side));
    *a = _mm512_ternarylogic_epi64(low, *a, up, 0xca); /* low ? a : up */
    *b = _mm512_ternarylogic_epi64(low, down, *b, 0xca);
}

/* ... and squares of 4, 2 and 1 bits within one: @other holds each row's partner; rows without bit @side of their number take its lower
 * bits upwards, those with it its upper bits downwards. */
static inline __attribute__((always_inline)) __m512i swap_within(__m512i a, __m512i other, unsigned side, uint64_t mask)
{
    const __mmask8 is_upper = side == 4 ? 0xf0 : side == 2 ? 0xcc : 0xaa;
    __m512i turn = _mm512_mask_set1_epi64(_mm512_set1_epi64((long long)side), is_upper, (long long)(64 - side));
    __m512i keep = _mm512_mask_set1_epi64(_mm512_set1_epi64((long long)mask), is_upper, (long long)~mask);
    return _mm512_ternarylogic_epi64(keep, a, _mm512_rolv_epi64(other, turn), 0xca);
}

static void transpose(uint64_t a[64])
{
    __m512i r[8];
    for (unsigned i = 0; i < 8; i++)
        r[i] = _mm512_loadu_si512(a + i * 8);
    for (unsigned i = 0; i < 4; i++)
        swap_between(&r[i], &r[i + 4], 32, 0x00000000ffffffff);
    for (unsigned i = 0; i < 8; i++)
        if (!(i & 2))
            swap_between(&r[i], &r[i + 2], 16, 0x0000ffff0000ffff);
    for (unsigned i = 0; i < 8; i += 2)
        swap_between(&r[i], &r[i + 1], 8, 0x00ff00ff00ff00ff);
    for (unsigned i = 0; i < 8; i++) {
        __m512i v = swap_within(r[i], _mm512_shuffle_i64x2(r[i], r[i], 0x4e), 4, 0x0f0f0f0f0f0f0f0f);
        v = swap_within(v, _mm512_permutex_epi64(v, 0x4e), 2, 0x3333333333333333);
        v = swap_within(v, _mm512_permutex_epi64(v, 0xb1), 1, 0x5555555555555555);
        _mm512_storeu_si512(a + i * 8, v);
    }
}

static inline __mmask16 bits_at(__m512i words, __m512i at)
{
    return _mm512_test_epi32_mask(words, _mm512_rolv_epi32(_mm512_set1_epi32(1), at));
}

/* The bit of each number, in the order of the list. Returns how many are set. @load_16 gives 16 numbers from @from. */
#define BITS_IN_ORDER(name, number, load_16) \
    static uint32_t name(const number *order, uint32_t n, const uint64_t *bits, uint64_t *out) \
    { \
        uint32_t n_one = 0; \
        number last[64] = {0}; \
        for (size_t base = 0; base < n; base += 64) { \
            uint64_t word = 0; \
            const number *from = order + base; \
            if (n - base < 64) \
                from = memcpy(last, from, (n - base) * sizeof *last); \
            for (unsigned q = 0; q < 4; q++, from += V) { \
                uint32_t halves[V]; \
                for (unsigned j = 0; j < V; j++) \
                    halves[j] = kernel_half_word(bits, from[j]); \
                word |= (uint64_t)bits_at(_mm512_loadu_si512(halves), load_16) << (q * V); \
            } \
            out[base / 64] = word &= kernel_valid(n, base); \
            n_one += (uint32_t)_mm_popcnt_u64(word); \
        } \
        return n_one; \
    }

BITS_IN_ORDER(bits_in_order, uint32_t, _mm512_loadu_si512(from))
BITS_IN_ORDER(bits_in_order16, uint16_t, _mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)from)))

/* Where vectors end beyond their part of the list, only what counts is written. */
static inline void put(uint32_t *out, uint32_t n, bool has_room, __m512i v)
{
    if (has_room)
        _mm512_storeu_si512(out, v);
    else
        _mm512_mask_storeu_epi32(out, (__mmask16)_bzhi_u32(0xffff, n), v);
}

static uint32_t partition(const uint32_t *order, uint32_t n, const uint64_t *bits, uint32_t *out, uint64_t *out_in_order)
{
    uint32_t n_zero = n - bits_in_order(order, n, bits, out_in_order), zero = 0, one = n_zero;
    for (size_t base = 0; base < n; base += V) {
        __mmask16 valid = mask_of(kernel_valid(n, base), 0), m = (__mmask16)(out_in_order[base / 64] >> (base % 64));
        __m512i v = _mm512_maskz_loadu_epi32(valid, order + base);
        __mmask16 rest = (__mmask16)(valid & (unsigned)~m);
        uint32_t n_rest = (uint32_t)_mm_popcnt_u32(rest), n_m = (uint32_t)_mm_popcnt_u32(m);
        put(out + zero, n_rest, zero + V <= n_zero, _mm512_maskz_compress_epi32(rest, v));
        put(out + one, n_m, one + V <= n, _mm512_maskz_compress_epi32(m, v));
        zero += n_rest;
        one += n_m;
    }
    return n_zero;
}

static inline void put16(uint16_t *out, uint32_t n, bool has_room, __m512i v)
{
    __m256i shorter = _mm512_cvtepi32_epi16(v);
    if (has_room)
        _mm256_storeu_si256((void *)out, shorter);
    else
        _mm256_mask_storeu_epi16(out, (__mmask16)_bzhi_u32(0xffff, n), shorter);
}

static uint32_t partition16(const uint16_t *order, uint32_t n, const uint64_t *bits, uint16_t *out, uint64_t *out_in_order)
{
    uint32_t n_zero = n - bits_in_order16(order, n, bits, out_in_order), zero = 0, one = n_zero;
    for (size_t base = 0; base < n; base += V) {
        __mmask16 valid = mask_of(kernel_valid(n, base), 0), m = (__mmask16)(out_in_order[base / 64] >> (base % 64));
        __m512i v = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(valid, order + base));
        __mmask16 rest = (__mmask16)(valid & (unsigned)~m);
        uint32_t n_rest = (uint32_t)_mm_popcnt_u32(rest), n_m = (uint32_t)_mm_popcnt_u32(m);
        put16(out + zero, n_rest, zero + V <= n_zero, _mm512_maskz_compress_epi32(rest, v));
        put16(out + one, n_m, one + V <= n, _mm512_maskz_compress_epi32(m, v));
        zero += n_rest;
        one += n_m;
    }
    return n_zero;
}

static void milli(const float *x, size_t n, uint16_t *out)
{
    for (size_t base = 0; base < n; base += V) {
        __mmask16 valid = (__mmask16)_bzhi_u32(0xffff, n - base < V ? (unsigned)(n - base) : V);
        __m512 v = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(valid, x + base), _mm512_set1_ps(1000.0F), _mm512_set1_ps(0.5F));
        v = _mm512_min_ps(_mm512_max_ps(v, _mm512_setzero_ps()), _mm512_set1_ps(1000.0F)); /* max gives its second for a NaN */
        _mm256_mask_storeu_epi16(out + base, valid, _mm512_cvtepi32_epi16(_mm512_cvttps_epi32(v)));
    }
}

/* Of few sets at once: one sum alone would wait for itself. */
static inline __attribute__((always_inline)) void masked_few(const float *x, uint32_t n, const uint64_t *bits, size_t stride, uint32_t count, float *out)
{
    __m512 sum[4][2];
    for (uint32_t k = 0; k < count; k++)
        sum[k][0] = sum[k][1] = _mm512_setzero_ps();
    for (size_t base = 0; base < n; base += 64)
        for (unsigned q = 0; q < 4; q++) {
            __m512 v = _mm512_loadu_ps(x + base + q * V);
            for (uint32_t k = 0; k < count; k++)
                sum[k][q % 2] = _mm512_mask_add_ps(sum[k][q % 2], mask_of(bits[k * stride + base / 64], q), sum[k][q % 2], v);
        }
    for (uint32_t k = 0; k < count; k++)
        out[k] = lane_sum(sum[k][0], sum[k][1]);
}

static void masked_sums(const float *x, uint32_t n, const uint64_t *bits, size_t stride, uint32_t count, float *out)
{
    for (; count >= 4; count -= 4, bits += 4 * stride, out += 4)
        masked_few(x, n, bits, stride, 4, out);
    switch (count) {
    case 3:
        masked_few(x, n, bits, stride, 3, out);
        break;
    case 2:
        masked_few(x, n, bits, stride, 2, out);
        break;
    case 1:
        masked_few(x, n, bits, stride, 1, out);
        break;
    default:
        break;
    }
}

static void spread(const uint64_t *pattern, const uint32_t *left, const uint32_t *right, uint32_t n, const uint32_t *of_left,
                   const uint32_t *of_right, uint32_t *sum)
{
    __m512i l[4], r[4];
    for (unsigned q = 0; q < 4; q++)
        l[q] = r[q] = _mm512_setzero_si512();
    for (uint32_t i = 0; i < n; i++) {
        const __m512i a = _mm512_set1_epi32((int)left[i]), b = _mm512_set1_epi32((int)right[i]);
        for (unsigned q = 0; q < 4; q++) {
            l[q] = _mm512_mask_add_epi32(l[q], mask_of(pattern[i], q), l[q], a);
            r[q] = _mm512_mask_add_epi32(r[q], mask_of(pattern[i], q), r[q], b);
        }
    }
    for (unsigned q = 0; q < 4; q++) {
        __m512i v = _mm512_add_epi32(_mm512_mullo_epi32(l[q], _mm512_loadu_si512(of_left + q * V)),
                                     _mm512_mullo_epi32(r[q], _mm512_loadu_si512(of_right + q * V)));
        _mm512_storeu_si512(sum + q * V, _mm512_add_epi32(_mm512_loadu_si512(sum + q * V), v));
    }
}

/* Squares of two numbers are at most 2,000,000: 1,000 of them fit 32 bits. */
static void row_sums(const uint16_t *x, size_t n, uint64_t *out_sum, uint64_t *out_square)
{
    __m512i sum = _mm512_setzero_si512(), square = sum; /* eight of 64 bits */
    const __m512i one = _mm512_set1_epi16(1), low = _mm512_set1_epi64(0xffffffff);
    for (size_t base = 0; base < n;) {
        __m512i part = _mm512_setzero_si512(), part_square = part;
        for (unsigned i = 0; i < 1000 && base < n; i++, base += 32) {
            __mmask32 valid = _bzhi_u32(UINT32_MAX, n - base < 32 ? (unsigned)(n - base) : 32);
            __m512i v = _mm512_maskz_loadu_epi16(valid, x + base);
            part = _mm512_add_epi32(part, _mm512_madd_epi16(v, one));
            part_square = _mm512_add_epi32(part_square, _mm512_madd_epi16(v, v));
        }
        sum = _mm512_add_epi64(sum, _mm512_add_epi64(_mm512_and_si512(part, low), _mm512_srli_epi64(part, 32)));
        square = _mm512_add_epi64(square, _mm512_add_epi64(_mm512_and_si512(part_square, low), _mm512_srli_epi64(part_square, 32)));
    }
    *out_sum = (uint64_t)_mm512_reduce_add_epi64(sum);
    *out_square = (uint64_t)_mm512_reduce_add_epi64(square);
}

/* The bits of 1,024 classes are 64 short words, two vectors: looked up there. More are taken as a list of numbers is. */
static inline __attribute__((always_inline)) void class_bits_all(const uint16_t *class_of, uint32_t n_hap, const __m512i table[2], bool is_short,
                                                                uint64_t *out)
{
    for (size_t base = 0; base < n_hap; base += 64) {
        uint64_t word = 0, valid = kernel_valid(n_hap, base);
        for (unsigned half = 0; half < 2; half++) {
            __mmask32 is_valid = (__mmask32)(valid >> (half * 32));
            __m512i c = _mm512_maskz_loadu_epi16(is_valid, class_of + base + half * 32);
            __m512i at = _mm512_srli_epi16(c, 4);
            at = is_short ? _mm512_permutexvar_epi16(at, table[0]) : _mm512_permutex2var_epi16(table[0], at, table[1]);
            __mmask32 m = _mm512_movepi16_mask(_mm512_sllv_epi16(at, _mm512_andnot_si512(c, _mm512_set1_epi16(15)))); /* the bit goes to the top */
            word |= (uint64_t)m << (half * 32);
        }
        out[base / 64] = word & valid;
    }
}

static void class_bits(const uint16_t *class_of, uint32_t n_hap, const uint64_t *of_class, uint32_t n_class, uint64_t *out)
{
    unsigned n_word = (unsigned)sq_kernel_words(n_class);
    if (n_word > 16) {
        bits_in_order16(class_of, n_hap, of_class, out);
        return;
    }
    __m512i table[2] = {_mm512_maskz_loadu_epi64((__mmask8)_bzhi_u32(0xff, n_word), of_class), _mm512_setzero_si512()};
    if (n_word <= 8) {
        class_bits_all(class_of, n_hap, table, true, out);
    } else {
        table[1] = _mm512_maskz_loadu_epi64((__mmask8)_bzhi_u32(0xff, n_word - 8), of_class + 8);
        class_bits_all(class_of, n_hap, table, false, out);
    }
}

const struct sq_kernels sq_kernels_avx512 = KERNEL_TABLE("avx512");
