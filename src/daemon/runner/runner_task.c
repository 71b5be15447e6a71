/*
 * The table of tasks. Two tasks of one id never run at once: jailer and keeper know a task by its id alone, so a newer
 * fence waits until the older thread has left. A task stays in the table until registrar has acknowledged its end, so
 * what is remembered for a registrar that is away is bounded by the table.
 */
#include "daemon/runner/runner.h"

#include "lib/core/clock.h"
#include "lib/core/fault.h"
#include "lib/core/file.h"
#include "lib/core/log.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <poll.h>
#include <time.h>
#include <unistd.h>

#define SIGN_EVERY_MS 2000
#define END_WAIT_MS 10000
#define END_RETRY_MS 1000
#define STACK_BYTES (512U << 10)

sq_err sq_runner_init(struct sq_runner *r)
{
    pthread_condattr_t a;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&r->wake, &a);
    pthread_condattr_destroy(&a);
    /* memory files may take half of the machine: they are the panel, once, however many sandboxes read it */
    uint64_t pages = (uint64_t)sysconf(_SC_PHYS_PAGES), page_bytes = (uint64_t)sysconf(_SC_PAGESIZE);
    return sq_memory_new(pages * page_bytes / 2, &r->memory);
}

sq_err sq_task_new(struct sq_runner *r, enum sq_task_kind kind, const uint8_t id[SQ_ID_BYTES], uint32_t fence,
                   struct sq_task **out_task)
{
    struct sq_task *t = calloc(1, sizeof *t);
    if (!t)
        return sq_fail(SQ_ENOMEM);
    t->runner = r;
    t->kind = kind;
    t->fence = fence;
    memcpy(t->id, id, sizeof t->id);
    t->source_fd = t->reader_fd = -1;
    for (size_t i = 0; i < SQ_RUNNER_MAX_FILES; i++)
        t->file[i].fd = -1;
    t->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    t->gone_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (t->stop_fd < 0 || t->gone_fd < 0) {
        sq_task_free(t);
        return sq_fail(SQ_ESYS);
    }
    *out_task = t;
    return SQ_OK;
}

void sq_task_free(struct sq_task *t)
{
    if (!t)
        return;
    sq_vault_opener_free(t->stream_opener);
    for (size_t i = 0; i < SQ_RUNNER_MAX_FILES; i++)
        sq_close(&t->file[i].fd);
    sq_close(&t->source_fd);
    sq_close(&t->reader_fd);
    sq_close(&t->stop_fd);
    sq_close(&t->gone_fd);
    free(t->plan);
    sq_wipe(t, sizeof *t);
    free(t);
}

struct timespec sq_task_deadline(unsigned wait_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(wait_ms / 1000);
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000L;
    }
    return until;
}

static void raise_event(int fd)
{
    const uint64_t one = 1;
    ssize_t w = write(fd, &one, sizeof one);
    (void)w; /* a full counter is readable all the same */
}

bool sq_task_is_stopped(const struct sq_task *t)
{
    struct pollfd f = {.fd = t->stop_fd, .events = POLLIN};
    return poll(&f, 1, 0) > 0;
}

static void fail_locked(struct sq_task *t, sq_err e, const struct sq_why *why)
{
    if (!t->e) {
        t->e = e;
        if (why)
            t->why = *why;
    }
    raise_event(t->stop_fd);
    pthread_cond_broadcast(&t->runner->wake);
}

void sq_task_fail(struct sq_task *t, sq_err e, const struct sq_why *why)
{
    pthread_mutex_lock(&t->runner->lock);
    fail_locked(t, e, why);
    pthread_mutex_unlock(&t->runner->lock);
}

