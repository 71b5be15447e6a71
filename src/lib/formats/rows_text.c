/*
 * Rows as text of a VCF. A row is copied from the template on which nobody carries ALT, and the cells of the samples that differ are
 * put in; a cell is put together from a table of all numbers there are.
 */
#include "lib/formats/rows_internal.h"

#include <math.h>
#include <stdlib.h>

static char *put_text(char *at, const char *text, size_t n)
{
    memcpy(at, text, n);
    return at + n;
}

/* ---- cells --------------------------------------------------------------------------------------------------------------- */

static inline char *put_number(char *at, const struct sq_dosage_text *t)
{
    memcpy(at, t, sizeof *t); /* whole words: what is behind it is written next */
    return at + t->n;
}

static inline char allele(unsigned milli)
{
    return milli > SQ_ROWS_MILLI / 2 ? '1' : '0';
}

static inline unsigned product(unsigned a, unsigned b)
{
    return (a * b + SQ_ROWS_MILLI / 2) / SQ_ROWS_MILLI;
}

/* P(0|0), P(1|1) of independent haplotypes; what is left is P(0|1), so that the three sum to 1 */
static inline char *put_gp(const struct sq_dosage_text *number, char *at, unsigned a, unsigned b)
{
    unsigned p2 = product(a, b), p0 = product(SQ_ROWS_MILLI - a, SQ_ROWS_MILLI - b);
    if (p0 + p2 > SQ_ROWS_MILLI)
        p0 = SQ_ROWS_MILLI - p2;
    at = put_number(at, number + p0);
    *at++ = ',';
    at = put_number(at, number + SQ_ROWS_MILLI - p0 - p2);
    *at++ = ',';
    return put_number(at, number + p2);
}

static inline char *put_diploid(const struct sq_rows *r, char *at, unsigned a, unsigned b)
{
    const struct sq_dosage_text *number = r->number;
    for (unsigned f = 0; f < r->n_field; f++) {
        *at++ = f ? ':' : '\t';
        switch (r->field[f]) {
        case SQ_ROWS_GT:
            *at++ = allele(a);
            *at++ = '|';
            *at++ = allele(b);
            break;
        case SQ_ROWS_DS:
            at = put_number(at, number + a + b);
            break;
        case SQ_ROWS_HDS:
            at = put_number(at, number + a);
            *at++ = ',';
            at = put_number(at, number + b);
            break;
        case SQ_ROWS_GP:
            at = put_gp(number, at, a, b);
            break;
        case SQ_ROWS_N_FIELD:
            break;
        }
    }
    return at;
}

static inline char *put_haploid(const struct sq_rows *r, char *at, unsigned a)
{
    for (unsigned f = 0; f < r->n_field; f++) {
        *at++ = f ? ':' : '\t';
        if (r->field[f] == SQ_ROWS_GT) {
            *at++ = allele(a);
        } else if (r->field[f] == SQ_ROWS_GP) {
            at = put_number(at, r->number + SQ_ROWS_MILLI - a);
            *at++ = ',';
            at = put_number(at, r->number + a);
        } else {
            at = put_number(at, r->number + a);
        }
    }
    return at;
}

static char *put_none(const struct sq_rows *r, char *at, bool is_haploid)
{
    static const char *const none[SQ_ROWS_N_FIELD][2] = {
        [SQ_ROWS_GT] = {".|.", "."}, [SQ_ROWS_DS] = {".", "."}, [SQ_ROWS_HDS] = {".,.", "."}, [SQ_ROWS_GP] = {".,.,.", ".,."}};
    for (unsigned f = 0; f < r->n_field; f++) {
        *at++ = f ? ':' : '\t';
        const char *text = none[r->field[f]][is_haploid];
        at = put_text(at, text, strlen(text));
    }
    return at;
}

static inline char *put_cell(char *at, const struct rows_cell *c)
{
    memcpy(at, c->text, 48); /* the longest cell is 40 */
    return at + c->n;
}

static inline char *put_sample(const struct sq_rows *r, char *at, uint32_t sample, const uint16_t *d)
{
    unsigned a = d[0];
    if (!r->all_diploid && r->is_haploid[sample])
        return a == ROWS_NONE ? put_cell(at, &r->none[1]) : put_haploid(r, at, a);
    unsigned b = d[1];
    if (a == ROWS_NONE || b == ROWS_NONE)
        return put_cell(at, &r->none[0]);
    if ((!a || a == SQ_ROWS_MILLI) && (!b || b == SQ_ROWS_MILLI))
        return put_cell(at, &r->certain[(a ? 2 : 0) + (b ? 1 : 0)]);
    return put_diploid(r, at, a, b);
}

