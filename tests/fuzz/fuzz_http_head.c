/* Heads and chunked bodies. Input: a head, and what follows it is a chunked body; both are also given in small pieces. */
#include "lib/http/http_head.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The length of the head however it is cut must be the same. */
static size_t find(const uint8_t *data, size_t size, size_t step, sq_err *out_e)
{
    size_t at = 0, n = 0;
    *out_e = SQ_OK;
    for (size_t have = 0; have < size && !n && !*out_e;) {
        have = have + step < size ? have + step : size;
        *out_e = sq_http_head_find((const char *)data, have, &at, &n);
    }
    return n;
}

static void head(const uint8_t *data, size_t n)
{
    struct sq_http_head h;
    char *text = malloc(n);
    sq_assert(text);
    memcpy(text, data, n);
    if (!sq_http_head_parse(text, n, &h)) {
        sq_assert(*h.method && *h.target && h.n_field <= SQ_HTTP_HEADERS_MAX);
        for (unsigned i = 0; i < h.n_field; i++) {
            sq_assert(*h.field[i].name && sq_http_value_is_plain(h.field[i].value));
            (void)sq_http_list_has(h.field[i].value, "close");
        }
    }
    free(text);
}

/* A sum over the data and how much was read: both cuts must agree. */
static uint64_t body(const uint8_t *p, size_t size, size_t step, size_t *out_read, sq_err *out_e)
{
    struct sq_http_chunked k = {0};
    uint64_t sum = 0;
    size_t at = 0;
    *out_e = SQ_OK;
    while (at < size && !k.is_end && !*out_e) {
        const uint8_t *d = NULL;
        size_t n = 0, used = 0, now = size - at < step ? size - at : step;
        *out_e = sq_http_chunked_feed(&k, p + at, now, &used, &d, &n);
        if (*out_e)
            break;
        sq_assert(used && used <= now && n <= used);
        for (size_t i = 0; i < n; i++)
            sum = sum * 31 + d[i] + 1;
        at += used;
    }
    *out_read = at;
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sq_err e1, e2;
    size_t n = find(data, size, size + 1, &e1), again = find(data, size, 1, &e2);
    sq_assert(n == again && (e1 == e2 || n));
    if (n)
        head(data, n);
    size_t r1, r2;
    uint64_t s1 = body(data + n, size - n, size + 1, &r1, &e1), s2 = body(data + n, size - n, 1, &r2, &e2);
    sq_assert(e1 == e2 && (e1 || (s1 == s2 && r1 == r2)));
    return 0;
}
