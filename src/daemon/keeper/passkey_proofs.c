/*
 * Passkeys: challenges, the public keys of new ones, sealed under their owner's key (so that neither the database nor registrar can put another in its
 * place), and the answers to challenges. What was checked here is said by a proof (proofs.h).
 */
#include "daemon/keeper/keeper.h"

#include "lib/core/clock.h"

#define PURPOSE "sequester passkey v1"

static const uint8_t nobody[SQ_ID_BYTES];

_Static_assert(SQ_PASSKEY_CHALLENGE_BYTES == KEEPER_CHALLENGE_BYTES, "one size");

static sq_err site_ok(const struct keeper *k)
{
    return k->has_site ? SQ_OK : sq_fail(SQ_ECONFIG);
}

void on_passkey_challenge(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_passkey_challenge *q = &m->u.passkey_challenge;
    struct sq_msg is = sq_msg_bare(challenge_is);
    bool is_anybodys = !memcmp(q->owner_id, nobody, sizeof nobody);
    sq_err err = site_ok(k);
    if (!err && (q->purpose < KEEPER_TO_ADD || q->purpose > KEEPER_TO_SIGN_IN || (q->purpose == KEEPER_TO_SIGN_IN) != is_anybodys))
        err = sq_fail(SQ_ERANGE);
    if (!err && q->purpose == KEEPER_TO_ADD)
        err = keeper_may_change(k, q->owner_id, q->proof, false);
    if (!err)
        err = keeper_challenge_make(&k->proofs, q->owner_id, q->context, (enum keeper_purpose)q->purpose, is.u.challenge_is.challenge);
    sq_ask_end(ask, err, &is);
}

/* The challenge is used up first: whatever is wrong with the rest costs another one. */
static sq_err take_challenge(struct keeper *k, const char *type, struct sq_span client_data, const uint8_t *owner, const uint8_t *context, enum keeper_purpose purpose)
{
    uint8_t challenge[SQ_PASSKEY_CHALLENGE_BYTES];
    sq_err err = keeper_clock_ok(k);
    if (!err)
        err = site_ok(k);
    if (!err)
        err = sq_passkey_answers(client_data, challenge);
    if (!err)
        err = keeper_challenge_take(&k->proofs, challenge, owner, context, purpose);
    return err ? err : sq_passkey_client(&k->site, type, client_data);
}

void on_passkey_add(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_passkey_add *q = &m->u.passkey_add;
    uint8_t packed[SQ_PASSKEY_PACKED_MAX_BYTES], sealed[SQ_PASSKEY_PACKED_MAX_BYTES + SQ_BOX_EXTRA_BYTES];
    struct keeper_aad aad = keeper_aad_of("pass", q->owner_id, q->factor_id, 0, 0);
    struct sq_passkey passkey;
    struct sq_msg is = sq_msg_bare(passkey_is);
    struct sq_key *key = NULL;
    size_t n = 0;
    sq_err err = take_challenge(k, "webauthn.create", q->client_data, q->owner_id, q->context, KEEPER_TO_ADD);
    if (!err)
        err = sq_passkey_take(&k->site, q->auth_data, &passkey);
    if (!err && passkey.algorithm == SQ_PASSKEY_RS256 && !k->has_passkey_rsa)
        err = sq_fail(SQ_EPASSKEY);
    if (!err)
        err = keeper_owner_key(k, q->owner_id, PURPOSE, &key);
    if (!err) {
        n = sq_passkey_pack(&passkey, packed);
        err = sq_box_seal(key, aad.bytes, aad.n, packed, n, sealed);
    }
    if (!err)
        err = keeper_proof_make(&k->proofs, q->owner_id, KEEPER_FACTOR, is.u.passkey_is.proof);
    sq_key_free(key);
    if (err) {
        sq_ask_fail(ask, err);
        return;
    }
    is.u.passkey_is.sealed = sq_span_of(sealed, n + SQ_BOX_EXTRA_BYTES);
    is.u.passkey_is.credential = sq_span_of(passkey.id, passkey.n_id);
    is.u.passkey_is.counter = passkey.counter;
    sq_ask_reply(ask, &is);
}

static sq_err open_passkey(struct keeper *k, const struct sq_msg_passkey_check *q, struct sq_passkey *out)
{
    uint8_t packed[SQ_PASSKEY_PACKED_MAX_BYTES];
    struct keeper_aad aad = keeper_aad_of("pass", q->owner_id, q->factor_id, 0, 0);
    if (q->sealed.n <= SQ_BOX_EXTRA_BYTES || q->sealed.n > sizeof packed + SQ_BOX_EXTRA_BYTES)
        return sq_fail(SQ_ETAMPERED);
    sq_err err = keeper_box_open(k, q->owner_id, &(struct keeper_box){PURPOSE, aad.bytes, aad.n, q->sealed}, packed, NULL);
    return err ? err : sq_passkey_unpack(packed, q->sealed.n - SQ_BOX_EXTRA_BYTES, out);
}

/* Section 6.1.1: one that counts never counts backwards, whatever registrar remembers; one that doesn't count stays at 0. */
static sq_err check_counter(struct keeper *k, const struct sq_msg_passkey_check *q, uint32_t counter)
{
    if (!counter && !q->counter)
        return SQ_OK;
    if (counter <= q->counter)
        return sq_fail(SQ_ECLONED);
    sq_err err = keeper_step_take(&k->proofs, q->factor_id, counter);
    return err == SQ_ECODE ? sq_fail(SQ_ECLONED) : err;
}

void on_passkey_check(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_passkey_check *q = &m->u.passkey_check;
    struct sq_passkey passkey;
    uint32_t counter = 0;
    bool is_alone = q->purpose == KEEPER_TO_SIGN_IN;
    sq_err err = is_alone || q->purpose == KEEPER_TO_PROVE ? SQ_OK : sq_fail(SQ_ERANGE);
    if (!err)
        err = take_challenge(k, "webauthn.get", q->client_data, is_alone ? nobody : q->owner_id, q->context, (enum keeper_purpose)q->purpose);
    if (!err)
        err = open_passkey(k, q, &passkey);
    if (!err)
        err = sq_passkey_check(&k->site, &passkey, q->client_data, q->auth_data, q->signature, is_alone, &counter);
    if (!err)
        err = check_counter(k, q, counter);
    if (err)
        sq_ask_fail(ask, err);
    else
        keeper_answer_factor(k, ask, q->owner_id, q->proof, is_alone ? KEEPER_ALONE : 0, counter);
}
