#include "lib/http/http_site.h"

#include <string.h>
#include <strings.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

sq_err sq_http_cookie(const char *cookie, const char *name, struct sq_span *out_value)
{
    size_t n_name = strlen(name);
    struct sq_span found = {0};
    bool is_found = false;
    for (const char *p = cookie; p; p = strchr(p, ';') ? strchr(p, ';') + 1 : NULL) {
        const char *end = p + strcspn(p, ";"), *from = p;
        while (from < end && is_blank(*from))
            from++;
        while (end > from && is_blank(end[-1]))
            end--;
        const char *eq = memchr(from, '=', (size_t)(end - from));
        const char *name_end = eq ? eq : end; /* one without `=` has its name alone, for a browser it is all value: it counts as ours twice over */
        while (name_end > from && is_blank(name_end[-1]))
            name_end--;
        if ((size_t)(name_end - from) != n_name || memcmp(from, name, n_name) != 0)
            continue;
        if (is_found)
            return sq_fail(SQ_EREQUEST);
        is_found = true;
        const char *value = eq ? eq + 1 : end;
        while (value < end && is_blank(*value))
            value++;
        found = sq_span_of(value, (size_t)(end - value));
    }
    *out_value = found;
    return SQ_OK;
}

/* without ":443" at its end */
static size_t length_of(const char *host)
{
    size_t n = strlen(host);
    return n >= 4 && !strcmp(host + n - 4, ":443") ? n - 4 : n;
}

bool sq_http_origin_is(const char *origin, const char *host)
{
    if (strncasecmp(origin, "https://", 8) != 0)
        return false;
    origin += 8;
    size_t n = length_of(origin);
    return n && n == length_of(host) && !strncasecmp(origin, host, n);
}

sq_err sq_http_site_check(const char *method, enum sq_http_by by, const char *host, const char *origin, const char *sec_fetch_site)
{
    bool is_safe = !strcmp(method, "GET") || !strcmp(method, "HEAD");
    bool is_own = sec_fetch_site && !strcmp(sec_fetch_site, "same-origin");
    if (by == SQ_HTTP_BY_HEADER || (by == SQ_HTTP_BY_NOBODY && is_safe))
        return SQ_OK;
    if (is_safe) /* nothing changes; but what a cookie opens is for our own pages, and for an address that somebody typed */
        return !sec_fetch_site || is_own || !strcmp(sec_fetch_site, "none") ? SQ_OK : sq_fail(SQ_ECROSSSITE);
    if ((origin && !sq_http_origin_is(origin, host)) || (sec_fetch_site && !is_own))
        return sq_fail(SQ_ECROSSSITE);
    return by == SQ_HTTP_BY_COOKIE && !origin && !sec_fetch_site ? sq_fail(SQ_ECROSSSITE) : SQ_OK;
}
