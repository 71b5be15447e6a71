/* engine_internal - the passes of the imputation, for engine's own files. Not for other rooms. */
#ifndef SQ_ENGINE_INTERNAL_H
#define SQ_ENGINE_INTERNAL_H

#include "lib/engine/engine.h"
#include "lib/engine/kernels.h"

#include <stdatomic.h>

/* ---- crew.c: a few threads for one pass ------------------------------------------------------------------------- */

/** Work of one thread, numbered from 0 (the caller's). What it returns first stops the others where they look. */
struct crew {
    unsigned n_thread;
    atomic_int failed; /* sq_err of the first failure */
    double cpu;        /* seconds of all threads together, of the last run */
};
typedef sq_err (*crew_work)(void *ctx, unsigned thread);
sq_err crew_run(struct crew *c, unsigned n_thread, crew_work work, void *ctx) SQ_MUST_CHECK;
static inline bool crew_is_stopped(struct crew *c)
{
    return atomic_load_explicit(&c->failed, memory_order_relaxed) != SQ_OK;
}
double crew_cpu_now(void); /* CPU seconds of the calling thread */

/* Set bits. Not the compiler's own: that one is a call for processors of 2003, for which all but the kernels is built. */
static inline uint32_t bits_in(uint64_t x)
{
    x -= x >> 1 & UINT64_C(0x5555555555555555);
    x = (x & UINT64_C(0x3333333333333333)) + (x >> 2 & UINT64_C(0x3333333333333333));
    x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
    return (uint32_t)(x * UINT64_C(0x0101010101010101) >> 56);
}

/* ---- typed.c: the typed sites of a window ------------------------------------------------------------------------ */

#define CLUSTER_CM 0.002 /* typed sites nearer than this are one step of the model */

/* Typed sites are markers, 0..n_marker-1; alleles are bits: 1 = ALT. */
struct typed {
    uint32_t n_hap, n_target, n_marker, n_cluster;
    size_t hap_words, marker_words;
    double *cm;              /* [n_marker] */
    uint64_t *by_marker;     /* [n_marker][hap_words] */
    uint64_t *by_hap;        /* [n_hap][marker_words] */
    uint64_t *target;        /* [1 + n_phasing][n_target][marker_words]; 0 where missing */
    uint64_t *missing;       /* the same */
    uint8_t *confidence;     /* [n_target][n_cluster] the least of the cluster's; NULL: all certain */
    uint32_t *cluster_first; /* [n_cluster + 1] markers */
    uint32_t *cluster_of;    /* [n_marker] */
    double *cluster_cm;      /* [n_cluster] where its posterior holds: the middle of its markers */
};
sq_err typed_build(struct typed *y, const struct sq_engine_window *w, struct crew *crew, unsigned n_thread) SQ_MUST_CHECK;
void typed_free(struct typed *y);

/* ---- sweep.c: neighbours in positional Burrows-Wheeler order ------------------------------------------------------ */

#define NOBODY UINT32_MAX

/* Places are markers about step_cm apart. At each, of each target of the batch, n_each haplotypes above it in the order and
 * as many below, nearest first: [2 ways][n_place][n_target][2][n_each]. Way 0: by what lies at and before the place; 1: at and behind. */
struct neighbours {
    uint32_t n_place, n_target, n_each, first_target;
    uint32_t *place; /* [n_place] markers */
    uint32_t *of;
};
sq_err neighbours_init(struct neighbours *n, const struct typed *y, double step_cm, uint32_t n_each, uint32_t n_target) SQ_MUST_CHECK;
void neighbours_free(struct neighbours *n);
/** neighbours_find - fill @n for targets first .. first+count-1 (count <= the n_target of init). */
sq_err neighbours_find(struct neighbours *n, const struct typed *y, uint32_t first, uint32_t count, struct crew *crew,
                       unsigned n_thread) SQ_MUST_CHECK;
static inline const uint32_t *neighbours_at(const struct neighbours *n, unsigned way, uint32_t place, uint32_t target, unsigned side)
{
    return n->of + ((((size_t)way * n->n_place + place) * n->n_target + target) * 2 + side) * n->n_each;
}

