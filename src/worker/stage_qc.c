/*
 * qc: which of the target's records can be used with this panel, and why not the others.
 *
 * Target and panel are sorted, so one pass beside each other is enough; no genotype of the panel is looked at. A record of the panel with
 * several ALTs is as many rows, each compared for itself. Rules in
 * order, the first that fits decides (docs/formats/stages.md lists them with the words of the report). Only counts and
 * sites are reported: nothing about a sample.
 */
#include "worker/panel_port.h"
#include "worker/ploidy.h"
#include "worker/site_walk.h"

#include "lib/core/file.h"
#include "lib/formats/gmap.h"

#include <stdlib.h>

#define QC_MIN_OVERLAP 0.5
#define QC_MIN_SITES 3U
#define QC_MAX_MISSING 0.1
#define QC_CALL_RATE_FROM 10U /* samples: among fewer a single missing call would be more than the share above */
#define QC_LIST_MAX_BYTES ((size_t)900 << 10)
#define QC_LIST_TYPED_ONLY_BYTES (QC_LIST_MAX_BYTES / 2) /* then records that are kept leave the room to those that aren't */

enum verdict {
    MATCH,
    TYPED_ONLY,
    MULTIALLELIC,
    NO_ALT,
    INVALID_ALLELES,
    FILTER_DUP,
    FILTER_OTHER,
    DUPLICATE,
    OTHER_PART,
    LOW_CALL_RATE,
    ALLELE_SWITCH,
    STRAND_FLIP,
    STRAND_FLIP_AND_SWITCH,
    ALLELE_MISMATCH,
    N_VERDICT
};
static const char *const verdict_key[N_VERDICT] = {"in_panel", "typed_only", "multiallelic",
                                                   "no_alternative", "invalid_alleles", "filter_duplicate",
                                                   "filter_other", "duplicate", "other_part_of_x", "low_call_rate",
                                                   "allele_switch", "strand_flip", "strand_flip_and_allele_switch",
                                                   "allele_mismatch"};
static const char *const verdict_text[N_VERDICT] = {
    "Match", "Typed only", "Multiallelic site", "No alternative allele",
    "Invalid alleles", "Filter duplicate", "Filter other", "Duplicate", "Other part of chromosome X than the panel",
    "Low call rate", "Allele switch", "Strand flip", "Strand flip and allele switch",
    "Allele mismatch"};

struct qc {
    struct worker *w;
    struct sq_genotypes *target;
    struct panel_port panel;
    struct site_walk walk;   /* walk.here: the panel's rows at this position */
    struct site_group *seen; /* the target's records there */
    struct ploidy ploidy;
    uint32_t *set; /* [n_sample] the phase set of the sample's first heterozygote with phase; 0: none yet, 1: no PS */
    uint64_t n[N_VERDICT], n_record, n_outside, n_called, n_monomorphic, n_ambiguous, n_common_alt;
    uint64_t n_unphased, n_other_set, n_half; /* genotypes: without phase, of a second phase set, half missing */
    enum x_part x_first, x_last; /* parts of chromosome X that the panel has */
    bool is_b38;
    struct sq_buf list;
    bool list_is_cut;
};

static bool group_has(const struct site_group *g, struct sq_span ref, struct sq_span alt)
{
    return site_group_find(g, ref, alt) >= 0;
}

/* Complement of one base; alleles of other lengths have no simple strand flip. */
static bool complement(struct sq_span s, uint8_t *out)
{
    static const char from[] = "ACGT", to[] = "TGCA";
    const char *at = s.n == 1 && s.p[0] ? strchr(from, s.p[0]) : NULL;
    if (!at)
        return false;
    *out = (uint8_t)to[at - from];
    return true;
}

