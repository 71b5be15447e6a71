/*
 * Pumps hold one buffer of 64 KiB each and nothing else, so a slow reader slows its writer and no plaintext piles up.
 * Our ends of the pipes don't block: every wait is a poll that also sees the task's stop and the sandbox's end.
 */
#include "daemon/runner/runner.h"

#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

sq_err sq_pump_pipe(int ours, int out_fd[2])
{
    int fd[2];
    if (pipe2(fd, O_CLOEXEC))
        return sq_fail(SQ_ESYS);
    if (fcntl(fd[ours], F_SETFL, (ours ? O_WRONLY : O_RDONLY) | O_NONBLOCK)) {
        close(fd[0]);
        close(fd[1]);
        return sq_fail(SQ_ESYS);
    }
    int n = fcntl(fd[0], F_SETPIPE_SZ, SQ_RUNNER_PIPE_BYTES);
    (void)n; /* refused beyond the user's pipe-user-pages-soft: then the pipe stays at its 64 KiB */
    out_fd[0] = fd[0];
    out_fd[1] = fd[1];
    return SQ_OK;
}

enum wake { WAKE_PIPE, WAKE_STOP, WAKE_GONE };

/* Waits until the pipe has something to say, the task stops, or (the pipe being idle) the sandbox is gone. */
static enum wake wait_for(const struct sq_task *t, int fd, short events)
{
    struct pollfd f[3] = {{.fd = fd, .events = events}, {.fd = t->stop_fd, .events = POLLIN}, {.fd = t->gone_fd, .events = POLLIN}};
    while (poll(f, 3, -1) < 0)
        sq_assert(errno == EINTR);
    if (f[1].revents)
        return WAKE_STOP;
    return f[0].revents ? WAKE_PIPE : WAKE_GONE;
}

/* SQ_OK with *out_is_gone when there is no reader any more */
static sq_err write_whole(const struct sq_task *t, int fd, const uint8_t *p, size_t n, bool *out_is_gone)
{
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w > 0) {
            p += w;
            n -= (size_t)w;
            continue;
        }
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0 && errno == EPIPE) {
            *out_is_gone = true;
            return SQ_OK;
        }
        if (w < 0 && errno != EAGAIN)
            return sq_fail(sq_err_errno());
        switch (wait_for(t, fd, POLLOUT)) {
        case WAKE_STOP:
            return SQ_ECANCELLED;
        case WAKE_GONE:
            *out_is_gone = true;
            return SQ_OK;
        case WAKE_PIPE:
            break;
        }
    }
    return SQ_OK;
}

sq_err sq_pump_open(struct sq_task *t, struct sq_vault_opener *opener, uint64_t first, uint64_t n, int fd, bool *out_is_gone)
{
    uint8_t *copy = malloc(SQ_RUNNER_COPY_BYTES);
    if (!copy)
        return sq_fail(SQ_ENOMEM);
    sq_err e = SQ_OK;
    *out_is_gone = false;
    while (n && !e && !*out_is_gone) {
        size_t want = n < SQ_RUNNER_COPY_BYTES ? (size_t)n : SQ_RUNNER_COPY_BYTES;
        e = sq_task_is_stopped(t) ? SQ_ECANCELLED : sq_task_read(opener, first, copy, want);
        if (!e)
            e = write_whole(t, fd, copy, want, out_is_gone);
        first += want;
        n -= want;
    }
    sq_wipe(copy, SQ_RUNNER_COPY_BYTES);
    free(copy);
    return e;
}

sq_err sq_pump_seal(struct sq_task *t, int fd, struct sq_vault_sealer *sealer, uint64_t max_bytes)
{
    uint8_t *copy = malloc(SQ_RUNNER_COPY_BYTES);
    if (!copy)
        return sq_fail(SQ_ENOMEM);
    sq_err e = SQ_OK;
    bool is_last_look = false; /* the sandbox is gone: what lies in the pipe now is all there will ever be */
    while (!e) {
        ssize_t n = sq_task_is_stopped(t) ? -1 : read(fd, copy, SQ_RUNNER_COPY_BYTES);
        if (n > 0) {
            if ((uint64_t)n > max_bytes)
                e = sq_fail(SQ_EPROTO);
            else
                e = sq_vault_seal(sealer, copy, (size_t)n);
            max_bytes -= (uint64_t)n;
            continue;
        }
        if (n == 0)
            break;
        if (sq_task_is_stopped(t))
            e = SQ_ECANCELLED;
        else if (errno != EAGAIN && errno != EINTR)
            e = sq_fail(sq_err_errno());
        else if (is_last_look)
            break;
        else if (wait_for(t, fd, POLLIN) == WAKE_GONE)
            is_last_look = true;
    }
    sq_wipe(copy, SQ_RUNNER_COPY_BYTES);
    free(copy);
    return e;
}
