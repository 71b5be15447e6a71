/*
 * A result that is sealed to its owner's own public key (chosen at submission): packing it is the job's last work, and needs no
 * claim, no password and no owner. The task is added by `finish` and tried again like a stage; when the package is sealed, the
 * same transaction ends the job and destroys what it was made from (package.c): then the hub can't open the result any more.
 */
#include "daemon/registrar/package.h"
#include "daemon/registrar/plan.h"

#include <unistd.h>

struct next {
    struct sq_db_task task;
    uint64_t most, n_running;
    bool is_begun;
};

static sq_err count_packages(void *ctx, const struct sq_db_task *row)
{
    struct next *x = ctx;
    x->n_running += row->stage == WORK_PACKAGE;
    return SQ_OK;
}

static sq_err tx_next(struct tx *tx, void *ctx)
{
    struct next *x = ctx;
    sq_err e = sq_db_task_list(tx->db, NULL, NULL, SQ_DB_task_state_running, 1000, count_packages, x);
    if (e || x->n_running >= x->most)
        return e;
    e = sq_db_task_next_of(tx->db, WORK_PACKAGE, &x->task);
    if (e == SQ_ENOTFOUND)
        return SQ_OK;
    if (!e)
        e = sq_db_task_start(tx->db, x->task.id, sq_clock_now_ms(), &x->task);
    x->is_begun = !e;
    return e;
}

/* cancelled, or lost and ready again, while its files were being opened: then nobody names the package */
static sq_err tx_begin(struct tx *tx, void *ctx)
{
    struct packing *p = ctx;
    struct sq_db_task now;
    sq_err e = sq_db_task_get(tx->db, p->task, &now);
    if (!e && (now.fence != p->fence || now.state != SQ_DB_task_state_running))
        e = sq_fail(SQ_ECONFLICT);
    if (!e)
        e = sq_db_job_set_package(tx->db, p->job.id, p->package);
    if (!e)
        e = tx_packing_port(tx, p);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_task_granted, .subject = p->job.owner_id, .object = p->task, .a = (uint64_t)p->fence, .b = p->n_object + 1});
}

static sq_err begin(struct registrar *r, struct packing *p)
{
    sq_err e = packing_open(r, p, sq_clock_now_s() + r->retention_s + SQ_DAY_S, NULL); /* exact once the job is done */
    if (!e)
        e = sq_fault("seal_to.1");
    if (!e)
        e = commit(r, tx_begin, p);
    if (!e)
        e = sq_fault("seal_to.2");
    if (!e)
        e = packing_grant(r, p);
    if (!e)
        e = packing_send(r, p, NULL);
    return e ? e : sq_fault("seal_to.3");
}

static bool is_one_ready(struct registrar *r)
{
    struct sq_db_task task;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_task_next_of(db, WORK_PACKAGE, &task);
    db_unlock(r);
    return !e;
}

bool start_package(struct registrar *r)
{
    static struct packing p; /* the planner's own */
    struct next x = {.most = r->sandboxes};
    sq_err e = is_one_ready(r) ? commit(r, tx_next, &x) : SQ_OK;
    if (!x.is_begun)
        return false;
    if (x.task.tries > 1)
        usleep(task_retry_ms(&x.task) * 1000); /* whatever was away needs a moment */
    packing_init(&p);
    memcpy(p.task, x.task.id, ID);
    memcpy(p.job.id, x.task.job_id, sizeof p.job.id);
    p.fence = x.task.fence;
    if (!e) { /* else it is begun, though not in the log yet: undone below */
        struct sq_db *db = db_lock(r);
        e = sq_db_job_get(db, x.task.job_id, &p.job);
        db_unlock(r);
    }
    watch_begin(r, &x.task);
    if (!e)
        e = begin(r, &p);
    if (e)
        packing_undo(r, &p, e);
    else
        sq_log(SQ_LOG_task_started, SQ_LID("task", x.task.id, ID), SQ_LW("stage", "package"), SQ_LN("fence", x.task.fence));
    packing_done(&p);
    return true;
}
