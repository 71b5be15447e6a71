/*
 * impute: window by window, dosages of every target haplotype at every panel site, written as the body of a VCF.
 *
 * The genetic map is cut into windows of CORE_CM, counted from 0 cM; FLANK_CM of typed sites on either side stand by so
 * that the middle doesn't notice the edges. A window whose table of dosages would exceed TABLE_MAX_BYTES is done in
 * several cores, each a run of cells of CELL_CM; one cell that doesn't fit alone is SQ_ELIMIT.
 *
 * A chunk is the windows whose first line lies in its stretch of positions. Nothing in a window depends on another one (the
 * recombination scale is fitted for each core, blocks of the body end with the window), so the bodies of all chunks joined
 * are, byte for byte, the body of the whole.
 */
#include "lib/core/file.h"
#include "lib/formats/bgzf_out.h"
#include "lib/formats/dosage.h"
#include "lib/formats/index.h"
#include "lib/formats/part.h"
#include "worker/impute_queue.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define CELL_CM 0.5
#define CORE_CM 10.0
#define FLANK_CM 2.0
#define TABLE_MAX_BYTES ((size_t)768 << 20)

struct impute {
    struct worker *w;
    struct impute_queue queue;
    struct sq_hmm_params params;
    struct sq_bgzf_out *body;
    struct sq_index *index;
    struct sq_buf line;
    uint64_t n_site, n_typed;   /* written, of the panel and of the target alone */
    double first_line, end_line; /* the chunk: windows that begin in [first_line, end_line); infinite: no end */
    double done_before, done_width; /* progress: the share of the work before the present window, and its own */
    uint64_t packed_at_start;       /* of the panel, when the chunk began */
    /* the present window */
    double window_to;          /* its last line */
    double core_from, core_to; /* within it */
    struct sq_plain_window window;
    uint64_t *bits;
    double *typed_cm;
    uint8_t *alleles;
    struct sq_plain_site *sites;
    uint16_t *table; /* [n_site][n_target] */
};

/* ---- one window's arrays ---------------------------------------------------------------------------------------- */

static void window_done(struct impute *m)
{
    free(m->bits);
    free(m->typed_cm);
    free(m->alleles);
    free(m->sites);
    free(m->table);
    m->bits = NULL;
    m->typed_cm = NULL;
    m->alleles = NULL;
    m->sites = NULL;
    m->table = NULL;
}

static sq_err window_gather(struct impute *m)
{
    struct impute_queue *q = &m->queue;
    size_t n_word = sq_bit_words(q->n_hap), n_typed = 0, n_site = 0;
    for (uint32_t i = 0; i < q->n_typed; i++)
        n_typed += q->typed[i].bits != NULL && q->typed[i].cm < m->core_to + FLANK_CM;
    while (n_site < q->n_site && q->site[n_site].site.cm < m->core_to)
        n_site++;
    m->bits = malloc((n_typed * n_word + 1) * sizeof *m->bits);
    m->typed_cm = malloc((n_typed + 1) * sizeof *m->typed_cm);
    m->alleles = malloc(n_typed * q->n_target + 1);
    m->sites = malloc((n_site + 1) * sizeof *m->sites);
    m->table = malloc((n_site * q->n_target + 1) * sizeof *m->table);
    if (!m->bits || !m->typed_cm || !m->alleles || !m->sites || !m->table)
        return sq_fail(SQ_ENOMEM);
    size_t s = 0;
    for (uint32_t i = 0; i < q->n_typed; i++) {
        const struct typed_entry *t = &q->typed[i];
        if (!t->bits || !(t->cm < m->core_to + FLANK_CM))
            continue;
        memcpy(m->bits + s * n_word, t->bits, n_word * sizeof *m->bits);
        memcpy(m->alleles + s * q->n_target, t->allele, q->n_target);
        m->typed_cm[s++] = t->cm;
    }
    for (size_t i = 0; i < n_site; i++)
        m->sites[i] = q->site[i].site;
    m->window = (struct sq_plain_window){.n_hap = q->n_hap,
                                   .n_typed = (uint32_t)n_typed,
                                   .typed_cm = m->typed_cm,
                                   .typed_bits = m->bits,
                                   .n_target = q->n_target,
                                   .target = m->alleles,
                                   .n_site = (uint32_t)n_site,
                                   .site = m->sites};
    return SQ_OK;
}

