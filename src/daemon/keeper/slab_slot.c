/* The things in the slab: found by id, made, changed, destroyed, expired. */
#include "daemon/keeper/slab_internal.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"

#include <fcntl.h>
#include <stdlib.h>

#define NONE SLAB_NONE

/* ---- index: id and type -> slot ---- */

static uint32_t bucket_of(const struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id)
{
    return (sq_get_be32(id) ^ sq_get_be32(id + 12) ^ (uint32_t)type) & (slab->n_bucket - 1);
}

uint32_t slab_find(const struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id)
{
    if (!slab->n_bucket)
        return NONE;
    for (uint32_t next = slab->bucket[bucket_of(slab, type, id)]; next; next = slab->entry[next - 1].next)
        if (slab->entry[next - 1].type == type && !memcmp(slab->entry[next - 1].id, id, SQ_SLAB_ID_BYTES))
            return next - 1;
    return NONE;
}

static uint32_t find_damaged(const struct sq_slab *slab, const uint8_t *id)
{
    for (uint32_t at = 0; at < slab->n_slot; at++)
        if (slab->entry[at].is_damaged && !memcmp(slab->entry[at].id, id, SQ_SLAB_ID_BYTES))
            return at;
    return NONE;
}

static void chain(struct sq_slab *slab, uint32_t at)
{
    struct slab_entry *e = &slab->entry[at];
    uint32_t *head = &slab->bucket[bucket_of(slab, (enum sq_slab_type)e->type, e->id)];
    e->next = *head;
    *head = at + 1;
}

static void unchain(struct sq_slab *slab, uint32_t at)
{
    struct slab_entry *e = &slab->entry[at];
    uint32_t *link = &slab->bucket[bucket_of(slab, (enum sq_slab_type)e->type, e->id)];
    while (*link && *link != at + 1)
        link = &slab->entry[*link - 1].next;
    if (*link)
        *link = e->next;
    e->next = 0;
}

/* As many buckets as slots, at least; all chains anew. */
static sq_err rehash(struct sq_slab *slab)
{
    uint32_t n = 64;
    while (n < slab->n_slot)
        n *= 2;
    if (n == slab->n_bucket)
        return SQ_OK;
    uint32_t *bucket = calloc(n, sizeof *bucket);
    if (!bucket)
        return sq_fail(SQ_ENOMEM);
    free(slab->bucket);
    slab->bucket = bucket;
    slab->n_bucket = n;
    for (uint32_t at = 0; at < slab->n_slot; at++)
        if (slab->entry[at].type != SQ_SLAB_FREE && !slab->entry[at].is_damaged)
            chain(slab, at);
    return SQ_OK;
}

static void remember(struct sq_slab *slab, uint32_t at, const struct sq_slab_slot *slot)
{
    struct slab_entry *e = &slab->entry[at];
    *e = (struct slab_entry){0};
    memcpy(e->id, slot->id, SQ_SLAB_ID_BYTES);
    e->is_gone = slot->type == SQ_SLAB_TOMBSTONE;
    e->is_former = slot->state >= SQ_SLAB_FORMER;
    e->type = e->is_gone ? slot->was : slot->type;
    e->not_after_s = e->is_gone ? slot->destroyed_s : slot->not_after_s;
}

/* ---- destruction ---- */

static bool key_is_zero(const struct sq_slab_slot *slot)
{
    uint8_t any = 0;
    for (size_t i = 0; i < SQ_SLAB_WRAPPED_BYTES; i++)
        any |= slot->wrapped[i];
    return !any;
}

/* Second half: zeros, dropped from the page cache, read back. */
static sq_err finish_destruction(struct sq_slab *slab, uint32_t at, struct sq_slab_slot *slot)
{
    uint8_t want[SQ_SLAB_SLOT_BYTES], have[SQ_SLAB_SLOT_BYTES];
    size_t got = 0;
    memset(slot->wrapped, 0, SQ_SLAB_WRAPPED_BYTES);
    slot->generation++;
    sq_err err = slab_write_slot(slab, at, slot);
    if (err)
        return err;
    posix_fadvise(slab->fd, slab_slot_offset(at), SQ_SLAB_SLOT_BYTES, POSIX_FADV_DONTNEED);
    sq_slab_slot_encode(slot, want);
    err = sq_pread_full(slab->fd, have, sizeof have, slab_slot_offset(at), &got);
    if (!err)
        err = sq_fault("keeper.read_back");
    if (!err && (got != sizeof have || memcmp(want, have, sizeof want)))
        err = sq_fail(SQ_EERASE);
    return err;
}

