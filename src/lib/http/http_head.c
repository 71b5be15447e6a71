#include "lib/http/http_head.h"

#include <strings.h>

#define OTHER_MAX 16384u /* of extensions and trailers in one body */

/* RFC 9110 §5.6.2 */
static bool is_token_byte(uint8_t b)
{
    return (b >= '0' && b <= '9') || ((b | 32) >= 'a' && (b | 32) <= 'z') || (b && strchr("!#$%&'*+-.^_`|~", b));
}

static bool is_value_byte(uint8_t b)
{
    return b == '\t' || (b >= ' ' && b != 0x7f);
}

static size_t token_len(const char *p)
{
    size_t n = 0;
    while (is_token_byte((uint8_t)p[n]))
        n++;
    return n;
}

sq_err sq_http_head_find(const char *p, size_t n, size_t *io_at, size_t *out_n)
{
    *out_n = 0;
    for (size_t i = *io_at; i < n; i++) {
        bool is_after_cr = i && p[i - 1] == '\r';
        if (is_after_cr != (p[i] == '\n') || (!is_value_byte((uint8_t)p[i]) && p[i] != '\r' && p[i] != '\n'))
            return sq_fail(SQ_EREQUEST);
        if (p[i] == '\n' && i >= 3 && p[i - 2] == '\n') {
            *out_n = i + 1;
            return SQ_OK;
        }
    }
    *io_at = n;
    if (n >= SQ_HTTP_LINE_MAX && !memchr(p, '\n', SQ_HTTP_LINE_MAX))
        return sq_fail(SQ_ETARGET);
    return n >= SQ_HTTP_HEAD_MAX ? sq_fail(SQ_EHEADLARGE) : SQ_OK;
}

/* `METHOD SP target SP HTTP/1.1`: single spaces, a target of printable ASCII */
static sq_err request_line(char *line, struct sq_http_head *out)
{
    size_t n_method = token_len(line);
    if (!n_method || n_method > SQ_HTTP_METHOD_MAX || line[n_method] != ' ')
        return sq_fail(SQ_EREQUEST);
    char *target = line + n_method + 1, *version = strchr(target, ' ');
    for (const char *t = target; *t && *t != ' '; t++)
        if ((uint8_t)*t <= ' ' || (uint8_t)*t >= 0x7f)
            return sq_fail(SQ_EREQUEST);
    if (!version || version == target)
        return sq_fail(SQ_EREQUEST);
    line[n_method] = *version++ = 0;
    out->method = line;
    out->target = target;
    bool is_version = strlen(version) == 8 && !memcmp(version, "HTTP/", 5) && version[6] == '.' && version[5] >= '0' &&
                      version[5] <= '9' && version[7] >= '0' && version[7] <= '9';
    if (!is_version)
        return sq_fail(SQ_EREQUEST);
    out->is_1_0 = !strcmp(version, "HTTP/1.0");
    return out->is_1_0 || !strcmp(version, "HTTP/1.1") ? SQ_OK : sq_fail(SQ_EVERSION);
}

static sq_err field_line(char *line, size_t n, struct sq_http_head *out)
{
    size_t n_name = token_len(line);
    if (!n_name || line[n_name] != ':') /* a folded line, a space before the colon, no colon */
        return sq_fail(SQ_EREQUEST);
    char *value = line + n_name + 1, *end = line + n;
    line[n_name] = 0;
    value += strspn(value, " \t");
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *end = 0;
    if (end - value > SQ_HTTP_VALUE_MAX || out->n_field == SQ_HTTP_HEADERS_MAX)
        return sq_fail(SQ_EHEADLARGE);
    out->field[out->n_field].name = line;
    out->field[out->n_field++].value = value;
    return SQ_OK;
}

sq_err sq_http_head_parse(char *p, size_t n, struct sq_http_head *out)
{
    *out = (struct sq_http_head){.method = "", .target = ""};
    sq_assert(n >= 4 && !memcmp(p + n - 4, "\r\n\r\n", 4));
    char *end = p + n - 2;
    sq_err e = SQ_OK;
    for (bool is_first = true; p < end && !e; is_first = false) {
        char *eol = memchr(p, '\r', (size_t)(end - p));
        sq_assert(eol);
        *eol = 0;
        e = is_first ? request_line(p, out) : field_line(p, (size_t)(eol - p), out);
        p = eol + 2;
    }
    return e;
}

bool sq_http_list_has(const char *value, const char *token)
{
    size_t n = strlen(token);
    for (const char *p = value; p && *p;) {
        p += strspn(p, ", \t");
        size_t len = strcspn(p, ", \t");
        if (len == n && !strncasecmp(p, token, n))
            return true;
        p += len;
    }
    return false;
}

bool sq_http_value_is_plain(const char *value)
{
    for (; *value; value++)
        if (!is_value_byte((uint8_t)*value))
            return false;
    return true;
}

/* ---- chunked bodies ---- */

enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER, TRAILER_NAME, TRAILER_VALUE, TRAILER_LF, END_LF };

static int hex_value(uint8_t b)
{
    return b >= '0' && b <= '9' ? b - '0' : (b | 32) >= 'a' && (b | 32) <= 'f' ? (b | 32) - 'a' + 10 : -1;
}

/* One byte outside of the data: the state that follows, -1: it may not stand here. */
static int other_byte(struct sq_http_chunked *k, uint8_t b)
{
    switch (k->state) {
    case SIZE:
        if (hex_value(b) >= 0 && k->n_digit < 15) {
            k->left = k->left * 16 + (uint64_t)hex_value(b);
            k->n_digit++;
            return SIZE;
        }
        return !k->n_digit ? -1 : b == ';' ? EXTENSION : b == '\r' ? SIZE_LF : -1;
    case EXTENSION:
        return b == '\r' ? SIZE_LF : is_value_byte(b) ? EXTENSION : -1;
    case SIZE_LF:
        return b != '\n' ? -1 : k->left ? DATA : TRAILER;
    case DATA_CR:
        return b == '\r' ? DATA_LF : -1;
    case DATA_LF:
        k->n_digit = 0;
        return b == '\n' ? SIZE : -1;
    case TRAILER:
        return b == '\r' ? END_LF : is_token_byte(b) ? TRAILER_NAME : -1;
    case TRAILER_NAME:
        return b == ':' ? TRAILER_VALUE : is_token_byte(b) ? TRAILER_NAME : -1;
    case TRAILER_VALUE:
        return b == '\r' ? TRAILER_LF : is_value_byte(b) ? TRAILER_VALUE : -1;
    case TRAILER_LF:
        return b == '\n' ? TRAILER : -1;
    default: /* END_LF */
        k->is_end = b == '\n';
        return k->is_end ? END_LF : -1;
    }
}

sq_err sq_http_chunked_feed(struct sq_http_chunked *k, const uint8_t *p, size_t n, size_t *out_used, const uint8_t **out_data,
                            size_t *out_n)
{
    size_t i = 0;
    *out_n = 0;
    while (i < n && !k->is_end && k->state != DATA) {
        k->n_other += k->state == EXTENSION || k->state >= TRAILER;
        k->state = other_byte(k, p[i++]);
        if (k->state < 0 || k->n_other > OTHER_MAX)
            return sq_fail(SQ_EREQUEST);
    }
    if (k->state == DATA) {
        *out_data = p + i;
        *out_n = n - i < k->left ? n - i : (size_t)k->left;
        k->left -= *out_n;
        i += *out_n;
        if (!k->left)
            k->state = DATA_CR;
    }
    *out_used = i;
    return SQ_OK;
}
