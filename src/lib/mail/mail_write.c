/* A mail from its template: headers, text, and the receipts as an attachment. */
#include "lib/mail/mail.h"

#include "lib/core/address.h"
#include "lib/core/clock.h"

#include <stdio.h>
#include <time.h>

#define TEXT_MAX_BYTES 8192
#define LINE_MAX_BYTES 76 /* of base64, RFC 2045 §6.8 */

static const struct template {
    enum sq_template no;
    const char *hook, *state, *subject, *body;
} templates[] = {
#define SQ_TEMPLATE(name, no, hook, state, subject, body) {(no), hook, state, subject, body},
#include "lib/mail/templates.def"
#undef SQ_TEMPLATE
};

static const struct {
    unsigned no;
    enum sq_send_then then;
    const char *name, *text;
} ends[] = {
#define SQ_SEND_END(name, no, then, text) {(no), SQ_THEN_##then, #name, text},
#include "lib/mail/ends.def"
#undef SQ_SEND_END
};

static size_t end_of(unsigned end)
{
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ends[i].no == end)
            return i;
    return end_of(SQ_SEND_protocol);
}

enum sq_send_then sq_send_then(unsigned end)
{
    return ends[end_of(end)].then;
}

const char *sq_send_text(unsigned end)
{
    return ends[end_of(end)].text;
}

const char *sq_send_name(unsigned end)
{
    return ends[end_of(end)].name;
}

static const struct template *template_of(enum sq_template no)
{
    for (size_t i = 0; i < sizeof templates / sizeof templates[0]; i++)
        if (templates[i].no == no)
            return &templates[i];
    return NULL;
}

/* Printable ASCII alone: no line can be ended by what is put into it. */
static bool is_plain(const char *s, size_t max)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++)
        if (s[i] < 0x20 || s[i] > 0x7e)
            return false;
    return n <= max;
}

static void day_text(int64_t s, char out[40])
{
    struct tm tm;
    time_t t = (time_t)s;
    if (s <= 0 || !gmtime_r(&t, &tm))
        snprintf(out, 40, "a day not known yet");
    else
        strftime(out, 40, "%d %B %Y, %H:%M UTC", &tm); /* the C locale: English */
}

static sq_err add_receipts_text(const struct sq_mail *m, struct sq_buf *out)
{
    if (!m->n_receipt)
        return sq_buf_addf(out, "When is it gone? It is: the receipts can be had from the service.");
    if (m->n_receipt < m->n_receipt_all)
        return sq_buf_addf(out, "When is it gone? It is: %u of %u signed receipts are attached; the service has\nthe others.", m->n_receipt,
                           m->n_receipt_all);
    return sq_buf_addf(out, "When is it gone? It is: the signed receipts (%u) are attached.", m->n_receipt);
}

static sq_err add_value(const struct sq_mail *m, const char *name, size_t n, struct sq_buf *out)
{
    char day[40];
    if (n == 3 && !memcmp(name, "job", n))
        return sq_buf_addf(out, "%s", m->job);
    if (n == 7 && !memcmp(name, "service", n))
        return sq_buf_addf(out, "%s", m->service);
    if (n == 3 && !memcmp(name, "why", n))
        return sq_buf_addf(out, "%s", sq_err_text(m->why));
    if (n == 4 && !memcmp(name, "link", n))
        return sq_buf_addf(out, "%s", m->link ? m->link : "");
    if (n == 8 && !memcmp(name, "receipts", n))
        return add_receipts_text(m, out);
    sq_assert(n == 5 && !memcmp(name, "until", n)); /* a template names a value that there isn't */
    day_text(m->until_s, day);
    return sq_buf_addf(out, "%s", day);
}

/* The template with its values, and CR LF for each line feed. */
static sq_err add_text(const struct sq_mail *m, const char *body, struct sq_buf *out)
{
    struct sq_buf text;
    sq_buf_init(&text, TEXT_MAX_BYTES);
    sq_err e = SQ_OK;
    for (const char *p = body; *p && !e;) {
        size_t n = strcspn(p, "{");
        e = sq_buf_add(&text, p, n);
        p += n;
        if (!e && *p) {
            const char *end = strchr(p, '}');
            sq_assert(end);
            e = add_value(m, p + 1, (size_t)(end - p - 1), &text);
            p = end + 1;
        }
    }
    for (size_t i = 0; i < text.n && !e; i++)
        e = text.p[i] == '\n' ? sq_buf_add(out, "\r\n", 2) : sq_buf_add(out, &text.p[i], 1);
    sq_buf_done(&text);
    return e;
}

