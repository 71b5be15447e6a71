/* Ed25519 and ES256. Private keys live as raw scalars in the key arena; an EVP_PKEY exists only during a call. */
#include "lib/crypt/crypt_internal.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/obj_mac.h>
#include <openssl/params.h>

/* digest NULL: the algorithm hashes itself (Ed25519) */
static sq_err sign_with(EVP_PKEY *pkey, const char *digest, const void *p, size_t n, uint8_t *sig, size_t *n_sig)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestSignInit_ex(md, NULL, digest, crypt_get()->ctx, NULL, pkey, NULL) == 1 &&
              EVP_DigestSign(md, sig, n_sig, n ? p : "", n) == 1;
    EVP_MD_CTX_free(md);
    return ok ? SQ_OK : crypt_fail(SQ_ECRYPTO);
}

static sq_err verify_with(EVP_PKEY *pkey, const char *digest, const void *p, size_t n, const uint8_t *sig, size_t n_sig)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && EVP_DigestVerifyInit_ex(md, NULL, digest, crypt_get()->ctx, NULL, pkey, NULL) == 1 &&
              EVP_DigestVerify(md, sig, n_sig, n ? p : "", n) == 1;
    EVP_MD_CTX_free(md);
    return ok ? SQ_OK : crypt_fail(SQ_ETAMPERED);
}

static EVP_PKEY *ed25519_private(const struct sq_key *seed)
{
    return EVP_PKEY_new_raw_private_key_ex(crypt_get()->ctx, "ED25519", NULL, sq_key_bytes(seed), SQ_KEY_BYTES);
}

sq_err sq_ed25519_public(const struct sq_key *seed, uint8_t out_public[SQ_ED25519_PUBLIC_BYTES])
{
    EVP_PKEY *pkey = ed25519_private(seed);
    size_t n = SQ_ED25519_PUBLIC_BYTES;
    bool ok = pkey && EVP_PKEY_get_raw_public_key(pkey, out_public, &n) == 1 && n == SQ_ED25519_PUBLIC_BYTES;
    EVP_PKEY_free(pkey);
    return ok ? SQ_OK : crypt_fail(SQ_ECRYPTO);
}

sq_err sq_ed25519_sign(const struct sq_key *seed, const void *p, size_t n, uint8_t out_sig[SQ_ED25519_SIG_BYTES])
{
    EVP_PKEY *pkey = ed25519_private(seed);
    if (!pkey)
        return crypt_fail(SQ_ECRYPTO);
    size_t n_sig = SQ_ED25519_SIG_BYTES;
    sq_err err = sign_with(pkey, NULL, p, n, out_sig, &n_sig);
    EVP_PKEY_free(pkey);
    return err;
}

sq_err sq_ed25519_verify(const uint8_t public_key[SQ_ED25519_PUBLIC_BYTES], const void *p, size_t n,
                         const uint8_t sig[SQ_ED25519_SIG_BYTES])
{
    EVP_PKEY *pkey =
        EVP_PKEY_new_raw_public_key_ex(crypt_get()->ctx, "ED25519", NULL, public_key, SQ_ED25519_PUBLIC_BYTES);
    if (!pkey)
        return crypt_fail(SQ_ETAMPERED);
    sq_err err = verify_with(pkey, NULL, p, n, sig, SQ_ED25519_SIG_BYTES);
    EVP_PKEY_free(pkey);
    return err;
}

/* ---- ES256 ---- */

/* @scalar NULL: a public key alone */
static EVP_PKEY *p256_pkey(const uint8_t *scalar, const uint8_t *public_key)
{
    uint8_t native[SQ_KEY_BYTES] = {0};
    EVP_PKEY *pkey = NULL;
    EVP_PKEY_CTX *make = EVP_PKEY_CTX_new_from_name(crypt_get()->ctx, "EC", NULL);
    OSSL_PARAM params[4], *p = params;
    *p++ = OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, crypt_unconst("P-256"), 0);
    *p++ = OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, crypt_unconst(public_key), SQ_ES256_PUBLIC_BYTES);
    if (scalar) {
        /* OSSL_PARAM numbers are in the machine's byte order; Debian's targets of ours are little-endian */
        for (int i = 0; i < SQ_KEY_BYTES; i++)
            native[i] = scalar[__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? SQ_KEY_BYTES - 1 - i : i];
        *p++ = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, native, sizeof native);
    }
    *p = OSSL_PARAM_construct_end();
    if (!make || EVP_PKEY_fromdata_init(make) != 1 ||
        EVP_PKEY_fromdata(make, &pkey, scalar ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, params) != 1)
        pkey = NULL;
    EVP_PKEY_CTX_free(make);
    sq_wipe(native, sizeof native);
    return pkey;
}

