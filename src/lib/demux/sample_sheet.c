#include "lib/demux/sheet_internal.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum section { OTHER,
               HEADER,
               READS,
               SETTINGS,
               DATA };

/* columns of the samples that aren't settings */
enum column { COL_LANE,
              COL_ID,
              COL_NAME,
              COL_PROJECT,
              COL_INDEX,
              COL_INDEX2,
              COL_COUNT };
static const char *const column_names[COL_COUNT][3] = {
    {"Lane"}, {"Sample_ID", "SampleID"}, {"Sample_Name", "SampleName"}, {"Sample_Project", "Project"}, {"index", "Index1"}, {"index2"}};

struct reader {
    struct sq_sheet *s;
    enum section section;
    bool is_strict;                 /* an unknown setting is an error */
    bool has_data, has_own_data;    /* a BCLConvert_Data section was seen */
    bool has_columns, has_adapter2;
    int column[COL_COUNT];
    uint32_t n_setting; /* columns that are settings */
    struct {
        const char *name;
        uint32_t column;
    } setting[SHEET_MAX_CELLS];
    uint32_t cap_sample, n_column;
};

void sq_sheet_problem_add(struct sq_sheet *s, bool is_error, uint32_t line, const char *fix, const char *what, ...)
{
    struct sq_sheet_problem p = {.line = line, .is_error = is_error};
    va_list args;
    va_start(args, what);
    vsnprintf(p.what, sizeof p.what, what, args);
    va_end(args);
    snprintf(p.fix, sizeof p.fix, "%s", fix);
    for (uint32_t i = 0; i < s->n_problem; i++)
        if (s->problem[i].line == line && s->problem[i].is_error == is_error && !strcmp(s->problem[i].what, p.what))
            return; /* of a line of the settings, found again with each sample */
    s->n_error += is_error;
    if (s->n_problem >= SQ_SHEET_MAX_PROBLEMS)
        return;
    if (!s->problem && !(s->problem = calloc(SQ_SHEET_MAX_PROBLEMS, sizeof *s->problem)))
        return; /* counted all the same */
    s->problem[s->n_problem++] = p;
}

/* [Name] in the first cell. */
static bool section_start(struct reader *r, const struct sheet_row *row)
{
    char *name = row->cell[0];
    size_t n = strlen(name);
    if (n < 2 || name[0] != '[' || name[n - 1] != ']')
        return false;
    bool is_own = !strncasecmp(name, "[BCLConvert_", 12), was_data = r->has_data;
    const char *rest = is_own ? name + 12 : name + 1;
    r->section = !strcasecmp(rest, "Settings]")            ? SETTINGS
                 : !strcasecmp(rest, "Data]")              ? DATA
                 : !is_own && !strcasecmp(rest, "Header]") ? HEADER
                 : !is_own && !strcasecmp(rest, "Reads]")  ? READS
                                                           : OTHER;
    r->is_strict = is_own;
    if (r->section == DATA) {
        if (was_data)
            sq_sheet_problem_add(r->s, true, row->line, "Keep one section with the samples and take the other out.", "There is a second section with samples.");
        r->has_data = true;
        r->has_own_data = is_own;
        r->has_columns = false;
    }
    if (is_own)
        r->s->version = 2;
    return true;
}

static void header_line(struct reader *r, const struct sheet_row *row)
{
    struct sq_sheet *s = r->s;
    const char *key = row->cell[0], *value = row->n_cell > 1 ? row->cell[1] : "";
    if (!strcasecmp(key, "FileFormatVersion")) {
        s->version = !strcmp(value, "2") ? 2 : s->version;
        if (strcmp(value, "2") && strcmp(value, "1"))
            sq_sheet_problem_add(s, true, row->line, "Write FileFormatVersion,2 (or leave the line out in a sheet of version 1).", "This version of sample sheets isn't known.");
    } else if (!strcasecmp(key, "IndexOrientation")) {
        s->index_orientation = !strcasecmp(value, "Forward") ? 1 : 2;
        if (!*value)
            s->index_orientation = 0;
        else if (s->index_orientation == 2 && strcasecmp(value, "Reverse") && strcasecmp(value, "ReverseComplement") && strcasecmp(value, "Reverse Complement"))
            sq_sheet_problem_add(s, true, row->line, "Write IndexOrientation,Forward (index 2 as in the library kit's list for forward workflows) or IndexOrientation,Reverse.",
                                 "The value of IndexOrientation isn't understood.");
    } else if (!strcasecmp(key, "RunName") || !strcasecmp(key, "Experiment Name")) {
        s->run_name = value;
    }
}

