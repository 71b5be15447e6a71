#include "lib/http/http_json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory that is wiped: each block carries its size ---- */

struct block {
    size_t n;
    max_align_t data[];
};

static void *wiping_malloc(size_t n)
{
    struct block *b = n < SIZE_MAX / 2 ? malloc(sizeof *b + n) : NULL;
    if (!b)
        return NULL;
    b->n = n;
    return b->data;
}

static void wiping_free(void *p)
{
    if (!p)
        return;
    struct block *b = (struct block *)(void *)((char *)p - offsetof(struct block, data));
    sq_wipe(b, sizeof *b + b->n);
    free(b);
}

void sq_http_json_start(void)
{
    json_set_alloc_funcs(wiping_malloc, wiping_free);
    json_object_seed(0);
}

static int dump_to_buf(const char *p, size_t n, void *out)
{
    return sq_buf_add(out, p, n) ? -1 : 0;
}

static sq_err dump(const json_t *j, struct sq_buf *out)
{
    return json_dump_callback(j, dump_to_buf, out, JSON_COMPACT) ? sq_fail(SQ_ETOOBIG) : SQ_OK;
}

/* jansson's parser recurses up to 2048 levels, on our small stacks: deep text never reaches it. */
static bool is_deeper(const char *p, size_t n, unsigned levels)
{
    unsigned depth = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '"') {
            for (i++; i < n && p[i] != '"'; i++)
                i += p[i] == '\\';
        } else if (p[i] == '{' || p[i] == '[') {
            if (++depth > levels)
                return true;
        } else if ((p[i] == '}' || p[i] == ']') && depth) {
            depth--;
        }
    }
    return false;
}

sq_err sq_http_json_normal(const void *p, size_t n, struct sq_buf *out)
{
    if (is_deeper(p, n, SQ_HTTP_JSON_DEPTH))
        return sq_fail(SQ_EJSON);
    json_error_t why;
    json_t *j = json_loadb(p, n, JSON_REJECT_DUPLICATES, &why);
    sq_wipe(&why, sizeof why); /* it quotes the text */
    sq_err e = !json_is_object(j) ? sq_fail(SQ_EJSON) : dump(j, out);
    json_decref(j);
    return e;
}

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* In place: + is a space, %XX a byte. False: what no encoder writes. */
static bool decode(char *text, size_t n, size_t *out_n)
{
    size_t k = 0;
    for (size_t i = 0; i < n; i++, k++) {
        int high = i + 2 < n && text[i] == '%' ? hex(text[i + 1]) : -1, low = high < 0 ? -1 : hex(text[i + 2]);
        if ((text[i] == '%' && low < 0) || (unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return false;
        text[k] = text[i] == '+' ? ' ' : text[i];
        if (text[i] == '%') {
            text[k] = (char)(high << 4 | low);
            i += 2;
        }
    }
    *out_n = k;
    return !memchr(text, 0, k);
}

static bool is_field_name(const char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || ((p[i] | 32) >= 'a' && (p[i] | 32) <= 'z') || p[i] == '_' || p[i] == '-' || p[i] == '.'))
            return false;
    return n > 0 && n <= 64;
}

/* one name=value of @text, into @j */
static bool form_field(json_t *j, char *text, size_t n)
{
    char *eq = memchr(text, '=', n), name[65];
    size_t n_name = eq ? (size_t)(eq - text) : 0, n_value = 0;
    if (!eq || !is_field_name(text, n_name) || !decode(eq + 1, n - n_name - 1, &n_value))
        return false;
    memcpy(name, text, n_name);
    name[n_name] = 0;
    return !json_object_get(j, name) && !json_object_set_new(j, name, json_stringn(eq + 1, n_value)); /* which looks at the UTF-8 */
}

sq_err sq_http_form_normal(const void *p, size_t n, struct sq_buf *out)
{
    json_t *j = json_object();
    char *text = wiping_malloc(n + 1);
    bool is_good = j && text;
    sq_err e = is_good ? SQ_OK : sq_fail(SQ_ENOMEM);
    if (is_good)
        memcpy(text, p, n);
    for (size_t at = 0, n_field = 0; is_good && at < n; n_field++) {
        const char *amp = memchr(text + at, '&', n - at);
        size_t len = amp ? (size_t)(amp - text) - at : n - at;
        is_good = n_field < SQ_HTTP_FORM_FIELDS && form_field(j, text + at, len);
        at += len + 1;
    }
    if (!e)
        e = is_good ? dump(j, out) : sq_fail(SQ_EREQUEST);
    wiping_free(text);
    json_decref(j);
    return e;
}

sq_err sq_http_json_error(sq_err code, const char *detail, const char *id, struct sq_buf *out)
{
    json_t *j = json_pack("{s:b, s:s, s:s, s:s*, s:s, s:s}", "success", 0, "code", sq_err_name(code), "message", sq_err_text(code),
                          "detail", detail, "hint", sq_err_hint(code), "id", id);
    sq_err e = j ? dump(j, out) : sq_fail(SQ_ENOMEM);
    json_decref(j);
    return e;
}
