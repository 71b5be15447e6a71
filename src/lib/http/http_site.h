/**
 * http/http_site - what a browser brings along: cookies, and from which page a request came.
 *
 * A browser adds a cookie to whatever any page makes it send. So a request that changes something and isn't authorised by a header that
 * only a program or a script of ours can set must say that it comes from a page of this very host: by Origin (RFC 6454) and by Sec-Fetch-Site
 * (W3C Fetch Metadata). Pure functions.
 */
#ifndef SQ_HTTP_HTTP_SITE_H
#define SQ_HTTP_HTTP_SITE_H

#include "lib/core/buf.h"

/**
 * sq_http_cookie - the value of the cookie @name in the header @cookie (NULL: there is none). Empty when it isn't there.
 * SQ_EREQUEST: it is there twice. Which of them the browser means can't be known, and the other may be somebody else's.
 */
sq_err sq_http_cookie(const char *cookie, const char *name, struct sq_span *out_value) SQ_MUST_CHECK;

/** Is @origin ("https://hub.example:8443") the page that @host ("hub.example:8443", of a request that came by TLS) serves? Port 443 may be left out. */
bool sq_http_origin_is(const char *origin, const char *host);

enum sq_http_by { SQ_HTTP_BY_NOBODY, SQ_HTTP_BY_HEADER, SQ_HTTP_BY_COOKIE }; /* as `via` of message api */

/**
 * sq_http_site_check - may a request of @method be acted on, authorised @by? @origin and @sec_fetch_site: NULL when absent.
 * SQ_ECROSSSITE: a page of another site made the browser send it, or nothing says that none did. By a header: always SQ_OK.
 */
sq_err sq_http_site_check(const char *method, enum sq_http_by by, const char *host, const char *origin, const char *sec_fetch_site) SQ_MUST_CHECK;

#endif
