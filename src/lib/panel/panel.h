/**
 * panel - the reference panel file `.sqp`: read, build, verify. The bytes are in docs/formats/panel.md.
 *
 * A panel is one chromosome of phased haplotypes. Records with several ALT alleles are split into rows of one ALT each. Rows
 * lie in blocks of at most 64, whose distinct haplotypes are 64-bit patterns; which haplotype carries which pattern is kept as
 * runs in positional Burrows-Wheeler order (Durbin, Bioinformatics 30:1266 (2014), block by block instead of site by site).
 * The order starts anew with every segment, so that a region can be read without what lies before it.
 *
 * The reader takes the file as a stranger's bytes: whatever is wrong with them is SQ_EPANEL with segment and block named. It
 * opens no file; it reads bytes that the caller has mapped. Nothing here knows a sample's name unless the builder was told to
 * keep names.
 */
#ifndef SQ_PANEL_PANEL_H
#define SQ_PANEL_PANEL_H

#include "lib/formats/gmap.h"
#include "lib/formats/genotypes.h"

#define SQ_PANEL_BLOCK_ROWS 64U
#define SQ_PANEL_MAX_PATTERNS 65535U
#define SQ_PANEL_MAX_SAMPLES 4194304U
#define SQ_PANEL_MAX_POPULATIONS 255U
#define SQ_PANEL_LABEL_MAX 32U /* bytes of a population's label or a build's name, NUL included */

struct sq_panel; /* opened over bytes; never changes, so threads share it */

struct sq_panel_info {
    char chrom[SQ_CHROM_MAX];
    char build[SQ_PANEL_LABEL_MAX]; /* as the builder was told; "" when it wasn't */
    uint32_t n_sample;
    uint32_t n_hap;   /* 2 a sample, 1 of a sample that is haploid in every record */
    uint32_t n_site;  /* rows: one ALT each */
    uint32_t n_record; /* records of the VCF that it was built from, but those without an ALT */
    uint32_t n_segment, n_block;
    int64_t first_bp, last_bp;
    int64_t contig_bp; /* length of the chromosome from the header; 0: not said */
    bool has_map;
    double first_cm, last_cm; /* at first_bp and last_bp */
    double origin_cm;         /* at the first row of the whole map, 0 without a map: where the grid of windows begins */
    uint64_t n_missing;       /* alleles that the source didn't have */
    uint64_t n_without_alt;   /* records without an ALT, left out */
    uint64_t n_pattern, n_run; /* over all blocks */
    uint32_t n_haploid;       /* samples that are haploid in at least one record */
    uint32_t n_population;
    bool has_names;
    uint64_t n_bytes; /* of the file */
};

/** One row: one ALT of one record. Text is the cursor's, valid until its next call; not NUL-terminated. */
struct sq_panel_site {
    int64_t pos_bp;
    double cm;
    const char *id, *ref, *alt; /* id: "." when there is none */
    uint32_t n_id, n_ref, n_alt;
    uint32_t ac, an;             /* observed ALT alleles, observed alleles: missing ones count in neither */
    uint32_t record;             /* number of the record, from 0 */
    uint32_t alt_no, n_record_alt; /* which of its ALTs this is, 1..n_record_alt */
};

/** Up to 64 consecutive rows. Arrays are the cursor's, valid until its next call. */
struct sq_panel_block {
    uint32_t no, first_site, n_site; /* n_site: 1..64 */
    uint32_t segment;
    const struct sq_panel_site *site; /* [n_site]; NULL without SQ_PANEL_SITES */
    uint32_t n_pattern;               /* 1..65535; 0 without SQ_PANEL_HAPS */
    const uint64_t *pattern;          /* [n_pattern] strictly ascending; bit s: carries the ALT of row first_site + s */
    const uint16_t *class_of;         /* [n_hap] -> pattern; NULL when not asked for */
};

/** An independent run of blocks. */
struct sq_panel_segment {
    uint32_t first_site, n_site, first_block, n_block;
    int64_t first_bp, last_bp; /* rows of one position may lie in two segments */
    double first_cm, last_cm;
};

