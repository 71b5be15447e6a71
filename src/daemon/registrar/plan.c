/*
 * Which stage runs next. The task table is the queue and the truth: a row is ready, then running with a fence, then done
 * or failed. Whatever dies, a task that was running becomes ready again and gets a higher fence; answers with an old
 * fence are dropped. A crash is tried once more, then the job fails with a reason; what the data is to blame for fails at once.
 *
 *     upload:  ingest
 *     job:     qc -> impute -> finish -> done      (mode qc: qc -> done)
 */
#include "daemon/registrar/registrar.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define GRANT_S (3 * 3600)
#define MAX_TRIES 2        /* of what crashed */
#define FULL_WAIT_MS 5000 /* until work is begun again that found the disk full */
#define MAX_TRIES_DOWN 5   /* of what lost one of our own processes */
#define RETRY_MS 300

void plan_wake(struct registrar *r)
{
    pthread_mutex_lock(&r->plan_lock);
    r->is_plan_wanted = true;
    pthread_cond_signal(&r->plan_wake);
    pthread_mutex_unlock(&r->plan_lock);
}

sq_err tx_task_add(struct tx *tx, const char *job_id, const uint8_t *upload_id, int stage, uint8_t out_id[ID])
{
    struct sq_db_task t = {.stage = stage, .state = SQ_DB_task_state_ready, .created_ms = sq_clock_now_ms()};
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

/* ---- what a task works on ---- */

struct work {
    struct sq_db_task task;
    struct sq_db_upload upload;
    struct sq_db_job job;     /* empty id: of an upload alone */
    struct sq_db_panel panel;
    const struct sq_stage_row *stage;
    uint8_t owner[ID];
    uint8_t object[SQ_STAGE_MAX_PORTS][ID];
    uint64_t sealed_bytes[SQ_STAGE_MAX_PORTS];
    int fd[SQ_STAGE_MAX_PORTS];
};

/* the newest object of @kind that a done task of this job wrote */
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
    else if (kind == SQ_DB_object_kind_map)
        id = w->panel.map_object_id;
    struct find f = {.kind = kind};
    if (!id) {
        sq_err e = sq_db_job_objects(db, w->job.id, find_kind, &f);
        if (e)
            return e;
        id = f.id;
    }
    memcpy(out, id, ID);
    return is_zero(out) ? sq_fail(SQ_EGONE) : SQ_OK;
}

