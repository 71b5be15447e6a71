#include "lib/db/db_internal.h"

/* Jobs: their states with the time of each, the queue, claims, and the files of a result. */

static const struct sq_column job_columns[] = {
    SQ_COLUMN(sq_db_job, id, TEXT),
    SQ_COLUMN(sq_db_job, owner_id, ID),
    SQ_COLUMN(sq_db_job, upload_id, ID_OR_NULL),
    SQ_COLUMN(sq_db_job, panel_id, TEXT),
    SQ_COLUMN(sq_db_job, population, TEXT),
    SQ_COLUMN(sq_db_job, mode, TEXT),
    SQ_COLUMN(sq_db_job, phasing, TEXT),
    SQ_COLUMN(sq_db_job, name_sealed, SEALED),
    SQ_COLUMN(sq_db_job, state, INT),
    SQ_COLUMN_AS(sq_db_job, why.err, "err", U32),
    SQ_COLUMN_AS(sq_db_job, why.line, "why_line", U64),
    SQ_COLUMN_AS(sq_db_job, why.column, "why_column", U32),
    SQ_COLUMN_AS(sq_db_job, why.field, "why_field", TEXT),
    SQ_COLUMN_AS(sq_db_job, why.detail, "why_detail", TEXT),
    SQ_COLUMN(sq_db_job, created_s, I64),
    SQ_COLUMN(sq_db_job, started_s, I64_OR_NULL),
    SQ_COLUMN(sq_db_job, finished_s, I64_OR_NULL),
    SQ_COLUMN(sq_db_job, expires_s, I64),
    SQ_COLUMN(sq_db_job, progress_done, U64),
    SQ_COLUMN(sq_db_job, progress_total, U64),
    SQ_COLUMN(sq_db_job, claim_state, INT),
    SQ_COLUMN(sq_db_job, claims, I64),
    SQ_COLUMN_32_IF(sq_db_job, check_sha256, has_check),
    SQ_COLUMN(sq_db_job, seal_kind, INT),
    SQ_COLUMN_32_IF(sq_db_job, seal_key, has_seal_key),
    SQ_COLUMN(sq_db_job, package_object_id, ID_OR_NULL),
    SQ_COLUMN(sq_db_job, report_object_id, ID_OR_NULL),
    SQ_COLUMN(sq_db_job, samples, U64),
    SQ_COLUMN(sq_db_job, variants_in, U64),
    SQ_COLUMN(sq_db_job, variants_kept, U64),
    SQ_COLUMN(sq_db_job, variants_overlap, U64),
    SQ_COLUMN(sq_db_job, variants_out, U64),
    SQ_COLUMN(sq_db_job, n_fence, I64),
    SQ_COLUMN(sq_db_job, late_s, I64_OR_NULL),
};
static const struct sq_db_rows_of jobs = SQ_ROWS_OF("job", job_columns, sq_db_job);
SQ_DB_DEFINE_EACH(job, &jobs, sq_db_job, sq_db_on_job)

static sq_err add_time(struct sq_db *db, const char *id, int state, int64_t now_ms)
{
    return sq_db_run(db, "INSERT INTO job_time (job_id, state, at_ms) VALUES (?1, ?2, ?3)",
                     ARGS(A_TEXT(id), A_NO(state), A_NO(now_ms)), NULL);
}

sq_err sq_db_job_insert(struct sq_db *db, const struct sq_db_job *row)
{
    if (!row->id[0])
        return sq_fail(SQ_ERANGE);
    sq_err e = sq_db_save(db);
    if (e)
        return e;
    e = sq_db_insert(db, &jobs, false, row);
    if (!e)
        e = add_time(db, row->id, row->state, row->created_s * 1000);
    return sq_db_settle(db, e);
}

sq_err sq_db_job_get(struct sq_db *db, const char *id, struct sq_db_job *out)
{
    return sq_db_get(db, &jobs, "WHERE id = ?1", ARGS(A_TEXT(id)), out);
}

sq_err sq_db_job_by_package(struct sq_db *db, const uint8_t object_id[16], struct sq_db_job *out)
{
    return sq_db_get(db, &jobs, "WHERE package_object_id = ?1", ARGS(A_ID(object_id)), out);
}

