/*
 * One window, from its typed sites to its dosages. Targets go through the model in batches, so that memory doesn't grow with the cohort, and
 * the window's pieces are done in spans for which the posteriors of all targets fit. A piece is what a segment of the panel has in the
 * window, or some rows of it when there are many targets. Neither batches nor spans show in the result.
 */
#include "lib/engine/engine_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_STATES 2048U
#define DEFAULT_NEIGHBOURS 32U  /* at a place; in a window with few places up to MOST_NEIGHBOURS, so that rows aren't few */
#define MOST_NEIGHBOURS 128U
#define MANY_PLACES 40U
#define DEFAULT_CUT 1e-3
#define DEFAULT_MEMORY ((size_t)1 << 30)
#define STEP_CM 0.1 /* between places */
#define BATCH_TARGETS 1024U
#define DOUBT_CM 0.75       /* another phasing is imputed so far on both sides of a place where it differs */
#define DOUBT_FLANK_CM 1.5 /* and modelled so much farther */
#define PIECE_DOSAGES ((uint64_t)8 << 20) /* a piece has about so many, packed some .4 bytes each; what waits to be written is whole pieces */
#define PIECE_MIN_ROWS 16U
#define GUESSED_KEPT 40U /* posteriors a cluster and target: for cutting spans alone */

struct piece {
    uint32_t segment, from_site, to_site;
};

struct run {
    const struct sq_engine_window *w;
    struct sq_engine_params p;
    const struct sq_engine_sink *sink;
    struct sq_engine_report *report;
    struct crew crew;
    struct typed y;
    struct neighbours near;
    struct hmm_rates rates;
    struct quality quality;
    bool has_quality;
    struct posterior *target; /* [n_target] */
    struct posterior *drawn;  /* [batch] of the present phasing; NULL: there is but the best one */
    uint32_t *sample_of;      /* [n_target] with phasings */
    uint16_t *left_out;       /* [n_marker][n_target] or NULL */
    struct piece *piece;
    uint32_t n_piece;
    /* the present pass */
    unsigned phasing; /* 0: the best */
    uint32_t first_target, n_batch, from_cluster, to_cluster, from_piece, to_piece;
    atomic_uint next, n_done;
    uint64_t done_before, n_all; /* progress: targets modelled, and rows */
    double cpu_states[SQ_ENGINE_MAX_THREADS], cpu_sink[SQ_ENGINE_MAX_THREADS];
    _Atomic uint64_t n_row, n_kept;
};

static sq_err tell(struct run *r, uint64_t n)
{
    return r->sink->progress ? r->sink->progress(r->sink->ctx, r->done_before + n, r->n_all) : SQ_OK;
}

/* ---- the model, a batch of targets --------------------------------------------------------------------------------- */

static bool is_haploid(const struct run *r, uint32_t t)
{
    return r->w->is_haploid[r->sample_of[t]];
}

/* The first of the sample's two targets. */
static uint32_t first_of_pair(const struct run *r, uint32_t t)
{
    return t && r->sample_of[t - 1] == r->sample_of[t] ? t - 1 : t;
}

static sq_err one_target(struct run *r, struct states *s, struct hmm *m, uint32_t in_batch, unsigned thread)
{
    uint32_t t = r->first_target + in_batch;
    struct part span = {r->from_cluster, r->to_cluster};
    double before = crew_cpu_now();
    states_choose(s, &r->y, &r->near, t, in_batch, r->p.n_neighbour, part_all(&r->y));
    r->cpu_states[thread] += crew_cpu_now() - before;
    hmm_begin(m, &r->y);
    sq_err e = hmm_part(m, &r->y, s, &r->rates, span, r->left_out ? r->left_out + t : NULL, r->w->n_target);
    if (!e)
        e = hmm_end(m, &r->y, &r->target[t]);
    atomic_fetch_add(&r->n_row, s->n_row);
    atomic_fetch_add(&r->n_kept, m->n_kept);
    return e;
}

