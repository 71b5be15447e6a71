/*
 * The watchdog of slow clients. A deadline is absolute: whatever drips in meanwhile doesn't move it. shutdown() and not
 * close(): the descriptor stays libmicrohttpd's, whose thread wakes with an end of file and cleans up in its own order.
 */
#include "lib/http/http_internal.h"

#include "lib/core/clock.h"

#include <stdlib.h>
#include <time.h>

#define LOOK_MS 250

static void *watch(void *arg)
{
    struct deadlines *d = arg;
    pthread_mutex_lock(&d->lock);
    while (!d->is_stopping) {
        int64_t now = sq_clock_steady_ms();
        for (struct conn *c = d->first; c; c = c->next)
            if (now >= c->due_ms)
                place_push_out(c);
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_nsec -= 1000000000L;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&d->wake, &d->lock, &until);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

sq_err deadlines_start(struct deadlines *d)
{
    pthread_condattr_t a;
    pthread_mutex_init(&d->lock, NULL);
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_cond_init(&d->wake, &a);
    pthread_condattr_destroy(&a);
    return pthread_create(&d->thread, NULL, watch, d) ? sq_fail(SQ_ESYS) : SQ_OK;
}

void deadlines_stop(struct deadlines *d)
{
    pthread_mutex_lock(&d->lock);
    d->is_stopping = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    sq_assert(!d->first);
}

struct conn *conn_new(struct deadlines *d, int fd, const char *source, unsigned seconds, unsigned shed_seconds)
{
    struct conn *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->owner = d;
    c->fd = fd;
    pthread_mutex_lock(&d->lock);
    if (!place_take(c, source)) {
        pthread_mutex_unlock(&d->lock);
        free(c);
        return NULL;
    }
    c->due_ms = sq_clock_steady_ms() + (int64_t)(c->is_shed ? shed_seconds : seconds) * 1000;
    c->next = d->first;
    if (c->next)
        c->next->prev = c;
    d->first = c;
    pthread_mutex_unlock(&d->lock);
    return c;
}

void conn_due(struct conn *c, unsigned seconds)
{
    pthread_mutex_lock(&c->owner->lock);
    if (c->due_ms != INT64_MAX) /* one that was shut down stays so */
        c->due_ms = sq_clock_steady_ms() + (int64_t)seconds * 1000;
    pthread_mutex_unlock(&c->owner->lock);
}

void conn_phase(struct conn *c, enum phase phase)
{
    pthread_mutex_lock(&c->owner->lock);
    if (c->phase != LEAVING) {
        c->phase = phase;
        c->since_ms = sq_clock_steady_ms();
    }
    pthread_mutex_unlock(&c->owner->lock);
}

bool conn_may(struct deadlines *d, const char *source, unsigned max_source)
{
    pthread_mutex_lock(&d->lock);
    bool may = place_may_connect(d, source, max_source);
    pthread_mutex_unlock(&d->lock);
    return may;
}

void conn_free(struct conn *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->owner->lock);
    if (c->prev)
        c->prev->next = c->next;
    else
        c->owner->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    place_give_back(c);
    pthread_mutex_unlock(&c->owner->lock);
    free(c);
}
