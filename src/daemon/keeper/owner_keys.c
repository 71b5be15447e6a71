/*
 * What is drawn from an owner's key, for one purpose each. New things hang on the present key; what was sealed under a former one (slab_former.c) is opened by trying
 * them, the newest first: a box opens under its own key alone, and the sealed bytes need no room for a number.
 */
#include "daemon/keeper/keeper.h"

#include "lib/core/clock.h"

sq_err keeper_owner_key_back(struct keeper *k, const uint8_t *owner_id, const char *purpose, unsigned back, struct sq_key **out)
{
    struct sq_slab_slot slot;
    struct sq_key *owner = NULL;
    int64_t now_s = sq_clock_now_s();
    sq_err err = sq_slab_key(k->slab, SQ_SLAB_OWNER, owner_id, now_s, &slot, &owner);
    if (!err && back > slot.number)
        err = SQ_ERANGE;
    if (!err && back) {
        sq_key_free(owner);
        owner = NULL;
        err = sq_slab_former(k->slab, SQ_SLAB_OWNER, owner_id, (uint8_t)(slot.number - back), now_s, NULL, &owner);
    }
    if (!err)
        err = sq_hkdf(owner, NULL, 0, purpose, strlen(purpose), out);
    sq_key_free(owner);
    return err;
}

sq_err keeper_owner_key(struct keeper *k, const uint8_t *owner_id, const char *purpose, struct sq_key **out)
{
    return keeper_owner_key_back(k, owner_id, purpose, 0, out);
}

sq_err keeper_box_open(struct keeper *k, const uint8_t *owner_id, const struct keeper_box *box, uint8_t *out, unsigned *out_back)
{
    sq_err err = SQ_ETAMPERED;
    for (unsigned back = 0; err == SQ_ETAMPERED; back++) {
        struct sq_key *key = NULL;
        err = keeper_owner_key_back(k, owner_id, box->purpose, back, &key);
        if (err == SQ_ERANGE)
            return sq_fail(SQ_ETAMPERED);
        if (!err)
            err = sq_box_open(key, box->aad, box->n_aad, box->sealed.p, box->sealed.n, out);
        sq_key_free(key);
        if (!err && out_back)
            *out_back = back;
    }
    return err;
}

/* ---- what the database holds, sealed anew under the present key ---- */

enum { RESEAL_FIELD = 1, RESEAL_PASSWORD = 2, RESEAL_MAIL = 3, RESEAL_TOTP = 4, RESEAL_PASSKEY = 5 }; /* message reseal */

static sq_err box_of(const struct sq_msg_reseal *q, struct keeper_box *box, struct keeper_aad *aad)
{
    static const struct {
        const char *purpose, *label;
        bool has_id; /* the aad of a second factor */
    } kinds[] = {
        [RESEAL_FIELD] = {"sequester field v1", "field", false},
        [RESEAL_PASSWORD] = {"sequester password v1", "password", false},
        [RESEAL_MAIL] = {"sequester mail v1", "mail", false},
        [RESEAL_TOTP] = {"sequester totp v1", "totp", true},
        [RESEAL_PASSKEY] = {"sequester passkey v1", "pass", true},
    };
    if (q->kind < RESEAL_FIELD || q->kind > RESEAL_PASSKEY || q->sealed.n < SQ_BOX_EXTRA_BYTES) /* an empty text is sealed too */
        return sq_fail(SQ_ERANGE);
    size_t n = strlen(kinds[q->kind].label);
    if (kinds[q->kind].has_id) {
        *aad = keeper_aad_of(kinds[q->kind].label, q->owner_id, q->id, 0, 0);
    } else {
        memcpy(aad->bytes, kinds[q->kind].label, n);
        memcpy(aad->bytes + n, q->owner_id, SQ_ID_BYTES);
        aad->n = n + SQ_ID_BYTES;
    }
    *box = (struct keeper_box){.purpose = kinds[q->kind].purpose, .aad = aad->bytes, .n_aad = aad->n, .sealed = q->sealed};
    return SQ_OK;
}

static sq_err reseal(struct keeper *k, const struct sq_msg_reseal *q, uint8_t *plain, uint8_t *sealed, unsigned *out_back)
{
    struct keeper_box box;
    struct keeper_aad aad;
    struct sq_key *key = NULL;
    sq_err err = box_of(q, &box, &aad);
    if (!err)
        err = keeper_box_open(k, q->owner_id, &box, plain, out_back);
    if (!err && *out_back)
        err = keeper_owner_key(k, q->owner_id, box.purpose, &key);
    if (!err && *out_back)
        err = sq_box_seal(key, aad.bytes, aad.n, plain, q->sealed.n - SQ_BOX_EXTRA_BYTES, sealed);
    sq_key_free(key);
    return err;
}

/* Nobody sees what is in it, and it is bound to the same owner and thing as before: so no proof is asked for. */
void on_reseal(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_reseal *q = &m->u.reseal;
    uint8_t *plain, sealed[1024];
    unsigned back = 0;
    sq_err err = q->sealed.n <= sizeof sealed ? sq_secret_new(sizeof sealed, &plain) : sq_fail(SQ_ERANGE);
    if (!err) {
        err = reseal(ctx, q, plain, sealed, &back);
        sq_secret_free(plain, sizeof sealed);
    }
    if (err) {
        sq_ask_fail(ask, err);
        return;
    }
    struct sq_msg is = sq_msg_of(sealed_is, .sealed = sq_span_of(sealed, back ? q->sealed.n : 0));
    sq_ask_reply(ask, &is);
}
