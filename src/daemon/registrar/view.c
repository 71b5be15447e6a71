/* Rows as JSON. Names come opened by their owner's own token; everything else is ids, counts, states and times. */
#include "daemon/registrar/registrar.h"

#include "lib/crypt/recipient.h"

#include <stdlib.h>

json_t *view_time(int64_t unix_s)
{
    char text[21];
    if (!unix_s)
        return json_null();
    sq_clock_text(unix_s, text);
    return json_string(text);
}

json_t *view_id(const uint8_t id[ID])
{
    char hex[2 * ID + 1];
    sq_hex(id, ID, hex);
    return json_string(hex);
}

json_t *view_why(sq_err code, const struct sq_why *why)
{
    json_t *j = json_pack("{s:s, s:s, s:s}", "code", sq_err_name(code), "message", sq_err_text(code), "hint", sq_err_hint(code));
    if (why && why->line)
        json_object_set_new(j, "line", json_integer((json_int_t)why->line));
    if (why && why->column)
        json_object_set_new(j, "column", json_integer(why->column));
    if (why && why->field[0])
        json_object_set_new(j, "field", json_string(why->field));
    if (why && why->detail[0])
        json_object_set_new(j, "detail", json_string(why->detail));
    return j;
}

void why_from_db(const struct sq_db_why *in, struct sq_why *out)
{
    *out = (struct sq_why){.line = in->line, .column = in->column};
    memcpy(out->field, in->field, sizeof out->field);
    memcpy(out->detail, in->detail, sizeof out->detail);
    out->field[sizeof out->field - 1] = out->detail[sizeof out->detail - 1] = 0;
}

static json_t *error_of(const struct sq_db_why *in)
{
    if (!in->err)
        return json_null();
    struct sq_why why;
    why_from_db(in, &why);
    return view_why(sq_err_from_no(in->err), &why);
}

json_t *view_upload(const struct sq_db_upload *u, const char *name)
{
    json_t *j = json_object();
    json_object_set_new(j, "id", view_id(u->id));
    json_object_set_new(j, "name", json_string(name ? name : ""));
    json_object_set_new(j, "state", json_string(sq_db_name(SQ_DB_upload_state, u->state)));
    json_object_set_new(j, "format", u->format[0] ? json_string(u->format) : json_null());
    json_object_set_new(j, "samples", u->is_counted ? json_integer((json_int_t)u->samples) : json_null());
    json_object_set_new(j, "variants", u->is_counted ? json_integer((json_int_t)u->variants) : json_null());
    json_object_set_new(j, "chromosome", u->chrom[0] ? json_string(u->chrom) : json_null());
    json_object_set_new(j, "created", view_time(u->created_s));
    json_object_set_new(j, "expires", view_time(u->expires_s));
    json_object_set_new(j, "error", error_of(&u->why));
    return j;
}

struct passed {
    const struct registrar *r;
    json_t *out;
};

static sq_err add_time(void *ctx, const struct sq_db_job_time *row)
{
    struct passed *p = ctx;
    bool is_work = row->state == SQ_DB_job_state_checking || row->state == SQ_DB_job_state_running || row->state == SQ_DB_job_state_sealing;
    bool is_kept = row->state == SQ_DB_job_state_done || row->state == SQ_DB_job_state_failed;
    int64_t limit_s = row->state == SQ_DB_job_state_queued ? p->r->retention_s : is_work ? WATCH_LATE_S : is_kept ? p->r->retention_s : 0;
    return json_array_append_new(p->out, json_pack("{s:s, s:I, s:o, s:o}", "state", sq_db_name(SQ_DB_job_state, row->state), "at_ms", (json_int_t)row->at_ms,
                                                   "at", view_time(row->at_ms / 1000), "limit_s", limit_s ? json_integer(limit_s) : json_null()))
               ? sq_fail(SQ_ENOMEM)
               : SQ_OK;
}

