/* The plain engine, oracle of the real one, against oracle/hmm_dense.c, and what it promises about threads, windows and limits. */
#include "oracle/plain.h"
#include "oracle/hmm_dense.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A small window with everything owned. */
struct made {
    struct sq_plain_window w;
    double *typed_cm;
    uint64_t *bits;
    uint8_t *target;
    struct sq_plain_site *site;
    uint32_t **carrier;
};

static uint64_t seed;
static uint32_t rnd(uint32_t below)
{
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return (uint32_t)(seed >> 33) % below;
}

static void fill_site(struct made *m, uint32_t i, double cm)
{
    uint32_t n_alt = 0, *alt = calloc(m->w.n_hap + 1, 4), *ref = calloc(m->w.n_hap + 1, 4), n_ref = 0;
    for (uint32_t h = 0; h < m->w.n_hap; h++)
        if (rnd(4) == 0 || (i % 3 == 0 && rnd(4)))
            alt[n_alt++] = h;
        else
            ref[n_ref++] = h;
    bool is_ref = n_alt > n_ref;
    m->carrier[i] = is_ref ? ref : alt;
    free(is_ref ? alt : ref);
    m->site[i] = (struct sq_plain_site){
        .cm = cm, .n_carrier = is_ref ? n_ref : n_alt, .carriers_have_ref = is_ref, .carrier = m->carrier[i]};
}

