/*
 * `sequester admin check`, accounts: what keeper holds of them, what the database says, what the log told. Devices that wait to be let in and sign-ins under way
 * are in memory alone, so there is nothing of theirs to compare.
 */
#include "daemon/registrar/findings.h"
#include "daemon/registrar/survey.h"

#include <stdlib.h>

#define PAGE 500
#define LISTED_BYTES 40 /* of a slot in slot_list_is */
#define HAS_PASSWORD 1  /* message slot_list */
#define NEEDS_FACTOR 2
#define WEEK_S (7 * SQ_DAY_S)
#define WEEK_KEPT_S (90 * SQ_DAY_S) /* auth.c */

static int by_id(const void *a, const void *b)
{
    return memcmp(a, b, ID);
}

/* ---- what there is ---- */

struct looking {
    struct accounts *a;
    struct sq_db *db;
};

static sq_err take_account(void *ctx, const struct sq_db_user *row)
{
    struct looking *l = ctx;
    int64_t n_factor = 0, n_link = 0;
    sq_err e = sq_db_factor_count(l->db, row->id, 0, &n_factor);
    if (!e)
        e = sq_db_link_count(l->db, row->id, SQ_DB_link_kind_factors, &n_link);
    if (!e)
        e = survey_grow(&l->a->row, l->a->n_row, sizeof *l->a->row);
    if (e)
        return e;
    struct seen_account *x = &l->a->row[l->a->n_row++];
    *x = (struct seen_account){.is_disabled = row->is_disabled, .is_pending = row->is_pending, .has_password = row->password_sealed.n != 0, .has_factor = n_factor != 0, .is_resetting = n_link != 0};
    memcpy(x->id, row->id, ID);
    return SQ_OK;
}

static sq_err owes(struct accounts *a, const uint8_t id[ID])
{
    sq_err e = survey_grow(&a->owing, a->n_owing, sizeof *a->owing);
    if (!e)
        memcpy(a->owing[a->n_owing++], id, ID);
    return e;
}

struct paging {
    struct accounts *a;
    uint8_t last[ID];
    size_t n;
};

static sq_err take_factor(void *ctx, const struct sq_db_factor *row)
{
    struct paging *p = ctx;
    memcpy(p->last, row->id, ID);
    p->n++;
    return row->kind != SQ_DB_factor_kind_recovery && row->state == SQ_DB_factor_state_live ? owes(p->a, row->id) : SQ_OK;
}

static sq_err take_token(void *ctx, const struct sq_db_token *row)
{
    struct paging *p = ctx;
    memcpy(p->last, row->jti, ID);
    p->n++;
    return owes(p->a, row->jti);
}

static sq_err list_accounts(struct registrar *r, struct accounts *a)
{
    sq_err e;
    size_t before;
    uint8_t after[ID];
    do {
        before = a->n_row;
        if (before)
            memcpy(after, a->row[before - 1].id, ID);
        struct looking l = {.a = a, .db = db_lock(r)};
        e = sq_db_user_list(l.db, before ? after : NULL, PAGE, take_account, &l);
        db_unlock(r);
    } while (!e && a->n_row == before + PAGE);
    return e;
}

static sq_err list_owing(struct registrar *r, struct accounts *a, bool is_token)
{
    struct paging p = {.a = a};
    sq_err e;
    bool is_first = true;
    do {
        p.n = 0;
        struct sq_db *db = db_lock(r);
        e = is_token ? sq_db_token_all(db, is_first ? NULL : p.last, PAGE, take_token, &p) : sq_db_factor_all(db, is_first ? NULL : p.last, PAGE, take_factor, &p);
        db_unlock(r);
        is_first = false;
    } while (!e && p.n == PAGE);
    return e;
}

static sq_err take_owners(struct accounts *a, struct sq_span slots)
{
    for (size_t at = 0; at + LISTED_BYTES <= slots.n; at += LISTED_BYTES) {
        sq_err e = survey_grow(&a->owner, a->n_owner, sizeof *a->owner);
        if (e)
            return e;
        struct seen_owner *x = &a->owner[a->n_owner++];
        memcpy(x->id, slots.p + at, ID);
        x->flags = slots.p[at + ID];
        x->not_after_s = (int64_t)sq_get_be64(slots.p + at + 2 * ID);
    }
    return SQ_OK;
}

static sq_err list_owners(struct registrar *r, struct accounts *a)
{
    struct sq_packet *pkt = sq_packet_new();
    sq_err e = pkt ? SQ_OK : sq_fail(SQ_ENOMEM);
    uint32_t from = 0;
    do {
        struct sq_msg ask = sq_msg_of(slot_list, .from_slot = from, .owners = 1), m;
        if (!e)
            e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
        from = e ? 0 : m.u.slot_list_is.next_slot;
        if (!e)
            e = take_owners(a, m.u.slot_list_is.slots);
    } while (!e && from);
    sq_packet_free(pkt);
    if (a->n_owner)
        qsort(a->owner, a->n_owner, sizeof *a->owner, by_id);
    return e;
}

sq_err accounts_look(struct registrar *r, struct accounts *out)
{
    *out = (struct accounts){.n_row = 0};
    sq_err e = list_owners(r, out);
    if (!e)
        e = list_accounts(r, out);
    if (!e)
        e = list_owing(r, out, false);
    return e ? e : list_owing(r, out, true);
}

void accounts_done(struct accounts *a)
{
    free(a->row);
    free(a->owner);
    free(a->owing);
    *a = (struct accounts){.n_row = 0};
}

/* ---- compared ---- */

