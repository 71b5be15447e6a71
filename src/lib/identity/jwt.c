/*
 * Strict by comparison, not by inspection: what we would have written is made again and compared, so there is no list
 * of forbidden header fields, spellings or orders that could be incomplete.
 */
#include "lib/identity/jwt.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define AUDIENCE "sequester"
#define N_CLAIM 9

sq_err sq_jwt_kid(const uint8_t public_key[SQ_ES256_PUBLIC_BYTES], char out_kid[17])
{
    uint8_t sum[SQ_SHA256_BYTES];
    sq_err err = sq_sha256_of(public_key, SQ_ES256_PUBLIC_BYTES, sum);
    if (!err)
        sq_hex(sum, 8, out_kid);
    return err;
}

/* BASE64URL of the only header that this key has */
static sq_err add_header(const uint8_t public_key[SQ_ES256_PUBLIC_BYTES], struct sq_buf *out)
{
    char kid[17], json[80];
    sq_err err = sq_jwt_kid(public_key, kid);
    if (err)
        return err;
    int n = snprintf(json, sizeof json, "{\"alg\":\"ES256\",\"kid\":\"%s\",\"typ\":\"JWT\"}", kid);
    return sq_base64(json, (size_t)n, true, out);
}

static bool role_is_legal(const char *s)
{
    size_t n = strlen(s);
    return n >= 1 && n < SQ_JWT_ROLE_BYTES && strspn(s, "abcdefghijklmnopqrstuvwxyz_") == n;
}

static bool scope_is_legal(const char *s)
{
    size_t n = strlen(s);
    if (n >= SQ_JWT_SCOPE_BYTES || strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789:_.- ") != n)
        return false;
    return !n || (s[0] != ' ' && s[n - 1] != ' ' && !strstr(s, "  "));
}

static bool origin_is_legal(const char *s)
{
    size_t n = strlen(s);
    for (size_t i = 0; i < n; i++)
        if (s[i] <= ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\')
            return false;
    return n >= 1 && n <= 128;
}

static bool times_are_legal(const struct sq_jwt_claims *c)
{
    return c->issued_s > 0 && c->issued_s < INT64_MAX / 2 && c->expires_s > c->issued_s &&
           c->expires_s - c->issued_s <= SQ_JWT_MAX_LIFE_S;
}

/* Keys in byte order, no white space; every value is of characters that JSON leaves as they are. */
static sq_err add_claims_json(const char *origin, const struct sq_jwt_claims *c, struct sq_buf *out)
{
    char sub[33], jti[33];
    if (!origin_is_legal(origin) || !role_is_legal(c->role) || !scope_is_legal(c->scope) || !times_are_legal(c))
        return sq_fail(SQ_ERANGE);
    sq_hex(c->sub, 16, sub);
    sq_hex(c->jti, 16, jti);
    return sq_buf_addf(out,
                       "{\"aud\":\"" AUDIENCE "\",\"epoch\":%u,\"exp\":%lld,\"iat\":%lld,\"iss\":\"%s\",\"jti\":\"%s\","
                       "\"role\":\"%s\",\"scope\":\"%s\",\"sub\":\"%s\"}",
                       c->epoch, (long long)c->expires_s, (long long)c->issued_s, origin, jti, c->role, c->scope, sub);
}

sq_err sq_jwt_make(const struct sq_key *scalar, const char *origin, const struct sq_jwt_claims *claims, struct sq_buf *out)
{
    uint8_t public_key[SQ_ES256_PUBLIC_BYTES], sig[SQ_ES256_SIG_BYTES];
    struct sq_buf json, token;
    sq_buf_init(&json, SQ_JWT_MAX_BYTES);
    sq_buf_init(&token, SQ_JWT_MAX_BYTES);
    sq_err err = add_claims_json(origin, claims, &json);
    if (!err)
        err = sq_es256_public(scalar, public_key);
    if (!err)
        err = add_header(public_key, &token);
    if (!err)
        err = sq_buf_add(&token, ".", 1);
    if (!err)
        err = sq_base64(json.p, json.n, true, &token);
    if (!err)
        err = sq_es256_sign(scalar, token.p, token.n, sig);
    if (!err)
        err = sq_buf_add(&token, ".", 1);
    if (!err)
        err = sq_base64(sig, sizeof sig, true, &token);
    if (!err)
        err = sq_buf_add(out, token.p, token.n);
    sq_buf_done(&json);
    sq_buf_done(&token);
    return err;
}

/* ---- verifying ---- */

/* The three parts; exactly two dots. */
static bool split(struct sq_span token, struct sq_span part[3])
{
    const uint8_t *at = token.p, *end = token.p + token.n;
    for (int i = 0; i < 3; i++) {
        const uint8_t *dot = at < end ? memchr(at, '.', (size_t)(end - at)) : NULL;
        const uint8_t *stop = i < 2 ? dot : end;
        if (!stop || (i == 2 && dot) || stop == at)
            return false;
        part[i] = sq_span_of(at, (size_t)(stop - at));
        at = stop + 1;
    }
    return true;
}

/* decoded and encoded again it must be the same text: one spelling a value */
static sq_err decode_part(struct sq_span part, struct sq_buf *out)
{
    struct sq_buf again;
    sq_buf_init(&again, SQ_JWT_MAX_BYTES);
    sq_err err = sq_base64_decode((const char *)part.p, part.n, true, out);
    if (err)
        err = err == SQ_ENOMEM ? err : SQ_EAUTH;
    if (!err)
        err = sq_base64(out->p, out->n, true, &again);
    if (!err && (again.n != part.n || memcmp(again.p, part.p, part.n)))
        err = SQ_EAUTH;
    sq_buf_done(&again);
    return err;
}

static bool take_text(const json_t *object, const char *key, char *out, size_t size)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_string(v) || json_string_length(v) >= size || strlen(json_string_value(v)) != json_string_length(v))
        return false;
    memcpy(out, json_string_value(v), json_string_length(v) + 1);
    return true;
}

