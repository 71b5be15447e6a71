#include "lib/formats/index.h"

#include <stdlib.h>

#define SHIFT 14 /* bottom bins are 16 kb */
#define DEPTH 6  /* levels below the root, which spans 2^32 */
#define TBI_DEPTH 5
#define BINS_TO(depth) (((1U << 3 * ((depth) + 1)) - 1) / 7) /* bins of all levels down to @depth */
#define N_BIN BINS_TO(DEPTH)
#define N_LINEAR (1U << (32 - SHIFT))
#define UNSET UINT64_MAX /* in a part's linear index: no record touches this window */
#define CHROM_MAX 32

struct chunk {
    uint64_t from, to;
};

struct bin {
    uint32_t n, cap;
    struct chunk *chunk;
};

/* Three megabytes of address space, of which a chromosome of a human touches a tenth. */
struct sq_index {
    char chrom[CHROM_MAX];
    struct bin bin[N_BIN];
    uint64_t linear[N_LINEAR]; /* by windows of 16 kb: the first record that touches it, + 1; 0: none */
    uint32_t n_linear;
    uint64_t first, last, n_record;
    int64_t last_beg, end;
};

sq_err sq_index_new(const char *chrom, struct sq_index **out)
{
    struct sq_index *t = calloc(1, sizeof *t);
    if (!t)
        return sq_fail(SQ_ENOMEM);
    sq_err e = sq_span_copy(sq_span_str(chrom), t->chrom, sizeof t->chrom);
    if (e)
        free(t);
    else
        *out = t;
    return e;
}

void sq_index_free(struct sq_index *t)
{
    if (!t)
        return;
    for (uint32_t i = 0; i < N_BIN; i++)
        free(t->bin[i].chunk);
    free(t);
}

int64_t sq_index_end(const struct sq_index *t)
{
    return t->end;
}

