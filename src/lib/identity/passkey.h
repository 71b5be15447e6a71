/**
 * identity/passkey - WebAuthn (level 2) at the server's side: what a browser hands over when a passkey is added or used.
 *
 * libfido2 reads the authenticator's data (CBOR, COSE) and verifies signatures; here is what the standard wants besides: the
 * client's data (section 7.1, steps 5 to 12; 7.2, steps 11 to 16), the site, the flags. Attestation is asked for as `none`, so nothing is
 * signed when a passkey is added, and the browser's `authenticatorData` is all there is to read (docs/decisions/0021).
 *
 * What it may touch: memory. No device is ever spoken to.
 */
#ifndef SQ_IDENTITY_PASSKEY_H
#define SQ_IDENTITY_PASSKEY_H

#include "lib/crypt/crypt.h"

#define SQ_PASSKEY_CHALLENGE_BYTES 32
#define SQ_PASSKEY_ID_MAX_BYTES 512     /* the standard lets an authenticator take 1,023; none that is sold comes near */
#define SQ_PASSKEY_PUBLIC_MAX_BYTES 260 /* RS256: n | e */
#define SQ_PASSKEY_PACKED_MAX_BYTES (4 + SQ_PASSKEY_PUBLIC_MAX_BYTES)

/* Algorithms that may be asked for, best first: COSE numbers. */
enum { SQ_PASSKEY_EDDSA = -8, SQ_PASSKEY_ES256 = -7, SQ_PASSKEY_RS256 = -257 };

struct sq_passkey_site {
    char origin[320]; /* https://host[:port], as a browser says it */
    char rp_id[254];  /* host */
};

struct sq_passkey {
    int32_t algorithm;
    uint16_t n_public, n_id;
    uint8_t public_key[SQ_PASSKEY_PUBLIC_MAX_BYTES];
    uint8_t id[SQ_PASSKEY_ID_MAX_BYTES]; /* as the authenticator names it */
    uint32_t counter;
    bool is_verified; /* its user was (PIN, finger), not only present */
};

/** The site that @public_url (https://host[:port][/path]) is of. SQ_ECONFIG: none, or one that has no name of its own (a bare address). */
sq_err sq_passkey_site(const char *public_url, struct sq_passkey_site *out) SQ_MUST_CHECK;

/** The challenge that @client_data says it answers, whatever else it says. SQ_EPASSKEY: none. */
sq_err sq_passkey_answers(struct sq_span client_data, uint8_t out_challenge[SQ_PASSKEY_CHALLENGE_BYTES]) SQ_MUST_CHECK;
/**
 * sq_passkey_client - @client_data is what a browser says that it did: of this @type ("webauthn.create", "webauthn.get"), on a page of
 * @site itself, not in a frame of another one's. SQ_EPASSKEY.
 */
sq_err sq_passkey_client(const struct sq_passkey_site *site, const char *type, struct sq_span client_data) SQ_MUST_CHECK;

/** sq_passkey_take - a new passkey from @auth_data. SQ_EPASSKEY: of another site, without its user, or not of these algorithms. */
sq_err sq_passkey_take(const struct sq_passkey_site *site, struct sq_span auth_data, struct sq_passkey *out) SQ_MUST_CHECK;

/** The public key in one piece, for sealing, and back. SQ_ETAMPERED. */
size_t sq_passkey_pack(const struct sq_passkey *key, uint8_t out[SQ_PASSKEY_PACKED_MAX_BYTES]);
sq_err sq_passkey_unpack(const uint8_t *p, size_t n, struct sq_passkey *out) SQ_MUST_CHECK;

/**
 * sq_passkey_check - @signature under @auth_data and @client_data is of @key, for @site, with its user present.
 *
 * @must_verify   and verified: PIN, finger, face.
 * @out_counter   how often it was used, as it says; 0: it doesn't count. Whether that may be is the caller's to judge.
 *
 * SQ_EPASSKEY, whatever is wrong.
 */
sq_err sq_passkey_check(const struct sq_passkey_site *site, const struct sq_passkey *key, struct sq_span client_data, struct sq_span auth_data, struct sq_span signature, bool must_verify,
                        uint32_t *out_counter) SQ_MUST_CHECK;

#endif
