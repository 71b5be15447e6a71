/*
 * Real sandboxes: this program plays parent and runner for the real sequester-jailer, which starts the real crun (or
 * runc) with a worker that tries to get out.
 *
 *     sandbox_test JAILER WORKER RUNTIME          as root: without it all is skipped, and says so
 *     sandbox_test JAILER WORKER RUNTIME user     as an ordinary user; root becomes one first
 */
#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/core/promises.h"
#include "lib/jobs/stages.h"
#include "lib/wire/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/nsfs.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_MS 60000

static const char *jailer_path, *worker_path, *runtime = "auto";
static bool is_user;
#define TEST_UID 65500

struct rig {
    pid_t jailer;
    int parent, runner; /* our ends */
    char state_dir[64];
    struct sq_packet *pkt;
    uint64_t next_call, losses;
    bool is_without_namespaces; /* jailer is started where user namespaces are switched off */
};

static struct rig rig;

/* ---- parent's part ---- */

static void pair(int out[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, out), 0);
}

static void parent_says(struct sq_msg m)
{
    assert_int_equal(sq_wire_send(rig.parent, SQ_ROLE_PARENT, SQ_ROLE_JAILER, &m), SQ_OK);
}

static bool write_line(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* Below a user namespace whose own limit says: no more of them. Its one id stays what it is, so exec leaves us no rights. */
static bool switch_namespaces_off(void)
{
    char map[32];
    snprintf(map, sizeof map, "%u %u 1", (unsigned)geteuid(), (unsigned)geteuid());
    return !prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) && !unshare(CLONE_NEWUSER) && !prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) &&
           write_line("/proc/self/uid_map", map) && write_line("/proc/sys/user/max_user_namespaces", "0");
}

static void become_jailer(int sock)
{
    if (rig.is_without_namespaces && !switch_namespaces_off())
        _exit(125);
    if (chdir(rig.state_dir) || dup2(sock, 3) < 0 || (sock == 3 && fcntl(3, F_SETFD, 0)))
        _exit(126);
    execl(jailer_path, "sequester-jailer", (char *)NULL);
    _exit(127);
}

