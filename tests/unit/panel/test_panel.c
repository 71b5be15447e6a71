/* lib/panel from inside: the kernels against their definition, the cursor's promises, and every byte of a small file changed. */
#include "lib/core/file.h"
#include "lib/panel/panel_bits.h"
#include "lib/panel/panel_build.h"
#include "lib/panel/panel_export.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static uint64_t seed = 1;

static uint64_t draw(void) /* xorshift64* */
{
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return seed * 0x2545f4914f6cdd1dU;
}

/* ---- kernels ------------------------------------------------------------------------------------------------------------------------- */

static bool plain_genotypes(const uint8_t *gt, size_t n, uint64_t *row)
{
    bool is_plain = true;
    memset(row, 0, (n + 63) / 64 * 8);
    for (size_t i = 0; i < n; i += 2) {
        unsigned a = gt[i] >> 1, b = gt[i + 1] >> 1;
        if (a == 2)
            row[i / 64] |= (uint64_t)1 << (i % 64);
        if (b == 2)
            row[i / 64] |= (uint64_t)2 << (i % 64);
        is_plain = is_plain && (a == 1 || a == 2) && (b == 1 || b == 2) && (a == b || gt[i + 1] & 1);
    }
    return is_plain;
}

static void kernels_do_what_is_defined(void **state)
{
    (void)state;
    const struct panel_bits *both[2] = {panel_bits_scalar(), panel_bits_best()};
    print_message("# best: %s\n", both[1]->name);
    for (unsigned round = 0; round < 4000; round++) {
        size_t n = 2 + 2 * (size_t)(draw() % 200), n_word = (n + 63) / 64;
        uint8_t *gt = malloc(n);
        uint64_t want[8], got[8];
        for (size_t i = 0; i < n; i++)
            gt[i] = (uint8_t)(round % 2 ? 2 + (draw() & 3) : (2 + 2 * (draw() & 1)) | 1);
        if (round % 3 == 0)
            gt[draw() % n] = (uint8_t)draw();
        bool is_plain = plain_genotypes(gt, n, want);
        for (int k = 0; k < 2; k++) {
            memset(got, 0xaa, sizeof got);
            assert_int_equal(both[k]->bcf_diploid(gt, n, got), is_plain);
            if (is_plain)
                assert_memory_equal(got, want, n_word * 8);
            uint8_t value = gt[draw() % n];
            both[k]->equal(gt, n, value, got);
            for (size_t i = 0; i < n_word * 64; i++)
                assert_int_equal(got[i / 64] >> (i % 64) & 1, i < n && gt[i] == value);
        }
        free(gt);
    }
    for (unsigned n_row = 0; n_row <= 64; n_row++)
        for (size_t n_word = 1; n_word < 10; n_word++) {
            uint64_t *row = malloc(64 * n_word * 8), *pattern = malloc(64 * n_word * 8);
            for (size_t i = 0; i < 64 * n_word; i++)
                row[i] = draw();
            for (int k = 0; k < 2; k++) {
                both[k]->transpose(row, n_word, n_row, pattern);
                for (size_t c = 0; c < 64 * n_word; c++)
                    for (unsigned s = 0; s < 64; s++)
                        assert_int_equal(pattern[c] >> s & 1, s < n_row && (row[s * n_word + c / 64] >> (c % 64) & 1));
            }
            free(row);
            free(pattern);
        }
}

/* ---- a panel in memory --------------------------------------------------------------------------------------------------------------- */

struct bytes {
    uint8_t *p;
    size_t n;
};

static struct bytes build(const struct sq_buf *vcf, bool keep_names)
{
    int in = memfd_create("vcf", 0), out = memfd_create("sqp", 0);
    struct sq_why why = {0};
    struct sq_panel_plan plan = {.map_fd = -1, .populations_fd = -1, .keep_names = keep_names};
    assert_int_equal(sq_write_all(in, vcf->p, vcf->n), SQ_OK);
    lseek(in, 0, SEEK_SET);
    assert_int_equal(sq_panel_build(in, out, &plan, &why, NULL), SQ_OK);
    struct bytes b = {.n = (size_t)lseek(out, 0, SEEK_END)};
    b.p = malloc(b.n);
    size_t got;
    assert_int_equal(sq_pread_full(out, b.p, b.n, 0, &got), SQ_OK);
    assert_int_equal(got, b.n);
    close(in);
    close(out);
    return b;
}

