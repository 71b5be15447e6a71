/* What http_server.c, http_deadline.c (time) and http_places.c (who may connect) share. Never leaves this folder. */
#ifndef SQ_HTTP_HTTP_INTERNAL_H
#define SQ_HTTP_HTTP_INTERNAL_H

#include "lib/http/http_server.h"

#include <gnutls/abstract.h>
#include <pthread.h>

#define SHED_MAX 16    /* connections beyond the limit that are let in to be told that there is no room */
#define LEAVING_MAX 64 /* pushed out, their threads not ended yet */

/* Who connects, as long as one of its connections is there. */
struct source {
    struct source *next;
    char name[SQ_NETWORKS_ADDRESS_MAX];
    unsigned n_conn, n_placed, n_shed; /* all; those that have a place; those that are told that there is none */
};

enum phase {
    ASKS_NOTHING, /* handshake, head, between requests: may be pushed out */
    BUSY,
    LEAVING,      /* pushed out: isn't counted any more */
};

/* One connection in the watchdog's list, from accept to close. */
struct conn {
    struct source *source;
    enum phase phase;
    int64_t since_ms; /* of this phase */
    bool is_shed;     /* it gets 503 */
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
    struct source *sources;
    unsigned max_conn, n_placed, n_shed, n_leaving;
    bool is_stopping, is_next_shed;
};

sq_err deadlines_start(struct deadlines *d) SQ_MUST_CHECK;
void deadlines_stop(struct deadlines *d); /* after the last connection */
struct conn *conn_new(struct deadlines *d, int fd, const char *source, unsigned seconds, unsigned shed_seconds); /* NULL when out of memory */
void conn_free(struct conn *c);
void conn_due(struct conn *c, unsigned seconds);
void conn_phase(struct conn *c, enum phase phase);
/** Before a connection is made: is there room for one of @source, which may have @max_source? */
bool conn_may(struct deadlines *d, const char *source, unsigned max_source);

/* http_places.c, under the lock */
bool place_may_connect(struct deadlines *d, const char *name, unsigned max_source);
bool place_take(struct conn *c, const char *name);
void place_give_back(struct conn *c);
void place_push_out(struct conn *c);
/* http_certificate.c: what GnuTLS asks at each handshake */
int http_certificate(gnutls_session_t session, const struct gnutls_cert_retr_st *info, gnutls_pcert_st **certs, unsigned *n_cert,
                     gnutls_ocsp_data_st **ocsp, unsigned *n_ocsp, gnutls_privkey_t *key, unsigned *flags);
/* the address of the other end; all zeros when it is of no family of ours */
struct sockaddr;
struct sq_ip http_peer(const struct sockaddr *from);

#endif
