#include "lib/audit/audit_log.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opening and recovery. What may be cut from the end is what nobody was told is durable: beyond the last checkpoint
 * and beyond what the tree file holds, since the tree is written only after the sync. Everything else that doesn't
 * fit is damage: opening refuses, writes nothing, and leaves the evidence to sq_audit_verify. */

#define DEFAULT_BYTES (64ULL << 20)
#define TAIL_BYTES 65536
#define FLUSH_BYTES (64U << 10)

struct opening {
    struct sq_audit *log;
    struct sq_audit_opened how;
    struct sq_note_head head;  /* last checkpoint; size 0: none */
    uint64_t n_tree_leaf;      /* leaves that the old tree file holds */
    int old_tree_fd;           /* compared with, when it isn't the one written */
    struct sq_seg_list list;
    uint64_t torn_at;          /* offset in the last segment; 0: nothing torn */
};

sq_err sq_checkpoint_tail(int fd, struct sq_buf *out_note, uint64_t *out_end)
{
    struct stat st;
    char *p = NULL;
    size_t n = 0;
    if (fstat(fd, &st) < 0)
        return sq_fail(SQ_EIO);
    uint64_t from = (uint64_t)st.st_size > TAIL_BYTES ? (uint64_t)st.st_size - TAIL_BYTES : 0;
    if (!(p = malloc(TAIL_BYTES)))
        return sq_fail(SQ_ENOMEM);
    sq_err e = sq_pread_full(fd, p, TAIL_BYTES, (off_t)from, &n);
    size_t at = 0, last = 0, last_n = 0;
    if (!e && from) /* begin after the first whole record: the one before is cut at its front */
        at = sq_checkpoint_record(p, n);
    for (size_t len; !e && (len = sq_checkpoint_record(p + at, n - at)) > 0; at += len) {
        last = at;
        last_n = len;
    }
    if (!e && last_n == 0)
        e = from ? sq_fail(SQ_EAUDIT) : SQ_ENOTFOUND;
    if (!e)
        e = sq_buf_add(out_note, p + last, last_n - 1);
    if (!e)
        *out_end = from + last + last_n;
    free(p);
    return e;
}

