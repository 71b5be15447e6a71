#include "lib/identity/passkey_internal.h"

#include <fido.h>
#include <fido/eddsa.h>
#include <fido/es256.h>
#include <fido/rs256.h>
#include <jansson.h>

#define CLIENT_DATA_MAX_BYTES 2048
#define FLAG_PRESENT 0x01
#define FLAG_VERIFIED 0x04

_Static_assert(SQ_PASSKEY_EDDSA == COSE_EDDSA && SQ_PASSKEY_ES256 == COSE_ES256 && SQ_PASSKEY_RS256 == COSE_RS256, "COSE's numbers");

/* ---- the client's data ---- */

static bool says(const json_t *j, const char *key, const char *want)
{
    const json_t *v = json_object_get(j, key);
    return json_is_string(v) && json_string_length(v) == strlen(want) && !strcmp(json_string_value(v), want);
}

static json_t *read_client(struct sq_span client_data)
{
    bool is_short = client_data.n && client_data.n <= CLIENT_DATA_MAX_BYTES;
    return is_short ? json_loadb((const char *)client_data.p, client_data.n, JSON_REJECT_DUPLICATES, NULL) : NULL;
}

sq_err sq_passkey_answers(struct sq_span client_data, uint8_t out_challenge[SQ_PASSKEY_CHALLENGE_BYTES])
{
    json_t *j = read_client(client_data);
    const json_t *v = json_object_get(j, "challenge");
    struct sq_buf b;
    sq_buf_init(&b, 64);
    bool is_one = json_is_string(v) && json_string_length(v) == 43 && !sq_base64_decode(json_string_value(v), 43, true, &b) && b.n == SQ_PASSKEY_CHALLENGE_BYTES;
    if (is_one)
        memcpy(out_challenge, b.p, SQ_PASSKEY_CHALLENGE_BYTES);
    sq_buf_done(&b);
    json_decref(j);
    return is_one ? SQ_OK : sq_fail(SQ_EPASSKEY);
}

sq_err sq_passkey_client(const struct sq_passkey_site *site, const char *type, struct sq_span client_data)
{
    json_t *j = read_client(client_data);
    const json_t *crossed = json_object_get(j, "crossOrigin");
    bool is_good = json_is_object(j) && says(j, "type", type) && says(j, "origin", site->origin) && (!crossed || json_is_false(crossed)) && !json_object_get(j, "topOrigin");
    json_decref(j);
    return is_good ? SQ_OK : sq_fail(SQ_EPASSKEY);
}

/* ---- a new one ---- */

static bool is_of(const struct sq_passkey_site *site, struct sq_span auth_data)
{
    uint8_t sum[SQ_SHA256_BYTES];
    return auth_data.n > sizeof sum && !sq_sha256_of(site->rp_id, strlen(site->rp_id), sum) && !memcmp(sum, auth_data.p, sizeof sum);
}

static void key_free(int algorithm, void *key)
{
    if (algorithm == COSE_ES256)
        es256_pk_free(&(es256_pk_t *){key});
    else if (algorithm == COSE_EDDSA)
        eddsa_pk_free(&(eddsa_pk_t *){key});
    else if (algorithm == COSE_RS256)
        rs256_pk_free(&(rs256_pk_t *){key});
}

/* A key that its own library refuses (a point that isn't on the curve) is none. */
static void *key_of(int algorithm, const uint8_t *p, size_t n)
{
    void *key = algorithm == COSE_ES256 ? (void *)es256_pk_new() : algorithm == COSE_EDDSA ? (void *)eddsa_pk_new() : algorithm == COSE_RS256 ? (void *)rs256_pk_new() : NULL;
    int rc = !key ? FIDO_ERR_INTERNAL : algorithm == COSE_ES256 ? es256_pk_from_ptr(key, p, n) : algorithm == COSE_EDDSA ? eddsa_pk_from_ptr(key, p, n) : rs256_pk_from_ptr(key, p, n);
    if (rc == FIDO_OK)
        return key;
    key_free(algorithm, key);
    return NULL;
}

