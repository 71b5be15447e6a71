#include "lib/core/promises.h"

static const struct sq_promise_row promises[] = {
#define SQ_PROMISE(name, text, probe) {#name, text, probe},
#define SQ_LOSS(name, promise, why, mend)
#include "lib/core/promises.def"
#undef SQ_PROMISE
#undef SQ_LOSS
};

static const struct sq_loss_row losses[] = {
    {"none", "", "", SQ_PROMISE_COUNT},
#define SQ_PROMISE(name, text, probe)
#define SQ_LOSS(name, promise, why, mend) {#name, why, mend, SQ_PROMISE_##promise},
#include "lib/core/promises.def"
#undef SQ_PROMISE
#undef SQ_LOSS
};

_Static_assert(SQ_LOSS_COUNT <= 65, "losses are the bits of a number of 64");

const struct sq_promise_row *sq_promise_row_of(enum sq_promise promise)
{
    return promise < SQ_PROMISE_COUNT ? &promises[promise] : NULL;
}

const struct sq_loss_row *sq_loss_row_of(unsigned loss)
{
    return loss > SQ_LOSS_none && loss < SQ_LOSS_COUNT ? &losses[loss] : NULL;
}

enum sq_loss sq_promise_lost(enum sq_promise promise, uint64_t set)
{
    for (unsigned loss = 1; loss < SQ_LOSS_COUNT; loss++)
        if (losses[loss].promise == promise && set & sq_loss_bit((enum sq_loss)loss))
            return (enum sq_loss)loss;
    return SQ_LOSS_none;
}
