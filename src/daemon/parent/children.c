/*
 * What each process is handed and how it starts. Everything that needs a right (opening, binding, chown) happens here,
 * before the children run; they get descriptors with names, and nothing else.
 */
#include "daemon/parent/manager.h"
#include "daemon/parent/parent.h"

#include "lib/core/clock.h"
#include "lib/core/fault.h"
#include "lib/core/file.h"
#include "lib/core/log.h"
#include "lib/core/networks.h"
#include "lib/proc/node.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* who may speak with whom; all else has no socket */
static const enum sq_role links[][2] = {
    {SQ_ROLE_GATEWAY, SQ_ROLE_REGISTRAR}, {SQ_ROLE_GATEWAY, SQ_ROLE_KEEPER},  {SQ_ROLE_GATEWAY, SQ_ROLE_RUNNER},
    {SQ_ROLE_REGISTRAR, SQ_ROLE_KEEPER},  {SQ_ROLE_REGISTRAR, SQ_ROLE_STORER}, {SQ_ROLE_REGISTRAR, SQ_ROLE_RUNNER},
    {SQ_ROLE_RUNNER, SQ_ROLE_KEEPER},     {SQ_ROLE_RUNNER, SQ_ROLE_JAILER},    {SQ_ROLE_REGISTRAR, SQ_ROLE_COURIER},
    {SQ_ROLE_COURIER, SQ_ROLE_KEEPER},
};

/* started in this order: jailer first, before anything is confined; gateway last, when somebody can answer */
static const enum sq_role order[N_CHILD] = {SQ_ROLE_JAILER, SQ_ROLE_KEEPER, SQ_ROLE_STORER, SQ_ROLE_COURIER,
                                            SQ_ROLE_RUNNER, SQ_ROLE_REGISTRAR, SQ_ROLE_GATEWAY};

struct child *child_of(struct parent *p, enum sq_role role)
{
    for (size_t i = 0; i < N_CHILD; i++)
        if (p->child[i].role == role)
            return &p->child[i];
    return NULL;
}

bool children_linked(enum sq_role a, enum sq_role b)
{
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        if ((links[i][0] == a && links[i][1] == b) || (links[i][0] == b && links[i][1] == a))
            return true;
    return false;
}

static sq_err complain(const char *what, const char *which, const char *mend)
{
    fprintf(stderr, "sequester: %s %s: %s. %s\n", what, which, strerror(errno), mend);
    return sq_fail(SQ_ECONFIG);
}

static void hand(struct child *c, const char *name, int fd)
{
    sq_assert(c->n_handed < MAX_HANDED);
    c->handed[c->n_handed].name = name;
    c->handed[c->n_handed++].fd = fd;
}

/* the state directory must be reachable for the children's uids: each directory above it needs x for others */
static sq_err check_reachable(const char *path)
{
    char part[PATH_MAX];
    for (const char *p = path + 1; p && *p; p = strchr(p + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(p - path), path);
        struct stat st;
        if (part[0] && !stat(part, &st) && !(st.st_mode & S_IXOTH)) {
            fprintf(stderr, "sequester: state_dir %s: %s can't be passed by other users (chmod o+x), but the processes run as"
                            " users of their own. Choose another place.\n", path, part);
            return sq_fail(SQ_ECONFIG);
        }
    }
    return SQ_OK;
}

/* how the children are started, and by whom */
static sq_err open_children(struct parent *p)
{
    const char *by = config_get(&p->config, "start_by");
    p->tls_new[0] = p->tls_new[1] = p->net_new = -1;
    p->is_by_sockets = !strcmp(by, "sockets");
    if (!p->is_by_sockets && strcmp(by, "parent")) {
        fprintf(stderr, "sequester: start_by %s: expected parent or sockets\n", by);
        return sq_fail(SQ_ECONFIG);
    }
    if (!sq_peer_rsa_is_kept(by, config_get(&p->config, "peer_rsa_bits"))) {
        fputs("sequester: peer_rsa_bits " SQ_PEER_RSA_NOT_KEPT "\n", stderr);
        return sq_fail(SQ_ECONFIG);
    }
    for (size_t i = 0; i < N_CHILD; i++)
        p->child[i] = (struct child){.role = order[i], .control = -1, .exe = -1, .cwd = -1};
    return SQ_OK;
}

