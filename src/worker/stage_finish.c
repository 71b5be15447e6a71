/*
 * finish: the names come back. Out of the sample names and what each chunk's impute stage left on its index port come the
 * complete header of the VCF or BCF as BGZF blocks, and one index over header and bodies. header | body | body ... is then a
 * .vcf.gz or .bcf, and the genotypes in the bodies never met a name in any process.
 */
#include "worker/worker.h"

#include "lib/core/file.h"
#include "lib/formats/bgzf_out.h"
#include "lib/formats/index.h"
#include "lib/formats/part.h"

#include <stdlib.h>

#define IDS_MAX_BYTES ((size_t)256 << 20)
#define INDEX_MAX_BYTES ((size_t)256 << 20)

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

/* A .tbi where it can be one, for every reader knows it. */
static sq_err write_index(struct worker *w, const struct sq_index *index, enum sq_rows_container container)
{
    bool is_csi = w->choice.wants_csi || sq_index_end(index) > SQ_INDEX_TBI_MAX;
    enum sq_index_kind kind = container == SQ_ROWS_BCF ? SQ_INDEX_CSI_BCF : is_csi ? SQ_INDEX_CSI_VCF : SQ_INDEX_TBI;
    struct sq_bgzf_out *out = NULL;
    struct sq_buf text;
    sq_buf_init(&text, 0);
    w->counts.format = kind == SQ_INDEX_TBI ? WORKER_INDEX_TBI : WORKER_INDEX_CSI;
    w->has_counts = true;
    sq_err e = sq_index_write(index, kind, &text);
    if (!e)
        e = sq_bgzf_out_open(w->port[3], &out);
    if (!e)
        e = sq_bgzf_out_put(out, text.p, text.n);
    sq_buf_done(&text);
    if (e) {
        sq_bgzf_out_drop(out);
        return e;
    }
    return sq_bgzf_out_close(out, true, NULL);
}

/* Parts of one job agree in everything but their place. */
static bool parts_agree(const struct sq_part *a, const struct sq_part *b)
{
    return a->track == b->track && a->container == b->container && a->n_sample == b->n_sample && sq_span_eq(a->meta, b->meta);
}

/* One index of all parts; @at: where in the file the first body begins. */
static sq_err join_index(struct worker *w, const struct sq_buf *port, uint64_t at, struct sq_index **out)
{
    struct sq_part first, part;
    size_t place = 0;
    sq_err e = SQ_OK;
    while (place < port->n && !e) {
        bool is_first = place == 0;
        if (!sq_part_next(port, &place, &part))
            return broken(w, "index");
        if (is_first) {
            first = part;
            e = sq_index_new_like(part.index.p, part.index.n, out);
        } else if (!parts_agree(&part, &first)) {
            return broken(w, "index");
        }
        if (!e)
            e = sq_index_join(*out, part.index.p, part.index.n, at);
        if (!e && part.body_bytes >> 48)
            e = sq_fail(SQ_EFORMAT);
        at += part.body_bytes;
    }
    return e == SQ_EFORMAT ? broken(w, "index") : e;
}

/* The complete header: what the chunks wrote, and the columns with the names. The sites track has no samples, and its ids are not read. */
static sq_err make_header(struct worker *w, const struct sq_part *first, struct sq_buf *text)
{
    struct sq_buf ids = {0}, columns;
    sq_buf_init(&columns, 0);
    sq_err e = first->n_sample ? read_all(w->port[0], IDS_MAX_BYTES, &ids) : SQ_OK;
    if (!e && first->n_sample)
        e = add_ids(w, &ids, first->n_sample, &columns);
    if (!e)
        e = sq_part_header(first, &columns, text);
    sq_buf_done(&ids);
    sq_buf_done(&columns);
    return e == SQ_EFORMAT ? broken(w, "index") : e;
}

sq_err stage_finish(struct worker *w)
{
    struct sq_buf index = {0}, text;
    struct sq_part first = {.n_sample = 0};
    struct sq_index *joined = NULL;
    size_t place = 0;
    uint64_t n_packed = 0;
    sq_buf_init(&text, 0);
    sq_err e = read_all(w->port[1], INDEX_MAX_BYTES, &index);
    if (!e && !sq_part_next(&index, &place, &first))
        e = broken(w, "index");
    if (!e)
        e = make_header(w, &first, &text);
    if (!e)
        e = write_header(w, &text, &n_packed);
    if (!e)
        e = join_index(w, &index, n_packed, &joined);
    if (!e)
        e = write_index(w, joined, first.container);
    w->counts.n_sample = first.n_sample;
    sq_index_free(joined);
    sq_buf_done(&index);
    sq_buf_done(&text);
    return e;
}
