/* Where clusters lie: locs (one file a tile, a lane or a run), clocs, _pos.txt. As read names show them. docs/formats/run-positions.md. */
#include "lib/runs/runs_internal.h"

#include <math.h>
#include <stdlib.h>

#define CLOCS_BIN 250      /* a bin is 25 pixels wide, positions count tenths */
#define CLOCS_BINS_OF_ROW 82 /* an image is 2048 pixels wide */
#define POSITION_MOST 100000000.0

/* floor(10 v + 1000.5) in double; out of any image: not a number, or larger than an int holds */
static bool take_position(double v, int32_t *out)
{
    double p = floor(10 * v + 1000.5);
    if (!(p >= -POSITION_MOST && p <= POSITION_MOST))
        return false;
    *out = (int32_t)p;
    return true;
}

static sq_err make(uint64_t n, struct sq_run_why *why, struct sq_positions *out)
{
    if (n > SQ_RUN_MAX_CLUSTERS)
        return run_bad(why, sq_fail(SQ_ERUNFILE), "%llu clusters; at most %u are read", (unsigned long long)n, SQ_RUN_MAX_CLUSTERS);
    *out = (struct sq_positions){.n = (uint32_t)n, .x = calloc((size_t)n + 1, sizeof *out->x), .y = calloc((size_t)n + 1, sizeof *out->y)};
    return out->x && out->y ? SQ_OK : sq_fail(SQ_ENOMEM);
}

