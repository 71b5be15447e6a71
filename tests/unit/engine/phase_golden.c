/*
 * What sq_phase() makes of one made window, as a digest: the same with any number of threads and with every version of the kernels that this machine runs,
 * and the one written below, so that nobody changes results without knowing it. The window has what makes a difference: three spans of
 * phase_lines.c, haploid samples, sets of given order, missing calls and half ones, sites where the panel has one allele alone.
 *
 * A program of its own without cmocka: phase_golden_neon_test.py builds it for another processor. sq_kernels() is replaced by linking with --wrap. Arguments: one
 * version alone, with so many threads alone.
 */
#include "lib/engine/kernels.h"
#include "lib/engine/phase.h"
#include "memory_panel.h"
#include "draw.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A change that is meant to change results: put here what the program says it found, and say in docs/decisions/0020 what it gained.
 * Beside the whole panel the samples are few; beside a part of it they are many, which phase.c does otherwise. */
static const struct {
    const char *name;
    uint32_t n_hap;
    uint64_t digest;
} golden[] = {{"few samples", 320, UINT64_C(0x85547b50adf62374)}, {"many samples", 120, UINT64_C(0xa0e2bf3f7bd10bcd)}};

enum { N_PANEL = 320,
       N_SITE = 420,
       N_SAMPLE = 20,
       N_FOUNDER = 24,
       N_MAX_HAP = 2 * N_SAMPLE,
       N_DRAWN = 4 };

const struct sq_kernels *__wrap_sq_kernels(void);
static const struct sq_kernels *chosen;

const struct sq_kernels *__wrap_sq_kernels(void)
{
    return chosen;
}

static struct {
    uint8_t panel[N_SITE * N_PANEL], seen[N_SITE * N_MAX_HAP], set[N_SITE * N_SAMPLE], is_haploid[N_SAMPLE];
    double cm[N_SITE];
    uint32_t n_hap, first[N_SAMPLE + 1];
    uint8_t allele[N_SITE * N_MAX_HAP], swap[N_SITE * N_SAMPLE], confidence[N_SITE * N_SAMPLE];
} w;

/* Haplotypes are mosaics of founders, also those of the samples, which the panel hasn't. */
static void make_haplotypes(uint8_t *truth)
{
    static uint8_t founder[N_FOUNDER][N_SITE];
    for (uint32_t s = 0; s < N_SITE; s++) {
        uint32_t rarity = 2 + draw(5), fixed = draw(40); /* now and then all of one kind */
        for (uint32_t f = 0; f < N_FOUNDER; f++)
            founder[f][s] = fixed && draw(rarity) == 0;
    }
    for (uint32_t h = 0; h < N_PANEL + N_MAX_HAP; h++)
        for (uint32_t s = 0, f = draw(N_FOUNDER); s < N_SITE; s++) {
            f = draw(30) ? f : draw(N_FOUNDER);
            uint8_t a = founder[f][s] ^ (draw(400) == 0);
            if (h < N_PANEL)
                w.panel[s * N_PANEL + h] = a;
            else
                truth[s * N_MAX_HAP + h - N_PANEL] = a;
        }
}

/* Of sample @i at site @s: samples 3 and 11 are haploid, 5 and 6 bring sets, 7 has whole stretches without calls. */
static void make_call(const uint8_t *truth, uint32_t s, uint32_t i)
{
    uint8_t *g = w.seen + s * N_MAX_HAP + w.first[i];
    const uint8_t *t = truth + s * N_MAX_HAP + 2 * i;
    bool is_missing = draw(50) == 0 || (i == 7 && s / 30 % 4 == 1), is_half = is_missing && draw(4) == 0;
    g[0] = is_missing ? SQ_ENGINE_MISSING : t[0];
    if (w.is_haploid[i])
        return;
    g[1] = is_missing && !is_half ? SQ_ENGINE_MISSING : t[1];
    w.set[s * N_SAMPLE + i] = (uint8_t)(i == 5 ? s / 50 % 3 : i == 6);
    if (!is_missing && !w.set[s * N_SAMPLE + i]) {
        g[0] = t[0] & t[1];
        g[1] = t[0] | t[1];
    }
}