static void header(struct sq_buf *b, unsigned n_sample)
{
    sq_buf_init(b, 0);
    assert_int_equal(sq_buf_addf(b, "##fileformat=VCFv4.2\n##contig=<ID=X,length=1000000>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT"), SQ_OK);
    for (unsigned i = 0; i < n_sample; i++)
        assert_int_equal(sq_buf_addf(b, "\tp%u", i), SQ_OK);
    assert_int_equal(sq_buf_addf(b, "\n"), SQ_OK);
}

#define N_SAMPLE 7U
#define N_HAP 12U /* samples 2 and 5 are haploid throughout */
#define N_ROW 9000U

static uint8_t truth[N_ROW][N_HAP];

static struct bytes build_long(void)
{
    struct sq_buf b;
    header(&b, N_SAMPLE);
    uint8_t now[N_HAP] = {0};
    for (unsigned r = 0; r < N_ROW; r++) {
        for (unsigned h = 0; h < N_HAP; h++)
            now[h] = draw() % 5 == 0 ? draw() % 3 == 0 : now[(h + (draw() % 50 == 0)) % N_HAP];
        memcpy(truth[r], now, N_HAP);
        assert_int_equal(sq_buf_addf(&b, "X\t%u\t.\tA\tC\t.\t.\t.\tGT", 10 * r + 10), SQ_OK);
        for (unsigned i = 0, h = 0; i < N_SAMPLE; i++) {
            if (i == 2 || i == 5)
                assert_int_equal(sq_buf_addf(&b, "\t%u", now[h]), SQ_OK);
            else
                assert_int_equal(sq_buf_addf(&b, "\t%u|%u", now[h], now[h + 1]), SQ_OK);
            h += i == 2 || i == 5 ? 1 : 2;
        }
        assert_int_equal(sq_buf_addf(&b, "\n"), SQ_OK);
    }
    struct bytes out = build(&b, false);
    sq_buf_done(&b);
    return out;
}

