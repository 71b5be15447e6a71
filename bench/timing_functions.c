/*
 * What checks a secret, timed with a guess that is nearly right and with one that isn't at all: does the time tell them apart? After dudect (Reparaz,
 * Balasch, Verbauwhede, "Dude, is my code constant time?", DATE 2017): the two kinds in random order, Welch's t of the times, with and without their
 * slowest shares; |t| above 4.5 is a leak. A comparison that stops at the first difference is measured too, which must be found. Run by bench/timing.
 */
#include "lib/identity/identity.h"
#include "lib/identity/totp.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define N_INPUT 4096   /* of each kind, so that single ones mean nothing */
#define INPUT_MAX 1024
#define ORIGIN "bench.example/log"
#define NOW 1800000000

enum { RANDOM, NEAR, N_KIND };

static struct {
    uint8_t secret[32], hash[32], owner[SQ_RECOVERY_OWNER_BYTES];
    struct sq_key *key, *signs, *other_signs;
    uint8_t public_key[SQ_ES256_PUBLIC_BYTES];
    char phc[SQ_PHC_MAX_BYTES];
    char recovery[SQ_RECOVERY_CODE_BYTES];
    volatile int sink;
} t;

static void must(sq_err e)
{
    if (!e)
        return;
    fprintf(stderr, "timing_functions: %s\n", sq_err_name(e));
    exit(2);
}

static uint8_t draw(void)
{
    static uint8_t kept[4096];
    static size_t at = sizeof kept;
    if (at == sizeof kept) {
        must(sq_random(kept, sizeof kept));
        at = 0;
    }
    return kept[at++];
}

static uint64_t ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
}

static uint64_t ticks(void)
{
#if defined(__x86_64__)
    unsigned lo, hi;
    __asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(lo), "=d"(hi)::"memory");
    return (uint64_t)hi << 32 | lo;
#else
    return ns();
#endif
}

/* ---- what is measured: make one input of a kind; check it ---- */

static void bytes_make(int kind, uint8_t *out)
{
    for (size_t i = 0; i < 32; i++)
        out[i] = draw();
    if (kind == NEAR)
        memcpy(out, t.secret, 31);
    out[kind == NEAR ? 31 : 0] = (uint8_t)~t.secret[kind == NEAR ? 31 : 0];
}

static void bytes_check(const uint8_t *in)
{
    for (int i = 0; i < 20; i++)
        t.sink += sq_equal_ct(in, t.secret, 32);
}

static void early_check(const uint8_t *in) /* as nobody may write it: the control */
{
    for (int n = 0; n < 20; n++) {
        const volatile uint8_t *p = in;
        size_t i = 0;
        while (i < 32 && p[i] == t.secret[i])
            i++;
        t.sink += i == 32;
    }
}

static void totp_make(int kind, uint8_t *out)
{
    char right[7] = "";
    uint64_t step;
    static char known[7];
    for (unsigned n = 0; !*known && n < 1000000; n++) {
        snprintf(right, sizeof right, "%06u", n);
        if (!sq_totp_check(t.secret, 20, NOW, 0, 0, right, &step))
            memcpy(known, right, 7);
    }
    for (int i = 0; i < 6; i++)
        out[i] = (uint8_t)('0' + (known[i] - '0' + 1 + draw() % 9) % 10); /* no digit is right */
    if (kind == NEAR)
        memcpy(out, known, 5);
    out[6] = 0;
}

static void totp_check(const uint8_t *in)
{
    uint64_t step;
    t.sink += (int)sq_totp_check(t.secret, 20, NOW, 0, 0, (const char *)in, &step);
}

static void recovery_make(int kind, uint8_t *out)
{
    char code[SQ_RECOVERY_CODE_BYTES];
    must(sq_recovery_make(code));
    if (kind == NEAR) {
        char last = code[28];
        memcpy(code, t.recovery, 28);
        code[28] = last == t.recovery[28] ? (last == 'a' ? 'b' : 'a') : last;
    }
    memcpy(out, code, sizeof code);
}

static void recovery_check(const uint8_t *in)
{
    uint8_t hash[32];
    t.sink += (int)sq_recovery_hash(t.key, t.owner, (const char *)in, hash);
    t.sink += sq_equal_ct(hash, t.hash, 32);
}

static void token_of(struct sq_key *key, uint8_t jti, uint8_t *out)
{
    struct sq_jwt_claims c = {.sub = {1, 2}, .jti = {jti}, .role = "user", .scope = "session", .epoch = 7, .issued_s = NOW, .expires_s = NOW + 3600};
    struct sq_buf b;
    sq_buf_init(&b, INPUT_MAX - 1);
    must(sq_jwt_make(key, ORIGIN, &c, &b));
    memcpy(out, b.p, b.n);
    out[b.n] = 0;
    sq_buf_done(&b);
}

/* ours, with another character near the end of the signature; or with a signature by somebody's own key in place of ours */
static void token_make(int kind, uint8_t *out)
{
    uint8_t other[INPUT_MAX], jti = draw();
    token_of(t.signs, jti, out);
    token_of(t.other_signs, jti, other);
    char *at = strrchr((char *)out, '.') + 1, *theirs = strrchr((char *)other, '.') + 1;
    if (kind == RANDOM)
        memcpy(at, theirs, strlen(at));
    else
        at[strlen(at) - 5] = at[strlen(at) - 5] == 'A' ? 'B' : 'A';
}

