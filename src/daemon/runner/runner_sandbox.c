/*
 * task_run: one stage in a fresh sandbox, from sealed inputs to sealed outputs.
 *
 * The ends of the worker are given to jailer and closed here, so each pipe has one reader and one writer. Outputs are
 * closed (the part that makes them whole is written) only when the worker said `done`, its process ended with status 0,
 * every byte has been sealed and nothing failed: a half result can't be taken for a result.
 */
#include "daemon/runner/runner.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define START_WAIT_MS 60000
#define KILL_WAIT_MS 10000
#define EXIT_WAIT_MS 30000 /* from `done`, or from a closed control socket, to the end of the process */
#define GONE_WAIT_MS 20000 /* from kill to the end */
#define STACK_BYTES (256U << 10)
#define OUTPUT_RATIO 1000
#define OUTPUT_FREE_BYTES (UINT64_C(64) << 20)

struct port {
    struct sq_task *task;
    const struct sq_port *row;
    const struct sq_task_file *file; /* [n_file]; more than one only behind a JOINED port */
    size_t n_file;
    struct sq_task_keys keys;
    struct sq_vault_opener *opener;
    struct sq_vault_sealer *sealer;
    int ours, theirs;
    bool holds_memory, has_thread;
    pthread_t thread;
};

/* ---- ports ---- */

static sq_err port_open(struct port *p)
{
    struct sq_task *t = p->task;
    bool is_in = p->row->direction == SQ_PORT_IN;
    sq_err e = is_in ? sq_task_opener(&p->keys, t, p->file, &p->opener) : sq_task_sealer(&p->keys, t, p->file, &p->sealer);
    if (e)
        return e;
    sq_task_sign(t);
    if (p->row->kind == SQ_PORT_MEMORY) {
        e = sq_memory_get(t->runner->memory, t, p->file, p->opener, &p->theirs);
        p->holds_memory = !e;
        return e;
    }
    int fd[2];
    e = sq_pump_pipe(is_in, fd);
    if (!e) {
        p->ours = fd[is_in ? 1 : 0];
        p->theirs = fd[is_in ? 0 : 1];
    }
    return e;
}

/*
 * A worker that was taken over could write until the disk is full. What a stage makes is in proportion to what it was given;
 * the worker's own limit on unpacking (500 to 1, lib/formats) lies well below this one.
 */
static uint64_t most_bytes(const struct port *p)
{
    uint64_t n = 0;
    if (p->row->kind == SQ_PORT_REPORT)
        return SQ_STAGE_REPORT_MAX_BYTES;
    for (size_t i = 0; i < p->task->n_file; i++) /* 0 for an output */
        n += p->task->file[i].sealed_bytes < UINT64_MAX / 2 / SQ_RUNNER_MAX_FILES ? p->task->file[i].sealed_bytes : 0;
    return OUTPUT_FREE_BYTES + (n < UINT64_MAX / 2 / OUTPUT_RATIO ? n * OUTPUT_RATIO : UINT64_MAX / 2);
}

/* The plaintexts behind a port one after another; the first is open. What they are, only the worker knows. */
static sq_err pump_in(struct port *p)
{
    bool is_gone = false; /* a worker that has read enough may stop: no error */
    sq_err e = SQ_OK;
    for (size_t i = 0; i < p->n_file && !e && !is_gone; i++) {
        if (i) {
            sq_vault_opener_free(p->opener);
            p->opener = NULL;
            e = sq_task_opener(&p->keys, p->task, &p->file[i], &p->opener);
        }
        if (!e)
            e = sq_pump_open(p->task, p->opener, 0, sq_vault_opener_plain_bytes(p->opener), p->ours, &is_gone);
    }
    return e;
}

static void *port_main(void *arg)
{
    struct port *p = arg;
    sq_err e;
    if (p->row->direction == SQ_PORT_IN) {
        e = pump_in(p);
    } else {
        e = sq_pump_seal(p->task, p->ours, p->sealer, most_bytes(p));
        if (e == SQ_EPROTO && p->row->kind != SQ_PORT_REPORT)
            e = SQ_EBOMB;
    }
    sq_close(&p->ours); /* the worker sees the end of its input */
    if (e)
        sq_task_fail(p->task, e, NULL);
    return NULL;
}

static sq_err port_start(struct port *p)
{
    if (p->row->kind == SQ_PORT_MEMORY)
        return SQ_OK;
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setstacksize(&a, STACK_BYTES);
    p->has_thread = pthread_create(&p->thread, &a, port_main, p) == 0;
    pthread_attr_destroy(&a);
    return p->has_thread ? SQ_OK : sq_fail(SQ_ESYS);
}

static void port_join(struct port *p)
{
    if (p->has_thread)
        pthread_join(p->thread, NULL);
    p->has_thread = false;
}

static void port_done(struct port *p)
{
    sq_close(&p->ours);
    sq_close(&p->theirs);
    if (p->holds_memory)
        sq_memory_put(p->task->runner->memory, p->file->object_id);
    sq_vault_opener_free(p->opener);
    sq_vault_sealer_free(p->sealer);
}

