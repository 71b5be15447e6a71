/*
 * Every kernel of every version that this machine runs, against what kernels.h says, one element at a time, and every version
 * against scalar, bit for bit: every shape up to 200 elements and some large ones, aligned and not, with zeros, denormal
 * numbers and values equal to the cut. Nothing behind the padding may change.
 *
 * A program of its own without cmocka: kernels_neon_test.py builds it for another processor. The last lines are digests
 * of all that came out of each version, which are the same on every machine. Arguments: how often to go round (1).
 */
#include "lib/engine/kernels.h"

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 128, BIG = 70001 }; /* elements behind each array that must stay as they are */

static uint64_t seed = 1;

static uint64_t draw(void)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static float unit(void)
{
    return (float)(draw() >> 40) * 0x1p-24F;
}

/* Of the kinds of numbers that a pass may meet: near one, tiny, denormal, zero, and those where rounding is hard. */
static float number(void)
{
    int down = (int)(draw() % 140); /* drawn first: the order in which arguments are evaluated is the compiler's */
    switch (draw() % 16) {
    case 0: return 0;
    case 1: return 1e-38F * unit();
    case 2: return 0x1p-149F * (float)(draw() % 100);
    case 3: return 1e-38F;
    case 4: return 1.0F / (float)(1 + draw() % 5000);
    case 5: return ldexpf(1.0F + (float)(draw() % 256) * 0x1p-8F, -(down % 60)); /* few bits: ties */
    case 6: return ldexpf(unit(), -down);
    default: return ldexpf(unit(), -(down % 20));
    }
}

static uint64_t word(void)
{
    switch (draw() % 4) {
    case 0: return draw() & draw() & draw() & draw();
    case 1: return draw() % 4 ? 0 : UINT64_MAX;
    default: return draw();
    }
}

/* Arrays that start @skew bytes beyond a multiple of 64, so that a kernel meets any alignment. */
struct array {
    void *base, *at;
    size_t bytes;
};

static struct array array_new(size_t n, size_t size, size_t skew)
{
    struct array a = {.bytes = (n + ROOM) * size + 128};
    a.base = aligned_alloc(64, (a.bytes + 63) / 64 * 64);
    if (!a.base)
        abort();
    memset(a.base, 0xa5, a.bytes);
    a.at = (char *)a.base + skew;
    return a;
}

static int n_case, n_bad;
static char what[200];

static void check(bool is_good, const char *why)
{
    if (!is_good && n_bad++ < 20)
        printf("# %s: %s\n", what, why);
}

static void untouched(const struct array *a, size_t from, size_t size, const char *why)
{
    const unsigned char *p = (const unsigned char *)a->at + from * size, *end = (const unsigned char *)a->base + a->bytes;
    for (; p < end; p++)
        if (*p != 0xa5) {
            check(false, why);
            return;
        }
}

/* FNV-1a over the bytes of what comes out */
static uint64_t digest;

static void digest_add(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        digest = (digest ^ ((const unsigned char *)p)[i]) * 0x100000001b3;
}

/* ---- what kernels.h says ---- */

static float tree(const float *of, size_t n)
{
    float lane[32] = {0};
    for (size_t i = 0; i < n; i++)
        lane[i % 32] += of[i];
    for (int step = 16; step; step /= 2)
        for (int j = 0; j < step; j++)
            lane[j] = lane[j] + lane[j + step];
    return lane[0];
}

static uint16_t bf16(float f)
{
    uint32_t u;
    memcpy(&u, &f, 4);
    return (uint16_t)((u + 0x8000U) >> 16);
}

