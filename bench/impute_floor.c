/*
 * impute_floor - what imputation would cost without its model: reads map, target and panel as `sequester impute` does and writes the
 * same number of rows, with dosages that stand in a file.
 *
 *     impute_floor PANEL.sqp TARGET MAP DOSAGES FORMAT OUT
 *
 * DOSAGES: [row of the panel][target haplotype] thousandths, 16 bits each, native byte order, from an earlier result. OUT gets the
 * rows, packed, without a header. One thread. Prints CPU seconds by step, a line each; decoding is that of the whole panel, once.
 */
#include "lib/formats/pieces.h"
#include "lib/panel/panel.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BLOCKS_PER_PIECE = 32 };

static struct sq_why why;

static void must(sq_err e, const char *what)
{
    if (!e)
        return;
    fprintf(stderr, "impute_floor: %s: %s: %s\n", what, sq_err_text(e), why.detail);
    exit(1);
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double lap(const char *step)
{
    static double before;
    double now = cpu_seconds(), spent = now - before;
    before = now;
    if (step)
        printf("%-8s %.3f\n", step, spent);
    return spent;
}

static int open_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        perror(path);
        exit(1);
    }
    return fd;
}

static const void *map_file(const char *path, size_t *out_n)
{
    struct stat st;
    int fd = open_file(path);
    const void *p = fstat(fd, &st) ? MAP_FAILED : mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
        perror(path);
        exit(1);
    }
    close(fd);
    *out_n = (size_t)st.st_size;
    return p;
}

static uint32_t read_target(const char *path)
{
    struct sq_genotypes *g;
    struct sq_record record;
    bool has = true;
    int fd = open_file(path);
    must(sq_genotypes_open(fd, &(struct sq_genotypes_limits){0}, &why, &g), path);
    while (has)
        must(sq_genotypes_next(g, &why, &record, &has), path);
    uint32_t n_sample = sq_genotypes_n_sample(g);
    sq_genotypes_close(g);
    close(fd);
    return n_sample;
}

static struct sq_rows *plan_of(const struct sq_panel_info *info, uint32_t n_sample, const char *format)
{
    struct sq_rows_spec spec = {.chrom = info->chrom, .chrom_length = (uint64_t)info->contig_bp, .n_sample = n_sample, .container = SQ_ROWS_VCF};
    struct sq_rows *plan;
    must(sq_rows_fields(format, spec.field, &spec.n_field), "format");
    must(sq_rows_new(&spec, &plan), "plan");
    return plan;
}

static void put_block(struct sq_piece *piece, const struct sq_panel_block *b, const uint16_t *milli, size_t n_target)
{
    for (uint32_t s = 0; s < b->n_site; s++) {
        const struct sq_panel_site *site = &b->site[s];
        struct sq_row row = {.pos_bp = site->pos_bp, .id = sq_span_of(site->id, site->n_id), .ref = sq_span_of(site->ref, site->n_ref),
                             .alt = sq_span_of(site->alt, site->n_alt), .milli = milli + (size_t)(b->first_site + s) * n_target, .r2 = 0.5};
        must(sq_piece_row(piece, &row), "row");
    }
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: impute_floor PANEL.sqp TARGET MAP DOSAGES FORMAT OUT\n");
        return 2;
    }
    size_t n_panel, n_dosages;
    const void *bytes = map_file(argv[1], &n_panel);
    const uint16_t *milli = map_file(argv[4], &n_dosages);
    struct sq_panel *panel;
    must(sq_panel_open(bytes, n_panel, NULL, &why, &panel), argv[1]);
    struct sq_panel_info info = *sq_panel_info(panel);
    lap("open");
    struct sq_gmap map;
    int fd_map = open_file(argv[3]);
    must(sq_gmap_read(fd_map, info.chrom, &why, &map), argv[3]);
    close(fd_map);
    lap("map");
    uint32_t n_sample = read_target(argv[2]);
    lap("target");
    size_t n_target = 2 * (size_t)n_sample;
    if (n_dosages != info.n_site * n_target * sizeof *milli) {
        fprintf(stderr, "impute_floor: %s isn't %u rows of %zu haplotypes\n", argv[4], info.n_site, n_target);
        return 1;
    }

    struct sq_rows *plan = plan_of(&info, n_sample, argv[5]);
    int fd_out = open(argv[6], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct sq_pieces *out;
    struct sq_piece *piece = NULL;
    must(sq_pieces_open(plan, &(struct sq_pieces_track){SQ_ROWS_RESULT, fd_out}, 1, SQ_PIECES_WAIT_BYTES, &out), argv[6]);
    struct sq_panel_cursor *cursor;
    must(sq_panel_cursor_new(panel, SQ_PANEL_SITES | SQ_PANEL_HAPS, &cursor), argv[1]);
    double decode = 0, write = 0;
    for (uint32_t no = 0;; no++) {
        struct sq_panel_block block;
        bool has;
        lap(NULL);
        must(sq_panel_cursor_next(cursor, true, &why, &block, &has), argv[1]);
        decode += lap(NULL);
        if (piece && (!has || no % BLOCKS_PER_PIECE == 0)) {
            must(sq_piece_end(piece), argv[6]);
            piece = NULL;
        }
        if (!has)
            break;
        if (!piece)
            must(sq_pieces_begin(out, no / BLOCKS_PER_PIECE, &piece), argv[6]);
        put_block(piece, &block, milli, n_target);
        write += lap(NULL);
    }
    must(sq_pieces_close(out, true), argv[6]);
    struct sq_pieces_counts counts;
    sq_pieces_counts(out, &counts);
    write += lap(NULL);
    printf("decode   %.3f\nwrite    %.3f\nformat   %.3f\ndeflate  %.3f\nall      %.3f\n", decode, write, (double)counts.format_ns * 1e-9,
           (double)counts.deflate_ns * 1e-9, cpu_seconds());
    sq_panel_cursor_free(cursor);
    sq_pieces_free(out);
    sq_rows_free(plan);
    sq_gmap_done(&map);
    sq_panel_close(panel);
    return 0;
}
