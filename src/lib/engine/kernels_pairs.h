/* kernels_pairs - the kernels of the diploid model, in vectors that the compiler makes of what the processor has: one text for all
 * versions, and so the same bits. Included by each of them, compiled for its processor. */
#ifndef SQ_ENGINE_KERNELS_PAIRS_H
#define SQ_ENGINE_KERNELS_PAIRS_H

#include "lib/engine/kernels_internal.h"

typedef float pair_lanes __attribute__((vector_size(64), aligned(64), may_alias));

static void pair_step(const float *in, float *out, uint32_t n, size_t pad, float *const column[6], const uint8_t *has_alt, const float *p,
                      const float *q, const float *r, float *sum)
{
    for (size_t at = 0; at < pad; at += 32) {
        pair_lanes s0 = {0}, s1 = {0};
        for (uint32_t i = 0; i < n; i++) {
            float *const *c = column + 3 * has_alt[i];
            const pair_lanes *a = (const pair_lanes *)(c[0] + at), *e = (const pair_lanes *)(c[1] + at), *g = (const pair_lanes *)(c[2] + at);
            const pair_lanes *x = (const pair_lanes *)(in + i * pad + at);
            pair_lanes *o = (pair_lanes *)(out + i * pad + at);
            o[0] = x[0] * p[i] * a[0] + (e[0] * q[i] + g[0] * r[i]);
            o[1] = x[1] * p[i] * a[1] + (e[1] * q[i] + g[1] * r[i]);
            s0 += o[0];
            s1 += o[1];
        }
        *(pair_lanes *)(sum + at) = s0;
        *(pair_lanes *)(sum + at + 16) = s1;
    }
}

static void pair_apart(const float *matrix, uint32_t n, size_t pad, const uint8_t *has_alt, const float *x, float *out_without, float *out_with)
{
    for (size_t at = 0; at < pad; at += 32) {
        pair_lanes without0 = {0}, without1 = {0}, with0 = {0}, with1 = {0};
        for (uint32_t i = 0; i < n; i++) {
            const pair_lanes *g = (const pair_lanes *)(matrix + i * pad + at);
            if (has_alt[i]) {
                with0 += g[0] * x[i];
                with1 += g[1] * x[i];
            } else {
                without0 += g[0] * x[i];
                without1 += g[1] * x[i];
            }
        }
        *(pair_lanes *)(out_without + at) = without0;
        *(pair_lanes *)(out_without + at + 16) = without1;
        *(pair_lanes *)(out_with + at) = with0;
        *(pair_lanes *)(out_with + at + 16) = with1;
    }
}

#endif
