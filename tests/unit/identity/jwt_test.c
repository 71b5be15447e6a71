/* Tokens: ours are good, everything else is refused. The attacks sign with the right key wherever an attacker could not. */
#include "lib/crypt/crypt.h"
#include "lib/identity/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOW 1800000000
#define ORIGIN "test.example/log"

static struct sq_key *ours, *theirs;
static uint8_t public_key[65], their_public[65];
static char kid[17], token[2049];

static const struct sq_jwt_claims good = {.sub = {1, 2}, .jti = {3}, .role = "user", .scope = "jobs results", .epoch = 7,
                                          .issued_s = NOW, .expires_s = NOW + 3600};

static void ok(sq_err err)
{
    assert_int_equal(err, SQ_OK);
}

static void make(const struct sq_jwt_claims *c)
{
    struct sq_buf b;
    sq_buf_init(&b, 4096);
    ok(sq_jwt_make(ours, ORIGIN, c, &b));
    memcpy(token, b.p, b.n);
    token[b.n] = 0;
    sq_buf_done(&b);
}

static sq_err verify(const char *text, int64_t now_s)
{
    struct sq_jwt_claims out;
    return sq_jwt_verify(public_key, ORIGIN, sq_span_str(text), now_s, &out);
}

/* header and claims as given, signed with @key: what somebody with that key could make */
static const char *forge(const struct sq_key *key, const char *header, const char *claims)
{
    static char text[16384];
    uint8_t sig[64];
    struct sq_buf b;
    sq_buf_init(&b, sizeof text - 1);
    ok(sq_base64(header, strlen(header), true, &b));
    ok(sq_buf_add(&b, ".", 1));
    ok(sq_base64(claims, strlen(claims), true, &b));
    ok(sq_es256_sign(key, b.p, b.n, sig));
    ok(sq_buf_add(&b, ".", 1));
    ok(sq_base64(sig, sizeof sig, true, &b));
    memcpy(text, b.p, b.n);
    text[b.n] = 0;
    sq_buf_done(&b);
    return text;
}

static const char *our_header(void)
{
    static char json[100];
    snprintf(json, sizeof json, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"}", kid);
    return json;
}

#define SUB "01020000000000000000000000000000"
#define JTI "03000000000000000000000000000000"
#define CLAIMS(aud, exp, iat, iss, tail)                                                                        \
    "{\"aud\":\"" aud "\",\"epoch\":7,\"exp\":" exp ",\"iat\":" iat ",\"iss\":\"" iss "\",\"jti\":\"" JTI "\"," \
    "\"role\":\"user\",\"scope\":\"jobs results\",\"sub\":\"" SUB "\"" tail "}"
#define GOOD CLAIMS("sequester", "1800003600", "1800000000", ORIGIN, "")

/* found by tests/fuzz/fuzz_jwt.c: an empty buffer has no address, and adding to NULL is undefined (UBSan stops there) */
static void test_no_bytes_at_all(void **state)
{
    (void)state;
    struct sq_jwt_claims out;
    assert_int_equal(sq_jwt_verify(public_key, ORIGIN, (struct sq_span){NULL, 0}, NOW, &out), SQ_EAUTH);
    assert_int_equal(verify("", NOW), SQ_EAUTH);
}

static void test_round_trip(void **state)
{
    (void)state;
    struct sq_jwt_claims out;
    make(&good);
    assert_null(strchr(token, '='));
    ok(sq_jwt_verify(public_key, ORIGIN, sq_span_str(token), NOW + 1, &out));
    assert_memory_equal(out.sub, good.sub, 16);
    assert_memory_equal(out.jti, good.jti, 16);
    assert_string_equal(out.role, "user");
    assert_string_equal(out.scope, "jobs results");
    assert_int_equal(out.epoch, 7);
    assert_int_equal(out.issued_s, NOW);
    assert_int_equal(out.expires_s, NOW + 3600);
    ok(verify(forge(ours, our_header(), GOOD), NOW)); /* so the forger below is right but for what each attack changes */
}

static void test_times(void **state)
{
    (void)state;
    make(&good);
    ok(verify(token, NOW + 3599));
    assert_int_equal(verify(token, NOW + 3600), SQ_EAUTH);
    ok(verify(token, NOW - 60));
    assert_int_equal(verify(token, NOW - 61), SQ_EAUTH);
    assert_int_equal(verify(forge(ours, our_header(), CLAIMS("sequester", "1800000000", "1800000000", ORIGIN, "")), NOW - 1), SQ_EAUTH);
    assert_int_equal(verify(forge(ours, our_header(), CLAIMS("sequester", "1900000000", "1800000000", ORIGIN, "")), NOW), SQ_EAUTH);
}