static void put_dosage(void *ctx, uint32_t site, uint32_t first, uint32_t n, const float *dosage)
{
    struct impute *m = ctx;
    uint16_t *row = m->table + (size_t)site * m->window.n_target + first;
    for (uint32_t i = 0; i < n; i++)
        row[i] = sq_dosage_milli(dosage[i]);
}

#define PROGRESS_TOTAL 1000000U

static uint64_t packed_now(const struct impute *m)
{
    return sq_genotypes_n_packed(panel_reader_genotypes(m->queue.panel));
}

static sq_err report_progress(void *ctx, uint32_t n_done, uint32_t n_all)
{
    struct impute *m = ctx;
    double share = m->done_before + m->done_width * (n_all ? (double)n_done / (double)n_all : 0);
    return worker_progress(m->w, share > 0 && share < 1 ? (uint64_t)(share * PROGRESS_TOTAL) : share > 0 ? PROGRESS_TOTAL : 0, PROGRESS_TOTAL);
}

/* How far the chunk is: in cM where its end is a line, else by what has been read of the panel. */
static void measure_progress(struct impute *m)
{
    if (!isinf(m->end_line) && !isinf(m->first_line)) {
        m->done_before = (m->core_from - m->first_line) / (m->end_line - m->first_line);
        m->done_width = (m->core_to - m->core_from) / (m->end_line - m->first_line);
        return;
    }
    double all = (double)m->queue.panel_bytes - (double)m->packed_at_start;
    m->done_before += m->done_width;
    m->done_width = all > 0 ? (double)(packed_now(m) - m->packed_at_start) / all - m->done_before : 0;
}

/* ---- records ------------------------------------------------------------------------------------------------------ */

/* Sample columns of a row; @typed: observed alleles or NULL; @milli: dosages or NULL (typed only). */
static size_t put_samples(const struct impute_queue *q, const uint8_t *typed, const uint16_t *milli, char *out)
{
    char *at = out;
    for (uint32_t i = 0, h = 0; i < q->n_sample; i++) {
        bool is_haploid = q->is_haploid[i];
        unsigned gt[2] = {SQ_DOSAGE_NO_ALLELE, SQ_DOSAGE_NO_ALLELE}, d[2] = {0, 0};
        bool is_missing = false;
        for (unsigned k = 0; k < (is_haploid ? 1U : 2U); k++, h++) {
            if (typed && typed[h] <= 1) {
                gt[k] = typed[h];
                d[k] = typed[h] * SQ_DOSAGE_FULL;
            } else if (milli) {
                d[k] = milli[h];
            } else {
                is_missing = true;
            }
        }
        *at++ = '\t';
        if (is_missing) {
            static const char none[] = ".|.:.:.,.:.,.,.", none_haploid[] = ".:.:.:.,.";
            size_t n = is_haploid ? sizeof none_haploid - 1 : sizeof none - 1;
            memcpy(at, is_haploid ? none_haploid : none, n);
            at += n;
        } else {
            at += is_haploid ? sq_dosage_haploid(gt[0], d[0], at) : sq_dosage_diploid(gt[0], gt[1], d[0], d[1], at);
        }
    }
    *at++ = '\n';
    return (size_t)(at - out);
}

static sq_err put_record(struct impute *m, int64_t pos_bp, const char *text, uint32_t n_id, uint32_t n_text,
                         const char *info, const uint8_t *typed, const uint16_t *milli)
{
    const struct impute_queue *q = &m->queue;
    struct sq_buf *line = &m->line;
    line->n = 0;
    sq_err e = sq_buf_addf(line, "%s\t%lld\t%.*s\t.\tPASS\t%s\tGT:DS:HDS:GP", sq_genotypes_chrom(q->target),
                           (long long)pos_bp, (int)n_text, text, info);
    if (!e)
        e = sq_buf_reserve(line, (size_t)q->n_sample * (SQ_DOSAGE_MAX_TEXT + 1) + 1);
    if (e)
        return e;
    line->n += put_samples(q, typed, milli, (char *)line->p + line->n);
    uint64_t from = sq_bgzf_out_tell(m->body);
    e = sq_bgzf_out_put(m->body, line->p, line->n);
    const char *ref = text + n_id + 1, *ref_end = memchr(ref, '\t', n_text - n_id - 1);
    if (!e)
        e = sq_index_add(m->index, pos_bp - 1, pos_bp - 1 + (ref_end - ref), from, sq_bgzf_out_tell(m->body));
    if (e == SQ_ERANGE)
        e = sq_why_set(&m->w->why, sq_fail(SQ_ELIMIT), 0, 2, "POS", "position %lld can't be indexed",
                       (long long)pos_bp);
    return e;
}

