/* Headers, paths, names of files, and JSON bodies. Input: a text, and, behind its first line feed, a second one. */
#include "lib/http/http_json.h"
#include "lib/http/http_rules.h"
#include "lib/http/routes.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* of its own length, so that a read behind the end is seen */
static char *text_of(const uint8_t *p, size_t n)
{
    char *s = malloc(n + 1);
    sq_assert(s);
    if (n)
        memcpy(s, p, n);
    s[n] = 0;
    return s;
}

static void headers(const char *a, const char *b)
{
    char boundary[SQ_HTTP_BOUNDARY_MAX + 1], name[SQ_HTTP_FILE_NAME_MAX + 1], again[SQ_HTTP_FILE_NAME_MAX + 1], allow[64];
    struct sq_span token;
    struct sq_route_params params;
    const struct sq_route_row *row;
    uint64_t first, last;
    (void)sq_http_host_is_ours(a, b);
    if (!sq_http_token(a, *b ? b : NULL, &token))
        sq_assert(token.n <= SQ_HTTP_TOKEN_MAX);
    (void)!sq_http_token(NULL, a, &token);
    if (sq_http_query_is_plain(a))
        sq_assert(strlen(a) <= SQ_HTTP_QUERY_MAX);
    (void)sq_http_media_is(a, "application/json");
    if (!sq_http_boundary(a, boundary))
        sq_assert(*boundary && strlen(boundary) <= SQ_HTTP_BOUNDARY_MAX);
    if (sq_http_range(a, &first, &last))
        sq_assert(first <= last || first == UINT64_MAX);
    (void)sq_http_etag_listed(a, *b ? b : "\"x\"");
    sq_http_file_name(a, name);
    sq_http_file_name(name, again);
    sq_assert(*name && !strchr(name, '/') && strcmp(name, again) == 0);
    (void)!sq_route_match(b, a, &row, &params, allow);
    (void)!sq_route_match("GET", a, &row, NULL, NULL);
}

static void json(const uint8_t *p, size_t n)
{
    struct sq_buf once, twice;
    sq_buf_init(&once, 49152);
    sq_buf_init(&twice, 49152);
    if (!sq_http_json_normal(p, n, &once)) {
        sq_assert(sq_http_json_normal(once.p, once.n, &twice) == SQ_OK);
        sq_assert(once.n == twice.n && memcmp(once.p, twice.p, once.n) == 0);
    }
    sq_buf_done(&once);
    sq_buf_done(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_started;
    if (!is_started)
        sq_http_json_start();
    is_started = true;
    const uint8_t *lf = size ? memchr(data, '\n', size) : NULL;
    size_t n = lf ? (size_t)(lf - data) : size;
    char *a = text_of(data, n), *b = text_of(lf ? lf + 1 : NULL, lf ? size - n - 1 : 0);
    headers(a, b);
    json((const uint8_t *)a, n);
    free(a);
    free(b);
    return 0;
}