static void make(void)
{
    static uint8_t truth[N_SITE * N_MAX_HAP];
    double cm = 3;
    for (uint32_t s = 0; s < N_SITE; s++)
        w.cm[s] = cm += draw(10) ? (1 + draw(64)) / 512.0 : draw(3) ? 0
                                                                    : 0.5;
    make_haplotypes(truth);
    w.is_haploid[3] = w.is_haploid[11] = 1;
    for (uint32_t i = 0; i < N_SAMPLE; i++)
        w.first[i + 1] = w.n_hap += w.is_haploid[i] ? 1 : 2;
    for (uint32_t s = 0; s < N_SITE; s++)
        for (uint32_t i = 0; i < N_SAMPLE; i++)
            make_call(truth, s, i);
}

static uint64_t digest_of(uint64_t digest, const uint8_t *p, size_t n) /* FNV-1a */
{
    for (size_t i = 0; i < n; i++)
        digest = (digest ^ p[i]) * UINT64_C(0x100000001b3);
    return digest;
}

/* 0 when it fails. */
static uint64_t phase(const struct sq_engine_panel *panel, unsigned n_thread)
{
    static struct sq_phase_site site[N_SITE];
    memcpy(w.allele, w.seen, sizeof w.allele);
    for (uint32_t s = 0; s < N_SITE; s++)
        site[s] = (struct sq_phase_site){.site = s, .allele = w.allele + s * N_MAX_HAP, .set = w.set + s * N_SAMPLE, .swap = w.swap + s * N_SAMPLE, .confidence = w.confidence + s * N_SAMPLE};
    struct sq_phase_window window = {.panel = panel, .n_sample = N_SAMPLE, .n_hap = w.n_hap, .is_haploid = w.is_haploid, .n_typed = N_SITE, .typed = site, .key = 7};
    struct sq_phase_params p = {.n_thread = n_thread, .n_sampled = N_DRAWN};
    if (sq_phase(&window, &p, NULL))
        return 0;
    uint64_t digest = UINT64_C(0xcbf29ce484222325);
    for (uint32_t s = 0; s < N_SITE; s++) {
        digest = digest_of(digest, site[s].allele, w.n_hap);
        digest = digest_of(digest, site[s].swap, N_SAMPLE);
        digest = digest_of(digest, site[s].confidence, N_SAMPLE);
    }
    return digest;
}

/* The same with the panel's first @n_hap haplotypes alone. */
static uint64_t phase_beside(uint32_t n_hap, unsigned n_thread)
{
    static uint8_t part[N_SITE * N_PANEL];
    for (uint32_t s = 0; s < N_SITE; s++)
        memcpy(part + s * n_hap, w.panel + s * N_PANEL, n_hap);
    struct memory_panel m = {.n_hap = n_hap, .n_site = N_SITE, .allele = part, .cm = w.cm};
    struct sq_engine_panel panel = memory_panel_open(&m);
    return phase(&panel, n_thread);
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
    make();
    int n_case = 0, n_bad = 0;
    printf("# %.1f cM, %u haplotypes of samples\n", w.cm[N_SITE - 1] - w.cm[0], w.n_hap);
    for (size_t v = 0; v < sizeof names / sizeof names[0]; v++)
        for (unsigned n_thread = 1; n_thread <= 3; n_thread++)
            for (size_t g = 0; g < sizeof golden / sizeof golden[0]; g++) {
                if (argc > 2 && (strcmp(argv[1], names[v]) != 0 || strtoul(argv[2], NULL, 10) != n_thread))
                    continue;
                n_case++;
                chosen = sq_kernels_named(names[v]);
                uint64_t found = chosen ? phase_beside(golden[g].n_hap, n_thread) : golden[g].digest;
                n_bad += found != golden[g].digest;
                printf("%s %d - the result written down: %s, %s, %u threads%s\n", found == golden[g].digest ? "ok" : "not ok", n_case, golden[g].name, names[v], n_thread,
                       chosen ? "" : " # SKIP not on this machine");
                if (found != golden[g].digest)
                    printf("# found 0x%016" PRIx64 "\n", found);
            }
    printf("1..%d\n", n_case);
    return n_bad != 0;
}
