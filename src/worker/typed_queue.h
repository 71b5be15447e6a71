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
    char *text;         /* ID, REF and ALT, end to end: of the target's own, or of all with q->keeps_text */
    uint32_t n_id, n_ref, n_alt;
    uint8_t *swap;      /* [n_sample] sampled phasings (struct sq_phase_site); NULL: none */
    uint8_t *unphased;  /* [n_sample] of the target's own: 1 where two alleles differ and their order means nothing; NULL: nowhere */
    /* until it is phased, with q->takes_unphased (phase_filter.h) */
    uint32_t *set;      /* [n_sample] 0: the order as read means nothing; 1: given for all of the chromosome; else within that set. NULL: all 0 */
    /* afterwards */
    uint8_t *raw;        /* [n_target] as read, while a window to come needs it; else NULL */
    uint8_t *filled;     /* [n_target] phased, nothing missing; with q->keeps_filled */
    uint8_t *confidence; /* [n_sample] of the phase; with q->keeps_filled */
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
    int n_phasing;       /* sampled phasings in the stream read, -1: it didn't come through the phase stage */
    bool takes_unphased, keeps_text, keeps_filled; /* set before queue_fill */
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
/** queue_bytes_of - memory of @t, for queue_add_bytes(): what it is more than before. */
size_t queue_bytes_of(const struct typed_queue *q, const struct typed_entry *t);
/** queue_add_bytes - count @n bytes more (or fewer) that hang on an entry. SQ_ELIMIT beyond max_bytes. */
sq_err queue_add_bytes(struct typed_queue *q, size_t n) SQ_MUST_CHECK;

#endif
