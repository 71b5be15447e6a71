#include "lib/formats/rows_internal.h"

#include <math.h>
#include <stdlib.h>

static const char *const field_name[] = {
#define SQ_ROWS_INFO(...)
#define SQ_ROWS_FORMAT(name, ...) #name,
#include "lib/formats/rows.def"
#undef SQ_ROWS_INFO
#undef SQ_ROWS_FORMAT
};

sq_err sq_rows_fields(const char *text, enum sq_rows_field field[SQ_ROWS_N_FIELD], unsigned *out_n)
{
    enum sq_rows_field got[SQ_ROWS_N_FIELD];
    unsigned n = 0;
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",:");
        unsigned f = 0;
        while (f < SQ_ROWS_N_FIELD && (strlen(field_name[f]) != len || memcmp(field_name[f], at, len)))
            f++;
        if (f == SQ_ROWS_N_FIELD || n == SQ_ROWS_N_FIELD || (f == SQ_ROWS_GT && n))
            return sq_fail(SQ_ERANGE);
        for (unsigned i = 0; i < n; i++)
            if (got[i] == f)
                return sq_fail(SQ_ERANGE);
        got[n++] = (enum sq_rows_field)f;
        at += len;
        if (!*at)
            break;
    }
    memcpy(field, got, n * sizeof *field);
    *out_n = n;
    return SQ_OK;
}

/* ---- the plan ---------------------------------------------------------------------------------------------------------- */

static bool spec_ok(const struct sq_rows_spec *s)
{
    if (!s->chrom || !s->chrom[0] || strlen(s->chrom) >= SQ_CHROM_MAX || !s->n_sample || s->n_sample > 0xffffffU ||
        !s->n_field || s->n_field > SQ_ROWS_N_FIELD || s->level < 0 || s->level > 12 || s->n_param > SQ_ROWS_MAX_PARAM)
        return false;
    for (unsigned i = 0; i < s->n_field; i++) {
        if ((unsigned)s->field[i] >= SQ_ROWS_N_FIELD || (s->field[i] == SQ_ROWS_GT && i))
            return false;
        for (unsigned k = 0; k < i; k++)
            if (s->field[k] == s->field[i])
                return false;
    }
    return true;
}

/* A header line of ours; what a header can't hold becomes '_'. */
static sq_err add_line(struct sq_buf *out, const char *key, size_t n_key, const char *value)
{
    sq_err e = sq_buf_addf(out, "##sequester_%.*s=", (int)n_key, key);
    for (const char *p = value; *p && !e; p++)
        e = sq_buf_add(out, *p < 32 || *p > 126 ? "_" : p, 1);
    return e ? e : sq_buf_add(out, "\n", 1);
}

static sq_err make_extra_meta(const struct sq_rows_spec *s, struct sq_buf *out)
{
    sq_err e = SQ_OK;
    if (s->panel_name && s->panel_name[0])
        e = add_line(out, "panel", 5, s->panel_name);
    if (!e && s->n_panel_haplotype)
        e = sq_buf_addf(out, "##sequester_panel_haplotypes=%llu\n", (unsigned long long)s->n_panel_haplotype);
    for (unsigned i = 0; i < s->n_param && !e; i++) {
        static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
        size_t n_key = strspn(s->param[i], letters);
        e = n_key && s->param[i][n_key] == '=' ? add_line(out, s->param[i], n_key, s->param[i] + n_key + 1) : sq_fail(SQ_ERANGE);
    }
    return e;
}

static sq_err copy_samples(struct sq_rows *r, const uint8_t *is_haploid)
{
    r->is_haploid = calloc(r->n_sample, 1);
    if (!r->is_haploid)
        return sq_fail(SQ_ENOMEM);
    uint32_t n_haploid = 0;
    for (uint32_t i = 0; is_haploid && i < r->n_sample; i++)
        n_haploid += r->is_haploid[i] = is_haploid[i] != 0;
    r->n_target = 2 * (uint64_t)r->n_sample - n_haploid;
    r->all_diploid = !n_haploid;
    r->all_haploid = n_haploid == r->n_sample;
    if (r->all_diploid)
        return SQ_OK;
    r->first_hap = malloc(r->n_sample * sizeof *r->first_hap);
    r->sample_of = malloc(r->n_target * sizeof *r->sample_of);
    if (!r->first_hap || !r->sample_of)
        return sq_fail(SQ_ENOMEM);
    uint64_t h = 0;
    for (uint32_t i = 0; i < r->n_sample; i++) {
        r->first_hap[i] = h;
        for (unsigned k = 0; k < (r->is_haploid[i] ? 1U : 2U); k++)
            r->sample_of[h++] = i;
    }
    return SQ_OK;
}

