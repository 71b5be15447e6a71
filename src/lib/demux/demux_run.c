/*
 * Threads over tiles. Each takes what is next: a piece of a tile that is unpacked, else some cycles of a tile that is being unpacked, else a new
 * tile when memory allows. What pieces give waits for its turn and is written in order by whoever finds that it is next.
 */
#include "lib/demux/demux_internal.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CYCLES_AT_ONCE 8U
#define CHECKPOINT_MS 20000
#ifdef SQ_TEST_HOOKS
#define CHECKPOINT_AFTER_MS (getenv("SQ_CHECKPOINT_MS") ? atoi(getenv("SQ_CHECKPOINT_MS")) : CHECKPOINT_MS)
#else
#define CHECKPOINT_AFTER_MS CHECKPOINT_MS
#endif
#define MAX_ACTIVE 64U

struct place { /* of a tile in the plan */
    uint32_t lane, tile;
};

struct active { /* a tile that is worked on */
    struct demux_tile t;
    uint32_t seq; /* number over all lanes */
    bool is_ready;  /* filter and store are there: calls can be unpacked */
    bool is_placed; /* positions, too */
    uint32_t next_cycle, n_cycle_done;
    uint32_t n_piece, next_piece;
    uint64_t bytes;
};

struct done_piece {
    uint32_t seq, no;
    struct piece_out *out;
};

struct sq_demux {
    struct sq_demux_plan *plan;
    struct demux_out *out;
    struct sq_demux_result result;
    struct place *place;        /* [plan->n_tile] */
    struct tile_store **fed;    /* [plan->n_tile] rows of before; NULL: none. Their files are closed */
    int calls_dir;              /* -1: nothing was fed */
    uint32_t next_cycle;
    /* while running */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct sq_positions shared; /* s.locs */
    bool has_shared;
    uint32_t n_thread;
    uint64_t memory_left;       /* for tiles */
    struct demux_pass pass;
    bool is_growing;            /* what isn't there may come: nothing is masked */
    uint32_t next_tile;         /* to be begun */
    uint32_t n_active;
    struct active *active[MAX_ACTIVE]; /* by seq */
    bool is_beginning, is_writing, is_telling, is_stopped;
    uint32_t n_done, n_window;
    struct done_piece *done;    /* [n_window + n_thread] */
    uint32_t n_spare;
    struct piece_out **spare;   /* [n_window + n_thread + 1] written ones, for later pieces: their room needn't be made anew */
    struct tile_store *spare_rows; /* of a tile that is done: the next one takes their room */
    uint64_t spare_bytes;
    uint64_t n_cluster_known;
    uint32_t n_tile_known;
    int64_t checkpoint_ms;
    sq_err error;
    struct sq_run_why *run_why;
    bool (*progress)(void *ctx, const struct sq_demux_progress *p);
    void *progress_ctx;
};

/* ---- opening ---- */

static void fed_name(const struct sq_demux *d, uint32_t seq, char out[32])
{
    const struct sq_run_tile *t = d->plan->lane[d->place[seq].lane].tile[d->place[seq].tile];
    snprintf(out, 32, "L%03u_%u", t->lane, t->tile);
}

/* What an earlier process took in. */
static sq_err fed_find(struct sq_demux *d)
{
    d->next_cycle = d->plan->n_cycle + 1;
    for (uint32_t i = 0; i < d->plan->n_tile; i++) {
        char name[32];
        uint32_t c = 0;
        fed_name(d, i, name);
        sq_err e = tile_store_open(d->calls_dir, name, false, d->plan->n_cycle, &d->fed[i]);
        if (e && e != SQ_ENOTFOUND)
            return e;
        if (d->fed[i])
            sq_close(&d->fed[i]->fd);
        while (d->fed[i] && c < d->plan->n_cycle && d->fed[i]->row[c].kind != ROW_NONE)
            c++;
        d->next_cycle = c + 1 < d->next_cycle ? c + 1 : d->next_cycle;
    }
    return SQ_OK;
}

