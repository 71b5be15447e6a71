/* Sheet, run and options together: which cycles of which lane mean what for which sample. */
#include "lib/demux/demux_internal.h"

#include <fnmatch.h>
#include <stdlib.h>

void sq_demux_options_default(struct sq_demux_options *o)
{
    *o = (struct sq_demux_options){.n_thread = 1, .memory_bytes = 512ULL << 20, .level = 1, .rule = {false, 1, 1, 2}};
}

/* ---- which lanes and tiles ---- */

/* Is @word in the list of patterns @list (commas between; NULL: all)? A pattern without `_` is for any lane. */
static bool is_listed(const char *list, uint32_t lane, uint32_t tile)
{
    char copy[512], word[32], pattern[64], *rest = copy;
    if (!list)
        return true;
    snprintf(copy, sizeof copy, "%s", list);
    snprintf(word, sizeof word, "%u_%u", lane, tile);
    for (char *one; (one = strsep(&rest, ","));) {
        snprintf(pattern, sizeof pattern, "%s%.50s", strchr(one, '_') ? "" : "*_", one);
        if (!fnmatch(pattern, word, 0))
            return true;
    }
    return false;
}

static sq_err list_check(const char *list, const char *signs, const char *field, struct sq_why *why)
{
    if (list && (!*list || strlen(list) > 500 || strspn(list, signs) != strlen(list)))
        return sq_why_set(why, sq_fail(SQ_EFIELD), 0, 0, field, "numbers with commas between are wanted, such as %s", *field == 'l' ? "1,3" : "1101,2_21*");
    return SQ_OK;
}

static bool lane_is_listed(const char *list, uint32_t lane)
{
    char copy[512], *rest = copy;
    if (!list)
        return true;
    snprintf(copy, sizeof copy, "%s", list);
    for (char *one; (one = strsep(&rest, ","));)
        if (strtoul(one, NULL, 10) == lane)
            return true;
    return false;
}

static int by_tile(const void *a, const void *b)
{
    const struct sq_run_tile *x = *(const struct sq_run_tile *const *)a, *y = *(const struct sq_run_tile *const *)b;
    return x->tile < y->tile ? -1 : x->tile > y->tile;
}

static sq_err lane_tiles(struct sq_demux_plan *p, struct demux_lane *lane)
{
    uint32_t n;
    const struct sq_run_tile *tile = sq_run_tiles(p->run, lane->no, &n);
    lane->tile = calloc((size_t)n + 1, sizeof *lane->tile);
    if (!lane->tile)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < n; i++)
        if (is_listed(p->tiles, lane->no, tile[i].tile))
            lane->tile[lane->n_tile++] = &tile[i];
    qsort(lane->tile, lane->n_tile, sizeof *lane->tile, by_tile);
    p->n_tile += lane->n_tile;
    return SQ_OK;
}

/* ---- adapters ---- */

static sq_err adapters_of(struct sq_demux_plan *p, const char *text, double stringency, const struct demux_adapters **out)
{
    *out = NULL;
    if (!text || p->options.is_adapter_left)
        return SQ_OK;
    for (uint32_t i = 0; i < p->n_adapters; i++)
        if (p->adapters[i].stringency == stringency && (p->adapters[i].text == text || !strcmp(p->adapters[i].text, text))) {
            *out = &p->adapters[i];
            return SQ_OK;
        }
    struct demux_adapters *a = &p->adapters[p->n_adapters];
    uint32_t n = 1;
    for (const char *s = text; *s; s++)
        n += *s == '+';
    *a = (struct demux_adapters){.text = text, .stringency = stringency, .n = n, .one = calloc(n, sizeof *a->one)};
    if (!a->one)
        return sq_fail(SQ_ENOMEM);
    p->n_adapters++;
    for (uint32_t i = 0; *text; text++) {
        const char *base = strchr("ACGT", *text);
        if (*text == '+')
            i++;
        else if (a->one[i].n < SQ_SHEET_MAX_ADAPTER)
            a->one[i].base[a->one[i].n++] = base ? (uint8_t)(base - "ACGT") : 4;
    }
    for (uint32_t i = 0; i < n; i++) {
        sq_err e = adapter_limits(&a->one[i], stringency, p->n_cycle);
        if (e)
            return e;
    }
    *out = a;
    return SQ_OK;
}

