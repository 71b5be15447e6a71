/*
 * Uploads. Gateway opens one before it reads the body's first byte (so that a refusal costs the sender nothing), seals what
 * comes, and closes it; then the sandbox reads it (stage ingest). The answer waits up to ten seconds for what that found.
 */
#include "daemon/registrar/registrar.h"

#include <stdio.h>
#include <unistd.h>

#define INGEST_WAIT_MS 10000
#define MAX_WAITING 8 /* of the handler threads of main.c */

struct room {
    uint64_t used_bytes, free_bytes; /* of his quota; on the disk */
    uint64_t max_bytes;              /* what an upload of his may have now */
};

static sq_err room_of(struct registrar *r, const uint8_t owner[ID], struct room *out)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_bare(store_state), m;
    sq_err e = sq_node_call(r->node, SQ_ROLE_STORER, &ask, CALL_MS, pkt, &m);
    uint64_t free_bytes = e ? 0 : m.u.store_state_is.free_bytes;
    sq_packet_free(pkt);
    if (e)
        return e;
    int64_t n;
    uint64_t live = 0, opening = 0;
    struct sq_db *db = db_lock(r);
    e = sq_db_object_count(db, owner, SQ_DB_object_state_live, &n, &live);
    if (!e)
        e = sq_db_object_count(db, owner, SQ_DB_object_state_opening, &n, &opening);
    db_unlock(r);
    if (e)
        return e;
    uint64_t used = live + opening, left = used >= r->quota_bytes ? 0 : r->quota_bytes - used;
    if (left > r->upload_max_bytes)
        left = r->upload_max_bytes;
    *out = (struct room){.used_bytes = used, .free_bytes = free_bytes, .max_bytes = left > free_bytes ? free_bytes : left};
    return SQ_OK;
}

struct opening {
    struct sq_db_upload row;
    const struct caller *by;
};

static sq_err tx_open(struct tx *tx, void *ctx)
{
    struct opening *o = ctx;
    sq_err e = sq_db_upload_insert(tx->db, &o->row);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_upload_opened, .by = o->by, .subject = o->row.owner_id, .object = o->row.id});
}

void on_upload_open(void *ctx, struct sq_ask *ask, const struct sq_msg *msg)
{
    struct registrar *r = ctx;
    const struct sq_msg_upload_open *m = &msg->u.upload_open;
    char address[65];
    struct caller c = {.role = 0};
    struct room room = {.used_bytes = 0};
    int fd = -1;
    int64_t now = sq_clock_now_s();
    struct opening o = {.by = &c, .row = {.state = SQ_DB_upload_state_receiving, .created_s = now, .expires_s = now + r->upload_life_s}};
    sq_err e = has_recovered(r) ? sq_span_copy(m->address, address, sizeof address) : SQ_EDOWN;
    if (!e)
        e = caller_from_token(r, m->token, m->via, address, m->request_id, &c);
    if (!e)
        e = user_rate_take(&c, SQ_RATE_BULK, &(struct user_rate){.quota = 0});
    if (!e)
        e = caller_admit(r, &c, sq_route_row_of(SQ_ROUTE_upload));
    if (!e)
        e = room_of(r, c.user, &room);
    if (!e && m->length_hint > r->upload_max_bytes)
        e = sq_fail(SQ_ETOOBIG);
    struct sq_msg is = sq_msg_of(upload_is, .max_bytes = room.max_bytes, .used_bytes = room.used_bytes, .quota_bytes = r->quota_bytes, .free_bytes = room.free_bytes);
    if (!e && (m->length_hint > room.max_bytes || !room.max_bytes)) {
        sq_ask_reply(ask, &is); /* gateway says with numbers why not */
        return;
    }
    if (!e)
        e = id_new(o.row.id);
    memcpy(o.row.owner_id, c.user, ID);
    if (!e)
        e = object_open(r, c.user, SQ_DB_object_kind_upload, o.row.expires_s, SQ_ROLE_GATEWAY, &c, o.row.object_id, &fd);
    if (!e)
        e = commit(r, tx_open, &o);
    if (e) {
        object_abandon(r, o.row.object_id);
        if (fd >= 0)
            close(fd);
        sq_ask_fail(ask, e);
        return;
    }
    is.u.upload_is.file = (struct sq_fds){.fd = {fd}, .n = 1};
    memcpy(is.u.upload_is.upload_id, o.row.id, ID);
    memcpy(is.u.upload_is.object_id, o.row.object_id, ID);
    sq_ask_reply(ask, &is);
    close(fd);
}

/* ---- close ---- */

static sq_err break_off(struct registrar *r, const uint8_t id[ID], sq_err code);

