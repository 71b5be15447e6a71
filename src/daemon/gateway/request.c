/*
 * The life of a request: on_head admits or refuses it, before a byte of its body is read; the body goes to the room of its
 * kind (forward.c, upload.c, download.c); on_done, always last, gives everything back and writes the one line in the log.
 */
#include "daemon/gateway/gateway.h"

#include "lib/core/clock.h"
#include "lib/core/log.h"
#include "lib/crypt/crypt.h"

#include <stdlib.h>

struct sq_span request_params(const struct request *r, char out[SQ_ROUTE_MAX_PARAMS * (SQ_ROUTE_ID_MAX + 1)])
{
    size_t n = 0;
    for (unsigned i = 0; i < r->params.n; i++) {
        size_t len = strlen(r->params.value[i]);
        memcpy(out + n, r->params.value[i], len);
        out[n + len] = '\n';
        n += len + 1;
    }
    return sq_span_of(out, n);
}

static void refuse(struct request *r, sq_err code, const char *detail)
{
    limits_refused(r->gw->limits, r->http->source);
    r->is_counted = true;
    answer_error(r, code, detail);
}

/* Who pays for this request: the address always, the token too. True when both buckets had one left. */
static bool is_within_limits(struct request *r, enum sq_rate rate)
{
    unsigned wait_s = limits_take(r->gw->limits, rate, r->http->source, strlen(r->http->source));
    if (!wait_s && r->token.n)
        wait_s = limits_take(r->gw->limits, rate, r->token.p, r->token.n);
    if (wait_s) {
        limits_refused(r->gw->limits, r->http->source);
        answer_limited(r, wait_s);
    }
    return !wait_s;
}

/* In order: does the head make sense, is it for us, does the address exist, is there time for it, does a token come along? */
static bool is_admitted(struct request *r)
{
    struct sq_http_request *http = r->http;
    char allow[64] = "";
    sq_err e = http->head_error;
    if (e) {
        refuse(r, e, e == SQ_EREQUEST ? "the head of the request is malformed or ambiguous" : NULL);
        return false;
    }
    if (!sq_http_host_is_ours(http->host, r->gw->hosts)) {
        refuse(r, SQ_EMISDIRECTED, NULL);
        return false;
    }
    const struct sq_route_row *row = NULL;
    e = sq_http_token(http->authorization, http->x_auth_token, &r->token);
    if (e) {
        refuse(r, e, "send one token, as Authorization: Bearer TOKEN or as X-Auth-Token: TOKEN");
        return false;
    }
    r->via = r->token.n ? 1 : 0;
    e = sq_route_match(http->method, http->path, &row, &r->params, allow);
    if (!is_within_limits(r, e ? SQ_RATE_READ : row->rate))
        return false;
    if (e == SQ_EMETHOD) {
        limits_refused(r->gw->limits, http->source);
        answer_method(r, allow);
        return false;
    }
    if (e) {
        refuse(r, e, NULL);
        return false;
    }
    r->row = row;
    if (row->who != SQ_WHO_ANYONE && !r->token.n) {
        refuse(r, SQ_EAUTH, NULL);
        return false;
    }
    if (!strcmp(row->method, "GET") && http->content_length) {
        refuse(r, SQ_EREQUEST, "a GET or HEAD request has no body here");
        return false;
    }
    return true;
}

/* Before TLS costs us anything. */
static bool on_connect(void *ctx, const char *source)
{
    struct gateway *gw = ctx;
    if (!limits_take(gw->limits, SQ_RATE_CONNECT, source, strlen(source)))
        return true;
    limits_refused(gw->limits, source);
    return false;
}

static void on_head(void *ctx, struct sq_http_request *http)
{
    struct request *r = calloc(1, sizeof *r);
    http->user = r;
    if (!r)
        return; /* no answer: the connection is cut */
    r->gw = ctx;
    r->http = http;
    r->start_ms = sq_clock_steady_ms();
    sq_buf_init(&r->body, GATEWAY_BODY_MAX);
    sq_err e = sq_random(r->id, sizeof r->id);
    sq_hex(r->id, sizeof r->id, r->id_hex);
    if (e)
        answer_error(r, e, NULL);
    else if (is_admitted(r) && r->row->kind == SQ_KIND_JSON)
        forward_head(r);
    else if (!r->is_refused && r->row->kind == SQ_KIND_UPLOAD)
        upload_head(r);
}

static void on_body(void *ctx, struct sq_http_request *http, const uint8_t *p, size_t n)
{
    (void)ctx;
    struct request *r = http->user;
    if (!r || r->is_refused)
        return;
    if (r->row->kind == SQ_KIND_UPLOAD)
        upload_body(r, p, n);
    else
        forward_body(r, p, n);
}

static void on_end(void *ctx, struct sq_http_request *http)
{
    (void)ctx;
    struct request *r = http->user;
    if (!r || r->is_refused)
        return;
    switch (r->row->kind) {
    case SQ_KIND_JSON:
        forward_end(r);
        break;
    case SQ_KIND_UPLOAD:
        upload_end(r);
        break;
    case SQ_KIND_DOWNLOAD:
        download_end(r);
        break;
    case SQ_KIND_BUILTIN:
        builtin_end(r);
        break;
    }
}

static void on_done(void *ctx, struct sq_http_request *http, bool is_complete)
{
    (void)ctx, (void)is_complete;
    struct request *r = http->user;
    if (!r)
        return;
    upload_drop(r);
    download_drop(r);
    if (http->status == 401 && !r->is_counted) /* registrar said so: a token or a password that isn't good */
        limits_refused(r->gw->limits, http->source);
    sq_log(SQ_LOG_request, SQ_LID("id", r->id, sizeof r->id), SQ_LW("route", r->row ? r->row->name : "none"),
           SQ_LN("status", http->status), SQ_LN("ms", sq_clock_steady_ms() - r->start_ms), SQ_LN("bytes", http->n_in + http->n_out));
    sq_buf_done(&r->body);
    sq_wipe(r, sizeof *r);
    free(r);
    http->user = NULL;
}

const struct sq_http_events gateway_events = {on_connect, on_head, on_body, on_end, on_done};
