/* demux_kernels_internal - the sets of kernels, for demux_kernels.c alone. */
#ifndef SQ_DEMUX_KERNELS_INTERNAL_H
#define SQ_DEMUX_KERNELS_INTERNAL_H

#include "lib/demux/demux_kernels.h"

extern const struct sq_demux_kernels sq_demux_kernels_scalar;
#ifdef __x86_64__
extern const struct sq_demux_kernels sq_demux_kernels_avx2, sq_demux_kernels_avx512;
#elif defined(__aarch64__)
extern const struct sq_demux_kernels sq_demux_kernels_neon;
#endif

#endif
