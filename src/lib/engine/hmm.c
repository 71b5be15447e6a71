/*
 * Forward and backward over clusters of typed sites. Between clusters a target goes on copying the same haplotype with P(stay), else it
 * copies a row drawn evenly. Where a row changes its haplotype nobody stays in it: whoever was there moves on, evenly.
 * Forward values are kept as bf16 for all clusters: at most 24 cM / 0.005 cM of them.
 */
#include "lib/engine/engine_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MIN_JUMP 1e-8

void posterior_free(struct posterior *p)
{
    free(p->start);
    free(p->hap);
    free(p->weight);
    *p = (struct posterior){0};
}

static void *floats(size_t n)
{
    return aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64);
}

sq_err hmm_init(struct hmm *m, const struct typed *y, uint32_t n_row)
{
    size_t n = sq_kernel_pad(n_row) + SQ_KERNEL_ROOM;
    *m = (struct hmm){.x = floats(n), .b = floats(n), .post = floats(n), .value = floats(n)};
    m->index = malloc(n * sizeof *m->index);
    m->at_stretch = malloc(n * sizeof *m->at_stretch);
    m->once = malloc(2 * sq_kernel_words(n_row) * sizeof *m->once);
    m->twice = m->once + sq_kernel_words(n_row);
    uint32_t largest = 0;
    for (uint32_t c = 0; c < y->n_cluster; c++)
        largest = y->cluster_first[c + 1] - y->cluster_first[c] > largest ? y->cluster_first[c + 1] - y->cluster_first[c] : largest;
    m->lone = malloc(((size_t)largest * sq_kernel_words(n_row) + 1) * sizeof *m->lone);
    m->sum_alt = floats((size_t)2 * largest + 1);
    m->sum_lone = m->sum_alt + largest;
    m->saved = aligned_alloc(64, ((size_t)y->n_cluster * sq_kernel_pad(n_row) * sizeof *m->saved + 63) / 64 * 64);
    m->kept_at = malloc(((size_t)y->n_cluster + 1) * sizeof *m->kept_at);
    m->kept_cap = (size_t)64 * y->n_cluster + n;
    m->kept_hap = malloc(m->kept_cap * sizeof *m->kept_hap);
    m->kept_weight = malloc(m->kept_cap * sizeof *m->kept_weight);
    bool is_whole = m->x && m->b && m->post && m->value && m->index && m->at_stretch && m->once && m->lone && m->sum_alt && m->saved && m->kept_at &&
                    m->kept_hap && m->kept_weight;
    return is_whole ? SQ_OK : sq_fail(SQ_ENOMEM);
}

void hmm_free(struct hmm *m)
{
    free(m->x);
    free(m->b);
    free(m->post);
    free(m->value);
    free(m->index);
    free(m->at_stretch);
    free(m->once);
    free(m->lone);
    free(m->sum_alt);
    free(m->saved);
    free(m->kept_at);
    free(m->kept_hap);
    free(m->kept_weight);
    *m = (struct hmm){0};
}

sq_err hmm_rates_set(struct hmm_rates *r, const struct typed *y)
{
    double *jump = realloc(r->jump, (size_t)y->n_cluster * sizeof *jump);
    if (!jump)
        return sq_fail(SQ_ENOMEM);
    r->jump = jump;
    for (uint32_t c = 1; c < y->n_cluster; c++) {
        double p = -expm1(-0.04 * r->scale * (y->cluster_cm[c] - y->cluster_cm[c - 1]) / (double)y->n_hap);
        jump[c] = p < MIN_JUMP ? MIN_JUMP : p;
    }
    return SQ_OK;
}

static const uint64_t *match_at(const struct states *s, uint32_t c)
{
    return s->match + c * s->row_words;
}

/* Emissions of a row that agrees with the target at the cluster, and of one that doesn't. An allele whose phase isn't sure is partly the
 * other one's: with P(right) = 1/2 nobody agrees more than another. */
static void emissions(const struct typed *y, const struct states *s, const struct hmm_rates *r, uint32_t c, float *hit, float *miss)
{
    double right = 1;
    if (y->confidence)
        right = 0.5 + 0.5 * y->confidence[(size_t)s->target * y->n_cluster + c] / UINT8_MAX;
    *hit = (float)(right * (1 - r->mismatch) + (1 - right) * r->mismatch);
    *miss = (float)(right * r->mismatch + (1 - right) * (1 - r->mismatch));
}

