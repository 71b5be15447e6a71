/* The bytes of docs/formats/key-slab.md, and nothing else. */
#include "daemon/keeper/slab.h"

#define SUM_AT 224          /* of a slot */
#define HEADER_MAC_AT 4032
#define HEADER_SUM_AT 4064
#define VERSION 1

static const uint8_t magic[16] = "sequester-slab\n";

static bool is_zero(const uint8_t *p, size_t n)
{
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= p[i];
    return any == 0;
}

static void put_sum(uint8_t *bytes, size_t at)
{
    sq_err err = sq_sha256_of(bytes, at, bytes + at);
    sq_assert(!err); /* hashing bytes of our own can only fail when the process is past help */
}

static bool sum_is_right(const uint8_t *bytes, size_t at)
{
    uint8_t sum[SQ_SHA256_BYTES];
    sq_err err = sq_sha256_of(bytes, at, sum);
    sq_assert(!err);
    return !memcmp(sum, bytes + at, sizeof sum);
}

void sq_slab_slot_encode(const struct sq_slab_slot *s, uint8_t out[SQ_SLAB_SLOT_BYTES])
{
    memset(out, 0, SQ_SLAB_SLOT_BYTES);
    out[0] = s->type;
    out[1] = s->state;
    out[2] = s->for_role;
    out[3] = s->was;
    out[4] = s->reason;
    out[5] = s->number;
    sq_put_be32(out + 8, s->generation);
    sq_put_be32(out + 12, s->root_no);
    memcpy(out + 16, s->id, SQ_SLAB_ID_BYTES);
    memcpy(out + 32, s->owner, SQ_SLAB_ID_BYTES);
    sq_put_be64(out + 48, s->not_after_s);
    sq_put_be64(out + 56, s->created_s);
    sq_put_be64(out + 64, s->destroyed_s);
    memcpy(out + 72, s->wrapped, SQ_SLAB_WRAPPED_BYTES);
    memcpy(out + 132, s->sig, SQ_ED25519_SIG_BYTES);
    put_sum(out, SUM_AT);
}

sq_err sq_slab_slot_decode(const uint8_t b[SQ_SLAB_SLOT_BYTES], struct sq_slab_slot *out)
{
    *out = (struct sq_slab_slot){
        .type = b[0],
        .state = b[1],
        .for_role = b[2],
        .was = b[3],
        .reason = b[4],
        .number = b[5],
        .generation = sq_get_be32(b + 8),
        .root_no = sq_get_be32(b + 12),
        .not_after_s = sq_get_be64(b + 48),
        .created_s = sq_get_be64(b + 56),
        .destroyed_s = sq_get_be64(b + 64),
    };
    memcpy(out->id, b + 16, SQ_SLAB_ID_BYTES);
    memcpy(out->owner, b + 32, SQ_SLAB_ID_BYTES);
    memcpy(out->wrapped, b + 72, SQ_SLAB_WRAPPED_BYTES);
    memcpy(out->sig, b + 132, SQ_ED25519_SIG_BYTES);
    if (b[0] == SQ_SLAB_FREE && is_zero(b, SQ_SLAB_SLOT_BYTES))
        return SQ_OK;
    if (!sum_is_right(b, SUM_AT) || !is_zero(b + 6, 2) || (b[1] != SQ_SLAB_FORMER_PUBLIC && !is_zero(b + 132, SQ_ED25519_SIG_BYTES)) || !is_zero(b + 196, SUM_AT - 196) ||
        b[0] > SQ_SLAB_TOMBSTONE || b[0] == SQ_SLAB_FREE)
        return sq_fail(SQ_ETAMPERED);
    return SQ_OK;
}

