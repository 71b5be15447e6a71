/*
 * sequester demux: a run folder to FASTQ files by sample, on this machine.
 *
 * The work is done by a child that can read below the run folder, write below that of the results, and nothing else (folders.c); it meets the
 * first byte of a stranger's only then. The parent passes SIGTERM on, and removes a folder that stayed empty.
 */
#include "worker/local.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/demux/demux.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TELL_MS 500
#define MAX_SHOWN_REMARKS 20U

struct work {
    struct local *l;
    const char *run_path, *out_path;
    int run_dir, out_dir;
    bool is_out_new;
    struct sq_buf sheet_text;
    struct sq_run *run;
    struct sq_sheet *sheet;
    struct sq_demux_plan *plan;
    struct sq_demux *d;
    int64_t start_ms, told_ms;
    uint64_t first_calls; /* of earlier processes */
    bool has_told;
};

static volatile sig_atomic_t is_interrupted;

static void on_signal(int no)
{
    is_interrupted = 1;
}

static void catch_signals(void)
{
    struct sigaction a = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}; /* a second one ends at once */
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}

/* ---- errors ---- */

static int say_run_error(const char *where, sq_err e, const struct sq_run_why *why)
{
    char text[400];
    if (!why->file[0] && !why->detail[0])
        return local_say_error(where, e, NULL);
    sq_run_why_text(why, text, sizeof text);
    if (e == SQ_EFIELD) /* of --keep-failed alone */
        return fprintf(stderr, "sequester: %s\n  so --keep-failed can't be done with this run: leave it away, and give a new folder for the results\n", text), 1;
    fprintf(stderr, "sequester: %s\n  %s\n  %s\n", text, local_text(e), local_hint(e));
    if (e == SQ_ERUNMISSING || e == SQ_ERUNCUT || e == SQ_ERUNFILE)
        fputs("  the same command with --mask-missing goes on and makes such calls N\n", stderr);
    return 1;
}

static void show_problems(const struct sq_sheet *s, bool is_quiet)
{
    for (uint32_t i = 0; i < s->n_problem; i++) {
        const struct sq_sheet_problem *p = &s->problem[i];
        if (is_quiet && !p->is_error)
            continue;
        char line[32] = "";
        if (p->line)
            snprintf(line, sizeof line, ", line %u", p->line);
        fprintf(stderr, "%s: sample sheet%s: %s\n  %s\n", p->is_error ? "sequester" : "note", line, p->what, p->fix);
    }
    if (s->n_error > s->n_problem)
        fprintf(stderr, "sequester: and more problems of this kind\n");
}

/* ---- what it works on ---- */

static bool read_options(struct local *l, struct sq_demux_options *o)
{
    static const char *const i5[] = {"auto", "as-read", "reverse-complement"};
    uint64_t memory = 512, level = 1, mismatches = 1, delta = 1, no_calls = 2;
    sq_demux_options_default(o);
    if (!local_number(l, LOCAL_memory, 64, 1 << 20, &memory) || !local_number(l, LOCAL_level, 0, 12, &level) ||
        !local_number(l, LOCAL_max_mismatches, 0, 10, &mismatches) || !local_number(l, LOCAL_min_delta, 0, 10, &delta) ||
        !local_number(l, LOCAL_max_no_calls, 0, 40, &no_calls))
        return false;
    o->n_thread = l->n_thread;
    o->memory_bytes = memory << 20;
    o->level = (int)level;
    o->rule = (struct sq_barcode_rule){l->opt[LOCAL_concatenated] != NULL, (uint32_t)mismatches, (uint32_t)delta, (uint32_t)no_calls};
    o->is_lane_joined = l->opt[LOCAL_no_lane_splitting] != NULL;
    o->is_project_folder = l->opt[LOCAL_project_folders] != NULL;
    o->is_index_written = l->opt[LOCAL_index_reads] != NULL;
    o->is_adapter_left = l->opt[LOCAL_keep_adapters] != NULL;
    o->is_failed_kept = l->opt[LOCAL_keep_failed] != NULL;
    o->is_bad_masked = l->opt[LOCAL_mask_missing] != NULL;
    o->lanes = l->opt[LOCAL_lanes];
    o->tiles = l->opt[LOCAL_tiles];
    if ((l->opt[LOCAL_max_mismatches] || l->opt[LOCAL_min_delta] || l->opt[LOCAL_max_no_calls]) && !o->rule.is_concatenated) {
        local_misused(l, "--max-mismatches, --min-delta and --max-no-calls are of --concatenated; otherwise the sheet says how many mismatches");
        return false;
    }
    for (size_t i = 0; l->opt[LOCAL_i5]; i++) {
        if (i == sizeof i5 / sizeof i5[0]) {
            local_misused(l, "--i5 is one of auto, as-read, reverse-complement");
            return false;
        }
        o->i5 = (enum sq_demux_i5)i;
        if (!strcmp(l->opt[LOCAL_i5], i5[i]))
            break;
    }
    return true;
}

