/*
 * A piece of a tile: calls by cycle are turned over to reads, reads find their sample, and sample by sample their lines are written and packed.
 * Sample by sample, so that one buffer that stays in the cache is enough however many samples there are.
 */
#include "lib/demux/demux_internal.h"

#include "lib/demux/fastq_pack.h"
#include "lib/runs/call_kernels.h"

#include <libdeflate.h>
#include <stdlib.h>
#include <sys/mman.h>

#define SUB 2048U            /* clusters that are turned over at once: their calls stay in the cache */
#define SUB_STRIDE (SUB + 64U)
#define OWN_LEVEL 1          /* that fastq_pack takes; libdeflate has the others */
#define BLOCK_HEAD 18U
#define AHEAD 8U             /* reads that are fetched before their turn */
#define COPY 32U             /* bytes at once, when a little more may be written */
#define SLACK 128U           /* kernels write and read a little beyond */

struct turn { /* a read that is written, in the order of samples */
    uint32_t read, cluster; /* of the piece; of the tile */
    int32_t row;            /* of the lane; -1: Undetermined */
    bool is_exact;          /* its indexes are those of the sheet */
};

struct piece_work {
    const struct sq_demux_plan *plan;
    struct demux_pass pass;
    bool *is_needed;   /* [n_cycle] in this pass */
    const struct sq_demux_kernels *kernel;
    struct sq_fastq_packer *own; /* of level OWN_LEVEL, else NULL */
    struct libdeflate_compressor *packer;
    size_t stride;     /* of a read */
    uint8_t *column;   /* [n_cycle][SUB_STRIDE] */
    uint8_t *read;     /* [SQ_DEMUX_PIECE][stride] */
    uint8_t *raw, *scratch; /* [SUB + SLACK] */
    uint32_t *cluster; /* [SQ_DEMUX_PIECE] number in the tile of each that is written */
    int32_t *row;      /* [SQ_DEMUX_PIECE] of the lane; -1: Undetermined */
    struct turn *turn; /* [SQ_DEMUX_PIECE] by sample */
    uint32_t *start;   /* [n_number + 2] */
    uint8_t *calls;    /* [n_cycle + SLACK] of a read that has several spans */
    uint32_t *look;    /* [n_cycle / 32 + 2] */
    uint8_t *room;     /* [n_cycle + SLACK] for looking */
    bool *exact;       /* [SQ_DEMUX_PIECE] its indexes are those of the sheet */
    struct tail {      /* of a header: what stands behind the read's number */
        char text[2 * SQ_BARCODE_MAX + 16 + COPY];
        uint32_t n;
    } *tail;           /* [rows of the lane] for exact ones */
    const struct demux_lane *tail_of;
    uint8_t *text;     /* [cap_text] */
    size_t n_text, cap_text;
    struct sq_fastq_record *record; /* [cap_record] of text */
    uint32_t n_record, cap_record;
};

static const uint8_t block_head[BLOCK_HEAD] = {0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0xff, 6, 0, 'B', 'C', 2, 0, 0, 0};

/* A line's header at its longest: names of RunInfo, numbers, UMIs, two indexes. */
static size_t most_line(const struct sq_demux_plan *p)
{
    return 1024 + SQ_CYCLES_MAX_READS * (SQ_CYCLES_MAX_UMI + 1) + 2 * (SQ_BARCODE_MAX + 1) + 2 * (size_t)p->n_cycle + 2 * SLACK;
}

uint64_t piece_work_bytes(const struct sq_demux_plan *p)
{
    return (uint64_t)SQ_DEMUX_PIECE * (p->n_cycle + 32 + 32) + (uint64_t)p->n_cycle * SUB_STRIDE + SQ_FASTQ_BLOCK + (3U << 20);
}

#define LARGE_PAGE ((size_t)2 << 20)

void *piece_room(size_t n)
{
    if (n < 2 * LARGE_PAGE)
        return malloc(n);
    n = (n + LARGE_PAGE - 1) & ~(LARGE_PAGE - 1);
    void *p = aligned_alloc(LARGE_PAGE, n);
    if (p)
        (void)madvise(p, n, MADV_HUGEPAGE); /* without them it is slower, no more */
    return p;
}

static void need(struct piece_work *w, const struct demux_spans *s)
{
    for (uint32_t i = 0; i < s->n_span; i++)
        memset(w->is_needed + s->span[i].from, true, s->span[i].n);
}

