/* The site that passkeys are of, apart from what reads them: registrar names it and has no use for libfido2. */
#include "lib/identity/passkey.h"

#include <stdio.h>

static bool is_name(const char *host, size_t n)
{
    bool has_letter = false; /* an address has none, or colons */
    for (size_t i = 0; i < n; i++) {
        has_letter |= host[i] >= 'a' && host[i] <= 'z';
        if (!(host[i] >= 'a' && host[i] <= 'z') && !(host[i] >= '0' && host[i] <= '9') && host[i] != '-' && host[i] != '.')
            return false;
    }
    return n && has_letter && host[0] != '.' && host[0] != '-' && host[n - 1] != '.';
}

sq_err sq_passkey_site(const char *public_url, struct sq_passkey_site *out)
{
    static const char scheme[] = "https://";
    char host[sizeof out->rp_id];
    if (!public_url || strncmp(public_url, scheme, sizeof scheme - 1) != 0)
        return sq_fail(SQ_ECONFIG);
    const char *at = public_url + sizeof scheme - 1;
    size_t n = strcspn(at, ":/?#"), n_port = 0;
    if (n >= sizeof host)
        return sq_fail(SQ_ECONFIG);
    for (size_t i = 0; i < n; i++)
        host[i] = at[i] >= 'A' && at[i] <= 'Z' ? (char)(at[i] - 'A' + 'a') : at[i];
    host[n] = 0;
    if (at[n] == ':') {
        n_port = strspn(at + n + 1, "0123456789");
        if (!n_port || n_port > 5 || at[n + 1] == '0' || (at[n + 1 + n_port] && !strchr("/?#", at[n + 1 + n_port])))
            return sq_fail(SQ_ECONFIG);
    }
    if (!is_name(host, n))
        return sq_fail(SQ_ECONFIG);
    bool is_default = !n_port || (n_port == 3 && !memcmp(at + n + 1, "443", 3)); /* a browser leaves that out */
    memcpy(out->rp_id, host, n + 1);
    snprintf(out->origin, sizeof out->origin, "%s%s%s%.*s", scheme, host, is_default ? "" : ":", is_default ? 0 : (int)n_port, at + n + 1);
    return SQ_OK;
}
