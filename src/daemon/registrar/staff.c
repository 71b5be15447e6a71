/*
 * What operators, security officers, auditors and supporters may do over the API: accounts, by their pseudonyms; the numbers of the
 * service; the log; jobs as ids and states. Names are sealed under their owners' keys: whoever knows one can ask for it, and nobody
 * here can list them. None of these roles reads a genotype, a result or a name of a sample: there is no route for it.
 */
#include "daemon/registrar/admin.h"

#include "lib/core/address.h"

#include <stdio.h>
#include <stdlib.h>

#define INVITED_S (7 * SQ_DAY_S)
#define PAGE 100

/* ---- an account, as staff sees it ---- */

static const char *state_of(const struct sq_db_user *u)
{
    return u->is_disabled ? "disabled" : u->is_pending ? "pending" : u->expires_s && u->expires_s <= sq_clock_now_s() ? "expired" : "active";
}

json_t *account_json(struct registrar *r, const struct sq_db_user *u)
{
    int64_t factors = 0, sessions = 0, tokens = 0, now = sq_clock_now_s();
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_factor_count(db, u->id, 0, &factors);
    if (!e)
        e = sq_db_token_count(db, u->id, SQ_DB_token_kind_session, now, &sessions);
    if (!e)
        e = sq_db_token_count(db, u->id, SQ_DB_token_kind_api, now, &tokens);
    db_unlock(r);
    (void)e; /* numbers that couldn't be read are 0 */
    return json_pack("{s:o, s:s, s:s, s:o, s:o, s:o, s:b, s:I, s:I, s:I, s:o}", "id", view_id(u->id), "role", sq_db_name(SQ_DB_role, u->role), "state", state_of(u), "created",
                     view_time(u->created_s), "last_login", view_time(u->last_login_s), "expires", view_time(u->expires_s), "has_mail", u->mail_sealed.n != 0, "factors",
                     (json_int_t)factors, "sessions", (json_int_t)sessions, "tokens", (json_int_t)tokens, "networks", view_words(u->networks, ","));
}

static sq_err user_by_hex(struct api *a, const char *hex, struct sq_db_user *out)
{
    uint8_t id[ID];
    if (!hex || strlen(hex) != 2 * ID || sq_hex_decode(hex, 2 * ID, id, ID))
        return sq_fail(SQ_ENOTFOUND);
    sq_err e = user_load(a->r, id, out);
    if (!e)
        memcpy(a->object, out->id, ID);
    return e;
}

struct users {
    struct sq_db_user row[PAGE];
    size_t n;
};

static sq_err take_user(void *ctx, const struct sq_db_user *row)
{
    struct users *u = ctx;
    u->row[u->n++] = *row;
    return SQ_OK;
}

sq_err api_admin_users(struct api *a)
{
    int64_t limit = query_number(a->query, "limit", 50, PAGE);
    char text[2 * ID + 1];
    uint8_t after[ID];
    bool has_after = query_text(a->query, "after", text, sizeof text);
    if (limit < 1 || (has_after && (strlen(text) != 2 * ID || sq_hex_decode(text, 2 * ID, after, ID))))
        return sq_fail(SQ_EFIELD);
    struct users *u = calloc(1, sizeof *u);
    if (!u)
        return sq_fail(SQ_ENOMEM);
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_user_list(db, has_after ? after : NULL, (int)limit, take_user, u);
    db_unlock(a->r);
    json_t *data = json_array();
    for (size_t i = 0; i < u->n && !e; i++)
        json_array_append_new(data, account_json(a->r, &u->row[i]));
    a->n_row = u->n;
    a->answer = json_pack("{s:o, s:o}", "data", data, "next", u->n == (size_t)limit ? view_id(u->row[u->n - 1].id) : json_null());
    free(u);
    return e;
}

sq_err api_admin_find(struct api *a)
{
    struct sq_db_user user;
    const char *name = body_text(a, "name", 256);
    sq_err e = name ? user_by_name(a->r, name, &user) : sq_fail(SQ_EFIELD);
    if (e)
        return e;
    memcpy(a->object, user.id, ID);
    a->answer = account_json(a->r, &user);
    return SQ_OK;
}

sq_err api_admin_user(struct api *a)
{
    struct sq_db_user user;
    sq_err e = user_by_hex(a, a->param, &user);
    if (!e)
        a->answer = account_json(a->r, &user);
    return e;
}

