/*
 * Rows as records of a BCF 2.2 ("The Variant Call Format Specification", section 6). The template on which nobody carries ALT is copied,
 * field after field, and the numbers of the samples that differ are put in.
 */
#include "lib/formats/rows_internal.h"

#include <math.h>
#include <stdlib.h>

#define T_INT8 1U
#define T_INT16 2U
#define T_INT32 3U
#define T_FLOAT 5U
#define T_CHAR 7U
#define NONE_BITS 0x7f800001U /* a float that isn't known */
#define END_BITS 0x7f800002U  /* the sample has fewer numbers than others */
#define GT_END 0x81U

static uint8_t *put_bytes(uint8_t *at, const void *p, size_t n)
{
    if (n)
        memcpy(at, p, n);
    return at + n;
}

static uint8_t *put_u32(uint8_t *at, uint32_t v)
{
    sq_put_le32(at, v);
    return at + 4;
}

static uint32_t bits_of(float x)
{
    uint32_t v;
    memcpy(&v, &x, sizeof v);
    return v;
}

static uint8_t *put_type(uint8_t *at, unsigned type, uint32_t n)
{
    if (n < 15) {
        *at++ = (uint8_t)(n << 4 | type);
        return at;
    }
    *at++ = (uint8_t)(0xf0 | type);
    unsigned width = n < 128 ? 0 : n < 32768 ? 1 : 2; /* the length as a number of its own */
    *at++ = (uint8_t)(0x10 | (T_INT8 + width));
    for (unsigned i = 0; i < 1U << width; i++, n >>= 8)
        *at++ = (uint8_t)(n & 0xff);
    return at;
}

static uint8_t *put_key(uint8_t *at, uint8_t no)
{
    *at++ = 0x10 | T_INT8;
    *at++ = no;
    return at;
}

/* ---- samples ------------------------------------------------------------------------------------------------------------- */

static unsigned width_of(const struct sq_rows *r, enum sq_rows_field f)
{
    static const unsigned width[SQ_ROWS_N_FIELD][2] = {[SQ_ROWS_GT] = {2, 1}, [SQ_ROWS_DS] = {1, 1}, [SQ_ROWS_HDS] = {2, 1}, [SQ_ROWS_GP] = {3, 2}};
    return width[f][r->all_haploid];
}

static inline void put_float(uint8_t *at, unsigned i, uint32_t bits)
{
    sq_put_le32(at + 4 * (size_t)i, bits);
}

static inline uint8_t gt_of(unsigned milli)
{
    return milli > SQ_ROWS_MILLI / 2 ? 4 : 2; /* (allele + 1) << 1 */
}

static void set_gp(const struct sq_rows *r, uint8_t *p, unsigned a, unsigned b)
{
    unsigned p2 = (a * b + SQ_ROWS_MILLI / 2) / SQ_ROWS_MILLI;
    unsigned p0 = ((SQ_ROWS_MILLI - a) * (SQ_ROWS_MILLI - b) + SQ_ROWS_MILLI / 2) / SQ_ROWS_MILLI;
    if (p0 + p2 > SQ_ROWS_MILLI)
        p0 = SQ_ROWS_MILLI - p2;
    put_float(p, 0, r->number_bits[p0]);
    put_float(p, 1, r->number_bits[SQ_ROWS_MILLI - p0 - p2]);
    put_float(p, 2, r->number_bits[p2]);
}

static void set_diploid(const struct sq_rows *r, enum sq_rows_field f, uint8_t *p, unsigned a, unsigned b)
{
    switch (f) {
    case SQ_ROWS_GT:
        p[0] = gt_of(a);
        p[1] = gt_of(b) | 1; /* phased with the one before */
        break;
    case SQ_ROWS_DS:
        put_float(p, 0, r->number_bits[a + b]);
        break;
    case SQ_ROWS_HDS:
        put_float(p, 0, r->number_bits[a]);
        put_float(p, 1, r->number_bits[b]);
        break;
    case SQ_ROWS_GP:
        set_gp(r, p, a, b);
        break;
    case SQ_ROWS_N_FIELD:
        break;
    }
}

/* @width: what others have; a haploid sample's numbers end before */
static void set_haploid(const struct sq_rows *r, enum sq_rows_field f, uint8_t *p, unsigned width, unsigned a)
{
    if (f == SQ_ROWS_GT) {
        p[0] = gt_of(a);
        if (width > 1)
            p[1] = GT_END;
        return;
    }
    unsigned n = 0;
    if (f == SQ_ROWS_GP)
        put_float(p, n++, r->number_bits[SQ_ROWS_MILLI - a]);
    put_float(p, n++, r->number_bits[a]);
    for (; n < width; n++)
        put_float(p, n, END_BITS);
}

