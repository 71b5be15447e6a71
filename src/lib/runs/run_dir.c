/* The folder of a run: its paths, its files beneath a descriptor, its tiles, and how it keeps calls and positions. */
#include "lib/runs/runs_internal.h"

#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- where something is wrong ---- */

void run_at(struct sq_run_why *why, uint32_t lane, uint32_t tile, uint32_t cycle, const char *path)
{
    if (!why)
        return;
    *why = (struct sq_run_why){.lane = lane, .tile = tile, .cycle = cycle};
    snprintf(why->file, sizeof why->file, "%s", path ? path : "");
}

sq_err run_bad(struct sq_run_why *why, sq_err code, const char *detail, ...)
{
    if (!why)
        return code;
    va_list ap;
    va_start(ap, detail);
    vsnprintf(why->detail, sizeof why->detail, detail, ap);
    va_end(ap);
    return code;
}

sq_err run_bad_at(struct sq_run_why *why, sq_err code, uint64_t byte, const char *detail, ...)
{
    if (!why)
        return code;
    va_list ap;
    va_start(ap, detail);
    vsnprintf(why->detail, sizeof why->detail, detail, ap);
    va_end(ap);
    why->has_byte = true;
    why->byte = byte;
    return code;
}

sq_err run_missing(struct sq_run_why *why)
{
    return run_bad(why, sq_fail(SQ_ERUNMISSING), "the file isn't there");
}

void sq_run_why_text(const struct sq_run_why *why, char *out, size_t size)
{
    char place[3][32] = {"", "", ""}, byte[40] = "";
    if (why->lane)
        snprintf(place[0], sizeof place[0], ", lane %u", why->lane);
    if (why->tile)
        snprintf(place[1], sizeof place[1], ", tile %u", why->tile);
    if (why->cycle)
        snprintf(place[2], sizeof place[2], ", cycle %u", why->cycle);
    if (why->has_byte)
        snprintf(byte, sizeof byte, ", byte %llu", (unsigned long long)why->byte);
    snprintf(out, size, "%s%s%s%s%s%s%s", why->file[0] ? why->file : "the run", place[0], place[1], place[2], byte, why->detail[0] ? ": " : "",
             why->detail);
}

/* ---- files ---- */

static sq_err open_beneath(void *ctx, const char *path, int *out_fd)
{
    return sq_open_beneath(*(int *)ctx, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0, out_fd);
}

struct sq_run_files sq_run_files_dir(int *dir_fd)
{
    return (struct sq_run_files){.ctx = dir_fd, .open = open_beneath};
}

sq_err run_file_open(const struct sq_run *run, const char *path, struct sq_run_why *why, struct run_file *out)
{
    struct stat st;
    int fd = -1;
    sq_err e = run->files.open(run->files.ctx, path, &fd);
    if (e == SQ_ENOTFOUND)
        return e;
    if (e)
        return run_bad(why, e, "it can't be opened; links within a run folder aren't followed");
    if (fstat(fd, &st)) {
        sq_close(&fd);
        return run_bad(why, sq_fail(SQ_EIO), "it can't be looked at");
    }
    if (!S_ISREG(st.st_mode)) {
        sq_close(&fd);
        return run_bad(why, sq_fail(SQ_ERUNFILE), "this isn't a file");
    }
    out->fd = fd;
    out->size = (uint64_t)st.st_size;
    return SQ_OK;
}

void run_file_close(struct run_file *f)
{
    sq_close(&f->fd);
}

sq_err run_file_read(const struct run_file *f, uint64_t at, void *p, size_t n, struct sq_run_why *why)
{
    size_t got = 0;
    if (at > INT64_MAX - n || at + n > f->size)
        return run_bad_at(why, sq_fail(SQ_ERUNCUT), f->size, "it has %llu bytes and should have at least %llu", (unsigned long long)f->size,
                          (unsigned long long)at + n);
    if (sq_pread_full(f->fd, p, n, (off_t)at, &got))
        return run_bad_at(why, sq_fail(SQ_EIO), at, "it can't be read");
    if (got < n) /* it was made shorter since it was opened */
        return run_bad_at(why, sq_fail(SQ_ERUNCUT), at + got, "it ended while it was read");
    return SQ_OK;
}

