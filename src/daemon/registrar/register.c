/*
 * Accounts that people make for themselves, and passwords that they have forgotten: by codes that are mailed.
 *
 * Whoever asks gets the same answer at once, whether or not there is such an account; what is to be done is done behind it by a
 * thread of its own, so that neither the answer nor its time tells. A password is chosen with the code, not before: who
 * registers another one's address can't have chosen it for him.
 */
#include "daemon/registrar/registrar.h"

#include "lib/core/address.h"
#include "lib/identity/identity.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

#define MAX_ASKED 64
#define MAX_PENDING 1000
#define REGISTER_S SQ_DAY_S
#define RESET_S 3600
#define FACTORS_S (7 * SQ_DAY_S) /* to confirm that second factors were taken away */
#define LINK_CODE_CHARS (4 * ID)

struct asked {
    char mail[SQ_MAIL_MAX_BYTES + 1], address[65];
    uint8_t request[8];
    bool is_registration;
};
static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct asked at[MAX_ASKED];
    size_t first, n;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

/* ---- the answer ---- */

static sq_err ask(struct api *a, const char *mail, bool is_registration)
{
    struct asked x = {.is_registration = is_registration};
    sq_err e = sq_mail_check(mail, &a->why_store);
    if (e) {
        a->why = &a->why_store;
        return e;
    }
    for (size_t i = 0; mail[i]; i++)
        x.mail[i] = (char)tolower((unsigned char)mail[i]);
    snprintf(x.address, sizeof x.address, "%s", a->caller.address ? a->caller.address : "");
    memcpy(x.request, a->caller.request, sizeof x.request);
    pthread_mutex_lock(&queue.lock);
    bool is_full = queue.n == MAX_ASKED;
    if (!is_full)
        queue.at[(queue.first + queue.n++) % MAX_ASKED] = x;
    pthread_cond_signal(&queue.wake);
    pthread_mutex_unlock(&queue.lock);
    a->is_audited = true; /* there is an event when there is an account */
    a->status = 202;
    return is_full ? sq_fail(SQ_EBUSY) : SQ_OK;
}

bool has_mail_server(const struct registrar *r)
{
    const char *url = sq_node_setting(r->node, "smtp_url");
    return url && *url;
}

/* "uni.example" stands for itself and for "med.uni.example" */
static bool is_of_domains(const char *mail, const char *domains)
{
    const char *domain = strchr(mail, '@') + 1;
    size_t n_have = strlen(domain);
    for (const char *p = domains; *p;) {
        p += strspn(p, ", ");
        size_t n = strcspn(p, ", ");
        bool is_tail = n && n_have >= n && !strncasecmp(domain + n_have - n, p, n);
        if (is_tail && (n_have == n || domain[n_have - n - 1] == '.'))
            return true;
        p += n;
    }
    return false;
}

sq_err api_register(struct api *a)
{
    const char *mail = body_text(a, "mail", SQ_MAIL_MAX_BYTES), *who = sq_node_setting(a->r->node, "register"), *domains = sq_node_setting(a->r->node, "register_domains");
    if (!mail)
        return sq_fail(SQ_EFIELD);
    if (!strcmp(who, "off") || !has_mail_server(a->r))
        return sq_fail(SQ_ECLOSED);
    sq_err e = sq_mail_check(mail, &a->why_store);
    if (e) {
        a->why = &a->why_store;
        return e;
    }
    if (!strcmp(who, "domains") && !is_of_domains(mail, domains ? domains : "")) {
        a->why = &a->why_store;
        return sq_why_set(&a->why_store, SQ_ECLOSED, 0, 0, "mail", "must be of a domain that this service is for");
    }
    return ask(a, mail, true);
}

sq_err api_password_forgot(struct api *a)
{
    const char *mail = body_text(a, "mail", SQ_MAIL_MAX_BYTES);
    return mail ? ask(a, mail, false) : sq_fail(SQ_EFIELD);
}