static void set_none(enum sq_rows_field f, uint8_t *p, unsigned width, bool is_haploid)
{
    if (f == SQ_ROWS_GT) {
        p[0] = 0;
        if (width > 1)
            p[1] = is_haploid ? GT_END : 1;
        return;
    }
    unsigned n_own = f == SQ_ROWS_DS ? 1 : f == SQ_ROWS_HDS ? (is_haploid ? 1 : 2) : (is_haploid ? 2 : 3);
    for (unsigned i = 0; i < width; i++)
        put_float(p, i, i < n_own ? NONE_BITS : END_BITS);
}

static void set_sample(const struct sq_rows *r, enum sq_rows_field f, uint8_t *p, uint32_t sample, const uint16_t *d)
{
    bool is_haploid = r->is_haploid[sample];
    if (d[0] == ROWS_NONE || (!is_haploid && d[1] == ROWS_NONE))
        set_none(f, p, width_of(r, f), is_haploid);
    else if (is_haploid)
        set_haploid(r, f, p, width_of(r, f), d[0]);
    else
        set_diploid(r, f, p, d[0], d[1]);
}

sq_err rows_bcf_init(struct sq_rows *r)
{
    static const uint16_t nobody[2] = {0, 0};
    size_t most = 0;
    for (unsigned k = 0; k < r->n_field; k++)
        most += 3 + (size_t)r->n_sample * 4 * width_of(r, r->field[k]);
    r->number_bits = malloc((2 * SQ_ROWS_MILLI + 1) * sizeof *r->number_bits);
    r->zero_fields = malloc(most);
    if (!r->number_bits || !r->zero_fields)
        return sq_fail(SQ_ENOMEM);
    for (unsigned i = 0; i <= 2 * SQ_ROWS_MILLI; i++)
        r->number_bits[i] = bits_of((float)(i / 1000.0));
    uint8_t *at = r->zero_fields;
    for (unsigned k = 0; k < r->n_field; k++) {
        enum sq_rows_field f = r->field[k];
        unsigned n = width_of(r, f), size = f == SQ_ROWS_GT ? 1 : 4;
        at = put_key(at, r->dictionary[SQ_ROWS_RESULT].field[f]);
        at = put_type(at, f == SQ_ROWS_GT ? T_INT8 : T_FLOAT, n);
        r->field_at[f] = (size_t)(at - r->zero_fields);
        r->field_width[f] = n * size;
        for (uint32_t i = 0; i < r->n_sample; i++, at += n * size)
            set_sample(r, f, at, i, nobody);
    }
    r->n_zero_fields = (size_t)(at - r->zero_fields);
    return SQ_OK;
}

/* ---- records --------------------------------------------------------------------------------------------------------------- */

static uint8_t *put_string(uint8_t *at, struct sq_span s)
{
    return put_bytes(put_type(at, T_CHAR, s.n), s.p, s.n);
}

static uint8_t *put_info(const struct sq_rows *r, enum sq_rows_track track, const struct rows_view *v, uint8_t *at, uint32_t *out_n)
{
    const uint8_t *no = r->dictionary[track].info;
    uint32_t n = 0;
    for (unsigned i = 0; i < ROWS_IMPUTED; i++) {
        if (!no[i] || isnan(v->value[i]))
            continue;
        at = put_type(put_key(at, no[i]), T_FLOAT, 1);
        at = put_u32(at, bits_of((float)v->value[i]));
        n++;
    }
    at = put_key(at, no[v->kind]);
    *at++ = 0; /* a flag has no value */
    *out_n = n + 1;
    return at;
}

/* Everything before the samples; the two lengths in front are put in when they are known. */
static uint8_t *put_shared(const struct sq_rows *r, enum sq_rows_track track, const struct rows_view *v, unsigned n_field, uint8_t *start)
{
    const struct sq_row *row = v->row;
    uint32_t n_info = 0;
    uint8_t *at = put_u32(start + 8, 0); /* the one contig */
    at = put_u32(at, (uint32_t)(row->pos_bp - 1));
    at = put_u32(at, row->ref.n);
    at = put_u32(at, NONE_BITS); /* QUAL */
    uint8_t *counts = at;
    at += 8;
    bool id_ok = row->id.n && row->id.n <= ROWS_ID_MAX;
    for (uint32_t i = 0; i < row->id.n && id_ok; i++)
        id_ok = row->id.p[i] > 32 && row->id.p[i] <= 126;
    at = put_string(at, id_ok ? row->id : sq_span_of(".", 1));
    at = put_string(at, row->ref);
    at = put_string(at, row->alt);
    *at++ = 0x10 | T_INT8; /* FILTER: PASS */
    *at++ = 0;
    at = put_info(r, track, v, at, &n_info);
    counts = put_u32(counts, 2U << 16 | n_info);
    put_u32(counts, n_field << 24 | (n_field ? r->n_sample : 0));
    put_u32(start, (uint32_t)(at - start) - 8);
    return at;
}