sq_err sq_db_job_list(struct sq_db *db, const uint8_t *owner, int state, const char *before_id, int limit,
                      sq_db_on_job on, void *ctx)
{
    const struct sq_arg *args = ARGS(A_TEXT(before_id ? before_id : "\x7f"), A_NO(state), A_NO(sq_db_limit(limit)),
                                     A_BYTES(owner, 16)); /* ids are plain text, so \x7f comes after all of them */
    if (owner)
        return each_job(db, "WHERE owner_id = ?4 AND id < ?1 AND ?2 IN (0, state) ORDER BY id DESC LIMIT ?3", args, on, ctx);
    return each_job(db, "WHERE id < ?1 AND ?2 IN (0, state) AND ?4 IS NULL ORDER BY id DESC LIMIT ?3", args, on, ctx);
}

sq_err sq_db_job_count(struct sq_db *db, const uint8_t *owner, int state, int64_t *out_n)
{
    const struct sq_arg *args = ARGS(A_BYTES(owner, 16), A_NO(state));
    if (owner)
        return sq_db_no(db, "SELECT count(*) FROM job WHERE owner_id = ?1 AND ?2 IN (0, state)", args, out_n);
    return sq_db_no(db, "SELECT count(*) FROM job WHERE ?1 IS NULL AND ?2 IN (0, state)", args, out_n);
}

sq_err sq_db_job_count_active(struct sq_db *db, const uint8_t *owner, int64_t *out_n)
{
    const struct sq_arg *args = ARGS(A_BYTES(owner, 16));
    if (owner)
        return sq_db_no(db, "SELECT count(*) FROM job WHERE owner_id = ?1 AND state IN (1, 2, 3, 4)", args, out_n);
    return sq_db_no(db, "SELECT count(*) FROM job WHERE ?1 IS NULL AND state IN (1, 2, 3, 4)", args, out_n);
}
_Static_assert(SQ_DB_job_state_queued == 1 && SQ_DB_job_state_sealing == 4 && SQ_DB_job_state_cancelled == 7, "in SQL");

sq_err sq_db_job_queue_place(struct sq_db *db, const char *id, int64_t *out_place)
{
    int64_t state = 0;
    sq_err e = sq_db_no(db, "SELECT state FROM job WHERE id = ?1", ARGS(A_TEXT(id)), &state);
    if (!e && state != SQ_DB_job_state_queued) {
        *out_place = 0;
        return SQ_OK;
    }
    return e ? e : sq_db_no(db, "SELECT count(*) FROM job WHERE state = 1 AND id <= ?1", ARGS(A_TEXT(id)), out_place);
}

sq_err sq_db_job_next_queued(struct sq_db *db, struct sq_db_job *out)
{
    return sq_db_get(db, &jobs, "WHERE state = 1 ORDER BY id LIMIT 1", NO_ARGS, out);
}

sq_err sq_db_jobs_to_remind(struct sq_db *db, int64_t now_s, int64_t ahead_s, int limit, sq_db_on_job on, void *ctx)
{
    return each_job(db, "WHERE state = 5 AND (claim_state <> 3 OR seal_key IS NOT NULL) AND expires_s > ?1 AND expires_s <= ?1 + ?2 AND finished_s < expires_s - ?2"
                        " AND NOT EXISTS (SELECT 1 FROM notice WHERE notice.job_id = job.id AND kind = 3) ORDER BY id LIMIT ?3",
                    ARGS(A_NO(now_s), A_NO(ahead_s), A_NO(sq_db_limit(limit))), on, ctx);
}
_Static_assert(SQ_DB_job_state_done == 5 && SQ_DB_claim_state_confirmed == 3 && SQ_DB_notice_kind_reminder == 3, "in SQL");

/* ---- states ---- */

static sq_err set_state(struct sq_db *db, const char *id, int state, int64_t now_ms)
{
    int64_t from = 0;
    sq_err e = sq_db_no(db, "SELECT state FROM job WHERE id = ?1", ARGS(A_TEXT(id)), &from);
    if (!e)
        e = sq_db_move(SQ_DB_job_state, (int)from, state);
    if (!e)
        e = sq_db_run_one(db,
                          "UPDATE job SET state = ?2,"
                          " started_s = CASE WHEN ?2 = 2 THEN ifnull(started_s, ?3) ELSE started_s END,"
                          " finished_s = CASE WHEN ?2 IN (5, 6, 7) THEN ?3 ELSE finished_s END WHERE id = ?1",
                          ARGS(A_TEXT(id), A_NO(state), A_NO(now_ms / 1000)));
    if (!e && state == SQ_DB_job_state_erased) /* counts and times stay; what a person supplied, or that quotes him, goes */
        e = sq_db_run_one(db,
                          "UPDATE job SET name_sealed = NULL, population = '', why_line = 0, why_column = 0, why_field = '',"
                          " why_detail = '', check_sha256 = NULL, seal_kind = 0, seal_key = NULL WHERE id = ?1", ARGS(A_TEXT(id)));
    return e ? e : add_time(db, id, state, now_ms);
}

