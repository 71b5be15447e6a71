/* The slab as a file: opening, growing, reading and writing slots and headers. Keys are slab_root.c, things slab_slot.c. */
#include "daemon/keeper/slab_internal.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"

#include <stdlib.h>
#include <unistd.h>

#define HEADER_BYTES (2 * SQ_SLAB_BLOCK_BYTES)

const uint8_t sq_slab_site_owner[SQ_SLAB_ID_BYTES] = {0};

off_t slab_slot_offset(uint32_t at)
{
    return (off_t)HEADER_BYTES + (off_t)at * SQ_SLAB_SLOT_BYTES;
}

/* ---- headers ---- */

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i])
            return false;
    return true;
}

/* The newer valid copy. Creation writes A, then B: B still zero and A not whole means that it never ended. */
static sq_err read_headers(struct sq_slab *slab)
{
    uint8_t *both = calloc(1, HEADER_BYTES);
    if (!both)
        return sq_fail(SQ_ENOMEM);
    struct sq_slab_header a, b;
    size_t got = 0;
    sq_err err = sq_pread_full(slab->fd, both, HEADER_BYTES, 0, &got);
    if (err)
        goto out;
    bool a_ok = !sq_slab_header_decode(both, &a), b_ok = !sq_slab_header_decode(both + SQ_SLAB_BLOCK_BYTES, &b);
    if (a_ok && b_ok)
        slab->header = a.sequence > b.sequence ? a : b;
    else if (a_ok || b_ok)
        slab->header = a_ok ? a : b;
    else if (all_zero(both + SQ_SLAB_BLOCK_BYTES, SQ_SLAB_BLOCK_BYTES))
        slab->is_new = true;
    else
        err = sq_fail(SQ_ETAMPERED);
out:
    free(both);
    return err;
}

sq_err slab_write_header(struct sq_slab *slab, struct sq_slab_header *next)
{
    uint8_t bytes[SQ_SLAB_BLOCK_BYTES];
    struct sq_key *mac_key = NULL;
    static const char info[] = "sequester slab header v1";
    if (!slab->root)
        return sq_fail(SQ_ESEALED);
    sq_err err = sq_hkdf(slab->root, NULL, 0, info, sizeof info - 1, &mac_key);
    if (err)
        return err;
    next->sequence = slab->header.sequence + 1;
    sq_slab_header_encode(next, bytes);
    err = sq_hmac_sha256(mac_key, bytes, SQ_SLAB_MAC_COVERS_BYTES, next->mac);
    sq_key_free(mac_key);
    if (err)
        return err;
    sq_slab_header_encode(next, bytes);
    if ((err = sq_fault("keeper.header_write")))
        return err;
    err = sq_pwrite_all(slab->fd, bytes, sizeof bytes, (off_t)(next->sequence & 1) * SQ_SLAB_BLOCK_BYTES);
    if (!err)
        err = sq_fault("keeper.header_written");
    if (!err)
        slab->header = *next;
    return err;
}

/* ---- slots ---- */

sq_err slab_read_slot(struct sq_slab *slab, uint32_t at, struct sq_slab_slot *out)
{
    uint8_t bytes[SQ_SLAB_SLOT_BYTES];
    size_t got = 0;
    sq_err err = sq_pread_full(slab->fd, bytes, sizeof bytes, slab_slot_offset(at), &got);
    if (!err && got != sizeof bytes)
        err = sq_fail(SQ_EIO);
    return err ? err : sq_slab_slot_decode(bytes, out);
}

sq_err slab_write_slot(struct sq_slab *slab, uint32_t at, const struct sq_slab_slot *slot)
{
    uint8_t bytes[SQ_SLAB_SLOT_BYTES];
    sq_slab_slot_encode(slot, bytes);
    sq_err err = sq_fault("keeper.slot_write");
    if (!err)
        err = sq_pwrite_all(slab->fd, bytes, sizeof bytes, slab_slot_offset(at));
    if (!err)
        err = sq_fault("keeper.slot_written");
    sq_wipe(bytes, sizeof bytes);
    return err;
}

static sq_err entries_reserve(struct sq_slab *slab, uint32_t n)
{
    if (n <= slab->cap_slot)
        return SQ_OK;
    struct slab_entry *more = realloc(slab->entry, (size_t)n * sizeof *more);
    if (!more)
        return sq_fail(SQ_ENOMEM);
    memset(more + slab->cap_slot, 0, (size_t)(n - slab->cap_slot) * sizeof *more);
    slab->entry = more;
    slab->cap_slot = n;
    return SQ_OK;
}

