/* Who am I, where am I signed in, password, mail address, panels. */
#include "cli/cli.h"

#include "lib/http/routes.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

static void show_me(const json_t *j)
{
    char name[300], used[24], quota[24];
    out_clean(out_text(j, "name"), name, sizeof name);
    out_bytes(out_number(j, "bytes"), used);
    out_bytes(out_number(j, "quota"), quota);
    printf("name      %s\nrole      %s\nid        %s\nsession   until %s\nspace     %s of %s in %llu objects\n", name, out_text(j, "role"),
           out_text(j, "id"), out_text(j, "token_expires"), used, quota, out_number(j, "objects"));
}

int cmd_me(struct cli *c)
{
    return http_show(c, SQ_ROUTE_me, NULL, NULL, NULL, show_me);
}

static void show_panels(const json_t *j)
{
    const json_t *row;
    size_t i;
    printf("%-24s %-8s %-6s %10s %10s  %-16s %s\n", "ID", "BUILD", "CHROM", "HAPLOTYPES", "SITES", "POPULATIONS", "NAME");
    json_array_foreach(json_object_get(j, "data"), i, row)
    {
        char name[120];
        out_clean(out_text(row, "name"), name, sizeof name);
        printf("%-24s %-8s %-6s %10llu %10llu  %-16s %s\n", out_text(row, "id"), out_text(row, "build"), out_text(row, "chromosome"),
               out_number(row, "haplotypes"), out_number(row, "sites"), out_text(row, "populations"), name);
    }
}

int cmd_panels(struct cli *c)
{
    return http_show(c, SQ_ROUTE_panels, NULL, NULL, NULL, show_panels);
}

/* ---- the account's mail address ---- */

static void show_mail(const json_t *j)
{
    char address[300], pending[300];
    size_t i;
    const json_t *row;
    if (!json_object_get(j, "notify")) { /* the answer to another address, whatever became of it */
        puts("a mail is on its way to that address, which counts once its code has come back: sequester account mail confirm");
        return;
    }
    out_clean(out_text(j, "mail"), address, sizeof address);
    out_clean(out_text(j, "pending"), pending, sizeof pending);
    bool is_on = json_is_true(json_object_get(j, "notify")), can = json_is_true(json_object_get(j, "server_sends_mail"));
    printf("mail      %s\nmails     %s%s\n", *address ? address : "none", is_on ? "on" : "off", can ? "" : " (this server sends no mail)");
    if (*pending)
        printf("waits     %s until %s for the code that was mailed there: sequester account mail confirm\n", pending, out_text(j, "pending_until"));
    json_array_foreach(json_object_get(j, "notices"), i, row)
    {
        const char *error = out_text(row, "last_error");
        printf("  %s  %-14s %-9s %s%s%s\n", out_text(row, "created"), out_text(row, "kind"), out_text(row, "state"), out_text(row, "about"), *error ? ": " : "", error);
    }
}

int cmd_account_mail(struct cli *c)
{
    json_t *body = json_object();
    bool is_on = c->opt[OPT_on] != NULL, is_off = c->opt[OPT_off] != NULL, is_gone = c->opt[OPT_remove] != NULL;
    int rc = !body ? out_error(c, SQ_ENOMEM, "out of memory", NULL) : 0;
    if (!rc && (is_on && is_off))
        rc = cli_misused(c, "--on or --off, not both");
    if (!rc && is_gone && c->n_arg)
        rc = cli_misused(c, "an address or --remove, not both");
    if (!rc && c->n_arg && json_object_set_new(body, "mail", json_string(c->arg[0])))
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
    if (!rc && is_change)
        return http_show(c, SQ_ROUTE_me_mail_set, NULL, NULL, body, show_mail);
    json_decref(body);
    return rc ? rc : http_show(c, SQ_ROUTE_me_mail, NULL, NULL, NULL, show_mail);
}

int cmd_account_mail_confirm(struct cli *c)
{
    struct secret code = {NULL};
    json_t *body = json_object();
    int rc = secret_ask_code(c, "The code from the mail", &code);
    if (!rc && json_object_set_new(body, "code", json_string(code.text)))
        rc = out_error(c, SQ_EFIELD, "the code must be plain text", NULL);
    secret_done(&code);
    if (!rc)
        return http_show(c, SQ_ROUTE_me_mail_confirm, NULL, NULL, body, show_mail);
    json_decref(body);
    return rc;
}

/* ---- password, sessions ---- */

static int done_with(struct cli *c, struct http *h, int rc, json_t *j, const char *done)
{
    http_close(h);
    if (!json_object_get(j, "revoked"))
        return out_done(c, rc, j, done);
    if (out_as_text(c, rc, j))
        printf("%s: %llu other sessions and tokens ended\n", done, out_number(j, "revoked"));
    json_decref(j);
    return rc;
}

