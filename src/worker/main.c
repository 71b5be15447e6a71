/*
 * sequester-worker - the program in the sandbox.
 *
 * Who I am: the only program of the hub that takes strangers' genotype files apart. One start, one stage, one order.
 *
 * What I hold: descriptor 3, a socket to the runner, and from 4 on the ports of my stage (lib/jobs/stages.def): pipes
 * and sealed memory. No key, no path, no network, no clock that matters. Sample names pass through me in two
 * stages only: `ingest`, which replaces them, and `finish`, which puts them back.
 *
 * What I can't do: open anything, connect anywhere, start a program. The container around me sees to that; and before I
 * look at the first byte of input I drop to my own, smaller list of system calls (confine.c), so that a flaw in a parser
 * meets two walls. I am linked statically: my root directory holds this one file.
 *
 * What I say: progress, counts, and how it ended. A failure is a code of core/err.def with line, column, the
 * name of a field from our own tables and a sentence of ours. Never data.
 */
#include "worker/worker.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#ifdef SQ_TEST_HOOKS
#include "worker/stage_probe.h"
#endif

#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static const struct {
    enum sq_stage stage;
    sq_err (*run)(struct worker *);
} stages[] = {
    {SQ_STAGE_panel, stage_panel},
    {SQ_STAGE_ingest, stage_ingest},
    {SQ_STAGE_qc, stage_qc},
    {SQ_STAGE_phase, stage_phase},
    {SQ_STAGE_impute, stage_impute},
    {SQ_STAGE_finish, stage_finish},
};

sq_err worker_progress(struct worker *w, uint64_t done, uint64_t total)
{
    int64_t now = sq_clock_steady_ms();
    w->progress_done = done;
    w->progress_total = total;
    if (now - w->progress_ms < SQ_WORKER_PROGRESS_MS)
        return SQ_OK;
    w->progress_ms = now;
    return sq_wire_send(w->control, SQ_ROLE_WORKER, SQ_ROLE_RUNNER,
                        &sq_msg_of(work_progress, .done = done < total || !total ? done : total, .total = total));
}

sq_err worker_beat(struct worker *w)
{
    return worker_progress(w, w->progress_done, w->progress_total);
}

void worker_count_chrom(struct worker *w, const char *chrom)
{
    snprintf(w->counts_chrom, sizeof w->counts_chrom, "%s", chrom);
    w->counts.chrom = sq_span_str(w->counts_chrom);
    w->has_counts = true;
}

static sq_err take_order(struct worker *w, struct sq_packet *packet)
{
    struct sq_msg m;
    sq_err e = sq_wire_hello(w->control, SQ_ROLE_WORKER, SQ_ROLE_RUNNER);
    if (!e)
        e = sq_wire_recv(w->control, SQ_ROLE_RUNNER, SQ_ROLE_WORKER, packet, &m);
    if (e)
        return e;
    const struct sq_stage_row *row = m.no == SQ_MSG_work_order ? sq_stage_row_of(m.u.work_order.stage) : NULL;
    if (!row)
        return sq_fail(SQ_EPROTO);
    w->stage = row->stage;
    w->max_samples = m.u.work_order.max_samples;
    w->max_variants = m.u.work_order.max_variants;
    w->flags = m.u.work_order.flags;
    w->from_bp = m.u.work_order.from_bp;
    w->to_bp = m.u.work_order.to_bp;
    if (sq_span_copy(m.u.work_order.panel, w->panel_name, sizeof w->panel_name))
        return sq_fail(SQ_EPROTO);
    for (size_t i = 0; i < row->n_port; i++)
        w->port[i] = SQ_STAGE_FIRST_PORT_FD + (int)i;
    sq_packet_done(packet);
    return SQ_OK;
}

static sq_err run_stage(struct worker *w)
{
#ifdef SQ_TEST_HOOKS
    /* the probe tries the container's walls, so it runs without ours */
    if (w->stage == SQ_STAGE_probe)
        return sq_stage_probe(w->port[0], w->port[1]) ? sq_fail(SQ_EINTERNAL) : SQ_OK;
#endif
    sq_err e = sq_wire_send(w->control, SQ_ROLE_WORKER, SQ_ROLE_RUNNER, &sq_msg_of(work_walls, .held = worker_walls()));
    if (!e)
        e = worker_confine();
    for (size_t i = 0; i < sizeof stages / sizeof stages[0]; i++)
        if (!e && stages[i].stage == w->stage)
            return stages[i].run(w);
    return e ? e : sq_fail(SQ_EPROTO);
}

static sq_err report(struct worker *w, sq_err result)
{
    if (result)
        return sq_wire_send(w->control, SQ_ROLE_WORKER, SQ_ROLE_RUNNER,
                            &sq_msg_of(work_failed, .code = (uint16_t)result, .line = w->why.line,
                                       .column = w->why.column, .field = sq_span_str(w->why.field),
                                       .detail = sq_span_str(w->why.detail)));
    if (w->has_counts) {
        struct sq_msg m = {.no = SQ_MSG_work_counts, .u.work_counts = w->counts};
        sq_err e = sq_wire_send(w->control, SQ_ROLE_WORKER, SQ_ROLE_RUNNER, &m);
        if (e)
            return e;
    }
    return sq_wire_send(w->control, SQ_ROLE_WORKER, SQ_ROLE_RUNNER, &(struct sq_msg){.no = SQ_MSG_work_done});
}

struct worker_choice worker_choice_default(void)
{
    return (struct worker_choice){.container = SQ_ROWS_VCF,
                                  .field = {SQ_ROWS_GT, SQ_ROWS_DS, SQ_ROWS_HDS, SQ_ROWS_GP},
                                  .n_field = 4,
                                  .fd_map = -1,
                                  .fd_sites = {-1, -1},
                                  .fd_empirical = {-1, -1},
                                  .fd_phased_index = -1};
}

int worker_serve(unsigned n_thread, const struct worker_choice *choice)
{
    struct worker w = {.control = SQ_STAGE_CONTROL_FD, .n_thread = n_thread, .choice = *choice};
    struct sq_packet *packet = sq_packet_new();
    if (!packet || take_order(&w, packet)) {
        sq_packet_free(packet);
        return 2;
    }
    sq_packet_free(packet);
    sq_err result = run_stage(&w);
    if (report(&w, result))
        return 2;
    return result ? 1 : 0;
}

static unsigned thread_count(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set))
        return 1;
    unsigned n = (unsigned)CPU_COUNT(&set);
    return n < 1 ? 1 : n > SQ_WORKER_MAX_THREADS ? SQ_WORKER_MAX_THREADS
                                                 : n;
}

int main(int argc, char **argv)
{
    mallopt(M_ARENA_MAX, 1); /* glibc shrinks the heap of another thread only after a look into /proc, which confine.c answers with death */
    signal(SIGPIPE, SIG_IGN); /* a port closed by the other side is an error code, not a death */
    if (argc > 1 && !strcmp(argv[1], "--local"))
        return local_main(argc - 1, argv + 1);
    if (argc > 1) {
        fputs("sequester-worker runs inside the hub's sandbox and takes no arguments.\n"
              "Without a server: sequester impute --help\n",
              stderr);
        return 2;
    }
    struct worker_choice choice = worker_choice_default();
    return worker_serve(thread_count(), &choice);
}