sq_err sq_demux_open(struct sq_demux_plan *plan, int dir_fd, struct sq_why *why, struct sq_demux **out)
{
    struct sq_demux *d = calloc(1, sizeof *d);
    if (!d)
        return sq_fail(SQ_ENOMEM);
    d->plan = plan;
    d->calls_dir = -1;
    d->next_cycle = 1;
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->changed, NULL);
    d->place = calloc((size_t)plan->n_tile + 1, sizeof *d->place);
    d->fed = calloc((size_t)plan->n_tile + 1, sizeof(struct tile_store *));
    sq_err e = d->place && d->fed ? SQ_OK : sq_fail(SQ_ENOMEM);
    for (uint32_t l = 0, seq = 0; l < plan->n_lane && !e; l++)
        for (uint32_t t = 0; t < plan->lane[l].n_tile; t++)
            d->place[seq++] = (struct place){l, t};
    if (!e)
        e = demux_out_open(plan, dir_fd, why, &d->out);
    struct stat st;
    if (!e && d->out->has_kept && !fstatat(d->out->state_dir, "calls", &st, AT_SYMLINK_NOFOLLOW)) {
        e = sq_dir_open(d->out->state_dir, "calls", 0700, &d->calls_dir);
        if (!e)
            e = fed_find(d);
    }
    if (e) {
        sq_demux_close(d);
        return e;
    }
    *out = d;
    return SQ_OK;
}

static void tile_done(struct sq_demux *d, struct active *a)
{
    if (!a)
        return;
    if (a->t.store && a->t.store == d->fed[a->seq]) {
        sq_close(&a->t.store->fd);
    } else if (a->t.store && a->t.store->fd < 0 && !d->spare_rows && d->next_tile < d->plan->n_tile) {
        d->spare_rows = a->t.store;
        d->spare_bytes = a->bytes;
        tile_store_empty(d->spare_rows);
    } else {
        tile_store_free(a->t.store);
    }
    sq_filter_done(&a->t.filter);
    sq_filter_done(&a->t.passed);
    sq_positions_done(&a->t.own);
    free(a->t.pf_before);
    free(a);
}

void sq_demux_close(struct sq_demux *d)
{
    if (!d)
        return;
    for (uint32_t i = 0; d->fed && i < d->plan->n_tile; i++)
        tile_store_free(d->fed[i]);
    demux_out_close(d->out);
    sq_close(&d->calls_dir);
    sq_positions_done(&d->shared);
    free(d->place);
    free(d->fed);
    free(d->done);
    free(d->spare);
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->changed);
    free(d);
}

const struct sq_demux_result *sq_demux_result(const struct sq_demux *d)
{
    return &d->result;
}

uint32_t sq_demux_next_cycle(const struct sq_demux *d)
{
    if (d->out->is_done || d->out->is_finishing || (d->out->pass != PASS_EARLY && (d->out->next_tile || d->out->next_piece)))
        return d->plan->n_cycle + 1;
    return d->next_cycle;
}

/* ---- errors ---- */

/* Called with the lock. The first error is the one. */
static void fail(struct sq_demux *d, sq_err e, const struct sq_run_why *why)
{
    if (!d->error) {
        d->error = e;
        if (why && d->run_why)
            *d->run_why = *why;
    }
    pthread_cond_broadcast(&d->changed);
}

static bool may_be_masked(const struct sq_demux *d, sq_err e)
{
    return d->plan->options.is_bad_masked && !d->is_growing && (e == SQ_ERUNMISSING || e == SQ_ERUNCUT || e == SQ_ERUNFILE || e == SQ_EIO);
}

static void remark(struct sq_demux *d, const struct sq_run_why *why)
{
    pthread_mutex_lock(&d->lock);
    demux_out_remark(d->out, why);
    pthread_mutex_unlock(&d->lock);
}

/* ---- a thread's own ---- */

struct worker {
    struct sq_demux *d;
    struct sq_calls *reader;
    struct piece_work *work; /* made with the first piece */
    struct tile_room calls, scratch;
    sq_err start; /* what making it gave */
    pthread_t thread;
};

static sq_err room_for(struct tile_room *r, size_t n)
{
    if (r->cap >= n)
        return SQ_OK;
    free(r->p);
    r->p = malloc(n);
    r->cap = r->p ? n : 0;
    return r->p ? SQ_OK : sq_fail(SQ_ENOMEM);
}

/* For @n calls */
static sq_err worker_room(struct worker *w, size_t n)
{
    sq_err e = room_for(&w->calls, n + 64);
    return e ? e : room_for(&w->scratch, n / 2 + 64);
}

