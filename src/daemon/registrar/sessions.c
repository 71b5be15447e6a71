/*
 * Signing in, and what lasts after it: sessions and API tokens. Each is a signed token and a row; the row's end is the token's,
 * at once. keeper signs only on a proof that it made itself a moment ago.
 */
#include "daemon/registrar/registrar.h"

#include "lib/identity/identity.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_API_TOKENS 100
#define MAX_LISTED 200
#define MAX_TICKETS 1024
#define TICKET_MS (4 * 60 * INT64_C(1000)) /* keeper's proof lives for five */
#define MAX_WRONG 5
#define FRESH_S (15 * 60)

/* ---- issue ---- */

/* A sign-in from where he never was before, when he has been somewhere */
static sq_err tx_tell_of_place(struct tx *tx, const struct issuing *x)
{
    struct sq_db_seen seen;
    int64_t n = 0;
    sq_err e = sq_db_seen_get(tx->db, x->row.user_id, x->address_hmac, &seen);
    if (e != SQ_ENOTFOUND)
        return e;
    e = sq_db_seen_count(tx->db, x->row.user_id, &n);
    return e || !n ? e : tx_account_notice_daily(tx, SQ_DB_notice_kind_new_place, x->row.user_id);
}

sq_err password_mark(const struct sq_db_user *user, uint8_t out[SQ_SHA256_BYTES])
{
    return sq_sha256_of(user->password_sealed.p, user->password_sealed.n, out);
}

/* What was proved may be over by now: another password, a disabled account, a session that was ended. What ended them has ended what was
 * there; so nothing that began before it may come after it. */
static sq_err tx_still(struct tx *tx, const struct issuing *x)
{
    struct sq_db_user user;
    struct sq_db_token by;
    uint8_t mark[SQ_SHA256_BYTES];
    bool hangs_on_session = x->is_step_up || x->row.kind == SQ_DB_token_kind_api;
    sq_err e = sq_db_user_get(tx->db, x->row.user_id, &user);
    if (!e)
        e = password_mark(&user, mark);
    if (!e && hangs_on_session)
        e = sq_db_token_get(tx->db, x->by.jti, &by);
    if (e)
        return e == SQ_ENOTFOUND ? sq_fail(SQ_EPROOF) : e;
    bool is_over = !sq_equal_ct(mark, x->password, sizeof mark) || !user_is_able(&user) || (hangs_on_session && by.revoked_s);
    return !is_over ? SQ_OK : sq_fail(hangs_on_session ? SQ_EPROOF : SQ_EPASSWORD);
}

static sq_err tx_issue(struct tx *tx, void *ctx)
{
    struct issuing *x = ctx;
    bool is_login = !is_zero(x->address_hmac);
    sq_err e = tx_still(tx, x);
    if (!e)
        e = sq_db_token_insert(tx->db, &x->row);
    if (!e && x->row.kind == SQ_DB_token_kind_api)
        e = tx_account_notice(tx, SQ_DB_notice_kind_token_created, x->row.user_id, NULL);
    if (!e && is_login)
        e = tx_tell_of_place(tx, x);
    if (!e && !is_zero(x->replaces))
        e = sq_db_token_revoke(tx->db, x->replaces, sq_clock_now_s());
    if (!e && is_login)
        e = sq_db_seen_put(tx->db, x->row.user_id, x->address_hmac, sq_clock_now_s());
    if (!e && is_login)
        e = sq_db_user_signed_in(tx->db, x->row.user_id, sq_clock_now_s());
    if (!e && is_login)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_login_ok, .by = &x->by, .subject = x->row.user_id});
    if (!e && x->is_step_up)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_stepped_up, .by = &x->by, .subject = x->row.user_id, .object = x->replaces});
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_token_issued, .by = &x->by, .subject = x->row.user_id, .object = x->row.jti, .a = (uint64_t)(x->row.expires_s - x->row.issued_s)});
}

