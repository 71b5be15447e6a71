/**
 * http/http_forwarded - who a request comes from when a proxy stands in front: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
 *
 * Anybody can write these headers, so they count only when the connection itself comes from a proxy of ours (core/networks),
 * only the one that this proxy is said to write, and only from the right: each proxy adds the address that it saw at the end,
 * so the right-most address that isn't a proxy of ours is the client, and what stands left of it is the client's own claim.
 */
#ifndef SQ_HTTP_HTTP_FORWARDED_H
#define SQ_HTTP_HTTP_FORWARDED_H

#include "lib/core/networks.h"

#define SQ_HTTP_FORWARDED_LINES 8 /* of one header */

/** The lines of one header, in the order in which they came; text borrowed. */
struct sq_http_lines {
    const char *line[SQ_HTTP_FORWARDED_LINES];
    unsigned n; /* more than SQ_HTTP_FORWARDED_LINES: there were so many, and the first ones stand here */
};

/**
 * sq_http_client_of - the address of the client of a request that came from @peer.
 *
 * Not a proxy, or its header is missing: @peer. A proxy that says that it doesn't know ("unknown", an obfuscated name): that
 * proxy. SQ_EREQUEST: what a proxy of ours wrote, or passed on in the place where one wrote, can't be understood.
 */
sq_err sq_http_client_of(const struct sq_networks *nets, const struct sq_ip *peer, const struct sq_http_lines *forwarded,
                         const struct sq_http_lines *x_forwarded_for, struct sq_ip *out) SQ_MUST_CHECK;

#endif
