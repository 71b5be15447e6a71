/*
 * Are stored objects still what was sealed? Runner opens each one whole, with a grant as for any task, and throws away what it
 * reads; an answer is a code and the digest that the closing part holds. docs/decisions/0013-check-opens.md
 */
#include "daemon/registrar/survey.h"

#include "lib/core/file.h"

#include <unistd.h>

#define VERIFY_MS (3 * 3600 * 1000) /* of one object, on a slow disk */
#define BUSY_TRIES 100
#define BUSY_MS 300

static sq_err verify_now(struct registrar *r, const struct sq_db_object *row, struct task_result *out)
{
    uint8_t task[ID], ids[1][ID];
    int fd = -1;
    memcpy(ids[0], row->id, ID);
    sq_err e = id_new(task);
    if (!e)
        e = object_read(r, row, &fd);
    if (!e)
        e = grant(r, task, 1, row->owner_id, VERIFY_MS / 1000, (const uint8_t(*)[ID])ids, 1, NULL, 0);
    struct sq_msg m = sq_msg_of(task_verify, .fence = 1, .sealed_bytes = row->sealed_bytes, .file = fd);
    memcpy(m.u.task_verify.task_id, task, ID);
    memcpy(m.u.task_verify.object_id, row->id, ID);
    if (!e)
        e = task_run_and_wait(r, task, &m, VERIFY_MS, out);
    grant_end(r, task);
    sq_close(&fd);
    return e;
}

sq_err object_verify(struct registrar *r, const uint8_t id[ID], bool *out_is_damaged, uint64_t *out_sealed_bytes)
{
    struct sq_db_object row;
    struct task_result t = {.code = SQ_OK};
    *out_is_damaged = false;
    *out_sealed_bytes = 0;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_object_get(db, id, &row);
    db_unlock(r);
    if (e || row.state != SQ_DB_object_state_live || row.not_after_s <= sq_clock_now_s())
        return e == SQ_ENOTFOUND ? SQ_OK : e;
    for (unsigned n = 0; n < BUSY_TRIES; n++) { /* runner is full of work: what users wait for goes first */
        e = verify_now(r, &row, &t);
        if (e != SQ_EBUSY)
            break;
        usleep(BUSY_MS * 1000);
    }
    bool is_other = !e && (t.n_sum != 1 || t.sum[0].plain_bytes != row.plain_bytes || t.sum[0].sealed_bytes != row.sealed_bytes ||
                           (row.has_sha256 && memcmp(t.sum[0].sha256, row.sha256, sizeof row.sha256) != 0));
    *out_sealed_bytes = row.sealed_bytes;
    if (!is_other && e != SQ_ETAMPERED && e != SQ_ETRUNCATED && e != SQ_EIO) /* without a key or right nothing can be said: the other findings do */
        return e == SQ_EGONE || e == SQ_EDENIED || e == SQ_ENOTFOUND ? SQ_OK : e;
    db = db_lock(r);
    e = sq_db_object_get(db, id, &row);
    db_unlock(r);
    if (e == SQ_ENOTFOUND)
        return SQ_OK;
    *out_is_damaged = !e && row.state == SQ_DB_object_state_live && row.not_after_s > sq_clock_now_s(); /* else it was erased meanwhile */
    return e;
}
