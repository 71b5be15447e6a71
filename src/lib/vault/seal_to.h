/**
 * seal_to - seal a stream so that only the holder of a private key can open it. Nobody else can afterwards, we included:
 * the keys drawn here are wiped when the stream ends.
 *
 *     age        https://age-encryption.org/v1: one X25519 stanza, payload in chunks of 64 KiB
 *     Crypt4GH   GA4GH file encryption 1.0: one header packet, segments of 64 KiB
 *
 * Both with ChaCha20-Poly1305 and an ephemeral X25519 key. Opened by `age -d` and `crypt4gh decrypt`.
 */
#ifndef SQ_VAULT_SEAL_TO_H
#define SQ_VAULT_SEAL_TO_H

#include "lib/crypt/crypt.h"
#include "lib/crypt/recipient.h"

typedef sq_err (*sq_seal_to_sink_fn)(void *ctx, const void *p, size_t n);

struct sq_seal_to;
/** Writes the header. SQ_ECRYPTO: the public key is none. */
sq_err sq_seal_to_new(const struct sq_recipient *to, sq_seal_to_sink_fn sink, void *ctx, struct sq_seal_to **out) SQ_MUST_CHECK;
sq_err sq_seal_to_write(struct sq_seal_to *s, const void *p, size_t n) SQ_MUST_CHECK;
/** The last chunk; without it the stream is recognisably cut (age), or short (Crypt4GH). */
sq_err sq_seal_to_close(struct sq_seal_to *s) SQ_MUST_CHECK;
void sq_seal_to_free(struct sq_seal_to *s); /* wipes; NULL allowed */

#endif
