/**
 * http/multipart - multipart/form-data (RFC 7578, RFC 2046 §5.1) while it arrives, in constant memory.
 *
 * Data goes straight from the caller's buffer to on_data: nothing is held back but a started delimiter, whose bytes
 * are known. Our own parser and not libmicrohttpd's: that one passes over a missing end and hands out small pieces;
 * and this one can be tested and fuzzed byte by byte without a server.
 */
#ifndef SQ_HTTP_MULTIPART_H
#define SQ_HTTP_MULTIPART_H

#include "lib/core/buf.h"

#define SQ_MULTIPART_MAX_PARTS 64
#define SQ_MULTIPART_HEAD_MAX 4096

struct sq_multipart;

/** An error that a callback returns ends the parse and is passed up. */
struct sq_multipart_events {
    sq_err (*on_part)(void *ctx, const char *name, const char *file_name); /* file_name NULL: a plain field; raw bytes */
    sq_err (*on_data)(void *ctx, const uint8_t *p, size_t n);
    sq_err (*on_part_end)(void *ctx);
};

sq_err sq_multipart_new(const char *boundary, const struct sq_multipart_events *events, void *ctx,
                        struct sq_multipart **out) SQ_MUST_CHECK;
/** SQ_EREQUEST when it isn't multipart/form-data; SQ_EMEDIA for a transfer encoding (base64) of a part. Then over: free it. */
sq_err sq_multipart_feed(struct sq_multipart *m, const uint8_t *p, size_t n) SQ_MUST_CHECK;
/** The body is over: SQ_EREQUEST when the closing delimiter is missing. */
sq_err sq_multipart_end(struct sq_multipart *m) SQ_MUST_CHECK;
void sq_multipart_free(struct sq_multipart *m);

#endif
