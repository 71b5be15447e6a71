/* Sign in and out, who am I, panels. */
#include "cli/cli.h"

#include "lib/http/routes.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static int remember(const struct cli *c, struct http *h, const char *name, const json_t *answer)
{
    char cacert[PATH_MAX] = "";
    if (*h->cacert && !realpath(h->cacert, cacert))
        return out_error(c, SQ_EIO, "the CA file can't be found", h->cacert);
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "server", h->server, "cacert", cacert, "name", name, "role",
                  out_text(answer, "role"), "token", out_text(answer, "token"), "expires", out_text(answer, "expires"));
    if (!j)
        return out_error(c, SQ_EPROTO, "the server's answer isn't one of sequester", NULL);
    json_decref(h->session.j);
    h->session.j = j; /* h->server may have pointed into the old one: it isn't used any more */
    return session_save(c, &h->session);
}

static int sign_in(struct cli *c, struct http *h)
{
    char name[257], prompt[400];
    snprintf(name, sizeof name, "%s", c->opt[OPT_name] ? c->opt[OPT_name] : out_text(h->session.j, "name"));
    if (!*name)
        return cli_misused(c, "which account? --name NAME");
    if (*h->cacert && access(h->cacert, R_OK))
        return out_error(c, SQ_EIO, "the CA file can't be read", h->cacert);
    struct secret password = {NULL};
    snprintf(prompt, sizeof prompt, "Password of %s", name);
    json_t *answer = NULL;
    int rc = secret_ask(c, prompt, false, &password);
    json_t *body = rc ? NULL : json_pack("{s:s, s:s}", "name", name, "password", password.text);
    secret_done(&password);
    if (!rc && !body)
        rc = out_error(c, SQ_EFIELD, "name and password must be UTF-8", NULL);
    if (!rc)
        rc = http_call(h, SQ_ROUTE_login, NULL, NULL, body, &answer);
    json_decref(body);
    char expires[32] = "", role[16] = "";
    if (!rc) {
        out_clean(out_text(answer, "expires"), expires, sizeof expires);
        out_clean(out_text(answer, "role"), role, sizeof role);
        rc = remember(c, h, name, answer);
    }
    json_decref(answer);
    if (!rc && c->opt[OPT_json]) {
        json_t *j = json_pack("{s:b, s:s, s:s, s:s}", "success", 1, "name", name, "role", role, "expires", expires);
        out_json(j);
        json_decref(j);
    } else if (!rc) {
        printf("signed in as %s (%s) until %s\n", name, role, expires);
    }
    return rc;
}

int cmd_login(struct cli *c)
{
    struct http h;
    int rc = http_open(c, false, &h);
    if (!rc)
        rc = sign_in(c, &h);
    http_close(&h);
    return rc;
}

int cmd_logout(struct cli *c)
{
    struct http h;
    int rc = http_open(c, true, &h);
    if (!rc)
        rc = http_call(&h, SQ_ROUTE_logout, NULL, NULL, NULL, NULL);
    if (!rc || rc == EXIT_SIGNED_OUT) { /* a token that the server doesn't know is of no use here either */
        json_object_del(h.session.j, "token");
        json_object_del(h.session.j, "expires");
        int saved = h.session.j ? session_save(c, &h.session) : 0;
        rc = rc ? rc : saved;
    }
    if (!rc && c->opt[OPT_json])
        puts("{\"success\": true}");
    else if (!rc)
        puts("signed out");
    http_close(&h);
    return rc;
}

int cmd_me(struct cli *c)
{
    struct http h;
    json_t *j = NULL;
    int rc = http_open(c, true, &h);
    if (!rc)
        rc = http_call(&h, SQ_ROUTE_me, NULL, NULL, NULL, &j);
    if (!rc && c->opt[OPT_json]) {
        out_json(j);
    } else if (!rc) {
        char name[300], used[24], quota[24];
        out_clean(out_text(j, "name"), name, sizeof name);
        out_bytes(out_number(j, "bytes"), used);
        out_bytes(out_number(j, "quota"), quota);
        printf("name      %s\nrole      %s\nid        %s\nsession   until %s\nspace     %s of %s in %llu objects\n",
               name, out_text(j, "role"), out_text(j, "id"), out_text(j, "token_expires"), used, quota,
               (unsigned long long)out_number(j, "objects"));
    }
    json_decref(j);
    http_close(&h);
    return rc;
}

