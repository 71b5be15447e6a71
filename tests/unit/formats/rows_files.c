/*
 * rows_files DIRECTORY - made-up results as whole files, header and index as finish makes them, for rows_files_test.py to hand to other people's tools.
 *
 * NAME.vcf.gz or .bcf, .tbi or .csi beside it, NAME.sites.*, NAME.empirical.*; NAME.txt: position, length of REF and kind of every row.
 */
#include "rows_made.h"

#include "lib/core/file.h"
#include "lib/formats/bgzf_out.h"

#include <fcntl.h>

static void must(sq_err e, const char *what)
{
    if (!e)
        return;
    fprintf(stderr, "rows_files: %s: %s\n", what, sq_err_name(e));
    exit(1);
}

static int file(const char *dir, const char *name, const char *end)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s%s", dir, name, end);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    must(fd < 0 ? SQ_EIO : SQ_OK, path);
    return fd;
}

static void pack(int fd, const struct sq_buf *text, bool with_end, uint64_t *out_n)
{
    struct sq_bgzf_out *b = NULL;
    must(sq_bgzf_out_open(fd, &b), "bgzf");
    must(sq_bgzf_out_put(b, text->p, text->n), "bgzf");
    must(sq_bgzf_out_close(b, with_end, out_n), "bgzf");
}

static void write_track(const char *dir, const char *name, const struct made_files *f, unsigned t, bool is_csi)
{
    static const char *const end[2][SQ_ROWS_PHASED] = {{".vcf.gz", ".sites.vcf.gz", ".empirical.vcf.gz"}, {".bcf", ".sites.bcf", ".empirical.bcf"}};
    struct sq_part part;
    struct sq_buf columns, head, text;
    struct sq_index *index = NULL;
    size_t at = 0;
    uint64_t n_head = 0;
    sq_buf_init(&columns, 0);
    sq_buf_init(&head, 0);
    sq_buf_init(&text, 0);
    must(sq_part_next(&f->part[t], &at, &part) ? SQ_OK : SQ_EFORMAT, "part");
    for (uint64_t i = 0; i < part.n_sample; i++)
        must(sq_buf_addf(&columns, "\tP%04llu", (unsigned long long)i), "columns");
    must(sq_part_header(&part, &columns, &head), "header");
    int fd = file(dir, name, end[part.container][t]);
    pack(fd, &head, false, &n_head);
    must(sq_write_all(fd, f->body[t].p, f->body[t].n), "body");
    close(fd);
    must(sq_index_new_like(part.index.p, part.index.n, &index), "index");
    must(sq_index_join(index, part.index.p, part.index.n, n_head), "index");
    must(sq_index_write(index, part.container == SQ_ROWS_BCF ? SQ_INDEX_CSI_BCF : is_csi ? SQ_INDEX_CSI_VCF : SQ_INDEX_TBI, &text), "index");
    char name_of[128];
    snprintf(name_of, sizeof name_of, "%s%s", name, end[part.container][t]);
    fd = file(dir, name_of, part.container == SQ_ROWS_BCF || is_csi ? ".csi" : ".tbi");
    pack(fd, &text, true, NULL);
    close(fd);
    sq_index_free(index);
    sq_buf_done(&columns);
    sq_buf_done(&head);
    sq_buf_done(&text);
}

static void write_list(const char *dir, const char *name, const struct made *m)
{
    int fd = file(dir, name, ".txt");
    FILE *f = fdopen(fd, "w");
    for (uint32_t i = 0; i < m->n_row; i++)
        fprintf(f, "%lld %zu %s\n", (long long)m->row[i].pos_bp, strlen(m->row[i].ref), !m->row[i].milli ? "typed_only" : m->row[i].loo ? "empirical" : "other");
    fclose(f);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name, *chrom, *fields;
        unsigned ploidy;
        uint32_t n_sample, n_row, step;
        int64_t first_bp;
        uint64_t length;
        enum sq_rows_container container;
        bool is_csi;
    } set[] = {
        {"plain", "22", "GT,DS,HDS", 0, 37, 6000, 1500, 1000, 51304566, SQ_ROWS_VCF, false},
        {"plain_csi", "22", "GT,DS,HDS,GP", 0, 37, 6000, 1500, 1000, 51304566, SQ_ROWS_VCF, true},
        {"binary", "22", "GT,DS,HDS,GP", 0, 37, 6000, 1500, 1000, 51304566, SQ_ROWS_BCF, true},
        {"male", "X", "GT,DS,HDS,GP", 2, 23, 3000, 20000, 2781480, 0, SQ_ROWS_VCF, false},
        {"male_binary", "X", "GT,DS,HDS,GP", 2, 23, 3000, 20000, 2781480, 0, SQ_ROWS_BCF, true},
        {"one", "chr1", "GT,DS,HDS", 0, 1, 20000, 300, 1, 248956422, SQ_ROWS_VCF, false},
        {"far", "3B", "GT,DS", 0, 5, 6000, 120000, 400000000, 1500000000, SQ_ROWS_VCF, true},
        {"far_binary", "3B", "GT,DS", 0, 5, 6000, 120000, 400000000, 1500000000, SQ_ROWS_BCF, true},
    };
    if (argc != 2)
        return 2;
    for (size_t i = 0; i < sizeof set / sizeof set[0]; i++) {
        struct made *m = made_new(31, set[i].n_sample, set[i].ploidy, set[i].n_row, set[i].first_bp, set[i].step);
        struct sq_rows_spec s = {.chrom = set[i].chrom, .chrom_length = set[i].length, .n_sample = m->n_sample, .is_haploid = m->is_haploid,
                                 .container = set[i].container, .panel_name = "made up", .n_panel_haplotype = 5008};
        must(sq_rows_fields(set[i].fields, s.field, &s.n_field), "fields");
        struct sq_rows *plan = NULL;
        struct made_files f;
        must(sq_rows_new(&s, &plan), "plan");
        must(made_files(m, plan, 2500, 200, 2, 1 << 20, &f), "rows");
        for (unsigned t = 0; t < SQ_ROWS_PHASED; t++)
            write_track(argv[1], set[i].name, &f, t, set[i].is_csi);
        write_list(argv[1], set[i].name, m);
        made_files_done(&f);
        sq_rows_free(plan);
        made_free(m);
    }
    return 0;
}
