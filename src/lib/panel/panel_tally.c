/* Alleles by population: classes are counted once a block, rows are sums over the patterns that carry them; then the exceptions. */
#include "lib/panel/panel_internal.h"

#include <stdlib.h>

struct tally_work {
    const struct sq_panel *p;
    uint32_t segment; /* of the block before; n_segment: none */
    uint32_t n_haploid;
    bool is_new; /* a segment's first row is to come */
    uint32_t *hist; /* [n_pattern][n_group - 1] */
    size_t hist_cap;
    uint32_t *n_sample; /* [n_group] */
};

sq_err sq_panel_tally_new(const struct sq_panel *p, struct sq_panel_tally **out)
{
    struct sq_panel_tally *t = calloc(1, sizeof *t);
    if (!t)
        return sq_fail(SQ_ENOMEM);
    t->n_group = p->info.n_population + 2;
    t->ac = malloc(SQ_PANEL_BLOCK_ROWS * (size_t)t->n_group * sizeof *t->ac);
    t->an = malloc(SQ_PANEL_BLOCK_ROWS * (size_t)t->n_group * sizeof *t->an);
    t->is_haploid = calloc(p->info.n_sample, 1);
    t->ploidies = calloc(p->info.n_sample, 1);
    t->work = calloc(1, sizeof *t->work);
    if (t->work)
        t->work->n_sample = calloc(t->n_group, sizeof *t->work->n_sample);
    if (!t->ac || !t->an || !t->is_haploid || !t->ploidies || !t->work || !t->work->n_sample) {
        sq_panel_tally_free(t);
        return sq_fail(SQ_ENOMEM);
    }
    t->work->p = p;
    t->work->segment = p->info.n_segment;
    for (uint32_t i = 0; i < p->info.n_sample; i++)
        t->work->n_sample[sq_panel_sample_population(p, i)]++;
    *out = t;
    return SQ_OK;
}

void sq_panel_tally_free(struct sq_panel_tally *t)
{
    if (!t)
        return;
    if (t->work) {
        free(t->work->hist);
        free(t->work->n_sample);
    }
    free(t->work);
    free(t->ac);
    free(t->an);
    free(t->is_haploid);
    free(t->ploidies);
    free(t);
}

static uint64_t pattern_of(const struct sq_panel *p, const struct sq_panel_block *b, uint32_t column)
{
    uint32_t first = sq_panel_sample_first_hap(p, column / 2), n = sq_panel_sample_first_hap(p, column / 2 + 1) - first;
    return b->pattern[b->class_of[first + (n == 2 ? column % 2 : 0)]];
}

/* All columns as if each were an observed allele. Of a sample that is haploid throughout the reader shows one; here it counts as two. */
static sq_err count_columns(struct sq_panel_tally *t, const struct sq_panel_block *b)
{
    struct tally_work *w = t->work;
    uint32_t n_group = t->n_group - 1; /* all: the sum of the others */
    size_t n = (size_t)b->n_pattern * n_group;
    if (n > w->hist_cap) {
        free(w->hist);
        w->hist_cap = 0;
        w->hist = malloc(n * sizeof *w->hist);
        if (!w->hist)
            return sq_fail(SQ_ENOMEM);
        w->hist_cap = n;
    }
    memset(w->hist, 0, n * sizeof *w->hist);
    for (uint32_t i = 0, h = 0; i < w->p->info.n_sample; i++) {
        uint32_t group = sq_panel_sample_population(w->p, i), end = sq_panel_sample_first_hap(w->p, i + 1), by = 2 / (end - h);
        for (; h < end; h++)
            w->hist[(size_t)b->class_of[h] * n_group + group] += by;
    }
    memset(t->ac, 0, SQ_PANEL_BLOCK_ROWS * (size_t)t->n_group * sizeof *t->ac);
    for (uint32_t k = 0; k < b->n_pattern; k++)
        for (uint64_t x = b->pattern[k]; x; x &= x - 1) {
            uint32_t *ac = t->ac + (size_t)__builtin_ctzll(x) * t->n_group;
            for (uint32_t g = 0; g < n_group; g++)
                ac[g] += w->hist[(size_t)k * n_group + g];
        }
    for (uint32_t r = 0; r < b->n_site; r++)
        for (uint32_t g = 0; g < n_group; g++)
            t->an[(size_t)r * t->n_group + g] = 2 * w->n_sample[g];
    return SQ_OK;
}