/* @slot: as it stands in the file, damaged or not. */
static sq_err destroy_at(struct sq_slab *slab, uint32_t at, struct sq_slab_slot *slot, enum sq_slab_reason reason, int64_t now_s)
{
    struct slab_entry *e = &slab->entry[at];
    slot->was = e->type >= SQ_SLAB_OWNER && e->type < SQ_SLAB_TOMBSTONE ? e->type : SQ_SLAB_OBJECT;
    slot->type = SQ_SLAB_TOMBSTONE;
    memset(slot->sig, 0, sizeof slot->sig);
    slot->reason = (uint8_t)reason;
    slot->destroyed_s = (uint64_t)now_s;
    slot->generation++;
    sq_err err = sq_random(slot->wrapped, SQ_SLAB_WRAPPED_BYTES);
    if (!err)
        err = slab_write_slot(slab, at, slot);
    if (err)
        return err;
    if (e->is_damaged) { /* it was in no chain; a whole slot with the same id goes on standing for the id */
        e->is_damaged = false;
        if (slab_find(slab, (enum sq_slab_type)slot->was, slot->id) == NONE) {
            remember(slab, at, slot);
            chain(slab, at);
        } else {
            e->type = SQ_SLAB_TOMBSTONE;
            e->is_gone = true;
            e->not_after_s = slot->destroyed_s;
        }
    } else {
        e->is_gone = true;
        e->not_after_s = slot->destroyed_s;
    }
    if ((err = sq_fault("keeper.destroy_half")))
        return err;
    return finish_destruction(slab, at, slot);
}

sq_err slab_destroy_at(struct sq_slab *slab, uint32_t at, int64_t now_s, struct sq_slab_slot *out_slot)
{
    sq_err err = slab_read_slot(slab, at, out_slot);
    if (err == SQ_ETAMPERED)
        err = SQ_OK; /* damaged since it was opened: destroy what stands there */
    if (!err && !slab->entry[at].is_gone)
        err = destroy_at(slab, at, out_slot, SQ_SLAB_ASKED, now_s);
    else if (!err && !key_is_zero(out_slot))
        err = finish_destruction(slab, at, out_slot);
    return err;
}

sq_err sq_slab_destroy(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, int64_t now_s,
                       uint64_t *out_destroyed_s, uint32_t *out_generation)
{
    struct sq_slab_slot slot = {0};
    sq_err err = SQ_OK;
    pthread_mutex_lock(&slab->lock);
    for (uint32_t at; !err && (at = find_damaged(slab, id)) != NONE;) {
        err = slab_read_slot(slab, at, &slot);
        if (!err || err == SQ_ETAMPERED) /* its checksum is wrong, that is known */
            err = destroy_at(slab, at, &slot, SQ_SLAB_ASKED, now_s);
    }
    uint32_t at = slab_find(slab, type, id);
    if (!err && at != NONE && slab->entry[at].is_former && !slab->entry[at].is_gone)
        err = sq_fail(SQ_ENOTFOUND);
    if (!err && type == SQ_SLAB_OWNER)
        err = slab_destroy_formers(slab, type, id, now_s);
    if (!err && at != NONE)
        err = slab_destroy_at(slab, at, now_s, &slot);
    pthread_mutex_unlock(&slab->lock);
    if (err)
        return err;
    *out_destroyed_s = slot.destroyed_s;
    *out_generation = slot.generation;
    return SQ_OK;
}

sq_err sq_slab_expire(struct sq_slab *slab, int64_t now_s, void (*on_each)(void *ctx, const uint8_t *id), void *ctx,
                      uint32_t *out_n)
{
    sq_err first = SQ_OK;
    uint32_t n = 0;
    pthread_mutex_lock(&slab->lock);
    for (uint32_t at = 0; at < slab->n_slot; at++) {
        struct slab_entry *e = &slab->entry[at];
        if (e->type == SQ_SLAB_FREE || e->is_gone || !e->not_after_s || e->not_after_s > (uint64_t)now_s)
            continue;
        struct sq_slab_slot slot;
        sq_err err = slab_read_slot(slab, at, &slot);
        if (!err || err == SQ_ETAMPERED)
            err = destroy_at(slab, at, &slot, SQ_SLAB_EXPIRED, now_s);
        if (!err) {
            n++;
            if (on_each)
                on_each(ctx, slot.id);
        } else if (!first) {
            first = err;
        }
    }
    pthread_mutex_unlock(&slab->lock);
    *out_n = n;
    return first;
}