static float from_bf16(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static bool bit(const uint64_t *bits, size_t i)
{
    return bits[i / 64] >> (i % 64) & 1;
}

static bool same(const void *a, const void *b, size_t n)
{
    return !memcmp(a, b, n);
}

/* ---- each kernel at one shape ---- */

static void try_forward(const struct sq_kernels *k, uint32_t n, size_t skew)
{
    size_t pad = sq_kernel_pad(n), n_word = pad / 64;
    struct array x = array_new(pad, 4, skew), m = array_new(n_word, 8, skew), save = array_new(pad, 2, skew / 2);
    float *xv = x.at, *want = calloc(pad + 1, 4), stay = number(), jump = number(), hit = 1 - 1e-4F * unit(), miss = number();
    uint64_t *mv = m.at;
    uint16_t *sv = save.at;
    bool has_save = draw() % 4 != 0;
    for (size_t i = 0; i < pad; i++)
        xv[i] = i < n ? number() : 0;
    for (size_t i = 0; i < n_word; i++)
        mv[i] = word();
    for (uint32_t i = 0; i < n; i++)
        want[i] = fmaf(xv[i], stay, jump) * (bit(mv, i) ? hit : miss);
    float got = k->forward(xv, n, mv, stay, jump, hit, miss, has_save ? sv : NULL), sum = tree(want, pad);
    check(same(&got, &sum, 4), "forward: sum");
    check(same(xv, want, pad * 4), "forward: states");
    for (size_t i = 0; i < pad && has_save; i++)
        if (sv[sq_kernel_saved_at(i)] != bf16(want[i])) {
            check(false, "forward: saved");
            break;
        }
    untouched(&x, pad, 4, "forward: behind the states");
    untouched(&save, has_save ? pad : 0, 2, "forward: behind what is saved");
    digest_add(&got, 4);
    digest_add(xv, pad * 4);
    free(want);
    free(x.base);
    free(m.base);
    free(save.base);
}

static void try_backward(const struct sq_kernels *k, uint32_t n, size_t skew)
{
    size_t pad = sq_kernel_pad(n), n_word = pad / 64;
    struct array b = array_new(pad, 4, skew), m = array_new(n_word, 8, skew), a = array_new(n_word, 8, skew), saved = array_new(pad, 2, skew / 2),
                 post = array_new(pad, 4, skew);
    float *bv = b.at, *pv = post.at, *want_b = calloc(pad + 1, 4), *want_p = calloc(pad + 1, 4), *want_a = calloc(pad + 1, 4);
    float stay = number(), jump = number(), hit = 1 - 1e-4F * unit(), miss = number(), out[4] = {1, 2, 3, 4};
    uint64_t *mv = m.at, *av = a.at;
    uint16_t *sv = saved.at;
    for (size_t i = 0; i < pad; i++) {
        bv[i] = i < n ? number() : 0;
        sv[sq_kernel_saved_at(i)] = i < n ? bf16(number()) : 0;
    }
    for (size_t i = 0; i < n_word; i++) {
        mv[i] = word();
        av[i] = word();
    }
    for (uint32_t i = 0; i < n; i++) {
        float v = fmaf(bv[i], stay, jump);
        want_p[i] = v * from_bf16(sv[sq_kernel_saved_at(i)]);
        want_b[i] = v * (bit(mv, i) ? hit : miss);
        want_a[i] = bit(av, i) ? want_p[i] : 0;
    }
    k->backward(bv, n, sv, mv, av, stay, jump, hit, miss, pv, out);
    float want[4] = {tree(want_p, pad), tree(want_b, pad), tree(want_a, pad), 4};
    check(same(out, want, sizeof out), "backward: sums");
    check(same(bv, want_b, pad * 4), "backward: states");
    check(same(pv, want_p, pad * 4), "backward: posterior");
    untouched(&b, pad, 4, "backward: behind the states");
    untouched(&post, pad, 4, "backward: behind the posterior");
    digest_add(out, 12);
    digest_add(bv, pad * 4);
    digest_add(pv, pad * 4);
    free(want_b);
    free(want_p);
    free(want_a);
    free(b.base);
    free(m.base);
    free(a.base);
    free(saved.base);
    free(post.base);
}

static void try_above(const struct sq_kernels *k, uint32_t n, size_t skew)
{
    struct array p = array_new(n, 4, skew), index = array_new(n + SQ_KERNEL_ROOM, 4, skew), value = array_new(n + SQ_KERNEL_ROOM, 4, skew);
    float *pv = p.at, *vv = value.at, cut = number();
    uint32_t *iv = index.at, count = 0, rarely = draw() % 2 ? 1 : 40;
    for (uint32_t i = 0; i < n; i++)
        pv[i] = draw() % rarely ? 0 : draw() % 3 ? number() : draw() % 8 ? cut : draw() % 2 ? nextafterf(cut, 2) : NAN;
    uint32_t got = k->above(pv, n, cut, iv, vv);
    bool is_good = true;
    for (uint32_t i = 0; i < n; i++)
        if (pv[i] > cut) {
            is_good = is_good && count < got && iv[count] == i && same(&vv[count], &pv[i], 4);
            count++;
        }
    check(is_good && got == count, "above");
    untouched(&index, n + SQ_KERNEL_ROOM, 4, "above: behind the indices");
    untouched(&value, n + SQ_KERNEL_ROOM, 4, "above: behind the values");
    digest_add(iv, (size_t)got * 4);
    digest_add(vv, (size_t)got * 4);
    free(p.base);
    free(index.base);
    free(value.base);
}

static void try_transpose(const struct sq_kernels *k, size_t skew)
{
    struct array a = array_new(64, 8, skew);
    uint64_t *av = a.at, was[64];
    for (int i = 0; i < 64; i++)
        was[i] = av[i] = word();
    k->transpose(av);
    bool is_good = true;
    for (unsigned i = 0; i < 64; i++)
        for (unsigned j = 0; j < 64; j++)
            is_good = is_good && (av[i] >> j & 1) == (was[j] >> i & 1);
    check(is_good, "transpose");
    untouched(&a, 64, 8, "transpose: behind the words");
    digest_add(av, 512);
    free(a.base);
}

/* @size of a number: 4 or 2 bytes */
static void try_partition(const struct sq_kernels *k, uint32_t n, size_t size, size_t skew)
{
    if (size == 2 && n > 65536)
        n = 65536;
    size_t n_word = sq_kernel_words(n);
    struct array order = array_new(n, size, skew), out = array_new(n, size, skew), bits = array_new(n_word, 8, skew), in_order = array_new(n_word, 8, skew);
    uint32_t *list = calloc((size_t)n + 1, 4), *want = calloc((size_t)n + 1, 4), n_zero = 0, at = 0;
    uint64_t *bv = bits.at, *wanted = calloc(n_word + 1, 8);
    for (size_t i = 0; i < n_word; i++)
        bv[i] = word();
    bool is_permutation = draw() % 4 != 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t j = (uint32_t)(draw() % (i + 1));
        list[i] = is_permutation ? list[j] : (uint32_t)(draw() % n);
        if (is_permutation)
            list[j] = i;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (size == 4)
            ((uint32_t *)order.at)[i] = list[i];
        else
            ((uint16_t *)order.at)[i] = (uint16_t)list[i];
        wanted[i / 64] |= (uint64_t)bit(bv, list[i]) << (i % 64);
    }
    for (int side = 0; side < 2; side++) {
        for (uint32_t i = 0; i < n; i++)
            if (bit(bv, list[i]) == side)
                want[at++] = list[i];
        n_zero = side ? n_zero : at;
    }
    uint32_t got = size == 4 ? k->partition(order.at, n, bv, out.at, in_order.at) : k->partition16(order.at, n, bv, out.at, in_order.at);
    bool is_good = got == n_zero;
    for (uint32_t i = 0; i < n; i++)
        is_good = is_good && (size == 4 ? ((uint32_t *)out.at)[i] : ((uint16_t *)out.at)[i]) == want[i];
    check(is_good, "partition: order");
    check(same(in_order.at, wanted, n_word * 8), "partition: bits");
    untouched(&out, n, size, "partition: behind the order");
    untouched(&in_order, n_word, 8, "partition: behind the bits");
    digest_add(out.at, n * size);
    free(order.base);
    free(out.base);
    free(bits.base);
    free(in_order.base);
    free(list);
    free(want);
    free(wanted);
}

