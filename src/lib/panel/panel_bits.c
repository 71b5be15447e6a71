#include "lib/panel/panel_bits.h"

#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

/* ---- what they mean ------------------------------------------------------------------------------------------------------------------ */

/* bit 0 of each of eight bytes, gathered; byte i gives bit i */
static uint64_t gather8(uint64_t x)
{
    return ((x & 0x0101010101010101U) * 0x0102040810204080U) >> 56;
}

/* 8 genotype bytes at a time; @out: their bits. False as in the header. Each byte on its own: no carry passes between them. */
static bool diploid8(uint64_t x, uint64_t *out)
{
    const uint64_t low = 0x0101010101010101U;
    uint64_t kind = x >> 1 & (low * 127); /* 1: REF, 2: ALT; anything else is odd */
    uint64_t ref = kind & low, alt = kind >> 1 & low, rest = kind & (low * 124);
    uint64_t both = ref ^ alt; /* exactly one of them in each byte */
    uint64_t het = (alt ^ alt >> 8) & 0x0001000100010001U, unphased = ~(x >> 8) & 0x0001000100010001U;
    *out = gather8(alt);
    return !rest && both == low && !(het & unphased);
}

static bool bcf_diploid_scalar(const uint8_t *gt, size_t n_col, uint64_t *row)
{
    bool is_plain = true;
    for (size_t i = 0; i < n_col; i += 64) {
        uint64_t word = 0;
        for (size_t j = i; j < n_col && j < i + 64; j += 8) {
            uint64_t x = 0x0202020202020202U, bits;
            size_t n = n_col - j < 8 ? n_col - j : 8;
            memcpy(&x, gt + j, n);
            is_plain &= diploid8(x, &bits);
            word |= bits << (j - i);
        }
        row[i / 64] = word;
    }
    return is_plain;
}

static void equal_scalar(const uint8_t *allele, size_t n_col, uint8_t value, uint64_t *row)
{
    for (size_t i = 0; i < n_col; i += 64) {
        uint64_t word = 0;
        for (size_t j = i; j < n_col && j < i + 64; j++)
            word |= (uint64_t)(allele[j] == value) << (j - i);
        row[i / 64] = word;
    }
}

/* 64 x 64 bits turned about their diagonal: Warren, Hacker's Delight, 7-3. */
static void transpose64(uint64_t a[64])
{
    uint64_t mask = 0x00000000ffffffffU;
    for (unsigned j = 32; j; j >>= 1, mask ^= mask << j)
        for (unsigned k = 0; k < 64; k = ((k | j) + 1) & ~j) {
            uint64_t t = (a[k] >> j ^ a[k | j]) & mask;
            a[k] ^= t << j;
            a[k | j] ^= t;
        }
}

static void transpose_scalar(const uint64_t *row, size_t n_word, unsigned n_row, uint64_t *pattern)
{
    for (size_t w = 0; w < n_word; w++) {
        uint64_t *a = pattern + 64 * w;
        for (unsigned s = 0; s < 64; s++)
            a[s] = s < n_row ? row[s * n_word + w] : 0;
        transpose64(a);
    }
}

static const struct panel_bits scalar = {"scalar", bcf_diploid_scalar, equal_scalar, transpose_scalar};

/* ---- AVX2 ---------------------------------------------------------------------------------------------------------------------------- */

#ifdef __x86_64__
__attribute__((target("avx2"))) static bool bcf_diploid_avx2(const uint8_t *gt, size_t n_col, uint64_t *row)
{
    const __m256i two = _mm256_set1_epi8(2), four = _mm256_set1_epi8(4), high = _mm256_set1_epi8((char)0xfe);
    uint64_t odd = 0;
    size_t i = 0;
    for (; i + 64 <= n_col; i += 64) {
        __m256i x0 = _mm256_loadu_si256((const void *)(gt + i)), x1 = _mm256_loadu_si256((const void *)(gt + i + 32));
        __m256i k0 = _mm256_and_si256(x0, high), k1 = _mm256_and_si256(x1, high);
        __m256i a0 = _mm256_cmpeq_epi8(k0, four), a1 = _mm256_cmpeq_epi8(k1, four);
        __m256i ok = _mm256_and_si256(_mm256_or_si256(a0, _mm256_cmpeq_epi8(k0, two)), _mm256_or_si256(a1, _mm256_cmpeq_epi8(k1, two)));
        uint64_t alt = (uint32_t)_mm256_movemask_epi8(a0) | (uint64_t)(uint32_t)_mm256_movemask_epi8(a1) << 32;
        uint64_t phased = (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(x0, 7)) |
                          (uint64_t)(uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(x1, 7)) << 32;
        odd |= (uint64_t)(_mm256_movemask_epi8(ok) != -1) | ((alt ^ alt >> 1) & ~(phased >> 1) & 0x5555555555555555U);
        row[i / 64] = alt;
    }
    return !odd & (i == n_col || bcf_diploid_scalar(gt + i, n_col - i, row + i / 64));
}