/* ---- loading ---- */

static bool is_torn_tombstone(const struct sq_slab_slot *slot) /* no single flipped bit makes one of these */
{
    return slot->type == SQ_SLAB_TOMBSTONE && slot->was >= SQ_SLAB_OWNER && slot->was < SQ_SLAB_TOMBSTONE &&
           (slot->reason == SQ_SLAB_ASKED || slot->reason == SQ_SLAB_EXPIRED) && slot->destroyed_s;
}

static sq_err load_slot(struct sq_slab *slab, uint32_t at, const uint8_t *bytes)
{
    struct sq_slab_slot slot;
    sq_err err = sq_slab_slot_decode(bytes, &slot);
    bool is_whole = !err;
    remember(slab, at, &slot);
    if (!is_whole && !is_torn_tombstone(&slot)) {
        slab->entry[at].is_damaged = true;
        slab->entry[at].is_gone = false;
        if (slab->entry[at].type == SQ_SLAB_FREE)
            slab->entry[at].type = SQ_SLAB_OBJECT; /* not free, whatever it was */
        slab->entry[at].not_after_s = slot.not_after_s;
        return SQ_OK;
    }
    if (slot.type == SQ_SLAB_FREE)
        return SQ_OK;
    if (slot.type == SQ_SLAB_TOMBSTONE && (!is_whole || !key_is_zero(&slot)) && (err = finish_destruction(slab, at, &slot)))
        return err;
    if (slab_find(slab, (enum sq_slab_type)slab->entry[at].type, slot.id) != NONE)
        slab->entry[at].is_damaged = true; /* an id twice: nothing of ours writes that */
    else
        chain(slab, at);
    return SQ_OK;
}

sq_err slab_load_slots(struct sq_slab *slab)
{
    const uint32_t per_read = 16;
    uint8_t bytes[SQ_SLAB_BLOCK_BYTES];
    sq_err err = rehash(slab);
    for (uint32_t at = 0; at < slab->n_slot && !err; at += per_read) {
        uint32_t n = slab->n_slot - at < per_read ? slab->n_slot - at : per_read;
        size_t got = 0;
        err = sq_pread_full(slab->fd, bytes, (size_t)n * SQ_SLAB_SLOT_BYTES, slab_slot_offset(at), &got);
        if (!err && got != (size_t)n * SQ_SLAB_SLOT_BYTES)
            err = sq_fail(SQ_EIO);
        for (uint32_t i = 0; i < n && !err; i++)
            err = load_slot(slab, at + i, bytes + (size_t)i * SQ_SLAB_SLOT_BYTES);
    }
    return err;
}

uint32_t sq_slab_n_damaged(struct sq_slab *slab)
{
    uint32_t n = 0;
    pthread_mutex_lock(&slab->lock);
    for (uint32_t at = 0; at < slab->n_slot; at++)
        n += slab->entry[at].is_damaged;
    pthread_mutex_unlock(&slab->lock);
    return n;
}

/* ---- looking ---- */

sq_err slab_look(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, int64_t now_s, uint32_t *out_at, struct sq_slab_slot *out)
{
    uint32_t at = slab_find(slab, type, id);
    if (at == NONE)
        return sq_fail(find_damaged(slab, id) != NONE ? SQ_ETAMPERED : SQ_ENOTFOUND);
    const struct slab_entry *e = &slab->entry[at];
    if (e->is_gone || (e->not_after_s && e->not_after_s <= (uint64_t)now_s))
        return sq_fail(SQ_EKEYGONE);
    struct sq_slab_slot slot;
    sq_err err = slab_read_slot(slab, at, &slot);
    if (err)
        return err;
    if (slot.type != type || memcmp(slot.id, id, SQ_SLAB_ID_BYTES) || slot.not_after_s != e->not_after_s)
        return sq_fail(SQ_ETAMPERED); /* changed behind our back */
    *out = slot;
    if (out_at)
        *out_at = at;
    return SQ_OK;
}

