/* The root key: made, wrapped, unsealed; and how keys are wrapped under keys. */
#include "daemon/keeper/slab_internal.h"

#include "lib/core/file.h"

#include <stdlib.h>

static sq_err wrapping_key(const struct sq_key *parent, struct sq_key **out)
{
    static const char info[] = "sequester wrap v1";
    return sq_hkdf(parent, NULL, 0, info, sizeof info - 1, out);
}

/* label | slab id | the slot's fields: the key opens only with exactly them */
#define LABEL "sequester slot v1"
struct slot_aad {
    uint8_t bytes[sizeof LABEL - 1 + 16 + SQ_SLAB_SLOT_AAD_BYTES];
};

static struct slot_aad aad_of(const struct sq_slab *slab, const struct sq_slab_slot *slot)
{
    struct slot_aad aad;
    uint8_t bytes[SQ_SLAB_SLOT_BYTES];
    sq_slab_slot_encode(slot, bytes);
    memcpy(aad.bytes, LABEL, sizeof LABEL - 1);
    memcpy(aad.bytes + sizeof LABEL - 1, slab->header.slab_id, 16);
    memcpy(aad.bytes + sizeof LABEL - 1 + 16, bytes, SQ_SLAB_SLOT_AAD_BYTES);
    return aad;
}

sq_err slab_wrap(struct sq_slab *slab, const struct sq_key *parent, struct sq_slab_slot *slot, const struct sq_key *key)
{
    struct slot_aad aad = aad_of(slab, slot);
    struct sq_key *wrap = NULL;
    sq_err err = wrapping_key(parent, &wrap);
    if (!err)
        err = sq_box_seal(wrap, aad.bytes, sizeof aad.bytes, sq_key_bytes(key), SQ_KEY_BYTES, slot->wrapped);
    sq_key_free(wrap);
    return err;
}

/* The plain key passes through a locked block, so that it never stands on a stack. */
static sq_err open_key(const struct sq_key *key, const void *aad, size_t n_aad, const uint8_t *box, struct sq_key **out)
{
    uint8_t *plain;
    sq_err err = sq_secret_new(SQ_KEY_BYTES, &plain);
    if (err)
        return err;
    err = sq_box_open(key, aad, n_aad, box, SQ_SLAB_WRAPPED_BYTES, plain);
    if (!err)
        err = sq_key_from(plain, out);
    sq_secret_free(plain, SQ_KEY_BYTES);
    return err;
}

sq_err slab_unwrap(struct sq_slab *slab, const struct sq_key *parent, const struct sq_slab_slot *slot, struct sq_key **out_key)
{
    struct slot_aad aad = aad_of(slab, slot);
    struct sq_key *wrap = NULL;
    sq_err err = wrapping_key(parent, &wrap);
    if (!err)
        err = open_key(wrap, aad.bytes, sizeof aad.bytes, slot->wrapped, out_key);
    sq_key_free(wrap);
    return err;
}

/* ---- creation ---- */

static sq_err add_first_keys(struct sq_slab *slab, int64_t now_s)
{
    struct sq_key *token = NULL;
    sq_err err = sq_es256_new(&token);
    if (!err)
        err = slab_add_locked(slab, SQ_SLAB_TOKEN_KEY, sq_slab_site_owner, NULL, 0, 0, token, now_s);
    sq_key_free(token);
    if (!err)
        err = slab_add_locked(slab, SQ_SLAB_NOTE_KEY, sq_slab_site_owner, NULL, 0, 0, NULL, now_s);
    if (!err)
        err = slab_add_locked(slab, SQ_SLAB_LOOKUP_KEY, sq_slab_site_owner, NULL, 0, 0, NULL, now_s);
    if (!err)
        err = slab_add_locked(slab, SQ_SLAB_OWNER, sq_slab_site_owner, NULL, 0, 0, NULL, now_s);
    return err;
}

static void forget(struct sq_slab *slab)
{
    sq_key_free(slab->root);
    slab->root = NULL;
    slab->n_slot = slab->free_hint = 0;
    free(slab->bucket);
    slab->bucket = NULL;
    slab->n_bucket = 0;
    free(slab->entry);
    slab->entry = NULL;
    slab->cap_slot = 0;
    memset(&slab->header, 0, sizeof slab->header);
}

