/* Reports/report.html: one page, pictures as SVG, no script, nothing from elsewhere. */
#include "lib/demux/report_internal.h"

#include <stdlib.h>

#define WIDTH 860
#define HEIGHT 200
#define NAME_LINES 3 /* beneath a picture by cycle, for the names of the reads */
#define NAME_WIDTH 50
#define LEFT 46
#define MOST_BARS 400U
#define MOST_NAMES 60U /* below the bars */

static const char *const colours[] = {"#0b6e99", "#c2571a", "#3a7d44", "#8a3ffc", "#b0003a", "#6b6b00", "#00695c", "#5d4037"};

/* Axes for values up to @most, in round steps. Returns the value at their top. @below: room under the picture. */
static double frame(struct report *r, double most, const char *unit, int below)
{
    double step = 0.01;
    for (int k = 0; step < most * 0.2; k++) /* 1, 2, 5, 10 .. */
        step *= k % 3 == 1 ? 2.5 : 2;
    int n = 1;
    while (n * step < most)
        n++;
    report_add(r, "<svg viewBox=\"0 0 %d %d\" role=\"img\" width=\"100%%\"><g font-size=\"11\" fill=\"#444\">", WIDTH, HEIGHT + below);
    for (int i = 0; i <= n; i++) {
        double y = HEIGHT - i * (HEIGHT - 12.0) / n;
        report_add(r, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g%s</text>", LEFT, WIDTH, y, y, LEFT - 4, y + 4,
                   step * i, unit);
    }
    report_add(r, "</g>");
    return step * n;
}

/* A line by cycle for each lane. what: 0 mean quality, 1 share of Q30, 2 share called. */
static void cycle_picture(const struct demux_out *o, struct report *r, int what)
{
    const struct sq_demux_plan *p = o->plan;
    double most = frame(r, what ? 100 : 40, what ? " %" : "", 12 + 12 * NAME_LINES), step = (double)(WIDTH - LEFT) / (p->n_cycle ? p->n_cycle : 1);
    unsigned n_of[2] = {0};
    double end[NAME_LINES] = {0};
    for (uint32_t i = 0, at = 0; i < p->n_read; at += p->read[i++].n_cycle) {
        double x = LEFT + at * step;
        int line = 0; /* the first that is free: index reads are narrow */
        while (line + 1 < NAME_LINES && end[line] > x)
            line++;
        end[line] = x + NAME_WIDTH;
        report_add(r, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"8\" y2=\"%d\" stroke=\"#888\" stroke-dasharray=\"3 3\"/><text x=\"%.1f\" y=\"%d\" font-size=\"11\" fill=\"#444\">%s %u</text>", x, x, HEIGHT,
                   x + 2, HEIGHT + 14 + 12 * line, p->read[i].is_index ? "index" : "read", ++n_of[p->read[i].is_index]);
    }
    for (uint32_t l = 0; l < p->n_lane; l++) {
        struct counts_shape s = counts_shape_of(p, l);
        uint64_t n = 0;
        for (uint32_t i = 0; i < s.n_row; i++)
            n += count_row(&s, o->totals.lane[l], i)[COUNT_READS];
        report_add(r, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"", colours[l % 8]);
        for (uint32_t c = 0; c < p->n_cycle; c++) {
            const uint64_t *v = count_cycle(&s, o->totals.lane[l], c);
            double y = what == 0 ? share_of(v[COUNT_CYCLE_QUALITY], n) : 100 * share_of(v[what == 1 ? COUNT_CYCLE_Q30 : COUNT_CYCLE_CALLED], n);
            report_add(r, "%.1f,%.1f ", LEFT + (c + 0.5) * step, HEIGHT - (y < most ? y : most) / most * (HEIGHT - 12));
        }
        report_add(r, "\"/>");
    }
    report_add(r, "</svg>\n<p>");
    for (uint32_t l = 0; l < p->n_lane; l++)
        report_add(r, "<span style=\"color:%s\">&#9632; lane %u</span> ", colours[l % 8], p->lane[l].no);
    report_add(r, "</p>\n");
}

