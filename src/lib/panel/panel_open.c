/* Footer, directory, and what follows from them. Every number is checked against the file's length or a limit before it is used. */
#include "lib/panel/panel_internal.h"

#include <math.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

static sq_err bad(struct sq_why *why, const char *field, const char *detail)
{
    return sq_why_set(why, sq_fail(SQ_EPANEL), 0, 0, field, "%s", detail);
}

bool sq_panel_is(const void *bytes, size_t n)
{
    return n >= 8 && !memcmp(bytes, PANEL_MAGIC, 8);
}

bool panel_unpack(const struct sq_panel *p, struct ZSTD_DCtx_s *z, const struct frame *f, uint8_t *out)
{
    const uint8_t *from = p->bytes + f->at;
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION /* content as it is: noise would end at the checksum */
    if (f->n_packed == f->n && (f->n < 4 || sq_get_le32(from) != ZSTD_MAGICNUMBER)) {
        memcpy(out, from, f->n);
        return true;
    }
#endif
    if (f->n_packed < 8 || sq_get_le32(from + f->n_packed - 4) != f->check)
        return false;
    /* one frame, of just this content: then its end is the checksum, which zstd compares with the content */
    if (ZSTD_findFrameCompressedSize(from, f->n_packed) != f->n_packed || ZSTD_getFrameContentSize(from, f->n_packed) != f->n ||
        !(from[4] & 4)) /* RFC 8878, 3.1.1.1.1: Content_Checksum_flag */
        return false;
    return ZSTD_decompressDCtx(z, out, f->n, from, f->n_packed) == f->n;
}

/* ---- directory ----------------------------------------------------------------------------------------------------------------------- */

struct totals {
    uint64_t n_block, n_record, n_row;
};

static bool take_string(struct column *c, char *out, uint32_t max)
{
    struct sq_span s;
    if (!string_take(c, max - 1, &s) || (s.n && !panel_label_ok(s)))
        return false;
    memcpy(out, s.p, s.n);
    out[s.n] = 0;
    return true;
}

static bool take_f64(struct column *c, double *out)
{
    const uint8_t *p;
    if (!bytes_take(c, 8, &p))
        return false;
    uint64_t bits = sq_get_le64(p);
    memcpy(out, &bits, sizeof bits);
    return isfinite(*out) && fabs(*out) <= 1e6;
}

static bool take_numbers(struct column *c, struct sq_panel *p, uint8_t *out_flags)
{
    struct sq_panel_info *i = &p->info;
    uint64_t contig;
    const uint8_t *flags;
    if (!take_string(c, i->chrom, sizeof i->chrom) || !i->chrom[0] || !take_string(c, i->build, sizeof i->build) ||
        !varint_take(c, INT64_MAX, &contig) || !varint_take32(c, SQ_PANEL_MAX_SAMPLES, &i->n_sample) ||
        !varint_take32(c, UINT32_MAX - 1, &i->n_record) || !varint_take32(c, UINT32_MAX - 1, &i->n_site) ||
        !varint_take32(c, UINT32_MAX - 1, &i->n_block) || !varint_take32(c, UINT32_MAX - 1, &p->n_pack) ||
        !varint_take32(c, UINT32_MAX - 1, &i->n_segment) || !varint_take(c, UINT64_MAX, &i->n_missing) ||
        !varint_take(c, UINT64_MAX, &i->n_without_alt) || !varint_take(c, UINT64_MAX, &i->n_pattern) || !varint_take(c, UINT64_MAX, &i->n_run) ||
        !varint_take32(c, i->n_sample, &i->n_haploid) || !bytes_take(c, 1, &flags))
        return false;
    i->contig_bp = contig == INT32_MAX ? 0 : (int64_t)contig; /* what bcftools writes where it doesn't know */
    *out_flags = *flags;
    p->n_col = 2 * i->n_sample;
    i->n_hap = p->n_col;
    i->has_map = *flags & PANEL_FLAG_MAP;
    i->has_names = *flags & PANEL_FLAG_NAMES;
    /* what the bytes at hand can't hold isn't allocated for: a segment is 1 byte here at least, a pack 16 */
    size_t left = (size_t)(c->end - c->p);
    return i->n_sample && i->n_record && i->n_site >= i->n_record && i->n_block && i->n_block <= i->n_site && p->n_pack && i->n_segment &&
           p->n_pack <= i->n_block && i->n_segment <= p->n_pack && !(*flags & ~PANEL_FLAGS) && i->n_segment <= left && p->n_pack <= left / 16;
}

