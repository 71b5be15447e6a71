/*
 * The unpacking is our own and not htslib's: htslib reads BGZF from a pipe without noticing a missing end block,
 * accepts trailing garbage, and has no limit on what a small upload may unpack to.
 */
#include "lib/formats/source.h"

#include "lib/core/file.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <zlib.h>

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION /* so that small inputs are filled and moved more than once */
#define RAW_BYTES ((size_t)66000)
#define OUT_STEP ((size_t)40960)
#else
#define RAW_BYTES ((size_t)256 << 10)
#define OUT_STEP ((size_t)1 << 20)
#endif
#define BGZF_MAX_BLOCK ((size_t)65536)

struct sq_source {
    int fd;
    enum sq_packing packing;
    struct sq_source_limits limits;
    uint8_t raw[RAW_BYTES]; /* packed bytes not yet used: raw[raw_at .. raw_n) */
    size_t raw_at, raw_n;
    bool raw_end; /* the descriptor is at its end */
    bool end;     /* all is unpacked */
    uint64_t n_packed, n_unpacked, line_no;
    uint8_t *out; /* unpacked bytes not yet used: out[out_at .. out_n) */
    size_t out_at, out_n, out_cap;
    bool z_is_open, z_in_member;
    z_stream z;
    struct libdeflate_decompressor *bgzf;
    bool bgzf_saw_end; /* the last block was the empty one */
};

/* Keep at least @want packed bytes ready, or all that are left. */
static sq_err raw_fill(struct sq_source *s, size_t want)
{
    if (s->raw_n - s->raw_at >= want || s->raw_end)
        return SQ_OK;
    memmove(s->raw, s->raw + s->raw_at, s->raw_n - s->raw_at);
    s->raw_n -= s->raw_at;
    s->raw_at = 0;
    size_t got = 0;
    sq_err e = sq_read_full(s->fd, s->raw + s->raw_n, RAW_BYTES - s->raw_n, &got);
    if (e)
        return e;
    s->raw_end = got < RAW_BYTES - s->raw_n;
    s->raw_n += got;
    s->n_packed += got;
    return SQ_OK;
}

static bool starts_with(const struct sq_source *s, const char *magic, size_t n)
{
    return s->raw_n >= n && memcmp(s->raw, magic, n) == 0;
}

static sq_err refuse_foreign_packing(const struct sq_source *s, struct sq_why *why)
{
    static const struct {
        const char *magic;
        size_t n;
        const char *name;
    } foreign[] = {{"PK\3\4", 4, "a zip archive"},
                   {"\xfd"
                    "7zXZ",
                    5, "packed with xz"},
                   {"BZh", 3, "packed with bzip2"},
                   {"\x28\xb5\x2f\xfd", 4, "packed with zstd"},
                   {"7z\xbc\xaf", 4, "a 7z archive"}};
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++)
        if (starts_with(s, foreign[i].magic, foreign[i].n))
            return sq_why_set(why, sq_fail(SQ_EGZIP), 0, 0, "file",
                              "this is %s; only plain text, gzip and bgzip are read", foreign[i].name);
    return SQ_OK;
}

/* A BGZF header: gzip with one extra field "BC" of two bytes that stands first, as every writer puts it. */
static bool is_bgzf_header(const uint8_t *p, size_t n)
{
    return n >= 18 && p[0] == 0x1f && p[1] == 0x8b && p[2] == 8 && p[3] == 4 && sq_get_le16(p + 10) >= 6 &&
           p[12] == 'B' && p[13] == 'C' && sq_get_le16(p + 14) == 2;
}

sq_err sq_source_open(int fd, const struct sq_source_limits *limits, struct sq_why *why, struct sq_source **out)
{
    struct sq_source *s = calloc(1, sizeof *s);
    if (!s)
        return sq_fail(SQ_ENOMEM);
    s->fd = fd;
    s->limits = *limits;
    if (!s->limits.max_bytes)
        s->limits.max_bytes = SQ_SOURCE_MAX_BYTES;
    sq_err e = raw_fill(s, RAW_BYTES);
    if (e)
        goto out;
    if (!s->raw_n) {
        e = sq_why_set(why, sq_fail(SQ_EEMPTY), 0, 0, "file", "the file has 0 bytes");
        goto out;
    }
    e = refuse_foreign_packing(s, why);
    if (e)
        goto out;
    s->packing = SQ_PACKING_PLAIN;
    if (starts_with(s, "\x1f\x8b", 2))
        s->packing = is_bgzf_header(s->raw, s->raw_n) ? SQ_PACKING_BGZF : SQ_PACKING_GZIP;
    if (s->packing == SQ_PACKING_GZIP) {
        if (inflateInit2(&s->z, 15 + 16) != Z_OK) {
            e = sq_fail(SQ_ENOMEM);
            goto out;
        }
        s->z_is_open = true;
    }
    if (s->packing == SQ_PACKING_BGZF && !(s->bgzf = libdeflate_alloc_decompressor())) {
        e = sq_fail(SQ_ENOMEM);
        goto out;
    }
    *out = s;
    return SQ_OK;
out:
    sq_source_close(s);
    return e;
}

