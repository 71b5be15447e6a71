#include "daemon/keeper/hash_pool.h"

void keeper_hash_pool_init(struct keeper_hash_pool *p)
{
    *p = (struct keeper_hash_pool){0};
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
}

static bool is_empty(const struct keeper_hash_line *l)
{
    return l->next == l->serving;
}

sq_err keeper_hash_enter(struct keeper_hash_pool *p, bool is_known)
{
    struct keeper_hash_line *mine = &p->line[is_known], *before = is_known ? NULL : &p->line[true];
    pthread_mutex_lock(&p->lock);
    if (mine->next - mine->serving >= KEEPER_HASH_WAITING) {
        pthread_mutex_unlock(&p->lock);
        return sq_fail(SQ_EBUSY);
    }
    uint64_t ticket = mine->next++;
    while (p->is_taken || mine->serving != ticket || (before && !is_empty(before)))
        pthread_cond_wait(&p->wake, &p->lock);
    mine->serving++;
    p->is_taken = true;
    pthread_mutex_unlock(&p->lock);
    return SQ_OK;
}

void keeper_hash_leave(struct keeper_hash_pool *p)
{
    pthread_mutex_lock(&p->lock);
    p->is_taken = false;
    pthread_cond_broadcast(&p->wake); /* a handful wait at most; the one whose turn it is goes on */
    pthread_mutex_unlock(&p->lock);
}