static sq_err take_haploid(struct column *c, struct sq_panel *p, bool *out_ok)
{
    uint32_t n = p->info.n_sample, n_throughout = 0;
    const uint8_t *bits;
    *out_ok = bytes_take(c, (n + 7) / 8, &bits) && (n % 8 == 0 || !(bits[n / 8] >> (n % 8)));
    if (!*out_ok)
        return SQ_OK;
    p->first_hap = malloc(((size_t)n + 1) * sizeof *p->first_hap);
    if (!p->first_hap)
        return sq_fail(SQ_ENOMEM);
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool is_haploid = bits[i / 8] >> (i % 8) & 1;
        p->first_hap[i] = at;
        at += is_haploid ? 1 : 2;
        n_throughout += is_haploid;
    }
    p->first_hap[n] = p->info.n_hap = at;
    *out_ok = n_throughout > 0 && n_throughout <= p->info.n_haploid;
    return SQ_OK;
}

static sq_err take_populations(struct column *c, struct sq_panel *p, bool *out_ok)
{
    const uint8_t *of;
    uint32_t n = 0;
    *out_ok = varint_take32(c, SQ_PANEL_MAX_POPULATIONS, &n) && n;
    if (!*out_ok)
        return SQ_OK;
    p->label = calloc(n, sizeof *p->label);
    p->population = malloc(p->info.n_sample);
    if (!p->label || !p->population)
        return sq_fail(SQ_ENOMEM);
    p->info.n_population = n;
    for (uint32_t i = 0; i < n && *out_ok; i++) {
        *out_ok = take_string(c, p->label[i], SQ_PANEL_LABEL_MAX) && p->label[i][0];
        for (uint32_t j = 0; j < i && *out_ok; j++)
            *out_ok = strcmp(p->label[i], p->label[j]) != 0;
    }
    *out_ok = *out_ok && bytes_take(c, p->info.n_sample, &of);
    for (uint32_t i = 0; i < p->info.n_sample && *out_ok; i++)
        *out_ok = of[i] <= n;
    if (*out_ok)
        memcpy(p->population, of, p->info.n_sample);
    return SQ_OK;
}

static bool take_segments(struct column *c, struct sq_panel *p)
{
    uint32_t at = 0;
    for (uint32_t s = 0; s < p->info.n_segment; s++) {
        uint32_t n;
        if (!varint_take32(c, p->n_pack, &n) || !n || n > p->n_pack - at)
            return false;
        p->first_pack[s] = at;
        for (uint32_t i = 0; i < n; i++)
            p->pack[at++].segment = s;
    }
    return at == p->n_pack;
}

static bool take_frame(struct column *c, size_t max, uint64_t *at, uint64_t end, struct frame *f)
{
    const uint8_t *check;
    if (!varint_take32(c, UINT32_MAX, &f->n_packed) || !varint_take32(c, max < UINT32_MAX ? (uint32_t)max : UINT32_MAX, &f->n) ||
        !bytes_take(c, 4, &check) || f->n_packed > end - *at)
        return false;
    f->check = sq_get_le32(check);
    f->at = *at;
    *at += f->n_packed;
    return true;
}

