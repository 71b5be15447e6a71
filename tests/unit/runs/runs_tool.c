/*
 * What the readers of lib/runs say of a run folder, as text that runs_test.py compares with an independent reader.
 *
 *     runs_tool info DIR              RunInfo, kinds, tiles
 *     runs_tool reads DIR             each cluster that passed: lane tile cluster x y bases qualities
 *     runs_tool raw DIR               each cycle of each tile as it lies there: lane tile cycle is_pf_only n checksum
 *     runs_tool summary DIR           Run Summary and Indexing QC, whole numbers
 *     runs_tool interop DIR           every record of every InterOp file
 *     runs_tool check DIR             every cycle of every tile with its filter: the errors, a line each; state of each cycle
 */
#include "lib/runs/run_summary.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static sq_err say(sq_err e, const struct sq_run_why *why)
{
    char text[600];
    sq_run_why_text(why, text, sizeof text);
    printf("%s %s\n", sq_err_name(e), text);
    return e;
}

static void info(const struct sq_run *run)
{
    const struct sq_run_info *i = sq_run_info_of(run);
    static const char *const kinds[] = {"none", "bcl", "bcl.gz", "bgzf", "cbcl"}, *const positions[] = {"none", "s.locs", "locs", "clocs", "lane locs", "text"};
    printf("version %u id %s number %llu flowcell %s instrument %s date %s\n", i->version, i->id, (unsigned long long)i->number, i->flowcell, i->instrument, i->date);
    for (uint32_t r = 0; r < i->n_read; r++)
        printf("read %u first %u cycles %u index %d rc %d\n", i->read[r].number, i->read[r].first_cycle, i->read[r].n_cycle, i->read[r].is_index,
               i->read[r].is_reverse_complement);
    printf("cycles %u calls %s positions %s application %s\n", i->n_cycle, kinds[sq_run_calls_kind(run)], positions[sq_run_positions_kind(run)],
           sq_run_params_of(run)->application);
    for (uint32_t l = 1; l <= sq_run_n_lane(run); l++) {
        uint32_t n;
        const struct sq_run_tile *t = sq_run_tiles(run, l, &n);
        printf("lane %u:", l);
        for (uint32_t k = 0; k < n; k++)
            printf(" %u/%u", t[k].tile, t[k].surface);
        printf("\n");
    }
}

static sq_err reads_of_tile(const struct sq_run *run, struct sq_calls *r, const struct sq_run_tile *t)
{
    struct sq_run_why why;
    struct sq_filter pf = {0};
    struct sq_positions at = {0};
    uint32_t n_cycle = sq_run_info_of(run)->n_cycle, n = 0;
    uint8_t *calls = NULL;
    sq_err e = sq_filter_read(run, t, &why, &pf);
    if (e)
        return say(e, &why);
    if ((e = sq_positions_read(run, t, &why, &at)))
        say(e, &why);
    calls = malloc((size_t)n_cycle * (pf.n_pf + 1U));
    sq_assert(calls);
    memset(calls, 0, (size_t)n_cycle * (pf.n_pf + 1U));
    for (uint32_t c = 1; c <= n_cycle; c++) {
        e = sq_calls_read(r, t, c, &pf, calls + (size_t)(c - 1) * pf.n_pf, pf.n_pf, &why, &n);
        if (e)
            say(e, &why);
        else
            sq_assert(n == pf.n_pf);
    }
    char *line = malloc(2 * (size_t)n_cycle + 2);
    sq_assert(line);
    for (uint32_t i = 0, k = 0; i < pf.n_cluster; i++) {
        if (!(pf.pass[i / 64] >> (i % 64) & 1))
            continue;
        for (uint32_t c = 0; c < n_cycle; c++) {
            uint8_t call = calls[(size_t)c * pf.n_pf + k];
            line[c] = call ? "ACGT"[sq_call_base(call)] : 'N';
            line[n_cycle + 1 + c] = call ? (char)(33 + sq_call_quality(call)) : '#';
        }
        line[n_cycle] = ' ';
        line[2 * n_cycle + 1] = 0;
        printf("%u %u %u %d %d %s\n", t->lane, t->tile, i, i < at.n ? at.x[i] : -1, i < at.n ? at.y[i] : -1, line);
        k++;
    }
    free(line);
    free(calls);
    sq_filter_done(&pf);
    sq_positions_done(&at);
    return SQ_OK;
}

static void raw_of_tile(const struct sq_run *run, struct sq_calls *r, const struct sq_run_tile *t)
{
    for (uint32_t c = 1; c <= sq_run_info_of(run)->n_cycle; c++) {
        struct sq_run_why why;
        struct sq_calls_look look;
        uint32_t n = 0, sum = 0;
        sq_err e = sq_calls_look(r, t, c, &why, &look);
        uint8_t *calls = e ? NULL : malloc(look.n_cluster + 1U);
        if (!e)
            e = sq_calls_read(r, t, c, NULL, calls, look.n_cluster, &why, &n);
        for (uint32_t i = 0; i < n; i++)
            sum = sum * 31 + calls[i];
        if (e)
            say(e, &why);
        else
            printf("%u %u %u %d %u %u\n", t->lane, t->tile, c, look.is_pf_only, n, sum);
        free(calls);
    }
}