void sq_source_close(struct sq_source *s)
{
    if (!s)
        return;
    if (s->z_is_open)
        inflateEnd(&s->z);
    if (s->bgzf)
        libdeflate_free_decompressor(s->bgzf);
    if (s->out)
        sq_wipe(s->out, s->out_cap);
    free(s->out);
    sq_wipe(s->raw, sizeof s->raw);
    free(s);
}

enum sq_packing sq_source_packing(const struct sq_source *s)
{
    return s->packing;
}

uint64_t sq_source_n_packed(const struct sq_source *s)
{
    return s->n_packed;
}

uint64_t sq_source_line_no(const struct sq_source *s)
{
    return s->line_no;
}

static sq_err count_unpacked(struct sq_source *s, size_t n, struct sq_why *why)
{
    s->out_n += n;
    s->n_unpacked += n;
    if (s->n_unpacked > s->limits.max_bytes)
        return sq_why_set(why, sq_fail(SQ_EBOMB), s->line_no, 0, "file", "it unpacks to more than %llu bytes",
                          (unsigned long long)s->limits.max_bytes);
    uint64_t n_used = s->n_packed - (s->raw_n - s->raw_at);
    if (s->packing != SQ_PACKING_PLAIN && s->limits.max_ratio && s->n_unpacked > SQ_SOURCE_RATIO_FROM &&
        s->n_unpacked / s->limits.max_ratio > n_used)
        return sq_why_set(why, sq_fail(SQ_EBOMB), s->line_no, 0, "file", "it unpacks to more than %u times its size",
                          s->limits.max_ratio);
    return SQ_OK;
}

static sq_err cut(const struct sq_source *s, struct sq_why *why, const char *what)
{
    return sq_why_set(why, sq_fail(SQ_ECUT), s->line_no, 0, "file", "%s", what);
}

static sq_err unpack_plain(struct sq_source *s, struct sq_why *why)
{
    sq_err e = raw_fill(s, 1);
    if (e)
        return e;
    size_t n = s->raw_n - s->raw_at;
    if (n > s->out_cap - s->out_n)
        n = s->out_cap - s->out_n;
    if (!n && s->raw_end)
        s->end = true;
    memcpy(s->out + s->out_n, s->raw + s->raw_at, n);
    s->raw_at += n;
    return count_unpacked(s, n, why);
}

static sq_err unpack_gzip(struct sq_source *s, struct sq_why *why)
{
    sq_err e = raw_fill(s, 1);
    if (e)
        return e;
    if (s->raw_at == s->raw_n) {
        if (s->z_in_member || !s->n_packed)
            return cut(s, why, "the gzip data ends before its end mark");
        s->end = true;
        return SQ_OK;
    }
    s->z_in_member = true;
    s->z.next_in = s->raw + s->raw_at;
    s->z.avail_in = (uInt)(s->raw_n - s->raw_at);
    s->z.next_out = s->out + s->out_n;
    s->z.avail_out = (uInt)(s->out_cap - s->out_n > OUT_STEP ? OUT_STEP : s->out_cap - s->out_n);
    uInt room = s->z.avail_out;
    int r = inflate(&s->z, Z_NO_FLUSH);
    s->raw_at = s->raw_n - s->z.avail_in;
    if (r == Z_STREAM_END) {
        s->z_in_member = false;
        inflateReset(&s->z);
    } else if (r != Z_OK && r != Z_BUF_ERROR) {
        return sq_why_set(why, sq_fail(SQ_EGZIP), s->line_no, 0, "file", "the gzip data is damaged near byte %llu",
                          (unsigned long long)(s->n_packed - (s->raw_n - s->raw_at)));
    }
    return count_unpacked(s, room - s->z.avail_out, why);
}

static sq_err unpack_bgzf(struct sq_source *s, struct sq_why *why)
{
    sq_err e = raw_fill(s, BGZF_MAX_BLOCK);
    if (e)
        return e;
    const uint8_t *p = s->raw + s->raw_at;
    size_t n = s->raw_n - s->raw_at;
    uint64_t at = s->n_packed - n;
    if (!n) {
        if (!s->bgzf_saw_end)
            return cut(s, why, "the end block of bgzip is missing");
        s->end = true;
        return SQ_OK;
    }
    if (n < 18)
        return cut(s, why, "the last bgzip block is incomplete");
    if (!is_bgzf_header(p, n))
        return sq_why_set(why, sq_fail(SQ_EGZIP), s->line_no, 0, "file",
                          "no bgzip block where one should begin, at byte %llu", (unsigned long long)at);
    size_t block = (size_t)sq_get_le16(p + 16) + 1, head = 12 + (size_t)sq_get_le16(p + 10);
    if (block < head + 8)
        return sq_why_set(why, sq_fail(SQ_EGZIP), s->line_no, 0, "file", "bad block size at byte %llu",
                          (unsigned long long)at);
    if (n < block)
        return cut(s, why, "the last bgzip block is incomplete");
    uint32_t size = sq_get_le32(p + block - 4);
    size_t got = 0;
    if (size > BGZF_MAX_BLOCK ||
        libdeflate_deflate_decompress(s->bgzf, p + head, block - head - 8, s->out + s->out_n, size, &got) ||
        got != size || libdeflate_crc32(0, s->out + s->out_n, size) != sq_get_le32(p + block - 8))
        return sq_why_set(why, sq_fail(SQ_EGZIP), s->line_no, 0, "file", "damaged bgzip block at byte %llu",
                          (unsigned long long)at);
    s->bgzf_saw_end = size == 0;
    s->raw_at += block;
    return count_unpacked(s, size, why);
}

