/*
 * task_import: the operator's file (a panel, a map) becomes a sealed object. No sandbox, for the bytes are not looked
 * at: stage `panel` does that afterwards.
 */
#include "daemon/runner/runner.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"

#include <stdlib.h>

static sq_err import_bytes(struct sq_task *t, struct sq_vault_sealer *sealer)
{
    uint8_t *copy = malloc(SQ_RUNNER_COPY_BYTES);
    if (!copy)
        return sq_fail(SQ_ENOMEM);
    sq_err e = SQ_OK;
    size_t got = 0;
    off_t at = 0;
    do {
        e = sq_task_is_stopped(t) ? SQ_ECANCELLED : sq_pread_full(t->source_fd, copy, SQ_RUNNER_COPY_BYTES, at, &got);
        if (!e && got)
            e = sq_vault_seal(sealer, copy, got);
        at += (off_t)got;
    } while (!e && got == SQ_RUNNER_COPY_BYTES);
    sq_wipe(copy, SQ_RUNNER_COPY_BYTES);
    free(copy);
    return e;
}

static sq_err import(struct sq_task *t)
{
    struct sq_task_keys keys;
    struct sq_vault_sealer *sealer = NULL;
    struct sq_vault_sum sum;
    sq_err e = sq_task_sealer(&keys, t, &t->file[0], &sealer);
    if (!e)
        e = import_bytes(t, sealer);
    if (!e)
        e = sq_fault("runner.before_seal");
    if (!e)
        e = sq_vault_seal_close(sealer, &sum);
    if (!e)
        sq_task_add_sum(t, &sum);
    sq_vault_sealer_free(sealer);
    return e;
}

void on_task_import(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_task_import *a = &m->u.task_import;
    const struct sq_ids object = {.p = a->object_id, .n = 1};
    const struct sq_fds file = {.fd = {a->file}, .n = 1};
    static const uint8_t no_length[8];
    struct sq_task *t = NULL;
    sq_err e = sq_task_new(ctx, SQ_TASK_IMPORT, a->task_id, a->fence, &t);
    if (!e)
        e = sq_file_check(a->source, SQ_FILE_READ);
    if (!e)
        e = sq_task_take_files(t, ask, object, sq_span_of(no_length, 8), &file, (const bool[]){false});
    if (!e) {
        sq_ask_keep_fd(ask, a->source);
        t->source_fd = a->source;
        e = sq_task_begin_take(t, import);
    }
    if (e) {
        sq_task_free(t);
        sq_ask_fail(ask, e);
    } else {
        sq_ask_ok(ask);
    }
}