static void find_needed(struct piece_work *w)
{
    memset(w->is_needed + w->pass.from, true, w->pass.to - w->pass.from);
    for (uint32_t l = 0; l < w->plan->n_lane; l++)
        for (uint32_t i = 0; i < w->plan->lane[l].n_group; i++) {
            const struct demux_group *g = &w->plan->lane[l].group[i];
            need(w, &g->index[0]);
            need(w, &g->index[1]);
            for (uint32_t u = 0; u < g->n_umi; u++)
                need(w, &g->umi[u]);
            for (uint32_t k = 0; k < w->plan->n_kind; k++)
                if (w->pass.kinds >> k & 1)
                    need(w, &g->out[k]);
        }
}

sq_err piece_work_new(const struct sq_demux_plan *p, uint32_t pass, struct piece_work **out)
{
    struct piece_work *w = calloc(1, sizeof *w);
    if (!w)
        return sq_fail(SQ_ENOMEM);
    w->plan = p;
    w->pass = demux_pass_of(p, pass);
    w->kernel = sq_demux_kernels();
    w->stride = ((size_t)p->n_cycle + 15) / 16 * 16;
    w->cap_text = SQ_FASTQ_BLOCK + most_line(p);
    w->cap_record = SQ_FASTQ_BLOCK / 16; /* "@a:1:b:1:1:1:1 1:N:0:\n" is longer */
    sq_err e = p->options.level == OWN_LEVEL ? sq_fastq_packer_new(NULL, &w->own) : SQ_OK;
    w->packer = e || w->own ? NULL : libdeflate_alloc_compressor(p->options.level);
    w->record = malloc(w->cap_record * sizeof *w->record);
    w->is_needed = calloc((size_t)p->n_cycle + 1, sizeof *w->is_needed);
    w->column = calloc(1, (size_t)p->n_cycle * SUB_STRIDE + SLACK); /* cycles that aren't needed are turned over, too */
    w->read = piece_room(SQ_DEMUX_PIECE * w->stride + SLACK);
    w->raw = malloc(SUB + SLACK);
    w->scratch = malloc(SUB + SLACK);
    w->cluster = malloc(SQ_DEMUX_PIECE * sizeof *w->cluster);
    w->row = malloc(SQ_DEMUX_PIECE * sizeof *w->row);
    w->turn = malloc(SQ_DEMUX_PIECE * sizeof *w->turn);
    w->start = malloc(((size_t)p->sheet->n_number + 2) * sizeof *w->start);
    w->calls = calloc(1, (size_t)p->n_cycle + SLACK);
    w->look = calloc(p->n_cycle / 32 + 2, sizeof *w->look);
    w->room = malloc((size_t)p->n_cycle + SLACK);
    w->exact = calloc(SQ_DEMUX_PIECE, sizeof *w->exact);
    w->text = malloc(w->cap_text);
    if (e || !(w->own || w->packer) || !w->record || !w->is_needed || !w->column || !w->read || !w->raw || !w->scratch || !w->cluster || !w->row || !w->turn || !w->start || !w->calls || !w->look || !w->room || !w->exact || !w->text) {
        piece_work_free(w);
        return sq_fail(SQ_ENOMEM);
    }
    find_needed(w);
    *out = w;
    return SQ_OK;
}

void piece_work_free(struct piece_work *w)
{
    if (!w)
        return;
    sq_fastq_packer_free(w->own);
    libdeflate_free_compressor(w->packer);
    free(w->record);
    free(w->is_needed);
    free(w->column);
    free(w->read);
    free(w->raw);
    free(w->scratch);
    free(w->cluster);
    free(w->row);
    free(w->turn);
    free(w->start);
    free(w->calls);
    free(w->look);
    free(w->room);
    free(w->exact);
    free(w->tail);
    free(w->text);
    free(w);
}

void piece_out_free(struct piece_out *o)
{
    if (!o)
        return;
    free(o->packed);
    free(o->chunk);
    free(o->counts);
    free(o->tally);
    free(o);
}

/* ---- turning over ---- */

