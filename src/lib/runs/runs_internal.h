/* runs_internal - what the files of lib/runs share. Not for other rooms. */
#ifndef SQ_RUNS_INTERNAL_H
#define SQ_RUNS_INTERNAL_H

#include "lib/runs/runs.h"

#include <pthread.h>

#define RUN_BASECALLS "Data/Intensities/BaseCalls/L%03u"
#define RUN_MAX_PATH 128

/** One lane of a run: its tiles in order and, of a lane-wide bgzf run, where each begins among the lane's clusters. */
struct run_lane {
    uint32_t n_tile;
    struct sq_run_tile *tile; /* [n_tile] */
    uint32_t *by_number;      /* [n_tile] places in tile, ascending by tile number */
    bool has_index;           /* s_<lane>.bci was read: the two below are there */
    uint32_t *n_cluster;      /* [n_tile] */
    uint64_t *first;          /* [n_tile + 1] clusters of the lane before this tile; the last: all */
};

/** One tile in a CBCL file's table, with where its block lies. */
struct cbcl_tile {
    uint32_t tile, n_cluster, n_raw, n_packed;
    uint64_t at;
};

/** What the head of a CBCL file says. */
struct cbcl_index {
    uint32_t n_tile;
    bool is_pf_only, has_gaps;  /* has_gaps: not every bin has a quality */
    bool is_wide;               /* a call has 8 bits, 6 of them the bin; else 4 and 2 */
    uint8_t palette[256];       /* 4 or 8 bits -> call */
    uint64_t has_quality;       /* bit b: quality bin b is in the table */
    uint32_t n_palette;
    uint64_t size;              /* bytes of the whole file, as its table says */
    struct cbcl_tile tile[];    /* [n_tile] ascending by tile number */
};

/** Of one bgzf cycle: where each tile's first call lies. */
struct bgzf_index {
    uint32_t n_tile;
    bool is_walked; /* found by walking the blocks, not read from a table that could be wrong */
    uint64_t at[];  /* [n_tile + 1] virtual offsets; the last: the end of the calls, or 0 when the table doesn't say */
};

struct sq_run {
    struct sq_run_files files;
    struct sq_run_info info;
    struct sq_run_params params;
    enum sq_calls_kind calls;
    enum sq_positions_kind positions;
    uint32_t n_lane;
    struct run_lane lane[SQ_RUN_MAX_LANES + 1]; /* [0] is empty */

    /* heads of CBCL and bgzf files, kept once they are whole; found by lane, surface (0: bgzf) and cycle */
    pthread_mutex_t lock;
    bool has_lock;
    void **kept[SQ_RUN_MAX_LANES + 1][SQ_RUN_MAX_SURFACES + 1]; /* [n_cycle + 1] or NULL */
    size_t kept_bytes;
};

#define RUN_KEPT_MAX_BYTES ((size_t)32 << 20)

/** run_bad - fill @why (may be NULL), which keeps the place it already names; return @code. */
sq_err run_bad(struct sq_run_why *why, sq_err code, const char *detail, ...) __attribute__((format(printf, 3, 4)));
/** run_bad_at - the same, at @byte of the file. */
sq_err run_bad_at(struct sq_run_why *why, sq_err code, uint64_t byte, const char *detail, ...) __attribute__((format(printf, 4, 5)));
/** run_at - begin a place: clears @why (may be NULL) and sets lane, tile, cycle and the path. */
void run_at(struct sq_run_why *why, uint32_t lane, uint32_t tile, uint32_t cycle, const char *path);
/** run_missing - SQ_ERUNMISSING for a file that isn't there, with the place. */
sq_err run_missing(struct sq_run_why *why);

/** A file of the run that is open: its size is that of opening. */
struct run_file {
    int fd;
    uint64_t size;
};
/** run_file_open - @path of @run. SQ_ENOTFOUND as it is (run_missing turns it into an error with its place), SQ_EIO; no regular file: SQ_ERUNFILE. */
sq_err run_file_open(const struct sq_run *run, const char *path, struct sq_run_why *why, struct run_file *out) SQ_MUST_CHECK;
void run_file_close(struct run_file *f);
/** run_file_read - exactly @n bytes from @at. SQ_ERUNCUT when the file has fewer. */
sq_err run_file_read(const struct run_file *f, uint64_t at, void *p, size_t n, struct sq_run_why *why) SQ_MUST_CHECK;
/** run_file_all - the whole file, at most @max bytes, into @out. SQ_ENOTFOUND, SQ_ERUNFILE when it is larger. */
sq_err run_file_all(const struct sq_run *run, const char *path, size_t max, struct sq_run_why *why, struct sq_buf *out) SQ_MUST_CHECK;

/** run_path_filter - path of the filter of @tile; @no counts the places where one may lie from 0. False: there is no such place. */
bool run_path_filter(const struct sq_run *run, const struct sq_run_tile *tile, unsigned no, char out[RUN_MAX_PATH]);
bool run_path_positions(const struct sq_run *run, const struct sq_run_tile *tile, enum sq_positions_kind kind, unsigned no, char out[RUN_MAX_PATH]);
void run_path_calls(const struct sq_run *run, const struct sq_run_tile *tile, enum sq_calls_kind kind, uint32_t cycle, char out[RUN_MAX_PATH]);

