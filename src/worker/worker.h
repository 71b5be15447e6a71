/**
 * worker - what the stages of the sandboxed program share: their order, their ports, how they report.
 *
 * Bytes on the ports: docs/formats/stages.md. A stage reads its input as if a stranger had written it, writes its
 * outputs to its ports and nothing else, and returns; main.c speaks with the runner.
 */
#ifndef SQ_WORKER_WORKER_H
#define SQ_WORKER_WORKER_H

#include "lib/formats/genotypes.h"
#include "lib/formats/rows.h"
#include "lib/jobs/stages.h"
#include "lib/wire/wire.h"

#define SQ_WORKER_MAX_THREADS 8U
#define SQ_WORKER_PROGRESS_MS 250
#define WORKER_POPULATIONS_BYTES 256U

/* What impute was made of, for those who ask (`sequester impute --timing`). Seconds are CPU seconds of all threads together. */
#define WORKER_STEPS(X) X(typed) X(sweep) X(fit) X(states) X(hmm) X(dosage) X(output)
enum worker_step {
#define X(name) WORKER_STEP_##name,
    WORKER_STEPS(X)
#undef X
        WORKER_N_STEP
};
#define WORKER_FIGURE_WINDOWS 64U
struct worker_window_figures {
    double from_cm, to_cm, scale, mismatch, mean_states, mean_kept;
    uint32_t n_typed, n_site, n_cluster;
};
struct worker_figures {
    double cpu_s[WORKER_N_STEP]; /* `output` is the sum of the three below and of what lies between */
    double format_s, deflate_s, write_s;
    double phase_s;    /* of all steps of the phasing */
    uint32_t n_window; /* all of them; the first ones are kept */
    struct worker_window_figures window[WORKER_FIGURE_WINDOWS];
};

/* How impute is done. The service takes worker_choice_default(); `sequester impute` has options. */
struct worker_choice {
    enum sq_rows_container container;
    enum sq_rows_field field[SQ_ROWS_N_FIELD];
    unsigned n_field;
    int level; /* of deflate; 0: SQ_ROWS_LEVEL */
    double min_r2;
    bool overwrite_typed, wants_csi; /* wants_csi: finish makes a .csi where a .tbi would do */
    int64_t region_from_bp, region_to_bp; /* positions that are written, both ends included; 0: no bound */
    uint32_t n_state;                     /* 0: the engine's default, as in what follows */
    double scale;
    size_t memory_bytes;
    const char *panel_name;               /* for the header; NULL: not said */
    bool wants_phased;                   /* for the order's flags: refuse what isn't phased */
    bool phases;                         /* impute: phase on the way */
    int fd_map;                          /* a map in place of the panel's; -1 */
    int fd_sites[2], fd_empirical[2];    /* body and index of these tracks; -1: not wanted */
    int fd_phased_index;                 /* phase: rows of a file, and here their index; -1: a stream for impute */
    struct worker_figures *figures;      /* NULL: nobody asks */
};
/* counts.format of finish: which index it made */
#define WORKER_INDEX_TBI 1U
#define WORKER_INDEX_CSI 2U

/** worker_choice_default - GT:DS:HDS:GP in VCF, as the public servers give, everything else as the engine does by itself. */
struct worker_choice worker_choice_default(void);

#define SQ_WORKER_PANEL_NAME_BYTES 65U

struct worker {
    int control; /* socket to the runner */
    int port[SQ_STAGE_MAX_PORTS];
    enum sq_stage stage;
    uint64_t max_samples, max_variants;
    uint32_t flags;
    uint64_t from_bp, to_bp; /* impute: the chunk; 0: from the start, to the end */
    char panel_name[SQ_WORKER_PANEL_NAME_BYTES]; /* as the server registered it; "": not said */
    unsigned n_thread;
    struct worker_choice choice;
    int64_t progress_ms; /* when the last progress was sent */
    uint64_t progress_done, progress_total;
    bool has_counts;
    struct sq_msg_work_counts counts; /* filled by the stage; chrom points to counts_chrom */
    char counts_chrom[SQ_CHROM_MAX], counts_populations[WORKER_POPULATIONS_BYTES];
    struct sq_why why;
};

/** worker_serve - take one order from descriptor 3, run it, report. Returns the exit code: 0 done, 1 failed and reported, 2 no runner. */
int worker_serve(unsigned n_thread, const struct worker_choice *choice);

/** worker_progress - at most four messages a second. @total 0: not known. */
sq_err worker_progress(struct worker *w, uint64_t done, uint64_t total) SQ_MUST_CHECK;
/** worker_beat - nothing new, but alive: the last progress again. Whatever may take more than a few seconds calls one of the two. */
sq_err worker_beat(struct worker *w) SQ_MUST_CHECK;
/** worker_count_chrom - put @chrom into the counts. */
void worker_count_chrom(struct worker *w, const char *chrom);

/** The stages. Errors with their place in w->why. */
sq_err stage_panel(struct worker *w) SQ_MUST_CHECK;
sq_err stage_ingest(struct worker *w) SQ_MUST_CHECK;
sq_err stage_qc(struct worker *w) SQ_MUST_CHECK;
sq_err stage_phase(struct worker *w) SQ_MUST_CHECK;
sq_err stage_impute(struct worker *w) SQ_MUST_CHECK;
sq_err stage_finish(struct worker *w) SQ_MUST_CHECK;

/** worker_confine - no core dumps, not dumpable, and the list of system calls in confine.c. For good. */
/** Bits of lib/jobs/walls.def; before worker_confine(). */
uint32_t worker_walls(void);
sq_err worker_confine(void) SQ_MUST_CHECK;

/* ---- folders.c: commands without a server that read a folder of strangers' files ---- */
enum worker_folders { WORKER_FOLDERS_NONE, WORKER_FOLDERS_READ, WORKER_FOLDERS_WRITE };
/** worker_confine_to - worker_confine(), and what opens files when there are folders. */
sq_err worker_confine_to(enum worker_folders folders) SQ_MUST_CHECK;
/**
 * worker_confine_folders - from here on this process and its threads may read below @read_fd (a directory; -1: none), read and write below
 * @write_fd (-1: none), and touch no other file, no network, no other process (Landlock where the kernel has it; docs/confinement.md says
 * what is left without). Descriptors that are open stay. Before the first thread.
 */
sq_err worker_confine_folders(int read_fd, int write_fd) SQ_MUST_CHECK;

/** local_main - `sequester-worker --local ...`: the same stages without a server. */
int local_main(int argc, char **argv);

#endif
