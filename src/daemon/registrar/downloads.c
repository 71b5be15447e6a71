/*
 * Reveal (DESIGN §2a): the event is in the log before a byte leaves; runner opens the object and hands gateway a pipe for
 * a ticket; at the end the number of bytes is recorded. A row of the task table stands for each, so that after a crash
 * the end is recorded too.
 */
#include "daemon/registrar/registrar.h"

#include "lib/crypt/recipient.h"

#include <stdlib.h>
#include <unistd.h>

#define STREAM_GRANT_S (6 * 3600)
#define MAX_STREAMS 1000

struct reveal {
    struct caller by;
    struct sq_db_job job;
    struct sq_db_object object;
    uint8_t audit_id[ID];
    uint8_t link[ID]; /* the download link that is followed; zero: its owner asks, with a token */
    uint8_t task[ID]; /* also the ticket */
    int64_t fence;
    uint64_t first, n_bytes;
};

/* ---- which token or download link a stream began with: when that is revoked, it is cut ---- */

static struct {
    pthread_mutex_t lock;
    struct {
        uint8_t task[ID], by[ID]; /* task zero: free */
    } row[MAX_STREAMS];
} begun = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The row of @task; of the zero task, a free one. With the lock held. */
static size_t begun_find(const uint8_t task[ID])
{
    size_t i = 0;
    while (i < MAX_STREAMS && memcmp(begun.row[i].task, task, ID) != 0)
        i++;
    return i;
}

static sq_err begun_put(const uint8_t task[ID], const uint8_t by[ID])
{
    pthread_mutex_lock(&begun.lock);
    size_t i = begun_find(no_id);
    if (i < MAX_STREAMS) {
        memcpy(begun.row[i].task, task, ID);
        memcpy(begun.row[i].by, by, ID);
    }
    pthread_mutex_unlock(&begun.lock);
    return i < MAX_STREAMS ? SQ_OK : sq_fail(SQ_EBUSY);
}

static void begun_drop(const uint8_t task[ID])
{
    pthread_mutex_lock(&begun.lock);
    size_t i = begun_find(task);
    if (i < MAX_STREAMS)
        memset(&begun.row[i], 0, sizeof begun.row[i]);
    pthread_mutex_unlock(&begun.lock);
}

static sq_err tx_reveal(struct tx *tx, void *ctx)
{
    struct reveal *v = ctx;
    struct sq_db_task task;
    struct sq_db_object now;
    sq_err e = sq_db_object_get(tx->db, v->object.id, &now);
    if (!e && now.state != SQ_DB_object_state_live)
        return sq_fail(SQ_EGONE);
    bool is_link = !is_zero(v->link);
    if (!e && is_link)
        e = tx_download_link_used(tx, v->link);
    if (!e)
        e = tx_task_add(tx, v->job.id, NULL, WORK_STREAM, v->task);
    if (!e)
        e = sq_db_task_start(tx->db, v->task, sq_clock_now_ms(), &task);
    v->fence = e ? 0 : task.fence;
    return e ? e : tx_event(tx, &(struct event){.no = is_link ? SQ_AUDIT_download_link_used : SQ_AUDIT_download_started, .by = &v->by, .subject = v->object.owner_id, .object = v->audit_id, .a = v->first, .b = v->n_bytes});
}

