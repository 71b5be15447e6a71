/* panel_sink - text or records to a descriptor, plain or bgzipped. Not for other rooms. */
#ifndef SQ_PANEL_SINK_H
#define SQ_PANEL_SINK_H

#include "lib/formats/bgzf_out.h"
#include "lib/panel/panel_export.h"

struct panel_sink {
    int fd;
    struct sq_bgzf_out *bgzf; /* NULL: plain */
    struct sq_buf text;       /* what is being put together */
};

sq_err panel_sink_open(struct panel_sink *s, int fd, bool is_packed) SQ_MUST_CHECK;
/* panel_sink_flush - hand on what is in s->text, once there is enough of it or @all of it is wanted. */
sq_err panel_sink_flush(struct panel_sink *s, bool all) SQ_MUST_CHECK;
/* panel_sink_close - @e: how it went so far; frees in any case and returns it, or what went wrong in closing. */
sq_err panel_sink_close(struct panel_sink *s, sq_err e) SQ_MUST_CHECK;

/* panel_sink_contig - the lines of a header that every kind of output has, but the last. @with_index: numbers of BCF's dictionary. */
sq_err panel_sink_head(struct panel_sink *s, const struct sq_panel_info *i, bool with_index) SQ_MUST_CHECK;

#endif
