#include "lib/formats/gmap.h"

#include "lib/formats/source.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <strings.h>

/* Which column holds what; without a header line it is PLINK's. */
struct layout {
    const char *name;
    uint32_t n_column, chrom, pos, cm;
};

enum column { COLUMN_CHROM,
              COLUMN_POS,
              COLUMN_CM,
              COLUMN_OTHER,
              N_COLUMN };
static const struct {
    const char *word; /* lower case */
    enum column column;
} titles[] = {{"chr", COLUMN_CHROM}, {"chrom", COLUMN_CHROM}, {"chromosome", COLUMN_CHROM},
              {"pos", COLUMN_POS}, {"position", COLUMN_POS}, {"position(bp)", COLUMN_POS}, {"bp", COLUMN_POS},
              {"cm", COLUMN_CM}, {"genetic_map(cm)", COLUMN_CM}, {"map(cm)", COLUMN_CM},
              {"rate", COLUMN_OTHER}, {"rate(cm/mb)", COLUMN_OTHER}, {"combined_rate(cm/mb)", COLUMN_OTHER}, {"id", COLUMN_OTHER}};

#define MAX_COLUMN 5
#define MAX_WORD 64

/* what no stretch of a human chromosome has; rows that span less say nothing */
#define MIN_RATE_BP 1000000
#define MIN_CM_PER_MB 0.005
#define MAX_CM_PER_MB 500.0

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
    return end != s && !*end && !errno && isfinite(*out) && !strpbrk(s, "xXpP");
}

static bool position_of(const char *s, int64_t *out)
{
    double v;
    if (!number_of(s, &v) || v < 0 || v > 4e9 || v != floor(v))
        return false;
    *out = (int64_t)v;
    return true;
}

static enum column title_of(const char *word)
{
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++)
        if (!strcasecmp(word + (*word == '#'), titles[i].word))
            return titles[i].column;
    return N_COLUMN;
}

/* A header line: every word is a title, and the three that are needed stand there once. */
static sq_err read_titles(char word[MAX_COLUMN][MAX_WORD], uint32_t n, uint64_t line, struct sq_why *why, struct layout *out)
{
    uint32_t at[N_COLUMN + 1] = {0}, n_of[N_COLUMN + 1] = {0};
    for (uint32_t i = 0; i < n; i++) {
        enum column c = title_of(word[i]);
        at[c] = i;
        n_of[c]++;
    }
    bool has_two = n_of[COLUMN_POS] == 1 && n_of[COLUMN_CM] == 1 && !n_of[N_COLUMN];
    if (has_two && !n_of[COLUMN_CHROM])
        return bad(why, line, 0, "it has no column for the chromosome, so it could be any chromosome's: add one");
    if (!has_two || n_of[COLUMN_CHROM] != 1)
        return bad(why, line, 0, "the first line fits none of: 'pos chr cM', 'chr position rate Genetic_Map', chr id cM bp");
    *out = (struct layout){.name = n == 3 ? "SHAPEIT" : "Eagle", .n_column = n, .chrom = at[COLUMN_CHROM], .pos = at[COLUMN_POS], .cm = at[COLUMN_CM]};
    return SQ_OK;
}

/* What the first line says. *out_is_header: it holds no data. */
static sq_err read_first(char word[MAX_COLUMN][MAX_WORD], uint32_t n, uint64_t line, struct sq_why *why, struct layout *out, bool *out_is_header)
{
    double v;
    int64_t pos;
    *out = (struct layout){.name = "PLINK", .n_column = 4, .chrom = 0, .pos = 3, .cm = 2};
    *out_is_header = !(n == 4 && number_of(word[2], &v) && position_of(word[3], &pos));
    return *out_is_header ? read_titles(word, n <= MAX_COLUMN ? n : 0, line, why, out) : SQ_OK;
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
    struct layout layout = {.n_column = 0};
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
        if (is_first)
            e = read_first(word, n, line_no, why, &layout, &is_header);
        if (e)
            return e;
        if (is_header)
            continue;
        double cm;
        int64_t pos;
        if (n != layout.n_column)
            return sq_why_set(why, sq_fail(SQ_EMAP), line_no, 0, "map", "by its first line this is the %s format, whose rows have %u columns",
                              layout.name, layout.n_column);
        if (!position_of(word[layout.pos], &pos))
            return bad(why, line_no, layout.pos + 1, "the position is not a whole number");
        if (!number_of(word[layout.cm], &cm) || cm < -1000 || cm > 10000)
            return bad(why, line_no, layout.cm + 1, "the cM column is not a number between -1000 and 10000");
        n_data++;
        if (!sq_chrom_same(word[layout.chrom], chrom))
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

sq_err sq_gmap_fits(const struct sq_gmap *m, int64_t first_bp, int64_t last_bp, int64_t contig_bp, struct sq_why *why)
{
    if (!m->n)
        return SQ_OK;
    int64_t from = m->pos_bp[0], to = m->pos_bp[m->n - 1];
    double rate = (m->cm[m->n - 1] - m->cm[0]) / ((double)(to - from) * 1e-6);
    if (contig_bp && to > contig_bp)
        return sq_why_set(why, sq_fail(SQ_EMAP), 0, 0, "map", "it goes to position %lld, the panel's chromosome has %lld bases: a map of another build", (long long)to,
                          (long long)contig_bp);
    if (to < first_bp || from > last_bp)
        return sq_why_set(why, sq_fail(SQ_EMAP), 0, 0, "map", "it covers %lld to %lld, the panel %lld to %lld", (long long)from, (long long)to, (long long)first_bp,
                          (long long)last_bp);
    if (to - from >= MIN_RATE_BP && (rate < MIN_CM_PER_MB || rate > MAX_CM_PER_MB))
        return sq_why_set(why, sq_fail(SQ_EMAP), 0, 0, "map", "%g cM/Mb on average: these can't be cM", rate);
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
