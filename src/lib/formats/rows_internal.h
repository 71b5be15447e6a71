/* What the files of formats/rows share: the plan, and a row that has been looked through. Never leaves this folder. */
#ifndef SQ_FORMATS_ROWS_INTERNAL_H
#define SQ_FORMATS_ROWS_INTERNAL_H

#include "lib/formats/dosage.h"
#include "lib/formats/genotypes.h"
#include "lib/formats/rows.h"

#define ROWS_NONE 0xffffU /* a haplotype of a typed-only row that wasn't called */
#define ROWS_CELL_MAX 64U /* text of one sample, and what a copy of whole words may write behind it */
#define ROWS_ID_MAX 200U  /* longer identifiers aren't repeated */

enum rows_info {
#define SQ_ROWS_INFO(name, ...) ROWS_##name,
#define SQ_ROWS_FORMAT(...)
#include "lib/formats/rows.def"
#undef SQ_ROWS_INFO
#undef SQ_ROWS_FORMAT
    ROWS_N_INFO
};

struct rows_cell {
    char text[ROWS_CELL_MAX - 1];
    uint8_t n;
};

/* One track's place in the dictionary of strings; 0 is PASS. */
struct rows_dictionary {
    uint8_t info[ROWS_N_INFO], field[SQ_ROWS_N_FIELD], lds, pp;
};

struct sq_rows {
    char chrom[SQ_CHROM_MAX];
    uint64_t chrom_length;
    uint32_t n_sample;
    uint64_t n_target;
    bool all_diploid, all_haploid;
    uint8_t *is_haploid;  /* [n_sample] */
    uint64_t *first_hap;  /* [n_sample]; NULL: 2 * sample */
    uint32_t *sample_of;  /* [n_target]; NULL: haplotype / 2 */
    enum sq_rows_container container;
    enum sq_rows_field field[SQ_ROWS_N_FIELD];
    unsigned n_field;
    int level;
    bool overwrite_typed;
    double min_r2;
    struct sq_buf extra_meta; /* ##sequester_... lines */
    struct rows_dictionary dictionary[SQ_ROWS_N_TRACK];
    const struct sq_dosage_text *number;
    /* text: the samples of a row on which nobody carries ALT, and cells that are met often; [is_haploid] */
    char format_column[24]; /* TAB, then the fields */
    char *zero_row;
    size_t n_zero_row;
    size_t *cell_at; /* [n_sample + 1] in zero_row; NULL: all are as long */
    struct rows_cell zero[2], none[2], certain[4]; /* certain: 2 * first + second */
    /* BCF: the same row, field after field; where a field's numbers begin and how many a sample has */
    uint8_t *zero_fields;
    size_t n_zero_fields, field_at[SQ_ROWS_N_FIELD];
    unsigned field_width[SQ_ROWS_N_FIELD];
    uint32_t *number_bits; /* [2001] float of thousandths */
};

/* A row looked through once for all tracks. */
struct rows_view {
    const struct sq_row *row;
    const uint16_t *milli;   /* [n_target] what is written; ROWS_NONE where nothing is known */
    const uint32_t *touched; /* [n_touched] samples that differ from "nobody carries ALT", ascending */
    uint32_t n_touched;
    enum rows_info kind; /* ROWS_IMPUTED, ROWS_TYPED, ROWS_TYPED_ONLY */
    double value[ROWS_N_INFO]; /* NAN: not said */
    /* text that the tracks share: CHROM to FILTER and a tab; INFO */
    char *site;
    size_t n_site;
    char info[192];
    size_t n_info;
};

struct rows_scratch {
    uint16_t *milli;   /* [n_target] */
    uint32_t *touched; /* [n_sample] */
    struct sq_buf site;
};

/* PP in thousandths: the probability that the order is right, of a confidence 0..255 */
static inline unsigned rows_pp(unsigned confidence)
{
    return (SQ_ROWS_MILLI + (confidence * SQ_ROWS_MILLI + 127) / 255) / 2;
}

static inline uint64_t rows_first_hap(const struct sq_rows *r, uint32_t sample)
{
    return r->first_hap ? r->first_hap[sample] : 2 * (uint64_t)sample;
}

static inline const char *rows_info_tracks(enum rows_info i)
{
    static const char *const tracks[] = {
#define SQ_ROWS_INFO(name, number, type, in, text) in,
#define SQ_ROWS_FORMAT(...)
#include "lib/formats/rows.def"
#undef SQ_ROWS_INFO
#undef SQ_ROWS_FORMAT
    };
    return tracks[i];
}

static inline bool rows_info_in(enum rows_info i, enum sq_rows_track track)
{
    return strchr(rows_info_tracks(i), "RSEP"[track]) != NULL;
}

sq_err rows_scratch_init(const struct sq_rows *r, struct rows_scratch *s) SQ_MUST_CHECK;
void rows_scratch_done(struct rows_scratch *s);
/* SQ_ELIMIT for a position or alleles that no record holds; @view points into @row and @s. */
sq_err rows_look(const struct sq_rows *r, const struct sq_row *row, struct rows_scratch *s, struct rows_view *view) SQ_MUST_CHECK;

sq_err rows_text_init(struct sq_rows *r) SQ_MUST_CHECK;
/* The text that the tracks share, into @view. */
sq_err rows_text_look(const struct sq_rows *r, struct rows_scratch *s, struct rows_view *view) SQ_MUST_CHECK;
sq_err rows_text_put(const struct sq_rows *r, enum sq_rows_track track, const struct rows_view *view, struct sq_buf *out) SQ_MUST_CHECK;

sq_err rows_bcf_init(struct sq_rows *r) SQ_MUST_CHECK;
sq_err rows_bcf_put(const struct sq_rows *r, enum sq_rows_track track, const struct rows_view *view, struct sq_buf *out) SQ_MUST_CHECK;

/* @x in 0..1 with six significant digits at @at (>= 24 bytes). Returns the end. */
char *rows_put_fraction(char *at, double x);

#endif
