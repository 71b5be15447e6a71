/*
 * A machine that signs in by its owner's approval elsewhere: the device authorization grant of OAuth 2.0, RFC 8628. It asks for two codes, shows the short
 * one, and asks with the long one until somebody who is signed in has approved it with his password and second factor: then it gets an
 * API token of his, once, which is signed when it is fetched. What waits lies in memory alone, as keeper's proofs do: a restart of this process is an
 * end that both sides are told of (`expired_token`, 404), and leaves nothing behind.
 */
#include "daemon/registrar/registrar.h"

#include "lib/core/clock.h"
#include "lib/identity/identity.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_DEVICES 512
#define MAX_OF_ADDRESS 16
#define LIFE_S 600
#define INTERVAL_S 5
#define TOKEN_DAYS 30
#define CODE_BYTES 32
#define GRANT "urn:ietf:params:oauth:grant-type:device_code"
#define LETTERS "BCDFGHJKLMNPQRSTVWXZ" /* RFC 8628 section 6.1: no vowels, so no words; 34 bits in eight of them */

enum device_state { DEVICE_FREE, DEVICE_WAITS, DEVICE_DECIDING, DEVICE_APPROVED, DEVICE_DENIED };

struct device {
    enum device_state state;
    uint8_t code_sum[SQ_SHA256_BYTES]; /* of what the machine holds */
    char user_code[10];
    char client[65], address[65];
    unsigned scopes;
    int64_t created_s, until_ms, asked_ms; /* the latter two of the steady clock */
    /* approved: by whom, and keeper's proof of it */
    struct caller by;
    uint8_t proof[ID], password[SQ_SHA256_BYTES];
    struct sq_db_sealed name_sealed, networks_sealed;
};

static struct {
    pthread_mutex_t lock;
    struct device at[MAX_DEVICES];
} devices = {.lock = PTHREAD_MUTEX_INITIALIZER};

static sq_err oauth(struct api *a, sq_err code, const char *name)
{
    a->oauth = name;
    return sq_fail(code);
}

/* locked */
static void sweep(int64_t now_ms)
{
    for (size_t i = 0; i < MAX_DEVICES; i++)
        if (devices.at[i].state != DEVICE_FREE && devices.at[i].state != DEVICE_DECIDING && devices.at[i].until_ms <= now_ms)
            sq_wipe(&devices.at[i], sizeof devices.at[i]);
}

static struct device *by_user_code(const char *code)
{
    for (size_t i = 0; i < MAX_DEVICES; i++)
        if (devices.at[i].state == DEVICE_WAITS && strlen(devices.at[i].user_code) == strlen(code) && sq_equal_ct(devices.at[i].user_code, code, strlen(code)))
            return &devices.at[i];
    return NULL;
}

/* ---- the machine asks ---- */

static sq_err draw_user_code(char out[10])
{
    for (size_t i = 0; i < 9;) { /* 240 = 12 * 20: the other draws are thrown away, so that each letter is as likely */
        uint8_t b;
        if (i == 4) {
            out[i++] = '-';
            continue;
        }
        sq_err e = sq_random(&b, 1);
        if (e)
            return e;
        if (b < 240)
            out[i++] = LETTERS[b % 20];
    }
    out[9] = 0;
    return SQ_OK;
}

static bool client_is_legal(const char *s)
{
    return strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == strlen(s);
}

static bool take_scopes(const char *text, unsigned *out)
{
    char word[16];
    *out = 0;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " ");
        if (n >= sizeof word)
            return false;
        memcpy(word, p, n);
        word[n] = 0;
        unsigned bit = n ? sq_scope_named(word) : 0;
        if (n && !bit)
            return false;
        *out |= bit;
        p += n + (p[n] != 0);
    }
    return *out != 0;
}

static void put_scopes(unsigned scopes, char out[64])
{
    out[0] = 0;
    for (unsigned k = 0; k < SQ_SCOPE_NAMES; k++)
        if (scopes >> k & 1)
            snprintf(out + strlen(out), 64 - strlen(out), "%s%s", *out ? " " : "", sq_scope_name(k));
}

/* a place for @new; EBUSY when all are taken, or too many by one address */
static sq_err keep(const struct device *new)
{
    size_t n_here = 0;
    struct device *place = NULL;
    pthread_mutex_lock(&devices.lock);
    sweep(sq_clock_steady_ms());
    for (size_t i = 0; i < MAX_DEVICES; i++) {
        n_here += devices.at[i].state != DEVICE_FREE && !strcmp(devices.at[i].address, new->address);
        if (!place && devices.at[i].state == DEVICE_FREE)
            place = &devices.at[i];
    }
    bool is_kept = place && n_here < MAX_OF_ADDRESS;
    if (is_kept)
        *place = *new;
    pthread_mutex_unlock(&devices.lock);
    return is_kept ? SQ_OK : sq_fail(SQ_EBUSY);
}

