/**
 * runner - the inside of the process that opens, pumps and seals. Never leaves this folder.
 *
 * One task is one thread and reads as one straight story (runner_sandbox.c, runner_import.c, runner_package.c,
 * runner_stream.c). Around it stand its pumps, one thread a port, which move bytes between the vault and a pipe.
 * A task owns two events: `stop_fd` (end now: cancelled, failed, superseded) and `gone_fd` (the sandbox has ended);
 * everything in it that could wait polls them, so nothing outlives its task.
 */
#ifndef SQ_RUNNER_RUNNER_H
#define SQ_RUNNER_RUNNER_H

#include "lib/core/buf.h"
#include "lib/core/err.h"
#include "lib/jobs/stages.h"
#include "lib/proc/node.h"
#include "lib/crypt/recipient.h"
#include "lib/vault/vault_open.h"
#include "lib/vault/vault_seal.h"

#include <pthread.h>

#define SQ_RUNNER_MAX_TASKS 64
#define SQ_RUNNER_MAX_FILES 72
#define SQ_RUNNER_COPY_BYTES 65536
#define SQ_RUNNER_PIPE_BYTES (1 << 20)
#define SQ_RUNNER_KEY_WAIT_MS 20000
#define SQ_RUNNER_SUM_BYTES 52 /* n_part(4) plain_bytes(8) sealed_bytes(8) sha256(32) */
/* counts of task_ended: format, is_phased, chrom(16), nine u64, build(32), populations(256); texts padded with zeros */
#define SQ_RUNNER_COUNTS_BUILD 90
#define SQ_RUNNER_COUNTS_POPULATIONS 122
#define SQ_RUNNER_COUNTS_BYTES 378

enum sq_task_kind { SQ_TASK_RUN = 1, SQ_TASK_IMPORT, SQ_TASK_PACKAGE, SQ_TASK_STREAM, SQ_TASK_VERIFY, SQ_TASK_KINDS };

struct sq_task_file {
    uint8_t object_id[SQ_ID_BYTES];
    uint64_t sealed_bytes; /* of an input */
    int fd;
};

/** Context of the vault's key functions: which task asks for which object. */
struct sq_task_keys {
    struct sq_task *task;
    uint8_t object_id[SQ_ID_BYTES];
};

struct sq_task {
    struct sq_runner *runner;
    uint8_t id[SQ_ID_BYTES];
    uint32_t fence;
    enum sq_task_kind kind;

    /* the request, copied and checked by its handler */
    const struct sq_stage_row *stage;
    uint8_t size_class;
    uint64_t from_bp, to_bp; /* of a chunk */
    size_t n_file;
    struct sq_task_file file[SQ_RUNNER_MAX_FILES];
    uint8_t port_of[SQ_RUNNER_MAX_FILES]; /* of a stage: which port file[i] stands behind, ascending */
    int source_fd;
    char panel[65], population[33], check[65];
    struct sq_recipient recipient; /* of a package; kind 0: it goes under a password */
    void *plan; /* of a package, malloc: runner_package.c */
    uint64_t max_samples, max_variants;
    uint32_t flags;
    uint64_t first, n_bytes; /* of a stream */
    struct sq_task_keys stream_keys;
    struct sq_vault_opener *stream_opener;

    int stop_fd, gone_fd; /* eventfds; once written they stay readable */
    _Atomic int64_t signed_ms; /* when registrar last heard of it; steady clock */

    /* guarded by runner->lock */
    bool is_cancelled, is_superseded;
    bool is_in_sandbox, has_exited, is_lost; /* lost: jailer went away, nobody will tell of the end */
    struct sq_msg_exited exited;
    bool is_on_offer; /* a stream that waits for its ticket */
    uint8_t ticket[SQ_ID_BYTES];
    int reader_fd;
    sq_err e; /* the first failure, which names the task's end */
    struct sq_why why;

    /* the result, written by the task's own thread */
    uint8_t sums[SQ_STAGE_MAX_PORTS * SQ_RUNNER_SUM_BYTES];
    size_t n_sums;
    bool has_report; /* it failed with a verdict on the data; the only sum is its report's */
    uint8_t counts[SQ_RUNNER_COUNTS_BYTES];
    uint32_t walls; /* what the program found around itself */
    size_t n_counts;
};

struct sq_memory;

struct sq_runner {
    struct sq_node *node;
    pthread_mutex_t lock;
    pthread_cond_t wake; /* broadcast at every change below; monotonic clock */
    struct sq_task *task[SQ_RUNNER_MAX_TASKS];
    struct {
        uint8_t id[SQ_ID_BYTES];
        uint32_t fence;
    } ended[SQ_RUNNER_MAX_TASKS]; /* the last ones: a late message with an old fence starts nothing */
    size_t next_ended;
    struct sq_memory *memory;
};

/* ---- runner_task.c: the table, the life and the end of a task ---- */

sq_err sq_runner_init(struct sq_runner *r) SQ_MUST_CHECK;
/** sq_task_new - an empty task; not yet in the table. sq_task_free closes what it holds. */
sq_err sq_task_new(struct sq_runner *r, enum sq_task_kind kind, const uint8_t id[SQ_ID_BYTES], uint32_t fence,
                   struct sq_task **out_task) SQ_MUST_CHECK;
void sq_task_free(struct sq_task *t);
/**
 * sq_task_begin_take - put @t into the table and start its thread, which owns it from now on.
 * An older task of the same id is cancelled first and waited for. SQ_ECONFLICT when the fence isn't higher than that
 * of the present or a recent one, SQ_EBUSY when 64 tasks are here. On failure @t is still the caller's.
 */
