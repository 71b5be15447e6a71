/*
 * What no demultiplexer of these packers can be below: unpacking the base calls and packing the results, alone.
 *
 *     demux_floor RUNDIR RESULTS LEVEL        prints "UNPACK_S PACK_S PACKED LIBDEFLATE_S LIBDEFLATE_PACKED TEXT": CPU seconds, bytes
 *
 * PACK is lib/demux/fastq_pack.h, whatever LEVEL; LIBDEFLATE is that library at LEVEL.
 *
 * Calls: every block of every .cbcl, every .bcl.gz; a .bcl has nothing to unpack. Text: the FASTQ of RESULTS, unpacked beforehand.
 */
#include "lib/core/buf.h"
#include "lib/demux/fastq_pack.h"

#include <ftw.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROOM ((size_t)64 << 20)

static struct libdeflate_decompressor *opener;
static struct libdeflate_compressor *packer;
static struct sq_fastq_packer *own;
static double unpack_s, pack_s, other_s;
static uint64_t n_text, n_own, n_other;
static uint8_t *room, *text;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static uint8_t *file_read(const char *path, size_t n)
{
    FILE *f = fopen(path, "rb");
    uint8_t *p = malloc(n + 1);
    if (!f || !p || fread(p, 1, n, f) != n)
        exit(1);
    fclose(f);
    return p;
}

static void unpack_cbcl(const uint8_t *p, size_t n)
{
    uint32_t n_bin = sq_get_le32(p + 8), at = 12 + 8 * n_bin, n_tile = sq_get_le32(p + at);
    size_t from = sq_get_le32(p + 2), got;
    for (uint32_t i = 0; i < n_tile; i++) {
        const uint8_t *row = p + at + 4 + 16 * i;
        size_t packed = sq_get_le32(row + 12);
        if (packed && from + packed <= n && libdeflate_gzip_decompress(opener, p + from, packed, room, ROOM, &got))
            exit(1);
        from += packed;
    }
}

/* Whole records at @p, as many as a block takes. Returns their bytes. */
static size_t records(const uint8_t *p, size_t n, struct sq_fastq_record *r, size_t *n_r)
{
    size_t at = 0;
    for (*n_r = 0; at < n; (*n_r)++) {
        const uint8_t *head = memchr(p + at, '\n', n - at), *blank = head ? memchr(p + at, ' ', (size_t)(head - p) - at) : NULL;
        const uint8_t *line = head ? memchr(head + 1, '\n', (size_t)(p + n - head) - 1) : NULL;
        if (!line || !blank)
            exit(1);
        size_t n_base = (size_t)(line - head) - 1, end = (size_t)(line - p) + 3 + n_base + 1;
        if (end > SQ_FASTQ_BLOCK)
            break;
        r[*n_r] = (struct sq_fastq_record){(uint32_t)at, (uint32_t)(blank - p), (uint32_t)(head + 1 - p), (uint32_t)n_base};
        at = end;
    }
    return at;
}

static void pack_blocks(size_t n_all)
{
    static struct sq_fastq_record r[SQ_FASTQ_BLOCK / 6];
    size_t n_r, part;
    for (size_t i = 0; i < n_all; i += part) {
        part = records(text + i, n_all - i, r, &n_r);
        if (!part)
            exit(1);
        double start = now();
        n_own += sq_fastq_pack(own, text + i, part, r, n_r, room);
        (void)libdeflate_crc32(0, text + i, part);
        double middle = now();
        n_other += libdeflate_deflate_compress(packer, text + i, part, room, 65536);
        (void)libdeflate_crc32(0, text + i, part);
        pack_s += middle - start;
        other_s += now() - middle;
    }
    n_text += n_all;
}

/* BGZF: block after block, each of whole records. */
static void pack_again(const uint8_t *p, size_t n)
{
    size_t n_all = 0;
    for (size_t at = 0; at < n;) {
        size_t used = (size_t)sq_get_le16(p + at + 16) + 1, got;
        if (libdeflate_gzip_decompress(opener, p + at, used, text + n_all, ROOM - n_all, &got))
            exit(1);
        n_all += got;
        at += used;
        if (n_all > ROOM - 2 * 65536 || at >= n) {
            pack_blocks(n_all);
            n_all = 0;
        }
    }
}

static int visit(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    size_t n = (size_t)st->st_size, len = strlen(path), got;
    if (kind != FTW_F)
        return 0;
    bool is_cbcl = len > 5 && !strcmp(path + len - 5, ".cbcl"), is_gz = len > 7 && !strcmp(path + len - 7, ".bcl.gz");
    bool is_text = len > 9 && !strcmp(path + len - 9, ".fastq.gz");
    if (!is_cbcl && !is_gz && !is_text)
        return 0;
    uint8_t *p = file_read(path, n);
    double start = now();
    if (is_cbcl)
        unpack_cbcl(p, n);
    else if (is_gz && libdeflate_gzip_decompress(opener, p, n, room, ROOM, &got))
        exit(1);
    unpack_s += is_text ? 0 : now() - start;
    if (is_text)
        pack_again(p, n);
    free(p);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    opener = libdeflate_alloc_decompressor();
    packer = libdeflate_alloc_compressor(atoi(argv[3]));
    room = malloc(ROOM);
    text = malloc(ROOM);
    if (!opener || !packer || sq_fastq_packer_new(NULL, &own) || !room || !text || nftw(argv[1], visit, 16, FTW_PHYS) || nftw(argv[2], visit, 16, FTW_PHYS))
        return 1;
    printf("%.3f %.3f %llu %.3f %llu %llu\n", unpack_s, pack_s, (unsigned long long)n_own, other_s, (unsigned long long)n_other, (unsigned long long)n_text);
    return 0;
}
