/*
 * The rows of states of one sample. Each neighbour of each guess of either haplotype, at each place, may be a stretch of one of the sample's two
 * haplotypes: from the place on both ways it is followed as long as the genotypes, and the present guess, speak for that. To go with one
 * haplotype of the guess and then with the other is allowed but costs: a wrong guess doesn't cut the match that would mend it. At each
 * place the best stretches are kept, as many for either haplotype, and put into rows by beginning. A row's gaps are shared out between
 * the stretches beside them.
 */
#include "lib/engine/phase_internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_STRETCHES 16384U

/* Logarithms of how much likelier it is of a haplotype that the sample has than of another one. */
#define FOR_HOM 0.2F        /* a homozygote that it goes with: one that others mostly go with too */
#define AGAINST_HOM (-6.0F) /* one that it doesn't: a mutation or an error */
#define FOR_HET 0.66F       /* a heterozygote where it goes with the same haplotype of the guess as at the one before: log(0.97 / 0.5) */
#define AGAINST_HET (-2.8F) /* with the other: the guess is wrong there: log(0.03 / 0.5) */
#define DROP 10.0F          /* it has ended where the sum has fallen so far below its best */

struct found {
    uint32_t hap, first, last; /* markers */
    uint32_t before;           /* of the same haplotype, or NOBODY */
    float score;
};

struct rows_work {
    struct found *found;  /* [MAX_STRETCHES] */
    uint32_t n_found;
    uint32_t *newest;     /* [pool's numbers] the haplotype's newest, or NOBODY */
    uint32_t *near_het;   /* [n_place] the last heterozygote up to the place */
    uint16_t *cover;      /* [n_place][2] rows that either haplotype has there */
    struct stretch *kept; /* [MAX_STRETCHES] */
    uint32_t n_kept;
    uint32_t *heap;       /* [max_row] rows, the one that ends first on top */
    uint64_t *row_bits;   /* [64][marker_words] */
};

sq_err rows_init(struct rows *r, const struct pool *p, uint32_t max_row, uint32_t n_place)
{
    size_t n_hap = (size_t)p->base + p->n_target, words = p->y->marker_words;
    *r = (struct rows){.max_row = max_row, .work = calloc(1, sizeof *r->work)};
    struct rows_work *k = r->work;
    if (!k)
        return sq_fail(SQ_ENOMEM);
    k->found = malloc(MAX_STRETCHES * sizeof *k->found);
    k->newest = malloc(n_hap * sizeof *k->newest);
    k->near_het = malloc((n_place + 1) * sizeof *k->near_het);
    k->cover = malloc(2 * ((size_t)n_place + 1) * sizeof *k->cover);
    k->kept = malloc(MAX_STRETCHES * sizeof *k->kept);
    k->heap = malloc(max_row * sizeof *k->heap);
    k->row_bits = malloc(64 * words * sizeof *k->row_bits);
    r->stretch = malloc(MAX_STRETCHES * sizeof *r->stretch);
    r->last_of_row = malloc(max_row * sizeof *r->last_of_row);
    r->alt = malloc(words * 64 * sq_kernel_words(max_row) * sizeof *r->alt);
    if (!k->found || !k->newest || !k->near_het || !k->cover || !k->kept || !k->heap || !k->row_bits || !r->stretch || !r->last_of_row || !r->alt)
        return sq_fail(SQ_ENOMEM);
    memset(k->newest, 0xff, n_hap * sizeof *k->newest);
    return SQ_OK;
}

void rows_free(struct rows *r)
{
    if (r->work) {
        free(r->work->found);
        free(r->work->newest);
        free(r->work->near_het);
        free(r->work->cover);
        free(r->work->kept);
        free(r->work->heap);
        free(r->work->row_bits);
        free(r->work);
    }
    free(r->stretch);
    free(r->last_of_row);
    free(r->alt);
    *r = (struct rows){0};
}

/* ---- how far a haplotype may be the sample's -------------------------------------------------------------------------- */

/* A haplotype beside the sample. */
struct beside {
    const struct typed *y;
    const uint64_t *hap, *guess, *alt, *het, *missing;
};

/* A reach one way: the sum so far, its best and where that was. */
struct reach {
    float sum, best;
    uint32_t at;
    bool has_label, label; /* with which haplotype of the guess it went at the last heterozygote */
};

/* What the word says: homozygotes and heterozygotes in @range; those that are against it. */
struct evidence {
    uint64_t hom, het, against, turn;
};

static uint64_t carry_up(uint64_t v, uint64_t open)
{
    for (unsigned s = 1; s < 64; s *= 2) {
        v |= v << s & open;
        open &= open << s;
    }
    return v;
}

