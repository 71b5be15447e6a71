/* The kernels of demux_kernels.h for AVX2. Tails go through the plain ones. */
#include "lib/demux/demux_kernels_internal.h"

#ifdef __x86_64__

#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2,popcnt")))

/* unaligned loads and stores of bytes, without a cast that alignment checks would mind */
AVX2 static inline __m256i load(const uint8_t *p)
{
    __m256i v;
    memcpy(&v, p, sizeof v);
    return v;
}

AVX2 static inline void store(void *p, __m256i v)
{
    memcpy(p, &v, sizeof v);
}

AVX2 static inline void store16(uint8_t *p, __m128i v)
{
    memcpy(p, &v, sizeof v);
}

AVX2 static size_t pack(const uint8_t *call, size_t n, const uint8_t quality[4], uint8_t *out)
{
    const __m256i six = _mm256_set1_epi8(63), three = _mm256_set1_epi8(3), zero = _mm256_setzero_si256();
    const __m256i q1 = _mm256_set1_epi8((char)(quality[1] ? quality[1] : 0x7f)), q2 = _mm256_set1_epi8((char)(quality[2] ? quality[2] : 0x7f)),
                  q3 = _mm256_set1_epi8((char)(quality[3] ? quality[3] : 0x7f));
    const __m256i weights = _mm256_set1_epi16(0x1001); /* low byte * 1 + high byte * 16 */
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i c = load(call + i), q = _mm256_and_si256(_mm256_srli_epi16(c, 2), six), none = _mm256_cmpeq_epi8(c, zero);
        __m256i is1 = _mm256_cmpeq_epi8(q, q1), is2 = _mm256_cmpeq_epi8(q, q2), is3 = _mm256_cmpeq_epi8(q, q3);
        __m256i known = _mm256_or_si256(_mm256_or_si256(is1, is2), _mm256_or_si256(is3, none));
        if (_mm256_movemask_epi8(known) != -1)
            break;
        __m256i nibble = _mm256_and_si256(c, three);
        nibble = _mm256_or_si256(nibble, _mm256_and_si256(is1, _mm256_set1_epi8(4)));
        nibble = _mm256_or_si256(nibble, _mm256_and_si256(is2, _mm256_set1_epi8(8)));
        nibble = _mm256_or_si256(nibble, _mm256_and_si256(is3, _mm256_set1_epi8(12)));
        __m256i pair = _mm256_maddubs_epi16(nibble, weights); /* 16 words below 256 */
        __m256i both = _mm256_permute4x64_epi64(_mm256_packus_epi16(pair, zero), 0xd8);
        store16(out + i / 2, _mm256_castsi256_si128(both));
    }
    return i + sq_demux_kernels_scalar.pack(call + i, n - i < 32 ? n - i : 32, quality, out + i / 2); /* the tail, or up to what stopped it */
}

/* One round of interleaving: four turn 16 rows of 16 bytes over, here twice at once, in the halves of each register */
AVX2 static inline void interleave(const __m256i in[16], __m256i out[16])
{
    for (size_t i = 0; i < 8; i++) {
        out[2 * i] = _mm256_unpacklo_epi8(in[i], in[i + 8]);
        out[2 * i + 1] = _mm256_unpackhi_epi8(in[i], in[i + 8]);
    }
}

/* 16 rows of 32 bytes */
AVX2 static inline void transpose16(const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride)
{
    __m256i a[16], b[16];
    for (size_t i = 0; i < 16; i++)
        a[i] = load(in + i * in_stride);
    interleave(a, b);
    interleave(b, a);
    interleave(a, b);
    interleave(b, a);
    for (size_t i = 0; i < 16; i++) {
        store16(out + i * out_stride, _mm256_castsi256_si128(a[i]));
        store16(out + (i + 16) * out_stride, _mm256_extracti128_si256(a[i], 1));
    }
}

