/*
 * How a process of ours becomes small. Raw system calls and libseccomp only: this code runs once, before the first
 * thread, and each step is checked by looking at the result instead of trusting the call that should have made it.
 */
#include "lib/proc/confine.h"

#include "lib/core/log.h"
#include "lib/proc/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <malloc.h>
#include <netinet/in.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <poll.h>
#include <sched.h>
#include <seccomp.h>
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
#include <time.h>
#include <unistd.h>

#define PARENT_FD 3

#ifndef PR_SET_VMA
#define PR_SET_VMA 0x53564d41
#endif
#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

/*
 * A sanitizer's runtime maps, opens and starts threads as no list of ours allows: in such a build, which is for tests alone, processes
 * confine themselves by everything but the list. The options stand here because children get no environment.
 */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_SANITIZER 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAS_SANITIZER 1
#endif
#ifdef HAS_SANITIZER
#ifndef SQ_TEST_HOOKS
#error "sanitizers are for test builds: -Dtest_hooks=true"
#endif
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);
const char *__tsan_default_options(void);

const char *__asan_default_options(void)
{
    return "detect_leaks=0:abort_on_error=1"; /* no leaks: at the end the kernel takes all, and tracing is refused */
}

const char *__ubsan_default_options(void)
{
    return "halt_on_error=1:print_stacktrace=1";
}

const char *__tsan_default_options(void)
{
    return "second_deadlock_stack=1";
}
#endif

/* ---- the first lines of every main() --------------------------------------------------------------------------- */

static sq_err open_standard_fds(void)
{
    /* A closed 0, 1 or 2 would be filled by the next socket, and a log line written into it. */
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd)
            return sq_fail(SQ_ESYS);
    return SQ_OK;
}

/* Keeps SQ_LOG and SQ_TRACE, which choose what is logged; nothing else of ours is read from the environment. */
static sq_err empty_environment(void)
{
    static const char *const kept[] = {"SQ_LOG", "SQ_TRACE"};
    char *value[2] = {NULL, NULL};
    sq_err e = SQ_OK;
    for (size_t i = 0; i < 2; i++) {
        const char *v = getenv(kept[i]);
        if (v && !(value[i] = strdup(v)))
            e = sq_fail(SQ_ENOMEM);
    }
    if (e == SQ_OK && clearenv())
        e = sq_fail(SQ_ESYS);
    for (size_t i = 0; i < 2; i++) {
        if (e == SQ_OK && value[i] && setenv(kept[i], value[i], 1))
            e = sq_fail(SQ_ENOMEM);
        free(value[i]);
    }
    return e;
}

static sq_err no_core_dump(void)
{
    const struct rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
        return sq_fail(SQ_ESYS);
    return SQ_OK;
}

/*
 * PDEATHSIG is cleared by a change of uid, so it is set here, in the program that runs, and not by parent before exec.
 * Was parent gone before that? Its end of our socket tells: getppid() == 1 would also be true below a parent that is
 * the first process of a container.
 */
static sq_err die_with_parent(void)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
        return sq_fail(SQ_ESYS);
    struct pollfd p = {.fd = PARENT_FD, .events = POLLIN};
    if (poll(&p, 1, 0) < 0)
        return sq_fail(SQ_ESYS);
    return p.revents & (POLLHUP | POLLERR) ? sq_fail(SQ_EDOWN) : SQ_OK;
}

sq_err sq_proc_begin(const char *role)
{
    sq_log_role(role);
    sq_err e = no_core_dump();
    if (e == SQ_OK)
        e = open_standard_fds();
    if (e == SQ_OK && close_range(PARENT_FD + 1, ~0U, 0))
        e = sq_fail(SQ_ESYS);
    if (e == SQ_OK)
        e = empty_environment();
    mallopt(M_ARENA_MAX, 1); /* with more, malloc opens files: /sys to count cores, /proc/sys/vm before it shrinks one */
    tzset();                 /* and the first gmtime_r opens /etc/localtime */
    umask(077);
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR && e == SQ_OK)
        e = sq_fail(SQ_ESYS);
    if (e == SQ_OK && strcmp(role, "parent")) /* parent itself lives as long as whoever started it wants */
        e = die_with_parent();
    return e;
}

/* ---- capabilities ------------------------------------------------------------------------------------------------ */

