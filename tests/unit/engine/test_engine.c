/* The passes of the engine against plain double-precision versions of themselves, and the whole on a small panel. */
#include "lib/engine/engine_internal.h"
#include "draw.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N_HAP 300U
#define N_SITE 640U
#define N_TARGET 24U
#define N_SEGMENT 3U

/* ---- a panel in memory: mosaics of a few founders, blocks of 64 rows and one of 10 -------------------------------- */

struct world {
    uint8_t hap[N_HAP][N_SITE], target[N_TARGET][N_SITE];
    double cm[N_SITE];
    uint8_t typed_allele[N_SITE][N_TARGET];
    struct sq_engine_typed typed[N_SITE];
    uint32_t n_typed;
    struct sq_engine_segment segment[N_SEGMENT];
    struct sq_engine_panel panel;
};

struct cursor {
    const struct world *w;
    uint32_t at, end;
    uint64_t pattern[N_HAP];
    uint16_t class_of[N_HAP];
    bool is_some;
    uint32_t last; /* row of the block */
    uint64_t want[(N_HAP + 63) / 64];
    uint32_t n_alt[64];
};

static sq_err cursor_open(void *ctx, uint32_t segment, void **out)
{
    const struct world *w = ctx;
    struct cursor *c = calloc(1, sizeof *c);
    *c = (struct cursor){.w = w, .at = w->segment[segment].first_site, .end = w->segment[segment].first_site + w->segment[segment].n_site};
    *out = c;
    return SQ_OK;
}

static sq_err cursor_next(void *cursor, bool want_classes, struct sq_engine_block *out, bool *out_has)
{
    struct cursor *c = cursor;
    *out_has = c->at < c->end;
    if (!*out_has)
        return SQ_OK;
    uint32_t n = c->end - c->at < 64 ? c->end - c->at : 64, n_pattern = 0;
    memset(c->n_alt, 0, sizeof c->n_alt);
    for (uint32_t h = 0; h < N_HAP; h++) {
        uint64_t bits = 0;
        for (uint32_t s = 0; s < n; s++) {
            bits |= (uint64_t)c->w->hap[h][c->at + s] << s;
            c->n_alt[s] += c->w->hap[h][c->at + s];
        }
        uint32_t k = 0;
        while (k < n_pattern && c->pattern[k] != bits)
            k++;
        if (k == n_pattern)
            c->pattern[n_pattern++] = bits;
        c->class_of[h] = !c->is_some || c->want[h / 64] >> (h % 64) & 1 ? (uint16_t)k : 0;
    }
    *out = (struct sq_engine_block){c->at, n, c->w->cm + c->at, c->n_alt, n_pattern, c->pattern, want_classes ? c->class_of : NULL};
    c->last = c->at;
    c->at += n;
    return SQ_OK;
}

static sq_err cursor_want(void *cursor, const uint64_t *hap)
{
    struct cursor *c = cursor;
    memcpy(c->want, hap, sizeof c->want);
    c->is_some = true;
    return SQ_OK;
}

static void cursor_bits(void *cursor, uint32_t row, uint64_t *out)
{
    const struct cursor *c = cursor;
    memset(out, 0, sizeof c->want);
    for (uint32_t h = 0; h < N_HAP; h++)
        out[h / 64] |= (uint64_t)c->w->hap[h][c->last + row] << (h % 64);
}

static void cursor_close(void *cursor)
{
    free(cursor);
}

static struct world *world_new(uint32_t typed_every)
{
    struct world *w = calloc(1, sizeof *w);
    static uint8_t founder[40][N_SITE];
    seed = 20261122;
    double cm = 3;
    for (uint32_t s = 0; s < N_SITE; s++) {
        uint32_t rarity = 2 + draw(8);
        for (uint32_t f = 0; f < 40; f++)
            founder[f][s] = draw(rarity) == 0;
        w->cm[s] = cm += draw(3) ? 0.0004 * draw(20) : 0.02;
    }
    for (uint32_t i = 0; i < N_HAP + N_TARGET; i++) {
        uint8_t *to = i < N_HAP ? w->hap[i] : w->target[i - N_HAP];
        for (uint32_t s = 0, f = draw(40); s < N_SITE; s++) {
            f = draw(400) ? f : draw(40);
            to[s] = founder[f][s];
        }
    }
    for (uint32_t s = 0; typed_every && s < N_SITE; s += 1 + draw(2 * typed_every)) {
        for (uint32_t t = 0; t < N_TARGET; t++)
            w->typed_allele[s][t] = draw(50) ? w->target[t][s] : SQ_ENGINE_MISSING;
        w->typed[w->n_typed++] = (struct sq_engine_typed){.site = s, .allele = w->typed_allele[s]};
    }
    w->segment[0] = (struct sq_engine_segment){.first_site = 0, .n_site = 266};
    w->segment[1] = (struct sq_engine_segment){.first_site = 266, .n_site = 128};
    w->segment[2] = (struct sq_engine_segment){.first_site = 394, .n_site = N_SITE - 394, .follows = true};
    w->panel = (struct sq_engine_panel){w, N_HAP, N_SITE, N_SEGMENT, w->segment, cursor_open, cursor_next, cursor_close, cursor_want, cursor_bits};
    return w;
}

