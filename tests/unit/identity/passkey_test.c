/* Passkeys: an authenticator of the test's own (keys and signatures by OpenSSL, bytes as WebAuthn's section 6.1 has them), and everything that mustn't pass. */
#include "lib/identity/identity.h"
#include "lib/identity/passkey.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include <cmocka.h>

#define HOST "hub.example.org"
#define CHALLENGE "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define UP 0x01
#define UV 0x04
#define AT 0x40
#define ED 0x80

struct bytes {
    uint8_t p[4096];
    size_t n;
};

struct device {
    int algorithm;
    EVP_PKEY *key;
    struct bytes cose;
};

static struct sq_passkey_site site;

static void add(struct bytes *b, const void *p, size_t n)
{
    assert_true(b->n + n <= sizeof b->p);
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

static void add_text(struct bytes *b, const char *s)
{
    add(b, s, strlen(s));
}

static struct sq_span span(const struct bytes *b)
{
    return sq_span_of(b->p, b->n);
}

/* the key as COSE has it (RFC 9053) */
static void make_device(struct device *d, int algorithm)
{
    *d = (struct device){.algorithm = algorithm};
    size_t n = 0;
    if (algorithm == SQ_PASSKEY_ES256) {
        uint8_t point[65];
        d->key = EVP_EC_gen("P-256");
        assert_int_equal(EVP_PKEY_get_octet_string_param(d->key, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof point, &n), 1);
        assert_int_equal(n, 65);
        add(&d->cose, "\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20", 10);
        add(&d->cose, point + 1, 32);
        add(&d->cose, "\x22\x58\x20", 3);
        add(&d->cose, point + 33, 32);
    } else if (algorithm == SQ_PASSKEY_EDDSA) {
        uint8_t x[32];
        n = sizeof x;
        d->key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
        assert_int_equal(EVP_PKEY_get_raw_public_key(d->key, x, &n), 1);
        add(&d->cose, "\xa4\x01\x01\x03\x27\x20\x06\x21\x58\x20", 10);
        add(&d->cose, x, 32);
    } else {
        uint8_t modulus[256];
        BIGNUM *bn = NULL;
        d->key = EVP_RSA_gen(2048);
        assert_int_equal(EVP_PKEY_get_bn_param(d->key, OSSL_PKEY_PARAM_RSA_N, &bn), 1);
        assert_int_equal(BN_bn2binpad(bn, modulus, sizeof modulus), 256);
        BN_free(bn);
        add(&d->cose, "\xa4\x01\x03\x03\x39\x01\x00\x20\x59\x01\x00", 11);
        add(&d->cose, modulus, sizeof modulus);
        add(&d->cose, "\x21\x43\x01\x00\x01", 5);
    }
    assert_non_null(d->key);
}

static void auth_data(struct bytes *out, const char *rp, uint8_t flags, uint32_t counter, const struct bytes *cose, size_t n_id)
{
    uint8_t sum[32], number[4], id[1100];
    out->n = 0;
    assert_int_equal(sq_sha256_of(rp, strlen(rp), sum), SQ_OK);
    add(out, sum, sizeof sum);
    add(out, &flags, 1);
    sq_put_be32(number, counter);
    add(out, number, 4);
    if (!cose)
        return;
    memset(id, 0x5a, sizeof id);
    add(out, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
    add(out, (uint8_t[]){(uint8_t)(n_id >> 8), (uint8_t)n_id}, 2);
    add(out, id, n_id);
    add(out, cose->p, cose->n);
}

static void client_data(struct bytes *out, const char *type, const char *origin, const char *more)
{
    char text[1024];
    snprintf(text, sizeof text, "{\"type\":\"%s\",\"challenge\":\"" CHALLENGE "\",\"origin\":\"%s\"%s}", type, origin, more);
    out->n = 0;
    add_text(out, text);
}

static void sign(const struct device *d, const struct bytes *auth, const struct bytes *client, struct bytes *out)
{
    struct bytes both = {.n = 0};
    uint8_t sum[32];
    size_t n = sizeof out->p;
    assert_int_equal(sq_sha256_of(client->p, client->n, sum), SQ_OK);
    add(&both, auth->p, auth->n);
    add(&both, sum, sizeof sum);
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(ctx, NULL, d->algorithm == SQ_PASSKEY_EDDSA ? NULL : EVP_sha256(), NULL, d->key), 1);
    assert_int_equal(EVP_DigestSign(ctx, out->p, &n, both.p, both.n), 1);
    out->n = n;
    EVP_MD_CTX_free(ctx);
}

/* ---- */

static void sites(void **state)
{
    (void)state;
    struct sq_passkey_site s;
    static const char *const good[][3] = {{"https://hub.example.org", "https://hub.example.org", "hub.example.org"},
                                          {"https://Hub.Example.ORG/", "https://hub.example.org", "hub.example.org"},
                                          {"https://hub.example.org:443/x", "https://hub.example.org", "hub.example.org"},
                                          {"https://localhost:8443", "https://localhost:8443", "localhost"},
                                          {"https://h1:8443/a?b#c", "https://h1:8443", "h1"}};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(sq_passkey_site(good[i][0], &s), SQ_OK);
        assert_string_equal(s.origin, good[i][1]);
        assert_string_equal(s.rp_id, good[i][2]);
    }
    static const char *const bad[] = {"", "http://hub.example.org", "https://", "https:///x", "https://127.0.0.1", "https://127.0.0.1:8443", "https://[::1]:8443", "https://user@hub.example.org",
                                      "https://hub.example.org:", "https://hub.example.org:x", "https://hub.example.org:84433333", "https://hub_example", "https://.x", "https://x.", "https://-x",
                                      "https://h\xc3\xbcg.example"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(sq_passkey_site(bad[i], &s), SQ_ECONFIG);
    assert_int_equal(sq_passkey_site(NULL, &s), SQ_ECONFIG);
    char longest[400] = "https://";
    memset(longest + 8, 'a', 300);
    assert_int_equal(sq_passkey_site(longest, &s), SQ_ECONFIG);
}

static void clients(void **state)
{
    (void)state;
    struct bytes c;
    uint8_t challenge[32];
    client_data(&c, "webauthn.get", site.origin, "");
    assert_int_equal(sq_passkey_client(&site, "webauthn.get", span(&c)), SQ_OK);
    assert_int_equal(sq_passkey_answers(span(&c), challenge), SQ_OK);
    for (uint8_t i = 0; i < 32; i++)
        assert_int_equal(challenge[i], i);
    assert_int_equal(sq_passkey_client(&site, "webauthn.create", span(&c)), SQ_EPASSKEY);
    client_data(&c, "webauthn.get", site.origin, ",\"crossOrigin\":false,\"other_keys_can_be_added_here\":{\"a\":[1]}");
    assert_int_equal(sq_passkey_client(&site, "webauthn.get", span(&c)), SQ_OK);
    static const char *const more[] = {",\"crossOrigin\":true", ",\"crossOrigin\":null", ",\"crossOrigin\":0", ",\"topOrigin\":\"https://evil.example\"", ",\"type\":\"webauthn.get\"", ",}"};
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        client_data(&c, "webauthn.get", site.origin, more[i]);
        assert_int_equal(sq_passkey_client(&site, "webauthn.get", span(&c)), SQ_EPASSKEY);
    }
    static const char *const origin[] = {"https://evil.example", "https://" HOST ":8443", "http://" HOST, "https://" HOST "/", "https://" HOST ".evil.example", "https://x." HOST, "", "null",
                                         "https://" HOST "\\u0000"};
    for (size_t i = 0; i < sizeof origin / sizeof origin[0]; i++) {
        client_data(&c, "webauthn.get", origin[i], "");
        assert_int_equal(sq_passkey_client(&site, "webauthn.get", span(&c)), SQ_EPASSKEY);
    }
    static const char *const whole[] = {"", "{}", "[]", "null", "{\"challenge\":1}", "{\"challenge\":\"AAEC\"}", "{\"challenge\":\"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh+\"}",
                                        "{\"challenge\":[\"" CHALLENGE "\"]}", "{\"challenge\":\"" CHALLENGE "=\"}", "{\"challenge\":\"" CHALLENGE "\",\"challenge\":\"" CHALLENGE "\"}",
                                        "{\"type\":[\"webauthn.get\"],\"origin\":\"https://" HOST "\"}", "\xff\xfe{}"};
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        assert_int_equal(sq_passkey_answers(sq_span_str(whole[i]), challenge), SQ_EPASSKEY);
        assert_int_equal(sq_passkey_client(&site, "webauthn.get", sq_span_str(whole[i])), SQ_EPASSKEY);
    }
    struct bytes big = {.n = 0};
    client_data(&c, "webauthn.get", site.origin, "");
    add(&big, c.p, c.n);
    for (size_t i = 0; i < 500; i++)
        add(&big, "    ", 4);
    assert_int_equal(sq_passkey_answers(span(&big), challenge), SQ_EPASSKEY);
    assert_int_equal(sq_passkey_client(&site, "webauthn.get", span(&big)), SQ_EPASSKEY); /* 2,048 bytes at most */
}

