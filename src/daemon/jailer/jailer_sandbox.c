/*
 * The life of one sandbox, told by one thread: move into a fresh network, write the bundle, start the runtime, wait for
 * the end or the clock, count, clean up, report. Handlers only check what runner asked and find the right entry.
 */
#include "daemon/jailer/jailer_internal.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LOWEST_KEPT_FD 64 /* descriptors wait here, above every number that they get in the sandbox */
#define LARGE_FACTOR 4
#define END_ALL_S 3
#define LOOK_MS 20 /* between two looks at a sandbox's memory, where no cgroup bounds it */
#define USER_NICE 5

enum phase { FREE = 0, STARTING, RUNNING, REFUSED };

/* how a sandbox ended, as in messages.def */
enum how { ENDED_BY_EXIT = 0, ENDED_BY_SIGNAL = 1, ENDED_BY_MEMORY = 2, ENDED_BY_TIME = 3 };

struct sandbox {
    enum phase phase;
    struct jailer *jailer;
    uint8_t task_id[SQ_ID_BYTES];
    char id[JAIL_ID_CHARS];
    const struct sq_stage_row *row;
    struct jail_limits limits;
    int fd[JAIL_MAX_FDS];
    size_t n_fd;
    unsigned block;
    int pidfd; /* -1 until RUNNING */
    pid_t pid;
    int64_t started_ms;
    bool is_killed; /* by order, also before it runs */
    bool is_greedy; /* killed because it held more memory than its limit */
    uint64_t peak_kib;
    bool is_told;   /* runner has the answer to its START: only now may `exited` follow */
    bool is_orphan; /* that runner is gone; the next one doesn't know this task */
};

/* One lock over the table: held for look-ups and signals, never while waiting. */
static struct sandbox table[JAIL_MAX_SANDBOX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned n_busy; /* runtimes at work: children of ours that the table doesn't show */

static struct sandbox *find(const uint8_t *task_id)
{
    for (size_t i = 0; i < JAIL_MAX_SANDBOX; i++)
        if (table[i].phase != FREE && !memcmp(table[i].task_id, task_id, SQ_ID_BYTES))
            return &table[i];
    return NULL;
}

/* The first process of a pid namespace: nothing in it outlives this signal. */
static void kill_locked(struct sandbox *s)
{
    s->is_killed = true;
    if (s->pidfd >= 0)
        (void)syscall(SYS_pidfd_send_signal, s->pidfd, SIGKILL, NULL, 0);
}

/*
 * We are the first process of our pid namespace, so what a runtime leaves behind becomes our child (crun leaves one ended
 * process a start). It is told from a sandbox by not being in the table, which is sure only while no runtime is at work;
 * whoever ends last comes by here.
 */
static void reap_orphans_locked(void)
{
    siginfo_t info;
    for (;;) {
        memset(&info, 0, sizeof info);
        if (n_busy || waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) || info.si_pid <= 0)
            return;
        for (size_t i = 0; i < JAIL_MAX_SANDBOX; i++)
            if (table[i].phase != FREE && table[i].pid == info.si_pid)
                return; /* its own thread is about to fetch it */
        if (waitpid(info.si_pid, NULL, WNOHANG) <= 0)
            return;
    }
}

static void set_busy(bool is_busy)
{
    pthread_mutex_lock(&lock);
    n_busy = is_busy ? n_busy + 1 : n_busy - 1;
    reap_orphans_locked();
    pthread_mutex_unlock(&lock);
}

/* ---- what runner may ask ---------------------------------------------------------------------------------------------- */

static bool is_control(int fd)
{
    int domain = 0, type = 0;
    socklen_t n = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n))
        return false;
    n = sizeof type;
    return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) && domain == AF_UNIX && type == SOCK_SEQPACKET;
}

/* A pipe, open in the port's direction alone. */
static bool is_pipe(int fd, enum sq_port_direction direction)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && !fstat(fd, &st) && S_ISFIFO(st.st_mode) &&
           (flags & O_ACCMODE) == (direction == SQ_PORT_IN ? O_RDONLY : O_WRONLY);
}

