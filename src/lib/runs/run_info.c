/* RunInfo.xml of versions 2 to 6 and RunParameters.xml of every platform, by names: what stands where differs between them. */
#include "lib/runs/runs_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* ---- RunInfo ---- */

struct info_reader {
    struct sq_run_info *info;
    struct sq_run_why *why;
    uint32_t cap_tile;
    bool has_run;
};

static const char *last_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static const char *attribute(const char **att, const char *name)
{
    for (; *att; att += 2)
        if (!strcmp(att[0], name))
            return att[1];
    return NULL;
}

/* text from outside without control characters, cut to the room there is */
static void take_text(const char *from, char *out, size_t size)
{
    size_t n = 0;
    for (; from && *from && n + 1 < size; from++)
        if ((unsigned char)*from >= ' ' && *from != 127)
            out[n++] = *from;
    while (n && ((unsigned char)out[n - 1] & 0xc0) == 0x80 && from && *from) /* don't cut within a UTF-8 character */
        n--;
    out[n] = 0;
}

/* an attribute that must be a number when it is there; absent: 0 */
static sq_err take_number(struct info_reader *r, const char **att, const char *name, uint64_t most, uint32_t *out)
{
    const char *text = attribute(att, name);
    uint64_t v = 0;
    if (text && *text && !run_xml_number(text, most, &v))
        return run_bad(r->why, sq_fail(SQ_ERUNINFO), "%s isn't a whole number of at most %llu", name, (unsigned long long)most);
    *out = (uint32_t)v;
    return SQ_OK;
}

static bool is_yes(const char *text)
{
    return text && (*text == 'Y' || *text == 'y' || !strcasecmp(text, "true"));
}

static sq_err take_read(struct info_reader *r, const char **att)
{
    struct sq_run_info *info = r->info;
    struct sq_run_read read = {.is_index = is_yes(attribute(att, "IsIndexedRead")), .is_reverse_complement = is_yes(attribute(att, "IsReverseComplement"))};
    sq_err e = take_number(r, att, "Number", 1000, &read.number);
    if (!e)
        e = take_number(r, att, "NumCycles", SQ_RUN_MAX_CYCLES, &read.n_cycle);
    if (e || !read.n_cycle)
        return e;
    if (!read.number)
        read.number = info->n_read + 1;
    if (info->n_read == SQ_RUN_MAX_READS)
        return run_bad(r->why, sq_fail(SQ_ERUNINFO), "more than %u reads", SQ_RUN_MAX_READS);
    uint32_t at = info->n_read;
    while (at && info->read[at - 1].number > read.number) {
        info->read[at] = info->read[at - 1];
        at--;
    }
    if (at && info->read[at - 1].number == read.number)
        return run_bad(r->why, sq_fail(SQ_ERUNINFO), "read %u is there twice", read.number);
    info->read[at] = read;
    info->n_read++;
    return SQ_OK;
}

static sq_err take_layout(struct info_reader *r, const char **att)
{
    struct sq_run_info *i = r->info;
    const struct {
        const char *name;
        uint64_t most;
        uint32_t *out;
    } rows[] = {{"LaneCount", SQ_RUN_MAX_LANES, &i->n_lane},          {"SurfaceCount", SQ_RUN_MAX_SURFACES, &i->n_surface}, {"SwathCount", 99, &i->n_swath},
                {"TileCount", 9999, &i->n_tile_of_swath},             {"SectionPerLane", 99, &i->n_section},               {"LanePerSection", 99, &i->n_lane_of_section}};
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++) {
        sq_err e = take_number(r, att, rows[k].name, rows[k].most, rows[k].out);
        if (e)
            return e;
    }
    take_text(attribute(att, "FlowcellSide"), i->side, sizeof i->side);
    return SQ_OK;
}

static sq_err info_element(void *ctx, const char *path, const char **att)
{
    struct info_reader *r = ctx;
    struct sq_run_info *i = r->info;
    const char *name = last_of(path);
    if (!strcmp(path, "RunInfo"))
        return take_number(r, att, "Version", 1000, &i->version);
    if (!strcmp(name, "Run")) {
        r->has_run = true;
        take_text(attribute(att, "Id"), i->id, sizeof i->id);
        const char *number = attribute(att, "Number");
        if (number && *number && !run_xml_number(number, UINT32_MAX, &i->number))
            return run_bad(r->why, sq_fail(SQ_ERUNINFO), "the number of the run isn't a whole number");
    }
    if (!strcmp(name, "Read"))
        return take_read(r, att);
    if (!strcmp(name, "FlowcellLayout"))
        return take_layout(r, att);
    if (!strcmp(name, "TileSet")) {
        const char *naming = attribute(att, "TileNamingConvention");
        i->naming = !naming                        ? SQ_TILES_UNSAID
                    : !strcmp(naming, "FourDigit") ? SQ_TILES_FOUR_DIGIT
                    : !strcmp(naming, "FiveDigit") ? SQ_TILES_FIVE_DIGIT
                    : !strcmp(naming, "Absolute")  ? SQ_TILES_ABSOLUTE
                                                   : SQ_TILES_UNSAID;
    }
    return SQ_OK;
}

