/* Rows of the result against a slow, plain definition; pieces against one thread; parts, and what a stranger may write into one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "rows_made.h"

#include "lib/formats/bgzf_out.h"
#include "lib/formats/source.h"

#include <signal.h>

#include <htslib/hfile.h>
#include <htslib/kstring.h>
#include <htslib/vcf.h>

static const char *const name_of[] = {"GT", "DS", "HDS", "GP"};

/* ---- the plain definition ----------------------------------------------------------------------------------------------------- */

static void add_number(struct sq_buf *t, unsigned milli)
{
    char text[16];
    snprintf(text, sizeof text, "%u.%03u", milli / 1000, milli % 1000);
    size_t n = strlen(text);
    while (text[n - 1] == '0')
        n--;
    if (text[n - 1] == '.')
        n--;
    assert_int_equal(sq_buf_add(t, text, n), SQ_OK);
}

#define ADD(t, ...) assert_int_equal(sq_buf_addf((t), __VA_ARGS__), SQ_OK)

/* One sample's field; d[k] is -1 where nothing is known. */
static void plain_field(struct sq_buf *t, enum sq_rows_field f, bool is_haploid, const int *d)
{
    unsigned n = is_haploid ? 1 : 2;
    bool is_known = d[0] >= 0 && (is_haploid || d[1] >= 0);
    unsigned a = is_known ? (unsigned)d[0] : 0, b = is_known && !is_haploid ? (unsigned)d[1] : 0;
    if (f == SQ_ROWS_GT) {
        for (unsigned k = 0; k < n; k++)
            ADD(t, "%s%c", k ? "|" : "", !is_known ? '.' : d[k] > 500 ? '1' : '0');
    } else if (!is_known) {
        unsigned n_number = f == SQ_ROWS_DS ? 1 : f == SQ_ROWS_HDS ? n : n + 1;
        for (unsigned k = 0; k < n_number; k++)
            ADD(t, "%s.", k ? "," : "");
    } else if (f == SQ_ROWS_DS) {
        add_number(t, a + b);
    } else if (f == SQ_ROWS_HDS) {
        add_number(t, a);
        if (!is_haploid)
            ADD(t, ","), add_number(t, b);
    } else if (is_haploid) {
        add_number(t, 1000 - a), ADD(t, ","), add_number(t, a);
    } else {
        unsigned p2 = (a * b + 500) / 1000, p0 = ((1000 - a) * (1000 - b) + 500) / 1000;
        p0 = p0 + p2 > 1000 ? 1000 - p2 : p0;
        add_number(t, p0), ADD(t, ","), add_number(t, 1000 - p0 - p2), ADD(t, ","), add_number(t, p2);
    }
}

/* What is written for haplotype @h, -1: nothing known. */
static int plain_milli(const struct made_row *r, uint64_t h, bool overwrite)
{
    if (r->milli && (!r->observed || overwrite))
        return r->milli[h];
    if (r->observed[h] <= 1)
        return r->observed[h] * 1000;
    return r->milli ? r->milli[h] : -1;
}

static void plain_samples(struct sq_buf *t, const struct made *m, const struct made_row *r, const struct sq_rows_spec *s)
{
    for (unsigned f = 0; f < s->n_field; f++)
        ADD(t, "%c%s", f ? ':' : '\t', name_of[s->field[f]]);
    uint64_t h = 0;
    for (uint32_t i = 0; i < m->n_sample; i++) {
        bool is_haploid = m->is_haploid[i];
        int d[2] = {plain_milli(r, h, s->overwrite_typed), is_haploid ? 0 : plain_milli(r, h + 1, s->overwrite_typed)};
        for (unsigned f = 0; f < s->n_field; f++) {
            ADD(t, "%c", f ? ':' : '\t');
            plain_field(t, s->field[f], is_haploid, d);
        }
        h += is_haploid ? 1 : 2;
    }
}

