#include "lib/core/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

bool sq_span_eq(struct sq_span a, struct sq_span b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

sq_err sq_span_copy(struct sq_span s, char *out, size_t out_size)
{
    if (s.n >= out_size || (s.n && memchr(s.p, 0, s.n)))
        return sq_fail(SQ_ERANGE);
    if (s.n)
        memcpy(out, s.p, s.n);
    out[s.n] = 0;
    return SQ_OK;
}

void sq_buf_init(struct sq_buf *b, size_t max)
{
    *b = (struct sq_buf){.max = max ? max : SIZE_MAX};
}

void sq_buf_done(struct sq_buf *b)
{
    if (!b)
        return;
    if (b->p) {
        sq_wipe(b->p, b->cap);
        free(b->p);
    }
    *b = (struct sq_buf){.max = b->max};
}

void sq_buf_clear(struct sq_buf *b)
{
    if (b->p)
        sq_wipe(b->p, b->n);
    b->n = 0;
}

/* realloc would leave the old bytes behind in freed memory, so grow by hand and wipe */
sq_err sq_buf_reserve(struct sq_buf *b, size_t more)
{
    size_t max = b->max ? b->max : SIZE_MAX;
    if (more > max || b->n > max - more)
        return sq_fail(SQ_ETOOBIG);
    size_t need = b->n + more;
    if (need <= b->cap)
        return SQ_OK;
    size_t cap = b->cap ? b->cap : 256;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    uint8_t *p = malloc(cap);
    if (!p)
        return sq_fail(SQ_ENOMEM);
    if (b->p) {
        memcpy(p, b->p, b->n);
        sq_wipe(b->p, b->cap);
        free(b->p);
    }
    b->p = p;
    b->cap = cap;
    return SQ_OK;
}

sq_err sq_buf_add(struct sq_buf *b, const void *p, size_t n)
{
    sq_err e = sq_buf_reserve(b, n);
    if (e)
        return e;
    if (n)
        memcpy(b->p + b->n, p, n);
    b->n += n;
    return SQ_OK;
}

sq_err sq_buf_addf(struct sq_buf *b, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    int n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    if (n < 0)
        return sq_fail(SQ_EINTERNAL);
    sq_err e = sq_buf_reserve(b, (size_t)n + 1);
    if (e)
        return e;
    va_start(ap, format);
    vsnprintf((char *)b->p + b->n, (size_t)n + 1, format, ap);
    va_end(ap);
    b->n += (size_t)n;
    return SQ_OK;
}

void sq_wipe(void *p, size_t n)
{
    if (p && n)
        explicit_bzero(p, n);
}

void sq_wipe_str(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
}

bool sq_equal_ct(const void *a, const void *b, size_t n)
{
    const volatile uint8_t *x = a, *y = b;
    uint8_t d = 0;
    for (size_t i = 0; i < n; i++)
        d |= (uint8_t)(x[i] ^ y[i]);
    return d == 0;
}

void sq_hex(const void *p, size_t n, char *out)
{
    static const char digit[] = "0123456789abcdef";
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digit[b[i] >> 4];
        out[2 * i + 1] = digit[b[i] & 15];
    }
    out[2 * n] = 0;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

sq_err sq_hex_decode(const char *hex, size_t hex_len, uint8_t *out, size_t n)
{
    if (hex_len != 2 * n)
        return sq_fail(SQ_EREQUEST);
    for (size_t i = 0; i < hex_len; i++)
        if (nibble(hex[i]) < 0)
            return sq_fail(SQ_EREQUEST);
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(nibble(hex[2 * i]) << 4 | nibble(hex[2 * i + 1]));
    return SQ_OK;
}

static const char b64_std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char b64_url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

sq_err sq_base64(const void *p, size_t n, bool is_url, struct sq_buf *out)
{
    const char *set = is_url ? b64_url : b64_std;
    const uint8_t *b = p;
    sq_err e = sq_buf_reserve(out, (n + 2) / 3 * 4 + 1);
    if (e)
        return e;
    char *o = (char *)out->p + out->n;
    size_t k = 0;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)b[i] << 16;
        if (left > 1)
            v |= (uint32_t)b[i + 1] << 8;
        if (left > 2)
            v |= b[i + 2];
        o[k++] = set[v >> 18];
        o[k++] = set[v >> 12 & 63];
        if (left > 1)
            o[k++] = set[v >> 6 & 63];
        else if (!is_url)
            o[k++] = '=';
        if (left > 2)
            o[k++] = set[v & 63];
        else if (!is_url)
            o[k++] = '=';
    }
    o[k] = 0;
    out->n += k;
    return SQ_OK;
}

/* strict: no white space, no stray padding, unused low bits zero, so that one text has one encoding */
sq_err sq_base64_decode(const char *s, size_t len, bool is_url, struct sq_buf *out)
{
    const char *set = is_url ? b64_url : b64_std;
    if (!is_url) {
        if (len % 4)
            return sq_fail(SQ_EREQUEST);
        if (len && s[len - 1] == '=')
            len--;
        if (len && len % 4 == 3 && s[len - 1] == '=')
            len--;
    }
    if (len % 4 == 1)
        return sq_fail(SQ_EREQUEST);
    sq_err e = sq_buf_reserve(out, len / 4 * 3 + 3);
    if (e)
        return e;
    uint32_t v = 0;
    int n_bit = 0;
    size_t start = out->n;
    for (size_t i = 0; i < len; i++) {
        const char *at = s[i] ? strchr(set, s[i]) : NULL;
        if (!at) {
            out->n = start;
            return sq_fail(SQ_EREQUEST);
        }
        v = v << 6 | (uint32_t)(at - set);
        n_bit += 6;
        if (n_bit >= 8) {
            n_bit -= 8;
            out->p[out->n++] = (uint8_t)(v >> n_bit & 0xff);
        }
    }
    if (v & ((1U << n_bit) - 1)) {
        out->n = start;
        return sq_fail(SQ_EREQUEST);
    }
    return SQ_OK;
}
