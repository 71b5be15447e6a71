/*
 * output_rows - the output path alone: rows out of memory through lib/formats/pieces to /dev/null or a file.
 *
 *     output_rows INPUT ROUNDS CONTAINER:FIELDS:LEVEL:THREADS...
 *
 * INPUT is any imputed VCF or BCF with HDS and diploid samples (read with htslib, not counted); CONTAINER vcf or bcf, FIELDS as in --format. Prints a line for each, the
 * median of the rounds: CPU and wall seconds, of that format and deflate, and bytes. Rows come in pieces of 2,048. Run by bench/output.
 */
#include "lib/formats/pieces.h"

#include <fcntl.h>
#include <htslib/vcf.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct made {
    int64_t pos_bp;
    char *text; /* id, ref, alt, each with its NUL */
    bool is_typed;
};

static uint32_t n_sample, n_row, row_cap;
static struct made *made;
static uint16_t *milli; /* [n_row][2 * n_sample] */
static uint8_t *observed;
static char chrom[16];

static void must(bool is_ok, const char *what)
{
    if (is_ok)
        return;
    fprintf(stderr, "output_rows: %s\n", what);
    exit(1);
}

static void add_row(bcf_hdr_t *hdr, bcf1_t *rec, float **hds, int *n_hds)
{
    size_t n_target = 2 * (size_t)n_sample;
    if (n_row == row_cap) {
        row_cap = row_cap ? row_cap * 2 : 4096;
        made = realloc(made, row_cap * sizeof *made);
        milli = realloc(milli, row_cap * n_target * sizeof *milli);
        must(made && milli, "memory");
    }
    int n = bcf_get_format_float(hdr, rec, "HDS", hds, n_hds);
    must(n == (int)n_target, "every sample needs two numbers in HDS");
    for (size_t h = 0; h < n_target; h++)
        milli[n_row * n_target + h] = (uint16_t)lrintf((*hds)[h] * 1000);
    struct made *m = &made[n_row++];
    size_t n_id = strlen(rec->d.id), n_ref = strlen(rec->d.allele[0]), n_alt = strlen(rec->d.allele[1]);
    m->pos_bp = rec->pos + 1;
    m->text = malloc(n_id + n_ref + n_alt + 3);
    must(m->text, "memory");
    memcpy(m->text, rec->d.id, n_id + 1);
    memcpy(m->text + n_id + 1, rec->d.allele[0], n_ref + 1);
    memcpy(m->text + n_id + n_ref + 2, rec->d.allele[1], n_alt + 1);
    m->is_typed = bcf_get_info_flag(hdr, rec, "TYPED", NULL, NULL) == 1;
}

static void read_rows(const char *path)
{
    htsFile *f = bcf_open(path, "r");
    must(f != NULL, path);
    bcf_hdr_t *hdr = bcf_hdr_read(f);
    bcf1_t *rec = bcf_init();
    float *hds = NULL;
    int n_hds = 0;
    n_sample = (uint32_t)bcf_hdr_nsamples(hdr);
    while (bcf_read(f, hdr, rec) == 0) {
        bcf_unpack(rec, BCF_UN_ALL);
        if (!n_row)
            snprintf(chrom, sizeof chrom, "%s", bcf_seqname(hdr, rec));
        add_row(hdr, rec, &hds, &n_hds);
    }
    free(hds);
    bcf_destroy(rec);
    bcf_hdr_destroy(hdr);
    hts_close(f);
    observed = malloc(2 * (size_t)n_sample);
    must(observed && n_row, "no rows");
}

struct work {
    struct sq_pieces *pieces;
    uint32_t rows_a_piece, n_piece;
    atomic_uint next;
};

