/* What the files of lib/crypt share. Never leaves this folder (its own unit test aside). */
#ifndef SQ_CRYPT_INTERNAL_H
#define SQ_CRYPT_INTERNAL_H

#include "lib/crypt/crypt.h"

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>

/* Fetched once by sq_crypt_start(); read only afterwards, so no lock is needed. */
struct crypt_state {
    OSSL_LIB_CTX *ctx;
    EVP_MD *sha256, *sha1, *blake2b;
    EVP_CIPHER *aes_256_gcm, *aes_256_ecb, *chacha20_poly1305;
    EVP_MAC *hmac;
    EVP_KDF *hkdf, *pbkdf2;
};

/** The state; aborts when sq_crypt_start() hasn't run. */
const struct crypt_state *crypt_get(void);

/* OpenSSL queues its own errors per thread: leave none behind, for they would be found by the next caller. */
#define crypt_fail(code) (ERR_clear_error(), sq_fail(code))

/* a slot of the arena, zeroed, to be filled by the caller; returned through sq_key_free */
sq_err crypt_key_slot(uint8_t **out_slot, struct sq_key **out_key) SQ_MUST_CHECK;

/* HKDF-SHA256 of any sizes: sq_hkdf is the narrow door, the RFC's vectors need the wide one */
sq_err crypt_hkdf_any(const void *ikm, size_t n_ikm, const void *salt, size_t n_salt, const void *info, size_t n_info,
                      uint8_t *out, size_t n_out) SQ_MUST_CHECK;

/* Argon2id of everything that RFC 9106 allows; our doors use password and salt, the RFC's vector needs the rest */
struct crypt_argon2_in {
    const void *password, *salt, *secret, *data;
    size_t n_password, n_salt, n_secret, n_data;
    uint32_t mem_kib, passes, lanes;
};
sq_err crypt_argon2id(const struct crypt_argon2_in *in, uint8_t *out, size_t n_out) SQ_MUST_CHECK;

/* OSSL_PARAM takes void* for values it only reads; this is the one cast of that kind */
static inline void *crypt_unconst(const void *p)
{
    return (void *)(uintptr_t)p;
}

#endif
