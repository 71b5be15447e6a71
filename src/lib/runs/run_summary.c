#include "lib/runs/run_summary.h"

#include "lib/runs/runs_internal.h"

#include <math.h>
#include <stdlib.h>

/* error rates up to so many cycles of a read: all, 35, 75, 100 */
static const uint32_t up_to[] = {UINT32_MAX, 35, 75, 100};
#define N_UP_TO (sizeof up_to / sizeof up_to[0])

#define N_EARLY 25U /* cycles whose slope is the older tables' rate of phasing */

enum { PHASING,
       PREPHASING,
       N_WEIGHT };

/* a line through points, by least squares */
struct fit {
    uint32_t n;
    double x, xx, y[N_WEIGHT], xy[N_WEIGHT];
};

/* one tile, and what is of one of its reads */
struct of_read {
    double aligned, phasing, prephasing, intensity_c1;
    struct fit weight;      /* of phasing metrics, by cycle of the read */
    double early[N_WEIGHT]; /* slopes of the first N_EARLY of them */
    double error_sum[N_UP_TO];
    uint32_t n_error[N_UP_TO], error_last;
    uint64_t n_base, n_q30; /* in usable cycles */
};

struct tile {
    uint32_t lane, tile, surface;
    bool has_metrics, has_quality;
    uint32_t index_reads; /* bit r: read r has index metrics */
    double density, density_pf, n_cluster, n_cluster_pf, n_occupied;
    struct of_read read[SQ_RUN_MAX_READS];
};

struct maker {
    const struct sq_run_info *info;
    uint32_t n_tile, cap;
    struct tile *tile; /* in order of arrival */
    uint32_t n_slot;   /* hash of lane and tile -> place + 1; a power of two */
    uint32_t *slot;
    uint32_t q_last[SQ_RUN_MAX_READS]; /* last cycle of the read that has qualities, 1.. */
    uint32_t phasing_last;             /* last cycle of the run that has phasing metrics */
    struct sq_run_summary *out;
    uint32_t index_next; /* where the next row of an index is looked for first */
};

/* ---- tiles by number ---- */

static uint32_t hash_of(uint32_t lane, uint32_t tile)
{
    uint64_t h = ((uint64_t)lane << 32 | tile) * 0x9e3779b97f4a7c15ULL;
    return (uint32_t)(h >> 32);
}

static sq_err grow(struct maker *m)
{
    uint32_t cap = m->cap ? m->cap * 2 : 64, n_slot = cap * 4;
    struct tile *tile = reallocarray(m->tile, cap, sizeof *tile);
    if (!tile)
        return sq_fail(SQ_ENOMEM);
    m->tile = tile;
    uint32_t *slot = calloc(n_slot, sizeof *slot);
    if (!slot)
        return sq_fail(SQ_ENOMEM);
    free(m->slot);
    m->slot = slot;
    m->n_slot = n_slot;
    m->cap = cap;
    for (uint32_t i = 0; i < m->n_tile; i++) {
        uint32_t at = hash_of(tile[i].lane, tile[i].tile) & (n_slot - 1);
        while (slot[at])
            at = (at + 1) & (n_slot - 1);
        slot[at] = i + 1;
    }
    return SQ_OK;
}

static uint32_t surface_of(uint32_t tile)
{
    if (tile < 1000)
        return 1;
    while (tile > 9)
        tile /= 10;
    return tile;
}

/* The tile of a record, made when it is new. NULL: no memory, or more tiles than any run has. */
static struct tile *tile_of(struct maker *m, const struct sq_interop_record *r)
{
    if (m->n_tile == m->cap && (m->n_tile >= SQ_RUN_MAX_TILES || grow(m)))
        return NULL;
    uint32_t at = hash_of(r->lane, r->tile) & (m->n_slot - 1);
    for (; m->slot[at]; at = (at + 1) & (m->n_slot - 1)) {
        struct tile *t = &m->tile[m->slot[at] - 1];
        if (t->lane == r->lane && t->tile == r->tile)
            return t;
    }
    struct tile *t = &m->tile[m->n_tile];
    *t = (struct tile){.lane = r->lane, .tile = r->tile, .surface = surface_of(r->tile), .n_occupied = NAN};
    for (uint32_t k = 0; k < SQ_RUN_MAX_READS; k++)
        t->read[k].aligned = t->read[k].phasing = t->read[k].prephasing = t->read[k].intensity_c1 = t->read[k].early[PHASING] = t->read[k].early[PREPHASING] = NAN;
    m->slot[at] = ++m->n_tile;
    return t;
}

