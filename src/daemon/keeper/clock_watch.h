/**
 * keeper/clock_watch - has the wall clock jumped? Rules: docs/formats/key-slab.md, "The clock".
 *
 * Compares the wall clock with the boot clock, which goes on in suspend and can't be set. In a test build the
 * tests' own offset is left out. Thread-safe.
 */
#ifndef SQ_KEEPER_CLOCK_WATCH_H
#define SQ_KEEPER_CLOCK_WATCH_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define KEEPER_CLOCK_AHEAD_S 3600
#define KEEPER_CLOCK_BEHIND_S 60

struct keeper_clock {
    pthread_mutex_t lock;
    int64_t wall_s, boot_s; /* at the start, or the last confirmation */
    bool is_held;
};

/** @seen_s: the highest clock that the slab's header has seen; 0 for none. */
void keeper_clock_start(struct keeper_clock *c, int64_t seen_s);
bool keeper_clock_is_held(struct keeper_clock *c); /* looks at the clocks */
void keeper_clock_confirm(struct keeper_clock *c);
int64_t keeper_clock_wall_s(void); /* the machine's, without the tests' offset */

/** The rule by itself: held, when the wall clock went from @from_s to @to_s while @passed_s passed? */
bool keeper_clock_jumped(int64_t from_s, int64_t to_s, int64_t passed_s);

#endif
