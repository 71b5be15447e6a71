/*
 * The last rounds: the haploid model over whole haplotypes, some hundreds of them, which is as many as pairs could never be.
 *
 * What lies to the right of a heterozygote is taken to be the two haplotypes of the present guess from there on, either of them continuing
 * either of the haplotypes to its left (Browning, Tian, Zhou & Browning, AJHG 108:1880, 2021). So two backward passes, of both haplotypes of the guess, stand
 * for the matrix over pairs of phase_pairs.c; the walks are the same.
 *
 * A line is one haplotype from end to end of a span: it goes on behind the place where it differs from the guess, which may be where the guess is
 * wrong. Spans are about SPAN_CM long, for whoever is nearest at one end of a chromosome says little of the other.
 */
#include "lib/engine/phase_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SPAN_CM 5.0
#define FLANK_CM 1.5
#define MIN_JUMP 1e-8
#define DOUBT 0.45 /* the guess is the pairs' choice, which speaks for it besides: where the truth is known about as many were wrong as it says then */
#define STRIDE 4U /* places between two that are asked one after the other */
#define HOM_MAX_CM 0.01

/* Markers [first, end) of the model, of which those of [core, core_end) are decided. */
struct span {
    uint32_t first, core, core_end, end;
};

/* Markers [first, end): an open one, which is a heterozygote or a missing call, or homozygotes beside each other: a line goes with all of them or it doesn't. */
struct step {
    uint32_t first, end;
    bool is_open;
    double cm, jump; /* P(a haplotype moves on) between the step before and this one */
};

struct lines {
    uint32_t max_line, n_line, n_span, n_step;
    size_t words, pad;
    struct span *span;
    uint32_t *line;               /* [max_line] the pool's numbers */
    uint64_t *is_taken;           /* [words of the pool's numbers] */
    uint64_t *alt;                /* [n_marker][words] of the span: the line carries ALT; at the first marker of homozygotes: it goes with all of them */
    uint64_t *match;              /* [words] */
    struct step *step;            /* [n_step] of the span */
    double per_cm;                /* jumps */
    float *b, *x[MAX_WALK][2];
    float sum[MAX_WALK][2];       /* of x */
    uint16_t *saved[2];           /* [markers of a core][pad] at open ones: how likely the marker and all that follows it is */
    struct walk walk[MAX_WALK];
    struct answer answer;
};

/* Returns the markers of the largest one's core. */
static size_t find_spans(struct lines *m, const struct typed *y)
{
    size_t most = 0;
    double first = y->cm[0], all = y->cm[y->n_marker - 1] - first;
    uint32_t n = all > SPAN_CM ? (uint32_t)(all / SPAN_CM + 0.5) : 1, at = 0;
    for (uint32_t i = 0; i < n && at < y->n_marker; i++) {
        double from = first + all * i / n, to = first + all * (i + 1) / n;
        struct span s = {.core = at};
        while (at < y->n_marker && (i + 1 == n || y->cm[at] < to))
            at++;
        s.core_end = s.end = at;
        s.first = s.core;
        while (s.first && y->cm[s.first - 1] >= from - FLANK_CM)
            s.first--;
        while (s.end < y->n_marker && y->cm[s.end] < to + FLANK_CM)
            s.end++;
        if (s.core_end > s.core)
            m->span[m->n_span++] = s;
        most = s.core_end - s.core > most ? s.core_end - s.core : most;
    }
    return most;
}

