/*
 * The ground that sandboxes stand on, made once in a mount namespace of our own: nothing of it is on a disk, nobody else
 * sees it, and it is gone with our last process.
 */
#include "daemon/jailer/jailer_internal.h"

#include "lib/core/file.h"
#include "lib/core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#define WORKER_MAX_BYTES (64U << 20)
#define COPY_BYTES 65536

static sq_err ground_failed(const char *what)
{
    sq_log(SQ_LOG_failed, SQ_LW("what", what), SQ_LW("code", sq_err_name(SQ_ESANDBOX)), SQ_LN("errno", errno));
    return sq_fail(SQ_ESANDBOX);
}

/* Two jailers on one state directory would take each other's cgroups for leftovers. */
static sq_err take_state_dir(struct jail_ground *g)
{
    int fd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); /* held open, and so locked, as long as we live */
    struct stat st;
    if (fd < 0 || fstat(fd, &st))
        return ground_failed("state_dir");
    const struct timespec moment = {.tv_nsec = 50000000};
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB); i++) { /* a killed predecessor may need a moment to die */
        if (errno != EWOULDBLOCK || i == 100)
            return ground_failed("state_dir_in_use");
        nanosleep(&moment, NULL);
    }
    snprintf(g->cgroup, sizeof g->cgroup, "/sequester-%llx-%llx", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    return SQ_OK;
}

/*
 * crun refuses hosts where cgroup v1 controllers stand beside a v2 tree in /sys/fs/cgroup/unified. In our namespace that
 * tree isn't there; an empty tmpfs lies on its place, because the runtime takes each folder there for a controller.
 */
static sq_err private_mounts(struct jail_ground *g)
{
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return ground_failed("mount_private");
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL)) /* of our own pid namespace */
        return ground_failed("mount_proc");
    struct statfs fs;
    if (statfs("/sys/fs/cgroup", &fs))
        return ground_failed("cgroup_missing");
    g->is_cgroup2 = fs.f_type == CGROUP2_SUPER_MAGIC;
    if (!g->is_cgroup2 && !umount2("/sys/fs/cgroup/unified", MNT_DETACH) &&
        mount("tmpfs", "/sys/fs/cgroup/unified", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=1m"))
        return ground_failed("cgroup_unified");
    if (mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0711,size=16m"))
        return ground_failed("mount_tmp");
    if (mkdir(JAIL_STATE_DIR, 0700) || mkdir(JAIL_BUNDLE_DIR, 0711) || chmod(JAIL_BUNDLE_DIR, 0711) || mkdir(JAIL_ROOT_DIR, 0755))
        return ground_failed("mkdir");
    return SQ_OK;
}

/* Copy, then compare byte by byte what the two hold: what sandboxes run is what parent opened. */
static sq_err copy_program(int from, int to)
{
    static uint8_t a[COPY_BYTES], b[COPY_BYTES];
    size_t n_a, n_b;
    off_t at = 0;
    sq_err e;
    do {
        if ((e = sq_pread_full(from, a, sizeof a, at, &n_a)) != SQ_OK || (e = sq_pwrite_all(to, a, n_a, at)) != SQ_OK)
            return e;
        at += (off_t)n_a;
    } while (n_a == sizeof a && at < (off_t)WORKER_MAX_BYTES);
    const off_t end = at;
    for (at = 0; at <= end; at += (off_t)sizeof a) {
        if ((e = sq_pread_full(from, a, sizeof a, at, &n_a)) != SQ_OK || (e = sq_pread_full(to, b, sizeof b, at, &n_b)) != SQ_OK)
            return e;
        if (n_a != n_b || memcmp(a, b, n_a) != 0)
            return sq_fail(SQ_ETAMPERED);
    }
    return end > 0 && end < (off_t)WORKER_MAX_BYTES ? SQ_OK : sq_fail(SQ_ECONFIG);
}

/* The root of every sandbox: one program, and an empty folder for the runtime's /dev (runc: /proc). Read-only for us too. */
static sq_err make_root(int worker_fd, bool has_proc)
{
    if (mount("tmpfs", JAIL_ROOT_DIR, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64m"))
        return ground_failed("mount_root");
    int fd = open(JAIL_ROOT_DIR "/worker", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
    if (fd < 0)
        return ground_failed("create_worker");
    sq_err e = copy_program(worker_fd, fd);
    if (e == SQ_OK && fchmod(fd, 0555))
        e = sq_fail(SQ_ESYS);
    close(fd);
    if (e != SQ_OK)
        return ground_failed("copy_worker");
    if (has_proc && (mkdir(JAIL_ROOT_DIR "/proc", 0755) || chmod(JAIL_ROOT_DIR "/proc", 0555)))
        return ground_failed("mkdir_proc");
    if (mkdir(JAIL_ROOT_DIR "/dev", 0755) || chmod(JAIL_ROOT_DIR "/dev", 0555) || chmod(JAIL_ROOT_DIR, 0555) ||
        mount(NULL, JAIL_ROOT_DIR, NULL, MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV, NULL))
        return ground_failed("seal_root");
    return SQ_OK;
}

static void choose_runtime(struct jail_ground *g, const char *setting)
{
    static const struct {
        const char *name, *path;
    } known[] = {{"crun", "/usr/bin/crun"}, {"crun", "/usr/local/bin/crun"}, {"runc", "/usr/sbin/runc"},
                 {"runc", "/usr/bin/runc"}, {"runc", "/usr/local/sbin/runc"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if ((!strcmp(setting, "auto") || !strcmp(setting, known[i].name)) && access(known[i].path, X_OK) == 0) {
            g->runtime = known[i].path;
            g->runtime_name = known[i].name;
            g->is_crun = !strcmp(known[i].name, "crun");
            return;
        }
    sq_log(SQ_LOG_not_held, SQ_LW("promise", "sandbox"), SQ_LW("reason", "neither_crun_nor_runc_is_installed"));
}

sq_err jail_ground_make(struct jail_ground *g, const char *runtime_setting, int worker_fd)
{
    choose_runtime(g, runtime_setting ? runtime_setting : "auto");
    long n_cpu = sysconf(_SC_NPROCESSORS_ONLN);
    g->n_cpu = n_cpu > 0 ? (unsigned)n_cpu : 1;
    sq_err e = take_state_dir(g);
    if (e == SQ_OK)
        e = private_mounts(g);
    if (e == SQ_OK)
        e = make_root(worker_fd, !g->is_crun);
    if (e == SQ_OK)
        jail_cgroup_sweep(g);
    return e;
}
