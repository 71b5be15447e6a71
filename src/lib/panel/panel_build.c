/*
 * Records to rows, rows to blocks, blocks to packs, packs to the file. What can't be known before the end (which samples are haploid
 * throughout, how many of everything) goes into the directory, which is written last.
 */
#include "lib/panel/panel_build.h"

#include "lib/panel/panel_block.h"
#include "lib/panel/panel_write.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define PACK_BLOCKS 16U /* small enough that threads which take packs in turn end at about the same time */
#define PACK_BYTES ((size_t)4 << 20)      /* of text: then the pack ends */
#define SPECIAL_BYTES ((size_t)1 << 20)   /* of exceptions waiting, about: then the block ends */
#define SEGMENT_BLOCKS 1024U
#define SEGMENT_RUNS_A_COLUMN 16U /* starting anew costs some runs a column: a segment has many times that */

struct builder {
    struct sq_genotypes *in;
    const struct sq_panel_plan *plan;
    enum sq_panel_file about;
    struct block_maker maker;
    struct panel_writer *out;
    uint32_t n_sample;
    /* samples: haploid now, haploid or diploid in some record */
    uint8_t *is_haploid, *was_haploid, *was_diploid;
    uint32_t n_haploid_now;
    uint8_t *allele; /* [2 * n_sample] of the record, both columns of haploid samples */
    struct sq_buf site[SITES_N_COLUMN], hap[HAPS_N_COLUMN], block_rows;
    uint32_t pack_blocks, pack_records, segment_blocks;
    int64_t pack_first_bp, last_bp;
    uint64_t segment_runs;
    struct panel_totals totals;
    struct sq_gmap map;
};

/* What would break the lines of an export, or isn't an ID at all. */
static sq_err check_id(const struct sq_record *r, struct sq_why *why)
{
    if (r->id.n > PANEL_MAX_ID)
        return sq_why_set(why, sq_fail(SQ_EPANEL), r->line, 3, "ID", "the ID has %u bytes; a panel holds %u", r->id.n, PANEL_MAX_ID);
    if (!panel_text_ok(r->id))
        return sq_why_set(why, sq_fail(SQ_ERECORD), r->line, 3, "ID", "the ID is empty or holds a blank or a control character");
    return SQ_OK;
}

static sq_err too_much(const struct sq_record *r, struct sq_why *why, const char *what, uint64_t most)
{
    return sq_why_set(why, sq_fail(SQ_EPANEL), r->line, 0, "record", "more than %llu %s; a panel can't hold them", (unsigned long long)most, what);
}

/* ---- genotypes to rows --------------------------------------------------------------------------------------------------------------- */

struct seen {
    uint32_t an, ac[SQ_GT_MAX_ALT + 1]; /* ac[0]: REF */
};

static sq_err put_ploidy(struct builder *b, const struct sq_record *r)
{
    sq_err e = SQ_OK;
    for (uint32_t i = 0; i < b->n_sample && !e; i++) {
        bool is_haploid = r->gt[2 * i + 1] == SQ_GT_NONE;
        (is_haploid ? b->was_haploid : b->was_diploid)[i] = 1;
        if (is_haploid == b->is_haploid[i])
            continue;
        b->is_haploid[i] = is_haploid;
        b->n_haploid_now += is_haploid ? 1U : -1U;
        e = block_maker_change(&b->maker, b->maker.n_row, i);
    }
    return e;
}

/* Alleles to b->allele, a haploid sample's to both of its columns, and counted. */
static sq_err count_alleles(struct builder *b, const struct sq_record *r, struct seen *seen, bool *out_is_missing, struct sq_why *why)
{
    uint32_t n_missing = 0;
    for (uint32_t i = 0; i < b->n_sample; i++) {
        uint8_t x = r->gt[2 * i], y = r->gt[2 * i + 1];
        if (y == SQ_GT_NONE) {
            y = x;
        } else {
            if (x != y && !r->phased[i])
                return sq_why_set(why, sq_fail(SQ_EUNPHASED), r->line, 10 + i, "GT", "a panel needs phased genotypes; this heterozygous one isn't");
            if (y == SQ_GT_MISSING)
                n_missing++;
            else
                seen->an++, seen->ac[y]++;
        }
        if (x == SQ_GT_MISSING)
            n_missing++;
        else
            seen->an++, seen->ac[x]++;
        b->allele[2 * i] = x;
        b->allele[2 * i + 1] = y;
    }
    b->totals.n_missing += n_missing;
    *out_is_missing = n_missing > 0;
    return SQ_OK;
}

