/**
 * demux/barcodes - which sample do these index bases belong to?
 *
 * Two rules. Per index (the default): each index of a sample lies within its own number of mismatches of what was read, and no other sample
 * does; N in the read is a mismatch. Concatenated: over all indexes together at most max_mismatch bases differ (N doesn't count as one,
 * but at most max_no_call may be N), and the second best sample has at least min_delta more.
 *
 * An index of up to SQ_BARCODE_MAX bases is a key of three bits a base (two for the base, one for N). Keys within the mismatches of some
 * barcode stand in a hash table when they are few; otherwise barcodes are gone through one by one. Both give the same answer.
 */
#ifndef SQ_DEMUX_BARCODES_H
#define SQ_DEMUX_BARCODES_H

#include "lib/core/buf.h"

#define SQ_BARCODE_MAX 42U /* bases of one index: two words of 21 */

struct sq_barcode_key {
    uint64_t w[2]; /* three bits a base, base 0 in the highest of w[0]; unused bits 0 */
};

struct sq_barcode_row { /* of one sample in one lane */
    const char *index[2];   /* ACGTN; an N of the sheet matches any base. All rows: as long as n_base says; "" when that is 0 */
    uint32_t mismatches[2];
};

struct sq_barcode_rule {
    bool is_concatenated;
    uint32_t max_mismatch, min_delta, max_no_call; /* of the concatenated rule: 1, 1, 2 */
};

struct sq_barcode_match {
    int32_t row;        /* -1: none */
    uint32_t mismatches; /* over both indexes; of the row that matched */
    bool is_exact;       /* what was read is what the row says, letter by letter */
    int32_t hop[2];     /* rows whose index 1, index 2 alone was read without doubt, when no row has both; else -1 */
};

struct sq_barcodes;

/**
 * sq_barcodes_new - for @n rows; @n_base: bases of index 1 and 2, each up to SQ_BARCODE_MAX, 0: there is none. Both 0: row 0 has everything.
 * @max_variants: how many keys may be put into a table (0: none; SQ_BARCODE_VARIANTS otherwise). Rows are borrowed for the call.
 */
#define SQ_BARCODE_VARIANTS 2000000U
sq_err sq_barcodes_new(const struct sq_barcode_row *row, uint32_t n, const uint32_t n_base[2], const struct sq_barcode_rule *rule, uint32_t max_variants,
                       struct sq_barcodes **out) SQ_MUST_CHECK;
void sq_barcodes_free(struct sq_barcodes *b);

/** sq_barcode_key - of @n bases as calls (0: N, else base in bits 0 and 1). @is_reverse: of the reverse complement of them. */
struct sq_barcode_key sq_barcode_key(const uint8_t *call, uint32_t n, bool is_reverse);
/** sq_barcode_text - the @n bases of @key, NUL behind. */
void sq_barcode_text(struct sq_barcode_key key, uint32_t n, char *out);
struct sq_barcode_key sq_barcode_key_text(const char *text);

/** sq_barcodes_match - threads may share @b. */
struct sq_barcode_match sq_barcodes_match(const struct sq_barcodes *b, struct sq_barcode_key k1, struct sq_barcode_key k2);

/**
 * sq_barcodes_collide - could one read belong to both rows? Per index: both indexes can be within reach of both rows (@is_independent: one
 * of them suffices). *out_distance: bases that differ in each index.
 */
bool sq_barcodes_collide(const struct sq_barcode_row *a, const struct sq_barcode_row *b, const uint32_t n_base[2], const struct sq_barcode_rule *rule,
                         bool is_independent, uint32_t out_distance[2]);

#endif
