#include "lib/http/routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static sq_err match(const char *method, const char *path, const struct sq_route_row **row)
{
    *row = NULL;
    return sq_route_match(method, path, row, NULL, NULL);
}

/* Every row is found by its own method and path, and by no other method of the list. */
static void every_row_is_found(void **state)
{
    size_t n;
    const struct sq_route_row *rows = sq_route_rows(&n);
    assert_true(n > 20);
    for (size_t i = 0; i < n; i++) {
        char path[256];
        size_t k = 0;
        for (const char *p = rows[i].path; *p; p++) {
            if (*p == '{') {
                memcpy(path + k, "Ab-9", 4);
                k += 4;
                p += strcspn(p, "}");
            } else {
                path[k++] = *p;
            }
        }
        path[k] = 0;
        const struct sq_route_row *row;
        assert_int_equal(match(rows[i].method, path, &row), SQ_OK);
        assert_ptr_equal(row, &rows[i]);
        assert_ptr_equal(sq_route_row_of(rows[i].route), &rows[i]);
        assert_true(rows[i].route < SQ_ROUTE_MAX);
        assert_int_equal(match("TRACE", path, &row), SQ_EMETHOD);
        for (size_t j = 0; j < i; j++) /* no two rows are the same address, nor the same number */
            assert_true(rows[i].route != rows[j].route &&
                        (strcmp(rows[i].path, rows[j].path) || strcmp(rows[i].method, rows[j].method)));
    }
    assert_null(sq_route_row_of(SQ_ROUTE_MAX));
}

static void head_is_get(void **state)
{
    const struct sq_route_row *row;
    assert_int_equal(match("HEAD", "/jobs", &row), SQ_OK);
    assert_int_equal(row->route, SQ_ROUTE_jobs_root);
    assert_int_equal(match("HEAD", "/api/upload", &row), SQ_EMETHOD);
}

static void allow_names_the_methods(void **state)
{
    const struct sq_route_row *row;
    char allow[64] = "";
    assert_int_equal(sq_route_match("PUT", "/api/v1/jobs/x", &row, NULL, allow), SQ_EMETHOD);
    assert_string_equal(allow, "GET, HEAD, DELETE");
    assert_int_equal(sq_route_match("GET", "/api/upload", &row, NULL, allow), SQ_EMETHOD);
    assert_string_equal(allow, "POST");
}

static void variables_are_taken(void **state)
{
    const struct sq_route_row *row;
    struct sq_route_params params;
    assert_int_equal(sq_route_match("POST", "/api/v1/jobs/job-12ab/claim/confirm", &row, &params, NULL), SQ_OK);
    assert_int_equal(row->route, SQ_ROUTE_job_confirm);
    assert_int_equal(params.n, 1);
    assert_string_equal(params.value[0], "job-12ab");

    char path[256] = "/api/v1/jobs/";
    size_t at = strlen(path);
    memset(path + at, 'a', 64);
    assert_int_equal(sq_route_match("GET", path, &row, &params, NULL), SQ_OK);
    assert_int_equal(strlen(params.value[0]), 64);
    path[at + 64] = 'a'; /* 65 */
    assert_int_equal(match("GET", path, &row), SQ_ENOTFOUND);
}

static void tricks_are_refused(void **state)
{
    static const char *const bad[] = {
        "",           "jobs",        "//jobs",       "/jobs/",           "/api//jobs",   "/./jobs",       "/api/../jobs",
        "/jobs/..",   "/jobs/.",     "/%6aobs",      "/jobs%00",         "/api\\jobs",   "/jobs\n",       "/jobs;x=1",
        "/jobs#a",    "/jobs?a",     "/j\xc3\xb6-bs", "/api/v1/jobs/a b", "*",         "http://h/jobs", "/jobs\x7f",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const struct sq_route_row *row;
        assert_int_equal(match("GET", bad[i], &row), SQ_EREQUEST);
    }
    static const char *const nowhere[] = {"/", "/job", "/jobss", "/JOBS", "/api", "/api/v1", "/api/v1/jobs/a.b", "/api/v1/jobs/a/b",
                                          "/api/v1/jobs/a_b", "/..."};
    for (size_t i = 0; i < sizeof nowhere / sizeof nowhere[0]; i++) {
        const struct sq_route_row *row;
        assert_int_equal(match("GET", nowhere[i], &row), SQ_ENOTFOUND);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_found),  cmocka_unit_test(head_is_get),        cmocka_unit_test(allow_names_the_methods),
        cmocka_unit_test(variables_are_taken), cmocka_unit_test(tricks_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
