/* Files of the commands without a server: what comes in, and what is written whole or not at all. */
#include "worker/local.h"

#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct hint {
    sq_err e;
    const char *field, *text, *hint;
} hints[] = {
#define SQ_LOCAL_HINT(code, field, text, hint) {SQ_##code, field, text, hint},
#include "worker/local_hints.def"
#undef SQ_LOCAL_HINT
};

/* The row of @e, of @field before the one of any. NULL: err.def's words will do. */
static const struct hint *hint_of(sq_err e, const char *field)
{
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++)
        if (hints[i].e == e && (!*hints[i].field || !strcmp(hints[i].field, field)))
            return &hints[i];
    return NULL;
}

const char *local_text(sq_err e)
{
    const struct hint *h = hint_of(e, "");
    return h && *h->text ? h->text : sq_err_text(e);
}

const char *local_hint(sq_err e)
{
    const struct hint *h = hint_of(e, "");
    return h ? h->hint : sq_err_hint(e);
}

int local_say_error(const char *where, sq_err e, const struct sq_why *why)
{
    const struct hint *h = hint_of(e, why ? why->field : "");
    fprintf(stderr, "sequester: %s: %s", where, h && *h->text ? h->text : sq_err_text(e));
    if (why && why->detail[0])
        fprintf(stderr, ": %s", why->detail);
    if (why && why->line)
        fprintf(stderr, " (line %llu", (unsigned long long)why->line);
    if (why && why->line && why->column)
        fprintf(stderr, ", column %u", why->column);
    if (why && why->line && why->field[0])
        fprintf(stderr, ", %s", why->field);
    fprintf(stderr, "%s\n  %s\n", why && why->line ? ")" : "", h ? h->hint : sq_err_hint(e));
    return 1;
}

int local_cannot_open(const char *path)
{
    int no = errno;
    fprintf(stderr, "sequester: %s can't be opened: %s\n  %s\n", path, strerror(no),
            no == EACCES ? "ask its owner to let you read it" : no == EISDIR ? "name a file in it"
                                                                             : "check the path");
    return 1;
}

int local_check_run_folder(const char *path, int dir)
{
    if (!faccessat(dir, "RunInfo.xml", F_OK, 0))
        return 0;
    fprintf(stderr, "sequester: %s has no RunInfo.xml: is this the folder of a run?\n  give the folder that the instrument made, the one that holds RunInfo.xml and Data\n", path);
    return 1;
}

static int cannot_write(const char *path, const char *why)
{
    fprintf(stderr, "sequester: %s can't be written: %s\n  name a place that is there and where you may write\n", path, why);
    return 1;
}

int local_cannot_write(const char *path)
{
    return cannot_write(path, strerror(errno));
}

static int check_place(const char *path)
{
    char copy[4096];
    struct stat st;
    const char *why = NULL;
    if ((size_t)snprintf(copy, sizeof copy, "%s", path) >= sizeof copy)
        why = strerror(ENAMETOOLONG);
    else if (!stat(path, &st) && !S_ISREG(st.st_mode))
        why = S_ISDIR(st.st_mode) ? strerror(EISDIR) : "it is no ordinary file";
    else if (access(dirname(copy), W_OK | X_OK))
        why = strerror(errno);
    return why ? cannot_write(path, why) : 0;
}

