/*
 * The key slab's file: torn, old, or forged by someone with the disk.
 * Input: how | file.  how & 1: checksums of headers and slots are made right first, as a forger would.  how & 2: the key file is another.
 * It opens or says why not; no forged field gives a key; what is destroyed stays destroyed after reopening.
 */
#include "daemon/keeper/slab.h"
#include "fuzz_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW INT64_C(1800000000)
#define SUM_AT 224 /* of a slot */
#define HEADER_SUM_AT 4064
static const uint8_t golden_object[16] = "golden object", golden_dead[16] = "golden dead";

static void right_sums(uint8_t *p, size_t n)
{
    for (size_t at = 0; at + SQ_SLAB_BLOCK_BYTES <= n && at < 2 * SQ_SLAB_BLOCK_BYTES; at += SQ_SLAB_BLOCK_BYTES)
        sq_assert(!sq_sha256_of(p + at, HEADER_SUM_AT, p + at + HEADER_SUM_AT));
    for (size_t at = 2 * SQ_SLAB_BLOCK_BYTES; at + SQ_SLAB_SLOT_BYTES <= n; at += SQ_SLAB_SLOT_BYTES)
        if (p[at])
            sq_assert(!sq_sha256_of(p + at, SUM_AT, p + at + SUM_AT));
}

static void bytes(const uint8_t *p)
{
    struct sq_slab_slot slot;
    struct sq_slab_header h;
    uint8_t again[SQ_SLAB_BLOCK_BYTES];
    if (!sq_slab_slot_decode(p, &slot)) {
        sq_slab_slot_encode(&slot, again);
        sq_assert(slot.type == SQ_SLAB_FREE || memcmp(again, p, SQ_SLAB_SLOT_BYTES) == 0);
    }
    if (!sq_slab_header_decode(p, &h)) {
        sq_slab_header_encode(&h, again);
        sq_assert(memcmp(again, p, SQ_SLAB_BLOCK_BYTES) == 0);
    }
}

static struct sq_slab *opened(int fd, bool is_other_key)
{
    uint8_t kek_bytes[SQ_KEY_BYTES];
    struct sq_slab *slab = NULL;
    struct sq_key *kek = NULL;
    for (uint8_t i = 0; i < SQ_KEY_BYTES; i++)
        kek_bytes[i] = is_other_key ? (uint8_t)~i : i;
    if (sq_slab_open(fd, &slab) || sq_slab_is_new(slab)) {
        sq_slab_close(slab);
        return NULL;
    }
    sq_assert(!sq_key_from(kek_bytes, &kek));
    if (!sq_slab_unseal(slab, kek))
        sq_assert(!is_other_key && sq_slab_is_unsealed(slab));
    sq_key_free(kek);
    return slab;
}

static void use(struct sq_slab *slab, bool is_forged)
{
    uint8_t listed[64 * SQ_SLAB_LISTED_BYTES], root[SQ_SHA256_BYTES];
    uint32_t n = 0, next = 0;
    uint64_t size;
    struct sq_slab_slot slot;
    struct sq_key *key = NULL;
    if (sq_slab_list(slab, SQ_SLAB_OBJECT, 0, listed, 64, &n, &next))
        n = 0;
    sq_assert(n <= 64);
    sq_slab_tree(slab, &size, root);
    (void)sq_slab_clock_s(slab);
    (void)sq_slab_n_damaged(slab);
    for (uint32_t i = 0; i < n; i++) {
        key = NULL;
        if (!sq_slab_key(slab, SQ_SLAB_OBJECT, listed + (size_t)i * SQ_SLAB_LISTED_BYTES, NOW, &slot, &key))
            sq_assert(key && sq_slab_is_unsealed(slab) && slot.type == SQ_SLAB_OBJECT && (!slot.not_after_s || slot.not_after_s > NOW));
        sq_key_free(key);
    }
    key = NULL;
    /* the one object of the golden file: its key, or none */
    if (!sq_slab_key(slab, SQ_SLAB_OBJECT, golden_object, NOW, &slot, &key))
        sq_assert(slot.state == SQ_SLAB_CLOSED && slot.not_after_s == NOW + 604800);
    sq_key_free(key);
    (void)is_forged;
    (void)!sq_slab_extend(slab, golden_object, NOW + 900, NOW);
    (void)!sq_slab_add(slab, SQ_SLAB_OWNER, (const uint8_t *)"another owner of", NULL, 0, 0, NOW);
    if (!sq_slab_add(slab, SQ_SLAB_OBJECT, (const uint8_t *)"another object!!", (const uint8_t *)"another owner of", 0, 2, NOW))
        sq_assert(!sq_slab_shut(slab, (const uint8_t *)"another object!!", NOW));
}

static void destroy(struct sq_slab *slab, const uint8_t *id)
{
    uint64_t when;
    uint32_t generation;
    struct sq_key *key = NULL;
    if (sq_slab_destroy(slab, SQ_SLAB_OBJECT, id, NOW, &when, &generation))
        return;
    sq_assert(sq_slab_key(slab, SQ_SLAB_OBJECT, id, NOW, NULL, &key) != SQ_OK && !key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_started;
    if (!is_started)
        sq_assert(sq_crypt_start() == SQ_OK);
    is_started = true;
    if (size < 1 || size > 65536)
        return 0;
    uint8_t *p = calloc(1, size + SQ_SLAB_BLOCK_BYTES);
    sq_assert(p);
    memcpy(p, data + 1, size - 1);
    if (data[0] & 1)
        right_sums(p, size - 1);
    bytes(p);
    int fd = fuzz_file(p, size - 1);
    free(p);
    struct sq_slab *slab = opened(fd, data[0] & 2);
    if (!slab)
        return 0;
    use(slab, data[0] & 1);
    destroy(slab, golden_object);
    destroy(slab, golden_dead);
    uint32_t n = 0;
    (void)!sq_slab_expire(slab, NOW + 800000, NULL, NULL, &n);
    sq_slab_close(slab);
    slab = opened(fd, false);
    if (slab) {
        struct sq_key *key = NULL;
        sq_assert(sq_slab_key(slab, SQ_SLAB_OBJECT, golden_object, NOW, NULL, &key) != SQ_OK && !key);
        sq_slab_close(slab);
    }
    return 0;
}
