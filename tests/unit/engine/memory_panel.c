#include "memory_panel.h"

#include <stdlib.h>

struct cursor {
    const struct memory_panel *m;
    uint32_t at;
    uint64_t *pattern;  /* [n_hap] */
    uint16_t *class_of; /* [n_hap] */
    uint32_t n_alt[64];
};

static void close_cursor(void *cursor)
{
    struct cursor *c = cursor;
    free(c->pattern);
    free(c->class_of);
    free(c);
}

static sq_err open_cursor(void *ctx, uint32_t segment, void **out)
{
    const struct memory_panel *m = ctx;
    (void)segment;
    struct cursor *c = malloc(sizeof *c);
    if (!c)
        return SQ_ENOMEM;
    *c = (struct cursor){.m = m, .pattern = calloc(m->n_hap, sizeof *c->pattern), .class_of = calloc(m->n_hap, sizeof *c->class_of)};
    if (!c->pattern || !c->class_of) {
        close_cursor(c);
        return SQ_ENOMEM;
    }
    *out = c;
    return SQ_OK;
}

static sq_err next_block(void *cursor, bool want_classes, struct sq_engine_block *out, bool *out_has)
{
    struct cursor *c = cursor;
    const struct memory_panel *m = c->m;
    *out_has = c->at < m->n_site;
    if (!*out_has)
        return SQ_OK;
    uint32_t n = m->n_site - c->at < 64 ? m->n_site - c->at : 64, n_pattern = 0;
    for (uint32_t s = 0; s < n; s++)
        c->n_alt[s] = 0;
    for (uint32_t h = 0; h < m->n_hap; h++) {
        uint64_t bits = 0;
        for (uint32_t s = 0; s < n; s++) {
            uint8_t a = m->allele[(size_t)(c->at + s) * m->n_hap + h];
            bits |= (uint64_t)a << s;
            c->n_alt[s] += a;
        }
        uint32_t k = 0;
        while (k < n_pattern && c->pattern[k] != bits)
            k++;
        if (k == n_pattern)
            c->pattern[n_pattern++] = bits;
        c->class_of[h] = (uint16_t)k;
    }
    *out = (struct sq_engine_block){c->at, n, m->cm + c->at, c->n_alt, n_pattern, c->pattern, want_classes ? c->class_of : NULL};
    c->at += n;
    return SQ_OK;
}

struct sq_engine_panel memory_panel_open(struct memory_panel *m)
{
    m->whole = (struct sq_engine_segment){.n_site = m->n_site};
    return (struct sq_engine_panel){.ctx = m, .n_hap = m->n_hap, .n_site = m->n_site, .n_segment = 1, .segment = &m->whole, .open = open_cursor, .next = next_block, .close = close_cursor};
}
