/**
 * identity/scope - the claim `scope` of a token, and lists of networks: what it is for, and from where. "session", or "api" and what that token may,
 * "api read results net:10.0.0.0-8". keeper signs it, so that neither can be widened in the database.
 *
 * Pure functions.
 */
#ifndef SQ_IDENTITY_SCOPE_H
#define SQ_IDENTITY_SCOPE_H

#include "lib/identity/jwt.h"

enum sq_scope { SQ_SCOPE_READ = 1, SQ_SCOPE_WRITE = 2, SQ_SCOPE_RESULTS = 4, SQ_SCOPE_ALL = 7 };
#define SQ_SCOPE_NAMES 3
#define SQ_SCOPE_MAX_NETWORKS 4

/** Bit of "read", "write" or "results"; 0: no such. Name of bit k (0..2): static. */
unsigned sq_scope_named(const char *name);
const char *sq_scope_name(unsigned k);

/** The claim of an API token. @networks: CIDR ("10.0.0.0/8", "2001:db8::/32", or one address); none: from anywhere. SQ_EFIELD with @why
 *  when one isn't that, has bits beyond its length, or they are too many. */
sq_err sq_scope_write(unsigned scopes, const char *const *networks, size_t n_network, char out[SQ_JWT_SCOPE_BYTES], struct sq_why *why) SQ_MUST_CHECK;

/** What a signed claim says: is it an API token, with which bits? false: no claim of ours. */
bool sq_scope_read(const char *scope, bool *out_is_api, unsigned *out_scopes);
/** A list of networks as one text, "192.0.2.0/24,2001:db8::/32", each as sq_scope_write() takes them and spelled one way; none: "". SQ_EFIELD with @why. */
#define SQ_CIDR_LIST_MAX 16
#define SQ_CIDR_LIST_BYTES 800 /* with the NUL */
sq_err sq_cidr_list_write(const char *const *networks, size_t n_network, char out[SQ_CIDR_LIST_BYTES], struct sq_why *why) SQ_MUST_CHECK;
/** Is @address (numeric, without port) in one of them? In an empty list: yes. */
bool sq_cidr_list_holds(const char *list, const char *address);

/** May a token with this claim be used from @address (numeric, without port)? Without networks: yes. */
bool sq_scope_lets(const char *scope, const char *address);

#endif