static void connect_runner(void)
{
    int link[2];
    pair(link);
    parent_says(sq_msg_of(peer, .role = SQ_ROLE_RUNNER, .socket = link[1]));
    close(link[1]);
    rig.runner = link[0];
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    setsockopt(rig.runner, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

static void start_jailer(void)
{
    int sock[2];
    pair(sock);
    rig.jailer = fork();
    assert_true(rig.jailer >= 0);
    if (rig.jailer == 0)
        become_jailer(sock[1]);
    close(sock[1]);
    rig.parent = sock[0];
    assert_int_equal(sq_wire_hello(rig.parent, SQ_ROLE_PARENT, SQ_ROLE_JAILER), SQ_OK);
    int worker = open(worker_path, O_RDONLY | O_CLOEXEC);
    assert_true(worker >= 0);
    parent_says(sq_msg_of(take, .name = sq_span_str("worker"), .file = worker));
    close(worker);
    parent_says(sq_msg_of(setting, .key = sq_span_str("runtime"), .value = sq_span_str(runtime)));
    connect_runner();
    parent_says(sq_msg_bare(go));
    struct sq_msg m;
    assert_int_equal(sq_wire_recv(rig.parent, SQ_ROLE_JAILER, SQ_ROLE_PARENT, rig.pkt, &m), SQ_OK);
    rig.losses = 0;
    if (m.no == SQ_MSG_lost) {
        rig.losses = m.u.lost.losses;
        assert_int_equal(sq_wire_recv(rig.parent, SQ_ROLE_JAILER, SQ_ROLE_PARENT, rig.pkt, &m), SQ_OK);
    }
    assert_int_equal(m.no, SQ_MSG_serving);
    assert_int_equal(sq_wire_hello(rig.runner, SQ_ROLE_RUNNER, SQ_ROLE_JAILER), SQ_OK);
}

static int set_up(void **state)
{
    (void)state;
    rig = (struct rig){.pkt = sq_packet_new(), .next_call = 1};
    snprintf(rig.state_dir, sizeof rig.state_dir, "/tmp/sq-sandbox-XXXXXX");
    assert_non_null(rig.pkt);
    assert_non_null(mkdtemp(rig.state_dir));
    start_jailer();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sq_close(&rig.runner);
    parent_says(sq_msg_bare(stop));
    int status = -1;
    waitpid(rig.jailer, &status, 0);
    sq_close(&rig.parent);
    rmdir(rig.state_dir);
    sq_packet_free(rig.pkt);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* ---- runner's part ---- */

struct run {
    uint8_t task_id[SQ_ID_BYTES];
    int control, script, findings; /* our ends */
    int theirs[3];
};

static void run_open(struct run *r, uint8_t tag)
{
    int a[2], b[2], c[2];
    memset(r, 0, sizeof *r);
    memset(r->task_id, tag, SQ_ID_BYTES);
    pair(a);
    assert_int_equal(pipe2(b, O_CLOEXEC), 0);
    assert_int_equal(pipe2(c, O_CLOEXEC), 0);
    r->control = a[0], r->script = b[1], r->findings = c[0];
    r->theirs[0] = a[1], r->theirs[1] = b[0], r->theirs[2] = c[1];
}

static void run_close(struct run *r)
{
    sq_close(&r->control);
    sq_close(&r->script);
    sq_close(&r->findings);
    for (int i = 0; i < 3; i++)
        sq_close(&r->theirs[i]);
}

static void send_start(const struct run *r, uint8_t stage, uint8_t size_class, const int *fds, uint32_t n)
{
    struct sq_msg m = sq_msg_of(start, .stage = stage, .size_class = size_class);
    m.call = rig.next_call++;
    memcpy(m.u.start.task_id, r->task_id, SQ_ID_BYTES);
    memcpy(m.u.start.files.fd, fds, n * sizeof *fds);
    m.u.start.files.n = n;
    assert_int_equal(sq_wire_send(rig.runner, SQ_ROLE_RUNNER, SQ_ROLE_JAILER, &m), SQ_OK);
}

static void receive(struct sq_msg *m)
{
    assert_int_equal(sq_wire_recv(rig.runner, SQ_ROLE_JAILER, SQ_ROLE_RUNNER, rig.pkt, m), SQ_OK);
}

static void expect(enum sq_msg_no no, struct sq_msg *m)
{
    receive(m);
    if (m->no == SQ_MSG_error_is && no != SQ_MSG_error_is)
        fail_msg("jailer answered %s", sq_err_name(sq_err_from_no(m->u.error_is.code)));
    assert_int_equal(m->no, no);
}

static void expect_refusal(sq_err code)
{
    struct sq_msg m;
    expect(SQ_MSG_error_is, &m);
    assert_int_equal(m.u.error_is.code, code);
}

static void run_start(struct run *r, uint8_t tag, uint8_t size_class, const char *word)
{
    struct sq_msg m;
    run_open(r, tag);
    send_start(r, SQ_STAGE_probe, size_class, r->theirs, 3);
    expect(SQ_MSG_started, &m);
    for (int i = 0; i < 3; i++)
        sq_close(&r->theirs[i]);
    if (word) {
        assert_int_equal(sq_write_all(r->script, word, strlen(word)), SQ_OK);
        sq_close(&r->script);
    }
}

/* What the probe wrote, up to the end of the pipe or to its "done". */
static void read_findings(const struct run *r, char *out, size_t size)
{
    size_t n = 0;
    struct pollfd p = {.fd = r->findings, .events = POLLIN};
    while (n < size - 1 && poll(&p, 1, PATIENCE_MS) == 1) {
        ssize_t k = read(r->findings, out + n, size - 1 - n);
        if (k <= 0)
            break;
        n += (size_t)k;
        out[n] = '\0';
        if (n >= 5 && !strcmp(out + n - 5, "done\n"))
            break;
    }
    out[n] = '\0';
}

static struct sq_msg_exited wait_end(struct run *r)
{
    struct sq_msg m;
    expect(SQ_MSG_exited, &m);
    assert_memory_equal(m.u.exited.task_id, r->task_id, SQ_ID_BYTES);
    run_close(r);
    return m.u.exited;
}

/* A sandbox that starts and answers: the machine, the jailer and the link are well. */
static void assert_healthy(void)
{
    struct run r;
    run_start(&r, 0xee, 0, "exit7");
    struct sq_msg_exited end = wait_end(&r);
    assert_int_equal(end.how, 0);
    assert_int_equal(end.status, 7);
}

static bool has_line(const char *text, const char *line)
{
    size_t n = strlen(line);
    for (const char *at = text; (at = strstr(at, line)); at += n)
        if ((at == text || at[-1] == '\n') && at[n] == '\n')
            return true;
    return false;
}

/* ---- looking at a sandbox from outside ---- */

static bool read_small(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, out, size - 1);
    close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n > 0;
}

static bool is_below(pid_t pid, pid_t ancestor)
{
    for (int i = 0; i < 32 && pid > 1; i++) {
        char path[64], text[512];
        snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        if (!read_small(path, text, sizeof text) || !strrchr(text, ')'))
            return false;
        pid = (pid_t)strtol(strrchr(text, ')') + 4, NULL, 10);
        if (pid == ancestor)
            return true;
    }
    return false;
}

/* Descendants of this jailer whose program is @name ("worker", "sequester-jail": as in /proc/PID/comm); at most @max. */
static size_t find_below(const char *name, pid_t *out, size_t max)
{
    size_t n = 0;
    DIR *dir = opendir("/proc");
    assert_non_null(dir);
    for (const struct dirent *d; (d = readdir(dir));) {
        char path[300], comm[64];
        pid_t pid = (pid_t)strtol(d->d_name, NULL, 10);
        snprintf(path, sizeof path, "/proc/%s/comm", d->d_name);
        if (pid > 1 && read_small(path, comm, sizeof comm) && !strncmp(comm, name, strlen(name)) && is_below(pid, rig.jailer) && n < max)
            out[n++] = pid;
    }
    closedir(dir);
    return n;
}

static void assert_status(pid_t pid, const char *line)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    assert_true(read_small(path, text, sizeof text));
    if (!has_line(text, line))
        fail_msg("/proc/%d/status lacks \"%s\"", (int)pid, line);
}

static void namespace_of(pid_t pid, const char *kind, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/%s", (int)pid, kind);
    ssize_t n = readlink(path, out, size - 1);
    assert_true(n > 0);
    out[n] = '\0';
}

static void assert_lo_down(pid_t pid)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/ns/net", (int)pid);
        int ns = open(path, O_RDONLY | O_CLOEXEC);
        struct ifreq lo;
        memset(&lo, 0, sizeof lo);
        strcpy(lo.ifr_name, "lo");
        int owner = is_user && ns >= 0 ? ioctl(ns, NS_GET_USERNS) : -1; /* in there we may do what root may out here */
        if (ns < 0 || (is_user && setns(owner, CLONE_NEWUSER)) || setns(ns, CLONE_NEWNET))
            _exit(2);
        int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &lo))
            _exit(3);
        struct if_nameindex *all = if_nameindex();
        bool is_lo_alone = all && all[0].if_index && !all[1].if_index;
        _exit(lo.ifr_flags & IFF_UP ? 4 : is_lo_alone ? 0 : 5);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* ---- tests: what a sandbox can't do ---- */