static bool is_same_inode(const char *a, const char *b)
{
    struct stat x, y;
    return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* One file by two names, or one that isn't there yet: the same name in the same folder. */
static bool is_same(const char *a, const char *b)
{
    char dir[2][4096], name[2][4096];
    if (!a || !b || !strcmp(a, b) || is_same_inode(a, b))
        return a && b;
    snprintf(dir[0], sizeof dir[0], "%s", a);
    snprintf(dir[1], sizeof dir[1], "%s", b);
    memcpy(name, dir, sizeof name);
    return !strcmp(basename(name[0]), basename(name[1])) && is_same_inode(dirname(dir[0]), dirname(dir[1]));
}

int local_check_outputs(const struct local *l, const char *const *out, size_t n_out, const char *const *in, size_t n_in)
{
    for (size_t i = 0; i < n_out; i++) {
        for (size_t k = 0; k < n_in; k++)
            if (is_same(out[i], in[k]))
                return local_misused(l, "%s is read: what is written needs another name", out[i]);
        for (size_t k = 0; k < i; k++)
            if (is_same(out[i], out[k]))
                return local_misused(l, "%s is named for two files that are written", out[i]);
        if (out[i] && check_place(out[i]))
            return 1;
    }
    return 0;
}

int local_memory(const char *name)
{
    int fd = memfd_create(name, MFD_CLOEXEC);
    return fd < 0 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, LOCAL_HIGH_FD);
}

int local_open_input(const char *path)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is_dir = fd >= 0 && !fstat(fd, &st) && S_ISDIR(st.st_mode);
    int high = fd < 0 || is_dir ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, LOCAL_HIGH_FD);
    if (fd >= 0)
        sq_close(&fd);
    if (is_dir)
        errno = EISDIR;
    return high;
}

static sq_err append(int from, int to)
{
    static uint8_t part[1 << 18];
    if (lseek(from, 0, SEEK_SET) < 0)
        return sq_fail(SQ_EIO);
    for (;;) {
        size_t got = 0;
        sq_err e = sq_read_full(from, part, sizeof part, &got);
        if (!e)
            e = sq_write_all(to, part, got);
        if (e || got < sizeof part)
            return e;
    }
}

sq_err local_new_open(const char *path, struct local_new *out)
{
    char dir[4096];
    *out = (struct local_new){.path = path, .fd = -1};
    if ((size_t)snprintf(out->part, sizeof out->part, "%s.part", path) >= sizeof out->part)
        return sq_fail(SQ_ERANGE);
    snprintf(dir, sizeof dir, "%s", path);
    if (!access("/proc/self/fd", X_OK))
        out->fd = open(dirname(dir), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
    out->has_name = out->fd < 0;
    if (out->has_name)
        out->fd = open(out->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    return out->fd < 0 ? sq_fail(sq_err_errno()) : SQ_OK;
}

sq_err local_new_close(struct local_new *f, sq_err e)
{
    char proc[40];
    if (!e)
        e = sq_fsync(f->fd);
    if (!e && !f->has_name) { /* linking doesn't replace: by way of .part, and what an older work may have left under that name goes */
        snprintf(proc, sizeof proc, "/proc/self/fd/%d", f->fd);
        unlink(f->part);
        f->has_name = !linkat(AT_FDCWD, proc, AT_FDCWD, f->part, AT_SYMLINK_FOLLOW);
        if (!f->has_name)
            e = sq_fail(sq_err_errno());
    }
    if (!e && rename(f->part, f->path))
        e = sq_fail(sq_err_errno());
    if (e && f->has_name)
        unlink(f->part);
    sq_close(&f->fd);
    return e;
}

/* Write @n pieces to @path so that either the whole file is there or nothing new. */
sq_err local_write_file(const char *path, const int *piece, size_t n)
{
    struct local_new f;
    sq_err e = local_new_open(path, &f);
    if (e)
        return e;
    for (size_t i = 0; i < n && !e; i++)
        e = append(piece[i], f.fd);
    return local_new_close(&f, e);
}

/* Where a large body lies until its header is known: an unnamed file beside the result, else memory. */
int local_body_file(const char *out)
{
    char copy[4096];
    int fd = -1;
    if ((size_t)snprintf(copy, sizeof copy, "%s", out) < sizeof copy)
        fd = open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return local_memory("body");
    int high = fcntl(fd, F_DUPFD_CLOEXEC, LOCAL_HIGH_FD);
    close(fd);
    return high;
}
