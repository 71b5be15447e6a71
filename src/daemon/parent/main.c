/*
 * sequester-parent: who starts the others.
 *
 * I read the configuration, open what needs a right to be opened (listening socket, certificate, key file, directories,
 * the programs themselves), start each process with its own user, its own directory and exactly the descriptors it is
 * meant to hold, link those that may speak with each other, and start a process again when it dies. When I die, all die.
 *
 * I hold no key (I pass a key file's descriptor on unread), I see no data, and I listen to nobody but my children.
 */
#include "daemon/parent/manager.h"
#include "daemon/parent/parent.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/core/log.h"
#include "lib/proc/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define STOP_WAIT_MS 4000

/* compressed memory, or a dm-crypt device: its uuid says so (LVM's are dm devices too) */
static bool is_safe_swap(const char *line)
{
    unsigned no;
    char path[64], uuid[8] = "";
    if (!strncmp(line, "/dev/zram", 9))
        return true;
    if (sscanf(line, "/dev/dm-%u", &no) != 1)
        return false;
    snprintf(path, sizeof path, "/sys/block/dm-%u/dm/uuid", no);
    FILE *f = fopen(path, "re");
    bool is_crypt = f && fgets(uuid, sizeof uuid, f) && !strncmp(uuid, "CRYPT-", 6);
    if (f)
        fclose(f);
    return is_crypt;
}

static sq_err check_swap(struct parent *p)
{
    struct sq_buf text;
    sq_buf_init(&text, 65536);
    bool is_bad = false;
    if (!sq_file_read(AT_FDCWD, "/proc/swaps", &text) && !sq_buf_add(&text, "", 1))
        for (char *line = strchr((char *)text.p, '\n'); line && line[1]; line = strchr(line + 1, '\n'))
            is_bad = is_bad || !is_safe_swap(line + 1);
    sq_buf_done(&text);
    if (!is_bad)
        return SQ_OK;
    if (!strcmp(config_get(&p->config, "allow_swap"), "yes")) {
        p->losses |= sq_loss_bit(SQ_LOSS_clear_swap);
        return SQ_OK;
    }
    fprintf(stderr, "sequester: this machine has unencrypted swap, to which genotypes could be written. Switch it off (swapoff -a),"
                    " encrypt it, or say allow_swap = yes.\n");
    return sq_fail(SQ_ECONFIG);
}

static void look_around(struct parent *p)
{
    if (!p->is_root && !p->is_by_sockets) {
        p->losses |= sq_loss_bit(SQ_LOSS_one_user);
        delegate_cgroup(p);
    }
    if (sq_confine_landlock_abi() < 1)
        p->losses |= sq_loss_bit(SQ_LOSS_no_landlock);
    for (unsigned loss = 1; loss < SQ_LOSS_COUNT; loss++)
        if (p->losses & sq_loss_bit((enum sq_loss)loss))
            sq_log(SQ_LOG_not_held, SQ_LW("promise", sq_promise_row_of(sq_loss_row_of(loss)->promise)->name),
                   SQ_LW("reason", sq_loss_row_of(loss)->name));
}

#define EXIT_CONFIG 78 /* EX_CONFIG: starting again won't help */

static void child_ended(struct child *c, int status)
{
    sq_log(SQ_LOG_child_ended, SQ_LW("child", sq_role_name(c->role)), SQ_LN("pid", c->pid),
           SQ_LN("status", WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status)));
    sq_close(&c->control);
    c->pid = 0;
    /* at once after a long life, then 0.2, 0.4 ... 6.4 s */
    c->n_fail = c->is_serving ? 0 : c->n_fail + 1;
    c->restart_at_ms = sq_clock_steady_ms() + (c->n_fail ? 100 << (c->n_fail > 6 ? 6 : c->n_fail) : 50);
    c->is_serving = false;
}

static void reap(struct parent *p)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (size_t i = 0; i < N_CHILD; i++)
            if (p->child[i].pid == pid) {
                child_ended(&p->child[i], status);
                if (!p->was_ready && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_CONFIG) { /* it has said why; later a captured process could end us so */
                    p->exit_code = EXIT_CONFIG;
                    p->is_stopping = true;
                }
            }
}

