#include "worker/panel_port.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define MAX_MARK_BYTES ((uint64_t)64 << 20)

struct panel_port_cursor {
    struct panel_port *p;
    struct panel_port_cursor *next; /* of those not in use */
    struct sq_panel_cursor *c;
    struct sq_panel_block block;
    uint32_t stretch, n_left; /* rows of the stretch that are still to come */
    bool is_some;             /* its order isn't whole */
    double cm[SQ_PANEL_BLOCK_ROWS];
    uint32_t n_alt[SQ_PANEL_BLOCK_ROWS];
};

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

/* Packs that go together, so that all marks fit into MAX_MARK_BYTES. */
static uint32_t packs_a_stretch(const struct sq_panel *p)
{
    uint64_t n_col = sq_panel_info(p)->n_sample * (uint64_t)2, bytes = sq_panel_n_pack(p) * n_col * (n_col <= 65536 ? sizeof(uint16_t) : sizeof(uint32_t));
    return (uint32_t)(bytes / MAX_MARK_BYTES) + 1;
}

static sq_err make_stretches(struct panel_port *p)
{
    uint32_t n_pack = sq_panel_n_pack(p->panel), each = packs_a_stretch(p->panel), n_in = 0;
    p->segment = calloc(n_pack, sizeof *p->segment);
    p->segment_of = calloc(n_pack, sizeof *p->segment_of);
    p->mark = calloc(n_pack, sizeof(*p->mark));
    if (!p->segment || !p->segment_of || !p->mark)
        return sq_fail(SQ_ENOMEM);
    for (uint32_t i = 0; i < n_pack; i++) {
        struct sq_panel_pack k = sq_panel_pack(p->panel, i);
        bool is_new = !i || n_in == each || k.segment != p->segment_of[p->n_stretch - 1];
        if (is_new) {
            p->segment[p->n_stretch] = (struct sq_engine_segment){.first_site = k.first_site, .follows = i && k.segment == p->segment_of[p->n_stretch - 1]};
            p->segment_of[p->n_stretch++] = k.segment;
            n_in = 0;
        }
        p->segment[p->n_stretch - 1].n_site += k.n_site;
        n_in++;
    }
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
    return e ? e : make_stretches(p);
}

void panel_port_close(struct panel_port *p)
{
    if (!p->w)
        return; /* never opened */
    for (struct panel_port_cursor *c; (c = p->idle);) {
        p->idle = c->next;
        sq_panel_cursor_free(c->c);
        free(c);
    }
    for (uint32_t i = 0; i < p->n_stretch; i++)
        sq_panel_mark_free(p->mark[i]);
    free(p->mark);
    free(p->segment);
    free(p->segment_of);
    sq_panel_close(p->panel);
    sq_gmap_done(&p->map);
    if (p->bytes)
        munmap(p->bytes, p->n_bytes);
    pthread_mutex_destroy(&p->lock);
}

/* ---- for the engine ------------------------------------------------------------------------------------------------ */


/* Cursors are large, so they are kept for whoever opens the next one. */
static void cursor_close(void *ctx)
{
    struct panel_port_cursor *c = ctx;
    pthread_mutex_lock(&c->p->lock);
    c->next = c->p->idle;
    c->p->idle = c;
    pthread_mutex_unlock(&c->p->lock);
}

static sq_err cursor_take(struct panel_port *p, struct panel_port_cursor **out)
{
    pthread_mutex_lock(&p->lock);
    struct panel_port_cursor *c = p->idle;
    p->idle = c ? c->next : NULL;
    pthread_mutex_unlock(&p->lock);
    *out = c;
    if (c)
        return SQ_OK;
    c = calloc(1, sizeof *c);
    if (!c)
        return sq_fail(SQ_ENOMEM);
    c->p = p;
    sq_err e = sq_panel_cursor_new(p->panel, SQ_PANEL_SITES | SQ_PANEL_HAPS, &c->c);
    if (e)
        free(c);
    *out = e ? NULL : c;
    return e;
}