/* ---- the whole --------------------------------------------------------------------------------------------------------- */

struct result {
    uint16_t milli[N_SITE][N_TARGET], left_out[N_SITE][N_TARGET];
    float r2[N_SITE];
    uint8_t n_put[N_SITE], is_typed[N_SITE];
    uint32_t last_of_piece[N_SITE];
    atomic_uint n_ended;
    atomic_bool is_in_order;
};

static sq_err take(void *ctx, uint32_t piece, void *cursor, const struct sq_engine_block *b, uint32_t from, uint32_t to,
                   const uint16_t *milli, const struct sq_engine_row *row)
{
    struct result *r = ctx;
    assert_true(piece < N_SITE && cursor);
    for (uint32_t s = from; s < to; s++) {
        uint32_t site = b->first_site + s;
        r->n_put[site]++;
        r->r2[site] = row[s - from].r2;
        assert_true(row[s - from].r2 >= 0 && row[s - from].r2 <= 1);
        if (site && r->last_of_piece[piece] && site != r->last_of_piece[piece] + 1)
            atomic_store(&r->is_in_order, false);
        r->last_of_piece[piece] = site;
        memcpy(r->milli[site], milli + (size_t)(s - from) * N_TARGET, sizeof r->milli[site]);
        if (row[s - from].left_out)
            memcpy(r->left_out[site], row[s - from].left_out, sizeof r->left_out[site]);
        r->is_typed[site] = row[s - from].left_out != NULL;
    }
    return SQ_OK;
}

static sq_err take_end(void *ctx, uint32_t piece)
{
    atomic_fetch_add(&((struct result *)ctx)->n_ended, 1);
    return SQ_OK;
}

static struct result *impute(const struct world *w, uint32_t from, uint32_t to, struct sq_engine_params p, struct sq_engine_report *report)
{
    struct result *r = calloc(1, sizeof *r);
    r->is_in_order = true;
    struct sq_engine_window window = {.panel = &w->panel, .n_target = N_TARGET, .n_typed = w->n_typed, .typed = w->typed, .from_site = from, .to_site = to};
    struct sq_engine_sink sink = {r, take, take_end, NULL};
    assert_int_equal(sq_engine_impute(&window, &p, &sink, report), SQ_OK);
    assert_true(r->is_in_order);
    for (uint32_t s = 0; s < N_SITE; s++)
        assert_int_equal(r->n_put[s], s >= from && s < to);
    return r;
}

static bool is_same(const struct result *a, const struct result *b)
{
    return !memcmp(a->milli, b->milli, sizeof a->milli) && !memcmp(a->left_out, b->left_out, sizeof a->left_out) &&
           !memcmp(a->r2, b->r2, sizeof a->r2);
}

static double squared_correlation(const struct world *w, const struct result *r)
{
    double n = 0, x = 0, y = 0, xx = 0, yy = 0, xy = 0;
    for (uint32_t s = 0; s < N_SITE; s++)
        for (uint32_t t = 0; !r->is_typed[s] && t < N_TARGET; t++) {
            double d = r->milli[s][t] / 1000.0, a = w->target[t][s];
            n++, x += d, y += a, xx += d * d, yy += a * a, xy += d * a;
        }
    return pow(xy - x * y / n, 2) / ((xx - x * x / n) * (yy - y * y / n));
}

