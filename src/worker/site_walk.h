/**
 * site_walk - the panel's rows from front to back beside a sorted target: which rows lie at a position, which is the next one
 * behind it, and where the lines of the grid fall. No genotype of the panel is looked at.
 *
 * The grid: line k lies at the map's first cM + k * GRID_CM (docs/formats/stages.md, windows). Every chunk finds the same lines.
 */
#ifndef SQ_WORKER_SITE_WALK_H
#define SQ_WORKER_SITE_WALK_H

#include "lib/panel/panel.h"

#define GRID_CM 20.0
#define WALK_GROUP_MAX 1024U /* rows at one position; more help nobody */
#define WALK_GROUP_MAX_BYTES ((size_t)64 << 20)
#define WALK_LINES 8U

/** Alleles at one position, side by side in one buffer. Also what qc has seen of the target there. */
struct site_group {
    int64_t pos_bp;
    uint32_t n;
    struct {
        uint32_t row, at, n_ref, n_alt; /* row: of the panel */
    } allele[WALK_GROUP_MAX];
    struct sq_buf text;
};

void site_group_clear(struct site_group *g, int64_t pos_bp);
/** site_group_add - beyond WALK_GROUP_MAX nothing is added. */
sq_err site_group_add(struct site_group *g, uint32_t row, struct sq_span ref, struct sq_span alt) SQ_MUST_CHECK;
/** site_group_find - its place in the group, or -1. */
int site_group_find(const struct site_group *g, struct sq_span ref, struct sq_span alt);

double grid_line(double origin_cm, int64_t k);
/** grid_no - the line at or before @cm: grid_line(k) <= cm < grid_line(k + 1). */
int64_t grid_no(double origin_cm, double cm);

struct site_walk {
    const struct sq_panel *panel;
    double origin_cm;
    struct sq_panel_cursor *cursor;
    struct sq_panel_block block;
    uint32_t at;   /* the next row's place in the block */
    bool has;      /* there is a next row */
    bool is_start; /* the walk began at the panel's first row */
    int64_t last_no; /* window of the last row passed */
    struct {
        int64_t from_no, to_no; /* windows whose first row this is */
        uint32_t row;
    } line[WALK_LINES]; /* the last ones, round */
    uint32_t n_line;
    struct site_group here;
};

/** site_walk_open - from the start of @segment. */
sq_err site_walk_open(const struct sq_panel *panel, uint32_t segment, struct sq_why *why, struct site_walk *out) SQ_MUST_CHECK;
void site_walk_close(struct site_walk *w);
/** site_walk_next - the row that comes next, or NULL. *out_row: its number, n_site at the end. */
const struct sq_panel_site *site_walk_next(const struct site_walk *w, uint32_t *out_row);
/** site_walk_pass - pass over the next row. */
sq_err site_walk_pass(struct site_walk *w, struct sq_why *why) SQ_MUST_CHECK;
/** site_walk_to - pass all rows up to @pos_bp (not falling from call to call); those at it are in w->here. */
sq_err site_walk_to(struct site_walk *w, int64_t pos_bp, struct sq_why *why) SQ_MUST_CHECK;
/** site_walk_line - the first row at or behind line @k. It must have been reached, and be among the last WALK_LINES. */
uint32_t site_walk_line(const struct site_walk *w, int64_t k);

#endif
