#include "lib/core/config.h"

#include "lib/core/address.h"
#include "lib/core/rates.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sq_key_row rows[] = {
#define SQ_KEY(name, type, fallback, who, text) {#name, SQ_KEY_##type, fallback, who, text},
#include "lib/core/config.def"
#undef SQ_KEY
};

const struct sq_key_row *sq_key_rows(size_t *out_n)
{
    *out_n = sizeof rows / sizeof rows[0];
    return rows;
}

const char *sq_key_type_name(enum sq_key_type type)
{
    switch (type) {
    case SQ_KEY_TEXT:
        return "text";
    case SQ_KEY_PATH:
        return "path";
    case SQ_KEY_NUMBER:
        return "number";
    case SQ_KEY_YESNO:
        return "yes or no";
    case SQ_KEY_URL:
        return "URL";
    case SQ_KEY_WORD:
        return "word";
    case SQ_KEY_MAIL:
        return "mail address";
    case SQ_KEY_RATES:
        return "rates";
    }
    return "?";
}

const struct sq_key_row *sq_key_row_of(const char *name)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (!strcmp(rows[i].name, name))
            return &rows[i];
    return NULL;
}

bool sq_key_is_for(const struct sq_key_row *row, const char *role)
{
    size_t n = strlen(role);
    for (const char *p = row->who; (p = strstr(p, role)); p += n)
        if ((p == row->who || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
            return true;
    return false;
}

/* Where the text names two values, "A or B", it is one of them. */
static sq_err check_two(const struct sq_key_row *row, unsigned long long v, struct sq_why *why)
{
    const char *at = strstr(row->text, " or ");
    unsigned long long a, b;
    while (at && at > row->text && at[-1] >= '0' && at[-1] <= '9')
        at--;
    if (at && sscanf(at, "%llu or %llu", &a, &b) == 2 && v != a && v != b)
        return sq_why_set(why, SQ_ECONFIG, 0, 0, row->name, "must be %llu or %llu", a, b);
    return SQ_OK;
}

static sq_err check_number(const struct sq_key_row *row, const char *value, struct sq_why *why)
{
    char *end;
    errno = 0;
    unsigned long long v = strtoull(value, &end, 10);
    if (errno || *end || *value < '0' || *value > '9')
        return sq_why_set(why, SQ_ECONFIG, 0, 0, row->name, "must be a whole number");
    const char *range = strstr(row->text, "..");
    unsigned long long least, most;
    if (range) {
        while (range > row->text && range[-1] >= '0' && range[-1] <= '9')
            range--;
        if (sscanf(range, "%llu..%llu", &least, &most) == 2 && (v < least || v > most))
            return sq_why_set(why, SQ_ECONFIG, 0, 0, row->name, "must lie in %llu..%llu", least, most);
    }
    return check_two(row, v, why);
}

bool sq_peer_rsa_is_kept(const char *start_by, const char *peer_rsa_bits)
{
    return strcmp(start_by, "sockets") || strtoull(peer_rsa_bits, NULL, 10) <= 2048;
}

/* Empty, or a URL of a scheme that stands in the key's text; without TLS only where nobody but this machine can listen. */
static sq_err check_url(const struct sq_key_row *row, const char *value, struct sq_why *why)
{
    struct sq_url url;
    struct sq_why bad = {.line = 0};
    char scheme[24], plain[40];
    if (!*value)
        return SQ_OK;
    if (sq_url_read(value, &url, &bad))
        return sq_why_set(why, SQ_ECONFIG, 0, 0, row->name, "%s", bad.detail);
    snprintf(scheme, sizeof scheme, "%s://", url.scheme);
    snprintf(plain, sizeof plain, "%s (loopback)", scheme);
    const char *at = strstr(row->text, scheme);
    if (!at || (at > row->text && at[-1] != ' '))
        return sq_why_set(why, SQ_ECONFIG, 0, 0, row->name, "has a scheme that is not of use here; see `sequester admin config explain`");
    if (strstr(row->text, plain) && !url.is_loopback)
        return sq_why_set(why, SQ_ECONFIG, 0, 0, row->name, "has no TLS: %s goes to 127.0.0.1 or [::1] alone", scheme);
    return SQ_OK;
}

static sq_err check_mail(const struct sq_key_row *row, const char *value, struct sq_why *why)
{
    struct sq_why bad = {.line = 0};
    return *value && sq_mail_check(value, &bad) ? sq_why_set(why, SQ_ECONFIG, 0, 0, row->name, "%s", bad.detail) : SQ_OK;
}

static sq_err check_rates(const struct sq_key_row *row, const char *value, struct sq_why *why)
{
    struct sq_why bad = {.line = 0};
    struct sq_rates rates;
    return sq_rates_read(value, &rates, &bad) ? sq_why_set(why, SQ_ECONFIG, 0, 0, row->name, "%s", bad.detail) : SQ_OK;
}

/* One of the words that the key's text explains, each before a colon. */
static sq_err check_word(const struct sq_key_row *row, const char *value, struct sq_why *why)
{
    char word[40];
    int n = snprintf(word, sizeof word, "%s:", value);
    const char *at = n > 1 && n < (int)sizeof word ? strstr(row->text, word) : NULL;
    if (!at || strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789") != (size_t)n - 1 || (at > row->text && at[-1] != ' '))
        return sq_why_set(why, SQ_ECONFIG, 0, 0, row->name, "is no word that is known here; see `sequester admin config explain`");
    return SQ_OK;
}

sq_err sq_key_check(const struct sq_key_row *row, const char *value, struct sq_why *why)
{
    if (strlen(value) >= SQ_CONFIG_MAX_VALUE)
        return sq_why_set(why, SQ_ECONFIG, 0, 0, row->name, "is longer than %d bytes", SQ_CONFIG_MAX_VALUE - 1);
    switch (row->type) {
    case SQ_KEY_NUMBER:
        return check_number(row, value, why);
    case SQ_KEY_YESNO:
        if (strcmp(value, "yes") && strcmp(value, "no"))
            return sq_why_set(why, SQ_ECONFIG, 0, 0, row->name, "must be yes or no");
        return SQ_OK;
    case SQ_KEY_PATH:
        if (*value && *value != '/')
            return sq_why_set(why, SQ_ECONFIG, 0, 0, row->name, "must be an absolute path");
        return SQ_OK;
    case SQ_KEY_TEXT:
        return SQ_OK;
    case SQ_KEY_URL:
        return check_url(row, value, why);
    case SQ_KEY_WORD:
        return check_word(row, value, why);
    case SQ_KEY_MAIL:
        return check_mail(row, value, why);
    case SQ_KEY_RATES:
        return check_rates(row, value, why);
    }
    return SQ_OK;
}

void sq_key_fallback(const struct sq_key_row *row, bool is_root, char out[static SQ_CONFIG_MAX_VALUE])
{
    const char *home = getenv("HOME"), *state = getenv("XDG_STATE_HOME"), *run = getenv("XDG_RUNTIME_DIR");
    const bool is_state = !strcmp(row->name, "state_dir"), is_run = !strcmp(row->name, "run_dir");
    int n = -1;
    if (!is_root && is_run && run && *run == '/')
        n = snprintf(out, SQ_CONFIG_MAX_VALUE, "%s/sequester", run);
    else if (!is_root && (is_state || is_run) && state && *state == '/')
        n = snprintf(out, SQ_CONFIG_MAX_VALUE, "%s/sequester%s", state, is_run ? "/run" : "");
    else if (!is_root && (is_state || is_run) && home && *home == '/')
        n = snprintf(out, SQ_CONFIG_MAX_VALUE, "%s/.local/state/sequester%s", home, is_run ? "/run" : "");
    if (n < 0 || n >= SQ_CONFIG_MAX_VALUE)
        snprintf(out, SQ_CONFIG_MAX_VALUE, "%s", row->fallback);
}
