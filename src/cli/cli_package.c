/* The result package: its check entry, and all of it against its manifest. Needs no server. */
#include "cli/cli.h"

#include "lib/core/file.h"
#include "lib/vault/zip_ae2_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECK_NAME "sequester-check.txt"
#define MANIFEST_NAME "manifest.json"
#define MANIFEST_MAX_BYTES (1U << 20)

static int say(const struct cli *c, sq_err e, const char *what)
{
    if (e == SQ_EPASSWORD) {
        out_error(c, e, "the password doesn't open this package",
                  "a newer claim makes a new package with a new password");
        return EXIT_DAMAGED;
    }
    out_error(c, e, what, sq_err_text(e));
    return e == SQ_ETAMPERED || e == SQ_ETRUNCATED || e == SQ_ENOTFOUND || e == SQ_EJSON || e == SQ_ETOOBIG
               ? EXIT_DAMAGED
               : EXIT_REFUSED;
}

static int open_package(const struct cli *c, const char *path, int *out_fd, struct sq_unzip **out)
{
    *out = NULL;
    *out_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*out_fd < 0)
        return out_path_error(c, "the package can't be opened", path);
    sq_err e = sq_unzip_open(*out_fd, out);
    return e ? say(c, e, "this is no whole package of sequester") : 0;
}

static sq_err to_buf(void *ctx, const void *p, size_t n)
{
    return sq_buf_add(ctx, p, n);
}

/* a small entry as text */
static sq_err read_entry(struct sq_unzip *z, const char *name, const struct secret *password, struct sq_buf *out)
{
    size_t i;
    sq_err e = sq_unzip_find(z, name, &i);
    return e ? e : sq_unzip_extract(z, i, password->text, strlen(password->text), to_buf, out);
}

