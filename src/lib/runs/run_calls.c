/*
 * The calls of one cycle of one tile, of whatever kind the run is. Heads of CBCL and bgzf files are kept in the run (32 MiB at most), once the
 * whole file is there: a file that still grows is looked at anew each time. The file last read stays open, for those who go cycle by cycle.
 */
#include "lib/runs/runs_internal.h"

#include "lib/runs/call_kernels.h"

#include <stdlib.h>

#define MAX_RATIO 1032U /* deflate packs no better than this */

struct sq_calls {
    struct sq_run *run;
    const struct sq_call_kernels *kernels;
    struct run_inflate *z;
    uint8_t *packed, *raw; /* scratch */
    size_t cap_packed, cap_raw;
    struct run_file f; /* open: of kind, lane, surface or tile, cycle */
    uint32_t lane, part, cycle;
    void *head;        /* of f, when it isn't the run's: own */
    const void *index; /* of f */
};

sq_err sq_calls_new(struct sq_run *run, struct sq_calls **out)
{
    struct sq_calls *r = calloc(1, sizeof *r);
    if (!r)
        return sq_fail(SQ_ENOMEM);
    r->run = run;
    r->kernels = sq_call_kernels();
    r->f.fd = -1;
    sq_err e = run_inflate_new(&r->z);
    if (e)
        sq_calls_free(r);
    else
        *out = r;
    return e;
}

static void shut(struct sq_calls *r)
{
    run_file_close(&r->f);
    free(r->head);
    r->head = NULL;
    r->index = NULL;
    r->lane = r->part = r->cycle = 0;
}

void sq_calls_free(struct sq_calls *r)
{
    if (!r)
        return;
    shut(r);
    run_inflate_free(r->z);
    free(r->packed);
    free(r->raw);
    free(r);
}

static sq_err scratch(uint8_t **p, size_t *cap, size_t want)
{
    if (*p && *cap >= want)
        return SQ_OK;
    free(*p);
    *cap = 0;
    size_t n = want + want / 8 + 64;
    if (!(*p = malloc(n)))
        return sq_fail(SQ_ENOMEM);
    *cap = n;
    return SQ_OK;
}

/* ---- heads that the run keeps ---- */

static void **kept_place(struct sq_run *run, uint32_t lane, uint32_t surface, uint32_t cycle)
{
    void ***row = &run->kept[lane][surface];
    if (!*row)
        *row = calloc((size_t)run->info.n_cycle + 1, sizeof **row);
    return *row ? &(*row)[cycle] : NULL;
}

static const void *kept_get(struct sq_run *run, uint32_t lane, uint32_t surface, uint32_t cycle)
{
    pthread_mutex_lock(&run->lock);
    const void *p = run->kept[lane][surface] ? run->kept[lane][surface][cycle] : NULL;
    pthread_mutex_unlock(&run->lock);
    return p;
}

/* Give @head to the run. Returns what is there now: it, or another thread's; NULL: no room, it stays the caller's. */
static const void *kept_put(struct sq_run *run, uint32_t lane, uint32_t surface, uint32_t cycle, void *head, size_t bytes)
{
    const void *now = NULL;
    pthread_mutex_lock(&run->lock);
    void **place = run->kept_bytes + bytes <= RUN_KEPT_MAX_BYTES ? kept_place(run, lane, surface, cycle) : NULL;
    if (place && *place) {
        free(head);
    } else if (place) {
        *place = head;
        run->kept_bytes += bytes;
    }
    now = place ? *place : NULL;
    pthread_mutex_unlock(&run->lock);
    return now;
}

/* ---- the file of a tile and cycle ---- */

static uint32_t part_of(const struct sq_calls *r, const struct sq_run_tile *t)
{
    switch (r->run->calls) {
    case SQ_CALLS_CBCL: return t->surface;
    case SQ_CALLS_BGZF: return 0;
    default: return t->tile;
    }
}

