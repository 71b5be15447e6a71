/* An account's mail address: sealed by keeper for its owner and for courier; this process never reads one back without the owner's token. */
#include "daemon/registrar/registrar.h"

#include "lib/core/address.h"

static sq_err refuse_mail(struct api *a, const struct sq_why *why)
{
    a->why_store = *why;
    a->why = &a->why_store;
    return sq_fail(SQ_EFIELD);
}

sq_err mail_seal(struct registrar *r, const uint8_t owner[ID], const uint8_t proof[ID], const char *address, struct sq_db_sealed *out, struct sq_why *why)
{
    sq_err e = sq_mail_check(address, why);
    if (e)
        return e;
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(mail_seal, .address = sq_span_str(address)), m;
    memcpy(ask.u.mail_seal.owner_id, owner, ID);
    memcpy(ask.u.mail_seal.proof, proof, ID);
    e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e && m.u.sealed_is.sealed.n > SQ_DB_SEALED_MAX_BYTES)
        e = sq_fail(SQ_EPROTO);
    if (!e) {
        out->n = (uint16_t)m.u.sealed_is.sealed.n;
        memcpy(out->p, m.u.sealed_is.sealed.p, out->n);
    }
    sq_packet_free(pkt);
    return e;
}

sq_err mail_of(struct api *a, const struct sq_db_user *user, char out[SQ_MAIL_MAX_BYTES + 1])
{
    *out = 0;
    if (!user->mail_sealed.n)
        return SQ_OK;
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(mail_show, .token = a->caller.token, .sealed = sq_span_of(user->mail_sealed.p, user->mail_sealed.n)), m;
    memcpy(ask.u.mail_show.owner_id, user->id, ID);
    sq_err e = sq_node_call(a->r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e)
        e = sq_span_copy(m.u.mail_shown.address, out, SQ_MAIL_MAX_BYTES + 1);
    sq_packet_free(pkt);
    return e;
}

/* The address that waits for its code; opened by the owner's token, as the other one. */
static sq_err pending_of(struct api *a, const struct sq_db_user *user, char out[SQ_MAIL_MAX_BYTES + 1], int64_t *out_until_s)
{
    struct sq_db_link link;
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_link_of(db, user->id, SQ_DB_link_kind_mail, &link);
    db_unlock(a->r);
    *out = 0;
    *out_until_s = 0;
    if (e == SQ_ENOTFOUND || (!e && link.expires_s <= sq_clock_now_s()))
        return SQ_OK;
    struct sq_db_user then = *user;
    then.mail_sealed = link.mail_sealed;
    *out_until_s = link.expires_s;
    return e ? e : mail_of(a, &then, out);
}

static sq_err show(struct api *a, const struct sq_db_user *user)
{
    char address[SQ_MAIL_MAX_BYTES + 1], pending[SQ_MAIL_MAX_BYTES + 1] = "";
    int64_t until_s = 0;
    sq_err e = mail_of(a, user, address);
    if (!e)
        e = pending_of(a, user, pending, &until_s);
    if (!e)
        a->answer = json_pack("{s:o, s:o, s:o, s:b, s:b, s:o}", "mail", *address ? json_string(address) : json_null(), "pending", *pending ? json_string(pending) : json_null(),
                              "pending_until", *pending ? view_time(until_s) : json_null(), "notify", (int)user->is_notified, "server_sends_mail", (int)has_mail_server(a->r),
                              "notices", notices_of_user(a->r, user->id));
    sq_wipe(address, sizeof address);
    sq_wipe(pending, sizeof pending);
    return e;
}

sq_err api_me_mail(struct api *a)
{
    struct sq_db_user user;
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_user_get(db, a->caller.user, &user);
    db_unlock(a->r);
    return e ? e : show(a, &user);
}

/* ---- changing it ----
 * Where mail is sent, another address counts once the code that was mailed there has come back. Whether another account has it is looked at when the mail is
 * written (notices.c), and again when the code comes: to who asks everything is the same, the answer, its time and the rows that he can see. */

#define CODE_S 3600