static void try_rows(const struct sq_kernels *k, uint32_t n, size_t skew)
{
    struct array x = array_new(n, 4, skew), milli = array_new(n, 2, skew / 2);
    float *xv = x.at;
    uint16_t *mv = milli.at;
    static const float odd[] = {-1e-3F, -0.0F, 1.0005F, 2e9F, 1e30F, -1e30F, 0.0005F, 0.00049999F, 0.9995F, 0.99949999F, 1, 0, NAN, INFINITY, -INFINITY, 0.5005F};
    for (uint32_t i = 0; i < n; i++)
        xv[i] = draw() % 8 ? unit() : draw() % 2 ? number() : odd[draw() % (sizeof odd / sizeof odd[0])];
    k->milli(xv, n, mv);
    uint64_t sum = 0, square = 0, got_sum = 7, got_square = 7;
    bool is_good = true;
    for (uint32_t i = 0; i < n; i++) {
        float v = fmaf(xv[i], 1000, 0.5F);
        uint16_t want = v >= 1000 ? 1000 : v > 0 ? (uint16_t)floorf(v) : 0;
        is_good = is_good && mv[i] == want;
        sum += want;
        square += (uint64_t)want * want;
    }
    check(is_good, "milli");
    untouched(&milli, n, 2, "milli: behind the row");
    k->row_sums(mv, n, &got_sum, &got_square);
    check(got_sum == sum && got_square == square, "row_sums");
    digest_add(mv, (size_t)n * 2);
    free(x.base);
    free(milli.base);
}

