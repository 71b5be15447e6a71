#include "lib/formats/pieces.h"

#include "lib/core/file.h"
#include "lib/formats/bgzf_out.h"
#include "lib/formats/index.h"
#include "lib/formats/part.h"
#include "lib/formats/rows_internal.h"

#include <libdeflate.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define BLOCK SQ_BGZF_BLOCK_BYTES
#define PACK_AT (4 * BLOCK) /* so much text is put together before it is packed: it still lies in the cache */
#define TIME_EVERY 16U      /* rows between two that are timed */

/* Where a row lies: its begin is the end of the row before it. */
struct row_at {
    int64_t beg0, end0;
    uint64_t to; /* bytes of the piece up to its end */
};

/* One track of a piece: packed blocks, and behind them text that doesn't fill one. */
struct part {
    struct sq_buf text, packed;
    uint32_t *block; /* [n_block] packed lengths */
    uint32_t n_block, block_cap;
    struct row_at *row;
    uint64_t n_row, row_cap;
    uint64_t n_bytes; /* unpacked, of all rows */
};

struct sq_piece {
    struct sq_pieces *owner;
    struct sq_piece *next; /* of those that wait, or of those not in use */
    struct sq_piece *older; /* of all */
    uint32_t no;
    struct libdeflate_compressor *packer;
    struct rows_scratch scratch;
    struct part part[SQ_ROWS_N_TRACK];
    struct sq_pieces_counts counts;
    uint64_t n_seen;
};

/* One track of the whole: what has been written, and the block that is still growing. */
struct stream {
    enum sq_rows_track track;
    int fd;
    struct sq_index *index;
    uint64_t n_packed;
    size_t n_tail;
    uint8_t *tail, *packed; /* [2 * BLOCK], [SQ_BGZF_PACKED_MAX] */
};

struct sq_pieces {
    const struct sq_rows *rows;
    unsigned n_stream;
    struct stream stream[SQ_ROWS_N_TRACK];
    struct libdeflate_compressor *packer; /* of whoever writes */
    size_t max_wait_bytes;
    bool is_closed;

    pthread_mutex_t lock;
    pthread_cond_t moved;
    sq_err err;
    uint32_t next; /* the piece that is to be written */
    bool is_writing;
    unsigned n_open;
    size_t n_wait_bytes;
    struct sq_piece *waiting; /* ended, ascending */
    struct sq_piece *idle, *all;
    struct sq_pieces_counts counts;
};

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

/* ---- open, free -------------------------------------------------------------------------------------------------------------- */

static void piece_free(struct sq_piece *piece)
{
    if (!piece)
        return;
    libdeflate_free_compressor(piece->packer);
    rows_scratch_done(&piece->scratch);
    for (unsigned t = 0; t < SQ_ROWS_N_TRACK; t++) {
        sq_buf_done(&piece->part[t].text);
        sq_buf_done(&piece->part[t].packed);
        free(piece->part[t].block);
        free(piece->part[t].row);
    }
    free(piece);
}

static sq_err piece_new(struct sq_pieces *p, struct sq_piece **out)
{
    struct sq_piece *piece = calloc(1, sizeof *piece);
    if (!piece)
        return sq_fail(SQ_ENOMEM);
    piece->owner = p;
    piece->packer = libdeflate_alloc_compressor(p->rows->level);
    sq_err e = piece->packer ? rows_scratch_init(p->rows, &piece->scratch) : sq_fail(SQ_ENOMEM);
    if (e)
        piece_free(piece);
    else
        *out = piece;
    return e;
}

sq_err sq_pieces_open(const struct sq_rows *plan, const struct sq_pieces_track *track, unsigned n_track, size_t max_wait_bytes,
                      struct sq_pieces **out)
{
    sq_assert(n_track <= SQ_ROWS_N_TRACK);
    struct sq_pieces *p = calloc(1, sizeof *p);
    if (!p)
        return sq_fail(SQ_ENOMEM);
    p->rows = plan;
    p->max_wait_bytes = max_wait_bytes;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->moved, NULL);
    p->packer = libdeflate_alloc_compressor(plan->level);
    sq_err e = p->packer ? SQ_OK : sq_fail(SQ_ENOMEM);
    for (unsigned i = 0; i < n_track && !e; i++) {
        struct stream *s = &p->stream[p->n_stream++];
        s->track = track[i].track;
        s->fd = track[i].fd;
        s->tail = malloc(2 * BLOCK);
        s->packed = malloc(SQ_BGZF_PACKED_MAX);
        e = s->tail && s->packed ? sq_index_new(plan->chrom, &s->index) : sq_fail(SQ_ENOMEM);
    }
    if (e)
        sq_pieces_free(p);
    else
        *out = p;
    return e;
}

