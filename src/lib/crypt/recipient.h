/**
 * recipient - a person's public key, as age and Crypt4GH write it.
 *
 *     age        age1... : Bech32 (BIP 173) of 32 bytes, X25519. Made by `age-keygen`.
 *     Crypt4GH   the base64 line of a `-----BEGIN CRYPT4GH PUBLIC KEY-----` file, with or without its two other lines.
 *
 * Public, but personal: it is kept with the job and nowhere else.
 */
#ifndef SQ_CRYPT_RECIPIENT_H
#define SQ_CRYPT_RECIPIENT_H

#include "lib/core/buf.h"

#define SQ_RECIPIENT_MAX_BYTES 200 /* of the text */

enum sq_recipient_kind { SQ_RECIPIENT_NONE = 0, SQ_RECIPIENT_AGE = 1, SQ_RECIPIENT_CRYPT4GH = 2 };

struct sq_recipient {
    enum sq_recipient_kind kind;
    uint8_t x25519[32];
};

/** SQ_EFIELD: neither of the two, mistyped, or a private key (which must never be sent). */
sq_err sq_recipient_parse(struct sq_span text, struct sq_recipient *out) SQ_MUST_CHECK;
/** Does it hold a private key of age or Crypt4GH, or any other kind of private key in PEM? */
bool sq_recipient_is_private(struct sq_span text);
/** `age` or `c4gh`: the ending of files sealed to it. */
const char *sq_recipient_suffix(enum sq_recipient_kind kind);

#endif
