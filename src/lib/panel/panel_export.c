/*
 * Patterns of haplotypes are turned back into rows of bits, 64 x 64 at a time; a row of two observed alleles a sample is written from
 * tables, eight alleles at a time. All other genotypes (several ALTs, haploid, missing) are put together one by one.
 */
#include "lib/panel/panel_export.h"

#include "lib/panel/panel_bits.h"
#include "lib/panel/panel_internal.h"
#include "lib/panel/panel_sink.h"

#include <stdlib.h>

struct exporter {
    const struct sq_panel *p;
    const struct sq_panel_export *how;
    struct panel_sink sink;
    const struct panel_bits *bits;
    uint32_t n_sample, n_col, segment;
    size_t n_word;
    uint64_t *row;       /* [64][n_word] of the block */
    uint8_t *allele;     /* [n_col] of a record that is put together one by one */
    uint8_t *is_haploid; /* [n_sample] */
    uint32_t n_haploid;
    uint64_t n_record;
    bool is_apart; /* the record in hand is put together one by one */
    uint32_t ac[SQ_GT_MAX_ALT];
    struct sq_buf alleles; /* REF and ALTs of the record in hand, a NUL behind each */
    char text[256][16]; /* eight bits: four genotypes */
    uint8_t code[256][8];
};

/* ---- header -------------------------------------------------------------------------------------------------------------------------- */

static sq_err put_names(const struct exporter *x, struct sq_buf *text, struct sq_why *why)
{
    struct sq_buf names;
    sq_buf_init(&names, 0);
    sq_err e = sq_panel_names(x->p, why, &names);
    const char *at = (const char *)names.p;
    for (uint32_t i = 0; i < x->n_sample && !e; i++) {
        e = sq_buf_addf(text, "\t%s", at);
        at += strlen(at) + 1;
    }
    sq_buf_done(&names);
    return e ? e : sq_buf_addf(text, "\n");
}

static sq_err put_header(struct exporter *x, struct sq_why *why)
{
    struct sq_buf *text = &x->sink.text;
    bool is_bcf = x->how->container == SQ_PANEL_BCF;
    uint8_t start[9] = "BCF\2\2";
    sq_err e = is_bcf ? sq_buf_add(text, start, sizeof start) : SQ_OK;
    if (!e)
        e = panel_sink_head(&x->sink, &x->p->info, is_bcf);
    if (!e)
        e = sq_buf_addf(text, "##FORMAT=<ID=GT,Number=1,Type=String,Description=\"Genotype\"%s>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT",
                        is_bcf ? ",IDX=3" : "");
    if (!e)
        e = put_names(x, text, why);
    if (e || !is_bcf)
        return e;
    e = sq_buf_add(text, "", 1);
    if (!e && text->n - sizeof start > UINT32_MAX)
        e = sq_fail(SQ_ETOOBIG);
    if (!e)
        sq_put_le32(text->p + 5, (uint32_t)(text->n - sizeof start));
    return e;
}

/* ---- records of BCF (VCF specification 4.3, section 6) -------------------------------------------------------------------------------- */

static sq_err bcf_size(struct sq_buf *b, size_t n, unsigned type)
{
    uint8_t p[6] = {(uint8_t)((n < 15 ? n : 15) << 4 | type), 0x13};
    sq_put_le32(p + 2, (uint32_t)n);
    return sq_buf_add(b, p, n < 15 ? 1 : 6);
}

static sq_err bcf_string(struct sq_buf *b, const void *s, size_t n)
{
    sq_err e = bcf_size(b, n, 7);
    return e ? e : sq_buf_add(b, s, n);
}

/* Numbers of an INFO key, all as wide as the largest needs. */
static sq_err bcf_info(struct sq_buf *b, uint8_t key, const uint32_t *v, uint32_t n)
{
    uint32_t most = 0;
    for (uint32_t i = 0; i < n; i++)
        most = v[i] > most ? v[i] : most;
    unsigned type = most <= INT8_MAX ? 1 : most <= INT16_MAX ? 2
                                                             : 3;
    uint8_t name[2] = {0x11, key};
    sq_err e = sq_buf_add(b, name, 2);
    if (!e)
        e = bcf_size(b, n, type);
    for (uint32_t i = 0; i < n && !e; i++) {
        uint8_t p[4];
        sq_put_le32(p, v[i]);
        e = sq_buf_add(b, p, type == 1 ? 1 : type == 2 ? 2
                                                       : 4);
    }
    return e;
}

