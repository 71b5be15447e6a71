/* What writer and reader of AE-2 share: numbers of the format, and the cipher with its MAC. */
#ifndef SQ_ZIP_AE2_INTERNAL_H
#define SQ_ZIP_AE2_INTERNAL_H

#include "lib/vault/zip_ae2.h"

#define ZIP_LOCAL 0x04034b50u
#define ZIP_CENTRAL 0x02014b50u
#define ZIP_DESCRIPTOR 0x08074b50u
#define ZIP_END 0x06054b50u
#define ZIP64_END 0x06064b50u
#define ZIP64_LOCATOR 0x07064b50u
#define ZIP_LOCAL_BYTES 30u
#define ZIP_CENTRAL_BYTES 46u
#define ZIP_END_BYTES 22u
#define ZIP64_END_BYTES 56u
#define ZIP64_LOCATOR_BYTES 20u
#define ZIP_AES_EXTRA_BYTES 11u /* 0x9901, with its four bytes of head */
#define ZIP_MAC_BYTES 10u
#define ZIP_AE2_BYTES 28u /* salt, verifier, mac: what an entry is longer than its plaintext */
#define ZIP_VERSION 51u   /* needed: AES */
#define ZIP_MADE_BY (3u << 8 | ZIP_VERSION) /* Unix: so that a mode can be given */
#define ZIP_FLAG_ENCRYPTED 1u
#define ZIP_FLAG_DESCRIPTOR 8u
#define ZIP_METHOD_AES 99u
#define ZIP_MODE (UINT32_C(0100600) << 16) /* a plain file for its owner alone */
#define ZIP_32 UINT32_MAX                  /* "see the zip64 field" */

struct zip_cipher;

sq_err zip_cipher_new(const struct sq_zip_keys *keys, struct zip_cipher **out) SQ_MUST_CHECK;
/* n bytes of plaintext to ciphertext, adding the ciphertext to the MAC */
sq_err zip_cipher_seal(struct zip_cipher *c, const uint8_t *in, size_t n, uint8_t *out) SQ_MUST_CHECK;
/* and back */
sq_err zip_cipher_open(struct zip_cipher *c, const uint8_t *in, size_t n, uint8_t *out) SQ_MUST_CHECK;
/* ciphertext to the MAC alone */
sq_err zip_cipher_mac_add(struct zip_cipher *c, const uint8_t *in, size_t n) SQ_MUST_CHECK;
sq_err zip_cipher_mac(struct zip_cipher *c, uint8_t out[ZIP_MAC_BYTES]) SQ_MUST_CHECK;
void zip_cipher_free(struct zip_cipher *c);

/* the 11 bytes of extra field 0x9901: version AE-2, "AE", strength 3 (AES-256), real method 0 (stored) */
void zip_aes_extra(uint8_t out[ZIP_AES_EXTRA_BYTES]);

#endif
