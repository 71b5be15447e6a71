#include "lib/core/clock.h"

#include "lib/core/fault.h"

#include <stdio.h>
#include <string.h>
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

bool sq_clock_read(const char *text, int64_t *out_unix_s)
{
    struct tm tm = {.tm_isdst = 0};
    char again[21];
    if (strlen(text) != 20 || sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2dZ", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    time_t t = timegm(&tm);
    sq_clock_text((int64_t)t, again);
    if (t <= 0 || strcmp(again, text) != 0) /* one spelling a time; no 31st of February */
        return false;
    *out_unix_s = (int64_t)t;
    return true;
}
