/* What is written about the results: tables as BCL Convert names them, JSON, a page with pictures. And: do unknown barcodes look turned round? */
#include "lib/demux/report_internal.h"

#include "lib/core/file.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>

void report_add(struct report *r, const char *format, ...)
{
    char line[2048];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    sq_assert(n >= 0 && (size_t)n < sizeof line);
    if (!r->e)
        r->e = sq_buf_add(&r->text, line, (size_t)n);
}

void report_add_html(struct report *r, const char *text)
{
    for (; *text; text++)
        switch (*text) {
        case '<': report_add(r, "&lt;"); break;
        case '>': report_add(r, "&gt;"); break;
        case '&': report_add(r, "&amp;"); break;
        case '"': report_add(r, "&quot;"); break;
        default: report_add(r, "%c", *text);
        }
}

struct report_row report_row_of(const struct demux_lane *lane, uint32_t i)
{
    if (i >= lane->n_row)
        return (struct report_row){"Undetermined", "", {"", ""}, 0};
    const struct sq_sheet_sample *m = lane->row[i].sample;
    return (struct report_row){m->id, m->project, {m->index[0], m->index[1]}, m->number};
}

sq_err report_unknowns(const struct demux_out *o, uint32_t lane, struct unknown **out, uint32_t *out_n)
{
    struct tally_entry *entry;
    uint32_t n;
    const struct demux_group *g = &o->plan->lane[lane].group[0];
    sq_err e = tally_top(&o->totals.tally, lane, 0, REPORT_UNKNOWN_MOST, &entry, &n);
    if (e)
        return e;
    struct unknown *u = calloc((size_t)n + 1, sizeof *u);
    if (!u) {
        free(entry);
        return sq_fail(SQ_ENOMEM);
    }
    for (uint32_t i = 0; i < n; i++) {
        for (int k = 0; k < 2; k++)
            sq_barcode_text((struct sq_barcode_key){{entry[i].key.w[2 * k], entry[i].key.w[2 * k + 1]}}, g->index[k].n, u[i].index[k]);
        u[i].n = entry[i].n;
    }
    free(entry);
    *out = u;
    *out_n = n;
    return SQ_OK;
}

/* ---- tables ---- */

static uint64_t lane_reads(const struct demux_out *o, uint32_t l, struct counts_shape *out_shape)
{
    *out_shape = counts_shape_of(o->plan, l);
    uint64_t n = 0;
    for (uint32_t i = 0; i < out_shape->n_row; i++)
        n += count_row(out_shape, o->totals.lane[l], i)[COUNT_READS];
    return n;
}

static void demultiplex_stats(const struct demux_out *o, struct report *r)
{
    report_add(r, "Lane,SampleID,Sample_Project,Index,# Reads,# Perfect Index Reads,# One Mismatch Index Reads,# Two Mismatch Index Reads,"
                  "%% Reads,%% Perfect Index Reads,%% One Mismatch Index Reads,%% Two Mismatch Index Reads\n");
    for (uint32_t l = 0; l < o->plan->n_lane; l++) {
        struct counts_shape s;
        uint64_t all = lane_reads(o, l, &s);
        for (uint32_t i = 0; i < s.n_row; i++) {
            struct report_row row = report_row_of(&o->plan->lane[l], i);
            const uint64_t *v = count_row(&s, o->totals.lane[l], i);
            report_add(r, "%u,%s,%s,%s%s%s,%llu,%llu,%llu,%llu,%.4f,%.4f,%.4f,%.4f\n", o->plan->lane[l].no, row.id, row.project, row.index[0], *row.index[1] ? "-" : "", row.index[1],
                       (unsigned long long)v[COUNT_READS], (unsigned long long)v[COUNT_MISMATCH_0], (unsigned long long)v[COUNT_MISMATCH_1],
                       (unsigned long long)v[COUNT_MISMATCH_2], share_of(v[COUNT_READS], all), share_of(v[COUNT_MISMATCH_0], v[COUNT_READS]),
                       share_of(v[COUNT_MISMATCH_1], v[COUNT_READS]), share_of(v[COUNT_MISMATCH_2], v[COUNT_READS]));
        }
    }
}

