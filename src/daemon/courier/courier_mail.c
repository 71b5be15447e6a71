/* Mails: the address comes from keeper, the text from a template, the bytes go to the one configured mail server. */
#include "daemon/courier/courier.h"

#include "lib/core/clock.h"
#include "lib/core/fault.h"
#include "lib/core/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct reading {
    const uint8_t *p;
    size_t n, at;
};

static size_t on_read(char *out, size_t size, size_t n, void *ctx)
{
    struct reading *r = ctx;
    size_t room = size * n, left = r->n - r->at;
    size_t take = left < room ? left : room;
    memcpy(out, r->p + r->at, take);
    r->at += take;
    return take;
}

/* the server's answers, the last of them behind: what counts stands at the end */
struct answers {
    char text[8 * ANSWER_BYTES];
    size_t n;
};

static size_t on_answer(char *p, size_t size, size_t n, void *ctx)
{
    struct answers *a = ctx;
    size_t len = size * n, keep = len < ANSWER_BYTES ? len : ANSWER_BYTES;
    if (a->n + keep > sizeof a->text)
        a->n = 0;
    memcpy(a->text + a->n, p, keep);
    a->n += keep;
    return len;
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx)
{
    (void)p;
    (void)ctx;
    return size * n;
}

static void set_server(struct courier *c, CURL *h)
{
    bool is_tls = !strcmp(c->smtp.scheme, "smtps"), is_plain = !strcmp(c->smtp.scheme, "smtp+plain");
    char url[1024], domain[260];
    snprintf(domain, sizeof domain, "/%s", strchr(c->mail_from, '@') + 1); /* how we call ourselves: EHLO */
    courier_url(&c->smtp, is_tls ? "smtps" : "smtp", is_tls ? 465 : is_plain ? 25 : 587, domain, url);
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_USE_SSL, (long)(is_plain ? CURLUSESSL_NONE : CURLUSESSL_ALL));
    if (*c->smtp_user && c->smtp_password) {
        curl_easy_setopt(h, CURLOPT_USERNAME, c->smtp_user);
        curl_easy_setopt(h, CURLOPT_PASSWORD, c->smtp_password);
        curl_easy_setopt(h, CURLOPT_LOGIN_OPTIONS, "AUTH=PLAIN;AUTH=LOGIN"); /* TLS hides them; the others add old hashes alone */
    }
}

/* the last answer but the goodbye that follows a refusal: "550 5.1.1 no such user" */
static void last_answer(const struct answers *a, const char *reason, struct ending *out)
{
    size_t end = a->n, from;
    for (;;) {
        while (end && (a->text[end - 1] == '\n' || a->text[end - 1] == '\r'))
            end--;
        for (from = end; from && a->text[from - 1] != '\n';)
            from--;
        if (end - from < 3 || memcmp(a->text + from, "221", 3) != 0)
            break;
        end = from;
    }
    char said[ANSWER_BYTES + 1], why[ANSWER_BYTES + 1];
    courier_clean(a->text + from, end - from, said);
    courier_clean(reason, strlen(reason), why);
    if (out->end == SQ_SEND_sent)
        snprintf(out->text, sizeof out->text, "%s", said);
    else
        snprintf(out->text, sizeof out->text, "%.180s%s%.180s", said, *said && *why ? "; " : "", why);
}

static void deliver(struct courier *c, const char *to, struct sq_span text, struct ending *out)
{
    char reason[CURL_ERROR_SIZE];
    struct reading r = {.p = text.p, .n = text.n};
    struct answers *a = calloc(1, sizeof *a);
    CURL *h = a ? courier_curl(c, "smtp,smtps", reason) : NULL;
    struct curl_slist *rcpt = h ? curl_slist_append(NULL, to) : NULL;
    *out = (struct ending){.end = SQ_SEND_internal};
    if (rcpt) {
        set_server(c, h);
        curl_easy_setopt(h, CURLOPT_MAIL_FROM, c->mail_from);
        curl_easy_setopt(h, CURLOPT_MAIL_RCPT, rcpt);
        curl_easy_setopt(h, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(h, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(h, CURLOPT_READDATA, &r);
        curl_easy_setopt(h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)text.n);
        curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_answer);
        curl_easy_setopt(h, CURLOPT_HEADERDATA, a);
        curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
        CURLcode code = curl_easy_perform(h);
        curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &out->code);
        out->end = courier_end_of(code, out->code);
        last_answer(a, reason, out);
    }
    curl_slist_free_all(rcpt);
    curl_easy_cleanup(h);
    free(a);
}

static sq_err open_address(struct courier *c, const uint8_t owner[16], struct sq_span sealed, char out[SQ_MAIL_MAX_BYTES + 1])
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(mail_open, .sealed = sealed), m;
    memcpy(ask.u.mail_open.owner_id, owner, SQ_ID_BYTES);
    sq_err e = sq_node_call(c->node, SQ_ROLE_KEEPER, &ask, KEEPER_MS, pkt, &m);
    if (!e)
        e = sq_span_copy(m.u.mail_is.address, out, SQ_MAIL_MAX_BYTES + 1);
    sq_packet_free(pkt);
    return e;
}

