/**
 * typed_queue - records of the target with their rows of the panel, read just far enough ahead for one window.
 *
 * Target and panel are sorted, so memory holds a stretch of a few cM and never the chromosome. What is behind is dropped.
 */
#ifndef SQ_WORKER_TYPED_QUEUE_H
#define SQ_WORKER_TYPED_QUEUE_H

#include "worker/panel_port.h"
#include "worker/site_walk.h"

#define QUEUE_NO_ROW UINT32_MAX
#define QUEUE_MAX_BYTES ((size_t)16 << 30)

/* A record of the target. */
struct typed_entry {
    int64_t pos_bp;
    double cm;
    uint32_t row;       /* of the panel; QUEUE_NO_ROW: only the target has it */
    uint32_t before;    /* the first row behind its position: where the target's own records go */
    uint8_t *allele;    /* [n_target] 0, 1 or SQ_ENGINE_MISSING, a haplotype each */
    char *text;         /* ID, REF and ALT, end to end; the ID only of the target's own */
    uint32_t n_id, n_ref, n_alt;
};

struct typed_queue {
    struct worker *w;
    const struct sq_panel *panel;
    const struct sq_gmap *map;
    struct sq_genotypes *target;
    struct sq_record next;
    bool has_next; /* the record above is waiting */
    struct site_walk walk;
    uint32_t n_sample, n_target;
    uint8_t *is_haploid; /* [n_sample] */
    struct typed_entry *entry;
    uint32_t n, cap;
    size_t n_bytes, max_bytes;
};

/** queue_open - the target on @fd: header and first record. The walk isn't open yet. */
sq_err queue_open(struct worker *w, int fd, const struct panel_port *panel, struct typed_queue *q) SQ_MUST_CHECK;
void queue_close(struct typed_queue *q);
/** queue_start - pass over the target before @cm (-infinite: nothing) and open the walk where rows behind it begin. */
sq_err queue_start(struct typed_queue *q, double cm) SQ_MUST_CHECK;
/** queue_fill - read on until target and panel are passed up to @cm. SQ_ELIMIT when that is more than max_bytes. */
sq_err queue_fill(struct typed_queue *q, double cm) SQ_MUST_CHECK;
/** queue_drop - forget records before @cm. */
void queue_drop(struct typed_queue *q, double cm);

#endif
