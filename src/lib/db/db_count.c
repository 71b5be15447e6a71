/* Before sqlite3.h: the hook that sees every row, also those that a cascade or a REPLACE takes away. sqlite3_changes() doesn't. */
#define SQLITE_ENABLE_PREUPDATE_HOOK 1
#include "lib/db/db_internal.h"

/* What is written for the log's sake stands in the log itself. */
static bool is_of_the_log(const char *table)
{
    return !strcmp(table, "outbox") || !strcmp(table, "audit_ref");
}

static void on_row(void *ctx, sqlite3 *sql, int op, const char *database, const char *table, sqlite3_int64 from, sqlite3_int64 to)
{
    (void)sql, (void)database, (void)from, (void)to;
    struct sq_db_count *count = ((struct sq_db *)ctx)->count;
    if (!count || is_of_the_log(table))
        return;
    count->n_inserted += op == SQLITE_INSERT;
    count->n_changed += op == SQLITE_UPDATE;
    count->n_deleted += op == SQLITE_DELETE;
}

void sq_db_count_start(struct sq_db *db)
{
    sqlite3_preupdate_hook(db->sql, on_row, db);
}

void sq_db_count_into(struct sq_db *db, struct sq_db_count *count)
{
    db->count = count;
}

void sq_db_count_read(struct sq_db *db, size_t n_row)
{
    if (db->count)
        db->count->n_read += n_row;
}

struct sq_db_count sq_db_count_now(const struct sq_db *db)
{
    return db->count ? *db->count : (struct sq_db_count){0};
}

/* The rows of a statement that failed, or of a savepoint that was undone, are as they were; that they were read stays true. */
void sq_db_count_undo(struct sq_db *db, const struct sq_db_count *before)
{
    if (!db->count)
        return;
    uint64_t n_read = db->count->n_read;
    *db->count = *before;
    db->count->n_read = n_read;
}
