/*
 * impute: window by window, dosages of every target haplotype at every panel row, written as the body of the result.
 *
 * The genetic map is cut by a grid of GRID_CM, counted from the first position of the chromosome's map. A window is what lies between two
 * lines; FLANK_CM of typed sites on either side stand by so that the middle doesn't notice the edges.
 *
 * A chunk is the windows whose first line lies in its stretch of positions. Nothing in a window depends on another one (what is
 * fitted is fitted in each, blocks of the body end with the window), so the bodies of all chunks joined are, byte for byte, the
 * body of the whole.
 *
 * Threads: the engine's. One has a piece of the window's rows, formats and packs them; pieces are written in order (formats/pieces.h).
 */
#include "lib/core/file.h"
#include "lib/formats/pieces.h"
#include "worker/impute_sink.h"
#include "worker/phase_filter.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define PROGRESS_TOTAL 1000000U
#define PHASE_SHARE 0.6 /* of the time, when phases are found on the way; for the estimate alone */

struct impute {
    struct worker *w;
    struct panel_port panel;
    struct sq_engine_panel engine_panel;
    struct typed_queue queue;
    struct phase_filter filter; /* with queue.takes_unphased */
    struct impute_sink sink;
    struct sq_rows *plan;
    struct sq_pieces *pieces;
    struct sq_engine_typed *typed; /* of the present window */
    int64_t first_no, end_no;      /* the chunk's windows: first_no <= k < end_no */
    double from_cm, to_cm;         /* progress: the stretch of the chunk, */
    double window_from, window_to; /* and of the present window in it, as shares */
    double phased, done;           /* shares */
};

static double line_of(const struct impute *m, int64_t k)
{
    return grid_line(sq_panel_info(m->panel.panel)->origin_cm, k);
}

static int64_t no_of(const struct impute *m, double cm)
{
    return grid_no(sq_panel_info(m->panel.panel)->origin_cm, cm);
}

static double cm_of(const struct impute *m, int64_t bp)
{
    return sq_gmap_cm(sq_panel_map(m->panel.panel), bp);
}

/* ---- one window ---------------------------------------------------------------------------------------------------- */

/* Typed rows in [from, to) cM, ascending by row. Records of one position may come in another order than the panel's rows. */
static sq_err gather_typed(struct impute *m, double from_cm, double to_cm, uint32_t *out_n)
{
    const struct typed_queue *q = &m->queue;
    uint32_t n = 0;
    m->typed = calloc((size_t)q->n + 1, sizeof *m->typed);
    if (!m->typed)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < q->n; i++) {
        const struct typed_entry *t = &q->entry[i];
        if (t->row == QUEUE_NO_ROW || t->cm < from_cm || t->cm >= to_cm)
            continue;
        uint32_t at = n++;
        for (; at > 0 && m->typed[at - 1].site > t->row; at--)
            m->typed[at] = m->typed[at - 1];
        m->typed[at] = (struct sq_engine_typed){.site = t->row, .allele = t->allele, .swap = t->swap};
    }
    *out_n = n;
    return SQ_OK;
}

static sq_err show_progress(const struct impute *m)
{
    double share = m->queue.takes_unphased ? PHASE_SHARE * m->phased + (1 - PHASE_SHARE) * m->done : m->done;
    return worker_progress(m->w, share > 0 && share < 1 ? (uint64_t)(share * PROGRESS_TOTAL) : share > 0 ? PROGRESS_TOTAL
                                                                                                         : 0,
                           PROGRESS_TOTAL);
}

static sq_err report_progress(void *ctx, uint64_t n_done, uint64_t n_all)
{
    struct impute *m = ctx;
    m->done = m->window_from + (m->window_to - m->window_from) * (n_all ? (double)n_done / (double)n_all : 0);
    return show_progress(m);
}

static double share_of(const struct impute *m, double cm)
{
    double share = m->to_cm > m->from_cm ? (cm - m->from_cm) / (m->to_cm - m->from_cm) : 0;
    return share < 0 ? 0 : share > 1 ? 1
                                     : share;
}

static sq_err phase_progress(void *ctx, double cm)
{
    struct impute *m = ctx;
    m->phased = share_of(m, cm);
    return show_progress(m);
}

