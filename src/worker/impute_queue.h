/**
 * impute_queue - panel sites and typed records side by side, read just far enough ahead for one window.
 *
 * Both inputs are sorted, so memory holds a stretch of a few cM and never the chromosome. What is behind is dropped.
 */
#ifndef SQ_WORKER_IMPUTE_QUEUE_H
#define SQ_WORKER_IMPUTE_QUEUE_H

#include "lib/engine/plain.h"
#include "lib/formats/gmap.h"
#include "worker/panel_reader.h"

#define QUEUE_MAX_BYTES ((size_t)1536 << 20)
#define QUEUE_NONE UINT32_MAX

/* A record of the target. `allele` is [n_target], a haplotype each: 0, 1 or SQ_ALLELE_MISSING. */
struct typed_entry {
    int64_t pos_bp;
    double cm;
    uint8_t *allele;
    uint64_t *bits; /* panel alleles, when the panel has this site; else NULL: typed only */
    char *text;     /* ID TAB REF TAB ALT */
    uint32_t n_id, n_text;
};

struct site_entry {
    int64_t pos_bp;
    struct sq_plain_site site; /* carrier list owned */
    char *text;
    uint32_t n_id, n_text;
    uint64_t typed_no; /* running number of the typed record, or UINT64_MAX */
};

struct impute_queue {
    struct worker *w;
    struct sq_genotypes *target;
    struct panel_reader *panel;
    struct sq_gmap map;
    struct sq_record target_next;
    struct panel_record panel_next;
    bool has_target, has_panel; /* the records above are waiting */
    uint32_t n_sample, n_target, n_hap;
    uint8_t *is_haploid; /* [n_sample] */
    struct site_entry *site;
    uint32_t n_site, site_cap;
    struct typed_entry *typed;
    uint32_t n_typed, typed_cap;
    uint64_t n_typed_dropped; /* typed[i] has the running number n_typed_dropped + i */
    uint64_t panel_bytes;     /* size of the panel, for progress; 0: not known */
    size_t n_bytes;
};

/** queue_open - read both headers and first records. */
sq_err queue_open(struct worker *w, struct impute_queue *q) SQ_MUST_CHECK;
void queue_close(struct impute_queue *q);
/** queue_fill - read on until everything up to @cm is there, or QUEUE_MAX_BYTES are. *out_cm: complete up to here (infinite at the end). */
sq_err queue_fill(struct impute_queue *q, double cm, double *out_cm) SQ_MUST_CHECK;
/** queue_skip - pass over everything before @cm, as if it had been read and dropped. */
sq_err queue_skip(struct impute_queue *q, double cm) SQ_MUST_CHECK;
/** queue_drop - forget sites before @site_cm and typed records before @typed_cm. */
void queue_drop(struct impute_queue *q, double site_cm, double typed_cm);

#endif
