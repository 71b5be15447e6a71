/* plan - what a task works on, for plan*.c (start, end, in between) and package.c. Not for the other files. */
#ifndef SQ_REGISTRAR_PLAN_H
#define SQ_REGISTRAR_PLAN_H

#include "daemon/registrar/registrar.h"
#include "lib/jobs/chunks.h"

struct work {
    struct sq_db_task task;
    struct sq_db_upload upload;
    struct sq_db_job job;     /* empty id: of an upload alone */
    struct sq_db_panel panel;
    const struct sq_stage_row *stage;
    uint8_t owner[ID];
    /* one object a port; those behind the JOINED port stand in `joined`, in order of chunk */
    uint8_t object[SQ_STAGE_MAX_PORTS][ID];
    uint64_t sealed_bytes[SQ_STAGE_MAX_PORTS];
    int fd[SQ_STAGE_MAX_PORTS];
    uint8_t joined[SQ_MAX_CHUNKS][ID];
    uint64_t joined_bytes[SQ_MAX_CHUNKS];
    int joined_fd[SQ_MAX_CHUNKS];
    size_t n_joined;
};

/** work_load - the rows around @task; no object yet. */
sq_err work_load(struct registrar *r, const struct sq_db_task *task, struct work *w) SQ_MUST_CHECK;
/** work_may_try_again - is a task that ended with @code worth another try? */
bool work_may_try_again(const struct sq_db_task *task, sq_err code);
/** It is ready again, and counted why. */
sq_err tx_work_again(struct tx *tx, const struct sq_db_task *task, sq_err code) SQ_MUST_CHECK;

/** A task found the disk full: nothing is begun for a moment. */
void plan_is_full(struct registrar *r);
/** One package begun whose turn it is (plan_package.c); false: none is ready. */
bool start_package(struct registrar *r);
/** Inside a transaction: the job is done, and its days begin. */
sq_err tx_job_done(struct tx *tx, const struct sq_db_job *job) SQ_MUST_CHECK;
/** The job is over: the keys of what it leaves end on its last day. */
void job_keep_until(struct registrar *r, const char *job_id);

/** newest_of_kind - the newest live object of @kind that belongs to @job_id; zeros: there is none. */
sq_err newest_of_kind(struct sq_db *db, const char *job_id, int kind, uint8_t out_id[ID]) SQ_MUST_CHECK;

/** chunks_of - the impute tasks of @job_id in order of chunk. */
struct chunks {
    struct sq_db_task row[SQ_MAX_CHUNKS];
    size_t n;
};
sq_err chunks_of(struct sq_db *db, const char *job_id, struct chunks *out) SQ_MUST_CHECK;
/** chunk_object - what @chunk wrote to the port called @name; SQ_EGONE when it is no more. */
sq_err chunk_object(struct sq_db *db, const struct sq_db_task *chunk, const char *name, struct sq_db_object *out) SQ_MUST_CHECK;

#endif
