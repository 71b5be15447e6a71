#include "lib/db/db_internal.h"

/* Tasks: the queue of sandboxed work. A fence is the number of a try; whoever answers with an older one is too late. */

static const struct sq_column task_columns[] = {
    SQ_COLUMN(sq_db_task, id, ID),
    SQ_COLUMN(sq_db_task, job_id, TEXT_OR_NULL),
    SQ_COLUMN(sq_db_task, upload_id, ID_OR_NULL),
    SQ_COLUMN(sq_db_task, stage, INT),
    SQ_COLUMN(sq_db_task, state, INT),
    SQ_COLUMN(sq_db_task, fence, I64),
    SQ_COLUMN(sq_db_task, tries, I64),
    SQ_COLUMN(sq_db_task, crashes, I64),
    SQ_COLUMN(sq_db_task, misses, I64),
    SQ_COLUMN(sq_db_task, losses, I64),
    SQ_COLUMN(sq_db_task, lost_ms, I64_OR_NULL),
    SQ_COLUMN(sq_db_task, created_ms, I64),
    SQ_COLUMN(sq_db_task, started_ms, I64_OR_NULL),
    SQ_COLUMN(sq_db_task, ended_ms, I64_OR_NULL),
    SQ_COLUMN(sq_db_task, err, U32),
    SQ_COLUMN(sq_db_task, cpu_ms, U64),
    SQ_COLUMN(sq_db_task, peak_kib, U64),
    SQ_COLUMN(sq_db_task, chunk, I64),
    SQ_COLUMN(sq_db_task, from_bp, U64),
    SQ_COLUMN(sq_db_task, to_bp, U64),
    SQ_COLUMN(sq_db_task, sites, U64),
    SQ_COLUMN(sq_db_task, walls, U32),
    SQ_COLUMN_32_IF(sq_db_task, worker_sha256, has_worker_sha256),
};
static const struct sq_db_rows_of tasks = SQ_ROWS_OF("task", task_columns, sq_db_task);
SQ_DB_DEFINE_EACH(task, &tasks, sq_db_task, sq_db_on_task)

sq_err sq_db_task_insert(struct sq_db *db, const struct sq_db_task *row)
{
    return sq_db_insert(db, &tasks, false, row);
}

sq_err sq_db_task_get(struct sq_db *db, const uint8_t id[16], struct sq_db_task *out)
{
    return sq_db_get(db, &tasks, "WHERE id = ?1", ARGS(A_ID(id)), out);
}

sq_err sq_db_task_list(struct sq_db *db, const char *job_id, const uint8_t *upload_id, int state, int limit,
                       sq_db_on_task on, void *ctx)
{
    const struct sq_arg *args = ARGS(A_TEXT_OR_NULL(job_id), A_BYTES(upload_id, 16), A_NO(state), A_NO(sq_db_limit(limit)));
    if (job_id)
        return each_task(db, "WHERE job_id = ?1 AND (?2 IS NULL OR upload_id = ?2) AND ?3 IN (0, state) ORDER BY no LIMIT ?4",
                         args, on, ctx);
    if (upload_id)
        return each_task(db, "WHERE upload_id = ?2 AND ?1 IS NULL AND ?3 IN (0, state) ORDER BY no LIMIT ?4", args, on, ctx);
    return each_task(db, "WHERE ?1 IS NULL AND ?2 IS NULL AND ?3 IN (0, state) ORDER BY no LIMIT ?4", args, on, ctx);
}

sq_err sq_db_task_count(struct sq_db *db, int state, int64_t *out_n)
{
    return sq_db_no(db, "SELECT count(*) FROM task WHERE ?1 IN (0, state)", ARGS(A_NO(state)), out_n);
}

sq_err sq_db_task_next_ready(struct sq_db *db, struct sq_db_task *out)
{
    /* of each owner his oldest; of the owners the one with the fewest sandboxes, then the one who waits longest for one */
    return sq_db_get(db, &tasks,
                     "WHERE no = (WITH"
                     " held (no, state, started_ms, owner) AS (SELECT t.no, t.state, t.started_ms, ifnull(j.owner_id, u.owner_id) FROM task t"
                     "  LEFT JOIN job j ON j.id = t.job_id LEFT JOIN upload u ON u.id = t.upload_id WHERE t.state IN (1, 2) AND t.stage < 200),"
                     " first (no, owner) AS (SELECT min(no), owner FROM held WHERE state = 1 GROUP BY owner)"
                     " SELECT first.no FROM first ORDER BY"
                     " (SELECT count(*) FROM held WHERE state = 2 AND held.owner = first.owner),"
                     " ifnull((SELECT max(t.started_ms) FROM task t JOIN job j ON j.id = t.job_id WHERE j.owner_id = first.owner AND t.stage < 200), 0),"
                     " first.no LIMIT 1)",
                     NO_ARGS, out);
}

