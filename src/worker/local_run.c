/*
 * sequester run check, sequester run summary: is the folder of a run whole; what its metrics say.
 *
 * This process opens the folder; a child of its own, that can read below it and nothing else, does the rest and prints. Its text comes from
 * numbers and from names of ours; names of the run and of samples lose their control characters where they are read.
 */
#include "worker/local.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/demux/demux.h"
#include "lib/runs/run_check.h"
#include "lib/runs/run_summary.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct work {
    struct local *l;
    const char *path;
    int dir;
    struct sq_run *run;
    int64_t start_ms;
};

static int say_error(const struct work *w, sq_err e, const struct sq_run_why *why)
{
    char text[600];
    if (!why->file[0] && !why->detail[0])
        return local_say_error(w->path, e, NULL);
    sq_run_why_text(why, text, sizeof text);
    if (e == SQ_ERUNMISSING && !strncmp(why->file, "InterOp/", 8))
        return fprintf(stderr, "sequester: %s: %s\n  copy the folder InterOp from the instrument, too: the tables are made of it\n", w->path, text), 1;
    fprintf(stderr, "sequester: %s: %s\n  %s\n  %s\n", w->path, text, local_text(e), local_hint(e));
    return 1;
}

static sq_err open_run(struct work *w, struct sq_run_why *why)
{
    struct sq_run_files files = sq_run_files_dir(&w->dir);
    return sq_run_open(&files, why, &w->run);
}

/* ---- json: NAN and what isn't known is null ---- */

static json_t *number(double v)
{
    return isnan(v) || isinf(v) ? json_null() : json_real(v);
}

static void set(json_t *o, const char *key, json_t *v)
{
    json_object_set_new(o, key, v ? v : json_null());
}

static void set_n(json_t *o, const char *key, uint64_t v)
{
    set(o, key, json_integer((json_int_t)v));
}

/* text of a stranger that needn't be UTF-8 */
static json_t *text_of(const char *s)
{
    json_t *t = json_string(s);
    return t ? t : json_string("");
}

static int print_json(json_t *o)
{
    bool is_good = o && !json_dumpf(o, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) && putchar('\n') != EOF && !fflush(stdout);
    json_decref(o);
    return is_good ? 0 : 1;
}

static json_t *run_json(const struct sq_run *run)
{
    const struct sq_run_info *i = sq_run_info_of(run);
    json_t *o = json_object(), *reads = json_array();
    set(o, "id", text_of(i->id));
    set(o, "instrument", text_of(i->instrument));
    set(o, "flowcell", text_of(i->flowcell));
    set(o, "date", text_of(i->date));
    for (uint32_t k = 0; k < i->n_read; k++)
        json_array_append_new(reads, json_pack("{s:I, s:I, s:b, s:b}", "number", (json_int_t)i->read[k].number, "cycles", (json_int_t)i->read[k].n_cycle, "is_index",
                                               i->read[k].is_index, "is_reverse_complement", i->read[k].is_reverse_complement));
    set(o, "reads", reads);
    return o;
}

static const char *calls_name(const struct sq_run *run)
{
    static const char *const names[] = {"none", "bcl", "bcl.gz", "bgzf", "cbcl"};
    return names[sq_run_calls_kind(run)];
}

static const char *positions_name(const struct sq_run *run)
{
    static const char *const names[] = {"none", "s.locs", "locs", "clocs", "lane locs", "text"};
    return names[sq_run_positions_kind(run)];
}

static void print_run(const struct sq_run *run)
{
    const struct sq_run_info *i = sq_run_info_of(run);
    printf("run        %s%s%s%s%s%s%s\n", i->id[0] ? i->id : "without a name", i->instrument[0] ? ", instrument " : "", i->instrument, i->flowcell[0] ? ", flow cell " : "",
           i->flowcell, i->date[0] ? ", " : "", i->date);
    printf("reads      ");
    for (uint32_t k = 0; k < i->n_read; k++)
        printf("%s%u%s", k ? " + " : "", i->read[k].n_cycle, i->read[k].is_index ? i->read[k].is_reverse_complement ? " (index, reverse complement)" : " (index)" : "");
    printf(" = %u cycles\n", i->n_cycle);
}