/* The same by another phasing, around the places where it has another order than the best one. */
static sq_err one_drawn(struct run *r, struct states *s, struct hmm *m, uint32_t in_batch, unsigned thread)
{
    uint32_t t = r->first_target + in_batch;
    if (is_haploid(r, t))
        return SQ_OK;
    struct doubt d = {.y = &r->y, .w = r->w, .p = r->phasing, .s = r->sample_of[t], .t = first_of_pair(r, t), .before = NOBODY};
    sq_err e = SQ_OK;
    hmm_begin(m, &r->y);
    for (struct part near; !e && doubt_next(&d, DOUBT_CM, &near);) {
        struct part keep = {near.first > r->from_cluster ? near.first : r->from_cluster, near.last < r->to_cluster ? near.last : r->to_cluster};
        if (keep.first > keep.last)
            continue;
        double before = crew_cpu_now();
        states_choose(s, &r->y, &r->near, r->phasing * r->w->n_target + t, in_batch, r->p.n_neighbour, part_around(&r->y, near, DOUBT_FLANK_CM));
        r->cpu_states[thread] += crew_cpu_now() - before;
        e = hmm_part(m, &r->y, s, &r->rates, keep, NULL, 0);
    }
    return e || !m->n_kept ? e : hmm_end(m, &r->y, &r->drawn[in_batch]);
}

static sq_err model_targets(void *ctx, unsigned thread)
{
    struct run *r = ctx;
    struct states s = {0};
    struct hmm m = {0};
    sq_err e = states_init(&s, &r->y, r->p.n_state, r->p.n_neighbour);
    if (!e)
        e = hmm_init(&m, &r->y, r->p.n_state);
    for (uint32_t i; !e && !crew_is_stopped(&r->crew) && (i = atomic_fetch_add(&r->next, 1)) < r->n_batch;) {
        e = r->phasing ? one_drawn(r, &s, &m, i, thread) : one_target(r, &s, &m, i, thread);
        uint32_t n_done = atomic_fetch_add(&r->n_done, 1) + 1;
        if (!e && !thread && !r->phasing)
            e = tell(r, n_done);
    }
    states_free(&s);
    hmm_free(&m);
    return e;
}

static sq_err model_batch(struct run *r, uint32_t first, uint32_t n)
{
    struct sq_engine_report *o = r->report;
    sq_err e = neighbours_find(&r->near, &r->y, first, n, &r->crew, r->p.n_thread);
    o->cpu_sweep += r->crew.cpu;
    if (!e && !r->rates.jump && (!(r->rates.scale > 0) || !(r->rates.mismatch > 0))) {
        e = fit_rates(&r->y, &r->near, &r->p, &r->crew, &r->rates);
        o->cpu_fit += r->crew.cpu;
    }
    if (!e && !r->rates.jump)
        e = hmm_rates_set(&r->rates, &r->y);
    r->first_target = first;
    r->n_batch = n;
    atomic_store(&r->next, 0);
    if (!e)
        e = crew_run(&r->crew, r->p.n_thread, model_targets, r);
    o->cpu_hmm += r->crew.cpu;
    return e;
}

static sq_err take_means(void *ctx, unsigned thread)
{
    struct run *r = ctx;
    struct mean m;
    sq_err e = mean_init(&m, &r->y);
    for (uint32_t i; !e && (i = atomic_fetch_add(&r->next, 1)) < r->n_batch;) {
        uint32_t t = r->first_target + i;
        if (first_of_pair(r, t) != t || !r->drawn[i].start) /* a second one belongs to whoever has the first */
            continue;
        e = mean_take(&m, &r->y, r->w, r->phasing, r->sample_of[t], t, &r->target[t], &r->drawn[i]);
        posterior_free(&r->drawn[i]);
        posterior_free(&r->drawn[i + 1]);
    }
    mean_free(&m);
    return e;
}

