/* kernels_internal - what the versions of the kernels share. Not for other rooms, nor for other files of engine.
 * Nothing here may be an external function: each including file is compiled for another processor. */
#ifndef SQ_ENGINE_KERNELS_INTERNAL_H
#define SQ_ENGINE_KERNELS_INTERNAL_H

#include "lib/engine/kernels.h"

#if defined(__BMI__)
#include <immintrin.h>
#endif
#include <string.h>

#define KERNEL_LANES 32U

extern const struct sq_kernels sq_kernels_scalar;
#if defined(__x86_64__)
extern const struct sq_kernels sq_kernels_avx2, sq_kernels_avx512;
#elif defined(__aarch64__)
extern const struct sq_kernels sq_kernels_neon;
#endif

/* The table of a version, behind its functions, which have the table's names. */
#define KERNEL_TABLE(label)                                                                                            \
    {                                                                                                                  \
        .name = label,                                                                                                 \
        .forward = forward,                                                                                            \
        .backward = backward,                                                                                          \
        .above = above,                                                                                                \
        .transpose = transpose,                                                                                        \
        .partition = partition,                                                                                        \
        .partition16 = partition16,                                                                                    \
        .move_ranks = move_ranks,                                                                                      \
        .milli = milli,                                                                                                \
        .row_sums = row_sums,                                                                                          \
        .masked_sums = masked_sums,                                                                                    \
        .spread = spread,                                                                                              \
        .class_bits = class_bits,                                                                                      \
        .pair_match = pair_match,                                                                              \
        .pair_even = pair_even,                                                                                \
        .pair_back = pair_back,                                                                                \
        .pair_weigh = pair_weigh,                                                                              \
        .pair_move = pair_move,                                                                                \
        .pair_emit = pair_emit,                                                                                \
        .line_sums = line_sums,                                                                                        \
    }

/* Where the processor has no instruction for it the compiler's own would be a call. */
static inline uint32_t kernel_bits_in(uint64_t x)
{
#if defined(__POPCNT__) || defined(__aarch64__)
    return (uint32_t)__builtin_popcountll(x);
#else
    x -= x >> 1 & UINT64_C(0x5555555555555555);
    x = (x & UINT64_C(0x3333333333333333)) + (x >> 2 & UINT64_C(0x3333333333333333));
    return (uint32_t)(((x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f)) * UINT64_C(0x0101010101010101) >> 56);
#endif
}

/* One text for all versions. */
static inline void move_ranks(uint32_t *rank, uint32_t n, const uint64_t *own, const uint64_t *in_order, size_t words, uint32_t n_zero, uint32_t *before)
{
    uint32_t sum = 0;
    for (size_t w = 0; w < words; w++) {
        before[w] = sum;
        sum += kernel_bits_in(in_order[w]);
    }
    before[words] = sum;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t r = rank[i], ones = before[r / 64] + kernel_bits_in(in_order[r / 64] & ((UINT64_C(1) << (r % 64)) - 1));
        rank[i] = own[i / 64] >> (i % 64) & 1 ? n_zero + ones : r - ones;
    }
}

/* Bits of the block at @base that stand for elements below @n. base < n. */
static inline uint64_t kernel_valid(uint32_t n, size_t base)
{
    return n - base >= 64 ? UINT64_MAX : (UINT64_C(1) << (n - base)) - 1;
}

#if defined(__BMI__) /* kernels_avx2.c and kernels_avx512.c */
/* The half of a word of @bits that holds bit @at. Fetched one by one: gathering instructions are no quicker on Zen 4, and
 * several times slower on those processors of Intel whose microcode had to mend them. */
static inline uint32_t kernel_half_word(const uint64_t *bits, uint32_t at)
{
    uint32_t half;
    memcpy(&half, (const char *)bits + (size_t)(at >> 5) * sizeof half, sizeof half);
    return half;
}

/* The numbers of the @n <= 8 set bits of @word, plus @base, and their values; four or eight are written. Mostly few are set, and a
 * loop that ends after some rounds costs a wrong guess each time: what is too much is overwritten by what comes next. */
static inline void kernel_take_few(const float *post, uint64_t word, uint32_t base, uint32_t n, uint32_t *out_index, float *out_value)
{
    for (unsigned i = 0; i < 8 && (i < 4 || n > 4); i++, word &= word - 1) {
        uint32_t at = base + ((uint32_t)_tzcnt_u64(word) & 63); /* of no bit: @base itself */
        out_index[i] = at;
        out_value[i] = post[at];
    }
}
#endif

#endif
