/**
 * identity/strength - is this password good enough to be chosen? The one place where that is decided, for every way of choosing one.
 *
 * Length and not being guessable, no rule of composition (NIST SP 800-63B section 5.1.1.2). Refused, and the reason told:
 *
 *     fewer than 12 characters, or more than 1,024 bytes;
 *     one that was stolen from another site (breached.h: a built-in list, and the operator's);
 *     one that guessers reach soon: its score by zxcvbn is below what the site wants. zxcvbn knows common passwords, words and names, look-alike letters,
 *     keyboards, runs, repeats and dates; it is told besides the account's name and address, the names of the site and context_words.def.
 *
 * The score is that of Wheeler's first zxcvbn, whose entropy libzxcvbn computes: 0.5 * 2^bits guesses at 10,000 a second take less than 10^2, 10^4, 10^6,
 * 10^8 seconds for scores 0 to 3, more for 4. So 3 begins at 34.2 bits. (D. Wheeler, "zxcvbn: realistic password strength estimation", 2012.)
 */
#ifndef SQ_IDENTITY_STRENGTH_H
#define SQ_IDENTITY_STRENGTH_H

#include "lib/core/err.h"
#include "lib/identity/breached.h"

#include <stddef.h>

#define SQ_PASSWORD_MIN_CHARS 12
#define SQ_PASSWORD_MAX_BYTES 1024
#define SQ_PASSWORD_MIN_SCORE 3 /* as delivered */

struct sq_password_rules {
    unsigned min_score;             /* 0..4 */
    const struct sq_breached *list; /* the operator's; NULL: none.                           borrowed */
    const char *site;               /* names of the site, comma separated; NULL: none.       borrowed */
};

/**
 * @password  n bytes of UTF-8, no zero among them.                borrowed
 * @name      the account's name; NULL for none.                   borrowed
 * @mail      its address; NULL for none.                          borrowed
 * @why       the sentence for its user, never anything of the password; may be NULL.    written on SQ_EWEAK
 *
 * SQ_OK, SQ_EWEAK, SQ_ENOMEM, or what the operator's list gives (SQ_EIO). Copies of the password are wiped. Up to 5 ms.
 */
sq_err sq_password_strength(const struct sq_password_rules *rules, const char *password, size_t n, const char *name, const char *mail,
                            struct sq_why *why) SQ_MUST_CHECK;

#endif