sq_err lines_new(const struct pool *p, const struct neighbours *near, const struct phase_rates *k, uint32_t max_line, struct lines **out)
{
    const struct typed *y = p->y;
    size_t n_hap = (size_t)p->base + p->n_target, pad = sq_kernel_pad(max_line);
    struct lines *m = calloc(1, sizeof *m);
    *out = m;
    if (!m)
        return sq_fail(SQ_ENOMEM);
    m->max_line = max_line;
    m->span = malloc(((size_t)((y->cm[y->n_marker - 1] - y->cm[0]) / SPAN_CM) + 2) * sizeof *m->span);
    size_t n_saved = m->span ? find_spans(m, y) : 0;
    m->line = malloc(max_line * sizeof *m->line);
    m->is_taken = calloc(n_hap / 64 + 1, sizeof *m->is_taken);
    m->alt = malloc(y->marker_words * 64 * sq_kernel_words(max_line) * sizeof *m->alt);
    m->match = malloc(sq_kernel_words(max_line) * sizeof *m->match);
    m->step = malloc((size_t)y->n_marker * sizeof *m->step);
    m->per_cm = 0.04 * k->scale / (double)(y->n_hap + p->n_target);
    m->b = aligned_alloc(64, pad * sizeof *m->b);
    m->saved[0] = aligned_alloc(64, n_saved * pad * sizeof *m->saved[0]);
    m->saved[1] = aligned_alloc(64, n_saved * pad * sizeof *m->saved[0]);
    bool is_whole = m->span && m->line && m->is_taken && m->alt && m->match && m->step && m->b && m->saved[0] && m->saved[1];
    for (unsigned i = 0; i < 2 * MAX_WALK; i++) {
        m->x[i / 2][i % 2] = aligned_alloc(64, pad * sizeof *m->b);
        is_whole = is_whole && m->x[i / 2][i % 2];
    }
    if (!is_whole)
        return sq_fail(SQ_ENOMEM);
    return answer_init(&m->answer, y->n_marker);
}

void lines_free(struct lines *m)
{
    if (!m)
        return;
    free(m->span);
    free(m->line);
    free(m->is_taken);
    free(m->alt);
    free(m->match);
    free(m->step);
    free(m->b);
    free(m->saved[0]);
    free(m->saved[1]);
    for (unsigned i = 0; i < 2 * MAX_WALK; i++)
        free(m->x[i / 2][i % 2]);
    answer_free(&m->answer);
    free(m);
}

/* ---- lines ---------------------------------------------------------------------------------------------------------- */

static void set_lines(struct lines *m, const struct pool *p, const struct span *s)
{
    size_t from = s->first / 64, to = (s->end + 63) / 64;
    for (size_t g = 0; g < m->words; g++) {
        const uint64_t *hap[64];
        for (size_t i = 0; i < 64; i++)
            hap[i] = g * 64 + i < m->n_line ? pool_hap(p, m->line[g * 64 + i]) : NULL;
        for (size_t w = from; w < to; w++) {
            uint64_t tile[64];
            for (size_t i = 0; i < 64; i++)
                tile[i] = hap[i] ? hap[i][w] : 0;
            sq_kernels()->transpose(tile);
            for (size_t j = 0; j < 64 && w * 64 + j < p->y->n_marker; j++)
                m->alt[(w * 64 + j) * m->words + g] = tile[j];
        }
    }
}

/* The neighbours of either haplotype at a place, both ways and on both sides, the @depth-th. */
static void take_place(struct lines *m, const struct neighbours *near, uint32_t first, uint32_t q, uint32_t depth)
{
    for (unsigned j = 0; j < 8 && m->n_line < m->max_line; j++) {
        uint32_t hap = neighbours_at(near, j & 1, q, first - near->first_target + (j >> 1 & 1), j >> 2)[depth];
        if (hap == NOBODY || phase_bit(m->is_taken, hap))
            continue;
        phase_set(m->is_taken, hap, true);
        m->line[m->n_line++] = hap;
    }
}

/* Nearest first, the span's places in an order that leaves none out where the last of them find no room. */
static void choose_lines(struct lines *m, const struct pool *p, const struct neighbours *near, const struct span *s, uint32_t sample)
{
    uint32_t first = p->first_target[sample], from = 0, to;
    while (from < near->n_place && near->place[from] < s->first)
        from++;
    for (to = from; to < near->n_place && near->place[to] < s->end;)
        to++;
    m->n_line = 0;
    for (uint32_t depth = 0; depth < near->n_each; depth++)
        for (uint32_t start = 0; start < STRIDE; start++)
            for (uint32_t q = from + start; q < to; q += STRIDE)
                take_place(m, near, first, q, depth);
    if (!m->n_line) /* nobody could be it anywhere: any haplotype is as good as another */
        m->line[m->n_line++] = 0;
    for (uint32_t i = 0; i < m->n_line; i++)
        phase_set(m->is_taken, m->line[i], false);
    m->words = sq_kernel_words(m->n_line);
    m->pad = sq_kernel_pad(m->n_line);
    set_lines(m, p, s);
}