sq_err sq_db_job_set_state(struct sq_db *db, const char *id, int state, int64_t now_ms)
{
    sq_err e = sq_db_save(db);
    return e ? e : sq_db_settle(db, set_state(db, id, state, now_ms));
}

sq_err sq_db_job_failed(struct sq_db *db, const char *id, const struct sq_db_why *why, int64_t now_ms)
{
    if (why->line > INT64_MAX || !memchr(why->field, 0, sizeof why->field) || !memchr(why->detail, 0, sizeof why->detail))
        return sq_fail(SQ_ERANGE);
    sq_err e = sq_db_save(db);
    if (e)
        return e;
    e = set_state(db, id, SQ_DB_job_state_failed, now_ms);
    if (!e)
        e = sq_db_run_one(db,
                          "UPDATE job SET err = ?2, why_line = ?3, why_column = ?4, why_field = ?5, why_detail = ?6"
                          " WHERE id = ?1",
                          ARGS(A_TEXT(id), A_NO(why->err), A_NO(why->line), A_NO(why->column), A_TEXT(why->field),
                               A_TEXT(why->detail)));
    return sq_db_settle(db, e);
}

sq_err sq_db_job_set_progress(struct sq_db *db, const char *id, uint64_t done, uint64_t total)
{
    if (done > INT64_MAX || total > INT64_MAX)
        return sq_fail(SQ_ERANGE);
    return sq_db_run_one(db, "UPDATE job SET progress_done = ?2, progress_total = ?3 WHERE id = ?1",
                         ARGS(A_TEXT(id), A_NO(done), A_NO(total)));
}

sq_err sq_db_job_set_expires(struct sq_db *db, const char *id, int64_t expires_s)
{
    return sq_db_run_one(db, "UPDATE job SET expires_s = ?2 WHERE id = ?1", ARGS(A_TEXT(id), A_NO(expires_s)));
}

sq_err sq_db_job_set_report(struct sq_db *db, const char *id, const uint8_t report_object_id[16])
{
    return sq_db_run_one(db, "UPDATE job SET report_object_id = ?2 WHERE id = ?1",
                         ARGS(A_TEXT(id), sq_arg_id_or_null(report_object_id)));
}

sq_err sq_db_job_set_receipt(struct sq_db *db, const char *id, const char *receipt)
{
    if (strlen(receipt) > SQ_DB_RECEIPT_MAX_BYTES)
        return sq_fail(SQ_ERANGE);
    return sq_db_run_one(db, "UPDATE job SET receipt = ?2 WHERE id = ?1", ARGS(A_TEXT(id), A_TEXT(receipt)));
}

sq_err sq_db_job_receipt(struct sq_db *db, const char *id, struct sq_buf *out)
{
    return sq_db_bytes(db, "SELECT receipt FROM job WHERE id = ?1", ARGS(A_TEXT(id)), out);
}

sq_err sq_db_job_set_counts(struct sq_db *db, const char *id, uint64_t samples, uint64_t variants_in, uint64_t kept,
                            uint64_t overlap, uint64_t out)
{
    if ((samples | variants_in | kept | overlap | out) > INT64_MAX)
        return sq_fail(SQ_ERANGE);
    return sq_db_run_one(db,
                         "UPDATE job SET samples = ?2, variants_in = ?3, variants_kept = ?4, variants_overlap = ?5,"
                         " variants_out = ?6 WHERE id = ?1",
                         ARGS(A_TEXT(id), A_NO(samples), A_NO(variants_in), A_NO(kept), A_NO(overlap), A_NO(out)));
}

