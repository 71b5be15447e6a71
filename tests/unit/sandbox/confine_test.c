/*
 * lib/proc/confine, tried from inside: each case is a child that confines itself, does one thing and ends. What the
 * child's end means: 0 did it, 159 (128 + SIGSYS) the list ended it, anything else is a failed check.
 */
#include "lib/proc/confine.h"
#include "worker/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define KILLED_BY_LIST (128 + SIGSYS)

static const int small_list[] = {
    SYS_read, SYS_write, SYS_close, SYS_exit, SYS_exit_group, SYS_rt_sigreturn, SYS_rt_sigprocmask, SYS_rt_sigaction,
    SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise, SYS_brk, SYS_futex, SYS_clone, SYS_clone3, SYS_set_robust_list, SYS_rseq,
    SYS_sched_yield, SYS_gettid, SYS_getpid, SYS_tgkill, SYS_prctl, SYS_ioctl, SYS_socket, SYS_socketpair, SYS_getrandom,
    SYS_newfstatat, SYS_prlimit64, SYS_capget,
};
#define N_SMALL (sizeof small_list / sizeof small_list[0])

/* Runs @body in a child, as @uid. Its standard error goes nowhere: the line that names the call is expected. */
static int end_of(void (*body)(void), uid_t uid)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        dup2(null, 2);
        if (uid && (setgid(uid) || setuid(uid)))
            _exit(90);
        body();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status))
        return 128 + WTERMSIG(status); /* production builds end by the signal itself */
    return WEXITSTATUS(status);
}

static void confine(unsigned flags)
{
    if (sq_confine(small_list, N_SMALL, flags, 0) != SQ_OK)
        _exit(91);
}

static void check(bool is_true, int code)
{
    if (!is_true)
        _exit(code);
}

static void nothing_left(void)
{
    confine(0);
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct d[2] = {{0}, {0}};
    check(!syscall(SYS_capget, &head, d), 1);
    check(!(d[0].effective | d[1].effective | d[0].permitted | d[1].permitted | d[0].inheritable | d[1].inheritable), 2);
    struct rlimit core;
    check(!getrlimit(RLIMIT_CORE, &core) && core.rlim_max == 0, 3);
}

static void status_lines(void)
{
    if (sq_confine(NULL, 0, 0, 0) != SQ_OK) /* no list: so that we may look */
        _exit(91);
    check(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, 1);
    check(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0, 2);
}

static void keeps_named_caps(void)
{
    if (sq_confine(NULL, 0, 0, 1ULL << CAP_KILL) != SQ_OK)
        _exit(91);
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct d[2] = {{0}, {0}};
    check(!syscall(SYS_capget, &head, d) && d[0].effective == 1U << CAP_KILL && d[1].effective == 0, 1);
    check(prctl(PR_CAPBSET_READ, CAP_KILL, 0, 0, 0) == 1 && prctl(PR_CAPBSET_READ, CAP_SYS_ADMIN, 0, 0, 0) == 0, 2);
}

static void *thread_main(void *arg)
{
    return arg;
}

static void makes_a_thread(void)
{
    confine(0);
    pthread_t t;
    int here;
    void *back = NULL;
    check(!pthread_create(&t, NULL, thread_main, &here), 1);
    check(!pthread_join(t, &back) && back == &here, 2);
}

static int hold[2];

static void *thread_that_stays(void *arg)
{
    char byte;
    (void)!read(hold[0], &byte, 1);
    return arg;
}

/* Capabilities belong to a thread: one that already runs would keep its own. */
static void not_after_a_thread(void)
{
    pthread_t t;
    check(!pipe(hold) && !pthread_create(&t, NULL, thread_that_stays, NULL), 1);
    check(sq_confine(small_list, N_SMALL, 0, 0) == SQ_EINTERNAL, 2);
}

static void forks(void)
{
    confine(0);
    if (syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL) == 0)
        syscall(SYS_exit_group, 0);
}

static void clone3_is_unknown(void)
{
    confine(0);
    check(syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS, 1);
}

static void maps_memory(void)
{
    confine(0);
    check(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED, 1);
}

