#include "worker/typed_queue.h"

#include <math.h>
#include <stdlib.h>

static sq_err read_target(struct typed_queue *q)
{
    sq_err e = sq_genotypes_next(q->target, &q->w->why, &q->next, &q->has_next);
    if (!e && q->has_next && q->next.n_alt != 1)
        e = sq_why_set(&q->w->why, sq_fail(SQ_ERECORD), q->next.line, 5, "ALT", "a record without exactly one alternative allele got here");
    return e;
}

/* Haplotypes of the target: two a sample, or one where the first record is haploid. */
static sq_err count_haplotypes(struct typed_queue *q)
{
    q->n_sample = sq_genotypes_n_sample(q->target);
    q->is_haploid = calloc(q->n_sample, 1);
    if (!q->is_haploid)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < q->n_sample; i++) {
        q->is_haploid[i] = q->next.gt[2 * i + 1] == SQ_GT_NONE; /* qc writes missing calls as many as there are haplotypes */
        q->n_target += q->is_haploid[i] ? 1 : 2;
    }
    return SQ_OK;
}

sq_err queue_open(struct worker *w, int fd, const struct panel_port *panel, struct typed_queue *q)
{
    *q = (struct typed_queue){.w = w, .panel = panel->panel, .map = sq_panel_map(panel->panel), .max_bytes = QUEUE_MAX_BYTES};
    struct sq_genotypes_limits limits = {.max_samples = w->max_samples, .max_variants = w->max_variants, .with_sets = true};
    sq_err e = sq_genotypes_open(fd, &limits, &w->why, &q->target);
    if (!e)
        q->n_phasing = sq_genotypes_n_phasing(q->target);
    if (!e)
        e = read_target(q);
    if (!e && !q->has_next)
        e = sq_why_set(&w->why, sq_fail(SQ_ENOVARIANT), 0, 0, "file", "no record is left to impute from");
    if (!e)
        e = count_haplotypes(q);
    if (!e && strcmp(sq_genotypes_chrom(q->target), sq_panel_info(q->panel)->chrom) != 0)
        e = sq_why_set(&w->why, sq_fail(SQ_EBUILD), 0, 0, "CHROM", "target and panel are of different chromosomes");
    return e;
}

static void wipe(uint8_t *p, uint32_t n)
{
    if (p)
        sq_wipe(p, n);
    free(p);
}

static void entry_done(struct typed_entry *t, uint32_t n_target)
{
    wipe(t->allele, n_target);
    wipe(t->raw, n_target);
    wipe(t->filled, n_target);
    free(t->swap);
    free(t->unphased);
    free(t->set);
    free(t->confidence);
    free(t->text);
}

void queue_close(struct typed_queue *q)
{
    for (uint32_t i = 0; i < q->n; i++)
        entry_done(&q->entry[i], q->n_target);
    free(q->entry);
    free(q->is_haploid);
    site_walk_close(&q->walk);
    sq_genotypes_close(q->target);
}

static double cm_of(const struct typed_queue *q, int64_t pos_bp)
{
    return sq_gmap_cm(q->map, pos_bp);
}

sq_err queue_start(struct typed_queue *q, double cm)
{
    const struct sq_panel_segment *s = sq_panel_segments(q->panel);
    uint32_t segment = 0, n_segment = sq_panel_info(q->panel)->n_segment;
    while (segment + 1 < n_segment && s[segment].last_cm < cm)
        segment++;
    sq_err e = SQ_OK;
    while (!e && q->has_next && cm_of(q, q->next.pos_bp) < cm) {
        e = read_target(q);
        if (!e)
            e = worker_beat(q->w);
    }
    return e ? e : site_walk_open(q->panel, segment, &q->w->why, &q->walk);
}