/* place of the read that has @cycle, and the cycle within it; false: no read has it */
static bool read_at(const struct maker *m, uint32_t cycle, uint32_t *out_read, uint32_t *out_cycle)
{
    for (uint32_t k = 0; k < m->info->n_read; k++) {
        const struct sq_run_read *r = &m->info->read[k];
        if (cycle >= r->first_cycle && cycle < r->first_cycle + r->n_cycle) {
            *out_read = k;
            *out_cycle = cycle - r->first_cycle + 1;
            return true;
        }
    }
    return false;
}

/* the last cycle of a read is left out of yield, quality and error */
static uint32_t n_usable(const struct sq_run_read *r)
{
    return r->n_cycle > 1 ? r->n_cycle - 1 : r->n_cycle;
}

/* ---- one record of each kind ---- */

static sq_err on_tile(void *ctx, const struct sq_interop_head *h, const struct sq_interop_record *r)
{
    struct maker *m = ctx;
    struct tile *t = tile_of(m, r);
    uint32_t code = r->u.tile.code;
    double v = (double)r->u.tile.value;
    if (!t)
        return sq_fail(SQ_ENOMEM);
    if (h->version == 2) {
        t->has_metrics = true;
        uint32_t k = code >= 300 ? code - 300 : code >= 200 ? (code - 200) / 2 : 0;
        if (code == 100)
            t->density = v;
        else if (code == 101)
            t->density_pf = v;
        else if (code == 102)
            t->n_cluster = v;
        else if (code == 103)
            t->n_cluster_pf = v;
        else if (code >= 300 && code < 400 && k < m->info->n_read)
            t->read[k].aligned = v;
        else if (code >= 200 && code < 300 && k < m->info->n_read)
            *(code % 2 ? &t->read[k].prephasing : &t->read[k].phasing) = v < 0 ? 0 : 100 * v; /* a fit can give less than nothing */
    } else if (code == 't') {
        t->has_metrics = true;
        t->n_cluster = (double)r->u.tile.n_cluster;
        t->n_cluster_pf = (double)r->u.tile.n_cluster_pf;
        t->density = t->n_cluster / (double)h->density;
        t->density_pf = t->n_cluster_pf / (double)h->density;
    } else if (code == 'r' && r->read >= 1 && r->read <= m->info->n_read) {
        t->read[r->read - 1].aligned = (double)r->u.tile.aligned;
    }
    return SQ_OK;
}

static sq_err on_extended(void *ctx, const struct sq_interop_head *h, const struct sq_interop_record *r)
{
    struct tile *t = tile_of(ctx, r);
    (void)h;
    if (!t)
        return sq_fail(SQ_ENOMEM);
    t->n_occupied = (double)r->u.extended.n_occupied;
    return SQ_OK;
}

/* of 30 and more: bins that stand for it */
static sq_err on_q(void *ctx, const struct sq_interop_head *h, const struct sq_interop_record *r)
{
    struct maker *m = ctx;
    uint32_t k, cycle;
    if (!read_at(m, r->cycle, &k, &cycle))
        return SQ_OK;
    struct tile *t = tile_of(m, r);
    if (!t)
        return sq_fail(SQ_ENOMEM);
    t->has_quality = true;
    if (cycle > m->q_last[k])
        m->q_last[k] = cycle;
    if (cycle > n_usable(&m->info->read[k]))
        return SQ_OK;
    for (uint32_t i = 0; i < h->n_bin; i++) {
        t->read[k].n_base += r->u.q.count[i];
        if ((h->has_bins ? h->bin_value[i] : i + 1) >= 30)
            t->read[k].n_q30 += r->u.q.count[i];
    }
    return SQ_OK;
}

