/*
 * The diploid model over pairs of rows: a sample copies row i on one haplotype and row j on the other. Steps are heterozygotes and
 * missing calls, each with the homozygotes before it. In the first round each heterozygote is a step; later those are one whose order to each other
 * is settled, as long as they are near. What a sample may have in a step is then two haplotypes, either of them on either side.
 *
 * Given the order of all steps to the left, the two haplotypes are independent, and what is known from the left is two haploid
 * forward vectors. What is known from the right, whose order is open, is the diploid backward matrix, exact. So the order of one
 * step after the other is decided, or drawn, by its probability given those decided before it and all genotypes. A walk is one such
 * way from the left to the right.
 *
 * Neither haplotype is the first, so the matrix is symmetric: sums over columns are sums over rows. It is kept at every BLOCK-th step, and
 * the steps between are done again on the walks' way.
 */
#include "lib/engine/phase_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 12U
#define STEP_MAX_CM 0.05   /* homozygotes farther from the next heterozygote are a step of their own */
#define JOIN_MAX_JUMP 0.02 /* heterozygotes are one step as long as a haplotype moves on between them with less than this */
#define MIN_JUMP 1e-8
#define EVEN_EACH 8U       /* markers; so many mismatches of all rows are still a number */

enum step_kind { STEP_HOM, STEP_HET, STEP_MISSING };
struct step {
    uint32_t first, end; /* markers; a missing one is the last */
    uint32_t het;        /* the first heterozygote */
    enum step_kind kind;
    float jump;          /* P(a haplotype moves on) between the step before and this one */
};

struct pairs {
    uint32_t max_row, pad, n_row, n_step, n_mark;
    struct step *step;
    uint32_t *step_of;               /* [n_marker] */
    uint32_t *change_first, *change; /* rows that change at a step */
    float *emission;                 /* [n_step][2][pad] of the haplotypes that the best guess has in the step */
    float *split[2];                 /* [pad] of a missing call */
    float *work[3], *stay;           /* [pad] */
    float *matrix;                   /* [BLOCK][max_row][pad] what follows a step, moved on to it, without its emissions */
    float *newest[2];                /* [max_row][pad] with emissions */
    float *mark;                     /* [n_mark][max_row][pad] the same at each BLOCK-th step */
    float *sum;                      /* [n_step][pad] column sums of the matrix with emissions */
    struct walk walk[N_GUESS];
    float *x[N_GUESS][2];            /* [pad] rows of either haplotype of a walk, by what is known up to the step */
    float *with[N_GUESS][2][2];      /* [pad] with either emission of the step */
    struct answer answer;
    const uint64_t *het, *missing, *alt; /* of the sample */
    const uint64_t *guess;               /* [2] its haplotypes at present */
    uint64_t *sure;                      /* of the sample, as in the pool */
};

static float *floats(size_t n)
{
    return aligned_alloc(64, (n * sizeof(float) + 63) / 64 * 64);
}

static sq_err one_free(struct pairs *m)
{
    pairs_free(m);
    return sq_fail(SQ_ENOMEM);
}

sq_err pairs_new(const struct pool *p, uint32_t max_row, struct pairs **out)
{
    size_t n = (size_t)p->y->n_marker + 2, pad = (max_row + 15) / 16 * 16;
    struct pairs *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m)
        return sq_fail(SQ_ENOMEM);
    m->max_row = max_row;
    m->step = malloc(n * sizeof *m->step);
    m->step_of = malloc(n * sizeof *m->step_of);
    m->change_first = malloc(n * sizeof *m->change_first);
    m->emission = floats(n * 2 * pad);
    m->sum = floats(n * pad);
    m->matrix = floats(BLOCK * max_row * pad);
    float **each[] = {&m->work[0], &m->work[1], &m->work[2], &m->stay, &m->split[0], &m->split[1]};
    bool is_whole = m->step && m->step_of && m->change_first && m->emission && m->matrix && m->sum;
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        *each[i] = floats(pad);
        is_whole = is_whole && *each[i];
    }
    for (unsigned i = 0; i < 2; i++) {
        m->newest[i] = floats(max_row * pad);
        is_whole = is_whole && m->newest[i];
    }
    for (unsigned i = 0; i < 2 * N_GUESS; i++) {
        m->x[i / 2][i % 2] = floats(pad);
        is_whole = is_whole && m->x[i / 2][i % 2];
        for (unsigned e = 0; e < 2; e++) {
            m->with[i / 2][i % 2][e] = floats(pad);
            is_whole = is_whole && m->with[i / 2][i % 2][e];
        }
    }
    if (!is_whole || answer_init(&m->answer, p->y->n_marker))
        return one_free(m);
    *out = m;
    return SQ_OK;
}

