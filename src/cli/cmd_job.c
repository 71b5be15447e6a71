/* Jobs: submit, list, watch, cancel, delete. */
#include "cli/cli.h"

#include "lib/core/clock.h"
#include "lib/http/routes.h"

#include <unistd.h>

static bool has_ended(const char *state)
{
    return !strcmp(state, "done") || !strcmp(state, "failed") || !strcmp(state, "cancelled") ||
           !strcmp(state, "erasing") || !strcmp(state, "erased");
}

static void show_id(const json_t *j)
{
    puts(out_text(j, "id"));
}

int cmd_submit(struct cli *c)
{
    json_t *j = NULL, *body = json_object();
    static const struct {
        enum cli_opt opt;
        const char *key;
    } fields[] = {{OPT_upload, "upload"},
                  {OPT_panel, "panel"},
                  {OPT_population, "population"},
                  {OPT_mode, "mode"},
                  {OPT_phasing, "phasing"},
                  {OPT_name, "name"}};
    char key[201], fingerprint[65] = "";
    int rc = 0;
    if (!c->opt[OPT_upload] || !c->opt[OPT_panel])
        rc = cli_misused(c, "which %s",
                         c->opt[OPT_upload] ? "panel? --panel PANEL (sequester panels)"
                                            : "upload? --upload ID (sequester uploads)");
    for (size_t i = 0; i < sizeof fields / sizeof fields[0] && !rc; i++)
        if (c->opt[fields[i].opt] && json_object_set_new(body, fields[i].key, json_string(c->opt[fields[i].opt])))
            rc = cli_misused(c, "%s must be UTF-8", fields[i].key);
    if (!rc && c->opt[OPT_seal_to])
        rc = seal_to_read(c, key, fingerprint);
    if (!rc && c->opt[OPT_seal_to])
        json_object_set_new(body, "seal_to", json_string(key));
    if (rc)
        json_decref(body);
    else
        rc = http_once(c, SQ_ROUTE_job_submit, NULL, NULL, body, &j);
    if (!rc && *fingerprint && strcmp(out_text(json_object_get(j, "seal_to"), "fingerprint"), fingerprint))
        rc = out_error(c, SQ_ETAMPERED, "the server took another key than yours: delete the job", out_text(j, "id"));
    return out_answer(c, rc, j, show_id);
}

static void show_jobs(const json_t *j)
{
    const json_t *row;
    size_t i;
    printf("%-38s %-10s %-20s %-20s %-20s %s\n", "JOB", "STATE", "CREATED", "ERASED ON", "PANEL", "NAME");
    json_array_foreach(json_object_get(j, "data"), i, row)
    {
        char name[120];
        out_clean(out_text(row, "name"), name, sizeof name);
        printf("%-38s %-10s %-20s %-20s %-20s %s\n", out_text(row, "id"), out_text(row, "state"),
               out_text(row, "created"), out_text(row, "expires"), out_text(row, "panel"), name);
    }
}

int cmd_jobs(struct cli *c)
{
    long limit;
    char query[32];
    int rc = cli_number(c, OPT_limit, 50, 1, 50, &limit);
    snprintf(query, sizeof query, "limit=%ld", limit);
    return rc ? rc : http_show(c, SQ_ROUTE_jobs, NULL, query, NULL, show_jobs);
}

/* ---- status ---- */

static void show_counts(const json_t *counts)
{
    if (!out_number(counts, "samples"))
        return;
    printf("data        %llu samples, %llu variants", out_number(counts, "samples"),
           out_number(counts, "variants_in"));
    if (out_number(counts, "variants_kept"))
        printf(", %llu kept, %llu in the panel", out_number(counts, "variants_kept"),
               out_number(counts, "variants_overlap"));
    if (out_number(counts, "variants_out"))
        printf(", %llu in the result", out_number(counts, "variants_out"));
    putchar('\n');
}

static void show_job(const json_t *j)
{
    char name[300];
    json_t *row;
    size_t i;
    const json_t *progress = json_object_get(j, "progress"), *claim = json_object_get(j, "claim"),
                 *package = json_object_get(claim, "package");
    out_clean(out_text(j, "name"), name, sizeof name);
    printf("job         %s%s%s\nstate       %s\n", out_text(j, "id"), *name ? "  " : "", name, out_text(j, "state"));
    if (out_number(j, "queue_place"))
        printf("queue       place %llu\n", out_number(j, "queue_place"));
    if (out_number(progress, "total") && !has_ended(out_text(j, "state"))) {
        char bar[64];
        out_bar(out_number(progress, "done"), out_number(progress, "total"), 30, bar, sizeof bar);
        printf("progress    %s\n", bar);
    }
    printf("panel       %s, population %s, mode %s, phasing %s\n", out_text(j, "panel"), out_text(j, "population"),
           out_text(j, "mode"), out_text(j, "phasing"));
    show_counts(json_object_get(j, "counts"));
    json_array_foreach(json_object_get(j, "lifecycle"), i, row)
        printf("%-11s %s  %s\n", i ? "" : "life cycle", out_text(row, "at"), out_text(row, "state"));
    json_array_foreach(json_object_get(j, "files"), i, row)
    {
        char bytes[24];
        out_bytes(out_number(row, "bytes"), bytes);
        printf("%-11s %s  %s\n", i ? "" : "files", out_text(row, "name"), bytes);
    }
    if (*seal_to_kind(j))
        printf("sealed to   your %s key, fingerprint %.16s; package %s\n", seal_to_kind(j), out_text(json_object_get(j, "seal_to"), "fingerprint"),
               package ? out_text(package, "state") : "not made yet");
    else if (out_number(claim, "claims"))
        printf("claim       %s, package %s\n", out_text(claim, "state"), package ? out_text(package, "state") : "none");
    if (*out_text(j, "expires"))
        printf("erased on   %s at the latest\n", out_text(j, "expires"));
    fflush(stdout);
}

