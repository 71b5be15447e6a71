/*
 * Every system call that courier may make once it serves. The only daemon of ours that may open a connection; files can
 * be read (the resolver's, our copy of the CA certificates), none made or written.
 */
#include "daemon/courier/courier.h"

#include "lib/proc/confine.h"

#include <sys/syscall.h>

static const int calls[] = {
    /* connections, and the names of hosts */
    SYS_socket, SYS_socketpair, SYS_connect, SYS_bind, SYS_getsockname, SYS_getpeername, SYS_getsockopt, SYS_setsockopt, SYS_sendto, SYS_recvfrom,
    SYS_sendmmsg, SYS_poll, SYS_ppoll, SYS_fcntl, SYS_ioctl, SYS_uname,
    /* files, to read: /etc/resolv.conf, /etc/hosts and the like, ca.pem */
    SYS_openat, SYS_read, SYS_lseek, SYS_pread64, SYS_close, SYS_fstat, SYS_newfstatat, SYS_stat, SYS_access, SYS_geteuid, SYS_getuid,
    /* messages, and the log on standard error */
    SYS_sendmsg, SYS_recvmsg, SYS_shutdown, SYS_write, SYS_writev,
    /* threads, memory, time, chance */
    SYS_futex, SYS_clone, SYS_clone3, SYS_set_robust_list, SYS_rseq, SYS_sched_yield, SYS_gettid, SYS_getpid, SYS_exit, SYS_exit_group, SYS_mmap,
    SYS_munmap, SYS_mprotect, SYS_madvise, SYS_mremap, SYS_brk, SYS_mlock, SYS_munlock, SYS_clock_gettime, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday,
    SYS_getrandom, SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigreturn, SYS_sigaltstack, SYS_restart_syscall, SYS_sched_getaffinity, SYS_prctl,
    SYS_tgkill, /* abort() */
#ifdef SQ_TEST_HOOKS
    SYS_kill, SYS_pause, /* an armed fault */
#endif
};

sq_err courier_confine(void)
{
    return sq_confine(calls, sizeof calls / sizeof calls[0], SQ_CONFINE_NET | SQ_CONFINE_READ, 0);
}
