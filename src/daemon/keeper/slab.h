/**
 * keeper/slab - every key of the site, wrapped, in one file of fixed-size slots. Bytes: docs/formats/key-slab.md.
 *
 * What it may touch: the slab's descriptor. What it never does: hand out the root key or an owner's key outside this
 * folder, decide who may have a key, read a message. All functions are thread-safe; keys returned are the caller's to free.
 *
 * A slab is opened sealed: expiry and destruction work, nothing can be read. Unsealing brings the root key into locked
 * memory, where it stays until the slab is closed.
 */
#ifndef SQ_KEEPER_SLAB_H
#define SQ_KEEPER_SLAB_H

#include "lib/crypt/crypt.h"

#define SQ_SLAB_ID_BYTES 16
#define SQ_SLAB_SLOT_BYTES 256
#define SQ_SLAB_BLOCK_BYTES 4096
#define SQ_SLAB_WRAPPED_BYTES (SQ_KEY_BYTES + SQ_BOX_EXTRA_BYTES)
#define SQ_SLAB_MAX_SLOTS (1u << 20)
#define SQ_SLAB_STEP_SLOTS 64
#define SQ_SLAB_TOMBSTONE_S (90 * INT64_C(86400))

enum sq_slab_type {
    SQ_SLAB_FREE = 0,
    SQ_SLAB_OWNER = 1,
    SQ_SLAB_OBJECT = 2,
    SQ_SLAB_TOKEN_KEY = 3,
    SQ_SLAB_NOTE_KEY = 4,
    SQ_SLAB_LOOKUP_KEY = 5,
    SQ_SLAB_TOMBSTONE = 6
};
/* of an object: open, closed. Of an owner's or signing key: 0, or one that was replaced; of which only the public half is left */
enum sq_slab_state { SQ_SLAB_OPEN = 1, SQ_SLAB_CLOSED = 2, SQ_SLAB_FORMER = 3, SQ_SLAB_FORMER_PUBLIC = 4 };
enum sq_slab_reason { SQ_SLAB_ASKED = 1, SQ_SLAB_EXPIRED = 2 };
enum sq_slab_backend { SQ_SLAB_PASSPHRASE = 1, SQ_SLAB_FILE = 2, SQ_SLAB_SHARES = 3, SQ_SLAB_PKCS11 = 4 };

#define SQ_SLAB_HSM_BOX_MAX 512
/** What stands between a person and the root key, and the key (KEK) that comes of it. */
struct sq_slab_lock {
    enum sq_slab_backend backend;
    uint32_t kdf_mem_kib, kdf_passes;    /* passphrase */
    uint8_t salt[16];                    /* passphrase: Argon2id's; shares: which set of shares */
    uint8_t n_share, threshold;          /* shares */
    uint16_t hsm_box_bytes;              /* PKCS#11: the KEK as the token enciphered it */
    uint8_t hsm_box[SQ_SLAB_HSM_BOX_MAX];
    const struct sq_key *kek;            /* borrowed */
};

/** One slot, decoded. */
struct sq_slab_slot {
    uint8_t type, state, for_role, was, reason; /* for_role: of an owner, SQ_SLAB_HAS_PASSWORD and SQ_SLAB_NEEDS_FACTOR */
    uint8_t number; /* of an owner's or signing key: how many were before it; of an object: number of the owner's key that wraps it */
    uint32_t generation;
    uint32_t root_no; /* which root key wraps it; 0: its owner's key does */
    uint8_t id[SQ_SLAB_ID_BYTES], owner[SQ_SLAB_ID_BYTES];
    uint64_t not_after_s, created_s, destroyed_s;
    uint8_t wrapped[SQ_SLAB_WRAPPED_BYTES];
    uint8_t sig[SQ_ED25519_SIG_BYTES]; /* of a former key of which the public half is left: what it signed of the key that followed; else zero */
};

/** One header copy, decoded. */
struct sq_slab_header {
    uint8_t slab_id[16];
    uint64_t created_s;
    uint32_t root_no;
    struct sq_slab_lock lock; /* its kek is NULL */
    uint8_t root[SQ_SLAB_WRAPPED_BYTES];
    uint8_t next_root[SQ_SLAB_WRAPPED_BYTES]; /* zero: no rotation is under way */
    uint64_t sequence, clock_s, tree_size;
    uint8_t tree_root[SQ_SHA256_BYTES];
    uint8_t mac[SQ_SHA256_BYTES];
};

extern const uint8_t sq_slab_site_owner[SQ_SLAB_ID_BYTES]; /* 16 zero bytes */

struct sq_slab;

/* ---- opening and unsealing ---- */

/**
 * sq_slab_open - read the slab behind @fd, finish destructions that a crash cut short.
 *
 * @fd   opened for reading and writing; must outlive the slab.   borrowed
 *
 * SQ_OK also for an empty file (sq_slab_is_new). SQ_ETAMPERED when neither header copy is whole; SQ_EIO.
 */
