/* First which cycles are there at all, then each tile in a thread: filter, positions, every cycle. Findings about one file come once. */
#include "lib/runs/run_check.h"

#include "lib/runs/interop.h"
#include "lib/runs/runs_internal.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define TELL_MS 250

struct checker {
    struct sq_run *run;
    const struct sq_run_check_options *options;
    struct sq_run_check *out;
    pthread_mutex_t lock; /* of all below, and of out */
    sq_err e;             /* not of the data: the work ends */
    uint32_t lane, place; /* the next tile */
    uint64_t done, total; /* tiles x cycles */
    int64_t told_ms;
    uint8_t *is_absent[SQ_RUN_MAX_LANES + 1]; /* [n_cycle + 1] the whole cycle isn't there */
    struct sq_positions all;                  /* s.locs, for all tiles */
    bool has_all;
};

/* ---- findings ---- */

/* the same file in the same way wrong for another tile: one finding */
static bool is_same(const struct sq_run_finding *f, sq_err code, const struct sq_run_why *why)
{
    return f->code == code && f->where.lane == why->lane && f->where.cycle == why->cycle && !strcmp(f->where.file, why->file) &&
           f->where.has_byte == why->has_byte && f->where.byte == why->byte && !strcmp(f->where.detail, why->detail);
}

static sq_err add(struct sq_run_check *c, bool is_error, sq_err code, const struct sq_run_why *why, uint32_t last_cycle)
{
    for (uint32_t i = c->n_kept, n = 0; i-- > 0 && n < 256; n++)
        if (is_same(&c->finding[i], code, why)) {
            c->finding[i].n_tile++;
            return SQ_OK;
        }
    c->n_finding++;
    c->n_error += is_error;
    if (c->n_kept == SQ_RUN_MAX_FINDINGS)
        return SQ_OK;
    if (!c->finding && !(c->finding = calloc(SQ_RUN_MAX_FINDINGS, sizeof *c->finding)))
        return sq_fail(SQ_ENOMEM);
    c->finding[c->n_kept++] = (struct sq_run_finding){.is_error = is_error, .code = code, .where = *why, .last_cycle = last_cycle, .n_tile = why->tile != 0};
    return SQ_OK;
}

sq_err sq_run_check_add(struct sq_run_check *c, bool is_error, sq_err code, const struct sq_run_why *where)
{
    return add(c, is_error, code, where, 0);
}

static void find(struct checker *k, bool is_error, sq_err code, const struct sq_run_why *why)
{
    pthread_mutex_lock(&k->lock);
    if (code == SQ_ENOMEM || code == SQ_ERANGE) { /* not of the data */
        k->e = k->e ? k->e : code;
    } else {
        sq_err e = add(k->out, is_error, code, why, 0);
        k->e = k->e ? k->e : e;
    }
    pthread_mutex_unlock(&k->lock);
}

static int by_place(const void *a, const void *b)
{
    const struct sq_run_finding *x = a, *y = b;
    const uint32_t left[] = {x->where.lane, x->where.cycle, x->where.tile}, right[] = {y->where.lane, y->where.cycle, y->where.tile};
    for (size_t i = 0; i < 3; i++)
        if (left[i] != right[i])
            return left[i] < right[i] ? -1 : 1;
    return strcmp(x->where.file, y->where.file);
}

/* ---- what there is at all ---- */

static bool is_there(const struct sq_run *run, const char *path)
{
    int fd = -1;
    sq_err e = run->files.open(run->files.ctx, path, &fd);
    sq_close(&fd);
    return e != SQ_ENOTFOUND;
}

static enum sq_run_state state_of(const struct sq_run *run)
{
    static const char *const called[] = {"RTAComplete.txt", "RTAComplete.xml"};
    if (is_there(run, "CopyComplete.txt"))
        return SQ_RUN_COMPLETE;
    for (size_t i = 0; i < 2; i++)
        if (is_there(run, called[i])) /* SequenceComplete.txt: an instrument that will write CopyComplete.txt, too */
            return is_there(run, "SequenceComplete.txt") ? SQ_RUN_CALLED : SQ_RUN_COMPLETE;
    return SQ_RUN_GOING;
}

