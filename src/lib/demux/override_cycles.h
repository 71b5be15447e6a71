/**
 * demux/override_cycles - what each cycle of a read is for: data, index, molecular barcode (UMI), or nothing.
 *
 * Text of OverrideCycles: a part for each read of the run in order, separated by `;`, each of spans Y (data), I (index), U (UMI), N (left
 * out) with a number of cycles, or `*` for the rest of the read: `Y151;I8U9;I8;U8N2Y*`. Parts may be named instead, in any order:
 * `R1:Y151;I1:I8;I2:I8;R2:Y151`. The cycles of a part must be those of its read.
 */
#ifndef SQ_DEMUX_OVERRIDE_CYCLES_H
#define SQ_DEMUX_OVERRIDE_CYCLES_H

#include "lib/core/buf.h"

#define SQ_CYCLES_MAX_READS 8U
#define SQ_CYCLES_MAX_SPANS 16U /* of one read */
#define SQ_CYCLES_MAX_CYCLES 10000U
#define SQ_CYCLES_MAX_UMI 64U /* bases in one read's molecular barcode */

struct sq_cycles_read { /* one of the run, in order */
    uint32_t n_cycle;
    bool is_index, is_reverse; /* is_reverse: RunInfo says IsReverseComplement */
};

struct sq_cycles_span {
    char kind; /* Y I U N */
    uint32_t from, n; /* cycles of the run, from 0 */
};

struct sq_cycles_mask { /* of one read */
    uint32_t n_span;
    struct sq_cycles_span span[SQ_CYCLES_MAX_SPANS];
    uint32_t n_data, n_index, n_umi;
};

struct sq_cycles {
    uint32_t n_read;
    struct sq_cycles_mask read[SQ_CYCLES_MAX_READS];
};

/** sq_cycles_look_right - could this be one, whatever the run? For a sheet without its run. */
bool sq_cycles_look_right(const char *text);

/**
 * sq_cycles_parse - @text for a run of @n_read reads (1..SQ_CYCLES_MAX_READS, each at most SQ_CYCLES_MAX_CYCLES long). Returns false with a
 * sentence on what is wrong in @wrong.
 */
bool sq_cycles_parse(const char *text, const struct sq_cycles_read *read, uint32_t n_read, struct sq_cycles *out, char wrong[160]);

/**
 * sq_cycles_default - data reads whole; of the index reads the first @n_index[0], @n_index[1] cycles, the rest left out. A count of
 * UINT32_MAX: the whole read. False: a read is shorter than that, or there is no such read; @wrong says which.
 */
bool sq_cycles_default(const struct sq_cycles_read *read, uint32_t n_read, const uint32_t n_index[2], struct sq_cycles *out, char wrong[160]);

#endif
