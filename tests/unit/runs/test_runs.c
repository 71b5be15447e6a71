/* The kernels against their plain version, and a run of the largest instrument's shape, its files sparse. */
#include "lib/runs/call_kernels.h"
#include "lib/runs/run_check.h"

#include "lib/core/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>

static uint32_t seed = 1;

static uint8_t any(void)
{
    seed = seed * 1664525 + 1013904223;
    return (uint8_t)(seed >> 24);
}

#define LONGEST 400
#define GUARD 0xa5

/* every length, at every place in a vector, in place and not; nothing behind the end is touched */
static void kernels_agree(void **state)
{
    static const char *const names[] = {"scalar", "avx2", "avx512"};
    const struct sq_call_kernels *plain = sq_call_kernels_named("scalar");
    static uint8_t in[LONGEST + 64], want[LONGEST + 64], got[LONGEST + 128];
    uint8_t palette[16];
    unsigned n_tried = 0;
    (void)state;
    for (size_t k = 0; k < 16; k++)
        palette[k] = any();
    for (size_t v = 0; v < sizeof names / sizeof names[0]; v++) {
        const struct sq_call_kernels *fast = sq_call_kernels_named(names[v]);
        if (!fast)
            continue;
        n_tried++;
        for (size_t n = 0; n <= LONGEST; n++) {
            uint64_t pass[LONGEST / 64 + 2] = {0}, bits[LONGEST / 64 + 2] = {0}, bits_want[LONGEST / 64 + 2] = {0};
            size_t at = n % 37, kept = 0;
            for (size_t i = 0; i < sizeof in; i++)
                in[i] = n % 3 ? any() : (uint8_t)(any() & 3); /* runs of no-calls, too */
            for (size_t i = 0; i < n; i++)
                if (n % 7 == 0 ? any() & 1 : n % 7 == 1 ? 1 : n % 7 == 2 ? 0 : any() > 60) {
                    pass[i / 64] |= 1ULL << (i % 64);
                    kept++;
                }
            memset(got, GUARD, sizeof got);
            plain->clean(in + at, n, want);
            fast->clean(in + at, n, got);
            assert_memory_equal(got, want, n);
            assert_int_equal(got[n], GUARD);

            memset(got, GUARD, sizeof got);
            plain->unpack(in + at, n, palette, want);
            fast->unpack(in + at, n, palette, got);
            assert_memory_equal(got, want, n);
            assert_int_equal(got[n], GUARD);

            memset(got, GUARD, sizeof got);
            plain->keep(in + at, n, pass, kept, want);
            fast->keep(in + at, n, pass, kept, got);
            assert_memory_equal(got, want, kept);
            assert_int_equal(got[kept], GUARD);
            memcpy(got, in + at, n);
            got[n] = GUARD;
            fast->keep(got, n, pass, kept, got);
            assert_memory_equal(got, want, kept);
            assert_int_equal(got[n], GUARD);

            assert_int_equal(plain->bits(in + at, n, bits_want), fast->bits(in + at, n, bits));
            assert_memory_equal(bits, bits_want, (n + 63) / 64 * 8);
        }
    }
    print_message("# %u kinds of kernels\n", n_tried);
    assert_true(n_tried >= 1);
    assert_ptr_equal(sq_call_kernels_named("none"), NULL);
}

/* the meaning itself, written out */
static void kernels_mean(void **state)
{
    const struct sq_call_kernels *k = sq_call_kernels_named("scalar");
    const uint8_t bcl[] = {0, 1, 3, 4, 7, 255}, nibbles[] = {0x21, 0xf3};
    const uint8_t palette[16] = {0, 0, 0, 0, 44, 45, 46, 47, 100, 101, 102, 103, 148, 149, 150, 151};
    const uint64_t pass[] = {0x29};
    uint8_t out[8];
    uint64_t bits[1];
    (void)state;
    k->clean(bcl, 6, out);
    assert_memory_equal(out, ((const uint8_t[]){0, 0, 0, 4, 7, 255}), 6);
    k->unpack(nibbles, 3, palette, out);
    assert_memory_equal(out, ((const uint8_t[]){0, 0, 0}), 3);
    k->unpack((const uint8_t[]){0x5c, 0x0b}, 4, palette, out);
    assert_memory_equal(out, ((const uint8_t[]){148, 45, 103, 0}), 4);
    k->keep(bcl, 6, pass, 3, out);
    assert_memory_equal(out, ((const uint8_t[]){0, 4, 255}), 3);
    assert_int_equal(k->bits(bcl, 6, bits), 4);
    assert_int_equal(bits[0], 0x36);
}

/* ---- 8 lanes x 2 surfaces x 392 tiles, 5 million clusters each: files of 6 GB that are mostly holes ---- */

