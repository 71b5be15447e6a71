/*
 * What a crash left behind (DESIGN §2a, *Start*). Waits until keeper is unsealed, refuses to sweep when the log is behind
 * the size that keeper last signed (a restored old database would otherwise erase everything newer), then: slots and files
 * that no row knows are destroyed, live rows that lack either are damaged, uploads and reveals that were cut off are ended,
 * tasks that were running become ready again.
 */
#include "daemon/registrar/survey.h"

#include <stdlib.h>
#include <unistd.h>

#define MAX_KNOWN (1 << 24)
#define PAGE 1000 /* rows a list gives at most */

struct known { /* ids, sorted */
    uint8_t (*id)[ID];
    size_t n, cap;
};

static int by_id(const void *a, const void *b)
{
    return memcmp(a, b, ID);
}

static sq_err known_add(struct known *k, const uint8_t *id)
{
    if (k->n == k->cap) {
        size_t cap = k->cap ? 2 * k->cap : 1024;
        if (cap > MAX_KNOWN)
            return sq_fail(SQ_ELIMIT);
        void *p = realloc(k->id, cap * ID);
        if (!p)
            return sq_fail(SQ_ENOMEM);
        k->id = p;
        k->cap = cap;
    }
    memcpy(k->id[k->n++], id, ID);
    return SQ_OK;
}

static bool known_has(const struct known *k, const uint8_t *id)
{
    return k->n && bsearch(id, k->id, k->n, ID, by_id);
}

static bool is_row_needed(const struct survey *s, const uint8_t *id)
{
    const struct seen_row *row = survey_row(s, id);
    return row && row->state != SQ_DB_object_state_erased;
}

/* why a live object can't be read, or NULL. One whose time is over has lost its key by keeper's own hand: expired, not damaged */
static const char *damage_of(const struct survey *s, const struct seen_row *row)
{
    if (row->state != SQ_DB_object_state_live || row->not_after_s <= sq_clock_now_s())
        return NULL;
    const struct seen_file *file = survey_file(s, row->id);
    return !survey_slot(s, row->id) ? "no_key" : !file ? "no_file" : file->n_bytes != row->sealed_bytes ? "length" : NULL;
}

/* A file or key that can't be destroyed now doesn't keep the service down: `admin check` names it, the next start tries again. */
static sq_err sweep(struct registrar *r)
{
    struct survey s;
    uint64_t n_slot = 0, n_file = 0, n_damaged = 0;
    bool is_keeping = rollback_keeps(r); /* the operator keeps what a restored database doesn't know */
    sq_err e = survey_take(r, &s);
    if (e)
        return e;
    for (size_t i = 0; i < s.n_slot && !e && !is_keeping; i++)
        if (!is_row_needed(&s, s.slot[i].id)) {
            e = destroy_orphan_slot(r, s.slot[i].id);
            n_slot++;
        }
    for (size_t i = 0; i < s.n_file && !e && !is_keeping; i++)
        if (!is_row_needed(&s, s.file[i].id)) {
            e = erase_orphan_file(r, &s.file[i]);
            if (e == SQ_EERASE) {
                sq_log(SQ_LOG_failed, SQ_LW("what", "sweep"), SQ_LW("code", sq_err_name(e)), SQ_LID("id", s.file[i].id, ID));
                e = SQ_OK;
            }
            n_file++;
        }
    for (size_t i = 0; i < s.n_row && !e; i++) {
        const char *why = damage_of(&s, &s.row[i]);
        const struct seen_slot *slot = survey_slot(&s, s.row[i].id);
        if (why) {
            e = mark_damaged(r, s.row[i].id, why);
            n_damaged++;
        } else if (slot && s.row[i].state == SQ_DB_object_state_live && slot->not_after_s != s.row[i].not_after_s) {
            e = agree_deadline(r, &s.row[i], slot); /* cut off between keeper and the transaction */
        }
    }
    survey_done(&s);
    sq_log(SQ_LOG_sweep, SQ_LN("slots", n_slot), SQ_LN("files", n_file), SQ_LN("damaged", n_damaged));
    if (!e && n_slot + n_file)
        e = record(r, &(struct event){.no = SQ_AUDIT_swept, .a = n_slot, .b = n_file});
    return e;
}

/* objects that were being written: those of uploads end with their upload; the rest were outputs of tasks, which start anew */
static sq_err take_opening(void *ctx, const struct sq_db_object *row)
{
    return known_add(ctx, row->id);
}

static sq_err tx_gone(struct tx *tx, void *ctx)
{
    return tx_object_erase(tx, ctx, NULL);
}

static sq_err end_openings(struct registrar *r)
{
    struct known k = {0};
    sq_err e;
    do { /* each page ends what it lists, so the next one is again the first */
        k.n = 0;
        struct sq_db *db = db_lock(r);
        e = sq_db_object_list(db, NULL, 0, SQ_DB_object_state_opening, NULL, PAGE, take_opening, &k);
        db_unlock(r);
        for (size_t i = 0; i < k.n && !e; i++)
            e = commit(r, tx_gone, k.id[i]);
    } while (!e && k.n == PAGE);
    free(k.id);
    return e;
}