sq_err sq_db_task_set_walls(struct sq_db *db, const uint8_t id[16], uint32_t walls, const uint8_t *worker_sha256)
{
    return sq_db_run_one(db, "UPDATE task SET walls = ?2, worker_sha256 = ?3 WHERE id = ?1", ARGS(A_ID(id), A_NO(walls), A_BYTES(worker_sha256, 32)));
}

sq_err sq_db_task_next_of(struct sq_db *db, int stage, struct sq_db_task *out)
{
    return sq_db_get(db, &tasks, "WHERE state = 1 AND stage = ?1 ORDER BY no LIMIT 1", ARGS(A_NO(stage)), out);
}

sq_err sq_db_task_set_sites(struct sq_db *db, const uint8_t id[16], uint64_t sites)
{
    if (sites > INT64_MAX)
        return sq_fail(SQ_ERANGE);
    return sq_db_run_one(db, "UPDATE task SET sites = ?2 WHERE id = ?1", ARGS(A_ID(id), A_NO(sites)));
}
_Static_assert(SQ_DB_task_state_ready == 1 && SQ_DB_task_state_running == 2 && SQ_DB_task_state_failed == 4, "in SQL");

static sq_err may_become(struct sq_db *db, const uint8_t id[16], int to)
{
    int64_t from = 0;
    sq_err e = sq_db_no(db, "SELECT state FROM task WHERE id = ?1", ARGS(A_ID(id)), &from);
    return e ? e : sq_db_move(SQ_DB_task_state, (int)from, to);
}

sq_err sq_db_task_start(struct sq_db *db, const uint8_t id[16], int64_t now_ms, struct sq_db_task *out)
{
    sq_err e = may_become(db, id, SQ_DB_task_state_running);
    if (!e)
        e = sq_db_run_one(db,
                          "UPDATE task SET state = 2, tries = tries + 1, fence = fence + 1, started_ms = ?2,"
                          " ended_ms = NULL, err = 0 WHERE id = ?1",
                          ARGS(A_ID(id), A_NO(now_ms)));
    return e ? e : sq_db_task_get(db, id, out);
}

sq_err sq_db_task_end(struct sq_db *db, const uint8_t id[16], int64_t fence, uint32_t err, uint64_t cpu_ms,
                      uint64_t peak_kib, int64_t now_ms)
{
    int64_t present = 0;
    int to = err ? SQ_DB_task_state_failed : SQ_DB_task_state_done;
    if (cpu_ms > INT64_MAX || peak_kib > INT64_MAX)
        return sq_fail(SQ_ERANGE);
    sq_err e = sq_db_no(db, "SELECT state FROM task WHERE id = ?1", ARGS(A_ID(id)), &present);
    if (!e && present != SQ_DB_task_state_running)
        e = sq_fail(SQ_ECONFLICT);
    if (!e)
        e = sq_db_no(db, "SELECT fence FROM task WHERE id = ?1", ARGS(A_ID(id)), &present);
    if (!e && present != fence)
        e = sq_fail(SQ_ECONFLICT);
    return e ? e
             : sq_db_run_one(db,
                             "UPDATE task SET state = ?2, err = ?3, cpu_ms = cpu_ms + ?4, peak_kib = max(peak_kib, ?5),"
                             " ended_ms = ?6 WHERE id = ?1",
                             ARGS(A_ID(id), A_NO(to), A_NO(err), A_NO(cpu_ms), A_NO(peak_kib), A_NO(now_ms)));
}

_Static_assert(SQ_DB_AGAIN_crashed == 1 && SQ_DB_AGAIN_missed == 2 && SQ_DB_AGAIN_lost == 3, "in SQL");

sq_err sq_db_task_again(struct sq_db *db, const uint8_t id[16], enum sq_db_again why, int64_t now_ms)
{
    sq_err e = may_become(db, id, SQ_DB_task_state_ready);
    if (!e) /* what this try wrote goes, and stays the job's: its receipts are the job's too */
        e = sq_db_run(db, "UPDATE task_object SET port = port + 256 * (SELECT max(1, tries) FROM task WHERE id = ?1) WHERE task_id = ?1 AND port < 256",
                      ARGS(A_ID(id)), NULL);
    return e ? e : sq_db_run_one(db,
                                  "UPDATE task SET state = 1, crashes = crashes + (?2 = 1), misses = misses + (?2 = 2), losses = losses + (?2 = 3),"
                                  " lost_ms = CASE WHEN ?2 = 3 THEN ifnull(lost_ms, ?3) ELSE lost_ms END WHERE id = ?1",
                                  ARGS(A_ID(id), A_NO(why), A_NO(now_ms)));
}

