/**
 * audit_log.h - the handle of the log: shared by audit_log.c (append, prove) and audit_open.c (recovery). Never
 * included from outside the room.
 */
#ifndef SQ_AUDIT_LOG_H
#define SQ_AUDIT_LOG_H

#include "lib/audit/audit_internal.h"

#define SQ_AUDIT_SLICE_BYTES (1U << 20) /* of the reserve, taken at a time */
#define SQ_AUDIT_INDEX_STEP 256         /* one offset remembered per so many entries of the last segment */

struct sq_audit {
    int dir_fd, log_fd;
    int seg_fd;             /* last segment */
    uint32_t seg_no;
    uint64_t seg_first;     /* number of its first entry */
    uint64_t seg_end;       /* where the next frame goes */
    int tree_fd;
    uint64_t tree_written;  /* hashes in the tree file; those behind them wait in `pending` */
    struct sq_buf pending;
    int checkpoint_fd, keys_fd;
    uint64_t checkpoint_size, checkpoint_end;
    struct sq_reserve reserve;
    uint64_t segment_bytes;
    struct sq_frontier frontier;
    struct sq_buf frames;   /* of one append */
    uint64_t *index;        /* offset of every 256th frame of the last segment */
    size_t n_index, cap_index;
    bool is_broken;         /* a write is in an unknown state: nothing more until reopened */
};

sq_err sq_log_segment_new(struct sq_audit *log, uint32_t no, uint64_t first) SQ_MUST_CHECK;
sq_err sq_log_index_add(struct sq_audit *log, uint64_t number, uint64_t at) SQ_MUST_CHECK;
sq_err sq_log_tree_add(struct sq_audit *log, const struct sq_tree_nodes *nodes) SQ_MUST_CHECK; /* to `pending` */
sq_err sq_log_tree_flush(struct sq_audit *log) SQ_MUST_CHECK;
sq_err sq_log_tree_read(void *log, unsigned level, uint64_t index, uint8_t out[SQ_AUDIT_HASH_BYTES]) SQ_MUST_CHECK;

#endif
