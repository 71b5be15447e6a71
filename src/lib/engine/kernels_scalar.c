/*
 * The definition of the kernels, in C that any machine runs. Blocks of 64 states, a word of bits each; the inner loops carry
 * nothing from one element to the next, so that compilers make what they can of them.
 */
#include "lib/engine/kernels_internal.h"

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

/* a * b + c rounded once. Where the processor has no such instruction fmaf() is a hundred times slower than this: in double
 * the product is exact, and rounding the sum to 53 bits and then to 24 goes wrong only where the 53 bits end just between
 * two floats while the exact sum does not: there the error of the sum says to which side. (A normal float has 29 bits
 * fewer; near the denormal ones and zero, and for what isn't finite, fmaf() decides.) */
static inline float fused(float a, float b, float c)
{
#if defined(__FP_FAST_FMAF)
    return fmaf(a, b, c);
#else
    double p = (double)a * (double)b, s = p + (double)c;
    uint64_t u;
    memcpy(&u, &s, sizeof u);
    if ((u & 0x1fffffff) != 0x10000000 && fabs(s) >= 0x1p-126)
        return (float)s;
    return fmaf(a, b, c);
#endif
}

static inline uint16_t bf16_of(float f)
{
    return (uint16_t)((bits_of(f) + 0x8000U) >> 16);
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
        uint64_t m = match[base / 64], valid = kernel_valid(n, base);
        for (unsigned j = 0; j < 64; j++) {
            float v = fused(x[base + j], stay, jump) * (m >> j & 1 ? hit : miss);
            x[base + j] = valid >> j & 1 ? v : 0;
        }
        for (unsigned j = 0; j < 64; j++)
            lane[j % KERNEL_LANES] += x[base + j];
        if (save)
            for (unsigned j = 0; j < 64; j++)
                save[base + sq_kernel_saved_at(j)] = bf16_of(x[base + j]);
    }
    return lane_sum(lane);
}

static void backward(float *b, uint32_t n, const uint16_t *saved, const uint64_t *match, const uint64_t *alt, float stay, float jump,
                     float hit, float miss, float *post, float out[3])
{
    float lane_post[KERNEL_LANES] = {0}, lane_b[KERNEL_LANES] = {0}, lane_alt[KERNEL_LANES] = {0};
    for (size_t base = 0; base < n; base += 64) {
        uint64_t m = match[base / 64], a = alt[base / 64], valid = kernel_valid(n, base);
        for (unsigned j = 0; j < 64; j++) {
            float v = valid >> j & 1 ? fused(b[base + j], stay, jump) : 0;
            post[base + j] = v * float_of((uint32_t)saved[base + sq_kernel_saved_at(j)] << 16);
            b[base + j] = v * (m >> j & 1 ? hit : miss);
        }
        for (unsigned j = 0; j < 64; j++) {
            lane_post[j % KERNEL_LANES] += post[base + j];
            lane_b[j % KERNEL_LANES] += b[base + j];
            lane_alt[j % KERNEL_LANES] += a >> j & 1 ? post[base + j] : 0;
        }
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
    for (size_t i = 0; i < n; i++) {
        float v = fused(x[i], 1000.0F, 0.5F);
        v = v > 0.0F ? v : 0.0F;
        out[i] = (uint16_t)(int)(v < 1000.0F ? v : 1000.0F);
    }
}

static float masked_sum(const float *x, uint32_t n, const uint64_t *bits)
{
    float lane[KERNEL_LANES] = {0};
    for (size_t base = 0; base < n; base += 64)
        for (unsigned j = 0; j < 64; j++)
            lane[j % KERNEL_LANES] += bits[base / 64] >> j & 1 ? x[base + j] : 0;
    return lane_sum(lane);
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

const struct sq_kernels sq_kernels_scalar = {
    .name = "scalar",
    .forward = forward,
    .backward = backward,
    .above = above,
    .transpose = transpose,
    .partition = partition,
    .partition16 = partition16,
    .milli = milli,
    .row_sums = row_sums,
    .masked_sum = masked_sum,
    .spread = spread,
    .class_bits = class_bits,
};
