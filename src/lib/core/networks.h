/**
 * core/networks - IP addresses, networks in CIDR form (RFC 4632, RFC 4291), and the file of rules that says who may come from where.
 *
 * Pure functions. An IPv4 address stands here as its IPv4-mapped IPv6 form, ::ffff:a.b.c.d, so that a client counts as the
 * same whichever way its address is written. A network of one family never holds an address of the other.
 */
#ifndef SQ_CORE_NETWORKS_H
#define SQ_CORE_NETWORKS_H

#include "lib/core/err.h"

#include <stdbool.h>
#include <stddef.h>

#define SQ_NETWORKS_MAX_RULES 4096
#define SQ_NETWORKS_MAX_BYTES (256u << 10) /* of the file */
#define SQ_NETWORKS_ADDRESS_MAX 64         /* bytes of an address as text, with its end */

struct sq_ip {
    uint8_t b[16]; /* network order */
};

struct sq_net {
    struct sq_ip ip; /* bits beyond the prefix are 0 */
    uint8_t n_bit;   /* of the 128: an IPv4 /8 has 104 */
};

/** The first @n bytes of @text are one address, "192.0.2.7" or "2001:db8::1" (no zone, no port, no brackets). */
bool sq_ip_read(const char *text, size_t n, struct sq_ip *out);
bool sq_ip_is_v4(const struct sq_ip *ip);
/** As people write it: "192.0.2.7", "2001:db8::1". */
void sq_ip_text(const struct sq_ip *ip, char out[static SQ_NETWORKS_ADDRESS_MAX]);
/** Whom we count it as: an IPv4 address itself, of IPv6 the network that one customer has: "2001:db8::/64". */
void sq_ip_source(const struct sq_ip *ip, char out[static SQ_NETWORKS_ADDRESS_MAX]);

/** The first @n bytes of @text are "192.0.2.0/24", "2001:db8::/32" or one address. SQ_EFIELD with a sentence in @why (may be NULL). */
sq_err sq_net_read(const char *text, size_t n, struct sq_net *out, struct sq_why *why) SQ_MUST_CHECK;
bool sq_net_has(const struct sq_net *net, const struct sq_ip *ip);

enum sq_networks_rule { SQ_NET_ALLOW, SQ_NET_DENY, SQ_NET_OPERATOR_ALLOW, SQ_NET_OPERATOR_DENY, SQ_NET_PROXY_FORWARDED, SQ_NET_PROXY_XFF, SQ_NET_N_RULE };

struct sq_networks;

/**
 * sq_networks_read - the rules of a file, one a line, `#` begins a comment: docs/limits.md.
 *
 *     allow NET | deny NET | operator-allow NET | operator-deny NET | proxy NET forwarded | proxy NET x-forwarded-for
 *
 * @text  [n] the file, any bytes.    borrowed
 * SQ_ECONFIG with line and sentence in @why (may be NULL); SQ_ENOMEM. Free with sq_networks_free (NULL allowed).
 */
sq_err sq_networks_read(const char *text, size_t n, struct sq_networks **out, struct sq_why *why) SQ_MUST_CHECK;
/** The same of what a descriptor gives, from where it stands to its end. Not closed. */
sq_err sq_networks_read_fd(int fd, struct sq_networks **out, struct sq_why *why) SQ_MUST_CHECK;
void sq_networks_free(struct sq_networks *nets);
size_t sq_networks_count(const struct sq_networks *nets);

/** May somebody with this address come at all; may he act as an operator? `deny` wins over `allow`; without any `allow` all are. @nets NULL: yes. */
bool sq_networks_may(const struct sq_networks *nets, const struct sq_ip *ip);
bool sq_networks_may_operate(const struct sq_networks *nets, const struct sq_ip *ip);
/** Does this address speak for others, and in which header? 0: no, else SQ_NET_PROXY_FORWARDED or SQ_NET_PROXY_XFF. */
enum sq_networks_rule sq_networks_proxy(const struct sq_networks *nets, const struct sq_ip *ip);

#endif