static bool take(fido_cred_t *cred, struct sq_passkey *out)
{
    size_t n_public = fido_cred_pubkey_len(cred), n_id = fido_cred_id_len(cred);
    uint8_t flags = fido_cred_flags(cred);
    if (!(flags & FLAG_PRESENT) || !n_public || n_public > sizeof out->public_key || !n_id || n_id > sizeof out->id)
        return false;
    void *key = key_of(fido_cred_type(cred), fido_cred_pubkey_ptr(cred), n_public);
    if (!key)
        return false;
    key_free(fido_cred_type(cred), key);
    *out = (struct sq_passkey){.algorithm = fido_cred_type(cred), .n_public = (uint16_t)n_public, .n_id = (uint16_t)n_id, .counter = fido_cred_sigcount(cred), .is_verified = flags & FLAG_VERIFIED};
    memcpy(out->public_key, fido_cred_pubkey_ptr(cred), n_public);
    memcpy(out->id, fido_cred_id_ptr(cred), n_id);
    return true;
}

sq_err sq_passkey_take(const struct sq_passkey_site *site, struct sq_span auth_data, struct sq_passkey *out)
{
    static const int algorithms[] = {COSE_ES256, COSE_EDDSA, COSE_RS256};
    bool is_taken = false;
    if (!is_of(site, auth_data) || passkey_cbor_bounded(auth_data))
        return sq_fail(SQ_EPASSKEY);
    for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0] && !is_taken; i++) {
        fido_cred_t *cred = fido_cred_new();
        is_taken = cred && fido_cred_set_type(cred, algorithms[i]) == FIDO_OK && fido_cred_set_authdata_raw(cred, auth_data.p, auth_data.n) == FIDO_OK && take(cred, out);
        fido_cred_free(&cred);
    }
    return is_taken ? SQ_OK : sq_fail(SQ_EPASSKEY);
}

size_t sq_passkey_pack(const struct sq_passkey *key, uint8_t out[SQ_PASSKEY_PACKED_MAX_BYTES])
{
    sq_put_be32(out, (uint32_t)key->algorithm);
    memcpy(out + 4, key->public_key, key->n_public);
    return 4U + key->n_public;
}

sq_err sq_passkey_unpack(const uint8_t *p, size_t n, struct sq_passkey *out)
{
    if (n <= 4 || n > SQ_PASSKEY_PACKED_MAX_BYTES)
        return sq_fail(SQ_ETAMPERED);
    *out = (struct sq_passkey){.algorithm = (int32_t)sq_get_be32(p), .n_public = (uint16_t)(n - 4)};
    memcpy(out->public_key, p + 4, n - 4);
    return SQ_OK;
}

/* ---- one that is used ---- */

static sq_err verify(fido_assert_t *a, const struct sq_passkey_site *site, const struct sq_passkey *key, struct sq_span client_data, struct sq_span auth_data, struct sq_span signature, bool must_verify)
{
    void *public_key = key_of(key->algorithm, key->public_key, key->n_public);
    int rc = !public_key ? FIDO_ERR_INVALID_ARGUMENT : fido_assert_set_rp(a, site->rp_id);
    if (rc == FIDO_OK)
        rc = fido_assert_set_clientdata(a, client_data.p, client_data.n);
    if (rc == FIDO_OK)
        rc = fido_assert_set_count(a, 1);
    if (rc == FIDO_OK)
        rc = fido_assert_set_authdata_raw(a, 0, auth_data.p, auth_data.n);
    if (rc == FIDO_OK)
        rc = fido_assert_set_sig(a, 0, signature.p, signature.n);
    if (rc == FIDO_OK)
        rc = fido_assert_set_up(a, FIDO_OPT_TRUE);
    if (rc == FIDO_OK && must_verify)
        rc = fido_assert_set_uv(a, FIDO_OPT_TRUE);
    if (rc == FIDO_OK)
        rc = fido_assert_verify(a, 0, key->algorithm, public_key);
    key_free(key->algorithm, public_key);
    return rc == FIDO_OK ? SQ_OK : sq_fail(SQ_EPASSKEY);
}

sq_err sq_passkey_check(const struct sq_passkey_site *site, const struct sq_passkey *key, struct sq_span client_data, struct sq_span auth_data, struct sq_span signature, bool must_verify,
                        uint32_t *out_counter)
{
    if (!client_data.n || !signature.n || !is_of(site, auth_data) || passkey_cbor_bounded(auth_data))
        return sq_fail(SQ_EPASSKEY);
    fido_assert_t *a = fido_assert_new();
    if (!a)
        return sq_fail(SQ_ENOMEM);
    sq_err err = verify(a, site, key, client_data, auth_data, signature, must_verify);
    if (!err)
        *out_counter = fido_assert_sigcount(a, 0);
    fido_assert_free(&a);
    return err;
}
