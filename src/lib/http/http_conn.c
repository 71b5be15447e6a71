/* One connection, on its own thread: handshake, then request after request, each a straight story from its head to its answer. */
#include "lib/http/http_internal.h"

#include <stdlib.h>
#include <strings.h>

#define DRAIN_HEAD (UINT64_C(1) << 20)  /* of a body refused at its head: read so much, and the connection goes on */
#define DRAIN_BODY (UINT64_C(16) << 20) /* read so much more before closing, so that the client sees the answer */
#define REQUESTS_MAX 1000               /* of one connection */

/* ---- what the head says ---- */

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

static void one_header(struct request *q, const char *name, const char *value)
{
    struct sq_http_request *r = &q->r;
    const struct {
        const char *name, **slot;
    } known[] = {{"Host", &r->host},           {"Authorization", &r->authorization}, {"X-Auth-Token", &r->x_auth_token},
                 {"Content-Type", &r->content_type}, {"Range", &r->range},           {"If-Range", &r->if_range},
                 {"If-Match", &r->if_match},   {"If-None-Match", &r->if_none_match}, {"Expect", &r->expect}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcasecmp(name, known[i].name))
            only_one(q, known[i].slot, value);
    if (!strcasecmp(name, "Content-Length"))
        content_length(q, value);
    if (!strcasecmp(name, "Connection"))
        q->wants_close = q->wants_close || sq_http_list_has(value, "close");
    if (!strcasecmp(name, "Transfer-Encoding")) {
        if (q->has_transfer_encoding || strcasecmp(value, "chunked"))
            r->head_error = SQ_EREQUEST;
        q->has_transfer_encoding = true;
    }
}

static void split_target(struct request *q, const char *target)
{
    size_t n_path = strcspn(target, "?");
    const char *query = target[n_path] ? target + n_path + 1 : "";
    if (n_path > SQ_HTTP_PATH_MAX || strlen(query) > SQ_HTTP_QUERY_MAX) {
        q->r.head_error = SQ_ETARGET;
    } else if (!sq_http_query_is_plain(query)) {
        q->r.head_error = SQ_EREQUEST;
    } else {
        memcpy(q->r.path, target, n_path);
        memcpy(q->r.query, query, strlen(query));
    }
}

static void read_head(struct request *q, char *text, size_t n)
{
    struct sq_http_request *r = &q->r;
    struct sq_http_head head;
    r->head_error = sq_http_head_parse(text, n, &head);
    r->method = head.method;
    q->is_head = !strcmp(head.method, "HEAD");
    if (r->head_error)
        return;
    split_target(q, head.target);
    for (unsigned i = 0; i < head.n_field; i++)
        one_header(q, head.field[i].name, head.field[i].value);
    if (!r->host || (q->has_transfer_encoding && (q->has_length || head.is_1_0)))
        r->head_error = SQ_EREQUEST;
    if (q->has_transfer_encoding)
        r->content_length = SQ_HTTP_CHUNKED;
    if (head.is_1_0) {
        q->wants_close = true;
        r->expect = NULL;
    }
    if (r->expect && strcasecmp(r->expect, "100-continue") && !r->head_error)
        r->head_error = SQ_EEXPECT;
    q->left = q->has_length ? r->content_length : 0;
}

/* ---- what came and isn't read yet ---- */

static sq_err fill(struct conn *c)
{
    if (c->at == c->n_in)
        c->at = c->n_in = c->n_head; /* header values live there as long as the request */
    sq_assert(c->n_in < CONN_IN_BYTES);
    size_t n;
    sq_err e = wire_read(&c->wire, c->in + c->n_in, CONN_IN_BYTES - c->n_in, &n);
    if (!e)
        c->n_in += n;
    return e;
}

/* An empty line or two before a request is passed over, as RFC 9112 §2.2 asks. */
static void skip_empty_lines(struct conn *c)
{
    for (int i = 0; i < 2 && c->n_in - c->at >= 2 && !memcmp(c->in + c->at, "\r\n", 2); i++)
        c->at += 2;
}

/* The next head is in[at .. at+n). SQ_EDOWN, SQ_ESLOW without a byte: the client has nothing more to ask. */
static sq_err await_head(struct conn *c, bool is_first, size_t *out_n)
{
    c->n_head = 0;
    if (c->at) {
        memmove(c->in, c->in + c->at, c->n_in - c->at);
        c->n_in -= c->at;
        c->at = 0;
    }
    if (!is_first) { /* the first head is paid from the same purse as the handshake */
        c->wire.left_ms = (int64_t)c->http->config.idle_s * 1000;
        if (!c->n_in) {
            sq_err e = fill(c);
            if (e)
                return sq_fail(SQ_EDOWN);
        }
        c->wire.left_ms = (int64_t)c->http->config.head_s * 1000;
    }
    size_t looked = 0;
    for (;;) {
        if (!looked)
            skip_empty_lines(c);
        sq_err e = sq_http_head_find(c->in + c->at, c->n_in - c->at, &looked, out_n);
        if (!e && *out_n)
            return SQ_OK;
        if (!e)
            e = fill(c);
        if (e)
            return e == SQ_ESLOW && !c->n_in ? SQ_EDOWN : e;
    }
}

/* ---- the body ---- */

