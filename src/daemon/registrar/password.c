/*
 * Passwords: one Argon2 on every path, whether or not there is such an account; back-off that a stranger can't turn against the
 * owner; changing one. keeper checks and hashes, and answers with a proof that whatever follows has to show.
 */
#include "daemon/registrar/registrar.h"

#include "lib/core/address.h"
#include "lib/core/networks.h"
#include "lib/identity/identity.h"

#include <stdio.h>

sq_err user_load(struct registrar *r, const uint8_t id[ID], struct sq_db_user *out)
{
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_user_get(db, id, out);
    db_unlock(r);
    return e;
}

sq_err password_hash(struct registrar *r, const uint8_t owner[ID], const uint8_t proof[ID], struct sq_span password, struct sq_db_sealed *out)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(password_hash, .password = password), m;
    memcpy(ask.u.password_hash.owner_id, owner, ID);
    memcpy(ask.u.password_hash.proof, proof, ID);
    sq_err e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e && m.u.sealed_is.sealed.n > SQ_DB_SEALED_MAX_BYTES)
        e = sq_fail(SQ_EPROTO);
    if (!e) {
        out->n = (uint16_t)m.u.sealed_is.sealed.n;
        memcpy(out->p, m.u.sealed_is.sealed.p, out->n);
    }
    sq_packet_free(pkt);
    return e;
}

/* ---- checking ---- */

struct tried {
    const struct caller *by;
    struct sq_db_user user;
    struct sq_db_seen seen;
    bool is_seen; /* he has signed in from there before */
    bool is_right, is_code;
    bool is_unasked; /* nobody's, or of an account that waits: not looked at */
    const uint8_t *own; /* the session or token by which the owner himself tries; else NULL */
    bool has_own_failed, is_own_alone; /* is_own_alone: nothing of the account is written down */
};

#define FAILURES_TOLD 5 /* with the fifth in a row he begins to wait: sq_account_wait_s() */
#define UNASKED_KEY "login.unasked" /* of meta: how many sign-ins weren't looked at */

/* A row is read and one written, and there is an entry, as for a known name: the time doesn't tell which it was. */
static sq_err tx_unasked(struct tx *tx, const struct tried *t)
{
    int64_t n = 0;
    sq_err e = sq_db_meta_get_no(tx->db, UNASKED_KEY, &n);
    if (!e || e == SQ_ENOTFOUND)
        e = sq_db_meta_set_no(tx->db, UNASKED_KEY, n + 1);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_login_failed, .result = SQ_EPASSWORD, .by = t->by, .subject = is_zero(t->user.id) ? NULL : t->user.id});
}

static sq_err tx_tried(struct tx *tx, void *ctx)
{
    struct tried *t = ctx;
    int64_t failures = 0;
    if (t->is_unasked)
        return tx_unasked(tx, t);
    if (t->own) {
        sq_err own = t->is_right ? sq_db_token_succeeded(tx->db, t->own) : sq_db_token_failed(tx->db, t->own, sq_clock_now_s());
        if (own || t->is_own_alone)
            return own;
    }
    if (t->is_right)
        return t->is_seen ? sq_db_seen_put(tx->db, t->user.id, t->seen.address_hmac, sq_clock_now_s()) : sq_db_user_succeeded(tx->db, t->user.id);
    sq_err e = t->is_seen ? sq_db_seen_failed(tx->db, t->user.id, t->seen.address_hmac, sq_clock_now_s(), &failures)
                          : sq_db_user_failed(tx->db, t->user.id, sq_clock_now_s(), &failures);
    if (!e && failures == FAILURES_TOLD)
        e = tx_account_notice_daily(tx, SQ_DB_notice_kind_attempts, t->user.id);
    return e ? e : tx_event(tx, &(struct event){.no = t->is_code ? SQ_AUDIT_factor_failed : SQ_AUDIT_login_failed, .result = t->is_code ? SQ_ECODE : SQ_EPASSWORD, .by = t->by, .subject = t->user.id, .a = (uint64_t)failures});
}

sq_err address_hmac(struct registrar *r, const char *address, uint8_t out[32])
{
    char text[80], source[SQ_NETWORKS_ADDRESS_MAX];
    struct sq_ip ip;
    bool is_ip = address && sq_ip_read(address, strlen(address), &ip);
    if (is_ip)
        sq_ip_source(&ip, source);
    snprintf(text, sizeof text, "address %s", is_ip ? source : address ? address : "");
    return lookup(r, text, out);
}

/* Failures from addresses that he never signed in from count together, those of each that he did, by themselves: so strangers'
 * failures, from wherever they come, don't keep him waiting where he is at home. */