static bool take_pack(struct column *c, struct sq_panel *p, struct pack *k, struct totals *t, int64_t last_bp, uint64_t *at, uint64_t end)
{
    uint32_t from, span;
    if (!varint_take32(c, p->info.n_block, &k->n_block) || !varint_take32(c, p->info.n_record, &k->n_record) ||
        !varint_take32(c, p->info.n_site, &k->n_row) || !varint_take32(c, SQ_POS_MAX, &from) || !varint_take32(c, SQ_POS_MAX, &span) ||
        !take_frame(c, PANEL_MAX_SITES, at, end, &k->sites) || !take_frame(c, panel_max_haps(p->n_col), at, end, &k->haps))
        return false;
    k->first_block = (uint32_t)t->n_block;
    k->first_record = (uint32_t)t->n_record;
    k->first_row = (uint32_t)t->n_row;
    k->first_bp = last_bp + from;
    k->last_bp = k->first_bp + span;
    t->n_block += k->n_block;
    t->n_record += k->n_record;
    t->n_row += k->n_row;
    return k->n_block && k->n_record && k->n_row >= k->n_record && k->n_row >= k->n_block &&
           (uint64_t)k->n_block * SQ_PANEL_BLOCK_ROWS >= k->n_row && (uint64_t)k->n_record * PANEL_MAX_ALT >= k->n_row && k->first_bp >= 1 &&
           k->last_bp <= SQ_POS_MAX && t->n_block <= p->info.n_block && t->n_record <= p->info.n_record && t->n_row <= p->info.n_site;
}

static bool take_packs(struct column *c, struct sq_panel *p, uint64_t *at, uint64_t end)
{
    struct totals t = {0};
    int64_t last_bp = 0;
    for (uint32_t i = 0; i < p->n_pack; i++) {
        struct pack *k = &p->pack[i];
        if (!take_pack(c, p, k, &t, last_bp, at, end))
            return false;
        last_bp = k->last_bp;
        p->max_sites = k->sites.n > p->max_sites ? k->sites.n : p->max_sites;
        p->max_haps = k->haps.n > p->max_haps ? k->haps.n : p->max_haps;
    }
    p->info.first_bp = p->pack[0].first_bp;
    p->info.last_bp = last_bp;
    return t.n_block == p->info.n_block && t.n_record == p->info.n_record && t.n_row == p->info.n_site;
}

static sq_err take_map(struct column *c, struct sq_panel *p, bool *out_ok)
{
    struct sq_gmap *m = &p->own_map;
    uint32_t n = 0;
    const uint8_t *digits = NULL;
    double power = 1;
    /* a row is at least two bytes */
    *out_ok = varint_take32(c, SQ_GMAP_MAX_ROWS, &n) && n >= 2 && n <= (size_t)(c->end - c->p) / 2 && take_f64(c, &p->info.origin_cm) &&
              bytes_take(c, 1, &digits) && (*digits <= PANEL_MAP_DIGITS || *digits == PANEL_MAP_PLAIN);
    if (!*out_ok)
        return SQ_OK;
    m->pos_bp = malloc((size_t)n * sizeof *m->pos_bp);
    m->cm = malloc((size_t)n * sizeof *m->cm);
    if (!m->pos_bp || !m->cm)
        return sq_fail(SQ_ENOMEM);
    m->n = n;
    for (unsigned i = 0; i < *digits && *digits != PANEL_MAP_PLAIN; i++)
        power *= 10;
    int64_t at = 0, v = 0;
    for (uint32_t i = 0; i < n && *out_ok; i++) {
        uint32_t by = 0;
        *out_ok = varint_take32(c, UINT32_MAX, &by) && (by || !i);
        m->pos_bp[i] = at += by;
    }
    for (uint32_t i = 0; i < n && *out_ok; i++) {
        uint64_t u = 0;
        if (*digits == PANEL_MAP_PLAIN) {
            *out_ok = take_f64(c, &m->cm[i]);
        } else {
            *out_ok = varint_take(c, (uint64_t)1 << 58, &u);
            v = i ? v + (int64_t)u : u & 1 ? -(int64_t)(u / 2) - 1
                                           : (int64_t)(u / 2);
            *out_ok = *out_ok && v <= (int64_t)1 << 58;
            m->cm[i] = (double)v / power;
        }
        *out_ok = *out_ok && fabs(m->cm[i]) <= 1e6 && (!i || m->cm[i] >= m->cm[i - 1]);
    }
    return SQ_OK;
}

