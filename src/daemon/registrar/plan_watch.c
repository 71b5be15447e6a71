/*
 * Work under way: how far it is, and whether it lives.
 *
 * Runner tells of a task whenever something in it really moves (a worker that spoke, bytes that went into memory or into a
 * package), so silence means that worker, pump or runner hangs, or that the end was told and lost. After watchdog_s of it the try
 * is over: its row is ready again, the next start has a higher fence, and what the old one still says is dropped. A
 * runner that doesn't even answer, or that can't get rid of a task it was told to stop, is ended by parent.
 *
 * What is kept here is in memory: after a restart everything that runs has been given out anew.
 */
#include "daemon/registrar/plan.h"

#include <stdlib.h>

#define MAX_WATCHED 256
#define PROGRESS_EVERY_MS 1000 /* of one job, into the database */
#define PHASES_PERCENT 60U     /* of the time of a job that is phased, roughly */

struct watched {
    uint8_t task[ID];
    char job[SQ_DB_JOB_ID_BYTES];
    int64_t fence, sign_ms, stored_ms;
    uint64_t share; /* of WATCH_PROGRESS_TOTAL */
    unsigned n_stall;
};

void watch_init(struct registrar *r)
{
    pthread_mutex_init(&r->watch_lock, NULL);
    r->watched = calloc(MAX_WATCHED, sizeof *r->watched);
    sq_assert(r->watched);
}

/* of @task, or a new one in the place that was silent longest; the lock is held */
static struct watched *find_locked(struct registrar *r, const struct sq_db_task *task)
{
    struct watched *oldest = r->watched;
    for (struct watched *w = r->watched; w < r->watched + MAX_WATCHED; w++) {
        if (!memcmp(w->task, task->id, ID))
            return w;
        if (w->sign_ms < oldest->sign_ms)
            oldest = w;
    }
    *oldest = (struct watched){.sign_ms = sq_clock_steady_ms()};
    memcpy(oldest->task, task->id, ID);
    memcpy(oldest->job, task->job_id, sizeof oldest->job);
    return oldest;
}

static struct watched *find_try_locked(struct registrar *r, const struct sq_db_task *task)
{
    struct watched *w = find_locked(r, task);
    if (w->fence != task->fence) {
        w->fence = task->fence;
        w->sign_ms = sq_clock_steady_ms();
        w->share = 0;
    }
    return w;
}

void watch_begin(struct registrar *r, const struct sq_db_task *task)
{
    pthread_mutex_lock(&r->watch_lock);
    find_try_locked(r, task);
    pthread_mutex_unlock(&r->watch_lock);
}

/* ---- progress ---- */

struct progress {
    struct registrar *r;
    char job[SQ_DB_JOB_ID_BYTES];
    uint64_t n_chunk, chunks, phases; /* shares added up */
    bool has_phases;
};

static uint64_t share_of(struct registrar *r, const struct sq_db_task *task)
{
    uint64_t share = 0;
    if (task->state != SQ_DB_task_state_running)
        return task->state == SQ_DB_task_state_done ? WATCH_PROGRESS_TOTAL : 0;
    pthread_mutex_lock(&r->watch_lock);
    for (const struct watched *w = r->watched; w < r->watched + MAX_WATCHED; w++)
        if (!memcmp(w->task, task->id, ID) && w->fence == task->fence)
            share = w->share;
    pthread_mutex_unlock(&r->watch_lock);
    return share;
}

static sq_err add_share(void *ctx, const struct sq_db_task *row)
{
    struct progress *p = ctx;
    if (row->stage == SQ_STAGE_impute) {
        p->n_chunk++;
        p->chunks += share_of(p->r, row);
    } else if (row->stage == SQ_STAGE_phase) {
        p->has_phases = true;
        p->phases = share_of(p->r, row);
    }
    return SQ_OK;
}

