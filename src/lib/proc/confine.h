/**
 * proc/confine - what every process of ours gives up before it serves.
 *
 * sq_confine: no core dumps, not dumpable, no_new_privs, no capabilities left (jailer and parent keep what their rows in
 * DESIGN §1a say), then a seccomp allow-list: everything not listed kills the process (SIGSYS; in test builds with a
 * line that names the call). Filters that come with every list: `clone` only for threads, `clone3` answers ENOSYS,
 * `mmap`/`mprotect` without PROT_EXEC, `socket` and `socketpair` only for the families named, `prctl` only for names.
 */
#ifndef SQ_PROC_CONFINE_H
#define SQ_PROC_CONFINE_H

#include "lib/core/err.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    SQ_CONFINE_UNIX = 1, /* may create AF_UNIX sockets */
};

/**
 * @calls  [n_call] system call numbers (SYS_read, ...): the daemon's confine.c holds the whole list.
 * @keep_caps  bit mask of capabilities to keep (1 << CAP_KILL ...), 0 for all but jailer and parent.
 */
sq_err sq_confine(const int *calls, size_t n_call, unsigned flags, uint64_t keep_caps) SQ_MUST_CHECK;

/** The first lines of every main(): PDEATHSIG, no dumps, close everything above descriptor 3, empty environment but SQ_*. */
sq_err sq_proc_begin(const char *role) SQ_MUST_CHECK;

#endif
