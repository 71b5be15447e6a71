#include "lib/core/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_letter_or_digit(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* A host name: labels of letters, digits and inner hyphens, at most 63 bytes each (RFC 1123). */
static bool is_host_name(const char *s, size_t n)
{
    if (!n || n > 253)
        return false;
    size_t label = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '.') {
            if (!label || s[i - 1] == '-')
                return false;
            label = 0;
            continue;
        }
        if (!is_letter_or_digit(s[i]) && !(s[i] == '-' && label))
            return false;
        if (++label > 63)
            return false;
    }
    return label && s[n - 1] != '-';
}

/* A dot-atom: atoms with single dots between. */
static bool is_dot_atom(const char *s, size_t n)
{
    static const char other[] = "!#$%&'*+-/=?^_`{|}~";
    if (!n || n > 64 || s[0] == '.' || s[0] == '-' || s[n - 1] == '.')
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '.' ? s[i - 1] == '.' : !is_letter_or_digit(s[i]) && !strchr(other, s[i]))
            return false;
    }
    return true;
}

sq_err sq_mail_check(const char *address, struct sq_why *why)
{
    size_t n = strlen(address);
    const char *at = strchr(address, '@');
    if (n > SQ_MAIL_MAX_BYTES)
        return sq_why_set(why, SQ_EFIELD, 0, 0, "mail", "must have at most %d bytes", SQ_MAIL_MAX_BYTES);
    if (!at || !is_dot_atom(address, (size_t)(at - address)) || !is_host_name(at + 1, strlen(at + 1)))
        return sq_why_set(why, SQ_EFIELD, 0, 0, "mail", "must look like name@example.org: letters, digits and . _ + - before the @, a host name behind it");
    return SQ_OK;
}

/* ---- URLs ---- */

static sq_err bad_url(struct sq_why *why, const char *what)
{
    return sq_why_set(why, SQ_EFIELD, 0, 0, "url", "%s", what);
}

static bool is_path(const char *s)
{
    static const char other[] = "/-._~%!$&'()*+,;=:@?";
    for (; *s; s++)
        if (!is_letter_or_digit(*s) && !strchr(other, *s))
            return false;
    return true;
}

/* host or [ipv6] at the start of @s; the end of it, or NULL */
static const char *read_host(const char *s, struct sq_url *u)
{
    u->is_ipv6 = *s == '[';
    const char *from = u->is_ipv6 ? s + 1 : s;
    size_t n = strcspn(from, u->is_ipv6 ? "]" : ":/");
    if (n >= sizeof u->host || (u->is_ipv6 && from[n] != ']'))
        return NULL;
    memcpy(u->host, from, n);
    u->host[n] = 0;
    uint8_t address[16];
    if (u->is_ipv6) {
        static const uint8_t loopback[16] = {[15] = 1};
        if (inet_pton(AF_INET6, u->host, address) != 1)
            return NULL;
        u->is_loopback = !memcmp(address, loopback, 16);
        return from + n + 1;
    }
    u->is_loopback = inet_pton(AF_INET, u->host, address) == 1 && address[0] == 127;
    return is_host_name(u->host, n) ? from + n : NULL;
}

sq_err sq_url_read(const char *text, struct sq_url *out, struct sq_why *why)
{
    struct sq_url u = {.port = 0};
    const char *p = strstr(text, "://");
    size_t n = p ? (size_t)(p - text) : 0;
    if (!n || n >= sizeof u.scheme || strspn(text, "abcdefghijklmnopqrstuvwxyz+") != n)
        return bad_url(why, "must look like scheme://host or scheme://host:port");
    memcpy(u.scheme, text, n);
    p += 3;
    if (strcmp(u.scheme, "unix") != 0) { /* unix:///dev/log has a path alone */
        if (memchr(p, '@', strcspn(p, "/")))
            return bad_url(why, "must not hold a user name or password: they have keys of their own");
        p = read_host(p, &u);
        if (!p)
            return bad_url(why, "must name a host: a name, an IPv4 address, or an IPv6 address in brackets");
        if (*p == ':') {
            char *end;
            unsigned long port = p[1] >= '0' && p[1] <= '9' ? strtoul(p + 1, &end, 10) : 0;
            if (!port || port > 65535)
                return bad_url(why, "must have a port in 1..65535 behind the colon, or none");
            u.port = (uint16_t)port;
            p = end;
        }
    }
    if ((*p && *p != '/') || strlen(p) >= sizeof u.path || !is_path(p))
        return bad_url(why, "must have a plain path behind the host, or none");
    memcpy(u.path, p, strlen(p) + 1);
    *out = u;
    return SQ_OK;
}
