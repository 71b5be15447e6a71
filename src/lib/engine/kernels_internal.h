/* kernels_internal - what the versions of the kernels share. Not for other rooms, nor for other files of engine.
 * Nothing here may be an external function: each including file is compiled for another processor. */
#ifndef SQ_ENGINE_KERNELS_INTERNAL_H
#define SQ_ENGINE_KERNELS_INTERNAL_H

#include "lib/engine/kernels.h"

#define KERNEL_LANES 32U

extern const struct sq_kernels sq_kernels_scalar;
#if defined(__x86_64__)
extern const struct sq_kernels sq_kernels_avx2, sq_kernels_avx512;
#elif defined(__aarch64__)
extern const struct sq_kernels sq_kernels_neon;
#endif

/* Bits of the block at @base that stand for elements below @n. base < n. */
static inline uint64_t kernel_valid(uint32_t n, size_t base)
{
    return n - base >= 64 ? UINT64_MAX : (UINT64_C(1) << (n - base)) - 1;
}

#endif
