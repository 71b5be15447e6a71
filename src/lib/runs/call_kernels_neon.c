/* The kernels for 64-bit ARM, whose every processor has these vectors. Whole vectors here, the rest by the plain version. */
#include "lib/runs/call_kernels_internal.h"

#ifdef CALL_KERNELS_NEON

#include <arm_neon.h>

static void clean_neon(const uint8_t *in, size_t n, uint8_t *out)
{
    const uint8x16_t quality = vdupq_n_u8(0xfc);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        uint8x16_t v = vld1q_u8(in + i);
        vst1q_u8(out + i, vandq_u8(v, vtstq_u8(v, quality)));
    }
    call_clean_scalar(in + i, n - i, out + i);
}

static void unpack_neon(const uint8_t *in, size_t n, const uint8_t palette[16], uint8_t *out)
{
    const uint8x16_t table = vld1q_u8(palette);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        uint8x16_t v = vld1q_u8(in + i / 2);
        uint8x16x2_t both = {{vqtbl1q_u8(table, vandq_u8(v, vdupq_n_u8(15))), vqtbl1q_u8(table, vshrq_n_u8(v, 4))}};
        vst2q_u8(out + i, both);
    }
    call_unpack_scalar(in + i / 2, n - i, palette, out + i);
}

/* Each byte's bit 0 at its own place, then eight of them added up. */
static size_t bits_neon(const uint8_t *in, size_t n, uint64_t *out)
{
    static const int8_t place[16] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};
    const int8x16_t shift = vld1q_s8(place);
    size_t i = 0, set = 0;
    for (; i + 64 <= n; i += 64) {
        uint64_t word = 0;
        for (unsigned k = 0; k < 64; k += 16) {
            uint8x16_t v = vshlq_u8(vandq_u8(vld1q_u8(in + i + k), vdupq_n_u8(1)), shift);
            word |= ((uint64_t)vaddv_u8(vget_high_u8(v)) << 8 | vaddv_u8(vget_low_u8(v))) << k;
        }
        out[i / 64] = word;
        set += (size_t)__builtin_popcountll(word);
    }
    return set + call_bits_scalar(in + i, n - i, out + i / 64);
}

const struct sq_call_kernels call_kernels_neon = {"neon", clean_neon, unpack_neon, call_keep_scalar, bits_neon};

#else
typedef int sq_runs_no_neon;
#endif
