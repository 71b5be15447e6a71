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
#include <stddef.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define WORKER_MAX_BYTES (64U << 20)
#define COPY_BYTES 65536

static sq_err ground_failed(const char *what)
{
    sq_log(SQ_LOG_failed, SQ_LW("what", what), SQ_LW("code", sq_err_name(SQ_ESANDBOX)), SQ_LN("errno", errno));
    return sq_fail(SQ_ESANDBOX);
}

static sq_err ground_failed_for(struct jail_ground *g, enum sq_loss loss, const char *what)
{
    g->losses |= sq_loss_bit(loss);
    return ground_failed(what);
}

/* Two jailers on one state directory would take each other's cgroups for leftovers. */
static sq_err take_state_dir(struct jail_ground *g, const char *delegated)
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
    int n = snprintf(g->cgroup, sizeof g->cgroup, "%s/sequester-%llx-%llx", delegated, (unsigned long long)st.st_dev,
                     (unsigned long long)st.st_ino);
    if (n < 0 || (size_t)n >= sizeof g->cgroup)
        return ground_failed("cgroup_path_too_long");
    return SQ_OK;
}

/*
 * Blocks of host ids that no other instance on this host uses. The lock is a name of the abstract kind: it needs no
 * directory that all instances share, and ends with its last holder, however that dies.
 */
static void take_ids(struct jail_ground *g)
{
    g->first_host_id = JAIL_FIRST_HOST_ID;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* held open as long as we live */
    for (unsigned i = 0; fd >= 0 && i < JAIL_MAX_INSTANCES; i++) {
        struct sockaddr_un name = {.sun_family = AF_UNIX};
        int n = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "sequester-sandbox-ids-%u", i);
        const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
        if (!bind(fd, (struct sockaddr *)&name, size)) {
            g->first_host_id += i * JAIL_MAX_SANDBOX * JAIL_IDS_PER_SANDBOX;
            return;
        }
    }
    sq_close(&fd);
    g->losses |= sq_loss_bit(SQ_LOSS_ids_not_locked);
}

/* What an ordinary user's sandboxes go without, here. */
static void count_losses(struct jail_ground *g)
{
    if (!g->runtime)
        g->losses |= sq_loss_bit(SQ_LOSS_runtime_missing);
    if (!g->is_user)
        return;
    g->losses |= sq_loss_bit(SQ_LOSS_one_id) | sq_loss_bit(SQ_LOSS_devices_by_absence);
    if (!g->has_cgroup)
        g->losses |= sq_loss_bit(SQ_LOSS_memory_is_watched) | sq_loss_bit(SQ_LOSS_processors_not_shared) |
                     sq_loss_bit(g->is_nproc_own ? SQ_LOSS_processes_are_counted : SQ_LOSS_processes_are_not_counted);
}

/*
 * crun refuses hosts where cgroup v1 controllers stand beside a v2 tree in /sys/fs/cgroup/unified. In our namespace that
 * tree isn't there; an empty tmpfs lies on its place, because the runtime takes each folder there for a controller.
 */
static sq_err hide_unified(const struct jail_ground *g)
{
    struct statfs fs;
    if (g->is_cgroup2 || statfs("/sys/fs/cgroup/unified", &fs) || fs.f_type != CGROUP2_SUPER_MAGIC)
        return SQ_OK;
    /* what the host mounted is locked in a user namespace: there it is covered, which is as good */
    if (!g->is_user && umount2("/sys/fs/cgroup/unified", MNT_DETACH))
        return ground_failed("cgroup_unified");
    if (mount("tmpfs", "/sys/fs/cgroup/unified", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755,size=1m"))
        return ground_failed("cgroup_unified");
    return SQ_OK;
}

static sq_err private_mounts(struct jail_ground *g)
{
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
        return ground_failed("mount_private");
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL)) /* of our own pid namespace */
        return ground_failed_for(g, SQ_LOSS_proc_is_covered, "mount_proc");
    struct statfs fs;
    const bool has_tree = !statfs("/sys/fs/cgroup", &fs);
    if (!has_tree && !g->is_user)
        return ground_failed("cgroup_missing");
    g->is_cgroup2 = has_tree && fs.f_type == CGROUP2_SUPER_MAGIC;
    sq_err e = hide_unified(g);
    if (e != SQ_OK)
        return e;
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
}

sq_err jail_ground_make(struct jail_ground *g, const char *runtime_setting, const char *delegated, int worker_fd)
{
    choose_runtime(g, runtime_setting ? runtime_setting : "auto");
    long n_cpu = sysconf(_SC_NPROCESSORS_ONLN);
    g->n_cpu = n_cpu > 0 ? (unsigned)n_cpu : 1;
    g->has_cgroup = !g->is_user || delegated[0];
    g->is_nproc_own = !g->is_user || jail_user_has_own_nproc();
    if (!g->is_user)
        take_ids(g);
    count_losses(g);
    sq_err e = take_state_dir(g, delegated);
    if (e == SQ_OK)
        e = private_mounts(g);
    if (e == SQ_OK)
        e = make_root(worker_fd, !g->is_crun);
    if (e == SQ_OK && g->has_cgroup)
        jail_cgroup_sweep(g);
    return e;
}
