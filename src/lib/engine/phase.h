/**
 * phase - which allele of a genotype lies on which of the sample's two haplotypes.
 *
 * The model of Li & Stephens (Genetics 165:2213, 2003), in passes:
 *   1. first guesses by the votes of neighbours in one sweep of the positional Burrows-Wheeler transform (phase_pool.c);
 *   2. of the neighbours of several guesses of either haplotype, in sweeps both ways, those that agree with the *genotypes* longest become rows; whether they
 *      agree with the present guess beyond their place matters little, so a wrong guess doesn't cut the match that would mend it (phase_rows.c);
 *   3. the diploid model, exact, over pairs of some sixty rows: one heterozygote after the other is decided, and drawn for the other guesses, by its
 *      probability given those before it and all genotypes (phase_pairs.c); three times from 2 on, the first with fewer rows, among many samples four times; near heterozygotes whose order
 *      to each other is settled after the first are decided together, but not among many samples;
 *   4. the haploid model of both haplotypes over some hundreds of whole haplotypes, twice: more haplotypes than there can be pairs of (phase_lines.c).
 * Rows are haplotypes of the panel and of the other samples.
 *
 * What it may touch: memory. Results depend on the window and params->n_sampled alone, not on the number of threads.
 */
#ifndef SQ_ENGINE_PHASE_H
#define SQ_ENGINE_PHASE_H

#include "lib/engine/engine.h"

#define SQ_PHASE_MAX_SAMPLED 8U

/** A typed site that the panel has. */
struct sq_phase_site {
    uint32_t site;       /* row of the panel */
    uint8_t *allele;     /* [n_hap] 0, 1 or SQ_ENGINE_MISSING; a diploid sample's two side by side. In: as read, half a call counts as missing; out: phased, none missing */
    const uint8_t *set;  /* [n_sample] 0: the order of the alleles as read means nothing; else: heterozygotes with the same number have their order
                            given relative to each other. A set is one stretch of sites. NULL: all 0. borrowed */
    uint8_t *swap;       /* [n_sample] out, may be NULL: bit s: sampled phasing s has the alleles the other way round than .allele. The first takes the
                            less likely order wherever that is not very unlikely, the others draw by how likely they are */
    uint8_t *confidence; /* [n_sample] out, may be NULL: how sure the order relative to the heterozygotes before is: 255 certain, 0 a coin: P(right) = (1 + c / 255) / 2 */
};

struct sq_phase_window {
    const struct sq_engine_panel *panel;
    uint32_t n_sample, n_hap;    /* n_hap: two a diploid sample, one a haploid one */
    const uint8_t *is_haploid;   /* [n_sample] */
    uint32_t n_typed;
    struct sq_phase_site *typed; /* [n_typed] ascending by row, flanks included */
    uint64_t key;                /* of the window: what is drawn depends on it, the sample's number and the round alone */
};

struct sq_phase_params {
    unsigned n_thread;    /* 1..SQ_ENGINE_MAX_THREADS */
    unsigned n_sampled;   /* phasings wanted in .swap: 0..SQ_PHASE_MAX_SAMPLED */
    uint32_t n_state;     /* rows of states; 0: the default */
    unsigned n_round;     /* of pairs; 0: the default */
    double scale;         /* recombination scale; 0: the default */
    double mismatch;      /* P(allele differs from the copied haplotype's); 0: the default */
    void *progress_ctx;
    sq_err (*progress)(void *ctx, uint64_t n_done, uint64_t n_all); /* may be NULL; from the caller's thread alone */
};

struct sq_phase_report {
    uint64_t n_het, n_missing; /* of all samples */
    double mean_rows;
    double cpu_typed, cpu_start, cpu_sweep, cpu_rows, cpu_pairs, cpu_lines;
};

/**
 * sq_phase - order the alleles of all heterozygotes and fill missing calls, in place. Called alleles are never changed.
 *
 * @report  may be NULL.
 * SQ_ENOMEM; SQ_ERANGE for a broken window; errors of the panel's cursor and of progress.
 */
sq_err sq_phase(const struct sq_phase_window *window, const struct sq_phase_params *params, struct sq_phase_report *report) SQ_MUST_CHECK;

/**
 * sq_phase_ligate - turns haplotypes of @next round, and each sampled phasing for itself, where most heterozygotes of the @n_shared
 * sites that both windows have say so. @previous [n_shared] as handed out before, @next [n_next], whose first n_shared are the same sites.
 */
void sq_phase_ligate(const struct sq_phase_site *previous, uint32_t n_shared, struct sq_phase_site *next, uint32_t n_next,
                     uint32_t n_sample, const uint8_t *is_haploid);

#endif
