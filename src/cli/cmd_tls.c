/* The server's certificate: is it good, in the files and as it is served; and load new files. */
#include "cli/cli.h"

#include "lib/core/clock.h"
#include "lib/core/config.h"
#include "lib/core/file.h"
#include "lib/crypt/crypt.h"

#include <fcntl.h>
#include <stdlib.h>
#include <time.h>

#define FILE_MAX_BYTES (64u << 10)
#define DAY_S 86400

static const char *const keys[] = {"tls_certificate", "tls_key", "hosts", "listen", "rsa_bits"};
enum { CERTIFICATE,
       KEY,
       HOSTS,
       LISTEN,
       RSA_BITS,
       N_KEY };

struct looking {
    struct cli *c;
    char value[N_KEY][SQ_CONFIG_MAX_VALUE];
    struct sq_buf ca;
    json_t *all; /* one object for the files, one for the server */
    unsigned n_finding;
};

static void date_of(int64_t s, char out[32])
{
    struct tm tm;
    time_t t = (time_t)s;
    gmtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%d %H:%M UTC", &tm);
}

static json_t *findings_of(struct looking *l, const struct sq_x509_seen *seen)
{
    json_t *list = json_array();
    for (unsigned no = 1; sq_x509_finding(no); no++) {
        const struct sq_x509_finding_row *row = sq_x509_finding(no);
        if (!(seen->found & SQ_X509_BIT(no)))
            continue;
        l->n_finding++;
        bool is_name = no == SQ_X509_no_name || no == SQ_X509_name_missing;
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "code", row->name, "message", row->text, "remedy", row->mend));
        if (!l->c->opt[OPT_json])
            printf("  %s%s%s%s\n    %s\n", row->text, is_name ? " (" : "", is_name ? seen->missing_host : "", is_name ? ")" : "", row->mend);
    }
    return list;
}

static void show(struct looking *l, const char *where, const char *what, const struct sq_x509_seen *seen)
{
    char ends[32], hex[65];
    long long days = (long long)(seen->not_after_s - sq_clock_now_s()) / DAY_S;
    date_of(seen->not_after_s, ends);
    sq_hex(seen->fingerprint, 32, hex);
    if (!l->c->opt[OPT_json]) {
        printf("%s: %s\n", where, what);
        if (seen->n_certificate)
            printf("  %s, chain of %u, ends %s (%lld days left)\n  SHA-256 %s\n", seen->key, seen->n_certificate, ends, days, hex);
    }
    json_t *one = json_pack("{s:s, s:s, s:s, s:i, s:I, s:s, s:o}", "where", where, "key", seen->key, "sha256", hex, "certificates", (int)seen->n_certificate, "days_left",
                            (json_int_t)days, "ends", ends, "findings", findings_of(l, seen));
    json_array_append_new(l->all, one);
}

static int read_text(const struct cli *c, const char *what, const char *path, struct sq_buf *out)
{
    return sq_file_read(AT_FDCWD, path, out) || sq_buf_add(out, "", 1) ? out_path_error(c, what, path) : 0;
}

static int look_at_files(struct looking *l, struct sq_x509_seen *out)
{
    struct sq_buf chain, key;
    sq_buf_init(&chain, FILE_MAX_BYTES);
    sq_buf_init(&key, FILE_MAX_BYTES);
    int rc = read_text(l->c, "the certificate can't be read", l->value[CERTIFICATE], &chain);
    if (!rc)
        rc = read_text(l->c, "the key can't be read", l->value[KEY], &key);
    if (!rc) {
        sq_x509_check(&(struct sq_x509_question){.chain_pem = (const char *)chain.p, .key_pem = (const char *)key.p, .hosts = l->value[HOSTS], .rsa_bits = (unsigned)strtoul(l->value[RSA_BITS], NULL, 10),
                                                 .ca_pem = l->ca.n ? (const char *)l->ca.p : NULL, .now_s = sq_clock_now_s()}, out);
        show(l, "files", l->value[CERTIFICATE], out);
    }
    sq_wipe(key.p, key.n);
    sq_buf_done(&chain);
    sq_buf_done(&key);
    return rc;
}

