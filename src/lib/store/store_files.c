#include "lib/store/store_internal.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

/* ---- the table of erase.def ---- */
static const struct {
    unsigned no;
    const char *word, *sentence;
} methods[] = {
#define SQ_ERASE(name, no, word, sentence) {no, word, sentence},
#include "lib/store/erase.def"
#undef SQ_ERASE
};

const char *sq_erase_word(unsigned method)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (methods[i].no == method)
            return methods[i].word;
    return NULL;
}

const char *sq_erase_sentence(unsigned method)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (methods[i].no == method)
            return methods[i].sentence;
    return NULL;
}

unsigned sq_erase_named(const char *word)
{
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (!strcmp(methods[i].word, word))
            return methods[i].no;
    return 0;
}

/* ---- the store ---- */
sq_err sq_store_open(int dir_fd, struct sq_store **out)
{
    struct sq_store *s = calloc(1, sizeof *s);
    if (!s)
        return sq_fail(SQ_ENOMEM);
    s->objects_fd = s->proc_fd = -1;
    pthread_rwlock_init(&s->owners, NULL);
    pthread_mutex_init(&s->known_lock, NULL);
    sq_err e = sq_dir_open(dir_fd, "objects", 0700, &s->objects_fd);
    if (e)
        goto out;
    int top = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top < 0) {
        e = sq_fail(sq_err_errno());
        goto out;
    }
    e = sq_fsync(top);
    close(top);
    if (e)
        goto out;
    s->proc_fd = open("/proc/self/fd", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (s->proc_fd < 0) {
        e = sq_fail(SQ_ESYS);
        goto out;
    }
    sq_store_mount_find(s->objects_fd, &s->mount);
    *out = s;
    s = NULL;
out:
    sq_store_close(s);
    return e;
}

void sq_store_close(struct sq_store *s)
{
    if (!s)
        return;
    sq_close(&s->objects_fd);
    sq_close(&s->proc_fd);
    pthread_rwlock_destroy(&s->owners);
    pthread_mutex_destroy(&s->known_lock);
    free(s);
}

sq_err sq_store_state(const struct sq_store *s, struct sq_store_state *out)
{
    struct statfs fs;
    if (fstatfs(s->objects_fd, &fs) < 0)
        return sq_fail(sq_err_errno());
    uint64_t block = (uint64_t)(fs.f_frsize ? fs.f_frsize : fs.f_bsize);
    *out = (struct sq_store_state){.free_bytes = fs.f_bavail * block,
                                   .total_bytes = fs.f_blocks * block,
                                   .overwrite_is_real = s->mount.overwrite_is_real,
                                   .why_not = s->mount.why_not};
    memcpy(out->filesystem, s->mount.filesystem, sizeof out->filesystem);
    return SQ_OK;
}

/* ---- names ---- */
static void path_of(const uint8_t *owner, const uint8_t *object, char out[2 * SQ_STORE_HEX_BYTES])
{
    sq_hex(owner, SQ_STORE_ID_BYTES, out);
    out[SQ_STORE_HEX_BYTES - 1] = '/';
    sq_hex(object, SQ_STORE_ID_BYTES, out + SQ_STORE_HEX_BYTES);
}

sq_err sq_store_reopen(const struct sq_store *s, int fd, int flags, int *out_fd)
{
    char name[16];
    snprintf(name, sizeof name, "%d", fd);
    int again = openat(s->proc_fd, name, flags | O_CLOEXEC); /* follows the kernel's own link, on purpose */
    if (again < 0)
        return sq_fail(sq_err_errno());
    *out_fd = again;
    return SQ_OK;
}

/* ---- owners whose directory is durable: most objects come to one that is there already, and a sync takes milliseconds ---- */

static unsigned known_at(const struct sq_store *s, const uint8_t *owner)
{
    unsigned i = 0;
    while (i < SQ_STORE_KNOWN && (!s->known[i].is_used || memcmp(s->known[i].owner, owner, SQ_STORE_ID_BYTES) != 0))
        i++;
    return i;
}

bool sq_store_is_known(struct sq_store *s, const uint8_t owner[SQ_STORE_ID_BYTES])
{
    pthread_mutex_lock(&s->known_lock);
    bool is_known = known_at(s, owner) < SQ_STORE_KNOWN;
    pthread_mutex_unlock(&s->known_lock);
    return is_known;
}

static void remember(struct sq_store *s, const uint8_t *owner)
{
    pthread_mutex_lock(&s->known_lock);
    if (known_at(s, owner) == SQ_STORE_KNOWN) {
        s->known[s->next_known].is_used = true;
        memcpy(s->known[s->next_known].owner, owner, SQ_STORE_ID_BYTES);
        s->next_known = (s->next_known + 1) % SQ_STORE_KNOWN;
    }
    pthread_mutex_unlock(&s->known_lock);
}