/* ---- states.c: the rows of states of one target --------------------------------------------------------------------- */

/* A stretch of clusters, first..last, in which a row is a haplotype. */
struct stretch {
    uint32_t hap, first, last;
    uint32_t row, before; /* the stretch before it in its row, or NOBODY */
};

/* Clusters first..last. */
struct part {
    uint32_t first, last;
};
static inline struct part part_all(const struct typed *y)
{
    return (struct part){0, y->n_cluster - 1};
}

/* One thread's; used for one target after another. */
struct states {
    uint32_t target, n_row, n_stretch, n_cluster;
    struct part part; /* where there are rows */
    size_t row_words;
    struct stretch *stretch;  /* [n_stretch] ascending by first */
    uint32_t *last_of_row;    /* [n_row] its last stretch */
    uint32_t *change_first;   /* [n_cluster + 2] into change: stretches, not the first of their row, that begin at a cluster */
    uint32_t *change;
    uint64_t *alt;            /* [n_marker][row_words] bit: the row carries ALT */
    uint64_t *match;          /* [n_cluster][row_words] bit: the row agrees with the target at all markers of the cluster */
    struct states_work *work; /* states.c's own */
};
sq_err states_init(struct states *s, const struct typed *y, uint32_t n_row, uint32_t n_each) SQ_MUST_CHECK;
void states_free(struct states *s);
/** states_choose - rows in @part for @target (of the window), which is number @in_batch of @n. */
void states_choose(struct states *s, const struct typed *y, const struct neighbours *n, uint32_t target, uint32_t in_batch, uint32_t n_neighbour,
                   struct part part);

/* ---- hmm.c: forward and backward -------------------------------------------------------------------------------------- */

/* What is kept of a target's posteriors: haplotypes, and weights that add up to WEIGHT_FULL at each cluster. */
#define WEIGHT_FULL 65535U
struct posterior {
    uint32_t *start;     /* [n_cluster + 1] into the next two; of the clusters that were asked for, else empty */
    uint32_t *hap;
    uint16_t *weight;
};
void posterior_free(struct posterior *p);

struct hmm_rates {
    double scale, mismatch, cut;
    double *jump; /* [n_cluster] P(jump) between c-1 and c; [0] unused */
};
/** hmm_rates_set - fill jump from scale. r->jump is the caller's to free. */
sq_err hmm_rates_set(struct hmm_rates *r, const struct typed *y) SQ_MUST_CHECK;

/* One thread's scratch. */
struct hmm {
    float *x, *b, *post, *value;
    uint32_t *index, *at_stretch;
    uint64_t *once, *twice; /* [words of rows] */
    uint64_t *lone;         /* [markers of the largest cluster][words of rows] */
    float *sum_alt, *sum_lone; /* [markers of the largest cluster] */
    uint16_t *saved;        /* [n_cluster][padded rows] */
    struct part *kept_at;   /* [n_cluster] the cluster's part of the next two, its last one not included */
    uint32_t *kept_hap;
    uint16_t *kept_weight;
    size_t n_kept, kept_cap;
};
sq_err hmm_init(struct hmm *m, const struct typed *y, uint32_t n_row) SQ_MUST_CHECK;
void hmm_free(struct hmm *m);
/** hmm_likelihood - log P(typed alleles of the target | states), by a forward pass alone. */
double hmm_likelihood(struct hmm *m, const struct typed *y, const struct states *s, const struct hmm_rates *r);
/** hmm_begin - another target: nothing is kept yet. */
void hmm_begin(struct hmm *m, const struct typed *y);
/** hmm_part - forward and backward where @s has rows; posteriors of @keep are kept. @left_out (may be NULL) [n_marker], a thousandth each, @stride apart. */
sq_err hmm_part(struct hmm *m, const struct typed *y, const struct states *s, const struct hmm_rates *r, struct part keep, uint16_t *left_out,
                size_t stride) SQ_MUST_CHECK;
/** hmm_end - hands out what was kept of all parts since hmm_begin(). */
sq_err hmm_end(const struct hmm *m, const struct typed *y, struct posterior *out) SQ_MUST_CHECK;

