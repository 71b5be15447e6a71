/**
 * engine/kernels - the inner loops of phasing and imputation, one version for each kind of processor.
 *
 * kernels_scalar.c is the definition. kernels_avx2.c, kernels_avx512.c and kernels_neon.c fill the same table and give THE
 * SAME BITS for every input, so that a result never tells which machine made it. What that takes:
 *   - fma(a, b, c) below is a * b + c rounded once (fmaf of C, FMA3, vfma); every other operation is rounded by itself;
 *   - a sum is kept in 32 lanes, element i goes to lane i % 32 in ascending order, and the lanes are added up by a fixed
 *     tree: lane j + 16 to lane j, then + 8, + 4, + 2, + 1;
 *   - denormal numbers are kept as IEEE 754 has them: nothing is flushed to zero, rounding is to nearest even;
 *   - bf16 is the upper half of a float, rounded to nearest, halves away from zero: (bits + 0x8000) >> 16, whatever the
 *     value is (denormals too; what rounds up from the largest becomes infinity). That takes two instructions for a vector;
 *     nearest even takes five and gains nothing here.
 * Numbers handed in are finite and no kernel looks for others, but where it says what a NaN gives.
 *
 * Arrays of states hold sq_kernel_pad(n) elements: a kernel may read and write the padding, finds zeros there
 * (of bits: anything) and leaves zeros. They are best aligned to 64 bytes; no kernel needs it. Arrays do not overlap, but for
 * what is marked in/out.
 *
 * Kernels allocate nothing, keep nothing between calls and may run in any number of threads.
 */
#ifndef SQ_ENGINE_KERNELS_H
#define SQ_ENGINE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#define SQ_KERNEL_BLOCK 64U /* states a word of bits; arrays of states are padded to whole blocks */
#define SQ_KERNEL_ROOM 64U  /* elements that some output arrays hold beyond what is counted */

/** Elements of an array of @n states. n <= 2^32 - 64. */
static inline size_t sq_kernel_pad(uint32_t n)
{
    return ((size_t)n + SQ_KERNEL_BLOCK - 1) / SQ_KERNEL_BLOCK * SQ_KERNEL_BLOCK;
}

/** Words of a bit set of @n. */
static inline size_t sq_kernel_words(uint32_t n)
{
    return ((size_t)n + 63) / 64;
}

/** Where forward() saves element @i: each half of a group of 32 takes every second place, so that two vectors of floats become
 * one of bf16, and back, without a shuffle. */
static inline size_t sq_kernel_saved_at(size_t i)
{
    return (i & ~(size_t)31) | (i & 15) << 1 | (i >> 4 & 1);
}

struct sq_kernels {
    const char *name; /* "scalar", "avx2", "avx512", "neon" */

    /**
     * One step of the forward pass: x[i] = fma(x[i], stay, jump) * e(i), e(i) = bit i of @match ? hit : miss.
     * @x      [pad(n)] in/out.
     * @match  [words(n)].
     * @save   [pad(n)] bf16 of the results in the order of sq_kernel_saved_at(), or NULL.
     * Returns the sum of the results.
     */
    float (*forward)(float *x, uint32_t n, const uint64_t *match, float stay, float jump, float hit, float miss, uint16_t *save);

    /**
     * One step of the backward pass, with the posterior of the site: b[i] = fma(b[i], stay, jump); post[i] = b[i] * saved[i];
     * then b[i] *= e(i), ready for the site to the left.
     * @b      [pad(n)] in/out.
     * @saved  [pad(n)] what forward() saved at this site.
     * @alt    [words(n)] the states whose posterior is summed up apart.
     * @post   [pad(n)] not normalised: divide by out[0].
     * @out    sum of post; sum of b as left behind; sum of post over the states in @alt.
     */
    void (*backward)(float *b, uint32_t n, const uint16_t *saved, const uint64_t *match, const uint64_t *alt, float stay,
                     float jump, float hit, float miss, float *post, float out[3]);

    /**
     * The states with post[i] > cut, ascending, and their values. Returns how many. A NaN isn't above anything.
     * @post  [n], @out_index and @out_value [n + SQ_KERNEL_ROOM]; beyond what is returned they hold anything.
     */
    uint32_t (*above)(const float *post, uint32_t n, float cut, uint32_t *out_index, float *out_value);

    /** Of each of @count sets, @stride words apart: the sum of x[i] over the i whose bit is set. @x [pad(n)], zeros in the padding; @bits [count][words(n)]. */
    void (*masked_sums)(const float *x, uint32_t n, const uint64_t *bits, size_t stride, uint32_t count, float *out);

    /**
     * Weights of patterns, spread over the 64 rows that they tell of:
     * sum[s] += of_left[s] * (left[i] added up over the i with bit s of pattern[i]) + of_right[s] * (the same of right[i]).
     * @pattern, @left, @right  [n]. Whole numbers; who calls sees to it that nothing exceeds 32 bits.
     * @of_left, @of_right      [64].
     * @sum                     [64] in/out.
     */
    void (*spread)(const uint64_t *pattern, const uint32_t *left, const uint32_t *right, uint32_t n, const uint32_t *of_left,
                   const uint32_t *of_right, uint32_t *sum);

    /** Transpose of 64 x 64 bits in place: bit j of word i changes places with bit i of word j. */
    void (*transpose)(uint64_t a[64]);

