#include "lib/crypt/crypt_internal.h"

#include <openssl/params.h>
#include <stdlib.h>

struct sq_sha256 {
    EVP_MD_CTX *md;
};

sq_err sq_sha256_new(struct sq_sha256 **out)
{
    struct sq_sha256 *h = calloc(1, sizeof *h);
    if (!h)
        return sq_fail(SQ_ENOMEM);
    h->md = EVP_MD_CTX_new();
    if (!h->md || EVP_DigestInit_ex2(h->md, crypt_get()->sha256, NULL) != 1) {
        sq_sha256_free(h);
        return crypt_fail(SQ_ECRYPTO);
    }
    *out = h;
    return SQ_OK;
}

sq_err sq_sha256_add(struct sq_sha256 *h, const void *p, size_t n)
{
    return n == 0 || EVP_DigestUpdate(h->md, p, n) == 1 ? SQ_OK : crypt_fail(SQ_ECRYPTO);
}

sq_err sq_sha256_end(struct sq_sha256 *h, uint8_t out[SQ_SHA256_BYTES])
{
    unsigned n = 0;
    if (EVP_DigestFinal_ex(h->md, out, &n) != 1 || n != SQ_SHA256_BYTES ||
        EVP_DigestInit_ex2(h->md, crypt_get()->sha256, NULL) != 1)
        return crypt_fail(SQ_ECRYPTO);
    return SQ_OK;
}

void sq_sha256_free(struct sq_sha256 *h)
{
    if (!h)
        return;
    EVP_MD_CTX_free(h->md);
    free(h);
}

sq_err sq_sha256_of(const void *p, size_t n, uint8_t out[SQ_SHA256_BYTES])
{
    unsigned n_out = 0;
    return EVP_Digest(n ? p : "", n, out, &n_out, crypt_get()->sha256, NULL) == 1 ? SQ_OK : crypt_fail(SQ_ECRYPTO);
}

sq_err sq_sha1_of(const void *p, size_t n, uint8_t out[SQ_SHA1_BYTES])
{
    unsigned n_out = 0;
    return EVP_Digest(n ? p : "", n, out, &n_out, crypt_get()->sha1, NULL) == 1 ? SQ_OK : crypt_fail(SQ_ECRYPTO);
}

/* a context with digest and key set, ready for update */
static sq_err mac_new(const char *digest, const void *key, size_t n_key, EVP_MAC_CTX **out)
{
    EVP_MAC_CTX *mac = EVP_MAC_CTX_new(crypt_get()->hmac);
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, crypt_unconst(digest), 0),
                           OSSL_PARAM_construct_end()};
    if (!mac || EVP_MAC_init(mac, key, n_key, params) != 1) {
        EVP_MAC_CTX_free(mac);
        return crypt_fail(SQ_ECRYPTO);
    }
    *out = mac;
    return SQ_OK;
}

sq_err sq_hmac_sha256(const struct sq_key *key, const void *p, size_t n, uint8_t out[SQ_SHA256_BYTES])
{
    return sq_hmac_sha256_with(sq_key_bytes(key), SQ_KEY_BYTES, p, n, out);
}

sq_err sq_hmac_sha256_with(const void *key, size_t n_key, const void *p, size_t n, uint8_t out[SQ_SHA256_BYTES])
{
    EVP_MAC_CTX *mac = NULL;
    size_t n_out = 0;
    sq_err err = mac_new("SHA256", key, n_key, &mac);
    if (err)
        return err;
    if ((n && EVP_MAC_update(mac, p, n) != 1) || EVP_MAC_final(mac, out, &n_out, SQ_SHA256_BYTES) != 1)
        err = crypt_fail(SQ_ECRYPTO);
    EVP_MAC_CTX_free(mac);
    return err;
}

struct sq_hmac_sha1 {
    EVP_MAC_CTX *mac;
};

