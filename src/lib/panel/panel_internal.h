/* panel_internal - what builder and reader share: limits, numbers, the directory. Bytes: docs/formats/panel.md. Not for other rooms. */
#ifndef SQ_PANEL_INTERNAL_H
#define SQ_PANEL_INTERNAL_H

#include "lib/panel/panel.h"

#define PANEL_VERSION 1U
#define PANEL_MAGIC "\x89SQP\r\n\x1a\n"
#define PANEL_END "SQPE"
#define PANEL_HEADER_BYTES 16U
#define PANEL_FOOTER_BYTES 32U
#define PANEL_MAX_DIRECTORY ((size_t)256 << 20)
#define PANEL_MAX_NAMES ((size_t)1 << 30)
#define PANEL_MAX_SITES ((size_t)16 << 20)
#define PANEL_MAX_HAPS_BASE ((size_t)16 << 20) /* and PANEL_MAX_HAPS_COLUMN a column */
#define PANEL_MAX_HAPS_COLUMN 64U
#define PANEL_MAX_ALT SQ_GT_MAX_ALT
#define PANEL_MAX_ID 65535U
#define PANEL_MAP_DIGITS 12U
#define PANEL_MAP_PLAIN 255U /* cM as f64 */

enum { PANEL_FLAG_MAP = 1,
       PANEL_FLAG_NAMES = 2,
       PANEL_FLAG_POPULATIONS = 4,
       PANEL_FLAG_HAPLOID = 8,
       PANEL_FLAGS = 15 };

/* columns of a frame of sites, behind the rows of the blocks */
enum { SITES_POS,
       SITES_ALLELES,
       SITES_TEXT,
       SITES_AN,
       SITES_AC,
       SITES_ID_KIND,
       SITES_ID_TEXT,
       SITES_N_COLUMN };
enum { HAPS_PATTERNS,
       HAPS_CLASSES,
       HAPS_LENGTHS,
       HAPS_SPECIAL,
       HAPS_N_COLUMN };

#define ALLELES_ONE 16U     /* as text, one ALT */
#define ALLELES_SEVERAL 17U /* as text, several */
enum { ID_NONE,
       ID_NUMBER,
       ID_POS,
       ID_POS_ALLELES,
       ID_TEXT };
#define ID_MAX_DIGITS 9U

/* Names of chromosomes, builds and populations: letters, digits, _ . and -. The builder takes no others, nor does the reader. */
static inline bool panel_label_ok(struct sq_span s)
{
    bool is_ok = s.n > 0;
    for (uint32_t i = 0; i < s.n && is_ok; i++)
        is_ok = (s.p[i] >= '0' && s.p[i] <= '9') || ((s.p[i] | 32) >= 'a' && (s.p[i] | 32) <= 'z') || memchr("_.-", s.p[i], 3);
    return is_ok;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------------------ */

#define VARINT_MAX 10U

/* At @p (VARINT_MAX bytes free). Returns how many were written. */
static inline size_t varint_put(uint8_t *p, uint64_t v)
{
    size_t n = 0;
    for (; v >= 128; v >>= 7)
        p[n++] = (uint8_t)(v | 128);
    p[n++] = (uint8_t)v;
    return n;
}

static inline sq_err varint_add(struct sq_buf *b, uint64_t v)
{
    if (b->cap - b->n < VARINT_MAX) {
        sq_err e = sq_buf_reserve(b, VARINT_MAX);
        if (e)
            return e;
    }
    b->n += varint_put(b->p + b->n, v);
    return SQ_OK;
}

/* A column being read. */
struct column {
    const uint8_t *p, *end;
};

/* False: it ends, it isn't in its shortest form, or it exceeds @max. */
static inline bool varint_take(struct column *c, uint64_t max, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; c->p < c->end && shift < 64; shift += 7) {
        uint64_t b = *c->p++;
        if (shift == 63 && b > 1)
            return false;
        v |= (b & 127) << shift;
        if (b < 128) {
            *out = v;
            return (b || !shift) && v <= max;
        }
    }
    return false;
}

static inline bool varint_take32(struct column *c, uint32_t max, uint32_t *out)
{
    if (c->p < c->end && *c->p < 128) { /* nearly all of them */
        *out = *c->p++;
        return *out <= max;
    }
    uint64_t v;
    if (!varint_take(c, max, &v))
        return false;
    *out = (uint32_t)v;
    return true;
}

static inline bool bytes_take(struct column *c, size_t n, const uint8_t **out)
{
    if (n > (size_t)(c->end - c->p))
        return false;
    *out = c->p;
    c->p += n;
    return true;
}

static inline bool string_take(struct column *c, uint32_t max, struct sq_span *out)
{
    uint32_t n;
    const uint8_t *p;
    if (!varint_take32(c, max, &n) || !bytes_take(c, n, &p))
        return false;
    *out = sq_span_of(p, n);
    return true;
}

/* ---- the opened panel --------------------------------------------------------------------------------------------------------------- */

struct frame {
    uint64_t at; /* in the file */
    uint32_t n_packed, n, check;
};

struct pack {
    struct frame sites, haps;
    uint32_t first_block, n_block, first_record, n_record, first_row, n_row, segment;
    int64_t first_bp, last_bp;
};

struct sq_panel {
    const uint8_t *bytes;
    size_t n_byte;
    struct sq_panel_info info;
    uint32_t n_col, n_pack;
    struct pack *pack;
    struct sq_panel_segment *segment;
    uint32_t *first_pack;   /* [n_segment] */
    uint32_t *first_hap;    /* [n_sample + 1]; NULL: two haplotypes a sample */
    uint8_t *population;    /* [n_sample]; NULL without labels */
    char (*label)[SQ_PANEL_LABEL_MAX];
    struct sq_gmap own_map;
    const struct sq_gmap *map;
    struct frame names;
    uint32_t max_sites, max_haps; /* unpacked, of any pack */
};

static inline size_t panel_max_haps(uint32_t n_col)
{
    return PANEL_MAX_HAPS_BASE + (size_t)PANEL_MAX_HAPS_COLUMN * n_col;
}

/* Text that can stand in a column of a VCF: not empty, without blanks and control characters. */
static inline bool panel_text_ok(struct sq_span s)
{
    uint8_t is_bad = s.n == 0;
    for (uint32_t i = 0; i < s.n; i++)
        is_bad |= s.p[i] <= 32 || s.p[i] == 127;
    return !is_bad;
}

struct ZSTD_DCtx_s;
/* Unpack @f to @out[f->n]. False: it is damaged. */
bool panel_unpack(const struct sq_panel *p, struct ZSTD_DCtx_s *z, const struct frame *f, uint8_t *out);

#endif
