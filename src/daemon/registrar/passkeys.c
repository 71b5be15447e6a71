/*
 * Passkeys (WebAuthn, level 2): adding one, using one as second factor, signing in with one alone. keeper draws the challenges and judges the answers;
 * here is what a browser is told (the JSON of WebAuthn level 3, which PublicKeyCredential.parse...FromJSON() takes), whose passkey it is, and that it is used.
 */
#include "daemon/registrar/registrar.h"

#include "lib/identity/passkey.h"

#define WAIT_MS 240000 /* so long a browser asks its user; keeper's challenge lives for five minutes */

enum { TO_ADD = 1, TO_PROVE = 2, TO_SIGN_IN = 3 }; /* message passkey_challenge */

/* ---- base64url, as WebAuthn's JSON has all bytes ---- */

static json_t *bytes_json(const void *p, size_t n)
{
    struct sq_buf text;
    sq_buf_init(&text, 4096);
    sq_err e = sq_base64(p, n, true, &text);
    json_t *j = e ? NULL : json_string((const char *)text.p);
    sq_buf_done(&text);
    return j;
}

/* what a browser hands over */
struct handed {
    struct sq_buf id, client_data, auth_data, signature, user;
};

static void handed_init(struct handed *h)
{
    sq_buf_init(&h->id, 2048);
    sq_buf_init(&h->client_data, 4096);
    sq_buf_init(&h->auth_data, 8192);
    sq_buf_init(&h->signature, 2048);
    sq_buf_init(&h->user, 256);
}

static void handed_done(struct handed *h)
{
    sq_buf_done(&h->id);
    sq_buf_done(&h->client_data);
    sq_buf_done(&h->auth_data);
    sq_buf_done(&h->signature);
    sq_buf_done(&h->user);
}

static sq_err refuse_field(struct api *a, const char *name, size_t max)
{
    a->why = &a->why_store;
    return sq_why_set(&a->why_store, SQ_EFIELD, 0, 0, name, "must be base64url of 1 to %zu bytes, as PublicKeyCredential.toJSON() has it", max);
}

static sq_err take_bytes(struct api *a, const json_t *from, const char *name, size_t max, struct sq_buf *out)
{
    const json_t *v = json_object_get(from, name);
    if (!json_is_string(v) || !json_string_length(v) || json_string_length(v) > (max + 2) / 3 * 4 || sq_base64_decode(json_string_value(v), json_string_length(v), true, out) || !out->n ||
        out->n > max)
        return refuse_field(a, name, max);
    return SQ_OK;
}

/* RegistrationResponseJSON, AuthenticationResponseJSON: of each what counts */
static sq_err take_handed(struct api *a, const char *key, bool is_new, struct handed *h)
{
    const json_t *j = json_object_get(a->body, key), *r = json_object_get(j, "response"), *user = json_object_get(r, "userHandle");
    const char *type = json_string_value(json_object_get(j, "type"));
    if (!json_is_object(r) || !type || strcmp(type, "public-key") != 0) {
        a->why = &a->why_store;
        return sq_why_set(&a->why_store, SQ_EFIELD, 0, 0, key, "must be what PublicKeyCredential.toJSON() gives");
    }
    sq_err e = take_bytes(a, j, "id", SQ_PASSKEY_ID_MAX_BYTES, &h->id);
    if (!e)
        e = take_bytes(a, r, "clientDataJSON", 2048, &h->client_data);
    if (!e)
        e = take_bytes(a, r, "authenticatorData", is_new ? 4096 : 1024, &h->auth_data);
    if (!e && !is_new)
        e = take_bytes(a, r, "signature", 1024, &h->signature);
    if (!e && !is_new && user && !json_is_null(user))
        e = take_bytes(a, r, "userHandle", 64, &h->user);
    return e;
}

/* ---- challenges ---- */

static sq_err site_of(struct api *a, struct sq_passkey_site *out)
{
    if (sq_passkey_site(a->r->public_url, out)) {
        a->why = &a->why_store;
        return sq_why_set(&a->why_store, SQ_ECONFLICT, 0, 0, "public_url", "this server knows no name of its own, so it can have no passkeys: the operator sets public_url");
    }
    return SQ_OK;
}

static sq_err challenge(struct registrar *r, const uint8_t owner[ID], const uint8_t context[ID], uint8_t purpose, const uint8_t proof[ID], json_t **out)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(passkey_challenge, .purpose = purpose), m;
    memcpy(ask.u.passkey_challenge.owner_id, owner, ID);
    memcpy(ask.u.passkey_challenge.context, context, ID);
    memcpy(ask.u.passkey_challenge.proof, proof, ID);
    sq_err e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e)
        *out = bytes_json(m.u.challenge_is.challenge, sizeof m.u.challenge_is.challenge);
    sq_packet_free(pkt);
    return e || *out ? e : sq_fail(SQ_ENOMEM);
}

