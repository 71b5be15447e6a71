/*
 * A package: the result's files in one sealed object that is made to leave the hub. Either under a one-time password, on the
 * owner's claim (claim.c), or sealed to the owner's own public key, as the job's last work (plan_package.c).
 */
#include "daemon/registrar/package.h"

#include "daemon/registrar/plan.h"

#include <stdio.h>
#include <unistd.h>

static sq_err take_file(void *ctx, const struct sq_db_result_file *row)
{
    struct result_files *f = ctx;
    if (f->n < PACKAGE_MAX_FILES)
        f->row[f->n++] = *row;
    return SQ_OK;
}

static sq_err take_part(void *ctx, const struct sq_db_result_part *row)
{
    struct result_files *f = ctx;
    if (f->n_part == PACKAGE_MAX_OBJECTS)
        return sq_fail(SQ_ELIMIT);
    f->part[f->n_part++] = *row;
    return SQ_OK;
}

static sq_err files_of(struct sq_db *db, const char *job_id, struct result_files *f)
{
    f->n = f->n_part = 0;
    sq_err e = sq_db_result_files(db, job_id, take_file, f);
    return e ? e : sq_db_result_parts(db, job_id, take_part, f);
}

void packing_init(struct packing *p)
{
    memset(p, 0, sizeof *p);
    for (size_t i = 0; i <= PACKAGE_MAX_OBJECTS; i++)
        p->fd[i] = -1;
    sq_buf_init(&p->plan, 4096);
}

void packing_done(struct packing *p)
{
    for (size_t i = 0; i <= PACKAGE_MAX_OBJECTS; i++)
        if (p->fd[i] >= 0)
            close(p->fd[i]);
    sq_buf_done(&p->plan);
}

static sq_err plan_object(struct packing *p, struct sq_db *db, const uint8_t id[ID])
{
    if (p->n_object == PACKAGE_MAX_OBJECTS)
        return sq_fail(SQ_ELIMIT);
    sq_err e = sq_db_object_get(db, id, &p->row[p->n_object]);
    if (!e && p->row[p->n_object].state != SQ_DB_object_state_live)
        e = sq_fail(SQ_EGONE);
    if (!e)
        e = sq_buf_addf(&p->plan, "object %zu\n", p->n_object);
    if (!e)
        memcpy(p->object[p->n_object++], id, ID);
    return e;
}

/* the plan of the package, as task_package wants it: entries, and the objects that each is joined from */
static sq_err make_plan(struct registrar *r, struct packing *p)
{
    struct sq_db *db = db_lock(r);
    struct result_files *f = &p->files;
    sq_err e = files_of(db, p->job.id, f);
    for (size_t i = 0; i < f->n && !e; i++) {
        uint64_t n_bytes = 0;
        e = sq_buf_addf(&p->plan, "entry %s\n", f->row[i].name);
        for (size_t k = 0; k < f->n_part && !e; k++) {
            if (strcmp(f->part[k].name, f->row[i].name))
                continue;
            e = plan_object(p, db, f->part[k].object_id);
            n_bytes += e ? 0 : p->row[p->n_object - 1].plain_bytes;
        }
        if (!e && n_bytes != f->row[i].plain_bytes)
            e = sq_fail(SQ_ETRUNCATED); /* a part is missing */
    }
    db_unlock(r);
    return !e && !f->n ? sq_fail(SQ_ENOTFOUND) : e;
}

sq_err packing_open(struct registrar *r, struct packing *p, int64_t not_after_s, const struct caller *by)
{
    sq_err e = make_plan(r, p);
    for (size_t i = 0; i < p->n_object && !e; i++)
        e = object_read(r, &p->row[i], &p->fd[i]);
    return e ? e : object_open(r, p->job.owner_id, SQ_DB_object_kind_package, not_after_s, SQ_ROLE_RUNNER, by, p->package, &p->fd[p->n_object]);
}

sq_err tx_packing_port(struct tx *tx, const struct packing *p)
{
    struct sq_db_task_object port = {.port = 0};
    memcpy(port.task_id, p->task, ID);
    memcpy(port.object_id, p->package, ID);
    return sq_db_task_object_put(tx->db, &port);
}

sq_err packing_grant(struct registrar *r, const struct packing *p)
{
    return grant(r, p->task, p->fence, p->job.owner_id, PACKAGE_GRANT_S, (const uint8_t(*)[ID])p->object, p->n_object, (const uint8_t(*)[ID])&p->package, 1);
}

sq_err packing_send(struct registrar *r, const struct packing *p, const char *check)
{
    uint8_t sealed[8 * PACKAGE_MAX_OBJECTS];
    struct sq_msg m = sq_msg_of(task_package, .fence = (uint32_t)p->fence, .objects = {&p->object[0][0], (uint32_t)p->n_object},
                                .sealed_bytes = sq_span_of(sealed, 8 * p->n_object), .plan = sq_span_of(p->plan.p, p->plan.n), .check = sq_span_str(check ? check : ""),
                                .recipient_kind = check ? 0 : (uint8_t)p->job.seal_kind);
    memcpy(m.u.task_package.task_id, p->task, ID);
    memcpy(m.u.task_package.package_id, p->package, ID);
    if (!check)
        memcpy(m.u.task_package.recipient, p->job.seal_key, sizeof p->job.seal_key);
    for (size_t i = 0; i < p->n_object; i++)
        sq_put_be64(sealed + 8 * i, p->row[i].sealed_bytes);
    memcpy(m.u.task_package.files.fd, p->fd, sizeof(int) * (p->n_object + 1)); /* inputs, then the package's own file */
    m.u.task_package.files.n = (uint32_t)p->n_object + 1;
    return sq_node_do(r->node, SQ_ROLE_RUNNER, &m, CALL_MS);
}

