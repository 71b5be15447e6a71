/*
 * The end of a task, whichever way: its outputs become live or go, and the next stage is planned, or it is tried again.
 *
 * Chunks end one by one, in any order; each end is a transaction, so a restart finds the finished ones done and starts
 * the others alone. The one that ends last finds no other, erases the normalised data, and plans `finish`.
 */
#include "daemon/registrar/plan.h"

#include <stdio.h>
#include <stdlib.h>

#define FULL_WAIT_MS 5000 /* until work is begun again that found the disk full */
#define MAX_CRASHES 2
#define MAX_MISSES 5
#define MAX_LOSSES 20               /* not its fault; but what takes runner down with it each time must end some day, */
#define MAX_LOST_MS (30 * 60 * 1000) /* after half an hour of it at the earliest */

struct over {
    struct work w;
    struct task_result *t;
    bool is_again, is_job_failed;
    int report; /* port of a failed stage's report, settled already; -1: none */
};

static sq_err outputs_of(void *ctx, const struct sq_db_task_object *row)
{
    struct work *w = ctx;
    if (row->port >= 0 && row->port < SQ_STAGE_MAX_PORTS)
        memcpy(w->object[row->port], row->object_id, ID);
    return SQ_OK;
}

/* 0: never */
static enum sq_db_again why_again(sq_err code)
{
    switch (code) {
    case SQ_EDOWN: case SQ_ESEALED: case SQ_EGRANT: /* keeper began anew and has forgotten what it granted */
    case SQ_EEXISTS: /* jailer still cleans up after the try of a runner that is gone */
        return SQ_DB_AGAIN_lost;
    case SQ_ETIMEOUT: case SQ_ENOTFOUND: case SQ_EBUSY: case SQ_ELOG:
        return SQ_DB_AGAIN_missed;
    case SQ_ECLOCK: case SQ_EFULL: case SQ_ENOMEM:
        return SQ_DB_AGAIN_waits; /* the work waits, and its deadline goes on */
    case SQ_ECRASHED: case SQ_EPROTO: case SQ_ESANDBOX: case SQ_EIO: case SQ_EINTERNAL: case SQ_ESYS:
        return SQ_DB_AGAIN_crashed;
    default:
        return 0; /* the data's fault, or cancelled */
    }
}

bool work_may_try_again(const struct sq_db_task *task, sq_err code)
{
    switch (why_again(code)) {
    case SQ_DB_AGAIN_crashed: return task->crashes + 1 < MAX_CRASHES;
    case SQ_DB_AGAIN_missed:  return task->misses + 1 < MAX_MISSES;
    case SQ_DB_AGAIN_lost:    return task->losses + 1 < MAX_LOSSES || sq_clock_now_ms() - task->lost_ms < MAX_LOST_MS;
    case SQ_DB_AGAIN_waits:   return true;
    default:                  return false;
    }
}

