/*
 * The OCI bundle's config.json (opencontainers/runtime-spec 1.0). A template with numbers: nothing in it comes from
 * outside but the task's id in hex, so there is nothing to escape and no JSON library in a privileged process.
 *
 * No network namespace is named: the thread that starts the runtime has just moved into a fresh one, whose lo was never
 * raised. A runtime that makes one itself raises lo; and this one belongs to the host's user namespace, so not even a
 * root inside the sandbox could configure it.
 */
#include "daemon/jailer/jailer_internal.h"

#include <stdio.h>

/*
 * What the kernel answers inside. The worker then drops to a still smaller list of its own (src/worker); this one holds
 * if it is taken over before that. Refusals answer EPERM: a library that tries something gets its fallback.
 */
static const char allowed_calls[] =
    /* bytes through the descriptors it was given */
    "\"read\",\"write\",\"readv\",\"writev\",\"pread64\",\"pwrite64\",\"preadv\",\"pwritev\",\"lseek\",\"close\",\"close_range\","
    "\"fstat\",\"newfstatat\",\"statx\",\"stat\",\"lstat\",\"fcntl\",\"dup\",\"dup2\",\"dup3\",\"pipe\",\"pipe2\",\"poll\",\"ppoll\","
    "\"select\",\"pselect6\",\"epoll_create1\",\"epoll_ctl\",\"epoll_wait\",\"epoll_pwait\",\"eventfd2\",\"splice\",\"tee\",\"vmsplice\","
    "\"sendmsg\",\"recvmsg\",\"sendto\",\"recvfrom\",\"shutdown\",\"fsync\",\"fdatasync\",\"getsockopt\",\"getsockname\",\"getpeername\",\"fadvise64\","
    /* the root is read-only and holds one file */
    "\"open\",\"openat\",\"access\",\"faccessat\",\"faccessat2\",\"readlink\",\"readlinkat\",\"getdents64\",\"getcwd\",\"chdir\",\"fstatfs\","
    "\"mkdir\",\"mkdirat\",\"unlink\",\"unlinkat\",\"rename\",\"renameat2\",\"umask\",\"ftruncate\",\"memfd_create\",\"execve\","
    /* memory */
    "\"mmap\",\"mprotect\",\"munmap\",\"mremap\",\"madvise\",\"brk\",\"mlock\",\"munlock\",\"membarrier\",\"mincore\","
    /* threads, processes of its own, signals */
    "\"futex\",\"set_robust_list\",\"get_robust_list\",\"rseq\",\"set_tid_address\",\"arch_prctl\",\"exit\",\"exit_group\","
    "\"wait4\",\"waitid\",\"kill\",\"tkill\",\"tgkill\",\"rt_sigaction\",\"rt_sigprocmask\",\"rt_sigreturn\","
    "\"rt_sigpending\",\"rt_sigsuspend\",\"rt_sigtimedwait\",\"sigaltstack\",\"pause\",\"alarm\",\"setitimer\",\"restart_syscall\","
    "\"sched_yield\",\"sched_getaffinity\",\"sched_setaffinity\",\"getpriority\",\"setpriority\",\"getcpu\","
    /* who and when am I; giving up rights */
    "\"getpid\",\"getppid\",\"gettid\",\"getpgrp\",\"getuid\",\"geteuid\",\"getgid\",\"getegid\",\"getgroups\",\"getresuid\",\"getresgid\","
    "\"setuid\",\"setgid\",\"setresuid\",\"setresgid\",\"setgroups\",\"setsid\",\"capget\",\"capset\",\"prctl\",\"seccomp\","
    "\"landlock_create_ruleset\",\"landlock_add_rule\",\"landlock_restrict_self\",\"uname\",\"sysinfo\",\"times\",\"getrusage\","
    "\"getrlimit\",\"setrlimit\",\"prlimit64\",\"clock_gettime\",\"clock_getres\",\"clock_nanosleep\",\"nanosleep\",\"gettimeofday\","
    "\"time\",\"getrandom\"";

#define RESERVED_ADDRESSES (2ULL << 30) /* 16 threads with an arena of 128 MiB each */
#define CLONE_THREAD_BIT 0x10000U
#define NEW_NAMESPACES 2114060288U /* CLONE_NEWNS|NEWCGROUP|NEWUTS|NEWIPC|NEWUSER|NEWPID|NEWNET */

/*
 * Who the program is in there. With a block of ids, user 1. Of one id crun makes any number; runc knows only 0, which is as
 * powerless: no capability, none to be had.
 */
static unsigned id_inside(const struct jail_ground *g)
{
    return g->is_user && !g->is_crun ? 0 : 1;
}