static double plain_er2(const struct made *m, const struct made_row *r)
{
    double n = 0, x = 0, y = 0, xx = 0, yy = 0, xy = 0;
    for (uint64_t h = 0; h < m->n_target; h++)
        if (r->observed[h] <= 1)
            n++, x += r->loo[h] / 1000.0, y += r->observed[h];
    for (uint64_t h = 0; h < m->n_target; h++) { /* about the means, unlike what is tested */
        if (r->observed[h] > 1)
            continue;
        double dx = r->loo[h] / 1000.0 - x / n, dy = r->observed[h] - y / n;
        xx += dx * dx, yy += dy * dy, xy += dx * dy;
    }
    return xx > 1e-12 && yy > 1e-12 ? xy * xy / (xx * yy) : (double)NAN;
}

struct plain_info {
    double af, maf, avg_cs, r2, er2;
    const char *flag;
};

static struct plain_info plain_info(const struct made *m, const struct made_row *r, bool overwrite)
{
    double n = 0, sum = 0, score = 0;
    for (uint64_t h = 0; h < m->n_target; h++) {
        int d = plain_milli(r, h, overwrite);
        if (d >= 0)
            n++, sum += d / 1000.0, score += fmax(d / 1000.0, 1 - d / 1000.0);
    }
    struct plain_info i = {.af = n > 0 ? sum / n : 0, .avg_cs = (double)NAN, .r2 = (double)NAN, .er2 = (double)NAN};
    i.maf = n > 0 ? fmin(i.af, 1 - i.af) : 0;
    i.flag = !r->milli ? "TYPED_ONLY" : r->observed ? "TYPED" : "IMPUTED";
    if (r->milli) {
        i.avg_cs = score / n;
        i.r2 = r->r2;
    }
    if (r->milli && r->observed && r->loo)
        i.er2 = plain_er2(m, r);
    return i;
}

/* ---- reading back ----------------------------------------------------------------------------------------------------------- */

static void unpack(const struct sq_buf *packed, struct sq_buf *out)
{
    int fd = memfd_create("packed", MFD_CLOEXEC);
    assert_int_equal(write(fd, packed->p, packed->n), (ssize_t)packed->n);
    lseek(fd, 0, SEEK_SET);
    struct sq_source *s = NULL;
    struct sq_source_limits limits = {0};
    struct sq_why why = {0};
    sq_buf_init(out, 0);
    sq_err e = sq_source_open(fd, &limits, &why, &s);
    if (e == SQ_EEMPTY) { /* an end block alone */
        close(fd);
        return;
    }
    assert_int_equal(e, SQ_OK);
    assert_int_equal(sq_source_packing(s), SQ_PACKING_BGZF);
    for (size_t got = 1; got;) {
        assert_int_equal(sq_buf_reserve(out, 1 << 20), SQ_OK);
        assert_int_equal(sq_source_read(s, out->p + out->n, 1 << 20, &why, &got), SQ_OK);
        out->n += got;
    }
    sq_source_close(s);
    close(fd);
}

static void check_number(const char *info, const char *key, double want)
{
    char find[16];
    snprintf(find, sizeof find, "%s=", key);
    const char *at = info;
    while ((at = strstr(at, find)) && at != info && at[-1] != ';')
        at++;
    if (isnan(want)) {
        assert_null(at);
        return;
    }
    assert_non_null(at);
    char *end;
    double got = strtod(at + strlen(find), &end);
    assert_true(*end == ';' || *end == 0 || *end == '\t');
    if (fabs(got - want) > (want > 0 ? 0.5001 * pow(10, floor(log10(want)) - 5) : 0))
        fail_msg("%s: %.9g, not %.9g, in %s", key, got, want, info);
}

static void check_info(const char *info, const struct plain_info *i)
{
    check_number(info, "AF", i->af);
    check_number(info, "MAF", i->maf);
    check_number(info, "AVG_CS", i->avg_cs);
    check_number(info, "R2", i->r2);
    check_number(info, "ER2", i->er2);
    const char *flag = strrchr(info, ';');
    assert_string_equal(flag + 1, i->flag);
}

/* CHROM to FILTER and a tab. */
static void plain_site(struct sq_buf *t, const struct made_row *r)
{
    ADD(t, "chr7\t%lld\t%s\t%s\t%s\t.\tPASS\t", (long long)r->pos_bp, r->id, r->ref, r->alt);
}