sq_err slab_look_present(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, int64_t now_s, uint32_t *out_at, struct sq_slab_slot *out)
{
    struct sq_slab_slot slot;
    sq_err err = slab_look(slab, type, id, now_s, out_at, &slot);
    if (!err && slot.state >= SQ_SLAB_FORMER)
        err = sq_fail(SQ_ENOTFOUND);
    if (!err)
        *out = slot;
    return err;
}

sq_err sq_slab_look(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, int64_t now_s, struct sq_slab_slot *out)
{
    pthread_mutex_lock(&slab->lock);
    sq_err err = slab_look_present(slab, type, id, now_s, NULL, out);
    pthread_mutex_unlock(&slab->lock);
    return err;
}

/* The key that wraps @slot's: root, or for an object its owner's. *out_owned is to be freed, *out_parent isn't. */
static sq_err parent_of(struct sq_slab *slab, const struct sq_slab_slot *slot, int64_t now_s, struct sq_key **out_owned,
                        const struct sq_key **out_parent)
{
    struct sq_slab_slot owner;
    *out_owned = NULL;
    if (!slab->root)
        return sq_fail(SQ_ESEALED);
    if (slot->type != SQ_SLAB_OBJECT)
        return slab_root_of(slab, slot, out_parent);
    sq_err err = slab_look_present(slab, SQ_SLAB_OWNER, slot->owner, now_s, NULL, &owner);
    if (err == SQ_ENOTFOUND)
        err = SQ_EKEYGONE; /* its tombstone is older than the object: gone all the same */
    const struct sq_key *root;
    if (!err && owner.number != slot->number) { /* his key was replaced since */
        uint8_t former[SQ_SLAB_ID_BYTES];
        slab_former_id(slab, SQ_SLAB_OWNER, slot->owner, slot->number, former);
        err = slab_look(slab, SQ_SLAB_OWNER, former, now_s, NULL, &owner);
        if (err == SQ_ENOTFOUND || (!err && owner.state != SQ_SLAB_FORMER))
            err = SQ_ETAMPERED;
    }
    if (!err)
        err = slab_root_of(slab, &owner, &root);
    if (!err)
        err = slab_unwrap(slab, root, &owner, out_owned);
    if (!err)
        *out_parent = *out_owned;
    return err;
}

sq_err slab_key_of(struct sq_slab *slab, const struct sq_slab_slot *slot, int64_t now_s, struct sq_key **out_key)
{
    struct sq_key *owned;
    const struct sq_key *parent;
    sq_err err = parent_of(slab, slot, now_s, &owned, &parent);
    if (!err)
        err = slab_unwrap(slab, parent, slot, out_key);
    sq_key_free(owned);
    return err;
}

sq_err sq_slab_key(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, int64_t now_s,
                   struct sq_slab_slot *out_slot, struct sq_key **out_key)
{
    struct sq_slab_slot slot;
    pthread_mutex_lock(&slab->lock);
    sq_err err = slab->root ? slab_look_present(slab, type, id, now_s, NULL, &slot) : sq_fail(SQ_ESEALED);
    if (!err)
        err = slab_key_of(slab, &slot, now_s, out_key);
    pthread_mutex_unlock(&slab->lock);
    if (!err && out_slot)
        *out_slot = slot;
    return err;
}

