/**
 * zip_ae2 - write a result package: a zip whose entries are sealed with AES-256 in WinZip's AE-2 format.
 *
 * Streams: entry after entry goes to a sink, nothing is kept but the directory. The keys of an entry come from outside
 * (keeper derives them from the one-time password), so the writer never sees the password. Bytes are a function of keys,
 * names, contents and time stamp alone. Entries are stored, not deflated: results are compressed already.
 * docs/formats/result-package.md gives every byte. Opens in 7z and bsdtar.
 *
 * Sources: PKWARE APPNOTE 6.3.10; "AES Encryption Information: AE-1 and AE-2", WinZip.
 */
#ifndef SQ_VAULT_ZIP_AE2_H
#define SQ_VAULT_ZIP_AE2_H

#include "lib/crypt/crypt.h"

#define SQ_ZIP_SALT_BYTES 16
#define SQ_ZIP_MAX_NAME_BYTES 255
#define SQ_ZIP_MAX_ENTRIES 4096
#define SQ_ZIP_UNKNOWN_BYTES UINT64_MAX /* the size isn't known when the entry begins */

/** All secret of one entry. Made by sq_zip_entry_keys; the holder wipes it. */
struct sq_zip_keys {
    uint8_t salt[SQ_ZIP_SALT_BYTES]; /* stands in the file in clear */
    uint8_t aes[32], mac[32];
    uint8_t verifier[2]; /* stands in the file in clear */
};

/** Password and fresh random salt to keys: PBKDF2-HMAC-SHA1, 1000 rounds, as AE-2 fixes it. In a library of its own. */
sq_err sq_zip_entry_keys(const void *password, size_t n, const uint8_t salt[SQ_ZIP_SALT_BYTES], struct sq_zip_keys *out_keys)
    SQ_MUST_CHECK;

/** A name that we write and read: [A-Za-z0-9._-] components joined by "/", none of them empty, "." or "..". */
bool sq_zip_name_ok(const char *name);

typedef sq_err (*sq_zip_sink_fn)(void *ctx, const void *p, size_t n);

struct sq_zip;

/** @unix_s: time stamp of every entry (UTC, even seconds, 1980 to 2107). */
sq_err sq_zip_new(sq_zip_sink_fn sink, void *ctx, int64_t unix_s, struct sq_zip **out) SQ_MUST_CHECK;

/**
 * @keys         copied, and wiped when the entry ends; each entry needs its own salt
 * @plain_bytes  exact, or SQ_ZIP_UNKNOWN_BYTES (then a zip64 data descriptor follows the data)
 *
 * SQ_ERANGE: a name that isn't allowed; SQ_EEXISTS: used before; SQ_ELIMIT: too many entries.
 */
sq_err sq_zip_entry_begin(struct sq_zip *z, const char *name, const struct sq_zip_keys *keys, uint64_t plain_bytes)
    SQ_MUST_CHECK;
sq_err sq_zip_write(struct sq_zip *z, const void *p, size_t n) SQ_MUST_CHECK;
/** SQ_ERANGE when the bytes written aren't the number promised. */
sq_err sq_zip_entry_end(struct sq_zip *z) SQ_MUST_CHECK;
/** Writes the directory. @out_bytes: length of the whole package; may be NULL. */
sq_err sq_zip_close(struct sq_zip *z, uint64_t *out_bytes) SQ_MUST_CHECK;
void sq_zip_free(struct sq_zip *z); /* wipes; NULL allowed */

#endif
