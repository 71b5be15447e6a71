#include "lib/db/db_internal.h"

#include <stdlib.h>

/* Statements are prepared once and found again by the address of their literal: a handful of pointers compared, no
 * hashing of SQL text. */

sq_err sq_db_error(struct sq_db *db, int rc)
{
    (void)db;
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW:
        return SQ_OK;
    case SQLITE_FULL:
        return sq_fail(SQ_EFULL);
    case SQLITE_NOMEM:
        return sq_fail(SQ_ENOMEM);
    case SQLITE_TOOBIG:
        return sq_fail(SQ_ERANGE);
    case SQLITE_CONSTRAINT:
        if (rc == SQLITE_CONSTRAINT_PRIMARYKEY || rc == SQLITE_CONSTRAINT_UNIQUE || rc == SQLITE_CONSTRAINT_ROWID)
            return sq_fail(SQ_EEXISTS);
        return sq_fail(rc == SQLITE_CONSTRAINT_FOREIGNKEY ? SQ_ECONFLICT : SQ_ERANGE);
    default:
        return sq_fail(SQ_EIO);
    }
}

static sq_err build_sql(const struct sq_db_rows_of *t, const char *tail, struct sq_buf *out)
{
    bool is_insert = strncmp(tail, "INSERT", 6) == 0;
    sq_err e = is_insert ? sq_buf_addf(out, "%s INTO %s (", tail, t->name) : sq_buf_addf(out, "SELECT ");
    size_t n = 0;
    for (size_t i = 0; !e && i < t->n_column; i++) {
        const struct sq_column *c = &t->column[i];
        if (is_insert && c->type == SQ_COL_IS_THERE)
            continue;
        e = sq_buf_addf(out, "%s%s", n ? "," : "", c->name);
        n++;
    }
    if (!e && is_insert) {
        e = sq_buf_addf(out, ") VALUES (");
        for (size_t i = 0; !e && i < n; i++)
            e = sq_buf_addf(out, i ? ",?" : "?");
        if (!e)
            e = sq_buf_addf(out, ")");
    } else if (!e) {
        e = sq_buf_addf(out, " FROM %s %s", t->name, tail);
    }
    return e;
}

static sq_err prepare(struct sq_db *db, const struct sq_db_rows_of *t, const char *tail, sqlite3_stmt **out)
{
    size_t slot = 0;
    for (; slot < SQ_DB_MAX_STMTS && db->stmts[slot].stmt; slot++) {
        if (db->stmts[slot].table == t && db->stmts[slot].tail == tail) {
            *out = db->stmts[slot].stmt;
            return SQ_OK;
        }
    }
    sq_assert(slot < SQ_DB_MAX_STMTS); /* more statements in this room than SQ_DB_MAX_STMTS: raise it */
    struct sq_buf text;
    sqlite3_stmt *stmt = NULL;
    sq_buf_init(&text, 0);
    sq_err e = t ? build_sql(t, tail, &text) : sq_buf_addf(&text, "%s", tail);
    if (!e)
        e = sq_db_error(db, sqlite3_prepare_v3(db->sql, (const char *)text.p, (int)text.n, SQLITE_PREPARE_PERSISTENT, &stmt, NULL));
    sq_buf_done(&text);
    if (e)
        return e;
    db->stmts[slot] = (struct sq_db_stmt){t, tail, stmt};
    *out = stmt;
    return SQ_OK;
}

/* A finished statement gives up its lock and forgets what was bound. */
static sq_err finish(struct sq_db *db, sqlite3_stmt *stmt, int rc)
{
    sq_err e = sq_db_error(db, rc);
    sqlite3_reset(stmt);
    sqlite3_clear_bindings(stmt);
    return e;
}

/* ---- arguments ---- */

static bool is_zero_id(const uint8_t *id)
{
    static const uint8_t zero[SQ_DB_ID_BYTES];
    return memcmp(id, zero, sizeof zero) == 0;
}

struct sq_arg sq_arg_id_or_null(const uint8_t *id)
{
    if (!id || is_zero_id(id))
        return (struct sq_arg){.type = SQ_ARG_NULL};
    return A_ID(id);
}

