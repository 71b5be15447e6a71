/*
 * Panel files. What verify passes can be walked, exported and listed; what it refuses is walked too, and ends. In builds for fuzzing a frame may
 * stand as it is, for noise doesn't get past a checksum (lib/panel/panel_open.c).
 */
#include "lib/panel/panel_export.h"

#include <fcntl.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int nowhere(void)
{
    static int fd = -1;
    if (fd < 0)
        fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    return fd;
}

#define MAX_HAP 4000U /* of what is looked at closely */

static void compare_bits(const struct sq_panel_cursor *c, const struct sq_panel_block *x, uint32_t n_hap)
{
    uint64_t bits[MAX_HAP / 64 + 1];
    for (uint32_t s = 0; s < x->n_site; s += 1 + s) {
        sq_panel_cursor_bits(c, s, bits);
        for (uint32_t h = 0; h < n_hap; h++)
            sq_assert((bits[h / 64] >> (h % 64) & 1) == (x->pattern[x->class_of[h]] >> s & 1));
    }
}

/* @b stands behind block @no. */
static void compare_some(const struct sq_panel *p, uint32_t no, struct sq_panel_cursor *b)
{
    uint64_t want[MAX_HAP / 64 + 1];
    uint32_t n_hap = sq_panel_info(p)->n_hap;
    struct sq_panel_cursor *a = NULL;
    struct sq_panel_block x = {.no = UINT32_MAX}, y;
    struct sq_why why = {0};
    bool has = true, also = true;
    for (uint32_t w = 0; w <= MAX_HAP / 64; w++)
        want[w] = UINT64_C(0x9249249249249249) & (w * 64 + 64 <= n_hap ? UINT64_MAX : w * 64 < n_hap ? UINT64_MAX >> (64 - n_hap % 64) : 0);
    sq_assert(!sq_panel_cursor_new(p, SQ_PANEL_HAPS, &a));
    while (x.no != no)
        sq_assert(!sq_panel_cursor_next(a, false, &why, &x, &has) && has);
    sq_assert(!sq_panel_cursor_want(b, want));
    for (unsigned i = 0; i < 3 && has; i++) {
        sq_assert(!sq_panel_cursor_next(a, true, &why, &x, &has) && !sq_panel_cursor_next(b, true, &why, &y, &also) && has == also);
        for (uint32_t h = 0; h < n_hap && has; h++)
            sq_assert(!(want[h / 64] >> (h % 64) & 1) || x.class_of[h] == y.class_of[h]);
    }
    sq_panel_cursor_free(a);
}

/* Each block by a cursor of its own that starts from a mark: the same classes. */
static void compare_marks(const struct sq_panel *p)
{
    struct sq_panel_cursor *a = NULL, *b = NULL;
    struct sq_why why = {0};
    sq_assert(!sq_panel_cursor_new(p, SQ_PANEL_HAPS, &a) && !sq_panel_cursor_new(p, SQ_PANEL_HAPS, &b));
    for (unsigned n = 0; n < 8; n++) {
        struct sq_panel_mark *mark = NULL;
        struct sq_panel_block x, y;
        bool has, also;
        sq_assert(!sq_panel_cursor_mark(a, &mark) && !sq_panel_cursor_next(a, true, &why, &x, &has));
        sq_panel_cursor_seek_mark(b, mark);
        sq_assert(!sq_panel_cursor_next(b, true, &why, &y, &also) && has == also);
        sq_panel_mark_free(mark);
        if (!has)
            break;
        sq_assert(x.no == y.no && !memcmp(x.class_of, y.class_of, sq_panel_info(p)->n_hap * sizeof *x.class_of));
        for (uint32_t h = 0; h < sq_panel_info(p)->n_hap; h++)
            sq_assert(x.class_of[h] < x.n_pattern);
        compare_bits(a, &x, sq_panel_info(p)->n_hap);
        if (n && n % 2) /* the next blocks of the segment for every third haplotype alone */
            compare_some(p, x.no, b);
    }
    sq_panel_cursor_free(a);
    sq_panel_cursor_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sq_panel *p = NULL;
    struct sq_why why = {0};
    if (size > (1 << 20) || sq_panel_open(data, size, NULL, &why, &p))
        return 0;
    const struct sq_panel_info *i = sq_panel_info(p);
    sq_assert(i->n_hap <= 2 * i->n_sample && i->n_segment && i->first_bp <= i->last_bp && i->first_cm <= i->last_cm);
    if (i->n_sample <= 2000) { /* more is allowed, and slow */
        sq_err e = sq_panel_verify(p, NULL, NULL, &why);
        struct sq_panel_export how = {.container = SQ_PANEL_VCF};
        sq_err out = sq_panel_export(p, &how, nowhere(), &why);
        sq_assert(e || !out);
        how.container = SQ_PANEL_BCF;
        sq_assert(sq_panel_export(p, &how, nowhere(), &why) == out);
        how.container = SQ_PANEL_VCF;
        out = sq_panel_sites(p, &how, nowhere(), &why);
        sq_assert(e || !out);
        if (!e)
            compare_marks(p);
    }
    sq_panel_close(p);
    return 0;
}