static void try_move_ranks(const struct sq_kernels *k, uint32_t n, size_t skew)
{
    uint32_t n_hap = (uint32_t)(draw() % 300), count = n % 200, n_zero = 0;
    size_t words = sq_kernel_words(n_hap), n_own = sq_kernel_words(count);
    struct array rank = array_new(count, 4, skew), own = array_new(n_own, 8, skew), in_order = array_new(words + 1, 8, skew), before = array_new(words + 1, 4, skew);
    uint32_t *rv = rank.at, *want = calloc((size_t)count + 1, 4);
    uint64_t *ov = own.at, *bv = in_order.at;
    for (size_t i = 0; i < n_own; i++)
        ov[i] = word();
    memset(bv, 0, (words + 1) * 8);
    for (uint32_t i = 0; i < n_hap; i++) {
        bool is_one = draw() % 3 == 0;
        bv[i / 64] |= (uint64_t)is_one << (i % 64);
        n_zero += !is_one;
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t ones = 0;
        rv[i] = (uint32_t)(draw() % (n_hap + 1));
        for (uint32_t j = 0; j < rv[i]; j++)
            ones += bit(bv, j);
        want[i] = bit(ov, i) ? n_zero + ones : rv[i] - ones;
    }
    k->move_ranks(rv, count, ov, bv, words, n_zero, before.at);
    check(same(rv, want, (size_t)count * 4), "move_ranks");
    digest_add(rv, (size_t)count * 4);
    free(rank.base);
    free(own.base);
    free(in_order.base);
    free(before.base);
    free(want);
}

static void try_masked_sums(const struct sq_kernels *k, uint32_t n, size_t skew)
{
    size_t pad = sq_kernel_pad(n), stride = sq_kernel_words(n) + n % 3;
    uint32_t count = (uint32_t)(draw() % 10);
    struct array x = array_new(pad, 4, skew), bits = array_new(stride * count, 8, skew), out = array_new(count, 4, skew);
    float *xv = x.at, *got = out.at;
    uint64_t *bv = bits.at;
    memset(xv, 0, pad * 4);
    for (uint32_t i = 0; i < n; i++)
        xv[i] = draw() % 8 ? unit() : number();
    for (size_t i = 0; i < stride * count; i++)
        bv[i] = word();
    k->masked_sums(xv, n, bv, stride, count, got);
    for (uint32_t c = 0; c < count; c++) {
        float lane[32] = {0};
        for (uint32_t i = 0; i < n; i++)
            lane[i % 32] += bit(bv + c * stride, i) ? xv[i] : 0;
        for (unsigned step = 16; step; step /= 2)
            for (unsigned j = 0; j < step; j++)
                lane[j] += lane[j + step];
        check(got[c] == lane[0] || (isnan(got[c]) && isnan(lane[0])), "masked_sums");
    }
    digest_add(got, (size_t)count * 4);
    free(x.base);
    free(bits.base);
    free(out.base);
}

