/**
 * core/log - the operator's log: one event a line, to standard error, in logfmt.
 *
 * Events and their fields are listed once in core/events.def. A value is an integer, a word of ours (compile-time
 * text or a name from one of our tables) or an id in hex: there is no way to log outside text.
 *
 *     sq_log(SQ_LOG_slot_destroyed, SQ_LID("object", id, 16), SQ_LW("reason", "expired"));
 *
 * SQ_LOG=debug|info|warn|error sets the level (default info).
 */
#ifndef SQ_CORE_LOG_H
#define SQ_CORE_LOG_H

#include <stddef.h>
#include <stdint.h>

enum sq_log_level { SQ_LEVEL_DEBUG, SQ_LEVEL_INFO, SQ_LEVEL_WARN, SQ_LEVEL_ERROR };

enum sq_log_event {
#define SQ_LOG(name, level, fields) SQ_LOG_##name,
#include "lib/core/events.def"
#undef SQ_LOG
    SQ_LOG_COUNT
};

struct sq_log_field {
    const char *key;  /* NULL ends the list */
    const char *word; /* a word of ours, or NULL */
    const void *id;   /* an id, or NULL */
    size_t n_id;
    int64_t number;
};

#define SQ_LN(k, v) ((struct sq_log_field){.key = (k), .number = (int64_t)(v)})
#define SQ_LW(k, v) ((struct sq_log_field){.key = (k), .word = (v)})
#define SQ_LID(k, p, n) ((struct sq_log_field){.key = (k), .id = (p), .n_id = (n)})
#define sq_log(event, ...) \
    sq_log_write((event), (const struct sq_log_field[]){__VA_ARGS__, {.key = NULL}}) /* at least one field */

void sq_log_role(const char *role); /* static string, shown in each line */
void sq_log_write(enum sq_log_event event, const struct sq_log_field *fields); /* a field not in events.def aborts */

#endif
