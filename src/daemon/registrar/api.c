/*
 * A request comes in: who is asking (auth.c), may he (the route's row), what does he want (a handler), what is answered.
 * Nothing is shown or changed without its event: handlers that change something record it in the same transaction;
 * for the others it is recorded here, before the answer leaves.
 */
#include "daemon/registrar/registrar.h"

#include <stdlib.h>

static const struct {
    enum sq_route route;
    api_fn fn;
} handlers[] = {
#define JSON(name) {SQ_ROUTE_##name, api_##name},
#define FORM(name) {SQ_ROUTE_##name, api_##name},
#define UPLOAD(name)   /* on_upload_open ... */
#define BUILTIN(name)  /* gateway's own */
#define DOWNLOAD(name) /* on_download_open ... */
#define SQ_ROUTE(name, no, method, path, who, needs, rate, kind, event, text) kind(name)
#include "lib/http/routes.def"
#undef SQ_ROUTE
#undef JSON
#undef FORM
#undef UPLOAD
#undef BUILTIN
#undef DOWNLOAD
};

/* jansson's memory is wiped when freed (identity.h): bodies hold passwords */
static void json_text_free(char *text)
{
    json_malloc_t take;
    json_free_t give;
    json_get_alloc_funcs(&take, &give);
    if (text)
        give(text);
}

static api_fn handler_of(enum sq_route route)
{
    for (size_t i = 0; i < sizeof handlers / sizeof handlers[0]; i++)
        if (handlers[i].route == route)
            return handlers[i].fn;
    return NULL;
}

const char *body_text(struct api *a, const char *key, size_t max)
{
    json_t *v = a->body ? json_object_get(a->body, key) : NULL;
    const char *s = json_string_value(v);
    if (s && *s && json_string_length(v) <= max && strlen(s) == json_string_length(v))
        return s;
    sq_err e = sq_why_set(&a->why_store, SQ_EFIELD, 0, 0, key, s ? "must have 1 to %zu bytes" : "must be a text of 1 to %zu bytes", max);
    (void)e;
    a->why = &a->why_store;
    return NULL;
}

bool query_text(const char *query, const char *key, char *out, size_t size)
{
    size_t n = strlen(key);
    for (const char *p = query; p && *p; p = strchr(p, '&') ? strchr(p, '&') + 1 : NULL)
        if (!strncmp(p, key, n) && p[n] == '=') {
            size_t len = strcspn(p + n + 1, "&");
            if (len >= size)
                return false;
            memcpy(out, p + n + 1, len);
            out[len] = 0;
            return true;
        }
    return false;
}

int64_t query_number(const char *query, const char *key, int64_t fallback, int64_t most)
{
    char text[24];
    if (!query_text(query, key, text, sizeof text))
        return fallback;
    char *end;
    long long v = strtoll(text, &end, 10);
    return *end || !*text || v < 0 || v > most ? -1 : v;
}

struct sq_why *api_why(struct api *a)
{
    a->why = &a->why_store;
    return &a->why_store;
}

static json_t *error_body(sq_err e, const uint8_t request[8], const struct sq_why *why)
{
    char id[17];
    sq_hex(request, 8, id);
    json_t *j = view_why(e, why);
    json_object_set_new(j, "success", json_false());
    json_object_set_new(j, "id", json_string(id));
    return j;
}

void api_answer(struct sq_ask *ask, struct api *a, sq_err e)
{
    if (e == SQ_EFULL && a->route && a->r->is_tight) /* not his quota: what he asked for can't be recorded on a full disk */
        e = SQ_ELOG;
    if (e) {
        json_decref(a->answer);
        a->answer = error_body(e, a->caller.request, a->why);
        if (a->oauth)
            json_object_set_new(a->answer, "error", json_string(a->oauth));
        a->status = sq_err_http(e);
        if (e == SQ_EBUSY || a->status == 503)
            a->retry_after_s = a->retry_after_s ? a->retry_after_s : 5;
        if (a->status >= 500)
            sq_log(SQ_LOG_failed, SQ_LW("what", a->route ? a->route->name : "request"), SQ_LW("code", sq_err_name(e)), SQ_LID("id", a->caller.request, 8));
    } else {
        if (!a->answer)
            a->answer = json_object();
        if (!json_object_get(a->answer, "success"))
            json_object_set_new(a->answer, "success", json_true());
    }
    char *text = json_dumps(a->answer, JSON_COMPACT);
    struct sq_msg m = sq_msg_of(api_is, .status = (uint16_t)(a->status ? a->status : 200), .location = sq_span_str(a->location),
                                .retry_after_s = a->retry_after_s, .body = sq_span_str(text), .session = sq_span_str(e ? "" : a->session), .session_s = a->session_s,
                                .user_quota = a->user_rate.quota, .user_window_s = a->user_rate.window_s, .user_left = a->user_rate.left, .user_full_s = a->user_rate.full_s);
    if (!text || m.u.api_is.body.n > 57344)
        sq_ask_fail(ask, SQ_EINTERNAL);
    else
        sq_ask_reply(ask, &m);
    json_text_free(text);
    json_decref(a->answer);
    a->answer = NULL;
}

