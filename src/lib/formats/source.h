/**
 * formats/source - hostile bytes from a descriptor, unpacked: plain, gzip or BGZF, told apart by content.
 *
 * Reads a pipe once, front to back; never seeks. Every unpacked byte is counted: an absolute maximum and a ratio stop
 * a bomb. A BGZF file without its end block, a gzip member without its end, and data behind the end are errors.
 */
#ifndef SQ_FORMATS_SOURCE_H
#define SQ_FORMATS_SOURCE_H

#include "lib/core/buf.h"

#define SQ_SOURCE_MAX_BYTES ((uint64_t)256 << 30) /* unpacked; default of sq_source_limits.max_bytes */
#define SQ_SOURCE_MAX_RATIO 500U                  /* unpacked : packed, looked at beyond SQ_SOURCE_RATIO_FROM */
#define SQ_SOURCE_RATIO_FROM ((uint64_t)16 << 20)
#define SQ_SOURCE_MAX_LINE ((size_t)256 << 20)

enum sq_packing { SQ_PACKING_PLAIN = 1,
                  SQ_PACKING_GZIP,
                  SQ_PACKING_BGZF };

struct sq_source_limits {
    uint64_t max_bytes; /* 0: SQ_SOURCE_MAX_BYTES */
    uint32_t max_ratio; /* 0: no ratio (a panel of rare variants packs better than any upload) */
};

struct sq_source;

/**
 * sq_source_open - look at the first bytes of @fd (borrowed, read from where it stands).
 * SQ_EEMPTY, SQ_EGZIP for a packing that isn't ours (zip, xz, bzip2, zstd, 7z), SQ_EIO, SQ_ENOMEM.
 */
sq_err sq_source_open(int fd, const struct sq_source_limits *limits, struct sq_why *why,
                      struct sq_source **out) SQ_MUST_CHECK;
void sq_source_close(struct sq_source *s);

enum sq_packing sq_source_packing(const struct sq_source *s);
uint64_t sq_source_n_packed(const struct sq_source *s); /* bytes read from the descriptor so far */

/**
 * sq_source_fill - have at least @want unpacked bytes ready, or all that are left. *out is what is ready (valid until
 * the next call). SQ_ECUT, SQ_EGZIP, SQ_EBOMB, SQ_EIO, SQ_ELIMIT when @want exceeds SQ_SOURCE_MAX_LINE.
 */
sq_err sq_source_fill(struct sq_source *s, size_t want, struct sq_why *why, struct sq_span *out) SQ_MUST_CHECK;
void sq_source_skip(struct sq_source *s, size_t n); /* n <= what is ready */

/** sq_source_read - exactly @n bytes; *out_n less than n (0 included) only at the end of the data. */
sq_err sq_source_read(struct sq_source *s, void *p, size_t n, struct sq_why *why, size_t *out_n) SQ_MUST_CHECK;

/**
 * sq_source_line - the next line without LF or CR LF, valid until the next call. *out_has_line false at the end.
 * SQ_ECUT when the last line has no line end; SQ_ERECORD when it is longer than SQ_SOURCE_MAX_LINE (SQ_EBOMB when packed).
 */
sq_err sq_source_line(struct sq_source *s, struct sq_why *why, struct sq_span *out, bool *out_has_line) SQ_MUST_CHECK;
uint64_t sq_source_line_no(const struct sq_source *s); /* 1-based number of the line last returned */

#endif
