/*
 * Every system call the worker may make once it has its order: bytes on descriptors it already holds, memory, threads of
 * its own, time. No open, no socket, no exec, no new process. The container's list around it is wider; this one is ours.
 * A call outside the list ends the process, which the runner sees as a crash.
 */
#include "worker/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#ifndef PR_SET_MDWE
#define PR_SET_MDWE 65
#define PR_MDWE_REFUSE_EXEC_GAIN 1
#endif

static const int allowed[] = {
    /* the ports and the control socket */
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(close),
    SCMP_SYS(dup),
    SCMP_SYS(fdatasync),
    SCMP_SYS(sendmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(sendto),
    SCMP_SYS(recvfrom),
    SCMP_SYS(poll),
    /* memory */
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    /* threads */
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(sched_yield),
    SCMP_SYS(gettid),
    SCMP_SYS(getpid),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    /* qsort asks how much memory there is; malloc, when threads meet, how many processors */
    SCMP_SYS(sysinfo),
    SCMP_SYS(sched_getaffinity),
    /* time, and the randomness malloc asks for */
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(getrandom),
};

/* Of a command that works on folders, with folders.c around it: descriptors of what lies in them. */
static const int of_folders[] = {
    SCMP_SYS(openat2),
    SCMP_SYS(getdents64),
};
static const int of_results[] = {
    SCMP_SYS(mkdirat),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(unlinkat),
    SCMP_SYS(linkat),
    SCMP_SYS(pwrite64),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(fchmod),
    SCMP_SYS(fsync),
    SCMP_SYS(syncfs),
    SCMP_SYS(flock),
    SCMP_SYS(statx),
};

static int allow_all(scmp_filter_ctx ctx, const int *calls, size_t n)
{
    int r = 0;
    for (size_t i = 0; i < n && !r; i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);
    return r;
}

/* what opens files: with results any way, for Landlock says where; else to read only */
static int allow_folders(scmp_filter_ctx ctx, enum worker_folders folders)
{
    int r = allow_all(ctx, of_folders, sizeof of_folders / sizeof of_folders[0]);
    if (!r && folders == WORKER_FOLDERS_WRITE)
        r = allow_all(ctx, of_results, sizeof of_results / sizeof of_results[0]);
    if (!r && folders == WORKER_FOLDERS_WRITE)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(openat), 0);
    else if (!r)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY));
    static const int of_fcntl[] = {F_GETFL, F_SETFD, F_DUPFD_CLOEXEC}; /* fdopendir */
    for (size_t i = 0; i < sizeof of_fcntl / sizeof of_fcntl[0] && !r; i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), 1, SCMP_A1(SCMP_CMP_EQ, (unsigned)of_fcntl[i], 0));
    return r ? r : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 0);
}

sq_err worker_confine(void)
{
    return worker_confine_to(WORKER_FOLDERS_NONE);
}

sq_err worker_confine_to(enum worker_folders folders)
{
    struct rlimit none = {0, 0};
    (void)prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0); /* since Linux 6.3; the list says the same of calls */
    if (setrlimit(RLIMIT_CORE, &none) || prctl(PR_SET_DUMPABLE, 0) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return sq_fail(SQ_ESYS);
#if defined(SQ_TEST_HOOKS) && defined(__SANITIZE_ADDRESS__)
    return SQ_OK; /* the sanitizer's own runtime opens and maps what the list forbids; such a build is for tests alone */
#endif
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
    if (!ctx)
        return sq_fail(SQ_ENOMEM);
    int r = 0;
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0] && !r; i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    /* a thread of this process, never a process: CLONE_THREAD must be there. glibc tries clone3 first and falls back. */
    if (!r)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                             SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
    /* no memory that is code, no signal but to itself (abort) */
    static const int memory[] = {SCMP_SYS(mmap), SCMP_SYS(mprotect)};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0] && !r; i++)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, memory[i], 1, SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
    if (!r)
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, SCMP_A0(SCMP_CMP_EQ, (unsigned)getpid(), 0));
    if (!r && folders)
        r = allow_folders(ctx, folders);
    if (!r && !folders) /* how glibc spells fstat */
        r = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(newfstatat), 1, SCMP_A3(SCMP_CMP_EQ, AT_EMPTY_PATH, 0));
    if (!r)
        r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (!r)
        r = seccomp_load(ctx);
    seccomp_release(ctx);
    return r ? sq_fail(SQ_ESYS) : SQ_OK;
}
