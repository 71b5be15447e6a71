#include "lib/db/db_internal.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"
#include "schema.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define APPLICATION_ID 0x53514442 /* "SQDB": a file of ours, not just any database */

/* Step i brings a file from version i to i + 1. Steps are added, never edited: files out there have taken them. */
static const char *const steps[] = {sq_db_schema_sql};

_Static_assert(sizeof steps / sizeof *steps == SQ_DB_SCHEMA_VERSION, "one step per version");

static sq_err exec(struct sq_db *db, const char *sql)
{
    return sq_db_error(db, sqlite3_exec(db->sql, sql, NULL, NULL, NULL));
}

/* Reads a pragma that answers with one value, as text. */
static sq_err pragma(struct sq_db *db, const char *sql, char out[32])
{
    sqlite3_stmt *stmt = NULL;
    sq_err e = sq_db_error(db, sqlite3_prepare_v2(db->sql, sql, -1, &stmt, NULL));
    if (e)
        return e;
    int rc = sqlite3_step(stmt);
    e = sq_db_error(db, rc);
    out[0] = 0;
    if (!e && rc == SQLITE_ROW && sqlite3_column_text(stmt, 0))
        sqlite3_snprintf(32, out, "%s", (const char *)sqlite3_column_text(stmt, 0));
    sqlite3_finalize(stmt);
    return e;
}

static sq_err expect(struct sq_db *db, const char *sql, const char *want)
{
    char got[32];
    sq_err e = pragma(db, sql, got);
    return !e && strcmp(got, want) != 0 ? sq_fail(SQ_EIO) : e;
}

