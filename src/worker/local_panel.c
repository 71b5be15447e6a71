/* sequester panel ... */
#include "worker/local.h"

int local_panel_check(struct local *l)
{
    const char *panel = l->opt[LOCAL_panel], *map = l->opt[LOCAL_map];
    if (!panel)
        return local_misused(l, "--panel is needed");
    int fd_panel = local_open_input(panel), fd_map = map ? local_open_input(map) : local_memory("no map");
    if (fd_panel < 0 || fd_map < 0)
        return local_cannot_open(fd_panel < 0 ? panel : map);
    struct sq_why why = {0};
    sq_err e = local_run_stage(l, "panel", (const int[]){fd_panel, fd_map}, map ? 0 : SQ_WORK_NO_MAP, &why);
    if (e)
        return local_say_error(e == SQ_EMAP ? map : panel, e, &why);
    printf("panel    %llu haplotypes, %llu sites, chromosome %s:%llu-%llu%s\n", (unsigned long long)l->counts.n_haplotype,
           (unsigned long long)l->counts.n_site, l->chrom, (unsigned long long)l->counts.first_bp, (unsigned long long)l->counts.last_bp,
           map ? "; the map fits" : "");
    return 0;
}