void pairs_free(struct pairs *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < 3; i++)
        free(m->work[i]);
    for (unsigned i = 0; i < 2 * N_GUESS; i++) {
        free(m->x[i / 2][i % 2]);
        free(m->with[i / 2][i % 2][0]);
        free(m->with[i / 2][i % 2][1]);
    }
    for (unsigned i = 0; i < 2; i++) {
        free(m->split[i]);
        free(m->newest[i]);
    }
    free(m->step);
    free(m->step_of);
    free(m->change_first);
    free(m->change);
    free(m->emission);
    free(m->stay);
    free(m->matrix);
    free(m->mark);
    free(m->sum);
    answer_free(&m->answer);
    free(m);
}

/* ---- steps ----------------------------------------------------------------------------------------------------------- */

/* Whether all guesses have heterozygotes @a and @b in the same order to each other. */
static bool is_agreed(const struct pool *p, uint32_t first_target, uint32_t a, uint32_t b)
{
    unsigned n_other = 0;
    for (uint32_t g = 0; g < p->n_guess; g++) {
        const uint64_t *h = pool_guess(p, p->target, g, first_target);
        n_other += phase_bit(h, a) != phase_bit(h, b);
    }
    return !n_other || n_other == p->n_guess;
}

/* Whether heterozygote @a goes to step @s, whose last one is @last_het. */
static bool joins(const struct pairs *m, const struct pool *p, const struct step *s, uint32_t last_het, uint32_t a, uint32_t sample, double per_cm)
{
    const uint8_t *set = p->w->typed[a].set, *last_set = p->w->typed[last_het].set;
    return s->kind == STEP_HET && phase_bit(m->sure, a) && !(set && set[sample]) && !(last_set && last_set[sample]) &&
           per_cm * (p->y->cm[a] - p->y->cm[s->het]) <= JOIN_MAX_JUMP && is_agreed(p, p->first_target[sample], last_het, a);
}

static void find_steps(struct pairs *m, const struct pool *p, bool may_join, double per_cm, uint32_t sample)
{
    const struct typed *y = p->y;
    uint32_t first = 0, last_het = 0;
    m->n_step = 0;
    for (uint32_t a = 0; a < y->n_marker; a++) {
        enum step_kind kind = phase_bit(m->het, a) ? STEP_HET : phase_bit(m->missing, a) ? STEP_MISSING : STEP_HOM;
        if (kind == STEP_HOM && a + 1 < y->n_marker && y->cm[a + 1] - y->cm[first] <= STEP_MAX_CM)
            continue;
        struct step *s = &m->step[m->n_step];
        if (may_join && kind == STEP_HET && m->n_step && joins(m, p, s - 1, last_het, a, sample, per_cm))
            (--s)->end = a + 1;
        else
            m->step[m->n_step++] = (struct step){.first = first, .end = a + 1, .het = a, .kind = kind};
        for (uint32_t i = first; i <= a; i++)
            m->step_of[i] = m->n_step - 1;
        first = a + 1;
        last_het = kind == STEP_HET ? a : last_het;
    }
    for (uint32_t t = 0; t < m->n_step; t++) {
        struct step *s = &m->step[t];
        double jump = t ? -expm1(-per_cm * (y->cm[s->end - 1] - y->cm[s[-1].end - 1])) : 0;
        s->jump = (float)(jump < MIN_JUMP ? MIN_JUMP : jump);
    }
}

