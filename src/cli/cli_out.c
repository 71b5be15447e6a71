/* What is printed: errors, JSON, sizes, progress. */
#include "cli/cli.h"

#include "lib/core/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

void out_json(const json_t *j)
{
    json_dumpf(j, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    putchar('\n');
    fflush(stdout);
}

static int exit_of(sq_err e)
{
    switch (e) {
    case SQ_OK: return EXIT_DONE;
    case SQ_EDOWN:
    case SQ_ETIMEOUT: return EXIT_UNREACHABLE;
    case SQ_EAUTH: return EXIT_SIGNED_OUT;
    case SQ_ETAMPERED:
    case SQ_ETRUNCATED:
    case SQ_EAUDIT: return EXIT_DAMAGED;
    default: return EXIT_REFUSED;
    }
}

int out_error(const struct cli *c, sq_err e, const char *what, const char *detail)
{
    out_progress_end();
    if (c->opt[OPT_json]) {
        json_t *j = json_pack("{s:b, s:s, s:s, s:s, s:s}", "success", 0, "code", sq_err_name(e), "message", what,
                              "detail", detail ? detail : "", "hint", "");
        out_json(j);
        json_decref(j);
    }
    fprintf(stderr, "sequester: %s%s%s\n", what, detail && *detail ? ": " : "", detail ? detail : "");
    return exit_of(e);
}

const char *out_text(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

const char *out_text_or(const json_t *object, const char *key, const char *none)
{
    const char *s = out_text(object, key);
    return *s ? s : none;
}

unsigned long long out_number(const json_t *object, const char *key)
{
    json_int_t v = json_integer_value(json_object_get(object, key));
    return v < 0 ? 0 : (unsigned long long)v;
}

bool out_as_text(const struct cli *c, int rc, const json_t *answer)
{
    if (!rc && c->opt[OPT_json])
        out_json(answer);
    return !rc && !c->opt[OPT_json];
}

int out_answer(const struct cli *c, int rc, json_t *answer, void (*show)(const json_t *answer))
{
    if (out_as_text(c, rc, answer))
        show(answer);
    json_decref(answer);
    return rc;
}

int out_done(const struct cli *c, int rc, json_t *answer, const char *done)
{
    if (out_as_text(c, rc, answer))
        puts(done);
    json_decref(answer);
    return rc;
}

/* U+0080..U+009F: controls too */
static bool is_c1(const char *p)
{
    return (unsigned char)p[0] == 0xc2 && (unsigned char)p[1] >= 0x80 && (unsigned char)p[1] < 0xa0;
}

void out_clean(const char *in, char *out, size_t size)
{
    size_t n = 0;
    for (; *in && n + 1 < size; in++)
        out[n++] = (unsigned char)*in < 0x20 || *in == 0x7f || is_c1(in) ? '?' : *in;
    out[n] = 0;
}

int out_path_error(const struct cli *c, const char *what, const char *path)
{
    char detail[400], name[300];
    out_clean(path, name, sizeof name);
    snprintf(detail, sizeof detail, "%s: %s", name, strerror(errno));
    return out_error(c, SQ_EIO, what, detail);
}

void out_server_error(const struct cli *c, const json_t *error)
{
    out_progress_end();
    if (c->opt[OPT_json])
        out_json(error);
    char text[400];
    const char *field = out_text(error, "field"), *detail = out_text(error, "detail");
    /* "panel is not ...": of what was typed, that says all; for data, the detail is a sentence of its own */
    bool is_argument = *field && *detail && !strcmp(out_text(error, "code"), "EFIELD");
    out_clean(out_text_or(error, "message", "the server refused"), text, sizeof text);
    fprintf(stderr, "sequester: %s%s", is_argument ? "" : text, *field && !is_argument ? ": " : "");
    out_clean(field, text, sizeof text);
    fputs(text, stderr);
    out_clean(detail, text, sizeof text);
    if (*text)
        fprintf(stderr, "%s%s", is_argument ? " " : ": ", text);
    if (out_number(error, "line"))
        fprintf(stderr, " (line %llu", out_number(error, "line"));
    if (out_number(error, "line") && out_number(error, "column"))
        fprintf(stderr, ", column %llu", out_number(error, "column"));
    fputs(out_number(error, "line") ? ")\n" : "\n", stderr);
    out_clean(out_text(error, "hint"), text, sizeof text);
    if (is_argument && c->command)
        fprintf(stderr, "  hint: sequester %s --help\n", c->command->name);
    else if (*text)
        fprintf(stderr, "  hint: %s\n", text);
    out_clean(out_text(error, "code"), text, sizeof text);
    if (*text)
        fprintf(stderr, "  code: %s", text);
    out_clean(out_text(error, "id"), text, sizeof text);
    if (*text)
        fprintf(stderr, "  id: %s", text);
    fputc('\n', stderr);
}

void out_bytes(uint64_t n, char text[24])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)n;
    size_t u = 0;
    for (; v >= 1024 && u < 4; u++)
        v /= 1024;
    snprintf(text, 24, u ? "%.1f %s" : "%.0f %s", v, units[u]);
}

void out_duration(int64_t s, char text[32])
{
    if (s >= 3600)
        snprintf(text, 32, "%lld h %lld min", (long long)(s / 3600), (long long)(s % 3600 / 60));
    else if (s >= 60)
        snprintf(text, 32, "%lld min %lld s", (long long)(s / 60), (long long)(s % 60));
    else
        snprintf(text, 32, "%lld s", (long long)s);
}

void out_bar(uint64_t done, uint64_t total, unsigned width, char *out, size_t size)
{
    if (done > total)
        done = total;
    unsigned n = total ? (unsigned)((double)done / (double)total * width) : 0;
    size_t at = 0;
    if (size < width + 3U + 7U) {
        snprintf(out, size, "%s", "");
        return;
    }
    out[at++] = '[';
    for (unsigned i = 0; i < width; i++)
        out[at++] = i < n ? '#' : ' ';
    out[at++] = ']';
    if (total)
        snprintf(out + at, size - at, " %3u %%", (unsigned)((double)done / (double)total * 100));
    else
        out[at] = 0;
}

int64_t out_estimate_s(uint64_t since_done, uint64_t done, uint64_t total, int64_t since_ms, int64_t now_ms)
{
    if (!total || done <= since_done || done > total || now_ms - since_ms < 1000)
        return -1;
    return (int64_t)((double)(total - done) * (double)(now_ms - since_ms) / (double)(done - since_done) / 1000 + 0.5);
}

static bool has_progress;

void out_progress(const char *format, ...)
{
    if (!isatty(STDERR_FILENO))
        return;
    char line[200];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    fprintf(stderr, "\r%s\033[K", line);
    fflush(stderr);
    has_progress = true;
}

void out_progress_end(void)
{
    if (has_progress)
        fputc('\n', stderr);
    has_progress = false;
}
