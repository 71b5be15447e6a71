/*
 * What jailer and everything below it may not do. An allow-list isn't possible here: crun and runc are other people's
 * programs and make containers by exactly the calls that lists usually forbid. So: the five capabilities that were
 * measured to be enough (six for runc), no way to get more, and a list of what neither runtime needs.
 */
#include "lib/proc/confine.h"

#include "daemon/jailer/jailer_internal.h"

#include <linux/capability.h>
#include <sys/syscall.h>

#define CAP(name) (1ULL << (name))

static const uint64_t kept = CAP(CAP_SYS_ADMIN) |   /* namespaces and mounts */
                             CAP(CAP_SETUID) |      /* user map of a sandbox */
                             CAP(CAP_SETGID) |      /* group map of a sandbox */
                             CAP(CAP_KILL) |        /* its processes are other users' */
                             CAP(CAP_DAC_OVERRIDE); /* its cgroup folders */

static const int refused[] = {
    /* the kernel itself */
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_kexec_file_load, SYS_reboot, SYS_acct,
    SYS_swapon, SYS_swapoff, SYS_syslog, SYS_quotactl, SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime,
#ifdef __x86_64__
    SYS_iopl, SYS_ioperm,
#endif
    /* other processes, and files by handle */
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_getfd, SYS_open_by_handle_at, SYS_name_to_handle_at,
    /* wide back doors */
    SYS_perf_event_open, SYS_userfaultfd, SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_add_key,
    SYS_request_key, SYS_keyctl,
};

sq_err jail_confine(const struct jail_ground *g)
{
    uint64_t keep = kept;
    if (g->is_user)
        keep |= CAP(CAP_SETFCAP); /* without it the one id, 0 in our namespace, can't be mapped into a sandbox's */
    if (!g->is_crun)
        keep |= CAP(CAP_CHOWN); /* runc gives the sandbox's user its standard descriptors */
    return sq_confine(refused, sizeof refused / sizeof refused[0], SQ_CONFINE_DENY, keep);
}