static char *next_line(char **at)
{
    char *line = *at, *lf = strchr(line, '\n');
    assert_non_null(lf);
    *lf = 0;
    *at = lf + 1;
    return line;
}

/* INFO is taken out of @line, which then reads as if there were none. */
static void take_info(char *line, char *info, size_t size)
{
    char *from = line;
    for (int i = 0; i < 7; i++)
        from = strchr(from, '\t') + 1;
    char *to = strchr(from, '\t');
    size_t n = to ? (size_t)(to - from) : strlen(from);
    assert_true(n < size);
    memcpy(info, from, n);
    info[n] = 0;
    memmove(from, from + n, strlen(from + n) + 1);
}

static void check_text(const struct made *m, const struct sq_rows_spec *s, struct made_files *f)
{
    struct sq_buf text[SQ_ROWS_PHASED], want;
    char *at[SQ_ROWS_PHASED], info[256];
    sq_buf_init(&want, 0);
    for (unsigned t = 0; t < SQ_ROWS_PHASED; t++) {
        unpack(&f->body[t], &text[t]);
        ADD(&text[t], "%c", 0);
        at[t] = (char *)text[t].p;
    }
    for (uint32_t i = 0; i < m->n_row; i++) {
        const struct made_row *r = &m->row[i];
        struct plain_info plain = plain_info(m, r, s->overwrite_typed);
        if (s->min_r2 > 0 && !r->observed && !(r->r2 >= s->min_r2))
            continue;
        char *line = next_line(&at[SQ_ROWS_RESULT]);
        take_info(line, info, sizeof info);
        check_info(info, &plain);
        want.n = 0;
        plain_site(&want, r);
        size_t n_site = want.n;
        plain_samples(&want, m, r, s);
        ADD(&want, "%c", 0);
        assert_string_equal(line, (char *)want.p);
        line = next_line(&at[SQ_ROWS_SITES]);
        take_info(line, info, sizeof info);
        check_info(info, &plain);
        want.p[n_site] = 0;
        assert_string_equal(line, (char *)want.p);
        if (!r->loo)
            continue;
        line = next_line(&at[SQ_ROWS_EMPIRICAL]);
        take_info(line, info, sizeof info);
        assert_string_equal(info, "TYPED");
        want.n = n_site;
        ADD(&want, "\tGT:LDS");
        uint64_t h = 0;
        for (uint32_t k = 0; k < m->n_sample; k++) {
            unsigned n = m->is_haploid[k] ? 1 : 2;
            for (unsigned j = 0; j < n; j++)
                ADD(&want, "%c%c", j ? '|' : '\t', r->observed[h + j] > 1 ? '.' : '0' + r->observed[h + j]);
            for (unsigned j = 0; j < n; j++)
                ADD(&want, "%c", j ? ',' : ':'), add_number(&want, r->loo[h + j]);
            h += n;
        }
        ADD(&want, "%c", 0);
        assert_string_equal(line, (char *)want.p);
    }
    for (unsigned t = 0; t < SQ_ROWS_PHASED; t++) {
        assert_int_equal(*at[t], 0);
        sq_buf_done(&text[t]);
    }
    sq_buf_done(&want);
}

/* ---- shapes ------------------------------------------------------------------------------------------------------------------- */

static const char *const orders[] = {"GT,DS,HDS", "GT:DS:HDS:GP", "HDS", "DS", "GP", "GT", "GP,HDS,DS", "GT,GP,DS,HDS", "DS,HDS"};
#define N_ORDER (sizeof orders / sizeof orders[0])

static struct sq_rows *plan_of(const struct made *m, struct sq_rows_spec *s, const char *order)
{
    s->chrom = "chr7";
    s->n_sample = m->n_sample;
    s->is_haploid = m->is_haploid;
    assert_int_equal(sq_rows_fields(order, s->field, &s->n_field), SQ_OK);
    struct sq_rows *plan = NULL;
    assert_int_equal(sq_rows_new(s, &plan), SQ_OK);
    assert_int_equal(sq_rows_n_target(plan), m->n_target);
    return plan;
}

