#include "lib/db/db_internal.h"

/* The outbox between a commit and the audit log, where a person's entries stand in it, and small values. */

/* ---- outbox ---- */

sq_err sq_db_outbox_put(struct sq_db *db, uint64_t no, struct sq_span entry)
{
    if (no == 0 || no > INT64_MAX || entry.n == 0 || entry.n > SQ_DB_ENTRY_MAX_BYTES)
        return sq_fail(SQ_ERANGE);
    return sq_db_run(db, "INSERT INTO outbox (no, entry) VALUES (?1, ?2)", ARGS(A_NO(no), A_BYTES(entry.p, entry.n)), NULL);
}

struct outbox_row {
    int64_t no;
};
static const struct sq_column outbox_columns[] = {SQ_COLUMN(outbox_row, no, I64)};
static const struct sq_db_rows_of outbox = SQ_ROWS_OF("outbox", outbox_columns, outbox_row);

sq_err sq_db_outbox_peek(struct sq_db *db, int limit, sq_db_on_entry on, void *ctx)
{
    struct sq_db_rows rows;
    struct sq_buf entry;
    sq_buf_init(&entry, SQ_DB_ENTRY_MAX_BYTES);
    sq_err e = sq_db_rows(db, &outbox, "ORDER BY no LIMIT ?1", ARGS(A_NO(sq_db_limit(limit))), &rows);
    if (e)
        return e;
    for (size_t i = 0; !e && i < rows.n; i++) {
        int64_t no = ((const struct outbox_row *)(const void *)rows.p)[i].no;
        entry.n = 0;
        e = sq_db_bytes(db, "SELECT entry FROM outbox WHERE no = ?1", ARGS(A_NO(no)), &entry);
        if (!e)
            e = on(ctx, (uint64_t)no, sq_span_of(entry.p, entry.n));
    }
    sq_db_rows_done(&rows);
    sq_buf_done(&entry);
    return e;
}

sq_err sq_db_outbox_delete_upto(struct sq_db *db, uint64_t no)
{
    /* not durable by itself: what comes back after a crash is in the log by its number, and the next commit syncs this one too */
    sq_err e = sq_db_sync(db, false);
    if (!e)
        e = sq_db_run(db, "DELETE FROM outbox WHERE no <= ?1", ARGS(A_NO(no > INT64_MAX ? INT64_MAX : (int64_t)no)), NULL);
    sq_err full = sq_db_sync(db, true);
    sq_assert(!full); /* nothing may be acknowledged without it */
    return e;
}

sq_err sq_db_outbox_count(struct sq_db *db, int64_t *out_n)
{
    return sq_db_no(db, "SELECT count(*) FROM outbox", NO_ARGS, out_n);
}

sq_err sq_db_outbox_last(struct sq_db *db, uint64_t *out_no)
{
    int64_t no = 0;
    sq_err e = sq_db_no(db, "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'outbox'", NO_ARGS, &no);
    if (!e)
        *out_no = (uint64_t)no;
    return e;
}

/* ---- who touched what ---- */

sq_err sq_db_audit_ref_put(struct sq_db *db, uint64_t no, const uint8_t subject_id[16], const uint8_t object_id[16])
{
    if (no == 0 || no > INT64_MAX)
        return sq_fail(SQ_ERANGE);
    return sq_db_run(db, "INSERT INTO audit_ref (subject_id, no, object_id) VALUES (?1, ?2, ?3)",
                     ARGS(A_ID(subject_id), A_NO(no), sq_arg_id_or_null(object_id)), NULL);
}

struct ref_row {
    int64_t no;
};
static const struct sq_column ref_columns[] = {SQ_COLUMN(ref_row, no, I64)};
static const struct sq_db_rows_of refs = SQ_ROWS_OF("audit_ref", ref_columns, ref_row);

sq_err sq_db_audit_refs(struct sq_db *db, const uint8_t subject_id[16], const uint8_t *object_id, uint64_t before_no,
                        int limit, sq_db_on_audit_ref on, void *ctx)
{
    struct sq_db_rows rows;
    int64_t before = before_no && before_no < INT64_MAX ? (int64_t)before_no : INT64_MAX;
    const struct sq_arg *args = ARGS(A_ID(subject_id), A_BYTES(object_id, 16), A_NO(before), A_NO(sq_db_limit(limit)));
    sq_err e = object_id ? sq_db_rows(db, &refs, "WHERE subject_id = ?1 AND object_id = ?2 AND no < ?3 ORDER BY no DESC LIMIT ?4", args, &rows)
                         : sq_db_rows(db, &refs, "WHERE subject_id = ?1 AND ?2 IS NULL AND no < ?3 ORDER BY no DESC LIMIT ?4", args, &rows);
    if (e)
        return e;
    for (size_t i = 0; !e && i < rows.n; i++)
        e = on(ctx, (uint64_t)((const struct ref_row *)(const void *)rows.p)[i].no);
    sq_db_rows_done(&rows);
    return e;
}

sq_err sq_db_audit_refs_delete(struct sq_db *db, const uint8_t subject_id[16])
{
    return sq_db_run(db, "DELETE FROM audit_ref WHERE subject_id = ?1", ARGS(A_ID(subject_id)), NULL);
}

/* ---- small values ---- */

sq_err sq_db_meta_set(struct sq_db *db, const char *key, struct sq_span value)
{
    const uint8_t *p = value.n ? value.p : (const uint8_t *)""; /* an empty value isn't NULL */
    return sq_db_run(db, "INSERT INTO meta (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = ?2",
                     ARGS(A_TEXT(key), A_BYTES(p, value.n)), NULL);
}

sq_err sq_db_meta_get(struct sq_db *db, const char *key, struct sq_buf *out)
{
    return sq_db_bytes(db, "SELECT value FROM meta WHERE key = ?1", ARGS(A_TEXT(key)), out);
}

sq_err sq_db_meta_set_no(struct sq_db *db, const char *key, int64_t value)
{
    uint8_t b[8];
    sq_put_le64(b, (uint64_t)value);
    return sq_db_meta_set(db, key, sq_span_of(b, sizeof b));
}

sq_err sq_db_meta_get_no(struct sq_db *db, const char *key, int64_t *out)
{
    struct sq_buf b;
    sq_buf_init(&b, 4096);
    sq_err e = sq_db_meta_get(db, key, &b);
    if (!e && b.n != 8)
        e = sq_fail(SQ_ERANGE); /* set as bytes */
    if (!e)
        *out = (int64_t)sq_get_le64(b.p);
    sq_buf_done(&b);
    return e;
}

sq_err sq_db_meta_delete(struct sq_db *db, const char *key)
{
    return sq_db_run(db, "DELETE FROM meta WHERE key = ?1", ARGS(A_TEXT(key)), NULL);
}

sq_err sq_db_outbox_set_last(struct sq_db *db, uint64_t no)
{
    int64_t n = 0;
    sq_err e = sq_db_outbox_count(db, &n);
    if (!e && (n || no > INT64_MAX))
        e = sq_fail(SQ_ECONFLICT);
    if (!e)
        e = sq_db_run(db, "DELETE FROM sqlite_sequence WHERE name = 'outbox'", NO_ARGS, NULL);
    if (!e) /* their numbers are given again, perhaps to what is somebody else's */
        e = sq_db_run(db, "DELETE FROM audit_ref WHERE no > ?1", ARGS(A_NO(no)), NULL);
    return e ? e : sq_db_run(db, "INSERT INTO sqlite_sequence (name, seq) VALUES ('outbox', ?1)", ARGS(A_NO(no)), NULL);
}