/* A memfd whose bytes nobody can change any more. No other kind of file has seals. */
static bool is_sealed_memory(int fd)
{
    const int wanted = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW;
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && (seals & wanted) == wanted;
}

static bool fds_are_right(const struct sq_stage_row *row, const struct sq_fds *files)
{
    if (files->n != 1 + row->n_port || files->n > JAIL_MAX_FDS || !is_control(files->fd[0]))
        return false;
    for (size_t i = 0; i < row->n_port; i++) {
        const struct sq_port *port = &row->port[i];
        int fd = files->fd[1 + i];
        if (port->kind == SQ_PORT_MEMORY ? !is_sealed_memory(fd) : !is_pipe(fd, port->direction))
            return false;
    }
    return true;
}

static struct jail_limits limits_of(const struct sq_stage_row *row, enum jail_size size, unsigned n_cpu)
{
    const unsigned factor = size == JAIL_LARGE ? LARGE_FACTOR : 1;
    return (struct jail_limits){.mem_bytes = ((uint64_t)row->mem_mib << 20) * factor,
                                .cpu_s = row->cpu_s * factor,
                                .wall_s = row->wall_s * factor,
                                .n_proc = row->n_proc,
                                .n_cpu = n_cpu};
}

static uint64_t input_bytes(const struct sq_stage_row *row, const struct sq_fds *files)
{
    uint64_t n = 0;
    struct stat st;
    for (size_t i = 0; i < row->n_port; i++)
        if (row->port[i].kind == SQ_PORT_MEMORY && !fstat(files->fd[1 + i], &st))
            n += (uint64_t)st.st_size;
    return n;
}

static void close_fds(struct sandbox *s)
{
    for (size_t i = 0; i < s->n_fd; i++)
        sq_close(&s->fd[i]);
    s->n_fd = 0;
}

/* Copies of runner's descriptors: its own are closed with the message. */
static sq_err keep_fds(struct sandbox *s, const struct sq_fds *files)
{
    for (s->n_fd = 0; s->n_fd < files->n; s->n_fd++) {
        s->fd[s->n_fd] = fcntl(files->fd[s->n_fd], F_DUPFD_CLOEXEC, LOWEST_KEPT_FD);
        if (s->fd[s->n_fd] < 0) {
            close_fds(s);
            return sq_fail(SQ_ESANDBOX);
        }
    }
    return SQ_OK;
}

static sq_err reserve(struct jailer *j, const struct sq_msg_start *start, const struct sq_stage_row *row, struct sandbox **out)
{
    sq_err e = SQ_OK;
    struct sandbox *s = NULL;
    pthread_mutex_lock(&lock);
    for (unsigned i = 0; !s && i < JAIL_MAX_SANDBOX; i++)
        if (table[i].phase == FREE)
            s = &table[i];
    if (find(start->task_id))
        e = sq_fail(SQ_EEXISTS);
    else if (!s)
        e = sq_fail(SQ_EBUSY);
    if (e == SQ_OK) {
        *s = (struct sandbox){.jailer = j, .row = row, .pidfd = -1, .block = (unsigned)(s - table)};
        s->limits = limits_of(row, (enum jail_size)start->size_class, j->ground.n_cpu);
        memcpy(s->task_id, start->task_id, SQ_ID_BYTES);
        sq_hex(start->task_id, SQ_ID_BYTES, s->id);
        s->limits.input_bytes = input_bytes(row, &start->files);
        e = keep_fds(s, &start->files);
        s->phase = e == SQ_OK ? STARTING : FREE;
    }
    pthread_mutex_unlock(&lock);
    if (e == SQ_OK)
        *out = s;
    return e;
}

/* ---- its own thread ------------------------------------------------------------------------------------------------------ */

