#include "lib/identity/scope.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const names[SQ_SCOPE_NAMES] = {"read", "write", "results"};

struct network {
    uint8_t p[16];
    unsigned n_byte, n_bit;
};

unsigned sq_scope_named(const char *name)
{
    for (unsigned k = 0; k < SQ_SCOPE_NAMES; k++)
        if (!strcmp(names[k], name))
            return 1U << k;
    return 0;
}

const char *sq_scope_name(unsigned k)
{
    return k < SQ_SCOPE_NAMES ? names[k] : NULL;
}

/* An IPv4 address in an IPv6 one (::ffff:192.0.2.1) is that IPv4 address. */
static bool read_address(const char *text, struct network *out)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    out->n_byte = 4;
    if (inet_pton(AF_INET, text, out->p) == 1)
        return true;
    out->n_byte = 16;
    if (inet_pton(AF_INET6, text, out->p) != 1)
        return false;
    if (!memcmp(out->p, mapped, sizeof mapped)) {
        memmove(out->p, out->p + 12, 4);
        out->n_byte = 4;
    }
    return true;
}

/* "address", or address, @slash, length; no bit behind the length may be set */
static bool read_network(const char *text, char slash, struct network *out)
{
    char address[64];
    const char *at = strchr(text, slash);
    size_t n = at ? (size_t)(at - text) : strlen(text);
    if (n >= sizeof address)
        return false;
    memcpy(address, text, n);
    address[n] = 0;
    if (!read_address(address, out))
        return false;
    out->n_bit = 8 * out->n_byte;
    if (at) {
        size_t n_digit = strspn(at + 1, "0123456789");
        if (n_digit < 1 || n_digit > 3 || at[1 + n_digit])
            return false;
        unsigned long n_bit = strtoul(at + 1, NULL, 10);
        if (n_bit > out->n_bit)
            return false;
        out->n_bit = (unsigned)n_bit;
    }
    for (unsigned bit = out->n_bit; bit < 8 * out->n_byte; bit++)
        if (out->p[bit / 8] >> (7 - bit % 8) & 1)
            return false;
    return true;
}

static bool holds(const struct network *net, const struct network *address)
{
    if (net->n_byte != address->n_byte)
        return false;
    for (unsigned bit = 0; bit < net->n_bit; bit++)
        if (((net->p[bit / 8] ^ address->p[bit / 8]) >> (7 - bit % 8)) & 1)
            return false;
    return true;
}

#define LOOKS "must look like 192.0.2.0/24 or 2001:db8::/32, without bits behind the length"

static bool spell_network(const char *given, struct network *out, char text[INET6_ADDRSTRLEN])
{
    return read_network(given, '/', out) && inet_ntop(out->n_byte == 4 ? AF_INET : AF_INET6, out->p, text, INET6_ADDRSTRLEN);
}

sq_err sq_cidr_list_write(const char *const *networks, size_t n_network, char out[SQ_CIDR_LIST_BYTES], struct sq_why *why)
{
    char text[INET6_ADDRSTRLEN];
    size_t n = 0;
    *out = 0;
    if (n_network > SQ_CIDR_LIST_MAX)
        return sq_why_set(why, SQ_EFIELD, 0, 0, "networks", "must be at most %d", SQ_CIDR_LIST_MAX);
    for (size_t i = 0; i < n_network; i++) {
        struct network net;
        if (!spell_network(networks[i], &net, text))
            return sq_why_set(why, SQ_EFIELD, 0, 0, "networks", "%s", LOOKS);
        n += (size_t)snprintf(out + n, SQ_CIDR_LIST_BYTES - n, "%s%s/%u", i ? "," : "", text, net.n_bit);
    }
    sq_assert(n < SQ_CIDR_LIST_BYTES); /* 16 networks of at most 49 bytes */
    return SQ_OK;
}

bool sq_cidr_list_holds(const char *list, const char *address)
{
    struct network net, from;
    bool is_known = read_address(address, &from);
    for (const char *p = list; *p && is_known;) {
        char one[64];
        size_t n = strcspn(p, ",");
        if (n < sizeof one) {
            memcpy(one, p, n);
            one[n] = 0;
            if (read_network(one, '/', &net) && holds(&net, &from))
                return true;
        }
        p += n + (p[n] != 0);
    }
    return !*list;
}

sq_err sq_scope_write(unsigned scopes, const char *const *networks, size_t n_network, char out[SQ_JWT_SCOPE_BYTES], struct sq_why *why)
{
    char text[INET6_ADDRSTRLEN];
    size_t n = (size_t)snprintf(out, SQ_JWT_SCOPE_BYTES, "api");
    if (!scopes || (scopes & ~(unsigned)SQ_SCOPE_ALL))
        return sq_why_set(why, SQ_EFIELD, 0, 0, "scopes", "must be some of read, write, results");
    if (n_network > SQ_SCOPE_MAX_NETWORKS)
        return sq_why_set(why, SQ_EFIELD, 0, 0, "networks", "must be at most %d", SQ_SCOPE_MAX_NETWORKS);
    for (unsigned k = 0; k < SQ_SCOPE_NAMES; k++)
        if (scopes >> k & 1)
            n += (size_t)snprintf(out + n, SQ_JWT_SCOPE_BYTES - n, " %s", names[k]);
    for (size_t i = 0; i < n_network; i++) {
        struct network net;
        if (!spell_network(networks[i], &net, text))
            return sq_why_set(why, SQ_EFIELD, 0, 0, "networks", "%s", LOOKS);
        n += (size_t)snprintf(out + n, SQ_JWT_SCOPE_BYTES - n, " net:%s-%u", text, net.n_bit);
    }
    sq_assert(n < SQ_JWT_SCOPE_BYTES); /* 4 networks of at most 49 bytes */
    return SQ_OK;
}

/* The next word of *at; false at the end. */
static bool next_word(const char **at, char out[64])
{
    *at += strspn(*at, " ");
    size_t n = strcspn(*at, " ");
    if (!n || n >= 64)
        return false;
    memcpy(out, *at, n);
    out[n] = 0;
    *at += n;
    return true;
}

bool sq_scope_read(const char *scope, bool *out_is_api, unsigned *out_scopes)
{
    char word[64];
    unsigned scopes = 0;
    if (!strcmp(scope, "session")) {
        *out_is_api = false;
        *out_scopes = SQ_SCOPE_ALL;
        return true;
    }
    const char *at = scope;
    if (!next_word(&at, word) || strcmp(word, "api") != 0)
        return false;
    while (next_word(&at, word))
        scopes |= sq_scope_named(word);
    *out_is_api = true;
    *out_scopes = scopes;
    return true;
}

bool sq_scope_lets(const char *scope, const char *address)
{
    char word[64];
    struct network net, from;
    bool has_network = false, is_known = read_address(address, &from);
    for (const char *at = scope; next_word(&at, word);) {
        if (strncmp(word, "net:", 4) != 0)
            continue;
        has_network = true;
        if (is_known && read_network(word + 4, '-', &net) && holds(&net, &from))
            return true;
    }
    return !has_network;
}
