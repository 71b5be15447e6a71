/*
 * Which stage runs next. The task table is the queue and the truth: a row is ready, then running with a fence, then done
 * or failed. Whatever dies, a task that was running becomes ready again and gets a higher fence; answers with an old
 * fence are dropped. A crash is tried once more, then the job fails with a reason; what the data is to blame for fails at once.
 *
 *     upload:  ingest
 *     job:     qc -> phase, where it isn't -> impute, once a chunk -> finish -> done      (mode qc: qc -> done)
 *              sealed to the owner's own key: finish -> package (plan_package.c) -> done
 *
 * This file starts work; plan_over.c is its end, plan_watch.c what happens to it in between, plan_runner.c what runner says.
 */
#include "daemon/registrar/plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define GRANT_S (3 * 3600)
#define RETRY_MS 300

void plan_wake(struct registrar *r)
{
    pthread_mutex_lock(&r->plan_lock);
    r->is_plan_wanted = true;
    pthread_cond_signal(&r->plan_wake);
    pthread_mutex_unlock(&r->plan_lock);
}

static sq_err task_add(struct tx *tx, const char *job_id, const uint8_t *upload_id, int stage, int64_t chunk_no, struct sq_chunk chunk, uint8_t out_id[ID])
{
    struct sq_db_task t = {.stage = stage, .state = SQ_DB_task_state_ready, .created_ms = sq_clock_now_ms(), .chunk = chunk_no, .from_bp = chunk.from_bp, .to_bp = chunk.to_bp};
    snprintf(t.job_id, sizeof t.job_id, "%s", job_id);
    if (upload_id)
        memcpy(t.upload_id, upload_id, ID);
    sq_err e = id_new(t.id);
    if (!e)
        e = sq_db_task_insert(tx->db, &t);
    if (!e)
        memcpy(out_id, t.id, ID);
    return e;
}

sq_err tx_task_add(struct tx *tx, const char *job_id, const uint8_t *upload_id, int stage, uint8_t out_id[ID])
{
    return task_add(tx, job_id, upload_id, stage, 0, (struct sq_chunk){0, 0}, out_id);
}

sq_err tx_chunks_add(struct tx *tx, const struct sq_db_job *job)
{
    struct sq_db_panel panel;
    struct sq_chunk chunk[SQ_MAX_CHUNKS];
    uint8_t task[ID];
    sq_err e = sq_db_panel_get(tx->db, job->panel_id, &panel);
    size_t n = e ? 0 : sq_chunks_plan(panel.first_bp, panel.last_bp, tx->r->chunk_bp, chunk);
    for (size_t i = 0; i < n && !e; i++)
        e = task_add(tx, job->id, NULL, SQ_STAGE_impute, (int64_t)i, chunk[i], task);
    return e;
}

/* ---- what a task works on ---- */

struct find {
    int kind;
    uint8_t id[ID];
};

static sq_err find_kind(void *ctx, const struct sq_db_object *row)
{
    struct find *f = ctx;
    if (row->kind == f->kind && row->state == SQ_DB_object_state_live)
        memcpy(f->id, row->id, ID);
    return SQ_OK;
}

sq_err newest_of_kind(struct sq_db *db, const char *job_id, int kind, uint8_t out_id[ID])
{
    struct find f = {.kind = kind};
    sq_err e = sq_db_job_objects(db, job_id, find_kind, &f);
    if (!e)
        memcpy(out_id, f.id, ID);
    return e;
}

static sq_err input_of(struct sq_db *db, const struct work *w, const struct sq_port *port, uint8_t out[ID])
{
    int kind = sq_db_named(SQ_DB_object_kind, port->name);
    sq_assert(kind); /* ports are named as the kinds of what flows through them */
    const uint8_t *id = NULL;
    if (kind == SQ_DB_object_kind_upload)
        id = w->upload.object_id;
    else if (kind == SQ_DB_object_kind_genotypes)
        id = w->upload.genotypes_object_id;
    else if (kind == SQ_DB_object_kind_ids)
        id = w->upload.ids_object_id;
    else if (kind == SQ_DB_object_kind_panel)
        id = w->panel.object_id;
    sq_err e = SQ_OK;
    if (id)
        memcpy(out, id, ID);
    else
        e = newest_of_kind(db, w->job.id, kind, out);
    if (!e && kind == SQ_DB_object_kind_kept && is_zero(out)) /* the phase stage has put its own in its place */
        e = newest_of_kind(db, w->job.id, SQ_DB_object_kind_phased, out);
    if (e)
        return e;
    return is_zero(out) ? sq_fail(SQ_EGONE) : SQ_OK;
}

