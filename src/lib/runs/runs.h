/**
 * runs - what an Illumina instrument writes: RunInfo.xml, RunParameters.xml, base calls (bcl, bcl.gz, bgzf, CBCL), filters, positions.
 *
 * Readers of one run folder, written from byte tables (docs/formats/run-*.md; no source of other readers was used). Every byte is a
 * stranger's: sizes are held against the file and against named maxima before they meet malloc, XML has no entities and no network.
 * One call gives one cycle of one tile, for all its clusters; nothing is called once a cluster. Memory is that of one tile and one
 * cycle, whatever the run's size. Threads share a struct sq_run, and have a struct sq_calls each.
 *
 * What it touches: descriptors that struct sq_run_files gives it, to read. It writes nothing and knows no sample and no barcode.
 * InterOp metrics: lib/runs/interop.h. Kernels: lib/runs/call_kernels.h.
 */
#ifndef SQ_RUNS_RUNS_H
#define SQ_RUNS_RUNS_H

#include "lib/core/buf.h"

#define SQ_RUN_MAX_READS 16U
#define SQ_RUN_MAX_LANES 16U
#define SQ_RUN_MAX_SURFACES 9U
#define SQ_RUN_MAX_CYCLES 4000U
#define SQ_RUN_MAX_TILES 100000U         /* of a run; NovaSeq X 25B has 6,272 */
#define SQ_RUN_MAX_CLUSTERS (1U << 28)   /* of a tile; 25B has about 5 million, patterned */
#define SQ_RUN_MAX_XML ((size_t)16 << 20) /* bytes of one XML file */
#define SQ_RUN_MAX_CHANNELS 8U

/** Where in a run folder something is wrong. The path is made of our own words and numbers, never of names found on the disk. */
struct sq_run_why {
    char file[128];             /* relative to the run folder; "": not of one file */
    uint32_t lane, tile, cycle; /* 0: not of one */
    bool has_byte;
    uint64_t byte;    /* offset in the file as it lies on the disk where it was noticed */
    char detail[200]; /* one sentence of ours, with numbers at most */
};

/** sq_run_why_text - "Data/.../s_1_1101.bcl, lane 1, tile 1101, cycle 5, byte 4: it ends after 20 of 24 bytes" into @out. */
void sq_run_why_text(const struct sq_run_why *why, char *out, size_t size);

/* ---- files ---- */

/** Where the files of a run come from. open: a descriptor to read from (directories too), the caller's; SQ_ENOTFOUND when there is none. */
struct sq_run_files {
    void *ctx;
    sq_err (*open)(void *ctx, const char *path, int *out_fd);
};

/** sq_run_files_dir - files beneath a directory descriptor (*dir_fd, borrowed for as long as the result): no "..", no links out. */
struct sq_run_files sq_run_files_dir(int *dir_fd);

/* ---- RunInfo.xml, RunParameters.xml ---- */

struct sq_run_read {
    uint32_t number;      /* as RunInfo numbers them, 1.. ascending */
    uint32_t first_cycle; /* 1-based cycle of the run */
    uint32_t n_cycle;
    bool is_index;
    bool is_reverse_complement; /* v6: the instrument reads this index reverse-complemented against the sheet's "Forward" */
};

enum sq_tile_naming { SQ_TILES_UNSAID,
                      SQ_TILES_FOUR_DIGIT, /* surface swath tile2 */
                      SQ_TILES_FIVE_DIGIT, /* surface swath section tile2 */
                      SQ_TILES_ABSOLUTE };

struct sq_run_tile {
    uint32_t lane, tile;
    uint32_t surface; /* first digit of tile, of an absolute number 1; of a CBCL run that of the file that has the tile */
};

struct sq_run_info {
    uint32_t version; /* 2..6; 0: not said */
    char id[128], flowcell[64], instrument[64];
    uint64_t number;
    char date[32];      /* ISO 8601: "2013-03-18" or "2024-03-05T09:00:00Z"; "" when absent or not understood */
    uint32_t n_read;
    struct sq_run_read read[SQ_RUN_MAX_READS];
    uint32_t n_cycle; /* of all reads */
    uint32_t n_lane, n_surface, n_swath, n_tile_of_swath, n_section, n_lane_of_section; /* FlowcellLayout; 0: not said */
    char side[8];
    enum sq_tile_naming naming;
    uint32_t n_tile;
    struct sq_run_tile *tile; /* [n_tile] as listed, in that order, each once; not listed: NULL. owned */
    uint32_t n_channel;
    char channel[SQ_RUN_MAX_CHANNELS][16];
};

