#include "lib/vault/vault_internal.h"

uint64_t sq_vault_sealed_bytes(uint64_t plain_bytes)
{
    uint64_t rest = plain_bytes % SQ_VAULT_PART_BYTES;
    return plain_bytes / SQ_VAULT_PART_BYTES * SQ_VAULT_PART_SEALED_BYTES + (rest ? vault_part_sealed(rest) : 0) +
           SQ_VAULT_CLOSING_BYTES;
}
