#include "worker/impute_sink.h"

#include <math.h>
#include <stdlib.h>

#define ID_MAX_BYTES 200U

sq_err impute_sink_open(struct impute_sink *s, struct sq_pieces *pieces, const struct worker_choice *choice, void *ctx,
                        sq_err (*progress)(void *ctx, uint64_t n_done, uint64_t n_all))
{
    *s = (struct impute_sink){.pieces = pieces, .choice = choice, .ctx = ctx, .progress = progress};
    s->has_lock = !pthread_mutex_init(&s->lock, NULL);
    return s->has_lock ? SQ_OK : sq_fail(SQ_ENOMEM);
}

void impute_sink_close(struct impute_sink *s)
{
    if (s->has_lock)
        pthread_mutex_destroy(&s->lock);
    free(s->own);
    *s = (struct impute_sink){0};
}

static bool is_in_region(const struct worker_choice *c, int64_t pos_bp)
{
    return pos_bp >= c->region_from_bp && (!c->region_to_bp || pos_bp <= c->region_to_bp);
}

sq_err impute_sink_window(struct impute_sink *s, const struct sq_engine_window *window, const struct typed_queue *q, double from_cm, double to_cm)
{
    s->window = window;
    s->n_piece = 0;
    s->n_own = 0;
    free(s->own);
    s->own = calloc((size_t)q->n + 1, sizeof *s->own);
    if (!s->own)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < q->n; i++) {
        const struct typed_entry *t = &q->entry[i];
        if (t->row != QUEUE_NO_ROW || t->cm < from_cm || t->cm >= to_cm || !is_in_region(s->choice, t->pos_bp))
            continue;
        uint32_t before = t->before < window->from_site ? window->from_site : t->before;
        s->own[s->n_own++] = (struct own_record){.before = before, .entry = t};
    }
    return SQ_OK;
}

/* ---- pieces -------------------------------------------------------------------------------------------------------- */

/* The piece @no, which its one thread may be asking for the first time. */
static sq_err take(struct impute_sink *s, uint32_t no, struct sq_piece **out, size_t *out_slot)
{
    size_t n = sizeof s->open / sizeof s->open[0], slot = n;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < n; i++)
        if (s->open[i].piece && s->open[i].no == no)
            slot = i;
    pthread_mutex_unlock(&s->lock);
    if (slot < n) {
        *out = s->open[slot].piece;
        *out_slot = slot;
        return SQ_OK;
    }
    sq_err e = sq_pieces_begin(s->pieces, no, out); /* may wait for the pieces before */
    if (e)
        return e;
    pthread_mutex_lock(&s->lock);
    for (slot = 0; slot < n && s->open[slot].piece; slot++)
        ;
    sq_assert(slot < n); /* a thread has one piece */
    s->open[slot].no = no;
    s->open[slot].piece = *out;
    s->n_piece = no >= s->n_piece ? no + 1 : s->n_piece;
    pthread_mutex_unlock(&s->lock);
    *out_slot = slot;
    return SQ_OK;
}

sq_err impute_sink_piece_end(void *ctx, uint32_t piece)
{
    struct impute_sink *s = ctx;
    struct sq_piece *p;
    size_t slot;
    sq_err e = take(s, piece, &p, &slot);
    if (e)
        return e;
    pthread_mutex_lock(&s->lock);
    s->open[slot].piece = NULL;
    pthread_mutex_unlock(&s->lock);
    return sq_piece_end(p);
}

/* ---- rows ---------------------------------------------------------------------------------------------------------- */

static struct sq_span id_of(const char *id, uint32_t n)
{
    bool is_ok = n > 0 && n <= ID_MAX_BYTES;
    for (uint32_t i = 0; i < n && is_ok; i++)
        is_ok = id[i] > 32 && id[i] < 127;
    return is_ok ? sq_span_of(id, n) : sq_span_str(".");
}

static sq_err put_own(struct sq_piece *p, const struct typed_entry *t)
{
    const char *ref = t->text + t->n_id;
    return sq_piece_row(p, &(struct sq_row){.pos_bp = t->pos_bp,
                                            .id = id_of(t->text, t->n_id),
                                            .ref = sq_span_of(ref, t->n_ref),
                                            .alt = sq_span_of(ref + t->n_ref, t->n_alt),
                                            .observed = t->allele,
                                            .unphased = t->unphased,
                                            .r2 = (double)NAN});
}

/* The first of the target's own records that goes before row @row or a later one. */
static uint32_t own_at(const struct impute_sink *s, uint32_t row)
{
    uint32_t low = 0, high = s->n_own;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (s->own[mid].before < row)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static const uint8_t *typed_at(const struct sq_engine_window *w, uint32_t row)
{
    uint32_t low = 0, high = w->n_typed;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        if (w->typed[mid].site < row)
            low = mid + 1;
        else
            high = mid;
    }
    return low < w->n_typed && w->typed[low].site == row ? w->typed[low].allele : NULL;
}

sq_err impute_sink_put(void *ctx, uint32_t piece, void *cursor, const struct sq_engine_block *block, uint32_t from, uint32_t to, const uint16_t *milli,
                       const struct sq_engine_row *row)
{
    struct impute_sink *s = ctx;
    const struct sq_panel_site *site = panel_port_block(cursor)->site;
    struct sq_piece *p;
    size_t slot;
    sq_err e = take(s, piece, &p, &slot);
    for (uint32_t i = from; i < to && !e; i++) {
        uint32_t no = block->first_site + i;
        for (uint32_t k = own_at(s, no); k < s->n_own && s->own[k].before == no && !e; k++)
            e = put_own(p, s->own[k].entry);
        if (!e)
            e = sq_piece_row(p, &(struct sq_row){.pos_bp = site[i].pos_bp,
                                                 .id = id_of(site[i].id, site[i].n_id),
                                                 .ref = sq_span_of(site[i].ref, site[i].n_ref),
                                                 .alt = sq_span_of(site[i].alt, site[i].n_alt),
                                                 .milli = milli + (size_t)(i - from) * s->window->n_target,
                                                 .observed = typed_at(s->window, no),
                                                 .loo = row[i - from].left_out,
                                                 .r2 = (double)row[i - from].r2});
    }
    if (e)
        sq_pieces_fail(s->pieces, e); /* nobody shall wait for this piece */
    return e;
}

sq_err impute_sink_progress(void *ctx, uint64_t n_done, uint64_t n_all)
{
    struct impute_sink *s = ctx;
    return s->progress(s->ctx, n_done, n_all);
}

sq_err impute_sink_window_end(struct impute_sink *s)
{
    uint32_t first = own_at(s, s->window->to_site);
    sq_err e = SQ_OK;
    if (first < s->n_own) {
        struct sq_piece *p;
        size_t slot;
        uint32_t no = s->n_piece;
        e = take(s, no, &p, &slot);
        for (uint32_t k = first; k < s->n_own && !e; k++)
            e = put_own(p, s->own[k].entry);
        if (!e)
            e = impute_sink_piece_end(s, no);
    }
    return e ? e : sq_pieces_cut(s->pieces);
}
