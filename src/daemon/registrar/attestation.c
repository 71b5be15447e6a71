/*
 * What a job was worked on with and in, signed: which program, and what it found around itself in each sandbox before it read
 * the data. Who measured what: registrar the program's digest, at its start, from the descriptor that jailer got too; the
 * program its own walls. keeper signs; docs/formats/attestation.md has the text.
 */
#include "daemon/registrar/registrar.h"

#include "lib/core/file.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX_BYTES 8192

void worker_measure(struct registrar *r, int fd)
{
    struct sq_sha256 *h = NULL;
    uint8_t bytes[16384];
    size_t got = 1;
    sq_err e = fd < 0 ? sq_fail(SQ_ENOTFOUND) : sq_sha256_new(&h);
    for (off_t at = 0; !e && got; at += (off_t)got) { /* pread: the descriptor's place is jailer's too */
        e = sq_pread_full(fd, bytes, sizeof bytes, at, &got);
        if (!e && got)
            e = sq_sha256_add(h, bytes, got);
    }
    if (!e)
        e = sq_sha256_end(h, r->worker_sha256);
    r->has_worker = !e;
    sq_sha256_free(h);
}

struct text {
    struct sq_buf b;
    size_t n_task;
};

static sq_err add_walls(struct sq_buf *b, uint32_t walls, bool is_held)
{
    size_t n;
    const struct sq_wall_row *row = sq_wall_rows(&n);
    sq_err e = SQ_OK;
    for (size_t i = 0; i < n && !e; i++)
        if (!(walls & row[i].bit) == !is_held)
            e = sq_buf_addf(b, " %s", row[i].name);
    return e;
}

static sq_err add_task(void *ctx, const struct sq_db_task *t)
{
    struct text *x = ctx;
    const struct sq_stage_row *stage = sq_stage_row_of((unsigned)t->stage);
    char sha[65] = "-", at[21];
    size_t n;
    uint32_t all = 0;
    const struct sq_wall_row *row = sq_wall_rows(&n);
    for (size_t i = 0; i < n; i++)
        all |= row[i].bit;
    if (!stage || t->state != SQ_DB_task_state_done)
        return SQ_OK;
    if (t->has_worker_sha256)
        sq_hex(t->worker_sha256, 32, sha);
    sq_clock_text(t->ended_ms / 1000, at);
    sq_err e = sq_buf_addf(&x->b, "task %s %lld\nended %s\nprogram %s\nheld", stage->name, (long long)t->chunk, at, sha);
    if (!e)
        e = add_walls(&x->b, t->walls, true);
    if (!e && (t->walls & all) != all)
        e = sq_buf_addf(&x->b, "\nnot-held");
    if (!e && (t->walls & all) != all)
        e = add_walls(&x->b, t->walls, false);
    x->n_task++;
    return e ? e : sq_buf_addf(&x->b, "\n");
}

static sq_err write_text(struct registrar *r, const struct sq_db_job *job, struct text *x)
{
    char now[21];
    sq_clock_text(sq_clock_now_s(), now);
    sq_err e = sq_buf_addf(&x->b, "sequester-attestation/v1\njob %s\nmade %s\n", job->id, now);
    struct sq_db *db = db_lock(r);
    if (!e && !is_zero(job->upload_id))
        e = sq_db_task_list(db, NULL, job->upload_id, SQ_DB_task_state_done, 10, add_task, x);
    if (!e)
        e = sq_db_task_list(db, job->id, NULL, SQ_DB_task_state_done, 100, add_task, x);
    db_unlock(r);
    return e ? e : sq_buf_addf(&x->b, "tasks %zu\n", x->n_task);
}

sq_err api_job_attestation(struct api *a)
{
    struct sq_db_job job;
    struct text x = {.n_task = 0};
    struct sq_msg m;
    sq_err e = job_by_param(a, &job);
    if (e)
        return e;
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    sq_buf_init(&x.b, TEXT_MAX_BYTES);
    e = write_text(a->r, &job, &x);
    if (!e && !x.n_task)
        e = sq_fail(job.state == SQ_DB_job_state_erased ? SQ_EGONE : SQ_ECONFLICT);
    struct sq_msg ask = sq_msg_of(receipt_sign, .text = sq_span_of(x.b.p, x.b.n));
    if (!e)
        e = sq_node_call(a->r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e)
        a->answer = json_pack("{s:s, s:s#}", "id", job.id, "attestation", (const char *)m.u.note_is.note.p, m.u.note_is.note.n);
    sq_buf_done(&x.b);
    sq_packet_free(pkt);
    return e;
}
