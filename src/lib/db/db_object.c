#include "lib/db/db_internal.h"

/* Sealed objects: what exists, whose it is, when it must be gone, and the receipt once it is. */

static const struct sq_column object_columns[] = {
    SQ_COLUMN(sq_db_object, id, ID),
    SQ_COLUMN(sq_db_object, owner_id, ID),
    SQ_COLUMN(sq_db_object, kind, INT),
    SQ_COLUMN(sq_db_object, state, INT),
    SQ_COLUMN(sq_db_object, created_s, I64),
    SQ_COLUMN(sq_db_object, not_after_s, I64),
    SQ_COLUMN(sq_db_object, opening_expires_s, I64_OR_NULL),
    SQ_COLUMN(sq_db_object, plain_bytes, U64),
    SQ_COLUMN(sq_db_object, sealed_bytes, U64),
    SQ_COLUMN_32_IF(sq_db_object, sha256, has_sha256),
    SQ_COLUMN_AS(sq_db_object, has_receipt, "receipt IS NOT NULL", IS_THERE),
    SQ_COLUMN(sq_db_object, erased_s, I64_OR_NULL),
    SQ_COLUMN(sq_db_object, erase_failures, I64),
    SQ_COLUMN(sq_db_object, erase_retry_s, I64),
};
const struct sq_db_rows_of sq_db_object_rows = SQ_ROWS_OF("object", object_columns, sq_db_object);
SQ_DB_DEFINE_EACH(object, &sq_db_object_rows, sq_db_object, sq_db_on_object)

sq_err sq_db_object_insert(struct sq_db *db, const struct sq_db_object *row)
{
    return sq_db_insert(db, &sq_db_object_rows, false, row);
}

sq_err sq_db_object_get(struct sq_db *db, const uint8_t id[16], struct sq_db_object *out)
{
    return sq_db_get(db, &sq_db_object_rows, "WHERE id = ?1", ARGS(A_ID(id)), out);
}

sq_err sq_db_object_list(struct sq_db *db, const uint8_t *owner, int kind, int state, const uint8_t *after, int limit,
                         sq_db_on_object on, void *ctx)
{
    const struct sq_arg *args = ARGS(A_BYTES(after, 16), A_NO(kind), A_NO(state), A_NO(sq_db_limit(limit)), A_BYTES(owner, 16));
    if (owner)
        return each_object(db,
                           "WHERE owner_id = ?5 AND id > ifnull(?1, x'') AND ?2 IN (0, kind) AND ?3 IN (0, state)"
                           " ORDER BY id LIMIT ?4", args, on, ctx);
    return each_object(db, "WHERE id > ifnull(?1, x'') AND ?2 IN (0, kind) AND ?3 IN (0, state) AND ?5 IS NULL"
                           " ORDER BY id LIMIT ?4", args, on, ctx);
}

sq_err sq_db_object_count(struct sq_db *db, const uint8_t *owner, int state, int64_t *out_n, uint64_t *out_sealed_bytes)
{
    int64_t n = 0, bytes = 0;
    const struct sq_arg *args = ARGS(A_BYTES(owner, 16), A_NO(state));
    sq_err e = owner ? sq_db_no(db, "SELECT count(*) FROM object WHERE owner_id = ?1 AND ?2 IN (0, state)", args, &n)
                     : sq_db_no(db, "SELECT count(*) FROM object WHERE ?1 IS NULL AND ?2 IN (0, state)", args, &n);
    if (!e)
        e = owner ? sq_db_no(db, "SELECT ifnull(sum(sealed_bytes), 0) FROM object WHERE owner_id = ?1 AND ?2 IN (0, state)", args, &bytes)
                  : sq_db_no(db, "SELECT ifnull(sum(sealed_bytes), 0) FROM object WHERE ?1 IS NULL AND ?2 IN (0, state)", args, &bytes);
    if (e)
        return e;
    *out_n = n;
    if (out_sealed_bytes)
        *out_sealed_bytes = (uint64_t)bytes;
    return SQ_OK;
}

/* The present state of @id, once it is sure that it may become @to. */
static sq_err may_become(struct sq_db *db, const uint8_t id[16], int to)
{
    int64_t from = 0;
    sq_err e = sq_db_no(db, "SELECT state FROM object WHERE id = ?1", ARGS(A_ID(id)), &from);
    return e ? e : sq_db_move(SQ_DB_object_state, (int)from, to);
}

sq_err sq_db_object_set_state(struct sq_db *db, const uint8_t id[16], int state)
{
    int64_t from = 0;
    sq_err e = sq_db_no(db, "SELECT state FROM object WHERE id = ?1", ARGS(A_ID(id)), &from);
    if (e)
        return e;
    /* these two carry more than the state; a repaired object becomes live again with all it had */
    bool is_repair = state == SQ_DB_object_state_live && from == SQ_DB_object_state_damaged;
    if ((state == SQ_DB_object_state_live && !is_repair) || state == SQ_DB_object_state_erased)
        return sq_fail(SQ_ECONFLICT);
    e = sq_db_move(SQ_DB_object_state, (int)from, state);
    return e ? e : sq_db_run_one(db, "UPDATE object SET state = ?2 WHERE id = ?1", ARGS(A_ID(id), A_NO(state)));
}

