/**
 * zip_ae2_read - open a result package that we wrote: list, and extract with the password. For `sequester decrypt`.
 *
 * Not a general unzip: it reads what zip_ae2.h writes and refuses the rest (SQ_ETAMPERED, SQ_ETRUNCATED): other methods,
 * comments, gaps, records that contradict each other, names with "..", a leading "/" or characters that we don't write.
 * An entry's MAC is checked over the whole entry BEFORE the first byte goes to the sink, and once more while it goes, so
 * a file that changes in between is found too (the caller throws the output away then).
 */
#ifndef SQ_VAULT_ZIP_AE2_READ_H
#define SQ_VAULT_ZIP_AE2_READ_H

#include "lib/vault/zip_ae2.h"

struct sq_unzip;

struct sq_unzip_entry {
    const char *name; /* sq_zip_name_ok() holds; lives as long as the reader */
    uint64_t plain_bytes;
};

/** @fd: read with pread; borrowed until sq_unzip_free. Every record of the package is checked here. */
sq_err sq_unzip_open(int fd, struct sq_unzip **out) SQ_MUST_CHECK;
size_t sq_unzip_n_entry(const struct sq_unzip *z);
struct sq_unzip_entry sq_unzip_entry(const struct sq_unzip *z, size_t i);
/** Index of @name, or SQ_ENOTFOUND. */
sq_err sq_unzip_find(const struct sq_unzip *z, const char *name, size_t *out_i) SQ_MUST_CHECK;
/** SQ_EPASSWORD: the verifier differs. SQ_ETAMPERED: the MAC differs (or, 1 in 65,536 times, the password is wrong). */
sq_err sq_unzip_extract(struct sq_unzip *z, size_t i, const void *password, size_t n_password, sq_zip_sink_fn sink,
                        void *ctx) SQ_MUST_CHECK;
void sq_unzip_free(struct sq_unzip *z); /* wipes; NULL allowed */

#endif
