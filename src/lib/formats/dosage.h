/**
 * formats/dosage - one sample's GT:DS:HDS:GP as text, from thousandths, by table.
 *
 * Numbers have at most three decimals, no trailing zeros. Everything is computed in integers from the haplotype
 * dosages, so DS is exactly the sum of HDS, and GP sums to 1.
 */
#ifndef SQ_FORMATS_DOSAGE_H
#define SQ_FORMATS_DOSAGE_H

#include "lib/core/buf.h"

#define SQ_DOSAGE_FULL 1000U   /* one ALT allele for certain */
#define SQ_DOSAGE_MAX_TEXT 48U /* bytes of one sample, more than any */

/** sq_dosage_milli - a dosage 0..1 in thousandths, rounded to nearest. */
static inline uint16_t sq_dosage_milli(float dosage)
{
    return (uint16_t)(dosage * 1000.0F + 0.5F);
}

/** sq_dosage_number - @milli / 1000 (0..2000) as text at @out (>= 8 bytes). Returns the length; no NUL. */
size_t sq_dosage_number(unsigned milli, char *out);

/** Every number at once, for those who write millions: [0 .. 2000], 8 bytes each, to be copied whole and stepped over by n. */
struct sq_dosage_text {
    char text[7];
    uint8_t n;
};
const struct sq_dosage_text *sq_dosage_texts(void);

/** What the genotype says; alleles 0 or 1, or SQ_DOSAGE_NO_ALLELE where it is the likelier allele of the dosage. */
#define SQ_DOSAGE_NO_ALLELE 2U

/** sq_dosage_diploid - "a|b:DS:h1,h2:p0,p1,p2" at @out (>= SQ_DOSAGE_MAX_TEXT). Returns the length. */
size_t sq_dosage_diploid(unsigned gt1, unsigned gt2, unsigned milli1, unsigned milli2, char *out);
/** sq_dosage_haploid - "a:DS:h:p0,p1". */
size_t sq_dosage_haploid(unsigned gt, unsigned milli, char *out);

#endif
