/* keeper/slab inside: what slab.c, slab_root.c and slab_slot.c share. Every function here wants the lock held. */
#ifndef SQ_KEEPER_SLAB_INTERNAL_H
#define SQ_KEEPER_SLAB_INTERNAL_H

#include "daemon/keeper/slab.h"

#include <pthread.h>
#include <sys/types.h>

/* What is known of a slot without reading it. */
struct slab_entry {
    uint8_t id[SQ_SLAB_ID_BYTES];
    uint64_t not_after_s; /* tombstone: when it was destroyed */
    uint8_t type;         /* enum sq_slab_type; a tombstone's is_gone says so */
    bool is_gone, is_damaged, is_former;
    uint32_t next; /* in the same hash chain, + 1; 0 ends */
};

struct sq_slab {
    pthread_mutex_t lock;
    int fd;
    bool is_new;
    struct sq_slab_header header;
    struct sq_key *root, *next_root; /* next_root: while a rotation is under way */
    bool is_rekeying;
    struct slab_entry *entry;
    uint32_t n_slot, cap_slot;
    uint32_t *bucket; /* first slot + 1 of each chain */
    uint32_t n_bucket;
    uint32_t free_hint; /* no free slot below this one */
};

sq_err slab_grow(struct sq_slab *slab) SQ_MUST_CHECK;
sq_err slab_read_slot(struct sq_slab *slab, uint32_t at, struct sq_slab_slot *out) SQ_MUST_CHECK;
sq_err slab_write_slot(struct sq_slab *slab, uint32_t at, const struct sq_slab_slot *slot) SQ_MUST_CHECK;
sq_err slab_write_header(struct sq_slab *slab, struct sq_slab_header *next) SQ_MUST_CHECK;
sq_err slab_load_slots(struct sq_slab *slab) SQ_MUST_CHECK;
/* Wrap @key for @slot (every other field of it is set), or unwrap it. @parent: root or the owner's key. */
sq_err slab_wrap(struct sq_slab *slab, const struct sq_key *parent, struct sq_slab_slot *slot, const struct sq_key *key) SQ_MUST_CHECK;
sq_err slab_unwrap(struct sq_slab *slab, const struct sq_key *parent, const struct sq_slab_slot *slot,
                   struct sq_key **out_key) SQ_MUST_CHECK;
sq_err slab_add_locked(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, const uint8_t *owner,
                       uint64_t not_after_s, uint8_t for_role, const struct sq_key *key_or_null, int64_t now_s) SQ_MUST_CHECK;
/* The root key that wraps @slot, an owner's or a signing key's. SQ_ETAMPERED: neither the present nor the next one. */
sq_err slab_root_of(const struct sq_slab *slab, const struct sq_slab_slot *slot, const struct sq_key **out) SQ_MUST_CHECK;
uint32_t slab_root_no_for_new(const struct sq_slab *slab);
sq_err slab_open_root(struct sq_slab *slab, const struct sq_key *kek, struct sq_key **out_root, struct sq_key **out_next) SQ_MUST_CHECK;
sq_err slab_box_root(const struct sq_slab_header *h, const struct sq_key *kek, const struct sq_key *root, uint8_t out[SQ_SLAB_WRAPPED_BYTES]) SQ_MUST_CHECK;
sq_err slab_box_next_root(const struct sq_slab_header *h, const struct sq_key *root, const struct sq_key *next,
                          uint8_t out[SQ_SLAB_WRAPPED_BYTES]) SQ_MUST_CHECK;
off_t slab_slot_offset(uint32_t at);

/* slab_slot.c */
#define SLAB_NONE UINT32_MAX
uint32_t slab_find(const struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id);
/* sq_slab_look(), but former keys are found too; and where it stands; @out_at may be NULL */
sq_err slab_look(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, int64_t now_s, uint32_t *out_at, struct sq_slab_slot *out) SQ_MUST_CHECK;
/* The same, former keys left out: they are nobody's but slab_former.c's. */
sq_err slab_look_present(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, int64_t now_s, uint32_t *out_at, struct sq_slab_slot *out) SQ_MUST_CHECK;
/* A new slot: type, id, owner and the rest of what a caller decides are set in @slot; its key is @key_or_null or a fresh one. */
sq_err slab_put(struct sq_slab *slab, struct sq_slab_slot *slot, const struct sq_key *key_or_null, int64_t now_s) SQ_MUST_CHECK;
/* The key of @slot. */
sq_err slab_key_of(struct sq_slab *slab, const struct sq_slab_slot *slot, int64_t now_s, struct sq_key **out_key) SQ_MUST_CHECK;
/* Write @next in the place of the slot @at, its key wrapped anew because the fields are in its aad; @key_or_null: another key. */
sq_err slab_change(struct sq_slab *slab, uint32_t at, const struct sq_slab_slot *now, struct sq_slab_slot *next, const struct sq_key *key_or_null,
                   int64_t now_s) SQ_MUST_CHECK;
/* Destroy what stands at @at as @slot, damaged or not; or finish what was begun. */
sq_err slab_destroy_at(struct sq_slab *slab, uint32_t at, int64_t now_s, struct sq_slab_slot *out_slot) SQ_MUST_CHECK;

/* slab_former.c */
/* Where it stands. The id of the slab is in it, which doesn't leave keeper: who names owners can't name, or take beforehand, the place of a former key. */
void slab_former_id(const struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, uint8_t number, uint8_t out[SQ_SLAB_ID_BYTES]);
/* All former keys of @id, whatever is left of them. */
sq_err slab_destroy_formers(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, int64_t now_s) SQ_MUST_CHECK;

#endif
