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
#define MAX_WALK (1 + SQ_PHASE_MAX_SAMPLED)
#define N_SET 256U
_Static_assert(N_GUESS <= MAX_WALK, "a walk for each guess");

enum step_kind { STEP_HOM, STEP_HET, STEP_MISSING };
struct step {
    uint32_t first, end; /* markers; the last one is the heterozygote or missing */
    enum step_kind kind;
    float jump;          /* P(a haplotype moves on) between the step before and this one */
    double cm;
};

struct walk {
    float *x[2];  /* [pad] rows of either haplotype, by what is known up to the step */
    uint64_t key, n_rolled;
    bool is_drawing, has_begun;
    uint8_t turned[N_SET]; /* of a set of given order: 0 not met yet, 1 as read, 2 the other way round */
};

struct pairs {
    uint32_t max_row, pad, n_row, n_step, n_mark;
    struct step *step;
    uint32_t *step_of;               /* [n_marker] */
    uint32_t *change_first, *change; /* rows that change at a step */
    float *emission;                 /* [n_step][pad] of the homozygotes */
    float *column[6];                /* [pad] for the kernel */
    float *p, *q, *r, *stay, *apart[2], *part;
    uint8_t *has_alt;                /* [pad] of the step's last marker */
    float *with, *without;           /* [pad] 1 for rows with the ALT, and for those without; else 0 */
    float *matrix;                   /* [BLOCK][max_row][pad] */
    float *mark, *mark_sum;          /* [n_mark][max_row][pad], [n_mark][pad] */
    float *sum;                      /* [pad] column sums of the newest matrix */
    struct walk walk[MAX_WALK];
    uint8_t *order;                  /* [n_marker][MAX_WALK] bit 0: the first haplotype has the ALT, bit 1: the second */
    uint8_t *chance;                 /* [n_marker] how sure the best walk's order is, as in phase.h */
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
    size_t n = (size_t)p->y->n_marker + 2, pad = (max_row + 31) / 32 * 32;
    struct pairs *m = calloc(1, sizeof *m);
    *out = NULL;
    if (!m)
        return sq_fail(SQ_ENOMEM);
    m->max_row = max_row;
    m->step = malloc(n * sizeof *m->step);
    m->step_of = malloc(n * sizeof *m->step_of);
    m->change_first = malloc(n * sizeof *m->change_first);
    m->emission = floats(n * pad);
    m->order = malloc(n * MAX_WALK);
    m->chance = malloc(n);
    m->has_alt = malloc(pad);
    m->matrix = floats(BLOCK * max_row * pad);
    float **each[] = {&m->p, &m->q, &m->r, &m->stay, &m->sum, &m->apart[0], &m->apart[1], &m->with, &m->without, &m->part, &m->column[0], &m->column[1], &m->column[2],
                      &m->column[3], &m->column[4], &m->column[5]};
    bool is_whole = m->step && m->step_of && m->change_first && m->emission && m->order && m->chance && m->has_alt && m->matrix;
    for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
        *each[i] = floats(pad);
        is_whole = is_whole && *each[i];
    }
    for (unsigned i = 0; i < 2 * MAX_WALK; i++) {
        m->walk[i / 2].x[i % 2] = floats(pad);
        is_whole = is_whole && m->walk[i / 2].x[i % 2];
    }
    if (!is_whole)
        return one_free(m);
    *out = m;
    return SQ_OK;
}