/* runc can't do without /proc; what it shows is the sandbox's own, read-only. */
static bool is_excused(const char *broken)
{
    if (!strcmp(runtime, "runc") && !strncmp(broken, "broken no_file:/proc/", 21))
        return true;
    /* with one id it knows only the number 0, which has no more rights than another */
    static const char *const zero[] = {"broken not_root", "broken no_setuid_0", "broken no_setgid_0"};
    for (size_t i = 0; is_user && !strcmp(runtime, "runc") && i < sizeof zero / sizeof zero[0]; i++)
        if (!strncmp(broken, zero[i], strlen(zero[i])))
            return true;
    return false;
}

static void test_walls(void **state)
{
    (void)state;
    static char text[1 << 16];
    struct run r;
    run_start(&r, 1, 0, "walls");
    read_findings(&r, text, sizeof text);
    struct sq_msg_exited end = wait_end(&r);
    for (const char *broken = text; (broken = strstr(broken, "broken ")); broken++)
        if (!is_excused(broken))
            fail_msg("a wall is broken: %.*s", (int)strcspn(broken, "\n"), broken);
    static const char *const some[] = {"held no_socket_but_unix", "held read_only:/x", "held no_other_process", "held no_stray_descriptor",
                                       "held no_unshare:user", "held no_ptrace", "held no_capability", "held seccomp_filter",
                                       "held no_file:/etc/passwd", "held no_capability_taken", "held no_setresuid_other", "done"};
    for (size_t i = 0; i < sizeof some / sizeof some[0]; i++)
        if (!has_line(text, some[i]))
            fail_msg("the probe didn't say: %s", some[i]);
    assert_int_equal(end.how, 0);
    assert_int_equal(end.status, 0);
}

