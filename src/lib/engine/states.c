/*
 * The rows of states of one target. From the neighbours at each place, longest matches first, come intervals of clusters in which
 * a haplotype agrees with the target; intervals of one haplotype that touch become one. Then rows are filled, by beginning: each
 * interval into a new row while there are any, then into the one that has been free longest; where all are busy it waits for the first to
 * end. A row's gaps are shared out between the intervals beside them, so a state is there well before and behind its match.
 *
 * That a haplotype with several intervals has several rows is meant: it weighs more where the target copies it often. One
 * row each instead cost .012 of siteR2 on PAR1 (docs/decisions/0015); leaving a row empty beyond its match .002 to .02.
 */
#include "lib/engine/engine_internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_INTERVALS 65536U
#define TILES 8U /* words of rows that are turned at once: what is written then is whole lines of the cache */

struct interval {
    uint32_t hap, first, last; /* clusters */
    uint32_t before;           /* of the same haplotype, or NOBODY */
};

struct states_work {
    struct interval *interval;
    uint32_t n_interval;
    uint32_t *newest;   /* [n_hap] the haplotype's newest interval, or NOBODY */
    uint32_t *by_first; /* [MAX_INTERVALS] intervals, sorted */
    uint32_t *count;    /* [n_cluster + 2] */
    uint32_t *heap;     /* [max_row] rows, the one that ends first on top */
    uint64_t *row_bits; /* [TILES][marker_words][64] */
    uint32_t max_row;
};

sq_err states_init(struct states *s, const struct typed *y, uint32_t n_row, uint32_t n_each)
{
    *s = (struct states){.n_cluster = y->n_cluster};
    struct states_work *k = s->work = calloc(1, sizeof *k);
    if (!k)
        return sq_fail(SQ_ENOMEM);
    k->max_row = n_row;
    size_t words = sq_kernel_words(n_row);
    k->interval = malloc(MAX_INTERVALS * sizeof *k->interval);
    k->newest = malloc(y->n_hap * sizeof *k->newest);
    k->by_first = malloc(MAX_INTERVALS * sizeof *k->by_first);
    k->count = malloc(((size_t)y->n_cluster + 2) * sizeof *k->count);
    k->heap = malloc(n_row * sizeof *k->heap);
    k->row_bits = malloc((size_t)TILES * 64 * y->marker_words * sizeof *k->row_bits);
    s->stretch = malloc(MAX_INTERVALS * sizeof *s->stretch);
    s->last_of_row = malloc(n_row * sizeof *s->last_of_row);
    s->change_first = malloc(((size_t)y->n_cluster + 2) * sizeof *s->change_first);
    s->change = malloc(MAX_INTERVALS * sizeof *s->change);
    s->alt = malloc(y->marker_words * 64 * words * sizeof *s->alt);
    s->match = malloc(y->n_cluster * words * sizeof *s->match);
    if (!k->interval || !k->newest || !k->by_first || !k->count || !k->heap || !k->row_bits || !s->stretch || !s->last_of_row ||
        !s->change_first || !s->change || !s->alt || !s->match)
        return sq_fail(SQ_ENOMEM);
    memset(k->newest, 0xff, y->n_hap * sizeof *k->newest);
    return SQ_OK;
}

void states_free(struct states *s)
{
    if (s->work) {
        free(s->work->interval);
        free(s->work->newest);
        free(s->work->by_first);
        free(s->work->count);
        free(s->work->heap);
        free(s->work->row_bits);
        free(s->work);
    }
    free(s->stretch);
    free(s->last_of_row);
    free(s->change_first);
    free(s->change);
    free(s->alt);
    free(s->match);
    *s = (struct states){0};
}

/* ---- matches ------------------------------------------------------------------------------------------------------- */

struct subject {
    const struct typed *y;
    const uint64_t *allele, *missing;
};

static uint64_t differ(const struct subject *t, uint32_t hap, size_t w)
{
    return (t->y->by_hap[hap * t->y->marker_words + w] ^ t->allele[w]) & ~t->missing[w];
}

/* The first marker from which on @hap agrees with the target up to @m; m + 1 when it doesn't even at @m. */
static uint32_t match_begin(const struct subject *t, uint32_t hap, uint32_t m)
{
    size_t w = m / 64;
    uint64_t d = differ(t, hap, w) & ~UINT64_C(0) >> (63 - m % 64);
    while (!d && w > 0)
        d = differ(t, hap, --w);
    return d ? (uint32_t)(w * 64) + 64 - (uint32_t)__builtin_clzll(d) : 0;
}