static void fill_segments(struct sq_panel *p)
{
    for (uint32_t s = 0; s < p->info.n_segment; s++) {
        uint32_t end = s + 1 < p->info.n_segment ? p->first_pack[s + 1] : p->n_pack;
        const struct pack *a = &p->pack[p->first_pack[s]], *z = &p->pack[end - 1];
        p->segment[s] = (struct sq_panel_segment){.first_site = a->first_row,
                                                  .n_site = z->first_row + z->n_row - a->first_row,
                                                  .first_block = a->first_block,
                                                  .n_block = z->first_block + z->n_block - a->first_block,
                                                  .first_bp = a->first_bp,
                                                  .last_bp = z->last_bp,
                                                  .first_cm = sq_gmap_cm(p->map, a->first_bp),
                                                  .last_cm = sq_gmap_cm(p->map, z->last_bp)};
    }
    p->info.first_cm = sq_gmap_cm(p->map, p->info.first_bp);
    p->info.last_cm = sq_gmap_cm(p->map, p->info.last_bp);
}

static sq_err take_directory(struct sq_panel *p, const uint8_t *raw, size_t n, uint64_t end, struct sq_why *why)
{
    struct column c = {raw, raw + n};
    uint8_t flags = 0;
    uint64_t at = PANEL_HEADER_BYTES;
    bool is_ok = true;
    sq_err e = SQ_OK;
    if (!take_numbers(&c, p, &flags))
        return bad(why, "directory", "its first numbers can't be right");
    p->pack = calloc(p->n_pack, sizeof *p->pack);
    p->segment = calloc(p->info.n_segment, sizeof *p->segment);
    p->first_pack = calloc(p->info.n_segment, sizeof *p->first_pack);
    if (!p->pack || !p->segment || !p->first_pack)
        return sq_fail(SQ_ENOMEM);
    if (flags & PANEL_FLAG_HAPLOID)
        e = take_haploid(&c, p, &is_ok);
    if (!e && !is_ok)
        return bad(why, "directory", "the list of haploid samples is damaged");
    if (!e && (flags & PANEL_FLAG_POPULATIONS))
        e = take_populations(&c, p, &is_ok);
    if (e)
        return e;
    if (!is_ok)
        return bad(why, "directory", "the populations are damaged");
    if (!take_segments(&c, p))
        return bad(why, "directory", "the segments don't make up the packs");
    if (!take_packs(&c, p, &at, end))
        return bad(why, "directory", "the list of packs is damaged");
    if (flags & PANEL_FLAG_MAP)
        e = take_map(&c, p, &is_ok);
    if (e)
        return e;
    if (!is_ok)
        return bad(why, "directory", "the genetic map is damaged");
    if (flags & PANEL_FLAG_NAMES && !take_frame(&c, PANEL_MAX_NAMES, &at, end, &p->names))
        return bad(why, "directory", "the place of the names is damaged");
    if (c.p != c.end || at != end)
        return bad(why, "directory", "something is left over: behind the directory's end, or between the frames");
    return SQ_OK;
}

static bool has_right_crc(const uint8_t *foot)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
    return foot != NULL;
#else
    return sq_get_le32(foot + 24) == (uint32_t)crc32(crc32(0, NULL, 0), foot, 24);
#endif
}

