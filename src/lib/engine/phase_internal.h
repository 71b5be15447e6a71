/* phase_internal - the passes of the phasing, for engine's own files. Not for other rooms. */
#ifndef SQ_ENGINE_PHASE_INTERNAL_H
#define SQ_ENGINE_PHASE_INTERNAL_H

#include "lib/engine/engine_internal.h"
#include "lib/engine/phase.h"

static inline bool phase_bit(const uint64_t *bits, size_t i)
{
    return bits[i / 64] >> (i % 64) & 1;
}

static inline void phase_set(uint64_t *bits, size_t i, bool value)
{
    bits[i / 64] = (bits[i / 64] & ~(UINT64_C(1) << (i % 64))) | (uint64_t)value << (i % 64);
}

/* Random numbers by counting (SplitMix64: Steele, Lea & Flood, OOPSLA 2014): the n-th of a key is the same whoever asks, and when. */
static inline uint64_t phase_mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

/* In [0, 1). */
static inline double phase_roll(uint64_t key, uint64_t n)
{
    return (double)(phase_mix(key + n * UINT64_C(0x9e3779b97f4a7c15)) >> 11) * 0x1p-53;
}

/* ---- phase_pool.c: haplotypes of the panel and, as they are guessed at present, of the samples ------------------------ */

/* Each sample has N_GUESS guesses at a time: the best, and drawn ones, so that neighbours are found for what else it may be. */
#define N_GUESS 4U

struct pool {
    uint32_t n_guess;        /* N_GUESS, or in the last rounds 1 */
    const struct typed *y; /* the panel's typed sites */
    const struct sq_phase_window *w;
    uint32_t n_sample, n_target;
    uint32_t base;           /* number of target 0; the panel's haplotypes are 0..y->n_hap-1 */
    uint32_t *first_target;  /* [n_sample + 1] */
    uint32_t *sample_of;     /* [n_target] */
    uint64_t *target, *next; /* [N_GUESS][n_target][marker_words] nothing missing; guess 0 is the best. next: of the present round */
    uint64_t *alt, *het, *missing; /* [n_sample][marker_words] genotypes; alt: homozygous */
    uint64_t *sure;          /* [n_sample][marker_words] heterozygotes whose order to the one before the pairs are sure of */
    size_t target_words;
    uint64_t *by_marker;     /* [n_marker][target_words] of all guesses */
};
sq_err pool_build(struct pool *p, const struct typed *y, const struct sq_phase_window *w) SQ_MUST_CHECK;
void phase_pool_free(struct pool *p);
/** pool_start - the first guesses. */
sq_err pool_start(struct pool *p, uint64_t key) SQ_MUST_CHECK;
/** pool_end_round - what is in next is the present guess. */
void pool_end_round(struct pool *p);
/** pool_neighbours - as neighbours_find(), of the best guesses and the panel, but not of the same sample, for all guesses of @count targets:
 *  those of target t are numbers (t - first) * n_guess .. + n_guess - 1 of @n. */
sq_err pool_neighbours(struct neighbours *n, const struct pool *p, uint32_t first, uint32_t count, struct crew *crew,
                       unsigned n_thread) SQ_MUST_CHECK;
static inline const uint64_t *pool_hap(const struct pool *p, uint32_t hap)
{
    size_t words = p->y->marker_words;
    return hap < p->base ? p->y->by_hap + hap * words : p->target + (hap - p->base) * words;
}
static inline uint64_t *pool_guess(const struct pool *p, uint64_t *of, uint32_t guess, uint32_t target)
{
    return of + ((size_t)guess * p->n_target + target) * p->y->marker_words;
}

/* ---- phase_rows.c: the rows of states of one sample ---------------------------------------------------------------------- */

/* One thread's. Stretches are of markers here. */
struct rows {
    uint32_t max_row, n_row, n_stretch;
    size_t row_words;
    struct stretch *stretch;
    uint32_t *last_of_row; /* [n_row] */
    uint64_t *alt;         /* [n_marker][row_words] bit: the row carries ALT */
    struct rows_work *work;
};
sq_err rows_init(struct rows *r, const struct pool *p, uint32_t max_row, uint32_t n_place) SQ_MUST_CHECK;
void rows_free(struct rows *r);
void rows_choose(struct rows *r, const struct pool *p, const struct neighbours *n, uint32_t sample);

