/*
 * Every version of the kernels of lib/runs and lib/demux that this machine runs, against the plain one: every length up to 300, aligned and not;
 * and blocks of FASTQ packed with it. Nothing behind what is to be written may change.
 *
 * A program of its own without cmocka: run_kernels_neon_test.py builds it for another processor. The last line is a digest of all that came out of
 * the plain version, the same on every machine.
 */
#include "lib/demux/fastq_pack.h"
#include "lib/runs/call_kernels.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 300, ROOM = 128, N_BLOCK = 12 };

static uint64_t seed, digest;
static unsigned n_bad;

static uint32_t draw(uint32_t below)
{
    uint64_t z = seed += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return (uint32_t)((z ^ z >> 31) >> 32) % below;
}

static void take(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        digest = (digest ^ ((const uint8_t *)p)[i]) * 0x100000001b3;
}

/* [n] bytes of @want and @got, and those behind are as they were */
static void same(const char *what, size_t n, const uint8_t *want, const uint8_t *got, bool is_guarded)
{
    bool is_same = !memcmp(want, got, n);
    for (size_t i = n; i < n + 16 && is_guarded; i++)
        is_same = is_same && got[i] == 0xee;
    if (!is_same && n_bad++ < 5)
        printf("# %s differs at %zu\n", what, n);
    take(want, n);
}

static void calls(const struct sq_call_kernels *k)
{
    const struct sq_call_kernels *plain = sq_call_kernels_named("scalar");
    for (size_t n = 0; n <= LONGEST; n++) {
        uint8_t in[LONGEST + ROOM], palette[16], out[2][LONGEST + ROOM];
        uint64_t pass[LONGEST / 64 + 1] = {0}, bits[2][LONGEST / 64 + 1] = {{0}};
        size_t at = draw(17), kept = 0;
        for (size_t i = 0; i < sizeof in; i++)
            in[i] = (uint8_t)draw(n % 3 ? 256 : 4);
        for (size_t i = 0; i < 16; i++)
            palette[i] = (uint8_t)draw(256);
        for (size_t i = 0; i < n; i++)
            if (draw(10) > n % 9) {
                pass[i / 64] |= 1ULL << (i % 64);
                kept++;
            }
        for (int kind = 0; kind < 3; kind++) {
            memset(out, 0xee, sizeof out);
            for (int v = 0; v < 2; v++) {
                const struct sq_call_kernels *by = v ? k : plain;
                if (kind == 0)
                    by->clean(in + at, n, out[v]);
                else if (kind == 1)
                    by->unpack(in + at, n, palette, out[v]);
                else
                    by->keep(in + at, n, pass, kept, out[v]);
            }
            same(kind == 0 ? "clean" : kind == 1 ? "unpack"
                                                 : "keep",
                 kind == 2 ? kept : n, out[0], out[1], true);
        }
        if (plain->bits(in + at, n, bits[0]) != k->bits(in + at, n, bits[1]) || memcmp(bits[0], bits[1], sizeof bits[0]))
            n_bad++;
        take(bits[0], sizeof bits[0]);
    }
}

static void lines(const struct sq_demux_kernels *k)
{
    const struct sq_demux_kernels *plain = sq_demux_kernels_named("scalar");
    static const uint8_t quality[4] = {0, 12, 24, 40}, binned[3] = {12, 24, 40};
    for (size_t n = 0; n <= LONGEST; n++) {
        uint8_t call[LONGEST + ROOM] = {0}, letter[LONGEST + ROOM], adapter[16], most[LONGEST + ROOM], room[LONGEST + ROOM], out[2][LONGEST + ROOM];
        char text[2][2][LONGEST + ROOM];
        uint32_t near[2][LONGEST / 32 + 1] = {{0}}, count[2][4] = {{0}}, n_adapter = 1 + draw(16);
        uint64_t bits[2][LONGEST / 64 + 1] = {{0}};
        struct sq_call_sums sums[2] = {{1, 2, 3}, {1, 2, 3}};
        size_t at = 1 + draw(17), got[2];
        for (size_t i = 0; i < n; i++) {
            uint32_t base = draw(4), q = n % 2 ? 1 + draw(63) : binned[draw(3)];
            call[at + i] = (uint8_t)(draw(20) ? q << 2 | base : 0);
        }
        for (size_t i = 0; i < sizeof letter; i++)
            letter[i] = (uint8_t)"ACGTAAAA"[draw(8)];
        if (n % 5 == 0)
            letter[at + draw((uint32_t)n + 1)] = 'N';
        for (size_t i = 0; i < 16; i++)
            adapter[i] = (uint8_t)draw(5);
        for (size_t i = 0; i < sizeof most; i++)
            most[i] = (uint8_t)draw(18);
        memset(out, 0xee, sizeof out);
        memset(text, 0xee, sizeof text);
        bool is_fine[2];
        for (int v = 0; v < 2; v++) {
            const struct sq_demux_kernels *by = v ? k : plain;
            got[v] = by->pack(call + at, n, quality, out[v]);
            by->sum(call + at, n, &sums[v]);
            by->text(call + at, n, text[v][0], text[v][1], &sums[v]);
            by->near(call + at, n, adapter, n_adapter, most, room, near[v]);
            by->repeats(letter + at, n, bits[v]);
        }
        same("pack", (got[0] + 1) / 2, out[0], out[1], false);
        memset(out, 0xee, sizeof out);
        for (int v = 0; v < 2; v++)
            is_fine[v] = (v ? k : plain)->squeeze(letter + at, n, out[v], count[v]);
        same("text", sizeof text[0], (const uint8_t *)text[0], (const uint8_t *)text[1], false);
        same("near", sizeof near[0], (const uint8_t *)near[0], (const uint8_t *)near[1], false);
        same("repeats", sizeof bits[0], (const uint8_t *)bits[0], (const uint8_t *)bits[1], false);
        same("sum", sizeof sums[0], (const uint8_t *)&sums[0], (const uint8_t *)&sums[1], false);
        n_bad += got[0] != got[1] || is_fine[0] != is_fine[1];
        if (is_fine[0] && is_fine[1]) {
            same("squeeze", (n + 3) / 4, out[0], out[1], false);
            same("count", sizeof count[0], (const uint8_t *)count[0], (const uint8_t *)count[1], false);
        }
    }
    for (int round = 0; round < 60; round++) {
        static uint8_t in[90 * 130], out[2][90 * 130];
        size_t n_row = draw(80), n_column = draw(80), in_stride = n_column + draw(40), out_stride = n_row + draw(40);
        for (size_t i = 0; i < sizeof in; i++)
            in[i] = (uint8_t)draw(256);
        memset(out, 0xee, sizeof out);
        plain->transpose(in, in_stride, n_row, n_column, out[0], out_stride);
        k->transpose(in, in_stride, n_row, n_column, out[1], out_stride);
        same("transpose", sizeof out[0], out[0], out[1], false);
    }
}

