/* The pieces of lib/formats that work on numbers: dosages as text, genetic maps, indexes, BGZF. */
#include "lib/core/file.h"
#include "lib/formats/bgzf_out.h"
#include "lib/formats/dosage.h"
#include "lib/formats/gmap.h"
#include "lib/formats/index.h"
#include "lib/formats/source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void every_number_reads_back(void **state)
{
    for (unsigned v = 0; v <= 2000; v++) {
        char text[16] = {0}, *end;
        size_t n = sq_dosage_number(v, text);
        text[n] = 0;
        assert_true(n >= 1 && n <= 5);
        assert_int_equal(lround(strtod(text, &end) * 1000), v);
        assert_ptr_equal(end, text + n);
        if (strchr(text, '.'))
            assert_int_not_equal(text[n - 1], '0'); /* no trailing zeros */
    }
    char text[16] = {0};
    sq_dosage_number(1050, text);
    assert_string_equal(text, "1.05");
    assert_int_equal(sq_dosage_milli(0.0004F), 0);
    assert_int_equal(sq_dosage_milli(0.0006F), 1);
    assert_int_equal(sq_dosage_milli(1.0F), 1000);
}

static int file_of(const void *p, size_t n)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(sq_write_all(fd, p, n), SQ_OK);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void map_is_linear_between_rows(void **state)
{
    static const char text[] =
        "pos chr cM\n1000000 22 2.0\n1500000 22 2.5\n1500000 22 2.5\n3000000 22 2.5\n4000000 22 7.5\n";
    struct sq_gmap m = {0};
    struct sq_why why = {0};
    int fd = file_of(text, sizeof text - 1);
    assert_int_equal(sq_gmap_read(fd, "chr22", &why, &m), SQ_OK);
    close(fd);
    assert_int_equal(m.n, 4);
    const struct {
        int64_t pos;
        double cm;
    } want[] = {{1000000, 2}, {1250000, 2.25}, {1500000, 2.5}, {2000000, 2.5}, {3500000, 5}, {4000000, 7.5}, {4500000, 8}, {500000, 1.5}};
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        assert_true(fabs(sq_gmap_cm(&m, want[i].pos) - want[i].cm) < 1e-9);
    double last = -1e9;
    for (int64_t pos = 1; pos < 6000000; pos += 997) {
        double cm = sq_gmap_cm(&m, pos);
        assert_true(cm >= last);
        last = cm;
    }
    sq_gmap_done(&m);
    assert_true(fabs(sq_gmap_cm(&m, 2000000) - 2) < 1e-9); /* no map: 1 cM/Mb */
    assert_true(sq_chrom_same("X", "chr23") && sq_chrom_same("MT", "chrM") && !sq_chrom_same("2", "22"));
}

static void map_errors_name_the_line(void **state)
{
    static const char text[] = "22 . 0.0 100\n22 . 0.5 200\n22 . 0.4 300\n";
    struct sq_gmap m = {0};
    struct sq_why why = {0};
    int fd = file_of(text, sizeof text - 1);
    assert_int_equal(sq_gmap_read(fd, "22", &why, &m), SQ_EMAP);
    close(fd);
    assert_int_equal(why.line, 3);
    assert_string_equal(why.detail, "the cM column falls");
    assert_null(m.pos_bp); /* untouched */
}

/* the code, and what is said, for @text as a map of chromosome 22 with sites from 1 to 3 Mb of 50 Mb */
static sq_err map_of(const char *text, struct sq_gmap *out, struct sq_why *why)
{
    *why = (struct sq_why){0};
    int fd = file_of(text, strlen(text));
    sq_err e = sq_gmap_read(fd, "22", why, out);
    close(fd);
    if (!e)
        e = sq_gmap_fits(out, 1000000, 3000000, 50000000, why);
    return e;
}

static void map_columns_are_known_by_their_titles(void **state)
{
    static const char *const good[] = {
        "pos chr cM\n1000000 22 1\n3000000 22 4\n",
        "pos\tchr\tcM\r\n1000000\t22\t1\r\n3000000\t22\t4\r\n",
        "chr position COMBINED_rate(cM/Mb) Genetic_Map(cM)\n22 1000000 1.5 1\n22 3000000 0 4\n23 5 0 0\n",
        "Chromosome\tPosition(bp)\tRate(cM/Mb)\tMap(cM)\nchr22\t1000000\t1.5\t1\nchr22\t3000000\t0\t4\n",
        "#chr pos cM\nchr22 1000000 1\nchr22 3000000 4\n",
        "22 . 1 1000000\n22 rs5 4 3000000\n",
        "21 . 9 100\n22 . 1 1000000\n22 rs5 4 3000000\n"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct sq_gmap m = {0};
        struct sq_why why;
        assert_int_equal(map_of(good[i], &m, &why), SQ_OK);
        assert_int_equal(m.n, 2);
        assert_true(fabs(sq_gmap_cm(&m, 2000000) - 2.5) < 1e-9);
        sq_gmap_done(&m);
    }
}

