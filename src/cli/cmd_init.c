/* A directory for a new server: CA, certificate, key file, sequester.ini. Overwrites nothing. */
#include "cli/cli.h"

#include "lib/core/file.h"
#include "lib/crypt/crypt.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CA_DAYS 3650
#define SERVER_DAYS 825

static sq_err write_new(int dir, const char *path, const void *p, size_t n, mode_t mode)
{
    int fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return sq_err_errno();
    sq_err e = fchmod(fd, mode) ? sq_err_errno() : sq_write_all(fd, p, n); /* whatever the umask is */
    if (!e)
        e = sq_fsync(fd);
    sq_close(&fd);
    return e;
}

static sq_err make_tls(int dir, const char *hosts)
{
    struct sq_x509_pair ca = {.cert_pem = {.p = NULL}}, server = {.cert_pem = {.p = NULL}};
    sq_err e = sq_x509_ca("Sequester private CA", CA_DAYS, &ca);
    if (!e)
        e = sq_x509_server(&ca, hosts, SERVER_DAYS, &server);
    if (!e && (mkdirat(dir, "tls", 0755) ||
               fchmodat(dir, "tls", 0755, 0))) /* its users need ca.crt; the keys are private by their own mode */
        e = sq_err_errno();
    if (!e)
        e = write_new(dir, "tls/ca.key", ca.key_pem.p, ca.key_pem.n, 0600);
    if (!e)
        e = write_new(dir, "tls/ca.crt", ca.cert_pem.p, ca.cert_pem.n, 0644);
    if (!e)
        e = write_new(dir, "tls/server.key", server.key_pem.p, server.key_pem.n, 0600);
    if (!e)
        e = write_new(dir, "tls/server.crt", server.cert_pem.p, server.cert_pem.n, 0644);
    sq_x509_pair_done(&server);
    sq_x509_pair_done(&ca);
    return e;
}

static sq_err make_key(int dir)
{
    uint8_t key[SQ_KEY_BYTES];
    char hex[2 * SQ_KEY_BYTES + 2];
    sq_err e = sq_random(key, sizeof key);
    sq_hex(key, sizeof key, hex);
    memcpy(hex + 2 * SQ_KEY_BYTES, "\n", 2);
    if (!e)
        e = write_new(dir, "key", hex, 2 * SQ_KEY_BYTES + 1, 0600);
    sq_wipe(key, sizeof key);
    sq_wipe(hex, sizeof hex);
    return e;
}

static sq_err make_ini(const struct cli *c, int dir, const char *path, const char *hosts, bool is_file)
{
    struct sq_buf text;
    sq_buf_init(&text, 65536);
    const char *listen = c->opt[OPT_listen] ? c->opt[OPT_listen] : "127.0.0.1:8443";
    sq_err e = sq_buf_addf(&text,
                           "; Made by `sequester init`. All keys with their defaults: sequester admin config explain\n"
                           "state_dir = %s/state\nrun_dir = %s/run\nlisten = %s\nhosts = %s\ntls_certificate = "
                           "%s/tls/server.crt\ntls_key = %s/tls/server.key\n"
                           "key_backend = %s\n",
                           path, path, listen, hosts, path, path, is_file ? "file" : "passphrase");
    if (!e && is_file)
        e = sq_buf_addf(
            &text,
            "; on the same disk as the data this protects against little: put it on another one\nkey_file = %s/key\n",
            path);
    if (!e)
        e = write_new(dir, "sequester.ini", text.p, text.n, 0600);
    sq_buf_done(&text);
    return e;
}

static bool is_plain(const char *s)
{
    return *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,:-[]*_")] == 0;
}

int cmd_init(struct cli *c)
{
    const char *hosts = c->opt[OPT_hosts] ? c->opt[OPT_hosts] : "localhost,127.0.0.1",
               *backend = c->opt[OPT_key_backend] ? c->opt[OPT_key_backend] : "passphrase";
    char path[PATH_MAX];
    bool is_file = !strcmp(backend, "file");
    if (!is_file && strcmp(backend, "passphrase"))
        return cli_misused(c, "--key-backend must be passphrase or file");
    if (!is_plain(hosts) || (c->opt[OPT_listen] && !is_plain(c->opt[OPT_listen])))
        return cli_misused(c, "--hosts and --listen take names, addresses and commas only");
    if (mkdir(c->arg[0], 0755) ? errno != EEXIST : chmod(c->arg[0], 0755))
        return out_error(c, SQ_EIO, "the directory can't be made", strerror(errno));
    int dir = realpath(c->arg[0], path) ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (dir < 0)
        return out_error(c, SQ_EIO, "the directory can't be opened", strerror(errno));
    static const char *const ours[] = {"tls", "key", "sequester.ini", "state"};
    int rc = path[strcspn(path, "\n\r;#=\"")] || strlen(path) > 80
                 ? cli_misused(c, "the directory's path must be at most 80 bytes long, without ; # = and quotes")
                 : 0;
    for (size_t i = 0; i < sizeof ours / sizeof ours[0] && !rc; i++)
        if (!faccessat(dir, ours[i], F_OK, AT_SYMLINK_NOFOLLOW))
            rc = out_error(c, SQ_EEXISTS, "there is a server in this directory already; nothing is overwritten",
                           ours[i]);
    sq_err e = rc ? SQ_OK : make_tls(dir, hosts);
    if (!e && !rc && is_file)
        e = make_key(dir);
    if (!e && !rc)
        e = make_ini(c, dir, path, hosts, is_file);
    if (e)
        rc = e == SQ_ERANGE || e == SQ_EFIELD
                 ? cli_misused(c, "--hosts must be host names or addresses, comma separated")
                 : out_error(c, e, "the files can't be made", sq_err_text(e));
    sq_close(&dir);
    json_t *j = json_pack("{s:b, s:s+, s:s+, s:s}", "success", 1, "config", path, "/sequester.ini", "cacert", path, "/tls/ca.crt", "key_backend", backend);
    if (out_as_text(c, rc, j)) {
        printf("made %s/sequester.ini, %s/tls%s\n\n"
               "start       sequester-parent --config %s/sequester.ini\n%s%s%s"
               "an account  sequester admin user add NAME --run-dir %s/run\n"
               "sign in     sequester login --cacert %s/tls/ca.crt --name NAME\n"
               "Keep %s/tls/ca.key elsewhere: it is needed only to make the next certificate (in %d days).\n",
               path, path, is_file ? ", the key file" : "", path,
               is_file ? "" : "unseal      sequester admin unseal --new --run-dir ", is_file ? "" : path,
               is_file ? "" : "/run\n", path, path, path, SERVER_DAYS);
    }
    json_decref(j);
    return rc;
}
