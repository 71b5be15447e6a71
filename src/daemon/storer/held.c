#include "daemon/storer/storer.h"

#include <errno.h>
#include <unistd.h>

void held_init(struct held *h)
{
    memset(h, 0, sizeof *h);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->freed, NULL);
    for (size_t i = 0; i < STORER_MAX_HELD; i++)
        h->file[i].fd = -1;
}

static bool is_busy(const struct held *h, const uint8_t *object)
{
    for (size_t i = 0; i < h->n_busy; i++)
        if (!memcmp(h->busy[i], object, SQ_ID_BYTES))
            return true;
    return false;
}

static struct held_file *find(struct held *h, const uint8_t *object)
{
    for (size_t i = 0; i < STORER_MAX_HELD; i++)
        if (h->file[i].fd >= 0 && !memcmp(h->file[i].object, object, SQ_ID_BYTES))
            return &h->file[i];
    return NULL;
}

static void drop(struct held_file *f)
{
    close(f->fd); /* a nameless file: its last descriptor is its end */
    f->fd = -1;
}

static void see_generation(struct held *h, uint64_t generation)
{
    if (generation <= h->generation)
        return;
    h->generation = generation;
    for (size_t i = 0; i < STORER_MAX_HELD; i++)
        if (h->file[i].fd >= 0 && !is_busy(h, h->file[i].object))
            drop(&h->file[i]);
}

sq_err held_begin(struct held *h, const uint8_t object[SQ_ID_BYTES], uint64_t generation)
{
    pthread_mutex_lock(&h->lock);
    see_generation(h, generation);
    while (is_busy(h, object))
        pthread_cond_wait(&h->freed, &h->lock);
    sq_err e = generation < h->generation ? SQ_EDOWN : SQ_OK;
    if (!e) {
        sq_assert(h->n_busy < STORER_N_THREAD); /* a handler thread works on one object */
        memcpy(h->busy[h->n_busy++], object, SQ_ID_BYTES);
    }
    pthread_mutex_unlock(&h->lock);
    errno = 0; /* what the log shows when the work fails */
    return e;
}

void held_end(struct held *h, const uint8_t object[SQ_ID_BYTES])
{
    pthread_mutex_lock(&h->lock);
    size_t i = 0;
    while (i < h->n_busy && memcmp(h->busy[i], object, SQ_ID_BYTES) != 0)
        i++;
    sq_assert(i < h->n_busy);
    h->n_busy--;
    memmove(h->busy[i], h->busy[h->n_busy], SQ_ID_BYTES);
    struct held_file *f = find(h, object);
    if (f && f->generation < h->generation)
        drop(f);
    pthread_cond_broadcast(&h->freed);
    pthread_mutex_unlock(&h->lock);
}

sq_err held_add(struct held *h, const uint8_t object[SQ_ID_BYTES], const uint8_t owner[SQ_ID_BYTES], uint64_t generation,
                int fd)
{
    sq_err e = SQ_EBUSY;
    pthread_mutex_lock(&h->lock);
    if (find(h, object))
        e = SQ_EEXISTS;
    for (size_t i = 0; e == SQ_EBUSY && i < STORER_MAX_HELD; i++)
        if (h->file[i].fd < 0) {
            memcpy(h->file[i].object, object, SQ_ID_BYTES);
            memcpy(h->file[i].owner, owner, SQ_ID_BYTES);
            h->file[i].generation = generation;
            h->file[i].fd = fd;
            e = SQ_OK;
        }
    pthread_mutex_unlock(&h->lock);
    return e ? sq_fail(e) : SQ_OK;
}

int held_find(struct held *h, const uint8_t object[SQ_ID_BYTES], const uint8_t owner[SQ_ID_BYTES], sq_err *out_e)
{
    pthread_mutex_lock(&h->lock);
    const struct held_file *f = find(h, object);
    bool is_other = f && memcmp(f->owner, owner, SQ_ID_BYTES) != 0;
    int fd = f && !is_other ? f->fd : -1;
    pthread_mutex_unlock(&h->lock);
    *out_e = is_other ? sq_fail(SQ_EDENIED) : SQ_OK;
    return fd;
}

void held_drop(struct held *h, const uint8_t object[SQ_ID_BYTES])
{
    pthread_mutex_lock(&h->lock);
    struct held_file *f = find(h, object);
    if (f)
        drop(f);
    pthread_mutex_unlock(&h->lock);
}
