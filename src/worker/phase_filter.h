/**
 * phase_filter - records of the typed queue are phased where they lie, window by window, before anybody reads them.
 *
 * The windows are those of the grid (site_walk.h), with FLANK_CM of typed rows to either side. Each is phased by itself (lib/engine/phase.h) and
 * turned so that it agrees with the one before at the heterozygotes of their common stretch, 4 cM around the line; behind the line the
 * new window's order holds. So the order of a sample's two haplotypes is one from end to end, and depends on nothing but target, panel and map.
 * Where a sample comes with an order that is given for the whole chromosome (`0|1` without PS), it is turned to agree with that.
 *
 * Calls that are missing stay so for the imputation (it knows more about them); with q->keeps_filled the phased calls lie beside.
 */
#ifndef SQ_WORKER_PHASE_FILTER_H
#define SQ_WORKER_PHASE_FILTER_H

#include "lib/engine/phase.h"
#include "worker/typed_queue.h"

#define FLANK_CM 2.0
#define PHASE_SAMPLED 1U /* phasings besides the best: more are worth no more (docs/decisions/0020) */

struct phase_counts {
    uint64_t n_het, n_missing; /* at rows of the panel, in the cores of the windows */
    uint64_t n_set_left;       /* phase sets of windows that had too many of them for one sample: phased as if they weren't there */
    double cpu_s;
};

struct phase_filter {
    struct worker *w;
    struct typed_queue *q;
    const struct sq_engine_panel *panel;
    int64_t next_no; /* the window that is phased next; INT64_MIN: not begun */
    unsigned n_sampled;
    void *ctx; /* of progress; @cm: how far it is */
    sq_err (*progress)(void *ctx, double cm);
    struct phase_counts counts;
    /* the present window */
    struct sq_phase_site *site; /* [n] */
    uint32_t *entry;            /* [n] of the queue */
    uint32_t n;
    double from_cm, to_cm;
    /* what the window before said of the stretch around its end */
    struct sq_phase_site *shared;
    uint32_t n_shared;
    bool is_turned; /* the present window agrees with it */
    /* [n_sample] the last set that was handed out, 0: none, and by which phasings (bits; 0: the best one) it stands the other way round than it was read */
    uint32_t *last_set;
    uint16_t *last_turned;
};

/** phase_filter_open - for a queue that takes_unphased. @panel, @q borrowed. @progress may be NULL. */
void phase_filter_open(struct phase_filter *f, struct worker *w, struct typed_queue *q, const struct sq_engine_panel *panel, unsigned n_sampled,
                       sq_err (*progress)(void *ctx, double cm), void *ctx);
void phase_filter_close(struct phase_filter *f);
/** phase_filter_to - read on, and phase all windows up to number @k. Nothing of those before that isn't dropped yet may be dropped in between. */
sq_err phase_filter_to(struct phase_filter *f, int64_t k) SQ_MUST_CHECK;

#endif