static void quality_metrics(const struct demux_out *o, struct report *r)
{
    report_add(r, "Lane,SampleID,Sample_Project,index,index2,ReadNumber,Yield,YieldQ30,QualityScoreSum,Mean Quality Score (PF),%% Q30\n");
    for (uint32_t l = 0; l < o->plan->n_lane; l++) {
        struct counts_shape s = counts_shape_of(o->plan, l);
        for (uint32_t i = 0; i < s.n_row; i++)
            for (uint32_t k = 0; k < s.n_kind; k++) {
                struct report_row row = report_row_of(&o->plan->lane[l], i);
                const uint64_t *v = count_kind(&s, o->totals.lane[l], i, k);
                const struct demux_kind *kind = &o->plan->kind[k];
                char no[8];
                snprintf(no, sizeof no, "%s%u", kind->is_index ? "I" : "", kind->read_no);
                report_add(r, "%u,%s,%s,%s,%s,%s,%llu,%llu,%llu,%.2f,%.4f\n", o->plan->lane[l].no, row.id, row.project, row.index[0], row.index[1], no,
                           (unsigned long long)v[COUNT_YIELD], (unsigned long long)v[COUNT_Q30], (unsigned long long)v[COUNT_QUALITY],
                           share_of(v[COUNT_QUALITY], v[COUNT_YIELD]), share_of(v[COUNT_Q30], v[COUNT_YIELD]));
            }
    }
}

static void adapter_metrics(const struct demux_out *o, struct report *r)
{
    report_add(r, "Lane,Sample_ID,Sample_Project,index,index2,ReadNumber,AdapterBases,SampleBases,%% Adapter Bases\n");
    for (uint32_t l = 0; l < o->plan->n_lane; l++) {
        struct counts_shape s = counts_shape_of(o->plan, l);
        for (uint32_t i = 0; i < s.n_row; i++)
            for (uint32_t k = 0; k < s.n_kind; k++) {
                struct report_row row = report_row_of(&o->plan->lane[l], i);
                const uint64_t *v = count_kind(&s, o->totals.lane[l], i, k);
                uint32_t group = i < o->plan->lane[l].n_row ? o->plan->lane[l].row[i].group : 0;
                uint64_t all = count_row(&s, o->totals.lane[l], i)[COUNT_READS] * o->plan->lane[l].group[group].out[k].n;
                if (!o->plan->kind[k].is_index)
                    report_add(r, "%u,%s,%s,%s,%s,%u,%llu,%llu,%.4f\n", o->plan->lane[l].no, row.id, row.project, row.index[0], row.index[1], o->plan->kind[k].read_no,
                               (unsigned long long)v[COUNT_ADAPTER_BASES], (unsigned long long)(all - v[COUNT_ADAPTER_BASES]), share_of(v[COUNT_ADAPTER_BASES], all));
            }
    }
}

static void top_unknown(const struct demux_out *o, struct report *r)
{
    report_add(r, "Lane,index,index2,# Reads,%% of Unknown Barcodes,%% of All Reads\n");
    for (uint32_t l = 0; l < o->plan->n_lane && !r->e; l++) {
        struct counts_shape s;
        struct unknown *u = NULL;
        uint32_t n = 0;
        uint64_t all = lane_reads(o, l, &s), unknown = count_row(&s, o->totals.lane[l], s.n_row - 1)[COUNT_READS];
        r->e = report_unknowns(o, l, &u, &n);
        for (uint32_t i = 0; i < n; i++)
            report_add(r, "%u,%s,%s,%llu,%.6f,%.6f\n", o->plan->lane[l].no, u[i].index[0], u[i].index[1], (unsigned long long)u[i].n, share_of(u[i].n, unknown),
                       share_of(u[i].n, all));
        free(u);
    }
}

static void hopped_row(const struct demux_out *o, struct report *r, uint32_t l, const char *id, const char *project, const char *i1, const char *i2, uint64_t n,
                       uint64_t hopped, uint64_t all)
{
    report_add(r, "%u,%s,%s,%s,%s,%llu,%.6f,%.6f\n", o->plan->lane[l].no, id, project, i1, i2, (unsigned long long)n, *id ? 0.0 : share_of(n, hopped), share_of(n, all));
}