static sq_err bcf_alleles(struct sq_buf *b, const struct sq_buf *alleles)
{
    sq_err e = SQ_OK;
    for (const uint8_t *at = alleles->p, *end = at + alleles->n; at < end && !e;) { /* each with a NUL behind it */
        size_t n = strlen((const char *)at);
        e = bcf_string(b, at, n);
        at += n + 1;
    }
    return e;
}

static void bcf_genotypes_apart(const struct exporter *x, uint32_t n_alt, uint8_t *to)
{
    unsigned width = n_alt > 62 ? 2 : 1;
    for (uint32_t c = 0; c < x->n_col; c++) {
        unsigned v = x->allele[c] == SQ_GT_MISSING ? 0 : ((unsigned)x->allele[c] + 1) << 1;
        v |= c & 1;
        if (c & 1 && x->is_haploid[c / 2])
            v = width == 1 ? 0x81 : 0x8001;
        to[c * width] = (uint8_t)v;
        if (width == 2)
            to[c * width + 1] = (uint8_t)(v >> 8);
    }
}

static sq_err put_bcf(struct exporter *x, const struct sq_panel_site *s, const uint64_t *row)
{
    struct sq_buf *b = &x->sink.text;
    uint32_t n_alt = s->n_record_alt, an = s->an;
    size_t from = b->n, width = n_alt > 62 ? 2 : 1;
    uint8_t fixed[32] = {0};
    sq_put_le32(fixed + 12, (uint32_t)s->pos_bp - 1);
    sq_put_le32(fixed + 16, s->n_ref);
    sq_put_le32(fixed + 20, 0x7f800001);
    sq_put_le32(fixed + 24, (n_alt + 1) << 16 | 2);
    sq_put_le32(fixed + 28, (uint32_t)1 << 24 | x->n_sample);
    sq_err e = sq_buf_add(b, fixed, sizeof fixed);
    if (!e)
        e = bcf_string(b, s->id, s->n_id);
    if (!e)
        e = bcf_alleles(b, &x->alleles);
    if (!e)
        e = sq_buf_add(b, "", 1); /* FILTER: none */
    if (!e)
        e = bcf_info(b, 1, x->ac, n_alt);
    if (!e)
        e = bcf_info(b, 2, &an, 1);
    size_t n_shared = b->n - from - 8;
    const uint8_t gt[3] = {0x11, 3, (uint8_t)(2 << 4 | width)};
    if (!e)
        e = sq_buf_add(b, gt, sizeof gt);
    if (!e)
        e = sq_buf_reserve(b, width * x->n_col + 8);
    if (e)
        return e;
    uint8_t *to = b->p + b->n;
    if (x->is_apart)
        bcf_genotypes_apart(x, n_alt, to);
    else
        for (uint32_t c = 0; c < x->n_col; c += 8)
            memcpy(to + c, x->code[row[c / 64] >> (c % 64) & 255], 8);
    b->n += width * x->n_col;
    sq_put_le32(b->p + from, (uint32_t)n_shared);
    sq_put_le32(b->p + from + 4, (uint32_t)(b->n - from - 8 - n_shared));
    return SQ_OK;
}

/* ---- lines of VCF -------------------------------------------------------------------------------------------------------------------- */

static char *put_number(char *to, unsigned v)
{
    char digits[12];
    unsigned n = 0;
    do
        digits[n++] = (char)('0' + v % 10);
    while (v /= 10);
    while (n)
        *to++ = digits[--n];
    return to;
}

static char *put_allele(char *to, uint8_t a)
{
    if (a != SQ_GT_MISSING)
        return put_number(to, a);
    *to++ = '.';
    return to;
}

static sq_err text_genotypes_apart(const struct exporter *x, struct sq_buf *b)
{
    sq_err e = sq_buf_reserve(b, (size_t)x->n_sample * 8);
    if (e)
        return e;
    char *to = (char *)b->p + b->n;
    for (uint32_t i = 0; i < x->n_sample; i++) {
        *to++ = '\t';
        to = put_allele(to, x->allele[2 * i]);
        if (x->is_haploid[i])
            continue;
        *to++ = '|';
        to = put_allele(to, x->allele[2 * i + 1]);
    }
    b->n = (size_t)((uint8_t *)to - b->p);
    return SQ_OK;
}