/* Calls of cycle @c of clusters from..to (multiples of 64 but the last) that are written, @n of them. */
static sq_err column_get(struct piece_work *w, const struct demux_tile *t, uint32_t c, uint32_t from, uint32_t to, uint32_t n, uint8_t *out)
{
    const struct tile_row *r = &t->store->row[c];
    if (!r->is_all || r->kind == ROW_MASKED || r->kind == ROW_NONE)
        return tile_store_get(t->store, c, t->pf_before[from / 64], n, w->scratch, out);
    sq_err e = tile_store_get(t->store, c, from, to - from, w->scratch, w->raw);
    if (!e)
        sq_call_kernels()->keep(w->raw, to - from, t->filter.pass + from / 64, n, out);
    return e;
}

/* Reads of clusters from..to into w->read, behind the first @n_before; which clusters they are; sums by cycle. */
static sq_err turn_over(struct piece_work *w, const struct demux_tile *t, uint32_t from, uint32_t to, uint32_t n_before, const struct counts_shape *shape, uint64_t *counts,
                        uint32_t *out_n)
{
    uint32_t n = t->pf_before[(to + 63) / 64] - t->pf_before[from / 64], at = n_before;
    for (uint32_t i = from / 64; i < (to + 63) / 64; i++)
        for (uint64_t bits = t->filter.pass[i]; bits; bits &= bits - 1)
            w->cluster[at++] = i * 64 + (uint32_t)__builtin_ctzll(bits);
    sq_assert(at == n_before + n);
    *out_n = n;
    for (uint32_t c = 0; n && c < w->pass.n_cycle; c++) {
        struct sq_call_sums sums = {0};
        if (!w->is_needed[c])
            continue;
        sq_err e = column_get(w, t, c, from, to, n, w->column + (size_t)c * SUB_STRIDE);
        if (e)
            return e;
        if (c < w->pass.from)
            continue; /* was counted in the pass before */
        w->kernel->sum(w->column + (size_t)c * SUB_STRIDE, n, &sums);
        uint64_t *v = count_cycle(shape, counts, c);
        v[COUNT_CYCLE_QUALITY] += sums.quality;
        v[COUNT_CYCLE_Q30] += sums.n_q30;
        v[COUNT_CYCLE_CALLED] += sums.n_called;
    }
    w->kernel->transpose(w->column, SUB_STRIDE, w->pass.n_cycle, n, w->read + n_before * w->stride, w->stride);
    return SQ_OK;
}

/* The calls of @s of a read: where they lie when they are in one piece, else brought together in @room. */
static const uint8_t *calls_of(const struct demux_spans *s, const uint8_t *read, uint8_t *room)
{
    if (s->n_span == 1)
        return read + s->span[0].from;
    for (uint32_t i = 0, at = 0; i < s->n_span; at += s->span[i++].n)
        memcpy(room + at, read + s->span[i].from, s->span[i].n);
    return room;
}

/* ---- matching ---- */

static sq_err tally_note(struct piece_out *o, const struct tally_key *key)
{
    if (o->n_tally == o->cap_tally) {
        uint32_t cap = o->cap_tally ? 2 * o->cap_tally : 1024;
        struct tally_key *more = realloc(o->tally, cap * sizeof *more);
        if (!more)
            return sq_fail(SQ_ENOMEM);
        o->tally = more;
        o->cap_tally = cap;
    }
    o->tally[o->n_tally++] = *key;
    return SQ_OK;
}

static void keys_of(struct piece_work *w, const struct demux_group *g, const uint8_t *read, struct sq_barcode_key key[2])
{
    for (int k = 0; k < 2; k++)
        key[k] = sq_barcode_key(calls_of(&g->index[k], read, w->calls), g->index[k].n, g->is_reverse[k]);
}

