/* The bytes of docs/formats/key-slab.md, and nothing else. */
#include "daemon/keeper/slab.h"

#define SUM_AT 224
#define VERSION 1

static const uint8_t magic[16] = "sequester-slab\n";

static bool is_zero(const uint8_t *p, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= p[i];
    return any == 0;
}

static void put_sum(uint8_t *bytes)
{
    sq_err err = sq_sha256_of(bytes, SUM_AT, bytes + SUM_AT);
    sq_assert(!err); /* hashing 224 bytes of our own can only fail when the process is past help */
}

static bool sum_is_right(const uint8_t *bytes)
{
    uint8_t sum[SQ_SHA256_BYTES];
    sq_err err = sq_sha256_of(bytes, SUM_AT, sum);
    sq_assert(!err);
    return !memcmp(sum, bytes + SUM_AT, sizeof sum);
}

void sq_slab_slot_encode(const struct sq_slab_slot *s, uint8_t out[SQ_SLAB_SLOT_BYTES])
{
    memset(out, 0, SQ_SLAB_SLOT_BYTES);
    out[0] = s->type;
    out[1] = s->state;
    out[2] = s->for_role;
    out[3] = s->was;
    out[4] = s->reason;
    sq_put_be32(out + 8, s->generation);
    memcpy(out + 16, s->id, SQ_SLAB_ID_BYTES);
    memcpy(out + 32, s->owner, SQ_SLAB_ID_BYTES);
    sq_put_be64(out + 48, s->not_after_s);
    sq_put_be64(out + 56, s->created_s);
    sq_put_be64(out + 64, s->destroyed_s);
    memcpy(out + 72, s->wrapped, SQ_SLAB_WRAPPED_BYTES);
    put_sum(out);
}

sq_err sq_slab_slot_decode(const uint8_t b[SQ_SLAB_SLOT_BYTES], struct sq_slab_slot *out)
{
    *out = (struct sq_slab_slot){
        .type = b[0],
        .state = b[1],
        .for_role = b[2],
        .was = b[3],
        .reason = b[4],
        .generation = sq_get_be32(b + 8),
        .not_after_s = sq_get_be64(b + 48),
        .created_s = sq_get_be64(b + 56),
        .destroyed_s = sq_get_be64(b + 64),
    };
    memcpy(out->id, b + 16, SQ_SLAB_ID_BYTES);
    memcpy(out->owner, b + 32, SQ_SLAB_ID_BYTES);
    memcpy(out->wrapped, b + 72, SQ_SLAB_WRAPPED_BYTES);
    if (b[0] == SQ_SLAB_FREE && is_zero(b, SQ_SLAB_SLOT_BYTES))
        return SQ_OK;
    if (!sum_is_right(b) || !is_zero(b + 5, 3) || !is_zero(b + 12, 4) || !is_zero(b + 132, SUM_AT - 132) ||
        b[0] > SQ_SLAB_TOMBSTONE || b[0] == SQ_SLAB_FREE)
        return sq_fail(SQ_ETAMPERED);
    return SQ_OK;
}

void sq_slab_header_encode(const struct sq_slab_header *h, uint8_t out[SQ_SLAB_BLOCK_BYTES])
{
    memset(out, 0, SQ_SLAB_BLOCK_BYTES);
    memcpy(out, magic, sizeof magic);
    sq_put_be32(out + 16, VERSION);
    sq_put_be32(out + 20, SQ_SLAB_SLOT_BYTES);
    memcpy(out + 24, h->slab_id, 16);
    sq_put_be32(out + 40, h->backend);
    sq_put_be32(out + 44, h->kdf_mem_kib);
    sq_put_be32(out + 48, h->kdf_passes);
    memcpy(out + 52, h->kdf_salt, 16);
    sq_put_be64(out + 68, h->created_s);
    memcpy(out + 76, h->root, SQ_SLAB_WRAPPED_BYTES);
    sq_put_be64(out + 136, h->sequence);
    sq_put_be64(out + 144, h->clock_s);
    sq_put_be64(out + 152, h->tree_size);
    memcpy(out + 160, h->tree_root, SQ_SHA256_BYTES);
    memcpy(out + 192, h->mac, SQ_SHA256_BYTES);
    put_sum(out);
}

sq_err sq_slab_header_decode(const uint8_t b[SQ_SLAB_BLOCK_BYTES], struct sq_slab_header *out)
{
    if (memcmp(b, magic, sizeof magic) || !sum_is_right(b) || sq_get_be32(b + 16) != VERSION ||
        sq_get_be32(b + 20) != SQ_SLAB_SLOT_BYTES || !is_zero(b + 256, SQ_SLAB_BLOCK_BYTES - 256))
        return sq_fail(SQ_ETAMPERED);
    struct sq_slab_header h = {
        .backend = sq_get_be32(b + 40),
        .kdf_mem_kib = sq_get_be32(b + 44),
        .kdf_passes = sq_get_be32(b + 48),
        .created_s = sq_get_be64(b + 68),
        .sequence = sq_get_be64(b + 136),
        .clock_s = sq_get_be64(b + 144),
        .tree_size = sq_get_be64(b + 152),
    };
    memcpy(h.slab_id, b + 24, 16);
    memcpy(h.kdf_salt, b + 52, 16);
    memcpy(h.root, b + 76, SQ_SLAB_WRAPPED_BYTES);
    memcpy(h.tree_root, b + 160, SQ_SHA256_BYTES);
    memcpy(h.mac, b + 192, SQ_SHA256_BYTES);
    if (h.backend != SQ_SLAB_PASSPHRASE && h.backend != SQ_SLAB_FILE)
        return sq_fail(SQ_ETAMPERED);
    *out = h;
    return SQ_OK;
}
