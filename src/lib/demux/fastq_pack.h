/**
 * demux/fastq_pack - deflate (RFC 1951) for blocks of FASTQ, by one who knows where its lines are: `--level 1`.
 *
 * A general packer looks for repeats at every byte, which in bases and qualities is nearly all of its time and finds little. Here
 *   headers    are what differs from the header before, and repeats of it;
 *   bases      are single letters, four at once by a table; a repeat when 16 bases stood 32 KB or less before (amplicons, runs of G);
 *   qualities  are runs of one letter, and single letters;
 * so a block takes a third of libdeflate's time and about its room (bench/RESULTS.md, docs/decisions/0017). Where lines are is a hint for speed
 * and size: any text comes back the same, for a repeat is only ever said of bytes that were compared. Checked against libdeflate and zlib.
 * The bytes depend on the text and its lines alone, not on the processor, nor on what was packed before.
 */
#ifndef SQ_DEMUX_FASTQ_PACK_H
#define SQ_DEMUX_FASTQ_PACK_H

#include "lib/core/err.h"

#include "lib/demux/demux_kernels.h"

#define SQ_FASTQ_BLOCK 0xff00U /* bytes of text in a block at most: what BGZF can hold, packed or not */
#define SQ_FASTQ_SLACK 64U     /* bytes behind the text that may be read, whatever they are */

/** A record: "@head blank..\n" "bases\n" "+\n" "qualities\n", in offsets of the block. */
struct sq_fastq_record {
    uint32_t head;   /* the @ */
    uint32_t blank;  /* in the header: where what is often the same as before begins */
    uint32_t base;   /* first base */
    uint32_t n_base; /* as many qualities, 3 bytes behind the last base */
};

struct sq_fastq_packer; /* one thread's room, about 1 MB */
/** @kernel: NULL for the fastest of this processor; the plain ones give the same bytes. */
sq_err sq_fastq_packer_new(const struct sq_demux_kernels *kernel, struct sq_fastq_packer **out) SQ_MUST_CHECK;
void sq_fastq_packer_free(struct sq_fastq_packer *p);

/**
 * sq_fastq_pack - one deflate stream of one block.
 *
 * @text    [n] 1..SQ_FASTQ_BLOCK bytes, with SQ_FASTQ_SLACK readable behind them.                       borrowed
 * @record  [n_record] ascending, within the text; nothing but records: the next begins where one ends.  borrowed
 * @out     [n + 5 at least, and 8 more that may be written to]
 *
 * Returns the bytes of the stream, at most n + 5: what can't be made smaller is stored. Allocates nothing. O(n).
 */
size_t sq_fastq_pack(struct sq_fastq_packer *p, const uint8_t *text, size_t n, const struct sq_fastq_record *record, size_t n_record, uint8_t *out) SQ_MUST_CHECK;

#endif