AVX2 static void transpose(const uint8_t *in, size_t in_stride, size_t n_row, size_t n_column, uint8_t *out, size_t out_stride)
{
    size_t c = 0;
    for (; c + 32 <= n_column; c += 32) {
        size_t r = 0;
        for (; r + 16 <= n_row; r += 16)
            transpose16(in + r * in_stride + c, in_stride, out + c * out_stride + r, out_stride);
        if (r < n_row)
            sq_demux_kernels_scalar.transpose(in + r * in_stride + c, in_stride, n_row - r, 32, out + c * out_stride + r, out_stride);
    }
    if (c < n_column)
        sq_demux_kernels_scalar.transpose(in + c, in_stride, n_row, n_column - c, out + c * out_stride, out_stride);
}

AVX2 static inline uint64_t across(__m256i v)
{
    __m128i s = _mm_add_epi64(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    return (uint64_t)_mm_cvtsi128_si64(s) + (uint64_t)_mm_extract_epi64(s, 1);
}

AVX2 static void sum(const uint8_t *call, size_t n, struct sq_call_sums *sums)
{
    const __m256i six = _mm256_set1_epi8(63), zero = _mm256_setzero_si256(), q29 = _mm256_set1_epi8(29), two = _mm256_set1_epi8((char)SQ_DEMUX_N_QUALITY);
    __m256i total = zero;
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i c = load(call + i), q = _mm256_and_si256(_mm256_srli_epi16(c, 2), six), none = _mm256_cmpeq_epi8(c, zero);
        total = _mm256_add_epi64(total, _mm256_sad_epu8(_mm256_or_si256(q, _mm256_and_si256(none, two)), zero));
        sums->n_q30 += (uint64_t)__builtin_popcount((unsigned)_mm256_movemask_epi8(_mm256_cmpgt_epi8(q, q29)));
        sums->n_called += 32U - (uint64_t)__builtin_popcount((unsigned)_mm256_movemask_epi8(none));
    }
    if (i < n) { /* the tail among no-calls, which are taken off again */
        uint8_t rest[32] = {0};
        size_t n_more = 32 - (n - i);
        memcpy(rest, call + i, n - i);
        __m256i c = load(rest), q = _mm256_and_si256(_mm256_srli_epi16(c, 2), six), none = _mm256_cmpeq_epi8(c, zero);
        total = _mm256_add_epi64(total, _mm256_sad_epu8(_mm256_or_si256(q, _mm256_and_si256(none, two)), zero));
        sums->n_q30 += (uint64_t)__builtin_popcount((unsigned)_mm256_movemask_epi8(_mm256_cmpgt_epi8(q, q29)));
        sums->n_called += 32U - (uint64_t)__builtin_popcount((unsigned)_mm256_movemask_epi8(none));
        sums->quality -= n_more * SQ_DEMUX_N_QUALITY;
    }
    sums->quality += across(total);
}

