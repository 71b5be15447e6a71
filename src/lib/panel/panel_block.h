/* panel_block - the builder's block: rows of bits come in, patterns and runs go out, the order is carried on. Not for other rooms. */
#ifndef SQ_PANEL_BLOCK_H
#define SQ_PANEL_BLOCK_H

#include "lib/panel/panel_bits.h"
#include "lib/panel/panel_internal.h"

struct miss_run {
    uint32_t row, first, n;
};
struct ploidy_change {
    uint32_t row, sample;
};

struct block_maker {
    const struct panel_bits *bits;
    uint32_t n_col;
    size_t n_word;
    uint64_t *row;     /* [64][n_word] */
    uint64_t *pattern; /* [n_word * 64] of each column */
    uint32_t *order, *next, *rank; /* [n_col]; rank: only once something is missing */
    uint32_t n_row;
    /* of the block being closed */
    uint32_t n_run;
    uint32_t *run_class, *run_n; /* [n_col] */
    uint32_t n_unique;
    uint64_t *unique; /* [65536] in the order in which they were met, then ascending */
    uint32_t *sorted; /* [65536] number in `unique` -> class */
    uint32_t *slot, *stamp, turn; /* hash table of `unique` */
    uint32_t *start;  /* [65536] */
    /* exceptions of the rows that wait, by row */
    struct miss_run *miss;
    struct ploidy_change *change;
    size_t n_miss, miss_cap, n_change, change_cap;
};

sq_err block_maker_init(struct block_maker *m, uint32_t n_col) SQ_MUST_CHECK;
void block_maker_done(struct block_maker *m);
/** block_maker_restart - the order is 0, 1, 2, ... again. */
void block_maker_restart(struct block_maker *m);

static inline uint64_t *block_maker_row(struct block_maker *m, uint32_t row)
{
    return m->row + (size_t)row * m->n_word;
}

sq_err block_maker_miss(struct block_maker *m, uint32_t row, uint32_t col, uint32_t n) SQ_MUST_CHECK;
sq_err block_maker_change(struct block_maker *m, uint32_t row, uint32_t sample) SQ_MUST_CHECK;

/**
 * block_maker_close - a block of the first rows that wait: all of them, or half as often as it takes to have few enough patterns. Appends to the
 * @column[HAPS_N_COLUMN] of the pack; what is left moves to the front. *out_n_row: how many it took.
 */
sq_err block_maker_close(struct block_maker *m, struct sq_buf *column, uint32_t *out_n_row) SQ_MUST_CHECK;

#endif
