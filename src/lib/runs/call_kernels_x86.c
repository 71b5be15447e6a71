/*
 * The kernels for AVX2 (with BMI2) and AVX-512 (with VBMI2). Whole vectors here, the rest by the plain version. Stores are whole vectors only
 * where the output has room for them, and never run ahead of what was read: in place is allowed.
 */
#include "lib/runs/call_kernels_internal.h"

#ifdef CALL_KERNELS_X86

#include <immintrin.h>
#include <string.h>

#define AVX2 __attribute__((target("avx2,bmi2,popcnt")))
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi2,bmi2,popcnt")))

bool call_has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
}

bool call_has_avx512(void)
{
    return call_has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vbmi2");
}

/* unaligned places, for the intrinsics that want a vector's type */
static inline AVX2 __m256i load32(const uint8_t *p)
{
    __m256i v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline AVX2 void store32(uint8_t *p, __m256i v)
{
    memcpy(p, &v, sizeof v);
}

static AVX2 void clean_avx2(const uint8_t *in, size_t n, uint8_t *out)
{
    const __m256i quality = _mm256_set1_epi8((char)0xfc), zero = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i v = load32(in + i);
        store32(out + i, _mm256_andnot_si256(_mm256_cmpeq_epi8(_mm256_and_si256(v, quality), zero), v));
    }
    call_clean_scalar(in + i, n - i, out + i);
}

static AVX2 void unpack_avx2(const uint8_t *in, size_t n, const uint8_t palette[16], uint8_t *out)
{
    __m128i half;
    memcpy(&half, palette, sizeof half);
    const __m256i table = _mm256_broadcastsi128_si256(half), low = _mm256_set1_epi8(15);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m256i v = load32(in + i / 2);
        __m256i a = _mm256_shuffle_epi8(table, _mm256_and_si256(v, low));
        __m256i b = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(v, 4), low));
        __m256i lo = _mm256_unpacklo_epi8(a, b), hi = _mm256_unpackhi_epi8(a, b);
        store32(out + i, _mm256_permute2x128_si256(lo, hi, 0x20));
        store32(out + i + 32, _mm256_permute2x128_si256(lo, hi, 0x31));
    }
    call_unpack_scalar(in + i / 2, n - i, palette, out + i);
}

static AVX2 void keep_avx2(const uint8_t *in, size_t n, const uint64_t *pass, size_t n_out, uint8_t *out)
{
    size_t i = 0, k = 0;
    for (; i + 64 <= n && k + 64 <= n_out; i += 64) {
        uint64_t word = pass[i / 64];
        for (unsigned b = 0; b < 64; b += 8) {
            uint64_t eight, bits = word >> b & 0xff;
            memcpy(&eight, in + i + b, 8);
            eight = _pext_u64(eight, _pdep_u64(bits, 0x0101010101010101ULL) * 0xff);
            memcpy(out + k, &eight, 8);
            k += (size_t)__builtin_popcountll(bits);
        }
    }
    call_keep_scalar(in + i, n - i, pass + i / 64, n_out - k, out + k);
}

static AVX2 size_t bits_avx2(const uint8_t *in, size_t n, uint64_t *out)
{
    size_t i = 0, set = 0;
    for (; i + 64 <= n; i += 64) {
        uint64_t lo = (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(load32(in + i), 7));
        uint64_t hi = (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(load32(in + i + 32), 7));
        out[i / 64] = hi << 32 | lo;
        set += (size_t)__builtin_popcountll(hi << 32 | lo);
    }
    return set + call_bits_scalar(in + i, n - i, out + i / 64);
}

const struct sq_call_kernels call_kernels_avx2 = {"avx2", clean_avx2, unpack_avx2, keep_avx2, bits_avx2};

static AVX512 void clean_avx512(const uint8_t *in, size_t n, uint8_t *out)
{
    const __m512i quality = _mm512_set1_epi8((char)0xfc);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512i v = _mm512_loadu_si512(in + i);
        _mm512_storeu_si512(out + i, _mm512_maskz_mov_epi8(_mm512_test_epi8_mask(v, quality), v));
    }
    call_clean_scalar(in + i, n - i, out + i);
}

/* Kept bytes are gathered in a register: a masked store to memory is slow on some processors (Zen 4). */
static AVX512 void keep_avx512(const uint8_t *in, size_t n, const uint64_t *pass, size_t n_out, uint8_t *out)
{
    size_t i = 0, k = 0;
    for (; i + 64 <= n && k + 64 <= n_out; i += 64) {
        uint64_t word = pass[i / 64];
        _mm512_storeu_si512(out + k, _mm512_maskz_compress_epi8(word, _mm512_loadu_si512(in + i)));
        k += (size_t)__builtin_popcountll(word);
    }
    call_keep_scalar(in + i, n - i, pass + i / 64, n_out - k, out + k);
}

static AVX512 size_t bits_avx512(const uint8_t *in, size_t n, uint64_t *out)
{
    const __m512i one = _mm512_set1_epi8(1);
    size_t i = 0, set = 0;
    for (; i + 64 <= n; i += 64) {
        uint64_t word = _mm512_test_epi8_mask(_mm512_loadu_si512(in + i), one);
        out[i / 64] = word;
        set += (size_t)__builtin_popcountll(word);
    }
    return set + call_bits_scalar(in + i, n - i, out + i / 64);
}

const struct sq_call_kernels call_kernels_avx512 = {"avx512", clean_avx512, unpack_avx2, keep_avx512, bits_avx512};

#endif
