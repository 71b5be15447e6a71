/**
 * core/promises - what is promised of the machine, and what keeps a promise from being held: the rows of promises.def.
 */
#ifndef SQ_CORE_PROMISES_H
#define SQ_CORE_PROMISES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sq_promise {
#define SQ_PROMISE(name, text, probe) SQ_PROMISE_##name,
#define SQ_LOSS(name, promise, why, mend)
#include "lib/core/promises.def"
#undef SQ_PROMISE
#undef SQ_LOSS
    SQ_PROMISE_COUNT
};

enum sq_loss {
    SQ_LOSS_none = 0,
#define SQ_PROMISE(name, text, probe)
#define SQ_LOSS(name, promise, why, mend) SQ_LOSS_##name,
#include "lib/core/promises.def"
#undef SQ_PROMISE
#undef SQ_LOSS
    SQ_LOSS_COUNT
};

struct sq_promise_row {
    const char *name, *text, *probe;
};

struct sq_loss_row {
    const char *name, *why, *mend;
    enum sq_promise promise;
};

const struct sq_promise_row *sq_promise_row_of(enum sq_promise promise);
/** sq_loss_row_of - NULL when @loss is no loss (none, or a number from outside). */
const struct sq_loss_row *sq_loss_row_of(unsigned loss);

/** A set of losses, as it goes over the wire. */
static inline uint64_t sq_loss_bit(enum sq_loss loss)
{
    return loss ? 1ULL << (loss - 1) : 0;
}
/** sq_promise_lost - the first of @losses that keeps @promise from being held, SQ_LOSS_none when it is held. */
enum sq_loss sq_promise_lost(enum sq_promise promise, uint64_t losses);

#endif
