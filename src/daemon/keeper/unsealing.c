/* The state of the key service, and how an operator brings it up. */
#include "daemon/keeper/keeper.h"

#include "lib/core/clock.h"
#include "lib/core/log.h"

#define BACKOFF_MAX_S 60

sq_err keeper_clock_ok(struct keeper *k)
{
    return keeper_clock_is_held(&k->clock) ? sq_fail(SQ_ECLOCK) : SQ_OK;
}

void on_keeper_state(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    (void)m;
    struct sq_msg is = sq_msg_of(keeper_state_is, .clock_held = keeper_clock_is_held(&k->clock));
    struct sq_msg_keeper_state_is *s = &is.u.keeper_state_is;
    sq_slab_tree(k->slab, &s->tree_size, s->tree_root);
    s->note_name = sq_span_str(k->origin);
    s->is_unsealed = sq_slab_is_unsealed(k->slab);
    uint8_t token[SQ_JWT_MAX_KEYS][SQ_ES256_PUBLIC_BYTES];
    size_t n_token = 0;
    sq_err err = s->is_unsealed ? keeper_public_keys(k, token, &n_token, s->note_public) : SQ_OK;
    s->token_publics = sq_span_of(token, n_token * sizeof token[0]);
    sq_ask_end(ask, err, &is);
}

sq_err keeper_lock_passphrase(struct keeper *k, struct sq_span passphrase, struct sq_slab_lock *out, struct sq_key **out_kek)
{
    sq_err err = keeper_hash_enter(&k->hash_pool, true);
    if (err)
        return err;
    err = sq_slab_lock_passphrase(passphrase.p, passphrase.n, KEEPER_HASH_MEM_KIB, KEEPER_HASH_PASSES, out, out_kek);
    keeper_hash_leave(&k->hash_pool);
    return err;
}

static sq_err unseal_passphrase(struct keeper *k, struct sq_span passphrase)
{
    sq_err err = keeper_hash_enter(&k->hash_pool, true);
    if (err)
        return err;
    err = sq_slab_unseal_passphrase(k->slab, passphrase.p, passphrase.n);
    keeper_hash_leave(&k->hash_pool);
    return err;
}

static sq_err create_by_passphrase(struct keeper *k, struct sq_span passphrase)
{
    struct sq_slab_lock lock;
    struct sq_key *kek = NULL;
    if (passphrase.n < KEEPER_PASSPHRASE_MIN_BYTES)
        return sq_fail(SQ_EWEAK);
    sq_err err = keeper_lock_passphrase(k, passphrase, &lock, &kek);
    if (!err)
        err = sq_slab_create(k->slab, &lock, keeper_clock_wall_s());
    sq_key_free(kek);
    return err;
}

static sq_err try_secret(struct keeper *k, struct sq_span secret)
{
    struct sq_slab_lock lock;
    if (sq_slab_is_new(k->slab))
        return create_by_passphrase(k, secret);
    sq_slab_lock_of(k->slab, &lock);
    return lock.backend == SQ_SLAB_SHARES ? keeper_try_share(k, secret) : unseal_passphrase(k, secret);
}

/* Wrong secrets: 1, 2, 4 ... 60 seconds until the next is looked at. */
sq_err keeper_try_passphrase(struct keeper *k, struct sq_span passphrase)
{
    struct keeper_backoff *b = &k->backoff;
    if (sq_clock_steady_ms() < b->not_before_steady_ms)
        return sq_fail(SQ_EBUSY);
    sq_err err = try_secret(k, passphrase);
    if (err == SQ_EPASSWORD) {
        uint32_t wait_s = b->n_failure < 6 ? 1u << b->n_failure : BACKOFF_MAX_S;
        b->n_failure++;
        b->not_before_steady_ms = sq_clock_steady_ms() + (int64_t)wait_s * 1000;
    } else if (!err) {
        b->n_failure = 0;
    }
    return err;
}

/* Also while unsealed: then it only checks the passphrase, under the same back-off. */
void on_unseal(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    pthread_mutex_lock(&k->backoff.lock);
    bool was_unsealed = sq_slab_is_unsealed(k->slab);
    bool is_new = sq_slab_is_new(k->slab);
    sq_err err = is_new && k->wanted != SQ_SLAB_PASSPHRASE ? sq_fail(SQ_ECONFLICT) : keeper_try_passphrase(k, m->u.unseal.passphrase);
    bool is_first = !err && !was_unsealed && sq_slab_is_unsealed(k->slab); /* one share of several opens nothing yet */
    pthread_mutex_unlock(&k->backoff.lock);
    if (is_first)
        keeper_unsealed(k);
    if (err) {
        sq_log(SQ_LOG_failed, SQ_LW("what", "unseal"), SQ_LW("code", sq_err_name(err)));
        sq_ask_fail(ask, err);
    } else {
        sq_ask_ok(ask);
    }
}

/* Sealed, the header can't be written: the clock is then confirmed in memory, and remembered at unseal if it went forward. */
void on_clock_confirm(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    (void)m;
    sq_err err = SQ_OK;
    if (sq_slab_is_unsealed(k->slab))
        err = sq_slab_set_clock(k->slab, keeper_clock_wall_s(), true);
    if (err) {
        sq_ask_fail(ask, err);
        return;
    }
    keeper_clock_confirm(&k->clock);
    sq_log(SQ_LOG_key_service, SQ_LW("state", "clock_confirmed"));
    sq_ask_ok(ask);
}