/* The same batch by another phasing. */
static sq_err draw_batch(struct run *r, uint32_t first, uint32_t n, unsigned phasing)
{
    struct sq_engine_report *o = r->report;
    sq_err e = neighbours_find(&r->near, &r->y, phasing * r->w->n_target + first, n, &r->crew, r->p.n_thread);
    o->cpu_sweep += r->crew.cpu;
    r->phasing = phasing;
    r->first_target = first;
    r->n_batch = n;
    atomic_store(&r->next, 0);
    if (!e)
        e = crew_run(&r->crew, r->p.n_thread, model_targets, r);
    o->cpu_hmm += r->crew.cpu;
    atomic_store(&r->next, 0);
    if (!e)
        e = crew_run(&r->crew, r->p.n_thread, take_means, r);
    o->cpu_hmm += r->crew.cpu;
    for (uint32_t i = 0; i < n; i++)
        posterior_free(&r->drawn[i]);
    r->phasing = 0;
    return e;
}

/* ---- dosages, a span of pieces ---------------------------------------------------------------------------------------- */

/* Clusters whose posteriors the rows [from, to) may need: one of them beyond either end. By rows, since cM of rows aren't known here. */
static void clusters_of(const struct run *r, uint32_t from, uint32_t to, uint32_t *out_from, uint32_t *out_to)
{
    const struct typed *y = &r->y;
    uint32_t first = 0, last = y->n_cluster - 1;
    while (first + 1 < y->n_cluster && r->w->typed[y->cluster_first[first + 1]].site < from)
        first++;
    while (last > 0 && r->w->typed[y->cluster_first[last] - 1].site >= to)
        last--;
    *out_from = first ? first - 1 : 0;
    *out_to = last + 1 < y->n_cluster ? last + 1 : last;
}

/* What a thread has in hand while it walks a segment. */
struct walk {
    struct dosage d;
    uint64_t *want;                  /* [words of n_hap] haplotypes that have a posterior in the segment */
    uint32_t piece, cluster, marker; /* marker, cluster: the first that may lie at the next row or behind it */
    unsigned thread;
};

/* Rows of the present piece in @b. */
static sq_err put_rows(struct run *r, struct walk *k, void *cursor, const struct sq_engine_block *b)
{
    const struct piece *p = &r->piece[k->piece];
    struct dosage *d = &k->d;
    uint32_t from = p->from_site > b->first_site ? p->from_site - b->first_site : 0;
    uint32_t to = p->to_site - b->first_site < b->n_site ? p->to_site - b->first_site : b->n_site;
    struct sq_engine_row row[64];
    if (r->y.n_marker)
        dosage_block(d, &r->y, r->target, b, from, to, &k->cluster);
    else
        dosage_frequency(d, r->w->panel->n_hap, b, from, to);
    for (uint32_t s = from; s < to; s++) {
        const uint16_t *milli = d->milli + (size_t)(s - from) * d->n_target;
        while (k->marker < r->y.n_marker && r->w->typed[k->marker].site < b->first_site + s)
            k->marker++;
        bool is_typed = k->marker < r->y.n_marker && r->w->typed[k->marker].site == b->first_site + s;
        row[s - from] = (struct sq_engine_row){
            .r2 = quality_r2(&r->quality, milli, d->n_target, b->n_alt[s], r->w->panel->n_hap, d->work),
            .left_out = is_typed && r->left_out ? r->left_out + (size_t)k->marker * d->n_target : NULL};
    }
    double before = crew_cpu_now();
    sq_err e = r->sink->put(r->sink->ctx, k->piece, cursor, b, from, to, d->milli, row);
    r->cpu_sink[k->thread] += crew_cpu_now() - before;
    return e;
}

static sq_err end_piece(struct run *r, struct walk *k)
{
    const struct piece *p = &r->piece[k->piece];
    sq_err e = r->sink->piece_end(r->sink->ctx, k->piece++);
    uint32_t n_done = atomic_fetch_add(&r->n_done, p->to_site - p->from_site) + p->to_site - p->from_site;
    return !e && !k->thread ? tell(r, n_done) : e;
}

/* Haplotypes that a target may have at rows [from, to). */
static void collect(const struct run *r, struct walk *k, uint32_t from, uint32_t to)
{
    uint32_t first, last;
    clusters_of(r, from, to, &first, &last);
    memset(k->want, 0, r->y.hap_words * sizeof *k->want);
    for (uint32_t t = 0; t < r->w->n_target; t++) {
        const struct posterior *p = &r->target[t];
        for (uint32_t i = p->start[first]; i < p->start[last + 1]; i++)
            k->want[p->hap[i] / 64] |= UINT64_C(1) << (p->hap[i] % 64);
    }
}

