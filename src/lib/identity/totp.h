/**
 * identity/totp - codes of an authenticator: RFC 6238 over liboath, 30 seconds, 6 digits, SHA-1 as every app has it or SHA-256; and recovery codes.
 *
 * A secret is as long as its hash (RFC 6238, 5.1), and its length says which hash it is of: 20 bytes SHA-1, 32 bytes SHA-256.
 *
 * Pure functions; secrets are the caller's to wipe.
 */
#ifndef SQ_IDENTITY_TOTP_H
#define SQ_IDENTITY_TOTP_H

#include "lib/crypt/crypt.h"

#define SQ_TOTP_SHA1_BYTES 20
#define SQ_TOTP_SHA256_BYTES 32
#define SQ_TOTP_SECRET_MAX SQ_TOTP_SHA256_BYTES
#define SQ_TOTP_DIGITS 6
#define SQ_TOTP_STEP_S 30
#define SQ_TOTP_BASE32_BYTES 53 /* of the longest secret, with the NUL */

/**
 * sq_totp_check - is @code that of the step now, or of one that lies at most @n_beside steps (0 or 1) before or after it?
 *
 * @after     steps up to this one are used up: a code is good once.
 * @out_step  the step that it is of.
 *
 * SQ_OK or SQ_ECODE; SQ_ECRYPTO: the secret is of no known length. The time it takes doesn't tell which digits are right.
 */
sq_err sq_totp_check(const uint8_t *secret, size_t n_secret, int64_t now_s, unsigned n_beside, uint64_t after, const char *code, uint64_t *out_step) SQ_MUST_CHECK;
/** @n: 20 or 32. RFC 4648, without padding. */
void sq_totp_base32(const uint8_t *secret, size_t n, char out[SQ_TOTP_BASE32_BYTES]);

/* Recovery codes: 24 of 32 characters in six groups, 120 bits: a keyed hash is enough for what can't be guessed (ASVS 5.0 V6.5.2). */
#define SQ_RECOVERY_OWNER_BYTES 16
#define SQ_RECOVERY_CODES 10
#define SQ_RECOVERY_CODE_BYTES 30 /* with the NUL */
sq_err sq_recovery_make(char out[SQ_RECOVERY_CODE_BYTES]) SQ_MUST_CHECK;
/** The keyed hash of @owner's id (16 bytes) and @code as people type it (groups or not, either case). SQ_ECODE: not the shape of one. */
sq_err sq_recovery_hash(const struct sq_key *key, const uint8_t owner[SQ_RECOVERY_OWNER_BYTES], const char *code, uint8_t out[SQ_SHA256_BYTES]) SQ_MUST_CHECK;

#endif
