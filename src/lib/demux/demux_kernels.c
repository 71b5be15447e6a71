/* What the kernels mean, in plain C; and which are used. */
#include "lib/demux/demux_kernels.h"

#include "lib/demux/demux_kernels_internal.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static int place_of(uint8_t call, const uint8_t quality[4])
{
    if (!call)
        return 0;
    for (int i = 1; i < 4; i++)
        if (quality[i] && call >> 2 == quality[i])
            return i;
    return -1;
}

static size_t pack(const uint8_t *call, size_t n, const uint8_t quality[4], uint8_t *out)
{
    for (size_t i = 0; i < n; i += 2) {
        int low = place_of(call[i], quality), high = i + 1 < n ? place_of(call[i + 1], quality) : 0;
        if (low < 0 || high < 0)
            return i;
        unsigned a = (unsigned)low << 2 | (call[i] & 3U), b = i + 1 < n ? (unsigned)high << 2 | (call[i + 1] & 3U) : 0;
        out[i / 2] = (uint8_t)(a | b << 4);
    }
    return n;
}

static void transpose(const uint8_t *in, size_t in_stride, size_t n_row, size_t n_column, uint8_t *out, size_t out_stride)
{
    for (size_t c = 0; c < n_column; c++)
        for (size_t r = 0; r < n_row; r++)
            out[c * out_stride + r] = in[r * in_stride + c];
}

static void sum(const uint8_t *call, size_t n, struct sq_call_sums *sums)
{
    for (size_t i = 0; i < n; i++) {
        sums->quality += call[i] ? call[i] >> 2 : SQ_DEMUX_N_QUALITY;
        sums->n_q30 += call[i] >> 2 >= 30;
        sums->n_called += call[i] != 0;
    }
}

static void text(const uint8_t *call, size_t n, char *base, char *quality, struct sq_call_sums *sums)
{
    sum(call, n, sums);
    for (size_t i = 0; i < n; i++) {
        base[i] = call[i] ? "ACGT"[call[i] & 3] : 'N';
        quality[i] = (char)(call[i] ? 33 + (call[i] >> 2) : 33 + (int)SQ_DEMUX_N_QUALITY);
    }
}

static void near(const uint8_t *call, size_t n, const uint8_t *adapter, size_t n_adapter, const uint8_t *most, uint8_t *room, uint32_t *out)
{
    (void)room;
    memset(out, 0, (n + 31) / 32 * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        unsigned n_other = 0;
        for (size_t k = 0; k < n_adapter && i + k < n; k++)
            n_other += adapter[k] < 4 && call[i + k] && (call[i + k] & 3) != adapter[k];
        out[i / 32] |= (uint32_t)(n_other <= most[i]) << (i % 32);
    }
}

static void repeats(const uint8_t *letter, size_t n, uint64_t *out)
{
    memset(out, 0, (n + 63) / 64 * sizeof *out);
    for (size_t i = 0; i < n; i++)
        out[i / 64] |= (uint64_t)(letter[i] == *(letter + i - 1)) << (i % 64);
}

static bool squeeze(const uint8_t *letter, size_t n, uint8_t *out, uint32_t count[4])
{
    memset(out, 0, (n + 3) / 4);
    for (size_t i = 0; i < n; i++) {
        unsigned two = letter[i] >> 1 & 3U; /* of the letter's code: A 41, C 43, T 54, G 47 */
        if (letter[i] != "ACTG"[two])
            return false;
        out[i / 4] = (uint8_t)(out[i / 4] | two << (2 * (i % 4)));
        count[two]++;
    }
    return true;
}

const struct sq_demux_kernels sq_demux_kernels_scalar = {"scalar", pack, transpose, sum, text, near, repeats, squeeze};

static const struct sq_demux_kernels *chosen;

static void choose(void)
{
    chosen = &sq_demux_kernels_scalar;
#ifdef SQ_TEST_HOOKS
    const char *want = getenv("SQ_KERNEL");
    if (want && sq_demux_kernels_named(want)) {
        chosen = sq_demux_kernels_named(want);
        return;
    }
#endif
    static const char *const fast[] = {"avx512", "avx2", "neon"};
    for (size_t i = sizeof fast / sizeof fast[0]; i-- > 0;) /* best first */
        if (sq_demux_kernels_named(fast[i]))
            chosen = sq_demux_kernels_named(fast[i]);
}

const struct sq_demux_kernels *sq_demux_kernels(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, choose);
    return chosen;
}

const struct sq_demux_kernels *sq_demux_kernels_named(const char *name)
{
    if (!strcmp(name, "scalar"))
        return &sq_demux_kernels_scalar;
#ifdef __x86_64__
    if (!strcmp(name, "avx512") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt"))
        return &sq_demux_kernels_avx512;
    if (!strcmp(name, "avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("popcnt"))
        return &sq_demux_kernels_avx2;
#elif defined(__aarch64__)
    if (!strcmp(name, "neon"))
        return &sq_demux_kernels_neon;
#endif
    return NULL;
}
