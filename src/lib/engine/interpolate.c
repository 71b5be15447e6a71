/*
 * Dosages at the rows of a block. The weights of a target's posteriors left and right of a row are added up by pattern, since
 * haplotypes of one pattern are the same in all 64 rows; then only the set bits of the patterns that have weight are walked. All in
 * whole numbers, so the order of adding doesn't matter.
 */
#include "lib/engine/engine_internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_CLASSES 65536U
#define SHARE_FULL 1024U /* of the way from the left cluster to the right one */

sq_err dosage_init(struct dosage *d, uint32_t n_target)
{
    *d = (struct dosage){.n_target = n_target};
    d->left = malloc(MAX_CLASSES * sizeof *d->left);
    d->right = malloc(MAX_CLASSES * sizeof *d->right);
    d->pattern = malloc(MAX_CLASSES * sizeof *d->pattern);
    d->class_at = malloc(MAX_CLASSES * sizeof *d->class_at);
    d->place = calloc(MAX_CLASSES, sizeof *d->place);
    d->milli = malloc((size_t)64 * n_target * sizeof *d->milli);
    d->work = malloc((size_t)2 * n_target * sizeof *d->work);
    return d->left && d->right && d->pattern && d->class_at && d->place && d->milli && d->work ? SQ_OK : sq_fail(SQ_ENOMEM);
}

void dosage_free(struct dosage *d)
{
    free(d->left);
    free(d->right);
    free(d->pattern);
    free(d->class_at);
    free(d->place);
    free(d->milli);
    free(d->work);
    *d = (struct dosage){0};
}

/* Rows of a block between the same two clusters. */
struct gap {
    uint32_t left, right;                /* clusters; the same one beyond the ends */
    uint32_t of_left[64], of_right[64];  /* shares of the two; 0 for rows of other gaps */
};

/* The gaps of rows [from, to): at most one a row. @cluster is the first one at or behind the row before. */
static uint32_t find_gaps(const struct typed *y, const struct sq_engine_block *b, uint32_t from, uint32_t to, uint32_t *cluster,
                          struct gap *gap)
{
    uint32_t n = 0, last = y->n_cluster - 1;
    for (uint32_t s = from; s < to; s++) {
        while (*cluster < y->n_cluster && y->cluster_cm[*cluster] < b->cm[s])
            ++*cluster;
        uint32_t right = *cluster < last ? *cluster : last, left = *cluster && *cluster <= last ? *cluster - 1 : right;
        if (!n || gap[n - 1].left != left || gap[n - 1].right != right)
            gap[n++] = (struct gap){.left = left, .right = right};
        struct gap *g = &gap[n - 1];
        double span = y->cluster_cm[right] - y->cluster_cm[left];
        g->of_right[s] = span > 0 ? (uint32_t)((b->cm[s] - y->cluster_cm[left]) / span * SHARE_FULL + 0.5) : 0;
        g->of_left[s] = SHARE_FULL - g->of_right[s];
    }
    return n;
}

/* Adds the weights of cluster @c to those of their patterns; a pattern seen for the first time gets a place in the list. */
static uint32_t add_up(struct dosage *d, const struct posterior *p, uint32_t c, const struct sq_engine_block *b, uint32_t *weight, uint32_t n)
{
    for (uint32_t i = p->start[c]; i < p->start[c + 1]; i++) {
        uint32_t k = b->class_of[p->hap[i]], at = d->place[k];
        if (at >= n || d->class_at[at] != k) {
            at = d->place[k] = n++;
            d->class_at[at] = k;
            d->pattern[at] = b->pattern[k];
            d->left[at] = d->right[at] = 0;
        }
        weight[at] += p->weight[i];
    }
    return n;
}

void dosage_block(struct dosage *d, const struct typed *y, const struct posterior *target, const struct sq_engine_block *b,
                  uint32_t from, uint32_t to, uint32_t *cluster)
{
    struct gap gap[64];
    uint32_t n_gap = find_gaps(y, b, from, to, cluster, gap);
    const uint64_t full = (uint64_t)WEIGHT_FULL * SHARE_FULL;
    memset(d->milli, 0, (size_t)(to - from) * d->n_target * sizeof *d->milli);
    for (uint32_t t = 0; t < d->n_target; t++) {
        uint32_t sum[64] = {0}, n = 0;
        uint64_t any = 0;
        for (uint32_t g = 0; g < n_gap; g++) {
            if (g && gap[g].left == gap[g - 1].right) {
                memcpy(d->left, d->right, n * sizeof *d->left);
                memset(d->right, 0, n * sizeof *d->right);
            } else {
                n = add_up(d, &target[t], gap[g].left, b, d->left, 0);
            }
            n = add_up(d, &target[t], gap[g].right, b, d->right, n);
            sq_kernels()->spread(d->pattern, d->left, d->right, n, gap[g].of_left, gap[g].of_right, sum);
            for (uint32_t i = 0; i < n; i++)
                any |= d->pattern[i];
        }
        for (any &= ~UINT64_C(0) >> (64 - to); any; any &= any - 1) {
            uint32_t s = (uint32_t)__builtin_ctzll(any);
            if (s >= from)
                d->milli[(size_t)(s - from) * d->n_target + t] = (uint16_t)((sum[s] * (uint64_t)SQ_ENGINE_FULL + full / 2) / full);
        }
    }
}

void dosage_frequency(struct dosage *d, uint32_t n_hap, const struct sq_engine_block *b, uint32_t from, uint32_t to)
{
    memset(d->left, 0, b->n_pattern * sizeof *d->left);
    for (uint32_t h = 0; h < n_hap; h++)
        d->left[b->class_of[h]]++;
    for (uint32_t s = from; s < to; s++) {
        uint64_t n = 0;
        for (uint32_t k = 0; k < b->n_pattern; k++)
            n += b->pattern[k] >> s & 1 ? d->left[k] : 0;
        uint16_t milli = (uint16_t)((n * SQ_ENGINE_FULL + n_hap / 2) / n_hap);
        for (uint32_t t = 0; t < d->n_target; t++)
            d->milli[(size_t)(s - from) * d->n_target + t] = milli;
    }
}
