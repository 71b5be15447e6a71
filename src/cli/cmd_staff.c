/* Accounts, roles and sessions, at the operator's socket on the server itself. */
#include "cli/cli.h"

#include "lib/http/routes.h"

static int change(struct cli *c, const char *verb, json_t *args, const char *done)
{
    json_t *j = NULL;
    int rc = admin_ask(c, verb, args, NULL, &j);
    if (!rc && c->opt[OPT_json])
        out_json(j);
    else if (!rc)
        printf("%s: %llu sessions and tokens ended\n", done, (unsigned long long)out_number(j, "tokens_revoked"));
    json_decref(j);
    return rc;
}

int cmd_admin_user_disable(struct cli *c)
{
    return change(c, "user-disable", json_pack("{s:s}", "name", c->arg[0]), "disabled");
}

int cmd_admin_user_revoke(struct cli *c)
{
    return change(c, "user-revoke", json_pack("{s:s}", "name", c->arg[0]), "done");
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
    const json_t *row, *route;
    size_t i, k;
    if (c->opt[OPT_json]) {
        json_t *j = json_pack("{s:b, s:O}", "success", 1, "data", all);
        out_json(j);
        json_decref(j);
    } else {
        puts("Beside what every account may do for itself:");
        json_array_foreach(all, i, row)
        {
            printf("%s\n", out_text(row, "role"));
            json_array_foreach(json_object_get(row, "routes"), k, route) printf("  %s\n", json_string_value(route));
        }
        puts("No role reads genotypes, results or base calls of others.");
    }
    json_decref(all);
    return 0;
}