/* ---- changing one ---- */

/* One who can still act must stay of those who keep the service: operators and security officers. Called after the change, in its transaction. */
static sq_err keeps_one(struct tx *tx, const struct sq_db_user *was)
{
    int64_t n = 0;
    if (was->role != SQ_DB_role_operator && was->role != SQ_DB_role_security)
        return SQ_OK;
    sq_err e = sq_db_user_count_able(tx->db, was->role, sq_clock_now_s(), &n);
    return !e && !n && user_is_able(was) ? sq_fail(SQ_ELAST) : e;
}

static uint64_t n_words(const char *list)
{
    uint64_t n = *list != 0;
    for (; *list; list++)
        n += *list == ',';
    return n;
}

sq_err account_networks(const json_t *networks, struct account_change *x, struct sq_why *why)
{
    const char *each[SQ_CIDR_LIST_MAX];
    const json_t *one;
    size_t i;
    x->set_networks = networks != NULL;
    if (networks && (!json_is_array(networks) || json_array_size(networks) > SQ_CIDR_LIST_MAX))
        return sq_why_set(why, SQ_EFIELD, 0, 0, "networks", "must be a list of at most %d networks, as [\"192.0.2.0/24\"]; empty: anywhere", SQ_CIDR_LIST_MAX);
    json_array_foreach(networks, i, one) {
        each[i] = json_string_value(one);
        if (!each[i] || strlen(each[i]) != json_string_length(one))
            return sq_why_set(why, SQ_EFIELD, 0, 0, "networks", "must be texts like 192.0.2.0/24");
    }
    return sq_cidr_list_write(each, json_array_size(networks), x->networks, why);
}

sq_err tx_account_change(struct tx *tx, void *ctx)
{
    struct account_change *x = ctx;
    struct sq_db_user now = x->user;
    int64_t epoch, n = 0;
    sq_err e = sq_db_user_get(tx->db, x->user.id, &now);
    bool ends = x->revoke || (x->set_disabled && x->is_disabled) || (x->role && x->role != now.role);
    if (!e && x->set_disabled)
        e = sq_db_user_set_disabled(tx->db, now.id, x->is_disabled);
    if (!e && x->set_disabled)
        e = tx_event(tx, &(struct event){.no = x->is_disabled ? SQ_AUDIT_user_disabled : SQ_AUDIT_user_enabled, .by = x->by, .subject = now.id});
    if (!e && x->set_expires)
        e = sq_db_user_set_expires(tx->db, now.id, x->expires_s);
    if (!e && x->set_expires)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_user_expires, .by = x->by, .subject = now.id, .a = (uint64_t)x->expires_s});
    if (!e && x->set_networks)
        e = sq_db_user_set_networks(tx->db, now.id, x->networks);
    if (!e && x->set_networks)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_user_networks, .by = x->by, .subject = now.id, .a = n_words(x->networks)});
    if (!e && x->role && x->role != now.role)
        e = sq_db_user_set_role(tx->db, now.id, x->role);
    if (!e && x->role && x->role != now.role)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_role_changed, .by = x->by, .subject = now.id, .a = (uint64_t)now.role, .b = (uint64_t)x->role});
    if (!e && x->reset_factors)
        e = sq_db_factor_delete_kind(tx->db, now.id, 0, &n);
    if (!e && x->reset_factors)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_factors_reset, .by = x->by, .subject = now.id, .a = (uint64_t)n});
    bool is_mailed = x->reset_factors && !is_zero(x->link.id);
    if (!e && is_mailed)
        e = sq_db_link_insert(tx->db, &x->link);
    if (!e && x->reset_factors)
        e = tx_account_notice(tx, is_mailed ? SQ_DB_notice_kind_factors_reset : SQ_DB_notice_kind_factor_changed, now.id, is_mailed ? x->link.id : NULL);
    if (!e && ends)
        e = sq_db_user_next_epoch(tx->db, now.id, &epoch);
    if (!e && ends)
        e = sq_db_token_revoke_all(tx->db, now.id, sq_clock_now_s(), &x->n);
    if (!e && ends)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_tokens_revoked, .by = x->by, .subject = now.id, .a = (uint64_t)x->n});
    return e || x->is_local ? e : keeps_one(tx, &now);
}