sq_err sq_slab_list(struct sq_slab *slab, enum sq_slab_type type, uint32_t from, uint8_t *out_listed, uint32_t max, uint32_t *out_n, uint32_t *out_next)
{
    uint32_t n = 0, at = from;
    sq_err err = SQ_OK;
    struct sq_slab_slot slot;
    pthread_mutex_lock(&slab->lock);
    for (; at < slab->n_slot && n < max && !err; at++) {
        const struct slab_entry *e = &slab->entry[at];
        if (e->type != type || e->is_gone || e->is_damaged)
            continue;
        err = slab_read_slot(slab, at, &slot); /* what the file says, not what was remembered: a check asks for that */
        if (err == SQ_ETAMPERED) { /* damaged since the slab was opened */
            slab->entry[at].is_damaged = true;
            err = SQ_OK;
            continue;
        }
        if (err)
            break;
        if (slot.state >= SQ_SLAB_FORMER)
            continue;
        uint8_t *p = out_listed + (size_t)n++ * SQ_SLAB_LISTED_BYTES;
        memcpy(p, slot.id, SQ_SLAB_ID_BYTES);
        memcpy(p + SQ_SLAB_ID_BYTES, slot.owner, SQ_SLAB_ID_BYTES);
        if (type == SQ_SLAB_OWNER) {
            memset(p + SQ_SLAB_ID_BYTES, 0, SQ_SLAB_ID_BYTES);
            p[SQ_SLAB_ID_BYTES] = slot.for_role;
        }
        sq_put_be64(p + 2 * SQ_SLAB_ID_BYTES, slot.not_after_s);
    }
    *out_next = !err && at < slab->n_slot ? at : 0;
    pthread_mutex_unlock(&slab->lock);
    *out_n = n;
    return err;
}

/* ---- making and changing ---- */

static uint32_t oldest_tombstone(const struct sq_slab *slab)
{
    uint32_t best = NONE;
    for (uint32_t at = 0; at < slab->n_slot; at++)
        if (slab->entry[at].is_gone && !slab->entry[at].is_damaged &&
            (best == NONE || slab->entry[at].not_after_s < slab->entry[best].not_after_s))
            best = at;
    return best;
}

/* A free place: an empty slot, an old tombstone, a longer file, and at last the oldest tombstone. */
static sq_err place(struct sq_slab *slab, int64_t now_s, uint32_t *out_at)
{
    for (; slab->free_hint < slab->n_slot; slab->free_hint++)
        if (slab->entry[slab->free_hint].type == SQ_SLAB_FREE) {
            *out_at = slab->free_hint;
            return SQ_OK;
        }
    uint32_t old = oldest_tombstone(slab);
    bool is_old = old != NONE && (int64_t)slab->entry[old].not_after_s + SQ_SLAB_TOMBSTONE_S < now_s;
    sq_err err = is_old ? SQ_OK : slab_grow(slab);
    if (err == SQ_EFULL && old != NONE)
        is_old = true;
    else if (err)
        return err;
    *out_at = is_old ? old : slab->free_hint;
    return is_old ? SQ_OK : rehash(slab);
}

sq_err slab_add_locked(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, const uint8_t *owner,
                       uint64_t not_after_s, uint8_t for_role, const struct sq_key *key_or_null, int64_t now_s)
{
    struct sq_slab_slot slot = {.type = (uint8_t)type, .for_role = for_role, .not_after_s = not_after_s,
                                .created_s = (uint64_t)now_s, .state = type == SQ_SLAB_OBJECT ? SQ_SLAB_OPEN : 0};
    struct sq_slab_slot his;
    memcpy(slot.id, id, SQ_SLAB_ID_BYTES);
    if (type == SQ_SLAB_OBJECT) {
        memcpy(slot.owner, owner, SQ_SLAB_ID_BYTES);
        if (!slab_look_present(slab, SQ_SLAB_OWNER, owner, now_s, NULL, &his)) /* else slab_put() says why not */
            slot.number = his.number;
    }
    return slab_put(slab, &slot, key_or_null, now_s);
}

sq_err slab_put(struct sq_slab *slab, struct sq_slab_slot *slot, const struct sq_key *key_or_null, int64_t now_s)
{
    enum sq_slab_type type = (enum sq_slab_type)slot->type;
    struct sq_slab_slot before;
    struct sq_key *made = NULL, *owned = NULL;
    const struct sq_key *parent = NULL;
    uint32_t at;
    slot->root_no = type == SQ_SLAB_OBJECT ? 0 : slab_root_no_for_new(slab);
    if ((at = slab_find(slab, type, slot->id)) != NONE)
        return sq_fail(slab->entry[at].is_gone ? SQ_EKEYGONE : SQ_EEXISTS);
    if (find_damaged(slab, slot->id) != NONE)
        return sq_fail(SQ_ETAMPERED);
    sq_err err = parent_of(slab, slot, now_s, &owned, &parent);
    if (!err && !key_or_null)
        err = sq_key_new(&made);
    if (!err)
        err = place(slab, now_s, &at);
    if (!err)
        err = slab_read_slot(slab, at, &before);
    if (!err) {
        slot->generation = before.generation + 1;
        err = slab_wrap(slab, parent, slot, key_or_null ? key_or_null : made);
    }
    if (!err)
        err = slab_write_slot(slab, at, slot);
    if (!err) {
        if (!slab->n_bucket)
            err = rehash(slab);
        if (slab->entry[at].type != SQ_SLAB_FREE && slab->entry[at].type != SQ_SLAB_TOMBSTONE)
            unchain(slab, at);
        remember(slab, at, slot);
        if (!err)
            chain(slab, at);
    }
    sq_key_free(made);
    sq_key_free(owned);
    return err;
}