static void try_spread(const struct sq_kernels *k, uint32_t n, size_t skew)
{
    struct array pattern = array_new(n, 8, skew), left = array_new(n, 4, skew), right = array_new(n, 4, skew), sum = array_new(64, 4, skew);
    uint64_t *pv = pattern.at;
    uint32_t *lv = left.at, *rv = right.at, *sv = sum.at, of_left[64], of_right[64], want[64];
    for (unsigned s = 0; s < 64; s++) {
        of_left[s] = (uint32_t)(draw() % 1025);
        of_right[s] = 1024 - of_left[s];
        want[s] = sv[s] = (uint32_t)(draw() % 1000);
    }
    for (uint32_t i = 0; i < n; i++) {
        pv[i] = word();
        lv[i] = (uint32_t)(draw() % 65536) / n;
        rv[i] = (uint32_t)(draw() % 65536) / n;
        for (unsigned s = 0; s < 64; s++)
            want[s] += pv[i] >> s & 1 ? of_left[s] * lv[i] + of_right[s] * rv[i] : 0;
    }
    k->spread(pv, lv, rv, n, of_left, of_right, sv);
    check(same(sv, want, sizeof want), "spread");
    untouched(&sum, 64, 4, "spread: behind the sums");
    digest_add(sv, 256);
    free(pattern.base);
    free(left.base);
    free(right.base);
    free(sum.base);
}

static void try_class_bits(const struct sq_kernels *k, uint32_t n, size_t skew)
{
    static const uint32_t sizes[] = {1, 2, 63, 64, 65, 128, 255, 256, 257, 400, 511, 512, 513, 1000, 1024, 1025, 5000, 65535, 65536};
    uint32_t n_class = draw() % 2 ? sizes[draw() % (sizeof sizes / sizeof sizes[0])] : 1 + (uint32_t)(draw() % 600);
    struct array class_of = array_new(n, 2, skew / 2), out = array_new(sq_kernel_words(n), 8, skew);
    uint16_t *cv = class_of.at;
    uint64_t *table = malloc(sq_kernel_words(n_class) * 8), *want = calloc(sq_kernel_words(n) + 1, 8); /* the sanitizer watches its end */
    if (!table || !want)
        abort();
    for (size_t i = 0; i < sq_kernel_words(n_class); i++)
        table[i] = word();
    for (uint32_t h = 0; h < n; h++) {
        cv[h] = (uint16_t)(draw() % 8 ? draw() % n_class : n_class - 1);
        want[h / 64] |= (uint64_t)bit(table, cv[h]) << (h % 64);
    }
    k->class_bits(cv, n, table, n_class, out.at);
    check(same(out.at, want, sq_kernel_words(n) * 8), "class_bits");
    untouched(&out, sq_kernel_words(n), 8, "class_bits: behind the bits");
    digest_add(out.at, sq_kernel_words(n) * 8);
    free(table);
    free(want);
    free(class_of.base);
    free(out.base);
}

/* Sums that end between two floats but for a bit far below, which rounding twice would lose; normal and denormal ones. */
static void rounded_once(const struct sq_kernels *k)
{
    for (int down = 0; down <= 75; down += 75)
        for (uint32_t i = 0; i < 64; i++) {
            float x[64], jump = ldexpf(1.0F, down ? -127 : 24) + ldexpf((float)i, down ? -149 : 1), stay = ldexpf(1 - 0x1p-23F, -down);
            float of = ldexpf(1 + 0x1p-23F, -down), want = fmaf(of, stay, jump);
            uint64_t all = UINT64_MAX;
            for (int j = 0; j < 64; j++)
                x[j] = of;
            snprintf(what, sizeof what, "%s, denormal by %d, %" PRIu32, k->name, down, i);
            k->forward(x, 64, &all, stay, jump, 1, 1, NULL);
            check(same(&x[0], &want, 4) && same(&x[63], &want, 4) && want == jump, "rounded more than once");
        }
}

