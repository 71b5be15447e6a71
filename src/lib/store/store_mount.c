#include "lib/store/store_internal.h"

#include "lib/core/file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOUNTINFO_MAX (4u << 20)

/*
 * File systems on which writing over a file writes over its blocks. A list of the known good and not of the known bad:
 * what we haven't tried (DESIGN §3: loop images, searched raw) gets no promise. Reflinked blocks (xfs) are found by
 * their extents, see store_erase.c.
 */
static const char *const in_place[] = {"ext2", "ext3", "ext4", "xfs"};

static bool has_option(const char *options, const char *wanted)
{
    size_t n = strlen(wanted);
    for (const char *p = options; *p;) {
        size_t len = strcspn(p, ",");
        if (len == n && !memcmp(p, wanted, n))
            return true;
        p += len + (p[len] == ',');
    }
    return false;
}

static void judge(const char *type, const char *options, struct sq_store_mount *out)
{
    bool is_journaled = has_option(options, "data=journal");
    snprintf(out->filesystem, sizeof out->filesystem, "%.16s%s", type, is_journaled ? " data=journal" : "");
    out->overwrite_is_real = false;
    out->why_not = "filesystem_not_known_to_overwrite_in_place";
    for (size_t i = 0; i < sizeof in_place / sizeof in_place[0]; i++)
        if (!strcmp(type, in_place[i])) {
            out->overwrite_is_real = !is_journaled;
            out->why_not = is_journaled ? "data_journal_keeps_copies" : "";
        }
}

/* proc_pid_mountinfo(5): id parent major:minor root point options [optional ...] - type source super-options */
static bool parse_line(char *line, uint64_t mount_id, struct sq_store_mount *out)
{
    char *end = NULL;
    if (strtoull(line, &end, 10) != mount_id || end == line || *end != ' ')
        return false;
    char *dash = strstr(end, " - ");
    if (!dash)
        return false;
    char *save = NULL, *type = strtok_r(dash + 3, " ", &save), *source = strtok_r(NULL, " ", &save);
    char *options = strtok_r(NULL, " ", &save);
    if (!type || !source)
        return false;
    for (const char *p = type; *p; p++)
        if (*p < '!' || *p > '~')
            return false;
    judge(type, options ? options : "", out);
    return true;
}

void sq_store_mount_parse(const char *mountinfo, uint64_t mount_id, struct sq_store_mount *out)
{
    judge("unknown", "", out);
    char *copy = strdup(mountinfo);
    if (!copy)
        return;
    char *save = NULL;
    for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        if (parse_line(line, mount_id, out))
            break;
    free(copy);
}

/* ext3/ext4 `chattr +j`: files made here inherit it, and their data goes through the journal although the mount's doesn't. */
static bool is_journaled(int fd)
{
    int flags = 0;
    return ioctl(fd, FS_IOC_GETFLAGS, &flags) == 0 && (flags & FS_JOURNAL_DATA_FL);
}

void sq_store_mount_find(int dir_fd, struct sq_store_mount *out)
{
    judge("unknown", "", out);
    struct statx st;
    if (statx(dir_fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_MNT_ID, &st) < 0 || !(st.stx_mask & STATX_MNT_ID))
        return;
    struct sq_buf text;
    sq_buf_init(&text, MOUNTINFO_MAX);
    sq_err e = sq_file_read(AT_FDCWD, "/proc/self/mountinfo", &text);
    if (!e)
        e = sq_buf_add(&text, "", 1);
    if (!e)
        sq_store_mount_parse((const char *)text.p, st.stx_mnt_id, out);
    sq_buf_done(&text);
    if (out->overwrite_is_real && is_journaled(dir_fd)) {
        out->overwrite_is_real = false;
        out->why_not = "data_journal_keeps_copies";
    }
}