static void blocks(const struct sq_demux_kernels *k)
{
    static uint8_t text[SQ_FASTQ_BLOCK + SQ_FASTQ_SLACK], out[2][SQ_FASTQ_BLOCK + 64];
    static struct sq_fastq_record record[SQ_FASTQ_BLOCK / 6];
    struct sq_fastq_packer *packer[2];
    if (sq_fastq_packer_new(sq_demux_kernels_named("scalar"), &packer[0]) || sq_fastq_packer_new(k, &packer[1])) {
        n_bad++;
        return;
    }
    for (uint32_t round = 0; round < N_BLOCK; round++) {
        uint32_t n = 0, n_record = 0, len = 20 + 30 * round;
        while (n + 2 * len + 80 < SQ_FASTQ_BLOCK) {
            struct sq_fastq_record r = {.head = n, .n_base = draw(9) ? len : draw(len)};
            uint32_t x = draw(30000);
            n += (uint32_t)snprintf((char *)text + n, 80, "@S:1:F:1:1101:%u:%u ", x, 1000 + n_record / 9);
            r.blank = n - 1;
            n += (uint32_t)snprintf((char *)text + n, 40, "1:N:0:ACGTACGT+TTGA%s\n", draw(8) ? "C" : "T");
            r.base = n;
            for (uint32_t i = 0; i < r.n_base; i++) {
                text[n + i] = (uint8_t)"ACGTN"[draw(round % 3 || draw(40) ? 4 : 5)];
                text[n + r.n_base + 3 + i] = (uint8_t)"IIIIIIIIII9-#FC;"[draw(round % 2 ? 12 : 16)];
            }
            if (n_record && draw(10) == 0) /* as a read before */
                memcpy(text + n, text + record[n_record - 1].base, r.n_base < record[n_record - 1].n_base ? r.n_base : record[n_record - 1].n_base);
            memcpy(text + n + r.n_base, "\n+\n", 3);
            n += 2 * r.n_base + 3;
            text[n++] = '\n';
            record[n_record++] = r;
        }
        size_t got[2];
        for (int v = 0; v < 2; v++)
            got[v] = sq_fastq_pack(packer[v], text, n, record, n_record, out[v]);
        n_bad += got[0] != got[1];
        same("a packed block", got[0], out[0], out[1], false);
    }
    sq_fastq_packer_free(packer[0]);
    sq_fastq_packer_free(packer[1]);
}

int main(void)
{
    static const char *const names[] = {"scalar", "avx2", "avx512", "neon"};
    unsigned no = 0, n_failed = 0;
    uint64_t first = 0;
    for (size_t v = 0; v < sizeof names / sizeof names[0]; v++) {
        if (!sq_call_kernels_named(names[v]))
            continue;
        const struct sq_demux_kernels *k = sq_demux_kernels_named(names[v]);
        seed = 1;
        digest = 0xcbf29ce484222325;
        n_bad = 0;
        calls(sq_call_kernels_named(names[v]));
        lines(k ? k : sq_demux_kernels());
        blocks(k ? k : sq_demux_kernels());
        first = first ? first : digest;
        n_bad += digest != first;
        printf("%s %u - kernels of runs and their results: %s\n", n_bad ? "not ok" : "ok", ++no, names[v]);
        n_failed += n_bad > 0;
    }
    printf("1..%u\n# digest %016" PRIx64 "\n", no, first);
    return n_failed > 0;
}
