#include "lib/formats/part.h"

#define MAGIC "sqindex3"
#define HEAD_BYTES 48U

sq_err sq_part_write(const struct sq_part *part, struct sq_buf *out)
{
    uint8_t head[HEAD_BYTES];
    memcpy(head, MAGIC, 8);
    sq_put_le64(head + 8, (uint64_t)part->container << 8 | (uint64_t)part->track);
    sq_put_le64(head + 16, part->n_sample);
    sq_put_le64(head + 24, part->body_bytes);
    sq_put_le64(head + 32, part->meta.n);
    sq_put_le64(head + 40, part->index.n);
    sq_err e = sq_buf_add(out, head, sizeof head);
    if (!e)
        e = sq_buf_add(out, part->meta.p, part->meta.n);
    return e ? e : sq_buf_add(out, part->index.p, part->index.n);
}

bool sq_part_next(const struct sq_buf *port, size_t *at, struct sq_part *out)
{
    if (*at > port->n || port->n - *at < HEAD_BYTES || memcmp(port->p + *at, MAGIC, 8))
        return false;
    const uint8_t *p = port->p + *at;
    size_t left = port->n - *at - HEAD_BYTES;
    uint64_t kind = sq_get_le64(p + 8), n_meta = sq_get_le64(p + 32), n_index = sq_get_le64(p + 40);
    if ((kind & 0xff) >= SQ_ROWS_N_TRACK || kind >> 8 > SQ_ROWS_BCF || n_meta > SQ_PART_META_MAX || n_meta > left ||
        n_index > left - n_meta || n_index > UINT32_MAX)
        return false;
    *out = (struct sq_part){.track = (enum sq_rows_track)(kind & 0xff),
                            .container = (enum sq_rows_container)(kind >> 8),
                            .n_sample = sq_get_le64(p + 16),
                            .body_bytes = sq_get_le64(p + 24),
                            .meta = sq_span_of(p + HEAD_BYTES, (size_t)n_meta),
                            .index = sq_span_of(p + HEAD_BYTES + n_meta, (size_t)n_index)};
    *at += HEAD_BYTES + (size_t)(n_meta + n_index);
    return true;
}

/* Lines "##key=value", printable, each ended; nothing that could pass for a column line. */
static bool meta_ok(struct sq_span meta)
{
    bool at_start = true;
    for (size_t i = 0; i < meta.n; i++) {
        if (at_start && (meta.n - i < 4 || meta.p[i] != '#' || meta.p[i + 1] != '#'))
            return false;
        at_start = meta.p[i] == '\n';
        if (!at_start && (meta.p[i] < 32 || meta.p[i] > 126))
            return false;
    }
    return meta.n > 18 && at_start && !memcmp(meta.p, "##fileformat=VCFv4", 18);
}

sq_err sq_part_header(const struct sq_part *part, const struct sq_buf *columns, struct sq_buf *out)
{
    static const char fixed[] = "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO";
    if (!meta_ok(part->meta))
        return sq_fail(SQ_EFORMAT);
    uint8_t head[9] = "BCF\2\2";
    size_t n_text = part->meta.n + sizeof fixed - 1 + (columns->n ? 7 + columns->n : 0) + 2; /* with LF and NUL */
    if (n_text > INT32_MAX)
        return sq_fail(SQ_ELIMIT);
    sq_put_le32(head + 5, (uint32_t)n_text);
    sq_err e = part->container == SQ_ROWS_BCF ? sq_buf_add(out, head, sizeof head) : SQ_OK;
    if (!e)
        e = sq_buf_add(out, part->meta.p, part->meta.n);
    if (!e)
        e = sq_buf_add(out, fixed, sizeof fixed - 1);
    if (!e && columns->n)
        e = sq_buf_add(out, "\tFORMAT", 7);
    if (!e)
        e = sq_buf_add(out, columns->p, columns->n);
    return e ? e : sq_buf_add(out, "\n", part->container == SQ_ROWS_BCF ? 2 : 1);
}