/* Alleles of the waiting record, a haplotype each. */
static sq_err take_alleles(const struct typed_queue *q, bool is_typed, uint8_t *out)
{
    const struct sq_record *r = &q->next;
    for (uint32_t i = 0, h = 0; i < q->n_sample; i++) {
        uint8_t a = r->gt[2 * i], b = r->gt[2 * i + 1];
        bool is_missing = a == SQ_GT_MISSING || b == SQ_GT_MISSING;
        if (!is_missing && (b == SQ_GT_NONE) != q->is_haploid[i])
            return sq_why_set(&q->w->why, sq_fail(SQ_EPLOIDY), r->line, 0, "GT", "the ploidy of a sample differs from its first record");
        if (!is_missing && a != b && !r->phased[i] && !q->takes_unphased && is_typed)
            return sq_why_set(&q->w->why, sq_fail(SQ_EUNPHASED), r->line, 0, "GT", "a heterozygous genotype has no phase");
        out[h++] = is_missing ? SQ_ENGINE_MISSING : a;
        if (!q->is_haploid[i])
            out[h++] = is_missing ? SQ_ENGINE_MISSING : b;
    }
    return SQ_OK;
}

/* What is known of the order of the waiting record's alleles. */
static sq_err take_order(const struct typed_queue *q, struct typed_entry *t)
{
    const struct sq_record *r = &q->next;
    bool is_own = t->row == QUEUE_NO_ROW, has_set = false, has_unphased = false;
    for (uint32_t i = 0; i < q->n_sample; i++) {
        bool is_het = !q->is_haploid[i] && r->gt[2 * i] != r->gt[2 * i + 1] && r->gt[2 * i] != SQ_GT_MISSING && r->gt[2 * i + 1] != SQ_GT_MISSING;
        has_set = has_set || (is_het && r->phased[i]);
        has_unphased = has_unphased || (is_het && (!r->phased[i] || (q->takes_unphased && r->set && r->set[i])));
    }
    t->set = q->takes_unphased && !is_own && has_set ? calloc(q->n_sample, sizeof *t->set) : NULL;
    t->unphased = is_own && has_unphased ? calloc(q->n_sample, 1) : NULL;
    t->swap = r->swap && !is_own ? malloc(q->n_sample) : NULL;
    if ((q->takes_unphased && !is_own && has_set && !t->set) || (is_own && has_unphased && !t->unphased) || (r->swap && !is_own && !t->swap))
        return sq_fail(SQ_ENOMEM);
    if (t->swap)
        memcpy(t->swap, r->swap, q->n_sample);
    for (uint32_t i = 0; i < q->n_sample; i++) {
        bool is_het = r->gt[2 * i] != r->gt[2 * i + 1] && r->gt[2 * i] != SQ_GT_MISSING && r->gt[2 * i + 1] != SQ_GT_MISSING && !q->is_haploid[i];
        uint32_t set = !is_het || !r->phased[i] ? 0 : r->set && r->set[i] ? r->set[i] + 1 : 1;
        if (t->set)
            t->set[i] = set;
        if (t->unphased)
            t->unphased[i] = is_het && (q->takes_unphased ? set != 1 : !r->phased[i]); /* within its set alone: not beside what is phased as a whole */
    }
    return SQ_OK;
}

/* Which row of the panel it is. A second record with the same alleles is the target's own: a row is typed once. */
static sq_err find_row(struct typed_queue *q, struct typed_entry *t)
{
    sq_err e = site_walk_to(&q->walk, t->pos_bp, &q->w->why);
    if (e)
        return e;
    int i = site_group_find(&q->walk.here, q->next.ref, q->next.alt);
    t->row = i < 0 ? QUEUE_NO_ROW : q->walk.here.allele[i].row;
    for (uint32_t k = q->n; k-- > 0 && q->entry[k].pos_bp == t->pos_bp;)
        if (q->entry[k].row == t->row)
            t->row = QUEUE_NO_ROW;
    (void)site_walk_next(&q->walk, &t->before);
    return SQ_OK;
}

