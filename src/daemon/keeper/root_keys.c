/*
 * What stands before the root key: which lock the slab has, which one the configuration wants, and how an operator
 * changes it. A key file and a token open the slab by themselves; the configuration wanting another lock than the slab has
 * is how one changes to it: the old lock opens once more, then the slab is locked the new way, with a new root key.
 */
#include "daemon/keeper/keeper.h"

#include "lib/core/log.h"

#include <stdio.h>
#include <stdlib.h>

static const char *const backend_name[] = {"", "passphrase", "file", "shares", "pkcs11"};

static sq_err rekey(struct keeper *k, const struct sq_slab_lock *lock, uint32_t *out_no, uint32_t *out_n)
{
    sq_err err = sq_slab_rekey(k->slab, lock, out_no, out_n);
    if (err)
        sq_log(SQ_LOG_failed, SQ_LW("what", "rekey"), SQ_LW("code", sq_err_name(err)));
    else
        sq_log(SQ_LOG_key_rotated, SQ_LW("backend", backend_name[lock->backend]), SQ_LN("root", *out_no), SQ_LN("slots", *out_n));
    return err;
}

/* The slab is open: is it locked as the configuration wants? A person's secret can only be set by that person. */
static void lock_as_wanted(struct keeper *k)
{
    struct sq_slab_lock now;
    uint32_t no, n;
    pthread_mutex_lock(&k->relocking);
    sq_slab_lock_of(k->slab, &now);
    bool by_person = k->wanted == SQ_SLAB_PASSPHRASE;
    if (by_person && now.backend != SQ_SLAB_PASSPHRASE && now.backend != SQ_SLAB_SHARES)
        sq_log(SQ_LOG_key_service, SQ_LW("state", "passphrase_not_set_yet"));
    else if (!by_person && now.backend != k->wanted && k->own.kek) {
        sq_err err = rekey(k, &k->own, &no, &n);
        (void)err; /* logged; the old lock goes on, and the next start tries again */
    }
    pthread_mutex_unlock(&k->relocking);
}

void keeper_unsealed(struct keeper *k)
{
    sq_node_set_unsealed(k->node, true);
    sq_log(SQ_LOG_key_service, SQ_LW("state", "unsealed"));
    if (!keeper_clock_is_held(&k->clock) && sq_slab_set_clock(k->slab, keeper_clock_wall_s(), false))
        sq_log(SQ_LOG_failed, SQ_LW("what", "header_write"));
    lock_as_wanted(k);
}

static sq_err own_unseal(struct keeper *k, enum sq_slab_backend have)
{
    if (have == SQ_SLAB_FILE)
        return k->file_kek ? sq_slab_unseal(k->slab, k->file_kek) : sq_fail(SQ_ECONFIG);
    return k->token_kek ? sq_slab_unseal(k->slab, k->token_kek) : sq_fail(SQ_ECONFIG);
}

/* What opens by itself is opened at start. SQ_ECONFIG: the slab has a lock whose key wasn't given. */
sq_err keeper_unseal_self(struct keeper *k)
{
    sq_err err = SQ_OK;
    k->own = k->wanted == SQ_SLAB_PKCS11 ? k->token_lock : (struct sq_slab_lock){.backend = SQ_SLAB_FILE, .kek = k->file_kek};
    if (sq_slab_is_new(k->slab)) {
        if (k->wanted == SQ_SLAB_PASSPHRASE)
            return SQ_OK;
        err = k->own.kek ? sq_slab_create(k->slab, &k->own, keeper_clock_wall_s()) : sq_fail(SQ_ECONFIG);
    } else {
        struct sq_slab_lock have;
        sq_slab_lock_of(k->slab, &have);
        if (have.backend == SQ_SLAB_PASSPHRASE || have.backend == SQ_SLAB_SHARES)
            return SQ_OK;
        err = own_unseal(k, have.backend);
    }
    if (!err)
        keeper_unsealed(k);
    return err;
}

/* ---- what an operator asks ---- */

void on_key_state(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    (void)m;
    struct sq_slab_lock l = {.backend = 0};
    struct sq_msg is = sq_msg_of(key_state_is, .wanted = (uint8_t)k->wanted, .n_given = (uint8_t)keeper_shares_given(k));
    bool is_rotating = false;
    if (!sq_slab_is_new(k->slab)) {
        sq_slab_lock_of(k->slab, &l);
        sq_slab_root_state(k->slab, &is.u.key_state_is.root_no, &is_rotating);
    }
    is.u.key_state_is.backend = (uint8_t)l.backend;
    is.u.key_state_is.n_share = l.n_share;
    is.u.key_state_is.threshold = l.threshold;
    is.u.key_state_is.is_rotating = is_rotating;
    sq_ask_reply(ask, &is);
}

sq_err keeper_may_relock(struct keeper *k, struct sq_span passphrase)
{
    struct sq_slab_lock l;
    sq_slab_lock_of(k->slab, &l);
    return l.backend == SQ_SLAB_PASSPHRASE ? keeper_try_passphrase(k, passphrase) : SQ_OK;
}