static sq_err find_changes(struct pairs *m, const struct rows *r)
{
    uint32_t *change = realloc(m->change, ((size_t)r->n_stretch + 1) * sizeof *change);
    if (!change)
        return sq_fail(SQ_ENOMEM);
    m->change = change;
    memset(m->change_first, 0, ((size_t)m->n_step + 2) * sizeof *m->change_first);
    for (uint32_t i = 0; i < r->n_stretch; i++)
        if (r->stretch[i].before != NOBODY)
            m->change_first[m->step_of[r->stretch[i].first] + 1]++;
    for (uint32_t s = 0; s < m->n_step; s++)
        m->change_first[s + 1] += m->change_first[s];
    for (uint32_t i = r->n_stretch; i-- > 0;) /* fills each step's from its end: change_first[s + 1] becomes its beginning */
        if (r->stretch[i].before != NOBODY)
            m->change[--m->change_first[m->step_of[r->stretch[i].first] + 1]] = r->stretch[i].row;
    memmove(m->change_first, m->change_first + 1, (size_t)m->n_step * sizeof *m->change_first);
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n_stretch; i++)
        n += r->stretch[i].before != NOBODY;
    m->change_first[m->n_step] = n;
    return SQ_OK;
}

/* How well each row goes with either haplotype of the best guess in each step, the best row with 1. */
static void find_emissions(struct pairs *m, const struct rows *r, size_t marker_words, double mismatch)
{
    float miss = (float)(mismatch / (1 - mismatch));
    for (uint32_t t = 0; t < m->n_step; t++) {
        const struct step *s = &m->step[t];
        for (unsigned h = 0; h < 2; h++) {
            float *e = m->emission + ((size_t)t * 2 + h) * m->pad;
            for (uint32_t i = 0; i < m->pad; i++)
                e[i] = i < m->n_row ? 1.0F : 0.0F;
            for (uint32_t a = s->first; a < s->end - (s->kind == STEP_MISSING); a++) {
                bool has_alt = phase_bit(m->het, a) ? phase_bit(m->guess + h * marker_words, a) : phase_bit(m->alt, a);
                sq_kernels()->pair_match(e, m->pad, r->alt + a * r->row_words, has_alt ? ~UINT64_C(0) : 0, miss);
                if ((a - s->first) % EVEN_EACH == EVEN_EACH - 1)
                    sq_kernels()->pair_even(e, m->pad);
            }
            sq_kernels()->pair_even(e, m->pad);
        }
    }
}

/* P(stay) of each row between step @t - 1 and @t. */
static void set_stay(struct pairs *m, uint32_t t)
{
    for (uint32_t i = 0; i < m->pad; i++)
        m->stay[i] = 1 - m->step[t].jump;
    for (uint32_t c = m->change_first[t]; c < m->change_first[t + 1]; c++)
        m->stay[m->change[c]] = 0;
}

/* ---- walks ---------------------------------------------------------------------------------------------------------------- */

/* What is known from the left, moved on to step @t but without it. m->stay is that of the step. */
static void move_on(struct pairs *m, uint32_t t)
{
    for (unsigned i = 0; i < 2 * N_GUESS; i++) {
        float *x = m->x[i / 2][i % 2];
        for (uint32_t j = 0; !t && j < m->pad; j++)
            x[j] = j < m->n_row ? 1 / (float)m->n_row : 0;
        if (t)
            sq_kernels()->pair_move(x, m->n_row, m->pad, m->stay);
    }
}

/* Both emissions that a haplotype may have in step @t: of the guess's haplotypes, or of a missing call's alleles. */
static void find_both(struct pairs *m, const struct rows *r, uint32_t t)
{
    const float *e[2] = {m->emission + (size_t)t * 2 * m->pad, m->emission + ((size_t)t * 2 + 1) * m->pad};
    if (m->step[t].kind == STEP_MISSING)
        for (unsigned allele = 0; allele < 2; allele++) {
            memcpy(m->split[allele], e[0], m->pad * sizeof(float));
            sq_kernels()->pair_match(m->split[allele], m->pad, r->alt + (m->step[t].end - 1) * r->row_words, allele ? ~UINT64_C(0) : 0, 0);
            e[allele] = m->split[allele];
        }
    for (unsigned i = 0; i < 4 * N_GUESS; i++)
        sq_kernels()->pair_emit(m->x[i / 4][i / 2 % 2], m->pad, e[i % 2], m->with[i / 4][i / 2 % 2][i % 2]);
}

