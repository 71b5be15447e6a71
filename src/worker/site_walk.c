#include "worker/site_walk.h"

#include <math.h>

/* ---- the grid ------------------------------------------------------------------------------------------------------ */

double grid_line(double origin_cm, int64_t k)
{
    return origin_cm + (double)k * GRID_CM;
}

int64_t grid_no(double origin_cm, double cm)
{
    int64_t k = (int64_t)floor((cm - origin_cm) / GRID_CM);
    while (grid_line(origin_cm, k) > cm)
        k--;
    while (grid_line(origin_cm, k + 1) <= cm)
        k++;
    return k;
}

/* ---- rows of one position ------------------------------------------------------------------------------------------ */

void site_group_clear(struct site_group *g, int64_t pos_bp)
{
    g->pos_bp = pos_bp;
    g->n = 0;
    sq_buf_clear(&g->text);
}

sq_err site_group_add(struct site_group *g, uint32_t row, struct sq_span ref, struct sq_span alt)
{
    if (g->n == WALK_GROUP_MAX || g->text.n > WALK_GROUP_MAX_BYTES)
        return SQ_OK;
    uint32_t at = (uint32_t)g->text.n;
    sq_err e = sq_buf_add(&g->text, ref.p, ref.n);
    if (!e)
        e = sq_buf_add(&g->text, alt.p, alt.n);
    if (e)
        return e;
    g->allele[g->n].row = row;
    g->allele[g->n].at = at;
    g->allele[g->n].n_ref = ref.n;
    g->allele[g->n++].n_alt = alt.n;
    return SQ_OK;
}

int site_group_find(const struct site_group *g, struct sq_span ref, struct sq_span alt)
{
    for (uint32_t i = 0; i < g->n; i++) {
        const uint8_t *p = g->text.p + g->allele[i].at;
        if (sq_span_eq(sq_span_of(p, g->allele[i].n_ref), ref) && sq_span_eq(sq_span_of(p + g->allele[i].n_ref, g->allele[i].n_alt), alt))
            return (int)i;
    }
    return -1;
}

/* ---- the walk ------------------------------------------------------------------------------------------------------ */

static sq_err read_block(struct site_walk *w, struct sq_why *why)
{
    w->at = 0;
    return sq_panel_cursor_next(w->cursor, false, why, &w->block, &w->has);
}

sq_err site_walk_open(const struct sq_panel *panel, uint32_t segment, struct sq_why *why, struct site_walk *out)
{
    *out = (struct site_walk){.panel = panel, .origin_cm = sq_panel_info(panel)->origin_cm, .is_start = !segment, .last_no = INT64_MIN};
    sq_buf_init(&out->here.text, 0);
    if (segment)
        out->last_no = grid_no(out->origin_cm, sq_panel_segments(panel)[segment - 1].last_cm);
    sq_err e = sq_panel_cursor_new(panel, SQ_PANEL_SITES, &out->cursor);
    if (e)
        return e;
    sq_panel_cursor_seek(out->cursor, segment);
    return read_block(out, why);
}

void site_walk_close(struct site_walk *w)
{
    sq_panel_cursor_free(w->cursor);
    sq_buf_done(&w->here.text);
    w->cursor = NULL;
}

const struct sq_panel_site *site_walk_next(const struct site_walk *w, uint32_t *out_row)
{
    *out_row = w->has ? w->block.first_site + w->at : sq_panel_info(w->panel)->n_site;
    return w->has ? &w->block.site[w->at] : NULL;
}

sq_err site_walk_pass(struct site_walk *w, struct sq_why *why)
{
    uint32_t row;
    int64_t no = grid_no(w->origin_cm, site_walk_next(w, &row)->cm);
    if (no > w->last_no) {
        w->line[w->n_line % WALK_LINES].from_no = w->last_no == INT64_MIN ? INT64_MIN : w->last_no + 1;
        w->line[w->n_line % WALK_LINES].to_no = no;
        w->line[w->n_line++ % WALK_LINES].row = row;
        w->last_no = no;
    }
    return ++w->at < w->block.n_site ? SQ_OK : read_block(w, why);
}

sq_err site_walk_to(struct site_walk *w, int64_t pos_bp, struct sq_why *why)
{
    if (w->here.pos_bp == pos_bp)
        return SQ_OK;
    site_group_clear(&w->here, pos_bp);
    uint32_t row;
    for (const struct sq_panel_site *s; (s = site_walk_next(w, &row)) && s->pos_bp <= pos_bp;) {
        sq_err e = s->pos_bp < pos_bp ? SQ_OK : site_group_add(&w->here, row, sq_span_of(s->ref, s->n_ref), sq_span_of(s->alt, s->n_alt));
        if (!e)
            e = site_walk_pass(w, why);
        if (e)
            return e;
    }
    return SQ_OK;
}

uint32_t site_walk_line(const struct site_walk *w, int64_t k)
{
    for (uint32_t i = w->n_line; i-- > 0 && i + WALK_LINES >= w->n_line;)
        if (w->line[i % WALK_LINES].from_no <= k && k <= w->line[i % WALK_LINES].to_no)
            return w->line[i % WALK_LINES].row;
    uint32_t row;
    bool is_next = site_walk_next(w, &row) == NULL || grid_no(w->origin_cm, w->block.site[w->at].cm) >= k;
    sq_assert(k > w->last_no && is_next); /* all before the next row is passed, and the next is behind the line */
    return row;
}