/* ---- groups: rows of a lane that share out the cycles alike ---- */

static bool cycles_same(const struct sq_cycles *a, const struct sq_cycles *b)
{
    for (uint32_t i = 0; i < a->n_read; i++) {
        const struct sq_cycles_mask *x = &a->read[i], *y = &b->read[i];
        if (x->n_span != y->n_span)
            return false;
        for (uint32_t k = 0; k < x->n_span; k++)
            if (x->span[k].kind != y->span[k].kind || x->span[k].from != y->span[k].from || x->span[k].n != y->span[k].n)
                return false;
    }
    return true;
}

static void spans_of(const struct sq_cycles_mask *m, const char *kinds, struct demux_spans *out)
{
    *out = (struct demux_spans){0};
    for (uint32_t i = 0; i < m->n_span; i++)
        if (strchr(kinds, m->span[i].kind)) {
            out->span[out->n_span].from = m->span[i].from;
            out->span[out->n_span++].n = m->span[i].n;
            out->n += m->span[i].n;
        }
}

static bool index_is_reverse(const struct sq_demux_plan *p, uint32_t read, uint32_t k)
{
    if (p->options.i5 != SQ_DEMUX_I5_AUTO && k == 1)
        return p->options.i5 == SQ_DEMUX_I5_REVERSE;
    return p->read[read].is_reverse && p->sheet->index_orientation != 2;
}

static void group_of(const struct sq_demux_plan *p, const struct sq_cycles *c, struct demux_group *g)
{
    *g = (struct demux_group){.cycles = *c};
    for (uint32_t i = 0, k = 0; i < c->n_read; i++) {
        if (p->read[i].is_index && k < 2) {
            spans_of(&c->read[i], "I", &g->index[k]);
            g->is_reverse[k] = index_is_reverse(p, i, k);
            k++;
        }
        if (c->read[i].n_umi)
            spans_of(&c->read[i], "U", &g->umi[g->n_umi++]);
    }
    for (uint32_t k = 0; k < p->n_kind; k++)
        spans_of(&c->read[p->kind[k].read], p->kind[k].is_index                  ? "I"
                                            : p->sheet->settings.is_umi_trimmed ? "Y"
                                                                                 : "YU",
                 &g->out[k]);
}

static sq_err row_group(struct demux_lane *lane, const struct sq_demux_plan *p, const struct sq_cycles *c, uint32_t *out)
{
    for (uint32_t i = 0; i < lane->n_group; i++)
        if (cycles_same(&lane->group[i].cycles, c)) {
            *out = i;
            return SQ_OK;
        }
    struct demux_group *more = realloc(lane->group, (lane->n_group + 1) * sizeof *more);
    if (!more)
        return sq_fail(SQ_ENOMEM);
    lane->group = more;
    group_of(p, c, &lane->group[lane->n_group]);
    *out = lane->n_group++;
    return SQ_OK;
}

/* How the cycles are shared out for a line of the sheet. False: a problem was added. */
static bool sample_cycles(const struct sq_demux_plan *p, const struct sq_sheet_sample *m, struct sq_cycles *out)
{
    char wrong[160];
    const struct sq_sheet_settings *set = &m->settings;
    static const char fix[] = "OverrideCycles has a part for each read of RunInfo.xml in order, with as many cycles as the read.";
    if (set->override_cycles) {
        if (!sq_cycles_parse(set->override_cycles, p->read, p->n_read, out, wrong)) {
            sq_sheet_problem_add(p->sheet, true, set->override_line ? set->override_line : m->line, fix, "OverrideCycles doesn't fit the run. %s", wrong);
            return false;
        }
        for (uint32_t i = 0, k = 0; i < p->n_read; i++) {
            if (!p->read[i].is_index || k > 1)
                continue;
            uint32_t n = (uint32_t)strlen(m->index[k]);
            if (n != out->read[i].n_index && !m->is_index_bad) {
                sq_sheet_problem_add(p->sheet, true, m->line, "Give as many I cycles as the index has bases; N leaves the others out.",
                                     "Index %u has %u bases, OverrideCycles has %u index cycles for it.", k + 1, n, out->read[i].n_index);
                return false;
            }
            k++;
        }
        return true;
    }
    uint32_t n[2] = {(uint32_t)strlen(m->index[0]), (uint32_t)strlen(m->index[1])};
    if (sq_cycles_default(p->read, p->n_read, n, out, wrong))
        return true;
    sq_sheet_problem_add(p->sheet, true, m->line, "Is this the sheet of this run? Correct the index, or the lane.", "%s", wrong);
    return false;
}