/* ---- steps ---------------------------------------------------------------------------------------------------------- */

/* Homozygotes of @t as one: what is at its first marker becomes the lines that go with all of them. */
static void join_homs(struct lines *m, const uint64_t *is_alt, const struct step *t)
{
    uint64_t *all = m->alt + t->first * m->words;
    for (uint32_t a = t->first; a < t->end; a++) {
        const uint64_t *alt = m->alt + a * m->words, flip = phase_bit(is_alt, a) ? 0 : ~UINT64_C(0);
        for (size_t w = 0; w < m->words; w++)
            all[w] = (a > t->first ? all[w] : ~UINT64_C(0)) & (alt[w] ^ flip);
    }
}

static void find_steps(struct lines *m, const struct pool *p, const struct span *s, uint32_t sample)
{
    const struct typed *y = p->y;
    const uint64_t *het = p->het + sample * y->marker_words, *missing = p->missing + sample * y->marker_words;
    m->n_step = 0;
    for (uint32_t a = s->first, end; a < s->end; a = end) {
        struct step *t = &m->step[m->n_step++];
        bool is_open = phase_bit(het, a) || phase_bit(missing, a);
        for (end = a + 1; !is_open && end < s->end && !phase_bit(het, end) && !phase_bit(missing, end) && y->cm[end] - y->cm[a] <= HOM_MAX_CM;)
            end++;
        *t = (struct step){.first = a, .end = end, .is_open = is_open, .cm = (y->cm[a] + y->cm[end - 1]) / 2, .jump = 1};
        if (m->n_step > 1)
            t->jump = fmax(MIN_JUMP, -expm1(-m->per_cm * (t->cm - t[-1].cm)));
        if (!is_open)
            join_homs(m, p->alt + sample * y->marker_words, t);
    }
}

/* ---- the model ----------------------------------------------------------------------------------------------------- */

/* Lines that go with the step, where it's open with @allele; with all where that isn't known. */
static const uint64_t *match_at(struct lines *m, const struct step *t, bool is_known, bool allele)
{
    const uint64_t *alt = m->alt + t->first * m->words;
    if (!t->is_open)
        return alt;
    uint64_t flip = allele ? 0 : ~UINT64_C(0), all = is_known ? 0 : ~UINT64_C(0);
    for (size_t w = 0; w < m->words; w++)
        m->match[w] = (alt[w] ^ flip) | all;
    return m->match;
}

/* One step on, @x adding up to @sum before; returns what it adds up to then. */
static float move(const struct lines *m, float *x, float sum, double jump, const uint64_t *match, float miss, uint16_t *save)
{
    return sq_kernels()->forward(x, m->n_line, match, (float)((1 - jump) / (double)sum), (float)(jump / m->n_line), 1 - miss, miss, save);
}

static void backward(struct lines *m, const struct pool *p, const struct span *s, float miss, uint32_t sample)
{
    const struct typed *y = p->y;
    size_t of = sample * y->marker_words;
    for (unsigned h = 0; h < 2; h++) {
        const uint64_t *own = pool_guess(p, p->target, 0, p->first_target[sample] + h);
        memset(m->b, 0, m->pad * sizeof *m->b);
        float sum = 1;
        for (uint32_t i = m->n_step; i-- > 0 && m->step[i].end > s->core;) {
            const struct step *t = &m->step[i];
            uint32_t a = t->first;
            double jump = i + 1 < m->n_step ? t[1].jump : 1;
            uint16_t *save = t->is_open && a < s->core_end ? m->saved[h] + (a - s->core) * m->pad : NULL;
            sum = move(m, m->b, sum, jump, match_at(m, t, !phase_bit(p->missing + of, a), phase_bit(own, a)), miss, save);
        }
    }
}

/* How likely each pair of alleles is at open marker @a, @jump from the one before: n[first's][second's]. The backward vectors hold the marker's own
 * alleles of the guess, which is taken out again. */
