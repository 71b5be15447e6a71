/**
 * store/receipt - the text of an erasure receipt, of one object and of a job: written by registrar, signed by keeper, read by `sequester receipt
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

/* ---- one for a whole job: how many receipts there are, what they add up to, and a digest that binds exactly those ---- */

#define SQ_JOB_RECEIPT_FIRST_LINE "sequester-job-receipt/v1\n"
#define SQ_JOB_RECEIPT_METHODS 5 /* numbers of erase.def and 0, which none has */
#define SQ_JOB_RECEIPT_LINE_BYTES 99 /* with the final NUL */

struct sq_job_receipt {
    int64_t made_s; /* Unix */
    uint8_t owner[SQ_STORE_ID_BYTES];
    uint8_t job[SQ_STORE_ID_BYTES];
    uint64_t n_object, plain_bytes, sealed_bytes;
    int64_t first_key_s, last_key_s; /* when the first and the last key was destroyed; 0: there was none */
    uint64_t n_method[SQ_JOB_RECEIPT_METHODS];
    uint8_t receipts_sha256[32]; /* of the lines of sq_job_receipt_line, in order of object id */
};

/** sq_job_receipt_add - one receipt more. SQ_ERANGE: together they are too large for any disk. */
sq_err sq_job_receipt_add(struct sq_job_receipt *sum, const struct sq_receipt *one) SQ_MUST_CHECK;
/** sq_job_receipt_line - the line of @one in the digest; @sha256: of its text (without the signature). */
void sq_job_receipt_line(const struct sq_receipt *one, const uint8_t sha256[32], char out[SQ_JOB_RECEIPT_LINE_BYTES]);
/** As the two above. */
sq_err sq_job_receipt_text(const struct sq_job_receipt *receipt, struct sq_buf *out) SQ_MUST_CHECK;
sq_err sq_job_receipt_read(const char *text, size_t n, struct sq_job_receipt *out, struct sq_why *why) SQ_MUST_CHECK;

/** sq_receipt_text_bytes - length of the signed text in a note of @n bytes: up to the empty line before the signature; 0: there is none. */
size_t sq_receipt_text_bytes(const char *note, size_t n);

#endif