static void take_off(struct sq_panel_tally *t, const struct sq_panel_block *b, uint32_t row, uint32_t column)
{
    const struct sq_panel *p = t->work->p;
    size_t at = (size_t)row * t->n_group + sq_panel_sample_population(p, column / 2);
    t->an[at]--;
    t->ac[at] -= (uint32_t)(pattern_of(p, b, column) >> row & 1);
}

/* A missing column of @row in its list? *at moves along. */
static bool is_missing(const struct sq_panel_special *s, size_t *at, uint32_t row, uint32_t column)
{
    while (*at < s->n_missing && (s->missing[*at].row < row || (s->missing[*at].row == row && s->missing[*at].first_column + s->missing[*at].n <= column)))
        ++*at;
    return *at < s->n_missing && s->missing[*at].row == row && s->missing[*at].first_column <= column;
}

static void count_row(struct sq_panel_tally *t, const struct sq_panel_block *b, const struct sq_panel_special *s, uint32_t row, size_t *change,
                      size_t *missing)
{
    struct tally_work *w = t->work;
    for (; *change < s->n_change && s->change[*change].row == row; ++*change) {
        uint8_t *is_haploid = &t->is_haploid[s->change[*change].sample];
        *is_haploid ^= 1;
        w->n_haploid += *is_haploid ? 1U : -1U;
        t->ploidies[s->change[*change].sample] |= *is_haploid ? 1 : 2;
    }
    for (uint32_t i = 0; w->is_new && i < w->p->info.n_sample; i++)
        t->ploidies[i] |= t->is_haploid[i] ? 1 : 2;
    w->is_new = false;
    size_t at = *missing; /* of this row's list, walked twice */
    for (uint32_t i = 0; w->n_haploid && i < w->p->info.n_sample; i++) {
        if (!t->is_haploid[i])
            continue;
        bool was_missing = is_missing(s, &at, row, 2 * i);
        take_off(t, b, row, 2 * i + 1);
        t->n_ill_copied += !was_missing && ((pattern_of(w->p, b, 2 * i) ^ pattern_of(w->p, b, 2 * i + 1)) >> row & 1);
    }
    for (; *missing < s->n_missing && s->missing[*missing].row == row; ++*missing) {
        const struct sq_panel_missing *m = &s->missing[*missing];
        for (uint32_t c = m->first_column; c < m->first_column + m->n; c++)
            if (c % 2 == 0 || !t->is_haploid[c / 2]) { /* else it is taken off already */
                take_off(t, b, row, c);
                t->n_missing[row]++;
            }
    }
}

sq_err sq_panel_tally_block(struct sq_panel_tally *t, const struct sq_panel_block *b, const struct sq_panel_special *s)
{
    struct tally_work *w = t->work;
    if (b->segment != w->segment) {
        w->segment = b->segment;
        w->n_haploid = 0;
        w->is_new = true;
        memset(t->is_haploid, 0, w->p->info.n_sample);
    }
    sq_err e = count_columns(t, b);
    if (e)
        return e;
    t->n_ill_copied = 0;
    memset(t->n_missing, 0, sizeof t->n_missing);
    size_t change = 0, missing = 0;
    for (uint32_t r = 0; r < b->n_site && (w->is_new || w->n_haploid || s->n_change || s->n_missing); r++)
        count_row(t, b, s, r, &change, &missing);
    for (uint32_t r = 0; r < b->n_site; r++) {
        uint32_t *ac = t->ac + (size_t)r * t->n_group, *an = t->an + (size_t)r * t->n_group, all = t->n_group - 1;
        ac[all] = an[all] = 0;
        for (uint32_t g = 0; g < all; g++) {
            ac[all] += ac[g];
            an[all] += an[g];
        }
    }
    return SQ_OK;
}
