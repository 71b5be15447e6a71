/*
 * Without root. A user namespace makes us root over nothing but ourselves: enough for the mounts, pid and network namespaces
 * that a sandbox stands on, and without a single right on the host. In it there is one id, ours.
 */
#include "daemon/jailer/jailer_internal.h"

#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

static bool write_line(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool is_ok = fd >= 0 && sq_write_all(fd, text, strlen(text)) == SQ_OK;
    sq_close(&fd);
    return is_ok;
}

/* Our one id becomes 0 in there. A process that isn't dumpable doesn't own its /proc files: for these three lines it is. */
static bool map_one_id(uid_t uid, gid_t gid)
{
    char uid_map[32], gid_map[32];
    snprintf(uid_map, sizeof uid_map, "0 %u 1", (unsigned)uid);
    snprintf(gid_map, sizeof gid_map, "0 %u 1", (unsigned)gid);
    bool is_ok = !prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) && write_line("/proc/self/setgroups", "deny") &&
                 write_line("/proc/self/uid_map", uid_map) && write_line("/proc/self/gid_map", gid_map);
    return !prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) && is_ok;
}

enum sq_loss jail_user_enter(void)
{
    const uid_t uid = geteuid();
    const gid_t gid = getegid();
    if (unshare(CLONE_NEWUSER))
        return SQ_LOSS_user_namespaces_off;
    if (!map_one_id(uid, gid))
        return SQ_LOSS_user_namespaces_off;
    /* Ubuntu's AppArmor lets everyone make such a namespace, and takes every right in it away: the next step shows it */
    if (unshare(CLONE_NEWNS | CLONE_NEWPID))
        return SQ_LOSS_user_namespace_without_rights;
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return SQ_LOSS_user_namespace_without_rights;
    return SQ_LOSS_none;
}

bool jail_user_has_own_nproc(void)
{
    struct utsname name;
    unsigned major = 0, minor = 0;
    return !uname(&name) && sscanf(name.release, "%u.%u", &major, &minor) == 2 && (major > 5 || (major == 5 && minor >= 14));
}

sq_err jail_user_limit_threads(pid_t pid, unsigned n_proc)
{
    const struct rlimit limit = {n_proc, n_proc};
    return prlimit(pid, RLIMIT_NPROC, &limit, NULL) ? sq_fail(SQ_ESANDBOX) : SQ_OK;
}