/* Stage 201 is a download under way (registrar.h): it ends with what it sent, not with its job's work. */
sq_err sq_db_task_cancel(struct sq_db *db, const char *job_id, const uint8_t *upload_id, uint32_t err, int64_t now_ms, int64_t *out_n)
{
    if (!err || (!job_id && !upload_id))
        return sq_fail(SQ_ERANGE);
    if (job_id)
        return sq_db_run(db,
                         "UPDATE task SET state = 4, err = ?2, ended_ms = ?3, fence = fence + 1"
                         " WHERE job_id = ?1 AND state IN (1, 2) AND stage <> 201 AND (?4 IS NULL OR upload_id = ?4)",
                         ARGS(A_TEXT(job_id), A_NO(err), A_NO(now_ms), A_BYTES(upload_id, 16)), out_n);
    return sq_db_run(db,
                     "UPDATE task SET state = 4, err = ?2, ended_ms = ?3, fence = fence + 1"
                     " WHERE upload_id = ?1 AND state IN (1, 2)",
                     ARGS(A_ID(upload_id), A_NO(err), A_NO(now_ms)), out_n);
}

sq_err sq_db_task_delete_ended(struct sq_db *db, int stage, int64_t before_ms, int64_t *out_n)
{
    return sq_db_run(db, "DELETE FROM task WHERE no IN (SELECT no FROM task WHERE state IN (3, 4) AND stage = ?1 AND ended_ms < ?2 LIMIT 1000)",
                     ARGS(A_NO(stage), A_NO(before_ms)), out_n);
}

sq_err sq_db_task_delete(struct sq_db *db, const uint8_t id[16])
{
    return sq_db_run_one(db, "DELETE FROM task WHERE id = ?1", ARGS(A_ID(id)));
}

/* ---- which object is behind which port ---- */

static const struct sq_column port_columns[] = {
    SQ_COLUMN(sq_db_task_object, task_id, ID),
    SQ_COLUMN(sq_db_task_object, port, INT),
    SQ_COLUMN(sq_db_task_object, object_id, ID),
};
static const struct sq_db_rows_of ports = SQ_ROWS_OF("task_object", port_columns, sq_db_task_object);
SQ_DB_DEFINE_EACH(port, &ports, sq_db_task_object, sq_db_on_task_object)
SQ_DB_DEFINE_EACH(object, &sq_db_object_rows, sq_db_object, sq_db_on_object)

sq_err sq_db_task_object_put(struct sq_db *db, const struct sq_db_task_object *row)
{
    return sq_db_insert(db, &ports, true, row);
}

sq_err sq_db_task_objects(struct sq_db *db, const uint8_t task_id[16], sq_db_on_task_object on, void *ctx)
{
    return each_port(db, "WHERE task_id = ?1 ORDER BY port", ARGS(A_ID(task_id)), on, ctx);
}

sq_err sq_db_job_objects(struct sq_db *db, const char *job_id, sq_db_on_object on, void *ctx)
{
    return each_object(db,
                       "WHERE id IN (SELECT object_id FROM task_object WHERE task_id IN (SELECT id FROM task WHERE job_id = ?1))"
                       " ORDER BY id",
                       ARGS(A_TEXT(job_id)), on, ctx);
}

_Static_assert(SQ_DB_object_kind_panel == 12 && SQ_DB_object_state_erasing == 3, "in SQL");
#define ERASABLE_OF_JOB                                                                                                \
    " kind <> 12 AND id IN (SELECT object_id FROM task_object WHERE task_id IN (SELECT id FROM task WHERE job_id = ?1)" \
    " UNION SELECT object_id FROM upload WHERE id = (SELECT upload_id FROM job WHERE id = ?1)"                           \
    " UNION SELECT ids_object_id FROM upload WHERE id = (SELECT upload_id FROM job WHERE id = ?1)"                       \
    " UNION SELECT genotypes_object_id FROM upload WHERE id = (SELECT upload_id FROM job WHERE id = ?1))"

sq_err sq_db_job_receipts(struct sq_db *db, const char *job_id, const uint8_t *after, int limit, sq_db_on_object on, void *ctx)
{
    return each_object(db, "WHERE receipt IS NOT NULL AND id > ifnull(?2, x'') AND" ERASABLE_OF_JOB " ORDER BY id LIMIT ?3",
                       ARGS(A_TEXT(job_id), A_BYTES(after, 16), A_NO(sq_db_limit(limit))), on, ctx);
}

sq_err sq_db_job_receipt_count(struct sq_db *db, const char *job_id, int64_t *out_n, int64_t *out_n_missing, int64_t *out_n_erasing)
{
    const struct sq_arg *args = ARGS(A_TEXT(job_id));
    sq_err e = sq_db_no(db, "SELECT count(*) FROM object WHERE receipt IS NOT NULL AND" ERASABLE_OF_JOB, args, out_n);
    if (!e)
        e = sq_db_no(db, "SELECT count(*) FROM object WHERE receipt IS NULL AND" ERASABLE_OF_JOB, args, out_n_missing);
    return e ? e : sq_db_no(db, "SELECT count(*) FROM object WHERE state = 3 AND" ERASABLE_OF_JOB, args, out_n_erasing);
}