/* Row values of cluster @c from those of c-1, whose sum is @sum. Returns the new sum. */
static float forward_step(struct hmm *m, const struct typed *y, const struct states *s, const struct hmm_rates *r, uint32_t c, float sum,
                          uint16_t *save)
{
    float hit, miss;
    emissions(y, s, r, c, &hit, &miss);
    if (c == s->part.first)
        return sq_kernels()->forward(m->x, s->n_row, match_at(s, c), 0, 1.0F / (float)s->n_row, hit, miss, save);
    double jump = r->jump[c], left = 0;
    for (uint32_t i = s->change_first[c]; i < s->change_first[c + 1]; i++) {
        uint32_t row = s->stretch[s->change[i]].row;
        left += (double)m->x[row];
        m->x[row] = 0;
    }
    double evenly = (jump + (1 - jump) * left / (double)sum) / s->n_row;
    return sq_kernels()->forward(m->x, s->n_row, match_at(s, c), (float)((1 - jump) / (double)sum), (float)evenly, hit, miss, save);
}

double hmm_likelihood(struct hmm *m, const struct typed *y, const struct states *s, const struct hmm_rates *r)
{
    double total = 0;
    float sum = 1;
    memset(m->x, 0, sq_kernel_pad(s->n_row) * sizeof *m->x);
    for (uint32_t c = s->part.first; c <= s->part.last; c++) {
        sum = forward_step(m, y, s, r, c, sum, NULL);
        total += log((double)sum);
    }
    return total;
}

/* Where the row is on the way back: its stretch at cluster c, when c+1 has just been done. */
static void step_back(struct hmm *m, const struct states *s, uint32_t c, float sum)
{
    for (uint32_t i = s->change_first[c + 1]; i < s->change_first[c + 2]; i++) {
        const struct stretch *v = &s->stretch[s->change[i]];
        m->at_stretch[v->row] = v->before;
        m->b[v->row] = sum / (float)s->n_row;
    }
}

static sq_err keep_room(struct hmm *m, size_t n)
{
    if (n <= m->kept_cap)
        return SQ_OK;
    size_t cap = n + n / 2;
    uint32_t *a = realloc(m->kept_hap, cap * sizeof *a);
    if (a)
        m->kept_hap = a;
    uint16_t *b = realloc(m->kept_weight, cap * sizeof *b);
    if (b)
        m->kept_weight = b;
    if (!a || !b)
        return sq_fail(SQ_ENOMEM);
    m->kept_cap = cap;
    return SQ_OK;
}

/* What is above the cut of cluster @c's posterior, as whole numbers that add up to WEIGHT_FULL. */
static sq_err keep(struct hmm *m, const struct states *s, uint32_t c, float total, double cut)
{
    double even = 0.9 / s->n_row; /* so that something is above it */
    float above = (float)((cut < even ? cut : even) * (double)total);
    uint32_t n_above = sq_kernels()->above(m->post, s->n_row, above, m->index, m->value);
    sq_err e = keep_room(m, m->n_kept + n_above);
    if (e)
        return e;
    double sum = 0;
    for (uint32_t i = 0; i < n_above; i++)
        sum += (double)m->value[i];
    float to_weight = sum > 0 ? (float)(WEIGHT_FULL / sum) : 0;
    uint32_t rest = WEIGHT_FULL, largest = 0;
    size_t first = m->n_kept;
    for (uint32_t i = 0; i < n_above; i++) {
        uint32_t weight = (uint32_t)(m->value[i] * to_weight);
        m->kept_hap[first + i] = s->stretch[m->at_stretch[m->index[i]]].hap;
        m->kept_weight[first + i] = (uint16_t)weight;
        rest -= weight;
        if (m->value[i] > m->value[largest])
            largest = i;
    }
    if (n_above) /* rounding */
        m->kept_weight[first + largest] = (uint16_t)(m->kept_weight[first + largest] + rest);
    m->n_kept += n_above;
    m->kept_at[c] = (struct part){(uint32_t)first, (uint32_t)m->n_kept};
    return SQ_OK;
}

/* Where the target's known allele at marker @k isn't a row's: alt ^ flip & known. */
struct own {
    uint64_t flip, known;
};
static struct own own_at(const struct typed *y, uint32_t target, uint32_t k)
{
    size_t at = target * y->marker_words + k / 64;
    return (struct own){.flip = y->target[at] >> (k % 64) & 1 ? ~UINT64_C(0) : 0, .known = y->missing[at] >> (k % 64) & 1 ? 0 : ~UINT64_C(0)};
}

/* For each marker of the cluster the rows that disagree with the target there and nowhere else in the cluster. */
static void find_lone(struct hmm *m, const struct typed *y, const struct states *s, uint32_t first, uint32_t end)
{
    size_t words = s->row_words;
    memset(m->once, 0, words * sizeof *m->once);
    memset(m->twice, 0, words * sizeof *m->twice);
    for (uint32_t k = first; k < end; k++) {
        struct own own = own_at(y, s->target, k);
        const uint64_t *alt = s->alt + k * words;
        uint64_t *lone = m->lone + (k - first) * words;
        for (size_t w = 0; w < words; w++) {
            lone[w] = (alt[w] ^ own.flip) & own.known;
            m->twice[w] |= m->once[w] & lone[w];
            m->once[w] |= lone[w];
        }
    }
    for (uint32_t k = 0; k < end - first; k++)
        for (size_t w = 0; w < words; w++)
            m->lone[k * words + w] &= ~m->twice[w];
}

