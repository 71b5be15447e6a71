/*
 * What parent keeps, and what neither it nor any process below it may do. It can't be small: whatever jailer needs must pass
 * through it, because jailer is started anew when it has died. So there is no list of the calls that are allowed, and no Landlock
 * (below a rule of files no mount, below any domain no link into another directory, which storer makes): no_new_privs, a fixed set of
 * capabilities and a list of refused calls instead.
 * Under systemd (start_by = sockets) it has no capability at all: there it starts nobody.
 */
#include "daemon/parent/parent.h"

#include "lib/proc/confine.h"

#include <linux/capability.h>
#include <sys/syscall.h>

#define CAP(name) (1ULL << (name))

static const uint64_t kept = CAP(CAP_SYS_ADMIN) | CAP(CAP_DAC_OVERRIDE) | CAP(CAP_CHOWN) | /* jailer's, see its confine.c */
                             CAP(CAP_SETUID) | CAP(CAP_SETGID) |                           /* a user of its own for each process */
                             CAP(CAP_SETPCAP) |                                            /* cuts what a child can ever have */
                             CAP(CAP_KILL);                                                /* ends one that broke the protocol */

static const int refused[] = {
    /* the kernel itself */
    SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load, SYS_kexec_file_load, SYS_reboot, SYS_acct,
    SYS_swapon, SYS_swapoff, SYS_syslog, SYS_quotactl, SYS_settimeofday, SYS_clock_settime, SYS_adjtimex, SYS_clock_adjtime,
#ifdef __x86_64__
    SYS_iopl, SYS_ioperm,
#endif
    /* other processes, and files by handle */
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, SYS_pidfd_getfd, SYS_open_by_handle_at,
    /* wide back doors */
    SYS_perf_event_open, SYS_userfaultfd, SYS_io_uring_setup, SYS_io_uring_enter, SYS_io_uring_register, SYS_add_key,
    SYS_request_key, SYS_keyctl,
};

sq_err parent_confine(const struct parent *p)
{
    return sq_confine(refused, sizeof refused / sizeof refused[0], SQ_CONFINE_DENY | SQ_CONFINE_NO_LANDLOCK, p->is_by_sockets ? 0 : kept);
}
