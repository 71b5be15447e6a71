/*
 * The kernels of the engine, each version that this machine runs, one after the other in turns: nanoseconds an element, the best of
 * many turns. Built and run by bench/kernels.
 */
#include "lib/engine/kernels.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N_STATE = 1833, N_HAP = 50000, N_ROW = 400, N_TURN = 40, N_SET = 16 };

static const char *const version_names[] = {"scalar", "neon", "avx2", "avx512"};
#define N_VERSION (sizeof version_names / sizeof version_names[0])

static uint64_t seed = 1;

static uint64_t draw(void)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static void *room(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 4095) / 64 * 64);
    if (!p)
        exit(1);
    memset(p, 0, (bytes + 4095) / 64 * 64);
    return p;
}

/* What the kernels work on; sets are gone through in turn so that no branch can be learnt. */
static struct {
    float *x, *b, *post, *value, *row;
    uint16_t *saved, *milli, *order16, *out16, *class_of;
    uint32_t *index, *order, *out;
    uint64_t *match[N_SET], *bits[N_SET], *in_order, *table, square[64];
} d;

static void make(void)
{
    size_t pad = sq_kernel_pad(N_STATE), words = sq_kernel_words(N_HAP);
    d.x = room(pad * 4), d.b = room(pad * 4), d.post = room(pad * 4), d.value = room(pad * 4 + 256), d.row = room(N_ROW * 4);
    d.saved = room(pad * 2), d.milli = room(N_ROW * 2), d.index = room(pad * 4 + 256);
    d.order = room(N_HAP * 4), d.out = room(N_HAP * 4), d.order16 = room(N_HAP * 2), d.out16 = room(N_HAP * 2), d.class_of = room(N_HAP * 2);
    d.in_order = room(words * 8), d.table = room(8192);
    for (unsigned s = 0; s < N_SET; s++) {
        d.match[s] = room(pad / 8), d.bits[s] = room(words * 8);
        for (size_t i = 0; i < pad / 64; i++)
            d.match[s][i] = draw();
        for (size_t i = 0; i < words; i++)
            d.bits[s][i] = draw() & draw(); /* a quarter */
    }
    for (uint32_t i = 0; i < N_STATE; i++)
        d.x[i] = d.b[i] = 1.0F / N_STATE;
    for (uint32_t i = 0; i < N_ROW; i++)
        d.row[i] = (float)(draw() >> 40) * 0x1p-24F;
    for (uint32_t i = 0; i < N_HAP; i++) {
        uint32_t j = (uint32_t)(draw() % (i + 1));
        d.order[i] = d.order[j], d.order16[i] = d.order16[j];
        d.order[j] = i, d.order16[j] = (uint16_t)i;
        d.class_of[i] = (uint16_t)(draw() % 300);
    }
    for (size_t i = 0; i < 1024; i++)
        d.table[i] = draw();
    for (size_t i = 0; i < 64; i++)
        d.square[i] = draw();
}

static volatile uint64_t sink;

static void forward(const struct sq_kernels *k, unsigned s)
{
    sink += k->forward(d.x, N_STATE, d.match[s], 0.99F, 0.01F / N_STATE, 1, 0.9F, d.saved) > 0;
}

static void backward(const struct sq_kernels *k, unsigned s)
{
    float out[3];
    k->backward(d.b, N_STATE, d.saved, d.match[s], d.match[(s + 1) % N_SET], 0.99F, 0.01F / N_STATE, 1, 0.9F, d.post, out);
    sink += out[0] > 0;
}

/* as after a pass: few states hold nearly all; a hundred among 1,833 */
static void above(const struct sq_kernels *k, unsigned s)
{
    if (s == 0)
        for (uint32_t i = 0; i < N_STATE; i++)
            d.post[i] = (i * 2654435761U >> 8) % 1833 < 100 ? 0.01F : 1e-6F;
    sink += k->above(d.post, N_STATE, 1e-3F, d.index, d.value);
}

static void transpose(const struct sq_kernels *k, unsigned s)
{
    k->transpose(d.square);
    sink += d.square[s];
}

static void partition(const struct sq_kernels *k, unsigned s)
{
    sink += k->partition(d.order, N_HAP, d.bits[s], d.out, d.in_order);
}

static void partition16(const struct sq_kernels *k, unsigned s)
{
    sink += k->partition16(d.order16, N_HAP, d.bits[s], d.out16, d.in_order);
}

static void milli(const struct sq_kernels *k, unsigned s)
{
    k->milli(d.row, N_ROW, d.milli);
    sink += d.milli[s];
}

static void row_sums(const struct sq_kernels *k, unsigned s)
{
    uint64_t sum, square;
    k->row_sums(d.milli, N_ROW, &sum, &square);
    sink += sum + square;
}

static void class_bits(const struct sq_kernels *k, unsigned s)
{
    k->class_bits(d.class_of, N_HAP, d.table + s, 300, d.in_order);
    sink += d.in_order[s];
}

static void class_bits_many(const struct sq_kernels *k, unsigned s)
{
    k->class_bits(d.class_of, N_HAP, d.table + s, 2000, d.in_order);
    sink += d.in_order[s];
}

static const struct {
    const char *name, *unit;
    void (*run)(const struct sq_kernels *k, unsigned set);
    unsigned n_element;
} rows[] = {
    {"forward, 1,833 states, saved", "state", forward, N_STATE},
    {"backward with posterior", "state", backward, N_STATE},
    {"above, 100 of 1,833", "state", above, N_STATE},
    {"transpose of 64 x 64 bits", "call", transpose, 1},
    {"partition, 50,000", "element", partition, N_HAP},
    {"partition16, 50,000", "element", partition16, N_HAP},
    {"class_bits, 300 classes", "haplotype", class_bits, N_HAP},
    {"class_bits, 2,000 classes", "haplotype", class_bits_many, N_HAP},
    {"milli, row of 400", "element", milli, N_ROW},
    {"row_sums, row of 400", "element", row_sums, N_ROW},
};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(void)
{
    make();
    printf("| ns | per |");
    for (size_t v = 0; v < N_VERSION; v++)
        if (sq_kernels_named(version_names[v]))
            printf(" %s |", version_names[v]);
    printf("\n|---|---|");
    for (size_t v = 0; v < N_VERSION; v++)
        if (sq_kernels_named(version_names[v]))
            printf("---|");
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        double best[N_VERSION] = {0};
        for (unsigned turn = 0; turn < N_TURN; turn++)
            for (size_t v = 0; v < N_VERSION; v++) {
                const struct sq_kernels *k = sq_kernels_named(version_names[v]);
                if (!k)
                    continue;
                unsigned n_call = 200000 / rows[r].n_element / N_SET + 1;
                double start = now_ns();
                for (unsigned i = 0; i < n_call * N_SET; i++)
                    rows[r].run(k, i % N_SET);
                double took = (now_ns() - start) / ((double)n_call * N_SET * rows[r].n_element);
                if (!turn || took < best[v])
                    best[v] = took;
            }
        printf("\n| %s | %s |", rows[r].name, rows[r].unit);
        for (size_t v = 0; v < N_VERSION; v++)
            if (sq_kernels_named(version_names[v]))
                v ? printf(" %.3g (%.1f x) |", best[v], best[0] / best[v]) : printf(" %.3g |", best[v]);
    }
    printf("\n");
    return 0;
}