static sq_err put_site(struct impute *m, uint32_t i)
{
    const struct impute_queue *q = &m->queue;
    const struct site_entry *s = &q->site[i];
    uint16_t *milli = m->table + (size_t)i * q->n_target;
    const uint8_t *typed = NULL;
    if (s->typed_no != UINT64_MAX) {
        typed = q->typed[s->typed_no - q->n_typed_dropped].allele;
        for (uint32_t h = 0; h < q->n_target; h++)
            if (typed[h] <= 1)
                milli[h] = (uint16_t)(typed[h] * SQ_DOSAGE_FULL);
    }
    struct sq_quality quality = sq_quality_of(milli, q->n_target);
    m->n_site++;
    char info[96];
    snprintf(info, sizeof info, "AF=%.5f;MAF=%.5f;R2=%.5f;%s", quality.af, quality.maf, quality.r2,
             typed ? "TYPED" : "IMPUTED");
    return put_record(m, s->pos_bp, s->text, s->n_id, s->n_text, info, typed, milli);
}

static sq_err put_typed_only(struct impute *m, const struct typed_entry *t)
{
    uint64_t n = 0, n_alt = 0;
    for (uint32_t h = 0; h < m->queue.n_target; h++) {
        n += t->allele[h] <= 1;
        n_alt += t->allele[h] == 1;
    }
    double af = n ? (double)n_alt / (double)n : 0;
    m->n_typed++;
    char info[96];
    snprintf(info, sizeof info, "AF=%.5f;MAF=%.5f;TYPED_ONLY", af, af < 0.5 ? af : 1 - af);
    return put_record(m, t->pos_bp, t->text, t->n_id, t->n_text, info, t->allele, NULL);
}

/* The core's records in order of position: the panel's sites, and what only the target has. */
static sq_err write_core(struct impute *m)
{
    struct impute_queue *q = &m->queue;
    uint32_t t = 0;
    sq_err e = SQ_OK;
    for (uint32_t i = 0; i <= m->window.n_site && !e; i++) {
        bool is_end = i == m->window.n_site;
        for (;
             t < q->n_typed && q->typed[t].cm < m->core_to && (is_end || q->typed[t].pos_bp < q->site[i].pos_bp) && !e;
             t++)
            if (!q->typed[t].bits && q->typed[t].cm >= m->core_from)
                e = put_typed_only(m, &q->typed[t]);
        if (!e && !is_end)
            e = put_site(m, i);
        if (!e)
            e = worker_beat(m->w);
    }
    return e;
}

/* ---- windows ------------------------------------------------------------------------------------------------------ */

/* The end of the core: the last line of a cell whose table fits and whose flank has been read; the window's end, as a rule. */
static sq_err choose_core(struct impute *m, double complete_cm)
{
    const struct impute_queue *q = &m->queue;
    size_t n_fit = TABLE_MAX_BYTES / (q->n_target * sizeof(uint16_t));
    double end = m->core_from;
    uint32_t n_site = 0;
    for (double line = m->core_from + CELL_CM; line <= m->window_to; line += CELL_CM) {
        if (line + FLANK_CM > complete_cm)
            break;
        while (n_site < q->n_site && q->site[n_site].site.cm < line)
            n_site++;
        if (n_site > n_fit)
            break;
        end = line;
    }
    if (!(end > m->core_from))
        return sq_why_set(&m->w->why, sq_fail(SQ_ELIMIT), 0, 0, "window",
                          "%g cM of the panel with %u target haplotypes need more memory than a window has", CELL_CM,
                          q->n_target);
    m->core_to = end;
    return SQ_OK;
}

static sq_err window_run(struct impute *m)
{
    sq_err e = window_gather(m);
    struct sq_hmm_params params = m->params;
    struct sq_plain_sink sink = {.ctx = m, .put = put_dosage, .progress = report_progress};
    if (!e && m->window.n_site) {
        e = sq_hmm_fit_ne(&m->window, &m->params, &sink, &params.ne);
        if (!e)
            e = sq_plain_impute(&m->window, &params, &sink);
    }
    if (e == SQ_ELIMIT && !m->w->why.detail[0])
        e = sq_why_set(&m->w->why, e, 0, 0, "window",
                       "%u panel haplotypes and %u typed sites need more memory than a window has", m->window.n_hap,
                       m->window.n_typed);
    if (!e)
        e = write_core(m);
    if (!e && m->core_to >= m->window_to)
        e = sq_bgzf_out_cut(m->body);
    window_done(m);
    return e;
}

