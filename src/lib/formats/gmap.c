#include "lib/formats/gmap.h"

#include "lib/formats/source.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

enum kind { KIND_SHAPEIT,
            KIND_EAGLE,
            KIND_PLINK };
static const struct {
    const char *name;
    uint32_t n_column, chrom, pos, cm;
} kinds[] = {[KIND_SHAPEIT] = {"SHAPEIT", 3, 1, 0, 2},
             [KIND_EAGLE] = {"Eagle", 4, 0, 1, 3},
             [KIND_PLINK] = {"PLINK", 4, 0, 3, 2}};

#define MAX_COLUMN 5
#define MAX_WORD 64

static sq_err bad(struct sq_why *why, uint64_t line, uint32_t column, const char *detail)
{
    return sq_why_set(why, sq_fail(SQ_EMAP), line, column, "map", "%s", detail);
}

bool sq_chrom_same(const char *a, const char *b)
{
    const char *name[2] = {a, b};
    for (int i = 0; i < 2; i++) {
        if (!strncasecmp(name[i], "chr", 3))
            name[i] += 3;
        if (!strcmp(name[i], "23"))
            name[i] = "X";
        if (!strcmp(name[i], "M"))
            name[i] = "MT";
    }
    return !strcasecmp(name[0], name[1]);
}

/* Words between blanks and tabs, at most MAX_COLUMN. Returns their number; MAX_COLUMN + 1: a word is too long. */
static uint32_t split(struct sq_span line, char word[MAX_COLUMN][MAX_WORD])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < line.n && n < MAX_COLUMN;) {
        while (i < line.n && (line.p[i] == ' ' || line.p[i] == '\t'))
            i++;
        uint32_t from = i;
        while (i < line.n && line.p[i] != ' ' && line.p[i] != '\t')
            i++;
        if (i == from)
            break;
        if (i - from >= MAX_WORD || memchr(line.p + from, 0, i - from))
            return MAX_COLUMN + 1;
        memcpy(word[n], line.p + from, i - from);
        word[n++][i - from] = 0;
    }
    return n;
}

static bool number_of(const char *s, double *out)
{
    char *end;
    errno = 0;
    *out = strtod(s, &end);
    return end != s && !*end && !errno && isfinite(*out);
}

static bool position_of(const char *s, int64_t *out)
{
    double v;
    if (!number_of(s, &v) || v < 0 || v > 4e9 || v != floor(v) || strpbrk(s, "xXpP"))
        return false;
    *out = (int64_t)v;
    return true;
}

/* What the first line says. *out_is_header: it holds no data. */
static bool kind_of(char word[MAX_COLUMN][MAX_WORD], uint32_t n, enum kind *out, bool *out_is_header)
{
    double v;
    int64_t pos;
    *out_is_header = true;
    if (n == 3 && !strcasecmp(word[0], "pos") && !strcasecmp(word[1], "chr") && !strcasecmp(word[2], "cM")) {
        *out = KIND_SHAPEIT;
        return true;
    }
    if (n == 4 && !strcasecmp(word[0], "chr") && !strcasecmp(word[1], "position") && strstr(word[2], "ate") &&
        strstr(word[3], "ap")) {
        *out = KIND_EAGLE;
        return true;
    }
    *out_is_header = false;
    *out = KIND_PLINK;
    return n == 4 && number_of(word[2], &v) && position_of(word[3], &pos);
}

static sq_err add_row(struct sq_gmap *m, size_t *cap, int64_t pos, double cm, uint64_t line, struct sq_why *why)
{
    if (m->n && pos <= m->pos_bp[m->n - 1]) {
        if (pos == m->pos_bp[m->n - 1] && !(cm < m->cm[m->n - 1]) && !(cm > m->cm[m->n - 1]))
            return SQ_OK;
        return bad(why, line, 0, "positions must ascend");
    }
    if (m->n && cm < m->cm[m->n - 1])
        return bad(why, line, 0, "the cM column falls");
    if (m->n >= SQ_GMAP_MAX_ROWS)
        return sq_why_set(why, sq_fail(SQ_EMAP), line, 0, "map", "more than %u rows", SQ_GMAP_MAX_ROWS);
    if (m->n == *cap) {
        *cap = *cap ? *cap * 2 : 4096;
        int64_t *p = realloc(m->pos_bp, *cap * sizeof *p);
        if (p)
            m->pos_bp = p;
        double *c = realloc(m->cm, *cap * sizeof *c);
        if (c)
            m->cm = c;
        if (!p || !c)
            return sq_fail(SQ_ENOMEM);
    }
    m->pos_bp[m->n] = pos;
    m->cm[m->n++] = cm;
    return SQ_OK;
}