sq_err work_load(struct registrar *r, const struct sq_db_task *task, struct work *w)
{
    *w = (struct work){.task = *task, .stage = sq_stage_row_of((unsigned)task->stage)};
    for (size_t i = 0; i < SQ_STAGE_MAX_PORTS; i++)
        w->fd[i] = -1;
    for (size_t i = 0; i < SQ_MAX_CHUNKS; i++)
        w->joined_fd[i] = -1;
    sq_assert(w->stage);
    struct sq_db *db = db_lock(r);
    sq_err e = SQ_OK;
    const uint8_t *upload = task->upload_id;
    if (task->job_id[0]) {
        e = sq_db_job_get(db, task->job_id, &w->job);
        if (!e)
            e = sq_db_panel_get(db, w->job.panel_id, &w->panel);
        upload = w->job.upload_id;
        memcpy(w->owner, w->job.owner_id, ID);
    }
    if (!e)
        e = sq_db_upload_get(db, upload, &w->upload);
    if (!e && !task->job_id[0])
        memcpy(w->owner, w->upload.owner_id, ID);
    db_unlock(r);
    return e;
}

/* ---- start ---- */

/* what each chunk wrote to the port of this name, in order */
static sq_err open_joined(struct registrar *r, struct work *w, const char *name)
{
    struct chunks *c = calloc(1, sizeof *c);
    struct sq_db_object row;
    struct sq_db *db = db_lock(r);
    sq_err e = c ? chunks_of(db, w->job.id, c) : sq_fail(SQ_ENOMEM);
    db_unlock(r);
    for (size_t i = 0; !e && i < c->n; i++) {
        db = db_lock(r);
        e = chunk_object(db, &c->row[i], name, &row);
        db_unlock(r);
        if (!e)
            e = object_read(r, &row, &w->joined_fd[i]);
        if (e)
            break;
        memcpy(w->joined[i], row.id, ID);
        w->joined_bytes[i] = row.sealed_bytes;
        w->n_joined++;
    }
    free(c);
    return e || w->n_joined ? e : sq_fail(SQ_EGONE);
}

static sq_err open_inputs(struct registrar *r, struct work *w)
{
    for (size_t i = 0; i < w->stage->n_port; i++) {
        if (w->stage->port[i].direction != SQ_PORT_IN)
            continue;
        if (w->stage->port[i].kind == SQ_PORT_JOINED) {
            sq_err e = open_joined(r, w, w->stage->port[i].name);
            if (e)
                return e;
            continue;
        }
        struct sq_db_object row;
        struct sq_db *db = db_lock(r);
        sq_err e = input_of(db, w, &w->stage->port[i], w->object[i]);
        if (!e)
            e = sq_db_object_get(db, w->object[i], &row);
        db_unlock(r);
        if (!e && row.state != SQ_DB_object_state_live)
            e = sq_fail(SQ_EGONE);
        if (!e)
            e = object_read(r, &row, &w->fd[i]);
        if (e)
            return e;
        w->sealed_bytes[i] = row.sealed_bytes;
    }
    return SQ_OK;
}

static sq_err open_outputs(struct registrar *r, struct work *w)
{
    int64_t not_after = w->job.id[0] ? sq_clock_now_s() + r->retention_s + SQ_DAY_S : w->upload.expires_s; /* exact once the job is done */
    for (size_t i = 0; i < w->stage->n_port; i++) {
        if (w->stage->port[i].direction != SQ_PORT_OUT)
            continue;
        int kind = sq_db_named(SQ_DB_object_kind, w->stage->port[i].name);
        sq_err e = object_open(r, w->owner, kind, not_after, SQ_ROLE_RUNNER, NULL, w->object[i], &w->fd[i]);
        if (e)
            return e;
    }
    return SQ_OK;
}

