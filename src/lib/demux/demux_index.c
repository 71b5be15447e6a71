/*
 * Index metrics: how many reads that passed each sample has in each tile, as Illumina's programs write them (IndexMetricsOut.bin, version 2).
 *
 * Tiles that are done stand in .sequester/index, 8 bytes a sample of the lane, so that memory doesn't grow with tiles times samples; those of
 * the tile that is being written are in the state. What stands in the bytes: docs/formats/run-interop.md.
 */
#include "lib/core/file.h"
#include "lib/demux/demux_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define RAW "index"
#define NAME "IndexMetricsOut.bin"
#define VERSION 2U
#define FLUSH_BYTES ((size_t)1 << 20)

static uint32_t lane_of(const struct sq_demux_plan *p, uint32_t tile, const struct sq_run_tile **out)
{
    uint32_t l = 0;
    for (; tile >= p->lane[l].n_tile; l++)
        tile -= p->lane[l].n_tile;
    *out = p->lane[l].tile[tile];
    return l;
}

/* Where in the file what is of @tile begins. */
static uint64_t offset_of(const struct sq_demux_plan *p, uint32_t tile)
{
    uint64_t at = 0;
    for (uint32_t l = 0; l < p->n_lane && tile; l++) {
        uint32_t n = tile < p->lane[l].n_tile ? tile : p->lane[l].n_tile;
        at += (uint64_t)n * p->lane[l].n_row * 8;
        tile -= n;
    }
    return at;
}

