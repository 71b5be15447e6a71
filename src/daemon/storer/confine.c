/* Every system call that storer may make once it serves. No socket, no exec, no change of rights. */
#include "daemon/storer/storer.h"

#include "lib/proc/confine.h"

#include <sys/syscall.h>

static const int calls[] = {
    /* files below its directory */
    SYS_openat2, SYS_openat, SYS_close, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_fstatfs, SYS_mkdirat, SYS_linkat,
    SYS_unlinkat, SYS_faccessat, SYS_faccessat2, SYS_getdents64, SYS_fcntl, SYS_lseek,
    /* their bytes, and that they are durable */
    SYS_pwrite64, SYS_pread64, SYS_read, SYS_write, SYS_fsync, SYS_fdatasync, SYS_ftruncate, SYS_fallocate, SYS_fadvise64,
    SYS_ioctl, /* filtered: FS_IOC_FIEMAP, where a file lies */
    /* messages: sockets that parent made */
    SYS_sendmsg, SYS_recvmsg, SYS_shutdown,
    /* threads, memory, time, chance */
    SYS_futex, SYS_clone, SYS_clone3, SYS_set_robust_list, SYS_rseq, SYS_sched_yield, SYS_gettid, SYS_getpid, SYS_exit,
    SYS_exit_group, SYS_mmap, SYS_munmap, SYS_mprotect, SYS_madvise, SYS_mremap, SYS_brk, SYS_clock_gettime,
    SYS_clock_nanosleep, SYS_getrandom, SYS_rt_sigprocmask, SYS_rt_sigaction, SYS_rt_sigreturn, SYS_restart_syscall,
    SYS_tgkill, /* abort() */
#ifdef SQ_TEST_HOOKS
    SYS_kill, SYS_pause, /* an armed fault */
#endif
};

sq_err storer_confine(void)
{
    return sq_confine(calls, sizeof calls / sizeof calls[0], SQ_CONFINE_OWN_FILES, 0);
}