static sq_err look_back(struct registrar *r, const struct sq_db_user *user, const char *address, struct tried *t, bool *out_must_wait)
{
    uint8_t hmac[32];
    sq_err e = address_hmac(r, address, hmac);
    if (e)
        return e;
    if (user)
        t->user = *user;
    struct sq_db *db = db_lock(r);
    e = sq_db_seen_get(db, t->user.id, hmac, &t->seen); /* of nobody too: the time doesn't tell */
    db_unlock(r);
    if (!user)
        return e == SQ_ENOTFOUND ? SQ_OK : e;
    t->is_seen = !e;
    if (e && e != SQ_ENOTFOUND)
        return e;
    int64_t failures = t->is_seen ? t->seen.failures : user->failures, last_s = t->is_seen ? t->seen.last_failure_s : user->last_failure_s;
    *out_must_wait = sq_clock_now_s() < last_s + sq_account_wait_s((uint32_t)failures);
    return SQ_OK;
}

/* Tries of who is signed in count by his session or token: the account's waits, which strangers can cause, don't hold him up; his own do. */
static sq_err look_back_own(struct registrar *r, const uint8_t jti[ID], struct tried *t, bool *out_must_wait)
{
    struct sq_db_token row;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_token_get(db, jti, &row);
    db_unlock(r);
    if (e)
        return e == SQ_ENOTFOUND ? sq_fail(SQ_EAUTH) : e;
    t->own = jti;
    t->has_own_failed = row.failures > 0;
    *out_must_wait = sq_clock_now_s() < row.failed_s + sq_account_wait_s((uint32_t)row.failures);
    return SQ_OK;
}

static sq_err check(struct registrar *r, const struct sq_db_user *user, bool is_known, struct sq_span password, uint8_t out_proof[ID])
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(password_check, .is_known = is_known, .password = password), m;
    if (user) {
        memcpy(ask.u.password_check.owner_id, user->id, ID);
        ask.u.password_check.sealed = sq_span_of(user->password_sealed.p, user->password_sealed.n);
    }
    sq_err e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e)
        memcpy(out_proof, m.u.proof_is.proof, ID);
    sq_packet_free(pkt);
    return e;
}

sq_err password_ok(struct registrar *r, const struct caller *c, const struct sq_db_user *user, struct sq_span password, uint8_t out_proof[ID])
{
    struct tried t = {.by = c};
    bool must_wait = false;
    sq_err e = look_back(r, user, c->address, &t, &must_wait);
    if (e)
        return e;
    /* a waiting account answers as an unknown one, and both cost the same one hash; who is signed in already is held back by his own
     * failures alone, when the account is his own */
    bool is_own = c->role && user && !memcmp(c->user, user->id, ID);
    if (is_own)
        e = look_back_own(r, c->jti, &t, &must_wait);
    if (e)
        return e;
    bool is_asked = user && !must_wait;
    e = check(r, is_asked ? user : NULL, c->role || t.is_seen, password, out_proof);
    if (e && e != SQ_EPASSWORD)
        return e;
    if (!is_asked)
        e = sq_fail(SQ_EPASSWORD);
    t.is_unasked = !is_asked;
    t.is_right = e == SQ_OK;
    /* Of an account with a second factor, failures are forgotten when that was right too: else whoever has the password guesses four codes,
     * shows the password, guesses four more, and never waits. */
    int64_t n_factor = 0;
    sq_err counted = t.is_right ? factor_count(r, user->id, &n_factor) : SQ_OK;
    if (counted)
        return counted;
    bool is_kept = t.is_right && (n_factor || !(t.is_seen ? t.seen.failures : user->failures)); /* nothing to write down */
    t.is_own_alone = is_kept && t.own && t.has_own_failed;
    sq_err kept = is_kept && !t.is_own_alone ? SQ_OK : commit(r, tx_tried, &t);
    return e ? e : kept;
}

sq_err factor_may_try(struct registrar *r, const struct caller *c, const struct sq_db_user *user)
{
    struct tried t = {.by = c};
    bool must_wait = false;
    sq_err e = look_back(r, user, c->address, &t, &must_wait);
    return !e && must_wait ? sq_fail(SQ_ECODE) : e;
}

/* Six digits can be guessed: a wrong code counts as a wrong password does. */
sq_err factor_tried(struct registrar *r, const struct caller *c, const struct sq_db_user *user, sq_err how)
{
    struct tried t = {.by = c, .is_right = how == SQ_OK, .is_code = true};
    bool must_wait = false;
    if (how && how != SQ_ECODE && how != SQ_EPASSKEY)
        return SQ_OK;
    sq_err e = look_back(r, user, c->address, &t, &must_wait);
    if (e || (t.is_right && !(t.is_seen ? t.seen.failures : user->failures)))
        return e;
    return commit(r, tx_tried, &t);
}

