/**
 * formats/tbi - a tabix index (.tbi, "The Tabix index file format") of one chromosome, built while records are written.
 *
 * The impute stage builds one a chunk, with virtual offsets that count from the start of its body; the finish stage, which
 * alone knows how long the header and the bodies before are, joins them (sq_tbi_join). Packed as BGZF the bytes are a .tbi file.
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
/** sq_tbi_write_part - the same for sq_tbi_join: windows of the linear index that no record touches are all ones. */
sq_err sq_tbi_write_part(const struct sq_tbi *t, struct sq_buf *out) SQ_MUST_CHECK;
/**
 * sq_tbi_join - append the (hostile) part @p[n], its offsets moved by @by packed bytes, to @t, as if its records had been
 * added. SQ_EFORMAT when it isn't one, or of another chromosome. On failure @t is fit for sq_tbi_free alone.
 */
sq_err sq_tbi_join(struct sq_tbi *t, const uint8_t *p, size_t n, uint64_t by) SQ_MUST_CHECK;
/** sq_tbi_new_like - empty, of the chromosome that the (hostile) part @p[n] names. SQ_EFORMAT. */
sq_err sq_tbi_new_like(const uint8_t *p, size_t n, struct sq_tbi **out) SQ_MUST_CHECK;

#endif
