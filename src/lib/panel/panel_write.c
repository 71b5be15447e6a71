#include "lib/panel/panel_write.h"

#include "lib/core/file.h"

#include <math.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#define LEVEL 9 /* 19 saves 4 % of the bytes and costs more than all the rest */

struct panel_writer {
    int fd;
    ZSTD_CCtx *z;
    uint64_t at;
    size_t max_haps; /* unpacked, of a pack: what a reader takes */
    uint32_t n_pack, n_segment, segment_packs;
    int64_t first_bp, last_bp;
    struct sq_buf raw, packed, segments, packs;
    char (*label)[SQ_PANEL_LABEL_MAX];
    uint32_t n_label;
    uint8_t *population;
};

sq_err panel_writer_new(int fd, const struct sq_panel_plan *plan, const struct sq_genotypes *in, struct sq_why *why,
                        enum sq_panel_file *about, struct panel_writer **out)
{
    struct panel_writer *w = calloc(1, sizeof *w);
    if (!w)
        return sq_fail(SQ_ENOMEM);
    w->fd = fd;
    w->max_haps = panel_max_haps(2 * sq_genotypes_n_sample(in));
    sq_buf_init(&w->raw, 0);
    sq_buf_init(&w->packed, 0);
    sq_buf_init(&w->segments, PANEL_MAX_DIRECTORY);
    sq_buf_init(&w->packs, PANEL_MAX_DIRECTORY);
    w->z = ZSTD_createCCtx();
    sq_err e = w->z && !ZSTD_isError(ZSTD_CCtx_setParameter(w->z, ZSTD_c_checksumFlag, 1)) &&
                       !ZSTD_isError(ZSTD_CCtx_setParameter(w->z, ZSTD_c_compressionLevel, LEVEL))
                   ? SQ_OK
                   : sq_fail(SQ_ENOMEM);
    if (!e && plan->populations_fd >= 0) {
        *about = SQ_PANEL_FILE_POPULATIONS;
        e = panel_populations_read(plan->populations_fd, in, why, &w->label, &w->n_label, &w->population);
        if (!e)
            *about = SQ_PANEL_FILE_INPUT;
    }
    uint8_t header[PANEL_HEADER_BYTES] = PANEL_MAGIC;
    sq_put_le32(header + 8, PANEL_VERSION);
    if (!e) {
        e = sq_write_all(fd, header, sizeof header);
        w->at = sizeof header;
    }
    if (e)
        panel_writer_free(w);
    else
        *out = w;
    return e;
}

void panel_writer_free(struct panel_writer *w)
{
    if (!w)
        return;
    ZSTD_freeCCtx(w->z);
    sq_buf_done(&w->raw);
    sq_buf_done(&w->packed);
    sq_buf_done(&w->segments);
    sq_buf_done(&w->packs);
    free(w->label);
    free(w->population);
    free(w);
}

/* w->raw as a frame behind what is there; its lengths and checksum to @entry. */
static sq_err put_frame(struct panel_writer *w, struct sq_buf *entry)
{
    size_t room = ZSTD_compressBound(w->raw.n);
    sq_buf_clear(&w->packed);
    sq_err e = sq_buf_reserve(&w->packed, room);
    if (e)
        return e;
    size_t n = ZSTD_compress2(w->z, w->packed.p, w->packed.cap, w->raw.p, w->raw.n);
    if (ZSTD_isError(n) || n > UINT32_MAX || w->raw.n > UINT32_MAX)
        return sq_fail(SQ_ENOMEM);
    e = sq_write_all(w->fd, w->packed.p, n);
    w->at += n;
    w->packed.n = n;
    if (!e)
        e = varint_add(entry, n);
    if (!e)
        e = varint_add(entry, w->raw.n);
    return e ? e : sq_buf_add(entry, w->packed.p + n - 4, 4);
}

static sq_err put_columns(struct panel_writer *w, const struct sq_buf *column, size_t n)
{
    sq_err e = SQ_OK;
    for (size_t i = 0; i < n && !e; i++)
        e = varint_add(&w->raw, column[i].n);
    for (size_t i = 0; i < n && !e; i++)
        e = sq_buf_add(&w->raw, column[i].p, column[i].n);
    return e;
}