static sq_err row_add(struct sq_demux_plan *p, struct demux_lane *lane, const struct sq_sheet_sample *m)
{
    struct sq_cycles c;
    if (!sample_cycles(p, m, &c))
        return SQ_OK;
    struct demux_row *row = &lane->row[lane->n_row];
    *row = (struct demux_row){.sample = m, .number = m->number};
    sq_err e = row_group(lane, p, &c, &row->group);
    for (int k = 0; k < 2 && !e; k++)
        e = adapters_of(p, m->settings.adapter[k], m->settings.adapter_stringency, &row->adapter[k]);
    lane->n_row += !e;
    return e;
}

/* ---- barcodes of a lane ---- */

static void row_barcode(const struct demux_row *r, uint32_t mismatches_limit, struct sq_barcode_row *out)
{
    for (int k = 0; k < 2; k++) {
        out->index[k] = r->sample->index[k];
        out->mismatches[k] = r->sample->settings.mismatches[k];
        if (!r->sample->settings.is_mismatch_said[k] && out->mismatches[k] > mismatches_limit)
            out->mismatches[k] = mismatches_limit;
    }
}

/* The first two rows of group @g that one read could belong to. */
static bool group_collides(const struct sq_demux_plan *p, const struct demux_lane *lane, const struct demux_group *g, uint32_t limit, uint32_t out_line[2],
                           uint32_t out_distance[2])
{
    uint32_t n_base[2] = {g->index[0].n, g->index[1].n};
    for (uint32_t i = 0; i < g->n_row; i++)
        for (uint32_t j = 0; j < i; j++) {
            struct sq_barcode_row a, b;
            row_barcode(&lane->row[g->row[i]], limit, &a);
            row_barcode(&lane->row[g->row[j]], limit, &b);
            if (sq_barcodes_collide(&a, &b, n_base, &p->options.rule, p->sheet->settings.is_collision_independent, out_distance)) {
                out_line[0] = lane->row[g->row[j]].sample->line;
                out_line[1] = lane->row[g->row[i]].sample->line;
                return true;
            }
        }
    return false;
}

static sq_err group_barcodes(struct sq_demux_plan *p, struct demux_lane *lane, struct demux_group *g)
{
    uint32_t n_base[2] = {g->index[0].n, g->index[1].n}, line[2], d[2], limit = 2;
    if (g->n_row && group_collides(p, lane, g, limit, line, d)) {
        limit = 0; /* what wasn't said may be made smaller */
        uint32_t line0[2], d0[2];
        if (group_collides(p, lane, g, limit, line0, d0)) {
            bool is_same = !d0[0] && !d0[1];
            sq_sheet_problem_add(p->sheet, true, line0[1],
                                 is_same ? "Give each sample of a lane its own barcodes, or remove the line that is too many." : "Set BarcodeMismatchesIndex1 and BarcodeMismatchesIndex2 to 0, or to less for the index that is near.",
                                 is_same ? "In lane %u, lines %u and %u have the same barcodes." : "In lane %u, lines %u and %u: a read could belong to both (index 1 differs in %u bases, index 2 in %u).", lane->no, line0[0],
                                 line0[1], d0[0], d0[1]);
            return SQ_OK;
        }
        sq_sheet_problem_add(p->sheet, false, line[1], "Say BarcodeMismatchesIndex1 and BarcodeMismatchesIndex2 in the sheet if you want other numbers.",
                             "In lane %u, lines %u and %u are too near for a mismatch (%u and %u bases), so none is allowed there.", lane->no, line[0], line[1], d[0], d[1]);
    }
    struct sq_barcode_row *row = calloc((size_t)g->n_row + 1, sizeof *row);
    if (!row)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < g->n_row; i++)
        row_barcode(&lane->row[g->row[i]], limit, &row[i]);
    sq_err e = g->n_row ? sq_barcodes_new(row, g->n_row, n_base, &p->options.rule, SQ_BARCODE_VARIANTS, &g->barcodes) : SQ_OK;
    free(row);
    return e;
}

