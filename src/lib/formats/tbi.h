/**
 * formats/tbi - a tabix index (.tbi, "The Tabix index file format") of one chromosome, built while records are written.
 *
 * The impute stage builds it with virtual offsets that count from the start of the body; the finish stage, which alone
 * knows how long the header is, shifts them (sq_tbi_shift). Packed as BGZF the bytes are a .tbi file.
 */
#ifndef SQ_FORMATS_TBI_H
#define SQ_FORMATS_TBI_H

#include "lib/core/buf.h"

struct sq_tbi;
sq_err sq_tbi_new(const char *chrom, struct sq_tbi **out) SQ_MUST_CHECK;
void sq_tbi_free(struct sq_tbi *t);
/** sq_tbi_add - a record over [beg0, end0), 0-based, from virtual offset @from to @to. beg0 may not fall. SQ_ERANGE beyond 2^29. */
sq_err sq_tbi_add(struct sq_tbi *t, int64_t beg0, int64_t end0, uint64_t from, uint64_t to) SQ_MUST_CHECK;
/** sq_tbi_write - the index, not packed, appended to @out. */
sq_err sq_tbi_write(const struct sq_tbi *t, struct sq_buf *out) SQ_MUST_CHECK;
/** sq_tbi_shift - add @by packed bytes to every virtual offset of the (hostile) index @p[n]. SQ_EFORMAT when it isn't one. */
sq_err sq_tbi_shift(uint8_t *p, size_t n, uint64_t by) SQ_MUST_CHECK;

#endif