/*
 * Without a cgroup: jailer_watch.c kills above the limit, and these bound what can be taken between two looks. DATA counts
 * what is written to, AS also shared memory, and addresses that malloc reserves for each thread and never uses.
 */
static sq_err add_memory_bounds(struct sq_buf *b, const struct jail_limits *l)
{
    const unsigned long long data = 2 * l->mem_bytes, all = data + l->input_bytes + RESERVED_ADDRESSES;
    return sq_buf_addf(b,
                       "{\"type\":\"RLIMIT_DATA\",\"hard\":%llu,\"soft\":%llu},"
                       "{\"type\":\"RLIMIT_AS\",\"hard\":%llu,\"soft\":%llu},",
                       data, data, all, all);
}

/*
 * No file can be written in there; the file size limit says it once more, for memfds too. Not 0, because crun writes its
 * last line of a few bytes (a pid, on hybrid hosts into the tmpfs of jailer_ground.c) when it already holds.
 */
static sq_err add_process(struct sq_buf *b, const struct jail_ground *g, const struct jail_limits *l)
{
    const unsigned id = id_inside(g);
    sq_err e = sq_buf_addf(b,
                       "{\"ociVersion\":\"1.0.0\",\"process\":{\"terminal\":false,\"user\":{\"uid\":%u,\"gid\":%u},"
                       "\"args\":[\"/worker\"],\"env\":[],\"cwd\":\"/\","
                       "\"capabilities\":{\"bounding\":[],\"effective\":[],\"permitted\":[],\"inheritable\":[],\"ambient\":[]},"
                       "\"noNewPrivileges\":true,\"rlimits\":[", id, id);
    if (e == SQ_OK && !g->has_cgroup)
        e = add_memory_bounds(b, l);
    if (e == SQ_OK && !g->is_user) /* an ordinary user's: jail_user_limit_threads */
        e = sq_buf_addf(b, "{\"type\":\"RLIMIT_NPROC\",\"hard\":%u,\"soft\":%u},", l->n_proc, l->n_proc);
    return e != SQ_OK ? e : sq_buf_addf(b,
                       "{\"type\":\"RLIMIT_CORE\",\"hard\":0,\"soft\":0},"
                       "{\"type\":\"RLIMIT_FSIZE\",\"hard\":4096,\"soft\":4096},"
                       "{\"type\":\"RLIMIT_MSGQUEUE\",\"hard\":0,\"soft\":0},"
                       "{\"type\":\"RLIMIT_NOFILE\",\"hard\":64,\"soft\":64},"
                       "{\"type\":\"RLIMIT_CPU\",\"hard\":%u,\"soft\":%u}]},",
                       l->cpu_s, l->cpu_s);
}

/*
 * /dev has to be there for the runtime: it holds null, zero, full, tty, random, urandom and can't be written to. runc also
 * can't do without /proc: then it shows the sandbox's own pid namespace, read-only, with the host's parts masked.
 */
static sq_err add_root(struct sq_buf *b, bool has_proc)
{
    return sq_buf_addf(b,
                       "\"root\":{\"path\":\"" JAIL_ROOT_DIR "\",\"readonly\":true},\"hostname\":\"sandbox\",\"mounts\":["
                       "{\"destination\":\"/dev\",\"type\":\"tmpfs\",\"source\":\"tmpfs\","
                       "\"options\":[\"nosuid\",\"noexec\",\"ro\",\"size=64k\",\"mode=755\"]}%s],",
                       has_proc ? ",{\"destination\":\"/proc\",\"type\":\"proc\",\"source\":\"proc\","
                                  "\"options\":[\"nosuid\",\"noexec\",\"nodev\",\"ro\"]}"
                                : "");
}

/* In its own user namespace: a block of the host's ids, or the one id of an ordinary user (0 in jailer's namespace). */
static sq_err add_namespaces(struct sq_buf *b, const struct jail_ground *g, unsigned block)
{
    const unsigned inside = g->is_user ? id_inside(g) : 0, n = g->is_user ? 1 : JAIL_IDS_PER_SANDBOX,
                   outside = g->is_user ? 0 : g->first_host_id + block * JAIL_IDS_PER_SANDBOX;
    return sq_buf_addf(b,
                       "\"linux\":{\"namespaces\":[{\"type\":\"user\"},{\"type\":\"pid\"},{\"type\":\"mount\"},{\"type\":\"ipc\"},"
                       "{\"type\":\"uts\"},{\"type\":\"cgroup\"}],"
                       "\"uidMappings\":[{\"containerID\":%u,\"hostID\":%u,\"size\":%u}],"
                       "\"gidMappings\":[{\"containerID\":%u,\"hostID\":%u,\"size\":%u}],",
                       inside, outside, n, inside, outside, n);
}