sq_err sq_db_job_set_upload(struct sq_db *db, const char *id, const uint8_t upload_id[16])
{
    return sq_db_run_one(db, "UPDATE job SET upload_id = ?2 WHERE id = ?1", ARGS(A_TEXT(id), sq_arg_id_or_null(upload_id)));
}

/* ---- claims ---- */

static sq_err may_claim(struct sq_db *db, const char *id, int to)
{
    int64_t state = 0, from = 0;
    sq_err e = sq_db_no(db, "SELECT state FROM job WHERE id = ?1", ARGS(A_TEXT(id)), &state);
    if (!e && state != SQ_DB_job_state_done)
        e = sq_fail(SQ_ECONFLICT);
    if (!e)
        e = sq_db_no(db, "SELECT claim_state FROM job WHERE id = ?1", ARGS(A_TEXT(id)), &from);
    if (!e)
        e = sq_db_move(SQ_DB_claim_state, (int)from, to);
    int64_t has_key = 1;
    if (!e && from == SQ_DB_claim_state_none && to == SQ_DB_claim_state_confirmed) /* nobody could open it but by his own key */
        e = sq_db_no(db, "SELECT seal_key IS NOT NULL AND package_object_id IS NOT NULL FROM job WHERE id = ?1", ARGS(A_TEXT(id)), &has_key);
    return e || has_key ? e : sq_fail(SQ_ECONFLICT);
}

sq_err sq_db_job_set_package(struct sq_db *db, const char *id, const uint8_t package_object_id[16])
{
    int64_t may = 0;
    sq_err e = sq_db_no(db, "SELECT state = 4 AND seal_key IS NOT NULL FROM job WHERE id = ?1", ARGS(A_TEXT(id)), &may);
    if (!e && !may)
        e = sq_fail(SQ_ECONFLICT);
    return e ? e : sq_db_run_one(db, "UPDATE job SET package_object_id = ?2 WHERE id = ?1", ARGS(A_TEXT(id), sq_arg_id_or_null(package_object_id)));
}
_Static_assert(SQ_DB_job_state_sealing == 4, "in SQL");

sq_err sq_db_job_claimed(struct sq_db *db, const char *id, const uint8_t package_object_id[16], const uint8_t check_sha256[32])
{
    sq_err e = may_claim(db, id, SQ_DB_claim_state_claimed);
    return e ? e
             : sq_db_run_one(db,
                             "UPDATE job SET claim_state = ?2, claims = claims + 1, package_object_id = ?3,"
                             " check_sha256 = ?4 WHERE id = ?1",
                             ARGS(A_TEXT(id), A_NO(SQ_DB_claim_state_claimed), sq_arg_id_or_null(package_object_id),
                                  A_BYTES(check_sha256, 32)));
}

sq_err sq_db_job_set_claim(struct sq_db *db, const char *id, int claim_state)
{
    if (claim_state == SQ_DB_claim_state_claimed)
        return sq_fail(SQ_ECONFLICT); /* carries more than the state: sq_db_job_claimed */
    sq_err e = may_claim(db, id, claim_state);
    if (!e && claim_state == SQ_DB_claim_state_none)
        e = sq_db_run_one(db, "UPDATE job SET package_object_id = NULL, check_sha256 = NULL WHERE id = ?1", ARGS(A_TEXT(id)));
    return e ? e : sq_db_run_one(db, "UPDATE job SET claim_state = ?2 WHERE id = ?1", ARGS(A_TEXT(id), A_NO(claim_state)));
}

sq_err sq_db_job_next_fence(struct sq_db *db, const char *id, int64_t *out_fence)
{
    return sq_db_no(db, "UPDATE job SET n_fence = n_fence + 1 WHERE id = ?1 RETURNING n_fence", ARGS(A_TEXT(id)), out_fence);
}

sq_err sq_db_jobs_late(struct sq_db *db, int64_t before_s, int limit, sq_db_on_job on, void *ctx)
{
    return each_job(db, "WHERE state IN (2, 3, 4) AND started_s < ?1 AND late_s IS NULL ORDER BY id LIMIT ?2",
                    ARGS(A_NO(before_s), A_NO(sq_db_limit(limit))), on, ctx);
}

sq_err sq_db_job_set_late(struct sq_db *db, const char *id, int64_t late_s)
{
    return sq_db_run_one(db, "UPDATE job SET late_s = ?2 WHERE id = ?1", ARGS(A_TEXT(id), A_NO(late_s)));
}