static sq_err load_work(struct registrar *r, const struct sq_db_task *task, struct work *w)
{
    *w = (struct work){.task = *task, .stage = sq_stage_row_of((unsigned)task->stage)};
    for (size_t i = 0; i < SQ_STAGE_MAX_PORTS; i++)
        w->fd[i] = -1;
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

static sq_err open_inputs(struct registrar *r, struct work *w)
{
    for (size_t i = 0; i < w->stage->n_port; i++) {
        if (w->stage->port[i].direction != SQ_PORT_IN)
            continue;
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
        struct sq_db_task_object row = {.port = (int)i};
        memcpy(row.task_id, w->task.id, ID);
        memcpy(row.object_id, w->object[i], ID);
        e = sq_db_task_object_put(tx->db, &row);
    }
    if (e)
        return e;
    return tx_event(tx, &(struct event){.no = SQ_AUDIT_task_granted, .subject = w->owner, .object = w->task.id, .a = (uint64_t)w->task.fence, .b = w->stage->n_port});
}

static sq_err send_task(struct registrar *r, struct work *w)
{
    uint8_t reads[SQ_STAGE_MAX_PORTS][ID], writes[SQ_STAGE_MAX_PORTS][ID], sealed[8 * SQ_STAGE_MAX_PORTS];
    size_t n_read = 0, n_write = 0;
    struct sq_msg m = sq_msg_of(task_run, .fence = (uint32_t)w->task.fence, .stage = (uint8_t)w->task.stage,
                                .objects = {&w->object[0][0], (uint32_t)w->stage->n_port}, .panel = sq_span_str(w->panel.id),
                                .population = sq_span_str(w->job.population), .max_samples = r->max_samples, .max_variants = r->max_variants);
    memcpy(m.u.task_run.task_id, w->task.id, ID);
    for (size_t i = 0; i < w->stage->n_port; i++) {
        if (w->stage->port[i].direction == SQ_PORT_IN)
            memcpy(reads[n_read++], w->object[i], ID);
        else
            memcpy(writes[n_write++], w->object[i], ID);
        sq_put_be64(sealed + 8 * i, w->sealed_bytes[i]);
        m.u.task_run.files.fd[i] = w->fd[i];
    }
    m.u.task_run.files.n = (uint32_t)w->stage->n_port;
    m.u.task_run.sealed_bytes = sq_span_of(sealed, 8 * w->stage->n_port);
    sq_err e = grant(r, w->task.id, w->task.fence, w->owner, GRANT_S, (const uint8_t(*)[ID])reads, n_read, (const uint8_t(*)[ID])writes, n_write);
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
    struct starting s = {.most = r->sandboxes};
    sq_err e = commit(r, tx_next, &s);
    if (!s.is_begun)
        return false;
    if (!e) /* else it is begun, though not in the log yet: undone below */
        e = load_work(r, &s.task, &w);
    if (!e)
        e = sq_fault("task.1");
    if (!e)
        e = open_inputs(r, &w);
    if (!e)
        e = open_outputs(r, &w);
    if (!e)
        e = commit(r, tx_ports, &w);
    if (!e)
        e = sq_fault("task.2");
    if (!e)
        e = send_task(r, &w);
    for (size_t i = 0; i < SQ_STAGE_MAX_PORTS; i++)
        if (w.fd[i] >= 0)
            close(w.fd[i]);
    if (!e) {
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
        while (has_recovered(r) && is_keeper_ready(r) && !is_full(r) && (start_queued_job(r) || start_one(r)))
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
    e = commit(r, tx_begin_job, &b);
    return !e && b.is_begun;
}

/* ---- end ---- */

struct over {
    struct work w;
    struct task_result *t;
    bool is_again;
    int report; /* port of a failed stage's report, settled already; -1: none */
};

static sq_err outputs_of(void *ctx, const struct sq_db_task_object *row)
{
    struct work *w = ctx;
    if (row->port >= 0 && row->port < SQ_STAGE_MAX_PORTS)
        memcpy(w->object[row->port], row->object_id, ID);
    return SQ_OK;
}

static bool may_try_again(const struct sq_db_task *task, sq_err code)
{
    switch (code) {
    case SQ_EDOWN: case SQ_ETIMEOUT: case SQ_ESEALED: case SQ_EGRANT: case SQ_ENOTFOUND: case SQ_EBUSY: case SQ_ELOG:
        return task->tries < MAX_TRIES_DOWN;
    case SQ_ECLOCK: case SQ_EFULL: case SQ_ENOMEM:
        return true; /* the operator's to mend: the work waits, and its deadline goes on */
    case SQ_ECRASHED: case SQ_EPROTO: case SQ_ESANDBOX: case SQ_EIO: case SQ_EINTERNAL: case SQ_ESYS:
        return task->tries < MAX_TRIES;
    default:
        return false; /* the data's fault, or cancelled */
    }
}

static void db_why(const struct task_result *t, struct sq_db_why *out)
{
    *out = (struct sq_db_why){.err = (uint32_t)t->code, .line = t->why.line, .column = t->why.column};
    memcpy(out->field, t->why.field, sizeof out->field);
    memcpy(out->detail, t->why.detail, sizeof out->detail);
}

static sq_err tx_outputs_live(struct tx *tx, struct over *o)
{
    size_t k = 0;
    for (size_t i = 0; i < o->w.stage->n_port; i++) {
        if (o->w.stage->port[i].direction != SQ_PORT_OUT)
            continue;
        sq_err e = tx_object_live(tx, o->w.object[i], o->w.owner, &o->t->sum[k++]);
        if (e)
            return e;
    }
    return SQ_OK;
}

static sq_err tx_outputs_gone(struct tx *tx, struct over *o)
{
    for (size_t i = 0; i < o->w.stage->n_port; i++) {
        bool is_gone = o->w.stage->port[i].direction == SQ_PORT_OUT && (int)i != o->report;
        sq_err e = is_gone ? tx_object_erase(tx, o->w.object[i], NULL) : SQ_OK;
        if (e)
            return e;
    }
    if (o->report < 0)
        return SQ_OK;
    /* why the data was refused: the owner needs it most when the job fails */
    memcpy(o->w.job.report_object_id, o->w.object[o->report], ID);
    sq_err e = tx_object_live(tx, o->w.job.report_object_id, o->w.owner, &o->t->sum[0]);
    return e ? e : sq_db_job_set_report(tx->db, o->w.job.id, o->w.job.report_object_id);
}

static const uint8_t *port_object(const struct over *o, const char *name)
{
    for (size_t i = 0; i < o->w.stage->n_port; i++)
        if (!strcmp(o->w.stage->port[i].name, name))
            return o->w.object[i];
    return no_id;
}

static sq_err tx_ingested(struct tx *tx, struct over *o)
{
    static const char *const format[] = {"", "vcf", "vcf.gz", "bcf"};
    const struct task_result *t = o->t;
    const struct sq_db_upload *u = &o->w.upload;
    sq_err e = sq_db_upload_set_objects(tx->db, u->id, port_object(o, "ids"), port_object(o, "genotypes"));
    if (!e)
        e = sq_db_upload_ready(tx->db, u->id, format[t->format < 4 ? t->format : 0], t->chrom, t->n_sample, t->n_variant);
    if (!e) /* the raw upload is not needed any more */
        e = tx_object_erase(tx, u->object_id, NULL);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_ingest_done, .subject = u->owner_id, .object = u->id, .a = t->n_sample, .b = t->n_variant});
}

