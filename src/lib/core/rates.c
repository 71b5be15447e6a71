#include "lib/core/rates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ONE 1000 /* a request, in thousandths */

static const char *const names[SQ_RATE_N_SCOPE] = {"address", "token", "user", "all"};

const char *sq_rate_scope_name(enum sq_rate_scope scope)
{
    return names[scope];
}

/* "address=10" or "all=300/h" */
static sq_err read_one(const char *p, size_t n, struct sq_rates *out, bool has[SQ_RATE_N_SCOPE], struct sq_why *why)
{
    size_t scope = 0, len = 0;
    for (; scope < SQ_RATE_N_SCOPE; scope++) {
        len = strlen(names[scope]);
        if (n > len && !memcmp(p, names[scope], len) && p[len] == '=')
            break;
    }
    if (scope == SQ_RATE_N_SCOPE || has[scope])
        return sq_why_set(why, SQ_ECONFIG, 0, 0, "rate", "must be like address=600 token=600 user=1200 all=30000, each scope once");
    uint32_t v = 0, window_s = 60;
    const char *q = p + len + 1, *end = p + n;
    if (end - q > 2 && end[-2] == '/' && (end[-1] == 'm' || end[-1] == 'h')) {
        window_s = end[-1] == 'h' ? 3600 : 60;
        end -= 2;
    }
    bool is_number = q < end && end - q <= 7;
    for (; is_number && q < end; q++) {
        is_number = *q >= '0' && *q <= '9';
        v = v * 10 + (uint32_t)(*q - '0');
    }
    if (!is_number || !v || v > SQ_RATE_MAX)
        return sq_why_set(why, SQ_ECONFIG, 0, 0, "rate", "has a limit that is no number of 1 to %u, a minute or with /h an hour", SQ_RATE_MAX);
    has[scope] = true;
    out->of[scope] = (struct sq_rate_limit){v, window_s};
    return SQ_OK;
}

sq_err sq_rates_read(const char *text, struct sq_rates *out, struct sq_why *why)
{
    struct sq_rates rates;
    bool has[SQ_RATE_N_SCOPE] = {false};
    memset(&rates, 0, sizeof rates);
    for (const char *p = text + strspn(text, " \t"); *p; p += strspn(p, " \t")) {
        size_t n = strcspn(p, " \t");
        sq_err e = read_one(p, n, &rates, has, why);
        if (e)
            return sq_fail(e);
        p += n;
    }
    *out = rates;
    return SQ_OK;
}

/* ---- buckets ---- */

static int64_t full_of(const struct sq_rate_limit *limit)
{
    return (int64_t)limit->quota * ONE;
}

void sq_bucket_fill(struct sq_bucket *b, const struct sq_rate_limit *limit, int64_t now_ms)
{
    b->last_ms = now_ms;
    b->level = full_of(limit);
}

void sq_bucket_flow(struct sq_bucket *b, const struct sq_rate_limit *limit, int64_t now_ms)
{
    int64_t full = full_of(limit), window_ms = (int64_t)limit->window_s * 1000, past = now_ms - b->last_ms;
    if (past <= 0) { /* what is missing flows on from now */
        b->last_ms = now_ms;
    } else if (past >= window_ms) {
        sq_bucket_fill(b, limit, now_ms);
    } else {
        int64_t gained = past * full / window_ms; /* below 3600000 * 10^9 */
        b->level += gained;
        b->last_ms += gained ? (gained * window_ms + full - 1) / full : 0; /* time that makes no thousandth yet waits */
    }
    b->level = b->level > full ? full : b->level < 0 ? 0 : b->level;
}

uint32_t sq_bucket_left(const struct sq_bucket *b)
{
    return b->level < 0 ? 0 : (uint32_t)(b->level / ONE);
}

static unsigned seconds(int64_t missing, const struct sq_rate_limit *limit)
{
    int64_t full = full_of(limit);
    return missing <= 0 ? 0 : (unsigned)((missing * limit->window_s + full - 1) / full);
}

unsigned sq_bucket_wait_s(const struct sq_bucket *b, const struct sq_rate_limit *limit, uint32_t reserve)
{
    int64_t missing = ((int64_t)reserve + 1) * ONE - b->level;
    unsigned s = seconds(missing, limit);
    return missing > 0 && !s ? 1 : s;
}

unsigned sq_bucket_full_s(const struct sq_bucket *b, const struct sq_rate_limit *limit)
{
    return seconds(full_of(limit) - b->level, limit);
}
