/**
 * keeper/hash_pool - who hashes a password, and when: one at a time, so that one arena is all the memory that guessing can take; others
 * wait in the order in which they came, those who are known before strangers, and beyond a few of each kind SQ_EBUSY.
 *
 * Known is who is signed in, or signs in from where he has before: registrar says so, and it moves nothing but the order. So a flood of
 * strangers' guesses keeps a known user waiting for one hash, not for all of theirs.
 */
#ifndef SQ_KEEPER_HASH_POOL_H
#define SQ_KEEPER_HASH_POOL_H

#include "lib/core/err.h"

#include <pthread.h>
#include <stdbool.h>

#define KEEPER_HASH_WAITING 6 /* of strangers; as many of known ones */

struct keeper_hash_pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool is_taken;
    struct keeper_hash_line {
        uint64_t next, serving; /* tickets: the next to be given out, the first that waits */
    } line[2];                  /* strangers, known */
};

void keeper_hash_pool_init(struct keeper_hash_pool *p);
sq_err keeper_hash_enter(struct keeper_hash_pool *p, bool is_known) SQ_MUST_CHECK; /* waits for its turn; SQ_EBUSY: the line is full */
void keeper_hash_leave(struct keeper_hash_pool *p);

#endif