static sq_err take_tile(struct info_reader *r, const char *text)
{
    struct sq_run_info *i = r->info;
    char lane[8];
    const char *bar = strchr(text, '_');
    uint64_t n_lane = 0, n_tile = 0;
    size_t n = bar ? (size_t)(bar - text) : 0;
    if (!n || n >= sizeof lane)
        return run_bad(r->why, sq_fail(SQ_ERUNINFO), "a tile isn't written as lane_tile");
    memcpy(lane, text, n);
    lane[n] = 0;
    if (!run_xml_number(lane, SQ_RUN_MAX_LANES, &n_lane) || !run_xml_number(bar + 1, 999999, &n_tile) || !n_lane || !n_tile)
        return run_bad(r->why, sq_fail(SQ_ERUNINFO), "a tile isn't written as lane_tile, with a lane of at most %u", SQ_RUN_MAX_LANES);
    if (i->n_tile == SQ_RUN_MAX_TILES)
        return run_bad(r->why, sq_fail(SQ_ERUNINFO), "more than %u tiles", SQ_RUN_MAX_TILES);
    if (i->n_tile == r->cap_tile) {
        uint32_t cap = r->cap_tile ? r->cap_tile * 2 : 256;
        struct sq_run_tile *p = reallocarray(i->tile, cap, sizeof *p);
        if (!p)
            return sq_fail(SQ_ENOMEM);
        i->tile = p;
        r->cap_tile = cap;
    }
    i->tile[i->n_tile++] = (struct sq_run_tile){.lane = (uint32_t)n_lane, .tile = (uint32_t)n_tile};
    return SQ_OK;
}

/* "130318", "4/7/2017 2:41:18 PM", "2024-03-05T09:00:00Z" to ISO 8601; what is none of them stays empty */
static void take_date(const char *text, char out[32])
{
    unsigned y = 0, mo = 0, d = 0, h = 0, mi = 0, s = 0;
    char half[4] = "", rest[2];
    if (strspn(text, "0123456789") == 6 && strlen(text) == 6 && sscanf(text, "%2u%2u%2u", &y, &mo, &d) == 3)
        snprintf(out, 32, "20%02u-%02u-%02u", y % 100, mo % 100, d % 100);
    else if (sscanf(text, "%2u/%2u/%4u %2u:%2u:%2u %2[APMapm]%1s", &mo, &d, &y, &h, &mi, &s, half, rest) == 7 && h >= 1 && h <= 12)
        snprintf(out, 32, "%04u-%02u-%02uT%02u:%02u:%02u", y % 10000, mo % 100, d % 100, h % 12 + ((*half | 32) == 'p' ? 12U : 0U), mi % 100, s % 100);
    else if (strlen(text) < 32 && strspn(text, "0123456789-:.TZ+") == strlen(text) && sscanf(text, "%4u-%2u-%2u", &y, &mo, &d) == 3)
        snprintf(out, 32, "%s", text);
    if (mo < 1 || mo > 12 || d < 1 || d > 31)
        out[0] = 0;
}

static sq_err info_text(void *ctx, const char *path, const char *text)
{
    struct info_reader *r = ctx;
    struct sq_run_info *i = r->info;
    const char *name = last_of(path);
    if (!strcmp(name, "Tile"))
        return take_tile(r, text);
    if (!strcmp(name, "Flowcell") && !i->flowcell[0])
        take_text(text, i->flowcell, sizeof i->flowcell);
    else if (!strcmp(name, "Instrument") && !i->instrument[0])
        take_text(text, i->instrument, sizeof i->instrument);
    else if (!strcmp(name, "Date") && !i->date[0])
        take_date(text, i->date);
    else if (!strcmp(name, "Name") && strstr(path, "ImageChannels/") && i->n_channel < SQ_RUN_MAX_CHANNELS)
        take_text(text, i->channel[i->n_channel++], sizeof i->channel[0]);
    return SQ_OK;
}

struct listed {
    uint32_t lane, tile, place;
};

