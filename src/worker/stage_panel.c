/* panel: is this file a whole and sound reference panel? Every block is read; the file stays as it is. */
#include "worker/panel_port.h"

#include <stdio.h>
#include <string.h>

static sq_err report_progress(void *ctx, uint64_t done, uint64_t total)
{
    return worker_progress(ctx, done, total);
}

/* "all", then the panel's labels, as many as there is room for */
static const char *populations_of(const struct sq_panel *p, char out[WORKER_POPULATIONS_BYTES])
{
    size_t n = (size_t)snprintf(out, WORKER_POPULATIONS_BYTES, "all");
    for (uint32_t i = 0; i < sq_panel_info(p)->n_population; i++) {
        const char *label = sq_panel_population(p, i);
        if (n + 1 + strlen(label) < WORKER_POPULATIONS_BYTES)
            n += (size_t)snprintf(out + n, WORKER_POPULATIONS_BYTES - n, ",%s", label);
    }
    return out;
}

sq_err stage_panel(struct worker *w)
{
    struct panel_port p;
    sq_err e = panel_port_open(w, w->port[0], -1, &p);
    if (!e)
        e = sq_panel_verify(p.panel, report_progress, w, &w->why);
    if (!e) {
        const struct sq_panel_info *info = sq_panel_info(p.panel);
        w->counts.first_bp = (uint64_t)info->first_bp;
        w->counts.last_bp = (uint64_t)info->last_bp;
        w->counts.n_haplotype = info->n_hap;
        w->counts.n_site = info->n_site;
        w->counts.n_variant = w->counts.n_kept = info->n_record;
        w->counts.n_sample = info->n_sample;
        w->counts.is_phased = 1;
        worker_count_chrom(w, info->chrom);
        w->counts.build = sq_span_str(info->build);
        w->counts.populations = sq_span_str(populations_of(p.panel, w->counts_populations));
    }
    panel_port_close(&p);
    return e;
}
