/**
 * proc/confine - what every process of ours gives up before it serves.
 *
 * sq_confine: no core dumps, not dumpable, no_new_privs, no capabilities left (jailer and parent keep what
 * docs/confinement.md says), Landlock where the kernel has it, no memory that turns into code (PR_SET_MDWE), then a seccomp
 * allow-list: everything not listed kills the process (SIGSYS; in test builds with a line that names the call). Filters that
 * come with every list, for the calls that it names: `clone` only for threads, `clone3` answers ENOSYS, `mmap` and `mprotect`
 * without PROT_EXEC, `socket` and `socketpair` only for the families of the flags, `prctl` only for names, `fcntl`, `ioctl`
 * and `setsockopt` only for the requests that we use, `kill` and `tgkill` only to itself.
 */
#ifndef SQ_PROC_CONFINE_H
#define SQ_PROC_CONFINE_H

#include "lib/core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    SQ_CONFINE_UNIX = 1,       /* may create AF_UNIX sockets */
    SQ_CONFINE_DENY = 2,       /* @calls is what is refused (EPERM), all else passes: jailer and parent, whose children are other
                                  programs. Landlock: network and signals only, because mount is refused below any rule of files */
    SQ_CONFINE_NET = 4,        /* may create AF_INET, AF_INET6 and AF_UNIX sockets; AF_NETLINK is refused (EAFNOSUPPORT), which
                                  getaddrinfo bears. Landlock: may connect, may not listen */
    SQ_CONFINE_READ = 8,       /* openat only to read: no list of ours that sets it lets a file be made or written. Landlock: its own
                                  directory and /etc, which names of hosts need */
    SQ_CONFINE_MORTAL = 16,    /* a child that it already has lives only as long as it: PDEATHSIG counts as its signal, and Landlock
                                  would hold that back */
    SQ_CONFINE_NO_LANDLOCK = 64, /* for who starts others that confine themselves: below any domain, even one without a rule of files, no
                                  file can be given a name in another directory, which storer does */
    SQ_CONFINE_OWN_FILES = 32, /* Landlock: may work on files in and below the directory it stands in; else on none */
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

/** What Landlock this kernel has: 0 none, else its ABI (2: Linux 5.19 ... 6: 6.12). Asked once, then remembered. */
int sq_confine_landlock_abi(void);

/**
 * The first lines of every main(): no dumps, everything above descriptor 3 closed, environment empty but for SQ_LOG and
 * SQ_TRACE, umask 077, SIGPIPE ignored; for all roles but "parent": SIGKILL when the parent dies (SQ_EDOWN when it
 * already has: its end of descriptor 3 is closed). @role: a static string, shown in each log line.
 */
sq_err sq_proc_begin(const char *role) SQ_MUST_CHECK;

#endif
