/**
 * manager - what a service manager (systemd) and parent say to each other, without its library: its listening socket and the
 * processes that it starts when we connect are taken, READY, STOPPING and WATCHDOG are told.
 */
#ifndef SQ_PARENT_MANAGER_H
#define SQ_PARENT_MANAGER_H

#include "lib/core/err.h"

#include <stdbool.h>

/** The one listening socket that was handed to us (LISTEN_PID, LISTEN_FDS), or -1. More than one: the first. */
int manager_listen_fd(void);

/**
 * manager_connect - a connection to `<dir>/start/<name>.sock`: whoever listens there starts the process and gives it the other
 * end as descriptor 3. Only root or our own user may have made the socket (SQ_EDENIED).
 */
sq_err manager_connect(const char *dir, const char *name, int *out_fd) SQ_MUST_CHECK;

/** manager_open - remembers NOTIFY_SOCKET and WATCHDOG_USEC; without them, nothing is told. Before anything is given up. */
void manager_open(void);
/** @state: READY=1, STOPPING=1 or WATCHDOG=1. */
void manager_tell(const char *state);
/** Milliseconds after which the next WATCHDOG=1 is due, half of what was asked for; -1: never. */
int manager_watchdog_ms(void);

#endif