static void text_is_the_plain_definition(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 70; n++) {
        struct made *m = made_new(n, n, n % 3, 40, 1, 50);
        struct sq_rows_spec s = {.overwrite_typed = n % 5 == 0, .min_r2 = n % 7 == 0 ? 0.3 : 0, .level = (int)(n % 3)};
        struct sq_rows *plan = plan_of(m, &s, orders[n % N_ORDER]);
        struct made_files f;
        assert_int_equal(made_files(m, plan, 25, 4, 1, 1 << 20, &f), SQ_OK);
        check_text(m, &s, &f);
        made_files_done(&f);
        sq_rows_free(plan);
        made_free(m);
    }
}

/* All values of one haplotype beside a few of the other: every number is written once, in every field. */
static void every_value_is_written(void **state)
{
    (void)state;
    static const uint16_t beside[] = {0, 1, 7, 499, 500, 501, 998, 999, 1000};
    struct made m = {.n_sample = 1001, .n_target = 2002, .n_row = sizeof beside / sizeof beside[0]};
    m.is_haploid = calloc(m.n_sample, 1);
    m.row = calloc(m.n_row, sizeof *m.row);
    for (uint32_t i = 0; i < m.n_row; i++) {
        struct made_row *r = &m.row[i];
        *r = (struct made_row){.pos_bp = 1 + i, .id = ".", .ref = "A", .alt = "C", .r2 = 0.5, .milli = malloc(m.n_target * sizeof *r->milli)};
        for (uint32_t k = 0; k < m.n_sample; k++) {
            r->milli[2 * k] = (uint16_t)k;
            r->milli[2 * k + 1] = beside[i];
        }
    }
    struct sq_rows_spec s = {.level = 1};
    struct sq_rows *plan = plan_of(&m, &s, "GT,DS,HDS,GP");
    struct made_files f;
    assert_int_equal(made_files(&m, plan, 100, 100, 1, 1 << 20, &f), SQ_OK);
    check_text(&m, &s, &f);
    made_files_done(&f);
    sq_rows_free(plan);
    for (uint32_t i = 0; i < m.n_row; i++)
        free(m.row[i].milli);
    free(m.row);
    free(m.is_haploid);
}

/* As many as there may be one day: lengths of a row go beyond 32 bits nowhere, and one carrier among 600,000 still has a frequency. */
static void many_samples_are_written(void **state)
{
    (void)state;
    struct made *m = made_new(12, 300000, 0, 3, 1, 50);
    struct made_row *r = &m->row[0];
    free(r->loo);
    free(r->observed);
    r->loo = NULL;
    r->observed = NULL;
    r->milli = r->milli ? r->milli : malloc(m->n_target * sizeof *r->milli);
    memset(r->milli, 0, m->n_target * sizeof *r->milli);
    r->milli[m->n_target - 1] = 1;
    struct sq_rows_spec s = {.level = 1};
    struct sq_rows *plan = plan_of(m, &s, "GT,DS,HDS,GP");
    struct made_files f;
    assert_int_equal(made_files(m, plan, 3, 3, 1, 1, &f), SQ_OK);
    check_text(m, &s, &f);
    made_files_done(&f);
    sq_rows_free(plan);
    made_free(m);
}

static void same_files(const struct made_files *a, const struct made_files *b)
{
    for (unsigned t = 0; t < SQ_ROWS_PHASED; t++) {
        assert_int_equal(a->body[t].n, b->body[t].n);
        assert_memory_equal(a->body[t].p, b->body[t].p, a->body[t].n);
        assert_int_equal(a->part[t].n, b->part[t].n);
        assert_memory_equal(a->part[t].p, b->part[t].p, a->part[t].n);
    }
}

