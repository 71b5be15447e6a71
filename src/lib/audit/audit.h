/**
 * audit - the Merkle audit log: append, prove, read, verify. Bytes: docs/formats/audit-log.md.
 *
 * What it may touch: the log directory that it is handed as a descriptor (segments, tree, checkpoints, reserve).
 * What it never does: seal or open a personal field (keeper does; here they are opaque bytes), hold a private key
 * outside the two sq_note_sign calls of keeper, decide what is worth an entry.
 *
 * An entry is final when it is appended: leaf hashes are taken over the sealed form, so destroying a person's key
 * leaves the tree verifiable. Entry numbers start at 1, so the size of the log is the number of its last entry.
 * Follows RFC 9162 section 2.1 (tree, proofs) and C2SP tlog-checkpoint / signed-note (checkpoints).
 *
 * A log handle belongs to one thread at a time. sq_crypt_start() must have run.
 */
#ifndef SQ_AUDIT_AUDIT_H
#define SQ_AUDIT_AUDIT_H

#include "lib/core/buf.h"
#include "lib/crypt/crypt.h"

#define SQ_AUDIT_HASH_BYTES 32
#define SQ_AUDIT_ID_BYTES 16
#define SQ_AUDIT_REQUEST_BYTES 8
#define SQ_AUDIT_MAX_FIELDS 8
#define SQ_AUDIT_FIELD_MAX_BYTES 1024
#define SQ_AUDIT_ENTRY_MIN_BYTES 96
#define SQ_AUDIT_ENTRY_MAX_BYTES (96 + SQ_AUDIT_MAX_FIELDS * (20 + SQ_AUDIT_FIELD_MAX_BYTES))
#define SQ_AUDIT_GROUP_MAX 1024 /* entries in one append */
#define SQ_AUDIT_PROOF_MAX 66   /* hashes in one proof */

/* ---- events (events.def) and sealed fields (fields.def) ------------------------------------------------- */

enum sq_audit_class {
    SQ_AUDIT_ROUTINE = 1, /* refused (SQ_ELOG) when the log can't be written */
    SQ_AUDIT_ERASURE,     /* erasure, unseal, repair, incident: may use the reserve */
};

enum sq_audit_event {
#define SQ_EVENT(name, no, class, text) SQ_AUDIT_##name = (no),
#include "lib/audit/events.def"
#undef SQ_EVENT
};

enum sq_audit_field_no {
#define SQ_AUDIT_FIELD(name, no, text) SQ_AUDIT_FIELD_##name = (no),
#include "lib/audit/fields.def"
#undef SQ_AUDIT_FIELD
};

/** Name, class and text of event @no; NULL or 0 when there is none. Static strings. */
const char *sq_audit_event_name(unsigned no);
enum sq_audit_class sq_audit_event_class(unsigned no);
const char *sq_audit_event_text(unsigned no);
/** sq_audit_event_named - number of the event called @name, or 0. */
unsigned sq_audit_event_named(const char *name);
const char *sq_audit_field_name(unsigned no); /* NULL when there is none */

/* ---- an entry ------------------------------------------------------------------------------------------- */

enum sq_audit_role { SQ_AUDIT_ROLE_NOBODY, SQ_AUDIT_ROLE_USER, SQ_AUDIT_ROLE_OPERATOR, SQ_AUDIT_ROLE_SERVICE, SQ_AUDIT_ROLE_SECURITY, SQ_AUDIT_ROLE_AUDITOR, SQ_AUDIT_ROLE_SUPPORT };

/** A personal field, sealed by keeper before it came here. */
struct sq_audit_field {
    uint16_t no;                           /* enum sq_audit_field_no */
    uint8_t owner[SQ_AUDIT_ID_BYTES];      /* pseudonym of whose key sealed it (a person's, or a week's) */
    struct sq_span sealed;                 /* 1..SQ_AUDIT_FIELD_MAX_BYTES; borrowed */
};

