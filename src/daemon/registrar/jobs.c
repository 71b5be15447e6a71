/* Jobs: submit, look, cancel, erase. What runs when is plan.c's. */
#include "daemon/registrar/registrar.h"

#include "lib/crypt/recipient.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void job_audit_id(const char *job_id, uint8_t out[ID])
{
    uint8_t sha[SQ_SHA256_BYTES];
    sq_assert(!sq_sha256_of(job_id, strlen(job_id), sha));
    memcpy(out, sha, ID);
}

/* ---- inside transactions ---- */

sq_err tx_job_state(struct tx *tx, const struct sq_db_job *job, int state, const struct caller *by)
{
    uint8_t id[ID];
    job_audit_id(job->id, id);
    struct sq_db_job now;
    sq_err e = sq_db_job_get(tx->db, job->id, &now);
    if (!e)
        e = sq_db_job_set_state(tx->db, job->id, state, sq_clock_now_ms());
    if (!e)
        sq_log(SQ_LOG_job_state, SQ_LID("job", id, ID), SQ_LW("state", sq_db_name(SQ_DB_job_state, state)));
    if (!e && state == SQ_DB_job_state_done)
        e = tx_notice(tx, SQ_DB_notice_kind_job_finished, job->owner_id, job->id, NULL);
    if (!e && state == SQ_DB_job_state_erased)
        e = tx_notice(tx, SQ_DB_notice_kind_job_erased, job->owner_id, job->id, NULL);
    if (e || state == SQ_DB_job_state_erased) /* `job_erased` says it, with the number of objects */
        return e;
    /* erasing a job never waits for space: its event is one of erasure, not the routine change of state */
    enum sq_audit_event no = state == SQ_DB_job_state_erasing ? SQ_AUDIT_erase_started : SQ_AUDIT_job_state;
    return tx_event(tx, &(struct event){.no = no, .by = by, .subject = job->owner_id, .object = id, .a = (uint64_t)now.state, .b = (uint64_t)state});
}

struct erasing {
    struct tx *tx;
    const struct caller *by;
    struct {
        uint8_t id[ID];
    } object[MAX_JOB_OBJECTS];
    size_t n;
};

static sq_err take_object(void *ctx, const struct sq_db_object *row)
{
    struct erasing *x = ctx;
    bool is_ours = row->kind != SQ_DB_object_kind_panel;
    if (!is_ours || row->state == SQ_DB_object_state_erased || row->state == SQ_DB_object_state_erasing)
        return SQ_OK;
    if (x->n == MAX_JOB_OBJECTS)
        return sq_fail(SQ_ELIMIT); /* not half of it */
    memcpy(x->object[x->n++].id, row->id, ID);
    return SQ_OK;
}

/* everything that the job's tasks wrote, but @keep; and its upload */
static sq_err tx_job_objects_erase(struct tx *tx, const struct sq_db_job *job, const struct caller *by, const uint8_t keep[ID])
{
    struct erasing x = {.tx = tx, .by = by};
    int64_t n;
    sq_err e = sq_db_task_cancel(tx->db, job->id, NULL, SQ_ECANCELLED, sq_clock_now_ms(), &n);
    if (!e)
        e = sq_db_job_objects(tx->db, job->id, take_object, &x);
    for (size_t i = 0; i < x.n && !e; i++)
        if (memcmp(x.object[i].id, keep, ID))
            e = tx_object_erase(tx, x.object[i].id, by);
    if (!e)
        e = tx_object_erase(tx, job->package_object_id, by);
    struct sq_db_upload u;
    if (!e && !is_zero(job->upload_id)) {
        e = sq_db_upload_get(tx->db, job->upload_id, &u);
        if (!e)
            e = tx_upload_erase(tx, &u, by);
        if (e == SQ_ENOTFOUND)
            e = SQ_OK;
    }
    return e;
}