/* More zeros at the end. A crash in between leaves a part of them: zeros are free slots wherever the file ends. */
sq_err slab_grow(struct sq_slab *slab)
{
    static const uint8_t zeros[SQ_SLAB_BLOCK_BYTES];
    const uint32_t per_block = SQ_SLAB_BLOCK_BYTES / SQ_SLAB_SLOT_BYTES;
    uint32_t more = slab->n_slot / 2 / per_block * per_block;
    if (more < SQ_SLAB_STEP_SLOTS)
        more = SQ_SLAB_STEP_SLOTS;
    if (more > SQ_SLAB_MAX_SLOTS - slab->n_slot)
        more = (SQ_SLAB_MAX_SLOTS - slab->n_slot) / per_block * per_block;
    if (!more)
        return sq_fail(SQ_EFULL);
    sq_err err = entries_reserve(slab, slab->n_slot + more);
    if (!err)
        err = sq_fault("keeper.grow");
    for (uint32_t i = 0; i < more / per_block && !err; i++)
        err = sq_pwrite_all(slab->fd, zeros, sizeof zeros, slab_slot_offset(slab->n_slot + i * per_block));
    if (!err)
        slab->n_slot += more;
    return err;
}

/* ---- opening ---- */

sq_err sq_slab_open(int fd, struct sq_slab **out_slab)
{
    struct sq_slab *slab = calloc(1, sizeof *slab);
    if (!slab)
        return sq_fail(SQ_ENOMEM);
    pthread_mutex_init(&slab->lock, NULL);
    slab->fd = fd;
    off_t n_file = lseek(fd, 0, SEEK_END);
    sq_err err = n_file < 0 ? sq_fail(SQ_EIO) : read_headers(slab);
    if (!err && !slab->is_new) {
        uint64_t n_byte = n_file > HEADER_BYTES ? (uint64_t)n_file - HEADER_BYTES : 0;
        uint64_t n_slot = n_byte / SQ_SLAB_SLOT_BYTES; /* a cut last slot can only be zeros of a growth */
        if (n_slot > SQ_SLAB_MAX_SLOTS)
            err = sq_fail(SQ_ETAMPERED);
        else if (!(err = entries_reserve(slab, (uint32_t)n_slot)))
            slab->n_slot = (uint32_t)n_slot;
        if (!err)
            err = slab_load_slots(slab);
    }
    if (err) {
        sq_slab_close(slab);
        return err;
    }
    *out_slab = slab;
    return SQ_OK;
}

void sq_slab_close(struct sq_slab *slab)
{
    if (!slab)
        return;
    sq_key_free(slab->root);
    sq_key_free(slab->next_root);
    free(slab->entry);
    free(slab->bucket);
    pthread_mutex_destroy(&slab->lock);
    free(slab);
}

bool sq_slab_is_new(const struct sq_slab *slab)
{
    return slab->is_new;
}

bool sq_slab_is_unsealed(struct sq_slab *slab)
{
    pthread_mutex_lock(&slab->lock);
    bool is_unsealed = slab->root != NULL;
    pthread_mutex_unlock(&slab->lock);
    return is_unsealed;
}

void sq_slab_lock_of(struct sq_slab *slab, struct sq_slab_lock *out)
{
    pthread_mutex_lock(&slab->lock);
    *out = slab->header.lock;
    pthread_mutex_unlock(&slab->lock);
}

/* ---- what the header remembers ---- */

void sq_slab_tree(struct sq_slab *slab, uint64_t *out_size, uint8_t out_root[SQ_SHA256_BYTES])
{
    pthread_mutex_lock(&slab->lock);
    *out_size = slab->header.tree_size;
    memcpy(out_root, slab->header.tree_root, SQ_SHA256_BYTES);
    pthread_mutex_unlock(&slab->lock);
}

sq_err sq_slab_set_tree(struct sq_slab *slab, uint64_t size, const uint8_t root[SQ_SHA256_BYTES], int64_t clock_s)
{
    pthread_mutex_lock(&slab->lock);
    struct sq_slab_header next = slab->header;
    next.tree_size = size;
    memcpy(next.tree_root, root, SQ_SHA256_BYTES);
    if (clock_s > (int64_t)next.clock_s)
        next.clock_s = (uint64_t)clock_s;
    sq_err err = size < slab->header.tree_size ? sq_fail(SQ_EROLLBACK) : SQ_OK;
    if (!err)
        err = slab_write_header(slab, &next);
    pthread_mutex_unlock(&slab->lock);
    return err;
}

sq_err sq_slab_reset_tree(struct sq_slab *slab, uint64_t size, const uint8_t root[SQ_SHA256_BYTES])
{
    pthread_mutex_lock(&slab->lock);
    struct sq_slab_header next = slab->header;
    next.tree_size = size;
    memcpy(next.tree_root, root, SQ_SHA256_BYTES);
    sq_err err = slab_write_header(slab, &next);
    pthread_mutex_unlock(&slab->lock);
    return err;
}

int64_t sq_slab_clock_s(struct sq_slab *slab)
{
    pthread_mutex_lock(&slab->lock);
    int64_t clock_s = (int64_t)slab->header.clock_s;
    pthread_mutex_unlock(&slab->lock);
    return clock_s;
}

sq_err sq_slab_set_clock(struct sq_slab *slab, int64_t clock_s, bool is_confirmed)
{
    sq_err err = SQ_OK;
    pthread_mutex_lock(&slab->lock);
    if (is_confirmed || clock_s > (int64_t)slab->header.clock_s) {
        struct sq_slab_header next = slab->header;
        next.clock_s = (uint64_t)clock_s;
        err = slab_write_header(slab, &next);
    }
    pthread_mutex_unlock(&slab->lock);
    return err;
}
