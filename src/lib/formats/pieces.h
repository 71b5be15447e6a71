/**
 * formats/pieces - rows from many threads, joined in order to BGZF streams, with an index built on the way.
 *
 * The work is cut into pieces 0, 1, 2 ... One thread has a piece: begin, row after row, end. Pieces are done at the same time; they
 * are formatted and deflated by the thread that has them and written in order by whoever ends the next one. Which bytes come
 * out depends on the pieces and their rows alone, not on the threads: full blocks of a piece are packed by themselves, what is
 * left at its end becomes one block with the small pieces that follow it.
 *
 * Memory: what has ended and can't be written yet is held to @max_wait_bytes: then sq_pieces_begin() waits, except for the piece that is
 * next. Pieces must therefore be handed out in ascending order (a counter); none may be left out.
 *
 *     sq_pieces_open(plan, tracks, n, 64 MiB, &out);
 *     for each window:  threads: { no = next++; sq_pieces_begin(out, no, &piece); sq_piece_row(piece, &row)...; sq_piece_end(piece); }
 *                       sq_pieces_cut(out);                    blocks end with the window; numbers begin at 0 again
 *     sq_pieces_close(out, is_last_chunk);                    flush, end block
 *     sq_pieces_part(out, SQ_ROWS_RESULT, &buf);              what goes to the index port, for sq_parts_*
 *     sq_pieces_free(out);
 */
#ifndef SQ_FORMATS_PIECES_H
#define SQ_FORMATS_PIECES_H

#include "lib/formats/rows.h"

#define SQ_PIECES_WAIT_BYTES ((size_t)64 << 20)

struct sq_pieces;
struct sq_piece;

struct sq_pieces_track {
    enum sq_rows_track track; /* each once */
    int fd;                   /* borrowed; written front to back */
};

/** Rows written so far (of the result track, whether it is there or not). */
struct sq_pieces_counts {
    uint64_t n_imputed, n_typed, n_typed_only;
    uint64_t n_below_r2;     /* left out for min_r2 */
    uint64_t n_packed_bytes; /* all tracks */
    uint64_t format_ns, deflate_ns, write_ns; /* CPU time of the threads, for the figures by stage */
};

/** sq_pieces_open - @plan is borrowed until sq_pieces_free. SQ_ENOMEM. */
sq_err sq_pieces_open(const struct sq_rows *plan, const struct sq_pieces_track *track, unsigned n_track, size_t max_wait_bytes,
                      struct sq_pieces **out) SQ_MUST_CHECK;
/** sq_pieces_free - also after a failure, with pieces still open. NULL allowed. No other thread may be inside. */
void sq_pieces_free(struct sq_pieces *p);

/** sq_pieces_begin - take piece @no for the calling thread. May wait. Any thread. SQ_ENOMEM, or the error that stopped another thread. */
sq_err sq_pieces_begin(struct sq_pieces *p, uint32_t no, struct sq_piece **out) SQ_MUST_CHECK;
/** sq_piece_row - the next row, all tracks. SQ_ELIMIT for a position beyond SQ_ROWS_POS_MAX, SQ_ERANGE for one that falls within the piece. */
sq_err sq_piece_row(struct sq_piece *piece, const struct sq_row *row) SQ_MUST_CHECK;
/** sq_piece_end - hand over; the piece is gone in any case. Writes what is in order. SQ_EIO, SQ_EFULL, or another thread's error. */
sq_err sq_piece_end(struct sq_piece *piece) SQ_MUST_CHECK;
/** sq_pieces_fail - stop: threads that wait, and every later call, return @e. Any thread. */
void sq_pieces_fail(struct sq_pieces *p, sq_err e);

/** sq_pieces_cut - no piece is open, all have been written: end the present block of each track; numbers begin at 0 again. */
sq_err sq_pieces_cut(struct sq_pieces *p) SQ_MUST_CHECK;
/** sq_pieces_close - cut, and the end block if asked for. Then only _counts, _part and _free. */
sq_err sq_pieces_close(struct sq_pieces *p, bool with_end_block) SQ_MUST_CHECK;
void sq_pieces_counts(struct sq_pieces *p, struct sq_pieces_counts *out);

/** sq_pieces_part - after close: what `finish` needs of @track (docs/formats/stages.md, section `index`), appended to @out. */
sq_err sq_pieces_part(struct sq_pieces *p, enum sq_rows_track track, struct sq_buf *out) SQ_MUST_CHECK;

#endif
