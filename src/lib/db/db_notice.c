#include "lib/db/db_internal.h"

/* Notices: an outbox towards users and the webhook. */

static const struct sq_column notice_columns[] = {
    SQ_COLUMN(sq_db_notice, no, I64_OR_NULL), /* NULL in an INSERT: the next number */
    SQ_COLUMN(sq_db_notice, id, ID),
    SQ_COLUMN(sq_db_notice, channel, INT),
    SQ_COLUMN(sq_db_notice, kind, INT),
    SQ_COLUMN(sq_db_notice, state, INT),
    SQ_COLUMN(sq_db_notice, user_id, ID),
    SQ_COLUMN(sq_db_notice, job_id, TEXT_OR_NULL),
    SQ_COLUMN(sq_db_notice, upload_id, ID_OR_NULL),
    SQ_COLUMN(sq_db_notice, link_id, ID_OR_NULL),
    SQ_COLUMN(sq_db_notice, mail_sealed, SEALED),
    SQ_COLUMN(sq_db_notice, tries, I64),
    SQ_COLUMN(sq_db_notice, next_s, I64),
    SQ_COLUMN(sq_db_notice, created_s, I64),
    SQ_COLUMN(sq_db_notice, ended_s, I64_OR_NULL),
    SQ_COLUMN(sq_db_notice, last_end, U32),
    SQ_COLUMN(sq_db_notice, last_code, U32),
};
static const struct sq_db_rows_of notices = SQ_ROWS_OF("notice", notice_columns, sq_db_notice);
SQ_DB_DEFINE_EACH(notice, &notices, sq_db_notice, sq_db_on_notice)

sq_err sq_db_notice_insert(struct sq_db *db, const struct sq_db_notice *row)
{
    return sq_db_insert(db, &notices, false, row);
}

sq_err sq_db_notice_next(struct sq_db *db, int channel, int64_t now_s, struct sq_db_notice *out)
{
    return sq_db_get(db, &notices, "WHERE state = 1 AND channel = ?1 AND next_s <= ?2 ORDER BY next_s, no LIMIT 1",
                     ARGS(A_NO(channel), A_NO(now_s)), out);
}

sq_err sq_db_notice_tried(struct sq_db *db, int64_t no, int state, int64_t tries, int64_t next_s, uint32_t end, uint32_t code, int64_t now_s)
{
    int64_t before = 0;
    sq_err e = sq_db_no(db, "SELECT state FROM notice WHERE no = ?1", ARGS(A_NO(no)), &before);
    if (!e && state != SQ_DB_notice_state_waiting)
        e = sq_db_move(SQ_DB_notice_state, (int)before, state);
    else if (!e && before != SQ_DB_notice_state_waiting)
        e = sq_fail(SQ_ECONFLICT);
    bool is_over = state != SQ_DB_notice_state_waiting;
    return e ? e : sq_db_run_one(db, "UPDATE notice SET state = ?2, tries = ?3, next_s = ?4, last_end = ?5, last_code = ?6, ended_s = ?7, mail_sealed = iif(?7 IS NULL, mail_sealed, NULL) WHERE no = ?1",
                                 ARGS(A_NO(no), A_NO(state), A_NO(tries), A_NO(next_s), A_NO(end), A_NO(code), A_NO_OR_NULL(is_over ? now_s : 0)));
}

sq_err sq_db_notice_of_user(struct sq_db *db, const uint8_t user_id[16], int limit, sq_db_on_notice on, void *ctx)
{
    return each_notice(db, "WHERE user_id = ?1 ORDER BY no DESC LIMIT ?2", ARGS(A_ID(user_id), A_NO(sq_db_limit(limit))), on, ctx);
}

sq_err sq_db_notice_count(struct sq_db *db, const uint8_t user_id[16], int kind, int64_t since_s, int64_t *out_n)
{
    return sq_db_no(db, "SELECT count(*) FROM notice WHERE user_id = ?1 AND kind = ?2 AND created_s >= ?3", ARGS(A_ID(user_id), A_NO(kind), A_NO(since_s)), out_n);
}

sq_err sq_db_notice_sum(struct sq_db *db, int channel, struct sq_db_notice_sum *out)
{
    struct sq_db_notice_sum s = {0};
    struct sq_db_notice last;
    const struct sq_arg *args = ARGS(A_NO(channel));
    sq_err e = sq_db_no(db, "SELECT count(*) FROM notice WHERE state = 1 AND channel = ?1", args, &s.n_waiting);
    if (!e)
        e = sq_db_no(db, "SELECT count(*) FROM notice WHERE state = 3 AND channel = ?1", args, &s.n_given_up);
    if (!e)
        e = sq_db_no(db, "SELECT min(created_s) FROM notice WHERE state = 1 AND channel = ?1 AND tries > 0", args, &s.oldest_s);
    sq_err found = e ? e : sq_db_get(db, &notices, "WHERE state IN (1, 3) AND channel = ?1 AND last_end > 1 ORDER BY state, no DESC LIMIT 1", args, &last);
    if (!found) {
        s.last_end = last.last_end;
        s.last_code = last.last_code;
    } else if (found != SQ_ENOTFOUND) {
        e = found;
    }
    if (!e)
        *out = s;
    return e;
}
_Static_assert(SQ_DB_notice_state_waiting == 1 && SQ_DB_notice_state_given_up == 3, "in SQL");

sq_err sq_db_notice_delete_ended(struct sq_db *db, int64_t before_s, int64_t *out_n)
{
    return sq_db_run(db, "DELETE FROM notice WHERE state <> 1 AND ended_s < ?1", ARGS(A_NO(before_s)), out_n);
}

sq_err sq_db_upload_n_job(struct sq_db *db, const uint8_t upload_id[16], int64_t *out_n)
{
    return sq_db_no(db, "SELECT count(*) FROM job WHERE upload_id = ?1", ARGS(A_ID(upload_id)), out_n);
}
