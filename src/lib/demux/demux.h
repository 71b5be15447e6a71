/**
 * demux - a run folder to FASTQ files by sample.
 *
 * Tile by tile: all cycles of a tile are unpacked into rows by cycle (tile_store), then pieces of SQ_DEMUX_PIECE clusters are turned
 * over to reads, matched, written as text and packed (demux_piece), by any thread; what they give is written in order (demux_run).
 * Pieces are cut by the number of clusters alone, and packed blocks end with them: the bytes are the same whatever threads, memory and pauses.
 * A run that is still going on is fed cycle by cycle (sq_demux_feed): rows then lie in files beside the results, and what is missing is
 * read at the end. So feeding may stop and go on at any cycle. Files that need no later cycle (read 1, when the indexes are in) are written while
 * the run goes on (sq_demux_run_early), in a pass of their own over the tiles: a file's bytes don't depend on the other files.
 *
 * What it touches: the run through lib/runs, and one directory that it is given; every file there is NAME.part until it is whole.
 * What it never does: write outside of that directory, name a sample in an error, guess.
 * Semantics: docs/demux.md.
 */
#ifndef SQ_DEMUX_DEMUX_H
#define SQ_DEMUX_DEMUX_H

#include "lib/demux/barcodes.h"
#include "lib/demux/sample_sheet.h"
#include "lib/runs/runs.h"

#define SQ_DEMUX_PIECE 65536U /* most clusters, before the filter */
#define SQ_DEMUX_LEAST 8192U  /* clusters of the smallest pieces of the last tile */
#define SQ_DEMUX_MAX_THREADS 256U
#define SQ_DEMUX_MIN_MEMORY (64ULL << 20)

enum sq_demux_i5 { SQ_DEMUX_I5_AUTO,     /* by RunInfo and the sheet's IndexOrientation */
                   SQ_DEMUX_I5_AS_READ,  /* the sheet has index 2 as the instrument reads it */
                   SQ_DEMUX_I5_REVERSE }; /* the sheet has its reverse complement */

struct sq_demux_options {
    uint32_t n_thread;
    uint64_t memory_bytes; /* what rows, buffers and results that wait may use together */
    int level;             /* of gzip: 0..12 */
    struct sq_barcode_rule rule;
    enum sq_demux_i5 i5;
    bool is_lane_joined;   /* or by the sheet */
    bool is_project_folder, is_index_written, is_adapter_left, is_failed_kept;
    bool is_bad_masked;    /* missing and damaged base calls become N; else they end the work */
    const char *lanes, *tiles; /* "1,2"; "1101,2_21*": NULL: all */
};
void sq_demux_options_default(struct sq_demux_options *o);

/* ---- the plan: sheet and run together ---- */

struct sq_demux_plan;

/**
 * sq_demux_plan_new - which cycles of which lane mean what for which sample. Problems of the sheet with this run are added to it.
 * SQ_ESHEET when it has errors, SQ_EFIELD for lanes or tiles that aren't understood or aren't there, SQ_ENOMEM.
 * @run, @sheet and @options (copied) are borrowed for as long as the plan.
 */
sq_err sq_demux_plan_new(struct sq_run *run, struct sq_sheet *sheet, const struct sq_demux_options *options, struct sq_why *why,
                         struct sq_demux_plan **out) SQ_MUST_CHECK;
void sq_demux_plan_free(struct sq_demux_plan *p);

/* ---- the work ---- */

struct sq_demux;

struct sq_demux_progress {
    uint64_t calls_done, calls_total; /* total: as known so far */
    uint64_t pieces_done;
    uint32_t tiles_done, tiles_total;
};

/** What was missing or damaged and has become N, or other remarks: a sentence without names. */
struct sq_demux_remark {
    struct sq_run_why where;
    uint64_t n; /* how often */
};

/**
 * sq_demux_open - begin in directory @dir_fd (borrowed), or go on there: with the same run, sheet and options only, SQ_ECONFLICT otherwise.
 * SQ_EEXISTS when the directory holds something else, or finished results.
 */
sq_err sq_demux_open(struct sq_demux_plan *plan, int dir_fd, struct sq_why *why, struct sq_demux **out) SQ_MUST_CHECK;
void sq_demux_close(struct sq_demux *d); /* leaves what is needed to go on */

/** sq_demux_next_cycle - the first that hasn't been fed (1-based), n_cycle + 1: all have. */
uint32_t sq_demux_next_cycle(const struct sq_demux *d);
/**
 * sq_demux_feed - take in one cycle of all tiles, the next one. SQ_ERUNMISSING, SQ_ERUNCUT: not whole yet, try again; nothing is lost.
 * @run_why: of the tile.
 */
sq_err sq_demux_feed(struct sq_demux *d, uint32_t cycle, struct sq_run_why *run_why) SQ_MUST_CHECK;

/**
 * sq_demux_may_run_early - the cycles that were fed hold all indexes and a whole read (or more), and its files aren't written yet.
 * sq_demux_run_early then writes them, with reports of what is known; the bytes are those that sq_demux_run would give them. SQ_ERUNMISSING,
 * SQ_ERUNCUT, SQ_ERUNFILE: filters or positions aren't there yet, try again later, or let sq_demux_run do all. @progress as there.
 */
bool sq_demux_may_run_early(const struct sq_demux *d);
sq_err sq_demux_run_early(struct sq_demux *d, bool (*progress)(void *ctx, const struct sq_demux_progress *p), void *ctx, struct sq_run_why *run_why) SQ_MUST_CHECK;

/**
 * sq_demux_run - everything else, to the end: FASTQ, reports, names without .part. @progress (may be NULL) is called from time to time by
 * one thread at once; when it returns true the work stops with SQ_ECANCELLED, and can go on later.
 */
sq_err sq_demux_run(struct sq_demux *d, bool (*progress)(void *ctx, const struct sq_demux_progress *p), void *ctx, struct sq_run_why *run_why) SQ_MUST_CHECK;

/** Filled by sq_demux_run. Static words; "" when there is nothing to say: that barcodes look reverse-complemented, for example. */
struct sq_demux_result {
    uint64_t n_cluster, n_pf, n_read, n_identified; /* n_read: clusters that were written; n_identified: of these */
    char hint[240];
    uint32_t n_remark;
    const struct sq_demux_remark *remark;
};
const struct sq_demux_result *sq_demux_result(const struct sq_demux *d);

#endif
