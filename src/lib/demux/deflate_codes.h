/**
 * demux/deflate_codes - prefix codes of deflate (RFC 1951, 3.2.2 and 3.2.7): lengths for counts, the bits of each, and how a block says them.
 */
#ifndef SQ_DEMUX_DEFLATE_CODES_H
#define SQ_DEMUX_DEFLATE_CODES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define DEFLATE_N_LIT 286U  /* 0..255 bytes, 256 the end, 257..285 lengths */
#define DEFLATE_N_DIST 30U
#define DEFLATE_END 256U

/** The same number with its lowest byte first in memory, and back. */
static inline uint64_t deflate_le64(uint64_t v)
{
    return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? __builtin_bswap64(v) : v;
}

/** Bits to be written, low ones first. 8 bytes behind @to are written to. */
struct deflate_bits {
    uint64_t bits;
    unsigned n; /* below 8 after deflate_flush */
    uint8_t *to;
};

/** At most 56 bits may be added between two flushes. */
static inline void deflate_put(struct deflate_bits *b, uint64_t bits, unsigned n)
{
    b->bits |= bits << b->n;
    b->n += n;
}

static inline void deflate_flush(struct deflate_bits *b)
{
    const uint64_t bytes = deflate_le64(b->bits);
    memcpy(b->to, &bytes, sizeof bytes);
    b->to += b->n >> 3;
    b->bits >>= b->n & 56U;
    b->n &= 7;
}

/**
 * deflate_lengths - of an optimal prefix code for @count [n], no length above @most, at least two symbols with one. [n] @length, 0: isn't used.
 * n <= DEFLATE_N_LIT, the sum of the counts below 2^32. Huffman by two queues; too long codes are shortened at the cost of the next shorter.
 */
void deflate_lengths(const uint32_t *count, unsigned n, unsigned most, uint8_t *length);

/** deflate_codes - the bits of each symbol, as they are written (first bit lowest). [n] */
void deflate_codes(const uint8_t *length, unsigned n, uint16_t *code);

/** What a block says of its codes. */
struct deflate_head {
    uint8_t item[DEFLATE_N_LIT + DEFLATE_N_DIST]; /* lengths, 16, 17, 18 */
    uint8_t more[DEFLATE_N_LIT + DEFLATE_N_DIST]; /* what stands behind 16, 17, 18 */
    uint8_t length[19];
    unsigned n_item, n_lit, n_dist, n_length;
    size_t n_bit; /* of all of it, with the three of the block's kind */
};
void deflate_head_make(const uint8_t *lit, const uint8_t *dist, struct deflate_head *out);
void deflate_head_put(const struct deflate_head *h, struct deflate_bits *b);

#endif
