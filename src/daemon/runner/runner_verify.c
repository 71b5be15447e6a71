/*
 * task_verify: is an object still what was sealed? Each tag is checked and the SHA-256 of the whole compared; what was opened goes
 * nowhere. The operator's check asks for it (admin check --contents).
 */
#include "daemon/runner/runner.h"

static sq_err verify(struct sq_task *t)
{
    struct sq_task_keys keys;
    struct sq_vault_opener *opener = NULL;
    sq_err e = sq_task_opener(&keys, t, &t->file[0], &opener);
    if (!e)
        e = sq_vault_verify(opener);
    if (!e)
        sq_task_add_sum(t, sq_vault_opener_sum(opener));
    sq_vault_opener_free(opener);
    return e;
}

void on_task_verify(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_task_verify *a = &m->u.task_verify;
    const struct sq_ids object = {.p = a->object_id, .n = 1};
    const struct sq_fds file = {.fd = {a->file}, .n = 1};
    uint8_t length[8];
    struct sq_task *t = NULL;
    sq_put_be64(length, a->sealed_bytes);
    sq_err e = sq_task_new(ctx, SQ_TASK_VERIFY, a->task_id, a->fence, &t);
    if (!e)
        e = sq_task_take_files(t, ask, object, sq_span_of(length, 8), &file, (const bool[]){true});
    if (!e)
        e = sq_task_begin_take(t, verify);
    if (e) {
        sq_task_free(t);
        sq_ask_fail(ask, e);
    } else {
        sq_ask_ok(ask);
    }
}