static bool take_id(const json_t *object, const char *key, uint8_t out[16])
{
    char hex[33];
    return take_text(object, key, hex, sizeof hex) && !sq_hex_decode(hex, strlen(hex), out, 16);
}

static bool take_number(const json_t *object, const char *key, int64_t max, int64_t *out)
{
    const json_t *v = json_object_get(object, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > max)
        return false;
    *out = json_integer_value(v);
    return true;
}

static bool take_claims(const json_t *object, struct sq_jwt_claims *c)
{
    int64_t epoch;
    if (!json_is_object(object) || json_object_size(object) != N_CLAIM || !take_number(object, "epoch", UINT32_MAX, &epoch))
        return false;
    c->epoch = (uint32_t)epoch;
    return take_id(object, "sub", c->sub) && take_id(object, "jti", c->jti) &&
           take_text(object, "role", c->role, sizeof c->role) && take_text(object, "scope", c->scope, sizeof c->scope) &&
           take_number(object, "iat", INT64_MAX / 2, &c->issued_s) && take_number(object, "exp", INT64_MAX, &c->expires_s);
}

/* What we would have written for these claims, byte for byte: this also checks iss, aud and every key. */
static sq_err check_canonical(const char *origin, const struct sq_jwt_claims *c, const struct sq_buf *json)
{
    struct sq_buf again;
    sq_buf_init(&again, SQ_JWT_MAX_BYTES);
    sq_err err = add_claims_json(origin, c, &again);
    if (err == SQ_ERANGE || (!err && (again.n != json->n || memcmp(again.p, json->p, json->n))))
        err = SQ_EAUTH;
    sq_buf_done(&again);
    return err;
}

static sq_err read_claims(const char *origin, const struct sq_buf *json, int64_t now_s, struct sq_jwt_claims *out)
{
    struct sq_jwt_claims c = {0};
    json_t *object = json_loadb((const char *)json->p, json->n, JSON_REJECT_DUPLICATES, NULL);
    bool is_read = object && take_claims(object, &c);
    json_decref(object);
    sq_err err = is_read ? check_canonical(origin, &c, json) : SQ_EAUTH;
    if (!err && (c.issued_s > now_s + SQ_JWT_LEEWAY_S || now_s >= c.expires_s))
        err = SQ_EAUTH;
    if (!err)
        *out = c;
    return err;
}

/* Which key does the header name? The very header that we would have written for one of them, or none does. */
static sq_err pick_key(const uint8_t *public_keys, size_t n_key, struct sq_span header, const uint8_t **out)
{
    struct sq_buf want;
    sq_buf_init(&want, SQ_JWT_MAX_BYTES);
    sq_err err = SQ_OK;
    *out = NULL;
    for (size_t i = 0; i < n_key && !err && !*out; i++) {
        want.n = 0;
        err = add_header(public_keys + i * SQ_ES256_PUBLIC_BYTES, &want);
        if (!err && want.n == header.n && !memcmp(want.p, header.p, header.n))
            *out = public_keys + i * SQ_ES256_PUBLIC_BYTES;
    }
    sq_buf_done(&want);
    return err || *out ? err : SQ_EAUTH;
}

sq_err sq_jwt_verify(const uint8_t public_key[SQ_ES256_PUBLIC_BYTES], const char *origin, struct sq_span token, int64_t now_s,
                     struct sq_jwt_claims *out)
{
    return sq_jwt_verify_any(public_key, 1, origin, token, now_s, out);
}

sq_err sq_jwt_verify_any(const uint8_t *public_keys, size_t n_key, const char *origin, struct sq_span token, int64_t now_s, struct sq_jwt_claims *out)
{
    const uint8_t *public_key = NULL;
    struct sq_span part[3];
    if (!token.n || token.n > SQ_JWT_MAX_BYTES || !split(token, part)) /* an empty span may point nowhere */
        return sq_fail(SQ_EAUTH);
    struct sq_buf json, sig;
    sq_buf_init(&json, SQ_JWT_MAX_BYTES);
    sq_buf_init(&sig, SQ_JWT_MAX_BYTES);
    sq_err err = pick_key(public_keys, n_key, part[0], &public_key);
    if (!err)
        err = decode_part(part[2], &sig);
    if (!err && (sig.n != SQ_ES256_SIG_BYTES || !sq_es256_is_low(sig.p)))
        err = SQ_EAUTH;
    if (!err)
        err = sq_es256_verify(public_key, token.p, part[0].n + 1 + part[1].n, sig.p);
    if (!err)
        err = decode_part(part[1], &json);
    if (!err)
        err = read_claims(origin, &json, now_s, out);
    sq_buf_done(&json);
    sq_buf_done(&sig);
    if (err == SQ_ETAMPERED || err == SQ_ERANGE)
        err = SQ_EAUTH;
    return err ? sq_fail(err) : SQ_OK;
}
