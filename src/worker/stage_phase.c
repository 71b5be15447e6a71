/*
 * phase: the records that qc kept, with the alleles of each genotype in the order of the sample's two haplotypes. The whole chromosome at once:
 * windows are phased one after another and turned to agree (phase_filter.h), so it can't be cut into chunks.
 *
 * Two kinds of output. In the service a stream like `kept`, for the impute stage: missing calls still missing, and with each record how
 * sampled phasings differ. For `sequester phase` rows of a file: missing calls filled, and how sure the phase is.
 */
#include "lib/core/file.h"
#include "lib/formats/pieces.h"
#include "worker/phase_filter.h"

#include <math.h>
#include <stdlib.h>

#define PROGRESS_TOTAL 1000000U

struct phase {
    struct worker *w;
    struct panel_port panel;
    struct sq_engine_panel engine_panel;
    struct typed_queue queue;
    struct phase_filter filter;
    struct sq_rows *plan; /* of a file */
    struct sq_pieces *pieces;
    struct sq_bcf_writer *stream; /* or of a stream */
    uint8_t *gt, *phased;         /* [2 * n_sample], [n_sample] */
    double first_cm, last_cm;
    uint64_t n_typed, n_only;
};

static sq_err on_progress(void *ctx, double cm)
{
    struct phase *p = ctx;
    double share = p->last_cm > p->first_cm ? (cm - p->first_cm) / (p->last_cm - p->first_cm) : 0;
    return worker_progress(p->w, (uint64_t)((share < 0 ? 0 : share > 1 ? 1 : share) * PROGRESS_TOTAL), PROGRESS_TOTAL);
}

/* ---- outputs ---------------------------------------------------------------------------------------------------------- */

static sq_err put_stream(struct phase *p, const struct typed_entry *t)
{
    const struct typed_queue *q = &p->queue;
    const uint8_t *a = t->allele;
    for (uint32_t i = 0; i < q->n_sample; i++) {
        uint8_t first = *a++, second = q->is_haploid[i] ? SQ_GT_NONE : *a++;
        p->gt[2 * i] = first == SQ_ENGINE_MISSING ? SQ_GT_MISSING : first;
        p->gt[2 * i + 1] = second == SQ_ENGINE_MISSING ? SQ_GT_MISSING : second;
        p->phased[i] = !t->unphased || !t->unphased[i];
    }
    return sq_bcf_writer_put(p->stream, &(struct sq_record){.pos_bp = t->pos_bp,
                                                            .id = sq_span_of(t->text, t->n_id),
                                                            .ref = sq_span_of(t->text + t->n_id, t->n_ref),
                                                            .alt = sq_span_of(t->text + t->n_id + t->n_ref, t->n_alt),
                                                            .n_alt = 1,
                                                            .filter = SQ_FILTER_PASS,
                                                            .gt = p->gt,
                                                            .phased = p->phased,
                                                            .swap = t->swap});
}

static sq_err put_row(struct sq_piece *piece, const struct typed_entry *t)
{
    return sq_piece_row(piece, &(struct sq_row){.pos_bp = t->pos_bp,
                                                .id = sq_span_of(t->text, t->n_id),
                                                .ref = sq_span_of(t->text + t->n_id, t->n_ref),
                                                .alt = sq_span_of(t->text + t->n_id + t->n_ref, t->n_alt),
                                                .observed = t->filled ? t->filled : t->allele,
                                                .confidence = t->confidence,
                                                .unphased = t->unphased,
                                                .r2 = (double)NAN});
}

static sq_err write_window(struct phase *p, double from_cm, double to_cm)
{
    const struct worker_choice *c = &p->w->choice;
    struct sq_piece *piece = NULL;
    sq_err e = p->pieces ? sq_pieces_begin(p->pieces, 0, &piece) : SQ_OK;
    for (uint32_t i = 0; i < p->queue.n && !e; i++) {
        const struct typed_entry *t = &p->queue.entry[i];
        if (t->cm < from_cm || t->cm >= to_cm || t->pos_bp < c->region_from_bp || (c->region_to_bp && t->pos_bp > c->region_to_bp))
            continue;
        p->n_typed += t->row != QUEUE_NO_ROW;
        p->n_only += t->row == QUEUE_NO_ROW;
        e = p->stream ? put_stream(p, t) : put_row(piece, t);
        if (!e)
            e = worker_beat(p->w);
    }
    if (!e && piece)
        e = sq_piece_end(piece);
    return e || !p->pieces ? e : sq_pieces_cut(p->pieces);
}

static sq_err open_file(struct phase *p)
{
    const struct worker *w = p->w;
    const struct worker_choice *c = &w->choice;
    const struct sq_panel_info *info = sq_panel_info(p->panel.panel);
    const uint64_t length = sq_genotypes_chrom_length(p->queue.target);
    struct sq_rows_spec spec = {.chrom = info->chrom,
                                .chrom_length = info->contig_bp > 0 ? (uint64_t)info->contig_bp : length,
                                .n_sample = p->queue.n_sample,
                                .is_haploid = p->queue.is_haploid,
                                .container = c->container,
                                .field = {SQ_ROWS_GT},
                                .n_field = 1,
                                .level = c->level,
                                .panel_name = c->panel_name,
                                .n_panel_haplotype = info->n_hap};
    struct sq_pieces_track track = {SQ_ROWS_PHASED, w->port[2]};
    sq_err e = sq_rows_new(&spec, &p->plan);
    return e ? e : sq_pieces_open(p->plan, &track, 1, SQ_PIECES_WAIT_BYTES, &p->pieces);
}

