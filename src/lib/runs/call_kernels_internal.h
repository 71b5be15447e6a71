/* call_kernels_internal - the versions of the kernels. Not for other rooms. */
#ifndef SQ_RUNS_CALL_KERNELS_INTERNAL_H
#define SQ_RUNS_CALL_KERNELS_INTERNAL_H

#include "lib/runs/call_kernels.h"

void call_clean_scalar(const uint8_t *in, size_t n, uint8_t *out);
void call_unpack_scalar(const uint8_t *in, size_t n, const uint8_t palette[16], uint8_t *out);
void call_keep_scalar(const uint8_t *in, size_t n, const uint64_t *pass, size_t n_out, uint8_t *out);
size_t call_bits_scalar(const uint8_t *in, size_t n, uint64_t *out);

#if defined(__x86_64__)
#define CALL_KERNELS_X86 1
extern const struct sq_call_kernels call_kernels_avx2, call_kernels_avx512;
bool call_has_avx2(void);
bool call_has_avx512(void);
#elif defined(__aarch64__)
#define CALL_KERNELS_NEON 1
extern const struct sq_call_kernels call_kernels_neon;
#endif

#endif