/* One past the last marker up to which @hap agrees from @m on; @m when it doesn't even there. */
static uint32_t match_end(const struct subject *t, uint32_t hap, uint32_t m)
{
    size_t w = m / 64;
    uint64_t d = differ(t, hap, w) & ~UINT64_C(0) << (m % 64);
    while (!d && w + 1 < t->y->marker_words)
        d = differ(t, hap, ++w);
    uint32_t end = d ? (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(d) : t->y->n_marker;
    return end < t->y->n_marker ? end : t->y->n_marker;
}

/* Takes what @part has of the interval in: into one of the haplotype's that it touches, or as a new one. */
static void take_interval(struct states_work *k, struct part part, uint32_t hap, uint32_t first, uint32_t last)
{
    first = first < part.first ? part.first : first;
    last = last > part.last ? part.last : last;
    for (uint32_t i = k->newest[hap]; i != NOBODY; i = k->interval[i].before) {
        struct interval *v = &k->interval[i];
        if (first > v->last + 1 || v->first > last + 1)
            continue;
        v->first = v->first < first ? v->first : first;
        v->last = v->last > last ? v->last : last;
        return;
    }
    if (k->n_interval == MAX_INTERVALS)
        return;
    k->interval[k->n_interval] = (struct interval){hap, first, last, k->newest[hap]};
    k->newest[hap] = k->n_interval++;
}

/* Haplotypes lie far apart in memory: what comes next is asked for while the present one is looked at. */
#define AHEAD 4U
static void ask_for(const struct typed *y, uint32_t hap, size_t from_word, size_t to_word)
{
    const uint64_t *at = y->by_hap + hap * y->marker_words;
    for (size_t w = from_word; w <= to_word; w += 8)
        __builtin_prefetch(at + w);
}

/* The n_neighbour longest matches at a place, from both sides of the target. */
static void take_place(struct states_work *k, const struct subject *t, const struct neighbours *n, unsigned way, uint32_t place,
                       uint32_t in_batch, uint32_t n_neighbour, struct part part)
{
    const uint32_t *side[2] = {neighbours_at(n, way, place, in_batch, 0), neighbours_at(n, way, place, in_batch, 1)};
    uint32_t m = n->place[place], at[2] = {0, 0}, length[2], edge[2];
    for (unsigned i = 0; i < 2; i++) {
        uint32_t hap = side[i][0];
        edge[i] = hap == NOBODY ? m : way ? match_end(t, hap, m) : match_begin(t, hap, m);
        length[i] = hap == NOBODY ? 0 : way ? edge[i] - m : m + 1 - edge[i];
    }
    for (unsigned i = 0; i < 2; i++)
        for (uint32_t j = 1; j < AHEAD && j < n->n_each && side[i][j] != NOBODY; j++)
            ask_for(t->y, side[i][j], m / 64, m / 64);
    for (uint32_t taken = 0; taken < n_neighbour && (length[0] || length[1]); taken++) {
        unsigned i = length[1] > length[0];
        if (at[i] + AHEAD < n->n_each && side[i][at[i] + AHEAD] != NOBODY)
            ask_for(t->y, side[i][at[i] + AHEAD], m / 64, m / 64);
        uint32_t first = way ? m : edge[i], last = way ? edge[i] - 1 : m;
        take_interval(k, part, side[i][at[i]], t->y->cluster_of[first], t->y->cluster_of[last]);
        uint32_t hap = ++at[i] < n->n_each ? side[i][at[i]] : NOBODY;
        edge[i] = hap == NOBODY ? m : way ? match_end(t, hap, m) : match_begin(t, hap, m);
        length[i] = hap == NOBODY ? 0 : way ? edge[i] - m : m + 1 - edge[i];
    }
}

/* ---- rows ----------------------------------------------------------------------------------------------------------- */

static void sort_by_first(struct states_work *k, uint32_t n_cluster)
{
    memset(k->count, 0, ((size_t)n_cluster + 2) * sizeof *k->count);
    for (uint32_t i = 0; i < k->n_interval; i++)
        k->count[k->interval[i].first + 1]++;
    for (uint32_t c = 0; c < n_cluster; c++)
        k->count[c + 1] += k->count[c];
    for (uint32_t i = 0; i < k->n_interval; i++)
        k->by_first[k->count[k->interval[i].first]++] = i;
}

static uint32_t end_of(const struct states *s, uint32_t row)
{
    return s->stretch[s->last_of_row[row]].last;
}

/* The heap has the row that ends first on top. */
static void heap_sink(struct states *s, uint32_t at)
{
    uint32_t *heap = s->work->heap, row = heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= s->n_row)
            break;
        if (child + 1 < s->n_row && end_of(s, heap[child + 1]) < end_of(s, heap[child]))
            child++;
        if (end_of(s, heap[child]) >= end_of(s, row))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = row;
}

