/* Every system call that registrar may make once it serves: files below its own directory, sockets that parent made. */
#include "daemon/registrar/registrar.h"

#include "lib/proc/confine.h"

#include <sys/syscall.h>

static const int calls[] = {
    /* the database and the log, below its directory */
    SYS_openat, SYS_openat2, SYS_open, SYS_close, SYS_fstat, SYS_newfstatat, SYS_stat, SYS_lstat, SYS_statx, SYS_fstatfs, SYS_access,
    SYS_faccessat, SYS_faccessat2, SYS_readlink, SYS_readlinkat, SYS_getcwd, SYS_unlink, SYS_unlinkat, SYS_rename, SYS_renameat,
    SYS_renameat2, SYS_mkdir, SYS_mkdirat, SYS_memfd_create, SYS_getdents64, SYS_fcntl, SYS_lseek, SYS_fchmod, SYS_fchown, SYS_geteuid, SYS_getuid,
    SYS_read, SYS_write, SYS_pread64, SYS_pwrite64, SYS_readv, SYS_writev, SYS_pwritev, SYS_fsync, SYS_fdatasync, SYS_ftruncate, SYS_fallocate, SYS_flock, SYS_dup,
    /* messages, and the operator's socket that parent bound */
    SYS_sendmsg, SYS_recvmsg, SYS_shutdown, SYS_accept4, SYS_getsockopt, SYS_setsockopt, SYS_poll,
    /* threads, memory, time, chance */
    SYS_futex, SYS_clone, SYS_clone3, SYS_set_robust_list, SYS_rseq, SYS_sched_yield, SYS_gettid, SYS_getpid, SYS_exit, SYS_exit_group,
    SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise, SYS_mremap, SYS_mlock, SYS_munlock, SYS_brk, SYS_clock_gettime, SYS_clock_nanosleep, SYS_nanosleep,
    SYS_gettimeofday, SYS_getrandom, SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigreturn, SYS_restart_syscall, SYS_sched_getaffinity,
    SYS_sysinfo, /* qsort() of more than 1 KiB: how much memory is there to sort in? */
    SYS_tgkill, /* abort() */
#ifdef SQ_TEST_HOOKS
    SYS_kill, SYS_pause, /* an armed fault */
#endif
};

int confine_registrar(void)
{
    return sq_confine(calls, sizeof calls / sizeof calls[0], SQ_CONFINE_OWN_FILES, 0) ? -1 : 0;
}