sq_err account_change(struct registrar *r, struct account_change *x)
{
    sq_err e = x->reset_factors ? factors_reset_begin(r, &x->user, &x->link) : SQ_OK;
    if (!e)
        e = sq_fault("account.change");
    if (!e)
        e = commit(r, tx_account_change, x);
    if (!e && (x->revoke || x->role || x->set_networks || (x->set_disabled && x->is_disabled)))
        streams_stop(r, x->user.id);
    return e ? e : user_load(r, x->user.id, &x->user);
}

/* An operator looks after users; who has more rights than they is the security officer's. */
static sq_err may_change(struct api *a, const struct sq_db_user *user)
{
    if (a->caller.role == SQ_DB_role_security || user->role == SQ_DB_role_user)
        return SQ_OK;
    sq_err e = record(a->r, &(struct event){.no = SQ_AUDIT_denied, .result = SQ_EDENIED, .by = &a->caller, .subject = user->id, .a = a->route->route});
    return e ? e : sq_fail(SQ_EDENIED);
}

static sq_err begin_change(struct api *a, struct account_change *x)
{
    x->by = &a->caller;
    a->is_audited = true;
    sq_err e = user_by_hex(a, a->param, &x->user);
    return e ? e : may_change(a, &x->user);
}

static sq_err answer_change(struct api *a, struct account_change *x, sq_err e)
{
    if (!e)
        e = account_change(a->r, x);
    if (!e)
        a->answer = account_json(a->r, &x->user);
    return e;
}

static sq_err refuse_text(struct api *a, const char *field, const char *what)
{
    a->why = &a->why_store;
    return sq_why_set(&a->why_store, SQ_EFIELD, 0, 0, field, "%s", what);
}

sq_err api_admin_user_set(struct api *a)
{
    struct account_change x = {.n = 0};
    json_t *disabled = json_object_get(a->body, "disabled"), *expires = json_object_get(a->body, "expires"), *networks = json_object_get(a->body, "networks");
    sq_err e = begin_change(a, &x);
    if (!e && !disabled && !expires && !networks)
        e = refuse_text(a, "disabled", "or expires or networks must be there");
    if (!e && disabled && !json_is_boolean(disabled))
        e = refuse_text(a, "disabled", "must be true or false");
    if (!e && expires && !json_is_null(expires) && (!json_is_string(expires) || !sq_clock_read(json_string_value(expires), &x.expires_s)))
        e = refuse_text(a, "expires", "must be a time like 2027-01-31T00:00:00Z, or null for no end");
    if (!e && (e = account_networks(networks, &x, &a->why_store)))
        a->why = &a->why_store;
    x.set_disabled = disabled != NULL;
    x.is_disabled = json_is_true(disabled);
    x.set_expires = expires != NULL;
    return answer_change(a, &x, e);
}

sq_err api_admin_user_role(struct api *a)
{
    struct account_change x = {.n = 0};
    const char *role = body_text(a, "role", 32);
    sq_err e = role ? begin_change(a, &x) : sq_fail(SQ_EFIELD);
    x.role = role ? sq_db_named(SQ_DB_role, role) : 0;
    if (!e && !x.role)
        e = refuse_text(a, "role", "must be user, operator, security, auditor or support");
    return answer_change(a, &x, e);
}

sq_err api_admin_user_revoke(struct api *a)
{
    struct account_change x = {.revoke = true};
    sq_err e = begin_change(a, &x);
    if (!e)
        e = account_change(a->r, &x);
    a->answer = json_pack("{s:I}", "revoked", (json_int_t)x.n);
    return e;
}

sq_err api_admin_factors_reset(struct api *a)
{
    struct account_change x = {.reset_factors = true, .revoke = true};
    return answer_change(a, &x, begin_change(a, &x));
}

struct everybody {
    const struct caller *by;
    int64_t n;
};

static sq_err tx_everybody(struct tx *tx, void *ctx)
{
    struct everybody *x = ctx;
    sq_err e = sq_db_users_next_epoch(tx->db);
    if (!e)
        e = sq_db_token_revoke_all(tx->db, NULL, sq_clock_now_s(), &x->n);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_tokens_revoked, .by = x->by, .a = (uint64_t)x->n});
}

