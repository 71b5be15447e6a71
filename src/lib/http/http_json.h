/**
 * http/http_json - JSON bodies: checked and rewritten before anyone else sees them, and the body of an error.
 *
 * Bodies hold passwords: what the parser allocates is wiped when freed.
 */
#ifndef SQ_HTTP_HTTP_JSON_H
#define SQ_HTTP_HTTP_JSON_H

#include "lib/core/buf.h"

#define SQ_HTTP_JSON_DEPTH 16

/** Once, before confining: wiping memory, and the parser's random seed (which opens a file). */
void sq_http_json_start(void);

/**
 * sq_http_json_normal - one JSON object, without duplicate keys, NULs in strings or more than SQ_HTTP_JSON_DEPTH levels,
 * written again in its compact form. SQ_EJSON; SQ_ETOOBIG when the result breaks @out's max.
 */
sq_err sq_http_json_normal(const void *p, size_t n, struct sq_buf *out) SQ_MUST_CHECK;

/**
 * sq_http_form_normal - a body of application/x-www-form-urlencoded (WHATWG URL, 5.1) as one JSON object of strings: at most SQ_HTTP_FORM_FIELDS fields with names of
 * [A-Za-z0-9_.-], none twice, UTF-8, no NUL. SQ_EREQUEST; SQ_ETOOBIG when the result breaks @out's max.
 */
#define SQ_HTTP_FORM_FIELDS 32
sq_err sq_http_form_normal(const void *p, size_t n, struct sq_buf *out) SQ_MUST_CHECK;

/** {"success":false,"code":"EAUTH","message":...,"hint":...,"id":...} of err.def. @detail: a sentence of ours, or NULL. */
sq_err sq_http_json_error(sq_err code, const char *detail, const char *id, struct sq_buf *out) SQ_MUST_CHECK;

#endif
