/* panel: can this file serve as a reference panel, and this one as its map? Counts only; the files stay as they are. */
#include "worker/panel_reader.h"

#include "lib/formats/gmap.h"

#include <sys/stat.h>

static sq_err read_panel(struct worker *w, struct panel_reader *p)
{
    struct stat st = {0};
    uint64_t total = fstat(w->port[0], &st) ? 0 : (uint64_t)st.st_size;
    for (;;) {
        struct panel_record r;
        bool has;
        sq_err e = panel_reader_next(p, &w->why, &r, &has);
        if (e)
            return e;
        if (!has)
            break;
        if (!w->counts.n_site++)
            w->counts.first_bp = (uint64_t)r.site.pos_bp;
        w->counts.last_bp = (uint64_t)r.site.pos_bp;
        e = worker_progress(w, sq_genotypes_n_packed(panel_reader_genotypes(p)), total);
        if (e)
            return e;
    }
    if (!w->counts.n_site)
        return sq_why_set(&w->why, sq_fail(SQ_EPANEL), 0, 0, "file", "the panel has no records");
    const struct sq_genotypes *g = panel_reader_genotypes(p);
    w->counts.n_haplotype = panel_reader_n_hap(p);
    w->counts.format = (uint8_t)sq_genotypes_format(g);
    w->counts.is_phased = 1;
    w->counts.n_sample = sq_genotypes_n_sample(g);
    w->counts.n_variant = w->counts.n_kept = w->counts.n_site;
    worker_count_chrom(w, sq_genotypes_chrom(g));
    return SQ_OK;
}

sq_err stage_panel(struct worker *w)
{
    struct panel_reader *p = NULL;
    struct sq_gmap map = {0};
    sq_err e = panel_reader_open(w->port[0], false, &w->why, &p);
    if (!e)
        e = read_panel(w, p);
    if (!e && !(w->flags & SQ_WORK_NO_MAP))
        e = sq_gmap_read(w->port[1], w->counts_chrom, &w->why, &map);
    sq_gmap_done(&map);
    panel_reader_close(p);
    return e;
}