void sq_pieces_free(struct sq_pieces *p)
{
    if (!p)
        return;
    while (p->all) {
        struct sq_piece *piece = p->all;
        p->all = piece->older;
        piece_free(piece);
    }
    for (unsigned i = 0; i < p->n_stream; i++) {
        struct stream *s = &p->stream[i];
        sq_index_free(s->index);
        if (s->tail)
            sq_wipe(s->tail, 2 * BLOCK);
        free(s->tail);
        free(s->packed);
    }
    libdeflate_free_compressor(p->packer);
    pthread_mutex_destroy(&p->lock);
    pthread_cond_destroy(&p->moved);
    free(p);
}

void sq_pieces_fail(struct sq_pieces *p, sq_err e)
{
    pthread_mutex_lock(&p->lock);
    if (!p->err)
        p->err = e;
    pthread_cond_broadcast(&p->moved);
    pthread_mutex_unlock(&p->lock);
}

/* ---- a piece, by the thread that has it ---------------------------------------------------------------------------------------- */

static void piece_clear(struct sq_piece *piece)
{
    for (unsigned t = 0; t < SQ_ROWS_N_TRACK; t++) {
        struct part *part = &piece->part[t];
        part->text.n = part->packed.n = 0;
        part->n_block = 0;
        part->n_row = part->n_bytes = 0;
    }
    piece->counts = (struct sq_pieces_counts){0};
}

sq_err sq_pieces_begin(struct sq_pieces *p, uint32_t no, struct sq_piece **out)
{
    struct sq_piece *piece = NULL;
    pthread_mutex_lock(&p->lock);
    while (!p->err && no != p->next && p->n_wait_bytes > p->max_wait_bytes)
        pthread_cond_wait(&p->moved, &p->lock);
    sq_err e = p->err;
    if (!e && (no < p->next || p->is_closed))
        e = sq_fail(SQ_EINTERNAL); /* it was there already */
    if (!e && p->idle) {
        piece = p->idle;
        p->idle = piece->next;
    }
    pthread_mutex_unlock(&p->lock);
    bool is_new = !piece;
    if (!e && is_new)
        e = piece_new(p, &piece);
    if (e)
        return e;
    piece_clear(piece);
    piece->no = no;
    piece->next = NULL;
    pthread_mutex_lock(&p->lock);
    if (is_new) {
        piece->older = p->all;
        p->all = piece;
    }
    p->n_open++;
    pthread_mutex_unlock(&p->lock);
    *out = piece;
    return SQ_OK;
}

/* Full blocks of @part are packed, when there are at least @least bytes; the rest moves to the front. */
static sq_err pack_blocks(struct sq_piece *piece, struct part *part, size_t least)
{
    if (part->text.n < least || part->text.n < BLOCK)
        return SQ_OK;
    uint64_t start = now_ns();
    size_t at = 0;
    for (; part->text.n - at >= BLOCK; at += BLOCK) {
        sq_err e = sq_buf_reserve(&part->packed, SQ_BGZF_PACKED_MAX);
        if (e)
            return e;
        if (part->n_block == part->block_cap) {
            uint32_t cap = part->block_cap ? part->block_cap * 2 : 64;
            uint32_t *block = realloc(part->block, cap * sizeof *block);
            if (!block)
                return sq_fail(SQ_ENOMEM);
            part->block = block;
            part->block_cap = cap;
        }
        size_t n = sq_bgzf_pack(piece->packer, part->text.p + at, BLOCK, part->packed.p + part->packed.n);
        part->block[part->n_block++] = (uint32_t)n;
        part->packed.n += n;
    }
    memmove(part->text.p, part->text.p + at, part->text.n - at);
    part->text.n -= at;
    piece->counts.deflate_ns += now_ns() - start;
    return SQ_OK;
}

static sq_err put_row(struct sq_piece *piece, enum sq_rows_track track, const struct rows_view *view)
{
    const struct sq_rows *r = piece->owner->rows;
    struct part *part = &piece->part[track];
    if (part->n_row == part->row_cap) {
        uint64_t cap = part->row_cap ? part->row_cap * 2 : 256;
        struct row_at *row = realloc(part->row, cap * sizeof *row);
        if (!row)
            return sq_fail(SQ_ENOMEM);
        part->row = row;
        part->row_cap = cap;
    }
    size_t before = part->text.n;
    sq_err e = r->container == SQ_ROWS_BCF ? rows_bcf_put(r, track, view, &part->text) : rows_text_put(r, track, view, &part->text);
    if (e)
        return e;
    part->n_bytes += part->text.n - before;
    int64_t beg0 = view->row->pos_bp - 1;
    part->row[part->n_row++] = (struct row_at){.beg0 = beg0, .end0 = beg0 + view->row->ref.n, .to = part->n_bytes};
    return SQ_OK;
}