/* The rows of @region_from..@region_to among [from, to). */
static sq_err narrow(const struct impute *m, uint32_t *from, uint32_t *to)
{
    const struct worker_choice *c = &m->w->choice;
    if (!c->region_from_bp && !c->region_to_bp)
        return SQ_OK;
    struct sq_panel_cursor *cursor = NULL;
    struct sq_panel_block b;
    bool has = true;
    uint32_t first = *to, last = *from; /* of the rows that are in it */
    sq_err e = sq_panel_cursor_new(m->panel.panel, SQ_PANEL_SITES, &cursor);
    uint32_t segment = e ? 0 : sq_panel_segment_at(m->panel.panel, c->region_from_bp);
    has = !e && segment < sq_panel_info(m->panel.panel)->n_segment;
    if (has)
        sq_panel_cursor_seek(cursor, segment);
    while (!e && has) {
        e = sq_panel_cursor_next(cursor, false, &m->w->why, &b, &has);
        if (e || !has || b.first_site >= *to || (c->region_to_bp && b.site[0].pos_bp > c->region_to_bp))
            break;
        for (uint32_t i = 0; i < b.n_site; i++) {
            uint32_t row = b.first_site + i;
            if (row < *from || row >= *to || b.site[i].pos_bp < c->region_from_bp || (c->region_to_bp && b.site[i].pos_bp > c->region_to_bp))
                continue;
            first = row < first ? row : first;
            last = row + 1;
        }
    }
    sq_panel_cursor_free(cursor);
    *to = last > first ? last : first;
    *from = first;
    return e;
}

static void keep_figures(struct impute *m, int64_t k, const struct sq_engine_window *window, const struct sq_engine_report *r)
{
    struct worker_figures *f = m->w->choice.figures;
    if (!f)
        return;
    if (f->n_window < WORKER_FIGURE_WINDOWS)
        f->window[f->n_window] = (struct worker_window_figures){.from_cm = line_of(m, k), .to_cm = line_of(m, k + 1), .n_typed = window->n_typed,
                                                                .n_site = window->to_site - window->from_site, .n_cluster = r->n_cluster, .scale = r->scale,
                                                                .mismatch = r->mismatch, .mean_states = r->mean_states, .mean_kept = r->mean_kept};
    f->n_window++;
    const double cpu[WORKER_N_STEP] = {r->cpu_typed, r->cpu_sweep, r->cpu_fit, r->cpu_states, r->cpu_hmm, r->cpu_dosage, r->cpu_sink};
    for (size_t i = 0; i < WORKER_N_STEP; i++)
        f->cpu_s[i] += cpu[i];
}

/* Phasings besides the best. */
static unsigned n_other(const struct typed_queue *q)
{
    return q->takes_unphased ? PHASE_SAMPLED : q->n_phasing > 0 ? (unsigned)q->n_phasing
                                                                : 0;
}

static sq_err window_run(struct impute *m, int64_t k)
{
    const struct worker_choice *c = &m->w->choice;
    struct typed_queue *q = &m->queue;
    double from_cm = line_of(m, k), to_cm = line_of(m, k + 1);
    struct sq_engine_window window = {.panel = &m->engine_panel, .n_target = q->n_target, .n_phasing = n_other(q), .n_sample = q->n_sample, .is_haploid = q->is_haploid};
    struct sq_engine_params params = {.n_thread = m->w->n_thread, .n_state = c->n_state, .scale = c->scale, .memory = c->memory_bytes};
    struct sq_engine_sink sink = {.ctx = &m->sink, .put = impute_sink_put, .piece_end = impute_sink_piece_end, .progress = impute_sink_progress};
    struct sq_engine_report report = {.n_cluster = 0};
    sq_err e = queue_fill(q, to_cm + FLANK_CM);
    if (!e && q->takes_unphased)
        e = phase_filter_to(&m->filter, k + 1); /* whose rows begin with this one's flank */
    if (e)
        return e;
    window.from_site = site_walk_line(&q->walk, k);
    window.to_site = site_walk_line(&q->walk, k + 1);
    m->window_from = share_of(m, from_cm);
    m->window_to = share_of(m, to_cm);
    e = gather_typed(m, from_cm - FLANK_CM, to_cm + FLANK_CM, &window.n_typed);
    window.typed = m->typed;
    if (!e)
        e = narrow(m, &window.from_site, &window.to_site);
    if (!e)
        e = impute_sink_window(&m->sink, &window, q, from_cm, to_cm);
    if (!e && window.to_site > window.from_site)
        e = sq_engine_impute(&window, &params, &sink, &report);
    if (!e)
        e = impute_sink_window_end(&m->sink);
    if (!e)
        keep_figures(m, k, &window, &report);
    free(m->typed);
    m->typed = NULL;
    return e;
}

/* ---- the grid ------------------------------------------------------------------------------------------------------ */

/* The first line that lies at or behind position @bp. */
static int64_t no_at(const struct impute *m, uint64_t bp)
{
    return no_of(m, cm_of(m, (int64_t)(bp < INT64_MAX ? bp : INT64_MAX) - 1)) + 1;
}