/* Read @n of the piece: its row and whether its indexes are those of the sheet. */
static sq_err match_one(struct piece_work *w, const struct demux_tile *t, uint32_t n, struct piece_out *o, const struct counts_shape *shape)
{
    const uint8_t *read = w->read + n * w->stride;
    const struct demux_lane *lane = &w->plan->lane[t->lane];
    struct sq_barcode_match found = {.row = -1, .hop = {-1, -1}};
    struct sq_barcode_key key[2], first[2] = {{{0}}};
    uint32_t n_found = 0;
    int32_t row = -1;
    for (uint32_t i = 0; i < lane->n_group; i++) {
        const struct demux_group *g = &lane->group[i];
        keys_of(w, g, read, key);
        if (!i)
            memcpy(first, key, sizeof first);
        if (!g->barcodes)
            continue;
        struct sq_barcode_match m = sq_barcodes_match(g->barcodes, key[0], key[1]);
        if (m.row >= 0) {
            n_found++;
            row = (int32_t)g->row[m.row];
            found = m;
        } else if (m.hop[0] >= 0 && found.hop[0] < 0) {
            found.hop[0] = (int32_t)g->row[m.hop[0]];
            found.hop[1] = (int32_t)g->row[m.hop[1]];
        }
    }
    w->row[n] = row = n_found == 1 ? row : -1;
    w->exact[n] = row >= 0 && !found.mismatches && found.is_exact && lane->group[lane->row[row].group].index[0].n;
    if (!w->pass.counts_reads)
        return SQ_OK;
    uint64_t *v = count_row(shape, o->counts, row >= 0 ? (uint32_t)row : lane->n_row);
    v[COUNT_READS]++;
    v[COUNT_PASSED] += !t->passed.pass || (t->passed.pass[w->cluster[n] / 64] >> (w->cluster[n] % 64) & 1);
    if (row >= 0) {
        v[found.mismatches == 0 ? COUNT_MISMATCH_0 : found.mismatches == 1 ? COUNT_MISMATCH_1
                                                                         : COUNT_MISMATCH_2]++;
        return SQ_OK;
    }
    struct tally_key note = {.w = {first[0].w[0], first[0].w[1], first[1].w[0], first[1].w[1]}, .lane = t->lane};
    sq_err e = lane->group[0].index[0].n || lane->group[0].index[1].n ? tally_note(o, &note) : SQ_OK;
    if (!e && !n_found && found.hop[0] >= 0) {
        note = (struct tally_key){.w = {(uint64_t)found.hop[0], (uint64_t)found.hop[1]}, .lane = t->lane, .what = 1};
        e = tally_note(o, &note);
    }
    return e;
}

/* Clusters by sample, each sample's in order. */
static void order_by_sample(struct piece_work *w, const struct demux_lane *lane, uint32_t n)
{
    uint32_t n_number = w->plan->sheet->n_number;
    memset(w->start, 0, ((size_t)n_number + 2) * sizeof *w->start);
    for (uint32_t i = 0; i < n; i++)
        w->start[(w->row[i] < 0 ? 0 : lane->row[w->row[i]].number) + 1]++;
    for (uint32_t k = 1; k <= n_number + 1; k++)
        w->start[k] += w->start[k - 1];
    for (uint32_t i = 0; i < n; i++)
        w->turn[w->start[w->row[i] < 0 ? 0 : lane->row[w->row[i]].number]++] = (struct turn){i, w->cluster[i], w->row[i], w->exact[i]};
    for (uint32_t k = n_number + 1; k > 0; k--) /* each start has moved to the next one */
        w->start[k] = w->start[k - 1];
    w->start[0] = 0;
}

/* ---- packing ---- */

/* The first @n bytes of text, which are whole records, as a BGZF block. What is behind them moves to the front. */
static sq_err block_pack(struct piece_work *w, size_t n, struct piece_out *to)
{
    if (to->cap_packed - to->n_packed < 65536 + 8) {
        size_t cap = to->cap_packed ? 2 * to->cap_packed : (size_t)4 << 20;
        uint8_t *more = piece_room(cap);
        if (!more)
            return sq_fail(SQ_ENOMEM);
        if (to->n_packed)
            memcpy(more, to->packed, to->n_packed);
        free(to->packed);
        to->packed = more;
        to->cap_packed = cap;
    }
    uint8_t *at = to->packed + to->n_packed;
    size_t got = w->own ? sq_fastq_pack(w->own, w->text, n, w->record, w->n_record, at + BLOCK_HEAD)
                        : libdeflate_deflate_compress(w->packer, w->text, n, at + BLOCK_HEAD, 65536 - BLOCK_HEAD - 8);
    sq_assert(got > 0 && got <= 65536 - BLOCK_HEAD - 8); /* SQ_FASTQ_BLOCK stored bytes fit */
    memcpy(at, block_head, BLOCK_HEAD);
    sq_put_le16(at + 16, (uint16_t)(BLOCK_HEAD + got + 8 - 1));
    sq_put_le32(at + BLOCK_HEAD + got, libdeflate_crc32(0, w->text, n));
    sq_put_le32(at + BLOCK_HEAD + got + 4, (uint32_t)n);
    to->n_packed += BLOCK_HEAD + got + 8;
    memmove(w->text, w->text + n, w->n_text - n);
    w->n_text -= n;
    w->n_record = 0;
    return SQ_OK;
}