static sq_err tx_job_done(struct tx *tx, struct over *o)
{
    struct sq_db_job *job = &o->w.job;
    int64_t expires = sq_clock_now_s() + tx->r->retention_s;
    sq_err e = sq_db_job_set_expires(tx->db, job->id, expires);
    return e ? e : tx_job_state(tx, job, SQ_DB_job_state_done, NULL);
}

static sq_err tx_checked(struct tx *tx, struct over *o)
{
    struct sq_db_job *job = &o->w.job;
    const struct task_result *t = o->t;
    sq_err e = sq_db_job_set_report(tx->db, job->id, port_object(o, "report"));
    if (!e)
        e = sq_db_job_set_counts(tx->db, job->id, o->w.upload.samples, o->w.upload.variants, t->n_kept, t->n_in_panel, 0);
    if (e)
        return e;
    uint8_t task[ID];
    if (strcmp(job->mode, "qc"))
        e = tx_task_add(tx, job->id, NULL, SQ_STAGE_impute, task);
    if (!e)
        e = tx_job_state(tx, job, strcmp(job->mode, "qc") ? SQ_DB_job_state_running : SQ_DB_job_state_sealing, NULL);
    if (e || strcmp(job->mode, "qc"))
        return e;
    e = tx_object_erase(tx, port_object(o, "kept"), NULL); /* quality control only: the report is the result */
    if (!e)
        e = tx_upload_erase(tx, &o->w.upload, NULL);
    if (!e)
        e = sq_db_job_get(tx->db, job->id, job);
    return e ? e : tx_job_done(tx, o);
}

/* imputed: sealing begins, so the normalised stream goes; the ids stay until the header is written */
static sq_err tx_imputed(struct tx *tx, struct over *o)
{
    struct sq_db_job *job = &o->w.job;
    uint8_t task[ID];
    if (o->t->n_site > INT64_MAX / 2 || job->variants_overlap > job->variants_kept)
        return sq_fail(SQ_EPROTO); /* the sandbox counts, and may lie */
    sq_err e = tx_object_erase(tx, o->w.upload.genotypes_object_id, NULL);
    if (!e)
        e = tx_object_erase(tx, port_object(o, "kept"), NULL);
    if (!e)
        e = sq_db_job_set_counts(tx->db, job->id, job->samples, job->variants_in, job->variants_kept, job->variants_overlap,
                                 o->t->n_site + job->variants_kept - job->variants_overlap);
    if (!e)
        e = tx_task_add(tx, job->id, NULL, SQ_STAGE_finish, task);
    return e ? e : tx_job_state(tx, job, SQ_DB_job_state_sealing, NULL);
}

static sq_err put_file(struct tx *tx, const struct sq_db_job *job, const char *suffix, const uint8_t *header, const uint8_t *body)
{
    struct sq_db_result_file f;
    struct sq_db_object h = {.plain_bytes = 0}, b;
    memset(&f, 0, sizeof f);
    snprintf(f.job_id, sizeof f.job_id, "%s", job->id);
    struct sq_db_panel panel;
    sq_err e = sq_db_panel_get(tx->db, job->panel_id, &panel);
    if (e)
        return e;
    snprintf(f.name, sizeof f.name, "chr%s.%s", panel.chrom, suffix);
    memcpy(f.header_object_id, header, ID);
    memcpy(f.body_object_id, body, ID);
    if (!is_zero(header))
        e = sq_db_object_get(tx->db, header, &h);
    if (!e)
        e = sq_db_object_get(tx->db, body, &b);
    if (e)
        return e;
    f.plain_bytes = h.plain_bytes + b.plain_bytes;
    return sq_db_result_file_put(tx->db, &f);
}