/* Rows long enough for sums of 32 bits to overflow. */
static void long_rows(const struct sq_kernels *k)
{
    size_t n = 5000007;
    uint16_t *x = malloc(n * 2);
    if (!x)
        abort();
    for (size_t i = 0; i < n; i++)
        x[i] = 1000;
    uint64_t sum = 0, square = 0;
    k->row_sums(x, n, &sum, &square);
    check(sum == n * 1000 && square == n * 1000000, "row_sums of a long row");
    free(x);
}

static void at_shape(const struct sq_kernels *k, uint32_t n, size_t skew)
{
    snprintf(what, sizeof what, "%s, n %" PRIu32 ", %zu bytes off", k->name, n, skew);
    try_forward(k, n, skew);
    try_backward(k, n, skew);
    try_above(k, n, skew);
    try_transpose(k, skew);
    try_partition(k, n, 4, skew);
    try_partition(k, n, 2, skew);
    try_move_ranks(k, n, skew);
    try_rows(k, n, skew);
    try_masked_sums(k, n, skew);
    try_spread(k, n, skew);
    try_class_bits(k, n, skew);
}

/* ---- of the phasing: near what they stand for; that all versions give the same bits the digest tells ---- */

static float *floats_new(size_t n, size_t pad)
{
    float *x = aligned_alloc(64, (pad * 4 + 63) / 64 * 64 + 64);
    if (!x)
        abort();
    for (size_t i = 0; i < pad; i++)
        x[i] = i < n ? 0.001F + unit() : 0;
    return x;
}

static bool near(double got, double want)
{
    return fabs(got - want) <= 1e-5 * fabs(want);
}

/* Those over rows alone. */
static void try_row_kernels(const struct sq_kernels *k, uint32_t n, size_t pad, const uint64_t *alt)
{
    float *e = floats_new(n, pad), *x = floats_new(n, pad), *stay = floats_new(n, pad), *was = floats_new(n, pad), most = 0;
    double all = 0, kept = 0;
    bool is_good = true;
    memcpy(was, e, pad * 4);
    k->pair_match(e, pad, alt, UINT64_MAX, 0.25F);
    for (uint32_t i = 0; i < n; i++) {
        is_good = is_good && e[i] == (bit(alt, i) ? was[i] : was[i] * 0.25F);
        most = fmaxf(most, e[i]);
    }
    check(is_good, "pair_match");
    memcpy(was, e, pad * 4);
    k->pair_even(e, pad);
    for (uint32_t i = 0; i < n; i++)
        is_good = is_good && near((double)e[i], (double)was[i] / (double)(most < 1 ? most : 1));
    check(is_good, "pair_even");
    memcpy(was, x, pad * 4);
    for (uint32_t i = 0; i < n; i++) {
        all += (double)x[i];
        kept += (double)x[i] * (double)(stay[i] /= 1.01F);
    }
    k->pair_move(x, n, pad, stay);
    for (uint32_t i = 0; i < n; i++)
        is_good = is_good && near((double)x[i], (double)was[i] * (double)stay[i] / all + (1 - kept / all) / n);
    check(is_good, "pair_move");
    memcpy(was, x, pad * 4);
    k->pair_emit(x, pad, e, x);
    for (uint32_t i = 0; i < pad; i++)
        is_good = is_good && x[i] == was[i] * e[i];
    check(is_good, "pair_emit");
    digest_add(e, pad * 4);
    digest_add(x, pad * 4);
    free(e);
    free(x);
    free(stay);
    free(was);
}

/* Two vectors of how well rows go with either haplotype, and what they give a pair of rows. */
static double of_pair(float *const e[2], uint32_t i, uint32_t j)
{
    return (double)e[0][i] * (double)e[1][j] + (double)e[1][i] * (double)e[0][j];
}

enum pair_kind { PAIR_HERE, PAIR_SEEN, PAIR_PLAIN };