static void wrong_maps_are_refused_whole(void **state)
{
    static const struct {
        const char *text, *detail;
        uint64_t line;
    } wrong[] = {
        {"22\t1000000\t2000000\nchr22\t2000000\t3000000\n", "the first line fits none", 1}, /* BED */
        {"chr22\t1000000\t2000000\tname\n", "the first line fits none", 1},
        {"chr22\t1000000\t2000000\t7\nchr22\t2000000\t3000000\t8\n", "not a number between -1000 and 10000", 1}, /* bedGraph */
        {"sample\tgroup\nA\t1\n", "the first line fits none", 1},
        {"##fileformat=VCFv4.2\n#CHROM\tPOS\tID\n", "the first line fits none", 1},
        {"position COMBINED_rate(cM/Mb) Genetic_Map(cM)\n1000000 1 1\n", "no column for the chromosome", 1}, /* IMPUTE 2 */
        {"pos chr cM\n1000000 22 1 7\n3000000 22 4 7\n", "by its first line this is the SHAPEIT format, whose rows have 3 columns", 2},
        {"chr position rate Genetic_Map(cM)\n1000000 22 1\n", "by its first line this is the Eagle format, whose rows have 4 columns", 2},
        {"pos chr cM\n22 1000000 1\n22 3000000 4\n", "2 rows, of which 0 are of the panel's chromosome", 0}, /* columns swapped */
        {"pos chr cM\n1000000 21 1\n3000000 21 4\n", "2 rows, of which 0 are of the panel's chromosome", 0},
        {"pos chr cM\n1000000 22 1\n", "1 rows, of which 1 are of the panel's chromosome; 2 are needed", 0},
        {"pos chr cM\n", "0 rows", 0},
        {"pos chr cM\n1000000 22 1\n900000 22 4\n", "positions must ascend", 3},
        {"pos chr cM\n1000000 22 4\n3000000 22 1\n", "the cM column falls", 3},
        {"pos chr cM\n1000000 22 nan\n3000000 22 4\n", "not a number", 2},
        {"pos chr cM\n1000000 22 1\n3000000 22 inf\n", "not a number", 3},
        {"pos chr cM\n1000000 22 0x1\n3000000 22 4\n", "not a number", 2},
        {"pos chr cM\n1000000 22 1e300\n", "not a number", 2},
        {"pos chr cM\n1e6.5 22 1\n", "the position is not a whole number", 2},
        {"pos chr cM\npos chr cM\n", "the position is not a whole number", 2},
        {"pos chr cM\n1000000 22 1\n51000000 22 4\n", "a map of another build", 0},
        {"pos chr cM\n10000000 22 1\n20000000 22 4\n", "it covers 10000000 to 20000000, the panel 1000000 to 3000000", 0},
        {"pos chr cM\n1000000 22 0\n3000000 22 0.000001\n", "these can't be cM", 0},
        {"pos chr cM\n1000000 22 0\n3000000 22 9999\n", "these can't be cM", 0},
        {"pos chr cM\n1000000 22 0\n3000000 22 4", "", 0}, /* cut off */
        {"", "", 0}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct sq_gmap m = {0};
        struct sq_why why;
        assert_int_equal(map_of(wrong[i].text, &m, &why), SQ_EMAP);
        if (!strstr(why.detail, wrong[i].detail) || (wrong[i].line && why.line != wrong[i].line))
            fail_msg("map %zu: line %llu: %s", i, (unsigned long long)why.line, why.detail);
        sq_gmap_done(&m);
    }
}

