#include "lib/core/clock.h"

#include "lib/core/fault.h"

#include <stdio.h>
#include <time.h>

int64_t sq_clock_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    int64_t ms = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
#ifdef SQ_TEST_HOOKS
    ms += sq_hooks_clock_offset_s() * 1000;
#endif
    return ms;
}

int64_t sq_clock_now_s(void)
{
    return sq_clock_now_ms() / 1000;
}

int64_t sq_clock_steady_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void sq_clock_text(int64_t unix_s, char out[21])
{
    time_t t = (time_t)unix_s;
    struct tm tm;
    gmtime_r(&t, &tm);
    if (strftime(out, 21, "%Y-%m-%dT%H:%M:%SZ", &tm) != 20)
        snprintf(out, 21, "-");
}