static sq_err add_descriptor(void *ctx, const struct sq_db_factor *row)
{
    json_t *one = json_pack("{s:s, s:o}", "type", "public-key", "id", bytes_json(row->credential.p, row->credential.n));
    return json_array_append_new(ctx, one) ? sq_fail(SQ_ENOMEM) : SQ_OK;
}

/* the passkeys of an account, as a browser wants to be told of them */
static sq_err descriptors(struct registrar *r, const uint8_t user[ID], json_t *list)
{
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_factor_list(db, user, SQ_DB_factor_kind_passkey, SQ_DB_factor_state_live, add_descriptor, list);
    db_unlock(r);
    return e;
}

sq_err passkey_options(struct api *a, const uint8_t user[ID], const uint8_t context[ID], json_t **out)
{
    struct sq_passkey_site site;
    json_t *list = json_array(), *text = NULL;
    bool is_alone = is_zero(user);
    sq_err e = site_of(a, &site);
    if (!e && !is_alone)
        e = descriptors(a->r, user, list);
    if (!e && !is_alone && !json_array_size(list))
        e = sq_fail(SQ_ECONFLICT); /* there is none to ask for */
    if (!e)
        e = challenge(a->r, user, context, is_alone ? TO_SIGN_IN : TO_PROVE, no_id, &text);
    if (e)
        json_decref(list);
    else
        *out = json_pack("{s:o, s:i, s:s, s:o, s:s}", "challenge", text, "timeout", WAIT_MS, "rpId", site.rp_id, "allowCredentials", list, "userVerification", is_alone ? "required" : "preferred");
    return e;
}

sq_err api_passkey_challenge(struct api *a)
{
    json_t *options = NULL;
    sq_err e = passkey_options(a, a->caller.user, a->caller.jti, &options);
    if (!e)
        a->answer = json_pack("{s:o}", "options", options);
    return e;
}

/* ---- adding one ---- */

static sq_err creation(struct api *a, const struct sq_passkey_site *site, const char *account, json_t *text, json_t *list)
{
    static const int algorithms[] = {SQ_PASSKEY_EDDSA, SQ_PASSKEY_ES256, SQ_PASSKEY_RS256};
    bool has_rsa = !strcmp(sq_node_setting(a->r->node, "passkey_rsa"), "yes");
    json_t *kinds = json_array();
    for (size_t i = 0; i < sizeof algorithms / sizeof algorithms[0]; i++)
        if (has_rsa || algorithms[i] != SQ_PASSKEY_RS256)
            json_array_append_new(kinds, json_pack("{s:s, s:i}", "type", "public-key", "alg", algorithms[i]));
    json_t *options = json_pack("{s:{s:s, s:s}, s:{s:o, s:s, s:s}, s:o, s:o, s:i, s:o, s:{s:s, s:s}, s:s}", "rp", "id", site->rp_id, "name", site->rp_id, "user", "id",
                                bytes_json(a->caller.user, ID), "name", account, "displayName", account, "challenge", text, "pubKeyCredParams", kinds, "timeout", WAIT_MS,
                                "excludeCredentials", list, "authenticatorSelection", "residentKey", "preferred", "userVerification", "preferred", "attestation", "none");
    if (options)
        a->answer = json_pack("{s:o}", "options", options);
    return options ? SQ_OK : sq_fail(SQ_ENOMEM);
}

sq_err api_passkey_begin(struct api *a)
{
    struct sq_passkey_site site;
    struct sq_db_user user;
    struct opened o = {.n = 0};
    uint8_t proof[ID];
    if (!body_text(a, "password", 1024))
        return sq_fail(SQ_EFIELD);
    json_t *list = json_array(), *text = NULL;
    sq_err e = site_of(a, &site);
    if (!e)
        e = factor_has_room(a->r, a->caller.user);
    if (!e)
        e = reauthenticate(a, "password", &user, proof);
    const struct sq_db_sealed *account = &user.name_sealed;
    if (!e)
        e = fields_open(a->r, &a->caller, &account, 1, &o);
    if (!e)
        e = descriptors(a->r, a->caller.user, list);
    if (!e)
        e = challenge(a->r, a->caller.user, a->caller.jti, TO_ADD, proof, &text);
    if (!e)
        e = creation(a, &site, o.at[0], text, list);
    else
        json_decref(list);
    opened_done(&o);
    return e;
}