sq_err run_file_all(const struct sq_run *run, const char *path, size_t max, struct sq_run_why *why, struct sq_buf *out)
{
    struct run_file f;
    sq_err e = run_file_open(run, path, why, &f);
    if (e)
        return e;
    if (f.size > max)
        e = run_bad(why, sq_fail(SQ_ERUNFILE), "it has %llu bytes; at most %zu are read", (unsigned long long)f.size, max);
    if (!e)
        e = sq_buf_reserve(out, (size_t)f.size + 1);
    if (!e)
        e = run_file_read(&f, 0, out->p + out->n, (size_t)f.size, why);
    if (!e)
        out->n += (size_t)f.size;
    run_file_close(&f);
    return e;
}

/* ---- paths ---- */

void run_path_calls(const struct sq_run *run, const struct sq_run_tile *t, enum sq_calls_kind kind, uint32_t cycle, char out[RUN_MAX_PATH])
{
    (void)run;
    switch (kind) {
    case SQ_CALLS_BCL: snprintf(out, RUN_MAX_PATH, RUN_BASECALLS "/C%u.1/s_%u_%u.bcl", t->lane, cycle, t->lane, t->tile); break;
    case SQ_CALLS_BCL_GZ: snprintf(out, RUN_MAX_PATH, RUN_BASECALLS "/C%u.1/s_%u_%u.bcl.gz", t->lane, cycle, t->lane, t->tile); break;
    case SQ_CALLS_BGZF: snprintf(out, RUN_MAX_PATH, RUN_BASECALLS "/%04u.bcl.bgzf", t->lane, cycle); break;
    case SQ_CALLS_CBCL: snprintf(out, RUN_MAX_PATH, RUN_BASECALLS "/C%u.1/L%03u_%u.cbcl", t->lane, cycle, t->lane, t->surface); break;
    case SQ_CALLS_NONE: out[0] = 0; break;
    }
}

bool run_path_filter(const struct sq_run *run, const struct sq_run_tile *t, unsigned no, char out[RUN_MAX_PATH])
{
    if (run->calls == SQ_CALLS_BGZF && run->lane[t->lane].has_index) {
        snprintf(out, RUN_MAX_PATH, RUN_BASECALLS "/s_%u.filter", t->lane, t->lane);
        return no == 0;
    }
    switch (no) {
    case 0: snprintf(out, RUN_MAX_PATH, RUN_BASECALLS "/s_%u_%u.filter", t->lane, t->lane, t->tile); return true;
    case 1: snprintf(out, RUN_MAX_PATH, RUN_BASECALLS "/s_%u_%04u.filter", t->lane, t->lane, t->tile); return true;
    case 2: snprintf(out, RUN_MAX_PATH, "Data/Intensities/BaseCalls/s_%u_%04u.filter", t->lane, t->tile); return true;
    default: return false;
    }
}

