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

/* all pages of a job's receipts as one answer: the job's own first, when there is one */
static int all_pages(struct http *h, const char *id, json_t **out)
{
    char query[64] = "";
    for (;;) {
        json_t *page = NULL;
        int rc = http_call(h, SQ_ROUTE_job_receipt, id, *query ? query : NULL, NULL, &page);
        if (rc)
            return rc;
        if (!*out)
            *out = json_incref(page);
        else
            json_array_extend(json_object_get(*out, "receipts"), json_object_get(page, "receipts"));
        const char *next = json_string_value(json_object_get(page, "next"));
        snprintf(query, sizeof query, "after=%s", next ? next : "");
        bool is_end = !next;
        if (!is_end && page != *out) /* what the last page says of the whole is the newest */
            json_object_set(*out, "complete", json_object_get(page, "complete"));
        json_decref(page);
        if (is_end)
            return 0;
    }
}

static int job_receipts(struct http *h, const char *id, json_t **out)
{
    int rc = all_pages(h, id, out);
    json_t *whole = json_object_get(*out, "job_receipt"), *list = json_object_get(*out, "receipts");
    if (!rc && json_is_string(whole))
        json_array_insert(list, 0, whole);
    if (!rc)
        json_object_del(*out, "next");
    return rc;
}

int cmd_receipt(struct cli *c)
{
    struct http h;
    json_t *j = NULL;
    const char *upload = c->opt[OPT_upload], *id = upload ? upload : c->arg[0];
    if ((upload != NULL) == (c->n_arg == 1))
        return cli_misused(c, "name one job, or one upload with --upload ID");
    int rc = http_open(c, true, &h);
    if (!rc)
        rc = upload ? http_call(&h, SQ_ROUTE_upload_receipt, id, NULL, NULL, &j) : job_receipts(&h, id, &j);
    const json_t *list = json_object_get(j, "receipts");
    bool is_complete = json_is_true(json_object_get(j, "complete"));
    bool has_whole = json_is_string(json_object_get(j, "job_receipt"));
    if (!rc && (c->opt[OPT_out] || !c->opt[OPT_json]))
        rc = write_out(c, list);
    if (out_as_text(c, rc, j))
        fprintf(stderr, "%zu receipts%s%s%s%s\n", json_array_size(list) - has_whole, has_whole ? " and the job's own" : "",
                c->opt[OPT_out] ? " written to " : "", c->opt[OPT_out] ? c->opt[OPT_out] : "",
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

static void show_job(const struct sq_job_receipt *r)
{
    char made[21], first[21], last[21], job[33], owner[33], size[24];
    time_text(r->made_s, made);
    time_text(r->first_key_s, first);
    time_text(r->last_key_s, last);
    sq_hex(r->job, sizeof r->job, job);
    sq_hex(r->owner, sizeof r->owner, owner);
    out_bytes(r->plain_bytes, size);
    printf("receipt of the whole job %s of %s, owner %s\n  %llu objects, %s; keys destroyed %s to %s\n", job, made, owner,
           (unsigned long long)r->n_object, size, first, last);
    for (unsigned m = 1; m < SQ_JOB_RECEIPT_METHODS; m++)
        if (r->n_method[m])
            printf("  %llu %s: %s\n", (unsigned long long)r->n_method[m], sq_erase_word(m), sq_erase_sentence(m));
}

static json_t *job_as_json(const struct sq_job_receipt *r, uint64_t n_here)
{
    char made[21], first[21], last[21], job[33], owner[33], sha256[65];
    json_t *methods = json_object();
    time_text(r->made_s, made);
    time_text(r->first_key_s, first);
    time_text(r->last_key_s, last);
    sq_hex(r->job, sizeof r->job, job);
    sq_hex(r->owner, sizeof r->owner, owner);
    sq_hex(r->receipts_sha256, 32, sha256);
    for (unsigned m = 1; m < SQ_JOB_RECEIPT_METHODS; m++)
        json_object_set_new(methods, sq_erase_word(m), json_integer((json_int_t)r->n_method[m]));
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:s, s:o, s:s, s:b}", "made", made, "owner", owner, "job", job, "objects",
                     (json_int_t)r->n_object, "in_this_file", (json_int_t)n_here, "plain_bytes", (json_int_t)r->plain_bytes, "sealed_bytes",
                     (json_int_t)r->sealed_bytes, "first_key_destroyed", first, "last_key_destroyed", last, "methods", methods,
                     "receipts_sha256", sha256, "compared", n_here == r->n_object);
}