static enum verdict compare(const struct site_group *here, const struct sq_record *r)
{
    if (!here->n)
        return TYPED_ONLY;
    if (group_has(here, r->ref, r->alt))
        return MATCH;
    if (group_has(here, r->alt, r->ref))
        return ALLELE_SWITCH;
    uint8_t ref, alt;
    if (complement(r->ref, &ref) && complement(r->alt, &alt)) {
        if (group_has(here, sq_span_of(&ref, 1), sq_span_of(&alt, 1)))
            return STRAND_FLIP;
        if (group_has(here, sq_span_of(&alt, 1), sq_span_of(&ref, 1)))
            return STRAND_FLIP_AND_SWITCH;
    }
    return ALLELE_MISMATCH;
}

struct call_counts {
    uint64_t n_allele, n_alt, n_missing, n_half, n_unphased, n_other_set;
};

/* A heterozygote's order is known beside all others of the sample, unless it has no phase, or that of another set. */
static void count_order(struct qc *q, const struct sq_record *r, uint32_t i, struct call_counts *out)
{
    uint32_t set = r->set && r->set[i] ? r->set[i] + 1 : 1;
    if (!r->phased[i]) {
        out->n_unphased++;
        return;
    }
    if (!q->set[i])
        q->set[i] = set;
    out->n_other_set += q->set[i] != set;
}

static void count_calls(struct qc *q, const struct sq_record *r, struct call_counts *out)
{
    uint32_t n_sample = sq_genotypes_n_sample(q->target);
    *out = (struct call_counts){0};
    for (uint32_t i = 0; i < n_sample; i++) {
        uint8_t a = r->gt[2 * i], b = r->gt[2 * i + 1];
        if (a == SQ_GT_MISSING || b == SQ_GT_MISSING) {
            out->n_missing++;
            out->n_half += a != b && b != SQ_GT_NONE;
            continue;
        }
        out->n_allele += b == SQ_GT_NONE ? 1 : 2;
        out->n_alt += (a != 0 ? 1U : 0U) + (b != 0 && b != SQ_GT_NONE ? 1U : 0U);
        if (a != b && b != SQ_GT_NONE)
            count_order(q, r, i, out);
    }
}

static sq_err refuse_unphased(struct qc *q, const struct sq_record *r, const struct call_counts *c)
{
    if (!(q->w->flags & SQ_ORDER_WANTS_PHASED) || !(c->n_unphased + c->n_other_set))
        return SQ_OK;
    return sq_why_set(&q->w->why, sq_fail(SQ_EUNPHASED), 0, 0, "GT", "record %llu (position %lld) has a heterozygous genotype %s",
                      (unsigned long long)r->line, (long long)r->pos_bp, c->n_unphased ? "without phase" : "of a second phase set (PS)");
}

/* On chromosome X a panel of one part says nothing of the others, and samples have another number of haplotypes there. */
static bool is_other_part(const struct qc *q, int64_t pos_bp)
{
    enum x_part part = x_part_of(sq_panel_info(q->panel.panel)->chrom, q->is_b38, pos_bp);
    return part < q->x_first || part > q->x_last;
}

