#include "worker/panel_port.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static sq_err not_a_panel(struct worker *w, const uint8_t *p, size_t n)
{
    static const struct {
        const char *begin;
        uint32_t n;
        const char *what;
    } known[] = {{"\x1f\x8b", 2, "a compressed VCF or a BCF"}, {"##fileformat=VCF", 16, "a VCF"}, {"BCF\2", 4, "a BCF"}, {"\x28\xb5\x2f\xfd", 4, "another program's panel"}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (n >= known[i].n && !memcmp(p, known[i].begin, known[i].n))
            return sq_why_set(&w->why, sq_fail(SQ_EPANEL), 0, 0, "file", "this looks like %s; make a panel of the VCF or BCF: sequester panel build", known[i].what);
    return sq_why_set(&w->why, sq_fail(SQ_EPANEL), 0, 0, "file", n ? "this is no panel file (.sqp)" : "the file is empty");
}

/* The chromosome that the map must be of is the panel's, so the panel is opened first, and once more with the map. */
static sq_err read_map(struct panel_port *p, int fd_map)
{
    const struct sq_panel_info *info = sq_panel_info(p->panel);
    sq_err e = sq_gmap_read(fd_map, info->chrom, &p->w->why, &p->map);
    if (!e)
        e = sq_gmap_fits(&p->map, info->first_bp, info->last_bp, info->contig_bp, &p->w->why);
    if (e)
        return e;
    sq_panel_close(p->panel);
    p->panel = NULL;
    return sq_panel_open(p->bytes, p->n_bytes, &p->map, &p->w->why, &p->panel);
}

static sq_err make_segments(struct panel_port *p)
{
    uint32_t n = sq_panel_info(p->panel)->n_segment;
    const struct sq_panel_segment *s = sq_panel_segments(p->panel);
    p->segment = calloc(n, sizeof *p->segment);
    if (!p->segment)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < n; i++)
        p->segment[i] = (struct sq_engine_segment){.first_site = s[i].first_site, .n_site = s[i].n_site};
    return SQ_OK;
}

sq_err panel_port_open(struct worker *w, int fd, int fd_map, struct panel_port *out)
{
    struct panel_port *p = out;
    struct stat st;
    *p = (struct panel_port){.w = w};
    pthread_mutex_init(&p->lock, NULL);
    if (fstat(fd, &st) || st.st_size < 0)
        return sq_fail(SQ_EIO);
    if (!S_ISREG(st.st_mode))
        return sq_why_set(&w->why, sq_fail(SQ_EPANEL), 0, 0, "file", "a panel must be a file, not a pipe");
    if (!st.st_size)
        return not_a_panel(w, NULL, 0);
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED)
        return sq_fail(SQ_ENOMEM);
    p->bytes = bytes;
    p->n_bytes = (size_t)st.st_size;
    if (!sq_panel_is(p->bytes, p->n_bytes))
        return not_a_panel(w, p->bytes, p->n_bytes);
    sq_err e = sq_panel_open(p->bytes, p->n_bytes, NULL, &w->why, &p->panel);
    if (!e && fd_map >= 0)
        e = read_map(p, fd_map);
    return e ? e : make_segments(p);
}

void panel_port_close(struct panel_port *p)
{
    if (!p->w)
        return; /* never opened */
    sq_panel_close(p->panel);
    sq_gmap_done(&p->map);
    free(p->segment);
    if (p->bytes)
        munmap(p->bytes, p->n_bytes);
    pthread_mutex_destroy(&p->lock);
}

/* ---- for the engine ------------------------------------------------------------------------------------------------ */

struct cursor {
    struct panel_port *p;
    struct sq_panel_cursor *c;
    struct sq_panel_block block;
    uint32_t segment;
    double cm[SQ_PANEL_BLOCK_ROWS];
    uint32_t n_alt[SQ_PANEL_BLOCK_ROWS];
};

static void cursor_close(void *ctx)
{
    struct cursor *c = ctx;
    if (!c)
        return;
    sq_panel_cursor_free(c->c);
    free(c);
}

static sq_err cursor_open(void *ctx, uint32_t segment, void **out)
{
    struct panel_port *p = ctx;
    struct cursor *c = calloc(1, sizeof *c);
    if (!c)
        return sq_fail(SQ_ENOMEM);
    c->p = p;
    c->segment = segment;
    sq_err e = sq_panel_cursor_new(p->panel, SQ_PANEL_SITES | SQ_PANEL_HAPS, &c->c);
    if (e) {
        cursor_close(c);
        return e;
    }
    sq_panel_cursor_seek(c->c, segment);
    *out = c;
    return SQ_OK;
}

static sq_err cursor_next(void *ctx, bool want_classes, struct sq_engine_block *out, bool *out_has)
{
    struct cursor *c = ctx;
    struct sq_why why = {0};
    sq_err e = sq_panel_cursor_next(c->c, want_classes, &why, &c->block, out_has);
    if (e) {
        pthread_mutex_lock(&c->p->lock);
        c->p->w->why = why;
        pthread_mutex_unlock(&c->p->lock);
        return e;
    }
    *out_has = *out_has && c->block.segment == c->segment;
    if (!*out_has)
        return SQ_OK;
    for (uint32_t i = 0; i < c->block.n_site; i++) {
        c->cm[i] = c->block.site[i].cm;
        c->n_alt[i] = c->block.site[i].ac;
    }
    *out = (struct sq_engine_block){.first_site = c->block.first_site, .n_site = c->block.n_site, .cm = c->cm, .n_alt = c->n_alt,
                                    .n_pattern = c->block.n_pattern, .pattern = c->block.pattern, .class_of = c->block.class_of};
    return SQ_OK;
}

struct sq_engine_panel panel_port_engine(struct panel_port *p)
{
    const struct sq_panel_info *info = sq_panel_info(p->panel);
    return (struct sq_engine_panel){.ctx = p, .n_hap = info->n_hap, .n_site = info->n_site, .n_segment = info->n_segment, .segment = p->segment,
                                    .open = cursor_open, .next = cursor_next, .close = cursor_close};
}

const struct sq_panel_block *panel_port_block(const void *cursor)
{
    return &((const struct cursor *)cursor)->block;
}
