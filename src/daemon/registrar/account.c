/* Accounts and what everyone may ask: who am I, the server, its panels, the audit log about me. */
#include "daemon/registrar/registrar.h"

#include "lib/core/address.h"
#include "lib/identity/identity.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- accounts ---- */

sq_err lookup(struct registrar *r, const char *name, uint8_t out[32])
{
    char folded[257];
    size_t n = strlen(name);
    if (n >= sizeof folded)
        return sq_fail(SQ_EFIELD);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f)
            return sq_fail(SQ_EFIELD);
    for (size_t i = 0; i <= n; i++)
        folded[i] = (char)tolower((unsigned char)name[i]);
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(lookup, .text = sq_span_str(folded)), m;
    sq_err e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e)
        memcpy(out, m.u.lookup_is.hmac, 32);
    sq_packet_free(pkt);
    return e;
}

sq_err user_by_name(struct registrar *r, const char *name, struct sq_db_user *out)
{
    uint8_t hmac[32];
    sq_err e = lookup(r, name, hmac);
    if (e)
        return e;
    struct sq_db *db = db_lock(r);
    e = sq_db_user_by_name(db, hmac, out);
    if (e == SQ_ENOTFOUND)
        e = sq_db_user_by_mail(db, hmac, out);
    db_unlock(r);
    return e;
}

struct adding {
    struct sq_db_user row;
    const struct caller *by;
};

static sq_err tx_add(struct tx *tx, void *ctx)
{
    struct adding *x = ctx;
    sq_err e = sq_db_user_insert(tx->db, &x->row);
    return e ? e : tx_event(tx, &(struct event){.no = x->row.role == SQ_DB_role_user ? SQ_AUDIT_user_created : SQ_AUDIT_operator_created, .by = x->by, .subject = x->row.id});
}

sq_err address_is_free(struct sq_db *db, const uint8_t hmac[32], const uint8_t user[ID])
{
    struct sq_db_user other;
    sq_err e = sq_db_user_by_name(db, hmac, &other);
    if (e == SQ_ENOTFOUND || (!e && !memcmp(other.id, user, ID)))
        e = sq_db_user_by_mail(db, hmac, &other);
    return e == SQ_ENOTFOUND || (!e && !memcmp(other.id, user, ID)) ? SQ_OK : e ? e : sq_fail(SQ_EEXISTS);
}

/* Somebody has asked for an account with this address, and no code has come back: he has shown nothing. */
static bool is_unconfirmed(const struct sq_db_user *u, const uint8_t hmac[32])
{
    return u->is_pending && u->has_mail_hmac && sq_equal_ct(u->mail_hmac, hmac, 32) && sq_equal_ct(u->name_hmac, hmac, 32);
}

sq_err address_may_move(struct sq_db *db, const uint8_t hmac[32], const uint8_t user[ID], struct sq_db_user *out_before)
{
    sq_err e = address_is_free(db, hmac, user);
    out_before->is_pending = false;
    if (e != SQ_EEXISTS)
        return e;
    e = sq_db_user_by_name(db, hmac, out_before);
    if (!e && is_unconfirmed(out_before, hmac))
        return SQ_OK;
    out_before->is_pending = false;
    return e && e != SQ_ENOTFOUND ? e : sq_fail(SQ_EEXISTS);
}

static sq_err is_free(struct registrar *r, const uint8_t hmac[32])
{
    struct sq_db *db = db_lock(r);
    sq_err e = address_is_free(db, hmac, no_id);
    db_unlock(r);
    return e;
}

sq_err user_add(struct registrar *r, const struct caller *by, const char *name, int role, struct sq_span password, const char *mail, struct sq_why *why, uint8_t out_id[ID])
{
    struct adding x = {.by = by, .row = {.role = role, .epoch = 1, .created_s = sq_clock_now_s(), .is_notified = true}};
    struct sq_span text = sq_span_str(name);
    sq_err e = password_choose(r, password, name, mail, why);
    if (!e && mail) /* before anything is made */
        e = sq_mail_check(mail, why);
    if (!e)
        e = lookup(r, name, x.row.name_hmac);
    if (!e && mail) {
        x.row.has_mail_hmac = true;
        e = lookup(r, mail, x.row.mail_hmac);
    }
    if (!e) /* before anything is made: a second account of this name or address leaves nothing behind */
        e = is_free(r, x.row.name_hmac);
    if (!e && mail)
        e = is_free(r, x.row.mail_hmac);
    if (!e)
        e = id_new(x.row.id);
    struct sq_msg owner = sq_msg_bare(owner_create);
    memcpy(owner.u.owner_create.owner_id, x.row.id, ID);
    if (!e)
        e = keeper_do(r, &owner);
    if (!e)
        e = fields_seal(r, x.row.id, &text, 1, &x.row.name_sealed);
    if (!e && mail)
        e = mail_seal(r, x.row.id, no_id, mail, &x.row.mail_sealed, why);
    if (!e)
        e = password_hash(r, x.row.id, no_id, password, &x.row.password_sealed);
    if (!e)
        e = commit(r, tx_add, &x);
    if (!e)
        memcpy(out_id, x.row.id, ID);
    return e;
}

