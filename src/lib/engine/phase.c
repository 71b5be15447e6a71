#include "lib/engine/phase_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_STATES 96U
#define FIRST_STATES 48U     /* in the first round, whose guesses are poor anyway */
#define DEFAULT_ROUNDS 3U    /* of pairs */
#define CROWDED 8U           /* samples have more than one haplotype for so many of the panel: many rows are other samples' guesses, which confirm each other */
#define CROWDED_ROUNDS 4U
#define LINES 768U
#define LINE_ROUNDS 2U
#define SCALE_ROOT 3500.0    /* default scale: so many times the root of the number of haplotypes: right within a third from 800 to 50,000 */
#define DEFAULT_MISMATCH 5e-3
#define STEP_CM 0.1
#define ROUND_SHIFT 0.37     /* of STEP_CM: places are others in each round */
#define N_EACH 1U            /* neighbours on each side, of each guess, at each place */
#define N_EACH_LINES 8U      /* the same for lines, where there are PLACES_ENOUGH; where there are fewer, up to four times as many */
#define PLACES_ENOUGH 36U
#define BATCH_SAMPLES 1024U  /* neighbours are found for so many at once */

struct run {
    const struct sq_phase_window *w;
    struct sq_phase_params p;
    struct sq_phase_report *report;
    struct sq_engine_typed *site; /* [n_typed] for typed_build() */
    struct typed y;
    struct pool pool;
    struct neighbours near;
    struct crew crew;
    struct phase_rates rates;
    unsigned n_round, n_pair_round;
    bool is_crowded;
    bool is_pairs; /* the present round */
    uint32_t from_sample, to_sample, max_row;
    atomic_uint next;
    atomic_ullong n_done, n_row;
    double cpu_rows[SQ_ENGINE_MAX_THREADS];
};

static sq_err window_check(const struct sq_phase_window *w, const struct sq_phase_params *p)
{
    if (!w->n_sample || w->n_hap > SQ_ENGINE_MAX_HAP || !p->n_thread || p->n_thread > SQ_ENGINE_MAX_THREADS ||
        p->n_sampled > SQ_PHASE_MAX_SAMPLED || p->n_state > SQ_ENGINE_MAX_STATES)
        return sq_fail(SQ_ERANGE);
    uint64_t n_hap = 0;
    for (uint32_t s = 0; s < w->n_sample; s++)
        n_hap += w->is_haploid[s] ? 1 : 2;
    if (n_hap != w->n_hap)
        return sq_fail(SQ_ERANGE);
    for (uint32_t m = 0; m < w->n_typed; m++)
        if (w->typed[m].site >= w->panel->n_site || (m && w->typed[m].site <= w->typed[m - 1].site))
            return sq_fail(SQ_ERANGE);
    return SQ_OK;
}

/* ---- a round ------------------------------------------------------------------------------------------------------------ */

static sq_err tell_progress(struct run *r)
{
    uint64_t all = (uint64_t)r->n_round * r->w->n_sample;
    return r->p.progress ? r->p.progress(r->p.progress_ctx, atomic_load(&r->n_done), all) : SQ_OK;
}

static sq_err phase_samples(void *ctx, unsigned thread)
{
    struct run *r = ctx;
    struct rows rows = {0};
    struct pairs *pairs = NULL;
    struct lines *lines = NULL;
    sq_err e = r->is_pairs ? rows_init(&rows, &r->pool, r->max_row, r->near.n_place) : lines_new(&r->pool, &r->near, &r->rates, LINES, &lines);
    if (!e && r->is_pairs)
        e = pairs_new(&r->pool, r->max_row, &pairs);
    while (!e && !crew_is_stopped(&r->crew)) {
        uint32_t s = r->from_sample + atomic_fetch_add(&r->next, 1);
        if (s >= r->to_sample)
            break;
        if (r->is_pairs) {
            double before = crew_cpu_now();
            rows_choose(&rows, &r->pool, &r->near, s);
            r->cpu_rows[thread] += crew_cpu_now() - before;
            atomic_fetch_add(&r->n_row, rows.n_row);
            e = pairs_run(pairs, &r->pool, &rows, &r->rates, s);
        } else {
            e = lines_run(lines, &r->pool, &r->near, &r->rates, s);
        }
        atomic_fetch_add(&r->n_done, 1);
        if (!e && !thread)
            e = tell_progress(r);
    }
    rows_free(&rows);
    pairs_free(pairs);
    lines_free(lines);
    return e;
}