static void worker_done(struct worker *w)
{
    sq_calls_free(w->reader);
    piece_work_free(w->work);
    free(w->calls.p);
    free(w->scratch.p);
}

/* ---- beginning a tile ---- */

static sq_err tile_filter(struct worker *w, struct active *a, struct sq_run_why *why)
{
    struct sq_demux *d = w->d;
    struct sq_filter real = {0};
    sq_err e = sq_filter_read(d->plan->run, a->t.tile, why, &real);
    if (e && may_be_masked(d, e)) { /* all clusters count as passed */
        struct sq_calls_look look = {0};
        struct sq_run_why other = {0};
        remark(d, why);
        for (uint32_t c = 1; c <= d->plan->n_cycle; c++)
            if (!(e = sq_calls_look(w->reader, a->t.tile, c, &other, &look)))
                break;
        if (e == SQ_ERUNMISSING || e == SQ_ERUNCUT || e == SQ_ERUNFILE)
            e = SQ_OK, look.n_cluster = 0; /* nothing is left of this tile */
        return e ? e : sq_filter_all(look.n_cluster, &a->t.filter);
    }
    if (e)
        return e;
    if (!d->plan->options.is_failed_kept) {
        a->t.filter = real;
        return SQ_OK;
    }
    a->t.passed = real;
    return sq_filter_all(real.n_cluster, &a->t.filter);
}

/* What a tile's own positions take */
static uint64_t positions_bytes(const struct sq_demux *d, uint32_t n_cluster)
{
    enum sq_positions_kind kind = sq_run_positions_kind(d->plan->run);
    return kind == SQ_POSITIONS_NONE || kind == SQ_POSITIONS_S_LOCS ? 0 : 8ULL * n_cluster;
}

static sq_err tile_positions(struct sq_demux *d, struct active *a, struct sq_run_why *why)
{
    enum sq_positions_kind kind = sq_run_positions_kind(d->plan->run);
    const struct sq_positions *p = &a->t.own;
    if (kind == SQ_POSITIONS_NONE)
        return SQ_OK;
    sq_err e = SQ_OK;
    if (kind == SQ_POSITIONS_S_LOCS) { /* only one thread begins tiles at a time */
        p = &d->shared;
        if (!d->has_shared)
            e = sq_positions_read(d->plan->run, a->t.tile, why, &d->shared);
        d->has_shared = d->has_shared || !e;
    } else {
        e = sq_positions_read(d->plan->run, a->t.tile, why, &a->t.own);
    }
    if (!e && p->n < a->t.filter.n_cluster) {
        *why = (struct sq_run_why){.lane = a->t.tile->lane, .tile = a->t.tile->tile};
        snprintf(why->detail, sizeof why->detail, "there are %u positions for %u clusters", p->n, a->t.filter.n_cluster);
        e = sq_fail(SQ_ERUNFILE);
    }
    if (e && may_be_masked(d, e)) {
        remark(d, why);
        return SQ_OK;
    }
    if (!e)
        a->t.positions = p;
    return e;
}

/* All but the positions, which nobody needs before the calls are unpacked */
static sq_err tile_begin(struct worker *w, struct active *a, struct sq_run_why *why)
{
    struct sq_demux *d = w->d;
    sq_err e = tile_filter(w, a, why);
    if (e)
        return e;
    uint32_t n_cluster = a->t.filter.n_cluster, n_word = (n_cluster + 63) / 64;
    a->t.pf_before = calloc((size_t)n_word + 1, sizeof *a->t.pf_before);
    if (!a->t.pf_before)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < n_word; i++)
        a->t.pf_before[i + 1] = a->t.pf_before[i] + (uint32_t)__builtin_popcountll(a->t.filter.pass[i]);
    a->n_piece = piece_count(n_cluster, a->t.is_last);
    struct sq_calls_look look = {0};
    struct sq_run_why other = {0};
    bool is_small = !sq_calls_look(w->reader, a->t.tile, 1, &other, &look) && look.n_palette && look.n_palette <= 4;
    a->bytes = (uint64_t)a->t.filter.n_pf * d->pass.n_cycle / (is_small ? 2 : 1) + positions_bytes(d, n_cluster) + n_word * 12ULL;
    return SQ_OK;
}

