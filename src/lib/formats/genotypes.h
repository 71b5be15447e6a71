/**
 * formats/genotypes - VCF and BCF in, BCF out: sites, GT and phase sets (PS), nothing else.
 *
 * The reader takes hostile bytes from a sq_source and gives one checked record after another: one chromosome,
 * positions ascending, every sample with a genotype of ploidy 1 or 2. The VCF text and the BCF records are taken apart
 * here, with every length checked, so that each complaint names its line; htslib does what it is the authority for: the
 * header dictionary of BCF and the writing of BCF. It opens no file, here or behind our back.
 */
#ifndef SQ_FORMATS_GENOTYPES_H
#define SQ_FORMATS_GENOTYPES_H

#include "lib/formats/source.h"

#define SQ_GT_NONE 254U /* second allele of a haploid genotype */
#define SQ_GT_MISSING 255U
#define SQ_GT_MAX_ALT 250U
#define SQ_MAX_PHASING 8 /* bits of record.swap */
#define SQ_CHROM_MAX 16U /* bytes of a chromosome name, NUL included */
#define SQ_SAMPLE_ID_MAX 255U
#define SQ_HEADER_MAX_BYTES ((size_t)64 << 20)
#define SQ_ALLELES_MAX_BYTES ((size_t)1 << 20) /* REF and ALT of one record */
#define SQ_POS_MAX 536870911                   /* what a tabix index can hold */

enum sq_format { SQ_FORMAT_VCF = 1,
                 SQ_FORMAT_VCF_GZ,
                 SQ_FORMAT_BCF };
enum sq_vcf_filter { SQ_FILTER_PASS,
                     SQ_FILTER_DUP,
                     SQ_FILTER_OTHER }; /* PASS or "." ; names containing DUP ; the rest */

struct sq_genotypes_limits {
    uint64_t max_samples, max_variants; /* 0: no limit */
    bool sites_only;                    /* don't take genotypes apart: record.gt stays NULL */
    bool as_stored;                     /* nor those of a BCF whose GT is two numbers of 8 bits a sample: see record.stored */
    bool with_sets;                     /* read PS too: see record.set */
    struct sq_source_limits source;
};

/** One record; spans and arrays are the reader's, valid until the next one is read. */
struct sq_record {
    uint64_t line; /* 1-based line of a text, or record number of a BCF */
    int64_t pos_bp;
    struct sq_span id, ref, alt; /* alt: comma separated; "." is kept as it is; id: may be "." */
    uint32_t n_alt;              /* 0 for "." */
    enum sq_vcf_filter filter;
    const uint8_t *gt;     /* [2 * n_sample] allele number, SQ_GT_MISSING or SQ_GT_NONE */
    const uint8_t *phased; /* [n_sample] 1: bar, or nothing to phase in how it is written (haploid) */
    /* with limits.as_stored, in place of gt and phased, where the file has it so: [2 * n_sample] (allele + 1) << 1 | phased, not
       checked. For who packs a panel of thousands; sq_genotypes_take_apart makes gt and phased of it. Else NULL. */
    const uint8_t *stored;
    /* with limits.with_sets: [n_sample] 0: no PS; else PS + 1 (a PS that is no number: a hash of its text). NULL: the record has none */
    const uint32_t *set;
    /* [n_sample] SW of a stream of ours (sq_genotypes_n_phasing() > 0): bit s: sampled phasing s has the two alleles the other way round; NULL: none */
    const uint8_t *swap;
};

struct sq_genotypes;

/** sq_genotypes_open - read the header. SQ_EFORMAT, SQ_EHEADER, SQ_ENOSAMPLE, SQ_EDUPSAMPLE, SQ_ELIMIT and those of source. */
sq_err sq_genotypes_open(int fd, const struct sq_genotypes_limits *limits, struct sq_why *why,
                         struct sq_genotypes **out) SQ_MUST_CHECK;
void sq_genotypes_close(struct sq_genotypes *g);

/**
 * sq_genotypes_next - the next record, or *out_has false at the end (which has been checked: nothing is cut off).
 * SQ_ERECORD, SQ_ENOGT, SQ_EMULTICHROM, SQ_EUNSORTED, SQ_EPLOIDY (more than two alleles), SQ_ELIMIT and those of source.
 */
sq_err sq_genotypes_next(struct sq_genotypes *g, struct sq_why *why, struct sq_record *out,
                         bool *out_has) SQ_MUST_CHECK;

/** sq_genotypes_take_apart - fill gt and phased of the record last read, @r, whose `stored` isn't NULL. SQ_ERECORD. */
sq_err sq_genotypes_take_apart(struct sq_genotypes *g, struct sq_record *r, struct sq_why *why) SQ_MUST_CHECK;

enum sq_format sq_genotypes_format(const struct sq_genotypes *g);
uint32_t sq_genotypes_n_sample(const struct sq_genotypes *g);
const char *sq_genotypes_sample(const struct sq_genotypes *g, uint32_t i); /* ids: for ingest alone */
const char *sq_genotypes_chrom(const struct sq_genotypes *g);              /* "" before the first record */
uint64_t sq_genotypes_chrom_length(const struct sq_genotypes *g);          /* of the header's contig line; 0: not said */
uint64_t sq_genotypes_n_record(const struct sq_genotypes *g);
uint64_t sq_genotypes_n_packed(const struct sq_genotypes *g);
/** sq_genotypes_n_phasing - sampled phasings of a stream that the phase stage wrote, -1: no such stream. Believe it of our own streams alone. */
int sq_genotypes_n_phasing(const struct sq_genotypes *g);

/** sq_record_is_plain - REF and the one ALT are letters ACGT only. */
bool sq_record_is_plain(const struct sq_record *r);

struct sq_bcf_writer;
/**
 * sq_bcf_writer_open - BCF (bgzf level 1) to @fd (borrowed); samples are called S000001 and so on. Header and records only.
 * @n_phasing  sampled phasings that records' swap tells of, 0..SQ_MAX_PHASING; -1: nothing of the kind is written.
 */
sq_err sq_bcf_writer_open(int fd, const char *chrom, uint64_t chrom_length, uint32_t n_sample, int n_phasing,
                          struct sq_bcf_writer **out) SQ_MUST_CHECK;
/** sq_bcf_writer_put - the record with its GT, PS where it has `set`, SW where it has `swap`; of the ID only rs numbers are kept. */
sq_err sq_bcf_writer_put(struct sq_bcf_writer *w, const struct sq_record *r) SQ_MUST_CHECK;
/** sq_bcf_writer_close - end block and all; frees in any case. NULL allowed. */
sq_err sq_bcf_writer_close(struct sq_bcf_writer *w) SQ_MUST_CHECK;

/** sq_is_rs_id - "rs" and 1 to 12 digits: the one kind of ID that can't be a person's. */
bool sq_is_rs_id(struct sq_span id);

#endif