static void settings_line(struct reader *r, const struct sheet_row *row)
{
    struct sq_sheet *s = r->s;
    char *name = row->cell[0], empty[1] = "";
    if (!strcasecmp(name, "AdapterRead2"))
        r->has_adapter2 = true;
    if (sheet_setting(s, &s->settings, name, row->n_cell > 1 ? row->cell[1] : empty, row->line, false) || sheet_setting_is_ignored(name))
        return;
    sq_sheet_problem_add(s, r->is_strict, row->line, "Check its spelling, or take the line out; docs/demux.md lists the settings.",
                         r->is_strict ? "A setting isn't known." : "A setting isn't known and is left out.");
}

static void columns_line(struct reader *r, const struct sheet_row *row)
{
    for (int c = 0; c < COL_COUNT; c++)
        r->column[c] = -1;
    r->n_setting = 0;
    r->n_column = row->n_cell;
    r->has_columns = true;
    for (uint32_t i = 0; i < row->n_cell; i++) {
        const char *name = row->cell[i];
        for (int c = 0; c < COL_COUNT; c++)
            for (int k = 0; k < 3 && column_names[c][k]; k++)
                if (!strcasecmp(name, column_names[c][k])) {
                    if (r->column[c] >= 0)
                        sq_sheet_problem_add(r->s, true, row->line, "Keep one of the two columns.", "Column %u is named as column %u is.", i + 1, (unsigned)r->column[c] + 1);
                    r->column[c] = (int)i;
                }
        if (sheet_setting_is_column(name)) {
            r->setting[r->n_setting].name = name;
            r->setting[r->n_setting++].column = i;
        }
    }
    r->s->has_lane = r->column[COL_LANE] >= 0;
    if (r->column[COL_ID] < 0)
        sq_sheet_problem_add(r->s, true, row->line, "Name the column with the samples' names Sample_ID.", "The samples have no column Sample_ID.");
}

static char *cell_of(const struct reader *r, const struct sheet_row *row, enum column c)
{
    static char empty[1] = "";
    int at = r->column[c];
    return at >= 0 && (uint32_t)at < row->n_cell ? row->cell[at] : empty;
}

/* Names become parts of file names. */
static bool name_is_fine(const char *name)
{
    size_t n = strlen(name);
    if (n > SQ_SHEET_MAX_NAME || name[0] == '.' || name[0] == '-')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("-_.", name[i]))
            return false;
    return true;
}

static void names_of(struct reader *r, const struct sheet_row *row, struct sq_sheet_sample *m)
{
    static const char fix[] = "Use letters, digits, - _ and . only, at most 100, and no . or - in front.";
    m->id = cell_of(r, row, COL_ID);
    m->name = cell_of(r, row, COL_NAME);
    m->project = cell_of(r, row, COL_PROJECT);
    if (!*m->id)
        sq_sheet_problem_add(r->s, true, row->line, "Give each sample a Sample_ID.", "The sample has no Sample_ID.");
    if (!name_is_fine(m->id))
        sq_sheet_problem_add(r->s, true, row->line, fix, "The Sample_ID can't be part of a file's name.");
    if (r->s->version == 1 && !name_is_fine(m->name))
        sq_sheet_problem_add(r->s, true, row->line, fix, "The Sample_Name can't be part of a file's name.");
    if (!name_is_fine(m->project))
        sq_sheet_problem_add(r->s, true, row->line, fix, "The Sample_Project can't be the name of a folder.");
    if (!strcasecmp(m->id, "Undetermined") || (r->s->version == 1 && !strcasecmp(m->name, "Undetermined")))
        sq_sheet_problem_add(r->s, true, row->line, "Choose another name.", "Undetermined is the name of what belongs to no sample.");
}