static void try_back(const struct sq_kernels *k, uint32_t n, size_t pad, const float *in, float *out, enum pair_kind kind)
{
    float *sum = floats_new(0, pad), *out_sum = floats_new(0, pad), *stay = floats_new(n, pad), *e[2] = {floats_new(n, pad), floats_new(n, pad)};
    float *work[3] = {floats_new(0, pad), floats_new(0, pad), floats_new(0, pad)};
    double total = 0;
    bool is_good = true;
    for (uint32_t i = 0; i < n; i++) {
        stay[i] /= 1.01F;
        for (uint32_t j = 0; j < n; j++)
            sum[j] += in[i * pad + j] * (kind == PAIR_SEEN ? (float)of_pair(e, i, j) : 1);
    }
    for (uint32_t j = 0; j < n; j++)
        total += (double)sum[j];
    const float *const given[2] = {e[0], e[1]};
    k->pair_back(in, kind == PAIR_SEEN ? given : NULL, out, kind == PAIR_HERE ? given : NULL, n, pad, stay, work, sum, kind == PAIR_HERE ? out_sum : NULL);
    for (uint32_t j = 0; j < n; j++) {
        double column = 0;
        for (uint32_t i = 0; i < n; i++) {
            double s = (double)stay[i], z = (double)stay[j], each = 1.0 / n, x = (double)in[i * pad + j] * (kind == PAIR_SEEN ? of_pair(e, i, j) : 1);
            double want = (s * z * x + s * (1 - z) * (double)sum[i] * each + (1 - s) * z * (double)sum[j] * each) / total + (1 - s) * (1 - z) * each * each;
            want *= kind == PAIR_HERE ? of_pair(e, i, j) : 1;
            is_good = is_good && fabs((double)out[i * pad + j] - want) <= 1e-4 * want;
            column += (double)out[i * pad + j];
        }
        is_good = is_good && (kind != PAIR_HERE || fabs((double)out_sum[j] - column) <= 1e-4 * column);
    }
    check(is_good, kind == PAIR_HERE ? "pair_back" : kind == PAIR_SEEN ? "pair_back seen" : "pair_back plain");
    digest_add(out, n * pad * 4);
    digest_add(out_sum, pad * 4);
    float *const each[] = {sum, out_sum, stay, e[0], e[1], work[0], work[1], work[2]};
    for (size_t i = 0; i < sizeof each / sizeof *each; i++)
        free(each[i]);
}

static void try_weigh(const struct sq_kernels *k, uint32_t n, size_t pad, const float *matrix)
{
    float *x[5][2][2];
    double weight[5][2][2];
    bool is_good = true;
    unsigned n_walk = 1 + n % 5;
    for (unsigned i = 0; i < 4 * n_walk; i++)
        x[i / 4][i / 2 % 2][i % 2] = floats_new(n, pad);
    k->pair_weigh(matrix, n, pad, x, n_walk, weight);
    for (unsigned i = 0; i < 4 * n_walk; i++) {
        unsigned w = i / 4, a = i / 2 % 2, b = i % 2;
        double want = 0;
        for (uint32_t r = 0; r < n; r++)
            for (uint32_t c = 0; c < n; c++)
                want += (double)x[w][1][b][r] * (double)x[w][0][a][c] * (double)matrix[r * pad + c];
        is_good = is_good && fabs(weight[w][a][b] - want) <= 1e-4 * want;
    }
    check(is_good, "pair_weigh");
    digest_add(weight, n_walk * sizeof weight[0]);
    for (unsigned i = 0; i < 4 * n_walk; i++)
        free(x[i / 4][i / 2 % 2][i % 2]);
}

static void try_matrix(const struct sq_kernels *k, uint32_t n, size_t pad)
{
    float *in = floats_new(0, n * pad), *out = floats_new(0, n * pad);
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j <= i; j++)
            in[i * pad + j] = in[j * pad + i] = unit();
    for (enum pair_kind kind = PAIR_HERE; kind <= PAIR_PLAIN; kind++)
        try_back(k, n, pad, in, out, kind);
    try_weigh(k, n, pad, out);
    free(in);
    free(out);
}