/* ---- the grid ------------------------------------------------------------------------------------------------------ */

/* The line at or before @cm: whole multiples of CORE_CM are exact, so every chunk finds the same ones. */
static double line_before(double cm)
{
    double line = floor(cm / CORE_CM) * CORE_CM;
    while (line > cm)
        line -= CORE_CM;
    while (line + CORE_CM <= cm)
        line += CORE_CM;
    return line;
}

/* The first line that lies at or behind position @bp. */
static double line_at(const struct sq_gmap *map, uint64_t bp)
{
    return line_before(sq_gmap_cm(map, (int64_t)(bp < INT64_MAX ? bp : INT64_MAX) - 1)) + CORE_CM;
}

/* What lies before the chunk is passed over; from its first window on everything is as if it had been the whole. */
static sq_err go_to_chunk(struct impute *m)
{
    const struct worker *w = m->w;
    m->first_line = w->from_bp ? line_at(&m->queue.map, w->from_bp) : -INFINITY;
    m->end_line = w->to_bp ? line_at(&m->queue.map, w->to_bp) : INFINITY;
    m->core_to = m->window_to = m->first_line;
    if (!w->from_bp && w->to_bp) /* for progress alone */
        m->first_line = line_before(sq_gmap_cm(&m->queue.map, m->queue.panel_next.site.pos_bp));
    sq_err e = w->from_bp ? queue_skip(&m->queue, m->core_to - FLANK_CM) : SQ_OK;
    double complete = -INFINITY, before = INFINITY;
    while (!e && w->from_bp && complete < m->core_to && (complete > before || isinf(before))) { /* the flank: its typed sites stay */
        before = complete;
        e = queue_fill(&m->queue, m->core_to, &complete);
        queue_drop(&m->queue, m->core_to, m->core_to - FLANK_CM);
    }
    m->packed_at_start = packed_now(m);
    return e;
}

/* The cM of what is to be written next; infinite when nothing is left. */
static double next_cm(const struct impute *m)
{
    const struct impute_queue *q = &m->queue;
    double next = INFINITY;
    if (q->n_site)
        next = q->site[0].site.cm;
    else if (q->has_panel)
        next = sq_gmap_cm(&q->map, q->panel_next.site.pos_bp);
    for (uint32_t i = 0; i < q->n_typed; i++)
        if (q->typed[i].cm >= m->core_to && q->typed[i].cm < next) {
            next = q->typed[i].cm;
            break;
        }
    if (q->has_target && sq_gmap_cm(&q->map, q->target_next.pos_bp) < next)
        next = sq_gmap_cm(&q->map, q->target_next.pos_bp);
    return next;
}

static sq_err all_windows(struct impute *m)
{
    struct impute_queue *q = &m->queue;
    for (;;) {
        /* the next thing to be written decides which window comes next; empty ones are leapt over */
        double next = next_cm(m), complete;
        double line = isinf(next) ? next : line_before(next);
        if (line >= m->end_line || isinf(line))
            return SQ_OK;
        if (line < m->core_to) {
            m->core_from = m->core_to; /* a window in several cores */
        } else {
            sq_err e = sq_bgzf_out_cut(m->body);
            if (e)
                return e;
            m->core_from = line;
        }
        m->window_to = line + CORE_CM;
        queue_drop(q, m->core_from, m->core_from - FLANK_CM);
        sq_err e = queue_fill(q, m->window_to + FLANK_CM, &complete);
        if (!e)
            e = choose_core(m, complete);
        measure_progress(m);
        if (!e)
            e = window_run(m);
        if (e)
            return e;
        queue_drop(q, m->core_to, m->core_to - FLANK_CM);
    }
}

/* ---- the two outputs ---------------------------------------------------------------------------------------------- */