static sq_err sign(struct registrar *r, struct issuing *x, const struct sq_db_user *user, const uint8_t proof[ID], struct sq_span previous)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(token_sign, .previous = previous, .role = sq_span_str(sq_db_name(SQ_DB_role, user->role)), .scope = sq_span_str(x->scope),
                                  .epoch = (uint32_t)user->epoch, .issued_s = (uint64_t)x->row.issued_s, .expires_s = (uint64_t)x->row.expires_s), m;
    memcpy(ask.u.token_sign.owner_id, user->id, ID);
    memcpy(ask.u.token_sign.proof, proof, ID);
    memcpy(ask.u.token_sign.jti, x->row.jti, ID);
    sq_err e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e)
        e = sq_span_copy(m.u.token_is.token, x->token, sizeof x->token);
    sq_packet_free(pkt);
    return e;
}

sq_err issue(struct registrar *r, struct issuing *x, const struct sq_db_user *user, const uint8_t proof[ID], struct sq_span previous)
{
    memcpy(x->row.user_id, user->id, ID);
    x->row.used_s = x->row.issued_s;
    sq_err e = id_new(x->row.jti);
    if (!e)
        e = password_mark(user, x->password);
    if (!e)
        e = sign(r, x, user, proof, previous);
    if (!e)
        e = sq_fault("token.signed");
    if (!e)
        e = commit(r, tx_issue, x);
    if (e)
        sq_wipe(x->token, sizeof x->token);
    return e;
}

/* ---- sign in ---- */

/* From here on it is he who acts; his address is sealed under his own key. */
static sq_err become(struct registrar *r, const struct caller *from, const struct sq_db_user *user, struct caller *out)
{
    *out = *from;
    memcpy(out->user, user->id, ID);
    memcpy(out->seal_owner, user->id, ID);
    out->as = audit_role(user->role);
    out->address_sealed.n = 0;
    struct sq_span address = sq_span_str(out->address);
    return address.n ? fields_seal(r, user->id, &address, 1, &out->address_sealed) : SQ_OK;
}

/* The new session, as the body or as the cookie; never both: a page's script can't read what it doesn't get. */
static void answer_session(struct api *a, const struct issuing *x, const struct sq_db_user *user)
{
    bool is_cookie = json_is_true(json_object_get(a->body, "cookie"));
    a->answer = json_pack("{s:o, s:s, s:b}", "expires", view_time(x->row.expires_s), "role", sq_db_name(SQ_DB_role, user->role), "factor", x->row.factor_s != 0);
    if (is_cookie) {
        memcpy(a->session, x->token, sizeof a->session);
        a->session_s = (uint32_t)(x->row.expires_s - x->row.issued_s);
    } else {
        json_object_set_new(a->answer, "token", json_string(x->token));
    }
}

sq_err begin_session(struct api *a, const struct sq_db_user *user, const uint8_t proof[ID], bool has_factor)
{
    struct registrar *r = a->r;
    int64_t now = sq_clock_now_s(), end = now + r->token_life_s;
    struct issuing x = {.scope = "session", .row = {.kind = SQ_DB_token_kind_session, .issued_s = now, .expires_s = user->expires_s && user->expires_s < end ? user->expires_s : end,
                                                     .factor_s = has_factor ? now : 0}};
    sq_err e = become(r, &a->caller, user, &x.by);
    if (!e)
        e = address_hmac(r, a->caller.address, x.address_hmac);
    x.row.address_sealed = x.by.address_sealed;
    if (!e && !sq_cidr_list_holds(user->networks, a->caller.address)) { /* only who has proved who he is gets to know it */
        a->is_audited = true;
        e = record(r, &(struct event){.no = SQ_AUDIT_denied, .result = SQ_ENETWORK, .by = &x.by, .subject = user->id});
        return e ? e : sq_fail(SQ_ENETWORK);
    }
    if (a->caller.via == VIA_COOKIE) /* the browser's session so far, whoever's: what somebody planted or saw is of no use any more */
        memcpy(x.replaces, a->caller.jti, ID);
    if (!e)
        e = issue(r, &x, user, proof, (struct sq_span){0});
    if (!e) {
        a->is_audited = true;
        answer_session(a, &x, user);
    }
    sq_wipe(x.token, sizeof x.token);
    return e;
}

/* ---- between the password and the second factor: a ticket, in memory ---- */

