/* The audit log: what it holds about me (from the server), a log directory on this machine, and its verification. */
#include "cli/cli.h"

#include "lib/audit/audit.h"
#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/http/routes.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* What --vkey gives: the key, and what stands behind it in the file. @changes borrows from @text. */
static int read_vkey(const struct cli *c, struct sq_buf *text, char out[CLI_VKEY_BYTES], struct sq_span *changes)
{
    const char *given = c->opt[OPT_vkey];
    sq_err e = *given == '@' ? sq_file_read(AT_FDCWD, given + 1, text) : sq_buf_add(text, given, strlen(given));
    if (e)
        return out_error(c, SQ_EIO, "the key's file can't be read", given + 1);
    size_t n = 0;
    while (n < text->n && text->p[n] != '\n' && text->p[n] != '\r')
        n++;
    e = sq_span_copy(sq_span_of(text->p, n), out, CLI_VKEY_BYTES);
    while (n < text->n && (text->p[n] == '\n' || text->p[n] == '\r'))
        n++;
    *changes = sq_span_of(text->p + n, text->n - n);
    return e || sq_vkey_decode(out, NULL, NULL, NULL) ? cli_misused(c, "--vkey is no key: it looks like NAME+HEX+BASE64 (sequester audit key)") : 0;
}

static int cli_vkey(const struct cli *c, char out[CLI_VKEY_BYTES])
{
    struct sq_buf text;
    struct sq_span changes;
    sq_buf_init(&text, SQ_KEY_CHANGES_MAX_BYTES);
    int rc = read_vkey(c, &text, out, &changes);
    sq_buf_done(&text);
    return rc;
}

int cli_vkeys(const struct cli *c, struct sq_note_keys *out)
{
    char vkey[CLI_VKEY_BYTES];
    struct sq_buf text;
    struct sq_span changes;
    sq_buf_init(&text, SQ_KEY_CHANGES_MAX_BYTES);
    int rc = read_vkey(c, &text, vkey, &changes);
    if (!rc && sq_note_keys_from(vkey, (const char *)changes.p, changes.n, out))
        rc = cli_misused(c, "--vkey is no key");
    sq_buf_done(&text);
    return rc;
}

