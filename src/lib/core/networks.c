#include "lib/core/networks.h"

#include "lib/core/file.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SOURCE_BITS 64 /* of IPv6: what one customer gets at the least */

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct rule {
    enum sq_networks_rule kind;
    struct sq_net net;
};

struct sq_networks {
    size_t n_rule, n_of[SQ_NET_N_RULE];
    struct rule rule[];
};

/* ---- addresses ---- */

bool sq_ip_is_v4(const struct sq_ip *ip)
{
    return !memcmp(ip->b, mapped, sizeof mapped);
}

bool sq_ip_read(const char *text, size_t n, struct sq_ip *out)
{
    char one[INET6_ADDRSTRLEN];
    struct sq_ip ip;
    if (!n || n >= sizeof one || memchr(text, 0, n))
        return false;
    memcpy(one, text, n);
    one[n] = 0;
    if (inet_pton(AF_INET, one, ip.b + 12) == 1)
        memcpy(ip.b, mapped, sizeof mapped);
    else if (inet_pton(AF_INET6, one, ip.b) != 1)
        return false;
    *out = ip;
    return true;
}

void sq_ip_text(const struct sq_ip *ip, char out[static SQ_NETWORKS_ADDRESS_MAX])
{
    bool is_v4 = sq_ip_is_v4(ip);
    if (!inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? ip->b + 12 : ip->b, out, SQ_NETWORKS_ADDRESS_MAX))
        out[0] = 0;
}

void sq_ip_source(const struct sq_ip *ip, char out[static SQ_NETWORKS_ADDRESS_MAX])
{
    struct sq_ip net = *ip;
    if (!sq_ip_is_v4(ip))
        memset(net.b + SOURCE_BITS / 8, 0, sizeof net.b - SOURCE_BITS / 8);
    sq_ip_text(&net, out);
    if (!sq_ip_is_v4(ip))
        memcpy(out + strlen(out), "/64", 4); /* INET6_ADDRSTRLEN is 46 */
}

/* ---- networks ---- */

/* Is every bit from @n_bit on 0? */
static bool is_clear_from(const struct sq_ip *ip, unsigned n_bit)
{
    for (unsigned i = n_bit; i < 128; i++)
        if (ip->b[i / 8] & (0x80 >> i % 8))
            return false;
    return true;
}

sq_err sq_net_read(const char *text, size_t n, struct sq_net *out, struct sq_why *why)
{
    const char *slash = memchr(text, '/', n);
    size_t n_ip = slash ? (size_t)(slash - text) : n;
    struct sq_net net;
    if (!sq_ip_read(text, n_ip, &net.ip))
        return sq_why_set(why, SQ_EFIELD, 0, 0, "network", "is not an address or a network: write 192.0.2.0/24 or 2001:db8::/32");
    bool is_v4 = sq_ip_is_v4(&net.ip);
    unsigned most = is_v4 ? 32 : 128, n_bit = 0;
    if (slash) {
        const char *p = slash + 1, *end = text + n;
        if (p == end || end - p > 3 || (*p == '0' && end - p > 1))
            return sq_why_set(why, SQ_EFIELD, 0, 0, "network", "the length of the prefix must be a number, 0 to %u", most);
        for (; p < end; p++) {
            if (*p < '0' || *p > '9')
                return sq_why_set(why, SQ_EFIELD, 0, 0, "network", "the length of the prefix must be a number, 0 to %u", most);
            n_bit = n_bit * 10 + (unsigned)(*p - '0');
        }
        if (n_bit > most)
            return sq_why_set(why, SQ_EFIELD, 0, 0, "network", "the length of the prefix must be a number, 0 to %u", most);
    } else {
        n_bit = most;
    }
    net.n_bit = (uint8_t)(is_v4 ? n_bit + 96 : n_bit);
    if (!is_clear_from(&net.ip, net.n_bit))
        return sq_why_set(why, SQ_EFIELD, 0, 0, "network", "has bits beyond its prefix of %u: write the network's first address, or the whole address without a prefix", n_bit);
    *out = net;
    return SQ_OK;
}

bool sq_net_has(const struct sq_net *net, const struct sq_ip *ip)
{
    unsigned n_byte = net->n_bit / 8, rest = net->n_bit % 8;
    if (sq_ip_is_v4(&net->ip) != sq_ip_is_v4(ip) || memcmp(net->ip.b, ip->b, n_byte) != 0)
        return false;
    return !rest || !((net->ip.b[n_byte] ^ ip->b[n_byte]) >> (8 - rest));
}

/* ---- the file ---- */

struct word {
    const char *p;
    size_t n;
};

static bool is_word(const struct word *w, const char *text)
{
    return w->n == strlen(text) && !strncasecmp(w->p, text, w->n);
}

/* Up to @max words of a line, without its comment; more of them give max + 1. */
static size_t cut(const char *line, size_t n, struct word *words, size_t max)
{
    size_t n_word = 0, i = 0;
    while (i < n && line[i] != '#') {
        if (line[i] == ' ' || line[i] == '\t' || line[i] == '\r') {
            i++;
            continue;
        }
        if (n_word == max)
            return max + 1;
        size_t from = i;
        while (i < n && line[i] != ' ' && line[i] != '\t' && line[i] != '\r' && line[i] != '#')
            i++;
        words[n_word++] = (struct word){line + from, i - from};
    }
    return n_word;
}

