#include "lib/core/log.h"

#include "lib/core/buf.h"
#include "lib/core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY(name, class) " " #name " "
static const struct {
    const char *name;
    enum sq_log_level level;
    const char *fields;
} events[] = {
#define SQ_LOG(name, level, fields) {#name, SQ_LEVEL_##level, "" fields},
#include "lib/core/events.def"
#undef SQ_LOG
};
#undef KEY

static const char *my_role = "-";

void sq_log_role(const char *role)
{
    my_role = role;
}

static enum sq_log_level level_wanted(void)
{
    const char *s = getenv("SQ_LOG");
    if (s && !strcmp(s, "debug"))
        return SQ_LEVEL_DEBUG;
    if (s && !strcmp(s, "warn"))
        return SQ_LEVEL_WARN;
    if (s && !strcmp(s, "error"))
        return SQ_LEVEL_ERROR;
    return SQ_LEVEL_INFO;
}

void sq_log_write(enum sq_log_event event, const struct sq_log_field *f)
{
    sq_assert(event < SQ_LOG_COUNT);
    if (events[event].level < level_wanted())
        return;
    static const char *const level_name[] = {"debug", "info", "warn", "error"};
    char line[1024], when[21];
    sq_clock_text(sq_clock_now_s(), when);
    int n = snprintf(line, sizeof line, "time=%s level=%s role=%s event=%s", when, level_name[events[event].level], my_role,
                     events[event].name);
    for (; f->key; f++) {
        char known[64];
        snprintf(known, sizeof known, " %s ", f->key);
        sq_assert(strstr(events[event].fields, known));
        size_t left = sizeof line - (size_t)n;
        int k;
        if (f->word) {
            k = snprintf(line + n, left, " %s=%s", f->key, f->word);
        } else if (f->id) {
            char hex[129];
            sq_hex(f->id, f->n_id > 64 ? 64 : f->n_id, hex);
            k = snprintf(line + n, left, " %s=%s", f->key, hex);
        } else {
            k = snprintf(line + n, left, " %s=%lld", f->key, (long long)f->number);
        }
        if (k < 0 || (size_t)k >= left - 1)
            break;
        n += k;
    }
    line[n++] = '\n';
    ssize_t w = write(STDERR_FILENO, line, (size_t)n); /* one write, so that lines of several processes don't mix */
    (void)w;
}
