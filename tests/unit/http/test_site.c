/* Cookies, and from which page a request came. */
#include "lib/http/http_site.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define N(a) (sizeof(a) / sizeof(a)[0])
#define OURS "__Host-s"

static void cookies(void **state)
{
    static const struct {
        const char *header, *want; /* want NULL: refused */
    } rows[] = {{NULL, ""}, {"", ""}, {OURS "=abc", "abc"}, {"a=b; " OURS "=abc; c=d", "abc"}, {"a=b;" OURS "=abc", "abc"}, {"  " OURS " = abc \t; x", "abc"}, {OURS "=", ""}, {"x" OURS "=a", ""},
                {OURS "x=a", ""}, {"a=" OURS "=evil", ""}, {"__host-s=a", ""}, {"__HOST-S=a", ""}, {"a=\"" OURS "=b\"", ""}, {OURS "=a=b", "a=b"}, {OURS "=a; " OURS "=a", NULL}, {OURS "=a; b; " OURS "=c", NULL},
                {OURS "=a; " OURS, NULL}, {OURS " =a;\t" OURS "=b", NULL}, {OURS "=;" OURS "=b", NULL}, {";;;=;" OURS "=b;", "b"}, {"s=a", ""}, {"a=b; c", ""}};
    for (size_t i = 0; i < N(rows); i++) {
        struct sq_span v = {0};
        sq_err e = sq_http_cookie(rows[i].header, OURS, &v);
        assert_int_equal(e, rows[i].want ? SQ_OK : SQ_EREQUEST);
        if (rows[i].want) {
            assert_int_equal(v.n, strlen(rows[i].want));
            assert_memory_equal(v.p ? v.p : (const uint8_t *)"", rows[i].want, v.n);
        }
    }
}

static void origins(void **state)
{
    static const char *const yes[][2] = {{"https://hub.example", "hub.example"}, {"https://hub.example:8443", "hub.example:8443"}, {"HTTPS://HUB.example", "hub.EXAMPLE"}, {"https://hub.example:443", "hub.example"},
                                         {"https://hub.example", "hub.example:443"}, {"https://[::1]:8443", "[::1]:8443"}, {"https://[::1]", "[::1]:443"}};
    static const char *const no[][2] = {{"http://hub.example", "hub.example"}, {"https://hub.example:8444", "hub.example:8443"}, {"https://hub.example:8443", "hub.example"}, {"https://hub.example.evil.example", "hub.example"},
                                        {"https://evil.example", "hub.example"}, {"null", "hub.example"}, {"", "hub.example"}, {"https://", "hub.example"}, {"https://", ""}, {"https://hub.example/", "hub.example"},
                                        {"https://sub.hub.example", "hub.example"}, {"https://hub.example@evil.example", "hub.example"}, {"https://hub.example https://evil.example", "hub.example"},
                                        {"https://hub.example:0443", "hub.example"}, {"https://hub.example.", "hub.example"}, {"hub.example", "hub.example"}, {"https://:443", ":443"}};
    for (size_t i = 0; i < N(yes); i++)
        assert_true(sq_http_origin_is(yes[i][0], yes[i][1]));
    for (size_t i = 0; i < N(no); i++)
        assert_false(sq_http_origin_is(no[i][0], no[i][1]));
}

/* every combination of method, way of authorising, Origin and Sec-Fetch-Site, against the rules in words */
static void all_combinations(void **state)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "get", "OPTIONS"};
    static const char *const origins[] = {NULL, "https://hub.example", "https://evil.example", "null", "http://hub.example", ""};
    static const char *const sites[] = {NULL, "same-origin", "same-site", "cross-site", "none", "", "Same-Origin", "same-origin, cross-site"};
    for (size_t m = 0; m < N(methods); m++)
        for (unsigned by = 0; by < 3; by++)
            for (size_t o = 0; o < N(origins); o++)
                for (size_t s = 0; s < N(sites); s++) {
                    bool is_safe = m < 2, may;
                    if (by == SQ_HTTP_BY_HEADER)
                        may = true; /* no page of another site can set that header */
                    else if (is_safe)
                        may = by == SQ_HTTP_BY_NOBODY || s == 0 || s == 1 || s == 4;
                    else
                        may = (o == 0 || o == 1) && (s == 0 || s == 1) && (by == SQ_HTTP_BY_NOBODY || o == 1 || s == 1);
                    assert_int_equal(sq_http_site_check(methods[m], (enum sq_http_by)by, "hub.example", origins[o], sites[s]), may ? SQ_OK : SQ_ECROSSSITE);
                }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cookies), cmocka_unit_test(origins), cmocka_unit_test(all_combinations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