static sq_err put_missing(struct builder *b, uint32_t row)
{
    sq_err e = SQ_OK;
    for (uint32_t c = 0; c < 2 * b->n_sample && !e; c++)
        if (b->allele[c] == SQ_GT_MISSING)
            e = block_maker_miss(&b->maker, row, c, 1);
    return e;
}

static sq_err close_block(struct builder *b)
{
    uint32_t n_row;
    sq_err e = block_maker_close(&b->maker, b->hap, &n_row);
    uint8_t n = (uint8_t)n_row;
    if (!e)
        e = sq_buf_add(&b->block_rows, &n, 1);
    if (e)
        return e;
    b->pack_blocks++;
    b->segment_runs += b->maker.n_run;
    b->totals.n_run += b->maker.n_run;
    b->totals.n_pattern += b->maker.n_unique;
    b->totals.n_block++;
    return SQ_OK;
}

static bool has_much_special(const struct block_maker *m)
{
    return (m->n_miss + m->n_change) * 4 > SPECIAL_BYTES;
}

static sq_err put_rows_apart(struct builder *b, const struct sq_record *r, struct seen *seen, struct sq_why *why)
{
    bool is_missing = false;
    sq_err e = put_ploidy(b, r);
    if (!e)
        e = count_alleles(b, r, seen, &is_missing, why);
    for (uint32_t alt = 1; alt <= r->n_alt && !e; alt++) {
        if (b->maker.n_row == SQ_PANEL_BLOCK_ROWS || (b->maker.n_row && has_much_special(&b->maker)))
            e = close_block(b);
        if (e)
            break;
        b->maker.bits->equal(b->allele, b->maker.n_col, (uint8_t)alt, block_maker_row(&b->maker, b->maker.n_row));
        if (is_missing)
            e = put_missing(b, b->maker.n_row);
        b->maker.n_row++;
    }
    return e;
}

static uint32_t count_bits(const uint64_t *row, size_t n_word)
{
    uint64_t n = 0;
    for (size_t i = 0; i < n_word; i++)
        n += (unsigned)__builtin_popcountll(row[i]);
    return (uint32_t)n;
}

static sq_err put_rows(struct builder *b, struct sq_record *r, struct seen *seen, struct sq_why *why)
{
    if (r->stored) {
        struct block_maker *m = &b->maker;
        uint64_t *row = block_maker_row(m, m->n_row);
        if (r->n_alt == 1 && !b->n_haploid_now && m->bits->bcf_diploid(r->stored, m->n_col, row)) {
            seen->an = m->n_col;
            seen->ac[1] = count_bits(row, m->n_word);
            m->n_row++;
            if (!b->totals.n_plain++) /* else it is known already */
                memset(b->was_diploid, 1, b->n_sample);
            return SQ_OK;
        }
        sq_err e = sq_genotypes_take_apart(b->in, r, why);
        if (e)
            return e;
    }
    return put_rows_apart(b, r, seen, why);
}

/* ---- records to columns of sites ----------------------------------------------------------------------------------------------------- */

static int base_of(struct sq_span s)
{
    const char *at = s.n == 1 ? memchr("ACGT", s.p[0], 4) : NULL;
    return at ? (int)(at - "ACGT") : -1;
}

static sq_err put_string(struct sq_buf *b, const void *p, size_t n)
{
    sq_err e = varint_add(b, n);
    return e ? e : sq_buf_add(b, p, n);
}

static sq_err put_alleles(struct sq_buf *site, const struct sq_record *r)
{
    int ref = base_of(r->ref), alt = base_of(r->alt);
    bool is_one = r->n_alt == 1;
    uint8_t kind = is_one && ref >= 0 && alt >= 0 && ref != alt ? (uint8_t)(ref * 4 + alt) : is_one ? ALLELES_ONE
                                                                                                    : ALLELES_SEVERAL;
    sq_err e = sq_buf_add(&site[SITES_ALLELES], &kind, 1);
    if (e || kind < ALLELES_ONE)
        return e;
    e = put_string(&site[SITES_TEXT], r->ref.p, r->ref.n);
    if (!e && !is_one)
        e = varint_add(&site[SITES_TEXT], r->n_alt);
    const uint8_t *at = r->alt.p, *end = r->alt.p + r->alt.n;
    while (!e && at) {
        const uint8_t *comma = memchr(at, ',', (size_t)(end - at));
        e = put_string(&site[SITES_TEXT], at, (size_t)((comma ? comma : end) - at));
        at = comma ? comma + 1 : NULL;
    }
    return e;
}

