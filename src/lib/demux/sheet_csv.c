/* Lines and cells of a sheet, RFC 4180 with the liberties that spreadsheets take. */
#include "lib/demux/sheet_internal.h"

static char *trim(char *from, char *end)
{
    while (from < end && (*from == ' ' || *from == '\t'))
        from++;
    while (end > from && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *end = 0;
    return from;
}

/* A quoted cell, written back over itself. *at stands behind the opening quote, and is left at the comma or the line's end. */
static char *quoted(struct sheet_csv *csv, uint32_t *out_lines)
{
    char *from = csv->at, *to = csv->at;
    for (; csv->at < csv->end; csv->at++) {
        if (*csv->at == '"' && csv->at + 1 < csv->end && csv->at[1] == '"') {
            csv->at++;
        } else if (*csv->at == '"') {
            csv->at++;
            while (csv->at < csv->end && *csv->at != ',' && *csv->at != '\n' && *csv->at != '\r')
                csv->at++; /* blanks, or what has no business there */
            return trim(from, to);
        }
        *out_lines += *csv->at == '\n';
        *to++ = *csv->at;
    }
    csv->has_open_quote = true;
    return trim(from, to);
}

bool sheet_csv_next(struct sheet_csv *csv, struct sheet_row *out)
{
    uint32_t lines = 0;
    if (csv->at >= csv->end)
        return false;
    out->line = ++csv->line;
    out->n_cell = 0;
    out->is_blank = true;
    for (bool is_more = true; is_more;) {
        char *cell, stop;
        while (csv->at < csv->end && (*csv->at == ' ' || *csv->at == '\t'))
            csv->at++;
        if (csv->at < csv->end && *csv->at == '"') {
            csv->at++;
            cell = quoted(csv, &lines);
            stop = csv->at < csv->end ? *csv->at : '\n';
        } else {
            char *from = csv->at;
            while (csv->at < csv->end && *csv->at != ',' && *csv->at != '\n' && *csv->at != '\r')
                csv->at++;
            stop = csv->at < csv->end ? *csv->at : '\n';
            cell = trim(from, csv->at); /* there is a byte more behind the text */
        }
        if (out->n_cell < SHEET_MAX_CELLS)
            out->cell[out->n_cell++] = cell;
        else
            csv->has_too_many = true;
        out->is_blank = out->is_blank && !*cell;
        is_more = stop == ',' && csv->at < csv->end;
        if (csv->at < csv->end)
            csv->at++;
        if (stop == '\r' && csv->at < csv->end && *csv->at == '\n')
            csv->at++;
    }
    csv->line += lines;
    while (out->n_cell > 1 && !*out->cell[out->n_cell - 1])
        out->n_cell--;
    return true;
}
