/**
 * store - where sealed objects lie: local files beneath one directory.
 *
 *     objects/<owner, 32 hex>/<object, 32 hex>        0700 / 0600
 *
 * Names are random ids: names survive in directory blocks, and these say nothing. A file has no name until it is
 * whole: it is made with O_TMPFILE, so a crash leaves nothing behind, and gets its name in sq_store_commit. Paths are
 * made here from ids alone and opened beneath the directory only (openat2), so no caller can leave it.
 *
 * What it may touch: the directory it is handed, /proc/self/fd (names for nameless files), /proc/self/mountinfo (once,
 * in sq_store_open). What it never does: open, seal or look into what it keeps.
 *
 * Erasing is honest (docs/erasure.md): overwritten in place and read back where the file system does that, else the
 * result says that only the destroyed key protects. NIST SP 800-88r2 calls this Clear; the destroyed key is its
 * Cryptographic Erase.
 *
 * A store handle may be used by many threads; the caller lets only one of them at a time work on one object.
 */
#ifndef SQ_STORE_STORE_H
#define SQ_STORE_STORE_H

#include "lib/core/buf.h"

#define SQ_STORE_ID_BYTES 16
#define SQ_STORE_FILESYSTEM_BYTES 33 /* with the final NUL */
#define SQ_STORE_LIST_MAX 1024
#define SQ_ERASE_PASSES 3 /* random, 0xFF, 0x00 */

enum sq_erase_method {
#define SQ_ERASE(name, no, word, sentence) SQ_ERASE_##name = (no),
#include "lib/store/erase.def"
#undef SQ_ERASE
};
/** Word ("overwritten-verified") and sentence of @method; NULL when there is none with this number. Static strings. */
const char *sq_erase_word(unsigned method);
const char *sq_erase_sentence(unsigned method);
/** sq_erase_named - number of the method whose word is @word, or 0. */
unsigned sq_erase_named(const char *word);

struct sq_store;

struct sq_store_state {
    uint64_t free_bytes, total_bytes;
    char filesystem[SQ_STORE_FILESYSTEM_BYTES]; /* "ext4", "ext4 data=journal", "btrfs" */
    bool overwrite_is_real;                     /* overwriting a file overwrites its old blocks */
    const char *why_not;                        /* a word for the log, "" when it is real */
};

struct sq_erased {
    enum sq_erase_method method;
    uint8_t n_pass;        /* passes written and flushed */
    uint64_t n_bytes;      /* of the file */
    uint32_t n_extent;     /* runs of blocks that it had; 0 where the file system can't say */
    bool is_moved;         /* the runs were elsewhere after overwriting */
    bool is_verified;      /* the last pass was read back past the cache; or nothing was there */
    char filesystem[SQ_STORE_FILESYSTEM_BYTES];
};

/**
 * sq_store_open - the store beneath @dir_fd; makes `objects` when missing.
 *
 * @dir_fd  directory; duplicated, so the caller keeps its own.   borrowed
 *
 * Call it before confining: it reads /proc/self/mountinfo and keeps a descriptor of /proc/self/fd. SQ_EIO, SQ_EFULL,
 * SQ_ENOMEM, SQ_ESYS (no /proc).
 */
sq_err sq_store_open(int dir_fd, struct sq_store **out) SQ_MUST_CHECK;
void sq_store_close(struct sq_store *store); /* NULL allowed */

sq_err sq_store_state(const struct sq_store *store, struct sq_store_state *out) SQ_MUST_CHECK;

/** sq_store_create - a new nameless file in @owner's directory, open for reading and writing: for the keeper of the
 *  file, not for a writer. SQ_EEXISTS when @object is there already; SQ_EFULL; SQ_EIO. */
sq_err sq_store_create(struct sq_store *store, const uint8_t owner[SQ_STORE_ID_BYTES],
                       const uint8_t object[SQ_STORE_ID_BYTES], int *out_fd) SQ_MUST_CHECK;
/** sq_store_writer - a second descriptor of nameless file @fd, write-only and append-only: its holder can't read or
 *  overwrite what was written. (It can still cut the file: parts are sealed, so that is found.) */
sq_err sq_store_writer(struct sq_store *store, int fd, int *out_fd) SQ_MUST_CHECK;

/**
 * sq_store_commit - the nameless file @fd becomes @object, durably: fsync, linkat, fsync of the directories.
 *
 * @fd       from sq_store_create; stays the caller's. -1: the file must be committed already (a repeated commit).
 * @n_bytes  how long the file must be.
 *
 * SQ_ETRUNCATED: shorter; SQ_ECONFLICT: longer, or another file has this name; SQ_ENOTFOUND: @fd is -1 and there is
 * no such file. Committed already with this length: SQ_OK. Faults: create.3a (after fsync), create.3b (after linkat).
 */
sq_err sq_store_commit(struct sq_store *store, const uint8_t owner[SQ_STORE_ID_BYTES],
                       const uint8_t object[SQ_STORE_ID_BYTES], int fd, uint64_t n_bytes) SQ_MUST_CHECK;

/** sq_store_reader - open a committed object, read-only, with an open file of its own. SQ_ENOTFOUND. */
sq_err sq_store_reader(struct sq_store *store, const uint8_t owner[SQ_STORE_ID_BYTES],
                       const uint8_t object[SQ_STORE_ID_BYTES], int *out_fd, uint64_t *out_n_bytes) SQ_MUST_CHECK;

/**
 * sq_store_erase - overwrite (random, 0xFF, 0x00, each flushed), read back, compare extents, unlink, punch, fsync.
 *
 * Idempotent: a file that isn't there is `already_gone`. Needs no free space on file systems that overwrite in place.
 * SQ_EERASE: something failed, the file may still be there: call again. O(4 * size) of disk traffic.
 * Faults: destroy.4a (overwritten and verified), destroy.4b (unlinked); store.overwrite, store.verify, store.unlink,
 * store.sync fail these steps.
 */
sq_err sq_store_erase(struct sq_store *store, const uint8_t owner[SQ_STORE_ID_BYTES],
                      const uint8_t object[SQ_STORE_ID_BYTES], struct sq_erased *out) SQ_MUST_CHECK;
/** sq_store_erase_nameless - the same for a file that never got a name; @fd stays the caller's. */
sq_err sq_store_erase_nameless(struct sq_store *store, int fd, struct sq_erased *out) SQ_MUST_CHECK;

/** Where a listing stands. Zeros: at the start. */
struct sq_store_place {
    uint64_t owner_at;                /* place of the owner's entry in the directory of owners */
    uint8_t owner[SQ_STORE_ID_BYTES];
    uint64_t object_at;               /* place in that owner's directory */
};
struct sq_store_file {
    uint8_t object[SQ_STORE_ID_BYTES], owner[SQ_STORE_ID_BYTES];
    uint64_t n_bytes;
};
/**
 * sq_store_list - committed objects of all owners, as the directories have them.
 *
 * @place    where to go on; moved on success.
 * @max      at most SQ_STORE_LIST_MAX
 * @out      [max]                                             written on success only
 * @out_n    0: the end.
 *
 * All pages together are O(files): the place is one in the directories, and nothing is sorted. What is there from the first
 * page to the last is listed once; what comes or goes meanwhile may be. Names that aren't ids are passed over.
 */
sq_err sq_store_list(struct sq_store *store, struct sq_store_place *place, size_t max, struct sq_store_file *out,
                     size_t *out_n) SQ_MUST_CHECK;

#endif