/* What lies before the chunk is passed over; from its first window on everything is as if it had been the whole. */
static sq_err go_to_chunk(struct impute *m)
{
    const struct worker *w = m->w;
    const struct sq_panel_info *info = sq_panel_info(m->panel.panel);
    m->first_no = w->from_bp ? no_at(m, w->from_bp) : INT64_MIN;
    uint64_t to_bp = w->to_bp ? w->to_bp : w->choice.region_to_bp ? (uint64_t)w->choice.region_to_bp + 1 : 0; /* what lies behind a region says nothing of it */
    m->end_no = to_bp ? no_at(m, to_bp) : INT64_MAX;
    m->from_cm = w->from_bp && line_of(m, m->first_no) > info->first_cm ? line_of(m, m->first_no) : info->first_cm;
    m->to_cm = to_bp && line_of(m, m->end_no) < info->last_cm ? line_of(m, m->end_no) : info->last_cm;
    return queue_start(&m->queue, w->from_bp ? line_of(m, m->first_no) - FLANK_CM : -INFINITY);
}

/* The window of what is to be written next, at or behind @k; false: nothing is left. Empty ones are leapt over. */
static bool next_window(const struct impute *m, int64_t k, int64_t *out)
{
    const struct typed_queue *q = &m->queue;
    uint32_t row;
    double cm = INFINITY, line = k == INT64_MIN ? -INFINITY : line_of(m, k);
    const struct sq_panel_site *s = site_walk_next(&q->walk, &row);
    if (k != INT64_MIN && k <= q->walk.last_no && site_walk_line(&q->walk, k) < row)
        cm = line; /* rows of it have been passed with the flank before */
    else if (s)
        cm = s->cm;
    for (uint32_t i = 0; i < q->n; i++)
        if (q->entry[i].cm >= line && q->entry[i].cm < cm) {
            cm = q->entry[i].cm;
            break;
        }
    if (q->has_next && cm_of(m, q->next.pos_bp) < cm)
        cm = cm_of(m, q->next.pos_bp);
    *out = isinf(cm) ? 0 : no_of(m, cm > line ? cm : line);
    return !isinf(cm);
}

static sq_err all_windows(struct impute *m)
{
    int64_t k = m->first_no;
    /* rows and records between the flank and the chunk's first line are not its own */
    sq_err e = k == INT64_MIN ? SQ_OK : queue_fill(&m->queue, line_of(m, k));
    while (!e && next_window(m, k, &k) && k < m->end_no) {
        queue_drop(&m->queue, line_of(m, k) - FLANK_CM);
        e = window_run(m, k++);
    }
    return e;
}

/* ---- the outputs --------------------------------------------------------------------------------------------------- */

#define MAX_PARAM 7U
struct params {
    const char *at[MAX_PARAM];
    char text[MAX_PARAM][SQ_PANEL_LABEL_MAX + 64];
    unsigned n;
};