/* ---- who am I ---- */

sq_err api_me(struct api *a)
{
    struct sq_db_user user;
    struct sq_db_token token;
    struct opened o = {.n = 0};
    int64_t n = 0;
    uint64_t live = 0;
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_user_get(db, a->caller.user, &user);
    if (!e)
        e = sq_db_token_get(db, a->caller.jti, &token);
    if (!e)
        e = sq_db_object_count(db, a->caller.user, SQ_DB_object_state_live, &n, &live);
    db_unlock(a->r);
    const struct sq_db_sealed *name = &user.name_sealed;
    if (!e)
        e = fields_open(a->r, &a->caller, &name, 1, &o);
    if (!e) {
        a->answer = json_pack("{s:o, s:s, s:s, s:o, s:I, s:I, s:I}", "id", view_id(user.id), "name", o.at[0], "role", sq_db_name(SQ_DB_role, user.role), "token_expires",
                              view_time(token.expires_s), "objects", (json_int_t)n, "bytes", (json_int_t)live, "quota", (json_int_t)a->r->quota_bytes);
    }
    opened_done(&o);
    return e;
}

/* ---- the audit log about me, about a job ---- */

#define PAGE 100
struct history {
    struct registrar *r;
    uint64_t no[PAGE];
    size_t n;
    json_t *out;
};

static sq_err take_no(void *ctx, uint64_t no)
{
    struct history *h = ctx;
    if (h->n < PAGE)
        h->no[h->n++] = no;
    return SQ_OK;
}

static sq_err add_entry(void *ctx, const struct sq_audit_entry *entry, struct sq_span bytes)
{
    (void)bytes;
    struct history *h = ctx;
    struct sq_buf line;
    sq_buf_init(&line, 0);
    sq_err e = sq_audit_entry_print(entry, true, &line);
    json_t *j = e ? NULL : json_loadb((const char *)line.p, line.n, 0, NULL);
    if (!e && (!j || json_array_append_new(h->out, j)))
        e = sq_fail(SQ_EINTERNAL);
    sq_buf_done(&line);
    return e;
}

static sq_err history(struct api *a, const uint8_t *object)
{
    int64_t limit = query_number(a->query, "limit", 50, PAGE), before = query_number(a->query, "before", 0, INT64_MAX);
    if (limit < 1 || before < 0)
        return sq_fail(SQ_EFIELD);
    struct history h = {.r = a->r, .out = json_array()};
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_audit_refs(db, a->caller.user, object, (uint64_t)before, (int)limit, take_no, &h);
    for (size_t i = 0; i < h.n && !e; i++)
        e = sq_audit_read(a->r->log, h.no[i], 1, add_entry, &h);
    db_unlock(a->r);
    if (e) {
        json_decref(h.out);
        return e;
    }
    a->n_row = h.n;
    a->answer = json_pack("{s:o, s:o}", "data", h.out, "next", h.n == (size_t)limit ? json_integer((json_int_t)h.no[h.n - 1]) : json_null());
    return SQ_OK;
}

/* The whole log, as auditors read it: what is sealed in it stays sealed. */
sq_err api_admin_audit(struct api *a)
{
    uint64_t size = sq_audit_size(a->r->log);
    int64_t limit = query_number(a->query, "limit", 50, PAGE), before = query_number(a->query, "before", 0, INT64_MAX);
    if (limit < 1 || before < 0)
        return sq_fail(SQ_EFIELD);
    uint64_t to = before && (uint64_t)before <= size ? (uint64_t)before - 1 : size, from = to > (uint64_t)limit ? to - (uint64_t)limit + 1 : 1;
    struct history h = {.r = a->r, .out = json_array()};
    db_lock(a->r);
    sq_err e = SQ_OK;
    for (uint64_t no = to; no >= from && no && !e; no--)
        e = sq_audit_read(a->r->log, no, 1, add_entry, &h);
    db_unlock(a->r);
    if (e) {
        json_decref(h.out);
        return e;
    }
    a->is_audited = true;
    e = record(a->r, &(struct event){.no = SQ_AUDIT_audit_read, .by = &a->caller, .subject = a->caller.user, .a = from, .b = to >= from ? to - from + 1 : 0});
    a->answer = json_pack("{s:o, s:o}", "data", h.out, "next", from > 1 ? json_integer((json_int_t)from) : json_null());
    return e;
}

sq_err api_me_audit(struct api *a)
{
    return history(a, NULL);
}