static sq_err tx_ports(struct tx *tx, void *ctx)
{
    struct work *w = ctx;
    struct sq_db_task now;
    sq_err e = sq_db_task_get(tx->db, w->task.id, &now);
    if (!e && (now.fence != w->task.fence || now.state != SQ_DB_task_state_running))
        e = sq_fail(SQ_ECONFLICT); /* cancelled, or lost and ready again, while its files were being opened */
    for (size_t i = 0; i < w->stage->n_port && !e; i++) {
        if (w->stage->port[i].kind == SQ_PORT_JOINED)
            continue; /* the chunks' rows name them */
        struct sq_db_task_object row = {.port = (int)i};
        memcpy(row.task_id, w->task.id, ID);
        memcpy(row.object_id, w->object[i], ID);
        e = sq_db_task_object_put(tx->db, &row);
    }
    if (e)
        return e;
    return tx_event(tx, &(struct event){.no = SQ_AUDIT_task_granted, .subject = w->owner, .object = w->task.id, .a = (uint64_t)w->task.fence, .b = w->stage->n_port + (w->n_joined ? w->n_joined - 1 : 0)});
}

/* every object with the port it stands behind, flat, as runner wants it */
struct flat {
    uint8_t object[SQ_TASK_MAX_OBJECTS][ID], reads[SQ_TASK_MAX_OBJECTS][ID], writes[SQ_STAGE_MAX_PORTS][ID];
    uint8_t port[SQ_TASK_MAX_OBJECTS], sealed[8 * SQ_TASK_MAX_OBJECTS];
    int fd[SQ_TASK_MAX_OBJECTS];
    size_t n, n_read, n_write;
};

static void flat_add(struct flat *f, size_t port, bool is_in, const uint8_t object[ID], uint64_t sealed_bytes, int fd)
{
    memcpy(f->object[f->n], object, ID);
    memcpy(is_in ? f->reads[f->n_read++] : f->writes[f->n_write++], object, ID);
    sq_put_be64(f->sealed + 8 * f->n, sealed_bytes);
    f->port[f->n] = (uint8_t)port;
    f->fd[f->n++] = fd;
}

static sq_err send_task(struct registrar *r, struct work *w)
{
    struct flat f = {.n = 0};
    for (size_t i = 0; i < w->stage->n_port; i++) {
        bool is_in = w->stage->port[i].direction == SQ_PORT_IN, is_joined = w->stage->port[i].kind == SQ_PORT_JOINED;
        for (size_t k = 0; is_joined && k < w->n_joined; k++)
            flat_add(&f, i, true, w->joined[k], w->joined_bytes[k], w->joined_fd[k]);
        if (!is_joined)
            flat_add(&f, i, is_in, w->object[i], w->sealed_bytes[i], w->fd[i]);
    }
    struct sq_msg m = sq_msg_of(task_run, .fence = (uint32_t)w->task.fence, .stage = (uint8_t)w->task.stage, .objects = {&f.object[0][0], (uint32_t)f.n},
                                .ports = sq_span_of(f.port, f.n), .sealed_bytes = sq_span_of(f.sealed, 8 * f.n), .panel = sq_span_str(w->panel.id),
                                .population = sq_span_str(w->job.population), .max_samples = r->max_samples, .max_variants = r->max_variants,
                                .flags = strcmp(w->job.phasing, "no_phasing") ? 0 : SQ_ORDER_WANTS_PHASED, .from_bp = w->task.from_bp, .to_bp = w->task.to_bp);
    memcpy(m.u.task_run.task_id, w->task.id, ID);
    memcpy(m.u.task_run.files.fd, f.fd, f.n * sizeof(int));
    m.u.task_run.files.n = (uint32_t)f.n;
    sq_err e = grant(r, w->task.id, w->task.fence, w->owner, GRANT_S, (const uint8_t(*)[ID])f.reads, f.n_read, (const uint8_t(*)[ID])f.writes, f.n_write);
    return e ? e : sq_node_do(r->node, SQ_ROLE_RUNNER, &m, CALL_MS);
}

struct starting {
    struct sq_db_task task;
    uint64_t most;
    bool is_begun;
};

static sq_err count_sandbox(void *ctx, const struct sq_db_task *row)
{
    *(uint64_t *)ctx += sq_stage_row_of((unsigned)row->stage) != NULL;
    return SQ_OK;
}