struct ticket {
    uint8_t id[ID], user[ID], proof[ID], password[SQ_SHA256_BYTES];
    int64_t until_steady_ms; /* 0: free */
    unsigned n_wrong;
};
static struct {
    pthread_mutex_t lock;
    struct ticket ticket[MAX_TICKETS];
} tickets = {.lock = PTHREAD_MUTEX_INITIALIZER};

static sq_err ticket_new(const struct sq_db_user *user, const uint8_t proof[ID], uint8_t out_id[ID])
{
    struct ticket new = {.until_steady_ms = sq_clock_steady_ms() + TICKET_MS};
    sq_err e = id_new(new.id);
    if (!e)
        e = password_mark(user, new.password);
    memcpy(new.user, user->id, ID);
    memcpy(new.proof, proof, ID);
    memcpy(out_id, new.id, ID);
    pthread_mutex_lock(&tickets.lock);
    struct ticket *at = &tickets.ticket[0];
    for (size_t i = 1; i < MAX_TICKETS; i++)
        if (tickets.ticket[i].until_steady_ms < at->until_steady_ms)
            at = &tickets.ticket[i];
    *at = new;
    pthread_mutex_unlock(&tickets.lock);
    return e;
}

/* Taken out while it is looked at: two tries at once are one. */
static bool ticket_take(const char *hex, struct ticket *out)
{
    uint8_t id[ID];
    bool is_found = false;
    if (!hex || strlen(hex) != 2 * ID || sq_hex_decode(hex, 2 * ID, id, ID))
        return false;
    pthread_mutex_lock(&tickets.lock);
    for (size_t i = 0; i < MAX_TICKETS && !is_found; i++) {
        struct ticket *t = &tickets.ticket[i];
        if (t->until_steady_ms <= sq_clock_steady_ms() || !sq_equal_ct(t->id, id, ID))
            continue;
        *out = *t;
        sq_wipe(t, sizeof *t);
        is_found = true;
    }
    pthread_mutex_unlock(&tickets.lock);
    return is_found;
}

static void ticket_put_back(struct ticket *t)
{
    if (++t->n_wrong >= MAX_WRONG)
        return;
    pthread_mutex_lock(&tickets.lock);
    for (size_t i = 0; i < MAX_TICKETS; i++)
        if (tickets.ticket[i].until_steady_ms <= sq_clock_steady_ms()) {
            tickets.ticket[i] = *t;
            break;
        }
    pthread_mutex_unlock(&tickets.lock);
}

/* by which of his second factors he may go on */
static sq_err kinds_of(struct registrar *r, const uint8_t user[ID], json_t *list, bool *out_has_passkey)
{
    static const int kinds[] = {SQ_DB_factor_kind_totp, SQ_DB_factor_kind_passkey, SQ_DB_factor_kind_recovery};
    sq_err e = SQ_OK;
    struct sq_db *db = db_lock(r);
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0] && !e; i++) {
        int64_t n = 0;
        e = sq_db_factor_count(db, user, kinds[i], &n);
        if (!e && n)
            json_array_append_new(list, json_string(sq_db_name(SQ_DB_factor_kind, kinds[i])));
        *out_has_passkey |= n && kinds[i] == SQ_DB_factor_kind_passkey;
    }
    db_unlock(r);
    return e;
}

static sq_err answer_ticket(struct api *a, const struct sq_db_user *user, const uint8_t proof[ID])
{
    uint8_t id[ID];
    bool has_passkey = false;
    json_t *kinds = json_array(), *options = NULL;
    sq_err e = ticket_new(user, proof, id);
    a->is_audited = true; /* nobody has signed in yet */
    if (!e)
        e = kinds_of(a->r, user->id, kinds, &has_passkey);
    if (!e && has_passkey && passkey_options(a, user->id, id, &options)) /* public_url may have gone since; the other ways stay */
        a->why = NULL;
    if (!e)
        a->answer = json_pack("{s:o, s:O, s:o}", "pending", view_id(id), "factors", kinds, "expires", view_time(sq_clock_now_s() + TICKET_MS / 1000));
    if (options)
        json_object_set_new(a->answer, "options", options);
    json_decref(kinds);
    return e;
}