/* ---- check ---- */

static bool tell(void *ctx, uint64_t done, uint64_t total)
{
    const struct work *w = ctx;
    double s = (double)(sq_clock_steady_ms() - w->start_ms) / 1000;
    if (!total)
        return false;
    fprintf(stderr, "\rcheck    %3u %%", (unsigned)(100 * done / total));
    if (done && s > 2)
        fprintf(stderr, ", %.0f s left   ", s * (double)(total - done) / (double)done);
    return false;
}

/* The sheet of the run's folder, with what is wrong in it, alone and against the run. *out NULL: there is none. */
static sq_err read_sheet(struct work *w, struct sq_sheet **out)
{
    struct sq_buf b;
    struct sq_why why = {0};
    struct sq_demux_options options;
    struct sq_demux_plan *plan = NULL;
    int fd = -1;
    size_t n = 0;
    *out = NULL;
    sq_err e = sq_open_beneath(w->dir, "SampleSheet.csv", O_RDONLY | O_NONBLOCK, 0, &fd);
    if (e)
        return e == SQ_ENOTFOUND ? SQ_OK : e;
    sq_buf_init(&b, SQ_SHEET_MAX_BYTES + 1);
    e = sq_buf_reserve(&b, SQ_SHEET_MAX_BYTES);
    if (!e)
        e = sq_read_full(fd, b.p, SQ_SHEET_MAX_BYTES, &n);
    if (!e)
        e = sq_sheet_parse(b.p, n, out);
    sq_close(&fd);
    sq_buf_done(&b);
    if (e || (*out)->n_error || !sq_run_n_lane(w->run))
        return e;
    sq_demux_options_default(&options);
    e = sq_demux_plan_new(w->run, *out, &options, &why, &plan); /* its findings go to the sheet */
    sq_demux_plan_free(plan);
    return e == SQ_ENOMEM ? e : SQ_OK;
}

static int say_sheet_error(const struct work *w, sq_err e)
{
    struct stat st;
    if (fstatat(w->dir, "SampleSheet.csv", &st, 0) || !S_ISDIR(st.st_mode))
        return local_say_error("SampleSheet.csv", e, NULL);
    errno = EISDIR;
    return local_cannot_open("SampleSheet.csv");
}

static const char *state_name(enum sq_run_state s)
{
    static const char *const names[] = {"not finished", "called, maybe still being copied", "complete"};
    return names[s];
}

static json_t *finding_json(const struct sq_run_finding *f)
{
    char text[600];
    json_t *o = json_object();
    sq_run_why_text(&f->where, text, sizeof text);
    set(o, "severity", json_string(f->is_error ? "error" : "warning"));
    set(o, "code", f->code ? json_string(sq_err_name(f->code)) : json_null());
    set(o, "file", json_string(f->where.file));
    if (f->where.lane)
        set_n(o, "lane", f->where.lane);
    if (f->where.tile)
        set_n(o, "tile", f->where.tile);
    if (f->n_tile > 1)
        set_n(o, "tiles", f->n_tile);
    if (f->where.cycle)
        set_n(o, "cycle", f->where.cycle);
    if (f->last_cycle)
        set_n(o, "last_cycle", f->last_cycle);
    if (f->where.has_byte)
        set_n(o, "byte", f->where.byte);
    set(o, "detail", json_string(f->where.detail));
    set(o, "text", json_string(text));
    if (f->code)
        set(o, "fix", json_string(local_hint(f->code)));
    return o;
}

