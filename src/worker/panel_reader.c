#include "worker/panel_reader.h"

#include <stdio.h>
#include <stdlib.h>

struct panel_reader {
    struct sq_genotypes *g;
    bool sites_only;
    uint32_t n_sample, n_hap;
    uint8_t *is_haploid; /* [n_sample], set by the first record */
    uint32_t *alt, *ref; /* [n_hap] carriers */
};

/* SQ_EPANEL for everything that is the panel's fault, with the reader's own words behind. */
static sq_err as_panel_error(sq_err e, struct sq_why *why)
{
    if (!e || e == SQ_EIO || e == SQ_ENOMEM || e == SQ_EPANEL)
        return e;
    struct sq_why was = *why;
    return sq_why_set(why, sq_fail(SQ_EPANEL), was.line, was.column, was.field, "in the panel %s%s%.100s",
                      sq_err_text(e), was.detail[0] ? ": " : "", was.detail);
}

sq_err panel_reader_open(int fd, bool sites_only, struct sq_why *why, struct panel_reader **out)
{
    struct panel_reader *p = calloc(1, sizeof *p);
    if (!p)
        return sq_fail(SQ_ENOMEM);
    p->sites_only = sites_only;
    struct sq_genotypes_limits limits = {.sites_only = sites_only};
    sq_err e = as_panel_error(sq_genotypes_open(fd, &limits, why, &p->g), why);
    if (!e) {
        p->n_sample = sq_genotypes_n_sample(p->g);
        p->is_haploid = calloc(p->n_sample, 1);
        p->alt = calloc((size_t)2 * p->n_sample, sizeof *p->alt);
        p->ref = calloc((size_t)2 * p->n_sample, sizeof *p->ref);
        if (!p->is_haploid || !p->alt || !p->ref)
            e = sq_fail(SQ_ENOMEM);
    }
    if (e)
        panel_reader_close(p);
    else
        *out = p;
    return e;
}

void panel_reader_close(struct panel_reader *p)
{
    if (!p)
        return;
    sq_genotypes_close(p->g);
    free(p->is_haploid);
    free(p->alt);
    free(p->ref);
    free(p);
}

static sq_err bad(struct sq_why *why, uint64_t line, const char *detail)
{
    return sq_why_set(why, sq_fail(SQ_EPANEL), line, 0, "GT", "%s", detail);
}

static sq_err collect(struct panel_reader *p, const struct sq_record *r, struct sq_why *why, struct panel_record *out)
{
    uint32_t n_alt = 0, n_ref = 0, h = 0;
    for (uint32_t i = 0; i < p->n_sample; i++) {
        uint8_t a = r->gt[2 * i], b = r->gt[2 * i + 1];
        bool is_haploid = b == SQ_GT_NONE;
        if (a == SQ_GT_MISSING || b == SQ_GT_MISSING)
            return bad(why, r->line, "the panel has missing genotypes; a panel must be complete");
        if (!p->n_hap)
            p->is_haploid[i] = is_haploid;
        if (p->is_haploid[i] != is_haploid)
            return bad(why, r->line, "the ploidy of a panel sample changes within the file");
        if (a != b && !r->phased[i])
            return bad(why, r->line, "the panel is not phased");
        if (a)
            p->alt[n_alt++] = h++;
        else
            p->ref[n_ref++] = h++;
        if (is_haploid)
            continue;
        if (b)
            p->alt[n_alt++] = h++;
        else
            p->ref[n_ref++] = h++;
    }
    p->n_hap = h;
    out->carriers_have_ref = n_alt > n_ref;
    out->n_carrier = out->carriers_have_ref ? n_ref : n_alt;
    out->carrier = out->carriers_have_ref ? p->ref : p->alt;
    return SQ_OK;
}

sq_err panel_reader_next(struct panel_reader *p, struct sq_why *why, struct panel_record *out, bool *out_has)
{
    struct panel_record r = {0};
    sq_err e;
    do { /* a site without an alternative allele has nothing to impute */
        e = as_panel_error(sq_genotypes_next(p->g, why, &r.site, out_has), why);
        if (e || !*out_has)
            return e;
    } while (r.site.n_alt == 0);
    if (r.site.n_alt != 1)
        return sq_why_set(why, sq_fail(SQ_EPANEL), r.site.line, 5, "ALT",
                          "a panel record must have one alternative allele; split it: bcftools norm -m -any");
    if (!p->sites_only)
        e = collect(p, &r.site, why, &r);
    if (!e)
        *out = r;
    return e;
}

uint32_t panel_reader_n_hap(const struct panel_reader *p)
{
    return p->n_hap;
}

const struct sq_genotypes *panel_reader_genotypes(const struct panel_reader *p)
{
    return p->g;
}
