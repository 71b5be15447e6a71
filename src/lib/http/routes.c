#include "lib/http/routes.h"

#include <stdio.h>


static const struct sq_route_row rows[] = {
#define SQ_ROUTE(name_, no_, method_, path_, who_, needs_, rate_, kind_, event_, text_) \
    {SQ_ROUTE_##name_, #name_, #method_, path_, SQ_WHO_##who_, SQ_NEEDS_##needs_, SQ_RATE_##rate_, SQ_KIND_##kind_, event_, text_},
#include "lib/http/routes.def"
#undef SQ_ROUTE
};
#define N_ROW (sizeof rows / sizeof rows[0])

const struct sq_route_row *sq_route_rows(size_t *out_n)
{
    *out_n = N_ROW;
    return rows;
}

const struct sq_route_row *sq_route_row_of(unsigned no)
{
    for (size_t i = 0; i < N_ROW; i++)
        if ((unsigned)rows[i].route == no)
            return &rows[i];
    return NULL;
}

static const unsigned roles_of[] = {
#define SQ_WHO(name, roles, text) [SQ_WHO_##name] = (roles),
#include "lib/http/who.def"
#undef SQ_WHO
};

bool sq_who_has(enum sq_who who, int role)
{
    if (who == SQ_WHO_ANYONE)
        return true;
    return role >= 1 && role <= 5 && (roles_of[who] >> (role - 1) & 1);
}

const char *sq_rate_name(enum sq_rate rate)
{
    static const char *const names[SQ_RATE_N_CLASS] = {
        [SQ_RATE_READ] = "read", [SQ_RATE_WRITE] = "write", [SQ_RATE_LOGIN] = "login", [SQ_RATE_MAIL] = "mail", [SQ_RATE_BULK] = "bulk", [SQ_RATE_CONNECT] = "connect",
    };
    return names[rate];
}

static bool is_id_byte(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-';
}

/* Only letters, digits, - . _ and single slashes: no address of ours has more, so there is nothing to normalise. */
static bool is_normal(const char *path)
{
    if (*path != '/')
        return false;
    for (const char *p = path; *p; p++) {
        if (*p != '/' && !is_id_byte(*p) && *p != '.' && *p != '_')
            return false;
        if (*p != '/')
            continue;
        size_t n = strcspn(p + 1, "/");
        bool is_root = p == path && !p[1];
        if ((!n && !is_root) || (n == 1 && p[1] == '.') || (n == 2 && p[1] == '.' && p[2] == '.'))
            return false;
    }
    return true;
}

/* One row against a path in normal form, segment by segment. */
static bool path_fits(const char *pattern, const char *path, struct sq_route_params *params)
{
    params->n = 0;
    while (*pattern && *path) {
        if (*pattern != '{') {
            if (*pattern++ != *path++)
                return false;
            continue;
        }
        size_t n = strcspn(path, "/");
        sq_assert(params->n < SQ_ROUTE_MAX_PARAMS);
        if (!n || n > SQ_ROUTE_ID_MAX)
            return false;
        for (size_t i = 0; i < n; i++)
            if (!is_id_byte(path[i]))
                return false;
        memcpy(params->value[params->n], path, n);
        params->value[params->n++][n] = 0;
        path += n;
        pattern += strcspn(pattern, "}") + 1;
    }
    return !*pattern && !*path;
}

sq_err sq_route_match(const char *method, const char *path, const struct sq_route_row **out_row,
                      struct sq_route_params *out_params, char out_allow[64])
{
    if (!is_normal(path))
        return sq_fail(SQ_EREQUEST);
    const char *wanted = strcmp(method, "HEAD") ? method : "GET";
    char allow[64] = "";
    size_t n_allow = 0;
    for (size_t i = 0; i < N_ROW; i++) {
        struct sq_route_params params;
        if (!path_fits(rows[i].path, path, &params))
            continue;
        if (!strcmp(rows[i].method, wanted)) {
            if (out_params)
                *out_params = params;
            *out_row = &rows[i];
            return SQ_OK;
        }
        bool is_get = !strcmp(rows[i].method, "GET");
        int n = snprintf(allow + n_allow, sizeof allow - n_allow, "%s%s%s", n_allow ? ", " : "", rows[i].method,
                         is_get ? ", HEAD" : "");
        sq_assert(n > 0 && (size_t)n < sizeof allow - n_allow);
        n_allow += (size_t)n;
    }
    if (!n_allow)
        return sq_fail(SQ_ENOTFOUND);
    if (out_allow)
        memcpy(out_allow, allow, sizeof allow);
    return sq_fail(SQ_EMETHOD);
}
