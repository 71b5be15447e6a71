#include "lib/db/db_internal.h"

/* Accounts and their tokens. */

static const struct sq_column user_columns[] = {
    SQ_COLUMN(sq_db_user, id, ID),
    SQ_COLUMN(sq_db_user, role, INT),
    SQ_COLUMN(sq_db_user, name_hmac, 32),
    SQ_COLUMN(sq_db_user, name_sealed, SEALED),
    SQ_COLUMN(sq_db_user, password_sealed, SEALED),
    SQ_COLUMN(sq_db_user, epoch, I64),
    SQ_COLUMN(sq_db_user, created_s, I64),
    SQ_COLUMN_AS(sq_db_user, is_disabled, "disabled", BOOL),
    SQ_COLUMN(sq_db_user, failures, I64),
    SQ_COLUMN(sq_db_user, last_failure_s, I64_OR_NULL),
    SQ_COLUMN(sq_db_user, mail_sealed, SEALED),
    SQ_COLUMN_AS(sq_db_user, is_notified, "notify", BOOL),
};
static const struct sq_db_rows_of users = SQ_ROWS_OF("user", user_columns, sq_db_user);
SQ_DB_DEFINE_EACH(user, &users, sq_db_user, sq_db_on_user)

sq_err sq_db_user_insert(struct sq_db *db, const struct sq_db_user *row)
{
    return sq_db_insert(db, &users, false, row);
}

sq_err sq_db_user_get(struct sq_db *db, const uint8_t id[16], struct sq_db_user *out)
{
    return sq_db_get(db, &users, "WHERE id = ?1", ARGS(A_ID(id)), out);
}

sq_err sq_db_user_by_name(struct sq_db *db, const uint8_t name_hmac[32], struct sq_db_user *out)
{
    return sq_db_get(db, &users, "WHERE name_hmac = ?1", ARGS(A_BYTES(name_hmac, 32)), out);
}

sq_err sq_db_user_list(struct sq_db *db, const uint8_t *after, int limit, sq_db_on_user on, void *ctx)
{
    return each_user(db, "WHERE id > ifnull(?1, x'') ORDER BY id LIMIT ?2",
                     ARGS(A_BYTES(after, 16), A_NO(sq_db_limit(limit))), on, ctx);
}

sq_err sq_db_user_count(struct sq_db *db, int role, int64_t *out_n)
{
    return sq_db_no(db, "SELECT count(*) FROM user WHERE ?1 IN (0, role)", ARGS(A_NO(role)), out_n);
}

sq_err sq_db_user_set_password(struct sq_db *db, const uint8_t id[16], const struct sq_db_sealed *password)
{
    if (password->n > sizeof password->p)
        return sq_fail(SQ_ERANGE);
    return sq_db_run_one(db, "UPDATE user SET password_sealed = ?2 WHERE id = ?1",
                         ARGS(A_ID(id), A_BYTES(password->n ? password->p : NULL, password->n)));
}

sq_err sq_db_user_set_mail(struct sq_db *db, const uint8_t id[16], const struct sq_db_sealed *mail, bool is_notified)
{
    if (mail->n > sizeof mail->p)
        return sq_fail(SQ_ERANGE);
    return sq_db_run_one(db, "UPDATE user SET mail_sealed = ?2, notify = ?3 WHERE id = ?1",
                         ARGS(A_ID(id), A_BYTES(mail->n ? mail->p : NULL, mail->n), A_NO(is_notified)));
}

sq_err sq_db_user_set_disabled(struct sq_db *db, const uint8_t id[16], bool is_disabled)
{
    return sq_db_run_one(db, "UPDATE user SET disabled = ?2 WHERE id = ?1", ARGS(A_ID(id), A_NO(is_disabled)));
}

sq_err sq_db_user_next_epoch(struct sq_db *db, const uint8_t id[16], int64_t *out_epoch)
{
    return sq_db_no(db, "UPDATE user SET epoch = epoch + 1 WHERE id = ?1 RETURNING epoch", ARGS(A_ID(id)), out_epoch);
}

sq_err sq_db_user_failed(struct sq_db *db, const uint8_t id[16], int64_t now_s, int64_t *out_failures)
{
    return sq_db_no(db, "UPDATE user SET failures = failures + 1, last_failure_s = ?2 WHERE id = ?1 RETURNING failures",
                    ARGS(A_ID(id), A_NO(now_s)), out_failures);
}