static float f32_at(const uint8_t *p)
{
    uint32_t bits = sq_get_le32(p);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* u32 1, f32 1.0, u32 n, n x (f32, f32) */
static sq_err read_locs(const struct sq_run *run, const struct sq_run_tile *t, const struct run_file *f, struct sq_run_why *why, struct sq_positions *out)
{
    uint8_t head[12], part[8192];
    sq_err e = run_file_read(f, 0, head, sizeof head, why);
    uint64_t n = e ? 0 : sq_get_le32(head + 8), at = 12, right = 12 + 8 * n;
    if (!e && (sq_get_le32(head) != 1 || sq_get_le32(head + 4) != 0x3f800000U))
        e = run_bad_at(why, sq_fail(SQ_ERUNFILE), 0, "it doesn't begin with 1 and 1.0");
    if (!e && f->size < right)
        e = run_bad_at(why, sq_fail(SQ_ERUNCUT), f->size, "it ends after %llu of %llu bytes", (unsigned long long)f->size, (unsigned long long)right);
    if (!e && f->size > right)
        e = run_bad_at(why, sq_fail(SQ_ERUNFILE), right, "it has %llu bytes, for %llu clusters %llu are right", (unsigned long long)f->size,
                       (unsigned long long)n, (unsigned long long)right);
    if (!e && run->positions == SQ_POSITIONS_LANE_LOCS) {
        const struct run_lane *lane = &run->lane[t->lane];
        if (!lane->has_index)
            return run_bad(why, sq_fail(SQ_ERUNMISSING), "without the lane's tile index, s_%u.bci, its tiles can't be told apart", t->lane);
        uint32_t place = run_tile_place(run, t);
        if (n != lane->first[lane->n_tile])
            e = run_bad_at(why, sq_fail(SQ_ERUNFILE), 8, "it has %llu clusters; the lane's tile index has %llu", (unsigned long long)n,
                           (unsigned long long)lane->first[lane->n_tile]);
        at += 8 * lane->first[place];
        n = lane->n_cluster[place];
    }
    if (!e)
        e = make(n, why, out);
    for (uint64_t i = 0; i < n && !e;) {
        size_t take = n - i < sizeof part / 8 ? (size_t)(n - i) : sizeof part / 8;
        e = run_file_read(f, at + 8 * i, part, 8 * take, why);
        for (size_t k = 0; k < take && !e; k++, i++)
            if (!take_position((double)f32_at(part + 8 * k), &out->x[i]) || !take_position((double)f32_at(part + 8 * k + 4), &out->y[i]))
                e = run_bad_at(why, sq_fail(SQ_ERUNFILE), at + 8 * i, "position %llu is impossible", (unsigned long long)i + 1);
    }
    return e;
}

/* All of a file in memory: what a tile has, a few bytes a cluster */
static sq_err read_all(const struct run_file *f, struct sq_run_why *why, uint8_t **out)
{
    if (f->size > 24ULL * SQ_RUN_MAX_CLUSTERS)
        return run_bad(why, sq_fail(SQ_ERUNFILE), "it has %llu bytes; at most %llu are read", (unsigned long long)f->size, 24ULL * SQ_RUN_MAX_CLUSTERS);
    uint8_t *p = malloc((size_t)f->size + 1);
    sq_err e = p ? run_file_read(f, 0, p, (size_t)f->size, why) : sq_fail(SQ_ENOMEM);
    if (e)
        free(p);
    else
        *out = p;
    return e;
}

/* u8 1, u32 bins, per bin u8 n and n x (u8, u8). @out NULL: only counted and checked. */
static sq_err walk_clocs(const uint8_t *p, size_t n, struct sq_run_why *why, uint64_t *out_n, struct sq_positions *out)
{
    if (n < 5)
        return run_bad_at(why, sq_fail(SQ_ERUNCUT), n, "it ends within its head");
    if (p[0] != 1)
        return run_bad_at(why, sq_fail(SQ_ERUNFILE), 0, "version %u; only 1 is known", p[0]);
    uint32_t n_bin = sq_get_le32(p + 1);
    size_t at = 5;
    uint64_t total = 0;
    if (n_bin > 10000000)
        return run_bad_at(why, sq_fail(SQ_ERUNFILE), 1, "%u bins are impossible", n_bin);
    for (uint32_t bin = 0; bin < n_bin; bin++) {
        size_t count = at < n ? p[at] : 0;
        if (at >= n || n - at - 1 < 2 * count)
            return run_bad_at(why, sq_fail(SQ_ERUNCUT), n, "it ends within bin %u of %u", bin + 1, n_bin);
        at++;
        for (size_t i = 0; i < count; i++, at += 2, total++) {
            if (!out)
                continue;
            out->x[total] = (int32_t)(bin % CLOCS_BINS_OF_ROW) * CLOCS_BIN + p[at] + 1000;
            out->y[total] = (int32_t)(bin / CLOCS_BINS_OF_ROW) * CLOCS_BIN + p[at + 1] + 1000;
        }
    }
    if (at != n)
        return run_bad_at(why, sq_fail(SQ_ERUNFILE), at, "%zu bytes stand behind its last bin", n - at);
    *out_n = total;
    return SQ_OK;
}

/* "-12.34" without the C library's locale; false: no number */
static bool take_decimal(const uint8_t **p, const uint8_t *end, double *out)
{
    const uint8_t *s = *p;
    double v = 0, unit = 1;
    bool is_negative = s < end && *s == '-', has_digit = false;
    s += is_negative;
    for (; s < end && *s >= '0' && *s <= '9' && v < POSITION_MOST; s++, has_digit = true)
        v = v * 10 + (*s - '0');
    if (s < end && *s == '.')
        for (s++; s < end && *s >= '0' && *s <= '9'; s++, has_digit = true)
            v += (*s - '0') * (unit /= 10);
    *p = s;
    *out = is_negative ? -v : v;
    return has_digit;
}

/* a line a cluster: x, blanks, y. @out NULL: only counted. */
static sq_err walk_text(const uint8_t *p, size_t n, struct sq_run_why *why, uint64_t *out_n, struct sq_positions *out)
{
    uint64_t total = 0;
    for (const uint8_t *s = p, *end = p + n; s < end; total++) {
        const uint8_t *from = s;
        double v[2] = {0, 0};
        int32_t place[2];
        bool is_good = true;
        for (int i = 0; i < 2; i++) {
            while (s < end && (*s == ' ' || *s == '\t'))
                s++;
            is_good = is_good && take_decimal(&s, end, &v[i]) && take_position(v[i], &place[i]);
        }
        while (s < end && (*s == ' ' || *s == '\t' || *s == '\r'))
            s++;
        if (!is_good || (s < end && *s != '\n'))
            return run_bad_at(why, sq_fail(SQ_ERUNFILE), (uint64_t)(from - p), "line %llu isn't a pair of numbers", (unsigned long long)total + 1);
        s += s < end;
        if (out) {
            out->x[total] = place[0];
            out->y[total] = place[1];
        }
    }
    *out_n = total;
    return SQ_OK;
}

/* What has no count in front is walked twice: to count, and to fill. */
typedef sq_err (*position_walk)(const uint8_t *p, size_t n, struct sq_run_why *why, uint64_t *out_n, struct sq_positions *out);

static sq_err read_by(position_walk walk, const struct run_file *f, struct sq_run_why *why, struct sq_positions *out)
{
    uint8_t *p = NULL;
    uint64_t n = 0;
    sq_err e = read_all(f, why, &p);
    if (!e)
        e = walk(p, (size_t)f->size, why, &n, NULL);
    if (!e)
        e = make(n, why, out);
    if (!e)
        e = walk(p, (size_t)f->size, why, &n, out);
    free(p);
    return e;
}

sq_err sq_positions_read(const struct sq_run *run, const struct sq_run_tile *tile, struct sq_run_why *why, struct sq_positions *out)
{
    char path[RUN_MAX_PATH];
    struct run_file f = {.fd = -1};
    struct sq_positions p = {0};
    sq_err e = SQ_ENOTFOUND;
    for (unsigned no = 0; e == SQ_ENOTFOUND && run_path_positions(run, tile, run->positions, no, path); no++) {
        run_at(why, tile->lane, tile->tile, 0, path);
        e = run_file_open(run, path, why, &f);
    }
    if (e == SQ_ENOTFOUND) {
        run_path_positions(run, tile, run->positions, 0, path);
        run_at(why, tile->lane, tile->tile, 0, path);
        return run_missing(why);
    }
    if (!e)
        e = run->positions == SQ_POSITIONS_CLOCS  ? read_by(walk_clocs, &f, why, &p)
            : run->positions == SQ_POSITIONS_TEXT ? read_by(walk_text, &f, why, &p)
                                                  : read_locs(run, tile, &f, why, &p);
    run_file_close(&f);
    if (e)
        sq_positions_done(&p);
    else
        *out = p;
    return e;
}

void sq_positions_done(struct sq_positions *p)
{
    if (!p)
        return;
    free(p->x);
    free(p->y);
    *p = (struct sq_positions){0};
}