static sq_err write_bundle(const struct sandbox *s)
{
    char path[128];
    struct sq_buf json;
    sq_buf_init(&json, 1 << 16);
    snprintf(path, sizeof path, JAIL_BUNDLE_DIR "/%s", s->id);
    sq_err e = mkdir(path, 0711) ? sq_fail(SQ_ESANDBOX) : SQ_OK;
    if (e == SQ_OK)
        e = jail_bundle_make(&s->jailer->ground, &s->limits, s->id, s->block, &json);
    if (e == SQ_OK) {
        snprintf(path, sizeof path, JAIL_BUNDLE_DIR "/%s/config.json", s->id);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        e = fd < 0 ? sq_fail(SQ_ESANDBOX) : sq_write_all(fd, json.p, json.n);
        sq_close(&fd);
    }
    sq_buf_done(&json);
    return e;
}

static void remove_bundle(const struct sandbox *s)
{
    static const char *const files[] = {"/config.json", "/pid", "/log", ""};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[128];
        snprintf(path, sizeof path, JAIL_BUNDLE_DIR "/%s%s", s->id, files[i]);
        (void)remove(path); /* what isn't there need not go */
    }
}

/* Where no cgroup shares the processors out: a nice value is a thread's own, and what it starts inherits it. */
static void step_back(const struct jail_ground *g)
{
    if (!g->has_cgroup)
        (void)setpriority(PRIO_PROCESS, 0, USER_NICE); /* lower is always allowed */
}

