/*
 * How often an account may ask, with all its tokens and sessions together: the scope `user` of rate_*. Addresses and tokens are gateway's to
 * count; whose token it is is known here alone. A table of a fixed size: a newcomer takes the place of the fullest bucket of its set, and a
 * bucket that is full is forgotten without loss. It lies in the file `rates` of our own directory, as gateway's does, so that neither a crash nor a
 * restart is a fresh start.
 */
#include "daemon/registrar/registrar.h"

#include "lib/core/config.h"
#include "lib/core/file.h"

#include <errno.h>
#include <stdio.h>

#define N_SET 1024
#define N_WAY 8

struct place {
    uint8_t user[ID];
    bool is_used;
    uint8_t rate;
    struct sq_bucket bucket;
};

/* what lies in the file; another layout has another size or another mark, and begins anew */
struct kept {
    char mark[16];
    int64_t wall_ms, steady_ms; /* the same moment on both clocks, for after a restart of the machine */
    struct place place[N_SET][N_WAY];
};

static const char mark[16] = "sequester rate1";

static struct {
    pthread_mutex_t lock;
    struct sq_rate_limit limit[SQ_RATE_N_CLASS];
    struct kept *kept;
} table = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void stamp(void)
{
    table.kept->wall_ms = sq_clock_now_ms();
    table.kept->steady_ms = sq_clock_steady_ms();
}

/* Buckets count on the steady clock, which begins anew with the machine: move them so that as much time has passed as on the wall. */
static void move_on(struct kept *t)
{
    int64_t away = sq_clock_now_ms() - t->wall_ms, delta = sq_clock_steady_ms() - (away < 0 ? 0 : away) - t->steady_ms;
    for (size_t i = 0; i < N_SET; i++)
        for (size_t j = 0; j < N_WAY; j++) {
            if (t->place[i][j].rate >= SQ_RATE_N_CLASS)
                t->place[i][j] = (struct place){.is_used = false};
            t->place[i][j].bucket.last_ms += delta;
        }
}

static sq_err open_table(void)
{
    bool is_kept = true;
    if (!(table.kept = sq_file_map("rates", sizeof *table.kept, &is_kept)))
        return sq_fail(SQ_ENOMEM);
    if (!is_kept)
        sq_log(SQ_LOG_limits_unkept, SQ_LN("errno", errno));
    if (!memcmp(table.kept->mark, mark, sizeof mark)) {
        move_on(table.kept);
    } else {
        memset(table.kept, 0, sizeof *table.kept);
        memcpy(table.kept->mark, mark, sizeof mark);
    }
    stamp();
    return SQ_OK;
}

sq_err user_rates_open(struct registrar *r)
{
    for (unsigned i = 0; i < SQ_RATE_N_CLASS; i++) {
        struct sq_rates rates;
        char key[24];
        snprintf(key, sizeof key, "rate_%s", sq_rate_name((enum sq_rate)i));
        const char *text = sq_node_setting(r->node, key);
        sq_err e = sq_rates_read(text ? text : sq_key_row_of(key)->fallback, &rates, NULL);
        if (e)
            return e;
        table.limit[i] = rates.of[SQ_RATE_USER];
    }
    return open_table();
}

/* the bucket of @user, brought up to @now_ms; under the lock */
static struct sq_bucket *bucket_of(const uint8_t user[ID], enum sq_rate rate, int64_t now_ms)
{
    struct place *set = table.kept->place[(sq_get_be32(user) ^ rate) % N_SET], *p = &set[0]; /* ids are random */
    int64_t fullest = -1;
    for (unsigned i = 0; i < N_WAY; i++) {
        const struct sq_rate_limit *limit = &table.limit[set[i].rate];
        if (set[i].is_used && limit->quota)
            sq_bucket_flow(&set[i].bucket, limit, now_ms);
        if (set[i].is_used && set[i].rate == rate && !memcmp(set[i].user, user, ID))
            return &set[i].bucket;
        int64_t share = set[i].is_used && limit->quota ? set[i].bucket.level * (1 << 20) / ((int64_t)limit->quota * 1000) : INT64_MAX;
        if (share > fullest) {
            fullest = share;
            p = &set[i];
        }
    }
    *p = (struct place){.is_used = true, .rate = (uint8_t)rate};
    memcpy(p->user, user, ID);
    sq_bucket_fill(&p->bucket, &table.limit[rate], now_ms);
    return &p->bucket;
}

sq_err user_rate_take(const struct caller *c, enum sq_rate rate, struct user_rate *out)
{
    const struct sq_rate_limit *limit = &table.limit[rate];
    *out = (struct user_rate){.quota = 0};
    if (!c->role || !limit->quota)
        return SQ_OK;
    pthread_mutex_lock(&table.lock);
    stamp();
    struct sq_bucket *b = bucket_of(c->user, rate, sq_clock_steady_ms());
    out->wait_s = sq_bucket_wait_s(b, limit, 0);
    if (!out->wait_s)
        b->level -= 1000;
    out->quota = limit->quota;
    out->window_s = limit->window_s;
    out->left = sq_bucket_left(b);
    out->full_s = sq_bucket_full_s(b, limit);
    pthread_mutex_unlock(&table.lock);
    return out->wait_s ? sq_fail(SQ_EBUSY) : SQ_OK;
}
