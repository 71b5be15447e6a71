/**
 * proc/confine - what every process of ours gives up before it serves.
 *
 * sq_confine: no core dumps, not dumpable, no_new_privs, no capabilities left (jailer and parent keep what their rows in
 * DESIGN §1a say), then a seccomp allow-list: everything not listed kills the process (SIGSYS; in test builds with a
 * line that names the call). Filters that come with every list: `clone` only for threads, `clone3` answers ENOSYS,
 * `mmap`/`mprotect` without PROT_EXEC, `socket` and `socketpair` only for the families named, `prctl` only for names,
 * `ioctl` only TCGETS, FIONREAD, FIONBIO and FS_IOC_FIEMAP. They apply to the calls that the list names.
 */
#ifndef SQ_PROC_CONFINE_H
#define SQ_PROC_CONFINE_H

#include "lib/core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SQ_CONFINE_UNIX = 1, /* may create AF_UNIX sockets */
    SQ_CONFINE_DENY = 2, /* @calls is what is refused (EPERM), all else passes: jailer and parent, whose children are other programs */
};

/**
 * @calls      [n_call] system call numbers (SYS_read, ...): the daemon's confine.c holds the whole list. borrowed
 *             n_call 0: no list at all.
 * @flags      SQ_CONFINE_*.
 * @keep_caps  bit mask of capabilities to keep (1ULL << CAP_KILL ...), 0 for all but jailer and parent.
 *
 * Call it once, before the first thread (else SQ_EINTERNAL). A list that names a call which none of ours may make
 * (execve, ptrace, mount, bpf, ...: `never` in confine.c) is refused with SQ_ESYS. Works for root and for any other uid.
 */
sq_err sq_confine(const int *calls, size_t n_call, unsigned flags, uint64_t keep_caps) SQ_MUST_CHECK;

/**
 * The first lines of every main(): no dumps, everything above descriptor 3 closed, environment empty but for SQ_LOG and
 * SQ_TRACE, umask 077, SIGPIPE ignored; for all roles but "parent": SIGKILL when the parent dies (SQ_EDOWN when it
 * already has: its end of descriptor 3 is closed). @role: a static string, shown in each log line.
 */
sq_err sq_proc_begin(const char *role) SQ_MUST_CHECK;

#endif
