/**
 * identity - accounts, tokens, passwords: what they look like and when they are good. The front door of the room.
 *
 *     jwt.h        one spelling of a token: made by keeper, verified by registrar and keeper
 *     strength.h   is this password good enough to be chosen?
 *     breached.h   was it stolen somewhere?
 *     otp.h        the one-time password of a result package
 *     totp.h       codes of an authenticator, recovery codes
 *     scope.h      what a token is for, and from where
 *     this header  states of an account, how long it waits after failures
 *
 * What it may touch: memory, the random source, and a list of passwords by a descriptor that it is given. It opens no file, knows no database row and decides no right.
 */
#ifndef SQ_IDENTITY_IDENTITY_H
#define SQ_IDENTITY_IDENTITY_H

#include "lib/identity/jwt.h"
#include "lib/identity/otp.h"
#include "lib/identity/scope.h"
#include "lib/identity/strength.h"

/** Once in the process, before any other use of jansson and before confining: JSON memory is wiped when freed, and its
 *  hash seed is drawn (it would open a file later). sq_crypt_start() must have run. */
sq_err sq_identity_start(void) SQ_MUST_CHECK;

/* As stored in the database: numbers are never reused. */
enum sq_account_state {
    SQ_ACCOUNT_ACTIVE = 1,
    SQ_ACCOUNT_DISABLED = 2, /* by the operator: may not sign in, data stays */
    SQ_ACCOUNT_DELETED = 3   /* owner key destroyed */
};
const char *sq_account_state_name(enum sq_account_state state); /* "active"; "unknown" */
bool sq_account_may_sign_in(enum sq_account_state state);

/** Seconds that an account waits after its @n_failure-th wrong password in a row: 0 for the first four, then 1 min
 *  doubling up to 30 min. It is never locked for good, so that a stranger can't shut a user out. */
uint32_t sq_account_wait_s(uint32_t n_failure);

#endif
