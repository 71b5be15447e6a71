/*
 * sequester impute: ingest, qc, impute and finish, one after another; finish once for each file that is written. What isn't phased is phased by
 * the impute stage on the way. sequester phase: the same with the phase stage in impute's place. sequester qc: the first two.
 */
#include "worker/local.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/formats/gmap.h"

#include <string.h>
#include <sys/mman.h>

/* A file that is asked for: its records and what its header and index are made of. */
struct result {
    const char *path; /* NULL: not asked for */
    int body, index;
};

struct job {
    struct local *l;
    const char *panel, *target, *map;
    struct result result, sites, empirical;
    char region_chrom[SQ_CHROM_MAX];
    int fd_panel, fd_target;
    int genotypes, ids, kept, report; /* between the stages */
    struct sq_why why;
};

static int fail(const char *where, sq_err e, const struct job *j)
{
    return local_say_error(where, e, &j->why);
}

static int ingest(struct job *j)
{
    const struct sq_msg_work_counts *n = &j->l->counts;
    sq_err e = local_run_stage(j->l, "ingest", (const int[]){j->fd_target, j->genotypes, j->ids}, &j->why);
    if (e)
        return fail(j->target, e, j);
    if (!j->l->is_quiet)
        fprintf(stderr, "target   %llu samples, %llu variants, chromosome %s:%llu-%llu, %s\n", (unsigned long long)n->n_sample,
                (unsigned long long)n->n_variant, j->l->chrom, (unsigned long long)n->first_bp, (unsigned long long)n->last_bp,
                n->is_phased ? "phased" : "not phased");
    if (*j->region_chrom && !sq_chrom_same(j->region_chrom, j->l->chrom))
        return local_misused(j->l, "--region is of chromosome %s, the target of %s", j->region_chrom, j->l->chrom);
    return 0;
}

static int qc(struct job *j)
{
    const struct sq_msg_work_counts *n = &j->l->counts;
    sq_err e = local_run_stage(j->l, "qc", (const int[]){j->genotypes, j->fd_panel, j->kept, j->report}, &j->why);
    const char *report = j->l->opt[LOCAL_report];
    if (report && local_write_file(report, &j->report, 1)) /* why it failed stands there too */
        local_say_error(report, sq_fail(SQ_EIO), NULL);
    if (e && j->l->opt[LOCAL_dry_run] && (e == SQ_ENOOVERLAP || e == SQ_ECALLRATE) && local_show_overlap(j->l, j->report, false))
        local_say_error("the report", sq_fail(SQ_EIO), NULL);
    if (e)
        return fail(e == SQ_EPANEL ? j->panel : j->target, e, j);
    if (!j->l->is_quiet)
        fprintf(stderr, "qc       %llu kept, of which %llu in the panel; %llu left out%s\n", (unsigned long long)n->n_kept,
                (unsigned long long)n->n_in_panel, (unsigned long long)n->n_excluded, n->n_excluded && !report ? " (--report says why)" : "");
    j->l->choice.phases = !n->is_phased;
    return 0;
}

/* of the stages that read panel, target and map, and write beside the result */
static int fail_any(sq_err e, const struct job *j)
{
    return fail(e == SQ_EMAP ? j->map : e == SQ_EPANEL ? j->panel : e == SQ_ERANGE ? "--region" : e == SQ_EFULL ? j->result.path : j->target, e, j);
}

static int phase(struct job *j)
{
    const struct sq_msg_work_counts *n = &j->l->counts;
    sq_err e = local_run_stage(j->l, "phase", (const int[]){j->kept, j->fd_panel, j->result.body}, &j->why);
    if (e)
        return fail_any(e, j);
    if (!j->l->is_quiet)
        fprintf(stderr, "phase    %llu heterozygotes at %llu sites of the panel ordered, %llu missing calls filled; %llu sites that the panel lacks stay as they are\n",
                (unsigned long long)n->n_kept, (unsigned long long)n->n_in_panel, (unsigned long long)n->n_excluded,
                (unsigned long long)(n->n_variant - n->n_in_panel));
    return 0;
}

static int impute(struct job *j)
{
    const struct sq_msg_work_counts *n = &j->l->counts;
    sq_err e = local_run_stage(j->l, "impute", (const int[]){j->kept, j->fd_panel, j->result.body, j->result.index}, &j->why);
    if (e)
        return fail_any(e, j);
    if (!j->l->is_quiet)
        fprintf(stderr, "impute   %s%llu rows of the panel from %llu haplotypes, %llu of them typed; %llu below --min-r2 left out\n", j->l->choice.phases ? "phased on the way; " : "", (unsigned long long)n->n_site,
                (unsigned long long)n->n_haplotype, (unsigned long long)n->n_in_panel, (unsigned long long)n->n_excluded);
    return 0;
}

/* header | body, and the index beside it */
static int finish(struct job *j, const struct result *r)
{
    char index_path[4096];
    int header = local_memory("header"), final_index = local_memory("final_index");
    if (header < 0 || final_index < 0)
        return fail(r->path, sq_fail(SQ_ESYS), j);
    sq_err e = local_run_stage(j->l, "finish", (const int[]){j->ids, r->index, header, final_index}, &j->why);
    if (!e)
        e = local_write_file(r->path, (const int[]){header, r->body}, 2);
    if (e)
        return fail(r->path, e, j);
    if ((size_t)snprintf(index_path, sizeof index_path, "%s.%s", r->path, j->l->counts.format == WORKER_INDEX_CSI ? "csi" : "tbi") >= sizeof index_path)
        return fail(r->path, sq_fail(SQ_ERANGE), j);
    e = local_write_file(index_path, &final_index, 1);
    sq_close(&header);
    sq_close(&final_index);
    return e ? fail(index_path, e, j) : 0;
}