int cmd_account_password(struct cli *c)
{
    struct http h;
    struct secret old = {NULL}, new = {NULL};
    json_t *j = NULL, *body = NULL;
    int rc = http_open(c, true, &h);
    if (!rc)
        rc = secret_ask(c, "Your password so far", false, &old);
    if (!rc)
        rc = secret_ask_new(c, "The new password", &new);
    if (!rc && !(body = json_pack("{s:s, s:s}", "old", old.text, "password", new.text)))
        rc = out_error(c, SQ_EFIELD, "passwords must be UTF-8", NULL);
    secret_done(&old);
    secret_done(&new);
    if (!rc)
        rc = http_call(&h, SQ_ROUTE_me_password, NULL, NULL, body, &j);
    json_decref(body);
    return done_with(c, &h, rc, j, "changed");
}

static void show_sessions(const json_t *j)
{
    const json_t *row;
    size_t i;
    printf("%-32s  %-20s  %-20s  %-20s  %-6s  %s\n", "ID", "SINCE", "LAST USED", "AT MOST UNTIL", "FACTOR", "FROM");
    json_array_foreach(json_object_get(j, "data"), i, row)
    {
        char address[80];
        out_clean(out_text(row, "address"), address, sizeof address);
        printf("%-32s  %-20s  %-20s  %-20s  %-6s  %s%s\n", out_text(row, "id"), out_text(row, "created"), out_text(row, "last_used"), out_text(row, "expires"),
               json_is_true(json_object_get(row, "factor")) ? "yes" : "no", address, json_is_true(json_object_get(row, "current")) ? " (this one)" : "");
    }
}

int cmd_account_sessions(struct cli *c)
{
    return http_show(c, SQ_ROUTE_me_sessions, NULL, NULL, NULL, show_sessions);
}

int cmd_account_session_revoke(struct cli *c)
{
    struct http h;
    json_t *j = NULL, *body = json_object();
    int rc = http_open(c, true, &h);
    unsigned route = c->n_arg ? SQ_ROUTE_session_revoke : SQ_ROUTE_sessions_revoke;
    const char *id = c->n_arg ? c->arg[0] : NULL;
    h.expects = "EREAUTH";
    if (!rc)
        rc = http_call(&h, route, id, NULL, body, &j);
    h.expects = NULL;
    if (rc && !strcmp(http_refusal(&h), "EREAUTH")) { /* he signed in a while ago */
        rc = login_prove(c, &h, body);
        if (!rc)
            rc = http_call(&h, route, id, NULL, body, &j);
    }
    json_decref(body);
    return done_with(c, &h, rc, j, c->n_arg ? "ended" : "done");
}

/* ---- an account of one's own, and a password that was forgotten: what came by mail is typed, never an argument ---- */

enum by_mail_password { NO_PASSWORD, NEW_PASSWORD, OLD_PASSWORD };

static int by_mail(struct cli *c, unsigned route, const char *mail, bool wants_code, enum by_mail_password which, const char *done)
{
    struct http h;
    struct secret code = {NULL}, password = {NULL};
    json_t *j = NULL, *body = json_object();
    int rc = http_open(c, false, &h);
    if (!rc && mail && json_object_set_new(body, "mail", json_string(mail)))
        rc = out_error(c, SQ_EFIELD, "the address must be plain text", NULL);
    if (!rc && wants_code)
        rc = secret_ask_code(c, "The code from the mail", &code);
    if (!rc && wants_code && json_object_set_new(body, "code", json_string(code.text)))
        rc = out_error(c, SQ_EFIELD, "the code must be plain text", NULL);
    if (!rc && which == NEW_PASSWORD)
        rc = secret_ask_new(c, "A password of 12 characters or more, not soon guessed", &password);
    if (!rc && which == OLD_PASSWORD)
        rc = secret_ask(c, "Your password", false, &password);
    if (!rc && which && json_object_set_new(body, "password", json_string(password.text)))
        rc = out_error(c, SQ_EFIELD, "the password must be UTF-8", NULL);
    secret_done(&code);
    secret_done(&password);
    if (!rc)
        rc = http_call(&h, route, NULL, NULL, body, &j);
    json_decref(body);
    return done_with(c, &h, rc, j, done);
}

int cmd_register(struct cli *c)
{
    return by_mail(c, SQ_ROUTE_register, c->arg[0], false, NO_PASSWORD, "a mail is on its way: sequester register confirm");
}

int cmd_register_confirm(struct cli *c)
{
    return by_mail(c, SQ_ROUTE_register_confirm, NULL, true, NEW_PASSWORD, "the account is there: sequester login");
}

int cmd_account_forgot(struct cli *c)
{
    return by_mail(c, SQ_ROUTE_password_forgot, c->arg[0], false, NO_PASSWORD, "if there is such an account, a mail is on its way: sequester account reset");
}

int cmd_account_reset(struct cli *c)
{
    return by_mail(c, SQ_ROUTE_password_reset, NULL, true, NEW_PASSWORD, "changed; all sessions and tokens ended");
}

int cmd_account_factors_confirm(struct cli *c)
{
    return by_mail(c, SQ_ROUTE_factors_confirm, NULL, true, OLD_PASSWORD, "confirmed: sign in, and add another second factor (sequester account totp)");
}