/* Pieces of several blocks, of less than one, and of a row; waiting for each other or not. */
static void threads_change_nothing(void **state)
{
    (void)state;
    static const uint32_t pieces[] = {1, 7, 64, 400};
    struct made *m = made_new(99, 61, 2, 3000, 1, 300);
    for (unsigned c = 0; c < 2; c++)
        for (unsigned k = 0; k < 4; k++) {
            struct sq_rows_spec s = {.container = c ? SQ_ROWS_BCF : SQ_ROWS_VCF};
            struct sq_rows *plan = plan_of(m, &s, "GT,DS,HDS,GP");
            struct made_files one, many;
            assert_int_equal(made_files(m, plan, 1100, pieces[k], 1, 64 << 20, &one), SQ_OK);
            if (!c)
                check_text(m, &s, &one);
            for (unsigned n = 2; n <= 5; n += 3) {
                assert_int_equal(made_files(m, plan, 1100, pieces[k], n, n == 2 ? 1 : 64 << 20, &many), SQ_OK);
                same_files(&one, &many);
                assert_int_equal(one.counts.n_imputed, many.counts.n_imputed);
                assert_int_equal(many.counts.n_imputed + many.counts.n_typed + many.counts.n_typed_only, m->n_row);
                made_files_done(&many);
            }
            made_files_done(&one);
            sq_rows_free(plan);
        }
    made_free(m);
}

/* ---- BCF: what htslib makes of it is the text ------------------------------------------------------------------------------------- */

/* Columns of @n made-up names, "" for none. */
static void add_columns(struct sq_buf *t, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        ADD(t, "\tP%llu", (unsigned long long)i);
}

static void whole_file(const struct made_files *f, unsigned t, struct sq_buf *out)
{
    struct sq_part part;
    struct sq_buf columns, head;
    struct sq_bgzf_out *b = NULL;
    size_t at = 0;
    sq_buf_init(&columns, 0);
    sq_buf_init(&head, 0);
    assert_true(sq_part_next(&f->part[t], &at, &part));
    assert_int_equal(at, f->part[t].n);
    assert_int_equal(part.body_bytes, f->body[t].n);
    add_columns(&columns, part.n_sample);
    assert_int_equal(sq_part_header(&part, &columns, &head), SQ_OK);
    int fd = memfd_create("header", MFD_CLOEXEC);
    assert_int_equal(sq_bgzf_out_open(fd, &b), SQ_OK);
    assert_int_equal(sq_bgzf_out_put(b, head.p, head.n), SQ_OK);
    assert_int_equal(sq_bgzf_out_close(b, false, NULL), SQ_OK);
    sq_buf_init(out, 0);
    made_read(fd, out);
    close(fd);
    assert_int_equal(sq_buf_add(out, f->body[t].p, f->body[t].n), SQ_OK);
    sq_buf_done(&columns);
    sq_buf_done(&head);
}

struct hts_in {
    htsFile *file;
    bcf_hdr_t *hdr;
    bcf1_t *rec;
    kstring_t line;
};

static void hts_start(struct hts_in *in, const struct sq_buf *file)
{
    int fd = memfd_create("file", MFD_CLOEXEC);
    assert_int_equal(write(fd, file->p, file->n), (ssize_t)file->n);
    lseek(fd, 0, SEEK_SET);
    hFILE *h = hdopen(fd, "r");
    assert_non_null(h);
    *in = (struct hts_in){.file = hts_hopen(h, "made", "r"), .rec = bcf_init()};
    assert_non_null(in->file);
    in->hdr = bcf_hdr_read(in->file);
    assert_non_null(in->hdr);
}

static bool hts_line(struct hts_in *in)
{
    int got = bcf_read(in->file, in->hdr, in->rec);
    assert_true(got >= -1);
    if (got < 0)
        return false;
    assert_int_equal(in->rec->errcode, 0);
    in->line.l = 0;
    assert_int_equal(vcf_format(in->hdr, in->rec, &in->line), 0);
    assert_int_equal(in->line.s[in->line.l - 1], '\n');
    in->line.s[in->line.l - 1] = 0;
    return true;
}

static void hts_end(struct hts_in *in)
{
    free(in->line.s);
    bcf_destroy(in->rec);
    bcf_hdr_destroy(in->hdr);
    hts_close(in->file);
}

