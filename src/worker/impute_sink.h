/**
 * impute_sink - the engine's dosages become rows of the result, with the target's own records between them in order of position.
 *
 * A target's own record goes before the first row of the panel behind its position; what comes behind the window's last row is a
 * piece of its own.
 */
#ifndef SQ_WORKER_IMPUTE_SINK_H
#define SQ_WORKER_IMPUTE_SINK_H

#include "lib/formats/pieces.h"
#include "worker/typed_queue.h"

struct own_record {
    uint32_t before;
    const struct typed_entry *entry;
};

struct impute_sink {
    struct sq_pieces *pieces;
    const struct worker_choice *choice;
    void *ctx; /* of progress */
    sq_err (*progress)(void *ctx, uint64_t n_done, uint64_t n_all);
    pthread_mutex_t lock; /* of open and n_piece */
    bool has_lock;
    struct {
        uint32_t no;
        struct sq_piece *piece; /* NULL: free */
    } open[SQ_ENGINE_MAX_THREADS + 1];
    uint32_t n_piece; /* of the window, so far */
    /* the present window */
    const struct sq_engine_window *window;
    struct own_record *own; /* [n_own] in order */
    uint32_t n_own;
};

sq_err impute_sink_open(struct impute_sink *s, struct sq_pieces *pieces, const struct worker_choice *choice, void *ctx,
                        sq_err (*progress)(void *ctx, uint64_t n_done, uint64_t n_all)) SQ_MUST_CHECK;
void impute_sink_close(struct impute_sink *s);
/** impute_sink_window - rows of @window come now; of @q the records of its own in [from_cm, to_cm) are written with them. Both borrowed until the end. */
sq_err impute_sink_window(struct impute_sink *s, const struct sq_engine_window *window, const struct typed_queue *q, double from_cm, double to_cm) SQ_MUST_CHECK;
sq_err impute_sink_window_end(struct impute_sink *s) SQ_MUST_CHECK;

/* for struct sq_engine_sink; ctx is the sink */
sq_err impute_sink_put(void *ctx, uint32_t piece, void *cursor, const struct sq_engine_block *block, uint32_t from, uint32_t to, const uint16_t *milli,
                       const struct sq_engine_row *row);
sq_err impute_sink_piece_end(void *ctx, uint32_t piece);
sq_err impute_sink_progress(void *ctx, uint64_t n_done, uint64_t n_all);

#endif
