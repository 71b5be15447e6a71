/*
 * Blocks, decoded one after another. A pack is unpacked when its first block is asked for; its columns are walked in step. Nothing in
 * them is believed: a class, a length, a row that can't be ends the walk with SQ_EPANEL.
 */
#include "lib/panel/panel_cursor.h"

#include <stdlib.h>
#include <zstd.h>

sq_err panel_cursor_bad(const struct sq_panel_cursor *c, struct sq_why *why, const char *field, const char *detail)
{
    return sq_why_set(why, sq_fail(SQ_EPANEL), 0, 0, field, "segment %u, block %u: %s", c->p->pack[c->pack].segment, c->block, detail);
}

sq_err sq_panel_cursor_new(const struct sq_panel *p, unsigned what, struct sq_panel_cursor **out)
{
    struct sq_panel_cursor *c = calloc(1, sizeof *c);
    if (!c)
        return sq_fail(SQ_ENOMEM);
    c->p = p;
    c->what = what;
    c->z = ZSTD_createDCtx();
    bool is_ok = c->z;
    sq_buf_init(&c->id_text, 0);
    if (what & SQ_PANEL_SITES)
        is_ok = is_ok && (c->sites_raw = malloc(p->max_sites ? p->max_sites : 1));
    if (what & (SQ_PANEL_HAPS | SQ_PANEL_SPECIAL))
        is_ok = is_ok && (c->haps_raw = malloc(p->max_haps ? p->max_haps : 1));
    if (what & SQ_PANEL_HAPS) {
        size_t n_col = p->n_col;
        c->is_short = n_col <= 65536;
        c->order_bytes = n_col * (c->is_short ? sizeof(uint16_t) : sizeof(uint32_t));
        c->order = malloc(c->order_bytes);
        c->next = malloc(c->order_bytes);
        c->run_n = malloc(n_col * sizeof *c->run_n);
        c->run_class = malloc(n_col * sizeof *c->run_class);
        c->class_of = malloc(((size_t)p->info.n_hap + 1) * sizeof *c->class_of);
        c->pattern = malloc(SQ_PANEL_MAX_PATTERNS * sizeof *c->pattern);
        c->start = malloc((SQ_PANEL_MAX_PATTERNS + 1) * sizeof *c->start);
        is_ok = is_ok && c->order && c->next && c->run_n && c->run_class && c->class_of && c->pattern && c->start;
    }
    if (!is_ok) {
        sq_panel_cursor_free(c);
        return sq_fail(SQ_ENOMEM);
    }
    sq_panel_cursor_seek(c, 0);
    *out = c;
    return SQ_OK;
}

void sq_panel_cursor_free(struct sq_panel_cursor *c)
{
    if (!c)
        return;
    ZSTD_freeDCtx(c->z);
    sq_buf_done(&c->id_text);
    free(c->sites_raw);
    free(c->haps_raw);
    free(c->order);
    free(c->next);
    free(c->run_n);
    free(c->run_class);
    free(c->class_of);
    free(c->pattern);
    free(c->start);
    free(c->some_at);
    free(c->some_hap);
    free(c->some_next);
    free(c->some_class);
    free(c->some_start);
    free(c->change);
    free(c->missing);
    free(c);
}

static void put_order(struct sq_panel_cursor *c, uint32_t at, uint32_t hap)
{
    if (c->is_short)
        ((uint16_t *)c->order)[at] = (uint16_t)hap;
    else
        ((uint32_t *)c->order)[at] = hap;
}

/* The columns in the order of a segment's start. Of a sample that is haploid throughout the second one is haplotype n_hap: nobody's. */
static void reset_order(struct sq_panel_cursor *c)
{
    const struct sq_panel *p = c->p;
    c->starts_anew = false;
    if (!(c->what & SQ_PANEL_HAPS))
        return;
    c->is_some = false;
    for (uint32_t i = 0; i < p->info.n_sample; i++) {
        uint32_t first = p->first_hap ? p->first_hap[i] : 2 * i;
        bool is_haploid = p->first_hap && p->first_hap[i + 1] - first == 1;
        put_order(c, 2 * i, first);
        put_order(c, 2 * i + 1, is_haploid ? p->info.n_hap : first + 1);
    }
}

