#include "lib/http/http_internal.h"

#include "lib/http/http_json.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <limits.h>
#include <malloc.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * Said in full and not by a level: TLS 1.3, ephemeral groups of FIPS 186-5 and RFC 7748, certificates only. No pre-shared
 * keys, no tickets (a stolen ticket key would open old traffic), and no early data: it can be replayed.
 */
static const char priorities[] = "NONE:+VERS-TLS1.3:+AES-256-GCM:+CHACHA20-POLY1305:+AEAD:+COMP-NULL:+CTYPE-X509:"
                                 "+GROUP-X25519:+GROUP-SECP256R1:+SIGN-ECDSA-SECP256R1-SHA256:+SIGN-ECDSA-SECP384R1-SHA384:"
                                 "+SIGN-EDDSA-ED25519:+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-PSS-RSAE-SHA384:%NO_TICKETS";

#define CONN_MEMORY_BYTES (96U << 10)
#define STACK_BYTES (256U << 10)
#define SHED_HEAD_S 3         /* for a client that is only let in to be told that there is no room */
#define UNSENT_MAX (256 << 10) /* bytes in the kernel that the client's window has no room for yet */
#define SOURCE_MS 60000       /* and the stream's source must give its next bytes within this */
#define STREAM_BLOCK (64U << 10)
#define DRAIN_HEAD (UINT64_C(1) << 20)  /* of a body refused at its head: read so much, so that the client sees the answer */
#define DRAIN_BODY (UINT64_C(16) << 20) /* of a body refused in its middle, where HTTP knows no answer before its end */

struct sq_http {
    struct sq_http_config config;
    struct MHD_Daemon *mhd;
    struct deadlines deadlines;
};

struct request {
    struct sq_http_request r; /* first: handlers hold this */
    struct sq_http *http;
    struct MHD_Connection *mhd;
    struct conn *conn;
    struct MHD_Response *response;
    uint64_t n_dropped, n_stream;
    size_t n_target;               /* of the request line, as sent */
    uintptr_t first_line, next_line; /* of the headers, in the library's buffer: see is_as_sent() */
    bool is_begun, is_queued, has_transfer_encoding, has_length;
};

struct stream {
    struct request *q;
    int fd;
};

static const struct sq_http_field security[] = {
    {"Strict-Transport-Security", "max-age=63072000; includeSubDomains"},
    {"Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"},
    {"X-Content-Type-Options", "nosniff"},
    {"X-Frame-Options", "DENY"}, /* for browsers that don't know frame-ancestors */
    {"Referrer-Policy", "no-referrer"},
    {"Permissions-Policy", "accelerometer=(), camera=(), display-capture=(), geolocation=(), gyroscope=(), microphone=(), payment=(), usb=()"},
    {"Cache-Control", "no-store"},
    {"Cross-Origin-Opener-Policy", "same-origin"},
    {"Cross-Origin-Embedder-Policy", "require-corp"},
    {"Cross-Origin-Resource-Policy", "same-origin"},
};

/* ---- what the head says ---- */

