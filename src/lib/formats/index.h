/**
 * formats/index - a coordinate index of one chromosome, built while records are written: .tbi or .csi.
 *
 * "The Tabix index file format" and "Coordinate Sorted Index format" (samtools/hts-specs). The scheme inside is that of a .csi
 * with bottom bins of 16 kb and one level more than a .tbi has, so that any position up to 2^32 fits; a .tbi or a .csi for
 * shorter chromosomes is the same bins without the topmost.
 *
 * The impute stage builds one a chunk, with virtual offsets that count from the start of its body; the finish stage, which
 * alone knows how long the header and the bodies before are, joins them. Packed as BGZF the bytes are an index file.
 */
#ifndef SQ_FORMATS_INDEX_H
#define SQ_FORMATS_INDEX_H

#include "lib/core/buf.h"

#define SQ_INDEX_TBI_MAX (1LL << 29) /* positions beyond need a .csi */
#define SQ_INDEX_MAX (1LL << 32)

enum sq_index_kind { SQ_INDEX_TBI,      /* of a .vcf.gz */
                     SQ_INDEX_CSI_VCF,  /* of a .vcf.gz */
                     SQ_INDEX_CSI_BCF }; /* of a .bcf whose first contig this is */

struct sq_index;
sq_err sq_index_new(const char *chrom, struct sq_index **out) SQ_MUST_CHECK;
void sq_index_free(struct sq_index *t);
/** sq_index_add - a record over [beg0, end0), 0-based, from virtual offset @from to @to. SQ_ERANGE: beg0 falls, or end0 beyond SQ_INDEX_MAX. */
sq_err sq_index_add(struct sq_index *t, int64_t beg0, int64_t end0, uint64_t from, uint64_t to) SQ_MUST_CHECK;
/** sq_index_end - where the last record ends; 0: no record. */
int64_t sq_index_end(const struct sq_index *t);
/** sq_index_write - the index, not packed, appended to @out. SQ_ERANGE: a .tbi can't hold it. */
sq_err sq_index_write(const struct sq_index *t, enum sq_index_kind kind, struct sq_buf *out) SQ_MUST_CHECK;

/** sq_index_write_part - for sq_index_join (docs/formats/stages.md, section `index`), appended to @out. */
sq_err sq_index_write_part(const struct sq_index *t, struct sq_buf *out) SQ_MUST_CHECK;
/** sq_index_new_like - empty, of the chromosome that the (hostile) part @p[n] names. SQ_EFORMAT. */
sq_err sq_index_new_like(const uint8_t *p, size_t n, struct sq_index **out) SQ_MUST_CHECK;
/**
 * sq_index_join - append the (hostile) part @p[n], its offsets moved by @by packed bytes, to @t, as if its records had been
 * added. SQ_EFORMAT when it isn't one, or of another chromosome. On failure @t is fit for sq_index_free alone.
 */
sq_err sq_index_join(struct sq_index *t, const uint8_t *p, size_t n, uint64_t by) SQ_MUST_CHECK;

#endif