static void maps_code(void)
{
    confine(0);
    (void)!mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void makes_code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    confine(0);
    (void)!mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static void unix_socket(void)
{
    confine(SQ_CONFINE_UNIX);
    int pair[2];
    check(socket(AF_UNIX, SOCK_STREAM, 0) >= 0 && !socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 1);
}

static void unix_socket_without_flag(void)
{
    confine(0);
    (void)!socket(AF_UNIX, SOCK_STREAM, 0);
}

static void inet_socket(void)
{
    confine(SQ_CONFINE_UNIX);
    (void)!socket(AF_INET, SOCK_STREAM, 0);
}

static void vsock_socket(void)
{
    confine(SQ_CONFINE_UNIX);
    (void)!socket(AF_VSOCK, SOCK_STREAM, 0);
}

static void harmless_ioctl(void)
{
    confine(0);
    int n;
    check(ioctl(0, FIONREAD, &n) == 0 || errno == ENOTTY || errno == EINVAL, 1);
}

static void other_ioctl(void)
{
    confine(0);
    (void)!ioctl(0, TIOCSTI, "x");
}

static void names_itself(void)
{
    confine(0);
    check(!prctl(PR_SET_NAME, "keeper", 0, 0, 0), 1);
}

static void other_prctl(void)
{
    confine(0);
    (void)!prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static void opens_a_file(void)
{
    confine(0);
    (void)!open("/etc/passwd", O_RDONLY);
}

static void ruled_fcntl(void)
{
    static const int calls[] = {SYS_fcntl, SYS_exit_group, SYS_write};
    check(sq_confine(calls, sizeof calls / sizeof calls[0], 0, 0) == SQ_OK, 1);
    check(fcntl(0, F_GETFL) >= 0, 2);
    (void)!fcntl(0, F_SETOWN, 1);
}

static void ruled_setsockopt(void)
{
    static const int calls[] = {SYS_setsockopt, SYS_exit_group, SYS_write};
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    struct timeval second = {.tv_sec = 1};
    check(s >= 0 && sq_confine(calls, sizeof calls / sizeof calls[0], 0, 0) == SQ_OK, 1);
    check(!setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second), 2);
    (void)!setsockopt(s, SOL_SOCKET, SO_ATTACH_FILTER, "", 0);
}

static void signals_itself(void)
{
    const pid_t own_pid = getpid();
    static const int calls[] = {SYS_kill, SYS_exit_group, SYS_write};
    check(sq_confine(calls, sizeof calls / sizeof calls[0], 0, 0) == SQ_OK, 1);
    check(!kill(own_pid, 0), 2);
}

static void signals_others(void)
{
    static const int calls[] = {SYS_kill, SYS_exit_group, SYS_write};
    check(sq_confine(calls, sizeof calls / sizeof calls[0], 0, 0) == SQ_OK, 1);
    (void)!kill(1, 0);
}

static void connects_outward(void)
{
    confine(SQ_CONFINE_NET);
    check(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0) >= 0 && socket(AF_INET6, SOCK_DGRAM, 0) >= 0, 1);
    (void)!socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
}

/* ---- Landlock: tried without a list, so that the kernel answers and not the filter ---- */

static char own_dir[] = "/tmp/confine-test-XXXXXX"; /* two directories: own/ and other/, a file in each */

static void landlock(unsigned flags)
{
    check(!chdir(own_dir) && !chdir("own") && sq_confine(NULL, 0, flags, 0) == SQ_OK, 91);
}

static void no_file_at_all(void)
{
    landlock(0);
    check(open("file", O_RDONLY) < 0 && errno == EACCES, 1);
    check(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES, 2);
    check(open("new", O_CREAT | O_WRONLY, 0600) < 0 && errno == EACCES, 3);
    check(syscall(SYS_memfd_create, "m", 0) >= 0, 4);
}

static void own_files_only(void)
{
    landlock(SQ_CONFINE_OWN_FILES);
    int fd = open("new", O_CREAT | O_RDWR, 0600), tmp = open(".", O_TMPFILE | O_RDWR, 0600);
    check(fd >= 0 && !ftruncate(fd, 10) && tmp >= 0, 1);
    char link_of[64];
    snprintf(link_of, sizeof link_of, "/proc/self/fd/%d", tmp);
    check(!mkdir("sub", 0700) && !linkat(AT_FDCWD, link_of, AT_FDCWD, "sub/linked", AT_SYMLINK_FOLLOW), 2);
    check(!rename("sub/linked", "back") && !unlink("back") && !rmdir("sub") && !unlink("new"), 3);
    check(open("../other/file", O_RDONLY) < 0 && errno == EACCES, 4);
    check(truncate("../other/file", 0) < 0 && errno == EACCES, 5);
    check(unlink("../other/file") < 0 && errno == EACCES, 6);
    check(open("/dev/null", O_WRONLY) < 0 && errno == EACCES, 7);
    check(symlink("x", "link") < 0 && mkfifo("fifo", 0600) < 0, 8);
    check(execl("/bin/true", "true", NULL) < 0 && errno == EACCES, 9);
}