static void sample_line(struct reader *r, const struct sheet_row *row)
{
    struct sq_sheet *s = r->s;
    if (r->column[COL_ID] < 0)
        return;
    if (s->n_sample == SQ_SHEET_MAX_SAMPLES) {
        sq_sheet_problem_add(s, true, row->line, "Split the sheet.", "There are more than %u samples.", SQ_SHEET_MAX_SAMPLES);
        r->section = OTHER;
        return;
    }
    if (s->n_sample == r->cap_sample) {
        uint32_t cap = r->cap_sample ? 2 * r->cap_sample : 64;
        struct sq_sheet_sample *more = realloc(s->sample, cap * sizeof *more);
        if (!more) {
            sq_sheet_problem_add(s, true, row->line, "Free some memory.", "There is no memory for so many samples.");
            r->section = OTHER;
            return;
        }
        s->sample = more;
        r->cap_sample = cap;
    }
    struct sq_sheet_sample *m = &s->sample[s->n_sample];
    *m = (struct sq_sheet_sample){.line = row->line};
    if (row->n_cell > r->n_column)
        sq_sheet_problem_add(s, false, row->line, "Put a text that holds a comma in double quotes.", "The line has %u fields, the headings %u.", row->n_cell, r->n_column);
    names_of(r, row, m);
    const char *lane = cell_of(r, row, COL_LANE);
    char *end = NULL;
    unsigned long no = *lane ? strtoul(lane, &end, 10) : 0;
    if (*lane && (*end || no < 1 || no > 255 || !isdigit((unsigned char)*lane)))
        sq_sheet_problem_add(s, true, row->line, "Give one number, or take the column out when all samples are in all lanes.", "The Lane isn't a number.");
    else if (s->has_lane && !*lane)
        sq_sheet_problem_add(s, true, row->line, "Fill the column in each line, or take it out.", "The line has no Lane.");
    m->lane = no <= 255 ? (uint32_t)no : 0;
    for (int k = 0; k < 2; k++) {
        char *index = cell_of(r, row, k ? COL_INDEX2 : COL_INDEX);
        if (!strcasecmp(index, "na") || !strcasecmp(index, "n/a"))
            *index = 0;
        if (!sheet_bases(index, "")) {
            sq_sheet_problem_add(s, true, row->line, "Use A, C, G, T and N only.", "Index %d holds something else than bases.", k + 1);
            *index = 0;
            m->is_index_bad = true;
        }
        if (strlen(index) > SQ_SHEET_MAX_INDEX) {
            sq_sheet_problem_add(s, true, row->line, "Give the bases of the index alone.", "Index %d is longer than %u bases.", k + 1, SQ_SHEET_MAX_INDEX);
            *index = 0;
            m->is_index_bad = true;
        }
        m->index[k] = index;
    }
    if (*m->index[1] && !*m->index[0] && !m->is_index_bad)
        sq_sheet_problem_add(s, true, row->line, "Fill both columns, or index alone.", "There is an index2 without an index.");
    s->n_sample++;
    sheet_settings_defaults(&m->settings); /* those of the run come first, once all are read */
}

/* Settings in columns, and those of the run for all others: only now all of these are known. */
static void settle(struct reader *r, const struct sheet_row *row, struct sq_sheet_sample *m)
{
    m->settings = r->s->settings;
    for (uint32_t i = 0; i < r->n_setting; i++)
        if (r->setting[i].column < row->n_cell)
            sheet_setting(r->s, &m->settings, r->setting[i].name, row->cell[r->setting[i].column], row->line, true);
}

struct by_id {
    const char *id;
    uint32_t at;
};

static int by_id(const void *a, const void *b)
{
    const struct by_id *x = a, *y = b;
    int c = strcmp(x->id, y->id);
    return c ? c : x->at < y->at ? -1
                                 : x->at > y->at;
}

/* S numbers: by first appearance. Equal Sample_IDs are one sample, so their other names must be equal, too. */
static sq_err number_samples(struct sq_sheet *s)
{
    struct by_id *order = calloc((size_t)s->n_sample + 1, sizeof *order);
    if (!order)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < s->n_sample; i++)
        order[i] = (struct by_id){s->sample[i].id, i};
    qsort(order, s->n_sample, sizeof *order, by_id);
    uint32_t *first = calloc((size_t)s->n_sample + 1, sizeof *first);
    if (!first) {
        free(order);
        return sq_fail(SQ_ENOMEM);
    }
    for (uint32_t i = 0, head = 0; i < s->n_sample; i++) {
        if (strcmp(order[i].id, order[head].id))
            head = i;
        first[order[i].at] = order[head].at;
    }
    for (uint32_t i = 0; i < s->n_sample; i++) {
        struct sq_sheet_sample *m = &s->sample[i], *f = &s->sample[first[i]];
        m->number = f == m ? ++s->n_number : f->number;
        if (strcmp(m->project, f->project) || (s->version == 1 && strcmp(m->name, f->name)))
            sq_sheet_problem_add(s, true, m->line, "Lines of one sample need the same names; give different samples different Sample_IDs.",
                                 "The Sample_ID is that of line %u, but name or project differ.", f->line);
    }
    free(order);
    free(first);
    return SQ_OK;
}