/* The pieces from k->piece to @end, all of one segment. */
static sq_err walk_segment(struct run *r, struct walk *k, uint32_t end)
{
    const struct sq_engine_panel *panel = r->w->panel;
    void *cursor = NULL;
    uint32_t segment = r->piece[k->piece].segment, site = panel->segment[segment].first_site;
    sq_err e = panel->open(panel->ctx, segment, &cursor);
    if (!e && panel->want && r->y.n_marker) {
        collect(r, k, r->piece[k->piece].from_site, r->piece[end - 1].to_site);
        e = panel->want(cursor, k->want);
    }
    k->cluster = k->marker = 0;
    while (!e && k->piece < end && !crew_is_stopped(&r->crew)) {
        const struct piece *p = &r->piece[k->piece];
        struct sq_engine_block b;
        bool has = false;
        e = panel->next(cursor, p->from_site - site < 64 || site >= p->from_site, &b, &has);
        if (!e && !has)
            e = sq_fail(SQ_EINTERNAL);
        if (e)
            break;
        site = b.first_site + b.n_site;
        while (!e && k->piece < end && site > r->piece[k->piece].from_site) {
            bool is_whole = site >= r->piece[k->piece].to_site;
            e = put_rows(r, k, cursor, &b);
            if (!is_whole)
                break;
            if (!e)
                e = end_piece(r, k);
        }
    }
    if (cursor)
        panel->close(cursor);
    return e;
}

static sq_err write_pieces(void *ctx, unsigned thread)
{
    struct run *r = ctx;
    struct walk k = {.thread = thread};
    sq_err e = dosage_init(&k.d, r->w->n_target);
    k.want = malloc((r->y.hap_words + 1) * sizeof *k.want);
    if (!e && !k.want)
        e = sq_fail(SQ_ENOMEM);
    for (uint32_t i; !e && !crew_is_stopped(&r->crew) && (i = r->from_piece + atomic_fetch_add(&r->next, 1)) < r->to_piece;) {
        uint32_t end = i + 1, segment = r->piece[i].segment;
        if (i > r->from_piece && r->piece[i - 1].segment == segment)
            continue; /* goes with the one before it */
        while (end < r->to_piece && r->piece[end].segment == segment)
            end++;
        k.piece = i;
        e = walk_segment(r, &k, end);
    }
    dosage_free(&k.d);
    free(k.want);
    return e;
}

/* ---- the window -------------------------------------------------------------------------------------------------------- */

static sq_err window_check(const struct sq_engine_window *w, const struct sq_engine_params *p)
{
    const struct sq_engine_panel *panel = w->panel;
    if (!panel->n_hap || panel->n_hap > SQ_ENGINE_MAX_HAP || !w->n_target || p->n_thread < 1 || p->n_thread > SQ_ENGINE_MAX_THREADS)
        return sq_fail(SQ_ERANGE);
    if (w->from_site > w->to_site || w->to_site > panel->n_site || p->n_state > SQ_ENGINE_MAX_STATES || !(p->scale >= 0) ||
        !(p->mismatch >= 0) || !(p->mismatch < 0.5))
        return sq_fail(SQ_ERANGE);
    if (w->n_phasing > 8 || (w->n_phasing && (!w->n_sample || !w->is_haploid)))
        return sq_fail(SQ_ERANGE);
    for (uint32_t k = 0; k < w->n_typed; k++)
        if (w->typed[k].site >= panel->n_site || (w->n_phasing && w->typed[k].confidence) || (k && w->typed[k].site <= w->typed[k - 1].site))
            return sq_fail(SQ_ERANGE);
    return SQ_OK;
}

/* What of [from_site, to_site) lies in segment @i. */
static bool cut_segment(const struct run *r, uint32_t i, uint32_t *out_from, uint32_t *out_to)
{
    const struct sq_engine_segment *s = &r->w->panel->segment[i];
    *out_from = s->first_site > r->w->from_site ? s->first_site : r->w->from_site;
    *out_to = s->first_site + s->n_site < r->w->to_site ? s->first_site + s->n_site : r->w->to_site;
    return *out_from < *out_to;
}

