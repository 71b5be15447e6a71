/* The session file: server, CA file, token. Mode 0600; one that others may read is refused, for the token in it is as good as known. */
#include "cli/cli.h"

#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SESSION_MAX_BYTES 16384

static int find_path(const struct cli *c, char out[4096])
{
    const char *path = c->opt[OPT_session] ? c->opt[OPT_session] : getenv("SEQUESTER_SESSION");
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int n;
    if (path && *path)
        n = snprintf(out, 4096, "%s", path);
    else if (config && *config == '/')
        n = snprintf(out, 4096, "%s/sequester/session.json", config);
    else if (home && *home == '/')
        n = snprintf(out, 4096, "%s/.config/sequester/session.json", home);
    else
        return cli_misused(c, "HOME isn't set: name a session file with --session FILE");
    return n > 0 && n < 4096 ? 0 : cli_misused(c, "the path of the session file is too long");
}

int session_open(const struct cli *c, struct session *out)
{
    *out = (struct session){.j = NULL};
    int rc = find_path(c, out->path);
    if (rc)
        return rc;
    int fd = open(out->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT) {
        out->j = json_object();
        return 0;
    }
    struct stat st;
    if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) {
        rc = out_error(c, SQ_EIO, "the session file can't be opened", out->path);
    } else if (st.st_mode & 077 || st.st_uid != geteuid()) {
        rc = out_error(c, SQ_EAUTH, "the session file must be yours alone: sign out, and chmod 600", out->path);
    } else {
        struct sq_buf text;
        size_t n = 0;
        sq_buf_init(&text, SESSION_MAX_BYTES);
        sq_err e = sq_buf_reserve(&text, SESSION_MAX_BYTES);
        if (!e)
            e = sq_read_full(fd, text.p, SESSION_MAX_BYTES, &n);
        text.n = n;
        out->j = e ? NULL : json_loadb((const char *)text.p, n, JSON_REJECT_DUPLICATES, NULL);
        sq_buf_done(&text);
        if (!json_is_object(out->j))
            rc = out_error(c, SQ_EJSON, "the session file is damaged: remove it and sign in again", out->path);
    }
    sq_close(&fd);
    if (rc)
        session_done(out);
    return rc;
}

static void make_parents(const char *path)
{
    char part[4096];
    snprintf(part, sizeof part, "%s", path);
    for (char *p = part + 1; *p; p++)
        if (*p == '/') {
            *p = 0;
            mkdir(part, 0700); /* there already, or the write will tell */
            *p = '/';
        }
}

int session_save(const struct cli *c, struct session *s)
{
    struct sq_buf text;
    sq_buf_init(&text, SESSION_MAX_BYTES);
    make_parents(s->path);
    sq_err e = secret_json_text(s->j, &text);
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", s->path);
    char *slash = strrchr(dir, '/');
    const char *name = slash ? s->path + (slash - dir) + 1 : s->path;
    if (slash)
        slash[slash == dir] = 0;
    int dir_fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (!e)
        e = dir_fd < 0 ? sq_err_errno() : sq_file_write(dir_fd, name, text.p, text.n, 0600);
    sq_close(&dir_fd);
    sq_buf_done(&text);
    return e ? out_error(c, e, "the session file can't be written", s->path) : 0;
}

void session_done(struct session *s)
{
    json_decref(s->j);
    s->j = NULL;
}
