/*
 * cohort - turns the haplotypes of `coalescent` into the four files of a benchmark.
 *
 *     cohort HAPLOTYPES N_HAP N_TARGET SPACING_BP SEED CHROM MIN_COUNT ERROR_RATE MISSING_RATE PREFIX LENGTH_BP
 *
 *     PREFIX.ref.bcf              the first N_HAP - 2 N_TARGET haplotypes, phased; sites with MIN_COUNT or more of either allele among them
 *     PREFIX.truth.vcf.gz         the others, phased, at the same sites
 *     PREFIX.target.phased.vcf.gz     the same at the sites of an array, without error
 *     PREFIX.target.unphased.vcf.gz   the same unphased, with wrong and missing calls
 *
 * The array takes one site in SPACING_BP bases, common ones rather than rare ones, as real arrays do. Each file gets a .csi index.
 */
#include "simulate.h"
#include <fcntl.h>
#include <htslib/bgzf.h>
#include <htslib/vcf.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t rng;

static double random_unit(void)
{
    return (double)(sim_splitmix(&rng) >> 11) * (1.0 / 9007199254740992.0);
}

struct haplotypes {
    const uint8_t *bytes;
    size_t row_bytes;
    int64_t n_site;
    int32_t n_hap, n_panel_hap;
};

static struct sim_site site_of(const struct haplotypes *h, int64_t s)
{
    struct sim_site site;
    memcpy(&site, h->bytes + (size_t)s * h->row_bytes, sizeof site);
    return site;
}

static int32_t allele(const struct haplotypes *h, int64_t s, int32_t hap)
{
    return h->bytes[(size_t)s * h->row_bytes + sizeof(struct sim_site) + ((size_t)hap >> 3)] >> (hap & 7) & 1;
}

static struct haplotypes haplotypes_open(const char *path, int32_t n_hap, int32_t n_target)
{
    struct haplotypes h = {.row_bytes = sizeof(struct sim_site) + sim_bit_bytes(n_hap), .n_hap = n_hap, .n_panel_hap = n_hap - 2 * n_target};
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    sim_must(fd >= 0 && fstat(fd, &st) == 0, path);
    h.n_site = st.st_size / (off_t)h.row_bytes;
    h.bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    sim_must(h.bytes != MAP_FAILED, path);
    close(fd);
    return h;
}

static double array_weight(int32_t n_derived, int32_t n_hap)
{
    double frequency = (double)n_derived / n_hap, maf = frequency < 0.5 ? frequency : 1 - frequency;
    return maf >= 0.05 ? 1 : maf >= 0.01 ? 0.25 : maf >= 0.001 ? 0.002 : 0;
}

/* Marks one site in each stretch of spacing_bp; of several, one by weight (reservoir sampling). */
static void choose_array(const struct haplotypes *h, const int32_t *n_panel_derived, int32_t min_count, double spacing_bp, bool *out_is_typed)
{
    int64_t s = 0;
    while (s < h->n_site) {
        double end_bp = (double)((long)(site_of(h, s).pos_bp / spacing_bp) + 1) * spacing_bp, total = 0;
        int64_t chosen = -1;
        for (; s < h->n_site && site_of(h, s).pos_bp < end_bp; s++) {
            if (n_panel_derived[s] < min_count || n_panel_derived[s] > h->n_panel_hap - min_count)
                continue;
            double weight = array_weight(n_panel_derived[s], h->n_panel_hap);
            total += weight;
            if (weight > 0 && random_unit() * total < weight)
                chosen = s;
        }
        if (chosen >= 0)
            out_is_typed[chosen] = true;
    }
}

/* ---- the files ---- */

struct out {
    htsFile *file;
    bcf_hdr_t *header;
    bcf1_t *record;
    char *path, *index_path;
    int32_t first_hap, n_hap, *gt;
};

static char *joined_text(const char *a, const char *b)
{
    char *text = sim_alloc(strlen(a) + strlen(b) + 1, 1);
    strcpy(text, a);
    strcat(text, b);
    return text;
}