static void warn_of_lengths(struct sq_demux_plan *p, const struct demux_lane *lane)
{
    for (uint32_t i = 0, k = 0; i < p->n_read; i++) {
        if (!p->read[i].is_index || k > 1)
            continue;
        uint32_t n = lane->group[0].cycles.read[i].n_index;
        if (lane->n_row && !lane->row[0].sample->settings.override_cycles && n < p->read[i].n_cycle)
            sq_sheet_problem_add(p->sheet, false, lane->row[0].sample->line, "Say what they are in OverrideCycles if they matter, such as UMIs (U).",
                                 "In lane %u index %u has %u bases, the run %u cycles: the last %u are left out.", lane->no, k + 1, n, p->read[i].n_cycle,
                                 p->read[i].n_cycle - n);
        k++;
    }
}

static sq_err lane_rows(struct sq_demux_plan *p, struct demux_lane *lane)
{
    struct sq_sheet *s = p->sheet;
    struct sq_cycles whole;
    char wrong[160];
    lane->row = calloc((size_t)s->n_sample + 1, sizeof *lane->row);
    sq_err e = lane->row ? SQ_OK : sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < s->n_sample && !e; i++)
        if (!s->sample[i].lane || s->sample[i].lane == lane->no)
            e = row_add(p, lane, &s->sample[i]);
    if (!e && !lane->n_group) { /* no sample: Undetermined needs a shape, too */
        uint32_t none;
        if (!s->settings.override_cycles || !sq_cycles_parse(s->settings.override_cycles, p->read, p->n_read, &whole, wrong))
            sq_assert(sq_cycles_default(p->read, p->n_read, (const uint32_t[]){UINT32_MAX, UINT32_MAX}, &whole, wrong));
        e = row_group(lane, p, &whole, &none);
    }
    for (uint32_t g = 0; g < lane->n_group && !e; g++) {
        lane->group[g].row = calloc((size_t)lane->n_row + 1, sizeof *lane->group[g].row);
        if (!lane->group[g].row)
            e = sq_fail(SQ_ENOMEM);
    }
    for (uint32_t i = 0; i < lane->n_row && !e; i++) {
        struct demux_group *g = &lane->group[lane->row[i].group];
        g->row[g->n_row++] = i;
    }
    for (uint32_t g = 0; g < lane->n_group && !e; g++)
        e = group_barcodes(p, lane, &lane->group[g]);
    if (!e)
        warn_of_lengths(p, lane);
    return e;
}

/* ---- files ---- */

static void kinds_of(struct sq_demux_plan *p)
{
    uint32_t n_data = 0, n_index = 0;
    for (int pass = 0; pass < 2; pass++) /* R1, R2 come before I1, I2 */
        for (uint32_t i = 0; i < p->n_read; i++) {
            bool is_index = p->read[i].is_index;
            if (is_index != (pass == 1) || (is_index && !p->options.is_index_written && !p->sheet->settings.is_index_written) || p->n_kind == DEMUX_MAX_KINDS)
                continue;
            uint32_t no = is_index ? ++n_index : ++n_data;
            struct demux_kind *k = &p->kind[p->n_kind++];
            *k = (struct demux_kind){.is_index = is_index, .read = i, .read_no = no};
            snprintf(k->name, sizeof k->name, "%c%u", is_index ? 'I' : 'R', no % 10);
        }
}