/* ---- lines ---- */

/* @n bytes, and up to COPY - 1 more: @from and @to have room for them. */
static char *put_text(char *to, const char *from, size_t n)
{
    for (size_t i = 0; i < n; i += COPY)
        memcpy(to + i, from + i, COPY);
    return to + n;
}

static char *put_number(char *to, uint32_t v)
{
    static const char pairs[] = "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
                                "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";
    char digits[10];
    unsigned at = 10;
    while (v > 99) {
        at -= 2;
        memcpy(digits + at, pairs + 2 * (v % 100), 2);
        v /= 100;
    }
    if (v > 9) {
        at -= 2;
        memcpy(digits + at, pairs + 2 * v, 2);
    } else {
        digits[--at] = (char)('0' + v);
    }
    memcpy(to, digits + at, 10 - at);
    return to + (10 - at);
}

static char *put_signed(char *to, int64_t v)
{
    if (v < 0)
        *to++ = '-';
    return put_number(to, (uint32_t)(v < 0 ? -v : v));
}

static char *put_bases(char *to, const uint8_t *call, uint32_t n, bool is_reverse)
{
    for (uint32_t i = 0; i < n; i++) {
        uint8_t c = is_reverse ? call[n - 1 - i] : call[i];
        *to++ = !c ? 'N' : "ACGTTGCA"[(c & 3) + (is_reverse ? 4 : 0)];
    }
    return to;
}

struct line_kind { /* what the lines of one file have in common */
    const struct demux_tile *tile;
    const struct demux_lane *lane;
    uint32_t kind, number;
    const struct counts_shape *shape;
    char prefix[320 + COPY];
    size_t n_prefix;
};

/* Headers of reads whose indexes are those of the sheet end alike. */
static sq_err tails_make(struct piece_work *w, const struct demux_lane *lane)
{
    if (w->tail_of == lane)
        return SQ_OK;
    free(w->tail);
    w->tail_of = NULL;
    w->tail = calloc((size_t)lane->n_row + 1, sizeof *w->tail);
    if (!w->tail)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < lane->n_row; i++) {
        const struct sq_sheet_sample *m = lane->row[i].sample;
        w->tail[i].n = (uint32_t)snprintf(w->tail[i].text, sizeof w->tail[i].text - COPY, ":N:0:%s%s%s\n", m->index[0], *m->index[0] && *m->index[1] ? "+" : "", m->index[1]);
    }
    w->tail_of = lane;
    return SQ_OK;
}

static char *put_header(struct piece_work *w, const struct line_kind *l, const struct demux_group *g, const struct turn *t, const uint8_t *read, char *to, char **out_blank)
{
    uint32_t cluster = t->cluster;
    const struct sq_positions *xy = l->tile->positions;
    to = put_text(to, l->prefix, l->n_prefix);
    to = put_signed(to, xy ? xy->x[cluster] : (int64_t)cluster + 1); /* without positions: numbers that occur once */
    *to++ = ':';
    to = put_signed(to, xy ? xy->y[cluster] : 1);
    for (uint32_t u = 0; u < g->n_umi; u++) {
        *to++ = u ? '+' : ':';
        to = put_bases(to, calls_of(&g->umi[u], read, w->calls), g->umi[u].n, false);
    }
    *out_blank = to;
    *to++ = ' ';
    to = put_number(to, w->plan->kind[l->kind].read_no);
    const struct sq_filter *f = &l->tile->passed;
    if (t->is_exact && !f->pass)
        return put_text(to, w->tail[t->row].text, w->tail[t->row].n);
    *to++ = ':';
    *to++ = f->pass && !(f->pass[cluster / 64] >> (cluster % 64) & 1) ? 'Y' : 'N';
    *to++ = ':';
    *to++ = '0';
    *to++ = ':';
    if (!g->index[0].n && !g->index[1].n)
        to = put_number(to, l->number);
    for (int k = 0; k < 2; k++) {
        if (k && g->index[0].n && g->index[1].n)
            *to++ = '+';
        to = put_bases(to, calls_of(&g->index[k], read, w->calls), g->index[k].n, g->is_reverse[k]);
    }
    *to++ = '\n';
    return to;
}

