#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

sq_err sq_err_errno(void)
{
    switch (errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return SQ_EFULL;
    case ENOENT:
        return SQ_ENOTFOUND;
    case ENOMEM:
        return SQ_ENOMEM;
    case EEXIST:
        return SQ_EEXISTS;
    default:
        return SQ_EIO;
    }
}

sq_err sq_write_all(int fd, const void *p, size_t n)
{
    const uint8_t *b = p;
    while (n) {
        ssize_t w = write(fd, b, n);
        if (w < 0) {
            if (errno == EINTR)
                continue;
            return sq_fail(sq_err_errno());
        }
        b += w;
        n -= (size_t)w;
    }
    return SQ_OK;
}

sq_err sq_pwrite_all(int fd, const void *p, size_t n, off_t at)
{
    const uint8_t *b = p;
    while (n) {
        ssize_t w = pwrite(fd, b, n, at);
        if (w < 0) {
            if (errno == EINTR)
                continue;
            return sq_fail(sq_err_errno());
        }
        b += w;
        at += w;
        n -= (size_t)w;
    }
    return SQ_OK;
}

sq_err sq_read_full(int fd, void *p, size_t n, size_t *out_n)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = read(fd, (uint8_t *)p + got, n - got);
        if (r < 0) {
            if (errno == EINTR)
                continue;
            return sq_fail(sq_err_errno());
        }
        if (r == 0)
            break;
        got += (size_t)r;
    }
    *out_n = got;
    return SQ_OK;
}

sq_err sq_pread_full(int fd, void *p, size_t n, off_t at, size_t *out_n)
{
    size_t got = 0;
    while (got < n) {
        ssize_t r = pread(fd, (uint8_t *)p + got, n - got, at + (off_t)got);
        if (r < 0) {
            if (errno == EINTR)
                continue;
            return sq_fail(sq_err_errno());
        }
        if (r == 0)
            break;
        got += (size_t)r;
    }
    *out_n = got;
    return SQ_OK;
}

sq_err sq_file_read(int dir_fd, const char *path, struct sq_buf *out)
{
    int fd = openat(dir_fd, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sq_fail(sq_err_errno());
    sq_err e = SQ_OK;
    for (;;) {
        uint8_t part[16384];
        size_t got = 0;
        e = sq_read_full(fd, part, sizeof part, &got);
        if (!e && got)
            e = sq_buf_add(out, part, got);
        sq_wipe(part, got);
        if (e || got < sizeof part)
            break;
    }
    close(fd);
    return e;
}

sq_err sq_file_write(int dir_fd, const char *name, const void *p, size_t n, mode_t mode)
{
    char temp[300];
    if ((size_t)snprintf(temp, sizeof temp, "%s.new", name) >= sizeof temp)
        return sq_fail(SQ_ERANGE);
    int fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return sq_fail(sq_err_errno());
    sq_err e = sq_write_all(fd, p, n);
    if (!e && fchmod(fd, mode) < 0)
        e = sq_fail(SQ_EIO);
    if (!e)
        e = sq_fsync(fd);
    close(fd);
    if (!e && renameat(dir_fd, temp, dir_fd, name) < 0)
        e = sq_fail(sq_err_errno());
    if (e) {
        unlinkat(dir_fd, temp, 0);
        return e;
    }
    int dir = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return sq_fail(sq_err_errno());
    e = sq_fsync(dir);
    close(dir);
    return e;
}

sq_err sq_open_beneath(int dir_fd, const char *path, int flags, mode_t mode, int *out_fd)
{
    struct open_how how = {
        .flags = (unsigned)flags | (unsigned)O_CLOEXEC,
        .mode = (flags & (O_CREAT | O_TMPFILE)) ? mode : 0,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS,
    };
    long fd = syscall(SYS_openat2, dir_fd, path, &how, sizeof how);
    if (fd < 0)
        return sq_fail(sq_err_errno());
    *out_fd = (int)fd;
    return SQ_OK;
}

sq_err sq_dir_open(int dir_fd, const char *name, mode_t mode, int *out_fd)
{
    if (mkdirat(dir_fd, name, mode) < 0 && errno != EEXIST)
        return sq_fail(sq_err_errno());
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return sq_fail(sq_err_errno());
    *out_fd = fd;
    return SQ_OK;
}

sq_err sq_fsync(int fd)
{
    while (fsync(fd) < 0)
        if (errno != EINTR)
            return sq_fail(sq_err_errno());
    return SQ_OK;
}

void sq_close(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void *map_file(const char *name, size_t n)
{
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;
    bool is_good = fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode);
    if (is_good && st.st_size != (off_t)n)
        is_good = !ftruncate(fd, 0); /* of another version */
    /* every byte has its place on the disk before we write to it: a full disk must not end us */
    int err = is_good ? posix_fallocate(fd, 0, (off_t)n) : errno;
    void *p = is_good && !err ? mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (p == MAP_FAILED && err)
        errno = err;
    err = errno;
    sq_close(&fd);
    errno = err;
    return p;
}

void *sq_file_map(const char *name, size_t n, bool *out_is_kept)
{
    void *p = map_file(name, n);
    int err = errno;
    *out_is_kept = p != MAP_FAILED;
    if (p == MAP_FAILED)
        p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    errno = err;
    return p == MAP_FAILED ? NULL : p;
}
