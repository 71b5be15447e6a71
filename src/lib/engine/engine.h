/**
 * engine - imputation: arrays in, dosages out.
 *
 * The haploid model of Li & Stephens (Genetics 165:2213, 2003) over the panel haplotypes that match a target best:
 *   1. the typed sites of the window as bits of all haplotypes (typed.c);
 *   2. one sweep of the positional Burrows-Wheeler transform each way (Durbin, Bioinformatics 30:1266, 2014) finds the neighbours of
 *      each target every few hundredths of a cM (sweep.c);
 *   3. of these, the longest matches lie in a fixed number of rows, one after another: composite reference haplotypes
 *      (Browning, Zhou & Browning, AJHG 103:338, 2018), but a row that changes its haplotype forgets (states.c);
 *   4. forward-backward over clusters of typed sites; of the posterior the part above a cut is kept (hmm.c);
 *   5. at untyped sites the posterior is interpolated linearly in cM (Browning & Browning, AJHG 98:116, 2016), 64 rows of the panel
 *      at a time, by the patterns that haplotypes carry there (interpolate.c).
 * The recombination scale is the one that makes the typed sites of a few targets likeliest (fit.c).
 *
 * What it may touch: memory. It opens nothing, knows no file format, no sample and no chromosome name.
 * Dosages of a haplotype depend on the window, the panel and the fitted scale, not on the number of threads; sums are fixed in
 * order or exact, so they are the same bits on every machine (kernels.h). Checked against tests/oracle.
 */
#ifndef SQ_ENGINE_ENGINE_H
#define SQ_ENGINE_ENGINE_H

#include "lib/core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SQ_ENGINE_MISSING 2
#define SQ_ENGINE_MAX_HAP 4194304U
#define SQ_ENGINE_MAX_THREADS 64U
#define SQ_ENGINE_MAX_STATES 4096U
#define SQ_ENGINE_FULL 1000U /* a dosage of 1 */

/** Up to 64 consecutive rows of the panel, one ALT each. The cursor's, until its next call. */
struct sq_engine_block {
    uint32_t first_site, n_site; /* n_site: 1..64 */
    const double *cm;            /* [n_site] ascending */
    const uint32_t *n_alt;       /* [n_site] haplotypes of the panel with the ALT */
    uint32_t n_pattern;
    const uint64_t *pattern;  /* [n_pattern] bit s: carries the ALT of row first_site + s */
    const uint16_t *class_of; /* [n_hap] -> pattern; NULL when not asked for */
};

/** A run of blocks, where a cursor can start. */
struct sq_engine_segment {
    uint32_t first_site, n_site;
    bool follows; /* the way to its start leads through the segment before it, unless a cursor has gone it already */
};

/** Where the panel's haplotypes come from. Several threads have a cursor each. */
struct sq_engine_panel {
    void *ctx;
    uint32_t n_hap, n_site, n_segment;
    const struct sq_engine_segment *segment; /* [n_segment] in order, without gaps. borrowed */
    /* a cursor for the calling thread, at the start of @segment */
    sq_err (*open)(void *ctx, uint32_t segment, void **out_cursor);
    /* the next block of the same segment; *out_has false behind its last */
    sq_err (*next)(void *cursor, bool want_classes, struct sq_engine_block *out, bool *out_has);
    void (*close)(void *cursor);
    /* from the place where it was opened on, a cursor's classes are asked for of these haplotypes alone: @hap [n_hap] bits. NULL: all are always given */
    sq_err (*want)(void *cursor, const uint64_t *hap);
    /* who carries the ALT of row @row of the cursor's block: bits [n_hap], the rest of the last word 0. NULL: made of classes */
    void (*bits)(void *cursor, uint32_t row, uint64_t *out);
};

/** A typed site that the panel has. */
struct sq_engine_typed {
    uint32_t site;             /* row of the panel */
    const uint8_t *allele;     /* [n_target] 0, 1 or SQ_ENGINE_MISSING. borrowed */
    const uint8_t *confidence; /* [n_target] 0..255: how sure the phase is (255 certain, 0 a coin); NULL: certain. borrowed */
    const uint8_t *swap;       /* [n_sample] bit p: phasing p + 1 has the sample's two alleles the other way round (phase.h). NULL: none. borrowed */
};