static void forget(struct sq_store *s, const uint8_t *owner)
{
    pthread_mutex_lock(&s->known_lock);
    unsigned i = known_at(s, owner);
    if (i < SQ_STORE_KNOWN)
        s->known[i].is_used = false;
    pthread_mutex_unlock(&s->known_lock);
}

static sq_err owner_dir(struct sq_store *s, const uint8_t *owner, bool may_make, int *out_fd)
{
    char name[SQ_STORE_HEX_BYTES];
    sq_hex(owner, SQ_STORE_ID_BYTES, name);
    if (may_make && mkdirat(s->objects_fd, name, 0700) == 0)
        forget(s, owner); /* whatever was there before */
    else if (may_make && errno != EEXIST)
        return sq_fail(sq_err_errno());
    return sq_open_beneath(s->objects_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, out_fd);
}

static sq_err open_object(const struct sq_store *s, const uint8_t *owner, const uint8_t *object, int flags, int *out_fd,
                          uint64_t *out_n_bytes)
{
    char path[2 * SQ_STORE_HEX_BYTES];
    path_of(owner, object, path);
    int fd = -1;
    sq_err e = sq_open_beneath(s->objects_fd, path, flags | O_NOFOLLOW | O_NONBLOCK, 0, &fd);
    if (e)
        return e;
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return sq_fail(SQ_EIO);
    }
    *out_fd = fd;
    *out_n_bytes = (uint64_t)st.st_size;
    return SQ_OK;
}

/* ---- create ---- */
sq_err sq_store_create(struct sq_store *s, const uint8_t owner[SQ_STORE_ID_BYTES],
                       const uint8_t object[SQ_STORE_ID_BYTES], int *out_fd)
{
    char name[SQ_STORE_HEX_BYTES];
    sq_hex(object, SQ_STORE_ID_BYTES, name);
    int dir = -1, fd = -1;
    pthread_rwlock_rdlock(&s->owners);
    sq_err e = owner_dir(s, owner, true, &dir);
    if (!e && faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        e = sq_fail(SQ_EEXISTS);
    if (!e)
        e = sq_open_beneath(dir, ".", O_TMPFILE | O_RDWR, 0600, &fd);
    pthread_rwlock_unlock(&s->owners);
    sq_close(&dir);
    if (!e)
        *out_fd = fd;
    return e;
}

sq_err sq_store_writer(struct sq_store *s, int fd, int *out_fd)
{
    return sq_store_reopen(s, fd, O_WRONLY | O_APPEND, out_fd);
}

static sq_err check_length(int fd, uint64_t n_bytes)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return sq_fail(sq_err_errno());
    if ((uint64_t)st.st_size == n_bytes)
        return SQ_OK;
    return sq_fail((uint64_t)st.st_size < n_bytes ? SQ_ETRUNCATED : SQ_ECONFLICT);
}

/* Both directories, unless the owner's is durable: it may have been made by this object, and a crash may have come before its own fsync. It isn't
 * removed meanwhile, for the object is in it. */
static sq_err sync_dirs(struct sq_store *s, const uint8_t *owner, int dir)
{
    sq_err e = sq_fault("store.sync");
    if (!e)
        e = sq_fsync(dir);
    if (e || sq_store_is_known(s, owner))
        return e;
    e = sq_fsync(s->objects_fd);
    if (!e)
        remember(s, owner);
    return e;
}

/* Is the file that has this name already the one that @fd is (a commit that failed after its linkat), or, with no fd,
 * one of the right length? */
static sq_err commit_again(struct sq_store *s, const uint8_t *owner, const uint8_t *object, int fd,
                           uint64_t n_bytes)
{
    int there = -1, dir = -1;
    uint64_t n_there = 0;
    sq_err e = open_object(s, owner, object, O_RDONLY, &there, &n_there);
    if (e)
        return e;
    struct stat a, b;
    if (fd >= 0 && (fstat(fd, &a) < 0 || fstat(there, &b) < 0 || a.st_ino != b.st_ino || a.st_dev != b.st_dev))
        e = sq_fail(SQ_ECONFLICT);
    if (!e)
        e = check_length(there, n_bytes);
    if (!e)
        e = sq_fsync(there);
    if (!e)
        e = owner_dir(s, owner, false, &dir);
    if (!e)
        e = sync_dirs(s, owner, dir);
    sq_close(&dir);
    sq_close(&there);
    return e;
}