/* SQLite takes this up while it prepares the statement, so it can't be one that is kept. Inside a transaction it is refused. */
sq_err sq_db_sync(struct sq_db *db, bool is_synced)
{
    sq_err e = exec(db, is_synced ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL");
    return e ? e : expect(db, "PRAGMA synchronous", is_synced ? "2" : "1");
}

static sq_err configure(struct sq_db *db)
{
    static const struct {
        int option, value;
    } options[] = {
        {SQLITE_DBCONFIG_DEFENSIVE, 1},      {SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0}, {SQLITE_DBCONFIG_ENABLE_VIEW, 0},
        {SQLITE_DBCONFIG_ENABLE_TRIGGER, 0}, {SQLITE_DBCONFIG_DQS_DML, 0},        {SQLITE_DBCONFIG_DQS_DDL, 0},
        {SQLITE_DBCONFIG_ENABLE_FKEY, 1},    {SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        if (sqlite3_db_config(db->sql, options[i].option, options[i].value, NULL) != SQLITE_OK)
            return sq_fail(SQ_ESYS);
    sqlite3_busy_timeout(db->sql, 5000);
    sqlite3_limit(db->sql, SQLITE_LIMIT_LENGTH, 1 << 20);
    sqlite3_limit(db->sql, SQLITE_LIMIT_ATTACHED, 0);
    sq_err e = expect(db, "PRAGMA journal_mode = WAL", "wal");
    if (!e)
        e = expect(db, "PRAGMA secure_delete = ON", "1");
    if (!e)
        e = exec(db, "PRAGMA synchronous = FULL; PRAGMA temp_store = MEMORY; PRAGMA cell_size_check = ON;"
                     "PRAGMA journal_size_limit = 4194304;");
    if (!e) /* a build of SQLite that ignores what we rely on must not pass silently */
        e = expect(db, "PRAGMA synchronous", "2");
    if (!e)
        e = expect(db, "PRAGMA foreign_keys", "1");
    return e;
}

static sq_err migrate(struct sq_db *db)
{
    char text[32];
    sq_err e = sq_db_begin(db);
    if (e)
        return e;
    e = pragma(db, "PRAGMA user_version", text);
    long version = e ? 0 : strtol(text, NULL, 10);
    if (!e)
        e = pragma(db, "PRAGMA application_id", text);
    if (!e && version == 0) { /* new, or a database of someone else */
        char n_table[32];
        e = pragma(db, "SELECT count(*) FROM sqlite_schema", n_table);
        if (!e && strcmp(n_table, "0") != 0)
            e = sq_fail(SQ_EIO);
    } else if (!e && strtol(text, NULL, 10) != APPLICATION_ID) {
        e = sq_fail(SQ_EIO);
    }
    if (!e && (version < 0 || version > SQ_DB_SCHEMA_VERSION))
        e = sq_fail(SQ_EROLLBACK);
    for (long v = version; !e && v < SQ_DB_SCHEMA_VERSION; v++) {
        char set[64];
        e = exec(db, steps[v]);
        sqlite3_snprintf(sizeof set, set, "PRAGMA user_version = %d; PRAGMA application_id = %d", (int)v + 1, APPLICATION_ID);
        if (!e)
            e = exec(db, set);
    }
    if (!e)
        return sq_db_commit(db);
    sq_db_rollback(db);
    return e;
}

sq_err sq_db_open(const char *path, struct sq_db **out_db)
{
    struct sq_db *db = calloc(1, sizeof *db);
    if (!db)
        return sq_fail(SQ_ENOMEM);
    /* made here, so that it and the files beside it get mode 0600 whatever the umask */
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    sq_err e = fd < 0 ? sq_fail(sq_err_errno()) : SQ_OK;
    sq_close(&fd);
    if (!e)
        e = sq_db_error(db, sqlite3_open_v2(path, &db->sql,
                                            SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL));
    if (!e)
        e = configure(db);
    if (!e)
        e = migrate(db);
    if (!e)
        sq_db_count_start(db);
    if (e) {
        sq_db_close(db);
        return e;
    }
    *out_db = db;
    return SQ_OK;
}

void sq_db_close(struct sq_db *db)
{
    if (!db)
        return;
    if (db->sql)
        sq_db_rollback(db);
    for (size_t i = 0; i < SQ_DB_MAX_STMTS && db->stmts[i].stmt; i++)
        sqlite3_finalize(db->stmts[i].stmt);
    int rc = sqlite3_close(db->sql);
    sq_assert(rc == SQLITE_OK); /* a statement was left open */
    free(db);
}

/* ---- transactions ---- */

static void save_count(struct sq_db *db)
{
    sq_assert(db->n_saved < SQ_DB_MAX_SAVES);
    db->saved[db->n_saved++] = sq_db_count_now(db);
}

sq_err sq_db_begin(struct sq_db *db)
{
    if (!sqlite3_get_autocommit(db->sql))
        return sq_fail(SQ_ECONFLICT);
    sq_err e = sq_db_run(db, "BEGIN IMMEDIATE", NO_ARGS, NULL);
    if (!e)
        save_count(db);
    return e;
}

sq_err sq_db_commit(struct sq_db *db)
{
    sq_err e = sq_fault("db.commit");
    if (!e)
        e = sq_db_run(db, "COMMIT", NO_ARGS, NULL);
    if (e)
        sq_db_rollback(db);
    else
        db->n_saved = 0;
    return e;
}

void sq_db_rollback(struct sq_db *db)
{
    if (db->n_saved)
        sq_db_count_undo(db, &db->saved[0]);
    db->n_saved = 0;
    /* after some failures SQLite has rolled back by itself */
    if (!sqlite3_get_autocommit(db->sql) && sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
        sq_assert(sqlite3_get_autocommit(db->sql));
}

/* Savepoints of one name nest: each of these means the innermost. */
sq_err sq_db_save(struct sq_db *db)
{
    sq_err e = sq_db_run(db, "SAVEPOINT s", NO_ARGS, NULL);
    if (!e)
        save_count(db);
    return e;
}

sq_err sq_db_save_keep(struct sq_db *db)
{
    sq_err e = sq_db_run(db, "RELEASE s", NO_ARGS, NULL);
    db->n_saved -= !e && db->n_saved;
    return e;
}

sq_err sq_db_save_undo(struct sq_db *db)
{
    sq_err e = sq_db_run(db, "ROLLBACK TO s", NO_ARGS, NULL);
    if (!e && db->n_saved)
        sq_db_count_undo(db, &db->saved[db->n_saved - 1]);
    return e ? e : sq_db_save_keep(db);
}

sq_err sq_db_settle(struct sq_db *db, sq_err e)
{
    if (!e) {
        e = sq_db_save_keep(db);
        if (!e)
            return SQ_OK;
    }
    if (!sqlite3_get_autocommit(db->sql) && sq_db_save_undo(db))
        sq_db_rollback(db); /* what can't be undone in part is undone whole; the caller's commit will then fail */
    return e;
}

/* ---- care ---- */

sq_err sq_db_fold(struct sq_db *db)
{
    char busy[32];
    sq_err e = pragma(db, "PRAGMA wal_checkpoint(TRUNCATE)", busy);
    return !e && strcmp(busy, "0") != 0 ? sq_fail(SQ_ECONFLICT) : e;
}

sq_err sq_db_check(struct sq_db *db)
{
    sq_err e = expect(db, "PRAGMA quick_check(1)", "ok");
    return e ? e : expect(db, "PRAGMA foreign_key_check", ""); /* no row */
}
