/* InterOp metrics: heads and records by the byte table of docs/formats/run-interop.md, a piece of the file at a time. */
#include "lib/runs/interop.h"

#include "lib/runs/runs_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define PIECE_BYTES ((size_t)1 << 20) /* holds the longest head and the longest record: three texts of 65,535 bytes */

static const char *const names[SQ_INTEROP_KINDS] = {
    [SQ_INTEROP_Q] = "QMetrics",
    [SQ_INTEROP_Q_BY_LANE] = "QMetricsByLane",
    [SQ_INTEROP_Q2030] = "QMetrics2030",
    [SQ_INTEROP_TILE] = "TileMetrics",
    [SQ_INTEROP_EXTENDED_TILE] = "ExtendedTileMetrics",
    [SQ_INTEROP_EXTRACTION] = "ExtractionMetrics",
    [SQ_INTEROP_CORRECTED] = "CorrectedIntMetrics",
    [SQ_INTEROP_INDEX] = "IndexMetrics",
    [SQ_INTEROP_ERROR] = "ErrorMetrics",
    [SQ_INTEROP_PHASING] = "EmpiricalPhasingMetrics",
    [SQ_INTEROP_IMAGE] = "ImageMetrics",
};

const char *sq_interop_name(enum sq_interop_kind kind)
{
    return (unsigned)kind < SQ_INTEROP_KINDS ? names[kind] : "";
}