static sq_err judge(struct qc *q, const struct sq_record *r, enum verdict *out)
{
    struct call_counts c;
    sq_err e = SQ_OK;
    count_calls(q, r, &c);
    enum verdict v = r->n_alt > 1                                           ? MULTIALLELIC
                     : r->n_alt == 0                                        ? NO_ALT
                     : !sq_record_is_plain(r) || sq_span_eq(r->ref, r->alt) ? INVALID_ALLELES
                     : r->filter == SQ_FILTER_DUP                           ? FILTER_DUP
                     : r->filter == SQ_FILTER_OTHER                         ? FILTER_OTHER
                                                                            : MATCH;
    if (v == MATCH) {
        if (q->seen->pos_bp != r->pos_bp)
            site_group_clear(q->seen, r->pos_bp);
        if (group_has(q->seen, r->ref, r->alt))
            v = DUPLICATE;
        else
            e = site_group_add(q->seen, 0, r->ref, r->alt);
    }
    if (!e && v == MATCH && is_other_part(q, r->pos_bp))
        v = OTHER_PART;
    uint32_t n_sample = sq_genotypes_n_sample(q->target);
    if (!e && v == MATCH && n_sample >= QC_CALL_RATE_FROM && (double)c.n_missing > QC_MAX_MISSING * n_sample)
        v = LOW_CALL_RATE;
    if (!e && v == MATCH) {
        e = site_walk_to(&q->walk, r->pos_bp, &q->w->why);
        v = compare(&q->walk.here, r);
    }
    if (!e && v <= TYPED_ONLY)
        e = refuse_unphased(q, r, &c);
    if (!e && v <= TYPED_ONLY) {
        uint8_t flipped;
        q->n_unphased += c.n_unphased;
        q->n_other_set += c.n_other_set;
        q->n_half += c.n_half;
        q->n_outside += v == TYPED_ONLY && (!q->walk.has || r->pos_bp < sq_panel_info(q->panel.panel)->first_bp);
        q->n_monomorphic += c.n_alt == 0 || c.n_alt == c.n_allele;
        q->n_common_alt += 2 * c.n_alt > c.n_allele;
        q->n_ambiguous += complement(r->ref, &flipped) && r->alt.n == 1 && r->alt.p[0] == flipped;
    }
    q->n_called += v == MATCH && c.n_missing < n_sample;
    *out = v;
    return e;
}

/* A line of the list; alleles only when they are short and plain, since a table may end in a spreadsheet. */
static sq_err list_add(struct qc *q, const struct sq_record *r, enum verdict v)
{
    if (q->list.n > (v == TYPED_ONLY ? QC_LIST_TYPED_ONLY_BYTES : QC_LIST_MAX_BYTES)) {
        q->list_is_cut = true;
        return SQ_OK;
    }
    bool show = sq_record_is_plain(r) && r->ref.n + r->alt.n <= 100;
    return sq_buf_addf(&q->list, "%lld\t%.*s\t%.*s\t%s\n", (long long)r->pos_bp, show ? (int)r->ref.n : 1,
                       show ? (const char *)r->ref.p : "-", show ? (int)r->alt.n : 1,
                       show ? (const char *)r->alt.p : "-", verdict_text[v]);
}

static sq_err check_build(struct qc *q)
{
    const struct sq_panel_info *info = sq_panel_info(q->panel.panel);
    const char *target = sq_genotypes_chrom(q->target), *panel = info->chrom;
    uint64_t target_len = sq_genotypes_chrom_length(q->target), panel_len = info->contig_bp > 0 ? (uint64_t)info->contig_bp : 0;
    if (!sq_chrom_same(target, panel))
        return sq_why_set(&q->w->why, sq_fail(SQ_EBUILD), 0, 0, "CHROM",
                          "your file is of chromosome %s, the panel of %s", target, panel);
    if (strcmp(target, panel) != 0)
        return sq_why_set(&q->w->why, sq_fail(SQ_EBUILD), 0, 0, "CHROM",
                          "your file says %s, the panel %s: the 'chr' in front usually means GRCh38, none GRCh37",
                          target, panel);
    if (target_len && panel_len && target_len != panel_len)
        return sq_why_set(&q->w->why, sq_fail(SQ_EBUILD), 0, 0, "contig",
                          "the chromosome has %llu bases in your header and %llu in the panel's: another build",
                          (unsigned long long)target_len, (unsigned long long)panel_len);
    return SQ_OK;
}