sq_err rows_text_init(struct sq_rows *r)
{
    static const char *const name[] = {"GT", "DS", "HDS", "GP"};
    char *at = r->format_column;
    for (unsigned f = 0; f < r->n_field; f++) {
        *at++ = f ? ':' : '\t';
        at = put_text(at, name[r->field[f]], strlen(name[r->field[f]]));
    }
    *at = 0;
    for (unsigned k = 0; k < 4; k++)
        r->certain[k].n = (uint8_t)(put_diploid(r, r->certain[k].text, k >> 1 ? SQ_ROWS_MILLI : 0, k & 1 ? SQ_ROWS_MILLI : 0) - r->certain[k].text);
    r->zero[0] = r->certain[0];
    r->zero[1].n = (uint8_t)(put_haploid(r, r->zero[1].text, 0) - r->zero[1].text);
    for (unsigned k = 0; k < 2; k++)
        r->none[k].n = (uint8_t)(put_none(r, r->none[k].text, k) - r->none[k].text);
    r->zero_row = malloc((size_t)r->n_sample * r->zero[0].n + ROWS_CELL_MAX);
    r->cell_at = r->all_diploid ? NULL : malloc(((size_t)r->n_sample + 1) * sizeof *r->cell_at);
    if (!r->zero_row || (!r->all_diploid && !r->cell_at))
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < r->n_sample; i++) {
        const struct rows_cell *c = &r->zero[r->is_haploid[i]];
        if (r->cell_at)
            r->cell_at[i] = r->n_zero_row;
        memcpy(r->zero_row + r->n_zero_row, c->text, c->n);
        r->n_zero_row += c->n;
    }
    if (r->cell_at)
        r->cell_at[r->n_sample] = r->n_zero_row;
    return SQ_OK;
}

/* ---- columns before the samples ------------------------------------------------------------------------------------------ */

static char *put_u64(char *at, uint64_t v)
{
    char digits[20];
    unsigned n = 0;
    do
        digits[n++] = (char)('0' + v % 10);
    while (v /= 10);
    while (n)
        *at++ = digits[--n];
    return at;
}

char *rows_put_fraction(char *at, double x)
{
    static const double power[] = {1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17};
    static const unsigned n_power = sizeof power / sizeof power[0];
    if (!(x > 0)) {
        *at++ = '0';
        return at;
    }
    unsigned k = 0;
    while (k + 1 < n_power && x * power[k] < 99999.5)
        k++;
    uint64_t v = (uint64_t)(x * power[k] + 0.5);
    if (x >= 1 || (!k && v >= 1000000)) {
        *at++ = '1';
        return at;
    }
    unsigned n = k + 6; /* decimals; noughts at the end aren't written */
    for (; n > 1 && v % 10 == 0; n--)
        v /= 10;
    *at++ = '0';
    *at++ = '.';
    for (unsigned i = n; i--; v /= 10)
        at[i] = (char)('0' + v % 10);
    return at + n;
}

static bool id_is_plain(struct sq_span id)
{
    if (!id.n || id.n > ROWS_ID_MAX)
        return false;
    for (uint32_t i = 0; i < id.n; i++)
        if (id.p[i] <= 32 || id.p[i] > 126)
            return false;
    return true;
}

