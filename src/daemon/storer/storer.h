/*
 * storer, inside: the files that have no name yet, and who works on which object right now.
 */
#ifndef SQ_STORER_STORER_H
#define SQ_STORER_STORER_H

#include "lib/proc/node.h"
#include "lib/store/store.h"

#include <pthread.h>

#define STORER_MAX_HELD 1024  /* uncommitted files at once */
#define STORER_N_THREAD 8     /* erasing a large file takes long: others needn't wait */

struct held_file {
    uint8_t object[SQ_ID_BYTES], owner[SQ_ID_BYTES];
    uint64_t generation; /* of registrar's socket by which it was asked for */
    int fd;              /* -1: free place */
};

struct held {
    pthread_mutex_t lock;
    pthread_cond_t freed;
    struct held_file file[STORER_MAX_HELD];
    uint8_t busy[STORER_N_THREAD][SQ_ID_BYTES]; /* objects that a handler works on */
    size_t n_busy;
    uint64_t generation; /* of registrar's socket */
};

void held_init(struct held *h);
/**
 * held_begin - wait until no other handler works on @object, then it is ours until held_end.
 *
 * @generation of the socket by which the request came. A newer one than before: registrar was restarted and has
 * forgotten its uncommitted files, so they are dropped (one that a handler works on: in its held_end). An older one:
 * SQ_EDOWN, who asked is gone, and there is nothing to end.
 */
sq_err held_begin(struct held *h, const uint8_t object[SQ_ID_BYTES], uint64_t generation) SQ_MUST_CHECK;
void held_end(struct held *h, const uint8_t object[SQ_ID_BYTES]);
/** SQ_EBUSY: the table is full. SQ_EEXISTS: @object is in it. The table owns @fd on success. */
sq_err held_add(struct held *h, const uint8_t object[SQ_ID_BYTES], const uint8_t owner[SQ_ID_BYTES], uint64_t generation,
                int fd) SQ_MUST_CHECK;
/** The descriptor of @object, or -1; borrowed, valid between held_begin and held_end. SQ_EDENIED through *out_e when
 *  another owner's. */
int held_find(struct held *h, const uint8_t object[SQ_ID_BYTES], const uint8_t owner[SQ_ID_BYTES], sq_err *out_e);
/** Forget @object and close its file, if it is there. */
void held_drop(struct held *h, const uint8_t object[SQ_ID_BYTES]);
struct storer {
    struct sq_store *store;
    struct held held;
};

void storer_handlers(struct sq_node *node);
sq_err storer_confine(void) SQ_MUST_CHECK;

#endif
