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

static sq_err show(struct api *a, const struct sq_db_user *user)
{
    char address[SQ_MAIL_MAX_BYTES + 1];
    sq_err e = mail_of(a, user, address);
    if (!e) {
        const char *smtp = sq_node_setting(a->r->node, "smtp_url");
        a->answer = json_pack("{s:o, s:b, s:b, s:o}", "mail", *address ? json_string(address) : json_null(), "notify", (int)user->is_notified, "server_sends_mail",
                              smtp && *smtp, "notices", notices_of_user(a->r, user->id));
    }
    sq_wipe(address, sizeof address);
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

struct changing {
    const struct caller *by;
    bool has_mail, has_notify;
    struct sq_db_user now; /* mail_sealed and is_notified as they shall be; the rest is read */
};

static sq_err tx_change(struct tx *tx, void *ctx)
{
    struct changing *x = ctx;
    struct sq_db_sealed mail = x->now.mail_sealed;
    bool is_notified = x->now.is_notified;
    uint8_t hmac[32];
    bool has_hmac = x->now.has_mail_hmac;
    memcpy(hmac, x->now.mail_hmac, sizeof hmac);
    sq_err e = sq_db_user_get(tx->db, x->by->user, &x->now);
    struct sq_db_sealed before = x->now.mail_sealed;
    bool is_other = x->has_mail && (has_hmac != x->now.has_mail_hmac || memcmp(hmac, x->now.mail_hmac, sizeof hmac));
    if (x->has_mail) {
        x->now.mail_sealed = mail;
        x->now.has_mail_hmac = has_hmac;
        memcpy(x->now.mail_hmac, hmac, sizeof hmac);
    }
    if (x->has_notify)
        x->now.is_notified = is_notified;
    if (!e)
        e = sq_db_user_set_mail(tx->db, x->by->user, &x->now.mail_sealed, x->now.has_mail_hmac ? x->now.mail_hmac : NULL, x->now.is_notified);
    if (!e && is_other) /* a code that lies in the old mailbox sets no password any more */
        e = sq_db_link_delete_of(tx->db, x->by->user);
    if (!e && is_other) /* where codes for a new password went until now, and where they go from now on */
        e = tx_account_notice_to(tx, SQ_DB_notice_kind_mail_changed, x->by->user, &before);
    if (!e && is_other)
        e = tx_account_notice(tx, SQ_DB_notice_kind_mail_changed, x->by->user, NULL);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_user_changed, .by = x->by, .subject = x->by->user});
}

sq_err api_me_mail_set(struct api *a)
{
    struct changing x = {.by = &a->caller};
    struct sq_why why = {.line = 0};
    json_t *mail = json_object_get(a->body, "mail"), *notify = json_object_get(a->body, "notify");
    x.has_mail = mail != NULL;
    x.has_notify = notify != NULL;
    sq_err e = SQ_OK;
    if (!mail && !notify)
        e = sq_why_set(&why, SQ_EFIELD, 0, 0, "mail", "or notify must be there: {\"mail\": ADDRESS or null, \"notify\": true or false}");
    else if (notify && !json_is_boolean(notify))
        e = sq_why_set(&why, SQ_EFIELD, 0, 0, "notify", "must be true or false");
    else if (mail && !json_is_string(mail) && !json_is_null(mail))
        e = sq_why_set(&why, SQ_EFIELD, 0, 0, "mail", "must be an address, or null for none");
    else if (json_is_string(mail) && strlen(json_string_value(mail)) != json_string_length(mail))
        e = sq_why_set(&why, SQ_EFIELD, 0, 0, "mail", "must look like name@example.org");
    if (!e && json_is_string(mail))
        e = sq_mail_check(json_string_value(mail), &why);
    struct sq_db_user user;
    uint8_t proof[ID];
    if (e)
        return e == SQ_EFIELD ? refuse_mail(a, &why) : e;
    if (mail) /* a link that sets a password goes there: only with the password itself */
        e = reauthenticate(a, "password", &user, proof);
    if (e)
        return e;
    if (json_is_string(mail)) {
        x.now.has_mail_hmac = true;
        e = lookup(a->r, json_string_value(mail), x.now.mail_hmac);
        if (!e)
            e = mail_seal(a->r, a->caller.user, proof, json_string_value(mail), &x.now.mail_sealed, &why);
    }
    if (e)
        return e == SQ_EFIELD ? refuse_mail(a, &why) : e;
    x.now.is_notified = json_is_true(notify);
    e = commit(a->r, tx_change, &x);
    if (e)
        return e;
    a->is_audited = true;
    return show(a, &x.now);
}
