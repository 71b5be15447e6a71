/* Everything that a panel says of itself, compared with what is in it. */
#include "lib/panel/panel_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>

static sq_err bad(struct sq_why *why, const char *field, const char *detail)
{
    return sq_why_set(why, sq_fail(SQ_EPANEL), 0, 0, field, "%s", detail);
}

struct sums {
    uint64_t n_pattern, n_run, n_missing;
};

/* Rows of one record have one AN; each row has the AC and AN of its haplotypes. */
static sq_err compare_rows(const struct sq_panel_block *b, const struct sq_panel_tally *t, struct sq_why *why)
{
    for (uint32_t r = 0; r < b->n_site; r++) {
        size_t all = (size_t)r * t->n_group + t->n_group - 1;
        if (b->site[r].an != t->an[all])
            return sq_why_set(why, sq_fail(SQ_EPANEL), 0, 0, "AN", "segment %u, block %u, row %u: it says %u alleles, the haplotypes have %u",
                              b->segment, b->no, r, b->site[r].an, t->an[all]);
        if (b->site[r].ac != t->ac[all])
            return sq_why_set(why, sq_fail(SQ_EPANEL), 0, 0, "AC", "segment %u, block %u, row %u: it says %u carriers, the haplotypes have %u",
                              b->segment, b->no, r, b->site[r].ac, t->ac[all]);
    }
    if (t->n_ill_copied)
        return sq_why_set(why, sq_fail(SQ_EPANEL), 0, 0, "ploidy", "segment %u, block %u: %u haploid genotypes have two different columns",
                          b->segment, b->no, t->n_ill_copied);
    return SQ_OK;
}

static sq_err check_sums(const struct sq_panel *p, const struct sums *s, const uint8_t *ploidies, struct sq_why *why)
{
    const struct sq_panel_info *i = &p->info;
    uint32_t n_haploid = 0;
    for (uint32_t k = 0; k < i->n_sample; k++) {
        bool throughout = p->first_hap && p->first_hap[k + 1] - p->first_hap[k] == 1;
        n_haploid += ploidies[k] & 1;
        if (throughout != (ploidies[k] == 1))
            return bad(why, "ploidy", "a sample's ploidy isn't what the directory says");
    }
    if (s->n_pattern != i->n_pattern || s->n_run != i->n_run || s->n_missing != i->n_missing || n_haploid != i->n_haploid)
        return bad(why, "directory", "its sums aren't those of the blocks");
    return SQ_OK;
}

static sq_err check_names(const struct sq_panel *p, struct sq_why *why)
{
    struct sq_buf names;
    sq_buf_init(&names, 0);
    sq_err e = sq_panel_names(p, why, &names);
    sq_buf_done(&names);
    return e;
}

sq_err sq_panel_verify(const struct sq_panel *p, sq_err (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct sq_why *why)
{
    struct sq_panel_cursor *c = NULL;
    struct sq_panel_tally *t = NULL;
    struct sums sums = {0};
    sq_err e = sq_panel_cursor_new(p, SQ_PANEL_SITES | SQ_PANEL_HAPS | SQ_PANEL_SPECIAL, &c);
    if (!e)
        e = sq_panel_tally_new(p, &t);
    while (!e) {
        struct sq_panel_block b;
        bool has;
        e = sq_panel_cursor_next(c, true, why, &b, &has);
        if (e || !has)
            break;
        e = sq_panel_tally_block(t, &b, sq_panel_cursor_special(c));
        if (!e)
            e = compare_rows(&b, t, why);
        if (e)
            break;
        for (uint32_t r = 0; r < b.n_site; r++) /* they stand in all rows of a record */
            sums.n_missing += b.site[r].alt_no == 1 ? t->n_missing[r] : 0;
        sums.n_pattern += b.n_pattern;
        sums.n_run += sq_panel_cursor_n_run(c);
        if (progress && b.no % 64 == 0)
            e = progress(ctx, b.no, p->info.n_block);
    }
    if (!e)
        e = check_sums(p, &sums, t->ploidies, why);
    if (!e)
        e = check_names(p, why);
    sq_panel_tally_free(t);
    sq_panel_cursor_free(c);
    return e;
}

/* ---- names --------------------------------------------------------------------------------------------------------------------------- */

static bool name_ok(struct sq_span s)
{
    bool is_ok = s.n > 0;
    for (uint32_t i = 0; i < s.n && is_ok; i++)
        is_ok = s.p[i] >= 32 && s.p[i] != 127;
    return is_ok;
}

static sq_err take_names(const struct sq_panel *p, const uint8_t *raw, struct sq_why *why, struct sq_buf *out)
{
    struct column c = {raw, raw + p->names.n};
    for (uint32_t i = 0; i < p->info.n_sample; i++) {
        struct sq_span s;
        if (!string_take(&c, SQ_SAMPLE_ID_MAX, &s) || !name_ok(s))
            return bad(why, "names", "a sample's name is damaged");
        if (sq_buf_add(out, s.p, s.n) || sq_buf_add(out, "", 1))
            return sq_fail(SQ_ENOMEM);
    }
    return c.p == c.end ? SQ_OK : bad(why, "names", "something is left over behind the names");
}

sq_err sq_panel_names(const struct sq_panel *p, struct sq_why *why, struct sq_buf *out)
{
    sq_err e = SQ_OK;
    if (!p->info.has_names) {
        for (uint32_t i = 0; i < p->info.n_sample && !e; i++) {
            char name[16];
            int n = snprintf(name, sizeof name, "S%06u", i + 1);
            e = sq_buf_add(out, name, (size_t)n + 1);
        }
        return e;
    }
    ZSTD_DCtx *z = ZSTD_createDCtx();
    uint8_t *raw = malloc(p->names.n ? p->names.n : 1);
    if (!z || !raw)
        e = sq_fail(SQ_ENOMEM);
    else if (!panel_unpack(p, z, &p->names, raw))
        e = bad(why, "names", "the names are damaged");
    else
        e = take_names(p, raw, why, out);
    if (raw)
        sq_wipe(raw, p->names.n);
    free(raw);
    ZSTD_freeDCtx(z);
    return e;
}
