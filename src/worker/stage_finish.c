/*
 * finish: the names come back. Out of the sample names and what each chunk's impute stage left on its index port come the
 * complete VCF header as BGZF blocks, and one index over header and bodies. header | body | body ... is then a .vcf.gz,
 * and the genotypes in the bodies never met a name in any process.
 */
#include "worker/worker.h"

#include "lib/core/file.h"
#include "lib/formats/bgzf_out.h"
#include "lib/formats/tbi.h"
#include "worker/result.h"

#include <stdlib.h>

#define IDS_MAX_BYTES ((size_t)256 << 20)
#define INDEX_MAX_BYTES ((size_t)256 << 20)
#define META_MAX_BYTES ((uint64_t)1 << 20)

/* Everything on a port, with a maximum. */
static sq_err read_all(int fd, size_t max, struct sq_buf *out)
{
    sq_buf_init(out, max);
    for (;;) {
        size_t got = 0;
        sq_err e = sq_buf_reserve(out, 1);
        if (!e)
            e = sq_read_full(fd, out->p + out->n, out->cap - out->n < max - out->n ? out->cap - out->n : max - out->n,
                             &got);
        if (e)
            return e;
        if (!got)
            return SQ_OK;
        out->n += got;
    }
}

static sq_err broken(struct worker *w, const char *port)
{
    return sq_why_set(&w->why, sq_fail(SQ_EPROTO), 0, 0, port, "what an earlier stage wrote on this port is damaged");
}

/* What one chunk left on its index port; spans of the whole port. */
struct part {
    uint64_t n_sample, body_bytes;
    struct sq_span meta, tbi;
};