static void check_tile(const struct sq_run *run, struct sq_calls *r, const struct sq_run_tile *t)
{
    struct sq_run_why why;
    struct sq_filter pf = {0};
    sq_err filtered = sq_filter_read(run, t, &why, &pf);
    if (filtered)
        say(filtered, &why);
    for (uint32_t c = 1; c <= sq_run_info_of(run)->n_cycle; c++) {
        struct sq_calls_look look = {0};
        uint32_t n = 0;
        sq_err e = sq_calls_look(r, t, c, &why, &look);
        size_t cap = filtered ? look.n_cluster : pf.n_pf;
        uint8_t *calls = malloc(cap + 1);
        sq_assert(calls);
        if (!e)
            e = sq_calls_read(r, t, c, filtered ? NULL : &pf, calls, cap, &why, &n);
        if (e)
            say(e, &why);
        free(calls);
    }
    sq_filter_done(&pf);
}

static void states(const struct sq_run *run, struct sq_calls *r)
{
    for (uint32_t l = 1; l <= sq_run_n_lane(run); l++)
        for (uint32_t c = 1; c <= sq_run_info_of(run)->n_cycle; c++) {
            struct sq_run_why why;
            enum sq_cycle_state state = SQ_CYCLE_WHOLE;
            sq_err e = sq_calls_state(r, l, c, &why, &state);
            if (e)
                printf("state lane %u cycle %u %s\n", l, c, sq_err_name(e));
            else if (state != SQ_CYCLE_WHOLE)
                printf("state lane %u cycle %u %s\n", l, c, state == SQ_CYCLE_ABSENT ? "absent" : "partial");
        }
}

static void level(const char *name, const struct sq_run_level *l)
{
    printf("level %s yield_g %.9g projected_yield_g %.9g percent_aligned %.9g error_rate %.9g first_cycle_intensity %.9g percent_gt_q30 %.9g percent_occupied %.9g\n",
           name, l->yield_g, l->projected_yield_g, l->aligned, l->error_rate, l->intensity_c1, l->q30, l->occupied);
}

static void summary(const struct sq_run *run)
{
    struct sq_run_why why;
    struct sq_run_summary s;
    sq_err e = sq_run_summarize(run, &why, &s);
    if (e) {
        say(e, &why);
        return;
    }
    for (uint32_t r = 0; r < s.n_read; r++) {
        char name[16];
        snprintf(name, sizeof name, "%u", s.read[r].number);
        level(name, &s.read[r].level);
        for (uint32_t i = 0; i < s.read[r].n_row; i++) {
            const struct sq_run_lane_summary *l = &s.read[r].row[i];
            printf("row %u %u %u tile_count %u reads %.9g reads_pf %.9g yield_g %.9g projected_yield_g %.9g percent_gt_q30 %.9g", s.read[r].number, l->lane, l->surface,
                   l->n_tile, l->reads, l->reads_pf, l->yield_g, l->projected_yield_g, l->q30);
            const struct {
                const char *name;
                struct sq_run_stat v;
            } stats[] = {{"density", l->density}, {"percent_pf", l->percent_pf}, {"phasing", l->phasing}, {"prephasing", l->prephasing}, {"percent_aligned", l->aligned},
                         {"error_rate", l->error}, {"error_rate_35", l->error_35}, {"error_rate_75", l->error_75}, {"error_rate_100", l->error_100},
                         {"percent_occupied", l->occupied}, {"first_cycle_intensity", l->intensity_c1}, {"phasing_slope", l->phasing_slope},
                         {"phasing_offset", l->phasing_offset}, {"prephasing_slope", l->prephasing_slope}, {"prephasing_offset", l->prephasing_offset}};
            for (size_t k = 0; k < sizeof stats / sizeof stats[0]; k++)
                printf(" %s.mean %.9g %s.stddev %.9g", stats[k].name, stats[k].v.mean, stats[k].name, stats[k].v.sd);
            printf(" error_first %u error_last %u\n", l->error_first, l->error_last);
        }
    }
    level("nonindex", &s.non_index);
    level("total", &s.total);
    for (uint32_t i = 0; i < s.n_index_lane; i++) {
        const struct sq_run_index_lane *l = &s.index[i];
        printf("index %u reads %.9g pf %.9g identified %.9g cv %.9g min %.9g max %.9g\n", l->lane, l->reads, l->reads_pf, l->identified, l->cv, l->least, l->most);
        for (uint32_t k = 0; k < l->n_row; k++)
            printf("sample %u %s %s %s %s %.9g %llu\n", l->lane, l->row[k].sample, l->row[k].project, l->row[k].index[0], l->row[k].index[1], l->row[k].percent,
                   (unsigned long long)l->row[k].n_cluster);
    }
    sq_run_summary_done(&s);
}