static sq_err put_text(struct exporter *x, const struct sq_panel_site *s, const uint64_t *row)
{
    struct sq_buf *b = &x->sink.text;
    sq_err e = sq_buf_addf(b, "%s\t%lld\t", x->p->info.chrom, (long long)s->pos_bp);
    if (!e)
        e = sq_buf_add(b, s->id, s->n_id);
    unsigned i = 0;
    for (const uint8_t *at = x->alleles.p, *end = at + x->alleles.n; at < end && !e; i++) {
        size_t n = strlen((const char *)at);
        e = sq_buf_add(b, i < 2 ? "\t" : ",", 1);
        if (!e)
            e = sq_buf_add(b, at, n);
        at += n + 1;
    }
    if (!e)
        e = sq_buf_addf(b, "\t.\t.\tAC=");
    for (uint32_t k = 0; k < s->n_record_alt && !e; k++)
        e = sq_buf_addf(b, k ? ",%u" : "%u", x->ac[k]);
    if (!e)
        e = sq_buf_addf(b, ";AN=%u\tGT", s->an);
    if (!e && x->is_apart) {
        e = text_genotypes_apart(x, b);
    } else if (!e) {
        e = sq_buf_reserve(b, 4 * (size_t)x->n_sample + 16);
        for (uint32_t c = 0; c < x->n_col && !e; c += 8)
            memcpy(b->p + b->n + 2 * (size_t)c, x->text[row[c / 64] >> (c % 64) & 255], 16);
        b->n += e ? 0 : 4 * (size_t)x->n_sample;
    }
    return e ? e : sq_buf_add(b, "\n", 1);
}

/* ---- blocks to records --------------------------------------------------------------------------------------------------------------- */

/* Rows of bits, a bit a column: of a sample that is haploid throughout its one haplotype twice. */
static void rows_of_block(struct exporter *x, const struct sq_panel_block *b)
{
    uint64_t in[64], out[64];
    uint32_t sample = 0;
    for (size_t w = 0; w < x->n_word; w++) {
        for (uint32_t i = 0; i < 64; i += 2, sample++) {
            in[i] = in[i + 1] = 0;
            if (sample >= x->n_sample)
                continue;
            uint32_t h = sq_panel_sample_first_hap(x->p, sample), n = sq_panel_sample_first_hap(x->p, sample + 1) - h;
            in[i] = b->pattern[b->class_of[h]];
            in[i + 1] = b->pattern[b->class_of[h + n - 1]];
        }
        x->bits->transpose(in, 1, 64, out);
        for (uint32_t s = 0; s < b->n_site; s++)
            x->row[s * x->n_word + w] = out[s];
    }
}

static void take_apart(struct exporter *x, const struct sq_panel_site *s, uint32_t row, const struct sq_panel_special *special, size_t missing)
{
    const uint64_t *bits = x->row + row * x->n_word;
    if (s->alt_no == 1)
        memset(x->allele, 0, x->n_col);
    for (uint32_t c = 0; c < x->n_col; c++)
        if (bits[c / 64] >> (c % 64) & 1)
            x->allele[c] = (uint8_t)s->alt_no;
    for (; missing < special->n_missing && special->missing[missing].row == row; missing++)
        memset(x->allele + special->missing[missing].first_column, SQ_GT_MISSING, special->missing[missing].n);
}

static sq_err note_alleles(struct exporter *x, const struct sq_panel_site *s)
{
    sq_err e = SQ_OK;
    if (s->alt_no == 1) {
        sq_buf_clear(&x->alleles);
        e = sq_buf_add(&x->alleles, s->ref, s->n_ref);
        if (!e)
            e = sq_buf_add(&x->alleles, "", 1);
    }
    if (!e)
        e = sq_buf_add(&x->alleles, s->alt, s->n_alt);
    return e ? e : sq_buf_add(&x->alleles, "", 1);
}

static sq_err put_row(struct exporter *x, const struct sq_panel_block *b, uint32_t r, const struct sq_panel_special *special, size_t missing)
{
    const struct sq_panel_site *s = &b->site[r];
    bool is_in = s->pos_bp >= x->how->from_bp && (!x->how->to_bp || s->pos_bp <= x->how->to_bp);
    if (!is_in)
        return SQ_OK;
    bool has_missing = missing < special->n_missing && special->missing[missing].row == r;
    if (s->alt_no == 1)
        x->is_apart = s->n_record_alt > 1 || x->n_haploid || has_missing;
    if (x->is_apart)
        take_apart(x, s, r, special, missing);
    x->ac[s->alt_no - 1] = s->ac;
    sq_err e = note_alleles(x, s);
    if (e || s->alt_no < s->n_record_alt)
        return e;
    x->n_record++;
    const uint64_t *row = x->row + r * x->n_word;
    e = x->how->container == SQ_PANEL_BCF ? put_bcf(x, s, row) : put_text(x, s, row);
    return e ? e : panel_sink_flush(&x->sink, false);
}