/* What an adapter leaves of a read: *len bases are written, those from *masked on as N. */
static void cut_adapter(struct piece_work *w, const struct demux_row *row, uint32_t kind, const uint8_t *call, uint32_t n, uint64_t *v, uint32_t *len, uint32_t *masked)
{
    const struct demux_kind *k = &w->plan->kind[kind];
    const struct demux_adapters *a = row && !k->is_index && k->read_no <= 2 ? row->adapter[k->read_no - 1] : NULL;
    *len = *masked = n;
    if (!a)
        return;
    const struct sq_sheet_settings *set = &row->sample->settings;
    uint32_t at = adapter_find(a, set, call, n, w->room, w->look), least = set->min_trimmed < n ? set->min_trimmed : n;
    if (at == n)
        return;
    *masked = at < set->mask_short ? 0 : at;
    if (!set->is_adapter_masked)
        *len = at < least ? least : at;
    v[COUNT_ADAPTER_READS]++;
    v[COUNT_ADAPTER_BASES] += n - at;
}

/* One record behind the text, which has room for it. A block is packed when this one is too many for it. */
static sq_err put_line(struct piece_work *w, const struct line_kind *l, const struct turn *t, struct piece_out *o)
{
    const uint8_t *read = w->read + t->read * w->stride;
    const struct demux_row *row = t->row < 0 ? NULL : &l->lane->row[t->row];
    const struct demux_group *g = &l->lane->group[row ? row->group : 0];
    const struct demux_spans *s = &g->out[l->kind];
    uint64_t *v = count_kind(l->shape, o->counts, row ? (uint32_t)t->row : l->lane->n_row, l->kind);
    uint32_t len, masked;
    if (!s->n)
        return SQ_OK;
    struct sq_fastq_record r = {.head = (uint32_t)w->n_text};
    char *blank, *to = put_header(w, l, g, t, read, (char *)w->text + w->n_text, &blank);
    r.blank = (uint32_t)(blank - (char *)w->text);
    r.base = (uint32_t)(to - (char *)w->text);
    const uint8_t *call = calls_of(s, read, w->calls);
    cut_adapter(w, row, l->kind, call, s->n, v, &len, &masked);
    if (masked > len)
        masked = len;
    struct sq_call_sums sums = {0};
    char *quality = to + len + 3;
    w->kernel->text(call, masked, to, quality, &sums);
    if (masked < len) {
        memset(to + masked, 'N', len - masked);
        memset(quality + masked, 33 + (int)SQ_DEMUX_N_QUALITY, len - masked);
    }
    memcpy(to + len, "\n+\n", 3);
    quality[len] = '\n';
    r.n_base = len;
    w->n_text = (size_t)((uint8_t *)quality + len + 1 - w->text);
    v[COUNT_YIELD] += len;
    v[COUNT_Q30] += sums.n_q30;
    v[COUNT_QUALITY] += sums.quality + (uint64_t)(len - masked) * SQ_DEMUX_N_QUALITY;
    sq_err e = SQ_OK;
    if (w->n_text > SQ_FASTQ_BLOCK || w->n_record == w->cap_record) {
        const uint32_t n = r.head;
        e = block_pack(w, n, o);
        r = (struct sq_fastq_record){0, r.blank - n, r.base - n, len};
    }
    w->record[w->n_record++] = r;
    return e;
}