static sq_err find_object(struct registrar *r, const struct sq_msg_download_open *m, struct reveal *v)
{
    struct api a = {.r = r, .route = sq_route_row_of(m->route), .caller = v->by};
    if (!m->params.n || m->params.p[m->params.n - 1] != '\n' || sq_span_copy((struct sq_span){m->params.p, m->params.n - 1}, a.param, sizeof a.param))
        return sq_fail(SQ_ENOTFOUND);
    sq_err e = m->route == SQ_ROUTE_link_download ? download_link_follow(r, a.param, v->by.address, &v->job, v->link) : job_by_param(&a, &v->job);
    sq_wipe(a.param, sizeof a.param);
    if (e)
        return e;
    job_audit_id(v->job.id, v->audit_id);
    const uint8_t *id = m->route == SQ_ROUTE_job_report ? v->job.report_object_id : v->job.package_object_id;
    if (is_zero(id))
        return sq_fail(v->job.state >= SQ_DB_job_state_erasing ? SQ_EGONE : SQ_ENOTFOUND);
    struct sq_db *db = db_lock(r);
    e = sq_db_object_get(db, id, &v->object);
    db_unlock(r);
    if (!e && v->object.state == SQ_DB_object_state_opening)
        e = sq_fail(SQ_ECONFLICT); /* still being built */
    if (!e && v->object.state == SQ_DB_object_state_damaged)
        e = sq_fail(SQ_ETAMPERED);
    if (!e && (v->object.state != SQ_DB_object_state_live || v->object.not_after_s <= sq_clock_now_s()))
        e = sq_fail(SQ_EGONE);
    return e;
}

static sq_err set_range(const struct sq_msg_download_open *m, uint64_t total, struct reveal *v)
{
    v->first = 0;
    v->n_bytes = total;
    if (m->has_range != 1)
        return SQ_OK;
    if (m->first == UINT64_MAX) { /* the last `last` bytes */
        uint64_t n = m->last > total ? total : m->last;
        v->first = total - n;
        v->n_bytes = n;
        return n ? SQ_OK : sq_fail(SQ_ERANGEHDR);
    }
    if (m->first >= total || m->last < m->first)
        return sq_fail(SQ_ERANGEHDR);
    uint64_t last = m->last >= total ? total - 1 : m->last;
    v->first = m->first;
    v->n_bytes = last - m->first + 1;
    return SQ_OK;
}

static sq_err start_stream(struct registrar *r, struct reveal *v)
{
    int fd = -1;
    sq_err e = object_read(r, &v->object, &fd);
    if (!e)
        e = commit(r, tx_reveal, v);
    if (!e)
        e = begun_put(v->task, is_zero(v->link) ? v->by.jti : v->link);
    if (!e)
        e = sq_fault("reveal.1");
    if (!e)
        e = grant(r, v->task, v->fence, v->object.owner_id, STREAM_GRANT_S, (const uint8_t(*)[ID])v->object.id, 1, NULL, 0);
    struct sq_msg m = sq_msg_of(task_stream, .fence = (uint32_t)v->fence, .sealed_bytes = v->object.sealed_bytes, .first = v->first, .n_bytes = v->n_bytes, .file = fd);
    memcpy(m.u.task_stream.task_id, v->task, ID);
    memcpy(m.u.task_stream.ticket, v->task, ID);
    memcpy(m.u.task_stream.object_id, v->object.id, ID);
    if (!e)
        e = sq_node_do(r->node, SQ_ROLE_RUNNER, &m, CALL_MS);
    if (fd >= 0)
        close(fd);
    return e;
}

struct ended {
    uint8_t task[ID];
    uint64_t n_sent;
    bool is_complete, is_crash, is_found;
};

static sq_err tx_ended(struct tx *tx, void *ctx)
{
    struct ended *x = ctx;
    struct sq_db_task task;
    struct sq_db_job job;
    uint8_t id[ID];
    sq_err e = sq_db_task_get(tx->db, x->task, &task);
    if (e == SQ_ENOTFOUND || (!e && (task.stage != WORK_STREAM || task.state != SQ_DB_task_state_running)))
        return SQ_OK;
    if (!e)
        e = sq_db_job_get(tx->db, task.job_id, &job);
    if (!e)
        e = sq_db_task_end(tx->db, task.id, task.fence, 0, 0, 0, sq_clock_now_ms());
    if (e)
        return e;
    job_audit_id(job.id, id);
    x->is_found = true;
    return x->is_crash ? tx_event(tx, &(struct event){.no = SQ_AUDIT_reveal_ended, .subject = job.owner_id, .object = id, .b = 1})
                       : tx_event(tx, &(struct event){.no = SQ_AUDIT_download_ended, .subject = job.owner_id, .object = id, .a = x->n_sent, .b = x->is_complete});
}

