/**
 * formats/bgzf_out - BGZF blocks to a descriptor, with virtual offsets: for the result's body and header.
 *
 * htslib's writer always ends with the end block and can only index into a named file; a result is written in two
 * pieces by two sandboxes (docs/formats/stages.md), so this one says when the end block comes.
 */
#ifndef SQ_FORMATS_BGZF_OUT_H
#define SQ_FORMATS_BGZF_OUT_H

#include "lib/core/buf.h"

#define SQ_BGZF_LEVEL 1
#define SQ_BGZF_BLOCK_BYTES ((size_t)0xff00) /* unpacked, as htslib: what always fits 64 KiB packed */
#define SQ_BGZF_PACKED_MAX 65536U
#define SQ_BGZF_END_BYTES 28U

struct libdeflate_compressor;
/** sq_bgzf_pack - one block of 1..SQ_BGZF_BLOCK_BYTES bytes at @out (SQ_BGZF_PACKED_MAX bytes). Returns its packed length. */
size_t sq_bgzf_pack(struct libdeflate_compressor *packer, const void *p, size_t n, uint8_t *out);
extern const uint8_t sq_bgzf_end[SQ_BGZF_END_BYTES]; /* the block that ends a file */

struct sq_bgzf_out;
sq_err sq_bgzf_out_open(int fd, struct sq_bgzf_out **out) SQ_MUST_CHECK;
sq_err sq_bgzf_out_put(struct sq_bgzf_out *b, const void *p, size_t n) SQ_MUST_CHECK;
/** sq_bgzf_out_cut - end the present block: what comes next starts one. */
sq_err sq_bgzf_out_cut(struct sq_bgzf_out *b) SQ_MUST_CHECK;
/** sq_bgzf_out_tell - virtual offset of the next byte: packed offset of its block << 16 | place in the block. */
uint64_t sq_bgzf_out_tell(const struct sq_bgzf_out *b);
/** sq_bgzf_out_close - flush, with the 28 bytes of the end block if asked for; frees in any case. *out_n_packed may be NULL. */
sq_err sq_bgzf_out_close(struct sq_bgzf_out *b, bool with_end_block, uint64_t *out_n_packed) SQ_MUST_CHECK;
void sq_bgzf_out_drop(struct sq_bgzf_out *b); /* free without writing */

#endif
