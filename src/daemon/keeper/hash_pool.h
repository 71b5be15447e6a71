/** keeper/hash_pool - at most two password hashes at once (64 MiB each), a short queue behind them, SQ_EBUSY beyond. */
#ifndef SQ_KEEPER_HASH_POOL_H
#define SQ_KEEPER_HASH_POOL_H

#include "lib/core/err.h"

#include <pthread.h>

#define KEEPER_HASH_ACTIVE 2
#define KEEPER_HASH_WAITING 6

struct keeper_hash_pool {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    unsigned n_active, n_waiting;
};

void keeper_hash_pool_init(struct keeper_hash_pool *p);
sq_err keeper_hash_enter(struct keeper_hash_pool *p) SQ_MUST_CHECK; /* waits for its turn; SQ_EBUSY: the queue is full */
void keeper_hash_leave(struct keeper_hash_pool *p);

#endif
