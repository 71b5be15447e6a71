/* Second factors: an authenticator (TOTP), recovery codes, passkeys that were added in a browser. */
#include "cli/cli.h"

#include "lib/core/file.h"
#include "lib/http/routes.h"

static void show_codes(const struct cli *c, const json_t *codes)
{
    size_t i;
    const json_t *one;
    if (c->opt[OPT_out]) {
        printf("%zu recovery codes are in %s: print them, and delete the file\n", json_array_size(codes), c->opt[OPT_out]);
        return;
    }
    puts("Recovery codes, shown this once. Each signs you in once when the authenticator is lost; keep them apart from it:");
    json_array_foreach(codes, i, one)
        printf("  %s\n", json_string_value(one) ? json_string_value(one) : "");
}

/* codes, one a line, into --out */
static int keep_codes(const struct cli *c, const json_t *codes)
{
    struct sq_buf text;
    size_t i;
    const json_t *one;
    sq_buf_init(&text, 4096);
    sq_err e = SQ_OK;
    json_array_foreach(codes, i, one)
        if (!e && json_string_value(one))
            e = sq_buf_addf(&text, "%s\n", json_string_value(one));
    if (!e)
        e = sq_buf_add(&text, "", 1);
    int rc = e ? out_error(c, e, "out of memory", NULL) : secret_write(c, c->opt[OPT_out], "the recovery codes can't be written", (const char *)text.p);
    sq_buf_done(&text);
    return rc;
}

static int give_codes(const struct cli *c, json_t *answer)
{
    const json_t *codes = json_object_get(answer, "recovery");
    int rc = c->opt[OPT_out] && json_array_size(codes) ? keep_codes(c, codes) : 0;
    if (rc)
        fputs("  the old recovery codes are void: sequester account recovery makes new ones\n", stderr);
    if (!rc && c->opt[OPT_json] && c->opt[OPT_out])
        json_object_set_new(answer, "recovery", json_string(c->opt[OPT_out]));
    if (!rc && c->opt[OPT_json])
        out_json(answer);
    else if (!rc && json_array_size(codes))
        show_codes(c, codes);
    return rc;
}

int cmd_account_factors(struct cli *c)
{
    struct http h;
    json_t *j = NULL, *row;
    size_t i;
    int rc = http_open(c, true, &h);
    if (!rc)
        rc = http_call(&h, SQ_ROUTE_me_factors, NULL, NULL, NULL, &j);
    if (!rc && c->opt[OPT_json]) {
        out_json(j);
    } else if (!rc) {
        json_array_foreach(json_object_get(j, "data"), i, row)
        {
            char name[120];
            out_clean(out_text(row, "name"), name, sizeof name);
            printf("%-32s  %-8s  %-20s  %-20s  %s\n", out_text(row, "id"), out_text(row, "kind"), out_text(row, "created"),
                   *out_text(row, "last_used") ? out_text(row, "last_used") : "never used", name);
        }
        if (i)
            printf("%llu recovery codes are left\n", (unsigned long long)out_number(j, "recovery_left"));
        if (!i)
            printf("no second factor%s\n", json_is_true(json_object_get(j, "required")) ? ", and this account needs one: sequester account totp" : ": sequester account totp adds one");
    }
    json_decref(j);
    http_close(&h);
    return rc;
}

/* what the authenticator is to know, on the screen or in --secret-out */
static int show_secret(const struct cli *c, const json_t *j)
{
    char uri[1024];
    out_clean(out_text(j, "uri"), uri, sizeof uri);
    if (c->opt[OPT_secret_out]) {
        char line[1026];
        snprintf(line, sizeof line, "%s\n", uri);
        int rc = secret_write(c, c->opt[OPT_secret_out], "the authenticator's secret can't be written", line);
        sq_wipe(line, sizeof line);
        sq_wipe(uri, sizeof uri);
        return rc;
    }
    fputs("Let your authenticator read this, or type the secret below it:\n\n", stderr);
    if (!qr_show(uri, stderr))
        fprintf(stderr, "  %s\n", uri);
    fprintf(stderr, "\n  %s\n\n", out_text(j, "secret"));
    sq_wipe(uri, sizeof uri);
    return 0;
}

int cmd_account_totp(struct cli *c)
{
    struct http h;
    struct secret code = {NULL};
    json_t *j = NULL, *done = NULL, *body = json_object(), *confirm = NULL;
    int rc = http_open(c, true, &h);
    if (!rc && c->opt[OPT_name])
        json_object_set_new(body, "name", json_string(c->opt[OPT_name]));
    if (!rc)
        rc = login_prove(c, &h, body);
    if (!rc)
        rc = http_call(&h, SQ_ROUTE_totp_begin, NULL, NULL, body, &j);
    if (!rc)
        rc = show_secret(c, j);
    if (!rc) {
        /* the code of the new one is typed: a file would have been written before the secret was known */
        struct cli typed = *c;
        typed.opt[OPT_code_file] = NULL;
        rc = secret_ask_code(&typed, "The code that it shows now", &code);
    }
    if (!rc)
        confirm = json_pack("{s:s, s:s}", "id", out_text(j, "id"), "code", code.text);
    secret_done(&code);
    if (!rc)
        rc = http_call(&h, SQ_ROUTE_totp_confirm, NULL, NULL, confirm, &done);
    if (!rc && !c->opt[OPT_json])
        puts("the authenticator is on: from now on, signing in asks for its code");
    if (!rc)
        rc = give_codes(c, done);
    json_decref(body);
    json_decref(confirm);
    json_decref(done);
    json_decref(j);
    http_close(&h);
    return rc;
}

/* @name NULL: none */
static int proven(struct cli *c, unsigned route, const char *id, const char *name, json_t **out)
{
    struct http h;
    json_t *body = json_object();
    int rc = http_open(c, true, &h);
    if (!rc && name && json_object_set_new(body, "name", json_string(name)))
        rc = out_error(c, SQ_EFIELD, "the name must be UTF-8", NULL);
    if (!rc)
        rc = login_prove(c, &h, body);
    if (!rc)
        rc = http_call(&h, route, id, NULL, body, out);
    json_decref(body);
    http_close(&h);
    return rc;
}

int cmd_account_recovery(struct cli *c)
{
    json_t *j = NULL;
    int rc = proven(c, SQ_ROUTE_recovery_new, NULL, NULL, &j);
    if (!rc)
        rc = give_codes(c, j);
    json_decref(j);
    return rc;
}

int cmd_account_factor_rename(struct cli *c)
{
    json_t *j = NULL;
    int rc = proven(c, SQ_ROUTE_factor_rename, c->arg[0], c->arg[1], &j);
    if (!rc && c->opt[OPT_json])
        out_json(j);
    else if (!rc)
        puts("renamed");
    json_decref(j);
    return rc;
}

int cmd_account_factor_remove(struct cli *c)
{
    json_t *j = NULL;
    int rc = proven(c, SQ_ROUTE_factor_remove, c->arg[0], NULL, &j);
    if (!rc && c->opt[OPT_json])
        out_json(j);
    else if (!rc)
        puts("removed");
    json_decref(j);
    return rc;
}
