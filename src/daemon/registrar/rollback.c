/*
 * The database or the audit log is older than what keeper signed: somebody put back an old copy. Nothing is served and nothing
 * swept until the operator decides (docs/operate.md, Rollback). Going on is the log's next entry; keeper forgets the tree that
 * it signed, and what the older database doesn't know is destroyed, or kept until `sequester admin check --mend`.
 */
#include "daemon/registrar/survey.h"

#include <stdlib.h>

#define CONFIRM "I accept what was lost"
#define KEEP_KEY "rollback_keep"

struct standing {
    uint64_t log_size, database_last, signed_size;
    bool is_same_tree;
    uint8_t root[SQ_AUDIT_HASH_BYTES]; /* of the log as it lies here */
};

static sq_err stand(struct registrar *r, struct standing *out)
{
    struct sq_packet *pkt = sq_packet_new();
    struct sq_msg ask = sq_msg_bare(keeper_state), m;
    sq_err e = pkt ? sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m) : sq_fail(SQ_ENOMEM);
    if (e) {
        sq_packet_free(pkt);
        return e;
    }
    const struct sq_msg_keeper_state_is *k = &m.u.keeper_state_is;
    uint8_t then[SQ_AUDIT_HASH_BYTES];
    *out = (struct standing){.signed_size = k->tree_size, .is_same_tree = true};
    struct sq_db *db = db_lock(r);
    out->log_size = sq_audit_size(r->log);
    e = sq_db_outbox_last(db, &out->database_last);
    if (!e)
        e = sq_audit_root(r->log, out->root);
    if (!e && k->tree_size && k->tree_size <= out->log_size)
        out->is_same_tree = sq_audit_root_at(r->log, k->tree_size, then) == SQ_OK && !memcmp(then, k->tree_root, sizeof then);
    db_unlock(r);
    sq_packet_free(pkt);
    return e;
}

sq_err rollback_show(struct registrar *r, json_t **out)
{
    struct standing s;
    struct survey v;
    json_int_t n_slot = 0, n_file = 0, n_lost = 0;
    sq_err e = stand(r, &s);
    if (!e)
        e = survey_take(r, &v);
    if (e)
        return e;
    for (size_t i = 0; i < v.n_slot; i++)
        n_slot += !survey_row(&v, v.slot[i].id);
    for (size_t i = 0; i < v.n_file; i++)
        n_file += !survey_row(&v, v.file[i].id);
    for (size_t i = 0; i < v.n_row; i++)
        n_lost += v.row[i].state == SQ_DB_object_state_live && (!survey_slot(&v, v.row[i].id) || !survey_file(&v, v.row[i].id));
    survey_done(&v);
    bool is_back = __atomic_load_n(&r->is_rollback, __ATOMIC_SEQ_CST);
    *out = json_pack("{s:b, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:b, s:s}", "rollback", is_back, "log_entries", (json_int_t)s.log_size, "database_entry",
                     (json_int_t)s.database_last, "signed", (json_int_t)s.signed_size, "same_tree", s.is_same_tree, "keys_unknown", n_slot, "files_unknown", n_file,
                     "objects_gone", n_lost, "keeping", rollback_keeps(r), "confirm", CONFIRM);
    return *out ? SQ_OK : sq_fail(SQ_ENOMEM);
}

bool rollback_keeps(struct registrar *r)
{
    int64_t is = 0;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_meta_get_no(db, KEEP_KEY, &is);
    db_unlock(r);
    return !e && is;
}

static sq_err tx_kept_goes(struct tx *tx, void *ctx)
{
    (void)ctx;
    return sq_db_meta_delete(tx->db, KEEP_KEY);
}

sq_err rollback_kept_goes(struct registrar *r)
{
    return commit(r, tx_kept_goes, NULL);
}

struct decision {
    const struct caller *by;
    bool is_keeping;
    uint64_t log_size, signed_size;
};

static sq_err tx_decided(struct tx *tx, void *ctx)
{
    const struct decision *d = ctx;
    int64_t sent = 0;
    sq_err e = sq_db_outbox_set_last(tx->db, d->log_size);
    if (!e && !sq_db_meta_get_no(tx->db, SYSLOG_CURSOR_KEY, &sent) && (uint64_t)sent > d->log_size) /* numbers are given again: the collector gets them too */
        e = sq_db_meta_set_no(tx->db, SYSLOG_CURSOR_KEY, (int64_t)d->log_size);
    if (!e)
        e = d->is_keeping ? sq_db_meta_set_no(tx->db, KEEP_KEY, 1) : sq_db_meta_delete(tx->db, KEEP_KEY);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_rollback_decided, .by = d->by, .a = d->is_keeping ? 1 : 2, .b = d->signed_size});
}

sq_err rollback_accept(struct registrar *r, const json_t *args, const struct caller *by, struct sq_why *why)
{
    const char *confirm = json_string_value(json_object_get(args, "confirm")), *choice = json_string_value(json_object_get(args, "choice"));
    bool is_unsealed = false;
    uint64_t size;
    struct standing s;
    if (!__atomic_load_n(&r->is_rollback, __ATOMIC_SEQ_CST))
        return sq_why_set(why, SQ_ECONFLICT, 0, 0, "rollback", "there is nothing to decide");
    if (!confirm || strcmp(confirm, CONFIRM) != 0)
        return sq_why_set(why, SQ_EFIELD, 0, 0, "confirm", "must be: " CONFIRM);
    if (!choice || (strcmp(choice, "keep") != 0 && strcmp(choice, "erase") != 0))
        return sq_why_set(why, SQ_EFIELD, 0, 0, "choice", "must be keep or erase");
    sq_err e = keeper_learn(r, &is_unsealed, &size);
    if (!e && !is_unsealed)
        e = sq_fail(SQ_ESEALED);
    if (!e)
        e = stand(r, &s);
    struct decision d = {.by = by, .is_keeping = !strcmp(choice, "keep")};
    if (!e) {
        d.log_size = s.log_size;
        d.signed_size = s.signed_size;
        e = commit(r, tx_decided, &d); /* the first entry of the log that goes on */
    }
    if (!e && (s.log_size < s.signed_size || !s.is_same_tree)) {
        struct sq_msg m = sq_msg_of(tree_reset, .from_size = s.signed_size, .size = s.log_size);
        memcpy(m.u.tree_reset.root, s.root, sizeof s.root);
        e = keeper_do(r, &m);
    }
    if (!e)
        __atomic_store_n(&r->is_rollback, false, __ATOMIC_SEQ_CST); /* recovery_main goes on */
    return e;
}
