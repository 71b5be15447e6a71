/**
 * core/file - small doors over files and descriptors. EINTR is handled here; errors are SQ_EIO, SQ_EFULL (no space,
 * quota) or SQ_ENOTFOUND.
 */
#ifndef SQ_CORE_FILE_H
#define SQ_CORE_FILE_H

#include "lib/core/buf.h"

#include <sys/types.h>

sq_err sq_write_all(int fd, const void *p, size_t n) SQ_MUST_CHECK;
sq_err sq_pwrite_all(int fd, const void *p, size_t n, off_t at) SQ_MUST_CHECK;
/** Reads until @n bytes or the end; *out_n says how many. */
sq_err sq_read_full(int fd, void *p, size_t n, size_t *out_n) SQ_MUST_CHECK;
sq_err sq_pread_full(int fd, void *p, size_t n, off_t at, size_t *out_n) SQ_MUST_CHECK;

/** Whole file into @out (which keeps its own max; larger: SQ_ETOOBIG). @dir_fd as in openat. */
sq_err sq_file_read(int dir_fd, const char *path, struct sq_buf *out) SQ_MUST_CHECK;
/** Write a whole file so that after a crash either the old or the new is there: temp name, fsync, rename, fsync dir. */
sq_err sq_file_write(int dir_fd, const char *name, const void *p, size_t n, mode_t mode) SQ_MUST_CHECK;

/** Open beneath @dir_fd only: no "..", no links, no mount crossing (openat2). Flags as in openat. */
sq_err sq_open_beneath(int dir_fd, const char *path, int flags, mode_t mode, int *out_fd) SQ_MUST_CHECK;
/** mkdir if missing, then open as O_PATH-like directory descriptor. */
sq_err sq_dir_open(int dir_fd, const char *name, mode_t mode, int *out_fd) SQ_MUST_CHECK;
/**
 * sq_file_map - @n bytes of memory that outlive the process: a shared mapping of the file @name of the working directory, zeros when it is new or was of another
 * length. When there is no room for the file, memory that doesn't, *out_is_kept false and errno says why. NULL: not even that.
 */
void *sq_file_map(const char *name, size_t n, bool *out_is_kept) SQ_MUST_CHECK;
sq_err sq_fsync(int fd) SQ_MUST_CHECK;
void sq_close(int *fd); /* closes if >= 0, sets to -1 */

/** The sq_err for the present errno. */
sq_err sq_err_errno(void);

#endif
