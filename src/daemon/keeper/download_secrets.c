/*
 * Download links: what makes one good is a MAC over its number, the package and its end, under a key that is drawn from its owner's. Nothing of it is
 * kept: who reads the database can't make one, and with the owner's key every link of his is gone. That a link was revoked is registrar's to know.
 */
#include "daemon/keeper/keeper.h"

#include "lib/core/clock.h"

#define LINK_MAX_S SQ_DAY_S
#define SECRET_BYTES 16

static sq_err mac(struct keeper *k, const uint8_t *owner, unsigned back, const uint8_t *link, const uint8_t *object, uint64_t expires_s, uint8_t out[SECRET_BYTES])
{
    uint8_t text[2 * SQ_ID_BYTES + 8], whole[SQ_SHA256_BYTES];
    struct sq_key *key = NULL;
    memcpy(text, link, SQ_ID_BYTES);
    memcpy(text + SQ_ID_BYTES, object, SQ_ID_BYTES);
    sq_put_be64(text + 2 * SQ_ID_BYTES, expires_s);
    sq_err err = keeper_owner_key_back(k, owner, "sequester download link v1", back, &key);
    if (!err)
        err = sq_hmac_sha256(key, text, sizeof text, whole);
    if (!err)
        memcpy(out, whole, SECRET_BYTES);
    sq_key_free(key);
    sq_wipe(whole, sizeof whole);
    return err;
}

/* The object is his, lives, and the link ends neither after it nor later than a link may. */
static sq_err check(struct keeper *k, const uint8_t *owner, const uint8_t *object, uint64_t expires_s)
{
    struct sq_slab_slot slot;
    int64_t now_s = sq_clock_now_s();
    sq_err err = keeper_clock_ok(k);
    if (!err && expires_s <= (uint64_t)now_s)
        err = sq_fail(SQ_ELINK);
    if (!err)
        err = sq_slab_look(k->slab, SQ_SLAB_OBJECT, object, now_s, &slot);
    if (!err && memcmp(slot.owner, owner, SQ_ID_BYTES))
        err = sq_fail(SQ_EDENIED);
    if (!err && (expires_s > slot.not_after_s || expires_s > (uint64_t)(now_s + LINK_MAX_S)))
        err = sq_fail(SQ_ERANGE);
    return err;
}

void on_download_link_make(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_download_link_make *q = &m->u.download_link_make;
    struct sq_msg is = sq_msg_bare(download_link_is);
    sq_err err = keeper_is_owner(ctx, q->owner_id, q->token);
    if (!err)
        err = check(ctx, q->owner_id, q->object_id, q->expires_s);
    if (!err)
        err = mac(ctx, q->owner_id, 0, q->link_id, q->object_id, q->expires_s, is.u.download_link_is.secret);
    sq_ask_end(ask, err, &is);
    sq_wipe(&is, sizeof is);
}

void on_download_link_check(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_download_link_check *q = &m->u.download_link_check;
    uint8_t right[SECRET_BYTES];
    sq_err err = check(ctx, q->owner_id, q->object_id, q->expires_s), none = err;
    bool is_right = false;
    for (unsigned back = 0; !err && !is_right; back++) { /* also one that was made before his key was replaced */
        err = mac(ctx, q->owner_id, back, q->link_id, q->object_id, q->expires_s, right);
        is_right = !err && sq_equal_ct(right, q->secret, sizeof right);
    }
    if (!none && err == SQ_ERANGE)
        err = sq_fail(SQ_ELINK);
    sq_ask_end(ask, err, NULL);
    sq_wipe(right, sizeof right);
}