sq_err panel_writer_pack(struct panel_writer *w, const struct panel_pack *p, const struct sq_buf *block_rows, const struct sq_buf *site,
                         const struct sq_buf *hap)
{
    uint32_t n_row = 0;
    for (size_t i = 0; i < block_rows->n; i++)
        n_row += block_rows->p[i];
    if (!w->n_pack++)
        w->first_bp = w->last_bp = p->first_bp;
    struct sq_buf *d = &w->packs;
    sq_err e = varint_add(d, p->n_block);
    if (!e)
        e = varint_add(d, p->n_record);
    if (!e)
        e = varint_add(d, n_row);
    if (!e)
        e = varint_add(d, (uint64_t)(p->first_bp - (w->n_pack > 1 ? w->last_bp : 0)));
    if (!e)
        e = varint_add(d, (uint64_t)(p->last_bp - p->first_bp));
    w->last_bp = p->last_bp;
    sq_buf_clear(&w->raw);
    if (!e)
        e = sq_buf_add(&w->raw, block_rows->p, block_rows->n);
    if (!e)
        e = put_columns(w, site, SITES_N_COLUMN);
    if (!e)
        e = put_frame(w, d);
    sq_buf_clear(&w->raw);
    if (!e)
        e = sq_buf_add(&w->raw, block_rows->p, block_rows->n);
    if (!e)
        e = put_columns(w, hap, HAPS_N_COLUMN);
    if (!e && w->raw.n > w->max_haps) /* never reached: a pack ends at 4 MiB and what waits for it */
        e = sq_fail(SQ_ETOOBIG);
    if (!e)
        e = put_frame(w, d);
    w->segment_packs++;
    if (!e && p->ends_segment) {
        e = varint_add(&w->segments, w->segment_packs);
        w->segment_packs = 0;
        w->n_segment++;
    }
    return e;
}

int64_t panel_writer_first_bp(const struct panel_writer *w)
{
    return w->first_bp;
}

/* ---- directory ----------------------------------------------------------------------------------------------------------------------- */

static sq_err put_string(struct sq_buf *b, const char *s)
{
    size_t n = strlen(s);
    sq_err e = varint_add(b, n);
    return e ? e : sq_buf_add(b, s, n);
}

static sq_err put_f64(struct sq_buf *b, double v)
{
    uint64_t bits;
    uint8_t p[8];
    memcpy(&bits, &v, sizeof bits);
    sq_put_le64(p, bits);
    return sq_buf_add(b, p, sizeof p);
}

/* cM as a whole number of 10^-digits; false when that loses something. */
static bool scaled(double cm, double power, int64_t *out)
{
    double v = nearbyint(cm * power);
    if (!(fabs(v) < 9e15) || (double)(int64_t)v / power < cm || (double)(int64_t)v / power > cm)
        return false;
    *out = (int64_t)v;
    return true;
}

static unsigned digits_of(const struct sq_gmap *m, size_t from, size_t to)
{
    double power = 1;
    for (unsigned digits = 0; digits <= PANEL_MAP_DIGITS; digits++, power *= 10) {
        size_t i = from;
        int64_t v;
        while (i < to && scaled(m->cm[i], power, &v))
            i++;
        if (i == to)
            return digits;
    }
    return PANEL_MAP_PLAIN;
}

static sq_err put_map(struct sq_buf *b, const struct sq_gmap *m, int64_t first_bp, int64_t last_bp)
{
    size_t from = 0, to = m->n;
    while (from + 2 < to && m->pos_bp[from + 1] <= first_bp)
        from++;
    while (to > from + 2 && m->pos_bp[to - 2] >= last_bp)
        to--;
    uint8_t digits = (uint8_t)digits_of(m, from, to);
    sq_err e = varint_add(b, to - from);
    if (!e)
        e = put_f64(b, m->cm[0]);
    if (!e)
        e = sq_buf_add(b, &digits, 1);
    for (size_t i = from; i < to && !e; i++)
        e = varint_add(b, (uint64_t)(m->pos_bp[i] - (i > from ? m->pos_bp[i - 1] : 0)));
    double power = 1;
    for (unsigned d = 0; d < digits && digits != PANEL_MAP_PLAIN; d++)
        power *= 10;
    int64_t last = 0, v = 0;
    for (size_t i = from; i < to && !e; i++, last = v) {
        if (digits == PANEL_MAP_PLAIN)
            e = put_f64(b, m->cm[i]);
        else if (!scaled(m->cm[i], power, &v))
            e = sq_fail(SQ_EINTERNAL);
        else
            e = varint_add(b, i > from ? (uint64_t)(v - last) : v < 0 ? (uint64_t)-v * 2 - 1
                                                                      : (uint64_t)v * 2);
    }
    return e;
}

