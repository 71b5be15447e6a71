/**
 * panel_export - a panel as VCF or BCF again, and the list of its sites.
 *
 * What comes back is said in docs/formats/panel.md: positions, IDs, alleles and genotypes as they were; AC and AN counted anew; FILTER
 * and QUAL are dots. Samples have their names when the panel kept them, else S000001 and so on.
 */
#ifndef SQ_PANEL_EXPORT_H
#define SQ_PANEL_EXPORT_H

#include "lib/panel/panel.h"

enum sq_panel_container { SQ_PANEL_VCF,    /* plain text */
                          SQ_PANEL_VCF_GZ, /* bgzipped */
                          SQ_PANEL_BCF };

struct sq_panel_export {
    enum sq_panel_container container;
    int64_t from_bp, to_bp; /* records whose POS lies in it; 0: from the start, to the end */
    bool is_table;          /* sites: tab separated columns in place of VCF (container: plain text or bgzipped) */
    sq_err (*progress)(void *ctx, uint64_t done, uint64_t total); /* NULL: none */
    void *ctx;
};

/** sq_panel_export - records with their genotypes to @fd. SQ_EPANEL, SQ_ENOVARIANT when no record lies in the region, SQ_EIO, SQ_EFULL. */
sq_err sq_panel_export(const struct sq_panel *p, const struct sq_panel_export *how, int fd, struct sq_why *why) SQ_MUST_CHECK;

/**
 * sq_panel_sites - one line an ALT: ID CHROM POS REF ALT AAF_ALL MAF_ALL, and AAF_x MAF_x of each population x; as VCF (never BCF) the same
 * in INFO as AF, MAF, AF_x with AC and AN. A frequency of nobody is written as 0.
 */
sq_err sq_panel_sites(const struct sq_panel *p, const struct sq_panel_export *how, int fd, struct sq_why *why) SQ_MUST_CHECK;

#endif