sq_err api_job_audit(struct api *a)
{
    struct sq_db_job job;
    sq_err e = job_by_param(a, &job);
    return e ? e : history(a, a->object);
}

/* ---- the server ---- */

sq_err api_health(struct api *a)
{
    bool is_unsealed = false;
    uint64_t size;
    sq_err e = keeper_learn(a->r, &is_unsealed, &size);
    bool is_up = !e && is_unsealed && has_recovered(a->r);
    a->status = is_up ? 200 : 503;
    a->retry_after_s = is_up ? 0 : 5;
    a->answer = json_pack("{s:s}", "state", is_up ? "up" : !e && !is_unsealed ? "sealed" : "starting");
    return SQ_OK;
}

sq_err api_server(struct api *a)
{
    const struct registrar *r = a->r;
    bool is_unsealed = false;
    uint64_t size;
    sq_err e = keeper_learn(a->r, &is_unsealed, &size);
    a->answer = json_pack("{s:s, s:s, s:s, s:s, s:{s:I, s:I, s:I, s:I}, s:{s:I, s:I}}", "name", "sequester", "version", SQ_VERSION, "state",
                          e ? "starting" : is_unsealed ? "up" : "sealed", "seal_to", sq_node_setting(r->node, "seal_to"), "limits", "upload_bytes", (json_int_t)r->upload_max_bytes, "samples", (json_int_t)r->max_samples,
                          "variants", (json_int_t)r->max_variants, "jobs_at_once", (json_int_t)r->jobs_per_user, "retention", "result_days",
                          (json_int_t)(r->retention_s / SQ_DAY_S), "upload_hours", (json_int_t)(r->upload_life_s / 3600));
    return SQ_OK;
}

sq_err api_checkpoint(struct api *a)
{
    struct registrar *r = a->r;
    uint8_t public_key[32];
    char vkey[SQ_VKEY_BYTES], receipt_vkey[SQ_VKEY_BYTES], receipt_name[160];
    pthread_mutex_lock(&r->key_lock);
    memcpy(public_key, r->note_public, sizeof public_key);
    pthread_mutex_unlock(&r->key_lock);
    snprintf(receipt_name, sizeof receipt_name, "%s/receipt", r->origin);
    sq_err e = sq_vkey_encode(r->origin, public_key, vkey);
    if (!e)
        e = sq_vkey_encode(receipt_name, public_key, receipt_vkey);
    struct sq_buf note, changes;
    sq_buf_init(&note, 0);
    sq_buf_init(&changes, SQ_KEY_CHANGES_MAX_BYTES);
    db_lock(r);
    if (!e)
        e = sq_audit_keys(r->log, &changes);
    if (!e)
        e = sq_audit_checkpoint_last(r->log, &note);
    db_unlock(r);
    if (!e || e == SQ_ENOTFOUND)
        a->answer = json_pack("{s:s, s:s, s:o, s:o}", "vkey", vkey, "receipt_vkey", receipt_vkey, "checkpoint", e ? json_null() : json_stringn((const char *)note.p, note.n), "key_changes",
                              changes.n ? json_stringn((const char *)changes.p, changes.n) : json_null());
    sq_buf_done(&note);
    sq_buf_done(&changes);
    return e == SQ_ENOTFOUND ? SQ_OK : e;
}

static sq_err add_panel(void *ctx, const struct sq_db_panel *p)
{
    json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:s}", "id", p->id, "name", p->name, "build", p->build, "chromosome", p->chrom, "samples",
                          (json_int_t)p->samples, "haplotypes", (json_int_t)p->haplotypes, "sites", (json_int_t)p->sites, "first_bp", (json_int_t)p->first_bp, "last_bp", (json_int_t)p->last_bp, "populations", p->populations);
    return json_array_append_new(ctx, j) ? sq_fail(SQ_ENOMEM) : SQ_OK;
}

sq_err api_panels(struct api *a)
{
    json_t *data = json_array();
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_panel_list(db, false, add_panel, data);
    db_unlock(a->r);
    a->n_row = json_array_size(data);
    a->answer = json_pack("{s:o}", "data", data);
    return e;
}

/* ---- refused before they reached us: counted ---- */

void on_refused(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    (void)ask;
    struct registrar *r = ctx;
    char address[65];
    uint8_t request[8] = {0};
    struct caller nobody;
    if (!has_recovered(r) || sq_span_copy(m->u.refused.address, address, sizeof address))
        return;
    sq_err e = caller_nobody(r, address, request, &nobody);
    if (!e)
        e = record(r, &(struct event){.no = SQ_AUDIT_failures_counted, .by = &nobody, .a = m->u.refused.n, .b = (uint64_t)sq_clock_now_s() / 60});
    (void)e; /* counted again with the next minute's */
}