static int read_sheet(struct work *w)
{
    const char *given = w->l->opt[LOCAL_sample_sheet];
    sq_err e = sq_sheet_new_empty(&w->sheet);
    if (!e && !w->l->opt[LOCAL_no_sample_sheet]) {
        sq_sheet_free(w->sheet);
        w->sheet = NULL;
        e = sq_sheet_parse(w->sheet_text.p, w->sheet_text.n, &w->sheet);
    }
    return e ? local_say_error(given ? given : "SampleSheet.csv", e, NULL) : 0;
}

static int open_run(struct work *w, const struct sq_demux_options *options)
{
    struct sq_run_why run_why = {0};
    struct sq_why why = {0};
    struct sq_run_files files = sq_run_files_dir(&w->run_dir);
    sq_err e = sq_run_open(&files, &run_why, &w->run);
    if (e)
        return say_run_error(w->run_path, e, &run_why);
    int code = read_sheet(w);
    if (code)
        return code;
    e = sq_demux_plan_new(w->run, w->sheet, options, &why, &w->plan);
    show_problems(w->sheet, w->l->is_quiet);
    if (e == SQ_ESHEET)
        return fprintf(stderr, "sequester: %s: %u problem%s\n", sq_err_text(e), w->sheet->n_error, w->sheet->n_error == 1 ? "" : "s"), 1;
    if (e == SQ_EFIELD) /* of --lanes and --tiles alone */
        return fprintf(stderr, "sequester: %s: --%s: %s\n  `sequester run check` says how many lanes and tiles there are\n", w->run_path, why.field, why.detail), 1;
    return e ? local_say_error(w->run_path, e, &why) : 0;
}

static int open_out(struct work *w)
{
    struct sq_why why = {0};
    sq_err e = sq_demux_open(w->plan, w->out_dir, &why, &w->d);
    if (e == SQ_EFULL)
        return fprintf(stderr, "sequester: %s: the disk is full, or a quota is used up: make room there\n", w->out_path), 1;
    if (e && why.detail[0]) /* says what to do: no hint that is meant for a server's users */
        return fprintf(stderr, "sequester: %s: %s\n", w->out_path, why.detail), 1;
    return e ? local_say_error(w->out_path, e, &why) : 0;
}

