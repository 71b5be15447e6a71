/*
 * sequester-storer: where sealed objects lie.
 *
 * Who I am. The only process that has the directory of objects. Parent starts me in it, as my own user; nobody else may
 * enter. I know objects by random ids, and I make every path from ids.
 *
 * What I hold. That directory; up to 1,024 files that have no name yet (O_TMPFILE) and wait for registrar's commit.
 *
 * What I do. Registrar alone asks me. I hand out descriptors: append-only for a new file, read-only for a committed one,
 * never both in one. I give a file its name once it is whole and durable, and I overwrite, read back, unlink and free it
 * when it is to be erased (docs/erasure.md), which works on a full disk too, and tell honestly what that was worth here.
 *
 * What I can't do. Open an object: all bytes are sealed, and I have no key and no way to keeper. Reach the network: my
 * list of system calls (confine.c) has no socket. Decide: rights, states and deadlines are registrar's.
 *
 * If I die, nameless files vanish and named ones are whole; registrar asks again, each request can be repeated.
 */
#include "daemon/storer/storer.h"

#include "lib/core/fault.h"
#include "lib/core/file.h"
#include "lib/core/log.h"
#include "lib/core/promises.h"
#include "lib/proc/confine.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

static struct storer self;

static sq_err open_store(struct sq_node *node)
{
    int dir = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return sq_fail(sq_err_errno());
    struct sq_store_state state;
    sq_err e = sq_store_open(dir, &self.store);
    close(dir);
    if (!e)
        e = sq_store_state(self.store, &state);
    if (!e && !state.overwrite_is_real) {
        sq_log(SQ_LOG_filesystem, SQ_LW("reason", state.why_not));
        sq_node_lost(node, sq_loss_bit(SQ_LOSS_blocks_stay));
    }
    return e;
}

/* A descriptor for each nameless file, and some for work; never above the hard limit, which isn't ours to raise. */
static sq_err room_for_descriptors(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return sq_fail(SQ_ESYS);
    rlim_t wanted = 2 * STORER_MAX_HELD;
    r.rlim_cur = r.rlim_max < wanted ? r.rlim_max : wanted;
    return setrlimit(RLIMIT_NOFILE, &r) < 0 ? sq_fail(SQ_ESYS) : SQ_OK;
}

int main(void)
{
    struct sq_node *node = NULL;
    sq_err e = sq_proc_begin("storer");
    if (!e)
        e = sq_node_open(SQ_ROLE_STORER, &node);
    if (!e)
        sq_log(SQ_LOG_started, SQ_LN("pid", getpid()), SQ_LN("uid", getuid()), SQ_LW("version", SQ_VERSION));
#ifdef SQ_TEST_HOOKS
    int hooks = e ? -1 : sq_node_take(node, "hooks");
    if (hooks >= 0)
        sq_hooks_map(hooks);
#endif
    if (!e)
        e = room_for_descriptors();
    if (!e)
        e = open_store(node);
    if (!e) {
        held_init(&self.held);
        storer_handlers(node);
        e = storer_confine();
    }
    if (!e)
        e = sq_node_start(node, &self);
    if (e) {
        sq_log(SQ_LOG_stopping, SQ_LW("reason", sq_err_name(e)));
        return 1;
    }
    sq_node_serve(node, "");
    return 0;
}