void sq_task_sign(struct sq_task *t)
{
    int64_t now_ms = sq_clock_steady_ms(), last_ms = atomic_load(&t->signed_ms);
    if (now_ms - last_ms < SIGN_EVERY_MS || !atomic_compare_exchange_strong(&t->signed_ms, &last_ms, now_ms))
        return;
    struct sq_msg m = sq_msg_of(task_progress, .fence = t->fence);
    memcpy(m.u.task_progress.task_id, t->id, SQ_ID_BYTES);
    sq_err e = sq_node_tell(t->runner->node, SQ_ROLE_REGISTRAR, &m);
    (void)e; /* a registrar that is away asks anew when it is back */
}

void sq_task_add_sum(struct sq_task *t, const struct sq_vault_sum *sum)
{
    sq_assert(t->n_sums + SQ_RUNNER_SUM_BYTES <= sizeof t->sums);
    uint8_t *p = t->sums + t->n_sums;
    sq_put_be32(p, sum->n_part);
    sq_put_be64(p + 4, sum->plain_bytes);
    sq_put_be64(p + 12, sum->sealed_bytes);
    memcpy(p + 20, sum->sha256, 32);
    t->n_sums += SQ_RUNNER_SUM_BYTES;
}

/* ---- the table; callers hold the lock ---- */

/* a task of this id that is not @other; the newest when an old one is still leaving */
static struct sq_task *find_locked(struct sq_runner *r, const uint8_t id[SQ_ID_BYTES], const struct sq_task *other)
{
    struct sq_task *found = NULL;
    for (size_t i = 0; i < SQ_RUNNER_MAX_TASKS; i++) {
        struct sq_task *t = r->task[i];
        if (t && t != other && !memcmp(t->id, id, SQ_ID_BYTES) && (!found || t->fence > found->fence))
            found = t;
    }
    return found;
}

static bool is_older_here_locked(struct sq_runner *r, const struct sq_task *me)
{
    for (size_t i = 0; i < SQ_RUNNER_MAX_TASKS; i++) {
        struct sq_task *t = r->task[i];
        if (t && !memcmp(t->id, me->id, SQ_ID_BYTES) && t->fence < me->fence)
            return true;
    }
    return false;
}

static sq_err check_fence_locked(struct sq_runner *r, const struct sq_task *t)
{
    const struct sq_task *other = find_locked(r, t->id, NULL);
    if (other && other->fence >= t->fence)
        return sq_fail(SQ_ECONFLICT);
    for (size_t i = 0; i < SQ_RUNNER_MAX_TASKS; i++)
        if (!memcmp(r->ended[i].id, t->id, SQ_ID_BYTES) && r->ended[i].fence >= t->fence)
            return sq_fail(SQ_ECONFLICT);
    return SQ_OK;
}

static void cancel_locked(struct sq_task *t)
{
    t->is_cancelled = true;
    fail_locked(t, SQ_ECANCELLED, NULL);
}

/* ---- the life of a task ---- */

struct life {
    struct sq_task *task;
    sq_err (*work)(struct sq_task *t);
};

static const char *const kind_name[] = {
    [SQ_TASK_RUN] = "run", [SQ_TASK_IMPORT] = "import", [SQ_TASK_PACKAGE] = "package", [SQ_TASK_STREAM] = "stream", [SQ_TASK_VERIFY] = "verify"};
_Static_assert(sizeof kind_name / sizeof kind_name[0] == SQ_TASK_KINDS, "a name for each kind");

static const char *task_name(const struct sq_task *t)
{
    return t->stage ? t->stage->name : kind_name[t->kind];
}

/* registrar is away, restarting, or can't write its log just now: anything else it means */
static bool is_worth_retrying(sq_err e)
{
    switch (e) {
    case SQ_EDOWN:
    case SQ_ETIMEOUT:
    case SQ_EBUSY:
    case SQ_ENOMEM:
    case SQ_EIO:
    case SQ_EFULL:
    case SQ_ELOG:
    case SQ_ESEALED:
        return true;
    default:
        return false;
    }
}