static sq_err read_rule(const struct word *words, size_t n_word, struct rule *out, struct sq_why *why)
{
    static const char *const names[] = {"allow", "deny", "operator-allow", "operator-deny"};
    size_t kind = 0;
    while (kind < 4 && !is_word(&words[0], names[kind]))
        kind++;
    bool is_proxy = kind == 4 && is_word(&words[0], "proxy");
    if (kind == 4 && !is_proxy)
        return sq_why_set(why, SQ_ECONFIG, 0, 0, "rule", "a rule begins with allow, deny, operator-allow, operator-deny or proxy");
    if (is_proxy && (n_word != 3 || (!is_word(&words[2], "forwarded") && !is_word(&words[2], "x-forwarded-for"))))
        return sq_why_set(why, SQ_ECONFIG, 0, 0, "rule", "say `proxy NETWORK forwarded` or `proxy NETWORK x-forwarded-for`: the header that this proxy writes");
    if (!is_proxy && n_word != 2)
        return sq_why_set(why, SQ_ECONFIG, 0, 0, "rule", "this rule has one network, as in `deny 192.0.2.0/24`");
    out->kind = is_proxy ? (is_word(&words[2], "forwarded") ? SQ_NET_PROXY_FORWARDED : SQ_NET_PROXY_XFF) : (enum sq_networks_rule)kind;
    return sq_net_read(words[1].p, words[1].n, &out->net, why) ? SQ_ECONFIG : SQ_OK;
}

sq_err sq_networks_read(const char *text, size_t n, struct sq_networks **out, struct sq_why *why)
{
    struct sq_networks *nets = NULL;
    size_t n_room = 0, line_no = 0;
    if (n > SQ_NETWORKS_MAX_BYTES)
        return sq_why_set(why, SQ_ECONFIG, 0, 0, "rule", "the file has more than %u bytes", SQ_NETWORKS_MAX_BYTES);
    for (const char *p = text, *end = text + n; p < end || !nets;) {
        if (!nets || nets->n_rule == n_room) {
            n_room = n_room ? 2 * n_room : 16;
            struct sq_networks *more = realloc(nets, sizeof *nets + n_room * sizeof nets->rule[0]);
            if (!more) {
                free(nets);
                return sq_fail(SQ_ENOMEM);
            }
            if (!nets)
                memset(more, 0, sizeof *more);
            nets = more;
        }
        if (p == end)
            break;
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((lf ? lf : end) - p);
        struct word words[3];
        size_t n_word = cut(p, len, words, 3);
        line_no++;
        p += len + (lf != NULL);
        if (!n_word)
            continue;
        sq_err e = nets->n_rule < SQ_NETWORKS_MAX_RULES ? read_rule(words, n_word, &nets->rule[nets->n_rule], why)
                                                        : sq_why_set(why, SQ_ECONFIG, 0, 0, "rule", "there are more than %d rules", SQ_NETWORKS_MAX_RULES);
        if (e) {
            free(nets);
            if (why)
                why->line = line_no;
            return sq_fail(e);
        }
        nets->n_of[nets->rule[nets->n_rule++].kind]++;
    }
    *out = nets;
    return SQ_OK;
}

sq_err sq_networks_read_fd(int fd, struct sq_networks **out, struct sq_why *why)
{
    char *text = malloc(SQ_NETWORKS_MAX_BYTES + 1);
    size_t n = 0;
    sq_err e = text ? sq_read_full(fd, text, SQ_NETWORKS_MAX_BYTES + 1, &n) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = sq_networks_read(text, n, out, why);
    else
        sq_why_set(why, e, 0, 0, "rule", "the file can't be read");
    free(text);
    return e;
}

void sq_networks_free(struct sq_networks *nets)
{
    free(nets);
}

size_t sq_networks_count(const struct sq_networks *nets)
{
    return nets ? nets->n_rule : 0;
}

/* ---- questions ---- */

static bool has(const struct sq_networks *nets, enum sq_networks_rule kind, const struct sq_ip *ip)
{
    for (size_t i = 0; nets->n_of[kind] && i < nets->n_rule; i++)
        if (nets->rule[i].kind == kind && sq_net_has(&nets->rule[i].net, ip))
            return true;
    return false;
}

static bool may(const struct sq_networks *nets, enum sq_networks_rule allow, enum sq_networks_rule deny, const struct sq_ip *ip)
{
    if (!nets)
        return true;
    return !has(nets, deny, ip) && (!nets->n_of[allow] || has(nets, allow, ip));
}

bool sq_networks_may(const struct sq_networks *nets, const struct sq_ip *ip)
{
    return may(nets, SQ_NET_ALLOW, SQ_NET_DENY, ip);
}

bool sq_networks_may_operate(const struct sq_networks *nets, const struct sq_ip *ip)
{
    return may(nets, SQ_NET_OPERATOR_ALLOW, SQ_NET_OPERATOR_DENY, ip);
}

enum sq_networks_rule sq_networks_proxy(const struct sq_networks *nets, const struct sq_ip *ip)
{
    for (enum sq_networks_rule kind = SQ_NET_PROXY_FORWARDED; nets && kind <= SQ_NET_PROXY_XFF; kind++)
        if (has(nets, kind, ip))
            return kind;
    return 0;
}
