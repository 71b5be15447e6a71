#include "lib/core/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct err_row {
    sq_err code;
    int http;
    const char *name, *text, *hint;
};

static const struct err_row rows[] = {
#define SQ_ERR(name, no, http, text, hint) {SQ_##name, http, #name, text, hint},
#include "lib/core/err.def"
#undef SQ_ERR
};

static const struct err_row *row_of(sq_err code)
{
    const struct err_row *internal = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].code == code)
            return &rows[i];
        if (rows[i].code == SQ_EINTERNAL)
            internal = &rows[i];
    }
    return internal;
}

const char *sq_err_name(sq_err code)
{
    return row_of(code)->name;
}

const char *sq_err_text(sq_err code)
{
    return row_of(code)->text;
}

const char *sq_err_hint(sq_err code)
{
    return row_of(code)->hint;
}

int sq_err_http(sq_err code)
{
    return row_of(code)->http;
}

sq_err sq_err_from_no(uint32_t no)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if ((uint32_t)rows[i].code == no)
            return rows[i].code;
    return SQ_EINTERNAL;
}

sq_err sq_fail_at(sq_err code, const char *file, int line)
{
#ifdef SQ_DEBUG
    const char *trace = getenv("SQ_TRACE");
    if (trace && strstr(trace, "err"))
        fprintf(stderr, "trace=err code=%s at=%s:%d\n", sq_err_name(code), file, line);
#else
    (void)file;
    (void)line;
#endif
    return code;
}

sq_err sq_why_set(struct sq_why *why, sq_err code, uint64_t line, uint32_t column, const char *field,
                  const char *detail, ...)
{
    if (!why)
        return code;
    memset(why, 0, sizeof *why);
    why->line = line;
    why->column = column;
    if (field)
        snprintf(why->field, sizeof why->field, "%s", field);
    if (detail) {
        va_list ap;
        va_start(ap, detail);
        vsnprintf(why->detail, sizeof why->detail, detail, ap);
        va_end(ap);
    }
    return code;
}

void sq_assert_failed(const char *cond, const char *file, int line)
{
    fprintf(stderr, "event=assert_failed at=%s:%d cond=\"%s\"\n", file, line, cond);
    abort();
}
