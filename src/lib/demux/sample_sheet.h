/**
 * demux/sample_sheet - which sample has which barcodes, as the laboratory wrote it: sample sheets of version 1 and 2.
 *
 * Version 1: [Header], [Reads], [Settings], [Data]. Version 2: FileFormatVersion,2 in [Header], then [BCLConvert_Settings] and
 * [BCLConvert_Data]; sections of other programs are passed over. RFC 4180 quotes, any line ends, a byte order mark, trailing commas and
 * blank lines are taken. Everything wrong is kept as a problem with its line and how it is mended, so that all can be shown at once;
 * no text of a problem repeats a sample's name. All that is taken and refused: docs/formats/sample-sheet.md.
 */
#ifndef SQ_DEMUX_SAMPLE_SHEET_H
#define SQ_DEMUX_SAMPLE_SHEET_H

#include "lib/core/buf.h"

#define SQ_SHEET_MAX_BYTES (16U << 20)
#define SQ_SHEET_MAX_SAMPLES 100000U
#define SQ_SHEET_MAX_PROBLEMS 200U
#define SQ_SHEET_MAX_INDEX 40U /* bases of one index */
#define SQ_SHEET_MAX_NAME 100U
#define SQ_SHEET_MAX_ADAPTER 200U

struct sq_sheet_settings {
    const char *adapter[2];  /* upper case, several joined by +; NULL: none */
    bool is_adapter_masked;  /* else trimmed */
    double adapter_stringency;
    uint32_t min_adapter_overlap, min_trimmed, mask_short;
    uint32_t mismatches[2];  /* 1 unless said */
    bool is_mismatch_said[2];
    const char *override_cycles; /* NULL: not said */
    uint32_t override_line;
    bool is_index_written, is_lane_joined, is_umi_trimmed, is_collision_independent;
    uint32_t compression; /* not used: gzip is the only one */
};

struct sq_sheet_sample {
    uint32_t line;   /* of the file, from 1 */
    uint32_t number; /* the n of _S<n>_: from 1 by first appearance of the Sample_ID */
    uint32_t lane;   /* 0: all lanes */
    const char *id, *name, *project; /* "" where there is none; never NULL */
    const char *index[2];            /* upper case ACGTN; "" when there is none */
    bool is_index_bad;               /* what stood there was no index: that is a problem of the sheet already */
    struct sq_sheet_settings settings;
};

struct sq_sheet_problem {
    uint32_t line;     /* 0: the whole file */
    bool is_error;     /* else a warning */
    char what[160], fix[160];
};

struct sq_sheet {
    int version; /* 1 or 2 */
    int index_orientation; /* 0: not said, 1: Forward, 2: as read */
    const char *run_name;
    struct sq_sheet_settings settings;
    uint32_t n_sample, n_number; /* n_number: distinct Sample_IDs */
    struct sq_sheet_sample *sample;
    bool has_lane;
    uint32_t n_problem, n_error; /* n_error may count more than are kept */
    struct sq_sheet_problem *problem;
    char *text; /* what the names point into */
};

/**
 * sq_sheet_parse - read @n bytes. A sheet with errors is still given, so that its problems can be shown; n_error says so.
 * SQ_ETOOBIG, SQ_ENOMEM; nothing else fails.
 */
sq_err sq_sheet_parse(const void *p, size_t n, struct sq_sheet **out) SQ_MUST_CHECK;
void sq_sheet_free(struct sq_sheet *s);

/** sq_sheet_new_empty - a sheet without samples: everything goes to Undetermined. */
sq_err sq_sheet_new_empty(struct sq_sheet **out) SQ_MUST_CHECK;

/** sq_sheet_problem_add - for checks that need the run, too. @what and @fix: a sentence each, without names. */
void sq_sheet_problem_add(struct sq_sheet *s, bool is_error, uint32_t line, const char *fix, const char *what, ...)
    __attribute__((format(printf, 5, 6)));

#endif