/* The order of the header lines is the order of the dictionary (sq_rows_meta). */
static void number_dictionary(struct sq_rows *r)
{
    for (unsigned t = 0; t < SQ_ROWS_N_TRACK; t++) {
        struct rows_dictionary *d = &r->dictionary[t];
        uint8_t no = 1;
        for (unsigned i = 0; i < ROWS_N_INFO; i++)
            if (rows_info_in((enum rows_info)i, (enum sq_rows_track)t))
                d->info[i] = no++;
        if (t == SQ_ROWS_EMPIRICAL) {
            d->field[SQ_ROWS_GT] = no++;
            d->lds = no++;
        }
        if (t == SQ_ROWS_PHASED) {
            d->field[SQ_ROWS_GT] = no++;
            d->pp = no++;
        }
        for (unsigned f = 0; f < r->n_field && t == SQ_ROWS_RESULT; f++)
            d->field[r->field[f]] = no++;
    }
}

sq_err sq_rows_new(const struct sq_rows_spec *spec, struct sq_rows **out)
{
    if (!spec_ok(spec))
        return sq_fail(SQ_ERANGE);
    struct sq_rows *r = calloc(1, sizeof *r);
    if (!r)
        return sq_fail(SQ_ENOMEM);
    memcpy(r->chrom, spec->chrom, strlen(spec->chrom) + 1);
    r->chrom_length = spec->chrom_length;
    r->n_sample = spec->n_sample;
    r->container = spec->container;
    memcpy(r->field, spec->field, sizeof r->field);
    r->n_field = spec->n_field;
    r->level = spec->level ? spec->level : spec->container == SQ_ROWS_BCF ? SQ_ROWS_LEVEL_BCF : SQ_ROWS_LEVEL;
    r->overwrite_typed = spec->overwrite_typed;
    r->min_r2 = spec->min_r2;
    r->number = sq_dosage_texts();
    sq_buf_init(&r->extra_meta, 0);
    number_dictionary(r);
    sq_err e = make_extra_meta(spec, &r->extra_meta);
    if (!e)
        e = copy_samples(r, spec->is_haploid);
    if (!e)
        e = r->container == SQ_ROWS_BCF ? rows_bcf_init(r) : rows_text_init(r);
    if (e)
        sq_rows_free(r);
    else
        *out = r;
    return e;
}

void sq_rows_free(struct sq_rows *r)
{
    if (!r)
        return;
    sq_buf_done(&r->extra_meta);
    free(r->is_haploid);
    free(r->first_hap);
    free(r->sample_of);
    free(r->zero_row);
    free(r->cell_at);
    free(r->zero_fields);
    free(r->number_bits);
    free(r);
}

uint64_t sq_rows_n_target(const struct sq_rows *r)
{
    return r->n_target;
}

/* ---- header lines ------------------------------------------------------------------------------------------------------ */

struct meta_row {
    const char *name, *number, *type, *text;
};

static const struct meta_row info_row[] = {
#define SQ_ROWS_INFO(name, number, type, tracks, text) {#name, number, type, text},
#define SQ_ROWS_FORMAT(...)
#include "lib/formats/rows.def"
#undef SQ_ROWS_INFO
#undef SQ_ROWS_FORMAT
};

static const struct meta_row field_row[] = {
#define SQ_ROWS_INFO(...)
#define SQ_ROWS_FORMAT(name, number, type, text) {#name, number, type, text},
#include "lib/formats/rows.def"
#undef SQ_ROWS_INFO
#undef SQ_ROWS_FORMAT
};

