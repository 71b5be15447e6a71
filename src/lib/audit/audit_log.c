#include "lib/audit/audit_log.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static sq_err sync_data(int fd)
{
    while (fdatasync(fd) < 0)
        if (errno != EINTR)
            return sq_fail(sq_err_errno());
    return SQ_OK;
}

uint64_t sq_audit_size(const struct sq_audit *log)
{
    return log->frontier.size;
}

/* ---- the tree file ---- */

sq_err sq_log_tree_add(struct sq_audit *log, const struct sq_tree_nodes *nodes)
{
    return sq_buf_add(&log->pending, nodes->hash, (size_t)nodes->n * SQ_AUDIT_HASH_BYTES);
}

sq_err sq_log_tree_flush(struct sq_audit *log)
{
    sq_err e = sq_pwrite_all(log->tree_fd, log->pending.p, log->pending.n,
                             (off_t)(log->tree_written * SQ_AUDIT_HASH_BYTES));
    if (e)
        return e;
    log->tree_written += log->pending.n / SQ_AUDIT_HASH_BYTES;
    log->pending.n = 0;
    return SQ_OK;
}

sq_err sq_log_tree_read(void *ctx, unsigned level, uint64_t index, uint8_t out[SQ_AUDIT_HASH_BYTES])
{
    struct sq_audit *log = ctx;
    uint64_t place = sq_tree_place(level, index);
    if (place >= log->tree_written) {
        uint64_t at = (place - log->tree_written) * SQ_AUDIT_HASH_BYTES;
        if (at + SQ_AUDIT_HASH_BYTES > log->pending.n)
            return sq_fail(SQ_ERANGE);
        memcpy(out, log->pending.p + at, SQ_AUDIT_HASH_BYTES);
        return SQ_OK;
    }
    size_t got = 0;
    sq_err e = sq_pread_full(log->tree_fd, out, SQ_AUDIT_HASH_BYTES, (off_t)(place * SQ_AUDIT_HASH_BYTES), &got);
    return !e && got != SQ_AUDIT_HASH_BYTES ? sq_fail(SQ_EIO) : e;
}

/* ---- segments ---- */

sq_err sq_log_index_add(struct sq_audit *log, uint64_t number, uint64_t at)
{
    uint64_t i = number - log->seg_first;
    if (i % SQ_AUDIT_INDEX_STEP)
        return SQ_OK;
    if (log->n_index == log->cap_index) {
        size_t cap = log->cap_index ? 2 * log->cap_index : 256;
        uint64_t *more = realloc(log->index, cap * sizeof *more);
        if (!more)
            return sq_fail(SQ_ENOMEM);
        log->index = more;
        log->cap_index = cap;
    }
    log->index[log->n_index++] = at;
    return SQ_OK;
}