sq_err api_device_code(struct api *a)
{
    struct device d = {.state = DEVICE_WAITS, .created_s = sq_clock_now_s()};
    uint8_t code[CODE_BYTES];
    char hex[2 * CODE_BYTES + 1], uri[300];
    const char *client = body_text(a, "client_id", 64), *scope = json_object_get(a->body, "scope") ? body_text(a, "scope", 64) : "read";
    if (!client || !scope)
        return sq_fail(SQ_EFIELD);
    if (!client_is_legal(client))
        return oauth(a, SQ_EDEVICE, "invalid_client");
    if (!take_scopes(scope, &d.scopes))
        return oauth(a, SQ_EDEVICE, "invalid_scope");
    snprintf(d.client, sizeof d.client, "%s", client);
    snprintf(d.address, sizeof d.address, "%s", a->caller.address ? a->caller.address : "");
    d.until_ms = sq_clock_steady_ms() + LIFE_S * 1000;
    sq_err e = sq_random(code, sizeof code);
    sq_hex(code, sizeof code, hex);
    if (!e)
        e = sq_sha256_of(hex, strlen(hex), d.code_sum);
    if (!e)
        e = draw_user_code(d.user_code);
    if (!e)
        e = keep(&d);
    if (e)
        return e;
    snprintf(uri, sizeof uri, "%s", *a->r->public_url ? a->r->public_url : "sequester:device-approve"); /* there is no page yet */
    char whole[330];
    snprintf(whole, sizeof whole, "%s%s%s", uri, *a->r->public_url ? "#" : ":", d.user_code);
    a->answer = json_pack("{s:s, s:s, s:s, s:s, s:i, s:i}", "device_code", hex, "user_code", d.user_code, "verification_uri", uri, "verification_uri_complete", whole, "expires_in", LIFE_S,
                          "interval", INTERVAL_S);
    return SQ_OK;
}

/* What has become of it; an approved one is taken out, for the token is given once. */
static sq_err look(struct api *a, const uint8_t sum[SQ_SHA256_BYTES], const char *client, struct device *out)
{
    const char *error = "expired_token";
    int64_t now = sq_clock_steady_ms();
    sq_err e = sq_fail(SQ_EDEVICE);
    pthread_mutex_lock(&devices.lock);
    sweep(now);
    for (size_t i = 0; i < MAX_DEVICES; i++) {
        struct device *d = &devices.at[i];
        if (d->state == DEVICE_FREE || !sq_equal_ct(d->code_sum, sum, SQ_SHA256_BYTES))
            continue;
        if (strcmp(d->client, client) != 0) {
            error = "invalid_grant";
        } else if (d->state == DEVICE_APPROVED) {
            *out = *d;
            sq_wipe(d, sizeof *d);
            error = NULL;
            e = SQ_OK;
        } else if (d->state == DEVICE_DENIED) {
            sq_wipe(d, sizeof *d);
            error = "access_denied";
        } else {
            bool is_soon = now - d->asked_ms < (INTERVAL_S - 1) * 1000;
            d->asked_ms = now;
            error = is_soon ? "slow_down" : "authorization_pending";
            e = sq_fail(SQ_EPENDING);
        }
        break;
    }
    pthread_mutex_unlock(&devices.lock);
    return e ? oauth(a, e, error) : SQ_OK;
}

/* The token, now that it is fetched. keeper's proof is of the approval: five minutes old at most, and gone with a keeper that was restarted. */
static sq_err give(struct api *a, const struct device *d)
{
    struct sq_db_user user;
    char claim[SQ_JWT_SCOPE_BYTES], scope[64];
    int64_t now = sq_clock_now_s();
    sq_err e = user_load(a->r, d->by.user, &user);
    uint8_t mark[SQ_SHA256_BYTES];
    if (!e)
        e = password_mark(&user, mark);
    if (!e && (!user_is_able(&user) || !sq_equal_ct(mark, d->password, sizeof mark))) /* what was approved before a new password ended with it */
        e = sq_fail(SQ_EPROOF);
    if (!e)
        e = sq_scope_write(d->scopes, NULL, 0, claim, NULL);
    if (e)
        return e;
    struct issuing x = {.scope = claim, .by = d->by, .row = {.kind = SQ_DB_token_kind_api, .issued_s = now, .expires_s = now + TOKEN_DAYS * SQ_DAY_S, .factor_s = d->by.factor_s, .scopes = (int)d->scopes,
                                                               .name_sealed = d->name_sealed, .address_sealed = d->networks_sealed}};
    memcpy(x.by.request, a->caller.request, sizeof x.by.request);
    e = issue(a->r, &x, &user, d->proof, (struct sq_span){0});
    if (!e) {
        put_scopes(d->scopes, scope);
        a->answer = json_pack("{s:s, s:s, s:I, s:s}", "access_token", x.token, "token_type", "Bearer", "expires_in", (json_int_t)(TOKEN_DAYS * SQ_DAY_S), "scope", scope);
    }
    sq_wipe(x.token, sizeof x.token);
    return e;
}

