/*
 * BCF 2.2 records, taken apart by hand (VCF specification 4.3, section 6): bcf_read + bcf_unpack of htslib trust the inner
 * lengths more than a stranger's file deserves, and would unpack INFO that we throw away. Writing is htslib's.
 */
#include "lib/formats/genotypes_internal.h"

#include <htslib/hfile.h>
#include <stdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { T_MISSING = 0,
       T_INT8 = 1,
       T_INT16 = 2,
       T_INT32 = 3,
       T_FLOAT = 5,
       T_CHAR = 7 };

struct cursor {
    const uint8_t *p;
    uint32_t n, at;
};

static sq_err bad(struct sq_why *why, uint64_t line, const char *field, const char *detail)
{
    return sq_why_set(why, sq_fail(SQ_ERECORD), line, 0, field, "%s", detail);
}

static bool take(struct cursor *c, uint32_t n, const uint8_t **out)
{
    if (n > c->n - c->at)
        return false;
    *out = c->p + c->at;
    c->at += n;
    return true;
}

static uint32_t width_of(unsigned type)
{
    return type == T_INT8 || type == T_CHAR ? 1 : type == T_INT16                  ? 2
                                              : type == T_INT32 || type == T_FLOAT ? 4
                                                                                   : 0;
}

static bool int_at(const uint8_t *p, unsigned type, int32_t *out)
{
    if (type == T_INT8)
        *out = (int8_t)p[0];
    else if (type == T_INT16)
        *out = (int16_t)sq_get_le16(p);
    else if (type == T_INT32)
        *out = (int32_t)sq_get_le32(p);
    else
        return false;
    return true;
}

/* A type descriptor: type and number of values (a number of 15 or more follows as an integer of its own). */
static bool take_type(struct cursor *c, unsigned *out_type, uint32_t *out_n)
{
    const uint8_t *p;
    if (!take(c, 1, &p))
        return false;
    *out_type = *p & 15;
    *out_n = *p >> 4;
    if (*out_n == 15) {
        if (!take(c, 1, &p) || *p >> 4 != 1)
            return false;
        unsigned type = *p & 15;
        int32_t n = 0;
        uint32_t width = width_of(type);
        if (!width || type == T_CHAR || !take(c, width, &p) || !int_at(p, type, &n) || n < 0)
            return false;
        *out_n = (uint32_t)n;
    }
    return *out_type == T_MISSING || width_of(*out_type) > 0;
}

static bool take_text(struct cursor *c, struct sq_span *out)
{
    unsigned type;
    uint32_t n;
    const uint8_t *p;
    if (!take_type(c, &type, &n) || (type != T_CHAR && type != T_MISSING && n))
        return false;
    if (type != T_CHAR)
        n = 0;
    if (!take(c, n, &p))
        return false;
    *out = sq_span_of(p, n);
    return true;
}

static sq_err take_alleles(struct sq_genotypes *g, struct cursor *c, uint32_t n_allele, struct sq_record *r,
                           struct sq_why *why)
{
    if (n_allele < 1 || n_allele > SQ_GT_MAX_ALT + 1)
        return sq_why_set(why, sq_fail(n_allele ? SQ_ELIMIT : SQ_ERECORD), r->line, 0, "ALT",
                          "%u alleles; 1 to %u are read", n_allele, SQ_GT_MAX_ALT + 1);
    sq_buf_clear(&g->alleles);
    uint32_t n_ref = 0;
    for (uint32_t i = 0; i < n_allele; i++) {
        struct sq_span a;
        if (!take_text(c, &a) || !genotypes_allele_ok(a) || memchr(a.p, ',', a.n))
            return bad(why, r->line, "ALT", "an allele is empty or has a character that doesn't belong there");
        if ((i > 1 && sq_buf_add(&g->alleles, ",", 1)) || sq_buf_add(&g->alleles, a.p, a.n))
            return sq_why_set(why, sq_fail(SQ_ELIMIT), r->line, 0, "ALT", "alleles longer than %zu bytes",
                              SQ_ALLELES_MAX_BYTES);
        if (i == 0)
            n_ref = a.n;
    }
    if (n_allele == 1 && sq_buf_add(&g->alleles, ".", 1))
        return sq_fail(SQ_ENOMEM);
    r->ref = sq_span_of(g->alleles.p, n_ref);
    r->alt = sq_span_of(g->alleles.p + n_ref, g->alleles.n - n_ref);
    r->n_alt = n_allele - 1;
    return SQ_OK;
}

static bool name_has_dup(const char *name)
{
    return strcasestr(name, "dup") != NULL;
}

