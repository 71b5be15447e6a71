/*
 * How often: a token bucket for each address and each token, one per rate class. The table has a fixed size: who comes new
 * takes the place of the one that was quiet longest in its set, and starts with a full bucket, so that a flood of
 * addresses costs us precision, not memory. Keys are HMACs: no token stands in this table.
 */
#include "daemon/gateway/gateway.h"

#include "lib/core/clock.h"
#include "lib/crypt/crypt.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#ifdef SQ_TEST_HOOKS
#define TIMES 10 /* tests ask faster than people */
#define REPORT_S 1
#else
#define TIMES 1
#define REPORT_S 60
#endif

/* requests a minute, of one address and of one token; docs/api.md says the same */
static const unsigned per_minute[] = {
    [SQ_RATE_READ] = 600 * TIMES,
    [SQ_RATE_WRITE] = 120 * TIMES,
    [SQ_RATE_LOGIN] = 10 * TIMES,
    [SQ_RATE_BULK] = 60 * TIMES,
    [SQ_RATE_CONNECT] = 1200 * TIMES,
};

#define N_SET 1024
#define N_WAY 8
#define N_SOURCE 256

struct bucket {
    uint64_t key; /* 0: free */
    int64_t last_ms;
    int64_t level; /* thousandths of a request that are left */
};

struct limits {
    struct sq_node *node;
    struct sq_key *key;
    pthread_mutex_t lock;
    struct bucket bucket[N_SET][N_WAY];
    struct {
        char address[64];
        uint32_t n;
    } source[N_SOURCE];
    size_t n_source;
    uint32_t n_elsewhere; /* refused from addresses that found no place in the list */
};

sq_err limits_new(struct sq_node *node, struct limits **out)
{
    struct limits *l = calloc(1, sizeof *l);
    if (!l)
        return sq_fail(SQ_ENOMEM);
    l->node = node;
    pthread_mutex_init(&l->lock, NULL);
    sq_err e = sq_key_new(&l->key);
    if (e)
        free(l);
    else
        *out = l;
    return e;
}

static uint64_t key_of(const struct limits *l, enum sq_rate rate, const void *who, size_t n)
{
    uint8_t text[1 + SQ_HTTP_TOKEN_MAX], hmac[SQ_SHA256_BYTES];
    sq_assert(n <= SQ_HTTP_TOKEN_MAX);
    text[0] = (uint8_t)rate;
    memcpy(text + 1, who, n);
    sq_err e = sq_hmac_sha256(l->key, text, 1 + n, hmac);
    sq_wipe(text, 1 + n);
    return e ? 1 : sq_get_be64(hmac) | 1;
}

unsigned limits_take(struct limits *l, enum sq_rate rate, const void *who, size_t n)
{
    uint64_t key = key_of(l, rate, who, n);
    int64_t now = sq_clock_steady_ms(), full = (int64_t)per_minute[rate] * 1000;
    unsigned wait_s = 0;
    pthread_mutex_lock(&l->lock);
    struct bucket *set = l->bucket[(key >> 1) % N_SET], *b = &set[0];
    for (unsigned i = 0; i < N_WAY; i++) {
        if (set[i].key == key) {
            b = &set[i];
            break;
        }
        if (set[i].last_ms < b->last_ms)
            b = &set[i];
    }
    if (b->key != key)
        *b = (struct bucket){.key = key, .last_ms = now, .level = full};
    int64_t gained = now - b->last_ms > 60000 ? full : (now - b->last_ms) * full / 60000;
    b->level = b->level + gained > full ? full : b->level + gained;
    b->last_ms = now;
    if (b->level >= 1000)
        b->level -= 1000;
    else
        wait_s = (unsigned)((1000 - b->level) * 60 / full) + 1;
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
static bool next_refused(struct limits *l, char address[64], uint32_t *n)
{
    pthread_mutex_lock(&l->lock);
    bool is_one = l->n_source || l->n_elsewhere;
    if (l->n_source) {
        l->n_source--;
        memcpy(address, l->source[l->n_source].address, 64);
        *n = l->source[l->n_source].n;
    } else {
        memcpy(address, "others", 7);
        *n = l->n_elsewhere;
        l->n_elsewhere = 0;
    }
    pthread_mutex_unlock(&l->lock);
    return is_one;
}

static void *report(void *arg)
{
    struct limits *l = arg;
    for (;;) {
        struct timespec t = {.tv_sec = REPORT_S};
        clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
        char address[64];
        uint32_t n;
        while (next_refused(l, address, &n)) {
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
