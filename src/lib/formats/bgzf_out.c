#include "lib/formats/bgzf_out.h"

#include "lib/core/file.h"

#include <libdeflate.h>
#include <stdlib.h>

#define BLOCK_BYTES ((size_t)0xff00) /* as htslib: what always fits 64 KiB packed */
#define HEAD_BYTES 18

struct sq_bgzf_out {
    int fd;
    struct libdeflate_compressor *packer;
    uint64_t n_packed;
    size_t n;
    uint8_t block[BLOCK_BYTES], packed[65536];
};

static const uint8_t end_block[28] = {0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 6, 0, 'B', 'C', 2, 0, 0x1b, 0, 3, 0};

sq_err sq_bgzf_out_open(int fd, struct sq_bgzf_out **out)
{
    struct sq_bgzf_out *b = calloc(1, sizeof *b);
    if (!b)
        return sq_fail(SQ_ENOMEM);
    b->fd = fd;
    b->packer = libdeflate_alloc_compressor(SQ_BGZF_LEVEL);
    if (!b->packer) {
        free(b);
        return sq_fail(SQ_ENOMEM);
    }
    *out = b;
    return SQ_OK;
}

static sq_err flush(struct sq_bgzf_out *b)
{
    if (!b->n)
        return SQ_OK;
    size_t room = sizeof b->packed - HEAD_BYTES - 8;
    size_t n = libdeflate_deflate_compress(b->packer, b->block, b->n, b->packed + HEAD_BYTES, room);
    sq_assert(n > 0); /* 0xff00 stored bytes fit */
    memcpy(b->packed, end_block, HEAD_BYTES);
    sq_put_le16(b->packed + 16, (uint16_t)(HEAD_BYTES + n + 8 - 1));
    sq_put_le32(b->packed + HEAD_BYTES + n, libdeflate_crc32(0, b->block, b->n));
    sq_put_le32(b->packed + HEAD_BYTES + n + 4, (uint32_t)b->n);
    sq_err e = sq_write_all(b->fd, b->packed, HEAD_BYTES + n + 8);
    b->n_packed += HEAD_BYTES + n + 8;
    b->n = 0;
    return e;
}

sq_err sq_bgzf_out_put(struct sq_bgzf_out *b, const void *p, size_t n)
{
    const uint8_t *from = p;
    while (n) {
        size_t part = n < BLOCK_BYTES - b->n ? n : BLOCK_BYTES - b->n;
        memcpy(b->block + b->n, from, part);
        b->n += part;
        from += part;
        n -= part;
        if (b->n == BLOCK_BYTES) {
            sq_err e = flush(b);
            if (e)
                return e;
        }
    }
    return SQ_OK;
}

sq_err sq_bgzf_out_cut(struct sq_bgzf_out *b)
{
    return flush(b);
}

uint64_t sq_bgzf_out_tell(const struct sq_bgzf_out *b)
{
    return b->n_packed << 16 | b->n;
}

void sq_bgzf_out_drop(struct sq_bgzf_out *b)
{
    if (!b)
        return;
    libdeflate_free_compressor(b->packer);
    sq_wipe(b->block, sizeof b->block);
    free(b);
}

sq_err sq_bgzf_out_close(struct sq_bgzf_out *b, bool with_end_block, uint64_t *out_n_packed)
{
    sq_err e = flush(b);
    if (!e && with_end_block) {
        e = sq_write_all(b->fd, end_block, sizeof end_block);
        b->n_packed += sizeof end_block;
    }
    if (!e && out_n_packed)
        *out_n_packed = b->n_packed;
    sq_bgzf_out_drop(b);
    return e;
}