/* Does @id end in the text of @n? *out_n_prefix: bytes before it. */
static bool ends_in(struct sq_span id, const char *s, size_t n, uint32_t *out_n_prefix)
{
    if (id.n < n || memcmp(id.p + id.n - n, s, n) != 0)
        return false;
    *out_n_prefix = id.n - (uint32_t)n;
    return true;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* Forms in which an ID says what is known anyway; the first that fits, in the order of the page. */
static uint8_t kind_of_id(const struct sq_record *r, uint32_t *out_n_prefix, uint64_t *out_number)
{
    struct sq_span id = r->id;
    if (id.n == 1 && id.p[0] == '.')
        return ID_NONE;
    char pos[24];
    size_t n_pos = (size_t)snprintf(pos, sizeof pos, "%lld", (long long)r->pos_bp);
    if (ends_in(id, pos, n_pos, out_n_prefix))
        return ID_POS;
    uint64_t n_tail = (uint64_t)r->ref.n + r->alt.n + 2;
    if (id.n >= n_tail && id.p[id.n - n_tail] == ':' && !memcmp(id.p + (id.n - n_tail) + 1, r->ref.p, r->ref.n) &&
        id.p[id.n - r->alt.n - 1] == ':' && !memcmp(id.p + id.n - r->alt.n, r->alt.p, r->alt.n) &&
        ends_in(sq_span_of(id.p, id.n - (size_t)n_tail), pos, n_pos, out_n_prefix))
        return ID_POS_ALLELES;
    uint32_t at = id.n;
    while (at && id.n - at < ID_MAX_DIGITS && is_digit(id.p[at - 1]))
        at--;
    while (at < id.n && id.p[at] == '0' && at + 1 < id.n)
        at++;
    if (at == id.n)
        return ID_TEXT;
    *out_number = 0;
    for (uint32_t i = at; i < id.n; i++)
        *out_number = *out_number * 10 + (uint64_t)(id.p[i] - '0');
    *out_n_prefix = at;
    return ID_NUMBER;
}

static sq_err put_id(struct sq_buf *site, const struct sq_record *r)
{
    uint32_t n_prefix = 0;
    uint64_t number = 0;
    uint8_t kind = kind_of_id(r, &n_prefix, &number);
    sq_err e = sq_buf_add(&site[SITES_ID_KIND], &kind, 1);
    if (e || kind == ID_NONE)
        return e;
    e = put_string(&site[SITES_ID_TEXT], r->id.p, kind == ID_TEXT ? r->id.n : n_prefix);
    return e || kind != ID_NUMBER ? e : varint_add(&site[SITES_ID_TEXT], number);
}

static sq_err put_site(struct builder *b, const struct sq_record *r, const struct seen *seen)
{
    sq_err e = varint_add(&b->site[SITES_POS], (uint64_t)(r->pos_bp - (b->pack_records ? b->last_bp : r->pos_bp)));
    if (!b->pack_records)
        b->pack_first_bp = r->pos_bp;
    if (!e)
        e = put_alleles(b->site, r);
    if (!e)
        e = varint_add(&b->site[SITES_AN], b->maker.n_col - seen->an);
    for (uint32_t alt = 1; alt <= r->n_alt && !e; alt++)
        e = varint_add(&b->site[SITES_AC], seen->ac[alt]);
    if (!e)
        e = put_id(b->site, r);
    b->last_bp = r->pos_bp;
    b->pack_records++;
    b->totals.n_record++;
    b->totals.n_row += r->n_alt;
    return e;
}

/* ---- packs, segments ----------------------------------------------------------------------------------------------------------------- */

static size_t bytes_of(const struct sq_buf *b, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += b[i].n;
    return sum;
}

/* All rows that wait into blocks, all blocks into the file. */
static sq_err close_pack(struct builder *b)
{
    sq_err e = SQ_OK;
    while (b->maker.n_row && !e)
        e = close_block(b);
    struct panel_pack p = {.first_bp = b->pack_first_bp, .last_bp = b->last_bp, .n_block = b->pack_blocks, .n_record = b->pack_records};
    b->segment_blocks += b->pack_blocks;
    p.ends_segment = b->segment_blocks >= SEGMENT_BLOCKS && b->segment_runs >= (uint64_t)SEGMENT_RUNS_A_COLUMN * b->maker.n_col;
    if (!e)
        e = panel_writer_pack(b->out, &p, &b->block_rows, b->site, b->hap);
    sq_buf_clear(&b->block_rows);
    for (size_t i = 0; i < SITES_N_COLUMN; i++)
        sq_buf_clear(&b->site[i]);
    for (size_t i = 0; i < HAPS_N_COLUMN; i++)
        sq_buf_clear(&b->hap[i]);
    b->pack_blocks = b->pack_records = 0;
    if (p.ends_segment) {
        b->segment_blocks = 0;
        b->segment_runs = 0;
        block_maker_restart(&b->maker);
        memset(b->is_haploid, 0, b->n_sample);
        b->n_haploid_now = 0;
    }
    return e;
}

static sq_err add_record(struct builder *b, struct sq_record *r, struct sq_why *why)
{
    struct seen seen;
    seen.an = 0;
    memset(seen.ac, 0, (r->n_alt + 1) * sizeof seen.ac[0]);
    if (!r->n_alt) {
        b->totals.n_without_alt++;
        return SQ_OK;
    }
    if (b->totals.n_row + r->n_alt > UINT32_MAX - 1)
        return too_much(r, why, "rows", UINT32_MAX - 1);
    sq_err e = check_id(r, why);
    while (b->maker.n_row && b->maker.n_row + r->n_alt > SQ_PANEL_BLOCK_ROWS && !e)
        e = close_block(b);
    if (!e)
        e = put_rows(b, r, &seen, why);
    if (!e)
        e = put_site(b, r, &seen);
    if (!e && (b->maker.n_row == SQ_PANEL_BLOCK_ROWS || has_much_special(&b->maker)))
        e = close_block(b);
    if (!e && (b->pack_blocks >= PACK_BLOCKS || bytes_of(b->site, SITES_N_COLUMN) + bytes_of(b->hap, HAPS_N_COLUMN) > PACK_BYTES))
        e = close_pack(b);
    return e;
}

/* ---- the whole ----------------------------------------------------------------------------------------------------------------------- */

static sq_err builder_init(struct builder *b)
{
    b->n_sample = sq_genotypes_n_sample(b->in);
    b->is_haploid = calloc(b->n_sample, 1);
    b->was_haploid = calloc(b->n_sample, 1);
    b->was_diploid = calloc(b->n_sample, 1);
    b->allele = malloc((size_t)2 * b->n_sample);
    if (!b->allele || !b->is_haploid || !b->was_haploid || !b->was_diploid)
        return sq_fail(SQ_ENOMEM);
    return block_maker_init(&b->maker, 2 * b->n_sample);
}

static void builder_done(struct builder *b)
{
    block_maker_done(&b->maker);
    panel_writer_free(b->out);
    free(b->is_haploid);
    free(b->was_haploid);
    free(b->was_diploid);
    free(b->allele);
    sq_buf_done(&b->block_rows);
    for (size_t i = 0; i < SITES_N_COLUMN; i++)
        sq_buf_done(&b->site[i]);
    for (size_t i = 0; i < HAPS_N_COLUMN; i++)
        sq_buf_done(&b->hap[i]);
    sq_gmap_done(&b->map);
    sq_genotypes_close(b->in);
}

/* 37 or 38 when @name says one of these in one of the usual ways, else 0. */
static unsigned build_no(const char *name)
{
    static const char *const ways[] = {"GRCh37", "hg19", "b37", "GRCh38", "hg38", "b38"};
    for (unsigned i = 0; i < 6; i++)
        if (!strcasecmp(name, ways[i]))
            return i < 3 ? 37 : 38;
    return 0;
}

/* Every label is taken but a wrong one: the chromosome has the other build's length. */
static sq_err check_build(const struct builder *b, struct sq_why *why)
{
    static const struct {
        const char *chrom;
        int64_t bp[2];
    } rows[] = {
#define SQ_BUILD_ROW(chrom, grch37, grch38) {chrom, {grch37, grch38}},
#include "lib/panel/builds.def"
#undef SQ_BUILD_ROW
    };
    unsigned no = b->plan->build ? build_no(b->plan->build) : 0;
    int64_t length = (int64_t)sq_genotypes_chrom_length(b->in);
    for (size_t i = 0; no && i < sizeof rows / sizeof rows[0]; i++)
        if (sq_chrom_same(rows[i].chrom, sq_genotypes_chrom(b->in)) && length == rows[i].bp[no == 37])
            return sq_why_set(why, sq_fail(SQ_EBUILD), 0, 0, "build", "its chromosome %s has %lld bases: that is GRCh%u, not %s", rows[i].chrom, (long long)length,
                              no == 37 ? 38U : 37U, b->plan->build);
    return SQ_OK;
}

/* The map as soon as the chromosome is known: a wrong one shouldn't be found after an hour. */
static sq_err read_map(struct builder *b, struct sq_why *why)
{
    if (b->plan->map_fd < 0 || b->map.n)
        return SQ_OK;
    b->about = SQ_PANEL_FILE_MAP;
    sq_err e = sq_gmap_read(b->plan->map_fd, sq_genotypes_chrom(b->in), why, &b->map);
    if (!e)
        b->about = SQ_PANEL_FILE_INPUT;
    return e;
}

static sq_err read_records(struct builder *b, struct sq_why *why)
{
    for (uint64_t n = 0;; n++) {
        struct sq_record r;
        bool has;
        sq_err e = sq_genotypes_next(b->in, why, &r, &has);
        if (e)
            return e;
        if (!has)
            break;
        e = n ? SQ_OK : check_build(b, why);
        if (!e)
            e = read_map(b, why);
        if (!e)
            e = add_record(b, &r, why);
        if (!e && b->plan->progress && n % 256 == 0)
            e = b->plan->progress(b->plan->ctx, sq_genotypes_n_packed(b->in));
        if (e)
            return e;
    }
    if (!b->totals.n_record)
        return sq_why_set(why, sq_fail(SQ_ENOVARIANT), 0, 0, "file", "it has %llu records, all without an ALT allele",
                          (unsigned long long)b->totals.n_without_alt);
    return b->pack_records ? close_pack(b) : SQ_OK;
}

static sq_err finish(struct builder *b, struct sq_why *why)
{
    if (b->map.n) {
        sq_err e = sq_gmap_fits(&b->map, panel_writer_first_bp(b->out), b->last_bp, (int64_t)sq_genotypes_chrom_length(b->in), why);
        if (e) {
            b->about = SQ_PANEL_FILE_MAP;
            return e;
        }
    }
    struct panel_facts facts = {
        .in = b->in, .plan = b->plan, .map = &b->map, .totals = &b->totals, .was_haploid = b->was_haploid, .was_diploid = b->was_diploid};
    b->about = SQ_PANEL_FILE_OUTPUT;
    return panel_writer_end(b->out, &facts);
}

sq_err sq_panel_build(int in_fd, int out_fd, const struct sq_panel_plan *plan, struct sq_why *why, enum sq_panel_file *out_file)
{
    struct builder b = {.plan = plan, .about = SQ_PANEL_FILE_INPUT};
    struct sq_genotypes_limits limits = {.max_samples = SQ_PANEL_MAX_SAMPLES, .as_stored = true};
    for (size_t i = 0; i < SITES_N_COLUMN; i++)
        sq_buf_init(&b.site[i], PANEL_MAX_SITES);
    for (size_t i = 0; i < HAPS_N_COLUMN; i++)
        sq_buf_init(&b.hap[i], 0);
    sq_buf_init(&b.block_rows, 0);
    if (plan->build && (strlen(plan->build) >= SQ_PANEL_LABEL_MAX || !panel_label_ok(sq_span_str(plan->build))))
        return sq_why_set(why, sq_fail(SQ_EFIELD), 0, 0, "build", "the name of a build has 1 to 31 letters, digits, _ . or -");
    sq_err e = sq_genotypes_open(in_fd, &limits, why, &b.in);
    if (!e)
        e = builder_init(&b);
    if (!e)
        e = panel_writer_new(out_fd, plan, b.in, why, &b.about, &b.out);
    if (!e)
        e = read_records(&b, why);
    if (!e)
        e = finish(&b, why);
    if (out_file)
        *out_file = b.about;
    builder_done(&b);
    return e;
}