static sq_err raw_open(const struct demux_out *o, int *out_fd)
{
    *out_fd = openat(o->state_dir, RAW, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return *out_fd < 0 ? sq_fail(sq_err_errno()) : SQ_OK;
}

/* Tiles before @tile are done. */
static sq_err flush_to(struct demux_out *o, uint32_t tile)
{
    const struct sq_demux_plan *p = o->plan;
    const struct sq_run_tile *t;
    struct sq_buf b;
    int fd = -1;
    if (o->index_tile >= tile)
        return SQ_OK;
    sq_buf_init(&b, (size_t)1 << 31);
    uint64_t at = offset_of(p, o->index_tile);
    sq_err e = raw_open(o, &fd);
    while (o->index_tile < tile && !e) {
        uint32_t n = p->lane[lane_of(p, o->index_tile, &t)].n_row;
        for (uint32_t i = 0; i < n && !e; i++) {
            uint8_t bytes[8];
            sq_put_le64(bytes, o->index_reads[i]);
            e = sq_buf_add(&b, bytes, sizeof bytes);
            o->index_reads[i] = 0;
        }
        o->index_tile++;
    }
    bool is_last = demux_step();
    if (!e && b.n)
        e = sq_pwrite_all(fd, b.p, is_last ? b.n / 2 : b.n, (off_t)at);
    if (is_last)
        demux_die();
    sq_close(&fd);
    sq_buf_done(&b);
    return e;
}

sq_err demux_index_put(struct demux_out *o, const struct piece_out *piece)
{
    struct counts_shape s = counts_shape_of(o->plan, piece->lane);
    sq_err e = flush_to(o, o->next_tile);
    for (uint32_t i = 0; i + 1 < s.n_row && !e; i++)
        o->index_reads[i] += count_row(&s, piece->counts, i)[COUNT_PASSED];
    return e;
}

sq_err demux_index_cut(struct demux_out *o, struct sq_why *why)
{
    struct stat st;
    int fd = -1;
    uint64_t size = offset_of(o->plan, o->index_tile);
    if (o->is_finishing)
        return SQ_OK; /* reports are written; the state's folder may be half gone */
    sq_err e = raw_open(o, &fd);
    if (!e && (fstat(fd, &st) || ((uint64_t)st.st_size > size && ftruncate(fd, (off_t)size))))
        e = sq_fail(sq_err_errno());
    if (!e && (uint64_t)st.st_size < size)
        e = sq_why_set(why, sq_fail(SQ_ECONFLICT), 0, 0, "out", "a file in .sequester is shorter than it was, so that work can't go on: begin anew in another folder");
    sq_close(&fd);
    return e;
}

/* ---- the file ---- */

static sq_err add_text(struct sq_buf *b, const char *text)
{
    uint8_t n[2];
    sq_put_le16(n, (uint16_t)strlen(text));
    sq_err e = sq_buf_add(b, n, 2);
    return e ? e : sq_buf_add(b, text, strlen(text));
}

static sq_err add_record(struct sq_buf *b, const struct sq_run_tile *t, uint32_t read, const struct sq_sheet_sample *m, uint64_t n_read)
{
    char index[2 * SQ_BARCODE_MAX + 2];
    uint8_t head[8], n[8];
    snprintf(index, sizeof index, "%s%s%s", m->index[0], *m->index[1] ? "-" : "", m->index[1]);
    sq_put_le16(head, (uint16_t)t->lane);
    sq_put_le32(head + 2, t->tile);
    sq_put_le16(head + 6, (uint16_t)read);
    sq_put_le64(n, n_read);
    sq_err e = sq_buf_add(b, head, sizeof head);
    if (!e)
        e = add_text(b, index);
    if (!e)
        e = sq_buf_add(b, n, sizeof n);
    if (!e)
        e = add_text(b, m->id);
    return e ? e : add_text(b, m->project);
}

static sq_err spill(struct sq_buf *b, int fd, size_t at_least)
{
    if (b->n < at_least)
        return SQ_OK;
    bool is_last = demux_step();
    sq_err e = sq_write_all(fd, b->p, is_last ? b->n / 2 : b->n);
    if (is_last)
        demux_die();
    sq_buf_clear(b);
    return e;
}

/* One record a tile, sample with an index, and read that isn't an index: bcl2fastq counts each of them. */
static sq_err add_tile(const struct sq_demux_plan *p, uint32_t tile, int raw, uint8_t *room, struct sq_buf *b, int fd)
{
    const struct sq_run_tile *t;
    const struct demux_lane *lane = &p->lane[lane_of(p, tile, &t)];
    size_t n = (size_t)lane->n_row * 8, got = 0;
    sq_err e = n ? sq_pread_full(raw, room, n, (off_t)offset_of(p, tile), &got) : SQ_OK;
    if (!e && got < n)
        e = sq_fail(SQ_EFORMAT);
    for (uint32_t i = 0; i < lane->n_row && !e; i++)
        for (uint32_t k = 0; k < p->n_kind && *lane->row[i].sample->index[0] && !e; k++) {
            if (!p->kind[k].is_index)
                e = add_record(b, t, p->kind[k].read_no, lane->row[i].sample, sq_get_le64(room + 8 * (size_t)i));
            if (!e)
                e = spill(b, fd, FLUSH_BYTES);
        }
    return e;
}

static bool has_indexes(const struct sq_demux_plan *p, size_t *out_most)
{
    bool has = false;
    *out_most = 0;
    for (uint32_t l = 0; l < p->n_lane; l++) {
        *out_most = p->lane[l].n_row > *out_most ? p->lane[l].n_row : *out_most;
        for (uint32_t i = 0; i < p->lane[l].n_row; i++)
            has = has || *p->lane[l].row[i].sample->index[0];
    }
    return has;
}

sq_err demux_index_report(struct demux_out *o, int dir)
{
    const uint8_t version = VERSION;
    size_t most;
    int raw = -1, fd = -1;
    if (o->is_finishing || !has_indexes(o->plan, &most))
        return SQ_OK;
    struct sq_buf b;
    sq_buf_init(&b, 2 * FLUSH_BYTES);
    uint8_t *room = malloc(most * 8);
    sq_err e = room ? flush_to(o, o->plan->n_tile) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = raw_open(o, &raw);
    if (!e && (fd = openat(dir, NAME ".part", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666)) < 0)
        e = sq_fail(sq_err_errno());
    if (!e)
        e = sq_buf_add(&b, &version, 1);
    for (uint32_t i = 0; i < o->plan->n_tile && !e; i++)
        e = add_tile(o->plan, i, raw, room, &b, fd);
    if (!e)
        e = spill(&b, fd, 1);
    if (!e)
        e = sq_fsync(fd);
    if (!e && renameat(dir, NAME ".part", dir, NAME))
        e = sq_fail(sq_err_errno());
    free(room);
    sq_close(&raw);
    sq_close(&fd);
    sq_buf_done(&b);
    return e;
}
