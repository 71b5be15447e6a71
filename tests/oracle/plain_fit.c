/*
 * Fit of the recombination scale. The best value differs between panels (6e4 for 2,000 simulated haplotypes, 1.7e5 for 4,208
 * mixed real ones), and the likelihood of the typed markers alone picks a good one: a forward pass for a few haplotypes
 * and a handful of values. Half a decade between values would be too coarse: it cost .003 of siteR2 on real data.
 */
#include "oracle/plain_internal.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static const double grid[] = {1e4, 1.7e4, 3e4, 5.5e4, 1e5, 1.7e5, 3e5, 5.5e5, 1e6};

#define N_GRID (sizeof grid / sizeof grid[0])
#define START 4 /* 1e5 */
#define N_BATCH (SQ_HMM_FIT_TARGETS / SQ_HMM_LANES)

struct fit {
    const struct sq_plain_window *w;
    double mismatch;
    uint32_t n_target, n_batch;
    size_t first, n_value;          /* of the grid, being looked at */
    double of[N_GRID][N_BATCH];     /* log P(typed alleles) of a batch: added up in order, whoever came first */
    bool is_known[N_GRID];
    atomic_uint next;
    atomic_bool is_out_of_memory;
};

/* log P(typed alleles) of one batch of targets; rows: two rows of scratch. */
static double log_likelihood(const struct fit *f, double ne, uint32_t first, sq_lanes *rows)
{
    const struct sq_plain_window *w = f->w;
    double total = 0;
    uint32_t n = f->n_target - first < SQ_HMM_LANES ? f->n_target - first : SQ_HMM_LANES;
    sq_lanes sum[2];
    for (uint32_t s = 0; s < w->n_typed; s++) {
        const uint64_t *bits = w->typed_bits + (size_t)s * sq_bit_words(w->n_hap);
        sq_lanes *row = rows + (size_t)(s & 1) * w->n_hap, *prev = rows + (size_t)(~s & 1) * w->n_hap;
        struct hmm_emission e;
        hmm_emit(w->target + (size_t)s * w->n_target + first, n, (float)f->mismatch, &e);
        if (s == 0)
            hmm_first(w->n_hap, bits, &e, row, &sum[0]);
        else
            hmm_forward(w->n_hap, bits, &e, hmm_jump_p(w->typed_cm[s] - w->typed_cm[s - 1], ne, w->n_hap), prev,
                        &sum[~s & 1], row, &sum[s & 1]);
        for (uint32_t l = 0; l < n; l++)
            total += log((double)sum[s & 1][l]);
    }
    return total;
}

static void *fit_main(void *arg)
{
    struct fit *f = arg;
    sq_lanes *rows = aligned_alloc(64, ((size_t)2 * f->w->n_hap * sizeof *rows + 63) / 64 * 64);
    if (!rows) {
        atomic_store(&f->is_out_of_memory, true);
        return NULL;
    }
    for (;;) {
        size_t unit = atomic_fetch_add(&f->next, 1), value = f->first + unit / f->n_batch, batch = unit % f->n_batch;
        if (unit >= f->n_value * f->n_batch)
            break;
        f->of[value][batch] = log_likelihood(f, grid[value], (uint32_t)batch * SQ_HMM_LANES, rows);
    }
    free(rows);
    return NULL;
}

/* Likelihoods of grid[first .. first + n), those that aren't known yet. */
static sq_err look_at(struct fit *f, size_t first, size_t n, const struct sq_hmm_params *p, const struct sq_plain_sink *sink)
{
    while (n && f->is_known[first]) {
        first++;
        n--;
    }
    f->first = first;
    f->n_value = n;
    atomic_store(&f->next, 0);
    pthread_t thread[SQ_HMM_MAX_THREADS];
    unsigned n_started = 0;
    while (n_started + 1 < p->n_thread && n_started + 1 < n * f->n_batch && !pthread_create(&thread[n_started], NULL, fit_main, f))
        n_started++;
    fit_main(f);
    for (unsigned t = 0; t < n_started; t++)
        pthread_join(thread[t], NULL);
    for (size_t i = first; i < first + n; i++)
        f->is_known[i] = true;
    if (atomic_load(&f->is_out_of_memory))
        return sq_fail(SQ_ENOMEM);
    return sink && sink->progress ? sink->progress(sink->ctx, 0, f->w->n_target) : SQ_OK;
}

static double total_of(const struct fit *f, size_t value)
{
    double total = 0;
    for (uint32_t b = 0; b < f->n_batch; b++)
        total += f->of[value][b];
    return total;
}

sq_err sq_hmm_fit_ne(const struct sq_plain_window *w, const struct sq_hmm_params *p, const struct sq_plain_sink *sink, double *out_ne)
{
    if (!w->n_hap || w->n_hap > SQ_HMM_MAX_HAP || p->n_thread < 1 || p->n_thread > SQ_HMM_MAX_THREADS)
        return sq_fail(SQ_ERANGE);
    struct fit f = {.w = w, .mismatch = p->mismatch, .n_target = w->n_target < SQ_HMM_FIT_TARGETS ? w->n_target : SQ_HMM_FIT_TARGETS};
    f.n_batch = (f.n_target + SQ_HMM_LANES - 1) / SQ_HMM_LANES;
    if (w->n_typed < SQ_HMM_FIT_MIN_TYPED || !f.n_target) {
        *out_ne = p->ne;
        return SQ_OK;
    }
    size_t at = START;
    sq_err e = look_at(&f, START - 1, 3, p, sink);
    for (int step = !e && total_of(&f, START - 1) > total_of(&f, START) ? -1 : 1; !e;) {
        size_t next = step < 0 ? at - 1 : at + 1;
        if ((step < 0 && !at) || next == N_GRID)
            break;
        if (!f.is_known[next])
            e = look_at(&f, next, 1, p, sink);
        if (e || !(total_of(&f, next) > total_of(&f, at)))
            break;
        at = next;
    }
    if (!e)
        *out_ne = grid[at];
    return e;
}