static sq_err tx_finished(struct tx *tx, struct over *o)
{
    struct sq_db_job *job = &o->w.job;
    struct find body = {.kind = SQ_DB_object_kind_body};
    sq_err e = sq_db_job_objects(tx->db, job->id, find_kind, &body);
    if (!e)
        e = put_file(tx, job, "dose.vcf.gz", port_object(o, "header"), body.id);
    if (!e)
        e = put_file(tx, job, "dose.vcf.gz.tbi", no_id, port_object(o, "final_index"));
    if (!e)
        e = put_file(tx, job, "quality-report.txt", no_id, job->report_object_id);
    if (!e)
        e = tx_object_erase(tx, port_object(o, "index"), NULL);
    if (!e)
        e = tx_object_erase(tx, port_object(o, "meta"), NULL);
    if (!e)
        e = tx_upload_erase(tx, &o->w.upload, NULL);
    return e ? e : tx_job_done(tx, o);
}

static sq_err tx_stage_done(struct tx *tx, struct over *o)
{
    switch (o->w.stage->stage) {
    case SQ_STAGE_ingest: return tx_ingested(tx, o);
    case SQ_STAGE_qc:     return tx_checked(tx, o);
    case SQ_STAGE_impute: return tx_imputed(tx, o);
    case SQ_STAGE_finish: return tx_finished(tx, o);
    default:              return sq_fail(SQ_EINTERNAL);
    }
}

static sq_err tx_stage_failed(struct tx *tx, struct over *o)
{
    struct sq_db_why why;
    db_why(o->t, &why);
    if (o->w.job.id[0])
        return tx_job_failed(tx, &o->w.job, &why);
    const struct sq_db_upload *u = &o->w.upload;
    sq_err e = sq_db_upload_failed(tx->db, u->id, &why);
    if (!e)
        e = tx_object_erase(tx, u->object_id, NULL);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_ingest_failed, .result = o->t->code, .subject = u->owner_id, .object = u->id});
}

static sq_err tx_over(struct tx *tx, void *ctx)
{
    struct over *o = ctx;
    struct sq_db_task now;
    sq_err e = sq_db_task_get(tx->db, o->w.task.id, &now);
    if (e || now.fence != o->w.task.fence || now.state != SQ_DB_task_state_running)
        return e == SQ_ENOTFOUND ? SQ_OK : e; /* cancelled or started anew meanwhile */
    e = sq_db_task_objects(tx->db, now.id, outputs_of, &o->w);
    if (e)
        return e;
    if (o->t->code)
        e = tx_outputs_gone(tx, o);
    else
        e = tx_outputs_live(tx, o);
    if (!e && o->t->code && may_try_again(&now, o->t->code)) {
        o->is_again = true;
        return sq_db_task_again(tx->db, now.id);
    }
    if (!e)
        e = sq_db_task_end(tx->db, now.id, now.fence, (uint32_t)o->t->code, o->t->cpu_ms, o->t->peak_kib, sq_clock_now_ms());
    if (!e)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_task_ended, .result = o->t->code, .subject = o->w.owner, .object = now.id, .a = (uint64_t)now.fence, .b = o->t->cpu_ms});
    if (!e)
        e = o->t->code ? tx_stage_failed(tx, o) : tx_stage_done(tx, o);
    return e;
}

/* the files of the outputs get their names before the rows say so */
static sq_err settle_outputs(struct registrar *r, struct over *o)
{
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_task_objects(db, o->w.task.id, outputs_of, &o->w);
    db_unlock(r);
    size_t k = 0;
    for (size_t i = 0; i < o->w.stage->n_port && !e; i++) {
        if (o->w.stage->port[i].direction != SQ_PORT_OUT)
            continue;
        if (k >= o->t->n_sum)
            return sq_fail(SQ_EPROTO);
        e = object_settle(r, o->w.object[i], o->w.owner, o->t->sum[k++].sealed_bytes);
    }
    return e;
}

