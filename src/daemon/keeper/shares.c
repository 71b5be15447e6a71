/*
 * Unsealing by several people: the key that locks the slab in n shares, of which any k are needed. A share is a line
 *
 *     sqs1-<hex of: set(16) | threshold(1) | number(1) | 32 bytes | check(4)>
 *
 * check: first bytes of SHA-256 over what stands before it, so that a typing mistake is named and not counted as a share.
 * Shares that were given wait in locked memory, an hour at most.
 */
#include "daemon/keeper/keeper.h"

#include "lib/core/clock.h"

#define PREFIX "sqs1-"
#define SET_BYTES 16
#define BODY_BYTES (SET_BYTES + 2 + SQ_KEY_BYTES)
#define CHECK_BYTES 4
#define ALL_BYTES (BODY_BYTES + CHECK_BYTES)
#define WAIT_MS (3600 * 1000)

_Static_assert(KEEPER_SHARE_TEXT_BYTES == sizeof PREFIX - 1 + 2 * ALL_BYTES + 1, "a share is a line of this length");

static sq_err put_check(uint8_t *bytes)
{
    uint8_t sum[SQ_SHA256_BYTES];
    sq_err err = sq_sha256_of(bytes, BODY_BYTES, sum);
    memcpy(bytes + BODY_BYTES, sum, CHECK_BYTES);
    return err;
}

sq_err keeper_shares_write(const struct sq_key *kek, const struct sq_slab_lock *lock, char *out)
{
    uint8_t *shares, *all;
    const size_t n_shares = (size_t)SQ_SPLIT_MAX_SHARES * SQ_KEY_BYTES;
    sq_err err = sq_secret_new(n_shares + ALL_BYTES, &shares);
    if (err)
        return err;
    all = shares + n_shares;
    err = sq_key_split(kek, lock->n_share, lock->threshold, shares);
    for (unsigned i = 0; i < lock->n_share && !err; i++) {
        char *line = out + (size_t)i * KEEPER_SHARE_TEXT_BYTES;
        memcpy(all, lock->salt, SET_BYTES);
        all[SET_BYTES] = lock->threshold;
        all[SET_BYTES + 1] = (uint8_t)(i + 1);
        memcpy(all + SET_BYTES + 2, shares + (size_t)i * SQ_KEY_BYTES, SQ_KEY_BYTES);
        err = put_check(all);
        memcpy(line, PREFIX, sizeof PREFIX - 1);
        sq_hex(all, ALL_BYTES, line + sizeof PREFIX - 1);
        line[KEEPER_SHARE_TEXT_BYTES - 1] = '\n';
    }
    sq_secret_free(shares, n_shares + ALL_BYTES);
    return err;
}

static void forget(struct keeper_shares *s)
{
    if (s->bytes)
        sq_wipe(s->bytes, (size_t)SQ_SPLIT_MAX_SHARES * SQ_KEY_BYTES);
    s->n = 0;
}

unsigned keeper_shares_given(struct keeper *k)
{
    pthread_mutex_lock(&k->backoff.lock);
    if (sq_clock_steady_ms() - k->shares.since_ms > WAIT_MS)
        forget(&k->shares);
    unsigned n = k->shares.n;
    pthread_mutex_unlock(&k->backoff.lock);
    return n;
}

static sq_err read_share(struct sq_span text, const struct sq_slab_lock *lock, uint8_t all[ALL_BYTES])
{
    uint8_t given[CHECK_BYTES];
    if (text.n != KEEPER_SHARE_TEXT_BYTES - 1 || memcmp(text.p, PREFIX, sizeof PREFIX - 1) ||
        sq_hex_decode((const char *)text.p + sizeof PREFIX - 1, 2 * (size_t)ALL_BYTES, all, ALL_BYTES))
        return sq_fail(SQ_ESHARE);
    memcpy(given, all + BODY_BYTES, CHECK_BYTES);
    sq_err err = put_check(all);
    if (!err && (!sq_equal_ct(given, all + BODY_BYTES, CHECK_BYTES) || memcmp(all, lock->salt, SET_BYTES) || !all[SET_BYTES + 1] || all[SET_BYTES + 1] > lock->n_share))
        err = sq_fail(SQ_ESHARE);
    return err;
}

/* The lock of backoff is held. SQ_OK also when more are needed: keeper_shares_given() tells. */
sq_err keeper_try_share(struct keeper *k, struct sq_span text)
{
    struct keeper_shares *s = &k->shares;
    struct sq_slab_lock lock;
    struct sq_key *kek = NULL;
    uint8_t *all;
    sq_slab_lock_of(k->slab, &lock);
    sq_err err = sq_secret_new(ALL_BYTES, &all);
    if (!err && !s->bytes)
        err = sq_secret_new((size_t)SQ_SPLIT_MAX_SHARES * SQ_KEY_BYTES, &s->bytes);
    if (err)
        return err;
    if (sq_clock_steady_ms() - s->since_ms > WAIT_MS)
        forget(s);
    err = read_share(text, &lock, all);
    for (unsigned i = 0; i < s->n && !err; i++)
        if (s->number[i] == all[SET_BYTES + 1])
            err = sq_fail(SQ_EEXISTS);
    if (!err) {
        if (!s->n)
            s->since_ms = sq_clock_steady_ms();
        s->number[s->n] = all[SET_BYTES + 1];
        memcpy(s->bytes + (size_t)s->n++ * SQ_KEY_BYTES, all + SET_BYTES + 2, SQ_KEY_BYTES);
    }
    sq_secret_free(all, ALL_BYTES);
    if (err || s->n < lock.threshold)
        return err;
    err = sq_key_join(s->number, s->bytes, s->n, &kek);
    if (!err)
        err = sq_slab_unseal(k->slab, kek);
    sq_key_free(kek);
    forget(s);
    return err;
}
