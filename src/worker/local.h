/**
 * local - the stages without a server: `sequester-worker --local COMMAND`, which `sequester impute` and `sequester panel ...` start.
 *
 * This process plays the runner: it opens the files, makes memory for what passes between stages, forks one child a stage
 * with its ports at the places the sandbox would give them, and speaks the same messages. The children run the same code under
 * the same list of system calls; what there isn't here is the container, the vault and the other processes.
 *
 *     local.c          which command; its arguments are read by local_options.c
 *     local_stage.c    one stage in a child of its own
 *     local_files.c    files in and out: whole or not at all
 *     local_choice.c   options of impute and phase, checked before a file is touched
 *     local_impute.c   sequester impute, sequester phase, sequester qc
 *     local_show.c     what it says: progress, what qc and --dry-run find, figures
 *     local_child.c    work that is no stage, in a child under the same list
 *     local_panel.c    sequester panel ...
 *     local_demux.c    sequester demux
 *     local_run.c      sequester run ...
 */
#ifndef SQ_WORKER_LOCAL_H
#define SQ_WORKER_LOCAL_H

#include "lib/engine/engine.h"
#include "worker/worker.h"

#include <stdio.h>

#define LOCAL_MAX_SAMPLES 1000000U
#define LOCAL_MAX_VARIANTS 1000000000U
#define LOCAL_HIGH_FD 100 /* out of the way of 3 and the ports */
#define LOCAL_MAX_THREADS 64U
#define LOCAL_MAX_ARGS 4U
#define LOCAL_MISUSED 2 /* exit code: wrong arguments */

enum local_opt {
#define SQ_LOCAL_OPT(name, letter, value, commands, text) LOCAL_##name,
#include "lib/jobs/local_options.def"
#undef SQ_LOCAL_OPT
    LOCAL_COUNT
};

struct local {
    const char *command, *args;   /* "impute", "panel build"; what may stand alone, in words */
    const char *opt[LOCAL_COUNT]; /* what was given; "" for a switch; NULL: not given */
    const char *arg[LOCAL_MAX_ARGS];
    unsigned n_arg; /* words that stand alone */
    unsigned n_thread;
    bool is_quiet, is_terminal;       /* is_terminal: progress can be shown */
    struct worker_choice choice;      /* for the stages */
    int64_t stage_ms;                 /* when the present stage began */
    struct sq_msg_work_counts counts; /* of the last stage; without chrom */
    char chrom[SQ_CHROM_MAX];
};

/* ---- local_options.c ---- */
/** local_parse - options of @l->command and @n_arg words that stand alone from @argv. Returns 0, or LOCAL_MISUSED and has said why. `--help` prints and exits. */
int local_parse(struct local *l, unsigned n_arg, int argc, char **argv) SQ_MUST_CHECK;
/** local_misused - "sequester: ..." and where the options are listed. Returns LOCAL_MISUSED. */
int local_misused(const struct local *l, const char *what, ...) __attribute__((format(printf, 2, 3)));
void local_usage(const char *command, const char *args, FILE *to);
/** local_number - a whole number of option @opt between @least and @most; *out stays as it is when the option isn't given. False: has said why. */
bool local_number(const struct local *l, enum local_opt opt, uint64_t least, uint64_t most, uint64_t *out) SQ_MUST_CHECK;

/* ---- local_stage.c ---- */
/** local_run_stage - one stage with its ports (borrowed, read from their start). Counts come to @l. */
sq_err local_run_stage(struct local *l, const char *name, const int *port, struct sq_why *why) SQ_MUST_CHECK;

/* ---- local_child.c ---- */
struct local_child;
/** What the child does, with the list of system calls over it: descriptors that are open, memory; no stdio of the C library. */
typedef sq_err local_work(struct local_child *child, void *ctx, struct sq_why *why);
sq_err local_child_progress(struct local_child *child, uint64_t done, uint64_t total) SQ_MUST_CHECK;
void local_child_note(struct local_child *child, uint32_t note); /* a number for the parent */
/** local_in_child - run @work in a child and show its progress. @ctx is the child's copy: nothing comes back but the result, @why and the note. */
sq_err local_in_child(const struct local *l, local_work *work, void *ctx, struct sq_why *why, uint32_t *out_note) SQ_MUST_CHECK;

