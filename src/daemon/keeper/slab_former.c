/*
 * Keys that were replaced. The present key of an owner, and each signing key, has the slot that bears its id; a former one has a slot of its own beside it,
 * found by an id that is drawn from slab, type, id and number. The steps, each durable before the next:
 *     1. the key as it is, in a slot of the former keys, under its number
 *     2. the slot that has the id is written anew: another key, the next number
 * Until 2 the old key is the key, and a former slot with that very key is harmless: the next try finds it.
 */
#include "daemon/keeper/slab_internal.h"

#include "lib/core/fault.h"

void slab_former_id(const struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, uint8_t number, uint8_t out[SQ_SLAB_ID_BYTES])
{
    static const char label[] = "sequester former key v1";
    uint8_t text[sizeof label - 1 + sizeof slab->header.slab_id + 1 + SQ_SLAB_ID_BYTES + 1], sum[SQ_SHA256_BYTES], *p = text + sizeof label - 1;
    memcpy(text, label, sizeof label - 1);
    memcpy(p, slab->header.slab_id, sizeof slab->header.slab_id);
    p += sizeof slab->header.slab_id;
    *p++ = (uint8_t)type;
    memcpy(p, id, SQ_SLAB_ID_BYTES);
    p[SQ_SLAB_ID_BYTES] = number;
    sq_err err = sq_sha256_of(text, sizeof text, sum);
    sq_assert(!err); /* bytes of our own */
    memcpy(out, sum, SQ_SLAB_ID_BYTES);
}

sq_err slab_destroy_formers(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, int64_t now_s)
{
    uint8_t former[SQ_SLAB_ID_BYTES];
    struct sq_slab_slot slot;
    sq_err err = SQ_OK;
    for (unsigned no = 0; no < SQ_SLAB_MAX_NUMBER && !err; no++) { /* every number: what the slot says of them may be damaged */
        slab_former_id(slab, type, id, (uint8_t)no, former);
        uint32_t at = slab_find(slab, type, former);
        if (at != SLAB_NONE)
            err = slab_destroy_at(slab, at, now_s, &slot);
    }
    for (uint32_t at = 0; at < slab->n_slot && !err; at++) /* a damaged one is in no chain */
        for (unsigned no = 0; no < SQ_SLAB_MAX_NUMBER && !err && slab->entry[at].is_damaged; no++) {
            slab_former_id(slab, type, id, (uint8_t)no, former);
            if (!memcmp(slab->entry[at].id, former, sizeof former))
                err = slab_destroy_at(slab, at, now_s, &slot);
        }
    return err;
}

/* The former slot of @now is there: from a try that was cut short, or one that goes on. Its end may be another by now. */
static sq_err keep_again(struct sq_slab *slab, const struct sq_slab_slot *former, const struct sq_key *key, int64_t now_s)
{
    struct sq_slab_slot have, next;
    struct sq_key *kept = NULL;
    uint32_t at;
    sq_err err = slab_look(slab, (enum sq_slab_type)former->type, former->id, now_s, &at, &have);
    if (!err)
        err = slab_key_of(slab, &have, now_s, &kept);
    if (!err && !sq_equal_ct(sq_key_bytes(kept), sq_key_bytes(key), SQ_KEY_BYTES))
        err = sq_fail(SQ_ETAMPERED);
    sq_key_free(kept);
    if (err)
        return err;
    next = have;
    next.not_after_s = former->not_after_s;
    memcpy(next.owner, former->owner, SQ_SLAB_ID_BYTES);
    memcpy(next.sig, former->sig, sizeof next.sig);
    return slab_change(slab, at, &have, &next, NULL, now_s);
}

