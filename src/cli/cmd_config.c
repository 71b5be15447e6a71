/* sequester.ini: check one as parent would, and explain all keys. Both from core/config.def. */
#include "cli/cli.h"

#include "lib/core/config.h"
#include "lib/core/networks.h"
#include "lib/identity/breached.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_KEYS 64

struct checking {
    const struct cli *c;
    const char *path;
    FILE *file;
    int line;
    json_t *findings;
    char value[MAX_KEYS][SQ_CONFIG_MAX_VALUE];
};

/* libinih reads through this, so that we know which line a key stands in */
static char *next_line(char *out, int size, void *ctx)
{
    struct checking *k = ctx;
    k->line++;
    return fgets(out, size, k->file);
}

static void find(struct checking *k, int line, const char *key, const char *what)
{
    if (line)
        fprintf(stderr, "sequester: %s:%d: %s%s%s\n", k->path, line, key, *key ? " " : "", what);
    else
        fprintf(stderr, "sequester: %s: %s %s\n", k->path, key, what);
    json_array_append_new(k->findings, json_pack("{s:i, s:s, s:s}", "line", line, "key", key, "what", what));
}

static int on_key(void *ctx, const char *section, const char *name, const char *value)
{
    (void)section;
    struct checking *k = ctx;
    struct sq_why why;
    size_t n;
    const struct sq_key_row *row = sq_key_row_of(name);
    if (!row)
        find(k, k->line, "", "unknown key; `sequester admin config explain` lists all keys");
    else if (sq_key_check(row, value, &why))
        find(k, k->line, row->name, why.detail);
    else
        snprintf(k->value[row - sq_key_rows(&n)], SQ_CONFIG_MAX_VALUE, "%s", value);
    return 1;
}

static const char *value_of(struct checking *k, const char *key)
{
    size_t n;
    return k->value[sq_key_row_of(key) - sq_key_rows(&n)];
}

static void check_file(struct checking *k, const char *key, bool is_private)
{
    struct stat st;
    const char *path = value_of(k, key);
    if (!*path || stat(path, &st) || !S_ISREG(st.st_mode))
        find(k, 0, key, "names no file; `sequester init DIR` makes one for a first try");
    else if (is_private && st.st_mode & 077)
        find(k, 0, key, "may be read by others: chmod 600");
}

/* the file that @key names, or -1: none, which is found and told when one is named */
static int open_named(struct checking *k, const char *key)
{
    const char *path = value_of(k, key);
    int fd = *path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (*path && fd < 0)
        find(k, 0, key, "names no file that can be read");
    return fd;
}

static void check_networks(struct checking *k)
{
    struct sq_networks *nets = NULL;
    struct sq_why why = {.line = 0};
    char what[256];
    int fd = open_named(k, "networks");
    if (fd < 0)
        return;
    if (sq_networks_read_fd(fd, &nets, &why)) {
        snprintf(what, sizeof what, "line %llu of that file: %s", (unsigned long long)why.line, why.detail);
        find(k, 0, "networks", what);
    }
    sq_networks_free(nets);
    close(fd);
}

static void check_password_list(struct checking *k)
{
    struct sq_breached *list = NULL;
    struct sq_why why = {.line = 0};
    int fd = open_named(k, "password_list");
    if (fd < 0)
        return;
    if (sq_breached_open(fd, &list, &why))
        find(k, 0, "password_list", *why.detail ? why.detail : "can't be read");
    sq_breached_free(list);
    close(fd);
}

static void check_outbound(struct checking *k)
{
    bool has_mail = *value_of(k, "smtp_url"), has_hook = *value_of(k, "webhook_url");
    if (has_mail && !*value_of(k, "mail_from"))
        find(k, 0, "mail_from", "is needed with smtp_url");
    if (*value_of(k, "smtp_user") || *value_of(k, "smtp_password_file"))
        check_file(k, "smtp_password_file", true);
    if (*value_of(k, "smtp_password_file") && !*value_of(k, "smtp_user"))
        find(k, 0, "smtp_user", "is needed with smtp_password_file");
    if (has_hook)
        check_file(k, "webhook_secret_file", true);
    if (has_mail || has_hook || *value_of(k, "syslog_url"))
        check_file(k, "outbound_ca", false);
}

