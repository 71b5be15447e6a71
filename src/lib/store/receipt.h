/**
 * store/receipt - the text of an erasure receipt: written by registrar, signed by keeper, read by `sequester receipt
 * verify`. The page is docs/formats/receipt.md.
 *
 * Pure functions. The text holds random ids, counts, digests, times and words of ours: no name, no genotype. Reading
 * is strict: only the very bytes that writing would make are accepted.
 */
#ifndef SQ_STORE_RECEIPT_H
#define SQ_STORE_RECEIPT_H

#include "lib/store/store.h"

#define SQ_RECEIPT_FIRST_LINE "sequester-receipt/v1\n"
#define SQ_RECEIPT_MAX_BYTES 8192
#define SQ_RECEIPT_MAX_OBJECTS 12 /* more objects: several receipts, numbered by part and n_part */
#define SQ_RECEIPT_KIND_BYTES 17  /* with the final NUL */

struct sq_receipt_object {
    uint8_t object[SQ_STORE_ID_BYTES];
    char kind[SQ_RECEIPT_KIND_BYTES]; /* a word of ours: a-z and underscore */
    uint64_t plain_bytes, sealed_bytes;
    bool has_sha256;                  /* false: it was never closed */
    uint8_t sha256[32];               /* of the sealed bytes */
    int64_t created_s;                /* Unix; 0: not known */
    int64_t key_destroyed_s;          /* Unix; 0: it never had a key */
    uint32_t key_generation;
    struct sq_erased erased;          /* what storer said; its n_bytes is not repeated in the text */
};

struct sq_receipt {
    int64_t made_s;                   /* Unix */
    uint8_t owner[SQ_STORE_ID_BYTES]; /* pseudonym */
    uint8_t job[SQ_STORE_ID_BYTES];   /* zero: no job (an upload that none used) */
    uint32_t part, n_part;            /* 1 of 1, mostly */
    uint32_t n_object;                /* 1..SQ_RECEIPT_MAX_OBJECTS */
    struct sq_receipt_object object[SQ_RECEIPT_MAX_OBJECTS];
};

/** sq_receipt_text - append the canonical text (<= SQ_RECEIPT_MAX_BYTES). SQ_ERANGE: a member is outside the format. */
sq_err sq_receipt_text(const struct sq_receipt *receipt, struct sq_buf *out) SQ_MUST_CHECK;

/** sq_receipt_read - the way back. SQ_EFIELD with @why (may be NULL): line, and the key that was expected there. */
sq_err sq_receipt_read(const char *text, size_t n, struct sq_receipt *out, struct sq_why *why) SQ_MUST_CHECK;

#endif
