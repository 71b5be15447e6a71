/*
 * The haplotypes among which a sample looks for its own: the panel's, and those of the other samples as they are best guessed at
 * present. Both lie in one positional Burrows-Wheeler order. Every guess of every target keeps its rank in it by counting, as in sweep.c; the best
 * ones are in it too.
 */
#include "lib/engine/phase_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void phase_pool_free(struct pool *p)
{
    free(p->first_target);
    free(p->sample_of);
    free(p->target);
    free(p->next);
    free(p->alt);
    free(p->het);
    free(p->missing);
    free(p->sure);
    free(p->by_marker);
    *p = (struct pool){0};
}

static void take_genotypes(struct pool *p)
{
    size_t words = p->y->marker_words;
    for (uint32_t m = 0; m < p->w->n_typed; m++)
        for (uint32_t s = 0; s < p->n_sample; s++) {
            uint32_t t = p->first_target[s], n = p->first_target[s + 1] - t;
            const uint8_t *allele = p->w->typed[m].allele + t;
            uint8_t a = allele[0], b = allele[n - 1];
            uint64_t *kind = a > 1 || b > 1 ? p->missing : a != b ? p->het : p->alt;
            phase_set(kind + s * words, m, kind != p->alt || a);
            for (uint32_t g = 0; g < N_GUESS; g++)
                for (uint32_t i = 0; i < n; i++)
                    phase_set(pool_guess(p, p->target, g, t + i), m, allele[i] == 1);
        }
}

sq_err pool_build(struct pool *p, const struct typed *y, const struct sq_phase_window *w)
{
    size_t words = y->marker_words, n_guess = (size_t)N_GUESS * w->n_hap;
    *p = (struct pool){.y = y, .w = w, .n_guess = N_GUESS, .n_sample = w->n_sample, .n_target = w->n_hap, .base = (uint32_t)(y->hap_words * 64)};
    p->target_words = (n_guess + 63) / 64;
    p->first_target = malloc(((size_t)p->n_sample + 1) * sizeof *p->first_target);
    p->sample_of = malloc(((size_t)p->n_target + 1) * sizeof *p->sample_of);
    p->target = calloc(n_guess * words + 1, sizeof *p->target);
    p->next = malloc((n_guess * words + 1) * sizeof *p->next);
    p->alt = calloc(p->n_sample * words + 1, sizeof *p->alt);
    p->het = calloc(p->n_sample * words + 1, sizeof *p->het);
    p->missing = calloc(p->n_sample * words + 1, sizeof *p->missing);
    p->sure = calloc(p->n_sample * words + 1, sizeof *p->sure);
    p->by_marker = malloc((y->n_marker * p->target_words + 1) * sizeof *p->by_marker);
    if (!p->first_target || !p->sample_of || !p->target || !p->next || !p->alt || !p->het || !p->missing || !p->sure || !p->by_marker)
        return sq_fail(SQ_ENOMEM);
    uint32_t t = 0;
    for (uint32_t s = 0; s < p->n_sample; s++) {
        p->first_target[s] = t;
        for (unsigned i = 0; i < (w->is_haploid[s] ? 1U : 2U) && t < p->n_target; i++)
            p->sample_of[t++] = s;
    }
    p->first_target[p->n_sample] = t;
    take_genotypes(p);
    return SQ_OK;
}

/* by_marker from target. */
static void turn(struct pool *p)
{
    size_t words = p->y->marker_words, n = (size_t)p->n_guess * p->n_target;
    for (size_t g = 0; g < (n + 63) / 64; g++)
        for (size_t w = 0; w < words; w++) {
            uint64_t tile[64];
            for (size_t i = 0; i < 64; i++)
                tile[i] = g * 64 + i < n ? p->target[(g * 64 + i) * words + w] : 0;
            sq_kernels()->transpose(tile);
            for (size_t j = 0; j < 64 && w * 64 + j < p->y->n_marker; j++)
                p->by_marker[(w * 64 + j) * p->target_words + g] = tile[j];
        }
}

void pool_end_round(struct pool *p)
{
    uint64_t *old = p->target;
    p->target = p->next;
    p->next = old;
    turn(p);
}

/* ---- the order ------------------------------------------------------------------------------------------------------ */

/* Numbers are short where they all are. */
struct order {
    void *now, *other;
    bool is_short;
    uint32_t n;            /* haplotypes in it */
    uint64_t *bits;        /* [words of all numbers] of the present marker */
    uint64_t *in_order;
    uint32_t *ones_before;
    uint32_t *rank;        /* [N_GUESS * n_target] */
    size_t words;          /* of in_order */
};