/* ---- behind it ---- */

struct inviting {
    struct sq_db_user row;
    struct sq_db_link link;
    const struct caller *by;
    enum sq_audit_event event;
    int notice;
    bool is_new;
};

static sq_err tx_invite(struct tx *tx, void *ctx)
{
    struct inviting *x = ctx;
    sq_err e = x->is_new ? sq_db_user_insert(tx->db, &x->row) : SQ_OK;
    if (!e && !is_zero(x->link.id))
        e = sq_db_link_insert(tx->db, &x->link);
    if (!e)
        e = tx_account_notice(tx, x->notice, x->row.id, is_zero(x->link.id) ? NULL : x->link.id);
    return e || !x->event ? e : tx_event(tx, &(struct event){.no = x->event, .by = x->by, .subject = x->row.id});
}

sq_err link_make(struct registrar *r, const uint8_t user[ID], int kind, int64_t for_s, struct sq_db_link *out)
{
    struct sq_db_link link = {.kind = kind, .created_s = sq_clock_now_s()};
    struct sq_packet *pkt = sq_packet_new();
    link.expires_s = link.created_s + for_s;
    memcpy(link.user_id, user, ID);
    sq_err e = pkt ? id_new(link.id) : sq_fail(SQ_ENOMEM);
    struct sq_msg ask_ = sq_msg_of(link_make, .kind = (uint8_t)kind, .expires_s = (uint64_t)link.expires_s), m;
    memcpy(ask_.u.link_make.owner_id, user, ID);
    memcpy(ask_.u.link_make.link_id, link.id, ID);
    if (!e)
        e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask_, CALL_MS, pkt, &m);
    if (!e) {
        link.sealed.n = (uint16_t)m.u.sealed_is.sealed.n;
        memcpy(link.sealed.p, m.u.sealed_is.sealed.p, link.sealed.n);
        *out = link;
    }
    sq_packet_free(pkt);
    return e;
}

/* A user without a password: keeper's key, sealed name and address; no row yet. */
sq_err user_prepare(struct registrar *r, const char *name, const char *mail, int role, struct sq_db_user *row)
{
    struct sq_span text = sq_span_str(name);
    struct sq_why why;
    *row = (struct sq_db_user){.role = role, .epoch = 1, .created_s = sq_clock_now_s(), .is_notified = true, .is_pending = true, .has_mail_hmac = true};
    sq_err e = lookup(r, name, row->name_hmac);
    if (!e)
        e = lookup(r, mail, row->mail_hmac);
    if (!e)
        e = id_new(row->id);
    struct sq_msg owner = sq_msg_bare(owner_create);
    memcpy(owner.u.owner_create.owner_id, row->id, ID);
    if (!e)
        e = keeper_do(r, &owner);
    if (!e)
        e = fields_seal(r, row->id, &text, 1, &row->name_sealed);
    return e ? e : mail_seal(r, row->id, no_id, mail, &row->mail_sealed, &why);
}

sq_err user_invite(struct registrar *r, const struct caller *by, struct sq_db_user *row, bool is_new, int64_t for_s)
{
    struct inviting x = {.row = *row, .by = by, .is_new = is_new, .notice = SQ_DB_notice_kind_password_reset,
                         .event = !is_new ? SQ_AUDIT_reset_asked : row->role == SQ_DB_role_user ? SQ_AUDIT_user_created : SQ_AUDIT_operator_created};
    sq_err e = link_make(r, row->id, SQ_DB_link_kind_reset, for_s, &x.link);
    if (!e)
        e = sq_fault("link.made");
    return e ? e : commit(r, tx_invite, &x);
}

