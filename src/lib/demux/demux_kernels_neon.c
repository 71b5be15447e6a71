/* The kernels of demux_kernels.h for 64-bit ARM. Tails go through the plain ones. */
#include "lib/demux/demux_kernels_internal.h"

#ifdef __aarch64__

#include <arm_neon.h>
#include <string.h>

/* Bit i: element i of @mask is all ones. */
static inline uint32_t bits_of(uint8x16_t mask)
{
    static const uint8_t bit[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t v = vandq_u8(mask, vld1q_u8(bit));
    return (uint32_t)vaddv_u8(vget_high_u8(v)) << 8 | vaddv_u8(vget_low_u8(v));
}

static size_t pack(const uint8_t *call, size_t n, const uint8_t quality[4], uint8_t *out)
{
    uint8x16_t q[4];
    size_t i = 0;
    for (unsigned k = 1; k < 4; k++)
        q[k] = vdupq_n_u8(quality[k] ? quality[k] : 0x7f);
    for (; i + 16 <= n; i += 16) {
        uint8x16_t c = vld1q_u8(call + i), of = vshrq_n_u8(c, 2), known = vceqzq_u8(c), nibble = vandq_u8(c, vdupq_n_u8(3));
        for (unsigned k = 1; k < 4; k++) {
            uint8x16_t is = vceqq_u8(of, q[k]);
            known = vorrq_u8(known, is);
            nibble = vorrq_u8(nibble, vandq_u8(is, vdupq_n_u8((uint8_t)(4 * k))));
        }
        if (vminvq_u8(known) != 0xff)
            break;
        vst1_u8(out + i / 2, vget_low_u8(vorrq_u8(vuzp1q_u8(nibble, nibble), vshlq_n_u8(vuzp2q_u8(nibble, nibble), 4))));
    }
    return i + sq_demux_kernels_scalar.pack(call + i, n - i < 16 ? n - i : 16, quality, out + i / 2); /* the tail, or up to what stopped it */
}

/* 16 rows of 16 bytes: four rounds of interleaving */
static inline void transpose16(const uint8_t *in, size_t in_stride, uint8_t *out, size_t out_stride)
{
    uint8x16_t a[16], b[16];
    for (size_t i = 0; i < 16; i++)
        a[i] = vld1q_u8(in + i * in_stride);
    for (unsigned round = 0; round < 2; round++) {
        for (size_t i = 0; i < 8; i++) {
            b[2 * i] = vzip1q_u8(a[i], a[i + 8]);
            b[2 * i + 1] = vzip2q_u8(a[i], a[i + 8]);
        }
        for (size_t i = 0; i < 8; i++) {
            a[2 * i] = vzip1q_u8(b[i], b[i + 8]);
            a[2 * i + 1] = vzip2q_u8(b[i], b[i + 8]);
        }
    }
    for (size_t i = 0; i < 16; i++)
        vst1q_u8(out + i * out_stride, a[i]);
}

static void transpose(const uint8_t *in, size_t in_stride, size_t n_row, size_t n_column, uint8_t *out, size_t out_stride)
{
    size_t c = 0;
    for (; c + 16 <= n_column; c += 16) {
        size_t r = 0;
        for (; r + 16 <= n_row; r += 16)
            transpose16(in + r * in_stride + c, in_stride, out + c * out_stride + r, out_stride);
        if (r < n_row)
            sq_demux_kernels_scalar.transpose(in + r * in_stride + c, in_stride, n_row - r, 16, out + c * out_stride + r, out_stride);
    }
    if (c < n_column)
        sq_demux_kernels_scalar.transpose(in + c, in_stride, n_row, n_column - c, out + c * out_stride, out_stride);
}

static void sum(const uint8_t *call, size_t n, struct sq_call_sums *sums)
{
    const uint8x16_t one = vdupq_n_u8(1);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        uint8x16_t c = vld1q_u8(call + i), q = vshrq_n_u8(c, 2), none = vceqzq_u8(c);
        sums->quality += vaddlvq_u8(vorrq_u8(q, vandq_u8(none, vdupq_n_u8(SQ_DEMUX_N_QUALITY))));
        sums->n_q30 += vaddlvq_u8(vandq_u8(vcgeq_u8(q, vdupq_n_u8(30)), one));
        sums->n_called += vaddlvq_u8(vbicq_u8(one, none));
    }
    sq_demux_kernels_scalar.sum(call + i, n - i, sums);
}

