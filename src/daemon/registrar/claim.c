/*
 * The claim: the owner signs in again, keeper makes a one-time password and shows it once, runner packs the result under it.
 * Until the owner confirms that he can open the package, the vault keeps its copy and he may claim again (the old package
 * goes first). Once he confirms, the copy is destroyed: from then on only the holder of the password can read the result.
 */
#include "daemon/registrar/registrar.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_FILES 8
#define MAX_OBJECTS 71 /* as task_package */
#define PACKAGE_GRANT_S 3600
#define CHECK_BYTES 16

struct files { /* of the result, and what they are joined from */
    struct sq_db_result_file row[MAX_FILES];
    struct sq_db_result_part part[MAX_OBJECTS];
    size_t n, n_part;
};

struct claim {
    struct sq_db_job job;
    const struct caller *by;
    uint8_t task[ID], package[ID];
    uint8_t check_sha256[32];
    char check[2 * CHECK_BYTES + 1];
    struct files files;
    uint8_t object[MAX_OBJECTS][ID];
    struct sq_db_object row[MAX_OBJECTS];
    int fd[MAX_OBJECTS + 1];
    size_t n_object;
    struct sq_buf plan;
    int64_t fence;
};

static sq_err take_file(void *ctx, const struct sq_db_result_file *row)
{
    struct files *f = ctx;
    if (f->n < MAX_FILES)
        f->row[f->n++] = *row;
    return SQ_OK;
}

static sq_err take_part(void *ctx, const struct sq_db_result_part *row)
{
    struct files *f = ctx;
    if (f->n_part == MAX_OBJECTS)
        return sq_fail(SQ_ELIMIT);
    f->part[f->n_part++] = *row;
    return SQ_OK;
}

static sq_err files_of(struct sq_db *db, const char *job_id, struct files *f)
{
    f->n = f->n_part = 0;
    sq_err e = sq_db_result_files(db, job_id, take_file, f);
    return e ? e : sq_db_result_parts(db, job_id, take_part, f);
}

static sq_err plan_object(struct claim *c, struct sq_db *db, const uint8_t id[ID])
{
    if (c->n_object == MAX_OBJECTS)
        return sq_fail(SQ_ELIMIT);
    sq_err e = sq_db_object_get(db, id, &c->row[c->n_object]);
    if (!e && c->row[c->n_object].state != SQ_DB_object_state_live)
        e = sq_fail(SQ_EGONE);
    if (!e)
        e = sq_buf_addf(&c->plan, "object %zu\n", c->n_object);
    if (!e)
        memcpy(c->object[c->n_object++], id, ID);
    return e;
}

/* the plan of the package, as task_package wants it: entries, and the objects that each is joined from */
static sq_err make_plan(struct registrar *r, struct claim *c)
{
    struct sq_db *db = db_lock(r);
    struct files *f = &c->files;
    sq_err e = files_of(db, c->job.id, f);
    for (size_t i = 0; i < f->n && !e; i++) {
        uint64_t n_bytes = 0;
        e = sq_buf_addf(&c->plan, "entry %s\n", f->row[i].name);
        for (size_t k = 0; k < f->n_part && !e; k++) {
            if (strcmp(f->part[k].name, f->row[i].name))
                continue;
            e = plan_object(c, db, f->part[k].object_id);
            n_bytes += e ? 0 : c->row[c->n_object - 1].plain_bytes;
        }
        if (!e && n_bytes != f->row[i].plain_bytes)
            e = sq_fail(SQ_ETRUNCATED); /* a part is missing */
    }
    db_unlock(r);
    return !e && !c->files.n ? sq_fail(SQ_ENOTFOUND) : e;
}

/* the task row is inserted and started at once: packages don't wait for a sandbox */
static sq_err tx_claim(struct tx *tx, void *ctx)
{
    struct claim *c = ctx;
    struct sq_db_job now;
    uint8_t id[ID];
    job_audit_id(c->job.id, id);
    sq_err e = sq_db_job_get(tx->db, c->job.id, &now);
    if (!e && (now.state != SQ_DB_job_state_done || now.claim_state == SQ_DB_claim_state_confirmed || now.claims != c->job.claims))
        return sq_fail(SQ_ECONFLICT); /* also: somebody claimed meanwhile */
    int64_t n;
    if (!e) /* of an earlier claim: sealing tasks that still run, and its package */
        e = sq_db_task_cancel(tx->db, c->job.id, NULL, SQ_ECANCELLED, sq_clock_now_ms(), &n);
    if (!e)
        e = tx_object_erase(tx, now.package_object_id, c->by);
    if (!e)
        e = sq_db_job_claimed(tx->db, c->job.id, c->package, c->check_sha256);
    if (!e)
        e = tx_task_add(tx, c->job.id, NULL, WORK_PACKAGE, c->task);
    struct sq_db_task task;
    if (!e)
        e = sq_db_task_start(tx->db, c->task, sq_clock_now_ms(), &task);
    if (!e) {
        c->fence = task.fence;
        struct sq_db_task_object port = {.port = 0};
        memcpy(port.task_id, c->task, ID);
        memcpy(port.object_id, c->package, ID);
        e = sq_db_task_object_put(tx->db, &port);
    }
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_result_claimed, .by = c->by, .subject = c->job.owner_id, .object = id, .a = (uint64_t)now.claims + 1});
}