void sq_panel_cursor_seek(struct sq_panel_cursor *c, uint32_t segment)
{
    sq_assert(segment < c->p->info.n_segment);
    c->pack = c->p->first_pack[segment];
    c->block = c->p->pack[c->pack].first_block;
    c->site = c->p->pack[c->pack].first_row;
    c->is_loaded = false;
    reset_order(c);
}

/* ---- packs --------------------------------------------------------------------------------------------------------------------------- */

/* @n columns behind their lengths, from @all on; they must use it up. */
static bool split(struct column all, struct column *out, size_t n)
{
    uint32_t length[SITES_N_COLUMN];
    for (size_t i = 0; i < n; i++)
        if (!varint_take32(&all, UINT32_MAX, &length[i]))
            return false;
    for (size_t i = 0; i < n; i++) {
        if (!bytes_take(&all, length[i], &out[i].p))
            return false;
        out[i].end = all.p;
    }
    return all.p == all.end;
}

/* Rows of each block stand at the start of both frames. */
static bool take_block_rows(struct sq_panel_cursor *c, const struct pack *k, struct column *all)
{
    const uint8_t *rows;
    uint64_t n_row = 0;
    if (!bytes_take(all, k->n_block, &rows))
        return false;
    for (uint32_t i = 0; i < k->n_block; i++) {
        if (!rows[i] || rows[i] > SQ_PANEL_BLOCK_ROWS)
            return false;
        n_row += rows[i];
    }
    if (c->block_rows && memcmp(c->block_rows, rows, k->n_block) != 0)
        return false;
    c->block_rows = rows;
    return n_row == k->n_row;
}

static sq_err load(struct sq_panel_cursor *c, struct sq_why *why)
{
    const struct pack *k = &c->p->pack[c->pack];
    c->block_rows = NULL;
    if (c->what & SQ_PANEL_SITES) {
        if (!panel_unpack(c->p, c->z, &k->sites, c->sites_raw))
            return panel_cursor_bad(c, why, "sites", "the sites from here on are damaged");
        struct column all = {c->sites_raw, c->sites_raw + k->sites.n};
        if (!take_block_rows(c, k, &all) || !split(all, c->sites, SITES_N_COLUMN))
            return panel_cursor_bad(c, why, "sites", "the columns don't make up the pack");
    }
    if (c->what & (SQ_PANEL_HAPS | SQ_PANEL_SPECIAL)) {
        if (!panel_unpack(c->p, c->z, &k->haps, c->haps_raw))
            return panel_cursor_bad(c, why, "haplotypes", "the haplotypes from here on are damaged");
        struct column all = {c->haps_raw, c->haps_raw + k->haps.n};
        if (!take_block_rows(c, k, &all) || !split(all, c->haps, HAPS_N_COLUMN))
            return panel_cursor_bad(c, why, "haplotypes", "the columns don't make up the pack");
    }
    c->record.n_left = 0;
    c->record.no = k->first_record;
    c->record.pos_bp = k->first_bp;
    c->is_loaded = true;
    return SQ_OK;
}

static bool is_used_up(const struct column *c, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (c[i].p != c[i].end)
            return false;
    return true;
}

/* Behind the last block of a pack: nothing is left over, and what the directory says of it is true. */
static sq_err leave_pack(struct sq_panel_cursor *c, struct sq_why *why)
{
    const struct pack *k = &c->p->pack[c->pack];
    if (c->what & SQ_PANEL_SITES && (!is_used_up(c->sites, SITES_N_COLUMN) || c->record.n_left || c->record.no != k->first_record + k->n_record ||
                                     c->record.pos_bp != k->last_bp))
        return panel_cursor_bad(c, why, "sites", "the sites don't end with the pack");
    if ((c->what & SQ_PANEL_HAPS && !is_used_up(c->haps, HAPS_SPECIAL)) || (c->what & SQ_PANEL_SPECIAL && !is_used_up(c->haps + HAPS_SPECIAL, 1)))
        return panel_cursor_bad(c, why, "haplotypes", "the haplotypes don't end with the pack");
    return SQ_OK;
}

/* ---- haplotypes ---------------------------------------------------------------------------------------------------------------------- */