/* Two samples may not write the same file: the name's end, and _S<n>, keep v1 names apart unless equal. */
static bool looks_wrong(struct sq_sheet *s, const uint8_t *p, size_t n)
{
    const char *what = NULL, *fix = NULL;
    const char *line_end = n ? memchr(p, '\n', n) : NULL;
    size_t n_first = line_end ? (size_t)(line_end - (const char *)p) : n;
    if (n >= 2 && ((p[0] == 0xff && p[1] == 0xfe) || (p[0] == 0xfe && p[1] == 0xff)))
        what = "The file is UTF-16 text.", fix = "Save it as CSV (UTF-8).";
    else if (n >= 4 && !memcmp(p, "PK\3\4", 4))
        what = "The file is a spreadsheet, not CSV.", fix = "Save it as CSV.";
    else if (n && memchr(p, 0, n))
        what = "The file holds bytes that are no text.", fix = "Save it as CSV (UTF-8).";
    else if (p && n_first && n_first < 4096 && !memchr(p, ',', n_first) && (memmem(p, n, "Sample_ID;", 10) || memmem(p, n, ";Sample_ID", 10) || memmem(p, n, "\tSample_ID", 10) || memmem(p, n, "Sample_ID\t", 10)))
        what = "Fields are not separated by commas.", fix = "Save it as CSV with commas: some spreadsheets write semicolons or tabs.";
    if (what)
        sq_sheet_problem_add(s, true, 0, fix, "%s", what);
    return what != NULL;
}

/* Both passes walk the same text: cells are unquoted in place by the first, so each has its own copy. */
static void walk(struct reader *r, char *text, size_t n, bool is_second)
{
    struct sheet_csv csv = {.at = text, .end = text + n};
    struct sheet_row row;
    uint32_t no = 0;
    r->section = OTHER;
    while (sheet_csv_next(&csv, &row)) {
        if (row.is_blank)
            continue;
        if (is_second) {
            if (no < r->s->n_sample && row.line == r->s->sample[no].line)
                settle(r, &row, &r->s->sample[no++]);
            continue;
        }
        if (section_start(r, &row))
            continue;
        switch (r->section) {
        case HEADER: header_line(r, &row); break;
        case SETTINGS: settings_line(r, &row); break;
        case DATA: (r->has_columns ? sample_line : columns_line)(r, &row); break;
        case READS: case OTHER: break;
        }
    }
    if (csv.has_open_quote && !is_second)
        sq_sheet_problem_add(r->s, true, row.line, "Close the quote.", "A double quote is opened and never closed.");
    if (csv.has_too_many && !is_second)
        sq_sheet_problem_add(r->s, true, 0, "Take columns out.", "A line has more than %u fields.", SHEET_MAX_CELLS);
}

sq_err sq_sheet_new_empty(struct sq_sheet **out)
{
    struct sq_sheet *s = calloc(1, sizeof *s);
    if (!s)
        return sq_fail(SQ_ENOMEM);
    s->version = 2;
    s->run_name = "";
    sheet_settings_defaults(&s->settings);
    *out = s;
    return SQ_OK;
}

sq_err sq_sheet_parse(const void *p, size_t n, struct sq_sheet **out)
{
    const uint8_t *from = p;
    if (n > SQ_SHEET_MAX_BYTES)
        return sq_fail(SQ_ETOOBIG);
    if (n >= 3 && !memcmp(from, "\xef\xbb\xbf", 3))
        from += 3, n -= 3;
    struct sq_sheet *s;
    sq_err e = sq_sheet_new_empty(&s);
    if (e)
        return e;
    struct reader *r = calloc(1, sizeof *r);
    s->text = malloc(2 * (n + 1)); /* a copy for each pass */
    s->version = 1;
    if (!s->text || !r) {
        e = sq_fail(SQ_ENOMEM);
        goto out;
    }
    r->s = s;
    if (n)
        memcpy(s->text, from, n);
    s->text[n] = 0;
    memcpy(s->text + n + 1, s->text, n + 1);
    if (!looks_wrong(s, from, n)) {
        walk(r, s->text, n, false);
        if (s->settings.adapter[0] && !s->settings.adapter[1] && !r->has_adapter2 && s->version == 1)
            s->settings.adapter[1] = s->settings.adapter[0]; /* version 1: one adapter is for both reads */
        walk(r, s->text + n + 1, n, true);
        if (!r->has_data)
            sq_sheet_problem_add(s, true, 0, "Add a section [BCLConvert_Data] with the columns Sample_ID and Index; see docs/demux.md.", "The sheet has no section with samples.");
        else if (!s->n_sample)
            sq_sheet_problem_add(s, false, 0, "Add a line for each sample.", "The sheet has no samples: everything goes to Undetermined.");
        e = number_samples(s);
    }
out:
    free(r);
    if (e) {
        sq_sheet_free(s);
        return e;
    }
    *out = s;
    return SQ_OK;
}

void sq_sheet_free(struct sq_sheet *s)
{
    if (!s)
        return;
    free(s->sample);
    free(s->problem);
    free(s->text);
    free(s);
}
