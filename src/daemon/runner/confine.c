/*
 * Every system call that runner may make. What isn't here ends the process: no socket but AF_UNIX pairs, no program,
 * no rename, no unlink, no path but what lies in /proc/self/fd (openat, see runner_memory.c; runner's uid owns no file).
 */
#include "daemon/runner/runner.h"

#include "lib/proc/confine.h"

#include <sys/syscall.h>

static const int calls[] = {
    /* bytes */
    SYS_read, SYS_write, SYS_pread64, SYS_pwrite64, SYS_writev, SYS_lseek, SYS_ftruncate, SYS_close, SYS_poll, SYS_ppoll,
    /* what a descriptor is: checked before it is used */
    SYS_fstat, SYS_newfstatat, SYS_fcntl,
    /* pipes, memory files, events, control sockets, an own open file on a memory file */
    SYS_pipe2, SYS_memfd_create, SYS_eventfd2, SYS_socketpair, SYS_openat,
    /* messages */
    SYS_sendmsg, SYS_recvmsg, SYS_shutdown,
    /* memory; locked pages for keys */
    SYS_mmap, SYS_munmap, SYS_mremap, SYS_mprotect, SYS_madvise, SYS_brk, SYS_mlock, SYS_mlock2, SYS_munlock,
    /* threads */
    SYS_clone, SYS_clone3, SYS_futex, SYS_set_robust_list, SYS_rseq, SYS_sched_yield, SYS_sched_getaffinity, SYS_gettid,
    SYS_getpid, SYS_tgkill, SYS_prctl, SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigreturn, SYS_sigaltstack,
    SYS_restart_syscall, SYS_exit, SYS_exit_group,
    /* time and chance */
    SYS_clock_gettime, SYS_gettimeofday, SYS_clock_nanosleep, SYS_nanosleep, SYS_getrandom, SYS_getrusage,
#ifdef SQ_TEST_HOOKS
    SYS_kill, SYS_pause, /* core/fault dies here when a test says so */
#endif
};

sq_err sq_runner_confine(void)
{
    return sq_confine(calls, sizeof calls / sizeof calls[0], SQ_CONFINE_UNIX, 0);
}
