/* Numbers of lanes, samples and cycles; how often which unknown barcodes were seen. */
#include "lib/demux/demux_internal.h"

#include <stdlib.h>

struct counts_shape counts_shape_of(const struct sq_demux_plan *p, uint32_t lane)
{
    struct counts_shape s = {.n_row = p->lane[lane].n_row + 1, .n_kind = p->n_kind, .n_cycle = p->n_cycle};
    s.rows = COUNT_OF_LANE;
    s.kinds = s.rows + (size_t)s.n_row * COUNT_OF_ROW;
    s.cycles = s.kinds + (size_t)s.n_row * s.n_kind * COUNT_OF_KIND;
    s.n = s.cycles + (size_t)s.n_cycle * COUNT_OF_CYCLE;
    return s;
}

sq_err totals_new(const struct sq_demux_plan *p, struct demux_totals *out)
{
    *out = (struct demux_totals){0};
    out->lane = calloc((size_t)p->n_lane + 1, sizeof *out->lane);
    if (!out->lane)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < p->n_lane; i++)
        if (!(out->lane[i] = calloc(counts_shape_of(p, i).n, sizeof **out->lane)))
            return sq_fail(SQ_ENOMEM);
    return SQ_OK;
}

void totals_done(const struct sq_demux_plan *p, struct demux_totals *t)
{
    for (uint32_t i = 0; t->lane && i < p->n_lane; i++)
        free(t->lane[i]);
    free(t->lane);
    tally_done(&t->tally);
    *t = (struct demux_totals){0};
}

/* ---- how often ---- */

static uint64_t hash_of(const struct tally_key *k)
{
    uint64_t h = (uint64_t)k->lane << 32 | k->what;
    for (int i = 0; i < 4; i++) {
        h ^= k->w[i];
        h *= 0xd6e8feb86659fd93ULL;
        h ^= h >> 32;
    }
    return h;
}

static bool key_same(const struct tally_key *a, const struct tally_key *b)
{
    return a->lane == b->lane && a->what == b->what && !memcmp(a->w, b->w, sizeof a->w);
}

static struct tally_entry *slot_of(struct tally_entry *slot, uint64_t mask, const struct tally_key *key)
{
    uint64_t at = hash_of(key) & mask;
    while (slot[at].n && !key_same(&slot[at].key, key))
        at = (at + 1) & mask;
    return &slot[at];
}

static sq_err rebuild(struct tally *t, uint64_t mask, uint64_t least)
{
    struct tally_entry *slot = calloc(mask + 1, sizeof *slot);
    if (!slot)
        return sq_fail(SQ_ENOMEM);
    t->n_used = 0;
    for (uint64_t i = 0; t->slot && i <= t->mask; i++)
        if (t->slot[i].n >= least && t->slot[i].n) {
            *slot_of(slot, mask, &t->slot[i].key) = t->slot[i];
            t->n_used++;
        }
    free(t->slot);
    t->slot = slot;
    t->mask = mask;
    return SQ_OK;
}

sq_err tally_add(struct tally *t, const struct tally_key *key, uint64_t n)
{
    if (!n)
        return SQ_OK;
    if (!t->slot || 2 * (t->n_used + 1) > t->mask) {
        sq_err e = rebuild(t, t->slot ? 2 * t->mask + 1 : 1023, 0);
        if (e)
            return e;
    }
    struct tally_entry *s = slot_of(t->slot, t->mask, key);
    if (!s->n) {
        s->key = *key;
        t->n_used++;
    }
    s->n += n;
    return SQ_OK;
}

sq_err tally_thin(struct tally *t)
{
    if (t->n_used < TALLY_MOST)
        return SQ_OK;
    t->is_thinned = true;
    for (uint64_t least = 2; t->n_used > TALLY_MOST / 2; least *= 2) {
        sq_err e = rebuild(t, t->mask, least);
        if (e)
            return e;
    }
    return SQ_OK;
}

void tally_done(struct tally *t)
{
    free(t->slot);
    *t = (struct tally){0};
}

static int by_count(const void *a, const void *b)
{
    const struct tally_entry *x = a, *y = b;
    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    for (int i = 0; i < 4; i++)
        if (x->key.w[i] != y->key.w[i])
            return x->key.w[i] < y->key.w[i] ? -1 : 1;
    return 0;
}

/* Into @top, a heap of @n at most @most with the rarest in front, if it is more frequent than that. Returns how many there are now. */
static uint32_t heap_add(struct tally_entry *top, uint32_t n, uint32_t most, const struct tally_entry *one)
{
    uint32_t at = n;
    if (n < most) {
        for (; at && by_count(&top[(at - 1) / 2], one) < 0; at = (at - 1) / 2)
            top[at] = top[(at - 1) / 2];
        top[at] = *one;
        return n + 1;
    }
    if (!most || by_count(one, &top[0]) >= 0)
        return n;
    for (at = 0; 2 * at + 1 < n;) {
        uint32_t down = 2 * at + 1;
        down += down + 1 < n && by_count(&top[down + 1], &top[down]) > 0;
        if (by_count(&top[down], one) <= 0)
            break;
        top[at] = top[down];
        at = down;
    }
    top[at] = *one;
    return n;
}

sq_err tally_top(const struct tally *t, uint32_t lane, uint32_t what, uint32_t most, struct tally_entry **out, uint32_t *out_n)
{
    uint64_t n = 0;
    for (uint64_t i = 0; t->slot && i <= t->mask && n < most; i++)
        n += t->slot[i].n && t->slot[i].key.lane == lane && t->slot[i].key.what == what;
    struct tally_entry *top = calloc(n + 1, sizeof *top);
    if (!top)
        return sq_fail(SQ_ENOMEM);
    uint32_t k = 0;
    for (uint64_t i = 0; t->slot && i <= t->mask; i++)
        if (t->slot[i].n && t->slot[i].key.lane == lane && t->slot[i].key.what == what)
            k = heap_add(top, k, (uint32_t)n, &t->slot[i]);
    qsort(top, k, sizeof *top, by_count);
    *out = top;
    *out_n = k;
    return SQ_OK;
}
