/* The head of a CBCL file: what its nibbles stand for, and where each tile's block lies. docs/formats/run-cbcl.md. */
#include "lib/runs/runs_internal.h"

#include <stdlib.h>

#define FIXED_BYTES 12U /* version, size of the head, bits, number of bins */
#define MAX_BINS 256U

static int by_tile(const void *a, const void *b)
{
    const struct cbcl_tile *x = a, *y = b;
    return x->tile < y->tile ? -1 : x->tile > y->tile;
}

/* bins at @p: what each of 4 or 64 bins stands for. No bins at all: the bin is the quality. */
static sq_err take_palette(const uint8_t *p, uint32_t n_bin, struct sq_run_why *why, struct cbcl_index *x)
{
    const unsigned most = x->is_wide ? 64 : 4;
    uint32_t quality[64];
    for (unsigned i = 0; i < 64; i++)
        quality[i] = i;
    const uint64_t all = x->is_wide ? UINT64_MAX : 15;
    x->has_quality = n_bin ? 0 : all;
    for (uint32_t i = 0; i < n_bin; i++) {
        uint32_t bin = sq_get_le32(p + 8 * i), q = sq_get_le32(p + 8 * i + 4);
        if (bin >= most || x->has_quality & 1ULL << bin)
            return run_bad_at(why, sq_fail(SQ_ERUNFILE), FIXED_BYTES + 8ULL * i, "quality bin %u is impossible or there twice", bin);
        if (q > 63)
            return run_bad_at(why, sq_fail(SQ_ERUNFILE), FIXED_BYTES + 8ULL * i + 4, "quality bin %u stands for %u; at most 63 is read", bin, q);
        x->has_quality |= 1ULL << bin;
        quality[bin] = q;
    }
    x->has_gaps = x->has_quality != all;
    x->n_palette = n_bin ? n_bin : most;
    for (unsigned i = 0; i < 4 * most; i++) {
        uint32_t q = x->has_quality & 1ULL << (i >> 2) ? quality[i >> 2] : 0;
        x->palette[i] = (uint8_t)(q ? q << 2 | (i & 3) : SQ_CALL_N);
    }
    return SQ_OK;
}

static sq_err take_tiles(const uint8_t *p, uint32_t head, uint64_t table_at, struct sq_run_why *why, struct cbcl_index *x)
{
    uint64_t at = head;
    for (uint32_t i = 0; i < x->n_tile; i++, p += 16) {
        struct cbcl_tile *t = &x->tile[i];
        uint64_t here = table_at + 16ULL * i;
        *t = (struct cbcl_tile){.tile = sq_get_le32(p), .n_cluster = sq_get_le32(p + 4), .n_raw = sq_get_le32(p + 8), .n_packed = sq_get_le32(p + 12), .at = at};
        if (why)
            why->tile = t->tile;
        if (!t->tile || t->n_cluster > SQ_RUN_MAX_CLUSTERS)
            return run_bad_at(why, sq_fail(SQ_ERUNFILE), here, "%u clusters in tile %u: at most %u are read", t->n_cluster, t->tile, SQ_RUN_MAX_CLUSTERS);
        at += t->n_packed;
    }
    if (why)
        why->tile = 0;
    x->size = at;
    qsort(x->tile, x->n_tile, sizeof x->tile[0], by_tile);
    for (uint32_t i = 1; i < x->n_tile; i++)
        if (x->tile[i].tile == x->tile[i - 1].tile)
            return run_bad_at(why, sq_fail(SQ_ERUNFILE), table_at, "tile %u is there twice", x->tile[i].tile);
    return SQ_OK;
}

sq_err run_cbcl_index(const struct run_file *f, struct sq_run_why *why, struct cbcl_index **out)
{
    uint8_t fixed[FIXED_BYTES];
    sq_err e = run_file_read(f, 0, fixed, sizeof fixed, why);
    if (e)
        return e;
    uint32_t version = sq_get_le16(fixed), head = sq_get_le32(fixed + 2), n_bin = sq_get_le32(fixed + 8);
    if (version != 1)
        return run_bad_at(why, sq_fail(SQ_ERUNFILE), 0, "version %u; only 1 is known", version);
    if (fixed[6] != 2 || (fixed[7] != 2 && fixed[7] != 6))
        return run_bad_at(why, sq_fail(SQ_ERUNFILE), 6, "%u bits a base and %u a quality; 2 and 2, and 2 and 6, are read", fixed[6], fixed[7]);
    if (n_bin > MAX_BINS || head < FIXED_BYTES + 8 * n_bin + 5 || head > FIXED_BYTES + 8 * MAX_BINS + 16 * SQ_RUN_MAX_TILES + 5 + 4096)
        return run_bad_at(why, sq_fail(SQ_ERUNFILE), 2, "a head of %u bytes with %u bins of quality is impossible", head, n_bin);
    if (head > f->size)
        return run_bad_at(why, sq_fail(SQ_ERUNCUT), f->size, "it ends within its head, which has %u bytes", head);
    uint8_t *p = malloc(head);
    if (!p)
        return sq_fail(SQ_ENOMEM);
    struct cbcl_index *x = NULL;
    uint32_t n_tile = 0, bins_end = FIXED_BYTES + 8 * n_bin;
    e = run_file_read(f, 0, p, head, why);
    if (!e) {
        n_tile = sq_get_le32(p + bins_end);
        if (n_tile > SQ_RUN_MAX_TILES || (uint64_t)bins_end + 5 + 16ULL * n_tile > head)
            e = run_bad_at(why, sq_fail(SQ_ERUNFILE), bins_end, "%u tiles don't fit into a head of %u bytes", n_tile, head);
    }
    if (!e && !(x = calloc(1, sizeof *x + (size_t)n_tile * sizeof x->tile[0])))
        e = sq_fail(SQ_ENOMEM);
    if (!e) {
        x->n_tile = n_tile;
        x->is_wide = fixed[7] == 6;
        x->is_pf_only = p[bins_end + 4 + 16 * n_tile] != 0;
        e = take_palette(p + FIXED_BYTES, n_bin, why, x);
    }
    if (!e)
        e = take_tiles(p + bins_end + 4, head, bins_end + 4ULL, why, x);
    free(p);
    if (e)
        free(x);
    else
        *out = x;
    return e;
}

const struct cbcl_tile *run_cbcl_find(const struct cbcl_index *x, uint32_t tile)
{
    return x->n_tile ? bsearch(&(struct cbcl_tile){.tile = tile}, x->tile, x->n_tile, sizeof x->tile[0], by_tile) : NULL;
}