struct changing {
    const struct caller *by;
    bool has_mail, has_notify, is_notified, is_asked; /* is_asked: the address waits in `link` for its code */
    bool has_hmac;
    uint8_t hmac[32];
    struct sq_db_sealed mail;
    struct sq_db_link link;
    struct sq_db_user now; /* as it is then */
};

static sq_err tx_move(struct tx *tx, struct changing *x)
{
    struct sq_db_sealed before = x->now.mail_sealed;
    bool is_other = x->has_hmac != x->now.has_mail_hmac || !sq_equal_ct(x->hmac, x->now.mail_hmac, sizeof x->hmac);
    sq_err e = x->has_hmac ? address_is_free(tx->db, x->hmac, x->by->user) : SQ_OK;
    x->now.mail_sealed = x->mail;
    x->now.has_mail_hmac = x->has_hmac;
    memcpy(x->now.mail_hmac, x->hmac, sizeof x->hmac);
    if (!e)
        e = sq_db_user_set_mail(tx->db, x->by->user, &x->now.mail_sealed, x->has_hmac ? x->hmac : NULL, x->now.is_notified);
    if (!e) /* a code that lies in the old mailbox sets no password any more; nor does an address wait any longer */
        e = sq_db_link_delete_of(tx->db, x->by->user);
    if (!e && is_other) /* where codes for a new password went until now, and where they go from now on */
        e = tx_account_notice_to(tx, SQ_DB_notice_kind_mail_changed, x->by->user, &before, NULL);
    if (!e && is_other)
        e = tx_account_notice(tx, SQ_DB_notice_kind_mail_changed, x->by->user, NULL);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_user_changed, .by = x->by, .subject = x->by->user});
}

static sq_err tx_change(struct tx *tx, void *ctx)
{
    struct changing *x = ctx;
    sq_err e = sq_db_user_get(tx->db, x->by->user, &x->now);
    if (x->has_notify)
        x->now.is_notified = x->is_notified;
    if (!e && x->has_mail && !x->is_asked)
        return tx_move(tx, x);
    if (!e && x->has_notify)
        e = sq_db_user_set_mail(tx->db, x->by->user, &x->now.mail_sealed, x->now.has_mail_hmac ? x->now.mail_hmac : NULL, x->now.is_notified);
    if (!e && x->has_notify)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_user_changed, .by = x->by, .subject = x->by->user});
    if (e || !x->is_asked)
        return e;
    e = sq_db_link_insert(tx->db, &x->link);
    if (!e)
        e = tx_account_notice_to(tx, SQ_DB_notice_kind_mail_confirm, x->by->user, &x->link.mail_sealed, x->link.id);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_mail_asked, .by = x->by, .subject = x->by->user});
}

static sq_err check_wish(const json_t *mail, const json_t *notify, struct sq_why *why)
{
    if (!mail && !notify)
        return sq_why_set(why, SQ_EFIELD, 0, 0, "mail", "or notify must be there: {\"mail\": ADDRESS or null, \"notify\": true or false}");
    if (notify && !json_is_boolean(notify))
        return sq_why_set(why, SQ_EFIELD, 0, 0, "notify", "must be true or false");
    if (mail && !json_is_string(mail) && !json_is_null(mail))
        return sq_why_set(why, SQ_EFIELD, 0, 0, "mail", "must be an address, or null for none");
    if (json_is_string(mail) && strlen(json_string_value(mail)) != json_string_length(mail))
        return sq_why_set(why, SQ_EFIELD, 0, 0, "mail", "must look like name@example.org");
    return json_is_string(mail) ? sq_mail_check(json_string_value(mail), why) : SQ_OK;
}

/* Another address: a code for it, which waits in the database until it comes back. A mail to a stranger is at stake: the rate is that of registration. */
static sq_err ask_for_code(struct api *a, struct changing *x)
{
    struct user_rate rate;
    sq_err e = user_rate_take(&a->caller, SQ_RATE_MAIL, &rate);
    if (e) {
        a->user_rate = rate;
        a->retry_after_s = rate.wait_s;
    }
    if (!e)
        e = link_make(a->r, a->caller.user, SQ_DB_link_kind_mail, CODE_S, &x->link);
    x->link.has_mail_hmac = true;
    memcpy(x->link.mail_hmac, x->hmac, sizeof x->hmac);
    x->link.mail_sealed = x->mail;
    x->is_asked = true;
    return e ? e : sq_fault("link.made");
}