sq_err sq_slab_add(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, const uint8_t *owner,
                   uint64_t not_after_s, uint8_t for_role, int64_t now_s)
{
    sq_assert(type == SQ_SLAB_OWNER || type == SQ_SLAB_OBJECT);
    if (not_after_s && not_after_s <= (uint64_t)now_s)
        return sq_fail(SQ_ERANGE);
    pthread_mutex_lock(&slab->lock);
    sq_err err = slab_add_locked(slab, type, id, owner, not_after_s, for_role, NULL, now_s);
    pthread_mutex_unlock(&slab->lock);
    return err;
}

sq_err slab_change(struct sq_slab *slab, uint32_t at, const struct sq_slab_slot *now, struct sq_slab_slot *next, const struct sq_key *key_or_null,
                   int64_t now_s)
{
    struct sq_key *key = NULL, *owned = NULL;
    const struct sq_key *parent;
    sq_err err = parent_of(slab, now, now_s, &owned, &parent);
    if (!err && !key_or_null)
        err = slab_unwrap(slab, parent, now, &key);
    next->generation++;
    if (!err)
        err = slab_wrap(slab, parent, next, key_or_null ? key_or_null : key);
    if (!err)
        err = slab_write_slot(slab, at, next);
    if (!err)
        slab->entry[at].not_after_s = next->not_after_s;
    sq_key_free(key);
    sq_key_free(owned);
    return err;
}

sq_err sq_slab_shut(struct sq_slab *slab, const uint8_t *id, int64_t now_s)
{
    struct sq_slab_slot slot;
    uint32_t at;
    pthread_mutex_lock(&slab->lock);
    sq_err err = slab_look(slab, SQ_SLAB_OBJECT, id, now_s, &at, &slot);
    if (!err && slot.state == SQ_SLAB_OPEN) {
        struct sq_slab_slot next = slot;
        next.state = SQ_SLAB_CLOSED;
        err = slab_change(slab, at, &slot, &next, NULL, now_s);
    }
    pthread_mutex_unlock(&slab->lock);
    return err;
}

sq_err sq_slab_mark(struct sq_slab *slab, const uint8_t *owner_id, uint8_t flags, bool is_set, int64_t now_s)
{
    struct sq_slab_slot slot;
    uint32_t at;
    pthread_mutex_lock(&slab->lock);
    sq_err err = slab_look_present(slab, SQ_SLAB_OWNER, owner_id, now_s, &at, &slot);
    uint8_t wanted = (uint8_t)(is_set ? slot.for_role | flags : slot.for_role & ~flags);
    if (!err && slot.for_role != wanted) {
        struct sq_slab_slot next = slot;
        next.for_role = wanted;
        err = slab_change(slab, at, &slot, &next, NULL, now_s);
    }
    pthread_mutex_unlock(&slab->lock);
    return err;
}

sq_err sq_slab_extend(struct sq_slab *slab, const uint8_t *id, uint64_t not_after_s, int64_t now_s)
{
    struct sq_slab_slot slot;
    uint32_t at;
    if (not_after_s && not_after_s <= (uint64_t)now_s)
        return sq_fail(SQ_ERANGE);
    pthread_mutex_lock(&slab->lock);
    sq_err err = slab_look(slab, SQ_SLAB_OBJECT, id, now_s, &at, &slot);
    if (!err && slot.not_after_s != not_after_s) {
        struct sq_slab_slot next = slot;
        next.not_after_s = not_after_s;
        err = slab_change(slab, at, &slot, &next, NULL, now_s);
    }
    pthread_mutex_unlock(&slab->lock);
    return err;
}
