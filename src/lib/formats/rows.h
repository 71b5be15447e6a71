/**
 * formats/rows - records of the result out of haplotype dosages: text of VCF or BCF, and what goes beside it.
 *
 * A plan (struct sq_rows) is made once a job: which tracks in which container with which fields, for these samples. It
 * never changes afterwards and is shared by all threads; pieces.h puts rows through it. Nothing here knows a sample's name.
 *
 * Numbers: dosages come in thousandths and are written with at most three decimals; AF, MAF and AVG_CS are quotients of
 * exact integer sums, written with six significant digits, so a row is the same bytes whoever writes it.
 */
#ifndef SQ_FORMATS_ROWS_H
#define SQ_FORMATS_ROWS_H

#include "lib/core/buf.h"

#define SQ_ROWS_MILLI 1000U          /* one ALT allele for certain */
#define SQ_ROWS_POS_MAX 2147483646LL /* what BCF can hold; beyond 2^29 the index is a .csi */
#define SQ_ROWS_LEVEL 1              /* deflate level, when nothing else is asked for: the fastest, */
#define SQ_ROWS_LEVEL_BCF 4          /* and of a BCF, whose numbers take as long at 1 and come out 7 % larger (bench/output) */
#define SQ_ROWS_MAX_PARAM 32U

/** Streams of one run. Each is a file of its own and is joined in order by itself. */
enum sq_rows_track {
    SQ_ROWS_RESULT,    /* every row with its samples */
    SQ_ROWS_SITES,     /* every row without samples: what users of the public servers know as .info.gz */
    SQ_ROWS_EMPIRICAL, /* typed sites of the panel, GT as observed and LDS, the leave-one-out dosage of each haplotype */
    SQ_ROWS_PHASED,    /* of `sequester phase`: GT as observed, phased and filled, and PP, how sure the phase is; a file of its own, beside no other track */
    SQ_ROWS_N_TRACK
};

enum sq_rows_container { SQ_ROWS_VCF,  /* .vcf.gz */
                         SQ_ROWS_BCF }; /* .bcf; sites and empirical too */

enum sq_rows_field {
#define SQ_ROWS_INFO(...)
#define SQ_ROWS_FORMAT(name, ...) SQ_ROWS_##name,
#include "lib/formats/rows.def"
#undef SQ_ROWS_INFO
#undef SQ_ROWS_FORMAT
    SQ_ROWS_N_FIELD
};

/** What the plan is made of. Everything is copied. */
struct sq_rows_spec {
    const char *chrom;         /* 1..SQ_CHROM_MAX - 1 bytes */
    uint64_t chrom_length;     /* of the contig line; 0: not known, no length is said */
    uint32_t n_sample;         /* >= 1 */
    const uint8_t *is_haploid; /* [n_sample]; NULL: all are diploid */
    enum sq_rows_container container;
    enum sq_rows_field field[SQ_ROWS_N_FIELD]; /* in this order; GT must come first when it is there (VCF 4.2) */
    unsigned n_field;                          /* 1..SQ_ROWS_N_FIELD, each once */
    int level;                                 /* deflate 1..12; 0: SQ_ROWS_LEVEL or SQ_ROWS_LEVEL_BCF */
    bool overwrite_typed;                      /* typed sites of the panel show what is imputed, not what was observed */
    double min_r2;                             /* imputed rows with less aren't written (typed ones are); 0: all */
    /* header lines */
    const char *panel_name;     /* file or registered name; NULL or "": not said. Unprintable bytes become '_' */
    uint64_t n_panel_haplotype; /* 0: not said */
    const char *const *param;   /* [n_param] "key=value", key [A-Za-z0-9_]: ##sequester_key=value. The same in every chunk */
    unsigned n_param;           /* <= SQ_ROWS_MAX_PARAM */
};

struct sq_rows;
/** sq_rows_new - a plan. SQ_ERANGE for a spec that makes no sense (no samples, a field twice, GT not first, ...); SQ_ENOMEM. */
sq_err sq_rows_new(const struct sq_rows_spec *spec, struct sq_rows **out) SQ_MUST_CHECK;
void sq_rows_free(struct sq_rows *r);
uint64_t sq_rows_n_target(const struct sq_rows *r); /* haplotypes: two a diploid sample, one a haploid one, in order */

/** sq_rows_fields - "GT,DS,HDS" or "GT:DS:HDS" into field[], in order. SQ_ERANGE: unknown, twice, empty, or GT not first. */
sq_err sq_rows_fields(const char *text, enum sq_rows_field field[SQ_ROWS_N_FIELD], unsigned *out_n) SQ_MUST_CHECK;

/** One record, one ALT. Borrowed until the call returns. */
struct sq_row {
    int64_t pos_bp; /* 1..SQ_ROWS_POS_MAX, not falling */
    struct sq_span id, ref, alt;
    const uint16_t *milli;   /* [n_target] imputed ALT dosage, 0..1000. NULL: typed only, not in the panel */
    const uint8_t *observed; /* [n_target] 0, 1, anything else: missing (imputed then). NULL: not typed */
    const uint16_t *loo;     /* [n_target] leave-one-out ALT dosage, for ER2 and the empirical track; NULL: none */
    double r2;               /* estimated by the engine; NAN: not said (typed only, or monomorphic) */
    const uint8_t *unphased; /* [n_sample] of a typed-only row: 1 where the order of two different alleles means nothing: `0/1`. NULL: nowhere */
    /* phased track: a row of the panel's, without milli, has this; [n_sample] 0..255, a coin to certain. NULL: typed only */
    const uint8_t *confidence;
};

/** sq_rows_meta - the header lines of @track ("##...\n" each), without column line and without a name, appended to @out. */
sq_err sq_rows_meta(const struct sq_rows *r, enum sq_rows_track track, struct sq_buf *out) SQ_MUST_CHECK;

#endif
