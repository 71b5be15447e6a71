/**
 * db_internal - what the files of this room share: statements by text, rows by column tables. Never included from
 * outside. A table says once which column goes into which member of its row struct; binding, reading and the column
 * lists of INSERT and SELECT are made from that.
 */
#ifndef SQ_DB_INTERNAL_H
#define SQ_DB_INTERNAL_H

#include "lib/db/db.h"

#include <sqlite3.h>

#define SQ_DB_MAX_STMTS 256
#define SQ_DB_LIST_MAX 1000

struct sq_db_stmt { /* keyed by the addresses of its table and of its literal text */
    const void *table;
    const char *tail;
    sqlite3_stmt *stmt;
};

#define SQ_DB_MAX_SAVES 6

struct sq_db {
    sqlite3 *sql;
    struct sq_db_count *count; /* or NULL */
    struct sq_db_count saved[SQ_DB_MAX_SAVES]; /* at the beginning of the transaction and at each savepoint */
    unsigned n_saved;
    struct sq_db_stmt stmts[SQ_DB_MAX_STMTS];
};

enum sq_column_type {
    SQ_COL_ID,        /* 16 bytes */
    SQ_COL_ID_OR_NULL,/* zero: NULL */
    SQ_COL_32,        /* 32 bytes */
    SQ_COL_32_IF,     /* 32 bytes, or NULL when the bool at `at_more` is false */
    SQ_COL_INT,       /* int */
    SQ_COL_U32,
    SQ_COL_I64,
    SQ_COL_I64_OR_NULL, /* 0: NULL */
    SQ_COL_U64,
    SQ_COL_BOOL,
    SQ_COL_TEXT,      /* char[size] */
    SQ_COL_TEXT_OR_NULL, /* empty: NULL */
    SQ_COL_SEALED,    /* struct sq_db_sealed; n = 0: NULL */
    SQ_COL_IS_THERE,  /* bool from an expression, read only: a large column that isn't fetched with the row */
};

struct sq_column {
    const char *name;
    enum sq_column_type type;
    size_t at, size, at_more;
};

struct sq_db_rows_of {
    const char *name; /* of the table */
    const struct sq_column *column;
    size_t n_column, row_bytes;
};

#define SQ_COLUMN(row, member, type) {#member, SQ_COL_##type, offsetof(struct row, member), sizeof ((struct row *)0)->member, 0}
#define SQ_COLUMN_AS(row, member, name, type) {name, SQ_COL_##type, offsetof(struct row, member), sizeof ((struct row *)0)->member, 0}
#define SQ_COLUMN_32_IF(row, member, has) {#member, SQ_COL_32_IF, offsetof(struct row, member), 32, offsetof(struct row, has)}
#define SQ_ROWS_OF(table, columns, row) {table, columns, sizeof columns / sizeof *columns, sizeof(struct row)}

/* ---- arguments of a statement, typed ---- */

struct sq_arg {
    enum { SQ_ARG_NULL, SQ_ARG_NO, SQ_ARG_BYTES, SQ_ARG_TEXT } type;
    int64_t no;
    const void *p;
    size_t n;
};
#define A_NO(v) ((struct sq_arg){.type = SQ_ARG_NO, .no = (int64_t)(v)})
#define A_NO_OR_NULL(v) ((struct sq_arg){.type = (v) ? SQ_ARG_NO : SQ_ARG_NULL, .no = (int64_t)(v)})
#define A_ID(v) ((struct sq_arg){.type = SQ_ARG_BYTES, .p = (v), .n = 16})
#define A_BYTES(v, len) ((struct sq_arg){.type = (v) ? SQ_ARG_BYTES : SQ_ARG_NULL, .p = (v), .n = (len)})
#define A_TEXT(v) ((struct sq_arg){.type = SQ_ARG_TEXT, .p = (v)})
#define A_TEXT_OR_NULL(v) ((struct sq_arg){.type = (v) ? SQ_ARG_TEXT : SQ_ARG_NULL, .p = (v)})
#define A_END ((struct sq_arg){.type = SQ_ARG_NULL, .n = SIZE_MAX})
#define ARGS(...) ((const struct sq_arg[]){__VA_ARGS__, A_END})
#define NO_ARGS ((const struct sq_arg[]){A_END})
struct sq_arg sq_arg_id_or_null(const uint8_t *id); /* NULL or zero: NULL */