static sq_err on_error(void *ctx, const struct sq_interop_head *h, const struct sq_interop_record *r)
{
    struct maker *m = ctx;
    uint32_t k, cycle;
    (void)h;
    if (!read_at(m, r->cycle, &k, &cycle) || isnan((double)r->u.error.rate))
        return SQ_OK;
    struct tile *t = tile_of(m, r);
    if (!t)
        return sq_fail(SQ_ENOMEM);
    struct of_read *of = &t->read[k];
    if (cycle > of->error_last)
        of->error_last = cycle;
    if (cycle > n_usable(&m->info->read[k]))
        return SQ_OK;
    for (size_t i = 0; i < N_UP_TO; i++)
        if (cycle <= up_to[i]) {
            of->error_sum[i] += (double)r->u.error.rate;
            of->n_error[i]++;
        }
    return SQ_OK;
}

static sq_err on_extraction(void *ctx, const struct sq_interop_head *h, const struct sq_interop_record *r)
{
    struct maker *m = ctx;
    uint32_t k, cycle;
    if (!h->n_channel || !read_at(m, r->cycle, &k, &cycle) || cycle != 1)
        return SQ_OK;
    struct tile *t = tile_of(m, r);
    if (!t)
        return sq_fail(SQ_ENOMEM);
    t->read[k].intensity_c1 = r->u.extraction.intensity[0];
    return SQ_OK;
}

static double slope_of(const struct fit *f, int which)
{
    double n = f->n;
    return f->n > 1 ? (n * f->xy[which] - f->x * f->y[which]) / (n * f->xx - f->x * f->x) : NAN;
}

static double offset_of(const struct fit *f, int which)
{
    return f->n > 1 ? (f->y[which] - slope_of(f, which) * f->x) / f->n : NAN;
}

static sq_err on_phasing(void *ctx, const struct sq_interop_head *h, const struct sq_interop_record *r)
{
    struct maker *m = ctx;
    uint32_t k, cycle;
    (void)h;
    if (!read_at(m, r->cycle, &k, &cycle))
        return SQ_OK;
    struct tile *t = tile_of(m, r);
    if (!t)
        return sq_fail(SQ_ENOMEM);
    struct fit *f = &t->read[k].weight;
    const double y[N_WEIGHT] = {(double)r->u.phasing.phasing, (double)r->u.phasing.prephasing};
    m->phasing_last = r->cycle > m->phasing_last ? r->cycle : m->phasing_last;
    f->n++;
    f->x += cycle;
    f->xx += (double)cycle * cycle;
    for (int i = 0; i < N_WEIGHT; i++) {
        f->y[i] += y[i];
        f->xy[i] += cycle * y[i];
        if (f->n == N_EARLY)
            t->read[k].early[i] = slope_of(f, i);
    }
    return SQ_OK;
}

/* ---- statistics ---- */

struct sums {
    uint64_t n;
    double sum, sum2, first;
};

static void add_even_nan(struct sums *s, double v)
{
    if (!s->n)
        s->first = v; /* squares of differences: values are large and near each other */
    double d = v - s->first;
    s->n++;
    s->sum += d;
    s->sum2 += d * d;
}

static void add(struct sums *s, double v)
{
    if (!isnan(v))
        add_even_nan(s, v);
}

static struct sq_run_stat stat_of(const struct sums *s)
{
    if (!s->n)
        return (struct sq_run_stat){NAN, NAN};
    double n = (double)s->n, mean = s->sum / n, var = s->n > 1 ? (s->sum2 - n * mean * mean) / (n - 1) : 0;
    return (struct sq_run_stat){s->first + mean, var > 0 ? sqrt(var) : 0};
}

static double ratio(double a, double b)
{
    return b > 0 ? 100 * a / b : NAN;
}