static void token_check(const uint8_t *in)
{
    struct sq_jwt_claims claims;
    t.sink += (int)sq_jwt_verify(t.public_key, ORIGIN, sq_span_str((const char *)in), NOW, &claims);
}

static void password_make(int kind, uint8_t *out)
{
    for (int i = 0; i < 24; i++)
        out[i] = (uint8_t)('a' + draw() % 26);
    if (kind == NEAR)
        memcpy(out, "correct-Horse-battery-4", 23);
    out[24] = 0;
}

static void password_check(const uint8_t *in)
{
    t.sink += (int)sq_password_check(in, 24, t.phc);
}

/* ---- Welch's t ---- */

struct sample {
    double took;
    int kind;
};

static int by_time(const void *a_, const void *b_)
{
    const struct sample *a = a_, *b = b_;
    return (a->took > b->took) - (a->took < b->took);
}

static double welch(const struct sample *s, size_t n, double mean[N_KIND])
{
    double count[N_KIND] = {0}, sum[N_KIND] = {0}, square[N_KIND] = {0};
    for (size_t i = 0; i < n; i++) {
        count[s[i].kind]++;
        sum[s[i].kind] += s[i].took;
    }
    for (int k = 0; k < N_KIND; k++)
        mean[k] = sum[k] / count[k];
    for (size_t i = 0; i < n; i++)
        square[s[i].kind] += (s[i].took - mean[s[i].kind]) * (s[i].took - mean[s[i].kind]);
    double error = square[0] / (count[0] - 1) / count[0] + square[1] / (count[1] - 1) / count[1];
    return error > 0 ? (mean[NEAR] - mean[RANDOM]) / sqrt(error) : 0;
}

static const double kept[] = {1, .99, .95, .9, .75, .5};

static double measure(const char *what, size_t n, void (*make)(int, uint8_t *), void (*check)(const uint8_t *))
{
    static uint8_t in[INPUT_MAX], pool[N_KIND][N_INPUT][INPUT_MAX];
    struct sample *s = calloc(n, sizeof *s);
    if (!s)
        must(SQ_ENOMEM);
    for (int i = 0; i < N_INPUT; i++)
        for (int k = 0; k < N_KIND; k++)
            make(k, pool[k][i]);
    uint64_t begun_ns = ns(), begun = ticks();
    for (size_t i = 0; i < n; i++) {
        s[i].kind = draw() & 1;
        memcpy(in, pool[s[i].kind][(draw() << 8 | draw()) % N_INPUT], sizeof in); /* all in one place, so that caches say nothing */
        for (size_t b = 0; b < sizeof in; b++)
            t.sink += in[b]; /* and all that was written has arrived there */
        uint64_t from = ticks();
        check(in);
        s[i].took = (double)(ticks() - from);
    }
    double ns_tick = (double)(ns() - begun_ns) / (double)(ticks() - begun), mean[N_KIND], at[N_KIND] = {0}, worst = 0;
    qsort(s, n, sizeof *s, by_time);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        double score = welch(s, (size_t)((double)n * kept[i]), mean);
        if (fabs(score) > fabs(worst) || !i)
            worst = score;
        if (kept[i] == .9)
            memcpy(at, mean, sizeof at);
    }
    printf("| %s | %zu | %.1f | %.1f | %+.2f | %s |\n", what, n, at[NEAR] * ns_tick, at[RANDOM] * ns_tick, worst, fabs(worst) < 4.5 ? "no" : "yes");
    fflush(stdout);
    free(s);
    return fabs(worst);
}

int main(int argc, char **argv)
{
    size_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 200000;
    must(sq_crypt_start());
    must(sq_identity_start());
    must(sq_random(t.secret, sizeof t.secret));
    must(sq_random(t.owner, sizeof t.owner));
    must(sq_key_new(&t.key));
    must(sq_es256_new(&t.signs));
    must(sq_es256_public(t.signs, t.public_key));
    must(sq_es256_new(&t.other_signs));
    must(sq_recovery_make(t.recovery));
    must(sq_recovery_hash(t.key, t.owner, t.recovery, t.hash));
    must(sq_password_hash("correct-Horse-battery-42", 24, 1024, 1, t.phc));
    puts("| | tries | nearly right, ns | not at all, ns | t | told apart |\n|---|---|---|---|---|---|");
    bool is_found = measure("control: a comparison that stops early, 20 times", n, bytes_make, early_check) > 4.5;
    double worst = measure("`sq_equal_ct()`, 32 bytes, 20 times", n, bytes_make, bytes_check);
    worst = fmax(worst, measure("code of an authenticator", n, totp_make, totp_check));
    worst = fmax(worst, measure("recovery code: hash and comparison", n, recovery_make, recovery_check));
    worst = fmax(worst, measure("token: ours with a changed signature, somebody else's", n / 4, token_make, token_check));
    worst = fmax(worst, measure("password (Argon2id of 1 MiB)", n / 40, password_make, password_check));
    if (!is_found)
        puts("\nthe control was not found: this run says nothing");
    return !is_found || worst >= 4.5;
}