static void test_from_outside(void **state)
{
    (void)state;
    static const char *const kinds[] = {"user", "pid", "mnt", "net", "ipc", "uts", "cgroup"};
    char text[64], mine[128], its[128], other[128];
    struct run a, b;
    run_start(&a, 2, 0, "sleep");
    sleep(1); /* both end by their wall time: the first one first, also on a busy machine */
    run_start(&b, 3, 0, "sleep");
    read_findings(&a, text, sizeof text);
    read_findings(&b, text, sizeof text);
    pid_t pid[4];
    assert_int_equal(find_below("worker", pid, 4), 2);
    for (int i = 0; i < 2; i++) {
        assert_status(pid[i], "NoNewPrivs:\t1");
        assert_status(pid[i], "Seccomp:\t2");
        assert_status(pid[i], "CapEff:\t0000000000000000");
        assert_status(pid[i], "CapPrm:\t0000000000000000");
        assert_status(pid[i], "CapBnd:\t0000000000000000");
        assert_lo_down(pid[i]);
    }
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        namespace_of(getpid(), kinds[k], mine, sizeof mine);
        namespace_of(pid[0], kinds[k], its, sizeof its);
        namespace_of(pid[1], kinds[k], other, sizeof other);
        assert_string_not_equal(mine, its);
        assert_string_not_equal(its, other); /* two sandboxes are strangers */
    }
    char path[64], map_a[256], map_b[256];
    snprintf(path, sizeof path, "/proc/%d/uid_map", (int)pid[0]);
    assert_true(read_small(path, map_a, sizeof map_a));
    snprintf(path, sizeof path, "/proc/%d/uid_map", (int)pid[1]);
    assert_true(read_small(path, map_b, sizeof map_b));
    unsigned long inside, first_a, first_b, n;
    assert_int_equal(sscanf(map_a, "%lu %lu %lu", &inside, &first_a, &n), 3);
    if (is_user) {
        assert_true(first_a == geteuid() && n == 1);
    } else {
        assert_true(inside == 0 && first_a >= 2000000000UL && n == 65536);
        assert_int_equal(sscanf(map_b, "%lu %lu %lu", &inside, &first_b, &n), 3);
        assert_true(first_a + 65536 <= first_b || first_b + 65536 <= first_a);
    }

    struct sq_msg_exited end = wait_end(&a);
    assert_int_equal(end.how, 3);
    end = wait_end(&b);
    assert_int_equal(end.how, 3);
    assert_true(end.wall_ms >= 4900 && end.wall_ms < 30000);
}

static void test_jailer_itself(void **state)
{
    (void)state;
    pid_t inner[4];
    assert_int_equal(find_below("sequester-jail", inner, 4), 1);
    assert_status(rig.jailer, "NoNewPrivs:\t1"); /* the outer one waits and holds nothing */
    assert_status(rig.jailer, "Seccomp:\t2");
    assert_status(rig.jailer, "CapEff:\t0000000000000000");
    assert_status(inner[0], "NoNewPrivs:\t1");
    assert_status(inner[0], "Seccomp:\t2");
    const bool has_chown = !strcmp(runtime, "runc");
    char line[64];
    const unsigned set = 0x2000e2U | (has_chown ? 1U << CAP_CHOWN : 0) | (is_user ? 1U << CAP_SETFCAP : 0);
    snprintf(line, sizeof line, "CapEff:\t%016x", set);
    assert_status(inner[0], line);
    snprintf(line, sizeof line, "CapBnd:\t%016x", set);
    assert_status(inner[0], line);
    if (is_user) { /* no other program of this user looks into it, or into its files */
        char path[64];
        snprintf(path, sizeof path, "/proc/%d/mem", (int)inner[0]);
        assert_true(open(path, O_RDONLY | O_CLOEXEC) < 0 && errno == EACCES);
        assert_true(ptrace(PTRACE_SEIZE, inner[0], NULL, NULL) < 0 && errno == EPERM);
        assert_true(ptrace(PTRACE_SEIZE, rig.jailer, NULL, NULL) < 0 && errno == EPERM);
    }
}