static sq_err take_filter(struct sq_genotypes *g, struct cursor *c, struct sq_record *r, struct sq_why *why)
{
    unsigned type;
    uint32_t n;
    const uint8_t *p;
    if (!take_type(c, &type, &n) || n > 65536 || !take(c, n * width_of(type), &p))
        return bad(why, r->line, "FILTER", "the FILTER column is damaged");
    r->filter = SQ_FILTER_PASS;
    for (uint32_t i = 0; i < n; i++) {
        int32_t v = -1;
        if (!int_at(p + i * width_of(type), type, &v) || v < 0 || v >= g->header->n[BCF_DT_ID])
            return bad(why, r->line, "FILTER", "a filter isn't in the header");
        const char *name = bcf_hdr_int2id(g->header, BCF_DT_ID, v);
        if (!name || !strcmp(name, "PASS"))
            continue;
        r->filter = name_has_dup(name) || r->filter == SQ_FILTER_DUP ? SQ_FILTER_DUP : SQ_FILTER_OTHER;
    }
    return SQ_OK;
}

/* One allele as BCF holds it: (number + 1) << 1 | phased; 0: missing; minimum + 1 of the type: end of vector. */
static unsigned allele_of(int32_t v, unsigned type, uint32_t n_alt)
{
    int32_t end = type == T_INT8 ? INT8_MIN + 1 : type == T_INT16 ? INT16_MIN + 1
                                                                  : INT32_MIN + 1;
    if (v == end)
        return SQ_GT_NONE;
    if (v == end - 1 || (v >> 1) == 0)
        return SQ_GT_MISSING;
    return v > 0 && (uint32_t)(v >> 1) - 1 <= n_alt ? (unsigned)(v >> 1) - 1 : SQ_GT_NONE + 256;
}

static sq_err unpack_gt(struct sq_genotypes *g, const uint8_t *p, unsigned type, uint32_t ploidy, struct sq_record *r,
                        struct sq_why *why)
{
    if (ploidy < 1 || ploidy > 2)
        return sq_why_set(why, sq_fail(ploidy ? SQ_EPLOIDY : SQ_ENOGT), r->line, 0, "GT",
                          "genotypes have %u alleles; 1 or 2 are read", ploidy);
    uint32_t width = width_of(type);
    for (uint32_t i = 0; i < g->n_sample; i++, p += width * ploidy) {
        int32_t first = 0, second = 0;
        if (!int_at(p, type, &first) || (ploidy == 2 && !int_at(p + width, type, &second)))
            return bad(why, r->line, "GT", "genotypes must be integers");
        unsigned a = allele_of(first, type, r->n_alt), b = ploidy == 2 ? allele_of(second, type, r->n_alt) : SQ_GT_NONE;
        if (a > SQ_GT_MISSING || b > SQ_GT_MISSING || a == SQ_GT_NONE)
            return sq_why_set(why, sq_fail(SQ_ERECORD), r->line, 10 + i, "GT",
                              "an allele number isn't one of this record's alleles");
        g->gt[2 * i] = (uint8_t)a;
        g->gt[2 * i + 1] = (uint8_t)b;
        g->phased[i] = b == SQ_GT_NONE || (second & 1);
    }
    r->gt = g->gt;
    r->phased = g->phased;
    return SQ_OK;
}

/* Phase sets: whole numbers, or words that end with NUL. */
static sq_err unpack_ps(struct sq_genotypes *g, const uint8_t *p, unsigned type, uint32_t n, struct sq_record *r, struct sq_why *why)
{
    uint32_t width = width_of(type);
    for (uint32_t i = 0; i < g->n_sample; i++, p += (size_t)n * width) {
        int32_t v = 0;
        g->set[i] = 0;
        if (!n || type == T_MISSING)
            continue;
        if (type == T_CHAR) {
            const uint8_t *end = memchr(p, 0, n);
            g->set[i] = genotypes_set_of_text(sq_span_of(p, end ? (size_t)(end - p) : n));
            continue;
        }
        if (!int_at(p, type, &v))
            return bad(why, r->line, "PS", "phase sets must be whole numbers or words");
        if (v >= 0)
            g->set[i] = ((uint32_t)v & ((1U << 30) - 1)) + 1;
    }
    r->set = g->set;
    return SQ_OK;
}

static sq_err unpack_sw(struct sq_genotypes *g, const uint8_t *p, unsigned type, uint32_t n, struct sq_record *r, struct sq_why *why)
{
    for (uint32_t i = 0; i < g->n_sample; i++, p += width_of(type)) {
        int32_t v = -1;
        if (n != 1 || !int_at(p, type, &v) || v < 0 || v >= 1 << g->n_phasing)
            return bad(why, r->line, "SW", "sampled phasings must be bits");
        g->swap[i] = (uint8_t)v;
    }
    r->swap = g->swap;
    return SQ_OK;
}