sq_err sq_slab_open(int fd, struct sq_slab **out_slab) SQ_MUST_CHECK;
void sq_slab_close(struct sq_slab *slab); /* wipes the root key; NULL allowed */

bool sq_slab_is_new(const struct sq_slab *slab);
bool sq_slab_is_unsealed(struct sq_slab *slab);
/** How the slab is locked now; kek is NULL. Of a slab that isn't new. */
void sq_slab_lock_of(struct sq_slab *slab, struct sq_slab_lock *out);
/** Argon2id costs and a fresh salt; *out_kek is the caller's, and @out->kek borrows it. */
sq_err sq_slab_lock_passphrase(const void *passphrase, size_t n, uint32_t mem_kib, uint32_t passes, struct sq_slab_lock *out,
                               struct sq_key **out_kek) SQ_MUST_CHECK;

/** Make the root key, the signing keys and the site's owner key, durably; then unsealed. Only for a new slab. */
sq_err sq_slab_create(struct sq_slab *slab, const struct sq_slab_lock *lock, int64_t now_s) SQ_MUST_CHECK;
/**
 * sq_slab_unseal - the root key into memory; a rotation that a crash cut short is finished, under the present lock.
 *
 * SQ_EPASSWORD: not the right key. SQ_ETAMPERED: right, but the header was changed. Unsealed already: only checks.
 */
sq_err sq_slab_unseal(struct sq_slab *slab, const struct sq_key *kek) SQ_MUST_CHECK;
/** The same by a passphrase; SQ_ECONFLICT when the slab isn't locked by one. */
sq_err sq_slab_unseal_passphrase(struct sq_slab *slab, const void *passphrase, size_t n) SQ_MUST_CHECK;

/**
 * sq_slab_rekey - a new root key under @lock: every owner's and signing key is wrapped anew, one slot at a time, while
 * all go on being used. Old root and old lock open nothing of the slab afterwards, both header copies included.
 *
 * @out_root_no  number of the new root key; @out_n_slot  slots that were wrapped anew.
 *
 * A crash or an error in between: all keys stay readable under the old lock; the next unsealing or the next call goes on.
 * SQ_ESEALED; SQ_EBUSY: another is under way; SQ_EIO.
 */
sq_err sq_slab_rekey(struct sq_slab *slab, const struct sq_slab_lock *lock, uint32_t *out_root_no, uint32_t *out_n_slot) SQ_MUST_CHECK;
void sq_slab_root_state(struct sq_slab *slab, uint32_t *out_root_no, bool *out_is_rotating);

/* ---- slots ---- */

/** New owner or object with a fresh key. SQ_EEXISTS: it lives; SQ_EKEYGONE: destroyed before, or the owner is gone. */
sq_err sq_slab_add(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, const uint8_t *owner,
                   uint64_t not_after_s, uint8_t for_role, int64_t now_s) SQ_MUST_CHECK;
/** The slot of a living thing; a former key is none. SQ_ENOTFOUND; SQ_EKEYGONE: destroyed, or past its end; SQ_ETAMPERED: damaged. */
sq_err sq_slab_look(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, int64_t now_s,
                    struct sq_slab_slot *out) SQ_MUST_CHECK;
/** Its key, unwrapped. As sq_slab_look, and SQ_ESEALED. @out_slot may be NULL. An object needs its owner's key to live. */
sq_err sq_slab_key(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, int64_t now_s,
                   struct sq_slab_slot *out_slot, struct sq_key **out_key) SQ_MUST_CHECK;
/** No more sealing keys for this object; again is SQ_OK. */
sq_err sq_slab_shut(struct sq_slab *slab, const uint8_t *id, int64_t now_s) SQ_MUST_CHECK;
/** What an owner's slot remembers of his credentials: @flags are set (or, with @is_set false, cleared), durably. */
#define SQ_SLAB_HAS_PASSWORD 1u  /* one was set: from then on another one takes a proof */
#define SQ_SLAB_NEEDS_FACTOR 2u  /* a password alone isn't enough */
sq_err sq_slab_mark(struct sq_slab *slab, const uint8_t *owner_id, uint8_t flags, bool is_set, int64_t now_s) SQ_MUST_CHECK;
sq_err sq_slab_extend(struct sq_slab *slab, const uint8_t *id, uint64_t not_after_s, int64_t now_s) SQ_MUST_CHECK;

/**
 * sq_slab_destroy - overwrite the key, read back, leave a tombstone. Works sealed, and on a damaged slot.
 *
 * @out_destroyed_s, @out_generation  of the tombstone; an id that was never here gives 0 and 0.
 *
 * Idempotent. SQ_ENOTFOUND: it is a former key's, which goes with its owner; SQ_EERASE: the read back differs (the slot is tried again at the next call); SQ_EIO.
 */
sq_err sq_slab_destroy(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, int64_t now_s,
                       uint64_t *out_destroyed_s, uint32_t *out_generation) SQ_MUST_CHECK;
