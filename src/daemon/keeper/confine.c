/*
 * Every system call that keeper may make. No open of any kind: the slab, its directory's lock and the key file came before.
 * No socket: its links are handed to it. `clone` makes threads only, `mmap` and `mprotect` nothing executable (lib/proc).
 */
#include "daemon/keeper/keeper.h"
#include "lib/proc/confine.h"

#include <sys/syscall.h>

static const int calls[] = {
    /* the slab, and the log on standard error */
    SYS_pread64, SYS_pwrite64, SYS_lseek, SYS_write, SYS_writev, SYS_fadvise64, SYS_fsync, SYS_fdatasync,
    /* links */
    SYS_recvmsg, SYS_sendmsg, SYS_shutdown, SYS_close,
    /* memory; keys are locked and left out of dumps */
    SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_brk, SYS_madvise, SYS_mlock, SYS_munlock,
    /* threads */
    SYS_clone, SYS_futex, SYS_set_robust_list, SYS_rseq, SYS_sched_yield, SYS_sched_getaffinity, SYS_exit,
    /* clocks */
    SYS_clock_gettime, SYS_clock_nanosleep, SYS_nanosleep, SYS_restart_syscall,
    /* random bytes, and who and where we are (OpenSSL's generator looks for a fork) */
    SYS_getrandom, SYS_getpid, SYS_gettid, SYS_prctl,
    /* signals and the end */
    SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigreturn, SYS_sigaltstack, SYS_tgkill, SYS_exit_group,
#ifdef SQ_TEST_HOOKS
    SYS_kill, SYS_pause, /* a fault hook ends the process */
#endif
};

sq_err keeper_confine(void)
{
    return sq_confine(calls, sizeof calls / sizeof calls[0], 0, 0);
}
