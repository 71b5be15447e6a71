/**
 * oracle/plain - imputation: arrays in, arrays out.
 *
 * The plain version, and the oracle of every faster one: the haploid model of Li & Stephens (Genetics 165:2213, 2003,
 * Appendix A) over ALL panel haplotypes at the typed sites, forward-backward in float32 rescaled at each site;
 * at an untyped site the posterior is interpolated linearly in cM between the two typed neighbours (Browning &
 * Browning, AJHG 98:116, 2016) and summed over the carriers of the site's rarer allele.
 *
 * What it may touch: memory. It opens nothing, knows no file format, no sample and no chromosome name.
 * Results are bit-identical for any number of threads and any grouping of target haplotypes: each haplotype is a
 * lane of its own and no sum ever crosses lanes. Checked against tests/oracle/hmm_dense.c (double precision).
 */
#ifndef SQ_ORACLE_PLAIN_H
#define SQ_ORACLE_PLAIN_H

#include "lib/core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SQ_ALLELE_MISSING 2
#define SQ_HMM_LANES 8 /* target haplotypes that go through the model together */
#define SQ_HMM_MAX_HAP 4000000U
#define SQ_HMM_MAX_WORK_BYTES ((size_t)1 << 30) /* scratch of all threads together; more: SQ_ELIMIT */
#define SQ_HMM_MAX_THREADS 64U

/* Defaults, measured on real data (docs/decisions/0009-plain-imputation.md). */
#define SQ_HMM_NE 1e5
#define SQ_HMM_MISMATCH 1e-4

struct sq_hmm_params {
    double ne;         /* recombination scale: P(jump) = 1 - exp(-0.04 * ne * d_cm / n_hap), at least 1e-8 */
    double mismatch;   /* P(target allele differs from the copied haplotype's) */
    unsigned n_thread; /* 1..SQ_HMM_MAX_THREADS */
};

/** One site of the panel. Lists hold the carriers of the RARER allele, ascending. */
struct sq_plain_site {
    double cm;
    uint32_t n_carrier;
    bool carriers_have_ref;  /* the list names carriers of REF (ALT is the commoner one) */
    const uint32_t *carrier; /* [n_carrier] haplotype numbers < n_hap. borrowed */
};

/** What is imputed at once: a stretch of the genome with flanks on both sides. All borrowed. */
struct sq_plain_window {
    uint32_t n_hap; /* panel haplotypes */

    uint32_t n_typed;           /* typed sites that are in the panel, flanks included; 0: only frequencies are known */
    const double *typed_cm;     /* [n_typed] ascending */
    const uint64_t *typed_bits; /* [n_typed][sq_bit_words(n_hap)] bit h: panel haplotype h carries ALT */
    uint32_t n_target;          /* target haplotypes */
    const uint8_t *target;      /* [n_typed][n_target] 0, 1 or SQ_ALLELE_MISSING */

    uint32_t n_site; /* panel sites to be imputed, typed ones among them; any order with ascending cm */
    const struct sq_plain_site *site;
};

static inline size_t sq_bit_words(uint32_t n_hap)
{
    return ((size_t)n_hap + 63) / 64;
}

/** Where results go, and who wants to know how far it is. */
struct sq_plain_sink {
    void *ctx;
    /* ALT dosages (0..1) of target haplotypes first .. first+n-1 at window->site[site]. Called from several threads
     * at once, each (site, first) exactly once, in no order. Never NULL. */
    void (*put)(void *ctx, uint32_t site, uint32_t first, uint32_t n, const float *dosage);
    /* May be NULL. Called from the caller's thread only; anything but SQ_OK stops the work with that code. */
    sq_err (*progress)(void *ctx, uint32_t n_target_done, uint32_t n_target);
};

/**
 * sq_plain_impute - ALT dosages of every target haplotype at every site of @window.
 *
 * Memory: threads x (4 + 2*sqrt(n_typed)) x n_hap x 32 bytes, lowered to fewer threads when it exceeds
 * SQ_HMM_MAX_WORK_BYTES, SQ_ELIMIT when one thread alone exceeds it. SQ_ENOMEM; SQ_ERANGE for a broken window.
 * O(n_target * n_hap * n_typed + n_target * carriers).
 */
sq_err sq_plain_impute(const struct sq_plain_window *window, const struct sq_hmm_params *params,
                        const struct sq_plain_sink *sink) SQ_MUST_CHECK;

/**
 * sq_hmm_fit_ne - the recombination scale of a fixed grid (1e4 .. 1e6) that makes the typed markers of the first
 * target haplotypes of @window likeliest: uphill from 1e5. Depends on the window alone, not on the number of
 * threads. *out_ne is params->ne when the window can't tell (fewer than SQ_HMM_FIT_MIN_TYPED typed sites). Of @sink, which
 * may be NULL, only `progress` is called, with no target done. Same errors as sq_plain_impute.
 */
#define SQ_HMM_FIT_MIN_TYPED 20U
#define SQ_HMM_FIT_TARGETS 32U
sq_err sq_hmm_fit_ne(const struct sq_plain_window *window, const struct sq_hmm_params *params, const struct sq_plain_sink *sink,
                     double *out_ne) SQ_MUST_CHECK;

#endif
