/*
 * A window of several spans of phase_lines.c (10 cM each): as right as its parts phased one by one, no worse where spans meet, and what is given of it
 * (called alleles, sets from end to end, single haplotypes) is kept through all of them.
 */
#include "lib/engine/phase.h"
#include "memory_panel.h"
#include "draw.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_PANEL = 400,
       N_SITE = 1000,
       N_SAMPLE = 60,
       N_FOUNDER = 40,
       N_HAP = 2 * N_SAMPLE,
       N_PART = 4 };
#define LENGTH_CM 40.0
#define NEAR_CM 0.5 /* of where spans meet */

static struct {
    struct memory_panel memory;
    struct sq_engine_panel panel;
    uint8_t allele[N_SITE * N_PANEL], truth[N_SITE * N_HAP];
    double cm[N_SITE];
} w;

/* Haplotypes go over to another founder every 3 cM or so, and differ from it once in 300 sites. */
static void make(void)
{
    static uint8_t founder[N_FOUNDER][N_SITE];
    seed = 99;
    for (uint32_t s = 0; s < N_SITE; s++) {
        w.cm[s] = 2 + LENGTH_CM * s / (N_SITE - 1);
        uint32_t rarity = 2 + draw(4);
        for (uint32_t f = 0; f < N_FOUNDER; f++)
            founder[f][s] = draw(rarity) == 0;
    }
    for (uint32_t h = 0; h < N_PANEL + N_HAP; h++)
        for (uint32_t s = 0, f = draw(N_FOUNDER); s < N_SITE; s++) {
            f = draw(75) ? f : draw(N_FOUNDER);
            uint8_t a = founder[f][s] ^ (draw(300) == 0);
            if (h < N_PANEL)
                w.allele[s * N_PANEL + h] = a;
            else
                w.truth[s * N_HAP + h - N_PANEL] = a;
        }
    w.memory = (struct memory_panel){.n_hap = N_PANEL, .n_site = N_SITE, .allele = w.allele, .cm = w.cm};
    w.panel = memory_panel_open(&w.memory);
}

static void order_lost(uint8_t *g)
{
    uint8_t a = g[0] & g[1], b = g[0] | g[1];
    g[0] = a;
    g[1] = b;
}

/* Phases sites [from, to) in place. */
static void phase(uint8_t *allele, uint32_t from, uint32_t to, const uint8_t *set, const uint8_t *is_haploid, uint32_t n_hap)
{
    static struct sq_phase_site site[N_SITE];
    for (uint32_t s = from; s < to; s++)
        site[s - from] = (struct sq_phase_site){.site = s, .allele = allele + s * N_HAP, .set = set ? set + s * N_SAMPLE : NULL};
    struct sq_phase_window window = {.panel = &w.panel, .n_sample = N_SAMPLE, .n_hap = n_hap, .is_haploid = is_haploid, .n_typed = to - from, .typed = site, .key = 5};
    struct sq_phase_params p = {.n_thread = 2, .n_sampled = 0};
    assert_int_equal(sq_phase(&window, &p, NULL), SQ_OK);
}

/* ---- as right as its parts ---------------------------------------------------------------------------------------------- */

struct errors {
    uint32_t n, wrong, n_near, wrong_near;
};

static bool is_near_border(double cm)
{
    for (uint32_t i = 1; i < N_PART; i++)
        if (fabs(cm - w.cm[0] - LENGTH_CM * i / N_PART) <= NEAR_CM)
            return true;
    return false;
}

/* Of pairs of heterozygotes one after the other; @is_apart: not of those in two parts. */
static struct errors count(const uint8_t *allele, bool is_apart)
{
    struct errors e = {0};
    for (uint32_t i = 0; i < N_SAMPLE; i++)
        for (uint32_t s = 0, last = UINT32_MAX; s < N_SITE; s++) {
            const uint8_t *t = w.truth + s * N_HAP + 2 * i, *a = allele + s * N_HAP + 2 * i;
            if (t[0] == t[1])
                continue;
            assert_true(a[0] + a[1] == 1);
            if (last != UINT32_MAX && !(is_apart && s * N_PART / N_SITE != last * N_PART / N_SITE)) {
                const uint8_t *before = w.truth + last * N_HAP + 2 * i, *was = allele + last * N_HAP + 2 * i;
                bool is_wrong = (t[0] == before[0]) != (a[0] == was[0]), is_near = is_near_border((w.cm[s] + w.cm[last]) / 2);
                e.n++, e.wrong += is_wrong;
                e.n_near += is_near, e.wrong_near += is_near && is_wrong;
            }
            last = s;
        }
    return e;
}