static sq_err record(void *ctx, const struct sq_interop_head *h, const struct sq_interop_record *r)
{
    enum sq_interop_kind kind = *(enum sq_interop_kind *)ctx;
    printf("%s %u: %u %u %u %u", sq_interop_name(kind), h->version, r->lane, r->tile, r->cycle, r->read);
    switch (kind) {
    case SQ_INTEROP_Q:
    case SQ_INTEROP_Q_BY_LANE:
        for (uint32_t i = 0; i < h->n_bin; i++)
            printf(" %u:%u", h->has_bins ? h->bin_value[i] : i + 1, r->u.q.count[i]);
        break;
    case SQ_INTEROP_Q2030: printf(" %u %u %u %u", r->u.q2030.q20, r->u.q2030.q30, r->u.q2030.total, r->u.q2030.median); break;
    case SQ_INTEROP_TILE:
        printf(" %u %.6g %.6g %.6g %.6g", r->u.tile.code, (double)r->u.tile.value, (double)r->u.tile.n_cluster, (double)r->u.tile.n_cluster_pf, (double)r->u.tile.aligned);
        break;
    case SQ_INTEROP_EXTENDED_TILE: printf(" %.6g", (double)r->u.extended.n_occupied); break;
    case SQ_INTEROP_EXTRACTION:
        for (uint32_t i = 0; i < h->n_channel; i++)
            printf(" %.6g/%u", (double)r->u.extraction.focus[i], r->u.extraction.intensity[i]);
        break;
    case SQ_INTEROP_CORRECTED:
        for (uint32_t i = 0; i < 5; i++)
            printf(" %u", r->u.corrected.called[i]);
        printf(" %u %.6g", r->u.corrected.mean, (double)r->u.corrected.signal_to_noise);
        for (uint32_t i = 0; i < 4; i++)
            printf(" %u/%u", r->u.corrected.called_intensity[i], r->u.corrected.corrected[i]);
        break;
    case SQ_INTEROP_INDEX: printf(" %s %llu %s %s", r->u.index.index, (unsigned long long)r->u.index.n_cluster, r->u.index.sample, r->u.index.project); break;
    case SQ_INTEROP_ERROR: printf(" %.6g %.6g", (double)r->u.error.rate, (double)r->u.error.adapter); break;
    case SQ_INTEROP_PHASING: printf(" %.6g %.6g", (double)r->u.phasing.phasing, (double)r->u.phasing.prephasing); break;
    case SQ_INTEROP_IMAGE:
        for (uint32_t i = 0; i < h->n_channel; i++)
            printf(" %u/%u", r->u.image.low[i], r->u.image.high[i]);
        break;
    case SQ_INTEROP_KINDS: break;
    }
    printf("\n");
    return SQ_OK;
}

static void interop(const struct sq_run *run)
{
    for (enum sq_interop_kind k = 0; k < SQ_INTEROP_KINDS; k++) {
        struct sq_run_why why;
        struct sq_interop_end end;
        sq_err e = sq_interop_read(run, k, &why, record, &k, &end);
        if (e && e != SQ_ERUNMISSING)
            say(e, &why);
        if (!e)
            printf("%s end: %llu records, %u bytes left\n", sq_interop_name(k), (unsigned long long)end.n_record, end.n_left);
    }
}

int main(int argc, char **argv)
{
    struct sq_run_why why;
    struct sq_run *run = NULL;
    struct sq_calls *r = NULL;
    int dir = argc == 3 ? open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (dir < 0)
        return 2;
    struct sq_run_files files = sq_run_files_dir(&dir);
    sq_err e = sq_run_open(&files, &why, &run);
    if (e)
        say(e, &why);
    if (!e && !strcmp(argv[1], "info"))
        info(run);
    if (!e && !strcmp(argv[1], "summary"))
        summary(run);
    if (!e && !strcmp(argv[1], "interop"))
        interop(run);
    if (!e)
        e = sq_calls_new(run, &r);
    for (uint32_t l = 1; !e && l <= sq_run_n_lane(run); l++) {
        uint32_t n;
        const struct sq_run_tile *t = sq_run_tiles(run, l, &n);
        for (uint32_t k = 0; k < n; k++)
            if (!strcmp(argv[1], "reads"))
                reads_of_tile(run, r, &t[k]);
            else if (!strcmp(argv[1], "raw"))
                raw_of_tile(run, r, &t[k]);
            else if (!strcmp(argv[1], "check"))
                check_tile(run, r, &t[k]);
    }
    if (!e && !strcmp(argv[1], "check"))
        states(run, r);
    sq_calls_free(r);
    sq_run_close(run);
    close(dir);
    return e ? 1 : 0;
}
