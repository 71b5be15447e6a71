/* The list of a panel's sites with frequencies, as a table or a VCF without samples. */
#include "lib/panel/panel_export.h"

#include "lib/panel/panel_internal.h"
#include "lib/panel/panel_sink.h"

#include <stdlib.h>

struct lister {
    const struct sq_panel *p;
    const struct sq_panel_export *how;
    struct panel_sink sink;
    struct sq_panel_tally *tally; /* NULL: no populations, AC and AN of the sites are all */
    uint64_t n_row;
};

static double share(uint32_t ac, uint32_t an)
{
    return an ? (double)ac / an : 0;
}

static double minor(double f)
{
    return f > 0.5 ? 1 - f : f;
}

static sq_err put_header(struct lister *x)
{
    const struct sq_panel_info *i = sq_panel_info(x->p);
    struct sq_buf *b = &x->sink.text;
    sq_err e;
    if (x->how->is_table) {
        e = sq_buf_addf(b, "ID\tCHROM\tPOS\tREF\tALT\tAAF_ALL\tMAF_ALL");
        for (uint32_t k = 0; k < i->n_population && !e; k++)
            e = sq_buf_addf(b, "\tAAF_%s\tMAF_%s", sq_panel_population(x->p, k), sq_panel_population(x->p, k));
        return e ? e : sq_buf_addf(b, "\n");
    }
    e = panel_sink_head(&x->sink, i, false);
    if (!e)
        e = sq_buf_addf(b, "##INFO=<ID=AF,Number=A,Type=Float,Description=\"ALT frequency\">\n"
                           "##INFO=<ID=MAF,Number=A,Type=Float,Description=\"Frequency of ALT or of all else, the lesser\">\n");
    for (uint32_t k = 0; k < i->n_population && !e; k++)
        e = sq_buf_addf(b, "##INFO=<ID=AF_%s,Number=A,Type=Float,Description=\"ALT frequency in population %s\">\n", sq_panel_population(x->p, k),
                        sq_panel_population(x->p, k));
    return e ? e : sq_buf_addf(b, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n");
}

static sq_err put_word(struct sq_buf *b, const char *s, uint32_t n, char behind)
{
    sq_err e = sq_buf_add(b, s, n);
    return e ? e : sq_buf_add(b, &behind, 1);
}

static sq_err put_row(struct lister *x, const struct sq_panel_site *s, uint32_t r)
{
    const struct sq_panel_info *i = sq_panel_info(x->p);
    struct sq_buf *b = &x->sink.text;
    bool is_table = x->how->is_table;
    double f = share(s->ac, s->an);
    sq_err e = is_table ? put_word(b, s->id, s->n_id, '\t') : SQ_OK;
    if (!e)
        e = sq_buf_addf(b, "%s\t%lld\t", i->chrom, (long long)s->pos_bp);
    if (!e && !is_table)
        e = put_word(b, s->id, s->n_id, '\t');
    if (!e)
        e = put_word(b, s->ref, s->n_ref, '\t');
    if (!e)
        e = put_word(b, s->alt, s->n_alt, '\t');
    if (!e)
        e = is_table ? sq_buf_addf(b, "%.6g\t%.6g", f, minor(f)) : sq_buf_addf(b, ".\t.\tAC=%u;AN=%u;AF=%.6g;MAF=%.6g", s->ac, s->an, f, minor(f));
    for (uint32_t k = 0; k < i->n_population && !e; k++) {
        size_t at = (size_t)r * x->tally->n_group + k;
        f = share(x->tally->ac[at], x->tally->an[at]);
        e = is_table ? sq_buf_addf(b, "\t%.6g\t%.6g", f, minor(f)) : sq_buf_addf(b, ";AF_%s=%.6g", sq_panel_population(x->p, k), f);
    }
    if (!e)
        e = sq_buf_add(b, "\n", 1);
    x->n_row++;
    return e ? e : panel_sink_flush(&x->sink, false);
}

static sq_err walk(struct lister *x, struct sq_panel_cursor *c, struct sq_why *why)
{
    const struct sq_panel_export *how = x->how;
    for (;;) {
        struct sq_panel_block b;
        bool has;
        sq_err e = sq_panel_cursor_next(c, x->tally != NULL, why, &b, &has);
        if (e || !has || (how->to_bp && b.site[0].pos_bp > how->to_bp))
            return e;
        if (x->tally)
            e = sq_panel_tally_block(x->tally, &b, sq_panel_cursor_special(c));
        for (uint32_t r = 0; r < b.n_site && !e; r++)
            if (b.site[r].pos_bp >= how->from_bp && (!how->to_bp || b.site[r].pos_bp <= how->to_bp))
                e = put_row(x, &b.site[r], r);
        if (!e && how->progress)
            e = how->progress(how->ctx, b.no, sq_panel_info(x->p)->n_block);
        if (e)
            return e;
    }
}

sq_err sq_panel_sites(const struct sq_panel *p, const struct sq_panel_export *how, int fd, struct sq_why *why)
{
    struct lister x = {.p = p, .how = how};
    struct sq_panel_cursor *c = NULL;
    const struct sq_panel_info *i = sq_panel_info(p);
    uint32_t segment = sq_panel_segment_at(p, how->from_bp);
    sq_err e = panel_sink_open(&x.sink, fd, how->container != SQ_PANEL_VCF);
    if (!e)
        e = put_header(&x);
    if (!e && i->n_population)
        e = sq_panel_tally_new(p, &x.tally);
    if (!e)
        e = sq_panel_cursor_new(p, x.tally ? SQ_PANEL_SITES | SQ_PANEL_HAPS | SQ_PANEL_SPECIAL : SQ_PANEL_SITES, &c);
    if (!e && segment < i->n_segment) {
        sq_panel_cursor_seek(c, segment);
        e = walk(&x, c, why);
    }
    if (!e && !x.n_row)
        e = sq_why_set(why, sq_fail(SQ_ENOVARIANT), 0, 0, "region", "the panel has no record there; it goes from %lld to %lld",
                       (long long)i->first_bp, (long long)i->last_bp);
    sq_panel_cursor_free(c);
    sq_panel_tally_free(x.tally);
    return panel_sink_close(&x.sink, e);
}