static uint64_t carry_down(uint64_t v, uint64_t open)
{
    for (unsigned s = 1; s < 64; s *= 2) {
        v |= v >> s & open;
        open &= open >> s;
    }
    return v;
}

/* Turns are heterozygotes whose label isn't that of the one before, on the way up or down. */
static struct evidence look(const struct beside *a, size_t w, uint64_t range, bool is_up, struct reach *r)
{
    struct evidence v = {.het = a->het[w] & range, .hom = ~(a->het[w] | a->missing[w]) & range};
    v.against = (a->hap[w] ^ a->alt[w]) & v.hom;
    if (!v.het)
        return v;
    uint64_t label = (a->hap[w] ^ a->guess[w]) & v.het, lowest = v.het & -v.het, highest = UINT64_C(1) << (63 - __builtin_clzll(v.het));
    if (!r->has_label)
        r->label = label & (is_up ? lowest : highest);
    uint64_t before = is_up ? carry_up(label << 1 | (uint64_t)r->label, ~(v.het << 1 | 1))
                            : carry_down(label >> 1 | (uint64_t)r->label << 63, ~(v.het >> 1 | UINT64_C(1) << 63));
    v.turn = (label ^ before) & v.het;
    r->has_label = true;
    r->label = label & (is_up ? highest : lowest);
    return v;
}

static void add(struct reach *r, const struct evidence *v, uint64_t part, uint32_t at)
{
    r->sum += FOR_HOM * (float)bits_in(v->hom & part) + FOR_HET * (float)bits_in(v->het & part);
    if (r->sum > r->best) {
        r->best = r->sum;
        r->at = at;
    }
}

/* From @m on; r.at is one past the last marker. */
static struct reach reach_up(const struct beside *a, uint32_t m)
{
    struct reach r = {.at = m};
    for (size_t w = m / 64; w < a->y->marker_words; w++) {
        uint32_t base = (uint32_t)(w * 64), n = a->y->n_marker - base;
        uint64_t rest = (base < m ? ~UINT64_C(0) << (m % 64) : ~UINT64_C(0)) & (n < 64 ? (UINT64_C(1) << n) - 1 : ~UINT64_C(0));
        struct evidence v = look(a, w, rest, true, &r);
        for (uint64_t events = v.against | v.turn; events; events &= events - 1) {
            uint64_t bit = events & -events;
            add(&r, &v, rest & (bit - 1), base + (uint32_t)__builtin_ctzll(bit));
            r.sum += v.against & bit ? AGAINST_HOM : AGAINST_HET;
            if (r.sum < r.best - DROP)
                return r;
            rest &= ~(bit | (bit - 1));
        }
        add(&r, &v, rest, base + (n < 64 ? n : 64));
    }
    return r;
}

/* From below @m; r.at is the first marker. */
static struct reach reach_down(const struct beside *a, uint32_t m)
{
    struct reach r = {.at = m};
    for (size_t w = (m + 63) / 64; w-- > 0;) {
        uint32_t base = (uint32_t)(w * 64);
        uint64_t rest = m - base < 64 ? (UINT64_C(1) << (m - base)) - 1 : ~UINT64_C(0);
        struct evidence v = look(a, w, rest, false, &r);
        for (uint64_t events = v.against | v.turn, bit; events; events &= ~bit) {
            bit = UINT64_C(1) << (63 - __builtin_clzll(events));
            add(&r, &v, rest & ~(bit | (bit - 1)), base + (uint32_t)__builtin_ctzll(bit) + 1);
            r.sum += v.against & bit ? AGAINST_HOM : AGAINST_HET;
            if (r.sum < r.best - DROP)
                return r;
            rest &= bit - 1;
        }
        add(&r, &v, rest, base);
    }
    return r;
}

static void take_hap(struct rows_work *k, struct beside *a, const struct pool *p, uint32_t hap, uint32_t m)
{
    for (uint32_t i = k->newest[hap]; i != NOBODY; i = k->found[i].before)
        if (k->found[i].first <= m && m <= k->found[i].last)
            return;
    if (k->n_found == MAX_STRETCHES)
        return;
    a->hap = pool_hap(p, hap);
    struct reach down = reach_down(a, m), up = reach_up(a, m);
    if (down.at >= up.at)
        return;
    k->found[k->n_found] = (struct found){hap, down.at, up.at - 1, k->newest[hap], down.best + up.best};
    k->newest[hap] = k->n_found++;
}