sq_err tx_job_failed(struct tx *tx, const struct sq_db_job *job, const struct sq_db_why *why)
{
    uint8_t id[ID];
    job_audit_id(job->id, id);
    /* data goes at once; the report stays, so that the owner sees what was wrong */
    sq_err e = tx_job_objects_erase(tx, job, NULL, job->report_object_id);
    if (!e)
        e = sq_db_job_failed(tx->db, job->id, why, sq_clock_now_ms());
    if (!e)
        e = sq_db_job_set_expires(tx->db, job->id, sq_clock_now_s() + tx->r->retention_s);
    if (!e)
        e = tx_notice(tx, SQ_DB_notice_kind_job_failed, job->owner_id, job->id, NULL);
    if (!e)
        sq_log(SQ_LOG_job_state, SQ_LID("job", id, ID), SQ_LW("state", "failed"));
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_job_state, .result = sq_err_from_no(why->err), .subject = job->owner_id, .object = id, .a = (uint64_t)job->state, .b = SQ_DB_job_state_failed});
}

sq_err tx_job_erase(struct tx *tx, const struct sq_db_job *job, const struct caller *by)
{
    struct sq_db_job now;
    sq_err e = sq_db_job_get(tx->db, job->id, &now);
    if (e || now.state == SQ_DB_job_state_erasing || now.state == SQ_DB_job_state_erased)
        return e;
    e = tx_job_objects_erase(tx, &now, by, no_id);
    return e ? e : tx_job_state(tx, &now, SQ_DB_job_state_erasing, by);
}

/* ---- submit ---- */

struct submitting {
    struct sq_db_job row;
    const struct caller *by;
    sq_err why;
};

static sq_err names_upload(void *ctx, const struct sq_db_job *job)
{
    struct submitting *s = ctx;
    if (!memcmp(job->upload_id, s->row.upload_id, ID) && job->state < SQ_DB_job_state_failed)
        s->why = SQ_ECONFLICT; /* one upload, one job: it is erased when the job has used it */
    return SQ_OK;
}

static sq_err tx_submit(struct tx *tx, void *ctx)
{
    struct submitting *s = ctx;
    uint8_t id[ID];
    job_audit_id(s->row.id, id);
    int64_t n_waiting;
    sq_err e = sq_db_job_list(tx->db, s->row.owner_id, 0, NULL, 1000, names_upload, s);
    if (!e && s->why)
        return sq_fail(s->why);
    if (!e)
        e = sq_db_job_count(tx->db, s->row.owner_id, SQ_DB_job_state_queued, &n_waiting);
    if (!e && n_waiting >= MAX_QUEUED)
        return sq_fail(SQ_EBUSY);
    if (!e)
        e = sq_db_job_insert(tx->db, &s->row);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_job_submitted, .by = s->by, .subject = s->row.owner_id, .object = id});
}

/* job-20261122-101500-3f9a...: in order of time as text (two bytes are the part of the second), and not to be guessed */
static sq_err job_id_new(char out[SQ_DB_JOB_ID_BYTES])
{
    uint8_t random[8];
    char hex[17];
    int64_t now_ms = sq_clock_now_ms(), part = now_ms % 1000 * 65536 / 1000;
    time_t t = (time_t)(now_ms / 1000);
    struct tm tm;
    gmtime_r(&t, &tm);
    sq_err e = sq_random(random, sizeof random);
    random[0] = (uint8_t)(part >> 8);
    random[1] = (uint8_t)part;
    sq_hex(random, sizeof random, hex);
    snprintf(out, SQ_DB_JOB_ID_BYTES, "job-%04d%02d%02d-%02d%02d%02d-%s", (tm.tm_year + 1900) % 10000, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, hex);
    return e;
}

static sq_err refuse_field(struct api *a, const char *field, const char *detail)
{
    a->why = &a->why_store;
    return sq_why_set(&a->why_store, SQ_EFIELD, 0, 0, field, "%s", detail);
}

