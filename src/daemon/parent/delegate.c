/*
 * An ordinary user's cgroup. On a machine with cgroup v2 alone, systemd hands a user's unit a subtree if asked to
 * (Delegate=yes): its files are his, and he may make groups below it and give them limits. A group with processes in it
 * can't share out its controllers, so we first move into a child of it. Anything that isn't so means: no cgroup.
 */
#include "daemon/parent/parent.h"

#include "lib/core/file.h"
#include "lib/core/log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#define CGROUP_ROOT "/sys/fs/cgroup"
#define MAX_PATH 200 /* of a cgroup: jailer adds its own folders */

static bool read_text(const char *path, char *out, size_t size)
{
    struct sq_buf text;
    sq_buf_init(&text, 65536);
    bool is_ok = !sq_file_read(AT_FDCWD, path, &text) && text.n < size;
    if (is_ok) {
        memcpy(out, text.p, text.n);
        out[text.n] = 0;
    }
    sq_buf_done(&text);
    return is_ok;
}

static bool write_text(const char *cgroup, const char *file, const char *text)
{
    char path[MAX_PATH + 96];
    snprintf(path, sizeof path, CGROUP_ROOT "%s/%s", cgroup, file);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool is_ok = fd >= 0 && !sq_write_all(fd, text, strlen(text));
    sq_close(&fd);
    return is_ok;
}

/* May we make groups below @cgroup, move ourselves there, and limit memory and processes in them? */
static bool is_ours(const char *cgroup)
{
    static const char *const files[] = {"", "/cgroup.procs", "/cgroup.subtree_control"};
    char path[MAX_PATH + 96], list[256], words[260];
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(path, sizeof path, CGROUP_ROOT "%s%s", cgroup, files[i]);
        if (access(path, W_OK))
            return false;
    }
    snprintf(path, sizeof path, CGROUP_ROOT "%s/cgroup.controllers", cgroup);
    if (!read_text(path, list, sizeof list))
        return false;
    list[strcspn(list, "\n")] = 0;
    snprintf(words, sizeof words, " %s ", list);
    return strstr(words, " memory ") && strstr(words, " pids ") && strstr(words, " cpu ");
}

/* Our own group of the v2 tree, or false: "0::/user.slice/..." */
static bool own_cgroup(char *out, size_t size)
{
    char text[1024];
    if (!read_text("/proc/self/cgroup", text, sizeof text))
        return false;
    const char *at = !strncmp(text, "0::/", 4) ? text + 3 : NULL;
    if (!at)
        return false;
    size_t n = strcspn(at, "\n");
    if (n <= 1 || n >= size || n > MAX_PATH - 8)
        return false;
    /* it becomes a path, and goes into the bundle of the container: nothing that would have to be escaped in either */
    if (strspn(at, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@._:/-") < n || strstr(at, "..")) {
        errno = EINVAL;
        return false;
    }
    memcpy(out, at, n);
    out[n] = 0;
    return true;
}

/* Out of the way: a group that has processes of its own can't share out its controllers. */
static bool move_below(const char *cgroup)
{
    char path[MAX_PATH + 96], child[MAX_PATH + 8], pid[24];
    snprintf(child, sizeof child, "%s/hub", cgroup);
    snprintf(path, sizeof path, CGROUP_ROOT "%s", child);
    snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    return (!mkdir(path, 0755) || errno == EEXIST) && write_text(child, "cgroup.procs", pid);
}

void delegate_cgroup(struct parent *p)
{
    struct statfs fs;
    char own[MAX_PATH + 1], above[MAX_PATH + 1];
    if (statfs(CGROUP_ROOT, &fs) || fs.f_type != CGROUP2_SUPER_MAGIC || !own_cgroup(own, sizeof own))
        return;
    snprintf(above, sizeof above, "%s", own);
    *strrchr(above, '/') = 0;
    const char *found = above; /* DelegateSubgroup=, or started again from within: we sit in a child already */
    if (!above[0] || !is_ours(above)) {
        found = own;
        if (!is_ours(own) || !move_below(own))
            return;
    }
    if (!write_text(found, "cgroup.subtree_control", "+memory +pids +cpu"))
        return;
    snprintf(p->delegated_cgroup, sizeof p->delegated_cgroup, "%s", found);
}
