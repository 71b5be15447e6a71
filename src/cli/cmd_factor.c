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

/* @answer is taken */
static int give_codes(const struct cli *c, int rc, json_t *answer)
{
    const json_t *codes = json_object_get(answer, "recovery");
    if (!rc && c->opt[OPT_out] && json_array_size(codes) && (rc = keep_codes(c, codes)))
        fputs("  the old recovery codes are void: sequester account recovery makes new ones\n", stderr);
    if (!rc && c->opt[OPT_json] && c->opt[OPT_out])
        json_object_set_new(answer, "recovery", json_string(c->opt[OPT_out]));
    if (out_as_text(c, rc, answer) && json_array_size(codes))
        show_codes(c, codes);
    json_decref(answer);
    return rc;
}

static void show_factors(const json_t *j)
{
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(j, "data"), i, row)
    {
        char name[120];
        out_clean(out_text(row, "name"), name, sizeof name);
        printf("%-32s  %-8s  %-20s  %-20s  %s\n", out_text(row, "id"), out_text(row, "kind"), out_text(row, "created"),
               out_text_or(row, "last_used", "never used"), name);
    }
    if (i)
        printf("%llu recovery codes are left\n", out_number(j, "recovery_left"));
    else
        printf("no second factor%s\n", json_is_true(json_object_get(j, "required")) ? ", and this account needs one: sequester account totp" : ": sequester account totp adds one");
}

int cmd_account_factors(struct cli *c)
{
    return http_show(c, SQ_ROUTE_me_factors, NULL, NULL, NULL, show_factors);
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
    json_decref(body);
    json_decref(confirm);
    json_decref(j);
    http_close(&h);
    return give_codes(c, rc, done);
}

int cmd_account_recovery(struct cli *c)
{
    json_t *j = NULL;
    int rc = login_proven(c, SQ_ROUTE_recovery_new, NULL, json_object(), &j);
    return give_codes(c, rc, j);
}

int cmd_account_factor_rename(struct cli *c)
{
    json_t *j = NULL, *body = json_pack("{s:s}", "name", c->arg[1]);
    int rc = body ? login_proven(c, SQ_ROUTE_factor_rename, c->arg[0], body, &j) : out_error(c, SQ_EFIELD, "the name must be UTF-8", NULL);
    return out_done(c, rc, j, "renamed");
}

int cmd_account_factor_remove(struct cli *c)
{
    json_t *j = NULL;
    int rc = login_proven(c, SQ_ROUTE_factor_remove, c->arg[0], json_object(), &j);
    return out_done(c, rc, j, "removed");
}