/* Fields that are asked for, GT among them. */
static sq_err find_gt(struct sq_genotypes *g, struct cursor *c, uint32_t n_fmt, struct sq_record *r, struct sq_why *why)
{
    bool has_gt = false;
    for (uint32_t i = 0; i < n_fmt; i++) {
        unsigned type;
        uint32_t n;
        int32_t key = -1;
        const uint8_t *p;
        if (!take_type(c, &type, &n) || n != 1 || !take(c, width_of(type), &p) || !int_at(p, type, &key))
            return bad(why, r->line, "FORMAT", "the FORMAT column is damaged");
        if (!take_type(c, &type, &n))
            return bad(why, r->line, "FORMAT", "the FORMAT column is damaged");
        uint64_t bytes = (uint64_t)n * width_of(type) * g->n_sample;
        if (bytes > UINT32_MAX || !take(c, (uint32_t)bytes, &p))
            return bad(why, r->line, "FORMAT", "the genotype columns are shorter than they say");
        sq_err e = SQ_OK;
        if (key >= 0 && key == g->ps_key)
            e = unpack_ps(g, p, type, n, r, why);
        else if (key >= 0 && key == g->sw_key)
            e = unpack_sw(g, p, type, n, r, why);
        if (e)
            return e;
        if (key < 0 || key != g->gt_key || has_gt)
            continue;
        has_gt = true;
        if (!g->limits.as_stored || type != T_INT8 || n != 2)
            e = unpack_gt(g, p, type, n, r, why);
        else
            r->stored = p;
        if (e || (g->ps_key < 0 && g->sw_key < 0))
            return e;
    }
    if (has_gt)
        return SQ_OK;
    return sq_why_set(why, sq_fail(SQ_ENOGT), r->line, 9, "FORMAT", "the record has no GT");
}

sq_err sq_genotypes_take_apart(struct sq_genotypes *g, struct sq_record *r, struct sq_why *why)
{
    return unpack_gt(g, r->stored, T_INT8, 2, r, why);
}

/* The bytes of the next record, where they lie in the source's buffer; *out_shared: length of its first half. */
static sq_err read_record(struct sq_genotypes *g, struct sq_why *why, struct sq_span *out_record, uint32_t *out_shared, bool *out_has)
{
    const uint32_t n_head = 8;
    struct sq_span ready;
    uint64_t line = g->n_record + 1;
    sq_err e = sq_source_fill(g->source, n_head, why, &ready);
    if (e)
        return e;
    *out_has = ready.n > 0;
    if (!ready.n)
        return SQ_OK;
    if (ready.n < n_head)
        return sq_why_set(why, sq_fail(SQ_ECUT), line, 0, "record", "the file ends within a record");
    uint64_t n_shared = sq_get_le32(ready.p), n_indiv = sq_get_le32(ready.p + 4);
    if (n_shared < 24 || n_head + n_shared + n_indiv > SQ_SOURCE_MAX_LINE)
        return bad(why, line, "record", "the record's length can't be right");
    uint32_t n = (uint32_t)(n_shared + n_indiv);
    e = sq_source_fill(g->source, n_head + n, why, &ready);
    if (e)
        return e;
    if (ready.n < n_head + n)
        return sq_why_set(why, sq_fail(SQ_ECUT), line, 0, "record", "the file ends within a record");
    sq_source_skip(g->source, n_head + n);
    *out_record = sq_span_of(ready.p + n_head, n);
    *out_shared = (uint32_t)n_shared;
    return SQ_OK;
}

