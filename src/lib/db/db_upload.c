#include "lib/db/db_internal.h"

/* Uploads, and the reference panels that operators put in. */

static const struct sq_column upload_columns[] = {
    SQ_COLUMN(sq_db_upload, id, ID),
    SQ_COLUMN(sq_db_upload, owner_id, ID),
    SQ_COLUMN(sq_db_upload, object_id, ID_OR_NULL),
    SQ_COLUMN(sq_db_upload, ids_object_id, ID_OR_NULL),
    SQ_COLUMN(sq_db_upload, genotypes_object_id, ID_OR_NULL),
    SQ_COLUMN(sq_db_upload, name_sealed, SEALED),
    SQ_COLUMN(sq_db_upload, state, INT),
    SQ_COLUMN(sq_db_upload, format, TEXT),
    SQ_COLUMN(sq_db_upload, samples, U64),
    SQ_COLUMN(sq_db_upload, variants, U64),
    SQ_COLUMN(sq_db_upload, is_counted, BOOL),
    SQ_COLUMN(sq_db_upload, chrom, TEXT),
    SQ_COLUMN_AS(sq_db_upload, why.err, "err", U32),
    SQ_COLUMN_AS(sq_db_upload, why.line, "why_line", U64),
    SQ_COLUMN_AS(sq_db_upload, why.column, "why_column", U32),
    SQ_COLUMN_AS(sq_db_upload, why.field, "why_field", TEXT),
    SQ_COLUMN_AS(sq_db_upload, why.detail, "why_detail", TEXT),
    SQ_COLUMN(sq_db_upload, created_s, I64),
    SQ_COLUMN(sq_db_upload, expires_s, I64),
};
static const struct sq_db_rows_of uploads = SQ_ROWS_OF("upload", upload_columns, sq_db_upload);
SQ_DB_DEFINE_EACH(upload, &uploads, sq_db_upload, sq_db_on_upload)

sq_err sq_db_upload_insert(struct sq_db *db, const struct sq_db_upload *row)
{
    return sq_db_insert(db, &uploads, false, row);
}

sq_err sq_db_upload_get(struct sq_db *db, const uint8_t id[16], struct sq_db_upload *out)
{
    return sq_db_get(db, &uploads, "WHERE id = ?1", ARGS(A_ID(id)), out);
}

sq_err sq_db_upload_list(struct sq_db *db, const uint8_t *owner, int state, const uint8_t *before_id, int limit,
                         sq_db_on_upload on, void *ctx)
{
    int64_t before = INT64_MAX;
    sq_err e = before_id ? sq_db_no(db, "SELECT no FROM upload WHERE id = ?1", ARGS(A_ID(before_id)), &before) : SQ_OK;
    if (e)
        return e;
    const struct sq_arg *args = ARGS(A_NO(before), A_NO(state), A_NO(sq_db_limit(limit)), A_BYTES(owner, 16));
    if (owner)
        return each_upload(db, "WHERE owner_id = ?4 AND no < ?1 AND ?2 IN (0, state) ORDER BY no DESC LIMIT ?3", args, on, ctx);
    return each_upload(db, "WHERE no < ?1 AND ?2 IN (0, state) AND ?4 IS NULL ORDER BY no DESC LIMIT ?3", args, on, ctx);
}

sq_err sq_db_upload_count(struct sq_db *db, const uint8_t *owner, int state, int64_t *out_n)
{
    const struct sq_arg *args = ARGS(A_BYTES(owner, 16), A_NO(state));
    if (owner)
        return sq_db_no(db, "SELECT count(*) FROM upload WHERE owner_id = ?1 AND ?2 IN (0, state)", args, out_n);
    return sq_db_no(db, "SELECT count(*) FROM upload WHERE ?1 IS NULL AND ?2 IN (0, state)", args, out_n);
}

static sq_err may_become(struct sq_db *db, const uint8_t id[16], int to)
{
    int64_t from = 0;
    sq_err e = sq_db_no(db, "SELECT state FROM upload WHERE id = ?1", ARGS(A_ID(id)), &from);
    return e ? e : sq_db_move(SQ_DB_upload_state, (int)from, to);
}

sq_err sq_db_upload_set_state(struct sq_db *db, const uint8_t id[16], int state)
{
    sq_err e = may_become(db, id, state);
    if (!e && state == SQ_DB_upload_state_erased) /* counts and times stay; what a person supplied, or that quotes him, goes */
        e = sq_db_run_one(db,
                          "UPDATE upload SET name_sealed = NULL, why_line = 0, why_column = 0, why_field = '', why_detail = ''"
                          " WHERE id = ?1", ARGS(A_ID(id)));
    return e ? e : sq_db_run_one(db, "UPDATE upload SET state = ?2 WHERE id = ?1", ARGS(A_ID(id), A_NO(state)));
}

sq_err sq_db_upload_set_objects(struct sq_db *db, const uint8_t id[16], const uint8_t ids_object_id[16],
                                const uint8_t genotypes_object_id[16])
{
    return sq_db_run_one(db, "UPDATE upload SET ids_object_id = ?2, genotypes_object_id = ?3 WHERE id = ?1",
                         ARGS(A_ID(id), sq_arg_id_or_null(ids_object_id), sq_arg_id_or_null(genotypes_object_id)));
}

sq_err sq_db_upload_set_name(struct sq_db *db, const uint8_t id[16], const struct sq_db_sealed *name)
{
    if (name->n > sizeof name->p)
        return sq_fail(SQ_ERANGE);
    return sq_db_run_one(db, "UPDATE upload SET name_sealed = ?2 WHERE id = ?1",
                         ARGS(A_ID(id), A_BYTES(name->n ? name->p : NULL, name->n)));
}

