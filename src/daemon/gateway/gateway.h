/**
 * gateway - what its files share: the process, one request, and who does what with it. See main.c for what it may.
 */
#ifndef SQ_GATEWAY_GATEWAY_H
#define SQ_GATEWAY_GATEWAY_H

#include "lib/http/http_server.h"
#include "lib/http/routes.h"
#include "lib/proc/node.h"

#include <pthread.h>

#define GATEWAY_BODY_MAX 49152u      /* message api: BLOB(body) */
#define GATEWAY_CALL_MS 30000        /* registrar answers within this, or the client gets 503 */
#define GATEWAY_CLOSE_MS 20000       /* upload_close: registrar waits up to 10 s for ingest */
#define GATEWAY_FORM_BYTES 65536u    /* of a form besides its files */
#ifdef SQ_TEST_HOOKS
#define GATEWAY_SLICE_S 15u /* tests wait for slow clients to be cut; a busy machine's aren't */
#else
#define GATEWAY_SLICE_S 60u /* each 64 KiB of a body must come, or be taken, within this time */
#endif
#define GATEWAY_STRANGERS_LOGINS 4u  /* passwords of strangers that are checked at once: keeper works on one, and the others wait */
#define GATEWAY_COOKIE "__Host-sequester" /* of a session; the prefix binds it to this host, TLS and every path */
#define GATEWAY_FORM_FILES 16u       /* files of one form */

struct limits;
struct upload;

/** What an answer says of the limits that its request was counted against: the values of two headers, "" when of none. */
struct limits_said {
    char policy[256], left[192];
    bool has_standing; /* a known caller: see limits.c */
};

struct gateway {
    struct sq_node *node;
    const char *hosts;
    unsigned rsa_bits; /* least, of the certificate */
    uint64_t upload_max_bytes;
    struct limits *limits;
    unsigned max_connections, max_connections_per_ip;
    pthread_rwlock_t networks_lock;
    struct sq_networks *networks; /* NULL: no rules */
    unsigned n_waiting, n_logins; /* atomic: strangers' requests that wait for registrar; those of them that check a password */
    pthread_mutex_t tls_lock;
    uint64_t tls_not_after_s; /* of the certificate that is served */
    uint8_t tls_fingerprint[32];
};

struct request {
    struct gateway *gw;
    struct sq_http_request *http;
    uint8_t id[8];
    char id_hex[17];
    int64_t start_ms;
    const struct sq_route_row *row; /* NULL: refused before it was known */
    struct sq_route_params params;
    struct sq_span token;  /* in the head: lives as long as the request */
    uint8_t via;           /* how it came: 0 none, 1 a header, 2 the cookie */
    struct sq_buf body;    /* JSON, as it comes */
    struct upload *upload; /* UPLOAD only */
    uint8_t ticket[16];    /* DOWNLOAD: what download_end will name */
    bool has_ticket;
    uint64_t n_promised;   /* DOWNLOAD: bytes that belong to that ticket */
    struct limits_said said;
    bool is_form;    /* its body is no JSON */
    bool is_waiting; /* counted in n_waiting */
    bool is_refused; /* an error was answered: nothing of this request goes any further */
    bool is_counted; /* among the refusals that the audit log has as numbers */
};

/* request.c: admits, or refuses, and hands on to the three kinds below */
extern const struct sq_http_events gateway_events;
/** The path's variables, each ended by LF, as messages want them. @out keeps them. */
struct sq_span request_params(const struct request *r, char out[SQ_ROUTE_MAX_PARAMS * (SQ_ROUTE_ID_MAX + 1)]);

/* answer.c */
void answer_error(struct request *r, sq_err code, const char *detail); /* detail: a sentence of ours, or NULL */
void answer_limited(struct request *r, unsigned wait_s);
void answer_method(struct request *r, const char *allow);
/** What registrar decided: status, Location, Retry-After, the cookie of the session and body go out as they are. */
void answer_api(struct request *r, const struct sq_msg_api_is *is);
void answer_json(struct request *r, unsigned status, const char *location, unsigned retry_s, const char *set_cookie, const void *body, size_t n);
void answer_download(struct request *r, unsigned status, const struct sq_msg_download_is *is, const char *etag, int fd);
/** A file of the program (@body lives as long as it does), or with 304 its ETag alone. */
void answer_builtin(struct request *r, unsigned status, const char *etag, const void *body, size_t n);
void answer_no_range(struct request *r, uint64_t total_bytes);

/* forward.c: small bodies, to registrar and back */
void forward_head(struct request *r);
void forward_body(struct request *r, const uint8_t *p, size_t n);
void forward_end(struct request *r);

/* upload.c: a form's files, sealed while they arrive */
void upload_head(struct request *r);
void upload_body(struct request *r, const uint8_t *p, size_t n);
void upload_end(struct request *r);
void upload_drop(struct request *r); /* always, last: gives up what wasn't finished */

/* download.c: ranges, tags, and a pipe from runner */
void download_end(struct request *r);
void download_drop(struct request *r); /* always, last: says how much was sent */

/* builtin.c: files that are part of the program */
void builtin_end(struct request *r);

/* limits.c */
sq_err limits_new(struct sq_node *node, struct limits **out) SQ_MUST_CHECK;
sq_err limits_start(struct limits *l) SQ_MUST_CHECK; /* the thread that reports refusals: after confining */
/** Take one request of @rate from the buckets of @source, @token (may be empty) and all: 0, or the seconds until there is one again. @said is added to. */
unsigned limits_take(struct limits *l, enum sq_rate rate, const char *source, struct sq_span token, struct limits_said *said);
/** One more limit for the headers: `"read-user";q=1200;w=60` and what is left of it. */
void limits_say(struct limits_said *said, const char *rate, const char *scope, unsigned quota, unsigned window_s, unsigned left, unsigned full_s);
/** Registrar has accepted this token from there: both are known callers from now on. */
void limits_known(struct limits *l, const char *source, struct sq_span token);
void limits_refused(struct limits *l, const char *address); /* counted, told to registrar once a minute */

/* admission.c */
sq_err admission_open(struct gateway *gw) SQ_MUST_CHECK; /* SQ_ECONFIG: the file of rules, which parent has looked at, makes no sense */
void admission_on_parent(struct gateway *gw, struct sq_packet *pkt, const struct sq_msg *m); /* new rules */
/** How many connections may this one hold? 0: none at all. */
unsigned admission_connect(struct gateway *gw, const struct sq_ip *peer, const char *source);
/** Finds out who the client is and puts it into @http. SQ_ENETWORK: it may not come; SQ_EREQUEST: its proxy wrote nonsense. */
sq_err admission_client(struct gateway *gw, struct sq_http_request *http, bool *out_may_operate) SQ_MUST_CHECK;

/* tls.c */
struct tls_files {
    uint8_t *certificate, *key; /* C strings in locked memory */
};
struct sq_x509_seen;
sq_err tls_read(struct gateway *gw, struct tls_files *out) SQ_MUST_CHECK;
void tls_serves(struct gateway *gw, const struct sq_x509_seen *seen);
void tls_tell(struct gateway *gw); /* registrar which certificate is served */
void tls_on_parent(void *ctx, struct sq_packet *pkt, const struct sq_msg *m); /* new files */
void tls_wipe(struct tls_files *tls);

/* confine.c */
sq_err gateway_confine(void) SQ_MUST_CHECK;

#endif
