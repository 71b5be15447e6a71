/* kernels_pairs - the kernels of the diploid model, in vectors that the compiler makes of what the processor has: one text for all
 * versions, and so the same bits. Included by each of them, compiled for its processor. */
#ifndef SQ_ENGINE_KERNELS_PAIRS_H
#define SQ_ENGINE_KERNELS_PAIRS_H

#include "lib/engine/kernels_internal.h"

typedef float pair_lanes __attribute__((vector_size(64), aligned(64), may_alias));
typedef uint32_t pair_bits __attribute__((vector_size(64), aligned(64), may_alias));

static pair_lanes *lanes_at(float *x, size_t at)
{
    return (pair_lanes *)(void *)(x + at);
}

static const pair_lanes *const_lanes_at(const float *x, size_t at)
{
    return (const pair_lanes *)(const void *)(x + at);
}

static float lanes_total(pair_lanes v)
{
    float all = 0;
    for (unsigned i = 0; i < 16; i++)
        all += v[i];
    return all;
}

/* All ones where the bit of element @at + lane is set. */
static pair_bits lanes_with(const uint64_t *bits, size_t at)
{
    const pair_bits bit = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768}, none = {0};
    return (pair_bits)(((none + (uint32_t)(bits[at / 64] >> (at % 64))) & bit) != none);
}

static pair_lanes lanes_choose(pair_bits mask, float with, float without)
{
    const pair_lanes none = {0};
    return (pair_lanes)(((pair_bits)(none + with) & mask) | ((pair_bits)(none + without) & ~mask));
}

static void pair_match(float *e, size_t pad, const uint64_t *alt, uint64_t flip, float miss)
{
    for (size_t at = 0; at < pad; at += 16) {
        uint64_t bits = alt[at / 64] ^ flip;
        *lanes_at(e, at) *= lanes_choose(lanes_with(&bits, at % 64), miss, 1);
    }
}

static void pair_even(float *e, size_t pad)
{
    pair_lanes best = {0};
    for (size_t at = 0; at < pad; at += 16) {
        pair_lanes x = *lanes_at(e, at);
        pair_bits is_more = (pair_bits)(x > best);
        best = (pair_lanes)(((pair_bits)x & is_more) | ((pair_bits)best & ~is_more));
    }
    float most = 0;
    for (unsigned i = 0; i < 16; i++)
        most = best[i] > most ? best[i] : most;
    if (most < 1 && most > 0)
        for (size_t at = 0; at < pad; at += 16)
            *lanes_at(e, at) /= most;
}

static inline void back_some(const float *in, const float *const seen[2], float *out, const float *const here[2], uint32_t n, size_t pad, const float *stay,
                             float *const work[3], const float *sum, float *out_sum)
{
    pair_lanes all = {0};
    for (size_t at = 0; at < pad; at += 16)
        all += *const_lanes_at(sum, at);
    float g = 1 / lanes_total(all), share = g / (float)n, each = 1 / ((float)n * (float)n);
    for (size_t at = 0; at < pad; at += 16) {
        pair_lanes s = *const_lanes_at(stay, at), leave = 1 - s, back = s * (*const_lanes_at(sum, at) * share);
        *lanes_at(work[0], at) = s * g;
        *lanes_at(work[1], at) = back + leave * each;
        *lanes_at(work[2], at) = leave;
    }
    const float *p = work[0], *q = work[1], *r = work[2];
    for (size_t at = 0; at < pad; at += 16) {
        pair_lanes s = *const_lanes_at(stay, at), leave = *lanes_at(work[2], at), back = s * (*const_lanes_at(sum, at) * share), total = {0};
        pair_lanes seen0 = {0}, seen1 = {0}, here0 = {0}, here1 = {0};
        if (seen) {
            seen0 = *const_lanes_at(seen[0], at) * s;
            seen1 = *const_lanes_at(seen[1], at) * s;
        }
        if (here) {
            here0 = *const_lanes_at(here[0], at);
            here1 = *const_lanes_at(here[1], at);
        }
        for (uint32_t i = 0; i < n; i++) {
            pair_lanes x = *const_lanes_at(in + i * pad, at) * p[i];
            if (seen)
                x *= seen1 * seen[0][i] + seen0 * seen[1][i];
            else
                x *= s;
            x += leave * q[i] + back * r[i];
            if (here) {
                x *= here1 * here[0][i] + here0 * here[1][i];
                total += x;
            }
            *lanes_at(out + i * pad, at) = x;
        }
        if (here)
            *lanes_at(out_sum, at) = total;
    }
}