static sq_err registered(struct registrar *r, const struct asked *q, const struct caller *by, struct inviting *x, bool is_known)
{
    int64_t n = 0;
    x->by = by;
    x->notice = SQ_DB_notice_kind_account_verify;
    x->event = SQ_AUDIT_registered;
    if (is_known && !x->row.is_pending) {
        x->notice = SQ_DB_notice_kind_account_exists;
        x->event = (enum sq_audit_event)0;
        return SQ_OK;
    }
    sq_err e = SQ_OK;
    if (!is_known) {
        struct sq_db *db = db_lock(r);
        e = sq_db_user_count_pending(db, &n);
        db_unlock(r);
        if (!e && n >= MAX_PENDING)
            e = sq_fail(SQ_EBUSY);
        x->is_new = true;
        if (!e)
            e = user_prepare(r, q->mail, q->mail, SQ_DB_role_user, &x->row);
    }
    return e ? e : link_make(r, x->row.id, SQ_DB_link_kind_register, REGISTER_S, &x->link);
}

static sq_err serve(struct registrar *r, const struct asked *q)
{
    struct inviting x = {.notice = SQ_DB_notice_kind_password_reset, .event = SQ_AUDIT_reset_asked};
    struct caller by;
    sq_err e = caller_nobody(r, q->address, q->request, &by);
    if (e)
        return e;
    sq_err found = user_by_name(r, q->mail, &x.row);
    if (found && found != SQ_ENOTFOUND)
        return found;
    x.by = &by;
    if (q->is_registration)
        e = registered(r, q, &by, &x, !found);
    else if (found || x.row.is_disabled || !x.row.mail_sealed.n || !has_mail_server(r))
        return SQ_OK; /* nobody to write to */
    else
        e = link_make(r, x.row.id, SQ_DB_link_kind_reset, RESET_S, &x.link);
    if (!e)
        e = sq_fault("link.made");
    return e ? e : commit(r, tx_invite, &x);
}

void *register_main(void *arg)
{
    struct registrar *r = arg;
    for (;;) {
        pthread_mutex_lock(&queue.lock);
        while (!queue.n)
            pthread_cond_wait(&queue.wake, &queue.lock);
        struct asked x = queue.at[queue.first];
        sq_wipe(&queue.at[queue.first], sizeof x);
        queue.first = (queue.first + 1) % MAX_ASKED;
        queue.n--;
        pthread_mutex_unlock(&queue.lock);
        sq_err e = serve(r, &x);
        sq_wipe(&x, sizeof x);
        if (e)
            sq_log(SQ_LOG_failed, SQ_LW("what", "registration"), SQ_LW("code", sq_err_name(e)));
    }
    return NULL;
}

/* ---- the code comes back ---- */

struct choosing {
    const struct caller *by;
    struct sq_db_user user;
    struct sq_db_link link;
    struct sq_db_sealed password;
    char name[257], mail[SQ_MAIL_MAX_BYTES + 1];
    int64_t n;
};

static sq_err tx_choose(struct tx *tx, void *ctx)
{
    struct choosing *x = ctx;
    int64_t epoch;
    bool was_pending = x->user.is_pending;
    sq_err e = sq_db_link_delete(tx->db, x->link.id);
    if (e == SQ_ENOTFOUND)
        return sq_fail(SQ_ELINK); /* used meanwhile */
    if (!e)
        e = sq_db_link_delete_of(tx->db, x->user.id);
    if (!e)
        e = sq_db_user_set_password(tx->db, x->user.id, &x->password);
    if (!e)
        e = sq_db_user_set_pending(tx->db, x->user.id, false);
    if (!e)
        e = sq_db_user_succeeded(tx->db, x->user.id);
    if (!e)
        e = sq_db_user_next_epoch(tx->db, x->user.id, &epoch);
    if (!e)
        e = sq_db_token_revoke_all(tx->db, x->user.id, sq_clock_now_s(), &x->n);
    if (!e && was_pending)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_mail_proved, .by = x->by, .subject = x->user.id});
    if (!e)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_password_changed, .by = x->by, .subject = x->user.id});
    if (!e && x->n)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_tokens_revoked, .by = x->by, .subject = x->user.id, .a = (uint64_t)x->n});
    return e || was_pending ? e : tx_account_notice(tx, SQ_DB_notice_kind_password_changed, x->user.id, NULL);
}

