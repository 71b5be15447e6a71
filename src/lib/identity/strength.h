/**
 * identity/strength - is this password good enough to be chosen?
 *
 * Length and not being guessable, no composition tricks (NIST SP 800-63B section 5.1.1.2). Refused: fewer than 12
 * characters; a common password or word with digits, signs or years around it, letters swapped for look-alikes included;
 * one short block repeated; runs of a keyboard row, of the alphabet or of digits; the account's own name with little else.
 */
#ifndef SQ_IDENTITY_STRENGTH_H
#define SQ_IDENTITY_STRENGTH_H

#include "lib/core/err.h"

#include <stddef.h>

#define SQ_PASSWORD_MIN_CHARS 12
#define SQ_PASSWORD_MAX_BYTES 1024

/**
 * @password  n bytes of UTF-8.                                    borrowed
 * @name      account name or mail address; NULL for none.         borrowed
 *
 * SQ_OK or SQ_EWEAK. Its copy of the password is wiped.
 */
sq_err sq_password_strength(const char *password, size_t n, const char *name) SQ_MUST_CHECK;

#endif