static sq_err add_task(void *ctx, const struct sq_db_task *row)
{
    const struct sq_stage_row *stage = sq_stage_row_of((unsigned)row->stage);
    const char *name = stage ? stage->name : row->stage == WORK_PACKAGE ? "package" : NULL;
    if (!name)
        return SQ_OK;
    json_t *j = json_pack("{s:s, s:s, s:I, s:I, s:I}", "stage", name, "state", sq_db_name(SQ_DB_task_state, row->state), "tries", (json_int_t)row->tries,
                          "cpu_ms", (json_int_t)row->cpu_ms, "peak_kib", (json_int_t)row->peak_kib);
    json_t *walls = json_array();
    size_t n;
    const struct sq_wall_row *wall = sq_wall_rows(&n);
    for (size_t i = 0; i < n; i++)
        if (row->walls & wall[i].bit)
            json_array_append_new(walls, json_string(wall[i].name));
    json_object_set_new(j, "isolation", walls);
    if (row->stage == SQ_STAGE_impute) {
        json_object_set_new(j, "chunk", json_integer((json_int_t)row->chunk));
        if (row->from_bp)
            json_object_set_new(j, "from_bp", json_integer((json_int_t)row->from_bp));
        if (row->to_bp)
            json_object_set_new(j, "to_bp", json_integer((json_int_t)row->to_bp));
    }
    return json_array_append_new(ctx, j) ? sq_fail(SQ_ENOMEM) : SQ_OK;
}

static sq_err add_file(void *ctx, const struct sq_db_result_file *row)
{
    return json_array_append_new(ctx, json_pack("{s:s, s:I}", "name", row->name, "bytes", (json_int_t)row->plain_bytes)) ? sq_fail(SQ_ENOMEM) : SQ_OK;
}

struct objects_in {
    json_int_t n_damaged, n_erase_failed;
};

static sq_err count_states(void *ctx, const struct sq_db_object *row)
{
    struct objects_in *n = ctx;
    n->n_damaged += row->state == SQ_DB_object_state_damaged;
    n->n_erase_failed += row->state == SQ_DB_object_state_erasing && row->erase_failures > 0;
    return SQ_OK;
}

static void add_claim(struct sq_db *db, json_t *j, const struct sq_db_job *row)
{
    json_t *claim = json_pack("{s:s, s:I}", "state", sq_db_name(SQ_DB_claim_state, row->claim_state), "claims", (json_int_t)row->claims);
    struct sq_db_object package;
    if (!is_zero(row->package_object_id) && !sq_db_object_get(db, row->package_object_id, &package))
        json_object_set_new(claim, "package", json_pack("{s:s, s:I}", "state",
                            package.state == SQ_DB_object_state_live ? "ready" : package.state == SQ_DB_object_state_opening ? "building" : sq_db_name(SQ_DB_object_state, package.state),
                            "bytes", (json_int_t)package.plain_bytes));
    else
        json_object_set_new(claim, "package", json_null());
    json_object_set_new(j, "claim", claim);
}

/* the key as its owner knows it: SHA-256 of its 32 bytes */
static json_t *seal_to_of(const struct sq_db_job *row)
{
    uint8_t sha[SQ_SHA256_BYTES];
    char hex[2 * SQ_SHA256_BYTES + 1];
    if (!row->has_seal_key || sq_sha256_of(row->seal_key, sizeof row->seal_key, sha))
        return json_null();
    sq_hex(sha, sizeof sha, hex);
    return json_pack("{s:s, s:s}", "kind", row->seal_kind == SQ_RECIPIENT_AGE ? "age" : "crypt4gh", "fingerprint", hex);
}