/* Neighbours on a side of a place, so that there are lines enough in a short window too. */
static uint32_t n_each(const struct run *r)
{
    uint32_t n_place = (uint32_t)((r->y.cm[r->y.n_marker - 1] - r->y.cm[0]) / STEP_CM) + 1, times = PLACES_ENOUGH / n_place;
    return r->is_pairs ? N_EACH : N_EACH_LINES * (times < 1 ? 1 : times > 4 ? 4 : times);
}

/* Places about STEP_CM apart, others than in the round before. */
static sq_err find_places(struct run *r, unsigned round, uint32_t n_sample)
{
    const struct typed *y = &r->y;
    double shift = round * ROUND_SHIFT, next = y->cm[0] + (shift - (double)(unsigned)shift) * STEP_CM;
    neighbours_free(&r->near);
    sq_err e = neighbours_init(&r->near, y, STEP_CM, n_each(r), 2 * n_sample * r->pool.n_guess);
    uint32_t n = 0;
    for (uint32_t m = 0; !e && m < y->n_marker && n < r->near.n_place; m++)
        if (y->cm[m] >= next || m + 1 == y->n_marker) {
            r->near.place[n++] = m;
            next = y->cm[m] + STEP_CM;
        }
    r->near.n_place = n;
    return e;
}

static sq_err run_round(struct run *r, unsigned round)
{
    uint32_t n_sample = r->w->n_sample, n_batch = n_sample < BATCH_SAMPLES ? n_sample : BATCH_SAMPLES;
    r->rates.key = phase_mix(r->w->key + round);
    r->rates.is_last = round + 1 == r->n_round;
    r->rates.may_join = round && !r->is_crowded;
    r->is_pairs = round < r->n_pair_round;
    r->max_row = r->p.n_state ? r->p.n_state : round ? DEFAULT_STATES : FIRST_STATES;
    r->pool.n_guess = r->is_pairs ? N_GUESS : 1;
    if (r->is_pairs)
        atomic_store(&r->n_row, 0);
    sq_err e = find_places(r, round, n_batch);
    for (uint32_t s = 0; s < n_sample && !e; s += n_batch) {
        r->from_sample = s;
        r->to_sample = n_sample - s < n_batch ? n_sample : s + n_batch;
        uint32_t first = r->pool.first_target[s], end = r->pool.first_target[r->to_sample];
        e = pool_neighbours(&r->near, &r->pool, first, end - first, &r->crew, r->p.n_thread);
        r->report->cpu_sweep += r->crew.cpu;
        atomic_store(&r->next, 0);
        if (!e)
            e = crew_run(&r->crew, r->p.n_thread, phase_samples, r);
        *(r->is_pairs ? &r->report->cpu_pairs : &r->report->cpu_lines) += r->crew.cpu;
    }
    if (!e)
        pool_end_round(&r->pool);
    return e;
}

/* ---- the window ---------------------------------------------------------------------------------------------------------- */

static void hand_out(struct run *r)
{
    const struct sq_phase_window *w = r->w;
    for (uint32_t m = 0; m < w->n_typed; m++)
        for (uint32_t t = 0; t < w->n_hap; t++)
            w->typed[m].allele[t] = phase_bit(pool_guess(&r->pool, r->pool.target, 0, t), m);
}

static void fill_report(struct run *r)
{
    struct sq_phase_report *o = r->report;
    size_t n = (size_t)r->pool.n_sample * r->y.marker_words;
    for (size_t i = 0; i < n; i++) {
        o->n_het += bits_in(r->pool.het[i]);
        o->n_missing += bits_in(r->pool.missing[i]);
    }
    o->mean_rows = (double)atomic_load(&r->n_row) / r->w->n_sample;
    for (unsigned i = 0; i < SQ_ENGINE_MAX_THREADS; i++)
        o->cpu_rows += r->cpu_rows[i];
    o->cpu_pairs -= o->cpu_rows;
}

static sq_err run_window(struct run *r)
{
    const struct sq_phase_window *w = r->w;
    r->site = calloc(w->n_typed, sizeof *r->site);
    if (!r->site)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t m = 0; m < w->n_typed; m++) {
        r->site[m].site = w->typed[m].site;
        if (w->typed[m].swap)
            memset(w->typed[m].swap, 0, w->n_sample);
        if (w->typed[m].confidence)
            memset(w->typed[m].confidence, UINT8_MAX, w->n_sample);
    }
    struct sq_engine_window typed = {.panel = w->panel, .n_typed = w->n_typed, .typed = r->site};
    sq_err e = typed_build(&r->y, &typed, &r->crew, r->p.n_thread);
    r->report->cpu_typed = r->crew.cpu;
    if (!e)
        e = pool_build(&r->pool, &r->y, w);
    double before = crew_cpu_now();
    if (!e)
        e = pool_start(&r->pool, phase_mix(w->key));
    r->report->cpu_start = crew_cpu_now() - before;
    for (unsigned i = 0; i < r->n_round && !e; i++)
        e = run_round(r, i);
    if (e)
        return e;
    hand_out(r);
    fill_report(r);
    return SQ_OK;
}