/* sealed files of panels that no panel row came to name: the operator's command was cut off */
static sq_err take_named(void *ctx, const struct sq_db_panel *p)
{
    return known_add(ctx, p->object_id);
}

static sq_err end_orphan_panels(struct registrar *r)
{
    struct known named = {0}, live = {0};
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_panel_list(db, true, take_named, &named);
    if (!e)
        e = sq_db_object_list(db, no_id, SQ_DB_object_kind_panel, SQ_DB_object_state_live, NULL, PAGE, take_opening, &live);
    db_unlock(r);
    if (named.n)
        qsort(named.id, named.n, ID, by_id);
    for (size_t i = 0; i < live.n && !e; i++)
        if (!known_has(&named, live.id[i]))
            e = commit(r, tx_gone, live.id[i]);
    free(named.id);
    free(live.id);
    return e;
}

/* the site's own owner key (panels), made once */
static sq_err site_owner(struct registrar *r)
{
    struct sq_msg m = sq_msg_bare(owner_create);
    sq_err e = keeper_do(r, &m);
    return e == SQ_EEXISTS ? SQ_OK : e;
}

/*
 * Is what lies here older than what keeper last signed? Keeper tells size and root also while it is sealed. The database is
 * compared by the number of the last entry that it made: one restored alone would take everything newer for leftovers.
 */
static sq_err is_rolled_back(struct registrar *r, const struct sq_msg_keeper_state_is *keeper, bool *out)
{
    uint8_t root[SQ_AUDIT_HASH_BYTES];
    uint64_t last = 0;
    struct sq_db *db = db_lock(r);
    uint64_t size = sq_audit_size(r->log);
    bool is_behind = size < keeper->tree_size;
    sq_err e = SQ_OK;
    if (!is_behind && keeper->tree_size) {
        e = sq_audit_root_at(r->log, keeper->tree_size, root);
        is_behind = !e && memcmp(root, keeper->tree_root, sizeof root);
    }
    if (!e)
        e = sq_db_outbox_last(db, &last);
    db_unlock(r);
    if (!e)
        *out = is_behind || last != size;
    return e;
}

/* once, before anything is recorded: an entry more would hide that the log is behind */
static sq_err check_rollback(struct registrar *r)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_bare(keeper_state), m;
    bool is_back = false;
    sq_err e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e)
        e = is_rolled_back(r, &m.u.keeper_state_is, &is_back);
    sq_packet_free(pkt);
    if (e || !is_back)
        return e;
    __atomic_store_n(&r->is_rollback, true, __ATOMIC_SEQ_CST);
    sq_log(SQ_LOG_failed, SQ_LW("what", "rollback"), SQ_LW("code", sq_err_name(SQ_EROLLBACK)));
    return SQ_EROLLBACK;
}

static sq_err recover(struct registrar *r)
{
    pthread_mutex_lock(&r->lock);
    uint64_t size = sq_audit_size(r->log);
    pthread_mutex_unlock(&r->lock);
    sq_err e = site_owner(r);
    uploads_of_dead_gateway(r);
    tasks_of_dead_runner(r);
    streams_of_dead_gateway(r);
    if (!e)
        e = end_openings(r);
    if (!e)
        e = end_orphan_panels(r);
    if (!e)
        e = sweep(r);
    return e ? e : record(r, &(struct event){.no = SQ_AUDIT_started, .a = size});
}

void *recovery_main(void *arg)
{
    struct registrar *r = arg;
    bool was_sealed = false, is_checked = false;
    for (;;) {
        bool is_unsealed = false;
        uint64_t signed_size = 0;
        sq_err e = is_checked ? SQ_OK : check_rollback(r);
        is_checked = is_checked || !e;
        if (!e)
            e = keeper_learn(r, &is_unsealed, &signed_size);
        if (!e && is_unsealed && note_keys_take(r)) /* a full disk: erasing goes on all the same, and the next start writes them */
            sq_log(SQ_LOG_failed, SQ_LW("what", "note_keys"));
        if (!e && is_unsealed)
            e = recover(r);
        if (!e && is_unsealed)
            break;
        if (e == SQ_EROLLBACK) { /* until the operator has decided: rollback.c */
            while (__atomic_load_n(&r->is_rollback, __ATOMIC_SEQ_CST))
                usleep(100000);
            is_checked = true;
            continue;
        }
        if (!e && !was_sealed) {
            was_sealed = true;
            sq_log(SQ_LOG_key_service, SQ_LW("state", "sealed"));
            e = record(r, &(struct event){.no = SQ_AUDIT_sealed_start});
        }
        usleep(200000);
    }
    if (was_sealed) {
        sq_err e = record(r, &(struct event){.no = SQ_AUDIT_unsealed});
        (void)e;
    }
    __atomic_store_n(&r->is_recovered, true, __ATOMIC_SEQ_CST);
    sq_log(SQ_LOG_key_service, SQ_LW("state", "ready"));
    erase_wake(r);
    plan_wake(r);
    return NULL;
}
