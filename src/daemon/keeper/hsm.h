/* keeper/hsm - the KEK in the care of a PKCS#11 token, reached through `p11-kit server`: the vendor's module runs there. */
#ifndef SQ_KEEPER_HSM_H
#define SQ_KEEPER_HSM_H

#include "daemon/keeper/slab.h"

struct sq_hsm; /* an open session; only before the process is confined */

/**
 * sq_hsm_open - connect, find the token, log in, find the RSA key pair.
 *
 * @server   path of the server's socket
 * @token    label of the token; @key label of the key pair (RSA, @rsa_bits to 4096 bits, decrypt allowed)
 * @pin_fd   its first line is the PIN
 *
 * SQ_ECONFIG: the key is shorter. SQ_EDOWN: no client module, no server or token, no key; SQ_EPASSWORD: the PIN; *out_why says which, for the log (a word).
 */
sq_err sq_hsm_open(const char *server, const char *token, const char *key, unsigned rsa_bits, int pin_fd, struct sq_hsm **out, const char **out_why) SQ_MUST_CHECK;
/** A fresh KEK, and what the token made of it (RSAES-OAEP with SHA-1 and MGF1-SHA1: what every token has; RFC 8017). SQ_EDOWN:
 * the token doesn't encrypt, or doesn't open what it made. */
sq_err sq_hsm_new_kek(struct sq_hsm *hsm, struct sq_slab_lock *out_lock, struct sq_key **out_kek) SQ_MUST_CHECK;
/** The KEK back. SQ_EPASSWORD: another key made that box. */
sq_err sq_hsm_kek(struct sq_hsm *hsm, const struct sq_slab_lock *lock, struct sq_key **out_kek) SQ_MUST_CHECK;
void sq_hsm_close(struct sq_hsm *hsm);

#endif