/* The runtime is started from this thread's network namespace, fresh and without a raised lo: the sandbox inherits it. */
static sq_err start_program(struct sandbox *s)
{
    const bool is_counted_late = s->jailer->ground.is_user && s->jailer->ground.is_nproc_own;
    pid_t pid = -1;
    sq_err e = s->jailer->ground.runtime ? SQ_OK : sq_fail(SQ_ESANDBOX);
    set_busy(true);
    if (e == SQ_OK && unshare(CLONE_NEWNET))
        e = sq_fail(SQ_ESANDBOX);
    step_back(&s->jailer->ground);
    if (e == SQ_OK)
        e = write_bundle(s);
    if (e == SQ_OK)
        e = jail_runtime_start(&s->jailer->ground, s->id, s->fd, s->n_fd, &pid);
    int pidfd = e == SQ_OK ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (e == SQ_OK && pidfd < 0)
        e = sq_fail(SQ_ESANDBOX);
    if (e == SQ_OK && is_counted_late && jail_user_limit_threads(pid, s->limits.n_proc) != SQ_OK) {
        (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
        close(pidfd);
        pidfd = -1;
        e = sq_fail(SQ_ESANDBOX);
    }
    pthread_mutex_lock(&lock);
    close_fds(s); /* the worker alone holds its ends now: runner sees when it closes them */
    s->pid = pid;
    s->pidfd = pidfd;
    s->started_ms = sq_clock_steady_ms();
    s->phase = e == SQ_OK ? RUNNING : REFUSED;
    n_busy--;
    if (s->is_killed) /* by an order that came while it was starting */
        kill_locked(s);
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return e;
}

/* Where no cgroup does: the sandbox ends that holds more memory than its limit. */
static void look_at_memory(struct sandbox *s)
{
    const uint64_t kib = jail_watch_kib(s->pid, s->limits.input_bytes);
    s->peak_kib = kib > s->peak_kib ? kib : s->peak_kib;
    if (kib <= s->limits.mem_bytes / 1024)
        return;
    s->is_greedy = true;
    pthread_mutex_lock(&lock);
    kill_locked(s);
    pthread_mutex_unlock(&lock);
}

/* True when it ended by itself or by order, false when its time was up. */
static bool ended_in_time(struct sandbox *s)
{
    const bool is_watched = !s->jailer->ground.has_cgroup;
    const int64_t until_ms = s->started_ms + (int64_t)s->limits.wall_s * 1000;
    struct pollfd p = {.fd = s->pidfd, .events = POLLIN};
    for (;;) {
        int64_t left_ms = until_ms - sq_clock_steady_ms();
        if (left_ms <= 0)
            return false;
        if (is_watched && left_ms > LOOK_MS)
            left_ms = LOOK_MS;
        int n = poll(&p, 1, left_ms > INT32_MAX ? INT32_MAX : (int)left_ms);
        if (n > 0)
            return true;
        if (n == 0 && is_watched && !s->is_greedy)
            look_at_memory(s);
        if (n < 0 && errno != EINTR)
            return false;
    }
}

/* A child of the sandbox that was killed for memory while its first process ended well is no end by memory. */
static void judge(struct sandbox *s, int status, const struct jail_usage *usage, bool was_late, struct sq_msg_exited *end)
{
    pthread_mutex_lock(&lock);
    const bool was_killed = s->is_killed;
    pthread_mutex_unlock(&lock);
    bool is_exit = WIFEXITED(status);
    end->status = (uint32_t)(is_exit ? WEXITSTATUS(status) : WTERMSIG(status));
    if (was_late)
        end->how = ENDED_BY_TIME;
    else if (usage->is_oom && !(is_exit && WEXITSTATUS(status) == 0))
        end->how = ENDED_BY_MEMORY;
    else if (is_exit)
        end->how = ENDED_BY_EXIT;
    else if (!was_killed && WTERMSIG(status) == SIGKILL && usage->cpu_ms + 100 >= (uint64_t)s->limits.cpu_s * 1000)
        end->how = ENDED_BY_TIME;
    else
        end->how = ENDED_BY_SIGNAL;
}

static void watch(struct sandbox *s, struct sq_msg_exited *end)
{
    bool was_late = !ended_in_time(s);
    if (was_late) {
        pthread_mutex_lock(&lock);
        kill_locked(s);
        pthread_mutex_unlock(&lock);
    }
    int status = 0;
    struct rusage used = {0};
    while (wait4(s->pid, &status, 0, &used) < 0 && errno == EINTR)
        ;
    struct jail_usage usage = {
        .cpu_ms = (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1000 +
                  (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000,
        .peak_kib = (uint64_t)used.ru_maxrss,
    };
    if (s->jailer->ground.has_cgroup) {
        jail_cgroup_usage(&s->jailer->ground, s->id, &usage);
    } else {
        usage.peak_kib = s->peak_kib;
        usage.is_oom = s->is_greedy;
    }
    memcpy(end->task_id, s->task_id, SQ_ID_BYTES);
    end->cpu_ms = usage.cpu_ms;
    end->peak_kib = usage.peak_kib;
    end->wall_ms = (uint64_t)(sq_clock_steady_ms() - s->started_ms);
    judge(s, status, &usage, was_late, end);
}

/* True when somebody still waits to hear how it ended. */
static bool clean_up(struct sandbox *s)
{
    set_busy(true);
    if (s->jailer->ground.runtime)
        jail_runtime_delete(&s->jailer->ground, s->id);
    remove_bundle(s);
    set_busy(false);
    pthread_mutex_lock(&lock);
    while (!s->is_told)
        pthread_cond_wait(&changed, &lock);
    bool is_awaited = !s->is_orphan;
    sq_close(&s->pidfd);
    s->phase = FREE; /* and with it the block of host ids */
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return is_awaited;
}

static void report_end(struct jailer *j, const struct sq_msg_exited *end)
{
    const bool is_exit = end->how == ENDED_BY_EXIT;
    sq_log(SQ_LOG_sandbox, SQ_LID("task", end->task_id, SQ_ID_BYTES), SQ_LW("runtime", j->ground.runtime_name),
           SQ_LN("exit", is_exit ? (int64_t)end->status : -1), SQ_LN("signal", is_exit ? 0 : (int64_t)end->status));
    struct sq_msg m = {.no = SQ_MSG_exited, .u.exited = *end};
    sq_err e = sq_node_tell(j->node, SQ_ROLE_RUNNER, &m);
    if (e != SQ_OK && e != SQ_EDOWN)
        sq_log(SQ_LOG_failed, SQ_LW("what", "report_end"), SQ_LW("code", sq_err_name(e)));
}

/* Reports when all is cleaned up: runner may use the same task id again at once. */
static void *sandbox_main(void *arg)
{
    struct sandbox *s = arg;
    struct jailer *j = s->jailer;
    struct sq_msg_exited end = {0};
    bool has_run = start_program(s) == SQ_OK;
    if (has_run)
        watch(s, &end);
    bool is_awaited = clean_up(s); /* @s may be another sandbox's from here on */
    if (has_run && is_awaited)
        report_end(j, &end);
    return NULL;
}

static sq_err run_thread(struct sandbox *s)
{
    pthread_attr_t attr;
    pthread_t thread;
    if (pthread_attr_init(&attr))
        return sq_fail(SQ_ENOMEM);
    bool is_ok = !pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) && !pthread_create(&thread, &attr, sandbox_main, s);
    pthread_attr_destroy(&attr);
    return is_ok ? SQ_OK : sq_fail(SQ_ESANDBOX);
}

/* ---- handlers ------------------------------------------------------------------------------------------------------------- */

static void refuse(struct sq_ask *ask, const char *why, sq_err code, const uint8_t *task_id)
{
    sq_log(SQ_LOG_failed, SQ_LW("what", why), SQ_LW("code", sq_err_name(code)), SQ_LID("id", task_id, SQ_ID_BYTES));
    sq_ask_fail(ask, code);
}

/*
 * A START that the table doesn't know is refused, and that is all: cutting the link as for other breaches would also end
 * the sandboxes of everyone else's jobs, and a captured runner gains nothing by asking again.
 */
void jail_on_start(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct jailer *j = ctx;
    const struct sq_msg_start *start = &m->u.start;
    const struct sq_stage_row *row = sq_stage_row_of(start->stage);
    if (!row || start->size_class > JAIL_LARGE || !fds_are_right(row, &start->files)) {
        refuse(ask, row ? "start_with_wrong_descriptors" : "start_of_unknown_stage", sq_fail(SQ_EPROTO), start->task_id);
        return;
    }
    struct sandbox *s = NULL;
    sq_err e = reserve(j, start, row, &s);
    if (e != SQ_OK) {
        refuse(ask, "start_refused", e, start->task_id);
        return;
    }
    if ((e = run_thread(s)) != SQ_OK) {
        pthread_mutex_lock(&lock);
        close_fds(s);
        s->phase = FREE;
        pthread_mutex_unlock(&lock);
        refuse(ask, "start_thread", e, start->task_id);
        return;
    }
    pthread_mutex_lock(&lock);
    while (s->phase == STARTING)
        pthread_cond_wait(&changed, &lock);
    bool is_running = s->phase == RUNNING;
    pthread_mutex_unlock(&lock);

    if (is_running)
        sq_ask_reply(ask, &(struct sq_msg){.no = SQ_MSG_started});
    else
        refuse(ask, "sandbox_start", SQ_ESANDBOX, start->task_id);

    pthread_mutex_lock(&lock); /* the entry can't be free before this: its thread waits for it */
    s->is_told = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

void jail_on_kill(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    (void)ctx;
    pthread_mutex_lock(&lock);
    struct sandbox *s = find(m->u.kill.task_id);
    if (s)
        kill_locked(s);
    pthread_mutex_unlock(&lock);
    if (s)
        sq_ask_ok(ask);
    else
        sq_ask_fail(ask, SQ_ENOTFOUND);
}

static size_t kill_all_locked(void)
{
    size_t n = 0;
    for (size_t i = 0; i < JAIL_MAX_SANDBOX; i++)
        if (table[i].phase != FREE) {
            kill_locked(&table[i]);
            table[i].is_orphan = true;
            n++;
        }
    return n;
}

/* Without runner nobody pumps the sandboxes' pipes, and its successor knows none of them. */
void jail_on_peer_down(void *ctx, enum sq_role peer)
{
    (void)ctx;
    if (peer != SQ_ROLE_RUNNER)
        return;
    pthread_mutex_lock(&lock);
    kill_all_locked();
    pthread_mutex_unlock(&lock);
}

void jail_end_all(struct jailer *j)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += END_ALL_S;
    pthread_mutex_lock(&lock);
    while (kill_all_locked() > 0 && pthread_cond_timedwait(&changed, &lock, &until) == 0)
        ;
    pthread_mutex_unlock(&lock);
    if (j->ground.runtime && j->ground.has_cgroup)
        jail_cgroup_sweep(&j->ground);
}
