/*
 * AE-2's counter mode has a LITTLE-endian counter that starts at 1; OpenSSL's CTR is big-endian. So blocks of counters are
 * made here, encrypted in batches as ECB, and xored: at the speed of AES-NI, where one block a call runs at a tenth.
 */
#include "lib/vault/zip_ae2_internal.h"

#include <stdlib.h>

#define BATCH_BYTES 16384u

struct zip_cipher {
    struct sq_aes_blocks *aes;
    struct sq_hmac_sha1 *mac;
    uint64_t counter; /* of the next block; its upper 8 bytes are never reached */
    size_t used;      /* bytes of stream already used */
    _Alignas(64) uint8_t stream[BATCH_BYTES];
};

sq_err zip_cipher_new(const struct sq_zip_keys *keys, struct zip_cipher **out)
{
    struct zip_cipher *c = aligned_alloc(64, sizeof *c);
    if (!c)
        return sq_fail(SQ_ENOMEM);
    memset(c, 0, sizeof *c);
    c->counter = 1;
    c->used = BATCH_BYTES;
    sq_err err = sq_aes_blocks_new(keys->aes, &c->aes);
    if (!err)
        err = sq_hmac_sha1_new(keys->mac, sizeof keys->mac, &c->mac);
    if (err) {
        zip_cipher_free(c);
        return err;
    }
    *out = c;
    return SQ_OK;
}

static sq_err refill(struct zip_cipher *c)
{
    for (size_t at = 0; at < BATCH_BYTES; at += 16) {
        sq_put_le64(c->stream + at, c->counter++);
        memset(c->stream + at + 8, 0, 8);
    }
    c->used = 0;
    return sq_aes_blocks_encrypt(c->aes, c->stream, BATCH_BYTES, c->stream);
}

static void xor_bytes(const uint8_t *in, const uint8_t *stream, size_t n, uint8_t *out)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t a, b;
        memcpy(&a, in + i, 8);
        memcpy(&b, stream + i, 8);
        a ^= b;
        memcpy(out + i, &a, 8);
    }
    for (; i < n; i++)
        out[i] = in[i] ^ stream[i];
}

static sq_err run(struct zip_cipher *c, const uint8_t *in, size_t n, uint8_t *out)
{
    while (n) {
        sq_err err;
        if (c->used == BATCH_BYTES && (err = refill(c)))
            return err;
        size_t take = BATCH_BYTES - c->used < n ? BATCH_BYTES - c->used : n;
        xor_bytes(in, c->stream + c->used, take, out);
        c->used += take;
        in += take;
        out += take;
        n -= take;
    }
    return SQ_OK;
}

sq_err zip_cipher_seal(struct zip_cipher *c, const uint8_t *in, size_t n, uint8_t *out)
{
    sq_err err = run(c, in, n, out);
    return err ? err : sq_hmac_sha1_add(c->mac, out, n);
}

sq_err zip_cipher_open(struct zip_cipher *c, const uint8_t *in, size_t n, uint8_t *out)
{
    sq_err err = sq_hmac_sha1_add(c->mac, in, n);
    return err ? err : run(c, in, n, out);
}

sq_err zip_cipher_mac_add(struct zip_cipher *c, const uint8_t *in, size_t n)
{
    return sq_hmac_sha1_add(c->mac, in, n);
}

sq_err zip_cipher_mac(struct zip_cipher *c, uint8_t out[ZIP_MAC_BYTES])
{
    uint8_t mac[SQ_SHA1_BYTES];
    sq_err err = sq_hmac_sha1_end(c->mac, mac);
    if (!err)
        memcpy(out, mac, ZIP_MAC_BYTES);
    return err;
}

void zip_cipher_free(struct zip_cipher *c)
{
    if (!c)
        return;
    sq_aes_blocks_free(c->aes);
    sq_hmac_sha1_free(c->mac);
    sq_wipe(c, sizeof *c);
    free(c);
}

void zip_aes_extra(uint8_t out[ZIP_AES_EXTRA_BYTES])
{
    static const uint8_t extra[ZIP_AES_EXTRA_BYTES] = {0x01, 0x99, 7, 0, 2, 0, 'A', 'E', 3, 0, 0};
    memcpy(out, extra, sizeof extra);
}

bool sq_zip_name_ok(const char *name)
{
    size_t n = strlen(name), start = 0;
    if (n == 0 || n > SQ_ZIP_MAX_NAME_BYTES)
        return false;
    if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") != n)
        return false;
    for (size_t i = 0; i <= n; i++) {
        if (i < n && name[i] != '/')
            continue;
        size_t len = i - start; /* of this component */
        if (len == 0 || (len == 1 && name[start] == '.') || (len == 2 && memcmp(name + start, "..", 2) == 0) ||
            name[start] == '-')
            return false;
        start = i + 1;
    }
    return true;
}