/* The same keys; numbers to the sixth digit, for a float of a BCF and a decimal of a VCF may be rounded apart. */
static void same_info(const char *a, const char *b)
{
    while (*a && *b) {
        size_t n = strcspn(a, "=;");
        assert_int_equal(n, strcspn(b, "=;"));
        assert_memory_equal(a, b, n);
        a += n, b += n;
        if (*a == '=') {
            char *end_a, *end_b;
            double x = strtod(a + 1, &end_a), y = strtod(b + 1, &end_b);
            assert_true(fabs(x - y) <= 1.01e-5 * fmax(x, y));
            a = end_a, b = end_b;
        }
        assert_int_equal(*a, *b);
        a += *a == ';', b += *b == ';';
    }
    assert_int_equal(*a, *b);
}

static void check_bcf(const struct made *m, struct sq_rows_spec *s, const char *order)
{
    struct made_files f[2];
    for (unsigned c = 0; c < 2; c++) {
        s->container = c ? SQ_ROWS_BCF : SQ_ROWS_VCF;
        struct sq_rows *plan = plan_of(m, s, order);
        assert_int_equal(made_files(m, plan, 25, 4, 1, 1 << 20, &f[c]), SQ_OK);
        sq_rows_free(plan);
    }
    for (unsigned t = 0; t < SQ_ROWS_PHASED; t++) {
        struct sq_buf file[2];
        struct hts_in in[2];
        for (unsigned c = 0; c < 2; c++) {
            whole_file(&f[c], t, &file[c]);
            hts_start(&in[c], &file[c]);
        }
        assert_int_equal(in[1].file->format.format, bcf);
        assert_int_equal(bcf_hdr_nsamples(in[0].hdr), bcf_hdr_nsamples(in[1].hdr));
        while (hts_line(&in[0])) {
            assert_true(hts_line(&in[1]));
            char info[2][256];
            take_info(in[0].line.s, info[0], sizeof info[0]);
            take_info(in[1].line.s, info[1], sizeof info[1]);
            same_info(info[0], info[1]);
            if (strcmp(in[0].line.s, in[1].line.s))
                fail_msg("VCF: %s\nBCF: %s", in[0].line.s, in[1].line.s);
        }
        assert_false(hts_line(&in[1]));
        for (unsigned c = 0; c < 2; c++) {
            hts_end(&in[c]);
            sq_buf_done(&file[c]);
        }
    }
    made_files_done(&f[0]);
    made_files_done(&f[1]);
}

static void bcf_is_the_same_as_the_text(void **state)
{
    (void)state;
    for (uint32_t n = 1; n <= 70; n += n < 20 ? 1 : 7) {
        struct made *m = made_new(1000 + n, n, n % 3, 40, 1, 50);
        struct sq_rows_spec s = {.overwrite_typed = n % 5 == 0, .chrom_length = n % 2 ? 1000000 : 0};
        check_bcf(m, &s, orders[n % N_ORDER]);
        made_free(m);
    }
}

/* ---- numbers, fields, plans ------------------------------------------------------------------------------------------------------- */

