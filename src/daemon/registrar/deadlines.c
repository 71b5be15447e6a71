/*
 * What must end, and ends: results after their days, uploads that nobody used, old tokens. Keeper destroys expired keys by
 * itself even when this process is away; here the rest goes too, and the receipts are made.
 */
#include "daemon/registrar/registrar.h"

#include "lib/core/promises.h"

#include <stdlib.h>
#include <unistd.h>

#define TURN_MS 1000
#define BEGUN_S 3600           /* a second factor whose first code never came */
#define SEEN_S (90 * SQ_DAY_S) /* an address that an account wasn't used from any more */
#define CHORES_TURNS 60
#ifdef SQ_TEST_HOOKS
#define REMIND_TURNS 1
#else
#define REMIND_TURNS 30
#endif

struct due {
    struct sq_db_job job[64];
    size_t n_job;
    struct sq_db_upload upload[64];
    size_t n_upload;
    struct sq_db_object object[64];
    size_t n_object;
};

static sq_err due_job(void *ctx, const struct sq_db_job *row)
{
    struct due *d = ctx;
    d->job[d->n_job++] = *row;
    return SQ_OK;
}

static sq_err due_upload(void *ctx, const struct sq_db_upload *row)
{
    struct due *d = ctx;
    d->upload[d->n_upload++] = *row;
    return SQ_OK;
}

static sq_err due_object(void *ctx, const struct sq_db_object *row)
{
    struct due *d = ctx;
    d->object[d->n_object++] = *row;
    return SQ_OK;
}

static sq_err tx_job_due(struct tx *tx, void *ctx)
{
    const struct sq_db_job *job = ctx;
    uint8_t id[ID];
    job_audit_id(job->id, id);
    sq_err e = tx_job_erase(tx, job, NULL);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_expired, .subject = job->owner_id, .object = id, .a = (uint64_t)job->expires_s});
}

static sq_err tx_upload_due(struct tx *tx, void *ctx)
{
    const struct sq_db_upload *u = ctx;
    sq_err e = tx_upload_erase(tx, u, NULL);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_expired, .subject = u->owner_id, .object = u->id, .a = (uint64_t)u->expires_s});
}

static sq_err tx_object_due(struct tx *tx, void *ctx)
{
    const struct sq_db_object *o = ctx;
    return tx_object_erase(tx, o->id, NULL);
}

/*
 * An upload is kept for hours, a job for days: what a job waits to read, or reads, is kept until the job's own end. It goes earlier, when the job needs it no
 * more; keeper alone would end it at the upload's deadline, whatever waits for it.
 */
struct inputs {
    struct sq_db_short row[64];
    size_t n;
};

static sq_err take_short(void *ctx, const struct sq_db_short *row)
{
    struct inputs *x = ctx;
    x->row[x->n++] = *row;
    return SQ_OK;
}

static sq_err tx_extended(struct tx *tx, void *ctx)
{
    const struct sq_db_short *x = ctx;
    sq_err e = sq_db_object_set_not_after(tx->db, x->id, x->needed_s);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_object_extended, .subject = x->owner_id, .object = x->id, .a = (uint64_t)x->not_after_s,
                                                .b = (uint64_t)x->needed_s});
}

static void keep_inputs(struct registrar *r)
{
    struct inputs x = {.n = 0};
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_inputs_short(db, 64, take_short, &x);
    db_unlock(r);
    for (size_t i = 0; i < x.n; i++) {
        struct sq_msg m = sq_msg_of(slot_extend, .not_after_s = (uint64_t)x.row[i].needed_s);
        memcpy(m.u.slot_extend.object_id, x.row[i].id, ID);
        sq_err one = keeper_do(r, &m); /* a crash behind this: the shorter one of both counts until the next turn */
        if (!one)
            one = commit(r, tx_extended, &x.row[i]);
        e = e ? e : one;
    }
    if (e && e != SQ_ESEALED && e != SQ_EDOWN && e != SQ_EKEYGONE) /* gone: the deadline was there first */
        sq_log(SQ_LOG_failed, SQ_LW("what", "keep_inputs"), SQ_LW("code", sq_err_name(e)));
}