static sq_err tx_next(struct tx *tx, void *ctx)
{
    struct starting *s = ctx;
    uint64_t n_running = 0;
    sq_err e = sq_db_task_list(tx->db, NULL, NULL, SQ_DB_task_state_running, 1000, count_sandbox, &n_running);
    if (e || n_running >= s->most)
        return e;
    e = sq_db_task_next_ready(tx->db, &s->task);
    if (e == SQ_ENOTFOUND)
        return SQ_OK;
    if (!e)
        e = sq_db_task_start(tx->db, s->task.id, sq_clock_now_ms(), &s->task);
    s->is_begun = !e;
    return e;
}

unsigned task_retry_ms(const struct sq_db_task *task)
{
    return (unsigned)RETRY_MS << (task->tries > 1 ? (task->tries < 5 ? task->tries - 1 : 4) : 0);
}

/* While keeper is away or sealed, tasks wait: nothing could be opened, and trying would use up their tries. */
static bool is_keeper_ready(struct registrar *r)
{
    bool is_unsealed = false;
    uint64_t size;
    return !keeper_learn(r, &is_unsealed, &size) && is_unsealed;
}

/* one ready task started; false: nothing to do now */
static bool start_one(struct registrar *r)
{
    static struct work w; /* the planner's own */
    memset(&w, 0, sizeof w);
    for (size_t i = 0; i < SQ_STAGE_MAX_PORTS; i++)
        w.fd[i] = -1;
    for (size_t i = 0; i < SQ_MAX_CHUNKS; i++)
        w.joined_fd[i] = -1;
    struct starting s = {.most = r->sandboxes};
    sq_err e = commit(r, tx_next, &s);
    if (!s.is_begun)
        return false;
    if (!e) /* else it is begun, though not in the log yet: undone below */
        e = work_load(r, &s.task, &w);
    if (!e)
        e = sq_fault_at("task.1", w.stage->name);
    if (!e)
        e = open_inputs(r, &w);
    if (!e)
        e = open_outputs(r, &w);
    if (!e)
        e = commit(r, tx_ports, &w);
    if (!e)
        e = sq_fault_at("task.2", w.stage->name);
    if (!e)
        e = send_task(r, &w);
    for (size_t i = 0; i < SQ_STAGE_MAX_PORTS; i++)
        if (w.fd[i] >= 0)
            close(w.fd[i]);
    for (size_t i = 0; i < SQ_MAX_CHUNKS; i++)
        if (w.joined_fd[i] >= 0)
            close(w.joined_fd[i]);
    if (!e) {
        watch_begin(r, &s.task);
        sq_log(SQ_LOG_task_started, SQ_LID("task", s.task.id, ID), SQ_LW("stage", w.stage->name), SQ_LN("fence", s.task.fence));
        return true;
    }
    for (size_t i = 0; i < SQ_STAGE_MAX_PORTS; i++)
        if (w.stage && i < w.stage->n_port && w.stage->port[i].direction == SQ_PORT_OUT)
            object_abandon(r, w.object[i]); /* its row in the task's ports may not have been written */
    struct task_result failed = {.code = e};
    usleep(task_retry_ms(&s.task) * 1000); /* whatever is away needs a moment */
    sq_err kept = task_over(r, &s.task, &failed);
    if (kept)
        sq_log(SQ_LOG_failed, SQ_LW("what", "start_one"), SQ_LW("code", sq_err_name(kept)), SQ_LID("id", s.task.id, ID));
    return true;
}

static bool start_queued_job(struct registrar *r);

/* A task found the disk full: the others would too. The clock's turn (deadlines.c) looks again. */
static bool is_full(struct registrar *r)
{
    return sq_clock_steady_ms() < __atomic_load_n(&r->full_until_ms, __ATOMIC_SEQ_CST);
}

void *planner_main(void *arg)
{
    struct registrar *r = arg;
    for (;;) {
        pthread_mutex_lock(&r->plan_lock);
        while (!r->is_plan_wanted)
            pthread_cond_wait(&r->plan_wake, &r->plan_lock);
        r->is_plan_wanted = false;
        pthread_mutex_unlock(&r->plan_lock);
        while (has_recovered(r) && is_keeper_ready(r) && !is_full(r) && (start_queued_job(r) || start_package(r) || start_one(r)))
            ;
    }
    return NULL;
}