/* ---- a file of them ---- */

struct single {
    size_t group;                         /* how many jobs' receipts stand before it in the file */
    char line[SQ_JOB_RECEIPT_LINE_BYTES]; /* begins with the object's id: sorted by it, as the job's receipt has them */
    uint32_t n_object;
};

struct all {
    struct cli *c;
    struct single *single;
    size_t n_single, cap;
    struct sq_job_receipt *job;
    size_t n_job;
    json_t *list, *jobs;
    unsigned n_note;
};

static bool is_first_line(const char *p, size_t n)
{
    static const char *const first[] = {SQ_RECEIPT_FIRST_LINE, SQ_JOB_RECEIPT_FIRST_LINE};
    for (size_t i = 0; i < 2; i++)
        if (n >= strlen(first[i]) && !memcmp(p, first[i], strlen(first[i])))
            return true;
    return false;
}

/* where the next receipt begins, or the end */
static size_t note_end(const char *text, size_t from, size_t n)
{
    for (size_t i = from + 1; i < n; i++)
        if (text[i - 1] == '\n' && is_first_line(text + i, n - i))
            return i;
    return n;
}

static sq_err keep_single(struct all *a, const struct sq_receipt *r, struct sq_span text)
{
    uint8_t sha256[SQ_SHA256_BYTES];
    if (a->n_single == a->cap) {
        size_t cap = a->cap ? 2 * a->cap : 64;
        struct single *p = realloc(a->single, cap * sizeof *p);
        if (!p)
            return sq_fail(SQ_ENOMEM);
        a->single = p;
        a->cap = cap;
    }
    struct single *s = &a->single[a->n_single];
    sq_err e = sq_sha256_of(text.p, text.n, sha256);
    if (e)
        return e;
    *s = (struct single){.group = a->n_job, .n_object = r->n_object};
    sq_job_receipt_line(r, sha256, s->line);
    a->n_single++;
    return SQ_OK;
}

static sq_err keep_job(struct all *a, const struct sq_job_receipt *r)
{
    struct sq_job_receipt *p = realloc(a->job, (a->n_job + 1) * sizeof *p);
    if (!p)
        return sq_fail(SQ_ENOMEM);
    a->job = p;
    a->job[a->n_job++] = *r;
    return SQ_OK;
}

static sq_err take_text(struct all *a, struct sq_span text, struct sq_why *why)
{
    struct sq_receipt r;
    struct sq_job_receipt whole;
    sq_err e;
    if (text.n > 13 && !memcmp(text.p, "sequester-job", 13)) {
        e = sq_job_receipt_read((const char *)text.p, text.n, &whole, why);
        return e ? e : keep_job(a, &whole);
    }
    e = sq_receipt_read((const char *)text.p, text.n, &r, why);
    if (!e)
        e = keep_single(a, &r, text);
    if (!e && a->c->opt[OPT_json])
        json_array_append_new(a->list, as_json(&r));
    else if (!e)
        show(&r);
    return e;
}

static int take_note(struct all *a, const struct sq_note_keys *keys, const char *note, size_t n)
{
    struct sq_span inside;
    struct sq_why why = {.line = 0};
    char detail[240];
    a->n_note++;
    if (sq_note_open_any(keys, note, n, &inside)) {
        snprintf(detail, sizeof detail, "receipt %u: changed, cut off, or signed by another key", a->n_note);
        return out_error(a->c, SQ_EAUDIT, "the signature doesn't fit", detail);
    }
    sq_err e = take_text(a, inside, &why);
    if (e == SQ_ENOMEM)
        return out_error(a->c, e, "the receipts don't fit into memory", NULL);
    snprintf(detail, sizeof detail, "receipt %u, line %llu: %s", a->n_note, (unsigned long long)why.line, why.field);
    return e ? out_error(a->c, SQ_EAUDIT, "the receipt is signed but not of the form of version 1", detail) : 0;
}

static int by_object(const void *a, const void *b)
{
    const struct single *x = a, *y = b;
    return x->group != y->group ? (x->group < y->group ? -1 : 1) : strcmp(x->line, y->line);
}

