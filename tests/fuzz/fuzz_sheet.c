/*
 * Sample sheets, and OverrideCycles against a run. Input: one byte that chooses the run's reads | the sheet, or, with bit 7 of that byte, the
 * text of OverrideCycles. What is read is within its limits, whatever was said.
 */
#include "lib/demux/barcodes.h"
#include "lib/demux/override_cycles.h"
#include "lib/demux/sample_sheet.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct sq_cycles_read runs[][4] = {
    {{151, false, false}, {8, true, false}, {8, true, true}, {151, false, false}},
    {{36, false, false}, {10, true, false}, {10, true, false}, {36, false, false}},
    {{1, true, false}, {4000, false, false}, {0, true, false}, {2, false, false}},
};

static void cycles(const char *text, const struct sq_cycles_read *read, uint32_t n_read)
{
    struct sq_cycles c;
    char wrong[160] = "";
    bool looks = sq_cycles_look_right(text);
    if (!sq_cycles_parse(text, read, n_read, &c, wrong)) {
        sq_assert(*wrong);
        return;
    }
    sq_assert(looks && c.n_read == n_read);
    for (uint32_t i = 0, at = 0; i < n_read; at += read[i++].n_cycle) {
        uint32_t end = at;
        for (uint32_t k = 0; k < c.read[i].n_span; k++) {
            sq_assert(c.read[i].span[k].from == end && c.read[i].span[k].n > 0);
            end += c.read[i].span[k].n;
        }
        sq_assert(end == at + read[i].n_cycle && c.read[i].n_umi <= SQ_CYCLES_MAX_UMI);
    }
}

static void sheet(const uint8_t *p, size_t n)
{
    struct sq_sheet *s;
    if (sq_sheet_parse(p, n, &s))
        return;
    uint32_t n_error = 0, n_number = 0;
    for (uint32_t i = 0; i < s->n_problem; i++) {
        sq_assert(*s->problem[i].what && *s->problem[i].fix);
        n_error += s->problem[i].is_error;
    }
    sq_assert(n_error <= s->n_error && (s->n_problem < SQ_SHEET_MAX_PROBLEMS ? n_error == s->n_error : true));
    for (uint32_t i = 0; i < s->n_sample; i++) {
        const struct sq_sheet_sample *m = &s->sample[i];
        sq_assert(m->number >= 1 && m->number <= n_number + 1 && m->line > 0);
        n_number += m->number == n_number + 1;
        for (int k = 0; k < 2; k++) {
            sq_assert(strlen(m->index[k]) <= SQ_SHEET_MAX_INDEX && strspn(m->index[k], "ACGTN") == strlen(m->index[k]));
            sq_assert(m->settings.mismatches[k] <= 2);
            char back[SQ_BARCODE_MAX + 1];
            sq_barcode_text(sq_barcode_key_text(m->index[k]), (uint32_t)strlen(m->index[k]), back);
            sq_assert(!strcmp(back, m->index[k]));
        }
        if (!s->n_error)
            sq_assert(*m->id && !strchr(m->id, '/') && !strchr(m->project, '/') && m->id[0] != '.' && m->project[0] != '.');
        if (m->settings.override_cycles)
            cycles(m->settings.override_cycles, runs[0], 4);
    }
    sq_assert(n_number == s->n_number);
    sq_sheet_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > (1 << 20))
        return 0;
    if (!(data[0] & 0x80)) {
        sheet(data + 1, size - 1);
        return 0;
    }
    char *text = calloc(1, size);
    sq_assert(text);
    memcpy(text, data + 1, size - 1);
    cycles(text, runs[data[0] % 3], 1 + (data[0] >> 2) % 4);
    free(text);
    return 0;
}