sq_err sq_db_user_succeeded(struct sq_db *db, const uint8_t id[16])
{
    return sq_db_run_one(db, "UPDATE user SET failures = 0, last_failure_s = NULL WHERE id = ?1", ARGS(A_ID(id)));
}

sq_err sq_db_user_delete(struct sq_db *db, const uint8_t id[16])
{
    int64_t n = 0;
    sq_err e = sq_db_no(db,
                        "SELECT (SELECT count(*) FROM object WHERE owner_id = ?1 AND state <> 4)"
                        " + (SELECT count(*) FROM upload WHERE owner_id = ?1 AND state <> 5)"
                        " + (SELECT count(*) FROM job WHERE owner_id = ?1 AND state <> 9)",
                        ARGS(A_ID(id)), &n);
    if (!e && n)
        e = sq_fail(SQ_ECONFLICT);
    return e ? e : sq_db_run_one(db, "DELETE FROM user WHERE id = ?1", ARGS(A_ID(id)));
}
_Static_assert(SQ_DB_object_state_erased == 4 && SQ_DB_upload_state_erased == 5 && SQ_DB_job_state_erased == 9, "in SQL above");

/* ---- tokens ---- */

static const struct sq_column token_columns[] = {
    SQ_COLUMN(sq_db_token, jti, ID),
    SQ_COLUMN(sq_db_token, user_id, ID),
    SQ_COLUMN(sq_db_token, issued_s, I64),
    SQ_COLUMN(sq_db_token, expires_s, I64),
    SQ_COLUMN(sq_db_token, revoked_s, I64_OR_NULL),
    SQ_COLUMN(sq_db_token, name_sealed, SEALED),
};
static const struct sq_db_rows_of tokens = SQ_ROWS_OF("token", token_columns, sq_db_token);
SQ_DB_DEFINE_EACH(token, &tokens, sq_db_token, sq_db_on_token)

sq_err sq_db_token_insert(struct sq_db *db, const struct sq_db_token *row)
{
    return sq_db_insert(db, &tokens, false, row);
}

sq_err sq_db_token_get(struct sq_db *db, const uint8_t jti[16], struct sq_db_token *out)
{
    return sq_db_get(db, &tokens, "WHERE jti = ?1", ARGS(A_ID(jti)), out);
}

sq_err sq_db_token_list(struct sq_db *db, const uint8_t user_id[16], int limit, sq_db_on_token on, void *ctx)
{
    return each_token(db, "WHERE user_id = ?1 ORDER BY issued_s DESC, jti LIMIT ?2",
                      ARGS(A_ID(user_id), A_NO(sq_db_limit(limit))), on, ctx);
}

sq_err sq_db_token_revoke(struct sq_db *db, const uint8_t jti[16], int64_t now_s)
{
    return sq_db_run_one(db, "UPDATE token SET revoked_s = ifnull(revoked_s, ?2) WHERE jti = ?1", ARGS(A_ID(jti), A_NO(now_s)));
}

sq_err sq_db_token_revoke_all(struct sq_db *db, const uint8_t *user_id, int64_t now_s, int64_t *out_n)
{
    if (user_id)
        return sq_db_run(db, "UPDATE token SET revoked_s = ?2 WHERE user_id = ?1 AND revoked_s IS NULL",
                         ARGS(A_ID(user_id), A_NO(now_s)), out_n);
    return sq_db_run(db, "UPDATE token SET revoked_s = ?1 WHERE revoked_s IS NULL", ARGS(A_NO(now_s)), out_n);
}

sq_err sq_db_token_delete_expired(struct sq_db *db, int64_t now_s, int64_t *out_n)
{
    return sq_db_run(db, "DELETE FROM token WHERE expires_s <= ?1", ARGS(A_NO(now_s)), out_n);
}

sq_err sq_db_token_count(struct sq_db *db, const uint8_t *user_id, int64_t now_s, int64_t *out_n)
{
    if (user_id)
        return sq_db_no(db, "SELECT count(*) FROM token WHERE user_id = ?1 AND revoked_s IS NULL AND expires_s > ?2",
                        ARGS(A_ID(user_id), A_NO(now_s)), out_n);
    return sq_db_no(db, "SELECT count(*) FROM token WHERE revoked_s IS NULL AND expires_s > ?1", ARGS(A_NO(now_s)), out_n);
}
