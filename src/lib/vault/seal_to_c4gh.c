/*
 * Crypt4GH 1.0 (GA4GH File Encryption Standard); numbers are little-endian:
 *
 *     "crypt4gh" | version 1 (u32) | number of header packets 1 (u32)
 *     packet: length 108 (u32) | method 0 (u32) | our ephemeral public key(32) | nonce(12) | sealed(40) | tag(16)
 *             sealed: packet type 0 (u32) | data method 0 (u32) | data key(32)
 *             key: first half of BLAKE2b-512(shared secret | recipient | ours), as libsodium's crypto_kx has it for a sending server
 *     segments: nonce(12, random) | 65,536 bytes, the last one fewer | tag(16), under the data key
 */
#include "lib/vault/seal_to_internal.h"

#define PACKET_BYTES 108
#define SEALED_BYTES 40

static sq_err packet_key(const struct sq_key *ephemeral, const uint8_t ours[32], const uint8_t theirs[32], struct sq_key **out)
{
    struct sq_key *shared = NULL;
    uint8_t *all;
    sq_err err = sq_secret_new(96 + 64, &all);
    if (err)
        return err;
    err = sq_x25519(ephemeral, theirs, &shared);
    if (!err) {
        memcpy(all, sq_key_bytes(shared), 32);
        memcpy(all + 32, theirs, 32);
        memcpy(all + 64, ours, 32);
        err = sq_blake2b_512_of(all, 96, all + 96);
    }
    if (!err)
        err = sq_key_from(all + 96, out);
    sq_key_free(shared);
    sq_secret_free(all, 96 + 64);
    return err;
}

static sq_err put_header(struct sq_seal_to *s, const uint8_t theirs[32], const struct sq_key *data_key)
{
    uint8_t head[16 + PACKET_BYTES], *packet = head + 16, *plain;
    struct sq_key *ephemeral = NULL, *key = NULL;
    struct sq_chacha *c = NULL;
    sq_err err = sq_secret_new(SEALED_BYTES, &plain);
    if (err)
        return err;
    memcpy(head, "crypt4gh", 8);
    sq_put_le32(head + 8, 1);
    sq_put_le32(head + 12, 1);
    sq_put_le32(packet, PACKET_BYTES);
    sq_put_le32(packet + 4, 0);
    memset(plain, 0, 8);
    memcpy(plain + 8, sq_key_bytes(data_key), SQ_KEY_BYTES);
    err = sq_key_new(&ephemeral);
    if (!err)
        err = sq_x25519_public(ephemeral, packet + 8);
    if (!err)
        err = packet_key(ephemeral, packet + 8, theirs, &key);
    if (!err)
        err = sq_chacha_new(key, &c);
    if (!err)
        err = sq_random(packet + 40, 12);
    if (!err)
        err = sq_chacha_seal(c, packet + 40, plain, SEALED_BYTES, packet + 52);
    if (!err)
        err = s->sink(s->ctx, head, sizeof head);
    sq_chacha_free(c);
    sq_key_free(key);
    sq_key_free(ephemeral);
    sq_secret_free(plain, SEALED_BYTES);
    return err;
}

sq_err seal_to_begin_c4gh(struct sq_seal_to *s, const uint8_t theirs[32])
{
    struct sq_key *data_key = NULL;
    sq_err err = sq_key_new(&data_key);
    if (!err)
        err = put_header(s, theirs, data_key);
    if (!err)
        err = sq_chacha_new(data_key, &s->cipher);
    sq_key_free(data_key);
    return err;
}

sq_err seal_to_chunk_c4gh(struct sq_seal_to *s, size_t *out_n)
{
    sq_err err = sq_random(s->sealed, 12);
    if (!err)
        err = sq_chacha_seal(s->cipher, s->sealed, s->plain, s->n_plain, s->sealed + 12);
    *out_n = 12 + s->n_plain + SQ_CHACHA_TAG_BYTES;
    return err;
}