static void count_row(struct sq_pieces_counts *c, enum rows_info kind)
{
    c->n_imputed += kind == ROWS_IMPUTED;
    c->n_typed += kind == ROWS_TYPED;
    c->n_typed_only += kind == ROWS_TYPED_ONLY;
}

sq_err sq_piece_row(struct sq_piece *piece, const struct sq_row *row)
{
    struct sq_pieces *p = piece->owner;
    const struct sq_rows *r = p->rows;
    if (r->min_r2 > 0 && !row->observed && !(row->r2 >= r->min_r2)) {
        piece->counts.n_below_r2++;
        return SQ_OK;
    }
    bool is_timed = piece->n_seen++ % TIME_EVERY == 0;
    uint64_t start = is_timed ? now_ns() : 0;
    struct rows_view view;
    sq_err e = rows_look(r, row, &piece->scratch, &view);
    for (unsigned i = 0; i < p->n_stream && !e; i++)
        if (p->stream[i].track != SQ_ROWS_EMPIRICAL || (row->milli && row->observed && row->loo))
            e = put_row(piece, p->stream[i].track, &view);
    if (e)
        return e;
    if (is_timed)
        piece->counts.format_ns += TIME_EVERY * (now_ns() - start);
    count_row(&piece->counts, view.kind);
    for (unsigned i = 0; i < p->n_stream && !e; i++)
        e = pack_blocks(piece, &piece->part[p->stream[i].track], PACK_AT);
    return e;
}

/* ---- writing in order, by whoever ends the piece that is next ------------------------------------------------------------------- */

static sq_err stream_write(struct stream *s, const void *p, size_t n)
{
    s->n_packed += n;
    return n ? sq_write_all(s->fd, p, n) : SQ_OK;
}

/* The first @n bytes of the growing block become one; what is behind them stays. */
static sq_err stream_flush(struct sq_pieces *p, struct stream *s, size_t n)
{
    if (!n)
        return SQ_OK;
    size_t got = sq_bgzf_pack(p->packer, s->tail, n, s->packed);
    memmove(s->tail, s->tail + n, s->n_tail - n);
    s->n_tail -= n;
    return stream_write(s, s->packed, got);
}

/* Where a piece's bytes came to lie: the first @n_head behind the growing block as it was, or in packed blocks; the others behind. */
struct place {
    uint64_t head_at; /* packed offset of the block in which byte 0 lies (no blocks) or of the first block */
    uint64_t head_from; /* and where in it */
    uint64_t tail_at; /* of the block in which what is behind lies */
    const uint32_t *block;
    uint32_t n_block, now; /* the block that is walked through */
    uint64_t now_at;
};

/* Virtual offset of byte @to of the piece; ascending from call to call. */
static uint64_t offset_of(struct place *w, uint64_t to)
{
    if (!w->n_block) {
        uint64_t at = w->head_from + to;
        return at < BLOCK ? w->head_at << 16 | at : w->tail_at << 16 | (at - BLOCK);
    }
    while (w->now < w->n_block && to >= ((uint64_t)w->now + 1) * BLOCK)
        w->now_at += w->block[w->now++];
    return w->now_at << 16 | (to - (uint64_t)w->now * BLOCK);
}

static sq_err stream_put(struct sq_pieces *p, struct stream *s, struct part *part)
{
    struct place w = {.block = part->block, .n_block = part->n_block};
    sq_err e = SQ_OK;
    if (part->n_block) {
        e = stream_flush(p, s, s->n_tail);
        w.now_at = s->n_packed;
        if (!e)
            e = stream_write(s, part->packed.p, part->packed.n);
    } else {
        w.head_at = s->n_packed;
        w.head_from = s->n_tail;
    }
    if (e)
        return e;
    if (part->text.n)
        memcpy(s->tail + s->n_tail, part->text.p, part->text.n);
    s->n_tail += part->text.n;
    if (s->n_tail >= BLOCK)
        e = stream_flush(p, s, BLOCK);
    w.tail_at = s->n_packed;
    uint64_t from = part->n_row ? offset_of(&w, 0) : 0;
    for (uint64_t i = 0; i < part->n_row && !e; i++) {
        uint64_t to = offset_of(&w, part->row[i].to);
        e = sq_index_add(s->index, part->row[i].beg0, part->row[i].end0, from, to);
        from = to;
    }
    return e;
}

static void add_counts(struct sq_pieces_counts *to, const struct sq_pieces_counts *from)
{
    to->n_imputed += from->n_imputed;
    to->n_typed += from->n_typed;
    to->n_typed_only += from->n_typed_only;
    to->n_below_r2 += from->n_below_r2;
    to->format_ns += from->format_ns;
    to->deflate_ns += from->deflate_ns;
}