static sq_err ask_password(struct registrar *r, const struct claim *c, char out[65])
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(one_time_password, .fence = (uint32_t)c->fence), m;
    memcpy(ask.u.one_time_password.task_id, c->task, ID);
    sq_err e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e)
        e = sq_span_copy(m.u.one_time_password_is.password, out, 65);
    sq_packet_free(pkt);
    return e;
}

static sq_err send_package(struct registrar *r, struct claim *c)
{
    uint8_t sealed[8 * MAX_OBJECTS];
    struct sq_msg m = sq_msg_of(task_package, .fence = (uint32_t)c->fence, .objects = {&c->object[0][0], (uint32_t)c->n_object},
                                .sealed_bytes = sq_span_of(sealed, 8 * c->n_object), .plan = sq_span_of(c->plan.p, c->plan.n), .check = sq_span_str(c->check));
    memcpy(m.u.task_package.task_id, c->task, ID);
    memcpy(m.u.task_package.package_id, c->package, ID);
    for (size_t i = 0; i < c->n_object; i++)
        sq_put_be64(sealed + 8 * i, c->row[i].sealed_bytes);
    memcpy(m.u.task_package.files.fd, c->fd, sizeof(int) * (c->n_object + 1)); /* inputs, then the package's own file */
    m.u.task_package.files.n = (uint32_t)c->n_object + 1;
    return sq_node_do(r->node, SQ_ROLE_RUNNER, &m, CALL_MS);
}

static sq_err claim(struct registrar *r, struct claim *c, char out_password[65])
{
    uint8_t random[CHECK_BYTES];
    sq_err e = sq_random(random, sizeof random);
    sq_hex(random, sizeof random, c->check);
    if (!e)
        e = sq_sha256_of(c->check, strlen(c->check), c->check_sha256);
    if (!e)
        e = make_plan(r, c);
    for (size_t i = 0; i < c->n_object && !e; i++)
        e = object_read(r, &c->row[i], &c->fd[i]);
    if (!e)
        e = object_open(r, c->job.owner_id, SQ_DB_object_kind_package, c->job.expires_s, SQ_ROLE_RUNNER, c->by, c->package, &c->fd[c->n_object]);
    if (!e)
        e = sq_fault("claim.1");
    if (!e)
        e = commit(r, tx_claim, c);
    if (!e && c->job.claims)
        tasks_stop(r, c->job.id, NULL); /* the earlier claim's package: its task, its grant, its password */
    if (!e)
        e = grant(r, c->task, c->fence, c->job.owner_id, PACKAGE_GRANT_S, (const uint8_t(*)[ID])c->object, c->n_object, (const uint8_t(*)[ID])&c->package, 1);
    if (!e)
        e = ask_password(r, c, out_password);
    if (!e)
        e = sq_fault("claim.2");
    if (!e)
        e = send_package(r, c);
    if (!e)
        e = sq_fault("claim.3");
    return e;
}

static sq_err load_user(struct registrar *r, const uint8_t id[ID], struct sq_db_user *out)
{
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_user_get(db, id, out);
    db_unlock(r);
    return e;
}

sq_err api_job_claim(struct api *a)
{
    struct claim *c = calloc(1, sizeof *c);
    if (!c)
        return sq_fail(SQ_ENOMEM);
    c->by = &a->caller;
    for (size_t i = 0; i <= MAX_OBJECTS; i++)
        c->fd[i] = -1;
    sq_buf_init(&c->plan, 4096);
    struct sq_db_user user;
    char password[65] = "";
    const char *again = body_text(a, "password", 1024);
    sq_err e = again ? job_by_param(a, &c->job) : sq_fail(SQ_EFIELD);
    if (!e)
        e = load_user(a->r, a->caller.user, &user);
    if (!e)
        e = password_ok(a->r, &a->caller, &user, sq_span_str(again));
    if (!e && c->job.state != SQ_DB_job_state_done)
        e = sq_fail(c->job.state == SQ_DB_job_state_erasing || c->job.state == SQ_DB_job_state_erased ? SQ_EGONE : SQ_ECONFLICT);
    if (!e && (c->job.claim_state == SQ_DB_claim_state_confirmed || !strcmp(c->job.mode, "qc")))
        e = sq_fail(c->job.claim_state == SQ_DB_claim_state_confirmed ? SQ_EGONE : SQ_ECONFLICT);
    if (!e) {
        e = claim(a->r, c, password);
        if (e) /* when the claim's row was not written, nobody else knows of the package */
            object_abandon(a->r, c->package);
        if (e && c->fence) { /* the row says running: say that it isn't */
            struct sq_db_task task = {.stage = WORK_PACKAGE, .fence = c->fence};
            memcpy(task.id, c->task, ID);
            snprintf(task.job_id, sizeof task.job_id, "%s", c->job.id);
            sq_err kept = package_ended(a->r, &task, e, NULL);
            (void)kept; /* recovery ends it */
        }
    }
    if (!e) {
        a->is_audited = true;
        a->answer = json_pack("{s:s, s:s, s:s, s:s}", "id", c->job.id, "password", password, "package", "building", "note",
                              "This password is shown once and kept nowhere. Download the package, open sequester-check.txt in it with this password,"
                              " and confirm with its text: then the server's own copy is destroyed.");
        erase_wake(a->r);
    }
    sq_wipe(password, sizeof password);
    for (size_t i = 0; i <= MAX_OBJECTS; i++)
        if (c->fd[i] >= 0)
            close(c->fd[i]);
    sq_buf_done(&c->plan);
    free(c);
    return e;
}