static sq_err put_block(struct exporter *x, const struct sq_panel_block *b, const struct sq_panel_special *special)
{
    size_t change = 0, missing = 0;
    sq_err e = SQ_OK;
    if (b->segment != x->segment) {
        x->segment = b->segment;
        x->n_haploid = 0;
        memset(x->is_haploid, 0, x->n_sample);
    }
    rows_of_block(x, b);
    for (uint32_t r = 0; r < b->n_site && !e; r++) {
        for (; change < special->n_change && special->change[change].row == r; change++) {
            uint8_t *is_haploid = &x->is_haploid[special->change[change].sample];
            *is_haploid ^= 1;
            x->n_haploid += *is_haploid ? 1U : -1U;
        }
        while (missing < special->n_missing && special->missing[missing].row < r)
            missing++;
        e = put_row(x, b, r, special, missing);
    }
    return e;
}

static void fill_tables(struct exporter *x)
{
    for (unsigned v = 0; v < 256; v++)
        for (unsigned i = 0; i < 8; i++) {
            bool is_alt = v >> i & 1;
            x->code[v][i] = (uint8_t)((is_alt ? 4 : 2) | (i & 1));
            x->text[v][2 * i] = i & 1 ? '|' : '\t';
            x->text[v][2 * i + 1] = is_alt ? '1' : '0';
        }
}

static sq_err exporter_init(struct exporter *x, int fd, struct sq_why *why)
{
    x->n_word = ((size_t)x->n_col + 63) / 64;
    x->row = malloc(x->n_word * SQ_PANEL_BLOCK_ROWS * sizeof *x->row);
    x->allele = malloc(x->n_col);
    x->is_haploid = calloc(x->n_sample, 1);
    if (!x->row || !x->allele || !x->is_haploid)
        return sq_fail(SQ_ENOMEM);
    fill_tables(x);
    sq_err e = panel_sink_open(&x->sink, fd, x->how->container != SQ_PANEL_VCF);
    return e ? e : put_header(x, why);
}

/* Blocks from the segment where the region begins to the one where it ends. */
static sq_err walk(struct exporter *x, struct sq_why *why)
{
    const struct sq_panel *p = x->p;
    struct sq_panel_cursor *c = NULL;
    uint32_t segment = sq_panel_segment_at(p, x->how->from_bp);
    if (segment == p->info.n_segment)
        return SQ_OK;
    sq_err e = sq_panel_cursor_new(p, SQ_PANEL_SITES | SQ_PANEL_HAPS | SQ_PANEL_SPECIAL, &c);
    if (!e)
        sq_panel_cursor_seek(c, segment);
    while (!e) {
        struct sq_panel_block b;
        bool has;
        e = sq_panel_cursor_next(c, true, why, &b, &has);
        if (e || !has || (x->how->to_bp && b.site[0].pos_bp > x->how->to_bp && b.site[0].alt_no == 1))
            break;
        e = put_block(x, &b, sq_panel_cursor_special(c));
        if (!e && x->how->progress)
            e = x->how->progress(x->how->ctx, b.no, p->info.n_block);
    }
    sq_panel_cursor_free(c);
    return e;
}

sq_err sq_panel_export(const struct sq_panel *p, const struct sq_panel_export *how, int fd, struct sq_why *why)
{
    struct exporter *x = calloc(1, sizeof *x);
    if (!x)
        return sq_fail(SQ_ENOMEM);
    x->p = p;
    x->how = how;
    x->n_sample = p->info.n_sample;
    x->n_col = p->n_col;
    x->segment = p->info.n_segment;
    x->bits = panel_bits_best();
    sq_buf_init(&x->alleles, 0);
    sq_err e = exporter_init(x, fd, why);
    if (!e)
        e = walk(x, why);
    if (!e && !x->n_record)
        e = sq_why_set(why, sq_fail(SQ_ENOVARIANT), 0, 0, "region", "the panel has no record there; it goes from %lld to %lld",
                       (long long)p->info.first_bp, (long long)p->info.last_bp);
    e = panel_sink_close(&x->sink, e);
    sq_buf_done(&x->alleles);
    free(x->row);
    free(x->allele);
    free(x->is_haploid);
    free(x);
    return e;
}