static void add_param(struct params *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add_param(struct params *p, const char *format, ...)
{
    va_list list;
    sq_assert(p->n < MAX_PARAM);
    va_start(list, format);
    vsnprintf(p->text[p->n], sizeof p->text[p->n], format, list);
    va_end(list);
    p->at[p->n] = p->text[p->n];
    p->n++;
}

/* What the header says of how the result was made: what was asked for. What is fitted differs from window to window (--timing). */
static void make_params(const struct impute *m, struct params *p)
{
    const struct worker_choice *c = &m->w->choice;
    const struct sq_panel_info *info = sq_panel_info(m->panel.panel);
    if (info->build[0])
        add_param(p, "panel_build=%s", info->build);
    if (m->queue.takes_unphased || m->queue.n_phasing >= 0)
        add_param(p, "phasing=sequester, %u other", n_other(&m->queue));
    if (c->n_state)
        add_param(p, "states=%u", c->n_state);
    if (c->scale > 0)
        add_param(p, "scale=%g", c->scale);
    if (c->min_r2 > 0)
        add_param(p, "min_r2=%g", c->min_r2);
    if (c->overwrite_typed)
        add_param(p, "overwrite_typed=yes");
    if (c->region_to_bp)
        add_param(p, "region=%s:%lld-%lld", info->chrom, (long long)c->region_from_bp, (long long)c->region_to_bp);
    else if (c->region_from_bp)
        add_param(p, "region=%s:%lld-", info->chrom, (long long)c->region_from_bp);
}

static sq_err open_outputs(struct impute *m)
{
    const struct worker *w = m->w;
    const struct worker_choice *c = &w->choice;
    const struct sq_panel_info *info = sq_panel_info(m->panel.panel);
    struct params params = {.n = 0};
    make_params(m, &params);
    struct sq_rows_spec spec = {.chrom = info->chrom,
                                .chrom_length = info->contig_bp > 0 ? (uint64_t)info->contig_bp : 0,
                                .n_sample = m->queue.n_sample,
                                .is_haploid = m->queue.is_haploid,
                                .container = c->container,
                                .n_field = c->n_field,
                                .level = c->level,
                                .overwrite_typed = c->overwrite_typed,
                                .min_r2 = c->min_r2,
                                .panel_name = c->panel_name ? c->panel_name : w->panel_name,
                                .n_panel_haplotype = info->n_hap,
                                .param = params.at,
                                .n_param = params.n};
    memcpy(spec.field, c->field, sizeof spec.field);
    struct sq_pieces_track track[SQ_ROWS_N_TRACK] = {{SQ_ROWS_RESULT, w->port[2]}};
    unsigned n = 1;
    if (c->fd_sites[0] >= 0)
        track[n++] = (struct sq_pieces_track){SQ_ROWS_SITES, c->fd_sites[0]};
    if (c->fd_empirical[0] >= 0)
        track[n++] = (struct sq_pieces_track){SQ_ROWS_EMPIRICAL, c->fd_empirical[0]};
    sq_err e = sq_rows_new(&spec, &m->plan);
    if (!e)
        e = sq_pieces_open(m->plan, track, n, SQ_PIECES_WAIT_BYTES, &m->pieces);
    return e ? e : impute_sink_open(&m->sink, m->pieces, c, m, report_progress);
}

static sq_err write_part(const struct impute *m, enum sq_rows_track track, int fd)
{
    struct sq_buf part;
    sq_buf_init(&part, 0);
    sq_err e = sq_pieces_part(m->pieces, track, &part);
    if (!e)
        e = sq_write_all(fd, part.p, part.n);
    sq_buf_done(&part);
    return e;
}

static sq_err close_outputs(struct impute *m)
{
    struct worker *w = m->w;
    const struct worker_choice *c = &w->choice;
    struct sq_pieces_counts n;
    sq_err e = sq_pieces_close(m->pieces, !w->to_bp); /* the end block is the last chunk's */
    if (!e)
        e = write_part(m, SQ_ROWS_RESULT, w->port[3]);
    if (!e && c->fd_sites[0] >= 0)
        e = write_part(m, SQ_ROWS_SITES, c->fd_sites[1]);
    if (!e && c->fd_empirical[0] >= 0)
        e = write_part(m, SQ_ROWS_EMPIRICAL, c->fd_empirical[1]);
    if (e)
        return e;
    sq_pieces_counts(m->pieces, &n);
    if ((c->region_from_bp || c->region_to_bp) && !(n.n_imputed + n.n_typed + n.n_typed_only + n.n_below_r2))
        return sq_why_set(&w->why, sq_fail(SQ_ERANGE), 0, 0, "region", "neither panel (positions %lld to %lld) nor target has a record there",
                          (long long)sq_panel_info(m->panel.panel)->first_bp, (long long)sq_panel_info(m->panel.panel)->last_bp);
    w->counts.n_sample = m->queue.n_sample;
    w->counts.n_haplotype = m->engine_panel.n_hap;
    w->counts.n_site = n.n_imputed + n.n_typed;
    w->counts.n_variant = w->counts.n_site + n.n_typed_only;
    w->counts.n_in_panel = n.n_typed;
    w->counts.n_excluded = n.n_below_r2;
    worker_count_chrom(w, sq_panel_info(m->panel.panel)->chrom);
    if (c->figures) {
        c->figures->phase_s = m->filter.counts.cpu_s;
        c->figures->format_s = (double)n.format_ns * 1e-9;
        c->figures->deflate_s = (double)n.deflate_ns * 1e-9;
        c->figures->write_s = (double)n.write_ns * 1e-9;
    }
    return SQ_OK;
}

sq_err stage_impute(struct worker *w)
{
    struct impute *m = calloc(1, sizeof *m);
    if (!m)
        return sq_fail(SQ_ENOMEM);
    m->w = w;
    sq_err e = worker_progress(w, 0, PROGRESS_TOTAL);
    if (!e)
        e = panel_port_open(w, w->port[1], w->choice.fd_map, &m->panel);
    if (!e) {
        m->engine_panel = panel_port_engine(&m->panel);
        e = queue_open(w, w->port[0], &m->panel, &m->queue);
    }
    if (!e && w->choice.phases && m->queue.n_phasing < 0) {
        sq_assert(!w->from_bp && !w->to_bp); /* phases are of the whole chromosome */
        m->queue.takes_unphased = true;
        phase_filter_open(&m->filter, w, &m->queue, &m->engine_panel, PHASE_SAMPLED, phase_progress, m);
    }
    if (!e)
        e = open_outputs(m);
    if (!e)
        e = go_to_chunk(m);
    if (!e)
        e = all_windows(m);
    if (!e)
        e = close_outputs(m);
    impute_sink_close(&m->sink);
    sq_pieces_free(m->pieces);
    sq_rows_free(m->plan);
    phase_filter_close(&m->filter);
    queue_close(&m->queue);
    panel_port_close(&m->panel);
    free(m);
    return e;
}
