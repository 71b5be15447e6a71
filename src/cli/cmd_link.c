/* Download links: one is shown once, and is on no disk but where its owner puts it. */
#include "cli/cli.h"

#include "lib/http/routes.h"

int cmd_link(struct cli *c)
{
    struct http h;
    long minutes;
    json_t *j = NULL;
    int rc = cli_number(c, OPT_minutes, 60, 1, 1440, &minutes);
    json_t *body = rc ? NULL : json_pack("{s:I}", "minutes", (json_int_t)minutes);
    if (rc)
        return rc;
    rc = http_open(c, true, &h);
    if (!rc)
        rc = http_call(&h, SQ_ROUTE_job_link_new, c->arg[0], NULL, body, &j);
    if (out_as_text(c, rc, j)) {
        size_t n = strlen(h.server);
        while (n && h.server[n - 1] == '/')
            n--;
        if (*out_text(j, "url"))
            printf("%s\n", out_text(j, "url"));
        else /* the server knows no name of its own: the one that we reach it by */
            printf("%.*s%s\n", (int)n, h.server, out_text(j, "path"));
        fprintf(stderr, "link %s, until %s. It is shown this once. Whoever has it can download the package, but not open it: download it with curl -OJ LINK.\n", out_text(j, "id"), out_text(j, "expires"));
    }
    json_decref(j);
    json_decref(body);
    http_close(&h);
    return rc;
}

static void show_links(const json_t *j)
{
    const json_t *row;
    size_t i;
    printf("%-32s  %-20s  %-20s  %s\n", "ID", "CREATED", "LAST USED", "UNTIL");
    json_array_foreach(json_object_get(j, "data"), i, row)
        printf("%-32s  %-20s  %-20s  %s\n", out_text(row, "id"), out_text(row, "created"), out_text_or(row, "last_used", "never"), out_text(row, "expires"));
}

int cmd_link_list(struct cli *c)
{
    return http_show(c, SQ_ROUTE_job_links, c->arg[0], NULL, NULL, show_links);
}

int cmd_link_revoke(struct cli *c)
{
    return http_done(c, SQ_ROUTE_link_revoke, c->arg[0], NULL, "revoked");
}