static void the_same_for_any_threads_and_memory(void **state)
{
    struct world *w = world_new(6);
    struct sq_engine_report report;
    struct result *one = impute(w, 0, N_SITE, (struct sq_engine_params){.n_thread = 1}, &report);
    assert_true(squared_correlation(w, one) > 0.9);
    assert_true(report.scale > 0 && report.n_cluster > 10 && report.n_cluster <= w->n_typed);
    for (unsigned n = 2; n <= 5; n += 3) {
        struct result *many = impute(w, 0, N_SITE, (struct sq_engine_params){.n_thread = n}, NULL);
        assert_true(is_same(one, many));
        free(many);
    }
    struct result *small = impute(w, 0, N_SITE, (struct sq_engine_params){.n_thread = 2, .memory = 1}, NULL); /* a span a piece */
    assert_true(is_same(one, small));
    w->panel.want = NULL;
    w->panel.bits = NULL;
    struct result *all = impute(w, 0, N_SITE, (struct sq_engine_params){.n_thread = 2}, NULL);
    assert_true(is_same(one, all));
    free(all);
    w->panel.want = cursor_want;
    w->panel.bits = cursor_bits;
    static const struct {
        uint32_t rows, n_piece; /* segments of 266, 128 and the rest */
    } cut[] = {{1, N_SITE}, {37, 8 + 4 + (N_SITE - 394 + 36) / 37}, {64, 5 + 2 + (N_SITE - 394 + 63) / 64}};
    for (size_t i = 0; i < sizeof cut / sizeof cut[0]; i++)
        for (unsigned n = 1; n <= 3; n++) {
            struct result *cuts = impute(w, 0, N_SITE, (struct sq_engine_params){.n_thread = n, .piece_rows = cut[i].rows, .memory = n == 3}, NULL);
            assert_true(is_same(one, cuts));
            assert_int_equal(cuts->n_ended, cut[i].n_piece);
            free(cuts);
        }
    struct result *part = impute(w, 100, 421, (struct sq_engine_params){.n_thread = 2, .memory = 1}, NULL);
    for (uint32_t s = 100; s < 421; s++)
        assert_memory_equal(one->milli[s], part->milli[s], sizeof one->milli[s]);
    free(one);
    free(small);
    free(part);
    free(w);
}

/* Five cM have places enough for 32 neighbours at each; the same sites within one cM don't, and the scale that is chosen follows. */
static void more_states_where_places_are_few(void **state)
{
    struct world *w = world_new(6);
    struct sq_engine_report report, with_32;
    struct result *as_it_is = impute(w, 0, N_SITE, (struct sq_engine_params){.n_thread = 1}, &report);
    struct result *few = impute(w, 0, N_SITE, (struct sq_engine_params){.n_thread = 1, .n_neighbour = 32}, &with_32);
    assert_true(w->cm[N_SITE - 1] - w->cm[0] > 4 && is_same(as_it_is, few));
    assert_true(report.scale >= with_32.scale && report.scale <= with_32.scale);
    free(as_it_is);
    free(few);
    double length = w->cm[N_SITE - 1] - w->cm[0];
    for (uint32_t s = 0; s < N_SITE; s++)
        w->cm[s] /= length;
    struct result *near = impute(w, 0, N_SITE, (struct sq_engine_params){.n_thread = 1}, &report);
    few = impute(w, 0, N_SITE, (struct sq_engine_params){.n_thread = 1, .n_neighbour = 32}, &with_32);
    assert_true(report.mean_states > 1.2 * with_32.mean_states);
    assert_true(squared_correlation(w, near) > 0.9);
    struct result *on_two = impute(w, 0, N_SITE, (struct sq_engine_params){.n_thread = 2}, NULL);
    assert_true(is_same(near, on_two));
    free(near);
    free(few);
    free(on_two);
    free(w);
}

static void few_or_no_typed_sites(void **state)
{
    struct world *none = world_new(0);
    struct result *r = impute(none, 0, N_SITE, (struct sq_engine_params){.n_thread = 2}, NULL);
    for (uint32_t s = 0; s < N_SITE; s++) {
        uint32_t n = 0;
        for (uint32_t h = 0; h < N_HAP; h++)
            n += none->hap[h][s];
        assert_int_equal(r->milli[s][0], (n * 1000 + N_HAP / 2) / N_HAP);
        assert_int_equal(r->milli[s][N_TARGET - 1], r->milli[s][0]);
    }
    free(r);
    struct world *w = world_new(6);
    w->n_typed = 1;
    free(impute(w, 0, N_SITE, (struct sq_engine_params){.n_thread = 1}, NULL));
    memset(w->typed_allele, SQ_ENGINE_MISSING, sizeof w->typed_allele); /* a target of which nothing is known */
    w->n_typed = 30;
    free(impute(w, 0, N_SITE, (struct sq_engine_params){.n_thread = 1}, NULL));
    free(impute(w, 5, 5, (struct sq_engine_params){.n_thread = 1}, NULL));
    free(w);
    free(none);
}

