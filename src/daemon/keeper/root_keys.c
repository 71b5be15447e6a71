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
    sq_slab_lock_of(k->slab, &now);
    bool by_person = k->wanted == SQ_SLAB_PASSPHRASE;
    if (by_person && (now.backend == SQ_SLAB_PASSPHRASE || now.backend == SQ_SLAB_SHARES))
        return;
    if (by_person)
        sq_log(SQ_LOG_key_service, SQ_LW("state", "passphrase_not_set_yet"));
    else if (now.backend != k->wanted && k->own.kek) {
        sq_err err = rekey(k, &k->own, &no, &n);
        (void)err; /* logged; the old lock goes on, and the next start tries again */
    }
}

static void is_open(struct keeper *k)
{
    sq_node_set_unsealed(k->node, true);
    sq_log(SQ_LOG_key_service, SQ_LW("state", "unsealed"));
    if (!keeper_clock_is_held(&k->clock) && sq_slab_set_clock(k->slab, keeper_clock_wall_s(), false))
        sq_log(SQ_LOG_failed, SQ_LW("what", "header_write"));
    lock_as_wanted(k);
}

void keeper_unsealed(struct keeper *k)
{
    is_open(k);
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
        is_open(k);
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

/* Who changes a lock that a passphrase opens must know it, though the root key is at hand. */
static sq_err may_change(struct keeper *k, struct sq_span passphrase)
{
    struct sq_slab_lock l;
    sq_slab_lock_of(k->slab, &l);
    return l.backend == SQ_SLAB_PASSPHRASE ? keeper_try_passphrase(k, passphrase) : SQ_OK;
}

static void answer_rekey(struct sq_ask *ask, sq_err err, uint32_t no, uint32_t n)
{
    struct sq_msg is = sq_msg_of(key_rotated_is, .root_no = no, .n_slot = n);
    if (err)
        sq_ask_fail(ask, err);
    else
        sq_ask_reply(ask, &is);
}

/* A new root key under the lock as it is. */
void on_key_rotate(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    struct sq_slab_lock l;
    struct sq_key *kek = NULL;
    uint32_t no = 0, n = 0;
    struct sq_span passphrase = m->u.key_rotate.passphrase;
    pthread_mutex_lock(&k->backoff.lock);
    sq_err err = may_change(k, passphrase);
    sq_slab_lock_of(k->slab, &l);
    if (!err && l.backend == SQ_SLAB_PASSPHRASE)
        err = sq_slab_lock_passphrase(passphrase.p, passphrase.n, KEEPER_HASH_MEM_KIB, KEEPER_HASH_PASSES, &l, &kek);
    else if (!err && l.backend == SQ_SLAB_FILE)
        l.kek = k->file_kek;
    else if (!err && l.backend == SQ_SLAB_PKCS11)
        l.kek = k->token_kek;
    if (!err && !l.kek)
        err = sq_fail(SQ_ECONFLICT); /* shares: nobody has the key they gave; they are made anew */
    if (!err)
        err = rekey(k, &l, &no, &n);
    pthread_mutex_unlock(&k->backoff.lock);
    sq_key_free(kek);
    answer_rekey(ask, err, no, n);
}

void on_key_passphrase(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    struct sq_slab_lock l;
    struct sq_key *kek = NULL;
    uint32_t no = 0, n = 0;
    struct sq_span passphrase = m->u.key_passphrase.passphrase;
    pthread_mutex_lock(&k->backoff.lock);
    sq_err err = k->wanted == SQ_SLAB_PASSPHRASE ? may_change(k, m->u.key_passphrase.present) : sq_fail(SQ_ECONFLICT);
    if (!err && passphrase.n < KEEPER_PASSPHRASE_MIN_BYTES)
        err = sq_fail(SQ_EWEAK);
    if (!err)
        err = sq_slab_lock_passphrase(passphrase.p, passphrase.n, KEEPER_HASH_MEM_KIB, KEEPER_HASH_PASSES, &l, &kek);
    if (!err)
        err = rekey(k, &l, &no, &n);
    pthread_mutex_unlock(&k->backoff.lock);
    sq_key_free(kek);
    answer_rekey(ask, err, no, n);
}

void on_key_split(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_key_split *s = &m->u.key_split;
    struct sq_slab_lock l = {.backend = SQ_SLAB_SHARES, .n_share = s->n_share, .threshold = s->threshold};
    struct sq_key *kek = NULL;
    uint8_t *shares = NULL;
    const size_t n_bytes = (size_t)SQ_SPLIT_MAX_SHARES * KEEPER_SHARE_TEXT_BYTES;
    uint32_t no, n;
    struct sq_msg is = sq_msg_bare(key_shares_is);
    if (s->threshold < 2 || s->threshold > s->n_share || s->n_share > SQ_SPLIT_MAX_SHARES || k->wanted != SQ_SLAB_PASSPHRASE) {
        sq_ask_fail(ask, sq_fail(k->wanted != SQ_SLAB_PASSPHRASE ? SQ_ECONFLICT : SQ_ERANGE));
        return;
    }
    pthread_mutex_lock(&k->backoff.lock);
    sq_err err = may_change(k, s->present);
    if (!err)
        err = sq_random(l.salt, sizeof l.salt);
    if (!err)
        err = sq_key_new(&kek);
    if (!err)
        err = sq_secret_new(n_bytes, &shares);
    if (!err)
        err = keeper_shares_write(kek, &l, (char *)shares);
    l.kek = kek;
    if (!err)
        err = rekey(k, &l, &no, &n);
    pthread_mutex_unlock(&k->backoff.lock);
    if (err) {
        sq_ask_fail(ask, err);
    } else {
        is.u.key_shares_is.shares = sq_span_of(shares, (size_t)s->n_share * KEEPER_SHARE_TEXT_BYTES);
        sq_ask_reply(ask, &is);
    }
    sq_key_free(kek);
    sq_secret_free(shares, n_bytes);
}
