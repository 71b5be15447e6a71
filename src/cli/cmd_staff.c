/*
 * Accounts, roles and sessions, by whoever may: at the operator's socket on the server itself, or with --remote over HTTPS as a signed-in operator,
 * security officer, auditor or support. Over HTTPS nobody sees names: accounts are found by the name that is typed, and shown by id.
 */
#include "cli/cli.h"

#include "lib/http/routes.h"

#include <stdlib.h>

/* ---- over HTTPS ---- */

/* One call; when it wants a second factor of the last quarter of an hour, that is asked for, and the call made again. */
static int staff_call(const struct cli *c, struct http *h, unsigned route, const char *id, const char *query, const json_t *body, json_t **out)
{
    h->expects = "ESTEPUP";
    int rc = http_call(h, route, id, query, body, out);
    h->expects = NULL;
    if (rc && !strcmp(http_refusal(h), "ESTEPUP")) {
        fputs("This wants your second factor again.\n", stderr);
        rc = login_step_up(c, h);
        if (!rc)
            rc = http_call(h, route, id, query, body, out);
    }
    return rc;
}

static bool is_id(const char *text)
{
    return strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32;
}

/* @name as it is typed, or an id already */
static int find(const struct cli *c, struct http *h, const char *name, char out_id[33])
{
    if (is_id(name)) {
        snprintf(out_id, 33, "%s", name);
        return 0;
    }
    json_t *j = NULL, *body = json_pack("{s:s}", "name", name);
    int rc = !body ? out_error(c, SQ_EFIELD, "the name must be UTF-8", NULL) : staff_call(c, h, SQ_ROUTE_admin_find, NULL, NULL, body, &j);
    if (!rc)
        snprintf(out_id, 33, "%s", out_text(j, "id"));
    json_decref(body);
    json_decref(j);
    return rc;
}

/* the call for one account: found, asked, its answer the caller's */
static int remote(struct cli *c, unsigned route, const char *name, const json_t *body, json_t **out)
{
    struct http h;
    char id[33] = "";
    int rc = http_open(c, true, &h);
    if (!rc && name)
        rc = find(c, &h, name, id);
    if (!rc)
        rc = staff_call(c, &h, route, name ? id : NULL, NULL, body, out);
    http_close(&h);
    return rc;
}

/* ---- shown ---- */

static void show_account(const json_t *a)
{
    printf("%-32s  %-8s  %-8s  %-20s  %-20s  %-20s  %7llu %8llu %6llu\n", out_text(a, "id"), out_text(a, "role"), out_text(a, "state"), out_text(a, "created"),
           out_text_or(a, "last_login", "never"), out_text_or(a, "expires", "never"), out_number(a, "factors"), out_number(a, "sessions"), out_number(a, "tokens"));
}

static void show_accounts_head(void)
{
    printf("%-32s  %-8s  %-8s  %-20s  %-20s  %-20s  %7s %8s %6s\n", "ID", "ROLE", "STATE", "CREATED", "LAST SIGN-IN", "EXPIRES", "FACTORS", "SESSIONS", "TOKENS");
}

static void show_accounts(const json_t *j)
{
    size_t i;
    const json_t *row;
    show_accounts_head();
    json_array_foreach(json_object_get(j, "data"), i, row) show_account(row);
}

static void show_one(const json_t *j)
{
    show_accounts_head();
    show_account(j);
}

static void show_id(const json_t *j)
{
    puts(out_text(j, "id"));
}

/* Either way, then what is said of it. @args for the socket and @body for HTTPS are taken. */
static int change(struct cli *c, const char *verb, json_t *args, unsigned route, json_t *body, const char *done)
{
    json_t *j = NULL;
    int rc;
    if (c->opt[OPT_remote]) {
        json_decref(args);
        rc = body ? remote(c, route, c->n_arg ? c->arg[0] : NULL, body, &j) : out_error(c, SQ_EFIELD, "the arguments must be UTF-8", NULL);
    } else {
        rc = admin_ask(c, verb, args, NULL, &j);
    }
    json_decref(body);
    if (!json_object_get(j, "revoked") && !json_object_get(j, "tokens_revoked"))
        return out_done(c, rc, j, done);
    if (out_as_text(c, rc, j))
        printf("%s: %llu sessions and tokens ended\n", done, out_number(j, "revoked") + out_number(j, "tokens_revoked"));
    json_decref(j);
    return rc;
}

/* ---- the commands ---- */

int cmd_admin_user_list(struct cli *c)
{
    struct http h = {.c = c};
    json_t *j = NULL, *row;
    size_t i = 0, n = 0;
    long limit;
    char after[33] = "", query[64];
    int rc = cli_number(c, OPT_limit, 1000, 1, 1000000, &limit);
    if (rc)
        return rc;
    rc = c->opt[OPT_remote] ? http_open(c, true, &h) : 0;
    json_t *all = json_array();
    for (bool is_more = true; !rc && is_more && n < (size_t)limit; n += i) {
        snprintf(query, sizeof query, "limit=100%s%s", *after ? "&after=" : "", after);
        j = NULL;
        rc = c->opt[OPT_remote] ? staff_call(c, &h, SQ_ROUTE_admin_users, NULL, query, NULL, &j)
                                : admin_ask(c, "user-list", *after ? json_pack("{s:s}", "after", after) : json_object(), NULL, &j);
        json_array_foreach(json_object_get(j, "data"), i, row)
        {
            json_array_append(all, row);
            snprintf(after, sizeof after, "%s", out_text(row, "id"));
        }
        is_more = i > 0;
        json_decref(j);
    }
    if (c->opt[OPT_remote])
        http_close(&h);
    return out_answer(c, rc, json_pack("{s:b, s:o}", "success", 1, "data", all), show_accounts);
}

