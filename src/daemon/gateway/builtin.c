/*
 * Files that are part of the program: the same for everybody, and of a release for ever. gateway answers them by itself, so that they need no room in a
 * message, no token and no entry in the log: they say nothing of anybody. Their bytes are sent from where they lie.
 */
#include "daemon/gateway/gateway.h"

#include "openapi_json.h"

void builtin_end(struct request *r)
{
    const struct sq_http_request *http = r->http;
    if (http->if_match && !sq_http_etag_matches(http->if_match, openapi_etag))
        answer_error(r, SQ_EPRECONDITION, NULL);
    else if (sq_http_etag_listed(http->if_none_match, openapi_etag))
        answer_builtin(r, 304, openapi_etag, NULL, 0);
    else
        answer_builtin(r, 200, openapi_etag, openapi_json, sizeof openapi_json);
}