static sq_err first_of(sq_err a, sq_err b)
{
    return a ? a : b;
}

static void turn(struct registrar *r, struct due *d)
{
    int64_t now = sq_clock_now_s();
    d->n_job = d->n_upload = d->n_object = 0;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_jobs_expired(db, now, 64, due_job, d);
    if (!e)
        e = sq_db_uploads_expired(db, now, 64, due_upload, d);
    if (!e)
        e = sq_db_objects_expired(db, now, 64, due_object, d);
    db_unlock(r);
    /* one that fails must not hold up the others */
    for (size_t i = 0; i < d->n_job; i++)
        e = first_of(e, commit(r, tx_job_due, &d->job[i]));
    for (size_t i = 0; i < d->n_upload; i++)
        e = first_of(e, commit(r, tx_upload_due, &d->upload[i]));
    for (size_t i = 0; i < d->n_object; i++)
        e = first_of(e, commit(r, tx_object_due, &d->object[i]));
    for (size_t i = 0; i < d->n_job; i++)
        tasks_stop(r, d->job[i].id, NULL);
    for (size_t i = 0; i < d->n_upload; i++)
        tasks_stop(r, NULL, d->upload[i].id);
    if (e)
        sq_log(SQ_LOG_failed, SQ_LW("what", "deadlines"), SQ_LW("code", sq_err_name(e)));
}

/* What this machine doesn't let us hold stands in the log from each start on: processes find it out one after another. */
static void tell_losses(struct registrar *r, uint64_t *told)
{
    uint64_t losses = sq_node_losses(r->node) & ~*told;
    for (unsigned no = 1; no < SQ_LOSS_COUNT; no++) {
        const struct sq_loss_row *row = sq_loss_row_of(no);
        if (!(losses & sq_loss_bit((enum sq_loss)no)) || !row)
            continue;
        sq_err e = record(r, &(struct event){.no = SQ_AUDIT_promise_not_held, .a = row->promise, .b = no});
        if (e)
            return; /* the next turn */
        *told |= sq_loss_bit((enum sq_loss)no);
    }
}

static sq_err tx_chores(struct tx *tx, void *ctx)
{
    int64_t n;
    (void)ctx;
    int64_t now = sq_clock_now_s();
    sq_err e = sq_db_token_delete_expired(tx->db, now - SQ_DAY_S, &n);
    if (!e)
        e = sq_db_link_delete_expired(tx->db, now, &n);
    if (!e)
        e = sq_db_factor_delete_begun(tx->db, now - BEGUN_S, &n);
    if (!e)
        e = sq_db_seen_delete_old(tx->db, now - SEEN_S, &n);
    return e ? e : tx_notices_chores(tx);
}

void *deadlines_main(void *arg)
{
    struct registrar *r = arg;
    struct due *d = calloc(1, sizeof *d);
    uint64_t told = 0;
    sq_assert(d);
    for (unsigned n = 0;; n++) {
        usleep(TURN_MS * 1000);
        if (!has_recovered(r))
            continue;
        tell_losses(r, &told);
        keep_inputs(r);
        turn(r, d);
        watch_turn(r);
        erase_wake(r); /* also what failed before */
        plan_wake(r);
        checkpoint_now(r);
        certificate_look(r);
        if (n % REMIND_TURNS == 0) {
            notices_remind(r);
            notices_ending(r);
        }
        if (n % CHORES_TURNS == 0) {
            sq_err e = commit(r, tx_chores, NULL);
            (void)e;
            accounts_forget(r);
            streams_stale(r);
            streams_forget(r);
            struct sq_db *db = db_lock(r); /* what was deleted is then in no file, the write-ahead log included */
            e = sq_db_fold(db);
            db_unlock(r);
            (void)e; /* a full disk: the next turn */
        }
    }
    return NULL;
}