/* ---- the sandbox ---- */

static sq_err sandbox_kill(struct sq_task *t)
{
    struct sq_msg m = sq_msg_bare(kill);
    memcpy(m.u.kill.task_id, t->id, SQ_ID_BYTES);
    return sq_node_do(t->runner->node, SQ_ROLE_JAILER, &m, KILL_WAIT_MS);
}

static void set_in_sandbox(struct sq_task *t, bool is_in)
{
    pthread_mutex_lock(&t->runner->lock);
    t->is_in_sandbox = is_in;
    pthread_mutex_unlock(&t->runner->lock);
}

static sq_err sandbox_start(struct sq_task *t, struct port *port, int control)
{
    struct sq_msg m = sq_msg_of(start, .stage = (uint8_t)t->stage->stage, .size_class = t->size_class);
    memcpy(m.u.start.task_id, t->id, SQ_ID_BYTES);
    m.u.start.files.fd[m.u.start.files.n++] = control;
    for (size_t i = 0; i < t->stage->n_port; i++)
        m.u.start.files.fd[m.u.start.files.n++] = port[i].theirs;
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    set_in_sandbox(t, true); /* before it starts: its end may come before the answer */
    struct sq_msg started;
    sq_err e = sq_node_call(t->runner->node, SQ_ROLE_JAILER, &m, START_WAIT_MS, pkt, &started);
    sq_packet_free(pkt);
    if (e == SQ_ETIMEOUT) /* it may have started after all */
        (void)!sandbox_kill(t);
    if (e)
        set_in_sandbox(t, false);
    else
        sq_task_sign(t);
    return e;
}

/* true: it ended (or can't be heard of any more); false: the time is over or the task failed meanwhile */
static bool wait_exited(struct sq_task *t, unsigned wait_ms, bool is_until_failed)
{
    struct sq_runner *r = t->runner;
    struct timespec until = sq_task_deadline(wait_ms);
    int timed = 0;
    pthread_mutex_lock(&r->lock);
    while (!t->has_exited && !t->is_lost && !(is_until_failed && t->e) && !timed)
        timed = pthread_cond_timedwait(&r->wake, &r->lock, &until);
    bool is_over = t->has_exited || t->is_lost;
    pthread_mutex_unlock(&r->lock);
    return is_over;
}

static sq_err killed(struct sq_why *why, const char *detail)
{
    return sq_why_set(why, SQ_EKILLED, 0, 0, "", "%s", detail);
}

/* What the end of the process means, @talk being what was said before it. */
static sq_err judge(const struct sq_msg_exited *x, sq_err talk, struct sq_why *why)
{
    if (talk && talk != SQ_ECRASHED)
        return talk; /* it told us why */
    if (x->how == 2)
        return killed(why, "it used more memory than its limit");
    if (x->how == 3)
        return killed(why, "it ran longer than its limit");
    if (talk || x->how != 0 || x->status != 0)
        return sq_fail(SQ_ECRASHED);
    return SQ_OK;
}

/* the worker judged the data, not itself: it ends in order, and its report is worth having */
static bool is_verdict(sq_err e)
{
    return e >= SQ_EEMPTY && e <= SQ_ECALLRATE;
}

/* That one output is sealed although the stage failed. The sandbox is gone, so its pump ends by itself. */
static void keep_report(struct sq_task *t, struct port *port)
{
    for (size_t i = 0; i < t->stage->n_port; i++) {
        struct sq_vault_sum sum;
        if (port[i].row->kind != SQ_PORT_REPORT)
            continue;
        port_join(&port[i]);
        if (sq_vault_seal_close(port[i].sealer, &sum) || !sum.plain_bytes)
            continue;
        sq_task_add_sum(t, &sum);
        t->has_report = true;
    }
}

/* From `started` to the certain end of the sandbox. */
static sq_err sandbox_accompany(struct sq_task *t, struct port *port, int control)
{
    struct sq_why why = {0};
    sq_err e = sq_control_talk(t, control, &why);
    if (e && e != SQ_ECRASHED && !is_verdict(e))
        sq_task_fail(t, e, &why); /* all pumps stop; the first failure stays */
    if (e)
        shutdown(control, SHUT_RDWR); /* nothing more will be heard or said */
    bool has_ended = wait_exited(t, EXIT_WAIT_MS, true);
    if (!has_ended) {
        if (!sq_task_is_stopped(t))
            sq_task_fail(t, is_verdict(e) ? e : SQ_ECRASHED, is_verdict(e) ? &why : NULL);
        sq_err k = sandbox_kill(t);
        has_ended = wait_exited(t, k && k != SQ_ETIMEOUT ? 1000 : GONE_WAIT_MS, false);
    }
    pthread_mutex_lock(&t->runner->lock);
    bool is_lost = !has_ended || t->is_lost;
    struct sq_msg_exited x = t->exited;
    pthread_mutex_unlock(&t->runner->lock);
    if (is_lost) {
        (void)!sandbox_kill(t);
        return SQ_EDOWN; /* what had failed before stays the reason */
    }
    e = judge(&x, e, &why);
    if (is_verdict(e) && !sq_task_is_stopped(t))
        keep_report(t, port); /* before it fails: a failed task gets no more keys */
    if (e)
        sq_task_fail(t, e, &why);
    return e;
}