/* Is any file of @cycle there? */
static bool has_cycle(const struct sq_run *run, uint32_t l, uint32_t cycle)
{
    const struct run_lane *lane = &run->lane[l];
    uint32_t asked = 0;
    for (uint32_t i = 0; i < lane->n_tile; i++) {
        char path[RUN_MAX_PATH];
        uint32_t file = run->calls == SQ_CALLS_CBCL ? 1U << lane->tile[i].surface : run->calls == SQ_CALLS_BGZF ? 1 : 0;
        if (file & asked)
            continue;
        asked |= file;
        run_path_calls(run, &lane->tile[i], run->calls, cycle, path);
        if (is_there(run, path))
            return true;
        if (run->calls == SQ_CALLS_BCL || run->calls == SQ_CALLS_BCL_GZ) {
            run_path_calls(run, &lane->tile[i], run->calls == SQ_CALLS_BCL ? SQ_CALLS_BCL_GZ : SQ_CALLS_BCL, cycle, path);
            if (is_there(run, path))
                return true;
            snprintf(path, sizeof path, RUN_BASECALLS "/C%u.1", l, cycle);
            if (!is_there(run, path))
                return false; /* the cycle has no folder */
        }
    }
    return false;
}

static sq_err absent_cycles(struct checker *k, uint32_t l)
{
    uint32_t n_cycle = k->run->info.n_cycle;
    uint8_t *absent = calloc(n_cycle + 2U, 1);
    sq_err e = SQ_OK;
    if (!absent)
        return sq_fail(SQ_ENOMEM);
    k->is_absent[l] = absent;
    for (uint32_t c = 1; c <= n_cycle; c++)
        absent[c] = !has_cycle(k->run, l, c);
    for (uint32_t c = 1, last; c <= n_cycle && !e; c = last + 1) {
        last = c;
        if (!absent[c])
            continue;
        while (last < n_cycle && absent[last + 1])
            last++;
        struct sq_run_why why;
        char path[RUN_MAX_PATH];
        run_path_calls(k->run, &k->run->lane[l].tile[0], k->run->calls, c, path);
        run_at(&why, l, 0, c, path);
        run_bad(&why, SQ_ERUNMISSING, last > c ? "nothing of cycles %u to %u is there" : "nothing of the cycle is there", c, last);
        e = add(k->out, true, SQ_ERUNMISSING, &why, last > c ? last : 0);
        if (c - 1 < k->out->n_cycle_there)
            k->out->n_cycle_there = c - 1;
    }
    return e;
}

/* ---- one tile ---- */

static bool tell(struct checker *k, uint64_t more)
{
    pthread_mutex_lock(&k->lock);
    k->done += more;
    int64_t now = sq_clock_steady_ms();
    if (k->options->progress && now - k->told_ms >= TELL_MS) {
        k->told_ms = now;
        if (k->options->progress(k->options->ctx, k->done, k->total) && !k->e)
            k->e = SQ_ECANCELLED;
    }
    bool is_on = !k->e;
    pthread_mutex_unlock(&k->lock);
    return is_on;
}

static void check_positions(struct checker *k, const struct sq_run_tile *t, uint32_t n_cluster)
{
    struct sq_run_why why;
    struct sq_positions at = {0};
    enum sq_positions_kind kind = k->run->positions;
    if (kind == SQ_POSITIONS_NONE || (kind == SQ_POSITIONS_S_LOCS && !k->has_all))
        return; /* said once, before */
    if (kind != SQ_POSITIONS_S_LOCS) {
        sq_err e = sq_positions_read(k->run, t, &why, &at);
        if (e) {
            find(k, true, e, &why);
            return;
        }
    } else {
        at.n = k->all.n;
        run_at(&why, t->lane, t->tile, 0, "Data/Intensities/s.locs");
    }
    if (at.n < n_cluster || (at.n > n_cluster && kind != SQ_POSITIONS_S_LOCS)) {
        why.has_byte = false;
        run_bad(&why, SQ_ERUNFILE, "it has %u positions; the tile's filter has %u clusters", at.n, n_cluster);
        find(k, true, sq_fail(SQ_ERUNFILE), &why);
    }
    if (kind != SQ_POSITIONS_S_LOCS)
        sq_positions_done(&at);
}

struct room {
    uint8_t *p;
    size_t cap;
};

static sq_err room_for(struct room *r, size_t n)
{
    if (r->cap >= n)
        return SQ_OK;
    free(r->p);
    r->p = malloc(n);
    r->cap = r->p ? n : 0;
    return r->p ? SQ_OK : sq_fail(SQ_ENOMEM);
}

static sq_err check_cycle(struct checker *k, struct sq_calls *r, const struct sq_run_tile *t, uint32_t cycle, const struct sq_filter *pf, struct room *room,
                          struct sq_run_why *why, uint64_t *n_call)
{
    struct sq_calls_look look = {0};
    uint32_t n = 0;
    if (k->options->is_quick)
        return run_calls_whole(r, t, cycle, why);
    size_t cap = pf->n_pf;
    sq_err e = SQ_OK;
    if (!pf->pass) { /* without a filter: as many as there are */
        e = sq_calls_look(r, t, cycle, why, &look);
        cap = look.n_cluster;
    }
    if (!e)
        e = room_for(room, cap + 1);
    if (!e)
        e = sq_calls_read(r, t, cycle, pf->pass ? pf : NULL, room->p, cap, why, &n);
    if (!e)
        *n_call += n;
    return e;
}