/* A phase that is a coin's tells nothing; one that is certain is as if nothing were said; in between lies in between. */
static void phase_confidence(void **state)
{
    struct world *w = world_new(6);
    static uint8_t confidence[N_SITE][N_TARGET];
    struct sq_engine_params p = {.n_thread = 2, .scale = 2e4, .mismatch = 1e-3};
    struct result *plain = impute(w, 0, N_SITE, p, NULL);
    memset(confidence, 255, sizeof confidence);
    for (uint32_t k = 0; k < w->n_typed; k++)
        w->typed[k].confidence = confidence[w->typed[k].site];
    struct result *sure = impute(w, 0, N_SITE, p, NULL);
    assert_true(is_same(plain, sure));
    double far[2] = {0, 0};
    for (unsigned i = 0; i < 2; i++) {
        memset(confidence, i ? 0 : 100, sizeof confidence);
        struct result *unsure = impute(w, 0, N_SITE, p, NULL);
        for (uint32_t s = 0; s < N_SITE; s++)
            for (uint32_t t = 0; t < N_TARGET; t++)
                far[i] += fabs(unsure->milli[s][t] - (double)plain->milli[s][t]);
        free(unsure);
    }
    assert_true(far[0] > 0 && far[1] > 2 * far[0]);
    free(plain);
    free(sure);
    free(w);
}

#define N_SAMPLE (N_TARGET / 2 + 2) /* of which four are haploid */

/* The typed site from which on the other phasing has the sample's order turned. */
static uint32_t turn_of(const struct world *w, uint32_t sample)
{
    return w->n_typed * (sample % 5 + 3) / 10;
}

/* Targets as samples, their orders turned from somewhere on where @turns. */
static struct result *with_phasing(const struct world *w, struct sq_engine_typed *typed, bool turns, unsigned n_phasing, struct sq_engine_params p)
{
    static uint8_t swap[N_SITE][N_SAMPLE], allele[N_SITE][N_TARGET], is_haploid[N_SAMPLE];
    memset(swap, 0, sizeof swap);
    for (uint32_t i = 0; i < N_SAMPLE; i++)
        is_haploid[i] = i % 4 == 1;
    for (uint32_t k = 0; k < w->n_typed; k++) {
        typed[k] = w->typed[k];
        memcpy(allele[k], w->typed[k].allele, N_TARGET);
        for (uint32_t i = 0, t = 0; i < N_SAMPLE; t += 2 - is_haploid[i], i++) {
            bool turned = k >= turn_of(w, i);
            swap[k][i] = turns && n_phasing ? turned : 0;
            if (turns && !n_phasing && turned && !is_haploid[i]) {
                allele[k][t] = w->typed[k].allele[t + 1];
                allele[k][t + 1] = w->typed[k].allele[t];
            }
        }
        typed[k].allele = allele[k];
        typed[k].swap = swap[k];
    }
    struct result *r = calloc(1, sizeof *r);
    struct sq_engine_window window = {.panel = &w->panel, .n_target = N_TARGET, .n_typed = w->n_typed, .typed = typed, .to_site = N_SITE, .n_phasing = n_phasing, .n_sample = N_SAMPLE, .is_haploid = is_haploid};
    struct sq_engine_sink sink = {r, take, take_end, NULL};
    assert_int_equal(sq_engine_impute(&window, &p, &sink, NULL), SQ_OK);
    return r;
}

/* Dosages of the best phasing three times and the other one once, of a sample's two haplotypes together: which of them is which may change on the way.
 * Far from where the order turns both say the same, and the other isn't asked. */