sq_err revoke_everybody(struct registrar *r, const struct caller *by, int64_t *out_n)
{
    struct everybody x = {.by = by};
    sq_err e = commit(r, tx_everybody, &x);
    if (!e)
        streams_stop(r, NULL);
    *out_n = x.n;
    return e;
}

sq_err api_admin_revoke(struct api *a)
{
    int64_t n = 0;
    sq_err e = revoke_everybody(a->r, &a->caller, &n);
    a->is_audited = true;
    a->answer = json_pack("{s:I}", "revoked", (json_int_t)n);
    return e;
}

/* ---- a new account: a mail with a link to choose the password, which nobody else gets to know ---- */

sq_err api_admin_user_add(struct api *a)
{
    struct sq_db_user row, other;
    const char *name = body_text(a, "name", 200), *mail = name ? body_text(a, "mail", SQ_MAIL_MAX_BYTES) : NULL, *role = mail ? body_text(a, "role", 32) : NULL;
    const char *smtp = sq_node_setting(a->r->node, "smtp_url");
    if (!role)
        return sq_fail(SQ_EFIELD);
    int no = sq_db_named(SQ_DB_role, role);
    if (!no)
        return refuse_text(a, "role", "must be user, operator, security, auditor or support");
    if (!smtp || !*smtp)
        return refuse_text(a, "mail", "can't be written to: this server sends no mail; sequester admin user add makes an account with a password");
    a->is_audited = true;
    if (no != SQ_DB_role_user && a->caller.role != SQ_DB_role_security) {
        sq_err e = record(a->r, &(struct event){.no = SQ_AUDIT_denied, .result = SQ_EDENIED, .by = &a->caller, .subject = a->caller.user, .a = a->route->route});
        return e ? e : sq_fail(SQ_EDENIED);
    }
    sq_err e = sq_mail_check(mail, &a->why_store);
    if (e)
        a->why = &a->why_store;
    for (int i = 0; i < 2 && !e; i++) {
        sq_err found = user_by_name(a->r, i ? mail : name, &other);
        e = found == SQ_ENOTFOUND ? SQ_OK : found ? found : sq_fail(SQ_EEXISTS);
    }
    if (!e)
        e = user_prepare(a->r, name, mail, no, &row);
    if (!e)
        e = user_invite(a->r, &a->caller, &row, true, INVITED_S);
    if (e)
        return e;
    a->status = 201;
    char hex[2 * ID + 1];
    sq_hex(row.id, ID, hex);
    snprintf(a->location, sizeof a->location, "/api/v1/admin/users/%s", hex);
    a->answer = account_json(a->r, &row);
    return SQ_OK;
}

/* ---- the service ---- */

sq_err api_admin_status(struct api *a)
{
    struct admin x = {.r = a->r};
    sq_err e = admin_status(&x);
    a->answer = x.answer;
    return e;
}

static sq_err add_job(void *ctx, const struct sq_db_job *j)
{
    json_t *one = json_pack("{s:s, s:o, s:s, s:s, s:o, s:o, s:o, s:o}", "id", j->id, "owner", view_id(j->owner_id), "state", sq_db_name(SQ_DB_job_state, j->state), "code",
                            sq_err_name(sq_err_from_no(j->why.err)), "created", view_time(j->created_s), "started", view_time(j->started_s), "finished",
                            view_time(j->finished_s), "expires", view_time(j->expires_s));
    return json_array_append_new(ctx, one) ? sq_fail(SQ_ENOMEM) : SQ_OK;
}

sq_err api_admin_jobs(struct api *a)
{
    int64_t limit = query_number(a->query, "limit", 50, PAGE);
    char before[SQ_DB_JOB_ID_BYTES];
    bool has_before = query_text(a->query, "before", before, sizeof before);
    if (limit < 1)
        return sq_fail(SQ_EFIELD);
    json_t *data = json_array();
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_job_list(db, NULL, 0, has_before ? before : NULL, (int)limit, add_job, data);
    db_unlock(a->r);
    a->n_row = json_array_size(data);
    const char *last = a->n_row == (size_t)limit ? json_string_value(json_object_get(json_array_get(data, a->n_row - 1), "id")) : NULL;
    a->answer = json_pack("{s:o, s:o}", "data", data, "next", last ? json_string(last) : json_null());
    return e;
}