/* @slot gets a higher number when a former key of its own was cut short and has ended since: nothing hangs on the number of a token key. */
static sq_err keep_former(struct sq_slab *slab, struct sq_slab_slot *slot, const struct sq_slab_replacing *how, const struct sq_key *key, int64_t now_s)
{
    struct sq_slab_slot former = *slot;
    sq_err err;
    former.state = how->kept ? SQ_SLAB_FORMER_PUBLIC : SQ_SLAB_FORMER;
    if (how->kept) {
        key = how->kept;
        memcpy(former.sig, how->sig, sizeof former.sig);
    }
    former.for_role = 0;
    former.not_after_s = how->not_after_s ? how->not_after_s : slot->not_after_s;
    memcpy(former.owner, how->note, SQ_SLAB_ID_BYTES);
    do {
        former.number = slot->number;
        slab_former_id(slab, how->type, how->id, slot->number, former.id);
        err = slab_put(slab, &former, key, now_s);
    } while (err == SQ_EKEYGONE && how->type == SQ_SLAB_TOKEN_KEY && ++slot->number < SQ_SLAB_MAX_NUMBER);
    return err == SQ_EEXISTS ? keep_again(slab, &former, key, now_s) : err;
}

static sq_err fresh_key(enum sq_slab_type type, struct sq_key **out)
{
    return type == SQ_SLAB_TOKEN_KEY ? sq_es256_new(out) : sq_key_new(out);
}

static sq_err replace(struct sq_slab *slab, const struct sq_slab_replacing *how, int64_t now_s, uint8_t *out_number)
{
    struct sq_slab_slot slot, next;
    struct sq_key *key = NULL, *drawn = NULL;
    uint32_t at;
    sq_err err = slab->root ? slab_look_present(slab, how->type, how->id, now_s, &at, &slot) : sq_fail(SQ_ESEALED);
    if (!err && slot.number >= SQ_SLAB_MAX_NUMBER && !how->is_dropped) /* dropped: none is left that has the number */
        err = sq_fail(SQ_EFULL);
    if (!err)
        err = slab_key_of(slab, &slot, now_s, &key);
    next = slot;
    if (!err && !how->is_dropped)
        err = keep_former(slab, &next, how, key, now_s);
    else if (!err)
        err = slab_destroy_formers(slab, how->type, how->id, now_s);
    if (!err)
        err = sq_fault("keeper.replace_kept");
    if (!err && !how->fresh)
        err = fresh_key(how->type, &drawn);
    if (next.number < SQ_SLAB_MAX_NUMBER)
        next.number++;
    if (how->type != SQ_SLAB_OWNER) /* of an owner: when the account was made */
        next.created_s = (uint64_t)now_s;
    if (!err)
        err = slab_change(slab, at, &slot, &next, how->fresh ? how->fresh : drawn, now_s);
    if (!err)
        err = sq_fault("keeper.replaced");
    *out_number = err ? 0 : next.number;
    sq_key_free(key);
    sq_key_free(drawn);
    return err;
}

sq_err sq_slab_replace(struct sq_slab *slab, const struct sq_slab_replacing *how, int64_t now_s, uint8_t *out_number)
{
    sq_assert(how->type == SQ_SLAB_OWNER || how->type == SQ_SLAB_TOKEN_KEY || how->type == SQ_SLAB_NOTE_KEY);
    pthread_mutex_lock(&slab->lock);
    sq_err err = replace(slab, how, now_s, out_number);
    pthread_mutex_unlock(&slab->lock);
    return err;
}

sq_err sq_slab_former(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, uint8_t number, int64_t now_s, struct sq_slab_slot *out_slot,
                      struct sq_key **out_key)
{
    uint8_t former[SQ_SLAB_ID_BYTES];
    struct sq_slab_slot slot;
    slab_former_id(slab, type, id, number, former);
    pthread_mutex_lock(&slab->lock);
    sq_err err = slab->root ? slab_look(slab, type, former, now_s, NULL, &slot) : sq_fail(SQ_ESEALED);
    if (!err && slot.state < SQ_SLAB_FORMER)
        err = sq_fail(SQ_ETAMPERED);
    if (!err && out_key)
        err = slab_key_of(slab, &slot, now_s, out_key);
    pthread_mutex_unlock(&slab->lock);
    if (!err && out_slot)
        *out_slot = slot;
    return err;
}