    /**
     * Stable partition of a list of numbers by a bit of each: those without it first. One step of the positional
     * Burrows-Wheeler transform (algorithm 1 of Durbin, Bioinformatics 30:1266, 2014) when the list is its order.
     * @order         [n] any numbers within @bits.
     * @out           [n].
     * @out_in_order  [words(n)] bit i = bit order[i] of @bits; bits from n on are 0. Never NULL: it is scratch too.
     * Returns how many haven't the bit.
     */
    uint32_t (*partition)(const uint32_t *order, uint32_t n, const uint64_t *bits, uint32_t *out, uint64_t *out_in_order);
    /** The same for short numbers. */
    uint32_t (*partition16)(const uint16_t *order, uint32_t n, const uint64_t *bits, uint16_t *out, uint64_t *out_in_order);

    /**
     * Ranks of those who aren't in the order themselves, moved on with it (algorithm 5 of Durbin 2014, without divergences): one whose bit is set goes behind
     * all without it and the ones that were before it, another one behind the zeros that were.
     * @rank      [n] in/out, each 0..number of haplotypes.
     * @own       [words(n)].
     * @in_order  [words + 1] of partition(); the last one is never counted.
     * @before    [words + 1] scratch.
     */
    void (*move_ranks)(uint32_t *rank, uint32_t n, const uint64_t *own, const uint64_t *in_order, size_t words, uint32_t n_zero, uint32_t *before);

    /** Thousandths: out[i] = floor(fma(x[i], 1000, 0.5)), at least 0, at most 1000; 0 for a NaN. @x, @out [n]. */
    void (*milli)(const float *x, size_t n, uint16_t *out);

    /** Sum and sum of squares of @x [n], each at most 1000; n < 2^40. */
    void (*row_sums)(const uint16_t *x, size_t n, uint64_t *out_sum, uint64_t *out_square);

    /**
     * From classes to haplotypes: bit h of @out = bit class_of[h] of @of_class.
     * @class_of  [n_hap], each < n_class <= 65536.
     * @of_class  [words(n_class)]. One word beyond is never read. Quickest up to 512 classes.
     * @out       [words(n_hap)]; bits from n_hap on are 0.
     */
    void (*class_bits)(const uint16_t *class_of, uint32_t n_hap, const uint64_t *of_class, uint32_t n_class, uint64_t *out);

    /* Of the phasing. Not as kernels elsewhere: each operation is rounded by itself, no fma, in the order written in kernels_pairs.h, which is the text of all
     * versions. Arrays of floats are aligned to 64 bytes; @pad is @n rounded up to a multiple of 16, and 0 stands behind n. */

    /** e[i] *= miss where bit i of @alt isn't that of @flip, which is all ones or none. */
    void (*pair_match)(float *e, size_t pad, const uint64_t *alt, uint64_t flip, float miss);
    /** Divides by the largest where that is less than 1. */
    void (*pair_even)(float *e, size_t pad);
    /**
     * One step of the diploid model over pairs of rows, with s: @stay, l = 1 - s, c: @sum, C: what c adds up to:
     *   out(i,j) = H(i,j) [ s(i) s(j) S(i,j) in(i,j) / C + s(i) l(j) c(i) / (n C) + l(i) s(j) c(j) / (n C) + l(i) l(j) / n^2 ]
     * where S(i,j) = s0(i) s1(j) + s1(i) s0(j) of the two vectors @seen, or 1 where it's NULL, and H the same of @here. Not both are given.
     * @in, @out       [n][pad].
     * @seen, @here    [2][pad] how well a row goes with either haplotype of a step; NULL or both.
     * @work           [3][pad] scratch.
     * @sum, @out_sum  [pad] sums of the columns of in times S; those of out, where @here is given, else NULL.
     */
    void (*pair_back)(const float *in, const float *const seen[2], float *out, const float *const here[2], uint32_t n, size_t pad, const float *stay,
                      float *const work[3], const float *sum, float *out_sum);
    /** out[w][a][b]: sum of matrix(i,j) x[w][1][b](i) x[w][0][a](j). */
    void (*pair_weigh)(const float *matrix, uint32_t n, size_t pad, float *(*x)[2][2], unsigned n_walk, double (*out)[2][2]);
    /** x(i) = x(i) stay(i) + what doesn't stay, in equal parts; so that they add up to 1. */
    void (*pair_move)(float *x, uint32_t n, size_t pad, const float *stay);
    /** out(i) = x(i) e(i); @out may be @x. */
    void (*pair_emit)(const float *x, size_t pad, const float *e, float *out);
    /**
     * Of both haplotypes' left sides @x and the right sides @saved, and of each allele: sum[2 * left + right][allele] of x[left](i) saved[right](i), and of[right][allele] of
     * saved[right](i), over the states whose bit in @alt is the allele. Each operation rounded by itself.
     * @x      [2][pad(n)], aligned to 64 bytes.
     * @saved  [2][pad(n)] bf16 in the order of sq_kernel_saved_at(), aligned to 64 bytes.
     */
    void (*line_sums)(float *const x[2], const uint16_t *const saved[2], uint32_t n, const uint64_t *alt, float sum[4][2], float of[2][2]);
};

/** sq_kernels - the quickest version that this machine runs. The same pointer at every call. */
const struct sq_kernels *sq_kernels(void);

/** sq_kernels_named - that version, or NULL when it isn't built for this kind of machine or this machine can't run it. */
const struct sq_kernels *sq_kernels_named(const char *name);

#endif
