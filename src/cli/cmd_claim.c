/*
 * Claim, download, confirm. The one-time password is shown or written the moment it comes: it exists nowhere else. Until the
 * owner confirms he may claim again, so nothing here loses a result. One that is sealed to his own key has nothing to claim.
 */
#include "cli/cli.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/http/routes.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_password(const struct cli *c, int fd, const struct secret *password)
{
    sq_err e = sq_write_all(fd, password->text, strlen(password->text));
    if (!e)
        e = sq_write_all(fd, "\n", 1);
    if (!e)
        e = sq_fsync(fd);
    return e ? out_error(c, e, "the one-time password can't be written: claim again", NULL) : 0;
}

/* sign in again; the one-time password comes once */
static int ask_claim(struct cli *c, struct http *h, const char *job, struct secret *out)
{
    struct secret password = {NULL};
    json_t *answer = NULL;
    int rc = secret_ask(c, "Your account's password, once more", false, &password);
    json_t *body = rc ? NULL : json_pack("{s:s}", "password", password.text);
    secret_done(&password);
    if (!rc && !body)
        rc = out_error(c, SQ_EFIELD, "the password must be UTF-8", NULL);
    h->expects = "ENEEDCODE"; /* a token to results can't ask beforehand whether there is a second factor */
    if (!rc)
        rc = http_call(h, SQ_ROUTE_job_claim, job, NULL, body, &answer);
    h->expects = NULL;
    if (rc && body && !strcmp(http_refusal(h), "ENEEDCODE")) {
        struct secret code = {NULL};
        rc = secret_ask_code(c, "Code of your authenticator, or a recovery code", &code);
        if (!rc && json_object_set_new(body, "code", json_string(code.text)))
            rc = out_error(c, SQ_EFIELD, "the code must be UTF-8", NULL);
        secret_done(&code);
        if (!rc)
            rc = http_call(h, SQ_ROUTE_job_claim, job, NULL, body, &answer);
    }
    json_decref(body);
    if (!rc)
        rc = secret_set(c, out_text(answer, "password"), out);
    json_decref(answer);
    return rc;
}

static int await_package(struct http *h, const char *job)
{
    for (;;) {
        json_t *j = NULL;
        int rc = http_call(h, SQ_ROUTE_job_get, job, NULL, NULL, &j);
        if (rc)
            return rc;
        const json_t *package = json_object_get(json_object_get(j, "claim"), "package");
        char state[24];
        snprintf(state, sizeof state, "%s", out_text(package, "state"));
        json_decref(j);
        if (!strcmp(state, "ready")) {
            out_progress_end();
            return 0;
        }
        if (strcmp(state, "building"))
            return out_error(h->c, SQ_ECONFLICT, "the package could not be built",
                             "claim again: a new password comes with a new package");
        out_progress("building the package ...");
        usleep(300000);
    }
}

static int confirm_with(struct http *h, const char *job, const char *path, const struct secret *password,
                        json_t **out_answer)
{
    char check[129];
    int rc = package_check_text(h->c, path, password, check);
    json_t *body = rc ? NULL : json_pack("{s:s}", "check", check);
    sq_wipe(check, sizeof check);
    if (!rc && !body)
        rc = out_error(h->c, SQ_ETAMPERED, "the package's check entry can't be read", NULL);
    if (!rc)
        rc = http_call(h, SQ_ROUTE_job_confirm, job, NULL, body, out_answer);
    json_decref(body);
    return rc;
}

/* into --out, a directory: JOB.zip or what @suffix says */
static int fetch_package(struct cli *c, struct http *h, const char *suffix, char *path, size_t size)
{
    const char *dir = c->opt[OPT_out] ? c->opt[OPT_out] : ".";
    uint64_t n;
    if (mkdir(dir, 0700) && errno != EEXIST)
        return out_error(c, SQ_EIO, "the directory can't be made", dir);
    if ((size_t)snprintf(path, size, "%s/%s.%s", dir, c->arg[0], suffix) >= size)
        return cli_misused(c, "the path is too long");
    return http_download(h, SQ_ROUTE_job_package, c->arg[0], path, &n);
}

static void show_claim(const struct cli *c, const char *job, const struct secret *password, const char *path)
{
    bool is_confirmed = *path && !c->opt[OPT_no_confirm];
    if (c->opt[OPT_json]) {
        json_t *j = json_pack("{s:b, s:s, s:s, s:b}", "success", 1, "id", job, "package", *path ? path : "ready",
                              "confirmed", is_confirmed);
        json_object_set_new(j, c->opt[OPT_password_out] ? "password_file" : "password",
                            json_string(c->opt[OPT_password_out] ? c->opt[OPT_password_out] : password->text));
        out_json(j);
        json_decref(j);
        return;
    }
    printf("package  %s\n", *path ? path : "ready on the server: sequester download");
    if (is_confirmed)
        puts("confirmed: the package opens with this password. The server's own copy of the result is destroyed now;\n"
             "only who holds the package and its password can read it.");
    else
        puts("not confirmed yet: the server keeps its copy until `sequester confirm`, and you can claim again.");
}

