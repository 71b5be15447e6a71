/* oracle/phase_dense - the diploid model behind lib/engine/phase written out: all ordered pairs of panel haplotypes, double precision. */
#ifndef SQ_ORACLE_PHASE_DENSE_H
#define SQ_ORACLE_PHASE_DENSE_H

#include <stdint.h>

#define PHASE_DENSE_MISSING 3

/** One sample beside a panel. All borrowed. */
struct phase_dense {
    uint32_t n_hap, n_site;
    const uint8_t *allele;   /* [n_site][n_hap] 0 or 1 */
    const double *cm;        /* [n_site] ascending */
    const uint8_t *genotype; /* [n_site] ALT alleles: 0, 1, 2 or PHASE_DENSE_MISSING */
    double scale, mismatch;
};

/**
 * phase_dense_run - exact posteriors of the sample's phase and of its missing calls.
 *
 * @same      [n_site] at a heterozygote that has one before it: P(both ALT alleles lie on one haplotype | all genotypes); else -1.
 * @genotype  [n_site][3] P(0, 1, 2 ALT alleles | all genotypes). O(n_site * n_hap^3).
 */
void phase_dense_run(const struct phase_dense *d, double *same, double (*genotype)[3]);

/** phase_dense_haploid - P(alleles | the haploid model), [n_site] 0, 1 or PHASE_DENSE_MISSING, of one haplotype. Not a logarithm. */
double phase_dense_haploid(const struct phase_dense *d, const uint8_t *allele);

#endif
