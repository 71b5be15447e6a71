#include "lib/formats/tbi.h"

#include <stdlib.h>

#define N_BIN 37450U /* bins 0..37448 of the UCSC scheme; 37450 is htslib's pseudo-bin with counts */
#define PSEUDO_BIN 37450U
#define LINEAR_SHIFT 14
#define N_LINEAR (1U << (29 - LINEAR_SHIFT))

struct chunk {
    uint64_t from, to;
};

struct bin {
    uint32_t n, cap;
    struct chunk *chunk;
};

struct sq_tbi {
    char chrom[32];
    struct bin bin[N_BIN];
    uint64_t linear[N_LINEAR];
    bool linear_set[N_LINEAR];
    uint32_t n_linear;
    uint64_t first, last, n_record;
    int64_t last_beg;
};

sq_err sq_tbi_new(const char *chrom, struct sq_tbi **out)
{
    struct sq_tbi *t = calloc(1, sizeof *t);
    if (!t)
        return sq_fail(SQ_ENOMEM);
    sq_err e = sq_span_copy(sq_span_str(chrom), t->chrom, sizeof t->chrom);
    if (e)
        free(t);
    else
        *out = t;
    return e;
}

void sq_tbi_free(struct sq_tbi *t)
{
    if (!t)
        return;
    for (uint32_t i = 0; i < N_BIN; i++)
        free(t->bin[i].chunk);
    free(t);
}

/* reg2bin of the SAM specification */
static uint32_t bin_of(int64_t beg, int64_t end)
{
    uint64_t b = (uint64_t)beg, e = (uint64_t)end - 1;
    for (unsigned shift = 14, first = 4681, level = 0; level < 5; level++, shift += 3, first = (first - 1) / 8)
        if (b >> shift == e >> shift)
            return first + (uint32_t)(b >> shift);
    return 0;
}

static sq_err bin_add(struct bin *b, uint64_t from, uint64_t to)
{
    if (b->n && b->chunk[b->n - 1].to >> 16 == from >> 16) {
        b->chunk[b->n - 1].to = to; /* same block: one chunk */
        return SQ_OK;
    }
    if (b->n == b->cap) {
        uint32_t cap = b->cap ? b->cap * 2 : 4;
        struct chunk *p = realloc(b->chunk, cap * sizeof *p);
        if (!p)
            return sq_fail(SQ_ENOMEM);
        b->chunk = p;
        b->cap = cap;
    }
    b->chunk[b->n++] = (struct chunk){from, to};
    return SQ_OK;
}

sq_err sq_tbi_add(struct sq_tbi *t, int64_t beg0, int64_t end0, uint64_t from, uint64_t to)
{
    if (beg0 < t->last_beg || end0 <= beg0 || end0 > (1LL << 29))
        return sq_fail(SQ_ERANGE);
    sq_err e = bin_add(&t->bin[bin_of(beg0, end0)], from, to);
    if (e)
        return e;
    for (int64_t i = beg0 >> LINEAR_SHIFT; i <= (end0 - 1) >> LINEAR_SHIFT; i++) {
        if (!t->linear_set[i])
            t->linear[i] = from;
        t->linear_set[i] = true;
        if ((uint32_t)i + 1 > t->n_linear)
            t->n_linear = (uint32_t)i + 1;
    }
    if (!t->n_record++)
        t->first = from;
    t->last = to;
    t->last_beg = beg0;
    return SQ_OK;
}

static sq_err put32(struct sq_buf *out, uint32_t v)
{
    uint8_t b[4];
    sq_put_le32(b, v);
    return sq_buf_add(out, b, sizeof b);
}

static sq_err put64(struct sq_buf *out, uint64_t v)
{
    uint8_t b[8];
    sq_put_le64(b, v);
    return sq_buf_add(out, b, sizeof b);
}

#define UNSET UINT64_MAX /* in a part's linear index: no record touches this window */

static sq_err put_bins(const struct sq_tbi *t, struct sq_buf *out)
{
    uint32_t n_used = 1;
    for (uint32_t i = 0; i < N_BIN; i++)
        n_used += t->bin[i].n > 0;
    sq_err e = put32(out, n_used);
    for (uint32_t i = 0; i < N_BIN && !e; i++) {
        if (!t->bin[i].n)
            continue;
        e = put32(out, i);
        if (!e)
            e = put32(out, t->bin[i].n);
        for (uint32_t k = 0; k < t->bin[i].n && !e; k++) {
            e = put64(out, t->bin[i].chunk[k].from);
            if (!e)
                e = put64(out, t->bin[i].chunk[k].to);
        }
    }
    /* what `bcftools index --nrecords` reads: offsets of all records, then how many there are */
    const uint64_t pseudo[4] = {t->first, t->last, t->n_record, 0};
    if (!e)
        e = put32(out, PSEUDO_BIN);
    if (!e)
        e = put32(out, 2);
    for (int i = 0; i < 4 && !e; i++)
        e = put64(out, pseudo[i]);
    return e;
}

static sq_err write_index(const struct sq_tbi *t, bool is_part, struct sq_buf *out)
{
    const uint32_t n_name = (uint32_t)strlen(t->chrom) + 1;
    /* n_ref, format 2 (VCF), columns of name, begin and end, comment sign, lines to skip, length of the names */
    const uint32_t head[] = {1, 2, 1, 2, 0, '#', 0, n_name};
    sq_err e = sq_buf_add(out, "TBI\1", 4);
    for (size_t i = 0; i < sizeof head / sizeof head[0] && !e; i++)
        e = put32(out, head[i]);
    if (!e)
        e = sq_buf_add(out, t->chrom, n_name);
    if (!e)
        e = put_bins(t, out);
    if (!e)
        e = put32(out, t->n_linear);
    uint64_t offset = t->first; /* windows without a record point at what was there before them */
    for (uint32_t i = 0; i < t->n_linear && !e; i++) {
        if (t->linear_set[i])
            offset = t->linear[i];
        e = put64(out, is_part && !t->linear_set[i] ? UNSET : offset);
    }
    return e ? e : put64(out, 0); /* records without a coordinate */
}

