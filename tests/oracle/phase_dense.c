/*
 * A sample's two haplotypes copy two panel haplotypes, each after Li & Stephens 2003, independently of each other; of what they show only the
 * sum is seen. A state is the ordered pair copied. Rows are rescaled at each site: only ratios within a site are used.
 */
#include "oracle/phase_dense.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double jump(const struct phase_dense *d, uint32_t s)
{
    return fmax(1e-8, 1.0 - exp(-0.04 * d->scale * (d->cm[s] - d->cm[s - 1]) / d->n_hap));
}

static double shows(const struct phase_dense *d, uint32_t s, uint32_t hap, unsigned allele)
{
    return d->allele[(size_t)s * d->n_hap + hap] == allele ? 1.0 - d->mismatch : d->mismatch;
}

/* P(the first haplotype shows x, the second y | the pair i, j is copied) */
static double shows_pair(const struct phase_dense *d, uint32_t s, uint32_t i, uint32_t j, unsigned x, unsigned y)
{
    return shows(d, s, i, x) * shows(d, s, j, y);
}

static double emission(const struct phase_dense *d, uint32_t s, uint32_t i, uint32_t j)
{
    double sum = 0;
    for (unsigned x = 0; x < 2; x++)
        for (unsigned y = 0; y < 2; y++)
            if (d->genotype[s] == PHASE_DENSE_MISSING || d->genotype[s] == x + y)
                sum += shows_pair(d, s, i, j, x, y);
    return sum;
}

/* One haplotype after the other takes its step: transitions are symmetric, so the same serves both directions. */
static void step(const struct phase_dense *d, double r, double *f, double *scratch)
{
    uint32_t n = d->n_hap;
    memset(scratch, 0, (size_t)n * n * sizeof *scratch);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t from = 0; from < n; from++)
            for (uint32_t j = 0; j < n; j++)
                scratch[(size_t)i * n + j] += f[(size_t)from * n + j] * ((from == i ? 1.0 - r : 0.0) + r / n);
    memset(f, 0, (size_t)n * n * sizeof *f);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++)
            for (uint32_t from = 0; from < n; from++)
                f[(size_t)i * n + j] += scratch[(size_t)i * n + from] * ((from == j ? 1.0 - r : 0.0) + r / n);
}

static void rescale(double *f, size_t n)
{
    double sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += f[k];
    for (size_t k = 0; k < n; k++)
        f[k] /= sum;
}

static void emit(const struct phase_dense *d, uint32_t s, double *f)
{
    for (uint32_t i = 0; i < d->n_hap; i++)
        for (uint32_t j = 0; j < d->n_hap; j++)
            f[(size_t)i * d->n_hap + j] *= emission(d, s, i, j);
}

/* before[s]: genotypes left of s; after[s]: right of s, given the pair at s. Each without the genotype of s itself. */
static void sweep(const struct phase_dense *d, double *before, double *after)
{
    uint32_t n = d->n_site;
    size_t nn = (size_t)d->n_hap * d->n_hap;
    double *scratch = calloc(nn, sizeof *scratch);
    for (size_t k = 0; k < nn; k++)
        before[k] = after[(n - 1) * nn + k] = 1;
    for (uint32_t s = 1; s < n; s++) {
        double *f = before + s * nn;
        memcpy(f, f - nn, nn * sizeof *f);
        emit(d, s - 1, f);
        step(d, jump(d, s), f, scratch);
        rescale(f, nn);
    }
    for (uint32_t s = n - 1; s-- > 0;) {
        double *b = after + s * nn;
        memcpy(b, b + nn, nn * sizeof *b);
        emit(d, s + 1, b);
        step(d, jump(d, s + 1), b, scratch);
        rescale(b, nn);
    }
    free(scratch);
}

/* The heterozygote at s with its ALT on the first haplotype, and what follows up to and without @to. */
static double same_between(const struct phase_dense *d, uint32_t s, uint32_t to, const double *before, const double *after)
{
    uint32_t n = d->n_hap;
    size_t nn = (size_t)n * n;
    double *f = malloc(nn * sizeof *f), *scratch = malloc(nn * sizeof *f), p[2] = {0, 0};
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++)
            f[(size_t)i * n + j] = before[s * nn + (size_t)i * n + j] * shows_pair(d, s, i, j, 1, 0);
    for (uint32_t k = s + 1; k <= to; k++) {
        step(d, jump(d, k), f, scratch);
        if (k < to)
            emit(d, k, f);
        rescale(f, nn);
    }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < n; j++)
            for (unsigned x = 0; x < 2; x++)
                p[x] += f[(size_t)i * n + j] * shows_pair(d, to, i, j, x, 1 - x) * after[to * nn + (size_t)i * n + j];
    free(f);
    free(scratch);
    return p[1] / (p[0] + p[1]);
}

void phase_dense_run(const struct phase_dense *d, double *same, double (*genotype)[3])
{
    uint32_t n = d->n_hap, last = UINT32_MAX;
    size_t nn = (size_t)n * n;
    double *before = malloc(d->n_site * nn * sizeof *before), *after = malloc(d->n_site * nn * sizeof *after);
    sweep(d, before, after);
    for (uint32_t s = 0; s < d->n_site; s++) {
        double *g = genotype[s];
        g[0] = g[1] = g[2] = 0;
        for (uint32_t i = 0; i < n; i++)
            for (uint32_t j = 0; j < n; j++)
                for (unsigned x = 0; x < 2; x++)
                    for (unsigned y = 0; y < 2; y++)
                        if (d->genotype[s] == PHASE_DENSE_MISSING || d->genotype[s] == x + y)
                            g[x + y] += before[s * nn + (size_t)i * n + j] * shows_pair(d, s, i, j, x, y) * after[s * nn + (size_t)i * n + j];
        rescale(g, 3);
        same[s] = -1;
        if (d->genotype[s] != 1)
            continue;
        if (last != UINT32_MAX)
            same[s] = same_between(d, last, s, before, after);
        last = s;
    }
    free(before);
    free(after);
}

double phase_dense_haploid(const struct phase_dense *d, const uint8_t *allele)
{
    uint32_t n = d->n_hap;
    double *f = malloc(n * sizeof *f), *next = malloc(n * sizeof *f), sum = 0;
    for (uint32_t s = 0; s < d->n_site; s++) {
        double r = s ? jump(d, s) : 0;
        for (uint32_t h = 0; h < n; h++) {
            next[h] = s ? 0 : 1.0 / n;
            for (uint32_t from = 0; s && from < n; from++)
                next[h] += f[from] * ((from == h ? 1.0 - r : 0.0) + r / n);
            next[h] *= allele[s] == PHASE_DENSE_MISSING ? 1.0 : shows(d, s, h, allele[s]);
        }
        memcpy(f, next, n * sizeof *f);
    }
    for (uint32_t h = 0; h < n; h++)
        sum += f[h];
    free(f);
    free(next);
    return sum;
}