/* Both folders, and the bytes of the sheet: what the child can't open any more. */
static int open_folders(struct work *w)
{
    const char *given = w->l->opt[LOCAL_sample_sheet];
    sq_err e = SQ_OK;
    w->run_dir = open(w->run_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (w->run_dir < 0)
        return local_cannot_open(w->run_path);
    if (local_check_run_folder(w->run_path, w->run_dir))
        return 1;
    struct stat st;
    if (!w->l->opt[LOCAL_no_sample_sheet] && !fstatat(given ? AT_FDCWD : w->run_dir, given ? given : "SampleSheet.csv", &st, 0) && S_ISDIR(st.st_mode)) {
        errno = EISDIR;
        return local_cannot_open(given ? given : "SampleSheet.csv");
    }
    if (!w->l->opt[LOCAL_no_sample_sheet])
        e = given ? sq_file_read(AT_FDCWD, given, &w->sheet_text) : sq_file_read(w->run_dir, "SampleSheet.csv", &w->sheet_text);
    if (e == SQ_ENOTFOUND && !given)
        return fputs("sequester: the run has no SampleSheet.csv\n  give one with --sample-sheet FILE, or --no-sample-sheet: then everything goes to Undetermined\n", stderr), 1;
    if (e)
        return local_say_error(given ? given : "SampleSheet.csv", e, NULL);
    w->is_out_new = !mkdir(w->out_path, 0777);
    if (!w->is_out_new && errno != EEXIST)
        return local_cannot_write(w->out_path);
    w->out_dir = open(w->out_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return w->out_dir < 0 ? local_cannot_write(w->out_path) : 0;
}

/* ---- while it works ---- */

static bool progress(void *ctx, const struct sq_demux_progress *p)
{
    struct work *w = ctx;
    int64_t now = sq_clock_steady_ms();
    if (!w->has_told)
        w->first_calls = p->calls_done;
    if (w->l->is_terminal && !w->l->is_quiet && p->calls_total && (!w->has_told || now - w->told_ms > TELL_MS)) {
        double done = (double)(p->calls_done - w->first_calls), s = (double)(now - w->start_ms) / 1000, left = (double)(p->calls_total - p->calls_done);
        fprintf(stderr, "\rdemux    %3u %%  tile %u of %u  %.0f M calls/s", (unsigned)(100 * p->calls_done / p->calls_total), p->tiles_done + (p->tiles_done < p->tiles_total),
                p->tiles_total, s > 0 ? done / s / 1e6 : 0);
        if (done > 0 && s > 2)
            fprintf(stderr, ", %.0f s left   ", left * s / done);
        w->told_ms = now;
    }
    w->has_told = true;
    return is_interrupted;
}

/* ---- the run as it grows ---- */

#define FOLLOW_MS 1000

static bool is_not_there_yet(sq_err e)
{
    return e == SQ_ERUNMISSING || e == SQ_ERUNCUT || e == SQ_ERUNFILE;
}

/* Files that need no later cycle, once the indexes are in. */
static sq_err write_early(struct work *w, struct sq_run_why *why)
{
    sq_err e = sq_run_positions_kind(w->run) == SQ_POSITIONS_NONE ? sq_run_look(w->run, why) : SQ_OK;
    if (!e)
        e = sq_demux_run_early(w->d, progress, w, why);
    if (e)
        return e;
    const struct sq_demux_result *r = sq_demux_result(w->d);
    if (w->l->is_terminal && !w->l->is_quiet)
        fputs("\r\33[K", stderr);
    if (!w->l->is_quiet)
        fprintf(stderr, "early    what needs no later cycle is written; %llu of %llu reads found their sample (%.1f %%)\n", (unsigned long long)r->n_identified,
                (unsigned long long)r->n_read, r->n_read ? 100.0 * (double)r->n_identified / (double)r->n_read : 0);
    if (*r->hint)
        fprintf(stderr, "note: %s\n", r->hint);
    return SQ_OK;
}

/* Takes cycles in as they come, until all are there, the run is over, or a signal. */
static sq_err follow(struct work *w, struct sq_run_why *why)
{
    const struct sq_run_info *info = sq_run_info_of(w->run);
    while (!is_interrupted && sq_demux_next_cycle(w->d) <= info->n_cycle) {
        struct stat st;
        bool is_over = !fstatat(w->run_dir, "CopyComplete.txt", &st, 0) || !fstatat(w->run_dir, "RTAComplete.txt", &st, 0);
        uint32_t cycle = sq_demux_next_cycle(w->d);
        sq_err e = SQ_OK;
        if (!is_over && sq_demux_may_run_early(w->d)) {
            e = write_early(w, why);
            if (e && !is_not_there_yet(e))
                return e;
        }
        e = SQ_OK;
        if (sq_run_calls_kind(w->run) == SQ_CALLS_NONE)
            e = sq_run_look(w->run, why);
        if (!e)
            e = sq_run_calls_kind(w->run) == SQ_CALLS_NONE ? SQ_ERUNMISSING : sq_demux_feed(w->d, cycle, why);
        if (!e) {
            if (!w->l->is_quiet && w->l->is_terminal)
                fprintf(stderr, "\rfollow   cycle %u of %u   ", cycle, info->n_cycle);
            continue;
        }
        if (is_over) /* what is missing now stays missing: sq_demux_run says so, or masks it */
            return SQ_OK;
        if (!is_not_there_yet(e))
            return e;
        struct timespec nap = {FOLLOW_MS / 1000, FOLLOW_MS % 1000 * 1000000L};
        nanosleep(&nap, NULL);
    }
    for (struct stat st; !is_interrupted && sq_run_positions_kind(w->run) == SQ_POSITIONS_NONE && fstatat(w->run_dir, "CopyComplete.txt", &st, 0);) {
        sq_err e = sq_run_look(w->run, why);
        if (e)
            return e;
        nanosleep(&(struct timespec){0, 200000000L}, NULL);
    }
    return is_interrupted ? SQ_ECANCELLED : sq_run_look(w->run, why);
}

static int say_result(struct work *w)
{
    const struct sq_demux_result *r = sq_demux_result(w->d);
    double s = (double)(sq_clock_steady_ms() - w->start_ms) / 1000;
    for (uint32_t i = 0; i < r->n_remark && i < MAX_SHOWN_REMARKS && !w->l->is_quiet; i++) {
        char text[400];
        sq_run_why_text(&r->remark[i].where, text, sizeof text);
        fprintf(stderr, "note: taken as N: %s\n", text);
    }
    if (r->n_remark > MAX_SHOWN_REMARKS && !w->l->is_quiet)
        fprintf(stderr, "note: and %u more; Reports/demux.json has them\n", r->n_remark - MAX_SHOWN_REMARKS);
    if (*r->hint)
        fprintf(stderr, "note: %s\n", r->hint);
    if (sq_run_positions_kind(w->run) == SQ_POSITIONS_NONE && !w->l->is_quiet)
        fputs("note: the run has no positions (s.locs, locs, clocs), so names of reads have the number of the cluster in place of x, and 1 for y\n", stderr);
    if (!w->l->is_quiet)
        fprintf(stderr, "done     %llu clusters, %llu passed the filter, %llu of %llu that were written found their sample (%.1f %%); %.1f s\n", (unsigned long long)r->n_cluster,
                (unsigned long long)r->n_pf, (unsigned long long)r->n_identified, (unsigned long long)r->n_read,
                r->n_read ? 100.0 * (double)r->n_identified / (double)r->n_read : 0, s);
    return 0;
}

static int demux(struct work *w)
{
    struct sq_run_why why = {0};
    sq_err e = w->l->opt[LOCAL_follow] ? follow(w, &why) : SQ_OK;
    if (!e)
        e = sq_demux_run(w->d, progress, w, &why);
    if (w->l->is_terminal && !w->l->is_quiet)
        fputs("\r\33[K", stderr);
    if (e == SQ_ECANCELLED) {
        fprintf(stderr, "sequester: stopped; the same command goes on where it was\n");
        return 1;
    }
    if (e == SQ_EFULL || (e == SQ_EIO && !why.file[0])) { /* of the results: what is wrong with the run has a file's name */
        fprintf(stderr, "sequester: %s: %s\n  the same command then goes on where it was\n", w->out_path,
                e == SQ_EFULL ? "the disk is full, or a quota is used up: make room there" : "a file of the results can't be written or read back: look after the disk");
        return 1;
    }
    return e ? say_run_error(w->run_path, e, &why) : say_result(w);
}

/* ---- the child and its parent ---- */

static _Noreturn void child(struct work *w, const struct sq_demux_options *options)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    catch_signals();
    sq_err e = worker_confine_folders(w->run_dir, w->out_dir);
    int code = e ? local_say_error(w->run_path, e, NULL) : open_run(w, options);
    if (!code)
        code = open_out(w);
    if (!code)
        code = demux(w);
    sq_demux_close(w->d);
    sq_demux_plan_free(w->plan);
    sq_sheet_free(w->sheet);
    sq_run_close(w->run);
    sq_buf_done(&w->sheet_text);
    _exit(code);
}

static volatile pid_t child_pid;

static void pass_on(int no)
{
    if (child_pid > 0)
        kill(child_pid, no);
}

static int wait_for_child(void)
{
    int status = 0;
    while (waitpid(child_pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    fprintf(stderr, "sequester: it ended by signal %d; the same command goes on where it was\n", WTERMSIG(status));
    return 1;
}

int local_demux(struct local *l)
{
    struct work w = {.l = l, .run_path = l->arg[0], .out_path = l->opt[LOCAL_out], .run_dir = -1, .out_dir = -1, .start_ms = sq_clock_steady_ms()};
    struct sq_demux_options options;
    if (!w.out_path)
        return local_misused(l, "say where the results are to go: -o DIR");
    if (!read_options(l, &options))
        return LOCAL_MISUSED;
    sq_buf_init(&w.sheet_text, SQ_SHEET_MAX_BYTES);
    int code = open_folders(&w);
    if (!code) {
        fflush(NULL);
        signal(SIGINT, SIG_IGN); /* of a terminal it comes to the child, too */
        signal(SIGTERM, SIG_IGN);
        child_pid = fork();
        if (child_pid == 0)
            child(&w, &options);
        signal(SIGTERM, pass_on);
        code = child_pid < 0 ? local_say_error(w.run_path, sq_fail(SQ_ESYS), NULL) : wait_for_child();
    }
    if (code && w.is_out_new)
        rmdir(w.out_path); /* only if nothing is in it */
    sq_buf_done(&w.sheet_text);
    sq_close(&w.run_dir);
    sq_close(&w.out_dir);
    return code;
}