static int bind(sqlite3_stmt *stmt, int at, const struct sq_arg *a)
{
    switch (a->type) {
    case SQ_ARG_NO:
        return sqlite3_bind_int64(stmt, at, a->no);
    case SQ_ARG_BYTES:
        return sqlite3_bind_blob64(stmt, at, a->n ? a->p : "", a->n, SQLITE_STATIC);
    case SQ_ARG_TEXT:
        return sqlite3_bind_text(stmt, at, a->p, -1, SQLITE_STATIC);
    case SQ_ARG_NULL:
        break;
    }
    return sqlite3_bind_null(stmt, at);
}

static sq_err begin_stmt(struct sq_db *db, const struct sq_db_rows_of *t, const char *tail, const struct sq_arg *args,
                         sqlite3_stmt **out)
{
    sq_err e = prepare(db, t, tail, out);
    int rc = SQLITE_OK;
    for (int i = 0; !e && rc == SQLITE_OK && args[i].n != SIZE_MAX; i++)
        rc = bind(*out, i + 1, &args[i]);
    return !e && rc != SQLITE_OK ? finish(db, *out, rc) : e;
}

sq_err sq_db_run(struct sq_db *db, const char *sql, const struct sq_arg *args, int64_t *out_changes)
{
    sqlite3_stmt *stmt = NULL;
    struct sq_db_count before = sq_db_count_now(db);
    sq_err e = begin_stmt(db, NULL, sql, args, &stmt);
    if (!e)
        e = finish(db, stmt, sqlite3_step(stmt));
    if (e)
        sq_db_count_undo(db, &before);
    if (!e && out_changes)
        *out_changes = sqlite3_changes64(db->sql);
    return e;
}

sq_err sq_db_run_one(struct sq_db *db, const char *sql, const struct sq_arg *args)
{
    int64_t n = 0;
    sq_err e = sq_db_run(db, sql, args, &n);
    return !e && n == 0 ? sq_fail(SQ_ENOTFOUND) : e;
}

sq_err sq_db_no(struct sq_db *db, const char *sql, const struct sq_arg *args, int64_t *out)
{
    sqlite3_stmt *stmt = NULL;
    sq_err e = begin_stmt(db, NULL, sql, args, &stmt);
    if (e)
        return e;
    int rc = sqlite3_step(stmt);
    int64_t no = rc == SQLITE_ROW ? sqlite3_column_int64(stmt, 0) : 0;
    e = finish(db, stmt, rc);
    if (!e && rc != SQLITE_ROW)
        e = SQ_ENOTFOUND;
    if (!e) {
        sq_db_count_read(db, 1);
        *out = no;
    }
    return e;
}

sq_err sq_db_bytes(struct sq_db *db, const char *sql, const struct sq_arg *args, struct sq_buf *out)
{
    sqlite3_stmt *stmt = NULL;
    sq_err e = begin_stmt(db, NULL, sql, args, &stmt);
    if (e)
        return e;
    int rc = sqlite3_step(stmt);
    if (rc == SQLITE_ROW && sqlite3_column_type(stmt, 0) != SQLITE_NULL)
        e = sq_buf_add(out, sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0));
    else if (rc == SQLITE_ROW || rc == SQLITE_DONE)
        e = SQ_ENOTFOUND;
    sq_err end = finish(db, stmt, rc);
    sq_db_count_read(db, rc == SQLITE_ROW);
    return e ? e : end;
}

/* ---- rows ---- */