/* He has a second factor: with its code at once, or with a ticket for bringing it. */
static sq_err ask_factor(struct api *a, const struct sq_db_user *user, const uint8_t proof[ID])
{
    uint8_t both[ID];
    if (!json_object_get(a->body, "code"))
        return answer_ticket(a, user, proof);
    const char *code = body_text(a, "code", 64);
    sq_err e = code ? factor_check(a->r, &a->caller, user, code, proof, both) : sq_fail(SQ_EFIELD);
    return e ? e : begin_session(a, user, both, true);
}

sq_err api_login(struct api *a)
{
    const char *name = body_text(a, "name", 256), *password = name ? body_text(a, "password", 1024) : NULL;
    if (!name || !password)
        return sq_fail(SQ_EFIELD);
    struct sq_db_user user;
    uint8_t proof[ID];
    int64_t n = 0;
    sq_err e = user_by_name(a->r, name, &user);
    bool is_known = e == SQ_OK;
    if (e && e != SQ_ENOTFOUND)
        return e;
    e = password_ok(a->r, &a->caller, is_known ? &user : NULL, sq_span_str(password), proof);
    if (!e && !user_is_able(&user))
        e = sq_fail(SQ_EPASSWORD);
    if (!e)
        e = factor_count(a->r, user.id, &n);
    if (e)
        return e;
    if (n) {
        e = factor_mark(a->r, user.id); /* a crash may have kept keeper from hearing of it */
        return e ? e : ask_factor(a, &user, proof);
    }
    e = begin_session(a, &user, proof, false);
    return e == SQ_EPROOF ? sq_fail(SQ_ERESET) : e; /* keeper still waits for a factor that was taken away */
}

sq_err api_login_factor(struct api *a)
{
    struct ticket t;
    struct sq_db_user user;
    uint8_t both[ID];
    const char *hex = body_text(a, "ticket", 2 * ID);
    if (!hex || (!json_object_get(a->body, "passkey") && !body_text(a, "code", 64)))
        return sq_fail(SQ_EFIELD);
    if (!ticket_take(hex, &t))
        return sq_fail(SQ_ECODE);
    uint8_t mark[SQ_SHA256_BYTES];
    sq_err e = user_load(a->r, t.user, &user);
    if (!e)
        e = password_mark(&user, mark);
    if (!e && (!user_is_able(&user) || !sq_equal_ct(mark, t.password, sizeof mark))) /* another password meanwhile: the ticket was for the old one */
        e = sq_fail(SQ_EPROOF);
    if (!e)
        e = second_factor(a, &user, t.id, t.proof, both);
    if (e == SQ_ECODE || e == SQ_EPASSKEY || e == SQ_ECLONED || e == SQ_EFIELD)
        ticket_put_back(&t);
    sq_wipe(&t, sizeof t);
    if (!e)
        e = begin_session(a, &user, both, true);
    return e == SQ_ENOTFOUND || e == SQ_EPROOF || e == SQ_EPASSWORD ? sq_fail(SQ_ECODE) : e; /* the account went meanwhile, or the ticket was too old for keeper */
}

/* A second factor anew: another token in place of the one that asks, with the same end. */
sq_err api_step_up(struct api *a)
{
    struct sq_db_user user;
    struct sq_db_token row;
    uint8_t proof[ID];
    sq_err e = json_object_get(a->body, "passkey") || body_text(a, "code", 64) ? user_load(a->r, a->caller.user, &user) : sq_fail(SQ_EFIELD);
    struct sq_db *db = db_lock(a->r);
    if (!e)
        e = sq_db_token_get(db, a->caller.jti, &row);
    db_unlock(a->r);
    if (!e)
        e = second_factor(a, &user, a->caller.jti, no_id, proof);
    if (e)
        return e;
    struct issuing x = {.scope = "session", .is_step_up = true, .by = a->caller, .row = row};
    x.row.issued_s = x.row.factor_s = sq_clock_now_s();
    memcpy(x.replaces, a->caller.jti, ID);
    e = issue(a->r, &x, &user, proof, a->caller.token);
    if (!e) {
        a->is_audited = true;
        answer_session(a, &x, &user);
    }
    sq_wipe(x.token, sizeof x.token);
    return e;
}