/* Slots first, then both headers: until copy A is whole there is no slab, and a new try starts from nothing. */
static sq_err create(struct sq_slab *slab, struct sq_slab_header h, const struct sq_key *kek, int64_t now_s)
{
    uint8_t bytes[SQ_SLAB_BLOCK_BYTES];
    h.created_s = h.clock_s = (uint64_t)now_s;
    sq_err err = sq_random(h.slab_id, sizeof h.slab_id);
    memset(bytes, 0, sizeof bytes);
    for (int i = 0; i < 2 && !err; i++) /* what an earlier try left */
        err = sq_pwrite_all(slab->fd, bytes, sizeof bytes, (off_t)i * SQ_SLAB_BLOCK_BYTES);
    if (!err)
        err = sq_key_new(&slab->root);
    if (err)
        return err;
    sq_slab_header_encode(&h, bytes);
    err = sq_box_seal(kek, bytes, SQ_SLAB_ROOT_AAD_BYTES, sq_key_bytes(slab->root), SQ_KEY_BYTES, h.root);
    slab->header = h;
    slab->header.sequence = 1; /* so that the next is 2, in copy A, and then 3, in copy B */
    if (!err)
        err = slab_grow(slab);
    if (!err)
        err = add_first_keys(slab, now_s);
    for (int i = 0; i < 2 && !err; i++)
        err = slab_write_header(slab, &h);
    if (err)
        forget(slab);
    else
        slab->is_new = false;
    return err;
}

sq_err sq_slab_create_passphrase(struct sq_slab *slab, const void *passphrase, size_t n, uint32_t mem_kib, uint32_t passes,
                                 int64_t now_s)
{
    struct sq_slab_header h = {.backend = SQ_SLAB_PASSPHRASE, .kdf_mem_kib = mem_kib, .kdf_passes = passes};
    struct sq_key *kek = NULL;
    sq_err err = sq_random(h.kdf_salt, sizeof h.kdf_salt);
    if (!err)
        err = sq_password_key(passphrase, n, h.kdf_salt, mem_kib, passes, &kek);
    pthread_mutex_lock(&slab->lock);
    if (!err && !slab->is_new)
        err = sq_fail(SQ_ECONFLICT);
    if (!err)
        err = create(slab, h, kek, now_s);
    pthread_mutex_unlock(&slab->lock);
    sq_key_free(kek);
    return err;
}

sq_err sq_slab_create_file(struct sq_slab *slab, const struct sq_key *kek, int64_t now_s)
{
    struct sq_slab_header h = {.backend = SQ_SLAB_FILE};
    pthread_mutex_lock(&slab->lock);
    sq_err err = slab->is_new ? create(slab, h, kek, now_s) : sq_fail(SQ_ECONFLICT);
    pthread_mutex_unlock(&slab->lock);
    return err;
}

/* ---- unsealing ---- */

static sq_err check_mac(const struct sq_key *root, const struct sq_slab_header *h)
{
    uint8_t bytes[SQ_SLAB_BLOCK_BYTES], mac[SQ_SHA256_BYTES];
    struct sq_key *mac_key = NULL;
    static const char info[] = "sequester slab header v1";
    sq_slab_header_encode(h, bytes);
    sq_err err = sq_hkdf(root, NULL, 0, info, sizeof info - 1, &mac_key);
    if (!err)
        err = sq_hmac_sha256(mac_key, bytes, SQ_SLAB_MAC_COVERS_BYTES, mac);
    sq_key_free(mac_key);
    if (!err && !sq_equal_ct(mac, h->mac, sizeof mac))
        err = sq_fail(SQ_ETAMPERED);
    return err;
}

static sq_err unseal(struct sq_slab *slab, const struct sq_key *kek)
{
    uint8_t bytes[SQ_SLAB_BLOCK_BYTES];
    struct sq_key *root = NULL;
    pthread_mutex_lock(&slab->lock);
    sq_slab_header_encode(&slab->header, bytes);
    sq_err err = open_key(kek, bytes, SQ_SLAB_ROOT_AAD_BYTES, slab->header.root, &root);
    if (err == SQ_ETAMPERED)
        err = sq_fail(SQ_EPASSWORD);
    if (!err)
        err = check_mac(root, &slab->header);
    if (!err && !slab->root) {
        slab->root = root;
        root = NULL;
    }
    pthread_mutex_unlock(&slab->lock);
    sq_key_free(root);
    return err;
}

sq_err sq_slab_unseal_passphrase(struct sq_slab *slab, const void *passphrase, size_t n)
{
    struct sq_key *kek = NULL;
    const struct sq_slab_header *h = &slab->header; /* its key derivation never changes */
    if (slab->is_new || h->backend != SQ_SLAB_PASSPHRASE)
        return sq_fail(SQ_ECONFLICT);
    sq_err err = sq_password_key(passphrase, n, h->kdf_salt, h->kdf_mem_kib, h->kdf_passes, &kek);
    if (!err)
        err = unseal(slab, kek);
    sq_key_free(kek);
    return err;
}

sq_err sq_slab_unseal_file(struct sq_slab *slab, const struct sq_key *kek)
{
    if (slab->is_new || slab->header.backend != SQ_SLAB_FILE)
        return sq_fail(SQ_ECONFLICT);
    return unseal(slab, kek);
}
