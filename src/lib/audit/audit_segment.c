#include "lib/audit/audit_internal.h"

#include "lib/core/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reading what the segments, the checkpoints file and the reserve hold on disk. Writing entries is audit_log.c. */

#define SEG_BUFFER_BYTES (128U << 10)

static const uint8_t seg_magic[8] = {'S', 'Q', 'A', 'U', 'D', 'I', 'T', 1};

void sq_seg_name(uint32_t no, char out[SQ_SEG_NAME_BYTES])
{
    snprintf(out, SQ_SEG_NAME_BYTES, "%08u.seg", no % 100000000U);
}

void sq_seg_header(uint64_t first, uint8_t out[SQ_SEG_HEADER_BYTES])
{
    memcpy(out, seg_magic, sizeof seg_magic);
    sq_put_le64(out + 8, first);
}

sq_err sq_seg_open(int log_fd, uint32_t no, struct sq_seg *out)
{
    char name[SQ_SEG_NAME_BYTES];
    uint8_t header[SQ_SEG_HEADER_BYTES];
    size_t got = 0;
    struct stat st;
    struct sq_seg s = {.fd = -1};
    sq_seg_name(no, name);
    s.fd = openat(log_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (s.fd < 0)
        return sq_fail(sq_err_errno());
    sq_err e = fstat(s.fd, &st) < 0 ? sq_fail(SQ_EIO) : sq_pread_full(s.fd, header, sizeof header, 0, &got);
    if (!e && !(s.buf = malloc(SEG_BUFFER_BYTES)))
        e = sq_fail(SQ_ENOMEM);
    if (e) {
        sq_seg_close(&s);
        return e;
    }
    s.n_bytes = (uint64_t)st.st_size;
    s.at = SQ_SEG_HEADER_BYTES;
    s.is_header_good = got == sizeof header && memcmp(header, seg_magic, sizeof seg_magic) == 0;
    s.first = s.is_header_good ? sq_get_le64(header + 8) : 0;
    if (s.first == 0)
        s.is_header_good = false;
    *out = s;
    return SQ_OK;
}

void sq_seg_close(struct sq_seg *seg)
{
    sq_close(&seg->fd);
    free(seg->buf);
    seg->buf = NULL;
}

/* @n bytes at seg->at, through the buffer; the caller has checked that they exist */
static sq_err look(struct sq_seg *s, size_t n, const uint8_t **out)
{
    sq_assert(n <= SEG_BUFFER_BYTES);
    if (s->at < s->buf_at || s->at + n > s->buf_at + s->buf_n) {
        sq_err e = sq_pread_full(s->fd, s->buf, SEG_BUFFER_BYTES, (off_t)s->at, &s->buf_n);
        if (e)
            return e;
        s->buf_at = s->at;
        if (s->buf_n < n) /* it shrank under us */
            return sq_fail(SQ_EIO);
    }
    *out = s->buf + (s->at - s->buf_at);
    return SQ_OK;
}

sq_err sq_seg_next(struct sq_seg *seg, struct sq_frame *out)
{
    const uint8_t *p = NULL;
    *out = (struct sq_frame){.status = SQ_FRAME_END, .at = seg->at};
    if (seg->at >= seg->n_bytes)
        return SQ_OK;
    uint64_t left = seg->n_bytes - seg->at;
    out->status = SQ_FRAME_CUT;
    if (left < 4)
        return SQ_OK;
    sq_err e = look(seg, 4, &p);
    if (e)
        return e;
    uint32_t n = sq_get_le32(p);
    if (n < SQ_AUDIT_ENTRY_MIN_BYTES || n > SQ_AUDIT_ENTRY_MAX_BYTES) {
        out->status = SQ_FRAME_LENGTH;
        return SQ_OK;
    }
    size_t whole = 4 + (size_t)n + SQ_AUDIT_HASH_BYTES;
    if (left < whole)
        return SQ_OK;
    e = look(seg, whole, &p);
    if (e)
        return e;
    out->entry = sq_span_of(p + 4, n);
    memcpy(out->stored, p + 4 + n, SQ_AUDIT_HASH_BYTES);
    e = sq_audit_leaf_hash(out->entry, out->leaf);
    if (e)
        return e;
    out->status = SQ_FRAME_OK;
    seg->at += whole;
    return SQ_OK;
}

/* ---- which segments there are ---- */

static int by_number(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_seg_name(const char *name, uint32_t *out)
{
    uint32_t no = 0;
    for (int i = 0; i < 8; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        no = no * 10 + (uint32_t)(name[i] - '0');
    }
    *out = no;
    return no > 0 && strcmp(name + 8, ".seg") == 0;
}

sq_err sq_seg_list(int log_fd, struct sq_seg_list *out)
{
    struct sq_seg_list list = {0};
    size_t cap = 0;
    int fd = openat(log_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* own offset */
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    sq_err e = SQ_OK;
    if (!dir) {
        sq_close(&fd);
        return sq_fail(SQ_EIO);
    }
    for (;;) {
        errno = 0;
        struct dirent *d = readdir(dir);
        uint32_t no = 0;
        if (!d) {
            if (errno)
                e = sq_fail(SQ_EIO);
            break;
        }
        if (strlen(d->d_name) != 12 || !is_seg_name(d->d_name, &no))
            continue;
        if (list.n == cap) {
            cap = cap ? 2 * cap : 64;
            uint32_t *more = realloc(list.no, cap * sizeof *more);
            if (!more) {
                e = sq_fail(SQ_ENOMEM);
                break;
            }
            list.no = more;
        }
        list.no[list.n++] = no;
    }
    closedir(dir);
    if (e) {
        sq_seg_list_done(&list);
        return e;
    }
    if (list.n)
        qsort(list.no, list.n, sizeof *list.no, by_number);
    *out = list;
    return SQ_OK;
}

void sq_seg_list_done(struct sq_seg_list *list)
{
    free(list->no);
    *list = (struct sq_seg_list){0};
}

/* ---- reading entries in order ---- */

static sq_err walk_segment(struct sq_seg *seg, bool is_last, uint64_t from, uint64_t to, sq_audit_reader reader,
                           void *ctx, bool *out_done)
{
    for (;;) {
        struct sq_frame f;
        struct sq_audit_entry x;
        sq_err e = sq_seg_next(seg, &f);
        if (e || f.status == SQ_FRAME_END)
            return e;
        if (f.status == SQ_FRAME_CUT && is_last)
            return SQ_OK;
        if (f.status != SQ_FRAME_OK || memcmp(f.leaf, f.stored, sizeof f.leaf) != 0)
            return sq_fail(SQ_EAUDIT);
        e = sq_audit_entry_decode(f.entry, &x);
        if (e)
            return e;
        if (x.number > to) {
            *out_done = true;
            return SQ_OK;
        }
        if (x.number >= from)
            e = reader(ctx, &x, f.entry);
        if (e)
            return e;
    }
}

sq_err sq_audit_walk_from(int log_fd, uint64_t from, uint64_t to, struct sq_walk_hint hint, sq_audit_reader reader,
                          void *ctx)
{
    struct sq_seg_list list;
    bool is_done = false;
    sq_err e = sq_seg_list(log_fd, &list);
    if (e)
        return e;
    size_t start = 0;
    for (size_t i = list.n; i-- > 0;) { /* the last segment that begins at or before @from */
        struct sq_seg seg = {.fd = -1};
        if (hint.seg_no ? list.no[i] == hint.seg_no : i == 0) {
            start = i;
            break;
        }
        if (hint.seg_no)
            continue;
        e = sq_seg_open(log_fd, list.no[i], &seg);
        if (e)
            goto out;
        bool is_it = seg.is_header_good && seg.first <= from;
        sq_seg_close(&seg);
        if (is_it) {
            start = i;
            break;
        }
    }
    for (size_t i = start; !e && !is_done && i < list.n; i++) {
        struct sq_seg seg = {.fd = -1};
        e = sq_seg_open(log_fd, list.no[i], &seg);
        if (e)
            break;
        if (hint.at && list.no[i] == hint.seg_no)
            seg.at = hint.at;
        bool is_last = i + 1 == list.n;
        if (seg.is_header_good)
            e = walk_segment(&seg, is_last, from, to, reader, ctx, &is_done);
        else if (!is_last || seg.n_bytes >= SQ_SEG_HEADER_BYTES)
            e = sq_fail(SQ_EAUDIT);
        sq_seg_close(&seg);
    }
out:
    sq_seg_list_done(&list);
    return e;
}

sq_err sq_audit_walk(int dir_fd, uint64_t from, uint64_t n_max, sq_audit_reader reader, void *ctx)
{
    int log_fd = openat(dir_fd, "log", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (log_fd < 0)
        return sq_fail(sq_err_errno());
    uint64_t to = n_max == 0 || n_max - 1 > UINT64_MAX - from ? UINT64_MAX : from + n_max - 1;
    sq_err e = sq_audit_walk_from(log_fd, from, to, (struct sq_walk_hint){0}, reader, ctx);
    sq_close(&log_fd);
    return e;
}

static sq_err on_last(void *ctx, const struct sq_audit_entry *entry, struct sq_span bytes)
{
    (void)bytes;
    *(uint64_t *)ctx = entry->number;
    return SQ_OK;
}

sq_err sq_audit_walk_size(int dir_fd, uint64_t *out_size)
{
    struct sq_seg_list list = {0};
    uint64_t last = 0;
    int log_fd = openat(dir_fd, "log", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (log_fd < 0)
        return sq_fail(sq_err_errno());
    sq_err e = sq_seg_list(log_fd, &list);
    for (size_t i = list.n; !e && i-- > 0;) { /* the last segment with a header; a newer one may just be begun */
        struct sq_seg seg = {.fd = -1};
        e = sq_seg_open(log_fd, list.no[i], &seg);
        if (e)
            break;
        uint64_t first = seg.first;
        sq_seg_close(&seg);
        if (!first)
            continue;
        last = first - 1;
        e = sq_audit_walk_from(log_fd, first, UINT64_MAX, (struct sq_walk_hint){list.no[i], 0}, on_last, &last);
        break;
    }
    sq_seg_list_done(&list);
    sq_close(&log_fd);
    if (!e)
        *out_size = last;
    return e;
}