/* ---- tests: limits ---- */

static void test_forks(void **state)
{
    (void)state;
    char text[256];
    struct run r;
    run_start(&r, 4, 0, "forks");
    read_findings(&r, text, sizeof text);
    assert_true(has_line(text, "held forks_refused"));
    if (is_user)
        assert_non_null(strstr(text, "no_fork_at_all"));
    pid_t pids[64];
    assert_in_range(find_below("worker", pids, 64), 1, 16);
    assert_healthy(); /* while it rages */
    struct sq_msg_exited end = wait_end(&r);
    assert_int_equal(end.how, 3);
    assert_int_equal(find_below("worker", pids, 64), 0);
}

static void test_threads(void **state)
{
    (void)state;
    char text[256];
    struct run r;
    run_start(&r, 15, 0, "threads");
    read_findings(&r, text, sizeof text);
    if (!has_line(text, "held threads_refused"))
        fail_msg("threads: %s", text);
    struct sq_msg_exited end = wait_end(&r);
    assert_int_equal(end.how, 0);
}

static void test_memory(void **state)
{
    (void)state;
    struct run r;
    run_start(&r, 5, 0, "memory");
    struct sq_msg_exited end = wait_end(&r);
    assert_int_equal(end.how, 2);
    assert_in_range(end.peak_kib, 200 << 10, is_user ? 512 << 10 : 257 << 10); /* a user's jailer looks, and kills then */
    assert_healthy();
}

static void test_memory_of_a_child(void **state)
{
    (void)state;
    if (is_user)
        return; /* no child can be made there: test_forks */
    char text[256];
    struct run r;
    run_start(&r, 6, 0, "memory_child");
    read_findings(&r, text, sizeof text);
    struct sq_msg_exited end = wait_end(&r);
    assert_true(has_line(text, "held child_was_killed"));
    assert_int_equal(end.how, 0); /* the child died alone, the program ended well */
    assert_int_equal(end.status, 0);
}

static void test_processors(void **state)
{
    (void)state;
    if (is_user)
        return; /* nothing shares the processors out: loss processors_not_shared */
    struct run r;
    run_start(&r, 7, 0, "spin");
    struct sq_msg_exited end = wait_end(&r);
    assert_int_equal(end.how, 0);
    const long n_cpu = sysconf(_SC_NPROCESSORS_ONLN);
    assert_true(end.cpu_ms > 100);
    assert_true((double)end.cpu_ms <= 0.95 * (double)n_cpu * (double)end.wall_ms);
}

static void test_files(void **state)
{
    (void)state;
    char text[256];
    struct run r;
    run_start(&r, 8, 0, "disk");
    read_findings(&r, text, sizeof text);
    struct sq_msg_exited end = wait_end(&r);
    assert_true(has_line(text, "held no_file_written") && has_line(text, "held no_file_grown"));
    assert_int_equal(end.how, 0);
}

static void test_crash(void **state)
{
    (void)state;
    struct run r;
    run_start(&r, 9, 0, "crash");
    struct sq_msg_exited end = wait_end(&r);
    assert_int_equal(end.how, 1);
    assert_int_equal(end.status, SIGSEGV);
}

static void test_kill(void **state)
{
    (void)state;
    char text[64];
    struct run r;
    run_start(&r, 10, 0, "sleep");
    read_findings(&r, text, sizeof text);
    struct sq_msg m = sq_msg_bare(kill);
    m.call = rig.next_call++;
    memcpy(m.u.kill.task_id, r.task_id, SQ_ID_BYTES);
    assert_int_equal(sq_wire_send(rig.runner, SQ_ROLE_RUNNER, SQ_ROLE_JAILER, &m), SQ_OK);
    bool was_answered = false, has_ended = false;
    while (!was_answered || !has_ended) {
        struct sq_msg got;
        receive(&got);
        was_answered |= got.no == SQ_MSG_ok;
        if (got.no == SQ_MSG_exited) {
            has_ended = true;
            assert_int_equal(got.u.exited.how, 1);
            assert_int_equal(got.u.exited.status, SIGKILL);
            assert_true(got.u.exited.wall_ms < 4500);
        }
    }
    run_close(&r);
    memset(m.u.kill.task_id, 0x77, SQ_ID_BYTES);
    m.call = rig.next_call++;
    assert_int_equal(sq_wire_send(rig.runner, SQ_ROLE_RUNNER, SQ_ROLE_JAILER, &m), SQ_OK);
    expect_refusal(SQ_ENOTFOUND);
}