static bool is_name(const char *key, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (key[i] <= ' ' || key[i] >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", key[i]))
            return false;
    return n > 0;
}

/* A control character, a bare CR among them: another reader could take it for the end of the line. */
static bool is_plain(const char *value)
{
    for (; *value; value++)
        if (((unsigned char)*value < ' ' && *value != '\t') || *value == 0x7f)
            return false;
    return true;
}

/*
 * libmicrohttpd is kinder than we may be: it ends a value at a NUL, a line at a bare LF, joins folded lines and skips spaces. Another reader of the
 * same bytes could see another request. It parses in place, so where names and values lie tells what it left out: each line must be name, colon, at
 * most one space, value, CR LF, with the next one right behind it, and all of them together as long as the head was.
 */
static void is_as_sent(struct request *q, const char *key, size_t n_key, const char *value, size_t n_value)
{
    uintptr_t k = (uintptr_t)key, v = (uintptr_t)value;
    bool has_space = v == k + n_key + 2 && (value[-1] == ' ' || value[-1] == '\t');
    if ((v != k + n_key + 1 && !has_space) || (q->next_line && k != q->next_line))
        q->r.head_error = SQ_EREQUEST;
    if (!q->first_line)
        q->first_line = k;
    q->next_line = v + n_value + 2;
}

static bool is_length_as_sent(const struct request *q, const char *method, const char *version)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(q->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    size_t n_line = strlen(method) + 1 + q->n_target + 1 + strlen(version) + 2;
    return info && info->header_size == n_line + (q->next_line - q->first_line) + 2;
}

/* A header that may stand once: two would let a proxy and us read different requests. */
static void only_one(struct request *q, const char **slot, const char *value)
{
    if (*slot)
        q->r.head_error = SQ_EREQUEST;
    *slot = value;
}

static void content_length(struct request *q, const char *value)
{
    if (q->has_length || !*value || strlen(value) > 18 || strspn(value, "0123456789") != strlen(value))
        q->r.head_error = SQ_EREQUEST;
    else
        q->r.content_length = strtoull(value, NULL, 10);
    q->has_length = true;
}

static void add_line(struct sq_http_lines *lines, const char *value)
{
    if (lines->n < SQ_HTTP_FORWARDED_LINES)
        lines->line[lines->n] = value;
    lines->n++;
}

static enum MHD_Result one_header(void *cls, enum MHD_ValueKind kind, const char *key, size_t n_key, const char *value,
                                  size_t n_value)
{
    (void)kind;
    struct request *q = cls;
    struct sq_http_request *r = &q->r;
    if (value && n_value > SQ_HTTP_VALUE_MAX) {
        r->head_error = SQ_EHEADLARGE;
        return MHD_YES;
    }
    if (!value || strlen(value) != n_value || !is_name(key, n_key) || strlen(key) != n_key || !is_plain(value)) {
        r->head_error = SQ_EREQUEST;
        return MHD_YES;
    }
    is_as_sent(q, key, n_key, value, n_value);
    const struct {
        const char *name, **slot;
    } known[] = {{"Host", &r->host},           {"Authorization", &r->authorization}, {"X-Auth-Token", &r->x_auth_token},
                 {"Content-Type", &r->content_type}, {"Range", &r->range},           {"If-Range", &r->if_range},
                 {"If-Match", &r->if_match},   {"If-None-Match", &r->if_none_match}, {"Expect", &r->expect},
                 {"Cookie", &r->cookie},       {"Origin", &r->origin},               {"Sec-Fetch-Site", &r->sec_fetch_site}, {"Content-Encoding", &r->content_encoding}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcasecmp(key, known[i].name))
            only_one(q, known[i].slot, value);
    if (!strcasecmp(key, "Forwarded"))
        add_line(&r->forwarded, value);
    if (!strcasecmp(key, "X-Forwarded-For"))
        add_line(&r->x_forwarded_for, value);
    if (!strcasecmp(key, "Content-Length"))
        content_length(q, value);
    if (!strcasecmp(key, "Transfer-Encoding")) {
        if (q->has_transfer_encoding || strcasecmp(value, "chunked"))
            r->head_error = SQ_EREQUEST;
        q->has_transfer_encoding = true;
    }
    return MHD_YES;
}

static void read_head(struct request *q, const char *method, const char *version)
{
    struct sq_http_request *r = &q->r;
    r->method = method;
    int n = MHD_get_connection_values_n(q->mhd, MHD_HEADER_KIND, one_header, q);
    bool is_1_0 = !strcmp(version, "HTTP/1.0");
    if (n < 0 || !r->host || (q->has_transfer_encoding && (q->has_length || is_1_0)))
        r->head_error = SQ_EREQUEST;
    else if (n > SQ_HTTP_HEADERS_MAX)
        r->head_error = SQ_EHEADLARGE;
    else if (!r->head_error && !is_length_as_sent(q, method, version))
        r->head_error = SQ_EREQUEST;
    else if (!is_1_0 && strcmp(version, "HTTP/1.1"))
        r->head_error = SQ_EVERSION;
    if (q->has_transfer_encoding)
        r->content_length = SQ_HTTP_CHUNKED;
    if (r->expect && strcasecmp(r->expect, "100-continue") && !r->head_error)
        r->head_error = SQ_EEXPECT;
    if (q->conn && q->conn->is_shed)
        r->head_error = SQ_ECROWDED;
}

static const struct sockaddr *client(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    return info ? info->client_addr : NULL;
}

/* The request line is here: the request begins, before anything of it is decoded. */
static void *on_uri(void *cls, const char *uri, struct MHD_Connection *c)
{
    struct request *q = calloc(1, sizeof *q);
    if (!q)
        return NULL;
    q->http = cls;
    q->mhd = c;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    q->conn = info ? info->socket_context : NULL;
    if (q->conn)
        conn_due(q->conn, q->http->config.head_s);
    q->r.peer = http_peer(client(c));
    sq_http_is_from(&q->r, &q->r.peer);
    size_t n_path = strcspn(uri, "?");
    q->n_target = strlen(uri);
    const char *query = uri[n_path] ? uri + n_path + 1 : "";
    if (n_path > SQ_HTTP_PATH_MAX || strlen(query) > SQ_HTTP_QUERY_MAX || !sq_http_query_is_plain(query)) {
        q->r.head_error = n_path > SQ_HTTP_PATH_MAX || strlen(query) > SQ_HTTP_QUERY_MAX ? SQ_ETARGET : SQ_EREQUEST;
        return q;
    }
    memcpy(q->r.path, uri, n_path);
    memcpy(q->r.query, query, strlen(query));
    return q;
}

/* ---- answers ---- */

static sq_err finish(struct request *q, struct MHD_Response *response, unsigned status, const struct sq_http_field *fields)
{
    bool is_ok = true;
    for (size_t i = 0; i < sizeof security / sizeof security[0]; i++)
        is_ok = is_ok && MHD_add_response_header(response, security[i].name, security[i].value) == MHD_YES;
    for (; fields && fields->name; fields++)
        is_ok = is_ok && MHD_add_response_header(response, fields->name, fields->value) == MHD_YES;
    if (q->r.head_error) /* where a head makes no sense, what follows it may be anything */
        is_ok = is_ok && MHD_add_response_header(response, "Connection", "close") == MHD_YES;
    if (!is_ok) {
        MHD_destroy_response(response);
        return sq_fail(SQ_ENOMEM);
    }
    q->response = response;
    q->r.status = status;
    return SQ_OK;
}

static sq_err answer(struct sq_http_request *r, unsigned status, const struct sq_http_field *fields, const void *body, size_t n,
                     enum MHD_ResponseMemoryMode mode)
{
    struct request *q = (struct request *)r;
    if (q->response)
        return sq_fail(SQ_ECONFLICT);
    struct MHD_Response *response =
        MHD_create_response_from_buffer(n, (void *)(uintptr_t)(n ? body : ""), mode);
    if (!response)
        return sq_fail(SQ_ENOMEM);
    sq_err e = finish(q, response, status, fields);
    if (!e)
        r->n_out = strcmp(r->method, "HEAD") ? n : 0;
    return e;
}

sq_err sq_http_answer(struct sq_http_request *r, unsigned status, const struct sq_http_field *fields, const void *body, size_t n)
{
    return answer(r, status, fields, body, n, MHD_RESPMEM_MUST_COPY);
}

sq_err sq_http_answer_fixed(struct sq_http_request *r, unsigned status, const struct sq_http_field *fields, const void *body, size_t n)
{
    return answer(r, status, fields, body, n, MHD_RESPMEM_PERSISTENT);
}

static ssize_t stream_read(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct stream *s = cls;
    s->q->r.n_out = pos; /* what was handed out before has been sent */
    if (s->q->conn)
        conn_due(s->q->conn, s->q->http->config.slice_s);
    struct pollfd p = {.fd = s->fd, .events = POLLIN};
    int ready;
    do
        ready = poll(&p, 1, SOURCE_MS);
    while (ready < 0 && errno == EINTR);
    ssize_t n = ready == 1 ? read(s->fd, buf, max) : -1;
    return n > 0 ? n : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void stream_free(void *cls)
{
    struct stream *s = cls;
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

sq_err sq_http_answer_stream(struct sq_http_request *r, unsigned status, const struct sq_http_field *fields, int fd,
                             uint64_t n_bytes)
{
    struct request *q = (struct request *)r;
    struct stream *s = q->response ? NULL : malloc(sizeof *s);
    if (!s) {
        if (fd >= 0)
            close(fd);
        return sq_fail(q->response ? SQ_ECONFLICT : SQ_ENOMEM);
    }
    *s = (struct stream){q, fd};
    struct MHD_Response *response = MHD_create_response_from_callback(n_bytes, STREAM_BLOCK, stream_read, s, stream_free);
    if (!response) {
        stream_free(s);
        return sq_fail(SQ_ENOMEM);
    }
    q->n_stream = strcmp(r->method, "HEAD") ? n_bytes : 0;
    return finish(q, response, status, fields);
}

bool sq_http_is_answered(const struct sq_http_request *r)
{
    return ((const struct request *)r)->response != NULL;
}

void sq_http_is_from(struct sq_http_request *r, const struct sq_ip *ip)
{
    sq_ip_text(ip, r->address);
    sq_ip_source(ip, r->source);
}

void sq_http_deadline(struct sq_http_request *r, unsigned seconds)
{
    struct request *q = (struct request *)r;
    if (q->conn)
        conn_due(q->conn, seconds);
}

/* ---- libmicrohttpd's callbacks ---- */

static enum MHD_Result queue(struct request *q)
{
    if (!q->response)
        return MHD_NO; /* out of memory */
    q->is_queued = true;
    sq_http_deadline(&q->r, q->http->config.slice_s);
    return MHD_queue_response(q->mhd, q->r.status, q->response);
}

static enum MHD_Result on_head(struct request *q, const char *method, const char *version)
{
    q->is_begun = true;
    if (q->conn)
        conn_phase(q->conn, BUSY);
    read_head(q, method, version);
    sq_http_deadline(&q->r, q->http->config.slice_s);
    q->http->config.events.on_head(q->http->config.ctx, &q->r);
    if (!q->response)
        return MHD_YES;
    /* Refused. A client that waits for 100, or has more to send than we care to read, is answered now and cut; any other
     * is read to its end first: closing on unread bytes would make its TCP throw our answer away. */
    bool is_now = q->r.head_error || q->r.expect || (q->r.content_length > DRAIN_HEAD && q->r.content_length != SQ_HTTP_CHUNKED);
    q->n_dropped = DRAIN_BODY - DRAIN_HEAD;
    return is_now ? queue(q) : MHD_YES;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                                 const char *data, size_t *n_data, void **con_cls)
{
    (void)cls, (void)c, (void)url;
    struct request *q = *con_cls;
    if (!q)
        return MHD_NO;
    if (!q->is_begun)
        return on_head(q, method, version);
    const struct sq_http_events *events = &q->http->config.events;
    if (*n_data) {
        q->r.n_in += *n_data;
        if (q->response)
            q->n_dropped += *n_data;
        else
            events->on_body(q->http->config.ctx, &q->r, (const uint8_t *)data, *n_data);
        *n_data = 0;
        return q->n_dropped > DRAIN_BODY ? MHD_NO : MHD_YES;
    }
    if (q->is_queued)
        return MHD_YES;
    if (!q->response)
        events->on_end(q->http->config.ctx, &q->r);
    return queue(q);
}

static void on_completed(void *cls, struct MHD_Connection *c, void **con_cls, enum MHD_RequestTerminationCode toe)
{
    (void)cls, (void)c;
    struct request *q = *con_cls;
    *con_cls = NULL;
    if (!q)
        return;
    bool is_complete = q->is_queued && toe == MHD_REQUEST_TERMINATED_COMPLETED_OK;
    if (is_complete && q->n_stream)
        q->r.n_out = q->n_stream;
    if (q->is_begun)
        q->http->config.events.on_done(q->http->config.ctx, &q->r, is_complete);
    if (q->conn) {
        conn_due(q->conn, q->http->config.idle_s + q->http->config.head_s);
        conn_phase(q->conn, ASKS_NOTHING);
    }
    if (q->response)
        MHD_destroy_response(q->response);
    sq_wipe(q, sizeof *q);
    free(q);
}

static void on_connection(void *cls, struct MHD_Connection *c, void **context, enum MHD_ConnectionNotificationCode code)
{
    struct sq_http *http = cls;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        conn_free(*context);
        *context = NULL;
        return;
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    char source[SQ_NETWORKS_ADDRESS_MAX];
    static const int unsent = UNSENT_MAX;
    struct sq_ip peer = http_peer(client(c));
    sq_ip_source(&peer, source);
    *context = info ? conn_new(&http->deadlines, info->connect_fd, source, http->config.head_s, SHED_HEAD_S) : NULL;
    if (info)
        setsockopt(info->connect_fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof unsent);
    if (info && !*context)
        shutdown(info->connect_fd, SHUT_RDWR); /* out of memory: a connection without a deadline isn't served */
}

/* On the listener's thread, before TLS costs us anything. */
static enum MHD_Result on_accept(void *cls, const struct sockaddr *from, socklen_t n)
{
    (void)n;
    struct sq_http *http = cls;
    char source[SQ_NETWORKS_ADDRESS_MAX];
    struct sq_ip peer = http_peer(from);
    sq_ip_source(&peer, source);
    unsigned max_source = http->config.events.on_connect(http->config.ctx, &peer, source);
    return max_source && conn_may(&http->deadlines, source, max_source) ? MHD_YES : MHD_NO;
}

/* Paths are matched as sent: an address of ours has nothing to decode. */
static size_t leave_escaped(void *cls, struct MHD_Connection *c, char *s)
{
    (void)cls, (void)c;
    return strlen(s);
}

/* ---- start and stop ---- */

sq_err sq_http_prepare(const struct sq_http_config *config)
{
    sq_http_json_start();
    /* One heap, by brk: the heaps of further arenas can't shrink without opening /proc/sys/vm/overcommit_memory (glibc 2.36),
     * which no list of ours allows; and a heap for each of 256 threads would be ours to pay. */
    mallopt(M_ARENA_MAX, 1);
    gnutls_priority_t priority = NULL;
    if (gnutls_global_init() < 0 || gnutls_priority_init(&priority, priorities, NULL) < 0)
        return sq_fail(SQ_ECRYPTO);
    gnutls_priority_deinit(priority);
    return sq_http_set_certificate(config->certificate_pem, config->key_pem);
}

sq_err sq_http_start(const struct sq_http_config *config, struct sq_http **out)
{
    struct sq_http *http = calloc(1, sizeof *http);
    if (!http)
        return sq_fail(SQ_ENOMEM);
    http->config = *config;
    http->deadlines.max_conn = config->max_connections;
    sq_err e = deadlines_start(&http->deadlines);
    if (e) {
        free(http);
        return e;
    }
    http->mhd = MHD_start_daemon(
        MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC | MHD_USE_TLS, 0, on_accept, http,
        on_access, http, MHD_OPTION_LISTEN_SOCKET, config->listen_fd, MHD_OPTION_HTTPS_CERT_CALLBACK2, http_certificate,
        MHD_OPTION_HTTPS_PRIORITIES, priorities, MHD_OPTION_CONNECTION_LIMIT,
        config->max_connections + SHED_MAX + LEAVING_MAX, /* ours come first: http_places.c */
        MHD_OPTION_CONNECTION_TIMEOUT, config->idle_s, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONN_MEMORY_BYTES,
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)(16U << 10), MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL, MHD_OPTION_URI_LOG_CALLBACK, on_uri,
        http, MHD_OPTION_NOTIFY_COMPLETED, on_completed, http, MHD_OPTION_NOTIFY_CONNECTION, on_connection, http,
        MHD_OPTION_END);
    if (!http->mhd) {
        deadlines_stop(&http->deadlines);
        free(http);
        return sq_fail(SQ_ESYS);
    }
    http->config.certificate_pem = http->config.key_pem = NULL; /* http_certificate.c has its own */
    *out = http;
    return SQ_OK;
}

void sq_http_stop(struct sq_http *http)
{
    if (!http)
        return;
    MHD_stop_daemon(http->mhd);
    deadlines_stop(&http->deadlines);
    free(http);
}