/* Rows in memory; in a file when they were fed, or when not even one tile would fit. */
static sq_err tile_rows(struct sq_demux *d, struct active *a, bool is_large)
{
    char name[32];
    fed_name(d, a->seq, name);
    if (d->fed[a->seq]) {
        a->t.store = d->fed[a->seq];
        a->t.store->fd = openat(d->calls_dir, name, O_RDWR | O_CLOEXEC);
        return a->t.store->fd < 0 ? sq_fail(sq_err_errno()) : SQ_OK;
    }
    if (!is_large && d->spare_rows && d->spare_bytes / 4 * 3 <= a->bytes) {
        a->t.store = d->spare_rows;
        d->spare_rows = NULL;
        return SQ_OK;
    }
    tile_store_free(d->spare_rows); /* of a much larger tile, or no room for it */
    d->spare_rows = NULL;
    if (!is_large)
        return tile_store_new(d->plan->n_cycle, &a->t.store);
    unlinkat(d->out->state_dir, "rows", 0);
    sq_err e = tile_store_open(d->out->state_dir, "rows", true, d->plan->n_cycle, &a->t.store);
    if (!e)
        unlinkat(d->out->state_dir, "rows", 0); /* gone with its descriptor */
    return e;
}

/* With the lock. The tile's calls may be unpacked from now on. */
static sq_err tile_ready(struct sq_demux *d, struct active *a)
{
    uint64_t used = 0;
    for (uint32_t i = 0; i < d->n_active; i++)
        used += d->active[i]->bytes;
    sq_err e = tile_rows(d, a, used > d->memory_left); /* begun only when there was room, or as the first */
    if (e)
        return e;
    if (a->seq == d->out->next_tile)
        a->next_piece = d->out->next_piece; /* the others are in the files */
    if (a->t.store->fd >= 0)
        a->bytes = positions_bytes(d, a->t.filter.n_cluster);
    a->is_ready = true;
    d->n_cluster_known += a->t.filter.n_cluster;
    d->n_tile_known++;
    if (!a->n_piece)
        a->next_cycle = a->n_cycle_done = d->pass.n_cycle;
    pthread_cond_broadcast(&d->changed);
    return SQ_OK;
}

/* With the lock, which is given up meanwhile. */
static void begin(struct worker *w)
{
    struct sq_demux *d = w->d;
    struct sq_run_why why = {0};
    struct active *a = calloc(1, sizeof *a);
    uint32_t seq = d->next_tile++;
    d->is_beginning = true;
    if (a) {
        a->seq = seq;
        a->t.lane = d->place[seq].lane;
        a->t.tile = d->plan->lane[a->t.lane].tile[d->place[seq].tile];
        a->t.is_last = seq + 1 == d->plan->n_tile;
        d->active[d->n_active++] = a;
    }
    pthread_mutex_unlock(&d->lock);
    sq_err e = a ? tile_begin(w, a, &why) : sq_fail(SQ_ENOMEM);
    pthread_mutex_lock(&d->lock);
    if (!e)
        e = tile_ready(d, a);
    if (!e) {
        pthread_mutex_unlock(&d->lock);
        e = tile_positions(d, a, &why);
        pthread_mutex_lock(&d->lock);
    }
    if (e)
        fail(d, e, &why);
    else
        a->is_placed = true;
    d->is_beginning = false;
    pthread_cond_broadcast(&d->changed);
}

/* ---- unpacking ---- */

