#include "lib/crypt/crypt_internal.h"

#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <time.h>

static struct crypt_state state;
static sq_err start_result;
static pthread_once_t start_once = PTHREAD_ONCE_INIT;

const struct crypt_state *crypt_get(void)
{
    sq_assert(state.ctx);
    return &state;
}

static sq_err fetch_all(void)
{
    /* must be the first call: it marks the configuration as loaded, so that nobody later opens openssl.cnf */
    if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_ADD_ALL_CIPHERS | OPENSSL_INIT_ADD_ALL_DIGESTS |
                                OPENSSL_INIT_LOAD_CRYPTO_STRINGS,
                            NULL) != 1)
        return crypt_fail(SQ_ECRYPTO);
    OSSL_LIB_CTX *ctx = OSSL_LIB_CTX_new();
    if (!ctx || !OSSL_PROVIDER_load(ctx, "default"))
        return crypt_fail(SQ_ECRYPTO);
    state = (struct crypt_state){
        .ctx = ctx,
        .sha256 = EVP_MD_fetch(ctx, "SHA256", NULL),
        .sha1 = EVP_MD_fetch(ctx, "SHA1", NULL),
        .blake2b = EVP_MD_fetch(ctx, "BLAKE2B-512", NULL),
        .chacha20_poly1305 = EVP_CIPHER_fetch(ctx, "ChaCha20-Poly1305", NULL),
        .aes_256_gcm = EVP_CIPHER_fetch(ctx, "AES-256-GCM", NULL),
        .aes_256_ecb = EVP_CIPHER_fetch(ctx, "AES-256-ECB", NULL),
        .hmac = EVP_MAC_fetch(ctx, "HMAC", NULL),
        .hkdf = EVP_KDF_fetch(ctx, "HKDF", NULL),
        .pbkdf2 = EVP_KDF_fetch(ctx, "PBKDF2", NULL),
    };
    if (!state.sha256 || !state.sha1 || !state.blake2b || !state.chacha20_poly1305 || !state.aes_256_gcm || !state.aes_256_ecb || !state.hmac || !state.hkdf || !state.pbkdf2)
        return crypt_fail(SQ_ECRYPTO);
    return SQ_OK;
}

/* one call of each kind: everything that is fetched or made lazily exists afterwards; also a first self-test */
static sq_err touch_all(void)
{
    uint8_t sha[SQ_SHA256_BYTES], sig[SQ_ES256_SIG_BYTES], public_key[SQ_ES256_PUBLIC_BYTES], mac[SQ_SHA1_BYTES];
    uint8_t box[4 + SQ_BOX_EXTRA_BYTES], four[4], salt[16] = {0}, wide[64];
    struct sq_key *key = NULL, *derived = NULL, *scalar = NULL, *hashed = NULL, *shared = NULL;
    struct sq_chacha *chacha = NULL;
    struct sq_hmac_sha1 *h = NULL;
    struct sq_aes_blocks *blocks = NULL;
    sq_err err;
    if ((err = sq_key_new(&key)) || (err = sq_sha256_of("self", 4, sha)) || (err = sq_hmac_sha256(key, "self", 4, sha)) ||
        (err = sq_hkdf(key, NULL, 0, "self", 4, &derived)) || (err = sq_pbkdf2_sha1("self", 4, "salt", 4, 1, sha, 32)) ||
        (err = sq_password_key("self", 4, salt, 8, 1, &hashed)) || (err = sq_box_seal(key, NULL, 0, "self", 4, box)) ||
        (err = sq_box_open(key, NULL, 0, box, sizeof box, four)) || (err = sq_ed25519_public(key, public_key)) ||
        (err = sq_ed25519_sign(key, "self", 4, sig)) || (err = sq_ed25519_verify(public_key, "self", 4, sig)) ||
        (err = sq_es256_new(&scalar)) || (err = sq_es256_public(scalar, public_key)) ||
        (err = sq_es256_sign(scalar, "self", 4, sig)) || (err = sq_es256_verify(public_key, "self", 4, sig)) ||
        (err = sq_hmac_sha1_new("self", 4, &h)) || (err = sq_hmac_sha1_end(h, mac)) ||
        (err = sq_x25519_public(key, sha)) || (err = sq_x25519(key, sha, &shared)) || (err = sq_blake2b_512_of("self", 4, wide)) ||
        (err = sq_chacha_new(shared, &chacha)) || (err = sq_chacha_seal(chacha, salt, "self", 4, wide)) ||
        (err = sq_aes_blocks_new(sha, &blocks)) || (err = sq_aes_blocks_encrypt(blocks, salt, 16, salt)))
        goto out;
    err = memcmp(four, "self", 4) ? sq_fail(SQ_ECRYPTO) : SQ_OK;
out:
    sq_aes_blocks_free(blocks);
    sq_hmac_sha1_free(h);
    sq_key_free(key);
    sq_key_free(derived);
    sq_key_free(scalar);
    sq_key_free(hashed);
    sq_key_free(shared);
    sq_chacha_free(chacha);
    return err;
}

static void start(void)
{
    tzset(); /* gmtime_r, which X.509 dates pass through, opens /etc/localtime at its first call: let that be now */
    start_result = fetch_all();
    if (!start_result)
        start_result = touch_all();
}

sq_err sq_crypt_start(void)
{
    pthread_once(&start_once, start);
    return start_result;
}

sq_err sq_random(void *out, size_t n)
{
    if (n > INT_MAX)
        return sq_fail(SQ_ERANGE);
    return RAND_priv_bytes_ex(crypt_get()->ctx, out, n, 256) == 1 ? SQ_OK : crypt_fail(SQ_ECRYPTO);
}