static void walk_gives_the_haplotypes(void **state)
{
    (void)state;
    struct bytes b = build_long();
    struct sq_panel *p;
    struct sq_why why = {0};
    assert_int_equal(sq_panel_open(b.p, b.n, NULL, &why, &p), SQ_OK);
    const struct sq_panel_info *info = sq_panel_info(p);
    assert_int_equal(info->n_hap, N_HAP);
    assert_int_equal(info->n_sample, N_SAMPLE);
    assert_int_equal(info->n_site, N_ROW);
    assert_int_equal(info->n_haploid, 2);
    assert_int_equal(info->contig_bp, 1000000);
    assert_false(info->has_map);
    assert_int_equal(sq_panel_sample_first_hap(p, 3), 5);
    assert_int_equal(sq_panel_sample_first_hap(p, N_SAMPLE), N_HAP);
    assert_int_equal(sq_panel_segment_at(p, 1), 0);
    assert_int_equal(sq_panel_segment_at(p, info->last_bp), info->n_segment - 1);
    assert_int_equal(sq_panel_segment_at(p, info->last_bp + 1), info->n_segment);
    struct sq_panel_cursor *all, *sites, *haps;
    assert_int_equal(sq_panel_cursor_new(p, SQ_PANEL_SITES | SQ_PANEL_HAPS, &all), SQ_OK);
    assert_int_equal(sq_panel_cursor_new(p, SQ_PANEL_SITES, &sites), SQ_OK);
    assert_int_equal(sq_panel_cursor_new(p, SQ_PANEL_HAPS, &haps), SQ_OK);
    uint32_t n = 0;
    for (;;) {
        struct sq_panel_block x, y, z;
        bool has[3];
        assert_int_equal(sq_panel_cursor_next(all, true, &why, &x, &has[0]), SQ_OK);
        assert_int_equal(sq_panel_cursor_next(sites, false, &why, &y, &has[1]), SQ_OK);
        assert_int_equal(sq_panel_cursor_next(haps, x.no % 3 == 0, &why, &z, &has[2]), SQ_OK);
        assert_true(has[0] == has[1] && has[0] == has[2]);
        if (!has[0])
            break;
        assert_int_equal(x.first_site, n);
        assert_int_equal(y.first_site, n);
        assert_int_equal(z.n_site, x.n_site);
        assert_int_equal(z.n_pattern, x.n_pattern);
        assert_memory_equal(z.pattern, x.pattern, x.n_pattern * sizeof *x.pattern);
        assert_true(!z.class_of || !memcmp(z.class_of, x.class_of, N_HAP * sizeof *x.class_of));
        assert_true((z.class_of != NULL) == (x.no % 3 == 0) && !y.pattern && !z.site);
        for (uint32_t s = 0; s < x.n_site; s++, n++) {
            uint64_t bits[(N_HAP + 63) / 64];
            sq_panel_cursor_bits(s % 2 ? all : haps, s, bits);
            assert_int_equal(x.site[s].pos_bp, 10 * n + 10);
            assert_int_equal(y.site[s].pos_bp, 10 * n + 10);
            assert_true(fabs(x.site[s].cm - ((10 * n + 10) * 1e-6)) <= 1e-12);
            uint32_t ac = 0;
            for (uint32_t h = 0; h < N_HAP; h++) {
                assert_int_equal(x.pattern[x.class_of[h]] >> s & 1, truth[n][h]);
                assert_int_equal(bits[h / 64] >> (h % 64) & 1, truth[n][h]);
                ac += truth[n][h];
            }
            assert_true(N_HAP % 64 == 0 || bits[N_HAP / 64] >> (N_HAP % 64) == 0);
            assert_int_equal(x.site[s].ac, ac);
            assert_int_equal(x.site[s].an, N_HAP);
        }
    }
    assert_int_equal(n, N_ROW);
    sq_panel_cursor_free(all);
    sq_panel_cursor_free(sites);
    sq_panel_cursor_free(haps);
    sq_panel_close(p);
    free(b.p);
}

static void marks_start_where_they_were_made(void **state)
{
    (void)state;
    struct bytes b = build_long();
    struct sq_panel *p;
    struct sq_panel_cursor *a, *c;
    struct sq_why why = {0};
    assert_int_equal(sq_panel_open(b.p, b.n, NULL, &why, &p), SQ_OK);
    assert_int_equal(sq_panel_cursor_new(p, SQ_PANEL_SITES | SQ_PANEL_HAPS, &a), SQ_OK);
    assert_int_equal(sq_panel_cursor_new(p, SQ_PANEL_SITES | SQ_PANEL_HAPS, &c), SQ_OK);
    for (;;) {
        struct sq_panel_mark *mark;
        struct sq_panel_block x, y;
        bool has, also;
        assert_int_equal(sq_panel_cursor_mark(a, &mark), SQ_OK);
        assert_int_equal(sq_panel_cursor_next(a, true, &why, &x, &has), SQ_OK);
        sq_panel_cursor_seek_mark(c, mark);
        assert_int_equal(sq_panel_cursor_next(c, true, &why, &y, &also), SQ_OK);
        sq_panel_mark_free(mark);
        assert_int_equal(has, also);
        if (!has)
            break;
        assert_true(x.no == y.no && x.first_site == y.first_site && x.n_site == y.n_site && x.n_pattern == y.n_pattern);
        assert_memory_equal(x.class_of, y.class_of, N_HAP * sizeof *x.class_of);
        assert_memory_equal(x.pattern, y.pattern, x.n_pattern * sizeof *x.pattern);
        assert_int_equal(x.site[0].pos_bp, y.site[0].pos_bp);
    }
    sq_panel_cursor_free(a);
    sq_panel_cursor_free(c);
    sq_panel_close(p);
    free(b.p);
}

