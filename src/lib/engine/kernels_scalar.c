/*
 * The definition of the kernels, in C that any machine runs. Blocks of 64 states, a word of bits each; the inner loops carry
 * nothing from one element to the next, so that compilers make what they can of them.
 */
#include "lib/engine/kernels_internal.h"
#include "lib/engine/kernels_pairs.h"

#include <math.h>
#include <string.h>

static uint32_t bits_of(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static float float_of(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* out[j] = fma(x[j], b, c). Where the processor has no such instruction fmaf() takes thirty times longer than this: in double the
 * product is exact, and rounding the sum to 53 bits and then to 24 goes wrong only where the 53 bits end just between two
 * floats, or where the float would be denormal: then the block is done again with fmaf(). (A normal float has 29 bits fewer.) */
static inline void fused(const float *x, float b, float c, float out[64])
{
#if !defined(__FP_FAST_FMAF)
    uint32_t is_odd = 0;
    for (unsigned j = 0; j < 64; j++) {
        double sum = (double)x[j] * (double)b + (double)c;
        out[j] = (float)sum;
        uint64_t u;
        memcpy(&u, &sum, sizeof u);
        is_odd |= (uint32_t)(((uint32_t)u & 0x1fffffff) == 0x10000000) | (uint32_t)((uint32_t)(u >> 32 & 0x7fffffff) < 0x38100000);
    }
    if (!is_odd)
        return;
#endif
    for (unsigned j = 0; j < 64; j++)
        out[j] = fmaf(x[j], b, c);
}

/* As sq_kernel_saved_at() lays them out. */
static inline void save_64(const float v[64], uint16_t *save)
{
    for (unsigned half = 0; half < 64; half += 32)
        for (unsigned j = 0; j < 16; j++) {
            uint32_t low = (bits_of(v[half + j]) + 0x8000U) >> 16, high = (bits_of(v[half + j + 16]) + 0x8000U) >> 16;
            save[half + 2 * j] = (uint16_t)low;
            save[half + 2 * j + 1] = (uint16_t)high;
        }
}

#define BITS_4(k) UINT32_C(1) << (k), UINT32_C(2) << (k), UINT32_C(4) << (k), UINT32_C(8) << (k)
static const uint32_t bit[32] = {BITS_4(0), BITS_4(4), BITS_4(8), BITS_4(12), BITS_4(16), BITS_4(20), BITS_4(24), BITS_4(28)};

/* out[j] = v[j] * (bit j of @word ? if_1 : if_0) */
static inline void multiply(const float v[64], uint64_t word, float if_1, float if_0, float out[64])
{
    for (unsigned half = 0; half < 64; half += 32) {
        uint32_t w = (uint32_t)(word >> half);
        for (unsigned j = 0; j < 32; j++)
            out[half + j] = v[half + j] * (w & bit[j] ? if_1 : if_0);
    }
}

static void add_to_lanes(float *lane, const float v[64])
{
    for (unsigned j = 0; j < KERNEL_LANES; j++)
        lane[j] = lane[j] + v[j] + v[j + KERNEL_LANES];
}

static float lane_sum(float *lane)
{
    for (unsigned step = KERNEL_LANES / 2; step; step /= 2)
        for (unsigned j = 0; j < step; j++)
            lane[j] += lane[j + step];
    return lane[0];
}

static float forward(float *x, uint32_t n, const uint64_t *match, float stay, float jump, float hit, float miss, uint16_t *save)
{
    float lane[KERNEL_LANES] = {0};
    for (size_t base = 0; base < n; base += 64) {
        float v[64];
        fused(x + base, stay, jump, v);
        multiply(v, match[base / 64], hit, miss, x + base);
        for (size_t i = n; i < base + 64; i++)
            x[i] = 0;
        add_to_lanes(lane, x + base);
        if (save)
            save_64(x + base, save + base);
    }
    return lane_sum(lane);
}

static void backward(float *b, uint32_t n, const uint16_t *saved, const uint64_t *match, const uint64_t *alt, float stay, float jump,
                     float hit, float miss, float *post, float out[3])
{
    float lane_post[KERNEL_LANES] = {0}, lane_b[KERNEL_LANES] = {0}, lane_alt[KERNEL_LANES] = {0};
    for (size_t base = 0; base < n; base += 64) {
        float v[64];
        fused(b + base, stay, jump, v);
        for (size_t i = n; i < base + 64; i++)
            v[i - base] = 0;
        for (unsigned half = 0; half < 64; half += 32)
            for (unsigned j = 0; j < 16; j++) { /* sq_kernel_saved_at() */
                const uint16_t *pair = saved + base + half + 2 * j;
                post[base + half + j] = v[half + j] * float_of((uint32_t)pair[0] << 16);
                post[base + half + j + 16] = v[half + j + 16] * float_of((uint32_t)pair[1] << 16);
            }
        multiply(v, match[base / 64], hit, miss, b + base);
        multiply(post + base, alt[base / 64], 1, 0, v);
        add_to_lanes(lane_post, post + base);
        add_to_lanes(lane_b, b + base);
        add_to_lanes(lane_alt, v);
    }
    out[0] = lane_sum(lane_post);
    out[1] = lane_sum(lane_b);
    out[2] = lane_sum(lane_alt);
}

static uint32_t above(const float *post, uint32_t n, float cut, uint32_t *out_index, float *out_value)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n; i++) {
        out_index[count] = i;
        out_value[count] = post[i];
        count += post[i] > cut;
    }
    return count;
}