static void dosages_are_the_mean_over_phasings(void **state)
{
    struct world *w = world_new(6);
    struct sq_engine_typed *typed = calloc(N_SITE, sizeof *typed);
    struct sq_engine_params p = {.n_thread = 2, .scale = 2e4, .mismatch = 1e-3};
    struct result *best = with_phasing(w, typed, false, 0, p), *other = with_phasing(w, typed, true, 0, p), *same = with_phasing(w, typed, false, 1, p);
    struct result *both = with_phasing(w, typed, true, 1, p);
    assert_true(is_same(best, same)); /* another phasing that is no other */
    p.n_thread = 3;
    struct result *again = with_phasing(w, typed, true, 1, p);
    assert_true(is_same(both, again));
    double apart = 0, off = 0;
    uint32_t n_far = 0;
    for (uint32_t s = 0; s < N_SITE; s++)
        for (uint32_t i = 0, t = 0; i < N_SAMPLE; t += i % 4 == 1 ? 1 : 2, i++) {
            uint32_t u = t + (i % 4 != 1); /* the sample's other haplotype */
            double a = best->milli[s][t] + best->milli[s][u], b = other->milli[s][t] + other->milli[s][u], got = both->milli[s][t] + both->milli[s][u];
            double cm = fabs(w->cm[s] - w->cm[w->typed[turn_of(w, i)].site]); /* the heterozygotes beside the turn lie a little apart */
            if (i % 4 == 1) {
                assert_int_equal(both->milli[s][t], best->milli[s][t]);
            } else if (cm > 1.5) {
                assert_true(got == a);
                n_far++;
            } else if (cm < 0.5) {
                apart += fabs(a - b) / 4;
                off += fabs(got - (3 * a + b) / 4); /* rounding, weights left out, and rows that are fewer where less is modelled */
            }
        }
    assert_true(n_far > N_SITE && apart > 2000 && off < apart / 6);
    free(best), free(other), free(same), free(both), free(again);
    free(typed);
    free(w);
}

static void broken_windows(void **state)
{
    struct world *w = world_new(6);
    struct sq_engine_sink sink = {NULL, take, take_end, NULL};
    struct sq_engine_params p = {.n_thread = 1};
    struct sq_engine_window good = {.panel = &w->panel, .n_target = N_TARGET, .n_typed = w->n_typed, .typed = w->typed, .to_site = N_SITE}, bad = good;
    bad.to_site = N_SITE + 1;
    assert_int_equal(sq_engine_impute(&bad, &p, &sink, NULL), SQ_ERANGE);
    bad = good;
    bad.n_target = 0;
    assert_int_equal(sq_engine_impute(&bad, &p, &sink, NULL), SQ_ERANGE);
    w->typed[3].site = w->typed[2].site;
    assert_int_equal(sq_engine_impute(&good, &p, &sink, NULL), SQ_ERANGE);
    p.n_thread = 0;
    assert_int_equal(sq_engine_impute(&bad, &p, &sink, NULL), SQ_ERANGE);
    free(w);
}

static sq_err stop_at_once(void *ctx, uint32_t piece)
{
    return sq_fail(SQ_ECANCELLED);
}

static void the_sink_stops_it(void **state)
{
    struct world *w = world_new(6);
    struct result *r = calloc(1, sizeof *r);
    r->is_in_order = true;
    struct sq_engine_sink sink = {r, take, stop_at_once, NULL};
    struct sq_engine_window window = {.panel = &w->panel, .n_target = N_TARGET, .n_typed = w->n_typed, .typed = w->typed, .to_site = N_SITE};
    struct sq_engine_params p = {.n_thread = 3};
    assert_int_equal(sq_engine_impute(&window, &p, &sink, NULL), SQ_ECANCELLED);
    free(r);
    free(w);
}

/* ---- one target's states and the model over them ------------------------------------------------------------------------- */

struct bench {
    struct world *w;
    struct typed y;
    struct neighbours n;
    struct states s;
    struct hmm m;
    struct hmm_rates rates;
};

static void bench_set(struct bench *b, uint32_t typed_every, uint32_t n_row)
{
    struct crew crew;
    *b = (struct bench){.w = world_new(typed_every), .rates = {.scale = 2e4, .mismatch = 1e-3, .cut = 1e-4}};
    struct sq_engine_window window = {.panel = &b->w->panel, .n_target = N_TARGET, .n_typed = b->w->n_typed, .typed = b->w->typed, .to_site = N_SITE};
    assert_int_equal(typed_build(&b->y, &window, &crew, 2), SQ_OK);
    assert_int_equal(neighbours_init(&b->n, &b->y, 0.1, 16, N_TARGET), SQ_OK);
    assert_int_equal(neighbours_find(&b->n, &b->y, 0, N_TARGET, &crew, 2), SQ_OK);
    assert_int_equal(states_init(&b->s, &b->y, n_row, 16), SQ_OK);
    assert_int_equal(hmm_init(&b->m, &b->y, n_row), SQ_OK);
    assert_int_equal(hmm_rates_set(&b->rates, &b->y), SQ_OK);
}

