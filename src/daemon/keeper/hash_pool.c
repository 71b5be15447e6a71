#include "daemon/keeper/hash_pool.h"

void keeper_hash_pool_init(struct keeper_hash_pool *p)
{
    *p = (struct keeper_hash_pool){0};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
}

sq_err keeper_hash_enter(struct keeper_hash_pool *p)
{
    pthread_mutex_lock(&p->lock);
    if (p->n_active >= KEEPER_HASH_ACTIVE && p->n_waiting >= KEEPER_HASH_WAITING) {
        pthread_mutex_unlock(&p->lock);
        return sq_fail(SQ_EBUSY);
    }
    p->n_waiting++;
    while (p->n_active >= KEEPER_HASH_ACTIVE)
        pthread_cond_wait(&p->wake, &p->lock);
    p->n_waiting--;
    p->n_active++;
    pthread_mutex_unlock(&p->lock);
    return SQ_OK;
}

void keeper_hash_leave(struct keeper_hash_pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->n_active--;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
}