static bool has_population(const struct sq_db_panel *panel, const char *wanted)
{
    size_t n = strlen(wanted);
    if (!strcmp(wanted, "off") || !strcmp(wanted, "all"))
        return true;
    for (const char *p = panel->populations; (p = strstr(p, wanted)); p += n)
        if ((p == panel->populations || p[-1] == ',') && (p[n] == ',' || !p[n]))
            return true;
    return false;
}

static sq_err read_choices(struct api *a, struct sq_db_job *row)
{
    const char *panel = body_text(a, "panel", SQ_DB_PANEL_ID_BYTES - 1), *upload = panel ? body_text(a, "upload", 32) : NULL;
    if (!panel || !upload)
        return sq_fail(SQ_EFIELD);
    if (!strncmp(panel, "apps@", 5))
        panel += 5; /* as scripts for the public services write it */
    const char *population = json_string_value(json_object_get(a->body, "population")), *mode = json_string_value(json_object_get(a->body, "mode"));
    population = population ? population : "off";
    mode = mode ? mode : "imputation";
    if (!strcmp(mode, "qconly") || !strcmp(mode, "qc_only"))
        mode = "qc";
    if (strcmp(mode, "qc") && strcmp(mode, "imputation"))
        return refuse_field(a, "mode", "must be imputation or qc");
    const char *phasing = json_string_value(json_object_get(a->body, "phasing"));
    phasing = !phasing || !strcmp(phasing, "eagle") || !strcmp(phasing, "beagle") ? "sequester" : phasing; /* scripts for the public services name those */
    if (strcmp(phasing, "sequester") && strcmp(phasing, "no_phasing"))
        return refuse_field(a, "phasing", "must be sequester or no_phasing");
    struct sq_db_panel p;
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_panel_get(db, panel, &p);
    db_unlock(a->r);
    if (e == SQ_ENOTFOUND || (!e && p.removed_s))
        return refuse_field(a, "panel", "is not a panel of this server: see `sequester panels`, GET /api/v1/panels");
    if (!e && (strlen(population) >= SQ_DB_WORD_BYTES || !has_population(&p, population)))
        return refuse_field(a, "population", "is not a population of this panel: see `sequester panels`, GET /api/v1/panels");
    snprintf(row->panel_id, sizeof row->panel_id, "%s", panel);
    snprintf(row->population, sizeof row->population, "%s", population);
    snprintf(row->mode, sizeof row->mode, "%s", mode);
    snprintf(row->phasing, sizeof row->phasing, "%s", phasing);
    return e;
}

/* Never echoed, never logged: what stands here may be a private key, sent by mistake. */
static sq_err read_seal_to(struct api *a, struct sq_db_job *row)
{
    const json_t *given = json_object_get(a->body, "seal_to");
    if (!given || json_is_null(given)) {
        if (a->r->is_seal_to_required && strcmp(row->mode, "qc") != 0)
            return sq_fail(SQ_ENEEDKEY);
        return SQ_OK;
    }
    struct sq_recipient to;
    struct sq_span text = sq_span_of(json_string_value(given), json_string_length(given));
    if (text.n && sq_recipient_is_private(text))
        return refuse_field(a, "seal_to", "is a private key, which must never leave you: make a new pair, and send its public key");
    if (!text.n || sq_recipient_parse(text, &to))
        return refuse_field(a, "seal_to", "must be one public key of age (age1...) or Crypt4GH");
    if (!strcmp(row->mode, "qc"))
        return refuse_field(a, "seal_to", "quality control alone makes no result that could be sealed: leave it away");
    struct sq_key *own = NULL, *shared = NULL; /* a point of small order is found now, not after a day's work */
    sq_err e = sq_key_new(&own);
    if (!e && sq_x25519(own, to.x25519, &shared))
        e = refuse_field(a, "seal_to", "is no key that anything could be sealed to");
    sq_key_free(own);
    sq_key_free(shared);
    row->has_seal_key = true;
    row->seal_kind = (int)to.kind;
    memcpy(row->seal_key, to.x25519, sizeof row->seal_key);
    return e;
}