static uint8_t *put_fields(const struct sq_rows *r, const struct rows_view *v, uint8_t *start)
{
    memcpy(start, r->zero_fields, r->n_zero_fields);
    for (unsigned k = 0; k < r->n_field; k++) {
        enum sq_rows_field f = r->field[k];
        for (uint32_t i = 0; i < v->n_touched; i++) {
            uint32_t sample = v->touched[i];
            uint8_t *p = start + r->field_at[f] + (size_t)sample * r->field_width[f];
            set_sample(r, f, p, sample, v->milli + rows_first_hap(r, sample));
            if (f == SQ_ROWS_GT && v->row->unphased && v->row->unphased[sample] && p[1] != GT_END)
                p[1] &= 0xfe;
        }
    }
    return start + r->n_zero_fields;
}

static uint8_t *put_empirical(const struct sq_rows *r, const struct sq_row *row, uint8_t *at)
{
    const struct rows_dictionary *d = &r->dictionary[SQ_ROWS_EMPIRICAL];
    unsigned width = r->all_haploid ? 1 : 2;
    at = put_type(put_key(at, d->field[SQ_ROWS_GT]), T_INT8, width);
    for (uint32_t i = 0; i < r->n_sample; i++) {
        const uint8_t *allele = row->observed + rows_first_hap(r, i);
        *at++ = (uint8_t)(allele[0] > 1 ? 0 : (allele[0] + 1) << 1);
        if (!r->is_haploid[i])
            *at++ = (uint8_t)(allele[1] > 1 ? 1 : (allele[1] + 1) << 1 | 1);
        else if (width > 1)
            *at++ = GT_END;
    }
    at = put_type(put_key(at, d->lds), T_FLOAT, width);
    for (uint32_t i = 0; i < r->n_sample; i++, at += 4 * (size_t)width) {
        const uint16_t *loo = row->loo + rows_first_hap(r, i);
        for (unsigned k = 0; k < width; k++) {
            bool is_there = !k || !r->is_haploid[i];
            sq_assert(!is_there || loo[k] <= SQ_ROWS_MILLI);
            put_float(at, k, is_there ? r->number_bits[loo[k]] : END_BITS);
        }
    }
    return at;
}

static uint8_t *put_phased(const struct sq_rows *r, const struct sq_row *row, uint8_t *at)
{
    const struct rows_dictionary *d = &r->dictionary[SQ_ROWS_PHASED];
    unsigned width = r->all_haploid ? 1 : 2;
    at = put_type(put_key(at, d->field[SQ_ROWS_GT]), T_INT8, width);
    for (uint32_t i = 0; i < r->n_sample; i++) {
        const uint8_t *a = row->observed + rows_first_hap(r, i);
        unsigned bar = row->unphased && row->unphased[i] ? 0 : 1;
        *at++ = (uint8_t)(a[0] > 1 ? 0 : (a[0] + 1) << 1);
        if (!r->is_haploid[i])
            *at++ = (uint8_t)((a[1] > 1 ? 0U : (a[1] + 1U) << 1) | bar);
        else if (width > 1)
            *at++ = GT_END;
    }
    at = put_type(put_key(at, d->pp), T_FLOAT, 1);
    for (uint32_t i = 0; i < r->n_sample; i++) {
        const uint8_t *a = row->observed + rows_first_hap(r, i);
        bool has = !r->is_haploid[i] && row->confidence && a[0] != a[1];
        at = put_u32(at, has ? r->number_bits[rows_pp(row->confidence[i])] : NONE_BITS);
    }
    return at;
}

sq_err rows_bcf_put(const struct sq_rows *r, enum sq_rows_track track, const struct rows_view *v, struct sq_buf *out)
{
    const struct sq_row *row = v->row;
    size_t samples = track == SQ_ROWS_RESULT ? r->n_zero_fields : track == SQ_ROWS_EMPIRICAL || track == SQ_ROWS_PHASED ? 16 + (size_t)r->n_sample * 10 : 0;
    if (samples > UINT32_MAX || row->ref.n > INT32_MAX || row->alt.n > INT32_MAX)
        return sq_fail(SQ_ELIMIT);
    sq_err e = sq_buf_reserve(out, (size_t)row->ref.n + row->alt.n + ROWS_ID_MAX + 256 + samples);
    if (e)
        return e;
    uint8_t *start = out->p + out->n;
    unsigned n_field = track == SQ_ROWS_RESULT ? r->n_field : track == SQ_ROWS_EMPIRICAL || track == SQ_ROWS_PHASED ? 2 : 0;
    uint8_t *fields = put_shared(r, track, v, n_field, start), *at = fields;
    if (track == SQ_ROWS_RESULT)
        at = put_fields(r, v, fields);
    else if (track == SQ_ROWS_EMPIRICAL)
        at = put_empirical(r, row, fields);
    else if (track == SQ_ROWS_PHASED)
        at = put_phased(r, row, fields);
    put_u32(start + 4, (uint32_t)(at - fields));
    out->n = (size_t)(at - out->p);
    return SQ_OK;
}
