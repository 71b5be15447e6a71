/* lib/crypt against published vectors, and against tampering. */
#include "lib/crypt/crypt_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static size_t unhex(const char *hex, uint8_t *out)
{
    size_t n = strlen(hex) / 2;
    assert_int_equal(sq_hex_decode(hex, strlen(hex), out, n), SQ_OK);
    return n;
}

static void assert_hex(const uint8_t *p, const char *hex)
{
    uint8_t want[256];
    size_t n = unhex(hex, want);
    assert_memory_equal(p, want, n);
}

static void gcm_nist(void **state)
{
    static const struct {
        const char *key, *nonce, *aad, *plain, *sealed;
    } v[] = {
        {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "", "",
         "530f8afbc74536b9a963b4f1c4cb738b"}, /* The Galois/Counter Mode of Operation, test cases 13, 14, 16 */
        {"0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
         "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
        {"feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
         "feedfacedeadbeeffeedfacedeadbeefabaddad2",
         "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de6"
         "57ba637b39",
         "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a"
         "0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"},
    };
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        uint8_t key[32], nonce[12], aad[32], plain[64], sealed[96], out[96];
        size_t n_aad = unhex(v[i].aad, aad), n = unhex(v[i].plain, plain), n_sealed = unhex(v[i].sealed, sealed);
        unhex(v[i].key, key);
        unhex(v[i].nonce, nonce);
        struct sq_gcm *g = NULL;
        assert_int_equal(sq_gcm_new(key, &g), SQ_OK);
        assert_int_equal(sq_gcm_seal(g, nonce, aad, n_aad, plain, n, out), SQ_OK);
        assert_memory_equal(out, sealed, n_sealed);
        assert_int_equal(sq_gcm_open(g, nonce, aad, n_aad, out, n_sealed, out), SQ_OK); /* in place */
        assert_memory_equal(out, plain, n);
        for (size_t at = 0; at < n_sealed; at++) { /* every byte counts; and the plaintext is never left behind */
            uint8_t bad[96], opened[96];
            memcpy(bad, sealed, n_sealed);
            bad[at] ^= 1;
            memset(opened, 0x55, sizeof opened);
            assert_int_equal(sq_gcm_open(g, nonce, aad, n_aad, bad, n_sealed, opened), SQ_ETAMPERED);
            for (size_t k = 0; k < n; k++)
                assert_int_equal(opened[k], 0);
        }
        assert_int_equal(sq_gcm_open(g, nonce, "x", 1, sealed, n_sealed, out), SQ_ETAMPERED);
        assert_int_equal(sq_gcm_open(g, nonce, aad, n_aad, sealed, 15, out), SQ_ETAMPERED);
        assert_int_equal(sq_gcm_seal(g, nonce, aad, n_aad, plain, n, out), SQ_OK); /* still usable after a failure */
        assert_memory_equal(out, sealed, n_sealed);
        sq_gcm_free(g);
    }
}

static void box(void **state)
{
    struct sq_key *key = NULL, *other = NULL;
    uint8_t sealed[5 + SQ_BOX_EXTRA_BYTES], again[5 + SQ_BOX_EXTRA_BYTES], out[5];
    assert_int_equal(sq_key_new(&key), SQ_OK);
    assert_int_equal(sq_key_new(&other), SQ_OK);
    assert_int_equal(sq_box_seal(key, "row 7", 5, "hello", 5, sealed), SQ_OK);
    assert_int_equal(sq_box_seal(key, "row 7", 5, "hello", 5, again), SQ_OK);
    assert_memory_not_equal(sealed, again, sizeof sealed);
    assert_int_equal(sq_box_open(key, "row 7", 5, sealed, sizeof sealed, out), SQ_OK);
    assert_memory_equal(out, "hello", 5);
    assert_int_equal(sq_box_open(key, "row 8", 5, sealed, sizeof sealed, out), SQ_ETAMPERED);
    assert_int_equal(sq_box_open(other, "row 7", 5, sealed, sizeof sealed, out), SQ_ETAMPERED);
    assert_int_equal(sq_box_open(key, "row 7", 5, sealed, sizeof sealed - 1, out), SQ_ETAMPERED);
    assert_int_equal(sq_box_open(key, "row 7", 5, sealed, SQ_BOX_EXTRA_BYTES - 1, out), SQ_ETAMPERED);
    sq_key_free(key);
    sq_key_free(other);
}