/** What is imputed at once: a stretch of the genome with flanks on both sides. */
struct sq_engine_window {
    const struct sq_engine_panel *panel;
    uint32_t n_target; /* haplotypes */
    uint32_t n_typed;  /* 0: only frequencies are known */
    const struct sq_engine_typed *typed; /* [n_typed] ascending by row, flanks included */
    uint32_t from_site, to_site;         /* rows to be handed out */
    /* Other phasings of the targets, less likely ones: near the places where they turn the order, dosages are the mean over them and the one in .allele,
     * which counts for three. A heterozygote whose order isn't sure so counts for what it may be on either haplotype. */
    unsigned n_phasing;        /* 0..8 in typed[].swap */
    uint32_t n_sample;         /* with n_phasing: targets are two of each sample side by side, or one of a haploid */
    const uint8_t *is_haploid; /* [n_sample]. borrowed */
};

struct sq_engine_params {
    unsigned n_thread;    /* 1..SQ_ENGINE_MAX_THREADS */
    uint32_t n_state;     /* rows of states; 0: the default */
    uint32_t n_neighbour; /* neighbours taken at a place; 0: the default */
    double scale;         /* recombination scale: P(jump) = 1 - exp(-0.04 * scale * d_cm / n_hap); 0: fitted */
    double mismatch;      /* P(target allele differs from the copied haplotype's); 0: fitted */
    double cut;           /* part of a posterior that isn't kept; 0: the default */
    size_t memory;        /* bytes that posteriors may take; 0: the default. Changes the time, never the result */
    uint32_t piece_rows;  /* most rows of a piece; 0: by the number of targets */
    bool no_leave_one_out;
};

/** What is known of one row besides its dosages. */
struct sq_engine_row {
    float r2;                 /* expected squared correlation of dosage and truth, given that the row varies (docs/quality.md) */
    const uint16_t *left_out; /* [n_target] dosage without the row's own typed alleles, thousandths; NULL: not typed */
};

/** Where results go. A code other than SQ_OK stops the work and is returned. */
struct sq_engine_sink {
    void *ctx;
    /* Rows [from, to) of the block that @cursor stands at. A piece is handled by one thread, its rows in order; several pieces at once.
     * Pieces are numbered from 0 in the order of the panel; their cuts depend on the panel, the window and the number of targets alone.
     * @milli [to - from][n_target] ALT dosages in thousandths; @row [to - from]. */
    sq_err (*put)(void *ctx, uint32_t piece, void *cursor, const struct sq_engine_block *block, uint32_t from, uint32_t to,
                  const uint16_t *milli, const struct sq_engine_row *row);
    sq_err (*piece_end)(void *ctx, uint32_t piece);                /* after its last row, by the same thread */
    sq_err (*progress)(void *ctx, uint64_t n_done, uint64_t n_all); /* may be NULL; from the caller's thread alone */
};

/** What the window was, for those who want to know. CPU seconds are of all threads together. */
struct sq_engine_report {
    double scale, mismatch; /* as used */
    uint32_t n_cluster;     /* of typed sites */
    double mean_states, mean_kept; /* rows of states a target; posteriors kept a cluster and target */
    double cpu_typed, cpu_sweep, cpu_fit, cpu_states, cpu_hmm, cpu_dosage, cpu_sink;
};

/**
 * sq_engine_impute - ALT dosages of every target haplotype at rows [from_site, to_site) of the panel.
 *
 * @report  may be NULL.
 * SQ_ENOMEM; SQ_ERANGE for a broken window; errors of the panel's cursor and of the sink. Time: O(n_target * n_state * clusters) and
 * O(n_hap * n_typed) twice; memory: n_hap * n_typed / 4 bytes and what params->memory says, at least one piece's posteriors.
 */
sq_err sq_engine_impute(const struct sq_engine_window *window, const struct sq_engine_params *params,
                        const struct sq_engine_sink *sink, struct sq_engine_report *report) SQ_MUST_CHECK;

#endif
