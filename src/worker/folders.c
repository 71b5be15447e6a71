/*
 * The walls of a command that works on folders (`run check`, `run summary`, `demux`): Landlock says which files, the list of confine.c which
 * calls. Paths are resolved beneath the folder's descriptor (openat2 in core/file.c), so Landlock is the second wall, not the first. It by its
 * raw calls, as in lib/proc/landlock.c, which knows daemons' directories and no others.
 */
#include "worker/worker.h"

#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#define FS_REFER (1ULL << 13)

struct ruleset { /* struct landlock_ruleset_attr of ABI 6; older kernels are given its beginning */
    uint64_t fs, net, scoped;
};

static sq_err allow(int rules, int dir, uint64_t rights)
{
    struct landlock_path_beneath_attr beneath = {.allowed_access = rights, .parent_fd = dir};
    return dir < 0 || !syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH, &beneath, 0) ? SQ_OK : sq_fail(SQ_ESYS);
}

static sq_err restrict_files(int read_fd, int write_fd)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 2)
        return SQ_OK; /* a kernel without */
    const uint64_t look = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    struct ruleset all = {.fs = (FS_REFER << 1) - 1};
    if (abi >= 3)
        all.fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
    if (abi >= 4)
        all.net = 3; /* TCP bind and connect */
    if (abi >= 6)
        all.scoped = 3; /* signals and abstract sockets to the outside */
    uint64_t work = look | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_TRUNCATE | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |
                    LANDLOCK_ACCESS_FS_REMOVE_FILE | LANDLOCK_ACCESS_FS_REMOVE_DIR | FS_REFER;
    size_t size = abi >= 6 ? sizeof all : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
    int rules = (int)syscall(SYS_landlock_create_ruleset, &all, size, 0);
    if (rules < 0)
        return sq_fail(SQ_ESYS);
    sq_err e = allow(rules, read_fd, look);
    if (!e)
        e = allow(rules, write_fd, work & all.fs);
    if (!e && syscall(SYS_landlock_restrict_self, rules, 0))
        e = sq_fail(SQ_ESYS);
    close(rules);
    return e;
}

sq_err worker_confine_folders(int read_fd, int write_fd)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return sq_fail(SQ_ESYS);
    sq_err e = restrict_files(read_fd, write_fd);
    return e ? e : worker_confine_to(write_fd >= 0 ? WORKER_FOLDERS_WRITE : WORKER_FOLDERS_READ);
}