/* Hacker's Delight (Warren, 2nd edition, 7-3): squares of 32, 16 .. 1 bits change places across the diagonal. */
static void transpose(uint64_t a[64])
{
    uint64_t mask = 0x00000000ffffffff;
    for (unsigned side = 32; side; side /= 2, mask ^= mask << side)
        for (unsigned i = 0; i < 64; i = ((i | side) + 1) & ~side) {
            uint64_t t = (a[i] >> side ^ a[i | side]) & mask;
            a[i] ^= t << side;
            a[i | side] ^= t;
        }
}

#define PARTITION(name, number) \
    static uint32_t name(const number *order, uint32_t n, const uint64_t *bits, number *out, uint64_t *out_in_order) \
    { \
        uint32_t n_one = 0; \
        for (size_t base = 0; base < n; base += 64) { \
            uint64_t word = 0; \
            for (unsigned j = 0; j < 64 && base + j < n; j++) \
                word |= (bits[order[base + j] >> 6] >> (order[base + j] & 63) & 1) << j; \
            out_in_order[base / 64] = word; \
            n_one += (uint32_t)__builtin_popcountll(word); \
        } \
        uint32_t at[2] = {0, n - n_one}; \
        for (uint32_t i = 0; i < n; i++) \
            out[at[out_in_order[i / 64] >> (i % 64) & 1]++] = order[i]; \
        return n - n_one; \
    }

PARTITION(partition, uint32_t)
PARTITION(partition16, uint16_t)

static void milli(const float *x, size_t n, uint16_t *out)
{
    for (size_t base = 0; base < n; base += 64) {
        size_t n_here = n - base < 64 ? n - base : 64;
        float in[64] = {0}, v[64];
        memcpy(in, x + base, n_here * sizeof *in);
        fused(in, 1000.0F, 0.5F, v);
        for (size_t j = 0; j < n_here; j++) {
            float least = v[j] > 0.0F ? v[j] : 0.0F;
            out[base + j] = (uint16_t)(int)(least < 1000.0F ? least : 1000.0F);
        }
    }
}

static void masked_sums(const float *x, uint32_t n, const uint64_t *bits, size_t stride, uint32_t count, float *out)
{
    for (uint32_t k = 0; k < count; k++, bits += stride) {
        float lane[KERNEL_LANES] = {0};
        for (size_t base = 0; base < n; base += 64)
            for (unsigned j = 0; j < 64; j++)
                lane[j % KERNEL_LANES] += bits[base / 64] >> j & 1 ? x[base + j] : 0;
        out[k] = lane_sum(lane);
    }
}

static void spread(const uint64_t *pattern, const uint32_t *left, const uint32_t *right, uint32_t n, const uint32_t *of_left,
                   const uint32_t *of_right, uint32_t *sum)
{
    uint32_t l[64] = {0}, r[64] = {0};
    for (uint32_t i = 0; i < n; i++)
        for (uint64_t z = pattern[i]; z; z &= z - 1) {
            unsigned s = (unsigned)__builtin_ctzll(z);
            l[s] += left[i];
            r[s] += right[i];
        }
    for (unsigned s = 0; s < 64; s++)
        sum[s] += of_left[s] * l[s] + of_right[s] * r[s];
}

static void row_sums(const uint16_t *x, size_t n, uint64_t *out_sum, uint64_t *out_square)
{
    uint64_t sum = 0, square = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
        square += (uint32_t)x[i] * x[i];
    }
    *out_sum = sum;
    *out_square = square;
}

static void class_bits(const uint16_t *class_of, uint32_t n_hap, const uint64_t *of_class, uint32_t n_class, uint64_t *out)
{
    for (size_t base = 0; base < n_hap; base += 64) {
        uint64_t word = 0;
        for (unsigned j = 0; j < 64 && base + j < n_hap; j++)
            word |= (of_class[class_of[base + j] >> 6] >> (class_of[base + j] & 63) & 1) << j;
        out[base / 64] = word;
    }
}

const struct sq_kernels sq_kernels_scalar = KERNEL_TABLE("scalar");