/* keeper looks whether the secret half is right, and says so by a proof; a code of nobody costs it nothing to find out */
static sq_err check_link(struct registrar *r, struct choosing *x, const uint8_t secret[ID], uint8_t out_proof[ID])
{
    const struct sq_db_link *link = &x->link;
    struct sq_packet *pkt = sq_packet_new();
    struct sq_msg ask_ = sq_msg_of(link_check, .kind = (uint8_t)link->kind, .expires_s = (uint64_t)link->expires_s, .sealed = sq_span_of(link->sealed.p, link->sealed.n),
                                   .name = sq_span_of(x->user.name_sealed.p, x->user.name_sealed.n), .mail = sq_span_of(x->user.mail_sealed.p, x->user.mail_sealed.n)), m;
    memcpy(ask_.u.link_check.owner_id, link->user_id, ID);
    memcpy(ask_.u.link_check.link_id, link->id, ID);
    memcpy(ask_.u.link_check.secret, secret, ID);
    sq_err e = pkt ? sq_node_call(r->node, SQ_ROLE_KEEPER, &ask_, CALL_MS, pkt, &m) : sq_fail(SQ_ENOMEM);
    if (!e)
        memcpy(out_proof, m.u.link_right.proof, ID);
    if (!e)
        e = sq_span_copy(m.u.link_right.name, x->name, sizeof x->name);
    if (!e)
        e = sq_span_copy(m.u.link_right.mail, x->mail, sizeof x->mail);
    sq_packet_free(pkt);
    return e;
}

static sq_err find_link(struct registrar *r, const char *code, int kind, struct choosing *x, uint8_t out_proof[ID])
{
    uint8_t both[2 * ID];
    if (strlen(code) != LINK_CODE_CHARS || sq_hex_decode(code, LINK_CODE_CHARS, both, sizeof both))
        return sq_fail(SQ_ELINK);
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_link_get(db, both, &x->link);
    if (!e)
        e = sq_db_user_get(db, x->link.user_id, &x->user);
    db_unlock(r);
    if (e == SQ_ENOTFOUND || (!e && (x->link.kind != kind || x->user.is_disabled || x->link.expires_s <= sq_clock_now_s())))
        return sq_fail(SQ_ELINK);
    return e ? e : check_link(r, x, both + ID, out_proof);
}

sq_err link_of_code(struct registrar *r, const char *code, int kind, const uint8_t user[ID], struct sq_db_link *out)
{
    struct choosing x = {.n = 0};
    uint8_t proof[ID];
    sq_err e = find_link(r, code, kind, &x, proof);
    if (!e && memcmp(x.link.user_id, user, ID) != 0)
        e = sq_fail(SQ_ELINK);
    *out = x.link;
    sq_wipe(&x, sizeof x);
    return e;
}

static sq_err choose(struct api *a, int kind)
{
    struct choosing x = {.by = &a->caller};
    uint8_t proof[ID];
    const char *code = body_text(a, "code", LINK_CODE_CHARS), *password = code ? body_text(a, "password", SQ_PASSWORD_MAX_BYTES) : NULL;
    if (!password)
        return sq_fail(SQ_EFIELD);
    sq_err e = find_link(a->r, code, kind, &x, proof);
    if (!e)
        e = password_choose(a->r, sq_span_str(password), x.name, x.mail, api_why(a));
    sq_wipe(x.name, sizeof x.name);
    sq_wipe(x.mail, sizeof x.mail);
    if (!e)
        e = password_hash(a->r, x.user.id, proof, sq_span_str(password), &x.password);
    if (e == SQ_EPROOF)
        e = sq_fail(SQ_ELINK); /* keeper was restarted in between */
    if (!e)
        e = sq_fault("password.reset");
    if (!e)
        e = commit(a->r, tx_choose, &x);
    if (!e)
        streams_stop(a->r, x.user.id);
    a->is_audited = true;
    return e;
}

