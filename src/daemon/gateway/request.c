/*
 * The life of a request: on_head admits or refuses it, before a byte of its body is read; the body goes to the room of its
 * kind (forward.c, upload.c, download.c); on_done, always last, gives everything back and writes the one line in the log.
 */
#include "daemon/gateway/gateway.h"

#include "lib/core/clock.h"
#include "lib/core/log.h"
#include "lib/crypt/crypt.h"
#include "lib/http/http_site.h"

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

/* What a head asks for, and what is wrong with it: looked at whole, then paid for, then answered. */
struct asked {
    sq_err e;
    const char *detail;
    char allow[64];
    const struct sq_route_row *row; /* NULL when e */
};

static bool is_for_operators(enum sq_who who)
{
    return who != SQ_WHO_ANYONE && who != SQ_WHO_USER && who != SQ_WHO_SIGNED_IN;
}

/* A token comes in a header, or, in a browser, as the cookie of a session; both at once could be two people. */
static sq_err find_token(struct request *r, const char **detail)
{
    struct sq_http_request *http = r->http;
    struct sq_span cookie;
    sq_err e = sq_http_token(http->authorization, http->x_auth_token, &r->token);
    if (e) {
        *detail = "send one token, as Authorization: Bearer TOKEN or as X-Auth-Token: TOKEN";
        return e;
    }
    e = sq_http_cookie(http->cookie, GATEWAY_COOKIE, &cookie);
    if (e || (cookie.n && r->token.n)) {
        *detail = e ? "the session's cookie came twice" : "send a token or the session's cookie, not both";
        return sq_fail(SQ_EREQUEST);
    }
    r->via = r->token.n ? SQ_HTTP_BY_HEADER : SQ_HTTP_BY_NOBODY;
    char value[SQ_HTTP_TOKEN_MAX + 1];
    struct sq_span token;
    if (cookie.n && !sq_span_copy(cookie, value, sizeof value) && !sq_http_token(NULL, value, &token)) { /* else it is no token: as if there were none */
        r->token = cookie;
        r->via = SQ_HTTP_BY_COOKIE;
    }
    sq_wipe(value, sizeof value);
    return SQ_OK;
}

/* In order: does the head make sense, may its client come, is it for us, does the address exist, does a token come along? */
static void look(struct request *r, struct asked *a)
{
    struct sq_http_request *http = r->http;
    bool may_operate = false;
    sq_err from = admission_client(r->gw, http, &may_operate);
    a->e = http->head_error ? http->head_error : from;
    if (a->e) {
        a->detail = a->e == SQ_EREQUEST ? "the head of the request is malformed or ambiguous" : NULL;
        return;
    }
    if (!sq_http_host_is_ours(http->host, r->gw->hosts)) {
        a->e = SQ_EMISDIRECTED;
        return;
    }
    a->e = find_token(r, &a->detail);
    if (a->e)
        return;
    a->e = sq_route_match(http->method, http->path, &a->row, &r->params, a->allow);
    if (a->e) {
        a->row = NULL;
    } else if (is_for_operators(a->row->who) && !may_operate) {
        a->e = SQ_ENETWORK;
    } else if (sq_http_site_check(http->method, (enum sq_http_by)r->via, http->host, http->origin, http->sec_fetch_site)) {
        a->e = SQ_ECROSSSITE;
    } else if (a->row->who != SQ_WHO_ANYONE && !r->token.n) {
        a->e = SQ_EAUTH;
    } else if (!strcmp(a->row->method, "GET") && http->content_length) {
        a->e = SQ_EREQUEST;
        a->detail = "a GET or HEAD request has no body here";
    }
}

/* Strangers who wait for registrar take at most half of all places, and few at a time check passwords: known callers find the way free. */
static bool is_shed(struct request *r, enum sq_rate rate)
{
    struct gateway *gw = r->gw;
    if (r->said.has_standing || (r->row->kind != SQ_KIND_JSON && r->row->kind != SQ_KIND_FORM))
        return false;
    r->is_waiting = true;
    bool is_login = rate == SQ_RATE_LOGIN;
    unsigned n = __atomic_add_fetch(&gw->n_waiting, 1, __ATOMIC_SEQ_CST), n_login = __atomic_add_fetch(&gw->n_logins, is_login, __ATOMIC_SEQ_CST);
    return n > gw->max_connections / 2 || (is_login && n_login > GATEWAY_STRANGERS_LOGINS);
}

static void let_go(struct request *r)
{
    if (!r->is_waiting)
        return;
    __atomic_sub_fetch(&r->gw->n_waiting, 1, __ATOMIC_SEQ_CST);
    __atomic_sub_fetch(&r->gw->n_logins, r->row->rate == SQ_RATE_LOGIN, __ATOMIC_SEQ_CST);
    r->is_waiting = false;
}

static bool is_admitted(struct request *r)
{
    struct asked a = {.e = SQ_OK};
    if (r->http->head_error == SQ_ECROWDED) { /* let in to be told so */
        refuse(r, SQ_ECROWDED, NULL);
        return false;
    }
    look(r, &a);
    r->row = a.row;
    enum sq_rate rate = a.row ? a.row->rate : SQ_RATE_READ;
    unsigned wait_s = limits_take(r->gw->limits, rate, r->http->source, r->token, &r->said);
    if (wait_s) {
        limits_refused(r->gw->limits, r->http->source);
        answer_limited(r, wait_s);
        return false;
    }
    if (a.e == SQ_EMETHOD) {
        limits_refused(r->gw->limits, r->http->source);
        answer_method(r, a.allow);
        return false;
    }
    if (a.e) {
        refuse(r, a.e, a.detail);
        return false;
    }
    if (is_shed(r, rate)) {
        limits_refused(r->gw->limits, r->http->source);
        answer_limited(r, 2);
        return false;
    }
    return true;
}

static unsigned on_connect(void *ctx, const struct sq_ip *peer, const char *source)
{
    return admission_connect(ctx, peer, source);
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
    else if (is_admitted(r) && (r->row->kind == SQ_KIND_JSON || r->row->kind == SQ_KIND_FORM))
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
    case SQ_KIND_FORM:
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
    let_go(r);
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
