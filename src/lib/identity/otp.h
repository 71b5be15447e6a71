/**
 * identity/otp - the one-time password of a result package.
 *
 * 24 characters, each drawn uniformly from 64 that a shell, a URL field and a person reading aloud leave alone (no l, I, O, 0
 * or 1; no quote, dollar, backslash, space). Whole passwords are drawn again until each of the four classes (lower,
 * upper, digit, special) stands in at least twice, at most three characters repeat an earlier one, and the first is a
 * letter. One draw in five passes (measured), so log2(64^24 / 5) > 141 bits remain.
 */
#ifndef SQ_IDENTITY_OTP_H
#define SQ_IDENTITY_OTP_H

#include "lib/core/err.h"

#include <stdbool.h>

#define SQ_OTP_CHARS 24
#define SQ_OTP_BYTES (SQ_OTP_CHARS + 1) /* with the NUL */
#define SQ_OTP_ALPHABET_CHARS 64

extern const char sq_otp_alphabet[SQ_OTP_ALPHABET_CHARS + 1]; /* no two alike; lower, upper, digits, special */

/** @out should be locked memory (sq_secret_new). Wiped on failure. */
sq_err sq_otp_make(char out[SQ_OTP_BYTES]) SQ_MUST_CHECK;
/** The rule above, on @password of SQ_OTP_CHARS characters. */
bool sq_otp_is_good(const char *password);

#endif