static sq_err unpack_one(struct worker *w, struct active *a, uint32_t c, struct sq_run_why *why)
{
    struct sq_demux *d = w->d;
    const struct sq_filter *f = &a->t.filter;
    const struct tile_row *have = &a->t.store->row[c];
    uint32_t n = 0;
    if (have->kind != ROW_NONE && have->kind != ROW_MASKED && have->n_call == (have->is_all ? f->n_cluster : f->n_pf))
        return SQ_OK; /* was fed */
    struct sq_calls_look look = {0};
    sq_err e = worker_room(w, (size_t)f->n_pf + 1);
    if (!e && d->plan->options.is_failed_kept && !sq_calls_look(w->reader, a->t.tile, c + 1, why, &look) && look.is_pf_only && look.n_cluster < f->n_cluster) {
        *why = (struct sq_run_why){.lane = a->t.tile->lane, .tile = a->t.tile->tile, .cycle = c + 1};
        snprintf(why->detail, sizeof why->detail, "from this cycle on the run holds no calls of clusters that failed the filter");
        e = sq_fail(SQ_EFIELD);
    }
    if (!e)
        e = sq_calls_read(w->reader, a->t.tile, c + 1, f, w->calls.p, f->n_pf, why, &n);
    if (!e)
        return tile_store_put(a->t.store, c, ROW_BYTES, false, &w->calls, n, &w->scratch);
    if (!may_be_masked(d, e))
        return e;
    remark(d, why);
    return tile_store_put(a->t.store, c, ROW_MASKED, false, NULL, 0, NULL);
}

static void unpack(struct worker *w, struct active *a)
{
    struct sq_demux *d = w->d;
    struct sq_run_why why = {0};
    uint32_t from = a->next_cycle, to = from + CYCLES_AT_ONCE < d->pass.n_cycle ? from + CYCLES_AT_ONCE : d->pass.n_cycle;
    sq_err e = SQ_OK;
    a->next_cycle = to;
    pthread_mutex_unlock(&d->lock);
    for (uint32_t c = from; c < to && !e; c++)
        e = unpack_one(w, a, c, &why);
    pthread_mutex_lock(&d->lock);
    a->n_cycle_done += to - from;
    if (e)
        fail(d, e, &why);
    pthread_cond_broadcast(&d->changed);
}

/* ---- pieces ---- */

static void piece(struct worker *w, struct active *a)
{
    struct sq_demux *d = w->d;
    uint32_t no = a->next_piece++, seq = a->seq;
    struct piece_out *out = NULL, *spare = d->n_spare ? d->spare[--d->n_spare] : NULL;
    pthread_mutex_unlock(&d->lock);
    sq_err e = w->work ? SQ_OK : piece_work_new(d->plan, d->out->pass, &w->work);
    if (!e)
        e = piece_run(w->work, &a->t, no, spare, &out);
    else
        piece_out_free(spare);
    pthread_mutex_lock(&d->lock);
    if (e)
        fail(d, e, NULL);
    else
        d->done[d->n_done++] = (struct done_piece){seq, no, out};
    pthread_cond_broadcast(&d->changed);
}

static void tell(struct sq_demux *d)
{
    if (!d->progress || d->is_telling)
        return;
    uint64_t n_mean = d->n_tile_known ? d->n_cluster_known / d->n_tile_known : 0;
    uint32_t n_left = d->plan->n_tile - d->out->next_tile;
    uint64_t done_of_it = n_left ? piece_begin((uint32_t)n_mean, n_left == 1, d->out->next_piece) : 0, in_this = n_mean - done_of_it;
    uint64_t left = n_left ? ((uint64_t)(n_left - 1) * n_mean + in_this) * (d->pass.to - d->pass.from) : 0;
    struct sq_demux_progress p = {.calls_done = d->out->n_call, .calls_total = d->out->n_call + left, .pieces_done = d->out->n_piece, .tiles_done = d->out->next_tile,
                                  .tiles_total = d->plan->n_tile};
    d->is_telling = true;
    pthread_mutex_unlock(&d->lock);
    bool is_stop = d->progress(d->progress_ctx, &p);
    pthread_mutex_lock(&d->lock);
    d->is_telling = false;
    if (is_stop) {
        d->is_stopped = true;
        pthread_cond_broadcast(&d->changed);
    }
}

/* Tiles whose pieces are all written make room. */
static void retire(struct sq_demux *d)
{
    while (d->n_active && d->active[0]->is_placed && d->active[0]->seq == d->out->next_tile && d->out->next_piece >= d->active[0]->n_piece) {
        struct active *a = d->active[0];
        d->n_active--;
        for (uint32_t i = 0; i < d->n_active; i++)
            d->active[i] = d->active[i + 1];
        tile_done(d, a);
        d->out->next_tile++;
        d->out->next_piece = 0;
        pthread_cond_broadcast(&d->changed);
    }
}