static void test_algorithms(void **state)
{
    (void)state;
    char text[2049], header[200];
    const char *const none[] = {"{\"alg\":\"none\"}", "{\"alg\":\"none\",\"typ\":\"JWT\"}", "{\"alg\":\"NONE\",\"kid\":\"%s\",\"typ\":\"JWT\"}"};
    for (size_t i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "%s", forge(ours, none[i], GOOD));
        assert_int_equal(verify(text, NOW), SQ_EAUTH);
        *(strrchr(text, '.') + 1) = 0; /* without any signature */
        assert_int_equal(verify(text, NOW), SQ_EAUTH);
    }
    /* HS256 with our public key as the secret: key confusion */
    struct sq_buf b;
    struct sq_key *secret;
    uint8_t mac[32];
    snprintf(header, sizeof header, "{\"alg\":\"HS256\",\"kid\":\"%s\",\"typ\":\"JWT\"}", kid);
    sq_buf_init(&b, 2048);
    ok(sq_base64(header, strlen(header), true, &b));
    ok(sq_buf_add(&b, ".", 1));
    ok(sq_base64(GOOD, strlen(GOOD), true, &b));
    ok(sq_key_from(public_key + 1, &secret));
    ok(sq_hmac_sha256(secret, b.p, b.n, mac));
    sq_key_free(secret);
    ok(sq_buf_add(&b, ".", 1));
    ok(sq_base64(mac, sizeof mac, true, &b));
    ok(sq_buf_add(&b, "", 1));
    assert_int_equal(verify((const char *)b.p, NOW), SQ_EAUTH);
    sq_buf_done(&b);
    const char *const others[] = {"ES384", "ES256K", "RS256", "PS256", "EdDSA", "es256", ""};
    for (size_t i = 0; i < 7; i++) {
        snprintf(header, sizeof header, "{\"alg\":\"%s\",\"kid\":\"%s\",\"typ\":\"JWT\"}", others[i], kid);
        assert_int_equal(verify(forge(ours, header, GOOD), NOW), SQ_EAUTH);
    }
}

static void test_headers(void **state)
{
    (void)state;
    char header[400];
    assert_int_equal(verify(forge(theirs, our_header(), GOOD), NOW), SQ_EAUTH); /* wrong key, our kid */
    const char *const format[] = {
        "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"jwt\"}",
        "{\"alg\":\"ES256\",\"kid\":\"../../dev/null\",\"typ\":\"JWT\"}",
        "{\"alg\":\"ES256\",\"kid\":\"%s' OR 1=1 --\",\"typ\":\"JWT\"}",
        "{\"alg\":\"ES256\",\"typ\":\"JWT\"}",
        "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\",\"jku\":\"https://example.org/k\"}",
        "{\"alg\":\"ES256\",\"crit\":[\"exp\"],\"kid\":\"%s\",\"typ\":\"JWT\"}",
        "{\"alg\":\"ES256\",\"b64\":false,\"kid\":\"%s\",\"typ\":\"JWT\"}",
        "{\"alg\":\"none\",\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"}",
        "{\"alg\": \"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"}",
        "{\"typ\":\"JWT\",\"alg\":\"ES256\",\"kid\":\"%s\"}",
    };
    for (size_t i = 0; i < sizeof format / sizeof format[0]; i++) {
        const char *at = strstr(format[i], "%s");
        if (at)
            snprintf(header, sizeof header, "%.*s%s%s", (int)(at - format[i]), format[i], kid, at + 2);
        else
            snprintf(header, sizeof header, "%s", format[i]);
        assert_int_equal(verify(forge(ours, header, GOOD), NOW), SQ_EAUTH);
        assert_int_equal(verify(forge(theirs, header, GOOD), NOW), SQ_EAUTH);
    }
    char their_kid[17];
    ok(sq_jwt_kid(their_public, their_kid));
    snprintf(header, sizeof header, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"}", their_kid);
    assert_int_equal(verify(forge(theirs, header, GOOD), NOW), SQ_EAUTH);
}