/* A bar for each sample of a lane: its share of the reads. */
static void sample_picture(const struct demux_out *o, struct report *r, uint32_t l)
{
    struct counts_shape s = counts_shape_of(o->plan, l);
    uint64_t all = 0, largest = 0;
    for (uint32_t i = 0; i < s.n_row; i++) {
        uint64_t n = count_row(&s, o->totals.lane[l], i)[COUNT_READS];
        all += n;
        largest = n > largest ? n : largest;
    }
    uint32_t n_bar = s.n_row < MOST_BARS ? s.n_row : MOST_BARS;
    const bool is_named = n_bar <= MOST_NAMES;
    double most = 100 * share_of(largest, all), step = (double)(WIDTH - LEFT) / n_bar;
    most = frame(r, most > 0 ? most : 1, " %", is_named ? 110 : 24);
    for (uint32_t b = 0; b < n_bar; b++) {
        uint32_t i = b + 1 == n_bar ? s.n_row - 1 : b; /* the last is Undetermined, whatever is left out */
        struct report_row row = report_row_of(&o->plan->lane[l], i);
        double share = 100 * share_of(count_row(&s, o->totals.lane[l], i)[COUNT_READS], all), h = share / most * (HEIGHT - 12);
        report_add(r, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"><title>%s: %.3f %%</title></rect>", LEFT + b * step + step * 0.1, HEIGHT - h, step * 0.8, h,
                   i + 1 == s.n_row ? "#999" : colours[l % 8], row.id, share);
        double x = LEFT + (b + 0.5) * step, y = HEIGHT + 10;
        if (is_named)
            report_add(r, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"11\" fill=\"#444\" text-anchor=\"end\" transform=\"rotate(-45 %.1f %.1f)\">%.16s%s</text>", x, y, x, y, row.id,
                       strlen(row.id) > 16 ? "&#8230;" : "");
    }
    report_add(r, "</svg>\n");
    if (n_bar < s.n_row)
        report_add(r, "<p>The first %u samples and, grey, Undetermined.</p>\n", n_bar - 1);
}

static void lane_table(const struct demux_out *o, struct report *r)
{
    report_add(r, "<table><tr><th>Lane<th>Tiles<th>Clusters<th>Passed<th>Identified<th>Yield (Mb)<th>Q30</tr>\n");
    for (uint32_t l = 0; l < o->plan->n_lane; l++) {
        struct counts_shape s = counts_shape_of(o->plan, l);
        uint64_t *v = o->totals.lane[l], n = 0, known = 0, yield = 0, q30 = 0;
        for (uint32_t i = 0; i < s.n_row; i++) {
            n += count_row(&s, v, i)[COUNT_READS];
            known += i + 1 < s.n_row ? count_row(&s, v, i)[COUNT_READS] : 0;
            for (uint32_t k = 0; k < s.n_kind; k++) {
                yield += count_kind(&s, v, i, k)[COUNT_YIELD];
                q30 += count_kind(&s, v, i, k)[COUNT_Q30];
            }
        }
        report_add(r, "<tr><td>%u<td>%u<td>%llu<td>%.1f %%<td>%.1f %%<td>%.*f<td>%.1f %%</tr>\n", o->plan->lane[l].no, o->plan->lane[l].n_tile, (unsigned long long)v[COUNT_CLUSTERS],
                   100 * share_of(v[COUNT_PF], v[COUNT_CLUSTERS]), 100 * share_of(known, n), yield < 10000000 ? 3 : 1, (double)yield / 1e6, 100 * share_of(q30, yield));
    }
    report_add(r, "</table>\n");
}