struct closing {
    struct sq_db_upload row;
    struct sq_db_sealed name;
    struct object_sum sum;
    uint8_t task[ID];
    uint8_t request[8];
    uint64_t used_bytes; /* of his quota, when there was no room in it */
};

static sq_err tx_close(struct tx *tx, void *ctx)
{
    struct closing *c = ctx;
    struct sq_db_user owner;
    int64_t n;
    uint64_t used;
    sq_err e = sq_db_user_get(tx->db, c->row.owner_id, &owner);
    if (!e && !user_is_able(&owner))
        return sq_fail(SQ_EDENIED);
    if (!e)
        e = sq_db_object_count(tx->db, c->row.owner_id, SQ_DB_object_state_live, &n, &used);
    if (!e && used + c->sum.sealed_bytes > tx->r->quota_bytes) {
        c->used_bytes = used;
        return sq_fail(SQ_EFULL); /* several uploads at once may each have found room */
    }
    if (!e)
        e = tx_object_live(tx, c->row.object_id, c->row.owner_id, &c->sum);
    if (!e)
        e = sq_db_upload_set_name(tx->db, c->row.id, &c->name);
    if (!e)
        e = sq_db_upload_set_state(tx->db, c->row.id, SQ_DB_upload_state_checking);
    if (!e)
        e = tx_task_add(tx, "", c->row.id, SQ_STAGE_ingest, c->task);
    struct caller by = {.as = SQ_AUDIT_ROLE_USER}; /* whoever opened it; his address is in that entry */
    memcpy(by.user, c->row.owner_id, ID);
    memcpy(by.request, c->request, sizeof by.request);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_upload_closed, .by = &by, .subject = c->row.owner_id, .object = c->row.id, .a = c->sum.plain_bytes});
}

static sq_err load(struct registrar *r, const uint8_t id[ID], struct sq_db_upload *out)
{
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_upload_get(db, id, out);
    db_unlock(r);
    return e;
}

/* ready, failed, or ten seconds gone; at once when many wait already, so that uploads never take all of gateway's threads here */
static sq_err wait_for_ingest(struct registrar *r, struct sq_db_upload *row)
{
    static unsigned n_waiting;
    int64_t until = sq_clock_steady_ms() + INGEST_WAIT_MS;
    sq_err e = SQ_OK;
    if (__atomic_add_fetch(&n_waiting, 1, __ATOMIC_SEQ_CST) <= MAX_WAITING) {
        while (!e && row->state == SQ_DB_upload_state_checking && sq_clock_steady_ms() < until) {
            usleep(20000);
            e = load(r, row->id, row);
        }
    }
    __atomic_sub_fetch(&n_waiting, 1, __ATOMIC_SEQ_CST);
    return e;
}

static sq_err close_upload(struct registrar *r, const struct sq_msg_upload_close *m, struct closing *c)
{
    sq_err e = load(r, m->upload_id, &c->row);
    if (!e && c->row.state != SQ_DB_upload_state_receiving)
        e = sq_fail(SQ_ECONFLICT);
    if (e)
        return e;
    memcpy(c->request, m->request_id, sizeof c->request);
    c->sum = (struct object_sum){.n_part = m->n_part, .plain_bytes = m->plain_bytes, .sealed_bytes = m->sealed_bytes};
    memcpy(c->sum.sha256, m->sha256, sizeof c->sum.sha256);
    if (m->name.n)
        e = fields_seal(r, c->row.owner_id, &m->name, 1, &c->name);
    if (!e)
        e = object_settle(r, c->row.object_id, c->row.owner_id, m->sealed_bytes);
    if (!e)
        e = commit(r, tx_close, c);
    if (!e)
        plan_wake(r);
    if (!e)
        e = load(r, c->row.id, &c->row);
    return e ? e : wait_for_ingest(r, &c->row);
}

