/* Authenticator codes against the vectors of RFC 6238, appendix B; recovery codes; scopes of tokens. */
#include "lib/identity/identity.h"
#include "lib/identity/totp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t secret[] = "12345678901234567890";

static void rfc_6238(void **state)
{
    (void)state;
    /* the appendix has eight digits; ours are the last six */
    static const struct {
        int64_t at_s;
        const char *code;
    } vectors[] = {{59, "287082"}, {1111111109, "081804"}, {1111111111, "050471"}, {1234567890, "005924"}, {2000000000, "279037"}, {20000000000, "353130"}};
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        uint64_t step = 0, now = (uint64_t)vectors[i].at_s / 30;
        assert_int_equal(sq_totp_check(secret, 20, vectors[i].at_s, 1, 0, vectors[i].code, &step), SQ_OK);
        assert_int_equal(step, now);
        /* one step either way, no further; never the same again */
        assert_int_equal(sq_totp_check(secret, 20, vectors[i].at_s + 30, 1, 0, vectors[i].code, &step), SQ_OK);
        if (vectors[i].at_s > 60)
            assert_int_equal(sq_totp_check(secret, 20, vectors[i].at_s - 30, 1, 0, vectors[i].code, &step), SQ_OK);
        assert_int_equal(sq_totp_check(secret, 20, vectors[i].at_s + 60, 1, 0, vectors[i].code, &step), SQ_ECODE);
        assert_int_equal(sq_totp_check(secret, 20, vectors[i].at_s, 0, 0, vectors[i].code, &step), SQ_OK); /* its own 30 seconds alone */
        assert_int_equal(sq_totp_check(secret, 20, vectors[i].at_s + 30, 0, 0, vectors[i].code, &step), SQ_ECODE);
        assert_int_equal(sq_totp_check(secret, 20, vectors[i].at_s + 30, 2, 0, vectors[i].code, &step), SQ_ECODE); /* no more than one beside */
        assert_int_equal(sq_totp_check(secret, 20, vectors[i].at_s, 1, now, vectors[i].code, &step), SQ_ECODE);
    }
    uint64_t step;
    static const char *const bad[] = {"", "28708", "2870822", "28708a", " 87082", "-87082"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(sq_totp_check(secret, 20, 59, 1, 0, bad[i], &step), SQ_ECODE);
    char base32[SQ_TOTP_BASE32_BYTES];
    sq_totp_base32(secret, 20, base32);
    assert_string_equal(base32, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
}

static void rfc_6238_sha256(void **state)
{
    (void)state;
    static const uint8_t longer[] = "12345678901234567890123456789012";
    static const struct {
        int64_t at_s;
        const char *code;
    } vectors[] = {{59, "119246"}, {1111111109, "084774"}, {1111111111, "062674"}, {1234567890, "819424"}, {2000000000, "698825"}, {20000000000, "737706"}};
    uint64_t step;
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        assert_int_equal(sq_totp_check(longer, 32, vectors[i].at_s, 0, 0, vectors[i].code, &step), SQ_OK);
        assert_int_equal(step, (uint64_t)vectors[i].at_s / 30);
        assert_int_equal(sq_totp_check(secret, 20, vectors[i].at_s, 1, 0, vectors[i].code, &step), SQ_ECODE); /* the other hash gives another code */
    }
    for (size_t n = 0; n <= 32; n++) /* a length says which hash: no other one is let pass */
        if (n != 20 && n != 32)
            assert_int_equal(sq_totp_check(longer, n, 59, 1, 0, "119246", &step), SQ_ECRYPTO);
    char base32[SQ_TOTP_BASE32_BYTES];
    sq_totp_base32(longer, 32, base32);
    assert_string_equal(base32, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA");
}

static void recovery(void **state)
{
    (void)state;
    struct sq_key *key;
    char code[SQ_RECOVERY_CODE_BYTES], other[64];
    uint8_t one[32], two[32], owner[16] = {1};
    assert_int_equal(sq_key_new(&key), SQ_OK);
    assert_int_equal(sq_recovery_make(code), SQ_OK);
    assert_int_equal(strlen(code), 29);
    assert_int_equal(sq_recovery_hash(key, owner, code, one), SQ_OK);
    snprintf(other, sizeof other, " %.4s%.4s %c%.3s %.4s%.10s", code, code + 5, code[10] >= 'a' ? code[10] - 32 : code[10], code + 11, code + 15, code + 19);
    assert_int_equal(sq_recovery_hash(key, owner, other, two), SQ_OK); /* as people type it */
    assert_memory_equal(one, two, 32);
    assert_int_equal(sq_recovery_hash(key, (const uint8_t[16]){2}, code, two), SQ_OK); /* another's */
    assert_memory_not_equal(one, two, 32);
    code[0] = code[0] == 'b' ? 'c' : 'b';
    assert_int_equal(sq_recovery_hash(key, owner, code, two), SQ_OK);
    assert_memory_not_equal(one, two, 32);
    static const char *const bad[] = {"", "abcd", "abcd-efgh-ijkm-npqr", "abcd-efgh-ijkm-npqr-stuv-wxy", "abcd-efgh-ijkm-npqr-stuv-wxyza", "abcd-efgh-ijkm-npqr-stuv-wxy0", "abcd_efgh_ijkm_npqr_stuv_wxyz"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(sq_recovery_hash(key, owner, bad[i], two), SQ_ECODE);
    sq_key_free(key);
}

static void scopes(void **state)
{
    (void)state;
    char scope[SQ_JWT_SCOPE_BYTES];
    struct sq_why why;
    bool is_api;
    unsigned bits;
    static const char *const nets[] = {"192.0.2.0/24", "2001:db8::/32", "198.51.100.7", "0.0.0.0/0", "10.0.0.0/8"};
    assert_int_equal(sq_scope_write(SQ_SCOPE_READ | SQ_SCOPE_RESULTS, nets, 3, scope, &why), SQ_OK);
    assert_string_equal(scope, "api read results net:192.0.2.0-24 net:2001:db8::-32 net:198.51.100.7-32");
    assert_true(sq_scope_read(scope, &is_api, &bits) && is_api && bits == (SQ_SCOPE_READ | SQ_SCOPE_RESULTS));
    assert_true(sq_scope_lets(scope, "192.0.2.200") && sq_scope_lets(scope, "2001:db8:1::5") && sq_scope_lets(scope, "198.51.100.7") && sq_scope_lets(scope, "::ffff:192.0.2.9"));
    assert_false(sq_scope_lets(scope, "192.0.3.1") || sq_scope_lets(scope, "198.51.100.8") || sq_scope_lets(scope, "2001:db9::1") || sq_scope_lets(scope, "") || sq_scope_lets(scope, "x"));
    assert_int_equal(sq_scope_write(SQ_SCOPE_ALL, NULL, 0, scope, &why), SQ_OK);
    assert_true(sq_scope_lets(scope, "203.0.113.5"));
    assert_true(sq_scope_read("session", &is_api, &bits) && !is_api && bits == SQ_SCOPE_ALL);
    assert_false(sq_scope_read("", &is_api, &bits) || sq_scope_read("apix read", &is_api, &bits) || sq_scope_read("sessions", &is_api, &bits));
    assert_int_equal(sq_scope_write(SQ_SCOPE_READ, nets, 5, scope, &why), SQ_EFIELD);
    assert_int_equal(sq_scope_write(0, NULL, 0, scope, &why), SQ_EFIELD);
    assert_int_equal(sq_scope_write(8, NULL, 0, scope, &why), SQ_EFIELD);
    static const char *const bad[] = {"192.0.2.1/24", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/2x", "example.org", "", "2001:db8::/129", "1.2.3", "192.0.2.0/024x", "2001:db8::1/32"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(sq_scope_write(SQ_SCOPE_READ, &bad[i], 1, scope, &why), SQ_EFIELD);
    char list[SQ_CIDR_LIST_BYTES];
    const char *many[SQ_CIDR_LIST_MAX + 1];
    assert_int_equal(sq_cidr_list_write(nets, 3, list, &why), SQ_OK);
    assert_string_equal(list, "192.0.2.0/24,2001:db8::/32,198.51.100.7/32");
    assert_true(sq_cidr_list_holds(list, "192.0.2.200") && sq_cidr_list_holds(list, "2001:db8:1::5") && sq_cidr_list_holds(list, "198.51.100.7") && sq_cidr_list_holds(list, "::ffff:192.0.2.9"));
    assert_false(sq_cidr_list_holds(list, "192.0.3.1") || sq_cidr_list_holds(list, "198.51.100.8") || sq_cidr_list_holds(list, "2001:db9::1") || sq_cidr_list_holds(list, "") || sq_cidr_list_holds(list, "x"));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(sq_cidr_list_write(&bad[i], 1, list, &why), SQ_EFIELD);
    assert_int_equal(sq_cidr_list_write(NULL, 0, list, &why), SQ_OK);
    assert_true(sq_cidr_list_holds(list, "203.0.113.5"));
    for (size_t i = 0; i <= SQ_CIDR_LIST_MAX; i++)
        many[i] = "2001:db8:1111:2222:3333:4444:5555:6666";
    assert_int_equal(sq_cidr_list_write(many, SQ_CIDR_LIST_MAX, list, &why), SQ_OK);
    assert_true(sq_cidr_list_holds(list, many[0]));
    assert_int_equal(sq_cidr_list_write(many, SQ_CIDR_LIST_MAX + 1, list, &why), SQ_EFIELD);
}

int main(void)
{
    if (sq_crypt_start())
        return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(rfc_6238), cmocka_unit_test(rfc_6238_sha256), cmocka_unit_test(recovery), cmocka_unit_test(scopes)};
    return cmocka_run_group_tests_name("identity_totp", tests, NULL, NULL);
}
