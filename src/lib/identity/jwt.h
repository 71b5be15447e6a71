/**
 * identity/jwt - tokens: JWT, ES256, one spelling each. Bytes and rules: docs/formats/token.md. RFC 7515, 7518, 7519.
 *
 * The verifier pins algorithm, type and key by comparing the whole header with the one we write, checks the signature
 * before it parses a claim, and accepts claims only in canonical form. A good token is not a right: the caller still
 * looks for the live jti row and the user's epoch.
 */
#ifndef SQ_IDENTITY_JWT_H
#define SQ_IDENTITY_JWT_H

#include "lib/crypt/crypt.h"

#define SQ_JWT_MAX_BYTES 2048
#define SQ_JWT_ROLE_BYTES 17   /* with the NUL */
#define SQ_JWT_SCOPE_BYTES 257 /* with the NUL */
#define SQ_JWT_MAX_LIFE_S (400 * INT64_C(86400))
#define SQ_JWT_LEEWAY_S 60 /* iat may be this far ahead */

struct sq_jwt_claims {
    uint8_t sub[16]; /* owner id */
    uint8_t jti[16];
    char role[SQ_JWT_ROLE_BYTES];
    char scope[SQ_JWT_SCOPE_BYTES];
    uint32_t epoch;
    int64_t issued_s, expires_s;
};

/**
 * sq_jwt_make - sign @claims.
 *
 * @scalar   P-256 private key.            borrowed
 * @origin   the site, becomes `iss`.      borrowed
 * @out      the token is appended, without NUL.
 *
 * SQ_ERANGE when a claim is outside what the format can say (role, scope, times, length).
 */
sq_err sq_jwt_make(const struct sq_key *scalar, const char *origin, const struct sq_jwt_claims *claims,
                   struct sq_buf *out) SQ_MUST_CHECK;

/**
 * sq_jwt_verify - is this a token of ours, and good at @now_s?
 *
 * @public_key  as keeper_state_is carries it: 0x04 | x | y.   borrowed
 * @token       the bytes after "Bearer ".                     borrowed
 * @out         its claims.                                    written on success only
 *
 * SQ_OK or SQ_EAUTH, which doesn't say why; SQ_ENOMEM, SQ_ECRYPTO.
 */
sq_err sq_jwt_verify(const uint8_t public_key[SQ_ES256_PUBLIC_BYTES], const char *origin, struct sq_span token,
                     int64_t now_s, struct sq_jwt_claims *out) SQ_MUST_CHECK;

/**
 * sq_jwt_verify_any - the same with several keys: the one that the header names, and no other.
 *
 * @public_keys  @n_key of them, one behind another.   borrowed
 */
sq_err sq_jwt_verify_any(const uint8_t *public_keys, size_t n_key, const char *origin, struct sq_span token, int64_t now_s,
                         struct sq_jwt_claims *out) SQ_MUST_CHECK;
/** More than these aren't in use at a time: the present one and former ones whose tokens haven't ended. */
#define SQ_JWT_MAX_KEYS 8

/** First 8 bytes of SHA-256 of @public_key in hex: 16 digits and a NUL. */
sq_err sq_jwt_kid(const uint8_t public_key[SQ_ES256_PUBLIC_BYTES], char out_kid[17]) SQ_MUST_CHECK;

#endif