/* What the slab is to hang on next. */
struct new_lock {
    struct sq_slab_lock lock;
    struct sq_key *kek; /* NULL: the lock's own is kept elsewhere */
    uint8_t *shares;    /* in locked memory, KEEPER_SHARE_TEXT_BYTES each */
};
#define SHARES_BYTES ((size_t)SQ_SPLIT_MAX_SHARES * KEEPER_SHARE_TEXT_BYTES)

/* Checks who asks and makes the lock; backoff.lock is held. */
typedef sq_err make_lock(struct keeper *k, const struct sq_msg *m, struct new_lock *out);

/* The slots are wrapped anew without backoff.lock, for that takes a while, and others ask how it is going. */
static sq_err relock(struct keeper *k, const struct sq_msg *m, make_lock *make, struct new_lock *l, uint32_t *out_no, uint32_t *out_n)
{
    if (pthread_mutex_trylock(&k->relocking))
        return sq_fail(SQ_EBUSY);
    pthread_mutex_lock(&k->backoff.lock);
    sq_err err = make(k, m, l);
    pthread_mutex_unlock(&k->backoff.lock);
    if (!err)
        err = rekey(k, &l->lock, out_no, out_n);
    pthread_mutex_unlock(&k->relocking);
    return err;
}

static void new_lock_done(struct new_lock *l)
{
    sq_key_free(l->kek);
    sq_secret_free(l->shares, SHARES_BYTES);
}

static void relock_and_answer(struct keeper *k, struct sq_ask *ask, const struct sq_msg *m, make_lock *make)
{
    struct new_lock l = {.kek = NULL};
    struct sq_msg is = sq_msg_of(key_rotated_is, .root_no = 0);
    sq_err err = relock(k, m, make, &l, &is.u.key_rotated_is.root_no, &is.u.key_rotated_is.n_slot);
    sq_ask_end(ask, err, &is);
    new_lock_done(&l);
}

static sq_err by_passphrase(struct keeper *k, struct sq_span passphrase, struct new_lock *out)
{
    return keeper_lock_passphrase(k, passphrase, &out->lock, &out->kek);
}

/* A new root key under the lock as it is. */
static sq_err lock_as_it_is(struct keeper *k, const struct sq_msg *m, struct new_lock *out)
{
    struct sq_span passphrase = m->u.key_rotate.passphrase;
    sq_err err = keeper_may_relock(k, passphrase);
    if (err)
        return err;
    sq_slab_lock_of(k->slab, &out->lock);
    if (out->lock.backend == SQ_SLAB_PASSPHRASE)
        return by_passphrase(k, passphrase, out);
    if (out->lock.backend == SQ_SLAB_FILE)
        out->lock.kek = k->file_kek;
    else if (out->lock.backend == SQ_SLAB_PKCS11)
        out->lock.kek = k->token_kek;
    return out->lock.kek ? SQ_OK : sq_fail(SQ_ECONFLICT); /* shares: nobody has the key they gave; they are made anew */
}

void on_key_rotate(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    relock_and_answer(ctx, ask, m, lock_as_it_is);
}

static sq_err lock_by_new_passphrase(struct keeper *k, const struct sq_msg *m, struct new_lock *out)
{
    struct sq_span passphrase = m->u.key_passphrase.passphrase;
    sq_err err = k->wanted == SQ_SLAB_PASSPHRASE ? keeper_may_relock(k, m->u.key_passphrase.present) : sq_fail(SQ_ECONFLICT);
    if (!err && passphrase.n < KEEPER_PASSPHRASE_MIN_BYTES)
        err = sq_fail(SQ_EWEAK);
    return err ? err : by_passphrase(k, passphrase, out);
}

void on_key_passphrase(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    relock_and_answer(ctx, ask, m, lock_by_new_passphrase);
}

static sq_err lock_by_shares(struct keeper *k, const struct sq_msg *m, struct new_lock *out)
{
    const struct sq_msg_key_split *s = &m->u.key_split;
    out->lock = (struct sq_slab_lock){.backend = SQ_SLAB_SHARES, .n_share = s->n_share, .threshold = s->threshold};
    sq_err err = keeper_may_relock(k, s->present);
    if (!err)
        err = sq_random(out->lock.salt, sizeof out->lock.salt);
    if (!err)
        err = sq_key_new(&out->kek);
    if (!err)
        err = sq_secret_new(SHARES_BYTES, &out->shares);
    if (!err)
        err = keeper_shares_write(out->kek, &out->lock, (char *)out->shares);
    out->lock.kek = out->kek;
    return err;
}

void on_key_split(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_key_split *s = &m->u.key_split;
    struct new_lock l = {.kek = NULL};
    uint32_t no, n;
    struct sq_msg is = sq_msg_bare(key_shares_is);
    sq_err err = SQ_OK;
    if (k->wanted != SQ_SLAB_PASSPHRASE)
        err = sq_fail(SQ_ECONFLICT);
    else if (s->threshold < 2 || s->threshold > s->n_share || s->n_share > SQ_SPLIT_MAX_SHARES)
        err = sq_fail(SQ_ERANGE);
    else
        err = relock(k, m, lock_by_shares, &l, &no, &n);
    if (err) {
        sq_ask_fail(ask, err);
    } else {
        is.u.key_shares_is.shares = sq_span_of(l.shares, (size_t)s->n_share * KEEPER_SHARE_TEXT_BYTES);
        sq_ask_reply(ask, &is);
    }
    new_lock_done(&l);
}