static void take(struct pairs *m, unsigned w, unsigned h, unsigned which)
{
    float *x = m->x[w][h];
    m->x[w][h] = m->with[w][h][which];
    m->with[w][h][which] = x;
}

/* The order of each heterozygote of step @t: that of the guess, or the other way round. */
static void keep_order(struct pairs *m, uint32_t t, unsigned w, bool is_turned, uint8_t chance)
{
    for (uint32_t a = m->step[t].het; a < m->step[t].end; a++)
        if (phase_bit(m->het, a)) {
            m->answer.order[(size_t)a * MAX_WALK + w] = phase_bit(m->guess, a) != is_turned ? 1 : 2;
            if (!w && a == m->step[t].het)
                phase_set(m->sure, a, chance == UINT8_MAX);
        }
}

static void walks_step(struct pairs *m, const struct rows *r, uint32_t t, const float *matrix, uint8_t set, uint8_t as_read)
{
    enum step_kind kind = m->step[t].kind;
    double n[N_GUESS][2][2] = {{{0}}};
    bool asks = kind == STEP_MISSING;
    move_on(m, t);
    if (kind == STEP_HOM) {
        for (unsigned i = 0; i < 2 * N_GUESS; i++)
            sq_kernels()->pair_emit(m->x[i / 2][i % 2], m->pad, m->emission + (size_t)t * 2 * m->pad, m->x[i / 2][i % 2]);
        return;
    }
    find_both(m, r, t);
    for (unsigned w = 0; w < N_GUESS && kind == STEP_HET; w++)
        asks = asks || walk_asks(&m->walk[w], set);
    if (asks)
        sq_kernels()->pair_weigh(matrix, m->n_row, m->pad, m->with, N_GUESS, n);
    for (unsigned w = 0; w < N_GUESS; w++) {
        if (kind == STEP_MISSING) {
            m->answer.order[(size_t)(m->step[t].end - 1) * MAX_WALK + w] = walk_fill(n[w]);
            for (unsigned h = 0; h < 2; h++)
                sq_kernels()->pair_emit(m->x[w][h], m->pad, m->emission + (size_t)t * 2 * m->pad, m->x[w][h]);
            continue;
        }
        uint8_t chance, guessed = phase_bit(m->guess, m->step[t].het) ? 1 : 2;
        double of[2][2] = {{0, n[w][guessed == 1][guessed != 1]}, {n[w][guessed != 1][guessed == 1], 0}};
        bool is_turned = walk_order(&m->walk[w], of, 1, set, as_read, &chance) != guessed;
        keep_order(m, t, w, is_turned, chance);
        take(m, w, 0, is_turned);
        take(m, w, 1, !is_turned);
    }
}

static sq_err need_marks(struct pairs *m)
{
    uint32_t n = m->n_step / BLOCK + 2;
    if (n <= m->n_mark)
        return SQ_OK;
    free(m->mark);
    size_t pad = (m->max_row + 15) / 16 * 16;
    m->n_mark = n + n / 4;
    m->mark = floats(m->n_mark * m->max_row * pad);
    if (m->mark)
        return SQ_OK;
    m->n_mark = 0;
    return sq_fail(SQ_ENOMEM);
}

/* ---- backward ----------------------------------------------------------------------------------------------------------- */

/* What follows step @t, from what step t + 1 has, whose emissions @in holds unless they are given as @seen. With those of step t where they are asked for as @here. */
static void backward_step(struct pairs *m, uint32_t t, const float *in, const float *const seen[2], float *out, const float *const here[2])
{
    set_stay(m, t + 1);
    sq_kernels()->pair_back(in, seen, out, here, m->n_row, m->pad, m->stay, m->work, m->sum + (t + 1) * (size_t)m->pad, here ? m->sum + t * (size_t)m->pad : NULL);
}