static void fields_are_told(void **state)
{
    (void)state;
    enum sq_rows_field field[SQ_ROWS_N_FIELD];
    unsigned n = 0;
    assert_int_equal(sq_rows_fields("GT:DS,GP", field, &n), SQ_OK);
    assert_int_equal(n, 3);
    assert_true(field[0] == SQ_ROWS_GT && field[1] == SQ_ROWS_DS && field[2] == SQ_ROWS_GP);
    static const char *const bad[] = {"", "GT,", ",GT", "GT,GT", "DS,GT", "gt", "GTX", "GT,DS,HDS,GP,DS", "GT DS", "SD"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(sq_rows_fields(bad[i], field, &n), SQ_ERANGE);
}

static void plans_are_checked(void **state)
{
    (void)state;
    static const char *const params[] = {"states=32", "map=a b\tc"}, *const bad_param[] = {"a b=1"};
    const struct sq_rows_spec good = {.chrom = "22", .chrom_length = 51304566, .n_sample = 2, .field = {SQ_ROWS_GT, SQ_ROWS_HDS}, .n_field = 2,
                                      .panel_name = "1000G \xc3\xa9", .n_panel_haplotype = 5008, .param = params, .n_param = 2};
    struct sq_rows *plan = NULL;
    struct sq_buf meta;
    sq_buf_init(&meta, 0);
    assert_int_equal(sq_rows_new(&good, &plan), SQ_OK);
    assert_int_equal(sq_rows_meta(plan, SQ_ROWS_RESULT, &meta), SQ_OK);
    ADD(&meta, "%c", 0);
    assert_non_null(strstr((char *)meta.p, "##contig=<ID=22,length=51304566>\n##sequester_panel=1000G __\n##sequester_panel_haplotypes=5008\n"
                                           "##sequester_states=32\n##sequester_map=a b_c\n##INFO=<ID=AF,"));
    assert_null(strstr((char *)meta.p, "ID=DS"));
    sq_buf_done(&meta);
    sq_rows_free(plan);
    struct sq_rows_spec bad[8];
    for (unsigned i = 0; i < 8; i++)
        bad[i] = good;
    bad[0].chrom = "";
    bad[1].chrom = "a_name_of_16____";
    bad[2].n_sample = 0;
    bad[3].n_sample = 1 << 24;
    bad[4].field[0] = SQ_ROWS_HDS;
    bad[5].n_field = 0;
    bad[6].level = 13;
    bad[7].param = bad_param;
    bad[7].n_param = 1;
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(sq_rows_new(&bad[i], &plan), SQ_ERANGE);
}

static void positions_have_an_end(void **state)
{
    (void)state;
    struct made *m = made_new(5, 3, 0, 1, 1, 1);
    struct sq_rows_spec s = {.level = 1};
    struct sq_rows *plan = plan_of(m, &s, "GT");
    static const int64_t bad[] = {0, -1, SQ_ROWS_POS_MAX, INT64_MAX};
    for (unsigned i = 0; i < 4; i++) {
        struct made_files f;
        m->row[0].pos_bp = bad[i];
        assert_int_equal(made_files(m, plan, 1, 1, 1, 1, &f), SQ_ELIMIT);
    }
    sq_rows_free(plan);
    made_free(m);
}

/* A full disk, while others wait for their turn: everybody is told. */
static void a_failure_stops_everybody(void **state)
{
    (void)state;
    struct made *m = made_new(6, 200, 0, 4000, 1, 10);
    struct sq_rows_spec s = {.level = 1};
    struct sq_rows *plan = plan_of(m, &s, "GT,DS,HDS");
    int fd[2];
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(pipe(fd), 0);
    close(fd[0]);
    struct sq_pieces_track track = {.track = SQ_ROWS_RESULT, .fd = fd[1]};
    struct sq_pieces *pieces = NULL;
    assert_int_equal(sq_pieces_open(plan, &track, 1, 1, &pieces), SQ_OK);
    assert_int_equal(made_write(m, plan, pieces, 4000, 100, 4), SQ_EIO);
    struct sq_piece *piece = NULL;
    assert_int_equal(sq_pieces_begin(pieces, 7, &piece), SQ_EIO);
    assert_int_equal(sq_pieces_close(pieces, true), SQ_EIO);
    sq_pieces_free(pieces);
    close(fd[1]);
    sq_rows_free(plan);
    made_free(m);
}

/* ---- parts ------------------------------------------------------------------------------------------------------------------------ */

/* One run, and the same rows in three chunks joined as finish does. */
static void parts_join_to_the_whole(void **state)
{
    (void)state;
    struct made *m = made_new(77, 20, 0, 3000, 400000000, 200000);
    struct sq_rows_spec s = {.level = 1};
    struct sq_rows *plan = plan_of(m, &s, "GT,DS,HDS");
    struct made_files whole;
    assert_int_equal(made_files(m, plan, 1000, 50, 1, 1 << 20, &whole), SQ_OK);
    struct sq_index *joined = NULL, *one = NULL;
    uint64_t by = 0;
    for (unsigned c = 0; c < 3; c++) {
        struct made chunk = *m;
        chunk.row += 1000 * c;
        chunk.n_row = 1000;
        struct made_files f;
        struct sq_part part;
        size_t at = 0;
        assert_int_equal(made_files(&chunk, plan, 1000, 50, 1, 1 << 20, &f), SQ_OK);
        assert_true(sq_part_next(&f.part[0], &at, &part));
        if (!c)
            assert_int_equal(sq_index_new_like(part.index.p, part.index.n, &joined), SQ_OK);
        assert_int_equal(sq_index_join(joined, part.index.p, part.index.n, by), SQ_OK);
        assert_memory_equal(whole.body[0].p + by, f.body[0].p, f.body[0].n - SQ_BGZF_END_BYTES);
        by += f.body[0].n - SQ_BGZF_END_BYTES;
        made_files_done(&f);
    }
    struct sq_part part;
    size_t at = 0;
    struct sq_buf a, b;
    sq_buf_init(&a, 0);
    sq_buf_init(&b, 0);
    assert_true(sq_part_next(&whole.part[0], &at, &part));
    assert_int_equal(sq_index_new_like(part.index.p, part.index.n, &one), SQ_OK);
    assert_int_equal(sq_index_join(one, part.index.p, part.index.n, 0), SQ_OK);
    assert_true(sq_index_end(one) > SQ_INDEX_TBI_MAX);
    assert_int_equal(sq_index_write(one, SQ_INDEX_TBI, &a), SQ_ERANGE);
    for (unsigned kind = SQ_INDEX_CSI_VCF; kind <= SQ_INDEX_CSI_BCF; kind++) {
        a.n = b.n = 0;
        assert_int_equal(sq_index_write(one, (enum sq_index_kind)kind, &a), SQ_OK);
        assert_int_equal(sq_index_write(joined, (enum sq_index_kind)kind, &b), SQ_OK);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.p, b.p, a.n);
    }
    sq_buf_done(&a);
    sq_buf_done(&b);
    sq_index_free(one);
    sq_index_free(joined);
    made_files_done(&whole);
    sq_rows_free(plan);
    made_free(m);
}

