/*
 * What a sample's haplotypes copy, averaged over likely phasings. Which of a phasing's two haplotypes is which of the best one's is
 * settled from place to place, by the nearest heterozygote before, so both stay as sharp as the phasings agree: only near a doubtful order
 * do posteriors differ.
 */
#include "lib/engine/engine_internal.h"

#include <stdlib.h>
#include <string.h>

#define BEST 3U /* the best phasing counts for so many others */

static bool is_het(const struct sq_engine_typed *m, uint32_t t)
{
    return m->allele[t] <= 1 && m->allele[t + 1] <= 1 && m->allele[t] != m->allele[t + 1];
}

static bool is_swapped(const struct sq_engine_typed *m, unsigned p, uint32_t s)
{
    return m->swap && m->swap[s] >> (p - 1) & 1;
}

struct part part_around(const struct typed *y, struct part of, double cm)
{
    struct part out = of;
    while (out.first && y->cluster_cm[of.first] - y->cluster_cm[out.first - 1] < cm)
        out.first--;
    while (out.last + 1 < y->n_cluster && y->cluster_cm[out.last + 1] - y->cluster_cm[of.last] < cm)
        out.last++;
    return out;
}

/* The next two heterozygotes between which the order turns. */
static bool next_turn(struct doubt *d, uint32_t *out_left, uint32_t *out_right)
{
    for (; d->marker < d->w->n_typed; d->marker++) {
        if (!is_het(&d->w->typed[d->marker], d->t))
            continue;
        uint32_t before = d->before;
        d->before = d->marker;
        if (before == NOBODY || is_swapped(&d->w->typed[before], d->p, d->s) == is_swapped(&d->w->typed[d->marker], d->p, d->s))
            continue;
        *out_left = before;
        *out_right = d->marker++;
        return true;
    }
    return false;
}

bool doubt_next(struct doubt *d, double cm, struct part *out)
{
    const struct typed *y = d->y;
    struct doubt after;
    uint32_t left, right;
    if (!next_turn(d, &left, &right))
        return false;
    uint32_t first = y->cluster_of[left], last = y->cluster_of[right];
    for (after = *d; next_turn(&after, &left, &right) && y->cluster_cm[y->cluster_of[left]] - y->cluster_cm[last] < 2 * cm; *d = after)
        last = y->cluster_of[right];
    *out = part_around(y, (struct part){first, last}, cm);
    return true;
}

sq_err mean_init(struct mean *m, const struct typed *y)
{
    *m = (struct mean){.where = calloc(y->n_hap, sizeof *m->where), .is_other = malloc((size_t)y->n_cluster + 1)};
    return m->where && m->is_other ? SQ_OK : sq_fail(SQ_ENOMEM);
}

void mean_free(struct mean *m)
{
    free(m->where);
    free(m->is_other);
    free(m->hap);
    free(m->weight);
    *m = (struct mean){0};
}

static void find_order(struct mean *m, const struct typed *y, const struct sq_engine_window *w, unsigned p, uint32_t s, uint32_t t)
{
    bool has = false, now = false;
    for (uint32_t c = 0; c < y->n_cluster; c++) {
        for (uint32_t k = y->cluster_first[c]; k < y->cluster_first[c + 1]; k++)
            if (is_het(&w->typed[k], t)) {
                now = is_swapped(&w->typed[k], p, s);
                if (!has) /* what lies before the first goes with it */
                    memset(m->is_other, now, c);
                has = true;
                break;
            }
        m->is_other[c] = now;
    }
}

static sq_err need_room(struct mean *m, uint32_t n)
{
    if (n <= m->cap)
        return SQ_OK;
    uint32_t *hap = realloc(m->hap, (size_t)2 * n * sizeof *hap);
    if (hap)
        m->hap = hap;
    uint32_t *weight = realloc(m->weight, (size_t)2 * n * sizeof *weight);
    if (weight)
        m->weight = weight;
    if (!hap || !weight)
        return sq_fail(SQ_ENOMEM);
    m->cap = 2 * n;
    return SQ_OK;
}

/* Adds the weights of cluster @c, each @times. */
static uint32_t add_cluster(struct mean *m, const struct posterior *p, uint32_t c, uint32_t times, uint32_t n)
{
    for (uint32_t i = p->start[c]; i < p->start[c + 1]; i++) {
        uint32_t hap = p->hap[i], at = m->where[hap];
        if (at >= n || m->hap[at] != hap) {
            at = m->where[hap] = n++;
            m->hap[at] = hap;
            m->weight[at] = 0;
        }
        m->weight[at] += times * p->weight[i];
    }
    return n;
}

/* The cluster's @n weights, over @of phasings, behind what @out has. What rounding leaves goes to the heaviest. */
static uint32_t put_cluster(const struct mean *m, uint32_t n, uint32_t of, struct posterior *out, uint32_t at)
{
    uint32_t rest = n ? WEIGHT_FULL : 0, heaviest = at, first = at;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t weight = m->weight[i] / of;
        if (!weight)
            continue;
        out->hap[at] = m->hap[i];
        out->weight[at] = (uint16_t)weight;
        rest -= weight;
        if (weight > out->weight[heaviest])
            heaviest = at;
        at++;
    }
    if (at > first)
        out->weight[heaviest] = (uint16_t)(out->weight[heaviest] + rest);
    return at;
}

static sq_err mean_one(struct mean *m, const struct typed *y, unsigned p, struct posterior *best, const struct posterior *drawn, unsigned which)
{
    uint32_t all = best->start[y->n_cluster], at = 0;
    all += drawn[0].start[y->n_cluster] + drawn[1].start[y->n_cluster]; /* one of them in each cluster */
    struct posterior out = {.start = malloc(((size_t)y->n_cluster + 1) * sizeof *out.start), .hap = malloc(((size_t)all + 1) * sizeof *out.hap),
                            .weight = malloc(((size_t)all + 1) * sizeof *out.weight)};
    sq_err e = out.start && out.hap && out.weight ? SQ_OK : sq_fail(SQ_ENOMEM);
    for (uint32_t c = 0; c < y->n_cluster && !e; c++) {
        const struct posterior *other = &drawn[which != m->is_other[c]];
        out.start[c] = at;
        e = need_room(m, best->start[c + 1] - best->start[c] + other->start[c + 1] - other->start[c]);
        if (e)
            break;
        bool has_other = other->start[c + 1] > other->start[c];
        uint32_t n = add_cluster(m, best, c, has_other ? BEST + p - 1 : BEST + p, 0);
        n = add_cluster(m, other, c, 1, n);
        out.weight[at] = 0;
        at = put_cluster(m, n, BEST + p, &out, at);
    }
    if (e) {
        posterior_free(&out);
        return e;
    }
    out.start[y->n_cluster] = at;
    posterior_free(best);
    *best = out;
    return SQ_OK;
}

sq_err mean_take(struct mean *m, const struct typed *y, const struct sq_engine_window *w, unsigned p, uint32_t s, uint32_t t,
                 struct posterior *best, const struct posterior *drawn)
{
    find_order(m, y, w, p, s, t);
    sq_err e = mean_one(m, y, p, &best[0], drawn, 0);
    return e ? e : mean_one(m, y, p, &best[1], drawn, 1);
}