/* The piece that is next to be written, if it is there. */
static bool write_next(struct sq_demux *d)
{
    uint32_t at = 0;
    while (at < d->n_done && (d->done[at].seq != d->out->next_tile || d->done[at].no != d->out->next_piece))
        at++;
    if (at == d->n_done || d->is_writing)
        return false;
    struct piece_out *out = d->done[at].out;
    uint64_t n_call = out->n_call;
    d->done[at] = d->done[--d->n_done];
    d->is_writing = true;
    pthread_mutex_unlock(&d->lock);
    sq_err e = demux_out_put(d->out, out);
    pthread_mutex_lock(&d->lock);
    d->spare[d->n_spare++] = out; /* there are never more than waited or were made at once */
    if (!e) {
        d->out->n_call += n_call;
        d->out->n_piece++;
        d->out->next_piece++;
        retire(d);
    }
    if (!e && sq_clock_steady_ms() - d->checkpoint_ms > CHECKPOINT_AFTER_MS) {
        e = demux_out_checkpoint(d->out); /* with the lock: it reads all that others change */
        d->checkpoint_ms = sq_clock_steady_ms();
    }
    d->is_writing = false;
    if (e)
        fail(d, e, NULL);
    pthread_cond_broadcast(&d->changed);
    return true;
}

static bool is_over(const struct sq_demux *d)
{
    return d->error || d->is_stopped || d->out->next_tile == d->plan->n_tile;
}

/* May another tile be begun? One always may. */
static bool has_room(const struct sq_demux *d)
{
    uint64_t used = 0, largest = 0;
    if (d->n_active >= MAX_ACTIVE || d->n_active > d->n_thread)
        return false;
    for (uint32_t i = 0; i < d->n_active; i++) {
        used += d->active[i]->bytes;
        largest = d->active[i]->bytes > largest ? d->active[i]->bytes : largest;
    }
    return !d->n_active || used + largest <= d->memory_left; /* the next one is about as large as the largest */
}

static bool work_once(struct worker *w)
{
    struct sq_demux *d = w->d;
    retire(d);
    if (is_over(d))
        return true;
    if (write_next(d)) {
        tell(d);
        return true;
    }
    for (uint32_t i = 0; i < d->n_active; i++) {
        struct active *a = d->active[i];
        bool is_next = a->seq == d->out->next_tile && a->next_piece == d->out->next_piece; /* all that wait, wait for it */
        if ((is_next || d->n_done < d->n_window) && a->is_placed && a->n_cycle_done == d->pass.n_cycle && a->next_piece < a->n_piece) {
            piece(w, a);
            return true;
        }
    }
    for (uint32_t i = 0; i < d->n_active; i++) {
        struct active *a = d->active[i];
        if (a->is_ready && a->next_cycle < d->pass.n_cycle) {
            unpack(w, a);
            return true;
        }
    }
    if (d->next_tile < d->plan->n_tile && !d->is_beginning && has_room(d)) {
        begin(w);
        return true;
    }
    return false;
}

