/*
 * Calls of one tile, a row a cycle: in memory, or in a file, where each row is a record with its own checksum, so that what was being
 * written when the process ended is known and dropped.
 */
#include "lib/demux/demux_internal.h"

#include "lib/core/file.h"
#include "lib/runs/call_kernels.h"

#include <fcntl.h>
#include <libdeflate.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define RECORD_MAGIC 0x31525153U /* SQR1 */
#define RECORD_HEAD 32U

sq_err tile_store_new(uint32_t n_cycle, struct tile_store **out)
{
    struct tile_store *t = calloc(1, sizeof *t);
    if (!t || !(t->row = calloc((size_t)n_cycle + 1, sizeof *t->row))) {
        free(t);
        return sq_fail(SQ_ENOMEM);
    }
    t->n_cycle = n_cycle;
    t->fd = -1;
    pthread_mutex_init(&t->lock, NULL);
    *out = t;
    return SQ_OK;
}

void tile_store_free(struct tile_store *t)
{
    if (!t)
        return;
    for (uint32_t i = 0; i < t->n_cycle; i++)
        free(t->row[i].room.p);
    free(t->row);
    sq_close(&t->fd);
    pthread_mutex_destroy(&t->lock);
    free(t);
}

static size_t row_bytes(uint8_t kind, uint32_t n_call)
{
    return kind == ROW_BYTES ? n_call : kind == ROW_NIBBLES ? ((size_t)n_call + 1) / 2
                                                            : 0;
}

static void head_put(const struct tile_row *r, uint32_t cycle0, uint32_t crc, uint8_t head[RECORD_HEAD])
{
    memset(head, 0, RECORD_HEAD);
    sq_put_le32(head, RECORD_MAGIC);
    sq_put_le32(head + 4, cycle0);
    sq_put_le32(head + 8, r->n_call);
    head[12] = r->kind;
    head[13] = r->is_all;
    memcpy(head + 14, r->quality, 4);
    sq_put_le32(head + 20, crc);
    sq_put_le32(head + 28, libdeflate_crc32(0, head, 28));
}

/* The rows of a file that was left by another process. What isn't whole ends the file. */
static sq_err rows_find(struct tile_store *t, uint64_t size)
{
    uint8_t head[RECORD_HEAD], *room = NULL;
    size_t cap = 0, got = 0;
    sq_err e = SQ_OK;
    while (!e && t->end + RECORD_HEAD <= size) {
        e = sq_pread_full(t->fd, head, sizeof head, (off_t)t->end, &got);
        uint32_t cycle0 = sq_get_le32(head + 4);
        struct tile_row r = {.kind = head[12], .is_all = head[13] != 0, .n_call = sq_get_le32(head + 8), .offset = t->end + RECORD_HEAD};
        memcpy(r.quality, head + 14, 4);
        size_t n = row_bytes(r.kind, r.n_call);
        if (e || got < sizeof head || sq_get_le32(head) != RECORD_MAGIC || sq_get_le32(head + 28) != libdeflate_crc32(0, head, 28) || cycle0 >= t->n_cycle ||
            r.kind == ROW_NONE || r.kind > ROW_NIBBLES || n > size - r.offset)
            break;
        if (n > cap) {
            uint8_t *more = realloc(room, n);
            if (!more) {
                e = sq_fail(SQ_ENOMEM);
                break;
            }
            room = more;
            cap = n;
        }
        if (n)
            e = sq_pread_full(t->fd, room, n, (off_t)r.offset, &got);
        if (e || (n && (got < n || libdeflate_crc32(0, room, n) != sq_get_le32(head + 20))))
            break;
        t->row[cycle0] = r;
        t->end = r.offset + n;
    }
    free(room);
    return e;
}

sq_err tile_store_open(int dir_fd, const char *name, bool may_create, uint32_t n_cycle, struct tile_store **out)
{
    struct tile_store *t;
    struct stat st;
    sq_err e = tile_store_new(n_cycle, &t);
    if (e)
        return e;
    t->fd = openat(dir_fd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | (may_create ? O_CREAT : 0), 0600);
    e = t->fd < 0 || fstat(t->fd, &st) ? sq_fail(sq_err_errno()) : rows_find(t, (uint64_t)st.st_size);
    if (!e && t->end < (uint64_t)st.st_size && ftruncate(t->fd, (off_t)t->end))
        e = sq_fail(sq_err_errno());
    if (e) {
        tile_store_free(t);
        return e;
    }
    *out = t;
    return SQ_OK;
}