#define SQ_AUDIT_ROWS_BYTES 32
/** Field rows: of the database, by the class of statement, in the transaction that this entry is of. Not personal: its owner is zero. */
struct sq_audit_rows {
    uint64_t n_read, n_inserted, n_changed, n_deleted;
};
void sq_audit_rows_put(const struct sq_audit_rows *rows, uint8_t out[SQ_AUDIT_ROWS_BYTES]);

struct sq_audit_entry {
    uint64_t number;                       /* 1-based */
    int64_t time_ms;                       /* Unix, >= 0 */
    uint16_t event;                        /* enum sq_audit_event */
    uint16_t result;                       /* number of an sq_err; 0 = done */
    uint8_t role;                          /* enum sq_audit_role: as whom the actor acted */
    uint8_t actor[SQ_AUDIT_ID_BYTES];      /* pseudonym; zero: nobody or the service itself */
    uint8_t subject[SQ_AUDIT_ID_BYTES];    /* pseudonym: whose data; zero: nobody's */
    uint8_t object[SQ_AUDIT_ID_BYTES];     /* zero: none */
    uint8_t request[SQ_AUDIT_REQUEST_BYTES];
    uint64_t count_a, count_b;             /* what they count stands in events.def, per event */
    uint8_t n_field;
    struct sq_audit_field field[SQ_AUDIT_MAX_FIELDS];
};

/** Canonical bytes, appended to @out. SQ_ERANGE when a member is outside what the format can say. */
sq_err sq_audit_entry_encode(const struct sq_audit_entry *entry, struct sq_buf *out) SQ_MUST_CHECK;
/** Strict: exactly the bytes that encode would make, else SQ_EAUDIT. Fields borrow from @bytes.
 *  Unknown event, result or field numbers are accepted: an old reader must verify a newer log. */
sq_err sq_audit_entry_decode(struct sq_span bytes, struct sq_audit_entry *out) SQ_MUST_CHECK;
/** What field rows of @entry says; false: it has none. */
bool sq_audit_rows_get(const struct sq_audit_entry *entry, struct sq_audit_rows *out);
/** One line without line feed, text or JSON, appended to @out. Sealed fields are named, never shown. */
sq_err sq_audit_entry_print(const struct sq_audit_entry *entry, bool is_json, struct sq_buf *out) SQ_MUST_CHECK;

/* ---- tree and proofs (pure) ----------------------------------------------------------------------------- */

struct sq_audit_proof {
    uint32_t n;
    uint8_t hash[SQ_AUDIT_PROOF_MAX][SQ_AUDIT_HASH_BYTES];
};

/** SHA-256(0x00 | bytes). */
sq_err sq_audit_leaf_hash(struct sq_span bytes, uint8_t out[SQ_AUDIT_HASH_BYTES]) SQ_MUST_CHECK;
/** Root of the empty tree: SHA-256(""). */
sq_err sq_audit_root_empty(uint8_t out[SQ_AUDIT_HASH_BYTES]) SQ_MUST_CHECK;

/**
 * sq_audit_check_consistency - is the tree (@new_size, @new_root) an extension of (@old_size, @old_root)?
 *
 * @hashes  n_hash x 32 bytes, as sq_audit_consistency made them.   borrowed
 *
 * SQ_OK or SQ_EAUDIT. An old size of 0 is consistent with everything, with an empty proof (and the empty root).
 * RFC 9162 section 2.1.4.2. Used by keeper before it signs.
 */
sq_err sq_audit_check_consistency(uint64_t old_size, const uint8_t old_root[SQ_AUDIT_HASH_BYTES], uint64_t new_size,
                                  const uint8_t new_root[SQ_AUDIT_HASH_BYTES], const uint8_t *hashes,
                                  size_t n_hash) SQ_MUST_CHECK;
