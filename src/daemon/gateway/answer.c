/* Answers: every one carries its X-Request-Id, every error is the JSON of err.def with the same id. */
#include "daemon/gateway/gateway.h"

#include "lib/core/rates.h"
#include "lib/http/http_json.h"

#include <stdio.h>

#define JSON "application/json"
#define MAX_FIELDS 16

struct fields {
    struct sq_http_field f[MAX_FIELDS];
    unsigned n;
};

static void add(struct fields *fields, const char *name, const char *value)
{
    sq_assert(fields->n < MAX_FIELDS - 1);
    fields->f[fields->n++] = (struct sq_http_field){name, value};
}

static struct fields fields_of(const struct request *r, unsigned status)
{
    struct fields fields = {.n = 0};
    add(&fields, "X-Request-Id", r->id_hex);
    if (status == 401)
        add(&fields, "WWW-Authenticate", "Bearer");
    if (*r->said.policy) { /* draft-ietf-httpapi-ratelimit-headers-11 */
        add(&fields, "RateLimit-Policy", r->said.policy);
        add(&fields, "RateLimit", r->said.left);
    }
    return fields;
}

/* How long a client should wait before it asks again, where the code alone tells. */
static unsigned default_wait(unsigned status)
{
    return status == 503 ? 5 : status == 429 ? 60 : 0;
}

static void send_bytes(struct request *r, unsigned status, const struct fields *fields, const void *body, size_t n)
{
    sq_err e = sq_http_answer(r->http, status, fields->f, body, n);
    (void)e; /* out of memory: no answer, and the connection is cut; or there was an answer already, which counts */
}

static void send_error(struct request *r, sq_err code, const char *detail, const char *allow, unsigned wait_s, const char *range)
{
    unsigned status = (unsigned)sq_err_http(code);
    char wait[16];
    struct sq_buf body;
    r->is_refused = true;
    sq_buf_init(&body, 4096);
    struct fields fields = fields_of(r, status);
    add(&fields, "Content-Type", JSON);
    if (allow)
        add(&fields, "Allow", allow);
    if (range)
        add(&fields, "Content-Range", range);
    if (!wait_s)
        wait_s = default_wait(status);
    if (wait_s) {
        snprintf(wait, sizeof wait, "%u", wait_s);
        add(&fields, "Retry-After", wait);
    }
    if (!sq_http_json_error(code, detail, r->id_hex, &body))
        send_bytes(r, status, &fields, body.p, body.n);
    sq_buf_done(&body);
}

void answer_error(struct request *r, sq_err code, const char *detail)
{
    send_error(r, code, detail, NULL, 0, NULL);
}

void answer_limited(struct request *r, unsigned wait_s)
{
    send_error(r, SQ_EBUSY, NULL, NULL, wait_s, NULL);
}

void answer_method(struct request *r, const char *allow)
{
    send_error(r, SQ_EMETHOD, NULL, allow, 0, NULL);
}

void answer_no_range(struct request *r, uint64_t total_bytes)
{
    char range[48];
    snprintf(range, sizeof range, "bytes */%llu", (unsigned long long)total_bytes);
    send_error(r, SQ_ERANGEHDR, NULL, NULL, 0, range);
}

void answer_json(struct request *r, unsigned status, const char *location, unsigned retry_s, const char *set_cookie, const void *body, size_t n)
{
    char wait[16];
    struct fields fields = fields_of(r, status);
    if (n)
        add(&fields, "Content-Type", JSON);
    if (location && *location)
        add(&fields, "Location", location);
    if (set_cookie)
        add(&fields, "Set-Cookie", set_cookie);
    if (!retry_s)
        retry_s = default_wait(status);
    if (retry_s) {
        snprintf(wait, sizeof wait, "%u", retry_s);
        add(&fields, "Retry-After", wait);
    }
    send_bytes(r, status, &fields, body, n);
}

/* The cookie of a session as registrar wants it: out of its bytes nobody can make another attribute, or another header. */
static sq_err cookie_of(const struct sq_msg_api_is *is, char out[SQ_HTTP_TOKEN_MAX + 160])
{
    char value[SQ_HTTP_TOKEN_MAX + 1];
    struct sq_span token;
    if (sq_span_copy(is->session, value, sizeof value))
        return sq_fail(SQ_EPROTO);
    bool is_cleared = !strcmp(value, "-");
    if (!is_cleared && (sq_http_token(NULL, value, &token) || strspn(value, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") != strlen(value)))
        return sq_fail(SQ_EPROTO);
    snprintf(out, SQ_HTTP_TOKEN_MAX + 160, GATEWAY_COOKIE "=%s; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=%u", is_cleared ? "" : value, is_cleared ? 0 : is->session_s);
    sq_wipe(value, sizeof value);
    return SQ_OK;
}

void answer_api(struct request *r, const struct sq_msg_api_is *is)
{
    char location[257], cookie[SQ_HTTP_TOKEN_MAX + 160];
    if (is->user_quota)
        limits_say(&r->said, sq_rate_name(r->row->rate), sq_rate_scope_name(SQ_RATE_USER), is->user_quota, is->user_window_s, is->user_left, is->user_full_s);
    if (is->status < 200 || is->status > 599 || sq_span_copy(is->location, location, sizeof location) || (is->session.n && cookie_of(is, cookie)))
        answer_error(r, SQ_EPROTO, NULL);
    else
        answer_json(r, is->status, location, is->retry_after_s, is->session.n ? cookie : NULL, is->body.p, is->body.n);
    sq_wipe(cookie, sizeof cookie);
}

void answer_builtin(struct request *r, unsigned status, const char *etag, const void *body, size_t n)
{
    struct fields fields = fields_of(r, status);
    add(&fields, "ETag", etag);
    if (n)
        add(&fields, "Content-Type", JSON);
    sq_err e = sq_http_answer_fixed(r->http, status, fields.f, body, n);
    (void)e;
}

void answer_download(struct request *r, unsigned status, const struct sq_msg_download_is *is, const char *etag, int fd)
{
    char disposition[160], type[65], range[80];
    struct fields fields = fields_of(r, status);
    add(&fields, "ETag", etag);
    add(&fields, "Accept-Ranges", "bytes");
    if (status == 304) {
        send_bytes(r, status, &fields, NULL, 0);
        return;
    }
    size_t n = 0;
    char name[129];
    for (uint32_t i = 0; i < is->name.n; i++) { /* nothing that a header, a shell or a file system could take amiss */
        uint8_t b = is->name.p[i];
        bool is_plain = (b >= '0' && b <= '9') || ((b | 32) >= 'a' && (b | 32) <= 'z') || b == '.' || b == '_' || b == '-';
        name[n++] = is_plain ? (char)b : '_';
    }
    name[n] = 0;
    snprintf(disposition, sizeof disposition, "attachment; filename=\"%s\"", name);
    add(&fields, "Content-Disposition", disposition);
    if (!sq_span_copy(is->content_type, type, sizeof type) && *type)
        add(&fields, "Content-Type", type);
    if (status == 206) {
        snprintf(range, sizeof range, "bytes %llu-%llu/%llu", (unsigned long long)is->first,
                 (unsigned long long)(is->first + is->n_bytes - 1), (unsigned long long)is->total_bytes);
        add(&fields, "Content-Range", range);
    }
    sq_err e = is->n_bytes ? sq_http_answer_stream(r->http, status, fields.f, fd, is->n_bytes)
                           : sq_http_answer(r->http, status, fields.f, NULL, 0);
    (void)e;
}