static int open_result(struct job *j, struct result *r, const char *path, int fd[2])
{
    if (!path)
        return 0;
    *r = (struct result){.path = path, .body = local_body_file(path), .index = local_memory("index")};
    if (r->body < 0 || r->index < 0)
        return fail(path, sq_fail(SQ_ESYS), j);
    if (fd) {
        fd[0] = r->body;
        fd[1] = r->index;
    }
    return 0;
}

/* All that is written, the indexes too: which of the two kinds it becomes is known at the end only. */
static int check_names(const struct job *j)
{
    const struct local *l = j->l;
    static char index[6][4096 + 8];
    const char *out[10] = {l->opt[LOCAL_report], l->opt[LOCAL_out], l->opt[LOCAL_sites], l->opt[LOCAL_empirical]}, *const in[] = {j->panel, j->target, j->map};
    size_t n = 4;
    for (size_t i = 0; i < 6; i++)
        if (out[1 + i / 2]) {
            snprintf(index[i], sizeof index[i], "%s.%s", out[1 + i / 2], i % 2 ? "csi" : "tbi");
            out[n++] = index[i];
        }
    return local_check_outputs(l, out, l->opt[LOCAL_dry_run] ? 1 : n, in, 3);
}

static int open_files(struct job *j)
{
    struct local *l = j->l;
    if ((j->fd_panel = local_open_input(j->panel)) < 0)
        return local_cannot_open(j->panel);
    if ((j->fd_target = local_open_input(j->target)) < 0)
        return local_cannot_open(j->target);
    if (j->map && (l->choice.fd_map = local_open_input(j->map)) < 0)
        return local_cannot_open(j->map);
    int rc = check_names(j);
    if (!rc)
        rc = open_result(j, &j->result, l->opt[LOCAL_dry_run] ? NULL : l->opt[LOCAL_out], NULL);
    if (!rc && j->result.path)
        rc = open_result(j, &j->sites, l->opt[LOCAL_sites], l->choice.fd_sites);
    if (!rc && j->result.path)
        rc = open_result(j, &j->empirical, l->opt[LOCAL_empirical], l->choice.fd_empirical);
    if (rc)
        return rc;
    static const char *const names[] = {"genotypes", "ids", "kept", "report"};
    int *fd[] = {&j->genotypes, &j->ids, &j->kept, &j->report};
    for (size_t i = 0; i < sizeof fd / sizeof fd[0]; i++)
        if ((*fd[i] = local_memory(names[i])) < 0)
            return fail("memory", sq_fail(SQ_ESYS), j);
    return 0;
}

/* Shared with the child, which fills it. */
static struct worker_figures *figures_new(void)
{
    void *p = mmap(NULL, sizeof(struct worker_figures), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* What both commands do before the stage that makes the result; *out_over: --dry-run has said what it found. */
static int prepare(struct job *j, bool *out_over)
{
    struct local *l = j->l;
    *out_over = false;
    if (j->panel) /* the file's name: where it lies is nobody's business */
        l->choice.panel_name = strrchr(j->panel, '/') ? strrchr(j->panel, '/') + 1 : j->panel;
    int rc = local_choice(l, j->region_chrom);
    if (!rc)
        rc = open_files(j);
    if (!rc)
        rc = ingest(j);
    if (!rc)
        rc = qc(j);
    if (!rc && l->opt[LOCAL_dry_run]) {
        sq_err e = local_show_overlap(l, j->report, true);
        *out_over = true;
        return e ? fail("the report", e, j) : 0;
    }
    return rc;
}

static void say_done(const struct job *j, int64_t start_ms)
{
    if (!j->l->is_quiet)
        fprintf(stderr, "done     %s and its index, %.1f s\n", j->result.path, (double)(sq_clock_steady_ms() - start_ms) / 1000);
}

static int make_imputed(struct job *j)
{
    int rc = impute(j);
    const struct result *const all[] = {&j->result, &j->sites, &j->empirical};
    for (size_t i = 0; i < 3 && !rc; i++)
        if (all[i]->path)
            rc = finish(j, all[i]);
    return rc;
}

static int make_phased(struct job *j)
{
    j->l->choice.fd_phased_index = j->result.index;
    int rc = phase(j);
    j->l->choice.fd_phased_index = -1;
    return rc ? rc : finish(j, &j->result);
}

static int whole(struct local *l, int (*make)(struct job *j), void (*show_figures)(const struct worker_figures *f))
{
    struct job j = {.l = l, .panel = l->opt[LOCAL_panel], .target = l->opt[LOCAL_target], .map = l->opt[LOCAL_map]};
    int64_t start = sq_clock_steady_ms();
    bool is_over;
    l->choice = worker_choice_default();
    l->choice.figures = l->opt[LOCAL_timing] ? figures_new() : NULL;
    int rc = prepare(&j, &is_over);
    if (rc || is_over)
        return rc;
    rc = make(&j);
    if (!rc && l->choice.figures)
        show_figures(l->choice.figures);
    if (!rc)
        say_done(&j, start);
    return rc;
}

int local_impute(struct local *l)
{
    return whole(l, make_imputed, local_show_figures);
}

int local_qc(struct local *l)
{
    l->opt[LOCAL_dry_run] = ""; /* all that is done without a result */
    return whole(l, NULL, NULL);
}

int local_phase(struct local *l)
{
    return whole(l, make_phased, local_show_phase_figures);
}