static sq_err add_base64(struct sq_span bytes, struct sq_buf *out)
{
    struct sq_buf text;
    sq_buf_init(&text, 0);
    sq_err e = sq_base64(bytes.p, bytes.n, false, &text);
    for (size_t at = 0; at < text.n && !e; at += LINE_MAX_BYTES) {
        size_t n = text.n - at < LINE_MAX_BYTES ? text.n - at : LINE_MAX_BYTES;
        e = sq_buf_add(out, text.p + at, n);
        if (!e)
            e = sq_buf_add(out, "\r\n", 2);
    }
    sq_buf_done(&text);
    return e;
}

static sq_err add_head(const struct sq_mail *m, const struct template *t, const char *id, struct sq_buf *out)
{
    char date[40];
    struct tm tm;
    time_t now = (time_t)m->now_s;
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", &tm);
    return sq_buf_addf(out,
                       "Date: %s\r\nFrom: Sequester <%s>\r\nTo: <%s>\r\nSubject: %s\r\nMessage-ID: <%s%s>\r\n"
                       "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n",
                       date, m->from, m->to, t->subject, id, strchr(m->from, '@'));
}

sq_err sq_mail_write(const struct sq_mail *m, struct sq_buf *out)
{
    static const char plain[] = "Content-Type: text/plain; charset=us-ascii\r\nContent-Transfer-Encoding: 7bit\r\n\r\n";
    const struct template *t = template_of(m->no);
    sq_err e = sq_mail_check(m->from, NULL);
    if (!e)
        e = sq_mail_check(m->to, NULL);
    if (e || !t || !is_plain(m->service, 256) || !is_plain(m->job, 64) || (m->link && !is_plain(m->link, 64)) || m->now_s <= 0)
        return sq_fail(SQ_EFIELD);
    char id[2 * SQ_MAIL_ID_BYTES + 1];
    sq_hex(m->id, SQ_MAIL_ID_BYTES, id);
    e = add_head(m, t, id, out);
    if (!e && !m->receipts.n) {
        e = sq_buf_addf(out, "%s", plain);
        return e ? e : add_text(m, t->body, out);
    }
    /* receipts are signed to the byte: base64 brings them through every mail server unchanged */
    if (!e)
        e = sq_buf_addf(out, "Content-Type: multipart/mixed; boundary=\"part-%s\"\r\n\r\n--part-%s\r\n%s", id, id, plain);
    if (!e)
        e = add_text(m, t->body, out);
    if (!e)
        e = sq_buf_addf(out, "\r\n--part-%s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: attachment; filename=\"receipts.txt\"\r\n"
                             "Content-Transfer-Encoding: base64\r\n\r\n", id);
    if (!e)
        e = add_base64(m->receipts, out);
    return e ? e : sq_buf_addf(out, "--part-%s--\r\n", id);
}

sq_err sq_hook_body(enum sq_template no, const char *job, int64_t at_s, int64_t until_s, struct sq_buf *out)
{
    const struct template *t = template_of(no);
    char at[21], until[21];
    if (!t || !strcmp(t->hook, "-") || !is_plain(job, 64) || strpbrk(job, "\"\\"))
        return sq_fail(SQ_ERANGE);
    sq_clock_text(at_s, at);
    sq_clock_text(until_s, until);
    return sq_buf_addf(out, "{\"type\":\"%s\",\"timestamp\":\"%s\",\"data\":{\"%s\":\"%s\",\"state\":\"%s\",\"%s\":%s%s%s}}", t->hook, at,
                       no == SQ_TEMPLATE_upload_erased ? "upload" : "job", job, t->state, strcmp(t->state, "erased") ? "erased_at_the_latest" : "erased_at",
                       until_s ? "\"" : "", until_s ? until : "null", until_s ? "\"" : "");
}