static sq_err keeper_add(struct api *a, const struct handed *h, struct sq_db_factor *row, uint8_t out_proof[ID])
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(passkey_add, .client_data = sq_span_of(h->client_data.p, h->client_data.n), .auth_data = sq_span_of(h->auth_data.p, h->auth_data.n)), m;
    memcpy(ask.u.passkey_add.owner_id, row->user_id, ID);
    memcpy(ask.u.passkey_add.factor_id, row->id, ID);
    memcpy(ask.u.passkey_add.context, a->caller.jti, ID);
    sq_err e = sq_node_call(a->r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e) {
        const struct sq_msg_passkey_is *is = &m.u.passkey_is;
        row->secret_sealed.n = (uint16_t)is->sealed.n;
        memcpy(row->secret_sealed.p, is->sealed.p, is->sealed.n);
        row->credential.n = (uint16_t)is->credential.n;
        memcpy(row->credential.p, is->credential.p, is->credential.n);
        row->counter = (int64_t)is->counter;
        memcpy(out_proof, is->proof, ID);
    }
    sq_packet_free(pkt);
    return e;
}

sq_err api_passkey_confirm(struct api *a)
{
    struct sq_db_factor row = {.kind = SQ_DB_factor_kind_passkey, .state = SQ_DB_factor_state_live, .created_s = sq_clock_now_s()};
    struct handed h;
    uint8_t proof[ID];
    const char *name = json_object_get(a->body, "name") ? body_text(a, "name", 100) : "passkey";
    struct sq_span text = sq_span_str(name);
    handed_init(&h);
    memcpy(row.user_id, a->caller.user, ID);
    sq_err e = name ? take_handed(a, "passkey", true, &h) : sq_fail(SQ_EFIELD);
    if (!e)
        e = id_new(row.id);
    if (!e)
        e = fields_seal(a->r, row.user_id, &text, 1, &row.name_sealed);
    if (!e)
        e = keeper_add(a, &h, &row, proof);
    if (!e && (h.id.n != row.credential.n || memcmp(h.id.p, row.credential.p, h.id.n) != 0))
        e = sq_fail(SQ_EPASSKEY); /* its name and its data are of two */
    if (!e)
        e = factor_add(a, &row, proof, true);
    handed_done(&h);
    return e == SQ_ECONFIG ? sq_fail(SQ_EPASSKEY) : e;
}

/* ---- using one ---- */

struct using {
    const struct caller *by;
    struct sq_db_factor row;
    int64_t counter;
};

static sq_err tx_use(struct tx *tx, void *ctx)
{
    struct using *x = ctx;
    sq_err e = sq_db_factor_passkey_used(tx->db, x->row.id, x->counter, sq_clock_now_s());
    return e == SQ_ECONFLICT ? sq_fail(SQ_EPASSKEY) : e; /* used or removed meanwhile */
}

static sq_err keeper_check(struct api *a, const struct handed *h, struct using *x, uint8_t purpose, const uint8_t context[ID], const uint8_t before[ID], uint8_t out_proof[ID])
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(passkey_check, .purpose = purpose, .sealed = sq_span_of(x->row.secret_sealed.p, x->row.secret_sealed.n), .counter = (uint64_t)x->row.counter,
                                  .client_data = sq_span_of(h->client_data.p, h->client_data.n), .auth_data = sq_span_of(h->auth_data.p, h->auth_data.n),
                                  .signature = sq_span_of(h->signature.p, h->signature.n)), m;
    memcpy(ask.u.passkey_check.owner_id, x->row.user_id, ID);
    memcpy(ask.u.passkey_check.factor_id, x->row.id, ID);
    memcpy(ask.u.passkey_check.context, context, ID);
    memcpy(ask.u.passkey_check.proof, before, ID);
    sq_err e = sq_node_call(a->r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e) {
        x->counter = (int64_t)m.u.factor_is.counter;
        memcpy(out_proof, m.u.factor_is.proof, ID);
    }
    sq_packet_free(pkt);
    return e;
}

