/* A key in n shares of which any k give it back: Shamir's scheme over GF(2^8) by libgfshare (A. Shamir, CACM 22(11), 1979). */
#include "lib/crypt/crypt.h"

#include <libgfshare.h>
#include <pthread.h>
#include <stdlib.h>

static void fill_random(unsigned char *out, unsigned int n)
{
    sq_err err = sq_random(out, n);
    sq_assert(!err); /* shares of a poor random source would give the key away */
}

static void use_our_random(void)
{
    gfshare_fill_rand = fill_random;
}

static void start(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, use_our_random);
}

sq_err sq_key_split(const struct sq_key *key, unsigned n_share, unsigned threshold, uint8_t *out_shares)
{
    unsigned char number[SQ_SPLIT_MAX_SHARES], secret[SQ_KEY_BYTES];
    sq_assert(threshold >= 2 && threshold <= n_share && n_share <= SQ_SPLIT_MAX_SHARES);
    start();
    for (unsigned i = 0; i < n_share; i++)
        number[i] = (unsigned char)(i + 1);
    gfshare_ctx *g = gfshare_ctx_init_enc(number, n_share, (unsigned char)threshold, SQ_KEY_BYTES);
    if (!g)
        return sq_fail(SQ_ENOMEM);
    memcpy(secret, sq_key_bytes(key), sizeof secret);
    gfshare_ctx_enc_setsecret(g, secret);
    sq_wipe(secret, sizeof secret);
    for (unsigned i = 0; i < n_share; i++)
        gfshare_ctx_enc_getshare(g, (unsigned char)i, out_shares + (size_t)i * SQ_KEY_BYTES);
    gfshare_ctx_free(g); /* overwrites its buffers */
    return SQ_OK;
}

sq_err sq_key_join(const uint8_t *numbers, const uint8_t *shares, unsigned n, struct sq_key **out_key)
{
    unsigned char number[SQ_SPLIT_MAX_SHARES], share[SQ_KEY_BYTES];
    uint8_t *secret;
    sq_assert(n >= 2 && n <= SQ_SPLIT_MAX_SHARES);
    start();
    memcpy(number, numbers, n);
    gfshare_ctx *g = gfshare_ctx_init_dec(number, n, SQ_KEY_BYTES);
    sq_err err = g ? sq_secret_new(SQ_KEY_BYTES, &secret) : sq_fail(SQ_ENOMEM);
    if (!err) {
        for (unsigned i = 0; i < n; i++) {
            memcpy(share, shares + (size_t)i * SQ_KEY_BYTES, sizeof share);
            gfshare_ctx_dec_giveshare(g, (unsigned char)i, share);
        }
        gfshare_ctx_dec_extract(g, secret);
        err = sq_key_from(secret, out_key);
        sq_secret_free(secret, SQ_KEY_BYTES);
        sq_wipe(share, sizeof share);
    }
    if (g)
        gfshare_ctx_free(g);
    return err;
}