static uint32_t n_done(const struct maker *m, uint32_t k)
{
    uint32_t usable = n_usable(&m->info->read[k]);
    return m->q_last[k] < usable ? m->q_last[k] : usable;
}

/* Bases that the tiles of @lane and @surface (0: all) will have in read @k: by those of its cycles so far; of a read that hasn't begun, by those that have. */
static double projected(const struct maker *m, uint32_t k, uint32_t lane, uint32_t surface)
{
    double base[SQ_RUN_MAX_READS] = {0}, sum = 0, usable = 0;
    for (uint32_t i = 0; i < m->n_tile; i++)
        if ((!lane || m->tile[i].lane == lane) && (!surface || m->tile[i].surface == surface))
            for (uint32_t j = 0; j < m->info->n_read; j++)
                base[j] += (double)m->tile[i].read[j].n_base;
    for (uint32_t j = 0; j < m->info->n_read; j++)
        if (n_done(m, j) && (j == k || !n_done(m, k))) {
            sum += base[j] * n_usable(&m->info->read[j]) / n_done(m, j);
            usable += n_usable(&m->info->read[j]);
        }
    return usable > 0 ? sum / usable * n_usable(&m->info->read[k]) : 0;
}

/* The rate of phasing: of tile metrics; else, of newer instruments, the slope of the first weights. A fit can give less than nothing. */
static double rate_of(double told, double early)
{
    return !isnan(told) ? told : early < 0 ? 0 : early;
}

/* One row: the tiles of @lane and @surface (0: all) */
static void make_row(const struct maker *m, uint32_t k, uint32_t lane, uint32_t surface, struct sq_run_lane_summary *out)
{
    struct sums density = {0}, pf = {0}, phasing = {0}, prephasing = {0}, aligned = {0}, error[N_UP_TO] = {{0}}, occupied = {0}, c1 = {0};
    struct sums slope[N_WEIGHT] = {{0}}, offset[N_WEIGHT] = {{0}};
    uint64_t n_base = 0, n_q30 = 0;
    bool is_aligned = false;
    struct sq_run_lane_summary row = {.lane = lane, .surface = surface};
    for (uint32_t i = 0; i < m->n_tile; i++) {
        const struct tile *t = &m->tile[i];
        const struct of_read *r = &t->read[k];
        if (t->lane != lane)
            continue;
        is_aligned = is_aligned || (t->has_metrics && !isnan(r->aligned));
        if (surface && t->surface != surface)
            continue;
        row.n_tile += m->out->has[SQ_INTEROP_TILE] ? t->has_metrics : t->has_quality;
        if (t->has_metrics) {
            row.reads += t->n_cluster;
            row.reads_pf += t->n_cluster_pf;
            add(&density, t->density / 1000);
            add(&pf, ratio(t->n_cluster_pf, t->n_cluster));
            add(&phasing, rate_of(r->phasing, r->early[PHASING]));
            add(&prephasing, rate_of(r->prephasing, r->early[PREPHASING]));
            add(&aligned, r->aligned);
            add(&occupied, ratio(t->n_occupied, t->n_cluster));
        }
        for (int w = 0; w < N_WEIGHT && r->weight.n && m->phasing_last >= N_EARLY; w++) { /* as Illumina's table: one tile without a line, and the row has none */
            add_even_nan(&slope[w], slope_of(&r->weight, w));
            add_even_nan(&offset[w], offset_of(&r->weight, w));
        }
        add(&c1, r->intensity_c1);
        for (size_t e = 0; e < N_UP_TO; e++)
            add(&error[e], r->n_error[e] && (!e || r->error_last >= up_to[e]) ? r->error_sum[e] / r->n_error[e] : NAN);
        if (r->error_last && (!row.error_first || r->error_last < row.error_first))
            row.error_first = r->error_last;
        if (r->error_last > row.error_last)
            row.error_last = r->error_last;
        n_base += r->n_base;
        n_q30 += r->n_q30;
    }
    if (surface && !is_aligned) /* so Illumina's table has it: of a read that wasn't aligned the lane has phasing, its surfaces don't */
        phasing = prephasing = (struct sums){0};
    row.density = stat_of(&density);
    row.percent_pf = stat_of(&pf);
    row.phasing = stat_of(&phasing);
    row.prephasing = stat_of(&prephasing);
    row.phasing_slope = stat_of(&slope[PHASING]);
    row.phasing_offset = stat_of(&offset[PHASING]);
    row.prephasing_slope = stat_of(&slope[PREPHASING]);
    row.prephasing_offset = stat_of(&offset[PREPHASING]);
    row.aligned = stat_of(&aligned);
    row.error = stat_of(&error[0]);
    row.error_35 = stat_of(&error[1]);
    row.error_75 = stat_of(&error[2]);
    row.error_100 = stat_of(&error[3]);
    row.occupied = stat_of(&occupied);
    row.intensity_c1 = stat_of(&c1);
    row.yield_g = n_base ? (double)n_base / 1e9 : NAN;
    row.projected_yield_g = projected(m, k, lane, surface) / 1e9;
    row.q30 = ratio((double)n_q30, (double)n_base);
    *out = row;
}

