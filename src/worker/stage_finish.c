/*
 * finish: the names come back. Out of the sample names, the impute stage's header lines and its index come the complete VCF
 * header as BGZF blocks, and the index shifted by their length. header | body is then a .vcf.gz, and the genotypes
 * in the body never met a name in any process.
 */
#include "worker/worker.h"

#include "lib/core/file.h"
#include "lib/formats/bgzf_out.h"
#include "lib/formats/tbi.h"
#include "worker/result.h"

#include <stdlib.h>

#define IDS_MAX_BYTES ((size_t)256 << 20)
#define INDEX_MAX_BYTES ((size_t)256 << 20)
#define META_MAX_BYTES ((size_t)1 << 20)

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

/* Lines "##key=value", printable, each ended; nothing that could pass for a column line. */
static bool meta_ok(const struct sq_buf *meta)
{
    bool at_start = true;
    for (size_t i = 0; i < meta->n; i++) {
        if (at_start && (meta->n - i < 4 || meta->p[i] != '#' || meta->p[i + 1] != '#'))
            return false;
        at_start = meta->p[i] == '\n';
        if (!at_start && (meta->p[i] < 32 || meta->p[i] > 126))
            return false;
    }
    return meta->n > 0 && at_start && !memcmp(meta->p, "##fileformat=VCFv4", 18 < meta->n ? 18 : meta->n);
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
    sq_err e = sq_bgzf_out_open(w->port[3], &out);
    if (e)
        return e;
    e = sq_bgzf_out_put(out, text->p, text->n);
    if (e) {
        sq_bgzf_out_drop(out);
        return e;
    }
    return sq_bgzf_out_close(out, false, out_n_packed);
}

static sq_err write_index(struct worker *w, struct sq_buf *index, uint64_t by)
{
    uint8_t *tbi = index->p + RESULT_INDEX_HEAD_BYTES;
    size_t n = index->n - RESULT_INDEX_HEAD_BYTES;
    if (sq_tbi_shift(tbi, n, by))
        return broken(w, "index");
    struct sq_bgzf_out *out = NULL;
    sq_err e = sq_bgzf_out_open(w->port[4], &out);
    if (e)
        return e;
    e = sq_bgzf_out_put(out, tbi, n);
    if (e) {
        sq_bgzf_out_drop(out);
        return e;
    }
    return sq_bgzf_out_close(out, true, NULL);
}

sq_err stage_finish(struct worker *w)
{
    struct sq_buf ids = {0}, index = {0}, meta = {0}, text;
    sq_buf_init(&text, 0);
    uint64_t n_packed = 0, n_sample = 0;
    sq_err e = read_all(w->port[0], IDS_MAX_BYTES, &ids);
    if (!e)
        e = read_all(w->port[1], INDEX_MAX_BYTES, &index);
    if (!e)
        e = read_all(w->port[2], META_MAX_BYTES, &meta);
    if (!e && (index.n < RESULT_INDEX_HEAD_BYTES || memcmp(index.p, RESULT_INDEX_MAGIC, 8)))
        e = broken(w, "index");
    if (!e && !meta_ok(&meta))
        e = broken(w, "meta");
    if (!e) {
        n_sample = sq_get_le64(index.p + 8);
        e = sq_buf_add(&text, meta.p, meta.n);
    }
    if (!e)
        e = sq_buf_addf(&text, "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT");
    if (!e)
        e = add_ids(w, &ids, n_sample, &text);
    if (!e)
        e = sq_buf_add(&text, "\n", 1);
    if (!e)
        e = write_header(w, &text, &n_packed);
    if (!e)
        e = write_index(w, &index, n_packed);
    w->counts.n_sample = n_sample;
    sq_buf_done(&ids);
    sq_buf_done(&index);
    sq_buf_done(&meta);
    sq_buf_done(&text);
    return e;
}