sq_err sq_log_segment_new(struct sq_audit *log, uint32_t no, uint64_t first)
{
    char name[SQ_SEG_NAME_BYTES];
    uint8_t header[SQ_SEG_HEADER_BYTES];
    sq_seg_name(no, name);
    sq_seg_header(first, header);
    int fd = openat(log->log_fd, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return sq_fail(sq_err_errno());
    sq_err e = sq_pwrite_all(fd, header, sizeof header, 0);
    if (!e)
        e = sq_fsync(fd);
    if (!e)
        e = sq_fsync(log->log_fd);
    if (e) {
        unlinkat(log->log_fd, name, 0); /* it would be opened as an unfinished segment: the same thing */
        close(fd);
        return e;
    }
    sq_close(&log->seg_fd);
    log->seg_fd = fd;
    log->seg_no = no;
    log->seg_first = first;
    log->seg_end = sizeof header;
    log->n_index = 0;
    return SQ_OK;
}

/* ---- append ---- */

struct group { /* what an append is going to make true */
    bool is_erasure;
    struct sq_frontier frontier;
    struct sq_buf nodes;
    uint64_t *at; /* offset of each frame within the group */
};

static sq_err build_group(struct sq_audit *log, const struct sq_span *entries, size_t n, struct group *g)
{
    g->is_erasure = true;
    g->frontier = log->frontier;
    log->frames.n = 0;
    for (size_t i = 0; i < n; i++) {
        struct sq_audit_entry x;
        struct sq_tree_nodes nodes;
        uint8_t length[4], leaf[SQ_AUDIT_HASH_BYTES];
        if (sq_audit_entry_decode(entries[i], &x) || x.number != log->frontier.size + 1 + i)
            return sq_fail(SQ_ERANGE);
        if (sq_audit_event_class(x.event) != SQ_AUDIT_ERASURE)
            g->is_erasure = false;
        g->at[i] = log->frames.n;
        sq_put_le32(length, entries[i].n);
        sq_err e = sq_audit_leaf_hash(entries[i], leaf);
        if (!e)
            e = sq_frontier_add(&g->frontier, leaf, &nodes);
        if (!e)
            e = sq_buf_add(&g->nodes, nodes.hash, (size_t)nodes.n * SQ_AUDIT_HASH_BYTES);
        if (!e)
            e = sq_buf_add(&log->frames, length, sizeof length);
        if (!e)
            e = sq_buf_add(&log->frames, entries[i].p, entries[i].n);
        if (!e)
            e = sq_buf_add(&log->frames, leaf, sizeof leaf);
        if (e)
            return e;
    }
    return SQ_OK;
}

/* One try: on failure the segment ends where it did, or the log is broken. */
static sq_err write_frames(struct sq_audit *log)
{
    sq_err e = sq_fault("audit.write");
    if (!e)
        e = sq_pwrite_all(log->seg_fd, log->frames.p, log->frames.n, (off_t)log->seg_end);
    if (e) {
        if (ftruncate(log->seg_fd, (off_t)log->seg_end) < 0)
            log->is_broken = true;
        return e;
    }
    e = sq_fault("audit.sync");
    if (!e)
        e = sync_data(log->seg_fd);
    if (e) {
        /* The kernel may have dropped the pages and report success the next time: stop until reopened. What may or may not
         * be on the disk is cut off, so that whoever reopens writes it anew and never takes it for durable. */
        int cut = ftruncate(log->seg_fd, (off_t)log->seg_end);
        (void)cut; /* if that fails too, it is found whole at open, or cut there */
        log->is_broken = true;
    }
    return e;
}

bool sq_audit_is_broken(const struct sq_audit *log)
{
    return log->is_broken;
}

static sq_err write_group(struct sq_audit *log, const struct group *g)
{
    if (!g->is_erasure && sq_reserve_fill(&log->reserve))
        return sq_fail(SQ_ELOG); /* what was freed belongs to erasure */
    if (log->seg_end >= log->segment_bytes) {
        sq_err e = sq_log_segment_new(log, log->seg_no + 1, log->frontier.size + 1);
        if (e && e != SQ_EFULL) /* on a full disk the old segment just grows on */
            return e;
    }
    for (;;) {
        sq_err e = write_frames(log);
        if (!e || log->is_broken || e != SQ_EFULL || !g->is_erasure)
            return e;
        if (sq_reserve_release(&log->reserve, SQ_AUDIT_SLICE_BYTES))
            return e;
    }
}

static sq_err append(struct sq_audit *log, const struct sq_span *entries, size_t n, bool is_owed)
{
    if (n == 0)
        return SQ_OK;
    if (n > SQ_AUDIT_GROUP_MAX)
        return sq_fail(SQ_ERANGE);
    if (log->is_broken)
        return sq_fail(SQ_ELOG);
    uint64_t at[SQ_AUDIT_GROUP_MAX];
    struct group g = {.at = at};
    sq_buf_init(&g.nodes, 0);
    sq_err e = build_group(log, entries, n, &g);
    g.is_erasure = g.is_erasure || is_owed;
    if (!e)
        e = sq_buf_reserve(&log->pending, g.nodes.n);
    if (e)
        goto out;
    if (write_group(log, &g)) {
        e = sq_fail(SQ_ELOG);
        goto out;
    }
    /* durable from here: nothing below may turn this into a failure */
    for (size_t i = 0; i < n; i++)
        if (sq_log_index_add(log, log->frontier.size + 1 + i, log->seg_end + at[i]))
            log->is_broken = true; /* out of memory: this group counts, the next waits for a restart */
    log->seg_end += log->frames.n;
    log->frontier = g.frontier;
    sq_err kept = sq_buf_add(&log->pending, g.nodes.p, g.nodes.n); /* room was made above */
    sq_assert(kept == SQ_OK);
    sq_err tree = sq_fault("audit.tree");
    if (!tree)
        tree = sq_log_tree_flush(log);
    if (tree == SQ_EFULL && g.is_erasure && sq_reserve_release(&log->reserve, SQ_AUDIT_SLICE_BYTES) == SQ_OK)
        tree = sq_log_tree_flush(log);
    (void)tree; /* a tree that lags is made up for by the next append, or at open */
out:
    sq_buf_done(&g.nodes);
    return e;
}

sq_err sq_audit_append(struct sq_audit *log, const struct sq_span *entries, size_t n)
{
    return append(log, entries, n, false);
}

sq_err sq_audit_append_owed(struct sq_audit *log, const struct sq_span *entries, size_t n)
{
    return append(log, entries, n, true);
}

sq_err sq_audit_reserve_fill(struct sq_audit *log)
{
    return sq_reserve_fill(&log->reserve);
}

sq_err sq_audit_reserve_release(struct sq_audit *log, uint64_t n_bytes)
{
    return sq_reserve_release(&log->reserve, n_bytes);
}

/* ---- roots and proofs ---- */

sq_err sq_audit_root(struct sq_audit *log, uint8_t out[SQ_AUDIT_HASH_BYTES])
{
    return sq_frontier_root(&log->frontier, out);
}

sq_err sq_audit_root_at(struct sq_audit *log, uint64_t size, uint8_t out[SQ_AUDIT_HASH_BYTES])
{
    if (size > log->frontier.size)
        return sq_fail(SQ_ERANGE);
    if (size == log->frontier.size)
        return sq_frontier_root(&log->frontier, out);
    if (size == 0)
        return sq_audit_root_empty(out);
    return sq_tree_range(sq_log_tree_read, log, 0, size, out);
}

sq_err sq_audit_consistency(struct sq_audit *log, uint64_t old_size, uint64_t new_size, struct sq_audit_proof *out)
{
    if (old_size > new_size || new_size > log->frontier.size)
        return sq_fail(SQ_ERANGE);
    return sq_tree_consistency(sq_log_tree_read, log, old_size, new_size, out);
}

sq_err sq_audit_inclusion(struct sq_audit *log, uint64_t number, uint64_t size, struct sq_audit_proof *out)
{
    if (number == 0 || number > size || size > log->frontier.size)
        return sq_fail(SQ_ERANGE);
    return sq_tree_inclusion(sq_log_tree_read, log, number - 1, size, out);
}

/* ---- checkpoints ---- */

sq_err sq_audit_checkpoint_add(struct sq_audit *log, const char *note, size_t n)
{
    struct sq_note_head h;
    uint8_t root[SQ_AUDIT_HASH_BYTES];
    if (log->is_broken)
        return sq_fail(SQ_ELOG);
    sq_err e = sq_note_head_read(note, n, &h);
    if (e)
        return e;
    if (h.size < log->checkpoint_size || h.size > log->frontier.size)
        return sq_fail(SQ_ERANGE);
    e = sq_audit_root_at(log, h.size, root);
    if (e)
        return e;
    if (memcmp(root, h.root, sizeof root) != 0)
        return sq_fail(SQ_EAUDIT);
    if (h.size == log->checkpoint_size && log->checkpoint_end)
        return SQ_OK;
    struct sq_buf record;
    sq_buf_init(&record, SQ_NOTE_MAX_BYTES + 1);
    e = sq_buf_add(&record, note, n);
    if (!e)
        e = sq_buf_add(&record, "\n", 1);
    /* recovery trusts the tree file up to the last checkpoint, so it must be on disk before */
    if (!e)
        e = sq_log_tree_flush(log);
    if (!e)
        e = sync_data(log->tree_fd);
    if (!e)
        e = sq_fault("audit.checkpoint");
    if (!e)
        e = sq_pwrite_all(log->checkpoint_fd, record.p, record.n, (off_t)log->checkpoint_end);
    if (!e)
        e = sync_data(log->checkpoint_fd);
    if (!e) {
        log->checkpoint_end += record.n;
        log->checkpoint_size = h.size;
    } else if (ftruncate(log->checkpoint_fd, (off_t)log->checkpoint_end) < 0) {
        log->is_broken = true;
    }
    sq_buf_done(&record);
    return e;
}

sq_err sq_audit_checkpoint_last(struct sq_audit *log, struct sq_buf *out)
{
    uint64_t end = 0;
    if (log->checkpoint_end == 0)
        return sq_fail(SQ_ENOTFOUND);
    return sq_checkpoint_tail(log->checkpoint_fd, out, &end);
}

sq_err sq_audit_keys_set(struct sq_audit *log, const char *changes, size_t n)
{
    struct sq_buf have;
    sq_buf_init(&have, SQ_KEY_CHANGES_MAX_BYTES);
    sq_err e = sq_audit_keys(log, &have);
    bool is_same = !e && have.n == n && (!n || memcmp(have.p, changes, n) == 0);
    sq_buf_done(&have);
    if (is_same)
        return SQ_OK;
    /* cut short, a note is half there, and counts for nothing until the next start writes it again */
    e = n ? sq_pwrite_all(log->keys_fd, changes, n, 0) : SQ_OK;
    if (!e && ftruncate(log->keys_fd, (off_t)n) < 0)
        e = sq_fail(SQ_EIO);
    return e ? e : sync_data(log->keys_fd);
}

sq_err sq_audit_keys(struct sq_audit *log, struct sq_buf *out)
{
    uint8_t *text = malloc(SQ_KEY_CHANGES_MAX_BYTES);
    size_t got = 0;
    sq_err e = text ? sq_pread_full(log->keys_fd, text, SQ_KEY_CHANGES_MAX_BYTES, 0, &got) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = sq_buf_add(out, text, got);
    free(text);
    return e;
}

/* ---- reading ---- */

sq_err sq_audit_read(struct sq_audit *log, uint64_t from, uint64_t n_max, sq_audit_reader reader, void *ctx)
{
    uint64_t size = log->frontier.size;
    if (from == 0 || from > size)
        return SQ_OK;
    uint64_t to = n_max && n_max - 1 < size - from ? from + n_max - 1 : size;
    struct sq_walk_hint hint = {0};
    if (from >= log->seg_first && log->n_index) {
        uint64_t i = (from - log->seg_first) / SQ_AUDIT_INDEX_STEP;
        hint.seg_no = log->seg_no;
        hint.at = log->index[i < log->n_index ? i : log->n_index - 1];
    }
    return sq_audit_walk_from(log->log_fd, from, to, hint, reader, ctx);
}
