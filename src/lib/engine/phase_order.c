/*
 * What both models of the phasing share: the order of one heterozygote after the other, each decided or drawn by its probability given those before
 * it, and what becomes of these orders.
 */
#include "lib/engine/phase_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SECOND_CHOICE 0.35 /* a less likely order is taken from here on */

sq_err answer_init(struct answer *a, uint32_t n_marker)
{
    a->order = calloc((size_t)n_marker + 1, MAX_WALK);
    a->chance = malloc((size_t)n_marker + 1);
    return a->order && a->chance ? SQ_OK : sq_fail(SQ_ENOMEM);
}

void answer_free(struct answer *a)
{
    free(a->order);
    free(a->chance);
    *a = (struct answer){0};
}

void walks_begin(struct walk *walk, unsigned n, enum walk_kind second, uint64_t key)
{
    for (unsigned w = 0; w < n; w++)
        walk[w] = (struct walk){.key = phase_mix(key + w), .kind = !w ? WALK_DECIDES : w > 1 ? WALK_DRAWS
                                                                                            : second};
}

bool walk_asks(const struct walk *w, uint8_t set)
{
    return w->has_begun && !(set && w->turned[set]);
}

uint8_t walk_order(struct walk *w, double n[2][2], double doubt, uint8_t set, uint8_t as_read, uint8_t *out_chance)
{
    uint8_t order = 1;
    *out_chance = UINT8_MAX;
    if (set && w->turned[set])
        return w->turned[set] == 1 ? as_read : 3 - as_read;
    if (w->has_begun) {
        double either = (n[0][0] + n[1][1]) / 2, all = n[1][0] + n[0][1] + 2 * either; /* an error on one side or the other */
        double first = all > 0 ? (n[1][0] + either) / all : 0.5, less = fmin(first, 1 - first);
        double wrong = doubt * less / (doubt * less + 1 - less); /* P(the likelier order is wrong) */
        bool takes_less = w->kind == WALK_DOUBTS ? less > SECOND_CHOICE : w->kind == WALK_DRAWS && phase_roll(w->key, ++w->n_rolled) < wrong;
        order = (first >= 0.5) != takes_less ? 1 : 2;
        double sure = 1 - 2 * wrong;
        *out_chance = sure > 0 ? (uint8_t)(sure * UINT8_MAX + 0.5) : 0;
    }
    w->has_begun = true;
    if (set)
        w->turned[set] = order == as_read ? 1 : 2;
    return order;
}

uint8_t walk_fill(double n[2][2])
{
    uint8_t best = 0;
    for (uint8_t i = 1; i < 4; i++)
        best = n[i & 1][i >> 1] > n[best & 1][best >> 1] ? i : best;
    return best;
}

void answer_keep(const struct answer *a, struct pool *p, uint32_t sample)
{
    const uint64_t *het = p->het + sample * p->y->marker_words, *missing = p->missing + sample * p->y->marker_words;
    for (size_t w = 0; w < p->y->marker_words; w++)
        for (uint64_t open = het[w] | missing[w]; open; open &= open - 1) {
            uint32_t marker = (uint32_t)(w * 64) + (uint32_t)__builtin_ctzll(open);
            const uint8_t *order = a->order + (size_t)marker * MAX_WALK;
            for (uint32_t g = 0; g < p->n_guess; g++)
                for (uint32_t h = 0; h < 2; h++)
                    phase_set(pool_guess(p, p->next, g, p->first_target[sample] + h), marker, order[g] >> h & 1);
        }
}

void answer_tell(const struct answer *a, const struct pool *p, unsigned n_sampled, uint32_t sample)
{
    for (uint32_t m = 0; m < p->y->n_marker; m++) {
        const struct sq_phase_site *site = &p->w->typed[m];
        if (!phase_bit(p->het + sample * p->y->marker_words, m))
            continue;
        const uint8_t *order = a->order + (size_t)m * MAX_WALK;
        if (site->confidence)
            site->confidence[sample] = a->chance[m];
        for (unsigned s = 0; site->swap && s < n_sampled; s++)
            site->swap[sample] |= (uint8_t)((order[1 + s] != order[0]) << s);
    }
}