static sq_err read_head(struct sq_calls *r, uint32_t lane, uint32_t part, uint32_t cycle, struct sq_run_why *why)
{
    struct sq_run *run = r->run;
    r->index = kept_get(run, lane, part, cycle);
    if (r->index)
        return SQ_OK;
    size_t bytes;
    bool is_whole;
    sq_err e;
    if (run->calls == SQ_CALLS_CBCL) {
        struct cbcl_index *x = NULL;
        e = run_cbcl_index(&r->f, why, &x);
        if (e)
            return e;
        bytes = sizeof *x + x->n_tile * sizeof x->tile[0];
        is_whole = x->size <= r->f.size;
        r->head = x;
    } else {
        struct bgzf_index *x = NULL;
        e = run_bgzf_index(run, &r->f, lane, cycle, r->z, why, &x);
        if (e)
            return e;
        bytes = sizeof *x + ((size_t)x->n_tile + 1) * sizeof x->at[0];
        is_whole = true;
        r->head = x;
    }
    r->index = is_whole ? kept_put(run, lane, part, cycle, r->head, bytes) : NULL;
    if (r->index)
        r->head = NULL; /* the run's, or freed for another thread's */
    else
        r->index = r->head;
    return SQ_OK;
}

/* Have the file of @t and @cycle open, with its head. Sets the place in @why. */
static sq_err open_calls(struct sq_calls *r, const struct sq_run_tile *t, uint32_t cycle, struct sq_run_why *why)
{
    struct sq_run *run = r->run;
    char path[RUN_MAX_PATH];
    sq_assert(t->lane <= SQ_RUN_MAX_LANES && t->surface <= SQ_RUN_MAX_SURFACES);
    bool is_joined = run->calls == SQ_CALLS_CBCL || run->calls == SQ_CALLS_BGZF;
    run_path_calls(run, t, run->calls, cycle, path);
    run_at(why, t->lane, t->tile, cycle, path);
    if (cycle < 1 || cycle > run->info.n_cycle)
        return run_bad(why, sq_fail(SQ_ERANGE), "the run has %u cycles", run->info.n_cycle);
    if (run->calls == SQ_CALLS_NONE)
        return run_bad(why, sq_fail(SQ_ERUNMISSING), "the run has no base calls yet");
    if (run->calls == SQ_CALLS_BGZF && !run->lane[t->lane].has_index)
        return run_bad(why, sq_fail(SQ_ERUNMISSING), "without the lane's tile index, s_%u.bci, its tiles can't be told apart", t->lane);
    if (is_joined && r->f.fd >= 0 && r->index && !r->head && r->lane == t->lane && r->part == part_of(r, t) && r->cycle == cycle)
        return SQ_OK; /* whole files don't change */
    shut(r);
    sq_err e = run_file_open(run, path, why, &r->f);
    if (e == SQ_ENOTFOUND && (run->calls == SQ_CALLS_BCL || run->calls == SQ_CALLS_BCL_GZ)) {
        /* packed or unpacked by somebody since */
        enum sq_calls_kind other = run->calls == SQ_CALLS_BCL ? SQ_CALLS_BCL_GZ : SQ_CALLS_BCL;
        char again[RUN_MAX_PATH];
        run_path_calls(run, t, other, cycle, again);
        sq_err e2 = run_file_open(run, again, why, &r->f);
        if (e2 != SQ_ENOTFOUND) {
            run_at(why, t->lane, t->tile, cycle, again);
            e = e2;
        }
    }
    if (e)
        return e == SQ_ENOTFOUND ? run_missing(why) : e;
    if (is_joined)
        e = read_head(r, t->lane, part_of(r, t), cycle, why);
    if (e) {
        shut(r);
        return e;
    }
    if (why && run->calls == SQ_CALLS_CBCL)
        why->tile = t->tile;
    r->lane = t->lane;
    r->part = part_of(r, t);
    r->cycle = cycle;
    return SQ_OK;
}

/* ---- one kind after another ---- */

/* Bytes of @n calls */
static uint32_t cbcl_bytes(const struct cbcl_index *x, uint32_t n)
{
    return x->is_wide ? n : n / 2 + n % 2;
}

static sq_err find_block(struct sq_calls *r, const struct sq_run_tile *t, struct sq_run_why *why, const struct cbcl_tile **out)
{
    const struct cbcl_index *x = r->index;
    const struct cbcl_tile *b = run_cbcl_find(x, t->tile);
    if (!b)
        return run_bad(why, sq_fail(SQ_ERUNMISSING), "the file's table of %u tiles doesn't have this one", x->n_tile);
    uint32_t right = cbcl_bytes(x, b->n_cluster);
    if (b->n_raw != right && !(x->is_pf_only && !b->n_raw))
        return run_bad(why, sq_fail(SQ_ERUNFILE), "its table says %u clusters in %u bytes; %u bytes are right", b->n_cluster, b->n_raw, right);
    if (b->n_raw && b->n_packed < b->n_raw / MAX_RATIO)
        return run_bad(why, sq_fail(SQ_ERUNFILE), "its table says that %u bytes unpack to %u, which can't be", b->n_packed, b->n_raw);
    *out = b;
    return SQ_OK;
}