void sq_slab_header_encode(const struct sq_slab_header *h, uint8_t out[SQ_SLAB_BLOCK_BYTES])
{
    const struct sq_slab_lock *l = &h->lock;
    memset(out, 0, SQ_SLAB_BLOCK_BYTES);
    memcpy(out, magic, sizeof magic);
    sq_put_be32(out + 16, VERSION);
    sq_put_be32(out + 20, SQ_SLAB_SLOT_BYTES);
    memcpy(out + 24, h->slab_id, 16);
    sq_put_be64(out + 40, h->created_s);
    sq_put_be32(out + 48, h->root_no);
    sq_put_be32(out + 52, (uint32_t)l->backend);
    sq_put_be32(out + 56, l->kdf_mem_kib);
    sq_put_be32(out + 60, l->kdf_passes);
    memcpy(out + 64, l->salt, 16);
    out[80] = l->n_share;
    out[81] = l->threshold;
    sq_put_be32(out + 84, l->hsm_box_bytes);
    memcpy(out + 88, l->hsm_box, l->hsm_box_bytes);
    memcpy(out + 600, h->root, SQ_SLAB_WRAPPED_BYTES);
    memcpy(out + 660, h->next_root, SQ_SLAB_WRAPPED_BYTES);
    sq_put_be64(out + 720, h->sequence);
    sq_put_be64(out + 728, h->clock_s);
    sq_put_be64(out + 736, h->tree_size);
    memcpy(out + 744, h->tree_root, SQ_SHA256_BYTES);
    memcpy(out + HEADER_MAC_AT, h->mac, SQ_SHA256_BYTES);
    put_sum(out, HEADER_SUM_AT);
}

static sq_err lock_decode(const uint8_t *b, struct sq_slab_lock *l)
{
    uint32_t backend = sq_get_be32(b + 52), n_box = sq_get_be32(b + 84);
    if (backend < SQ_SLAB_PASSPHRASE || backend > SQ_SLAB_PKCS11 || n_box > SQ_SLAB_HSM_BOX_MAX ||
        !is_zero(b + 82, 2) || !is_zero(b + 88 + n_box, SQ_SLAB_HSM_BOX_MAX - n_box) ||
        (backend == SQ_SLAB_SHARES && (b[81] < 2 || b[81] > b[80])))
        return sq_fail(SQ_ETAMPERED);
    *l = (struct sq_slab_lock){.backend = (enum sq_slab_backend)backend, .kdf_mem_kib = sq_get_be32(b + 56), .kdf_passes = sq_get_be32(b + 60),
                               .n_share = b[80], .threshold = b[81], .hsm_box_bytes = (uint16_t)n_box};
    memcpy(l->salt, b + 64, 16);
    memcpy(l->hsm_box, b + 88, n_box);
    return SQ_OK;
}

sq_err sq_slab_header_decode(const uint8_t b[SQ_SLAB_BLOCK_BYTES], struct sq_slab_header *out)
{
    if (memcmp(b, magic, sizeof magic) || !sum_is_right(b, HEADER_SUM_AT) || sq_get_be32(b + 16) != VERSION ||
        sq_get_be32(b + 20) != SQ_SLAB_SLOT_BYTES || !is_zero(b + 776, HEADER_MAC_AT - 776))
        return sq_fail(SQ_ETAMPERED);
    struct sq_slab_header h = {
        .created_s = sq_get_be64(b + 40),
        .root_no = sq_get_be32(b + 48),
        .sequence = sq_get_be64(b + 720),
        .clock_s = sq_get_be64(b + 728),
        .tree_size = sq_get_be64(b + 736),
    };
    memcpy(h.slab_id, b + 24, 16);
    memcpy(h.root, b + 600, SQ_SLAB_WRAPPED_BYTES);
    memcpy(h.next_root, b + 660, SQ_SLAB_WRAPPED_BYTES);
    memcpy(h.tree_root, b + 744, SQ_SHA256_BYTES);
    memcpy(h.mac, b + HEADER_MAC_AT, SQ_SHA256_BYTES);
    sq_err err = lock_decode(b, &h.lock);
    if (err || !h.root_no)
        return sq_fail(SQ_ETAMPERED);
    *out = h;
    return SQ_OK;
}