/* @skip: so many of the first ones were counted before */
AVX2 static inline void text32(__m256i c, unsigned skip, char *base, char *quality, __m256i *total, struct sq_call_sums *sums)
{
    static const uint8_t from[64] = {[32] = 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    const __m256i letters = _mm256_set1_epi32(0x54474341); /* A C G T */
    __m256i none = _mm256_cmpeq_epi8(c, _mm256_setzero_si256());
    __m256i q = _mm256_and_si256(_mm256_srli_epi16(c, 2), _mm256_set1_epi8(63));
    __m256i b = _mm256_shuffle_epi8(letters, _mm256_and_si256(c, _mm256_set1_epi8(3)));
    unsigned n_q30 = (unsigned)_mm256_movemask_epi8(_mm256_cmpgt_epi8(q, _mm256_set1_epi8(29))), n_none = (unsigned)_mm256_movemask_epi8(none);
    store(base, _mm256_blendv_epi8(b, _mm256_set1_epi8('N'), none));
    q = _mm256_or_si256(q, _mm256_and_si256(none, _mm256_set1_epi8((char)SQ_DEMUX_N_QUALITY)));
    store(quality, _mm256_add_epi8(q, _mm256_set1_epi8(33)));
    if (skip)
        q = _mm256_and_si256(q, load(from + 32 - skip));
    *total = _mm256_add_epi64(*total, _mm256_sad_epu8(q, _mm256_setzero_si256()));
    sums->n_q30 += (uint64_t)__builtin_popcount(n_q30 >> skip);
    sums->n_called += 32U - skip - (uint64_t)__builtin_popcount(n_none >> skip);
}

AVX2 static void text(const uint8_t *call, size_t n, char *base, char *quality, struct sq_call_sums *sums)
{
    __m256i total = _mm256_setzero_si256();
    size_t i = 0;
    if (n < 32) {
        sq_demux_kernels_scalar.text(call, n, base, quality, sums);
        return;
    }
    for (; i + 32 <= n; i += 32)
        text32(load(call + i), 0, base + i, quality + i, &total, sums);
    if (i < n) /* the last 32 again: some are written twice */
        text32(load(call + n - 32), (unsigned)(i + 32 - n), base + n - 32, quality + n - 32, &total, sums);
    sums->quality += across(total);
}

AVX2 static inline __m256i differ(const uint8_t *bit, __m256i want)
{
    return _mm256_cmpeq_epi8(_mm256_and_si256(load(bit), want), _mm256_setzero_si256());
}

/*
 * Each call becomes one bit of four, a no-call and what is behind n all of them: it differs when it has none in common with the adapter's.
 */
AVX2 static void near(const uint8_t *call, size_t n, const uint8_t *adapter, size_t n_adapter, const uint8_t *most, uint8_t *room, uint32_t *out)
{
    const __m256i bits = _mm256_set1_epi32(0x08040201), three = _mm256_set1_epi8(3), any = _mm256_set1_epi8(15), zero = _mm256_setzero_si256();
    __m256i want[16];
    for (size_t k = 0; k < (n_adapter + 3) / 4 * 4; k++)
        want[k] = _mm256_set1_epi8((char)(k >= n_adapter || adapter[k] > 3 ? 15U : 1U << adapter[k]));
    for (size_t i = 0; i < n; i += 32) {
        __m256i c = load(call + i), bit = _mm256_shuffle_epi8(bits, _mm256_and_si256(c, three));
        store(room + i, _mm256_blendv_epi8(bit, any, _mm256_cmpeq_epi8(c, zero)));
    }
    store(room + n, any);
    store(room + n + 32, any);
    for (size_t i = 0; i < n; i += 32) {
        __m256i count = zero;
        for (size_t k = 0; k < n_adapter; k += 4) {
            __m256i a = differ(room + i + k, want[k]), b = differ(room + i + k + 1, want[k + 1]), d = differ(room + i + k + 2, want[k + 2]), e = differ(room + i + k + 3, want[k + 3]);
            count = _mm256_sub_epi8(count, _mm256_add_epi8(_mm256_add_epi8(a, b), _mm256_add_epi8(d, e)));
        }
        uint32_t word = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(count, load(most + i)), count));
        out[i / 32] = n - i < 32 ? word & ((1U << (n - i)) - 1) : word;
    }
}

AVX2 static void repeats(const uint8_t *letter, size_t n, uint64_t *out)
{
    for (size_t i = 0; i < n; i += 64) {
        uint64_t low = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(load(letter + i), load(letter + i - 1)));
        uint64_t high = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(load(letter + i + 32), load(letter + i + 31)));
        uint64_t both = high << 32 | low;
        out[i / 64] = n - i < 64 ? both & ((1ULL << (n - i)) - 1) : both;
    }
}

AVX2 static inline unsigned n_same(__m256i v, char letter, unsigned mask, unsigned *any)
{
    unsigned bits = (unsigned)_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_set1_epi8(letter))) & mask;
    *any |= bits;
    return (unsigned)__builtin_popcount(bits);
}