sq_err api_job_submit(struct api *a)
{
    struct submitting s = {.by = &a->caller, .row = {.state = SQ_DB_job_state_queued, .claim_state = SQ_DB_claim_state_none, .created_s = sq_clock_now_s()}};
    s.row.expires_s = s.row.created_s + a->r->retention_s;
    struct sq_db_upload u;
    sq_err e = read_choices(a, &s.row);
    if (!e)
        e = read_seal_to(a, &s.row);
    if (e)
        return e;
    snprintf(a->param, sizeof a->param, "%s", json_string_value(json_object_get(a->body, "upload")));
    e = upload_by_param(a, &u);
    if (e == SQ_ENOTFOUND)
        return refuse_field(a, "upload", "is not an upload of yours: see `sequester uploads`, GET /api/v1/uploads");
    if (!e && (u.state == SQ_DB_upload_state_failed || u.state == SQ_DB_upload_state_erased || u.state == SQ_DB_upload_state_receiving))
        e = sq_fail(SQ_ECONFLICT);
    if (e)
        return e;
    memcpy(s.row.owner_id, a->caller.user, ID);
    memcpy(s.row.upload_id, u.id, ID);
    json_t *name = json_object_get(a->body, "name");
    if (name && (!json_is_string(name) || json_string_length(name) > 200))
        return refuse_field(a, "name", "must be a text of at most 200 bytes");
    if (name && json_string_length(name)) {
        struct sq_span text = sq_span_of(json_string_value(name), json_string_length(name));
        e = fields_seal(a->r, a->caller.user, &text, 1, &s.row.name_sealed);
    }
    if (!e)
        e = job_id_new(s.row.id);
    if (!e)
        e = commit(a->r, tx_submit, &s);
    if (e)
        return e;
    plan_wake(a->r);
    a->is_audited = true;
    a->status = 201;
    snprintf(a->location, sizeof a->location, "/api/v1/jobs/%s", s.row.id);
    a->answer = view_job(a->r, &s.row, name ? json_string_value(name) : NULL, true);
    return SQ_OK;
}

/* ---- look ---- */

sq_err job_by_param(struct api *a, struct sq_db_job *out)
{
    uint8_t id[ID];
    struct sq_db *db = db_lock(a->r);
    sq_err e = strlen(a->param) < SQ_DB_JOB_ID_BYTES ? sq_db_job_get(db, a->param, out) : SQ_ENOTFOUND;
    db_unlock(a->r);
    if (e)
        return e;
    job_audit_id(out->id, id);
    if (memcmp(out->owner_id, a->caller.user, ID)) {
        e = record(a->r, &(struct event){.no = SQ_AUDIT_denied, .result = SQ_ENOTFOUND, .by = &a->caller, .subject = out->owner_id, .object = id, .a = a->route->route});
        return e ? e : sq_fail(SQ_ENOTFOUND);
    }
    memcpy(a->object, id, ID);
    return SQ_OK;
}

sq_err api_job_get(struct api *a)
{
    struct sq_db_job job;
    struct opened o = {.n = 0};
    sq_err e = job_by_param(a, &job);
    if (e)
        return e;
    const struct sq_db_sealed *name = &job.name_sealed;
    e = fields_open(a->r, &a->caller, &name, 1, &o);
    if (!e)
        a->answer = view_job(a->r, &job, o.n ? o.at[0] : NULL, true);
    opened_done(&o);
    return e;
}

#define PAGE 50
struct page {
    struct sq_db_job row[PAGE];
    size_t n;
};

static sq_err take_row(void *ctx, const struct sq_db_job *row)
{
    struct page *p = ctx;
    p->row[p->n++] = *row;
    return SQ_OK;
}

