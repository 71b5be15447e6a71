/* oracle/hmm_dense - the model of lib/engine written out: double precision, every transition, nothing clever. */
#ifndef SQ_ORACLE_HMM_DENSE_H
#define SQ_ORACLE_HMM_DENSE_H

#include "oracle/plain.h"

/** hmm_dense_impute - @out[site * n_target + target]: ALT dosages. Shapes of a few dozen; O(n_typed * n_hap^2) a target. */
void hmm_dense_impute(const struct sq_plain_window *w, const struct sq_hmm_params *p, double *out);
/** hmm_dense_log_likelihood - log P(typed alleles) of target @t. */
double hmm_dense_log_likelihood(const struct sq_plain_window *w, const struct sq_hmm_params *p, uint32_t t);

#endif