/* The cursor stands where @stretch begins: keep the order, unless it is kept or a segment begins there. */
static sq_err keep_mark(struct panel_port_cursor *c, uint32_t stretch)
{
    struct panel_port *p = c->p;
    struct sq_panel_mark *mark = NULL;
    if (stretch >= p->n_stretch || p->segment_of[stretch] != p->segment_of[stretch - 1])
        return SQ_OK;
    pthread_mutex_lock(&p->lock);
    bool is_kept = p->mark[stretch] != NULL;
    pthread_mutex_unlock(&p->lock);
    sq_err e = is_kept ? SQ_OK : sq_panel_cursor_mark(c->c, &mark);
    if (e || is_kept)
        return e;
    pthread_mutex_lock(&p->lock);
    if (!p->mark[stretch]) {
        p->mark[stretch] = mark;
        mark = NULL;
    }
    pthread_mutex_unlock(&p->lock);
    sq_panel_mark_free(mark);
    return SQ_OK;
}

/* The next block of the stretch; behind its last one the order is kept for the next stretch. */
static sq_err step(struct panel_port_cursor *c, bool want_classes, bool *out_has)
{
    struct sq_why why = {0};
    *out_has = c->n_left > 0;
    if (!c->n_left)
        return SQ_OK;
    sq_err e = sq_panel_cursor_next(c->c, want_classes, &why, &c->block, out_has);
    if (!e && (!*out_has || c->block.n_site > c->n_left))
        e = sq_why_set(&why, sq_fail(SQ_EPANEL), 0, 0, "blocks", "a pack has other rows than the directory says");
    if (e) {
        pthread_mutex_lock(&c->p->lock);
        c->p->w->why = why;
        pthread_mutex_unlock(&c->p->lock);
        return e;
    }
    c->n_left -= c->block.n_site;
    return c->n_left || c->is_some ? SQ_OK : keep_mark(c, c->stretch + 1);
}

/* To the start of @stretch: by its mark, or on foot from the nearest place before it. */
static sq_err go_to(struct panel_port_cursor *c, uint32_t stretch)
{
    struct panel_port *p = c->p;
    uint32_t from = stretch;
    pthread_mutex_lock(&p->lock);
    while (!p->mark[from] && from && p->segment_of[from] == p->segment_of[from - 1])
        from--;
    const struct sq_panel_mark *mark = p->mark[from]; /* once there, it stays */
    c->is_some = false;
    pthread_mutex_unlock(&p->lock);
    if (mark)
        sq_panel_cursor_seek_mark(c->c, mark);
    else
        sq_panel_cursor_seek(c->c, p->segment_of[from]);
    for (;; from++) {
        c->stretch = from;
        c->n_left = p->segment[from].n_site;
        if (from == stretch)
            return SQ_OK;
        for (bool has = true; has;) {
            sq_err e = step(c, false, &has);
            if (e)
                return e;
        }
    }
}

static sq_err cursor_open(void *ctx, uint32_t stretch, void **out)
{
    struct panel_port_cursor *c;
    sq_err e = cursor_take(ctx, &c);
    if (e)
        return e;
    e = go_to(c, stretch);
    if (e)
        cursor_close(c);
    else
        *out = c;
    return e;
}

static sq_err cursor_next(void *ctx, bool want_classes, struct sq_engine_block *out, bool *out_has)
{
    struct panel_port_cursor *c = ctx;
    sq_err e = step(c, want_classes, out_has);
    if (e || !*out_has)
        return e;
    for (uint32_t i = 0; i < c->block.n_site; i++) {
        c->cm[i] = c->block.site[i].cm;
        c->n_alt[i] = c->block.site[i].ac;
    }
    *out = (struct sq_engine_block){.first_site = c->block.first_site, .n_site = c->block.n_site, .cm = c->cm, .n_alt = c->n_alt,
                                    .n_pattern = c->block.n_pattern, .pattern = c->block.pattern, .class_of = c->block.class_of};
    return SQ_OK;
}

static sq_err cursor_want(void *ctx, const uint64_t *hap)
{
    struct panel_port_cursor *c = ctx;
    c->is_some = true;
    return sq_panel_cursor_want(c->c, hap);
}

static void cursor_bits(void *ctx, uint32_t row, uint64_t *out)
{
    sq_panel_cursor_bits(((const struct panel_port_cursor *)ctx)->c, row, out);
}

struct sq_engine_panel panel_port_engine(struct panel_port *p)
{
    const struct sq_panel_info *info = sq_panel_info(p->panel);
    return (struct sq_engine_panel){.ctx = p, .n_hap = info->n_hap, .n_site = info->n_site, .n_segment = p->n_stretch, .segment = p->segment,
                                    .open = cursor_open, .next = cursor_next, .close = cursor_close, .want = cursor_want, .bits = cursor_bits};
}

const struct sq_panel_block *panel_port_block(const void *cursor)
{
    return &((const struct panel_port_cursor *)cursor)->block;
}
