/*
 * Base calls of a whole lane and cycle in one bgzip file: u32 number of clusters, then a byte each, tile after tile in the order of
 * s_<lane>.bci. Where a tile begins stands in <cycle>.bcl.bgzf.bci; without that table the blocks are walked once. Either way the place where a
 * tile's calls end is held against the place where the next one's begin.
 */
#include "lib/runs/runs_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define BLOCK_MAX 65536U
#define WINDOW_BYTES ((size_t)4 * BLOCK_MAX)

/* Blocks one after another, unpacked; packed bytes come through a window. */
struct blocks {
    const struct run_file *f;
    struct run_inflate *z;
    struct sq_run_why *why;
    uint8_t *window, *out; /* [WINDOW_BYTES], [BLOCK_MAX] */
    uint64_t window_at;    /* where window[0] lies in the file */
    size_t window_n;
    uint64_t at, next_at; /* of the block in out, of the one behind it */
    size_t n;             /* bytes in out */
};

static sq_err blocks_start(struct blocks *b, const struct run_file *f, struct run_inflate *z, struct sq_run_why *why, uint64_t at)
{
    uint8_t *scratch = run_inflate_scratch(z, WINDOW_BYTES + BLOCK_MAX);
    *b = (struct blocks){.f = f, .z = z, .why = why, .at = at, .next_at = at, .window = scratch, .out = scratch ? scratch + WINDOW_BYTES : NULL};
    return scratch ? SQ_OK : sq_fail(SQ_ENOMEM);
}

/* The packed bytes of the block at next_at. *out_size 0: the file ends here. */
static sq_err block_find(struct blocks *b, const uint8_t **out, size_t *out_size)
{
    uint64_t at = b->next_at;
    *out_size = 0;
    if (at >= b->f->size)
        return SQ_OK;
    size_t left = b->f->size - at < BLOCK_MAX ? (size_t)(b->f->size - at) : BLOCK_MAX;
    if (at < b->window_at || at + left > b->window_at + b->window_n) {
        size_t n = b->f->size - at < WINDOW_BYTES ? (size_t)(b->f->size - at) : WINDOW_BYTES;
        sq_err e = run_file_read(b->f, at, b->window, n, b->why);
        if (e)
            return e;
        b->window_at = at;
        b->window_n = n;
    }
    *out = b->window + (at - b->window_at);
    size_t size = left < 18 ? left : run_bgzf_size(*out, left);
    if (!size)
        return run_bad_at(b->why, sq_fail(SQ_ERUNFILE), at, "no bgzip block where one should begin");
    if (left < 18 || size > left)
        return run_bad_at(b->why, sq_fail(SQ_ERUNCUT), b->f->size, "it ends within a bgzip block");
    *out_size = size;
    return SQ_OK;
}

/* The next block that isn't empty, unpacked. b->n 0: there is none. */
static sq_err block_next(struct blocks *b)
{
    for (b->n = 0; !b->n;) {
        const uint8_t *p;
        size_t size;
        sq_err e = block_find(b, &p, &size);
        if (!e && !size)
            return SQ_OK;
        if (!e)
            e = run_inflate_bgzf(b->z, p, size, b->out, b->next_at, b->why, &b->n);
        if (e)
            return e;
        b->at = b->next_at;
        b->next_at += size;
    }
    return SQ_OK;
}

static sq_err check_count(struct blocks *b, uint64_t n_cluster)
{
    sq_err e = block_next(b);
    if (e)
        return e;
    if (b->n < 4)
        return run_bad_at(b->why, sq_fail(SQ_ERUNCUT), b->f->size, "it ends before its number of clusters");
    if (sq_get_le32(b->out) != n_cluster)
        return run_bad_at(b->why, sq_fail(SQ_ERUNFILE), 0, "it says %u clusters; the lane's tile index has %llu", sq_get_le32(b->out),
                          (unsigned long long)n_cluster);
    return SQ_OK;
}

/* Without a table: the size of each block stands at its end. */
static sq_err walk(struct blocks *b, const struct run_lane *lane, struct bgzf_index *x)
{
    uint64_t done = 0; /* unpacked bytes before the block at next_at */
    uint32_t k = 0;
    b->next_at = 0;
    for (;;) {
        const uint8_t *p;
        size_t size;
        sq_err e = block_find(b, &p, &size);
        if (e)
            return e;
        if (!size)
            break;
        uint32_t n = sq_get_le32(p + size - 4);
        if (n > BLOCK_MAX)
            return run_bad_at(b->why, sq_fail(SQ_ERUNFILE), b->next_at, "a bgzip block of %u bytes is impossible", n);
        for (; k <= lane->n_tile && 4 + lane->first[k] < done + n; k++)
            x->at[k] = b->next_at << 16 | (4 + lane->first[k] - done);
        done += n;
        b->next_at += size;
    }
    for (; k <= lane->n_tile && 4 + lane->first[k] == done; k++) /* empty tiles at the end, and the end */
        x->at[k] = b->next_at << 16;
    if (done < 4 + lane->first[lane->n_tile])
        return run_bad_at(b->why, sq_fail(SQ_ERUNCUT), b->f->size, "it unpacks to %llu of %llu bytes", (unsigned long long)done,
                          (unsigned long long)lane->first[lane->n_tile] + 4);
    if (done > 4 + lane->first[lane->n_tile])
        return run_bad_at(b->why, sq_fail(SQ_ERUNFILE), b->f->size, "it unpacks to %llu bytes; %llu are right", (unsigned long long)done,
                          (unsigned long long)lane->first[lane->n_tile] + 4);
    return SQ_OK;
}

