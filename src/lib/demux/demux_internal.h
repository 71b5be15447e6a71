/* demux_internal - the parts of demultiplexing, for demux's own files. Not for other rooms. */
#ifndef SQ_DEMUX_INTERNAL_H
#define SQ_DEMUX_INTERNAL_H

#include "lib/demux/demux.h"
#include "lib/demux/demux_kernels.h"
#include "lib/demux/override_cycles.h"

#include <pthread.h>
#include <stdio.h>

#define DEMUX_MAX_KINDS 8U /* files of a sample and lane: R1, R2, I1, I2 .. */
#define DEMUX_STATE_DIR ".sequester"

/* ---- demux_plan.c ---- */

struct demux_spans { /* cycles that make up a text, in order */
    uint32_t n_span, n; /* n: cycles of all */
    struct {
        uint32_t from, n; /* from 0 */
    } span[SQ_CYCLES_MAX_SPANS];
};

struct demux_kind { /* of file */
    char name[4];
    bool is_index;
    uint32_t read;    /* of the run, from 0 */
    uint32_t read_no; /* as the header shows it */
};

struct demux_adapter {
    uint32_t n, n_look, n_cycle;        /* n_look: bases that are looked at first */
    uint8_t base[SQ_SHEET_MAX_ADAPTER]; /* 0..3, 4: any */
    uint8_t *most;                      /* [n_cycle + 64] bases that may differ from place i of n_cycle on */
};

struct demux_adapters { /* of one text of the sheet, with one stringency */
    const char *text;
    double stringency;
    uint32_t n;
    struct demux_adapter *one;
};

struct demux_row { /* a sample in a lane */
    const struct sq_sheet_sample *sample;
    uint32_t number, group;
    const struct demux_adapters *adapter[2]; /* NULL: none */
};

struct demux_group { /* rows of a lane that share out the cycles alike */
    struct sq_cycles cycles;
    struct demux_spans out[DEMUX_MAX_KINDS], index[2], umi[SQ_CYCLES_MAX_READS];
    uint32_t n_umi;
    bool is_reverse[2];
    uint32_t n_row, *row; /* of the lane */
    struct sq_barcodes *barcodes; /* NULL: no rows */
};

struct demux_lane {
    uint32_t no;
    uint32_t n_tile;
    const struct sq_run_tile **tile; /* ascending */
    uint32_t n_row, n_group;
    struct demux_row *row;
    struct demux_group *group; /* the first is Undetermined's, too */
};

struct sq_demux_plan {
    struct sq_run *run;
    const struct sq_run_info *info;
    struct sq_sheet *sheet;
    struct sq_demux_options options;
    char *lanes, *tiles;
    bool is_lane_joined;
    uint32_t n_cycle, n_read;
    struct sq_cycles_read read[SQ_CYCLES_MAX_READS];
    uint32_t n_kind;
    struct demux_kind kind[DEMUX_MAX_KINDS];
    uint32_t n_lane;
    struct demux_lane *lane;
    uint32_t n_adapters;
    struct demux_adapters *adapters; /* [2 * samples at most] */
    uint32_t n_tile;                 /* of all lanes */
    uint32_t early_cycle, early_kinds; /* kinds (bits) that need no cycle behind the first early_cycle ones; 0: all need the last, too */
    uint64_t fingerprint;            /* of all that the bytes depend on, but the calls */
};

/* The work is done in one pass, or, of a run that is followed, in two: what needs no later cycle, and the rest. */
enum { PASS_ALL,
       PASS_EARLY,
       PASS_REST };
struct demux_pass {
    uint32_t kinds;     /* bits: files that are written */
    uint32_t n_cycle;   /* cycles that must be there */
    uint32_t from, to;  /* those of them that are counted */
    bool counts_reads;  /* clusters, whose they are, unknown barcodes */
};
struct demux_pass demux_pass_of(const struct sq_demux_plan *p, uint32_t pass);

/** The file of @number (0: Undetermined) and @kind in lane @lane (place in the plan): its number, below demux_n_file(). */
size_t demux_file_no(const struct sq_demux_plan *p, uint32_t lane, uint32_t number, uint32_t kind);
size_t demux_n_file(const struct sq_demux_plan *p);
static inline uint32_t demux_file_kind(const struct sq_demux_plan *p, size_t no)
{
    return (uint32_t)(no % p->n_kind);
}
/** Its path beneath the directory of the results, without .part. False: this file isn't to be (a sample that isn't in that lane). */
bool demux_file_path(const struct sq_demux_plan *p, size_t no, char out[512]);