/* From any block to the end of its segment, the classes of some haplotypes are what they are among all. */
static void some_haplotypes_alone(void **state)
{
    (void)state;
    struct bytes b = build_long();
    struct sq_panel *p;
    struct sq_panel_cursor *a, *c;
    struct sq_why why = {0};
    uint64_t want[(N_HAP + 63) / 64] = {0};
    assert_int_equal(sq_panel_open(b.p, b.n, NULL, &why, &p), SQ_OK);
    assert_int_equal(sq_panel_cursor_new(p, SQ_PANEL_SITES | SQ_PANEL_HAPS, &a), SQ_OK);
    assert_int_equal(sq_panel_cursor_new(p, SQ_PANEL_SITES | SQ_PANEL_HAPS, &c), SQ_OK);
    for (uint32_t start = 0, n_block = 1; start < n_block; start += 1 + start / 4) {
        struct sq_panel_block x, y;
        bool has = true, also;
        uint32_t n = 0, segment = 0;
        sq_panel_cursor_seek(a, 0);
        sq_panel_cursor_seek(c, 0);
        for (; n < start && has; n++) {
            assert_int_equal(sq_panel_cursor_next(a, true, &why, &x, &has), SQ_OK);
            assert_int_equal(sq_panel_cursor_next(c, false, &why, &y, &has), SQ_OK);
        }
        for (uint32_t h = 0; h < N_HAP; h++)
            want[h / 64] = (want[h / 64] & ~((uint64_t)1 << (h % 64))) | (uint64_t)((h * 7 + start) % 5 < start % 6) << (h % 64);
        assert_int_equal(sq_panel_cursor_want(c, want), SQ_OK);
        for (bool is_first = true;; is_first = false, n++) {
            assert_int_equal(sq_panel_cursor_next(a, true, &why, &x, &has), SQ_OK);
            assert_int_equal(sq_panel_cursor_next(c, true, &why, &y, &also), SQ_OK);
            assert_int_equal(has, also);
            if (!has)
                break;
            segment = is_first ? x.segment : segment;
            assert_true(x.no == y.no && x.n_pattern == y.n_pattern);
            for (uint32_t h = 0; h < N_HAP; h++)
                if (x.segment != segment || want[h / 64] >> (h % 64) & 1) /* all, once the next one begins */
                    assert_int_equal(x.class_of[h], y.class_of[h]);
        }
        n_block = n;
    }
    sq_panel_cursor_free(a);
    sq_panel_cursor_free(c);
    sq_panel_close(p);
    free(b.p);
}

static void another_map_takes_the_place_of_its_own(void **state)
{
    (void)state;
    struct bytes b = build_long();
    struct sq_panel *p;
    struct sq_panel_cursor *c;
    struct sq_panel_block x;
    bool has;
    struct sq_why why = {0};
    struct sq_gmap map = {.n = 2, .pos_bp = (int64_t[]){10, 90000}, .cm = (double[]){3, 7}};
    assert_int_equal(sq_panel_open(b.p, b.n, &map, &why, &p), SQ_OK);
    assert_true(sq_panel_info(p)->has_map);
    assert_true(fabs(sq_panel_info(p)->first_cm - (3)) <= 0);
    assert_true(fabs(sq_panel_info(p)->last_cm - (7)) <= 0);
    assert_true(fabs(sq_panel_info(p)->origin_cm - (3)) <= 0);
    assert_int_equal(sq_panel_cursor_new(p, SQ_PANEL_SITES, &c), SQ_OK);
    assert_int_equal(sq_panel_cursor_next(c, false, &why, &x, &has), SQ_OK);
    assert_true(fabs(x.site[1].cm - (3 + 4 * 10 / 89990.0)) <= 1e-12);
    sq_panel_cursor_free(c);
    sq_panel_close(p);
    free(b.p);
}

/* ---- strangers' bytes ---------------------------------------------------------------------------------------------------------------- */