AVX2 static bool squeeze(const uint8_t *letter, size_t n, uint8_t *out, uint32_t count[4])
{
    const __m256i one_four = _mm256_set1_epi16(0x0401), one_16 = _mm256_set1_epi32(0x00100001), three = _mm256_set1_epi8(3);
    const __m256i gather = _mm256_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, 0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    for (size_t i = 0; i < n; i += 32) {
        __m256i v = load(letter + i);
        unsigned mask = n - i < 32 ? (1U << (n - i)) - 1 : UINT32_MAX, any = 0;
        count[0] += n_same(v, 'A', mask, &any);
        count[1] += n_same(v, 'C', mask, &any);
        count[2] += n_same(v, 'T', mask, &any);
        count[3] += n_same(v, 'G', mask, &any);
        if (any != mask)
            return false;
        __m256i two = _mm256_and_si256(_mm256_srli_epi16(v, 1), three);
        __m256i eight = _mm256_madd_epi16(_mm256_maddubs_epi16(two, one_four), one_16); /* 4 letters in the low byte of each 32 bits */
        __m256i packed = _mm256_shuffle_epi8(eight, gather);
        uint64_t four = (uint32_t)_mm256_extract_epi32(packed, 4), bytes = four << 32 | (uint32_t)_mm256_extract_epi32(packed, 0);
        if (n - i < 32)
            bytes &= (1ULL << (2 * (n - i))) - 1;
        memcpy(out + i / 4, &bytes, 8);
    }
    return true;
}

#define AVX512 __attribute__((target("avx512f,avx512bw,avx2,popcnt")))

AVX512 static void near_512(const uint8_t *call, size_t n, const uint8_t *adapter, size_t n_adapter, const uint8_t *most, uint8_t *room, uint32_t *out)
{
    const __m512i bits = _mm512_set1_epi32(0x08040201), any = _mm512_set1_epi8(15), one = _mm512_set1_epi8(1);
    size_t end = 0;
    for (; end < n; end += 64) { /* behind n are no-calls */
        __m512i c = _mm512_maskz_loadu_epi8(n - end < 64 ? (1ULL << (n - end)) - 1 : UINT64_MAX, call + end);
        __m512i bit = _mm512_shuffle_epi8(bits, _mm512_and_si512(c, _mm512_set1_epi8(3)));
        _mm512_storeu_si512(room + end, _mm512_mask_mov_epi8(bit, _mm512_testn_epi8_mask(c, c), any));
    }
    _mm512_storeu_si512(room + end, any);
    for (size_t i = 0; i < n; i += 64) {
        uint64_t mask = n - i < 64 ? (1ULL << (n - i)) - 1 : UINT64_MAX;
        __m512i count = _mm512_setzero_si512();
        for (size_t k = 0; k < n_adapter; k++) {
            const unsigned want = adapter[k] > 3 ? 15U : 1U << adapter[k];
            count = _mm512_mask_add_epi8(count, _mm512_testn_epi8_mask(_mm512_loadu_si512(room + i + k), _mm512_set1_epi8((char)want)), count, one);
        }
        uint64_t word = _mm512_mask_cmple_epu8_mask(mask, count, _mm512_maskz_loadu_epi8(mask, most + i));
        out[i / 32] = (uint32_t)word;
        if (n - i > 32)
            out[i / 32 + 1] = (uint32_t)(word >> 32);
    }
}

const struct sq_demux_kernels sq_demux_kernels_avx512 = {"avx512", pack, transpose, sum, text, near_512, repeats, squeeze}; /* the others gain nothing */
const struct sq_demux_kernels sq_demux_kernels_avx2 = {"avx2", pack, transpose, sum, text, near, repeats, squeeze};

#else
typedef int sq_demux_no_x86;
#endif
