/* Rows made up for the tests of formats/rows, and one way to write them all: random, of every shape, the same for the same seed. */
#ifndef ROWS_MADE_H
#define ROWS_MADE_H

#include "lib/formats/index.h"
#include "lib/formats/part.h"
#include "lib/formats/pieces.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct made_row {
    int64_t pos_bp;
    char id[24], ref[40], alt[40];
    uint16_t *milli, *loo; /* NULL: none */
    uint8_t *observed;
    double r2;
};

struct made {
    uint32_t n_sample, n_row;
    uint64_t n_target;
    uint8_t *is_haploid;
    struct made_row *row;
};

static uint64_t made_next(uint64_t *seed) /* splitmix64 */
{
    uint64_t z = *seed += 0x9e3779b97f4a7c15U;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9U;
    z = (z ^ z >> 27) * 0x94d049bb133111ebU;
    return z ^ z >> 31;
}

static uint32_t made_below(uint64_t *seed, uint32_t n)
{
    return (uint32_t)(made_next(seed) % n);
}

/* Mostly nothing, often certain, sometimes anything. @common: how many of a thousand haplotypes aren't 0. */
static uint16_t made_milli(uint64_t *seed, uint32_t common)
{
    if (made_below(seed, 1000) >= common)
        return 0;
    uint32_t kind = made_below(seed, 4);
    return (uint16_t)(kind < 2 ? 1000 : made_below(seed, 1001));
}

static void made_alleles(uint64_t *seed, char *out)
{
    uint32_t n = made_below(seed, 10) ? 1 : 1 + made_below(seed, 38);
    for (uint32_t i = 0; i < n; i++)
        out[i] = "ACGT"[made_below(seed, 4)];
    out[n] = 0;
}

static void made_row(const struct made *m, uint64_t *seed, struct made_row *r)
{
    uint32_t kind = made_below(seed, 8), common = (uint32_t[]){0, 5, 50, 1000}[made_below(seed, 4)];
    snprintf(r->id, sizeof r->id, kind == 7 ? "." : "rs%u", made_below(seed, 1000000));
    made_alleles(seed, r->ref);
    made_alleles(seed, r->alt);
    r->r2 = (double)NAN;
    if (kind) { /* in the panel */
        r->milli = malloc(m->n_target * sizeof *r->milli);
        r->r2 = made_below(seed, 5) ? made_below(seed, 1000001) / 1e6 : (double)NAN;
        for (uint64_t h = 0; h < m->n_target; h++)
            r->milli[h] = made_milli(seed, common);
    }
    if (kind > 2)
        return;
    r->observed = malloc(m->n_target);
    for (uint64_t h = 0; h < m->n_target; h++)
        r->observed[h] = (uint8_t)(made_below(seed, 20) ? made_below(seed, 1000) < common : 2 + made_below(seed, 254));
    if (kind != 1)
        return;
    r->loo = malloc(m->n_target * sizeof *r->loo);
    for (uint64_t h = 0; h < m->n_target; h++)
        r->loo[h] = made_milli(seed, common);
}

/* @ploidy: 0 all diploid, 1 all haploid, 2 mixed. @step: bases between rows, about. */
static struct made *made_new(uint64_t seed, uint32_t n_sample, unsigned ploidy, uint32_t n_row, int64_t first_bp, uint32_t step)
{
    struct made *m = calloc(1, sizeof *m);
    m->n_sample = n_sample;
    m->n_row = n_row;
    m->is_haploid = calloc(n_sample, 1);
    for (uint32_t i = 0; i < n_sample; i++) {
        m->is_haploid[i] = ploidy == 1 || (ploidy == 2 && made_below(&seed, 3) == 0);
        m->n_target += m->is_haploid[i] ? 1 : 2;
    }
    m->row = calloc(n_row, sizeof *m->row);
    for (uint32_t i = 0; i < n_row; i++) {
        made_row(m, &seed, &m->row[i]);
        m->row[i].pos_bp = first_bp += made_below(&seed, 2 * step);
    }
    return m;
}

static void made_free(struct made *m)
{
    for (uint32_t i = 0; i < m->n_row; i++) {
        free(m->row[i].milli);
        free(m->row[i].loo);
        free(m->row[i].observed);
    }
    free(m->row);
    free(m->is_haploid);
    free(m);
}

static struct sq_row made_as_row(const struct made_row *r)
{
    return (struct sq_row){.pos_bp = r->pos_bp,
                           .id = sq_span_str(r->id),
                           .ref = sq_span_str(r->ref),
                           .alt = sq_span_str(r->alt),
                           .milli = r->milli,
                           .observed = r->observed,
                           .loo = r->loo,
                           .r2 = r->r2};
}

