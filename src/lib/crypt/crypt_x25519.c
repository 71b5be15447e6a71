/* X25519 and ChaCha20-Poly1305, for sealing a result to its owner's public key (age, Crypt4GH). */
#include "lib/crypt/crypt_internal.h"

#include <limits.h>
#include <stdlib.h>

sq_err sq_x25519_public(const struct sq_key *secret, uint8_t out_public[SQ_X25519_BYTES])
{
    EVP_PKEY *pkey = EVP_PKEY_new_raw_private_key_ex(crypt_get()->ctx, "X25519", NULL, sq_key_bytes(secret), SQ_KEY_BYTES);
    size_t n = SQ_X25519_BYTES;
    bool ok = pkey && EVP_PKEY_get_raw_public_key(pkey, out_public, &n) == 1 && n == SQ_X25519_BYTES;
    EVP_PKEY_free(pkey);
    return ok ? SQ_OK : crypt_fail(SQ_ECRYPTO);
}

sq_err sq_x25519(const struct sq_key *secret, const uint8_t their_public[SQ_X25519_BYTES], struct sq_key **out_shared)
{
    EVP_PKEY *mine = EVP_PKEY_new_raw_private_key_ex(crypt_get()->ctx, "X25519", NULL, sq_key_bytes(secret), SQ_KEY_BYTES);
    EVP_PKEY *theirs = EVP_PKEY_new_raw_public_key_ex(crypt_get()->ctx, "X25519", NULL, their_public, SQ_X25519_BYTES);
    EVP_PKEY_CTX *c = mine ? EVP_PKEY_CTX_new_from_pkey(crypt_get()->ctx, mine, NULL) : NULL;
    uint8_t *shared = NULL;
    size_t n = SQ_KEY_BYTES;
    sq_err err = sq_secret_new(SQ_KEY_BYTES, &shared);
    if (!err && !(c && theirs && EVP_PKEY_derive_init(c) == 1 && EVP_PKEY_derive_set_peer(c, theirs) == 1 &&
                  EVP_PKEY_derive(c, shared, &n) == 1 && n == SQ_KEY_BYTES)) /* a point of small order is refused here */
        err = crypt_fail(SQ_ECRYPTO);
    if (!err)
        err = sq_key_from(shared, out_shared);
    sq_secret_free(shared, SQ_KEY_BYTES);
    EVP_PKEY_CTX_free(c);
    EVP_PKEY_free(theirs);
    EVP_PKEY_free(mine);
    return err;
}

sq_err sq_blake2b_512_of(const void *p, size_t n, uint8_t out[64])
{
    unsigned n_out = 0;
    return EVP_Digest(p, n, out, &n_out, crypt_get()->blake2b, NULL) == 1 && n_out == 64 ? SQ_OK : crypt_fail(SQ_ECRYPTO);
}

struct sq_chacha {
    EVP_CIPHER_CTX *cipher;
};

sq_err sq_chacha_new(const struct sq_key *key, struct sq_chacha **out)
{
    struct sq_chacha *c = calloc(1, sizeof *c);
    if (!c)
        return sq_fail(SQ_ENOMEM);
    c->cipher = EVP_CIPHER_CTX_new();
    if (!c->cipher || EVP_EncryptInit_ex2(c->cipher, crypt_get()->chacha20_poly1305, sq_key_bytes(key), NULL, NULL) != 1) {
        sq_chacha_free(c);
        return crypt_fail(SQ_ECRYPTO);
    }
    *out = c;
    return SQ_OK;
}

sq_err sq_chacha_seal(struct sq_chacha *c, const uint8_t nonce[12], const void *in, size_t n, uint8_t *out)
{
    uint8_t nothing[16];
    int done = 0;
    if (n > INT_MAX)
        return sq_fail(SQ_ERANGE);
    if (EVP_EncryptInit_ex2(c->cipher, NULL, NULL, nonce, NULL) != 1 ||
        (n && (EVP_EncryptUpdate(c->cipher, out, &done, in, (int)n) != 1 || (size_t)done != n)) ||
        EVP_EncryptFinal_ex(c->cipher, nothing, &done) != 1 ||
        EVP_CIPHER_CTX_ctrl(c->cipher, EVP_CTRL_AEAD_GET_TAG, SQ_CHACHA_TAG_BYTES, out + n) != 1)
        return crypt_fail(SQ_ECRYPTO);
    return SQ_OK;
}

void sq_chacha_free(struct sq_chacha *c)
{
    if (!c)
        return;
    EVP_CIPHER_CTX_free(c->cipher);
    free(c);
}
