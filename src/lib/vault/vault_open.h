/**
 * vault_open - read a sealed object at any offset. See vault.h.
 *
 * The closing part is read and checked first, so that dropped, added or cut parts are found before a byte is given out.
 * Nothing of a segment is given out before its tag is found right. Holds one derived key and one segment (64 KiB).
 */
#ifndef SQ_VAULT_OPEN_H
#define SQ_VAULT_OPEN_H

#include "lib/vault/vault.h"

struct sq_vault_opener;

/** Ask keeper for the key of a part, whose header holds @salt. @out_derived is then owned here. */
typedef sq_err (*sq_vault_open_key_fn)(void *ctx, uint32_t part_no, const uint8_t salt[SQ_VAULT_SALT_BYTES],
                                       struct sq_key **out_derived);

/**
 * @fd            read with pread; borrowed until sq_vault_opener_free
 * @sealed_bytes  length of the file as the database knows it
 *
 * SQ_ETRUNCATED when the file is shorter than it was when closed, SQ_ETAMPERED when it was changed in any other way,
 * SQ_EIO, or what @key returned.
 */
sq_err sq_vault_opener_new(const uint8_t object_id[SQ_VAULT_ID_BYTES], int fd, uint64_t sealed_bytes,
                           sq_vault_open_key_fn key, void *ctx, struct sq_vault_opener **out) SQ_MUST_CHECK;

uint64_t sq_vault_opener_plain_bytes(const struct sq_vault_opener *o);
/** All that the closing part says; borrowed. */
const struct sq_vault_sum *sq_vault_opener_sum(const struct sq_vault_opener *o);

/**
 * Up to @n bytes from @offset; *out_n is less than @n only at the end of the object (0 at or behind it). On failure @out is
 * wiped. Bytes read in order from 0 are hashed on the way; the read that reaches the end compares the SHA-256 of the
 * whole, and fails with SQ_ETAMPERED if it differs.
 */
sq_err sq_vault_read(struct sq_vault_opener *o, uint64_t offset, void *out, size_t n, size_t *out_n) SQ_MUST_CHECK;

/** No hashing from here on: for streams, where each segment's tag says the same and a reader of a range can't compare anyway. */
void sq_vault_opener_tags_only(struct sq_vault_opener *o);

/** Read (what is left of) the whole object and compare its SHA-256. */
sq_err sq_vault_verify(struct sq_vault_opener *o) SQ_MUST_CHECK;

void sq_vault_opener_free(struct sq_vault_opener *o); /* wipes; NULL allowed */

#endif