/* Sums behind a line of the first table: of one read, of the reads that aren't indexes, of all. */
struct level_sums {
    double yield, projected, q30_base, base;
    double occupied, wells; /* clusters of tiles that say how many wells are occupied */
    struct sums aligned, error, c1;
};

static void add_tiles(const struct maker *m, uint32_t k, struct level_sums *s)
{
    s->projected += projected(m, k, 0, 0) / 1e9;
    for (uint32_t i = 0; i < m->n_tile; i++) {
        const struct tile *t = &m->tile[i];
        const struct of_read *r = &t->read[k];
        s->yield += (double)r->n_base / 1e9;
        s->base += (double)r->n_base;
        s->q30_base += (double)r->n_q30;
        if (t->has_metrics) {
            add(&s->aligned, r->aligned);
            if (!isnan(t->n_occupied)) {
                s->occupied += t->n_occupied;
                s->wells += t->n_cluster;
            }
        }
        add(&s->error, r->n_error[0] ? r->error_sum[0] / r->n_error[0] : NAN);
        add(&s->c1, r->intensity_c1);
    }
}

static struct sq_run_level level_of(const struct sq_run_summary *of, const struct level_sums *s)
{
    /* what is measured in this run, but not yet here, is 0 */
    double no_tile = of->has[SQ_INTEROP_TILE] ? 0 : NAN, no_quality = of->has[SQ_INTEROP_Q] ? 0 : NAN, no_intensity = of->has[SQ_INTEROP_EXTRACTION] ? 0 : NAN;
    return (struct sq_run_level){
        .yield_g = of->has[SQ_INTEROP_Q] ? s->yield : NAN,
        .projected_yield_g = s->projected,
        .aligned = s->aligned.n ? stat_of(&s->aligned).mean : no_tile,
        .error_rate = stat_of(&s->error).mean,
        .intensity_c1 = s->c1.n ? stat_of(&s->c1).mean : no_intensity,
        .q30 = s->base > 0 ? ratio(s->q30_base, s->base) : no_quality,
        .occupied = s->wells > 0 ? ratio(s->occupied, s->wells) : of->has[SQ_INTEROP_EXTENDED_TILE] && !of->has[SQ_INTEROP_TILE] ? 0 : NAN,
    };
}

static sq_err make_read(const struct maker *m, uint32_t k, struct sq_run_read_summary *out)
{
    uint32_t n_lane = 0, n_surface = 1;
    for (uint32_t i = 0; i < m->n_tile; i++) {
        if (m->tile[i].lane > n_lane && m->tile[i].lane <= SQ_RUN_MAX_LANES)
            n_lane = m->tile[i].lane;
        if (m->tile[i].surface > n_surface)
            n_surface = m->tile[i].surface;
    }
    if (m->info->n_surface)
        n_surface = m->info->n_surface;
    out->row = calloc((size_t)n_lane * (n_surface + 1) + 1, sizeof *out->row);
    if (!out->row)
        return sq_fail(SQ_ENOMEM);
    out->number = m->info->read[k].number;
    out->is_index = m->info->read[k].is_index;
    for (uint32_t l = 1; l <= n_lane; l++)
        for (uint32_t s = 0; s <= n_surface; s += n_surface == 1 ? 2 : 1)
            make_row(m, k, l, s, &out->row[out->n_row++]);
    struct level_sums sums = {0};
    add_tiles(m, k, &sums);
    out->level = level_of(m->out, &sums);
    return SQ_OK;
}