sq_err tx_work_again(struct tx *tx, const struct sq_db_task *task, sq_err code)
{
    return sq_db_task_again(tx->db, task->id, why_again(code), sq_clock_now_ms());
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

sq_err tx_job_done(struct tx *tx, const struct sq_db_job *job)
{
    int64_t expires = sq_clock_now_s() + tx->r->retention_s;
    sq_err e = sq_db_job_set_expires(tx->db, job->id, expires);
    return e ? e : tx_job_state(tx, job, SQ_DB_job_state_done, NULL);
}

/* What comes after quality control: the chunks, or before them the phases of all the chromosome. */
static sq_err tx_work_add(struct tx *tx, const struct sq_db_job *job, bool is_phased)
{
    uint8_t task[ID];
    return is_phased ? tx_chunks_add(tx, job) : tx_task_add(tx, job->id, NULL, SQ_STAGE_phase, task);
}

static sq_err tx_phased(struct tx *tx, struct over *o)
{
    sq_err e = tx_object_erase(tx, port_object(o, "kept"), NULL); /* in whose place `phased` stands now */
    return e ? e : tx_chunks_add(tx, &o->w.job);
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
    if (strcmp(job->mode, "qc"))
        e = tx_work_add(tx, job, t->is_phased);
    if (!e)
        e = tx_job_state(tx, job, strcmp(job->mode, "qc") ? SQ_DB_job_state_running : SQ_DB_job_state_sealing, NULL);
    if (e || strcmp(job->mode, "qc"))
        return e;
    e = tx_object_erase(tx, port_object(o, "kept"), NULL); /* quality control only: the report is the result */
    if (!e)
        e = tx_upload_erase(tx, &o->w.upload, NULL);
    if (!e)
        e = sq_db_job_get(tx->db, job->id, job);
    return e ? e : tx_job_done(tx, job);
}

/* ---- chunks ---- */

static sq_err take_chunk(void *ctx, const struct sq_db_task *row)
{
    struct chunks *c = ctx;
    if (row->stage != SQ_STAGE_impute)
        return SQ_OK;
    if (row->chunk < 0 || row->chunk >= SQ_MAX_CHUNKS || (size_t)row->chunk != c->n)
        return sq_fail(SQ_EINTERNAL); /* they were added in order, in one transaction */
    c->row[c->n++] = *row;
    return SQ_OK;
}

sq_err chunks_of(struct sq_db *db, const char *job_id, struct chunks *out)
{
    out->n = 0;
    return sq_db_task_list(db, job_id, NULL, 0, 1000, take_chunk, out);
}

struct on_port {
    int port;
    uint8_t id[ID];
};

static sq_err find_port(void *ctx, const struct sq_db_task_object *row)
{
    struct on_port *p = ctx;
    if (row->port == p->port)
        memcpy(p->id, row->object_id, ID);
    return SQ_OK;
}

sq_err chunk_object(struct sq_db *db, const struct sq_db_task *chunk, const char *name, struct sq_db_object *out)
{
    const struct sq_stage_row *stage = sq_stage_row_of((unsigned)chunk->stage);
    struct on_port p = {.port = -1};
    for (size_t i = 0; i < stage->n_port; i++)
        if (!strcmp(stage->port[i].name, name))
            p.port = (int)i;
    sq_err e = sq_db_task_objects(db, chunk->id, find_port, &p);
    if (!e)
        e = sq_db_object_get(db, p.id, out);
    return e == SQ_ENOTFOUND || (!e && out->state != SQ_DB_object_state_live) ? sq_fail(SQ_EGONE) : e;
}

/* Sealing begins when the last chunk is done: the normalised data goes; the ids stay until the header is written. */
static sq_err tx_all_imputed(struct tx *tx, struct over *o, uint64_t n_site)
{
    struct sq_db_job *job = &o->w.job;
    uint8_t task[ID], kept[ID], phased[ID];
    sq_err e = newest_of_kind(tx->db, job->id, SQ_DB_object_kind_kept, kept);
    if (!e)
        e = newest_of_kind(tx->db, job->id, SQ_DB_object_kind_phased, phased);
    if (!e)
        e = tx_object_erase(tx, o->w.upload.genotypes_object_id, NULL);
    if (!e)
        e = tx_object_erase(tx, kept, NULL);
    if (!e)
        e = tx_object_erase(tx, phased, NULL);
    if (!e)
        e = sq_db_job_set_counts(tx->db, job->id, job->samples, job->variants_in, job->variants_kept, job->variants_overlap,
                                 n_site + job->variants_kept - job->variants_overlap);
    if (!e)
        e = sq_db_job_set_progress(tx->db, job->id, WATCH_PROGRESS_TOTAL, WATCH_PROGRESS_TOTAL);
    if (!e)
        e = tx_task_add(tx, job->id, NULL, SQ_STAGE_finish, task);
    return e ? e : tx_job_state(tx, job, SQ_DB_job_state_sealing, NULL);
}

static sq_err tx_imputed(struct tx *tx, struct over *o)
{
    const struct sq_db_job *job = &o->w.job;
    if (o->t->n_site > INT64_MAX / 2 / SQ_MAX_CHUNKS || job->variants_overlap > job->variants_kept)
        return sq_fail(SQ_EPROTO); /* the sandbox counts, and may lie */
    struct chunks *c = calloc(1, sizeof *c);
    uint64_t n_site = 0;
    size_t n_done = 0;
    sq_err e = c ? sq_db_task_set_sites(tx->db, o->w.task.id, o->t->n_site) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = chunks_of(tx->db, job->id, c);
    for (size_t i = 0; !e && i < c->n; i++) {
        n_done += c->row[i].state == SQ_DB_task_state_done;
        n_site += c->row[i].sites;
    }
    if (!e && n_done == c->n)
        e = tx_all_imputed(tx, o, n_site);
    free(c);
    return e;
}

/* ---- the result's files ---- */

struct parts {
    struct sq_db_result_file file;
    uint8_t id[1 + SQ_MAX_CHUNKS][ID];
    size_t n;
};

static sq_err part_add(struct tx *tx, struct parts *p, const uint8_t id[ID])
{
    struct sq_db_object row;
    sq_err e = sq_db_object_get(tx->db, id, &row);
    if (e || p->n == 1 + SQ_MAX_CHUNKS || row.plain_bytes > INT64_MAX - p->file.plain_bytes)
        return e ? e : sq_fail(SQ_ELIMIT);
    p->file.plain_bytes += row.plain_bytes;
    memcpy(p->id[p->n++], id, ID);
    return SQ_OK;
}

static sq_err put_file(struct tx *tx, const struct sq_db_job *job, const char *suffix, struct parts *p)
{
    struct sq_db_panel panel;
    sq_err e = sq_db_panel_get(tx->db, job->panel_id, &panel);
    if (e)
        return e;
    snprintf(p->file.job_id, sizeof p->file.job_id, "%s", job->id);
    snprintf(p->file.name, sizeof p->file.name, "chr%s.%s", panel.chrom, suffix);
    e = sq_db_result_file_put(tx->db, &p->file);
    for (size_t i = 0; i < p->n && !e; i++) {
        struct sq_db_result_part part = {.part = (int64_t)i};
        memcpy(part.job_id, p->file.job_id, sizeof part.job_id);
        memcpy(part.name, p->file.name, sizeof part.name);
        memcpy(part.object_id, p->id[i], ID);
        e = sq_db_result_part_put(tx->db, &part);
    }
    return e;
}

static sq_err put_one(struct tx *tx, const struct sq_db_job *job, const char *suffix, const uint8_t *object)
{
    struct parts p;
    memset(&p, 0, sizeof p);
    sq_err e = part_add(tx, &p, object);
    return e ? e : put_file(tx, job, suffix, &p);
}

/* header | body of chunk 0 | body of chunk 1 ...; the chunks' indexes have served */
static sq_err put_joined(struct tx *tx, struct over *o, const struct chunks *c)
{
    struct sq_db_object object;
    struct parts p;
    memset(&p, 0, sizeof p);
    sq_err e = part_add(tx, &p, port_object(o, "header"));
    for (size_t i = 0; i < c->n && !e; i++) {
        e = chunk_object(tx->db, &c->row[i], "body", &object);
        if (!e)
            e = part_add(tx, &p, object.id);
        if (!e)
            e = chunk_object(tx->db, &c->row[i], "index", &object);
        if (!e)
            e = tx_object_erase(tx, object.id, NULL);
    }
    return e ? e : put_file(tx, &o->w.job, "dose.vcf.gz", &p);
}

static sq_err tx_finished(struct tx *tx, struct over *o)
{
    struct sq_db_job *job = &o->w.job;
    struct chunks *c = calloc(1, sizeof *c);
    sq_err e = c ? chunks_of(tx->db, job->id, c) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = put_joined(tx, o, c);
    if (!e)
        e = put_one(tx, job, "dose.vcf.gz.tbi", port_object(o, "final_index"));
    if (!e)
        e = put_one(tx, job, "quality-report.txt", job->report_object_id);
    if (!e)
        e = tx_upload_erase(tx, &o->w.upload, NULL);
    free(c);
    uint8_t task[ID];
    if (!e && job->has_seal_key) /* the job is done when its result is sealed to the owner's key */
        return tx_task_add(tx, job->id, NULL, WORK_PACKAGE, task);
    return e ? e : tx_job_done(tx, job);
}

static sq_err tx_stage_done(struct tx *tx, struct over *o)
{
    switch (o->w.stage->stage) {
    case SQ_STAGE_ingest: return tx_ingested(tx, o);
    case SQ_STAGE_qc:     return tx_checked(tx, o);
    case SQ_STAGE_phase:  return tx_phased(tx, o);
    case SQ_STAGE_impute: return tx_imputed(tx, o);
    case SQ_STAGE_finish: return tx_finished(tx, o);
    default:              return sq_fail(SQ_EINTERNAL);
    }
}

static sq_err tx_stage_failed(struct tx *tx, struct over *o)
{
    struct sq_db_why why;
    db_why(o->t, &why);
    if (o->w.job.id[0]) {
        o->is_job_failed = true;
        return tx_job_failed(tx, &o->w.job, &why);
    }
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
    if (!e && o->t->code && work_may_try_again(&now, o->t->code)) {
        o->is_again = true;
        return tx_work_again(tx, &now, o->t->code);
    }
    if (!e)
        e = sq_db_task_end(tx->db, now.id, now.fence, (uint32_t)o->t->code, o->t->cpu_ms, o->t->peak_kib, sq_clock_now_ms());
    if (!e)
        e = sq_db_task_set_walls(tx->db, now.id, o->t->walls, tx->r->has_worker ? tx->r->worker_sha256 : NULL);
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
    uint8_t id[4 * SQ_MAX_CHUNKS][ID];
    size_t n;
};

static sq_err take_kept(void *ctx, const struct sq_db_object *row)
{
    struct kept *k = ctx;
    if (row->state == SQ_DB_object_state_live && row->kind != SQ_DB_object_kind_panel && k->n < 4 * SQ_MAX_CHUNKS)
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
void job_keep_until(struct registrar *r, const char *job_id)
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
    if (!e && k.n)
        e = sq_fault("keep_until.1");
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

void plan_is_full(struct registrar *r)
{
    __atomic_store_n(&r->full_until_ms, sq_clock_steady_ms() + FULL_WAIT_MS, __ATOMIC_SEQ_CST);
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
        plan_is_full(r);
    sq_err e = work_load(r, task, &o->w);
    if (!e && t->code && !work_may_try_again(task, t->code))
        settle_report(r, o);
    if (!e && !t->code) {
        e = settle_outputs(r, o);
        if (!e)
            e = sq_fault_at("task.3", o->w.stage->name);
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
    if (task->job_id[0]) {
        if (o->is_job_failed)
            tasks_stop(r, task->job_id, NULL); /* the other chunks */
        job_keep_until(r, task->job_id);
    }
    erase_wake(r);
    plan_wake(r);
    free(o);
    return e;
}