/* In an ordinary user's home the folders above may be missing (~/.local/state); what can't be made is told by who needs it. */
static void make_above(const char *path)
{
    char part[PATH_MAX];
    for (const char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(at - path), path);
        (void)mkdir(part, 0700);
    }
}

static sq_err open_dirs(struct parent *p)
{
    const char *state = config_get(&p->config, "state_dir");
    sq_err e = p->is_root ? check_reachable(state) : SQ_OK;
    if (e)
        return e;
    const mode_t mode = p->is_root ? 0711 : 0700; /* each process must pass to its own directory; none can list it */
    if (!p->is_root)
        make_above(state);
    if (mkdir(state, mode) < 0 && errno != EEXIST)
        return complain("state_dir", state, "Create its parent directory.");
    int dir = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || fchmod(dir, mode) < 0)
        return complain("state_dir", state, "It must be a directory of ours.");
    uid_t base = (uid_t)config_number(&p->config, "uid_base");
    for (size_t i = 0; i < N_CHILD; i++) {
        struct child *c = &p->child[i];
        c->uid = p->is_root && c->role != SQ_ROLE_JAILER ? base + (uid_t)c->role : 0;
        e = sq_dir_open(dir, sq_role_name(c->role), 0700, &c->cwd);
        if (e || fchmod(c->cwd, 0700) < 0 || (c->uid && fchown(c->cwd, c->uid, c->uid) < 0))
            return complain("state_dir", state, "Its directories must be ours to change.");
    }
    close(dir);
    return SQ_OK;
}

static sq_err open_listen(struct parent *p, int *out_fd)
{
    const char *listen_on = config_get(&p->config, "listen");
    if ((*out_fd = manager_listen_fd()) >= 0) { /* made by the service manager; `listen` is then its address as others call it */
        snprintf(p->address, sizeof p->address, "https://%s", listen_on);
        return SQ_OK;
    }
    char host[256];
    snprintf(host, sizeof host, "%s", listen_on);
    char *port = strrchr(host, ':');
    if (!port) {
        fprintf(stderr, "sequester: listen %s: expected ADDRESS:PORT\n", listen_on);
        return sq_fail(SQ_ECONFIG);
    }
    *port++ = 0;
    char *name = host;
    if (*name == '[' && name[strlen(name) - 1] == ']') {
        name[strlen(name) - 1] = 0;
        name++;
    }
    struct addrinfo want = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE, .ai_socktype = SOCK_STREAM}, *found = NULL;
    if (getaddrinfo(name, port, &want, &found)) {
        fprintf(stderr, "sequester: listen %s: not a numeric address and port\n", listen_on);
        return sq_fail(SQ_ECONFIG);
    }
    bool is_wild = !strcmp(name, "0.0.0.0") || !strcmp(name, "::");
    if (is_wild && strcmp(config_get(&p->config, "allow_wildcard"), "yes")) {
        freeaddrinfo(found);
        fprintf(stderr, "sequester: listen %s: all addresses; say allow_wildcard = yes if you mean it\n", listen_on);
        return sq_fail(SQ_ECONFIG);
    }
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    int r = fd < 0 ? -1 : setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (r == 0)
        r = bind(fd, found->ai_addr, found->ai_addrlen);
    if (r == 0)
        r = listen(fd, 1024);
    freeaddrinfo(found);
    if (r < 0)
        return complain("listen", listen_on,
                        errno == EACCES ? "An ordinary user's port is 1024 or higher." : "Is another server using it?");
    snprintf(p->address, sizeof p->address, "https://%s", listen_on);
    *out_fd = fd;
    return SQ_OK;
}