/* Pairs of the sheet, then pairs of indexes that belong to different samples. */
static void index_hopping(const struct demux_out *o, struct report *r)
{
    report_add(r, "Lane,SampleID,Sample_Project,index,index2,# Reads,%% of Hopped Reads,%% of All Reads\n");
    for (uint32_t l = 0; l < o->plan->n_lane && !r->e; l++) {
        const struct demux_lane *lane = &o->plan->lane[l];
        struct counts_shape s;
        struct tally_entry *entry = NULL;
        uint32_t n = 0;
        uint64_t all = lane_reads(o, l, &s), hopped = 0;
        if (!lane->group[0].index[1].n)
            continue;
        r->e = tally_top(&o->totals.tally, l, 1, REPORT_HOPPED_MOST, &entry, &n);
        for (uint32_t i = 0; i < n; i++)
            hopped += entry[i].n;
        for (uint32_t i = 0; i < lane->n_row; i++) {
            const struct sq_sheet_sample *m = lane->row[i].sample;
            hopped_row(o, r, l, m->id, m->project, m->index[0], m->index[1], count_row(&s, o->totals.lane[l], i)[COUNT_READS], hopped, all);
        }
        for (uint32_t i = 0; i < n; i++)
            hopped_row(o, r, l, "", "", lane->row[entry[i].key.w[0]].sample->index[0], lane->row[entry[i].key.w[1]].sample->index[1], entry[i].n, hopped, all);
        free(entry);
    }
}

/* One line a sample and lane that has reads, with its files. */
static void fastq_list(const struct demux_out *o, struct report *r)
{
    const struct sq_demux_plan *p = o->plan;
    report_add(r, "RGID,RGSM,RGLB,Lane,Read1File,Read2File\n");
    for (uint32_t l = 0; l < p->n_lane; l++) {
        for (uint32_t i = 0; i < p->lane[l].n_row; i++) {
            char path[2][512] = {"", ""};
            const struct report_row row = report_row_of(&p->lane[l], i);
            for (uint32_t k = 0; k < p->n_kind; k++)
                if (!p->kind[k].is_index && p->kind[k].read_no <= 2 && !demux_file_path(p, demux_file_no(p, l, row.number, k), path[p->kind[k].read_no - 1]))
                    path[p->kind[k].read_no - 1][0] = 0;
            report_add(r, "%s%s%s.%u,%s,UnknownLibrary,%u,%s,%s\n", row.index[0], *row.index[1] ? "." : "", row.index[1], p->lane[l].no, row.id, p->lane[l].no, path[0], path[1]);
        }
    }
}

/* ---- barcodes that look turned round ---- */

enum turn { TURN_I5,
            TURN_I7,
            TURN_BOTH,
            TURN_SWAP,
            N_TURN };

static void turned(const char *text, char out[SQ_BARCODE_MAX + 1])
{
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++) {
        char c = text[n - 1 - i];
        out[i] = c == 'A' ? 'T' : c == 'C' ? 'G'
                              : c == 'G'   ? 'C'
                              : c == 'T'   ? 'A'
                                           : 'N';
    }
    out[n] = 0;
}

static bool fits(const struct demux_lane *lane, const struct unknown *u, enum turn t)
{
    char text[2][SQ_BARCODE_MAX + 1];
    const struct demux_group *g = &lane->group[0];
    snprintf(text[0], sizeof text[0], "%s", u->index[t == TURN_SWAP]);
    snprintf(text[1], sizeof text[1], "%s", u->index[t != TURN_SWAP]);
    if (t == TURN_I7 || t == TURN_BOTH)
        turned(u->index[0], text[0]);
    if (t == TURN_I5 || t == TURN_BOTH)
        turned(u->index[1], text[1]);
    return strlen(text[0]) == g->index[0].n && strlen(text[1]) == g->index[1].n &&
           sq_barcodes_match(g->barcodes, sq_barcode_key_text(text[0]), sq_barcode_key_text(text[1])).row >= 0;
}

static sq_err hint_of_lane(const struct demux_out *o, uint32_t l, struct sq_demux_result *result)
{
    const struct demux_lane *lane = &o->plan->lane[l];
    struct counts_shape s;
    struct unknown *u;
    uint32_t n;
    uint64_t all = lane_reads(o, l, &s), found[N_TURN] = {0};
    if (!lane->group[0].barcodes || !lane->group[0].index[0].n || *result->hint)
        return SQ_OK;
    sq_err e = report_unknowns(o, l, &u, &n);
    if (e)
        return e;
    for (uint32_t i = 0; i < n; i++)
        for (int t = 0; t < N_TURN; t++)
            if (lane->group[0].index[1].n || t == TURN_I7)
                found[t] += fits(lane, &u[i], (enum turn)t) ? u[i].n : 0;
    free(u);
    int best = 0;
    for (int t = 1; t < N_TURN; t++)
        best = found[t] > found[best] ? t : best;
    if (share_of(found[best], all) < 0.1)
        return SQ_OK;
    bool is_reverse = lane->group[0].is_reverse[1];
    static const char *const what[N_TURN] = {"index 2 of the sheet were reverse-complemented", "index 1 of the sheet were reverse-complemented",
                                             "both indexes of the sheet were reverse-complemented", "index 1 and index 2 of the sheet were exchanged"};
    snprintf(result->hint, sizeof result->hint, "lane %u: %.0f %% more of the reads would find their sample if %s%s", lane->no, 100 * share_of(found[best], all), what[best],
             best != TURN_I5 ? ": correct the sheet" : is_reverse ? ": try --i5 as-read"
                                                                  : ": try --i5 reverse-complement");
    return SQ_OK;
}