bool run_path_positions(const struct sq_run *run, const struct sq_run_tile *t, enum sq_positions_kind kind, unsigned no, char out[RUN_MAX_PATH])
{
    (void)run;
    static const char *const four[] = {"Data/Intensities/L%03u/s_%u_%u.%s", "Data/Intensities/L%03u/s_%u_%04u.%s"};
    switch (kind) {
    case SQ_POSITIONS_S_LOCS: snprintf(out, RUN_MAX_PATH, "Data/Intensities/s.locs"); return no == 0;
    case SQ_POSITIONS_LANE_LOCS: snprintf(out, RUN_MAX_PATH, "Data/Intensities/L%03u/s_%u.locs", t->lane, t->lane); return no == 0;
    case SQ_POSITIONS_LOCS:
    case SQ_POSITIONS_CLOCS: {
        const char *end = kind == SQ_POSITIONS_LOCS ? "locs" : "clocs";
        if (no == 0)
            snprintf(out, RUN_MAX_PATH, "Data/Intensities/L%03u/s_%u_%u.%s", t->lane, t->lane, t->tile, end);
        else
            snprintf(out, RUN_MAX_PATH, "Data/Intensities/L%03u/s_%u_%04u.%s", t->lane, t->lane, t->tile, end);
        return no < sizeof four / sizeof four[0];
    }
    case SQ_POSITIONS_TEXT:
        if (no == 0)
            snprintf(out, RUN_MAX_PATH, "Data/Intensities/s_%u_%u_pos.txt", t->lane, t->tile);
        else if (no == 1)
            snprintf(out, RUN_MAX_PATH, "Data/Intensities/s_%u_%04u_pos.txt", t->lane, t->tile);
        else
            snprintf(out, RUN_MAX_PATH, "Data/Intensities/L%03u/s_%u_%u_pos.txt", t->lane, t->lane, t->tile);
        return no < 3;
    case SQ_POSITIONS_NONE: break;
    }
    out[0] = 0;
    return false;
}

/* Is there a file? Whatever can't be opened for another reason is there: reading it will say what is wrong. */
static bool is_there(const struct sq_run *run, const char *path)
{
    int fd = -1;
    sq_err e = run->files.open(run->files.ctx, path, &fd);
    sq_close(&fd);
    return e != SQ_ENOTFOUND;
}

/* ---- tiles ---- */

static sq_err lane_add(struct run_lane *lane, const struct sq_run_tile *t)
{
    if ((lane->n_tile & (lane->n_tile - 1)) == 0 && (lane->n_tile >= 64 || !lane->n_tile)) { /* full at 0, 64, 128, 256, ... */
        uint32_t cap = lane->n_tile ? lane->n_tile * 2 : 64;
        struct sq_run_tile *p = reallocarray(lane->tile, cap, sizeof *p);
        if (!p)
            return sq_fail(SQ_ENOMEM);
        lane->tile = p;
    }
    lane->tile[lane->n_tile++] = *t;
    return SQ_OK;
}

static int by_number(const void *a, const void *b, void *ctx)
{
    const struct sq_run_tile *tile = ctx;
    uint32_t x = tile[*(const uint32_t *)a].tile, y = tile[*(const uint32_t *)b].tile;
    return x < y ? -1 : x > y;
}

static sq_err lane_sort(struct run_lane *lane)
{
    free(lane->by_number);
    lane->by_number = calloc(lane->n_tile ? lane->n_tile : 1, sizeof *lane->by_number);
    if (!lane->by_number)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < lane->n_tile; i++)
        lane->by_number[i] = i;
    qsort_r(lane->by_number, lane->n_tile, sizeof *lane->by_number, by_number, lane->tile);
    return SQ_OK;
}

static void lane_done(struct run_lane *lane)
{
    free(lane->tile);
    free(lane->by_number);
    free(lane->n_cluster);
    free(lane->first);
    *lane = (struct run_lane){0};
}

/* No list in RunInfo: every surface, swath and tile of every lane. */
static sq_err tiles_of_layout(struct sq_run *run)
{
    const struct sq_run_info *i = &run->info;
    if (i->naming == SQ_TILES_FIVE_DIGIT || i->naming == SQ_TILES_ABSOLUTE || i->n_tile_of_swath > 99 || i->n_swath > 9)
        return SQ_OK; /* such numbers come from a list or a tile index */
    uint32_t n_lane = i->n_lane;
    for (char path[RUN_MAX_PATH]; n_lane && n_lane < SQ_RUN_MAX_LANES; n_lane++) { /* RunInfo has been seen with fewer lanes than there are folders */
        snprintf(path, sizeof path, RUN_BASECALLS, n_lane + 1);
        if (!is_there(run, path))
            break;
    }
    for (uint32_t l = 1; l <= n_lane; l++)
        for (uint32_t s = 1; s <= i->n_surface; s++)
            for (uint32_t w = 1; w <= i->n_swath; w++)
                for (uint32_t t = 1; t <= i->n_tile_of_swath; t++) {
                    sq_err e = lane_add(&run->lane[l], &(struct sq_run_tile){.lane = l, .tile = s * 1000 + w * 100 + t, .surface = s});
                    if (e)
                        return e;
                }
    return SQ_OK;
}