/* A call whose bin has no quality in the file's table */
static sq_err check_gaps(const struct cbcl_index *x, const uint8_t *raw, uint32_t n, struct sq_run_why *why)
{
    for (uint32_t i = 0; i < n; i++) {
        const unsigned both = x->is_wide ? raw[i] : raw[i / 2], bin = x->is_wide ? both >> 2 : (both >> (i & 1 ? 6U : 2U)) & 3U;
        if (!(x->has_quality & 1ULL << bin))
            return run_bad(why, sq_fail(SQ_ERUNFILE), "call %u is of quality bin %u, which the file's table doesn't have", i + 1, bin);
    }
    return SQ_OK;
}

/* Does the count of a file fit the filter's? */
static sq_err check_count(uint32_t n, bool is_pf_only, const struct sq_filter *pf, uint64_t byte, struct sq_run_why *why)
{
    uint32_t right = pf ? is_pf_only ? pf->n_pf : pf->n_cluster : n;
    if (n == right)
        return SQ_OK;
    return run_bad_at(why, sq_fail(SQ_ERUNFILE), byte, "it has %u clusters%s; the tile's filter has %u", n, is_pf_only ? " that passed" : "", right);
}

static sq_err has_room(uint32_t n, bool is_pf_only, const struct sq_filter *pf, size_t cap)
{
    return cap < (pf && !is_pf_only ? pf->n_pf : n) ? sq_fail(SQ_ERANGE) : SQ_OK;
}