static const int algorithms[] = {SQ_PASSKEY_ES256, SQ_PASSKEY_EDDSA, SQ_PASSKEY_RS256};

static void taken_and_used(void **state)
{
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        struct device d;
        struct bytes auth, client, sig;
        struct sq_passkey key, back;
        uint8_t packed[SQ_PASSKEY_PACKED_MAX_BYTES];
        uint32_t counter = 0;
        make_device(&d, algorithms[i]);
        auth_data(&auth, HOST, UP | UV | AT, 7, &d.cose, 32);
        assert_int_equal(sq_passkey_take(&site, span(&auth), &key), SQ_OK);
        assert_int_equal(key.algorithm, algorithms[i]);
        assert_int_equal(key.n_id, 32);
        assert_int_equal(key.id[31], 0x5a);
        assert_int_equal(key.counter, 7);
        assert_true(key.is_verified);
        size_t n = sq_passkey_pack(&key, packed);
        assert_int_equal(sq_passkey_unpack(packed, n, &back), SQ_OK);

        client_data(&client, "webauthn.get", site.origin, "");
        auth_data(&auth, HOST, UP | UV, 8, NULL, 0);
        sign(&d, &auth, &client, &sig);
        assert_int_equal(sq_passkey_check(&site, &back, span(&client), span(&auth), span(&sig), true, &counter), SQ_OK);
        assert_int_equal(counter, 8);
        /* every bit counts: of what is signed, of the client's data, of the signature */
        struct bytes *part[] = {&auth, &client, &sig};
        for (size_t k = 0; k < 3; k++)
            for (size_t at = 0; at < part[k]->n; at += k == 2 ? 1 : 3) {
                part[k]->p[at] ^= 0x10;
                assert_int_equal(sq_passkey_check(&site, &back, span(&client), span(&auth), span(&sig), true, &counter), SQ_EPASSKEY);
                part[k]->p[at] ^= 0x10;
                size_t whole = part[k]->n;
                part[k]->n = at;
                assert_int_equal(sq_passkey_check(&site, &back, span(&client), span(&auth), span(&sig), true, &counter), SQ_EPASSKEY);
                part[k]->n = whole;
            }
        assert_int_equal(counter, 8);
        /* present, not verified */
        auth_data(&auth, HOST, UP, 9, NULL, 0);
        sign(&d, &auth, &client, &sig);
        assert_int_equal(sq_passkey_check(&site, &back, span(&client), span(&auth), span(&sig), false, &counter), SQ_OK);
        assert_int_equal(sq_passkey_check(&site, &back, span(&client), span(&auth), span(&sig), true, &counter), SQ_EPASSKEY);
        /* verified, not present; of another site */
        auth_data(&auth, HOST, UV, 9, NULL, 0);
        sign(&d, &auth, &client, &sig);
        assert_int_equal(sq_passkey_check(&site, &back, span(&client), span(&auth), span(&sig), false, &counter), SQ_EPASSKEY);
        auth_data(&auth, "evil.example", UP | UV, 9, NULL, 0);
        sign(&d, &auth, &client, &sig);
        assert_int_equal(sq_passkey_check(&site, &back, span(&client), span(&auth), span(&sig), false, &counter), SQ_EPASSKEY);
        /* another one's key, and the right one under another algorithm's name */
        struct device other;
        make_device(&other, algorithms[i]);
        auth_data(&auth, HOST, UP | UV, 9, NULL, 0);
        sign(&other, &auth, &client, &sig);
        assert_int_equal(sq_passkey_check(&site, &back, span(&client), span(&auth), span(&sig), false, &counter), SQ_EPASSKEY);
        sign(&d, &auth, &client, &sig);
        for (size_t k = 0; k < 3; k++) {
            back.algorithm = algorithms[k];
            assert_int_equal(sq_passkey_check(&site, &back, span(&client), span(&auth), span(&sig), false, &counter), k == i ? SQ_OK : SQ_EPASSKEY);
        }
        back.algorithm = 0;
        assert_int_equal(sq_passkey_check(&site, &back, span(&client), span(&auth), span(&sig), false, &counter), SQ_EPASSKEY);
        EVP_PKEY_free(d.key);
        EVP_PKEY_free(other.key);
    }
}

