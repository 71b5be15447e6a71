/* vault/seal_to inside: what differs between age and Crypt4GH. */
#ifndef SQ_VAULT_SEAL_TO_INTERNAL_H
#define SQ_VAULT_SEAL_TO_INTERNAL_H

#include "lib/vault/seal_to.h"

#define CHUNK_BYTES 65536u
#define SEALED_MAX_BYTES (12 + CHUNK_BYTES + SQ_CHACHA_TAG_BYTES)

struct sq_seal_to {
    sq_seal_to_sink_fn sink;
    void *ctx;
    enum sq_recipient_kind kind;
    sq_err failed; /* first error, returned ever after */
    struct sq_chacha *cipher;
    uint64_t n_chunk;
    uint8_t *plain; /* one chunk, locked */
    size_t n_plain;
    uint8_t sealed[SEALED_MAX_BYTES];
};

/* The header to the sink, the payload's key into s->cipher. */
sq_err seal_to_begin_age(struct sq_seal_to *s, const uint8_t theirs[32]) SQ_MUST_CHECK;
sq_err seal_to_begin_c4gh(struct sq_seal_to *s, const uint8_t theirs[32]) SQ_MUST_CHECK;
/* The chunk in s->plain sealed into s->sealed. */
sq_err seal_to_chunk_age(struct sq_seal_to *s, bool is_last, size_t *out_n) SQ_MUST_CHECK;
sq_err seal_to_chunk_c4gh(struct sq_seal_to *s, size_t *out_n) SQ_MUST_CHECK;

#endif
