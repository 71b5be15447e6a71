/**
 * parent - configuration, listening sockets, and the life of the other processes.
 */
#ifndef SQ_PARENT_PARENT_H
#define SQ_PARENT_PARENT_H

#include "lib/core/config.h"
#include "lib/core/promises.h"
#include "lib/wire/wire.h"

#include <sys/types.h>

#define PARENT_MAX_KEYS 64

struct config {
    char value[PARENT_MAX_KEYS][SQ_CONFIG_MAX_VALUE]; /* in the order of config.def */
};

/** config_read - read @path (NULL: defaults alone). Errors are printed: file, line, what to do. */
sq_err config_read(const char *path, struct config *out) SQ_MUST_CHECK;
const char *config_get(const struct config *c, const char *key);
uint64_t config_number(const struct config *c, const char *key);

#define MAX_HANDED 6

/** One process of ours, running or not. */
struct child {
    enum sq_role role;
    int exe;       /* the program, opened before anything was given up */
    int cwd;       /* its own directory */
    uid_t uid;     /* uid = gid; 0: as parent */
    struct {
        const char *name;
        int fd;
    } handed[MAX_HANDED]; /* descriptors it gets at each start */
    size_t n_handed;
    pid_t pid;     /* 0: not running */
    int control;   /* our end of its descriptor 3, or -1 */
    unsigned n_fail;
    int64_t restart_at_ms;
    bool is_serving;
    uint64_t losses; /* what it found that this machine doesn't give */
};

#define N_CHILD 7

struct parent {
    struct config config;
    struct child child[N_CHILD];
    bool is_root;
    bool is_by_sockets; /* start_by = sockets: others start them when we connect; then no child has a pid of ours */
    bool is_stopping;
    bool was_ready;  /* all served once */
    int exit_code;
    char address[160];
    int tls_new[2];            /* certificate and key that gateway is looking at, or -1 */
    int net_new;               /* rules of networks that gateway is looking at, or -1 */
    uint64_t losses;           /* what parent itself found */
    char delegated_cgroup[256]; /* below which an ordinary user may make others, or "" */
};

/** children_prepare - directories, programs, sockets, certificates: all that children are handed. Prints errors. */
sq_err children_prepare(struct parent *p, const char *bin_dir) SQ_MUST_CHECK;
/** child_start - fork, give up rights, exec (or connect to who does that); hand out; link to the others that run. */
sq_err child_start(struct parent *p, struct child *c) SQ_MUST_CHECK;
/** children_tell_losses - tell registrar what all of us have found. Does nothing while it doesn't run. */
void children_tell_losses(struct parent *p);
/** tls_reload - open certificate and key anew and have gateway look at them; tls_taken - it has: keep them, or what there was. */
void tls_reload(struct parent *p);
void tls_taken(struct parent *p, sq_err code, uint32_t found);
/** net_reload, net_taken - the same with the file of rules that `networks` names; @m: net_taken. */
void net_reload(struct parent *p);
void net_taken(struct parent *p, const struct sq_msg *m);
/** Whether it was started and not seen to end. */
bool child_is_running(const struct child *c);
/** child_kill - end it now: by a signal where it is ours, else by hanging up on it, which ends it too. */
void child_kill(struct child *c);
struct child *child_of(struct parent *p, enum sq_role role);
/** Whether these two were given a socket to speak through. */
bool children_linked(enum sq_role a, enum sq_role b);

/** delegate_cgroup - for an ordinary user: a cgroup v2 whose children he may make and limit, with us moved out of its way. */
void delegate_cgroup(struct parent *p);
/** parent_confine - after children_prepare, before the first child: what neither parent nor any of them needs. */
sq_err parent_confine(const struct parent *p) SQ_MUST_CHECK;

#endif