static size_t piece_bytes(const struct sq_piece *piece)
{
    size_t n = 0;
    for (unsigned t = 0; t < SQ_ROWS_N_TRACK; t++)
        n += piece->part[t].text.cap + piece->part[t].packed.cap + piece->part[t].row_cap * sizeof(struct row_at);
    return n;
}

/* With the lock held, which is given up while something is written. */
static void write_what_is_next(struct sq_pieces *p)
{
    if (p->is_writing)
        return; /* who writes looks again before he goes */
    p->is_writing = true;
    while (!p->err && p->waiting && p->waiting->no == p->next) {
        struct sq_piece *piece = p->waiting;
        p->waiting = piece->next;
        pthread_mutex_unlock(&p->lock);
        uint64_t start = now_ns();
        sq_err e = SQ_OK;
        for (unsigned i = 0; i < p->n_stream && !e; i++)
            e = stream_put(p, &p->stream[i], &piece->part[p->stream[i].track]);
        uint64_t took = now_ns() - start;
        pthread_mutex_lock(&p->lock);
        p->counts.write_ns += took;
        add_counts(&p->counts, &piece->counts);
        p->n_wait_bytes -= piece_bytes(piece);
        if (e && !p->err)
            p->err = e;
        p->next++;
        piece->next = p->idle;
        p->idle = piece;
        pthread_cond_broadcast(&p->moved);
    }
    p->is_writing = false;
    pthread_cond_broadcast(&p->moved);
}

sq_err sq_piece_end(struct sq_piece *piece)
{
    struct sq_pieces *p = piece->owner;
    sq_err e = SQ_OK;
    for (unsigned i = 0; i < p->n_stream && !e; i++)
        e = pack_blocks(piece, &piece->part[p->stream[i].track], BLOCK);
    pthread_mutex_lock(&p->lock);
    p->n_open--;
    if (e && !p->err)
        p->err = e;
    struct sq_piece **at = &p->waiting;
    while (*at && (*at)->no < piece->no)
        at = &(*at)->next;
    piece->next = *at;
    *at = piece;
    p->n_wait_bytes += piece_bytes(piece);
    write_what_is_next(p);
    pthread_cond_broadcast(&p->moved);
    e = p->err;
    pthread_mutex_unlock(&p->lock);
    return e;
}

sq_err sq_pieces_cut(struct sq_pieces *p)
{
    pthread_mutex_lock(&p->lock);
    while (!p->err && p->is_writing)
        pthread_cond_wait(&p->moved, &p->lock);
    sq_err e = p->err;
    if (!e)
        sq_assert(!p->n_open && !p->waiting); /* a piece was left out */
    for (unsigned i = 0; i < p->n_stream && !e; i++)
        e = stream_flush(p, &p->stream[i], p->stream[i].n_tail);
    p->next = 0;
    if (e)
        p->err = e;
    pthread_mutex_unlock(&p->lock);
    return e;
}

sq_err sq_pieces_close(struct sq_pieces *p, bool with_end_block)
{
    sq_err e = sq_pieces_cut(p);
    for (unsigned i = 0; i < p->n_stream && !e && with_end_block; i++)
        e = stream_write(&p->stream[i], sq_bgzf_end, SQ_BGZF_END_BYTES);
    p->is_closed = true;
    return e;
}

void sq_pieces_counts(struct sq_pieces *p, struct sq_pieces_counts *out)
{
    pthread_mutex_lock(&p->lock);
    *out = p->counts;
    for (unsigned i = 0; i < p->n_stream; i++)
        out->n_packed_bytes += p->stream[i].n_packed;
    pthread_mutex_unlock(&p->lock);
}

sq_err sq_pieces_part(struct sq_pieces *p, enum sq_rows_track track, struct sq_buf *out)
{
    struct stream *s = NULL;
    for (unsigned i = 0; i < p->n_stream; i++)
        if (p->stream[i].track == track)
            s = &p->stream[i];
    sq_assert(s && p->is_closed);
    struct sq_buf meta, index;
    sq_buf_init(&meta, 0);
    sq_buf_init(&index, UINT32_MAX);
    sq_err e = sq_rows_meta(p->rows, track, &meta);
    if (!e)
        e = sq_index_write_part(s->index, &index);
    struct sq_part part = {.track = track,
                           .container = p->rows->container,
                           .n_sample = track == SQ_ROWS_SITES ? 0 : p->rows->n_sample,
                           .body_bytes = s->n_packed,
                           .meta = sq_span_of(meta.p, meta.n),
                           .index = sq_span_of(index.p, index.n)};
    if (!e)
        e = sq_part_write(&part, out);
    sq_buf_done(&meta);
    sq_buf_done(&index);
    return e;
}
