/*
 * I am runner. I carry plaintext between sealed objects and sandboxes, and I am the only one who does.
 *
 * What I hold: links to registrar (gives me tasks), keeper (gives me the key of one part at a time, if the task's grant
 * names the object), jailer (starts the sandbox, never I) and gateway (fetches the pipe of a download). While a task
 * runs: its descriptors, one derived key and 64 KiB of plaintext a pump, memory files with whole panels.
 *
 * What I can't do: open a path (my files come as descriptors; the one exception is my own /proc/self/fd, to give each
 * sandbox an open file of its own on a memory file), create a socket other than AF_UNIX, start a program, ask for the
 * key of an object that registrar hasn't granted to a task of mine, decide anything.
 * What I never do: parse what I carry, write plaintext anywhere but into pipes and memory files, trust the program in
 * the sandbox (runner_control.c) or a message (runner_files.c).
 *
 * One task is one thread that reads as one story: runner_sandbox.c, runner_import.c, runner_package.c, runner_stream.c.
 * runner_task.c begins and ends them. When I die, every pipe breaks, my sandboxes end, what I sealed is never closed
 * and so never taken for a result; registrar starts the task again with a higher fence.
 */
#include "daemon/runner/runner.h"

#include "lib/core/fault.h"
#include "lib/core/log.h"
#include "lib/core/promises.h"
#include "lib/crypt/crypt.h"
#include "lib/proc/confine.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* 64 tasks with a dozen descriptors each; only the soft limit moves */
static uint64_t raise_soft_file_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files))
        return 0;
    rlim_t want = 4096;
    files.rlim_cur = files.rlim_max < want ? files.rlim_max : want;
    if (setrlimit(RLIMIT_NOFILE, &files))
        return sq_loss_bit(SQ_LOSS_few_open_files);
    return files.rlim_cur < want ? sq_loss_bit(SQ_LOSS_few_open_files) : 0;
}

static sq_err begin(struct sq_runner *r)
{
    sq_err e = sq_proc_begin("runner");
    if (!e)
        e = sq_node_open(SQ_ROLE_RUNNER, &r->node);
    if (!e)
        e = sq_crypt_start();
    if (!e)
        e = sq_runner_init(r);
    if (e)
        return e;
#ifdef SQ_TEST_HOOKS
    int hooks = sq_node_take(r->node, "hooks");
    if (hooks >= 0)
        sq_hooks_map(hooks);
#endif
    sq_node_lost(r->node, raise_soft_file_limit());
    sq_log(SQ_LOG_started, SQ_LN("pid", getpid()), SQ_LN("uid", getuid()), SQ_LW("version", SQ_VERSION));
    return SQ_OK;
}

static void listen_to_messages(struct sq_node *node)
{
    sq_node_on(node, SQ_MSG_task_run, on_task_run);
    sq_node_on(node, SQ_MSG_task_cancel, on_task_cancel);
    sq_node_on(node, SQ_MSG_task_import, on_task_import);
    sq_node_on(node, SQ_MSG_task_package, on_task_package);
    sq_node_on(node, SQ_MSG_task_stream, on_task_stream);
    sq_node_on(node, SQ_MSG_task_verify, on_task_verify);
    sq_node_on(node, SQ_MSG_stream, on_stream);
    sq_node_on(node, SQ_MSG_exited, on_exited);
    sq_node_on_peer_down(node, sq_runner_on_peer_down);
}

int main(void)
{
    static struct sq_runner runner;
    sq_err e = begin(&runner);
    if (!e)
        e = sq_runner_confine();
    if (!e)
        e = sq_memory_start(runner.memory);
    if (!e) {
        listen_to_messages(runner.node);
        e = sq_node_start(runner.node, &runner);
    }
    if (e) {
        sq_log(SQ_LOG_failed, SQ_LW("what", "start"), SQ_LW("code", sq_err_name(e)), SQ_LN("errno", 0), SQ_LID("id", "", 0));
        return EXIT_FAILURE;
    }
    sq_node_serve(runner.node, "");
    _exit(EXIT_SUCCESS); /* tasks may be under way on other threads: no exit handler pulls a library from under them */
}