/* P(ALT) at each marker of the cluster as it would be without that marker's own allele: a row that disagrees with the target there and
 * nowhere else in the cluster counts as if it agreed. */
static void leave_out(struct hmm *m, const struct typed *y, const struct states *s, const struct hmm_rates *r, uint32_t c,
                      const float sums[3], uint16_t *left_out, size_t stride)
{
    float hit, miss;
    emissions(y, s, r, c, &hit, &miss);
    double more = (double)hit / (double)miss - 1, total = (double)sums[0];
    uint32_t first = y->cluster_first[c], end = y->cluster_first[c + 1];
    bool is_single = end == first + 1;
    m->sum_alt[0] = sums[2];
    if (!is_single) {
        find_lone(m, y, s, first, end);
        sq_kernels()->masked_sums(m->post, s->n_row, s->alt + (first + 1) * s->row_words, s->row_words, end - first - 1, m->sum_alt + 1);
        sq_kernels()->masked_sums(m->post, s->n_row, m->lone, s->row_words, end - first, m->sum_lone);
    }
    for (uint32_t k = first; k < end; k++) {
        struct own own = own_at(y, s->target, k);
        double sum_alt = (double)m->sum_alt[k - first], lone = is_single ? (own.flip ? total - sum_alt : sum_alt) : (double)m->sum_lone[k - first];
        if (!own.known || lone < 0)
            lone = 0;
        double p = (sum_alt + (own.flip ? 0 : more * lone)) / (total + more * lone);
        left_out[k * stride] = (uint16_t)(p >= 1 ? SQ_ENGINE_FULL : p > 0 ? p * SQ_ENGINE_FULL + 0.5 : 0);
    }
}

void hmm_begin(struct hmm *m, const struct typed *y)
{
    memset(m->kept_at, 0, y->n_cluster * sizeof *m->kept_at);
    m->n_kept = 0;
}

sq_err hmm_part(struct hmm *m, const struct typed *y, const struct states *s, const struct hmm_rates *r, struct part keep_of, uint16_t *left_out, size_t stride)
{
    size_t pad = sq_kernel_pad(s->n_row);
    float sum = 1, hit, miss, sums[3] = {1, 1, 0};
    memset(m->x, 0, pad * sizeof *m->x);
    memset(m->b, 0, pad * sizeof *m->b);
    for (uint32_t c = s->part.first; c <= s->part.last; c++)
        sum = forward_step(m, y, s, r, c, sum, m->saved + c * pad);
    memcpy(m->at_stretch, s->last_of_row, s->n_row * sizeof *m->at_stretch);
    sq_err e = SQ_OK;
    for (uint32_t c = s->part.last + 1; c-- > s->part.first && !e;) {
        float stay = 0, evenly = 1;
        if (c < s->part.last) {
            double jump = r->jump[c + 1];
            stay = (float)((1 - jump) / (double)sums[1]);
            evenly = (float)(jump / s->n_row);
            step_back(m, s, c, sums[1]);
        }
        emissions(y, s, r, c, &hit, &miss);
        sq_kernels()->backward(m->b, s->n_row, m->saved + c * pad, match_at(s, c), s->alt + y->cluster_first[c] * s->row_words,
                               stay, evenly, hit, miss, m->post, sums);
        if (left_out)
            leave_out(m, y, s, r, c, sums, left_out, stride);
        if (c >= keep_of.first && c <= keep_of.last)
            e = keep(m, s, c, sums[0], r->cut);
    }
    return e;
}

sq_err hmm_end(const struct hmm *m, const struct typed *y, struct posterior *out)
{
    *out = (struct posterior){.start = malloc(((size_t)y->n_cluster + 1) * sizeof *out->start),
                              .hap = malloc((m->n_kept + 1) * sizeof *out->hap),
                              .weight = malloc((m->n_kept + 1) * sizeof *out->weight)};
    if (!out->start || !out->hap || !out->weight) {
        posterior_free(out);
        return sq_fail(SQ_ENOMEM);
    }
    uint32_t at = 0;
    for (uint32_t c = 0; c < y->n_cluster; c++) {
        uint32_t first = m->kept_at[c].first, n = m->kept_at[c].last - first;
        out->start[c] = at;
        memcpy(out->hap + at, m->kept_hap + first, n * sizeof *out->hap);
        memcpy(out->weight + at, m->kept_weight + first, n * sizeof *out->weight);
        at += n;
    }
    out->start[y->n_cluster] = at;
    return SQ_OK;
}
