/*
 * ingest: a stranger's upload becomes a normalised stream without a name in it.
 *
 * The whole file is read and checked before the stage says that it is well; what it wrote until then is discarded by the
 * runner when it fails. Of the upload only this goes on: chromosome, its length if the header says it, positions, rs
 * numbers, alleles, whether a filter was passed, genotypes. Samples are S000001 and so on; their names leave on a port of
 * their own.
 */
#include "worker/worker.h"

#include "lib/core/file.h"

static sq_err write_ids(const struct sq_genotypes *g, int fd)
{
    struct sq_buf text;
    sq_buf_init(&text, 0);
    uint32_t n = sq_genotypes_n_sample(g);
    sq_err e = sq_buf_addf(&text, "sequester-ids/v1 %u\n", n);
    for (uint32_t i = 0; i < n && !e; i++)
        e = sq_buf_addf(&text, "%s\n", sq_genotypes_sample(g, i));
    if (!e)
        e = sq_write_all(fd, text.p, text.n);
    sq_buf_done(&text);
    return e;
}

static bool is_phased(const struct sq_record *r, uint32_t n_sample)
{
    for (uint32_t i = 0; i < n_sample; i++)
        if (!r->phased[i] && r->gt[2 * i] != r->gt[2 * i + 1] && r->gt[2 * i] != SQ_GT_MISSING &&
            r->gt[2 * i + 1] != SQ_GT_MISSING)
            return false;
    return true;
}

static sq_err copy_records(struct worker *w, struct sq_genotypes *g, struct sq_bcf_writer **writer)
{
    uint32_t n_sample = sq_genotypes_n_sample(g);
    w->counts.is_phased = 1;
    for (;;) {
        struct sq_record r;
        bool has;
        sq_err e = sq_genotypes_next(g, &w->why, &r, &has);
        if (e || !has)
            return e;
        if (!*writer) {
            uint64_t length = sq_genotypes_chrom_length(g); /* INT32_MAX: what bcftools writes where it doesn't know */
            e = sq_bcf_writer_open(w->port[1], sq_genotypes_chrom(g), length == INT32_MAX ? 0 : length, n_sample, -1, writer);
            w->counts.first_bp = (uint64_t)r.pos_bp;
        }
        if (!e)
            e = sq_bcf_writer_put(*writer, &r);
        if (!e)
            e = worker_progress(w, sq_genotypes_n_packed(g), 0);
        if (e)
            return e;
        w->counts.is_phased = w->counts.is_phased && is_phased(&r, n_sample);
        w->counts.last_bp = (uint64_t)r.pos_bp;
    }
}

sq_err stage_ingest(struct worker *w)
{
    struct sq_genotypes_limits limits = {
        .max_samples = w->max_samples, .max_variants = w->max_variants, .with_sets = true, .source.max_ratio = SQ_SOURCE_MAX_RATIO};
    struct sq_genotypes *g = NULL;
    struct sq_bcf_writer *writer = NULL;
    sq_err e = sq_genotypes_open(w->port[0], &limits, &w->why, &g);
    if (!e)
        e = write_ids(g, w->port[2]);
    if (!e)
        e = copy_records(w, g, &writer);
    if (!e && !writer)
        e = sq_why_set(&w->why, sq_fail(SQ_ENOVARIANT), 0, 0, "file", "the header is fine, but no record follows it");
    sq_err closed = sq_bcf_writer_close(writer);
    if (!e)
        e = closed;
    if (!e) {
        w->counts.format = (uint8_t)sq_genotypes_format(g);
        w->counts.n_sample = sq_genotypes_n_sample(g);
        w->counts.n_variant = w->counts.n_kept = sq_genotypes_n_record(g);
        worker_count_chrom(w, sq_genotypes_chrom(g));
    }
    sq_genotypes_close(g);
    return e;
}
