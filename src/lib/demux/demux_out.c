/*
 * The files of the results while they grow, and what is needed to go on after a stop.
 *
 * .sequester/state says how long each file was when so many pieces, in order, were in it, with the numbers that belong to that. Going on cuts
 * each file to that length; so a piece is in a file once, whatever ended the process.
 */
#include "lib/demux/demux_internal.h"

#include "lib/core/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libdeflate.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STATE_MAGIC "SQDEMUX2"
#define STATE_MAX ((size_t)1 << 31)

static const uint8_t end_block[28] = {0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 6, 0, 'B', 'C', 2, 0, 0x1b, 0, 3, 0};

#ifdef SQ_TEST_HOOKS
bool demux_step(void)
{
    static int n;
    const char *slow = getenv("SQ_STEP_MS"), *last = getenv("SQ_DIE_AT");
    if (slow)
        nanosleep(&(struct timespec){0, atol(slow) * 1000000L}, NULL);
    return last && ++n == atoi(last);
}

void demux_die(void)
{
    kill(getpid(), SIGKILL);
    pause();
}
#endif

static sq_err part_path(const struct demux_out *o, size_t no, char path[520])
{
    if (!demux_file_path(o->plan, no, path))
        return sq_fail(SQ_ENOTFOUND);
    strcat(path, ".part"); /* room is there */
    return SQ_OK;
}

/* The folder of a project, once. */
static sq_err folder_of(const struct demux_out *o, const char *path)
{
    char folder[520];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strchr(folder, '/');
    if (!slash)
        return SQ_OK;
    *slash = 0;
    return mkdirat(o->dir, folder, 0777) && errno != EEXIST ? sq_fail(sq_err_errno()) : SQ_OK;
}

/* ---- the state as bytes ---- */

static sq_err put64(struct sq_buf *b, uint64_t v)
{
    uint8_t bytes[8];
    sq_put_le64(bytes, v);
    return sq_buf_add(b, bytes, 8);
}

static uint32_t most_rows(const struct sq_demux_plan *p)
{
    uint32_t most = 0;
    for (uint32_t l = 0; l < p->n_lane; l++)
        most = p->lane[l].n_row > most ? p->lane[l].n_row : most;
    return most;
}

static sq_err state_write(const struct demux_out *o, struct sq_buf *b)
{
    const struct sq_demux_plan *p = o->plan;
    sq_err e = sq_buf_add(b, STATE_MAGIC, 8);
    const uint64_t head[] = {p->fingerprint, o->is_finishing, demux_n_file(p), o->pass, o->next_tile, o->next_piece, o->index_tile, o->n_call, o->n_piece, o->totals.tally.n_used, o->totals.tally.is_thinned, o->n_remark};
    for (size_t i = 0; i < sizeof head / sizeof head[0] && !e; i++)
        e = put64(b, head[i]);
    for (size_t i = 0; i < demux_n_file(p) && !e; i++)
        e = put64(b, o->size[i]);
    for (uint32_t l = 0; l < p->n_lane && !e; l++)
        for (size_t i = 0; i < counts_shape_of(p, l).n && !e; i++)
            e = put64(b, o->totals.lane[l][i]);
    for (uint32_t i = 0; i < most_rows(p) && !e; i++)
        e = put64(b, o->index_reads[i]);
    for (uint64_t i = 0; o->totals.tally.slot && i <= o->totals.tally.mask && !e; i++) {
        const struct tally_entry *t = &o->totals.tally.slot[i];
        const uint64_t words[] = {t->key.w[0], t->key.w[1], t->key.w[2], t->key.w[3], (uint64_t)t->key.lane << 32 | t->key.what, t->n};
        for (size_t k = 0; t->n && k < 6 && !e; k++)
            e = put64(b, words[k]);
    }
    if (!e)
        e = sq_buf_add(b, o->remark, o->n_remark * sizeof *o->remark); /* read by this very program only: the fingerprint has its layout */
    return e ? e : put64(b, libdeflate_crc32(0, b->p, b->n));
}