static int trust_in(enum sq_role role)
{
    switch (role) {
    case SQ_ROLE_KEEPER:
        return 4;
    case SQ_ROLE_REGISTRAR:
        return 3;
    case SQ_ROLE_STORER:
    case SQ_ROLE_JAILER:
        return 2;
    case SQ_ROLE_RUNNER:
        return 1;
    default:
        return 0;
    }
}

/*
 * A process that broke the protocol is ended. But a captured gateway could accuse keeper, which with a passphrase would
 * stay sealed afterwards: who accuses one that is trusted more, or that it isn't linked with, is ended itself. Their
 * link comes up anew in either case.
 */
static void accused(struct parent *p, struct child *by, enum sq_role role)
{
    struct child *bad = child_of(p, role);
    if (!bad || !children_linked(by->role, role) || trust_in(by->role) < trust_in(role)) {
        sq_log(SQ_LOG_failed, SQ_LW("what", "accusation"), SQ_LW("code", sq_err_name(SQ_EPROTO)));
        bad = by;
    }
    if (bad->pid > 0)
        child_kill(bad);
    else if (bad->control >= 0)
        child_ended(bad, SIGKILL);
}

static void from_child(struct parent *p, struct child *c)
{
    struct sq_packet *pkt = sq_packet_new();
    sq_assert(pkt);
    struct sq_msg m;
    sq_err e = sq_wire_recv(c->control, c->role, SQ_ROLE_PARENT, pkt, &m);
    if (!e && m.no == SQ_MSG_serving) {
        c->is_serving = true;
        children_tell_losses(p);
        bool is_all = true;
        for (size_t i = 0; i < N_CHILD; i++)
            is_all = is_all && p->child[i].is_serving;
        if (is_all) {
            p->was_ready = true;
            sq_log(SQ_LOG_ready, SQ_LW("address", p->address));
            manager_tell("READY=1");
        }
    } else if (!e && m.no == SQ_MSG_lost) {
        c->losses = m.u.lost.losses;
        children_tell_losses(p);
    } else if (!e && m.no == SQ_MSG_tls_reload) {
        tls_reload(p);
    } else if (!e && m.no == SQ_MSG_tls_taken) {
        tls_taken(p, sq_err_from_no(m.u.tls_taken.code), m.u.tls_taken.found);
    } else if (!e && m.no == SQ_MSG_net_reload) {
        net_reload(p);
    } else if (!e && m.no == SQ_MSG_net_taken) {
        net_taken(p, &m);
    } else if (!e && m.no == SQ_MSG_bad_peer) {
        accused(p, c, (enum sq_role)m.u.bad_peer.role);
    } else if (c->pid > 0) {
        kill(c->pid, SIGKILL); /* it hung up or spoke out of turn; SIGCHLD does the rest */
        sq_close(&c->control);
    } else {
        child_ended(c, 0);
    }
    sq_packet_free(pkt);
}

/* how long there is nothing to do: until a child is due again, or the service manager wants to hear of us */
static int next_wake_ms(const struct parent *p)
{
    int64_t now = sq_clock_steady_ms(), soonest = -1;
    for (size_t i = 0; i < N_CHILD; i++)
        if (!child_is_running(&p->child[i]) && (soonest < 0 || p->child[i].restart_at_ms < soonest))
            soonest = p->child[i].restart_at_ms;
    int wait_ms = soonest < 0 ? -1 : soonest <= now ? 0 : (int)(soonest - now), watchdog_ms = manager_watchdog_ms();
    return watchdog_ms >= 0 && (wait_ms < 0 || watchdog_ms < wait_ms) ? watchdog_ms : wait_ms;
}