size_t demux_n_file(const struct sq_demux_plan *p)
{
    return (size_t)(p->is_lane_joined ? 1 : p->n_lane) * (p->sheet->n_number + 1) * p->n_kind;
}

size_t demux_file_no(const struct sq_demux_plan *p, uint32_t lane, uint32_t number, uint32_t kind)
{
    return ((size_t)(p->is_lane_joined ? 0 : lane) * (p->sheet->n_number + 1) + number) * p->n_kind + kind;
}

static bool number_in_lane(const struct sq_demux_plan *p, uint32_t lane, uint32_t number, uint32_t kind, const struct sq_sheet_sample **out)
{
    const struct demux_lane *l = &p->lane[lane];
    *out = NULL;
    if (!number)
        return l->group[0].out[kind].n > 0;
    for (uint32_t i = 0; i < l->n_row; i++)
        if (l->row[i].number == number && l->group[l->row[i].group].out[kind].n) {
            *out = l->row[i].sample;
            return true;
        }
    return false;
}

bool demux_file_path(const struct sq_demux_plan *p, size_t no, char out[512])
{
    uint32_t kind = demux_file_kind(p, no), number = (uint32_t)(no / p->n_kind % (p->sheet->n_number + 1));
    uint32_t lane = (uint32_t)(no / p->n_kind / (p->sheet->n_number + 1));
    const struct sq_sheet_sample *m = NULL;
    bool is_there = p->is_lane_joined ? false : number_in_lane(p, lane, number, kind, &m);
    for (uint32_t i = 0; p->is_lane_joined && i < p->n_lane && !is_there; i++)
        is_there = number_in_lane(p, i, number, kind, &m);
    if (!is_there)
        return false;
    char lane_text[16] = "";
    if (!p->is_lane_joined)
        snprintf(lane_text, sizeof lane_text, "_L%03u", p->lane[lane].no);
    bool has_folder = m && p->options.is_project_folder && *m->project;
    const char *name = !m ? "Undetermined" : p->sheet->version == 1 && *m->name ? m->name
                                                                               : m->id;
    snprintf(out, 512, "%s%s%s_S%u%s_%s_001.fastq.gz", has_folder ? m->project : "", has_folder ? "/" : "", name, number, lane_text, p->kind[kind].name);
    return true;
}

/* ---- all together ---- */

/* ---- what can be written before the last cycle ---- */

static uint32_t end_of(const struct demux_spans *s)
{
    uint32_t end = 0;
    for (uint32_t i = 0; i < s->n_span; i++)
        end = s->span[i].from + s->span[i].n > end ? s->span[i].from + s->span[i].n : end;
    return end;
}

/* Of all samples: cycles that @kind's bases end with. */
static uint32_t kind_end(const struct sq_demux_plan *p, uint32_t kind)
{
    uint32_t end = 0;
    for (uint32_t l = 0; l < p->n_lane; l++)
        for (uint32_t g = 0; g < p->lane[l].n_group; g++) {
            uint32_t e = end_of(&p->lane[l].group[g].out[kind]);
            end = e > end ? e : end;
        }
    return end;
}

/* Indexes and UMIs stand in each header: nothing is ready before they are, nor before the first read that isn't an index. */
static void early_of(struct sq_demux_plan *p)
{
    uint32_t ready = 0, kinds = 0, first = 0;
    for (uint32_t l = 0; l < p->n_lane; l++)
        for (uint32_t g = 0; g < p->lane[l].n_group; g++) {
            const struct demux_group *group = &p->lane[l].group[g];
            for (uint32_t i = 0; i < group->n_umi + 2; i++) {
                uint32_t e = end_of(i < 2 ? &group->index[i] : &group->umi[i - 2]);
                ready = e > ready ? e : ready;
            }
        }
    while (first < p->n_kind && p->kind[first].is_index)
        first++;
    if (first < p->n_kind && kind_end(p, first) > ready)
        ready = kind_end(p, first);
    for (uint32_t k = 0; k < p->n_kind; k++)
        kinds |= kind_end(p, k) <= ready ? 1U << k : 0;
    if (ready < p->n_cycle && kinds != (1U << p->n_kind) - 1) {
        p->early_cycle = ready;
        p->early_kinds = kinds;
    }
}