static void heap_rise(struct states *s, uint32_t at)
{
    uint32_t *heap = s->work->heap, row = heap[at];
    while (at && end_of(s, heap[(at - 1) / 2]) > end_of(s, row)) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = row;
}

static void put_stretch(struct states *s, const struct interval *v, uint32_t row, uint32_t before, uint32_t first)
{
    s->stretch[s->n_stretch] = (struct stretch){v->hap, first, v->last, row, before};
    s->last_of_row[row] = s->n_stretch++;
}

static void fill_rows(struct states *s)
{
    struct states_work *k = s->work;
    sort_by_first(k, s->n_cluster);
    for (uint32_t i = 0; i < k->n_interval; i++) {
        const struct interval *v = &k->interval[k->by_first[i]];
        uint32_t top = s->n_row ? k->heap[0] : NOBODY, end = s->n_row ? end_of(s, top) : 0;
        if (s->n_row < k->max_row) {
            uint32_t row = s->n_row++;
            put_stretch(s, v, row, NOBODY, v->first);
            k->heap[row] = row;
            heap_rise(s, row);
        } else if (end < v->first) {
            put_stretch(s, v, top, s->last_of_row[top], v->first);
            heap_sink(s, 0);
        } else if (v->last > end + 1) { /* what is left of it, behind the one that ends first */
            put_stretch(s, v, top, s->last_of_row[top], end + 1);
            heap_sink(s, 0);
        }
    }
}

/* Rows reach from the part's first cluster to its last; gaps are halved. Then the changes, cluster by cluster. */
static void close_gaps(struct states *s)
{
    uint32_t n = s->n_cluster;
    memset(s->change_first, 0, ((size_t)n + 2) * sizeof *s->change_first);
    for (uint32_t row = 0; row < s->n_row; row++)
        s->stretch[s->last_of_row[row]].last = s->part.last;
    for (uint32_t i = 0; i < s->n_stretch; i++) {
        struct stretch *v = &s->stretch[i];
        if (v->before == NOBODY) {
            v->first = s->part.first;
            continue;
        }
        struct stretch *b = &s->stretch[v->before];
        b->last = b->last + (v->first - b->last) / 2;
        v->first = b->last + 1;
        s->change_first[v->first + 1]++;
    }
    for (uint32_t c = 0; c <= n; c++)
        s->change_first[c + 1] += s->change_first[c];
    memcpy(s->work->count, s->change_first, ((size_t)n + 2) * sizeof *s->work->count);
    for (uint32_t i = 0; i < s->n_stretch; i++)
        if (s->stretch[i].before != NOBODY)
            s->change[s->work->count[s->stretch[i].first]++] = i;
}

/* ---- bits ------------------------------------------------------------------------------------------------------------ */

/* Words of markers. */
struct words {
    size_t from, to;
};

/* Markers of the row's stretches, back from its last one: a word every 64. */
static void row_alleles(const struct states *s, const struct typed *y, uint32_t row, struct words words, uint64_t *out)
{
    for (size_t w = words.from; w < words.to; w++)
        out[w * 64] = 0;
    for (uint32_t i = s->last_of_row[row]; i != NOBODY; i = s->stretch[i].before) {
        const struct stretch *v = &s->stretch[i];
        const uint64_t *hap = y->by_hap + v->hap * y->marker_words;
        uint32_t from = y->cluster_first[v->first], to = y->cluster_first[v->last + 1] - 1;
        for (size_t w = from / 64; w <= to / 64; w++) {
            uint64_t mask = ~UINT64_C(0);
            if (w == from / 64)
                mask &= ~UINT64_C(0) << (from % 64);
            if (w == to / 64)
                mask &= ~UINT64_C(0) >> (63 - to % 64);
            out[w * 64] |= hap[w] & mask;
        }
    }
}

