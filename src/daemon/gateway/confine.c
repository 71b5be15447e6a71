/* Every system call that gateway may make: no file is opened, no socket is made, no program is started. */
#include "daemon/gateway/gateway.h"

#include "lib/proc/confine.h"

#include <sys/syscall.h>

static const int calls[] = {
    /* clients and our own processes */
    SYS_accept, SYS_accept4, SYS_recvmsg, SYS_sendmsg, SYS_recvfrom, SYS_sendto, SYS_shutdown, SYS_getsockname, SYS_getpeername,
    SYS_getsockopt, SYS_setsockopt, SYS_poll, SYS_ppoll, SYS_eventfd2,
    /* a sealed file, a pipe from runner, the log */
    SYS_read, SYS_readv, SYS_write, SYS_writev, SYS_pwrite64, SYS_sync_file_range, SYS_lseek, SYS_fstat, SYS_newfstatat, SYS_close, SYS_fcntl, SYS_ioctl,
    /* threads and memory */
    SYS_clone, SYS_futex, SYS_set_robust_list, SYS_rseq, SYS_sched_yield, SYS_sched_getaffinity, SYS_gettid, SYS_getpid,
    SYS_exit, SYS_exit_group, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_mlock, SYS_mlock2, SYS_munlock,
    SYS_brk, SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigreturn, SYS_tgkill, SYS_prctl, SYS_restart_syscall,
    /* time and chance */
    SYS_clock_gettime, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_getrandom,
#ifdef SQ_TEST_HOOKS
    SYS_kill, SYS_pause, /* an armed fault kills this process */
#endif
};

sq_err gateway_confine(void)
{
    return sq_confine(calls, sizeof calls / sizeof calls[0], 0, 0);
}