/** Is @leaf entry @number of the tree (@size, @root)? SQ_OK or SQ_EAUDIT. RFC 9162 section 2.1.3.2. */
sq_err sq_audit_check_inclusion(uint64_t number, const uint8_t leaf[SQ_AUDIT_HASH_BYTES], uint64_t size,
                                const uint8_t root[SQ_AUDIT_HASH_BYTES], const uint8_t *hashes,
                                size_t n_hash) SQ_MUST_CHECK;

/* ---- signed notes and checkpoints (pure) ---------------------------------------------------------------- */

#define SQ_NOTE_MAX_BYTES 16384
#define SQ_NOTE_MAX_SIGS 32
#define SQ_NOTE_NAME_BYTES 128 /* with the final NUL */
#define SQ_VKEY_BYTES 256      /* a vkey fits, with the final NUL */

struct sq_note_head { /* what a checkpoint says */
    char origin[SQ_NOTE_NAME_BYTES];
    uint64_t size;
    uint8_t root[SQ_AUDIT_HASH_BYTES];
};

/** Checkpoint text (three lines), appended to @out. SQ_ERANGE when @origin isn't a legal key name. */
sq_err sq_note_text(const char *origin, uint64_t size, const uint8_t root[SQ_AUDIT_HASH_BYTES],
                    struct sq_buf *out) SQ_MUST_CHECK;
/** Strict reading of a checkpoint text; SQ_EAUDIT. */
sq_err sq_note_text_read(const char *text, size_t n, struct sq_note_head *out) SQ_MUST_CHECK;
/** Sign any note text (UTF-8, ends in a line feed, no other control bytes): the whole note, appended to @out. */
sq_err sq_note_sign(const struct sq_key *seed, const char *name, const char *text, size_t n,
                    struct sq_buf *out) SQ_MUST_CHECK;
/** sq_note_open - check the signature of @vkey on any note. *out_text points into @note, its last line feed included.
 *  SQ_EAUDIT: malformed, not signed by this key, or a signature of this key that is wrong. Other keys are ignored. */
sq_err sq_note_open(const char *vkey, const char *note, size_t n, struct sq_span *out_text) SQ_MUST_CHECK;
/** sq_note_verify - sq_note_open, then the text must be a checkpoint whose origin is the key's name. */
sq_err sq_note_verify(const char *vkey, const char *note, size_t n, struct sq_note_head *out) SQ_MUST_CHECK;
/** sq_note_head_read - what the checkpoint note says, with no signature checked. */
sq_err sq_note_head_read(const char *note, size_t n, struct sq_note_head *out) SQ_MUST_CHECK;

/** name+hex(key id)+base64(0x01 | public), as a C string. SQ_ERANGE for an illegal name. */
sq_err sq_vkey_encode(const char *name, const uint8_t public_key[SQ_ED25519_PUBLIC_BYTES],
                      char out[SQ_VKEY_BYTES]) SQ_MUST_CHECK;
/** Strict; SQ_EAUDIT. Any of the outs may be NULL. */
sq_err sq_vkey_decode(const char *vkey, char out_name[SQ_NOTE_NAME_BYTES], uint8_t out_id[4],
                      uint8_t out_public[SQ_ED25519_PUBLIC_BYTES]) SQ_MUST_CHECK;

/* ---- the key was replaced: a note that the key before signs, and the newest one (audit_keys.c) ---- */

struct sq_key_change {
    char origin[SQ_NOTE_NAME_BYTES];
    uint8_t from[SQ_ED25519_PUBLIC_BYTES], to[SQ_ED25519_PUBLIC_BYTES];
    uint64_t size; /* @from signed no larger tree */
    int64_t time_s;
};
/** The text that is signed, appended to @out. */
sq_err sq_key_change_text(const struct sq_key_change *c, struct sq_buf *out) SQ_MUST_CHECK;
/** One more signature line behind a note's text and empty line, or behind others. */
sq_err sq_note_add_signature(const char *name, const uint8_t public_key[SQ_ED25519_PUBLIC_BYTES], const uint8_t sig[SQ_ED25519_SIG_BYTES],
                             struct sq_buf *out) SQ_MUST_CHECK;