sq_err sq_es256_new(struct sq_key **out_scalar)
{
    uint8_t *slot;
    struct sq_key *key;
    sq_err err = crypt_key_slot(&slot, &key);
    if (err)
        return err;
    BIGNUM *d = NULL;
    EVP_PKEY *pkey = EVP_PKEY_Q_keygen(crypt_get()->ctx, NULL, "EC", "P-256");
    if (!pkey || EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_PRIV_KEY, &d) != 1 ||
        BN_bn2binpad(d, slot, SQ_KEY_BYTES) != SQ_KEY_BYTES)
        err = crypt_fail(SQ_ECRYPTO);
    BN_clear_free(d);
    EVP_PKEY_free(pkey);
    if (err) {
        sq_key_free(key);
        return err;
    }
    *out_scalar = key;
    return SQ_OK;
}

/* d*G, by the constant-time ladder that EC_POINT_mul takes for the generator */
sq_err sq_es256_public(const struct sq_key *scalar, uint8_t out_public[SQ_ES256_PUBLIC_BYTES])
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name_ex(crypt_get()->ctx, NULL, NID_X9_62_prime256v1);
    EC_POINT *point = group ? EC_POINT_new(group) : NULL;
    BIGNUM *d = BN_new();
    bool ok = point && d && BN_bin2bn(sq_key_bytes(scalar), SQ_KEY_BYTES, d);
    if (ok)
        BN_set_flags(d, BN_FLG_CONSTTIME);
    ok = ok && !BN_is_zero(d) && BN_cmp(d, EC_GROUP_get0_order(group)) < 0 &&
         EC_POINT_mul(group, point, d, NULL, NULL, NULL) == 1 &&
         EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, out_public, SQ_ES256_PUBLIC_BYTES, NULL) ==
             SQ_ES256_PUBLIC_BYTES;
    BN_clear_free(d);
    EC_POINT_free(point);
    EC_GROUP_free(group);
    return ok ? SQ_OK : crypt_fail(SQ_ECRYPTO);
}

/* the order of P-256, and its half, rounded down */
static const uint8_t p256_order[32] = {0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                       0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51};
static const uint8_t p256_half[32] = {0x7f, 0xff, 0xff, 0xff, 0x80, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xde, 0x73, 0x7d, 0x56, 0xd3, 0x8b, 0xcf, 0x42, 0x79, 0xdc, 0xe5, 0x61, 0x7e, 0x31, 0x92, 0xa8};

bool sq_es256_is_low(const uint8_t sig[SQ_ES256_SIG_BYTES])
{
    return memcmp(sig + 32, p256_half, sizeof p256_half) <= 0;
}

/* DER SEQUENCE{r, s} -> r | s, of the two values of s that verify (s and order - s) the lower */
static sq_err raw_from_der(const uint8_t *der, size_t n, uint8_t out[SQ_ES256_SIG_BYTES])
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)n);
    bool ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32) == 32 &&
              BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32) == 32;
    if (ok && !sq_es256_is_low(out)) {
        BIGNUM *order = BN_bin2bn(p256_order, sizeof p256_order, NULL);
        ok = order && BN_sub(order, order, ECDSA_SIG_get0_s(sig)) == 1 && BN_bn2binpad(order, out + 32, 32) == 32;
        BN_free(order);
    }
    ECDSA_SIG_free(sig);
    return ok ? SQ_OK : crypt_fail(SQ_ECRYPTO);
}

sq_err sq_es256_sign(const struct sq_key *scalar, const void *p, size_t n, uint8_t out_sig[SQ_ES256_SIG_BYTES])
{
    uint8_t public_key[SQ_ES256_PUBLIC_BYTES], der[80];
    size_t n_der = sizeof der;
    sq_err err = sq_es256_public(scalar, public_key);
    if (err)
        return err;
    EVP_PKEY *pkey = p256_pkey(sq_key_bytes(scalar), public_key);
    if (!pkey)
        return crypt_fail(SQ_ECRYPTO);
    err = sign_with(pkey, "SHA256", p, n, der, &n_der);
    if (!err)
        err = raw_from_der(der, n_der, out_sig);
    EVP_PKEY_free(pkey);
    return err;
}

sq_err sq_es256_verify(const uint8_t public_key[SQ_ES256_PUBLIC_BYTES], const void *p, size_t n,
                       const uint8_t sig[SQ_ES256_SIG_BYTES])
{
    uint8_t *der = NULL;
    int n_der = 0;
    sq_err err = SQ_OK;
    EVP_PKEY *pkey = public_key[0] == 0x04 ? p256_pkey(NULL, public_key) : NULL; /* refuses points off the curve */
    ECDSA_SIG *pair = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(sig, 32, NULL), *s = BN_bin2bn(sig + 32, 32, NULL);
    if (pair && r && s && ECDSA_SIG_set0(pair, r, s) == 1) {
        r = s = NULL; /* owned by pair now */
        n_der = i2d_ECDSA_SIG(pair, &der);
    }
    if (!pkey || n_der <= 0)
        err = crypt_fail(SQ_ETAMPERED);
    else
        err = verify_with(pkey, "SHA256", p, n, der, (size_t)n_der);
    OPENSSL_free(der);
    BN_free(r);
    BN_free(s);
    ECDSA_SIG_free(pair);
    EVP_PKEY_free(pkey);
    return err;
}