static sq_err tx_logout(struct tx *tx, void *ctx)
{
    const struct caller *c = ctx;
    sq_err e = sq_db_token_revoke(tx->db, c->jti, sq_clock_now_s());
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_token_revoked, .by = c, .subject = c->user, .object = c->jti});
}

sq_err api_logout(struct api *a)
{
    a->is_audited = true;
    memcpy(a->session, "-", 2);
    sq_err e = commit(a->r, tx_logout, &a->caller);
    if (!e)
        streams_stop_by(a->r, a->caller.jti);
    return e;
}

/* ---- lists ---- */

struct tokens {
    struct sq_db_token row[MAX_LISTED];
    size_t n;
};

static sq_err take_token(void *ctx, const struct sq_db_token *row)
{
    struct tokens *t = ctx;
    if (t->n < MAX_LISTED)
        t->row[t->n++] = *row;
    return SQ_OK;
}

static json_t *session_json(const struct api *a, const struct sq_db_token *t, const char *address)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:s, s:b, s:b}", "id", view_id(t->jti), "created", view_time(t->issued_s), "last_used", view_time(t->used_s), "expires",
                     view_time(t->expires_s), "address", address, "factor", t->factor_s != 0, "current", !memcmp(t->jti, a->caller.jti, ID));
}

json_t *view_words(const char *text, const char *between)
{
    json_t *list = json_array();
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, between);
        if (n)
            json_array_append_new(list, json_stringn(p, n));
        p += n + (p[n] != 0);
    }
    return list;
}

static json_t *token_json(const struct sq_db_token *t, const char *name, const char *networks)
{
    json_t *scopes = json_array();
    for (unsigned k = 0; k < SQ_SCOPE_NAMES; k++)
        if ((unsigned)t->scopes >> k & 1)
            json_array_append_new(scopes, json_string(sq_scope_name(k)));
    return json_pack("{s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "id", view_id(t->jti), "name", name, "scopes", scopes, "networks", view_words(networks, ","), "created",
                     view_time(t->issued_s), "last_used", t->used_s > t->issued_s ? view_time(t->used_s) : json_null(), "expires", view_time(t->expires_s));
}

static sq_err list(struct api *a, int kind)
{
    struct tokens *t = calloc(1, sizeof *t);
    if (!t)
        return sq_fail(SQ_ENOMEM);
    json_t *data = json_array();
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_token_list(db, a->caller.user, kind, sq_clock_now_s(), MAX_LISTED, take_token, t);
    db_unlock(a->r);
    for (size_t from = 0; from < t->n && !e; from += 64) { /* two fields each, in batches of keeper's size */
        const struct sq_db_sealed *sealed[128];
        size_t n = t->n - from < 64 ? t->n - from : 64;
        struct opened o = {.n = 0};
        for (size_t i = 0; i < n; i++) {
            sealed[2 * i] = &t->row[from + i].name_sealed;
            sealed[2 * i + 1] = &t->row[from + i].address_sealed;
        }
        e = fields_open(a->r, &a->caller, sealed, 2 * n, &o);
        for (size_t i = 0; i < n && !e; i++)
            json_array_append_new(data, kind == SQ_DB_token_kind_session ? session_json(a, &t->row[from + i], o.at[2 * i + 1]) : token_json(&t->row[from + i], o.at[2 * i], o.at[2 * i + 1]));
        opened_done(&o);
    }
    a->n_row = t->n;
    a->answer = json_pack("{s:o}", "data", data);
    free(t);
    return e;
}

sq_err api_me_sessions(struct api *a)
{
    return list(a, SQ_DB_token_kind_session);
}

sq_err api_me_tokens(struct api *a)
{
    return list(a, SQ_DB_token_kind_api);
}

/* ---- revoke ---- */

struct revoking {
    const struct caller *by;
    struct sq_db_token row;
    int64_t n;
};