static sq_err get_caps(uint64_t *out_effective, uint64_t *out_permitted)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    if (syscall(SYS_capget, &head, data))
        return sq_fail(SQ_ESYS);
    *out_effective = data[0].effective | (uint64_t)data[1].effective << 32;
    *out_permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
    return SQ_OK;
}

static sq_err set_caps(uint64_t caps)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{0}, {0}};
    data[0].effective = data[0].permitted = (uint32_t)caps;
    data[1].effective = data[1].permitted = (uint32_t)(caps >> 32);
    return syscall(SYS_capset, &head, data) ? sq_fail(SQ_ESYS) : SQ_OK;
}

/*
 * Leaves exactly @keep, or less where we never had it. The bounding set can be cut only with CAP_SETPCAP; without it
 * an empty permitted set and no_new_privs already say that nothing comes back.
 */
static sq_err drop_caps(uint64_t keep)
{
    uint64_t effective = 0, permitted = 0;
    sq_err e = get_caps(&effective, &permitted);
    if (e != SQ_OK)
        return e;
    if (effective & (1ULL << CAP_SETPCAP))
        for (int cap = 0; cap < 64 && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
            if (!(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
                return sq_fail(SQ_ESYS);
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
        return sq_fail(SQ_ESYS);
    /* Under a service manager there may be nothing to drop, and capset itself be refused: the result counts. */
    sq_err dropped = set_caps(keep & permitted);
    if ((e = get_caps(&effective, &permitted)) != SQ_OK)
        return e;
    if (dropped != SQ_OK && permitted)
        return dropped;
    return (effective | permitted) & ~keep ? sq_fail(SQ_ESYS) : SQ_OK;
}

/* ---- the list of system calls -------------------------------------------------------------------------------------- */

/* Calls that no list of ours may name: each one reaches into other processes, the kernel's wide back doors, or a new program. */
static const int never[] = {
    SYS_ptrace,       SYS_process_vm_readv, SYS_process_vm_writev, SYS_keyctl,          SYS_add_key,
    SYS_request_key,  SYS_bpf,              SYS_perf_event_open,   SYS_io_uring_setup,  SYS_io_uring_enter,
    SYS_userfaultfd,  SYS_mount,            SYS_umount2,           SYS_pivot_root,      SYS_chroot,
    SYS_setns,        SYS_unshare,          SYS_init_module,       SYS_finit_module,    SYS_kexec_load,
    SYS_execve,       SYS_execveat,         SYS_personality,       SYS_open_by_handle_at, SYS_pidfd_getfd,
};

static bool is_never(int call)
{
    for (size_t i = 0; i < sizeof never / sizeof never[0]; i++)
        if (never[i] == call)
            return true;
    return false;
}

static int allow_one(scmp_filter_ctx filter, int call, struct scmp_arg_cmp arg)
{
    return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 1, &arg);
}

static int allow_ioctls(scmp_filter_ctx filter)
{
    /* isatty, bytes waiting, non-blocking, and where a file lies on the disk (storer checks that an overwrite hit it) */
    static const unsigned long harmless[] = {TCGETS, FIONREAD, FIONBIO, FS_IOC_FIEMAP};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof harmless / sizeof harmless[0]; i++)
        rc = allow_one(filter, SYS_ioctl, SCMP_A1(SCMP_CMP_EQ, harmless[i], 0));
    return rc;
}

/* Not among them: F_SETOWN and F_SETSIG, which make the kernel send signals to others; leases and notes about files. */
static int allow_fcntls(scmp_filter_ctx filter)
{
    static const int plain[] = {F_DUPFD, F_DUPFD_CLOEXEC, F_GETFD,  F_SETFD,       F_GETFL,        F_SETFL,       F_GETLK,
                                F_SETLK, F_SETLKW,        F_OFD_SETLK, F_ADD_SEALS, F_GET_SEALS, F_GETPIPE_SZ, F_SETPIPE_SZ};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof plain / sizeof plain[0]; i++)
        rc = allow_one(filter, SYS_fcntl, SCMP_A1(SCMP_CMP_EQ, (unsigned)plain[i], 0));
    return rc;
}