/* In a BCF every line says its number in the dictionary: the body was written with it. */
static sq_err add_close(const struct sq_rows *r, unsigned no, struct sq_buf *out)
{
    return r->container == SQ_ROWS_BCF ? sq_buf_addf(out, ",IDX=%u>\n", no) : sq_buf_addf(out, ">\n");
}

static sq_err add_meta(const struct sq_rows *r, const char *what, const struct meta_row *m, unsigned no, struct sq_buf *out)
{
    sq_err e = sq_buf_addf(out, "##%s=<ID=%s,Number=%s,Type=%s,Description=\"%s\"", what, m->name, m->number, m->type, m->text);
    return e ? e : add_close(r, no, out);
}

sq_err sq_rows_meta(const struct sq_rows *r, enum sq_rows_track track, struct sq_buf *out)
{
    static const struct meta_row observed = {"GT", "1", "String", "Genotype as observed"},
                                 phased = {"GT", "1", "String", "Genotype: observed alleles, phased; one that was missing at a site of the panel is filled"},
                                 pp = {"PP", "1", "Float", "Phasing confidence: probability that a heterozygote's order relative to the one before it is right, 0.5 to 1"},
                                 lds = {"LDS", ".", "Float", "Dosage of the alternative allele, each haplotype, imputed as if this site had not been typed"};
    const struct rows_dictionary *d = &r->dictionary[track];
    sq_err e = sq_buf_addf(out, "##fileformat=VCFv4.2\n##FILTER=<ID=PASS,Description=\"All filters passed\"");
    if (!e)
        e = add_close(r, 0, out);
    if (!e)
        e = sq_buf_addf(out, "##source=sequester %s\n##contig=<ID=%s", SQ_VERSION, r->chrom);
    if (!e && r->chrom_length)
        e = sq_buf_addf(out, ",length=%llu", (unsigned long long)r->chrom_length);
    if (!e)
        e = add_close(r, 0, out);
    if (!e)
        e = sq_buf_add(out, r->extra_meta.p, r->extra_meta.n);
    for (unsigned i = 0; i < ROWS_N_INFO && !e; i++)
        if (rows_info_in((enum rows_info)i, track))
            e = add_meta(r, "INFO", &info_row[i], d->info[i], out);
    for (unsigned f = 0; f < r->n_field && track == SQ_ROWS_RESULT && !e; f++)
        e = add_meta(r, "FORMAT", &field_row[r->field[f]], d->field[r->field[f]], out);
    if (!e && track == SQ_ROWS_EMPIRICAL)
        e = add_meta(r, "FORMAT", &observed, d->field[SQ_ROWS_GT], out);
    if (!e && track == SQ_ROWS_EMPIRICAL)
        e = add_meta(r, "FORMAT", &lds, d->lds, out);
    if (!e && track == SQ_ROWS_PHASED)
        e = add_meta(r, "FORMAT", &phased, d->field[SQ_ROWS_GT], out);
    if (!e && track == SQ_ROWS_PHASED)
        e = add_meta(r, "FORMAT", &pp, d->pp, out);
    return e;
}

/* ---- looking a row through --------------------------------------------------------------------------------------------- */

sq_err rows_scratch_init(const struct sq_rows *r, struct rows_scratch *s)
{
    s->milli = malloc(r->n_target * sizeof *s->milli);
    s->touched = malloc(r->n_sample * sizeof *s->touched);
    sq_buf_init(&s->site, 0);
    return s->milli && s->touched ? SQ_OK : sq_fail(SQ_ENOMEM);
}

void rows_scratch_done(struct rows_scratch *s)
{
    free(s->milli);
    free(s->touched);
    sq_buf_done(&s->site);
}

/* What is written: observed alleles where they count, else what was imputed, else ROWS_NONE. */
static const uint16_t *written(const struct sq_rows *r, const struct sq_row *row, uint16_t *scratch)
{
    if (row->milli && (!row->observed || r->overwrite_typed))
        return row->milli;
    for (uint64_t h = 0; h < r->n_target; h++)
        scratch[h] = row->observed[h] <= 1 ? (uint16_t)(row->observed[h] * SQ_ROWS_MILLI) : row->milli ? row->milli[h] : (uint16_t)ROWS_NONE;
    return scratch;
}