static sq_err read_target(struct qc *q, struct sq_bcf_writer **writer)
{
    struct worker *w = q->w;
    for (;;) {
        struct sq_record r;
        bool has;
        sq_err e = sq_genotypes_next(q->target, &w->why, &r, &has);
        if (e || !has)
            return e;
        if (!q->n_record++) {
            e = check_build(q);
            w->counts.first_bp = (uint64_t)r.pos_bp;
            if (!e)
                e = sq_bcf_writer_open(w->port[2], sq_genotypes_chrom(q->target), sq_genotypes_chrom_length(q->target),
                                       sq_genotypes_n_sample(q->target), -1, writer);
        }
        w->counts.last_bp = (uint64_t)r.pos_bp;
        enum verdict v = MATCH;
        if (!e)
            e = judge(q, &r, &v);
        if (e)
            return e;
        q->n[v]++;
        if (v <= TYPED_ONLY)
            e = ploidy_put(&q->ploidy, &r, *writer, &w->why);
        if (!e && v != MATCH)
            e = list_add(q, &r, v);
        if (!e)
            e = worker_progress(w, q->n_record, 0);
        if (e)
            return e;
    }
}

/* What lies before or behind the panel says nothing about the panel's fitness. */
static uint64_t n_comparable(const struct qc *q)
{
    return q->n[MATCH] + q->n[TYPED_ONLY] - q->n_outside + q->n[ALLELE_SWITCH] + q->n[STRAND_FLIP] +
           q->n[STRAND_FLIP_AND_SWITCH] + q->n[ALLELE_MISMATCH];
}

static sq_err check_overlap(struct qc *q)
{
    uint64_t n = n_comparable(q), in = q->n[MATCH];
    if (q->n_called < QC_MIN_SITES && q->n_called < in)
        return sq_why_set(&q->w->why, sq_fail(SQ_ECALLRATE), 0, 0, "GT", "%llu of %llu variants have a call at all", (unsigned long long)q->n_called, (unsigned long long)in);
    if (in >= QC_MIN_SITES && (double)in >= QC_MIN_OVERLAP * (double)n)
        return SQ_OK;
    if (q->n[LOW_CALL_RATE] > n)
        return sq_why_set(&q->w->why, sq_fail(SQ_ECALLRATE), 0, 0, "GT", "%llu of %llu variants miss more than 10 %% of their genotypes",
                          (unsigned long long)q->n[LOW_CALL_RATE], (unsigned long long)q->n_record);
    return sq_why_set(
        &q->w->why, sq_fail(SQ_ENOOVERLAP), 0, 0, "variants",
        "%llu of %llu usable variants are in the panel; half, and at least %u, must be (switched %llu, flipped %llu)",
        (unsigned long long)in, (unsigned long long)n, QC_MIN_SITES,
        (unsigned long long)(q->n[ALLELE_SWITCH] + q->n[STRAND_FLIP_AND_SWITCH]),
        (unsigned long long)(q->n[STRAND_FLIP] + q->n[STRAND_FLIP_AND_SWITCH]));
}

static bool is_phased(const struct qc *q)
{
    return !(q->n_unphased + q->n_other_set);
}

static sq_err write_report(struct qc *q)
{
    struct sq_buf text;
    sq_buf_init(&text, SQ_STAGE_REPORT_MAX_BYTES);
    const struct sq_panel_info *panel = sq_panel_info(q->panel.panel);
    sq_err e = sq_buf_addf(&text, "#sequester-qc/v1\n#samples\t%u\n#records\t%llu\n#panel_haplotypes\t%llu\n#panel_rows\t%llu\n", sq_genotypes_n_sample(q->target),
                           (unsigned long long)q->n_record, (unsigned long long)panel->n_hap, (unsigned long long)panel->n_site);
    for (int v = 0; v < N_VERDICT && !e; v++)
        e = sq_buf_addf(&text, "#%s\t%llu\n", verdict_key[v], (unsigned long long)q->n[v]);
    if (!e)
        e = sq_buf_addf(
            &text,
            "#outside_panel\t%llu\n#kept_monomorphic\t%llu\n#kept_strand_ambiguous\t%llu\n#kept_alt_is_common\t%llu\n#haploid_samples\t%u\n"
            "#phased\t%d\n#unphased_genotypes\t%llu\n#other_phase_set_genotypes\t%llu\n#half_missing_genotypes\t%llu\n#list_is_cut\t%d\nPOS\tREF\tALT\tREASON\n",
            (unsigned long long)q->n_outside, (unsigned long long)q->n_monomorphic, (unsigned long long)q->n_ambiguous,
            (unsigned long long)q->n_common_alt, q->ploidy.n_haploid, is_phased(q), (unsigned long long)q->n_unphased, (unsigned long long)q->n_other_set,
            (unsigned long long)q->n_half, q->list_is_cut);
    if (!e)
        e = sq_buf_add(&text, q->list.p, q->list.n);
    if (!e)
        e = sq_write_all(q->w->port[3], text.p, text.n);
    sq_buf_done(&text);
    return e;
}