/* Waiting times, buffers and TCP's ways of sending; not among them: filters (SO_ATTACH_BPF), devices, marks, other protocols. */
static int allow_setsockopts(scmp_filter_ctx filter, unsigned flags)
{
    static const int of_sockets[] = {SO_RCVTIMEO, SO_SNDTIMEO, SO_KEEPALIVE, SO_LINGER, SO_SNDBUF, SO_RCVBUF, SO_REUSEADDR};
    int rc = allow_one(filter, SYS_setsockopt, SCMP_A1(SCMP_CMP_EQ, IPPROTO_TCP, 0));
    if (rc == 0 && flags & SQ_CONFINE_NET) /* the resolver wants to hear of errors */
        rc = allow_one(filter, SYS_setsockopt, SCMP_A1(SCMP_CMP_EQ, IPPROTO_IP, 0));
    if (rc == 0 && flags & SQ_CONFINE_NET)
        rc = allow_one(filter, SYS_setsockopt, SCMP_A1(SCMP_CMP_EQ, IPPROTO_IPV6, 0));
    for (size_t i = 0; rc == 0 && i < sizeof of_sockets / sizeof of_sockets[0]; i++) {
        struct scmp_arg_cmp both[] = {SCMP_A1(SCMP_CMP_EQ, SOL_SOCKET, 0), SCMP_A2(SCMP_CMP_EQ, (unsigned)of_sockets[i], 0)};
        rc = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, SYS_setsockopt, 2, both);
    }
    return rc;
}

static int allow_sockets(scmp_filter_ctx filter, int call, unsigned flags)
{
    static const struct {
        int family;
        unsigned flags;
    } rows[] = {{AF_UNIX, SQ_CONFINE_UNIX | SQ_CONFINE_NET}, {AF_INET, SQ_CONFINE_NET}, {AF_INET6, SQ_CONFINE_NET}};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof rows / sizeof rows[0]; i++)
        for (unsigned type = SOCK_STREAM; rc == 0 && rows[i].flags & flags && type <= SOCK_SEQPACKET; type++) {
            if (type != SOCK_STREAM && type != SOCK_DGRAM && type != SOCK_SEQPACKET)
                continue; /* no raw packets; above the type are SOCK_CLOEXEC and SOCK_NONBLOCK */
            struct scmp_arg_cmp both[] = {SCMP_A0(SCMP_CMP_EQ, (unsigned)rows[i].family, 0), SCMP_A1(SCMP_CMP_MASKED_EQ, 0xf, type)};
            rc = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, 2, both);
        }
    if (rc == 0 && flags & SQ_CONFINE_NET) /* getaddrinfo asks which address families the machine has, and does without an answer */
        rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), call, 1, SCMP_A0(SCMP_CMP_EQ, AF_NETLINK, 0));
    return rc;
}

static int allow_prctls(scmp_filter_ctx filter)
{
    int rc = allow_one(filter, SYS_prctl, SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME, 0));
    if (rc == 0)
        rc = allow_one(filter, SYS_prctl, SCMP_A0(SCMP_CMP_EQ, PR_GET_NAME, 0));
    if (rc == 0) /* names of memory areas, set by newer C libraries, which do without */
        rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EINVAL), SYS_prctl, 1, SCMP_A0(SCMP_CMP_EQ, PR_SET_VMA, 0));
    return rc;
}

/* One line of a daemon's list; calls with a dangerous argument get the filter that comes with every list. */
static int allow_call(scmp_filter_ctx filter, int call, unsigned flags)
{
    static const uint64_t thread_mask = CLONE_VM | CLONE_THREAD | CLONE_SIGHAND | CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS |
                                        CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE;
    switch (call) {
    case SYS_clone:
        return allow_one(filter, call, SCMP_A0(SCMP_CMP_MASKED_EQ, thread_mask, CLONE_VM | CLONE_THREAD | CLONE_SIGHAND));
    case SYS_clone3: /* its flags lie in memory, where a filter can't look: see add_rules */
        return 0;
    case SYS_mmap:
    case SYS_mprotect:
    case SYS_pkey_mprotect:
        return allow_one(filter, call, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    case SYS_openat:
        return flags & SQ_CONFINE_READ ? allow_one(filter, call, SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC | O_APPEND, O_RDONLY))
                                       : seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
    case SYS_socket:
    case SYS_socketpair:
        return allow_sockets(filter, call, flags);
    case SYS_setsockopt:
        return allow_setsockopts(filter, flags);
    case SYS_fcntl:
        return allow_fcntls(filter);
    case SYS_kill:
    case SYS_tgkill: /* abort(), and a fault hook: itself alone */
        return allow_one(filter, call, SCMP_A0(SCMP_CMP_EQ, (unsigned)getpid(), 0));
    case SYS_prctl:
        return allow_prctls(filter);
    case SYS_ioctl:
        return allow_ioctls(filter);
    default:
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 0);
    }
}

