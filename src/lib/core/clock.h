/**
 * core/clock - the one clock of the project. Every deadline reads it.
 *
 * In a test build (meson -Dtest_hooks=true) the tests can move it by an offset that all processes share;
 * in production that code isn't there: a movable clock would be a mass-erase button.
 */
#ifndef SQ_CORE_CLOCK_H
#define SQ_CORE_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

#define SQ_DAY_S 86400

int64_t sq_clock_now_s(void);  /* Unix seconds, wall clock */
int64_t sq_clock_now_ms(void); /* Unix milliseconds, wall clock */
int64_t sq_clock_steady_ms(void); /* monotonic: for waiting, never moved */

/** sq_clock_text - "2026-11-22T10:00:00Z". */
void sq_clock_text(int64_t unix_s, char out[21]);
/** The same read back; false when @text is anything else, or no time. */
bool sq_clock_read(const char *text, int64_t *out_unix_s);

#endif
