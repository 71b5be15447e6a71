/*
 * A long file is sealed and written by a thread of its own, while the connection's thread receives and decrypts what comes next:
 * hashing, sealing and writing take about as long as TLS does, and one after the other they would halve the rate.
 * Between them stands a ring of RING_BYTES. A slow disk fills it, the connection's thread waits, and TCP tells the client.
 * A file of up to AHEAD_FROM bytes is sealed where it arrives: starting a thread would take longer.
 */
#include "daemon/gateway/upload_ahead.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#define AHEAD_FROM (UINT64_C(1) << 20)
#define RING_BYTES ((size_t)512 << 10)
#define STEP_BYTES (RING_BYTES / 4) /* who waits is woken for so much, not for each byte */
#define PUSH_BYTES ((size_t)8 << 20)
#define STACK_BYTES ((size_t)256 << 10)

struct ahead {
    struct sq_vault_sealer *sealer;
    int fd;
    uint64_t n_taken; /* before the thread runs */
    size_t n_unpushed; /* the thread's */
    bool is_running;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows; the bytes between tail and head belong to the thread */
    pthread_cond_t wake_seal, wake_add;
    uint8_t *ring;
    uint64_t head, tail; /* bytes added, bytes sealed, since the thread began */
    bool is_ending;
    sq_err failed;
};

sq_err ahead_new(struct sq_vault_sealer *sealer, int fd, struct ahead **out)
{
    struct ahead *a = calloc(1, sizeof *a);
    if (!a)
        return sq_fail(SQ_ENOMEM);
    a->sealer = sealer;
    a->fd = fd;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->wake_seal, NULL);
    pthread_cond_init(&a->wake_add, NULL);
    *out = a;
    return SQ_OK;
}

/* the next stretch of the ring that can be sealed: at least a step, unless the end has come; 0: nothing will come */
static size_t next_stretch(struct ahead *a, const uint8_t **out)
{
    while (a->head - a->tail < STEP_BYTES && !a->is_ending)
        pthread_cond_wait(&a->wake_seal, &a->lock);
    size_t at = (size_t)(a->tail % RING_BYTES), n = (size_t)(a->head - a->tail);
    *out = a->ring + at;
    return n < RING_BYTES - at ? n : RING_BYTES - at;
}

/* The disk begins to write while the rest still comes: what is durable before the answer is then little more. No promise rests on it, so whether it works is no matter. */
static void push(struct ahead *a, size_t n)
{
    a->n_unpushed += n;
    if (a->n_unpushed < PUSH_BYTES)
        return;
    a->n_unpushed = 0;
    (void)sync_file_range(a->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static void *seal_main(void *arg)
{
    struct ahead *a = arg;
    const uint8_t *p;
    size_t n;
    pthread_mutex_lock(&a->lock);
    while (!a->failed && (n = next_stretch(a, &p)) > 0) {
        n = n < 2 * STEP_BYTES ? n : 2 * STEP_BYTES; /* so that room comes back before the whole ring is through */
        pthread_mutex_unlock(&a->lock);
        sq_err e = sq_vault_seal(a->sealer, p, n);
        push(a, n);
        pthread_mutex_lock(&a->lock);
        a->failed = e;
        a->tail += n;
        pthread_cond_signal(&a->wake_add);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

static sq_err start(struct ahead *a)
{
    pthread_attr_t attr;
    if (!(a->ring = malloc(RING_BYTES)))
        return sq_fail(SQ_ENOMEM);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    a->is_running = pthread_create(&a->thread, &attr, seal_main, a) == 0;
    pthread_attr_destroy(&attr);
    return SQ_OK; /* without a thread it goes on where it arrives */
}

static sq_err put(struct ahead *a, const uint8_t *p, size_t n)
{
    pthread_mutex_lock(&a->lock);
    while (n && !a->failed) {
        size_t room = RING_BYTES - (size_t)(a->head - a->tail), at = (size_t)(a->head % RING_BYTES);
        if (room < n && room < STEP_BYTES) {
            pthread_cond_wait(&a->wake_add, &a->lock);
            continue;
        }
        size_t take = n < room ? n : room;
        take = take < RING_BYTES - at ? take : RING_BYTES - at;
        pthread_mutex_unlock(&a->lock); /* what lies outside tail..head is ours */
        memcpy(a->ring + at, p, take);
        pthread_mutex_lock(&a->lock);
        a->head += take;
        p += take;
        n -= take;
        if (a->head - a->tail >= STEP_BYTES)
            pthread_cond_signal(&a->wake_seal);
    }
    sq_err e = a->failed;
    pthread_mutex_unlock(&a->lock);
    return e;
}

sq_err ahead_add(struct ahead *a, const uint8_t *p, size_t n)
{
    if (!a->ring && a->n_taken >= AHEAD_FROM) {
        sq_err e = start(a);
        if (e)
            return e;
    }
    a->n_taken += n;
    return a->is_running ? put(a, p, n) : sq_vault_seal(a->sealer, p, n);
}

sq_err ahead_end(struct ahead *a)
{
    if (a->is_running) {
        pthread_mutex_lock(&a->lock);
        a->is_ending = true;
        pthread_cond_signal(&a->wake_seal);
        pthread_mutex_unlock(&a->lock);
        pthread_join(a->thread, NULL);
        a->is_running = false;
    }
    return a->failed;
}

void ahead_free(struct ahead *a)
{
    if (!a)
        return;
    if (a->is_running) { /* given up: what lies in the ring needn't be sealed any more */
        pthread_mutex_lock(&a->lock);
        if (!a->failed)
            a->failed = SQ_ECANCELLED;
        pthread_mutex_unlock(&a->lock);
        sq_err ignored = ahead_end(a);
        (void)ignored;
    }
    if (a->ring)
        sq_wipe(a->ring, RING_BYTES);
    free(a->ring);
    pthread_cond_destroy(&a->wake_seal);
    pthread_cond_destroy(&a->wake_add);
    pthread_mutex_destroy(&a->lock);
    free(a);
}