#define SQ_NOTE_MAX_FORMER 64 /* a site's key is replaced as often, at most */
#define SQ_NOTE_MAX_KEYS (SQ_NOTE_MAX_FORMER + 1)
#define SQ_KEY_CHANGES_MAX_BYTES 49152 /* all notes of changes, each with an empty line behind it */
struct sq_note_keys { /* who is believed */
    size_t n;
    struct sq_note_key {
        char vkey[SQ_VKEY_BYTES];
        uint8_t public_key[SQ_ED25519_PUBLIC_BYTES];
        uint64_t last_size; /* of a checkpoint that it signed */
    } key[SQ_NOTE_MAX_KEYS];
};
/**
 * sq_note_keys_from - @vkey, the keys that follow from it one after another, and what the newest of them says of those before.
 *
 * @vkey     of the log, or of receipts (its name ends in /receipt); the others get the same name.   borrowed
 * @changes  notes of changes, from anywhere: what isn't signed rightly counts for nothing.          borrowed
 *
 * SQ_EAUDIT: no vkey.
 */
sq_err sq_note_keys_from(const char *vkey, const char *changes, size_t n, struct sq_note_keys *out) SQ_MUST_CHECK;
/** sq_note_open(), sq_note_verify() with whichever of the keys fits; a former key's checkpoint only up to its last size. */
sq_err sq_note_open_any(const struct sq_note_keys *keys, const char *note, size_t n, struct sq_span *out_text) SQ_MUST_CHECK;
sq_err sq_note_verify_any(const struct sq_note_keys *keys, const char *note, size_t n, struct sq_note_head *out) SQ_MUST_CHECK;

/* ---- the log -------------------------------------------------------------------------------------------- */

struct sq_audit;

struct sq_audit_options { /* zeros: the defaults */
    uint64_t segment_bytes; /* a new segment is begun beyond this: 64 MiB */
    uint64_t reserve_bytes; /* kept free for erasure-class events: 64 MiB */
};

struct sq_audit_opened { /* what opening found; log and audit it (event `recovered`) */
    uint64_t size;            /* entries */
    uint64_t checkpoint_size; /* of the last stored checkpoint; 0: none */
    uint64_t n_torn_bytes;    /* cut from the end, kept in torn-<entry> */
    bool is_tree_rebuilt;     /* the tree file was lost or damaged and was made again from the entries */
    bool is_reserve_whole;
};

/**
 * sq_audit_open - open or make the log in @dir_fd.
 *
 * @dir_fd   directory; duplicated, so the caller keeps its own.       borrowed
 * @options  NULL or zeros for the defaults.                           borrowed
 * @out_how  what was found; may be NULL.                              written on success only
 *
 * Recovers: an incomplete group at the very end, never acknowledged, is moved to `torn-<entry>` and cut. Scans the
 * last segment; O(segment). SQ_EROLLBACK: the log is shorter than its last checkpoint. SQ_EAUDIT: an acknowledged
 * entry is damaged or missing; nothing was written: run sq_audit_verify. SQ_EIO, SQ_EFULL, SQ_ENOMEM.
 */
sq_err sq_audit_open(int dir_fd, const struct sq_audit_options *options, struct sq_audit **out_log,
                     struct sq_audit_opened *out_how) SQ_MUST_CHECK;
void sq_audit_close(struct sq_audit *log); /* NULL allowed */

uint64_t sq_audit_size(const struct sq_audit *log); /* number of the last entry; the next gets one more */

/**
 * sq_audit_append - append encoded entries with one write and one fdatasync; durable on return.
 *
 * @entries  n encoded entries, numbered sq_audit_size() + 1 and so on.   borrowed
 *
 * SQ_ERANGE: wrong numbers, too many, or not canonical; nothing was written. SQ_ELOG: the log can't be written;
 * nothing was acknowledged, the log ends where it did, try again later (a failed fdatasync: only after reopening).
 * When the disk is full a group of erasure-class entries takes slices of the reserve; other groups get SQ_ELOG
 * until the reserve is whole again. Fault hooks: audit.write, audit.sync, audit.tree.
 */
