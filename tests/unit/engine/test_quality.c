/* R2 of a row against what it says it is: coins are thrown with the chances, and the squared correlation of dosages and heads is averaged. */
#include "lib/engine/engine_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static uint64_t seed;

static uint64_t draw(void)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static double unit(void)
{
    return (double)(draw() >> 11) * 0x1p-53;
}

/* Dosages are what they say, nothing is missed, and the panel has the allele so often that it is no mistake. */
static void believe(struct quality *q)
{
    *q = (struct quality){.slope = 1};
    for (unsigned level = 0; level <= SQ_ENGINE_FULL; level++)
        q->chance[level] = (float)level / SQ_ENGINE_FULL;
}

#define N_HAP 2000000U
#define N_ALT 900000U

/* Mean squared correlation over throws in which the heads vary. */
static double thrown(const uint16_t *milli, size_t n, const double *chance, unsigned n_throw)
{
    double total = 0, n_varied = 0, d1 = 0, d2 = 0;
    for (size_t i = 0; i < n; i++) {
        d1 += milli[i];
        d2 += (double)milli[i] * milli[i];
    }
    for (unsigned k = 0; k < n_throw; k++) {
        double heads = 0, both = 0;
        for (size_t i = 0; i < n; i++)
            if (unit() < chance[i]) {
                heads++;
                both += milli[i];
            }
        double vx = heads - heads * heads / (double)n, vd = d2 - d1 * d1 / (double)n, c = both - heads * d1 / (double)n;
        if (vx > 0) {
            total += c * c / (vx * vd);
            n_varied++;
        }
    }
    return total / n_varied;
}

struct row {
    const char *name;
    size_t n;
    unsigned n_sure, n_half, n_low; /* dosages .95, .5 and .05, the rest 0 */
};

static void r2_is_the_mean_of_what_may_be_true(void **state)
{
    static const struct row rows[] = {{"one carrier", 400, 1, 0, 0}, {"half a carrier", 400, 0, 1, 0}, {"a hint of one", 400, 0, 0, 3},
                                      {"one and hints", 400, 1, 1, 10}, {"hints alone", 400, 0, 0, 60}, {"a few", 400, 5, 3, 20},
                                      {"about the border", 400, 10, 8, 40}, {"many", 400, 100, 40, 100}, {"most", 400, 330, 20, 40},
                                      {"all but one", 100, 98, 1, 0}, {"a sample", 2, 1, 1, 0}, {"two", 4, 1, 1, 2}};
    struct quality q;
    believe(&q);
    seed = 1;
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        uint16_t milli[400] = {0};
        double chance[400] = {0}, work[800];
        unsigned at = 0;
        for (unsigned i = 0; i < rows[r].n_sure; i++)
            milli[at++] = 950;
        for (unsigned i = 0; i < rows[r].n_half; i++)
            milli[at++] = 500;
        for (unsigned i = 0; i < rows[r].n_low; i++)
            milli[at++] = 50;
        for (size_t i = 0; i < rows[r].n; i++)
            chance[i] = milli[i] / 1000.0;
        double want = thrown(milli, rows[r].n, chance, 20000);
        float got = quality_r2(&q, milli, rows[r].n, N_ALT, N_HAP, work);
        if (fabs((double)got - want) > 0.02)
            fail_msg("%s: %.4f, thrown %.4f", rows[r].name, (double)got, want);
    }
}

/* With n_alt = 3 a dosage is worth 3 / 3.5 of itself; who has none may be a carrier all the same. */
static void rare_alleles_and_misses_lower_it(void **state)
{
    struct quality q;
    believe(&q);
    uint16_t milli[400] = {1000, 950, 800, 500};
    double work[800], chance[400];
    float before = quality_r2(&q, milli, 400, N_ALT, N_HAP, work), rare = quality_r2(&q, milli, 400, 3, N_HAP, work);
    q.miss = 0.002;
    float missed = quality_r2(&q, milli, 400, N_ALT, N_HAP, work);
    assert_true(rare < before && missed < before);
    for (size_t i = 0; i < 400; i++)
        chance[i] = milli[i] / 1000.0 + (1 - milli[i] / 1000.0) * 0.002;
    seed = 2;
    assert_float_equal(missed, (float)thrown(milli, 400, chance, 20000), 0.02F);
    q.miss = 0;
    for (size_t i = 0; i < 400; i++)
        chance[i] = milli[i] / 1000.0 * 3 / 3.5;
    assert_float_equal(rare, (float)thrown(milli, 400, chance, 20000), 0.02F);
}