static void bench_clear(struct bench *b)
{
    typed_free(&b->y);
    neighbours_free(&b->n);
    states_free(&b->s);
    hmm_free(&b->m);
    free(b->rates.jump);
    free(b->w);
}

/* The stretch of @row at cluster @c. */
static uint32_t stretch_at(const struct states *s, uint32_t row, uint32_t c)
{
    uint32_t i = s->last_of_row[row];
    while (i != NOBODY && s->stretch[i].first > c)
        i = s->stretch[i].before;
    assert_true(i != NOBODY && s->stretch[i].last >= c && s->stretch[i].row == row);
    return i;
}

static void states_are_what_they_say(void **state)
{
    for (uint32_t n_row = 5; n_row <= 400; n_row *= 3) {
        struct bench b;
        bench_set(&b, 5, n_row);
        for (uint32_t t = 0; t < N_TARGET; t++) {
            states_choose(&b.s, &b.y, &b.n, t, t, 16, part_all(&b.y));
            assert_true(b.s.n_row >= 1 && b.s.n_row <= n_row);
            for (uint32_t row = 0; row < b.s.n_row; row++)
                for (uint32_t c = 0; c < b.y.n_cluster; c++) {
                    uint32_t hap = b.s.stretch[stretch_at(&b.s, row, c)].hap;
                    bool agrees = true;
                    for (uint32_t k = b.y.cluster_first[c]; k < b.y.cluster_first[c + 1]; k++) {
                        uint8_t allele = b.w->hap[hap][b.w->typed[k].site], mine = b.w->typed[k].allele[t];
                        assert_int_equal(b.s.alt[k * b.s.row_words + row / 64] >> (row % 64) & 1, allele);
                        agrees = agrees && (mine == SQ_ENGINE_MISSING || mine == allele);
                    }
                    assert_int_equal(b.s.match[c * b.s.row_words + row / 64] >> (row % 64) & 1, agrees);
                }
        }
        bench_clear(&b);
    }
}

/* Forward and backward in double precision; a row that changes its haplotype between two clusters keeps nobody. @skip: a marker whose
 * allele isn't known, or NOBODY. post[c][row]. Returns log P. */
static double dense(const struct bench *b, uint32_t t, uint32_t skip, double *post)
{
    uint32_t n = b->s.n_row, n_c = b->y.n_cluster;
    double *e = malloc(n_c * n * sizeof *e), *f = calloc(n_c * n, sizeof *f), *g = malloc(n_c * n * sizeof *g), total = 0;
    for (uint32_t c = 0; c < n_c; c++)
        for (uint32_t i = 0; i < n; i++) {
            bool agrees = true;
            uint32_t hap = b->s.stretch[stretch_at(&b->s, i, c)].hap;
            for (uint32_t k = b->y.cluster_first[c]; k < b->y.cluster_first[c + 1]; k++) {
                uint8_t mine = b->w->typed[k].allele[t];
                agrees = agrees && (k == skip || mine == SQ_ENGINE_MISSING || mine == b->w->hap[hap][b->w->typed[k].site]);
            }
            e[c * n + i] = agrees ? 1 - b->rates.mismatch : b->rates.mismatch;
        }
    for (uint32_t c = 0; c < n_c; c++) {
        double sum = 0;
        for (uint32_t i = 0; i < n; i++) {
            double in = c ? 0 : 1.0 / n;
            for (uint32_t j = 0; c && j < n; j++) {
                bool changes = stretch_at(&b->s, j, c) != stretch_at(&b->s, j, c - 1);
                double jump = changes ? 1 : b->rates.jump[c];
                in += f[(c - 1) * n + j] * (jump / n + (i == j ? 1 - jump : 0));
            }
            sum += f[c * n + i] = in * e[c * n + i];
        }
        for (uint32_t i = 0; i < n; i++)
            f[c * n + i] /= sum;
        total += log(sum);
    }
    for (uint32_t c = n_c; c-- > 0;) {
        double sum = 0;
        for (uint32_t j = 0; j < n; j++) {
            double out = c + 1 == n_c ? 1 : 0;
            bool changes = c + 1 < n_c && stretch_at(&b->s, j, c + 1) != stretch_at(&b->s, j, c);
            double jump = c + 1 == n_c ? 0 : changes ? 1 : b->rates.jump[c + 1];
            for (uint32_t i = 0; c + 1 < n_c && i < n; i++)
                out += (jump / n + (i == j ? 1 - jump : 0)) * e[(c + 1) * n + i] * g[(c + 1) * n + i];
            g[c * n + j] = out;
            sum += out;
        }
        for (uint32_t i = 0; i < n; i++)
            g[c * n + i] /= sum;
        double all = 0;
        for (uint32_t i = 0; i < n; i++)
            all += post[c * n + i] = f[c * n + i] * g[c * n + i];
        for (uint32_t i = 0; i < n; i++)
            post[c * n + i] /= all;
    }
    free(e);
    free(f);
    free(g);
    return total;
}