/* ---- the end ---- */

sq_err sq_db_jobs_expired(struct sq_db *db, int64_t now_s, int limit, sq_db_on_job on, void *ctx)
{
    return each_job(db, "WHERE state IN (1, 2, 3, 4, 5, 6, 7) AND expires_s <= ?1 ORDER BY expires_s, id LIMIT ?2",
                    ARGS(A_NO(now_s), A_NO(sq_db_limit(limit))), on, ctx);
}

sq_err sq_db_job_delete(struct sq_db *db, const char *id)
{
    int64_t state = 0;
    sq_err e = sq_db_no(db, "SELECT state FROM job WHERE id = ?1", ARGS(A_TEXT(id)), &state);
    if (!e && state != SQ_DB_job_state_erased)
        e = sq_fail(SQ_ECONFLICT);
    return e ? e : sq_db_run_one(db, "DELETE FROM job WHERE id = ?1", ARGS(A_TEXT(id)));
}

/* ---- history ---- */

static const struct sq_column time_columns[] = {
    SQ_COLUMN(sq_db_job_time, job_id, TEXT),
    SQ_COLUMN(sq_db_job_time, state, INT),
    SQ_COLUMN(sq_db_job_time, at_ms, I64),
};
static const struct sq_db_rows_of times = SQ_ROWS_OF("job_time", time_columns, sq_db_job_time);
SQ_DB_DEFINE_EACH(time, &times, sq_db_job_time, sq_db_on_job_time)

sq_err sq_db_job_times(struct sq_db *db, const char *job_id, sq_db_on_job_time on, void *ctx)
{
    return each_time(db, "WHERE job_id = ?1 ORDER BY no", ARGS(A_TEXT(job_id)), on, ctx);
}

/* ---- result files ---- */

static const struct sq_column file_columns[] = {
    SQ_COLUMN(sq_db_result_file, job_id, TEXT),
    SQ_COLUMN(sq_db_result_file, name, TEXT),
    SQ_COLUMN(sq_db_result_file, plain_bytes, U64),
    SQ_COLUMN_32_IF(sq_db_result_file, sha256, has_sha256),
};
static const struct sq_db_rows_of files = SQ_ROWS_OF("result_file", file_columns, sq_db_result_file);
SQ_DB_DEFINE_EACH(file, &files, sq_db_result_file, sq_db_on_result_file)

sq_err sq_db_result_file_put(struct sq_db *db, const struct sq_db_result_file *row)
{
    return sq_db_insert(db, &files, true, row);
}

sq_err sq_db_result_files(struct sq_db *db, const char *job_id, sq_db_on_result_file on, void *ctx)
{
    return each_file(db, "WHERE job_id = ?1 ORDER BY name", ARGS(A_TEXT(job_id)), on, ctx);
}

static const struct sq_column part_columns[] = {
    SQ_COLUMN(sq_db_result_part, job_id, TEXT),
    SQ_COLUMN(sq_db_result_part, name, TEXT),
    SQ_COLUMN(sq_db_result_part, part, I64),
    SQ_COLUMN(sq_db_result_part, object_id, ID),
};
static const struct sq_db_rows_of parts = SQ_ROWS_OF("result_part", part_columns, sq_db_result_part);
SQ_DB_DEFINE_EACH(part, &parts, sq_db_result_part, sq_db_on_result_part)

sq_err sq_db_result_part_put(struct sq_db *db, const struct sq_db_result_part *row)
{
    return sq_db_insert(db, &parts, true, row);
}

sq_err sq_db_result_parts(struct sq_db *db, const char *job_id, sq_db_on_result_part on, void *ctx)
{
    return each_part(db, "WHERE job_id = ?1 ORDER BY name, part", ARGS(A_TEXT(job_id)), on, ctx);
}

sq_err sq_db_result_file_count(struct sq_db *db, const char *job_id, int64_t *out_n)
{
    return sq_db_no(db, "SELECT count(*) FROM result_file WHERE job_id = ?1", ARGS(A_TEXT(job_id)), out_n);
}

sq_err sq_db_result_files_delete(struct sq_db *db, const char *job_id)
{
    return sq_db_run(db, "DELETE FROM result_file WHERE job_id = ?1", ARGS(A_TEXT(job_id)), NULL);
}
