/* Lines of sample name, tab, label, as `sequester panel build --populations` takes them. Names stay here. */
#include "lib/panel/panel_write.h"

#include "lib/formats/source.h"

#include <stdlib.h>

static sq_err bad(struct sq_why *why, uint64_t line, const char *detail)
{
    return sq_why_set(why, sq_fail(SQ_EFIELD), line, 0, "populations", "%s", detail);
}

struct named {
    const char *name;
    uint32_t sample;
};

static int by_name(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    return strcmp(x->name, y->name);
}

/* A sample's number by its name; n_sample: there is none. */
static uint32_t find(const struct named *list, uint32_t n, struct sq_span name)
{
    uint32_t low = 0, high = n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        int c = strncmp(list[mid].name, (const char *)name.p, name.n);
        if (!c && list[mid].name[name.n])
            c = 1;
        if (!c)
            return list[mid].sample;
        if (c < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return n;
}

struct labels {
    char (*label)[SQ_PANEL_LABEL_MAX];
    uint32_t n;
};

/* The number of this label, which is added if it is new; SQ_PANEL_MAX_POPULATIONS: there are too many. */
static uint32_t number_of(struct labels *l, struct sq_span s)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (strlen(l->label[i]) == s.n && !memcmp(l->label[i], s.p, s.n))
            return i;
    if (l->n < SQ_PANEL_MAX_POPULATIONS)
        memcpy(l->label[l->n++], s.p, s.n); /* checked: shorter than its place, which is zeros */
    else
        return SQ_PANEL_MAX_POPULATIONS;
    return l->n - 1;
}

static sq_err take_line(struct sq_span line, uint64_t line_no, const struct named *list, uint32_t n_sample, struct labels *labels, uint8_t *of,
                        uint64_t *n_found, struct sq_why *why)
{
    if (!line.n || line.p[0] == '#')
        return SQ_OK;
    const uint8_t *tab = memchr(line.p, '\t', line.n);
    if (!tab)
        return bad(why, line_no, "a line is the name of a sample, a tab, and its label");
    struct sq_span name = sq_span_of(line.p, (size_t)(tab - line.p)), label = sq_span_of(tab + 1, line.n - name.n - 1);
    const uint8_t *more = memchr(label.p, '\t', label.n);
    if (more)
        label.n = (uint32_t)(more - label.p);
    uint32_t sample = find(list, n_sample, name);
    if (sample == n_sample) /* a list of all samples of a study, of which the panel has some; or a line of titles */
        return SQ_OK;
    if (label.n >= SQ_PANEL_LABEL_MAX || !panel_label_ok(label))
        return bad(why, line_no, "a label has 1 to 31 letters, digits, _ . or -");
    uint32_t no = number_of(labels, label);
    if (no == SQ_PANEL_MAX_POPULATIONS)
        return bad(why, line_no, "more than 255 different labels");
    if (of[sample] != SQ_PANEL_MAX_POPULATIONS && of[sample] != no)
        return bad(why, line_no, "a sample has two labels");
    of[sample] = (uint8_t)no;
    ++*n_found;
    return SQ_OK;
}

static sq_err read_lines(int fd, const struct named *list, uint32_t n_sample, struct labels *labels, uint8_t *of, struct sq_why *why)
{
    struct sq_source_limits limits = {.max_bytes = (uint64_t)1 << 30, .max_ratio = SQ_SOURCE_MAX_RATIO};
    struct sq_source *s = NULL;
    uint64_t n_found = 0;
    sq_err e = sq_source_open(fd, &limits, why, &s);
    while (!e) {
        struct sq_span line;
        bool has;
        e = sq_source_line(s, why, &line, &has);
        if (e || !has)
            break;
        e = take_line(line, sq_source_line_no(s), list, n_sample, labels, of, &n_found, why);
    }
    sq_source_close(s);
    if (!e && !n_found)
        e = bad(why, 0, "none of its names is a sample of the panel");
    return e;
}

sq_err panel_populations_read(int fd, const struct sq_genotypes *in, struct sq_why *why, char (**out_label)[SQ_PANEL_LABEL_MAX],
                              uint32_t *out_n_label, uint8_t **out_of)
{
    uint32_t n = sq_genotypes_n_sample(in);
    struct named *list = malloc((size_t)n * sizeof *list);
    struct labels labels = {.label = calloc(SQ_PANEL_MAX_POPULATIONS, sizeof *labels.label)};
    uint8_t *of = malloc(n);
    sq_err e = list && labels.label && of ? SQ_OK : sq_fail(SQ_ENOMEM);
    if (!e) {
        memset(of, SQ_PANEL_MAX_POPULATIONS, n);
        for (uint32_t i = 0; i < n; i++)
            list[i] = (struct named){sq_genotypes_sample(in, i), i};
        qsort(list, n, sizeof *list, by_name);
        e = read_lines(fd, list, n, &labels, of, why);
    }
    free(list);
    if (e) {
        free(labels.label);
        free(of);
        return e;
    }
    for (uint32_t i = 0; i < n; i++)
        if (of[i] == SQ_PANEL_MAX_POPULATIONS)
            of[i] = (uint8_t)labels.n;
    *out_label = labels.label;
    *out_n_label = labels.n;
    *out_of = of;
    return SQ_OK;
}
