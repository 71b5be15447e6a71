/* `sequester admin key ...`: how the server's root key is locked. */
#include "cli/cli.h"

#include "lib/core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *how(const json_t *j)
{
    static const struct {
        const char *name, *text;
    } texts[] = {{"none", "not made yet: sequester admin unseal --new"}, {"passphrase", "a passphrase"}, {"file", "the key file"},
                 {"shares", "shares of several people"}, {"pkcs11", "a security module (PKCS#11)"}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (!strcmp(out_text(j, "locked_by"), texts[i].name))
            return texts[i].text;
    return out_text(j, "locked_by");
}

static void show_status(const json_t *j)
{
    printf("locked by    %s\n", how(j));
    if (out_number(j, "shares"))
        printf("shares       %llu of %llu are needed, %llu given\n", out_number(j, "threshold"), out_number(j, "shares"), out_number(j, "shares_given"));
    printf("configured   %s\nroot key     number %llu%s\n", out_text(j, "configured"), out_number(j, "root_key"),
           json_is_true(json_object_get(j, "rotation_under_way")) ? ", a rotation is under way" : "");
}

int cmd_key_status(struct cli *c)
{
    return admin_show(c, "key-status", json_object(), show_status);
}

bool key_shares_wanting(const struct cli *c)
{
    json_t *j = NULL;
    int rc = admin_ask(c, "key-status", json_object(), NULL, &j);
    unsigned long long given = rc ? 0 : out_number(j, "shares_given"), of = rc ? 0 : out_number(j, "threshold");
    if (given)
        fprintf(stderr, "%llu of %llu shares given; the next holder runs the same command within an hour\n", given, of);
    json_decref(j);
    return given != 0;
}

/* the present passphrase, when one locks the slab */
static int ask_present(const struct cli *c, struct secret *out)
{
    json_t *j = NULL;
    int rc = admin_ask(c, "key-status", json_object(), NULL, &j);
    if (!rc && !strcmp(out_text(j, "locked_by"), "passphrase"))
        rc = secret_ask(c, "Present passphrase", false, out);
    json_decref(j);
    return rc;
}

static void show_wrapped(const json_t *j)
{
    printf("root key number %llu; %llu keys wrapped anew\n", out_number(j, "root_key"), out_number(j, "keys_wrapped_anew"));
}

/* another of the keys that the root key wraps */
static void show_replaced(const json_t *j)
{
    if (!strcmp(out_text(j, "replaced"), "notes"))
        puts("another key signs the audit log, receipts and attestations; the old one is destroyed, and what it signed stays verifiable: sequester audit key --changes");
    else if (!strcmp(out_text(j, "replaced"), "owners")) {
        printf("%llu owners' keys replaced, %llu values of the database sealed anew\n", out_number(j, "keys"), out_number(j, "sealed_anew"));
        if (out_number(j, "not_opened"))
            printf("%llu values could not be opened and were left as they are: their key is gone, or they were changed\n", out_number(j, "not_opened"));
    } else if (json_is_null(json_object_get(j, "former_until")))
        printf("another key signs tokens; nothing that was signed before counts: %llu sessions and API tokens ended\n", out_number(j, "ended"));
    else
        printf("another key signs tokens; the old one verifies what it signed until %s\n", out_text(j, "former_until"));
}

int cmd_key_rotate(struct cli *c)
{
    struct secret present = {NULL};
    if (c->opt[OPT_now] && !c->opt[OPT_tokens])
        return cli_misused(c, "--now goes with --tokens");
    const char *which = c->opt[OPT_tokens] ? "tokens" : c->opt[OPT_owners] ? "owners" : c->opt[OPT_notes] ? "notes" : NULL;
    if ((c->opt[OPT_tokens] != NULL) + (c->opt[OPT_owners] != NULL) + (c->opt[OPT_notes] != NULL) > 1)
        return cli_misused(c, "--tokens, --owners or --notes: one at a time");
    int rc = ask_present(c, &present);
    const char *passphrase = present.text ? present.text : "";
    if (!rc && which)
        rc = admin_show(c, "key-replace", json_pack("{s:s, s:b, s:s}", "which", which, "now", c->opt[OPT_now] != NULL, "passphrase", passphrase), show_replaced);
    else if (!rc)
        rc = admin_show(c, "key-rotate", json_pack("{s:s}", "passphrase", passphrase), show_wrapped);
    secret_done(&present);
    return rc;
}

int cmd_key_passphrase(struct cli *c)
{
    struct secret present = {NULL}, next = {NULL};
    if (c->opt[OPT_password_file])
        return cli_misused(c, "two passphrases are asked for: give them on standard input (--password-stdin), a line each");
    int rc = ask_present(c, &present);
    if (!rc)
        rc = secret_ask(c, "New passphrase", true, &next);
    if (!rc)
        rc = admin_show(c, "key-passphrase", json_pack("{s:s, s:s}", "present", present.text ? present.text : "", "passphrase", next.text), show_wrapped);
    secret_done(&present);
    secret_done(&next);
    return rc;
}

/* A file for each share, so that each holder is handed his own and nobody sees two. */
static int write_shares(const struct cli *c, const char *dir, const char *lines)
{
    int rc = 0;
    char name[300];
    if (mkdir(dir, 0700) && errno != EEXIST)
        return out_error(c, SQ_EIO, dir, strerror(errno));
    for (unsigned no = 1; *lines && !rc; no++) {
        const char *end = strchr(lines, '\n');
        size_t n = end ? (size_t)(end - lines) + 1 : strlen(lines);
        if ((size_t)snprintf(name, sizeof name, "%s/share-%u.txt", dir, no) >= sizeof name)
            return cli_misused(c, "--out is too long");
        int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0 || sq_write_all(fd, lines, n) || sq_fsync(fd))
            rc = out_error(c, SQ_EIO, name, strerror(errno));
        sq_close(&fd);
        lines += n;
    }
    return rc;
}

int cmd_key_split(struct cli *c)
{
    struct secret present = {NULL};
    json_t *j = NULL;
    const char *shares = c->opt[OPT_shares] ? c->opt[OPT_shares] : "5", *threshold = c->opt[OPT_threshold] ? c->opt[OPT_threshold] : "3";
    int rc = ask_present(c, &present);
    if (!rc)
        rc = admin_ask(c, "key-split", json_pack("{s:s, s:i, s:i}", "present", present.text ? present.text : "", "shares", atoi(shares), "threshold", atoi(threshold)), NULL, &j);
    secret_done(&present);
    if (!rc && c->opt[OPT_out]) {
        rc = write_shares(c, c->opt[OPT_out], out_text(j, "shares"));
        if (rc) { /* they are made, and nobody can make them again: better on a screen than lost */
            fputs(out_text(j, "shares"), stdout);
            fputs("these are the shares, shown this once: write them down\n", stderr);
        } else
            printf("%s shares in %s, %s of them unseal; hand them out and remove the files\n", shares, c->opt[OPT_out], threshold);
    } else if (out_as_text(c, rc, j)) {
        fputs(out_text(j, "shares"), stdout);
        fprintf(stderr, "each line is one share, shown this once; any %s of them unseal\n", threshold);
    }
    json_decref(j);
    return rc;
}