/* ---- tile_store.c: calls of one tile, a row a cycle ---- */

enum row_kind { ROW_NONE,   /* not here */
                ROW_MASKED, /* was missing or damaged: all N */
                ROW_BYTES,
                ROW_NIBBLES };

struct tile_room {
    uint8_t *p; /* NULL: none */
    size_t cap;
};

struct tile_row {
    uint8_t kind;
    bool is_all;        /* of all clusters; else of those that passed the filter */
    uint8_t quality[4]; /* of nibbles */
    uint32_t n_call;
    struct tile_room room; /* calls in memory; or kept for later ones */
    uint64_t offset;       /* in the file */
};

struct tile_store {
    uint32_t n_cycle;
    struct tile_row *row; /* [n_cycle] */
    int fd;               /* -1: in memory */
    uint64_t end;
    pthread_mutex_t lock;
};

sq_err tile_store_new(uint32_t n_cycle, struct tile_store **out) SQ_MUST_CHECK;
/** Rows in file @name of directory @dir_fd: those that are there and whole are found again. */
sq_err tile_store_open(int dir_fd, const char *name, bool may_create, uint32_t n_cycle, struct tile_store **out) SQ_MUST_CHECK;
void tile_store_free(struct tile_store *t);
/** No rows, but their room: for another tile. In memory only. */
void tile_store_empty(struct tile_store *t);
/**
 * Keep a row, packed when it has at most three qualities. @call [n], NULL for a masked one; @scratch [(n + 1) / 2]. In memory a row takes over
 * the room of one of the two and leaves there what it had (or none): nothing is copied. Threads may put different cycles at once.
 */
sq_err tile_store_put(struct tile_store *t, uint32_t cycle0, enum row_kind kind, bool is_all, struct tile_room *call, uint32_t n, struct tile_room *scratch) SQ_MUST_CHECK;
/** Calls @from .. @from + @n of a row into @out; those of a masked row are 0. @scratch [n / 2 + 2]. */
sq_err tile_store_get(const struct tile_store *t, uint32_t cycle0, uint32_t from, uint32_t n, uint8_t *scratch, uint8_t *out) SQ_MUST_CHECK;

/* ---- demux_counts.c ---- */

enum { COUNT_READS, COUNT_MISMATCH_0, COUNT_MISMATCH_1, COUNT_MISMATCH_2, COUNT_PASSED, COUNT_OF_ROW }; /* of a row; the last row is Undetermined. COUNT_PASSED: reads that passed the filter */
enum { COUNT_YIELD, COUNT_Q30, COUNT_QUALITY, COUNT_ADAPTER_READS, COUNT_ADAPTER_BASES, COUNT_OF_KIND }; /* of a row and kind */
enum { COUNT_CYCLE_QUALITY, COUNT_CYCLE_Q30, COUNT_CYCLE_CALLED, COUNT_OF_CYCLE };
enum { COUNT_CLUSTERS, COUNT_PF, COUNT_OF_LANE };

struct counts_shape { /* where what stands in the numbers of one lane */
    uint32_t n_row /* with Undetermined */, n_kind, n_cycle;
    size_t n, rows, kinds, cycles;
};
struct counts_shape counts_shape_of(const struct sq_demux_plan *p, uint32_t lane);
static inline uint64_t *count_row(const struct counts_shape *s, uint64_t *v, uint32_t row)
{
    return v + s->rows + (size_t)row * COUNT_OF_ROW;
}
static inline uint64_t *count_kind(const struct counts_shape *s, uint64_t *v, uint32_t row, uint32_t kind)
{
    return v + s->kinds + ((size_t)row * s->n_kind + kind) * COUNT_OF_KIND;
}
static inline uint64_t *count_cycle(const struct counts_shape *s, uint64_t *v, uint32_t cycle0)
{
    return v + s->cycles + (size_t)cycle0 * COUNT_OF_CYCLE;
}