/* There is no password: fetched as it is, or said where it is. */
static int fetch_sealed_to(struct cli *c, struct http *h, const json_t *j)
{
    char path[4200] = "";
    if (!c->opt[OPT_download] && !c->opt[OPT_out])
        return out_error(c, SQ_ECONFLICT, "this result is sealed to your own key: there is no password and nothing to claim", "fetch it with `sequester download`");
    int rc = fetch_package(c, h, seal_to_suffix(j), path, sizeof path);
    json_t *answer = json_pack("{s:b, s:s, s:s, s:s}", "success", 1, "id", c->arg[0], "package", path, "sealed_to", seal_to_kind(j));
    if (out_as_text(c, rc, answer)) {
        printf("package  %s\n", path);
        seal_to_say_how(j, path);
    }
    json_decref(answer);
    return rc;
}

static int claim_with_password(struct cli *c, struct http *h)
{
    struct secret password = {NULL};
    char path[4200] = "";
    const char *job = c->arg[0], *file = c->opt[OPT_password_out];
    bool is_fetched = c->opt[OPT_download] || c->opt[OPT_out];
    int fd = -1, rc = 0;
    /* made first: a claim whose password can't be written would be for nothing */
    if (file && (fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)) < 0)
        rc = out_error(c, SQ_EIO, "the password file can't be made",
                       errno == EEXIST ? "there is one already; nothing is overwritten" : strerror(errno));
    if (!rc)
        rc = ask_claim(c, h, job, &password);
    if (rc && fd >= 0)
        unlink(file);
    else if (!rc && fd >= 0)
        rc = write_password(c, fd, &password);
    else if (!rc && !c->opt[OPT_json]) {
        printf("one-time password, shown this once: %s\n", password.text);
        fflush(stdout);
    }
    if (!rc)
        rc = await_package(h, job);
    if (!rc && is_fetched)
        rc = fetch_package(c, h, "zip", path, sizeof path);
    if (!rc && is_fetched && !c->opt[OPT_no_confirm])
        rc = confirm_with(h, job, path, &password, NULL);
    if (!rc)
        show_claim(c, job, &password, path);
    secret_done(&password);
    sq_close(&fd);
    return rc;
}

int cmd_claim(struct cli *c)
{
    struct http h;
    json_t *j = NULL;
    int rc = http_open(c, true, &h);
    if (!rc)
        rc = http_call(&h, SQ_ROUTE_job_get, c->arg[0], NULL, NULL, &j);
    if (!rc)
        rc = *seal_to_kind(j) ? fetch_sealed_to(c, &h, j) : claim_with_password(c, &h);
    json_decref(j);
    http_close(&h);
    return rc;
}

int cmd_confirm(struct cli *c)
{
    struct http h;
    struct secret password = {NULL};
    json_t *j = NULL;
    if (!c->opt[OPT_package])
        return cli_misused(c, "which package? --package FILE");
    int rc = http_open(c, true, &h);
    if (!rc)
        rc = secret_ask(c, "One-time password", false, &password);
    if (!rc)
        rc = confirm_with(&h, c->arg[0], c->opt[OPT_package], &password, &j);
    secret_done(&password);
    http_close(&h);
    return out_done(c, rc, j, "confirmed: the server's own copy of the result is destroyed");
}

int cmd_download(struct cli *c)
{
    struct http h;
    uint64_t n = 0;
    char path[4200], bytes[24];
    json_t *job = NULL;
    bool is_report = c->opt[OPT_report] != NULL;
    if (!c->opt[OPT_out] && strchr(c->arg[0], '/'))
        return cli_misused(c, "that is no id of this server");
    int rc = http_open(c, true, &h);
    if (!rc && !is_report) /* how it is sealed */
        rc = http_call(&h, SQ_ROUTE_job_get, c->arg[0], NULL, NULL, &job);
    if (c->opt[OPT_out])
        snprintf(path, sizeof path, "%s", c->opt[OPT_out]);
    else
        snprintf(path, sizeof path, "%.100s.%s", c->arg[0], is_report ? "quality-report.txt" : seal_to_suffix(job));
    if (!rc)
        rc = http_download(&h, is_report ? SQ_ROUTE_job_report : SQ_ROUTE_job_package, c->arg[0], path, &n);
    json_t *j = json_pack("{s:b, s:s, s:I}", "success", 1, "file", path, "bytes", (json_int_t)n);
    if (out_as_text(c, rc, j)) {
        out_bytes(n, bytes);
        printf("%s  %s\n", path, bytes);
        if (*seal_to_kind(job))
            seal_to_say_how(job, path);
    }
    json_decref(j);
    json_decref(job);
    http_close(&h);
    return rc;
}