sq_err sq_tbi_write(const struct sq_tbi *t, struct sq_buf *out)
{
    return write_index(t, false, out);
}

sq_err sq_tbi_write_part(const struct sq_tbi *t, struct sq_buf *out)
{
    return write_index(t, true, out);
}

/* ---- joining ------------------------------------------------------------------------------------------------------- */

struct walk {
    const uint8_t *p;
    size_t n, at;
    uint64_t by;
};

static bool get32(struct walk *w, uint32_t *out)
{
    if (w->n - w->at < 4)
        return false;
    *out = sq_get_le32(w->p + w->at);
    w->at += 4;
    return true;
}

static bool get_offset(struct walk *w, uint64_t *out)
{
    if (w->n - w->at < 8)
        return false;
    uint64_t v = sq_get_le64(w->p + w->at);
    if (v >> 16 > (UINT64_MAX >> 16) - w->by)
        return false;
    *out = v + (w->by << 16);
    w->at += 8;
    return true;
}

/* The fixed head and the name; @w stands behind them. */
static bool get_head(struct walk *w, struct sq_span *out_chrom)
{
    static const uint32_t want[] = {1, 2, 1, 2, 0, '#', 0};
    if (w->n < 4 || memcmp(w->p, "TBI\1", 4))
        return false;
    w->at = 4;
    uint32_t v;
    for (size_t i = 0; i < sizeof want / sizeof want[0]; i++)
        if (!get32(w, &v) || v != want[i])
            return false;
    if (!get32(w, &v) || v < 2 || v > w->n - w->at || memchr(w->p + w->at, 0, v) != w->p + w->at + v - 1)
        return false;
    *out_chrom = sq_span_of(w->p + w->at, v - 1);
    w->at += v;
    return true;
}

/* What `bcftools index --nrecords` reads: the first and the last offset, the number of records. */
static bool join_pseudo(struct sq_tbi *t, struct walk *w, uint32_t n_chunk)
{
    uint64_t first, last;
    if (n_chunk != 2 || !get_offset(w, &first) || !get_offset(w, &last) || w->n - w->at < 16)
        return false;
    uint64_t n_record = sq_get_le64(w->p + w->at);
    w->at += 16;
    if (n_record > UINT64_MAX - t->n_record)
        return false;
    if (n_record && !t->n_record)
        t->first = first;
    if (n_record)
        t->last = last;
    t->n_record += n_record;
    return true;
}

static sq_err join_bins(struct sq_tbi *t, struct walk *w)
{
    uint32_t n_bin, bin, n_chunk, n_pseudo = 0;
    if (!get32(w, &n_bin) || n_bin > N_BIN + 1)
        return sq_fail(SQ_EFORMAT);
    for (uint32_t i = 0; i < n_bin; i++) {
        if (!get32(w, &bin) || !get32(w, &n_chunk) || n_chunk > w->n / 16 || (bin >= N_BIN && (bin != PSEUDO_BIN || n_pseudo++)))
            return sq_fail(SQ_EFORMAT);
        if (bin == PSEUDO_BIN) {
            if (!join_pseudo(t, w, n_chunk))
                return sq_fail(SQ_EFORMAT);
            continue;
        }
        for (uint32_t k = 0; k < n_chunk; k++) {
            uint64_t from, to;
            if (!get_offset(w, &from) || !get_offset(w, &to))
                return sq_fail(SQ_EFORMAT);
            sq_err e = bin_add(&t->bin[bin], from, to);
            if (e)
                return e;
        }
    }
    return SQ_OK;
}

sq_err sq_tbi_join(struct sq_tbi *t, const uint8_t *p, size_t n, uint64_t by)
{
    struct walk w = {.p = p, .n = n, .by = by};
    struct sq_span chrom;
    uint64_t offset;
    uint32_t n_linear;
    if (by >> 48 || !get_head(&w, &chrom) || chrom.n != strlen(t->chrom) || memcmp(chrom.p, t->chrom, chrom.n))
        return sq_fail(SQ_EFORMAT);
    sq_err e = join_bins(t, &w);
    if (e)
        return e;
    if (!get32(&w, &n_linear) || n_linear > N_LINEAR)
        return sq_fail(SQ_EFORMAT);
    for (uint32_t i = 0; i < n_linear; i++) {
        if (w.n - w.at >= 8 && sq_get_le64(w.p + w.at) == UNSET) {
            w.at += 8;
            continue;
        }
        if (!get_offset(&w, &offset))
            return sq_fail(SQ_EFORMAT);
        if (t->linear_set[i])
            continue; /* a record that began before this part points further back */
        t->linear[i] = offset;
        t->linear_set[i] = true;
        if (i + 1 > t->n_linear)
            t->n_linear = i + 1;
    }
    return n - w.at == 8 ? SQ_OK : sq_fail(SQ_EFORMAT);
}

sq_err sq_tbi_new_like(const uint8_t *p, size_t n, struct sq_tbi **out)
{
    struct walk w = {.p = p, .n = n};
    struct sq_span chrom;
    char name[32];
    if (!get_head(&w, &chrom) || sq_span_copy(chrom, name, sizeof name))
        return sq_fail(SQ_EFORMAT);
    return sq_tbi_new(name, out);
}
