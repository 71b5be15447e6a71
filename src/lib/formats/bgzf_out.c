#include "lib/formats/bgzf_out.h"

#include "lib/core/file.h"

#include <libdeflate.h>
#include <stdlib.h>

#define HEAD_BYTES 18

struct sq_bgzf_out {
    int fd;
    struct libdeflate_compressor *packer;
    uint64_t n_packed;
    size_t n;
    uint8_t block[SQ_BGZF_BLOCK_BYTES], packed[SQ_BGZF_PACKED_MAX];
};

const uint8_t sq_bgzf_end[SQ_BGZF_END_BYTES] = {0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 6, 0, 'B', 'C', 2, 0, 0x1b, 0, 3, 0};

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

size_t sq_bgzf_pack(struct libdeflate_compressor *packer, const void *p, size_t n, uint8_t *out)
{
    sq_assert(n > 0 && n <= SQ_BGZF_BLOCK_BYTES);
    size_t got = libdeflate_deflate_compress(packer, p, n, out + HEAD_BYTES, SQ_BGZF_PACKED_MAX - HEAD_BYTES - 8);
    sq_assert(got > 0); /* 0xff00 stored bytes fit */
    memcpy(out, sq_bgzf_end, HEAD_BYTES);
    sq_put_le16(out + 16, (uint16_t)(HEAD_BYTES + got + 8 - 1));
    sq_put_le32(out + HEAD_BYTES + got, libdeflate_crc32(0, p, n));
    sq_put_le32(out + HEAD_BYTES + got + 4, (uint32_t)n);
    return HEAD_BYTES + got + 8;
}

static sq_err flush(struct sq_bgzf_out *b)
{
    if (!b->n)
        return SQ_OK;
    size_t n = sq_bgzf_pack(b->packer, b->block, b->n, b->packed);
    sq_err e = sq_write_all(b->fd, b->packed, n);
    b->n_packed += n;
    b->n = 0;
    return e;
}

sq_err sq_bgzf_out_put(struct sq_bgzf_out *b, const void *p, size_t n)
{
    const uint8_t *from = p;
    while (n) {
        size_t part = n < SQ_BGZF_BLOCK_BYTES - b->n ? n : SQ_BGZF_BLOCK_BYTES - b->n;
        memcpy(b->block + b->n, from, part);
        b->n += part;
        from += part;
        n -= part;
        if (b->n == SQ_BGZF_BLOCK_BYTES) {
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
        e = sq_write_all(b->fd, sq_bgzf_end, sizeof sq_bgzf_end);
        b->n_packed += sizeof sq_bgzf_end;
    }
    if (!e && out_n_packed)
        *out_n_packed = b->n_packed;
    sq_bgzf_out_drop(b);
    return e;
}
