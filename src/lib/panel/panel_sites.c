/* Records from their columns, one row an ALT; and the lists of what is haploid or missing. */
#include "lib/panel/panel_cursor.h"

#include <stdlib.h>

static bool allele_ok(struct sq_span s)
{
    uint8_t is_bad = s.n == 0;
    for (uint32_t i = 0; i < s.n; i++)
        is_bad |= s.p[i] <= 32 || s.p[i] >= 127 || s.p[i] == ',';
    return !is_bad;
}

static bool take_alleles(struct sq_panel_cursor *c, struct record *r)
{
    static const uint8_t base[] = "ACGT";
    struct column *text = &c->sites[SITES_TEXT];
    const uint8_t *kind;
    uint64_t n_byte = 0;
    if (!bytes_take(&c->sites[SITES_ALLELES], 1, &kind) || *kind > ALLELES_SEVERAL)
        return false;
    r->n_alt = 1;
    if (*kind < ALLELES_ONE) {
        r->ref = sq_span_of(base + *kind / 4, 1);
        r->alt[0] = sq_span_of(base + *kind % 4, 1);
        return *kind / 4 != *kind % 4;
    }
    if (!string_take(text, SQ_ALLELES_MAX_BYTES, &r->ref) || !allele_ok(r->ref) ||
        (*kind == ALLELES_SEVERAL && (!varint_take32(text, PANEL_MAX_ALT, &r->n_alt) || r->n_alt < 2)))
        return false;
    for (uint32_t i = 0; i < r->n_alt; i++) {
        if (!string_take(text, SQ_ALLELES_MAX_BYTES, &r->alt[i]) || !allele_ok(r->alt[i]))
            return false;
        n_byte += r->alt[i].n + 1;
    }
    return n_byte + r->ref.n <= SQ_ALLELES_MAX_BYTES + 1;
}

static sq_err put_alleles(struct sq_buf *b, const struct record *r)
{
    sq_err e = sq_buf_add(b, ":", 1);
    if (!e)
        e = sq_buf_add(b, r->ref.p, r->ref.n);
    for (uint32_t i = 0; i < r->n_alt && !e; i++) {
        e = sq_buf_add(b, i ? "," : ":", 1);
        if (!e)
            e = sq_buf_add(b, r->alt[i].p, r->alt[i].n);
    }
    return e;
}