static bool take_patterns(struct sq_panel_cursor *c, uint32_t n_row)
{
    struct column *in = &c->haps[HAPS_PATTERNS];
    if (!varint_take32(in, SQ_PANEL_MAX_PATTERNS, &c->n_pattern) || !c->n_pattern || c->n_pattern > c->p->n_col)
        return false;
    for (uint32_t i = 0; i < c->n_pattern; i++) {
        uint32_t n, by, bit = 0;
        uint64_t x = 0;
        if (!varint_take32(in, n_row, &n))
            return false;
        for (uint32_t j = 0; j < n; j++) {
            if (!varint_take32(in, 63, &by) || (j && !by) || (bit += by) >= n_row)
                return false;
            x |= (uint64_t)1 << bit;
        }
        if (i && x <= c->pattern[i - 1])
            return false;
        c->pattern[i] = x;
    }
    return true;
}

/* Runs to run_class and run_n; start[k]: where class k begins in the next order. */
static bool take_runs(struct sq_panel_cursor *c)
{
    struct column *class = &c->haps[HAPS_CLASSES], *length = &c->haps[HAPS_LENGTHS];
    uint32_t n_col = c->p->n_col, left = n_col, last = UINT32_MAX;
    if (!varint_take32(class, n_col, &c->n_run))
        return false;
    memset(c->start, 0, ((size_t)c->n_pattern + 1) * sizeof *c->start);
    for (uint32_t i = 0; i < c->n_run; i++) {
        uint32_t k, n;
        if (!varint_take32(class, c->n_pattern - 1, &k) || k == last || !varint_take32(length, n_col, &n) || n >= left)
            return false;
        c->run_class[i] = (uint16_t)k;
        c->run_n[i] = n + 1;
        c->start[k + 1] += n + 1;
        left -= n + 1;
        last = k;
    }
    if (left)
        return false;
    for (uint32_t k = 0; k < c->n_pattern; k++) {
        if (!c->start[k + 1])
            return false; /* nobody carries it */
        c->start[k + 1] += c->start[k];
    }
    return true;
}

/* The next order, and on the way each haplotype's class. Runs have been checked: they make up the columns. */
#define CARRY_ON(name, number) \
    static void name(struct sq_panel_cursor *c, bool want_classes) \
    { \
        const number *from = c->order; \
        number *next = c->next; \
        for (uint32_t i = 0; i < c->n_run; i++) { \
            uint32_t n = c->run_n[i]; \
            uint16_t k = c->run_class[i]; \
            memcpy(next + c->start[k], from, n * sizeof *from); \
            for (uint32_t j = 0; want_classes && j < n; j++) \
                c->class_of[from[j]] = k; \
            c->start[k] += n; \
            from += n; \
        } \
    }

CARRY_ON(carry_on_short, uint16_t)
CARRY_ON(carry_on_long, uint32_t)

/* The same for the haplotypes that are wanted alone. They stand in order, so do the runs; the new places are sorted by class, as all are. */
static void carry_some_on(struct sq_panel_cursor *c)
{
    if (!c->n_some)
        return;
    uint32_t j = 0, from = 0, *next_at = c->some_next, *next_hap = c->some_next + c->some_cap;
    memset(c->some_start, 0, ((size_t)c->n_pattern + 1) * sizeof *c->some_start);
    for (uint32_t i = 0; i < c->n_run && j < c->n_some; i++) {
        uint16_t k = c->run_class[i];
        uint32_t end = from + c->run_n[i], by = c->start[k] - from, first = j;
        for (; j < c->n_some && c->some_at[j] < end; j++) {
            c->class_of[c->some_hap[j]] = c->some_class[j] = k;
            c->some_at[j] += by; /* without a sign: round about */
        }
        c->some_start[k + 1] += j - first;
        c->start[k] += c->run_n[i];
        from = end;
    }
    for (uint32_t k = 0; k < c->n_pattern; k++)
        c->some_start[k + 1] += c->some_start[k];
    for (j = 0; j < c->n_some; j++) {
        uint32_t to = c->some_start[c->some_class[j]]++;
        next_at[to] = c->some_at[j];
        next_hap[to] = c->some_hap[j];
    }
    memcpy(c->some_at, next_at, c->n_some * sizeof *next_at);
    memcpy(c->some_hap, next_hap, c->n_some * sizeof *next_hap);
}