static sq_err tx_progress(struct tx *tx, void *ctx)
{
    struct progress *p = ctx;
    sq_err e = sq_db_task_list(tx->db, p->job, NULL, 0, 1000, add_share, p);
    uint64_t chunks = p->n_chunk ? p->chunks / p->n_chunk : 0;
    uint64_t done = p->has_phases ? (PHASES_PERCENT * p->phases + (100 - PHASES_PERCENT) * chunks) / 100 : chunks;
    return e ? e : sq_db_job_set_progress(tx->db, p->job, done < WATCH_PROGRESS_TOTAL ? done : WATCH_PROGRESS_TOTAL, WATCH_PROGRESS_TOTAL);
}

void on_task_progress(void *ctx, struct sq_ask *ask, const struct sq_msg *msg)
{
    (void)ask;
    struct registrar *r = ctx;
    const struct sq_msg_task_progress *m = &msg->u.task_progress;
    struct sq_db_task task;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_task_get(db, m->task_id, &task);
    db_unlock(r);
    if (e || task.fence != (int64_t)m->fence || task.state != SQ_DB_task_state_running || m->total > UINT64_C(1) << 53 || m->done > m->total)
        return;
    struct progress p = {.r = r};
    int64_t now_ms = sq_clock_steady_ms();
    pthread_mutex_lock(&r->watch_lock);
    struct watched *w = find_try_locked(r, &task);
    w->sign_ms = now_ms;
    bool is_due = m->total && (task.stage == SQ_STAGE_impute || task.stage == SQ_STAGE_phase) && now_ms - w->stored_ms >= PROGRESS_EVERY_MS;
    if (m->total)
        w->share = (uint64_t)((double)m->done / (double)m->total * WATCH_PROGRESS_TOTAL);
    if (is_due) {
        for (struct watched *v = r->watched; v < r->watched + MAX_WATCHED; v++)
            if (!strcmp(v->job, task.job_id))
                v->stored_ms = now_ms;
        memcpy(p.job, task.job_id, sizeof p.job);
    }
    pthread_mutex_unlock(&r->watch_lock);
    if (is_due)
        e = commit(r, tx_progress, &p);
    (void)e; /* progress that is lost comes again */
}

/* ---- the watchdog ---- */

struct running {
    struct sq_db_task row[MAX_WATCHED];
    size_t n;
};

static sq_err take_running(void *ctx, const struct sq_db_task *row)
{
    struct running *x = ctx;
    bool is_watched = sq_stage_row_of((unsigned)row->stage) || row->stage == WORK_PACKAGE; /* a download waits for its reader */
    if (is_watched && x->n < MAX_WATCHED)
        x->row[x->n++] = *row;
    return SQ_OK;
}

struct stall {
    const struct sq_db_task *task;
    uint8_t owner[ID];
    uint64_t silent_s;
};

static sq_err tx_stalled(struct tx *tx, void *ctx)
{
    struct stall *s = ctx;
    struct sq_db_job job;
    struct sq_db_upload upload;
    sq_err e = s->task->job_id[0] ? sq_db_job_get(tx->db, s->task->job_id, &job) : sq_db_upload_get(tx->db, s->task->upload_id, &upload);
    if (e)
        return e;
    memcpy(s->owner, s->task->job_id[0] ? job.owner_id : upload.owner_id, ID);
    return tx_event(tx, &(struct event){.no = SQ_AUDIT_task_stalled, .result = SQ_ETIMEOUT, .subject = s->owner, .object = s->task->id,
                                        .a = (uint64_t)s->task->fence, .b = s->silent_s});
}