static void find_stretches(struct rows_work *k, const struct pool *p, const struct neighbours *n, uint32_t sample)
{
    size_t words = p->y->marker_words;
    uint32_t first = p->first_target[sample], end = p->first_target[sample + 1];
    struct beside a = {.y = p->y, .alt = p->alt + sample * words, .het = p->het + sample * words, .missing = p->missing + sample * words};
    k->n_found = 0;
    for (uint32_t g = 0; g < N_GUESS; g++) {
        a.guess = pool_guess(p, p->target, g, first);
        for (uint32_t i = (first - n->first_target) * N_GUESS + g; i < (end - n->first_target) * N_GUESS; i += N_GUESS)
            for (uint32_t j = 0; j < 4 * n->n_place; j++) {
                const uint32_t *of = neighbours_at(n, j & 1, j / 4, i, j >> 1 & 1);
                for (uint32_t l = 0; l < n->n_each && of[l] != NOBODY; l++)
                    take_hap(k, &a, p, of[l], n->place[j / 4]);
            }
    }
    for (uint32_t i = 0; i < k->n_found; i++)
        k->newest[k->found[i].hap] = NOBODY;
}

/* ---- the best at each place --------------------------------------------------------------------------------------------- */

static int by_score(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    if (x->score < y->score || x->score > y->score)
        return x->score > y->score ? -1 : 1;
    return x->hap != y->hap ? (x->hap < y->hap ? -1 : 1) : x->first < y->first ? -1 : x->first > y->first;
}

static int by_first(const void *a, const void *b)
{
    const struct stretch *x = a, *y = b;
    return x->first != y->first ? (x->first < y->first ? -1 : 1) : x->hap < y->hap ? -1 : x->hap > y->hap;
}

/* Places @from..@to of @f. Towards places where there's no room for it it ends in the middle. */
static void keep_run(struct rows_work *k, const struct found *f, const struct neighbours *n, uint32_t from, uint32_t to)
{
    const uint32_t *place = n->place;
    uint32_t first = from && place[from - 1] >= f->first ? place[from - 1] + (place[from] - place[from - 1] + 1) / 2 : f->first;
    uint32_t last = to + 1 < n->n_place && place[to + 1] <= f->last ? place[to] + (place[to + 1] - place[to]) / 2 : f->last;
    if (last >= first && k->n_kept < MAX_STRETCHES)
        k->kept[k->n_kept++] = (struct stretch){.hap = f->hap, .first = first, .last = last};
}

static void find_near_hets(struct rows_work *k, const struct neighbours *n, const uint64_t *het)
{
    uint32_t marker = 0, last = 0;
    for (uint32_t q = 0; q < n->n_place; q++) {
        for (; marker <= n->place[q]; marker++)
            if (phase_bit(het, marker))
                last = marker;
        k->near_het[q] = last;
    }
}

