/*
 * Sign in and out. A password and, when the account has one, a second factor; or the device flow (RFC 8628): this machine shows a code, and its
 * owner approves it where he is signed in already. What is got goes to the session file alone.
 */
#include "cli/cli.h"

#include "lib/core/clock.h"
#include "lib/http/routes.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define CLIENT "sequester-cli"
#define GRANT "urn:ietf:params:oauth:grant-type:device_code"

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

static void show_signed_in(const json_t *j)
{
    printf("signed in as %s (%s) until %s\n", out_text(j, "name"), out_text(j, "role"), out_text(j, "expires"));
}

static int say_signed_in(const struct cli *c, int rc, const json_t *session)
{
    char name[300], role[20], expires[40];
    out_clean(out_text(session, "name"), name, sizeof name);
    out_clean(out_text(session, "role"), role, sizeof role);
    out_clean(out_text(session, "expires"), expires, sizeof expires);
    return out_answer(c, rc, json_pack("{s:b, s:s, s:s, s:s}", "success", 1, "name", name, "role", role, "expires", expires), show_signed_in);
}

/* member @key of @body, from a secret that is then gone */
static int put_secret(const struct cli *c, json_t *body, const char *key, struct secret *s, int rc)
{
    if (!rc && json_object_set_new(body, key, json_string(s->text)))
        rc = out_error(c, SQ_EFIELD, "what was typed must be UTF-8", NULL);
    secret_done(s);
    return rc;
}

/* ---- password, then the second factor if there is one ---- */

/* "an authenticator's or a recovery code"; false: none that a command line can give */
static bool code_prompt(const json_t *factors, char out[100])
{
    size_t i;
    const json_t *one;
    bool has_totp = false, has_recovery = false;
    json_array_foreach(factors, i, one)
    {
        const char *kind = json_string_value(one);
        has_totp |= kind && !strcmp(kind, "totp");
        has_recovery |= kind && !strcmp(kind, "recovery");
    }
    snprintf(out, 100, "%s", has_totp && has_recovery ? "Code of your authenticator, or a recovery code" : has_totp ? "Code of your authenticator"
                                                                                                                 : "A recovery code");
    return has_totp || has_recovery;
}

static int second_factor(struct cli *c, struct http *h, json_t **answer)
{
    char prompt[100];
    struct secret code = {NULL};
    if (!code_prompt(json_object_get(*answer, "factors"), prompt))
        return out_error(c, SQ_ENEEDCODE, "this account signs in with a passkey, and has no recovery code left", "sign in with it in a browser, and approve this machine there: sequester login --device");
    json_t *body = json_pack("{s:s}", "ticket", out_text(*answer, "pending"));
    json_decref(*answer);
    *answer = NULL;
    int rc = put_secret(c, body, "code", &code, secret_ask_code(c, prompt, &code));
    if (!rc)
        rc = http_call(h, SQ_ROUTE_login_factor, NULL, NULL, body, answer);
    json_decref(body);
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
    if (!rc && *out_text(answer, "pending"))
        rc = second_factor(c, h, &answer);
    if (!rc)
        rc = login_remember(c, h, name, answer);
    json_decref(answer);
    return rc;
}

/* ---- device flow ---- */