/* ---- tests: a captured runner ---- */

static void test_wrong_starts(void **state)
{
    (void)state;
    struct run r;
    run_open(&r, 11);
    int dir = open("/etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    int plain = memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int stream[2];
    assert_true(dir >= 0 && file >= 0 && plain >= 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
    const int good[4] = {r.theirs[0], r.theirs[1], r.theirs[2], r.theirs[1]};
    const struct {
        const char *what;
        uint8_t stage, size_class;
        int fds[4];
        uint32_t n;
    } wrong[] = {
        {"unknown stage", 77, 0, {good[0], good[1], good[2]}, 3},
        {"stage 0", 0, 0, {good[0], good[1], good[2]}, 3},
        {"unknown size class", SQ_STAGE_probe, 2, {good[0], good[1], good[2]}, 3},
        {"no descriptors", SQ_STAGE_probe, 0, {0}, 0},
        {"one too few", SQ_STAGE_probe, 0, {good[0], good[1]}, 2},
        {"one too many", SQ_STAGE_probe, 0, {good[0], good[1], good[2], good[1]}, 4},
        {"a directory for a pipe", SQ_STAGE_probe, 0, {good[0], dir, good[2]}, 3},
        {"a file for a pipe", SQ_STAGE_probe, 0, {good[0], file, good[2]}, 3},
        {"a directory for the control socket", SQ_STAGE_probe, 0, {dir, good[1], good[2]}, 3},
        {"a stream socket for the control socket", SQ_STAGE_probe, 0, {stream[0], good[1], good[2]}, 3},
        {"pipes the wrong way round", SQ_STAGE_probe, 0, {good[0], good[2], good[1]}, 3},
        {"a file for sealed memory", SQ_STAGE_panel, 0, {good[0], file, file}, 3},
        {"memory without seals", SQ_STAGE_panel, 0, {good[0], plain, plain}, 3},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        send_start(&r, wrong[i].stage, wrong[i].size_class, wrong[i].fds, wrong[i].n);
        struct sq_msg m;
        receive(&m);
        if (m.no != SQ_MSG_error_is || m.u.error_is.code != SQ_EPROTO)
            fail_msg("START with %s was not refused", wrong[i].what);
    }
    close(dir), close(file), close(plain), close(stream[0]), close(stream[1]);
    run_close(&r);
    assert_healthy(); /* refusals cost nobody else anything */
}

static void test_same_task_twice(void **state)
{
    (void)state;
    struct run r, again;
    run_start(&r, 12, 0, NULL);
    run_open(&again, 12);
    send_start(&again, SQ_STAGE_probe, 0, again.theirs, 3);
    expect_refusal(SQ_EEXISTS);
    run_close(&again);
    assert_int_equal(sq_write_all(r.script, "exit7", 5), SQ_OK);
    sq_close(&r.script);
    assert_int_equal(wait_end(&r).status, 7);
}

/* Also counts: how many starts a second. */
static void test_too_many(void **state)
{
    (void)state;
    enum { N = 64 };
    static struct run r[N + 1];
    int64_t begin_ms = sq_clock_steady_ms();
    for (int i = 0; i < N; i++) {
        run_start(&r[i], (uint8_t)(100 + i), 1, NULL);
        if (i == 9)
            print_message("# 10 sandboxes started in %lld ms, one after the other\n", (long long)(sq_clock_steady_ms() - begin_ms));
    }
    run_open(&r[N], 99);
    send_start(&r[N], SQ_STAGE_probe, 1, r[N].theirs, 3);
    expect_refusal(SQ_EBUSY);
    run_close(&r[N]);
    for (int i = 0; i < N; i++)
        sq_close(&r[i].script); /* an empty word: status 64 */
    for (int i = 0; i < N; i++) {
        struct sq_msg m;
        expect(SQ_MSG_exited, &m);
        assert_int_equal(m.u.exited.how, 0);
        assert_int_equal(m.u.exited.status, 64);
    }
    for (int i = 0; i < N; i++)
        run_close(&r[i]);
}

/* ---- tests: deaths ---- */

static size_t wait_for_workers(size_t n, int ms)
{
    pid_t pids[8];
    size_t now = find_below("worker", pids, 8);
    for (int64_t until = sq_clock_steady_ms() + ms; now != n && sq_clock_steady_ms() < until; now = find_below("worker", pids, 8))
        usleep(20000);
    return now;
}

static void test_runner_gone(void **state)
{
    (void)state;
    char text[64];
    struct run r;
    run_start(&r, 13, 1, "sleep");
    read_findings(&r, text, sizeof text);
    assert_int_equal(wait_for_workers(1, 0), 1);
    sq_close(&rig.runner);
    assert_int_equal(wait_for_workers(0, PATIENCE_MS), 0);
    run_close(&r);
    connect_runner();
    assert_int_equal(sq_wire_hello(rig.runner, SQ_ROLE_RUNNER, SQ_ROLE_JAILER), SQ_OK);
    assert_healthy();
}

static bool cgroup_is_left(void)
{
    struct stat st;
    char path[3][160];
    assert_int_equal(stat(rig.state_dir, &st), 0);
    static const char *const trees[3] = {"/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids", "/sys/fs/cgroup"};
    for (int i = 0; i < 3; i++) {
        snprintf(path[i], sizeof path[i], "%s/sequester-%llx-%llx", trees[i], (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
        DIR *dir = opendir(path[i]);
        if (!dir)
            continue;
        bool is_left = false;
        for (const struct dirent *d; (d = readdir(dir));)
            is_left |= d->d_type == DT_DIR && d->d_name[0] != '.';
        closedir(dir);
        if (is_left)
            return true;
    }
    return false;
}

static void test_jailer_killed(void **state)
{
    (void)state;
    char text[64];
    struct run r;
    run_start(&r, 14, 1, "sleep");
    read_findings(&r, text, sizeof text);
    pid_t worker[2];
    assert_int_equal(find_below("worker", worker, 2), 1);
    int status;
    kill(rig.jailer, SIGKILL);
    waitpid(rig.jailer, &status, 0);
    bool is_gone = false;
    for (int i = 0; i < PATIENCE_MS / 20 && !is_gone; i++) {
        usleep(20000);
        is_gone = kill(worker[0], 0) && errno == ESRCH;
    }
    assert_true(is_gone); /* the kernel ended it with its pid namespace */
    run_close(&r);
    sq_close(&rig.runner);
    sq_close(&rig.parent);
    assert_true(is_user || cgroup_is_left());
    start_jailer(); /* the next one finds leftovers, removes them and works */
    assert_false(cgroup_is_left());
    assert_healthy();
}

/* What jailer says it can't promise here. */
static void test_losses(void **state)
{
    (void)state;
    const uint64_t users = sq_loss_bit(SQ_LOSS_one_id) | sq_loss_bit(SQ_LOSS_memory_is_watched) | sq_loss_bit(SQ_LOSS_processors_not_shared) |
                           sq_loss_bit(SQ_LOSS_devices_by_absence) | sq_loss_bit(SQ_LOSS_processes_are_counted);
    assert_int_equal(rig.losses, is_user ? users : 0);
}

/* Blocks of host ids of two hubs on one host don't meet. */
static void test_two_instances(void **state)
{
    (void)state;
    if (is_user)
        return; /* one id, no blocks */
    struct rig first = rig;
    pid_t pid[2][4];
    char text[64], path[64];
    unsigned long inside, id[2], n;
    struct run r[2];
    for (int i = 0; i < 2; i++) {
        if (i == 1)
            assert_int_equal(set_up(NULL), 0);
        run_start(&r[i], (uint8_t)(20 + i), 0, "sleep");
        read_findings(&r[i], text, sizeof text);
        assert_int_equal(find_below("worker", pid[i], 4), 1);
        char map[256];
        snprintf(path, sizeof path, "/proc/%d/uid_map", (int)pid[i][0]);
        assert_true(read_small(path, map, sizeof map));
        assert_int_equal(sscanf(map, "%lu %lu %lu", &inside, &id[i], &n), 3);
        assert_true(id[i] + n <= 4294967295UL);
    }
    assert_true(id[0] != id[1]);
    wait_end(&r[1]);
    assert_int_equal(tear_down(NULL), 0);
    rig = first;
    wait_end(&r[0]);
}

/* Where an ordinary user may make no user namespace, jailer serves, says why, and refuses each START. */
static void test_no_namespaces(void **state)
{
    (void)state;
    if (!is_user)
        return;
    struct rig first = rig;
    rig = (struct rig){.pkt = sq_packet_new(), .next_call = 1, .is_without_namespaces = true};
    snprintf(rig.state_dir, sizeof rig.state_dir, "/tmp/sq-sandbox-XXXXXX");
    assert_non_null(mkdtemp(rig.state_dir));
    start_jailer();
    assert_int_equal(rig.losses, sq_loss_bit(SQ_LOSS_user_namespaces_off));
    struct run r;
    run_open(&r, 30);
    send_start(&r, SQ_STAGE_probe, 0, r.theirs, 3);
    expect_refusal(SQ_ESANDBOX);
    run_close(&r);
    assert_int_equal(tear_down(NULL), 0);
    rig = first;
}

/* After all of them: nothing of a sandbox is left on the host. */
static void test_nothing_left(void **state)
{
    (void)state;
    pid_t pids[8];
    for (int i = 0; i < PATIENCE_MS / 50 && (cgroup_is_left() || find_below("crun", pids, 8)); i++)
        usleep(50000);
    assert_false(cgroup_is_left());
    assert_int_equal(find_below("crun", pids, 8), 0);
    assert_int_equal(find_below("worker", pids, 8), 0);
    struct stat st;
    assert_int_equal(stat("/dev/null", &st), 0);
    assert_true(st.st_uid == 0 && st.st_gid == 0 && (st.st_mode & 07777) == 0666);
}

/* Root becomes an ordinary user; then: can one make a user namespace here at all? Says why not, as a skip. */
static bool can_be_user(void)
{
    if (geteuid() == 0 && (setgroups(0, NULL) || setresgid(TEST_UID, TEST_UID, TEST_UID) || setresuid(TEST_UID, TEST_UID, TEST_UID))) {
        puts("1..0 # SKIP root can't become an ordinary user here");
        return false;
    }
    if (access(jailer_path, X_OK) || access(worker_path, R_OK)) {
        puts("1..0 # SKIP an ordinary user can't pass to this build: a directory above it is private");
        return false;
    }
    pid_t child = fork();
    if (child == 0)
        _exit(unshare(CLONE_NEWUSER) || unshare(CLONE_NEWNS) ? 1 : 0);
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) < 0 || status) {
        puts("1..0 # SKIP user namespaces are off on this machine");
        return false;
    }
    return true;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: sandbox_test JAILER WORKER [RUNTIME]\n");
        return 2;
    }
    jailer_path = realpath(argv[1], NULL); /* it starts in its state directory */
    worker_path = realpath(argv[2], NULL);
    if (!jailer_path || !worker_path) {
        fprintf(stderr, "sandbox_test: no such program\n");
        return 2;
    }
    if (argc > 3)
        runtime = argv[3];
    is_user = argc > 4 && !strcmp(argv[4], "user");
    if (!is_user && geteuid() != 0) { /* cmocka's own skip() reads as a failure to meson */
        puts("1..0 # SKIP this one needs root; sandbox_user is the ordinary user's");
        return 0;
    }
    if (is_user && !can_be_user())
        return 0;
    signal(SIGPIPE, SIG_IGN);
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jailer_itself), cmocka_unit_test(test_walls),
        cmocka_unit_test(test_from_outside),  cmocka_unit_test(test_forks),
        cmocka_unit_test(test_losses),        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_memory),        cmocka_unit_test(test_memory_of_a_child),
        cmocka_unit_test(test_processors),    cmocka_unit_test(test_files),
        cmocka_unit_test(test_crash),         cmocka_unit_test(test_kill),
        cmocka_unit_test(test_wrong_starts),  cmocka_unit_test(test_same_task_twice),
        cmocka_unit_test(test_too_many),      cmocka_unit_test(test_runner_gone),
        cmocka_unit_test(test_jailer_killed), cmocka_unit_test(test_two_instances),
        cmocka_unit_test(test_no_namespaces), cmocka_unit_test(test_nothing_left),
    };
    return cmocka_run_group_tests_name("sandbox", tests, set_up, tear_down);
}