/* Barcodes that belong to nobody, or pairs of rows of hopped indexes: how often each. */
struct tally_key {
    uint64_t w[4];
    uint32_t lane, what; /* what: 0 barcodes, 1 a pair of rows */
};
struct tally_entry {
    struct tally_key key;
    uint64_t n;
};
struct tally {
    struct tally_entry *slot;
    uint64_t mask, n_used;
    bool is_thinned; /* rare ones were left out: counts are lower bounds */
};
#define TALLY_MOST 4000000U
sq_err tally_add(struct tally *t, const struct tally_key *key, uint64_t n) SQ_MUST_CHECK;
/** At most TALLY_MOST / 2 are kept: the rarest go first. Called where the order of adding is fixed. */
sq_err tally_thin(struct tally *t) SQ_MUST_CHECK;
void tally_done(struct tally *t);
/** Entries of @lane and @what, most frequent first (then by key), at most @most; freed by the caller. */
sq_err tally_top(const struct tally *t, uint32_t lane, uint32_t what, uint32_t most, struct tally_entry **out, uint32_t *out_n) SQ_MUST_CHECK;

struct demux_totals {
    uint64_t **lane; /* [n_lane] of counts_shape_of().n */
    struct tally tally;
};
sq_err totals_new(const struct sq_demux_plan *p, struct demux_totals *out) SQ_MUST_CHECK;
void totals_done(const struct sq_demux_plan *p, struct demux_totals *t);

/* ---- adapter_find.c ---- */

/** Bases are there: what may differ in a run of @n_cycle. The caller frees a->most. */
sq_err adapter_limits(struct demux_adapter *a, double stringency, uint32_t n_cycle) SQ_MUST_CHECK;
/** Where in [n] calls, n_cycle at most, an adapter begins; n: none does. @call is readable for n + 31 bytes. @room [n + 128], @bits [(n + 31) / 32]. */
uint32_t adapter_find(const struct demux_adapters *a, const struct sq_sheet_settings *set, const uint8_t *call, uint32_t n, uint8_t *room, uint32_t *bits);

/* ---- demux_piece.c ---- */

struct demux_tile { /* what pieces of a tile share */
    uint32_t lane;  /* place in the plan */
    const struct sq_run_tile *tile;
    bool is_last;   /* of all lanes */
    struct tile_store *store;
    struct sq_filter filter;  /* which clusters are written */
    struct sq_filter passed;  /* which passed; pass NULL: the same */
    uint32_t *pf_before;      /* [words + 1] clusters of the filter before word i */
    struct sq_positions own;
    const struct sq_positions *positions; /* NULL: there are none */
};

struct piece_chunk {
    uint32_t file;
    size_t from, n;
};

struct piece_out { /* what a piece gives */
    uint32_t lane;
    uint8_t *packed; /* [cap_packed]; not wiped: the same goes to a file in clear */
    size_t n_packed, cap_packed;
    uint32_t n_chunk, cap_chunk;
    struct piece_chunk *chunk;
    uint64_t *counts; /* of the lane's shape */
    uint32_t n_tally, cap_tally;
    struct tally_key *tally;
    uint64_t n_call;
};
void piece_out_free(struct piece_out *o);
/** Room for @n bytes, in large pages when it is large and the system has them: first use costs less, and so does every jump. Freed by free(). */
void *piece_room(size_t n);

struct piece_work; /* one thread's room */
sq_err piece_work_new(const struct sq_demux_plan *p, uint32_t pass, struct piece_work **out) SQ_MUST_CHECK;
void piece_work_free(struct piece_work *w);
uint64_t piece_work_bytes(const struct sq_demux_plan *p); /* about how much that is */

/*
 * Where piece @no of a tile begins, a multiple of 64, @n_cluster when there is none: as few pieces as can be, and then about equal ones. Those of
 * the last tile (@is_last) get smaller, an eighth of what is left each: threads end together, however unequal they are. Where pieces end
 * is seen in the results' bytes, so it depends on the run alone.
 */