static uint32_t first_place(const struct neighbours *n, uint32_t marker)
{
    uint32_t low = 0, high = n->n_place;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (n->place[middle] < marker)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void keep_best(struct rows_work *k, const struct pool *p, const struct neighbours *n, uint32_t sample, uint32_t max_row)
{
    const uint64_t *guess = pool_guess(p, p->target, 0, p->first_target[sample]);
    find_near_hets(k, n, p->het + sample * p->y->marker_words);
    qsort(k->found, k->n_found, sizeof *k->found, by_score);
    memset(k->cover, 0, 2 * (size_t)n->n_place * sizeof *k->cover);
    k->n_kept = 0;
    for (uint32_t i = 0; i < k->n_found; i++) {
        const struct found *f = &k->found[i];
        const uint64_t *hap = pool_hap(p, f->hap);
        uint32_t run = NOBODY, q = first_place(n, f->first);
        for (; q < n->n_place && n->place[q] <= f->last; q++) {
            bool goes_with = phase_bit(hap, k->near_het[q]) != phase_bit(guess, k->near_het[q]);
            uint16_t *cover = &k->cover[2 * q + goes_with];
            if (*cover < max_row / 2) {
                ++*cover;
                run = run == NOBODY ? q : run;
            } else if (run != NOBODY) {
                keep_run(k, f, n, run, q - 1);
                run = NOBODY;
            }
        }
        if (run != NOBODY)
            keep_run(k, f, n, run, q - 1);
    }
    qsort(k->kept, k->n_kept, sizeof *k->kept, by_first);
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------- */

static uint32_t end_of(const struct rows *r, uint32_t row)
{
    return r->stretch[r->last_of_row[row]].last;
}

static void heap_sink(struct rows *r, uint32_t at)
{
    uint32_t *heap = r->work->heap, row = heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= r->n_row)
            break;
        if (child + 1 < r->n_row && end_of(r, heap[child + 1]) < end_of(r, heap[child]))
            child++;
        if (end_of(r, heap[child]) >= end_of(r, row))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = row;
}

static void heap_rise(struct rows *r, uint32_t at)
{
    uint32_t *heap = r->work->heap, row = heap[at];
    while (at && end_of(r, heap[(at - 1) / 2]) > end_of(r, row)) {
        heap[at] = heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap[at] = row;
}

static void put(struct rows *r, const struct stretch *v, uint32_t row, uint32_t before, uint32_t first)
{
    r->stretch[r->n_stretch] = (struct stretch){v->hap, first, v->last, row, before};
    r->last_of_row[row] = r->n_stretch++;
}

static void fill_rows(struct rows *r)
{
    struct rows_work *k = r->work;
    r->n_row = r->n_stretch = 0;
    for (uint32_t i = 0; i < k->n_kept; i++) {
        const struct stretch *v = &k->kept[i];
        uint32_t top = r->n_row ? k->heap[0] : NOBODY, end = r->n_row ? end_of(r, top) : 0;
        if (r->n_row && end < v->first) {
            put(r, v, top, r->last_of_row[top], v->first);
            heap_sink(r, 0);
        } else if (r->n_row < r->max_row) {
            uint32_t row = r->n_row++;
            put(r, v, row, NOBODY, v->first);
            k->heap[row] = row;
            heap_rise(r, row);
        } else if (v->last > end + 1) { /* what is left of it, behind the one that ends first */
            put(r, v, top, r->last_of_row[top], end + 1);
            heap_sink(r, 0);
        }
    }
}

/* Rows reach from the first marker to the last; gaps are halved. */
static void close_gaps(struct rows *r, uint32_t n_marker)
{
    for (uint32_t row = 0; row < r->n_row; row++)
        r->stretch[r->last_of_row[row]].last = n_marker - 1;
    for (uint32_t i = 0; i < r->n_stretch; i++) {
        struct stretch *v = &r->stretch[i];
        if (v->before == NOBODY) {
            v->first = 0;
            continue;
        }
        struct stretch *b = &r->stretch[v->before];
        b->last = b->last + (v->first - b->last) / 2;
        v->first = b->last + 1;
    }
}

static void row_alleles(const struct rows *r, const struct pool *p, uint32_t row, uint64_t *out)
{
    memset(out, 0, p->y->marker_words * sizeof *out);
    for (uint32_t i = r->last_of_row[row]; i != NOBODY; i = r->stretch[i].before) {
        const struct stretch *v = &r->stretch[i];
        const uint64_t *hap = pool_hap(p, v->hap);
        for (size_t w = v->first / 64; w <= v->last / 64; w++) {
            uint64_t mask = ~UINT64_C(0);
            if (w == v->first / 64)
                mask &= ~UINT64_C(0) << (v->first % 64);
            if (w == v->last / 64)
                mask &= ~UINT64_C(0) >> (63 - v->last % 64);
            out[w] |= hap[w] & mask;
        }
    }
}

static void set_bits(struct rows *r, const struct pool *p)
{
    struct rows_work *k = r->work;
    size_t words = p->y->marker_words;
    r->row_words = sq_kernel_words(r->n_row);
    for (size_t g = 0; g < r->row_words; g++) {
        for (size_t i = 0; i < 64; i++)
            if (g * 64 + i < r->n_row)
                row_alleles(r, p, (uint32_t)(g * 64 + i), k->row_bits + i * words);
            else
                memset(k->row_bits + i * words, 0, words * sizeof *k->row_bits);
        for (size_t w = 0; w < words; w++) {
            uint64_t tile[64];
            for (size_t i = 0; i < 64; i++)
                tile[i] = k->row_bits[i * words + w];
            sq_kernels()->transpose(tile);
            for (size_t j = 0; j < 64 && w * 64 + j < p->y->n_marker; j++)
                r->alt[(w * 64 + j) * r->row_words + g] = tile[j];
        }
    }
}

void rows_choose(struct rows *r, const struct pool *p, const struct neighbours *n, uint32_t sample)
{
    struct rows_work *k = r->work;
    find_stretches(k, p, n, sample);
    keep_best(k, p, n, sample, r->max_row);
    if (!k->n_kept) /* nobody could be it anywhere: any haplotype is as good as another */
        k->kept[k->n_kept++] = (struct stretch){.hap = 0, .first = 0, .last = p->y->n_marker - 1};
    fill_rows(r);
    close_gaps(r, p->y->n_marker);
    set_bits(r, p);
}
