/* Standard Webhooks (standardwebhooks.com), version 1.0.0: symmetric signature v1; and lines of RFC 5424. */
#include "lib/mail/mail.h"

#include "lib/crypt/crypt.h"

#include <stdio.h>
#include <time.h>

#define SECRET_LEAST 24
#define SECRET_MOST 64
#define FACILITY_AUDIT 13

void sq_hook_id(const uint8_t id[SQ_MAIL_ID_BYTES], char out[40])
{
    memcpy(out, "msg_", 4);
    sq_hex(id, SQ_MAIL_ID_BYTES, out + 4);
}

sq_err sq_hook_secret(const char *text, size_t n, struct sq_buf *out)
{
    static const char prefix[] = "whsec_";
    while (n && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    if (n < sizeof prefix - 1 || memcmp(text, prefix, sizeof prefix - 1) != 0)
        return sq_fail(SQ_EFIELD);
    struct sq_buf key;
    sq_buf_init(&key, 256);
    sq_err e = sq_base64_decode(text + sizeof prefix - 1, n - (sizeof prefix - 1), false, &key);
    if (e || key.n < SECRET_LEAST || key.n > SECRET_MOST)
        e = sq_fail(SQ_EFIELD);
    else
        e = sq_buf_add(out, key.p, key.n);
    sq_buf_done(&key);
    return e;
}

sq_err sq_hook_sign(struct sq_span key, const char *id, int64_t timestamp_s, struct sq_span body, struct sq_buf *out)
{
    uint8_t mac[SQ_SHA256_BYTES];
    struct sq_buf signed_text;
    sq_buf_init(&signed_text, 0);
    sq_err e = sq_buf_addf(&signed_text, "%s.%lld.", id, (long long)timestamp_s);
    if (!e)
        e = sq_buf_add(&signed_text, body.p, body.n);
    if (!e)
        e = sq_hmac_sha256_with(key.p, key.n, signed_text.p, signed_text.n, mac);
    if (!e)
        e = sq_buf_addf(out, "v1,");
    if (!e)
        e = sq_base64(mac, sizeof mac, false, out);
    sq_buf_done(&signed_text);
    return e;
}

sq_err sq_syslog_line(enum sq_syslog_severity severity, int64_t time_ms, const char *host, const char *msgid, const char *text, struct sq_buf *out)
{
    char when[40];
    struct tm tm;
    time_t s = (time_t)(time_ms / 1000);
    if (!gmtime_r(&s, &tm) || strchr(text, '\n') || strlen(msgid) > 32)
        return sq_fail(SQ_ERANGE);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%S", &tm);
    return sq_buf_addf(out, "<%d>1 %s.%03dZ %s sequester - %s - %s\n", FACILITY_AUDIT * 8 + (int)severity, when, (int)(time_ms % 1000), host, msgid, text);
}