static sq_err out_reserve(struct sq_source *s, size_t want)
{
    if (s->out_at && s->out_at == s->out_n)
        s->out_at = s->out_n = 0;
    if (s->out_cap - s->out_at >= want + BGZF_MAX_BLOCK && s->out_cap - s->out_n >= BGZF_MAX_BLOCK)
        return SQ_OK;
    if (s->out_n > s->out_at)
        memmove(s->out, s->out + s->out_at, s->out_n - s->out_at);
    s->out_n -= s->out_at;
    s->out_at = 0;
    size_t cap = s->out_cap ? s->out_cap : 2 * OUT_STEP;
    while (cap < want + BGZF_MAX_BLOCK || cap - s->out_n < BGZF_MAX_BLOCK)
        cap *= 2;
    if (cap == s->out_cap)
        return SQ_OK;
    uint8_t *p = malloc(cap);
    if (!p)
        return sq_fail(SQ_ENOMEM);
    if (s->out) {
        memcpy(p, s->out, s->out_n);
        sq_wipe(s->out, s->out_cap);
        free(s->out);
    }
    s->out = p;
    s->out_cap = cap;
    return SQ_OK;
}

sq_err sq_source_fill(struct sq_source *s, size_t want, struct sq_why *why, struct sq_span *out)
{
    if (want > SQ_SOURCE_MAX_LINE)
        return sq_why_set(why, sq_fail(SQ_ELIMIT), s->line_no, 0, "record", "a record is larger than %zu bytes",
                          SQ_SOURCE_MAX_LINE);
    while (!s->end && s->out_n - s->out_at < want) {
        sq_err e = out_reserve(s, want);
        if (!e)
            e = s->packing == SQ_PACKING_PLAIN  ? unpack_plain(s, why)
                : s->packing == SQ_PACKING_GZIP ? unpack_gzip(s, why)
                                                : unpack_bgzf(s, why);
        if (e)
            return e;
    }
    *out = sq_span_of(s->out + s->out_at, s->out_n - s->out_at);
    return SQ_OK;
}

void sq_source_skip(struct sq_source *s, size_t n)
{
    sq_assert(n <= s->out_n - s->out_at);
    s->out_at += n;
}

sq_err sq_source_read(struct sq_source *s, void *p, size_t n, struct sq_why *why, size_t *out_n)
{
    struct sq_span ready;
    sq_err e = sq_source_fill(s, n, why, &ready);
    if (e)
        return e;
    size_t take = ready.n < n ? ready.n : n;
    if (take)
        memcpy(p, ready.p, take);
    sq_source_skip(s, take);
    *out_n = take;
    return SQ_OK;
}

sq_err sq_source_line(struct sq_source *s, struct sq_why *why, struct sq_span *out, bool *out_has_line)
{
    size_t seen = 0, want = 1;
    for (;;) {
        if (want > SQ_SOURCE_MAX_LINE)
            return sq_why_set(why, sq_fail(s->packing == SQ_PACKING_PLAIN ? SQ_ERECORD : SQ_EBOMB), s->line_no + 1, 0,
                              "line", "the line is longer than %zu bytes", SQ_SOURCE_MAX_LINE);
        struct sq_span ready;
        sq_err e = sq_source_fill(s, want, why, &ready);
        if (e)
            return e;
        const uint8_t *lf = ready.n > seen ? memchr(ready.p + seen, '\n', ready.n - seen) : NULL;
        if (lf) {
            size_t n = (size_t)(lf - ready.p);
            sq_source_skip(s, n + 1);
            s->line_no++;
            *out = sq_span_of(ready.p, n && ready.p[n - 1] == '\r' ? n - 1 : n);
            *out_has_line = true;
            return SQ_OK;
        }
        if (ready.n < want) {
            if (!ready.n) {
                *out_has_line = false;
                return SQ_OK;
            }
            return sq_why_set(why, sq_fail(SQ_ECUT), s->line_no + 1, 0, "line",
                              "the last line has no line end; if the file is complete, add one");
        }
        seen = ready.n;
        want = ready.n + 1;
    }
}