static void start_missing(struct parent *p)
{
    int64_t now = sq_clock_steady_ms();
    for (size_t i = 0; i < N_CHILD; i++) {
        struct child *c = &p->child[i];
        if (child_is_running(c) || c->restart_at_ms > now)
            continue;
        sq_err e = child_start(p, c);
        if (e) {
            sq_log(SQ_LOG_failed, SQ_LW("what", "child_start"), SQ_LW("code", sq_err_name(e)));
            if (c->pid > 0) {
                child_kill(c);
            } else {
                sq_close(&c->control);
                c->restart_at_ms = now + 1000;
            }
        }
    }
}

static void serve(struct parent *p, int signals)
{
    while (!p->is_stopping) {
        start_missing(p);
        if (manager_watchdog_ms() >= 0)
            manager_tell("WATCHDOG=1");
        struct pollfd poll_fd[N_CHILD + 1] = {{.fd = signals, .events = POLLIN}};
        for (size_t i = 0; i < N_CHILD; i++)
            poll_fd[i + 1] = (struct pollfd){.fd = p->child[i].control, .events = POLLIN};
        if (poll(poll_fd, N_CHILD + 1, next_wake_ms(p)) < 0 && errno != EINTR)
            break;
        for (size_t i = 0; i < N_CHILD; i++)
            if (poll_fd[i + 1].revents && p->child[i].control == poll_fd[i + 1].fd && poll_fd[i + 1].fd >= 0)
                from_child(p, &p->child[i]);
        struct signalfd_siginfo info;
        while (read(signals, &info, sizeof info) == (ssize_t)sizeof info)
            if (info.ssi_signo != SIGCHLD)
                p->is_stopping = true;
        reap(p);
    }
}

static bool has_hung_up(const struct child *c)
{
    struct pollfd p = {.fd = c->control, .events = POLLIN};
    return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLERR);
}

/* one after the other, the last started first: gateway, so that nobody is served half; then registrar, which still needs
 * keeper to sign the last checkpoint; keeper and jailer at the end */
static void stop_all(struct parent *p)
{
    struct sq_msg stop = sq_msg_bare(stop);
    manager_tell("STOPPING=1");
    for (size_t i = N_CHILD; i-- > 0;) {
        struct child *c = &p->child[i];
        if (child_is_running(c) && sq_wire_send(c->control, SQ_ROLE_PARENT, c->role, &stop))
            child_kill(c);
        for (int64_t until = sq_clock_steady_ms() + STOP_WAIT_MS; child_is_running(c) && sq_clock_steady_ms() < until; usleep(10000)) {
            reap(p);
            if (c->pid <= 0 && has_hung_up(c))
                sq_close(&c->control);
        }
        child_kill(c);
    }
}

static void usage(void)
{
    puts("usage: sequester-parent [--config FILE]\n"
         "\n"
         "Starts the whole service and stays in the foreground; its log goes to standard error.\n"
         "SIGTERM stops it. Keys of FILE: see docs/operate.md.");
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'}, {0}};
    const char *config_path = NULL;
    for (int o; (o = getopt_long(argc, argv, "c:h", options, NULL)) != -1;) {
        if (o == 'c') {
            config_path = optarg;
        } else {
            usage();
            return o == 'h' ? 0 : 2;
        }
    }
    static struct parent parent;
    sq_log_role("parent");
    umask(077);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    prctl(PR_SET_DUMPABLE, 0);
    parent.is_root = geteuid() == 0;

    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (n < 0)
        return 1;
    exe[n] = 0;

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    signal(SIGPIPE, SIG_IGN);

    manager_open();
    if (config_read(config_path, &parent.config) || check_swap(&parent) || children_prepare(&parent, dirname(exe)))
        return EXIT_CONFIG;
    look_around(&parent);
    if (parent_confine(&parent)) {
        sq_log(SQ_LOG_failed, SQ_LW("what", "confine"), SQ_LW("code", sq_err_name(SQ_ESYS)), SQ_LN("errno", errno));
        return 1;
    }
    sq_log(SQ_LOG_started, SQ_LN("pid", getpid()), SQ_LN("uid", geteuid()), SQ_LW("version", SQ_VERSION));

    int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    sigprocmask(SIG_BLOCK, &set, NULL);
    serve(&parent, signals);
    stop_all(&parent);
    return parent.exit_code;
}