/* The row first: what the cancelled try says then is of an old fence, and isn't taken for the task's end. */
static void stop_stalled(struct registrar *r, const struct sq_db_task *task, uint64_t silent_s, unsigned n_stall)
{
    const struct sq_stage_row *stage = sq_stage_row_of((unsigned)task->stage);
    struct stall s = {.task = task, .silent_s = silent_s};
    struct task_result lost = {.code = SQ_ETIMEOUT};
    sq_log(SQ_LOG_task_stalled, SQ_LID("task", task->id, ID), SQ_LW("stage", stage ? stage->name : "package"), SQ_LN("fence", task->fence),
           SQ_LN("seconds", silent_s));
    sq_err e = commit(r, tx_stalled, &s);
    if (stage)
        e = task_over(r, task, &lost);
    else
        e = package_ended(r, task, SQ_ETIMEOUT, NULL);
    (void)e; /* the next turn finds it again */
    struct sq_msg m = sq_msg_of(task_cancel, .fence = (uint32_t)task->fence - 1);
    memcpy(m.u.task_cancel.task_id, task->id, ID);
    bool is_stuck = n_stall > 1 && task->fence > 1 && !sq_node_do(r->node, SQ_ROLE_RUNNER, &m, CALL_MS); /* an older try is still there */
    m.u.task_cancel.fence = (uint32_t)task->fence;
    e = sq_node_do(r->node, SQ_ROLE_RUNNER, &m, CALL_MS);
    if (e == SQ_ETIMEOUT || is_stuck) /* it hangs as a whole, or a thread of it does and all further tries wait behind that */
        sq_node_blame(r->node, SQ_ROLE_RUNNER);
}

static void look_for_stalled(struct registrar *r, struct running *x)
{
    x->n = 0;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_task_list(db, NULL, NULL, SQ_DB_task_state_running, 1000, take_running, x);
    db_unlock(r);
    for (size_t i = 0; i < x->n && !e; i++) {
        pthread_mutex_lock(&r->watch_lock);
        struct watched *w = find_try_locked(r, &x->row[i]);
        int64_t silent_ms = sq_clock_steady_ms() - w->sign_ms;
        unsigned n_stall = silent_ms > r->watchdog_ms ? ++w->n_stall : 0;
        if (n_stall)
            w->sign_ms = sq_clock_steady_ms(); /* should it not be possible to end it now: later again */
        pthread_mutex_unlock(&r->watch_lock);
        if (n_stall)
            stop_stalled(r, &x->row[i], (uint64_t)silent_ms / 1000, n_stall);
    }
}

/* ---- jobs that take too long ---- */

struct late {
    struct sq_db_job row[64];
    size_t n;
};

static sq_err take_late(void *ctx, const struct sq_db_job *row)
{
    struct late *l = ctx;
    if (l->n < 64)
        l->row[l->n++] = *row;
    return SQ_OK;
}

static sq_err tx_late(struct tx *tx, void *ctx)
{
    const struct sq_db_job *job = ctx;
    uint8_t id[ID];
    job_audit_id(job->id, id);
    sq_err e = sq_db_job_set_late(tx->db, job->id, sq_clock_now_s());
    if (!e)
        e = tx_notice(tx, SQ_DB_notice_kind_job_late, job->owner_id, job->id, NULL);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_job_late, .result = SQ_ETIMEOUT, .subject = job->owner_id, .object = id,
                                                .a = (uint64_t)(sq_clock_now_s() - job->started_s), .b = WATCH_LATE_S});
}

static void look_for_late(struct registrar *r, struct late *l)
{
    l->n = 0;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_jobs_late(db, sq_clock_now_s() - WATCH_LATE_S, 64, take_late, l);
    db_unlock(r);
    for (size_t i = 0; i < l->n && !e; i++) {
        uint8_t id[ID];
        job_audit_id(l->row[i].id, id);
        sq_log(SQ_LOG_job_late, SQ_LID("job", id, ID), SQ_LN("hours", (sq_clock_now_s() - l->row[i].started_s) / 3600));
        e = commit(r, tx_late, &l->row[i]);
    }
}

void watch_turn(struct registrar *r)
{
    struct running *x = calloc(1, sizeof *x);
    struct late *l = calloc(1, sizeof *l);
    sq_assert(x && l);
    look_for_stalled(r, x);
    look_for_late(r, l);
    free(x);
    free(l);
}
