/**
 * runs/run_summary - the Run Summary and Indexing QC tables, from InterOp metrics (interop.h).
 *
 * The numbers are those that Illumina's own tools show: cycles before the last of each read count, clusters that passed count for yield and
 * quality, a tile without a value is left out of a mean. What nobody measured is NAN. docs/formats/run-interop.md says how each is made.
 */
#ifndef SQ_RUNS_RUN_SUMMARY_H
#define SQ_RUNS_RUN_SUMMARY_H

#include "lib/runs/interop.h"

/** Over the tiles that have a value. sd: of a sample (n - 1); 0 of one. All NAN: none has. */
struct sq_run_stat {
    double mean, sd;
};

struct sq_run_level {
    double yield_g, projected_yield_g, aligned, error_rate, intensity_c1, q30, occupied; /* G bases; percent */
};

struct sq_run_lane_summary {
    uint32_t lane, surface; /* surface 0: all of the lane */
    uint32_t n_tile;
    double reads, reads_pf, yield_g, projected_yield_g, q30;
    struct sq_run_stat density, percent_pf; /* thousands a mm2; percent */
    struct sq_run_stat phasing, prephasing; /* percent */
    struct sq_run_stat phasing_slope, phasing_offset, prephasing_slope, prephasing_offset; /* weights of the correction by cycle: a cycle; before the first */
    struct sq_run_stat aligned, error, error_35, error_75, error_100, occupied, intensity_c1;
    uint32_t error_first, error_last; /* least and most cycles with an error rate, over the tiles; 0: none */
};

struct sq_run_read_summary {
    uint32_t number;
    bool is_index;
    struct sq_run_level level;
    uint32_t n_row;
    struct sq_run_lane_summary *row; /* [n_row] each lane, and behind it its surfaces when there is more than one */
};

struct sq_run_index_row {
    char index[2][SQ_INTEROP_MAX_TEXT + 1]; /* i7, i5 ("" when there is none) */
    char sample[SQ_INTEROP_MAX_TEXT + 1], project[SQ_INTEROP_MAX_TEXT + 1];
    uint64_t n_cluster;
    double percent; /* of the lane's clusters that passed */
};

struct sq_run_index_lane {
    uint32_t lane;
    double reads, reads_pf, identified, cv, least, most; /* identified, least, most: percent of reads_pf */
    uint32_t n_row;
    struct sq_run_index_row *row; /* [n_row] in the order of the file */
};

struct sq_run_summary {
    uint32_t n_read, n_index_lane;
    struct sq_run_read_summary *read; /* [n_read] */
    struct sq_run_level non_index, total;
    struct sq_run_index_lane *index; /* [n_index_lane]; none without index metrics */
    bool has[SQ_INTEROP_KINDS];      /* which metrics there were */
    bool is_growing;                 /* a file ended within a record */
};

/**
 * sq_run_summarize - reads every metric that the tables need. A file that isn't there leaves its columns NAN; without tile and quality
 * metrics there is nothing to say: SQ_ERUNMISSING. Else the errors of sq_interop_read. Memory: some hundred bytes a tile and read.
 */
sq_err sq_run_summarize(const struct sq_run *run, struct sq_run_why *why, struct sq_run_summary *out) SQ_MUST_CHECK;
void sq_run_summary_done(struct sq_run_summary *s);

#endif
