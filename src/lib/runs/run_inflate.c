/*
 * Unpacking for the readers of calls. libdeflate does the work, several times faster than zlib; it wants a whole stream with its end mark, so
 * what it refuses goes through zlib, which says how far the data is good and takes a stream whose end is missing.
 */
#include "lib/runs/runs_internal.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <zlib.h>

struct run_inflate {
    struct libdeflate_decompressor *fast;
    uint8_t *scratch;
    size_t n_scratch;
};

sq_err run_inflate_new(struct run_inflate **out)
{
    struct run_inflate *z = calloc(1, sizeof *z);
    if (!z || !(z->fast = libdeflate_alloc_decompressor())) {
        free(z);
        return sq_fail(SQ_ENOMEM);
    }
    *out = z;
    return SQ_OK;
}

void run_inflate_free(struct run_inflate *z)
{
    if (z && z->fast)
        libdeflate_free_decompressor(z->fast);
    if (z)
        free(z->scratch);
    free(z);
}

uint8_t *run_inflate_scratch(struct run_inflate *z, size_t n)
{
    if (z->n_scratch < n) {
        free(z->scratch);
        z->scratch = malloc(n);
        z->n_scratch = z->scratch ? n : 0;
    }
    return z->scratch;
}

/* Length of the gzip header at @in (RFC 1952), 0: this is none, SIZE_MAX: it is cut. */
static size_t gzip_header(const uint8_t *in, size_t n)
{
    static const uint8_t magic[] = {0x1f, 0x8b, 8};
    if (memcmp(in, magic, n < 3 ? n : 3))
        return 0;
    if (n < 10)
        return SIZE_MAX;
    uint8_t flags = in[3];
    size_t at = 10;
    if (flags & 0xe0)
        return 0;
    if (flags & 4) {
        if (n < at + 2)
            return SIZE_MAX;
        at += 2 + (size_t)sq_get_le16(in + at);
    }
    for (int bit = 8; bit <= 16; bit *= 2) /* name, comment: to their NUL */
        if (flags & bit) {
            const uint8_t *nul = at < n ? memchr(in + at, 0, n - at) : NULL;
            if (!nul)
                return SIZE_MAX;
            at = (size_t)(nul - in) + 1;
        }
    if (flags & 2)
        at += 2;
    return at > n ? SIZE_MAX : at;
}

/* How far zlib gets with a bare deflate stream. */
struct slow {
    size_t n_in, n_out;
    bool is_ended, is_damaged;
};

static sq_err slow_inflate(const uint8_t *in, size_t n_in, uint8_t *out, size_t n_out, struct slow *s)
{
    z_stream z = {0};
    uint8_t spare[1];
    *s = (struct slow){0};
    if (inflateInit2(&z, -15) != Z_OK)
        return sq_fail(SQ_ENOMEM);
    z.next_out = n_out ? out : spare;
    int r = Z_OK;
    while (r == Z_OK) { /* counts of zlib have 32 bits */
        size_t left_in = n_in - s->n_in, left_out = n_out - s->n_out;
        uInt step_in = left_in > 1U << 30 ? 1U << 30 : (uInt)left_in, step_out = left_out > 1U << 30 ? 1U << 30 : (uInt)left_out;
        union {
            const uint8_t *in;
            uint8_t *not_written;
        } p = {.in = in + s->n_in};
        z.next_in = p.not_written;
        z.avail_in = step_in;
        z.avail_out = step_out;
        r = inflate(&z, Z_NO_FLUSH);
        size_t used = step_in - z.avail_in, made = step_out - z.avail_out;
        s->n_in += used;
        s->n_out += made;
        if (r == Z_OK && !used && !made)
            break;
    }
    s->is_ended = r == Z_STREAM_END;
    s->is_damaged = r != Z_OK && r != Z_STREAM_END && r != Z_BUF_ERROR;
    inflateEnd(&z);
    return SQ_OK;
}

static sq_err no_gzip(size_t head, uint64_t at, size_t n_in, struct sq_run_why *why)
{
    if (!head)
        return run_bad_at(why, sq_fail(SQ_ERUNFILE), at, "no gzip data where it should begin");
    return run_bad_at(why, sq_fail(SQ_ERUNCUT), at + n_in, "the gzip data ends within its head");
}

sq_err run_inflate_block(struct run_inflate *z, const uint8_t *in, size_t n_in, uint8_t *out, size_t n_out, uint64_t at, struct sq_run_why *why)
{
    size_t head = gzip_header(in, n_in), used = 0, made = 0;
    if (!head || head == SIZE_MAX)
        return no_gzip(head, at, n_in, why);
    if (libdeflate_deflate_decompress_ex(z->fast, in + head, n_in - head, out, n_out, &used, &made) != LIBDEFLATE_SUCCESS || made != n_out) {
        struct slow s;
        sq_err e = slow_inflate(in + head, n_in - head, out, n_out, &s);
        if (e)
            return e;
        if (s.is_damaged)
            return run_bad_at(why, sq_fail(SQ_ERUNFILE), at + head + s.n_in, "the packed data is damaged after %zu of %zu bytes", s.n_out, n_out);
        if (s.n_out < n_out)
            return run_bad_at(why, sq_fail(s.is_ended ? SQ_ERUNFILE : SQ_ERUNCUT), at + head + s.n_in, "the packed data ends after %zu of %zu bytes", s.n_out,
                              n_out);
        if (!s.is_ended)
            return SQ_OK; /* all bytes are there, only the end mark isn't */
        used = s.n_in;
    }
    const uint8_t *trailer = in + head + used;
    size_t n_trailer = n_in - head - used;
    if (n_trailer >= 8 && (sq_get_le32(trailer) != libdeflate_crc32(0, out, n_out) || sq_get_le32(trailer + 4) != (uint32_t)n_out))
        return run_bad_at(why, sq_fail(SQ_ERUNFILE), at + head + used, "the unpacked data isn't what was packed: its checksum is another");
    return SQ_OK;
}

