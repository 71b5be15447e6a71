/**
 * panel_build - a VCF or BCF to a panel file, in one pass, with bounded memory (docs/formats/panel.md, at its end).
 */
#ifndef SQ_PANEL_BUILD_H
#define SQ_PANEL_BUILD_H

#include "lib/panel/panel.h"

struct sq_panel_plan {
    int map_fd;         /* genetic map, any of the three formats; -1: none */
    int populations_fd; /* lines of sample name, tab, label; -1: none. Samples that it doesn't name have no label */
    const char *build;  /* e.g. "GRCh38"; NULL: not said */
    bool keep_names;
    sq_err (*progress)(void *ctx, uint64_t n_packed); /* bytes of the input so far; an error ends the work. NULL: none */
    void *ctx;
};

/** Which of the files an error is about. */
enum sq_panel_file { SQ_PANEL_FILE_INPUT,
                     SQ_PANEL_FILE_MAP,
                     SQ_PANEL_FILE_POPULATIONS,
                     SQ_PANEL_FILE_OUTPUT };

/**
 * sq_panel_build - read @in_fd to its end and write the panel to @out_fd, front to back; descriptors are borrowed.
 *
 * Returns the errors of sq_genotypes_open and _next, SQ_EMAP, SQ_EUNPHASED, SQ_ENOVARIANT, SQ_EPANEL for what a panel can't hold,
 * SQ_EFIELD for a line of the populations; *out_file says of which file (may be NULL).
 * Memory: about 40 bytes a haplotype, one pack of blocks (some 10 MiB), and what the input's largest record needs.
 */
sq_err sq_panel_build(int in_fd, int out_fd, const struct sq_panel_plan *plan, struct sq_why *why,
                      enum sq_panel_file *out_file) SQ_MUST_CHECK;

#endif
