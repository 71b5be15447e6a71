/*
 * One handler a message. All of them come from registrar, which has checked rights and states; here the ids are checked
 * against the files once more: an object is opened, committed or erased only below the owner that is named with it.
 */
#include "daemon/storer/storer.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/core/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

static void log_failure(const char *what, sq_err e, const uint8_t *object)
{
    if (e == SQ_OK || e == SQ_ENOTFOUND || e == SQ_EEXISTS)
        return; /* an answer, not a failure */
    sq_log(SQ_LOG_failed, SQ_LW("what", what), SQ_LW("code", sq_err_name(e)), SQ_LN("errno", errno),
           SQ_LID("id", object, SQ_ID_BYTES));
}

static void finish(struct sq_ask *ask, const char *what, sq_err e, const uint8_t *object)
{
    log_failure(what, e, object);
    sq_ask_end(ask, e, NULL);
}

static sq_err create(struct storer *s, uint64_t generation, const struct sq_msg_file_create *m, int *out_fd)
{
    sq_err e = SQ_OK;
    int fd = -1, writer = -1;
    if (held_find(&s->held, m->object_id, m->owner_id, &e) >= 0)
        e = sq_fail(SQ_EEXISTS);
    if (!e)
        e = sq_store_create(s->store, m->owner_id, m->object_id, &fd);
    if (!e)
        e = sq_store_writer(s->store, fd, &writer);
    if (!e)
        e = held_add(&s->held, m->object_id, m->owner_id, generation, fd);
    if (e) {
        sq_close(&writer);
        sq_close(&fd);
        return e;
    }
    *out_fd = writer;
    return SQ_OK;
}

static void on_file_create(void *ctx, struct sq_ask *ask, const struct sq_msg *msg)
{
    struct storer *s = ctx;
    const struct sq_msg_file_create *m = &msg->u.file_create;
    int writer = -1;
    sq_err e = held_begin(&s->held, m->object_id, sq_ask_generation(ask));
    if (!e) {
        e = create(s, sq_ask_generation(ask), m, &writer);
        held_end(&s->held, m->object_id);
    }
    log_failure("file_create", e, m->object_id);
    if (e) {
        sq_ask_fail(ask, e);
        return;
    }
    struct sq_msg reply = sq_msg_of(file_is, .n_bytes = 0, .file = writer);
    sq_ask_reply(ask, &reply);
    sq_close(&writer);
}

static void on_file_commit(void *ctx, struct sq_ask *ask, const struct sq_msg *msg)
{
    struct storer *s = ctx;
    const struct sq_msg_file_commit *m = &msg->u.file_commit;
    sq_err e = held_begin(&s->held, m->object_id, sq_ask_generation(ask));
    if (!e) {
        int fd = held_find(&s->held, m->object_id, m->owner_id, &e);
        if (!e)
            e = sq_store_commit(s->store, m->owner_id, m->object_id, fd, m->n_bytes);
        if (!e)
            held_drop(&s->held, m->object_id); /* it has a name now */
        held_end(&s->held, m->object_id);
    }
    finish(ask, "file_commit", e, m->object_id);
}

static void on_file_drop(void *ctx, struct sq_ask *ask, const struct sq_msg *msg)
{
    struct storer *s = ctx;
    const struct sq_msg_file_drop *m = &msg->u.file_drop;
    sq_err e = held_begin(&s->held, m->object_id, sq_ask_generation(ask));
    if (!e) {
        held_drop(&s->held, m->object_id);
        held_end(&s->held, m->object_id);
    }
    finish(ask, "file_drop", e, m->object_id);
}

static void on_file_open(void *ctx, struct sq_ask *ask, const struct sq_msg *msg)
{
    struct storer *s = ctx;
    const struct sq_msg_file_open *m = &msg->u.file_open;
    int fd = -1;
    uint64_t n_bytes = 0;
    sq_err e = held_begin(&s->held, m->object_id, sq_ask_generation(ask));
    if (!e) {
        e = sq_store_reader(s->store, m->owner_id, m->object_id, &fd, &n_bytes);
        held_end(&s->held, m->object_id);
    }
    log_failure("file_open", e, m->object_id);
    if (e) {
        sq_ask_fail(ask, e);
        return;
    }
    struct sq_msg reply = sq_msg_of(file_is, .n_bytes = n_bytes, .file = fd);
    sq_ask_reply(ask, &reply);
    sq_close(&fd);
}

/* A file that never got a name holds sealed bytes too: it is overwritten like the others. */
static sq_err erase(struct storer *s, const struct sq_msg_file_erase *m, struct sq_erased *out)
{
    sq_err e = SQ_OK;
    int fd = held_find(&s->held, m->object_id, m->owner_id, &e);
    if (!e && fd >= 0) {
        struct sq_erased nameless, named;
        e = sq_store_erase_nameless(s->store, fd, &nameless);
        if (!e) /* a commit that failed after its linkat has left a name: then this one does the work */
            e = sq_store_erase(s->store, m->owner_id, m->object_id, &named);
        if (!e) {
            held_drop(&s->held, m->object_id);
            *out = nameless;
        }
        return e;
    }
    return e ? e : sq_store_erase(s->store, m->owner_id, m->object_id, out);
}

