/**
 * identity/breached - was this password stolen somewhere, so that guessers try it first?
 *
 * Two lists, both on this machine: nothing about a password leaves the process. One is built in (breached_passwords.txt says what it is: 43,940 of 12
 * characters and more). The other is the operator's, as a file of one of two kinds, told apart by its first line:
 *
 *     hashes   40 hex digits of the password's SHA-1, `:` and a count if there is one; in ascending order. Any size: it is searched where it
 *              lies. So are the downloads of Have I Been Pwned, "ordered by hash".
 *     words    a password a line, in any order, at most 64 MiB: read into memory, 8 bytes each.
 *
 * A password is looked up as it is and in lower case, so that of the built-in list and of words the case doesn't count.
 */
#ifndef SQ_IDENTITY_BREACHED_H
#define SQ_IDENTITY_BREACHED_H

#include "lib/core/err.h"

#include <stdbool.h>
#include <stddef.h>

#define SQ_BREACHED_WORDS_MAX_BYTES (64u << 20)

struct sq_breached;

/**
 * sq_breached_open - the operator's list. Of hashes the ends and 256 places between are looked at, whether they are in order.
 *
 * @fd   a file, at any position; must stay open until sq_breached_free.    borrowed
 * @why  line (of words) and what is wrong; may be NULL.                    written on SQ_ECONFIG
 *
 * SQ_ECONFIG, SQ_EIO, SQ_ENOMEM.
 */
sq_err sq_breached_open(int fd, struct sq_breached **out, struct sq_why *why) SQ_MUST_CHECK;
void sq_breached_free(struct sq_breached *list); /* NULL allowed */

/**
 * sq_breached_has - is the password in the built-in list or in @list (NULL: none)?
 *
 * @password  n bytes.    borrowed
 * SQ_EIO when the operator's file can't be read, or has changed into something else. O(log lines); at most 80 short reads.
 */
sq_err sq_breached_has(const struct sq_breached *list, const char *password, size_t n, bool *out_is) SQ_MUST_CHECK;
size_t sq_breached_n_built_in(void);

#endif