struct sums {
    uint64_t n, dosage, doubt; /* haplotypes known, sum of their dosages, sum of min(d, 1000 - d) */
};

static inline uint32_t touch(const struct sq_rows *r, uint64_t h, uint16_t d, uint32_t *touched, uint32_t n, struct sums *s)
{
    uint32_t sample = r->sample_of ? r->sample_of[h] : (uint32_t)(h / 2);
    if (d == ROWS_NONE) {
        s->n--;
    } else {
        sq_assert(d <= SQ_ROWS_MILLI);
        s->dosage += d;
        s->doubt += d <= SQ_ROWS_MILLI / 2 ? d : SQ_ROWS_MILLI - d;
    }
    if (n && touched[n - 1] == sample)
        return n;
    touched[n] = sample;
    return n + 1;
}

/* Most of all there is are zeros: sixteen haplotypes are passed over at once. The plain meaning is the last loop alone. */
static uint32_t scan(const struct sq_rows *r, const uint16_t *d, uint32_t *touched, struct sums *s)
{
    uint32_t n = 0;
    uint64_t h = 0, w[4];
    for (; h + 16 <= r->n_target; h += 16) {
        memcpy(w, d + h, sizeof w);
        if (!(w[0] | w[1] | w[2] | w[3]))
            continue;
        for (unsigned k = 0; k < 16; k++)
            if (d[h + k])
                n = touch(r, h + k, d[h + k], touched, n, s);
    }
    for (; h < r->n_target; h++)
        if (d[h])
            n = touch(r, h, d[h], touched, n, s);
    return n;
}

/* Squared correlation of what was imputed without looking with what was observed; NAN when either doesn't vary. */
static double empirical_r2(const struct sq_rows *r, const struct sq_row *row)
{
    uint64_t n = 0, x = 0, xx = 0, y = 0, xy = 0;
    for (uint64_t h = 0; h < r->n_target; h++) {
        if (row->observed[h] > 1)
            continue;
        uint64_t d = row->loo[h];
        sq_assert(d <= SQ_ROWS_MILLI);
        n++;
        x += d;
        xx += d * d;
        if (row->observed[h]) {
            y++;
            xy += d;
        }
    }
    double var_x = (double)n * (double)xx - (double)x * (double)x, var_y = (double)n * (double)y - (double)y * (double)y;
    double cov = (double)n * (double)xy - (double)x * (double)y;
    return var_x > 0 && var_y > 0 ? fmin(cov * cov / (var_x * var_y), 1) : (double)NAN;
}

sq_err rows_look(const struct sq_rows *r, const struct sq_row *row, struct rows_scratch *s, struct rows_view *view)
{
    sq_assert(row->milli || row->observed);
    if (row->pos_bp < 1 || !row->ref.n || !row->alt.n || row->pos_bp > SQ_ROWS_POS_MAX - (int64_t)row->ref.n)
        return sq_fail(SQ_ELIMIT);
    view->row = row;
    view->kind = !row->milli ? (row->confidence ? ROWS_TYPED : ROWS_TYPED_ONLY) : row->observed ? ROWS_TYPED : ROWS_IMPUTED;
    view->milli = written(r, row, s->milli);
    view->touched = s->touched;
    struct sums sums = {.n = r->n_target};
    view->n_touched = scan(r, view->milli, s->touched, &sums);
    for (unsigned i = 0; i < ROWS_N_INFO; i++)
        view->value[i] = (double)NAN;
    uint64_t all = sums.n * SQ_ROWS_MILLI, rarer = sums.dosage < all - sums.dosage ? sums.dosage : all - sums.dosage;
    double whole = all ? (double)all : 1;
    view->value[ROWS_AF] = (double)sums.dosage / whole;
    view->value[ROWS_MAF] = (double)rarer / whole;
    if (row->milli) {
        view->value[ROWS_AVG_CS] = (double)(all - sums.doubt) / whole;
        view->value[ROWS_R2] = row->r2;
    }
    if (view->kind == ROWS_TYPED && row->loo)
        view->value[ROWS_ER2] = empirical_r2(r, row);
    return r->container == SQ_ROWS_BCF ? SQ_OK : rows_text_look(r, s, view);
}