/* asks until its owner has decided, or the code's time is over */
static int poll(struct cli *c, struct http *h, const json_t *code, json_t **token)
{
    int64_t until = sq_clock_steady_ms() + (int64_t)out_number(code, "expires_in") * 1000;
    unsigned pause_s = (unsigned)out_number(code, "interval");
    json_t *body = json_pack("{s:s, s:s, s:s}", "grant_type", GRANT, "device_code", out_text(code, "device_code"), "client_id", CLIENT);
    int rc = EXIT_REFUSED;
    pause_s = pause_s < 1 || pause_s > 60 ? 5 : pause_s;
    h->expects = "authorization_pending slow_down access_denied expired_token";
    for (bool is_over = !body; !is_over;) {
        sleep(pause_s);
        rc = http_call(h, SQ_ROUTE_device_token, NULL, NULL, body, token);
        const char *why = rc ? http_refusal(h) : "";
        pause_s += !strcmp(why, "slow_down") ? 5 : 0; /* RFC 8628 section 3.5 */
        is_over = strcmp(why, "slow_down") && strcmp(why, "authorization_pending");
        if (!strcmp(why, "access_denied"))
            rc = out_error(c, SQ_EDENIED, "its owner said no", NULL);
        else if (!strcmp(why, "expired_token") || (!is_over && sq_clock_steady_ms() > until))
            rc = out_error(c, SQ_ETIMEOUT, "nobody approved it in time, or the server was restarted meanwhile", "begin again: sequester login --device"), is_over = true;
    }
    h->expects = NULL;
    json_decref(body);
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

static int by_device(struct cli *c, struct http *h)
{
    json_t *code = NULL, *token = NULL;
    json_t *body = json_pack("{s:s, s:s}", "client_id", CLIENT, "scope", c->opt[OPT_scopes] ? c->opt[OPT_scopes] : "read write results");
    for (char *p = body ? strdup(out_text(body, "scope")) : NULL, *q = p; p; free(p), p = NULL) { /* commas as in token create */
        for (; *q; q++)
            *q = *q == ',' ? ' ' : *q;
        json_object_set_new(body, "scope", json_string(p));
    }
    int rc = !body ? out_error(c, SQ_EFIELD, "scopes must be UTF-8", NULL) : http_call(h, SQ_ROUTE_device_code, NULL, NULL, body, &code);
    json_decref(body);
    if (!rc) {
        char user_code[40], left[32];
        out_clean(out_text(code, "user_code"), user_code, sizeof user_code);
        out_duration((int64_t)out_number(code, "expires_in"), left);
        fprintf(stderr, "Where you are signed in, within %s:\n\n  sequester device approve %s\n\n", left, user_code);
        rc = poll(c, h, code, &token);
    }
    if (!rc)
        rc = who_has_it(c, h, out_text(token, "access_token"));
    json_decref(code);
    json_decref(token);
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
        rc = out_path_error(c, "the CA file can't be read", h.cacert);
    if (!rc && c->opt[OPT_device] && c->opt[OPT_token_file])
        rc = cli_misused(c, "--device or --token-file, not both");
    if (!rc)
        rc = c->opt[OPT_device] ? by_device(c, &h) : c->opt[OPT_token_file] ? by_token(c, &h)
                                                                            : by_password(c, &h);
    rc = say_signed_in(c, rc, h.session.j);
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
    struct secret password = {NULL}, code = {NULL};
    json_t *have = NULL;
    int rc = http_call(h, SQ_ROUTE_me_factors, NULL, NULL, NULL, &have);
    if (!rc)
        rc = put_secret(c, body, "password", &password, secret_ask(c, "Your password", false, &password));
    if (!rc && json_array_size(json_object_get(have, "data")))
        rc = put_secret(c, body, "code", &code, secret_ask_code(c, "Code of your authenticator, or a recovery code", &code));
    json_decref(have);
    return rc;
}

int login_proven(const struct cli *c, unsigned route, const char *id, json_t *body, json_t **out_answer)
{
    struct http h;
    int rc = http_open(c, true, &h);
    if (!rc)
        rc = login_prove(c, &h, body);
    if (!rc)
        rc = http_call(&h, route, id, NULL, body, out_answer);
    json_decref(body);
    http_close(&h);
    return rc;
}

int login_step_up(const struct cli *c, struct http *h)
{
    struct secret code = {NULL};
    json_t *answer = NULL, *body = json_object();
    char name[300];
    int rc = put_secret(c, body, "code", &code, secret_ask_code(c, "Code of your authenticator, or a recovery code", &code));
    if (!rc)
        rc = http_call(h, SQ_ROUTE_step_up, NULL, NULL, body, &answer);
    snprintf(name, sizeof name, "%s", out_text(h->session.j, "name"));
    if (!rc)
        rc = login_remember(c, h, name, answer);
    json_decref(body);
    json_decref(answer);
    return rc;
}

int cmd_account_prove(struct cli *c)
{
    struct http h;
    int rc = http_open(c, true, &h);
    if (!rc)
        rc = login_step_up(c, &h);
    rc = say_signed_in(c, rc, h.session.j);
    http_close(&h);
    return rc;
}
