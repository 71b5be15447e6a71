/* sequester.ini: `key = value` lines, no sections needed; read by libinih, checked against core/config.def. */
#include "daemon/parent/parent.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct reading {
    struct config *out;
    const char *path;
    FILE *file;
    int line;
    sq_err e;
};

/* libinih reads through this, so that we know which line a key stands in */
static char *next_line(char *out, int size, void *ctx)
{
    struct reading *r = ctx;
    r->line++;
    return fgets(out, size, r->file);
}

static size_t index_of(const struct sq_key_row *row)
{
    size_t n;
    return (size_t)(row - sq_key_rows(&n));
}

static int on_key(void *ctx, const char *section, const char *name, const char *value)
{
    (void)section;
    struct reading *r = ctx;
    const struct sq_key_row *row = sq_key_row_of(name);
    if (!row) {
        fprintf(stderr, "sequester: %s:%d: unknown key; `sequester admin config explain` lists all keys\n", r->path, r->line);
        r->e = SQ_ECONFIG;
        return 1;
    }
    struct sq_why why;
    sq_err e = sq_key_check(row, value, &why);
    if (e) {
        fprintf(stderr, "sequester: %s:%d: %s %s\n", r->path, r->line, row->name, why.detail);
        r->e = e;
        return 1;
    }
    snprintf(r->out->value[index_of(row)], SQ_CONFIG_MAX_VALUE, "%s", value);
    return 1;
}

sq_err config_read(const char *path, struct config *out)
{
    size_t n;
    const struct sq_key_row *rows = sq_key_rows(&n);
    sq_assert(n <= PARENT_MAX_KEYS);
    for (size_t i = 0; i < n; i++)
        sq_key_fallback(&rows[i], geteuid() == 0, out->value[i]);
    if (!path)
        return SQ_OK;
    struct reading r = {.out = out, .path = path, .file = fopen(path, "re")};
    if (!r.file) {
        fprintf(stderr, "sequester: %s: can't be read: %s\n", path, strerror(errno));
        return sq_fail(SQ_ECONFIG);
    }
    int bad_line = ini_parse_stream(next_line, &r, on_key, &r);
    fclose(r.file);
    if (bad_line) {
        fprintf(stderr, "sequester: %s:%d: expected `key = value`\n", path, bad_line);
        return sq_fail(SQ_ECONFIG);
    }
    return r.e;
}

const char *config_get(const struct config *c, const char *key)
{
    const struct sq_key_row *row = sq_key_row_of(key);
    sq_assert(row);
    return c->value[index_of(row)];
}

uint64_t config_number(const struct config *c, const char *key)
{
    return strtoull(config_get(c, key), NULL, 10);
}