struct cursor {
    const uint8_t *p;
    size_t left;
    bool is_short;
};

static uint64_t get64(struct cursor *c)
{
    if (c->left < 8) {
        c->is_short = true;
        return 0;
    }
    uint64_t v = sq_get_le64(c->p);
    c->p += 8;
    c->left -= 8;
    return v;
}

static sq_err state_tally(struct demux_out *o, struct cursor *c, uint64_t n)
{
    for (uint64_t i = 0; i < n && !c->is_short; i++) {
        struct tally_key key = {.w = {0}};
        for (int k = 0; k < 4; k++)
            key.w[k] = get64(c);
        uint64_t where = get64(c);
        key.lane = (uint32_t)(where >> 32);
        key.what = (uint32_t)where;
        sq_err e = tally_add(&o->totals.tally, &key, get64(c));
        if (e)
            return e;
    }
    return SQ_OK;
}

/* SQ_ECONFLICT: of other work. SQ_EFORMAT: not whole. */
static sq_err state_read(struct demux_out *o, const struct sq_buf *b)
{
    const struct sq_demux_plan *p = o->plan;
    if (b->n < 16 || memcmp(b->p, STATE_MAGIC, 8) || sq_get_le64(b->p + b->n - 8) != libdeflate_crc32(0, b->p, b->n - 8))
        return sq_fail(SQ_EFORMAT);
    struct cursor c = {b->p + 8, b->n - 16, false};
    if (get64(&c) != p->fingerprint)
        return sq_fail(SQ_ECONFLICT);
    o->is_finishing = get64(&c) != 0;
    if (get64(&c) != demux_n_file(p))
        return sq_fail(SQ_ECONFLICT);
    uint64_t pass = get64(&c);
    o->pass = pass <= (p->early_cycle ? PASS_REST : PASS_ALL) ? (uint32_t)pass : PASS_ALL;
    o->next_tile = (uint32_t)get64(&c);
    o->next_piece = (uint32_t)get64(&c);
    o->index_tile = (uint32_t)get64(&c);
    o->n_call = get64(&c);
    o->n_piece = get64(&c);
    uint64_t n_tally = get64(&c);
    o->totals.tally.is_thinned = get64(&c) != 0;
    uint64_t n_remark = get64(&c);
    for (size_t i = 0; i < demux_n_file(p); i++)
        o->size[i] = get64(&c);
    for (uint32_t l = 0; l < p->n_lane; l++)
        for (size_t i = 0; i < counts_shape_of(p, l).n; i++)
            o->totals.lane[l][i] = get64(&c);
    for (uint32_t i = 0; i < most_rows(p); i++)
        o->index_reads[i] = get64(&c);
    sq_err e = state_tally(o, &c, n_tally);
    if (!e && (c.is_short || n_remark > DEMUX_MAX_REMARKS || c.left != n_remark * sizeof *o->remark || o->next_tile > p->n_tile || o->index_tile > p->n_tile || pass != o->pass))
        e = sq_fail(SQ_EFORMAT);
    if (!e && n_remark) {
        memcpy(o->remark, c.p, c.left);
        o->n_remark = (uint32_t)n_remark;
    }
    return e;
}

sq_err demux_out_checkpoint(struct demux_out *o)
{
    struct sq_buf b;
    if (demux_step())
        demux_die();
    sq_buf_init(&b, STATE_MAX);
    sq_err e = syncfs(o->dir) ? sq_fail(sq_err_errno()) : state_write(o, &b); /* what it says is there is there */
    if (!e)
        e = sq_file_write(o->state_dir, "state", b.p, b.n, 0600);
    sq_buf_done(&b);
    return e;
}

/* ---- beginning, going on ---- */

