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
static sq_err create(struct sq_slab *slab, const struct sq_slab_lock *lock, int64_t now_s)
{
    uint8_t bytes[SQ_SLAB_BLOCK_BYTES];
    struct sq_slab_header h = {.lock = *lock, .root_no = 1, .created_s = (uint64_t)now_s, .clock_s = (uint64_t)now_s};
    h.lock.kek = NULL;
    sq_err err = sq_random(h.slab_id, sizeof h.slab_id);
    memset(bytes, 0, sizeof bytes);
    for (int i = 0; i < 2 && !err; i++) /* what an earlier try left */
        err = sq_pwrite_all(slab->fd, bytes, sizeof bytes, (off_t)i * SQ_SLAB_BLOCK_BYTES);
    if (!err)
        err = sq_key_new(&slab->root);
    if (err)
        return err;
    err = slab_box_root(&h, lock->kek, slab->root, h.root);
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

sq_err sq_slab_create(struct sq_slab *slab, const struct sq_slab_lock *lock, int64_t now_s)
{
    pthread_mutex_lock(&slab->lock);
    sq_err err = slab->is_new ? create(slab, lock, now_s) : sq_fail(SQ_ECONFLICT);
    pthread_mutex_unlock(&slab->lock);
    return err;
}

sq_err sq_slab_lock_passphrase(const void *passphrase, size_t n, uint32_t mem_kib, uint32_t passes, struct sq_slab_lock *out,
                               struct sq_key **out_kek)
{
    *out = (struct sq_slab_lock){.backend = SQ_SLAB_PASSPHRASE, .kdf_mem_kib = mem_kib, .kdf_passes = passes};
    sq_err err = sq_random(out->salt, sizeof out->salt);
    if (!err)
        err = sq_password_key(passphrase, n, out->salt, mem_kib, passes, out_kek);
    if (!err)
        out->kek = *out_kek;
    return err;
}

/* ---- the root key's boxes ---- */

sq_err slab_box_root(const struct sq_slab_header *h, const struct sq_key *kek, const struct sq_key *root, uint8_t out[SQ_SLAB_WRAPPED_BYTES])
{
    uint8_t bytes[SQ_SLAB_BLOCK_BYTES];
    sq_slab_header_encode(h, bytes);
    return sq_box_seal(kek, bytes, SQ_SLAB_ROOT_AAD_BYTES, sq_key_bytes(root), SQ_KEY_BYTES, out);
}

#define NEXT_LABEL "sequester next root v1"
struct next_aad {
    uint8_t bytes[sizeof NEXT_LABEL - 1 + SQ_SLAB_NEXT_AAD_BYTES];
};

static struct next_aad next_aad_of(const struct sq_slab_header *h)
{
    struct next_aad aad;
    uint8_t bytes[SQ_SLAB_BLOCK_BYTES];
    sq_slab_header_encode(h, bytes);
    memcpy(aad.bytes, NEXT_LABEL, sizeof NEXT_LABEL - 1);
    memcpy(aad.bytes + sizeof NEXT_LABEL - 1, bytes, SQ_SLAB_NEXT_AAD_BYTES);
    return aad;
}

/* Under the present root key: whoever opens that one can finish what was begun. */
sq_err slab_box_next_root(const struct sq_slab_header *h, const struct sq_key *root, const struct sq_key *next,
                          uint8_t out[SQ_SLAB_WRAPPED_BYTES])
{
    struct next_aad aad = next_aad_of(h);
    struct sq_key *wrap = NULL;
    sq_err err = wrapping_key(root, &wrap);
    if (!err)
        err = sq_box_seal(wrap, aad.bytes, sizeof aad.bytes, sq_key_bytes(next), SQ_KEY_BYTES, out);
    sq_key_free(wrap);
    return err;
}

static sq_err open_next_root(const struct sq_slab_header *h, const struct sq_key *root, struct sq_key **out)
{
    static const uint8_t none[SQ_SLAB_WRAPPED_BYTES];
    struct next_aad aad = next_aad_of(h);
    struct sq_key *wrap = NULL;
    if (!memcmp(h->next_root, none, sizeof none))
        return SQ_OK;
    sq_err err = wrapping_key(root, &wrap);
    if (!err)
        err = open_key(wrap, aad.bytes, sizeof aad.bytes, h->next_root, out);
    sq_key_free(wrap);
    return err;
}

sq_err slab_root_of(const struct sq_slab *slab, const struct sq_slab_slot *slot, const struct sq_key **out)
{
    if (slot->root_no == slab->header.root_no)
        *out = slab->root;
    else if (slab->next_root && slot->root_no == slab->header.root_no + 1)
        *out = slab->next_root;
    else
        return sq_fail(SQ_ETAMPERED);
    return SQ_OK;
}

uint32_t slab_root_no_for_new(const struct sq_slab *slab)
{
    return slab->header.root_no + (slab->next_root ? 1 : 0);
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

sq_err slab_open_root(struct sq_slab *slab, const struct sq_key *kek, struct sq_key **out_root, struct sq_key **out_next)
{
    uint8_t bytes[SQ_SLAB_BLOCK_BYTES];
    sq_slab_header_encode(&slab->header, bytes);
    sq_err err = open_key(kek, bytes, SQ_SLAB_ROOT_AAD_BYTES, slab->header.root, out_root);
    if (err == SQ_ETAMPERED)
        err = sq_fail(SQ_EPASSWORD);
    if (!err)
        err = check_mac(*out_root, &slab->header);
    if (!err)
        err = open_next_root(&slab->header, *out_root, out_next);
    return err;
}

sq_err sq_slab_unseal_passphrase(struct sq_slab *slab, const void *passphrase, size_t n)
{
    struct sq_key *kek = NULL;
    struct sq_slab_lock l;
    sq_slab_lock_of(slab, &l);
    if (slab->is_new || l.backend != SQ_SLAB_PASSPHRASE)
        return sq_fail(SQ_ECONFLICT);
    sq_err err = sq_password_key(passphrase, n, l.salt, l.kdf_mem_kib, l.kdf_passes, &kek);
    if (!err)
        err = sq_slab_unseal(slab, kek);
    sq_key_free(kek);
    return err;
}
