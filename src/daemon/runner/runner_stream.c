/*
 * task_stream: a stretch of an object in clear, through a pipe, to gateway.
 *
 * The object is opened, its grant and closing part thereby checked, before registrar gets its answer: a damaged one is
 * refused with its reason. But no byte of plaintext enters the pipe before gateway has fetched the pipe with the ticket,
 * which registrar gave it for one authorised request. A ticket works once and for 30 seconds.
 */
#include "daemon/runner/runner.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"
#include "lib/crypt/crypt.h"

#include <unistd.h>

#define TICKET_WAIT_MS 30000

/* SQ_OK once gateway has the read end */
static sq_err wait_claimed(struct sq_task *t)
{
    struct sq_runner *r = t->runner;
    struct timespec until = sq_task_deadline(TICKET_WAIT_MS);
    int timed = 0;
    pthread_mutex_lock(&r->lock);
    while (t->is_on_offer && !t->e && !timed)
        timed = pthread_cond_timedwait(&r->wake, &r->lock, &until);
    sq_err e = !t->is_on_offer ? SQ_OK : t->e ? t->e : SQ_ETIMEOUT;
    t->is_on_offer = false;
    pthread_mutex_unlock(&r->lock);
    return e;
}

static sq_err stream(struct sq_task *t)
{
    bool is_gone = false;
    sq_err e = wait_claimed(t);
    if (!e)
        e = sq_fault("runner.mid_stream");
    if (!e) /* the write end was left in source_fd by the handler; a reader that left is no failure */
        e = sq_pump_open(t, t->stream_opener, t->first, t->n_bytes, t->source_fd, &is_gone);
    sq_close(&t->source_fd);
    return e;
}

static sq_err take_request(struct sq_task *t, struct sq_ask *ask, const struct sq_msg_task_stream *a)
{
    uint8_t length[8];
    const struct sq_ids object = {.p = a->object_id, .n = 1};
    const struct sq_fds file = {.fd = {a->file}, .n = 1};
    int fd[2];
    sq_put_be64(length, a->sealed_bytes);
    sq_err e = sq_task_take_files(t, ask, object, sq_span_of(length, 8), &file, (const bool[]){true});
    if (!e)
        e = sq_pump_pipe(1, fd);
    if (e)
        return e;
    t->reader_fd = fd[0];
    t->source_fd = fd[1];
    t->first = a->first;
    t->n_bytes = a->n_bytes;
    memcpy(t->ticket, a->ticket, sizeof t->ticket);
    t->is_on_offer = true;
    return SQ_OK;
}

static sq_err open_object(struct sq_task *t)
{
    sq_err e = sq_task_opener(&t->stream_keys, t, &t->file[0], &t->stream_opener);
    if (e)
        return e;
    sq_vault_opener_tags_only(t->stream_opener); /* hashing would be half of the work */
    uint64_t plain_bytes = sq_vault_opener_plain_bytes(t->stream_opener);
    return t->first > plain_bytes || t->n_bytes > plain_bytes - t->first ? sq_fail(SQ_ERANGE) : SQ_OK;
}

void on_task_stream(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_task_stream *a = &m->u.task_stream;
    struct sq_task *t = NULL;
    sq_err e = sq_task_new(ctx, SQ_TASK_STREAM, a->task_id, a->fence, &t);
    if (!e)
        e = take_request(t, ask, a);
    if (!e)
        e = open_object(t);
    if (!e)
        e = sq_task_begin_take(t, stream);
    if (e) {
        sq_task_free(t);
        sq_ask_fail(ask, e);
    } else {
        sq_ask_ok(ask);
    }
}

void on_stream(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct sq_runner *r = ctx;
    int fd = -1;
    pthread_mutex_lock(&r->lock);
    for (size_t i = 0; i < SQ_RUNNER_MAX_TASKS; i++) {
        struct sq_task *t = r->task[i];
        if (!t || !t->is_on_offer || !sq_equal_ct(t->ticket, m->u.stream.ticket, sizeof t->ticket))
            continue;
        t->is_on_offer = false;
        fd = t->reader_fd;
        t->reader_fd = -1;
        pthread_cond_broadcast(&r->wake);
        break;
    }
    pthread_mutex_unlock(&r->lock);
    if (fd < 0) {
        sq_ask_fail(ask, SQ_ENOTFOUND);
        return;
    }
    struct sq_msg is = sq_msg_of(stream_is, .pipe = fd);
    sq_ask_reply(ask, &is);
    close(fd);
}