static sq_err end_stream(struct registrar *r, const uint8_t task[ID], struct ended *x)
{
    memcpy(x->task, task, ID);
    begun_drop(task);
    sq_err e = commit(r, tx_ended, x);
    if (x->is_found)
        grant_end(r, task);
    return e;
}

/* A read that found damage is an incident: it is in the log and in the owner's history, whoever did it. */
static void damage_seen(struct registrar *r, const uint8_t subject[ID], const uint8_t object[ID], sq_err code)
{
    if (code != SQ_ETAMPERED && code != SQ_ETRUNCATED)
        return;
    sq_log(SQ_LOG_object_damaged, SQ_LID("object", object, ID), SQ_LW("reason", sq_err_name(code)));
    sq_err e = record(r, &(struct event){.no = SQ_AUDIT_damaged, .result = code, .subject = subject, .object = object});
    (void)e; /* what was asked for is refused in any case */
}

void task_saw_damage(struct registrar *r, const struct sq_db_task *task, sq_err code)
{
    uint8_t id[ID];
    struct sq_db_job job;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_job_get(db, task->job_id, &job);
    db_unlock(r);
    job_audit_id(task->job_id, id);
    if (!e)
        damage_seen(r, job.owner_id, id, code);
}

void on_download_open(void *ctx, struct sq_ask *ask, const struct sq_msg *msg)
{
    struct registrar *r = ctx;
    const struct sq_msg_download_open *m = &msg->u.download_open;
    const struct sq_route_row *route = sq_route_row_of(m->route);
    if (!route || route->kind != SQ_KIND_DOWNLOAD) {
        sq_ask_broke_protocol(ask);
        return;
    }
    struct reveal v = {.first = 0};
    char address[65];
    sq_err e = has_recovered(r) ? sq_span_copy(m->address, address, sizeof address) : SQ_EDOWN;
    if (!e && route->who == SQ_WHO_ANYONE) /* by a link: whoever is signed in besides, it is the link that lets him */
        e = caller_nobody(r, address, m->request_id, &v.by);
    else if (!e)
        e = caller_from_token(r, m->token, m->via, address, m->request_id, &v.by);
    if (!e)
        e = user_rate_take(&v.by, route->rate, &(struct user_rate){.quota = 0});
    if (!e)
        e = caller_admit(r, &v.by, route);
    if (!e)
        e = find_object(r, m, &v);
    if (!e)
        e = set_range(m, v.object.plain_bytes, &v);
    if (!e && m->has_range != 2)
        e = start_stream(r, &v);
    if (e) {
        if (v.fence) {
            sq_err done = end_stream(r, v.task, &(struct ended){.n_sent = 0});
            (void)done;
        }
        if (!is_zero(v.object.id))
            damage_seen(r, v.object.owner_id, v.audit_id, e);
        sq_ask_fail(ask, e);
        return;
    }
    bool is_package = m->route != SQ_ROUTE_job_report;
    char name[128];
    if (is_package && v.job.has_seal_key)
        snprintf(name, sizeof name, "%s.tar.%s", v.job.id, sq_recipient_suffix((enum sq_recipient_kind)v.job.seal_kind));
    else
        snprintf(name, sizeof name, is_package ? "%s.zip" : "%s.quality-report.txt", v.job.id);
    const char *type = !is_package ? "text/plain; charset=utf-8" : v.job.has_seal_key ? "application/octet-stream" : "application/zip";
    struct sq_msg is = sq_msg_of(download_is, .name = sq_span_str(name), .content_type = sq_span_str(type),
                                 .total_bytes = v.object.plain_bytes, .first = v.first, .n_bytes = v.n_bytes);
    memcpy(is.u.download_is.ticket, v.task, ID);
    memcpy(is.u.download_is.etag, v.object.sha256, 32);
    sq_ask_reply(ask, &is);
}

