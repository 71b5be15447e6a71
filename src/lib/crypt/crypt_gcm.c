#include "lib/crypt/crypt_internal.h"

#include <limits.h>
#include <stdlib.h>

struct sq_gcm {
    EVP_CIPHER_CTX *cipher; /* both directions use the same key schedule */
};

sq_err sq_gcm_new(const uint8_t key[SQ_KEY_BYTES], struct sq_gcm **out)
{
    struct sq_gcm *g = calloc(1, sizeof *g);
    if (!g)
        return sq_fail(SQ_ENOMEM);
    g->cipher = EVP_CIPHER_CTX_new();
    if (!g->cipher || EVP_CipherInit_ex2(g->cipher, crypt_get()->aes_256_gcm, key, NULL, 1, NULL) != 1) {
        sq_gcm_free(g);
        return crypt_fail(SQ_ECRYPTO);
    }
    *out = g;
    return SQ_OK;
}

void sq_gcm_free(struct sq_gcm *g)
{
    if (!g)
        return;
    EVP_CIPHER_CTX_free(g->cipher); /* cleanses the key schedule */
    free(g);
}

/* nonce, additional data, then the text itself; the tag is the caller's business */
static bool gcm_run(struct sq_gcm *g, bool is_seal, const uint8_t *nonce, const void *aad, size_t n_aad,
                    const uint8_t *in, size_t n, uint8_t *out)
{
    int done = 0;
    if (EVP_CipherInit_ex2(g->cipher, NULL, NULL, nonce, is_seal, NULL) != 1)
        return false;
    if (n_aad && EVP_CipherUpdate(g->cipher, NULL, &done, aad, (int)n_aad) != 1)
        return false;
    return n == 0 || (EVP_CipherUpdate(g->cipher, out, &done, in, (int)n) == 1 && (size_t)done == n);
}

sq_err sq_gcm_seal(struct sq_gcm *g, const uint8_t nonce[SQ_GCM_NONCE_BYTES], const void *aad, size_t n_aad,
                   const uint8_t *in, size_t n, uint8_t *out)
{
    uint8_t nothing[16];
    int done = 0;
    if (n > INT_MAX || n_aad > INT_MAX)
        return sq_fail(SQ_ERANGE);
    if (!gcm_run(g, true, nonce, aad, n_aad, in, n, out) || EVP_CipherFinal_ex(g->cipher, nothing, &done) != 1 ||
        EVP_CIPHER_CTX_ctrl(g->cipher, EVP_CTRL_AEAD_GET_TAG, SQ_GCM_TAG_BYTES, out + n) != 1)
        return crypt_fail(SQ_ECRYPTO);
    return SQ_OK;
}

sq_err sq_gcm_open(struct sq_gcm *g, const uint8_t nonce[SQ_GCM_NONCE_BYTES], const void *aad, size_t n_aad,
                   const uint8_t *in, size_t n, uint8_t *out)
{
    uint8_t tag[SQ_GCM_TAG_BYTES], nothing[16];
    int done = 0;
    if (n > INT_MAX || n_aad > INT_MAX)
        return sq_fail(SQ_ERANGE);
    if (n < SQ_GCM_TAG_BYTES)
        return sq_fail(SQ_ETAMPERED);
    n -= SQ_GCM_TAG_BYTES;
    memcpy(tag, in + n, sizeof tag); /* @out may lie over @in */
    bool is_run = gcm_run(g, false, nonce, aad, n_aad, in, n, out) &&
                  EVP_CIPHER_CTX_ctrl(g->cipher, EVP_CTRL_AEAD_SET_TAG, SQ_GCM_TAG_BYTES, tag) == 1;
    if (is_run && EVP_CipherFinal_ex(g->cipher, nothing, &done) == 1)
        return SQ_OK;
    if (n)
        sq_wipe(out, n); /* unauthenticated plaintext must not be seen */
    return crypt_fail(is_run ? SQ_ETAMPERED : SQ_ECRYPTO);
}

sq_err sq_box_seal(const struct sq_key *key, const void *aad, size_t n_aad, const void *in, size_t n, uint8_t *out)
{
    uint8_t nonce[SQ_GCM_NONCE_BYTES];
    struct sq_gcm *g = NULL;
    sq_err err = sq_random(nonce, sizeof nonce);
    if (err || (err = sq_gcm_new(sq_key_bytes(key), &g)))
        return err;
    err = sq_gcm_seal(g, nonce, aad, n_aad, in, n, out + sizeof nonce);
    if (!err)
        memcpy(out, nonce, sizeof nonce);
    sq_gcm_free(g);
    return err;
}

sq_err sq_box_open(const struct sq_key *key, const void *aad, size_t n_aad, const void *in, size_t n, uint8_t *out)
{
    struct sq_gcm *g = NULL;
    if (n < SQ_BOX_EXTRA_BYTES)
        return sq_fail(SQ_ETAMPERED);
    sq_err err = sq_gcm_new(sq_key_bytes(key), &g);
    if (err)
        return err;
    const uint8_t *box = in;
    err = sq_gcm_open(g, box, aad, n_aad, box + SQ_GCM_NONCE_BYTES, n - SQ_GCM_NONCE_BYTES, out);
    sq_gcm_free(g);
    return err;
}

struct sq_aes_blocks {
    EVP_CIPHER_CTX *cipher;
};

sq_err sq_aes_blocks_new(const uint8_t key[32], struct sq_aes_blocks **out)
{
    struct sq_aes_blocks *a = calloc(1, sizeof *a);
    if (!a)
        return sq_fail(SQ_ENOMEM);
    a->cipher = EVP_CIPHER_CTX_new();
    if (!a->cipher || EVP_EncryptInit_ex2(a->cipher, crypt_get()->aes_256_ecb, key, NULL, NULL) != 1 ||
        EVP_CIPHER_CTX_set_padding(a->cipher, 0) != 1) {
        sq_aes_blocks_free(a);
        return crypt_fail(SQ_ECRYPTO);
    }
    *out = a;
    return SQ_OK;
}

sq_err sq_aes_blocks_encrypt(struct sq_aes_blocks *a, const uint8_t *in, size_t n_bytes, uint8_t *out)
{
    int done = 0;
    if (n_bytes % 16 || n_bytes > INT_MAX)
        return sq_fail(SQ_ERANGE);
    if (n_bytes && (EVP_EncryptUpdate(a->cipher, out, &done, in, (int)n_bytes) != 1 || (size_t)done != n_bytes))
        return crypt_fail(SQ_ECRYPTO);
    return SQ_OK;
}

void sq_aes_blocks_free(struct sq_aes_blocks *a)
{
    if (!a)
        return;
    EVP_CIPHER_CTX_free(a->cipher);
    free(a);
}
