/* Owners and objects: made, closed, extended, destroyed, listed; and the expiry that needs nobody. */
#include "daemon/keeper/keeper.h"

#include "lib/core/clock.h"
#include "lib/core/log.h"

#define LIST_MAX 1024

static void answer(struct sq_ask *ask, sq_err err)
{
    sq_ask_end(ask, err, NULL);
}

/* The message says u64; times are signed inside. */
static bool is_time(uint64_t unix_s)
{
    return unix_s < (uint64_t)INT64_MAX / 2;
}

void on_owner_create(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_owner_create *q = &m->u.owner_create;
    sq_err err = keeper_clock_ok(k);
    if (!err && !is_time(q->not_after_s))
        err = sq_fail(SQ_ERANGE);
    if (!err)
        err = sq_slab_add(k->slab, SQ_SLAB_OWNER, q->owner_id, NULL, q->not_after_s, 0, sq_clock_now_s());
    answer(ask, err);
}

void on_owner_destroy(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const uint8_t *id = m->u.owner_destroy.owner_id;
    uint64_t destroyed_s;
    uint32_t generation;
    if (!memcmp(id, sq_slab_site_owner, SQ_ID_BYTES)) {
        sq_ask_fail(ask, sq_fail(SQ_EDENIED)); /* it holds the panels of everyone */
        return;
    }
    sq_err err = sq_slab_destroy(k->slab, SQ_SLAB_OWNER, id, sq_clock_now_s(), &destroyed_s, &generation);
    if (!err)
        sq_log(SQ_LOG_slot_destroyed, SQ_LID("object", id, SQ_ID_BYTES), SQ_LW("reason", "owner"));
    answer(ask, err);
}

void on_slot_create(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_slot_create *q = &m->u.slot_create;
    sq_err err = keeper_clock_ok(k);
    if (!err && (!is_time(q->not_after_s) || (q->for_role != SQ_ROLE_GATEWAY && q->for_role != SQ_ROLE_RUNNER)))
        err = sq_fail(SQ_ERANGE);
    if (!err)
        err = sq_slab_add(k->slab, SQ_SLAB_OBJECT, q->object_id, q->owner_id, q->not_after_s, q->for_role, sq_clock_now_s());
    if (!err)
        sq_log(SQ_LOG_slot_created, SQ_LID("object", q->object_id, SQ_ID_BYTES));
    answer(ask, err);
}

void on_slot_close(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const uint8_t *id = m->u.slot_close.object_id;
    sq_err err = sq_slab_shut(k->slab, id, sq_clock_now_s());
    if (!err)
        keeper_parts_forget(&k->grants, id);
    answer(ask, err);
}

void on_slot_extend(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_slot_extend *q = &m->u.slot_extend;
    sq_err err = keeper_clock_ok(k);
    if (!err && !is_time(q->not_after_s))
        err = sq_fail(SQ_ERANGE);
    if (!err)
        err = sq_slab_extend(k->slab, q->object_id, q->not_after_s, sq_clock_now_s());
    answer(ask, err);
}

void on_slot_destroy(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const uint8_t *id = m->u.slot_destroy.object_id;
    struct sq_msg is = sq_msg_bare(slot_destroyed_is);
    sq_err err = sq_slab_destroy(k->slab, SQ_SLAB_OBJECT, id, sq_clock_now_s(), &is.u.slot_destroyed_is.destroyed_s,
                                 &is.u.slot_destroyed_is.generation);
    if (err) {
        sq_log(SQ_LOG_failed, SQ_LW("what", "slot_destroy"), SQ_LW("code", sq_err_name(err)), SQ_LID("id", id, SQ_ID_BYTES));
        sq_ask_fail(ask, err);
        return;
    }
    keeper_parts_forget(&k->grants, id);
    sq_log(SQ_LOG_slot_destroyed, SQ_LID("object", id, SQ_ID_BYTES), SQ_LW("reason", "asked"));
    sq_ask_reply(ask, &is);
}

void on_slot_list(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    uint8_t listed[LIST_MAX * SQ_SLAB_LISTED_BYTES];
    uint32_t n = 0;
    struct sq_msg is = sq_msg_bare(slot_list_is);
    sq_err err = sq_slab_list(k->slab, m->u.slot_list.owners ? SQ_SLAB_OWNER : SQ_SLAB_OBJECT, m->u.slot_list.from_slot, listed, LIST_MAX, &n, &is.u.slot_list_is.next_slot);
    if (err) {
        sq_ask_fail(ask, err);
        return;
    }
    is.u.slot_list_is.n_damaged = sq_slab_n_damaged(k->slab);
    is.u.slot_list_is.slots = sq_span_of(listed, (size_t)n * SQ_SLAB_LISTED_BYTES);
    sq_ask_reply(ask, &is);
}

/* ---- expiry ---- */

static void expired(void *ctx, const uint8_t *id)
{
    struct keeper *k = ctx;
    keeper_parts_forget(&k->grants, id);
    sq_log(SQ_LOG_slot_destroyed, SQ_LID("object", id, SQ_ID_BYTES), SQ_LW("reason", "expired"));
}

void keeper_expire(struct keeper *k)
{
    uint32_t n = 0;
    if (keeper_clock_is_held(&k->clock))
        return;
    int64_t now_s = sq_clock_now_s();
    keeper_grants_expire(&k->grants, now_s);
    sq_err err = sq_slab_expire(k->slab, now_s, expired, k, &n);
    if (err)
        sq_log(SQ_LOG_failed, SQ_LW("what", "expiry"), SQ_LW("code", sq_err_name(err)));
}