void pairs_free(struct pairs *m)
{
    if (!m)
        return;
    for (unsigned i = 0; i < 6; i++)
        free(m->column[i]);
    for (unsigned i = 0; i < 2 * MAX_WALK; i++)
        free(m->walk[i / 2].x[i % 2]);
    free(m->step);
    free(m->step_of);
    free(m->change_first);
    free(m->change);
    free(m->emission);
    free(m->p);
    free(m->q);
    free(m->r);
    free(m->stay);
    free(m->apart[0]);
    free(m->apart[1]);
    free(m->has_alt);
    free(m->with);
    free(m->without);
    free(m->part);
    free(m->matrix);
    free(m->mark);
    free(m->mark_sum);
    free(m->sum);
    free(m->order);
    free(m->chance);
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
        float *e = m->emission + (size_t)t * m->pad, best = 0;
        for (uint32_t i = 0; i < m->pad; i++)
            e[i] = i < m->n_row ? 1.0F : 0.0F;
        for (uint32_t a = s->first; a < s->end - (s->kind != STEP_HOM); a++) {
            uint64_t flip = phase_bit(m->alt, a) ? ~UINT64_C(0) : 0;
            for (size_t w = 0; w < r->row_words; w++) {
                uint64_t valid = m->n_row - w * 64 >= 64 ? ~UINT64_C(0) : (UINT64_C(1) << (m->n_row - w * 64)) - 1;
                for (uint64_t z = (r->alt[a * r->row_words + w] ^ flip) & valid; z; z &= z - 1)
                    e[w * 64 + (size_t)__builtin_ctzll(z)] *= miss;
            }
        }
        for (uint32_t i = 0; i < m->n_row; i++)
            best = e[i] > best ? e[i] : best;
        for (uint32_t i = 0; i < m->n_row && best < 1; i++)
            e[i] = best > FLT_MIN ? e[i] / best : 1;
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

static void set_alt(struct pairs *m, const struct rows *r, uint32_t t)
{
    const uint64_t *alt = r->alt + (m->step[t].end - 1) * r->row_words;
    bool is_open = m->step[t].kind != STEP_HOM;
    for (uint32_t i = 0; i < m->pad; i++)
        m->has_alt[i] = is_open && i < m->n_row ? alt[i / 64] >> (i % 64) & 1 : 0;
    for (uint32_t i = 0; i < m->pad; i++) {
        m->with[i] = (float)m->has_alt[i];
        m->without[i] = 1 - m->with[i];
    }
}

/* ---- backward ----------------------------------------------------------------------------------------------------------- */

typedef float lanes __attribute__((vector_size(64), aligned(64), may_alias));

static float sum_of(const float *x, size_t n)
{
    lanes s = {0};
    for (size_t i = 0; i < n; i += 16)
        s += *(const lanes *)(x + i);
    float all = 0;
    for (unsigned i = 0; i < 16; i++)
        all += s[i];
    return all;
}

static float dot(const float *a, const float *b, size_t n)
{
    lanes s = {0};
    for (size_t i = 0; i < n; i += 16)
        s += *(const lanes *)(a + i) * *(const lanes *)(b + i);
    float all = 0;
    for (unsigned i = 0; i < 16; i++)
        all += s[i];
    return all;
}

/*
 * The matrix of step @t, its emissions E included, from that of step t+1, G, whose column sums c are in m->sum and add up to C (@in NULL: t is the
 * last). With s: stays, l = 1 - s: leaves, to any of the n rows alike:
 *   E(i) E(j) f(i,j) [ s(i) s(j) G(i,j) + s(i) l(j) c(i) / n + l(i) s(j) c(j) / n + l(i) l(j) C / n^2 ]
 * and f(i,j) little where a heterozygote's rows have the same allele.
 */
static void backward_step(struct pairs *m, const struct rows *rows, float mismatch, uint32_t t, const float *in, float *out)
{
    float each = 1 / ((float)m->n_row * (float)m->n_row), same = m->step[t].kind == STEP_HET ? 2 * mismatch : 1;
    float g = in ? 1 / sum_of(m->sum, m->pad) : 1, share = g / (float)m->n_row;
    const float *e = m->emission + (size_t)t * m->pad;
    set_alt(m, rows, t);
    if (in)
        set_stay(m, t + 1);
    else {
        memset(out, 0, (size_t)m->n_row * m->pad * sizeof *out);
        memset(m->stay, 0, m->pad * sizeof *m->stay);
        memset(m->sum, 0, m->pad * sizeof *m->sum);
    }
    for (uint32_t i = 0; i < m->pad; i++) {
        float stay = e[i] * m->stay[i], leave = e[i] - stay, back = stay * (share * m->sum[i]);
        float of_without = m->with[i] + m->without[i] * same, of_with = m->without[i] + m->with[i] * same;
        m->p[i] = stay;
        m->q[i] = back + leave * each;
        m->r[i] = leave;
        m->column[0][i] = g * stay * of_without;
        m->column[1][i] = leave * of_without;
        m->column[2][i] = back * of_without;
        m->column[3][i] = g * stay * of_with;
        m->column[4][i] = leave * of_with;
        m->column[5][i] = back * of_with;
    }
    sq_kernels()->pair_step(in ? in : out, out, m->n_row, m->pad, m->column, m->has_alt, m->p, m->q, m->r, m->sum);
}

/* ---- walks ---------------------------------------------------------------------------------------------------------------- */

/* What is known from the left, moved on to step @t but without it. m->stay is that of the step. */
static void move_on(const struct pairs *m, struct walk *w, uint32_t t)
{
    for (unsigned h = 0; h < 2; h++) {
        float *x = w->x[h], all = t ? sum_of(x, m->pad) : 0, kept = t ? dot(x, m->stay, m->pad) : 0;
        float g = t ? 1 / all : 0, each = (t ? (all - kept) * g : 1) / (float)m->n_row;
        for (uint32_t i = 0; i < m->n_row; i++)
            x[i] = (t ? x[i] * m->stay[i] * g : 0) + each;
        for (uint32_t i = m->n_row; i < m->pad; i++)
            x[i] = 0;
    }
}

/* How likely each pair of alleles is, given the order of all heterozygotes before and all genotypes: out[first's][second's]. */
static void weigh(struct pairs *m, const struct walk *w, const float *matrix, float out[2][2])
{
    sq_kernels()->pair_apart(matrix, m->n_row, m->pad, m->has_alt, w->x[1], m->apart[0], m->apart[1]);
    for (unsigned a = 0; a < 2; a++) {
        const float *is_of = a ? m->with : m->without;
        for (uint32_t i = 0; i < m->pad; i++)
            m->part[i] = w->x[0][i] * is_of[i];
        out[a][0] = dot(m->part, m->apart[0], m->pad);
        out[a][1] = dot(m->part, m->apart[1], m->pad);
    }
}

/* The order of a heterozygote: 1 or 2. @set: of those whose order is given relative to each other, @as_read the order it was read in. */
static uint8_t decide(struct pairs *m, struct walk *w, const float *matrix, uint8_t set, uint8_t as_read, uint8_t *out_chance)
{
    uint8_t order = 1;
    *out_chance = UINT8_MAX;
    if (set && w->turned[set])
        return w->turned[set] == 1 ? as_read : 3 - as_read;
    if (w->has_begun) {
        float n[2][2];
        weigh(m, w, matrix, n);
        float either = (n[0][0] + n[1][1]) / 2, all = n[1][0] + n[0][1] + 2 * either; /* an error on one side or the other */
        float first = all > 0 ? (n[1][0] + either) / all : 0.5F;
        bool is_first = w->is_drawing ? phase_roll(w->key, ++w->n_rolled) < (double)first : first >= 0.5F;
        order = is_first ? 1 : 2;
        float sure = 2 * (is_first ? first : 1 - first) - 1;
        *out_chance = sure > 0 ? (uint8_t)(sure * UINT8_MAX + 0.5F) : 0;
    }
    w->has_begun = true;
    if (set)
        w->turned[set] = order == as_read ? 1 : 2;
    return order;
}

/* The likeliest pair of alleles of a missing call. */
static uint8_t fill(struct pairs *m, const struct walk *w, const float *matrix)
{
    float n[2][2];
    weigh(m, w, matrix, n);
    uint8_t best = 0;
    for (uint8_t i = 1; i < 4; i++)
        best = n[i & 1][i >> 1] > n[best & 1][best >> 1] ? i : best;
    return best;
}

static void walk_step(struct pairs *m, struct walk *w, float mismatch, uint32_t t, const float *matrix, uint8_t set, uint8_t as_read)
{
    const float *e = m->emission + (size_t)t * m->pad;
    uint32_t marker = m->step[t].end - 1;
    unsigned no = (unsigned)(w - m->walk);
    uint8_t *order = m->order + (size_t)marker * MAX_WALK + no, chance;
    float of[2][2] = {{1, 1}, {1, 1}}; /* [haplotype][row's allele] */
    move_on(m, w, t);
    if (m->step[t].kind == STEP_MISSING)
        *order = fill(m, w, matrix);
    if (m->step[t].kind == STEP_HET) {
        *order = decide(m, w, matrix, set, as_read, &chance);
        of[0][*order == 2] = of[1][*order == 1] = mismatch;
        of[0][*order == 1] = of[1][*order == 2] = 1 - mismatch;
        if (!no)
            m->chance[marker] = chance;
    }
    for (unsigned h = 0; h < 2; h++)
        for (uint32_t i = 0; i < m->pad; i++)
            w->x[h][i] *= e[i] * (m->without[i] * of[h][0] + m->with[i] * of[h][1]);
}

static sq_err need_marks(struct pairs *m)
{
    uint32_t n = m->n_step / BLOCK + 2;
    if (n <= m->n_mark)
        return SQ_OK;
    free(m->mark);
    free(m->mark_sum);
    size_t pad = (m->max_row + 31) / 32 * 32;
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

static sq_err run_model(struct pairs *m, const struct pool *p, const struct rows *r, const struct pairs_rates *k, uint32_t sample, unsigned n_walk)
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
        set_alt(m, r, t);
        for (unsigned w = 0; w < n_walk; w++)
            walk_step(m, &m->walk[w], mismatch, t, m->matrix + t % BLOCK * size, site->set ? site->set[sample] : 0,
                      site->allele[p->first_target[sample]] == 1 ? 1 : 2);
    }
    return SQ_OK;
}