json_t *view_job(struct registrar *r, const struct sq_db_job *row, const char *name, bool is_whole)
{
    json_t *j = json_object();
    json_object_set_new(j, "id", json_string(row->id));
    json_object_set_new(j, "name", json_string(name ? name : ""));
    json_object_set_new(j, "state", json_string(sq_db_name(SQ_DB_job_state, row->state)));
    json_object_set_new(j, "upload", is_zero(row->upload_id) ? json_null() : view_id(row->upload_id));
    json_object_set_new(j, "panel", json_string(row->panel_id));
    json_object_set_new(j, "population", json_string(row->population));
    json_object_set_new(j, "mode", json_string(row->mode));
    json_object_set_new(j, "phasing", json_string(row->phasing));
    json_object_set_new(j, "created", view_time(row->created_s));
    json_object_set_new(j, "started", view_time(row->started_s));
    json_object_set_new(j, "finished", view_time(row->finished_s));
    json_object_set_new(j, "expires", view_time(row->expires_s));
    json_object_set_new(j, "late", view_time(row->late_s));
    json_object_set_new(j, "error", error_of(&row->why));
    json_object_set_new(j, "progress", json_pack("{s:I, s:I}", "done", (json_int_t)row->progress_done, "total", (json_int_t)row->progress_total));
    if (!is_whole)
        return j;
    json_object_set_new(j, "counts", json_pack("{s:I, s:I, s:I, s:I, s:I}", "samples", (json_int_t)row->samples, "variants_in", (json_int_t)row->variants_in, "variants_kept",
                        (json_int_t)row->variants_kept, "variants_overlap", (json_int_t)row->variants_overlap, "variants_out", (json_int_t)row->variants_out));
    json_t *lifecycle = json_array(), *tasks = json_array(), *files = json_array();
    struct sq_db *db = db_lock(r);
    int64_t place = 0;
    sq_err e = sq_db_job_times(db, row->id, add_time, &(struct passed){.r = r, .out = lifecycle});
    if (!e)
        e = sq_db_task_list(db, row->id, NULL, 0, 200, add_task, tasks);
    if (!e)
        e = sq_db_result_files(db, row->id, add_file, files);
    if (!e && row->state == SQ_DB_job_state_queued)
        e = sq_db_job_queue_place(db, row->id, &place);
    struct objects_in n = {0};
    if (!e)
        e = sq_db_job_objects(db, row->id, count_states, &n);
    add_claim(db, j, row);
    db_unlock(r);
    json_object_set_new(j, "seal_to", seal_to_of(row));
    json_object_set_new(j, "damaged", json_integer(n.n_damaged));
    json_object_set_new(j, "erase_failed", json_integer(n.n_erase_failed));
    json_object_set_new(j, "queue_place", json_integer(place));
    json_object_set_new(j, "lifecycle", lifecycle);
    json_object_set_new(j, "tasks", tasks);
    json_object_set_new(j, "files", files);
    return j;
}

/* the numbers that clients of the public services know (SERVICE.md §1.3) */
static int compat_state(const struct sq_db_job *row)
{
    switch (row->state) {
    case SQ_DB_job_state_queued: return 1;
    case SQ_DB_job_state_checking:
    case SQ_DB_job_state_running: return 2;
    case SQ_DB_job_state_sealing: return 3;
    case SQ_DB_job_state_done: return 4;
    case SQ_DB_job_state_failed: return 5;
    case SQ_DB_job_state_cancelled: return 6;
    default: return 10; /* erasing, erased: deleted */
    }
}

json_t *view_job_compat(struct registrar *r, const struct sq_db_job *row, const char *name)
{
    json_t *j = view_job(r, row, name, false);
    json_object_set_new(j, "status", json_string(sq_db_name(SQ_DB_job_state, row->state)));
    json_object_set_new(j, "state", json_integer(compat_state(row)));
    json_object_set_new(j, "application", json_string("Genotype imputation"));
    json_object_set_new(j, "applicationId", json_string("imputationserver2"));
    json_object_set_new(j, "positionInQueue", json_integer(0));
    json_object_set_new(j, "submittedOn", json_integer((json_int_t)row->created_s * 1000));
    json_object_set_new(j, "startTime", json_integer((json_int_t)row->started_s * 1000));
    json_object_set_new(j, "endTime", json_integer((json_int_t)row->finished_s * 1000));
    json_object_set_new(j, "outputParams", json_array());
    return j;
}