static void sample_table(const struct demux_out *o, struct report *r, uint32_t l)
{
    struct counts_shape s = counts_shape_of(o->plan, l);
    uint64_t *v = o->totals.lane[l], all = 0;
    for (uint32_t i = 0; i < s.n_row; i++)
        all += count_row(&s, v, i)[COUNT_READS];
    report_add(r, "<details><summary>Samples of lane %u</summary><table><tr><th>Sample<th>Project<th>Index<th>Reads<th>Share<th>Perfect<th>Q30</tr>\n", o->plan->lane[l].no);
    for (uint32_t i = 0; i < s.n_row; i++) {
        struct report_row row = report_row_of(&o->plan->lane[l], i);
        const uint64_t *n = count_row(&s, v, i);
        uint64_t yield = 0, q30 = 0;
        for (uint32_t k = 0; k < s.n_kind; k++) {
            yield += count_kind(&s, v, i, k)[COUNT_YIELD];
            q30 += count_kind(&s, v, i, k)[COUNT_Q30];
        }
        report_add(r, "<tr><td>%s<td>%s<td>%s%s%s<td>%llu<td>%.2f %%<td>%.1f %%<td>%.1f %%</tr>\n", row.id, row.project, row.index[0], *row.index[1] ? "+" : "", row.index[1],
                   (unsigned long long)n[COUNT_READS], 100 * share_of(n[COUNT_READS], all), 100 * share_of(n[COUNT_MISMATCH_0], n[COUNT_READS]), 100 * share_of(q30, yield));
    }
    report_add(r, "</table></details>\n");
}

static void unknown_table(const struct demux_out *o, struct report *r, uint32_t l)
{
    struct unknown *u = NULL;
    uint32_t n = 0;
    if (r->e || (r->e = report_unknowns(o, l, &u, &n)) || !n) {
        free(u);
        return;
    }
    report_add(r, "<details><summary>Barcodes of lane %u that belong to nobody</summary><table><tr><th>Index<th>Reads</tr>\n", o->plan->lane[l].no);
    for (uint32_t i = 0; i < n && i < 20; i++)
        report_add(r, "<tr><td>%s%s%s<td>%llu</tr>\n", u[i].index[0], *u[i].index[1] ? "+" : "", u[i].index[1], (unsigned long long)u[i].n);
    report_add(r, "</table></details>\n");
    free(u);
}

void report_html(const struct demux_out *o, const struct sq_demux_result *result, struct report *r)
{
    report_add(r, "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
                  "<title>Demultiplexing</title>\n<style>body{font:15px/1.45 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;color:#222}"
                  "table{border-collapse:collapse;margin:.6em 0}th,td{padding:.15em .7em;text-align:right;border-bottom:1px solid #ddd}"
                  "th:first-child,td:first-child{text-align:left}.note{background:#fff4ce;padding:.6em 1em}</style>\n<h1>Run ");
    report_add_html(r, o->plan->info->id);
    report_add(r, "</h1>\n<p>%llu clusters, %llu passed the filter, %llu found their sample.</p>\n", (unsigned long long)result->n_cluster, (unsigned long long)result->n_pf,
               (unsigned long long)result->n_identified);
    if (o->pass == PASS_EARLY)
        report_add(r, "<p class=\"note\">The run goes on: this is what cycles 1 to %u hold. Later cycles and reads count for nothing yet.</p>\n", o->plan->early_cycle);
    if (*result->hint) {
        report_add(r, "<p class=\"note\">");
        report_add_html(r, result->hint);
        report_add(r, "</p>\n");
    }
    if (o->n_remark)
        report_add(r, "<p class=\"note\">%u files or tiles were missing or damaged; their calls are N. demux.json names them.</p>\n", o->n_remark);
    report_add(r, "<h2>Lanes</h2>\n");
    lane_table(o, r);
    report_add(r, "<h2>Mean quality by cycle</h2>\n");
    cycle_picture(o, r, 0);
    report_add(r, "<h2>Calls of Q30 and more by cycle</h2>\n");
    cycle_picture(o, r, 1);
    report_add(r, "<h2>Called bases by cycle</h2>\n");
    cycle_picture(o, r, 2);
    for (uint32_t l = 0; l < o->plan->n_lane; l++) {
        report_add(r, "<h2>Reads by sample, lane %u</h2>\n", o->plan->lane[l].no);
        sample_picture(o, r, l);
        sample_table(o, r, l);
        unknown_table(o, r, l);
    }
    report_add(r, "<p>sequester " SQ_VERSION "</p>\n</html>\n");
}
