/**
 * formats/gmap - genetic maps: which position lies at how many cM.
 *
 * Three formats, told apart by content, plain or packed:
 *     SHAPEIT   pos chr cM                                          (header line)
 *     Eagle     chr position COMBINED_rate(cM/Mb) Genetic_Map(cM)   (header line)
 *     PLINK     chr id cM bp                                        (no header)
 * A header line names the columns, in any order (so HapMap's and `#chr pos cM` are read too); without one it is PLINK's. Rows of
 * other chromosomes are passed over; "chr" in front and 23 for X are the same chromosome. Positions must
 * ascend and cM may not fall. Anything else is SQ_EMAP with the line and the reason: a map is read whole or refused.
 */
#ifndef SQ_FORMATS_GMAP_H
#define SQ_FORMATS_GMAP_H

#include "lib/core/buf.h"

#define SQ_GMAP_MAX_ROWS 20000000U
#define SQ_GMAP_OUTSIDE_CM_PER_MB 1.0 /* beyond the map's ends, and without a map */

struct sq_gmap {
    size_t n;
    int64_t *pos_bp; /* [n] strictly ascending */
    double *cm;      /* [n] not falling */
};

/** sq_gmap_read - rows of @chrom from descriptor @fd (borrowed). SQ_EMAP, SQ_EIO, SQ_ENOMEM. */
sq_err sq_gmap_read(int fd, const char *chrom, struct sq_why *why, struct sq_gmap *out) SQ_MUST_CHECK;
void sq_gmap_done(struct sq_gmap *m);

/**
 * sq_gmap_fits - can this be the map of a chromosome of @contig_bp bases (0: not known) with sites from @first_bp to @last_bp? SQ_EMAP
 * when it goes beyond the chromosome's end (another build), covers none of the sites, or its cM can't be cM.
 */
sq_err sq_gmap_fits(const struct sq_gmap *m, int64_t first_bp, int64_t last_bp, int64_t contig_bp, struct sq_why *why) SQ_MUST_CHECK;

/** sq_gmap_cm - cM at @pos_bp: linear between rows, 1 cM/Mb outside. n == 0: 1 cM/Mb throughout. Never falls as pos_bp grows. */
double sq_gmap_cm(const struct sq_gmap *m, int64_t pos_bp);

/** sq_chrom_same - are these two names of one chromosome: "22" and "chr22", "X" and "23"? */
bool sq_chrom_same(const char *a, const char *b);

#endif