/* Every byte of a part changed in turn, and every length: refused or taken, never out of bounds (this runs under sanitizers). */
static void damaged_parts_are_refused(void **state)
{
    (void)state;
    struct made *m = made_new(8, 2, 0, 30, 1, 3000);
    struct sq_rows_spec s = {.level = 1};
    struct sq_rows *plan = plan_of(m, &s, "GT");
    struct made_files f;
    assert_int_equal(made_files(m, plan, 100, 10, 1, 1 << 20, &f), SQ_OK);
    struct sq_part part;
    size_t at = 0;
    assert_true(sq_part_next(&f.part[0], &at, &part));
    size_t n = part.index.n;
    uint8_t *p = malloc(n);
    unsigned n_taken = 0;
    for (size_t i = 0; i < 2 * n; i++) {
        memcpy(p, part.index.p, n);
        size_t len = i < n ? n : i - n;
        if (i < n)
            p[i] = (uint8_t)(p[i] ^ (i % 2 ? 0xff : 0x81));
        struct sq_index *t = NULL;
        if (!sq_index_new_like(p, len, &t)) {
            struct sq_buf out;
            sq_buf_init(&out, 64 << 20);
            if (!sq_index_join(t, p, len, i % 3 ? 12345 : 0)) {
                n_taken++;
                assert_int_equal(len, n);
                sq_err e = sq_index_write(t, SQ_INDEX_CSI_VCF, &out);
                assert_true(e == SQ_OK || e == SQ_ERANGE);
            }
            sq_buf_done(&out);
        }
        sq_index_free(t);
    }
    assert_true(n_taken < n);
    struct sq_buf cut = f.part[0];
    for (cut.n = 0; cut.n < f.part[0].n; cut.n++) {
        at = 0;
        assert_false(sq_part_next(&cut, &at, &part));
    }
    free(p);
    made_files_done(&f);
    sq_rows_free(plan);
    made_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_told),
        cmocka_unit_test(plans_are_checked),
        cmocka_unit_test(positions_have_an_end),
        cmocka_unit_test(every_value_is_written),
        cmocka_unit_test(text_is_the_plain_definition),
        cmocka_unit_test(bcf_is_the_same_as_the_text),
        cmocka_unit_test(many_samples_are_written),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(a_failure_stops_everybody),
        cmocka_unit_test(parts_join_to_the_whole),
        cmocka_unit_test(damaged_parts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
