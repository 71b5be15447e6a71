/* Phasing against the diploid model written out (oracle/phase_dense), and its confidence against what was simulated. */
#include "lib/engine/phase.h"
#include "memory_panel.h"
#include "oracle/phase_dense.h"
#include "draw.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MAX_HAP 400U
#define MAX_SITE 240U

static bool happens(double p)
{
    return draw(1U << 30) < p * (1U << 30);
}

/* A panel of mosaics of a few founders. */
struct world {
    struct memory_panel m;
    struct sq_engine_panel panel;
    uint8_t allele[MAX_SITE * MAX_HAP];
    double cm[MAX_SITE], scale, mismatch;
};

static struct world *world_new(uint32_t n_hap, uint32_t n_site, double scale, double mismatch)
{
    struct world *w = calloc(1, sizeof *w);
    static uint8_t founder[30][MAX_SITE];
    double cm = 1;
    for (uint32_t s = 0; s < n_site; s++) {
        uint32_t rarity = 2 + draw(4);
        for (uint32_t f = 0; f < 30; f++)
            founder[f][s] = draw(rarity) == 0;
        w->cm[s] = cm += 0.002 * (1 + draw(9)) + (draw(25) ? 0 : 0.2);
    }
    for (uint32_t h = 0; h < n_hap; h++)
        for (uint32_t s = 0, f = draw(30); s < n_site; s++) {
            f = draw(15) ? f : draw(30);
            w->allele[(size_t)s * n_hap + h] = founder[f][s];
        }
    w->m = (struct memory_panel){.n_hap = n_hap, .n_site = n_site, .allele = w->allele, .cm = w->cm};
    w->panel = memory_panel_open(&w->m);
    w->scale = scale;
    w->mismatch = mismatch;
    return w;
}

/* A haplotype drawn from the haploid model of @w. */
static void copy_of_panel(const struct world *w, uint8_t *out)
{
    uint32_t n = w->m.n_hap, h = draw(n);
    for (uint32_t s = 0; s < w->m.n_site; s++) {
        if (s && happens(1 - exp(-0.04 * w->scale * (w->cm[s] - w->cm[s - 1]) / n)))
            h = draw(n);
        out[s] = w->allele[(size_t)s * n + h] ^ happens(w->mismatch);
    }
}

/* Samples and what became of them. */
struct cohort {
    uint32_t n, n_site;
    uint8_t *truth, *seen; /* [n_site][2n]; seen: heterozygotes as 0, 1 */
    uint8_t *allele, *swap, *confidence;
    struct sq_phase_site *site;
};

static void *filled(size_t n)
{
    void *p = calloc(n, 1);
    assert_non_null(p);
    return p;
}

static struct cohort *cohort_new(const struct world *w, uint32_t n, double missing)
{
    struct cohort *c = filled(sizeof *c);
    uint32_t n_site = w->m.n_site;
    size_t all = (size_t)n_site * n;
    *c = (struct cohort){.n = n, .n_site = n_site, .truth = filled(2 * all), .seen = filled(2 * all), .allele = filled(2 * all), .swap = filled(all), .confidence = filled(all), .site = filled(n_site * sizeof *c->site)};
    for (uint32_t k = 0; k < 2 * n; k++) {
        uint8_t hap[MAX_SITE];
        copy_of_panel(w, hap);
        for (uint32_t s = 0; s < n_site; s++)
            c->truth[(size_t)s * 2 * n + k] = hap[s];
    }
    for (uint32_t s = 0; s < n_site; s++)
        for (uint32_t k = 0; k < 2 * n; k += 2) {
            const uint8_t *t = c->truth + (size_t)s * 2 * n + k;
            uint8_t *g = c->seen + (size_t)s * 2 * n + k;
            bool is_missing = happens(missing);
            g[0] = is_missing ? SQ_ENGINE_MISSING : t[0] & t[1];
            g[1] = is_missing ? SQ_ENGINE_MISSING : t[0] | t[1];
        }
    return c;
}

static void cohort_free(struct cohort *c)
{
    free(c->truth);
    free(c->seen);
    free(c->allele);
    free(c->swap);
    free(c->confidence);
    free(c->site);
    free(c);
}

static void phase(const struct world *w, struct cohort *c, unsigned n_sampled)
{
    memcpy(c->allele, c->seen, (size_t)c->n_site * 2 * c->n);
    for (uint32_t s = 0; s < c->n_site; s++)
        c->site[s] = (struct sq_phase_site){.site = s, .allele = c->allele + (size_t)s * 2 * c->n, .swap = c->swap + (size_t)s * c->n, .confidence = c->confidence + (size_t)s * c->n};
    uint8_t *is_haploid = filled(c->n);
    struct sq_phase_window window = {.panel = &w->panel, .n_sample = c->n, .n_hap = 2 * c->n, .is_haploid = is_haploid, .n_typed = c->n_site, .typed = c->site, .key = 20261122};
    struct sq_phase_params p = {.n_thread = 2, .n_sampled = n_sampled, .scale = w->scale, .mismatch = w->mismatch};
    assert_int_equal(sq_phase(&window, &p, NULL), SQ_OK);
    free(is_haploid);
}