sq_err bcf_next(struct sq_genotypes *g, struct sq_why *why, struct sq_record *out, bool *out_has)
{
    uint32_t n_shared = 0;
    struct sq_span record = {0};
    sq_err e = read_record(g, why, &record, &n_shared, out_has);
    if (e || !*out_has)
        return e;
    struct cursor c = {.p = record.p, .n = n_shared, .at = 24};
    struct sq_record r = {.line = g->n_record + 1};
    int32_t chrom = (int32_t)sq_get_le32(c.p);
    uint32_t n_allele = sq_get_le32(c.p + 16) >> 16, n_fmt = sq_get_le32(c.p + 20) >> 24,
             n_sample = sq_get_le32(c.p + 20) & 0xffffff;
    r.pos_bp = (int64_t)(int32_t)sq_get_le32(c.p + 4) + 1;
    const char *name = chrom >= 0 && chrom < g->header->n[BCF_DT_CTG] ? bcf_hdr_id2name(g->header, chrom) : NULL;
    if (!name)
        return bad(why, r.line, "CHROM", "the chromosome isn't in the header");
    e = genotypes_chrom(g, sq_span_str(name), r.line, why);
    if (e)
        return e;
    if (r.pos_bp < 1 || r.pos_bp > SQ_POS_MAX)
        return bad(why, r.line, "POS", "the position must be a number from 1 to 536870911");
    if (!take_text(&c, &r.id))
        return bad(why, r.line, "ID", "the ID column is damaged");
    if (!r.id.n) /* how BCF writes that there is none */
        r.id = sq_span_str(".");
    if (n_sample != g->n_sample)
        return sq_why_set(why, sq_fail(n_sample ? SQ_ERECORD : SQ_ENOGT), r.line, 0, "record",
                          "the record has %u of %u samples", n_sample, g->n_sample);
    e = take_alleles(g, &c, n_allele, &r, why);
    if (!e)
        e = take_filter(g, &c, &r, why);
    struct cursor samples = {.p = record.p + n_shared, .n = record.n - n_shared};
    if (!e && !g->limits.sites_only)
        e = find_gt(g, &samples, n_fmt, &r, why);
    if (!e)
        *out = r;
    return e;
}

/* ---- writing ------------------------------------------------------------------------------------------------------ */

struct sq_bcf_writer {
    htsFile *file;
    bcf_hdr_t *header;
    bcf1_t *record;
    int32_t *gt;
    uint32_t n_sample;
    int n_phasing;
    char *alleles;
    size_t alleles_cap;
};

static sq_err writer_header(struct sq_bcf_writer *w, const char *chrom, uint64_t chrom_length)
{
    char line[128];
    snprintf(line, sizeof line, "##sequester_phasings=%d", w->n_phasing);
    if (w->n_phasing >= 0 && (bcf_hdr_append(w->header, line) ||
                              bcf_hdr_append(w->header, "##FORMAT=<ID=SW,Number=1,Type=Integer,Description=\"Sampled phasings that have the alleles the other way round, as bits\">")))
        return sq_fail(SQ_EINTERNAL);
    if (chrom_length)
        snprintf(line, sizeof line, "##contig=<ID=%s,length=%llu>", chrom, (unsigned long long)chrom_length);
    else
        snprintf(line, sizeof line, "##contig=<ID=%s>", chrom);
    if (bcf_hdr_append(w->header, line) ||
        bcf_hdr_append(w->header, "##FORMAT=<ID=GT,Number=1,Type=String,Description=\"Genotype\">") ||
        bcf_hdr_append(w->header, "##FORMAT=<ID=PS,Number=1,Type=Integer,Description=\"Phase set\">") ||
        bcf_hdr_append(w->header, "##FILTER=<ID=DUP,Description=\"Marked as a duplicate by the sender\">") ||
        bcf_hdr_append(w->header, "##FILTER=<ID=OTHER,Description=\"Failed another filter of the sender\">"))
        return sq_fail(SQ_EINTERNAL);
    for (uint32_t i = 0; i < w->n_sample; i++) {
        snprintf(line, sizeof line, "S%06u", i + 1);
        if (bcf_hdr_add_sample(w->header, line) < 0)
            return sq_fail(SQ_ENOMEM);
    }
    if (bcf_hdr_add_sample(w->header, NULL) < 0 || bcf_hdr_sync(w->header) < 0)
        return sq_fail(SQ_ENOMEM);
    return bcf_hdr_write(w->file, w->header) < 0 ? sq_fail(SQ_EIO) : SQ_OK;
}

sq_err sq_bcf_writer_open(int fd, const char *chrom, uint64_t chrom_length, uint32_t n_sample, int n_phasing,
                          struct sq_bcf_writer **out)
{
    hts_set_log_level(HTS_LOG_OFF);
    struct sq_bcf_writer *w = calloc(1, sizeof *w);
    if (!w)
        return sq_fail(SQ_ENOMEM);
    w->n_sample = n_sample;
    w->n_phasing = n_phasing;
    w->header = bcf_hdr_init("w");
    w->record = bcf_init();
    w->gt = calloc((size_t)2 * n_sample, sizeof *w->gt);
    sq_err e = w->header && w->record && w->gt ? SQ_OK : sq_fail(SQ_ENOMEM);
    int own = e ? -1 : dup(fd); /* hts_close closes what it was given */
    hFILE *h = own >= 0 ? hdopen(own, "w") : NULL;
    if (!e && h)
        w->file = hts_hopen(h, "genotypes", "wb1");
    if (!e && !w->file)
        e = sq_fail(SQ_ESYS);
    if (!e)
        e = writer_header(w, chrom, chrom_length);
    if (e) {
        sq_err ignored = sq_bcf_writer_close(w);
        (void)ignored;
        return e;
    }
    *out = w;
    return SQ_OK;
}

