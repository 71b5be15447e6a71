/**
 * worker - what the stages of the sandboxed program share: their order, their ports, how they report.
 *
 * Bytes on the ports: docs/formats/stages.md. A stage reads its input as if a stranger had written it, writes its
 * outputs to its ports and nothing else, and returns; main.c speaks with the runner.
 */
#ifndef SQ_WORKER_WORKER_H
#define SQ_WORKER_WORKER_H

#include "lib/formats/genotypes.h"
#include "lib/jobs/stages.h"
#include "lib/wire/wire.h"

/* work_order.flags */
#define SQ_WORK_NO_MAP 1U /* impute without a map: 1 cM/Mb throughout */
#define SQ_WORK_CSI 2U    /* finish: a .csi, where a .tbi would do */

#define SQ_WORKER_MAX_THREADS 8U
#define SQ_WORKER_PROGRESS_MS 250

struct worker {
    int control; /* socket to the runner */
    int port[SQ_STAGE_MAX_PORTS];
    enum sq_stage stage;
    uint64_t max_samples, max_variants;
    uint32_t flags;
    uint64_t from_bp, to_bp; /* impute: the chunk; 0: from the start, to the end */
    unsigned n_thread;
    int64_t progress_ms; /* when the last progress was sent */
    uint64_t progress_done, progress_total;
    bool has_counts;
    struct sq_msg_work_counts counts; /* filled by the stage; chrom points to counts_chrom */
    char counts_chrom[SQ_CHROM_MAX];
    struct sq_why why;
};

/** worker_serve - take one order from descriptor 3, run it, report. Returns the exit code: 0 done, 1 failed and reported, 2 no runner. */
int worker_serve(unsigned n_thread);

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