static inline uint32_t piece_begin(uint32_t n_cluster, bool is_last, uint32_t no)
{
    uint64_t most = SQ_DEMUX_PIECE, n = (n_cluster + most - 1) / most, size = n ? (n_cluster / n + (n_cluster % n != 0) + 63) / 64 * 64 : 0, at = no * size;
    if (is_last) { /* those that an eighth of the rest is enough for have full size */
        uint64_t n_full = n_cluster >= 8 * most ? (n_cluster - 8 * most) / most + 1 : 0;
        at = most * (no < n_full ? no : n_full);
        for (uint64_t i = n_full; i < no && at < n_cluster; i++) {
            size = (n_cluster - at) / 8 / 64 * 64;
            at += size > SQ_DEMUX_LEAST ? size : SQ_DEMUX_LEAST;
        }
    }
    return at < n_cluster ? (uint32_t)at : n_cluster;
}
static inline uint32_t piece_count(uint32_t n_cluster, bool is_last)
{
    uint32_t n = n_cluster / SQ_DEMUX_PIECE;
    n -= n < 8 ? n : 8; /* there are more than that in any case */
    while (piece_begin(n_cluster, is_last, n) < n_cluster)
        n++;
    return n;
}
/** Piece @no of @tile. @spare: what an earlier piece gave, to be used again (taken over), or NULL. */
sq_err piece_run(struct piece_work *w, const struct demux_tile *tile, uint32_t no, struct piece_out *spare, struct piece_out **out) SQ_MUST_CHECK;

/* ---- demux_out.c: files and what is needed to go on ---- */

#define DEMUX_MAX_REMARKS 1000U

struct demux_out {
    const struct sq_demux_plan *plan;
    int dir, state_dir;
    bool is_finishing;  /* all pieces are there: names are being given */
    bool has_kept;      /* another process began this work */
    uint32_t pass;      /* PASS_ALL .. */
    bool is_done;       /* and ended it, but for its state's folder */
    uint64_t *size;     /* [n_file] bytes written */
    uint32_t next_tile, next_piece; /* the first that isn't written; tiles over all lanes */
    uint64_t n_call, n_piece;
    struct demux_totals totals;
    uint32_t index_tile;  /* the tile that index_reads are of; those before are in the state's file of index metrics */
    uint64_t *index_reads; /* [most rows of a lane] */
    uint32_t n_remark;
    struct sq_demux_remark *remark; /* [DEMUX_MAX_REMARKS] */
};
sq_err demux_out_open(const struct sq_demux_plan *p, int dir, struct sq_why *why, struct demux_out **out) SQ_MUST_CHECK;
void demux_out_close(struct demux_out *o);
sq_err demux_out_put(struct demux_out *o, const struct piece_out *piece) SQ_MUST_CHECK;
sq_err demux_out_checkpoint(struct demux_out *o) SQ_MUST_CHECK;
/** All pieces of PASS_EARLY are there: end marks and names for its files; PASS_REST begins. Reports are written before. */
sq_err demux_out_early_done(struct demux_out *o) SQ_MUST_CHECK;
/** All pieces are there: end marks, names, and nothing left of the state. Reports are written before. */
sq_err demux_out_finish(struct demux_out *o) SQ_MUST_CHECK;
void demux_out_remark(struct demux_out *o, const struct sq_run_why *where);

/* Before each change of a file. A test build may slow down there (SQ_STEP_MS), or die at one of them (SQ_DIE_AT): true, when the caller is to leave
 * its work half done first. Nothing in production. */
#ifdef SQ_TEST_HOOKS
bool demux_step(void);
void demux_die(void);
#else
static inline bool demux_step(void)
{
    return false;
}
static inline void demux_die(void)
{
}
#endif

/* ---- demux_index.c: reads of each sample by tile, as Illumina's index metrics have them ---- */
/** What a piece of tile o->next_tile adds. */
sq_err demux_index_put(struct demux_out *o, const struct piece_out *piece) SQ_MUST_CHECK;
/** Going on: drops what is later than the state. */
sq_err demux_index_cut(struct demux_out *o, struct sq_why *why) SQ_MUST_CHECK;
/** IndexMetricsOut.bin in folder @dir, when a lane has samples with indexes. All tiles are there. Nothing is done when the work is finishing: it is there. */
sq_err demux_index_report(struct demux_out *o, int dir) SQ_MUST_CHECK;

/* ---- demux_report*.c ---- */
sq_err demux_reports(struct demux_out *o, struct sq_demux_result *result) SQ_MUST_CHECK;

#endif
