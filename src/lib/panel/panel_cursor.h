/* panel_cursor - a cursor's inside, shared by its two halves: haplotypes (panel_cursor.c) and sites (panel_sites.c). Not for other rooms. */
#ifndef SQ_PANEL_CURSOR_H
#define SQ_PANEL_CURSOR_H

#include "lib/panel/panel_internal.h"

/* The record that rows are being taken of. */
struct record {
    uint32_t no, n_alt, n_left; /* n_left: rows still to come */
    int64_t pos_bp;
    double cm;
    uint32_t an, ac_left; /* ac_left: observed alleles that aren't ALTs of the rows so far */
    uint32_t id_at, n_id; /* in id_text */
    struct sq_span ref, alt[PANEL_MAX_ALT];
};

struct sq_panel_cursor {
    const struct sq_panel *p;
    unsigned what;
    struct ZSTD_DCtx_s *z;
    uint32_t pack, block, site; /* of the next block */
    bool is_loaded;             /* the pack's columns are at hand */
    const uint8_t *block_rows;  /* [n_block] of the pack */
    /* sites */
    uint8_t *sites_raw;
    struct column sites[SITES_N_COLUMN];
    struct record record;
    struct sq_buf id_text;
    uint32_t id_at[SQ_PANEL_BLOCK_ROWS];
    struct sq_panel_site row[SQ_PANEL_BLOCK_ROWS];
    /* haplotypes */
    uint8_t *haps_raw;
    struct column haps[HAPS_N_COLUMN];
    uint32_t n_pattern, n_run;
    uint64_t *pattern;           /* [65535] */
    uint32_t *start;             /* [65536] */
    void *order, *next;          /* [n_col] haplotypes in the order at the block's start: uint16_t where that is enough, else uint32_t */
    size_t order_bytes;          /* of such an array */
    bool is_short;
    bool starts_anew;            /* the next block begins a segment: order is still that of the one before, for its last block's bits */
    uint32_t *run_n;             /* [n_col] */
    uint16_t *run_class;         /* [n_col] */
    uint16_t *class_of;          /* [n_hap + 1] */
    /* the haplotypes that are wanted alone, by their place in the order; then order is stale */
    bool is_some;
    uint32_t n_some, some_cap;
    uint32_t *some_at, *some_hap, *some_next; /* [some_cap], [some_cap], [2][some_cap] */
    uint16_t *some_class;                     /* [some_cap] */
    uint32_t *some_start;                     /* [65536] */
    struct sq_panel_special special;
    struct sq_panel_change *change;
    struct sq_panel_missing *missing;
    size_t change_cap, missing_cap;
};

/* The sites of the next @n_row rows to c->row; the lists of special genotypes to c->special (without a reason: the caller names the place). */
sq_err panel_cursor_sites(struct sq_panel_cursor *c, uint32_t n_row, struct sq_why *why) SQ_MUST_CHECK;
sq_err panel_cursor_special(struct sq_panel_cursor *c, uint32_t n_row) SQ_MUST_CHECK;
sq_err panel_cursor_bad(const struct sq_panel_cursor *c, struct sq_why *why, const char *field, const char *detail);

#endif
