/* Uploads: send, wait for the check, list. */
#include "cli/cli.h"

#include "lib/http/routes.h"

#include <unistd.h>

static bool is_settled(const json_t *upload)
{
    const char *state = out_text(upload, "state");
    return strcmp(state, "receiving") && strcmp(state, "checking");
}

static int await(struct http *h, json_t **upload)
{
    char id[65];
    snprintf(id, sizeof id, "%s", out_text(*upload, "id"));
    int rc = 0;
    while (!rc && !is_settled(*upload)) {
        out_progress("checking the file ...");
        usleep(500000);
        json_t *now = NULL;
        rc = http_call(h, SQ_ROUTE_upload_get, id, NULL, NULL, &now);
        if (!rc) {
            json_decref(*upload);
            *upload = now;
        }
    }
    out_progress_end();
    return rc;
}

static void show_count(const json_t *j, const char *key, const char *label)
{
    if (json_is_integer(json_object_get(j, key)))
        printf("  %llu %s", out_number(j, key), label);
}

static void show(const json_t *j)
{
    char name[300];
    out_clean(out_text(j, "name"), name, sizeof name);
    printf("%s  %-8s", out_text(j, "id"), out_text(j, "state"));
    if (*out_text(j, "format"))
        printf("  %s", out_text(j, "format"));
    if (*out_text(j, "chromosome"))
        printf("  chr %s", out_text(j, "chromosome"));
    show_count(j, "samples", "samples");
    show_count(j, "variants", "variants");
    printf("  %s\n", name);
}

static int upload_one(struct cli *c, struct http *h, const char *path, json_t *list)
{
    json_t *upload = NULL;
    int rc = http_upload(h, SQ_ROUTE_upload_v1, path, &upload);
    if (!rc && !c->opt[OPT_no_wait])
        rc = await(h, &upload);
    const json_t *error = upload ? json_object_get(upload, "error") : NULL;
    if (!rc && !strcmp(out_text(upload, "state"), "failed")) {
        struct cli quiet = *c; /* the error stands in the upload's own JSON */
        quiet.opt[OPT_json] = NULL;
        out_server_error(&quiet, error);
        rc = EXIT_REFUSED;
    }
    if (upload && !c->opt[OPT_json])
        show(upload);
    if (upload)
        json_array_append_new(list, upload);
    return rc;
}

int cmd_upload(struct cli *c)
{
    struct http h;
    json_t *list = json_array();
    int rc = http_open(c, true, &h);
    for (int i = 0; i < c->n_arg && !rc; i++)
        rc = upload_one(c, &h, c->arg[i], list);
    if (c->opt[OPT_json] && json_array_size(list)) { /* one file: its object, as the API gives it */
        json_t *whole = json_pack("{s:O}", "data", list);
        out_json(json_array_size(list) == 1 && c->n_arg == 1 ? json_array_get(list, 0) : whole);
        json_decref(whole);
    }
    json_decref(list);
    http_close(&h);
    return rc;
}

static void show_all(const json_t *j)
{
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(j, "data"), i, row) show(row);
}

int cmd_uploads(struct cli *c)
{
    return http_show(c, SQ_ROUTE_uploads, NULL, NULL, NULL, show_all);
}
