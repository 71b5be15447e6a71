/*
 * Fit of the recombination scale. The best value differs between panels (6e4 for 2,000 simulated haplotypes, 1.7e5 for 4,208
 * mixed real ones), and the likelihood of the typed markers alone picks a good one: a forward pass for a few haplotypes
 * and a handful of values. Half a decade between values would be too coarse: it cost .003 of siteR2 on real data.
 */
#include "lib/engine/engine_internal.h"

#include <math.h>
#include <stdlib.h>

static const double grid[] = {1e4, 1.7e4, 3e4, 5.5e4, 1e5, 1.7e5, 3e5, 5.5e5, 1e6};

/* log P(typed alleles) summed over the first targets; rows: two rows of scratch. */
static double log_likelihood(const struct sq_window *w, double ne, double mismatch, uint32_t n_target, sq_lanes *rows)
{
    double total = 0;
    for (uint32_t first = 0; first < n_target; first += SQ_HMM_LANES) {
        uint32_t n = n_target - first < SQ_HMM_LANES ? n_target - first : SQ_HMM_LANES;
        sq_lanes sum[2];
        for (uint32_t s = 0; s < w->n_typed; s++) {
            const uint64_t *bits = w->typed_bits + (size_t)s * sq_bit_words(w->n_hap);
            sq_lanes *row = rows + (size_t)(s & 1) * w->n_hap, *prev = rows + (size_t)(~s & 1) * w->n_hap;
            struct hmm_emission e;
            hmm_emit(w->target + (size_t)s * w->n_target + first, n, (float)mismatch, &e);
            if (s == 0)
                hmm_first(w->n_hap, bits, &e, row, &sum[0]);
            else
                hmm_forward(w->n_hap, bits, &e, hmm_jump_p(w->typed_cm[s] - w->typed_cm[s - 1], ne, w->n_hap), prev,
                            &sum[~s & 1], row, &sum[s & 1]);
            for (uint32_t l = 0; l < n; l++)
                total += log((double)sum[s & 1][l]);
        }
    }
    return total;
}

sq_err sq_hmm_fit_ne(const struct sq_window *w, const struct sq_hmm_params *p, double *out_ne)
{
    if (!w->n_hap || w->n_hap > SQ_HMM_MAX_HAP)
        return sq_fail(SQ_ERANGE);
    uint32_t n_target = w->n_target < SQ_HMM_FIT_TARGETS ? w->n_target : SQ_HMM_FIT_TARGETS;
    if (w->n_typed < SQ_HMM_FIT_MIN_TYPED || !n_target) {
        *out_ne = p->ne;
        return SQ_OK;
    }
    sq_lanes *rows = aligned_alloc(64, ((size_t)2 * w->n_hap * sizeof *rows + 63) / 64 * 64);
    if (!rows)
        return sq_fail(SQ_ENOMEM);
    double best = -INFINITY, best_ne = p->ne;
    for (size_t i = 0; i < sizeof grid / sizeof grid[0]; i++) {
        double ll = log_likelihood(w, grid[i], p->mismatch, n_target, rows);
        if (ll > best) {
            best = ll;
            best_ne = grid[i];
        }
    }
    free(rows);
    *out_ne = best_ne;
    return SQ_OK;
}
