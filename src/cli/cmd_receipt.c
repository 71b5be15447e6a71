/* Receipts: get them, check them. A file of receipts is the signed notes one behind the other, as text. */
#include "cli/cli.h"

#include "lib/audit/audit.h"
#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/http/routes.h"
#include "lib/store/receipt.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define RECEIPTS_MAX_BYTES (4U << 20)

static int write_out(const struct cli *c, const json_t *list)
{
    const char *path = c->opt[OPT_out];
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644) : STDOUT_FILENO;
    if (fd < 0)
        return out_error(c, SQ_EIO, "the file can't be made",
                         errno == EEXIST ? "there is one already; nothing is overwritten" : strerror(errno));
    json_t *note;
    size_t i;
    sq_err e = SQ_OK;
    json_array_foreach(list, i, note) e = e ? e : sq_write_all(fd, json_string_value(note), json_string_length(note));
    if (path)
        sq_close(&fd);
    return e ? out_error(c, e, "the file can't be written", NULL) : 0;
}

int cmd_receipt(struct cli *c)
{
    struct http h;
    json_t *j = NULL;
    const char *upload = c->opt[OPT_upload], *id = upload ? upload : c->n_arg ? c->arg[0]
                                                                              : NULL;
    if (!id || (upload && c->n_arg))
        return cli_misused(c, "name one job, or one upload with --upload ID");
    int rc = http_open(c, true, &h);
    if (!rc)
        rc = http_call(&h, upload ? SQ_ROUTE_upload_receipt : SQ_ROUTE_job_receipt, id, NULL, NULL, &j);
    const json_t *list = json_object_get(j, "receipts");
    bool is_complete = json_is_true(json_object_get(j, "complete"));
    if (!rc && (c->opt[OPT_out] || !c->opt[OPT_json]))
        rc = write_out(c, list);
    if (!rc && c->opt[OPT_json])
        out_json(j);
    else if (!rc)
        fprintf(stderr, "%zu receipts%s%s%s\n", json_array_size(list), c->opt[OPT_out] ? " written to " : "",
                c->opt[OPT_out] ? c->opt[OPT_out] : "",
                is_complete ? "" : "; more will come: some of it isn't erased yet");
    json_decref(j);
    http_close(&h);
    return rc;
}

/* ---- verify ---- */

static void time_text(int64_t s, char out[21])
{
    if (s)
        sq_clock_text(s, out);
    else
        snprintf(out, 21, "-");
}

static void show(const struct sq_receipt *r)
{
    char made[21], job[33], owner[33];
    static const uint8_t none[SQ_STORE_ID_BYTES];
    time_text(r->made_s, made);
    sq_hex(r->job, sizeof r->job, job);
    sq_hex(r->owner, sizeof r->owner, owner);
    printf("receipt of %s, part %u of %u, owner %s, job %s\n", made, r->part, r->n_part, owner,
           memcmp(r->job, none, sizeof none) ? job : "-");
    printf("  %-32s  %-12s  %10s  %-20s  %s\n", "OBJECT", "KIND", "SIZE", "KEY DESTROYED", "FILE");
    bool has[8] = {false};
    for (uint32_t i = 0; i < r->n_object; i++) {
        const struct sq_receipt_object *o = &r->object[i];
        char id[33], gone[21], size[24];
        sq_hex(o->object, sizeof o->object, id);
        time_text(o->key_destroyed_s, gone);
        out_bytes(o->plain_bytes, size);
        printf("  %-32s  %-12s  %10s  %-20s  %s (%s)\n", id, o->kind, size, gone, sq_erase_word(o->erased.method),
               o->erased.filesystem);
        has[o->erased.method & 7] = true;
    }
    for (unsigned m = 0; m < 8; m++)
        if (has[m])
            printf("  %s: %s\n", sq_erase_word(m), sq_erase_sentence(m));
}

