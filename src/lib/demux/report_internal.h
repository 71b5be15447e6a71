/* report_internal - what the reports share. Not for other rooms. */
#ifndef SQ_DEMUX_REPORT_INTERNAL_H
#define SQ_DEMUX_REPORT_INTERNAL_H

#include "lib/demux/demux_internal.h"

#include <jansson.h>

#define REPORT_UNKNOWN_MOST 1000U
#define REPORT_HOPPED_MOST 100000U

/* A text that grows; the first error is kept and ends it. */
struct report {
    struct sq_buf text;
    sq_err e;
};
void report_add(struct report *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A text of the run's files as HTML. */
void report_add_html(struct report *r, const char *text);

/* Row @i of a lane: the last is Undetermined. */
struct report_row {
    const char *id, *project, *index[2];
    uint32_t number;
};
struct report_row report_row_of(const struct demux_lane *lane, uint32_t i);

static inline double share_of(uint64_t part, uint64_t all)
{
    return all ? (double)part / (double)all : 0;
}

struct unknown { /* a barcode that belongs to nobody */
    char index[2][SQ_BARCODE_MAX + 1];
    uint64_t n;
};
/* The most frequent of a lane; freed by the caller. *out_sum: reads of all of them, shown or not. */
sq_err report_unknowns(const struct demux_out *o, uint32_t lane, struct unknown **out, uint32_t *out_n) SQ_MUST_CHECK;

sq_err report_json(const struct demux_out *o, const struct sq_demux_result *result, struct report *r) SQ_MUST_CHECK;
void report_html(const struct demux_out *o, const struct sq_demux_result *result, struct report *r);

#endif
