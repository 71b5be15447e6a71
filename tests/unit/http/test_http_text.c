/* Hosts, tokens, ranges, tags, names, boundaries; forms in every cut; JSON as it is passed on. */
#include "lib/http/http_json.h"
#include "lib/http/http_rules.h"
#include "lib/http/multipart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void hosts(void **state)
{
    const char *ours = "localhost,127.0.0.1, Hub.Example,::1,[2001:db8::1]";
    static const char *const yes[] = {"localhost", "LOCALHOST:8443", "127.0.0.1:1", "hub.example", "[::1]", "[::1]:8443",
                                      "[2001:DB8::1]:1", "localhost:"};
    static const char *const no[] = {"", ":1", "local", "localhost.", "xlocalhost", "localhost:a", "localhost:1:2", "::1", "[::1",
                                     "[::1]x", "[]", "localhost,127.0.0.1", "hub.example/", "a@localhost", "localhost 127.0.0.1"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(sq_http_host_is_ours(yes[i], ours));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(sq_http_host_is_ours(no[i], ours));
    assert_false(sq_http_host_is_ours("localhost", ""));
}

static void tokens(void **state)
{
    struct sq_span t;
    assert_int_equal(sq_http_token("bearer  abc.d-e_f~+/=", NULL, &t), SQ_OK);
    assert_int_equal(t.n, 13);
    assert_int_equal(sq_http_token(NULL, "x", &t), SQ_OK);
    assert_int_equal(t.n, 1);
    assert_int_equal(sq_http_token(NULL, NULL, &t), SQ_OK);
    assert_int_equal(t.n, 0);
    assert_int_equal(sq_http_token("Bearer a", "a", &t), SQ_EREQUEST);
    static const char *const bad[] = {"Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer a,b", "Bearer \"a\"", "Bearer \xc3\xa9", "a"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(sq_http_token(bad[i], NULL, &t), SQ_EREQUEST);
    assert_int_equal(sq_http_token(NULL, "", &t), SQ_EREQUEST);
}

static void byte_ranges(void **state)
{
    static const struct {
        const char *text;
        bool is_range;
        uint64_t first, last;
    } rows[] = {
        {"bytes=0-0", true, 0, 0},
        {"bytes=5-", true, 5, UINT64_MAX},
        {"bytes=-5", true, UINT64_MAX, 5},
        {"Bytes = 7 - 9", true, 7, 9},
        {"bytes=18446744073709551615-", true, UINT64_MAX - 1, UINT64_MAX},
        {"bytes=0-18446744073709551616", true, 0, 18446744073709551610ULL},
        {"bytes=-0", true, UINT64_MAX, 0},
        {"bytes=9-7", false, 0, 0},
        {"bytes=-", false, 0, 0},
        {"bytes=", false, 0, 0},
        {"bytes=1-2,4-5", false, 0, 0},
        {"bytes=+1-2", false, 0, 0},
        {"bytes=1-2x", false, 0, 0},
        {"lines=1-2", false, 0, 0},
        {"", false, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t first = 0, last = 0;
        assert_int_equal(sq_http_range(rows[i].text, &first, &last), rows[i].is_range);
        assert_true(first == rows[i].first && last == rows[i].last);
    }
    assert_false(sq_http_range(NULL, NULL, NULL));
}

static void tags(void **state)
{
    const char *tag = "\"abc\"";
    static const char *const yes[] = {"\"abc\"", "*", "W/\"abc\"", "\"x\", \"abc\"", "\"x\",W/\"abc\" ,\"y\"", "* "};
    static const char *const no[] = {"", "abc", "\"abc", "\"abcd\"", "\"ab\"", "w/\"abc\"", "\"x\" \"abc\"", "*x"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(sq_http_etag_listed(yes[i], tag));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(sq_http_etag_listed(no[i], tag));
    assert_false(sq_http_etag_listed(NULL, tag));
}

static void file_names(void **state)
{
    static const char *const rows[][2] = {
        {"a.vcf", "a.vcf"},         {"../../a", "a"},  {"C:\\x\\a", "a"},   {"", "upload"},       {"/", "upload"},
        {".", "upload"},            {"..", "upload"},  {"a\nb\x1b", "a_b_"}, {"\xff\xfe", "__"},  {"\xc3\xa4", "\xc3\xa4"},
        {"\xc2\x85x", "_x"},       {"\xc0\xaf", "__"}, {"\xed\xa0\x80", "___"}, {"\xe2\x82", "__"}, {"\xf4\x90\x80\x80", "____"},
        {"\xf0\x9f\xa7\xac", "\xf0\x9f\xa7\xac"},
    };
    char out[SQ_HTTP_FILE_NAME_MAX + 1];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sq_http_file_name(rows[i][0], out);
        assert_string_equal(out, rows[i][1]);
    }
    char longer[400];
    memset(longer, 'a', sizeof longer);
    memcpy(longer + 254, "\xc3\xa4", 3); /* would be cut in the middle */
    sq_http_file_name(longer, out);
    assert_int_equal(strlen(out), 254);
}

static void media(void **state)
{
    char b[SQ_HTTP_BOUNDARY_MAX + 1];
    assert_true(sq_http_media_is("application/JSON ; charset=utf-8", "application/json"));
    assert_false(sq_http_media_is("application/json+x", "application/json"));
    assert_false(sq_http_media_is("application/json x", "application/json"));
    assert_false(sq_http_media_is(NULL, "application/json"));
    assert_int_equal(sq_http_boundary("multipart/form-data; boundary=----aB_1", b), SQ_OK);
    assert_string_equal(b, "----aB_1");
    assert_int_equal(sq_http_boundary("Multipart/Form-Data;charset=x; BOUNDARY=\"a b?c\"", b), SQ_OK);
    assert_string_equal(b, "a b?c");
    assert_int_equal(sq_http_boundary("multipart/form-data", b), SQ_EREQUEST);
    assert_int_equal(sq_http_boundary("multipart/form-data; boundary=", b), SQ_EREQUEST);
    assert_int_equal(sq_http_boundary("multipart/form-data; boundary=\"a", b), SQ_EREQUEST);
    assert_int_equal(sq_http_boundary("multipart/form-data; boundary=\"a \"", b), SQ_EREQUEST);
    assert_int_equal(sq_http_boundary("multipart/form-data; boundary=a\x01", b), SQ_EREQUEST);
    assert_int_equal(sq_http_boundary("multipart/mixed; boundary=a", b), SQ_EMEDIA);
}

/* ---- forms ---- */

struct heard {
    char text[65536];
    size_t n;
};

static void hear(struct heard *h, const void *p, size_t n)
{
    assert_true(h->n + n < sizeof h->text);
    memcpy(h->text + h->n, p, n);
    h->n += n;
}

static sq_err on_part(void *ctx, const char *name, const char *file_name)
{
    hear(ctx, "[", 1);
    hear(ctx, name, strlen(name));
    hear(ctx, "|", 1);
    hear(ctx, file_name ? file_name : "-", file_name ? strlen(file_name) : 1);
    hear(ctx, "|", 1);
    return SQ_OK;
}

static sq_err on_data(void *ctx, const uint8_t *p, size_t n)
{
    hear(ctx, p, n);
    return SQ_OK;
}

static sq_err on_part_end(void *ctx)
{
    hear(ctx, "]", 1);
    return SQ_OK;
}

static sq_err parse(const char *text, size_t n, size_t step, struct heard *h)
{
    static const struct sq_multipart_events events = {on_part, on_data, on_part_end};
    struct sq_multipart *m;
    h->n = 0;
    assert_int_equal(sq_multipart_new("xx", &events, h, &m), SQ_OK);
    sq_err e = SQ_OK;
    for (size_t at = 0; at < n && !e; at += step) {
        size_t k = n - at < step ? n - at : step;
        uint8_t *piece = malloc(k); /* its own block: a sanitizer sees a read past it */
        memcpy(piece, text + at, k);
        e = sq_multipart_feed(m, piece, k);
        free(piece);
    }
    if (!e)
        e = sq_multipart_end(m);
    sq_multipart_free(m);
    h->text[h->n] = 0;
    return e;
}

#define HEAD "Content-Disposition: form-data; name=\"f\"; filename=\"n\"\r\n\r\n"

static void forms_in_every_cut(void **state)
{
    static const char body[] = "preamble\r\n--xx  \r\ncontent-disposition:form-data; filename=\"a;b\\\"c\"; name=\"file\"\r\nX: y\r\n\r\n"
                               "\r\n--x\r\n--\r\r\n\r\n--xy--xx\r\n--xx\r\n" HEAD "\r\n--xx\r\n"
                               "Content-Disposition: form-data; name=plain; name=\"q\"\r\n\r\nv\r\n--xx--\r\nepilogue --xx\r\n";
    static const char want[] = "[file|a;b\"c|\r\n--x\r\n--\r\r\n\r\n--xy--xx][f|n|][q|-|v]";
    struct heard *h = malloc(sizeof *h);
    for (size_t step = 1; step < sizeof body; step++) {
        assert_int_equal(parse(body, sizeof body - 1, step, h), SQ_OK);
        assert_string_equal(h->text, want);
    }
    for (size_t n = 0; n < sizeof body - 1; n++) /* every cut before the last `--` is an unfinished form */
        assert_int_equal(parse(body, n, 7, h), n < (size_t)(strstr(body, "xx--\r\nepi") + 4 - body) ? SQ_EREQUEST : SQ_OK);
    free(h);
}

static void bad_forms(void **state)
{
    static const char *const bad[] = {
        "--xx\r\n\r\n\r\n--xx--",
        "--xx\r\nContent-Disposition: attachment; name=\"f\"\r\n\r\n\r\n--xx--",
        "--xx\r\nContent-Disposition: form-data\r\n\r\n\r\n--xx--",
        "--xx\r\nContent-Disposition: form-data; filename=\"f\"\r\n\r\n\r\n--xx--",
        "--xx\r\nContent-Disposition: form-data; name=\"f\r\n\r\n\r\n--xx--",
        "--xx\r\n" "Content-Disposition: form-data; name=\"f\"\r\n" HEAD "\r\n--xx--",
        "--xx\n" HEAD "\r\n--xx--",
        "--xxy\r\n" HEAD "\r\n--xx--",
        "--xx-\r\n" HEAD "\r\n--xx--",
    };
    struct heard *h = malloc(sizeof *h);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(parse(bad[i], strlen(bad[i]), 5, h), SQ_EREQUEST);
    static const char base64[] = "--xx\r\nContent-Transfer-Encoding: base64\r\n" HEAD "\r\n--xx--";
    assert_int_equal(parse(base64, sizeof base64 - 1, 100, h), SQ_EMEDIA);
    free(h);
}

/* ---- JSON ---- */

static void json_is_rewritten(void **state)
{
    struct sq_buf out;
    sq_buf_init(&out, 64);
    static const char text[] = " {\"b\" : [1, true,null, \"\\u00e9\\n\"], \"a\":{} }\n";
    assert_int_equal(sq_http_json_normal(text, sizeof text - 1, &out), SQ_OK);
    assert_int_equal(sq_buf_add(&out, "", 1), SQ_OK);
    assert_string_equal((char *)out.p, "{\"b\":[1,true,null,\"\xc3\xa9\\n\"],\"a\":{}}");
    sq_buf_clear(&out);
    static const char longer[] = "{\"a\":\"0123456789012345678901234567890123456789012345678901234567890123456789\"}";
    assert_int_equal(sq_http_json_normal(longer, sizeof longer - 1, &out), SQ_ETOOBIG);
    static const char *const bad[] = {"", "[]", "1", "{", "{\"a\":1,\"a\":1}", "{} {}", "{\"a\":\"\\u0000\"}", "{\"a\":\"\xff\"}",
                                      "{\"a\":[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}", "{\"\\\\\":[[[[[[[[[[[[[[[[[", "{\"a\":1e999}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sq_buf_clear(&out);
        assert_int_equal(sq_http_json_normal(bad[i], strlen(bad[i]), &out), SQ_EJSON);
    }
    sq_buf_done(&out);
}

/* names twice however they are written, numbers that aren't, encodings that aren't UTF-8, depth to the level */
static void json_that_readers_differ_on(void **state)
{
    struct sq_buf out;
    sq_buf_init(&out, 4096);
    static const struct {
        const char *text;
        size_t n; /* 0: a string */
    } bad[] = {{"{\"a\":1,\"\\u0061\":2}", 0}, {"{\"a\":{\"b\":1,\"b\":2}}", 0}, {"{\"a\":[{\"b\":1,\"\\u0062\":2}]}", 0}, {"{\"a\":01}", 0}, {"{\"a\":+1}", 0}, {"{\"a\":.5}", 0}, {"{\"a\":5.}", 0},
               {"{\"a\":0x10}", 0}, {"{\"a\":Infinity}", 0}, {"{\"a\":-}", 0}, {"{\"a\":99999999999999999999}", 0}, {"{\"a\":-99999999999999999999}", 0}, {"{\"a\":1e}", 0}, {"{\"a\":'b'}", 0},
               {"{a:1}", 0}, {"{\"a\":1,}", 0}, {"{\"a\":[1,]}", 0}, {"{\"a\":1}//", 0}, {"/**/{\"a\":1}", 0}, {"{\"a\":\"\\ud800\"}", 0}, {"{\"a\":\"\\udc00\\ud800\"}", 0}, {"{\"a\":\"\\x41\"}", 0},
               {"{\"a\":\"\t\"}", 0}, {"{\"a\":\"\xc0\xaf\"}", 0}, {"{\"a\":\"\xed\xa0\x80\"}", 0}, {"{\"a\":\"\xf4\x90\x80\x80\"}", 0}, {"\xef\xbb\xbf{}", 0}, {"\xff\xfe{\0}\0", 6}, {"{\0}\0", 4}, {"{}\0", 3},
               {"{\"\\u0000\":1}", 0}, {"{\"a\":tru}", 0}, {"{\"a\":TRUE}", 0}, {"{\"a\" 1}", 0}, {"\v{}", 0}, {"\xc2\xa0{}", 0}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sq_buf_clear(&out);
        sq_err e = sq_http_json_normal(bad[i].text, bad[i].n ? bad[i].n : strlen(bad[i].text), &out);
        if (e != SQ_EJSON)
            fail_msg("%s: %s", bad[i].text, sq_err_name(e));
    }
    char deep[64] = "{\"a\":"; /* the object is a level too */
    for (unsigned n = SQ_HTTP_JSON_DEPTH - 1; n <= SQ_HTTP_JSON_DEPTH; n++) {
        memset(deep + 5, '[', n);
        memset(deep + 5 + n, ']', n);
        deep[5 + 2 * n] = '}';
        sq_buf_clear(&out);
        assert_int_equal(sq_http_json_normal(deep, 6 + 2 * n, &out), n < SQ_HTTP_JSON_DEPTH ? SQ_OK : SQ_EJSON);
    }
    static const char good[] = "{\"a\":9223372036854775807,\"b\":-0,\"c\":\"\\ud83d\\ude00\",\"d\":\"\\\"[[[[[[[[[[[[[[[[[[[[\"}";
    sq_buf_clear(&out);
    assert_int_equal(sq_http_json_normal(good, sizeof good - 1, &out), SQ_OK);
    sq_buf_done(&out);
}

static void forms_become_json(void **state)
{
    static const struct {
        const char *text, *want;
        size_t n;
    } rows[] = {{"", "{}", 0}, {"a=b", "{\"a\":\"b\"}", 0}, {"grant_type=urn%3Aietf%3aparams&device_code=x-1", "{\"grant_type\":\"urn:ietf:params\",\"device_code\":\"x-1\"}", 0}, {"a=&b=+%20%2B", "{\"a\":\"\",\"b\":\"  +\"}", 0},
                {"a=%c3%a9\xc3\xa9%22", "{\"a\":\"\xc3\xa9\xc3\xa9\\\"\"}", 0}, {"a=b=c", "{\"a\":\"b=c\"}", 0},
                {"a", NULL, 0}, {"=b", NULL, 0}, {"a=1&a=2", NULL, 0}, {"a=1&&b=2", NULL, 0}, {"&a=1", NULL, 0}, {"%61=1", NULL, 0}, {"a=%", NULL, 0}, {"a=%4", NULL, 0}, {"a=%4g", NULL, 0}, {"a=%00", NULL, 0},
                {"a=\0", NULL, 3}, {"a=\n", NULL, 0}, {"a=%ff", NULL, 0}, {"a=%c0%af", NULL, 0}, {"a[]=1", NULL, 0}, {"a b=1", NULL, 0}, {"{\"a\":1}", NULL, 0}, {"{\"a\":\"=\"}", NULL, 0}};
    struct sq_buf out;
    sq_buf_init(&out, 4096);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sq_buf_clear(&out);
        sq_err e = sq_http_form_normal(rows[i].text, rows[i].n ? rows[i].n : strlen(rows[i].text), &out);
        if (e != (rows[i].want ? SQ_OK : SQ_EREQUEST))
            fail_msg("%s: %s", rows[i].text, sq_err_name(e));
        if (!rows[i].want)
            continue;
        assert_int_equal(sq_buf_add(&out, "", 1), SQ_OK);
        assert_string_equal((char *)out.p, rows[i].want);
    }
    char many[400] = "";
    for (unsigned i = 0; i <= SQ_HTTP_FORM_FIELDS; i++) {
        sq_buf_clear(&out);
        snprintf(many + strlen(many), sizeof many - strlen(many), "%sf%u=", i ? "&" : "", i);
        assert_int_equal(sq_http_form_normal(many, strlen(many), &out), i < SQ_HTTP_FORM_FIELDS ? SQ_OK : SQ_EREQUEST);
    }
    sq_buf_done(&out);
    static const char *const yes[] = {"application/json", "Application/JSON", "application/json;charset=utf-8", "application/json ; charset=UTF-8", "application/json; charset=\"utf-8\""};
    static const char *const no[] = {"application/json; charset=utf-16", "application/json;", "application/json; charset=utf-8; x=y", "application/json; x=y", "application/jsonx", "text/json", "application/json, text/plain", "application/problem+json"};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        assert_true(sq_http_media_is_text(yes[i], "application/json"));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        assert_false(sq_http_media_is_text(no[i], "application/json"));
    assert_false(sq_http_media_is_text(NULL, "application/json"));
}

static void json_of_errors(void **state)
{
    struct sq_buf out;
    sq_buf_init(&out, 4096);
    assert_int_equal(sq_http_json_error(SQ_EAUTH, NULL, "00ff", &out), SQ_OK);
    assert_int_equal(sq_buf_add(&out, "", 1), SQ_OK);
    assert_non_null(strstr((char *)out.p, "{\"success\":false,\"code\":\"EAUTH\",\"message\":\"sign in first\",\"hint\":"));
    assert_non_null(strstr((char *)out.p, ",\"id\":\"00ff\"}"));
    assert_null(strstr((char *)out.p, "detail"));
    sq_buf_done(&out);
}

int main(void)
{
    sq_http_json_start();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts),      cmocka_unit_test(tokens),     cmocka_unit_test(byte_ranges),
        cmocka_unit_test(tags),       cmocka_unit_test(file_names), cmocka_unit_test(media),
        cmocka_unit_test(forms_in_every_cut), cmocka_unit_test(bad_forms), cmocka_unit_test(json_is_rewritten),
        cmocka_unit_test(json_of_errors), cmocka_unit_test(json_that_readers_differ_on), cmocka_unit_test(forms_become_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
