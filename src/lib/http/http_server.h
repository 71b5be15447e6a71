/**
 * http/http_server - HTTPS: TLS 1.3 and HTTP/1.1 by libmicrohttpd, one thread a connection.
 *
 * A thread a connection makes a handler one straight story and back-pressure natural: while a handler waits, nothing is
 * read from that client. What a request may cost is bounded here: connections, in all and of one address; memory of a
 * connection; time: libmicrohttpd counts inactivity only, so a client that sends one byte a second would stay for ever;
 * each phase gets a deadline, after which the socket is shut down.
 *
 * May touch: the listening socket it is given and what comes in there. Opens no file; never logs text from outside.
 */
#ifndef SQ_HTTP_HTTP_SERVER_H
#define SQ_HTTP_HTTP_SERVER_H

#include "lib/http/http_forwarded.h"
#include "lib/http/http_rules.h"

#define SQ_HTTP_PATH_MAX 512
#define SQ_HTTP_HEADERS_MAX 64
#define SQ_HTTP_VALUE_MAX 8192
#define SQ_HTTP_CHUNKED UINT64_MAX /* content_length of a body whose length isn't told */

struct sq_http;

/** A request as its handlers see it. Header values are NULL when absent; all text lives as long as the request. */
struct sq_http_request {
    const char *method;
    char path[SQ_HTTP_PATH_MAX + 1];   /* as sent, before `?`: nothing is decoded */
    char query[SQ_HTTP_QUERY_MAX + 1]; /* after `?`, or "" */
    struct sq_ip peer;                 /* who holds the other end of the connection: the client, or a proxy */
    char address[SQ_NETWORKS_ADDRESS_MAX]; /* of the client: "192.0.2.7", "2001:db8::1"; the peer's unless sq_http_is_from says another */
    char source[SQ_NETWORKS_ADDRESS_MAX];  /* who is counted: the address, of IPv6 its network: "2001:db8::/64" */
    const char *host, *authorization, *x_auth_token, *content_type, *range, *if_range, *if_match, *if_none_match, *expect;
    const char *cookie, *origin, *sec_fetch_site, *content_encoding;
    struct sq_http_lines forwarded, x_forwarded_for; /* as they came: http_forwarded.h says what to make of them */
    uint64_t content_length; /* 0: no body */
    sq_err head_error;       /* SQ_OK, or why this head is refused whatever it asks: see docs/api.md */
    uint64_t n_in, n_out;    /* bytes of bodies; n_out of a stream: at least so many were taken by the client's side */
    unsigned status;         /* of the answer, once there is one */
    void *user;              /* the handlers' own */
};

/**
 * on_connect, on the listener's thread: how many connections may @source have now, this one among them? 0: it is cut before TLS begins.
 * The others, in this order, on the connection's thread: on_head; on_body for each piece; on_end; on_done, always, last.
 * The first sq_http_answer ends it: what still comes of the body is dropped. on_end must have answered.
 * on_done's is_complete: the whole answer was sent.
 */
struct sq_http_events {
    unsigned (*on_connect)(void *ctx, const struct sq_ip *peer, const char *source);
    void (*on_head)(void *ctx, struct sq_http_request *r);
    void (*on_body)(void *ctx, struct sq_http_request *r, const uint8_t *p, size_t n);
    void (*on_end)(void *ctx, struct sq_http_request *r);
    void (*on_done)(void *ctx, struct sq_http_request *r, bool is_complete);
};

struct sq_http_config {
    int listen_fd;                          /* taken */
    const char *certificate_pem, *key_pem;  /* borrowed during start: wipe them after it */
    unsigned max_connections;
    unsigned head_s;  /* TLS handshake and headers must be there within this time */
    unsigned slice_s; /* each 64 KiB of a body must come, or be taken, within this time */
    unsigned idle_s;  /* longest silence, also between requests */
    struct sq_http_events events;
    void *ctx;
};

/** Before confining: libraries get ready, the certificate and key are taken. SQ_ECONFIG: they don't fit together. */
sq_err sq_http_prepare(const struct sq_http_config *config) SQ_MUST_CHECK;
/** New connections get this certificate and key (borrowed, PEM) from now on; those that are there go on. SQ_ECONFIG: nothing changed. */
sq_err sq_http_set_certificate(const char *certificate_pem, const char *key_pem) SQ_MUST_CHECK;
/** Starts threads: after confining. One server a process. */
sq_err sq_http_start(const struct sq_http_config *config, struct sq_http **out) SQ_MUST_CHECK;
/** Cuts every connection (on_done runs) and waits for their threads. NULL allowed. */
void sq_http_stop(struct sq_http *http);

/** The client is this one, and the peer only spoke for it. */
void sq_http_is_from(struct sq_http_request *r, const struct sq_ip *ip);

/** From a handler: the rest of this request gets @seconds from now. The default of a body is slice_s. */
void sq_http_deadline(struct sq_http_request *r, unsigned seconds);

struct sq_http_field {
    const char *name, *value; /* name NULL ends a list */
};

/** Answer with @n bytes (copied). Security headers come by themselves. The first answer counts: later ones are refused. */
sq_err sq_http_answer(struct sq_http_request *r, unsigned status, const struct sq_http_field *fields, const void *body, size_t n);
/** The same with bytes that live as long as the process and aren't copied. */
sq_err sq_http_answer_fixed(struct sq_http_request *r, unsigned status, const struct sq_http_field *fields, const void *body, size_t n);
/** Answer with @n_bytes out of @fd (taken, also on failure); HEAD reads nothing. Fewer bytes there cut the connection. */
sq_err sq_http_answer_stream(struct sq_http_request *r, unsigned status, const struct sq_http_field *fields, int fd,
                             uint64_t n_bytes);
bool sq_http_is_answered(const struct sq_http_request *r);

#endif