/* <cycle>.bcl.bgzf.bci; SQ_ENOTFOUND when there is none */
static sq_err read_table(const struct sq_run *run, uint32_t l, uint32_t cycle, struct sq_run_why *why, struct bgzf_index *x)
{
    const struct run_lane *lane = &run->lane[l];
    char path[RUN_MAX_PATH];
    struct sq_run_why mine;
    struct sq_buf b;
    sq_buf_init(&b, 0);
    snprintf(path, sizeof path, RUN_BASECALLS "/%04u.bcl.bgzf.bci", l, cycle);
    run_at(&mine, l, 0, cycle, path);
    sq_err e = run_file_all(run, path, 8 + 8 * (size_t)SQ_RUN_MAX_TILES, &mine, &b);
    if (!e && (b.n < 8 || sq_get_le32(b.p)))
        e = run_bad_at(&mine, sq_fail(b.n < 8 ? SQ_ERUNCUT : SQ_ERUNFILE), 0, "it doesn't begin with version 0 and a number of tiles");
    if (!e && sq_get_le32(b.p + 4) != lane->n_tile)
        e = run_bad_at(&mine, sq_fail(SQ_ERUNFILE), 4, "%u tiles; the lane's tile index has %u", sq_get_le32(b.p + 4), lane->n_tile);
    if (!e && b.n != 8 + 8 * (size_t)lane->n_tile)
        e = run_bad_at(&mine, sq_fail(b.n < 8 + 8 * (size_t)lane->n_tile ? SQ_ERUNCUT : SQ_ERUNFILE), b.n, "%zu bytes; for %u tiles %zu are right", b.n,
                       lane->n_tile, 8 + 8 * (size_t)lane->n_tile);
    for (uint32_t i = 0; i < lane->n_tile && !e; i++) {
        x->at[i] = sq_get_le64(b.p + 8 + 8 * (size_t)i);
        if (i && x->at[i] < x->at[i - 1])
            e = run_bad_at(&mine, sq_fail(SQ_ERUNFILE), 8 + 8ULL * i, "tile %u begins before the one in front of it", lane->tile[i].tile);
    }
    sq_buf_done(&b);
    if (e && e != SQ_ENOTFOUND && why)
        *why = mine;
    return e;
}

sq_err run_bgzf_index(struct sq_run *run, const struct run_file *f, uint32_t l, uint32_t cycle, struct run_inflate *z, struct sq_run_why *why,
                      struct bgzf_index **out)
{
    const struct run_lane *lane = &run->lane[l];
    struct blocks b;
    struct bgzf_index *x = calloc(1, sizeof *x + ((size_t)lane->n_tile + 1) * sizeof x->at[0]);
    sq_err e = x ? blocks_start(&b, f, z, why, 0) : sq_fail(SQ_ENOMEM);
    if (!x)
        return e;
    x->n_tile = lane->n_tile;
    if (!e)
        e = check_count(&b, lane->first[lane->n_tile]);
    if (!e)
        e = read_table(run, l, cycle, why, x);
    if (e == SQ_ENOTFOUND) {
        x->is_walked = true;
        e = walk(&b, lane, x);
    }
    if (e)
        free(x);
    else
        *out = x;
    return e;
}

/* Is virtual offset @v the place at @used of the block that @b holds, however it is written? */
static bool is_place(const struct blocks *b, size_t used, uint64_t v)
{
    return v == (b->at << 16 | used) || (used == b->n && v == b->next_at << 16);
}

sq_err run_bgzf_read(struct sq_run *run, const struct run_file *f, const struct bgzf_index *x, uint32_t l, uint32_t place, struct run_inflate *z,
                     uint8_t *out, struct sq_run_why *why)
{
    const struct run_lane *lane = &run->lane[l];
    struct blocks b;
    uint64_t want = lane->n_cluster[place], got = 0;
    size_t used = (size_t)(x->at[place] & 0xffff);
    if (!want)
        return SQ_OK;
    sq_err e = blocks_start(&b, f, z, why, x->at[place] >> 16);
    if (!e)
        e = block_next(&b);
    if (!e && b.n && used == b.n) { /* the place behind a block is the beginning of the next */
        e = block_next(&b);
        used = 0;
    }
    if (!e && b.n && used > b.n)
        e = run_bad_at(why, sq_fail(SQ_ERUNFILE), b.at, "the tile should begin at byte %zu of a block of %zu", used, b.n);
    while (!e && got < want) {
        if (!b.n) {
            e = run_bad_at(why, sq_fail(SQ_ERUNCUT), f->size, "it ends after %llu of the tile's %llu calls", (unsigned long long)got,
                           (unsigned long long)want);
            break;
        }
        size_t take = b.n - used < want - got ? b.n - used : (size_t)(want - got);
        memcpy(out + got, b.out + used, take);
        got += take;
        used += take;
        if (got < want) {
            e = block_next(&b);
            used = 0;
        }
    }
    uint32_t next = place + 1;
    if (!e && next < x->n_tile && !x->is_walked && !is_place(&b, used, x->at[next])) {
        /* an empty block in between moves the place without a byte */
        bool is_right = used == b.n && (x->at[next] & 0xffff) == 0 && !(e = block_next(&b)) && x->at[next] == b.at << 16;
        if (!e && !is_right)
            e = run_bad_at(why, sq_fail(SQ_ERUNFILE), b.at, "the tile's calls don't end where tile %u begins", lane->tile[next].tile);
    }
    return e;
}
