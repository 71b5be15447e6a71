/**
 * http/routes - the addresses of the service, made from routes.def, and the matcher.
 */
#ifndef SQ_HTTP_ROUTES_H
#define SQ_HTTP_ROUTES_H

#include "lib/core/buf.h"

#include <stdbool.h>

enum sq_route {
#define SQ_ROUTE(name, no, method, path, who, needs, rate, kind, event, text) SQ_ROUTE_##name = (no),
#include "lib/http/routes.def"
#undef SQ_ROUTE
    SQ_ROUTE_MAX = 256 /* numbers are below this */
};

/* Bits of roles: role k of db/states.def is bit k - 1. */
enum sq_role_bit { SQ_R_user = 1, SQ_R_operator = 2, SQ_R_security = 4, SQ_R_auditor = 8, SQ_R_support = 16 };
enum sq_who {
#define SQ_WHO(name, roles, text) SQ_WHO_##name,
#include "lib/http/who.def"
#undef SQ_WHO
};
/** Does role @role (its number in states.def; 0: nobody) belong to @who? Nobody belongs to ANYONE alone. */
bool sq_who_has(enum sq_who who, int role);
enum sq_needs { SQ_NEEDS_NONE, SQ_NEEDS_READ, SQ_NEEDS_WRITE, SQ_NEEDS_RESULTS, SQ_NEEDS_SESSION, SQ_NEEDS_MINT, SQ_NEEDS_STEP_UP };
enum sq_rate { SQ_RATE_READ, SQ_RATE_WRITE, SQ_RATE_LOGIN, SQ_RATE_MAIL, SQ_RATE_BULK, SQ_RATE_CONNECT /* of no route: a new connection */, SQ_RATE_N_CLASS };
enum sq_route_kind { SQ_KIND_JSON, SQ_KIND_FORM, SQ_KIND_UPLOAD, SQ_KIND_DOWNLOAD, SQ_KIND_BUILTIN };

struct sq_route_row {
    enum sq_route route;
    const char *name, *method, *path;
    enum sq_who who;
    enum sq_needs needs;
    enum sq_rate rate;
    enum sq_route_kind kind;
    const char *event, *text;
};

#define SQ_ROUTE_MAX_PARAMS 2
#define SQ_ROUTE_ID_MAX 64
struct sq_route_params {
    unsigned n;
    char value[SQ_ROUTE_MAX_PARAMS][SQ_ROUTE_ID_MAX + 1];
};

/** "read", "write" and so on; with rate_ before it the key of sequester.ini that limits this class. Static. */
const char *sq_rate_name(enum sq_rate rate);

/** sq_route_row_of - row of route @no, or NULL. Static. sq_route_rows: all of them. */
const struct sq_route_row *sq_route_row_of(unsigned no);
const struct sq_route_row *sq_route_rows(size_t *out_n);

/**
 * sq_route_match - the row for @method and @path (the path alone, before `?`, still percent-encoded).
 * SQ_OK; SQ_ENOTFOUND; SQ_EMETHOD with @out_allow = "GET, HEAD, POST"; SQ_EREQUEST for a path that isn't in normal form (empty
 * segments, ., .., percent signs, backslashes, control characters: no address of ours needs them).
 * HEAD matches GET. @out_params and @out_allow may be NULL.
 */
sq_err sq_route_match(const char *method, const char *path, const struct sq_route_row **out_row,
                      struct sq_route_params *out_params, char out_allow[64]) SQ_MUST_CHECK;

#endif
