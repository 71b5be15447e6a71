/* Webhooks: one POST to the one configured address, signed as Standard Webhooks says. */
#include "daemon/courier/courier.h"

#include "lib/core/clock.h"

#include <stdio.h>

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    (void)p;
    (void)ctx;
    return size * n; /* what the receiver writes is of no interest */
}

static sq_err add_header(struct curl_slist **list, const char *name, const char *value)
{
    char line[512];
    snprintf(line, sizeof line, "%s: %s", name, value);
    struct curl_slist *more = curl_slist_append(*list, line);
    if (!more)
        return sq_fail(SQ_ENOMEM);
    *list = more;
    return SQ_OK;
}

static sq_err add_headers(struct courier *c, const uint8_t notice_id[16], struct sq_span body, struct curl_slist **out)
{
    char id[40], when[24];
    int64_t now = sq_clock_now_s();
    struct sq_buf signature;
    sq_buf_init(&signature, 256);
    sq_hook_id(notice_id, id);
    snprintf(when, sizeof when, "%lld", (long long)now);
    sq_err e = sq_hook_sign(sq_span_of(c->hook_key.p, c->hook_key.n), id, now, body, &signature);
    if (!e)
        e = sq_buf_add(&signature, "", 1);
    if (!e)
        e = add_header(out, "webhook-id", id);
    if (!e)
        e = add_header(out, "webhook-timestamp", when);
    if (!e)
        e = add_header(out, "webhook-signature", (const char *)signature.p);
    if (!e)
        e = add_header(out, "Content-Type", "application/json");
    if (!e)
        e = add_header(out, "User-Agent", "sequester/" SQ_VERSION);
    sq_buf_done(&signature);
    return e ? e : add_header(out, "Expect", ""); /* the body is small: no asking first */
}

static void post(struct courier *c, const uint8_t notice_id[16], struct sq_span body, struct ending *out)
{
    char reason[CURL_ERROR_SIZE], url[1024];
    struct curl_slist *headers = NULL;
    bool is_tls = !strcmp(c->hook.scheme, "https");
    CURL *h = courier_curl(c, "https,http", reason);
    *out = (struct ending){.end = SQ_SEND_internal};
    if (h && !add_headers(c, notice_id, body, &headers)) {
        courier_url(&c->hook, c->hook.scheme, is_tls ? 443 : 80, c->hook.path, url);
        curl_easy_setopt(h, CURLOPT_URL, url);
        curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE, (long)body.n);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, body.p);
        curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
        CURLcode code = curl_easy_perform(h);
        curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &out->code);
        out->end = courier_end_of(code, 0);
        if (!code) /* 410: the receiver wants no more of it. A redirection is not followed, and so is a failure. */
            out->end = out->code / 100 == 2 ? SQ_SEND_sent : out->code == 410 ? SQ_SEND_refused : SQ_SEND_busy;
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(h);
}

void on_hook_send(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct courier *c = ctx;
    struct ending end = {.end = SQ_SEND_off};
    if (*c->hook.scheme)
        post(c, m->u.hook_send.notice_id, m->u.hook_send.body, &end);
    courier_answer(ask, &end, false);
}
