#include "lib/http/http_forwarded.h"

#include <string.h>
#include <strings.h>

#define MAX_HOPS 64 /* elements of one line; more: refused, for we look from the right */
#define MAX_NODE 64

enum hop { HOP_ADDRESS, HOP_UNKNOWN, HOP_BAD };

struct text {
    const char *p;
    size_t n;
};

static struct text trimmed(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return (struct text){p, (size_t)(end - p)};
}

static bool is_port(const char *p, const char *end)
{
    size_t n = (size_t)(end - p);
    for (const char *q = p; q < end; q++)
        if (*q < '0' || *q > '9')
            return false;
    return n >= 1 && n <= 5;
}

/* 192.0.2.7 | 192.0.2.7:80 | 2001:db8::1 | [2001:db8::1] | [2001:db8::1]:80, or that the proxy won't or can't say */
static enum hop read_node(struct text t, bool may_be_bare_v6, struct sq_ip *out)
{
    const char *end = t.p + t.n;
    if ((t.n == 7 && !strncasecmp(t.p, "unknown", 7)) || (t.n > 1 && *t.p == '_'))
        return HOP_UNKNOWN;
    if (t.n && *t.p == '[') {
        const char *close = memchr(t.p, ']', t.n);
        bool is_good = close && (close + 1 == end || (close[1] == ':' && is_port(close + 2, end)));
        return is_good && sq_ip_read(t.p + 1, (size_t)(close - t.p - 1), out) && memchr(t.p, ':', (size_t)(close - t.p)) ? HOP_ADDRESS : HOP_BAD;
    }
    const char *colon = memchr(t.p, ':', t.n);
    bool is_v6 = colon && memchr(colon + 1, ':', (size_t)(end - colon - 1));
    if (is_v6)
        return may_be_bare_v6 && sq_ip_read(t.p, t.n, out) ? HOP_ADDRESS : HOP_BAD;
    if (colon && !is_port(colon + 1, end))
        return HOP_BAD;
    return sq_ip_read(t.p, colon ? (size_t)(colon - t.p) : t.n, out) ? HOP_ADDRESS : HOP_BAD;
}

static bool is_token_byte(char c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* value = token / quoted-string; for people who write for=192.0.2.7:80 without quotes, any byte but , ; and space. @node has the text without quotes. */
static const char *read_value(const char *p, const char *end, char node[MAX_NODE], size_t *n)
{
    bool is_quoted = p < end && *p == '"';
    p += is_quoted;
    *n = 0;
    while (p < end && (is_quoted ? *p != '"' : *p != ';' && *p != ',' && *p != ' ' && *p != '\t' && *p != '"')) {
        if (is_quoted && *p == '\\' && ++p == end)
            return NULL;
        if (*n < MAX_NODE)
            node[*n] = *p;
        (*n)++;
        p++;
    }
    if (is_quoted && (p == end || *p++ != '"'))
        return NULL;
    return *n || is_quoted ? p : NULL;
}

/* forwarded-element = [ pair ] *( ";" [ pair ] ); pair = token "=" value. Gives where it ends: at a comma or at the end. */
static const char *read_element(const char *p, const char *end, enum hop *hop, struct sq_ip *ip)
{
    bool has_for = false;
    *hop = HOP_UNKNOWN; /* one without `for` says nothing of whom it was */
    for (;;) {
        const char *name = p;
        char node[MAX_NODE];
        size_t n = 0;
        while (p < end && is_token_byte(*p))
            p++;
        size_t n_name = (size_t)(p - name);
        if (n_name) {
            p = p < end && *p == '=' ? read_value(p + 1, end, node, &n) : NULL;
            if (!p)
                return NULL;
            if (n_name == 3 && !strncasecmp(name, "for", 3)) {
                *hop = has_for || n > MAX_NODE ? HOP_BAD : read_node((struct text){node, n}, false, ip);
                has_for = true;
            }
        }
        while (p < end && (*p == ' ' || *p == '\t'))
            p++;
        if (p == end || *p == ',')
            return p;
        if (*p++ != ';')
            return NULL;
        while (p < end && (*p == ' ' || *p == '\t'))
            p++;
    }
}

/* The hops of one line, left to right. False: not a list that can be understood. */
static bool cut_line(const char *line, bool is_forwarded, enum hop hop[MAX_HOPS], struct sq_ip ip[MAX_HOPS], unsigned *out_n)
{
    const char *p = line, *end = line + strlen(line);
    unsigned n = 0;
    for (;; p++) { /* at the beginning of an element, or behind its comma */
        if (n == MAX_HOPS)
            return false;
        if (is_forwarded) {
            while (p < end && (*p == ' ' || *p == '\t'))
                p++;
            p = read_element(p, end, &hop[n], &ip[n]);
            if (!p)
                return false;
        } else {
            const char *comma = memchr(p, ',', (size_t)(end - p));
            struct text t = trimmed(p, comma ? comma : end);
            hop[n] = t.n ? read_node(t, true, &ip[n]) : HOP_BAD;
            p = comma ? comma : end;
        }
        n++;
        if (p == end)
            break;
    }
    *out_n = n;
    return true;
}

sq_err sq_http_client_of(const struct sq_networks *nets, const struct sq_ip *peer, const struct sq_http_lines *forwarded,
                         const struct sq_http_lines *x_forwarded_for, struct sq_ip *out)
{
    enum sq_networks_rule kind = sq_networks_proxy(nets, peer);
    const struct sq_http_lines *lines = kind == SQ_NET_PROXY_FORWARDED ? forwarded : x_forwarded_for;
    struct sq_ip at = *peer, ip[MAX_HOPS];
    enum hop hop[MAX_HOPS];
    unsigned n;
    if (kind && lines->n > SQ_HTTP_FORWARDED_LINES)
        return sq_fail(SQ_EREQUEST);
    for (unsigned l = kind ? lines->n : 0; l-- > 0;) {
        if (!cut_line(lines->line[l], kind == SQ_NET_PROXY_FORWARDED, hop, ip, &n))
            return sq_fail(SQ_EREQUEST);
        while (n-- > 0) {
            if (hop[n] == HOP_BAD)
                return sq_fail(SQ_EREQUEST);
            if (hop[n] == HOP_ADDRESS)
                at = ip[n];
            if (hop[n] == HOP_UNKNOWN || sq_networks_proxy(nets, &at) != kind) { /* one that writes the other header wrote nothing here */
                *out = at;
                return SQ_OK;
            }
        }
    }
    *out = at;
    return SQ_OK;
}