/* ---- the package is ready, or isn't ---- */

struct packed {
    struct sq_db_task task;
    struct sq_db_job job;
    sq_err code;
    struct object_sum sum;
};

static sq_err tx_packed(struct tx *tx, void *ctx)
{
    struct packed *p = ctx;
    struct sq_db_task now;
    uint8_t id[ID];
    job_audit_id(p->job.id, id);
    sq_err e = sq_db_task_get(tx->db, p->task.id, &now);
    if (e || now.state != SQ_DB_task_state_running || now.fence != p->task.fence)
        return e;
    e = sq_db_task_end(tx->db, now.id, now.fence, (uint32_t)p->code, 0, 0, sq_clock_now_ms());
    if (!e)
        e = sq_db_job_get(tx->db, p->job.id, &p->job);
    if (!e && p->code) { /* the owner claims again; the password that was shown opens nothing */
        e = tx_object_erase(tx, p->job.package_object_id, NULL);
        return e ? e : sq_db_job_set_claim(tx->db, p->job.id, SQ_DB_claim_state_none);
    }
    if (!e)
        e = tx_object_live(tx, p->job.package_object_id, p->job.owner_id, &p->sum);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_package_built, .subject = p->job.owner_id, .object = id, .a = p->sum.plain_bytes});
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
    if (!e)
        e = commit(r, tx_packed, &p);
    if (e || p.code)
        sq_log(SQ_LOG_failed, SQ_LW("what", "package"), SQ_LW("code", sq_err_name(e ? e : p.code)), SQ_LID("id", task->id, ID));
    grant_end(r, task->id);
    erase_wake(r);
    return e;
}

/* ---- confirm ---- */

struct confirming {
    struct sq_db_job job;
    const struct caller *by;
    struct files files;
};

static sq_err tx_confirm(struct tx *tx, void *ctx)
{
    struct confirming *c = ctx;
    struct sq_db_job now;
    uint8_t id[ID];
    job_audit_id(c->job.id, id);
    sq_err e = sq_db_job_get(tx->db, c->job.id, &now);
    if (!e && (now.claim_state != SQ_DB_claim_state_claimed || memcmp(now.check_sha256, c->job.check_sha256, 32)))
        return sq_fail(SQ_ECONFLICT);
    if (!e)
        e = sq_db_job_set_claim(tx->db, c->job.id, SQ_DB_claim_state_confirmed);
    if (!e)
        e = files_of(tx->db, c->job.id, &c->files);
    for (size_t i = 0; i < c->files.n_part && !e; i++)
        if (memcmp(c->files.part[i].object_id, now.report_object_id, ID)) /* the report holds counts only: it stays to be seen */
            e = tx_object_erase(tx, c->files.part[i].object_id, c->by);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_claim_confirmed, .by = c->by, .subject = c->job.owner_id, .object = id});
}

sq_err api_job_confirm(struct api *a)
{
    struct confirming c = {.by = &a->caller};
    uint8_t sha[32];
    const char *check = body_text(a, "check", 128);
    sq_err e = check ? job_by_param(a, &c.job) : sq_fail(SQ_EFIELD);
    if (!e && c.job.claim_state == SQ_DB_claim_state_none)
        e = sq_fail(SQ_ECONFLICT);
    size_t n = e ? 0 : strlen(check);
    while (n && (check[n - 1] == '\n' || check[n - 1] == '\r'))
        n--; /* as `7z x -so` and a shell hand it over */
    if (!e)
        e = sq_sha256_of(check, n, sha);
    if (!e && (!c.job.has_check || !sq_equal_ct(sha, c.job.check_sha256, 32)))
        e = sq_why_set(&a->why_store, SQ_EFIELD, 0, 0, "check", "is not the text of sequester-check.txt in the newest package");
    if (e == SQ_EFIELD)
        a->why = &a->why_store;
    if (!e && c.job.claim_state != SQ_DB_claim_state_confirmed)
        e = commit(a->r, tx_confirm, &c);
    if (e)
        return e;
    a->is_audited = true;
    destroy_keys_now(a->r, a->caller.user);
    a->answer = json_pack("{s:s, s:s}", "id", c.job.id, "claim", "confirmed");
    return SQ_OK;
}