void on_upload_close(void *ctx, struct sq_ask *ask, const struct sq_msg *msg)
{
    struct registrar *r = ctx;
    const struct sq_msg_upload_close *m = &msg->u.upload_close;
    struct api a = {.r = r, .route = sq_route_row_of(SQ_ROUTE_upload)};
    memcpy(a.caller.request, m->request_id, sizeof a.caller.request);
    struct closing c = {.name = {.n = 0}};
    char name[256];
    sq_err e = sq_span_copy(m->name, name, sizeof name);
    if (!e)
        e = close_upload(r, m, &c);
    if (e) { /* gateway has let go of it: if its close didn't go through, it ends here */
        sq_err broken = break_off(r, m->upload_id, e);
        (void)broken;
    }
    if (e == SQ_EFULL && c.used_bytes) {
        snprintf(a.why_store.detail, sizeof a.why_store.detail, "your quota is %llu bytes, %llu are used, and this upload takes %llu: erase jobs or uploads that you don't need any more",
                 (unsigned long long)r->quota_bytes, (unsigned long long)c.used_bytes, (unsigned long long)m->sealed_bytes);
        a.why = &a.why_store;
    }
    if (!e && c.row.state == SQ_DB_upload_state_failed) {
        why_from_db(&c.row.why, &a.why_store);
        a.why = &a.why_store;
        e = sq_err_from_no(c.row.why.err);
    }
    if (!e) {
        char sha[65], id[33];
        sq_hex(m->sha256, 32, sha);
        sq_hex(c.row.id, ID, id);
        a.status = 201;
        snprintf(a.location, sizeof a.location, "/api/uploads/%s", id);
        a.answer = view_upload(&c.row, name);
        json_object_set_new(a.answer, "size", json_integer((json_int_t)m->plain_bytes));
        json_object_set_new(a.answer, "sha256", json_string(sha));
    }
    api_answer(ask, &a, e);
}

/* ---- broken off ---- */

struct breaking {
    struct sq_db_upload row;
    sq_err code;
};

static sq_err tx_broken(struct tx *tx, void *ctx)
{
    struct breaking *b = ctx;
    struct sq_db_why why = {.err = (uint32_t)b->code};
    struct sq_db_upload now;
    sq_err e = sq_db_upload_get(tx->db, b->row.id, &now);
    if (e || now.state != SQ_DB_upload_state_receiving)
        return e; /* closed, or broken off, meanwhile */
    e = sq_db_upload_failed(tx->db, b->row.id, &why);
    if (!e)
        e = tx_object_erase(tx, b->row.object_id, NULL);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_upload_failed, .result = b->code, .subject = b->row.owner_id, .object = b->row.id});
}

static sq_err break_off(struct registrar *r, const uint8_t id[ID], sq_err code)
{
    struct breaking b = {.code = code};
    sq_err e = load(r, id, &b.row);
    if (!e && b.row.state == SQ_DB_upload_state_receiving)
        e = commit(r, tx_broken, &b);
    erase_wake(r);
    return e;
}

void on_upload_abort(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    sq_err code = sq_err_from_no(m->u.upload_abort.code), e = break_off(ctx, m->u.upload_abort.upload_id, code ? code : SQ_ECUT);
    sq_ask_end(ask, e, NULL);
}

struct ids {
    uint8_t id[256][ID];
    size_t n;
};

static sq_err take_id(void *ctx, const struct sq_db_upload *row)
{
    struct ids *t = ctx;
    memcpy(t->id[t->n++], row->id, ID);
    return SQ_OK;
}

void uploads_of_dead_gateway(struct registrar *r)
{
    struct ids t;
    do {
        t.n = 0;
        struct sq_db *db = db_lock(r);
        sq_err e = sq_db_upload_list(db, NULL, SQ_DB_upload_state_receiving, NULL, 256, take_id, &t);
        db_unlock(r);
        for (size_t i = 0; i < t.n && !e; i++)
            e = break_off(r, t.id[i], SQ_ECUT);
        if (e)
            break;
    } while (t.n == 256);
}

/* ---- what the owner asks ---- */

sq_err upload_by_param(struct api *a, struct sq_db_upload *out)
{
    uint8_t id[ID];
    if (sq_hex_decode(a->param, strlen(a->param), id, ID))
        return sq_fail(SQ_ENOTFOUND);
    sq_err e = load(a->r, id, out);
    if (!e && memcmp(out->owner_id, a->caller.user, ID)) {
        /* a stranger's upload looks like none; that he asked is known */
        e = record(a->r, &(struct event){.no = SQ_AUDIT_denied, .result = SQ_ENOTFOUND, .by = &a->caller, .subject = out->owner_id, .object = out->id, .a = a->route->route});
        return e ? e : sq_fail(SQ_ENOTFOUND);
    }
    if (!e)
        memcpy(a->object, out->id, ID);
    return e;
}

sq_err api_upload_get(struct api *a)
{
    struct sq_db_upload u;
    struct opened o = {.n = 0};
    sq_err e = upload_by_param(a, &u);
    if (e)
        return e;
    const struct sq_db_sealed *name = &u.name_sealed;
    e = u.state == SQ_DB_upload_state_erased ? SQ_OK : fields_open(a->r, &a->caller, &name, 1, &o);
    if (!e)
        a->answer = view_upload(&u, o.n ? o.at[0] : NULL);
    opened_done(&o);
    return e;
}

sq_err api_upload_loc(struct api *a)
{
    return api_upload_get(a);
}

#define PAGE 50
struct page {
    struct sq_db_upload row[PAGE];
    size_t n;
};