sq_err sq_store_commit(struct sq_store *s, const uint8_t owner[SQ_STORE_ID_BYTES],
                       const uint8_t object[SQ_STORE_ID_BYTES], int fd, uint64_t n_bytes)
{
    if (fd < 0)
        return commit_again(s, owner, object, -1, n_bytes);
    sq_err e = check_length(fd, n_bytes);
    if (!e)
        e = sq_fsync(fd);
    if (!e)
        e = sq_fault("create.3a");
    if (e)
        return e;
    char from[16], to[SQ_STORE_HEX_BYTES];
    snprintf(from, sizeof from, "%d", fd);
    sq_hex(object, SQ_STORE_ID_BYTES, to);
    int dir = -1;
    /* linkat with AT_EMPTY_PATH would need CAP_DAC_READ_SEARCH, the link in /proc needs none. */
    pthread_rwlock_rdlock(&s->owners);
    e = owner_dir(s, owner, true, &dir);
    if (!e && linkat(s->proc_fd, from, dir, to, AT_SYMLINK_FOLLOW) < 0)
        e = errno == EEXIST ? SQ_EEXISTS : sq_fail(sq_err_errno());
    pthread_rwlock_unlock(&s->owners);
    if (e == SQ_EEXISTS)
        e = commit_again(s, owner, object, fd, n_bytes);
    if (!e)
        e = sq_fault("create.3b");
    if (!e)
        e = sync_dirs(s, owner, dir);
    sq_close(&dir);
    return e;
}

sq_err sq_store_reader(struct sq_store *s, const uint8_t owner[SQ_STORE_ID_BYTES],
                       const uint8_t object[SQ_STORE_ID_BYTES], int *out_fd, uint64_t *out_n_bytes)
{
    return open_object(s, owner, object, O_RDONLY, out_fd, out_n_bytes);
}

/* ---- erase ---- */

/* An owner without files leaves no directory behind: its name is a pseudonym. */
static void remove_empty_owner(struct sq_store *s, const uint8_t *owner)
{
    char name[SQ_STORE_HEX_BYTES];
    sq_hex(owner, SQ_STORE_ID_BYTES, name);
    pthread_rwlock_wrlock(&s->owners);
    forget(s, owner);
    bool is_removed = unlinkat(s->objects_fd, name, AT_REMOVEDIR) == 0;
    pthread_rwlock_unlock(&s->owners);
    if (is_removed && sq_fsync(s->objects_fd) != SQ_OK)
        return; /* an empty directory may come back after a power failure: harmless, removed at the next erasure */
}

static sq_err unlink_object(struct sq_store *s, const uint8_t *owner, const uint8_t *object, int fd)
{
    char name[SQ_STORE_HEX_BYTES];
    sq_hex(object, SQ_STORE_ID_BYTES, name);
    int dir = -1;
    sq_err e = owner_dir(s, owner, false, &dir);
    if (!e)
        e = sq_fault("store.unlink");
    if (!e && unlinkat(dir, name, 0) < 0 && errno != ENOENT)
        e = sq_fail(sq_err_errno());
    if (!e)
        e = sq_fault("destroy.4b");
    if (!e) {
        sq_store_release_blocks(fd);
        e = sq_fault("store.sync");
    }
    if (!e)
        e = sq_fsync(dir);
    sq_close(&dir);
    return e;
}

/* Not there: but an unlink before a crash may not be durable yet, so the directory is flushed before we say so. */
static sq_err already_gone(struct sq_store *s, const uint8_t *owner, struct sq_erased *out)
{
    int dir = -1;
    sq_err e = owner_dir(s, owner, false, &dir);
    if (!e)
        e = sq_fsync(dir);
    else if (e == SQ_ENOTFOUND)
        e = sq_fsync(s->objects_fd);
    sq_close(&dir);
    if (e)
        return e;
    *out = (struct sq_erased){.method = SQ_ERASE_already_gone, .is_verified = true};
    memcpy(out->filesystem, s->mount.filesystem, sizeof out->filesystem);
    return SQ_OK;
}

sq_err sq_store_erase(struct sq_store *s, const uint8_t owner[SQ_STORE_ID_BYTES],
                      const uint8_t object[SQ_STORE_ID_BYTES], struct sq_erased *out)
{
    int fd = -1;
    uint64_t n_bytes = 0;
    struct sq_erased how;
    sq_err e = open_object(s, owner, object, O_RDWR, &fd, &n_bytes);
    if (e == SQ_ENOTFOUND) {
        e = already_gone(s, owner, &how);
    } else if (!e) {
        e = sq_store_overwrite(s, fd, &how);
        if (!e)
            e = sq_fault("destroy.4a");
        if (!e)
            e = unlink_object(s, owner, object, fd);
    }
    sq_close(&fd);
    if (e)
        return sq_fail(SQ_EERASE);
    remove_empty_owner(s, owner);
    *out = how;
    return SQ_OK;
}

