/*
 * age v1 (https://age-encryption.org/v1):
 *
 *     age-encryption.org/v1
 *     -> X25519 <our ephemeral public key>
 *     <file key, ChaCha20-Poly1305 under HKDF(shared secret, salt = ephemeral | recipient, "age-encryption.org/v1/X25519")>
 *     --- <HMAC-SHA256 of the lines above, under HKDF(file key, "header")>
 *     nonce(16) | chunks under HKDF(file key, salt = nonce, "payload"), nonce = counter(11, big-endian) | last(1)
 */
#include "lib/vault/seal_to_internal.h"

#define FILE_KEY_BYTES 16
#define HEADER_MAX_BYTES 512

/* base64 without padding, appended */
static sq_err add_b64(struct sq_buf *b, const void *p, size_t n)
{
    sq_err err = sq_base64(p, n, false, b);
    while (!err && b->n && b->p[b->n - 1] == '=')
        b->p[--b->n] = 0;
    return err;
}

/* HKDF over a 16-byte file key: it lies in front of zeros in no place, so the wide door is needed */
static sq_err of_file_key(const uint8_t *file_key, const void *salt, size_t n_salt, const char *info, struct sq_key **out)
{
    return sq_hkdf_short(file_key, FILE_KEY_BYTES, salt, n_salt, info, strlen(info), out);
}

static sq_err wrap_file_key(const uint8_t theirs[32], const uint8_t *file_key, uint8_t out_share[32], uint8_t out_body[32])
{
    static const char info[] = "age-encryption.org/v1/X25519";
    static const uint8_t zero_nonce[12];
    uint8_t salt[64];
    struct sq_key *ephemeral = NULL, *shared = NULL, *wrap = NULL;
    struct sq_chacha *c = NULL;
    sq_err err = sq_key_new(&ephemeral);
    if (!err)
        err = sq_x25519_public(ephemeral, out_share);
    if (!err)
        err = sq_x25519(ephemeral, theirs, &shared);
    memcpy(salt, out_share, 32);
    memcpy(salt + 32, theirs, 32);
    if (!err)
        err = sq_hkdf(shared, salt, sizeof salt, info, sizeof info - 1, &wrap);
    if (!err)
        err = sq_chacha_new(wrap, &c);
    if (!err)
        err = sq_chacha_seal(c, zero_nonce, file_key, FILE_KEY_BYTES, out_body);
    sq_chacha_free(c);
    sq_key_free(wrap);
    sq_key_free(shared);
    sq_key_free(ephemeral);
    return err;
}

static sq_err header(struct sq_buf *b, const uint8_t theirs[32], const uint8_t *file_key)
{
    uint8_t share[32], body[32], mac[SQ_SHA256_BYTES];
    struct sq_key *mac_key = NULL;
    sq_err err = wrap_file_key(theirs, file_key, share, body);
    if (!err)
        err = sq_buf_addf(b, "age-encryption.org/v1\n-> X25519 ");
    if (!err)
        err = add_b64(b, share, sizeof share);
    if (!err)
        err = sq_buf_addf(b, "\n");
    if (!err)
        err = add_b64(b, body, sizeof body);
    if (!err)
        err = sq_buf_addf(b, "\n---");
    if (!err)
        err = of_file_key(file_key, NULL, 0, "header", &mac_key);
    if (!err)
        err = sq_hmac_sha256(mac_key, b->p, b->n, mac);
    if (!err)
        err = sq_buf_addf(b, " ");
    if (!err)
        err = add_b64(b, mac, sizeof mac);
    if (!err)
        err = sq_buf_addf(b, "\n");
    sq_key_free(mac_key);
    return err;
}

sq_err seal_to_begin_age(struct sq_seal_to *s, const uint8_t theirs[32])
{
    uint8_t *file_key, nonce[16];
    struct sq_key *payload = NULL;
    struct sq_buf b;
    sq_err err = sq_secret_new(FILE_KEY_BYTES, &file_key);
    if (err)
        return err;
    sq_buf_init(&b, HEADER_MAX_BYTES);
    err = sq_random(file_key, FILE_KEY_BYTES);
    if (!err)
        err = sq_random(nonce, sizeof nonce);
    if (!err)
        err = header(&b, theirs, file_key);
    if (!err)
        err = sq_buf_add(&b, nonce, sizeof nonce);
    if (!err)
        err = of_file_key(file_key, nonce, sizeof nonce, "payload", &payload);
    if (!err)
        err = sq_chacha_new(payload, &s->cipher);
    if (!err)
        err = s->sink(s->ctx, b.p, b.n);
    sq_key_free(payload);
    sq_secret_free(file_key, FILE_KEY_BYTES);
    sq_buf_done(&b);
    return err;
}

sq_err seal_to_chunk_age(struct sq_seal_to *s, bool is_last, size_t *out_n)
{
    uint8_t nonce[12] = {0};
    sq_put_be64(nonce + 3, s->n_chunk);
    nonce[11] = is_last;
    *out_n = s->n_plain + SQ_CHACHA_TAG_BYTES;
    return sq_chacha_seal(s->cipher, nonce, s->plain, s->n_plain, s->sealed);
}