static void check_tile(struct checker *k, struct sq_calls *r, const struct sq_run_tile *t, struct room *room)
{
    struct sq_run_why why;
    struct sq_filter pf = {0};
    uint64_t n_call = 0, done = 0;
    sq_err e = sq_filter_read(k->run, t, &why, &pf);
    /* a run writes its filters after cycle 25 */
    if (e && !(e == SQ_ERUNMISSING && k->out->state == SQ_RUN_GOING && k->out->n_cycle_there < 26 && k->run->info.n_cycle > 26))
        find(k, true, e, &why);
    if (!e)
        check_positions(k, t, pf.n_cluster);
    for (uint32_t c = 1; c <= k->run->info.n_cycle; c++, done++) {
        if (k->is_absent[t->lane][c])
            continue;
        e = check_cycle(k, r, t, c, &pf, room, &why, &n_call);
        if (e)
            find(k, true, e, &why);
        if (done >= 16) {
            if (!tell(k, done))
                break;
            done = 0;
        }
    }
    tell(k, done);
    pthread_mutex_lock(&k->lock);
    k->out->n_cluster += pf.n_cluster;
    k->out->n_pf += pf.n_pf;
    k->out->n_call += n_call;
    pthread_mutex_unlock(&k->lock);
    sq_filter_done(&pf);
}

static const struct sq_run_tile *next_tile(struct checker *k)
{
    const struct sq_run_tile *t = NULL;
    pthread_mutex_lock(&k->lock);
    while (!k->e && k->lane <= k->run->n_lane && !t)
        if (k->place < k->run->lane[k->lane].n_tile)
            t = &k->run->lane[k->lane].tile[k->place++];
        else
            k->lane++, k->place = 0;
    pthread_mutex_unlock(&k->lock);
    return t;
}

static void *work(void *ctx)
{
    struct checker *k = ctx;
    struct sq_calls *r = NULL;
    struct room room = {0};
    sq_err e = sq_calls_new(k->run, &r);
    if (e)
        find(k, true, e, NULL);
    for (const struct sq_run_tile *t; !e && (t = next_tile(k));)
        check_tile(k, r, t, &room);
    sq_calls_free(r);
    free(room.p);
    return NULL;
}

/* ---- the rest of the folder ---- */

static void check_markers(struct checker *k)
{
    struct sq_run_why why;
    run_at(&why, 0, 0, 0, "CopyComplete.txt");
    if (k->out->state == SQ_RUN_GOING)
        run_bad(&why, SQ_ERUNMISSING, "no mark of an end is there: the run goes on, was stopped, or isn't copied yet");
    else if (k->out->state == SQ_RUN_CALLED)
        run_bad(&why, SQ_ERUNMISSING, "RTAComplete.txt is there, this isn't: the run may still be copied");
    else
        return;
    find(k, false, SQ_ERUNMISSING, &why);
}

/* "s_1_1101.filter": the tile; 0: another name */
static uint32_t tile_of_name(const char *name, uint32_t lane)
{
    char start[16], *end;
    int n = snprintf(start, sizeof start, "s_%u_", lane);
    if (strncmp(name, start, (size_t)n) || name[n] < '1' || name[n] > '9')
        return 0;
    unsigned long tile = strtoul(name + n, &end, 10);
    return tile < 1000000 && !strcmp(end, ".filter") ? (uint32_t)tile : 0;
}

/* What lies in a lane's folder that RunInfo knows nothing of */
static void check_strangers(struct checker *k, uint32_t l)
{
    char path[RUN_MAX_PATH];
    struct sq_run_why why;
    int fd = -1;
    snprintf(path, sizeof path, RUN_BASECALLS, l);
    DIR *d = k->run->files.open(k->run->files.ctx, path, &fd) ? NULL : fdopendir(fd);
    if (!d) {
        sq_close(&fd);
        return;
    }
    for (const struct dirent *f; (f = readdir(d));) {
        uint32_t tile = tile_of_name(f->d_name, l);
        unsigned cycle = 0;
        char rest;
        if (tile && !sq_run_tile_of(k->run, l, tile)) {
            run_at(&why, l, tile, 0, path);
            run_bad(&why, SQ_OK, "there is a filter of a tile that RunInfo.xml doesn't have");
            find(k, false, SQ_OK, &why);
        }
        if (sscanf(f->d_name, "C%6u.1%c", &cycle, &rest) == 1 && cycle > k->run->info.n_cycle) {
            run_at(&why, l, 0, cycle, path);
            run_bad(&why, SQ_OK, "there is a folder of a cycle that RunInfo.xml, with %u cycles, doesn't have", k->run->info.n_cycle);
            find(k, false, SQ_OK, &why);
        }
    }
    closedir(d);
}