/**
 * sq_panel_open - read the directory of the panel in @bytes[@n].
 *
 * @bytes  the whole file, mapped; must stay and not change until sq_panel_close.   borrowed
 * @map    used in place of the panel's own map, for all cM; NULL: its own, and without one 1 cM/Mb.   borrowed, as long
 * Returns SQ_EPANEL with the reason, or SQ_ENOMEM. Reads the directory, not the blocks: sq_panel_verify reads those.
 */
sq_err sq_panel_open(const void *bytes, size_t n, const struct sq_gmap *map, struct sq_why *why,
                     struct sq_panel **out) SQ_MUST_CHECK;
void sq_panel_close(struct sq_panel *p);

/** sq_panel_is - do the bytes begin as a panel file does? For telling it from a VCF; 8 bytes are enough. */
bool sq_panel_is(const void *bytes, size_t n);

const struct sq_panel_info *sq_panel_info(const struct sq_panel *p);
const struct sq_panel_segment *sq_panel_segments(const struct sq_panel *p); /* [info.n_segment] */
const struct sq_gmap *sq_panel_map(const struct sq_panel *p); /* in use; n == 0: 1 cM/Mb */
/** sq_panel_segment_at - the first segment with a row at or behind @pos_bp; n_segment when there is none. */
uint32_t sq_panel_segment_at(const struct sq_panel *p, int64_t pos_bp);

/** A pack: up to 64 blocks of one segment, unpacked together. A mark at its start is cheap to go to. */
struct sq_panel_pack {
    uint32_t segment, first_site, n_site;
};
uint32_t sq_panel_n_pack(const struct sq_panel *p);
struct sq_panel_pack sq_panel_pack(const struct sq_panel *p, uint32_t pack); /* pack < sq_panel_n_pack */

/** Samples and their haplotypes. A sample's haplotypes stand together, in the order of the VCF's columns. */
uint32_t sq_panel_sample_first_hap(const struct sq_panel *p, uint32_t sample); /* sample == n_sample: n_hap */
const char *sq_panel_population(const struct sq_panel *p, uint32_t population); /* label; population < n_population */
uint32_t sq_panel_sample_population(const struct sq_panel *p, uint32_t sample); /* n_population: has no label */

/** What a cursor is for. Sites can be walked without haplotypes, and the other way round. */
#define SQ_PANEL_SITES 1U
#define SQ_PANEL_HAPS 2U
#define SQ_PANEL_SPECIAL 4U /* which genotypes are haploid or missing: for export and verify alone */

struct sq_panel_cursor; /* one thread's; walks blocks forward */

/** sq_panel_cursor_new - at the panel's start. Memory: about 10 bytes a haplotype with SQ_PANEL_HAPS, and two packs of blocks. */
sq_err sq_panel_cursor_new(const struct sq_panel *p, unsigned what, struct sq_panel_cursor **out) SQ_MUST_CHECK;
void sq_panel_cursor_free(struct sq_panel_cursor *c);

/** sq_panel_cursor_seek - go to the start of @segment (< n_segment). */
void sq_panel_cursor_seek(struct sq_panel_cursor *c, uint32_t segment);

/**
 * sq_panel_cursor_next - the next block, over the borders of segments; *out_has false behind the last.
 *
 * @want_classes  false: the order is carried on and patterns are given, class_of is NULL (about half the work)
 * Returns SQ_EPANEL naming segment and block, or SQ_ENOMEM. After an error the cursor is fit for seek and free alone.
 */
sq_err sq_panel_cursor_next(struct sq_panel_cursor *c, bool want_classes, struct sq_why *why,
                            struct sq_panel_block *out, bool *out_has) SQ_MUST_CHECK;

/**
 * Genotypes of the block last read that aren't two observed alleles. Columns: 2 * sample and 2 * sample + 1; a haploid sample has both. Arrays
 * are the cursor's, valid until its next call.
 */