/* IDs of a whole panel are put together several times a job: printf would be a third of reading its sites. */
static sq_err put_number(struct sq_buf *b, uint64_t number)
{
    char text[20];
    size_t at = sizeof text;
    do
        text[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    return sq_buf_add(b, text + at, sizeof text - at);
}

/* The ID, put together behind c->id_text. *out_ok false: it can't be one. */
static sq_err take_id(struct sq_panel_cursor *c, struct record *r, bool *out_ok)
{
    const uint8_t *kind;
    struct sq_span prefix = {0};
    uint32_t number = 0;
    struct sq_buf *b = &c->id_text;
    r->id_at = (uint32_t)b->n;
    *out_ok = bytes_take(&c->sites[SITES_ID_KIND], 1, &kind) && *kind <= ID_TEXT &&
              (*kind == ID_NONE || string_take(&c->sites[SITES_ID_TEXT], PANEL_MAX_ID, &prefix)) && (!prefix.n || panel_text_ok(prefix)) &&
              (*kind != ID_NUMBER || varint_take32(&c->sites[SITES_ID_TEXT], 999999999, &number)) && (*kind != ID_TEXT || prefix.n);
    if (!*out_ok)
        return SQ_OK;
    sq_err e = *kind == ID_NONE ? sq_buf_add(b, ".", 1) : sq_buf_add(b, prefix.p, prefix.n);
    if (!e && *kind == ID_NUMBER)
        e = put_number(b, number);
    if (!e && (*kind == ID_POS || *kind == ID_POS_ALLELES))
        e = put_number(b, (uint64_t)r->pos_bp);
    if (!e && *kind == ID_POS_ALLELES)
        e = put_alleles(b, r);
    r->n_id = (uint32_t)b->n - r->id_at;
    *out_ok = r->n_id <= PANEL_MAX_ID;
    return e;
}

static sq_err next_record(struct sq_panel_cursor *c, struct sq_why *why)
{
    struct record *r = &c->record;
    const struct pack *k = &c->p->pack[c->pack];
    uint32_t by, n_without;
    if (!varint_take32(&c->sites[SITES_POS], SQ_POS_MAX, &by) || r->pos_bp + by > k->last_bp)
        return panel_cursor_bad(c, why, "sites", "a position is damaged");
    r->pos_bp += by;
    r->cm = sq_gmap_cm(c->p->map, r->pos_bp);
    if (!take_alleles(c, r))
        return panel_cursor_bad(c, why, "sites", "an allele is damaged");
    if (!varint_take32(&c->sites[SITES_AN], c->p->n_col, &n_without))
        return panel_cursor_bad(c, why, "sites", "the number of alleles of a record is damaged");
    r->an = r->ac_left = c->p->n_col - n_without;
    bool is_ok;
    sq_err e = take_id(c, r, &is_ok);
    if (e)
        return e;
    if (!is_ok)
        return panel_cursor_bad(c, why, "sites", "an ID is damaged");
    r->n_left = r->n_alt;
    if (r->no++ == k->first_record + k->n_record)
        return panel_cursor_bad(c, why, "sites", "the pack has more records than it says");
    return SQ_OK;
}

sq_err panel_cursor_sites(struct sq_panel_cursor *c, uint32_t n_row, struct sq_why *why)
{
    struct record *r = &c->record;
    if (!r->n_left) /* a record that goes on from the block before keeps its ID there */
        sq_buf_clear(&c->id_text);
    for (uint32_t i = 0; i < n_row; i++) {
        sq_err e = r->n_left ? SQ_OK : next_record(c, why);
        if (e)
            return e;
        uint32_t ac, alt = r->n_alt - r->n_left;
        if (!varint_take32(&c->sites[SITES_AC], r->ac_left, &ac))
            return panel_cursor_bad(c, why, "sites", "the number of carriers of a row is damaged");
        r->ac_left -= ac;
        r->n_left--;
        c->id_at[i] = r->id_at;
        c->row[i] = (struct sq_panel_site){.pos_bp = r->pos_bp,
                                           .cm = r->cm,
                                           .ref = (const char *)r->ref.p,
                                           .alt = (const char *)r->alt[alt].p,
                                           .n_id = r->n_id,
                                           .n_ref = r->ref.n,
                                           .n_alt = r->alt[alt].n,
                                           .ac = ac,
                                           .an = r->an,
                                           .record = r->no - 1,
                                           .alt_no = alt + 1,
                                           .n_record_alt = r->n_alt};
    }
    for (uint32_t i = 0; i < n_row; i++)
        c->row[i].id = (const char *)c->id_text.p + c->id_at[i];
    return SQ_OK;
}

/* ---- special genotypes --------------------------------------------------------------------------------------------------------------- */

static sq_err grow(void **p, size_t *cap, size_t n, size_t size)
{
    if (n < *cap)
        return SQ_OK;
    size_t more = *cap ? *cap * 2 : 64;
    void *q = realloc(*p, more * size);
    if (!q)
        return sq_fail(SQ_ENOMEM);
    *p = q;
    *cap = more;
    return SQ_OK;
}

static sq_err take_changes(struct sq_panel_cursor *c, struct column *in, uint32_t n_row)
{
    uint64_t n;
    uint32_t row = 0, by, sample;
    if (!varint_take(in, (uint64_t)(in->end - in->p) / 2, &n)) /* each is two bytes at least */
        return sq_fail(SQ_EPANEL);
    for (uint64_t i = 0; i < n; i++) {
        if (!varint_take32(in, n_row - 1, &by) || (row += by) >= n_row || !varint_take32(in, c->p->info.n_sample - 1, &sample) ||
            (i && !by && sample <= c->change[i - 1].sample))
            return sq_fail(SQ_EPANEL);
        void *p = c->change;
        sq_err e = grow(&p, &c->change_cap, i, sizeof *c->change);
        c->change = p;
        if (e)
            return e;
        c->change[i] = (struct sq_panel_change){row, sample};
    }
    c->special.n_change = (size_t)n;
    c->special.change = c->change;
    return SQ_OK;
}

static sq_err take_missing(struct sq_panel_cursor *c, struct column *in, uint32_t n_row)
{
    uint64_t n;
    uint32_t row = 0, by, first, length, end = 0, n_col = c->p->n_col;
    if (!varint_take(in, (uint64_t)(in->end - in->p) / 3, &n))
        return sq_fail(SQ_EPANEL);
    for (uint64_t i = 0; i < n; i++) {
        if (!varint_take32(in, n_row - 1, &by) || (row += by) >= n_row || !varint_take32(in, n_col, &first) ||
            !varint_take32(in, n_col, &length) || !length || (i && !by && !first))
            return sq_fail(SQ_EPANEL);
        first += by ? 0 : end;
        if (first > n_col || length > n_col - first)
            return sq_fail(SQ_EPANEL);
        end = first + length;
        void *p = c->missing;
        sq_err e = grow(&p, &c->missing_cap, i, sizeof *c->missing);
        c->missing = p;
        if (e)
            return e;
        c->missing[i] = (struct sq_panel_missing){row, first, length};
    }
    c->special.n_missing = (size_t)n;
    c->special.missing = c->missing;
    return SQ_OK;
}

sq_err panel_cursor_special(struct sq_panel_cursor *c, uint32_t n_row)
{
    sq_err e = take_changes(c, &c->haps[HAPS_SPECIAL], n_row);
    return e ? e : take_missing(c, &c->haps[HAPS_SPECIAL], n_row);
}

const struct sq_panel_special *sq_panel_cursor_special(const struct sq_panel_cursor *c)
{
    return &c->special;
}