static sq_err bind_column(sqlite3_stmt *stmt, int at, const struct sq_column *c, const uint8_t *row)
{
    const uint8_t *p = row + c->at;
    struct sq_arg a = {.type = SQ_ARG_NULL};
    uint64_t u = 0;
    switch (c->type) {
    case SQ_COL_ID:
        a = A_ID(p);
        break;
    case SQ_COL_ID_OR_NULL:
        a = sq_arg_id_or_null(p);
        break;
    case SQ_COL_32:
        a = A_BYTES(p, 32);
        break;
    case SQ_COL_32_IF:
        if (*(const bool *)(row + c->at_more))
            a = A_BYTES(p, 32);
        break;
    case SQ_COL_INT:
        a = A_NO(*(const int *)(const void *)p);
        break;
    case SQ_COL_U32:
        a = A_NO(*(const uint32_t *)(const void *)p);
        break;
    case SQ_COL_I64:
        a = A_NO(*(const int64_t *)(const void *)p);
        break;
    case SQ_COL_I64_OR_NULL:
        a = A_NO_OR_NULL(*(const int64_t *)(const void *)p);
        break;
    case SQ_COL_U64:
        u = *(const uint64_t *)(const void *)p;
        if (u > INT64_MAX)
            return sq_fail(SQ_ERANGE);
        a = A_NO(u);
        break;
    case SQ_COL_BOOL:
        a = A_NO(*(const bool *)p);
        break;
    case SQ_COL_TEXT:
    case SQ_COL_TEXT_OR_NULL:
        if (!memchr(p, 0, c->size))
            return sq_fail(SQ_ERANGE);
        if (c->type == SQ_COL_TEXT || *p)
            a = A_TEXT(p);
        break;
    case SQ_COL_SEALED: {
        const struct sq_db_sealed *s = (const void *)p;
        if (s->n > sizeof s->p)
            return sq_fail(SQ_ERANGE);
        if (s->n)
            a = A_BYTES(s->p, s->n);
        break;
    }
    case SQ_COL_IS_THERE:
        return SQ_OK;
    }
    return bind(stmt, at, &a) == SQLITE_OK ? SQ_OK : sq_fail(SQ_ENOMEM);
}

/* What doesn't fit its member was not written by us: the file is damaged. */
static sq_err read_bytes(sqlite3_stmt *stmt, int at, uint8_t *out, size_t n)
{
    if (sqlite3_column_type(stmt, at) == SQLITE_NULL)
        return SQ_OK;
    if ((size_t)sqlite3_column_bytes(stmt, at) != n)
        return sq_fail(SQ_EIO);
    memcpy(out, sqlite3_column_blob(stmt, at), n);
    return SQ_OK;
}

static sq_err read_column(sqlite3_stmt *stmt, int at, const struct sq_column *c, uint8_t *row)
{
    uint8_t *p = row + c->at;
    bool is_null = sqlite3_column_type(stmt, at) == SQLITE_NULL; /* before any conversion */
    int64_t no = sqlite3_column_int64(stmt, at);
    size_t n = 0;
    switch (c->type) {
    case SQ_COL_ID:
    case SQ_COL_ID_OR_NULL:
        return read_bytes(stmt, at, p, SQ_DB_ID_BYTES);
    case SQ_COL_32_IF:
        *(bool *)(row + c->at_more) = !is_null;
        return read_bytes(stmt, at, p, 32);
    case SQ_COL_32:
        return read_bytes(stmt, at, p, 32);
    case SQ_COL_INT:
        if (no < INT32_MIN || no > INT32_MAX)
            return sq_fail(SQ_EIO);
        *(int *)(void *)p = (int)no;
        return SQ_OK;
    case SQ_COL_U32:
        if (no < 0 || no > UINT32_MAX)
            return sq_fail(SQ_EIO);
        *(uint32_t *)(void *)p = (uint32_t)no;
        return SQ_OK;
    case SQ_COL_I64:
    case SQ_COL_I64_OR_NULL:
        *(int64_t *)(void *)p = no;
        return SQ_OK;
    case SQ_COL_U64:
        if (no < 0)
            return sq_fail(SQ_EIO);
        *(uint64_t *)(void *)p = (uint64_t)no;
        return SQ_OK;
    case SQ_COL_BOOL:
        *(bool *)p = no != 0;
        return SQ_OK;
    case SQ_COL_TEXT:
    case SQ_COL_TEXT_OR_NULL:
        n = (size_t)sqlite3_column_bytes(stmt, at);
        if (n >= c->size)
            return sq_fail(SQ_EIO);
        if (n)
            memcpy(p, sqlite3_column_text(stmt, at), n);
        return SQ_OK; /* the row was cleared */
    case SQ_COL_SEALED: {
        struct sq_db_sealed *s = (void *)p;
        n = (size_t)sqlite3_column_bytes(stmt, at);
        if (n > sizeof s->p)
            return sq_fail(SQ_EIO);
        s->n = (uint16_t)n;
        if (n)
            memcpy(s->p, sqlite3_column_blob(stmt, at), n);
        return SQ_OK;
    }
    case SQ_COL_IS_THERE:
        *(bool *)p = no != 0;
        return SQ_OK;
    }
    return sq_fail(SQ_EINTERNAL);
}

