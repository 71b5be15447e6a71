/*
 * Plain system calls, because the question is what the kernel answers: a C library might refuse on its own. Runs as the
 * only program below a root of one file, so there is no /proc to look into.
 */
#include "worker/stage_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <net/if.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define N_EXPECTED_FD 6 /* 0, 1, 2, control, script, findings */
#define LAST_FAMILY 60  /* AF_MAX is 46 in Linux 6: some to spare */

static int findings = -1;

static void say(const char *line)
{
    size_t n = strlen(line);
    while (n > 0) {
        ssize_t k = write(findings, line, n);
        if (k <= 0)
            return;
        line += k;
        n -= (size_t)k;
    }
}

static void found(const char *name, bool is_held, long detail)
{
    char line[160];
    if (is_held)
        snprintf(line, sizeof line, "held %s\n", name);
    else
        snprintf(line, sizeof line, "broken %s %ld\n", name, detail);
    say(line);
}

/* Held when the call fails; a result is what got through. */
static void must_fail(const char *name, long result)
{
    found(name, result < 0, result);
}

/* ---- walls ---------------------------------------------------------------------------------------------------------------- */

static void try_sockets(void)
{
    static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_RAW, SOCK_SEQPACKET, SOCK_RDM};
    long leak = -1;
    for (int family = 0; family < LAST_FAMILY; family++)
        for (size_t t = 0; family != AF_UNIX && t < sizeof types / sizeof types[0]; t++)
            for (int protocol = 0; protocol < 20; protocol++) {
                int pair[2];
                if (syscall(SYS_socket, family, types[t], protocol) >= 0 || syscall(SYS_socketpair, family, types[t], protocol, pair) >= 0)
                    leak = family;
            }
    found("no_socket_but_unix", leak < 0, leak);
    /* the family is an int: high bits must not get another one past the filter */
    must_fail("no_socket_by_high_bits", syscall(SYS_socket, (1ULL << 32) | AF_INET, SOCK_STREAM, 0));
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    found("unix_socket_works", fd >= 0, errno);

    struct ifreq lo;
    memset(&lo, 0, sizeof lo);
    strcpy(lo.ifr_name, "lo");
    found("lo_not_up", fd < 0 || ioctl(fd, SIOCGIFFLAGS, &lo) < 0 || !(lo.ifr_flags & IFF_UP), lo.ifr_flags);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(22), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    union {
        struct sockaddr any;
        struct sockaddr_in in;
    } address = {.in = here};
    must_fail("no_connect_to_127_0_0_1", connect(fd, &address.any, sizeof address.in));
    if (fd >= 0)
        close(fd);
}

static void try_files(void)
{
    static const char *const host[] = {"/etc/passwd", "/proc/self/status", "/proc/1/environ", "/sys/kernel", "/home", "/root", "/usr",
                                       "/var/lib/sequester", "/tmp", "/run", "/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/fuse",
                                       "/dev/net/tun", "/dev/kvm", "/dev/shm", "/dev/pts", "/dev/mqueue"};
    static const char *const places[] = {"/x", "/dev/x", "/worker", "./x"};
    for (size_t i = 0; i < sizeof host / sizeof host[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "no_file:%s", host[i]);
        must_fail(name, open(host[i], O_RDONLY | O_CLOEXEC));
    }
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "read_only:%s", places[i]);
        int fd = open(places[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        found(name, fd < 0 && (errno == EROFS || errno == EACCES || errno == EPERM), fd < 0 ? -errno : fd);
    }
    must_fail("no_tmpfile", open("/", O_TMPFILE | O_RDWR, 0600));
    must_fail("no_mkdir", mkdir("/x", 0700));
    must_fail("no_unlink", unlink("/worker"));
    must_fail("no_rename", rename("/worker", "/x"));
    must_fail("no_mknod", syscall(SYS_mknodat, AT_FDCWD, "/x", S_IFCHR | 0600, makedev(1, 1)));
    must_fail("no_dotdot", open("/../../../etc/passwd", O_RDONLY | O_CLOEXEC));
    struct stat root, up;
    found("root_is_top", !stat("/", &root) && !stat("/..", &up) && root.st_ino == up.st_ino && root.st_dev == up.st_dev, errno);
}

static void try_processes(void)
{
    found("pid_1_is_us", getpid() == 1 && getppid() == 0, getpid());
    long seen = 0;
    for (pid_t pid = 2; pid < 70000; pid++)
        if (kill(pid, 0) == 0 || errno != ESRCH)
            seen = pid;
    found("no_other_process", seen == 0, seen);
    must_fail("no_signal_to_all", kill(-1, 0));
    must_fail("no_ptrace", syscall(SYS_ptrace, PTRACE_TRACEME, 0, NULL, NULL));
    char byte = 0;
    must_fail("no_process_vm_readv", syscall(SYS_process_vm_readv, getpid(), &byte, 0, &byte, 0, 0));
}