/**
 * sq_run_info_read - RunInfo.xml of any version in memory. Texts lose their outer blanks and control characters; too long ones are cut.
 * SQ_ERUNINFO with the line in why->detail; SQ_ENOMEM. sq_run_info_done takes a zeroed struct too.
 */
sq_err sq_run_info_read(const void *xml, size_t n, struct sq_run_why *why, struct sq_run_info *out) SQ_MUST_CHECK;
void sq_run_info_done(struct sq_run_info *info);

/** RunParameters.xml: what is of use and not in RunInfo. "" or 0: not said. */
struct sq_run_params {
    char application[64], application_version[32], rta_version[32], experiment[128], side[8], instrument_type[64];
    char flowcell_mode[32], flowcell_barcode[64], reagent_barcode[64], workflow[64];
};
sq_err sq_run_params_read(const void *xml, size_t n, struct sq_run_why *why, struct sq_run_params *out) SQ_MUST_CHECK;

/* ---- the folder ---- */

enum sq_calls_kind { SQ_CALLS_NONE, /* no file of the first cycles is there (yet) */
                     SQ_CALLS_BCL,
                     SQ_CALLS_BCL_GZ,
                     SQ_CALLS_BGZF, /* one file a lane and cycle */
                     SQ_CALLS_CBCL };
enum sq_positions_kind { SQ_POSITIONS_NONE,
                         SQ_POSITIONS_S_LOCS, /* one file for all tiles */
                         SQ_POSITIONS_LOCS,
                         SQ_POSITIONS_CLOCS,
                         SQ_POSITIONS_LANE_LOCS, /* s_<lane>.locs: tiles one after another */
                         SQ_POSITIONS_TEXT };    /* _pos.txt */

struct sq_run; /* immutable after opening but for a cache behind a lock: threads share it */

/**
 * sq_run_open - reads RunInfo.xml and, where there is one, RunParameters.xml, and finds out how calls and positions are kept.
 * @files is copied; what its ctx points to must live as long as the run. Nothing of the base calls is read: a run that has just begun
 * opens. The kinds are looked for again by sq_run_look.
 * SQ_ERUNMISSING without RunInfo.xml, SQ_ERUNINFO, SQ_EIO, SQ_ENOMEM.
 */
sq_err sq_run_open(const struct sq_run_files *files, struct sq_run_why *why, struct sq_run **out) SQ_MUST_CHECK;
void sq_run_close(struct sq_run *run);
/** sq_run_look - find the kinds again: for a run that had no calls when it was opened. Not while other threads use @run. */
sq_err sq_run_look(struct sq_run *run, struct sq_run_why *why) SQ_MUST_CHECK;

const struct sq_run_info *sq_run_info_of(const struct sq_run *run);
const struct sq_run_params *sq_run_params_of(const struct sq_run *run); /* all "" when the file isn't there */
enum sq_calls_kind sq_run_calls_kind(const struct sq_run *run);
enum sq_positions_kind sq_run_positions_kind(const struct sq_run *run);

/**
 * sq_run_tiles - the tiles of @lane (1-based) in the order of RunInfo; when it lists none, in that of the layout (surface, swath, tile);
 * of a lane-wide bgzf run in the order of its tile index s_<lane>.bci. Valid as long as @run. *out_n 0: the lane has none.
 */
const struct sq_run_tile *sq_run_tiles(const struct sq_run *run, uint32_t lane, uint32_t *out_n);
uint32_t sq_run_n_lane(const struct sq_run *run); /* the highest lane that has a tile */
const struct sq_run_tile *sq_run_tile_of(const struct sq_run *run, uint32_t lane, uint32_t tile); /* NULL: there is none */

/* ---- filter ---- */

struct sq_filter {
    uint32_t n_cluster, n_pf;
    uint64_t *pass; /* [(n_cluster + 63) / 64] bit i % 64 of word i / 64: cluster i passed; bits behind the last are 0. owned */
};
/**
 * sq_filter_read - of one tile. SQ_ERUNMISSING, SQ_ERUNCUT (short: maybe still being written), SQ_ERUNFILE (wrong size or head),
 * SQ_EIO, SQ_ENOMEM. sq_filter_all: for runs without filters, all @n_cluster pass.
 */
sq_err sq_filter_read(const struct sq_run *run, const struct sq_run_tile *tile, struct sq_run_why *why, struct sq_filter *out) SQ_MUST_CHECK;
sq_err sq_filter_all(uint32_t n_cluster, struct sq_filter *out) SQ_MUST_CHECK;
void sq_filter_done(struct sq_filter *f);