int cmd_panels(struct cli *c)
{
    struct http h;
    json_t *j = NULL, *row;
    size_t i;
    int rc = http_open(c, true, &h);
    if (!rc)
        rc = http_call(&h, SQ_ROUTE_panels, NULL, NULL, NULL, &j);
    if (!rc && c->opt[OPT_json]) {
        out_json(j);
    } else if (!rc) {
        printf("%-24s %-8s %-6s %10s %10s  %-16s %s\n", "ID", "BUILD", "CHROM", "HAPLOTYPES", "SITES", "POPULATIONS",
               "NAME");
        json_array_foreach(json_object_get(j, "data"), i, row)
        {
            char name[120];
            out_clean(out_text(row, "name"), name, sizeof name);
            printf("%-24s %-8s %-6s %10llu %10llu  %-16s %s\n", out_text(row, "id"), out_text(row, "build"),
                   out_text(row, "chromosome"), (unsigned long long)out_number(row, "haplotypes"),
                   (unsigned long long)out_number(row, "sites"), out_text(row, "populations"), name);
        }
    }
    json_decref(j);
    http_close(&h);
    return rc;
}

/* ---- the account's mail address ---- */

static void show_mail(const json_t *j)
{
    char address[300];
    size_t i;
    const json_t *row;
    out_clean(out_text(j, "mail"), address, sizeof address);
    bool is_on = json_is_true(json_object_get(j, "notify")), can = json_is_true(json_object_get(j, "server_sends_mail"));
    printf("mail      %s\nmails     %s%s\n", *address ? address : "none", is_on ? "on" : "off", can ? "" : " (this server sends no mail)");
    json_array_foreach(json_object_get(j, "notices"), i, row)
    {
        const char *error = out_text(row, "last_error");
        printf("  %s  %-14s %-9s %s%s%s\n", out_text(row, "created"), out_text(row, "kind"), out_text(row, "state"), out_text(row, "about"), *error ? ": " : "", error);
    }
}

int cmd_account_mail(struct cli *c)
{
    struct http h;
    json_t *j = NULL, *body = json_object();
    bool is_on = c->opt[OPT_on] != NULL, is_off = c->opt[OPT_off] != NULL, is_gone = c->opt[OPT_remove] != NULL;
    int rc = !body ? out_error(c, SQ_ENOMEM, "out of memory", NULL) : 0;
    if (!rc && (is_on && is_off))
        rc = cli_misused(c, "--on or --off, not both");
    if (!rc && is_gone && c->n_arg)
        rc = cli_misused(c, "an address or --remove, not both");
    if (rc) {
        json_decref(body);
        return rc;
    }
    if (c->n_arg && json_object_set_new(body, "mail", json_string(c->arg[0])))
        rc = out_error(c, SQ_EFIELD, "the address must be plain text", NULL);
    if (is_gone)
        json_object_set_new(body, "mail", json_null());
    if (is_on || is_off)
        json_object_set_new(body, "notify", json_boolean(is_on));
    bool is_change = json_object_size(body) > 0;
    struct secret password = {NULL};
    if (!rc && json_object_get(body, "mail")) /* a link to a new password would go there */
        rc = secret_ask(c, "Your account's password", false, &password);
    if (!rc && password.text && json_object_set_new(body, "password", json_string(password.text)))
        rc = out_error(c, SQ_EFIELD, "the password must be UTF-8", NULL);
    secret_done(&password);
    if (!rc)
        rc = http_open(c, true, &h);
    else {
        json_decref(body);
        return rc;
    }
    if (!rc)
        rc = http_call(&h, is_change ? SQ_ROUTE_me_mail_set : SQ_ROUTE_me_mail, NULL, NULL, is_change ? body : NULL, &j);
    if (!rc && c->opt[OPT_json])
        out_json(j);
    else if (!rc)
        show_mail(j);
    json_decref(body);
    json_decref(j);
    http_close(&h);
    return rc;
}
