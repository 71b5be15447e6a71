/* One stage in a child of its own, as the runner would start it in a sandbox. */
#include "worker/local.h"

#include "lib/core/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* The child: descriptors to their places (what only this command has behind the ports), then the worker as in the sandbox. */
_Noreturn static void child(const struct sq_stage_row *row, int control, const int *port, const struct local *l)
{
    struct worker_choice choice = l->choice;
    int next = SQ_STAGE_FIRST_PORT_FD;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bool is_ok = dup2(control, SQ_STAGE_CONTROL_FD) >= 0;
    for (size_t i = 0; i < row->n_port; i++)
        is_ok = is_ok && dup2(port[i], next++) >= 0;
    int *extra[] = {&choice.fd_map, &choice.fd_sites[0], &choice.fd_sites[1], &choice.fd_empirical[0], &choice.fd_empirical[1], &choice.fd_phased_index};
    for (size_t i = 0; i < sizeof extra / sizeof extra[0]; i++)
        if (*extra[i] >= 0) {
            is_ok = is_ok && dup2(*extra[i], next) >= 0;
            *extra[i] = next++;
        }
    if (!is_ok || close_range((unsigned)next, ~0U, 0))
        _exit(2);
    _exit(worker_serve(l->n_thread, &choice));
}

/* Listen to the child until it says how it ended. */
static sq_err listen_to(struct local *l, const char *stage, int control, struct sq_why *why)
{
    struct sq_packet *packet = sq_packet_new();
    sq_err e = packet ? sq_wire_hello(control, SQ_ROLE_RUNNER, SQ_ROLE_WORKER) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = sq_wire_send(control, SQ_ROLE_RUNNER, SQ_ROLE_WORKER,
                         &sq_msg_of(work_order, .stage = (uint8_t)sq_stage_row_named(stage)->stage,
                                    .max_samples = LOCAL_MAX_SAMPLES, .max_variants = LOCAL_MAX_VARIANTS,
                                    .flags = l->choice.wants_phased ? SQ_ORDER_WANTS_PHASED : 0));
    for (bool is_done = false; !e && !is_done;) {
        struct sq_msg m;
        sq_packet_done(packet);
        e = sq_wire_recv(control, SQ_ROLE_WORKER, SQ_ROLE_RUNNER, packet, &m);
        if (e)
            break;
        if (m.no == SQ_MSG_work_progress) {
            local_show_progress(l, stage, m.u.work_progress.done, m.u.work_progress.total);
        } else if (m.no == SQ_MSG_work_counts) {
            l->counts = m.u.work_counts;
            e = sq_span_copy(m.u.work_counts.chrom, l->chrom, sizeof l->chrom);
        } else if (m.no == SQ_MSG_work_failed) {
            e = sq_err_from_no(m.u.work_failed.code);
            why->line = m.u.work_failed.line;
            why->column = m.u.work_failed.column;
            if (sq_span_copy(m.u.work_failed.field, why->field, sizeof why->field) ||
                sq_span_copy(m.u.work_failed.detail, why->detail, sizeof why->detail))
                e = sq_fail(SQ_EPROTO);
        } else {
            is_done = m.no == SQ_MSG_work_done;
        }
    }
    sq_packet_free(packet);
    return e == SQ_EDOWN ? sq_fail(SQ_ECRASHED) : e;
}

sq_err local_run_stage(struct local *l, const char *name, const int *port, struct sq_why *why)
{
    const struct sq_stage_row *row = sq_stage_row_named(name);
    int pair[2];
    for (size_t i = 0; i < row->n_port; i++)
        if (lseek(port[i], 0, SEEK_SET) < 0 && errno != ESPIPE)
            return sq_fail(SQ_EIO);
    l->stage_ms = sq_clock_steady_ms();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
        return sq_fail(SQ_ESYS);
    int control = fcntl(pair[1], F_DUPFD_CLOEXEC, LOCAL_HIGH_FD);
    fflush(NULL);
    pid_t pid = control < 0 ? -1 : fork();
    if (pid == 0)
        child(row, control, port, l);
    close(pair[1]);
    if (control >= 0)
        close(control);
    sq_err e = pid < 0 ? sq_fail(SQ_ESYS) : listen_to(l, name, pair[0], why);
    close(pair[0]);
    int status = 0;
    if (pid > 0 && waitpid(pid, &status, 0) == pid && !e && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
        e = sq_fail(SQ_ECRASHED);
    if (e == SQ_ECRASHED) /* the words of that code are about the server's second try */
        e = sq_why_set(why, sq_fail(SQ_EKILLED), 0, 0, NULL, "stage %s ended by signal %d", name,
                       WIFSIGNALED(status) ? WTERMSIG(status) : 0);
    local_clear_progress(l);
    return e;
}
