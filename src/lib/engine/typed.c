/*
 * The typed sites of a window as bits, marker by marker for the sweep and haplotype by haplotype for matches: one walk over the
 * panel's blocks, segments in parallel, then 64 x 64 transposes.
 */
#include "lib/engine/engine_internal.h"

#include <stdlib.h>
#include <string.h>

struct build {
    struct typed *y;
    const struct sq_engine_window *w;
    struct crew *crew;
    atomic_uint next;
};

void typed_free(struct typed *y)
{
    free(y->cm);
    free(y->by_marker);
    free(y->by_hap);
    free(y->target);
    free(y->missing);
    free(y->confidence);
    free(y->cluster_first);
    free(y->cluster_of);
    free(y->cluster_cm);
    *y = (struct typed){0};
}

/* First marker at row @site or behind it. */
static uint32_t marker_at(const struct sq_engine_window *w, uint32_t site)
{
    uint32_t low = 0, high = w->n_typed;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (w->typed[middle].site < site)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void take_block(struct build *b, void *cursor, const struct sq_engine_block *k, uint32_t *marker, uint64_t *of_class)
{
    struct typed *y = b->y;
    for (; *marker < y->n_marker && b->w->typed[*marker].site - k->first_site < k->n_site; ++*marker) {
        uint32_t s = b->w->typed[*marker].site - k->first_site;
        y->cm[*marker] = k->cm[s];
        if (b->w->panel->bits) {
            b->w->panel->bits(cursor, s, y->by_marker + *marker * y->hap_words);
            continue;
        }
        memset(of_class, 0, sq_kernel_words(k->n_pattern) * sizeof *of_class);
        for (uint32_t c = 0; c < k->n_pattern; c++)
            of_class[c / 64] |= (k->pattern[c] >> s & 1) << (c % 64);
        sq_kernels()->class_bits(k->class_of, y->n_hap, of_class, k->n_pattern, y->by_marker + *marker * y->hap_words);
    }
}

/* Walks one segment as far as its last typed site, or to its end where another one follows; classes are asked for only where a block has one. */
static sq_err take_segment(struct build *b, uint32_t segment, bool is_last, uint64_t *of_class)
{
    const struct sq_engine_panel *p = b->w->panel;
    uint32_t site = p->segment[segment].first_site, end_site = site + p->segment[segment].n_site;
    uint32_t marker = marker_at(b->w, site), end = marker_at(b->w, end_site);
    void *cursor = NULL;
    sq_err e = p->open(p->ctx, segment, &cursor);
    while (!e && site < end_site && (marker < end || !is_last) && !crew_is_stopped(b->crew)) {
        struct sq_engine_block k;
        bool has = false;
        e = p->next(cursor, !p->bits && marker < end && b->w->typed[marker].site - site < 64, &k, &has);
        if (!e && !has)
            e = sq_fail(SQ_EINTERNAL);
        if (e)
            break;
        site = k.first_site + k.n_site;
        take_block(b, cursor, &k, &marker, of_class);
    }
    if (cursor)
        p->close(cursor);
    return e;
}

/* Has it typed sites, or rows that dosages are asked of? */
static bool is_needed(const struct sq_engine_window *w, const struct sq_engine_segment *s)
{
    uint32_t end = s->first_site + s->n_site;
    return marker_at(w, s->first_site) < marker_at(w, end) || (w->n_typed && s->first_site < w->to_site && end > w->from_site);
}

/* A segment and those that follow it, from the first that is needed to the last: one thread's, so that none is walked twice. */
static sq_err take_chain(struct build *b, uint32_t first, uint32_t end, uint64_t *of_class)
{
    const struct sq_engine_segment *s = b->w->panel->segment;
    sq_err e = SQ_OK;
    while (end > first && !is_needed(b->w, &s[end - 1]))
        end--;
    while (first < end && !is_needed(b->w, &s[first]))
        first++;
    for (; first < end && !e && !crew_is_stopped(b->crew); first++)
        e = take_segment(b, first, first + 1 == end, of_class);
    return e;
}

static sq_err take_segments(void *ctx, unsigned thread)
{
    struct build *b = ctx;
    const struct sq_engine_panel *p = b->w->panel;
    uint64_t *of_class = malloc(1024 * sizeof *of_class);
    sq_err e = of_class ? SQ_OK : sq_fail(SQ_ENOMEM);
    while (!e && !crew_is_stopped(b->crew)) {
        uint32_t first = atomic_fetch_add(&b->next, 1), end = first + 1;
        if (first >= p->n_segment)
            break;
        while (end < p->n_segment && p->segment[end].follows)
            end++;
        if (!p->segment[first].follows)
            e = take_chain(b, first, end, of_class);
    }
    free(of_class);
    return e;
}

/* 64 rows of @from (each @from_words wide), word @w, become 64 columns: words of @to rows 64w .. */
static void transpose_tile(const uint64_t *from, size_t from_words, size_t n_from, size_t row, size_t word, uint64_t *to,
                           size_t to_words, size_t n_to)
{
    uint64_t tile[64];
    for (size_t i = 0; i < 64; i++)
        tile[i] = row + i < n_from ? from[(row + i) * from_words + word] : 0;
    sq_kernels()->transpose(tile);
    for (size_t j = 0; j < 64 && word * 64 + j < n_to; j++)
        to[(word * 64 + j) * to_words + row / 64] = tile[j];
}

static sq_err turn_haplotypes(void *ctx, unsigned thread)
{
    struct build *b = ctx;
    struct typed *y = b->y;
    for (;;) {
        size_t word = atomic_fetch_add(&b->next, 1); /* 64 haplotypes at a time */
        if (word >= y->hap_words)
            return SQ_OK;
        for (size_t m = 0; m < y->marker_words; m++)
            transpose_tile(y->by_marker, y->hap_words, y->n_marker, m * 64, word, y->by_hap, y->marker_words, y->n_hap);
    }
}

static void take_allele(struct typed *y, size_t row, uint32_t m, uint8_t allele)
{
    size_t at = row * y->marker_words + m / 64;
    y->target[at] |= (uint64_t)(allele == 1) << (m % 64);
    y->missing[at] |= (uint64_t)(allele > 1) << (m % 64);
}

static void take_targets(struct build *b)
{
    struct typed *y = b->y;
    const struct sq_engine_window *w = b->w;
    for (uint32_t m = 0; m < y->n_marker; m++)
        for (uint32_t t = 0; t < y->n_target; t++)
            take_allele(y, t, m, w->typed[m].allele[t]);
    for (uint32_t m = 0; m < y->n_marker && w->n_phasing; m++)
        for (uint32_t s = 0, t = 0; s < w->n_sample; t += w->is_haploid[s] ? 1 : 2, s++)
            for (unsigned p = 1; p <= w->n_phasing && !w->is_haploid[s]; p++) {
                unsigned other = w->typed[m].swap ? w->typed[m].swap[s] >> (p - 1) & 1U : 0;
                take_allele(y, (size_t)p * y->n_target + t, m, w->typed[m].allele[t + other]);
                take_allele(y, (size_t)p * y->n_target + t + 1, m, w->typed[m].allele[t + 1 - other]);
            }
}

static void find_clusters(struct typed *y)
{
    for (uint32_t m = 0; m < y->n_marker; m++) {
        if (!m || y->cm[m] - y->cm[y->cluster_first[y->n_cluster - 1]] > CLUSTER_CM)
            y->cluster_first[y->n_cluster++] = m;
        y->cluster_of[m] = y->n_cluster - 1;
    }
    y->cluster_first[y->n_cluster] = y->n_marker;
    for (uint32_t c = 0; c < y->n_cluster; c++)
        y->cluster_cm[c] = (y->cm[y->cluster_first[c]] + y->cm[y->cluster_first[c + 1] - 1]) / 2;
}

/* After find_clusters(). */
static sq_err take_confidence(struct build *b)
{
    struct typed *y = b->y;
    bool is_any = false;
    for (uint32_t m = 0; m < y->n_marker; m++)
        is_any = is_any || b->w->typed[m].confidence;
    if (!is_any)
        return SQ_OK;
    y->confidence = malloc((size_t)y->n_target * y->n_cluster);
    if (!y->confidence)
        return sq_fail(SQ_ENOMEM);
    memset(y->confidence, UINT8_MAX, (size_t)y->n_target * y->n_cluster);
    for (uint32_t m = 0; m < y->n_marker; m++)
        for (uint32_t t = 0; b->w->typed[m].confidence && t < y->n_target; t++) {
            uint8_t *least = &y->confidence[(size_t)t * y->n_cluster + y->cluster_of[m]], here = b->w->typed[m].confidence[t];
            *least = here < *least ? here : *least;
        }
    return SQ_OK;
}

sq_err typed_build(struct typed *y, const struct sq_engine_window *w, struct crew *crew, unsigned n_thread)
{
    *y = (struct typed){.n_hap = w->panel->n_hap, .n_target = w->n_target, .n_marker = w->n_typed};
    y->hap_words = sq_kernel_words(y->n_hap);
    y->marker_words = sq_kernel_words(y->n_marker);
    y->cm = malloc((y->n_marker + 1) * sizeof *y->cm);
    y->by_marker = calloc(y->n_marker * y->hap_words + 1, sizeof *y->by_marker);
    y->by_hap = malloc((y->n_hap * y->marker_words + 1) * sizeof *y->by_hap);
    size_t n_row = (size_t)y->n_target * (1 + w->n_phasing);
    y->target = calloc(n_row * y->marker_words + 1, sizeof *y->target);
    y->missing = calloc(n_row * y->marker_words + 1, sizeof *y->missing);
    y->cluster_first = malloc(((size_t)y->n_marker + 1) * sizeof *y->cluster_first);
    y->cluster_of = malloc(((size_t)y->n_marker + 1) * sizeof *y->cluster_of);
    y->cluster_cm = malloc(((size_t)y->n_marker + 1) * sizeof *y->cluster_cm);
    if (!y->cm || !y->by_marker || !y->by_hap || !y->target || !y->missing || !y->cluster_first || !y->cluster_of || !y->cluster_cm)
        return sq_fail(SQ_ENOMEM);
    struct build b = {.y = y, .w = w, .crew = crew};
    sq_err e = crew_run(crew, n_thread, take_segments, &b);
    double cpu = crew->cpu;
    if (e)
        return e;
    atomic_store(&b.next, 0);
    e = crew_run(crew, n_thread, turn_haplotypes, &b);
    double before = crew_cpu_now();
    take_targets(&b);
    find_clusters(y);
    if (!e)
        e = take_confidence(&b);
    crew->cpu += cpu + crew_cpu_now() - before;
    return e;
}
