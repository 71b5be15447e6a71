/*
 * Li & Stephens 2003, Appendix A, as it stands there: states are the panel haplotypes; from one typed site to the next the
 * copied haplotype stays with 1-r or is drawn anew from all with r; the target shows its allele with 1-mismatch.
 * Unscaled products in double are fine for the short chains of a test.
 */
#include "oracle/hmm_dense.h"

#include <math.h>
#include <stdlib.h>

static double emission(const struct sq_plain_window *w, const struct sq_hmm_params *p, uint32_t s, uint32_t h, uint32_t t)
{
    uint8_t seen = w->target[(size_t)s * w->n_target + t];
    unsigned has = (unsigned)(w->typed_bits[(size_t)s * sq_bit_words(w->n_hap) + h / 64] >> (h % 64) & 1);
    return seen > 1 ? 1.0 : seen == has ? 1.0 - p->mismatch
                                        : p->mismatch;
}

static double transition(const struct sq_plain_window *w, const struct sq_hmm_params *p, uint32_t s, uint32_t from,
                         uint32_t to)
{
    double r = fmax(1e-8, 1.0 - exp(-0.04 * p->ne * (w->typed_cm[s] - w->typed_cm[s - 1]) / w->n_hap));
    return (from == to ? 1.0 - r : 0.0) + r / w->n_hap;
}

/* forward[s][h] = P(alleles up to s, copying h at s) */
static double *forward(const struct sq_plain_window *w, const struct sq_hmm_params *p, uint32_t t)
{
    double *f = calloc((size_t)w->n_typed * w->n_hap, sizeof *f);
    for (uint32_t s = 0; s < w->n_typed; s++)
        for (uint32_t h = 0; h < w->n_hap; h++) {
            double sum = s ? 0 : 1.0 / w->n_hap;
            for (uint32_t g = 0; s && g < w->n_hap; g++)
                sum += f[(size_t)(s - 1) * w->n_hap + g] * transition(w, p, s, g, h);
            f[(size_t)s * w->n_hap + h] = sum * emission(w, p, s, h, t);
        }
    return f;
}

/* backward[s][h] = P(alleles after s | copying h at s) */
static double *backward(const struct sq_plain_window *w, const struct sq_hmm_params *p, uint32_t t)
{
    double *b = calloc((size_t)w->n_typed * w->n_hap, sizeof *b);
    for (uint32_t s = w->n_typed; s-- > 0;)
        for (uint32_t h = 0; h < w->n_hap; h++) {
            double sum = s + 1 == w->n_typed ? 1.0 : 0;
            for (uint32_t g = 0; s + 1 < w->n_typed && g < w->n_hap; g++)
                sum += transition(w, p, s + 1, h, g) * emission(w, p, s + 1, g, t) * b[(size_t)(s + 1) * w->n_hap + g];
            b[(size_t)s * w->n_hap + h] = sum;
        }
    return b;
}

static double carriers_share(const struct sq_plain_window *w, const struct sq_plain_site *site, const double *posterior)
{
    double sum = 0, all = 0;
    for (uint32_t h = 0; h < w->n_hap; h++)
        all += posterior[h];
    for (uint32_t c = 0; c < site->n_carrier; c++)
        sum += posterior[site->carrier[c]];
    return site->carriers_have_ref ? 1.0 - sum / all : sum / all;
}

void hmm_dense_impute(const struct sq_plain_window *w, const struct sq_hmm_params *p, double *out)
{
    for (uint32_t t = 0; t < w->n_target; t++) {
        double *f = forward(w, p, t), *b = backward(w, p, t);
        for (size_t i = 0; i < (size_t)w->n_typed * w->n_hap; i++)
            f[i] *= b[i];
        for (uint32_t i = 0; i < w->n_site; i++) {
            const struct sq_plain_site *site = &w->site[i];
            uint32_t right = 0;
            while (right < w->n_typed && w->typed_cm[right] < site->cm)
                right++;
            uint32_t left = right ? right - 1 : 0;
            if (right == w->n_typed)
                right = left;
            double share =
                right == left ? 0 : (site->cm - w->typed_cm[left]) / (w->typed_cm[right] - w->typed_cm[left]);
            out[(size_t)i * w->n_target + t] = (1 - share) * carriers_share(w, site, f + (size_t)left * w->n_hap) +
                                               share * carriers_share(w, site, f + (size_t)right * w->n_hap);
        }
        free(f);
        free(b);
    }
}

double hmm_dense_log_likelihood(const struct sq_plain_window *w, const struct sq_hmm_params *p, uint32_t t)
{
    double *f = forward(w, p, t), sum = 0;
    for (uint32_t h = 0; h < w->n_hap; h++)
        sum += f[(size_t)(w->n_typed - 1) * w->n_hap + h];
    free(f);
    return log(sum);
}