/* When hardly anything was found and no lane has a better reason. */
static void hint_of_all(const struct demux_out *o, struct sq_demux_result *result)
{
    bool has_barcodes = false;
    for (uint32_t l = 0; l < o->plan->n_lane; l++)
        for (uint32_t i = 0; i < o->plan->lane[l].n_group; i++)
            has_barcodes = has_barcodes || (o->plan->lane[l].group[i].barcodes && o->plan->lane[l].group[i].index[0].n);
    if (*result->hint)
        return;
    if (result->n_cluster && !result->n_read)
        snprintf(result->hint, sizeof result->hint, "no cluster passed the filter, so nothing was written: are the filter files those of this run? --keep-failed writes all clusters");
    else if (has_barcodes && result->n_read >= 100 && share_of(result->n_identified, result->n_read) < 0.1)
        snprintf(result->hint, sizeof result->hint, "hardly any read found its sample: is this the sheet of this run? Reports/Top_Unknown_Barcodes.csv has what was read");
}

/* ---- all ---- */

static void sums(const struct demux_out *o, struct sq_demux_result *result)
{
    for (uint32_t l = 0; l < o->plan->n_lane; l++) {
        struct counts_shape s = counts_shape_of(o->plan, l);
        result->n_cluster += o->totals.lane[l][COUNT_CLUSTERS];
        result->n_pf += o->totals.lane[l][COUNT_PF];
        for (uint32_t i = 0; i < s.n_row; i++) {
            uint64_t n = count_row(&s, o->totals.lane[l], i)[COUNT_READS];
            result->n_read += n;
            result->n_identified += i + 1 < s.n_row ? n : 0;
        }
    }
}

static sq_err write_report(int dir, const char *name, struct report *r)
{
    if (demux_step())
        demux_die();
    sq_err e = r->e ? r->e : sq_file_write(dir, name, r->text.p, r->text.n, 0600); /* the very mode, whatever the umask is */
    sq_buf_clear(&r->text);
    r->e = SQ_OK;
    return e;
}

sq_err demux_reports(struct demux_out *o, struct sq_demux_result *result)
{
    static const struct {
        const char *name;
        void (*write)(const struct demux_out *o, struct report *r);
    } table[] = {{"Demultiplex_Stats.csv", demultiplex_stats}, {"Quality_Metrics.csv", quality_metrics}, {"Adapter_Metrics.csv", adapter_metrics},
                 {"Top_Unknown_Barcodes.csv", top_unknown}, {"Index_Hopping_Counts.csv", index_hopping}, {"fastq_list.csv", fastq_list}};
    struct report r = {.e = SQ_OK};
    int dir = -1;
    sq_buf_init(&r.text, (size_t)1 << 31);
    *result = (struct sq_demux_result){.n_remark = o->n_remark, .remark = o->remark};
    sums(o, result);
    sq_err e = sq_dir_open(o->dir, "Reports", 0777, &dir);
    for (uint32_t l = 0; l < o->plan->n_lane && !e; l++)
        e = hint_of_lane(o, l, result);
    if (!e)
        hint_of_all(o, result);
    for (size_t i = 0; i < sizeof table / sizeof table[0] && !e; i++) {
        table[i].write(o, &r);
        e = write_report(dir, table[i].name, &r);
    }
    if (!e)
        e = demux_index_report(o, dir);
    if (!e)
        e = report_json(o, result, &r);
    if (!e)
        e = write_report(dir, "demux.json", &r);
    if (!e) {
        report_html(o, result, &r);
        e = write_report(dir, "report.html", &r);
    }
    sq_close(&dir);
    sq_buf_done(&r.text);
    return e;
}