static struct bytes build_small(void)
{
    struct sq_buf b;
    header(&b, 4);
    assert_int_equal(sq_buf_addf(&b, "X\t10\trs1\tA\tC\t.\t.\t.\tGT\t0|1\t1\t0|0\t1|.\n"
                                     "X\t10\tX:10:AT:A,G\tAT\tA,G\t.\t.\t.\tGT\t2|1\t0\t0|2\t.|.\n"
                                     "X\t99\t.\tG\tT\t.\t.\t.\tGT\t0|1\t1|0\t0|0\t1|1\n"),
                     SQ_OK);
    struct bytes out = build(&b, true);
    sq_buf_done(&b);
    return out;
}

/* Open, verify, and what an export makes of it. */
static sq_err judge(const uint8_t *p, size_t n, struct sq_buf *out)
{
    struct sq_panel *panel;
    struct sq_why why = {0};
    sq_err e = sq_panel_open(p, n, NULL, &why, &panel);
    if (!e) {
        e = sq_panel_verify(panel, NULL, NULL, &why);
        struct sq_panel_export how = {.container = SQ_PANEL_VCF};
        int fd = memfd_create("out", 0);
        sq_err x = sq_panel_export(panel, &how, fd, &why); /* also when verify says no: it must end, and read nothing behind the bytes */
        assert_true(e || !x);
        if (!e) {
            size_t got;
            assert_int_equal(sq_buf_reserve(out, 1 << 16), SQ_OK);
            assert_int_equal(sq_pread_full(fd, out->p, 1 << 16, 0, &got), SQ_OK);
            out->n = got;
        }
        close(fd);
        sq_panel_close(panel);
    }
    assert_true(!e || (e == SQ_EPANEL && why.detail[0]));
    return e;
}

static void every_byte_counts(void **state)
{
    (void)state;
    struct bytes b = build_small();
    struct sq_buf good, other;
    sq_buf_init(&good, 0);
    sq_buf_init(&other, 0);
    assert_int_equal(judge(b.p, b.n, &good), SQ_OK);
    unsigned n_same = 0;
    for (size_t i = 0; i < b.n; i++)
        for (unsigned bit = 0; bit < 9; bit++) {
            uint8_t *copy = malloc(b.n); /* of exactly this length, for the sanitizers */
            memcpy(copy, b.p, b.n);
            copy[i] ^= (uint8_t)(bit < 8 ? 1U << bit : 0xff);
            sq_buf_clear(&other);
            if (!judge(copy, b.n, &other)) { /* bits that mean nothing in a frame of zstd: then nothing else may have changed */
                n_same++;
                assert_int_equal(other.n, good.n);
                assert_memory_equal(other.p, good.p, good.n);
            }
            free(copy);
        }
    print_message("# %zu bytes, %u changes without a meaning\n", b.n, n_same);
    assert_true(n_same < b.n / 4);
    sq_buf_done(&good);
    sq_buf_done(&other);
    free(b.p);
}

static void every_length_but_its_own_is_refused(void **state)
{
    (void)state;
    struct bytes b = build_small();
    struct sq_buf out;
    sq_buf_init(&out, 0);
    for (size_t n = 0; n < b.n; n++) {
        uint8_t *copy = malloc(n ? n : 1);
        memcpy(copy, b.p, n);
        assert_int_equal(judge(copy, n, &out), SQ_EPANEL);
        free(copy);
    }
    uint8_t *longer = calloc(1, b.n + 64);
    memcpy(longer, b.p, b.n);
    for (size_t n = b.n + 1; n <= b.n + 64; n++)
        assert_int_equal(judge(longer, n, &out), SQ_EPANEL);
    memcpy(longer + 32, b.p + b.n - 32, 32); /* a header and a footer, and nothing between */
    assert_int_equal(judge(longer, 64, &out), SQ_EPANEL);
    free(longer);
    sq_buf_done(&out);
    free(b.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_do_what_is_defined),
        cmocka_unit_test(walk_gives_the_haplotypes),
        cmocka_unit_test(marks_start_where_they_were_made),
        cmocka_unit_test(some_haplotypes_alone),
        cmocka_unit_test(another_map_takes_the_place_of_its_own),
        cmocka_unit_test(every_byte_counts),
        cmocka_unit_test(every_length_but_its_own_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