sq_err rows_text_look(const struct sq_rows *r, struct rows_scratch *s, struct rows_view *view)
{
    static const char *const name[] = {
#define SQ_ROWS_INFO(name, ...) #name,
#define SQ_ROWS_FORMAT(...)
#include "lib/formats/rows.def"
#undef SQ_ROWS_INFO
#undef SQ_ROWS_FORMAT
    };
    const struct sq_row *row = view->row;
    s->site.n = 0;
    sq_err e = sq_buf_reserve(&s->site, (size_t)row->ref.n + row->alt.n + ROWS_ID_MAX + SQ_CHROM_MAX + 64);
    if (e)
        return e;
    char *start = (char *)s->site.p, *at = put_text(start, r->chrom, strlen(r->chrom));
    *at++ = '\t';
    at = put_u64(at, (uint64_t)row->pos_bp);
    *at++ = '\t';
    at = id_is_plain(row->id) ? put_text(at, (const char *)row->id.p, row->id.n) : put_text(at, ".", 1);
    *at++ = '\t';
    at = put_text(at, (const char *)row->ref.p, row->ref.n);
    *at++ = '\t';
    at = put_text(at, (const char *)row->alt.p, row->alt.n);
    at = put_text(at, "\t.\tPASS\t", 8);
    view->site = start;
    view->n_site = (size_t)(at - start);
    at = view->info;
    for (unsigned i = 0; i < ROWS_IMPUTED; i++) {
        if (isnan(view->value[i]))
            continue;
        at = put_text(at, name[i], strlen(name[i]));
        *at++ = '=';
        at = rows_put_fraction(at, view->value[i]);
        *at++ = ';';
    }
    at = put_text(at, name[view->kind], strlen(name[view->kind]));
    view->n_info = (size_t)(at - view->info);
    return SQ_OK;
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------ */

static char *put_result(const struct sq_rows *r, const struct rows_view *v, char *at)
{
    size_t width = r->zero[0].n, done = 0; /* of the template */
    at = put_text(at, r->format_column, strlen(r->format_column));
    for (uint32_t i = 0; i < v->n_touched; i++) {
        uint32_t sample = v->touched[i];
        size_t from = r->cell_at ? r->cell_at[sample] : sample * width;
        if (from > done)
            at = put_text(at, r->zero_row + done, from - done);
        char *cell = at;
        at = put_sample(r, at, sample, v->milli + rows_first_hap(r, sample));
        if (v->row->unphased && v->row->unphased[sample] && r->field[0] == SQ_ROWS_GT && cell[2] == '|')
            cell[2] = '/';
        done = r->cell_at ? r->cell_at[sample + 1] : from + width;
    }
    return put_text(at, r->zero_row + done, r->n_zero_row - done);
}

static inline char called(uint8_t allele_no)
{
    return allele_no > 1 ? '.' : (char)('0' + allele_no);
}

static char *put_empirical(const struct sq_rows *r, const struct sq_row *row, char *at)
{
    at = put_text(at, "\tGT:LDS", 7);
    for (uint32_t i = 0; i < r->n_sample; i++) {
        uint64_t h = rows_first_hap(r, i);
        *at++ = '\t';
        *at++ = called(row->observed[h]);
        if (!r->is_haploid[i]) {
            *at++ = '|';
            *at++ = called(row->observed[h + 1]);
        }
        *at++ = ':';
        sq_assert(row->loo[h] <= SQ_ROWS_MILLI);
        at = put_number(at, r->number + row->loo[h]);
        if (!r->is_haploid[i]) {
            *at++ = ',';
            sq_assert(row->loo[h + 1] <= SQ_ROWS_MILLI);
            at = put_number(at, r->number + row->loo[h + 1]);
        }
    }
    return at;
}

static char *put_phased(const struct sq_rows *r, const struct sq_row *row, char *at)
{
    at = put_text(at, "\tGT:PP", 6);
    for (uint32_t i = 0; i < r->n_sample; i++) {
        const uint8_t *a = row->observed + rows_first_hap(r, i);
        bool is_diploid = !r->is_haploid[i];
        *at++ = '\t';
        *at++ = called(a[0]);
        if (is_diploid) {
            *at++ = row->unphased && row->unphased[i] ? '/' : '|';
            *at++ = called(a[1]);
        }
        *at++ = ':';
        if (is_diploid && row->confidence && a[0] != a[1])
            at = put_number(at, r->number + rows_pp(row->confidence[i]));
        else
            *at++ = '.';
    }
    return at;
}

sq_err rows_text_put(const struct sq_rows *r, enum sq_rows_track track, const struct rows_view *v, struct sq_buf *out)
{
    size_t most = track == SQ_ROWS_RESULT ? r->n_zero_row + (size_t)v->n_touched * ROWS_CELL_MAX
                : track == SQ_ROWS_EMPIRICAL || track == SQ_ROWS_PHASED ? (size_t)r->n_sample * ROWS_CELL_MAX : 0;
    sq_err e = sq_buf_reserve(out, v->n_site + sizeof v->info + most + 2 * ROWS_CELL_MAX);
    if (e)
        return e;
    char *at = put_text((char *)out->p + out->n, v->site, v->n_site);
    if (track == SQ_ROWS_EMPIRICAL)
        at = put_empirical(r, v->row, put_text(at, "TYPED", 5));
    else
        at = put_text(at, v->info, v->n_info);
    if (track == SQ_ROWS_RESULT)
        at = put_result(r, v, at);
    else if (track == SQ_ROWS_PHASED)
        at = put_phased(r, v->row, at);
    *at++ = '\n';
    out->n = (size_t)(at - (char *)out->p);
    return SQ_OK;
}
