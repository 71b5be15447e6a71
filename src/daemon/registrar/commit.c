/*
 * The one way to change anything. Requests that are ready at the same time form a group: one transaction, one fsync of
 * the database, one append and fsync of the log, then all answers. The first request that comes while nobody leads, leads.
 *
 * The log's last number makes replay exact: an entry is put into the outbox inside the transaction with the number it
 * will have, and only then appended. A crash between leaves it in the outbox, and outbox_flush appends it at the start.
 */
#include "daemon/registrar/registrar.h"

#include "lib/core/file.h"

#include <stdlib.h>
#include <unistd.h>

#define GROUP_MAX 64

struct pending {
    tx_fn fn;
    void *ctx;
    const struct sq_db_count *read; /* for it, before */
    bool is_read_told;
    sq_err e;
    bool is_done;
    struct pending *next;
};

const uint8_t no_id[ID] = {0};

bool is_zero(const uint8_t id[ID])
{
    return !memcmp(id, no_id, ID);
}

sq_err id_new(uint8_t out[ID])
{
    return sq_random(out, ID);
}

struct sq_db *db_lock(struct registrar *r)
{
    pthread_mutex_lock(&r->lock);
    sq_db_count_into(r->db, rows_asked());
    return r->db;
}

void db_unlock(struct registrar *r)
{
    sq_db_count_into(r->db, NULL);
    pthread_mutex_unlock(&r->lock);
}

/* ---- events ---- */

sq_err tx_event(struct tx *tx, const struct event *ev)
{
    struct registrar *r = tx->r;
    struct sq_audit_entry entry = {
        .number = r->next_entry,
        .time_ms = sq_clock_now_ms(),
        .event = (uint16_t)ev->no,
        .result = (uint16_t)ev->result,
        .role = SQ_AUDIT_ROLE_SERVICE,
        .count_a = ev->a,
        .count_b = ev->b,
    };
    if (ev->by) {
        entry.role = (uint8_t)ev->by->as;
        memcpy(entry.actor, ev->by->user, ID);
        memcpy(entry.request, ev->by->request, sizeof entry.request);
        if (ev->by->address_sealed.n) {
            entry.n_field = 1;
            entry.field[0].no = SQ_AUDIT_FIELD_address;
            memcpy(entry.field[0].owner, ev->by->seal_owner, ID);
            entry.field[0].sealed = sq_span_of(ev->by->address_sealed.p, ev->by->address_sealed.n);
        }
    }
    if (ev->subject)
        memcpy(entry.subject, ev->subject, ID);
    if (ev->object)
        memcpy(entry.object, ev->object, ID);

    sq_err e = rows_entry(tx, &entry);
    if (!e && !is_zero(entry.subject))
        e = sq_db_audit_ref_put(tx->db, entry.number, entry.subject, entry.object);
    /* who was refused another one's object doesn't read in his own history that it exists, or whose it is */
    bool is_stranger = ev->no == SQ_AUDIT_denied;
    if (!e && !is_stranger && !is_zero(entry.actor) && memcmp(entry.actor, entry.subject, ID) && entry.role == SQ_AUDIT_ROLE_USER)
        e = sq_db_audit_ref_put(tx->db, entry.number, entry.actor, entry.object);
    if (!e)
        r->next_entry++;
    tx->n_routine += sq_audit_event_class((unsigned)ev->no) != SQ_AUDIT_ERASURE;
    return e;
}

static sq_err only_event(struct tx *tx, void *ctx)
{
    return tx_event(tx, ctx);
}

sq_err record(struct registrar *r, const struct event *ev)
{
    struct event copy = *ev;
    return commit(r, only_event, &copy);
}

/* ---- the log ---- */

struct group {
    struct sq_buf bytes;
    size_t start[SQ_AUDIT_GROUP_MAX], len[SQ_AUDIT_GROUP_MAX];
    size_t n;
    uint64_t last;
};

static sq_err add_to_group(void *ctx, uint64_t no, struct sq_span entry)
{
    struct group *g = ctx;
    g->start[g->n] = g->bytes.n;
    g->len[g->n++] = entry.n;
    g->last = no;
    return sq_buf_add(&g->bytes, entry.p, entry.n);
}