static sq_err put_alleles(struct sq_bcf_writer *w, const struct sq_record *r)
{
    size_t need = (size_t)r->ref.n + r->alt.n + 2;
    if (need > w->alleles_cap) {
        char *p = realloc(w->alleles, need * 2);
        if (!p)
            return sq_fail(SQ_ENOMEM);
        w->alleles = p;
        w->alleles_cap = need * 2;
    }
    memcpy(w->alleles, r->ref.p, r->ref.n);
    w->alleles[r->ref.n] = 0;
    if (r->n_alt) {
        w->alleles[r->ref.n] = ',';
        memcpy(w->alleles + r->ref.n + 1, r->alt.p, r->alt.n);
        w->alleles[r->ref.n + 1 + r->alt.n] = 0;
    }
    return bcf_update_alleles_str(w->header, w->record, w->alleles) ? sq_fail(SQ_ENOMEM) : SQ_OK;
}

static int32_t gt_of(uint8_t allele, bool is_phased)
{
    if (allele == SQ_GT_NONE)
        return bcf_int32_vector_end;
    if (allele == SQ_GT_MISSING)
        return is_phased ? 1 : bcf_gt_missing;
    return is_phased ? bcf_gt_phased(allele) : bcf_gt_unphased(allele);
}

/* Phase sets, where there are any; sampled phasings, where they differ. */
static sq_err put_marks(struct sq_bcf_writer *w, const struct sq_record *r)
{
    bool has_set = false, has_swap = false;
    for (uint32_t i = 0; i < w->n_sample; i++) {
        has_set = has_set || (r->set && r->set[i]);
        has_swap = has_swap || (r->swap && r->swap[i]);
    }
    for (uint32_t i = 0; i < w->n_sample && has_set; i++)
        w->gt[i] = r->set[i] ? (int32_t)(r->set[i] - 1) : bcf_int32_missing;
    if (has_set && bcf_update_format_int32(w->header, w->record, "PS", w->gt, (int)w->n_sample))
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < w->n_sample && has_swap; i++)
        w->gt[i] = r->swap[i];
    return has_swap && bcf_update_format_int32(w->header, w->record, "SW", w->gt, (int)w->n_sample) ? sq_fail(SQ_ENOMEM) : SQ_OK;
}

sq_err sq_bcf_writer_put(struct sq_bcf_writer *w, const struct sq_record *r)
{
    bcf_clear(w->record);
    w->record->rid = 0;
    w->record->pos = r->pos_bp - 1;
    char id[16] = ".";
    if (sq_is_rs_id(r->id)) {
        memcpy(id, r->id.p, r->id.n);
        id[r->id.n] = 0;
    }
    sq_err e = put_alleles(w, r);
    if (e)
        return e;
    int filter = bcf_hdr_id2int(w->header, BCF_DT_ID,
                                r->filter == SQ_FILTER_DUP     ? "DUP"
                                : r->filter == SQ_FILTER_OTHER ? "OTHER"
                                                               : "PASS");
    for (uint32_t i = 0; i < w->n_sample; i++) {
        w->gt[2 * i] = gt_of(r->gt[2 * i], false);
        w->gt[2 * i + 1] = gt_of(r->gt[2 * i + 1], r->phased[i]);
    }
    if (bcf_update_id(w->header, w->record, id) || bcf_update_filter(w->header, w->record, &filter, 1) ||
        bcf_update_genotypes(w->header, w->record, w->gt, 2 * (int)w->n_sample))
        return sq_fail(SQ_ENOMEM);
    e = put_marks(w, r);
    if (e)
        return e;
    return bcf_write(w->file, w->header, w->record) < 0 ? sq_fail(SQ_EIO) : SQ_OK;
}

sq_err sq_bcf_writer_close(struct sq_bcf_writer *w)
{
    if (!w)
        return SQ_OK;
    sq_err e = SQ_OK;
    if (w->file && hts_close(w->file) < 0)
        e = sq_fail(SQ_EIO);
    if (w->record)
        bcf_destroy(w->record);
    if (w->header)
        bcf_hdr_destroy(w->header);
    free(w->gt);
    free(w->alleles);
    free(w);
    return e;
}