static void try_descriptors(void)
{
    long stray = -1, missing = -1;
    for (int fd = 0; fd < 4096; fd++) {
        bool is_open = fcntl(fd, F_GETFD) >= 0;
        if (is_open && fd >= N_EXPECTED_FD)
            stray = fd;
        if (!is_open && fd < N_EXPECTED_FD)
            missing = fd;
    }
    found("no_stray_descriptor", stray < 0, stray);
    found("all_descriptors", missing < 0, missing);
    struct stat st, null;
    found("standard_fds_are_null", !stat("/dev/null", &null) && !fstat(0, &st) && st.st_rdev == null.st_rdev && !fstat(1, &st) &&
          st.st_rdev == null.st_rdev && !fstat(2, &st) && st.st_rdev == null.st_rdev, errno);
    must_fail("no_chmod_of_null", fchmod(1, 0600));
    must_fail("no_chown_of_null", fchown(1, 1, 1));
}

static void try_namespaces(void)
{
    static const struct {
        const char *name;
        unsigned long flag;
    } kinds[] = {{"user", CLONE_NEWUSER}, {"mount", CLONE_NEWNS}, {"pid", CLONE_NEWPID}, {"net", CLONE_NEWNET},
                 {"ipc", CLONE_NEWIPC},   {"uts", CLONE_NEWUTS},  {"cgroup", CLONE_NEWCGROUP}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char name[64];
        snprintf(name, sizeof name, "no_unshare:%s", kinds[i].name);
        must_fail(name, syscall(SYS_unshare, kinds[i].flag));
        snprintf(name, sizeof name, "no_clone:%s", kinds[i].name);
        long child = syscall(SYS_clone, kinds[i].flag | SIGCHLD, NULL, NULL, NULL, NULL);
        if (child == 0)
            syscall(SYS_exit_group, 0);
        must_fail(name, child);
    }
    uint64_t args[11] = {CLONE_NEWUSER};
    long child = syscall(SYS_clone3, args, sizeof args);
    if (child == 0)
        syscall(SYS_exit_group, 0);
    found("clone3_is_unknown", child < 0 && errno == ENOSYS, child < 0 ? -errno : child);
    must_fail("no_setns", syscall(SYS_setns, 0, 0));
    must_fail("no_mount", mount("none", "/dev", "tmpfs", 0, NULL));
    must_fail("no_umount", umount2("/dev", MNT_DETACH));
    must_fail("no_remount", mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND, NULL));
    must_fail("no_fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    must_fail("no_open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
    must_fail("no_pivot_root", syscall(SYS_pivot_root, "/", "/dev"));
    must_fail("no_chroot", chroot("/dev"));
    must_fail("no_sethostname", sethostname("x", 1));
    struct utsname name;
    found("host_name_hidden", !uname(&name) && !strcmp(name.nodename, "sandbox"), errno);
}

static void try_kernel(void)
{
    char zeros[256] = {0};
    must_fail("no_keyctl", syscall(SYS_keyctl, 0, -3, 0, 0, 0));
    must_fail("no_add_key", syscall(SYS_add_key, "user", "x", zeros, 1, -3));
    must_fail("no_bpf", syscall(SYS_bpf, 0, zeros, sizeof zeros));
    must_fail("no_perf_event_open", syscall(SYS_perf_event_open, zeros, 0, -1, -1, 0));
    must_fail("no_io_uring", syscall(SYS_io_uring_setup, 4, zeros));
    must_fail("no_userfaultfd", syscall(SYS_userfaultfd, 0));
    must_fail("no_kernel_log", syscall(SYS_syslog, 3, zeros, sizeof zeros));
    must_fail("no_module", syscall(SYS_finit_module, 0, "", 0));
    must_fail("no_handles", syscall(SYS_open_by_handle_at, AT_FDCWD, zeros, 0));
    must_fail("no_personality", syscall(SYS_personality, 0x0040000));
    must_fail("no_shm", syscall(SYS_shmget, 0, 4096, 01600));
    must_fail("no_mq", syscall(SYS_mq_open, "x", O_CREAT | O_RDWR, 0600, NULL));
    must_fail("no_clock_settime", clock_settime(CLOCK_REALTIME, &(struct timespec){0}));
    must_fail("no_quota", syscall(SYS_quotactl, 0, "/", 0, NULL));
#ifdef __x86_64__
    must_fail("no_iopl", syscall(SYS_iopl, 3));
#endif
}

