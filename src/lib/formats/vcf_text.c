/* One line of VCF text: nine columns, then one genotype a sample. */
#include "lib/formats/genotypes_internal.h"

/* The next field up to @stop or the end; *at moves behind it. */
static struct sq_span field(const uint8_t *p, uint32_t n, uint32_t *at, char stop)
{
    const uint8_t *from = p + *at, *end = memchr(from, stop, n - *at);
    uint32_t len = end ? (uint32_t)(end - from) : n - *at;
    *at += len + (end != NULL);
    return sq_span_of(from, len);
}

static sq_err bad(struct sq_why *why, uint64_t line, uint32_t column, const char *name, const char *detail)
{
    return sq_why_set(why, sq_fail(SQ_ERECORD), line, column, name, "%s", detail);
}

static sq_err parse_pos(struct sq_span s, uint64_t line, struct sq_why *why, int64_t *out)
{
    int64_t pos = 0;
    for (uint32_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || pos > SQ_POS_MAX)
            return bad(why, line, 2, "POS", "the position must be a number from 1 to 536870911");
        pos = pos * 10 + (s.p[i] - '0');
    }
    if (!s.n || pos < 1 || pos > SQ_POS_MAX)
        return bad(why, line, 2, "POS", "the position must be a number from 1 to 536870911");
    *out = pos;
    return SQ_OK;
}

static enum sq_vcf_filter filter_of(struct sq_span s)
{
    if ((s.n == 1 && s.p[0] == '.') || (s.n == 4 && !memcmp(s.p, "PASS", 4)))
        return SQ_FILTER_PASS;
    for (uint32_t i = 0; i + 3 <= s.n; i++)
        if ((s.p[i] | 32) == 'd' && (s.p[i + 1] | 32) == 'u' && (s.p[i + 2] | 32) == 'p')
            return SQ_FILTER_DUP;
    return SQ_FILTER_OTHER;
}

static sq_err parse_alleles(struct sq_record *r, struct sq_why *why)
{
    if (!genotypes_allele_ok(r->ref) || memchr(r->ref.p, ',', r->ref.n))
        return bad(why, r->line, 4, "REF",
                   "the reference allele is empty or has a character that doesn't belong there");
    if (!genotypes_allele_ok(r->alt))
        return bad(why, r->line, 5, "ALT",
                   "the alternative allele is empty or has a character that doesn't belong there");
    r->n_alt = r->alt.n == 1 && r->alt.p[0] == '.' ? 0 : 1;
    for (uint32_t i = 0; i < r->alt.n; i++) {
        bool is_comma = r->alt.p[i] == ',';
        if (is_comma && (i == 0 || i + 1 == r->alt.n || r->alt.p[i + 1] == ','))
            return bad(why, r->line, 5, "ALT", "one of the alternative alleles is empty");
        r->n_alt += is_comma;
    }
    if (r->n_alt > SQ_GT_MAX_ALT || (size_t)r->ref.n + r->alt.n > SQ_ALLELES_MAX_BYTES)
        return sq_why_set(why, sq_fail(SQ_ELIMIT), r->line, 5, "ALT",
                          "more than %u alternative alleles, or longer than %zu bytes", SQ_GT_MAX_ALT,
                          SQ_ALLELES_MAX_BYTES);
    return SQ_OK;
}

/* One allele number or "."; *at moves behind it. SQ_GT_NONE: not an allele. */
static unsigned parse_allele(const uint8_t *p, uint32_t n, uint32_t *at, uint32_t n_alt)
{
    if (*at < n && p[*at] == '.') {
        ++*at;
        return SQ_GT_MISSING;
    }
    unsigned v = 0, n_digit = 0;
    for (; *at < n && p[*at] >= '0' && p[*at] <= '9' && n_digit < 4; ++*at, n_digit++)
        v = v * 10 + (unsigned)(p[*at] - '0');
    return n_digit && v <= n_alt ? v : SQ_GT_NONE;
}

static sq_err parse_gt(const uint8_t *p, uint32_t n, struct sq_record *r, uint32_t sample, uint8_t *gt, uint8_t *phased,
                       struct sq_why *why)
{
    uint32_t at = 0, column = 10 + sample;
    unsigned a = parse_allele(p, n, &at, r->n_alt), b = SQ_GT_NONE;
    if (a == SQ_GT_NONE)
        return bad(why, r->line, column, "GT",
                   "a genotype is allele numbers with | or / between them, each an allele of this record");
    bool is_phased = true;
    if (at < n) {
        if (p[at] != '|' && p[at] != '/')
            return bad(why, r->line, column, "GT", "a genotype is allele numbers with | or / between them");
        is_phased = p[at++] == '|';
        b = parse_allele(p, n, &at, r->n_alt);
        if (b == SQ_GT_NONE)
            return bad(why, r->line, column, "GT",
                       "a genotype is allele numbers with | or / between them, each an allele of this record");
        if (at < n && (p[at] == '|' || p[at] == '/'))
            return sq_why_set(why, sq_fail(SQ_EPLOIDY), r->line, column, "GT", "a genotype has more than two alleles");
        if (at < n)
            return bad(why, r->line, column, "GT", "there is something behind the second allele");
    }
    gt[2 * sample] = (uint8_t)a;
    gt[2 * sample + 1] = (uint8_t)b;
    phased[sample] = is_phased;
    return SQ_OK;
}