static json_t *as_json(const struct sq_receipt *r)
{
    char made[21], job[33], owner[33];
    json_t *objects = json_array();
    time_text(r->made_s, made);
    sq_hex(r->job, sizeof r->job, job);
    sq_hex(r->owner, sizeof r->owner, owner);
    for (uint32_t i = 0; i < r->n_object; i++) {
        const struct sq_receipt_object *o = &r->object[i];
        char id[33], gone[21], sha256[65];
        sq_hex(o->object, sizeof o->object, id);
        sq_hex(o->sha256, 32, sha256);
        time_text(o->key_destroyed_s, gone);
        json_array_append_new(
            objects, json_pack("{s:s, s:s, s:I, s:I, s:s, s:s, s:s, s:I, s:b, s:s}", "object", id, "kind", o->kind,
                               "plain_bytes", (json_int_t)o->plain_bytes, "sealed_bytes", (json_int_t)o->sealed_bytes,
                               "sealed_sha256", o->has_sha256 ? sha256 : "-", "key_destroyed", gone, "method",
                               sq_erase_word(o->erased.method), "passes", (json_int_t)o->erased.n_pass, "read_back",
                               (int)o->erased.is_verified, "filesystem", o->erased.filesystem));
    }
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:o}", "made", made, "owner", owner, "job", job, "part",
                     (json_int_t)r->part, "parts", (json_int_t)r->n_part, "objects", objects);
}

/* where the next receipt begins, or the end */
static size_t note_end(const char *text, size_t from, size_t n)
{
    const size_t len = strlen(SQ_RECEIPT_FIRST_LINE);
    for (size_t i = from + 1; i + len <= n; i++)
        if (text[i - 1] == '\n' && !memcmp(text + i, SQ_RECEIPT_FIRST_LINE, len))
            return i;
    return n;
}

static int verify_all(struct cli *c, const char *vkey, const char *text, size_t n)
{
    json_t *list = json_array();
    unsigned n_note = 0;
    int rc = 0;
    for (size_t at = 0, end; at < n && !rc; at = end) {
        end = note_end(text, at, n);
        struct sq_span inside;
        struct sq_receipt r;
        struct sq_why why = {.line = 0};
        char detail[240];
        n_note++;
        sq_err e = sq_note_open(vkey, text + at, end - at, &inside);
        if (e) {
            snprintf(detail, sizeof detail, "receipt %u: changed, cut off, or signed by another key", n_note);
            rc = out_error(c, SQ_EAUDIT, "the signature doesn't fit", detail);
        } else if (sq_receipt_read((const char *)inside.p, inside.n, &r, &why)) {
            snprintf(detail, sizeof detail, "receipt %u, line %llu: %s", n_note, (unsigned long long)why.line,
                     why.field);
            rc = out_error(c, SQ_EAUDIT, "the receipt is signed but not of the form of version 1", detail);
        } else if (c->opt[OPT_json]) {
            json_array_append_new(list, as_json(&r));
        } else {
            show(&r);
        }
    }
    if (!rc && !n_note)
        rc = out_error(c, SQ_EAUDIT, "there is no receipt in this file", NULL);
    json_t *j = json_pack("{s:b, s:O}", "success", 1, "receipts", list);
    if (!rc && c->opt[OPT_json])
        out_json(j);
    else if (!rc)
        printf("%u receipt%s: signature%s good\n", n_note, n_note == 1 ? "" : "s", n_note == 1 ? "" : "s");
    json_decref(j);
    json_decref(list);
    return rc;
}

static int ask_server(struct cli *c, char vkey[CLI_VKEY_BYTES])
{
    struct http h;
    json_t *j = NULL;
    int rc = http_open(c, false, &h);
    if (!rc)
        rc = http_call(&h, SQ_ROUTE_checkpoint, NULL, NULL, NULL, &j);
    if (!rc)
        snprintf(vkey, CLI_VKEY_BYTES, "%s", out_text(j, "receipt_vkey"));
    json_decref(j);
    http_close(&h);
    return rc;
}

int cmd_receipt_verify(struct cli *c)
{
    char vkey[CLI_VKEY_BYTES];
    struct sq_buf text;
    sq_buf_init(&text, RECEIPTS_MAX_BYTES);
    errno = 0;
    sq_err e = sq_file_read(AT_FDCWD, c->arg[0], &text);
    int rc = e && errno         ? out_path_error(c, "the file can't be read", c->arg[0])
             : e                ? out_error(c, e, "the file can't be read", e == SQ_ETOOBIG ? "it is too large to be receipts" : NULL)
             : c->opt[OPT_vkey] ? cli_vkey(c, vkey)
                                : ask_server(c, vkey);
    if (!rc && sq_vkey_decode(vkey, NULL, NULL, NULL))
        rc = cli_misused(c, "--vkey is no key: it looks like NAME+HEX+BASE64 (sequester audit key)");
    if (!rc)
        rc = verify_all(c, vkey, (const char *)text.p, text.n);
    sq_buf_done(&text);
    return rc;
}
