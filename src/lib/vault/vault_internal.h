/* Arithmetic and bytes that sealing and opening share. Never leaves this folder (its own unit tests aside). */
#ifndef SQ_VAULT_INTERNAL_H
#define SQ_VAULT_INTERNAL_H

#include "lib/vault/vault.h"

#define VAULT_PREFIX_BYTES 7u
#define VAULT_VERSION "SQO1"

/* segments of a stream with @plain bytes, for segments of @s bytes */
static inline uint64_t vault_n_segment(uint64_t plain, uint32_t s)
{
    uint64_t first = s - SQ_VAULT_HEADER_BYTES - SQ_GCM_TAG_BYTES, other = s - SQ_GCM_TAG_BYTES;
    return plain <= first ? 1 : 1 + (plain - first + other - 1) / other;
}

static inline uint64_t vault_part_sealed(uint64_t plain)
{
    return plain + SQ_VAULT_HEADER_BYTES + SQ_GCM_TAG_BYTES * vault_n_segment(plain, SQ_VAULT_SEGMENT_BYTES);
}

static inline void vault_nonce(const uint8_t prefix[VAULT_PREFIX_BYTES], uint32_t segment, bool is_last,
                               uint8_t out[SQ_GCM_NONCE_BYTES])
{
    memcpy(out, prefix, VAULT_PREFIX_BYTES);
    sq_put_be32(out + VAULT_PREFIX_BYTES, segment);
    out[11] = is_last ? 1 : 0;
}

#endif
