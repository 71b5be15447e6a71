/* upload_ahead - sealing one file of a form beside the thread that receives it. */
#ifndef SQ_GATEWAY_UPLOAD_AHEAD_H
#define SQ_GATEWAY_UPLOAD_AHEAD_H

#include "lib/vault/vault_seal.h"

struct ahead;
/** @sealer stays the caller's, who leaves it alone until ahead_end or ahead_free; its key function may be called on another thread. @fd, the caller's too, is what it writes to. */
sq_err ahead_new(struct sq_vault_sealer *sealer, int fd, struct ahead **out) SQ_MUST_CHECK;
/** The next bytes. An error may be that of bytes added before. */
sq_err ahead_add(struct ahead *a, const uint8_t *p, size_t n) SQ_MUST_CHECK;
/** Wait until everything added is sealed; then the sealer can be closed. */
sq_err ahead_end(struct ahead *a) SQ_MUST_CHECK;
void ahead_free(struct ahead *a); /* NULL allowed; waits for the thread */

#endif