sq_err sq_store_erase_nameless(struct sq_store *s, int fd, struct sq_erased *out)
{
    struct sq_erased how;
    sq_err e = sq_store_overwrite(s, fd, &how);
    if (e)
        return sq_fail(SQ_EERASE);
    sq_store_release_blocks(fd);
    *out = how;
    return SQ_OK;
}

/* ---- list ---- */

/* The next name in @d that is an id, strictly: 32 digits, lower case. *out_at: the place before it. SQ_ENOTFOUND: the end. */
static sq_err next_id(DIR *d, uint8_t id[SQ_STORE_ID_BYTES], char name[SQ_STORE_HEX_BYTES], long *out_at)
{
    for (;;) {
        long at = telldir(d);
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (!entry)
            return errno ? sq_fail(sq_err_errno()) : SQ_ENOTFOUND;
        if (strspn(entry->d_name, "0123456789abcdef") == 2 * SQ_STORE_ID_BYTES && strlen(entry->d_name) == 2 * SQ_STORE_ID_BYTES &&
            sq_hex_decode(entry->d_name, 2 * SQ_STORE_ID_BYTES, id, SQ_STORE_ID_BYTES) == SQ_OK) {
            memcpy(name, entry->d_name, SQ_STORE_HEX_BYTES);
            if (out_at)
                *out_at = at;
            return SQ_OK;
        }
    }
}

/* @dir_fd is taken; *out NULL on failure */
static sq_err dir_stream(int dir_fd, uint64_t at, DIR **out)
{
    DIR *d = fdopendir(dir_fd);
    *out = d;
    if (!d) {
        close(dir_fd);
        return sq_fail(SQ_ENOMEM);
    }
    if (at)
        seekdir(d, (long)at);
    return SQ_OK;
}

/* The files of one owner from @place->object_at on. object_at becomes 0 at the end of that directory. */
static sq_err list_owner(int top_fd, const char *owner_name, struct sq_store_place *place, size_t max,
                         struct sq_store_file *out, size_t *n)
{
    int fd = -1;
    DIR *d;
    char name[SQ_STORE_HEX_BYTES];
    sq_err e = sq_open_beneath(top_fd, owner_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, &fd);
    if (!e)
        e = dir_stream(fd, place->object_at, &d);
    if (e == SQ_ENOTFOUND) { /* became empty and was removed */
        place->object_at = 0;
        return SQ_OK;
    }
    if (e)
        return e;
    while (!e && *n < max) {
        struct stat st;
        struct sq_store_file *f = &out[*n];
        e = next_id(d, f->object, name, NULL);
        if (!e && fstatat(dirfd(d), name, &st, AT_SYMLINK_NOFOLLOW) == 0) { /* else: erased meanwhile */
            memcpy(f->owner, place->owner, SQ_STORE_ID_BYTES);
            f->n_bytes = S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
            (*n)++;
        }
    }
    place->object_at = e == SQ_ENOTFOUND ? 0 : (uint64_t)telldir(d);
    closedir(d);
    return e == SQ_ENOTFOUND ? SQ_OK : e;
}

sq_err sq_store_list(struct sq_store *s, struct sq_store_place *place, size_t max, struct sq_store_file *out, size_t *out_n)
{
    sq_assert(max && max <= SQ_STORE_LIST_MAX);
    int top = -1;
    size_t n = 0;
    DIR *d;
    struct sq_store_place at = *place;
    sq_err e = sq_open_beneath(s->objects_fd, ".", O_RDONLY | O_DIRECTORY, 0, &top); /* its own place in the list */
    if (!e)
        e = dir_stream(top, at.owner_at, &d);
    if (e)
        return e;
    while (!e && n < max) {
        uint8_t owner[SQ_STORE_ID_BYTES];
        char name[SQ_STORE_HEX_BYTES];
        long before = 0;
        e = next_id(d, owner, name, &before);
        if (e)
            break;
        if (memcmp(owner, at.owner, SQ_STORE_ID_BYTES) != 0)
            at.object_at = 0; /* the owner that we were in is gone, this is the one behind him */
        memcpy(at.owner, owner, SQ_STORE_ID_BYTES);
        at.owner_at = (uint64_t)before;
        e = list_owner(dirfd(d), name, &at, max, out, &n);
        if (!e && !at.object_at) { /* done with this owner: the next page begins behind him */
            at.owner_at = (uint64_t)telldir(d);
            memset(at.owner, 0, sizeof at.owner);
        }
    }
    closedir(d);
    if (e && e != SQ_ENOTFOUND)
        return e;
    *place = at;
    *out_n = n;
    return SQ_OK;
}
