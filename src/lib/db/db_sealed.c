#include "lib/db/db_internal.h"

/* Every column that keeper sealed under an owner's key and that lives for long, as one list: for sealing anew when the key was replaced. What lives a day at most
 * (the secrets of mailed links, mails on their way) and what keeper never opens (recovery codes are MACs) isn't here. */

static const struct sq_column sealed_columns[] = {
    SQ_COLUMN(sq_db_sealed_at, what, INT),
    SQ_COLUMN(sq_db_sealed_at, kind, INT),
    SQ_COLUMN(sq_db_sealed_at, key, TEXT),
    SQ_COLUMN(sq_db_sealed_at, owner_id, ID),
    SQ_COLUMN(sq_db_sealed_at, sealed, SEALED),
};
#define PART(what, kind, key, owner, column, table) "SELECT " what " AS what, " kind " AS kind, lower(hex(" key ")) AS key, " owner " AS owner_id, " column " AS sealed FROM " table " WHERE " column " IS NOT NULL"
#define FIELD "1" /* enum sq_db_sealed_kind */
static const struct sq_db_rows_of sealed = SQ_ROWS_OF(
    "(" PART("1", FIELD, "id", "id", "name_sealed", "user")
    " UNION ALL " PART("2", "2", "id", "id", "password_sealed", "user")
    " UNION ALL " PART("3", "3", "id", "id", "mail_sealed", "user")
    " UNION ALL " PART("4", FIELD, "jti", "user_id", "name_sealed", "token")
    " UNION ALL " PART("5", FIELD, "jti", "user_id", "address_sealed", "token")
    " UNION ALL " PART("6", FIELD, "id", "user_id", "name_sealed", "factor")
    " UNION ALL " PART("7", "CASE kind WHEN 1 THEN 4 ELSE 5 END", "id", "user_id", "secret_sealed", "factor") " AND kind IN (1, 3)"
    " UNION ALL " PART("8", FIELD, "id", "owner_id", "name_sealed", "upload")
    " UNION ALL " PART("9", FIELD, "id", "owner_id", "name_sealed", "job")
    " UNION ALL " PART("10", "3", "id", "user_id", "mail_sealed", "link") ")", sealed_columns, sq_db_sealed_at);
_Static_assert(SQ_DB_factor_kind_totp == 1 && SQ_DB_factor_kind_passkey == 3, "in SQL");
SQ_DB_DEFINE_EACH(sealed, &sealed, sq_db_sealed_at, sq_db_on_sealed)

sq_err sq_db_sealed_list(struct sq_db *db, int what, const char *after, int limit, sq_db_on_sealed on, void *ctx)
{
    return each_sealed(db, "WHERE what = ?1 AND key > ?2 ORDER BY key LIMIT ?3", ARGS(A_NO(what), A_TEXT(after), A_NO(sq_db_limit(limit))), on, ctx);
}

sq_err sq_db_sealed_set(struct sq_db *db, const struct sq_db_sealed_at *at, const struct sq_db_sealed *sealed_anew)
{
    static const char *const sql[] = {
        [1] = "UPDATE user SET name_sealed = ?3 WHERE id = ?1 AND name_sealed = ?2",
        [2] = "UPDATE user SET password_sealed = ?3 WHERE id = ?1 AND password_sealed = ?2",
        [3] = "UPDATE user SET mail_sealed = ?3 WHERE id = ?1 AND mail_sealed = ?2",
        [4] = "UPDATE token SET name_sealed = ?3 WHERE jti = ?1 AND name_sealed = ?2",
        [5] = "UPDATE token SET address_sealed = ?3 WHERE jti = ?1 AND address_sealed = ?2",
        [6] = "UPDATE factor SET name_sealed = ?3 WHERE id = ?1 AND name_sealed = ?2",
        [7] = "UPDATE factor SET secret_sealed = ?3 WHERE id = ?1 AND secret_sealed = ?2",
        [8] = "UPDATE upload SET name_sealed = ?3 WHERE id = ?1 AND name_sealed = ?2",
        [9] = "UPDATE job SET name_sealed = ?3 WHERE id = CAST(?1 AS TEXT) AND name_sealed = ?2",
        [10] = "UPDATE link SET mail_sealed = ?3 WHERE id = ?1 AND mail_sealed = ?2", /* it becomes the account's */
    };
    uint8_t bytes[sizeof at->key / 2];
    const uint8_t *key = bytes;
    const uint8_t *was = at->sealed.p, *is = sealed_anew->p;
    size_t n = strlen(at->key) / 2;
    if (at->what < 1 || at->what > SQ_DB_SEALED_WHATS || sq_hex_decode(at->key, 2 * n, bytes, n))
        return sq_fail(SQ_ERANGE);
    return sq_db_run(db, sql[at->what], ARGS(A_BYTES(key, n), A_BYTES(was, at->sealed.n), A_BYTES(is, sealed_anew->n)), NULL);
}