/* lock held, outside a transaction */
static sq_err flush_locked(struct registrar *r)
{
    struct group *g = calloc(1, sizeof *g);
    struct sq_span *span = calloc(SQ_AUDIT_GROUP_MAX, sizeof *span);
    sq_err e = g && span ? SQ_OK : sq_fail(SQ_ENOMEM);
    while (!e) {
        sq_buf_init(&g->bytes, 0);
        g->n = 0;
        e = sq_db_outbox_peek(r->db, 256, add_to_group, g);
        if (e || !g->n)
            break;
        /* entries that a crash left both in the outbox and in the log are skipped by their number */
        uint64_t size = sq_audit_size(r->log), first = g->last - g->n + 1;
        size_t skip = size >= first ? (size_t)(size - first + 1) : 0;
        if (skip > g->n)
            skip = g->n;
        for (size_t i = skip; i < g->n; i++)
            span[i - skip] = sq_span_of(g->bytes.p + g->start[i], g->len[i]);
        e = sq_fault("commit.before_log");
        if (!e && g->n > skip)
            e = sq_audit_append_owed(r->log, span, g->n - skip); /* these rows are committed: their entries must get in */
        if (!e)
            e = sq_fault("commit.after_log");
        if (!e)
            e = sq_db_outbox_delete_upto(r->db, g->last);
        sq_buf_done(&g->bytes);
    }
    if (g)
        sq_buf_done(&g->bytes);
    free(g);
    free(span);
    return e;
}

sq_err outbox_flush(struct registrar *r)
{
    pthread_mutex_lock(&r->lock);
    sq_err e = flush_locked(r);
    pthread_mutex_unlock(&r->lock);
    return e;
}

/* ---- groups ---- */

/* ---- a full disk: erasing goes on, by the reserves; nothing else begins until they are whole again ---- */

#define SLICE_BYTES (UINT64_C(2) << 20)

static void look_for_space(struct registrar *r)
{
    bool was_tight = r->is_tight;
    r->is_tight = sq_audit_reserve_fill(r->log) != SQ_OK || sq_db_reserve_fill(r->reserve) != SQ_OK;
    if (r->is_tight != was_tight)
        sq_log(SQ_LOG_disk_full, SQ_LW("is", r->is_tight ? "full" : "over"));
}

/* The database can't grow: some of its reserve, or of the log's when that lies on the same disk. */
static bool make_space(struct registrar *r)
{
    r->is_tight = true;
    return sq_db_reserve_release(r->reserve, SLICE_BYTES) == SQ_OK || sq_audit_reserve_release(r->log, SLICE_BYTES) == SQ_OK;
}

static sq_err run_one(struct registrar *r, struct pending *p)
{
    uint64_t entry_before = r->next_entry;
    sq_err e = sq_db_save(r->db);
    if (e)
        return e;
    struct tx tx = {.r = r, .db = r->db};
    struct sq_db_count n = {0};
    sq_db_count_into(r->db, &n);
    e = p->fn(&tx, p->ctx);
    if (!e)
        e = rows_tell(&tx, &n, p->read, &p->is_read_told);
    sq_db_count_into(r->db, NULL);
    if (!e && r->is_tight && tx.n_routine)
        e = sq_fail(SQ_EFULL);
    sq_err end = e ? sq_db_save_undo(r->db) : sq_db_save_keep(r->db);
    if (e || end)
        r->next_entry = entry_before;
    p->e = e ? e : end;
    return end; /* only a broken savepoint breaks the group */
}

/* One transaction of the group, from BEGIN to COMMIT. SQ_EFULL: nothing of it happened. */
static sq_err transact(struct registrar *r, struct pending *const *group, size_t n)
{
    uint64_t entry_before = r->next_entry;
    sq_err e = sq_db_begin(r->db);
    for (size_t i = 0; i < n && !e; i++)
        e = run_one(r, group[i]);
    if (!e)
        e = sq_fault("commit.before_commit");
    if (!e)
        e = sq_db_commit(r->db);
    if (e) {
        sq_db_rollback(r->db);
        r->next_entry = entry_before;
    }
    return e;
}

