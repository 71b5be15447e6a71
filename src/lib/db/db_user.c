#include "lib/db/db_internal.h"

/* Accounts. */

static const struct sq_column user_columns[] = {
    SQ_COLUMN(sq_db_user, id, ID),
    SQ_COLUMN(sq_db_user, role, INT),
    SQ_COLUMN(sq_db_user, name_hmac, 32),
    SQ_COLUMN_32_IF(sq_db_user, mail_hmac, has_mail_hmac),
    SQ_COLUMN(sq_db_user, name_sealed, SEALED),
    SQ_COLUMN(sq_db_user, password_sealed, SEALED),
    SQ_COLUMN(sq_db_user, epoch, I64),
    SQ_COLUMN(sq_db_user, created_s, I64),
    SQ_COLUMN_AS(sq_db_user, is_disabled, "disabled", BOOL),
    SQ_COLUMN_AS(sq_db_user, is_pending, "pending", BOOL),
    SQ_COLUMN(sq_db_user, expires_s, I64_OR_NULL),
    SQ_COLUMN(sq_db_user, last_login_s, I64_OR_NULL),
    SQ_COLUMN(sq_db_user, failures, I64),
    SQ_COLUMN(sq_db_user, last_failure_s, I64_OR_NULL),
    SQ_COLUMN(sq_db_user, mail_sealed, SEALED),
    SQ_COLUMN_AS(sq_db_user, is_notified, "notify", BOOL),
    SQ_COLUMN(sq_db_user, workgroup_id, ID_OR_NULL),
    SQ_COLUMN(sq_db_user, networks, TEXT),
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

sq_err sq_db_user_by_mail(struct sq_db *db, const uint8_t mail_hmac[32], struct sq_db_user *out)
{
    return sq_db_get(db, &users, "WHERE mail_hmac = ?1", ARGS(A_BYTES(mail_hmac, 32)), out);
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

sq_err sq_db_user_count_able(struct sq_db *db, int role, int64_t now_s, int64_t *out_n)
{
    return sq_db_no(db, "SELECT count(*) FROM user WHERE role = ?1 AND disabled = 0 AND pending = 0 AND ifnull(expires_s, ?2 + 1) > ?2", ARGS(A_NO(role), A_NO(now_s)), out_n);
}

sq_err sq_db_user_count_proved(struct sq_db *db, int role, int64_t *out_n)
{
    return sq_db_no(db, "SELECT count(*) FROM user WHERE role = ?1 AND EXISTS (SELECT 1 FROM factor WHERE user_id = user.id AND state = 2 AND kind <> 2)", ARGS(A_NO(role)), out_n);
}

sq_err sq_db_user_set_role(struct sq_db *db, const uint8_t id[16], int role)
{
    return sq_db_run_one(db, "UPDATE user SET role = ?2 WHERE id = ?1", ARGS(A_ID(id), A_NO(role)));
}

sq_err sq_db_user_set_expires(struct sq_db *db, const uint8_t id[16], int64_t expires_s)
{
    return sq_db_run_one(db, "UPDATE user SET expires_s = ?2 WHERE id = ?1", ARGS(A_ID(id), A_NO_OR_NULL(expires_s)));
}

sq_err sq_db_user_set_networks(struct sq_db *db, const uint8_t id[16], const char *networks)
{
    return sq_db_run_one(db, "UPDATE user SET networks = ?2 WHERE id = ?1", ARGS(A_ID(id), A_TEXT(networks)));
}

sq_err sq_db_user_set_pending(struct sq_db *db, const uint8_t id[16], bool is_pending)
{
    return sq_db_run_one(db, "UPDATE user SET pending = ?2 WHERE id = ?1", ARGS(A_ID(id), A_NO(is_pending)));
}

sq_err sq_db_user_signed_in(struct sq_db *db, const uint8_t id[16], int64_t now_s)
{
    return sq_db_run_one(db, "UPDATE user SET last_login_s = ?2 WHERE id = ?1", ARGS(A_ID(id), A_NO(now_s)));
}

sq_err sq_db_user_let_go(struct sq_db *db, const uint8_t id[16], const uint8_t name_hmac[32])
{
    return sq_db_run_one(db, "UPDATE user SET name_hmac = ?2, mail_hmac = NULL, mail_sealed = NULL WHERE id = ?1 AND pending = 1 AND name_hmac = mail_hmac", ARGS(A_ID(id), A_BYTES(name_hmac, 32)));
}

sq_err sq_db_user_count_pending(struct sq_db *db, int64_t *out_n)
{
    return sq_db_no(db, "SELECT count(*) FROM user WHERE pending = 1", NO_ARGS, out_n);
}

sq_err sq_db_users_ending(struct sq_db *db, int64_t now_s, int64_t ahead_s, int limit, sq_db_on_user on, void *ctx)
{
    return each_user(db, "WHERE expires_s > ?1 AND expires_s <= ?1 + ?2 AND disabled = 0 AND NOT EXISTS "
                     "(SELECT 1 FROM notice WHERE notice.user_id = user.id AND notice.kind = 18 AND notice.created_s >= user.expires_s - ?2) ORDER BY expires_s LIMIT ?3",
                     ARGS(A_NO(now_s), A_NO(ahead_s), A_NO(sq_db_limit(limit))), on, ctx);
}
_Static_assert(SQ_DB_notice_kind_account_ending == 18, "in SQL");

sq_err sq_db_users_stale(struct sq_db *db, int64_t before_s, int limit, sq_db_on_user on, void *ctx)
{
    return each_user(db, "WHERE pending = 1 AND created_s < ?1 AND NOT EXISTS (SELECT 1 FROM link WHERE user_id = user.id) ORDER BY id LIMIT ?2", ARGS(A_NO(before_s), A_NO(sq_db_limit(limit))), on, ctx);
}

sq_err sq_db_user_set_password(struct sq_db *db, const uint8_t id[16], const struct sq_db_sealed *password)
{
    if (password->n > sizeof password->p)
        return sq_fail(SQ_ERANGE);
    return sq_db_run_one(db, "UPDATE user SET password_sealed = ?2 WHERE id = ?1",
                         ARGS(A_ID(id), A_BYTES(password->n ? password->p : NULL, password->n)));
}

sq_err sq_db_user_set_mail(struct sq_db *db, const uint8_t id[16], const struct sq_db_sealed *mail, const uint8_t *mail_hmac, bool is_notified)
{
    if (mail->n > sizeof mail->p)
        return sq_fail(SQ_ERANGE);
    return sq_db_run_one(db, "UPDATE user SET mail_sealed = ?2, notify = ?3, mail_hmac = ?4 WHERE id = ?1",
                         ARGS(A_ID(id), A_BYTES(mail->n ? mail->p : NULL, mail->n), A_NO(is_notified), A_BYTES(mail_hmac, 32)));
}

sq_err sq_db_user_set_disabled(struct sq_db *db, const uint8_t id[16], bool is_disabled)
{
    return sq_db_run_one(db, "UPDATE user SET disabled = ?2 WHERE id = ?1", ARGS(A_ID(id), A_NO(is_disabled)));
}

sq_err sq_db_user_next_epoch(struct sq_db *db, const uint8_t id[16], int64_t *out_epoch)
{
    return sq_db_no(db, "UPDATE user SET epoch = epoch + 1 WHERE id = ?1 RETURNING epoch", ARGS(A_ID(id)), out_epoch);
}

sq_err sq_db_users_next_epoch(struct sq_db *db)
{
    return sq_db_run(db, "UPDATE user SET epoch = epoch + 1", NO_ARGS, NULL);
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
