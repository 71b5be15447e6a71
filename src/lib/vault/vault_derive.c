#include "lib/vault/vault_internal.h"

sq_err sq_vault_derive(const struct sq_key *object_key, const uint8_t salt[SQ_VAULT_SALT_BYTES],
                       const uint8_t object_id[SQ_VAULT_ID_BYTES], uint32_t part_no, struct sq_key **out_derived)
{
    uint8_t info[SQ_VAULT_ID_BYTES + 4];
    memcpy(info, object_id, SQ_VAULT_ID_BYTES);
    sq_put_be32(info + SQ_VAULT_ID_BYTES, part_no);
    return sq_hkdf(object_key, salt, SQ_VAULT_SALT_BYTES, info, sizeof info, out_derived);
}