static sq_err read_row(sqlite3_stmt *stmt, const struct sq_db_rows_of *t, uint8_t *row)
{
    sq_err e = SQ_OK;
    memset(row, 0, t->row_bytes);
    for (size_t i = 0; !e && i < t->n_column; i++)
        e = read_column(stmt, (int)i, &t->column[i], row);
    return e;
}

sq_err sq_db_insert(struct sq_db *db, const struct sq_db_rows_of *t, bool is_replace, const void *row)
{
    sqlite3_stmt *stmt = NULL;
    static const char insert[] = "INSERT", replace[] = "INSERT OR REPLACE";
    struct sq_db_count before = sq_db_count_now(db);
    sq_err e = prepare(db, t, is_replace ? replace : insert, &stmt);
    int at = 1;
    for (size_t i = 0; !e && i < t->n_column; i++) {
        if (t->column[i].type == SQ_COL_IS_THERE)
            continue;
        e = bind_column(stmt, at++, &t->column[i], row);
        if (e)
            (void)finish(db, stmt, SQLITE_OK);
    }
    if (!e)
        e = finish(db, stmt, sqlite3_step(stmt));
    if (e)
        sq_db_count_undo(db, &before);
    return e;
}

sq_err sq_db_get(struct sq_db *db, const struct sq_db_rows_of *t, const char *tail, const struct sq_arg *args, void *out)
{
    sqlite3_stmt *stmt = NULL;
    uint8_t *row = malloc(t->row_bytes);
    if (!row)
        return sq_fail(SQ_ENOMEM);
    sq_err e = begin_stmt(db, t, tail, args, &stmt);
    if (!e) {
        int rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW)
            e = read_row(stmt, t, row);
        else if (rc == SQLITE_DONE)
            e = SQ_ENOTFOUND; /* an answer, not a failure: not traced */
        sq_err end = finish(db, stmt, rc);
        e = e ? e : end;
    }
    if (!e) {
        sq_db_count_read(db, 1);
        memcpy(out, row, t->row_bytes);
    }
    free(row);
    return e;
}

sq_err sq_db_rows(struct sq_db *db, const struct sq_db_rows_of *t, const char *tail, const struct sq_arg *args,
                  struct sq_db_rows *out)
{
    sqlite3_stmt *stmt = NULL;
    struct sq_db_rows rows = {0};
    size_t cap = 0;
    sq_err e = begin_stmt(db, t, tail, args, &stmt);
    if (e)
        return e;
    int rc = SQLITE_DONE;
    while (!e && (rc = sqlite3_step(stmt)) == SQLITE_ROW) {
        if (rows.n == cap) {
            cap = cap ? 2 * cap : 16;
            uint8_t *more = reallocarray(rows.p, cap, t->row_bytes);
            if (!more) {
                e = sq_fail(SQ_ENOMEM);
                break;
            }
            rows.p = more;
        }
        e = read_row(stmt, t, rows.p + rows.n * t->row_bytes);
        rows.n++;
    }
    sq_err end = finish(db, stmt, rc);
    e = e ? e : end;
    sq_db_count_read(db, rows.n);
    if (e)
        sq_db_rows_done(&rows);
    else
        *out = rows;
    return e;
}

void sq_db_rows_done(struct sq_db_rows *rows)
{
    free(rows->p);
    *rows = (struct sq_db_rows){0};
}