static void no_tcp(void)
{
    landlock(0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    check(bind(s, (struct sockaddr *)&at, sizeof at) < 0 && errno == EACCES, 1);
    at.sin_port = htons(9);
    check(connect(s, (struct sockaddr *)&at, sizeof at) < 0 && errno == EACCES, 2);
}

static void connects_only(void)
{
    landlock(SQ_CONFINE_NET | SQ_CONFINE_READ);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int s = socket(AF_INET, SOCK_STREAM, 0);
    check(bind(s, (struct sockaddr *)&at, sizeof at) < 0 && errno == EACCES, 1);
    at.sin_port = htons(9);
    check(connect(s, (struct sockaddr *)&at, sizeof at) == 0 || errno != EACCES, 2);
    check(open("/etc/hosts", O_RDONLY) >= 0 || errno == ENOENT, 3);
    check(open("/etc/hosts", O_RDWR) < 0 && errno == EACCES, 4);
    check(open("file", O_RDONLY) >= 0 && open("file", O_RDWR) < 0 && errno == EACCES, 5);
    check(open("../other/file", O_RDONLY) < 0 && errno == EACCES, 6);
}

static void signals_nobody_outside(void)
{
    landlock(0);
    check(kill(getppid(), 0) < 0 && errno == EPERM, 1);
    check(!kill(getpid(), 0), 2);
}

static void turns_data_into_code(void)
{
    check(sq_confine(NULL, 0, 0, 0) == SQ_OK, 91);
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(p != MAP_FAILED && mprotect(p, 4096, PROT_READ | PROT_EXEC) < 0 && errno == EACCES, 1);
}

/* ---- the worker's own list, src/worker/confine.c ---- */

static void worker_lives(void)
{
    check(worker_confine() == SQ_OK, 91);
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(p != MAP_FAILED && !mprotect(p, 4096, PROT_READ), 1);
    pthread_t t;
    check(!pthread_create(&t, NULL, thread_main, NULL) && !pthread_join(t, NULL), 2);
}

static void worker_maps_code(void)
{
    check(worker_confine() == SQ_OK, 91);
    (void)!mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void worker_makes_code(void)
{
    void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(worker_confine() == SQ_OK, 91);
    (void)!mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static void worker_opens(void)
{
    check(worker_confine() == SQ_OK, 91);
    (void)!open("/dev/null", O_RDONLY);
}

static void worker_signals_others(void)
{
    check(worker_confine() == SQ_OK, 91);
    syscall(SYS_tgkill, 1, 1, 0);
}

static void worker_makes_a_socket(void)
{
    check(worker_confine() == SQ_OK, 91);
    (void)!socket(AF_UNIX, SOCK_STREAM, 0);
}

static void list_with_execve(void)
{
    static const int calls[] = {SYS_read, SYS_execve};
    check(sq_confine(calls, 2, 0, 0) == SQ_ESYS, 1);
}

static void refusals(void)
{
    static const int calls[] = {SYS_ptrace, SYS_getppid};
    check(sq_confine(calls, 2, SQ_CONFINE_DENY, 0) == SQ_OK, 1);
    check(syscall(SYS_getppid) < 0 && errno == EPERM, 2);
    check(open("/dev/null", O_RDONLY) >= 0, 3);
}

static void run_both(void (*body)(void), int expected)
{
    assert_int_equal(end_of(body, 0), expected);
    if (geteuid() == 0)
        assert_int_equal(end_of(body, 65534), expected); /* and as an ordinary user */
}

static void test_rights(void **state)
{
    (void)state;
    run_both(nothing_left, 0);
    run_both(status_lines, 0);
    if (geteuid() == 0)
        assert_int_equal(end_of(keeps_named_caps, 0), 0);
}

static void test_threads(void **state)
{
    (void)state;
    run_both(makes_a_thread, 0);
    run_both(not_after_a_thread, 0);
    run_both(forks, KILLED_BY_LIST);
    run_both(clone3_is_unknown, 0);
}

static void test_memory(void **state)
{
    (void)state;
    run_both(maps_memory, 0);
    run_both(maps_code, KILLED_BY_LIST);
    run_both(makes_code, KILLED_BY_LIST);
}

static void test_sockets(void **state)
{
    (void)state;
    run_both(unix_socket, 0);
    run_both(unix_socket_without_flag, KILLED_BY_LIST);
    run_both(inet_socket, KILLED_BY_LIST);
    run_both(vsock_socket, KILLED_BY_LIST);
    run_both(connects_outward, KILLED_BY_LIST);
}

static void test_arguments(void **state)
{
    (void)state;
    run_both(harmless_ioctl, 0);
    run_both(other_ioctl, KILLED_BY_LIST);
    run_both(names_itself, 0);
    run_both(other_prctl, KILLED_BY_LIST);
    run_both(ruled_fcntl, KILLED_BY_LIST);
    run_both(ruled_setsockopt, KILLED_BY_LIST);
    run_both(signals_itself, 0);
    run_both(signals_others, KILLED_BY_LIST);
}

static void make_files(const char *base, uid_t uid)
{
    static const char *const dirs[] = {"own", "other"};
    char path[128];
    assert_int_equal(chmod(base, 0755), 0);
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", base, dirs[i]);
        assert_true((mkdir(path, 0700) == 0 || errno == EEXIST) && chown(path, uid, uid) == 0);
        strncat(path, "/file", 6);
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        assert_true(fd >= 0 && fchown(fd, uid, uid) == 0);
        close(fd);
    }
}

static void try_landlock(void (*body)(void), int least_abi)
{
    if (sq_confine_landlock_abi() < least_abi) {
        print_message("# skipped: needs Landlock ABI %d, this kernel has %d\n", least_abi, sq_confine_landlock_abi());
        return;
    }
    make_files(own_dir, geteuid());
    assert_int_equal(end_of(body, 0), 0);
    if (geteuid() == 0) {
        make_files(own_dir, 65534);
        assert_int_equal(end_of(body, 65534), 0);
    }
}

static void remove_files(void)
{
    static const char *const left[] = {"own/file", "other/file"};
    char path[128];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", own_dir, left[i]);
        unlink(path);
        *strrchr(path, '/') = 0;
        assert_int_equal(rmdir(path), 0);
    }
    assert_int_equal(rmdir(own_dir), 0);
}

static void test_landlock(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(own_dir));
    try_landlock(no_file_at_all, 2);
    try_landlock(own_files_only, 3); /* ABI 2 can't keep truncate() back */
    try_landlock(no_tcp, 4);
    try_landlock(connects_only, 4);
    try_landlock(signals_nobody_outside, 6);
    remove_files();
}

