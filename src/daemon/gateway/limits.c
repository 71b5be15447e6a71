/*
 * How often: a token bucket (core/rates) for each address, each token and all together, one per rate class; an account's own is registrar's.
 *
 * The table has a fixed size. Who comes new takes the place of the fullest bucket of its set: a full one is forgotten without loss, so a
 * flood of addresses can take from the table only what it fills itself, and what bounds it is the bucket of all. A quarter of that one is
 * kept for known callers: those whose token registrar has accepted, or an address from which one came within the last 30 days. So a flood
 * of strangers slows down strangers.
 *
 * All lies in one shared mapping of the file `limits` in our own directory, opened before confining: it outlives us and a restart of the
 * machine, else a crash would be a way to a fresh start. Keys are HMACs, so no address and no token stands in it. Without room for the
 * file it is memory alone.
 */
#include "daemon/gateway/gateway.h"

#include "lib/core/clock.h"
#include "lib/core/config.h"
#include "lib/core/file.h"
#include "lib/core/log.h"
#include "lib/core/rates.h"
#include "lib/crypt/crypt.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#ifdef SQ_TEST_HOOKS
#define REPORT_S 1 /* tests don't wait so long */
#else
#define REPORT_S 60
#endif
#define STAMP_S 1

#define N_SET 4096
#define N_WAY 8
#define N_KNOWN_SET 1024
#define N_SOURCE 256
#define KNOWN_MS (30LL * 86400 * 1000)
#define RESERVE 4 /* the fourth part of what all may do is for known callers alone */

struct place {
    uint64_t key; /* 0: free */
    struct sq_bucket bucket;
    uint8_t rate, scope;
    uint8_t spare[6];
};

struct known {
    uint64_t key;
    int64_t last_ms; /* wall clock: it counts days */
};

/* what lies in the file; another layout has another size or another mark, and begins anew */
struct table {
    char mark[16];
    uint8_t hmac_key[SQ_KEY_BYTES];
    int64_t wall_ms, steady_ms; /* the same moment on both clocks, for after a restart of the machine */
    struct sq_bucket all[SQ_RATE_N_CLASS];
    struct place place[N_SET][N_WAY];
    struct known known[N_KNOWN_SET][N_WAY];
};

static const char mark[16] = "sequester lim 1";

struct limits {
    struct sq_node *node;
    struct sq_key *key;
    pthread_mutex_t lock;
    struct sq_rates rates[SQ_RATE_N_CLASS];
    struct table *table;
    struct {
        char address[SQ_NETWORKS_ADDRESS_MAX];
        uint32_t n;
    } source[N_SOURCE];
    size_t n_source;
    uint32_t n_elsewhere; /* refused from addresses that found no place in the list */
};

/* ---- the file ---- */

/* Buckets count on the steady clock, which begins anew with the machine: move them so that as much time has passed as on the wall. */
static void move_on(struct table *t)
{
    int64_t now = sq_clock_steady_ms(), away = sq_clock_now_ms() - t->wall_ms;
    int64_t delta = now - (away < 0 ? 0 : away) - t->steady_ms;
    for (size_t i = 0; i < SQ_RATE_N_CLASS; i++)
        t->all[i].last_ms += delta;
    for (size_t i = 0; i < N_SET; i++)
        for (size_t j = 0; j < N_WAY; j++)
            t->place[i][j].bucket.last_ms += delta;
}

static sq_err begin(struct limits *l)
{
    struct table *t = l->table;
    if (!memcmp(t->mark, mark, sizeof mark)) {
        move_on(t);
    } else {
        memset(t, 0, sizeof *t);
        for (size_t i = 0; i < SQ_RATE_N_CLASS; i++)
            sq_bucket_fill(&t->all[i], &l->rates[i].of[SQ_RATE_ALL], sq_clock_steady_ms());
        sq_err e = sq_random(t->hmac_key, sizeof t->hmac_key);
        if (e)
            return e;
        memcpy(t->mark, mark, sizeof mark);
    }
    t->wall_ms = sq_clock_now_ms();
    t->steady_ms = sq_clock_steady_ms();
    return sq_key_from(t->hmac_key, &l->key);
}

sq_err limits_new(struct sq_node *node, struct limits **out)
{
    struct limits *l = calloc(1, sizeof *l);
    if (!l)
        return sq_fail(SQ_ENOMEM);
    l->node = node;
    pthread_mutex_init(&l->lock, NULL);
    sq_err e = SQ_OK;
    for (unsigned i = 0; i < SQ_RATE_N_CLASS && !e; i++) {
        char key[24];
        snprintf(key, sizeof key, "rate_%s", sq_rate_name((enum sq_rate)i));
        const char *text = sq_node_setting(node, key);
        e = sq_rates_read(text ? text : sq_key_row_of(key)->fallback, &l->rates[i], NULL);
    }
    bool is_kept = true;
    if (!e && !(l->table = sq_file_map("limits", sizeof *l->table, &is_kept)))
        e = sq_fail(SQ_ENOMEM);
    if (!e && !is_kept)
        sq_log(SQ_LOG_limits_unkept, SQ_LN("errno", errno));
    if (!e)
        e = begin(l);
    if (e)
        free(l);
    else
        *out = l;
    return e;
}

