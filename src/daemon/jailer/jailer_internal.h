/*
 * jailer: what its files share. main.c says who we are; ground: what is made once at start; bundle: the compiled table
 * in the runtime's words; runtime: crun or runc by fixed arguments; cgroup: usage, limits hit, leftovers; sandbox: the
 * life of one sandbox.
 */
#ifndef SQ_JAILER_INTERNAL_H
#define SQ_JAILER_INTERNAL_H

#include "lib/core/buf.h"
#include "lib/core/promises.h"
#include "lib/jobs/stages.h"
#include "lib/proc/node.h"

#include <stdbool.h>
#include <sys/types.h>

/* Below the private tmpfs that covers /tmp in jailer's own mount namespace: nobody else sees it, it ends with us. */
#define JAIL_ROOT_DIR "/tmp/root"     /* what a sandbox sees as /: the worker, and an empty /dev */
#define JAIL_STATE_DIR "/tmp/state"   /* the runtime's own notes */
#define JAIL_BUNDLE_DIR "/tmp/bundle" /* one folder a sandbox: config.json, pid, log */

#define JAIL_MAX_SANDBOX 64
#define JAIL_MAX_FDS (1 + SQ_STAGE_MAX_PORTS)
#define JAIL_ID_CHARS (2 * SQ_ID_BYTES + 1)

/* Each running sandbox has its own block of host ids, so that two sandboxes are strangers to each other on the host too. */
#define JAIL_FIRST_HOST_ID 2000000000U
#define JAIL_IDS_PER_SANDBOX 65536U
#define JAIL_MAX_INSTANCES 500U /* on one host, each with its own JAIL_MAX_SANDBOX blocks: below 2^32 */

struct jail_ground {
    const char *runtime;     /* path of crun or runc; NULL: no sandbox can be started here */
    const char *runtime_name;
    bool is_crun;
    bool is_user;            /* parent is an ordinary user: we are root of a user namespace of our own, with one id in it */
    bool has_cgroup;         /* the kernel counts and bounds a sandbox as a whole; else jailer_watch.c and rlimits do */
    bool is_cgroup2;
    bool is_nproc_own;       /* RLIMIT_NPROC counts a user namespace by itself, not all that its user runs */
    unsigned n_cpu;
    unsigned first_host_id;  /* of this instance's blocks */
    uint64_t losses;         /* what this machine doesn't give: promises.def */
    char cgroup[320];        /* ".../sequester-DEVICE-INODE" of our state directory: instances on one host don't meet */
};

enum jail_size { JAIL_SMALL = 0, JAIL_LARGE = 1 };

/** Limits of one sandbox: a row of stages.def times its size class. */
struct jail_limits {
    uint64_t mem_bytes;
    unsigned cpu_s, wall_s, n_proc;
    unsigned n_cpu;
    uint64_t input_bytes; /* shared memory that it was handed: it maps it, and it counts as runner's */
};

/** What a sandbox used. */
struct jail_usage {
    uint64_t cpu_ms, peak_kib;
    bool is_oom;
};

/* jailer_user.c */
/**
 * Without root: into a user namespace of our own, in which our one id is 0 and may do what a container needs. Returns 0, or
 * what this machine forbids, for which no sandbox can be started here. Before the first thread, for as long as we live.
 */
enum sq_loss jail_user_enter(void);
/** Has the kernel of this machine a count of processes for each user namespace (5.14 and later)? */
bool jail_user_has_own_nproc(void);
/**
 * At most @n_proc threads in the sandbox whose first process is @pid. Only when it runs: set before, the limit would count
 * what the user runs outside, for a user namespace takes over the limit of who made it.
 */
sq_err jail_user_limit_threads(pid_t pid, unsigned n_proc) SQ_MUST_CHECK;

/* jailer_watch.c */
/** What the sandbox whose first process is @pid holds in memory, in KiB, without the @input_bytes that it was handed. */
uint64_t jail_watch_kib(pid_t pid, uint64_t input_bytes);

/* jailer_ground.c */
/**
 * Private mounts, the sandbox's root with exactly the program in @worker_fd, cgroups of a crashed predecessor removed.
 * @delegated: for an ordinary user, the cgroup below which he may make others ("" when there is none).
 */
sq_err jail_ground_make(struct jail_ground *g, const char *runtime_setting, const char *delegated, int worker_fd) SQ_MUST_CHECK;

/* jailer_bundle.c */
/** config.json for the sandbox @id in host-id block @block. */
sq_err jail_bundle_make(const struct jail_ground *g, const struct jail_limits *limits, const char *id, unsigned block,
                        struct sq_buf *out) SQ_MUST_CHECK;

/* jailer_runtime.c */
/** Start @id; on success *out_pid is its first process, whose parent we are. @fds become descriptors 3, 4, ... */
sq_err jail_runtime_start(const struct jail_ground *g, const char *id, const int *fds, size_t n_fd, pid_t *out_pid) SQ_MUST_CHECK;
/** Forget @id: kills what is left of it, removes its cgroups and the runtime's notes. */
void jail_runtime_delete(const struct jail_ground *g, const char *id);

/* jailer_cgroup.c */
/** What the cgroups of @id counted; fields that they don't know stay as they are. */
void jail_cgroup_usage(const struct jail_ground *g, const char *id, struct jail_usage *usage);
/** Remove cgroup folders that a crashed predecessor left. Their processes died with its pid namespace. */
void jail_cgroup_sweep(const struct jail_ground *g);
void jail_cgroup_remove(const struct jail_ground *g, const char *id);

/* jailer_sandbox.c */
/** Handlers of runner's messages, and what ends all sandboxes when runner is gone. */
struct jailer {
    struct sq_node *node;
    struct jail_ground ground;
};
void jail_on_start(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void jail_on_kill(void *ctx, struct sq_ask *ask, const struct sq_msg *m);
void jail_on_peer_down(void *ctx, enum sq_role peer);
/** At the end: kill every sandbox, give their threads a moment to clean up, leave no cgroup. */
void jail_end_all(struct jailer *j);

/* confine.c */
/** Capabilities that jailer keeps, and what neither it nor the runtime below it may call. */
sq_err jail_confine(const struct jail_ground *g) SQ_MUST_CHECK;

#endif
