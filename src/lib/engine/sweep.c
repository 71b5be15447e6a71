/*
 * The positional Burrows-Wheeler transform of the panel's typed sites (algorithm 1 of Durbin 2014), swept once each way. The
 * targets aren't in the order: each keeps its rank in it, moved on by counting the bits before it, as in algorithm 5 without divergences:
 * how long a match is, states.c reads from the haplotypes themselves, and only for those it looks at.
 */
#include "lib/engine/engine_internal.h"

#include <stdlib.h>
#include <string.h>

struct sweep {
    struct neighbours *n;
    const struct typed *y;
    uint32_t first, count;
    atomic_uint next; /* way */
};

/* One way's scratch. Haplotype numbers are short where they all are. */
struct way {
    void *order, *other;
    bool is_short;
    uint64_t *in_order;     /* [hap_words] */
    uint32_t *ones_before;  /* [hap_words + 1] */
    uint32_t *rank;         /* [count] */
    uint64_t *own;          /* [words of count] the targets' alleles */
};

sq_err neighbours_init(struct neighbours *n, const struct typed *y, double step_cm, uint32_t n_each, uint32_t n_target)
{
    *n = (struct neighbours){.n_target = n_target, .n_each = n_each};
    n->place = malloc(((size_t)y->n_marker + 1) * sizeof *n->place);
    if (!n->place)
        return sq_fail(SQ_ENOMEM);
    double next = y->n_marker ? y->cm[0] : 0;
    for (uint32_t m = 0; m < y->n_marker; m++)
        if (y->cm[m] >= next || m + 1 == y->n_marker) {
            n->place[n->n_place++] = m;
            next = y->cm[m] + step_cm;
        }
    n->of = malloc(((size_t)2 * n->n_place * n_target * 2 * n_each + 1) * sizeof *n->of);
    return n->of ? SQ_OK : sq_fail(SQ_ENOMEM);
}

void neighbours_free(struct neighbours *n)
{
    free(n->place);
    free(n->of);
    *n = (struct neighbours){0};
}

static void way_free(struct way *v)
{
    free(v->order);
    free(v->other);
    free(v->in_order);
    free(v->ones_before);
    free(v->rank);
    free(v->own);
}

static sq_err way_init(struct way *v, const struct typed *y, uint32_t count)
{
    size_t n = sq_kernel_pad(y->n_hap) + SQ_KERNEL_ROOM;
    *v = (struct way){.is_short = y->n_hap <= 65536};
    v->order = malloc(n * sizeof(uint32_t));
    v->other = malloc(n * sizeof(uint32_t));
    v->in_order = calloc(y->hap_words + 1, sizeof *v->in_order);
    v->ones_before = malloc((y->hap_words + 1) * sizeof *v->ones_before);
    v->rank = calloc(count, sizeof *v->rank);
    v->own = malloc((sq_kernel_words(count) + 1) * sizeof *v->own);
    if (!v->order || !v->other || !v->in_order || !v->ones_before || !v->rank || !v->own)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t h = 0; h < y->n_hap; h++)
        if (v->is_short)
            ((uint16_t *)v->order)[h] = (uint16_t)h;
        else
            ((uint32_t *)v->order)[h] = h;
    return SQ_OK;
}

static bool bit_at(const uint64_t *bits, size_t i)
{
    return bits[i / 64] >> (i % 64) & 1;
}

/* Marker @m: order and ranks move on. A missing allele is taken to be that of the haplotype above. */
static void way_step(struct way *v, const struct typed *y, uint32_t m, uint32_t first, uint32_t count)
{
    const uint64_t *bits = y->by_marker + m * y->hap_words;
    uint32_t n_zero = v->is_short ? sq_kernels()->partition16(v->order, y->n_hap, bits, v->other, v->in_order)
                                  : sq_kernels()->partition(v->order, y->n_hap, bits, v->other, v->in_order);
    void *swap = v->order;
    v->order = v->other;
    v->other = swap;
    memset(v->own, 0, sq_kernel_words(count) * sizeof *v->own);
    for (uint32_t t = 0; t < count; t++) {
        size_t row = (size_t)(first + t) * y->marker_words;
        uint32_t above = v->rank[t] ? v->rank[t] - 1 : 0;
        bool is_alt = bit_at(y->missing + row, m) ? bit_at(v->in_order, above) : bit_at(y->target + row, m);
        v->own[t / 64] |= (uint64_t)is_alt << (t % 64);
    }
    sq_kernels()->move_ranks(v->rank, count, v->own, v->in_order, y->hap_words, n_zero, v->ones_before);
}

static uint32_t hap_at(const struct way *v, uint32_t i)
{
    return v->is_short ? ((const uint16_t *)v->order)[i] : ((const uint32_t *)v->order)[i];
}

static void note_place(const struct sweep *s, const struct way *v, unsigned way, uint32_t place)
{
    const struct neighbours *n = s->n;
    uint32_t *out = n->of + ((size_t)way * n->n_place + place) * n->n_target * 2 * n->n_each;
    for (uint32_t t = 0; t < s->count; t++, out += 2 * n->n_each) {
        uint32_t r = v->rank[t];
        for (uint32_t i = 0; i < n->n_each; i++) {
            out[i] = i < r ? hap_at(v, r - 1 - i) : NOBODY;
            out[n->n_each + i] = i < s->y->n_hap - r ? hap_at(v, r + i) : NOBODY;
        }
    }
}

static sq_err sweep_way(const struct sweep *s, unsigned way)
{
    const struct typed *y = s->y;
    struct way v;
    sq_err e = way_init(&v, y, s->count);
    uint32_t place = way ? s->n->n_place - 1 : 0;
    for (uint32_t i = 0; i < y->n_marker && !e; i++) {
        uint32_t m = way ? y->n_marker - 1 - i : i;
        way_step(&v, y, m, s->first, s->count);
        if (place < s->n->n_place && m == s->n->place[place]) {
            note_place(s, &v, way, place);
            place = way ? place - 1 : place + 1; /* below 0 it is out of range, and so done */
        }
    }
    way_free(&v);
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

sq_err neighbours_find(struct neighbours *n, const struct typed *y, uint32_t first, uint32_t count, struct crew *crew,
                       unsigned n_thread)
{
    struct sweep s = {.n = n, .y = y, .first = first, .count = count};
    n->first_target = first;
    return crew_run(crew, n_thread < 2 ? n_thread : 2, sweep_main, &s);
}