static sq_err add_limits(struct sq_buf *b, const struct jail_ground *g, const struct jail_limits *l, const char *id)
{
    if (!g->has_cgroup)
        return SQ_OK;
    const unsigned long long mem = l->mem_bytes;
    /* nine tenths of the machine, at half the weight of the daemons: they stay quick when every sandbox is busy */
    const unsigned quota_us = l->n_cpu * 90000U;
    return sq_buf_addf(b,
                       "\"cgroupsPath\":\"%s/%s\",\"resources\":{%s"
                       "\"memory\":{\"limit\":%llu,\"swap\":%llu},"
                       "\"cpu\":{\"shares\":512,\"quota\":%u,\"period\":100000},\"pids\":{\"limit\":%u}},",
                       /* a device list is a BPF program in v2, which an ordinary user can't load */
                       g->cgroup, id, g->is_user ? "" : "\"devices\":[{\"allow\":false,\"access\":\"rwm\"}],", mem, mem, quota_us,
                       l->n_proc);
}

/* A sandbox without a cgroup makes threads only: then it is one process, whose limits are the sandbox's. */
static sq_err add_kernel(struct sq_buf *b, const struct jail_ground *g)
{
    const unsigned clone_mask = NEW_NAMESPACES | (g->has_cgroup ? 0 : CLONE_THREAD_BIT), clone_value = g->has_cgroup ? 0 : CLONE_THREAD_BIT;
    return sq_buf_addf(b,
                       "\"maskedPaths\":[\"/proc/acpi\",\"/proc/asound\",\"/proc/bus\",\"/proc/driver\",\"/proc/fs\",\"/proc/irq\","
                       "\"/proc/kallsyms\",\"/proc/kcore\",\"/proc/key-users\",\"/proc/keys\",\"/proc/kmsg\",\"/proc/latency_stats\","
                       "\"/proc/modules\",\"/proc/scsi\",\"/proc/sched_debug\",\"/proc/sys\",\"/proc/sysrq-trigger\","
                       "\"/proc/timer_list\",\"/proc/timer_stats\",\"/proc/interrupts\",\"/proc/cmdline\",\"/proc/mounts\"],"
                       "\"seccomp\":{\"defaultAction\":\"SCMP_ACT_ERRNO\",\"defaultErrnoRet\":1,"
#if defined __x86_64__
                       "\"architectures\":[\"SCMP_ARCH_X86_64\"],"
#elif defined __aarch64__
                       "\"architectures\":[\"SCMP_ARCH_AARCH64\"],"
#endif
                       "\"syscalls\":[{\"names\":[%s],\"action\":\"SCMP_ACT_ALLOW\"},"
                       "{\"names\":[\"clone3\"],\"action\":\"SCMP_ACT_ERRNO\",\"errnoRet\":38},%s"
                       "{\"names\":[\"clone\"],\"action\":\"SCMP_ACT_ALLOW\","
                       "\"args\":[{\"index\":0,\"value\":%u,\"valueTwo\":%u,\"op\":\"SCMP_CMP_MASKED_EQ\"}]},"
                       "{\"names\":[\"socket\",\"socketpair\"],\"action\":\"SCMP_ACT_ALLOW\","
                       "\"args\":[{\"index\":0,\"value\":1,\"op\":\"SCMP_CMP_EQ\"}]},"
                       /* TCGETS, FIONREAD, FIOCLEX: what a C library asks of a descriptor */
                       "{\"names\":[\"ioctl\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[{\"index\":1,\"value\":21505,\"op\":\"SCMP_CMP_EQ\"}]},"
                       "{\"names\":[\"ioctl\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[{\"index\":1,\"value\":21531,\"op\":\"SCMP_CMP_EQ\"}]},"
                       "{\"names\":[\"ioctl\"],\"action\":\"SCMP_ACT_ALLOW\",\"args\":[{\"index\":1,\"value\":21585,\"op\":\"SCMP_CMP_EQ\"}]}"
                       "]}}}\n",
                       allowed_calls, g->has_cgroup ? "{\"names\":[\"fork\",\"vfork\"],\"action\":\"SCMP_ACT_ALLOW\"}," : "", clone_mask,
                       clone_value);
}

sq_err jail_bundle_make(const struct jail_ground *g, const struct jail_limits *limits, const char *id, unsigned block,
                        struct sq_buf *out)
{
    sq_err e = add_process(out, g, limits);
    if (e == SQ_OK)
        e = add_root(out, !g->is_crun);
    if (e == SQ_OK)
        e = add_namespaces(out, g, block);
    if (e == SQ_OK)
        e = add_limits(out, g, limits, id);
    if (e == SQ_OK)
        e = add_kernel(out, g);
    return e;
}
