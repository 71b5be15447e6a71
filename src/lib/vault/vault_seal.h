/**
 * vault_seal - seal an object into a descriptor while its plaintext arrives. See vault.h.
 *
 * Holds one derived key and one segment (64 KiB) at a time, whatever the object's size. The key of a part is asked for
 * when its first byte comes, and wiped when the part closes. Writes forward only; doesn't fsync.
 */
#ifndef SQ_VAULT_SEAL_H
#define SQ_VAULT_SEAL_H

#include "lib/vault/vault.h"

struct sq_vault_sealer;

/** Ask keeper for the key of a part, once per part: 0, 1, ... and SQ_VAULT_CLOSING_PART. @out_derived is then owned here. */
typedef sq_err (*sq_vault_key_fn)(void *ctx, uint32_t part_no, uint8_t out_salt[SQ_VAULT_SALT_BYTES],
                                  struct sq_key **out_derived);

/** @fd: written at its position, from an empty file on. Borrowed until sq_vault_sealer_free. */
sq_err sq_vault_sealer_new(const uint8_t object_id[SQ_VAULT_ID_BYTES], int fd, sq_vault_key_fn key, void *ctx,
                           struct sq_vault_sealer **out) SQ_MUST_CHECK;

/** Any sizes. After an error (of the file or of @key) every later call returns that error: the file is then waste. */
sq_err sq_vault_seal(struct sq_vault_sealer *s, const void *p, size_t n) SQ_MUST_CHECK;

/** Close the last part and write the closing part. After it only sq_vault_sealer_free is allowed. */
sq_err sq_vault_seal_close(struct sq_vault_sealer *s, struct sq_vault_sum *out_sum) SQ_MUST_CHECK;

void sq_vault_sealer_free(struct sq_vault_sealer *s); /* wipes; NULL allowed */

#endif
