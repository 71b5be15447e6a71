/*
 * crun or runc, started with fixed arguments: no shell, no PATH, an empty environment, nothing inherited but what is
 * listed. `run --detach` returns when the program in the sandbox has been started; it is then our child, because we are
 * the first process of our pid namespace.
 */
#include "daemon/jailer/jailer_internal.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_MS 20000 /* a loaded machine takes a second; 20 mean that something hangs */
#define LOG_SHOWN 400

/* Descriptor table of the runtime: /dev/null thrice, then @fds from 3 on, nothing else. */
static int map_fds(posix_spawn_file_actions_t *actions, const int *fds, size_t n_fd)
{
    int rc = posix_spawn_file_actions_addopen(actions, 0, "/dev/null", O_RDONLY, 0);
    if (!rc)
        rc = posix_spawn_file_actions_addopen(actions, 1, "/dev/null", O_WRONLY, 0);
    if (!rc) /* a worker's words could hold anything: they go nowhere */
        rc = posix_spawn_file_actions_addopen(actions, 2, "/dev/null", O_WRONLY, 0);
    for (size_t i = 0; !rc && i < n_fd; i++) /* all of @fds lie above the highest target: see keep_fds */
        rc = posix_spawn_file_actions_adddup2(actions, fds[i], SQ_STAGE_CONTROL_FD + (int)i);
    if (!rc)
        rc = posix_spawn_file_actions_addclosefrom_np(actions, SQ_STAGE_CONTROL_FD + (int)n_fd);
    return rc;
}

static int reset_signals(posix_spawnattr_t *attr)
{
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    int rc = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    if (!rc)
        rc = posix_spawnattr_setsigmask(attr, &none);
    if (!rc)
        rc = posix_spawnattr_setsigdefault(attr, &all);
    return rc;
}

static sq_err spawn(const char *program, char *const *args, const int *fds, size_t n_fd, pid_t *out_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    char *const no_environment[] = {NULL};
    if (posix_spawn_file_actions_init(&actions))
        return sq_fail(SQ_ENOMEM);
    if (posix_spawnattr_init(&attr)) {
        posix_spawn_file_actions_destroy(&actions);
        return sq_fail(SQ_ENOMEM);
    }
    sq_err e = SQ_OK;
    if (map_fds(&actions, fds, n_fd) || reset_signals(&attr) ||
        posix_spawn(out_pid, program, &actions, &attr, args, no_environment))
        e = sq_fail(SQ_ESANDBOX);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return e;
}

/* Waits for the runtime itself (not the sandbox); killed when it hangs. True when it ended with 0. */
static bool runtime_succeeded(pid_t pid)
{
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd >= 0) {
        struct pollfd p = {.fd = pidfd, .events = POLLIN};
        const int64_t until_ms = sq_clock_steady_ms() + START_MS;
        int64_t left_ms = START_MS;
        while (left_ms > 0 && poll(&p, 1, (int)left_ms) < 0 && errno == EINTR)
            left_ms = until_ms - sq_clock_steady_ms();
        if (!(p.revents & POLLIN))
            kill(pid, SIGKILL);
        close(pidfd);
    }
    int status = -1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return false;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/*
 * The operator needs the runtime's own words to mend a host that can't start containers. They are spoken before the
 * payload runs, about mounts and cgroups, so there is no data in them; control characters are taken out all the same.
 */
static void show_runtime_log(const char *path)
{
    struct sq_buf text;
    sq_buf_init(&text, 1 << 16);
    if (sq_file_read(AT_FDCWD, path, &text) == SQ_OK && text.n > 0) {
        size_t n = text.n > LOG_SHOWN ? LOG_SHOWN : text.n;
        for (size_t i = 0; i < n; i++)
            if (text.p[i] < 0x20 || text.p[i] > 0x7e)
                text.p[i] = ' ';
        fprintf(stderr, "role=jailer runtime says: %.*s\n", (int)n, (const char *)text.p);
    }
    sq_buf_done(&text);
}

static sq_err read_pid(const char *path, pid_t *out_pid)
{
    struct sq_buf text;
    sq_buf_init(&text, 32);
    sq_err e = sq_file_read(AT_FDCWD, path, &text);
    if (e == SQ_OK)
        e = sq_buf_add(&text, "", 1);
    if (e == SQ_OK) {
        long pid = strtol((const char *)text.p, NULL, 10);
        if (pid > 1 && pid < INT32_MAX)
            *out_pid = (pid_t)pid;
        else
            e = sq_fail(SQ_ESANDBOX);
    }
    sq_buf_done(&text);
    return e;
}

sq_err jail_runtime_start(const struct jail_ground *g, const char *id, const int *fds, size_t n_fd, pid_t *out_pid)
{
    char bundle[128], pid_file[128], log[128], preserve[32], name[JAIL_ID_CHARS], program[64];
    snprintf(bundle, sizeof bundle, JAIL_BUNDLE_DIR "/%s", id);
    snprintf(pid_file, sizeof pid_file, JAIL_BUNDLE_DIR "/%s/pid", id);
    snprintf(log, sizeof log, JAIL_BUNDLE_DIR "/%s/log", id);
    snprintf(preserve, sizeof preserve, "--preserve-fds=%zu", n_fd);
    snprintf(name, sizeof name, "%s", id);
    snprintf(program, sizeof program, "%s", g->runtime);
    char a_root[] = "--root", a_state[] = JAIL_STATE_DIR, a_log[] = "--log", a_run[] = "run", a_detach[] = "--detach",
         a_keyring[] = "--no-new-keyring", a_bundle[] = "--bundle", a_pid[] = "--pid-file", a_cgroups[] = "--cgroup-manager=disabled";
    char *args[] = {program, a_root,  a_state, a_log,    log,      a_run, a_detach, a_keyring,
                          a_bundle, bundle, a_pid,   pid_file, preserve, name,  NULL, NULL};
    if (g->is_crun && !g->has_cgroup) { /* runc does without by itself, when it is refused */
        memmove(&args[2], &args[1], sizeof args - 2 * sizeof args[0]);
        args[1] = a_cgroups;
    }
    pid_t runtime_pid;
    sq_err e = spawn(g->runtime, args, fds, n_fd, &runtime_pid);
    if (e != SQ_OK)
        return e;
    if (runtime_succeeded(runtime_pid) && read_pid(pid_file, out_pid) == SQ_OK)
        return SQ_OK;
    show_runtime_log(log);
    return sq_fail(SQ_ESANDBOX);
}

void jail_runtime_delete(const struct jail_ground *g, const char *id)
{
    char name[JAIL_ID_CHARS], program[64];
    snprintf(name, sizeof name, "%s", id);
    snprintf(program, sizeof program, "%s", g->runtime);
    char a_root[] = "--root", a_state[] = JAIL_STATE_DIR, a_log[] = "--log", a_null[] = "/dev/null", a_delete[] = "delete",
         a_force[] = "--force";
    char *const args[] = {program, a_root, a_state, a_log, a_null, a_delete, a_force, name, NULL};
    pid_t pid;
    if (spawn(g->runtime, args, NULL, 0, &pid) == SQ_OK)
        (void)runtime_succeeded(pid); /* fails when the start failed early: nothing to delete then */
    jail_cgroup_remove(g, id);
}