sq_err sq_audit_append(struct sq_audit *log, const struct sq_span *entries, size_t n) SQ_MUST_CHECK;
/** sq_audit_append_owed - the same for entries of what is committed elsewhere already: it must come into the log, so it takes
 *  slices of the reserve whatever its class. Who calls it begins nothing routine while the reserve isn't whole. */
sq_err sq_audit_append_owed(struct sq_audit *log, const struct sq_span *entries, size_t n) SQ_MUST_CHECK;
/** Make the reserve whole: at once when it is. SQ_EFULL: only erasing may go on. */
sq_err sq_audit_reserve_fill(struct sq_audit *log) SQ_MUST_CHECK;
/** A write is in an unknown state: nothing is taken any more until the log is closed and opened again. */
bool sq_audit_is_broken(const struct sq_audit *log);

/** sq_audit_reserve_release - give @n_bytes of the reserve back to the file system, for another file that an erasure
 *  must write (the database). SQ_EFULL when nothing is left. The next routine append makes it whole again first. */
sq_err sq_audit_reserve_release(struct sq_audit *log, uint64_t n_bytes) SQ_MUST_CHECK;

/** Root of the whole log (from memory), or of its first @size entries. SQ_ERANGE beyond the end. */
sq_err sq_audit_root(struct sq_audit *log, uint8_t out[SQ_AUDIT_HASH_BYTES]) SQ_MUST_CHECK;
sq_err sq_audit_root_at(struct sq_audit *log, uint64_t size, uint8_t out[SQ_AUDIT_HASH_BYTES]) SQ_MUST_CHECK;
/** Proofs: O(log n) reads of the tree file. SQ_ERANGE unless old_size <= new_size <= size, 1 <= number <= size. */
sq_err sq_audit_consistency(struct sq_audit *log, uint64_t old_size, uint64_t new_size,
                            struct sq_audit_proof *out) SQ_MUST_CHECK;
sq_err sq_audit_inclusion(struct sq_audit *log, uint64_t number, uint64_t size, struct sq_audit_proof *out) SQ_MUST_CHECK;

/**
 * sq_audit_checkpoint_add - store a note that keeper signed, durably.
 *
 * SQ_EAUDIT unless it is a well-formed checkpoint with our own root at its size; SQ_ERANGE when it is older than the
 * last one stored. Storing the same size again is SQ_OK and does nothing. The signature isn't checked here.
 */
sq_err sq_audit_checkpoint_add(struct sq_audit *log, const char *note, size_t n) SQ_MUST_CHECK;
/** Keep @changes in the file `keys` of the log's directory, in the place of what is there: for those who verify the log where it lies. Durable on return. */
sq_err sq_audit_keys_set(struct sq_audit *log, const char *changes, size_t n) SQ_MUST_CHECK;
sq_err sq_audit_keys(struct sq_audit *log, struct sq_buf *out) SQ_MUST_CHECK;
/** The last stored checkpoint note, appended to @out. SQ_ENOTFOUND when there is none yet. */
sq_err sq_audit_checkpoint_last(struct sq_audit *log, struct sq_buf *out) SQ_MUST_CHECK;

/** Called for each entry in order; anything but SQ_OK ends the reading and is returned. @entry borrows from @bytes. */
typedef sq_err (*sq_audit_reader)(void *ctx, const struct sq_audit_entry *entry, struct sq_span bytes);
/** Entries @from .. @from + @n_max - 1 (or the end; n_max 0: to the end). SQ_EAUDIT for a damaged entry. */
sq_err sq_audit_read(struct sq_audit *log, uint64_t from, uint64_t n_max, sq_audit_reader reader, void *ctx) SQ_MUST_CHECK;
/** The same from a directory without a handle, read-only: `sequester audit tail`. A torn end is simply the end. */
sq_err sq_audit_walk(int dir_fd, uint64_t from, uint64_t n_max, sq_audit_reader reader, void *ctx) SQ_MUST_CHECK;
/** Number of the last complete entry in a directory, without a handle. */
sq_err sq_audit_walk_size(int dir_fd, uint64_t *out_size) SQ_MUST_CHECK;