/* ---- buckets, all below under the lock ---- */

static uint64_t key_of(const struct limits *l, unsigned rate, unsigned scope, const void *who, size_t n)
{
    uint8_t text[2 + SQ_HTTP_TOKEN_MAX], hmac[SQ_SHA256_BYTES];
    sq_assert(n <= SQ_HTTP_TOKEN_MAX);
    text[0] = (uint8_t)rate;
    text[1] = (uint8_t)scope;
    memcpy(text + 2, who, n);
    sq_err e = sq_hmac_sha256(l->key, text, 2 + n, hmac);
    sq_wipe(text, 2 + n);
    return e ? 1 : sq_get_be64(hmac) | 1;
}

/* How full, as a share of 2^20 */
static int64_t share(const struct limits *l, struct place *p, int64_t now_ms)
{
    const struct sq_rate_limit *limit = &l->rates[p->rate % SQ_RATE_N_CLASS].of[p->scope % SQ_RATE_N_SCOPE];
    if (!p->key || !limit->quota)
        return INT64_MAX;
    sq_bucket_flow(&p->bucket, limit, now_ms);
    return p->bucket.level * (1 << 20) / ((int64_t)limit->quota * 1000);
}

static struct sq_bucket *bucket_of(struct limits *l, unsigned rate, unsigned scope, const void *who, size_t n, int64_t now_ms)
{
    uint64_t key = key_of(l, rate, scope, who, n);
    struct place *set = l->table->place[(key >> 1) % N_SET], *p = NULL;
    int64_t fullest = -1;
    for (unsigned i = 0; i < N_WAY; i++) {
        if (set[i].key == key && set[i].rate == rate && set[i].scope == scope) {
            sq_bucket_flow(&set[i].bucket, &l->rates[rate].of[scope], now_ms);
            return &set[i].bucket;
        }
        int64_t s = share(l, &set[i], now_ms);
        if (s > fullest) {
            fullest = s;
            p = &set[i];
        }
    }
    *p = (struct place){.key = key, .rate = (uint8_t)rate, .scope = (uint8_t)scope};
    sq_bucket_fill(&p->bucket, &l->rates[rate].of[scope], now_ms);
    return &p->bucket;
}

static struct known *known_find(struct limits *l, const void *who, size_t n, bool is_new)
{
    uint64_t key = key_of(l, SQ_RATE_N_CLASS, 0, who, n);
    struct known *set = l->table->known[(key >> 1) % N_KNOWN_SET], *oldest = &set[0];
    for (unsigned i = 0; i < N_WAY; i++) {
        if (set[i].key == key)
            return &set[i];
        if (set[i].last_ms < oldest->last_ms)
            oldest = &set[i];
    }
    if (!is_new)
        return NULL;
    oldest->key = key;
    return oldest;
}

static bool is_known(struct limits *l, const void *who, size_t n)
{
    const struct known *k = n ? known_find(l, who, n, false) : NULL;
    return k && sq_clock_now_ms() - k->last_ms < KNOWN_MS;
}

void limits_known(struct limits *l, const char *source, struct sq_span token)
{
    pthread_mutex_lock(&l->lock);
    known_find(l, source, strlen(source), true)->last_ms = sq_clock_now_ms();
    if (token.n)
        known_find(l, token.p, token.n, true)->last_ms = sq_clock_now_ms();
    pthread_mutex_unlock(&l->lock);
}

/* ---- taking one ---- */

static void say(struct limits_said *said, unsigned rate, unsigned scope, const struct sq_rate_limit *limit, const struct sq_bucket *b)
{
    limits_say(said, sq_rate_name((enum sq_rate)rate), sq_rate_scope_name((enum sq_rate_scope)scope), limit->quota, limit->window_s, sq_bucket_left(b), sq_bucket_full_s(b, limit));
}

void limits_say(struct limits_said *said, const char *rate, const char *scope, unsigned quota, unsigned window_s, unsigned left, unsigned full_s)
{
    size_t p = strlen(said->policy), l = strlen(said->left);
    snprintf(said->policy + p, sizeof said->policy - p, "%s\"%s-%s\";q=%u;w=%u", p ? ", " : "", rate, scope, quota, window_s);
    snprintf(said->left + l, sizeof said->left - l, "%s\"%s-%s\";r=%u;t=%u", l ? ", " : "", rate, scope, left, full_s);
}