static void carry_order_on(struct sq_panel_cursor *c, bool want_classes)
{
    if (c->is_some) {
        carry_some_on(c);
        return;
    }
    if (c->is_short)
        carry_on_short(c, want_classes);
    else
        carry_on_long(c, want_classes);
    void *was = c->order;
    c->order = c->next;
    c->next = was;
}

/* The order has just been carried on, so the columns of a class stand together: class k ends at start[k]. */
#define FLIP_BITS(name, number) \
    static void name(const struct sq_panel_cursor *c, uint64_t row_bit, bool is_rest, uint64_t *out) \
    { \
        const number *order = c->order; \
        uint32_t n_hap = c->p->info.n_hap; \
        for (uint32_t k = 0, i = 0; k < c->n_pattern; k++) { \
            if (!(c->pattern[k] & row_bit) != is_rest) { \
                i = c->start[k]; \
                continue; \
            } \
            for (; i < c->start[k]; i++) \
                if (order[i] < n_hap) \
                    out[order[i] / 64] ^= (uint64_t)1 << (order[i] % 64); \
        } \
    }

FLIP_BITS(flip_short, uint16_t)
FLIP_BITS(flip_long, uint32_t)

void sq_panel_cursor_bits(const struct sq_panel_cursor *c, uint32_t row, uint64_t *out)
{
    uint64_t row_bit = (uint64_t)1 << row;
    uint32_t n_hap = c->p->info.n_hap, n_alt = 0;
    sq_assert(c->what & SQ_PANEL_HAPS && !c->is_some && row < SQ_PANEL_BLOCK_ROWS);
    for (uint32_t k = 0; k < c->n_pattern; k++)
        n_alt += c->pattern[k] & row_bit ? c->start[k] - (k ? c->start[k - 1] : 0) : 0;
    bool is_rest = n_alt > c->p->n_col / 2; /* the others are fewer: all bits, and theirs taken away */
    memset(out, is_rest ? 0xff : 0, ((size_t)n_hap + 63) / 64 * sizeof *out);
    if (is_rest && n_hap % 64)
        out[n_hap / 64] = ((uint64_t)1 << (n_hap % 64)) - 1;
    if (c->is_short)
        flip_short(c, row_bit, is_rest, out);
    else
        flip_long(c, row_bit, is_rest, out);
}

/* ---- the next block ------------------------------------------------------------------------------------------------------------------ */

/* What the columns say of the next block; the order stays as it is. */
static sq_err take_block(struct sq_panel_cursor *c, uint32_t n_row, struct sq_why *why)
{
    sq_err e = c->what & SQ_PANEL_SITES ? panel_cursor_sites(c, n_row, why) : SQ_OK;
    if (e)
        return e;
    if (c->what & SQ_PANEL_HAPS && !take_patterns(c, n_row))
        return panel_cursor_bad(c, why, "patterns", "the patterns are damaged");
    if (c->what & SQ_PANEL_HAPS && !take_runs(c))
        return panel_cursor_bad(c, why, "classes", "the runs don't make up the haplotypes");
    if (c->what & SQ_PANEL_SPECIAL)
        e = panel_cursor_special(c, n_row);
    return e == SQ_EPANEL ? panel_cursor_bad(c, why, "special", "the lists of haploid and missing genotypes are damaged") : e;
}

sq_err sq_panel_cursor_next(struct sq_panel_cursor *c, bool want_classes, struct sq_why *why, struct sq_panel_block *out, bool *out_has)
{
    const struct sq_panel *p = c->p;
    if (c->pack == p->n_pack) {
        *out_has = false;
        return SQ_OK;
    }
    const struct pack *k = &p->pack[c->pack];
    if (c->starts_anew)
        reset_order(c);
    if (!c->is_loaded) {
        uint32_t to = c->block;
        c->block = k->first_block;
        sq_err e = load(c, why);
        for (; !e && c->block < to; c->block++) /* from a mark: the pack is walked up to it */
            e = take_block(c, c->block_rows[c->block - k->first_block], why);
        if (e)
            return e;
    }
    uint32_t n_row = c->block_rows[c->block - k->first_block];
    sq_err e = take_block(c, n_row, why);
    if (e)
        return e;
    struct sq_panel_block b = {.no = c->block, .first_site = c->site, .n_site = n_row, .segment = k->segment};
    if (c->what & SQ_PANEL_SITES)
        b.site = c->row;
    if (c->what & SQ_PANEL_HAPS) {
        carry_order_on(c, want_classes);
        b.n_pattern = c->n_pattern;
        b.pattern = c->pattern;
        b.class_of = want_classes ? c->class_of : NULL;
    }
    c->block++;
    c->site += n_row;
    if (c->block == k->first_block + k->n_block) {
        e = leave_pack(c, why);
        if (e)
            return e;
        c->is_loaded = false;
        c->starts_anew = ++c->pack < p->n_pack && p->pack[c->pack].segment != k->segment;
    }
    *out = b;
    *out_has = true;
    return SQ_OK;
}