static void check_interop(struct checker *k)
{
    for (enum sq_interop_kind kind = 0; kind < SQ_INTEROP_KINDS; kind++) {
        struct sq_run_why why;
        struct sq_interop_end end;
        sq_err e = sq_interop_read(k->run, kind, &why, NULL, NULL, &end);
        if (e && e != SQ_ERUNMISSING)
            find(k, false, e, &why);
        /* one byte behind the last record has been seen in files of instruments that were whole */
        if (!e && end.n_left > 1 && k->out->state == SQ_RUN_COMPLETE) {
            run_bad(&why, SQ_ERUNCUT, "it ends within a record: %u bytes are left over", end.n_left);
            find(k, false, SQ_ERUNCUT, &why);
        }
    }
}

static void check_folder(struct checker *k)
{
    struct sq_run *run = k->run;
    struct sq_run_why why;
    check_markers(k);
    run_at(&why, 0, 0, 0, "RunInfo.xml");
    if (!k->out->n_tile) {
        run_bad(&why, SQ_ERUNINFO, "it lists no tiles and its layout gives none");
        find(k, true, sq_fail(SQ_ERUNINFO), &why);
    }
    if (run->calls == SQ_CALLS_NONE) {
        run_at(&why, 0, 0, 0, "Data/Intensities/BaseCalls");
        run_bad(&why, SQ_ERUNMISSING, "no base calls are there, of any kind");
        find(k, true, sq_fail(SQ_ERUNMISSING), &why);
    }
    if (run->positions == SQ_POSITIONS_NONE) {
        run_at(&why, 0, 0, 0, "Data/Intensities");
        run_bad(&why, SQ_ERUNMISSING, "no positions are there (s.locs, locs, clocs): without them demux numbers the clusters");
        find(k, true, SQ_ERUNMISSING, &why);
    }
    if (run->positions == SQ_POSITIONS_S_LOCS && k->out->n_tile) {
        const struct sq_run_tile *t = NULL;
        for (uint32_t l = 1; !t && l <= run->n_lane; l++)
            t = run->lane[l].n_tile ? &run->lane[l].tile[0] : NULL;
        sq_err e = sq_positions_read(run, t, &why, &k->all);
        k->has_all = !e;
        why.lane = why.tile = 0;
        if (e)
            find(k, true, e, &why);
    }
    for (uint32_t l = 1; l <= run->n_lane; l++)
        check_strangers(k, l);
    check_interop(k);
}

static sq_err run_threads(struct checker *k)
{
    pthread_t id[64];
    unsigned n = k->options->n_thread < 1 ? 1 : k->options->n_thread > 64 ? 64 : k->options->n_thread, started = 0;
    for (; started + 1 < n; started++)
        if (pthread_create(&id[started], NULL, work, k))
            break;
    work(k);
    for (unsigned i = 0; i < started; i++)
        pthread_join(id[i], NULL);
    return k->e;
}

sq_err sq_run_check(struct sq_run *run, const struct sq_run_check_options *options, struct sq_run_check *out)
{
    struct sq_run_check c = {.n_cycle = run->info.n_cycle, .n_cycle_there = run->info.n_cycle, .n_lane = run->n_lane};
    struct checker k = {.run = run, .options = options, .out = &c, .lane = 1};
    if (pthread_mutex_init(&k.lock, NULL))
        return sq_fail(SQ_ENOMEM);
    c.state = state_of(run);
    sq_err e = SQ_OK;
    for (uint32_t l = 1; l <= run->n_lane && !e; l++) {
        c.n_tile += run->lane[l].n_tile;
        k.total += (uint64_t)run->lane[l].n_tile * run->info.n_cycle;
    }
    if (run->calls == SQ_CALLS_NONE) {
        c.n_cycle_there = 0;
        k.lane = run->n_lane + 1; /* nothing to read */
    }
    for (uint32_t l = 1; l <= run->n_lane && !e && run->calls != SQ_CALLS_NONE; l++)
        if (run->lane[l].n_tile)
            e = absent_cycles(&k, l);
    if (!e)
        check_folder(&k);
    if (!e)
        e = run_threads(&k);
    for (uint32_t l = 0; l <= SQ_RUN_MAX_LANES; l++)
        free(k.is_absent[l]);
    sq_positions_done(&k.all);
    pthread_mutex_destroy(&k.lock);
    if (c.n_kept)
        qsort(c.finding, c.n_kept, sizeof *c.finding, by_place);
    if (e)
        sq_run_check_done(&c);
    else
        *out = c;
    return e;
}

void sq_run_check_done(struct sq_run_check *c)
{
    if (!c)
        return;
    free(c->finding);
    *c = (struct sq_run_check){0};
}
