/* What http_server.c (who may connect), http_conn.c (one connection), http_answer.c and http_tls.c share. Never leaves this folder. */
#ifndef SQ_HTTP_HTTP_INTERNAL_H
#define SQ_HTTP_HTTP_INTERNAL_H

#include "lib/http/http_server.h"

#include <gnutls/gnutls.h>
#include <pthread.h>

#define SLICE_BYTES (64U << 10)
#define CONN_IN_BYTES (SQ_HTTP_HEAD_MAX + 16384U) /* a head, and behind it a TLS record of the body */

/* ---- http_tls.c: the certificate in use, and a socket with TLS on it ---- */

/* A certificate with its key: freed when the last connection that began with it has ended. */
struct credentials {
    gnutls_certificate_credentials_t tls;
    unsigned n_user; /* under sq_http's lock */
};

sq_err tls_start(void) SQ_MUST_CHECK; /* once, before confining */
sq_err credentials_new(const char *certificate_pem, const char *key_pem, struct credentials **out) SQ_MUST_CHECK;
void credentials_free(struct credentials *c);

/* Waits for the client are paid from left_ms; an empty purse is SQ_ESLOW; a client that left, or was cut, SQ_EDOWN. */
struct wire {
    int fd; /* doesn't block */
    gnutls_session_t tls;
    int64_t left_ms;
};

sq_err wire_handshake(struct wire *w, const struct credentials *c) SQ_MUST_CHECK;
sq_err wire_read(struct wire *w, void *p, size_t max, size_t *out_n) SQ_MUST_CHECK; /* at least a byte */
sq_err wire_write(struct wire *w, const void *p, size_t n) SQ_MUST_CHECK;
/* The end of TLS: says so and lets the client take what it was sent; @n_drain bytes, at least a MiB, of what it still sends are
 * thrown away. The descriptor stays open: whoever holds the list of connections may be about to shut it down. */
void wire_end(struct wire *w, bool is_polite, uint64_t n_drain);

/* ---- http_server.c: connections as the listener sees them ---- */

enum phase {
    ASKS_NOTHING, /* handshake, head, between requests: may be pushed out */
    BUSY,
    LEAVING,      /* pushed out: isn't counted any more */
};

/* Who connects, as long as one of its connections is in the list. */
struct source {
    struct source *next;
    char name[64];
    unsigned n_conn, n_placed, n_shed; /* all; those that have a place; those that are told that there is none */
};

struct conn {
    struct sq_http *http;
    struct conn *prev, *next;
    struct source *source;
    struct credentials *credentials;
    char address[64];
    enum phase phase;  /* under sq_http's lock */
    int64_t since_ms;  /* of this phase */
    bool is_shed;      /* there is no room: it gets 503 */
    struct wire wire;
    char *in;          /* CONN_IN_BYTES: the request's head in [0..n_head); what came and isn't read yet in [at..n_in) */
    size_t n_head, at, n_in;
};

struct sq_http {
    struct sq_http_config config;
    int wake;          /* eventfd: stop */
    pthread_t listener;
    pthread_mutex_t lock;
    pthread_cond_t ended; /* a connection has */
    struct conn *first;
    struct source *sources;
    unsigned n_placed, n_shed, n_leaving, n_thread;
    struct credentials *credentials;
};

/* False when the connection was pushed out meanwhile. */
bool conn_phase(struct conn *c, enum phase phase);

/* ---- http_conn.c ---- */

struct request {
    struct sq_http_request r; /* first: handlers hold this */
    struct conn *conn;
    struct sq_buf out; /* the answer's head without its end, then, behind n_out_head, the body */
    size_t n_out_head;
    int stream_fd;     /* or the body comes from here */
    uint64_t n_stream;
    bool is_head;      /* HEAD: no body is sent */
    bool has_length, has_transfer_encoding, wants_close;
    uint64_t left;     /* of a body with Content-Length: to be read */
    struct sq_http_chunked chunked;
    uint64_t next_slice;
};

void conn_serve(struct conn *c); /* from the handshake to the end of TLS; doesn't close */

/* ---- http_answer.c ---- */
sq_err answer_send(struct request *q, bool is_last) SQ_MUST_CHECK;
void answer_done(struct request *q);

#endif