static const uint8_t *genotype(const uint8_t *alleles, const struct cohort *c, uint32_t s, uint32_t i)
{
    return alleles + (size_t)s * 2 * c->n + 2 * i;
}

static bool is_het(const uint8_t *g)
{
    return g[0] + g[1] == 1 && g[0] != SQ_ENGINE_MISSING && g[1] != SQ_ENGINE_MISSING;
}

/* The confidence as a probability that the order is right. */
static double as_probability(uint8_t confidence)
{
    return 0.5 + confidence / 510.0;
}

/* The model's view of sample @i, its genotypes in @g. */
static struct phase_dense dense(const struct world *w, const struct cohort *c, uint32_t i, uint8_t *g)
{
    for (uint32_t s = 0; s < c->n_site; s++) {
        const uint8_t *a = genotype(c->seen, c, s, i);
        g[s] = a[0] == SQ_ENGINE_MISSING ? PHASE_DENSE_MISSING : (uint8_t)(a[0] + a[1]);
    }
    return (struct phase_dense){w->m.n_hap, c->n_site, w->allele, w->cm, g, w->scale, w->mismatch};
}

/* ---- the oracle itself: all orders of a few heterozygotes, one by one, each haplotype by the haploid model ---------------- */

static void the_oracle_agrees_with_all_orders_one_by_one(void **state)
{
    (void)state;
    seed = 5;
    struct world *w = world_new(9, 14, 900, 0.01);
    struct cohort *c = cohort_new(w, 6, 0.1);
    for (uint32_t i = 0; i < c->n; i++) {
        uint8_t g[MAX_SITE], hap[2][MAX_SITE];
        struct phase_dense d = dense(w, c, i, g);
        double same[MAX_SITE], p[MAX_SITE][3], sum[MAX_SITE][2] = {{0}}, of[MAX_SITE][3] = {{0}};
        phase_dense_run(&d, same, p);
        uint32_t open[MAX_SITE], n_bit = 0; /* a bit a heterozygote, two a missing call */
        for (uint32_t s = 0; s < c->n_site; s++)
            for (uint32_t k = 0; k < (g[s] == 1 ? 1U : g[s] == PHASE_DENSE_MISSING ? 2U
                                                                                   : 0U);
                 k++)
                open[n_bit++] = s;
        assert_true(n_bit < 16);
        for (uint32_t way = 0; way < 1U << n_bit; way++) {
            for (uint32_t s = 0; s < c->n_site; s++)
                hap[0][s] = hap[1][s] = g[s] == 2;
            for (uint32_t b = 0; b < n_bit; b++) {
                uint32_t s = open[b];
                if (g[s] == 1)
                    hap[0][s] = way >> b & 1, hap[1][s] = !hap[0][s];
                else
                    hap[b && open[b - 1] == s][s] = way >> b & 1;
            }
            double both = phase_dense_haploid(&d, hap[0]) * phase_dense_haploid(&d, hap[1]);
            for (uint32_t s = 0, last = UINT32_MAX; s < c->n_site; s++) {
                of[s][hap[0][s] + hap[1][s]] += both;
                if (g[s] != 1)
                    continue;
                if (last != UINT32_MAX)
                    sum[s][hap[0][s] == hap[0][last]] += both;
                last = s;
            }
        }
        for (uint32_t s = 0; s < c->n_site; s++) {
            if (same[s] >= 0)
                assert_true(fabs(same[s] - sum[s][1] / (sum[s][0] + sum[s][1])) < 1e-9);
            for (unsigned k = 0; k < 3; k++)
                assert_true(fabs(p[s][k] - of[s][k] / (of[s][0] + of[s][1] + of[s][2])) < 1e-9);
        }
    }
    cohort_free(c);
    free(w);
}

/* ---- the engine against the oracle ------------------------------------------------------------------------------------------- */

struct tally {
    double n, expected, best, n_clear, n_clear_right, difference;
};

static void compare_sample(const struct world *w, const struct cohort *one, struct tally *order, struct tally *call)
{
    uint8_t g[MAX_SITE];
    double same[MAX_SITE], p[MAX_SITE][3];
    struct phase_dense d = dense(w, one, 0, g);
    phase_dense_run(&d, same, p);
    for (uint32_t s = 0, last = 0; s < one->n_site; s++) {
        const uint8_t *a = one->allele + 2 * s;
        if (g[s] == PHASE_DENSE_MISSING) {
            double best = fmax(fmax(p[s][0], p[s][1]), p[s][2]), mine = p[s][a[0] + a[1]];
            call->n++, call->expected += mine, call->best += best;
            call->n_clear += best > 0.99, call->n_clear_right += best > 0.99 && mine == best;
        }
        if (g[s] != 1)
            continue;
        if (same[s] >= 0) {
            double mine = a[0] == one->allele[2 * last] ? same[s] : 1 - same[s], best = fmax(same[s], 1 - same[s]);
            order->n++, order->expected += mine, order->best += best;
            order->n_clear += best > 0.99, order->n_clear_right += best > 0.99 && mine > 0.5;
            order->difference += fabs(as_probability(one->confidence[s]) - mine);
        }
        last = s;
    }
}