/* ---- verification --------------------------------------------------------------------------------------- */

enum sq_audit_damage {
    SQ_AUDIT_CHANGED = 1,  /* content and the leaf hash beside it differ */
    SQ_AUDIT_DROPPED,      /* an entry (or several) is missing between others */
    SQ_AUDIT_MOVED,        /* an entry stands in another place, or twice */
    SQ_AUDIT_REWRITTEN,    /* consistent by itself, but not what was signed (or what the tree file holds) */
    SQ_AUDIT_TRUNCATED,    /* the log ends before a size that was signed (or that the tree file holds) */
    SQ_AUDIT_UNREADABLE,   /* no entry can be read at this place */
    SQ_AUDIT_SEGMENT,      /* a segment file has a wrong header */
    SQ_AUDIT_CHECKPOINT,   /* a stored checkpoint is malformed, out of order, or not signed by the key */
    SQ_AUDIT_TREE,         /* the tree file is wrong, though the signed roots match the entries */
};

struct sq_audit_finding {
    enum sq_audit_damage damage;
    uint64_t entry;       /* first entry concerned; for SQ_AUDIT_CHECKPOINT: number of the checkpoint, from 1 */
    uint64_t last_entry;  /* last entry it may concern */
    uint64_t signed_size; /* size of the checkpoint that shows it; 0: none */
};

#define SQ_AUDIT_MAX_FINDINGS 32

struct sq_audit_report {
    uint64_t n_entry;       /* readable entries */
    uint64_t n_checkpoint;  /* with a good signature */
    uint64_t signed_size;   /* of the last checkpoint that matches; entries beyond it are not signed yet */
    uint64_t n_torn_bytes;  /* unacknowledged bytes at the end, as a crash leaves them: no damage */
    int64_t first_ms, last_ms;
    uint8_t root[SQ_AUDIT_HASH_BYTES]; /* of all entries, when nothing was found */
    uint64_t kept_size;     /* SQ_EFIELD: the size that the kept note says, when it reads as a checkpoint of this log; 0: it doesn't */
    uint64_t kept_bound;    /* then: it is signed rightly, by a key that was replaced when this log had so many entries; UINT64_MAX: by none that is known here */
    uint64_t n_finding;     /* may exceed what fits */
    struct sq_audit_finding finding[SQ_AUDIT_MAX_FINDINGS];
};

/**
 * sq_audit_verify - walk everything: entries, tree file, every checkpoint's signature and root. Read-only.
 *
 * @vkey       keeper's public key as a vkey; keys that follow from it by the file `keys` count.    borrowed
 * @kept_note  a checkpoint note kept elsewhere (off the box, by a witness); may be NULL.         borrowed
 * @out        counts and findings, in the order found.                                           always written
 *
 * SQ_OK: everything matches. SQ_EAUDIT: see the findings. SQ_EFIELD: the vkey is malformed, or the kept note isn't one that a key of this log has signed
 * at that size: out->kept_size and kept_bound say more. A checkpoint beyond its key's last size, or of a key that the log doesn't name, is what a log
 * that was rolled back meets.
 */
sq_err sq_audit_verify(int dir_fd, const char *vkey, const char *kept_note, struct sq_audit_report *out) SQ_MUST_CHECK;
const char *sq_audit_damage_name(enum sq_audit_damage damage); /* "changed", ... */
/** One sentence, "entry 17: content doesn't match ..." appended to @out. */
sq_err sq_audit_finding_print(const struct sq_audit_finding *finding, struct sq_buf *out) SQ_MUST_CHECK;

#endif