static void look_at_server(struct looking *l, const struct sq_x509_seen *files)
{
    struct sq_buf pem;
    struct sq_x509_seen seen;
    char url[SQ_CONFIG_MAX_VALUE + 16], why[256];
    const char *listen = l->value[LISTEN], *any4 = "0.0.0.0:", *any6 = "[::]:";
    if (l->c->opt[OPT_server])
        snprintf(url, sizeof url, "%s", l->c->opt[OPT_server]);
    else if (!strncmp(listen, any4, strlen(any4)) || !strncmp(listen, any6, strlen(any6)))
        snprintf(url, sizeof url, "https://%s%s", *listen == '[' ? "[::1]" : "127.0.0.1", strrchr(listen, ':'));
    else
        snprintf(url, sizeof url, "https://%s", listen);
    sq_buf_init(&pem, FILE_MAX_BYTES);
    if (tls_served(url, &pem, why)) {
        sq_x509_check(&(struct sq_x509_question){.chain_pem = (const char *)pem.p, .hosts = l->value[HOSTS], .rsa_bits = (unsigned)strtoul(l->value[RSA_BITS], NULL, 10), .ca_pem = l->ca.n ? (const char *)l->ca.p : NULL,
                                                 .now_s = sq_clock_now_s()}, &seen);
        if (memcmp(seen.fingerprint, files->fingerprint, sizeof seen.fingerprint))
            seen.found |= SQ_X509_BIT(SQ_X509_other_served);
        show(l, "server", url, &seen);
    } else {
        if (!l->c->opt[OPT_json])
            printf("server: %s: not looked at: %s\n", url, why);
        json_array_append_new(l->all, json_pack("{s:s, s:s}", "where", "server", "unreachable", why));
    }
    sq_buf_done(&pem);
}

int cmd_tls_check(struct cli *c)
{
    struct looking l = {.c = c};
    struct sq_x509_seen files = {.found = 0};
    sq_buf_init(&l.ca, 1u << 20);
    int rc = config_values(c, c->arg[0], keys, N_KEY, l.value);
    if (!rc && c->opt[OPT_cacert])
        rc = read_text(c, "the CA file can't be read", c->opt[OPT_cacert], &l.ca);
    l.all = json_array();
    if (!rc)
        rc = look_at_files(&l, &files);
    if (!rc)
        look_at_server(&l, &files);
    json_t *j = json_pack("{s:b, s:o}", "success", !l.n_finding, "certificates", l.all);
    if (out_as_text(c, rc, j) && !l.n_finding)
        puts("good");
    json_decref(j);
    sq_buf_done(&l.ca);
    return rc ? rc : l.n_finding ? EXIT_REFUSED : EXIT_DONE;
}

static void show_rules(const json_t *j, bool is_taken)
{
    if (is_taken)
        printf("taken: %llu rules\n", out_number(j, "rules"));
    else if (out_number(j, "line"))
        printf("refused, the server keeps the rules that it has: line %llu %s\n", out_number(j, "line"), out_text(j, "why"));
    else
        printf("refused, the server keeps the rules that it has: %s\n", out_text(j, "why"));
}

int cmd_network_reload(struct cli *c)
{
    json_t *j = NULL;
    int rc = admin_ask(c, "network-reload", json_object(), NULL, &j);
    bool is_taken = json_is_true(json_object_get(j, "taken"));
    json_object_set_new(j, "success", json_boolean(is_taken));
    if (out_as_text(c, rc, j))
        show_rules(j, is_taken);
    json_decref(j);
    return rc ? rc : is_taken ? EXIT_DONE : EXIT_REFUSED;
}

int cmd_tls_reload(struct cli *c)
{
    json_t *j = NULL, *one;
    size_t i;
    int rc = admin_ask(c, "tls-reload", json_object(), NULL, &j);
    bool is_taken = json_is_true(json_object_get(j, "taken"));
    json_object_set_new(j, "success", json_boolean(is_taken));
    if (out_as_text(c, rc, j)) {
        puts(is_taken ? "taken: new connections get the certificate of the file" : "refused: the server keeps the certificate that it has");
        json_array_foreach(json_object_get(j, "findings"), i, one)
            printf("  %s\n    %s\n", out_text(one, "message"), out_text(one, "remedy"));
        if (!is_taken && !json_array_size(json_object_get(j, "findings")))
            puts("  the files can't be opened, or aren't what they should be: see the server's log, and sequester admin tls check");
        const json_t *now = json_object_get(j, "certificate");
        printf("served: ends %s, %llu days left\n", out_text(now, "ends"), out_number(now, "days_left"));
    }
    json_decref(j);
    return rc ? rc : is_taken ? EXIT_DONE : EXIT_REFUSED;
}
