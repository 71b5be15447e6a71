/*
 * Landlock by its three raw system calls: the C library has none of them, and Debian's headers know only the first rights. What this
 * kernel has is asked at run time. Each ABI is handled as far as it goes: everything that it can restrict is restricted, then
 * given back where a flag says so.
 *
 *     ABI 1  5.13  files; a file can't be linked into another directory by anyone      treated as no Landlock
 *     ABI 2  5.19  refer                                                               Debian 12
 *     ABI 3  6.2   truncate
 *     ABI 4  6.7   TCP bind and connect
 *     ABI 5  6.10  ioctl on devices
 *     ABI 6  6.12  signals and abstract sockets to the outside
 */
#include "lib/proc/landlock.h"

#include "lib/proc/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* the rights by their bit, as later headers name them */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif
#ifndef LANDLOCK_ACCESS_NET_BIND_TCP
#define LANDLOCK_ACCESS_NET_BIND_TCP (1ULL << 0)
#define LANDLOCK_ACCESS_NET_CONNECT_TCP (1ULL << 1)
#endif
#ifndef LANDLOCK_SCOPE_SIGNAL
#define LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET (1ULL << 0)
#define LANDLOCK_SCOPE_SIGNAL (1ULL << 1)
#endif

#define FS_ABI_2 ((LANDLOCK_ACCESS_FS_REFER << 1) - 1) /* every right of files up to refer */

/* struct landlock_ruleset_attr of ABI 6; older kernels are given its beginning */
struct ruleset {
    uint64_t fs;
    uint64_t net;
    uint64_t scoped;
};

int sq_landlock_abi(void)
{
    static int abi = -1;
    if (abi < 0) {
        long answer = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
        abi = answer < 2 ? 0 : (int)answer;
    }
    return abi;
}

static struct ruleset all_of(int abi)
{
    struct ruleset r = {.fs = FS_ABI_2};
    if (abi >= 3)
        r.fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
    if (abi >= 4)
        r.net = LANDLOCK_ACCESS_NET_BIND_TCP | LANDLOCK_ACCESS_NET_CONNECT_TCP;
    if (abi >= 5)
        r.fs |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
    if (abi >= 6)
        r.scoped = LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL;
    return r;
}

static size_t size_for(int abi)
{
    return abi >= 6 ? sizeof(struct ruleset) : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

/* @path and all below it. A path that isn't there needs no right. */
static sq_err allow_below(int rules, const char *path, uint64_t rights)
{
    int at = open(path, O_PATH | O_CLOEXEC);
    if (at < 0)
        return errno == ENOENT ? SQ_OK : sq_fail(SQ_ESYS);
    struct landlock_path_beneath_attr beneath = {.allowed_access = rights, .parent_fd = at};
    long rc = syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0);
    close(at);
    return rc ? sq_fail(SQ_ESYS) : SQ_OK;
}

static sq_err allow_files(int rules, unsigned flags, const struct ruleset *all)
{
    static const char *const read_by[] = {".", "/etc", "/run/systemd/resolve"}; /* resolv.conf may be a link to the last */
    const uint64_t look = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    const uint64_t work = look | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE | LANDLOCK_ACCESS_FS_MAKE_REG |
                          LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR |
                          LANDLOCK_ACCESS_FS_REFER;
    sq_err e = SQ_OK;
    if (flags & SQ_CONFINE_OWN_FILES)
        e = allow_below(rules, ".", work & all->fs);
    if (flags & SQ_CONFINE_READ)
        for (size_t i = 0; !e && i < sizeof read_by / sizeof read_by[0]; i++)
            e = allow_below(rules, read_by[i], look);
    return e;
}

sq_err sq_landlock_restrict(unsigned flags, int *out_abi)
{
    int abi = sq_landlock_abi();
    struct ruleset all = all_of(abi);
    if (flags & SQ_CONFINE_DENY)
        all.fs = 0; /* below any rule of files the kernel refuses mount, and a container can't be made without */
    if (flags & SQ_CONFINE_NET)
        all.net &= ~LANDLOCK_ACCESS_NET_CONNECT_TCP;
    if (flags & SQ_CONFINE_MORTAL)
        all.scoped &= ~LANDLOCK_SCOPE_SIGNAL;
    *out_abi = 0;
    if (!abi || flags & SQ_CONFINE_NO_LANDLOCK || !(all.fs | all.net | all.scoped))
        return SQ_OK;
    int rules = (int)syscall(SYS_landlock_create_ruleset, &all, size_for(abi), 0);
    if (rules < 0)
        return sq_fail(SQ_ESYS);
    sq_err e = all.fs ? allow_files(rules, flags, &all) : SQ_OK;
    if (!e && syscall(SYS_landlock_restrict_self, rules, 0))
        e = sq_fail(SQ_ESYS);
    close(rules);
    if (!e)
        *out_abi = abi;
    return e;
}
