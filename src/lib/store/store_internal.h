/* store, inside: what store_files.c, store_erase.c and store_mount.c share. */
#ifndef SQ_STORE_INTERNAL_H
#define SQ_STORE_INTERNAL_H

#include "lib/store/store.h"

#include <pthread.h>

#define SQ_STORE_HEX_BYTES (2 * SQ_STORE_ID_BYTES + 1)

struct sq_store_mount {
    char filesystem[SQ_STORE_FILESYSTEM_BYTES];
    bool overwrite_is_real;
    const char *why_not;
};

#define SQ_STORE_KNOWN 64

struct sq_store {
    int objects_fd;
    int proc_fd;               /* O_PATH of /proc/self/fd */
    pthread_rwlock_t owners;   /* held for writing while an empty owner directory is removed */
    struct sq_store_mount mount;
    pthread_mutex_t known_lock;
    struct {
        bool is_used;
        uint8_t owner[SQ_STORE_ID_BYTES];
    } known[SQ_STORE_KNOWN]; /* owners whose directory is on the disk for sure */
    unsigned next_known;
};

/** Is this owner's directory known to be durable? */
bool sq_store_is_known(struct sq_store *store, const uint8_t owner[SQ_STORE_ID_BYTES]);

/** What mountinfo says about the file system of @dir_fd. Never fails: what isn't known isn't promised. */
void sq_store_mount_find(int dir_fd, struct sq_store_mount *out);
/** The same from a mountinfo text and a mount id: for tests. */
void sq_store_mount_parse(const char *mountinfo, uint64_t mount_id, struct sq_store_mount *out);

/** A fresh open of descriptor @fd with other flags. */
sq_err sq_store_reopen(const struct sq_store *store, int fd, int flags, int *out_fd) SQ_MUST_CHECK;

/** Overwrite and verify the content of @fd (open for reading and writing); fills all of @out. SQ_EERASE. */
sq_err sq_store_overwrite(const struct sq_store *store, int fd, struct sq_erased *out) SQ_MUST_CHECK;
/** Give the blocks back at once, although readers may still hold the file open. */
void sq_store_release_blocks(int fd);

#endif