static sq_err add_meta(const struct impute *m, struct sq_buf *t)
{
    const struct impute_queue *q = &m->queue;
    uint64_t length = sq_genotypes_chrom_length(panel_reader_genotypes(q->panel));
    sq_err e = sq_buf_addf(
        t,
        "##fileformat=VCFv4.2\n##FILTER=<ID=PASS,Description=\"All filters passed\">\n##source=sequester %s\n##contig=<ID=%s",
        SQ_VERSION, sq_genotypes_chrom(q->target));
    if (!e)
        e = length ? sq_buf_addf(t, ",length=%llu>\n", (unsigned long long)length) : sq_buf_addf(t, ">\n");
    if (!e)
        e = sq_buf_addf(
            t,
            "##sequester_panel_haplotypes=%u\n"
            "##INFO=<ID=AF,Number=1,Type=Float,Description=\"Frequency of the alternative allele in these samples\">\n"
            "##INFO=<ID=MAF,Number=1,Type=Float,Description=\"Frequency of the rarer allele in these samples\">\n"
            "##INFO=<ID=R2,Number=1,Type=Float,Description=\"Estimated imputation accuracy: variance of the dosages over the expected one\">\n"
            "##INFO=<ID=IMPUTED,Number=0,Type=Flag,Description=\"Imputed from the panel\">\n"
            "##INFO=<ID=TYPED,Number=0,Type=Flag,Description=\"Typed and in the panel; observed genotypes are kept, missing ones imputed\">\n"
            "##INFO=<ID=TYPED_ONLY,Number=0,Type=Flag,Description=\"Typed, not in the panel; kept as it came\">\n"
            "##FORMAT=<ID=GT,Number=1,Type=String,Description=\"Genotype: observed, or the likelier allele of each haplotype\">\n"
            "##FORMAT=<ID=DS,Number=1,Type=Float,Description=\"Dosage of the alternative allele\">\n"
            "##FORMAT=<ID=HDS,Number=.,Type=Float,Description=\"Dosage of the alternative allele, each haplotype\">\n"
            "##FORMAT=<ID=GP,Number=G,Type=Float,Description=\"Probability of each genotype\">\n",
            q->n_hap);
    return e;
}

/* head, header lines, index: docs/formats/stages.md */
static sq_err write_index(const struct impute *m, uint64_t body_bytes)
{
    struct sq_buf meta, index, all;
    sq_buf_init(&meta, 0);
    sq_buf_init(&index, UINT32_MAX);
    sq_buf_init(&all, 0);
    sq_err e = add_meta(m, &meta);
    if (!e)
        e = sq_index_write_part(m->index, &index);
    struct sq_part part = {.track = SQ_ROWS_RESULT,
                           .container = SQ_ROWS_VCF,
                           .n_sample = m->queue.n_sample,
                           .body_bytes = body_bytes,
                           .meta = sq_span_of(meta.p, meta.n),
                           .index = sq_span_of(index.p, index.n)};
    if (!e)
        e = sq_part_write(&part, &all);
    if (!e)
        e = sq_write_all(m->w->port[4], all.p, all.n);
    sq_buf_done(&meta);
    sq_buf_done(&index);
    sq_buf_done(&all);
    return e;
}

sq_err stage_impute(struct worker *w)
{
    struct impute m = {.w = w,
                       .params = {.ne = SQ_HMM_NE, .mismatch = SQ_HMM_MISMATCH, .n_thread = w->n_thread}};
    uint64_t body_bytes = 0;
    sq_buf_init(&m.line, 0);
    sq_err e = worker_progress(w, 0, PROGRESS_TOTAL);
    if (!e)
        e = queue_open(w, &m.queue);
    if (!e)
        e = sq_bgzf_out_open(w->port[3], &m.body);
    if (!e)
        e = sq_index_new(sq_genotypes_chrom(m.queue.target), &m.index);
    if (!e)
        e = go_to_chunk(&m);
    if (!e)
        e = all_windows(&m);
    if (!e) { /* the end block is the last chunk's */
        e = sq_bgzf_out_close(m.body, !w->to_bp, &body_bytes);
        m.body = NULL;
    }
    if (!e)
        e = write_index(&m, body_bytes);
    if (!e) {
        w->counts.n_sample = m.queue.n_sample;
        w->counts.n_haplotype = m.queue.n_hap;
        w->counts.n_variant = m.n_site + m.n_typed;
        w->counts.n_site = m.n_site;
        worker_count_chrom(w, sq_genotypes_chrom(m.queue.target));
    }
    sq_bgzf_out_drop(m.body);
    sq_index_free(m.index);
    sq_buf_done(&m.line);
    queue_close(&m.queue);
    return e;
}