/** run_tile_place - where @tile stands in its lane; SQ_ASSERTs that it is one of @run. */
uint32_t run_tile_place(const struct sq_run *run, const struct sq_run_tile *tile);

/* ---- run_xml.c ---- */
struct run_xml {
    void *ctx;
    /* @path: names from the root, '/' between: "RunInfo/Run/Reads/Read". @att: name, value, ..., NULL. NULL: not wanted. */
    sq_err (*element)(void *ctx, const char *path, const char **att);
    /* the text of an element without outer blanks and control characters, at most 255 bytes, at its end */
    sq_err (*text)(void *ctx, const char *path, const char *text);
    sq_err bad_code; /* what text that isn't XML is: SQ_ERUNINFO, SQ_ERUNFILE */
};
/** run_xml_read - no document type, no entity, no more than 64 levels. why->detail has the line. What a handler returns ends it. */
sq_err run_xml_read(const void *xml, size_t n, const struct run_xml *handlers, struct sq_run_why *why) SQ_MUST_CHECK;
/** run_xml_number - a whole number of at most @most; false: it isn't one. */
bool run_xml_number(const char *text, uint64_t most, uint64_t *out);

/* ---- run_inflate.c ---- */
struct run_inflate; /* decompressors of one thread */
sq_err run_inflate_new(struct run_inflate **out) SQ_MUST_CHECK;
void run_inflate_free(struct run_inflate *z);
/** run_inflate_scratch - @n bytes that the next caller overwrites; NULL: no memory. */
uint8_t *run_inflate_scratch(struct run_inflate *z, size_t n);
/**
 * run_inflate_block - one gzip member that unpacks to exactly @n_out bytes. The end mark and the trailer may be missing (CBCL has been seen
 * without); a whole trailer is held against the bytes. @at: where @in begins in the file, for @why.
 * SQ_ERUNFILE damaged, SQ_ERUNCUT when the input ends before @n_out bytes are there.
 */
sq_err run_inflate_block(struct run_inflate *z, const uint8_t *in, size_t n_in, uint8_t *out, size_t n_out, uint64_t at, struct sq_run_why *why) SQ_MUST_CHECK;
/**
 * run_inflate_file - a whole gzip file, one member or several, of @n_out bytes at most. *out_n: how many there are. Here end mark and trailer
 * must be there: SQ_ERUNCUT. SQ_ERUNFILE: damaged, more than @n_out, or something behind it.
 */
sq_err run_inflate_file(struct run_inflate *z, const uint8_t *in, size_t n_in, uint8_t *out, size_t n_out, struct sq_run_why *why, size_t *out_n) SQ_MUST_CHECK;
/** run_inflate_head - the first @n bytes of a gzip file of which @n_in bytes are there. SQ_ERUNCUT when there aren't so many. */
sq_err run_inflate_head(const uint8_t *in, size_t n_in, uint8_t *out, size_t n, struct sq_run_why *why) SQ_MUST_CHECK;
/** run_inflate_bgzf - one whole bgzf block of @n_in bytes into @out (65536 bytes). @at: as above. */
sq_err run_inflate_bgzf(struct run_inflate *z, const uint8_t *in, size_t n_in, uint8_t *out, uint64_t at, struct sq_run_why *why, size_t *out_n) SQ_MUST_CHECK;
/** run_bgzf_size - of the block that begins at @in, of which @n_in bytes (18 or more) are there. 0: none begins here. */
size_t run_bgzf_size(const uint8_t *in, size_t n_in);

/* ---- run_calls.c ---- */
/** run_calls_whole - is the file of @tile and @cycle as long as it says? By lengths and ends; nothing is unpacked. Errors as sq_calls_read. */
sq_err run_calls_whole(struct sq_calls *r, const struct sq_run_tile *tile, uint32_t cycle, struct sq_run_why *why) SQ_MUST_CHECK;

/* ---- run_cbcl.c, run_bgzf.c: heads ---- */
sq_err run_cbcl_index(const struct run_file *f, struct sq_run_why *why, struct cbcl_index **out) SQ_MUST_CHECK;
const struct cbcl_tile *run_cbcl_find(const struct cbcl_index *x, uint32_t tile);
sq_err run_bgzf_index(struct sq_run *run, const struct run_file *f, uint32_t lane, uint32_t cycle, struct run_inflate *z, struct sq_run_why *why,
                      struct bgzf_index **out) SQ_MUST_CHECK;
sq_err run_bgzf_read(struct sq_run *run, const struct run_file *f, const struct bgzf_index *x, uint32_t lane, uint32_t place, struct run_inflate *z,
                     uint8_t *out, struct sq_run_why *why) SQ_MUST_CHECK;

#endif