static void weigh(struct lines *m, unsigned w, uint32_t a, const struct span *s, double jump, const bool guess[2], bool is_known, float miss, double n[2][2])
{
    double d[2][2][2]; /* [left][right][allele] */
    float sum[4][2], of[2][2], *x[2] = {m->x[w][0], m->x[w][1]};
    const uint16_t *saved[2] = {m->saved[0] + (a - s->core) * m->pad, m->saved[1] + (a - s->core) * m->pad};
    sq_kernels()->line_sums(x, saved, m->n_line, m->alt + a * m->words, sum, of);
    for (unsigned left = 0; left < 2; left++)
        for (unsigned right = 0; right < 2; right++)
            for (unsigned allele = 0; allele < 2; allele++) {
                double own = !is_known || guess[right] == allele ? 1 - (double)miss : (double)miss;
                d[left][right][allele] = ((1 - jump) / (double)m->sum[w][left] * (double)sum[2 * left + right][allele] + jump / m->n_line * (double)of[right][allele]) / own;
            }
    for (unsigned i = 0; i < 2; i++)
        for (unsigned j = 0; j < 2; j++)
            n[i][j] = d[0][0][i] * d[1][1][j] + d[0][1][i] * d[1][0][j];
}

static void walk_step(struct lines *m, const struct pool *p, const struct span *s, const struct step *t, float miss, uint32_t sample, unsigned w)
{
    size_t of = sample * p->y->marker_words;
    uint32_t first = p->first_target[sample], a = t->first;
    bool is_missing = phase_bit(p->missing + of, a);
    bool guess[2] = {phase_bit(pool_guess(p, p->target, 0, first), a), phase_bit(pool_guess(p, p->target, 0, first + 1), a)};
    uint8_t *order = m->answer.order + (size_t)a * MAX_WALK + w, chance = UINT8_MAX;
    if (t->is_open && a >= s->core) {
        const struct sq_phase_site *site = &p->w->typed[a];
        uint8_t set = !is_missing && site->set ? site->set[sample] : 0;
        double n[2][2];
        if (is_missing || walk_asks(&m->walk[w], set))
            weigh(m, w, a, s, t->jump, guess, !is_missing, miss, n);
        *order = is_missing ? walk_fill(n) : walk_order(&m->walk[w], n, DOUBT, set, set ? order_as_read(site, first) : 0, &chance);
        if (!w)
            m->answer.chance[a] = chance;
    }
    for (unsigned h = 0; h < 2; h++)
        m->sum[w][h] = move(m, m->x[w][h], m->sum[w][h], t->jump, match_at(m, t, !is_missing, *order >> h & 1), miss, NULL);
}

sq_err lines_run(struct lines *m, struct pool *p, const struct neighbours *near, const struct phase_rates *k, uint32_t sample)
{
    uint32_t first = p->first_target[sample], n = p->first_target[sample + 1] - first;
    for (uint32_t h = 0; h < n; h++)
        memcpy(pool_guess(p, p->next, 0, first + h), pool_guess(p, p->target, 0, first + h), p->y->marker_words * sizeof(uint64_t));
    if (n < 2)
        return SQ_OK;
    unsigned n_walk = k->is_last ? 1 + k->n_sampled : 1;
    walks_begin(m->walk, n_walk, WALK_DOUBTS, phase_mix(k->key + sample));
    for (uint32_t i = 0; i < m->n_span; i++) {
        const struct span *s = &m->span[i];
        choose_lines(m, p, near, s, sample);
        find_steps(m, p, s, sample);
        backward(m, p, s, (float)k->mismatch, sample);
        for (unsigned w = 0; w < n_walk; w++)
            for (unsigned h = 0; h < 2; h++) {
                memset(m->x[w][h], 0, m->pad * sizeof *m->b);
                m->sum[w][h] = 1;
            }
        for (const struct step *t = m->step; t < m->step + m->n_step && t->first < s->core_end; t++)
            for (unsigned w = 0; w < n_walk; w++)
                walk_step(m, p, s, t, (float)k->mismatch, sample, w);
    }
    answer_keep(&m->answer, p, sample);
    if (k->is_last)
        answer_tell(&m->answer, p, k->n_sampled, sample);
    return SQ_OK;
}
