/*
 * What was done in the database stands in the audit log: rows by the class of statement, with the entry that says who did what, in the same transaction. The
 * last entry of a transaction tells for all of it; of a request, also what was read on the way to it.
 *
 * The service also changes rows for itself (progress, tries of mails, cursors, what has had its time): an entry for each would bury the others. They are
 * added up in the database, in the same transaction as the change, and told once a minute. So at any moment, whatever was killed when:
 * rows inserted less rows deleted, over the log, and in what isn't told yet, are the rows that there are (tests/e2e/e2e_rows.py).
 */
#include "daemon/registrar/registrar.h"

#define UNTOLD_KEY "rows_untold"
#define UNTOLD_S 60

struct untold { /* little-endian u64s in table meta, in this order */
    uint64_t since_s, n_tx, n_read, n_inserted, n_changed, n_deleted;
};

static _Thread_local struct sq_db_count asked; /* read for the request that this thread is at */

struct sq_db_count *rows_asked(void)
{
    return &asked;
}

void rows_ask(void)
{
    asked = (struct sq_db_count){0};
}

/* ---- entries wait until the next one comes, or the transaction ends ---- */

static sq_err put_last(struct tx *tx)
{
    struct sq_buf bytes;
    if (!tx->last.number)
        return SQ_OK;
    sq_buf_init(&bytes, SQ_AUDIT_ENTRY_MAX_BYTES);
    sq_err e = sq_audit_entry_encode(&tx->last, &bytes);
    if (!e)
        e = sq_db_outbox_put(tx->db, tx->last.number, sq_span_of(bytes.p, bytes.n));
    sq_buf_done(&bytes);
    tx->last.number = 0;
    return e;
}

sq_err rows_entry(struct tx *tx, const struct sq_audit_entry *entry)
{
    sq_err e = put_last(tx);
    if (e)
        return e;
    tx->last = *entry;
    if (entry->n_field) { /* its bytes are the caller's, who may be gone by then */
        sq_assert(entry->n_field == 1 && entry->field[0].sealed.n <= sizeof tx->address);
        memcpy(tx->address, entry->field[0].sealed.p, entry->field[0].sealed.n);
        tx->last.field[0].sealed.p = tx->address;
    }
    return SQ_OK;
}

static sq_err read_untold(struct sq_db *db, struct untold *out)
{
    struct sq_buf b;
    sq_buf_init(&b, 4096);
    sq_err e = sq_db_meta_get(db, UNTOLD_KEY, &b);
    *out = (struct untold){.since_s = (uint64_t)sq_clock_now_s()};
    if (!e && b.n == 48)
        *out = (struct untold){sq_get_le64(b.p),      sq_get_le64(b.p + 8),  sq_get_le64(b.p + 16),
                               sq_get_le64(b.p + 24), sq_get_le64(b.p + 32), sq_get_le64(b.p + 40)};
    sq_buf_done(&b);
    return e == SQ_ENOTFOUND ? SQ_OK : e;
}

static sq_err write_untold(struct sq_db *db, const struct untold *u)
{
    uint8_t b[48];
    const uint64_t v[6] = {u->since_s, u->n_tx, u->n_read, u->n_inserted, u->n_changed, u->n_deleted};
    for (size_t i = 0; i < 6; i++)
        sq_put_le64(b + 8 * i, v[i]);
    return sq_db_meta_set(db, UNTOLD_KEY, sq_span_of(b, sizeof b));
}

/* No entry belongs to this transaction. */
static sq_err add_untold(struct tx *tx, const struct sq_db_count *n)
{
    struct untold u;
    sq_err e = read_untold(tx->db, &u);
    u.n_tx++;
    u.n_read += n->n_read;
    u.n_inserted += n->n_inserted;
    u.n_changed += n->n_changed;
    u.n_deleted += n->n_deleted;
    uint64_t now = (uint64_t)sq_clock_now_s();
    if (!e && !tx->r->is_tight && (now < u.since_s || now >= u.since_s + UNTOLD_S)) {
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_bookkeeping, .a = u.n_tx, .b = now > u.since_s ? now - u.since_s : 0});
        tx->rows = (struct sq_audit_rows){u.n_read, u.n_inserted, u.n_changed, u.n_deleted};
        u = (struct untold){.since_s = now};
    }
    return e ? e : write_untold(tx->db, &u);
}

sq_err rows_tell(struct tx *tx, const struct sq_db_count *n, const struct sq_db_count *read_before, bool *out_is_read_told)
{
    sq_err e = SQ_OK;
    bool is_persons = tx->last.number && tx->last.role != SQ_AUDIT_ROLE_SERVICE;
    sq_db_count_into(tx->db, NULL); /* what follows is written for the log's sake */
    if (tx->last.number)
        tx->rows = (struct sq_audit_rows){n->n_read + (is_persons ? read_before->n_read : 0), n->n_inserted, n->n_changed, n->n_deleted};
    else if (n->n_inserted || n->n_changed || n->n_deleted)
        e = add_untold(tx, n);
    if (!e && tx->last.number && (tx->rows.n_read || tx->rows.n_inserted || tx->rows.n_changed || tx->rows.n_deleted)) {
        uint8_t bytes[SQ_AUDIT_ROWS_BYTES];
        sq_audit_rows_put(&tx->rows, bytes);
        tx->last.field[tx->last.n_field++] = (struct sq_audit_field){.no = SQ_AUDIT_FIELD_rows, .sealed = sq_span_of(bytes, sizeof bytes)};
        e = put_last(tx);
    } else if (!e) {
        e = put_last(tx);
    }
    *out_is_read_told = is_persons && !e;
    return e;
}