sq_err sq_task_begin_take(struct sq_task *t, sq_err (*work)(struct sq_task *t)) SQ_MUST_CHECK;
/** The first failure of a task counts; all its threads stop. @why may be NULL. Any thread. */
void sq_task_fail(struct sq_task *t, sq_err e, const struct sq_why *why);
bool sq_task_is_stopped(const struct sq_task *t);
/** Tell registrar that this task moves, at most every two seconds: called wherever something really has moved, never by a clock. */
void sq_task_sign(struct sq_task *t);
void sq_task_add_sum(struct sq_task *t, const struct sq_vault_sum *sum);
struct timespec sq_task_deadline(unsigned wait_ms);

void on_task_cancel(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void on_exited(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void sq_runner_on_peer_down(void *ctx, enum sq_role peer);

/* ---- runner_keys.c: what this process may ask keeper, each answer used at once and wiped ---- */

sq_err sq_task_sealer(struct sq_task_keys *k, struct sq_task *t, const struct sq_task_file *f,
                      struct sq_vault_sealer **out_sealer) SQ_MUST_CHECK; /* @k lives as long as the sealer */
sq_err sq_task_opener(struct sq_task_keys *k, struct sq_task *t, const struct sq_task_file *f,
                      struct sq_vault_opener **out_opener) SQ_MUST_CHECK;
/** Exactly @n bytes from @offset. */
sq_err sq_task_read(struct sq_vault_opener *opener, uint64_t offset, void *out, size_t n) SQ_MUST_CHECK;

/* ---- runner_files.c: descriptors from registrar are checked as if it were hostile ---- */

enum sq_file_use { SQ_FILE_READ, SQ_FILE_WRITE };
sq_err sq_file_check(int fd, enum sq_file_use use) SQ_MUST_CHECK;
/** Takes ids, lengths and descriptors into the task: the first @n_in are inputs, the rest outputs. */
sq_err sq_task_take_files(struct sq_task *t, struct sq_ask *ask, struct sq_ids objects, struct sq_span sealed_bytes,
                          const struct sq_fds *files, const bool *is_input) SQ_MUST_CHECK;

/* ---- runner_pump.c: bytes between the vault and a pipe, in bounded memory ---- */

/** A pipe, 1 MiB where allowed; our end (@ours: 0 the read end, 1 the write end) doesn't block, so it can be stopped. */
sq_err sq_pump_pipe(int ours, int out_fd[2]) SQ_MUST_CHECK;
/** Plaintext [first, first + n) of @opener into @fd. A reader that went away ends it quietly: *out_is_gone. */
sq_err sq_pump_open(struct sq_task *t, struct sq_vault_opener *opener, uint64_t first, uint64_t n, int fd,
                    bool *out_is_gone) SQ_MUST_CHECK;
/** Everything that comes out of @fd into @sealer; more than @max_bytes is SQ_EPROTO. Ends at EOF or when the sandbox is gone and the pipe is empty. */
sq_err sq_pump_seal(struct sq_task *t, int fd, struct sq_vault_sealer *sealer, uint64_t max_bytes) SQ_MUST_CHECK;

/* ---- runner_memory.c: whole plaintexts in sealed memory files, shared among tasks ---- */

/** sq_memory_new opens /proc/self/fd, so before confinement; sq_memory_start starts the sweeper, after it. */
sq_err sq_memory_new(uint64_t max_bytes, struct sq_memory **out_memory) SQ_MUST_CHECK;
sq_err sq_memory_start(struct sq_memory *memory) SQ_MUST_CHECK;
/**
 * sq_memory_get - a read-only descriptor of its own on the plaintext of @f, filled from @opener if it isn't there yet.
 * The caller has made @opener, so keeper has agreed to this task's grant even when the bytes are already here.
 * sq_memory_put gives it back (the descriptor is the caller's to close).
 */
sq_err sq_memory_get(struct sq_memory *memory, struct sq_task *t, const struct sq_task_file *f,
                     struct sq_vault_opener *opener, int *out_fd) SQ_MUST_CHECK;
void sq_memory_put(struct sq_memory *memory, const uint8_t object_id[SQ_ID_BYTES]);

/* ---- one story each ---- */
void on_task_run(void *ctx, struct sq_ask *ask, const struct sq_msg *m);     /* runner_sandbox.c */
void on_task_import(void *ctx, struct sq_ask *ask, const struct sq_msg *m);  /* runner_import.c */
void on_task_verify(void *ctx, struct sq_ask *ask, const struct sq_msg *m);  /* runner_verify.c */
void on_task_package(void *ctx, struct sq_ask *ask, const struct sq_msg *m); /* runner_package.c */
void on_task_stream(void *ctx, struct sq_ask *ask, const struct sq_msg *m);  /* runner_stream.c */
void on_stream(void *ctx, struct sq_ask *ask, const struct sq_msg *m);       /* runner_stream.c */

/* ---- runner_control.c: the conversation with the program in the sandbox, whose every word is hostile ---- */

/** sq_control_talk - hello, order, then listen until `done` (SQ_OK), `failed` (its code), or it breaks a rule. */
sq_err sq_control_talk(struct sq_task *t, int sock, struct sq_why *why) SQ_MUST_CHECK;

/* ---- confine.c ---- */
sq_err sq_runner_confine(void) SQ_MUST_CHECK;

#endif