/* The next part of the joined port: *at moves behind it. */
static bool next_part(const struct sq_buf *port, size_t *at, struct part *out)
{
    const uint8_t *p = port->p + *at;
    size_t left = port->n - *at;
    if (left < RESULT_INDEX_HEAD_BYTES || memcmp(p, RESULT_INDEX_MAGIC, 8))
        return false;
    uint64_t n_meta = sq_get_le64(p + 24), n_tbi = sq_get_le64(p + 32);
    left -= RESULT_INDEX_HEAD_BYTES;
    if (n_meta > META_MAX_BYTES || n_meta > left || n_tbi > left - n_meta)
        return false;
    *out = (struct part){.n_sample = sq_get_le64(p + 8),
                         .body_bytes = sq_get_le64(p + 16),
                         .meta = sq_span_of(p + RESULT_INDEX_HEAD_BYTES, (size_t)n_meta),
                         .tbi = sq_span_of(p + RESULT_INDEX_HEAD_BYTES + n_meta, (size_t)n_tbi)};
    *at += RESULT_INDEX_HEAD_BYTES + (size_t)(n_meta + n_tbi);
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

/* "sequester-ids/v1 N", then N lines; appended to @line as columns. */
static sq_err add_ids(struct worker *w, const struct sq_buf *ids, uint64_t n_sample, struct sq_buf *line)
{
    static const char head[] = "sequester-ids/v1 ";
    const uint8_t *p = ids->p, *end = ids->p + ids->n;
    if (ids->n < sizeof head || memcmp(p, head, sizeof head - 1))
        return broken(w, "ids");
    uint64_t n = 0;
    for (p += sizeof head - 1; p < end && *p >= '0' && *p <= '9' && n < UINT32_MAX; p++)
        n = n * 10 + (uint64_t)(*p - '0');
    if (p == end || *p++ != '\n' || n != n_sample)
        return broken(w, "ids");
    for (uint64_t i = 0; i < n; i++) {
        const uint8_t *lf = p < end ? memchr(p, '\n', (size_t)(end - p)) : NULL;
        if (!lf || lf == p || lf - p > (ptrdiff_t)SQ_SAMPLE_ID_MAX)
            return broken(w, "ids");
        for (const uint8_t *c = p; c < lf; c++)
            if (*c < 32 || *c == 127)
                return broken(w, "ids");
        sq_err e = sq_buf_add(line, "\t", 1);
        if (!e)
            e = sq_buf_add(line, p, (size_t)(lf - p));
        if (e)
            return e;
        p = lf + 1;
    }
    return p == end ? SQ_OK : broken(w, "ids");
}

static sq_err write_header(struct worker *w, const struct sq_buf *text, uint64_t *out_n_packed)
{
    struct sq_bgzf_out *out = NULL;
    sq_err e = sq_bgzf_out_open(w->port[2], &out);
    if (e)
        return e;
    e = sq_bgzf_out_put(out, text->p, text->n);
    if (e) {
        sq_bgzf_out_drop(out);
        return e;
    }
    return sq_bgzf_out_close(out, false, out_n_packed);
}

static sq_err write_index(struct worker *w, const struct sq_tbi *index)
{
    struct sq_bgzf_out *out = NULL;
    struct sq_buf tbi;
    sq_buf_init(&tbi, 0);
    sq_err e = sq_tbi_write(index, &tbi);
    if (!e)
        e = sq_bgzf_out_open(w->port[3], &out);
    if (!e)
        e = sq_bgzf_out_put(out, tbi.p, tbi.n);
    sq_buf_done(&tbi);
    if (e) {
        sq_bgzf_out_drop(out);
        return e;
    }
    return sq_bgzf_out_close(out, true, NULL);
}

/* One index of all parts; @at: where in the file the first body begins. Parts of one job agree in everything but their place. */
static sq_err join_index(struct worker *w, const struct sq_buf *port, uint64_t at, struct sq_tbi **out)
{
    struct part first, part;
    size_t place = 0;
    sq_err e = SQ_OK;
    while (place < port->n && !e) {
        bool is_first = place == 0;
        if (!next_part(port, &place, &part))
            return broken(w, "index");
        if (is_first) {
            first = part;
            e = sq_tbi_new_like(part.tbi.p, part.tbi.n, out);
        } else if (part.n_sample != first.n_sample || part.meta.n != first.meta.n || memcmp(part.meta.p, first.meta.p, first.meta.n)) {
            return broken(w, "index");
        }
        if (!e)
            e = sq_tbi_join(*out, part.tbi.p, part.tbi.n, at);
        if (!e && part.body_bytes >> 48)
            e = sq_fail(SQ_EFORMAT);
        at += part.body_bytes;
    }
    return e == SQ_EFORMAT ? broken(w, "index") : e;
}

/* The complete header: what the chunks wrote, and the columns with the names. */
static sq_err make_header(struct worker *w, const struct sq_buf *ids, const struct part *first, struct sq_buf *text)
{
    if (!meta_ok(first->meta))
        return broken(w, "index");
    sq_err e = sq_buf_add(text, first->meta.p, first->meta.n);
    if (!e)
        e = sq_buf_addf(text, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT");
    if (!e)
        e = add_ids(w, ids, first->n_sample, text);
    return e ? e : sq_buf_add(text, "\n", 1);
}

sq_err stage_finish(struct worker *w)
{
    struct sq_buf ids = {0}, index = {0}, text;
    struct part first = {.n_sample = 0};
    struct sq_tbi *tbi = NULL;
    size_t place = 0;
    uint64_t n_packed = 0;
    sq_buf_init(&text, 0);
    sq_err e = read_all(w->port[0], IDS_MAX_BYTES, &ids);
    if (!e)
        e = read_all(w->port[1], INDEX_MAX_BYTES, &index);
    if (!e && !next_part(&index, &place, &first))
        e = broken(w, "index");
    if (!e)
        e = make_header(w, &ids, &first, &text);
    if (!e)
        e = write_header(w, &text, &n_packed);
    if (!e)
        e = join_index(w, &index, n_packed, &tbi);
    if (!e)
        e = write_index(w, tbi);
    w->counts.n_sample = first.n_sample;
    sq_tbi_free(tbi);
    sq_buf_done(&ids);
    sq_buf_done(&index);
    sq_buf_done(&text);
    return e;
}