sq_err api_device_token(struct api *a)
{
    struct device d = {.state = DEVICE_FREE};
    uint8_t sum[SQ_SHA256_BYTES];
    const char *grant = body_text(a, "grant_type", 100), *code = grant ? body_text(a, "device_code", 128) : NULL, *client = code ? body_text(a, "client_id", 64) : NULL;
    if (!client)
        return sq_fail(SQ_EFIELD);
    if (strcmp(grant, GRANT) != 0)
        return oauth(a, SQ_EDEVICE, "unsupported_grant_type");
    sq_err e = sq_sha256_of(code, strlen(code), sum);
    if (!e)
        e = look(a, sum, client, &d);
    if (!e) {
        e = give(a, &d);
        if (e == SQ_EPROOF || e == SQ_ENOTFOUND)
            e = oauth(a, SQ_EDEVICE, "expired_token");
    }
    sq_wipe(&d, sizeof d);
    return e;
}

/* ---- its owner decides ---- */

sq_err api_device_get(struct api *a)
{
    struct device d = {.state = DEVICE_FREE};
    pthread_mutex_lock(&devices.lock);
    sweep(sq_clock_steady_ms());
    const struct device *found = by_user_code(a->param);
    if (found)
        d = *found;
    pthread_mutex_unlock(&devices.lock);
    if (!d.state)
        return sq_fail(SQ_ENOTFOUND);
    json_t *scopes = json_array();
    for (unsigned k = 0; k < SQ_SCOPE_NAMES; k++)
        if (d.scopes >> k & 1)
            json_array_append_new(scopes, json_string(sq_scope_name(k)));
    a->answer = json_pack("{s:s, s:o, s:o, s:s}", "client", d.client, "scopes", scopes, "created", view_time(d.created_s), "address", d.address);
    return SQ_OK;
}

/* from WAITS to @to, if it is there; what it asked for */
static bool move(const char *user_code, enum device_state to, struct device *out)
{
    pthread_mutex_lock(&devices.lock);
    sweep(sq_clock_steady_ms());
    struct device *d = by_user_code(user_code);
    if (d) {
        d->state = to;
        *out = *d;
    }
    pthread_mutex_unlock(&devices.lock);
    return d != NULL;
}

/* what was decided about the one that was moved to DECIDING; @is_approved false: nothing yet */
static void settle(const struct device *which, bool is_approved)
{
    pthread_mutex_lock(&devices.lock);
    for (size_t i = 0; i < MAX_DEVICES; i++) {
        struct device *d = &devices.at[i];
        if (d->state != DEVICE_DECIDING || !sq_equal_ct(d->code_sum, which->code_sum, SQ_SHA256_BYTES))
            continue;
        if (is_approved)
            *d = *which;
        d->state = is_approved ? DEVICE_APPROVED : DEVICE_WAITS;
    }
    pthread_mutex_unlock(&devices.lock);
}

static sq_err approve(struct api *a, struct device *d)
{
    struct sq_db_user user;
    struct sq_db_sealed sealed[2] = {{.n = 0}, {.n = 0}};
    struct sq_span text[2] = {sq_span_str(d->client), sq_span_str("")};
    sq_err e = tokens_have_room(a);
    if (!e)
        e = reauthenticate(a, "password", &user, d->proof);
    if (!e)
        e = fields_seal(a->r, user.id, text, 2, sealed);
    if (!e)
        e = password_mark(&user, d->password);
    if (e)
        return e;
    d->by = a->caller;
    d->by.token = (struct sq_span){0}; /* of this request */
    d->by.address = NULL;
    d->name_sealed = sealed[0];
    d->networks_sealed = sealed[1];
    return SQ_OK;
}

sq_err api_device_approve(struct api *a)
{
    struct device d;
    const char *code = body_text(a, "user_code", 16);
    if (!code)
        return sq_fail(SQ_EFIELD);
    if (!move(code, DEVICE_DECIDING, &d))
        return sq_fail(SQ_ENOTFOUND);
    sq_err e = approve(a, &d);
    a->n_row = TOKEN_DAYS * SQ_DAY_S; /* the token is in the log when it is fetched */
    settle(&d, !e);
    sq_wipe(&d, sizeof d);
    return e;
}

sq_err api_device_deny(struct api *a)
{
    struct device d;
    const char *code = body_text(a, "user_code", 16);
    if (!code)
        return sq_fail(SQ_EFIELD);
    return move(code, DEVICE_DENIED, &d) ? SQ_OK : sq_fail(SQ_ENOTFOUND);
}