sq_err sq_phase(const struct sq_phase_window *window, const struct sq_phase_params *params, struct sq_phase_report *report)
{
    struct sq_phase_report mine;
    sq_err e = window_check(window, params);
    if (report)
        *report = (struct sq_phase_report){0};
    if (e || !window->n_typed)
        return e;
    struct run *r = calloc(1, sizeof *r);
    if (!r)
        return sq_fail(SQ_ENOMEM);
    mine = (struct sq_phase_report){0};
    r->w = window;
    r->p = *params;
    r->report = report ? report : &mine;
    r->is_crowded = (uint64_t)CROWDED * window->n_hap > window->panel->n_hap;
    r->n_pair_round = params->n_round ? params->n_round : r->is_crowded ? CROWDED_ROUNDS : DEFAULT_ROUNDS;
    r->n_round = r->n_pair_round + LINE_ROUNDS;
    r->rates = (struct phase_rates){.scale = params->scale > 0 ? params->scale : SCALE_ROOT * sqrt((double)window->panel->n_hap + window->n_hap),
                                    .mismatch = params->mismatch > 0 ? params->mismatch : DEFAULT_MISMATCH,
                                    .n_sampled = params->n_sampled};
    e = run_window(r);
    typed_free(&r->y);
    phase_pool_free(&r->pool);
    neighbours_free(&r->near);
    free(r->site);
    free(r);
    return e;
}

/* ---- windows beside each other ------------------------------------------------------------------------------------------- */

struct votes {
    uint32_t same, other;
};

static bool is_turned(const struct votes *v)
{
    return v->other > v->same;
}

/* What shared heterozygotes say of the order of sample @s (alleles @t, @t + 1) and of its sampled phasings. */
static void count_votes(const struct sq_phase_site *previous, const struct sq_phase_site *next, uint32_t n_shared, uint32_t s, uint32_t t,
                        struct votes *best, struct votes sampled[SQ_PHASE_MAX_SAMPLED])
{
    for (uint32_t m = 0; m < n_shared; m++) {
        const uint8_t *a = previous[m].allele + t, *b = next[m].allele + t;
        if (a[0] == a[1] || b[0] == b[1])
            continue;
        bool is_other = a[0] != b[0];
        best->same += !is_other;
        best->other += is_other;
        unsigned differ = previous[m].swap && next[m].swap ? previous[m].swap[s] ^ next[m].swap[s] : 0U;
        for (unsigned i = 0; i < SQ_PHASE_MAX_SAMPLED; i++) {
            bool is_sampled_other = is_other != (differ >> i & 1);
            sampled[i].same += !is_sampled_other;
            sampled[i].other += is_sampled_other;
        }
    }
}

void sq_phase_ligate(const struct sq_phase_site *previous, uint32_t n_shared, struct sq_phase_site *next, uint32_t n_next,
                     uint32_t n_sample, const uint8_t *is_haploid)
{
    for (uint32_t s = 0, t = 0; s < n_sample; t += is_haploid[s] ? 1 : 2, s++) {
        struct votes best = {0, 0}, sampled[SQ_PHASE_MAX_SAMPLED] = {{0, 0}};
        if (is_haploid[s])
            continue;
        count_votes(previous, next, n_shared, s, t, &best, sampled);
        unsigned turn = 0; /* of sampled phasings, relative to the best */
        for (unsigned i = 0; i < SQ_PHASE_MAX_SAMPLED; i++)
            turn |= (unsigned)(is_turned(&sampled[i]) != is_turned(&best)) << i;
        for (uint32_t m = 0; m < n_next; m++) {
            uint8_t *a = next[m].allele + t, first = a[0];
            bool is_het = a[0] != a[1];
            if (is_turned(&best)) {
                a[0] = a[1];
                a[1] = first;
            }
            if (next[m].swap && is_het)
                next[m].swap[s] ^= (uint8_t)turn;
        }
    }
}
