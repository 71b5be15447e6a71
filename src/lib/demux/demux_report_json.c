/* Reports/demux.json: all numbers of the tables in one place, for programs. */
#include "lib/demux/report_internal.h"

#include <stdlib.h>

static json_int_t whole(uint64_t v)
{
    return (json_int_t)v;
}

static json_t *reads_of(const struct demux_out *o, uint32_t l, const struct counts_shape *s, uint32_t row)
{
    json_t *all = json_array();
    for (uint32_t k = 0; k < s->n_kind; k++) {
        const uint64_t *v = count_kind(s, o->totals.lane[l], row, k);
        json_array_append_new(all, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I}", "read", o->plan->kind[k].name, "yield", whole(v[COUNT_YIELD]), "yield_q30", whole(v[COUNT_Q30]),
                                             "quality_sum", whole(v[COUNT_QUALITY]), "adapter_reads", whole(v[COUNT_ADAPTER_READS]), "adapter_bases", whole(v[COUNT_ADAPTER_BASES])));
    }
    return all;
}

static json_t *samples_of(const struct demux_out *o, uint32_t l, const struct counts_shape *s)
{
    json_t *all = json_array();
    for (uint32_t i = 0; i < s->n_row; i++) {
        struct report_row row = report_row_of(&o->plan->lane[l], i);
        const uint64_t *v = count_row(s, o->totals.lane[l], i);
        json_array_append_new(all, json_pack("{s:s, s:s, s:I, s:s, s:s, s:I, s:[I, I, I], s:o}", "sample_id", row.id, "project", row.project, "number", whole(row.number), "index", row.index[0],
                                             "index2", row.index[1], "reads", whole(v[COUNT_READS]), "mismatches", whole(v[COUNT_MISMATCH_0]), whole(v[COUNT_MISMATCH_1]),
                                             whole(v[COUNT_MISMATCH_2]), "files", reads_of(o, l, s, i)));
    }
    return all;
}

static json_t *cycles_of(const struct demux_out *o, uint32_t l, const struct counts_shape *s)
{
    json_t *all = json_array();
    for (uint32_t c = 0; c < s->n_cycle; c++) {
        const uint64_t *v = count_cycle(s, o->totals.lane[l], c);
        json_array_append_new(all, json_pack("{s:I, s:I, s:I}", "called", whole(v[COUNT_CYCLE_CALLED]), "q30", whole(v[COUNT_CYCLE_Q30]), "quality_sum", whole(v[COUNT_CYCLE_QUALITY])));
    }
    return all;
}

static json_t *unknown_of(const struct demux_out *o, uint32_t l, sq_err *e)
{
    struct unknown *u = NULL;
    uint32_t n = 0;
    json_t *all = json_array();
    *e = report_unknowns(o, l, &u, &n);
    for (uint32_t i = 0; i < n; i++)
        json_array_append_new(all, json_pack("{s:s, s:s, s:I}", "index", u[i].index[0], "index2", u[i].index[1], "reads", whole(u[i].n)));
    free(u);
    return all;
}

sq_err report_json(const struct demux_out *o, const struct sq_demux_result *result, struct report *r)
{
    const struct sq_demux_plan *p = o->plan;
    json_t *lanes = json_array(), *remarks = json_array();
    sq_err e = SQ_OK;
    for (uint32_t l = 0; l < p->n_lane && !e; l++) {
        struct counts_shape s = counts_shape_of(p, l);
        const uint64_t *v = o->totals.lane[l];
        json_array_append_new(lanes, json_pack("{s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "lane", whole(p->lane[l].no), "tiles", whole(p->lane[l].n_tile), "clusters", whole(v[COUNT_CLUSTERS]),
                                               "clusters_pf", whole(v[COUNT_PF]), "samples", samples_of(o, l, &s), "cycles", cycles_of(o, l, &s), "unknown", unknown_of(o, l, &e)));
    }
    for (uint32_t i = 0; i < o->n_remark && !e; i++) {
        const struct sq_run_why *w = &o->remark[i].where;
        json_array_append_new(remarks, json_pack("{s:s, s:I, s:I, s:I, s:s, s:I}", "file", w->file, "lane", whole(w->lane), "tile", whole(w->tile), "cycle", whole(w->cycle), "detail", w->detail,
                                                 "times", whole(o->remark[i].n)));
    }
    json_t *all = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:b, s:b, s:o, s:o}", "program", "sequester " SQ_VERSION, "run", p->info->id, "flowcell", p->info->flowcell, "instrument",
                            p->info->instrument, "clusters", whole(result->n_cluster), "clusters_pf", whole(result->n_pf), "identified", whole(result->n_identified), "hint",
                            result->hint, "is_complete", o->pass != PASS_EARLY, "unknown_are_lower_bounds", o->totals.tally.is_thinned, "masked", remarks, "lanes", lanes);
    char *text = all && !e ? json_dumps(all, JSON_INDENT(1)) : NULL;
    if (text)
        r->e = sq_buf_add(&r->text, text, strlen(text));
    else if (!e)
        e = sq_fail(SQ_ENOMEM);
    free(text);
    json_decref(all);
    return e;
}
