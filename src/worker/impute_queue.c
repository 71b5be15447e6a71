#include "worker/impute_queue.h"

#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#define ID_MAX_BYTES 200U

static sq_err read_target(struct impute_queue *q)
{
    sq_err e = sq_genotypes_next(q->target, &q->w->why, &q->target_next, &q->has_target);
    if (!e && q->has_target && q->target_next.n_alt != 1)
        e = sq_why_set(&q->w->why, sq_fail(SQ_ERECORD), q->target_next.line, 5, "ALT",
                       "a record without exactly one alternative allele got here");
    return e;
}

static sq_err read_panel(struct impute_queue *q)
{
    return panel_reader_next(q->panel, &q->w->why, &q->panel_next, &q->has_panel);
}

/* Haplotypes of the target: two a sample, or one where the first record is haploid. */
static sq_err count_haplotypes(struct impute_queue *q)
{
    q->n_sample = sq_genotypes_n_sample(q->target);
    q->is_haploid = calloc(q->n_sample, 1);
    if (!q->is_haploid)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < q->n_sample; i++) {
        q->is_haploid[i] = q->target_next.gt[2 * i + 1] == SQ_GT_NONE && q->target_next.gt[2 * i] != SQ_GT_MISSING;
        q->n_target += q->is_haploid[i] ? 1 : 2;
    }
    return SQ_OK;
}

sq_err queue_open(struct worker *w, struct impute_queue *q)
{
    *q = (struct impute_queue){.w = w};
    struct stat st = {0};
    q->panel_bytes = fstat(w->port[1], &st) ? 0 : (uint64_t)st.st_size;
    struct sq_genotypes_limits limits = {.max_samples = w->max_samples, .max_variants = w->max_variants};
    sq_err e = sq_genotypes_open(w->port[0], &limits, &w->why, &q->target);
    if (!e)
        e = panel_reader_open(w->port[1], false, &w->why, &q->panel);
    if (!e)
        e = read_target(q);
    if (!e && !q->has_target)
        e = sq_why_set(&w->why, sq_fail(SQ_ENOVARIANT), 0, 0, "file", "no record is left to impute from");
    if (!e)
        e = count_haplotypes(q);
    if (!e)
        e = read_panel(q);
    if (!e && !q->has_panel)
        e = sq_why_set(&w->why, sq_fail(SQ_EPANEL), 0, 0, "file", "the panel has no records");
    if (!e && strcmp(sq_genotypes_chrom(q->target), sq_genotypes_chrom(panel_reader_genotypes(q->panel))) != 0)
        e = sq_why_set(&w->why, sq_fail(SQ_EBUILD), 0, 0, "CHROM", "target and panel are of different chromosomes");
    if (!e)
        q->n_hap = panel_reader_n_hap(q->panel);
    if (!e && q->n_hap > SQ_HMM_MAX_HAP)
        e = sq_why_set(&w->why, sq_fail(SQ_ELIMIT), 0, 0, "panel", "more than %u haplotypes", SQ_HMM_MAX_HAP);
    if (!e && !(w->flags & SQ_WORK_NO_MAP))
        e = sq_gmap_read(w->port[2], sq_genotypes_chrom(q->target), &w->why, &q->map);
    return e;
}

static void site_done(struct site_entry *s)
{
    free((void *)(uintptr_t)s->site.carrier);
    free(s->text);
}

static void typed_done(struct typed_entry *t)
{
    if (t->allele)
        sq_wipe(t->allele, 1);
    free(t->allele);
    free(t->bits);
    free(t->text);
}

void queue_close(struct impute_queue *q)
{
    for (uint32_t i = 0; i < q->n_site; i++)
        site_done(&q->site[i]);
    for (uint32_t i = 0; i < q->n_typed; i++)
        typed_done(&q->typed[i]);
    free(q->site);
    free(q->typed);
    free(q->is_haploid);
    sq_gmap_done(&q->map);
    sq_genotypes_close(q->target);
    panel_reader_close(q->panel);
}

static bool id_ok(struct sq_span id)
{
    for (uint32_t i = 0; i < id.n; i++)
        if (id.p[i] <= 32 || id.p[i] >= 127)
            return false;
    return id.n > 0 && id.n <= ID_MAX_BYTES;
}