/** Destroy everything whose end has passed; @on_each (may be NULL) hears of each. Goes on after a failure, returns the first. */
sq_err sq_slab_expire(struct sq_slab *slab, int64_t now_s, void (*on_each)(void *ctx, const uint8_t *id), void *ctx,
                      uint32_t *out_n) SQ_MUST_CHECK;
/** Living objects, or owners, from slot @from on, at most @max: id, owner (of an owner: its flags, then zeros), not_after_s. *out_next: where to go on; 0: the end. SQ_EIO. */
#define SQ_SLAB_LISTED_BYTES (2 * SQ_SLAB_ID_BYTES + 8)
sq_err sq_slab_list(struct sq_slab *slab, enum sq_slab_type type, uint32_t from, uint8_t *out_listed, uint32_t max, uint32_t *out_n, uint32_t *out_next) SQ_MUST_CHECK;
/** Damaged slots found at opening and not destroyed since; their ids as they stand. */
uint32_t sq_slab_n_damaged(struct sq_slab *slab);

/* ---- keys that are replaced (slab_former.c) ---- */

#define SQ_SLAB_MAX_NUMBER 255
struct sq_slab_replacing {
    enum sq_slab_type type; /* owner, token key, note key */
    const uint8_t *id;
    const struct sq_key *fresh;  /* NULL: one is drawn */
    bool is_dropped;             /* the key that is replaced, and all before it, are destroyed; else it stays, as a former key */
    uint64_t not_after_s;        /* ... until then; 0: as long as the slot whose key it was */
    uint8_t note[SQ_SLAB_ID_BYTES]; /* ... with this in its owner field */
    const struct sq_key *kept;   /* not NULL: these bytes stay in its place, its public half; with @sig */
    const uint8_t *sig;
};
/**
 * sq_slab_replace - another key in the slot of an owner or a signing key, numbered one higher.
 *
 * Durable before the new key stands there: the former one beside it. What hangs on that (objects of an owner, his sealed
 * fields) stays readable. Killed in between, the old key goes on being the key; the next call begins again.
 *
 * @out_number  the new key's. SQ_EFULL: it was replaced as often as it may be; it may still be dropped, and keeps its number then. SQ_ENOTFOUND, SQ_EKEYGONE, SQ_ESEALED, SQ_EIO.
 */
sq_err sq_slab_replace(struct sq_slab *slab, const struct sq_slab_replacing *how, int64_t now_s, uint8_t *out_number) SQ_MUST_CHECK;
/** The former key @number of @id. SQ_ENOTFOUND: there never was one; SQ_EKEYGONE: destroyed. Either out may be NULL. */
sq_err sq_slab_former(struct sq_slab *slab, enum sq_slab_type type, const uint8_t *id, uint8_t number, int64_t now_s,
                      struct sq_slab_slot *out_slot, struct sq_key **out_key) SQ_MUST_CHECK;

/* ---- header ---- */
void sq_slab_tree(struct sq_slab *slab, uint64_t *out_size, uint8_t out_root[SQ_SHA256_BYTES]);
/** Durable on return. SQ_EROLLBACK when @size is below the present one. */
sq_err sq_slab_set_tree(struct sq_slab *slab, uint64_t size, const uint8_t root[SQ_SHA256_BYTES], int64_t clock_s) SQ_MUST_CHECK;
/** sq_slab_reset_tree - the tree may also become smaller or another one: the operator's decision after a rollback. */
sq_err sq_slab_reset_tree(struct sq_slab *slab, uint64_t size, const uint8_t root[SQ_SHA256_BYTES]) SQ_MUST_CHECK;
int64_t sq_slab_clock_s(struct sq_slab *slab);
/** Remember that the clock stood at @clock_s; @is_confirmed also moves it backward. */
sq_err sq_slab_set_clock(struct sq_slab *slab, int64_t clock_s, bool is_confirmed) SQ_MUST_CHECK;

/* ---- bytes (slab_format.c), for the slab itself and its tests ---- */
void sq_slab_slot_encode(const struct sq_slab_slot *slot, uint8_t out[SQ_SLAB_SLOT_BYTES]);
/** SQ_ETAMPERED on a wrong checksum or an impossible value; @out is filled all the same, as far as it can be read. */
sq_err sq_slab_slot_decode(const uint8_t bytes[SQ_SLAB_SLOT_BYTES], struct sq_slab_slot *out);
void sq_slab_header_encode(const struct sq_slab_header *h, uint8_t out[SQ_SLAB_BLOCK_BYTES]);
sq_err sq_slab_header_decode(const uint8_t bytes[SQ_SLAB_BLOCK_BYTES], struct sq_slab_header *out) SQ_MUST_CHECK;
#define SQ_SLAB_ROOT_AAD_BYTES 600   /* of a header: what the root key's box covers */
#define SQ_SLAB_NEXT_AAD_BYTES 52    /* ... the next root key's */
#define SQ_SLAB_MAC_COVERS_BYTES 4032
#define SQ_SLAB_SLOT_AAD_BYTES 72    /* of a slot */

#endif