static sq_err take_row(void *ctx, const struct sq_db_upload *row)
{
    struct page *p = ctx;
    p->row[p->n++] = *row;
    return SQ_OK;
}

sq_err api_uploads(struct api *a)
{
    struct page p = {.n = 0};
    struct opened o = {.n = 0};
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_upload_list(db, a->caller.user, 0, NULL, PAGE, take_row, &p);
    db_unlock(a->r);
    const struct sq_db_sealed *name[PAGE];
    for (size_t i = 0; i < p.n; i++)
        name[i] = &p.row[i].name_sealed;
    if (!e)
        e = fields_open(a->r, &a->caller, name, p.n, &o);
    if (!e) {
        json_t *data = json_array();
        for (size_t i = 0; i < p.n; i++)
            json_array_append_new(data, view_upload(&p.row[i], o.at[i]));
        a->answer = json_pack("{s:o}", "data", data);
        a->n_row = p.n;
    }
    opened_done(&o);
    return e;
}

/* ---- erase ---- */

struct task_outputs {
    struct tx *tx;
    const struct caller *by;
    uint8_t task[8][ID];
    size_t n;
};

static sq_err take_ingest(void *ctx, const struct sq_db_task *row)
{
    struct task_outputs *t = ctx;
    if (t->n < 8)
        memcpy(t->task[t->n++], row->id, ID);
    return SQ_OK;
}

static sq_err erase_output(void *ctx, const struct sq_db_task_object *row)
{
    struct task_outputs *t = ctx;
    return tx_object_erase(t->tx, row->object_id, t->by);
}

/* what a task that was cut off had begun to write */
static sq_err tx_ingest_outputs(struct tx *tx, const uint8_t upload[ID], const struct caller *by)
{
    struct task_outputs t = {.tx = tx, .by = by};
    sq_err e = sq_db_task_list(tx->db, NULL, upload, 0, 8, take_ingest, &t);
    for (size_t i = 0; i < t.n && !e; i++)
        e = sq_db_task_objects(tx->db, t.task[i], erase_output, &t);
    return e;
}

sq_err tx_upload_erase(struct tx *tx, const struct sq_db_upload *u, const struct caller *by)
{
    struct sq_db_upload now;
    sq_err e = sq_db_upload_get(tx->db, u->id, &now);
    if (e || now.state == SQ_DB_upload_state_erased)
        return e == SQ_ENOTFOUND ? SQ_OK : e;
    int64_t n;
    e = sq_db_task_cancel(tx->db, NULL, u->id, SQ_ECANCELLED, sq_clock_now_ms(), &n);
    if (!e)
        e = tx_object_erase(tx, now.object_id, by);
    if (!e)
        e = tx_ingest_outputs(tx, u->id, by);
    if (!e)
        e = sq_db_upload_set_state(tx->db, u->id, SQ_DB_upload_state_erased);
    int64_t n_job = 0;
    if (!e)
        e = sq_db_upload_n_job(tx->db, u->id, &n_job);
    if (!e && !n_job && now.state != SQ_DB_upload_state_receiving) /* nobody used it: its owner is told; a job tells of its own upload */
        e = tx_notice(tx, SQ_DB_notice_kind_upload_erased, u->owner_id, NULL, u->id);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_upload_erased, .by = by, .subject = u->owner_id, .object = u->id});
}

struct erasing {
    struct sq_db_upload row;
    const struct caller *by;
    bool is_used;
};

static sq_err is_used_by(void *ctx, const struct sq_db_job *job)
{
    struct erasing *x = ctx;
    bool is_over = job->state >= SQ_DB_job_state_done;
    x->is_used = x->is_used || (!is_over && !memcmp(job->upload_id, x->row.id, ID));
    return SQ_OK;
}

static sq_err tx_erase(struct tx *tx, void *ctx)
{
    struct erasing *x = ctx;
    sq_err e = sq_db_job_list(tx->db, x->row.owner_id, 0, NULL, 1000, is_used_by, x);
    if (!e && x->is_used)
        return sq_fail(SQ_ECONFLICT); /* a job works on it: cancel or delete the job */
    return e ? e : tx_upload_erase(tx, &x->row, x->by);
}

sq_err api_upload_delete(struct api *a)
{
    struct erasing x = {.by = &a->caller};
    sq_err e = upload_by_param(a, &x.row);
    if (!e)
        e = commit(a->r, tx_erase, &x);
    if (e)
        return e;
    a->is_audited = true;
    tasks_stop(a->r, NULL, x.row.id);
    destroy_keys_now(a->r, a->caller.user);
    a->status = 202;
    a->answer = json_pack("{s:s, s:s}", "id", a->param, "state", "erased");
    return SQ_OK;
}
