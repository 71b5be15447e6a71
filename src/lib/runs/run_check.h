/**
 * runs/run_check - is the folder of a run whole? Every file that RunInfo lets expect is there, as long as it says, and can be unpacked; the
 * clusters of calls, filters and positions are the same ones.
 */
#ifndef SQ_RUNS_RUN_CHECK_H
#define SQ_RUNS_RUN_CHECK_H

#include "lib/runs/runs.h"

#define SQ_RUN_MAX_FINDINGS 2000U /* kept; more are counted */

struct sq_run_finding {
    bool is_error;       /* else a remark: the run can be used */
    sq_err code;         /* of err.def; SQ_OK for some remarks */
    struct sq_run_why where;
    uint32_t last_cycle; /* 0, or: the same of all cycles where.cycle to this one */
    uint32_t n_tile;     /* tiles of the file that it hits, when more than where.tile */
};

/** How far the run is, by the marks that the instrument writes. */
enum sq_run_state { SQ_RUN_GOING,     /* no mark of an end */
                    SQ_RUN_CALLED,    /* RTAComplete.txt: all calls are made, they may still be copied */
                    SQ_RUN_COMPLETE };/* CopyComplete.txt, or RTAComplete.txt of instruments that know no other */

struct sq_run_check {
    enum sq_run_state state;
    uint32_t n_lane, n_tile, n_cycle;
    uint32_t n_cycle_there;   /* cycles that are there in all lanes, to the first that isn't */
    uint64_t n_cluster, n_pf; /* of the tiles that have a filter */
    uint64_t n_call;          /* calls read; 0 of a quick check */
    uint64_t n_finding, n_error;     /* all, those not kept among them */
    uint32_t n_kept;
    struct sq_run_finding *finding; /* [n_kept] by lane, cycle, tile */
};

struct sq_run_check_options {
    unsigned n_thread;
    bool is_quick; /* lengths and heads only; nothing is unpacked */
    /* from one of the threads, a few times a second; true: stop (SQ_ECANCELLED). May be NULL. */
    bool (*progress)(void *ctx, uint64_t done, uint64_t total);
    void *ctx;
};

/**
 * sq_run_check - looks at all of @run. What is wrong is a finding, never an error of this call: SQ_ENOMEM, SQ_ESYS, SQ_ECANCELLED.
 * Memory: a tile a thread.
 */
sq_err sq_run_check(struct sq_run *run, const struct sq_run_check_options *options, struct sq_run_check *out) SQ_MUST_CHECK;
void sq_run_check_done(struct sq_run_check *c);
/** sq_run_check_add - a finding of the caller's. */
sq_err sq_run_check_add(struct sq_run_check *c, bool is_error, sq_err code, const struct sq_run_why *where) SQ_MUST_CHECK;

#endif
