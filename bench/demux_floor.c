/*
 * What no demultiplexer of these libraries can be below: unpacking the base calls and packing the results, alone.
 *
 *     demux_floor RUNDIR RESULTS LEVEL        prints "UNPACK_S PACK_S BYTES_OF_TEXT", CPU seconds
 *
 * Calls: every block of every .cbcl, every .bcl.gz; a .bcl has nothing to unpack. Text: the FASTQ of RESULTS, unpacked beforehand.
 */
#include "lib/core/buf.h"

#include <ftw.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROOM ((size_t)64 << 20)
#define BLOCK 0xff00U

static struct libdeflate_decompressor *opener;
static struct libdeflate_compressor *packer;
static double unpack_s, pack_s;
static uint64_t n_text;
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

/* BGZF: block after block. */
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
            double start = now();
            for (size_t i = 0; i < n_all; i += BLOCK) {
                size_t part = n_all - i < BLOCK ? n_all - i : BLOCK;
                if (!libdeflate_deflate_compress(packer, text + i, part, room, 65536))
                    exit(1);
                (void)libdeflate_crc32(0, text + i, part);
            }
            pack_s += now() - start;
            n_text += n_all;
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
    if (!opener || !packer || !room || !text || nftw(argv[1], visit, 16, FTW_PHYS) || nftw(argv[2], visit, 16, FTW_PHYS))
        return 1;
    printf("%.3f %.3f %llu\n", unpack_s, pack_s, (unsigned long long)n_text);
    return 0;
}