unsigned limits_take(struct limits *l, enum sq_rate rate, const char *source, struct sq_span token, struct limits_said *said)
{
    const struct sq_rate_limit *limit = l->rates[rate].of;
    struct sq_bucket *b[SQ_RATE_N_SCOPE] = {NULL};
    unsigned wait_s = 0;
    pthread_mutex_lock(&l->lock);
    int64_t now = sq_clock_steady_ms();
    bool has_standing = is_known(l, token.p, token.n) || is_known(l, source, strlen(source));
    said->has_standing = has_standing;
    if (limit[SQ_RATE_ADDRESS].quota)
        b[SQ_RATE_ADDRESS] = bucket_of(l, rate, SQ_RATE_ADDRESS, source, strlen(source), now);
    if (limit[SQ_RATE_TOKEN].quota && token.n)
        b[SQ_RATE_TOKEN] = bucket_of(l, rate, SQ_RATE_TOKEN, token.p, token.n, now);
    if (limit[SQ_RATE_ALL].quota) {
        b[SQ_RATE_ALL] = &l->table->all[rate];
        sq_bucket_flow(b[SQ_RATE_ALL], &limit[SQ_RATE_ALL], now);
    }
    for (unsigned i = 0; i < SQ_RATE_N_SCOPE && !wait_s; i++) /* who is refused by his own bucket takes nothing from the others */
        if (b[i])
            wait_s = sq_bucket_wait_s(b[i], &limit[i], i == SQ_RATE_ALL && !has_standing ? limit[i].quota / RESERVE : 0);
    for (unsigned i = 0; i < SQ_RATE_N_SCOPE; i++) {
        if (b[i] && !wait_s)
            b[i]->level -= 1000;
        if (b[i] && i != SQ_RATE_ALL) /* how busy the house is isn't told */
            say(said, rate, i, &limit[i], b[i]);
    }
    pthread_mutex_unlock(&l->lock);
    return wait_s;
}

/* ---- refusals: strangers must not be able to fill the audit log, so they are told as numbers ---- */

void limits_refused(struct limits *l, const char *address)
{
    pthread_mutex_lock(&l->lock);
    size_t i = 0;
    while (i < l->n_source && strcmp(l->source[i].address, address) != 0)
        i++;
    if (i == N_SOURCE) {
        l->n_elsewhere++;
    } else {
        if (i == l->n_source) {
            l->n_source++;
            memcpy(l->source[i].address, address, strlen(address) + 1);
            l->source[i].n = 0;
        }
        l->source[i].n++;
    }
    pthread_mutex_unlock(&l->lock);
}

/* The last one of the list, or the rest; false when there is none. */
static bool next_refused(struct limits *l, char address[SQ_NETWORKS_ADDRESS_MAX], uint32_t *n)
{
    pthread_mutex_lock(&l->lock);
    bool is_one = l->n_source || l->n_elsewhere;
    if (l->n_source) {
        l->n_source--;
        memcpy(address, l->source[l->n_source].address, SQ_NETWORKS_ADDRESS_MAX);
        *n = l->source[l->n_source].n;
    } else {
        memcpy(address, "others", 7);
        *n = l->n_elsewhere;
        l->n_elsewhere = 0;
    }
    pthread_mutex_unlock(&l->lock);
    return is_one;
}

static void stamp(struct limits *l)
{
    pthread_mutex_lock(&l->lock);
    l->table->wall_ms = sq_clock_now_ms();
    l->table->steady_ms = sq_clock_steady_ms();
    pthread_mutex_unlock(&l->lock);
}

static void *report(void *arg)
{
    struct limits *l = arg;
    for (unsigned turn = 1;; turn++) {
        struct timespec t = {.tv_sec = STAMP_S};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
        stamp(l);
        char address[SQ_NETWORKS_ADDRESS_MAX];
        uint32_t n;
        while (turn % (REPORT_S / STAMP_S) == 0 && next_refused(l, address, &n)) {
            struct sq_msg m = sq_msg_of(refused, .address = sq_span_str(address), .n = n);
            sq_err e = sq_node_tell(l->node, SQ_ROLE_REGISTRAR, &m);
            (void)e; /* registrar is restarting: these few are lost */
        }
    }
    return NULL;
}

sq_err limits_start(struct limits *l)
{
    pthread_t t;
    pthread_attr_t a;
    pthread_attr_init(&a);
    pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
    int r = pthread_create(&t, &a, report, l);
    pthread_attr_destroy(&a);
    return r ? sq_fail(SQ_ESYS) : SQ_OK;
}