static void not_taken(void **state)
{
    (void)state;
    struct device d;
    struct bytes auth;
    struct sq_passkey key;
    make_device(&d, SQ_PASSKEY_ES256);
    auth_data(&auth, "evil.example", UP | UV | AT, 0, &d.cose, 32);
    assert_int_equal(sq_passkey_take(&site, span(&auth), &key), SQ_EPASSKEY);
    auth_data(&auth, HOST, UV | AT, 0, &d.cose, 32); /* nobody was there */
    assert_int_equal(sq_passkey_take(&site, span(&auth), &key), SQ_EPASSKEY);
    auth_data(&auth, HOST, UP | UV, 0, &d.cose, 32); /* says that it holds no key */
    assert_int_equal(sq_passkey_take(&site, span(&auth), &key), SQ_EPASSKEY);
    auth_data(&auth, HOST, UP | AT, 0, NULL, 0);
    assert_int_equal(sq_passkey_take(&site, span(&auth), &key), SQ_EPASSKEY);
    auth_data(&auth, HOST, UP | AT, 0, &d.cose, 0);
    assert_int_equal(sq_passkey_take(&site, span(&auth), &key), SQ_EPASSKEY);
    auth_data(&auth, HOST, UP | AT, 0, &d.cose, SQ_PASSKEY_ID_MAX_BYTES);
    assert_int_equal(sq_passkey_take(&site, span(&auth), &key), SQ_OK);
    auth_data(&auth, HOST, UP | AT, 0, &d.cose, SQ_PASSKEY_ID_MAX_BYTES + 1);
    assert_int_equal(sq_passkey_take(&site, span(&auth), &key), SQ_EPASSKEY);
    auth_data(&auth, HOST, UP | AT, 0, &d.cose, 32);
    assert_int_equal(sq_passkey_take(&site, span(&auth), &key), SQ_OK);
    assert_false(key.is_verified);
    for (size_t n = 0; n < auth.n; n++) /* cut anywhere */
        assert_int_equal(sq_passkey_take(&site, sq_span_of(auth.p, n), &key), SQ_EPASSKEY);
    /* COSE of other kinds: ES384, a curve that isn't P-256, a point off the curve, nested garbage, lengths that lie */
    static const struct {
        size_t at;
        uint8_t value;
    } change[] = {{0, 0xa4}, {0, 0xbf}, {0, 0x83}, {2, 0x01}, {4, 0x38}, {4, 0x27}, {6, 0x02}, {8, 0x5b}, {8, 0x9f}, {9, 0x1f}, {9, 0xff}, {12, 0xee}, {42, 0x58}, {43, 0x78}};
    for (size_t i = 0; i < sizeof change / sizeof change[0]; i++) {
        struct bytes cose = d.cose;
        assert_int_not_equal(cose.p[change[i].at], change[i].value);
        cose.p[change[i].at] = change[i].value;
        auth_data(&auth, HOST, UP | AT, 0, &cose, 32);
        if (sq_passkey_take(&site, span(&auth), &key) != SQ_EPASSKEY)
            fail_msg("byte %zu of the key as %02x was taken", change[i].at, change[i].value);
    }
    struct bytes deep = {.n = 0};
    for (size_t i = 0; i < 1500; i++)
        add(&deep, "\x81", 1);
    auth_data(&auth, HOST, UP | AT, 0, &deep, 32);
    assert_int_equal(sq_passkey_take(&site, span(&auth), &key), SQ_EPASSKEY);
    uint8_t packed[SQ_PASSKEY_PACKED_MAX_BYTES + 1] = {0};
    assert_int_equal(sq_passkey_unpack(packed, 4, &key), SQ_ETAMPERED);
    assert_int_equal(sq_passkey_unpack(packed, sizeof packed, &key), SQ_ETAMPERED);
    EVP_PKEY_free(d.key);
}

