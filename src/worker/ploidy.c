#include "worker/ploidy.h"

#include <stdlib.h>

/* ---- chromosome X ---------------------------------------------------------------------------------------------------- */

/* The Genome Reference Consortium's coordinates of the pseudo-autosomal regions: PAR1 ends, PAR2 begins. */
#define B37_PAR1_END 2699520
#define B37_PAR2_FROM 154931044
#define B37_LENGTH 155270560U
#define B38_PAR1_END 2781479
#define B38_PAR2_FROM 155701383
#define B38_LENGTH 156040895U

bool x_is_b38(const char *chrom, uint64_t length_bp, const char *build)
{
    if (length_bp == B37_LENGTH || length_bp == B38_LENGTH)
        return length_bp == B38_LENGTH;
    if (strstr(build, "38"))
        return true;
    return !strstr(build, "37") && !strstr(build, "19") && !strncmp(chrom, "chr", 3);
}

enum x_part x_part_of(const char *chrom, bool is_b38, int64_t pos_bp)
{
    const char *name = strncmp(chrom, "chr", 3) ? chrom : chrom + 3;
    if (strcmp(name, "X") != 0 && strcmp(name, "23") != 0)
        return X_NONE;
    return pos_bp <= (is_b38 ? B38_PAR1_END : B37_PAR1_END) ? X_PAR1 : pos_bp >= (is_b38 ? B38_PAR2_FROM : B37_PAR2_FROM) ? X_PAR2
                                                                                                                        : X_ONLY;
}

/* ---- haplotypes of each sample ------------------------------------------------------------------------------------------ */

struct ploidy_held {
    struct sq_record r;
    uint8_t *gt, *phased;
    uint32_t *set;
    char *text;
};

sq_err ploidy_open(uint32_t n_sample, struct ploidy *out)
{
    struct ploidy p = {.n_sample = n_sample, .n_unknown = n_sample};
    p.of = calloc(n_sample, 1);
    p.has_pair = calloc(n_sample, 1);
    p.gt = malloc((size_t)2 * n_sample);
    p.set = malloc((size_t)4 * n_sample);
    p.held = calloc(PLOIDY_HOLD_RECORDS, sizeof *p.held);
    *out = p;
    return p.of && p.has_pair && p.gt && p.set && p.held ? SQ_OK : sq_fail(SQ_ENOMEM);
}

static void held_done(struct ploidy_held *h, uint32_t n_sample)
{
    if (h->gt)
        sq_wipe(h->gt, (size_t)2 * n_sample);
    free(h->gt);
    free(h->phased);
    free(h->set);
    free(h->text);
}

void ploidy_close(struct ploidy *p)
{
    for (uint32_t i = 0; i < p->n_held; i++)
        held_done(&p->held[i], p->n_sample);
    free(p->held);
    free(p->of);
    free(p->has_pair);
    if (p->gt)
        sq_wipe(p->gt, (size_t)2 * p->n_sample);
    free(p->gt);
    free(p->set);
    *p = (struct ploidy){0};
}

static bool is_missing(const uint8_t *gt)
{
    return gt[0] == SQ_GT_MISSING || gt[1] == SQ_GT_MISSING;
}

static sq_err changed(const struct sq_record *r, uint32_t sample, unsigned now, struct sq_why *why)
{
    return sq_why_set(why, sq_fail(SQ_EPLOIDY), 0, 0, "GT",
                      "record %llu (position %lld): sample number %u has %u allele%s, before it had %u. Chromosome X is given in parts: PAR1, PAR2 and what lies between",
                      (unsigned long long)r->line, (long long)r->pos_bp, sample + 1, now, now == 1 ? "" : "s", 3 - now);
}

static sq_err learn(struct ploidy *p, const struct sq_record *r, struct sq_why *why)
{
    for (uint32_t i = 0; i < p->n_sample; i++) {
        const uint8_t *gt = r->gt + 2 * (size_t)i;
        uint8_t now = gt[1] == SQ_GT_NONE ? 1 : 2;
        if (is_missing(gt)) {
            p->has_pair[i] |= now == 2;
            continue;
        }
        if (p->of[i] && p->of[i] != now)
            return changed(r, i, now, why);
        if (!p->of[i]) {
            p->of[i] = now;
            p->n_haploid += now == 1;
            p->n_unknown--;
        }
    }
    return SQ_OK;
}