static void take(struct request *q, const uint8_t *p, size_t n)
{
    const struct sq_http_config *config = &q->conn->http->config;
    q->r.n_in += n;
    if (q->r.n_in >= q->next_slice) {
        q->next_slice = q->r.n_in + SLICE_BYTES;
        q->conn->wire.left_ms = (int64_t)config->slice_s * 1000;
    }
    if (!q->r.status)
        config->events.on_body(config->ctx, &q->r, p, n);
}

static bool is_body_read(const struct request *q)
{
    return q->has_transfer_encoding ? q->chunked.is_end : !q->left;
}

/* Some more of the body, from what has come already or what comes next. */
static sq_err read_body(struct request *q)
{
    struct conn *c = q->conn;
    sq_err e = c->at == c->n_in ? fill(c) : SQ_OK;
    if (e)
        return e;
    const uint8_t *p = (const uint8_t *)c->in + c->at, *data = p;
    size_t n = c->n_in - c->at, n_data = n, used = n;
    if (q->has_transfer_encoding)
        e = sq_http_chunked_feed(&q->chunked, p, n, &used, &data, &n_data);
    else
        used = n_data = n < q->left ? n : (size_t)q->left;
    if (e)
        return e;
    c->at += used;
    q->left -= q->has_transfer_encoding ? 0 : used;
    if (n_data)
        take(q, data, n_data);
    return SQ_OK;
}

/* ---- one request ---- */

struct end {
    bool is_last;     /* of this connection */
    bool is_polite;   /* an answer is on its way: see wire_end */
    uint64_t n_drain;
};

static struct end finish(struct request *q, bool is_last, uint64_t n_drain)
{
    const struct sq_http_config *config = &q->conn->http->config;
    sq_err e = q->r.status ? answer_send(q, is_last) : sq_fail(SQ_ENOMEM);
    config->events.on_done(config->ctx, &q->r, !e);
    return (struct end){e || is_last, !e, n_drain};
}

/* The body can't be read to its end. When the client is still there it is told. */
static struct end broken(struct request *q, sq_err why)
{
    const struct sq_http_config *config = &q->conn->http->config;
    if (why != SQ_EDOWN && !q->r.status)
        config->events.on_broken(config->ctx, &q->r, why);
    if (why != SQ_EDOWN && q->r.status)
        return finish(q, true, 0);
    config->events.on_done(config->ctx, &q->r, false);
    return (struct end){.is_last = true};
}

/* Refused at its head. A client that waits for 100, or has more to send than we care to read, is answered and cut. */
static struct end refused(struct request *q)
{
    if (q->r.head_error || q->r.expect || q->has_transfer_encoding || q->left > DRAIN_HEAD)
        return finish(q, true, q->r.content_length ? DRAIN_BODY : 0);
    struct end end = finish(q, q->wants_close, q->left);
    while (!end.is_last && q->left)
        if (read_body(q))
            end.is_last = true;
    return end;
}

static struct end serve_body(struct request *q)
{
    const struct sq_http_config *config = &q->conn->http->config;
    struct wire *w = &q->conn->wire;
    sq_err e = SQ_OK;
    w->left_ms = (int64_t)config->slice_s * 1000;
    q->next_slice = SLICE_BYTES;
    if (q->r.expect && !is_body_read(q) && q->conn->at == q->conn->n_in)
        e = wire_write(w, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    while (!e && !is_body_read(q)) {
        e = read_body(q);
        if (!e && q->r.status && !is_body_read(q))
            return finish(q, true, DRAIN_BODY);
    }
    if (e)
        return broken(q, e);
    if (!q->r.status)
        config->events.on_end(config->ctx, &q->r);
    return finish(q, q->wants_close, 0);
}

static struct end serve_one(struct conn *c, unsigned n_served)
{
    const struct sq_http_config *config = &c->http->config;
    struct request q = {.conn = c, .stream_fd = -1, .wants_close = n_served + 1 >= REQUESTS_MAX};
    size_t n = 0;
    sq_err e = await_head(c, n_served == 0, &n);
    if (e == SQ_EDOWN || !conn_phase(c, BUSY))
        return (struct end){.is_last = true};
    memcpy(q.r.address, c->address, sizeof q.r.address);
    memcpy(q.r.source, c->source->name, sizeof q.r.source);
    q.r.method = "";
    q.r.head_error = e;
    if (!e) {
        read_head(&q, c->in + c->at, n);
        c->n_head = c->at += n;
    }
    if (c->is_shed)
        q.r.head_error = SQ_ECROWDED;
    config->events.on_head(config->ctx, &q.r);
    struct end end = q.r.status ? refused(&q) : serve_body(&q);
    answer_done(&q);
    sq_wipe(&q, sizeof q);
    return end;
}

void conn_serve(struct conn *c)
{
    struct end end = {0};
    sq_err e = wire_handshake(&c->wire, c->credentials);
    if (!e)
        c->in = malloc(CONN_IN_BYTES);
    for (unsigned n_served = 0; c->in && !end.is_last; n_served++) {
        end = serve_one(c, n_served);
        end.is_last = end.is_last || !conn_phase(c, ASKS_NOTHING);
    }
    if (c->in)
        sq_wipe(c->in, c->n_in);
    free(c->in);
    wire_end(&c->wire, end.is_polite, end.n_drain);
}