#define LANES 8U
#define TILES 784U /* of a lane */
#define CLUSTERS 5000001U
#define PASSED 4000001U
#define PACKED (16U << 20)
#define BINS 4U

struct made {
    char xml[200000];
    uint8_t *block; /* a tile's gzip block */
    size_t n_block;
    uint32_t n_open;
};

static uint32_t tile_no(uint32_t i) /* 0.. of a lane */
{
    return (i / 392 + 1) * 1000 + (i % 392 / 98 + 1) * 100 + i % 98 + 1;
}

static void make_xml(struct made *m)
{
    size_t n = (size_t)snprintf(m->xml, sizeof m->xml,
                                "<RunInfo Version=\"6\"><Run Id=\"X\" Number=\"1\"><Reads><Read Number=\"1\" NumCycles=\"151\" IsIndexedRead=\"N\"/>"
                                "<Read Number=\"2\" NumCycles=\"167\" IsIndexedRead=\"N\"/></Reads><FlowcellLayout LaneCount=\"8\"><TileSet TileNamingConvention=\"FourDigit\"><Tiles>");
    for (uint32_t l = 1; l <= LANES; l++)
        for (uint32_t i = 0; i < TILES; i++)
            n += (size_t)snprintf(m->xml + n, sizeof m->xml - n, "<Tile>%u_%u</Tile>", l, tile_no(i));
    snprintf(m->xml + n, sizeof m->xml - n, "</Tiles></TileSet></FlowcellLayout></Run></RunInfo>");
}

/* nibble i of the block: i modulo 16 */
static void make_block(struct made *m)
{
    size_t n = (PASSED + 1) / 2;
    uint8_t *raw = malloc(n);
    m->block = malloc(PACKED);
    assert_true(raw && m->block);
    for (size_t i = 0; i < n; i++)
        raw[i] = (uint8_t)(((2 * i + 1) & 15) << 4 | ((2 * i) & 15));
    z_stream z = {.next_in = raw, .avail_in = (uInt)n, .next_out = m->block, .avail_out = PACKED};
    assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    m->n_block = z.total_out;
    deflateEnd(&z);
    free(raw);
}

