/*
 * The diploid model over pairs of rows: a sample copies row i on one haplotype and row j on the other. Steps are heterozygotes and
 * missing calls, each with the homozygotes before it.
 *
 * Given the order of all heterozygotes to the left, the two haplotypes are independent, and what is known from the left is two haploid
 * forward vectors. What is known from the right, whose order is open, is the diploid backward matrix, exact. So the order of one
 * heterozygote after the other is decided, or drawn, by its probability given those decided before it and all genotypes. A walk is one such
 * way from the left to the right.
 *
 * Neither haplotype is the first, so the matrix is symmetric: sums over columns are sums over rows. It is kept at every BLOCK-th step, and
 * the steps between are done again on the walks' way.
 */
#include "lib/engine/phase_internal.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK 12U
#define STEP_MAX_CM 0.05 /* homozygotes farther from the next heterozygote are a step of their own */
#define MIN_JUMP 1e-8

enum step_kind { STEP_HOM, STEP_HET, STEP_MISSING };
struct step {
    uint32_t first, end; /* markers; the last one is the heterozygote or missing */
    enum step_kind kind;
    float jump;          /* P(a haplotype moves on) between the step before and this one */
    double cm;
};

struct pairs {
    uint32_t max_row, pad, n_row, n_step, n_mark;
    struct step *step;
    uint32_t *step_of;               /* [n_marker] */
    uint32_t *change_first, *change; /* rows that change at a step */
    float *emission;                 /* [n_step][pad] of the homozygotes */
    float *work[3], *stay;           /* [pad] */
    uint64_t *none;                  /* [words of rows] 0 */
    float *matrix;                   /* [BLOCK][max_row][pad] */
    float *mark, *mark_sum;          /* [n_mark][max_row][pad], [n_mark][pad] */
    float *sum;                      /* [pad] column sums of the newest matrix */
    struct walk walk[MAX_WALK];
    float *x[MAX_WALK][2];           /* [pad] rows of either haplotype of a walk, by what is known up to the step */
    struct answer answer;
    const uint64_t *het, *missing, *alt; /* of the sample */
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
    m->emission = floats(n * pad);
    m->matrix = floats(BLOCK * max_row * pad);
    m->none = calloc(sq_kernel_words(max_row), sizeof *m->none);
    float **each[] = {&m->work[0], &m->work[1], &m->work[2], &m->stay, &m->sum};
    bool is_whole = m->step && m->step_of && m->change_first && m->emission && m->matrix && m->none;
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        *each[i] = floats(pad);
        is_whole = is_whole && *each[i];
    }
    for (unsigned i = 0; i < 2 * MAX_WALK; i++) {
        m->x[i / 2][i % 2] = floats(pad);
        is_whole = is_whole && m->x[i / 2][i % 2];
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
    for (unsigned i = 0; i < 2 * MAX_WALK; i++)
        free(m->x[i / 2][i % 2]);
    free(m->step);
    free(m->step_of);
    free(m->change_first);
    free(m->change);
    free(m->emission);
    free(m->stay);
    free(m->none);
    free(m->matrix);
    free(m->mark);
    free(m->mark_sum);
    free(m->sum);
    answer_free(&m->answer);
    free(m);
}

/* ---- steps ----------------------------------------------------------------------------------------------------------- */