void packing_undo(struct registrar *r, const struct packing *p, sq_err code)
{
    object_abandon(r, p->package); /* when no row names it, nobody else knows of it */
    if (!p->fence)
        return;
    struct sq_db_task task = {.stage = WORK_PACKAGE, .fence = p->fence}; /* the row says running: say that it isn't */
    memcpy(task.id, p->task, ID);
    snprintf(task.job_id, sizeof task.job_id, "%s", p->job.id);
    sq_err kept = package_ended(r, &task, code, NULL);
    (void)kept; /* recovery ends it */
}

/* ---- the package is ready, or isn't ---- */

sq_err tx_vault_copy_erase(struct tx *tx, const struct sq_db_job *job, const struct caller *by)
{
    struct result_files f;
    sq_err e = files_of(tx->db, job->id, &f);
    for (size_t i = 0; i < f.n_part && !e; i++)
        if (memcmp(f.part[i].object_id, job->report_object_id, ID))
            e = tx_object_erase(tx, f.part[i].object_id, by);
    return e;
}

struct packed {
    struct sq_db_task task;
    struct sq_db_job job;
    sq_err code;
    struct object_sum sum;
    bool is_sealed_to, is_over; /* to the owner's key; and nothing of it will be tried again */
};

static sq_err tx_claimed(struct tx *tx, struct packed *p)
{
    uint8_t id[ID];
    job_audit_id(p->job.id, id);
    if (p->code) { /* the owner claims again; the password that was shown opens nothing */
        sq_err e = tx_object_erase(tx, p->job.package_object_id, NULL);
        return e ? e : sq_db_job_set_claim(tx->db, p->job.id, SQ_DB_claim_state_none);
    }
    sq_err e = tx_object_live(tx, p->job.package_object_id, p->job.owner_id, &p->sum);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_package_built, .subject = p->job.owner_id, .object = id, .a = p->sum.plain_bytes});
}

/* Package live, job done, the vault's copy on its way out: one transaction, so there is no moment at which the hub could open a finished result. */
static sq_err tx_sealed_to(struct tx *tx, struct packed *p)
{
    uint8_t id[ID];
    job_audit_id(p->job.id, id);
    sq_err e = tx_object_live(tx, p->job.package_object_id, p->job.owner_id, &p->sum);
    if (!e)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_result_sealed_to, .subject = p->job.owner_id, .object = id, .a = p->sum.plain_bytes, .b = (uint64_t)p->job.seal_kind});
    if (!e)
        e = tx_job_done(tx, &p->job);
    if (!e)
        e = sq_db_job_set_claim(tx->db, p->job.id, SQ_DB_claim_state_confirmed);
    return e ? e : tx_vault_copy_erase(tx, &p->job, NULL);
}

static sq_err tx_not_sealed_to(struct tx *tx, struct packed *p)
{
    struct sq_db_why why = {.err = (uint32_t)p->code, .field = "seal_to"};
    return tx_job_failed(tx, &p->job, &why); /* with all that was made */
}

static sq_err tx_packed(struct tx *tx, void *ctx)
{
    struct packed *p = ctx;
    struct sq_db_task now;
    sq_err e = sq_db_task_get(tx->db, p->task.id, &now);
    if (e || now.state != SQ_DB_task_state_running || now.fence != p->task.fence)
        return e;
    e = sq_db_job_get(tx->db, p->job.id, &p->job);
    p->is_sealed_to = p->job.has_seal_key;
    if (!e && p->is_sealed_to && p->code && work_may_try_again(&now, p->code)) {
        e = tx_object_erase(tx, p->job.package_object_id, NULL);
        if (!e)
            e = sq_db_job_set_package(tx->db, p->job.id, no_id);
        return e ? e : tx_work_again(tx, &now, p->code);
    }
    p->is_over = true;
    if (!e)
        e = sq_db_task_end(tx->db, now.id, now.fence, (uint32_t)p->code, 0, 0, sq_clock_now_ms());
    if (e)
        return e;
    return !p->is_sealed_to ? tx_claimed(tx, p) : p->code ? tx_not_sealed_to(tx, p) : tx_sealed_to(tx, p);
}

sq_err package_ended(struct registrar *r, const struct sq_db_task *task, sq_err code, const struct object_sum *sum)
{
    struct packed p = {.task = *task, .code = code};
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_job_get(db, task->job_id, &p.job);
    db_unlock(r);
    if (!e && !code && !sum)
        p.code = SQ_EPROTO;
    if (!e && !p.code) {
        p.sum = *sum;
        p.code = object_settle(r, p.job.package_object_id, p.job.owner_id, sum->sealed_bytes);
    }
    if (!e && !p.code && p.job.has_seal_key)
        p.code = sq_fault("seal_to.4");
    if (p.code == SQ_EFULL && p.job.has_seal_key)
        plan_is_full(r);
    if (!e)
        e = commit(r, tx_packed, &p);
    if (e || p.code)
        sq_log(SQ_LOG_failed, SQ_LW("what", "package"), SQ_LW("code", sq_err_name(e ? e : p.code)), SQ_LID("id", task->id, ID));
    grant_end(r, task->id);
    if (!e && p.is_sealed_to && p.is_over) {
        destroy_keys_now(r, p.job.owner_id);
        job_keep_until(r, p.job.id);
    }
    erase_wake(r);
    plan_wake(r);
    return e;
}