/* Into nibbles, if it has at most three qualities. */
static bool pack(const uint8_t *call, uint32_t n, uint8_t quality[4], uint8_t *out)
{
    const struct sq_demux_kernels *k = sq_demux_kernels();
    unsigned n_quality = 0;
    memset(quality, 0, 4);
    for (size_t at = 0; at < n;) {
        at += k->pack(call + at, n - at, quality, out + at / 2);
        for (size_t i = at; i < n && i < at + 2; i++) { /* what stopped it is one of two */
            uint8_t q = call[i] >> 2;
            if (!call[i] || q == quality[1] || q == quality[2] || q == quality[3])
                continue;
            if (n_quality == 3)
                return false;
            quality[++n_quality] = q;
        }
    }
    return true;
}

void tile_store_empty(struct tile_store *t)
{
    sq_assert(t->fd < 0);
    for (uint32_t i = 0; i < t->n_cycle; i++)
        t->row[i] = (struct tile_row){.room = t->row[i].room};
}

sq_err tile_store_put(struct tile_store *t, uint32_t cycle0, enum row_kind kind, bool is_all, struct tile_room *call, uint32_t n, struct tile_room *scratch)
{
    sq_assert(cycle0 < t->n_cycle);
    struct tile_row r = {.kind = (uint8_t)kind, .is_all = is_all, .n_call = n, .room = t->row[cycle0].room};
    struct tile_room *from = call;
    if (kind == ROW_BYTES && pack(call->p, n, r.quality, scratch->p)) {
        r.kind = ROW_NIBBLES;
        from = scratch;
    }
    size_t bytes = row_bytes(r.kind, n);
    sq_err e = SQ_OK;
    if (t->fd < 0 && bytes) {
        struct tile_room mine = r.room;
        r.room = *from;
        *from = mine;
    } else if (t->fd >= 0) {
        uint8_t head[RECORD_HEAD];
        head_put(&r, cycle0, bytes ? libdeflate_crc32(0, from->p, bytes) : 0, head);
        pthread_mutex_lock(&t->lock);
        r.offset = t->end + RECORD_HEAD;
        e = sq_pwrite_all(t->fd, head, sizeof head, (off_t)t->end);
        if (!e && bytes)
            e = sq_pwrite_all(t->fd, from->p, bytes, (off_t)r.offset);
        if (!e)
            t->end = r.offset + bytes;
        pthread_mutex_unlock(&t->lock);
    }
    if (!e)
        t->row[cycle0] = r;
    return e;
}

sq_err tile_store_get(const struct tile_store *t, uint32_t cycle0, uint32_t from, uint32_t n, uint8_t *scratch, uint8_t *out)
{
    const struct tile_row *r = &t->row[cycle0];
    if (r->kind == ROW_MASKED || r->kind == ROW_NONE || !n) {
        memset(out, 0, n);
        return SQ_OK;
    }
    sq_assert((uint64_t)from + n <= r->n_call);
    size_t first = r->kind == ROW_BYTES ? from : from / 2, bytes = r->kind == ROW_BYTES ? n : (size_t)(from % 2 + n + 1) / 2, got = bytes;
    const uint8_t *p = t->fd < 0 ? r->room.p + first : scratch;
    if (t->fd >= 0) {
        sq_err e = sq_pread_full(t->fd, r->kind == ROW_BYTES ? out : scratch, bytes, (off_t)(r->offset + first), &got);
        if (e)
            return e;
        if (got < bytes)
            return sq_fail(SQ_EIO);
        if (r->kind == ROW_BYTES)
            return SQ_OK;
    }
    if (r->kind == ROW_BYTES) {
        memcpy(out, p, n);
        return SQ_OK;
    }
    uint8_t palette[16] = {0};
    for (unsigned i = 4; i < 16; i++) {
        const unsigned quality = r->quality[i >> 2];
        palette[i] = (uint8_t)(quality << 2 | (i & 3));
    }
    if (from % 2) { /* the high half of its first byte stands alone */
        out[0] = palette[p[0] >> 4];
        out++;
        p++;
        n--;
    }
    sq_call_kernels()->unpack(p, n, palette, out);
    return SQ_OK;
}
