/*
 * Phasing of any small window: called alleles stay, nothing is missing afterwards, orders that were given are kept, the result is the same with three
 * threads, and ligation only turns haplotypes round. Input: 8 bytes of shape | alleles of the panel, the samples and their sets, over and over.
 */
#include "lib/engine/phase.h"
#include "memory_panel.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_SITE 140U
#define MAX_HAP 80U
#define MAX_SAMPLE 24U

static struct {
    const uint8_t *p;
    size_t n, at;
} in;

static uint8_t byte(void)
{
    return in.n ? in.p[in.at++ % in.n] : 0;
}

struct window {
    uint32_t n_site, n_sample, n_hap, first[MAX_SAMPLE + 1];
    uint8_t is_haploid[MAX_SAMPLE];
    uint8_t panel[MAX_SITE * MAX_HAP];
    double cm[MAX_SITE];
    uint8_t seen[MAX_SITE][2 * MAX_SAMPLE], set[MAX_SITE][MAX_SAMPLE];
    bool has_sets, has_extras;
    uint32_t n_state; /* few, so that an input takes milliseconds; 0, the default, now and then */
    unsigned n_round;
    struct memory_panel memory;
    struct sq_engine_panel panel_of;
};

struct result {
    uint8_t allele[MAX_SITE][2 * MAX_SAMPLE], swap[MAX_SITE][MAX_SAMPLE], confidence[MAX_SITE][MAX_SAMPLE];
    struct sq_phase_site site[MAX_SITE];
    uint32_t n_typed;
};

/* Every third site or so is typed, or all. */
static bool is_typed(const struct window *w, uint32_t s)
{
    return !w->has_extras || s % 3 != 1;
}

static uint8_t allele_from(uint8_t b, bool is_het_likely)
{
    return b < 24 ? SQ_ENGINE_MISSING : is_het_likely ? b & 1
                                                      : b >> 3 & 1;
}

static void make(struct window *w)
{
    uint8_t shape[8];
    for (unsigned i = 0; i < sizeof shape; i++)
        shape[i] = byte();
    memset(w, 0, sizeof *w);
    uint32_t n_hap = 1 + shape[0] % MAX_HAP;
    w->n_site = 1 + shape[1] % MAX_SITE;
    w->n_sample = 1 + shape[2] % MAX_SAMPLE;
    w->has_sets = shape[3] & 1;
    w->has_extras = shape[3] & 2;
    static const uint32_t states[] = {8, 1, 2, 7, 33, 16, 64, 0};
    w->n_state = states[shape[3] >> 5];
    w->n_round = 1 + (shape[3] >> 3 & 1);
    for (uint32_t i = 0; i < w->n_sample; i++) {
        w->is_haploid[i] = shape[3] & 4 && (shape[4] >> (i % 8) & 1);
        w->first[i + 1] = w->n_hap += 2 - w->is_haploid[i];
    }
    double cm = 0;
    for (uint32_t s = 0; s < w->n_site; s++) {
        uint8_t d = byte();
        w->cm[s] = cm += d % 16 == 0 ? 0 : d % 16 == 1 ? d / 20.0
                                                       : d * shape[5] * 1e-6;
        for (uint32_t h = 0; h < n_hap; h += 8)
            for (uint8_t b = byte(), k = 0; k < 8 && h + k < n_hap; k++)
                w->panel[(size_t)s * n_hap + h + k] = b >> k & 1;
        for (uint32_t k = 0; k < w->n_hap; k++)
            w->seen[s][k] = allele_from(byte(), shape[6] & 1);
        for (uint32_t i = 0; i < w->n_sample; i++)
            w->set[s][i] = (uint8_t)(s * (1U + (shape[7] & 7)) / w->n_site + (shape[7] >> (i % 5 + 3) & 1)); /* stretches; 0 means none */
    }
    w->memory = (struct memory_panel){.n_hap = n_hap, .n_site = w->n_site, .allele = w->panel, .cm = w->cm};
    w->panel_of = memory_panel_open(&w->memory);
}

static sq_err phase(const struct window *w, unsigned n_thread, struct result *r)
{
    memset(r, 0, sizeof *r);
    memcpy(r->allele, w->seen, sizeof r->allele);
    for (uint32_t s = 0; s < w->n_site; s++)
        if (is_typed(w, s))
            r->site[r->n_typed++] = (struct sq_phase_site){.site = s, .allele = r->allele[s], .set = w->has_sets ? w->set[s] : NULL, .swap = w->has_extras ? r->swap[s] : NULL, .confidence = w->has_extras ? r->confidence[s] : NULL};
    struct sq_phase_window window = {.panel = &w->panel_of, .n_sample = w->n_sample, .n_hap = w->n_hap, .is_haploid = w->is_haploid, .n_typed = r->n_typed, .typed = r->site, .key = 1};
    struct sq_phase_params p = {.n_thread = n_thread, .n_sampled = w->has_extras ? 4 : 0, .n_state = w->n_state, .n_round = w->n_round};
    return sq_phase(&window, &p, NULL);
}

