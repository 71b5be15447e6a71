/*
 * What people give to have an account, and what signed claims say of one. Input: how | pieces, cut by lines "%%".
 *
 *     how 0  password | name | mail | names of the site | the operator's list of stolen passwords
 *     how 1  code | mail | name of a scope | networks of a token, a line each | address
 */
#include "lib/core/address.h"
#include "lib/core/clock.h"
#include "lib/identity/identity.h"
#include "lib/identity/totp.h"

#include "fuzz_file.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A list that was opened has what it says it has: of words its first, of hashes nothing that is no password. */
static struct sq_breached *list_of(struct sq_span bytes)
{
    struct sq_breached *list = NULL;
    struct sq_why why = {.line = 0};
    sq_err e = sq_breached_open(fuzz_file(bytes.p, bytes.n), &list, &why);
    sq_assert(e == SQ_OK || (e == SQ_ECONFIG && *why.detail));
    if (e)
        return NULL;
    const uint8_t *end = bytes.n ? memchr(bytes.p, '\n', bytes.n) : NULL;
    size_t n = end ? (size_t)(end - bytes.p) : bytes.n;
    if (n && bytes.p[n - 1] == '\r')
        n--;
    char *first = fuzz_string((struct sq_span){bytes.p, (uint32_t)n});
    bool is = false, is_hash = strspn(first, "0123456789abcdefABCDEF") >= 40;
    free(first);
    if (n && n < 1024 && !is_hash)
        sq_assert(!sq_breached_has(list, (const char *)bytes.p, n, &is) && is);
    return list;
}

static void choose(struct sq_span *rest)
{
    struct sq_span given = fuzz_bytes(rest);
    char *password = fuzz_string(given), *name = fuzz_string(fuzz_bytes(rest)), *mail = fuzz_string(fuzz_bytes(rest)), *site = fuzz_string(fuzz_bytes(rest));
    struct sq_breached *list = list_of(fuzz_bytes(rest));
    const struct sq_password_rules rules = {.min_score = SQ_PASSWORD_MIN_SCORE, .list = list, .site = site}, strict = {.min_score = 4, .list = list, .site = site}, lax = {.min_score = 0, .list = list};
    struct sq_why why = {.line = 0};
    size_t n = strlen(password);
    sq_err e = sq_password_strength(&rules, password, n, name, mail, &why), more = sq_password_strength(&strict, password, n, name, mail, NULL),
           less = sq_password_strength(&lax, password, n, name, mail, NULL);
    sq_assert(e == SQ_OK || (e == SQ_EWEAK && !strcmp(why.field, "password") && *why.detail) || e == SQ_EIO);
    sq_assert(e == SQ_EIO || ((more || !e) && (e || !less))); /* a stricter rule lets no more in */
    sq_assert(!e || n < 12 || !strstr(why.detail, password));
    bool is = false;
    if (!e)
        sq_assert(n >= SQ_PASSWORD_MIN_CHARS && n <= SQ_PASSWORD_MAX_BYTES && !sq_breached_has(list, password, n, &is) && !is);
    sq_breached_free(list);
    free(password);
    free(name);
    free(mail);
    free(site);
}

static void scopes(char *networks, const char *address, unsigned bits)
{
    const char *net[SQ_SCOPE_MAX_NETWORKS + 1];
    char claim[SQ_JWT_SCOPE_BYTES];
    size_t n = 0;
    for (char *at = strtok(networks, "\n"); at && n <= SQ_SCOPE_MAX_NETWORKS; at = strtok(NULL, "\n"))
        net[n++] = at;
    bool is_api = false;
    unsigned found = 0;
    if (sq_scope_write(bits, net, n, claim, NULL))
        return;
    sq_assert(sq_scope_read(claim, &is_api, &found) && is_api && found == bits);
    sq_assert(n || sq_scope_lets(claim, "192.0.2.1"));
    (void)sq_scope_lets(claim, address);
}

static void prove(struct sq_span *rest)
{
    static struct sq_key *key;
    static const uint8_t secret[SQ_TOTP_SHA1_BYTES] = "12345678901234567890";
    char *code = fuzz_string(fuzz_bytes(rest)), *mail = fuzz_string(fuzz_bytes(rest)), *scope = fuzz_string(fuzz_bytes(rest)), *networks = fuzz_string(fuzz_bytes(rest)), *address = fuzz_string(fuzz_bytes(rest));
    uint8_t hash[SQ_SHA256_BYTES];
    uint64_t step = 0, again = 0;
    struct sq_why why = {.line = 0};
    bool is_api;
    unsigned bits;
    if (!key)
        sq_assert(!sq_key_new(&key));
    sq_err e = sq_totp_check(secret, sizeof secret, 59, 1, 0, code, &step);
    sq_assert(e == SQ_ECODE || (!e && step <= 2 && sq_totp_check(secret, sizeof secret, 59, 1, step, code, &again) == SQ_ECODE));
    e = sq_recovery_hash(key, secret, code, hash);
    sq_assert(e == SQ_OK || e == SQ_ECODE);
    e = sq_mail_check(mail, &why);
    sq_assert(e == SQ_EFIELD || (!e && strlen(mail) <= SQ_MAIL_MAX_BYTES && !strpbrk(mail, "\r\n <>,;\"") && strchr(mail, '@') == strrchr(mail, '@')));
    (void)sq_scope_read(scope, &is_api, &bits);
    (void)sq_scope_lets(scope, address);
    sq_assert(sq_scope_named(scope) <= SQ_SCOPE_ALL);
    scopes(networks, address, strlen(code) % 8);
    free(code);
    free(mail);
    free(scope);
    free(networks);
    free(address);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool is_started;
    if (!is_started)
        sq_assert(!sq_crypt_start());
    is_started = true;
    if (!size)
        return 0;
    struct sq_span rest = sq_span_of(data + 1, (uint32_t)size - 1);
    if (data[0] & 1)
        prove(&rest);
    else
        choose(&rest);
    return 0;
}