static void *work(void *arg)
{
    struct work *w = arg;
    size_t n_target = 2 * (size_t)n_sample;
    uint8_t *typed = malloc(n_target);
    for (uint32_t no; (no = atomic_fetch_add(&w->next, 1)) < w->n_piece;) {
        struct sq_piece *piece = NULL;
        must(!sq_pieces_begin(w->pieces, no, &piece), "begin");
        for (uint32_t i = no * w->rows_a_piece; i < (no + 1) * w->rows_a_piece && i < n_row; i++) {
            const char *id = made[i].text, *ref = id + strlen(id) + 1, *alt = ref + strlen(ref) + 1;
            const uint16_t *d = milli + i * n_target;
            for (size_t h = 0; h < n_target && made[i].is_typed; h++)
                typed[h] = d[h] > 500;
            struct sq_row row = {.pos_bp = made[i].pos_bp, .id = sq_span_str(id), .ref = sq_span_str(ref), .alt = sq_span_str(alt), .milli = d, .r2 = 0.87654,
                                 .observed = made[i].is_typed ? typed : NULL, .loo = made[i].is_typed ? d : NULL};
            must(!sq_piece_row(piece, &row), "row");
        }
        must(!sq_piece_end(piece), "end");
    }
    free(typed);
    return NULL;
}

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double wall_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct figures {
    double cpu, wall, format, deflate, write;
    uint64_t n_bytes;
};

static struct figures run(const struct sq_rows *plan, unsigned n_thread)
{
    struct sq_pieces_track track = {.track = SQ_ROWS_RESULT, .fd = open("/dev/null", O_WRONLY | O_CLOEXEC)};
    struct work w = {.rows_a_piece = 2048};
    w.n_piece = (n_row + w.rows_a_piece - 1) / w.rows_a_piece;
    double cpu = cpu_s(), wall = wall_s();
    must(!sq_pieces_open(plan, &track, 1, SQ_PIECES_WAIT_BYTES, &w.pieces), "open");
    pthread_t thread[64];
    for (unsigned i = 1; i < n_thread; i++)
        must(!pthread_create(&thread[i], NULL, work, &w), "thread");
    work(&w);
    for (unsigned i = 1; i < n_thread; i++)
        pthread_join(thread[i], NULL);
    must(!sq_pieces_close(w.pieces, true), "close");
    struct sq_pieces_counts c;
    sq_pieces_counts(w.pieces, &c);
    sq_pieces_free(w.pieces);
    close(track.fd);
    return (struct figures){.cpu = cpu_s() - cpu, .wall = wall_s() - wall, .format = (double)c.format_ns / 1e9, .deflate = (double)c.deflate_ns / 1e9,
                            .write = (double)c.write_ns / 1e9, .n_bytes = c.n_packed_bytes};
}

static int by_cpu(const void *a, const void *b)
{
    double x = ((const struct figures *)a)->cpu, y = ((const struct figures *)b)->cpu;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    enum { MAX_ROUNDS = 99, MAX_WAYS = 32 };
    int rounds = argc > 3 ? atoi(argv[2]) : 0, n_way = argc - 3;
    must(rounds >= 1 && rounds <= MAX_ROUNDS && n_way >= 1 && n_way <= MAX_WAYS, "output_rows INPUT ROUNDS CONTAINER:FIELDS:LEVEL:THREADS...");
    read_rows(argv[1]);
    static struct figures got[MAX_WAYS][MAX_ROUNDS];
    struct sq_rows *plan[MAX_WAYS];
    unsigned n_thread[MAX_WAYS];
    for (int i = 0; i < n_way; i++) {
        struct sq_rows_spec spec = {.chrom = chrom, .n_sample = n_sample};
        char container[8], fields[32];
        must(sscanf(argv[3 + i], "%7[^:]:%31[^:]:%d:%u", container, fields, &spec.level, &n_thread[i]) == 4 && n_thread[i] >= 1 && n_thread[i] <= 64, argv[3 + i]);
        spec.container = container[0] == 'b' ? SQ_ROWS_BCF : SQ_ROWS_VCF;
        must(!sq_rows_fields(fields, spec.field, &spec.n_field) && !sq_rows_new(&spec, &plan[i]), argv[3 + i]);
    }
    for (int r = 0; r < rounds; r++) /* interleaved: a busy moment hits all alike */
        for (int i = 0; i < n_way; i++)
            got[i][r] = run(plan[i], n_thread[i]);
    printf("%u rows, %u samples, median of %d\n", n_row, n_sample, rounds);
    for (int i = 0; i < n_way; i++) {
        qsort(got[i], (size_t)rounds, sizeof got[i][0], by_cpu);
        struct figures f = got[i][rounds / 2];
        printf("%-24s cpu %.3f wall %.3f format %.3f deflate %.3f write %.3f bytes %llu\n", argv[3 + i], f.cpu, f.wall, f.format, f.deflate, f.write,
               (unsigned long long)f.n_bytes);
        sq_rows_free(plan[i]);
    }
    return 0;
}
