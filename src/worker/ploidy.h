/**
 * ploidy - how many haplotypes each sample has, and which part of chromosome X a position lies in.
 *
 * A missing call doesn't always tell: `.` is written for one haplotype and for two. The stages behind qc must know at the first record, so the
 * first records are held back until each sample has had a call; from then on missing calls are written as many as there are haplotypes.
 * A sample with no call in all that is held back counts as the way its missing calls are written, `.` being one haplotype only where others have one.
 */
#ifndef SQ_WORKER_PLOIDY_H
#define SQ_WORKER_PLOIDY_H

#include "lib/formats/genotypes.h"

#define PLOIDY_HOLD_RECORDS 1000U
#define PLOIDY_HOLD_BYTES ((size_t)64 << 20)

struct ploidy_held;
struct ploidy {
    uint32_t n_sample, n_unknown, n_haploid;
    uint8_t *of;        /* [n_sample] 0: not known yet, 1, 2 */
    uint8_t *has_pair;  /* [n_sample] a missing call was written ./. */
    uint8_t *gt;        /* [2 * n_sample] of the record that is written */
    uint32_t *set;      /* [n_sample] */
    struct ploidy_held *held; /* [n_held] */
    uint32_t n_held;
    size_t held_bytes;
    bool is_open; /* nothing is held back any more */
};

sq_err ploidy_open(uint32_t n_sample, struct ploidy *out) SQ_MUST_CHECK;
void ploidy_close(struct ploidy *p);
/** ploidy_put - @r, in its turn, to @to. SQ_EPLOIDY when a sample has another number of haplotypes than before. */
sq_err ploidy_put(struct ploidy *p, const struct sq_record *r, struct sq_bcf_writer *to, struct sq_why *why) SQ_MUST_CHECK;
/** ploidy_end - what is still held back. @to may be NULL when nothing was put. */
sq_err ploidy_end(struct ploidy *p, struct sq_bcf_writer *to) SQ_MUST_CHECK;

/* ---- chromosome X ---- */
enum x_part { X_NONE, /* another chromosome */
              X_PAR1,
              X_ONLY,
              X_PAR2 };
/** x_part_of - @is_b38: positions of GRCh38, else of GRCh37. */
enum x_part x_part_of(const char *chrom, bool is_b38, int64_t pos_bp);
/** x_is_b38 - by the chromosome's length (0: not known), what the panel's maker called the build, or "chr" in front. */
bool x_is_b38(const char *chrom, uint64_t length_bp, const char *build);

#endif