static void ask_for_row(const struct states *s, const struct typed *y, uint32_t row)
{
    for (uint32_t i = s->last_of_row[row]; i != NOBODY; i = s->stretch[i].before)
        ask_for(y, s->stretch[i].hap, y->cluster_first[s->stretch[i].first] / 64, (y->cluster_first[s->stretch[i].last + 1] - 1) / 64);
}

/* The 64 markers of word @w: bits of rows 64g .. of each of them, and where these agree with the target. */
static void put_tiles(struct states *s, const struct typed *y, const struct subject *t, size_t w, size_t g, size_t n_tile, uint64_t tile[TILES][64])
{
    for (uint32_t j = 0, m = (uint32_t)w * 64; j < 64 && m < y->n_marker; j++, m++) {
        uint64_t *alt = s->alt + m * s->row_words + g, *match = s->match + y->cluster_of[m] * s->row_words + g;
        uint64_t differs = t->allele[w] >> j & 1 ? 0 : ~UINT64_C(0), ignored = t->missing[w] >> j & 1 ? ~UINT64_C(0) : 0;
        for (size_t i = 0; i < n_tile; i++) {
            alt[i] = tile[i][j];
            match[i] &= (tile[i][j] ^ differs) | ignored;
        }
    }
}

static void set_bits(struct states *s, const struct typed *y, const struct subject *t)
{
    struct states_work *k = s->work;
    size_t of_tile = y->marker_words * 64;
    struct words words = {y->cluster_first[s->part.first] / 64, (y->cluster_first[s->part.last + 1] + 63) / 64};
    uint64_t tile[TILES][64];
    memset(s->match, 0xff, s->n_cluster * s->row_words * sizeof *s->match);
    for (size_t g = 0; g < s->row_words; g += TILES) {
        size_t n_tile = s->row_words - g < TILES ? s->row_words - g : TILES, n_row = s->n_row - g * 64 < n_tile * 64 ? s->n_row - g * 64 : n_tile * 64;
        if (n_row < n_tile * 64)
            memset(k->row_bits + (n_tile - 1) * of_tile, 0, of_tile * sizeof *k->row_bits);
        for (size_t i = 0; i < n_row; i++) {
            if (g * 64 + i + AHEAD < s->n_row)
                ask_for_row(s, y, (uint32_t)(g * 64 + i + AHEAD));
            row_alleles(s, y, (uint32_t)(g * 64 + i), words, k->row_bits + i / 64 * of_tile + i % 64);
        }
        for (size_t w = words.from; w < words.to; w++) {
            for (size_t i = 0; i < n_tile; i++) {
                memcpy(tile[i], k->row_bits + i * of_tile + w * 64, sizeof tile[i]);
                sq_kernels()->transpose(tile[i]);
            }
            put_tiles(s, y, t, w, g, n_tile, tile);
        }
    }
}

void states_choose(struct states *s, const struct typed *y, const struct neighbours *n, uint32_t target, uint32_t in_batch, uint32_t n_neighbour,
                   struct part part)
{
    struct states_work *k = s->work;
    struct subject t = {y, y->target + target * y->marker_words, y->missing + target * y->marker_words};
    s->target = target;
    s->part = part;
    k->n_interval = s->n_row = s->n_stretch = 0;
    for (unsigned way = 0; way < 2; way++)
        for (uint32_t p = 0; p < n->n_place; p++)
            if (y->cluster_of[n->place[p]] >= part.first && y->cluster_of[n->place[p]] <= part.last)
                take_place(k, &t, n, way, p, in_batch, n_neighbour, part);
    for (uint32_t i = 0; i < k->n_interval; i++)
        k->newest[k->interval[i].hap] = NOBODY;
    if (!k->n_interval) /* agrees with nobody anywhere: any haplotype is as good as another */
        k->interval[k->n_interval++] = (struct interval){0, part.first, part.last, NOBODY};
    fill_rows(s);
    s->row_words = sq_kernel_words(s->n_row);
    close_gaps(s);
    set_bits(s, y, &t);
}