sq_err sq_db_upload_ready(struct sq_db *db, const uint8_t id[16], const char *format, const char *chrom,
                          uint64_t samples, uint64_t variants)
{
    if (strlen(format) >= SQ_DB_WORD_BYTES || strlen(chrom) >= SQ_DB_WORD_BYTES || samples > INT64_MAX || variants > INT64_MAX)
        return sq_fail(SQ_ERANGE);
    sq_err e = may_become(db, id, SQ_DB_upload_state_ready);
    return e ? e
             : sq_db_run_one(db,
                             "UPDATE upload SET state = ?2, format = ?3, chrom = ?4, samples = ?5, variants = ?6,"
                             " is_counted = 1 WHERE id = ?1",
                             ARGS(A_ID(id), A_NO(SQ_DB_upload_state_ready), A_TEXT(format), A_TEXT(chrom), A_NO(samples),
                                  A_NO(variants)));
}

sq_err sq_db_upload_failed(struct sq_db *db, const uint8_t id[16], const struct sq_db_why *why)
{
    if (why->line > INT64_MAX || !memchr(why->field, 0, sizeof why->field) || !memchr(why->detail, 0, sizeof why->detail))
        return sq_fail(SQ_ERANGE);
    sq_err e = may_become(db, id, SQ_DB_upload_state_failed);
    return e ? e
             : sq_db_run_one(db,
                             "UPDATE upload SET state = ?2, err = ?3, why_line = ?4, why_column = ?5, why_field = ?6,"
                             " why_detail = ?7 WHERE id = ?1",
                             ARGS(A_ID(id), A_NO(SQ_DB_upload_state_failed), A_NO(why->err), A_NO(why->line),
                                  A_NO(why->column), A_TEXT(why->field), A_TEXT(why->detail)));
}

sq_err sq_db_uploads_expired(struct sq_db *db, int64_t now_s, int limit, sq_db_on_upload on, void *ctx)
{
    return each_upload(db, "WHERE state IN (1, 2, 3, 4) AND expires_s <= ?1 AND NOT EXISTS (SELECT 1 FROM job WHERE job.upload_id = upload.id AND job.state IN (1, 2, 3, 4))"
                       " ORDER BY expires_s, no LIMIT ?2",
                       ARGS(A_NO(now_s), A_NO(sq_db_limit(limit))), on, ctx);
}
_Static_assert(SQ_DB_upload_state_erased == 5, "the states before it stand in the SQL above");

sq_err sq_db_upload_delete(struct sq_db *db, const uint8_t id[16])
{
    int64_t state = 0;
    sq_err e = sq_db_no(db, "SELECT state FROM upload WHERE id = ?1", ARGS(A_ID(id)), &state);
    if (!e && state != SQ_DB_upload_state_erased)
        e = sq_fail(SQ_ECONFLICT);
    return e ? e : sq_db_run_one(db, "DELETE FROM upload WHERE id = ?1", ARGS(A_ID(id)));
}

/* ---- panels ---- */

static const struct sq_column panel_columns[] = {
    SQ_COLUMN(sq_db_panel, id, TEXT),
    SQ_COLUMN(sq_db_panel, name, TEXT),
    SQ_COLUMN(sq_db_panel, build, TEXT),
    SQ_COLUMN(sq_db_panel, chrom, TEXT),
    SQ_COLUMN(sq_db_panel, object_id, ID),
    SQ_COLUMN(sq_db_panel, samples, U64),
    SQ_COLUMN(sq_db_panel, haplotypes, U64),
    SQ_COLUMN(sq_db_panel, sites, U64),
    SQ_COLUMN(sq_db_panel, first_bp, U64),
    SQ_COLUMN(sq_db_panel, last_bp, U64),
    SQ_COLUMN(sq_db_panel, populations, TEXT),
    SQ_COLUMN(sq_db_panel, created_s, I64),
    SQ_COLUMN(sq_db_panel, removed_s, I64_OR_NULL),
};
static const struct sq_db_rows_of panels = SQ_ROWS_OF("panel", panel_columns, sq_db_panel);
SQ_DB_DEFINE_EACH(panel, &panels, sq_db_panel, sq_db_on_panel)

sq_err sq_db_panel_insert(struct sq_db *db, const struct sq_db_panel *row)
{
    return row->id[0] ? sq_db_insert(db, &panels, false, row) : sq_fail(SQ_ERANGE);
}

sq_err sq_db_panel_get(struct sq_db *db, const char *id, struct sq_db_panel *out)
{
    return sq_db_get(db, &panels, "WHERE id = ?1", ARGS(A_TEXT(id)), out);
}

sq_err sq_db_panel_list(struct sq_db *db, bool with_removed, sq_db_on_panel on, void *ctx)
{
    return each_panel(db, "WHERE ?1 OR removed_s IS NULL ORDER BY id", ARGS(A_NO(with_removed)), on, ctx);
}

sq_err sq_db_panel_count(struct sq_db *db, int64_t *out_n)
{
    return sq_db_no(db, "SELECT count(*) FROM panel WHERE removed_s IS NULL", NO_ARGS, out_n);
}

sq_err sq_db_panel_remove(struct sq_db *db, const char *id, int64_t now_s)
{
    return sq_db_run_one(db, "UPDATE panel SET removed_s = ifnull(removed_s, ?2) WHERE id = ?1", ARGS(A_TEXT(id), A_NO(now_s)));
}