static sq_err run(struct qc *q, struct sq_bcf_writer **writer)
{
    struct worker *w = q->w;
    struct sq_genotypes_limits limits = {.max_samples = w->max_samples, .max_variants = w->max_variants, .with_sets = true};
    sq_err e = sq_genotypes_open(w->port[0], &limits, &w->why, &q->target);
    if (!e)
        e = panel_port_open(w, w->port[1], -1, &q->panel);
    if (!e)
        e = site_walk_open(q->panel.panel, 0, &w->why, &q->walk);
    if (!e)
        e = ploidy_open(sq_genotypes_n_sample(q->target), &q->ploidy);
    if (!e && !(q->set = calloc(sq_genotypes_n_sample(q->target), sizeof *q->set)))
        e = sq_fail(SQ_ENOMEM);
    if (e)
        return e;
    const struct sq_panel_info *info = sq_panel_info(q->panel.panel);
    q->is_b38 = x_is_b38(info->chrom, info->contig_bp > 0 ? (uint64_t)info->contig_bp : 0, info->build);
    q->x_first = x_part_of(info->chrom, q->is_b38, info->first_bp);
    q->x_last = x_part_of(info->chrom, q->is_b38, info->last_bp);
    e = read_target(q, writer);
    if (e == SQ_EUNPHASED) { /* what was read so far tells the owner where it begins */
        sq_err told = write_report(q);
        return told ? told : e;
    }
    if (e)
        return e;
    if (!q->n_record)
        return sq_fail(SQ_ENOVARIANT);
    e = ploidy_end(&q->ploidy, *writer);
    if (e)
        return e;
    e = write_report(q); /* before the verdict: the user needs the reasons most when it fails */
    return e ? e : check_overlap(q);
}

sq_err stage_qc(struct worker *w)
{
    struct qc *q = calloc(1, sizeof *q);
    struct site_group *seen = calloc(1, sizeof *seen);
    if (!q || !seen) {
        free(q);
        free(seen);
        return sq_fail(SQ_ENOMEM);
    }
    q->w = w;
    q->seen = seen;
    sq_buf_init(&seen->text, 0);
    sq_buf_init(&q->list, SQ_STAGE_REPORT_MAX_BYTES);
    struct sq_bcf_writer *writer = NULL;
    sq_err e = run(q, &writer);
    sq_err closed = sq_bcf_writer_close(writer);
    if (!e)
        e = closed;
    if (!e) {
        w->counts.n_sample = sq_genotypes_n_sample(q->target);
        w->counts.n_variant = q->n_record;
        w->counts.n_kept = q->n[MATCH] + q->n[TYPED_ONLY];
        w->counts.n_in_panel = q->n[MATCH];
        w->counts.n_excluded = q->n_record - w->counts.n_kept;
        w->counts.n_haplotype = sq_panel_info(q->panel.panel)->n_hap;
        w->counts.n_site = sq_panel_info(q->panel.panel)->n_site;
        w->counts.is_phased = is_phased(q);
        worker_count_chrom(w, sq_genotypes_chrom(q->target));
    }
    ploidy_close(&q->ploidy);
    free(q->set);
    sq_genotypes_close(q->target);
    site_walk_close(&q->walk);
    panel_port_close(&q->panel);
    sq_buf_done(&seen->text);
    free(seen);
    sq_buf_done(&q->list);
    free(q);
    return e;
}