static sq_err find_pieces(struct run *r)
{
    uint64_t most = PIECE_DOSAGES / r->w->n_target > PIECE_MIN_ROWS ? PIECE_DOSAGES / r->w->n_target : PIECE_MIN_ROWS;
    if (r->p.piece_rows)
        most = r->p.piece_rows;
    uint32_t n_segment = r->w->panel->n_segment, from, to;
    size_t n = 0;
    for (uint32_t i = 0; i < n_segment; i++)
        if (cut_segment(r, i, &from, &to))
            n += (size_t)((to - from - 1) / most + 1);
    r->piece = malloc((n + 1) * sizeof *r->piece);
    if (!r->piece)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < n_segment; i++)
        for (bool has = cut_segment(r, i, &from, &to); has && from < to;) {
            uint32_t end = to - from > most ? from + (uint32_t)most : to;
            r->piece[r->n_piece++] = (struct piece){i, from, end};
            from = end;
        }
    return SQ_OK;
}

/* The pieces from @first on whose posteriors fit into the memory; at least one. */
static uint32_t span_end(const struct run *r, uint32_t first)
{
    size_t each = (size_t)GUESSED_KEPT * (sizeof(uint32_t) + sizeof(uint16_t)) * r->w->n_target;
    uint32_t end = first + 1, from, to;
    if (!r->y.n_marker)
        return r->n_piece;
    for (; end < r->n_piece; end++) {
        clusters_of(r, r->piece[first].from_site, r->piece[end].to_site, &from, &to);
        if ((to - from + 1) * each > r->p.memory)
            break;
    }
    return end;
}

static void drop_posteriors(struct run *r)
{
    for (uint32_t t = 0; t < r->w->n_target; t++)
        posterior_free(&r->target[t]);
}

static sq_err run_span(struct run *r, uint32_t from_piece, uint32_t to_piece)
{
    sq_err e = SQ_OK;
    if (r->y.n_marker)
        clusters_of(r, r->piece[from_piece].from_site, r->piece[to_piece - 1].to_site, &r->from_cluster, &r->to_cluster);
    for (uint32_t t = 0, n; r->y.n_marker && t < r->w->n_target && !e; t += n) {
        n = r->w->n_target - t < BATCH_TARGETS ? r->w->n_target - t : BATCH_TARGETS;
        if (r->drawn && t + n < r->w->n_target && first_of_pair(r, t + n) < t + n)
            n--; /* a sample's two are of one batch */
        atomic_store(&r->n_done, 0);
        e = model_batch(r, t, n);
        for (unsigned p = 1; p <= r->w->n_phasing && !e; p++)
            e = draw_batch(r, t, n, p);
        r->done_before += n;
    }
    if (!e && !r->has_quality) { /* every span leaves out the same */
        e = quality_learn(&r->quality, &r->y, r->left_out);
        r->has_quality = true;
    }
    r->from_piece = from_piece;
    r->to_piece = to_piece;
    atomic_store(&r->next, 0);
    atomic_store(&r->n_done, 0);
    if (!e)
        e = crew_run(&r->crew, r->p.n_thread, write_pieces, r);
    r->report->cpu_dosage += r->crew.cpu;
    r->done_before += r->piece[to_piece - 1].to_site - r->piece[from_piece].from_site;
    drop_posteriors(r);
    return e;
}

static uint32_t default_neighbours(const struct typed *y)
{
    double places = y->n_marker ? (y->cm[y->n_marker - 1] - y->cm[0]) / STEP_CM + 1 : 1;
    double n = DEFAULT_NEIGHBOURS * MANY_PLACES / (places < y->n_marker ? places : y->n_marker);
    return n < DEFAULT_NEIGHBOURS ? DEFAULT_NEIGHBOURS : n < MOST_NEIGHBOURS ? (uint32_t)n : MOST_NEIGHBOURS;
}