static sq_err keep_text(const struct typed_queue *q, struct typed_entry *t)
{
    const struct sq_record *r = &q->next;
    if (t->row != QUEUE_NO_ROW && !q->keeps_text)
        return SQ_OK; /* the panel's own words stand in the result */
    size_t n = (size_t)r->id.n + r->ref.n + r->alt.n;
    t->text = malloc(n);
    if (!t->text)
        return sq_fail(SQ_ENOMEM);
    memcpy(t->text, r->id.p, r->id.n);
    memcpy(t->text + r->id.n, r->ref.p, r->ref.n);
    memcpy(t->text + r->id.n + r->ref.n, r->alt.p, r->alt.n);
    t->n_id = (uint32_t)r->id.n;
    t->n_ref = (uint32_t)r->ref.n;
    t->n_alt = (uint32_t)r->alt.n;
    return SQ_OK;
}

size_t queue_bytes_of(const struct typed_queue *q, const struct typed_entry *t)
{
    const void *const hap[] = {t->allele, t->raw, t->filled}, *const sample[] = {t->swap, t->unphased, t->confidence};
    size_t n = sizeof *t + t->n_id + t->n_ref + t->n_alt + 64; /* 64: malloc's own */
    for (size_t i = 0; i < 3; i++)
        n += (hap[i] ? q->n_target : 0) + (sample[i] ? q->n_sample : 0);
    return n + (t->set ? 4 * (size_t)q->n_sample : 0);
}

sq_err queue_add_bytes(struct typed_queue *q, size_t n)
{
    q->n_bytes += n; /* fewer: it goes round */
    if (q->n_bytes <= q->max_bytes)
        return SQ_OK;
    return sq_why_set(&q->w->why, sq_fail(SQ_ELIMIT), 0, 0, "window", "%u records of %u haplotypes within %g cM need more than %zu MiB", q->n, q->n_target, GRID_CM,
                      q->max_bytes >> 20);
}

static sq_err grow(struct typed_queue *q)
{
    if (q->n < q->cap)
        return SQ_OK;
    uint32_t more = q->cap ? q->cap * 2 : 1024;
    struct typed_entry *p = realloc(q->entry, (size_t)more * sizeof *p);
    if (!p)
        return sq_fail(SQ_ENOMEM);
    q->entry = p;
    q->cap = more;
    return SQ_OK;
}

static sq_err push(struct typed_queue *q)
{
    struct typed_entry t = {.pos_bp = q->next.pos_bp, .cm = cm_of(q, q->next.pos_bp)};
    sq_err e = grow(q);
    if (!e)
        e = find_row(q, &t);
    if (!e)
        e = keep_text(q, &t);
    t.allele = e ? NULL : malloc(q->n_target);
    if (!e)
        e = t.allele ? take_alleles(q, t.row != QUEUE_NO_ROW, t.allele) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = take_order(q, &t);
    if (!e)
        e = queue_add_bytes(q, queue_bytes_of(q, &t));
    if (e) {
        entry_done(&t, q->n_target);
        return e;
    }
    q->entry[q->n++] = t;
    return read_target(q);
}

sq_err queue_fill(struct typed_queue *q, double cm)
{
    for (;;) {
        uint32_t row;
        const struct sq_panel_site *s = site_walk_next(&q->walk, &row);
        bool is_target = q->has_next && (!s || q->next.pos_bp <= s->pos_bp);
        sq_err e;
        if (is_target ? cm_of(q, q->next.pos_bp) >= cm : !s || s->cm >= cm)
            return SQ_OK;
        e = is_target ? push(q) : site_walk_pass(&q->walk, &q->w->why);
        if (!e)
            e = worker_beat(q->w);
        if (e)
            return e;
    }
}

void queue_drop(struct typed_queue *q, double cm)
{
    uint32_t n = 0;
    for (; n < q->n && q->entry[n].cm < cm; n++) {
        q->n_bytes -= queue_bytes_of(q, &q->entry[n]);
        entry_done(&q->entry[n], q->n_target);
    }
    if (n)
        memmove(q->entry, q->entry + n, (q->n - n) * sizeof *q->entry);
    q->n -= n;
}
