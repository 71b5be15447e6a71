/* The meaning of each kernel, in plain C, and the choice among what the processor has. */
#include "lib/runs/call_kernels_internal.h"

#include <stdlib.h>
#include <string.h>

void call_clean_scalar(const uint8_t *in, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = in[i] >> 2 ? in[i] : 0;
}

void call_unpack_scalar(const uint8_t *in, size_t n, const uint8_t palette[16], uint8_t *out)
{
    for (size_t i = 0; i < n; i++)
        out[i] = palette[i & 1 ? in[i / 2] >> 4 : in[i / 2] & 15];
}

void call_keep_scalar(const uint8_t *in, size_t n, const uint64_t *pass, size_t n_out, uint8_t *out)
{
    size_t k = 0;
    for (size_t i = 0; i < n && k < n_out; i++)
        if (pass[i / 64] >> (i % 64) & 1)
            out[k++] = in[i];
}

size_t call_bits_scalar(const uint8_t *in, size_t n, uint64_t *out)
{
    size_t set = 0;
    for (size_t w = 0; w < (n + 63) / 64; w++) {
        uint64_t word = 0;
        for (size_t i = 0; i < 64 && w * 64 + i < n; i++)
            word |= (uint64_t)(in[w * 64 + i] & 1) << i;
        out[w] = word;
        set += (size_t)__builtin_popcountll(word);
    }
    return set;
}

static const struct sq_call_kernels scalar = {"scalar", call_clean_scalar, call_unpack_scalar, call_keep_scalar, call_bits_scalar};

const struct sq_call_kernels *sq_call_kernels_named(const char *name)
{
    if (!strcmp(name, scalar.name))
        return &scalar;
#ifdef CALL_KERNELS_X86
    if (!strcmp(name, call_kernels_avx2.name) && call_has_avx2())
        return &call_kernels_avx2;
    if (!strcmp(name, call_kernels_avx512.name) && call_has_avx512())
        return &call_kernels_avx512;
#elif defined(CALL_KERNELS_NEON)
    if (!strcmp(name, call_kernels_neon.name))
        return &call_kernels_neon;
#endif
    return NULL;
}

const struct sq_call_kernels *sq_call_kernels(void)
{
    static const char *const best_first[] = {"avx512", "avx2", "neon"};
#ifdef SQ_TEST_HOOKS
    const char *forced = getenv("SQ_KERNEL");
    const struct sq_call_kernels *asked = forced ? sq_call_kernels_named(forced) : NULL;
    if (asked)
        return asked;
#endif
    for (size_t i = 0; i < sizeof best_first / sizeof best_first[0]; i++) {
        const struct sq_call_kernels *k = sq_call_kernels_named(best_first[i]);
        if (k)
            return k;
    }
    return &scalar;
}
