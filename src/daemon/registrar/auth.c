/* Who is asking: signed token, live row, present epoch. Revoking is one row, effective with the next message. */
#include "daemon/registrar/registrar.h"

#include "lib/identity/identity.h"

#include <stdio.h>

#define WEEK_S (7 * SQ_DAY_S)
#define WEEK_KEPT_S (90 * SQ_DAY_S)

static sq_err seal_address(struct registrar *r, struct caller *c)
{
    struct sq_span text = sq_span_str(c->address);
    return text.n ? fields_seal(r, c->seal_owner, &text, 1, &c->address_sealed) : SQ_OK;
}

static sq_err verify(struct registrar *r, struct sq_span token, struct sq_jwt_claims *out)
{
    uint8_t public_key[65];
    bool is_unsealed;
    uint64_t size;
    pthread_mutex_lock(&r->key_lock);
    bool is_known = r->is_key_known;
    memcpy(public_key, r->token_public, sizeof public_key);
    pthread_mutex_unlock(&r->key_lock);
    if (!is_known) {
        sq_err e = keeper_learn(r, &is_unsealed, &size);
        if (e)
            return e;
        if (!is_unsealed)
            return SQ_ESEALED;
        pthread_mutex_lock(&r->key_lock);
        memcpy(public_key, r->token_public, sizeof public_key);
        pthread_mutex_unlock(&r->key_lock);
    }
    return sq_jwt_verify(public_key, r->origin, token, sq_clock_now_s(), out);
}

sq_err caller_from_token(struct registrar *r, struct sq_span token, const char *address, const uint8_t request[8], struct caller *out)
{
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
    if (row.revoked_s || row.expires_s <= now || memcmp(row.user_id, user.id, ID) || user.is_disabled || (int64_t)claims.epoch != user.epoch)
        return sq_fail(SQ_EAUTH);
    *out = (struct caller){.role = user.role, .token = token, .address = address,
                           .as = user.role == SQ_DB_role_operator ? SQ_AUDIT_ROLE_OPERATOR : SQ_AUDIT_ROLE_USER};
    memcpy(out->user, user.id, ID);
    memcpy(out->jti, claims.jti, ID);
    memcpy(out->request, request, sizeof out->request);
    memcpy(out->seal_owner, user.id, ID);
    return seal_address(r, out);
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
    *out = (struct caller){.address = address, .as = SQ_AUDIT_ROLE_NOBODY};
    memcpy(out->request, request, sizeof out->request);
    sq_err e = week_owner(r, out->seal_owner);
    return e ? e : seal_address(r, out);
}

/* the operator at the local socket: his uid is his pseudonym */
sq_err caller_operator(struct registrar *r, unsigned uid, struct caller *out)
{
    (void)r;
    *out = (struct caller){.role = SQ_DB_role_operator, .as = SQ_AUDIT_ROLE_OPERATOR};
    memcpy(out->user, "local-uid\0\0\0", 12);
    sq_put_be32(out->user + 12, uid);
    return sq_random(out->request, sizeof out->request);
}

bool caller_may(const struct caller *c, enum sq_who who)
{
    switch (who) {
    case SQ_WHO_ANYONE:
        return true;
    case SQ_WHO_USER:
        return c->role == SQ_DB_role_user;
    case SQ_WHO_OPERATOR:
        return c->role == SQ_DB_role_operator;
    case SQ_WHO_SIGNED_IN:
        return c->role != 0;
    }
    return false;
}

/* ---- passwords ---- */

struct tried {
    const struct caller *by;
    const struct sq_db_user *user;
    bool is_right;
};

static sq_err tx_tried(struct tx *tx, void *ctx)
{
    struct tried *t = ctx;
    if (t->is_right)
        return sq_db_user_succeeded(tx->db, t->user->id);
    int64_t failures = 0;
    sq_err e = sq_db_user_failed(tx->db, t->user->id, sq_clock_now_s(), &failures);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_login_failed, .result = SQ_EPASSWORD, .by = t->by, .subject = t->user->id, .a = (uint64_t)failures});
}

sq_err password_ok(struct registrar *r, const struct caller *c, const struct sq_db_user *user, struct sq_span password)
{
    /* an unknown name costs the same one hash as a known one, and gets the same answer */
    struct sq_msg m = sq_msg_of(password_check, .password = password);
    if (user) {
        memcpy(m.u.password_check.owner_id, user->id, ID);
        m.u.password_check.sealed = sq_span_of(user->password_sealed.p, user->password_sealed.n);
        /* a waiting account answers as an unknown one; who is signed in already is held back by the rate of the route alone,
         * so that a stranger's failures can't keep an owner from his result */
        if (!c->role && sq_clock_now_s() < user->last_failure_s + sq_account_wait_s((uint32_t)user->failures)) {
            m.u.password_check.sealed = (struct sq_span){0};
            user = NULL;
        }
    }
    sq_err e = keeper_do(r, &m);
    if (!user || (e && e != SQ_EPASSWORD))
        return e;
    struct tried t = {.by = c, .user = user, .is_right = e == SQ_OK};
    sq_err kept = e == SQ_OK && !user->failures ? SQ_OK : commit(r, tx_tried, &t);
    return e ? e : kept;
}
