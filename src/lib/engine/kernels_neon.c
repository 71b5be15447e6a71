/*
 * The kernels for 64-bit ARM, whose every processor has these vectors and fused multiply-add.
 *
 * 32 lanes are eight vectors of 4. A word of bits becomes masks by testing it against one bit an element.
 */
#include "lib/engine/kernels_internal.h"
#include "lib/engine/kernels_pairs.h"

#include <arm_neon.h>
#include <stdbool.h>
#include <string.h>

#define V 4U /* floats of a vector */
#define INLINE static inline __attribute__((always_inline))

/* All ones where bit 4 q + j of @word is set, for element j. */
INLINE uint32x4_t mask_of(uint32x4_t word, unsigned q)
{
    static const uint32_t bit[4] = {1, 2, 4, 8};
    return vtstq_u32(word, vshlq_u32(vld1q_u32(bit), vdupq_n_s32((int32_t)(q * V))));
}

INLINE float32x4_t keep(float32x4_t v, uint32x4_t mask)
{
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), mask));
}

/* Lanes 4 q .. 4 q + 3 in lane[q], by the tree of kernels.h. */
INLINE float lane_sum(const float32x4_t lane[8])
{
    float32x4_t low = vaddq_f32(vaddq_f32(lane[0], lane[4]), vaddq_f32(lane[2], lane[6]));
    float32x4_t high = vaddq_f32(vaddq_f32(lane[1], lane[5]), vaddq_f32(lane[3], lane[7]));
    float32x4_t four = vaddq_f32(low, high);
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

struct step {
    float32x4_t stay, jump, hit, miss;
};

INLINE struct step step_of(float stay, float jump, float hit, float miss)
{
    return (struct step){vdupq_n_f32(stay), vdupq_n_f32(jump), vdupq_n_f32(hit), vdupq_n_f32(miss)};
}

/* 32 states; @match and @valid hold their bits. */
INLINE void forward_32(float *x, uint32_t match, uint32_t valid, bool is_whole, const struct step *s, float32x4_t sum[8], uint16_t *save)
{
    const uint32x4_t m = vdupq_n_u32(match), is_valid = vdupq_n_u32(valid), half = vdupq_n_u32(0x8000);
    float32x4_t v[8];
    for (unsigned q = 0; q < 8; q++) {
        v[q] = vmulq_f32(vfmaq_f32(s->jump, vld1q_f32(x + q * V), s->stay), vbslq_f32(mask_of(m, q), s->hit, s->miss));
        if (!is_whole)
            v[q] = keep(v[q], mask_of(is_valid, q));
        vst1q_f32(x + q * V, v[q]);
        sum[q] = vaddq_f32(sum[q], v[q]);
    }
    for (unsigned q = 0; q < 4 && save; q++) {
        uint32x4_t low = vshrq_n_u32(vaddq_u32(vreinterpretq_u32_f32(v[q]), half), 16);
        uint32x4_t high = vaddq_u32(vreinterpretq_u32_f32(v[q + 4]), half);
        vst1q_u16(save + q * 2 * V, vreinterpretq_u16_u32(vbslq_u32(vdupq_n_u32(0xffff0000U), high, low)));
    }
}

static float forward(float *x, uint32_t n, const uint64_t *match, float stay, float jump, float hit, float miss, uint16_t *save)
{
    const struct step s = step_of(stay, jump, hit, miss);
    float32x4_t sum[8];
    for (unsigned q = 0; q < 8; q++)
        sum[q] = vdupq_n_f32(0);
    for (size_t base = 0; base < n; base += 64) {
        uint64_t valid = kernel_valid(n, base), m = match[base / 64];
        for (unsigned at = 0; at < 64; at += 32)
            if (valid == UINT64_MAX)
                forward_32(x + base + at, (uint32_t)(m >> at), 0, true, &s, sum, save ? save + base + at : NULL);
            else
                forward_32(x + base + at, (uint32_t)(m >> at), (uint32_t)(valid >> at), false, &s, sum, save ? save + base + at : NULL);
    }
    return lane_sum(sum);
}

struct sums {
    float32x4_t post[8], b[8], alt[8];
};

INLINE void backward_32(float *b, const uint16_t *saved, uint32_t match, uint32_t alt, uint32_t valid, bool is_whole, const struct step *s, float *post,
                        struct sums *sum)
{
    const uint32x4_t m = vdupq_n_u32(match), a = vdupq_n_u32(alt), is_valid = vdupq_n_u32(valid);
    for (unsigned q = 0; q < 8; q++) {
        uint32x4_t pair = vreinterpretq_u32_u16(vld1q_u16(saved + q % 4 * 2 * V));
        float32x4_t f = vreinterpretq_f32_u32(q < 4 ? vshlq_n_u32(pair, 16) : vandq_u32(pair, vdupq_n_u32(0xffff0000U)));
        float32x4_t v = vfmaq_f32(s->jump, vld1q_f32(b + q * V), s->stay);
        if (!is_whole)
            v = keep(v, mask_of(is_valid, q));
        float32x4_t p = vmulq_f32(v, f);
        vst1q_f32(post + q * V, p);
        sum->post[q] = vaddq_f32(sum->post[q], p);
        sum->alt[q] = vaddq_f32(sum->alt[q], keep(p, mask_of(a, q)));
        v = vmulq_f32(v, vbslq_f32(mask_of(m, q), s->hit, s->miss));
        vst1q_f32(b + q * V, v);
        sum->b[q] = vaddq_f32(sum->b[q], v);
    }
}

static void backward(float *b, uint32_t n, const uint16_t *saved, const uint64_t *match, const uint64_t *alt, float stay, float jump,
                     float hit, float miss, float *post, float out[3])
{
    const struct step s = step_of(stay, jump, hit, miss);
    struct sums sum;
    for (unsigned q = 0; q < 8; q++)
        sum.post[q] = sum.b[q] = sum.alt[q] = vdupq_n_f32(0);
    for (size_t base = 0; base < n; base += 64) {
        uint64_t valid = kernel_valid(n, base), m = match[base / 64], a = alt[base / 64];
        for (unsigned at = 0; at < 64; at += 32)
            if (valid == UINT64_MAX)
                backward_32(b + base + at, saved + base + at, (uint32_t)(m >> at), (uint32_t)(a >> at), 0, true, &s, post + base + at, &sum);
            else
                backward_32(b + base + at, saved + base + at, (uint32_t)(m >> at), (uint32_t)(a >> at), (uint32_t)(valid >> at), false, &s,
                            post + base + at, &sum);
    }
    out[0] = lane_sum(sum.post);
    out[1] = lane_sum(sum.b);
    out[2] = lane_sum(sum.alt);
}

/* Most are below: 16 are looked at together. */
static uint32_t above(const float *post, uint32_t n, float cut, uint32_t *out_index, float *out_value)
{
    const float32x4_t limit = vdupq_n_f32(cut);
    uint32_t count = 0;
    for (size_t base = 0; base < n; base += 16) {
        size_t end = n - base < 16 ? n : base + 16;
        if (end == base + 16) {
            uint32x4_t is_above = vdupq_n_u32(0);
            for (unsigned q = 0; q < 4; q++)
                is_above = vorrq_u32(is_above, vcgtq_f32(vld1q_f32(post + base + q * V), limit));
            if (!vmaxvq_u32(is_above))
                continue;
        }
        for (size_t i = base; i < end; i++) {
            out_index[count] = (uint32_t)i;
            out_value[count] = post[i];
            count += post[i] > cut;
        }
    }
    return count;
}

/* Warren's way as in kernels_scalar.c, two rows at once. */
static void transpose(uint64_t a[64])
{
    uint64_t mask = 0x00000000ffffffff;
    for (unsigned side = 32; side > 1; side /= 2, mask ^= mask << side)
        for (unsigned i = 0; i < 64; i = ((i | side) + 2) & ~side) {
            uint64x2_t x = vld1q_u64(a + i), y = vld1q_u64(a + (i | side));
            uint64x2_t t = vandq_u64(veorq_u64(vshlq_u64(x, vdupq_n_s64(-(int64_t)side)), y), vdupq_n_u64(mask));
            vst1q_u64(a + i, veorq_u64(x, vshlq_u64(t, vdupq_n_s64((int64_t)side))));
            vst1q_u64(a + (i | side), veorq_u64(y, t));
        }
    for (unsigned i = 0; i < 64; i += 2) {
        uint64_t t = (a[i] >> 1 ^ a[i + 1]) & mask;
        a[i] ^= t << 1;
        a[i + 1] ^= t;
    }
}

/* There is no instruction that gathers or packs. */
static uint32_t partition(const uint32_t *order, uint32_t n, const uint64_t *bits, uint32_t *out, uint64_t *out_in_order)
{
    return sq_kernels_scalar.partition(order, n, bits, out, out_in_order);
}

static uint32_t partition16(const uint16_t *order, uint32_t n, const uint64_t *bits, uint16_t *out, uint64_t *out_in_order)
{
    return sq_kernels_scalar.partition16(order, n, bits, out, out_in_order);
}

INLINE uint16x4_t milli_4(float32x4_t x)
{
    float32x4_t v = vfmaq_f32(vdupq_n_f32(0.5F), x, vdupq_n_f32(1000.0F));
    v = vminq_f32(vmaxnmq_f32(v, vdupq_n_f32(0)), vdupq_n_f32(1000.0F)); /* maxnm gives the number, not the NaN */
    return vmovn_u32(vcvtq_u32_f32(v));
}

static void milli(const float *x, size_t n, uint16_t *out)
{
    size_t base = 0;
    for (; base + V <= n; base += V)
        vst1_u16(out + base, milli_4(vld1q_f32(x + base)));
    if (base < n) {
        float last[V] = {0};
        uint16_t got[V];
        memcpy(last, x + base, (n - base) * sizeof *x);
        vst1_u16(got, milli_4(vld1q_f32(last)));
        memcpy(out + base, got, (n - base) * sizeof *out);
    }
}

/* A lane gets two squares, at most 2,000,000, each time: 1,000 times fit 32 bits. */
static void masked_sums(const float *x, uint32_t n, const uint64_t *bits, size_t stride, uint32_t count, float *out)
{
    for (uint32_t k = 0; k < count; k++, bits += stride) {
        float32x4_t sum[8];
        for (unsigned q = 0; q < 8; q++)
            sum[q] = vdupq_n_f32(0);
        for (size_t base = 0; base < n; base += 32) {
            const uint32x4_t word = vdupq_n_u32((uint32_t)(bits[base / 64] >> (base % 64)));
            for (unsigned q = 0; q < 8; q++)
                sum[q] = vaddq_f32(sum[q], keep(vld1q_f32(x + base + q * V), mask_of(word, q)));
        }
        out[k] = lane_sum(sum);
    }
}

/* 32 of the 64 rows. */
INLINE void spread_32(const uint64_t *pattern, unsigned shift, const uint32_t *left, const uint32_t *right, uint32_t n, const uint32_t *of_left,
                      const uint32_t *of_right, uint32_t *sum)
{
    uint32x4_t l[8], r[8];
    for (unsigned q = 0; q < 8; q++)
        l[q] = r[q] = vdupq_n_u32(0);
    for (uint32_t i = 0; i < n; i++) {
        const uint32x4_t word = vdupq_n_u32((uint32_t)(pattern[i] >> shift)), a = vdupq_n_u32(left[i]), b = vdupq_n_u32(right[i]);
        for (unsigned q = 0; q < 8; q++) {
            l[q] = vaddq_u32(l[q], vandq_u32(mask_of(word, q), a));
            r[q] = vaddq_u32(r[q], vandq_u32(mask_of(word, q), b));
        }
    }
    for (unsigned q = 0; q < 8; q++) {
        uint32x4_t v = vmlaq_u32(vld1q_u32(sum + q * V), l[q], vld1q_u32(of_left + q * V));
        vst1q_u32(sum + q * V, vmlaq_u32(v, r[q], vld1q_u32(of_right + q * V)));
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
    uint64_t sum = 0, square = 0;
    size_t base = 0;
    while (base + 8 <= n) {
        uint32x4_t part = vdupq_n_u32(0), part_square = part;
        for (unsigned i = 0; i < 1000 && base + 8 <= n; i++, base += 8) {
            uint16x8_t v = vld1q_u16(x + base);
            part = vpadalq_u16(part, v);
            part_square = vmlal_u16(vmlal_u16(part_square, vget_low_u16(v), vget_low_u16(v)), vget_high_u16(v), vget_high_u16(v));
        }
        sum += vaddlvq_u32(part);
        square += vaddlvq_u32(part_square);
    }
    for (; base < n; base++) {
        sum += x[base];
        square += (uint32_t)x[base] * x[base];
    }
    *out_sum = sum;
    *out_square = square;
}

/* The bits of 512 classes are 64 bytes: one table. 16 haplotypes at once; a mask of bytes becomes bits by adding up halves. */
INLINE uint16_t class_bits_16(const uint16_t *class_of, uint8x16x4_t table)
{
    static const uint8_t power[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint16x8_t low = vld1q_u16(class_of), high = vld1q_u16(class_of + 8);
    uint8x16_t at = vcombine_u8(vshrn_n_u16(low, 3), vshrn_n_u16(high, 3));
    uint8x16_t in_byte = vandq_u8(vcombine_u8(vmovn_u16(low), vmovn_u16(high)), vdupq_n_u8(7));
    uint8x16_t is_set = vtstq_u8(vqtbl4q_u8(table, at), vshlq_u8(vdupq_n_u8(1), vreinterpretq_s8_u8(in_byte)));
    uint8x16_t weighed = vandq_u8(is_set, vld1q_u8(power));
    return (uint16_t)(vaddv_u8(vget_low_u8(weighed)) | vaddv_u8(vget_high_u8(weighed)) << 8);
}

static void class_bits(const uint16_t *class_of, uint32_t n_hap, const uint64_t *of_class, uint32_t n_class, uint64_t *out)
{
    if (n_class > 512) {
        sq_kernels_scalar.class_bits(class_of, n_hap, of_class, n_class, out);
        return;
    }
    uint8_t bytes[64] = {0};
    memcpy(bytes, of_class, sq_kernel_words(n_class) * sizeof *of_class);
    uint8x16x4_t table = {{vld1q_u8(bytes), vld1q_u8(bytes + 16), vld1q_u8(bytes + 32), vld1q_u8(bytes + 48)}};
    for (size_t base = 0; base < n_hap; base += 64) {
        uint16_t last[64] = {0};
        const uint16_t *from = class_of + base;
        if (n_hap - base < 64) {
            memcpy(last, from, (n_hap - base) * sizeof *last);
            from = last;
        }
        uint64_t word = 0;
        for (unsigned q = 0; q < 4; q++)
            word |= (uint64_t)class_bits_16(from + q * 16, table) << (q * 16);
        out[base / 64] = word & kernel_valid(n_hap, base);
    }
}

const struct sq_kernels sq_kernels_neon = KERNEL_TABLE("neon");
