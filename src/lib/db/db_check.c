#include "lib/db/db_internal.h"

/* Rows that contradict each other: what `sequester admin check` asks. States are numbers of states.def. */

struct doubt_row {
    uint8_t id[SQ_DB_ID_BYTES];
    char job_id[SQ_DB_JOB_ID_BYTES];
};

static const struct sq_column object_columns[] = {SQ_COLUMN(doubt_row, id, ID)};
static const struct sq_column job_columns[] = {SQ_COLUMN_AS(doubt_row, job_id, "id", TEXT)};
static const struct sq_column token_columns[] = {SQ_COLUMN_AS(doubt_row, id, "jti", ID)};
static const struct sq_db_rows_of tokens = SQ_ROWS_OF("token", token_columns, doubt_row);
static const struct sq_db_rows_of factors = SQ_ROWS_OF("factor", object_columns, doubt_row);
static const struct sq_db_rows_of objects = SQ_ROWS_OF("object", object_columns, doubt_row);
static const struct sq_db_rows_of uploads = SQ_ROWS_OF("upload", object_columns, doubt_row);
static const struct sq_db_rows_of tasks = SQ_ROWS_OF("task", object_columns, doubt_row);
static const struct sq_db_rows_of jobs = SQ_ROWS_OF("job", job_columns, doubt_row);

_Static_assert(SQ_DB_object_state_live == 2 && SQ_DB_object_state_erasing == 3 && SQ_DB_object_state_erased == 4, "in SQL");
_Static_assert(SQ_DB_job_state_checking == 2 && SQ_DB_job_state_sealing == 4 && SQ_DB_job_state_done == 5 && SQ_DB_job_state_failed == 6 &&
               SQ_DB_job_state_cancelled == 7 && SQ_DB_job_state_erasing == 8 && SQ_DB_job_state_erased == 9, "in SQL");
_Static_assert(SQ_DB_upload_state_checking == 2 && SQ_DB_upload_state_failed == 4 && SQ_DB_upload_state_erased == 5, "in SQL");
_Static_assert(SQ_DB_task_state_ready == 1 && SQ_DB_task_state_running == 2 && SQ_DB_claim_state_confirmed == 3, "in SQL");
_Static_assert(SQ_DB_object_kind_panel == 12 && SQ_DB_factor_kind_recovery == 2 && SQ_DB_factor_kind_passkey == 3 && SQ_DB_factor_state_live == 2, "in SQL");

static const struct {
    enum sq_db_doubt doubt;
    const struct sq_db_rows_of *table;
    const char *tail;
} doubts[] = {
    {SQ_DB_DOUBT_object_unnamed, &objects,
     "WHERE state = 2 AND kind <> 12"
     " AND NOT EXISTS (SELECT 1 FROM upload WHERE object_id = object.id)"
     " AND NOT EXISTS (SELECT 1 FROM upload WHERE ids_object_id = object.id)"
     " AND NOT EXISTS (SELECT 1 FROM upload WHERE genotypes_object_id = object.id)"
     " AND NOT EXISTS (SELECT 1 FROM job WHERE package_object_id = object.id)"
     " AND NOT EXISTS (SELECT 1 FROM job WHERE report_object_id = object.id)"
     " AND NOT EXISTS (SELECT 1 FROM task_object WHERE object_id = object.id)"
     " AND NOT EXISTS (SELECT 1 FROM result_part WHERE object_id = object.id) LIMIT ?1"},
    {SQ_DB_DOUBT_job_data_left, &objects,
     "WHERE state NOT IN (3, 4) AND kind <> 12 AND (EXISTS (SELECT 1 FROM task_object o JOIN task t ON t.id = o.task_id"
     " JOIN job j ON j.id = t.job_id WHERE o.object_id = object.id AND j.state = 9)"
     " OR EXISTS (SELECT 1 FROM job WHERE state = 9 AND (package_object_id = object.id OR report_object_id = object.id))) LIMIT ?1"},
    {SQ_DB_DOUBT_upload_data_left, &objects,
     "WHERE state NOT IN (3, 4) AND EXISTS (SELECT 1 FROM upload WHERE state = 5 AND"
     " (object_id = object.id OR ids_object_id = object.id OR genotypes_object_id = object.id)) LIMIT ?1"},
    {SQ_DB_DOUBT_job_idle, &jobs,
     "WHERE state BETWEEN 2 AND 4 AND NOT EXISTS (SELECT 1 FROM task WHERE job_id = job.id AND state IN (1, 2)) LIMIT ?1"},
    {SQ_DB_DOUBT_upload_idle, &uploads,
     "WHERE state = 2 AND NOT EXISTS (SELECT 1 FROM task WHERE upload_id = upload.id AND state IN (1, 2)) LIMIT ?1"},
    {SQ_DB_DOUBT_task_stale, &tasks,
     "WHERE state IN (1, 2) AND stage < 200 AND (EXISTS (SELECT 1 FROM job WHERE id = task.job_id AND state IN (5, 6, 7, 8, 9))"
     " OR EXISTS (SELECT 1 FROM upload WHERE id = task.upload_id AND state IN (3, 4, 5))) LIMIT ?1"},
    {SQ_DB_DOUBT_token_of_disabled, &tokens, "WHERE revoked_s IS NULL AND EXISTS (SELECT 1 FROM user WHERE id = token.user_id AND disabled = 1) LIMIT ?1"},
    {SQ_DB_DOUBT_recovery_alone, &factors,
     "WHERE kind = 2 AND NOT EXISTS (SELECT 1 FROM factor f WHERE f.user_id = factor.user_id AND f.kind <> 2 AND f.state = 2) LIMIT ?1"},
    {SQ_DB_DOUBT_passkey_broken, &factors, "WHERE (kind = 3) <> (credential IS NOT NULL) OR (kind = 3 AND state <> 2) LIMIT ?1"},
    {SQ_DB_DOUBT_result_lost, &jobs,
     "WHERE state = 5 AND claim_state <> 3 AND EXISTS (SELECT 1 FROM result_part p JOIN object o ON o.id = p.object_id"
     " WHERE p.job_id = job.id AND o.state <> 2) LIMIT ?1"},
};

sq_err sq_db_doubts(struct sq_db *db, int limit, sq_db_on_doubt on, void *ctx)
{
    sq_err e = SQ_OK;
    for (size_t i = 0; i < sizeof doubts / sizeof *doubts && !e; i++) {
        struct sq_db_rows rows;
        e = sq_db_rows(db, doubts[i].table, doubts[i].tail, ARGS(A_NO(sq_db_limit(limit))), &rows);
        if (e)
            break;
        for (size_t k = 0; k < rows.n && !e; k++) {
            const struct doubt_row *row = (const struct doubt_row *)(const void *)(rows.p + k * sizeof *row);
            e = on(ctx, doubts[i].doubt, row->id, row->job_id);
        }
        sq_db_rows_done(&rows);
    }
    return e;
}
