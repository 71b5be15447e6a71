#include "lib/http/http_rules.h"

#include <strings.h>

#define TOKEN_BYTES "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="
#define BOUNDARY_BYTES "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'()+_,-./:=? "

/* ---- hosts ---- */

/* The name without its port: `[::1]:8443` gives `::1`. False when it isn't host[:port]. */
static bool host_name(const char *host, const char **out, size_t *out_n)
{
    const char *end;
    if (*host == '[') {
        end = strchr(++host, ']');
        if (!end)
            return false;
        *out_n = (size_t)(end - host);
        end++;
    } else {
        end = host + strcspn(host, ":");
        *out_n = (size_t)(end - host);
    }
    *out = host;
    if (!*out_n || (*end && *end != ':'))
        return false;
    return !*end || strspn(end + 1, "0123456789") == strlen(end + 1);
}

bool sq_http_host_is_ours(const char *host, const char *hosts)
{
    const char *name;
    size_t n;
    if (!host_name(host, &name, &n))
        return false;
    for (const char *p = hosts; *p; p += strspn(p, ", ")) {
        size_t len = strcspn(p, ", ");
        const char *one = p;
        p += len;
        if (len > 2 && *one == '[' && one[len - 1] == ']') {
            one++;
            len -= 2;
        }
        if (len == n && !strncasecmp(one, name, n))
            return true;
    }
    return false;
}

/* ---- tokens ---- */

sq_err sq_http_token(const char *authorization, const char *x_auth_token, struct sq_span *out_token)
{
    const char *token = x_auth_token;
    if (authorization) {
        if (x_auth_token || strncasecmp(authorization, "Bearer ", 7) != 0)
            return sq_fail(SQ_EREQUEST);
        token = authorization + 7;
        token += strspn(token, " ");
    }
    size_t n = token ? strlen(token) : 0;
    if (token && (!n || n > SQ_HTTP_TOKEN_MAX || strspn(token, TOKEN_BYTES) != n))
        return sq_fail(SQ_EREQUEST);
    *out_token = sq_span_of(token, n);
    return SQ_OK;
}

bool sq_http_query_is_plain(const char *query)
{
    size_t n = strlen(query);
    for (size_t i = 0; i < n; i++)
        if (query[i] <= ' ' || query[i] >= 0x7f || strchr("#\"<>\\^`{|}", query[i]))
            return false;
    return n <= SQ_HTTP_QUERY_MAX;
}

/* ---- media types ---- */

bool sq_http_media_is(const char *content_type, const char *wanted)
{
    if (!content_type)
        return false;
    size_t n = strcspn(content_type, "; \t");
    const char *rest = content_type + n + strspn(content_type + n, " \t");
    return n == strlen(wanted) && !strncasecmp(content_type, wanted, n) && (!*rest || *rest == ';');
}

bool sq_http_media_is_text(const char *content_type, const char *wanted)
{
    if (!sq_http_media_is(content_type, wanted))
        return false;
    const char *p = content_type + strlen(wanted);
    p += strspn(p, " \t");
    if (!*p)
        return true;
    p += 1 + strspn(p + 1, " \t"); /* behind the `;` */
    return !strcasecmp(p, "charset=utf-8") || !strcasecmp(p, "charset=\"utf-8\"");
}

sq_err sq_http_boundary(const char *content_type, char out[SQ_HTTP_BOUNDARY_MAX + 1])
{
    if (!sq_http_media_is(content_type, "multipart/form-data"))
        return sq_fail(SQ_EMEDIA);
    const char *p = strchr(content_type, ';');
    while (p) {
        p += strspn(p, "; \t");
        if (!strncasecmp(p, "boundary=", 9))
            break;
        p = strchr(p, ';');
    }
    if (!p)
        return sq_fail(SQ_EREQUEST);
    p += 9;
    bool is_quoted = *p == '"';
    p += is_quoted;
    size_t n = strcspn(p, is_quoted ? "\"" : "; \t");
    if (!n || n > SQ_HTTP_BOUNDARY_MAX || strspn(p, BOUNDARY_BYTES) < n || p[n - 1] == ' ' || (is_quoted && p[n] != '"'))
        return sq_fail(SQ_EREQUEST);
    memcpy(out, p, n);
    out[n] = 0;
    return SQ_OK;
}

