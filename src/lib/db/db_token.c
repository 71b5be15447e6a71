#include "lib/db/db_internal.h"

/* What an account signs in with and by: sessions and API tokens, second factors, mailed links, known addresses. */

static const struct sq_column token_columns[] = {
    SQ_COLUMN(sq_db_token, jti, ID),
    SQ_COLUMN(sq_db_token, user_id, ID),
    SQ_COLUMN(sq_db_token, kind, INT),
    SQ_COLUMN(sq_db_token, issued_s, I64),
    SQ_COLUMN(sq_db_token, expires_s, I64),
    SQ_COLUMN(sq_db_token, used_s, I64),
    SQ_COLUMN(sq_db_token, factor_s, I64_OR_NULL),
    SQ_COLUMN(sq_db_token, revoked_s, I64_OR_NULL),
    SQ_COLUMN(sq_db_token, scopes, INT),
    SQ_COLUMN(sq_db_token, name_sealed, SEALED),
    SQ_COLUMN(sq_db_token, address_sealed, SEALED),
    SQ_COLUMN(sq_db_token, object_id, ID_OR_NULL),
    SQ_COLUMN(sq_db_token, failures, I64),
    SQ_COLUMN(sq_db_token, failed_s, I64_OR_NULL),
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

sq_err sq_db_token_list(struct sq_db *db, const uint8_t user_id[16], int kind, int64_t now_s, int limit, sq_db_on_token on, void *ctx)
{
    return each_token(db, "WHERE user_id = ?1 AND kind = ?2 AND revoked_s IS NULL AND expires_s > ?3 ORDER BY issued_s DESC, jti LIMIT ?4",
                      ARGS(A_ID(user_id), A_NO(kind), A_NO(now_s), A_NO(sq_db_limit(limit))), on, ctx);
}

/* told: there was such a notice since the token came so near to its end */
sq_err sq_db_tokens_ending(struct sq_db *db, int64_t now_s, int64_t ahead_s, int limit, sq_db_on_token on, void *ctx)
{
    return each_token(db, "WHERE kind = 2 AND revoked_s IS NULL AND expires_s > ?1 AND expires_s <= ?1 + ?2 AND expires_s - issued_s > 2 * ?2 AND NOT EXISTS "
                      "(SELECT 1 FROM notice WHERE notice.user_id = token.user_id AND notice.kind = 17 AND notice.created_s >= token.expires_s - ?2) ORDER BY expires_s LIMIT ?3",
                      ARGS(A_NO(now_s), A_NO(ahead_s), A_NO(sq_db_limit(limit))), on, ctx);
}
_Static_assert(SQ_DB_token_kind_api == 2 && SQ_DB_notice_kind_token_ending == 17, "in SQL");

sq_err sq_db_token_next_end(struct sq_db *db, const uint8_t user_id[16], int64_t now_s, int64_t *out_s)
{
    return sq_db_no(db, "SELECT ifnull(min(expires_s), 0) FROM token WHERE user_id = ?1 AND kind = 2 AND revoked_s IS NULL AND expires_s > ?2", ARGS(A_ID(user_id), A_NO(now_s)), out_s);
}

sq_err sq_db_token_last_end(struct sq_db *db, int64_t *out_s)
{
    return sq_db_no(db, "SELECT ifnull(max(expires_s), 0) FROM token WHERE kind IN (1, 2) AND revoked_s IS NULL", NO_ARGS, out_s);
}

sq_err sq_db_token_all(struct sq_db *db, const uint8_t *after, int limit, sq_db_on_token on, void *ctx)
{
    return each_token(db, "WHERE jti > ifnull(?1, x'') ORDER BY jti LIMIT ?2", ARGS(A_BYTES(after, 16), A_NO(sq_db_limit(limit))), on, ctx);
}

sq_err sq_db_token_used(struct sq_db *db, const uint8_t jti[16], int64_t now_s)
{
    return sq_db_run_one(db, "UPDATE token SET used_s = max(used_s, ?2) WHERE jti = ?1", ARGS(A_ID(jti), A_NO(now_s)));
}

sq_err sq_db_token_failed(struct sq_db *db, const uint8_t jti[16], int64_t now_s)
{
    return sq_db_run_one(db, "UPDATE token SET failures = failures + 1, failed_s = ?2 WHERE jti = ?1", ARGS(A_ID(jti), A_NO(now_s)));
}

sq_err sq_db_token_succeeded(struct sq_db *db, const uint8_t jti[16])
{
    return sq_db_run_one(db, "UPDATE token SET failures = 0, failed_s = NULL WHERE jti = ?1", ARGS(A_ID(jti)));
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

sq_err sq_db_token_revoke_sessions(struct sq_db *db, const uint8_t user_id[16], const uint8_t but_jti[16], int64_t now_s, int64_t *out_n)
{
    return sq_db_run(db, "UPDATE token SET revoked_s = ?3 WHERE user_id = ?1 AND jti <> ?2 AND kind IN (1, 3) AND revoked_s IS NULL",
                     ARGS(A_ID(user_id), A_ID(but_jti), A_NO(now_s)), out_n);
}

sq_err sq_db_token_revoke_api(struct sq_db *db, const uint8_t user_id[16], int64_t now_s, int64_t *out_n)
{
    return sq_db_run(db, "UPDATE token SET revoked_s = ?2 WHERE user_id = ?1 AND kind = 2 AND revoked_s IS NULL", ARGS(A_ID(user_id), A_NO(now_s)), out_n);
}

sq_err sq_db_token_revoke_downloads(struct sq_db *db, const uint8_t user_id[16], int64_t now_s, int64_t *out_n)
{
    return sq_db_run(db, "UPDATE token SET revoked_s = ?2 WHERE user_id = ?1 AND kind = 3 AND revoked_s IS NULL", ARGS(A_ID(user_id), A_NO(now_s)), out_n);
}
_Static_assert(SQ_DB_token_kind_session == 1 && SQ_DB_token_kind_api == 2 && SQ_DB_token_kind_download == 3, "in SQL");

sq_err sq_db_token_delete_expired(struct sq_db *db, int64_t now_s, int64_t *out_n)
{
    return sq_db_run(db, "DELETE FROM token WHERE expires_s <= ?1", ARGS(A_NO(now_s)), out_n);
}

sq_err sq_db_token_count(struct sq_db *db, const uint8_t *user_id, int kind, int64_t now_s, int64_t *out_n)
{
    if (user_id)
        return sq_db_no(db, "SELECT count(*) FROM token WHERE user_id = ?1 AND ?3 IN (0, kind) AND revoked_s IS NULL AND expires_s > ?2",
                        ARGS(A_ID(user_id), A_NO(now_s), A_NO(kind)), out_n);
    return sq_db_no(db, "SELECT count(*) FROM token WHERE ?2 IN (0, kind) AND revoked_s IS NULL AND expires_s > ?1", ARGS(A_NO(now_s), A_NO(kind)), out_n);
}

/* ---- second factors ---- */

static const struct sq_column factor_columns[] = {
    SQ_COLUMN(sq_db_factor, id, ID),
    SQ_COLUMN(sq_db_factor, user_id, ID),
    SQ_COLUMN(sq_db_factor, kind, INT),
    SQ_COLUMN(sq_db_factor, state, INT),
    SQ_COLUMN(sq_db_factor, secret_sealed, SEALED),
    SQ_COLUMN(sq_db_factor, name_sealed, SEALED),
    SQ_COLUMN(sq_db_factor, credential, SEALED),
    SQ_COLUMN(sq_db_factor, counter, I64),
    SQ_COLUMN(sq_db_factor, created_s, I64),
    SQ_COLUMN(sq_db_factor, used_s, I64_OR_NULL),
};
static const struct sq_db_rows_of factors = SQ_ROWS_OF("factor", factor_columns, sq_db_factor);
SQ_DB_DEFINE_EACH(factor, &factors, sq_db_factor, sq_db_on_factor)
_Static_assert(SQ_DB_link_kind_factors == 3, "in SQL");
_Static_assert(SQ_DB_factor_state_begun == 1 && SQ_DB_factor_state_live == 2 && SQ_DB_factor_kind_recovery == 2, "in SQL");

sq_err sq_db_factor_insert(struct sq_db *db, const struct sq_db_factor *row)
{
    return sq_db_insert(db, &factors, false, row);
}

sq_err sq_db_factor_get(struct sq_db *db, const uint8_t id[16], struct sq_db_factor *out)
{
    return sq_db_get(db, &factors, "WHERE id = ?1", ARGS(A_ID(id)), out);
}

sq_err sq_db_factor_list(struct sq_db *db, const uint8_t user_id[16], int kind, int state, sq_db_on_factor on, void *ctx)
{
    return each_factor(db, "WHERE user_id = ?1 AND ?2 IN (0, kind) AND ?3 IN (0, state) ORDER BY created_s, id LIMIT 64",
                       ARGS(A_ID(user_id), A_NO(kind), A_NO(state)), on, ctx);
}

sq_err sq_db_factor_count(struct sq_db *db, const uint8_t user_id[16], int kind, int64_t *out_n)
{
    return sq_db_no(db, "SELECT count(*) FROM factor WHERE user_id = ?1 AND state = 2 AND (kind = ?2 OR (?2 = 0 AND kind <> 2))",
                    ARGS(A_ID(user_id), A_NO(kind)), out_n);
}

sq_err sq_db_factor_all(struct sq_db *db, const uint8_t *after, int limit, sq_db_on_factor on, void *ctx)
{
    return each_factor(db, "WHERE id > ifnull(?1, x'') ORDER BY id LIMIT ?2", ARGS(A_BYTES(after, 16), A_NO(sq_db_limit(limit))), on, ctx);
}

sq_err sq_db_factor_live(struct sq_db *db, const uint8_t id[16], int64_t counter, int64_t now_s)
{
    sq_err e = sq_db_run_one(db, "UPDATE factor SET state = 2, counter = ?2, used_s = ?3 WHERE id = ?1 AND state = 1",
                             ARGS(A_ID(id), A_NO(counter), A_NO(now_s)));
    return e == SQ_ENOTFOUND ? sq_fail(SQ_ECONFLICT) : e;
}

sq_err sq_db_factor_used(struct sq_db *db, const uint8_t id[16], int64_t counter, int64_t now_s)
{
    sq_err e = sq_db_run_one(db, "UPDATE factor SET counter = ?2, used_s = ?3 WHERE id = ?1 AND state = 2 AND counter < ?2",
                             ARGS(A_ID(id), A_NO(counter), A_NO(now_s)));
    return e == SQ_ENOTFOUND ? sq_fail(SQ_ECONFLICT) : e;
}

sq_err sq_db_factor_passkey_used(struct sq_db *db, const uint8_t id[16], int64_t counter, int64_t now_s)
{
    sq_err e = sq_db_run_one(db, "UPDATE factor SET counter = ?2, used_s = ?3 WHERE id = ?1 AND state = 2 AND (counter < ?2 OR (counter = 0 AND ?2 = 0))",
                             ARGS(A_ID(id), A_NO(counter), A_NO(now_s)));
    return e == SQ_ENOTFOUND ? sq_fail(SQ_ECONFLICT) : e;
}

sq_err sq_db_factor_by_credential(struct sq_db *db, const struct sq_db_sealed *credential, struct sq_db_factor *out)
{
    return sq_db_get(db, &factors, "WHERE credential = ?1", ARGS(A_BYTES(credential->p, credential->n)), out);
}

sq_err sq_db_factor_rename(struct sq_db *db, const uint8_t id[16], const struct sq_db_sealed *name)
{
    return sq_db_run_one(db, "UPDATE factor SET name_sealed = ?2 WHERE id = ?1", ARGS(A_ID(id), A_BYTES(name->p, name->n)));
}

sq_err sq_db_factor_delete(struct sq_db *db, const uint8_t id[16])
{
    return sq_db_run_one(db, "DELETE FROM factor WHERE id = ?1", ARGS(A_ID(id)));
}

sq_err sq_db_factor_delete_kind(struct sq_db *db, const uint8_t user_id[16], int kind, int64_t *out_n)
{
    return sq_db_run(db, "DELETE FROM factor WHERE user_id = ?1 AND ?2 IN (0, kind)", ARGS(A_ID(user_id), A_NO(kind)), out_n);
}

sq_err sq_db_factor_delete_begun(struct sq_db *db, int64_t before_s, int64_t *out_n)
{
    return sq_db_run(db, "DELETE FROM factor WHERE state = 1 AND created_s < ?1", ARGS(A_NO(before_s)), out_n);
}

/* ---- links ---- */

static const struct sq_column link_columns[] = {
    SQ_COLUMN(sq_db_link, id, ID),
    SQ_COLUMN(sq_db_link, user_id, ID),
    SQ_COLUMN(sq_db_link, kind, INT),
    SQ_COLUMN(sq_db_link, sealed, SEALED),
    SQ_COLUMN_32_IF(sq_db_link, mail_hmac, has_mail_hmac),
    SQ_COLUMN(sq_db_link, mail_sealed, SEALED),
    SQ_COLUMN(sq_db_link, created_s, I64),
    SQ_COLUMN(sq_db_link, expires_s, I64),
};
static const struct sq_db_rows_of links = SQ_ROWS_OF("link", link_columns, sq_db_link);

sq_err sq_db_link_insert(struct sq_db *db, const struct sq_db_link *row)
{
    sq_err e = sq_db_run(db, "DELETE FROM link WHERE user_id = ?1 AND kind = ?2", ARGS(A_ID(row->user_id), A_NO(row->kind)), NULL);
    return e ? e : sq_db_insert(db, &links, false, row);
}

sq_err sq_db_link_get(struct sq_db *db, const uint8_t id[16], struct sq_db_link *out)
{
    return sq_db_get(db, &links, "WHERE id = ?1", ARGS(A_ID(id)), out);
}

sq_err sq_db_link_of(struct sq_db *db, const uint8_t user_id[16], int kind, struct sq_db_link *out)
{
    return sq_db_get(db, &links, "WHERE user_id = ?1 AND kind = ?2", ARGS(A_ID(user_id), A_NO(kind)), out);
}

sq_err sq_db_link_count(struct sq_db *db, const uint8_t user_id[16], int kind, int64_t *out_n)
{
    return sq_db_no(db, "SELECT count(*) FROM link WHERE user_id = ?1 AND kind = ?2", ARGS(A_ID(user_id), A_NO(kind)), out_n);
}

sq_err sq_db_link_delete(struct sq_db *db, const uint8_t id[16])
{
    return sq_db_run_one(db, "DELETE FROM link WHERE id = ?1", ARGS(A_ID(id)));
}

sq_err sq_db_link_delete_of(struct sq_db *db, const uint8_t user_id[16])
{
    return sq_db_run(db, "DELETE FROM link WHERE user_id = ?1 AND kind <> 3", ARGS(A_ID(user_id)), NULL);
}

sq_err sq_db_link_delete_expired(struct sq_db *db, int64_t now_s, int64_t *out_n)
{
    return sq_db_run(db, "DELETE FROM link WHERE expires_s <= ?1", ARGS(A_NO(now_s)), out_n);
}

/* ---- known addresses ---- */

static const struct sq_column seen_columns[] = {
    SQ_COLUMN(sq_db_seen, user_id, ID),
    SQ_COLUMN(sq_db_seen, address_hmac, 32),
    SQ_COLUMN(sq_db_seen, last_s, I64),
    SQ_COLUMN(sq_db_seen, failures, I64),
    SQ_COLUMN(sq_db_seen, last_failure_s, I64_OR_NULL),
};
static const struct sq_db_rows_of seens = SQ_ROWS_OF("seen", seen_columns, sq_db_seen);

sq_err sq_db_seen_get(struct sq_db *db, const uint8_t user_id[16], const uint8_t address_hmac[32], struct sq_db_seen *out)
{
    return sq_db_get(db, &seens, "WHERE user_id = ?1 AND address_hmac = ?2", ARGS(A_ID(user_id), A_BYTES(address_hmac, 32)), out);
}

sq_err sq_db_seen_put(struct sq_db *db, const uint8_t user_id[16], const uint8_t address_hmac[32], int64_t now_s)
{
    struct sq_db_seen row = {.last_s = now_s};
    memcpy(row.user_id, user_id, sizeof row.user_id);
    memcpy(row.address_hmac, address_hmac, sizeof row.address_hmac);
    return sq_db_insert(db, &seens, true, &row);
}

sq_err sq_db_seen_failed(struct sq_db *db, const uint8_t user_id[16], const uint8_t address_hmac[32], int64_t now_s, int64_t *out_failures)
{
    return sq_db_no(db, "UPDATE seen SET failures = failures + 1, last_failure_s = ?3 WHERE user_id = ?1 AND address_hmac = ?2 RETURNING failures",
                    ARGS(A_ID(user_id), A_BYTES(address_hmac, 32), A_NO(now_s)), out_failures);
}

sq_err sq_db_seen_count(struct sq_db *db, const uint8_t user_id[16], int64_t *out_n)
{
    return sq_db_no(db, "SELECT count(*) FROM seen WHERE user_id = ?1", ARGS(A_ID(user_id)), out_n);
}

sq_err sq_db_seen_delete_old(struct sq_db *db, int64_t before_s, int64_t *out_n)
{
    return sq_db_run(db, "DELETE FROM seen WHERE last_s < ?1", ARGS(A_NO(before_s)), out_n);
}