static sq_err phasings_init(struct run *r, uint32_t n_batch)
{
    const struct sq_engine_window *w = r->w;
    r->drawn = calloc((size_t)n_batch + 1, sizeof *r->drawn);
    r->sample_of = malloc(((size_t)w->n_target + 2) * sizeof *r->sample_of);
    if (!r->drawn || !r->sample_of)
        return sq_fail(SQ_ENOMEM);
    uint32_t t = 0;
    for (uint32_t s = 0; s < w->n_sample && t < w->n_target; s++) {
        r->sample_of[t++] = s;
        if (!w->is_haploid[s])
            r->sample_of[t++] = s;
    }
    return t == w->n_target ? SQ_OK : sq_fail(SQ_ERANGE);
}

static sq_err run_window(struct run *r)
{
    const struct sq_engine_window *w = r->w;
    uint32_t n_batch = w->n_target < BATCH_TARGETS ? w->n_target : BATCH_TARGETS;
    sq_err e = find_pieces(r);
    if (!e)
        e = typed_build(&r->y, w, &r->crew, r->p.n_thread);
    r->report->cpu_typed = r->crew.cpu;
    if (!e && !r->p.n_neighbour)
        r->p.n_neighbour = default_neighbours(&r->y);
    if (!e && w->n_typed)
        e = neighbours_init(&r->near, &r->y, STEP_CM, r->p.n_neighbour, n_batch);
    r->target = calloc(w->n_target, sizeof *r->target);
    if (w->n_typed && !r->p.no_leave_one_out)
        r->left_out = malloc((size_t)w->n_typed * w->n_target * sizeof *r->left_out);
    if (!e && (!r->target || (w->n_typed && !r->p.no_leave_one_out && !r->left_out)))
        e = sq_fail(SQ_ENOMEM);
    if (!e && w->n_phasing)
        e = phasings_init(r, n_batch);
    uint32_t n_span = 0;
    for (uint32_t i = 0; !e && i < r->n_piece; i = span_end(r, i))
        n_span++;
    r->n_all = (uint64_t)n_span * (w->n_typed ? w->n_target : 0) + (w->to_site - w->from_site);
    for (uint32_t i = 0, end; !e && i < r->n_piece; i = end) {
        end = span_end(r, i);
        e = run_span(r, i, end);
    }
    return e;
}

static void fill_report(struct run *r)
{
    struct sq_engine_report *o = r->report;
    double n = r->w->n_target, states = 0, sink = 0;
    for (unsigned i = 0; i < SQ_ENGINE_MAX_THREADS; i++) {
        states += r->cpu_states[i];
        sink += r->cpu_sink[i];
    }
    o->scale = r->rates.scale;
    o->mismatch = r->rates.mismatch;
    o->n_cluster = r->y.n_cluster;
    o->mean_states = (double)r->n_row / n;
    o->mean_kept = r->y.n_cluster ? (double)r->n_kept / n / r->y.n_cluster : 0;
    o->cpu_states = states;
    o->cpu_hmm -= states;
    o->cpu_sink = sink;
    o->cpu_dosage -= sink;
}

sq_err sq_engine_impute(const struct sq_engine_window *window, const struct sq_engine_params *params, const struct sq_engine_sink *sink,
                        struct sq_engine_report *report)
{
    struct sq_engine_report mine = {0};
    sq_err e = window_check(window, params);
    if (e)
        return e;
    struct run *r = calloc(1, sizeof *r);
    if (!r)
        return sq_fail(SQ_ENOMEM);
    r->w = window;
    r->p = *params;
    r->sink = sink;
    r->report = report ? report : &mine;
    *r->report = mine;
    r->p.n_state = params->n_state ? params->n_state : DEFAULT_STATES;
    r->p.memory = params->memory ? params->memory : DEFAULT_MEMORY;
    r->rates = (struct hmm_rates){.scale = params->scale, .mismatch = params->mismatch, .cut = params->cut > 0 ? params->cut : DEFAULT_CUT};
    e = run_window(r);
    fill_report(r);
    drop_posteriors(r);
    typed_free(&r->y);
    neighbours_free(&r->near);
    free(r->rates.jump);
    free(r->left_out);
    free(r->target);
    free(r->drawn);
    free(r->sample_of);
    free(r->piece);
    free(r);
    return e;
}