static void names_of_the_alleles_do_not_matter(void **state)
{
    struct quality q;
    believe(&q);
    q.miss = 1e-4;
    seed = 3;
    for (unsigned round = 0; round < 200; round++) {
        uint16_t milli[300], turned[300];
        double work[600];
        size_t n = 1 + draw() % 300;
        uint32_t n_alt = (uint32_t)(draw() % 1000);
        for (size_t i = 0; i < n; i++) {
            milli[i] = draw() % (1 + round % 7) ? 0 : (uint16_t)(draw() % 1001);
            turned[i] = (uint16_t)(1000 - milli[i]);
        }
        float r2 = quality_r2(&q, milli, n, n_alt, 1999, work), other = quality_r2(&q, turned, n, 1999 - n_alt, 1999, work);
        assert_true(r2 >= 0 && r2 <= 1);
        assert_float_equal(r2, other, 1e-5F);
    }
}

static void what_does_not_vary_has_none(void **state)
{
    struct quality q;
    believe(&q);
    q.miss = 1e-4;
    uint16_t milli[64];
    double work[128];
    for (unsigned level = 0; level <= 1000; level += 125) {
        for (unsigned i = 0; i < 64; i++)
            milli[i] = (uint16_t)level;
        for (uint32_t n_alt = 0; n_alt <= 500; n_alt += 100)
            assert_float_equal(quality_r2(&q, milli, 64, n_alt, 500, work), 0, 0);
    }
    assert_float_equal(quality_r2(&q, milli, 1, 3, 500, work), 0, 0);
}

/* Typed sites whose log odds of truth are 0.8 of those of the dosage; every tenth site is turned, every seventh allele missing. */
static void slope_and_misses_are_learnt(void **state)
{
    enum { N_MARKER = 100, N_TARGET = 2000, HAP_WORDS = 2, WORDS = 2 };
    uint64_t *by_marker = calloc(N_MARKER * HAP_WORDS, 8), *target = calloc((size_t)N_TARGET * WORDS, 8), *missing = calloc((size_t)N_TARGET * WORDS, 8);
    uint16_t *left_out = calloc((size_t)N_MARKER * N_TARGET, 2);
    struct typed y = {.n_hap = 100, .n_target = N_TARGET, .n_marker = N_MARKER, .hap_words = HAP_WORDS, .marker_words = WORDS,
                      .by_marker = by_marker, .target = target, .missing = missing};
    seed = 4;
    for (size_t k = 0; k < N_MARKER; k++) {
        bool is_turned = k % 10 == 0;
        by_marker[k * HAP_WORDS] = is_turned ? UINT64_MAX : 0xff;
        for (size_t t = 0; t < N_TARGET; t++) {
            unsigned level = draw() % 2 ? 0 : (unsigned)(draw() % 1001);
            double d = level / 1000.0, chance = level ? pow(d, 0.8) / (pow(d, 0.8) + pow(1 - d, 0.8)) : 0.01;
            bool has = unit() < chance;
            left_out[k * N_TARGET + t] = (uint16_t)(is_turned ? 1000 - level : level);
            bool is_missing = draw() % 7 == 0;
            missing[t * WORDS + k / 64] |= (uint64_t)is_missing << (k % 64);
            target[t * WORDS + k / 64] |= (uint64_t)(!is_missing && has != is_turned) << (k % 64);
        }
    }
    struct quality q;
    assert_int_equal(quality_learn(&q, &y, left_out), SQ_OK);
    assert_float_equal((float)q.slope, 0.72F, 0.03F); /* 0.7 of the way from what is usual, less the gap */
    assert_float_equal((float)q.miss, 0.01F * 0.81F, 0.001F); /* the prior pulls: 86,000 against 20,000 */
    assert_true(q.chance[0] <= 0 && q.chance[500] > 0.499F && q.chance[500] < 0.501F && q.chance[1000] >= 1);
    assert_true(q.chance[900] < 0.9F && q.chance[100] > 0.1F);
    for (unsigned level = 1; level <= 1000; level++)
        assert_true(q.chance[level] > q.chance[level - 1]);
    assert_int_equal(quality_learn(&q, &y, NULL), SQ_OK); /* what is usual */
    assert_float_equal((float)q.slope, 0.93F, 1e-6F);
    assert_float_equal((float)q.miss, 1e-4F, 1e-9F);
    y.n_marker = 0;
    assert_int_equal(quality_learn(&q, &y, left_out), SQ_OK);
    assert_float_equal((float)q.slope, 0.93F, 1e-6F);
    free(by_marker);
    free(target);
    free(missing);
    free(left_out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(r2_is_the_mean_of_what_may_be_true),
        cmocka_unit_test(rare_alleles_and_misses_lower_it),
        cmocka_unit_test(names_of_the_alleles_do_not_matter),
        cmocka_unit_test(what_does_not_vary_has_none),
        cmocka_unit_test(slope_and_misses_are_learnt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
