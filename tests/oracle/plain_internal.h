/* plain_internal - the passes of the model, for engine's own files. Not for other rooms. */
#ifndef SQ_ORACLE_PLAIN_INTERNAL_H
#define SQ_ORACLE_PLAIN_INTERNAL_H

#include "oracle/plain.h"

/* One value a lane. The vector type (gcc, clang) says: element by element, never across. */
typedef float sq_lanes __attribute__((vector_size(SQ_HMM_LANES * sizeof(float))));

/* A second version of a pass for machines with AVX2, chosen by the loader. Without fused multiply-add the bits are the same;
 * measured 2.6 times faster. (clang 14 can clone only within one file; the loader asks before a sanitizer is ready.) */
#if defined(__x86_64__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define HMM_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define HMM_CLONES
#endif

/** Emission of one typed site: factor for a panel haplotype with REF ([0]) or ALT ([1]), a lane each. */
struct hmm_emission {
    sq_lanes of[2];
};

/** hmm_emit - emissions of @n_lane targets (unused lanes and missing alleles: 1 for both). */
void hmm_emit(const uint8_t *target, uint32_t n_lane, float mismatch, struct hmm_emission *out);

/** hmm_jump_p - P(jump) between typed sites d_cm apart; never below HMM_MIN_JUMP, so that no row can sum to 0. */
#define HMM_MIN_JUMP 1e-8
float hmm_jump_p(double d_cm, double ne, uint32_t n_hap);

/** hmm_first - row[h] = emission / n_hap. Returns the sums over h, a lane each, through @out_sum. */
void hmm_first(uint32_t n_hap, const uint64_t *bits, const struct hmm_emission *e, sq_lanes *row, sq_lanes *out_sum);

/** hmm_forward - row[h] = (prev[h] * (1-jump)/prev_sum + jump/n_hap) * emission; sums through @out_sum. */
void hmm_forward(uint32_t n_hap, const uint64_t *bits, const struct hmm_emission *e, float jump, const sq_lanes *prev,
                 const sq_lanes *prev_sum, sq_lanes *row, sq_lanes *out_sum);

/** hmm_backward - in place: beta of the site to the right becomes beta of this one; @bits and @e are the right site's. */
void hmm_backward(uint32_t n_hap, const uint64_t *bits, const struct hmm_emission *e, float jump, sq_lanes *beta);

/** hmm_posterior - out[h] = alpha[h] * beta[h]; 1/sum through @out_inv (multiply by it to normalise). */
void hmm_posterior(uint32_t n_hap, const sq_lanes *alpha, const sq_lanes *beta, sq_lanes *out, sq_lanes *out_inv);

#endif
