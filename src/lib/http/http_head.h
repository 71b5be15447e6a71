/**
 * http/http_head - the head of a request and the framing of a chunked body, as pure functions over bytes from strangers.
 *
 * RFC 9112, and where it lets a reader be lenient the strict way: a line ends in CR LF and nothing else, no folded lines, no
 * space before a colon, no control characters, one way to say how long a body is. What two readers could cut differently
 * is refused, so nothing can be smuggled past a proxy in front. Nothing is decoded; touches nothing.
 */
#ifndef SQ_HTTP_HTTP_HEAD_H
#define SQ_HTTP_HTTP_HEAD_H

#include "lib/core/buf.h"

#define SQ_HTTP_HEAD_MAX 24576 /* the whole head */
#define SQ_HTTP_LINE_MAX 8192  /* the request line */
#define SQ_HTTP_HEADERS_MAX 64
#define SQ_HTTP_VALUE_MAX 8192
#define SQ_HTTP_METHOD_MAX 16

struct sq_http_head {
    const char *method, *target; /* "" until they are known to be well-formed */
    bool is_1_0;
    unsigned n_field;
    struct {
        const char *name, *value;
    } field[SQ_HTTP_HEADERS_MAX];
};

/**
 * sq_http_head_find - where does the head at @p end? *out_n: its length with the empty line, 0: not here yet. *io_at starts
 * at 0 and remembers how far was looked. SQ_EREQUEST as soon as a byte is wrong; SQ_ETARGET, SQ_EHEADLARGE: too long.
 */
sq_err sq_http_head_find(const char *p, size_t n, size_t *io_at, size_t *out_n) SQ_MUST_CHECK;

/**
 * sq_http_head_parse - cut the head of @n bytes, as found, in place: @out points into it. SQ_EREQUEST, SQ_EVERSION,
 * SQ_EHEADLARGE; then method and target are what was understood.
 */
sq_err sq_http_head_parse(char *p, size_t n, struct sq_http_head *out) SQ_MUST_CHECK;

/** Does the comma separated list @value of a header name @token ("close")? Case doesn't matter. NULL doesn't. */
bool sq_http_list_has(const char *value, const char *token);

/** A value that may stand in a header of ours: no control characters. */
bool sq_http_value_is_plain(const char *value);

/** A chunked body (RFC 9112 §7.1). Start with zeros. Extensions and trailers are checked, bounded and passed over. */
struct sq_http_chunked {
    int state;
    bool is_end;          /* the last chunk and the trailers are read */
    unsigned n_digit;
    uint64_t left;        /* of the chunk */
    uint32_t n_other;     /* bytes of extensions and trailers so far */
};

/**
 * sq_http_chunked_feed - read on: *out_used of the @n bytes are done with, and *out_data of them, *out_n bytes, are the body's.
 * Call again while bytes are left and the end isn't reached. SQ_EREQUEST: not chunked coding, or too much beside the data.
 */
sq_err sq_http_chunked_feed(struct sq_http_chunked *k, const uint8_t *p, size_t n, size_t *out_used, const uint8_t **out_data,
                            size_t *out_n) SQ_MUST_CHECK;

#endif
