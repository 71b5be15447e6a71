/*
 * R2 of a row: what the squared correlation of dosage and truth is expected to be over the targets, given that the row varies among them
 * (docs/quality.md: what that means, how the constants below were found, how far it is right).
 *
 * Were dosages probabilities, the truth would be coins thrown with them. They nearly are; what they lack is learnt from the
 * typed sites, whose dosages without their own alleles can be held against those alleles. Nothing here knows the truth of an untyped site.
 */
#include "lib/engine/engine_internal.h"

#include <math.h>
#include <stdlib.h>

/* Middle dosages of typed sites are surer or less sure than they may be: log odds of truth = slope * log odds of dosage. At an untyped site,
 * whose dosage is interpolated, they are surer by SLOPE_GAP, and of what sets this window apart SLOPE_SHARE holds there. */
#define SLOPE_PRIOR 1.1
#define SLOPE_SPREAD 0.15
#define SLOPE_GAP 0.17
#define SLOPE_SHARE 0.7
/* Who has a dosage of 0 has the rarer allele after all with P(miss), less where the allele is rare. */
#define MISS_PRIOR_N 20000.0
#define MISS_PRIOR_HITS 2.0
#define MISS_FULL_MAF 0.05
#define MISS_POWER 0.4
/* An allele that the panel has n times is where the model finds it in n of n + ONCE cases: that one time may be an error of the panel, or a
 * mutation younger than the haplotype's kinship with the target. */
#define ONCE 0.5

/* Newton's method for intercept and slope, both with a prior, over the levels of dosage. */
static double fit_slope(uint64_t count[SQ_ENGINE_FULL + 1][2])
{
    double a = 0, b = SLOPE_PRIOR;
    for (int round = 0; round < 12; round++) {
        double of_b = 1 / (SLOPE_SPREAD * SLOPE_SPREAD), of_a = 11, g_a = -of_a * a, g_b = -of_b * (b - SLOPE_PRIOR), h_aa = of_a, h_ab = 0, h_bb = of_b;
        for (unsigned level = 50; level <= 950; level++) {
            double n = (double)(count[level][0] + count[level][1]);
            if (n <= 0)
                continue;
            double x = log((double)level / (SQ_ENGINE_FULL - level)), p = 1 / (1 + exp(-a - b * x)), miss = (double)count[level][1] - n * p;
            g_a += miss;
            g_b += miss * x;
            h_aa += n * p * (1 - p);
            h_ab += n * p * (1 - p) * x;
            h_bb += n * p * (1 - p) * x * x;
        }
        double det = h_aa * h_bb - h_ab * h_ab;
        a += (g_a * h_bb - g_b * h_ab) / det;
        b += (g_b * h_aa - g_a * h_ab) / det;
    }
    return b > 0.5 && b < 2 ? b : SLOPE_PRIOR; /* also when it isn't a number */
}

/* How often the rarer allele was there, by its dosage without the target's own allele. */
static void count_levels(const struct typed *y, const uint16_t *left_out, uint64_t count[SQ_ENGINE_FULL + 1][2])
{
    for (size_t k = 0; k < y->n_marker; k++) {
        uint64_t n_alt = 0;
        for (size_t w = 0; w < y->hap_words; w++)
            n_alt += bits_in(y->by_marker[k * y->hap_words + w]);
        unsigned flip = n_alt * 2 > y->n_hap;
        for (size_t t = 0; t < y->n_target; t++) {
            size_t at = t * y->marker_words + k / 64;
            unsigned level = left_out[k * y->n_target + t], allele = (unsigned)(y->target[at] >> (k % 64) & 1);
            if (!(y->missing[at] >> (k % 64) & 1))
                count[flip ? SQ_ENGINE_FULL - level : level][allele ^ flip]++;
        }
    }
}

sq_err quality_learn(struct quality *q, const struct typed *y, const uint16_t *left_out)
{
    uint64_t(*count)[2] = calloc(SQ_ENGINE_FULL + 1, sizeof *count);
    if (!count)
        return sq_fail(SQ_ENOMEM);
    if (left_out)
        count_levels(y, left_out, count);
    q->slope = SLOPE_PRIOR + SLOPE_SHARE * (fit_slope(count) - SLOPE_PRIOR) - SLOPE_GAP;
    q->miss = ((double)count[0][1] + MISS_PRIOR_HITS) / ((double)count[0][0] + (double)count[0][1] + MISS_PRIOR_N);
    free(count);
    q->chance[0] = 0;
    q->chance[SQ_ENGINE_FULL] = 1;
    for (unsigned level = 1; level < SQ_ENGINE_FULL; level++) { /* as float: the same on machines whose pow() differs in its last bit */
        double with = pow((double)level / SQ_ENGINE_FULL, q->slope), without = pow(1 - (double)level / SQ_ENGINE_FULL, q->slope);
        q->chance[level] = (float)(with / (with + without));
    }
    return SQ_OK;
}

/* Coins: one for each target haplotype that has some dosage, @above its distance from the mean; n_rest more are all alike. */
struct coins {
    size_t n;
    const double *above, *chance;
    double n_rest, rest_above, rest_chance;
};

static double power(double base, double n)
{
    double result = 1;
    for (uint64_t k = (uint64_t)n; k; k >>= 1, base *= base)
        if (k & 1)
            result *= base;
    return result;
}