static sq_err write_record(struct ploidy *p, const struct sq_record *r, struct sq_bcf_writer *to)
{
    struct sq_record out = *r;
    memcpy(p->gt, r->gt, (size_t)2 * p->n_sample);
    if (r->set)
        memcpy(p->set, r->set, (size_t)4 * p->n_sample);
    for (uint32_t i = 0; i < p->n_sample; i++) {
        uint8_t *gt = p->gt + 2 * (size_t)i;
        if (is_missing(gt)) {
            gt[0] = SQ_GT_MISSING;
            gt[1] = p->of[i] == 1 ? SQ_GT_NONE : SQ_GT_MISSING;
        }
        if (gt[0] == gt[1] || gt[1] == SQ_GT_NONE || gt[1] == SQ_GT_MISSING)
            p->set[i] = 0; /* nothing to order */
    }
    out.gt = p->gt;
    out.set = r->set ? p->set : NULL;
    return sq_bcf_writer_put(to, &out);
}

static sq_err hold(struct ploidy *p, const struct sq_record *r)
{
    struct ploidy_held *h = &p->held[p->n_held++];
    size_t n_text = (size_t)r->id.n + r->ref.n + r->alt.n, n = p->n_sample;
    *h = (struct ploidy_held){.r = *r, .gt = malloc(2 * n), .phased = malloc(n), .set = r->set ? malloc(4 * n) : NULL, .text = malloc(n_text + 1)};
    if (!h->gt || !h->phased || (r->set && !h->set) || !h->text)
        return sq_fail(SQ_ENOMEM);
    memcpy(h->gt, r->gt, 2 * n);
    memcpy(h->phased, r->phased, n);
    if (r->set)
        memcpy(h->set, r->set, 4 * n);
    memcpy(h->text, r->id.p, r->id.n);
    memcpy(h->text + r->id.n, r->ref.p, r->ref.n);
    memcpy(h->text + r->id.n + r->ref.n, r->alt.p, r->alt.n);
    h->r.id = sq_span_of(h->text, r->id.n);
    h->r.ref = sq_span_of(h->text + r->id.n, r->ref.n);
    h->r.alt = sq_span_of(h->text + r->id.n + r->ref.n, r->alt.n);
    h->r.gt = h->gt;
    h->r.phased = h->phased;
    h->r.set = h->set;
    p->held_bytes += n_text + (r->set ? 7 : 3) * n;
    return SQ_OK;
}

static sq_err let_go(struct ploidy *p, struct sq_bcf_writer *to)
{
    sq_err e = SQ_OK;
    for (uint32_t i = 0; i < p->n_sample; i++) /* none of them had a call so far */
        if (!p->of[i])
            p->of[i] = p->n_haploid && !p->has_pair[i] ? 1 : 2;
    p->n_unknown = 0;
    p->is_open = true;
    for (uint32_t i = 0; i < p->n_held && !e; i++)
        e = write_record(p, &p->held[i].r, to);
    for (uint32_t i = 0; i < p->n_held; i++)
        held_done(&p->held[i], p->n_sample);
    p->n_held = 0;
    return e;
}

sq_err ploidy_put(struct ploidy *p, const struct sq_record *r, struct sq_bcf_writer *to, struct sq_why *why)
{
    sq_err e = learn(p, r, why);
    if (e)
        return e;
    if (p->is_open)
        return write_record(p, r, to);
    e = hold(p, r);
    if (!e && (!p->n_unknown || p->n_held == PLOIDY_HOLD_RECORDS || p->held_bytes >= PLOIDY_HOLD_BYTES))
        e = let_go(p, to);
    return e;
}

sq_err ploidy_end(struct ploidy *p, struct sq_bcf_writer *to)
{
    return p->is_open || !p->n_held ? SQ_OK : let_go(p, to);
}
