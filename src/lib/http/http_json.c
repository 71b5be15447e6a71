#include "lib/http/http_json.h"

#include <jansson.h>
#include <stdlib.h>

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

sq_err sq_http_json_error(sq_err code, const char *detail, const char *id, struct sq_buf *out)
{
    json_t *j = json_pack("{s:b, s:s, s:s, s:s*, s:s, s:s}", "success", 0, "code", sq_err_name(code), "message", sq_err_text(code),
                          "detail", detail, "hint", sq_err_hint(code), "id", id);
    sq_err e = j ? dump(j, out) : sq_fail(SQ_ENOMEM);
    json_decref(j);
    return e;
}