static struct out out_open(const char *prefix, const char *name, const char *chrom, const char *length, int32_t first_hap, int32_t n_hap, char letter)
{
    struct out o = {.path = joined_text(prefix, name), .first_hap = first_hap, .n_hap = n_hap};
    o.index_path = joined_text(o.path, ".csi");
    o.file = hts_open(o.path, strstr(name, ".bcf") ? "wb" : "wz");
    sim_must(o.file != NULL, o.path);
    o.header = bcf_hdr_init("w");
    o.record = bcf_init();
    o.gt = sim_alloc((size_t)n_hap, sizeof *o.gt);
    sim_must(o.header && o.record, "memory");
    bcf_hdr_printf(o.header, "##source=bench/simulate");
    bcf_hdr_printf(o.header, "##contig=<ID=%s,length=%s>", chrom, length);
    bcf_hdr_append(o.header, "##INFO=<ID=AC,Number=A,Type=Integer,Description=\"Allele count in genotypes\">");
    bcf_hdr_append(o.header, "##INFO=<ID=AN,Number=1,Type=Integer,Description=\"Total number of alleles\">");
    bcf_hdr_append(o.header, "##FORMAT=<ID=GT,Number=1,Type=String,Description=\"Genotype\">");
    for (int32_t i = 0; i < n_hap / 2; i++) {
        char sample[16];
        snprintf(sample, sizeof sample, "%c%06d", letter, first_hap / 2 + i + 1);
        bcf_hdr_add_sample(o.header, sample);
    }
    bcf_hdr_add_sample(o.header, NULL);
    sim_must(bcf_hdr_write(o.file, o.header) == 0 && bcf_idx_init(o.file, o.header, 14, o.index_path) == 0, o.path);
    return o;
}

static void out_close(struct out *o)
{
    sim_must(bcf_idx_save(o->file) == 0 && hts_close(o->file) == 0, o->path);
    bcf_destroy(o->record);
    bcf_hdr_destroy(o->header);
    free(o->gt);
    free(o->path);
    free(o->index_path);
}

/* Writes o->gt at a site; AC and AN are counted from it. */
static void out_write(struct out *o, const char *chrom, int32_t pos_bp, const char *alleles)
{
    int32_t n_alt = 0, n_called = 0;
    for (int32_t i = 0; i < o->n_hap; i++) {
        n_called += !bcf_gt_is_missing(o->gt[i]);
        n_alt += !bcf_gt_is_missing(o->gt[i]) && bcf_gt_allele(o->gt[i]) == 1;
    }
    char id[16];
    int32_t pass = 0;
    bcf_clear(o->record);
    o->record->rid = bcf_hdr_name2id(o->header, chrom);
    o->record->pos = pos_bp - 1;
    snprintf(id, sizeof id, "s%d", pos_bp);
    bool is_ok = bcf_update_id(o->header, o->record, id) == 0 && bcf_update_alleles_str(o->header, o->record, alleles) == 0 &&
                 bcf_update_filter(o->header, o->record, &pass, 1) == 0 && bcf_update_info_int32(o->header, o->record, "AC", &n_alt, 1) == 0 &&
                 bcf_update_info_int32(o->header, o->record, "AN", &n_called, 1) == 0 &&
                 bcf_update_genotypes(o->header, o->record, o->gt, o->n_hap) == 0 && bcf_write(o->file, o->header, o->record) == 0;
    sim_must(is_ok, o->path);
}

static void phased_genotypes(struct out *o, const struct haplotypes *h, int64_t s)
{
    for (int32_t i = 0; i < o->n_hap; i += 2) {
        o->gt[i] = bcf_gt_phased(allele(h, s, o->first_hap + i));
        o->gt[i + 1] = bcf_gt_phased(allele(h, s, o->first_hap + i + 1));
    }
}