static sq_err open_admin(struct parent *p, int *out_fd)
{
    const char *run_dir = config_get(&p->config, "run_dir");
    if (!p->is_root)
        make_above(run_dir);
    if (mkdir(run_dir, p->is_root || p->is_by_sockets ? 0711 : 0700) < 0 && errno != EEXIST)
        return complain("run_dir", run_dir, "Create its parent directory.");
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    if ((size_t)snprintf(at.sun_path, sizeof at.sun_path, "%s/admin.sock", run_dir) >= sizeof at.sun_path) {
        fprintf(stderr, "sequester: run_dir %s: too long for a socket (107 bytes)\n", run_dir);
        return sq_fail(SQ_ECONFIG);
    }
    unlink(at.sun_path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) < 0 || chmod(at.sun_path, 0600) < 0 || listen(fd, 16) < 0)
        return complain("run_dir", run_dir, "The operator's socket could not be made there.");
    *out_fd = fd;
    return SQ_OK;
}

static sq_err open_secret(const char *key, const char *path, bool is_private, int *out_fd)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return complain(key, path, "`sequester init DIR` makes certificates for a first try.");
    if (is_private && (st.st_mode & 077)) {
        close(fd);
        fprintf(stderr, "sequester: %s %s: others may read it. Mend: chmod 600 %s\n", key, path, path);
        return sq_fail(SQ_ECONFIG);
    }
    *out_fd = fd;
    return SQ_OK;
}

/* The file as it is now, in memory: it may be written in place later, and another gateway must start with the rules that were taken. -1: errno says why. */
static int open_copy(const char *path)
{
    char text[4096];
    size_t n = 1, all = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC), copy = fd < 0 ? -1 : memfd_create("networks", MFD_CLOEXEC);
    while (copy >= 0 && n && all <= SQ_NETWORKS_MAX_BYTES) { /* a byte too many is enough to be refused */
        if (sq_read_full(fd, text, sizeof text, &n) || sq_write_all(copy, text, n))
            sq_close(&copy);
        all += n;
    }
    sq_close(&fd);
    if (copy >= 0)
        lseek(copy, 0, SEEK_SET);
    return copy;
}

/* The file of rules, when there is one: read here too, so that nobody starts a service whose rules make no sense. */
static sq_err open_networks(struct parent *p)
{
    const char *path = config_get(&p->config, "networks");
    struct sq_networks *nets = NULL;
    struct sq_why why = {.line = 0};
    if (!*path)
        return SQ_OK;
    int fd = open_copy(path);
    if (fd < 0)
        return complain("networks", path, "It is the file of rules who may come from where; say `networks =` to have none.");
    sq_err e = sq_networks_read_fd(fd, &nets, &why);
    sq_networks_free(nets);
    if (e) {
        close(fd);
        fprintf(stderr, "sequester: %s:%llu: %s\n", path, (unsigned long long)why.line, why.detail);
        return e;
    }
    hand(child_of(p, SQ_ROLE_GATEWAY), "networks", fd);
    return SQ_OK;
}

/* Passwords that nobody may choose: registrar looks at it, and searches it. */
static sq_err open_password_list(struct parent *p)
{
    const char *path = config_get(&p->config, "password_list");
    if (!*path)
        return SQ_OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return complain("password_list", path, "It is a list of passwords that nobody may choose; say `password_list =` to have the built-in one alone.");
    hand(child_of(p, SQ_ROLE_REGISTRAR), "password_list", fd);
    return SQ_OK;
}