static void order_free(struct order *o)
{
    free(o->now);
    free(o->other);
    free(o->bits);
    free(o->in_order);
    free(o->ones_before);
    free(o->rank);
}

static sq_err order_init(struct order *o, const struct pool *p)
{
    const struct typed *y = p->y;
    *o = (struct order){.is_short = p->base + p->n_target <= 65536, .n = y->n_hap + p->n_target};
    size_t n = sq_kernel_pad(o->n) + SQ_KERNEL_ROOM;
    o->words = sq_kernel_words(o->n);
    o->now = malloc(n * sizeof(uint32_t));
    o->other = malloc(n * sizeof(uint32_t));
    o->bits = calloc(y->hap_words + p->target_words + 1, sizeof *o->bits);
    o->in_order = calloc(o->words + 1, sizeof *o->in_order);
    o->ones_before = malloc((o->words + 1) * sizeof *o->ones_before);
    o->rank = malloc(((size_t)p->n_target * N_GUESS + 1) * sizeof *o->rank);
    if (!o->now || !o->other || !o->bits || !o->in_order || !o->ones_before || !o->rank)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < o->n; i++) {
        uint32_t hap = i < y->n_hap ? i : p->base + i - y->n_hap;
        if (o->is_short)
            ((uint16_t *)o->now)[i] = (uint16_t)hap;
        else
            ((uint32_t *)o->now)[i] = hap;
    }
    for (uint32_t t = 0; t < p->n_target * N_GUESS; t++)
        o->rank[t] = y->n_hap + t % p->n_target;
    return SQ_OK;
}

static uint32_t hap_at(const struct order *o, uint32_t i)
{
    return o->is_short ? ((const uint16_t *)o->now)[i] : ((const uint32_t *)o->now)[i];
}

/* Order and ranks move on by marker @m. */
static void order_step(struct order *o, const struct pool *p, uint32_t m)
{
    const struct typed *y = p->y;
    memcpy(o->bits, y->by_marker + m * y->hap_words, y->hap_words * sizeof *o->bits);
    memcpy(o->bits + y->hap_words, p->by_marker + m * p->target_words, p->target_words * sizeof *o->bits);
    uint32_t n_zero = o->is_short ? sq_kernels()->partition16(o->now, o->n, o->bits, o->other, o->in_order)
                                  : sq_kernels()->partition(o->now, o->n, o->bits, o->other, o->in_order);
    void *swap = o->now;
    o->now = o->other;
    o->other = swap;
    sq_kernels()->move_ranks(o->rank, p->n_target * p->n_guess, p->by_marker + m * p->target_words, o->in_order, o->words, n_zero, o->ones_before);
}

/* ---- neighbours ------------------------------------------------------------------------------------------------------ */

struct sweep {
    struct neighbours *n;
    const struct pool *p;
    uint32_t first, count;
    atomic_uint next; /* way */
};

/* Up to n_each haplotypes on one side that aren't the sample's own, nearest first. The rank of a guess that isn't in the order is that of the
 * haplotype it would push down. */
static void note_side(const struct sweep *s, const struct order *o, uint32_t guess, int step, uint32_t *out)
{
    const struct pool *p = s->p;
    uint32_t n = 0, sample = p->sample_of[guess % p->n_target];
    for (int64_t i = (int64_t)o->rank[guess] - (step < 0); n < s->n->n_each && i >= 0 && i < o->n; i += step) {
        uint32_t hap = hap_at(o, (uint32_t)i);
        if (hap < p->base || p->sample_of[hap - p->base] != sample)
            out[n++] = hap;
    }
    for (; n < s->n->n_each; n++)
        out[n] = NOBODY;
}

static sq_err sweep_way(const struct sweep *s, unsigned way)
{
    const struct pool *p = s->p;
    const struct neighbours *n = s->n;
    struct order o;
    sq_err e = order_init(&o, p);
    uint32_t place = way ? n->n_place - 1 : 0;
    for (uint32_t i = 0; i < p->y->n_marker && !e; i++) {
        uint32_t m = way ? p->y->n_marker - 1 - i : i;
        order_step(&o, p, m);
        if (place >= n->n_place || m != n->place[place])
            continue;
        uint32_t *out = n->of + ((size_t)way * n->n_place + place) * n->n_target * 2 * n->n_each;
        for (uint32_t t = 0; t < s->count * p->n_guess; t++, out += 2 * n->n_each) {
            uint32_t guess = s->first + t / p->n_guess + t % p->n_guess * p->n_target;
            note_side(s, &o, guess, -1, out);
            note_side(s, &o, guess, 1, out + n->n_each);
        }
        place = way ? place - 1 : place + 1; /* below 0 it is out of range, and so done */
    }
    order_free(&o);
    return e;
}