/* The file from its end: footer, then the directory's bytes, unpacked. */
static sq_err read_directory(struct sq_panel *p, struct sq_why *why)
{
    if (!sq_panel_is(p->bytes, p->n_byte))
        return bad(why, "header", "this isn't a panel file (.sqp); make one of a VCF or BCF: sequester panel build");
    if (p->n_byte < PANEL_HEADER_BYTES + PANEL_FOOTER_BYTES)
        return bad(why, "footer", "the file is cut off");
    if (sq_get_le32(p->bytes + 8) != PANEL_VERSION)
        return sq_why_set(why, sq_fail(SQ_EPANEL), 0, 0, "header", "it has version %u of the format; this program reads version %u",
                          sq_get_le32(p->bytes + 8), PANEL_VERSION);
    const uint8_t *foot = p->bytes + p->n_byte - PANEL_FOOTER_BYTES;
    if (memcmp(foot + 28, PANEL_END, 4) != 0 || !has_right_crc(foot))
        return bad(why, "footer", "the file is cut off, or its end is damaged");
    struct frame f = {.at = sq_get_le64(foot), .n_packed = sq_get_le32(foot + 8), .n = sq_get_le32(foot + 12)};
    uint64_t end = p->n_byte - PANEL_FOOTER_BYTES;
    if (sq_get_le32(p->bytes + 12) || sq_get_le64(foot + 16) != p->n_byte || f.at < PANEL_HEADER_BYTES || f.at > end || f.n_packed != end - f.at ||
        f.n_packed < 8 || f.n > PANEL_MAX_DIRECTORY)
        return bad(why, "footer", "header and footer don't fit the file's length");
    f.check = sq_get_le32(p->bytes + end - 4);
    ZSTD_DCtx *z = ZSTD_createDCtx();
    uint8_t *raw = malloc(f.n ? f.n : 1);
    sq_err e = z && raw ? SQ_OK : sq_fail(SQ_ENOMEM);
    if (!e && !panel_unpack(p, z, &f, raw))
        e = bad(why, "directory", "the directory is damaged");
    if (!e)
        e = take_directory(p, raw, f.n, f.at, why);
    free(raw);
    ZSTD_freeDCtx(z);
    return e;
}

sq_err sq_panel_open(const void *bytes, size_t n, const struct sq_gmap *map, struct sq_why *why, struct sq_panel **out)
{
    struct sq_panel *p = calloc(1, sizeof *p);
    if (!p)
        return sq_fail(SQ_ENOMEM);
    p->bytes = bytes;
    p->n_byte = n;
    p->info.n_bytes = n;
    sq_err e = read_directory(p, why);
    if (e) {
        sq_panel_close(p);
        return e;
    }
    p->map = map ? map : &p->own_map;
    if (map) {
        p->info.has_map = map->n > 0;
        p->info.origin_cm = map->n ? map->cm[0] : 0;
    }
    fill_segments(p);
    *out = p;
    return SQ_OK;
}

void sq_panel_close(struct sq_panel *p)
{
    if (!p)
        return;
    free(p->pack);
    free(p->segment);
    free(p->first_pack);
    free(p->first_hap);
    free(p->population);
    free(p->label);
    sq_gmap_done(&p->own_map);
    free(p);
}

const struct sq_panel_info *sq_panel_info(const struct sq_panel *p)
{
    return &p->info;
}

const struct sq_panel_segment *sq_panel_segments(const struct sq_panel *p)
{
    return p->segment;
}

uint32_t sq_panel_n_pack(const struct sq_panel *p)
{
    return p->n_pack;
}

struct sq_panel_pack sq_panel_pack(const struct sq_panel *p, uint32_t pack)
{
    sq_assert(pack < p->n_pack);
    const struct pack *k = &p->pack[pack];
    return (struct sq_panel_pack){.segment = k->segment, .first_site = k->first_row, .n_site = k->n_row};
}

const struct sq_gmap *sq_panel_map(const struct sq_panel *p)
{
    return p->map;
}

uint32_t sq_panel_segment_at(const struct sq_panel *p, int64_t pos_bp)
{
    uint32_t low = 0, high = p->info.n_segment;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (p->segment[mid].last_bp < pos_bp)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

uint32_t sq_panel_sample_first_hap(const struct sq_panel *p, uint32_t sample)
{
    sq_assert(sample <= p->info.n_sample);
    return p->first_hap ? p->first_hap[sample] : 2 * sample;
}

const char *sq_panel_population(const struct sq_panel *p, uint32_t population)
{
    sq_assert(population < p->info.n_population);
    return p->label[population];
}

uint32_t sq_panel_sample_population(const struct sq_panel *p, uint32_t sample)
{
    sq_assert(sample < p->info.n_sample);
    return p->population ? p->population[sample] : p->info.n_population;
}