/* @sql and @tail must be literals: statements are cached by their address. */
sq_err sq_db_run(struct sq_db *db, const char *sql, const struct sq_arg *args, int64_t *out_changes) SQ_MUST_CHECK; /* out may be NULL */
sq_err sq_db_run_one(struct sq_db *db, const char *sql, const struct sq_arg *args) SQ_MUST_CHECK; /* no row changed: SQ_ENOTFOUND */
sq_err sq_db_no(struct sq_db *db, const char *sql, const struct sq_arg *args, int64_t *out) SQ_MUST_CHECK; /* one integer; NULL reads as 0 */
sq_err sq_db_bytes(struct sq_db *db, const char *sql, const struct sq_arg *args, struct sq_buf *out) SQ_MUST_CHECK; /* appended; NULL: SQ_ENOTFOUND */
sq_err sq_db_insert(struct sq_db *db, const struct sq_db_rows_of *t, bool is_replace, const void *row) SQ_MUST_CHECK;
sq_err sq_db_get(struct sq_db *db, const struct sq_db_rows_of *t, const char *tail, const struct sq_arg *args, void *out) SQ_MUST_CHECK;

/* Rows are read completely before anyone is told, so a callback may change what it is told about. */
struct sq_db_rows {
    uint8_t *p;
    size_t n;
};
sq_err sq_db_rows(struct sq_db *db, const struct sq_db_rows_of *t, const char *tail, const struct sq_arg *args,
                  struct sq_db_rows *out) SQ_MUST_CHECK;
void sq_db_rows_done(struct sq_db_rows *rows);

/** Defines each_NAME(db, tail, args, on, ctx): sq_db_rows, then the typed callback for each. */
#define SQ_DB_DEFINE_EACH(name, table, row, callback)                                                                   \
    static sq_err each_##name(struct sq_db *db, const char *tail, const struct sq_arg *args, callback on, void *ctx)    \
    {                                                                                                                   \
        struct sq_db_rows rows;                                                                                         \
        sq_err e = sq_db_rows(db, (table), tail, args, &rows);                                                          \
        if (e)                                                                                                          \
            return e;                                                                                                   \
        for (size_t i = 0; !e && i < rows.n; i++)                                                                       \
            e = on(ctx, (const struct row *)(const void *)(rows.p + i * sizeof(struct row)));                           \
        sq_db_rows_done(&rows);                                                                                         \
        return e;                                                                                                       \
    }

static inline int sq_db_limit(int limit)
{
    return limit > 0 && limit < SQ_DB_LIST_MAX ? limit : SQ_DB_LIST_MAX;
}

sq_err sq_db_error(struct sq_db *db, int rc) SQ_MUST_CHECK;
/** Whether commits from now on are durable on return (as they are unless this was called) or with the next one that is. */
sq_err sq_db_sync(struct sq_db *db, bool is_synced) SQ_MUST_CHECK;
/* db_count.c */
void sq_db_count_start(struct sq_db *db);
void sq_db_count_read(struct sq_db *db, size_t n_row);
struct sq_db_count sq_db_count_now(const struct sq_db *db);
void sq_db_count_undo(struct sq_db *db, const struct sq_db_count *before);
/** Several statements as one: save, then keep or undo by @e; returns @e, or what keeping failed with. */
sq_err sq_db_settle(struct sq_db *db, sq_err e) SQ_MUST_CHECK;
/** SQ_OK, or SQ_ECONFLICT when states.def has no such move. */
sq_err sq_db_move(enum sq_db_table table, int from, int to) SQ_MUST_CHECK;

extern const struct sq_db_rows_of sq_db_object_rows; /* db_object.c; also read by db_task.c */

#endif