__attribute__((target("avx2"))) static void equal_avx2(const uint8_t *allele, size_t n_col, uint8_t value, uint64_t *row)
{
    const __m256i v = _mm256_set1_epi8((char)value);
    size_t i = 0;
    for (; i + 64 <= n_col; i += 64) {
        __m256i a0 = _mm256_cmpeq_epi8(_mm256_loadu_si256((const void *)(allele + i)), v),
                a1 = _mm256_cmpeq_epi8(_mm256_loadu_si256((const void *)(allele + i + 32)), v);
        row[i / 64] = (uint32_t)_mm256_movemask_epi8(a0) | (uint64_t)(uint32_t)_mm256_movemask_epi8(a1) << 32;
    }
    if (i < n_col)
        equal_scalar(allele + i, n_col - i, value, row + i / 64);
}

/* Four words of each row at once: the same steps as transpose64, on four matrices side by side. */
__attribute__((target("avx2"))) static void transpose_avx2(const uint64_t *row, size_t n_word, unsigned n_row, uint64_t *pattern)
{
    size_t w = 0;
    for (; w + 4 <= n_word; w += 4) {
        __m256i a[64];
        for (unsigned s = 0; s < 64; s++)
            a[s] = s < n_row ? _mm256_loadu_si256((const void *)(row + s * n_word + w)) : _mm256_setzero_si256();
        uint64_t m = 0x00000000ffffffffU;
        for (unsigned j = 32; j; j >>= 1, m ^= m << j) {
            __m256i mask = _mm256_set1_epi64x((long long)m);
            __m128i by = _mm_cvtsi32_si128((int)j);
            for (unsigned k = 0; k < 64; k = ((k | j) + 1) & ~j) {
                __m256i t = _mm256_and_si256(_mm256_xor_si256(_mm256_srl_epi64(a[k], by), a[k | j]), mask);
                a[k] = _mm256_xor_si256(a[k], _mm256_sll_epi64(t, by));
                a[k | j] = _mm256_xor_si256(a[k | j], t);
            }
        }
        for (unsigned s = 0; s < 64; s += 4) { /* 4 x 4 words: each matrix to its own 64 */
            __m256i t0 = _mm256_unpacklo_epi64(a[s], a[s + 1]), t1 = _mm256_unpackhi_epi64(a[s], a[s + 1]),
                    t2 = _mm256_unpacklo_epi64(a[s + 2], a[s + 3]), t3 = _mm256_unpackhi_epi64(a[s + 2], a[s + 3]);
            uint64_t *to = pattern + 64 * w + s;
            _mm256_storeu_si256((void *)to, _mm256_permute2x128_si256(t0, t2, 0x20));
            _mm256_storeu_si256((void *)(to + 64), _mm256_permute2x128_si256(t1, t3, 0x20));
            _mm256_storeu_si256((void *)(to + 128), _mm256_permute2x128_si256(t0, t2, 0x31));
            _mm256_storeu_si256((void *)(to + 192), _mm256_permute2x128_si256(t1, t3, 0x31));
        }
    }
    for (; w < n_word; w++) {
        uint64_t *a = pattern + 64 * w;
        for (unsigned s = 0; s < 64; s++)
            a[s] = s < n_row ? row[s * n_word + w] : 0;
        transpose64(a);
    }
}

static const struct panel_bits avx2 = {"avx2", bcf_diploid_avx2, equal_avx2, transpose_avx2};
#endif

const struct panel_bits *panel_bits_scalar(void)
{
    return &scalar;
}

const struct panel_bits *panel_bits_best(void)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        return &avx2;
#endif
    return &scalar;
}