static sq_err sweep_main(void *ctx, unsigned thread)
{
    struct sweep *s = ctx;
    sq_err e = SQ_OK;
    for (unsigned way; !e && (way = atomic_fetch_add(&s->next, 1)) < 2;)
        e = sweep_way(s, way);
    return e;
}

sq_err pool_neighbours(struct neighbours *n, const struct pool *p, uint32_t first, uint32_t count, struct crew *crew,
                       unsigned n_thread)
{
    struct sweep s = {.n = n, .p = p, .first = first, .count = count};
    n->first_target = first;
    return crew_run(crew, n_thread < 2 ? n_thread : 2, sweep_main, &s);
}

/* ---- the first guess -------------------------------------------------------------------------------------------------- */

#define N_VOTER 4U
#define LEAST_VOTE 0.02 /* cM */
#define VOTE_ODDS 2.0   /* of drawn guesses: logarithm of the odds for each cM of difference */

/* cM for which @hap agrees with @own before marker @m. */
static double match_before(const struct pool *p, uint32_t hap, const uint64_t *own, uint32_t m)
{
    const uint64_t *bits = pool_hap(p, hap);
    if (!m)
        return 0;
    size_t w = (m - 1) / 64;
    uint64_t d = (bits[w] ^ own[w]) & ~UINT64_C(0) >> (63 - (m - 1) % 64);
    while (!d && w > 0) {
        w--;
        d = bits[w] ^ own[w];
    }
    uint32_t from = d ? (uint32_t)(w * 64) + 64 - (uint32_t)__builtin_clzll(d) : 0;
    return from >= m ? 0 : p->y->cm[m - 1] - p->y->cm[from];
}

/* Positive: ALT. The nearest of the panel on both sides, each by the length of its match. */
static double vote(const struct pool *p, const struct order *o, uint32_t guess, uint32_t m)
{
    const uint64_t *alleles = p->y->by_marker + m * p->y->hap_words, *own = p->target + guess * p->y->marker_words;
    uint32_t voter[2 * N_VOTER], n = 0;
    for (int step = -1; step <= 1; step += 2) {
        uint32_t end = step < 0 ? N_VOTER : n + N_VOTER;
        for (int64_t i = (int64_t)o->rank[guess] - (step < 0); n < end && i >= 0 && i < o->n; i += step) {
            uint32_t hap = hap_at(o, (uint32_t)i);
            if (hap >= p->base)
                continue;
            __builtin_prefetch(pool_hap(p, hap) + m / 64); /* haplotypes lie far apart in memory */
            voter[n++] = hap;
        }
    }
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) {
        double weight = LEAST_VOTE + match_before(p, voter[i], own, m);
        sum += phase_bit(alleles, voter[i]) ? weight : -weight;
    }
    return sum;
}

/* What isn't known of sample @s at marker @m. Guesses but the best are drawn. Where an order is given it stays. */
static void guess_at(struct pool *p, const struct order *o, uint32_t s, uint32_t m, uint32_t g, uint64_t key)
{
    size_t words = p->y->marker_words;
    bool is_het = phase_bit(p->het + s * words, m), is_missing = phase_bit(p->missing + s * words, m);
    const uint8_t *set = p->w->typed[m].set;
    if ((!is_het && !is_missing) || (is_het && set && set[s]))
        return;
    uint32_t t = p->first_target[s] + g * p->n_target, n = p->first_target[s + 1] - p->first_target[s];
    bool is_alt[2];
    double v[2] = {0};
    for (uint32_t i = 0; i < n; i++) {
        v[i] = vote(p, o, t + i, m);
        is_alt[i] = v[i] > 0;
    }
    if (is_het) {
        double x = phase_roll(key + t, m);
        is_alt[0] = g ? log((x + 1e-9) / (1 - x)) < (v[0] - v[1]) * VOTE_ODDS : v[0] > v[1];
        is_alt[1] = !is_alt[0];
    }
    for (uint32_t i = 0; i < n; i++) {
        phase_set(p->target + (t + i) * words, m, is_alt[i]);
        phase_set(p->by_marker + m * p->target_words, t + i, is_alt[i]);
    }
}

sq_err pool_start(struct pool *p, uint64_t key)
{
    struct order o;
    sq_err e = order_init(&o, p);
    if (!e)
        turn(p);
    for (uint32_t m = 0; m < p->y->n_marker && !e; m++) {
        for (uint32_t s = 0; s < p->n_sample; s++)
            for (uint32_t g = 0; g < N_GUESS; g++)
                guess_at(p, &o, s, m, g, key);
        order_step(&o, p, m);
    }
    order_free(&o);
    return e;
}
