/**
 * keeper/proofs - what this process itself has just checked of an owner: password, mailed link, second factor.
 *
 * A proof is drawn at random, is good once and for five minutes, and lives in memory alone: after a restart its owner signs
 * in again. Whatever signs for an owner, or changes what he signs in with, takes one (credentials.c, signing.c).
 * Challenges of passkeys live beside them, in the same way.
 *
 * What it may touch: memory. Thread-safe.
 */
#ifndef SQ_KEEPER_PROOFS_H
#define SQ_KEEPER_PROOFS_H

#include "lib/wire/wire.h"

#include <pthread.h>

#define KEEPER_MAX_PROOFS 2048
#define KEEPER_MAX_STEPS 2048
#define KEEPER_PROOF_MS (5 * 60 * INT64_C(1000))

#define KEEPER_MAX_CHALLENGES 1024 /* of each kind of purpose */
#define KEEPER_CHALLENGE_BYTES 32

enum keeper_means { KEEPER_PASSWORD = 1, KEEPER_LINK = 2, KEEPER_FACTOR = 4, KEEPER_ALONE = 8, KEEPER_RESET = 16 };
enum keeper_purpose { KEEPER_TO_ADD = 1, KEEPER_TO_PROVE = 2, KEEPER_TO_SIGN_IN = 3 };

struct keeper_proofs {
    pthread_mutex_t lock;
    struct keeper_step { /* the last code of a factor, so that it is good once even when registrar says otherwise */
        uint8_t factor[SQ_ID_BYTES];
        uint64_t step; /* 0: free */
    } step[KEEPER_MAX_STEPS];
    struct keeper_proof {
        uint8_t id[SQ_ID_BYTES], owner[SQ_ID_BYTES];
        int64_t until_steady_ms; /* 0: free */
        uint8_t means;
    } proof[KEEPER_MAX_PROOFS];
    struct keeper_challenge {
        uint8_t bytes[KEEPER_CHALLENGE_BYTES], owner[SQ_ID_BYTES], context[SQ_ID_BYTES];
        int64_t until_steady_ms; /* 0: free */
        enum keeper_purpose purpose;
    } challenge[2][KEEPER_MAX_CHALLENGES]; /* [1]: to sign in, which anybody may ask for: they crowd out nobody who is known */
};

void keeper_proofs_init(struct keeper_proofs *p);
/** A new one; when there is no place the one that ends first goes. */
sq_err keeper_proof_make(struct keeper_proofs *p, const uint8_t *owner, uint8_t means, uint8_t out_id[SQ_ID_BYTES]) SQ_MUST_CHECK;
/** Use it up: SQ_EPROOF when it isn't there, is too old, or is another owner's. */
sq_err keeper_proof_take(struct keeper_proofs *p, const uint8_t *id, const uint8_t *owner, uint8_t *out_means) SQ_MUST_CHECK;
/** What a passkey is to answer; when there is no place the one that ends first goes. */
sq_err keeper_challenge_make(struct keeper_proofs *p, const uint8_t *owner, const uint8_t *context, enum keeper_purpose purpose, uint8_t out[KEEPER_CHALLENGE_BYTES]) SQ_MUST_CHECK;
/** Use it up, whatever comes of it: SQ_EPASSKEY when it isn't there, is too old, or was made for something else. */
sq_err keeper_challenge_take(struct keeper_proofs *p, const uint8_t challenge[KEEPER_CHALLENGE_BYTES], const uint8_t *owner, const uint8_t *context, enum keeper_purpose purpose) SQ_MUST_CHECK;
/** A step of this factor is used: SQ_ECODE when it, or a later one, was before. When there is no place the oldest goes. */
sq_err keeper_step_take(struct keeper_proofs *p, const uint8_t *factor, uint64_t step) SQ_MUST_CHECK;

#endif