static void tell_end(struct sq_task *t, uint64_t cpu_ms, uint64_t wall_ms)
{
    struct sq_runner *r = t->runner;
    pthread_mutex_lock(&r->lock);
    const sq_err code = t->e; /* a cancel that comes from now on is too late */
    const struct sq_why why = t->why;
    pthread_mutex_unlock(&r->lock);
    bool is_good = code == SQ_OK;
    struct sq_msg m = sq_msg_of(task_ended, .fence = t->fence, .code = (uint16_t)code, .line = why.line,
                                .column = why.column, .field = sq_span_str(why.field),
                                .detail = sq_span_str(why.detail), .cpu_ms = t->exited.cpu_ms + cpu_ms,
                                .peak_kib = t->exited.peak_kib, .wall_ms = wall_ms, .walls = t->walls,
                                .sums = sq_span_of(t->sums, is_good || t->has_report ? t->n_sums : 0),
                                .counts = sq_span_of(t->counts, is_good ? t->n_counts : 0));
    memcpy(m.u.task_ended.task_id, t->id, sizeof t->id);
    for (;;) {
        pthread_mutex_lock(&r->lock);
        bool is_superseded = t->is_superseded;
        pthread_mutex_unlock(&r->lock);
        if (is_superseded)
            return; /* registrar has given the work out anew and waits for that one */
        sq_err e = sq_node_do(r->node, SQ_ROLE_REGISTRAR, &m, END_WAIT_MS);
        if (!is_worth_retrying(e))
            return;
        struct timespec until = sq_task_deadline(END_RETRY_MS);
        pthread_mutex_lock(&r->lock);
        while (!t->is_superseded && pthread_cond_timedwait(&r->wake, &r->lock, &until) == 0)
            ;
        pthread_mutex_unlock(&r->lock);
    }
}

static void leave(struct sq_task *t)
{
    struct sq_runner *r = t->runner;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < SQ_RUNNER_MAX_TASKS; i++)
        if (r->task[i] == t)
            r->task[i] = NULL;
    memcpy(r->ended[r->next_ended].id, t->id, SQ_ID_BYTES);
    r->ended[r->next_ended].fence = t->fence;
    r->next_ended = (r->next_ended + 1) % SQ_RUNNER_MAX_TASKS;
    pthread_cond_broadcast(&r->wake);
    pthread_mutex_unlock(&r->lock);
    sq_task_free(t);
}

static uint64_t thread_cpu_ms(void)
{
    struct timespec now;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now))
        return 0;
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void *task_main(void *arg)
{
    struct life life = *(struct life *)arg;
    struct sq_task *t = life.task;
    struct sq_runner *r = t->runner;
    free(arg);
    int64_t start_ms = sq_clock_steady_ms();

    pthread_mutex_lock(&r->lock);
    while (is_older_here_locked(r, t))
        pthread_cond_wait(&r->wake, &r->lock);
    pthread_mutex_unlock(&r->lock);
    sq_log(SQ_LOG_task_started, SQ_LID("task", t->id, sizeof t->id), SQ_LW("stage", task_name(t)), SQ_LN("fence", t->fence));

    sq_err e = sq_task_is_stopped(t) ? SQ_ECANCELLED : life.work(t);
    if (e)
        sq_task_fail(t, e, NULL);
    /* inputs are closed and outputs final before registrar hears of the end */
    for (size_t i = 0; i < SQ_RUNNER_MAX_FILES; i++)
        sq_close(&t->file[i].fd);
    sq_close(&t->source_fd);

    pthread_mutex_lock(&r->lock);
    if (t->is_cancelled) { /* whatever broke first: it was cancelled, and that is what counts */
        t->e = SQ_ECANCELLED;
        memset(&t->why, 0, sizeof t->why);
    }
    pthread_mutex_unlock(&r->lock);
    uint64_t wall_ms = (uint64_t)(sq_clock_steady_ms() - start_ms), cpu_ms = thread_cpu_ms();
    sq_log(SQ_LOG_task_ended, SQ_LID("task", t->id, sizeof t->id), SQ_LW("stage", task_name(t)),
           SQ_LW("code", sq_err_name(t->e)), SQ_LN("ms", wall_ms), SQ_LN("cpu_ms", t->exited.cpu_ms + cpu_ms),
           SQ_LN("peak_kib", t->exited.peak_kib));
    e = sq_fault("runner.before_ended");
    if (e)
        sq_task_fail(t, e, NULL);
    tell_end(t, cpu_ms, wall_ms);
    leave(t);
    return NULL;
}