static void pair_back(const float *in, const float *const seen[2], float *out, const float *const here[2], uint32_t n, size_t pad, const float *stay,
                      float *const work[3], const float *sum, float *out_sum)
{
    if (seen && !here)
        back_some(in, seen, out, NULL, n, pad, stay, work, sum, NULL);
    else if (!seen && here)
        back_some(in, NULL, out, here, n, pad, stay, work, sum, out_sum);
    else
        back_some(in, NULL, out, NULL, n, pad, stay, work, sum, NULL);
}

/* Of @n_walk walks at once, which is 1 or 4 where it is called. */
static inline void weigh_some(const float *matrix, uint32_t n, size_t pad, float *(*x)[2][2], unsigned n_walk, double (*out)[2][2])
{
    pair_lanes sum[4][2][2] = {{{{0}}}};
    for (size_t at = 0; at < pad; at += 16) {
        pair_lanes column[4][2] = {{{0}}};
        for (uint32_t i = 0; i < n; i++) {
            pair_lanes row = *const_lanes_at(matrix + i * pad, at);
            for (unsigned w = 0; w < n_walk; w++)
                for (unsigned b = 0; b < 2; b++)
                    column[w][b] += row * x[w][1][b][i];
        }
        for (unsigned w = 0; w < n_walk; w++)
            for (unsigned a = 0; a < 2; a++)
                for (unsigned b = 0; b < 2; b++)
                    sum[w][a][b] += *const_lanes_at(x[w][0][a], at) * column[w][b];
    }
    for (unsigned w = 0; w < n_walk; w++)
        for (unsigned i = 0; i < 4; i++)
            out[w][i / 2][i % 2] = (double)lanes_total(sum[w][i / 2][i % 2]);
}

static void pair_weigh(const float *matrix, uint32_t n, size_t pad, float *(*x)[2][2], unsigned n_walk, double (*out)[2][2])
{
    unsigned w = 0;
    for (; w + 4 <= n_walk; w += 4)
        weigh_some(matrix, n, pad, x + w, 4, out + w);
    for (; w < n_walk; w++)
        weigh_some(matrix, n, pad, x + w, 1, out + w);
}

static void pair_move(float *x, uint32_t n, size_t pad, const float *stay)
{
    pair_lanes all = {0}, kept = {0};
    for (size_t at = 0; at < pad; at += 16) {
        all += *lanes_at(x, at);
        kept += *lanes_at(x, at) * *const_lanes_at(stay, at);
    }
    float g = 1 / lanes_total(all), each = (1 - lanes_total(kept) * g) / (float)n;
    for (size_t at = 0; at < pad; at += 16)
        *lanes_at(x, at) = *lanes_at(x, at) * *const_lanes_at(stay, at) * g + each;
}

static void pair_emit(const float *x, size_t pad, const float *e, float *out)
{
    for (size_t at = 0; at < pad; at += 16)
        *lanes_at(out, at) = *const_lanes_at(x, at) * *const_lanes_at(e, at);
}

static void line_sums(float *const x[2], const uint16_t *const saved[2], uint32_t n, const uint64_t *alt, float sum[4][2], float of[2][2])
{
    pair_lanes s[4][2] = {{{0}}}, o[2][2] = {{{0}}};
    for (size_t at = 0; at < n; at += 16) {
        pair_bits has_alt = lanes_with(alt, at);
        for (unsigned r = 0; r < 2; r++) {
            pair_bits raw = *(const pair_bits *)(const void *)(saved[r] + (at & ~(size_t)31)); /* sq_kernel_saved_at() */
            if (at & 16)
                raw &= 0xffff0000U;
            else
                raw <<= 16;
            pair_lanes with = (pair_lanes)(raw & has_alt), without = (pair_lanes)(raw & ~has_alt);
            o[r][0] += without;
            o[r][1] += with;
            for (unsigned l = 0; l < 2; l++) {
                s[2 * l + r][0] += *lanes_at(x[l], at) * without;
                s[2 * l + r][1] += *lanes_at(x[l], at) * with;
            }
        }
    }
    for (unsigned i = 0; i < 4; i++)
        for (unsigned a = 0; a < 2; a++)
            sum[i][a] = lanes_total(s[i][a]);
    for (unsigned r = 0; r < 2; r++)
        for (unsigned a = 0; a < 2; a++)
            of[r][a] = lanes_total(o[r][a]);
}

#endif