static sq_err tiles_of_info(struct sq_run *run)
{
    sq_err e = SQ_OK;
    for (uint32_t k = 0; k < run->info.n_tile && !e; k++)
        e = lane_add(&run->lane[run->info.tile[k].lane], &run->info.tile[k]);
    if (!e && !run->info.n_tile)
        e = tiles_of_layout(run);
    for (uint32_t l = 1; l <= SQ_RUN_MAX_LANES && !e; l++) {
        if (run->lane[l].n_tile)
            run->n_lane = l;
        e = lane_sort(&run->lane[l]);
    }
    return e;
}

/* s_<lane>.bci: the tiles of a lane-wide run in the order in which its files have them. Not there: the lane stays as it was. */
static sq_err tiles_of_index(struct sq_run *run, uint32_t l, struct sq_run_why *why)
{
    char path[RUN_MAX_PATH];
    struct sq_buf b;
    struct run_lane lane = {.has_index = true};
    snprintf(path, sizeof path, RUN_BASECALLS "/s_%u.bci", l, l);
    run_at(why, l, 0, 0, path);
    sq_buf_init(&b, 0);
    sq_err e = run_file_all(run, path, (size_t)SQ_RUN_MAX_TILES * 8, why, &b);
    if (e) {
        sq_buf_done(&b);
        return e == SQ_ENOTFOUND ? SQ_OK : e;
    }
    uint32_t n = (uint32_t)(b.n / 8);
    if (b.n % 8)
        e = run_bad_at(why, sq_fail(SQ_ERUNCUT), b.n, "its length, %zu, isn't a multiple of 8", b.n);
    lane.n_cluster = calloc(n ? n : 1, sizeof *lane.n_cluster);
    lane.first = calloc((size_t)n + 1, sizeof *lane.first);
    if (!e && (!lane.n_cluster || !lane.first))
        e = sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < n && !e; i++) {
        struct sq_run_tile t = {.lane = l, .tile = sq_get_le32(b.p + 8 * i)};
        lane.n_cluster[i] = sq_get_le32(b.p + 8 * i + 4);
        if (!t.tile || t.tile > 999999 || lane.n_cluster[i] > SQ_RUN_MAX_CLUSTERS) {
            e = run_bad_at(why, sq_fail(SQ_ERUNFILE), 8ULL * i, "entry %u has an impossible tile or number of clusters", i + 1);
            break;
        }
        for (t.surface = t.tile; t.surface > 9;)
            t.surface /= 10;
        lane.first[i + 1] = lane.first[i] + lane.n_cluster[i];
        e = lane_add(&lane, &t);
    }
    if (!e)
        e = lane_sort(&lane);
    for (uint32_t i = 1; i < n && !e; i++)
        if (lane.tile[lane.by_number[i]].tile == lane.tile[lane.by_number[i - 1]].tile)
            e = run_bad_at(why, sq_fail(SQ_ERUNFILE), 8ULL * lane.by_number[i], "tile %u is there twice", lane.tile[lane.by_number[i]].tile);
    sq_buf_done(&b);
    if (e) {
        lane_done(&lane);
        return e;
    }
    lane_done(&run->lane[l]);
    run->lane[l] = lane;
    if (run->n_lane < l)
        run->n_lane = l;
    return SQ_OK;
}

/* ---- the run ---- */

static bool has_calls(const struct sq_run *run, const struct sq_run_tile *t, enum sq_calls_kind kind)
{
    const uint32_t n = run->info.n_cycle, cycle[] = {1, 2, 3, n / 2, n};
    for (size_t i = 0; i < sizeof cycle / sizeof cycle[0]; i++) {
        char path[RUN_MAX_PATH];
        run_path_calls(run, t, kind, cycle[i], path);
        if (cycle[i] && is_there(run, path))
            return true;
    }
    return false;
}