sq_err sq_hmac_sha1_new(const void *key, size_t n_key, struct sq_hmac_sha1 **out)
{
    struct sq_hmac_sha1 *h = calloc(1, sizeof *h);
    if (!h)
        return sq_fail(SQ_ENOMEM);
    sq_err err = mac_new("SHA1", key, n_key, &h->mac);
    if (err) {
        free(h);
        return err;
    }
    *out = h;
    return SQ_OK;
}

sq_err sq_hmac_sha1_add(struct sq_hmac_sha1 *h, const void *p, size_t n)
{
    return n == 0 || EVP_MAC_update(h->mac, p, n) == 1 ? SQ_OK : crypt_fail(SQ_ECRYPTO);
}

sq_err sq_hmac_sha1_end(struct sq_hmac_sha1 *h, uint8_t out[SQ_SHA1_BYTES])
{
    size_t n = 0;
    if (EVP_MAC_final(h->mac, out, &n, SQ_SHA1_BYTES) != 1 || n != SQ_SHA1_BYTES)
        return crypt_fail(SQ_ECRYPTO);
    return SQ_OK;
}

void sq_hmac_sha1_free(struct sq_hmac_sha1 *h)
{
    if (!h)
        return;
    EVP_MAC_CTX_free(h->mac);
    free(h);
}

sq_err crypt_hkdf_any(const void *ikm, size_t n_ikm, const void *salt, size_t n_salt, const void *info, size_t n_info,
                      uint8_t *out, size_t n_out)
{
    OSSL_PARAM params[5], *p = params;
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, crypt_unconst("SHA256"), 0);
    *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, crypt_unconst(ikm), n_ikm);
    if (n_salt) /* none: HKDF takes a hash length of zeros */
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, crypt_unconst(salt), n_salt);
    if (n_info)
        *p++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, crypt_unconst(info), n_info);
    *p = OSSL_PARAM_construct_end();
    EVP_KDF_CTX *kdf = EVP_KDF_CTX_new(crypt_get()->hkdf);
    sq_err err = kdf && EVP_KDF_derive(kdf, out, n_out, params) == 1 ? SQ_OK : crypt_fail(SQ_ECRYPTO);
    EVP_KDF_CTX_free(kdf);
    return err;
}

sq_err sq_hkdf_short(const uint8_t *ikm, size_t n_ikm, const void *salt, size_t n_salt, const void *info, size_t n_info,
                     struct sq_key **out_key)
{
    uint8_t *slot;
    struct sq_key *key;
    sq_err err = crypt_key_slot(&slot, &key);
    if (err)
        return err;
    if ((err = crypt_hkdf_any(ikm, n_ikm, salt, n_salt, info, n_info, slot, SQ_KEY_BYTES))) {
        sq_key_free(key);
        return err;
    }
    *out_key = key;
    return SQ_OK;
}

sq_err sq_hkdf(const struct sq_key *ikm, const void *salt, size_t n_salt, const void *info, size_t n_info,
               struct sq_key **out_key)
{
    return sq_hkdf_short(sq_key_bytes(ikm), SQ_KEY_BYTES, salt, n_salt, info, n_info, out_key);
}

sq_err sq_pbkdf2_sha1(const void *password, size_t n_password, const void *salt, size_t n_salt, uint32_t rounds,
                      uint8_t *out, size_t n_out)
{
    int pkcs5 = 1; /* no SP 800-132 minimums: AE-2 fixes 1000 rounds */
    unsigned n_rounds = rounds;
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, crypt_unconst("SHA1"), 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_PASSWORD, crypt_unconst(n_password ? password : ""), n_password),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, crypt_unconst(salt), n_salt),
        OSSL_PARAM_construct_uint(OSSL_KDF_PARAM_ITER, &n_rounds),
        OSSL_PARAM_construct_int(OSSL_KDF_PARAM_PKCS5, &pkcs5),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF_CTX *kdf = EVP_KDF_CTX_new(crypt_get()->pbkdf2);
    sq_err err = kdf && EVP_KDF_derive(kdf, out, n_out, params) == 1 ? SQ_OK : crypt_fail(SQ_ECRYPTO);
    EVP_KDF_CTX_free(kdf);
    return err;
}
