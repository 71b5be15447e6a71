/* Packing of FASTQ: whatever the text, libdeflate and zlib give it back; the same bytes from any kernel; never more than stored. */
#include "lib/demux/deflate_codes.h"
#include "lib/demux/fastq_pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

static uint64_t seed = 88172645463325252ULL;
static uint32_t draw(uint32_t below)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % below;
}

struct block {
    uint8_t text[SQ_FASTQ_BLOCK + SQ_FASTQ_SLACK];
    struct sq_fastq_record record[SQ_FASTQ_BLOCK / 6 + 1];
    size_t n, n_record;
};

/* Returns the size, having unpacked it twice. */
static size_t there_and_back(const struct block *b)
{
    static struct sq_fastq_packer *fast, *plain;
    static uint8_t out[2][SQ_FASTQ_BLOCK + 64], back[SQ_FASTQ_BLOCK + 1];
    static struct libdeflate_decompressor *opener;
    size_t got = 0;
    if (!opener) {
        assert_non_null(opener = libdeflate_alloc_decompressor());
        assert_int_equal(sq_fastq_packer_new(NULL, &fast), SQ_OK);
        assert_int_equal(sq_fastq_packer_new(sq_demux_kernels_named("scalar"), &plain), SQ_OK);
    }
    memset(out, 0xee, sizeof out);
    size_t n = sq_fastq_pack(fast, b->text, b->n, b->record, b->n_record, out[0]);
    assert_true(n <= b->n + 5);
    for (size_t i = n + 8; i < sizeof out[0]; i++)
        assert_int_equal(out[0][i], 0xee);
    assert_int_equal(sq_fastq_pack(plain, b->text, b->n, b->record, b->n_record, out[1]), n);
    assert_memory_equal(out[0], out[1], n);
    assert_int_equal(libdeflate_deflate_decompress(opener, out[0], n, back, sizeof back, &got), LIBDEFLATE_SUCCESS);
    assert_int_equal(got, b->n);
    assert_memory_equal(back, b->text, b->n);
    z_stream z = {.next_in = out[0], .avail_in = (uInt)n, .next_out = back, .avail_out = sizeof back};
    assert_int_equal(inflateInit2(&z, -15), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.total_in, n);
    assert_int_equal(z.total_out, b->n);
    inflateEnd(&z);
    assert_memory_equal(back, b->text, b->n);
    return n;
}

static void begin(struct block *b)
{
    memset(b, 0x5a, sizeof *b);
    b->n = b->n_record = 0;
}

/* False: it has no room. */
static bool add(struct block *b, const char *head, const uint8_t *base, const uint8_t *quality, uint32_t n)
{
    size_t n_head = strlen(head);
    if (b->n + n_head + 2 * (size_t)n + 5 > SQ_FASTQ_BLOCK)
        return false;
    uint8_t *p = b->text + b->n;
    const char *blank = strchr(head, ' ');
    b->record[b->n_record++] =
        (struct sq_fastq_record){(uint32_t)b->n, (uint32_t)(b->n + (size_t)(blank ? blank - head : 0)), (uint32_t)(b->n + n_head + 1), n};
    memcpy(p, head, n_head);
    p[n_head] = '\n';
    memcpy(p + n_head + 1, base, n);
    memcpy(p + n_head + 1 + n, "\n+\n", 3);
    memcpy(p + n_head + 4 + n, quality, n);
    p[n_head + 4 + 2 * n] = '\n';
    b->n += n_head + 5 + 2 * (size_t)n;
    return true;
}

enum { PLAIN, WITH_N, POLY, COPIES, NOISE, KINDS };

static void read_draw(int kind, uint8_t *base, uint8_t *quality, uint32_t n)
{
    static uint8_t kept[4096], *from;
    static bool is_kept;
    if (!is_kept)
        for (size_t i = 0; i < sizeof kept; i++)
            kept[i] = (uint8_t)"ACGT"[draw(4)];
    is_kept = true;
    from = kept + draw(600);
    for (uint32_t i = 0; i < n; i++) {
        base[i] = kind == COPIES ? from[i % 3000] : (uint8_t)"ACGT"[draw(4)];
        quality[i] = (uint8_t) "IIIIIIIIIIIIII9-"[draw(16)];
        if (kind == WITH_N && !draw(30))
            base[i] = 'N', quality[i] = '#';
        if (kind == POLY && i > n / 3)
            base[i] = 'G', quality[i] = 'I';
        if (kind == NOISE)
            base[i] = (uint8_t)draw(256), quality[i] = (uint8_t)draw(256);
    }
}

