/**
 * panel_bits - genotypes to bits, and rows of bits to patterns of haplotypes. Scalar code says what they mean; tested against it.
 */
#ifndef SQ_PANEL_BITS_H
#define SQ_PANEL_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct panel_bits {
    const char *name;
    /**
     * bcf_diploid - GT of a BCF record as it stands (8 bits an allele, two a sample): bit i of @row is set when allele i is 1.
     *
     * @gt   [@n_col] (allele + 1) << 1 | phased.   @row  [ceil(n_col / 64)], spare bits 0. Written in any case.
     * Returns false when there is anything but alleles 0 and 1, or a heterozygous genotype that isn't phased: look closer then.
     */
    bool (*bcf_diploid)(const uint8_t *gt, size_t n_col, uint64_t *row);
    /** equal - bit i of @row is set when @allele[i] == @value. */
    void (*equal)(const uint8_t *allele, size_t n_col, uint8_t value, uint64_t *row);
    /** transpose - @row[s * @n_word + w] for s < 64: bit s of @pattern[64 * w + i] is bit i of word w of row s. @n_row <= 64; the others are 0. */
    void (*transpose)(const uint64_t *row, size_t n_word, unsigned n_row, uint64_t *pattern);
};

/** panel_bits_scalar defines; panel_bits_best is what this processor does best. */
const struct panel_bits *panel_bits_scalar(void);
const struct panel_bits *panel_bits_best(void);

#endif