static sq_err read_checkpoint(struct opening *o)
{
    struct sq_audit *log = o->log;
    struct sq_buf note;
    log->checkpoint_fd = openat(log->dir_fd, "checkpoints", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (log->checkpoint_fd < 0)
        return sq_fail(sq_err_errno());
    sq_buf_init(&note, TAIL_BYTES);
    sq_err e = sq_checkpoint_tail(log->checkpoint_fd, &note, &log->checkpoint_end);
    if (!e)
        e = sq_note_head_read((const char *)note.p, note.n, &o->head);
    else if (e == SQ_ENOTFOUND)
        e = SQ_OK;
    log->checkpoint_size = o->head.size;
    sq_buf_done(&note);
    return e;
}

static sq_err old_leaf(struct opening *o, uint64_t number, uint8_t out[SQ_AUDIT_HASH_BYTES])
{
    size_t got = 0;
    sq_err e = sq_pread_full(o->old_tree_fd, out, SQ_AUDIT_HASH_BYTES,
                             (off_t)(sq_tree_place(0, number - 1) * SQ_AUDIT_HASH_BYTES), &got);
    return !e && got != SQ_AUDIT_HASH_BYTES ? sq_fail(SQ_EIO) : e;
}

/* How many leaves the tree file holds: a crash may leave its end unwritten (zeros). */
static sq_err count_tree(struct opening *o)
{
    static const uint8_t zero[SQ_AUDIT_HASH_BYTES];
    struct stat st;
    if (fstat(o->old_tree_fd, &st) < 0)
        return sq_fail(SQ_EIO);
    o->n_tree_leaf = st.st_size ? sq_tree_leaves((uint64_t)st.st_size / SQ_AUDIT_HASH_BYTES) : 0;
    while (o->n_tree_leaf) {
        uint8_t leaf[SQ_AUDIT_HASH_BYTES];
        sq_err e = old_leaf(o, o->n_tree_leaf, leaf);
        if (e)
            return e;
        if (memcmp(leaf, zero, sizeof zero) != 0)
            break;
        o->n_tree_leaf--;
    }
    return SQ_OK;
}

/* Begin from the tree at the last checkpoint when it is what was signed; else make the tree again from entry 1. */
static sq_err begin_tree(struct opening *o)
{
    struct sq_audit *log = o->log;
    uint8_t root[SQ_AUDIT_HASH_BYTES];
    log->tree_fd = openat(log->dir_fd, "tree", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (log->tree_fd < 0)
        return sq_fail(sq_err_errno());
    o->old_tree_fd = log->tree_fd;
    sq_err e = count_tree(o);
    if (e)
        return e;
    if (o->n_tree_leaf >= o->head.size) {
        log->tree_written = sq_tree_count(o->head.size);
        e = sq_tree_frontier(sq_log_tree_read, log, o->head.size, &log->frontier);
        if (!e)
            e = sq_frontier_root(&log->frontier, root);
        if (e || o->head.size == 0 || memcmp(root, o->head.root, sizeof root) == 0)
            return e;
    }
    o->how.is_tree_rebuilt = true;
    o->n_tree_leaf = 0; /* a tree that is wrong at the checkpoint says nothing about what lies behind it */
    log->frontier = (struct sq_frontier){0};
    log->tree_written = 0;
    log->tree_fd = openat(log->dir_fd, "tree.new", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    return log->tree_fd < 0 ? sq_fail(sq_err_errno()) : SQ_OK;
}

/* ---- the scan ---- */

static bool is_acknowledged(const struct opening *o, uint64_t number)
{
    return number <= o->head.size || number <= o->n_tree_leaf;
}

static sq_err scan_entry(struct opening *o, const struct sq_frame *f, uint64_t number)
{
    struct sq_audit *log = o->log;
    struct sq_tree_nodes nodes;
    if (number <= log->frontier.size)
        return SQ_OK;
    if (number <= o->n_tree_leaf && !o->how.is_tree_rebuilt) {
        uint8_t leaf[SQ_AUDIT_HASH_BYTES];
        sq_err e = old_leaf(o, number, leaf);
        if (e)
            return e;
        if (memcmp(leaf, f->leaf, sizeof leaf) != 0)
            return sq_fail(SQ_EAUDIT);
    }
    sq_err e = sq_frontier_add(&log->frontier, f->leaf, &nodes);
    if (!e)
        e = sq_log_tree_add(log, &nodes);
    if (!e && log->pending.n >= FLUSH_BYTES)
        e = sq_log_tree_flush(log); /* the same bytes again, or new ones behind them */
    if (!e && number == o->head.size) {
        uint8_t root[SQ_AUDIT_HASH_BYTES];
        e = sq_frontier_root(&log->frontier, root);
        if (!e && memcmp(root, o->head.root, sizeof root) != 0)
            e = sq_fail(SQ_EAUDIT);
    }
    return e;
}

static sq_err scan_segment(struct opening *o, struct sq_seg *seg, bool is_last, uint64_t *expected)
{
    if (!seg->is_header_good || (*expected && seg->first != *expected))
        return sq_fail(SQ_EAUDIT);
    *expected = seg->first;
    if (is_last)
        o->log->seg_first = seg->first;
    for (;;) {
        struct sq_frame f;
        struct sq_audit_entry x;
        sq_err e = sq_seg_next(seg, &f);
        if (e || f.status == SQ_FRAME_END)
            return e;
        if (f.status != SQ_FRAME_OK || memcmp(f.leaf, f.stored, sizeof f.leaf) != 0) {
            if (!is_last || is_acknowledged(o, *expected))
                return f.status == SQ_FRAME_CUT && is_last ? SQ_OK : sq_fail(SQ_EAUDIT); /* too short: found below */
            o->torn_at = f.at;
            return SQ_OK;
        }
        e = sq_audit_entry_decode(f.entry, &x);
        if (!e && x.number != *expected)
            e = sq_fail(SQ_EAUDIT);
        if (!e)
            e = scan_entry(o, &f, x.number);
        if (!e && is_last)
            e = sq_log_index_add(o->log, x.number, f.at);
        if (e)
            return e;
        ++*expected;
    }
}

/* A segment just begun when the crash came has no whole header yet: it is made again. */
static sq_err drop_unfinished_segment(struct opening *o)
{
    struct sq_seg seg;
    char name[SQ_SEG_NAME_BYTES];
    if (o->list.n == 0)
        return SQ_OK;
    uint32_t no = o->list.no[o->list.n - 1];
    sq_err e = sq_seg_open(o->log->log_fd, no, &seg);
    if (e)
        return e;
    bool is_unfinished = !seg.is_header_good && seg.n_bytes <= SQ_SEG_HEADER_BYTES;
    sq_seg_close(&seg);
    if (!is_unfinished)
        return SQ_OK;
    sq_seg_name(no, name);
    if (unlinkat(o->log->log_fd, name, 0) < 0)
        return sq_fail(SQ_EIO);
    o->list.n--;
    return SQ_OK;
}

static sq_err scan(struct opening *o)
{
    struct sq_audit *log = o->log;
    uint64_t expected = 0;
    sq_err e = sq_seg_list(log->log_fd, &o->list);
    if (!e)
        e = drop_unfinished_segment(o);
    for (size_t i = 0; !e && i < o->list.n; i++)
        if (o->list.no[i] != i + 1)
            e = sq_fail(SQ_EAUDIT); /* a segment is missing */
    size_t start = o->list.n;
    bool is_far_enough = start == 0;
    while (!e && !is_far_enough && start > 0) { /* back to the segment that holds the first entry we must see */
        struct sq_seg seg;
        e = sq_seg_open(log->log_fd, o->list.no[--start], &seg);
        if (e)
            break;
        is_far_enough = seg.is_header_good && seg.first >= 1 && seg.first <= log->frontier.size + 1;
        sq_seg_close(&seg);
    }
    if (!e && !is_far_enough) /* the log's first segment doesn't begin with entry 1 */
        e = sq_fail(SQ_EAUDIT);
    for (size_t i = start; !e && i < o->list.n; i++) {
        struct sq_seg seg;
        e = sq_seg_open(log->log_fd, o->list.no[i], &seg);
        if (e)
            break;
        bool is_last = i + 1 == o->list.n;
        e = scan_segment(o, &seg, is_last, &expected);
        log->seg_no = o->list.no[i];
        log->seg_end = o->torn_at ? o->torn_at : seg.at;
        o->how.n_torn_bytes = o->torn_at ? seg.n_bytes - o->torn_at : 0;
        sq_seg_close(&seg);
    }
    o->how.size = expected ? expected - 1 : 0;
    if (!e && (o->how.size < o->head.size || o->how.size < o->n_tree_leaf))
        e = sq_fail(SQ_EROLLBACK);
    return e;
}

/* ---- what opening changes, once everything has been seen to be right ---- */

static sq_err cut_torn(struct opening *o)
{
    struct sq_audit *log = o->log;
    uint8_t part[16384];
    char name[40];
    if (!o->torn_at)
        return SQ_OK;
    snprintf(name, sizeof name, "torn-%llu", (unsigned long long)(o->how.size + 1));
    int fd = openat(log->dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    sq_err e = fd < 0 ? sq_fail(sq_err_errno()) : SQ_OK;
    for (uint64_t at = o->torn_at; !e;) {
        size_t got = 0;
        e = sq_pread_full(log->seg_fd, part, sizeof part, (off_t)at, &got);
        if (!e && got)
            e = sq_write_all(fd, part, got);
        at += got;
        if (got < sizeof part)
            break;
    }
    if (!e)
        e = sq_fsync(fd);
    sq_close(&fd);
    if (e == SQ_EFULL) /* no room to keep them: they were never acknowledged, and a full disk must not stop erasure */
        e = SQ_OK;
    if (!e && ftruncate(log->seg_fd, (off_t)o->torn_at) < 0)
        e = sq_fail(SQ_EIO);
    return !e ? sq_fsync(log->seg_fd) : e;
}

static sq_err finish_tree(struct opening *o)
{
    struct sq_audit *log = o->log;
    sq_err e = sq_log_tree_flush(log);
    if (e == SQ_EFULL)
        return SQ_OK; /* what is missing waits in memory */
    if (!e && ftruncate(log->tree_fd, (off_t)(log->tree_written * SQ_AUDIT_HASH_BYTES)) < 0)
        e = sq_fail(SQ_EIO);
    if (!e)
        e = sq_fsync(log->tree_fd);
    if (e || !o->how.is_tree_rebuilt)
        return e;
    if (renameat(log->dir_fd, "tree", log->dir_fd, "tree.bad") < 0
        || renameat(log->dir_fd, "tree.new", log->dir_fd, "tree") < 0)
        return sq_fail(SQ_EIO);
    return SQ_OK;
}

static sq_err settle(struct opening *o)
{
    struct sq_audit *log = o->log;
    sq_err e = SQ_OK;
    if (o->list.n == 0) {
        e = sq_log_segment_new(log, 1, 1);
    } else {
        char name[SQ_SEG_NAME_BYTES];
        sq_seg_name(log->seg_no, name);
        log->seg_fd = openat(log->log_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
        e = log->seg_fd < 0 ? sq_fail(sq_err_errno()) : cut_torn(o);
        /* a process that died between write and sync may have left whole frames that are not on disk yet */
        if (!e)
            e = sq_fsync(log->seg_fd);
    }
    if (!e)
        e = finish_tree(o);
    if (!e && ftruncate(log->checkpoint_fd, (off_t)log->checkpoint_end) < 0) /* an unfinished note */
        e = sq_fail(SQ_EIO);
    if (!e)
        e = sq_fsync(log->dir_fd);
    if (!e)
        o->how.is_reserve_whole = sq_reserve_fill(&log->reserve) == SQ_OK;
    o->how.checkpoint_size = log->checkpoint_size;
    return e;
}

sq_err sq_audit_open(int dir_fd, const struct sq_audit_options *options, struct sq_audit **out_log,
                     struct sq_audit_opened *out_how)
{
    struct sq_audit *log = calloc(1, sizeof *log);
    struct opening o = {.log = log, .old_tree_fd = -1};
    if (!log)
        return sq_fail(SQ_ENOMEM);
    log->dir_fd = log->log_fd = log->seg_fd = log->tree_fd = log->checkpoint_fd = log->keys_fd = log->reserve.fd = -1;
    sq_buf_init(&log->pending, 0);
    sq_buf_init(&log->frames, 0);
    log->segment_bytes = options && options->segment_bytes ? options->segment_bytes : DEFAULT_BYTES;
    uint64_t reserve_bytes = options && options->reserve_bytes ? options->reserve_bytes : DEFAULT_BYTES;
    log->dir_fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    sq_err e = log->dir_fd < 0 ? sq_fail(sq_err_errno()) : sq_dir_open(log->dir_fd, "log", 0700, &log->log_fd);
    if (!e && flock(log->log_fd, LOCK_EX | LOCK_NB) < 0)
        e = sq_fail(SQ_ECONFLICT); /* two writers would interleave */
    if (!e)
        e = read_checkpoint(&o);
    if (!e && (log->keys_fd = openat(log->dir_fd, "keys", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600)) < 0)
        e = sq_fail(sq_err_errno());
    if (!e)
        e = begin_tree(&o);
    if (!e)
        e = scan(&o);
    if (!e)
        e = sq_reserve_open(log->dir_fd, reserve_bytes, &log->reserve);
    if (!e)
        e = settle(&o);
    sq_seg_list_done(&o.list);
    if (o.old_tree_fd >= 0 && o.old_tree_fd != log->tree_fd)
        close(o.old_tree_fd);
    if (e) {
        sq_audit_close(log);
        return e;
    }
    if (out_how)
        *out_how = o.how;
    *out_log = log;
    return SQ_OK;
}

void sq_audit_close(struct sq_audit *log)
{
    if (!log)
        return;
    sq_close(&log->seg_fd);
    sq_close(&log->tree_fd);
    sq_close(&log->checkpoint_fd);
    sq_close(&log->keys_fd);
    sq_reserve_close(&log->reserve);
    sq_close(&log->log_fd);
    sq_close(&log->dir_fd);
    sq_buf_done(&log->pending);
    sq_buf_done(&log->frames);
    free(log->index);
    free(log);
}