/* ---- the guesses ---------------------------------------------------------------------------------------------------------------- */

static void keep_guesses(const struct pairs *m, struct pool *p, uint32_t sample)
{
    for (uint32_t t = 0; t < m->n_step; t++) {
        if (m->step[t].kind == STEP_HOM)
            continue;
        uint32_t marker = m->step[t].end - 1;
        const uint8_t *order = m->order + (size_t)marker * MAX_WALK;
        for (uint32_t g = 0; g < N_GUESS; g++)
            for (uint32_t h = 0; h < 2; h++)
                phase_set(pool_guess(p, p->next, g, p->first_target[sample] + h), marker, order[g] >> h & 1);
    }
}

static void tell_window(const struct pairs *m, const struct pool *p, unsigned n_sampled, uint32_t sample)
{
    for (uint32_t t = 0; t < m->n_step; t++) {
        uint32_t marker = m->step[t].end - 1;
        const struct sq_phase_site *site = &p->w->typed[marker];
        if (m->step[t].kind != STEP_HET)
            continue;
        const uint8_t *order = m->order + (size_t)marker * MAX_WALK;
        if (site->confidence)
            site->confidence[sample] = m->chance[marker];
        for (unsigned s = 0; site->swap && s < n_sampled; s++)
            site->swap[sample] |= (uint8_t)((order[1 + s] != order[0]) << s);
    }
}

sq_err pairs_run(struct pairs *m, struct pool *p, const struct rows *r, const struct pairs_rates *k, uint32_t sample)
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
    m->pad = (r->n_row + 31) / 32 * 32;
    unsigned n_walk = k->is_last && 1 + k->n_sampled > N_GUESS ? 1 + k->n_sampled : N_GUESS;
    for (unsigned w = 0; w < n_walk; w++) {
        m->walk[w].key = phase_mix(phase_mix(k->key + sample) + w);
        m->walk[w].n_rolled = 0;
        m->walk[w].is_drawing = w > 0;
        m->walk[w].has_begun = false;
        memset(m->walk[w].turned, 0, sizeof m->walk[w].turned);
    }
    find_steps(m, y, 0.04 * k->scale / (double)(y->n_hap + p->n_target));
    find_emissions(m, r, k->mismatch);
    sq_err e = find_changes(m, r);
    if (!e)
        e = run_model(m, p, r, k, sample, n_walk);
    if (!e)
        keep_guesses(m, p, sample);
    if (!e && k->is_last)
        tell_window(m, p, k->n_sampled, sample);
    return e;
}