struct kept {
    uint8_t id[32][ID];
    size_t n;
};

static sq_err take_kept(void *ctx, const struct sq_db_object *row)
{
    struct kept *k = ctx;
    if (row->state == SQ_DB_object_state_live && row->kind != SQ_DB_object_kind_panel && row->kind != SQ_DB_object_kind_map && k->n < 32)
        memcpy(k->id[k->n++], row->id, ID);
    return SQ_OK;
}

struct until {
    const struct kept *kept;
    int64_t not_after_s;
};

static sq_err tx_until(struct tx *tx, void *ctx)
{
    const struct until *u = ctx;
    sq_err e = SQ_OK;
    for (size_t i = 0; i < u->kept->n && !e; i++)
        e = sq_db_object_set_not_after(tx->db, u->kept->id[i], u->not_after_s);
    return e;
}

/* A job is over: now it is known until when its results are kept, and keeper alone ends them then. If this fails, they
 * have the time they got when they were opened, a day more; deadlines.c ends them on the day all the same. */
static void keep_until(struct registrar *r, const char *job_id)
{
    struct kept k = {.n = 0};
    struct sq_db_job job;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_job_get(db, job_id, &job);
    bool is_over = !e && (job.state == SQ_DB_job_state_done || job.state == SQ_DB_job_state_failed);
    if (is_over)
        e = sq_db_job_objects(db, job_id, take_kept, &k);
    db_unlock(r);
    if (!is_over)
        return;
    struct until u = {.kept = &k, .not_after_s = job.expires_s};
    for (size_t i = 0; i < k.n && !e; i++) {
        struct sq_msg m = sq_msg_of(slot_extend, .not_after_s = (uint64_t)job.expires_s);
        memcpy(m.u.slot_extend.object_id, k.id[i], ID);
        e = keeper_do(r, &m);
    }
    if (!e)
        e = commit(r, tx_until, &u);
    if (e)
        sq_log(SQ_LOG_failed, SQ_LW("what", "keep_until"), SQ_LW("code", sq_err_name(e)));
}

/* A stage that refused the data may have sealed its report: that much is kept. */
static void settle_report(struct registrar *r, struct over *o)
{
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_task_objects(db, o->w.task.id, outputs_of, &o->w);
    db_unlock(r);
    for (size_t i = 0; i < o->w.stage->n_port && !e; i++)
        if (o->w.job.id[0] && o->w.stage->port[i].kind == SQ_PORT_REPORT && o->t->n_sum == 1 &&
            !object_settle(r, o->w.object[i], o->w.owner, o->t->sum[0].sealed_bytes))
            o->report = (int)i;
}

/* trouble of the moment: runner tells again */
static bool is_passing(sq_err e)
{
    return e == SQ_EIO || e == SQ_ELOG || e == SQ_EFULL || e == SQ_ENOMEM || e == SQ_EDOWN || e == SQ_ETIMEOUT;
}

sq_err task_over(struct registrar *r, const struct sq_db_task *task, struct task_result *t)
{
    struct over *o = calloc(1, sizeof *o);
    sq_assert(o);
    o->t = t;
    o->report = -1;
    if (t->code == SQ_EFULL)
        __atomic_store_n(&r->full_until_ms, sq_clock_steady_ms() + FULL_WAIT_MS, __ATOMIC_SEQ_CST);
    sq_err e = load_work(r, task, &o->w);
    if (!e && t->code && !may_try_again(task, t->code))
        settle_report(r, o);
    if (!e && !t->code) {
        e = settle_outputs(r, o);
        if (!e)
            e = sq_fault("task.3");
        if (e)
            t->code = e;
        e = SQ_OK;
    }
    if (!e)
        e = commit(r, tx_over, o);
    if (e && !is_passing(e)) { /* what it said can't be written down: then it said nothing */
        *t = (struct task_result){.code = SQ_EPROTO};
        o->report = -1;
        e = commit(r, tx_over, o);
    }
    if (e)
        sq_log(SQ_LOG_failed, SQ_LW("what", "task_over"), SQ_LW("code", sq_err_name(e)), SQ_LID("id", task->id, ID));
    grant_end(r, task->id);
    if (task->job_id[0])
        keep_until(r, task->job_id);
    erase_wake(r);
    plan_wake(r);
    free(o);
    return e;
}
