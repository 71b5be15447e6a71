/**
 * http/http_rules - what a request may look like, as pure functions: hosts, tokens, ranges, names of files.
 *
 * Everything here looks at text from strangers and touches nothing. RFC 9110 (semantics), RFC 6750 (bearer tokens),
 * RFC 7578 (forms). Where those leave a choice, the narrower one is taken.
 */
#ifndef SQ_HTTP_HTTP_RULES_H
#define SQ_HTTP_HTTP_RULES_H

#include "lib/core/buf.h"

#define SQ_HTTP_TOKEN_MAX 2048
#define SQ_HTTP_QUERY_MAX 1024
#define SQ_HTTP_FILE_NAME_MAX 255
#define SQ_HTTP_BOUNDARY_MAX 70

/** Is @host (the Host header, port and case ignored) one of the comma separated @hosts? */
bool sq_http_host_is_ours(const char *host, const char *hosts);

/** The token of `Authorization: Bearer T` or `X-Auth-Token: T` (either may be NULL). Empty when there is none.
 * SQ_EREQUEST: both at once, another scheme, or bytes that no token has. */
sq_err sq_http_token(const char *authorization, const char *x_auth_token, struct sq_span *out_token) SQ_MUST_CHECK;

/** Only printable ASCII without space, quotes, `#`, and at most SQ_HTTP_QUERY_MAX bytes. */
bool sq_http_query_is_plain(const char *query);

/** Is @content_type of the media type @wanted ("application/json"), whatever its parameters? NULL is not. */
bool sq_http_media_is(const char *content_type, const char *wanted);

/** Is it JSON, or a form, as bodies of ours are: that media type, with no parameter but charset=utf-8? */
bool sq_http_media_is_text(const char *content_type, const char *wanted);

/** The boundary of `multipart/form-data; boundary=X`. SQ_EMEDIA for another type, SQ_EREQUEST without a valid boundary. */
sq_err sq_http_boundary(const char *content_type, char out[SQ_HTTP_BOUNDARY_MAX + 1]) SQ_MUST_CHECK;

/**
 * sq_http_range - one byte range of RFC 9110 §14.1.2, as message download_open wants it: `5-9` is (5, 9), `5-` is
 * (5, UINT64_MAX), `-7` is (UINT64_MAX, 7). False: no Range, several ranges, another unit or no sense: send all.
 */
bool sq_http_range(const char *header, uint64_t *out_first, uint64_t *out_last);

/** Does the list @if_none_match name the strong tag @etag (with its quotes), or is it `*`? Weak comparison, RFC 9110 §13.1.2. */
bool sq_http_etag_listed(const char *if_none_match, const char *etag);

/** The same for If-Match: strong comparison, RFC 9110 §13.1.1. */
bool sq_http_etag_matches(const char *if_match, const char *etag);

/** A file's name from a form: last component, no control characters, valid UTF-8, at most 255 bytes, "upload" if nothing is left. */
void sq_http_file_name(const char *name, char out[SQ_HTTP_FILE_NAME_MAX + 1]);

#endif
