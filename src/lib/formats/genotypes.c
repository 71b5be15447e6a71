#include "lib/formats/genotypes_internal.h"

#include <htslib/hts_log.h>
#include <stdlib.h>
#include <strings.h>

#define BLAME_MAX_BYTES ((size_t)256 << 20)

static const char columns[] = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO";
static const char vcf_magic[] = "##fileformat=VCFv4.";

static bool has_prefix(struct sq_span s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.n >= n && memcmp(s.p, prefix, n) == 0;
}

/* Not VCF, not BCF. If it is packed, look a little further: a bomb is called a bomb whatever it holds. */
static sq_err refuse_format(struct sq_source *s, struct sq_why *why)
{
    for (uint64_t seen = 0; sq_source_packing(s) != SQ_PACKING_PLAIN && seen < SQ_SOURCE_RATIO_FROM + (2U << 20);) {
        struct sq_span ready;
        sq_err e = sq_source_fill(s, (size_t)1 << 20, why, &ready);
        if (e)
            return e;
        if (!ready.n)
            break;
        seen += ready.n;
        sq_source_skip(s, ready.n);
    }
    return sq_why_set(why, sq_fail(SQ_EFORMAT), 1, 0, "file",
                      "it doesn't begin with ##fileformat=VCFv4 or the mark of BCF 2");
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static sq_err check_samples(struct sq_span names, uint64_t max_samples, uint64_t line, struct sq_why *why)
{
    uint32_t n = 1;
    for (uint32_t i = 0; i < names.n; i++)
        n += names.p[i] == '\t';
    if (max_samples && n > max_samples)
        return sq_why_set(why, sq_fail(SQ_ELIMIT), line, 0, "samples", "%u samples; the limit is %llu", n,
                          (unsigned long long)max_samples);
    char *copy = malloc((size_t)names.n + 1), **name = calloc(n, sizeof *name);
    sq_err e = copy && name ? SQ_OK : sq_fail(SQ_ENOMEM);
    if (!e) {
        memcpy(copy, names.p, names.n);
        copy[names.n] = 0;
        char *at = copy;
        for (uint32_t i = 0; i < n && !e; i++) {
            name[i] = at;
            char *end = at + strcspn(at, "\t");
            at = *end ? end + 1 : end;
            *end = 0;
            if (!*name[i] || strlen(name[i]) > SQ_SAMPLE_ID_MAX)
                e = sq_why_set(why, sq_fail(SQ_EHEADER), line, 10 + i, "sample",
                               "a sample name is empty or longer than %u bytes", SQ_SAMPLE_ID_MAX);
            for (const char *c = name[i]; *c && !e; c++)
                if ((unsigned char)*c < 32 || *c == 127)
                    e = sq_why_set(why, sq_fail(SQ_EHEADER), line, 10 + i, "sample",
                                   "a sample name holds a control character");
        }
        if (!e)
            qsort(name, n, sizeof *name, by_name);
        for (uint32_t i = 1; i < n && !e; i++)
            if (!strcmp(name[i], name[i - 1]))
                e = sq_why_set(why, sq_fail(SQ_EDUPSAMPLE), line, 0, "sample",
                               "one of the %u sample names stands there twice", n);
    }
    if (copy)
        sq_wipe(copy, names.n);
    free(copy);
    free(name);
    return e;
}

static sq_err check_columns(struct sq_span line, uint64_t line_no, uint64_t max_samples, struct sq_why *why)
{
    if (!has_prefix(line, columns))
        return sq_why_set(
            why, sq_fail(SQ_EHEADER), line_no, 0, "#CHROM",
            "the column line must be #CHROM POS ID REF ALT QUAL FILTER INFO FORMAT and samples, with tabs");
    struct sq_span rest = sq_span_of(line.p + sizeof columns - 1, line.n - (sizeof columns - 1));
    if (!rest.n || !memcmp(rest.p, "\tFORMAT", rest.n < 7 ? rest.n : 7)) {
        if (rest.n <= 8)
            return sq_why_set(why, sq_fail(SQ_ENOSAMPLE), line_no, 0, "#CHROM", "there is no sample behind FORMAT");
        if (rest.p[7] == '\t')
            return check_samples(sq_span_of(rest.p + 8, rest.n - 8), max_samples, line_no, why);
    }
    return sq_why_set(why, sq_fail(SQ_EHEADER), line_no, 9, "#CHROM", "the ninth column must be FORMAT");
}

static bool meta_line_ok(struct sq_span line)
{
    if (!has_prefix(line, "##") || line.n < 4 || !memchr(line.p, '=', line.n))
        return false;
    for (uint32_t i = 0; i < line.n; i++)
        if (line.p[i] == 0)
            return false;
    return true;
}

/* Checks one header line and adds it to @text. *out_last: it was the #CHROM line. */
static sq_err header_line(struct sq_buf *text, struct sq_span line, uint64_t line_no, uint64_t max_samples,
                          struct sq_why *why, bool *out_last)
{
    *out_last = false;
    /* any case: panels made by haps2vcf say ##fileFormat */
    bool names_format =
        line.n >= sizeof vcf_magic - 1 && !strncasecmp((const char *)line.p, vcf_magic, sizeof vcf_magic - 1);
    if (names_format != (line_no == 1))
        return sq_why_set(why, sq_fail(SQ_EHEADER), line_no, 0, "fileformat",
                          "##fileformat=VCFv4 must be the first line, once");
    if (has_prefix(line, "#CHROM")) {
        sq_err e = check_columns(line, line_no, max_samples, why);
        if (e)
            return e;
        *out_last = true;
    } else if (!meta_line_ok(line)) {
        return sq_why_set(why, sq_fail(SQ_EHEADER), line_no, 0, "header",
                          "a header line must look like ##key=value; the last one is #CHROM");
    }
    if (sq_buf_add(text, line.p, line.n) || sq_buf_add(text, "\n", 1))
        return sq_why_set(why, sq_fail(SQ_ELIMIT), line_no, 0, "header", "the header is larger than %zu bytes",
                          SQ_HEADER_MAX_BYTES);
    return SQ_OK;
}

static sq_err header_of_text(struct sq_genotypes *g, struct sq_buf *text, struct sq_why *why)
{
    for (bool is_last = false; !is_last;) {
        struct sq_span line;
        bool has_line;
        sq_err e = sq_source_line(g->source, why, &line, &has_line);
        if (e)
            return e;
        if (!has_line)
            return sq_why_set(why, sq_fail(SQ_ECUT), sq_source_line_no(g->source), 0, "header",
                              "the file ends within the header");
        e = header_line(text, line, sq_source_line_no(g->source), g->limits.max_samples, why, &is_last);
        if (e)
            return e;
    }
    return SQ_OK;
}

static sq_err header_of_bcf(struct sq_genotypes *g, struct sq_buf *text, struct sq_why *why)
{
    uint8_t head[9];
    size_t got;
    sq_err e = sq_source_read(g->source, head, sizeof head, why, &got);
    if (e)
        return e;
    uint32_t n = got == sizeof head ? sq_get_le32(head + 5) : 0;
    if (n > SQ_HEADER_MAX_BYTES)
        return sq_why_set(why, sq_fail(SQ_ELIMIT), 0, 0, "header", "the header is larger than %zu bytes",
                          SQ_HEADER_MAX_BYTES);
    struct sq_span all = {0};
    if (got == sizeof head)
        e = sq_source_fill(g->source, n, why, &all);
    if (e)
        return e;
    if (got < sizeof head || all.n < n)
        return sq_why_set(why, sq_fail(SQ_ECUT), 0, 0, "header", "the file ends within the header");
    uint64_t line_no = 0;
    bool is_last = false;
    for (uint32_t at = 0; at < n && !is_last && !e;) {
        const uint8_t *lf = memchr(all.p + at, '\n', n - at);
        if (!lf)
            break;
        e = header_line(text, sq_span_of(all.p + at, (size_t)(lf - all.p) - at), ++line_no, g->limits.max_samples, why,
                        &is_last);
        at = (uint32_t)(lf - all.p) + 1;
    }
    if (e)
        return e;
    if (!is_last)
        return sq_why_set(why, sq_fail(SQ_EHEADER), line_no, 0, "header", "the header has no #CHROM line");
    sq_source_skip(g->source, n);
    return SQ_OK;
}

/* "##sequester_phasings=4" */
static int n_phasing_of(bcf_hdr_t *h)
{
    const bcf_hrec_t *r = bcf_hdr_get_hrec(h, BCF_HL_GEN, "sequester_phasings", NULL, NULL);
    bool is_one = r && r->value && r->value[0] >= '0' && r->value[0] <= '0' + SQ_MAX_PHASING && !r->value[1];
    return is_one ? r->value[0] - '0' : -1;
}

static sq_err parse_header(struct sq_genotypes *g, struct sq_buf *text, struct sq_why *why)
{
    sq_err e = sq_buf_add(text, "", 1); /* htslib wants a C string */
    if (e)
        return e;
    g->header = bcf_hdr_init("r");
    if (!g->header)
        return sq_fail(SQ_ENOMEM);
    if (bcf_hdr_parse(g->header, (char *)text->p) < 0 || bcf_hdr_nsamples(g->header) < 1)
        return sq_why_set(why, sq_fail(SQ_EHEADER), 0, 0, "header", "a line of the header can't be understood");
    g->n_sample = (uint32_t)bcf_hdr_nsamples(g->header);
    g->gt_key = bcf_hdr_id2int(g->header, BCF_DT_ID, "GT");
    g->ps_key = g->limits.with_sets ? bcf_hdr_id2int(g->header, BCF_DT_ID, "PS") : -1;
    g->n_phasing = n_phasing_of(g->header);
    g->sw_key = g->n_phasing > 0 ? bcf_hdr_id2int(g->header, BCF_DT_ID, "SW") : -1;
    return SQ_OK;
}

sq_err sq_genotypes_open(int fd, const struct sq_genotypes_limits *limits, struct sq_why *why,
                         struct sq_genotypes **out)
{
    hts_set_log_level(HTS_LOG_OFF); /* its warnings quote the data */
    struct sq_genotypes *g = calloc(1, sizeof *g);
    if (!g)
        return sq_fail(SQ_ENOMEM);
    g->limits = *limits;
    sq_buf_init(&g->alleles, SQ_ALLELES_MAX_BYTES);
    sq_buf_init(&g->capitals, SQ_ALLELES_MAX_BYTES);
    struct sq_buf text;
    sq_buf_init(&text, SQ_HEADER_MAX_BYTES);
    struct sq_span start;
    sq_err e = sq_source_open(fd, &limits->source, why, &g->source);
    if (!e)
        e = sq_source_fill(g->source, 64, why, &start);
    if (e)
        goto out;
    if (!start.n) {
        e = sq_why_set(why, sq_fail(SQ_EEMPTY), 0, 0, "file", "it unpacks to nothing");
    } else if (has_prefix(start, vcf_magic)) {
        g->format = sq_source_packing(g->source) == SQ_PACKING_PLAIN ? SQ_FORMAT_VCF : SQ_FORMAT_VCF_GZ;
        e = header_of_text(g, &text, why);
    } else if (start.n >= 5 && !memcmp(start.p, "BCF\2\2", 5)) {
        g->format = SQ_FORMAT_BCF;
        e = header_of_bcf(g, &text, why);
    } else {
        e = refuse_format(g->source, why);
    }
    if (!e)
        e = parse_header(g, &text, why);
    if (!e) {
        g->gt = malloc((size_t)2 * g->n_sample);
        g->phased = malloc(g->n_sample);
        g->set = g->limits.with_sets ? malloc((size_t)4 * g->n_sample) : NULL;
        g->swap = g->sw_key >= 0 ? malloc(g->n_sample) : NULL;
        if (!g->gt || !g->phased || (g->limits.with_sets && !g->set) || (g->sw_key >= 0 && !g->swap))
            e = sq_fail(SQ_ENOMEM);
    }
    if (!e)
        *out = g;
out:
    sq_buf_done(&text);
    if (e)
        sq_genotypes_close(g);
    return e;
}

void sq_genotypes_close(struct sq_genotypes *g)
{
    if (!g)
        return;
    sq_source_close(g->source);
    if (g->header)
        bcf_hdr_destroy(g->header);
    free(g->gt);
    free(g->phased);
    free(g->set);
    free(g->swap);
    sq_buf_done(&g->alleles);
    sq_buf_done(&g->capitals);
    free(g);
}

/* A damaged packing shows first as a strange record. Read on a while: if the packing proves bad, that is what's wrong. */
static sq_err blame_packing(struct sq_genotypes *g, sq_err e, struct sq_why *why)
{
    if (sq_source_packing(g->source) == SQ_PACKING_PLAIN || e == SQ_EIO || e == SQ_ENOMEM)
        return e;
    struct sq_span ready;
    struct sq_why other = {0};
    for (size_t n = 0; n < BLAME_MAX_BYTES; n += ready.n) {
        sq_err packing = sq_source_fill(g->source, 1, &other, &ready);
        if (packing == SQ_EGZIP || packing == SQ_ECUT || packing == SQ_EBOMB) {
            if (why)
                *why = other;
            return packing;
        }
        if (packing || !ready.n)
            break;
        sq_source_skip(g->source, ready.n);
    }
    return e;
}

static bool are_bases(struct sq_span s, bool *has_small)
{
    for (uint32_t i = 0; i < s.n; i++) {
        if (!s.p[i] || !strchr("ACGTNacgtn,", s.p[i]))
            return false;
        *has_small = *has_small || s.p[i] >= 'a';
    }
    return true;
}

/* Bases mean the same in small letters (VCF 4.3, 1.6.1): they are handed on in capitals. Symbols stay as they are. */
static sq_err capitals(struct sq_genotypes *g, struct sq_record *r)
{
    struct sq_span *allele[] = {&r->ref, &r->alt};
    bool is_small[2] = {false, false};
    size_t n = 0;
    for (unsigned i = 0; i < 2; i++)
        is_small[i] = are_bases(*allele[i], &is_small[i]) && is_small[i];
    if (!is_small[0] && !is_small[1])
        return SQ_OK;
    sq_buf_clear(&g->capitals);
    sq_err e = sq_buf_add(&g->capitals, r->ref.p, r->ref.n);
    if (!e)
        e = sq_buf_add(&g->capitals, r->alt.p, r->alt.n);
    for (unsigned i = 0; i < 2 && !e; i++) {
        uint8_t *p = g->capitals.p + n;
        n += allele[i]->n;
        for (uint32_t k = 0; k < allele[i]->n && is_small[i]; k++)
            p[k] = p[k] >= 'a' ? (uint8_t)(p[k] - 'a' + 'A') : p[k];
        *allele[i] = sq_span_of(p, allele[i]->n);
    }
    return e;
}

sq_err sq_genotypes_next(struct sq_genotypes *g, struct sq_why *why, struct sq_record *out, bool *out_has)
{
    struct sq_record r = {0};
    bool has = false;
    sq_err e = g->format == SQ_FORMAT_BCF ? bcf_next(g, why, &r, &has) : vcf_text_next(g, why, &r, &has);
    if (e)
        return blame_packing(g, e, why);
    if (has) {
        g->n_record++;
        if (g->limits.max_variants && g->n_record > g->limits.max_variants)
            return sq_why_set(why, sq_fail(SQ_ELIMIT), r.line, 0, "variants", "more than %llu variants",
                              (unsigned long long)g->limits.max_variants);
        if (r.pos_bp < g->last_pos)
            return sq_why_set(why, sq_fail(SQ_EUNSORTED), r.line, 2, "POS", "position %lld stands behind position %lld",
                              (long long)r.pos_bp, (long long)g->last_pos);
        g->last_pos = r.pos_bp;
        e = capitals(g, &r);
        *out = r;
    }
    *out_has = has;
    return e;
}

sq_err genotypes_chrom(struct sq_genotypes *g, struct sq_span name, uint64_t line, struct sq_why *why)
{
    if (g->chrom[0]) {
        if (!sq_span_eq(name, sq_span_str(g->chrom)))
            return sq_why_set(why, sq_fail(SQ_EMULTICHROM), line, 1, "CHROM",
                              "a second chromosome begins at record %llu", (unsigned long long)g->n_record + 1);
        return SQ_OK;
    }
    bool is_ok = name.n > 0 && name.n < SQ_CHROM_MAX;
    for (uint32_t i = 0; i < name.n && is_ok; i++) {
        uint8_t c = name.p[i];
        is_ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '.' ||
                c == '-';
    }
    if (!is_ok)
        return sq_why_set(why, sq_fail(SQ_ERECORD), line, 1, "CHROM",
                          "a chromosome name has 1 to %u letters, digits, _ . or -", SQ_CHROM_MAX - 1);
    memcpy(g->chrom, name.p, name.n);
    int id = bcf_hdr_name2id(g->header, g->chrom);
    if (id >= 0)
        g->chrom_length = g->header->id[BCF_DT_CTG][id].val->info[0];
    return SQ_OK;
}

/* Sets are told apart, not counted: 30 bits, so that a BCF can hold them. GIAB's PS are words. */
uint32_t genotypes_set_of_text(struct sq_span text)
{
    const uint32_t mask = (1U << 30) - 1;
    uint32_t number = 0, hash = 2166136261U;
    bool is_number = text.n > 0 && text.n <= 10;
    if (!text.n || (text.n == 1 && text.p[0] == '.'))
        return 0;
    for (uint32_t i = 0; i < text.n; i++) {
        is_number = is_number && text.p[i] >= '0' && text.p[i] <= '9';
        number = number * 10 + (uint32_t)(text.p[i] - '0');
        hash = (hash ^ text.p[i]) * 16777619U;
    }
    return ((is_number ? number : hash) & mask) + 1;
}

bool genotypes_allele_ok(struct sq_span a)
{
    if (!a.n)
        return false;
    for (uint32_t i = 0; i < a.n; i++)
        if (a.p[i] <= 32 || a.p[i] >= 127)
            return false;
    return true;
}

static bool is_bases(struct sq_span s)
{
    for (uint32_t i = 0; i < s.n; i++)
        if (s.p[i] != 'A' && s.p[i] != 'C' && s.p[i] != 'G' && s.p[i] != 'T')
            return false;
    return s.n > 0;
}

bool sq_record_is_plain(const struct sq_record *r)
{
    return r->n_alt == 1 && is_bases(r->ref) && is_bases(r->alt);
}

bool sq_is_rs_id(struct sq_span id)
{
    if (id.n < 3 || id.n > 14 || id.p[0] != 'r' || id.p[1] != 's')
        return false;
    for (uint32_t i = 2; i < id.n; i++)
        if (id.p[i] < '0' || id.p[i] > '9')
            return false;
    return true;
}

enum sq_format sq_genotypes_format(const struct sq_genotypes *g)
{
    return g->format;
}

uint32_t sq_genotypes_n_sample(const struct sq_genotypes *g)
{
    return g->n_sample;
}

const char *sq_genotypes_sample(const struct sq_genotypes *g, uint32_t i)
{
    sq_assert(i < g->n_sample);
    return g->header->samples[i];
}

const char *sq_genotypes_chrom(const struct sq_genotypes *g)
{
    return g->chrom;
}

uint64_t sq_genotypes_chrom_length(const struct sq_genotypes *g)
{
    return g->chrom_length;
}

uint64_t sq_genotypes_n_record(const struct sq_genotypes *g)
{
    return g->n_record;
}

int sq_genotypes_n_phasing(const struct sq_genotypes *g)
{
    return g->n_phasing;
}

uint64_t sq_genotypes_n_packed(const struct sq_genotypes *g)
{
    return sq_source_n_packed(g->source);
}
