/**
 * demux/demux_kernels - from calls by cycle to lines of FASTQ: memory in, memory out.
 *
 * demux_kernels.c defines the meaning in plain C; demux_kernels_x86.c has the same for AVX2 and AVX-512, demux_kernels_neon.c for 64-bit ARM, chosen once by what the processor has
 * (SQ_KERNEL=scalar in the environment of a test build forces plain C). Tested against each other on every length and offset.
 * A call is a byte of lib/runs/runs.h: quality * 4 + base, 0 for a no-call.
 */
#ifndef SQ_DEMUX_KERNELS_H
#define SQ_DEMUX_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SQ_DEMUX_N_QUALITY 2U /* what a no-call counts as, and shows as: `#` */

struct sq_call_sums {
    uint64_t quality; /* sum; a no-call counts 2 */
    uint64_t n_q30;   /* calls of quality 30 and more */
    uint64_t n_called;
};

struct sq_demux_kernels {
    const char *name;

    /**
     * Calls to nibbles: bits 0-1 the base, bits 2-3 the place of its quality in @quality (1..3; 0: no-call); call i is nibble i of @out, low
     * one first. Stops at the first call whose quality isn't in @quality and returns how many were packed before: n, when all were, else a
     * number rounded down to an even one. @out [(n + 1) / 2].
     */
    size_t (*pack)(const uint8_t *call, size_t n, const uint8_t quality[4], uint8_t *out);

    /** @in [n_row][in_stride] to @out [n_column][out_stride]: out[c][r] = in[r][c] for r < n_row, c < n_column. Writes nothing else. */
    void (*transpose)(const uint8_t *in, size_t in_stride, size_t n_row, size_t n_column, uint8_t *out, size_t out_stride);

    /** Adds to @sums those of [n] calls. */
    void (*sum)(const uint8_t *call, size_t n, struct sq_call_sums *sums);

    /** [n] calls as letters (ACGTN) and as qualities (+33, `#` for N); exactly [n] bytes each. Adds to @sums as sum() does. */
    void (*text)(const uint8_t *call, size_t n, char *base, char *quality, struct sq_call_sums *sums);

    /**
     * Bit i % 32 of word i / 32 of @out: started at place i of [n], @call differs from the first @n_adapter (1..16) bases of @adapter (0..3; 4
     * matches anything) in at most @most[i] of them. A no-call differs from nothing, and so does what would be behind n. @call and @most are
     * readable for n + 31 bytes. @room [n + 128]. @out [(n + 31) / 32], bits behind n are 0.
     */
    void (*near)(const uint8_t *call, size_t n, const uint8_t *adapter, size_t n_adapter, const uint8_t *most, uint8_t *room, uint32_t *out);

    /** Bit i % 64 of word i / 64 of @out: letter i is the one before it; letter -1 is readable, and 63 behind n are. @out [(n + 63) / 64], bits behind n are 0. */
    void (*repeats)(const uint8_t *letter, size_t n, uint64_t *out);

    /**
     * [n] letters as two bits each (A 0, C 1, T 2, G 3), four a byte, the first lowest; bits behind n are 0. Adds to @count how often each is there.
     * False: something else than ACGT is among them; then @out and @count are of no use. 63 letters behind n are readable. @out [(n + 3) / 4 + 16].
     */
    bool (*squeeze)(const uint8_t *letter, size_t n, uint8_t *out, uint32_t count[4]);
};

/** The fastest that this processor has. Static. */
const struct sq_demux_kernels *sq_demux_kernels(void);
/** By name ("scalar", "avx2", "avx512", "neon"), or NULL: this processor can't. For tests. */
const struct sq_demux_kernels *sq_demux_kernels_named(const char *name);

#endif
