#include "lib/audit/audit_internal.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file of preallocated blocks. On a full disk it is cut slice by slice, and only erasure may use what that frees:
 * routine appends are refused until the file could be made whole again. A file rather than blocks behind the end of
 * the segment, because an erasure also writes the tree and the database. */

sq_err sq_reserve_open(int dir_fd, uint64_t want_bytes, struct sq_reserve *out)
{
    struct sq_reserve r = {.fd = -1, .want_bytes = want_bytes};
    struct stat st;
    r.fd = openat(dir_fd, "reserve", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (r.fd < 0)
        return sq_fail(sq_err_errno());
    if (fstat(r.fd, &st) < 0) {
        sq_reserve_close(&r);
        return sq_fail(SQ_EIO);
    }
    /* a sparse file of the right size would reserve nothing: count blocks, not length */
    uint64_t n_block_bytes = (uint64_t)st.st_blocks * 512;
    r.have_bytes = (uint64_t)st.st_size < n_block_bytes ? (uint64_t)st.st_size : n_block_bytes;
    if (r.have_bytes > want_bytes && ftruncate(r.fd, (off_t)want_bytes) == 0)
        r.have_bytes = want_bytes;
    *out = r;
    return SQ_OK;
}

sq_err sq_reserve_fill(struct sq_reserve *r)
{
    if (r->have_bytes >= r->want_bytes)
        return SQ_OK;
    sq_err e = sq_fault("audit.reserve");
    if (e)
        return e;
    int err = posix_fallocate(r->fd, 0, (off_t)r->want_bytes);
    if (err) {
        errno = err;
        e = sq_err_errno();
        if (ftruncate(r->fd, (off_t)r->have_bytes) < 0) /* give back what was got on the way */
            return sq_fail(SQ_EIO);
        return sq_fail(e);
    }
    r->have_bytes = r->want_bytes;
    return SQ_OK;
}

sq_err sq_reserve_release(struct sq_reserve *r, uint64_t n_bytes)
{
    if (r->have_bytes == 0)
        return sq_fail(SQ_EFULL);
    uint64_t left = n_bytes < r->have_bytes ? r->have_bytes - n_bytes : 0;
    if (ftruncate(r->fd, (off_t)left) < 0)
        return sq_fail(SQ_EIO);
    r->have_bytes = left;
    return SQ_OK;
}

void sq_reserve_close(struct sq_reserve *r)
{
    sq_close(&r->fd);
}