static int check_json(const struct work *w, const struct sq_run_check *c, const struct sq_sheet *sheet, bool is_whole)
{
    json_t *o = json_object(), *findings = json_array();
    set(o, "run", run_json(w->run));
    set(o, "is_whole", json_boolean(is_whole));
    set(o, "state", json_string(c->state == SQ_RUN_COMPLETE ? "complete" : c->state == SQ_RUN_CALLED ? "called" : "not_finished"));
    set(o, "calls", json_string(calls_name(w->run)));
    set(o, "positions", json_string(positions_name(w->run)));
    set_n(o, "lanes", c->n_lane);
    set_n(o, "tiles", c->n_tile);
    set_n(o, "cycles", c->n_cycle);
    set_n(o, "cycles_there", c->n_cycle_there);
    set_n(o, "clusters", c->n_cluster);
    set_n(o, "clusters_pf", c->n_pf);
    set_n(o, "calls_read", c->n_call);
    set_n(o, "errors", c->n_error);
    set_n(o, "warnings", c->n_finding - c->n_error);
    for (uint32_t i = 0; i < c->n_kept; i++)
        json_array_append_new(findings, finding_json(&c->finding[i]));
    set(o, "findings", findings);
    if (sheet) {
        json_t *problems = json_array();
        for (uint32_t i = 0; i < sheet->n_problem; i++)
            json_array_append_new(problems, json_pack("{s:s, s:I, s:s, s:s}", "severity", sheet->problem[i].is_error ? "error" : "warning", "line",
                                                      (json_int_t)sheet->problem[i].line, "what", sheet->problem[i].what, "fix", sheet->problem[i].fix));
        set(o, "sample_sheet", json_pack("{s:i, s:I, s:o}", "version", sheet->version, "samples", (json_int_t)sheet->n_number, "problems", problems));
    } else {
        set(o, "sample_sheet", json_null());
    }
    return print_json(o);
}

static void print_finding(const struct sq_run_finding *f)
{
    char text[600], more[48] = "";
    sq_run_why_text(&f->where, text, sizeof text);
    if (f->n_tile > 1)
        snprintf(more, sizeof more, " (and %u tiles more)", f->n_tile - 1);
    printf("%-10s %s%s\n", f->is_error ? "error" : "note", text, more);
}

static void print_check(const struct work *w, const struct sq_run_check *c, const struct sq_sheet *sheet, bool is_whole)
{
    print_run(w->run);
    printf("folder     %u lane%s, %u tile%s; calls: %s, positions: %s\n", c->n_lane, c->n_lane == 1 ? "" : "s", c->n_tile, c->n_tile == 1 ? "" : "s", calls_name(w->run), positions_name(w->run));
    printf("state      %s; %u of %u cycles are there\n", state_name(c->state), c->n_cycle_there, c->n_cycle);
    if (c->n_cluster)
        printf("clusters   %llu, of which %llu passed the filter (%.2f %%)\n", (unsigned long long)c->n_cluster, (unsigned long long)c->n_pf,
               100.0 * (double)c->n_pf / (double)c->n_cluster);
    if (sheet)
        printf("sheet      version %d, %u samples%s\n", sheet->version, sheet->n_number, sheet->n_problem ? "" : "; it fits the run");
    else
        printf("sheet      none (SampleSheet.csv)\n");
    for (uint32_t i = 0; i < c->n_kept; i++)
        print_finding(&c->finding[i]);
    if (c->n_finding > c->n_kept)
        printf("           and %llu more\n", (unsigned long long)(c->n_finding - c->n_kept));
    for (uint32_t i = 0; sheet && i < sheet->n_problem; i++) {
        char line[24] = "";
        const struct sq_sheet_problem *p = &sheet->problem[i];
        if (p->line)
            snprintf(line, sizeof line, ", line %u", p->line);
        printf("%-10s SampleSheet.csv%s: %s\n           %s\n", p->is_error ? "error" : "note", line, p->what, p->fix);
    }
    if (is_whole)
        printf("whole      nothing is missing, short or damaged\n");
    else if (!c->n_error && sheet && sheet->n_error)
        printf("not whole  mend the sample sheet; the calls are whole\n");
    else
        printf("not whole  copy what is named again from the instrument; docs/formats has what each file should be\n");
}