int package_check_text(const struct cli *c, const char *path, const struct secret *password, char out[129])
{
    int fd;
    struct sq_unzip *z;
    struct sq_buf text;
    sq_buf_init(&text, 128);
    int rc = open_package(c, path, &fd, &z);
    sq_err e = rc ? SQ_OK : read_entry(z, CHECK_NAME, password, &text);
    if (e)
        rc = say(c, e, "the package's check entry can't be read");
    if (!rc) {
        while (text.n && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r'))
            text.n--;
        if (sq_span_copy(sq_span_of(text.p, text.n), out, 129))
            rc = say(c, SQ_ETAMPERED, "the package's check entry can't be read");
    }
    sq_buf_done(&text);
    sq_unzip_free(z);
    sq_close(&fd);
    return rc;
}

/* ---- decrypt ---- */

struct extracted {
    uint64_t n_bytes;
    char sha256[2 * SQ_SHA256_BYTES + 1];
    bool is_listed;
};

struct sink {
    int fd;
    uint64_t n_bytes;
    struct sq_sha256 *hash;
};

static sq_err to_file(void *ctx, const void *p, size_t n)
{
    struct sink *s = ctx;
    s->n_bytes += n;
    sq_err e = sq_sha256_add(s->hash, p, n);
    return e ? e : sq_write_all(s->fd, p, n);
}

/* folders of an entry's name; sq_zip_name_ok holds for it, so it stays beneath */
static sq_err make_folders(int dir, const char *name)
{
    char part[SQ_ZIP_MAX_NAME_BYTES + 1];
    snprintf(part, sizeof part, "%s", name);
    for (char *p = part; (p = strchr(p, '/')); *p++ = '/') {
        *p = 0;
        if (mkdirat(dir, part, 0700) && errno != EEXIST)
            return sq_err_errno();
    }
    return SQ_OK;
}

static sq_err extract(struct sq_unzip *z, size_t i, int dir, const struct secret *password, struct extracted *out)
{
    struct sq_unzip_entry entry = sq_unzip_entry(z, i);
    struct sink s = {.fd = -1};
    uint8_t sha256[SQ_SHA256_BYTES];
    sq_err e = make_folders(dir, entry.name);
    if (!e)
        e = sq_open_beneath(dir, entry.name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600, &s.fd);
    bool is_made = !e;
    if (!e)
        e = sq_sha256_new(&s.hash);
    if (!e)
        e = sq_unzip_extract(z, i, password->text, strlen(password->text), to_file, &s);
    if (!e)
        e = sq_sha256_end(s.hash, sha256);
    if (!e)
        e = sq_fsync(s.fd);
    sq_close(&s.fd);
    sq_sha256_free(s.hash);
    if (e && is_made)
        unlinkat(dir, entry.name, 0); /* nothing half-checked stays */
    if (e)
        return e;
    sq_hex(sha256, sizeof sha256, out->sha256);
    out->n_bytes = s.n_bytes;
    return SQ_OK;
}

/* every file of the manifest is there as it says, and nothing else is */
static sq_err check_manifest(const struct sq_unzip *z, const struct sq_buf *text, struct extracted *x)
{
    json_t *j = json_loadb((const char *)text->p, text->n, JSON_REJECT_DUPLICATES, NULL), *file;
    size_t i, at, n_listed = 0;
    bool is_good = !strcmp(out_text(j, "format"), "sequester-package/1");
    json_array_foreach(json_object_get(j, "files"), i, file)
    {
        is_good = is_good && !sq_unzip_find(z, out_text(file, "name"), &at) && !x[at].is_listed &&
                  x[at].n_bytes == out_number(file, "bytes") && !strcmp(x[at].sha256, out_text(file, "sha256"));
        if (!is_good)
            break;
        x[at].is_listed = true;
        n_listed++;
    }
    json_decref(j);
    return is_good && n_listed + 1 == sq_unzip_n_entry(z) ? SQ_OK : sq_fail(SQ_ETAMPERED);
}

static int decrypt_all(struct cli *c, struct sq_unzip *z, int dir, const struct secret *password, struct extracted *x)
{
    struct sq_buf manifest;
    sq_buf_init(&manifest, MANIFEST_MAX_BYTES);
    sq_err e = read_entry(z, MANIFEST_NAME, password, &manifest); /* first: a wrong password makes no file */
    if (e) {
        sq_buf_done(&manifest);
        return say(c, e, "the package's manifest can't be read");
    }
    int rc = 0;
    size_t n = sq_unzip_n_entry(z);
    for (size_t i = 0; i < n && !rc; i++) {
        e = extract(z, i, dir, password, &x[i]);
        if (e == SQ_EEXISTS)
            rc = out_error(c, e, "a file is there already; nothing is overwritten", sq_unzip_entry(z, i).name);
        else if (e)
            rc = say(c, e, sq_unzip_entry(z, i).name);
    }
    if (!rc && check_manifest(z, &manifest, x))
        rc = say(c, SQ_ETAMPERED, "the files don't match the manifest");
    sq_buf_done(&manifest);
    return rc;
}

static void show_files(const struct cli *c, const struct sq_unzip *z, const struct extracted *x)
{
    json_t *files = json_array();
    for (size_t i = 0; i < sq_unzip_n_entry(z); i++) {
        const char *name = sq_unzip_entry(z, i).name;
        char bytes[24];
        out_bytes(x[i].n_bytes, bytes);
        if (!c->opt[OPT_json])
            printf("%s  %10s  %s\n", x[i].sha256, bytes, name);
        json_array_append_new(files, json_pack("{s:s, s:I, s:s}", "name", name, "bytes", (json_int_t)x[i].n_bytes,
                                               "sha256", x[i].sha256));
    }
    json_t *j = json_pack("{s:b, s:s, s:o}", "success", 1, "directory", c->opt[OPT_out], "files", files);
    if (c->opt[OPT_json])
        out_json(j);
    else
        printf("%zu files match the manifest\n", sq_unzip_n_entry(z) - 1);
    json_decref(j);
}

int cmd_decrypt(struct cli *c)
{
    int fd = -1, dir = -1;
    struct sq_unzip *z = NULL;
    struct extracted *x = NULL;
    struct secret password = {NULL};
    if (!c->opt[OPT_out])
        c->opt[OPT_out] = ".";
    int rc = open_package(c, c->arg[0], &fd, &z);
    if (!rc)
        rc = secret_ask(c, "One-time password", false, &password);
    if (!rc && mkdir(c->opt[OPT_out], 0700) && errno != EEXIST)
        rc = out_error(c, SQ_EIO, "the directory can't be made", c->opt[OPT_out]);
    if (!rc && (dir = open(c->opt[OPT_out], O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        rc = out_error(c, SQ_EIO, "the directory can't be opened", c->opt[OPT_out]);
    if (!rc && !(x = calloc(sq_unzip_n_entry(z) + 1, sizeof *x)))
        rc = out_error(c, SQ_ENOMEM, "out of memory", NULL);
    if (!rc)
        rc = decrypt_all(c, z, dir, &password, x);
    if (!rc)
        show_files(c, z, x);
    secret_done(&password);
    free(x);
    sq_unzip_free(z);
    sq_close(&dir);
    sq_close(&fd);
    return rc;
}