/* E[A^2 u^(k-1)], A: sum of `above` over the heads, k: their number. A product over coins times the first two moments of A under coins whose
 * heads are weighted by u. For tails the same: their sum is -A. */
static double weighted_square(const struct coins *c, bool of_tails, double u)
{
    double p = of_tails ? 1 - c->rest_chance : c->rest_chance, g = 1 - p + p * u, w = p * u / g, all = power(g, c->n_rest);
    double mean = c->n_rest * c->rest_above * w, variance = c->n_rest * c->rest_above * c->rest_above * w * (1 - w);
    for (size_t i = 0; i < c->n; i++) {
        p = of_tails ? 1 - c->chance[i] : c->chance[i];
        g = 1 - p + p * u;
        w = p * u / g;
        all *= g;
        mean += c->above[i] * w;
        variance += c->above[i] * c->above[i] * w * (1 - w);
    }
    return all * (mean * mean + variance) / u;
}

/* E[A^2 / k; k > 0], since 1/k is the integral of u^(k-1) from 0 to 1: Gauss and Legendre's rule with 12 nodes. */
static double square_by_number(const struct coins *c, bool of_tails)
{
    static const double node[12] = {0.0092196828766403782, 0.047941371814762601, 0.11504866290284765, 0.20634102285669126, 0.31608425050090994, 0.43738329574426554,
                                   0.5626167042557344, 0.68391574949909006, 0.79365897714330869, 0.88495133709715235, 0.95205862818523745, 0.99078031712335957};
    static const double weight[12] = {0.023587668193256011, 0.053469662997659442, 0.080039164271673055, 0.10158371336153282, 0.11674626826917732, 0.12457352290670134,
                                     0.12457352290670134, 0.11674626826917732, 0.10158371336153282, 0.080039164271673055, 0.053469662997659442, 0.023587668193256011};
    double sum = 0;
    for (unsigned i = 0; i < 12; i++)
        sum += weight[i] * weighted_square(c, of_tails, node[i]);
    return sum;
}

/* With k heads among n coins the squared correlation is A^2 / V * (1/k + 1/(n-k)), V: sum of squares of `above`. Beyond FEW the number of heads,
 * or tails, is taken as its mean. Heads are the rarer side. */
#define FEW 16.0
static double expected_r2(const struct coins *c, double n, double v)
{
    double heads = c->n_rest * c->rest_chance, mean = c->n_rest * c->rest_above * c->rest_chance;
    double none = power(1 - c->rest_chance, c->n_rest), all = power(c->rest_chance, c->n_rest);
    double variance = c->n_rest * c->rest_above * c->rest_above * c->rest_chance * (1 - c->rest_chance);
    for (size_t i = 0; i < c->n; i++) {
        heads += c->chance[i];
        none *= 1 - c->chance[i];
        all *= c->chance[i];
        mean += c->above[i] * c->chance[i];
        variance += c->above[i] * c->above[i] * c->chance[i] * (1 - c->chance[i]);
    }
    double square = mean * mean + variance, varies = 1 - none - all;
    double by_heads = heads > FEW ? square / heads : square_by_number(c, false);
    double by_tails = n - heads > FEW ? square / (n - heads) : square_by_number(c, true);
    return varies > 0 ? (by_heads + by_tails) / (v * varies) : 0;
}

float quality_r2(const struct quality *q, const uint16_t *milli, size_t n, uint32_t n_alt, uint32_t n_hap, double *work)
{
    uint64_t sum = 0, square = 0;
    sq_kernels()->row_sums(milli, n, &sum, &square);
    double mean = (double)sum / (double)n, v = (double)square - mean * (double)sum;
    if (v < 0.5)
        return 0; /* all are alike */
    bool flip = n_alt * (uint64_t)2 > n_hap;
    uint32_t n_rare = flip ? n_hap - n_alt : n_alt;
    double maf = (double)n_rare / n_hap, share = n_rare / (n_rare + ONCE);
    double miss = q->miss * (maf < MISS_FULL_MAF ? pow(maf / MISS_FULL_MAF, MISS_POWER) : 1);
    double above_zero = (flip ? SQ_ENGINE_FULL - mean : mean) / SQ_ENGINE_FULL, heads = 0, *chance = work + n;
    struct coins c = {.above = work, .chance = chance, .rest_above = -above_zero, .rest_chance = miss};
    for (size_t i = 0; i < n; i++) {
        unsigned level = flip ? SQ_ENGINE_FULL - milli[i] : milli[i];
        if (!level)
            continue;
        double d = (double)level / SQ_ENGINE_FULL;
        work[c.n] = d - above_zero;
        chance[c.n] = (double)q->chance[level] * share + (1 - d) * miss;
        heads += chance[c.n++];
    }
    c.n_rest = (double)(n - c.n);
    if ((heads + c.n_rest * miss) * 2 > (double)n) { /* the panel's rarer allele is the commoner one here */
        for (size_t i = 0; i < c.n; i++)
            chance[i] = 1 - chance[i];
        c.rest_chance = 1 - miss;
    }
    double r2 = expected_r2(&c, (double)n, v / ((double)SQ_ENGINE_FULL * SQ_ENGINE_FULL));
    return r2 > 0 ? r2 < 1 ? (float)r2 : 1 : 0;
}