static void text(const uint8_t *call, size_t n, char *base, char *quality, struct sq_call_sums *sums)
{
    static const uint8_t letters[16] = "ACGTACGTACGTACG";
    const uint8x16_t table = vld1q_u8(letters);
    size_t i = 0;
    sum(call, n / 16 * 16, sums);
    for (; i + 16 <= n; i += 16) {
        uint8_t out[2][16];
        uint8x16_t c = vld1q_u8(call + i), none = vceqzq_u8(c);
        vst1q_u8(out[0], vbslq_u8(none, vdupq_n_u8('N'), vqtbl1q_u8(table, vandq_u8(c, vdupq_n_u8(3)))));
        vst1q_u8(out[1], vaddq_u8(vorrq_u8(vshrq_n_u8(c, 2), vandq_u8(none, vdupq_n_u8(SQ_DEMUX_N_QUALITY))), vdupq_n_u8(33)));
        memcpy(base + i, out[0], 16);
        memcpy(quality + i, out[1], 16);
    }
    sq_demux_kernels_scalar.text(call + i, n - i, base + i, quality + i, sums);
}

/* Each call becomes one bit of four, a no-call and what is behind n all of them: it differs when it has none in common with the adapter's. */
static void near(const uint8_t *call, size_t n, const uint8_t *adapter, size_t n_adapter, const uint8_t *most, uint8_t *room, uint32_t *out)
{
    static const uint8_t bit_of[16] = {1, 2, 4, 8};
    const uint8x16_t bits = vld1q_u8(bit_of), any = vdupq_n_u8(15);
    for (size_t i = 0; i < n; i += 16) {
        uint8x16_t c = vld1q_u8(call + i);
        vst1q_u8(room + i, vbslq_u8(vceqzq_u8(c), any, vqtbl1q_u8(bits, vandq_u8(c, vdupq_n_u8(3)))));
    }
    memset(room + n, 15, 64);
    for (size_t i = 0; i < n; i += 32) {
        uint32_t word = 0;
        for (unsigned half = 0; half < 32; half += 16) {
            uint8x16_t count = vdupq_n_u8(0);
            for (size_t k = 0; k < n_adapter; k++)
                count = vsubq_u8(count, vceqzq_u8(vandq_u8(vld1q_u8(room + i + half + k), vdupq_n_u8((uint8_t)(adapter[k] > 3 ? 15U : 1U << adapter[k])))));
            word |= bits_of(vcleq_u8(count, vld1q_u8(most + i + half))) << half;
        }
        out[i / 32] = n - i < 32 ? word & ((1U << (n - i)) - 1) : word;
    }
}

static void repeats(const uint8_t *letter, size_t n, uint64_t *out)
{
    for (size_t i = 0; i < n; i += 64) {
        uint64_t word = 0;
        for (unsigned k = 0; k < 64; k += 16)
            word |= (uint64_t)bits_of(vceqq_u8(vld1q_u8(letter + i + k), vld1q_u8(letter + i + k - 1))) << k;
        out[i / 64] = n - i < 64 ? word & ((1ULL << (n - i)) - 1) : word;
    }
}

static inline uint32_t n_same(uint8x16_t v, uint8_t letter, uint32_t mask, uint32_t *any)
{
    uint32_t bits = bits_of(vceqq_u8(v, vdupq_n_u8(letter))) & mask;
    *any |= bits;
    return (uint32_t)__builtin_popcount(bits);
}

static bool squeeze(const uint8_t *letter, size_t n, uint8_t *out, uint32_t count[4])
{
    for (size_t i = 0; i < n; i += 16) {
        uint8x16_t v = vld1q_u8(letter + i);
        uint32_t mask = n - i < 16 ? (1U << (n - i)) - 1 : 0xffff, any = 0;
        count[0] += n_same(v, 'A', mask, &any);
        count[1] += n_same(v, 'C', mask, &any);
        count[2] += n_same(v, 'T', mask, &any);
        count[3] += n_same(v, 'G', mask, &any);
        if (any != mask)
            return false;
        uint8x16_t two = vandq_u8(vshrq_n_u8(v, 1), vdupq_n_u8(3));
        uint8x16_t four = vorrq_u8(vuzp1q_u8(two, two), vshlq_n_u8(vuzp2q_u8(two, two), 2));
        uint8x16_t eight = vorrq_u8(vuzp1q_u8(four, four), vshlq_n_u8(vuzp2q_u8(four, four), 4)); /* 4 letters a byte, 4 bytes */
        uint32_t bytes = vgetq_lane_u32(vreinterpretq_u32_u8(eight), 0);
        if (n - i < 16)
            bytes &= (1U << (2 * (n - i))) - 1;
        memcpy(out + i / 4, &bytes, 4);
    }
    return true;
}

const struct sq_demux_kernels sq_demux_kernels_neon = {"neon", pack, transpose, sum, text, near, repeats, squeeze};

#else
typedef int sq_demux_no_neon;
#endif
