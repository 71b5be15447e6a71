/**
 * panel_reader - the reference panel as the stages need it: biallelic, phased, complete, one chromosome.
 *
 * Whatever is wrong with a panel is SQ_EPANEL, with the record and the reason: it is the operator's file, and a user who
 * meets the error must not be told that his own data is bad.
 */
#ifndef SQ_WORKER_PANEL_READER_H
#define SQ_WORKER_PANEL_READER_H

#include "worker/worker.h"

struct panel_record {
    struct sq_record site; /* n_alt == 1 */
    uint32_t n_carrier;    /* of the rarer allele */
    bool carriers_have_ref;
    const uint32_t *carrier; /* the reader's, until the next record */
};

struct panel_reader;
/** panel_reader_open - @sites_only: no carriers. */
sq_err panel_reader_open(int fd, bool sites_only, struct sq_why *why, struct panel_reader **out) SQ_MUST_CHECK;
void panel_reader_close(struct panel_reader *p);
sq_err panel_reader_next(struct panel_reader *p, struct sq_why *why, struct panel_record *out,
                         bool *out_has) SQ_MUST_CHECK;
/** panel_reader_n_hap - haplotypes; known after the first record (0 with sites_only). */
uint32_t panel_reader_n_hap(const struct panel_reader *p);
const struct sq_genotypes *panel_reader_genotypes(const struct panel_reader *p);

#endif