/* Do the single receipts behind a job's own make up what that says? In a file with one job, all are its. *out_n: how many there are. */
static sq_err compare(const struct all *a, size_t job, uint64_t *out_n)
{
    uint8_t sha256[SQ_SHA256_BYTES];
    struct sq_sha256 *digest = NULL;
    sq_err e = sq_sha256_new(&digest);
    *out_n = 0;
    for (size_t i = 0; i < a->n_single && !e; i++) {
        const struct single *s = &a->single[i];
        bool is_twice = i && !strcmp(s->line, a->single[i - 1].line);
        if ((a->n_job > 1 && s->group != job + 1) || is_twice)
            continue;
        e = sq_sha256_add(digest, s->line, strlen(s->line));
        *out_n += s->n_object;
    }
    if (!e)
        e = sq_sha256_end(digest, sha256);
    sq_sha256_free(digest);
    if (e || *out_n < a->job[job].n_object)
        return e;
    return *out_n == a->job[job].n_object && !memcmp(sha256, a->job[job].receipts_sha256, sizeof sha256) ? SQ_OK : sq_fail(SQ_EAUDIT);
}

static int compare_all(struct all *a)
{
    for (size_t i = 0; i < a->n_single && a->n_job == 1; i++)
        a->single[i].group = 1; /* also what stands before it */
    if (a->n_single)
        qsort(a->single, a->n_single, sizeof *a->single, by_object);
    for (size_t i = 0; i < a->n_job; i++) {
        uint64_t n = 0;
        const struct sq_job_receipt *w = &a->job[i];
        if (!a->c->opt[OPT_json])
            show_job(w);
        if (compare(a, i, &n))
            return out_error(a->c, SQ_EAUDIT, "the single receipts behind a job's own are not those that it binds",
                             "one was exchanged or added; `sequester receipt JOB` gets them as they should be");
        if (a->c->opt[OPT_json])
            json_array_append_new(a->jobs, job_as_json(w, n));
        else if (n == w->n_object)
            printf("  its %llu single receipts are all in this file, and are those that it binds\n", (unsigned long long)n);
        else
            printf("  %llu of its %llu single receipts are in this file: the others can be had with `sequester receipt`\n",
                   (unsigned long long)n, (unsigned long long)w->n_object);
    }
    return 0;
}

static int verify_all(struct cli *c, const struct sq_note_keys *keys, const char *text, size_t n)
{
    struct all a = {.c = c, .list = json_array(), .jobs = json_array()};
    int rc = 0;
    for (size_t at = 0, end; at < n && !rc; at = end) {
        end = note_end(text, at, n);
        rc = take_note(&a, keys, text + at, end - at);
    }
    if (!rc && !a.n_note)
        rc = out_error(c, SQ_EAUDIT, "there is no receipt in this file", NULL);
    if (!rc)
        rc = compare_all(&a);
    json_t *j = json_pack("{s:b, s:o, s:o}", "success", 1, "receipts", a.list, "jobs", a.jobs);
    if (out_as_text(c, rc, j))
        printf("%u receipt%s: signature%s good\n", a.n_note, a.n_note == 1 ? "" : "s", a.n_note == 1 ? "" : "s");
    json_decref(j);
    free(a.single);
    free(a.job);
    return rc;
}

/* The server's key, and what it says of those before. */
static int ask_server(struct cli *c, struct sq_note_keys *out)
{
    json_t *j = NULL;
    int rc = http_once(c, SQ_ROUTE_checkpoint, NULL, NULL, NULL, &j);
    const char *changes = out_text(j, "key_changes");
    if (!rc && sq_note_keys_from(out_text(j, "receipt_vkey"), changes, strlen(changes), out))
        rc = out_error(c, SQ_EPROTO, "the server's answer has no key", NULL);
    json_decref(j);
    return rc;
}

int receipt_keys(struct cli *c, struct sq_note_keys *out)
{
    return c->opt[OPT_vkey] ? cli_vkeys(c, out) : ask_server(c, out);
}

int cmd_receipt_verify(struct cli *c)
{
    struct sq_note_keys keys;
    struct sq_buf text;
    sq_buf_init(&text, RECEIPTS_MAX_BYTES);
    errno = 0;
    sq_err e = sq_file_read(AT_FDCWD, c->arg[0], &text);
    int rc = e && errno         ? out_path_error(c, "the file can't be read", c->arg[0])
             : e                ? out_error(c, e, "the file can't be read", e == SQ_ETOOBIG ? "it is too large to be receipts" : NULL)
                                : receipt_keys(c, &keys);
    if (!rc)
        rc = verify_all(c, &keys, (const char *)text.p, text.n);
    sq_buf_done(&text);
    return rc;
}