/* ID TAB REF TAB ALT */
static char *text_of(const struct sq_record *r, uint32_t *out_id, uint32_t *out_n)
{
    struct sq_span id = id_ok(r->id) ? r->id : sq_span_str(".");
    size_t n = (size_t)id.n + r->ref.n + r->alt.n + 2;
    char *text = malloc(n), *at = text;
    if (!text)
        return NULL;
    memcpy(at, id.p, id.n);
    at += id.n;
    *at++ = '\t';
    memcpy(at, r->ref.p, r->ref.n);
    at += r->ref.n;
    *at++ = '\t';
    memcpy(at, r->alt.p, r->alt.n);
    *out_id = id.n;
    *out_n = (uint32_t)n;
    return text;
}

static sq_err grow(void **array, uint32_t n, uint32_t *cap, size_t each)
{
    if (n < *cap)
        return SQ_OK;
    uint32_t more = *cap ? *cap * 2 : 1024;
    void *p = realloc(*array, (size_t)more * each);
    if (!p)
        return sq_fail(SQ_ENOMEM);
    *array = p;
    *cap = more;
    return SQ_OK;
}

/* Alleles of the waiting target record, a haplotype each. */
static sq_err take_alleles(struct impute_queue *q, uint8_t *out)
{
    const struct sq_record *r = &q->target_next;
    for (uint32_t i = 0, h = 0; i < q->n_sample; i++) {
        uint8_t a = r->gt[2 * i], b = r->gt[2 * i + 1];
        bool is_missing = a == SQ_GT_MISSING || b == SQ_GT_MISSING;
        if (!is_missing && (b == SQ_GT_NONE) != q->is_haploid[i])
            return sq_why_set(&q->w->why, sq_fail(SQ_EPLOIDY), r->line, 0, "GT",
                              "the ploidy of a sample differs from its first record");
        if (!is_missing && a != b && !r->phased[i])
            return sq_why_set(&q->w->why, sq_fail(SQ_EUNPHASED), r->line, 0, "GT",
                              "a heterozygous genotype has no phase");
        out[h++] = is_missing ? SQ_ALLELE_MISSING : a;
        if (!q->is_haploid[i])
            out[h++] = is_missing ? SQ_ALLELE_MISSING : b;
    }
    return SQ_OK;
}

static sq_err push_typed(struct impute_queue *q)
{
    void *array = q->typed;
    sq_err e = grow(&array, q->n_typed, &q->typed_cap, sizeof *q->typed);
    q->typed = array;
    if (e)
        return e;
    struct typed_entry t = {.pos_bp = q->target_next.pos_bp, .cm = sq_gmap_cm(&q->map, q->target_next.pos_bp)};
    t.allele = malloc(q->n_target);
    t.text = text_of(&q->target_next, &t.n_id, &t.n_text);
    e = t.allele && t.text ? take_alleles(q, t.allele) : sq_fail(SQ_ENOMEM);
    if (e) {
        typed_done(&t);
        return e;
    }
    q->typed[q->n_typed++] = t;
    q->n_bytes += sizeof t + q->n_target + t.n_text;
    return read_target(q);
}

static bool same_alleles(const char *a, uint32_t a_id, uint32_t a_n, const char *b, uint32_t b_id, uint32_t b_n)
{
    return a_n - a_id == b_n - b_id && !memcmp(a + a_id, b + b_id, a_n - a_id);
}

/* ALT as one bit a haplotype, from the list of the rarer allele. */
static uint64_t *bits_of(const struct panel_record *r, uint32_t n_hap)
{
    size_t n_word = sq_bit_words(n_hap);
    uint64_t *bits = malloc(n_word * sizeof *bits);
    if (!bits)
        return NULL;
    memset(bits, r->carriers_have_ref ? 0xff : 0, n_word * sizeof *bits);
    for (uint32_t c = 0; c < r->n_carrier; c++)
        bits[r->carrier[c] >> 6] ^= 1ULL << (r->carrier[c] & 63);
    return bits;
}