static void try_line_sums(const struct sq_kernels *k, uint32_t n, const uint64_t *alt)
{
    size_t pad = sq_kernel_pad(n);
    float *x[2] = {floats_new(n, pad), floats_new(n, pad)}, *v[2] = {floats_new(n, pad), floats_new(n, pad)}, sum[4][2], of[2][2];
    double want[4][2] = {{0}}, want_of[2][2] = {{0}};
    uint16_t *saved[2] = {(uint16_t *)(void *)floats_new(0, pad), (uint16_t *)(void *)floats_new(0, pad)};
    bool is_good = true;
    for (unsigned r = 0; r < 2; r++)
        for (uint32_t i = 0; i < n; i++) {
            uint16_t h = bf16(v[r][i]);
            saved[r][sq_kernel_saved_at(i)] = h;
            want_of[r][bit(alt, i)] += (double)from_bf16(h);
            for (unsigned l = 0; l < 2; l++)
                want[2 * l + r][bit(alt, i)] += (double)x[l][i] * (double)from_bf16(h);
        }
    k->line_sums(x, (const uint16_t *const[2]){saved[0], saved[1]}, n, alt, sum, of);
    for (unsigned i = 0; i < 8; i++)
        is_good = is_good && near((double)sum[i / 2][i % 2], want[i / 2][i % 2]) && (i > 3 || near((double)of[i / 2][i % 2], want_of[i / 2][i % 2]));
    check(is_good, "line_sums");
    digest_add(sum, sizeof sum);
    digest_add(of, sizeof of);
    for (unsigned r = 0; r < 2; r++) {
        free(x[r]);
        free(v[r]);
        free(saved[r]);
    }
}

static void try_phasing(const struct sq_kernels *k, uint32_t n)
{
    size_t pad = ((size_t)n + 15) / 16 * 16;
    uint64_t *alt = malloc((sq_kernel_words(n) + 1) * 8);
    if (!alt)
        abort();
    for (size_t w = 0; w <= sq_kernel_words(n); w++)
        alt[w] = draw();
    snprintf(what, sizeof what, "%s, phasing, n %" PRIu32, k->name, n);
    try_row_kernels(k, n, pad, alt);
    if (n <= 200)
        try_matrix(k, n, pad);
    try_line_sums(k, n, alt);
    free(alt);
}

static void result(const char *name, const char *of)
{
    printf("%s %d - %s%s\n", n_bad ? "not ok" : "ok", ++n_case, of, name);
    n_bad = 0;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
    uint64_t digests[4] = {0}, n_round = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    bool is_bad = false;
    for (size_t v = 0; v < sizeof names / sizeof names[0]; v++) {
        const struct sq_kernels *k = sq_kernels_named(names[v]);
        if (!k) {
            printf("ok %d - every shape: %s # SKIP not on this machine\n", ++n_case, names[v]);
            continue;
        }
        seed = 1;
        digest = 0xcbf29ce484222325;
        for (uint64_t round = 0; round < n_round; round++) {
            for (uint32_t n = 0; n <= 200; n++)
                for (size_t skew = 0; skew < 64; skew += 8)
                    at_shape(k, n, draw() % 2 ? skew : 0);
            for (uint32_t n = 201; n < 5000; n += 1 + (uint32_t)(draw() % 200))
                at_shape(k, n, draw() % 8 * 8);
            for (uint32_t n = 1; n <= 200; n++)
                try_phasing(k, n);
            try_phasing(k, 513);
            try_phasing(k, 2048);
            at_shape(k, BIG, 0);
            at_shape(k, BIG, 8);
        }
        long_rows(k);
        rounded_once(k);
        digests[v] = digest;
        is_bad = is_bad || n_bad;
        result(names[v], "every shape: ");
        check(digests[v] == digests[0], "other bits than scalar's");
        is_bad = is_bad || n_bad;
        result(names[v], "the same bits as scalar: ");
    }
    check(sq_kernels() && sq_kernels() == sq_kernels() && sq_kernels_named(sq_kernels()->name) == sq_kernels(), "what sq_kernels() gives");
    check(!sq_kernels_named("abacus"), "a name that isn't one");
    is_bad = is_bad || n_bad;
    result("", "one version is chosen");
    printf("# %s is used; digest %016" PRIx64 "\n1..%d\n", sq_kernels()->name, digests[0], n_case);
    return is_bad;
}
