/* The whole-stream opener, for the closing part and for Tink's own test vectors. */
#ifndef SQ_VAULT_OPEN_INTERNAL_H
#define SQ_VAULT_OPEN_INTERNAL_H

#include "lib/vault/vault_internal.h"

/** Open a complete Tink stream with segments of @segment_bytes. @out has @n bytes of room; *out_n says how many were used. */
sq_err vault_stream_open(const uint8_t derived[SQ_KEY_BYTES], uint32_t segment_bytes, const uint8_t *in, size_t n,
                         uint8_t *out, size_t *out_n) SQ_MUST_CHECK;

#endif