static void index_shifts_and_refuses(void **state)
{
    struct sq_index *t = NULL;
    assert_int_equal(sq_index_new("22", &t), SQ_OK);
    assert_int_equal(sq_index_add(t, 100, 101, 0, 50), SQ_OK);
    assert_int_equal(sq_index_add(t, 40000, 90000, 50, 7ULL << 16), SQ_OK);
    assert_int_equal(sq_index_add(t, 39999, 40000, 7ULL << 16, 8ULL << 16), SQ_ERANGE); /* backwards */
    assert_int_equal(sq_index_add(t, (1LL << 32) - 1, (1LL << 32) + 1, 0, 1), SQ_ERANGE);
    struct sq_buf part, a, b;
    struct sq_index *joined = NULL;
    sq_buf_init(&part, 0);
    sq_buf_init(&a, 0);
    sq_buf_init(&b, 0);
    assert_int_equal(sq_index_write_part(t, &part), SQ_OK);
    assert_int_equal(sq_index_new_like(part.p, part.n, &joined), SQ_OK);
    assert_int_equal(sq_index_join(joined, part.p, part.n, 0), SQ_OK);
    for (unsigned kind = SQ_INDEX_TBI; kind <= SQ_INDEX_CSI_BCF; kind++) {
        a.n = b.n = 0;
        assert_int_equal(sq_index_write(t, (enum sq_index_kind)kind, &a), SQ_OK);
        assert_int_equal(sq_index_write(joined, (enum sq_index_kind)kind, &b), SQ_OK);
        assert_int_equal(a.n, b.n);
        assert_memory_equal(a.p, b.p, a.n);
    }
    assert_int_equal(sq_index_join(joined, part.p, part.n, 1000), SQ_OK);
    b.n = 0;
    assert_int_equal(sq_index_write(joined, SQ_INDEX_CSI_BCF, &b), SQ_OK);
    assert_true(b.n > a.n);
    assert_int_equal(sq_index_join(joined, part.p, part.n, UINT64_MAX), SQ_EFORMAT);
    for (size_t n = 0; n < part.n; n++) { /* every cut is noticed, and nothing behind the cut is touched */
        uint8_t *cut = malloc(n + 1);
        memcpy(cut, part.p, n);
        assert_int_equal(sq_index_join(joined, cut, n, 1), SQ_EFORMAT);
        free(cut);
    }
    sq_index_free(joined);
    sq_buf_done(&part);
    sq_buf_done(&a);
    sq_buf_done(&b);
    sq_index_free(t);
}

static void bgzf_reads_back(void **state)
{
    size_t n = 300000;
    uint8_t *data = malloc(n), *back = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        data[i] = i < 100000 ? (uint8_t)(i * i >> 3)
                             : (uint8_t) "0|0:0:0,0"[i % 9]; /* some that doesn't pack, some that does */
    int fd = memfd_create("test", MFD_CLOEXEC);
    struct sq_bgzf_out *out = NULL;
    assert_int_equal(sq_bgzf_out_open(fd, &out), SQ_OK);
    for (size_t at = 0, step; at < n; at += step) {
        step = at % 7919 + 1 < n - at ? at % 7919 + 1 : n - at;
        assert_int_equal(sq_bgzf_out_put(out, data + at, step), SQ_OK);
        assert_int_equal(sq_bgzf_out_tell(out) & 0xffff, (at + step) % 0xff00);
    }
    uint64_t n_packed = 0;
    assert_int_equal(sq_bgzf_out_close(out, true, &n_packed), SQ_OK);
    assert_int_equal(lseek(fd, 0, SEEK_END), n_packed);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    struct sq_source *s = NULL;
    struct sq_source_limits limits = {0};
    assert_int_equal(sq_source_open(fd, &limits, NULL, &s), SQ_OK);
    assert_int_equal(sq_source_packing(s), SQ_PACKING_BGZF);
    size_t got = 0;
    assert_int_equal(sq_source_read(s, back, n + 1, NULL, &got), SQ_OK);
    assert_int_equal(got, n);
    assert_memory_equal(data, back, n);
    sq_source_close(s);
    close(fd);
    free(data);
    free(back);
}

static void source_counts_what_it_unpacks(void **state)
{
    static const char text[] = "line one\nline two\r\n\nlast\n";
    struct sq_source_limits small = {.max_bytes = 10}, none = {0};
    struct sq_why why = {0};
    struct sq_span line;
    bool has;
    struct sq_source *s = NULL;
    int fd = file_of(text, sizeof text - 1);
    assert_int_equal(sq_source_open(fd, &small, &why, &s), SQ_OK);
    assert_int_equal(sq_source_line(s, &why, &line, &has), SQ_EBOMB);
    sq_source_close(s);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(sq_source_open(fd, &none, &why, &s), SQ_OK);
    const char *want[] = {"line one", "line two", "", "last"};
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(sq_source_line(s, &why, &line, &has), SQ_OK);
        assert_true(has && sq_span_eq(line, sq_span_str(want[i])));
        assert_int_equal(sq_source_line_no(s), i + 1);
    }
    assert_int_equal(sq_source_line(s, &why, &line, &has), SQ_OK);
    assert_false(has);
    sq_source_close(s);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_reads_back),
        cmocka_unit_test(map_is_linear_between_rows),
        cmocka_unit_test(map_errors_name_the_line), cmocka_unit_test(map_columns_are_known_by_their_titles),
        cmocka_unit_test(wrong_maps_are_refused_whole),
        cmocka_unit_test(index_shifts_and_refuses),
        cmocka_unit_test(bgzf_reads_back),
        cmocka_unit_test(source_counts_what_it_unpacks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
