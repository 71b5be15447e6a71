/* sequester impute: ingest, qc, impute and finish, one after another. */
#include "worker/local.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"

struct job {
    struct local *l;
    const char *panel, *target, *map, *out;
    int fd_panel, fd_target, fd_map;
    int genotypes, ids, kept, report, body, index, header, final_index; /* between the stages */
    struct sq_why why;
};

static int fail(const char *where, sq_err e, const struct job *j)
{
    return local_say_error(where, e, &j->why);
}

static int ingest(struct job *j)
{
    const struct sq_msg_work_counts *n = &j->l->counts;
    sq_err e = local_run_stage(j->l, "ingest", (const int[]){j->fd_target, j->genotypes, j->ids}, 0, &j->why);
    if (e)
        return fail(j->target, e, j);
    if (!j->l->is_quiet)
        fprintf(stderr, "target   %llu samples, %llu variants, chromosome %s:%llu-%llu, %s\n", (unsigned long long)n->n_sample,
                (unsigned long long)n->n_variant, j->l->chrom, (unsigned long long)n->first_bp, (unsigned long long)n->last_bp,
                n->is_phased ? "phased" : "not phased");
    return 0;
}

static int qc(struct job *j)
{
    const struct sq_msg_work_counts *n = &j->l->counts;
    sq_err e = local_run_stage(j->l, "qc", (const int[]){j->genotypes, j->fd_panel, j->kept, j->report}, 0, &j->why);
    const char *report = j->l->opt[LOCAL_report];
    if (report && local_write_file(report, &j->report, 1)) /* why it failed stands there too */
        local_say_error(report, sq_fail(SQ_EIO), NULL);
    if (e)
        return fail(e == SQ_EPANEL ? j->panel : j->target, e, j);
    if (!j->l->is_quiet)
        fprintf(stderr, "qc       %llu kept, of which %llu in the panel; %llu left out\n", (unsigned long long)n->n_kept,
                (unsigned long long)n->n_in_panel, (unsigned long long)n->n_excluded);
    return 0;
}

static int impute(struct job *j)
{
    const struct sq_msg_work_counts *n = &j->l->counts;
    sq_err e = local_run_stage(j->l, "impute", (const int[]){j->kept, j->fd_panel, j->fd_map, j->body, j->index},
                               j->map ? 0 : SQ_WORK_NO_MAP, &j->why);
    if (e)
        return fail(e == SQ_EMAP ? j->map : e == SQ_EPANEL ? j->panel
                                                           : j->target,
                    e, j);
    if (!j->l->is_quiet)
        fprintf(stderr, "impute   %llu panel sites from %llu haplotypes%s\n", (unsigned long long)n->n_site,
                (unsigned long long)n->n_haplotype, j->map ? "" : "; no map: 1 cM/Mb assumed");
    return 0;
}

static int finish(struct job *j)
{
    char index_path[4096];
    if ((size_t)snprintf(index_path, sizeof index_path, "%s.tbi", j->out) >= sizeof index_path)
        return fail(j->out, sq_fail(SQ_ERANGE), j);
    sq_err e = local_run_stage(j->l, "finish", (const int[]){j->ids, j->index, j->header, j->final_index}, 0, &j->why);
    if (!e)
        e = local_write_file(j->out, (const int[]){j->header, j->body}, 2);
    if (e)
        return fail(j->out, e, j);
    e = local_write_file(index_path, &j->final_index, 1);
    return e ? fail(index_path, e, j) : 0;
}

static int open_files(struct job *j)
{
    if ((j->fd_panel = local_open_input(j->panel)) < 0)
        return local_cannot_open(j->panel);
    if ((j->fd_target = local_open_input(j->target)) < 0)
        return local_cannot_open(j->target);
    if ((j->fd_map = j->map ? local_open_input(j->map) : local_memory("no map")) < 0)
        return local_cannot_open(j->map ? j->map : "memory for the map");
    j->body = local_body_file(j->out);
    static const char *const names[] = {"genotypes", "ids", "kept", "report", "index", "header", "final_index"};
    int *fd[] = {&j->genotypes, &j->ids, &j->kept, &j->report, &j->index, &j->header, &j->final_index};
    bool is_ok = j->body >= 0;
    for (size_t i = 0; i < sizeof fd / sizeof fd[0]; i++)
        is_ok = (*fd[i] = local_memory(names[i])) >= 0 && is_ok;
    return is_ok ? 0 : local_say_error(j->out, sq_fail(SQ_ESYS), NULL);
}

int local_impute(struct local *l)
{
    struct job j = {.l = l, .panel = l->opt[LOCAL_panel], .target = l->opt[LOCAL_target], .map = l->opt[LOCAL_map], .out = l->opt[LOCAL_out]};
    if (!j.panel || !j.target || !j.out)
        return local_misused(l, "--panel, --target and --out are needed");
    int64_t start = sq_clock_steady_ms();
    int rc = open_files(&j);
    if (!rc)
        rc = ingest(&j);
    if (!rc)
        rc = qc(&j);
    if (!rc)
        rc = impute(&j);
    if (!rc)
        rc = finish(&j);
    if (!rc && !l->is_quiet)
        fprintf(stderr, "done     %s and .tbi, %.1f s\n", j.out, (double)(sq_clock_steady_ms() - start) / 1000);
    return rc;
}
