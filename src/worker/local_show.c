/* What the commands without a server say: how far the work is, what --dry-run finds, what --timing counts. */
#include "worker/local.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- progress ------------------------------------------------------------------------------------------------------ */

#define BAR_CELLS 30
#define ESTIMATE_FROM_MS 1000 /* before that, and before 1 %, it would be a guess */

static void duration_text(double s, char *out, size_t n)
{
    unsigned long long t = (unsigned long long)(s + 0.5);
    if (t < 60)
        snprintf(out, n, "%llu s", t);
    else if (t < 3600)
        snprintf(out, n, "%llu min %02llu s", t / 60, t % 60);
    else
        snprintf(out, n, "%llu h %02llu min", t / 3600, t / 60 % 60);
}

void local_show_progress(const struct local *l, const char *stage, uint64_t done, uint64_t total)
{
    if (l->is_quiet || !l->is_terminal)
        return;
    if (!total) {
        fprintf(stderr, "\r%-8s ...\033[K", stage);
        return;
    }
    double share = done < total ? (double)done / (double)total : 1;
    int64_t spent_ms = sq_clock_steady_ms() - l->stage_ms;
    char bar[BAR_CELLS + 1], left[40] = "";
    memset(bar, '-', BAR_CELLS);
    memset(bar, '#', (size_t)(share * BAR_CELLS));
    bar[BAR_CELLS] = 0;
    if (spent_ms >= ESTIMATE_FROM_MS && share >= 0.01)
        duration_text((double)spent_ms * 1e-3 * (1 - share) / share, left, sizeof left);
    fprintf(stderr, "\r%-8s [%s] %3u %%%s%s%s\033[K", stage, bar, (unsigned)(100 * share), *left ? "  about " : "", left, *left ? " left" : "");
}

void local_clear_progress(const struct local *l)
{
    if (!l->is_quiet && l->is_terminal)
        fputs("\r\033[K", stderr);
}

/* ---- qc and --dry-run ----------------------------------------------------------------------------------------------------- */

/* Measured (bench/RESULTS.md), one core; they say how long roughly, not how long exactly. */
#define NS_A_TYPED_HAPLOTYPE 1.8e3 /* a target haplotype at a typed row: selection and model */
#define NS_A_DOSAGE 50.0           /* a target haplotype at a row of the panel: dosage, text, packing */
#define NS_A_PANEL_TYPED 0.6       /* a panel haplotype at a typed row */
#define NS_A_PHASED 1.6e3          /* the same two, of phasing */
#define NS_A_PANEL_PHASED 10.0
#define BYTES_A_DOSAGE 0.4 /* of the result, packed */
#define BYTES_A_PHASED 0.4
#define BYTES_A_KEPT 900.0         /* at most: posteriors of a target haplotype at a typed row; 100 in a large panel */
#define KEPT_PHASED 1.5            /* times as many, where doubtful phase has a second choice */
#define MAX_KEPT_BYTES 1e9         /* the engine's default */
#define BYTES_A_TYPED 6.5          /* alleles, bits, dosages left out of a target haplotype at a typed row: of all here, of one window in truth */
#define WAITING_ROWS 2000.0        /* bytes of rows that wait for their turn, a haplotype and thread */
#define MAX_WAITING_BYTES 64e6     /* pieces.h's own bound */
#define MIB_BASE 24.0

/* "#key TAB number" of the report; 0 when it isn't there */
static uint64_t count_of(const struct sq_buf *report, const char *key)
{
    size_t n = strlen(key);
    const char *p = (const char *)report->p, *end = p + report->n;
    for (const char *lf; p < end && *p == '#' && (lf = memchr(p, '\n', (size_t)(end - p))); p = lf + 1)
        if ((size_t)(lf - p) > n + 1 && !memcmp(p + 1, key, n) && p[n + 1] == '\t')
            return strtoull(p + n + 2, NULL, 10);
    return 0;
}

static sq_err read_report(int fd, struct sq_buf *out)
{
    size_t got = 0;
    sq_buf_init(out, SQ_STAGE_REPORT_MAX_BYTES + 1);
    sq_err e = sq_buf_reserve(out, SQ_STAGE_REPORT_MAX_BYTES + 1);
    if (!e && lseek(fd, 0, SEEK_SET) < 0)
        e = sq_fail(SQ_EIO);
    if (!e)
        e = sq_read_full(fd, out->p, SQ_STAGE_REPORT_MAX_BYTES, &got);
    if (e)
        return e;
    out->n = got;
    out->p[got] = 0;
    return SQ_OK;
}

/* What imputing, or phasing alone, would take. */
static void show_estimate(const struct local *l, double rows, double typed, double target, double panel)
{
    bool is_phase = !strcmp(l->command, "phase");
    double cpu_s = 0, mib = MIB_BASE + (typed * panel / 4 + typed * target * BYTES_A_TYPED) / (1 << 20);
    if (l->choice.phases || is_phase)
        cpu_s += 1e-9 * (typed * target * NS_A_PHASED + typed * panel * NS_A_PANEL_PHASED);
    if (!is_phase) {
        double kept = fmin(typed * target * BYTES_A_KEPT * (l->choice.phases ? KEPT_PHASED : 1), l->choice.memory_bytes ? (double)l->choice.memory_bytes : MAX_KEPT_BYTES);
        cpu_s += 1e-9 * (typed * target * NS_A_TYPED_HAPLOTYPE + rows * target * NS_A_DOSAGE + typed * panel * NS_A_PANEL_TYPED);
        mib += (kept + fmin(WAITING_ROWS * target * l->n_thread, MAX_WAITING_BYTES) + 64 * 2 * target * l->n_thread) / (1 << 20);
    }
    char wall[40];
    duration_text(fmax(1, cpu_s / l->n_thread), wall, sizeof wall);
    printf("would take  about %s on %u thread%s and at most %.0f MiB of memory; the result about %.0f MiB\n", wall, l->n_thread, l->n_thread == 1 ? "" : "s", mib,
           fmax(1, (is_phase ? typed * target * BYTES_A_PHASED : rows * target * BYTES_A_DOSAGE) / (1 << 20)));
}