static void hashes(void **state)
{
    uint8_t out[32];
    assert_int_equal(sq_sha256_of("abc", 3, out), SQ_OK); /* FIPS 180-4 */
    assert_hex(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(sq_sha256_of(NULL, 0, out), SQ_OK);
    assert_hex(out, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    struct sq_sha256 *h = NULL;
    assert_int_equal(sq_sha256_new(&h), SQ_OK);
    for (int round = 0; round < 2; round++) { /* _end starts anew */
        assert_int_equal(sq_sha256_add(h, "a", 1), SQ_OK);
        assert_int_equal(sq_sha256_add(h, NULL, 0), SQ_OK);
        assert_int_equal(sq_sha256_add(h, "bc", 2), SQ_OK);
        assert_int_equal(sq_sha256_end(h, out), SQ_OK);
        assert_hex(out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
    sq_sha256_free(h);

    /* RFC 2202 test cases 1 and 2 */
    uint8_t key20[20], mac[20];
    memset(key20, 0x0b, sizeof key20);
    struct sq_hmac_sha1 *m = NULL;
    assert_int_equal(sq_hmac_sha1_new(key20, sizeof key20, &m), SQ_OK);
    assert_int_equal(sq_hmac_sha1_add(m, "Hi ", 3), SQ_OK);
    assert_int_equal(sq_hmac_sha1_add(m, "There", 5), SQ_OK);
    assert_int_equal(sq_hmac_sha1_end(m, mac), SQ_OK);
    assert_hex(mac, "b617318655057264e28bc0b6fb378c8ef146be00");
    sq_hmac_sha1_free(m);
    assert_int_equal(sq_hmac_sha1_new("Jefe", 4, &m), SQ_OK);
    assert_int_equal(sq_hmac_sha1_add(m, "what do ya want for nothing?", 28), SQ_OK);
    assert_int_equal(sq_hmac_sha1_end(m, mac), SQ_OK);
    assert_hex(mac, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
    sq_hmac_sha1_free(m);

    /* RFC 4231 test case 1: its 20-byte key padded with zeros is the same HMAC key */
    uint8_t key32[32] = {0};
    memset(key32, 0x0b, 20);
    struct sq_key *key = NULL;
    assert_int_equal(sq_key_from(key32, &key), SQ_OK);
    assert_int_equal(sq_hmac_sha256(key, "Hi There", 8, out), SQ_OK);
    assert_hex(out, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    sq_key_free(key);
}

static void derivation(void **state)
{
    uint8_t ikm[32], salt[16], info[16], out[64];
    memset(ikm, 0x0b, sizeof ikm);
    size_t n_salt = unhex("000102030405060708090a0b0c", salt), n_info = unhex("f0f1f2f3f4f5f6f7f8f9", info);
    assert_int_equal(crypt_hkdf_any(ikm, 22, salt, n_salt, info, n_info, out, 42), SQ_OK); /* RFC 5869 A.1, A.3 */
    assert_hex(out, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    assert_int_equal(crypt_hkdf_any(ikm, 22, NULL, 0, NULL, 0, out, 42), SQ_OK);
    assert_hex(out, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
    struct sq_key *key = NULL, *derived = NULL;
    assert_int_equal(sq_key_from(ikm, &key), SQ_OK);
    assert_int_equal(sq_hkdf(key, salt, n_salt, info, n_info, &derived), SQ_OK);
    assert_int_equal(crypt_hkdf_any(ikm, 32, salt, n_salt, info, n_info, out, 32), SQ_OK);
    assert_memory_equal(sq_key_bytes(derived), out, 32);
    sq_key_free(key);
    sq_key_free(derived);

    static const struct {
        const char *password, *salt, *want;
        uint32_t rounds;
    } v[] = {/* RFC 6070 */
             {"password", "salt", "0c60c80f961f0e71f3a9b524af6012062fe037a6", 1},
             {"password", "salt", "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957", 2},
             {"password", "salt", "4b007901b765489abead49d926f721d065a429c1", 4096},
             {"passwordPASSWORDpassword", "saltSALTsaltSALTsaltSALTsaltSALTsalt",
              "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038", 4096}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        assert_int_equal(sq_pbkdf2_sha1(v[i].password, strlen(v[i].password), v[i].salt, strlen(v[i].salt), v[i].rounds,
                                        out, strlen(v[i].want) / 2),
                         SQ_OK);
        assert_hex(out, v[i].want);
    }
}

static void passwords(void **state)
{
    uint8_t ones[32], twos[16], threes[8], fours[12], out[32];
    memset(ones, 1, sizeof ones);
    memset(twos, 2, sizeof twos);
    memset(threes, 3, sizeof threes);
    memset(fours, 4, sizeof fours);
    struct crypt_argon2_in in = {.password = ones, .n_password = 32, .salt = twos, .n_salt = 16, .secret = threes,
                                 .n_secret = 8, .data = fours, .n_data = 12, .mem_kib = 32, .passes = 3, .lanes = 4};
    assert_int_equal(crypt_argon2id(&in, out, 32), SQ_OK); /* RFC 9106 section 5.3 */
    assert_hex(out, "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");

    /* the reference implementation's own encoded vector */
    const char *phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    assert_int_equal(sq_password_check("password", 8, phc), SQ_OK);
    assert_int_equal(sq_password_check("passwore", 8, phc), SQ_EPASSWORD);

    char made[SQ_PHC_MAX_BYTES], other[SQ_PHC_MAX_BYTES];
    assert_int_equal(sq_password_hash("correct horse", 13, 64, 1, made), SQ_OK);
    assert_int_equal(sq_password_hash("correct horse", 13, 64, 1, other), SQ_OK);
    assert_string_not_equal(made, other);
    assert_memory_equal(made, "$argon2id$v=19$m=64,t=1,p=1$", 28);
    assert_int_equal(sq_password_check("correct horse", 13, made), SQ_OK);
    assert_int_equal(sq_password_check("correct horse", 12, made), SQ_EPASSWORD);
    assert_int_equal(sq_password_check("", 0, made), SQ_EPASSWORD);

    struct sq_key *a = NULL, *b = NULL;
    assert_int_equal(sq_password_key("pass", 4, twos, 64, 1, &a), SQ_OK);
    assert_int_equal(sq_password_key("pass", 4, twos, 64, 1, &b), SQ_OK);
    assert_memory_equal(sq_key_bytes(a), sq_key_bytes(b), 32);
    sq_key_free(a);
    sq_key_free(b);

    static const char *bad[] = {
        "", "$argon2id$v=19$", "$argon2i$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=16$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=1048577,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=99999999999999999999,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=64,t=17,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=64,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=064,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ=$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFa", "$argon2id$v=19$m=64,t=1,p=1$c2$CTFhFdXPJO1aFaMaO6Mm5c8y",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc$",
        "$argon2id$v=19$m=64,t=1,p=1$c29tZXNhbHQ$", "$argon2id$v=19$m=64,t=1,p=1",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(sq_password_check("password", 8, bad[i]), SQ_ECRYPTO);
    char longer[300];
    memset(longer, 'A', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    memcpy(longer, "$argon2id$v=19$m=64,t=1,p=1$", 28);
    assert_int_equal(sq_password_check("password", 8, longer), SQ_ECRYPTO);
    assert_int_equal(sq_password_hash("x", 4097, 64, 1, made), SQ_ERANGE);
    assert_int_equal(sq_password_hash("x", 1, 4, 1, made), SQ_ECRYPTO);
}

static void ed25519(void **state)
{
    static const struct {
        const char *seed, *public_key, *message, *sig;
    } v[] = {/* RFC 8032 section 7.1, tests 1 and 2 */
             {"9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
              "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
              "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595b"
              "be24655141438e7a100b"},
             {"4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
              "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
              "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4"
              "302aeeb00d291612bb0c00"}};
    for (size_t i = 0; i < 2; i++) {
        uint8_t seed[32], public_key[32], message[8], sig[64];
        unhex(v[i].seed, seed);
        size_t n = unhex(v[i].message, message);
        struct sq_key *key = NULL;
        assert_int_equal(sq_key_from(seed, &key), SQ_OK);
        assert_int_equal(sq_ed25519_public(key, public_key), SQ_OK);
        assert_hex(public_key, v[i].public_key);
        assert_int_equal(sq_ed25519_sign(key, message, n, sig), SQ_OK);
        assert_hex(sig, v[i].sig);
        assert_int_equal(sq_ed25519_verify(public_key, message, n, sig), SQ_OK);
        assert_int_equal(sq_ed25519_verify(public_key, "x", 1, sig), SQ_ETAMPERED);
        for (int at = 0; at < 64; at++) {
            sig[at] ^= 4;
            assert_int_equal(sq_ed25519_verify(public_key, message, n, sig), SQ_ETAMPERED);
            sig[at] ^= 4;
        }
        sq_key_free(key);
    }
}

static void base64url(const char *s, uint8_t *out, size_t n)
{
    struct sq_buf b;
    sq_buf_init(&b, 256);
    assert_int_equal(sq_base64_decode(s, strlen(s), true, &b), SQ_OK);
    assert_int_equal(b.n, n);
    memcpy(out, b.p, n);
    sq_buf_done(&b);
}

static void es256(void **state)
{
    /* RFC 7515 appendix A.3 */
    const char *text = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9p"
                       "c19yb290Ijp0cnVlfQ";
    uint8_t public_key[65] = {4}, made[65], d[32], sig[64];
    base64url("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", public_key + 1, 32);
    base64url("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", public_key + 33, 32);
    base64url("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI", d, 32);
    base64url("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q", sig, 64);
    assert_int_equal(sq_es256_verify(public_key, text, strlen(text), sig), SQ_OK);
    assert_int_equal(sq_es256_verify(public_key, text, strlen(text) - 1, sig), SQ_ETAMPERED);
    for (int at = 0; at < 64; at++) {
        sig[at] ^= 1;
        assert_int_equal(sq_es256_verify(public_key, text, strlen(text), sig), SQ_ETAMPERED);
        sig[at] ^= 1;
    }
    public_key[64] ^= 1; /* off the curve */
    assert_int_equal(sq_es256_verify(public_key, text, strlen(text), sig), SQ_ETAMPERED);
    public_key[64] ^= 1;
    public_key[0] = 2;
    assert_int_equal(sq_es256_verify(public_key, text, strlen(text), sig), SQ_ETAMPERED);
    public_key[0] = 4;

    struct sq_key *key = NULL;
    assert_int_equal(sq_key_from(d, &key), SQ_OK);
    assert_int_equal(sq_es256_public(key, made), SQ_OK);
    assert_memory_equal(made, public_key, 65);
    for (int i = 0; i < 64; i++) { /* r and s with leading zero bytes appear among these now and then */
        assert_int_equal(sq_es256_sign(key, text, strlen(text), sig), SQ_OK);
        assert_int_equal(sq_es256_verify(public_key, text, strlen(text), sig), SQ_OK);
    }
    sq_key_free(key);

    assert_int_equal(sq_es256_new(&key), SQ_OK);
    assert_int_equal(sq_es256_public(key, made), SQ_OK);
    assert_int_equal(sq_es256_sign(key, "x", 1, sig), SQ_OK);
    assert_int_equal(sq_es256_verify(made, "x", 1, sig), SQ_OK);
    assert_int_equal(sq_es256_verify(public_key, "x", 1, sig), SQ_ETAMPERED);
    sq_key_free(key);

    memset(sig, 0, sizeof sig); /* r = s = 0 verifies nowhere */
    assert_int_equal(sq_es256_verify(made, "x", 1, sig), SQ_ETAMPERED);
    uint8_t zero[32] = {0}, ones[32];
    memset(ones, 0xff, sizeof ones);
    assert_int_equal(sq_key_from(zero, &key), SQ_OK);
    assert_int_equal(sq_es256_public(key, made), SQ_ECRYPTO);
    assert_int_equal(sq_es256_sign(key, "x", 1, sig), SQ_ECRYPTO);
    sq_key_free(key);
    assert_int_equal(sq_key_from(ones, &key), SQ_OK); /* not below the group's order */
    assert_int_equal(sq_es256_sign(key, "x", 1, sig), SQ_ECRYPTO);
    sq_key_free(key);
}

static void aes_blocks(void **state)
{
    /* FIPS 197 appendix C.3 */
    uint8_t key[32], block[32], out[32];
    unhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", key);
    unhex("00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", block);
    struct sq_aes_blocks *a = NULL;
    assert_int_equal(sq_aes_blocks_new(key, &a), SQ_OK);
    assert_int_equal(sq_aes_blocks_encrypt(a, block, 32, out), SQ_OK);
    assert_hex(out, "8ea2b7ca516745bfeafc49904b4960898ea2b7ca516745bfeafc49904b496089");
    assert_int_equal(sq_aes_blocks_encrypt(a, block, 16, block), SQ_OK);
    assert_hex(block, "8ea2b7ca516745bfeafc49904b496089");
    assert_int_equal(sq_aes_blocks_encrypt(a, block, 17, out), SQ_ERANGE);
    sq_aes_blocks_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gcm_nist),  cmocka_unit_test(box),     cmocka_unit_test(hashes), cmocka_unit_test(derivation),
        cmocka_unit_test(passwords), cmocka_unit_test(ed25519), cmocka_unit_test(es256),  cmocka_unit_test(aes_blocks),
    };
    if (sq_crypt_start())
        return 1;
    return cmocka_run_group_tests_name("crypt_vectors", tests, NULL, NULL);
}
