/**
 * runs/interop - the metrics that an instrument writes beside its calls: InterOp/<name>MetricsOut.bin, of every documented version.
 *
 * A file is a head and then records of one length (index metrics: of several) until it ends. An instrument appends to it while it works, so
 * a last record that isn't whole is left alone and counted, never an error. What stands in the bytes: docs/formats/run-interop.md.
 */
#ifndef SQ_RUNS_INTEROP_H
#define SQ_RUNS_INTEROP_H

#include "lib/runs/runs.h"

#define SQ_INTEROP_MAX_BINS 50U
#define SQ_INTEROP_MAX_CHANNELS 8U
#define SQ_INTEROP_MAX_TEXT 255U

enum sq_interop_kind {
    SQ_INTEROP_Q,             /* clusters that passed, by quality: a tile and cycle */
    SQ_INTEROP_Q_BY_LANE,     /* the same, a lane and cycle */
    SQ_INTEROP_Q2030,         /* the same, in two numbers */
    SQ_INTEROP_TILE,          /* density, clusters, phasing, alignment: a tile */
    SQ_INTEROP_EXTENDED_TILE, /* occupied wells: a tile */
    SQ_INTEROP_EXTRACTION,    /* focus and intensity: a tile and cycle */
    SQ_INTEROP_CORRECTED,     /* called bases: a tile and cycle */
    SQ_INTEROP_INDEX,         /* reads of each sample: a tile and read */
    SQ_INTEROP_ERROR,         /* against PhiX: a tile and cycle */
    SQ_INTEROP_PHASING,       /* a tile and cycle */
    SQ_INTEROP_IMAGE,         /* contrast: a tile and cycle */
    SQ_INTEROP_KINDS
};

struct sq_interop_head {
    uint32_t version;
    uint32_t n_record_byte; /* 0: they differ */
    uint32_t n_bin;         /* quality: how many counts a record has */
    bool has_bins;          /* the three below were given; else bin i is quality i + 1 */
    uint8_t bin_low[SQ_INTEROP_MAX_BINS], bin_high[SQ_INTEROP_MAX_BINS], bin_value[SQ_INTEROP_MAX_BINS];
    uint32_t n_channel;
    float density;          /* tile metrics 3: clusters = density x area; 0: not said */
};

/** One record. What its kind doesn't have is 0. */
struct sq_interop_record {
    uint32_t lane, tile, cycle, read;
    union {
        struct { /* Q, Q_BY_LANE */
            uint32_t count[SQ_INTEROP_MAX_BINS]; /* [head.n_bin] */
        } q;
        struct {
            uint32_t q20, q30, total, median;
        } q2030;
        struct { /* TILE: version 2 gives one number a record, 3 several */
            uint32_t code; /* version 2: 100, 101, 102, 103, 200.., 300.., 400; version 3: 't', 'r', 0 */
            float value;   /* version 2 */
            float n_cluster, n_cluster_pf; /* version 3, 't' */
            float aligned;                 /* version 3, 'r', of .read */
        } tile;
        struct {
            float n_occupied, x, y;
        } extended;
        struct {
            float focus[SQ_INTEROP_MAX_CHANNELS]; /* [head.n_channel] */
            uint16_t intensity[SQ_INTEROP_MAX_CHANNELS];
            uint64_t ticks; /* version 2: .NET ticks */
        } extraction;
        struct {
            uint32_t called[5]; /* N, A, C, G, T */
            uint16_t mean, corrected[4], called_intensity[4];
            float signal_to_noise;
        } corrected;
        struct {
            uint64_t n_cluster;
            char index[SQ_INTEROP_MAX_TEXT + 1], sample[SQ_INTEROP_MAX_TEXT + 1], project[SQ_INTEROP_MAX_TEXT + 1]; /* cut where longer */
        } index;
        struct {
            float rate; /* percent */
            float adapter; /* fraction; version 5 */
        } error;
        struct {
            float phasing, prephasing; /* weights */
        } phasing;
        struct {
            uint16_t low[SQ_INTEROP_MAX_CHANNELS], high[SQ_INTEROP_MAX_CHANNELS]; /* version 1: of channel .read - 1 alone */
        } image;
    } u;
};

/** What to do with a record; anything but SQ_OK ends the reading with it. */
typedef sq_err (*sq_interop_fn)(void *ctx, const struct sq_interop_head *head, const struct sq_interop_record *record);

struct sq_interop_end {
    uint64_t n_record;
    uint32_t n_left; /* bytes behind the last whole record */
};

/** sq_interop_name - "QMetrics": the file is InterOp/<name>Out.bin. Static. */
const char *sq_interop_name(enum sq_interop_kind kind);

/**
 * sq_interop_parse - a file of @kind in memory. @fn may be NULL. SQ_ERUNCUT when it ends within its head; SQ_ERUNFILE for a version or
 * a record size that isn't known.
 */
sq_err sq_interop_parse(enum sq_interop_kind kind, const void *bytes, size_t n, struct sq_run_why *why, sq_interop_fn fn, void *ctx,
                        struct sq_interop_end *out) SQ_MUST_CHECK;

/**
 * sq_interop_read - the same of a run's file, a piece at a time. When InterOp/<name>Out.bin isn't there, the files of each cycle,
 * InterOp/C<cycle>.1/<name>Out.bin, one after another. SQ_ERUNMISSING when there are neither.
 */
sq_err sq_interop_read(const struct sq_run *run, enum sq_interop_kind kind, struct sq_run_why *why, sq_interop_fn fn, void *ctx,
                       struct sq_interop_end *out) SQ_MUST_CHECK;

#endif