/* Nothing in it but what is named @but (may be NULL) or what was being written? */
static sq_err is_empty(int dir, const char *but, bool *out)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        sq_close(&fd);
        return sq_fail(sq_err_errno());
    }
    *out = true;
    for (struct dirent *row; (row = readdir(d));)
        *out = *out && (!strcmp(row->d_name, ".") || !strcmp(row->d_name, "..") || (but && !strncmp(row->d_name, but, strlen(but))));
    closedir(d);
    return SQ_OK;
}

/* May file @no have its name already? */
static bool may_be_named(const struct demux_out *o, size_t no)
{
    bool is_early_done = o->pass == PASS_REST || (o->pass == PASS_EARLY && o->next_tile == o->plan->n_tile);
    return o->is_finishing || (is_early_done && (o->plan->early_kinds >> demux_file_kind(o->plan, no) & 1));
}

/* Files as the state has them: longer ones are cut, those of later are removed. */
static sq_err files_cut(struct demux_out *o, struct sq_why *why)
{
    char path[520];
    struct stat st;
    for (size_t i = 0; i < demux_n_file(o->plan); i++) {
        if (part_path(o, i, path))
            continue;
        if (fstatat(o->dir, path, &st, AT_SYMLINK_NOFOLLOW)) {
            path[strlen(path) - 5] = 0;
            if (o->size[i] && !(may_be_named(o, i) && !fstatat(o->dir, path, &st, AT_SYMLINK_NOFOLLOW)))
                return sq_why_set(why, sq_fail(SQ_ECONFLICT), 0, 0, "out", "a file of the results was taken away, so that work can't go on: begin anew in another folder");
            continue;
        }
        if (!o->size[i] && unlinkat(o->dir, path, 0))
            return sq_fail(sq_err_errno());
        if (!o->size[i])
            continue;
        int fd = (uint64_t)st.st_size < o->size[i] ? -1 : openat(o->dir, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return sq_why_set(why, sq_fail(SQ_ECONFLICT), 0, 0, "out", "a file of the results is shorter than it was, so that work can't go on: begin anew in another folder");
        int failed = ftruncate(fd, (off_t)o->size[i]);
        close(fd);
        if (failed)
            return sq_fail(sq_err_errno());
    }
    return demux_index_cut(o, why);
}

/* One process at a time; one that was just killed may need a moment to be gone. */
static sq_err lock_state(struct demux_out *o, struct sq_why *why)
{
    for (int i = 0; i < 100; i++) {
        if (!flock(o->state_dir, LOCK_EX | LOCK_NB))
            return SQ_OK;
        if (errno != EWOULDBLOCK && errno != EINTR)
            return SQ_OK; /* a file system without locks */
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    }
    return sq_why_set(why, sq_fail(SQ_EBUSY), 0, 0, "out", "another process is at work on these results: wait until it ends");
}

static sq_err state_find(struct demux_out *o, struct sq_why *why)
{
    bool is_new = false;
    struct sq_buf b;
    sq_buf_init(&b, STATE_MAX);
    sq_err e = is_empty(o->dir, NULL, &is_new);
    if (!e && is_new) {
        e = sq_dir_open(o->dir, DEMUX_STATE_DIR, 0700, &o->state_dir);
    } else if (!e) {
        o->state_dir = openat(o->dir, DEMUX_STATE_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (o->state_dir < 0)
            e = sq_why_set(why, sq_fail(SQ_EEXISTS), 0, 0, "out", "the folder for the results isn't empty and holds no work that could go on: give a new one");
    }
    if (!e)
        e = lock_state(o, why);
    if (!e && !is_new) {
        e = sq_file_read(o->state_dir, "state", &b);
        bool is_bare = false, is_alone = false;
        if (e == SQ_ENOTFOUND && !is_empty(o->state_dir, "state", &is_bare) && is_bare && !is_empty(o->dir, DEMUX_STATE_DIR, &is_alone) && is_alone)
            e = SQ_OK, is_new = true; /* it ended before it had begun */
        else if (e == SQ_ENOTFOUND && is_bare)
            e = SQ_OK, o->is_done = true; /* it ended when all that was left to do was to remove the state's folder */
        else if (e == SQ_ENOTFOUND)
            e = sq_fail(SQ_EFORMAT);
        else if (!e)
            e = state_read(o, &b);
        if (e == SQ_ECONFLICT)
            sq_why_set(why, e, 0, 0, "out", "the folder holds work that was begun with another run, sheet or other options: give a new one");
        else if (e == SQ_EFORMAT)
            e = sq_why_set(why, sq_fail(SQ_EEXISTS), 0, 0, "out", "what is in the folder can't be gone on with: give a new one");
    }
    sq_buf_done(&b);
    o->has_kept = !is_new;
    if (!e && !o->is_done)
        e = is_new ? demux_out_checkpoint(o) : files_cut(o, why);
    return e;
}

sq_err demux_out_open(const struct sq_demux_plan *p, int dir, struct sq_why *why, struct demux_out **out)
{
    struct demux_out *o = calloc(1, sizeof *o);
    if (!o)
        return sq_fail(SQ_ENOMEM);
    o->plan = p;
    o->dir = dir;
    o->state_dir = -1;
    o->size = calloc(demux_n_file(p) + 1, sizeof *o->size);
    o->remark = calloc(DEMUX_MAX_REMARKS, sizeof *o->remark);
    o->index_reads = calloc((size_t)most_rows(p) + 1, sizeof *o->index_reads);
    sq_err e = o->size && o->remark && o->index_reads ? totals_new(p, &o->totals) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = state_find(o, why);
    if (e) {
        demux_out_close(o);
        return e;
    }
    *out = o;
    return SQ_OK;
}

void demux_out_close(struct demux_out *o)
{
    if (!o)
        return;
    totals_done(o->plan, &o->totals);
    sq_close(&o->state_dir);
    free(o->size);
    free(o->remark);
    free(o->index_reads);
    free(o);
}

void demux_out_remark(struct demux_out *o, const struct sq_run_why *where)
{
    for (uint32_t i = 0; i < o->n_remark; i++) /* the same again is counted: of a file that is missing for all tiles, say */
        if (!strcmp(o->remark[i].where.file, where->file) && !strcmp(o->remark[i].where.detail, where->detail) && o->remark[i].where.cycle == where->cycle &&
            o->remark[i].where.tile == where->tile && o->remark[i].where.lane == where->lane) {
            o->remark[i].n++;
            return;
        }
    if (o->n_remark == DEMUX_MAX_REMARKS)
        return;
    o->remark[o->n_remark].where = *where;
    o->remark[o->n_remark++].n = 1;
}

/* ---- writing ---- */

static sq_err append(struct demux_out *o, size_t no, const void *p, size_t n)
{
    char path[520];
    sq_err e = part_path(o, no, path);
    if (!e && !o->size[no])
        e = folder_of(o, path);
    if (e)
        return e;
    int fd = openat(o->dir, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0666); /* not kept open: there may be thousands */
    if (fd < 0)
        return sq_fail(sq_err_errno());
    bool is_last = demux_step();
    e = sq_write_all(fd, p, is_last ? n / 2 : n);
    if (is_last)
        demux_die();
    if (close(fd) && !e)
        e = sq_fail(sq_err_errno());
    o->size[no] += e ? 0 : n;
    return e;
}

sq_err demux_out_put(struct demux_out *o, const struct piece_out *piece)
{
    sq_err e = SQ_OK;
    for (uint32_t i = 0; i < piece->n_chunk && !e; i++)
        e = append(o, piece->chunk[i].file, piece->packed + piece->chunk[i].from, piece->chunk[i].n);
    for (uint32_t i = 0; i < piece->n_tally && !e; i++)
        e = tally_add(&o->totals.tally, &piece->tally[i], 1);
    if (!e)
        e = tally_thin(&o->totals.tally);
    if (!e && o->pass != PASS_REST)
        e = demux_index_put(o, piece);
    if (e)
        return e;
    size_t n = counts_shape_of(o->plan, piece->lane).n;
    for (size_t i = 0; i < n; i++)
        o->totals.lane[piece->lane][i] += piece->counts[i];
    return SQ_OK;
}

/* ---- the end ---- */

static sq_err file_finish(struct demux_out *o, size_t no)
{
    char path[520], part[520];
    struct stat st;
    if (part_path(o, no, part))
        return SQ_OK; /* this one isn't to be */
    snprintf(path, sizeof path, "%.*s", (int)strlen(part) - 5, part);
    if (fstatat(o->dir, part, &st, AT_SYMLINK_NOFOLLOW) && !fstatat(o->dir, path, &st, AT_SYMLINK_NOFOLLOW))
        return SQ_OK; /* done before a stop */
    sq_err e = folder_of(o, path);
    int fd = e ? -1 : openat(o->dir, part, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (!e && fd < 0)
        e = sq_fail(sq_err_errno());
    if (!e && (ftruncate(fd, (off_t)o->size[no]) || lseek(fd, 0, SEEK_END) < 0))
        e = sq_fail(sq_err_errno());
    bool is_last = !e && demux_step();
    if (!e)
        e = sq_write_all(fd, end_block, is_last ? sizeof end_block / 2 : sizeof end_block);
    if (is_last)
        demux_die();
    sq_close(&fd);
    return e;
}

static sq_err file_name(struct demux_out *o, size_t no)
{
    char path[520], part[520];
    if (part_path(o, no, part))
        return SQ_OK;
    snprintf(path, sizeof path, "%.*s", (int)strlen(part) - 5, part);
    if (demux_step())
        demux_die();
    return renameat(o->dir, part, o->dir, path) && errno != ENOENT ? sq_fail(sq_err_errno()) : SQ_OK;
}

/* Removes what lies in @dir_fd's folder @name, and it. One level of folders within it. The state goes last: without it all is done. */
static void remove_folder(int dir_fd, const char *name, int depth)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d)
        sq_close(&fd);
    for (struct dirent *row; d && (row = readdir(d));)
        if (strcmp(row->d_name, ".") && strcmp(row->d_name, "..") && strcmp(row->d_name, "state")) {
            if (demux_step())
                demux_die();
            if (unlinkat(fd, row->d_name, 0) && depth)
                remove_folder(fd, row->d_name, depth - 1);
        }
    if (demux_step())
        demux_die();
    if (d && depth)
        unlinkat(fd, "state", 0);
    if (demux_step())
        demux_die();
    if (d)
        closedir(d);
    unlinkat(dir_fd, name, AT_REMOVEDIR);
}

/* End marks, then names, of the files whose kind is one of @kinds. */
static sq_err files_finish(struct demux_out *o, uint32_t kinds)
{
    sq_err e = SQ_OK;
    for (size_t i = 0; i < demux_n_file(o->plan) && !e; i++)
        if (kinds >> demux_file_kind(o->plan, i) & 1)
            e = file_finish(o, i);
    if (!e && syncfs(o->dir))
        e = sq_fail(sq_err_errno());
    for (size_t i = 0; i < demux_n_file(o->plan) && !e; i++)
        if (kinds >> demux_file_kind(o->plan, i) & 1)
            e = file_name(o, i);
    return e ? e : sq_fsync(o->dir);
}

sq_err demux_out_early_done(struct demux_out *o)
{
    sq_err e = demux_out_checkpoint(o);
    if (!e)
        e = files_finish(o, o->plan->early_kinds);
    if (e)
        return e;
    o->pass = PASS_REST;
    o->next_tile = o->next_piece = 0;
    return demux_out_checkpoint(o);
}

sq_err demux_out_finish(struct demux_out *o)
{
    if (o->is_done) {
        remove_folder(o->dir, DEMUX_STATE_DIR, 1);
        return SQ_OK;
    }
    o->is_finishing = true;
    sq_err e = demux_out_checkpoint(o);
    if (!e)
        e = files_finish(o, UINT32_MAX);
    if (!e)
        remove_folder(o->dir, DEMUX_STATE_DIR, 1);
    return e;
}