static sq_err open_output(struct phase *p)
{
    if (p->w->choice.fd_phased_index >= 0)
        return open_file(p);
    p->gt = malloc((size_t)2 * p->queue.n_sample);
    p->phased = malloc(p->queue.n_sample);
    if (!p->gt || !p->phased)
        return sq_fail(SQ_ENOMEM);
    return sq_bcf_writer_open(p->w->port[2], sq_genotypes_chrom(p->queue.target), sq_genotypes_chrom_length(p->queue.target), p->queue.n_sample,
                              (int)PHASE_SAMPLED, &p->stream);
}

static sq_err close_file(struct phase *p)
{
    struct sq_buf part;
    sq_buf_init(&part, 0);
    struct worker_figures *figures = p->w->choice.figures;
    struct sq_pieces_counts n;
    sq_err e = sq_pieces_close(p->pieces, true);
    sq_pieces_counts(p->pieces, &n);
    if (figures)
        *figures = (struct worker_figures){.phase_s = p->filter.counts.cpu_s, .format_s = (double)n.format_ns * 1e-9, .deflate_s = (double)n.deflate_ns * 1e-9,
                                           .write_s = (double)n.write_ns * 1e-9};
    if (!e)
        e = sq_pieces_part(p->pieces, SQ_ROWS_PHASED, &part);
    if (!e)
        e = sq_write_all(p->w->choice.fd_phased_index, part.p, part.n);
    sq_buf_done(&part);
    return e;
}

static sq_err close_output(struct phase *p)
{
    sq_err e = SQ_OK;
    if (p->pieces) {
        e = close_file(p);
    } else if (p->stream) {
        e = sq_bcf_writer_close(p->stream);
        p->stream = NULL;
    }
    return e;
}

/* ---- the stage -------------------------------------------------------------------------------------------------------- */

/* Windows that have a record, in order. What lies before a region decides which of a sample's haplotypes is the first, what lies behind decides nothing. */
static sq_err all_windows(struct phase *p)
{
    struct typed_queue *q = &p->queue;
    double origin_cm = sq_panel_info(q->panel)->origin_cm;
    int64_t region_to_bp = p->w->choice.region_to_bp, last = region_to_bp ? grid_no(origin_cm, sq_gmap_cm(q->map, region_to_bp)) : INT64_MAX;
    for (int64_t k = INT64_MIN;;) {
        double line = k == INT64_MIN ? -INFINITY : grid_line(origin_cm, k), cm = INFINITY;
        for (uint32_t i = 0; i < q->n && isinf(cm); i++)
            cm = q->entry[i].cm >= line ? q->entry[i].cm : cm;
        if (isinf(cm) && q->has_next)
            cm = sq_gmap_cm(q->map, q->next.pos_bp);
        if (isinf(cm) || grid_no(origin_cm, cm) > last)
            return SQ_OK;
        k = grid_no(origin_cm, cm);
        sq_err e = phase_filter_to(&p->filter, k);
        if (!e)
            e = write_window(p, grid_line(origin_cm, k), grid_line(origin_cm, k + 1));
        if (e)
            return e;
        queue_drop(q, grid_line(origin_cm, ++k) - FLANK_CM);
    }
}

static sq_err run(struct phase *p)
{
    struct worker *w = p->w;
    struct typed_queue *q = &p->queue;
    sq_err e = worker_progress(w, 0, PROGRESS_TOTAL);
    if (!e)
        e = panel_port_open(w, w->port[1], w->choice.fd_map, &p->panel);
    if (!e) {
        p->engine_panel = panel_port_engine(&p->panel);
        p->first_cm = sq_panel_info(p->panel.panel)->first_cm;
        p->last_cm = sq_panel_info(p->panel.panel)->last_cm;
        e = queue_open(w, w->port[0], &p->panel, q);
    }
    if (e)
        return e;
    q->takes_unphased = q->keeps_text = true;
    q->keeps_filled = w->choice.fd_phased_index >= 0;
    e = queue_start(q, -INFINITY);
    if (!e)
        e = open_output(p);
    if (e)
        return e;
    phase_filter_open(&p->filter, w, q, &p->engine_panel, p->pieces ? 0 : PHASE_SAMPLED, on_progress, p);
    e = all_windows(p);
    return e ? e : close_output(p);
}

sq_err stage_phase(struct worker *w)
{
    struct phase *p = calloc(1, sizeof *p);
    if (!p)
        return sq_fail(SQ_ENOMEM);
    p->w = w;
    sq_err e = run(p);
    if (!e && (w->choice.region_from_bp || w->choice.region_to_bp) && !(p->n_typed + p->n_only))
        e = sq_why_set(&w->why, sq_fail(SQ_ERANGE), 0, 0, "region", "the target has no record there");
    if (!e) {
        w->counts.n_sample = p->queue.n_sample;
        w->counts.n_haplotype = p->engine_panel.n_hap;
        w->counts.n_variant = p->n_typed + p->n_only;
        w->counts.n_in_panel = p->n_typed;
        w->counts.n_kept = p->filter.counts.n_het;
        w->counts.n_excluded = p->filter.counts.n_missing;
        w->counts.is_phased = 1;
        worker_count_chrom(w, sq_panel_info(p->panel.panel)->chrom);
    }
    phase_filter_close(&p->filter);
    sq_pieces_free(p->pieces);
    sq_rows_free(p->plan);
    sq_err ignored = sq_bcf_writer_close(p->stream);
    (void)ignored;
    free(p->gt);
    free(p->phased);
    queue_close(&p->queue);
    panel_port_close(&p->panel);
    free(p);
    return e;
}