/* One sample's lines for one kind of file, packed: a chunk. */
static sq_err put_file(struct piece_work *w, struct line_kind *l, uint32_t from, uint32_t to, struct piece_out *o)
{
    size_t begin = o->n_packed;
    sq_err e = SQ_OK;
    w->n_text = w->n_record = 0;
    uint32_t cycle = l->lane->group[0].out[l->kind].span[0].from, n_cycle = l->lane->group[0].out[l->kind].n;
    const struct sq_positions *xy = l->tile->positions;
    for (uint32_t i = from; i < to && !e; i++) {
        const struct turn *soon = &w->turn[i + AHEAD < to ? i + AHEAD : i]; /* reads of a sample lie far apart, and so do their places */
        for (uint32_t k = 0; k < n_cycle; k += 64)
            __builtin_prefetch(w->read + soon->read * w->stride + cycle + k);
        if (xy) {
            __builtin_prefetch(&xy->x[soon->cluster]);
            __builtin_prefetch(&xy->y[soon->cluster]);
        }
        e = put_line(w, l, &w->turn[i], o);
    }
    if (!e && w->n_text)
        e = block_pack(w, w->n_text, o);
    if (e || o->n_packed == begin)
        return e;
    if (o->n_chunk == o->cap_chunk) {
        uint32_t cap = o->cap_chunk ? 2 * o->cap_chunk : 64;
        struct piece_chunk *more = realloc(o->chunk, cap * sizeof *more);
        if (!more)
            return sq_fail(SQ_ENOMEM);
        o->chunk = more;
        o->cap_chunk = cap;
    }
    o->chunk[o->n_chunk++] = (struct piece_chunk){(uint32_t)demux_file_no(w->plan, l->tile->lane, l->number, l->kind), begin, o->n_packed - begin};
    return SQ_OK;
}

static sq_err put_lines(struct piece_work *w, const struct demux_tile *t, const struct counts_shape *shape, struct piece_out *o)
{
    const struct sq_run_info *info = w->plan->info;
    struct line_kind l = {.tile = t, .lane = &w->plan->lane[t->lane], .shape = shape};
    sq_err e = SQ_OK;
    l.n_prefix = (size_t)snprintf(l.prefix, sizeof l.prefix - COPY, "@%s:%llu:%s:%u:%u:", info->instrument, (unsigned long long)info->number, info->flowcell, t->tile->lane, t->tile->tile);
    for (l.number = 0; l.number <= w->plan->sheet->n_number && !e; l.number++)
        for (l.kind = 0; l.kind < w->plan->n_kind && !e && w->start[l.number] < w->start[l.number + 1]; l.kind++)
            if (w->pass.kinds >> l.kind & 1)
                e = put_file(w, &l, w->start[l.number], w->start[l.number + 1], o);
    return e;
}

/* @spare emptied, or a new one. @n: of the numbers of this lane. */
static struct piece_out *out_new(struct piece_out *spare, uint32_t lane, size_t n)
{
    struct piece_out *o = spare ? spare : calloc(1, sizeof *o);
    if (!o)
        return NULL;
    free(o->counts);
    o->lane = lane;
    o->n_packed = o->n_chunk = o->n_tally = 0;
    o->n_call = 0;
    o->counts = calloc(n, sizeof *o->counts);
    if (o->counts)
        return o;
    piece_out_free(o);
    return NULL;
}

sq_err piece_run(struct piece_work *w, const struct demux_tile *t, uint32_t no, struct piece_out *spare, struct piece_out **out)
{
    struct counts_shape shape = counts_shape_of(w->plan, t->lane);
    uint32_t n_cluster = t->filter.n_cluster, from = piece_begin(n_cluster, t->is_last, no), to = piece_begin(n_cluster, t->is_last, no + 1), n = 0;
    sq_assert(from < n_cluster);
    struct piece_out *o = out_new(spare, t->lane, shape.n);
    if (!o)
        return sq_fail(SQ_ENOMEM);
    sq_err e = SQ_OK;
    for (uint32_t at = from; at < to && !e; at += SUB) {
        uint32_t more = 0;
        e = turn_over(w, t, at, to - at < SUB ? to : at + SUB, n, &shape, o->counts, &more);
        n += more;
    }
    for (uint32_t i = 0; i < n && !e; i++)
        e = match_one(w, t, i, o, &shape);
    if (!e) {
        o->counts[COUNT_CLUSTERS] = w->pass.counts_reads ? to - from : 0;
        for (uint32_t i = from / 64; w->pass.counts_reads && i < (to + 63) / 64; i++)
            o->counts[COUNT_PF] += (uint64_t)__builtin_popcountll((t->passed.pass ? t->passed.pass : t->filter.pass)[i]);
        order_by_sample(w, &w->plan->lane[t->lane], n);
        e = tails_make(w, &w->plan->lane[t->lane]);
    }
    if (!e) {
        e = put_lines(w, t, &shape, o);
        o->n_call = (uint64_t)(to - from) * (w->pass.to - w->pass.from);
    }
    if (e) {
        piece_out_free(o);
        return e;
    }
    *out = o;
    return SQ_OK;
}