static void cbcl_unpack(const struct sq_calls *r, const struct cbcl_index *x, const uint8_t *raw, uint32_t n, uint8_t *out)
{
    if (!x->is_wide) {
        r->kernels->unpack(raw, n, x->palette, out);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        out[i] = x->palette[raw[i]];
}

static sq_err read_cbcl(struct sq_calls *r, const struct sq_run_tile *t, const struct sq_filter *pf, uint8_t *out, size_t cap, struct sq_run_why *why,
                        uint32_t *out_n)
{
    const struct cbcl_index *x = r->index;
    const struct cbcl_tile *b = NULL;
    sq_err e = find_block(r, t, why, &b);
    if (e == SQ_ERUNMISSING && pf && !pf->n_pf) { /* none passed: left out */
        *out_n = 0;
        return SQ_OK;
    }
    if (e)
        return e;
    uint32_t n = x->is_pf_only && !b->n_raw && (!pf || !pf->n_pf) ? 0 : b->n_cluster;
    e = check_count(n, x->is_pf_only, pf, 0, why);
    if (e) {
        if (why)
            why->has_byte = false;
        return e;
    }
    if (b->n_raw != cbcl_bytes(x, n))
        return run_bad(why, sq_fail(SQ_ERUNFILE), "its table says %u clusters in %u bytes; %u bytes are right", n, b->n_raw, cbcl_bytes(x, n));
    e = has_room(n, x->is_pf_only, pf, cap);
    if (e || !n) {
        if (!e)
            *out_n = 0;
        return e;
    }
    /* a block that goes on behind the end is cut, and its size isn't to be believed */
    if (b->at > r->f.size || b->n_packed > r->f.size - b->at)
        return run_bad_at(why, sq_fail(SQ_ERUNCUT), r->f.size, "the tile's block is at %llu to %llu, and the file ends before",
                          (unsigned long long)b->at, (unsigned long long)(b->at + b->n_packed));
    e = scratch(&r->packed, &r->cap_packed, b->n_packed);
    if (!e)
        e = scratch(&r->raw, &r->cap_raw, (size_t)n + 1);
    if (!e)
        e = run_file_read(&r->f, b->at, r->packed, b->n_packed, why);
    bool is_kept = pf && !x->is_pf_only;
    if (!e)
        e = run_inflate_block(r->z, r->packed, b->n_packed, r->raw, b->n_raw, b->at, why);
    if (!e && x->has_gaps)
        e = check_gaps(x, r->raw, n, why);
    if (e)
        return e;
    if (!is_kept) {
        cbcl_unpack(r, x, r->raw, n, out);
        *out_n = n;
        return SQ_OK;
    }
    e = scratch(&r->packed, &r->cap_packed, n);
    if (e)
        return e;
    cbcl_unpack(r, x, r->raw, n, r->packed);
    r->kernels->keep(r->packed, n, pf->pass, pf->n_pf, out);
    *out_n = pf->n_pf;
    return SQ_OK;
}

/* The bytes of a bcl file, wherever they are now, to calls. */
static void finish_bytes(struct sq_calls *r, const uint8_t *in, uint32_t n, const struct sq_filter *pf, uint8_t *out, uint32_t *out_n)
{
    uint32_t kept = n;
    if (pf) {
        kept = pf->n_pf;
        r->kernels->keep(in, n, pf->pass, kept, out);
        in = out;
    }
    r->kernels->clean(in, kept, out);
    *out_n = kept;
}

static sq_err count_of_bcl(struct sq_calls *r, const uint8_t head[4], struct sq_run_why *why, uint32_t *out)
{
    (void)r;
    *out = sq_get_le32(head);
    if (*out > SQ_RUN_MAX_CLUSTERS)
        return run_bad_at(why, sq_fail(SQ_ERUNFILE), 0, "it says %u clusters; at most %u are read", *out, SQ_RUN_MAX_CLUSTERS);
    return SQ_OK;
}

static sq_err size_of_bcl(const struct sq_calls *r, uint32_t n, struct sq_run_why *why)
{
    uint64_t right = 4 + (uint64_t)n;
    if (r->f.size < right)
        return run_bad_at(why, sq_fail(SQ_ERUNCUT), r->f.size, "it ends after %llu of %llu bytes", (unsigned long long)r->f.size, (unsigned long long)right);
    if (r->f.size > right)
        return run_bad_at(why, sq_fail(SQ_ERUNFILE), right, "it has %llu bytes, for %u clusters %llu are right", (unsigned long long)r->f.size, n,
                          (unsigned long long)right);
    return SQ_OK;
}

static sq_err read_bcl(struct sq_calls *r, const struct sq_filter *pf, uint8_t *out, size_t cap, struct sq_run_why *why, uint32_t *out_n)
{
    uint8_t head[4];
    uint32_t n = 0;
    sq_err e = run_file_read(&r->f, 0, head, 4, why);
    if (!e)
        e = count_of_bcl(r, head, why, &n);
    if (!e)
        e = size_of_bcl(r, n, why);
    if (!e)
        e = check_count(n, false, pf, 0, why);
    if (!e)
        e = has_room(n, false, pf, cap);
    if (e)
        return e;
    uint8_t *in = out;
    if (pf) {
        e = scratch(&r->raw, &r->cap_raw, n);
        in = r->raw;
    }
    if (!e)
        e = run_file_read(&r->f, 4, in, n, why);
    if (!e)
        finish_bytes(r, in, n, pf, out, out_n);
    return e;
}

/* All of a packed file, and the count at its beginning. */
static sq_err take_gz(struct sq_calls *r, struct sq_run_why *why, uint32_t *out_n)
{
    uint8_t head[4];
    if (r->f.size > 2 * (uint64_t)SQ_RUN_MAX_CLUSTERS)
        return run_bad(why, sq_fail(SQ_ERUNFILE), "it has %llu bytes; at most %u are read", (unsigned long long)r->f.size, 2 * SQ_RUN_MAX_CLUSTERS);
    sq_err e = scratch(&r->packed, &r->cap_packed, (size_t)r->f.size);
    if (!e)
        e = run_file_read(&r->f, 0, r->packed, (size_t)r->f.size, why);
    if (!e)
        e = run_inflate_head(r->packed, (size_t)r->f.size, head, 4, why);
    return e ? e : count_of_bcl(r, head, why, out_n);
}

static sq_err read_gz(struct sq_calls *r, const struct sq_filter *pf, uint8_t *out, size_t cap, struct sq_run_why *why, uint32_t *out_n)
{
    uint32_t n = 0;
    sq_err e = take_gz(r, why, &n);
    if (!e)
        e = check_count(n, false, pf, 0, why);
    if (!e)
        e = has_room(n, false, pf, cap);
    if (!e && r->f.size < n / MAX_RATIO)
        e = run_bad_at(why, sq_fail(SQ_ERUNCUT), r->f.size, "%llu bytes can't hold %u clusters", (unsigned long long)r->f.size, n);
    if (!e)
        e = scratch(&r->raw, &r->cap_raw, (size_t)n + 4);
    size_t made = 0;
    if (!e)
        e = run_inflate_file(r->z, r->packed, (size_t)r->f.size, r->raw, (size_t)n + 4, why, &made);
    if (!e && made != (size_t)n + 4)
        e = run_bad_at(why, sq_fail(SQ_ERUNFILE), r->f.size, "it unpacks to %zu bytes, for %u clusters %zu are right", made, n, (size_t)n + 4);
    if (!e)
        finish_bytes(r, r->raw + 4, n, pf, out, out_n);
    return e;
}

static sq_err read_bgzf(struct sq_calls *r, const struct sq_run_tile *t, const struct sq_filter *pf, uint8_t *out, size_t cap, struct sq_run_why *why,
                        uint32_t *out_n)
{
    const struct run_lane *lane = &r->run->lane[t->lane];
    uint32_t place = run_tile_place(r->run, t), n = lane->n_cluster[place];
    sq_err e = check_count(n, false, pf, 0, why);
    if (!e)
        e = has_room(n, false, pf, cap);
    if (!e && r->f.size < n / MAX_RATIO)
        e = run_bad_at(why, sq_fail(SQ_ERUNCUT), r->f.size, "%llu bytes can't hold %u clusters", (unsigned long long)r->f.size, n);
    uint8_t *in = out;
    if (!e && pf) {
        e = scratch(&r->raw, &r->cap_raw, n);
        in = r->raw;
    }
    if (!e)
        e = run_bgzf_read(r->run, &r->f, r->index, t->lane, place, r->z, in, why);
    if (!e)
        finish_bytes(r, in, n, pf, out, out_n);
    return e;
}

static bool is_gz(const struct sq_calls *r, const struct sq_run_why *why)
{
    size_t n = strlen(why->file);
    (void)r;
    return n > 3 && !strcmp(why->file + n - 3, ".gz");
}

sq_err sq_calls_read(struct sq_calls *r, const struct sq_run_tile *tile, uint32_t cycle, const struct sq_filter *pf, uint8_t *out, size_t cap,
                     struct sq_run_why *why, uint32_t *out_n)
{
    struct sq_run_why own;
    if (!why)
        why = &own;
    sq_err e = open_calls(r, tile, cycle, why);
    if (e)
        return e;
    switch (r->run->calls) {
    case SQ_CALLS_CBCL: return read_cbcl(r, tile, pf, out, cap, why, out_n);
    case SQ_CALLS_BGZF: return read_bgzf(r, tile, pf, out, cap, why, out_n);
    default: return is_gz(r, why) ? read_gz(r, pf, out, cap, why, out_n) : read_bcl(r, pf, out, cap, why, out_n);
    }
}

sq_err sq_calls_look(struct sq_calls *r, const struct sq_run_tile *tile, uint32_t cycle, struct sq_run_why *why, struct sq_calls_look *out)
{
    struct sq_run_why own;
    struct sq_calls_look look = {0};
    uint8_t head[4];
    if (!why)
        why = &own;
    sq_err e = open_calls(r, tile, cycle, why);
    if (e)
        return e;
    look.n_packed = r->f.size;
    if (r->run->calls == SQ_CALLS_CBCL) {
        const struct cbcl_index *x = r->index;
        const struct cbcl_tile *b = NULL;
        e = find_block(r, tile, why, &b);
        if (e)
            return e;
        look = (struct sq_calls_look){.n_cluster = b->n_raw ? b->n_cluster : 0, .is_pf_only = x->is_pf_only, .n_packed = b->n_packed, .n_palette = x->n_palette};
    } else if (r->run->calls == SQ_CALLS_BGZF) {
        const struct run_lane *lane = &r->run->lane[tile->lane];
        uint32_t place = run_tile_place(r->run, tile);
        look.n_cluster = lane->n_cluster[place];
        look.n_packed = lane->first[lane->n_tile] ? look.n_packed / lane->first[lane->n_tile] * look.n_cluster : 0;
    } else if (is_gz(r, why)) {
        size_t n = r->f.size < 4096 ? (size_t)r->f.size : 4096;
        e = scratch(&r->packed, &r->cap_packed, n);
        if (!e)
            e = run_file_read(&r->f, 0, r->packed, n, why);
        if (!e)
            e = run_inflate_head(r->packed, n, head, 4, why);
        if (!e)
            e = count_of_bcl(r, head, why, &look.n_cluster);
    } else {
        e = run_file_read(&r->f, 0, head, 4, why);
        if (!e)
            e = count_of_bcl(r, head, why, &look.n_cluster);
    }
    if (!e)
        *out = look;
    return e;
}

/* ---- is it whole? ---- */

sq_err run_calls_whole(struct sq_calls *r, const struct sq_run_tile *t, uint32_t cycle, struct sq_run_why *why)
{
    struct sq_calls_look look;
    uint8_t end[4];
    if (r->run->calls == SQ_CALLS_CBCL) {
        sq_err e = open_calls(r, t, cycle, why);
        const struct cbcl_index *x = r->index;
        const struct cbcl_tile *b = NULL;
        if (!e)
            e = find_block(r, t, why, &b);
        if (e == SQ_ERUNMISSING && r->f.fd >= 0) /* left out: none passed, which the filter knows */
            e = SQ_OK;
        if (!e && x->size > r->f.size)
            e = run_bad_at(why, sq_fail(SQ_ERUNCUT), r->f.size, "it ends after %llu of %llu bytes", (unsigned long long)r->f.size, (unsigned long long)x->size);
        return e;
    }
    if (r->run->calls == SQ_CALLS_BGZF) { /* the end block that bgzip writes last */
        static const uint8_t empty[] = {0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 6, 0, 'B', 'C', 2, 0, 27, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0};
        uint8_t last[sizeof empty];
        sq_err e = open_calls(r, t, cycle, why);
        if (!e && r->f.size < sizeof last)
            e = run_bad_at(why, sq_fail(SQ_ERUNCUT), r->f.size, "it ends without bgzip's end block");
        if (!e)
            e = run_file_read(&r->f, r->f.size - sizeof last, last, sizeof last, why);
        if (!e && memcmp(last, empty, sizeof last)) {
            /* some writers leave it out: then the calls of the last tile must be there, which the head of the file has not told */
            const struct run_lane *lane = &r->run->lane[t->lane];
            const struct bgzf_index *x = r->index;
            uint32_t k = lane->n_tile - 1;
            if (x->is_walked)
                return SQ_OK; /* to the end */
            e = scratch(&r->raw, &r->cap_raw, lane->n_cluster[k]);
            if (!e)
                e = run_bgzf_read(r->run, &r->f, x, t->lane, k, r->z, r->raw, why);
        }
        return e;
    }
    sq_err e = sq_calls_look(r, t, cycle, why, &look);
    if (!e && !is_gz(r, why))
        return size_of_bcl(r, look.n_cluster, why);
    if (!e && r->f.size < 18)
        e = run_bad_at(why, sq_fail(SQ_ERUNCUT), r->f.size, "it ends within its packing");
    if (!e)
        e = run_file_read(&r->f, r->f.size - 4, end, 4, why);
    if (!e && sq_get_le32(end) != look.n_cluster + 4) /* the trailer isn't there yet, or there are several members */
        e = run_bad_at(why, sq_fail(SQ_ERUNCUT), r->f.size, "it doesn't end with the length of %u calls", look.n_cluster);
    return e;
}

sq_err sq_calls_state(struct sq_calls *r, uint32_t lane, uint32_t cycle, struct sq_run_why *why, enum sq_cycle_state *out)
{
    struct sq_run_why own;
    uint32_t n, asked[SQ_RUN_MAX_SURFACES + 1] = {0};
    if (!why)
        why = &own;
    const struct sq_run_tile *tile = sq_run_tiles(r->run, lane, &n);
    enum sq_cycle_state state = n ? SQ_CYCLE_WHOLE : SQ_CYCLE_ABSENT;
    for (uint32_t i = 0; i < n && state == SQ_CYCLE_WHOLE; i++) {
        uint32_t file = r->run->calls == SQ_CALLS_CBCL ? tile[i].surface : r->run->calls == SQ_CALLS_BGZF ? 1 : 0;
        if (file && asked[file]++)
            continue;
        sq_err e = run_calls_whole(r, &tile[i], cycle, why);
        if (e == SQ_ERUNMISSING)
            state = SQ_CYCLE_ABSENT;
        else if (e == SQ_ERUNCUT)
            state = SQ_CYCLE_PARTIAL;
        else if (e)
            return e;
    }
    *out = state;
    return SQ_OK;
}
