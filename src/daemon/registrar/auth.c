/*
 * Who is asking: signed token, live row, present epoch. Revoking is one row, effective with the next message. And may he: the
 * groups of http/who.def, the scopes of API tokens, second factors of those who have more rights than over their own data.
 */
#include "daemon/registrar/registrar.h"

#include "lib/identity/identity.h"

#include <stdio.h>

#define IDLE_S (30 * 60)      /* a session that nothing was asked in for so long is over */
#define TOUCH_S 30            /* how exactly that is known */
#define STEP_UP_S (15 * 60)   /* how long a second factor counts as fresh */
#define WEEK_S (7 * SQ_DAY_S)
#define WEEK_KEPT_S (90 * SQ_DAY_S)

static sq_err seal_address(struct registrar *r, struct caller *c)
{
    struct sq_span text = sq_span_str(c->address);
    return text.n ? fields_seal(r, c->seal_owner, &text, 1, &c->address_sealed) : SQ_OK;
}

static sq_err verify(struct registrar *r, struct sq_span token, struct sq_jwt_claims *out)
{
    uint8_t keys[SQ_JWT_MAX_KEYS][65];
    bool is_unsealed;
    uint64_t size;
    pthread_mutex_lock(&r->key_lock);
    bool is_known = r->is_key_known;
    size_t n_key = r->n_token_public;
    memcpy(keys, r->token_publics, sizeof keys);
    pthread_mutex_unlock(&r->key_lock);
    if (!is_known) {
        sq_err e = keeper_learn(r, &is_unsealed, &size);
        if (e)
            return e;
        if (!is_unsealed)
            return SQ_ESEALED;
        pthread_mutex_lock(&r->key_lock);
        n_key = r->n_token_public;
        memcpy(keys, r->token_publics, sizeof keys);
        pthread_mutex_unlock(&r->key_lock);
    }
    return sq_jwt_verify_any(keys[0], n_key, r->origin, token, sq_clock_now_s(), out);
}

enum sq_audit_role audit_role(int role)
{
    static const enum sq_audit_role as[] = {SQ_AUDIT_ROLE_NOBODY, SQ_AUDIT_ROLE_USER, SQ_AUDIT_ROLE_OPERATOR, SQ_AUDIT_ROLE_SECURITY, SQ_AUDIT_ROLE_AUDITOR, SQ_AUDIT_ROLE_SUPPORT};
    return role >= 1 && role <= SQ_DB_role_support ? as[role] : SQ_AUDIT_ROLE_NOBODY;
}

bool user_is_able(const struct sq_db_user *u)
{
    return !u->is_disabled && !u->is_pending && (!u->expires_s || sq_clock_now_s() < u->expires_s);
}

static sq_err tx_used(struct tx *tx, void *ctx)
{
    return sq_db_token_used(tx->db, ctx, sq_clock_now_s());
}

static bool is_live(const struct sq_db_token *row, const struct sq_db_user *user, const struct sq_jwt_claims *claims, int64_t now)
{
    if (row->revoked_s || row->expires_s <= now || memcmp(row->user_id, user->id, ID) || (int64_t)claims->epoch != user->epoch || !user_is_able(user))
        return false;
    return row->kind == SQ_DB_token_kind_api || (row->kind == SQ_DB_token_kind_session && now - row->used_s <= IDLE_S); /* a download link is no sign-in */
}

sq_err caller_from_token(struct registrar *r, struct sq_span token, unsigned via, const char *address, const uint8_t request[8], struct caller *out)
{
    rows_ask();
    struct sq_jwt_claims claims;
    sq_err e = verify(r, token, &claims);
    if (e)
        return e == SQ_ESEALED || e == SQ_EDOWN || e == SQ_ETIMEOUT ? e : SQ_EAUTH;
    struct sq_db_token row;
    struct sq_db_user user;
    struct sq_db *db = db_lock(r);
    e = sq_db_token_get(db, claims.jti, &row);
    if (!e)
        e = sq_db_user_get(db, claims.sub, &user);
    db_unlock(r);
    if (e == SQ_ENOTFOUND)
        return sq_fail(SQ_EAUTH);
    if (e)
        return e;
    int64_t now = sq_clock_now_s();
    bool is_api = false;
    unsigned scopes = 0;
    if (!is_live(&row, &user, &claims, now) || !sq_scope_read(claims.scope, &is_api, &scopes) || is_api != (row.kind == SQ_DB_token_kind_api) || (is_api && via == VIA_COOKIE))
        return sq_fail(SQ_EAUTH);
    *out = (struct caller){.role = user.role, .kind = row.kind, .scopes = scopes, .factor_s = row.factor_s, .via = via, .token = token, .address = address,
                           .as = audit_role(user.role)};
    memcpy(out->user, user.id, ID);
    memcpy(out->jti, claims.jti, ID);
    memcpy(out->request, request, sizeof out->request);
    memcpy(out->seal_owner, user.id, ID);
    e = seal_address(r, out);
    if (!e && (!sq_scope_lets(claims.scope, address) || !sq_cidr_list_holds(user.networks, address))) {
        e = record(r, &(struct event){.no = SQ_AUDIT_denied, .result = SQ_ENETWORK, .by = out, .subject = out->user, .object = out->jti});
        return e ? e : sq_fail(SQ_ENETWORK);
    }
    if (!e && now - row.used_s >= TOUCH_S) {
        sq_err kept = commit(r, tx_used, row.jti);
        (void)kept; /* a full disk: the session may end earlier than it would have */
    }
    return e;
}