static sq_err take_apart(struct api *a, const struct sq_msg_api *m, char *query, size_t n_query)
{
    if (m->params.n) {
        struct sq_span id = {m->params.p, m->params.n - 1};
        if (m->params.p[id.n] != '\n' || sq_span_copy(id, a->param, sizeof a->param))
            return sq_fail(SQ_EREQUEST);
    }
    if (sq_span_copy(m->query, query, n_query))
        return sq_fail(SQ_EREQUEST);
    a->query = query;
    if (m->body.n) {
        a->body = json_loadb((const char *)m->body.p, m->body.n, JSON_REJECT_DUPLICATES, NULL);
        if (!json_is_object(a->body))
            return sq_fail(SQ_EJSON);
    }
    return SQ_OK;
}

sq_err caller_admit(struct registrar *r, const struct caller *c, const struct sq_route_row *row)
{
    sq_err why = caller_may(r, c, row);
    if (!why)
        return SQ_OK;
    sq_err e = record(r, &(struct event){.no = SQ_AUDIT_denied, .result = why, .by = c, .subject = c->user, .a = row->route});
    return e ? e : why;
}

/* the event of a view or a list: what was asked for is in the route, whose it is in the subject */
static sq_err record_view(struct api *a)
{
    unsigned no = sq_audit_event_named(a->route->event);
    if (!no || a->is_audited)
        return SQ_OK;
    return record(a->r, &(struct event){.no = (enum sq_audit_event)no, .by = &a->caller, .subject = a->caller.user, .object = a->object, .a = a->n_row, .b = a->route->route});
}

bool has_recovered(const struct registrar *r)
{
    return __atomic_load_n(&r->is_recovered, __ATOMIC_SEQ_CST);
}

static sq_err serve(struct api *a, const struct sq_msg_api *m)
{
    struct registrar *r = a->r;
    char address[65];
    sq_err e = sq_span_copy(m->address, address, sizeof address);
    if (e)
        return sq_fail(SQ_EREQUEST);
    memcpy(a->caller.request, m->request_id, sizeof a->caller.request);
    api_fn fn = handler_of(a->route->route);
    if (!fn)
        return sq_fail(SQ_ENOTFOUND);
    char query[1025];
    e = take_apart(a, m, query, sizeof query);
    if (e)
        return e;
    if (a->route->route == SQ_ROUTE_health || a->route->route == SQ_ROUTE_server)
        return fn(a); /* these also answer while sealed */
    if (__atomic_load_n(&r->is_rollback, __ATOMIC_SEQ_CST))
        return sq_fail(SQ_EROLLBACK);
    if (!has_recovered(r)) {
        bool is_unsealed = false;
        uint64_t size;
        e = keeper_learn(r, &is_unsealed, &size);
        return e ? e : is_unsealed ? SQ_EDOWN : SQ_ESEALED;
    }
    uint8_t request[8];
    memcpy(request, m->request_id, sizeof request);
    if (m->token.n)
        e = caller_from_token(r, m->token, m->via, address, request, &a->caller);
    else if (a->route->who == SQ_WHO_ANYONE)
        e = caller_nobody(r, address, request, &a->caller);
    else
        e = sq_fail(SQ_EAUTH);
    if (e == SQ_EAUTH && a->route->who == SQ_WHO_ANYONE)
        e = caller_nobody(r, address, request, &a->caller); /* an old token must not keep anybody from signing in */
    if (!e) {
        e = user_rate_take(&a->caller, a->route->rate, &a->user_rate);
        a->retry_after_s = a->user_rate.wait_s;
    }
    if (!e)
        e = caller_admit(r, &a->caller, a->route);
    if (!e)
        e = fn(a);
    return e ? e : record_view(a);
}

void on_api(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct api a = {.r = ctx, .route = sq_route_row_of(m->u.api.route)};
    if (!a.route || (a.route->kind != SQ_KIND_JSON && a.route->kind != SQ_KIND_FORM)) {
        sq_ask_broke_protocol(ask);
        return;
    }
    sq_err e = serve(&a, &m->u.api);
    memcpy(a.caller.request, m->u.api.request_id, sizeof a.caller.request);
    api_answer(ask, &a, e);
    json_decref(a.body);
    sq_wipe(&a, sizeof a);
}