static sq_err tx_revoke_one(struct tx *tx, void *ctx)
{
    struct revoking *x = ctx;
    bool is_session = x->row.kind == SQ_DB_token_kind_session;
    sq_err e = sq_db_token_revoke(tx->db, x->row.jti, sq_clock_now_s());
    if (!e && is_session) /* who ends a session that isn't his own doesn't know what it left behind */
        e = sq_db_token_revoke_downloads(tx->db, x->row.user_id, sq_clock_now_s(), &x->n);
    return e ? e : tx_event(tx, &(struct event){.no = is_session ? SQ_AUDIT_session_revoked : SQ_AUDIT_token_revoked, .by = x->by, .subject = x->row.user_id, .object = x->row.jti, .a = is_session});
}

/* Who holds a session of some time ago mayn't end the others of its owner by that alone: he proves once more who he is, or has just done so. */
static sq_err prove_again(struct api *a)
{
    struct sq_db_token row;
    struct sq_db_user user;
    uint8_t proof[ID];
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_token_get(db, a->caller.jti, &row);
    db_unlock(a->r);
    if (!e && sq_clock_now_s() - row.issued_s < FRESH_S)
        return SQ_OK;
    if (!e && !json_object_get(a->body, "password"))
        e = sq_fail(SQ_EREAUTH);
    return e ? e : reauthenticate(a, "password", &user, proof);
}

sq_err token_by_param(struct api *a, int kind, struct sq_db_token *out)
{
    uint8_t jti[ID];
    if (strlen(a->param) != 2 * ID || sq_hex_decode(a->param, 2 * ID, jti, ID))
        return sq_fail(SQ_ENOTFOUND);
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_token_get(db, jti, out);
    db_unlock(a->r);
    if (!e && memcmp(out->user_id, a->caller.user, ID)) {
        e = record(a->r, &(struct event){.no = SQ_AUDIT_denied, .result = SQ_ENOTFOUND, .by = &a->caller, .subject = out->user_id, .object = jti, .a = a->route->route});
        return e ? e : sq_fail(SQ_ENOTFOUND);
    }
    return !e && (out->kind != kind || out->revoked_s) ? sq_fail(SQ_ENOTFOUND) : e;
}

static sq_err revoke_one(struct api *a, int kind)
{
    struct revoking x = {.by = &a->caller};
    const uint8_t *jti = x.row.jti;
    sq_err e = token_by_param(a, kind, &x.row);
    if (e)
        return e;
    if (kind == SQ_DB_token_kind_session && memcmp(jti, a->caller.jti, ID))
        e = prove_again(a);
    if (!e)
        e = commit(a->r, tx_revoke_one, &x);
    if (!e && kind == SQ_DB_token_kind_session)
        streams_stop(a->r, x.row.user_id);
    else if (!e)
        streams_stop_by(a->r, jti);
    a->is_audited = true;
    if (!e && !memcmp(jti, a->caller.jti, ID))
        memcpy(a->session, "-", 2);
    return e;
}

sq_err api_session_revoke(struct api *a)
{
    return revoke_one(a, SQ_DB_token_kind_session);
}

sq_err api_token_revoke(struct api *a)
{
    return revoke_one(a, SQ_DB_token_kind_api);
}

static sq_err tx_revoke_others(struct tx *tx, void *ctx)
{
    struct revoking *x = ctx;
    sq_err e = sq_db_token_revoke_sessions(tx->db, x->by->user, x->by->jti, sq_clock_now_s(), &x->n);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_session_revoked, .by = x->by, .subject = x->by->user, .a = (uint64_t)x->n});
}

sq_err api_sessions_revoke(struct api *a)
{
    struct revoking x = {.by = &a->caller};
    sq_err e = prove_again(a);
    if (!e)
        e = commit(a->r, tx_revoke_others, &x);
    a->is_audited = !e;
    if (!e) {
        streams_stop(a->r, a->caller.user);
        a->answer = json_pack("{s:I}", "revoked", (json_int_t)x.n);
    }
    return e;
}

/* ---- a new API token ---- */