static int add_rules(scmp_filter_ctx filter, const int *calls, size_t n_call, unsigned flags)
{
    /* pthread_create tries clone3 first and falls back to clone, whose flags a filter can see. */
    int rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SYS_clone3, 0);
    for (size_t i = 0; rc == 0 && i < n_call; i++) {
        rc = is_never(calls[i]) ? -EINVAL : allow_call(filter, calls[i], flags);
        if (rc == -EEXIST) /* named twice */
            rc = 0;
    }
    return rc;
}

#ifdef SQ_TEST_HOOKS
/* In test builds a call outside the list says its name before the process ends, so that a list can be completed. */
static const char *call_name[512];

static void on_sigsys(int signal_no, siginfo_t *info, void *context)
{
    (void)signal_no, (void)context;
    int no = info->si_syscall;
    char line[160];
    int n = snprintf(line, sizeof line, "seccomp: system call %d (%s) is not in this process's list\n", no,
                     no >= 0 && no < 512 && call_name[no] ? call_name[no] : "?");
    if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
        _exit(128 + SIGSYS);
    _exit(128 + SIGSYS);
}

static sq_err catch_sigsys(void)
{
    for (int i = 0; i < 512; i++)
        call_name[i] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, i);
    struct sigaction action = {.sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO | SA_NODEFER};
    return sigaction(SIGSYS, &action, NULL) ? sq_fail(SQ_ESYS) : SQ_OK;
}
#define OUTSIDE_LIST SCMP_ACT_TRAP
#else
static sq_err catch_sigsys(void)
{
    return SQ_OK;
}
#define OUTSIDE_LIST SCMP_ACT_KILL_PROCESS
#endif

/* The other way round, for the two that start programs of other people: what nobody below them may do. */
static int add_refusals(scmp_filter_ctx filter, const int *calls, size_t n_call)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < n_call; i++)
        rc = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), calls[i], 0);
    return rc;
}

static sq_err load_list(const int *calls, size_t n_call, unsigned flags)
{
#ifdef HAS_SANITIZER
    return SQ_OK;
#endif
    bool is_deny = flags & SQ_CONFINE_DENY;
    sq_err e = is_deny ? SQ_OK : catch_sigsys();
    if (e != SQ_OK)
        return e;
    scmp_filter_ctx filter = seccomp_init(is_deny ? SCMP_ACT_ALLOW : OUTSIDE_LIST);
    if (!filter)
        return sq_fail(SQ_ENOMEM);
    if (seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) || /* i386 and x32 calls on x86-64 */
        seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2) ||                     /* binary tree: long lists stay cheap */
        (is_deny ? add_refusals(filter, calls, n_call) : add_rules(filter, calls, n_call, flags)) || seccomp_load(filter))
        e = sq_fail(SQ_ESYS);
    seccomp_release(filter);
    return e;
}

/* Capabilities belong to a thread: one that already runs would keep its own. */
static bool is_single_thread(void)
{
#ifdef HAS_SANITIZER
    return true; /* TSan has a thread of its own */
#endif
    struct stat st;
    return stat("/proc/self/task", &st) || st.st_nlink <= 3;
}

sq_err sq_confine(const int *calls, size_t n_call, unsigned flags, uint64_t keep_caps)
{
    if (!is_single_thread())
        return sq_fail(SQ_EINTERNAL);
    sq_err e = no_core_dump();
    if (e != SQ_OK)
        return e;
    if ((e = drop_caps(keep_caps)) != SQ_OK)
        return e;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return sq_fail(SQ_ESYS);
    int abi = 0;
    if ((e = sq_landlock_restrict(flags, &abi)) != SQ_OK)
        return e;
    /* Since Linux 6.3; what a list says of mmap and mprotect holds on every kernel, but has to trust that no page is both now. */
    bool is_mdwe = !prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0);
    sq_log(SQ_LOG_confined, SQ_LN("seccomp", n_call), SQ_LN("caps", (int64_t)keep_caps), SQ_LN("landlock", abi), SQ_LN("mdwe", is_mdwe));
    return n_call ? load_list(calls, n_call, flags) : SQ_OK;
}

int sq_confine_landlock_abi(void)
{
    return sq_landlock_abi();
}
