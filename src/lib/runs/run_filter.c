/* Which clusters passed: one file a tile, or one a lane. docs/formats/run-filter.md. */
#include "lib/runs/runs_internal.h"

#include "lib/runs/call_kernels.h"

#include <stdlib.h>

/* u32 0, u32 version 3, u32 n; files of old instruments begin with n alone. Bytes from *out_at on. */
static sq_err read_head(const struct run_file *f, struct sq_run_why *why, uint64_t *out_n, uint64_t *out_at)
{
    uint8_t head[12];
    sq_err e = run_file_read(f, 0, head, 4, why);
    uint64_t n = e ? 0 : sq_get_le32(head);
    uint64_t at = 4;
    if (!e && !n && f->size > 4) {
        e = run_file_read(f, 0, head, sizeof head, why);
        if (!e && sq_get_le32(head + 4) != 3)
            e = run_bad_at(why, sq_fail(SQ_ERUNFILE), 4, "version %u; only 3 is known", sq_get_le32(head + 4));
        n = e ? 0 : sq_get_le32(head + 8);
        at = 12;
    }
    if (!e && f->size < at + n)
        e = run_bad_at(why, sq_fail(SQ_ERUNCUT), f->size, "it ends after %llu of %llu bytes", (unsigned long long)f->size, (unsigned long long)(at + n));
    if (!e && f->size > at + n)
        e = run_bad_at(why, sq_fail(SQ_ERUNFILE), at + n, "it has %llu bytes, for %llu clusters %llu are right", (unsigned long long)f->size,
                       (unsigned long long)n, (unsigned long long)(at + n));
    *out_n = n;
    *out_at = at;
    return e;
}

sq_err sq_filter_read(const struct sq_run *run, const struct sq_run_tile *tile, struct sq_run_why *why, struct sq_filter *out)
{
    char path[RUN_MAX_PATH];
    struct run_file f = {.fd = -1};
    sq_err e = SQ_ENOTFOUND;
    for (unsigned no = 0; e == SQ_ENOTFOUND && run_path_filter(run, tile, no, path); no++) {
        run_at(why, tile->lane, tile->tile, 0, path);
        e = run_file_open(run, path, why, &f);
    }
    if (e == SQ_ENOTFOUND) {
        run_path_filter(run, tile, 0, path);
        run_at(why, tile->lane, tile->tile, 0, path);
        return run_missing(why);
    }
    uint64_t n = 0, at = 0;
    if (!e)
        e = read_head(&f, why, &n, &at);
    const struct run_lane *lane = &run->lane[tile->lane];
    if (!e && run->calls == SQ_CALLS_BGZF && lane->has_index) {
        uint32_t place = run_tile_place(run, tile);
        if (n != lane->first[lane->n_tile])
            e = run_bad_at(why, sq_fail(SQ_ERUNFILE), 8, "it has %llu clusters; the lane's tile index has %llu", (unsigned long long)n,
                           (unsigned long long)lane->first[lane->n_tile]);
        at += lane->first[place];
        n = lane->n_cluster[place];
    }
    if (!e && n > SQ_RUN_MAX_CLUSTERS)
        e = run_bad(why, sq_fail(SQ_ERUNFILE), "%llu clusters; at most %u are read", (unsigned long long)n, SQ_RUN_MAX_CLUSTERS);
    struct sq_filter filter = {.n_cluster = (uint32_t)n};
    uint8_t *bytes = NULL;
    if (!e) {
        bytes = malloc((size_t)n + 1);
        filter.pass = calloc(((size_t)n + 63) / 64 + 1, sizeof *filter.pass);
        e = bytes && filter.pass ? run_file_read(&f, at, bytes, (size_t)n, why) : sq_fail(SQ_ENOMEM);
    }
    if (!e) {
        filter.n_pf = (uint32_t)sq_call_kernels()->bits(bytes, (size_t)n, filter.pass);
        *out = filter;
    } else {
        free(filter.pass);
    }
    free(bytes);
    run_file_close(&f);
    return e;
}

sq_err sq_filter_all(uint32_t n_cluster, struct sq_filter *out)
{
    size_t n_word = ((size_t)n_cluster + 63) / 64;
    uint64_t *pass = calloc(n_word + 1, sizeof *pass);
    if (!pass)
        return sq_fail(SQ_ENOMEM);
    memset(pass, 0xff, n_word * sizeof *pass);
    if (n_cluster % 64)
        pass[n_word - 1] = (1ULL << n_cluster % 64) - 1;
    *out = (struct sq_filter){.n_cluster = n_cluster, .n_pf = n_cluster, .pass = pass};
    return SQ_OK;
}

void sq_filter_done(struct sq_filter *f)
{
    if (!f)
        return;
    free(f->pass);
    *f = (struct sq_filter){0};
}
