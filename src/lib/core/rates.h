/**
 * core/rates - how often something may be done, as the keys rate_* of sequester.ini say it, and the token bucket that counts it.
 *
 * Pure functions. A bucket of q requests fills evenly over its window of w seconds: q at once when it is full, q in w seconds in the
 * long run, never more than 2q in any window.
 */
#ifndef SQ_CORE_RATES_H
#define SQ_CORE_RATES_H

#include "lib/core/err.h"

#include <stdbool.h>
#include <stdint.h>

#define SQ_RATE_MAX 1000000u

/* Who is counted: an address (of IPv6 a /64), a token or session, an account with all its tokens, everybody together. */
enum sq_rate_scope { SQ_RATE_ADDRESS, SQ_RATE_TOKEN, SQ_RATE_USER, SQ_RATE_ALL, SQ_RATE_N_SCOPE };

struct sq_rates {
    struct sq_rate_limit {
        uint32_t quota, window_s; /* quota 0: no limit */
    } of[SQ_RATE_N_SCOPE];
};

const char *sq_rate_scope_name(enum sq_rate_scope scope);

/** "address=10 token=10 user=10 all=300", each a minute, or with /h an hour; a scope that isn't named has no limit. SQ_ECONFIG with a sentence in @why (may be NULL). */
sq_err sq_rates_read(const char *text, struct sq_rates *out, struct sq_why *why) SQ_MUST_CHECK;

/** What is left of a limit; all zeros isn't a full bucket: see sq_bucket_fill. */
struct sq_bucket {
    int64_t last_ms; /* steady clock */
    int64_t level;   /* thousandths of a request */
};

void sq_bucket_fill(struct sq_bucket *b, const struct sq_rate_limit *limit, int64_t now_ms);
/** Brings @b up to @now_ms. A clock that went back, or a level that can't be, does no harm: the bucket is at most full. */
void sq_bucket_flow(struct sq_bucket *b, const struct sq_rate_limit *limit, int64_t now_ms);
/** After sq_bucket_flow: whole requests that are left; seconds until there is one more than @reserve (0: there is); seconds until it is full. */
uint32_t sq_bucket_left(const struct sq_bucket *b);
unsigned sq_bucket_wait_s(const struct sq_bucket *b, const struct sq_rate_limit *limit, uint32_t reserve);
unsigned sq_bucket_full_s(const struct sq_bucket *b, const struct sq_rate_limit *limit);

#endif