/* ---- nobody: a key of this week seals the address, and is destroyed after 90 days ---- */

struct week {
    char key[32];
    uint8_t id[ID];
};

static sq_err tx_week(struct tx *tx, void *ctx)
{
    struct week *w = ctx;
    struct sq_buf have;
    sq_buf_init(&have, 64);
    sq_err e = sq_db_meta_get(tx->db, w->key, &have);
    if (!e && have.n == ID)
        memcpy(w->id, have.p, ID); /* another request was first */
    else if (e == SQ_ENOTFOUND)
        e = sq_db_meta_set(tx->db, w->key, sq_span_of(w->id, ID));
    sq_buf_done(&have);
    return e;
}

static sq_err week_owner(struct registrar *r, uint8_t out[ID])
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static int64_t known_week = -1;
    static uint8_t known_id[ID];
    int64_t week = sq_clock_now_s() / WEEK_S;
    pthread_mutex_lock(&lock);
    sq_err e = SQ_OK;
    if (week != known_week) {
        struct week w;
        snprintf(w.key, sizeof w.key, "week.%lld", (long long)week);
        e = id_new(w.id);
        if (!e)
            e = commit(r, tx_week, &w);
        struct sq_msg m = sq_msg_of(owner_create, .not_after_s = (uint64_t)((week + 1) * WEEK_S + WEEK_KEPT_S));
        memcpy(m.u.owner_create.owner_id, w.id, ID);
        if (!e)
            e = keeper_do(r, &m);
        if (e == SQ_EEXISTS)
            e = SQ_OK;
        if (!e) {
            known_week = week;
            memcpy(known_id, w.id, ID);
        }
    }
    memcpy(out, known_id, ID);
    pthread_mutex_unlock(&lock);
    return e;
}

sq_err caller_nobody(struct registrar *r, const char *address, const uint8_t request[8], struct caller *out)
{
    rows_ask();
    *out = (struct caller){.address = address, .as = SQ_AUDIT_ROLE_NOBODY};
    memcpy(out->request, request, sizeof out->request);
    sq_err e = week_owner(r, out->seal_owner);
    return e ? e : seal_address(r, out);
}

/* the operator at the local socket: his uid is his pseudonym */
sq_err caller_operator(struct registrar *r, unsigned uid, struct caller *out)
{
    rows_ask();
    (void)r;
    *out = (struct caller){.role = SQ_DB_role_operator, .as = SQ_AUDIT_ROLE_OPERATOR};
    memcpy(out->user, "local-uid\0\0\0", 12);
    sq_put_be32(out->user + 12, uid);
    return sq_random(out->request, sizeof out->request);
}

sq_err caller_may(const struct registrar *r, const struct caller *c, const struct sq_route_row *row)
{
    static const unsigned scope[] = {[SQ_NEEDS_READ] = SQ_SCOPE_READ, [SQ_NEEDS_WRITE] = SQ_SCOPE_WRITE, [SQ_NEEDS_RESULTS] = SQ_SCOPE_RESULTS};
    bool is_open = row->who == SQ_WHO_ANYONE || row->who == SQ_WHO_SIGNED_IN, is_session = c->kind == SQ_DB_token_kind_session;
    bool is_strict = factor_is_required(r, c->role); /* an API token too: by a password alone it could do all that its owner can't */
    bool is_staff = c->role == SQ_DB_role_operator || c->role == SQ_DB_role_security;
    if (row->who == SQ_WHO_ANYONE)
        return SQ_OK;
    if (!c->role || !sq_who_has(row->who, c->role))
        return sq_fail(SQ_EDENIED);
    if (row->needs >= SQ_NEEDS_SESSION && !is_session)
        return sq_fail(SQ_ESCOPE);
    if (row->needs >= SQ_NEEDS_READ && row->needs <= SQ_NEEDS_RESULTS && !(c->scopes & scope[row->needs]))
        return sq_fail(SQ_ESCOPE);
    if (is_strict && (!is_open || row->needs == SQ_NEEDS_MINT) && !c->factor_s)
        return sq_fail(SQ_ENOFACTOR);
    if (is_staff && row->needs == SQ_NEEDS_STEP_UP && sq_clock_now_s() - c->factor_s >= STEP_UP_S)
        return sq_fail(SQ_ESTEPUP);
    return SQ_OK;
}
