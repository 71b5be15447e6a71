/**
 * runs/call_kernels - from bytes as files have them to calls (runs.h): memory in, memory out.
 *
 * call_kernels.c defines the meaning in plain C; call_kernels_x86.c has the same for AVX2 and AVX-512, call_kernels_neon.c for 64-bit ARM, chosen once by
 * what the processor has (SQ_KERNEL=scalar|avx2|avx512|neon in the environment of a test build forces one). Tested against each other on every length and offset.
 * Nothing here reads or writes outside of the lengths given.
 */
#ifndef SQ_RUNS_CALL_KERNELS_H
#define SQ_RUNS_CALL_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sq_call_kernels {
    const char *name;

    /** bcl bytes: quality 0 becomes the byte 0, all else stays. @out may be @in. [n] */
    void (*clean)(const uint8_t *in, size_t n, uint8_t *out);

    /**
     * CBCL nibbles: call i is nibble i of @in (low one first), through @palette: what the 16 nibbles stand for.
     * @in [(n + 1) / 2], @out [n].
     */
    void (*unpack)(const uint8_t *in, size_t n, const uint8_t palette[16], uint8_t *out);

    /**
     * Keep of [n] bytes those whose bit is set in @pass ([(n + 63) / 64] words, bits behind the last 0). @out may be @in. [n_out]: how many bits
     * are set; not a byte more is written.
     */
    void (*keep)(const uint8_t *in, size_t n, const uint64_t *pass, size_t n_out, uint8_t *out);

    /** Bit 0 of each of [n] bytes into bits, [(n + 63) / 64] words, bits behind the last 0. Returns how many are set. */
    size_t (*bits)(const uint8_t *in, size_t n, uint64_t *out);
};

/** The fastest that this processor has. Static. */
const struct sq_call_kernels *sq_call_kernels(void);
/** By name, or NULL: this processor can't, or there is none ("scalar" always is). For tests. */
const struct sq_call_kernels *sq_call_kernels_named(const char *name);

#endif
