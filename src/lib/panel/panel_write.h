/* panel_write - packs and the directory as bytes, front to back. Not for other rooms. */
#ifndef SQ_PANEL_WRITE_H
#define SQ_PANEL_WRITE_H

#include "lib/panel/panel_build.h"
#include "lib/panel/panel_internal.h"

struct panel_totals {
    uint32_t n_record;
    uint64_t n_row, n_block, n_missing, n_without_alt, n_pattern, n_run;
    uint64_t n_plain; /* records that were taken as stored */
};

struct panel_pack {
    int64_t first_bp, last_bp;
    uint32_t n_block, n_record;
    bool ends_segment;
};

/* What the directory says beside the packs. */
struct panel_facts {
    const struct sq_genotypes *in;
    const struct sq_panel_plan *plan;
    const struct sq_gmap *map; /* whole; n == 0: none */
    const struct panel_totals *totals;
    const uint8_t *was_haploid, *was_diploid; /* [n_sample] */
};

struct panel_writer;
/* panel_writer_new - write the header, read the populations. */
sq_err panel_writer_new(int fd, const struct sq_panel_plan *plan, const struct sq_genotypes *in, struct sq_why *why,
                        enum sq_panel_file *about, struct panel_writer **out) SQ_MUST_CHECK;
void panel_writer_free(struct panel_writer *w);
sq_err panel_writer_pack(struct panel_writer *w, const struct panel_pack *p, const struct sq_buf *block_rows, const struct sq_buf *site,
                         const struct sq_buf *hap) SQ_MUST_CHECK;
int64_t panel_writer_first_bp(const struct panel_writer *w);
sq_err panel_writer_end(struct panel_writer *w, const struct panel_facts *f) SQ_MUST_CHECK;

/* panel_populations_read - labels of the samples of @in from lines of name, tab, label. *out_of: [n_sample], n_label: none. */
sq_err panel_populations_read(int fd, const struct sq_genotypes *in, struct sq_why *why, char (**out_label)[SQ_PANEL_LABEL_MAX],
                              uint32_t *out_n_label, uint8_t **out_of) SQ_MUST_CHECK;

#endif