static void spans_are_as_right_as_parts_and_where_they_meet(void **state)
{
    static uint8_t whole[N_SITE * N_HAP], parts[N_SITE * N_HAP], is_haploid[N_SAMPLE];
    memcpy(whole, w.truth, sizeof whole);
    for (uint32_t k = 0; k < N_SITE * N_HAP; k += 2)
        order_lost(whole + k);
    memcpy(parts, whole, sizeof parts);
    phase(whole, 0, N_SITE, NULL, is_haploid, N_HAP);
    for (uint32_t i = 0; i < N_PART; i++)
        phase(parts, i * N_SITE / N_PART, (i + 1) * N_SITE / N_PART, NULL, is_haploid, N_HAP);
    struct errors all = count(whole, false), one = count(whole, true), each = count(parts, true);
    print_message("# whole: %u of %u wrong; where spans meet %u of %u; within parts %u, parts alone %u of %u\n", all.wrong, all.n, all.wrong_near, all.n_near,
                  one.wrong, each.wrong, each.n);
    assert_true(all.n > 15000 && all.n_near > 800 && one.n == each.n);
    assert_true(all.wrong > 20 && all.wrong < 0.03 * all.n);
    assert_true(one.wrong <= each.wrong + 2 * sqrt(each.wrong));
    double expected = (double)all.wrong * all.n_near / all.n;
    assert_true(all.wrong_near <= expected + 3 * sqrt(expected) + 1);
}

/* ---- what is given ---------------------------------------------------------------------------------------------------------- */

/* Samples 1, 9 ...: one haplotype. 2, 10 ...: all of it is one set. 3, 11 ...: sets of 9 cM, over the borders of spans. 4, 12 ...: a third isn't called. */
static void given_orders_calls_and_single_haplotypes_stay(void **state)
{
    static uint8_t seen[N_SITE * N_HAP], allele[N_SITE * N_HAP], set[N_SITE * N_SAMPLE], is_haploid[N_SAMPLE];
    uint32_t first[N_SAMPLE + 1] = {0}, n_missing = 0, n_right = 0, n_set_het = 0;
    seed = 5;
    for (uint32_t i = 0; i < N_SAMPLE; i++)
        first[i + 1] = first[i] + (is_haploid[i] = i % 8 == 1, is_haploid[i] ? 1 : 2);
    for (uint32_t s = 0; s < N_SITE; s++)
        for (uint32_t i = 0; i < N_SAMPLE; i++) {
            const uint8_t *t = w.truth + s * N_HAP + 2 * i;
            uint8_t *g = seen + s * N_HAP + first[i], two[2] = {t[0], t[1]};
            set[s * N_SAMPLE + i] = (uint8_t)(i % 8 == 2 ? 1 : i % 8 == 3 ? 1 + s * 40 / N_SITE / 9
                                                                          : 0);
            if (draw(i % 8 == 4 ? 3 : 50) == 0)
                two[0] = two[1] = SQ_ENGINE_MISSING;
            else if (!set[s * N_SAMPLE + i] && !is_haploid[i])
                order_lost(two);
            memcpy(g, two, is_haploid[i] ? 1 : 2);
        }
    memcpy(allele, seen, sizeof allele);
    phase(allele, 0, N_SITE, set, is_haploid, first[N_SAMPLE]);
    for (uint32_t i = 0; i < N_SAMPLE; i++) {
        int way[256] = {0};
        for (uint32_t s = 0; s < N_SITE; s++) {
            const uint8_t *was = seen + s * N_HAP + first[i], *now = allele + s * N_HAP + first[i], *t = w.truth + s * N_HAP + 2 * i;
            uint32_t n = is_haploid[i] ? 1 : 2;
            assert_true(now[0] <= 1 && now[n - 1] <= 1);
            if (was[0] == SQ_ENGINE_MISSING) {
                n_missing++;
                n_right += now[0] + now[n - 1] == t[0] + t[n - 1];
                continue;
            }
            assert_true(now[0] + now[n - 1] == was[0] + was[n - 1]);
            uint8_t of = set[s * N_SAMPLE + i];
            if (n == 1 || !of || was[0] == was[1])
                continue;
            int mine = now[0] == was[0] ? 1 : -1;
            assert_true(!way[of] || way[of] == mine);
            way[of] = mine;
            n_set_het++;
        }
    }
    print_message("# %u of %u missing calls filled right; %u heterozygotes of sets in their order\n", n_right, n_missing, n_set_het);
    assert_true(n_missing > 2000 && n_right > 0.92 * n_missing && n_set_het > 3000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(spans_are_as_right_as_parts_and_where_they_meet),
        cmocka_unit_test(given_orders_calls_and_single_haplotypes_stay),
    };
    make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