/* "#key TAB number" of each line as a member of one object */
static void show_json(const struct local *l, const struct sq_buf *report, bool is_usable)
{
    printf("{\"chromosome\": \"%s\", \"usable\": %s", l->chrom, is_usable ? "true" : "false");
    const char *p = (const char *)report->p, *end = p + report->n;
    for (const char *lf; p < end && *p == '#' && (lf = memchr(p, '\n', (size_t)(end - p))); p = lf + 1) {
        const char *tab = memchr(p, '\t', (size_t)(lf - p));
        if (tab)
            printf(", \"%.*s\": %llu", (int)(tab - p - 1), p + 1, strtoull(tab + 1, NULL, 10));
    }
    puts("}");
}

static void show_report(const struct local *l, const struct sq_buf *report, bool is_usable)
{
    static const struct {
        const char *key, *text;
    } why[] = {{"multiallelic", "with several alternative alleles"}, {"no_alternative", "without an alternative allele"},
               {"invalid_alleles", "with letters other than ACGT, or REF = ALT"}, {"filter_duplicate", "whose filter says duplicate"},
               {"filter_other", "with a filter set"}, {"duplicate", "twice in the file"}, {"other_part_of_x", "in another part of chromosome X than the panel"},
               {"low_call_rate", "with more than 10 % missing genotypes"}, {"allele_switch", "with REF and ALT the other way round"},
               {"strand_flip", "on the other strand"}, {"strand_flip_and_allele_switch", "on the other strand and the other way round"},
               {"allele_mismatch", "with other alleles than the panel"}};
    uint64_t n = count_of(report, "records"), n_match = count_of(report, "in_panel"), n_only = count_of(report, "typed_only"), n_out = n - n_match - n_only;
    uint64_t n_hap = count_of(report, "panel_haplotypes"), n_row = count_of(report, "panel_rows");
    printf("panel       %llu haplotypes, %llu rows, chromosome %s\n", (unsigned long long)n_hap, (unsigned long long)n_row, l->chrom);
    printf("in panel    %llu of %llu variants (%.1f %%)\n", (unsigned long long)n_match, (unsigned long long)n, n ? 100.0 * (double)n_match / (double)n : 0);
    printf("not in it   %llu, of which %llu lie before or behind the panel; kept as they are\n", (unsigned long long)n_only,
           (unsigned long long)count_of(report, "outside_panel"));
    printf("left out    %llu\n", (unsigned long long)n_out);
    for (size_t i = 0; i < sizeof why / sizeof why[0]; i++) {
        uint64_t k = count_of(report, why[i].key);
        if (k)
            printf("  %8llu  %s\n", (unsigned long long)k, why[i].text);
    }
    uint64_t n_ambiguous = count_of(report, "kept_strand_ambiguous"), n_monomorphic = count_of(report, "kept_monomorphic");
    if (n_ambiguous + n_monomorphic)
        printf("kept with   %llu A/T or C/G, which look the same on both strands; %llu with one allele in all samples\n", (unsigned long long)n_ambiguous,
               (unsigned long long)n_monomorphic);
    if (count_of(report, "list_is_cut"))
        puts("the list      of --report is too long and ends before the file does; the counts here are whole");
    if (is_usable)
        show_estimate(l, (double)n_row, (double)n_match, 2 * (double)count_of(report, "samples"), (double)n_hap);
}

sq_err local_show_overlap(const struct local *l, int report, bool is_usable)
{
    struct sq_buf text;
    sq_err e = read_report(report, &text);
    if (!e)
        (l->opt[LOCAL_json] ? show_json : show_report)(l, &text, is_usable);
    sq_buf_done(&text);
    return e;
}

/* ---- --timing ------------------------------------------------------------------------------------------------------ */

void local_show_figures(const struct worker_figures *f)
{
    static const char *const step[WORKER_N_STEP] = {
#define X(name) #name,
        WORKER_STEPS(X)
#undef X
    };
    for (uint32_t i = 0; i < f->n_window && i < WORKER_FIGURE_WINDOWS; i++) {
        const struct worker_window_figures *w = &f->window[i];
        fprintf(stderr, "window   %.1f-%.1f cM: %u typed of %u rows in %u clusters, scale %.4g, mismatch %.2g, %.0f states, %.1f kept\n", w->from_cm, w->to_cm, w->n_typed,
                w->n_site, w->n_cluster, w->scale, w->mismatch, w->mean_states, w->mean_kept);
    }
    fputs("cpu      ", stderr);
    if (f->phase_s > 0)
        fprintf(stderr, "phase %.2f s, ", f->phase_s);
    for (size_t i = 0; i < WORKER_N_STEP; i++)
        fprintf(stderr, "%s %.2f s%s", step[i], f->cpu_s[i], i + 1 < WORKER_N_STEP ? ", " : "");
    fprintf(stderr, " (format %.2f s, deflate %.2f s, write %.2f s)\n", f->format_s, f->deflate_s, f->write_s);
}

void local_show_phase_figures(const struct worker_figures *f)
{
    fprintf(stderr, "cpu      phase %.2f s, output %.2f s (format %.2f s, deflate %.2f s, write %.2f s)\n", f->phase_s, f->format_s + f->deflate_s + f->write_s, f->format_s,
            f->deflate_s, f->write_s);
}
