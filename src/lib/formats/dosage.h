/**
 * formats/dosage - numbers of a genotype as text, from thousandths, by table: at most three decimals, no trailing zeros.
 */
#ifndef SQ_FORMATS_DOSAGE_H
#define SQ_FORMATS_DOSAGE_H

#include "lib/core/buf.h"

#define SQ_DOSAGE_FULL 1000U   /* one ALT allele for certain */

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

#endif
