/* Work on a stranger's bytes that is no stage: in a child under the worker's list of system calls, which reports through a pipe. */
#include "worker/local.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* One message: how far it is, or (total 0) how it ended. */
struct report {
    uint64_t done, total;
    sq_err e;
    uint32_t note;
    struct sq_why why;
};

struct local_child {
    int pipe;
    int64_t told_ms;
    uint32_t note;
};

sq_err local_child_progress(struct local_child *c, uint64_t done, uint64_t total)
{
    int64_t now = sq_clock_steady_ms();
    if (now - c->told_ms < SQ_WORKER_PROGRESS_MS || !total)
        return SQ_OK;
    c->told_ms = now;
    struct report r = {.done = done, .total = total};
    return sq_write_all(c->pipe, &r, sizeof r);
}

void local_child_note(struct local_child *c, uint32_t note)
{
    c->note = note;
}

_Noreturn static void child(int to, local_work *work, void *ctx)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_DFL); /* who reads standard output may stop: `| head` */
    struct local_child c = {.pipe = to, .told_ms = sq_clock_steady_ms()};
    struct report r = {0};
    r.e = worker_confine();
    if (!r.e)
        r.e = work(&c, ctx, &r.why);
    r.note = c.note;
    _exit(sq_write_all(to, &r, sizeof r) ? 2 : 0);
}

static void show(const struct local *l, const struct report *r)
{
    if (!l->is_quiet && l->is_terminal && r->total)
        fprintf(stderr, "\r%s %3u %%", l->command, (unsigned)(100 * (r->done < r->total ? r->done : r->total) / r->total));
}

sq_err local_in_child(const struct local *l, local_work *work, void *ctx, struct sq_why *why, uint32_t *out_note)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC))
        return sq_fail(SQ_ESYS);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(ends[1], work, ctx);
    close(ends[1]);
    struct report r = {.total = 1};
    size_t got = sizeof r;
    while (pid > 0 && r.total && got == sizeof r) {
        if (sq_read_full(ends[0], &r, sizeof r, &got))
            got = 0;
        if (got == sizeof r && r.total)
            show(l, &r);
    }
    close(ends[0]);
    int status = 0;
    bool has_ended = pid > 0 && waitpid(pid, &status, 0) == pid;
    if (!l->is_quiet && l->is_terminal)
        fputs("\r                              \r", stderr);
    if (!has_ended)
        return sq_fail(SQ_ESYS);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE) { /* then nothing is wrong, and nothing is left to say */
        signal(SIGPIPE, SIG_DFL);
        raise(SIGPIPE);
    }
    if (got != sizeof r || !WIFEXITED(status))
        return sq_why_set(why, sq_fail(SQ_EKILLED), 0, 0, NULL, "it ended by signal %d", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    *why = r.why;
    if (out_note)
        *out_note = r.note;
    return r.e;
}