/* ---- indexes ---- */

static struct sq_run_index_lane *index_lane_of(struct sq_run_summary *s, uint32_t lane)
{
    for (uint32_t i = 0; i < s->n_index_lane; i++)
        if (s->index[i].lane == lane)
            return &s->index[i];
    struct sq_run_index_lane *p = s->n_index_lane < SQ_RUN_MAX_LANES ? reallocarray(s->index, s->n_index_lane + 1, sizeof *p) : NULL;
    if (!p)
        return NULL;
    s->index = p;
    p += s->n_index_lane++;
    *p = (struct sq_run_index_lane){.lane = lane};
    return p;
}

static sq_err on_index(void *ctx, const struct sq_interop_head *h, const struct sq_interop_record *r)
{
    struct maker *m = ctx;
    struct sq_run_summary *s = m->out;
    const uint32_t most = 20000; /* samples of a lane */
    (void)h;
    struct sq_run_index_lane *l = r->lane <= SQ_RUN_MAX_LANES ? index_lane_of(s, r->lane) : NULL;
    if (!l)
        return sq_fail(r->lane <= SQ_RUN_MAX_LANES ? SQ_ENOMEM : SQ_ERUNFILE);
    struct tile *t = tile_of(m, r);
    if (!t)
        return sq_fail(SQ_ENOMEM);
    t->index_reads |= 1U << (r->read & 31);
    struct sq_run_index_row row = {.n_cluster = r->u.index.n_cluster};
    size_t cut = strcspn(r->u.index.index, "-+");
    memcpy(row.index[0], r->u.index.index, cut);
    if (r->u.index.index[cut])
        memcpy(row.index[1], r->u.index.index + cut + 1, strlen(r->u.index.index + cut + 1) + 1);
    memcpy(row.sample, r->u.index.sample, sizeof row.sample);
    memcpy(row.project, r->u.index.project, sizeof row.project);
    for (uint32_t i = 0; i < l->n_row; i++, m->index_next++) { /* each tile has them in the same order */
        struct sq_run_index_row *old = &l->row[m->index_next % l->n_row];
        if (!strcmp(old->index[0], row.index[0]) && !strcmp(old->index[1], row.index[1]) && !strcmp(old->sample, row.sample)) {
            old->n_cluster += row.n_cluster;
            m->index_next++;
            return SQ_OK;
        }
    }
    if (l->n_row == most)
        return sq_fail(SQ_ERUNFILE);
    if ((l->n_row & (l->n_row - 1)) == 0) { /* full at 0, 1, 2, 4, 8, ... */
        struct sq_run_index_row *p = reallocarray(l->row, l->n_row ? l->n_row * 2 : 1, sizeof *p);
        if (!p)
            return sq_fail(SQ_ENOMEM);
        l->row = p;
    }
    l->row[l->n_row++] = row;
    return SQ_OK;
}

static int by_lane(const void *a, const void *b)
{
    const struct sq_run_index_lane *x = a, *y = b;
    return x->lane < y->lane ? -1 : x->lane > y->lane;
}