/* reg2bin of the CSI specification: the smallest bin that holds all of [beg, end) */
static uint32_t bin_of(int64_t beg, int64_t end)
{
    uint64_t b = (uint64_t)beg, e = (uint64_t)end - 1;
    for (int level = DEPTH, shift = SHIFT; level > 0; level--, shift += 3)
        if (b >> shift == e >> shift)
            return BINS_TO(level - 1) + (uint32_t)(b >> shift);
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

sq_err sq_index_add(struct sq_index *t, int64_t beg0, int64_t end0, uint64_t from, uint64_t to)
{
    if (beg0 < t->last_beg || end0 <= beg0 || end0 > SQ_INDEX_MAX)
        return sq_fail(SQ_ERANGE);
    sq_err e = bin_add(&t->bin[bin_of(beg0, end0)], from, to);
    if (e)
        return e;
    uint32_t last = (uint32_t)((end0 - 1) >> SHIFT);
    for (uint32_t i = (uint32_t)(beg0 >> SHIFT); i <= last; i++)
        if (!t->linear[i])
            t->linear[i] = from + 1;
    if (last + 1 > t->n_linear)
        t->n_linear = last + 1;
    if (!t->n_record++)
        t->first = from;
    t->last = to;
    t->last_beg = beg0;
    if (end0 > t->end)
        t->end = end0;
    return SQ_OK;
}

/* ---- writing ------------------------------------------------------------------------------------------------------- */

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

static sq_err put_chunks(const struct bin *b, struct sq_buf *out)
{
    sq_err e = put32(out, b->n);
    for (uint32_t k = 0; k < b->n && !e; k++) {
        e = put64(out, b->chunk[k].from);
        if (!e)
            e = put64(out, b->chunk[k].to);
    }
    return e;
}

/* Format 2 (VCF), columns of name, begin and end, comment sign, lines to skip, length of the names, the name */
static sq_err put_columns(const struct sq_index *t, struct sq_buf *out)
{
    const uint32_t n_name = (uint32_t)strlen(t->chrom) + 1;
    const uint32_t head[] = {2, 1, 2, 0, '#', 0, n_name};
    sq_err e = SQ_OK;
    for (size_t i = 0; i < sizeof head / sizeof head[0] && !e; i++)
        e = put32(out, head[i]);
    return e ? e : sq_buf_add(out, t->chrom, n_name);
}

static sq_err put_head(const struct sq_index *t, enum sq_index_kind kind, unsigned depth, struct sq_buf *out)
{
    sq_err e;
    if (kind == SQ_INDEX_TBI) {
        e = sq_buf_add(out, "TBI\1", 4);
        if (!e)
            e = put32(out, 1);
        return e ? e : put_columns(t, out);
    }
    e = sq_buf_add(out, "CSI\1", 4);
    if (!e)
        e = put32(out, SHIFT);
    if (!e)
        e = put32(out, depth);
    if (!e)
        e = put32(out, kind == SQ_INDEX_CSI_VCF ? 28 + (uint32_t)strlen(t->chrom) + 1 : 0);
    if (!e && kind == SQ_INDEX_CSI_VCF)
        e = put_columns(t, out);
    return e ? e : put32(out, 1);
}

/* [n_linear + 1] The first record that touches a window or one behind it. To be freed. */
static uint64_t *offsets_from(const struct sq_index *t)
{
    uint64_t *from = malloc(((size_t)t->n_linear + 1) * sizeof *from);
    if (!from)
        return NULL;
    from[t->n_linear] = 0;
    for (uint32_t i = t->n_linear; i--;)
        from[i] = t->linear[i] ? t->linear[i] - 1 : from[i + 1];
    return from;
}

/* Bins, those of the levels that the file doesn't have left out: they are empty, for the records end before. */
static sq_err put_bins(const struct sq_index *t, const uint64_t *offset, unsigned depth, struct sq_buf *out)
{
    /* one level fewer: of each level the first eighth, one level up */
    uint32_t n_used = 1, top = depth == DEPTH ? 0 : 1;
    for (uint32_t i = top; i < N_BIN; i++)
        n_used += t->bin[i].n > 0;
    sq_err e = put32(out, n_used);
    int level = (int)top;
    for (uint32_t i = top; i < N_BIN && !e; i++) {
        while (i >= BINS_TO(level))
            level++;
        if (!t->bin[i].n)
            continue;
        uint32_t below = level ? BINS_TO(level - 1) : 0, no = i;
        if (top)
            no = i - below + (level > 1 ? BINS_TO(level - 2) : 0);
        e = put32(out, no);
        if (!e && offset) { /* loffset: the first record that touches the bin's first window, or one behind it */
            uint32_t window = (i - below) << 3 * (DEPTH - level);
            e = put64(out, offset[window < t->n_linear ? window : t->n_linear]);
        }
        if (!e)
            e = put_chunks(&t->bin[i], out);
    }
    /* what `bcftools index --nrecords` reads: offsets of all records, then how many there are */
    const uint64_t pseudo[4] = {t->first, t->last, t->n_record, 0};
    if (!e)
        e = put32(out, BINS_TO(depth) + 1);
    if (!e && offset)
        e = put64(out, 0);
    if (!e)
        e = put32(out, 2);
    for (int i = 0; i < 4 && !e; i++)
        e = put64(out, pseudo[i]);
    return e;
}

sq_err sq_index_write(const struct sq_index *t, enum sq_index_kind kind, struct sq_buf *out)
{
    bool is_long = t->end > SQ_INDEX_TBI_MAX;
    if (kind == SQ_INDEX_TBI && is_long)
        return sq_fail(SQ_ERANGE);
    unsigned depth = is_long ? DEPTH : TBI_DEPTH;
    uint64_t *from = kind == SQ_INDEX_TBI ? NULL : offsets_from(t);
    sq_err e = kind == SQ_INDEX_TBI || from ? SQ_OK : sq_fail(SQ_ENOMEM);
    if (!e)
        e = put_head(t, kind, depth, out);
    if (!e)
        e = put_bins(t, from, depth, out);
    free(from);
    if (!e && kind == SQ_INDEX_TBI)
        e = put32(out, t->n_linear);
    uint64_t offset = t->first; /* windows without a record point at what was there before them */
    for (uint32_t i = 0; i < t->n_linear && kind == SQ_INDEX_TBI && !e; i++) {
        if (t->linear[i])
            offset = t->linear[i] - 1;
        e = put64(out, offset);
    }
    return e ? e : put64(out, 0); /* records without a coordinate */
}

/* ---- parts ------------------------------------------------------------------------------------------------------------ */

sq_err sq_index_write_part(const struct sq_index *t, struct sq_buf *out)
{
    uint32_t n_name = (uint32_t)strlen(t->chrom), n_bin = 0, from = 0;
    for (uint32_t i = 0; i < N_BIN; i++)
        n_bin += t->bin[i].n > 0;
    while (from < t->n_linear && !t->linear[from])
        from++;
    sq_err e = put32(out, n_name);
    if (!e)
        e = sq_buf_add(out, t->chrom, n_name);
    const uint64_t sums[] = {t->first, t->last, t->n_record, (uint64_t)t->last_beg, (uint64_t)t->end};
    for (size_t i = 0; i < sizeof sums / sizeof sums[0] && !e; i++)
        e = put64(out, sums[i]);
    if (!e)
        e = put32(out, n_bin);
    for (uint32_t i = 0; i < N_BIN && !e; i++) {
        if (!t->bin[i].n)
            continue;
        e = put32(out, i);
        if (!e)
            e = put_chunks(&t->bin[i], out);
    }
    if (!e)
        e = put32(out, from);
    if (!e)
        e = put32(out, t->n_linear - from);
    for (uint32_t i = from; i < t->n_linear && !e; i++)
        e = put64(out, t->linear[i] ? t->linear[i] - 1 : UNSET);
    return e;
}

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

static bool get64(struct walk *w, uint64_t *out)
{
    if (w->n - w->at < 8)
        return false;
    *out = sq_get_le64(w->p + w->at);
    w->at += 8;
    return true;
}

static bool get_offset(struct walk *w, uint64_t *out)
{
    uint64_t v;
    if (!get64(w, &v) || v >> 16 >= (UINT64_MAX >> 16) - w->by)
        return false;
    *out = v + (w->by << 16);
    return true;
}

static bool get_chrom(struct walk *w, char out[CHROM_MAX])
{
    uint32_t n;
    if (!get32(w, &n) || !n || n >= CHROM_MAX || n > w->n - w->at || memchr(w->p + w->at, 0, n))
        return false;
    memcpy(out, w->p + w->at, n);
    out[n] = 0;
    w->at += n;
    return true;
}

/* The sums; those of @t move on. */
static bool join_sums(struct sq_index *t, struct walk *w, uint64_t *out_n_record)
{
    uint64_t first, last, n_record, last_beg, end;
    if (!get_offset(w, &first) || !get_offset(w, &last) || !get64(w, &n_record) || !get64(w, &last_beg) || !get64(w, &end) ||
        n_record > UINT64_MAX - t->n_record || end > SQ_INDEX_MAX || last_beg > end)
        return false;
    *out_n_record = n_record;
    if (!n_record)
        return true;
    if (!t->n_record)
        t->first = first;
    t->last = last;
    t->n_record += n_record;
    t->last_beg = (int64_t)last_beg;
    if ((int64_t)end > t->end)
        t->end = (int64_t)end;
    return true;
}

static sq_err join_bins(struct sq_index *t, struct walk *w)
{
    uint32_t n_bin, bin, n_chunk;
    if (!get32(w, &n_bin) || n_bin > N_BIN)
        return sq_fail(SQ_EFORMAT);
    for (uint32_t i = 0; i < n_bin; i++) {
        if (!get32(w, &bin) || !get32(w, &n_chunk) || n_chunk > (w->n - w->at) / 16 || bin >= N_BIN)
            return sq_fail(SQ_EFORMAT);
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

/* Windows of a part lie below its end; one that is set already is touched by a record that began before this part. */
static bool join_linear(struct sq_index *t, struct walk *w)
{
    uint32_t from, n;
    if (!get32(w, &from) || !get32(w, &n) || from > N_LINEAR || n > N_LINEAR - from ||
        (n && (uint64_t)from + n > ((uint64_t)t->end + (1U << SHIFT) - 1) >> SHIFT))
        return false;
    for (uint32_t i = from; i < from + n; i++) {
        uint64_t offset;
        if (w->n - w->at >= 8 && sq_get_le64(w->p + w->at) == UNSET) {
            w->at += 8;
            continue;
        }
        if (!get_offset(w, &offset))
            return false;
        if (t->linear[i])
            continue;
        t->linear[i] = offset + 1;
        if (i + 1 > t->n_linear)
            t->n_linear = i + 1;
    }
    return true;
}

sq_err sq_index_join(struct sq_index *t, const uint8_t *p, size_t n, uint64_t by)
{
    struct walk w = {.p = p, .n = n, .by = by};
    char chrom[CHROM_MAX];
    uint64_t n_record;
    if (by >> 48 || !get_chrom(&w, chrom) || strcmp(chrom, t->chrom) || !join_sums(t, &w, &n_record))
        return sq_fail(SQ_EFORMAT);
    sq_err e = join_bins(t, &w);
    if (e)
        return e;
    return join_linear(t, &w) && w.at == n ? SQ_OK : sq_fail(SQ_EFORMAT);
}

sq_err sq_index_new_like(const uint8_t *p, size_t n, struct sq_index **out)
{
    struct walk w = {.p = p, .n = n};
    char name[CHROM_MAX];
    if (!get_chrom(&w, name))
        return sq_fail(SQ_EFORMAT);
    return sq_index_new(name, out);
}