static int check(struct work *w)
{
    struct sq_run_why why = {0};
    struct sq_run_check c = {0};
    struct sq_sheet *sheet = NULL;
    bool is_telling = w->l->is_terminal && !w->l->is_quiet;
    struct sq_run_check_options options = {
        .n_thread = w->l->n_thread, .is_quick = w->l->opt[LOCAL_quick] != NULL, .progress = is_telling ? tell : NULL, .ctx = w};
    sq_err e = open_run(w, &why);
    if (!e)
        e = sq_run_check(w->run, &options, &c);
    if (is_telling)
        fputs("\r\33[K", stderr);
    if (e)
        return say_error(w, e, &why);
    e = read_sheet(w, &sheet);
    if (e) {
        sq_run_check_done(&c);
        return say_sheet_error(w, e);
    }
    bool is_whole = !c.n_error && !(sheet && sheet->n_error) && c.n_cycle_there == c.n_cycle;
    int code = 0;
    if (w->l->opt[LOCAL_json])
        code = check_json(w, &c, sheet, is_whole);
    else if (!w->l->is_quiet || !is_whole)
        print_check(w, &c, sheet, is_whole);
    sq_run_check_done(&c);
    sq_sheet_free(sheet);
    return code ? code : is_whole ? 0 : 1;
}

/* ---- summary ---- */

static json_t *stat_json(const struct sq_run_stat *s)
{
    return json_pack("{s:o, s:o}", "mean", number(s->mean), "sd", number(s->sd));
}

static json_t *level_json(const struct sq_run_level *l)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "yield_g", number(l->yield_g), "projected_yield_g", number(l->projected_yield_g), "percent_aligned", number(l->aligned),
                     "error_rate", number(l->error_rate), "intensity_c1", number(l->intensity_c1), "percent_q30", number(l->q30), "percent_occupied", number(l->occupied));
}

static json_t *row_json(const struct sq_run_lane_summary *r)
{
    json_t *o = json_object();
    set_n(o, "lane", r->lane);
    if (r->surface)
        set_n(o, "surface", r->surface);
    set_n(o, "tiles", r->n_tile);
    const struct {
        const char *name;
        double v;
    } numbers[] = {{"reads", r->reads}, {"reads_pf", r->reads_pf}, {"yield_g", r->yield_g}, {"projected_yield_g", r->projected_yield_g}, {"percent_q30", r->q30}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        set(o, numbers[i].name, number(numbers[i].v));
    const struct {
        const char *name;
        const struct sq_run_stat *v;
    } stats[] = {{"density", &r->density}, {"percent_pf", &r->percent_pf}, {"phasing", &r->phasing}, {"prephasing", &r->prephasing},
                 {"percent_aligned", &r->aligned}, {"error_rate", &r->error}, {"error_rate_35", &r->error_35}, {"error_rate_75", &r->error_75},
                 {"error_rate_100", &r->error_100}, {"percent_occupied", &r->occupied}, {"intensity_c1", &r->intensity_c1}, {"phasing_slope", &r->phasing_slope},
                 {"phasing_offset", &r->phasing_offset}, {"prephasing_slope", &r->prephasing_slope}, {"prephasing_offset", &r->prephasing_offset}};
    for (size_t i = 0; i < sizeof stats / sizeof stats[0]; i++)
        set(o, stats[i].name, stat_json(stats[i].v));
    set(o, "cycles_error", json_pack("[I, I]", (json_int_t)r->error_first, (json_int_t)r->error_last));
    return o;
}

static int summary_json(const struct work *w, const struct sq_run_summary *s)
{
    json_t *o = json_object(), *reads = json_array(), *index = json_array();
    set(o, "run", run_json(w->run));
    for (uint32_t k = 0; k < s->n_read; k++) {
        json_t *rows = json_array();
        for (uint32_t i = 0; i < s->read[k].n_row; i++)
            json_array_append_new(rows, row_json(&s->read[k].row[i]));
        json_array_append_new(reads, json_pack("{s:I, s:b, s:o, s:o}", "number", (json_int_t)s->read[k].number, "is_index", s->read[k].is_index, "level",
                                               level_json(&s->read[k].level), "rows", rows));
    }
    set(o, "reads", reads);
    set(o, "non_indexed", level_json(&s->non_index));
    set(o, "total", level_json(&s->total));
    for (uint32_t i = 0; i < s->n_index_lane; i++) {
        const struct sq_run_index_lane *l = &s->index[i];
        json_t *rows = json_array();
        for (uint32_t k = 0; k < l->n_row; k++)
            json_array_append_new(rows, json_pack("{s:o, s:o, s:o, s:o, s:I, s:o}", "sample", text_of(l->row[k].sample), "project", text_of(l->row[k].project), "index",
                                                  text_of(l->row[k].index[0]), "index2", text_of(l->row[k].index[1]), "clusters", (json_int_t)l->row[k].n_cluster,
                                                  "percent", number(l->row[k].percent)));
        json_array_append_new(index, json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "lane", (json_int_t)l->lane, "reads", number(l->reads), "reads_pf",
                                               number(l->reads_pf), "percent_identified", number(l->identified), "cv", number(l->cv), "min", number(l->least), "max",
                                               number(l->most), "samples", rows));
    }
    set(o, "indexing_qc", index);
    set(o, "is_growing", json_boolean(s->is_growing));
    return print_json(o);
}