/* Which of FORMAT's keys is PS; 0 (GT's place): none. */
static uint32_t place_of_ps(struct sq_span format)
{
    uint32_t at = 0;
    for (uint32_t i = 0; at < format.n; i++) {
        struct sq_span key = field(format.p, format.n, &at, ':');
        if (key.n == 2 && !memcmp(key.p, "PS", 2))
            return i;
    }
    return 0;
}

static uint32_t parse_ps(struct sq_span whole, uint32_t place)
{
    struct sq_span s = {0};
    uint32_t at = 0;
    for (uint32_t i = 0; i <= place; i++) {
        if (at >= whole.n)
            return 0; /* fields at the end may be left away */
        s = field(whole.p, whole.n, &at, ':');
    }
    return genotypes_set_of_text(s);
}

static sq_err parse_samples(struct sq_genotypes *g, const uint8_t *p, uint32_t n, uint32_t at, uint32_t ps, struct sq_record *r,
                            struct sq_why *why)
{
    for (uint32_t i = 0; i < g->n_sample; i++) {
        if (at > n || (at == n && n && p[n - 1] != '\t'))
            return sq_why_set(why, sq_fail(SQ_ERECORD), r->line, 10 + i, "sample", "the line has %u of %u genotypes", i,
                              g->n_sample);
        /* the usual case, without calls: "0|1" and a tab */
        if (at + 3 <= n && p[at + 1] == '|' && p[at] <= '1' && p[at] >= '0' && p[at + 2] <= '1' && p[at + 2] >= '0' &&
            r->n_alt && (at + 3 == n || p[at + 3] == '\t')) {
            g->gt[2 * i] = (uint8_t)(p[at] - '0');
            g->gt[2 * i + 1] = (uint8_t)(p[at + 2] - '0');
            g->phased[i] = 1;
            if (ps)
                g->set[i] = 0;
            at += at + 3 == n ? 3 : 4;
            continue;
        }
        struct sq_span whole = field(p, n, &at, '\t');
        const uint8_t *colon = whole.n ? memchr(whole.p, ':', whole.n) : NULL;
        sq_err e = parse_gt(whole.p, colon ? (uint32_t)(colon - whole.p) : whole.n, r, i, g->gt, g->phased, why);
        if (e)
            return e;
        if (ps)
            g->set[i] = parse_ps(whole, ps);
    }
    if (at < n || p[n - 1] == '\t')
        return sq_why_set(why, sq_fail(SQ_ERECORD), r->line, 10 + g->n_sample, "sample",
                          "the line has more than %u genotypes", g->n_sample);
    r->gt = g->gt;
    r->phased = g->phased;
    r->set = ps ? g->set : NULL;
    return SQ_OK;
}

sq_err vcf_text_next(struct sq_genotypes *g, struct sq_why *why, struct sq_record *out, bool *out_has)
{
    struct sq_span line;
    sq_err e = sq_source_line(g->source, why, &line, out_has);
    if (e || !*out_has)
        return e;
    const uint8_t *p = line.p;
    uint32_t n = line.n, at = 0, n_tab = 0;
    out->line = sq_source_line_no(g->source);
    for (uint32_t i = 0; i < n && n_tab < 9; i++)
        n_tab += p[i] == '\t';
    if (n_tab < 9)
        return sq_why_set(why, sq_fail(n_tab == 7 ? SQ_ENOGT : SQ_ERECORD), out->line, n_tab + 1, "line",
                          "the line has %u columns; it needs 9 and one a sample, with tabs between them", n_tab + 1);
    e = genotypes_chrom(g, field(p, n, &at, '\t'), out->line, why);
    if (!e)
        e = parse_pos(field(p, n, &at, '\t'), out->line, why, &out->pos_bp);
    if (e)
        return e;
    out->id = field(p, n, &at, '\t');
    out->ref = field(p, n, &at, '\t');
    out->alt = field(p, n, &at, '\t');
    e = parse_alleles(out, why);
    if (e)
        return e;
    field(p, n, &at, '\t'); /* QUAL */
    out->filter = filter_of(field(p, n, &at, '\t'));
    field(p, n, &at, '\t'); /* INFO */
    struct sq_span format = field(p, n, &at, '\t');
    if (format.n < 2 || memcmp(format.p, "GT", 2) != 0 || (format.n > 2 && format.p[2] != ':'))
        return sq_why_set(why, sq_fail(SQ_ENOGT), out->line, 9, "FORMAT", "GT must be the first key of FORMAT");
    return g->limits.sites_only ? SQ_OK : parse_samples(g, p, n, at, g->set ? place_of_ps(format) : 0, out, why);
}
