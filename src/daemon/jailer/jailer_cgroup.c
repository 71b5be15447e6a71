/*
 * Reading what a sandbox used, and removing folders that nobody removes any more. cgroup v1 (also on hybrid hosts) has
 * one tree a controller, v2 has one tree.
 */
#include "daemon/jailer/jailer_internal.h"

#include "lib/core/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define CGROUP_ROOT "/sys/fs/cgroup"

/* One number from a file of one line, or behind @key in a file of "key number" lines. */
static bool read_number(const struct jail_ground *g, const char *controller, const char *id, const char *file, const char *key,
                        uint64_t *out)
{
    char path[512];
    snprintf(path, sizeof path, CGROUP_ROOT "%s%s/%s/%s", controller, g->cgroup, id, file);
    struct sq_buf text;
    sq_buf_init(&text, 16384);
    bool is_found = false;
    if (sq_file_read(AT_FDCWD, path, &text) == SQ_OK && sq_buf_add(&text, "", 1) == SQ_OK) {
        const char *at = (const char *)text.p;
        const size_t n_key = key ? strlen(key) : 0;
        while (at && key && !(strncmp(at, key, n_key) == 0 && at[n_key] == ' ')) {
            at = strchr(at, '\n');
            at = at ? at + 1 : NULL;
        }
        if (at) {
            char *end;
            *out = strtoull(at + n_key, &end, 10);
            is_found = end != at + n_key;
        }
    }
    sq_buf_done(&text);
    return is_found;
}

void jail_cgroup_usage(const struct jail_ground *g, const char *id, struct jail_usage *usage)
{
    uint64_t v;
    if (!g->has_cgroup)
        return;
    if (g->is_cgroup2) {
        if (read_number(g, "", id, "cpu.stat", "usage_usec", &v))
            usage->cpu_ms = v / 1000;
        if (read_number(g, "", id, "memory.peak", NULL, &v)) /* kernel 5.19 and later */
            usage->peak_kib = v / 1024;
        if (read_number(g, "", id, "memory.events", "oom_kill", &v))
            usage->is_oom = v > 0;
        return;
    }
    if (read_number(g, "/cpuacct", id, "cpuacct.usage", NULL, &v))
        usage->cpu_ms = v / 1000000;
    if (read_number(g, "/memory", id, "memory.max_usage_in_bytes", NULL, &v))
        usage->peak_kib = v / 1024;
    if (read_number(g, "/memory", id, "memory.oom_control", "oom_kill", &v))
        usage->is_oom = v > 0;
}

/*
 * A killed process leaves its cgroup a moment after it is reaped: try for two seconds. The one file that can be removed
 * lies in the tmpfs on the place of the v2 tree (jailer_ground.c): the runtime wrote a pid there. In a real cgroup
 * the unlink fails and changes nothing.
 */
static void remove_folder(const char *path)
{
    const struct timespec moment = {.tv_nsec = 10000000};
    char file[700];
    snprintf(file, sizeof file, "%s/cgroup.procs", path);
    (void)unlink(file);
    for (int i = 0; i < 200 && rmdir(path) && errno == EBUSY; i++)
        nanosleep(&moment, NULL);
}

static void remove_below(const char *tree, const char *cgroup)
{
    char path[512];
    snprintf(path, sizeof path, "%s%s", tree, cgroup);
    DIR *dir = opendir(path);
    if (!dir)
        return;
    for (const struct dirent *d; (d = readdir(dir));)
        if (d->d_type == DT_DIR && d->d_name[0] != '.' && strlen(d->d_name) < 64) {
            char child[600];
            snprintf(child, sizeof child, "%s/%s", path, d->d_name);
            remove_folder(child);
        }
    closedir(dir);
    remove_folder(path);
}

/* Calls @each with the root of every cgroup tree: one for v2, one a controller for v1. */
static void each_tree(const struct jail_ground *g, void (*each)(const char *tree, const char *cgroup), const char *cgroup)
{
    if (g->is_cgroup2) {
        each(CGROUP_ROOT, cgroup);
        return;
    }
    DIR *dir = opendir(CGROUP_ROOT);
    if (!dir)
        return;
    for (const struct dirent *d; (d = readdir(dir));)
        if (d->d_name[0] != '.' && strlen(d->d_name) < 64) {
            char tree[128];
            snprintf(tree, sizeof tree, CGROUP_ROOT "/%s", d->d_name);
            each(tree, cgroup);
        }
    closedir(dir);
}

void jail_cgroup_sweep(const struct jail_ground *g)
{
    each_tree(g, remove_below, g->cgroup);
}

void jail_cgroup_remove(const struct jail_ground *g, const char *id)
{
    if (!g->has_cgroup)
        return;
    char cgroup[400];
    snprintf(cgroup, sizeof cgroup, "%s/%s", g->cgroup, id);
    each_tree(g, remove_below, cgroup);
}