struct watch {
    char state[24];
    int64_t since_ms;
    uint64_t since_done;
};

static void show_watch(struct watch *w, const json_t *j)
{
    const json_t *progress = json_object_get(j, "progress");
    const char *state = out_text(j, "state");
    uint64_t done = out_number(progress, "done"), total = out_number(progress, "total");
    int64_t now = sq_clock_steady_ms();
    if (strcmp(w->state, state) || done < w->since_done) { /* the rate is of this state alone */
        if (!isatty(STDERR_FILENO) && strcmp(w->state, state))
            fprintf(stderr, "%s\n", state);
        snprintf(w->state, sizeof w->state, "%s", state);
        w->since_ms = now;
        w->since_done = done;
    }
    char bar[64], left[32] = "";
    out_bar(done, total, 30, bar, sizeof bar);
    int64_t s = out_estimate_s(w->since_done, done, total, w->since_ms, now);
    if (s >= 0)
        out_duration(s, left);
    out_progress("%-9s %s%s%s", state, total ? bar : "", *left ? "  left: about " : "", left);
}

static int get_job(struct http *h, const char *id, json_t **j)
{
    json_t *now = NULL;
    int rc = http_call(h, SQ_ROUTE_job_get, id, NULL, NULL, &now);
    if (rc)
        return rc;
    json_decref(*j);
    *j = now;
    return 0;
}

int cmd_status(struct cli *c)
{
    struct http h;
    json_t *j = NULL;
    struct watch w = {.since_ms = sq_clock_steady_ms()};
    int rc = http_open(c, true, &h);
    if (!rc)
        rc = get_job(&h, c->arg[0], &j);
    while (!rc && c->opt[OPT_watch] && !has_ended(out_text(j, "state"))) {
        show_watch(&w, j);
        usleep(1000000);
        rc = get_job(&h, c->arg[0], &j);
    }
    out_progress_end();
    if (out_as_text(c, rc, j))
        show_job(j);
    if (!rc && json_is_object(json_object_get(j, "error"))) {
        struct cli quiet = *c;
        quiet.opt[OPT_json] = NULL; /* the error stands in the job's own JSON */
        out_server_error(&quiet, json_object_get(j, "error"));
    }
    if (!rc && c->opt[OPT_watch] && strcmp(out_text(j, "state"), "done"))
        rc = EXIT_REFUSED;
    json_decref(j);
    http_close(&h);
    return rc;
}

/* ---- ends ---- */

static void show_state(const json_t *j)
{
    printf("%s  %s\n", out_text(j, "id"), out_text(j, "state"));
}

int cmd_cancel(struct cli *c)
{
    return http_show(c, SQ_ROUTE_job_cancel, c->arg[0], NULL, NULL, show_state);
}

/* until all of it has a receipt */
static int await_erased(struct http *h, const char *id, bool is_upload, json_t **j)
{
    for (;;) {
        json_t *now = NULL;
        int rc = http_call(h, is_upload ? SQ_ROUTE_upload_receipt : SQ_ROUTE_job_receipt, id, NULL, NULL, &now);
        if (rc)
            return rc;
        bool is_complete =
            json_is_true(json_object_get(now, "complete")) && (is_upload || !strcmp(out_text(now, "state"), "erased"));
        const json_t *count = json_object_get(now, "count"); /* of a job; an upload's fit one answer */
        size_t n = count ? (size_t)json_integer_value(count) : json_array_size(json_object_get(now, "receipts"));
        json_decref(now);
        if (is_complete) {
            json_object_set_new(*j, "state", json_string("erased"));
            json_object_set_new(*j, "receipts", json_integer((json_int_t)n));
            return 0;
        }
        out_progress("erasing: %zu receipts", n);
        usleep(500000);
    }
}

int cmd_delete(struct cli *c)
{
    struct http h;
    json_t *j = NULL;
    const char *upload = c->opt[OPT_upload], *id = upload ? upload : c->arg[0];
    if ((upload != NULL) == (c->n_arg == 1))
        return cli_misused(c, "name one job, or one upload with --upload ID");
    int rc = http_open(c, true, &h);
    if (!rc)
        rc = http_call(&h, upload ? SQ_ROUTE_upload_delete : SQ_ROUTE_job_delete, id, NULL, NULL, &j);
    if (!rc && c->opt[OPT_wait])
        rc = await_erased(&h, id, upload != NULL, &j);
    out_progress_end();
    http_close(&h);
    return out_answer(c, rc, j, show_state);
}
