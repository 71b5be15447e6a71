/*
 * systemd's protocols, by hand, because each is a few lines: descriptors from 3 on for sockets (sd_listen_fds(3)), one datagram a
 * state to NOTIFY_SOCKET (sd_notify(3)). The datagram socket is connected at once: later Landlock lets us reach no abstract one.
 */
#include "daemon/parent/manager.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define FIRST_FD 3

static int notify_fd = -1;
static int watchdog_ms = -1;

int manager_listen_fd(void)
{
    const char *pid = getenv("LISTEN_PID"), *n = getenv("LISTEN_FDS");
    if (!pid || !n || strtol(pid, NULL, 10) != getpid() || strtol(n, NULL, 10) < 1)
        return -1;
    int is_listening = 0;
    socklen_t size = sizeof is_listening;
    if (getsockopt(FIRST_FD, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &size) || !is_listening)
        return -1;
    return fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC) ? -1 : FIRST_FD;
}

/* 0, or the length of an address that would be too long */
static socklen_t address_of(const char *path, struct sockaddr_un *out)
{
    size_t n = strlen(path);
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (!n || n >= sizeof out->sun_path)
        return 0;
    memcpy(out->sun_path, path, n);
    if (path[0] == '@') /* abstract */
        out->sun_path[0] = 0;
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + (path[0] != '@'));
}

sq_err manager_connect(const char *dir, const char *name, int *out_fd)
{
    char path[256];
    struct sockaddr_un at;
    snprintf(path, sizeof path, "%s/start/%s.sock", dir, name);
    socklen_t n = address_of(path, &at);
    int fd = n ? socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0) : -1;
    if (fd < 0)
        return sq_fail(SQ_ESYS);
    struct ucred maker = {0};
    socklen_t size = sizeof maker;
    sq_err e = SQ_OK;
    if (connect(fd, (struct sockaddr *)&at, n) || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &maker, &size))
        e = sq_fail(SQ_EDOWN);
    else if (maker.uid != 0 && maker.uid != geteuid())
        e = sq_fail(SQ_EDENIED);
    if (e) {
        close(fd);
        return e;
    }
    *out_fd = fd;
    return SQ_OK;
}

void manager_open(void)
{
    const char *path = getenv("NOTIFY_SOCKET"), *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    struct sockaddr_un at;
    socklen_t n = path ? address_of(path, &at) : 0;
    if (n) {
        notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (notify_fd >= 0 && connect(notify_fd, (struct sockaddr *)&at, n)) {
            close(notify_fd);
            notify_fd = -1;
        }
    }
    if (notify_fd >= 0 && usec && (!pid || strtol(pid, NULL, 10) == getpid())) {
        unsigned long long ms = strtoull(usec, NULL, 10) / 2000;
        watchdog_ms = ms < 1 ? 1 : ms > 60000 ? 60000 : (int)ms;
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void manager_tell(const char *state)
{
    /* a manager that is gone or slow must not stop us */
    if (notify_fd >= 0 && send(notify_fd, state, strlen(state), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == ECONNREFUSED) {
        close(notify_fd);
        notify_fd = -1;
    }
}

int manager_watchdog_ms(void)
{
    return notify_fd >= 0 ? watchdog_ms : -1;
}