void on_download_end(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct ended x = {.n_sent = m->u.download_end.n_sent, .is_complete = m->u.download_end.is_complete == 1};
    sq_err e = end_stream(ctx, m->u.download_end.ticket, &x);
    sq_ask_end(ask, e, NULL);
}

struct streams {
    struct sq_db_task row[MAX_STREAMS];
    size_t n;
};

static sq_err take_stream(void *ctx, const struct sq_db_task *row)
{
    struct streams *s = ctx;
    if (row->stage == WORK_STREAM && s->n < sizeof s->row / sizeof s->row[0])
        s->row[s->n++] = *row;
    return SQ_OK;
}

static struct streams *running_streams(struct registrar *r)
{
    struct streams *s = calloc(1, sizeof *s);
    sq_assert(s);
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_task_list(db, NULL, NULL, SQ_DB_task_state_running, MAX_STREAMS, take_stream, s);
    db_unlock(r);
    if (e)
        s->n = 0;
    return s;
}

void streams_of_dead_gateway(struct registrar *r)
{
    struct streams *s = running_streams(r);
    sq_err e = SQ_OK;
    for (size_t i = 0; i < s->n && !e; i++)
        e = end_stream(r, s->row[i].id, &(struct ended){.is_crash = true});
    free(s);
}

/* those whose end was never told; their grants are over */
void streams_stale(struct registrar *r)
{
    struct streams *s = running_streams(r);
    sq_err e = SQ_OK;
    for (size_t i = 0; i < s->n && !e; i++)
        if (s->row[i].started_ms + STREAM_GRANT_S * 1000 < sq_clock_now_ms())
            e = end_stream(r, s->row[i].id, &(struct ended){.is_crash = true});
    free(s);
}

static sq_err tx_forget(struct tx *tx, void *ctx)
{
    (void)ctx;
    int64_t n;
    return sq_db_task_delete_ended(tx->db, WORK_STREAM, sq_clock_now_ms() - (int64_t)SQ_DAY_S * 1000, &n);
}

void streams_forget(struct registrar *r)
{
    sq_err e = commit(r, tx_forget, NULL);
    (void)e; /* in a minute again */
}

/* its end comes from gateway, with what was sent until then */
static void stop_one(struct registrar *r, const uint8_t task[ID])
{
    struct sq_msg m = sq_msg_bare(task_cancel);
    memcpy(m.u.task_cancel.task_id, task, ID);
    sq_err e = sq_node_do(r->node, SQ_ROLE_RUNNER, &m, CALL_MS);
    (void)e; /* it has ended */
    grant_end(r, task);
}

void streams_stop_by(struct registrar *r, const uint8_t by[ID])
{
    for (size_t i = 0; i < MAX_STREAMS; i++) {
        uint8_t task[ID];
        pthread_mutex_lock(&begun.lock);
        bool is_his = !is_zero(begun.row[i].task) && !memcmp(begun.row[i].by, by, ID);
        memcpy(task, begun.row[i].task, ID);
        pthread_mutex_unlock(&begun.lock);
        if (is_his)
            stop_one(r, task);
    }
}

void streams_stop(struct registrar *r, const uint8_t *user)
{
    struct streams *s = running_streams(r);
    for (size_t i = 0; i < s->n; i++) {
        struct sq_db_job job;
        struct sq_db *db = db_lock(r);
        sq_err e = sq_db_job_get(db, s->row[i].job_id, &job);
        db_unlock(r);
        if (e || (user && memcmp(job.owner_id, user, ID) != 0))
            continue;
        stop_one(r, s->row[i].id);
    }
    free(s);
}