static void try_rights(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct caps[2] = {{0}, {0}};
    long rc = syscall(SYS_capget, &head, caps);
    uint32_t any = caps[0].effective | caps[1].effective | caps[0].permitted | caps[1].permitted | caps[0].inheritable;
    found("no_capability", rc == 0 && any == 0, (long)any);
    caps[0].effective = caps[0].permitted = 1U << CAP_CHOWN;
    must_fail("no_capability_taken", syscall(SYS_capset, &head, caps));
    found("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1, 0);
    found("seccomp_filter", prctl(PR_GET_SECCOMP, 0, 0, 0, 0) == 2, 0);
    found("not_root", getuid() != 0 && geteuid() != 0 && getgid() != 0 && getegid() != 0, getuid());
    must_fail("no_setuid_0", setuid(0));
    must_fail("no_setgid_0", setgid(0));
    must_fail("no_setresuid_other", setresuid(7, 7, 7));
    struct rlimit core;
    found("no_core_dump", !getrlimit(RLIMIT_CORE, &core) && core.rlim_max == 0, 0);
    must_fail("no_limit_raised", setrlimit(RLIMIT_CORE, &(struct rlimit){1 << 20, 1 << 20}));
}

static int probe_walls(void)
{
    try_descriptors(); /* first: later tries may open something */
    try_sockets();
    try_files();
    try_processes();
    try_namespaces();
    try_kernel();
    try_rights();
    return 0;
}

/* ---- using things up -------------------------------------------------------------------------------------------------------- */

/* Every process that there is makes more, for ever: only the pids limit and the clock end it. */
static _Noreturn void fork_for_ever(void)
{
    long n = 0;
    bool is_said = false, is_first = true;
    for (;;) {
        pid_t child = fork();
        if (child == 0)
            is_first = false;
        if (child > 0)
            n++;
        if (child < 0 && is_first && !is_said) {
            found("forks_refused", n < 64, n);
            if (n == 0)
                say("no_fork_at_all\n");
            say("done\n");
            is_said = true;
        }
    }
}

static void *thread_waits(void *arg)
{
    pause();
    return arg;
}

/* Threads of one process: small stacks, so that their number is what ends it. */
static int probe_threads(void)
{
    long n = 0;
    pthread_attr_t attr;
    pthread_t thread;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 64U << 10);
    while (n < 1000 && !pthread_create(&thread, &attr, thread_waits, NULL))
        n++;
    found("threads_refused", n > 0 && n < 64, n);
    return 0;
}

static int probe_forks(void)
{
    fork_for_ever();
    return 0;
}

static _Noreturn void eat_memory(void)
{
    for (;;) {
        const size_t n = 16U << 20;
        uint8_t *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            _exit(9);
        memset(p, 0x5a, n);
    }
}

static int probe_memory(void)
{
    say("done\n");
    eat_memory();
    return 0;
}

static int probe_memory_child(void)
{
    pid_t child = fork();
    if (child == 0)
        eat_memory();
    int status = 0;
    waitpid(child, &status, 0);
    found("child_was_killed", WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, status);
    return 0;
}

static int probe_spin(void)
{
    for (int i = 0; i < 12; i++)
        if (fork() == 0)
            for (;;)
                ;
    struct timespec end = {.tv_sec = 2};
    nanosleep(&end, NULL);
    return 0; /* the children end with us, the first process */
}

/* A memfd is the one file that could be written; the file size limit holds for it. */
static int probe_disk(void)
{
    static const char bytes[4096];
    signal(SIGXFSZ, SIG_IGN);
    int fd = memfd_create("x", MFD_CLOEXEC);
    found("no_file_written", fd < 0 || pwrite(fd, bytes, sizeof bytes, 4096) < 0, errno);
    found("no_file_grown", fd < 0 || ftruncate(fd, 1 << 20) < 0, errno);
    return 0;
}

static int probe_sleep(void)
{
    say("done\n");
    while (pause() < 0)
        ;
    return 0;
}

static int probe_exit7(void)
{
    return 7;
}

static int probe_crash(void)
{
    volatile int *volatile nowhere = NULL;
    *nowhere = 1;
    return 0;
}

static const struct {
    const char *word;
    int (*run)(void);
} probes[] = {{"walls", probe_walls}, {"forks", probe_forks}, {"memory", probe_memory}, {"memory_child", probe_memory_child},
              {"spin", probe_spin},   {"disk", probe_disk},   {"sleep", probe_sleep}, {"threads", probe_threads},   {"exit7", probe_exit7},
              {"crash", probe_crash}};

int sq_stage_probe(int script_fd, int findings_fd)
{
    char word[32] = {0};
    size_t n = 0;
    ssize_t k;
    while (n < sizeof word - 1 && (k = read(script_fd, word + n, sizeof word - 1 - n)) > 0)
        n += (size_t)k;
    findings = findings_fd;
    for (size_t i = 0; i < sizeof probes / sizeof probes[0]; i++)
        if (!strcmp(word, probes[i].word)) {
            int status = probes[i].run();
            say("done\n");
            return status;
        }
    return 64;
}