static sq_err put_samples(struct panel_writer *w, struct sq_buf *b, const struct panel_facts *f, uint8_t flags)
{
    uint32_t n = sq_genotypes_n_sample(f->in);
    sq_err e = SQ_OK;
    for (uint32_t i = 0; i < n && !e && (flags & PANEL_FLAG_HAPLOID); i += 8) {
        uint8_t bits = 0;
        for (uint32_t j = i; j < n && j < i + 8; j++)
            bits |= (uint8_t)((f->was_haploid[j] && !f->was_diploid[j]) << (j - i));
        e = sq_buf_add(b, &bits, 1);
    }
    if (e || !(flags & PANEL_FLAG_POPULATIONS))
        return e;
    e = varint_add(b, w->n_label);
    for (uint32_t i = 0; i < w->n_label && !e; i++)
        e = put_string(b, w->label[i]);
    return e ? e : sq_buf_add(b, w->population, n);
}

static sq_err put_names(struct panel_writer *w, const struct sq_genotypes *in, struct sq_buf *entry)
{
    sq_buf_clear(&w->raw);
    sq_err e = SQ_OK;
    for (uint32_t i = 0; i < sq_genotypes_n_sample(in) && !e; i++)
        e = put_string(&w->raw, sq_genotypes_sample(in, i));
    if (!e && w->raw.n > PANEL_MAX_NAMES)
        e = sq_fail(SQ_ETOOBIG);
    return e ? e : put_frame(w, entry);
}

static sq_err put_directory(struct panel_writer *w, const struct panel_facts *f, const struct sq_buf *names, struct sq_buf *b)
{
    const struct panel_totals *t = f->totals;
    uint32_t n_sample = sq_genotypes_n_sample(f->in), n_haploid = 0;
    uint8_t flags = (uint8_t)((f->map->n ? PANEL_FLAG_MAP : 0) | (names->n ? PANEL_FLAG_NAMES : 0) | (w->n_label ? PANEL_FLAG_POPULATIONS : 0));
    for (uint32_t i = 0; i < n_sample; i++) {
        n_haploid += f->was_haploid[i];
        flags |= f->was_haploid[i] && !f->was_diploid[i] ? PANEL_FLAG_HAPLOID : 0;
    }
    const uint64_t number[] = {sq_genotypes_chrom_length(f->in), n_sample, t->n_record, t->n_row, t->n_block, w->n_pack, w->n_segment,
                               t->n_missing, t->n_without_alt, t->n_pattern, t->n_run, n_haploid};
    sq_err e = put_string(b, sq_genotypes_chrom(f->in));
    if (!e)
        e = put_string(b, f->plan->build ? f->plan->build : "");
    for (size_t i = 0; i < sizeof number / sizeof number[0] && !e; i++)
        e = varint_add(b, number[i]);
    if (!e)
        e = sq_buf_add(b, &flags, 1);
    if (!e)
        e = put_samples(w, b, f, flags);
    if (!e)
        e = sq_buf_add(b, w->segments.p, w->segments.n);
    if (!e)
        e = sq_buf_add(b, w->packs.p, w->packs.n);
    if (!e && f->map->n)
        e = put_map(b, f->map, w->first_bp, w->last_bp);
    return e ? e : sq_buf_add(b, names->p, names->n);
}

sq_err panel_writer_end(struct panel_writer *w, const struct panel_facts *f)
{
    struct sq_buf names, lengths;
    sq_buf_init(&names, 0);
    sq_buf_init(&lengths, 0);
    sq_err e = w->segment_packs ? varint_add(&w->segments, w->segment_packs) : SQ_OK;
    w->n_segment += w->segment_packs > 0;
    if (!e && f->plan->keep_names)
        e = put_names(w, f->in, &names);
    sq_buf_clear(&w->raw);
    if (!e)
        e = put_directory(w, f, &names, &w->raw);
    uint64_t at = w->at, n = w->raw.n;
    if (!e && n > PANEL_MAX_DIRECTORY)
        e = sq_fail(SQ_ETOOBIG);
    if (!e)
        e = put_frame(w, &lengths);
    if (!e) {
        uint8_t foot[PANEL_FOOTER_BYTES];
        sq_put_le64(foot, at);
        sq_put_le32(foot + 8, (uint32_t)(w->at - at));
        sq_put_le32(foot + 12, (uint32_t)n);
        sq_put_le64(foot + 16, w->at + sizeof foot);
        sq_put_le32(foot + 24, (uint32_t)crc32(crc32(0, NULL, 0), foot, 24));
        memcpy(foot + 28, PANEL_END, 4);
        e = sq_write_all(w->fd, foot, sizeof foot);
    }
    sq_buf_done(&names);
    sq_buf_done(&lengths);
    return e;
}