static sq_err push_site(struct impute_queue *q)
{
    const struct panel_record *r = &q->panel_next;
    void *array = q->site;
    sq_err e = grow(&array, q->n_site, &q->site_cap, sizeof *q->site);
    q->site = array;
    if (e)
        return e;
    uint32_t *carrier = malloc((r->n_carrier + 1) * sizeof *carrier);
    struct site_entry s = {.pos_bp = r->site.pos_bp, .typed_no = UINT64_MAX};
    s.site = (struct sq_plain_site){.cm = sq_gmap_cm(&q->map, r->site.pos_bp),
                                    .n_carrier = r->n_carrier,
                                    .carriers_have_ref = r->carriers_have_ref,
                                    .carrier = carrier};
    s.text = text_of(&r->site, &s.n_id, &s.n_text);
    if (carrier && r->n_carrier)
        memcpy(carrier, r->carrier, r->n_carrier * sizeof *carrier);
    for (uint32_t i = q->n_typed; carrier && s.text && i-- > 0 && q->typed[i].pos_bp == s.pos_bp;) {
        struct typed_entry *t = &q->typed[i];
        if (t->bits || !same_alleles(t->text, t->n_id, t->n_text, s.text, s.n_id, s.n_text))
            continue;
        t->bits = bits_of(r, q->n_hap);
        if (!t->bits)
            e = sq_fail(SQ_ENOMEM);
        s.typed_no = q->n_typed_dropped + i;
        q->n_bytes += sq_bit_words(q->n_hap) * 8;
        break;
    }
    if (e || !carrier || !s.text) {
        site_done(&s);
        return e ? e : sq_fail(SQ_ENOMEM);
    }
    q->site[q->n_site++] = s;
    q->n_bytes += sizeof s + s.n_text + (r->n_carrier + 1) * sizeof *carrier + 64; /* 64: malloc's own */
    return read_panel(q);
}

sq_err queue_fill(struct impute_queue *q, double cm, double *out_cm)
{
    while (q->has_panel || q->has_target) {
        bool is_target = q->has_target && (!q->has_panel || q->target_next.pos_bp <= q->panel_next.site.pos_bp);
        double next = sq_gmap_cm(&q->map, is_target ? q->target_next.pos_bp : q->panel_next.site.pos_bp);
        if (next >= cm || q->n_bytes > QUEUE_MAX_BYTES) {
            *out_cm = next;
            return SQ_OK;
        }
        sq_err e = is_target ? push_typed(q) : push_site(q);
        if (!e)
            e = worker_beat(q->w);
        if (e)
            return e;
    }
    *out_cm = INFINITY;
    return SQ_OK;
}

sq_err queue_skip(struct impute_queue *q, double cm)
{
    sq_err e = SQ_OK;
    while (!e && q->has_panel && sq_gmap_cm(&q->map, q->panel_next.site.pos_bp) < cm) {
        e = read_panel(q);
        if (!e)
            e = worker_beat(q->w);
    }
    while (!e && q->has_target && sq_gmap_cm(&q->map, q->target_next.pos_bp) < cm) {
        q->n_typed_dropped++;
        e = read_target(q);
        if (!e)
            e = worker_beat(q->w);
    }
    return e;
}

void queue_drop(struct impute_queue *q, double site_cm, double typed_cm)
{
    uint32_t n = 0;
    for (; n < q->n_site && q->site[n].site.cm < site_cm; n++) {
        q->n_bytes -= sizeof q->site[n] + q->site[n].n_text + (q->site[n].site.n_carrier + 1) * sizeof(uint32_t) + 64;
        site_done(&q->site[n]);
    }
    if (n)
        memmove(q->site, q->site + n, (q->n_site - n) * sizeof *q->site);
    q->n_site -= n;
    for (n = 0; n < q->n_typed && q->typed[n].cm < typed_cm; n++) {
        q->n_bytes -=
            sizeof q->typed[n] + q->n_target + q->typed[n].n_text + (q->typed[n].bits ? sq_bit_words(q->n_hap) * 8 : 0);
        typed_done(&q->typed[n]);
    }
    if (n)
        memmove(q->typed, q->typed + n, (q->n_typed - n) * sizeof *q->typed);
    q->n_typed -= n;
    q->n_typed_dropped += n;
}