/* A mail with a link to set the password goes to its owner. */
int staff_user_add(struct cli *c)
{
    json_t *j = NULL, *body = json_pack("{s:s, s:s, s:s}", "name", c->arg[0], "mail", c->opt[OPT_mail] ? c->opt[OPT_mail] : c->arg[0], "role", c->opt[OPT_role] ? c->opt[OPT_role] : "user");
    int rc = body ? remote(c, SQ_ROUTE_admin_user_add, NULL, body, &j) : out_error(c, SQ_EFIELD, "the arguments must be UTF-8", NULL);
    json_decref(body);
    return out_answer(c, rc, j, show_id);
}

int cmd_admin_user_show(struct cli *c)
{
    json_t *j = NULL;
    int rc = c->opt[OPT_remote] ? remote(c, SQ_ROUTE_admin_user, c->arg[0], NULL, &j) : admin_ask(c, "user-show", json_pack("{s:s}", "name", c->arg[0]), NULL, &j);
    return out_answer(c, rc, j, show_one);
}

int cmd_admin_user_enable(struct cli *c)
{
    return change(c, "user-enable", json_pack("{s:s}", "name", c->arg[0]), SQ_ROUTE_admin_user_set, json_pack("{s:b}", "disabled", 0), "it may sign in again");
}

int cmd_admin_user_disable(struct cli *c)
{
    return change(c, "user-disable", json_pack("{s:s}", "name", c->arg[0]), SQ_ROUTE_admin_user_set, json_pack("{s:b}", "disabled", 1), "disabled");
}

int cmd_admin_user_expire(struct cli *c)
{
    const char *time = c->arg[1];
    bool is_never = !strcmp(time, "never");
    json_t *args = is_never ? json_pack("{s:s, s:n}", "name", c->arg[0], "expires") : json_pack("{s:s, s:s}", "name", c->arg[0], "expires", time);
    json_t *body = is_never ? json_pack("{s:n}", "expires") : json_pack("{s:s}", "expires", time);
    return change(c, "user-expire", args, SQ_ROUTE_admin_user_set, body, is_never ? "it expires no more" : "set");
}

int cmd_admin_user_networks(struct cli *c)
{
    bool is_any = !strcmp(c->arg[1], "any");
    json_t *list = cli_words(is_any ? "" : c->arg[1]), *args = list ? json_pack("{s:s, s:O}", "name", c->arg[0], "networks", list) : NULL;
    json_t *body = list ? json_pack("{s:O}", "networks", list) : NULL;
    json_decref(list);
    if (!args || !body) {
        json_decref(args);
        json_decref(body);
        return out_error(c, SQ_EFIELD, "the arguments must be UTF-8", NULL);
    }
    return change(c, "user-networks", args, SQ_ROUTE_admin_user_set, body, is_any ? "it may be used from anywhere" : "set");
}

int cmd_admin_role_set(struct cli *c)
{
    return change(c, "user-role", json_pack("{s:s, s:s}", "name", c->arg[0], "role", c->arg[1]), SQ_ROUTE_admin_user_role, json_pack("{s:s}", "role", c->arg[1]),
                  "set");
}

static void show_roles(const json_t *j)
{
    const json_t *row, *route;
    size_t i, k;
    puts("Beside what every account may do for itself:");
    json_array_foreach(json_object_get(j, "data"), i, row)
    {
        printf("%s\n", out_text(row, "role"));
        json_array_foreach(json_object_get(row, "routes"), k, route) printf("  %s\n", json_string_value(route));
    }
    puts("No role reads genotypes, results or base calls of others.");
}

/* The groups of who.def, told the other way round: by role, what of the API it reaches. */
int cmd_admin_role_list(struct cli *c)
{
    static const char *const name[] = {"user", "operator", "security", "auditor", "support"};
    json_t *all = json_array();
    for (int role = 1; role <= 5; role++) {
        json_t *routes = json_array();
        for (unsigned no = 0; no < SQ_ROUTE_MAX; no++) {
            const struct sq_route_row *row = sq_route_row_of(no);
            char text[128];
            if (!row || row->who == SQ_WHO_ANYONE || row->who == SQ_WHO_SIGNED_IN || !sq_who_has(row->who, role))
                continue;
            snprintf(text, sizeof text, "%s %s", row->method, row->path);
            json_array_append_new(routes, json_string(text));
        }
        json_array_append_new(all, json_pack("{s:s, s:o}", "role", name[role - 1], "routes", routes));
    }
    return out_answer(c, 0, json_pack("{s:b, s:o}", "success", 1, "data", all), show_roles);
}

int cmd_admin_session_revoke(struct cli *c)
{
    bool is_all = c->opt[OPT_all] != NULL;
    if (is_all == (c->n_arg == 1))
        return cli_misused(c, "a NAME, or --all");
    return change(c, is_all ? "sessions-revoke" : "user-revoke", is_all ? json_object() : json_pack("{s:s}", "name", c->arg[0]),
                  is_all ? SQ_ROUTE_admin_revoke : SQ_ROUTE_admin_user_revoke, json_object(), "done");
}

int cmd_admin_user_revoke(struct cli *c)
{
    return cmd_admin_session_revoke(c);
}

int cmd_admin_factors_reset(struct cli *c)
{
    return change(c, "user-factors-reset", json_pack("{s:s}", "name", c->arg[0]), SQ_ROUTE_admin_factors_reset, json_object(), "its second factors are gone");
}
