/**
 * audit_internal - what the files of this room share. Never included from outside.
 */
#ifndef SQ_AUDIT_INTERNAL_H
#define SQ_AUDIT_INTERNAL_H

#include "lib/audit/audit.h"

#include <stdio.h>

#define SQ_SEG_HEADER_BYTES 16
#define SQ_SEG_NAME_BYTES 16 /* "00000001.seg" and its NUL */
#define SQ_TREE_MAX_NODES 65 /* nodes that one leaf can complete, itself included */

/* ---- tree ---- */

/** The peaks of the tree of `size` leaves: hash[l] counts when bit l of size is set. */
struct sq_frontier {
    uint64_t size;
    uint8_t hash[64][SQ_AUDIT_HASH_BYTES];
};

struct sq_tree_nodes { /* the leaf, then each node that it completes, from small to large */
    unsigned n;
    uint8_t hash[SQ_TREE_MAX_NODES][SQ_AUDIT_HASH_BYTES];
};

sq_err sq_frontier_add(struct sq_frontier *f, const uint8_t leaf[SQ_AUDIT_HASH_BYTES],
                       struct sq_tree_nodes *out) SQ_MUST_CHECK;
sq_err sq_frontier_root(const struct sq_frontier *f, uint8_t out[SQ_AUDIT_HASH_BYTES]) SQ_MUST_CHECK;

/** Reads node (@level, @index): the root of leaves index*2^level .. (index+1)*2^level - 1. */
typedef sq_err (*sq_tree_reader)(void *ctx, unsigned level, uint64_t index, uint8_t out[SQ_AUDIT_HASH_BYTES]);

uint64_t sq_tree_count(uint64_t n_leaf);                  /* hashes in the tree file of n_leaf leaves */
uint64_t sq_tree_place(unsigned level, uint64_t index);   /* where node stands in the tree file, in hashes */
uint64_t sq_tree_leaves(uint64_t n_hash);                 /* most leaves whose hashes all fit into n_hash */
/** Root of leaves @from .. @to - 1, where @from is a multiple of the largest complete subtree in it. */
sq_err sq_tree_range(sq_tree_reader read, void *ctx, uint64_t from, uint64_t to,
                     uint8_t out[SQ_AUDIT_HASH_BYTES]) SQ_MUST_CHECK;
sq_err sq_tree_frontier(sq_tree_reader read, void *ctx, uint64_t size, struct sq_frontier *out) SQ_MUST_CHECK;
sq_err sq_tree_consistency(sq_tree_reader read, void *ctx, uint64_t old_size, uint64_t new_size,
                           struct sq_audit_proof *out) SQ_MUST_CHECK;
sq_err sq_tree_inclusion(sq_tree_reader read, void *ctx, uint64_t index, uint64_t size,
                         struct sq_audit_proof *out) SQ_MUST_CHECK;

/* ---- segments ---- */

enum sq_frame_status {
    SQ_FRAME_OK,
    SQ_FRAME_END,    /* exactly at the end of the file */
    SQ_FRAME_CUT,    /* the frame goes beyond the end of the file */
    SQ_FRAME_LENGTH, /* a length that no entry has */
};

struct sq_frame {
    enum sq_frame_status status;
    uint64_t at; /* offset of the frame in its file */
    struct sq_span entry; /* valid until the next call */
    uint8_t stored[SQ_AUDIT_HASH_BYTES]; /* the leaf hash beside it */
    uint8_t leaf[SQ_AUDIT_HASH_BYTES];   /* computed from the entry */
};

struct sq_seg { /* reading one segment from front to back, through a buffer */
    int fd;
    uint64_t n_bytes, at;
    uint64_t first;      /* from the header */
    bool is_header_good;
    uint8_t *buf;
    size_t buf_n;
    uint64_t buf_at;
};

void sq_seg_name(uint32_t no, char out[SQ_SEG_NAME_BYTES]);
void sq_seg_header(uint64_t first, uint8_t out[SQ_SEG_HEADER_BYTES]);
/** Opens for reading; a wrong header isn't an error here. */
sq_err sq_seg_open(int log_fd, uint32_t no, struct sq_seg *out) SQ_MUST_CHECK;
sq_err sq_seg_next(struct sq_seg *seg, struct sq_frame *out) SQ_MUST_CHECK;
void sq_seg_close(struct sq_seg *seg);

struct sq_seg_list {
    uint32_t *no; /* ascending */
    size_t n;
};
sq_err sq_seg_list(int log_fd, struct sq_seg_list *out) SQ_MUST_CHECK;
void sq_seg_list_done(struct sq_seg_list *list);

struct sq_walk_hint { /* where to begin; zeros: from the headers */
    uint32_t seg_no;
    uint64_t at;
};
sq_err sq_audit_walk_from(int log_fd, uint64_t from, uint64_t to, struct sq_walk_hint hint, sq_audit_reader reader,
                          void *ctx) SQ_MUST_CHECK;

/* ---- checkpoints file ---- */

/** Length of the record at @p (note and its empty line), or 0 when there is no complete one. */
size_t sq_checkpoint_record(const char *p, size_t n);
/** The last complete record of the file: the note (without the closing empty line), and where it ends. */
sq_err sq_checkpoint_tail(int fd, struct sq_buf *out_note, uint64_t *out_end) SQ_MUST_CHECK;

/* ---- reserve ---- */

struct sq_reserve {
    int fd;
    uint64_t want_bytes, have_bytes;
};
sq_err sq_reserve_open(int dir_fd, uint64_t want_bytes, struct sq_reserve *out) SQ_MUST_CHECK;
sq_err sq_reserve_fill(struct sq_reserve *r) SQ_MUST_CHECK;              /* SQ_EFULL when it can't be whole */
sq_err sq_reserve_release(struct sq_reserve *r, uint64_t n_bytes) SQ_MUST_CHECK; /* SQ_EFULL when nothing is left */
void sq_reserve_close(struct sq_reserve *r);

/* ---- bits ---- */
sq_err sq_audit_decimal(const char *p, size_t n, uint64_t *out) SQ_MUST_CHECK; /* canonical decimal */

#endif