static void on_file_erase(void *ctx, struct sq_ask *ask, const struct sq_msg *msg)
{
    struct storer *s = ctx;
    const struct sq_msg_file_erase *m = &msg->u.file_erase;
    struct sq_erased how;
    int64_t begun = sq_clock_steady_ms();
    sq_err e = held_begin(&s->held, m->object_id, sq_ask_generation(ask));
    if (!e) {
        e = erase(s, m, &how);
        held_end(&s->held, m->object_id);
    }
    log_failure("file_erase", e, m->object_id);
    if (e) {
        sq_ask_fail(ask, e);
        return;
    }
    sq_log(SQ_LOG_object_erased, SQ_LID("object", m->object_id, SQ_ID_BYTES), SQ_LW("method", sq_erase_word(how.method)),
           SQ_LN("ms", sq_clock_steady_ms() - begun));
    struct sq_msg reply = sq_msg_of(erased_is, .method = (uint8_t)how.method, .n_pass = how.n_pass, .n_bytes = how.n_bytes,
                                    .n_extent = how.n_extent, .extents_moved = how.is_moved, .is_verified = how.is_verified,
                                    .filesystem = sq_span_str(how.filesystem));
    sq_ask_reply(ask, &reply);
}

#define LISTED_BYTES 40 /* a file in file_list_is */

static void on_file_list(void *ctx, struct sq_ask *ask, const struct sq_msg *msg)
{
    struct storer *s = ctx;
    const struct sq_msg_file_list *m = &msg->u.file_list;
    struct sq_store_place place = {.owner_at = m->owner_at, .object_at = m->object_at};
    memcpy(place.owner, m->owner, sizeof place.owner);
    size_t n = 0;
    struct sq_store_file *file = calloc(SQ_STORE_LIST_MAX, sizeof *file);
    uint8_t *bytes = malloc((size_t)SQ_STORE_LIST_MAX * LISTED_BYTES);
    sq_err e = file && bytes ? SQ_OK : sq_fail(SQ_ENOMEM);
    if (!e)
        e = sq_store_list(s->store, &place, SQ_STORE_LIST_MAX, file, &n);
    log_failure("file_list", e, m->owner);
    for (size_t i = 0; i < n && !e; i++) {
        memcpy(bytes + i * LISTED_BYTES, file[i].object, SQ_ID_BYTES);
        memcpy(bytes + i * LISTED_BYTES + SQ_ID_BYTES, file[i].owner, SQ_ID_BYTES);
        sq_put_be64(bytes + i * LISTED_BYTES + 2 * SQ_ID_BYTES, file[i].n_bytes);
    }
    if (e) {
        sq_ask_fail(ask, e);
    } else {
        struct sq_msg reply = sq_msg_of(file_list_is, .owner_at = place.owner_at, .object_at = place.object_at,
                                        .files = sq_span_of(bytes, n * LISTED_BYTES));
        memcpy(reply.u.file_list_is.owner, place.owner, sizeof place.owner);
        sq_ask_reply(ask, &reply);
    }
    free(file);
    free(bytes);
}

static void on_store_state(void *ctx, struct sq_ask *ask, const struct sq_msg *msg)
{
    struct storer *s = ctx;
    struct sq_store_state state;
    static const uint8_t none[SQ_ID_BYTES];
    sq_err e = sq_store_state(s->store, &state);
    log_failure("store_state", e, none);
    if (e) {
        sq_ask_fail(ask, e);
        return;
    }
    struct sq_msg reply = sq_msg_of(store_state_is, .free_bytes = state.free_bytes, .total_bytes = state.total_bytes,
                                    .filesystem = sq_span_str(state.filesystem),
                                    .overwrite_is_real = state.overwrite_is_real);
    sq_ask_reply(ask, &reply);
}

void storer_handlers(struct sq_node *node)
{
    sq_node_threads(node, SQ_ROLE_REGISTRAR, STORER_N_THREAD);
    sq_node_on(node, SQ_MSG_file_create, on_file_create);
    sq_node_on(node, SQ_MSG_file_commit, on_file_commit);
    sq_node_on(node, SQ_MSG_file_drop, on_file_drop);
    sq_node_on(node, SQ_MSG_file_open, on_file_open);
    sq_node_on(node, SQ_MSG_file_erase, on_file_erase);
    sq_node_on(node, SQ_MSG_file_list, on_file_list);
    sq_node_on(node, SQ_MSG_store_state, on_store_state);
}