sq_err sq_db_object_live(struct sq_db *db, const uint8_t id[16], uint64_t plain_bytes, uint64_t sealed_bytes,
                         const uint8_t *sha256)
{
    int64_t from = 0;
    if (plain_bytes > INT64_MAX || sealed_bytes > INT64_MAX)
        return sq_fail(SQ_ERANGE);
    sq_err e = sq_db_no(db, "SELECT state FROM object WHERE id = ?1", ARGS(A_ID(id)), &from);
    if (!e && from != SQ_DB_object_state_opening)
        e = sq_fail(SQ_ECONFLICT);
    return e ? e
             : sq_db_run_one(db,
                             "UPDATE object SET state = ?2, plain_bytes = ?3, sealed_bytes = ?4, sha256 = ?5,"
                             " opening_expires_s = NULL WHERE id = ?1",
                             ARGS(A_ID(id), A_NO(SQ_DB_object_state_live), A_NO(plain_bytes), A_NO(sealed_bytes),
                                  A_BYTES(sha256, 32)));
}

sq_err sq_db_object_progress(struct sq_db *db, const uint8_t id[16], uint64_t plain_bytes, uint64_t sealed_bytes)
{
    int64_t from = 0;
    if (plain_bytes > INT64_MAX || sealed_bytes > INT64_MAX)
        return sq_fail(SQ_ERANGE);
    sq_err e = sq_db_no(db, "SELECT state FROM object WHERE id = ?1", ARGS(A_ID(id)), &from);
    if (!e && from != SQ_DB_object_state_opening)
        e = sq_fail(SQ_ECONFLICT);
    return e ? e
             : sq_db_run_one(db, "UPDATE object SET plain_bytes = ?2, sealed_bytes = ?3 WHERE id = ?1",
                             ARGS(A_ID(id), A_NO(plain_bytes), A_NO(sealed_bytes)));
}

sq_err sq_db_object_erased(struct sq_db *db, const uint8_t id[16], int64_t now_s, const char *receipt)
{
    int64_t from = 0;
    if (receipt && strlen(receipt) > SQ_DB_RECEIPT_MAX_BYTES)
        return sq_fail(SQ_ERANGE);
    sq_err e = sq_db_no(db, "SELECT state FROM object WHERE id = ?1", ARGS(A_ID(id)), &from);
    if (e)
        return e;
    if (from == SQ_DB_object_state_erased) /* done again after a crash: the first time counts */
        return sq_db_run_one(db, "UPDATE object SET receipt = ifnull(receipt, ?2) WHERE id = ?1",
                             ARGS(A_ID(id), A_TEXT_OR_NULL(receipt)));
    e = may_become(db, id, SQ_DB_object_state_erased);
    return e ? e
             : sq_db_run_one(db, "UPDATE object SET state = ?2, erased_s = ?3, receipt = ?4, erase_failures = 0, erase_retry_s = 0 WHERE id = ?1",
                             ARGS(A_ID(id), A_NO(SQ_DB_object_state_erased), A_NO(now_s), A_TEXT_OR_NULL(receipt)));
}

sq_err sq_db_object_erase_failed(struct sq_db *db, const uint8_t id[16], int64_t retry_s)
{
    int64_t from = 0;
    sq_err e = sq_db_no(db, "SELECT state FROM object WHERE id = ?1", ARGS(A_ID(id)), &from);
    if (!e && from != SQ_DB_object_state_erasing)
        e = sq_fail(SQ_ECONFLICT);
    return e ? e
             : sq_db_run_one(db, "UPDATE object SET erase_failures = erase_failures + 1, erase_retry_s = ?2 WHERE id = ?1",
                             ARGS(A_ID(id), A_NO(retry_s)));
}

sq_err sq_db_objects_erasing(struct sq_db *db, const uint8_t *owner, int64_t now_s, const uint8_t *after, int limit,
                             sq_db_on_object on, void *ctx)
{
    _Static_assert(SQ_DB_object_state_erasing == 3, "in SQL");
    const struct sq_arg *args = ARGS(A_BYTES(after, 16), A_NO(now_s), A_NO(sq_db_limit(limit)), A_BYTES(owner, 16));
    return each_object(db, "WHERE state = 3 AND id > ifnull(?1, x'') AND erase_retry_s <= ?2 AND ifnull(?4, owner_id) = owner_id"
                           " ORDER BY id LIMIT ?3", args, on, ctx);
}

sq_err sq_db_object_count_erase_failed(struct sq_db *db, int64_t *out_n)
{
    return sq_db_no(db, "SELECT count(*) FROM object WHERE state = 3 AND erase_failures > 0", NO_ARGS, out_n);
}

sq_err sq_db_objects_retry_now(struct sq_db *db)
{
    return sq_db_run(db, "UPDATE object SET erase_retry_s = 0 WHERE state = 3 AND erase_retry_s > 0", NO_ARGS, NULL);
}