/* ---- local_files.c ---- */
/** local_say_error - "sequester: WHERE: text: detail (line ..)" and the hint, to standard error. Returns 1. */
int local_say_error(const char *where, sq_err e, const struct sq_why *why);
/** local_hint - what to do about @e here, where there is no server and no operator. Static. */
const char *local_hint(sq_err e);
/** local_text - what @e is, in words without a server (local_hints.def). Static. */
const char *local_text(sq_err e);
int local_cannot_open(const char *path);
/** local_check_run_folder - is @dir (borrowed) at @path the folder of a run? 0, or 1 and has said why not. */
int local_check_run_folder(const char *path, int dir);
int local_cannot_write(const char *path);
/** A file that becomes @path when it is whole, and has no name till then: nothing is left of work that was ended. */
struct local_new {
    const char *path;
    char part[4096]; /* its name where the file system knows no files without one */
    int fd;
    bool has_name;
};
sq_err local_new_open(const char *path, struct local_new *out) SQ_MUST_CHECK;
/** local_new_close - @e: how the writing went; returns that, or what went wrong now. */
sq_err local_new_close(struct local_new *f, sq_err e) SQ_MUST_CHECK;
/** local_check_outputs - asked before the work: can each of @out be made, is none of them one of @in, which are read, and none named twice?
 *  NULL: a file that isn't asked for. 0, or an exit code and has said why not. */
int local_check_outputs(const struct local *l, const char *const *out, size_t n_out, const char *const *in, size_t n_in);
/** local_memory - an empty file in memory, above LOCAL_HIGH_FD; -1. */
int local_memory(const char *name);
/** local_open_input - above LOCAL_HIGH_FD; -1 and errno. */
int local_open_input(const char *path);
/** local_body_file - where a large body lies until its header is known: an unnamed file beside @out, else memory; -1. */
int local_body_file(const char *out);
/** local_write_file - write @n pieces to @path so that either the whole file is there or nothing new. */
sq_err local_write_file(const char *path, const int *piece, size_t n) SQ_MUST_CHECK;

/* ---- local_choice.c ---- */
/** local_choice - options of impute or phase into l->choice; @region_chrom: the chromosome that --region names, or "". 0, or LOCAL_MISUSED and has said why. */
int local_choice(struct local *l, char region_chrom[SQ_CHROM_MAX]) SQ_MUST_CHECK;
/** local_region - "22:1,000-2000", "22:1000-", "22:1000", "1000-2000", "22". 0: no bound. False: it isn't written so. */
bool local_region(const char *text, char chrom[SQ_CHROM_MAX], int64_t *out_from, int64_t *out_to);

/* ---- local_show.c ---- */
/** local_show_progress - one line on a terminal, with an estimate of the time left. */
void local_show_progress(const struct local *l, const char *stage, uint64_t done, uint64_t total);
void local_clear_progress(const struct local *l);
/** local_show_overlap - what @report (of qc) says, on standard output, with what the work would take if the target @is_usable. */
sq_err local_show_overlap(const struct local *l, int report, bool is_usable) SQ_MUST_CHECK;
void local_show_figures(const struct worker_figures *f);
void local_show_phase_figures(const struct worker_figures *f);

/* ---- the commands: exit codes ---- */
int local_impute(struct local *l);
int local_phase(struct local *l);
int local_qc(struct local *l);
int local_panel_build(struct local *l);
int local_panel_info(struct local *l);
int local_panel_verify(struct local *l);
int local_panel_sites(struct local *l);
int local_panel_export(struct local *l);
int local_demux(struct local *l);
int local_run_check(struct local *l);
int local_run_summary(struct local *l);

#endif