static void find_steps(struct pairs *m, const struct typed *y, double per_cm)
{
    uint32_t first = 0;
    m->n_step = 0;
    for (uint32_t a = 0; a < y->n_marker; a++) {
        enum step_kind kind = phase_bit(m->het, a) ? STEP_HET : phase_bit(m->missing, a) ? STEP_MISSING : STEP_HOM;
        m->step_of[a] = m->n_step;
        if (kind == STEP_HOM && a + 1 < y->n_marker && y->cm[a + 1] - y->cm[first] <= STEP_MAX_CM)
            continue;
        struct step *s = &m->step[m->n_step++];
        double jump = m->n_step > 1 ? -expm1(-per_cm * (y->cm[a] - s[-1].cm)) : 0;
        *s = (struct step){first, a + 1, kind, (float)(jump < MIN_JUMP ? MIN_JUMP : jump), y->cm[a]};
        first = a + 1;
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

/* How well each row goes with the homozygotes of each step, the best with 1. */
static void find_emissions(struct pairs *m, const struct rows *r, double mismatch)
{
    float miss = (float)(mismatch / (1 - mismatch));
    for (uint32_t t = 0; t < m->n_step; t++) {
        const struct step *s = &m->step[t];
        float *e = m->emission + (size_t)t * m->pad;
        for (uint32_t i = 0; i < m->pad; i++)
            e[i] = i < m->n_row ? 1.0F : 0.0F;
        for (uint32_t a = s->first; a < s->end - (s->kind != STEP_HOM); a++)
            sq_kernels()->pair_match(e, m->pad, r->alt + a * r->row_words, phase_bit(m->alt, a) ? ~UINT64_C(0) : 0, miss);
        sq_kernels()->pair_even(e, m->pad);
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

/* Rows with the ALT at the open marker of step @t. */
static const uint64_t *alt_at(const struct pairs *m, const struct rows *r, uint32_t t)
{
    return m->step[t].kind == STEP_HOM ? m->none : r->alt + (m->step[t].end - 1) * r->row_words;
}

/* ---- backward ----------------------------------------------------------------------------------------------------------- */

/* The matrix of step @t, its emissions included, from that of step t+1, @in, whose column sums are in m->sum; @in NULL: t is the last. */
static void backward_step(struct pairs *m, const struct rows *rows, float mismatch, uint32_t t, const float *in, float *out)
{
    if (in)
        set_stay(m, t + 1);
    else {
        memset(m->stay, 0, m->pad * sizeof *m->stay);
        memset(m->sum, 0, m->pad * sizeof *m->sum);
    }
    sq_kernels()->pair_back(in, out, m->n_row, m->pad, m->emission + (size_t)t * m->pad, m->stay, alt_at(m, rows, t),
                            m->step[t].kind == STEP_HET ? 2 * mismatch : 1, m->work, m->sum);
}

/* ---- walks ---------------------------------------------------------------------------------------------------------------- */

/* What is known from the left, moved on to step @t but without it. m->stay is that of the step. */
static void move_on(struct pairs *m, uint32_t t, unsigned n_walk)
{
    for (unsigned i = 0; i < 2 * n_walk; i++) {
        float *x = m->x[i / 2][i % 2];
        for (uint32_t j = 0; !t && j < m->pad; j++)
            x[j] = j < m->n_row ? 1 / (float)m->n_row : 0;
        if (t)
            sq_kernels()->pair_move(x, m->n_row, m->pad, m->stay);
    }
}

static void walks_step(struct pairs *m, const uint64_t *alt, float mismatch, uint32_t t, const float *matrix, unsigned n_walk, uint8_t set, uint8_t as_read)
{
    const float *e = m->emission + (size_t)t * m->pad;
    enum step_kind kind = m->step[t].kind;
    uint32_t marker = m->step[t].end - 1;
    double n[MAX_WALK][2][2];
    bool asks = kind == STEP_MISSING;
    move_on(m, t, n_walk);
    for (unsigned w = 0; w < n_walk && kind == STEP_HET; w++)
        asks = asks || walk_asks(&m->walk[w], set);
    if (asks)
        sq_kernels()->pair_weigh(matrix, m->n_row, m->pad, alt, m->x, n_walk, n);
    for (unsigned w = 0; w < n_walk; w++) {
        uint8_t *order = m->answer.order + (size_t)marker * MAX_WALK + w, chance = UINT8_MAX;
        float of[2] = {1, 1}; /* a haplotype with the ALT of a row with it; and of one without it */
        if (kind == STEP_MISSING)
            *order = walk_fill(n[w]);
        if (kind == STEP_HET) {
            *order = walk_order(&m->walk[w], n[w], 1, set, as_read, &chance);
            of[0] = 1 - mismatch;
            of[1] = mismatch;
        }
        if (!w)
            m->answer.chance[marker] = chance;
        bool is_first = kind == STEP_HET && *order == 1;
        sq_kernels()->pair_emit(m->x[w][0], m->pad, e, alt, of[!is_first], of[is_first]);
        sq_kernels()->pair_emit(m->x[w][1], m->pad, e, alt, of[is_first], of[!is_first]);
    }
}

static sq_err need_marks(struct pairs *m)
{
    uint32_t n = m->n_step / BLOCK + 2;
    if (n <= m->n_mark)
        return SQ_OK;
    free(m->mark);
    free(m->mark_sum);
    size_t pad = (m->max_row + 15) / 16 * 16;
    m->n_mark = n + n / 4;
    m->mark = floats(m->n_mark * m->max_row * pad);
    m->mark_sum = floats(m->n_mark * pad);
    if (m->mark && m->mark_sum)
        return SQ_OK;
    m->n_mark = 0;
    return sq_fail(SQ_ENOMEM);
}

static void all_backward(struct pairs *m, const struct rows *r, float mismatch)
{
    size_t size = (size_t)m->n_row * m->pad;
    for (uint32_t t = m->n_step; t-- > 0;) {
        backward_step(m, r, mismatch, t, t + 1 < m->n_step ? m->matrix + (t + 1) % BLOCK * size : NULL, m->matrix + t % BLOCK * size);
        if (t % BLOCK == 0) {
            memcpy(m->mark + t / BLOCK * size, m->matrix, size * sizeof(float));
            memcpy(m->mark_sum + t / BLOCK * m->pad, m->sum, m->pad * sizeof(float));
        }
    }
}

/* Matrices of steps @from .. again. */
static void block_backward(struct pairs *m, const struct rows *r, float mismatch, uint32_t from)
{
    size_t size = (size_t)m->n_row * m->pad;
    uint32_t end = m->n_step - from > BLOCK ? from + BLOCK : m->n_step;
    const float *in = NULL;
    if (end < m->n_step) {
        in = m->mark + end / BLOCK * size;
        memcpy(m->sum, m->mark_sum + end / BLOCK * m->pad, m->pad * sizeof(float));
    }
    for (uint32_t t = end; t-- > from; in = m->matrix + t % BLOCK * size)
        backward_step(m, r, mismatch, t, in, m->matrix + t % BLOCK * size);
}

static sq_err run_model(struct pairs *m, const struct pool *p, const struct rows *r, const struct phase_rates *k, uint32_t sample, unsigned n_walk)
{
    size_t size = (size_t)m->n_row * m->pad;
    float mismatch = (float)k->mismatch;
    sq_err e = need_marks(m);
    if (e)
        return e;
    all_backward(m, r, mismatch);
    for (uint32_t t = 0; t < m->n_step; t++) {
        if (t && t % BLOCK == 0) /* the first block is still there */
            block_backward(m, r, mismatch, t);
        const struct sq_phase_site *site = &p->w->typed[m->step[t].end - 1];
        if (t)
            set_stay(m, t);
        walks_step(m, alt_at(m, r, t), mismatch, t, m->matrix + t % BLOCK * size, n_walk, site->set ? site->set[sample] : 0,
                   site->allele[p->first_target[sample]] == 1 ? 1 : 2);
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
    unsigned n_walk = k->is_last && 1 + k->n_sampled > N_GUESS ? 1 + k->n_sampled : N_GUESS;
    walks_begin(m->walk, n_walk, WALK_DRAWS, phase_mix(k->key + sample));
    find_steps(m, y, 0.04 * k->scale / (double)(y->n_hap + p->n_target));
    find_emissions(m, r, k->mismatch);
    sq_err e = find_changes(m, r);
    if (!e)
        e = run_model(m, p, r, k, sample, n_walk);
    if (!e)
        answer_keep(&m->answer, p, sample);
    if (!e && k->is_last)
        answer_tell(&m->answer, p, k->n_sampled, sample);
    return e;
}