static sq_err read_rows(struct sq_source *s, const char *chrom, struct sq_why *why, struct sq_gmap *m)
{
    enum kind kind = KIND_PLINK;
    uint64_t n_data = 0;
    size_t cap = 0;
    for (bool is_first = true;; is_first = false) {
        struct sq_span line;
        bool has_line, is_header = false;
        sq_err e = sq_source_line(s, why, &line, &has_line);
        if (e)
            return e;
        if (!has_line)
            break;
        char word[MAX_COLUMN][MAX_WORD];
        uint64_t line_no = sq_source_line_no(s);
        uint32_t n = split(line, word);
        if (is_first && !kind_of(word, n, &kind, &is_header))
            return bad(why, line_no, 0,
                       "the first line fits none of: 'pos chr cM', 'chr position rate Genetic_Map', chr id cM bp");
        if (is_header)
            continue;
        double cm;
        int64_t pos;
        if (n != kinds[kind].n_column)
            return sq_why_set(why, sq_fail(SQ_EMAP), line_no, 0, "map", "a row of a %s map has %u columns",
                              kinds[kind].name, kinds[kind].n_column);
        if (!position_of(word[kinds[kind].pos], &pos))
            return bad(why, line_no, kinds[kind].pos + 1, "the position is not a whole number");
        if (!number_of(word[kinds[kind].cm], &cm) || cm < -1000 || cm > 10000)
            return bad(why, line_no, kinds[kind].cm + 1, "the cM column is not a number between -1000 and 10000");
        n_data++;
        if (!sq_chrom_same(word[kinds[kind].chrom], chrom))
            continue;
        e = add_row(m, &cap, pos, cm, line_no, why);
        if (e)
            return e;
    }
    if (m->n < 2)
        return sq_why_set(why, sq_fail(SQ_EMAP), 0, 0, "chr",
                          "%llu rows, of which %zu are of the panel's chromosome; 2 are needed",
                          (unsigned long long)n_data, m->n);
    return SQ_OK;
}

sq_err sq_gmap_read(int fd, const char *chrom, struct sq_why *why, struct sq_gmap *out)
{
    struct sq_gmap m = {0};
    struct sq_source *s = NULL;
    struct sq_source_limits limits = {.max_bytes = (uint64_t)4 << 30, .max_ratio = SQ_SOURCE_MAX_RATIO};
    sq_err e = sq_source_open(fd, &limits, why, &s);
    if (!e)
        e = read_rows(s, chrom, why, &m);
    sq_source_close(s);
    if (e) {
        sq_gmap_done(&m);
        /* a damaged file is, seen from outside, a wrong map: the reason stays in `why` */
        return e == SQ_EIO || e == SQ_ENOMEM ? e : SQ_EMAP;
    }
    *out = m;
    return SQ_OK;
}

void sq_gmap_done(struct sq_gmap *m)
{
    if (!m)
        return;
    free(m->pos_bp);
    free(m->cm);
    *m = (struct sq_gmap){0};
}

double sq_gmap_cm(const struct sq_gmap *m, int64_t pos_bp)
{
    if (!m->n)
        return (double)pos_bp * (SQ_GMAP_OUTSIDE_CM_PER_MB * 1e-6);
    if (pos_bp <= m->pos_bp[0])
        return m->cm[0] - (double)(m->pos_bp[0] - pos_bp) * (SQ_GMAP_OUTSIDE_CM_PER_MB * 1e-6);
    if (pos_bp >= m->pos_bp[m->n - 1])
        return m->cm[m->n - 1] + (double)(pos_bp - m->pos_bp[m->n - 1]) * (SQ_GMAP_OUTSIDE_CM_PER_MB * 1e-6);
    size_t low = 0, high = m->n - 1; /* pos_bp[low] <= pos < pos_bp[high] */
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if (m->pos_bp[mid] <= pos_bp)
            low = mid;
        else
            high = mid;
    }
    double share = (double)(pos_bp - m->pos_bp[low]) / (double)(m->pos_bp[high] - m->pos_bp[low]);
    return m->cm[low] + share * (m->cm[high] - m->cm[low]);
}