sq_err api_register_confirm(struct api *a)
{
    return choose(a, SQ_DB_link_kind_register);
}

sq_err api_password_reset(struct api *a)
{
    return choose(a, SQ_DB_link_kind_reset);
}

/* ---- second factors that were taken away ---- */

sq_err factors_reset_begin(struct registrar *r, const struct sq_db_user *user, struct sq_db_link *out)
{
    sq_err e = factor_forget(r, user->id, no_id, no_id);
    if (e != SQ_EPROOF)
        return e; /* nothing is mailed here: keeper took our word */
    return user->mail_sealed.n ? link_make(r, user->id, SQ_DB_link_kind_factors, FACTORS_S, out) : sq_fail(SQ_ECONFLICT);
}

static sq_err tx_forgotten(struct tx *tx, void *ctx)
{
    const struct choosing *x = ctx;
    sq_err e = sq_db_link_delete(tx->db, x->link.id);
    if (e == SQ_ENOTFOUND)
        return sq_fail(SQ_ELINK); /* used meanwhile */
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_factors_forgotten, .by = x->by, .subject = x->user.id});
}

/* The code that was mailed, and the password: only with both does keeper believe that the factors went with their owner's will. */
sq_err api_factors_confirm(struct api *a)
{
    struct choosing x = {.by = &a->caller};
    uint8_t linked[ID], proof[ID];
    const char *code = body_text(a, "code", LINK_CODE_CHARS), *password = code ? body_text(a, "password", 1024) : NULL;
    if (!password)
        return sq_fail(SQ_EFIELD);
    sq_err e = find_link(a->r, code, SQ_DB_link_kind_factors, &x, linked);
    sq_wipe(x.name, sizeof x.name);
    sq_wipe(x.mail, sizeof x.mail);
    if (!e)
        e = password_ok(a->r, &a->caller, &x.user, sq_span_str(password), proof);
    if (!e)
        e = factor_forget(a->r, x.user.id, proof, linked);
    if (!e)
        e = sq_fault("factors.forgotten");
    if (!e)
        e = commit(a->r, tx_forgotten, &x);
    a->is_audited = true;
    return e == SQ_EPROOF ? sq_fail(SQ_ELINK) : e; /* keeper was restarted in between */
}

/* ---- accounts that never came to life ---- */

struct stale {
    struct sq_db_user row[32];
    size_t n;
};

static sq_err take_stale(void *ctx, const struct sq_db_user *row)
{
    struct stale *s = ctx;
    s->row[s->n++] = *row;
    return SQ_OK;
}

static sq_err tx_stale(struct tx *tx, void *ctx)
{
    const struct sq_db_user *u = ctx;
    sq_err e = sq_db_user_delete(tx->db, u->id);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_user_erased, .subject = u->id});
}

void accounts_forget(struct registrar *r)
{
    static struct stale s; /* only the thread of the deadlines comes here */
    s.n = 0;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_users_stale(db, sq_clock_now_s() - 3600, 32, take_stale, &s);
    db_unlock(r);
    for (size_t i = 0; i < s.n && !e; i++) { /* the key first: a row without one is found again, a key without a row isn't */
        struct sq_msg m = sq_msg_bare(owner_destroy);
        memcpy(m.u.owner_destroy.owner_id, s.row[i].id, ID);
        e = keeper_do(r, &m);
        if (e == SQ_EKEYGONE || e == SQ_ENOTFOUND)
            e = SQ_OK;
        if (!e)
            e = sq_fault("account.forget");
        if (!e)
            e = commit(r, tx_stale, &s.row[i]);
    }
    if (e)
        sq_log(SQ_LOG_failed, SQ_LW("what", "stale_accounts"), SQ_LW("code", sq_err_name(e)));
}