struct demux_pass demux_pass_of(const struct sq_demux_plan *p, uint32_t pass)
{
    const uint32_t all = (1U << p->n_kind) - 1;
    if (pass == PASS_EARLY)
        return (struct demux_pass){p->early_kinds, p->early_cycle, 0, p->early_cycle, true};
    if (pass == PASS_REST)
        return (struct demux_pass){all & ~p->early_kinds, p->n_cycle, p->early_cycle, p->n_cycle, false};
    return (struct demux_pass){all, p->n_cycle, 0, p->n_cycle, true};
}

static uint64_t add_to_print(uint64_t h, const void *p, size_t n)
{
    const uint8_t *b = p;
    for (size_t i = 0; i < n; i++)
        h = (h ^ b[i]) * 0x100000001b3ULL;
    return h;
}

static uint64_t fingerprint_of(const struct sq_demux_plan *p)
{
    const struct sq_demux_options *o = &p->options;
    uint64_t h = 0xcbf29ce484222325ULL;
    const uint32_t words[] = {SQ_DEMUX_PIECE, SQ_DEMUX_LEAST, (uint32_t)o->level, o->rule.is_concatenated, o->rule.max_mismatch, o->rule.min_delta, o->rule.max_no_call, (uint32_t)o->i5,
                              p->is_lane_joined, o->is_project_folder, o->is_index_written, o->is_adapter_left, o->is_failed_kept, p->n_cycle, p->n_read,
                              p->n_lane, p->n_tile, (uint32_t)p->sheet->version, (uint32_t)p->sheet->index_orientation, p->n_kind};
    h = add_to_print(h, words, sizeof words);
    h = add_to_print(h, p->info->id, strlen(p->info->id));
    for (uint32_t l = 0; l < p->n_lane; l++) {
        for (uint32_t t = 0; t < p->lane[l].n_tile; t++)
            h = add_to_print(h, &(uint32_t[]){p->lane[l].no, p->lane[l].tile[t]->tile}, 8);
        for (uint32_t i = 0; i < p->lane[l].n_row; i++) {
            const struct sq_sheet_sample *m = p->lane[l].row[i].sample;
            const char *text[] = {m->id, m->name, m->project, m->index[0], m->index[1], m->settings.adapter[0], m->settings.adapter[1], m->settings.override_cycles};
            const double number[] = {m->number, m->settings.mismatches[0], m->settings.mismatches[1], m->settings.adapter_stringency, m->settings.min_adapter_overlap,
                                     m->settings.min_trimmed, m->settings.mask_short, m->settings.is_adapter_masked, m->settings.is_umi_trimmed};
            for (size_t k = 0; k < sizeof text / sizeof text[0]; k++)
                h = add_to_print(h, text[k] ? text[k] : "", text[k] ? strlen(text[k]) + 1 : 1);
            h = add_to_print(h, number, sizeof number);
        }
    }
    return h;
}

static sq_err lanes_of(struct sq_demux_plan *p, struct sq_why *why)
{
    uint32_t most = sq_run_n_lane(p->run);
    p->lane = calloc((size_t)most + 1, sizeof *p->lane);
    sq_err e = p->lane ? SQ_OK : sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < p->sheet->n_sample; i++)
        if (p->sheet->sample[i].lane > most)
            sq_sheet_problem_add(p->sheet, true, p->sheet->sample[i].line, "Is this the sheet of this run? Correct the Lane.", "The run has no lane %u.", p->sheet->sample[i].lane);
    for (uint32_t no = 1; no <= most && !e; no++) {
        bool is_wanted = !p->sheet->has_lane || !p->sheet->n_sample;
        for (uint32_t i = 0; i < p->sheet->n_sample && !is_wanted; i++)
            is_wanted = p->sheet->sample[i].lane == no;
        if (!is_wanted || !lane_is_listed(p->lanes, no))
            continue;
        struct demux_lane *lane = &p->lane[p->n_lane++];
        lane->no = no;
        e = lane_tiles(p, lane);
        if (!e)
            e = lane_rows(p, lane);
    }
    if (!e && !p->n_tile)
        e = sq_why_set(why, sq_fail(SQ_EFIELD), 0, 0, p->tiles ? "tiles" : "lanes", "no tile is left: the run has none of that number, or the sheet has no lane of it");
    return e;
}

