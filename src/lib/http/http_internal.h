/* What http_server.c and http_deadline.c share. Never leaves this folder. */
#ifndef SQ_HTTP_HTTP_INTERNAL_H
#define SQ_HTTP_HTTP_INTERNAL_H

#include "lib/http/http_server.h"

#include <pthread.h>

/* One connection in the watchdog's list, from accept to close. */
struct conn {
    struct deadlines *owner;
    int fd;
    int64_t due_ms; /* steady clock */
    struct conn *prev, *next;
};

struct deadlines {
    pthread_mutex_t lock; /* held while a socket is shut down: it isn't closed meanwhile */
    pthread_cond_t wake;
    pthread_t thread;
    struct conn *first;
    bool is_stopping;
};

sq_err deadlines_start(struct deadlines *d) SQ_MUST_CHECK;
void deadlines_stop(struct deadlines *d); /* after the last connection */
struct conn *conn_new(struct deadlines *d, int fd, unsigned seconds); /* NULL when out of memory */
void conn_free(struct conn *c);
void conn_due(struct conn *c, unsigned seconds);

#endif