static int by_tile(const void *a, const void *b)
{
    const struct listed *x = a, *y = b;
    if (x->lane != y->lane)
        return x->lane < y->lane ? -1 : 1;
    if (x->tile != y->tile)
        return x->tile < y->tile ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

/* Each tile once, in the order of the list, with its surface. */
static sq_err settle_tiles(struct sq_run_info *i)
{
    if (!i->n_tile)
        return SQ_OK;
    struct listed *l = calloc(i->n_tile, sizeof *l);
    if (!l)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t k = 0; k < i->n_tile; k++)
        l[k] = (struct listed){i->tile[k].lane, i->tile[k].tile, k};
    qsort(l, i->n_tile, sizeof *l, by_tile);
    for (uint32_t k = 1; k < i->n_tile; k++)
        if (l[k].lane == l[k - 1].lane && l[k].tile == l[k - 1].tile)
            i->tile[l[k].place].tile = 0;
    free(l);
    uint32_t n = 0;
    for (uint32_t k = 0; k < i->n_tile; k++) {
        struct sq_run_tile t = i->tile[k];
        if (!t.tile)
            continue;
        t.surface = 1;
        if (i->naming != SQ_TILES_ABSOLUTE && t.tile >= 1000)
            for (t.surface = t.tile; t.surface > 9;)
                t.surface /= 10;
        i->tile[n++] = t;
    }
    i->n_tile = n;
    return SQ_OK;
}

static sq_err settle(struct info_reader *r)
{
    struct sq_run_info *i = r->info;
    if (!r->has_run)
        return run_bad(r->why, sq_fail(SQ_ERUNINFO), "there is no Run in it");
    if (!i->n_read)
        return run_bad(r->why, sq_fail(SQ_ERUNINFO), "there is no Read with cycles in it");
    for (uint32_t k = 0; k < i->n_read; k++) {
        i->read[k].first_cycle = i->n_cycle + 1;
        i->n_cycle += i->read[k].n_cycle;
    }
    if (i->n_cycle > SQ_RUN_MAX_CYCLES)
        return run_bad(r->why, sq_fail(SQ_ERUNINFO), "%u cycles; at most %u are read", i->n_cycle, SQ_RUN_MAX_CYCLES);
    return settle_tiles(i);
}

sq_err sq_run_info_read(const void *xml, size_t n, struct sq_run_why *why, struct sq_run_info *out)
{
    struct sq_run_info info = {0};
    struct info_reader r = {.info = &info, .why = why};
    run_at(why, 0, 0, 0, "RunInfo.xml");
    sq_err e = run_xml_read(xml, n, &(struct run_xml){.ctx = &r, .element = info_element, .text = info_text, .bad_code = SQ_ERUNINFO}, why);
    if (!e)
        e = settle(&r);
    if (e)
        sq_run_info_done(&info);
    else
        *out = info;
    return e;
}

void sq_run_info_done(struct sq_run_info *info)
{
    if (info)
        free(info->tile);
    if (info)
        *info = (struct sq_run_info){0};
}

/* ---- RunParameters ---- */

struct params_reader {
    struct sq_run_params *params;
};

static sq_err params_text(void *ctx, const char *path, const char *text)
{
    struct sq_run_params *p = ((struct params_reader *)ctx)->params;
    const char *name = last_of(path);
    const struct {
        const char *name; /* as some platform writes it, any case */
        char *out;
        size_t size;
    } rows[] = {
        {"ApplicationName", p->application, sizeof p->application},
        {"Application", p->application, sizeof p->application},
        {"ApplicationVersion", p->application_version, sizeof p->application_version},
        {"SystemSuiteVersion", p->application_version, sizeof p->application_version},
        {"RtaVersion", p->rta_version, sizeof p->rta_version},
        {"ExperimentName", p->experiment, sizeof p->experiment},
        {"Side", p->side, sizeof p->side},
        {"InstrumentType", p->instrument_type, sizeof p->instrument_type},
        {"FlowCellMode", p->flowcell_mode, sizeof p->flowcell_mode},
        {"FlowCellSerialBarcode", p->flowcell_barcode, sizeof p->flowcell_barcode},
        {"FlowCellSerial", p->flowcell_barcode, sizeof p->flowcell_barcode},
        {"Barcode", p->flowcell_barcode, sizeof p->flowcell_barcode},
        {"ReagentKitBarcode", p->reagent_barcode, sizeof p->reagent_barcode},
        {"ReagentKitSerial", p->reagent_barcode, sizeof p->reagent_barcode},
        {"SbsSerialBarcode", p->reagent_barcode, sizeof p->reagent_barcode},
        {"WorkflowType", p->workflow, sizeof p->workflow},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (!strcasecmp(name, rows[i].name) && !rows[i].out[0])
            take_text(text, rows[i].out, rows[i].size);
    return SQ_OK;
}

sq_err sq_run_params_read(const void *xml, size_t n, struct sq_run_why *why, struct sq_run_params *out)
{
    struct sq_run_params params = {0};
    struct params_reader r = {.params = &params};
    run_at(why, 0, 0, 0, "RunParameters.xml");
    sq_err e = run_xml_read(xml, n, &(struct run_xml){.ctx = &r, .text = params_text, .bad_code = SQ_ERUNFILE}, why);
    if (!e)
        *out = params;
    return e;
}