static sq_err take_address(struct api *a, const char *address, struct changing *x, struct sq_why *why)
{
    struct sq_db_user user;
    uint8_t proof[ID];
    sq_err e = reauthenticate(a, "password", &user, proof); /* a link that sets a password goes there: only with the password itself */
    x->has_hmac = address != NULL;
    if (e || !address)
        return e;
    e = lookup(a->r, address, x->hmac);
    if (!e)
        e = mail_seal(a->r, a->caller.user, proof, address, &x->mail, why);
    bool is_same = user.has_mail_hmac && sq_equal_ct(user.mail_hmac, x->hmac, sizeof x->hmac);
    return e || is_same || !has_mail_server(a->r) ? e : ask_for_code(a, x);
}

sq_err api_me_mail_set(struct api *a)
{
    struct changing x = {.by = &a->caller};
    struct sq_why why = {.line = 0};
    json_t *mail = json_object_get(a->body, "mail"), *notify = json_object_get(a->body, "notify");
    x.has_mail = mail != NULL;
    x.has_notify = notify != NULL;
    x.is_notified = json_is_true(notify);
    sq_err e = check_wish(mail, notify, &why);
    if (!e && mail)
        e = take_address(a, json_string_value(mail), &x, &why);
    if (e)
        return e == SQ_EFIELD && why.field[0] ? refuse_mail(a, &why) : e;
    e = commit(a->r, tx_change, &x);
    if (e)
        return e;
    a->is_audited = true;
    a->status = x.is_asked ? 202 : 0;
    return x.is_asked ? SQ_OK : show(a, &x.now);
}

/* Who has the code reads that mailbox: a registration with the address, whose code hasn't come back, is another's who can't, or his own. */
static sq_err tx_take_over(struct tx *tx, const struct changing *x)
{
    struct sq_db_user before;
    uint8_t nobody[32];
    sq_err e = address_may_move(tx->db, x->hmac, x->by->user, &before);
    if (e || !before.is_pending)
        return e;
    e = sq_random(nobody, sizeof nobody);
    if (!e)
        e = sq_db_user_let_go(tx->db, before.id, nobody);
    if (!e)
        e = sq_db_link_delete_of(tx->db, before.id);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_user_changed, .by = x->by, .subject = before.id});
}

static sq_err tx_confirm(struct tx *tx, void *ctx)
{
    struct changing *x = ctx;
    sq_err e = sq_db_link_get(tx->db, x->link.id, &x->link);
    if (e == SQ_ENOTFOUND)
        return sq_fail(SQ_ELINK); /* used or replaced meanwhile */
    if (!e)
        e = sq_db_user_get(tx->db, x->by->user, &x->now);
    x->has_hmac = true;
    memcpy(x->hmac, x->link.mail_hmac, sizeof x->hmac);
    x->mail = x->link.mail_sealed;
    if (!e)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_mail_proved, .by = x->by, .subject = x->by->user});
    if (!e)
        e = tx_take_over(tx, x);
    return e ? e : tx_move(tx, x);
}

sq_err api_me_mail_confirm(struct api *a)
{
    struct changing x = {.by = &a->caller};
    const char *code = body_text(a, "code", 4 * ID);
    if (!code)
        return sq_fail(SQ_EFIELD);
    sq_err e = link_of_code(a->r, code, SQ_DB_link_kind_mail, a->caller.user, &x.link);
    if (!e)
        e = sq_fault("mail.confirm");
    if (!e)
        e = commit(a->r, tx_confirm, &x);
    if (e == SQ_EEXISTS) /* he has shown that the mailbox is his: he may know */
        e = sq_why_set(api_why(a), SQ_EEXISTS, 0, 0, "code", "was good, but another account has got this address meanwhile");
    if (e)
        return e;
    a->is_audited = true;
    return show(a, &x.now);
}