sq_err sq_db_object_receipt(struct sq_db *db, const uint8_t id[16], struct sq_buf *out)
{
    return sq_db_bytes(db, "SELECT receipt FROM object WHERE id = ?1", ARGS(A_ID(id)), out);
}

sq_err sq_db_object_job(struct sq_db *db, const uint8_t id[16], char out_job_id[SQ_DB_JOB_ID_BYTES])
{
    struct sq_buf b;
    sq_buf_init(&b, SQ_DB_JOB_ID_BYTES - 1);
    sq_err e = sq_db_bytes(db,
                           "SELECT max(j) FROM (SELECT t.job_id AS j FROM task_object o JOIN task t ON t.id = o.task_id"
                           "  WHERE o.object_id = ?1 AND t.job_id IS NOT NULL"
                           " UNION ALL SELECT job_id FROM result_part WHERE object_id = ?1"
                           " UNION ALL SELECT id FROM job WHERE package_object_id = ?1"
                           " UNION ALL SELECT id FROM job WHERE report_object_id = ?1"
                           " UNION ALL SELECT j2.id FROM upload u JOIN job j2 ON j2.upload_id = u.id"
                           "  WHERE u.object_id = ?1 OR u.ids_object_id = ?1 OR u.genotypes_object_id = ?1)"
                           " WHERE NOT EXISTS (SELECT 1 FROM object WHERE id = ?1 AND kind = 12)",
                           ARGS(A_ID(id)), &b);
    _Static_assert(SQ_DB_object_kind_panel == 12, "in SQL");
    if (!e) {
        memcpy(out_job_id, b.p, b.n);
        out_job_id[b.n] = 0;
    }
    sq_buf_done(&b);
    return e;
}

sq_err sq_db_object_set_not_after(struct sq_db *db, const uint8_t id[16], int64_t not_after_s)
{
    return sq_db_run_one(db, "UPDATE object SET not_after_s = ?2 WHERE id = ?1", ARGS(A_ID(id), A_NO(not_after_s)));
}

sq_err sq_db_objects_expired(struct sq_db *db, int64_t now_s, int limit, sq_db_on_object on, void *ctx)
{
    _Static_assert(SQ_DB_object_state_opening == 1 && SQ_DB_object_state_live == 2 && SQ_DB_object_state_damaged == 5, "in SQL");
    return each_object(db, "WHERE (state IN (1, 2, 5) AND not_after_s <= ?1) OR (state = 1 AND opening_expires_s <= ?1)"
                           " ORDER BY not_after_s, id LIMIT ?2",
                       ARGS(A_NO(now_s), A_NO(sq_db_limit(limit))), on, ctx);
}

static const struct sq_column short_columns[] = {
    SQ_COLUMN_AS(sq_db_short, id, "o.id", ID), SQ_COLUMN_AS(sq_db_short, owner_id, "o.owner_id", ID),
    SQ_COLUMN_AS(sq_db_short, not_after_s, "o.not_after_s", I64), SQ_COLUMN_AS(sq_db_short, needed_s, "j.expires_s", I64)};
static const struct sq_db_rows_of shorts = SQ_ROWS_OF("job AS j CROSS JOIN upload AS u CROSS JOIN object AS o", short_columns, sq_db_short); /* in this order: few jobs work */
SQ_DB_DEFINE_EACH(short, &shorts, sq_db_short, sq_db_on_short)

sq_err sq_db_inputs_short(struct sq_db *db, int limit, sq_db_on_short on, void *ctx)
{
    _Static_assert(SQ_DB_job_state_queued == 1 && SQ_DB_job_state_sealing == 4 && SQ_DB_object_state_live == 2, "in SQL");
    return each_short(db, "WHERE j.state IN (1, 2, 3, 4) AND u.id = j.upload_id AND o.id IN (u.object_id, u.ids_object_id, u.genotypes_object_id)"
                          " AND o.state = 2 AND o.not_after_s < j.expires_s ORDER BY j.expires_s DESC LIMIT ?1",
                      ARGS(A_NO(sq_db_limit(limit))), on, ctx);
}

sq_err sq_db_object_delete_erased(struct sq_db *db, int64_t before_s, int64_t *out_n)
{
    return sq_db_run(db,
                     "DELETE FROM object WHERE state = 4 AND erased_s < ?1"
                     " AND NOT EXISTS (SELECT 1 FROM upload WHERE object_id = object.id)"
                     " AND NOT EXISTS (SELECT 1 FROM upload WHERE ids_object_id = object.id)"
                     " AND NOT EXISTS (SELECT 1 FROM upload WHERE genotypes_object_id = object.id)"
                     " AND NOT EXISTS (SELECT 1 FROM panel WHERE object_id = object.id)"
                     " AND NOT EXISTS (SELECT 1 FROM job WHERE package_object_id = object.id)"
                     " AND NOT EXISTS (SELECT 1 FROM job WHERE report_object_id = object.id)"
                     " AND NOT EXISTS (SELECT 1 FROM task_object WHERE object_id = object.id)"
                     " AND NOT EXISTS (SELECT 1 FROM result_part WHERE object_id = object.id)",
                     ARGS(A_NO(before_s)), out_n);
}