sq_err reauthenticate(struct api *a, const char *key, struct sq_db_user *out_user, uint8_t out_proof[ID])
{
    const char *password = body_text(a, key, 1024);
    if (!password)
        return sq_fail(SQ_EFIELD);
    int64_t n = 0;
    uint8_t first[ID];
    sq_err e = user_load(a->r, a->caller.user, out_user);
    if (!e)
        e = factor_count(a->r, a->caller.user, &n);
    if (!e)
        e = password_ok(a->r, &a->caller, out_user, sq_span_str(password), first);
    if (!e && !n)
        memcpy(out_proof, first, ID);
    if (e || !n)
        return e;
    return second_factor(a, out_user, a->caller.jti, first, out_proof);
}

/* ---- choosing one ---- */

sq_err password_rules_open(struct registrar *r)
{
    struct sq_why why = {.line = 0};
    const char *url = r->public_url ? r->public_url : "";
    int fd = sq_node_take(r->node, "password_list"); /* stays open: a list of hashes is searched where it lies */
    snprintf(r->site_names, sizeof r->site_names, "%s,%s,%s", sq_node_setting(r->node, "hosts"), r->origin, url);
    r->password_rules = (struct sq_password_rules){.min_score = (unsigned)sq_node_setting_u64(r->node, "password_score"), .site = r->site_names};
    struct sq_breached *list = NULL;
    sq_err e = fd < 0 ? SQ_OK : sq_breached_open(fd, &list, &why);
    r->password_rules.list = list;
    return e;
}

sq_err password_choose(struct registrar *r, struct sq_span password, const char *name, const char *mail, struct sq_why *why)
{
    return sq_password_strength(&r->password_rules, (const char *)password.p, password.n, name, mail, why);
}

/* ---- changing ---- */

struct changing {
    const struct caller *by;
    struct sq_db_sealed password;
    int64_t n;
};

static sq_err tx_change(struct tx *tx, void *ctx)
{
    struct changing *x = ctx;
    int64_t n_api = 0;
    sq_err e = sq_db_user_set_password(tx->db, x->by->user, &x->password);
    if (!e)
        e = sq_db_token_revoke_sessions(tx->db, x->by->user, x->by->jti, sq_clock_now_s(), &x->n);
    if (!e)
        e = sq_db_token_revoke_api(tx->db, x->by->user, sq_clock_now_s(), &n_api);
    if (!e)
        e = sq_db_link_delete_of(tx->db, x->by->user);
    x->n += n_api;
    if (!e)
        e = tx_account_notice(tx, SQ_DB_notice_kind_password_changed, x->by->user, NULL);
    if (!e)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_password_changed, .by = x->by, .subject = x->by->user});
    return e || !x->n ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_tokens_revoked, .by = x->by, .subject = x->by->user, .a = (uint64_t)x->n});
}

/* Name and address aren't known here (they are sealed): his own token opens them, for the check alone. */
static sq_err check_choice(struct api *a, const struct sq_db_user *user, const char *password)
{
    struct opened o = {.n = 0};
    const struct sq_db_sealed *name = &user->name_sealed;
    char mail[SQ_MAIL_MAX_BYTES + 1] = "";
    sq_err e = fields_open(a->r, &a->caller, &name, 1, &o);
    if (!e)
        e = mail_of(a, user, mail);
    if (!e)
        e = password_choose(a->r, sq_span_str(password), o.at[0], mail, api_why(a));
    sq_wipe(mail, sizeof mail);
    opened_done(&o);
    return e;
}

sq_err api_me_password(struct api *a)
{
    struct changing x = {.by = &a->caller};
    struct sq_db_user user;
    uint8_t proof[ID];
    const char *password = body_text(a, "password", SQ_PASSWORD_MAX_BYTES);
    sq_err e = password ? reauthenticate(a, "old", &user, proof) : sq_fail(SQ_EFIELD);
    if (!e)
        e = check_choice(a, &user, password);
    if (!e)
        e = password_hash(a->r, user.id, proof, sq_span_str(password), &x.password);
    if (!e)
        e = sq_fault("password.change");
    if (!e)
        e = commit(a->r, tx_change, &x);
    if (e)
        return e;
    a->is_audited = true;
    streams_stop(a->r, a->caller.user);
    a->answer = json_pack("{s:I}", "revoked", (json_int_t)x.n);
    return SQ_OK;
}
