/* Passwords: hashed with Argon2id, the hash sealed under the owner's key, so that the database alone can't be guessed at. */
#include "daemon/keeper/keeper.h"

#include "lib/core/clock.h"
#include "lib/core/fault.h"

#define PURPOSE "sequester password v1"
#define SEALED_MAX_BYTES (SQ_PHC_MAX_BYTES + SQ_BOX_EXTRA_BYTES)

struct password_aad {
    uint8_t bytes[8 + SQ_ID_BYTES]; /* "password" | owner id */
};

static struct password_aad aad_of(const uint8_t *owner_id)
{
    struct password_aad aad;
    memcpy(aad.bytes, "password", 8);
    memcpy(aad.bytes + 8, owner_id, SQ_ID_BYTES);
    return aad;
}

static sq_err hash_in_turn(struct keeper *k, struct sq_span password, bool is_known, char out_phc[SQ_PHC_MAX_BYTES])
{
    sq_err err = keeper_hash_enter(&k->hash_pool, is_known);
    if (err)
        return err;
    sq_count();
    err = sq_password_hash(password.p, password.n, KEEPER_HASH_MEM_KIB, KEEPER_HASH_PASSES, out_phc);
    if (!err)
        err = sq_fault("keeper.hashed");
    keeper_hash_leave(&k->hash_pool);
    return err;
}

static sq_err check_in_turn(struct keeper *k, struct sq_span password, bool is_known, const char *phc)
{
    sq_err err = keeper_hash_enter(&k->hash_pool, is_known);
    if (err)
        return err;
    sq_count();
    err = sq_password_check(password.p, password.n, phc);
    keeper_hash_leave(&k->hash_pool);
    return err;
}

static bool is_zero_id(const uint8_t *id)
{
    static const uint8_t none[SQ_ID_BYTES];
    return !memcmp(id, none, sizeof none);
}

sq_err keeper_may_change(struct keeper *k, const uint8_t *owner, const uint8_t *proof, bool is_link_enough)
{
    struct sq_slab_slot slot;
    uint8_t means = 0;
    sq_err err = sq_slab_look(k->slab, SQ_SLAB_OWNER, owner, sq_clock_now_s(), &slot);
    if (err || (!(slot.for_role & SQ_SLAB_HAS_PASSWORD) && is_zero_id(proof)))
        return err;
    if ((err = keeper_proof_take(&k->proofs, proof, owner, &means)))
        return err;
    if (is_link_enough && (means & KEEPER_LINK))
        return SQ_OK;
    bool is_enough = (means & KEEPER_PASSWORD) && (!(slot.for_role & SQ_SLAB_NEEDS_FACTOR) || (means & KEEPER_FACTOR));
    return is_enough ? SQ_OK : sq_fail(SQ_EPROOF);
}

void keeper_answer_proof(struct keeper *k, struct sq_ask *ask, const uint8_t *owner, uint8_t means)
{
    struct sq_msg is = sq_msg_of(proof_is, .means = means);
    sq_err err = keeper_proof_make(&k->proofs, owner, means, is.u.proof_is.proof);
    sq_ask_end(ask, err, &is);
}

void on_password_hash(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_password_hash *q = &m->u.password_hash;
    char phc[SQ_PHC_MAX_BYTES];
    uint8_t sealed[SEALED_MAX_BYTES];
    struct sq_key *key = NULL;
    struct password_aad aad = aad_of(q->owner_id);
    size_t n = 0;
    bool is_known = !is_zero_id(q->proof); /* he has shown a password or a mailed code */
    sq_err err = keeper_may_change(k, q->owner_id, q->proof, true);
    if (!err)
        err = hash_in_turn(k, q->password, is_known, phc);
    if (!err) /* not before: it may be replaced while the hash waits for its turn */
        err = keeper_owner_key(k, q->owner_id, PURPOSE, &key);
    if (!err)
        err = sq_slab_mark(k->slab, q->owner_id, SQ_SLAB_HAS_PASSWORD, true, sq_clock_now_s());
    if (!err) {
        n = strlen(phc);
        err = sq_box_seal(key, aad.bytes, sizeof aad.bytes, phc, n, sealed);
    }
    if (err) {
        sq_ask_fail(ask, err);
    } else {
        struct sq_msg is = sq_msg_of(sealed_is, .sealed = sq_span_of(sealed, n + SQ_BOX_EXTRA_BYTES));
        sq_ask_reply(ask, &is);
    }
    sq_key_free(key);
    sq_wipe(phc, sizeof phc);
}

static sq_err open_phc(struct keeper *k, const uint8_t *owner_id, struct sq_span sealed, char out_phc[SQ_PHC_MAX_BYTES])
{
    struct password_aad aad = aad_of(owner_id);
    if (sealed.n <= SQ_BOX_EXTRA_BYTES || sealed.n >= SEALED_MAX_BYTES)
        return sq_fail(SQ_ETAMPERED);
    sq_err err = keeper_box_open(k, owner_id, &(struct keeper_box){PURPOSE, aad.bytes, sizeof aad.bytes, sealed}, (uint8_t *)out_phc, NULL);
    if (!err)
        out_phc[sealed.n - SQ_BOX_EXTRA_BYTES] = 0;
    return err;
}

/* Nobody has this name: the same work, so that the time doesn't tell. */
static sq_err check_nobody(struct keeper *k, struct sq_span password, bool is_known)
{
    char phc[SQ_PHC_MAX_BYTES];
    sq_err err = hash_in_turn(k, password, is_known, phc);
    sq_wipe(phc, sizeof phc);
    return err ? err : sq_fail(SQ_EPASSWORD);
}

void on_password_check(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_password_check *q = &m->u.password_check;
    char phc[SQ_PHC_MAX_BYTES];
    sq_err err;
    if (!q->sealed.n) {
        err = check_nobody(k, q->password, q->is_known);
    } else {
        err = open_phc(k, q->owner_id, q->sealed, phc);
        if (!err)
            err = check_in_turn(k, q->password, q->is_known, phc);
        sq_wipe(phc, sizeof phc);
    }
    if (err)
        sq_ask_fail(ask, err);
    else
        keeper_answer_proof(k, ask, q->owner_id, KEEPER_PASSWORD);
}