const uint8_t *accounts_told_of(const struct sq_audit_entry *entry)
{
    switch (entry->event) {
    case SQ_AUDIT_user_created:
    case SQ_AUDIT_operator_created:
    case SQ_AUDIT_registered: return entry->subject;
    case SQ_AUDIT_factor_added:
    case SQ_AUDIT_token_issued: return entry->object;
    default: return NULL;
    }
}

/* The owner of what nobody signed for in one week, auth.c: its end says which week. */
static bool is_of_a_week(struct registrar *r, const struct seen_owner *o)
{
    char key[32];
    struct sq_buf have;
    sq_buf_init(&have, 64);
    snprintf(key, sizeof key, "week.%lld", (long long)((o->not_after_s - WEEK_KEPT_S) / WEEK_S - 1));
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_meta_get(db, key, &have);
    db_unlock(r);
    bool is_one = !e && have.n == ID && !memcmp(have.p, o->id, ID);
    sq_buf_done(&have);
    return is_one;
}

static sq_err take_any(void *ctx, const struct sq_db_object *row)
{
    (void)row;
    *(bool *)ctx = true;
    return SQ_OK;
}

static sq_err check_owner(struct registrar *r, const struct accounts *a, const struct seen_owner *o, struct check *c)
{
    bool is_row = a->n_row && bsearch(o->id, a->row, a->n_row, sizeof *a->row, by_id), has_object = false;
    if (is_row || is_zero(o->id) || is_of_a_week(r, o))
        return SQ_OK;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_object_list(db, o->id, 0, 0, NULL, 1, take_any, &has_object);
    db_unlock(r);
    if (e)
        return e;
    return check_found(c, has_object || check_is_told(c, o->id) ? FOUND_owner_unknown : FOUND_owner_without_row, o->id);
}

static sq_err check_account(const struct accounts *a, const struct seen_account *x, struct check *c)
{
    const struct seen_owner *o = a->n_owner ? bsearch(x->id, a->owner, a->n_owner, sizeof *a->owner, by_id) : NULL;
    if (!o)
        return x->is_disabled ? SQ_OK : check_found(c, FOUND_row_without_owner, x->id);
    if (x->has_factor && !(o->flags & NEEDS_FACTOR))
        return check_found(c, FOUND_factor_unmarked, x->id);
    if (!x->has_factor && (o->flags & NEEDS_FACTOR) && !x->is_resetting)
        return check_found(c, FOUND_factor_lost, x->id);
    return x->has_password && !(o->flags & HAS_PASSWORD) ? check_found(c, FOUND_password_unmarked, x->id) : SQ_OK;
}

sq_err accounts_compare(struct registrar *r, const struct accounts *a, struct check *c)
{
    sq_err e = SQ_OK;
    for (size_t i = 0; i < a->n_owner && !e; i++)
        e = check_owner(r, a, &a->owner[i], c);
    for (size_t i = 0; i < a->n_row && !e; i++)
        e = check_account(a, &a->row[i], c);
    return e;
}

sq_err accounts_untold(const struct accounts *a, struct check *c)
{
    sq_err e = SQ_OK;
    for (size_t i = 0; i < a->n_row && !e; i++)
        if (!check_is_told(c, a->row[i].id))
            e = check_found(c, FOUND_account_untold, a->row[i].id);
    for (size_t i = 0; i < a->n_owing && !e; i++)
        if (!check_is_told(c, a->owing[i]))
            e = check_found(c, FOUND_account_untold, a->owing[i]);
    return e;
}

/* ---- mended ---- */

static sq_err destroy_owner(struct registrar *r, const uint8_t id[ID])
{
    struct sq_db_user user;
    sq_err e = user_load(r, id, &user);
    if (e != SQ_ENOTFOUND)
        return e; /* it has come to life meanwhile */
    struct sq_msg m = sq_msg_bare(owner_destroy);
    memcpy(m.u.owner_destroy.owner_id, id, ID);
    return keeper_do(r, &m);
}

static sq_err disable(struct registrar *r, const uint8_t id[ID], const struct caller *by)
{
    struct account_change x = {.by = by, .is_local = true, .set_disabled = true, .is_disabled = true};
    sq_err e = user_load(r, id, &x.user);
    return e ? e : account_change(r, &x);
}

struct mending {
    const uint8_t *id;
    const struct caller *by;
};

static sq_err tx_revoke(struct tx *tx, void *ctx)
{
    const struct mending *x = ctx;
    struct sq_db_token row;
    sq_err e = sq_db_token_get(tx->db, x->id, &row);
    if (!e)
        e = sq_db_token_revoke(tx->db, x->id, sq_clock_now_s());
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_token_revoked, .by = x->by, .subject = row.user_id, .object = row.jti});
}

static sq_err tx_no_recovery(struct tx *tx, void *ctx)
{
    const struct mending *x = ctx;
    struct sq_db_factor row;
    int64_t n = 0;
    sq_err e = sq_db_factor_get(tx->db, x->id, &row);
    if (e == SQ_ENOTFOUND)
        return SQ_OK; /* it went with the one before */
    if (!e)
        e = sq_db_factor_count(tx->db, row.user_id, 0, &n);
    if (!e && !n)
        e = sq_db_factor_delete_kind(tx->db, row.user_id, SQ_DB_factor_kind_recovery, &n);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_factors_reset, .by = x->by, .subject = row.user_id});
}

sq_err account_mend(struct registrar *r, enum finding_no no, const uint8_t id[ID], const struct caller *by)
{
    struct mending x = {.id = id, .by = by};
    switch (no) {
    case FOUND_owner_without_row: return destroy_owner(r, id);
    case FOUND_row_without_owner: return disable(r, id, by);
    case FOUND_factor_unmarked: return factor_mark(r, id);
    case FOUND_token_of_disabled: return commit(r, tx_revoke, &x);
    default: return commit(r, tx_no_recovery, &x);
    }
}