struct wanted {
    unsigned scopes;
    const char *network[SQ_SCOPE_MAX_NETWORKS + 1];
    size_t n_network;
    char networks[256]; /* the same, for its owner to read */
    int64_t days;
    char claim[SQ_JWT_SCOPE_BYTES];
};

static sq_err take_wanted(struct api *a, struct wanted *w)
{
    struct sq_why *why = &a->why_store;
    json_t *scopes = json_object_get(a->body, "scopes"), *networks = json_object_get(a->body, "networks"), *days = json_object_get(a->body, "days"), *one;
    size_t i;
    a->why = why;
    json_array_foreach(scopes, i, one) {
        unsigned bit = json_is_string(one) ? sq_scope_named(json_string_value(one)) : 0;
        if (!bit)
            return sq_why_set(why, SQ_EFIELD, 0, 0, "scopes", "must be some of read, write, results");
        w->scopes |= bit;
    }
    if (networks && !json_is_array(networks))
        return sq_why_set(why, SQ_EFIELD, 0, 0, "networks", "must be a list, as [\"192.0.2.0/24\"]");
    json_array_foreach(networks, i, one) {
        if (!json_is_string(one) || i > SQ_SCOPE_MAX_NETWORKS || strlen(json_string_value(one)) > 49)
            return sq_why_set(why, SQ_EFIELD, 0, 0, "networks", "must be at most %d texts like 192.0.2.0/24", SQ_SCOPE_MAX_NETWORKS);
        w->network[w->n_network++] = json_string_value(one);
        if (i)
            strncat(w->networks, ",", sizeof w->networks - strlen(w->networks) - 1);
        strncat(w->networks, json_string_value(one), sizeof w->networks - strlen(w->networks) - 1);
    }
    w->days = json_integer_value(days);
    if (w->days < 1 || w->days > 365)
        return sq_why_set(why, SQ_EFIELD, 0, 0, "days", "must be a number from 1 to 365");
    sq_err e = sq_scope_write(w->scopes, w->network, w->n_network, w->claim, why);
    if (!e)
        a->why = NULL;
    return e;
}

sq_err tokens_have_room(struct api *a)
{
    int64_t n = 0;
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_token_count(db, a->caller.user, SQ_DB_token_kind_api, sq_clock_now_s(), &n);
    db_unlock(a->r);
    if (!e && n >= MAX_API_TOKENS) {
        a->why = &a->why_store;
        e = sq_why_set(&a->why_store, SQ_ECONFLICT, 0, 0, "", "you have %d tokens: revoke one that you no longer need", MAX_API_TOKENS);
    }
    return e;
}

sq_err api_token_new(struct api *a)
{
    struct wanted w = {.scopes = 0};
    struct sq_db_user user;
    uint8_t proof[ID];
    int64_t now = sq_clock_now_s();
    struct sq_db_sealed sealed[2] = {{.n = 0}, {.n = 0}};
    const char *name = body_text(a, "name", 100);
    sq_err e = name ? take_wanted(a, &w) : sq_fail(SQ_EFIELD);
    if (!e)
        e = tokens_have_room(a);
    if (!e)
        e = reauthenticate(a, "password", &user, proof);
    struct sq_span text[2] = {sq_span_str(name), sq_span_str(w.networks)};
    if (!e)
        e = fields_seal(a->r, user.id, text, 2, sealed);
    if (e)
        return e;
    struct issuing x = {.scope = w.claim, .by = a->caller, .row = {.kind = SQ_DB_token_kind_api, .issued_s = now, .expires_s = now + w.days * SQ_DAY_S, .factor_s = a->caller.factor_s, .scopes = (int)w.scopes,
                                                                     .name_sealed = sealed[0], .address_sealed = sealed[1]}};
    e = issue(a->r, &x, &user, proof, (struct sq_span){0});
    if (!e) {
        a->is_audited = true;
        a->status = 201;
        snprintf(a->location, sizeof a->location, "/api/v1/me/tokens");
        a->answer = json_pack("{s:o, s:s, s:o}", "id", view_id(x.row.jti), "token", x.token, "expires", view_time(x.row.expires_s));
    }
    sq_wipe(x.token, sizeof x.token);
    return e;
}
