/* Sign in and out. What is got goes to the session file alone. */
#include "cli/cli.h"

#include "lib/http/routes.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

int login_remember(const struct cli *c, struct http *h, const char *name, const json_t *answer)
{
    char cacert[PATH_MAX] = "";
    if (*h->cacert && !realpath(h->cacert, cacert))
        return out_error(c, SQ_EIO, "the CA file can't be found", h->cacert);
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "server", h->server, "cacert", cacert, "name", name, "role",
                  out_text(answer, "role"), "token", out_text(answer, "token"), "expires", out_text(answer, "expires"));
    if (!j || !*out_text(j, "token")) {
        json_decref(j);
        return out_error(c, SQ_EPROTO, "the server's answer isn't one of sequester", NULL);
    }
    json_decref(h->session.j);
    h->session.j = j; /* h->server may have pointed into the old one */
    h->server = out_text(j, "server");
    h->cacert = out_text(j, "cacert");
    return session_save(c, &h->session);
}

static int say_signed_in(const struct cli *c, const json_t *session)
{
    char name[300], role[20], expires[40];
    out_clean(out_text(session, "name"), name, sizeof name);
    out_clean(out_text(session, "role"), role, sizeof role);
    out_clean(out_text(session, "expires"), expires, sizeof expires);
    if (c->opt[OPT_json]) {
        json_t *j = json_pack("{s:b, s:s, s:s, s:s}", "success", 1, "name", name, "role", role, "expires", expires);
        out_json(j);
        json_decref(j);
    } else {
        printf("signed in as %s (%s) until %s\n", name, role, expires);
    }
    return 0;
}

/* member @key of @body, from a secret that is then gone */
static int put_secret(const struct cli *c, json_t *body, const char *key, struct secret *s, int rc)
{
    if (!rc && json_object_set_new(body, key, json_string(s->text)))
        rc = out_error(c, SQ_EFIELD, "what was typed must be UTF-8", NULL);
    secret_done(s);
    return rc;
}

static int by_password(struct cli *c, struct http *h)
{
    char name[257], prompt[400];
    snprintf(name, sizeof name, "%s", c->opt[OPT_name] ? c->opt[OPT_name] : out_text(h->session.j, "name"));
    if (!*name)
        return cli_misused(c, "which account? --name NAME");
    struct secret password = {NULL};
    snprintf(prompt, sizeof prompt, "Password of %s", name);
    json_t *answer = NULL, *body = json_pack("{s:s}", "name", name);
    int rc = !body ? out_error(c, SQ_EFIELD, "the name must be UTF-8", NULL) : put_secret(c, body, "password", &password, secret_ask(c, prompt, false, &password));
    if (!rc)
        rc = http_call(h, SQ_ROUTE_login, NULL, NULL, body, &answer);
    json_decref(body);
    if (!rc)
        rc = login_remember(c, h, name, answer);
    json_decref(answer);
    return rc;
}

/* an access token in the session: it says itself whose it is */
static int who_has_it(struct cli *c, struct http *h, const char *token)
{
    json_t *me = NULL, *answer = NULL;
    json_object_set_new(h->session.j, "token", json_string(token));
    h->is_token_wanted = true;
    int rc = http_call(h, SQ_ROUTE_me, NULL, NULL, NULL, &me);
    if (!rc)
        answer = json_pack("{s:s, s:s, s:s}", "role", out_text(me, "role"), "token", token, "expires", out_text(me, "token_expires"));
    if (!rc)
        rc = login_remember(c, h, out_text(me, "name"), answer);
    json_decref(answer);
    json_decref(me);
    return rc;
}

static int by_token(struct cli *c, struct http *h)
{
    struct secret token = {NULL};
    struct cli from = *c; /* the token's file in the password's place: read alike, and warned of alike */
    from.opt[OPT_password_file] = c->opt[OPT_token_file];
    int rc = secret_ask(&from, "Token", false, &token);
    if (!rc)
        rc = who_has_it(c, h, token.text);
    secret_done(&token);
    return rc;
}

int cmd_login(struct cli *c)
{
    struct http h;
    int rc = http_open(c, false, &h);
    if (!rc && *h.cacert && access(h.cacert, R_OK))
        rc = out_error(c, SQ_EIO, "the CA file can't be read", h.cacert);
    if (!rc)
        rc = c->opt[OPT_token_file] ? by_token(c, &h) : by_password(c, &h);
    if (!rc)
        rc = say_signed_in(c, h.session.j);
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

/* ---- proofs for what changes an account ---- */

int login_prove(const struct cli *c, struct http *h, json_t *body)
{
    struct secret password = {NULL};
    (void)h;
    return put_secret(c, body, "password", &password, secret_ask(c, "Your password", false, &password));
}