static int by_cm(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static struct made *make(uint32_t n_hap, uint32_t n_typed, uint32_t n_target, uint32_t n_site)
{
    struct made *m = calloc(1, sizeof *m);
    size_t n_word = sq_bit_words(n_hap);
    m->w = (struct sq_plain_window){.n_hap = n_hap, .n_typed = n_typed, .n_target = n_target, .n_site = n_site};
    m->typed_cm = calloc(n_typed + 1, sizeof *m->typed_cm);
    m->bits = calloc(n_typed * n_word + 1, 8);
    m->target = calloc((size_t)n_typed * n_target + 1, 1);
    m->site = calloc(n_site + 1, sizeof *m->site);
    m->carrier = calloc(n_site + 1, sizeof *m->carrier);
    double cm = 1;
    for (uint32_t s = 0; s < n_typed; s++) {
        m->typed_cm[s] = cm;
        cm += rnd(5) ? (rnd(1000) + 1) * 1e-4 : 0; /* sometimes two at one place */
        for (uint32_t h = 0; h < n_hap; h++)
            if (rnd(2))
                m->bits[s * n_word + h / 64] |= 1ULL << (h % 64);
        for (uint32_t t = 0; t < n_target; t++)
            m->target[(size_t)s * n_target + t] = (uint8_t)(rnd(8) ? rnd(2) : SQ_ALLELE_MISSING);
    }
    double *at = calloc(n_site + 1, sizeof *at);
    for (uint32_t i = 0; i < n_site; i++)
        at[i] = n_typed && rnd(4) == 0 ? m->typed_cm[rnd(n_typed)] : 0.95 + rnd(10000) * (cm - 0.9) / 10000;
    qsort(at, n_site, sizeof *at, by_cm);
    for (uint32_t i = 0; i < n_site; i++)
        fill_site(m, i, at[i]);
    free(at);
    m->w.typed_cm = m->typed_cm;
    m->w.typed_bits = m->bits;
    m->w.target = m->target;
    m->w.site = m->site;
    return m;
}

static void unmake(struct made *m)
{
    for (uint32_t i = 0; i < m->w.n_site; i++)
        free(m->carrier[i]);
    free(m->carrier);
    free(m->site);
    free(m->target);
    free(m->bits);
    free(m->typed_cm);
    free(m);
}

struct table {
    const struct sq_plain_window *w;
    float *dosage;
    uint32_t n_put, n_progress;
    sq_err answer;
};

static void put(void *ctx, uint32_t site, uint32_t first, uint32_t n, const float *dosage)
{
    struct table *t = ctx;
    memcpy(t->dosage + (size_t)site * t->w->n_target + first, dosage, n * sizeof *dosage);
    __atomic_add_fetch(&t->n_put, n, __ATOMIC_RELAXED);
}

static sq_err progress(void *ctx, uint32_t n_done, uint32_t n_all)
{
    struct table *t = ctx;
    assert_true(n_done <= n_all);
    t->n_progress++;
    return t->answer;
}

static float *run(const struct sq_plain_window *w, const struct sq_hmm_params *p)
{
    struct table t = {.w = w, .dosage = calloc((size_t)w->n_site * w->n_target + 1, sizeof(float))};
    assert_int_equal(sq_plain_impute(w, p, &(struct sq_plain_sink){&t, put, progress}), SQ_OK);
    assert_int_equal(t.n_put, w->n_site * w->n_target);
    return t.dosage;
}

static void check_against_dense(uint32_t n_hap, uint32_t n_typed, uint32_t n_target)
{
    struct made *m = make(n_hap, n_typed, n_target, 12);
    struct sq_hmm_params p = {.ne = 300.0 * n_hap, .mismatch = 1e-3, .n_thread = 1};
    float *got = run(&m->w, &p);
    double *want = calloc((size_t)m->w.n_site * n_target, sizeof *want);
    hmm_dense_impute(&m->w, &p, want);
    for (size_t i = 0; i < (size_t)m->w.n_site * n_target; i++)
        if (fabs((double)got[i] - want[i]) > 2e-5)
            fail_msg("%u haplotypes, %u typed, %u targets: value %zu is %g, not %g", n_hap, n_typed, n_target, i,
                     (double)got[i], want[i]);
    free(got);
    free(want);
    unmake(m);
}

static void every_shape_agrees_with_the_dense_model(void **state)
{
    seed = 1;
    for (uint32_t n_hap = 1; n_hap <= 6; n_hap++)
        for (uint32_t n_typed = 1; n_typed <= 10; n_typed++) /* block lengths 1..4, all kinds of tails */
            for (uint32_t n_target = 1; n_target <= 17; n_target += 4)
                check_against_dense(n_hap, n_typed, n_target);
    const uint32_t words[] = {31, 63, 64, 65, 70};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        check_against_dense(words[i], 26, 9);
}

static void without_typed_sites_dosage_is_frequency(void **state)
{
    seed = 2;
    struct made *m = make(10, 0, 3, 7);
    float *got = run(&m->w, &(struct sq_hmm_params){.ne = 1e5, .mismatch = 1e-4, .n_thread = 2});
    for (uint32_t i = 0; i < 7; i++) {
        float af = (float)m->site[i].n_carrier / 10;
        float want = m->site[i].carriers_have_ref ? 1 - af : af;
        assert_float_equal(got[i * 3 + 2], want, 1e-6F);
    }
    free(got);
    unmake(m);
}

static void any_number_of_threads_gives_the_same_bits(void **state)
{
    seed = 3;
    struct made *m = make(200, 60, 45, 300);
    struct sq_hmm_params p = {.ne = 1e5, .mismatch = 1e-4, .n_thread = 1};
    float *one = run(&m->w, &p);
    for (unsigned n = 2; n <= 9; n++) {
        p.n_thread = n;
        float *many = run(&m->w, &p);
        assert_memory_equal(one, many, (size_t)m->w.n_site * m->w.n_target * sizeof *one);
        free(many);
    }
    free(one);
    unmake(m);
}

/* A target alone must come out as it does among others: no sum crosses lanes. */
static void neighbours_in_the_batch_do_not_matter(void **state)
{
    seed = 4;
    struct made *m = make(50, 20, 19, 40);
    struct sq_hmm_params p = {.ne = 1e5, .mismatch = 1e-4, .n_thread = 1};
    float *all = run(&m->w, &p);
    uint8_t alone[20];
    for (uint32_t t = 0; t < 19; t++) {
        struct sq_plain_window w = m->w;
        for (uint32_t s = 0; s < 20; s++)
            alone[s] = m->target[s * 19 + t];
        w.n_target = 1;
        w.target = alone;
        float *got = run(&w, &p);
        for (uint32_t i = 0; i < w.n_site; i++)
            assert_memory_equal(&got[i], &all[(size_t)i * 19 + t], sizeof *got);
        free(got);
    }
    free(all);
    unmake(m);
}

/* Typed sites two flanks away change the middle by less than the thousandth that is written. */
static void flanks_hide_the_edges(void **state)
{
    seed = 5;
    struct made *m = make(400, 600, 8, 400);
    struct sq_hmm_params p = {.ne = 1e5, .mismatch = 1e-4, .n_thread = 2};
    for (uint32_t s = 0; s < 600; s++) { /* targets are mosaics of panel haplotypes, as real ones are */
        m->typed_cm[s] = 1 + s * 0.01;
        for (uint32_t t = 0; t < 8; t++) {
            uint32_t h = (t * 37 + s / 120 * 11) % 400;
            m->target[s * 8 + t] = (uint8_t)(m->bits[s * sq_bit_words(400) + h / 64] >> (h % 64) & 1);
        }
    }
    for (uint32_t i = 0; i < 400; i++)
        m->site[i].cm = 3.5 + i * 0.001;
    float *whole = run(&m->w, &p);
    struct sq_plain_window part = m->w; /* 1.5 cM and more on either side of 3.5 .. 3.9 */
    part.n_typed = 340;
    part.typed_cm += 100;
    part.typed_bits += 100 * sq_bit_words(400);
    part.target += (size_t)100 * 8;
    float *cut = run(&part, &p);
    for (size_t i = 0; i < 400 * 8; i++)
        assert_float_equal(whole[i], cut[i], 5e-4F);
    free(whole);
    free(cut);
    unmake(m);
}

/* A long chain of contradictions at one place must not sum to zero. */
static void contradictions_do_not_underflow(void **state)
{
    seed = 6;
    struct made *m = make(100, 500, 3, 20);
    for (uint32_t s = 0; s < 500; s++) {
        m->typed_cm[s] = 1;
        memset(m->bits + s * sq_bit_words(100), s % 2 ? 0xff : 0, 16);
        memset(m->target + (size_t)s * 3, s % 2 ? 0 : 1, 3);
    }
    float *got = run(&m->w, &(struct sq_hmm_params){.ne = 1e5, .mismatch = 1e-4, .n_thread = 1});
    for (size_t i = 0; i < 60; i++)
        assert_true(got[i] >= 0 && got[i] <= 1);
    free(got);
    unmake(m);
}

static void fit_picks_the_likeliest_of_the_grid(void **state)
{
    seed = 7;
    struct made *m = make(40, 30, 5, 1);
    for (uint32_t s = 0; s < 30; s++)
        for (uint32_t t = 0; t < 5; t++) {
            uint32_t h = (t * 7 + s / 9) % 40;
            m->target[s * 5 + t] = (uint8_t)(m->bits[s * sq_bit_words(40) + h / 64] >> (h % 64) & 1);
        }
    struct sq_hmm_params p = {.ne = 123, .mismatch = 1e-4, .n_thread = 1};
    double got = 0, best = -INFINITY, want = 0;
    assert_int_equal(sq_hmm_fit_ne(&m->w, &p, NULL, &got), SQ_OK);
    const double grid[] = {1e4, 1.7e4, 3e4, 5.5e4, 1e5, 1.7e5, 3e5, 5.5e5, 1e6};
    for (size_t i = 0; i < sizeof grid / sizeof grid[0]; i++) {
        p.ne = grid[i];
        double ll = 0;
        for (uint32_t t = 0; t < 5; t++)
            ll += hmm_dense_log_likelihood(&m->w, &p, t);
        if (ll > best) {
            best = ll;
            want = grid[i];
        }
    }
    assert_true(got >= want && got <= want);
    m->w.n_typed = SQ_HMM_FIT_MIN_TYPED - 1;
    p.ne = 123;
    assert_int_equal(sq_hmm_fit_ne(&m->w, &p, NULL, &got), SQ_OK);
    assert_true(got >= 123 && got <= 123);
    unmake(m);
}

static void broken_windows_are_refused(void **state)
{
    seed = 8;
    struct made *m = make(10, 5, 2, 6);
    struct table t = {.w = &m->w, .dosage = calloc(12, sizeof(float)), .answer = SQ_ECANCELLED};
    struct sq_plain_sink sink = {&t, put, progress};
    struct sq_hmm_params p = {.ne = 1e5, .mismatch = 1e-4, .n_thread = 1};
    assert_int_equal(sq_plain_impute(&m->w, &p, &sink), SQ_ECANCELLED); /* what progress says is passed on */
    struct sq_hmm_params none = p;
    none.n_thread = 0;
    assert_int_equal(sq_plain_impute(&m->w, &none, &sink), SQ_ERANGE);
    m->site[2].n_carrier = 1;
    m->carrier[2][0] = 10;
    assert_int_equal(sq_plain_impute(&m->w, &p, &sink), SQ_ERANGE);
    m->carrier[2][0] = 9;
    m->typed_cm[1] = 0.5;
    assert_int_equal(sq_plain_impute(&m->w, &p, &sink), SQ_ERANGE);
    struct sq_plain_window large = m->w;
    large.n_hap = SQ_HMM_MAX_HAP + 1;
    assert_int_equal(sq_plain_impute(&large, &p, &sink), SQ_ERANGE);
    free(t.dosage);
    unmake(m);
}

static void too_large_a_window_is_a_limit(void **state)
{
    struct sq_plain_window w = {.n_hap = SQ_HMM_MAX_HAP, .n_typed = 400, .n_target = 1};
    w.typed_cm = calloc(400, sizeof(double));
    w.typed_bits = calloc(1, 8);
    uint8_t target[400] = {0};
    w.target = target;
    struct table t = {.w = &w};
    assert_int_equal(sq_plain_impute(&w, &(struct sq_hmm_params){.ne = 1e5, .mismatch = 1e-4, .n_thread = 4},
                                      &(struct sq_plain_sink){&t, put, NULL}),
                     SQ_ELIMIT);
    free((void *)(uintptr_t)w.typed_cm);
    free((void *)(uintptr_t)w.typed_bits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_agrees_with_the_dense_model),
        cmocka_unit_test(without_typed_sites_dosage_is_frequency),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bits),
        cmocka_unit_test(neighbours_in_the_batch_do_not_matter),
        cmocka_unit_test(flanks_hide_the_edges),
        cmocka_unit_test(contradictions_do_not_underflow),
        cmocka_unit_test(fit_picks_the_likeliest_of_the_grid),
        cmocka_unit_test(broken_windows_are_refused),
        cmocka_unit_test(too_large_a_window_is_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
