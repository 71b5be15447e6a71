/* passkey - what its files share. */
#ifndef SQ_IDENTITY_PASSKEY_INTERNAL_H
#define SQ_IDENTITY_PASSKEY_INTERNAL_H

#include "lib/identity/passkey.h"

/* passkey_cbor.c: does the CBOR in @auth_data (WebAuthn level 2, section 6.1) hold what its headers promise? SQ_EPASSKEY otherwise. */
sq_err passkey_cbor_bounded(struct sq_span auth_data) SQ_MUST_CHECK;

#endif