/* ---- base calls ---- */

/*
 * A call is one byte: bits 0-1 the base (A 0, C 1, G 2, T 3), bits 2-7 the quality, 1..63. A no-call is the byte 0, whatever base
 * bits stood beside quality 0 in the file (in FASTQ: N and '#').
 */
#define SQ_CALL_N 0
static inline uint8_t sq_call_base(uint8_t call)
{
    return call & 3;
}
static inline uint8_t sq_call_quality(uint8_t call)
{
    return call >> 2;
}

struct sq_calls; /* one thread's reader: decompressors and scratch, as large as the largest packed tile it met */
sq_err sq_calls_new(struct sq_run *run, struct sq_calls **out) SQ_MUST_CHECK;
void sq_calls_free(struct sq_calls *r);

/** What lies on the disk of one cycle of one tile, before any of it is unpacked. */
struct sq_calls_look {
    uint32_t n_cluster;  /* calls in the file for this tile: of all clusters, or with is_pf_only of those that passed */
    bool is_pf_only;     /* CBCL: clusters that failed are left out; changes within a run */
    uint64_t n_packed;   /* bytes that reading will take from the disk */
    uint32_t n_palette;  /* CBCL: different qualities; 0: any */
};
/**
 * sq_calls_look - cheap for cbcl, bcl (a few bytes, cached for CBCL); for bcl.gz it unpacks the first bytes.
 * Errors as sq_calls_read, but the packed data itself isn't looked at.
 */
sq_err sq_calls_look(struct sq_calls *r, const struct sq_run_tile *tile, uint32_t cycle, struct sq_run_why *why, struct sq_calls_look *out) SQ_MUST_CHECK;

/**
 * sq_calls_read - the calls of one cycle (1-based, of the whole run) of one tile.
 *
 * @pf     the tile's filter: @out gets a call for each cluster that passed, in order, whatever the file holds; the count of the file
 *         is held against it. NULL: @out gets what is in the file (sq_calls_look says what that is).      borrowed
 * @out    [cap] one byte a cluster. With @pf cap >= pf->n_pf, else >= n_cluster of sq_calls_look.
 * @out_n  how many calls were written.
 *
 * SQ_ERUNMISSING  the file isn't there, or a CBCL file has no such tile (with pf->n_pf 0 that is no error: 0 calls)
 * SQ_ERUNCUT      the file ends before the tile's data does: it is damaged, or is still being written
 * SQ_ERUNFILE     it says something impossible, its packed data is damaged, or its count isn't the filter's
 * SQ_ERANGE       cap is too small. SQ_EIO, SQ_ENOMEM.
 * @out may have been written to when it fails. O(n). Allocates only when a tile is larger than those before.
 */
sq_err sq_calls_read(struct sq_calls *r, const struct sq_run_tile *tile, uint32_t cycle, const struct sq_filter *pf, uint8_t *out, size_t cap,
                     struct sq_run_why *why, uint32_t *out_n) SQ_MUST_CHECK;

/** Is a cycle there? For runs that are still growing. */
enum sq_cycle_state { SQ_CYCLE_ABSENT,  /* a file of it isn't there */
                      SQ_CYCLE_PARTIAL, /* a file is shorter than it says, or ends within its packing */
                      SQ_CYCLE_WHOLE };
/** sq_calls_state - of @cycle of all tiles of @lane, by the lengths of its files (bcl.gz: by the gzip trailer). */
sq_err sq_calls_state(struct sq_calls *r, uint32_t lane, uint32_t cycle, struct sq_run_why *why, enum sq_cycle_state *out) SQ_MUST_CHECK;

/* ---- positions ---- */

struct sq_positions {
    uint32_t n;
    int32_t *x, *y; /* [n] as read names show them: floor(10 v + 1000.5); all clusters, not only those that passed. owned */
};
/**
 * sq_positions_read - of one tile. SQ_ERUNMISSING (and with SQ_POSITIONS_NONE always), SQ_ERUNCUT, SQ_ERUNFILE, SQ_EIO, SQ_ENOMEM.
 * With SQ_POSITIONS_S_LOCS the answer is the same for every tile: read it once. That file may hold more positions than a tile clusters.
 */
sq_err sq_positions_read(const struct sq_run *run, const struct sq_run_tile *tile, struct sq_run_why *why, struct sq_positions *out) SQ_MUST_CHECK;
void sq_positions_done(struct sq_positions *p);

#endif