/* Address space that this process ever had, in MiB. */
static long peak_mib(void)
{
    char line[256];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) && sscanf(line, "VmPeak: %ld kB", &kib) != 1)
        ;
    fclose(f);
    assert_true(kib > 0);
    return kib / 1024;
}

/* What a header promises is held against what is there, before anything makes room for it. */
static void promises(void **state)
{
    (void)state;
    static const struct {
        const char *what, *bytes;
        size_t n;
    } lie[] = {
        {"map of 67 million", "\xba\x04\0\0\0\x01\x02", 7},
        {"map of 2^63", "\xbb\x80\0\0\0\0\0\0\0\x01\x02", 11},
        {"map of 2^64 - 1", "\xbb\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02", 11},
        {"list of 134 million", "\x9a\x08\0\0\0\x01\x02", 7},
        {"bytes, a gigabyte of them", "\x5a\x40\0\0\0\x01\x02", 7},
        {"text, a gigabyte of it", "\x7a\x40\0\0\0\x01\x02", 7},
        {"a map within a map", "\xa1\x01\xba\x04\0\0\0\x01\x02", 9},
        {"three pairs promised, two there", "\xa3\x01\x02\x03\x04", 5},
        {"without an end", "\xbf\x01\x02\xff", 4},
        {"bytes in pieces", "\x5f\x41\x01\xff", 4},
        {"a tag", "\xc1\xa1\x01\x02", 4},
        {"five levels", "\xa1\x01\xa1\x01\xa1\x01\xa1\x01\xa1\x01\x02", 11},
        {"something behind", "\xa1\x01\x02\x03", 4},
        {"nothing", "", 0},
    };
    struct bytes auth, client;
    struct sq_passkey key;
    uint32_t counter = 0;
    struct device d;
    make_device(&d, SQ_PASSKEY_ES256);
    auth_data(&auth, HOST, UP | UV | AT, 7, &d.cose, 32);
    assert_int_equal(sq_passkey_take(&site, span(&auth), &key), SQ_OK);
    client_data(&client, "webauthn.get", site.origin, "");
    long before = peak_mib();
    for (size_t i = 0; i < sizeof lie / sizeof lie[0]; i++) {
        struct bytes cose = {.n = 0}, used;
        struct sq_passkey other;
        add(&cose, lie[i].bytes, lie[i].n);
        auth_data(&auth, HOST, UP | UV | AT, 0, &cose, 32);
        if (sq_passkey_take(&site, span(&auth), &other) != SQ_EPASSKEY)
            fail_msg("a key: %s was taken", lie[i].what);
        cose = d.cose;
        add(&cose, lie[i].bytes, lie[i].n);
        auth_data(&auth, HOST, UP | UV | AT | ED, 0, &cose, 32);
        if (sq_passkey_take(&site, span(&auth), &other) != SQ_EPASSKEY)
            fail_msg("extensions of a new one: %s was taken", lie[i].what);
        auth_data(&used, HOST, UP | UV | ED, 0, NULL, 0);
        add(&used, lie[i].bytes, lie[i].n);
        struct bytes sig;
        sign(&d, &used, &client, &sig); /* signed by its owner: so it is the walk that refuses */
        if (sq_passkey_check(&site, &key, span(&client), span(&used), span(&sig), true, &counter) != SQ_EPASSKEY)
            fail_msg("extensions of a used one: %s was taken", lie[i].what);
    }
    assert_true(peak_mib() - before < 64);
    /* extensions that keep their promise */
    struct bytes with = d.cose;
    add(&with, "\xa1\x6b" "credProtect\x02", 14);
    auth_data(&auth, HOST, UP | UV | AT | ED, 0, &with, 32);
    assert_int_equal(sq_passkey_take(&site, span(&auth), &key), SQ_OK);
    EVP_PKEY_free(d.key);
}

int main(void)
{
    if (sq_crypt_start() || sq_identity_start() || sq_passkey_site("https://" HOST, &site))
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(sites), cmocka_unit_test(clients), cmocka_unit_test(taken_and_used), cmocka_unit_test(not_taken), cmocka_unit_test(promises)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