static int open_log(const struct cli *c, int *out_dir)
{
    *out_dir = open(c->opt[OPT_log], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *out_dir < 0 ? out_error(c, SQ_EIO, "the log's directory can't be opened", c->opt[OPT_log]) : 0;
}

/* ---- tail ---- */

struct tail {
    const struct cli *c;
    json_t *list;
};

static sq_err on_entry(void *ctx, const struct sq_audit_entry *entry, struct sq_span bytes)
{
    (void)bytes;
    struct tail *t = ctx;
    struct sq_buf line;
    sq_buf_init(&line, 65536);
    sq_err e = sq_audit_entry_print(entry, t->c->opt[OPT_json] != NULL, &line);
    if (!e && t->c->opt[OPT_json])
        e = json_array_append_new(t->list, json_loadb((const char *)line.p, line.n, 0, NULL)) ? sq_fail(SQ_EINTERNAL)
                                                                                              : SQ_OK;
    else if (!e)
        printf("%.*s\n", (int)line.n, (const char *)line.p);
    sq_buf_done(&line);
    return e;
}

static int tail_local(struct cli *c, uint64_t limit)
{
    int dir;
    uint64_t size = 0;
    int rc = open_log(c, &dir);
    if (rc)
        return rc;
    struct tail t = {.c = c, .list = json_array()};
    sq_err e = sq_audit_walk_size(dir, &size);
    if (!e && size)
        e = sq_audit_walk(dir, size > limit ? size - limit + 1 : 1, 0, on_entry, &t);
    if (e) {
        rc = out_error(
            c, e, e == SQ_EAUDIT ? "the log is damaged: sequester audit verify says where" : "the log can't be read",
            sq_err_text(e));
    } else if (c->opt[OPT_json]) {
        json_t *j = json_pack("{s:O, s:I}", "data", t.list, "size", (json_int_t)size);
        out_json(j);
        json_decref(j);
    }
    json_decref(t.list);
    sq_close(&dir);
    return rc;
}

static void show_entry(const json_t *row)
{
    static const char *const more[] = {"actor", "subject", "object", "request"};
    char text[100];
    printf("%llu %s %s %s role=%s", out_number(row, "entry"), out_text(row, "time"),
           out_text(row, "event"), out_text(row, "result"), out_text(row, "role"));
    for (size_t i = 0; i < 4; i++) {
        out_clean(out_text(row, more[i]), text, sizeof text);
        if (*text)
            printf(" %s=%s", more[i], text);
    }
    printf(" a=%llu b=%llu\n", out_number(row, "a"), out_number(row, "b"));
}

static void show_entries(const json_t *j)
{
    const json_t *list = json_object_get(j, "data");
    for (size_t i = json_array_size(list); i-- > 0;) /* the server gives the newest first; a tail ends with it */
        show_entry(json_array_get(list, i));
}

static int tail_server(struct cli *c, long limit)
{
    char query[32];
    snprintf(query, sizeof query, "limit=%ld", limit);
    return http_show(c, c->n_arg ? SQ_ROUTE_job_audit : SQ_ROUTE_me_audit, c->arg[0], query, NULL, show_entries);
}

int cmd_audit_tail(struct cli *c)
{
    long limit;
    int rc = cli_number(c, OPT_limit, 50, 1, c->opt[OPT_log] ? 1000000 : 100, &limit);
    if (rc)
        return rc;
    if (c->opt[OPT_log] && c->n_arg)
        return cli_misused(c, "a job or --log DIR, not both");
    return c->opt[OPT_log] ? tail_local(c, (uint64_t)limit) : tail_server(c, limit);
}

/* ---- verify ---- */

static void show_report(const struct cli *c, sq_err e, const struct sq_audit_report *r)
{
    char root[65], first[21], last[21];
    json_t *findings = json_array();
    sq_hex(r->root, sizeof r->root, root);
    sq_clock_text(r->first_ms / 1000, first);
    sq_clock_text(r->last_ms / 1000, last);
    for (size_t i = 0; i < r->n_finding && i < SQ_AUDIT_MAX_FINDINGS; i++) {
        struct sq_buf line;
        sq_buf_init(&line, 4096);
        if (!sq_audit_finding_print(&r->finding[i], &line)) {
            if (!c->opt[OPT_json])
                printf("%.*s\n", (int)line.n, (const char *)line.p);
            json_array_append_new(
                findings, json_pack("{s:s, s:I, s:I, s:s#}", "damage", sq_audit_damage_name(r->finding[i].damage),
                                    "entry", (json_int_t)r->finding[i].entry, "last_entry",
                                    (json_int_t)r->finding[i].last_entry, "text", (const char *)line.p, (int)line.n));
        }
        sq_buf_done(&line);
    }
    json_t *j = json_pack("{s:b, s:I, s:I, s:I, s:I, s:s, s:I, s:O}", "success", e == SQ_OK, "entries",
                          (json_int_t)r->n_entry, "signed", (json_int_t)r->signed_size, "checkpoints",
                          (json_int_t)r->n_checkpoint, "torn_bytes", (json_int_t)r->n_torn_bytes, "root", e ? "" : root,
                          "n_finding", (json_int_t)r->n_finding, "findings", findings);
    if (c->opt[OPT_json]) {
        out_json(j);
    } else {
        printf("%llu entries", (unsigned long long)r->n_entry);
        if (r->n_entry)
            printf(" from %s to %s", first, last);
        printf(", %llu signed checkpoints, the last over %llu entries\n", (unsigned long long)r->n_checkpoint,
               (unsigned long long)r->signed_size);
        if (r->n_torn_bytes)
            printf("%llu bytes at the end were never acknowledged (a crash): no damage\n",
                   (unsigned long long)r->n_torn_bytes);
        if (e)
            printf("NOT VERIFIED: %llu findings. Keep the log as it is and compare it with a copy kept elsewhere.\n",
                   (unsigned long long)r->n_finding);
        else
            printf("root %s\nverified: nothing was changed, dropped, moved or cut off\n", root);
    }
    json_decref(j);
    json_decref(findings);
}

#define KEPT_MAX_BYTES (16 << 20)

/* The note in what was kept: as it is, or as `audit key` prints it, with the keys above; of several days in one file the last. */
static const char *last_note(const char *kept)
{
    const char *note = kept, *keys;
    for (const char *p = kept; (keys = strstr(p, "log key ")) != NULL; p = keys + 1)
        if (keys == kept || keys[-1] == '\n') {
            const char *gap = strstr(keys, "\n\n");
            note = gap ? gap + 2 : keys + strlen(keys);
        }
    return note;
}

/* The key is one (cli_vkey()), so it is the checkpoint. One that says more than the log can have held is a find, not a slip. */
static int kept_is_refused(const struct cli *c, int dir, const char *vkey, const struct sq_audit_report *kept)
{
    char text[300];
    unsigned long long size = kept->kept_size, bound = kept->kept_bound;
    if (!size)
        return cli_misused(c, "--checkpoint isn't a checkpoint of this log: another name stands in it than in the key, or it was changed");
    struct sq_audit_report *now = calloc(1, sizeof *now);
    sq_err e = now ? sq_audit_verify(dir, vkey, NULL, now) : sq_fail(SQ_ENOMEM);
    unsigned long long have = !e || e == SQ_EAUDIT ? now->n_entry : UINT64_MAX;
    free(now);
    if (kept->kept_bound != UINT64_MAX)
        snprintf(text, sizeof text, "the checkpoint that was kept is of %llu entries, but its key was replaced when this log had %llu: the log was rolled back or cut since, and has %llu now; or that old key leaked", size, bound, have);
    else if (size > have)
        snprintf(text, sizeof text, "the log has %llu entries and is shorter than the checkpoint that was kept, of %llu: it was rolled back or cut to before the key of that checkpoint began", have, size);
    else
        return cli_misused(c, "--checkpoint isn't signed by this key or by one that the log says follows it");
    out_error(c, SQ_EAUDIT, text, "keep the log as it is and compare it with a copy kept elsewhere");
    return EXIT_DAMAGED;
}

int cmd_audit_verify(struct cli *c)
{
    char vkey[CLI_VKEY_BYTES];
    int dir = -1;
    struct sq_buf kept;
    if (!c->opt[OPT_log] || !c->opt[OPT_vkey])
        return cli_misused(
            c, "--log DIR and --vkey KEY are both needed: a key from the same machine as the log proves little");
    sq_buf_init(&kept, KEPT_MAX_BYTES);
    int rc = cli_vkey(c, vkey);
    if (!rc)
        rc = open_log(c, &dir);
    sq_err e = rc || !c->opt[OPT_checkpoint] ? SQ_OK : sq_file_read(AT_FDCWD, c->opt[OPT_checkpoint], &kept);
    if (!e && kept.n)
        e = sq_buf_add(&kept, "", 1);
    if (e)
        rc = out_error(c, SQ_EIO, "the checkpoint can't be read", c->opt[OPT_checkpoint]);
    const char *note = !rc && kept.n ? last_note((const char *)kept.p) : NULL;
    if (!rc && c->opt[OPT_checkpoint] && (!note || !*note))
        rc = cli_misused(c, "--checkpoint holds no checkpoint: sequester audit key prints one, once the server has signed one");
    struct sq_audit_report *report = calloc(1, sizeof *report);
    if (!rc && !report)
        rc = out_error(c, SQ_ENOMEM, "out of memory", NULL);
    if (!rc) {
        e = sq_audit_verify(dir, vkey, note, report);
        if (!e || e == SQ_EAUDIT) {
            show_report(c, e, report);
            rc = e ? EXIT_DAMAGED : EXIT_DONE;
        } else if (e == SQ_EFIELD) {
            rc = kept_is_refused(c, dir, vkey, report);
        } else {
            rc = out_error(c, e, "the log can't be read", sq_err_text(e));
        }
    }
    free(report);
    sq_close(&dir);
    sq_buf_done(&kept);
    return rc;
}

static void show_keys(const json_t *j)
{
    printf("log key      %s\nreceipt key  %s\n\n%s", out_text(j, "vkey"), out_text(j, "receipt_vkey"), out_text(j, "checkpoint"));
}

static void show_changes(const json_t *j)
{
    fputs(out_text(j, "key_changes"), stdout);
}

int cmd_audit_key(struct cli *c)
{
    return http_show(c, SQ_ROUTE_checkpoint, NULL, NULL, NULL, c->opt[OPT_changes] ? show_changes : show_keys);
}