static float f32_at(const uint8_t *p)
{
    uint32_t bits = sq_get_le32(p);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* ---- heads ---- */

struct head {
    struct sq_interop_head h;
    size_t n_byte;
    bool is_wide; /* tile is u32 */
    bool has_cycle;
};

/* how much of a head there is: @n bytes from @p; false: it needs more */
struct cursor {
    const uint8_t *p;
    size_t n, at;
};

static bool take(struct cursor *c, size_t n, const uint8_t **out)
{
    if (c->n - c->at < n)
        return false;
    *out = c->p + c->at;
    c->at += n;
    return true;
}

static bool q_bins(struct cursor *c, struct sq_interop_head *h, bool is_together)
{
    const uint8_t *p;
    if (!take(c, 1, &p))
        return false;
    h->n_bin = SQ_INTEROP_MAX_BINS;
    if (!*p)
        return true;
    if (!take(c, 1, &p))
        return false;
    h->n_bin = *p;
    if (!take(c, 3 * (size_t)h->n_bin, &p))
        return false;
    if (h->n_bin > SQ_INTEROP_MAX_BINS)
        return true; /* refused by the record's size */
    h->has_bins = true;
    for (uint32_t i = 0; i < h->n_bin; i++) {
        h->bin_low[i] = is_together ? p[3 * i] : p[i];
        h->bin_high[i] = is_together ? p[3 * i + 1] : p[h->n_bin + i];
        h->bin_value[i] = is_together ? p[3 * i + 2] : p[2 * h->n_bin + i];
    }
    return true;
}

/* bytes of a record behind its id; 0: the version isn't known. False: the head isn't whole. */
static bool head_of(enum sq_interop_kind kind, struct cursor *c, struct head *x, uint32_t *out_body)
{
    const uint8_t *p;
    uint32_t v = x->h.version, n, body = 0;
    x->has_cycle = true;
    switch (kind) {
    case SQ_INTEROP_Q:
    case SQ_INTEROP_Q_BY_LANE:
        x->is_wide = v >= 7;
        x->h.n_bin = SQ_INTEROP_MAX_BINS;
        if (v >= 5 && v <= 9 && !q_bins(c, &x->h, v >= 7))
            return false;
        if (v >= 4 && v <= 9)
            body = 4 * (v <= 5 ? SQ_INTEROP_MAX_BINS : x->h.n_bin);
        break;
    case SQ_INTEROP_Q2030: body = v >= 2 && v <= 6 ? 16 : 0; break;
    case SQ_INTEROP_TILE:
        x->is_wide = v == 3;
        x->has_cycle = false;
        if (v == 3) {
            if (!take(c, 4, &p))
                return false;
            x->h.density = f32_at(p);
        }
        body = v == 2 ? 6 : v == 3 ? 9 : 0;
        break;
    case SQ_INTEROP_EXTENDED_TILE:
        x->is_wide = v >= 2;
        x->has_cycle = false;
        body = v == 1 || v == 2 ? 4 : v == 3 ? 12 : 0;
        break;
    case SQ_INTEROP_EXTRACTION:
        x->is_wide = v == 3;
        x->h.n_channel = 4;
        if (v == 3) {
            if (!take(c, 1, &p))
                return false;
            x->h.n_channel = *p;
        }
        n = x->h.n_channel;
        body = v == 2 ? 32 : v == 3 && n <= SQ_INTEROP_MAX_CHANNELS ? 6 * n : 0;
        break;
    case SQ_INTEROP_CORRECTED:
        x->is_wide = v == 4;
        body = v == 2 ? 42 : v == 3 ? 28 : v == 4 ? 20 : 0;
        break;
    case SQ_INTEROP_ERROR:
        x->is_wide = v >= 4;
        body = v == 3 ? 24 : v == 4 ? 4 : v == 5 ? 8 : 0;
        if (v == 6) { /* u16 adapters, u16 their length, the adapters */
            if (!take(c, 4, &p))
                return false;
            n = sq_get_le16(p);
            if (!take(c, (size_t)n * sq_get_le16(p + 2), &p))
                return false;
            body = 4 + 4 * n;
        }
        break;
    case SQ_INTEROP_PHASING:
        x->is_wide = v == 2;
        body = v == 1 || v == 2 ? 8 : 0;
        break;
    case SQ_INTEROP_IMAGE:
        x->is_wide = v == 3;
        x->h.n_channel = 1;
        if (v == 2 || v == 3) {
            if (!take(c, 1, &p))
                return false;
            x->h.n_channel = *p;
        }
        n = x->h.n_channel;
        body = v == 1 ? 6 : (v == 2 || v == 3) && n <= SQ_INTEROP_MAX_CHANNELS ? 4 * n : 0;
        break;
    case SQ_INTEROP_INDEX:
        x->is_wide = v == 2;
        body = v == 1 || v == 2 ? 1 : 0;
        break;
    case SQ_INTEROP_KINDS: break;
    }
    *out_body = body;
    return true;
}

static sq_err read_head(enum sq_interop_kind kind, const uint8_t *p, size_t n, struct sq_run_why *why, struct head *out)
{
    struct head x = {0};
    struct cursor c = {.p = p, .n = n};
    const uint8_t *v;
    uint32_t body = 0, said = 0;
    bool has_size = kind != SQ_INTEROP_INDEX;
    if (!take(&c, 1, &v))
        return run_bad_at(why, sq_fail(SQ_ERUNCUT), n, "it is empty");
    x.h.version = *v;
    bool is_long = (kind == SQ_INTEROP_Q || kind == SQ_INTEROP_Q_BY_LANE) && x.h.version == 9;
    if (has_size) {
        if (!take(&c, is_long ? 2 : 1, &v))
            return run_bad_at(why, sq_fail(SQ_ERUNCUT), n, "it ends within its head");
        said = is_long ? sq_get_le16(v) : *v;
    }
    if (!head_of(kind, &c, &x, &body))
        return run_bad_at(why, sq_fail(SQ_ERUNCUT), n, "it ends within its head");
    if (!body)
        return run_bad_at(why, sq_fail(SQ_ERUNFILE), 0, "version %u isn't known", x.h.version);
    if (has_size) {
        uint32_t right = 2U + (x.is_wide ? 4U : 2U) + (x.has_cycle ? 2U : 0U) + body;
        /* records of extended tile metrics 3 have been seen with the size of 2 in the head */
        bool is_bins_wrong = x.h.n_bin > SQ_INTEROP_MAX_BINS;
        if ((said != right && !(kind == SQ_INTEROP_EXTENDED_TILE && x.h.version == 3)) || is_bins_wrong)
            return run_bad_at(why, sq_fail(SQ_ERUNFILE), 1, "records of %u bytes; of version %u they have %u", said, x.h.version, right);
        x.h.n_record_byte = right;
    }
    x.n_byte = c.at;
    *out = x;
    return SQ_OK;
}

/* ---- records ---- */

static void body_of(enum sq_interop_kind kind, const struct head *x, const uint8_t *p, struct sq_interop_record *r)
{
    uint32_t v = x->h.version, n = x->h.n_channel;
    switch (kind) {
    case SQ_INTEROP_Q:
    case SQ_INTEROP_Q_BY_LANE:
        for (uint32_t i = 0; i < x->h.n_bin; i++) {
            /* version 5 keeps 50 counts a record even when it has bins: each bin's count stands at its value */
            uint32_t at = v == 5 && x->h.has_bins ? x->h.bin_value[i] - 1U : i;
            r->u.q.count[i] = at < SQ_INTEROP_MAX_BINS ? sq_get_le32(p + 4 * at) : 0;
        }
        break;
    case SQ_INTEROP_Q2030:
        r->u.q2030.q20 = sq_get_le32(p);
        r->u.q2030.q30 = sq_get_le32(p + 4);
        r->u.q2030.total = sq_get_le32(p + 8);
        r->u.q2030.median = sq_get_le32(p + 12);
        break;
    case SQ_INTEROP_TILE:
        if (v == 2) {
            r->u.tile.code = sq_get_le16(p);
            r->u.tile.value = f32_at(p + 2);
            break;
        }
        r->u.tile.code = p[0];
        if (p[0] == 't') {
            r->u.tile.n_cluster = f32_at(p + 1);
            r->u.tile.n_cluster_pf = f32_at(p + 5);
        } else if (p[0] == 'r') {
            r->read = sq_get_le32(p + 1);
            r->u.tile.aligned = f32_at(p + 5);
        }
        break;
    case SQ_INTEROP_EXTENDED_TILE:
        r->u.extended.n_occupied = f32_at(p);
        if (v == 3) {
            r->u.extended.x = f32_at(p + 4);
            r->u.extended.y = f32_at(p + 8);
        }
        break;
    case SQ_INTEROP_EXTRACTION:
        for (uint32_t i = 0; i < n; i++) {
            r->u.extraction.focus[i] = f32_at(p + 4 * i);
            r->u.extraction.intensity[i] = sq_get_le16(p + 4 * n + 2 * i);
        }
        if (v == 2)
            r->u.extraction.ticks = sq_get_le64(p + 24);
        break;
    case SQ_INTEROP_CORRECTED: {
        const uint8_t *called = v == 4 ? p : v == 3 ? p + 8 : p + 18;
        for (uint32_t i = 0; i < 5; i++)
            r->u.corrected.called[i] = sq_get_le32(called + 4 * i);
        for (uint32_t i = 0; i < 4 && v == 2; i++)
            r->u.corrected.corrected[i] = sq_get_le16(p + 2 + 2 * i);
        for (uint32_t i = 0; i < 4 && v < 4; i++)
            r->u.corrected.called_intensity[i] = sq_get_le16((v == 2 ? p + 10 : p) + 2 * i);
        if (v == 2) {
            r->u.corrected.mean = sq_get_le16(p);
            r->u.corrected.signal_to_noise = f32_at(p + 38);
        }
        break;
    }
    case SQ_INTEROP_ERROR:
        r->u.error.rate = f32_at(p);
        if (v == 5)
            r->u.error.adapter = f32_at(p + 4);
        break;
    case SQ_INTEROP_PHASING:
        r->u.phasing.phasing = f32_at(p);
        r->u.phasing.prephasing = f32_at(p + 4);
        break;
    case SQ_INTEROP_IMAGE:
        if (v == 1)
            r->read = sq_get_le16(p) + 1U;
        for (uint32_t i = 0; i < n; i++) {
            r->u.image.low[i] = sq_get_le16(p + (v == 1 ? 2 : 0) + 2 * i);
            r->u.image.high[i] = sq_get_le16(p + (v == 1 ? 4 : 2 * n) + 2 * i);
        }
        break;
    case SQ_INTEROP_INDEX:
    case SQ_INTEROP_KINDS: break;
    }
}

static bool take_text(struct cursor *c, char out[SQ_INTEROP_MAX_TEXT + 1])
{
    const uint8_t *p;
    if (!take(c, 2, &p))
        return false;
    size_t n = sq_get_le16(p), k = 0;
    if (!take(c, n, &p))
        return false;
    for (size_t i = 0; i < n && k < SQ_INTEROP_MAX_TEXT; i++)
        if (p[i] >= ' ' && p[i] != 127)
            out[k++] = (char)p[i];
    out[k] = 0;
    return true;
}

/* One record at @c. False: it isn't whole. */
static bool take_record(enum sq_interop_kind kind, const struct head *x, struct cursor *c, struct sq_interop_record *r)
{
    const uint8_t *p;
    size_t n_id = x->is_wide ? 6 : 4;
    *r = (struct sq_interop_record){0};
    if (!take(c, kind == SQ_INTEROP_INDEX ? n_id + 2 : x->h.n_record_byte, &p))
        return false;
    r->lane = sq_get_le16(p);
    r->tile = x->is_wide ? sq_get_le32(p + 2) : sq_get_le16(p + 2);
    if (kind == SQ_INTEROP_INDEX) {
        r->read = sq_get_le16(p + n_id);
        if (!take_text(c, r->u.index.index) || !take(c, x->is_wide ? 8 : 4, &p))
            return false;
        r->u.index.n_cluster = x->is_wide ? sq_get_le64(p) : sq_get_le32(p);
        return take_text(c, r->u.index.sample) && take_text(c, r->u.index.project);
    }
    if (x->has_cycle)
        r->cycle = sq_get_le16(p + n_id);
    body_of(kind, x, p + n_id + (x->has_cycle ? 2 : 0), r);
    return true;
}

/* All whole records of [n] bytes. *out_used: how many bytes they were. */
static sq_err records(enum sq_interop_kind kind, const struct head *x, const uint8_t *p, size_t n, sq_interop_fn fn, void *ctx, size_t *out_used,
                      uint64_t *n_record)
{
    struct cursor c = {.p = p, .n = n};
    struct sq_interop_record r;
    *out_used = 0;
    while (take_record(kind, x, &c, &r)) {
        *out_used = c.at;
        /* an empty record: no lane */
        sq_err e = r.lane && fn ? fn(ctx, &x->h, &r) : SQ_OK;
        if (e)
            return e;
        (*n_record)++;
    }
    return SQ_OK;
}

sq_err sq_interop_parse(enum sq_interop_kind kind, const void *bytes, size_t n, struct sq_run_why *why, sq_interop_fn fn, void *ctx,
                        struct sq_interop_end *out)
{
    struct head x;
    struct sq_interop_end end = {0};
    size_t used = 0;
    const uint8_t *p = bytes;
    sq_err e = read_head(kind, p, n, why, &x);
    if (!e)
        e = records(kind, &x, p + x.n_byte, n - x.n_byte, fn, ctx, &used, &end.n_record);
    if (e)
        return e;
    end.n_left = (uint32_t)(n - x.n_byte - used);
    *out = end;
    return SQ_OK;
}

static sq_err read_file(const struct sq_run *run, enum sq_interop_kind kind, const char *path, uint32_t cycle, struct sq_run_why *why, sq_interop_fn fn,
                        void *ctx, struct sq_interop_end *end)
{
    struct run_file f;
    struct head x;
    run_at(why, 0, 0, cycle, path);
    sq_err e = run_file_open(run, path, why, &f);
    if (e)
        return e;
    uint8_t *piece = malloc(PIECE_BYTES);
    size_t n = f.size < PIECE_BYTES ? (size_t)f.size : PIECE_BYTES, used = 0;
    if (!piece)
        e = sq_fail(SQ_ENOMEM);
    if (!e)
        e = run_file_read(&f, 0, piece, n, why);
    if (!e)
        e = read_head(kind, piece, n, why, &x);
    for (uint64_t at = e ? 0 : x.n_byte; !e && at < f.size; at += used) {
        n = f.size - at < PIECE_BYTES ? (size_t)(f.size - at) : PIECE_BYTES;
        e = run_file_read(&f, at, piece, n, why);
        if (!e)
            e = records(kind, &x, piece, n, fn, ctx, &used, &end->n_record);
        if (!e && !used) {
            end->n_left += (uint32_t)n;
            break;
        }
    }
    free(piece);
    run_file_close(&f);
    return e;
}

sq_err sq_interop_read(const struct sq_run *run, enum sq_interop_kind kind, struct sq_run_why *why, sq_interop_fn fn, void *ctx,
                       struct sq_interop_end *out)
{
    char path[RUN_MAX_PATH];
    struct sq_interop_end end = {0};
    snprintf(path, sizeof path, "InterOp/%sOut.bin", sq_interop_name(kind));
    sq_err e = read_file(run, kind, path, 0, why, fn, ctx, &end);
    if (e == SQ_ENOTFOUND) {
        bool is_any = false;
        e = SQ_OK;
        for (uint32_t c = 1; c <= run->info.n_cycle && !e; c++) {
            char of_cycle[RUN_MAX_PATH];
            snprintf(of_cycle, sizeof of_cycle, "InterOp/C%u.1/%sOut.bin", c, sq_interop_name(kind));
            e = read_file(run, kind, of_cycle, c, why, fn, ctx, &end);
            is_any = is_any || e != SQ_ENOTFOUND;
            if (e == SQ_ENOTFOUND)
                e = SQ_OK;
        }
        if (!e && !is_any) {
            run_at(why, 0, 0, 0, path);
            return run_missing(why);
        }
    }
    if (!e)
        *out = end;
    return e;
}
