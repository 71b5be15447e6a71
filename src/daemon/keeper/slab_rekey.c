/*
 * A new root key, and a new lock in front of it, while everything goes on being used. The steps, each durable before the next:
 *     1. the header carries the next root key, in a box under the present one
 *     2. slot by slot, what the root key wraps is wrapped under the next one; each slot says by which it is wrapped
 *     3. both header copies: the next root key becomes the root key, in a box under the new lock; the old box is gone
 * Until 3 the old lock opens everything, so a crash loses nothing; unsealing goes on where it stopped.
 */
#include "daemon/keeper/slab_internal.h"

#include "lib/core/fault.h"

static sq_err begin(struct sq_slab *slab)
{
    if (!slab->root)
        return sq_fail(SQ_ESEALED);
    if (slab->is_rekeying)
        return sq_fail(SQ_EBUSY);
    if (!slab->next_root) {
        struct sq_slab_header h = slab->header;
        struct sq_key *next = NULL;
        sq_err err = sq_key_new(&next);
        if (!err)
            err = slab_box_next_root(&h, slab->root, next, h.next_root);
        if (!err)
            err = slab_write_header(slab, &h);
        if (err) {
            sq_key_free(next);
            return err;
        }
        slab->next_root = next;
    }
    slab->is_rekeying = true;
    return sq_fault("keeper.rekey_begun");
}

static bool hangs_on_root(const struct slab_entry *e)
{
    return !e->is_gone && !e->is_damaged && (e->type == SQ_SLAB_OWNER || e->type == SQ_SLAB_TOKEN_KEY || e->type == SQ_SLAB_NOTE_KEY || e->type == SQ_SLAB_LOOKUP_KEY);
}

static sq_err move_slot(struct sq_slab *slab, uint32_t at, uint32_t *n_moved)
{
    struct sq_slab_slot slot;
    struct sq_key *key = NULL;
    if (!hangs_on_root(&slab->entry[at]))
        return SQ_OK;
    sq_err err = slab_read_slot(slab, at, &slot);
    if (err || slot.root_no == slab->header.root_no + 1)
        return err;
    const struct sq_key *from = NULL;
    err = slab_root_of(slab, &slot, &from);
    if (!err)
        err = slab_unwrap(slab, from, &slot, &key);
    slot.root_no = slab->header.root_no + 1;
    slot.generation++;
    if (!err)
        err = slab_wrap(slab, slab->next_root, &slot, key);
    if (!err)
        err = slab_write_slot(slab, at, &slot);
    if (!err)
        err = sq_fault("keeper.rekey_moved");
    *n_moved += !err;
    sq_key_free(key);
    return err;
}

/* Twice, so that neither copy keeps the old box. The first write decides. */
static sq_err end(struct sq_slab *slab, const struct sq_slab_lock *lock)
{
    struct sq_slab_header h = slab->header;
    h.lock = *lock;
    h.lock.kek = NULL;
    h.root_no++;
    memset(h.next_root, 0, sizeof h.next_root);
    sq_err err = slab_box_root(&h, lock->kek, slab->next_root, h.root);
    if (err)
        return err;
    struct sq_key *old = slab->root;
    slab->root = slab->next_root; /* the header's MAC hangs on it */
    err = slab_write_header(slab, &h);
    if (err && slab->header.root_no != h.root_no) {
        slab->root = old;
        return err;
    }
    slab->next_root = NULL;
    sq_key_free(old);
    if (!err)
        err = sq_fault("keeper.rekey_switched");
    return err ? err : slab_write_header(slab, &h);
}

sq_err sq_slab_rekey(struct sq_slab *slab, const struct sq_slab_lock *lock, uint32_t *out_root_no, uint32_t *out_n_slot)
{
    *out_n_slot = 0;
    pthread_mutex_lock(&slab->lock);
    sq_err err = begin(slab);
    bool is_mine = slab->is_rekeying && err != SQ_EBUSY && err != SQ_ESEALED;
    for (uint32_t at = 0; at < slab->n_slot && !err; at++) {
        err = move_slot(slab, at, out_n_slot);
        if (at % 16 == 15) { /* others want their keys */
            pthread_mutex_unlock(&slab->lock);
            pthread_mutex_lock(&slab->lock);
        }
    }
    if (!err)
        err = sq_fault("keeper.rekey_all_moved");
    if (!err)
        err = end(slab, lock);
    if (is_mine)
        slab->is_rekeying = false;
    *out_root_no = slab->header.root_no;
    pthread_mutex_unlock(&slab->lock);
    return err;
}

sq_err sq_slab_unseal(struct sq_slab *slab, const struct sq_key *kek)
{
    struct sq_key *root = NULL, *next = NULL;
    if (slab->is_new)
        return sq_fail(SQ_ECONFLICT);
    pthread_mutex_lock(&slab->lock);
    sq_err err = slab_open_root(slab, kek, &root, &next);
    bool is_first = !err && !slab->root;
    bool is_cut_short = is_first && next;
    struct sq_slab_lock l = slab->header.lock;
    if (is_first) {
        slab->root = root;
        slab->next_root = next;
        root = next = NULL;
    }
    pthread_mutex_unlock(&slab->lock);
    sq_key_free(root);
    sq_key_free(next);
    if (is_cut_short) {
        uint32_t no, n;
        l.kek = kek;
        sq_err later = sq_slab_rekey(slab, &l, &no, &n); /* fails: both root keys are at hand, and it is tried again */
        (void)later;
    }
    return err;
}

void sq_slab_root_state(struct sq_slab *slab, uint32_t *out_root_no, bool *out_is_rotating)
{
    pthread_mutex_lock(&slab->lock);
    *out_root_no = slab->header.root_no;
    *out_is_rotating = slab->next_root != NULL;
    pthread_mutex_unlock(&slab->lock);
}