static void run_group(struct registrar *r, struct pending *const *group, size_t n)
{
    pthread_mutex_lock(&r->lock);
    sq_err e = flush_locked(r); /* what is committed but not logged comes first; if the log is broken nothing new begins */
    if (e == SQ_EFULL && make_space(r))
        e = flush_locked(r);
    look_for_space(r);
    if (!e)
        e = transact(r, group, n);
    while (e == SQ_EFULL && make_space(r)) /* again, now without what is routine */
        e = transact(r, group, n);
    if (!e)
        e = flush_locked(r);
    if (e == SQ_EFULL && make_space(r)) /* committed, and in the log perhaps; forgetting the outbox needs space too */
        e = flush_locked(r);
    if (e && sq_audit_is_broken(r->log)) { /* only a new start can tell what the disk holds; nothing was acknowledged */
        sq_log(SQ_LOG_failed, SQ_LW("what", "audit_log"), SQ_LW("code", sq_err_name(e)));
        _exit(1);
    }
    pthread_mutex_unlock(&r->lock);
    if (e)
        sq_log(SQ_LOG_failed, SQ_LW("what", "commit"), SQ_LW("code", sq_err_name(e)));
    for (size_t i = 0; i < n; i++)
        if (e && !group[i]->e)
            group[i]->e = e;
}

sq_err commit(struct registrar *r, tx_fn fn, void *ctx)
{
    const struct sq_db_count read = *rows_asked();
    struct pending me = {.fn = fn, .ctx = ctx, .read = &read};
    pthread_mutex_lock(&r->queue_lock);
    if (r->last)
        r->last->next = &me;
    else
        r->first = &me;
    r->last = &me;
    while (!me.is_done) {
        if (r->is_leading) {
            pthread_cond_wait(&r->queue_wake, &r->queue_lock);
            continue;
        }
        r->is_leading = true;
        struct pending *group[GROUP_MAX];
        size_t n = 0;
        while (r->first && n < GROUP_MAX) {
            group[n++] = r->first;
            r->first = r->first->next;
        }
        if (!r->first)
            r->last = NULL;
        pthread_mutex_unlock(&r->queue_lock);
        run_group(r, group, n);
        pthread_mutex_lock(&r->queue_lock);
        for (size_t i = 0; i < n; i++)
            group[i]->is_done = true;
        r->is_leading = false;
        pthread_cond_broadcast(&r->queue_wake);
    }
    pthread_mutex_unlock(&r->queue_lock);
    if (me.is_read_told)
        rows_ask();
    return me.e;
}

/* ---- checkpoints ---- */

static sq_err checkpoint_try(struct registrar *r, struct sq_packet *pkt)
{
    bool is_unsealed;
    uint64_t signed_size;
    sq_err e = keeper_learn(r, &is_unsealed, &signed_size);
    if (e || !is_unsealed)
        return e;
    struct sq_audit_proof proof;
    uint8_t root[SQ_AUDIT_HASH_BYTES];
    pthread_mutex_lock(&r->lock);
    uint64_t size = sq_audit_size(r->log);
    if (size > signed_size) {
        e = sq_audit_root(r->log, root);
        if (!e)
            e = sq_audit_consistency(r->log, signed_size, size, &proof);
    }
    pthread_mutex_unlock(&r->lock);
    if (e || size <= signed_size)
        return e;
    struct sq_msg ask = sq_msg_of(checkpoint, .size = size, .proof = sq_span_of(proof.hash, (size_t)proof.n * SQ_AUDIT_HASH_BYTES)), note;
    memcpy(ask.u.checkpoint.root, root, sizeof root);
    e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &note);
    if (e)
        return e;
    pthread_mutex_lock(&r->lock);
    e = sq_audit_checkpoint_add(r->log, (const char *)note.u.note_is.note.p, note.u.note_is.note.n);
    pthread_mutex_unlock(&r->lock);
    if (!e)
        sq_log(SQ_LOG_checkpoint, SQ_LN("size", size));
    return e;
}

void checkpoint_now(struct registrar *r)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return;
    sq_err e = checkpoint_try(r, pkt);
    if (e && e != SQ_EDOWN && e != SQ_ESEALED)
        sq_log(SQ_LOG_failed, SQ_LW("what", "checkpoint"), SQ_LW("code", sq_err_name(e)));
    sq_packet_free(pkt);
}