static sq_err open_programs(struct parent *p, const char *bin_dir)
{
    char path[PATH_MAX];
    for (size_t i = 0; i < N_CHILD && !p->is_by_sockets; i++) {
        snprintf(path, sizeof path, "%s/sequester-%s", bin_dir, sq_role_name(p->child[i].role));
        p->child[i].exe = open(path, O_RDONLY | O_CLOEXEC);
        if (p->child[i].exe < 0)
            return complain("program", path, "All programs of one version must lie in one directory.");
    }
    const char *worker = config_get(&p->config, "worker");
    if (*worker)
        snprintf(path, sizeof path, "%s", worker);
    else
        snprintf(path, sizeof path, "%s/sequester-worker", bin_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return complain("worker", path, "It is the program that runs in the sandbox.");
    hand(child_of(p, SQ_ROLE_JAILER), "worker", fd);
    hand(child_of(p, SQ_ROLE_REGISTRAR), "worker", fd); /* to say which program worked on a job */
    return SQ_OK;
}

#ifdef SQ_TEST_HOOKS
static sq_err open_hooks(struct parent *p)
{
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/hooks", config_get(&p->config, "state_dir"));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || ftruncate(fd, 4096) < 0)
        return complain("hooks", path, "A test build needs it.");
    sq_hooks_map(fd);
    for (size_t i = 0; i < N_CHILD; i++)
        hand(&p->child[i], "hooks", fd);
    return SQ_OK;
}
#endif

/* what courier needs to reach others and to be believed by them: nothing of it when nothing is configured */
static sq_err open_outbound(struct parent *p)
{
    static const struct {
        const char *key, *name, *with;
        bool is_private;
    } files[] = {{"outbound_ca", "ca", NULL, false}, {"smtp_password_file", "smtp_password", "smtp_user", true}, {"webhook_secret_file", "webhook_secret", "webhook_url", true}};
    const struct config *c = &p->config;
    bool has_mail = *config_get(c, "smtp_url"), has_any = has_mail || *config_get(c, "webhook_url") || *config_get(c, "syslog_url");
    if (has_mail && !*config_get(c, "mail_from")) {
        fprintf(stderr, "sequester: mail_from: is needed with smtp_url\n");
        return sq_fail(SQ_ECONFIG);
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        const char *path = config_get(c, files[i].key);
        bool is_needed = files[i].with ? *config_get(c, files[i].with) : has_any;
        int fd = -1;
        if (is_needed && !*path) {
            fprintf(stderr, "sequester: %s: is needed with %s\n", files[i].key, files[i].with ? files[i].with : "smtp_url, webhook_url or syslog_url");
            return sq_fail(SQ_ECONFIG);
        }
        sq_err e = is_needed ? open_secret(files[i].key, path, files[i].is_private, &fd) : SQ_OK;
        if (e)
            return e;
        if (is_needed)
            hand(child_of(p, SQ_ROLE_COURIER), files[i].name, fd);
    }
    return SQ_OK;
}

sq_err children_prepare(struct parent *p, const char *bin_dir)
{
    int listen_fd = -1, admin_fd = -1, cert = -1, key = -1, keyfile = -1, pin = -1;
    sq_err e = open_children(p);
    if (!e && !p->is_by_sockets) /* else whoever starts them has made their directories */
        e = open_dirs(p);
    if (!e)
        e = open_programs(p, bin_dir);
    if (!e)
        e = open_listen(p, &listen_fd);
    if (!e)
        e = open_admin(p, &admin_fd);
    if (!e)
        e = open_secret("tls_certificate", config_get(&p->config, "tls_certificate"), false, &cert);
    if (!e)
        e = open_secret("tls_key", config_get(&p->config, "tls_key"), true, &key);
    if (!e)
        e = open_outbound(p);
    if (!e)
        e = open_networks(p);
    if (!e)
        e = open_password_list(p);
    const char *backend = config_get(&p->config, "key_backend"), *key_file = config_get(&p->config, "key_file"),
               *pin_file = config_get(&p->config, "pkcs11_pin_file");
    if (!e && (*key_file || !strcmp(backend, "file"))) /* also to change from it */
        e = open_secret("key_file", key_file, true, &keyfile);
    if (!e && (*pin_file || !strcmp(backend, "pkcs11")))
        e = open_secret("pkcs11_pin_file", pin_file, true, &pin);
#ifdef SQ_TEST_HOOKS
    if (!e)
        e = open_hooks(p);
#endif
    if (e)
        return e;
    struct child *gateway = child_of(p, SQ_ROLE_GATEWAY);
    hand(gateway, "listen", listen_fd);
    hand(gateway, "tls_cert", cert);
    hand(gateway, "tls_key", key);
    hand(child_of(p, SQ_ROLE_REGISTRAR), "admin", admin_fd);
    if (keyfile >= 0)
        hand(child_of(p, SQ_ROLE_KEEPER), "keyfile", keyfile);
    if (pin >= 0)
        hand(child_of(p, SQ_ROLE_KEEPER), "pkcs11_pin", pin);
    return SQ_OK;
}

/* ---- the start of one child ---- */

/* the bounding set of jailer, as DESIGN §1a measured it; CHOWN is for runc, its fallback */
static bool jailer_keeps(int cap)
{
    return cap == CAP_SYS_ADMIN || cap == CAP_SETUID || cap == CAP_SETGID || cap == CAP_KILL || cap == CAP_DAC_OVERRIDE ||
           cap == CAP_CHOWN;
}

/* What libcurl asks of the keys of mail, webhook and syslog servers is fixed in it; GnuTLS, which it uses, takes a stricter rule from a file when it is loaded: RSA of
 * 3072 bits, in every certificate of the chain. It lies in courier's own directory. */
#define PEER_RULE "gnutls.conf"
static bool write_peer_rule(void)
{
    static const char rule[] = "[overrides]\nmin-verification-profile = high\n";
    int fd = open(PEER_RULE, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
    bool is_ok = fd >= 0 && !sq_write_all(fd, rule, sizeof rule - 1) && !fchmod(fd, 0644);
    sq_close(&fd);
    return is_ok;
}

static _Noreturn void become(const struct parent *p, const struct child *c, int control)
{
    char name[48];
    snprintf(name, sizeof name, "sequester-%s", sq_role_name(c->role));
    char *argv[] = {name, NULL};
    static char peer_rule[] = "GNUTLS_SYSTEM_PRIORITY_FILE=" PEER_RULE;
    char log_level[64], *envp[3] = {NULL};
    size_t n_env = 0;
    if (getenv("SQ_LOG")) {
        snprintf(log_level, sizeof log_level, "SQ_LOG=%.40s", getenv("SQ_LOG"));
        envp[n_env++] = log_level;
    }
    bool has_rule = c->role == SQ_ROLE_COURIER && config_number(&p->config, "peer_rsa_bits") > 2048;
    if (has_rule)
        envp[n_env] = peer_rule;
    int exe = fcntl(c->exe, F_DUPFD_CLOEXEC, 10); /* out of the way of descriptor 3 */
    bool is_ok = exe >= 0 && fchdir(c->cwd) == 0 && (!has_rule || write_peer_rule()) && dup2(control, SQ_NODE_PARENT_FD) >= 0;
    if (control == SQ_NODE_PARENT_FD)
        fcntl(control, F_SETFD, 0); /* dup2 onto itself keeps close-on-exec */
    if (is_ok && p->is_root) {
        for (int cap = 0; prctl(PR_CAPBSET_READ, cap) >= 0; cap++)
            if (!(c->role == SQ_ROLE_JAILER && jailer_keeps(cap)))
                is_ok = is_ok && prctl(PR_CAPBSET_DROP, cap) == 0;
        is_ok = is_ok && setgroups(0, NULL) == 0;
        if (c->uid)
            is_ok = is_ok && setresgid(c->uid, c->uid, c->uid) == 0 && setresuid(c->uid, c->uid, c->uid) == 0;
    }
    is_ok = is_ok && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
    if (is_ok)
        execveat(exe, "", argv, envp, AT_EMPTY_PATH);
    _exit(127);
}

static void link_two(struct parent *p, struct child *a, struct child *b)
{
    (void)p;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return;
    struct sq_msg to_a = sq_msg_of(peer, .role = (uint8_t)b->role, .socket = pair[0]);
    struct sq_msg to_b = sq_msg_of(peer, .role = (uint8_t)a->role, .socket = pair[1]);
    /* a child that is gone meanwhile is seen by SIGCHLD and linked anew at its next start */
    sq_err ea = sq_wire_send(a->control, SQ_ROLE_PARENT, a->role, &to_a);
    sq_err eb = sq_wire_send(b->control, SQ_ROLE_PARENT, b->role, &to_b);
    (void)ea;
    (void)eb;
    close(pair[0]);
    close(pair[1]);
}

static sq_err hand_out(struct parent *p, struct child *c)
{
    sq_err e = sq_wire_hello(c->control, SQ_ROLE_PARENT, c->role);
    for (size_t i = 0; i < c->n_handed && !e; i++) {
        struct sq_msg m = sq_msg_of(take, .name = sq_span_str(c->handed[i].name), .file = c->handed[i].fd);
        lseek(c->handed[i].fd, 0, SEEK_SET); /* files are read anew at each start; sockets don't mind */
        e = sq_wire_send(c->control, SQ_ROLE_PARENT, c->role, &m);
    }
    size_t n;
    const struct sq_key_row *row = sq_key_rows(&n);
    for (size_t i = 0; i < n && !e; i++) {
        if (!sq_key_is_for(&row[i], sq_role_name(c->role)))
            continue;
        struct sq_msg m = sq_msg_of(setting, .key = sq_span_str(row[i].name), .value = sq_span_str(p->config.value[i]));
        e = sq_wire_send(c->control, SQ_ROLE_PARENT, c->role, &m);
    }
    if (c->role == SQ_ROLE_JAILER && p->delegated_cgroup[0] && !e) {
        struct sq_msg m = sq_msg_of(setting, .key = sq_span_str("delegated_cgroup"), .value = sq_span_str(p->delegated_cgroup));
        e = sq_wire_send(c->control, SQ_ROLE_PARENT, c->role, &m);
    }
    for (size_t i = 0; i < sizeof links / sizeof links[0] && !e; i++) {
        struct child *a = child_of(p, links[i][0]), *b = child_of(p, links[i][1]);
        if ((a == c && b->control >= 0) || (b == c && a->control >= 0))
            link_two(p, a, b);
    }
    struct sq_msg go = sq_msg_bare(go);
    if (!e && c->role == SQ_ROLE_REGISTRAR)
        children_tell_losses(p);
    return e ? e : sq_wire_send(c->control, SQ_ROLE_PARENT, c->role, &go);
}

static int *handed_fd(struct child *c, const char *name)
{
    for (size_t i = 0; i < c->n_handed; i++)
        if (!strcmp(c->handed[i].name, name))
            return &c->handed[i].fd;
    return NULL;
}

static void tls_tell(struct parent *p, sq_err code, uint32_t found)
{
    struct child *registrar = child_of(p, SQ_ROLE_REGISTRAR);
    struct sq_msg m = sq_msg_of(tls_reloaded, .code = (uint16_t)code, .found = found);
    sq_err e = registrar->control >= 0 ? sq_wire_send(registrar->control, SQ_ROLE_PARENT, SQ_ROLE_REGISTRAR, &m) : SQ_EDOWN;
    (void)e; /* who asked is gone */
}

void tls_reload(struct parent *p)
{
    struct child *gateway = child_of(p, SQ_ROLE_GATEWAY);
    sq_close(&p->tls_new[0]);
    sq_close(&p->tls_new[1]);
    sq_err e = open_secret("tls_certificate", config_get(&p->config, "tls_certificate"), false, &p->tls_new[0]);
    if (!e)
        e = open_secret("tls_key", config_get(&p->config, "tls_key"), true, &p->tls_new[1]);
    struct sq_msg m = sq_msg_of(tls_files, .certificate = p->tls_new[0], .key = p->tls_new[1]);
    if (!e)
        e = gateway->control >= 0 && gateway->is_serving ? sq_wire_send(gateway->control, SQ_ROLE_PARENT, SQ_ROLE_GATEWAY, &m) : SQ_EDOWN;
    if (e)
        tls_tell(p, e, 0);
}

void tls_taken(struct parent *p, sq_err code, uint32_t found)
{
    static const char *const names[] = {"tls_cert", "tls_key"};
    for (size_t i = 0; i < 2; i++) {
        int *fd = handed_fd(child_of(p, SQ_ROLE_GATEWAY), names[i]), old = -1;
        if (!code && fd && p->tls_new[i] >= 0) { /* also what the next gateway starts with */
            old = *fd;
            *fd = p->tls_new[i];
        } else {
            old = p->tls_new[i];
        }
        p->tls_new[i] = -1;
        sq_close(&old);
    }
    tls_tell(p, code, found);
}

static void net_tell(struct parent *p, sq_err code, uint32_t n_rule, uint32_t line, struct sq_span why)
{
    struct child *registrar = child_of(p, SQ_ROLE_REGISTRAR);
    struct sq_msg m = sq_msg_of(net_reloaded, .code = (uint16_t)code, .n_rule = n_rule, .line = line, .why = why);
    sq_err e = registrar->control >= 0 ? sq_wire_send(registrar->control, SQ_ROLE_PARENT, SQ_ROLE_REGISTRAR, &m) : SQ_EDOWN;
    (void)e; /* who asked is gone */
}

void net_reload(struct parent *p)
{
    struct child *gateway = child_of(p, SQ_ROLE_GATEWAY);
    const char *path = config_get(&p->config, "networks");
    sq_close(&p->net_new);
    p->net_new = *path ? open_copy(path) : -1;
    if (!*path || p->net_new < 0) {
        net_tell(p, SQ_ECONFIG, 0, 0, sq_span_str(*path ? "the file that `networks` names can't be opened" : "sequester.ini names no file of rules: networks = PATH, then start the service anew"));
        return;
    }
    struct sq_msg m = sq_msg_of(net_files, .file = {.n = 1, .fd = {p->net_new}});
    sq_err e = gateway->control >= 0 && gateway->is_serving ? sq_wire_send(gateway->control, SQ_ROLE_PARENT, SQ_ROLE_GATEWAY, &m) : SQ_EDOWN;
    if (e)
        net_tell(p, e, 0, 0, sq_span_str(""));
}

void net_taken(struct parent *p, const struct sq_msg *m)
{
    int *fd = handed_fd(child_of(p, SQ_ROLE_GATEWAY), "networks");
    sq_err code = sq_err_from_no(m->u.net_taken.code);
    if (!code && fd && p->net_new >= 0) { /* also what the next gateway starts with */
        int old = *fd;
        *fd = p->net_new;
        p->net_new = old;
    }
    sq_close(&p->net_new);
    net_tell(p, code, m->u.net_taken.n_rule, m->u.net_taken.line, m->u.net_taken.why);
}

void children_tell_losses(struct parent *p)
{
    struct child *registrar = child_of(p, SQ_ROLE_REGISTRAR);
    struct sq_msg m = sq_msg_of(losses, .losses = p->losses);
    for (size_t i = 0; i < N_CHILD; i++)
        m.u.losses.losses |= p->child[i].losses;
    if (registrar->control < 0)
        return;
    sq_err e = sq_wire_send(registrar->control, SQ_ROLE_PARENT, SQ_ROLE_REGISTRAR, &m); /* if it is gone: at its next start */
    (void)e;
}

bool child_is_running(const struct child *c)
{
    return c->pid > 0 || c->control >= 0;
}

void child_kill(struct child *c)
{
    if (c->pid > 0)
        kill(c->pid, SIGKILL);
    else
        sq_close(&c->control);
}

/* Its program, its user, its directory and its end of our socket: all is in what listens there (deploy/systemd). */
static sq_err child_connect(struct parent *p, struct child *c)
{
    int control = -1;
    sq_err e = manager_connect(config_get(&p->config, "run_dir"), sq_role_name(c->role), &control);
    if (e)
        return e;
    c->control = control;
    sq_log(SQ_LOG_child_started, SQ_LW("child", sq_role_name(c->role)), SQ_LN("pid", 0));
    return SQ_OK;
}

static sq_err child_fork(struct parent *p, struct child *c)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return sq_fail(SQ_ESYS);
    pid_t pid = fork();
    if (pid == 0)
        become(p, c, pair[1]);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return sq_fail(SQ_ESYS);
    }
    c->pid = pid;
    c->control = pair[0];
    sq_log(SQ_LOG_child_started, SQ_LW("child", sq_role_name(c->role)), SQ_LN("pid", pid));
    return SQ_OK;
}

sq_err child_start(struct parent *p, struct child *c)
{
    sq_err e = p->is_by_sockets ? child_connect(p, c) : child_fork(p, c);
    if (e)
        return e;
    c->is_serving = false;
    c->losses = 0;
    struct timeval limit = {.tv_sec = 10};
    setsockopt(c->control, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit); /* a child that hangs in its hello must not hang us */
    return hand_out(p, c);
}
