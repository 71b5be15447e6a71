/* genotypes_internal - what the two record readers share. Not for other rooms. */
#ifndef SQ_FORMATS_GENOTYPES_INTERNAL_H
#define SQ_FORMATS_GENOTYPES_INTERNAL_H

#include "lib/formats/genotypes.h"

#include <htslib/vcf.h>

struct sq_genotypes {
    struct sq_source *source;
    struct sq_genotypes_limits limits;
    enum sq_format format;
    bcf_hdr_t *header; /* the dictionary */
    uint32_t n_sample;
    char chrom[SQ_CHROM_MAX];
    uint64_t chrom_length, n_record;
    int64_t last_pos;
    int gt_key, ps_key, sw_key; /* numbers in the BCF dictionary; -1: not there, or not wanted */
    int n_phasing;
    uint8_t *gt, *phased, *swap; /* of the current record */
    uint32_t *set;               /* [n_sample] with limits.with_sets */
    struct sq_buf alleles, capitals;
};

/** vcf_text_next / bcf_next - one record in the reader's format; *out_has false at the end. */
sq_err vcf_text_next(struct sq_genotypes *g, struct sq_why *why, struct sq_record *out, bool *out_has);
sq_err bcf_next(struct sq_genotypes *g, struct sq_why *why, struct sq_record *out, bool *out_has);

/** genotypes_chrom - a record's chromosome: remember the first, refuse another. */
sq_err genotypes_chrom(struct sq_genotypes *g, struct sq_span name, uint64_t line, struct sq_why *why);

/** genotypes_set_of_text - record.set of a PS as text. */
uint32_t genotypes_set_of_text(struct sq_span text);

/** genotypes_allele_ok - letters of an allele as VCF 4.3 allows them: bases, *, <symbolic>, breakends. */
bool genotypes_allele_ok(struct sq_span a);

#endif
