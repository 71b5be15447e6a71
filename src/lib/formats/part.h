/**
 * formats/part - what the impute stage leaves on an index port for finish: one part a chunk (docs/formats/stages.md, `index`).
 */
#ifndef SQ_FORMATS_PART_H
#define SQ_FORMATS_PART_H

#include "lib/formats/rows.h"

#define SQ_PART_META_MAX ((uint64_t)1 << 20)

struct sq_part {
    enum sq_rows_track track;
    enum sq_rows_container container;
    uint64_t n_sample; /* columns of samples: names that the header needs; 0 for sites */
    uint64_t body_bytes;
    struct sq_span meta, index; /* header lines; of sq_index_write_part */
};

/** sq_part_write - appended to @out. */
sq_err sq_part_write(const struct sq_part *part, struct sq_buf *out) SQ_MUST_CHECK;
/** sq_part_next - the part at *at of the (hostile) joined port; *at moves behind it. Spans point into @port. False when it isn't one. */
bool sq_part_next(const struct sq_buf *port, size_t *at, struct sq_part *out);

/**
 * sq_part_header - the unpacked header of the file: of @meta, and of @columns, which is "\tNAME" for every sample ("" for none). For a BCF with
 * its magic and length. SQ_EFORMAT when @meta isn't lines "##key=value" of printable ASCII that begin with ##fileformat.
 */
sq_err sq_part_header(const struct sq_part *part, const struct sq_buf *columns, struct sq_buf *out) SQ_MUST_CHECK;

#endif