static int file_of(const void *p, size_t n)
{
    int fd = memfd_create("made", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(sq_pwrite_all(fd, p, n, 0), SQ_OK);
    return fd;
}

/* all blocks are holes but the last one */
static int cbcl(struct made *m, uint32_t surface)
{
    static uint8_t head[12 + 8 * BINS + 4 + 16 * 392 + 1];
    static const uint32_t quality[BINS] = {0, 12, 24, 40};
    sq_put_le16(head, 1);
    sq_put_le32(head + 2, sizeof head);
    head[6] = head[7] = 2;
    sq_put_le32(head + 8, BINS);
    for (uint32_t b = 0; b < BINS; b++) {
        sq_put_le32(head + 12 + 8 * b, b);
        sq_put_le32(head + 16 + 8 * b, quality[b]);
    }
    uint8_t *p = head + 12 + 8 * BINS;
    sq_put_le32(p, 392);
    p += 4;
    for (uint32_t i = 0; i < 392; i++, p += 16) {
        sq_put_le32(p, tile_no((surface - 1) * 392 + i));
        sq_put_le32(p + 4, PASSED);
        sq_put_le32(p + 8, (PASSED + 1) / 2);
        sq_put_le32(p + 12, i == 391 ? (uint32_t)m->n_block : PACKED);
    }
    *p = 1;
    int fd = file_of(head, sizeof head);
    assert_int_equal(sq_pwrite_all(fd, m->block, m->n_block, (off_t)(sizeof head + 391ULL * PACKED)), SQ_OK);
    return fd;
}

static sq_err open_made(void *ctx, const char *path, int *out_fd)
{
    struct made *m = ctx;
    unsigned lane, cycle, again, surface, tile;
    m->n_open++;
    if (!strcmp(path, "RunInfo.xml")) {
        *out_fd = file_of(m->xml, strlen(m->xml));
        return SQ_OK;
    }
    if (sscanf(path, "Data/Intensities/BaseCalls/L%3u/C%u.1/L%3u_%u.cbcl", &lane, &cycle, &again, &surface) == 4 && lane >= 1 && lane <= LANES && surface >= 1 && surface <= 2) {
        *out_fd = cbcl(m, surface);
        return SQ_OK;
    }
    if (sscanf(path, "Data/Intensities/BaseCalls/L%3u/s_%u_%u.filter", &lane, &again, &tile) == 3) {
        uint8_t head[12] = {0};
        sq_put_le32(head + 4, 3);
        sq_put_le32(head + 8, CLUSTERS);
        uint8_t *bytes = calloc(CLUSTERS, 1);
        assert_non_null(bytes);
        memset(bytes + CLUSTERS - PASSED, 1, PASSED);
        *out_fd = file_of(head, sizeof head);
        assert_int_equal(sq_pwrite_all(*out_fd, bytes, CLUSTERS, 12), SQ_OK);
        free(bytes);
        return SQ_OK;
    }
    return SQ_ENOTFOUND;
}

static void largest_shape(void **state)
{
    static struct made m;
    struct sq_run_files files = {.ctx = &m, .open = open_made};
    struct sq_run_why why;
    struct sq_run *run = NULL;
    struct sq_calls *r = NULL;
    struct sq_calls_look look;
    struct sq_filter pf;
    enum sq_cycle_state whole = SQ_CYCLE_ABSENT;
    uint32_t n = 0;
    (void)state;
    make_xml(&m);
    make_block(&m);
    assert_int_equal(sq_run_open(&files, &why, &run), SQ_OK);
    assert_int_equal(sq_run_n_lane(run), LANES);
    assert_int_equal(sq_run_calls_kind(run), SQ_CALLS_CBCL);
    assert_int_equal(sq_run_info_of(run)->n_tile, LANES * TILES);
    assert_int_equal(sq_calls_new(run, &r), SQ_OK);

    const struct sq_run_tile *last = sq_run_tile_of(run, 8, tile_no(TILES - 1)), *hole = sq_run_tile_of(run, 8, tile_no(TILES - 2));
    assert_true(last && hole && last->surface == 2);
    assert_int_equal(sq_calls_look(r, last, 318, &why, &look), SQ_OK);
    assert_int_equal(look.n_cluster, PASSED);
    assert_true(look.is_pf_only);
    assert_int_equal(sq_filter_read(run, last, &why, &pf), SQ_OK);
    assert_int_equal(pf.n_pf, PASSED);

    uint8_t *calls = malloc(PASSED);
    assert_non_null(calls);
    assert_int_equal(sq_calls_read(r, last, 318, &pf, calls, PASSED, &why, &n), SQ_OK);
    assert_int_equal(n, PASSED);
    static const uint8_t quality[BINS] = {0, 12, 24, 40};
    for (uint32_t i = 0; i < n; i++)
        if (calls[i] != (quality[i >> 2 & 3] ? ((uint32_t)quality[i >> 2 & 3] << 2 | (i & 3)) : 0))
            fail_msg("call %u is %u", i, calls[i]);
    /* a hole is no gzip data: told with a place behind 4 GiB */
    assert_int_equal(sq_calls_read(r, hole, 318, &pf, calls, PASSED, &why, &n), SQ_ERUNFILE);
    assert_true(why.has_byte && why.byte > (4ULL << 30));
    assert_int_equal(why.tile, hole->tile);
    assert_int_equal(sq_calls_read(r, last, 319, &pf, calls, PASSED, &why, &n), SQ_ERANGE);
    assert_int_equal(sq_calls_read(r, last, 318, &pf, calls, PASSED - 1, &why, &n), SQ_ERANGE);
    assert_int_equal(sq_calls_state(r, 8, 318, &why, &whole), SQ_OK);
    assert_int_equal(whole, SQ_CYCLE_WHOLE);
    /* heads of all 5,088 files, more than are kept */
    for (uint32_t l = 1; l <= LANES; l++)
        for (uint32_t c = 1; c <= 318; c += 3)
            for (uint32_t s = 0; s < 2; s++)
                assert_int_equal(sq_calls_look(r, sq_run_tile_of(run, l, tile_no(s * 392)), c, &why, &look), SQ_OK);
    free(calls);
    free(m.block);
    sq_filter_done(&pf);
    sq_calls_free(r);
    sq_run_close(run);
}

static void filter_of_all(void **state)
{
    static const uint32_t sizes[] = {0, 1, 63, 64, 65, 1000};
    (void)state;
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        struct sq_filter f;
        uint32_t n = 0;
        assert_int_equal(sq_filter_all(sizes[k], &f), SQ_OK);
        for (uint32_t w = 0; w < (sizes[k] + 63) / 64; w++)
            n += (uint32_t)__builtin_popcountll(f.pass[w]);
        assert_int_equal(n, sizes[k]);
        assert_int_equal(f.n_pf, sizes[k]);
        sq_filter_done(&f);
    }
    sq_filter_done(NULL);
    sq_positions_done(NULL);
    sq_run_info_done(NULL);
    sq_calls_free(NULL);
    sq_run_close(NULL);
    sq_run_check_done(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_mean),
        cmocka_unit_test(kernels_agree),
        cmocka_unit_test(filter_of_all),
        cmocka_unit_test(largest_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