/* ---- the story ---- */

static sq_err close_outputs(struct sq_task *t, struct port *port)
{
    sq_err e = sq_fault("runner.before_seal");
    for (size_t i = 0; !e && i < t->stage->n_port; i++) {
        struct sq_vault_sum sum;
        if (!port[i].sealer)
            continue;
        e = sq_vault_seal_close(port[i].sealer, &sum);
        if (!e)
            sq_task_add_sum(t, &sum);
    }
    return e;
}

static sq_err run_ports(struct sq_task *t, struct port *port, int control[2])
{
    sq_err e = SQ_OK;
    for (size_t i = 0; !e && i < t->stage->n_port; i++)
        e = port_open(&port[i]);
    if (!e && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, control))
        e = sq_fail(SQ_ESYS);
    if (!e && sq_task_is_stopped(t))
        e = SQ_ECANCELLED;
    if (!e)
        e = sandbox_start(t, port, control[1]);
    sq_close(&control[1]);
    for (size_t i = 0; i < t->stage->n_port; i++)
        sq_close(&port[i].theirs);
    if (e)
        return e;
    for (size_t i = 0; i < t->stage->n_port; i++)
        if ((e = port_start(&port[i])) != SQ_OK)
            sq_task_fail(t, e, NULL);
    e = sandbox_accompany(t, port, control[0]);
    if (e)
        sq_task_fail(t, e, NULL);
    for (size_t i = 0; i < t->stage->n_port; i++)
        port_join(&port[i]);
    if (!e && sq_task_is_stopped(t))
        e = SQ_ECANCELLED; /* a pump failed or somebody cancelled: the reason is in the task */
    return e ? e : close_outputs(t, port);
}

static sq_err run(struct sq_task *t)
{
    struct port port[SQ_STAGE_MAX_PORTS];
    int control[2] = {-1, -1};
    memset(port, 0, sizeof port);
    for (size_t i = 0; i < t->stage->n_port; i++)
        port[i] = (struct port){.task = t, .row = &t->stage->port[i], .ours = -1, .theirs = -1};
    for (size_t i = t->n_file; i-- > 0;) {
        port[t->port_of[i]].file = &t->file[i];
        port[t->port_of[i]].n_file++;
    }
    sq_err e = run_ports(t, port, control);
    for (size_t i = 0; i < t->stage->n_port; i++)
        port_done(&port[i]);
    sq_close(&control[0]);
    sq_close(&control[1]);
    return e;
}

static sq_err take_request(struct sq_task *t, struct sq_ask *ask, const struct sq_msg_task_run *a)
{
    bool is_input[SQ_RUNNER_MAX_FILES];
    t->stage = sq_stage_row_of(a->stage);
    if (!t->stage || a->objects.n != a->ports.n || a->ports.n > SQ_RUNNER_MAX_FILES)
        return sq_fail(SQ_EPROTO);
    size_t port = 0; /* every port once, in order; a JOINED one any number of times more */
    for (size_t i = 0; i < a->ports.n; i++) {
        if (i && !(a->ports.p[i] == port && t->stage->port[port].kind == SQ_PORT_JOINED))
            port++;
        if (a->ports.p[i] != port || port >= t->stage->n_port)
            return sq_fail(SQ_EPROTO);
        t->port_of[i] = (uint8_t)port;
        is_input[i] = t->stage->port[port].direction == SQ_PORT_IN;
    }
    if (!a->ports.n || port + 1 != t->stage->n_port)
        return sq_fail(SQ_EPROTO);
    sq_err e = sq_span_copy(a->panel, t->panel, sizeof t->panel);
    if (!e)
        e = sq_span_copy(a->population, t->population, sizeof t->population);
    t->size_class = a->size_class;
    t->max_samples = a->max_samples;
    t->max_variants = a->max_variants;
    t->flags = a->flags;
    t->from_bp = a->from_bp;
    t->to_bp = a->to_bp;
    return e ? e : sq_task_take_files(t, ask, a->objects, a->sealed_bytes, &a->files, is_input);
}

void on_task_run(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_task_run *a = &m->u.task_run;
    struct sq_task *t = NULL;
    sq_err e = sq_task_new(ctx, SQ_TASK_RUN, a->task_id, a->fence, &t);
    if (!e)
        e = take_request(t, ask, a);
    if (!e)
        e = sq_task_begin_take(t, run);
    if (e) {
        sq_task_free(t);
        sq_ask_fail(ask, e);
    } else {
        sq_ask_ok(ask);
    }
}
