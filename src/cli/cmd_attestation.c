/* Attestations: what a job was worked on with and in. Got from the server, checked without it. */
#include "cli/cli.h"

#include "lib/audit/audit.h"
#include "lib/core/file.h"
#include "lib/http/routes.h"
#include "lib/jobs/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define ATTESTATION_MAX_BYTES (16U << 10)

int cmd_attestation(struct cli *c)
{
    json_t *j = NULL;
    int rc = http_once(c, SQ_ROUTE_job_attestation, c->arg[0], NULL, NULL, &j);
    const json_t *note = json_object_get(j, "attestation");
    if (!rc && c->opt[OPT_out]) {
        int fd = open(c->opt[OPT_out], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0 || sq_write_all(fd, json_string_value(note), json_string_length(note)))
            rc = out_error(c, SQ_EIO, c->opt[OPT_out], errno == EEXIST ? "there is one already; nothing is overwritten" : strerror(errno));
        sq_close(&fd);
    } else if (out_as_text(c, rc, j)) {
        fputs(out_text(j, "attestation"), stdout);
    }
    json_decref(j);
    return rc;
}

static const char *meaning(const char *name, size_t n)
{
    size_t n_row;
    const struct sq_wall_row *row = sq_wall_rows(&n_row);
    for (size_t i = 0; i < n_row; i++)
        if (strlen(row[i].name) == n && !memcmp(row[i].name, name, n))
            return row[i].text;
    return "not known to this program";
}

/* each wall on a line of its own, with what it means */
static void show_walls(const char *line, const char *mark)
{
    for (const char *p = strchr(line, ' '); p && *p == ' ';) {
        size_t n = strcspn(++p, " \n");
        printf("    %s %-16.*s  %s\n", mark, (int)n, p, meaning(p, n));
        p += n;
    }
}

/* false: some wall was not there */
static bool show(const char *text)
{
    bool is_whole = true;
    for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
        int n = (int)strcspn(line, "\n");
        if (!strncmp(line, "held", 4)) {
            show_walls(line, " ");
        } else if (!strncmp(line, "not-held", 8)) {
            show_walls(line, "!");
            is_whole = false;
        } else {
            printf("%s%.*s\n", !strncmp(line, "ended", 5) || !strncmp(line, "program", 7) ? "    " : "", n, line);
        }
    }
    return is_whole;
}

static int check(const struct cli *c, const struct sq_note_keys *keys, const struct sq_buf *note)
{
    static const char first[] = "sequester-attestation/v1\n";
    struct sq_span inside;
    char text[ATTESTATION_MAX_BYTES];
    if (sq_note_open_any(keys, (const char *)note->p, note->n, &inside))
        return out_error(c, SQ_EAUDIT, "the signature doesn't fit", "the attestation was changed, cut off, or signed by another key");
    if (inside.n < sizeof first || memcmp(inside.p, first, sizeof first - 1) || sq_span_copy(inside, text, sizeof text))
        return out_error(c, SQ_EAUDIT, "this is signed, but no attestation of version 1", NULL);
    bool is_whole = show(text);
    puts(is_whole ? "signature good; every wall was there in every sandbox" : "signature good; lines marked ! were NOT there");
    return 0;
}

int cmd_attestation_verify(struct cli *c)
{
    struct sq_note_keys keys;
    struct sq_buf note;
    sq_buf_init(&note, ATTESTATION_MAX_BYTES);
    sq_err e = sq_file_read(AT_FDCWD, c->arg[0], &note);
    int rc = e ? out_path_error(c, "the file can't be read", c->arg[0]) : receipt_keys(c, &keys);
    if (!rc)
        rc = check(c, &keys, &note);
    sq_buf_done(&note);
    return rc;
}