sq_err run_inflate_file(struct run_inflate *z, const uint8_t *in, size_t n_in, uint8_t *out, size_t n_out, struct sq_run_why *why, size_t *out_n)
{
    size_t total = 0;
    for (size_t at = 0; at < n_in || !at;) {
        size_t head = gzip_header(in + at, n_in - at), used = 0, made = 0;
        if (!head || head == SIZE_MAX)
            return no_gzip(head, at, n_in - at, why);
        enum libdeflate_result r =
            libdeflate_deflate_decompress_ex(z->fast, in + at + head, n_in - at - head, out + total, n_out - total, &used, &made);
        if (r != LIBDEFLATE_SUCCESS) {
            struct slow s;
            sq_err e = slow_inflate(in + at + head, n_in - at - head, out + total, n_out - total, &s);
            if (e)
                return e;
            uint64_t place = at + head + s.n_in;
            if (s.is_damaged)
                return run_bad_at(why, sq_fail(SQ_ERUNFILE), place, "the packed data is damaged after %zu bytes", total + s.n_out);
            if (!s.is_ended && s.n_in == n_in - at - head)
                return run_bad_at(why, sq_fail(SQ_ERUNCUT), place, "the packed data ends before its end mark, after %zu bytes", total + s.n_out);
            if (!s.is_ended)
                return run_bad_at(why, sq_fail(SQ_ERUNFILE), place, "it unpacks to more than the %zu bytes it should", n_out);
            used = s.n_in;
            made = s.n_out;
        }
        at += head + used;
        if (n_in - at < 8)
            return run_bad_at(why, sq_fail(SQ_ERUNCUT), n_in, "the packed data ends within its trailer");
        if (sq_get_le32(in + at) != libdeflate_crc32(0, out + total, made) || sq_get_le32(in + at + 4) != (uint32_t)made)
            return run_bad_at(why, sq_fail(SQ_ERUNFILE), at, "the unpacked data isn't what was packed: its checksum is another");
        at += 8;
        total += made;
    }
    *out_n = total;
    return SQ_OK;
}

sq_err run_inflate_head(const uint8_t *in, size_t n_in, uint8_t *out, size_t n, struct sq_run_why *why)
{
    struct slow s;
    size_t head = gzip_header(in, n_in);
    if (!head || head == SIZE_MAX)
        return no_gzip(head, 0, n_in, why);
    sq_err e = slow_inflate(in + head, n_in - head, out, n, &s);
    if (e || s.n_out == n)
        return e;
    if (s.is_damaged)
        return run_bad_at(why, sq_fail(SQ_ERUNFILE), head + s.n_in, "the packed data is damaged after %zu bytes", s.n_out);
    return run_bad_at(why, sq_fail(SQ_ERUNCUT), head + s.n_in, "it unpacks to %zu bytes, too few for a count", s.n_out);
}

size_t run_bgzf_size(const uint8_t *in, size_t n_in)
{
    if (n_in < 18 || in[0] != 0x1f || in[1] != 0x8b || in[2] != 8 || in[3] != 4 || sq_get_le16(in + 10) < 6 || in[12] != 'B' || in[13] != 'C' ||
        sq_get_le16(in + 14) != 2)
        return 0;
    size_t size = (size_t)sq_get_le16(in + 16) + 1;
    return size < 12U + sq_get_le16(in + 10) + 8U ? 0 : size;
}

sq_err run_inflate_bgzf(struct run_inflate *z, const uint8_t *in, size_t n_in, uint8_t *out, uint64_t at, struct sq_run_why *why, size_t *out_n)
{
    size_t head = 12 + (size_t)sq_get_le16(in + 10), made = 0;
    uint32_t size = sq_get_le32(in + n_in - 4);
    if (size > 65536 || libdeflate_deflate_decompress(z->fast, in + head, n_in - head - 8, out, size, &made) != LIBDEFLATE_SUCCESS || made != size)
        return run_bad_at(why, sq_fail(SQ_ERUNFILE), at, "the bgzip block is damaged");
    if (libdeflate_crc32(0, out, size) != sq_get_le32(in + n_in - 8))
        return run_bad_at(why, sq_fail(SQ_ERUNFILE), at, "the bgzip block isn't what was packed: its checksum is another");
    *out_n = size;
    return SQ_OK;
}
