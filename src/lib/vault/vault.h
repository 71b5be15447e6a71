/**
 * vault - sealed objects: the constants, the arithmetic and the derivation that sealing and opening share.
 *
 * An object is a list of parts of at most 16 MiB of plaintext, each a complete stream in the published Tink
 * AES-GCM-HKDF format, and a closing part that says how many there are and how long. docs/formats/sealed-object.md
 * gives every byte. Two doors lead in, each in a library of its own, so that a program can hold one and not the other:
 *
 *     vault_seal.h   seal (gateway, runner)       takes derived keys: never sees an object key
 *     vault_open.h   open (runner)                takes derived keys: never sees an object key
 *     this header    sq_vault_derive (keeper)     object key -> derived key of one part
 *
 * May touch: memory, and the descriptors it is given. Never: opens a path, stores a key, talks to anyone.
 */
#ifndef SQ_VAULT_VAULT_H
#define SQ_VAULT_VAULT_H

#include "lib/crypt/crypt.h"

#define SQ_VAULT_ID_BYTES 16
#define SQ_VAULT_SALT_BYTES 32
#define SQ_VAULT_PART_BYTES (UINT64_C(16) << 20)         /* plaintext of a full part */
#define SQ_VAULT_PART_SEALED_BYTES UINT64_C(16781368)    /* a full part in the file */
#define SQ_VAULT_SEGMENT_BYTES 65536u                    /* Tink's ciphertext segment size */
#define SQ_VAULT_HEADER_BYTES 40u                        /* of a part: 40 | salt | nonce prefix */
#define SQ_VAULT_TRAILER_BYTES 80u                       /* plaintext of the closing part */
#define SQ_VAULT_CLOSING_BYTES 136u                      /* the closing part in the file */
#define SQ_VAULT_CLOSING_PART UINT32_MAX                 /* its number */

/** What an object is once it is closed. */
struct sq_vault_sum {
    uint32_t n_part; /* data parts; 0 for an empty object */
    uint64_t plain_bytes, sealed_bytes;
    uint8_t sha256[SQ_SHA256_BYTES]; /* of the whole plaintext */
};

/** The file length of an object with @plain_bytes of plaintext. @plain_bytes below 2^56. */
uint64_t sq_vault_sealed_bytes(uint64_t plain_bytes);

/**
 * sq_vault_derive - Tink's DerivedKey of one part: HKDF-SHA256(object key, salt, info = object id | part number).
 * For keeper alone; in a library of its own.
 *
 * @object_key   borrowed
 * @salt         fresh random bytes to seal; those of the part's header to open
 * @out_derived  free with sq_key_free
 */
sq_err sq_vault_derive(const struct sq_key *object_key, const uint8_t salt[SQ_VAULT_SALT_BYTES],
                       const uint8_t object_id[SQ_VAULT_ID_BYTES], uint32_t part_no,
                       struct sq_key **out_derived) SQ_MUST_CHECK;

#endif
