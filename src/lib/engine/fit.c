/*
 * The recombination scale and the mismatch that make the typed alleles of a few targets likeliest: forward passes over their states, uphill
 * on a fixed grid. The best scale differs between panels by a factor of ten and more, and likelihoods over the same states find it
 * (docs/decisions/0009); the mismatch matters little, so a coarse grid does.
 */
#include "lib/engine/engine_internal.h"

#include <math.h>
#include <stdlib.h>

static const double scales[] = {1e4, 1.7e4, 3e4, 5.5e4, 1e5, 1.7e5, 3e5, 5.5e5, 1e6, 1.7e6, 3e6};
static const double mismatches[] = {1e-4, 1e-3, 1e-2};

#define N_SCALE (sizeof scales / sizeof scales[0])
#define N_MISMATCH (sizeof mismatches / sizeof mismatches[0])
#define FIRST_SCALE 5    /* 1.7e5 */
#define FIRST_MISMATCH 0 /* 1e-4 */

/* The likeliest scale isn't the one that imputes best: the states were chosen for agreeing with these very targets. Where a window has many rows
 * for each neighbour taken at a place, better ones lie higher, where it has few, lower; and they lie nearer to what is usual
 * (docs/decisions/0015). */
#define USUAL_ROWS 35.0   /* rows of a target for each neighbour of a place */
#define USUAL_SHARE 0.15  /* on a scale of logarithms */
#define USUAL_SCALE 2.5e5 /* of panels of up to USUAL_HAPS haplotypes; beyond that it grows as their root */
#define USUAL_HAPS 1e4

struct fit {
    const struct typed *y;
    const struct neighbours *n;
    const struct sq_engine_params *p;
    struct crew *crew;
    unsigned n_thread;
    double cpu;
    uint32_t n_target;
    struct states states[FIT_TARGETS];
    struct hmm hmm[SQ_ENGINE_MAX_THREADS];
    atomic_uint next;
    struct hmm_rates rates;
    double of[FIT_TARGETS]; /* log P of a target: added up in order, whoever came first */
};

static sq_err choose_states(void *ctx, unsigned thread)
{
    struct fit *f = ctx;
    sq_err e = hmm_init(&f->hmm[thread], f->y, f->p->n_state);
    for (uint32_t i; !e && (i = atomic_fetch_add(&f->next, 1)) < f->n_target;) {
        uint32_t t = (uint32_t)((uint64_t)i * f->n->n_target / f->n_target);
        e = states_init(&f->states[i], f->y, f->p->n_state, f->p->n_neighbour);
        if (!e)
            states_choose(&f->states[i], f->y, f->n, f->n->first_target + t, t, f->p->n_neighbour, part_all(f->y));
    }
    return e;
}

static sq_err measure(void *ctx, unsigned thread)
{
    struct fit *f = ctx;
    for (uint32_t i; (i = atomic_fetch_add(&f->next, 1)) < f->n_target;)
        f->of[i] = hmm_likelihood(&f->hmm[thread], f->y, &f->states[i], &f->rates);
    return SQ_OK;
}

static sq_err likelihood(struct fit *f, double *out)
{
    atomic_store(&f->next, 0);
    sq_err e = hmm_rates_set(&f->rates, f->y);
    if (!e)
        e = crew_run(f->crew, f->n_thread, measure, f);
    f->cpu += f->crew->cpu;
    *out = 0;
    for (uint32_t i = 0; i < f->n_target; i++)
        *out += f->of[i];
    return e;
}

/* Uphill from grid[at], the way that rises; each value is measured once. Leaves f->rates as it was but for *rate. */
static sq_err climb(struct fit *f, const double *grid, size_t n_grid, size_t *at, double *rate, double of[])
{
    for (size_t i = 0; i < n_grid; i++)
        of[i] = NAN;
    for (;;) {
        size_t best = *at, around[3] = {*at, *at ? *at - 1 : 0, *at + 1 < n_grid ? *at + 1 : *at};
        for (unsigned j = 0; j < 3; j++) {
            size_t i = around[j];
            *rate = grid[i];
            sq_err e = isnan(of[i]) ? likelihood(f, &of[i]) : SQ_OK;
            if (e)
                return e;
            if (of[i] > of[best])
                best = i;
        }
        *rate = grid[best];
        if (best == *at)
            return SQ_OK;
        *at = best;
    }
}

/* The top of the parabola through the best value of the grid and its neighbours, on a scale of logarithms. */
static double peak(const double *grid, size_t n_grid, size_t at, const double of[])
{
    if (at == 0 || at + 1 == n_grid)
        return grid[at];
    double x0 = log(grid[at - 1] / grid[at]), x2 = log(grid[at + 1] / grid[at]), y0 = of[at - 1] - of[at], y2 = of[at + 1] - of[at];
    double down = x0 * y2 - x2 * y0; /* the parabola is a x^2 + b x: a = (y2/x2 - y0/x0) / (x2 - x0), b = y0/x0 - a x0 */
    if (down == 0)
        return grid[at];
    double top = (x0 * x0 * y2 - x2 * x2 * y0) / (2 * down);
    return grid[at] * exp(top < x0 ? x0 : top > x2 ? x2 : top);
}

static double better_scale(const struct fit *f, double likeliest)
{
    double rows = 0, usual = f->y->n_hap > USUAL_HAPS ? USUAL_SCALE * sqrt(f->y->n_hap / USUAL_HAPS) : USUAL_SCALE;
    for (uint32_t i = 0; i < f->n_target; i++)
        rows += f->states[i].n_row;
    rows /= (double)f->n_target * f->p->n_neighbour;
    return pow(likeliest * sqrt(rows / USUAL_ROWS), 1 - USUAL_SHARE) * pow(usual, USUAL_SHARE);
}

sq_err fit_rates(const struct typed *y, const struct neighbours *n, const struct sq_engine_params *p, struct crew *crew,
                 struct hmm_rates *rates)
{
    struct fit *f = calloc(1, sizeof *f);
    if (!f)
        return sq_fail(SQ_ENOMEM);
    *f = (struct fit){.y = y, .n = n, .p = p, .crew = crew, .rates = *rates};
    f->n_target = n->n_target < FIT_TARGETS ? n->n_target : FIT_TARGETS;
    f->n_thread = p->n_thread < f->n_target ? p->n_thread : f->n_target;
    sq_err e = crew_run(crew, f->n_thread, choose_states, f);
    f->cpu = crew->cpu;
    if (!(f->rates.mismatch > 0))
        f->rates.mismatch = mismatches[FIRST_MISMATCH];
    double of[N_SCALE + N_MISMATCH];
    size_t scale = FIRST_SCALE, mismatch = FIRST_MISMATCH;
    if (!e && !(rates->scale > 0))
        e = climb(f, scales, N_SCALE, &scale, &f->rates.scale, of);
    if (!e && !(rates->scale > 0))
        f->rates.scale = better_scale(f, peak(scales, N_SCALE, scale, of));
    if (!e && !(rates->mismatch > 0))
        e = climb(f, mismatches, N_MISMATCH, &mismatch, &f->rates.mismatch, of);
    *rates = f->rates;
    if (!e)
        e = hmm_rates_set(rates, y);
    for (uint32_t i = 0; i < FIT_TARGETS; i++)
        states_free(&f->states[i]);
    for (unsigned i = 0; i < SQ_ENGINE_MAX_THREADS; i++)
        hmm_free(&f->hmm[i]);
    crew->cpu = f->cpu;
    free(f);
    return e;
}