static void any_text_comes_back(void **state)
{
    static struct block b;
    static uint8_t base[SQ_FASTQ_BLOCK], quality[SQ_FASTQ_BLOCK];
    size_t before[KINDS] = {0}, after[KINDS] = {0};
    char head[200];
    for (int round = 0; round < 400; round++) {
        int kind = round % KINDS;
        uint32_t n_most = (const uint32_t[]){1, 36, 151, 300, 4000}[draw(5)], is_fixed = draw(2), x = draw(30000);
        begin(&b);
        for (;;) {
            uint32_t n = is_fixed ? n_most : draw(n_most + 1);
            read_draw(kind, base, quality, n);
            snprintf(head, sizeof head, kind == NOISE && draw(2) ? "@" : "@SIM:7:FC:1:%u:%u:%u 1:N:0:ACGTAC+%s", 1101 + draw(2), x += draw(40), 1000 + draw(3),
                     draw(9) ? "TTGACA" : "TTGACC");
            if (!add(&b, head, base, quality, n) || (round % 7 == 0 && draw(3) == 0))
                break;
        }
        if (b.n_record) {
            before[kind] += b.n;
            after[kind] += there_and_back(&b);
        }
    }
    assert_true(after[PLAIN] * 10 < before[PLAIN] * 4);   /* about two bits a base, and a header that repeats */
    assert_true(after[POLY] * 10 < before[POLY] * 3);
    assert_true(after[COPIES] * 10 < before[COPIES] * 3); /* found although they begin anywhere */
    assert_true(after[NOISE] < before[NOISE] + 2000);
}

static void the_smallest_and_the_largest(void **state)
{
    static struct block b;
    static uint8_t base[SQ_FASTQ_BLOCK], quality[SQ_FASTQ_BLOCK];
    const uint32_t most = (SQ_FASTQ_BLOCK - 6) / 2;
    begin(&b);
    assert_true(add(&b, "@", base, quality, 0));
    there_and_back(&b);
    begin(&b);
    while (add(&b, "@", base, quality, 0)) /* as many as there can be */
        ;
    assert_int_equal(b.n, SQ_FASTQ_BLOCK);
    assert_true(there_and_back(&b) < SQ_FASTQ_BLOCK / 6);
    memset(base, 'A', most);
    memset(quality, 'I', most);
    begin(&b);
    assert_true(add(&b, "@", base, quality, most));
    assert_int_equal(b.n, SQ_FASTQ_BLOCK);
    assert_true(there_and_back(&b) < 1000);
    for (uint32_t n = 0; n < 800; n++) { /* runs of any length, split so that three bytes are left at least */
        begin(&b);
        assert_true(add(&b, "@a 1", base, quality, n));
        assert_true(add(&b, "@b 1", base, quality, n + 1));
        there_and_back(&b);
    }
}

/* Counts of Fibonacci make the longest codes: longer than deflate can say. */
static void long_codes_are_shortened(void **state)
{
    static struct block b;
    static uint8_t base[SQ_FASTQ_BLOCK], quality[SQ_FASTQ_BLOCK];
    uint32_t n = 0, f[2] = {1, 1};
    for (unsigned letter = 40; n + f[1] < 28000; letter++) {
        for (uint32_t i = 0; i < f[1]; i++)
            quality[n + i] = (uint8_t)letter;
        n += f[1];
        uint32_t next = f[0] + f[1];
        f[0] = f[1];
        f[1] = next;
    }
    for (uint32_t i = n - 1; i > 0; i--) { /* no runs */
        uint32_t k = draw(i + 1);
        uint8_t other = quality[i];
        quality[i] = quality[k];
        quality[k] = other;
    }
    for (uint32_t i = 0; i < n; i++)
        base[i] = (uint8_t)"ACGT"[draw(4)];
    begin(&b);
    assert_true(add(&b, "@a 1", base, quality, n));
    there_and_back(&b);
    for (unsigned most = 7; most <= 15; most += 8)
        for (int round = 0; round < 500; round++) {
            uint32_t count[DEFLATE_N_LIT] = {0}, n_symbol = most == 7 ? 19 : DEFLATE_N_LIT, left = round % 2 ? n_symbol : 1 + draw(n_symbol);
            uint8_t length[DEFLATE_N_LIT];
            uint64_t room = 0;
            for (uint32_t i = 0; i < left; i++)
                count[draw(n_symbol)] = round % 3 ? 1U << draw(22) : draw(3);
            deflate_lengths(count, n_symbol, most, length);
            for (uint32_t i = 0; i < n_symbol; i++) {
                assert_true(length[i] <= most);
                assert_true(length[i] || !count[i]);
                for (uint32_t k = 0; k < n_symbol; k++) /* more frequent, no longer */
                    assert_true(!count[k] || count[i] <= count[k] || length[i] <= length[k]);
                room += length[i] ? 1ULL << (most - length[i]) : 0;
            }
            assert_int_equal(room, 1ULL << most);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_text_comes_back),
        cmocka_unit_test(the_smallest_and_the_largest),
        cmocka_unit_test(long_codes_are_shortened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