static sq_err list(struct api *a, bool is_compat)
{
    int64_t limit = query_number(a->query, "limit", 15, PAGE);
    char before[SQ_DB_JOB_ID_BYTES];
    bool has_before = query_text(a->query, "before", before, sizeof before);
    if (limit < 1)
        return refuse_field(a, "limit", "must lie in 1..50");
    struct page *p = calloc(1, sizeof *p);
    struct opened o = {.n = 0};
    if (!p)
        return sq_fail(SQ_ENOMEM);
    int64_t n_all = 0;
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_job_list(db, a->caller.user, 0, has_before ? before : NULL, (int)limit, take_row, p);
    if (!e)
        e = sq_db_job_count(db, a->caller.user, 0, &n_all);
    db_unlock(a->r);
    const struct sq_db_sealed *name[PAGE];
    for (size_t i = 0; i < p->n; i++)
        name[i] = &p->row[i].name_sealed;
    if (!e)
        e = fields_open(a->r, &a->caller, name, p->n, &o);
    if (!e) {
        json_t *data = json_array();
        for (size_t i = 0; i < p->n; i++)
            json_array_append_new(data, (is_compat ? view_job_compat(a->r, &p->row[i], o.at[i]) : view_job(a->r, &p->row[i], o.at[i], false)));
        a->answer = json_pack("{s:o, s:I, s:i, s:I}", "data", data, "count", (json_int_t)n_all, "page", 1, "pageSize", (json_int_t)limit);
        json_object_set_new(a->answer, "next", p->n == (size_t)limit ? json_string(p->row[p->n - 1].id) : json_null());
        a->n_row = p->n;
    }
    opened_done(&o);
    free(p);
    return e;
}

sq_err api_jobs(struct api *a)
{
    return list(a, false);
}

sq_err api_jobs_root(struct api *a)
{
    return list(a, true);
}

sq_err api_jobs_api(struct api *a)
{
    return list(a, true);
}

sq_err api_jobs_v2(struct api *a)
{
    return list(a, true);
}

/* ---- cancel and erase ---- */

struct ending {
    struct sq_db_job row;
    const struct caller *by;
};

static sq_err tx_cancel(struct tx *tx, void *ctx)
{
    struct ending *x = ctx;
    uint8_t id[ID];
    job_audit_id(x->row.id, id);
    sq_err e = sq_db_job_get(tx->db, x->row.id, &x->row);
    if (!e && !sq_db_may_move(SQ_DB_job_state, x->row.state, SQ_DB_job_state_cancelled))
        return sq_fail(SQ_ECONFLICT);
    if (!e)
        e = tx_job_objects_erase(tx, &x->row, x->by, no_id);
    if (!e)
        e = tx_job_state(tx, &x->row, SQ_DB_job_state_cancelled, x->by);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_job_cancelled, .by = x->by, .subject = x->row.owner_id, .object = id});
}

static sq_err tx_delete(struct tx *tx, void *ctx)
{
    struct ending *x = ctx;
    return tx_job_erase(tx, &x->row, x->by);
}

static sq_err end_job(struct api *a, tx_fn how, const char *state)
{
    struct ending x = {.by = &a->caller};
    sq_err e = job_by_param(a, &x.row);
    if (!e)
        e = commit(a->r, how, &x);
    if (e)
        return e;
    a->is_audited = true;
    destroy_keys_now(a->r, a->caller.user); /* before the answer; the rest follows */
    tasks_stop(a->r, x.row.id, NULL);
    a->status = 202;
    a->answer = json_pack("{s:s, s:s}", "id", x.row.id, "state", state);
    return SQ_OK;
}

sq_err api_job_cancel(struct api *a)
{
    return end_job(a, tx_cancel, "cancelled");
}

sq_err api_job_delete(struct api *a)
{
    return end_job(a, tx_delete, "erasing");
}
