#include "lib/db/db_internal.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file of preallocated blocks beside the database, as the audit log has one beside its segments: on a full disk it is cut
 * slice by slice, so that an erasure can still be written down. Who holds it sees to it that only erasures use what it frees. */

struct sq_db_reserve {
    int fd;
    uint64_t have_bytes, want_bytes;
};

sq_err sq_db_reserve_open(const char *path, uint64_t want_bytes, struct sq_db_reserve **out)
{
    struct sq_db_reserve *r = calloc(1, sizeof *r);
    struct stat st;
    if (!r)
        return sq_fail(SQ_ENOMEM);
    r->want_bytes = want_bytes;
    r->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (r->fd < 0 || fstat(r->fd, &st) < 0) {
        sq_err e = sq_err_errno();
        sq_db_reserve_close(r);
        return sq_fail(e);
    }
    /* a sparse file of the right size would reserve nothing: count blocks, not length */
    uint64_t n_block_bytes = (uint64_t)st.st_blocks * 512;
    r->have_bytes = (uint64_t)st.st_size < n_block_bytes ? (uint64_t)st.st_size : n_block_bytes;
    *out = r;
    return SQ_OK;
}

void sq_db_reserve_close(struct sq_db_reserve *r)
{
    if (!r)
        return;
    sq_close(&r->fd);
    free(r);
}

sq_err sq_db_reserve_fill(struct sq_db_reserve *r)
{
    if (r->have_bytes >= r->want_bytes)
        return SQ_OK;
    sq_err e = sq_fault("db.reserve");
    int err = e ? 0 : posix_fallocate(r->fd, 0, (off_t)r->want_bytes);
    if (err) {
        errno = err;
        e = sq_err_errno();
        if (ftruncate(r->fd, (off_t)r->have_bytes) < 0) /* give back what was got on the way */
            return sq_fail(SQ_EIO);
    }
    if (e)
        return sq_fail(e);
    r->have_bytes = r->want_bytes;
    return SQ_OK;
}

sq_err sq_db_reserve_release(struct sq_db_reserve *r, uint64_t n_bytes)
{
    if (!r->have_bytes)
        return sq_fail(SQ_EFULL);
    uint64_t left = n_bytes < r->have_bytes ? r->have_bytes - n_bytes : 0;
    if (ftruncate(r->fd, (off_t)left) < 0)
        return sq_fail(SQ_EIO);
    r->have_bytes = left;
    return SQ_OK;
}