/* ---- queued jobs: begin when their upload is ready ---- */

#define QUEUE_PAGE 256
struct queued {
    struct sq_db_job job[QUEUE_PAGE];
    size_t n;
};

static sq_err take_queued(void *ctx, const struct sq_db_job *job)
{
    struct queued *q = ctx;
    q->job[q->n++] = *job;
    return SQ_OK;
}

struct begin {
    struct sq_db_job job;
    uint64_t jobs_per_user;
    bool is_begun;
};

struct active {
    uint64_t n;
};

static sq_err count_active(void *ctx, const struct sq_db_job *job)
{
    struct active *a = ctx;
    a->n += job->state == SQ_DB_job_state_checking || job->state == SQ_DB_job_state_running || job->state == SQ_DB_job_state_sealing;
    return SQ_OK;
}

static sq_err tx_begin_job(struct tx *tx, void *ctx)
{
    struct begin *b = ctx;
    struct sq_db_job job;
    struct sq_db_upload upload;
    struct active active = {0};
    sq_err e = sq_db_job_get(tx->db, b->job.id, &job);
    if (!e)
        e = sq_db_upload_get(tx->db, job.upload_id, &upload);
    if (!e)
        e = sq_db_job_list(tx->db, job.owner_id, 0, NULL, 1000, count_active, &active);
    if (e || job.state != SQ_DB_job_state_queued || active.n >= b->jobs_per_user)
        return e;
    if (upload.state == SQ_DB_upload_state_failed || upload.state == SQ_DB_upload_state_erased) {
        struct sq_db_why gone = {.err = SQ_EGONE};
        b->is_begun = true;
        return tx_job_failed(tx, &job, upload.state == SQ_DB_upload_state_failed ? &upload.why : &gone);
    }
    if (upload.state != SQ_DB_upload_state_ready)
        return SQ_OK;
    uint8_t task[ID];
    e = tx_task_add(tx, job.id, NULL, SQ_STAGE_qc, task);
    if (!e)
        e = tx_job_state(tx, &job, SQ_DB_job_state_checking, NULL);
    b->is_begun = !e;
    return e;
}

/* looked at without a transaction; tx_begin_job looks again */
static bool may_begin(struct registrar *r, const struct begin *b)
{
    struct sq_db_upload upload;
    struct active active = {0};
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_upload_get(db, b->job.upload_id, &upload);
    if (!e)
        e = sq_db_job_list(db, b->job.owner_id, 0, NULL, 1000, count_active, &active);
    db_unlock(r);
    return !e && active.n < b->jobs_per_user && upload.state != SQ_DB_upload_state_checking && upload.state != SQ_DB_upload_state_receiving;
}

/* the oldest of those that may begin; a user has at most MAX_QUEUED of them (jobs.c), so nobody's hide the others' */
static bool start_queued_job(struct registrar *r)
{
    static struct queued q; /* the planner's own */
    char before[SQ_DB_JOB_ID_BYTES] = "", oldest[SQ_DB_JOB_ID_BYTES] = "";
    sq_err e;
    do { /* pages come newest first: the last one holds the oldest */
        q.n = 0;
        struct sq_db *db = db_lock(r);
        e = sq_db_job_list(db, NULL, SQ_DB_job_state_queued, *before ? before : NULL, QUEUE_PAGE, take_queued, &q);
        db_unlock(r);
        for (size_t i = q.n; i-- > 0 && !e;) {
            struct begin b = {.job = q.job[i], .jobs_per_user = r->jobs_per_user};
            if (may_begin(r, &b))
                memcpy(oldest, b.job.id, sizeof oldest);
            if (*oldest && !strcmp(oldest, b.job.id))
                break;
        }
        if (q.n)
            memcpy(before, q.job[q.n - 1].id, sizeof before);
    } while (!e && q.n == QUEUE_PAGE);
    if (e || !*oldest)
        return false;
    struct begin b = {.jobs_per_user = r->jobs_per_user};
    memcpy(b.job.id, oldest, sizeof oldest);
    e = sq_fault("job.begin");
    if (!e)
        e = commit(r, tx_begin_job, &b);
    return !e && b.is_begun;
}