/* Behind the last step nothing is known: with emissions @here. */
static void backward_begin(struct pairs *m, float *out, const float *const here[2])
{
    uint32_t t = m->n_step - 1;
    float *sum = m->sum + t * (size_t)m->pad;
    if (here)
        memset(sum, 0, m->pad * sizeof *sum);
    for (uint32_t i = 0; i < m->n_row; i++)
        for (uint32_t j = 0; j < m->pad; j++) {
            float x = j < m->n_row ? 1.0F : 0.0F;
            if (here)
                x *= here[1][j] * here[0][i] + here[0][j] * here[1][i];
            out[i * (size_t)m->pad + j] = x;
            if (here)
                sum[j] += x;
        }
}

static const float *const *emissions_at(const struct pairs *m, uint32_t t, const float *e[2])
{
    e[0] = m->emission + (size_t)t * 2 * m->pad;
    e[1] = e[0] + m->pad;
    return e;
}

static void all_backward(struct pairs *m)
{
    size_t size = (size_t)m->n_row * m->pad;
    const float *in = NULL, *e[2];
    for (uint32_t t = m->n_step; t-- > 0;) {
        float *out = t % BLOCK == 0 ? m->mark + t / BLOCK * size : m->newest[t % 2];
        if (in)
            backward_step(m, t, in, NULL, out, emissions_at(m, t, e));
        else
            backward_begin(m, out, emissions_at(m, t, e));
        in = out;
    }
}

/* What follows steps @from .. */
static void block_backward(struct pairs *m, uint32_t from)
{
    size_t size = (size_t)m->n_row * m->pad;
    uint32_t end = m->n_step - from > BLOCK ? from + BLOCK : m->n_step;
    const float *in = end < m->n_step ? m->mark + end / BLOCK * size : NULL, *e[2];
    for (uint32_t t = end; t-- > from;) {
        float *out = m->matrix + t % BLOCK * size;
        if (in)
            backward_step(m, t, in, t + 1 < end ? emissions_at(m, t + 1, e) : NULL, out, NULL);
        else
            backward_begin(m, out, NULL);
        in = out;
    }
}

static sq_err run_model(struct pairs *m, const struct pool *p, const struct rows *r, uint32_t sample)
{
    size_t size = (size_t)m->n_row * m->pad;
    sq_err e = need_marks(m);
    if (e)
        return e;
    all_backward(m);
    for (uint32_t t = 0; t < m->n_step; t++) {
        if (t % BLOCK == 0)
            block_backward(m, t);
        const struct sq_phase_site *site = &p->w->typed[m->step[t].het];
        uint8_t set = site->set ? site->set[sample] : 0;
        if (t)
            set_stay(m, t);
        walks_step(m, r, t, m->matrix + t % BLOCK * size, set, set ? order_as_read(site, p->first_target[sample]) : 0);
    }
    return SQ_OK;
}

sq_err pairs_run(struct pairs *m, struct pool *p, const struct rows *r, const struct phase_rates *k, uint32_t sample)
{
    const struct typed *y = p->y;
    uint32_t first = p->first_target[sample], n = p->first_target[sample + 1] - first;
    for (uint32_t g = 0; g < N_GUESS; g++)
        for (uint32_t h = 0; h < n; h++)
            memcpy(pool_guess(p, p->next, g, first + h), pool_guess(p, p->target, g, first + h), y->marker_words * sizeof(uint64_t));
    if (n < 2)
        return SQ_OK;
    m->het = p->het + sample * y->marker_words;
    m->missing = p->missing + sample * y->marker_words;
    m->alt = p->alt + sample * y->marker_words;
    m->n_row = r->n_row;
    m->pad = (r->n_row + 15) / 16 * 16;
    walks_begin(m->walk, N_GUESS, WALK_DRAWS, phase_mix(k->key + sample));
    m->guess = pool_guess(p, p->target, 0, first);
    m->sure = p->sure + sample * y->marker_words;
    find_steps(m, p, k->may_join, 0.04 * k->scale / (double)(y->n_hap + p->n_target), sample);
    find_emissions(m, r, y->marker_words, k->mismatch);
    sq_err e = find_changes(m, r);
    if (!e)
        e = run_model(m, p, r, sample);
    if (!e)
        answer_keep(&m->answer, p, sample);
    return e;
}
