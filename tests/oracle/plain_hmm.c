/*
 * The passes of the Li-Stephens model over one batch of SQ_HMM_LANES target haplotypes.
 *
 * Rows are [n_hap] lanes: all eight targets meet panel haplotype h together, so each panel allele is read once, the
 * inner work is one vector, and compilers need no help. The sums run over h in order, hence the same bits anywhere.
 */
#include "oracle/plain_internal.h"

#include <math.h>

static inline unsigned bit_of(const uint64_t *bits, uint32_t h)
{
    return (unsigned)(bits[h >> 6] >> (h & 63) & 1);
}

/* a macro: a function would return a vector, which means something else in each clone */
#define LANES_OF(v) ((sq_lanes){0} + (v))

void hmm_emit(const uint8_t *target, uint32_t n_lane, float mismatch, struct hmm_emission *out)
{
    out->of[0] = out->of[1] = LANES_OF(1.0F);
    for (uint32_t l = 0; l < n_lane; l++) {
        if (target[l] > 1)
            continue;
        out->of[target[l]][l] = 1.0F - mismatch;
        out->of[1 - target[l]][l] = mismatch;
    }
}

float hmm_jump_p(double d_cm, double ne, uint32_t n_hap)
{
    double p = -expm1(-0.04 * ne * d_cm / (double)n_hap);
    return (float)(p < HMM_MIN_JUMP ? HMM_MIN_JUMP : p);
}

void hmm_first(uint32_t n_hap, const uint64_t *bits, const struct hmm_emission *e, sq_lanes *row, sq_lanes *out_sum)
{
    sq_lanes start = LANES_OF(1.0F / (float)n_hap), sum = LANES_OF(0.0F);
    for (uint32_t h = 0; h < n_hap; h++) {
        row[h] = start * e->of[bit_of(bits, h)];
        sum += row[h];
    }
    *out_sum = sum;
}

HMM_CLONES
void hmm_forward(uint32_t n_hap, const uint64_t *bits, const struct hmm_emission *e, float jump,
                 const sq_lanes *prev, const sq_lanes *prev_sum, sq_lanes *row, sq_lanes *out_sum)
{
    sq_lanes stay = LANES_OF(1.0F - jump) / *prev_sum, from_any = LANES_OF(jump / (float)n_hap), sum = LANES_OF(0.0F);
    for (uint32_t h = 0; h < n_hap; h++) {
        row[h] = (prev[h] * stay + from_any) * e->of[bit_of(bits, h)];
        sum += row[h];
    }
    *out_sum = sum;
}

/* The backward variable is kept with sum 1 over h: with b = emission * beta and S = sum(b),
 * beta'(h) = (1-jump) b(h)/S + jump/n_hap. The factor S cancels in the posterior. */
HMM_CLONES
void hmm_backward(uint32_t n_hap, const uint64_t *bits, const struct hmm_emission *e, float jump, sq_lanes *beta)
{
    sq_lanes sum = LANES_OF(0.0F);
    for (uint32_t h = 0; h < n_hap; h++) {
        beta[h] *= e->of[bit_of(bits, h)];
        sum += beta[h];
    }
    sq_lanes stay = LANES_OF(1.0F - jump) / sum, to_any = LANES_OF(jump / (float)n_hap);
    for (uint32_t h = 0; h < n_hap; h++)
        beta[h] = beta[h] * stay + to_any;
}

HMM_CLONES
void hmm_posterior(uint32_t n_hap, const sq_lanes *alpha, const sq_lanes *beta, sq_lanes *out, sq_lanes *out_inv)
{
    sq_lanes sum = LANES_OF(0.0F);
    for (uint32_t h = 0; h < n_hap; h++) {
        out[h] = alpha[h] * beta[h];
        sum += out[h];
    }
    *out_inv = LANES_OF(1.0F) / sum;
}
