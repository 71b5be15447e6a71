/* API tokens for scripts, and machines that wait for their owner's approval. */
#include "cli/cli.h"

#include "lib/http/routes.h"

#include <stdlib.h>

json_t *cli_words(const char *text)
{
    json_t *list = json_array();
    for (const char *p = text; list && *p;) {
        size_t n = strcspn(p, ", ");
        if (n && json_array_append_new(list, json_stringn(p, n))) {
            json_decref(list);
            list = NULL;
            break;
        }
        p += n + (p[n] != 0);
    }
    return list;
}

static void put_words(const json_t *list, char *out, size_t size, const char *none)
{
    size_t i, n = 0;
    const json_t *one;
    snprintf(out, size, "%s", none);
    json_array_foreach(list, i, one)
    {
        char word[64];
        out_clean(json_string_value(one) ? json_string_value(one) : "", word, sizeof word);
        if (n < size)
            n += (size_t)snprintf(out + n, size - n, "%s%s", i ? "," : "", word);
    }
}

/* ---- sequester token ---- */

static int show_made(const struct cli *c, json_t *j)
{
    int rc = 0;
    if (c->opt[OPT_out]) {
        char line[2100];
        snprintf(line, sizeof line, "%s\n", out_text(j, "token"));
        rc = secret_write(c, c->opt[OPT_out], "the token can't be written, and is lost: revoke it, and make another", line);
        sq_wipe(line, sizeof line);
        json_object_del(j, "token");
        json_object_set_new(j, "token_file", json_string(c->opt[OPT_out]));
    }
    if (rc)
        return rc;
    if (!out_as_text(c, 0, j))
        return 0;
    if (!c->opt[OPT_out])
        printf("%s\n", out_text(j, "token"));
    fprintf(stderr, "token %s, until %s. %s\n", out_text(j, "id"), out_text(j, "expires"),
            c->opt[OPT_out] ? "It is in the file, and nowhere else." : "It is shown this once.");
    return 0;
}

int cmd_token_create(struct cli *c)
{
    long days;
    json_t *j = NULL, *scopes = cli_words(c->opt[OPT_scopes] ? c->opt[OPT_scopes] : "read"), *networks = cli_words(c->opt[OPT_networks] ? c->opt[OPT_networks] : "");
    int rc = cli_number(c, OPT_days, 90, 1, 365, &days);
    json_t *body = !rc && scopes && networks ? json_pack("{s:s, s:O, s:I, s:O}", "name", c->arg[0], "scopes", scopes, "days", (json_int_t)days, "networks", networks) : NULL;
    json_decref(scopes);
    json_decref(networks);
    if (!body)
        return rc ? rc : out_error(c, SQ_EFIELD, "name, scopes and networks must be UTF-8", NULL);
    rc = login_proven(c, SQ_ROUTE_token_new, NULL, body, &j);
    if (!rc)
        rc = show_made(c, j);
    json_decref(j);
    return rc;
}

static void show_tokens(const json_t *j)
{
    const json_t *row;
    size_t i;
    printf("%-32s  %-18s %-20s  %-20s  %-20s %s\n", "ID", "SCOPES", "LAST USED", "UNTIL", "NETWORKS", "NAME");
    json_array_foreach(json_object_get(j, "data"), i, row)
    {
        char name[120], scopes[64], networks[300];
        out_clean(out_text(row, "name"), name, sizeof name);
        put_words(json_object_get(row, "scopes"), scopes, sizeof scopes, "");
        put_words(json_object_get(row, "networks"), networks, sizeof networks, "any");
        printf("%-32s  %-18s %-20s  %-20s  %-20s %s\n", out_text(row, "id"), scopes, out_text_or(row, "last_used", "never"),
               out_text(row, "expires"), networks, name);
    }
}

int cmd_token_list(struct cli *c)
{
    return http_show(c, SQ_ROUTE_me_tokens, NULL, NULL, NULL, show_tokens);
}

int cmd_token_revoke(struct cli *c)
{
    return http_done(c, SQ_ROUTE_token_revoke, c->arg[0], NULL, "revoked");
}

/* ---- sequester device ---- */

/* "abcd efgh" as people type it */
static void spell(const char *typed, char out[16])
{
    size_t n = 0;
    for (; *typed && n < 9; typed++)
        if (*typed != '-' && *typed != ' ') {
            if (n == 4)
                out[n++] = '-';
            out[n++] = *typed >= 'a' && *typed <= 'z' ? (char)(*typed - 'a' + 'A') : *typed;
        }
    out[n] = 0;
}

int cmd_device_approve(struct cli *c)
{
    struct http h;
    char code[16], client[80], scopes[80], address[80];
    json_t *j = NULL, *done = NULL, *body = NULL;
    spell(c->arg[0], code);
    int rc = http_open(c, true, &h);
    if (!rc)
        rc = http_call(&h, SQ_ROUTE_device_get, code, NULL, NULL, &j);
    if (!rc) {
        out_clean(out_text(j, "client"), client, sizeof client);
        out_clean(out_text(j, "address"), address, sizeof address);
        put_words(json_object_get(j, "scopes"), scopes, sizeof scopes, "");
        fprintf(stderr, "%s asked from %s at %s, and will be let: %s\nApprove only what you began yourself, now. Else: sequester device deny %s\n", client, address,
                out_text(j, "created"), scopes, code);
        body = json_pack("{s:s}", "user_code", code);
        rc = login_prove(c, &h, body);
    }
    if (!rc)
        rc = http_call(&h, SQ_ROUTE_device_approve, NULL, NULL, body, &done);
    json_decref(body);
    json_decref(j);
    http_close(&h);
    return out_done(c, rc, done, "approved: the machine that waits is signed in within seconds");
}

int cmd_device_deny(struct cli *c)
{
    char code[16];
    spell(c->arg[0], code);
    return http_done(c, SQ_ROUTE_device_deny, NULL, json_pack("{s:s}", "user_code", code), "denied");
}