/* ---- phase_order.c: orders of heterozygotes, one after the other ------------------------------------------------------------- */

#define MAX_WALK (1 + SQ_PHASE_MAX_SAMPLED)
#define N_SET 256U
_Static_assert(N_GUESS <= MAX_WALK, "a walk for each guess");

/* One way from the left to the right: takes the likelier order of each heterozygote; the less likely one wherever there is some doubt; draws. */
enum walk_kind { WALK_DECIDES, WALK_DOUBTS, WALK_DRAWS };
struct walk {
    uint64_t key, n_rolled;
    enum walk_kind kind;
    bool has_begun;
    uint8_t turned[N_SET]; /* of a set of given order: 0 not met yet, 1 as read, 2 the other way round */
};
/** walks_begin - the first decides, the next one is @second, the others draw. */
void walks_begin(struct walk *walk, unsigned n, enum walk_kind second, uint64_t key);
/** walk_asks - whether the next heterozygote's order depends on what is likely. */
bool walk_asks(const struct walk *w, uint8_t set);
/** walk_order - the order of a heterozygote: 1 or 2, the haplotype that has the ALT. @n [first's allele][second's] how likely, where it asks; @doubt: what the odds of
 *  the less likely order are multiplied with; @set: of those whose order
 *  is given relative to each other, @as_read the order it was read in. */
uint8_t walk_order(struct walk *w, double n[2][2], double doubt, uint8_t set, uint8_t as_read, uint8_t *out_chance);
/** walk_fill - the likeliest pair of alleles of a missing call: bit 0 the first haplotype's, bit 1 the second's. */
uint8_t walk_fill(double n[2][2]);

/* 1 or 2: the haplotype that had the ALT as the heterozygote was read. @first: the sample's first target. */
static inline uint8_t order_as_read(const struct sq_phase_site *site, uint32_t first)
{
    return site->allele[first] == 1 ? 1 : 2;
}

struct answer {
    uint8_t *order;  /* [n_marker][MAX_WALK] bit 0: the first haplotype has the ALT, bit 1: the second */
    uint8_t *chance; /* [n_marker] how sure the best walk's order is, as in phase.h */
};
sq_err answer_init(struct answer *a, uint32_t n_marker) SQ_MUST_CHECK;
void answer_free(struct answer *a);
/** answer_keep - new guesses of what is open. */
void answer_keep(const struct answer *a, struct pool *p, uint32_t sample);
/** answer_tell - what the window's sites say of it besides. */
void answer_tell(const struct answer *a, const struct pool *p, unsigned n_sampled, uint32_t sample);

/* ---- phase_pairs.c: the diploid model ---------------------------------------------------------------------------------------- */

struct phase_rates {
    double scale, mismatch;
    uint64_t key; /* of the window and the round */
    unsigned n_sampled;
    bool may_join; /* settled heterozygotes are one step */
    bool is_last;  /* round */
};
struct pairs;
sq_err pairs_new(const struct pool *p, uint32_t max_row, struct pairs **out) SQ_MUST_CHECK;
void pairs_free(struct pairs *m);
/** pairs_run - new guesses for @sample, and in the last round what the window's sites say of it besides. */
sq_err pairs_run(struct pairs *m, struct pool *p, const struct rows *r, const struct phase_rates *rates, uint32_t sample) SQ_MUST_CHECK;

/* ---- phase_lines.c: the haploid model of both haplotypes of the best guess ------------------------------------------------------ */

struct lines;
sq_err lines_new(const struct pool *p, const struct neighbours *near, const struct phase_rates *k, uint32_t max_line, struct lines **out) SQ_MUST_CHECK;
void lines_free(struct lines *m);
/** lines_run - as pairs_run(), the best guess alone. */
sq_err lines_run(struct lines *m, struct pool *p, const struct neighbours *near, const struct phase_rates *k, uint32_t sample) SQ_MUST_CHECK;

#endif
