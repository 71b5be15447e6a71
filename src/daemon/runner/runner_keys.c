/*
 * Each part's key is asked for when the part is begun and lives in the vault's struct sq_key alone; what keeper's packet
 * held is wiped as soon as it is copied. Keeper checks task, fence, object and expiry every time, so a grant that ends
 * stops the task at its next part.
 */
#include "daemon/runner/runner.h"

#include <unistd.h>

static sq_err ask_key(struct sq_task *t, const struct sq_msg *m, uint8_t out_salt[SQ_VAULT_SALT_BYTES], struct sq_key **out_derived)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg is;
    sq_err e = sq_task_is_stopped(t) ? SQ_ECANCELLED
                                     : sq_node_call(t->runner->node, SQ_ROLE_KEEPER, m, SQ_RUNNER_KEY_WAIT_MS, pkt, &is);
    if (!e) {
        e = sq_key_from(is.u.task_key_is.derived_key, out_derived);
        if (!e && out_salt)
            memcpy(out_salt, is.u.task_key_is.salt, SQ_VAULT_SALT_BYTES);
        sq_wipe(&is, sizeof is);
    }
    sq_packet_free(pkt);
    return e;
}

static sq_err seal_key(void *ctx, uint32_t part_no, uint8_t out_salt[SQ_VAULT_SALT_BYTES], struct sq_key **out_derived)
{
    const struct sq_task_keys *k = ctx;
    struct sq_msg m = sq_msg_of(task_seal_key, .fence = k->task->fence, .part_no = part_no);
    memcpy(m.u.task_seal_key.task_id, k->task->id, SQ_ID_BYTES);
    memcpy(m.u.task_seal_key.object_id, k->object_id, SQ_ID_BYTES);
    return ask_key(k->task, &m, out_salt, out_derived);
}

static sq_err open_key(void *ctx, uint32_t part_no, const uint8_t salt[SQ_VAULT_SALT_BYTES], struct sq_key **out_derived)
{
    const struct sq_task_keys *k = ctx;
    struct sq_msg m = sq_msg_of(task_open_key, .fence = k->task->fence, .part_no = part_no);
    memcpy(m.u.task_open_key.task_id, k->task->id, SQ_ID_BYTES);
    memcpy(m.u.task_open_key.object_id, k->object_id, SQ_ID_BYTES);
    memcpy(m.u.task_open_key.salt, salt, SQ_VAULT_SALT_BYTES);
    return ask_key(k->task, &m, NULL, out_derived);
}

sq_err sq_task_sealer(struct sq_task_keys *k, struct sq_task *t, const struct sq_task_file *f, struct sq_vault_sealer **out_sealer)
{
    k->task = t;
    memcpy(k->object_id, f->object_id, SQ_ID_BYTES);
    /* an earlier try of this task may have left something, and the file's position is shared by all who hold it */
    if (ftruncate(f->fd, 0) || lseek(f->fd, 0, SEEK_SET) != 0)
        return sq_fail(SQ_EIO);
    return sq_vault_sealer_new(f->object_id, f->fd, seal_key, k, out_sealer);
}

sq_err sq_task_opener(struct sq_task_keys *k, struct sq_task *t, const struct sq_task_file *f, struct sq_vault_opener **out_opener)
{
    k->task = t;
    memcpy(k->object_id, f->object_id, SQ_ID_BYTES);
    return sq_vault_opener_new(f->object_id, f->fd, f->sealed_bytes, open_key, k, out_opener);
}

sq_err sq_task_read(struct sq_vault_opener *opener, uint64_t offset, void *out, size_t n)
{
    size_t got = 0;
    sq_err e = sq_vault_read(opener, offset, out, n, &got);
    if (!e && got != n) /* the closing part promised more */
        e = sq_fail(SQ_ETAMPERED);
    return e;
}