uint32_t sq_panel_cursor_n_run(const struct sq_panel_cursor *c)
{
    return c->n_run;
}

/* ---- some haplotypes alone ---------------------------------------------------------------------------------------------------------- */

static sq_err some_room(struct sq_panel_cursor *c, uint32_t n)
{
    if (!c->some_start && !(c->some_start = malloc((SQ_PANEL_MAX_PATTERNS + 1) * sizeof *c->some_start)))
        return sq_fail(SQ_ENOMEM);
    if (n <= c->some_cap)
        return SQ_OK;
    free(c->some_at);
    free(c->some_hap);
    free(c->some_next);
    free(c->some_class);
    c->some_cap = 0;
    c->some_at = malloc(n * sizeof *c->some_at);
    c->some_hap = malloc(n * sizeof *c->some_hap);
    c->some_next = malloc((size_t)2 * n * sizeof *c->some_next);
    c->some_class = malloc(n * sizeof *c->some_class);
    if (!c->some_at || !c->some_hap || !c->some_next || !c->some_class)
        return sq_fail(SQ_ENOMEM);
    c->some_cap = n;
    return SQ_OK;
}

sq_err sq_panel_cursor_want(struct sq_panel_cursor *c, const uint64_t *hap)
{
    uint32_t n = 0, n_hap = c->p->info.n_hap;
    if (c->starts_anew)
        reset_order(c);
    sq_assert(c->what & SQ_PANEL_HAPS && !c->is_some);
    for (uint32_t w = 0; w < (n_hap + 63) / 64; w++)
        n += (uint32_t)__builtin_popcountll(hap[w]);
    sq_err e = some_room(c, n);
    if (e)
        return e;
    c->n_some = 0;
    for (uint32_t i = 0; i < c->p->n_col && c->n_some < n; i++) {
        uint32_t h = c->is_short ? ((const uint16_t *)c->order)[i] : ((const uint32_t *)c->order)[i];
        if (h < n_hap && hap[h / 64] >> (h % 64) & 1) {
            c->some_at[c->n_some] = i;
            c->some_hap[c->n_some++] = h;
        }
    }
    c->is_some = true;
    return SQ_OK;
}

/* ---- marks --------------------------------------------------------------------------------------------------------------------------- */

struct sq_panel_mark {
    const struct sq_panel *p;
    uint32_t pack, block, site;
    uint8_t order[]; /* as the cursor has it */
};

sq_err sq_panel_cursor_mark(struct sq_panel_cursor *c, struct sq_panel_mark **out)
{
    if (c->starts_anew)
        reset_order(c);
    sq_assert(c->what & SQ_PANEL_HAPS && !c->is_some);
    struct sq_panel_mark *m = malloc(sizeof *m + c->order_bytes);
    if (!m)
        return sq_fail(SQ_ENOMEM);
    *m = (struct sq_panel_mark){.p = c->p, .pack = c->pack, .block = c->block, .site = c->site};
    memcpy(m->order, c->order, c->order_bytes);
    *out = m;
    return SQ_OK;
}

void sq_panel_cursor_seek_mark(struct sq_panel_cursor *c, const struct sq_panel_mark *mark)
{
    sq_assert(mark->p == c->p);
    c->pack = mark->pack;
    c->block = mark->block;
    c->site = mark->site;
    c->is_loaded = c->is_some = c->starts_anew = false;
    if (c->what & SQ_PANEL_HAPS)
        memcpy(c->order, mark->order, c->order_bytes);
}

void sq_panel_mark_free(struct sq_panel_mark *mark)
{
    free(mark);
}
