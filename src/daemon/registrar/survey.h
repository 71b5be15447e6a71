/* survey - what keeper has keys of, what storer has files of, and what the rows say: side by side, each sorted by id. */
#ifndef SQ_REGISTRAR_SURVEY_H
#define SQ_REGISTRAR_SURVEY_H

#include "daemon/registrar/registrar.h"

struct seen_slot {
    uint8_t id[ID], owner[ID];
    int64_t not_after_s;
};
struct seen_file {
    uint8_t id[ID], owner[ID];
    uint64_t n_bytes;
};
struct seen_row {
    uint8_t id[ID], owner[ID];
    uint8_t state, kind;
    bool has_receipt;
    int64_t not_after_s, opening_expires_s, erase_failures;
    uint64_t sealed_bytes;
};
struct survey {
    struct seen_slot *slot;
    struct seen_file *file;
    struct seen_row *row;
    size_t n_slot, n_file, n_row;
    uint32_t n_slot_damaged;
};

/**
 * survey_take - slots first, then files, then rows. An object's row is there before its slot and file, so whatever is listed
 * of a running service has its row, unless that was erased meanwhile.
 */
sq_err survey_take(struct registrar *r, struct survey *out) SQ_MUST_CHECK;
/** Room for one more of @size bytes at the end of *@p, which has @n and room for a power of two. SQ_ELIMIT, SQ_ENOMEM. */
sq_err survey_grow(void *p, size_t n, size_t size) SQ_MUST_CHECK;
void survey_done(struct survey *s);
/** First of that id, or NULL. */
const struct seen_slot *survey_slot(const struct survey *s, const uint8_t id[ID]);
const struct seen_file *survey_file(const struct survey *s, const uint8_t id[ID]);
const struct seen_row *survey_row(const struct survey *s, const uint8_t id[ID]);

/** What the sweep at start and the check's mending share. A slot or file that no row needs any more. */
sq_err destroy_orphan_slot(struct registrar *r, const uint8_t id[ID]) SQ_MUST_CHECK;
sq_err erase_orphan_file(struct registrar *r, const struct seen_file *f) SQ_MUST_CHECK;
/** A key that ends at another time than its row: the earlier one counts, in both. */
sq_err agree_deadline(struct registrar *r, const struct seen_row *row, const struct seen_slot *slot) SQ_MUST_CHECK;
/** live -> damaged, with log line and event; once. */
sq_err mark_damaged(struct registrar *r, const uint8_t id[ID], const char *reason) SQ_MUST_CHECK;

/** contents.c: is the live object @id, opened whole, still what was sealed? Not live any more: nothing is wrong. SQ_EDOWN, SQ_ESEALED, SQ_EBUSY: it can't be said. */
sq_err object_verify(struct registrar *r, const uint8_t id[ID], bool *out_is_damaged, uint64_t *out_sealed_bytes) SQ_MUST_CHECK;

#endif