static void test_no_new_code(void **state)
{
    (void)state;
    if (prctl(66 /* PR_GET_MDWE */, 0, 0, 0, 0) < 0)
        skip();
    run_both(turns_data_into_code, 0);
}

static void test_worker(void **state)
{
    (void)state;
    run_both(worker_lives, 0);
    run_both(worker_maps_code, KILLED_BY_LIST);
    run_both(worker_makes_code, KILLED_BY_LIST);
    run_both(worker_opens, KILLED_BY_LIST);
    run_both(worker_signals_others, KILLED_BY_LIST);
    run_both(worker_makes_a_socket, KILLED_BY_LIST);
}

static void test_lists(void **state)
{
    (void)state;
    run_both(opens_a_file, KILLED_BY_LIST);
    run_both(list_with_execve, 0);
    run_both(refusals, 0);
}

/* ---- the first lines of main ---- */

static int begin_sock = -1;

static void begins(void)
{
    setenv("SQ_LOG", "warn", 1);
    setenv("SECRET", "x", 1);
    dup2(begin_sock, 3);
    int extra = fcntl(0, F_DUPFD, 20);
    check(extra >= 20 || extra < 0, 1);
    check(sq_proc_begin("test") == SQ_OK, 2);
    check(fcntl(3, F_GETFD) >= 0 && fcntl(20, F_GETFD) < 0, 3);
    check(!getenv("SECRET") && !getenv("PATH") && getenv("SQ_LOG") && !strcmp(getenv("SQ_LOG"), "warn"), 4);
    check(umask(0) == 077, 5);
    int death = 0;
    check(!prctl(PR_GET_PDEATHSIG, &death, 0, 0, 0) && death == SIGKILL, 6);
    check(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0, 7);
    for (int fd = 0; fd < 3; fd++)
        check(fcntl(fd, F_GETFD) >= 0, 8);
}

static void begins_alone(void)
{
    dup2(begin_sock, 3);
    check(sq_proc_begin("test") == SQ_EDOWN, 1);
}

static void test_begin(void **state)
{
    (void)state;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    begin_sock = pair[0];
    assert_int_equal(end_of(begins, 0), 0);
    close(pair[1]);
    assert_int_equal(end_of(begins_alone, 0), 0);
    close(pair[0]);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_begin),   cmocka_unit_test(test_rights),    cmocka_unit_test(test_threads), cmocka_unit_test(test_memory),
        cmocka_unit_test(test_sockets), cmocka_unit_test(test_arguments), cmocka_unit_test(test_lists),
        cmocka_unit_test(test_landlock), cmocka_unit_test(test_no_new_code),  cmocka_unit_test(test_worker),
    };
    return cmocka_run_group_tests_name("confine", tests, NULL, NULL);
}