/* what one key alone can't show */
static void check_whole(struct checking *k)
{
    const char *backend = value_of(k, "key_backend"), *listen = value_of(k, "listen"),
               *runtime = value_of(k, "runtime");
    check_file(k, "tls_certificate", false);
    check_file(k, "tls_key", true);
    if (!strcmp(backend, "file"))
        check_file(k, "key_file", true);
    else if (!strcmp(backend, "pkcs11"))
        check_file(k, "pkcs11_pin_file", true);
    else if (strcmp(backend, "passphrase"))
        find(k, 0, "key_backend", "must be passphrase, file or pkcs11");
    if (!strcmp(backend, "pkcs11") && !*value_of(k, "pkcs11_server"))
        find(k, 0, "pkcs11_server", "must name the socket of p11-kit server");
    if ((!strncmp(listen, "0.0.0.0", 7) || !strncmp(listen, "[::]", 4)) && strcmp(value_of(k, "allow_wildcard"), "yes"))
        find(k, 0, "listen", "is a wildcard address: name one address, or say allow_wildcard = yes");
    if (!strrchr(listen, ':'))
        find(k, 0, "listen", "must be address:port");
    if (strcmp(runtime, "auto") && strcmp(runtime, "crun") && strcmp(runtime, "runc"))
        find(k, 0, "runtime", "must be auto, crun or runc");
    if (!sq_peer_rsa_is_kept(value_of(k, "start_by"), value_of(k, "peer_rsa_bits")))
        find(k, 0, "peer_rsa_bits", SQ_PEER_RSA_NOT_KEPT);
    check_outbound(k);
    check_networks(k);
    check_password_list(k);
    if (strlen(value_of(k, "run_dir")) > 95)
        find(k, 0, "run_dir", "is too long for a socket (95 bytes)");
}

/* all keys of @c's file into k->value; what is wrong with one is found and told */
static int read_all(struct checking *k)
{
    k->file = fopen(k->path, "re");
    if (!k->file)
        return out_path_error(k->c, "the configuration can't be read", k->path);
    size_t n;
    const struct sq_key_row *rows = sq_key_rows(&n);
    sq_assert(n <= MAX_KEYS);
    for (size_t i = 0; i < n; i++)
        sq_key_fallback(&rows[i], geteuid() == 0, k->value[i]);
    k->findings = json_array();
    int bad_line = ini_parse_stream(next_line, k, on_key, k);
    fclose(k->file);
    if (bad_line)
        find(k, bad_line, "", "expected `key = value`");
    return 0;
}

int config_values(const struct cli *c, const char *path, const char *const key[], size_t n, char (*out)[SQ_CONFIG_MAX_VALUE])
{
    struct checking *k = calloc(1, sizeof *k);
    if (!k)
        return out_error(c, SQ_ENOMEM, "out of memory", NULL);
    *k = (struct checking){.c = c, .path = path};
    int rc = read_all(k);
    if (!rc && json_array_size(k->findings))
        rc = EXIT_REFUSED;
    for (size_t i = 0; i < n && !rc; i++)
        snprintf(out[i], SQ_CONFIG_MAX_VALUE, "%s", value_of(k, key[i]));
    json_decref(k->findings);
    free(k);
    return rc;
}

int cmd_config_check(struct cli *c)
{
    struct checking *k = calloc(1, sizeof *k);
    if (!k)
        return out_error(c, SQ_ENOMEM, "out of memory", NULL);
    *k = (struct checking){.c = c, .path = c->arg[0]};
    int rc = read_all(k);
    if (rc) {
        free(k);
        return rc;
    }
    check_whole(k);
    size_t n_finding = json_array_size(k->findings);
    json_t *j = json_pack("{s:b, s:o}", "success", n_finding == 0, "findings", k->findings);
    if (out_as_text(c, 0, j) && !n_finding)
        puts("the configuration is good");
    json_decref(j);
    free(k);
    return n_finding ? EXIT_REFUSED : EXIT_DONE;
}

static void show_keys(const json_t *j)
{
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(j, "data"), i, row)
        printf("%s = %s\n    %s (%s)\n", out_text(row, "key"), out_text(row, "default"), out_text(row, "text"), out_text(row, "type"));
}

int cmd_config_explain(struct cli *c)
{
    size_t n;
    const struct sq_key_row *rows = sq_key_rows(&n);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "key", rows[i].name, "type", sq_key_type_name(rows[i].type),
                                              "default", rows[i].fallback, "text", rows[i].text));
    return out_answer(c, 0, json_pack("{s:o}", "data", list), show_keys);
}