static enum sq_calls_kind find_calls(const struct sq_run *run)
{
    for (uint32_t l = 1; l <= run->n_lane; l++) {
        const struct run_lane *lane = &run->lane[l];
        for (uint32_t i = 0; i < lane->n_tile; i += lane->n_tile > 1 && i < lane->n_tile - 1 ? lane->n_tile - 1 : 1)
            for (enum sq_calls_kind k = SQ_CALLS_CBCL; k > SQ_CALLS_NONE; k--)
                if (has_calls(run, &lane->tile[i], k))
                    return k;
    }
    return SQ_CALLS_NONE;
}

static enum sq_positions_kind find_positions(const struct sq_run *run)
{
    for (enum sq_positions_kind k = SQ_POSITIONS_S_LOCS; k <= SQ_POSITIONS_TEXT; k++)
        for (uint32_t l = 1; l <= run->n_lane; l++) {
            char path[RUN_MAX_PATH];
            const struct run_lane *lane = &run->lane[l];
            for (uint32_t i = 0; i < lane->n_tile && i < 2; i++)
                for (unsigned no = 0; run_path_positions(run, &lane->tile[i], k, no, path); no++)
                    if (is_there(run, path))
                        return k;
        }
    return SQ_POSITIONS_NONE;
}

/*
 * Which CBCL file has a tile: mostly that of its first digit, but runs have been seen where the files say otherwise. The tables of one cycle tell;
 * what is not in them, or can't be read, keeps its digit.
 */
static bool surfaces_of_cycle(struct sq_run *run, uint32_t l, uint32_t cycle)
{
    bool is_any = false;
    for (uint32_t s = 1; s <= SQ_RUN_MAX_SURFACES; s++) {
        char path[RUN_MAX_PATH];
        struct run_file f;
        struct cbcl_index *x = NULL;
        run_path_calls(run, &(struct sq_run_tile){.lane = l, .surface = s}, SQ_CALLS_CBCL, cycle, path);
        if (run_file_open(run, path, NULL, &f)) {
            if (s > 2)
                break;
            continue;
        }
        if (!run_cbcl_index(&f, NULL, &x)) {
            is_any = true;
            for (uint32_t i = 0; i < run->lane[l].n_tile; i++)
                if (run_cbcl_find(x, run->lane[l].tile[i].tile))
                    run->lane[l].tile[i].surface = s;
        }
        free(x);
        run_file_close(&f);
    }
    return is_any;
}

static void find_surfaces(struct sq_run *run)
{
    for (uint32_t l = 1; l <= run->n_lane; l++)
        for (uint32_t c = 1; c <= 3 && c <= run->info.n_cycle && !surfaces_of_cycle(run, l, c); c++)
            ;
}

sq_err sq_run_look(struct sq_run *run, struct sq_run_why *why)
{
    sq_err e = SQ_OK;
    run->calls = find_calls(run);
    if (run->calls == SQ_CALLS_CBCL)
        find_surfaces(run);
    /* a lane-wide run whose RunInfo lists no tiles has them in its index */
    if (run->calls == SQ_CALLS_BGZF || run->calls == SQ_CALLS_NONE)
        for (uint32_t l = 1; l <= (run->info.n_lane ? run->info.n_lane : SQ_RUN_MAX_LANES) && !e; l++)
            e = tiles_of_index(run, l, why);
    if (!e && run->calls == SQ_CALLS_NONE)
        run->calls = find_calls(run);
    if (!e)
        run->positions = find_positions(run);
    return e;
}

