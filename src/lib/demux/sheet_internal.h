/* sheet_internal - the parts of the sample sheet's reader. Not for other rooms. */
#ifndef SQ_DEMUX_SHEET_INTERNAL_H
#define SQ_DEMUX_SHEET_INTERNAL_H

#include "lib/demux/sample_sheet.h"

/* A line: its cells point into the sheet's text. */
#define SHEET_MAX_CELLS 256U
struct sheet_row {
    uint32_t line, n_cell;
    char *cell[SHEET_MAX_CELLS]; /* without blanks around */
    bool is_blank;
};

struct sheet_csv {
    char *at, *end;
    uint32_t line;
    bool has_too_many, has_open_quote;
};

/* The next line of @csv, unquoted in place. False: the end. */
bool sheet_csv_next(struct sheet_csv *csv, struct sheet_row *out);

/*
 * A setting by either of its names, from a section or a column. Returns false when the name isn't known. Problems are added to @s.
 * @is_column: only those of scope ANY. @set: what is filled.
 */
bool sheet_setting(struct sq_sheet *s, struct sq_sheet_settings *set, const char *name, char *value, uint32_t line, bool is_column);
bool sheet_setting_is_column(const char *name);
bool sheet_setting_is_ignored(const char *name);
void sheet_settings_defaults(struct sq_sheet_settings *set);
/* upper case in place; false: something that isn't a base. @extra: other signs that are fine. */
bool sheet_bases(char *text, const char *extra);

#endif