static void *work(void *arg)
{
    struct worker *w = arg;
    struct sq_demux *d = w->d;
    pthread_mutex_lock(&d->lock);
    w->start = sq_calls_new(d->plan->run, &w->reader);
    if (w->start)
        fail(d, w->start, NULL);
    while (!is_over(d))
        if (!work_once(w))
            pthread_cond_wait(&d->changed, &d->lock);
    pthread_cond_broadcast(&d->changed);
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

/* Memory: a share for each thread's room and what it gives; the rest is for tiles. */
static void share_memory(struct sq_demux *d)
{
    uint64_t one = piece_work_bytes(d->plan) + (uint64_t)SQ_DEMUX_PIECE * d->plan->n_cycle, all = d->plan->options.memory_bytes;
    d->n_thread = d->plan->options.n_thread < 1 ? 1 : d->plan->options.n_thread;
    while (d->n_thread > 1 && d->n_thread * one > all * 2 / 3)
        d->n_thread--;
    d->memory_left = d->n_thread * one < all ? all - d->n_thread * one : 0;
    d->n_window = d->n_thread + 1;
}

static sq_err run_threads(struct sq_demux *d)
{
    struct worker *w = calloc(d->n_thread, sizeof *w);
    free(d->done);
    free(d->spare);
    d->done = calloc((size_t)d->n_window + d->n_thread + 1, sizeof *d->done);
    d->spare = calloc((size_t)d->n_window + d->n_thread + 2, sizeof(struct piece_out *));
    if (!w || !d->done || !d->spare) {
        free(w);
        return sq_fail(SQ_ENOMEM);
    }
    uint32_t n = 0;
    for (uint32_t i = 1; i < d->n_thread; i++) {
        w[i].d = d;
        if (pthread_create(&w[i].thread, NULL, work, &w[i]))
            break;
        n = i;
    }
    w[0].d = d;
    work(&w[0]);
    for (uint32_t i = 1; i <= n; i++)
        pthread_join(w[i].thread, NULL);
    for (uint32_t i = 0; i < d->n_thread; i++)
        worker_done(&w[i]);
    free(w);
    for (uint32_t i = 0; i < d->n_done; i++)
        piece_out_free(d->done[i].out);
    for (uint32_t i = 0; i < d->n_spare; i++)
        piece_out_free(d->spare[i]);
    for (uint32_t i = 0; i < d->n_active; i++)
        tile_done(d, d->active[i]);
    tile_store_free(d->spare_rows);
    d->spare_rows = NULL;
    d->n_done = d->n_active = d->n_spare = 0;
    return d->error;
}

/* The pass that o->pass names, from where it stands. SQ_ECANCELLED: was stopped. */
static sq_err run_pass(struct sq_demux *d, bool (*progress)(void *ctx, const struct sq_demux_progress *p), void *ctx, struct sq_run_why *run_why)
{
    struct demux_out *o = d->out;
    d->progress = progress;
    d->progress_ctx = ctx;
    d->run_why = run_why;
    d->pass = demux_pass_of(d->plan, o->pass);
    d->next_tile = o->next_tile;
    d->n_cluster_known = d->n_tile_known = 0;
    d->checkpoint_ms = sq_clock_steady_ms();
    d->error = SQ_OK;
    d->is_stopped = false;
    share_memory(d);
    sq_err e = o->next_tile < d->plan->n_tile ? run_threads(d) : SQ_OK;
    d->error = SQ_OK;
    if (!e && d->is_stopped && o->next_tile < d->plan->n_tile) {
        e = demux_out_checkpoint(o);
        return e ? e : sq_fail(SQ_ECANCELLED);
    }
    if (!e)
        e = demux_reports(o, &d->result);
    return e;
}

static sq_err run_early(struct sq_demux *d, bool (*progress)(void *ctx, const struct sq_demux_progress *p), void *ctx, struct sq_run_why *run_why)
{
    sq_err e = run_pass(d, progress, ctx, run_why);
    return e ? e : demux_out_early_done(d->out);
}

sq_err sq_demux_run(struct sq_demux *d, bool (*progress)(void *ctx, const struct sq_demux_progress *p), void *ctx, struct sq_run_why *run_why)
{
    struct demux_out *o = d->out;
    if (o->is_done)
        return demux_out_finish(o);
    sq_err e = o->pass == PASS_EARLY ? run_early(d, progress, ctx, run_why) : SQ_OK;
    if (!e)
        e = run_pass(d, progress, ctx, run_why);
    d->result.n_remark = o->n_remark;
    d->result.remark = o->remark;
    return e ? e : demux_out_finish(o);
}

bool sq_demux_may_run_early(const struct sq_demux *d)
{
    const struct demux_out *o = d->out;
    return !o->is_done && !o->is_finishing && d->plan->early_cycle && d->next_cycle > d->plan->early_cycle && d->next_cycle <= d->plan->n_cycle &&
           (o->pass == PASS_EARLY || (o->pass == PASS_ALL && !o->next_tile && !o->next_piece));
}

sq_err sq_demux_run_early(struct sq_demux *d, bool (*progress)(void *ctx, const struct sq_demux_progress *p), void *ctx, struct sq_run_why *run_why)
{
    sq_assert(sq_demux_may_run_early(d));
    if (sq_run_positions_kind(d->plan->run) == SQ_POSITIONS_NONE)
        return sq_fail(SQ_ERUNMISSING);
    if (d->out->pass == PASS_ALL) { /* before a byte of this pass is written, the state knows of it */
        struct sq_filter filter = {0};
        for (uint32_t i = 0; i < d->plan->n_tile; i++) {
            sq_err e = sq_filter_read(d->plan->run, d->plan->lane[d->place[i].lane].tile[d->place[i].tile], run_why, &filter);
            sq_filter_done(&filter);
            if (e)
                return e;
        }
        d->out->pass = PASS_EARLY;
        sq_err e = demux_out_checkpoint(d->out);
        if (e)
            return e;
    }
    d->is_growing = true;
    sq_err e = run_early(d, progress, ctx, run_why);
    d->is_growing = false;
    return e;
}

/* ---- cycle by cycle ---- */

struct feeder {
    struct sq_demux *d;
    uint32_t cycle, next; /* next: tile, with d->lock */
};

/* One tile's calls, with all clusters as far as the file has them: the filter may not be written yet. */
static sq_err feed_tile(struct worker *w, uint32_t seq, uint32_t cycle, struct sq_run_why *why)
{
    struct sq_demux *d = w->d;
    const struct sq_run_tile *tile = d->plan->lane[d->place[seq].lane].tile[d->place[seq].tile];
    struct sq_calls_look look = {0};
    struct tile_store *t = d->fed[seq];
    char name[32];
    uint32_t n = 0;
    if (t && t->row[cycle - 1].kind != ROW_NONE)
        return SQ_OK;
    fed_name(d, seq, name);
    sq_err e = sq_calls_look(w->reader, tile, cycle, why, &look);
    if (!e)
        e = worker_room(w, (size_t)look.n_cluster + 1);
    if (!e)
        e = sq_calls_read(w->reader, tile, cycle, NULL, w->calls.p, look.n_cluster, why, &n);
    if (!e && !t)
        e = tile_store_open(d->calls_dir, name, true, d->plan->n_cycle, &t);
    else if (!e && (t->fd = openat(d->calls_dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW)) < 0)
        e = sq_fail(sq_err_errno());
    if (e)
        return e;
    d->fed[seq] = t;
    e = tile_store_put(t, cycle - 1, ROW_BYTES, !look.is_pf_only, &w->calls, n, &w->scratch);
    sq_close(&t->fd); /* there may be thousands */
    return e;
}

struct feed_worker {
    struct worker w;
    struct feeder *f;
};

static void *feed(void *arg)
{
    struct feed_worker *fw = arg;
    struct sq_demux *d = fw->f->d;
    struct sq_run_why why = {0};
    sq_err e = sq_calls_new(d->plan->run, &fw->w.reader);
    pthread_mutex_lock(&d->lock);
    while (!e && !d->error && fw->f->next < d->plan->n_tile) {
        uint32_t seq = fw->f->next++;
        pthread_mutex_unlock(&d->lock);
        e = feed_tile(&fw->w, seq, fw->f->cycle, &why);
        pthread_mutex_lock(&d->lock);
    }
    if (e)
        fail(d, e, &why);
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

sq_err sq_demux_feed(struct sq_demux *d, uint32_t cycle, struct sq_run_why *run_why)
{
    struct feeder f = {d, cycle, 0};
    uint32_t n_thread = d->plan->options.n_thread < 1 ? 1 : d->plan->options.n_thread, n = 0;
    sq_err e = SQ_OK;
    sq_assert(cycle == d->next_cycle && cycle <= d->plan->n_cycle);
    if (d->calls_dir < 0)
        e = sq_dir_open(d->out->state_dir, "calls", 0700, &d->calls_dir);
    struct feed_worker *fw = e ? NULL : calloc(n_thread, sizeof *fw);
    if (!fw)
        return e ? e : sq_fail(SQ_ENOMEM);
    d->error = SQ_OK;
    d->run_why = run_why;
    for (uint32_t i = 0; i < n_thread; i++) {
        fw[i].w.d = d;
        fw[i].f = &f;
        if (i && pthread_create(&fw[i].w.thread, NULL, feed, &fw[i]))
            break;
        n = i;
    }
    feed(&fw[0]);
    for (uint32_t i = 1; i <= n; i++)
        pthread_join(fw[i].w.thread, NULL);
    for (uint32_t i = 0; i < n_thread; i++)
        worker_done(&fw[i].w);
    free(fw);
    e = d->error;
    d->error = SQ_OK;
    d->next_cycle += !e;
    return e;
}