/* Whose it is that was handed over. @user: it must be his; NULL: whoever's. SQ_EPASSKEY. */
static sq_err find(struct api *a, const struct handed *h, const uint8_t *user, struct sq_db_factor *out)
{
    struct sq_db_sealed name = {.n = (uint16_t)h->id.n};
    memcpy(name.p, h->id.p, h->id.n);
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_factor_by_credential(db, &name, out);
    db_unlock(a->r);
    if (e)
        return e == SQ_ENOTFOUND ? sq_fail(SQ_EPASSKEY) : e;
    bool is_named = h->user.n == ID && !memcmp(h->user.p, out->user_id, ID);
    bool is_his = user ? !memcmp(out->user_id, user, ID) && (!h->user.n || is_named) : is_named;
    return is_his && out->kind == SQ_DB_factor_kind_passkey && out->state == SQ_DB_factor_state_live ? SQ_OK : sq_fail(SQ_EPASSKEY);
}
_Static_assert(SQ_PASSKEY_ID_MAX_BYTES <= SQ_DB_SEALED_MAX_BYTES, "find() copies it");

/* What keeper says of it, and the row that remembers it. */
static sq_err use(struct api *a, const struct handed *h, struct using *x, uint8_t purpose, const uint8_t context[ID], const uint8_t before[ID], uint8_t out_proof[ID])
{
    sq_err e = keeper_check(a, h, x, purpose, context, before, out_proof);
    if (e == SQ_ECLONED) {
        sq_err kept = record(a->r, &(struct event){.no = SQ_AUDIT_passkey_cloned, .result = e, .by = x->by, .subject = x->row.user_id, .object = x->row.id, .a = (uint64_t)x->row.counter});
        return kept ? kept : e;
    }
    if (!e)
        e = sq_fault("factor.checked");
    if (!e)
        e = commit(a->r, tx_use, x);
    return e == SQ_ECONFIG ? sq_fail(SQ_EPASSKEY) : e;
}

sq_err passkey_check(struct api *a, const struct sq_db_user *user, const uint8_t context[ID], const uint8_t before[ID], uint8_t out_proof[ID])
{
    struct using x = {.by = &a->caller};
    struct handed h;
    handed_init(&h);
    sq_err e = take_handed(a, "passkey", false, &h);
    if (!e) {
        e = factor_may_try(a->r, &a->caller, user);
        if (!e)
            e = find(a, &h, user->id, &x.row);
        if (!e)
            e = use(a, &h, &x, TO_PROVE, context, before, out_proof);
        sq_err kept = factor_tried(a->r, &a->caller, user, e);
        e = e ? e : kept;
    }
    handed_done(&h);
    return e;
}

/* ---- signing in with it alone ---- */

sq_err api_login_passkey(struct api *a)
{
    uint8_t ticket[ID];
    json_t *options = NULL;
    sq_err e = id_new(ticket);
    if (!e)
        e = passkey_options(a, no_id, ticket, &options);
    if (!e)
        a->answer = json_pack("{s:o, s:o}", "ticket", view_id(ticket), "options", options);
    return e;
}

static sq_err sign_in(struct api *a, const struct handed *h, const uint8_t ticket[ID])
{
    struct using x = {.by = &a->caller};
    struct sq_db_user user;
    uint8_t proof[ID];
    sq_err e = find(a, h, NULL, &x.row);
    if (!e)
        e = user_load(a->r, x.row.user_id, &user);
    if (!e && !user_is_able(&user))
        e = sq_fail(SQ_EPASSKEY);
    if (e)
        return e == SQ_ENOTFOUND ? sq_fail(SQ_EPASSKEY) : e;
    e = use(a, h, &x, TO_SIGN_IN, ticket, no_id, proof);
    if (e == SQ_EPASSKEY) { /* told to its owner, and not counted: a signature can't be guessed, and a stranger who knows its name mustn't keep him waiting */
        sq_err kept = record(a->r, &(struct event){.no = SQ_AUDIT_factor_failed, .result = e, .by = &a->caller, .subject = user.id, .object = x.row.id});
        return kept ? kept : e;
    }
    if (!e)
        e = begin_session(a, &user, proof, true);
    return e == SQ_EPASSWORD ? sq_fail(SQ_EPASSKEY) : e; /* a new password meanwhile */
}

sq_err api_login_passkey_confirm(struct api *a)
{
    struct handed h;
    uint8_t ticket[ID];
    const char *hex = body_text(a, "ticket", 2 * ID);
    if (!hex)
        return sq_fail(SQ_EFIELD);
    handed_init(&h);
    sq_err e = take_handed(a, "passkey", false, &h);
    if (!e && (strlen(hex) != 2 * ID || sq_hex_decode(hex, 2 * ID, ticket, ID)))
        e = sq_fail(SQ_EPASSKEY);
    if (!e)
        e = sign_in(a, &h, ticket);
    handed_done(&h);
    return e;
}
