/*
 * What the program in the sandbox says. It reads hostile data, so it may have been taken over: it can say only five
 * things, only so often, and nothing it says is passed on before it has been looked at.
 */
#include "daemon/runner/runner.h"

#include "lib/core/clock.h"
#include "lib/core/fault.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>

#define PROGRESS_EVERY_MS 500
#define MESSAGES_AT_ONCE 1000 /* a burst; beyond it the rate counts */
#define MESSAGES_PER_S 50
#define PROGRESS_MAX (UINT64_C(1) << 53)
#define CODE_FIRST_OF_DATA 100 /* err.def: 100..139 are about the data */
#define CODE_LAST_OF_DATA 139

static sq_err wait_message(const struct sq_task *t, int sock)
{
    struct pollfd f[2] = {{.fd = sock, .events = POLLIN}, {.fd = t->stop_fd, .events = POLLIN}};
    while (poll(f, 2, -1) < 0)
        sq_assert(errno == EINTR);
    return f[1].revents ? SQ_ECANCELLED : SQ_OK;
}

static sq_err on_progress(struct sq_task *t, const struct sq_msg_work_progress *p, int64_t *last_ms)
{
    if (p->done > PROGRESS_MAX || p->total > PROGRESS_MAX || (p->total && p->done > p->total))
        return sq_fail(SQ_EPROTO);
    int64_t now_ms = sq_clock_steady_ms();
    if (now_ms - *last_ms < PROGRESS_EVERY_MS)
        return SQ_OK;
    *last_ms = now_ms;
    atomic_store(&t->signed_ms, now_ms);
    struct sq_msg m = sq_msg_of(task_progress, .fence = t->fence, .done = p->done, .total = p->total);
    memcpy(m.u.task_progress.task_id, t->id, SQ_ID_BYTES);
    sq_err e = sq_node_tell(t->runner->node, SQ_ROLE_REGISTRAR, &m);
    (void)e; /* a registrar that is away misses a number, no more */
    return SQ_OK;
}

/* a contig name as VCF 4.3 allows it, which also can't end a string or a tag anywhere */
static bool is_chrom(struct sq_span s)
{
    for (uint32_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || strchr("\\,\"'`()[]{}<>", s.p[i]))
            return false;
    return true;
}

/* names of a build or of populations, as an operator's table and a web page show them */
static bool is_label(struct sq_span s)
{
    for (uint32_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] > '~' || strchr("\\\"'`<>", s.p[i]))
            return false;
    return true;
}

static sq_err on_counts(struct sq_task *t, const struct sq_msg_work_counts *c)
{
    if (c->format > 3 || c->is_phased > 1 || !is_chrom(c->chrom))
        return sq_fail(SQ_EPROTO);
    const uint64_t n[] = {c->n_sample, c->n_variant, c->n_kept,      c->n_in_panel, c->n_excluded,
                          c->first_bp, c->last_bp,   c->n_haplotype, c->n_site};
    uint8_t *p = t->counts;
    memset(p, 0, sizeof t->counts);
    p[0] = c->format;
    p[1] = c->is_phased;
    if (c->chrom.n)
        memcpy(p + 2, c->chrom.p, c->chrom.n);
    for (size_t i = 0; i < sizeof n / sizeof n[0]; i++) {
        if (n[i] > PROGRESS_MAX)
            return sq_fail(SQ_EPROTO);
        sq_put_be64(p + 18 + 8 * i, n[i]);
    }
    if (!is_label(c->build) || !is_label(c->populations))
        return sq_fail(SQ_EPROTO);
    if (c->build.n)
        memcpy(p + SQ_RUNNER_COUNTS_BUILD, c->build.p, c->build.n);
    if (c->populations.n)
        memcpy(p + SQ_RUNNER_COUNTS_POPULATIONS, c->populations.p, c->populations.n);
    t->n_counts = sizeof t->counts;
    return SQ_OK;
}

/* The worker may blame the data or its own means; it can't claim that keeper is sealed or that it was cancelled. */
static sq_err on_failed(const struct sq_msg_work_failed *f, struct sq_why *why)
{
    sq_err e = sq_err_from_no(f->code);
    bool is_allowed = (e >= CODE_FIRST_OF_DATA && e <= CODE_LAST_OF_DATA) || e == SQ_ENOMEM || e == SQ_EIO || e == SQ_EINTERNAL;
    if (!is_allowed)
        return sq_fail(SQ_ECRASHED);
    why->line = f->line;
    why->column = f->column;
    if (sq_span_copy(f->field, why->field, sizeof why->field) || sq_span_copy(f->detail, why->detail, sizeof why->detail))
        why->field[0] = why->detail[0] = 0; /* one byte too long for us: the code says enough */
    return e;
}

static sq_err listen_to(struct sq_task *t, int sock, struct sq_packet *pkt, struct sq_why *why)
{
    int64_t start_ms = sq_clock_steady_ms(), last_ms = start_ms - PROGRESS_EVERY_MS;
    for (int64_t n_message = 1;; n_message++) {
        struct sq_msg m;
        sq_err e = wait_message(t, sock);
        if (!e)
            e = sq_wire_recv(sock, SQ_ROLE_WORKER, SQ_ROLE_RUNNER, pkt, &m);
        if (e)
            return e == SQ_EDOWN ? SQ_ECRASHED : e; /* it went without a word */
        if (n_message > MESSAGES_AT_ONCE + (sq_clock_steady_ms() - start_ms) * MESSAGES_PER_S / 1000)
            return sq_fail(SQ_EPROTO);
        switch (m.no) {
        case SQ_MSG_work_progress:
            e = on_progress(t, &m.u.work_progress, &last_ms);
            break;
        case SQ_MSG_work_counts:
            e = on_counts(t, &m.u.work_counts);
            break;
        case SQ_MSG_work_failed:
            return on_failed(&m.u.work_failed, why);
        case SQ_MSG_work_walls:
            if (n_message != 1)
                return sq_fail(SQ_EPROTO);
            t->walls = m.u.work_walls.held;
            break;
        case SQ_MSG_work_done:
            return SQ_OK;
        default:
            e = sq_fail(SQ_EPROTO);
        }
        if (e)
            return e;
    }
}

sq_err sq_control_talk(struct sq_task *t, int sock, struct sq_why *why)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg order = sq_msg_of(work_order, .stage = (uint8_t)t->stage->stage, .panel = sq_span_str(t->panel),
                                    .population = sq_span_str(t->population), .max_samples = t->max_samples,
                                    .max_variants = t->max_variants, .flags = t->flags, .from_bp = t->from_bp, .to_bp = t->to_bp);
    sq_err e = wait_message(t, sock); /* its hello; ours and the order fit into the socket's buffer, so they never block */
    if (!e)
        e = sq_wire_hello(sock, SQ_ROLE_RUNNER, SQ_ROLE_WORKER);
    if (!e)
        e = sq_wire_send(sock, SQ_ROLE_RUNNER, SQ_ROLE_WORKER, &order);
    if (e == SQ_EDOWN)
        e = SQ_ECRASHED; /* the worker is down, not one of us: registrar must not wait for it to come back */
    if (!e)
        e = sq_fault_at("runner.mid_task", t->stage->name);
    if (!e)
        e = listen_to(t, sock, pkt, why);
    sq_packet_free(pkt);
    return e;
}