/* ---- writing ---------------------------------------------------------------------------------------------------------------- */

struct made_files {
    struct sq_buf body[SQ_ROWS_PHASED], part[SQ_ROWS_PHASED];
    struct sq_pieces_counts counts;
};

struct made_work {
    const struct made *m;
    struct sq_pieces *pieces;
    uint32_t first, n_row, n_piece, rows_a_piece; /* of the window */
    atomic_uint next;
    atomic_int err;
};

static void *made_thread(void *arg)
{
    struct made_work *w = arg;
    for (uint32_t no; (no = atomic_fetch_add(&w->next, 1)) < w->n_piece;) {
        struct sq_piece *piece = NULL;
        sq_err e = sq_pieces_begin(w->pieces, no, &piece);
        if (e) {
            w->err = (int)e;
            break;
        }
        for (uint32_t i = no * w->rows_a_piece; i < (no + 1) * w->rows_a_piece && i < w->n_row && !e; i++) {
            struct sq_row row = made_as_row(&w->m->row[w->first + i]);
            e = sq_piece_row(piece, &row);
        }
        sq_err e2 = sq_piece_end(piece);
        if (e || e2)
            w->err = (int)(e ? e : e2);
    }
    return NULL;
}

/* Windows of @rows_a_window rows in pieces of @rows_a_piece, by @n_thread threads. */
static sq_err made_write(const struct made *m, const struct sq_rows *plan, struct sq_pieces *pieces, uint32_t rows_a_window, uint32_t rows_a_piece,
                         unsigned n_thread)
{
    (void)plan;
    sq_err e = SQ_OK;
    for (uint32_t first = 0; first < m->n_row && !e; first += rows_a_window) {
        uint32_t n = m->n_row - first < rows_a_window ? m->n_row - first : rows_a_window;
        struct made_work w = {.m = m, .pieces = pieces, .first = first, .n_row = n, .rows_a_piece = rows_a_piece};
        w.n_piece = (n + rows_a_piece - 1) / rows_a_piece;
        pthread_t thread[64];
        for (unsigned i = 1; i < n_thread; i++)
            sq_assert(!pthread_create(&thread[i], NULL, made_thread, &w));
        made_thread(&w);
        for (unsigned i = 1; i < n_thread; i++)
            pthread_join(thread[i], NULL);
        e = (sq_err)w.err;
        if (!e)
            e = sq_pieces_cut(pieces);
    }
    return e;
}

static void made_read(int fd, struct sq_buf *out)
{
    off_t n = lseek(fd, 0, SEEK_END);
    sq_assert(n >= 0 && !sq_buf_reserve(out, (size_t)n + 1));
    sq_assert(pread(fd, out->p, (size_t)n, 0) == n);
    out->n = (size_t)n;
}

/* All tracks into memory. @max_wait 1: whoever runs ahead waits. */
static sq_err made_files(const struct made *m, const struct sq_rows *plan, uint32_t rows_a_window, uint32_t rows_a_piece, unsigned n_thread,
                         size_t max_wait, struct made_files *out)
{
    struct sq_pieces_track track[SQ_ROWS_PHASED];
    for (unsigned t = 0; t < SQ_ROWS_PHASED; t++)
        track[t] = (struct sq_pieces_track){.track = (enum sq_rows_track)t, .fd = memfd_create("track", MFD_CLOEXEC)};
    struct sq_pieces *pieces = NULL;
    sq_err e = sq_pieces_open(plan, track, SQ_ROWS_PHASED, max_wait, &pieces);
    if (!e)
        e = made_write(m, plan, pieces, rows_a_window, rows_a_piece, n_thread);
    if (!e)
        e = sq_pieces_close(pieces, true);
    memset(out, 0, sizeof *out);
    for (unsigned t = 0; t < SQ_ROWS_PHASED && !e; t++) {
        made_read(track[t].fd, &out->body[t]);
        e = sq_pieces_part(pieces, (enum sq_rows_track)t, &out->part[t]);
    }
    if (!e)
        sq_pieces_counts(pieces, &out->counts);
    for (unsigned t = 0; t < SQ_ROWS_PHASED; t++)
        close(track[t].fd);
    sq_pieces_free(pieces);
    return e;
}

static void made_files_done(struct made_files *f)
{
    for (unsigned t = 0; t < SQ_ROWS_PHASED; t++) {
        sq_buf_done(&f->body[t]);
        sq_buf_done(&f->part[t]);
    }
}

#endif