static sq_err read_texts(struct sq_run *run, struct sq_run_why *why)
{
    static const char *const names[] = {"RunParameters.xml", "runParameters.xml"};
    struct sq_buf b;
    sq_buf_init(&b, SQ_RUN_MAX_XML + 1);
    run_at(why, 0, 0, 0, "RunInfo.xml");
    sq_err e = run_file_all(run, "RunInfo.xml", SQ_RUN_MAX_XML, why, &b);
    if (e == SQ_ENOTFOUND)
        e = run_bad(why, sq_fail(SQ_ERUNMISSING), "the file isn't there: is this the folder of a run?");
    if (!e)
        e = sq_run_info_read(b.p, b.n, why, &run->info);
    for (size_t i = 0; i < 2 && !e; i++) {
        sq_buf_clear(&b);
        run_at(why, 0, 0, 0, names[i]);
        e = run_file_all(run, names[i], SQ_RUN_MAX_XML, why, &b);
        if (e == SQ_ENOTFOUND) {
            e = SQ_OK;
            continue;
        }
        struct sq_run_why bad;
        if (!e && sq_run_params_read(b.p, b.n, &bad, &run->params)) /* what it says is never needed */
            run->params = (struct sq_run_params){0};
        break;
    }
    sq_buf_done(&b);
    return e;
}

sq_err sq_run_open(const struct sq_run_files *files, struct sq_run_why *why, struct sq_run **out)
{
    struct sq_run *run = calloc(1, sizeof *run);
    if (!run)
        return sq_fail(SQ_ENOMEM);
    run->files = *files;
    run_at(why, 0, 0, 0, NULL);
    run->has_lock = !pthread_mutex_init(&run->lock, NULL);
    sq_err e = run->has_lock ? read_texts(run, why) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = tiles_of_info(run);
    if (!e)
        e = sq_run_look(run, why);
    if (e)
        sq_run_close(run);
    else
        *out = run;
    return e;
}

void sq_run_close(struct sq_run *run)
{
    if (!run)
        return;
    for (uint32_t l = 0; l <= SQ_RUN_MAX_LANES; l++) {
        for (uint32_t s = 0; s <= SQ_RUN_MAX_SURFACES; s++) {
            for (uint32_t c = 0; run->kept[l][s] && c <= run->info.n_cycle; c++)
                free(run->kept[l][s][c]);
            free(run->kept[l][s]);
        }
        lane_done(&run->lane[l]);
    }
    sq_run_info_done(&run->info);
    if (run->has_lock)
        pthread_mutex_destroy(&run->lock);
    free(run);
}

const struct sq_run_info *sq_run_info_of(const struct sq_run *run)
{
    return &run->info;
}

const struct sq_run_params *sq_run_params_of(const struct sq_run *run)
{
    return &run->params;
}

enum sq_calls_kind sq_run_calls_kind(const struct sq_run *run)
{
    return run->calls;
}

enum sq_positions_kind sq_run_positions_kind(const struct sq_run *run)
{
    return run->positions;
}

uint32_t sq_run_n_lane(const struct sq_run *run)
{
    return run->n_lane;
}

const struct sq_run_tile *sq_run_tiles(const struct sq_run *run, uint32_t lane, uint32_t *out_n)
{
    const struct run_lane *l = &run->lane[lane <= SQ_RUN_MAX_LANES ? lane : 0];
    *out_n = l->n_tile;
    return l->tile;
}

const struct sq_run_tile *sq_run_tile_of(const struct sq_run *run, uint32_t lane, uint32_t tile)
{
    const struct run_lane *l = &run->lane[lane <= SQ_RUN_MAX_LANES ? lane : 0];
    for (uint32_t lo = 0, hi = l->n_tile; lo < hi;) {
        uint32_t mid = lo + (hi - lo) / 2;
        const struct sq_run_tile *t = &l->tile[l->by_number[mid]];
        if (t->tile == tile)
            return t;
        if (t->tile < tile)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

uint32_t run_tile_place(const struct sq_run *run, const struct sq_run_tile *tile)
{
    sq_assert(tile->lane <= SQ_RUN_MAX_LANES);
    const struct sq_run_tile *t = sq_run_tile_of(run, tile->lane, tile->tile);
    sq_assert(t);
    return (uint32_t)(t - run->lane[tile->lane].tile);
}
