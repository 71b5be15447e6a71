/*
 * Other keys in the place of those that the root key wraps, while everything goes on being used (slab_former.c has the bytes). The new key counts from the next
 * signature on; who knows the old one's public half goes on verifying what it signed.
 */
#include "daemon/keeper/keeper.h"

#include "lib/core/clock.h"
#include "lib/core/log.h"

enum { REPLACE_TOKEN_KEY = 1, REPLACE_OWNERS = 3 }; /* message key_replace */
#define OWNERS_PAGE 256

/* Until when a former key verifies: as long as registrar knows a token, or a token lives that was signed since the start, whose row may not be written yet. */
static uint64_t end_of_former(const struct keeper *k, uint64_t wanted_s, int64_t now_s)
{
    uint64_t least = (uint64_t)(k->publics.last_token_s > now_s ? k->publics.last_token_s : now_s + SQ_JWT_LEEWAY_S), most = (uint64_t)(now_s + SQ_JWT_MAX_LIFE_S);
    uint64_t until_s = wanted_s > least ? wanted_s : least;
    return until_s < most ? until_s : most;
}

static sq_err replace_token_key(struct keeper *k, uint64_t until_s, struct sq_msg_key_replaced_is *out)
{
    uint8_t token[SQ_JWT_MAX_KEYS][SQ_ES256_PUBLIC_BYTES], note[SQ_ED25519_PUBLIC_BYTES], number = 0;
    struct sq_slab_replacing how = {.type = SQ_SLAB_TOKEN_KEY, .id = sq_slab_site_owner, .is_dropped = !until_s};
    int64_t now_s = sq_clock_now_s();
    size_t n = 0;
    sq_err err = keeper_public_keys(k, token, &n, note);
    if (!err && !how.is_dropped && n >= SQ_JWT_MAX_KEYS)
        err = sq_fail(SQ_ECONFLICT); /* one more, and the oldest couldn't be offered any more */
    pthread_mutex_lock(&k->publics.lock);
    how.not_after_s = how.is_dropped ? 0 : end_of_former(k, until_s, now_s);
    if (!err)
        err = sq_slab_replace(k->slab, &how, now_s, &number);
    k->publics.is_known = false;
    pthread_mutex_unlock(&k->publics.lock);
    *out = (struct sq_msg_key_replaced_is){.number = number, .n_key = 1, .until_s = how.not_after_s};
    return err;
}

/* Each owner by himself: cut short, some have another key and some don't yet, and all is readable. */
static sq_err replace_owners(struct keeper *k, struct sq_msg_key_replaced_is *out)
{
    uint8_t listed[OWNERS_PAGE * SQ_SLAB_LISTED_BYTES], number;
    uint32_t n = 0, from = 0;
    sq_err err;
    do {
        err = sq_slab_list(k->slab, SQ_SLAB_OWNER, from, listed, OWNERS_PAGE, &n, &from);
        for (uint32_t i = 0; i < n && !err; i++) {
            struct sq_slab_replacing how = {.type = SQ_SLAB_OWNER, .id = listed + (size_t)i * SQ_SLAB_LISTED_BYTES};
            err = sq_slab_replace(k->slab, &how, sq_clock_now_s(), &number);
            out->n_key += !err;
            out->number = number > out->number ? number : out->number;
            if (err == SQ_EKEYGONE || err == SQ_ENOTFOUND) /* his end came meanwhile */
                err = SQ_OK;
        }
    } while (!err && from);
    return err;
}

static sq_err replace_one(struct keeper *k, const struct sq_msg_key_replace *q, struct sq_msg_key_replaced_is *out)
{
    if (pthread_mutex_trylock(&k->relocking))
        return sq_fail(SQ_EBUSY);
    pthread_mutex_lock(&k->backoff.lock);
    sq_err err = keeper_may_relock(k, q->passphrase);
    pthread_mutex_unlock(&k->backoff.lock);
    if (!err)
        err = q->which == REPLACE_TOKEN_KEY ? replace_token_key(k, q->until_s, out) : q->which == REPLACE_OWNERS ? replace_owners(k, out) : sq_fail(SQ_ERANGE);
    pthread_mutex_unlock(&k->relocking);
    return err;
}

void on_key_replace(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_key_replace *q = &m->u.key_replace;
    struct sq_msg is = sq_msg_bare(key_replaced_is);
    sq_err err = keeper_clock_ok(k);
    if (!err)
        err = replace_one(k, q, &is.u.key_replaced_is);
    if (err) {
        sq_log(SQ_LOG_failed, SQ_LW("what", "key_replace"), SQ_LW("code", sq_err_name(err)));
        sq_ask_fail(ask, err);
        return;
    }
    sq_log(SQ_LOG_key_replaced, SQ_LN("which", q->which), SQ_LN("number", is.u.key_replaced_is.number), SQ_LN("keys", is.u.key_replaced_is.n_key));
    sq_ask_reply(ask, &is);
}