/* P(ALT) at marker @k. */
static double dense_alt(const struct bench *b, uint32_t k, const double *post)
{
    uint32_t c = b->y.cluster_of[k];
    double sum = 0;
    for (uint32_t i = 0; i < b->s.n_row; i++)
        sum += b->w->hap[b->s.stretch[stretch_at(&b->s, i, c)].hap][b->w->typed[k].site] ? post[c * b->s.n_row + i] : 0;
    return sum;
}

/* Likelihoods to 1e-5; posteriors to what a forward value of 8 bits leaves (1/256, most of which the sums even out). */
static void the_model_is_the_dense_one(void **state)
{
    for (uint32_t n_row = 7; n_row <= 70; n_row += 63) {
        struct bench b;
        bench_set(&b, 12, n_row);
        double *post = malloc((size_t)b.y.n_cluster * n_row * sizeof *post), *without = malloc((size_t)b.y.n_cluster * n_row * sizeof *post);
        uint16_t left_out[N_SITE];
        for (uint32_t t = 0; t < 4; t++) {
            struct posterior p;
            states_choose(&b.s, &b.y, &b.n, t, t, 16, part_all(&b.y));
            double want = dense(&b, t, NOBODY, post), got = hmm_likelihood(&b.m, &b.y, &b.s, &b.rates);
            assert_true(fabs(got - want) < 1e-5 * (1 + fabs(want)));
            hmm_begin(&b.m, &b.y);
            assert_int_equal(hmm_part(&b.m, &b.y, &b.s, &b.rates, part_all(&b.y), left_out, 1), SQ_OK);
            assert_int_equal(hmm_end(&b.m, &b.y, &p), SQ_OK);
            for (uint32_t c = 0; c < b.y.n_cluster; c++) {
                double of[N_HAP] = {0};
                uint32_t sum = 0;
                for (uint32_t i = 0; i < b.s.n_row; i++)
                    of[b.s.stretch[stretch_at(&b.s, i, c)].hap] += post[c * b.s.n_row + i];
                for (uint32_t i = p.start[c]; i < p.start[c + 1]; i++) {
                    of[p.hap[i]] -= p.weight[i] / (double)WEIGHT_FULL;
                    sum += p.weight[i];
                }
                assert_int_equal(sum, WEIGHT_FULL);
                for (uint32_t h = 0; h < N_HAP; h++)
                    assert_true(fabs(of[h]) < 0.01);
            }
            for (uint32_t k = 0; k < b.y.n_marker; k += 3) {
                dense(&b, t, k, without);
                assert_true(fabs(left_out[k] / 1000.0 - dense_alt(&b, k, without)) < 0.015);
            }
            posterior_free(&p);
        }
        free(post);
        free(without);
        bench_clear(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(states_are_what_they_say),
        cmocka_unit_test(the_model_is_the_dense_one),
        cmocka_unit_test(the_same_for_any_threads_and_memory),
        cmocka_unit_test(more_states_where_places_are_few),
        cmocka_unit_test(few_or_no_typed_sites),
        cmocka_unit_test(phase_confidence),
        cmocka_unit_test(dosages_are_the_mean_over_phasings),
        cmocka_unit_test(broken_windows),
        cmocka_unit_test(the_sink_stops_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
