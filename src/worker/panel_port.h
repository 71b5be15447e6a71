/**
 * panel_port - the reference panel (.sqp) on a memory port: mapped, opened, and handed to the engine.
 *
 * The engine's threads have a stretch of the panel each, and what is known of all targets must fit into memory for at least one. A segment is
 * too long for that with many targets, and too few for many threads, so stretches are packs: the order of haplotypes at their starts is kept when
 * a cursor first comes by. How they are cut depends on the panel alone.
 *
 * Whatever is wrong with a panel is SQ_EPANEL with the reason: it is the operator's file, and a user who meets the error must not be
 * told that his own data is bad.
 */
#ifndef SQ_WORKER_PANEL_PORT_H
#define SQ_WORKER_PANEL_PORT_H

#include "lib/engine/engine.h"
#include "lib/panel/panel.h"
#include "worker/worker.h"

#include <pthread.h>

struct panel_port {
    void *bytes; /* the mapped file */
    size_t n_bytes;
    struct sq_gmap map; /* in place of the panel's own; n == 0: the panel's own */
    struct sq_panel *panel;
    struct sq_engine_segment *segment; /* for the engine: stretches of a few packs, [n_stretch] */
    uint32_t *segment_of;              /* of the panel, by stretch */
    struct sq_panel_mark **mark;       /* the order at each stretch's start, once a cursor came by; NULL where a segment of the panel begins */
    uint32_t n_stretch;
    struct worker *w;
    struct panel_port_cursor *idle;
    pthread_mutex_t lock; /* of w->why, the marks and idle, for cursors in several threads */
};

/** panel_port_open - map @fd, and read the genetic map on @fd_map when it is >= 0. SQ_EPANEL, SQ_EMAP, SQ_EIO, SQ_ENOMEM. */
sq_err panel_port_open(struct worker *w, int fd, int fd_map, struct panel_port *out) SQ_MUST_CHECK;
void panel_port_close(struct panel_port *p);

/** panel_port_engine - the panel as the engine reads it; @p stays the owner. */
struct sq_engine_panel panel_port_engine(struct panel_port *p);
/** panel_port_block - the block that the engine's cursor stands at, with its sites. */
const struct sq_panel_block *panel_port_block(const void *cursor);

#endif