struct sq_panel_change { /* from this row of the block on the sample is haploid, or diploid again; at a segment's start all are diploid */
    uint32_t row, sample;
};
struct sq_panel_missing {
    uint32_t row, first_column, n;
};
struct sq_panel_special {
    size_t n_change, n_missing;
    const struct sq_panel_change *change;
    const struct sq_panel_missing *missing;
};
const struct sq_panel_special *sq_panel_cursor_special(const struct sq_panel_cursor *c);
uint32_t sq_panel_cursor_n_run(const struct sq_panel_cursor *c); /* runs of the block last read */

/**
 * Observed alleles of the rows of a block, by population: what AC and AN count. A haploid genotype is one allele, a missing one none.
 * Blocks must be given in order from the start of a segment, by a cursor with SQ_PANEL_HAPS | SQ_PANEL_SPECIAL.
 */
struct sq_panel_tally {
    uint32_t n_group;      /* populations, then those without a label, then all */
    uint32_t *ac, *an;     /* [64][n_group] */
    uint32_t n_missing[SQ_PANEL_BLOCK_ROWS];
    uint8_t *is_haploid;   /* [n_sample] in the block's last row */
    uint8_t *ploidies;     /* [n_sample] 1: was haploid in some row so far; 2: diploid */
    uint32_t n_ill_copied; /* haploid genotypes of the block whose two columns differ: 0 in a file that was built right */
    struct tally_work *work;
};
sq_err sq_panel_tally_new(const struct sq_panel *p, struct sq_panel_tally **out) SQ_MUST_CHECK;
void sq_panel_tally_free(struct sq_panel_tally *t);
sq_err sq_panel_tally_block(struct sq_panel_tally *t, const struct sq_panel_block *b, const struct sq_panel_special *s) SQ_MUST_CHECK;

/**
 * sq_panel_verify - read everything and compare: checksums, every number, AC and AN against the haplotypes, the directory's sums.
 *
 * @progress  bytes read of the whole; an error ends the work. NULL: none.
 * Returns SQ_EPANEL with the first thing that is wrong and where.
 */
sq_err sq_panel_verify(const struct sq_panel *p, sq_err (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx,
                       struct sq_why *why) SQ_MUST_CHECK;

/** sq_panel_names - the samples' names, each with a NUL behind it, appended to @out; S000001 and so on when they weren't kept. SQ_EPANEL. */
sq_err sq_panel_names(const struct sq_panel *p, struct sq_why *why, struct sq_buf *out) SQ_MUST_CHECK;

/**
 * sq_panel_cursor_bits - who carries the ALT of row @row (0..n_site - 1) of the block last read: bit h of @out [(n_hap + 63) / 64], the rest 0.
 * Without a want and before the next block, whether classes were asked for or not. O(carriers of the rarer allele): cheaper than classes for few rows.
 */
void sq_panel_cursor_bits(const struct sq_panel_cursor *c, uint32_t row, uint64_t *out);

/**
 * sq_panel_cursor_want - from here to the end of the segment class_of is asked for these haplotypes alone: @hap [(n_hap + 63) / 64] bits, read
 * at once. The rest of class_of is anything. Costs what is wanted and not what the panel has: a block then takes O(wanted + runs). Until the next seek
 * no mark can be made. SQ_ENOMEM.
 */
sq_err sq_panel_cursor_want(struct sq_panel_cursor *c, const uint64_t *hap) SQ_MUST_CHECK;

/** A place between two blocks of a panel and the order of haplotypes there, so that another cursor can start there. */
struct sq_panel_mark;
sq_err sq_panel_cursor_mark(struct sq_panel_cursor *c, struct sq_panel_mark **out) SQ_MUST_CHECK;
/** sq_panel_cursor_seek_mark - go where @mark was made: by a cursor of the same panel with SQ_PANEL_HAPS. */
void sq_panel_cursor_seek_mark(struct sq_panel_cursor *c, const struct sq_panel_mark *mark);
void sq_panel_mark_free(struct sq_panel_mark *mark);

#endif
