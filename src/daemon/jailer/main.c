/*
 * jailer - starts sandboxes, and does nothing else.
 *
 * Who I am. The one process below parent that keeps capabilities: SYS_ADMIN, SETUID, SETGID, KILL and DAC_OVERRIDE (CHOWN
 * too when runc stands in for crun), because a container can't be started with less. That makes me the most dangerous
 * process here, so I know the least: one message, START{stage, size class, task id} with descriptors, and kill. Started
 * by an ordinary user I have those rights in a user namespace of my own, and none on the host.
 *
 * What I hold. The program that sandboxes run (copied once from a descriptor that parent opened), the compiled table of
 * stages and limits, the descriptors of a START until its sandbox has them. I never read from those.
 *
 * What I can't do. Accept a path, an argument, a limit or an environment from anyone; start anything but crun or runc
 * from their fixed places with fixed arguments; see a key, a token, a name, a genotype.
 *
 * How nothing outlives me. I am two: the outer process, which parent knows, gives up everything and waits; the inner one
 * is the first process of a pid namespace, in which every runtime and every sandbox lives. When parent dies the kernel
 * kills the outer one, then the inner one, then the whole namespace, however it is dying and whatever a payload wants.
 *
 * The order: begin, split, take what parent hands out, make the ground, drop rights, serve.
 */
#include "daemon/jailer/jailer_internal.h"

#include "lib/core/log.h"
#include "lib/proc/confine.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define START_HANDLERS 4 /* sandboxes that can be starting at once */

static _Noreturn void give_up(const char *what, sq_err e)
{
    sq_log(SQ_LOG_failed, SQ_LW("what", what), SQ_LW("code", sq_err_name(e)), SQ_LN("errno", errno));
    exit(EXIT_FAILURE);
}

/* The outer process: no rights, no descriptors but the log, and four system calls. Ends as the inner one ended. */
static _Noreturn void wait_for_inner(pid_t inner)
{
    static const int calls[] = {SYS_wait4, SYS_exit_group, SYS_write, SYS_rt_sigreturn};
    close(SQ_NODE_PARENT_FD);
    sq_err e = sq_confine(calls, sizeof calls / sizeof calls[0], SQ_CONFINE_MORTAL, 0);
    if (e != SQ_OK)
        give_up("confine_outer", e);
    int status = 0;
    while (waitpid(inner, &status, 0) < 0)
        if (errno != EINTR)
            _exit(EXIT_FAILURE);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE);
}

/* Returns in the inner process only; SQ_LOSS_none, or why there can be no sandbox here: then there is no inner one. */
static enum sq_loss split(bool is_user)
{
    enum sq_loss loss = is_user ? jail_user_enter() : SQ_LOSS_none;
    if (loss)
        return loss;
    if (!is_user && unshare(CLONE_NEWNS | CLONE_NEWPID))
        give_up("unshare", SQ_ESYS);
    pid_t inner = fork();
    if (inner < 0)
        give_up("fork", SQ_ESYS);
    if (inner > 0)
        wait_for_inner(inner);
    /* Should the outer one be gone already, then parent closes our socket, and sq_node_open ends us. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
        give_up("pdeathsig", SQ_ESYS);
    return SQ_LOSS_none;
}

/*
 * Root without ground gives up, and parent tries again. An ordinary user's machine won't change by trying: the service
 * runs on without sandboxes, says why, and answers every START with SQ_ESANDBOX.
 */
static void make_ground(struct jailer *j, int worker)
{
    const char *delegated = sq_node_setting(j->node, "delegated_cgroup");
    sq_err e = jail_ground_make(&j->ground, sq_node_setting(j->node, "runtime"), delegated ? delegated : "", worker);
    if (e != SQ_OK && !j->ground.is_user)
        give_up("ground", e);
    if (e != SQ_OK) {
        j->ground.runtime = NULL;
        j->ground.losses |= sq_loss_bit(SQ_LOSS_sandbox_ground);
    }
}

int main(void)
{
    static struct jailer jailer;
    sq_err e = sq_proc_begin("jailer");
    if (e != SQ_OK)
        give_up("begin", e);
    jailer.ground.is_user = geteuid() != 0;
    const enum sq_loss loss = split(jailer.ground.is_user);
    sq_log(SQ_LOG_started, SQ_LN("pid", getpid()), SQ_LN("uid", getuid()), SQ_LW("version", SQ_VERSION));

    if ((e = sq_node_open(SQ_ROLE_JAILER, &jailer.node)) != SQ_OK)
        give_up("node_open", e);
    int worker = sq_node_take(jailer.node, "worker");
    if (worker < 0)
        give_up("no_worker_descriptor", SQ_ECONFIG);
    if (!loss)
        make_ground(&jailer, worker);
    close(worker);
    sq_node_lost(jailer.node, sq_loss_bit(loss) | jailer.ground.losses);
    if ((e = jail_confine(&jailer.ground)) != SQ_OK)
        give_up("confine", e);

    sq_node_on(jailer.node, SQ_MSG_start, jail_on_start);
    sq_node_on(jailer.node, SQ_MSG_kill, jail_on_kill);
    sq_node_on_peer_down(jailer.node, jail_on_peer_down);
    sq_node_threads(jailer.node, SQ_ROLE_RUNNER, START_HANDLERS);
    if ((e = sq_node_start(jailer.node, &jailer)) != SQ_OK)
        give_up("node_start", e);
    sq_node_serve(jailer.node, "");
    jail_end_all(&jailer);
    return EXIT_SUCCESS; /* ends the namespace, and with it every sandbox */
}