/* ---- mean.c: the mean of posteriors over phasings ------------------------------------------------------------------------- */

/* A walk over the places where phasing @p begins to have the two haplotypes of sample @s, targets @t and t + 1, in another order than the best one. */
struct doubt {
    const struct typed *y;
    const struct sq_engine_window *w;
    unsigned p;
    uint32_t s, t, marker, before; /* marker: what comes next; before: the last heterozygote, or NOBODY */
};
/** part_around - with what lies nearer than @cm on either side. */
struct part part_around(const struct typed *y, struct part of, double cm);
/** doubt_next - the next place and all whose surroundings touch its own: clusters nearer than @cm. False: there's none. */
bool doubt_next(struct doubt *d, double cm, struct part *out);
/* One thread's scratch. */
struct mean {
    uint32_t *where;       /* [n_hap] */
    uint8_t *is_other;     /* [n_cluster] */
    uint32_t *hap, *weight;
    uint32_t cap;
};
sq_err mean_init(struct mean *m, const struct typed *y) SQ_MUST_CHECK;
void mean_free(struct mean *m);
/**
 * mean_take - @best becomes the mean over p phasings and itself, which counts for three: it was over p - 1 before. @drawn: of the two haplotypes of sample @s, targets @t
 * and t + 1, as phasing @p has them; where its order is the other way round they change places. Where @drawn has nothing it is taken to be as the best is.
 */
sq_err mean_take(struct mean *m, const struct typed *y, const struct sq_engine_window *w, unsigned p, uint32_t s, uint32_t t,
                 struct posterior *best, const struct posterior *drawn) SQ_MUST_CHECK;

/* ---- fit.c -------------------------------------------------------------------------------------------------------------- */

#define FIT_TARGETS 16U
/** fit_rates - scale and mismatch that make the typed alleles of some targets of the batch likeliest, where @rates has 0. */
sq_err fit_rates(const struct typed *y, const struct neighbours *n, const struct sq_engine_params *p, struct crew *crew,
                 struct hmm_rates *rates) SQ_MUST_CHECK;

/* ---- interpolate.c ------------------------------------------------------------------------------------------------------------ */

/* One thread's scratch for the rows of a block. */
struct dosage {
    uint32_t n_target;
    uint32_t *left, *right;  /* weights left and right of the patterns that have any */
    uint64_t *pattern;       /* these patterns */
    uint32_t *class_at;      /* and their numbers in the block */
    uint32_t *place;         /* [65536] where a number may stand in these lists: so when class_at says so too */
    uint16_t *milli;         /* [64][n_target] */
    double *work;            /* [2 * n_target] for quality_r2 */
};
sq_err dosage_init(struct dosage *d, uint32_t n_target) SQ_MUST_CHECK;
void dosage_free(struct dosage *d);
/** dosage_block - d->milli of rows [from, to) of @b. @cluster: first cluster that may lie at or behind row @from; moved on. */
void dosage_block(struct dosage *d, const struct typed *y, const struct posterior *target, const struct sq_engine_block *b,
                  uint32_t from, uint32_t to, uint32_t *cluster);
/** dosage_frequency - the same where nothing is typed: the panel's frequencies. */
void dosage_frequency(struct dosage *d, uint32_t n_hap, const struct sq_engine_block *b, uint32_t from, uint32_t to);

/* ---- quality.c ------------------------------------------------------------------------------------------------------------ */
/* What the typed sites of the window teach about dosages. */
struct quality {
    float chance[SQ_ENGINE_FULL + 1]; /* P(the rarer allele is there) by its dosage, in thousandths */
    double miss;                      /* the same where the dosage is 0, of a common allele */
    double slope;
};
/** quality_learn - from dosages left out [n_marker][n_target]; NULL: what is usual. */
sq_err quality_learn(struct quality *q, const struct typed *y, const uint16_t *left_out) SQ_MUST_CHECK;
/** quality_r2 - of a row with @n dosages; @n_alt of the panel's @n_hap carry its ALT. @work [2 * n] scratch. */
float quality_r2(const struct quality *q, const uint16_t *milli, size_t n, uint32_t n_alt, uint32_t n_hap, double *work);

#endif