/* Id and secret of a link, in hex: keeper opens it for us alone. */
static sq_err open_link(struct courier *c, const struct sq_msg_mail_send *q, char out[4 * SQ_ID_BYTES + 1])
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(link_open, .kind = q->link_kind, .expires_s = q->link_expires_s, .sealed = q->link), m;
    memcpy(ask.u.link_open.owner_id, q->owner_id, SQ_ID_BYTES);
    memcpy(ask.u.link_open.link_id, q->link_id, SQ_ID_BYTES);
    sq_err e = sq_node_call(c->node, SQ_ROLE_KEEPER, &ask, KEEPER_MS, pkt, &m);
    if (!e) {
        sq_hex(q->link_id, SQ_ID_BYTES, out);
        sq_hex(m.u.link_is.secret, SQ_ID_BYTES, out + 2 * SQ_ID_BYTES);
    }
    sq_packet_free(pkt);
    return e;
}

static enum sq_send_end end_of_keeper(sq_err e)
{
    return e == SQ_ENOMEM                                                               ? SQ_SEND_internal
           : e == SQ_ESEALED || e == SQ_EDOWN || e == SQ_ETIMEOUT || e == SQ_ECLOCK ? SQ_SEND_keeper
                                                                                        : SQ_SEND_address;
}

static sq_err read_receipts(const struct sq_fds *files, struct sq_buf *out)
{
    struct stat st;
    size_t got = 0;
    if (!files->n)
        return SQ_OK;
    if (fstat(files->fd[0], &st) || st.st_size < 0 || st.st_size > (off_t)SQ_MAIL_RECEIPTS_MAX_BYTES)
        return sq_fail(SQ_ETOOBIG);
    sq_err e = sq_buf_reserve(out, (size_t)st.st_size);
    if (!e)
        e = sq_pread_full(files->fd[0], out->p, (size_t)st.st_size, 0, &got);
    out->n = e ? 0 : got;
    return e;
}

void on_mail_send(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct courier *c = ctx;
    const struct sq_msg_mail_send *q = &m->u.mail_send;
    struct ending end = {.end = SQ_SEND_off};
    char to[SQ_MAIL_MAX_BYTES + 1] = "", job[49] = "", link[4 * SQ_ID_BYTES + 1] = "";
    struct sq_buf receipts, text;
    sq_buf_init(&receipts, SQ_MAIL_RECEIPTS_MAX_BYTES);
    sq_buf_init(&text, 0);
    sq_err e = *c->smtp.scheme ? SQ_OK : SQ_ECONFIG;
    if (!e) {
        end.end = SQ_SEND_internal;
        e = sq_span_copy(q->job, job, sizeof job);
    }
    if (!e)
        e = read_receipts(&q->receipts, &receipts);
    if (!e) {
        e = open_address(c, q->owner_id, q->sealed, to);
        end.end = e ? end_of_keeper(e) : end.end;
    }
    if (!e && q->link.n) {
        e = open_link(c, q, link);
        end.end = e ? end_of_keeper(e) : end.end;
    }
    if (!e) {
        struct sq_mail mail = {.no = (enum sq_template)q->template, .link = q->link.n ? link : NULL, .from = c->mail_from, .to = to, .service = c->service, .job = job,
                               .now_s = sq_clock_now_s(), .until_s = (int64_t)q->until_s, .why = sq_err_from_no(q->why),
                               .receipts = sq_span_of(receipts.p, receipts.n), .n_receipt = q->n_receipt, .n_receipt_all = q->n_receipt_all};
        memcpy(mail.id, q->notice_id, sizeof mail.id);
        e = sq_mail_write(&mail, &text);
    }
    if (!e)
        e = sq_fault("courier.before_send");
    if (!e)
        deliver(c, to, sq_span_of(text.p, text.n), &end);
    if (!e)
        e = sq_fault("courier.after_send");
    (void)e; /* what failed is in end */
    sq_buf_done(&text);
    sq_buf_done(&receipts);
    sq_wipe(to, sizeof to);
    sq_wipe(link, sizeof link);
    courier_answer(ask, &end, false); /* a server's text may name the address */
}

void on_mail_test(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct courier *c = ctx;
    struct ending end = {.end = SQ_SEND_off};
    char to[SQ_MAIL_MAX_BYTES + 1];
    struct sq_buf text;
    sq_buf_init(&text, 0);
    struct sq_mail mail = {.no = SQ_TEMPLATE_test, .from = c->mail_from, .to = to, .service = c->service, .job = "", .now_s = sq_clock_now_s()};
    sq_err e = sq_span_copy(m->u.mail_test.address, to, sizeof to);
    if (!e)
        e = sq_mail_check(to, NULL);
    if (e) {
        sq_ask_fail(ask, SQ_EFIELD);
        return;
    }
    if (*c->smtp.scheme) {
        end.end = SQ_SEND_internal;
        int64_t now_ms = sq_clock_now_ms(); /* each test is a mail of its own */
        sq_put_be64(mail.id, (uint64_t)now_ms);
        e = sq_mail_write(&mail, &text);
        if (!e)
            deliver(c, to, sq_span_of(text.p, text.n), &end);
    }
    sq_buf_done(&text);
    courier_answer(ask, &end, true);
}