/* ---- ranges and tags ---- */

/* Digits at *p; a number too large for 64 bits is the largest: no file reaches it. */
static bool number(const char **p, uint64_t *out)
{
    if (**p < '0' || **p > '9')
        return false;
    uint64_t v = 0;
    for (; **p >= '0' && **p <= '9'; (*p)++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(**p - '0'), &v))
            v = UINT64_MAX / 10 * 10; /* stays above every size, and overflows again with the next digit */
    *out = v;
    return true;
}

bool sq_http_range(const char *header, uint64_t *out_first, uint64_t *out_last)
{
    if (!header || strncasecmp(header, "bytes", 5))
        return false;
    const char *p = header + 5;
    p += strspn(p, " \t");
    if (*p++ != '=')
        return false;
    p += strspn(p, " \t");
    uint64_t first = UINT64_MAX, last = UINT64_MAX;
    bool has_first = number(&p, &first);
    p += strspn(p, " \t");
    if (*p++ != '-')
        return false;
    p += strspn(p, " \t");
    bool has_last = number(&p, &last);
    p += strspn(p, " \t");
    if (*p || (!has_first && !has_last) || (has_first && has_last && first > last))
        return false;
    *out_first = !has_first ? UINT64_MAX : first < UINT64_MAX ? first : UINT64_MAX - 1;
    *out_last = last;
    return true;
}

static bool is_listed(const char *list, const char *etag, bool is_weak)
{
    if (!list)
        return false;
    const char *p = list;
    if (*p == '*' && !p[1 + strspn(p + 1, " \t")])
        return true;
    size_t n = strlen(etag);
    while (*p) {
        p += strspn(p, ", \t");
        bool is_weak_tag = p[0] == 'W' && p[1] == '/';
        p += is_weak_tag ? 2 : 0;
        if (*p != '"')
            return false;
        size_t len = strcspn(p + 1, "\"") + 2;
        if (!p[len - 1])
            return false;
        if ((is_weak || !is_weak_tag) && len == n && !memcmp(p, etag, n))
            return true;
        p += len;
        p += strspn(p, " \t");
        if (*p && *p != ',')
            return false;
    }
    return false;
}

bool sq_http_etag_listed(const char *if_none_match, const char *etag)
{
    return is_listed(if_none_match, etag, true);
}

bool sq_http_etag_matches(const char *if_match, const char *etag)
{
    return is_listed(if_match, etag, false);
}

/* ---- names of files ---- */

/* Length of the valid UTF-8 sequence at @p (RFC 3629: no overlong forms, no surrogates), 0 when there is none. */
static size_t utf8_len(const unsigned char *p)
{
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

void sq_http_file_name(const char *name, char out[SQ_HTTP_FILE_NAME_MAX + 1])
{
    const char *base = name;
    for (const char *p = name; *p; p++)
        if (*p == '/' || *p == '\\')
            base = p + 1;
    size_t n = 0;
    const unsigned char *p = (const unsigned char *)base;
    while (*p) {
        size_t len = utf8_len(p);
        bool is_bad = !len || *p < 0x20 || *p == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0); /* C0, DEL, C1 */
        size_t add = is_bad ? 1 : len;
        if (n + add > SQ_HTTP_FILE_NAME_MAX)
            break;
        if (is_bad)
            out[n] = '_';
        else
            memcpy(out + n, p, len);
        n += add;
        p += len ? len : 1;
    }
    out[n] = 0;
    if (!n || !strcmp(out, ".") || !strcmp(out, ".."))
        memcpy(out, "upload", sizeof "upload");
}