static sq_err enter_locked(struct sq_runner *r, struct sq_task *t)
{
    sq_err e = check_fence_locked(r, t);
    if (e)
        return e;
    for (size_t i = 0; i < SQ_RUNNER_MAX_TASKS; i++) {
        if (r->task[i])
            continue;
        for (size_t k = 0; k < SQ_RUNNER_MAX_TASKS; k++)
            if (r->task[k] && !memcmp(r->task[k]->id, t->id, SQ_ID_BYTES)) {
                r->task[k]->is_superseded = true;
                cancel_locked(r->task[k]);
            }
        r->task[i] = t;
        return SQ_OK;
    }
    return sq_fail(SQ_EBUSY);
}

sq_err sq_task_begin_take(struct sq_task *t, sq_err (*work)(struct sq_task *t))
{
    struct sq_runner *r = t->runner;
    struct life *life = calloc(1, sizeof *life);
    if (!life)
        return sq_fail(SQ_ENOMEM);
    *life = (struct life){.task = t, .work = work};
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&a, STACK_BYTES);
    pthread_mutex_lock(&r->lock);
    sq_err e = enter_locked(r, t);
    pthread_t thread;
    if (!e && pthread_create(&thread, &a, task_main, life)) {
        for (size_t i = 0; i < SQ_RUNNER_MAX_TASKS; i++)
            if (r->task[i] == t)
                r->task[i] = NULL;
        e = sq_fail(SQ_ESYS);
    }
    pthread_mutex_unlock(&r->lock);
    pthread_attr_destroy(&a);
    if (e)
        free(life);
    return e;
}

/* ---- messages about tasks ---- */

void on_task_cancel(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct sq_runner *r = ctx;
    pthread_mutex_lock(&r->lock);
    bool is_found = false;
    for (size_t i = 0; i < SQ_RUNNER_MAX_TASKS; i++) {
        struct sq_task *t = r->task[i];
        if (!t || memcmp(t->id, m->u.task_cancel.task_id, SQ_ID_BYTES) || (m->u.task_cancel.fence && t->fence > m->u.task_cancel.fence))
            continue; /* or it has been given out anew since */
        cancel_locked(t); /* its own thread kills the sandbox and tells the end */
        is_found = true;
    }
    pthread_mutex_unlock(&r->lock);
    if (is_found)
        sq_ask_ok(ask);
    else
        sq_ask_fail(ask, SQ_ENOTFOUND);
}

void on_exited(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    (void)ask; /* wants no reply */
    struct sq_runner *r = ctx;
    const struct sq_msg_exited *exited = &m->u.exited;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < SQ_RUNNER_MAX_TASKS; i++) {
        struct sq_task *t = r->task[i];
        if (!t || !t->is_in_sandbox || t->has_exited || memcmp(t->id, exited->task_id, SQ_ID_BYTES) != 0)
            continue;
        t->exited = *exited;
        t->has_exited = true;
        raise_event(t->gone_fd);
        pthread_cond_broadcast(&r->wake);
    }
    pthread_mutex_unlock(&r->lock);
}

/* A jailer that is gone took its sandboxes along, or the next one ends them: whoever waits for one waits in vain. */
void sq_runner_on_peer_down(void *ctx, enum sq_role peer)
{
    struct sq_runner *r = ctx;
    if (peer != SQ_ROLE_JAILER)
        return;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < SQ_RUNNER_MAX_TASKS; i++) {
        struct sq_task *t = r->task[i];
        if (!t || !t->is_in_sandbox || t->has_exited)
            continue;
        t->is_lost = true;
        fail_locked(t, SQ_EDOWN, NULL);
    }
    pthread_mutex_unlock(&r->lock);
}