#define CELL 16

/* a number as Illumina's table has it; "nan" for what nobody measured, however its sign bit stands */
static const char *cell(char out[CELL], double v, int digits)
{
    if (isnan(v))
        snprintf(out, CELL, "nan");
    else
        snprintf(out, CELL, "%.*f", digits, v);
    return out;
}

static void print_level(const char *name, const struct sq_run_level *l)
{
    char c[7][CELL];
    printf("%-12s %9s %10s %9s %11s %13s %9s %11s\n", name, cell(c[0], l->yield_g, 2), cell(c[1], l->projected_yield_g, 2), cell(c[2], l->aligned, 2),
           cell(c[3], l->error_rate, 2), cell(c[4], l->intensity_c1, 0), cell(c[5], l->q30, 2), cell(c[6], l->occupied, 2));
}

static const char *pair(char out[2 * CELL + 8], const char *between, double a, double b, int digits)
{
    char x[CELL], y[CELL];
    snprintf(out, 2 * CELL + 8, "%s%s%s", cell(x, a, digits), between, cell(y, b, digits));
    return out;
}

static void print_row(const struct sq_run_lane_summary *r)
{
    char p[12][2 * CELL + 8], c[4][CELL], surface[12] = "-", cycles[32] = "-";
    if (r->surface)
        snprintf(surface, sizeof surface, "%u", r->surface);
    else if (r->error_first == r->error_last)
        snprintf(cycles, sizeof cycles, "%u", r->error_last);
    else
        snprintf(cycles, sizeof cycles, "%u - %u", r->error_first, r->error_last);
    printf("%-4u %-7s %5u %15s %15s %15s %15s %15s %9s %9s %7s %7s %9s %15s %14s %14s %14s %14s %15s %15s\n", r->lane, surface, r->n_tile,
           pair(p[0], " +/- ", r->density.mean, r->density.sd, 0), pair(p[1], " +/- ", r->percent_pf.mean, r->percent_pf.sd, 2),
           pair(p[2], " / ", r->phasing.mean, r->prephasing.mean, 3), pair(p[10], " / ", r->phasing_slope.mean, r->phasing_offset.mean, 3),
           pair(p[11], " / ", r->prephasing_slope.mean, r->prephasing_offset.mean, 3), cell(c[0], r->reads / 1e6, 2), cell(c[1], r->reads_pf / 1e6, 2), cell(c[2], r->q30, 2),
           cell(c[3], r->yield_g, 2), cycles, pair(p[3], " +/- ", r->aligned.mean, r->aligned.sd, 2), pair(p[4], " +/- ", r->error.mean, r->error.sd, 2),
           pair(p[5], " +/- ", r->error_35.mean, r->error_35.sd, 2), pair(p[6], " +/- ", r->error_75.mean, r->error_75.sd, 2),
           pair(p[7], " +/- ", r->error_100.mean, r->error_100.sd, 2), pair(p[8], " +/- ", r->occupied.mean, r->occupied.sd, 2),
           pair(p[9], " +/- ", r->intensity_c1.mean, r->intensity_c1.sd, 0));
}