static void check_called(const struct window *w, const struct result *r, uint32_t s, uint32_t i)
{
    const uint8_t *was = w->seen[s] + w->first[i], *now = r->allele[s] + w->first[i];
    sq_assert(now[0] < SQ_ENGINE_MISSING);
    if (w->is_haploid[i]) {
        sq_assert(was[0] == SQ_ENGINE_MISSING || was[0] == now[0]);
        return;
    }
    sq_assert(now[1] < SQ_ENGINE_MISSING);
    bool is_missing = was[0] == SQ_ENGINE_MISSING || was[1] == SQ_ENGINE_MISSING; /* half of it is all of it */
    sq_assert(is_missing || (was[0] == now[0] && was[1] == now[1]) || (was[0] == now[1] && was[1] == now[0]));
}

/* Heterozygotes of one set are all as they were, or all turned. */
static void check_sets(const struct window *w, const struct result *r, uint32_t i)
{
    int way[256] = {0};
    for (uint32_t s = 0; s < w->n_site; s++) {
        const uint8_t *was = w->seen[s] + w->first[i], *now = r->allele[s] + w->first[i];
        if (!is_typed(w, s) || !w->set[s][i] || was[0] + was[1] != 1)
            continue;
        int mine = was[0] == now[0] ? 1 : -1, *of = &way[w->set[s][i]];
        sq_assert(!*of || *of == mine);
        *of = mine;
    }
}

/* The second half of a window once more, turned at will and ligated to the first result: each sample as it was, or wholly turned. */
static void check_ligation(const struct window *w, const struct result *r)
{
    static struct result next;
    uint32_t n_shared = r->n_typed / 2;
    next = *r;
    for (uint32_t t = 0; t < r->n_typed; t++) {
        uint32_t s = r->site[t].site;
        next.site[t].allele = next.allele[s];
        next.site[t].swap = r->site[t].swap ? next.swap[s] : NULL;
        next.site[t].confidence = r->site[t].confidence ? next.confidence[s] : NULL;
        for (uint32_t i = 0; i < w->n_sample; i++)
            if (!w->is_haploid[i] && (w->seen[0][0] + i) % 2) {
                uint8_t *a = next.allele[s] + w->first[i], b = a[0];
                a[0] = a[1], a[1] = b;
            }
    }
    sq_phase_ligate(r->site, n_shared, next.site, r->n_typed, w->n_sample, w->is_haploid);
    for (uint32_t i = 0; i < w->n_sample; i++) {
        bool has_shared_het = false, is_turned = false;
        for (uint32_t t = 0; t < r->n_typed; t++) {
            const uint8_t *was = r->site[t].allele + w->first[i], *now = next.site[t].allele + w->first[i];
            if (w->is_haploid[i]) {
                sq_assert(was[0] == now[0]);
                continue;
            }
            bool is_het = was[0] != was[1];
            has_shared_het = has_shared_het || (is_het && t < n_shared);
            is_turned = is_turned || (is_het && was[0] != now[0]);
            sq_assert(was[0] + was[1] == now[0] + now[1]);
        }
        sq_assert(!has_shared_het || !is_turned);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct window w;
    static struct result one, three;
    if (size < 8 || size > 4096)
        return 0;
    in.p = data, in.n = size, in.at = 0;
    make(&w);
    sq_err e = phase(&w, 1, &one);
    sq_assert(phase(&w, 3, &three) == e);
    if (e)
        return 0;
    sq_assert(!memcmp(one.allele, three.allele, sizeof one.allele) && !memcmp(one.swap, three.swap, sizeof one.swap) &&
              !memcmp(one.confidence, three.confidence, sizeof one.confidence));
    for (uint32_t i = 0; i < w.n_sample; i++) {
        for (uint32_t s = 0; s < w.n_site; s++)
            if (is_typed(&w, s))
                check_called(&w, &one, s, i);
        if (w.has_sets && !w.is_haploid[i])
            check_sets(&w, &one, i);
    }
    check_ligation(&w, &one);
    return 0;
}