static void finish_index(const struct maker *m, struct sq_run_summary *s)
{
    if (s->n_index_lane)
        qsort(s->index, s->n_index_lane, sizeof *s->index, by_lane);
    for (uint32_t i = 0; i < s->n_index_lane; i++) {
        struct sq_run_index_lane *l = &s->index[i];
        struct sums percent = {0};
        for (uint32_t k = 0; k < m->n_tile; k++)
            if (m->tile[k].lane == l->lane && m->tile[k].has_metrics) {
                /* where both indexes have metrics, clusters count twice, as their reads do: so Illumina's table has it */
                int n_index = __builtin_popcount(m->tile[k].index_reads);
                l->reads += n_index * m->tile[k].n_cluster;
                l->reads_pf += n_index * m->tile[k].n_cluster_pf;
            }
        l->least = l->n_row ? INFINITY : NAN;
        l->most = l->n_row ? -INFINITY : NAN;
        for (uint32_t k = 0; k < l->n_row; k++) {
            l->row[k].percent = ratio((double)l->row[k].n_cluster, l->reads_pf);
            l->identified += l->row[k].percent;
            l->least = fmin(l->least, l->row[k].percent);
            l->most = fmax(l->most, l->row[k].percent);
            add(&percent, l->row[k].percent);
        }
        struct sq_run_stat stat = stat_of(&percent);
        l->cv = stat.mean > 0 ? stat.sd / stat.mean : NAN;
    }
}

/* ---- all of it ---- */

static sq_err read_all(const struct sq_run *run, struct maker *m, struct sq_run_why *why)
{
    static const struct {
        enum sq_interop_kind kind;
        sq_interop_fn fn;
    } rows[] = {{SQ_INTEROP_TILE, on_tile},             {SQ_INTEROP_EXTENDED_TILE, on_extended}, {SQ_INTEROP_Q, on_q}, {SQ_INTEROP_ERROR, on_error},
                {SQ_INTEROP_EXTRACTION, on_extraction}, {SQ_INTEROP_INDEX, on_index},         {SQ_INTEROP_PHASING, on_phasing}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct sq_interop_end end;
        sq_err e = sq_interop_read(run, rows[i].kind, why, rows[i].fn, m, &end);
        if (e == SQ_ERUNMISSING)
            continue;
        if (e == SQ_ERUNFILE && why && !why->detail[0])
            return run_bad(why, e, "it has more lanes or samples than any run");
        if (e)
            return e;
        m->out->has[rows[i].kind] = true;
        m->out->is_growing = m->out->is_growing || end.n_left;
    }
    if (!m->out->has[SQ_INTEROP_TILE] && !m->out->has[SQ_INTEROP_Q]) {
        run_at(why, 0, 0, 0, "InterOp/TileMetricsOut.bin");
        return run_bad(why, sq_fail(SQ_ERUNMISSING), "neither this nor InterOp/QMetricsOut.bin is there");
    }
    return SQ_OK;
}

sq_err sq_run_summarize(const struct sq_run *run, struct sq_run_why *why, struct sq_run_summary *out)
{
    struct sq_run_summary s = {0};
    struct maker m = {.info = sq_run_info_of(run), .out = &s};
    sq_err e = read_all(run, &m, why);
    if (!e && !(s.read = calloc(m.info->n_read + 1U, sizeof *s.read)))
        e = sq_fail(SQ_ENOMEM);
    struct level_sums non_index = {0}, total = {0};
    for (uint32_t k = 0; k < m.info->n_read && !e; k++) {
        e = make_read(&m, k, &s.read[k]);
        s.n_read += !e;
        add_tiles(&m, k, &total);
        if (!m.info->read[k].is_index)
            add_tiles(&m, k, &non_index);
    }
    s.total = level_of(&s, &total);
    s.non_index = level_of(&s, &non_index);
    if (!e)
        finish_index(&m, &s);
    free(m.tile);
    free(m.slot);
    if (e)
        sq_run_summary_done(&s);
    else
        *out = s;
    return e;
}

void sq_run_summary_done(struct sq_run_summary *s)
{
    if (!s)
        return;
    for (uint32_t i = 0; i < s->n_read; i++)
        free(s->read[i].row);
    for (uint32_t i = 0; i < s->n_index_lane; i++)
        free(s->index[i].row);
    free(s->read);
    free(s->index);
    *s = (struct sq_run_summary){0};
}