sq_err sq_demux_plan_new(struct sq_run *run, struct sq_sheet *sheet, const struct sq_demux_options *options, struct sq_why *why, struct sq_demux_plan **out)
{
    const struct sq_run_info *info = sq_run_info_of(run);
    uint32_t n_index_read = 0;
    sq_err e = list_check(options->lanes, "0123456789,", "lanes", why);
    if (!e)
        e = list_check(options->tiles, "0123456789,_?*[]-", "tiles", why);
    if (e)
        return e;
    struct sq_demux_plan *p = calloc(1, sizeof *p);
    if (!p)
        return sq_fail(SQ_ENOMEM);
    *p = (struct sq_demux_plan){.run = run, .info = info, .sheet = sheet, .options = *options, .n_cycle = info->n_cycle, .n_read = info->n_read};
    p->is_lane_joined = options->is_lane_joined || sheet->settings.is_lane_joined;
    p->lanes = options->lanes ? strdup(options->lanes) : NULL;
    p->tiles = options->tiles ? strdup(options->tiles) : NULL;
    p->adapters = calloc(2 * (size_t)sheet->n_sample * SQ_RUN_MAX_LANES + 1, sizeof *p->adapters);
    for (uint32_t i = 0; i < info->n_read && i < SQ_CYCLES_MAX_READS; i++) {
        p->read[i] = (struct sq_cycles_read){info->read[i].n_cycle, info->read[i].is_index, info->read[i].is_reverse_complement};
        n_index_read += info->read[i].is_index;
    }
    if (!p->adapters || (p->lanes == NULL) != (options->lanes == NULL) || (p->tiles == NULL) != (options->tiles == NULL))
        e = sq_fail(SQ_ENOMEM);
    else if (!info->n_read || info->n_read > SQ_CYCLES_MAX_READS || n_index_read > 2)
        e = sq_why_set(why, sq_fail(SQ_ERUNINFO), 0, 0, "Reads", "a run has 1 to %u reads, of which at most 2 are index reads; this one has %u and %u", SQ_CYCLES_MAX_READS,
                       info->n_read, n_index_read);
    if (!e) {
        kinds_of(p);
        e = p->n_kind ? lanes_of(p, why) : sq_why_set(why, sq_fail(SQ_ERUNINFO), 0, 0, "Reads", "there is no read but index reads");
    }
    if (!e && sheet->n_error)
        e = sq_fail(SQ_ESHEET);
    if (e) {
        sq_demux_plan_free(p);
        return e;
    }
    early_of(p);
    p->fingerprint = fingerprint_of(p);
    *out = p;
    return SQ_OK;
}

void sq_demux_plan_free(struct sq_demux_plan *p)
{
    if (!p)
        return;
    for (uint32_t i = 0; i < p->n_lane; i++) {
        struct demux_lane *lane = &p->lane[i];
        for (uint32_t g = 0; g < lane->n_group; g++) {
            sq_barcodes_free(lane->group[g].barcodes);
            free(lane->group[g].row);
        }
        free(lane->group);
        free(lane->row);
        free(lane->tile);
    }
    for (uint32_t i = 0; i < p->n_adapters; i++) {
        for (uint32_t k = 0; k < p->adapters[i].n; k++)
            free(p->adapters[i].one[k].most);
        free(p->adapters[i].one);
    }
    free(p->adapters);
    free(p->lane);
    free(p->lanes);
    free(p->tiles);
    free(p);
}
