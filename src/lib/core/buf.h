/**
 * core/buf - a growable byte buffer, spans, hex, and little- and big-endian numbers.
 *
 * A buffer wipes what it frees: payload and passwords pass through it. Sizes are bounded by the caller's maximum.
 */
#ifndef SQ_CORE_BUF_H
#define SQ_CORE_BUF_H

#include "lib/core/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/** Borrowed bytes: valid as long as what they point into. */
struct sq_span {
    const uint8_t *p;
    uint32_t n;
};

static inline struct sq_span sq_span_of(const void *p, size_t n)
{
    return (struct sq_span){(const uint8_t *)p, (uint32_t)n};
}

static inline struct sq_span sq_span_str(const char *s)
{
    return sq_span_of(s, s ? strlen(s) : 0);
}

bool sq_span_eq(struct sq_span a, struct sq_span b);

/** sq_span_copy - copy @s into @out as a C string. SQ_ERANGE when it doesn't fit or holds a NUL. */
sq_err sq_span_copy(struct sq_span s, char *out, size_t out_size) SQ_MUST_CHECK;

struct sq_buf {
    uint8_t *p;
    size_t n, cap;
    size_t max; /* 0: SIZE_MAX */
};

void sq_buf_init(struct sq_buf *b, size_t max);
void sq_buf_done(struct sq_buf *b); /* wipes and frees; b may be NULL */
void sq_buf_clear(struct sq_buf *b);
sq_err sq_buf_add(struct sq_buf *b, const void *p, size_t n) SQ_MUST_CHECK;
sq_err sq_buf_addf(struct sq_buf *b, const char *format, ...) __attribute__((format(printf, 2, 3))) SQ_MUST_CHECK;
sq_err sq_buf_reserve(struct sq_buf *b, size_t more) SQ_MUST_CHECK; /* room for @more bytes behind n */

/** sq_wipe - memset that the compiler may not remove. */
void sq_wipe(void *p, size_t n);
void sq_wipe_str(char *s); /* wipe a C string; NULL allowed */

/** Equality in constant time (for the length given). */
bool sq_equal_ct(const void *a, const void *b, size_t n);

/** Hex, lower case. @out has 2n+1 bytes. sq_hex_decode wants exactly 2n digits. */
void sq_hex(const void *p, size_t n, char *out);
sq_err sq_hex_decode(const char *hex, size_t hex_len, uint8_t *out, size_t n) SQ_MUST_CHECK;

/** Base64 with padding (RFC 4648 §4) and base64url without (§5), as C strings; @out grows. */
sq_err sq_base64(const void *p, size_t n, bool is_url, struct sq_buf *out) SQ_MUST_CHECK;
sq_err sq_base64_decode(const char *s, size_t len, bool is_url, struct sq_buf *out) SQ_MUST_CHECK;

static inline void sq_put_be32(uint8_t *p, uint32_t v)
{
    for (int i = 3; i >= 0; i--, v >>= 8)
        p[i] = (uint8_t)(v & 0xff);
}

static inline void sq_put_be64(uint8_t *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--, v >>= 8)
        p[i] = (uint8_t)(v & 0xff);
}

static inline uint32_t sq_get_be32(const uint8_t *p)
{
    uint32_t v = 0;
    for (int i = 0; i < 4; i++)
        v = v << 8 | p[i];
    return v;
}

static inline uint64_t sq_get_be64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

static inline void sq_put_le16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v & 0xff);
    p[1] = (uint8_t)(v >> 8);
}

static inline void sq_put_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++, v >>= 8)
        p[i] = (uint8_t)(v & 0xff);
}

static inline void sq_put_le64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++, v >>= 8)
        p[i] = (uint8_t)(v & 0xff);
}

static inline uint16_t sq_get_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t sq_get_le32(const uint8_t *p)
{
    uint32_t v = 0;
    for (int i = 3; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static inline uint64_t sq_get_le64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

#endif
