/**
 * tar - several files in one stream: POSIX ustar, for packages that are sealed as a whole. Regular files alone.
 * Source: IEEE Std 1003.1, pax, "ustar Interchange Format"; sizes from 8 GiB up in base-256, as GNU and BSD tar read them.
 */
#ifndef SQ_VAULT_TAR_H
#define SQ_VAULT_TAR_H

#include "lib/core/buf.h"

#define SQ_TAR_BLOCK_BYTES 512

/** Header of a file of @n_bytes, mode 0600. SQ_ERANGE: the name is empty or longer than 99 bytes. */
sq_err sq_tar_header(const char *name, uint64_t n_bytes, int64_t unix_s, uint8_t out[SQ_TAR_BLOCK_BYTES]) SQ_MUST_CHECK;
/** Zeros that follow a file of @n_bytes; two blocks of zeros end the whole. */
size_t sq_tar_padding(uint64_t n_bytes);

#endif