/* One sample at a time, for the oracle knows no other samples. */
static void orders_and_calls_are_those_of_the_model(void **state)
{
    (void)state;
    seed = 77;
    struct world *w = world_new(24, 80, 600, 0.002);
    struct tally order = {0}, call = {0};
    for (uint32_t i = 0; i < 60; i++) {
        struct cohort *one = cohort_new(w, 1, 0.02);
        phase(w, one, 4);
        compare_sample(w, one, &order, &call);
        cohort_free(one);
    }
    print_message("# orders: %.0f, right by the model %.4f (best possible %.4f), clear ones %.0f of %.0f, confidence off by %.4f\n", order.n,
                  order.expected / order.n, order.best / order.n, order.n_clear_right, order.n_clear, order.difference / order.n);
    print_message("# missing calls: %.0f, right by the model %.4f (best possible %.4f), clear ones %.0f of %.0f\n", call.n, call.expected / call.n,
                  call.best / call.n, call.n_clear_right, call.n_clear);
    assert_true(order.n > 1000 && order.n_clear > 300 && call.n > 60 && call.n_clear > 10);
    assert_true(order.n_clear_right >= 0.99 * order.n_clear && order.expected >= order.best - 0.02 * order.n);
    assert_true(order.difference <= 0.06 * order.n);
    assert_true(call.n_clear_right >= 0.97 * call.n_clear && call.expected >= call.best - 0.04 * call.n);
    free(w);
}

/* ---- confidence and sampled phasings against what was simulated ------------------------------------------------------------ */

#define N_BIN 5U

struct calibration {
    double n[N_BIN], said[N_BIN], right[N_BIN], second_right, n_second, sampled_right, n_sampled;
};

static void calibrate_sample(const struct cohort *c, uint32_t i, unsigned n_sampled, struct calibration *out)
{
    for (uint32_t s = 0, last = UINT32_MAX; s < c->n_site; s++) {
        if (!is_het(genotype(c->seen, c, s, i)))
            continue;
        if (last != UINT32_MAX) {
            bool is_same = genotype(c->truth, c, s, i)[0] == genotype(c->truth, c, last, i)[0];
            bool mine = genotype(c->allele, c, s, i)[0] == genotype(c->allele, c, last, i)[0];
            double said = as_probability(c->confidence[(size_t)s * c->n + i]);
            uint32_t b = (uint32_t)fmin((said - 0.5) * 2 * N_BIN, N_BIN - 1);
            out->n[b]++, out->said[b] += said, out->right[b] += mine == is_same;
            unsigned turned = c->swap[(size_t)s * c->n + i] ^ c->swap[(size_t)last * c->n + i];
            out->n_second++, out->second_right += (mine ^ (turned & 1)) == is_same;
            for (unsigned k = 1; k < n_sampled; k++)
                out->n_sampled++, out->sampled_right += (mine ^ (turned >> k & 1)) == is_same;
        }
        last = s;
    }
}

static void confidence_is_how_often_it_is_right(void **state)
{
    (void)state;
    seed = 4242;
    struct world *w = world_new(300, MAX_SITE, 6000, 0.001);
    struct calibration found = {0};
    double n = 0, said = 0, right = 0;
    for (unsigned round = 0; round < 2; round++) {
        struct cohort *c = cohort_new(w, 100, 0.002);
        phase(w, c, 4);
        for (uint32_t i = 0; i < c->n; i++)
            calibrate_sample(c, i, 4, &found);
        cohort_free(c);
    }
    for (unsigned b = 0; b < N_BIN; b++) {
        print_message("# said %.3f, right %.3f, of %.0f\n", found.said[b] / found.n[b], found.right[b] / found.n[b], found.n[b]);
        n += found.n[b], said += found.said[b], right += found.right[b];
    }
    print_message("# all: said %.4f, right %.4f, of %.0f; drawn phasings right %.4f, the second choice %.4f\n", said / n, right / n, n,
                  found.sampled_right / found.n_sampled, found.second_right / found.n_second);
    for (unsigned b = 0; b < N_BIN; b++)
        if (found.n[b] > 300)
            assert_true(fabs(found.said[b] - found.right[b]) < 0.08 * found.n[b]);
    assert_true(n > 5000 && right > 0.9 * n && fabs(said - right) < 0.02 * n);
    assert_true(fabs(found.sampled_right / found.n_sampled - said / n) < 0.03);
    double second = found.second_right / found.n_second; /* the less likely order where there is doubt, and no other */
    assert_true(second < right / n - 0.005 && second > 0.9);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oracle_agrees_with_all_orders_one_by_one),
        cmocka_unit_test(orders_and_calls_are_those_of_the_model),
        cmocka_unit_test(confidence_is_how_often_it_is_right),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