static void print_index(const struct sq_run_index_lane *l)
{
    char c[CELL];
    printf("\nLane %u\n%-15s %-15s %-22s %-10s %-10s %-10s\n", l->lane, "Total Reads", "PF Reads", "% Read Identified (PF)", "CV", "Min", "Max");
    printf("%-15.0f %-15.0f %-22s", l->reads, l->reads_pf, cell(c, l->identified, 4));
    printf(" %-10s", cell(c, l->cv, 4));
    printf(" %-10s", cell(c, l->least, 4));
    printf(" %s\n", cell(c, l->most, 4));
    printf("%-6s %-32s %-20s %-16s %-16s %s\n", "Number", "Sample Id", "Project", "Index 1 (I7)", "Index 2 (I5)", "% Read Identified (PF)");
    for (uint32_t k = 0; k < l->n_row; k++)
        printf("%-6u %-32s %-20s %-16s %-16s %s\n", k + 1, l->row[k].sample, l->row[k].project, l->row[k].index[0], l->row[k].index[1], cell(c, l->row[k].percent, 4));
}

static void print_summary(const struct work *w, const struct sq_run_summary *s)
{
    char name[32];
    print_run(w->run);
    printf("\n%-12s %9s %10s %9s %11s %13s %9s %11s\n", "Level", "Yield (G)", "Projected", "Aligned", "Error Rate", "Intensity C1", "%>=Q30", "% Occupied");
    for (uint32_t k = 0; k < s->n_read; k++) {
        snprintf(name, sizeof name, "Read %u%s", s->read[k].number, s->read[k].is_index ? " (I)" : "");
        print_level(name, &s->read[k].level);
    }
    print_level("Non-indexed", &s->non_index);
    print_level("Total", &s->total);
    for (uint32_t k = 0; k < s->n_read; k++) {
        printf("\nRead %u%s\n%-4s %-7s %5s %15s %15s %15s %15s %15s %9s %9s %7s %7s %9s %15s %14s %14s %14s %14s %15s %15s\n", s->read[k].number, s->read[k].is_index ? " (I)" : "", "Lane",
               "Surface", "Tiles", "Density", "Cluster PF", "Phas/Prephas", "Phas slope/off", "Prep slope/off", "Reads (M)", "PF (M)", "%>=Q30", "Yield", "Cyc Error", "Aligned", "Error", "Error (35)",
               "Error (75)", "Error (100)", "% Occupied", "Intensity C1");
        for (uint32_t i = 0; i < s->read[k].n_row; i++)
            print_row(&s->read[k].row[i]);
    }
    for (uint32_t i = 0; i < s->n_index_lane; i++)
        print_index(&s->index[i]);
    if (s->is_growing)
        printf("\nnote       a metrics file ends within a record: the run goes on, or was stopped\n");
}

static int summary(struct work *w)
{
    struct sq_run_why why = {0};
    struct sq_run_summary s = {0};
    sq_err e = open_run(w, &why);
    if (!e)
        e = sq_run_summarize(w->run, &why, &s);
    if (e)
        return say_error(w, e, &why);
    int code = 0;
    if (w->l->opt[LOCAL_json])
        code = summary_json(w, &s);
    else
        print_summary(w, &s);
    sq_run_summary_done(&s);
    return code;
}

/* ---- the child ---- */

static _Noreturn void child(struct work *w, int (*run)(struct work *))
{
    static char room[1 << 16];
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, room, _IOFBF, sizeof room); /* else libc asks a device whether it is a terminal, by a call that is ended within the walls */
    sq_err e = worker_confine_folders(w->dir, -1);
    int code = e ? local_say_error(w->path, e, NULL) : run(w);
    sq_run_close(w->run);
    if (fflush(stdout))
        code = 1;
    _exit(code);
}

static int in_child(struct local *l, int (*run)(struct work *))
{
    struct work w = {.l = l, .path = l->arg[0], .start_ms = sq_clock_steady_ms()};
    int status = 0;
    w.dir = open(w.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w.dir < 0)
        return local_cannot_open(w.path);
    if (local_check_run_folder(w.path, w.dir)) {
        sq_close(&w.dir);
        return 1;
    }
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        child(&w, run);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    sq_close(&w.dir);
    if (pid < 0)
        return local_say_error(w.path, sq_fail(SQ_ESYS), NULL);
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    struct sq_why why = {0};
    return local_say_error(w.path, sq_why_set(&why, sq_fail(SQ_EKILLED), 0, 0, NULL, "it ended by signal %d", WTERMSIG(status)), &why);
}

int local_run_check(struct local *l)
{
    return in_child(l, check);
}

int local_run_summary(struct local *l)
{
    return in_child(l, summary);
}