static void array_genotypes(struct out *o, const struct haplotypes *h, int64_t s, double error_rate, double missing_rate)
{
    for (int32_t i = 0; i < o->n_hap; i += 2) {
        if (random_unit() < missing_rate) {
            o->gt[i] = o->gt[i + 1] = bcf_gt_missing;
            continue;
        }
        int32_t a[2] = {allele(h, s, o->first_hap + i), allele(h, s, o->first_hap + i + 1)};
        if (random_unit() < error_rate)
            a[sim_splitmix(&rng) & 1 ? 0 : 1] ^= 1;
        o->gt[i] = bcf_gt_unphased(a[0] & a[1]); /* 0/1, whichever haplotype carries it */
        o->gt[i + 1] = bcf_gt_unphased(a[0] | a[1]);
    }
}

int main(int argc, char **argv)
{
    if (argc != 12) {
        fprintf(stderr, "usage: cohort HAPLOTYPES N_HAP N_TARGET SPACING_BP SEED CHROM MIN_COUNT ERROR_RATE MISSING_RATE PREFIX LENGTH_BP\n");
        return 2;
    }
    int32_t n_hap = (int32_t)strtol(argv[2], NULL, 10), n_target = (int32_t)strtol(argv[3], NULL, 10), min_count = (int32_t)strtol(argv[7], NULL, 10);
    double error_rate = strtod(argv[8], NULL), missing_rate = strtod(argv[9], NULL);
    const char *chrom = argv[6], *prefix = argv[10], *length = argv[11];
    struct haplotypes h = haplotypes_open(argv[1], n_hap, n_target);
    rng = strtoull(argv[5], NULL, 10) ^ 0xABCDEF;
    int32_t *n_panel_derived = sim_alloc((size_t)h.n_site, sizeof *n_panel_derived);
    bool *is_typed = sim_alloc((size_t)h.n_site, sizeof *is_typed);
    for (int64_t s = 0; s < h.n_site; s++) {
        n_panel_derived[s] = site_of(&h, s).n_derived;
        for (int32_t i = h.n_panel_hap; i < n_hap; i++)
            n_panel_derived[s] -= allele(&h, s, i);
    }
    choose_array(&h, n_panel_derived, min_count, strtod(argv[4], NULL), is_typed);

    struct out panel = out_open(prefix, ".ref.bcf", chrom, length, 0, h.n_panel_hap, 'R');
    struct out truth = out_open(prefix, ".truth.vcf.gz", chrom, length, h.n_panel_hap, 2 * n_target, 'T');
    struct out phased = out_open(prefix, ".target.phased.vcf.gz", chrom, length, h.n_panel_hap, 2 * n_target, 'T');
    struct out unphased = out_open(prefix, ".target.unphased.vcf.gz", chrom, length, h.n_panel_hap, 2 * n_target, 'T');
    int64_t n_kept = 0, n_typed = 0;
    for (int64_t s = 0; s < h.n_site; s++) {
        uint64_t ref = sim_splitmix(&rng) & 3, alt = (ref + 1 + sim_splitmix(&rng) % 3) & 3;
        if (n_panel_derived[s] < min_count || n_panel_derived[s] > h.n_panel_hap - min_count)
            continue;
        const char alleles[] = {"ACGT"[ref], ',', "ACGT"[alt], 0};
        int32_t pos_bp = site_of(&h, s).pos_bp;
        phased_genotypes(&panel, &h, s);
        out_write(&panel, chrom, pos_bp, alleles);
        phased_genotypes(&truth, &h, s);
        out_write(&truth, chrom, pos_bp, alleles);
        n_kept++;
        if (!is_typed[s])
            continue;
        phased_genotypes(&phased, &h, s);
        out_write(&phased, chrom, pos_bp, alleles);
        array_genotypes(&unphased, &h, s, error_rate, missing_rate);
        out_write(&unphased, chrom, pos_bp, alleles);
        n_typed++;
    }
    out_close(&panel);
    out_close(&truth);
    out_close(&phased);
    out_close(&unphased);
    fprintf(stderr, "cohort: panel of %d haplotypes x %lld sites, array of %lld sites, %d targets\n", h.n_panel_hap, (long long)n_kept, (long long)n_typed, n_target);
    free(n_panel_derived);
    free(is_typed);
    return 0;
}