static void test_claims(void **state)
{
    (void)state;
    const char *const bad[] = {
        CLAIMS("other", "1800003600", "1800000000", ORIGIN, ""),
        CLAIMS("sequester", "1800003600", "1800000000", "other.example/log", ""),
        CLAIMS("sequester", "1800003600", "1800000000", ORIGIN, ",\"zzz\":1"),
        CLAIMS("sequester", "1800003600", "1800000000", ORIGIN, ",\"sub\":\"" SUB "\""),
        CLAIMS("sequester", "1800003600", "1800000000", ORIGIN, " "),
        " " GOOD,
        GOOD "\n",
        GOOD "{}",
        "[" GOOD "]",
        "{}",
        "null",
        "",
        CLAIMS("sequester", "1800003600.0", "1800000000", ORIGIN, ""),
        CLAIMS("sequester", "\"1800003600\"", "1800000000", ORIGIN, ""),
        CLAIMS("sequester", "-1", "1800000000", ORIGIN, ""),
        CLAIMS("sequester", "99999999999999999999999", "1800000000", ORIGIN, ""),
        CLAIMS("sequester", "1800003600", "null", ORIGIN, ""),
        CLAIMS("seq\\u0075ester", "1800003600", "1800000000", ORIGIN, ""),
        CLAIMS("sequester\\u0000", "1800003600", "1800000000", ORIGIN, ""),
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(verify(forge(ours, our_header(), bad[i]), NOW), SQ_EAUTH);
}

static void test_spelling(void **state)
{
    (void)state;
    char text[4200];
    struct sq_jwt_claims out;
    make(&good);
    size_t n = strlen(token);
    for (size_t cut = 0; cut < n; cut++) /* truncated anywhere */
        assert_int_equal(sq_jwt_verify(public_key, ORIGIN, sq_span_of(token, cut), NOW, &out), SQ_EAUTH);
    const char *const around[] = {" %s", "%s ", "%s\n", "%s.", ".%s", "%s.AAAA", "%s=", "%s==", "%sA", "Bearer %s", "%s\xc2\xa0"};
    for (size_t i = 0; i < sizeof around / sizeof around[0]; i++) {
        const char *at = strstr(around[i], "%s");
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - around[i]), around[i], token, at + 2);
        assert_int_equal(verify(text, NOW), SQ_EAUTH);
    }
    for (size_t i = 0; i < n; i++) { /* any one character changed */
        memcpy(text, token, n + 1);
        text[i] = text[i] == 'A' ? 'B' : 'A';
        assert_int_equal(verify(text, NOW), SQ_EAUTH);
    }
    const char *const empty[] = {"", ".", "..", "...", "a.b.c", "a..c"};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(verify(empty[i], NOW), SQ_EAUTH);
    memset(text, 'A', sizeof text); /* huge */
    text[100] = text[200] = '.';
    text[sizeof text - 1] = 0;
    assert_int_equal(verify(text, NOW), SQ_EAUTH);
}

static void test_make_refuses(void **state)
{
    (void)state;
    struct sq_buf b;
    sq_buf_init(&b, 4096);
    const char *const scopes[] = {"a\"b", "a\\b", " a", "a ", "a  b", "A", "\xc3\xa4"};
    for (size_t i = 0; i < 7; i++) {
        struct sq_jwt_claims c = good;
        snprintf(c.scope, sizeof c.scope, "%s", scopes[i]);
        assert_int_equal(sq_jwt_make(ours, ORIGIN, &c, &b), SQ_ERANGE);
    }
    struct sq_jwt_claims c = good;
    c.role[0] = 0;
    assert_int_equal(sq_jwt_make(ours, ORIGIN, &c, &b), SQ_ERANGE);
    c = good;
    c.expires_s = c.issued_s;
    assert_int_equal(sq_jwt_make(ours, ORIGIN, &c, &b), SQ_ERANGE);
    c.expires_s = c.issued_s + SQ_JWT_MAX_LIFE_S + 1;
    assert_int_equal(sq_jwt_make(ours, ORIGIN, &c, &b), SQ_ERANGE);
    assert_int_equal(sq_jwt_make(ours, "a\"b", &good, &b), SQ_ERANGE);
    assert_int_equal(b.n, 0);
    c = good;
    c.scope[0] = 0;
    ok(sq_jwt_make(ours, ORIGIN, &c, &b));
    sq_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_no_bytes_at_all),
        cmocka_unit_test(test_times),      cmocka_unit_test(test_algorithms),
        cmocka_unit_test(test_headers),    cmocka_unit_test(test_claims),   cmocka_unit_test(test_spelling),
        cmocka_unit_test(test_make_refuses),
    };
    ok(sq_crypt_start());
    ok(sq_identity_start());
    ok(sq_es256_new(&ours));
    ok(sq_es256_new(&theirs));
    ok(sq_es256_public(ours, public_key));
    ok(sq_es256_public(theirs, their_public));
    ok(sq_jwt_kid(public_key, kid));
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    sq_key_free(ours);
    sq_key_free(theirs);
    return failed;
}
