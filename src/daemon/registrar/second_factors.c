/*
 * Second factors of an account: authenticator codes and recovery codes (passkeys.c: passkeys). keeper makes and checks them; here is which of them there
 * are, that each code is good once, and that a last one which is needed stays.
 */
#include "daemon/registrar/registrar.h"

#include "lib/identity/identity.h"
#include "lib/identity/totp.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_FACTORS 10 /* of one account, recovery codes aside */

/* From asking how many there are until keeper and the database say the same of it. */
static pthread_mutex_t marking = PTHREAD_MUTEX_INITIALIZER;

struct factors {
    struct sq_db_factor row[64];
    size_t n;
};

static sq_err take_factor(void *ctx, const struct sq_db_factor *row)
{
    struct factors *f = ctx;
    if (f->n < 64)
        f->row[f->n++] = *row;
    return SQ_OK;
}

static sq_err load(struct registrar *r, const uint8_t user[ID], int kind, int state, struct factors *out)
{
    out->n = 0;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_factor_list(db, user, kind, state, take_factor, out);
    db_unlock(r);
    return e;
}

sq_err factor_count(struct registrar *r, const uint8_t user[ID], int64_t *out_n)
{
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_factor_count(db, user, 0, out_n);
    db_unlock(r);
    return e;
}

/* ---- checking ---- */

struct using {
    const struct caller *by;
    struct sq_db_factor row;
    int64_t counter, n_left;
};

static sq_err tx_use(struct tx *tx, void *ctx)
{
    struct using *x = ctx;
    if (x->row.kind != SQ_DB_factor_kind_recovery) {
        sq_err e = sq_db_factor_used(tx->db, x->row.id, x->counter, sq_clock_now_s());
        return e == SQ_ECONFLICT ? sq_fail(SQ_ECODE) : e; /* used meanwhile */
    }
    sq_err e = sq_db_factor_delete(tx->db, x->row.id);
    if (e == SQ_ENOTFOUND)
        return sq_fail(SQ_ECODE);
    if (!e)
        e = sq_db_factor_count(tx->db, x->row.user_id, SQ_DB_factor_kind_recovery, &x->n_left);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_recovery_used, .by = x->by, .subject = x->row.user_id, .a = (uint64_t)x->n_left});
}

static sq_err ask_totp(struct registrar *r, const struct sq_db_factor *f, const char *code, const uint8_t before[ID], uint8_t out_proof[ID], int64_t *out_step)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(totp_check, .sealed = sq_span_of(f->secret_sealed.p, f->secret_sealed.n), .code = sq_span_str(code), .counter = (uint64_t)f->counter), m;
    memcpy(ask.u.totp_check.owner_id, f->user_id, ID);
    memcpy(ask.u.totp_check.factor_id, f->id, ID);
    memcpy(ask.u.totp_check.proof, before, ID);
    sq_err e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e) {
        memcpy(out_proof, m.u.factor_is.proof, ID);
        *out_step = (int64_t)m.u.factor_is.counter;
    }
    sq_packet_free(pkt);
    return e;
}

/* Any of his authenticators may have made it. */
static sq_err try_totp(struct registrar *r, struct using *x, const uint8_t user[ID], const char *code, const uint8_t before[ID], uint8_t out_proof[ID])
{
    struct factors *f = calloc(1, sizeof *f);
    sq_err e = f ? load(r, user, SQ_DB_factor_kind_totp, SQ_DB_factor_state_live, f) : sq_fail(SQ_ENOMEM);
    sq_err found = SQ_ECODE;
    for (size_t i = 0; !e && found == SQ_ECODE && i < f->n; i++) {
        x->row = f->row[i];
        found = ask_totp(r, &f->row[i], code, before, out_proof, &x->counter);
    }
    free(f);
    return e ? e : found ? sq_fail(found) : SQ_OK;
}

static sq_err try_recovery(struct registrar *r, struct using *x, const uint8_t user[ID], const char *code, const uint8_t before[ID], uint8_t out_proof[ID])
{
    uint8_t hashes[SQ_RECOVERY_CODES * SQ_SHA256_BYTES];
    size_t n = 0;
    struct factors *f = calloc(1, sizeof *f);
    struct sq_packet *pkt = sq_packet_new();
    sq_err e = f && pkt ? load(r, user, SQ_DB_factor_kind_recovery, SQ_DB_factor_state_live, f) : sq_fail(SQ_ENOMEM);
    for (; !e && n < f->n && n < SQ_RECOVERY_CODES; n++)
        memcpy(hashes + n * SQ_SHA256_BYTES, f->row[n].secret_sealed.p, SQ_SHA256_BYTES);
    struct sq_msg ask = sq_msg_of(recovery_check, .hashes = sq_span_of(hashes, n * SQ_SHA256_BYTES), .code = sq_span_str(code)), m;
    memcpy(ask.u.recovery_check.owner_id, user, ID);
    memcpy(ask.u.recovery_check.proof, before, ID);
    if (!e)
        e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e && m.u.factor_is.counter >= n)
        e = sq_fail(SQ_EPROTO);
    if (!e) {
        x->row = f->row[m.u.factor_is.counter];
        memcpy(out_proof, m.u.factor_is.proof, ID);
    }
    sq_packet_free(pkt);
    free(f);
    return e;
}

sq_err factor_check(struct registrar *r, const struct caller *c, const struct sq_db_user *user, const char *code, const uint8_t before[ID], uint8_t out_proof[ID])
{
    struct using x = {.by = c};
    bool is_totp = strlen(code) == SQ_TOTP_DIGITS && strspn(code, "0123456789") == SQ_TOTP_DIGITS;
    sq_err e = factor_may_try(r, c, user);
    if (e)
        return e;
    if (strlen(code) > 64)
        e = sq_fail(SQ_ECODE);
    else
        e = is_totp ? try_totp(r, &x, user->id, code, before, out_proof) : try_recovery(r, &x, user->id, code, before, out_proof);
    if (!e)
        e = sq_fault("factor.checked");
    if (!e)
        e = commit(r, tx_use, &x);
    sq_err kept = factor_tried(r, c, user, e);
    return e ? e : kept;
}

sq_err second_factor(struct api *a, const struct sq_db_user *user, const uint8_t context[ID], const uint8_t before[ID], uint8_t out_proof[ID])
{
    if (json_object_get(a->body, "passkey"))
        return passkey_check(a, user, context, before, out_proof);
    if (!json_object_get(a->body, "code"))
        return sq_fail(SQ_ENEEDCODE);
    const char *code = body_text(a, "code", 64);
    return code ? factor_check(a->r, &a->caller, user, code, before, out_proof) : sq_fail(SQ_EFIELD);
}

/* ---- adding ---- */

sq_err factor_has_room(struct registrar *r, const uint8_t user[ID])
{
    int64_t n = 0;
    sq_err e = factor_count(r, user, &n);
    return !e && n >= MAX_FACTORS ? sq_fail(SQ_ECONFLICT) : e;
}

static sq_err put_in(struct tx *tx, void *ctx)
{
    const struct sq_db_factor *row = ctx;
    return sq_db_factor_insert(tx->db, row);
}

/* otpauth://totp/SITE:NAME?secret=...&issuer=SITE; what isn't unreserved (RFC 3986) is percent-encoded */
static sq_err add_encoded(struct sq_buf *out, const char *text)
{
    sq_err e = SQ_OK;
    for (const unsigned char *p = (const unsigned char *)text; *p && !e; p++)
        e = isalnum(*p) || strchr("-._~", *p) ? sq_buf_add(out, p, 1) : sq_buf_addf(out, "%%%02X", *p);
    return e;
}

static sq_err uri_of(const struct registrar *r, const char *name, const char *secret, bool is_sha256, struct sq_buf *out)
{
    sq_err e = sq_buf_addf(out, "otpauth://totp/");
    if (!e)
        e = add_encoded(out, r->origin);
    if (!e)
        e = sq_buf_addf(out, ":");
    if (!e)
        e = add_encoded(out, name);
    if (!e)
        e = sq_buf_addf(out, "?secret=%s&issuer=", secret);
    if (!e)
        e = add_encoded(out, r->origin);
    return e ? e : sq_buf_addf(out, "&algorithm=%s&digits=6&period=30", is_sha256 ? "SHA256" : "SHA1");
}

static sq_err make_totp(struct api *a, struct sq_db_factor *row, const uint8_t proof[ID], const char *account)
{
    struct sq_packet *pkt = sq_packet_new();
    struct sq_buf uri;
    sq_buf_init(&uri, 2048);
    struct sq_msg ask = sq_msg_bare(totp_make), m;
    memcpy(ask.u.totp_make.owner_id, row->user_id, ID);
    memcpy(ask.u.totp_make.factor_id, row->id, ID);
    memcpy(ask.u.totp_make.proof, proof, ID);
    char secret[65] = "";
    sq_err e = pkt ? sq_node_call(a->r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = sq_span_copy(m.u.totp_is.secret, secret, sizeof secret);
    if (!e) {
        row->secret_sealed.n = (uint16_t)m.u.totp_is.sealed.n;
        memcpy(row->secret_sealed.p, m.u.totp_is.sealed.p, m.u.totp_is.sealed.n);
        e = uri_of(a->r, account, secret, m.u.totp_is.is_sha256 != 0, &uri);
    }
    if (!e)
        e = commit(a->r, put_in, row);
    if (!e)
        a->answer = json_pack("{s:o, s:s, s:s}", "id", view_id(row->id), "secret", secret, "uri", (const char *)uri.p);
    sq_wipe(secret, sizeof secret);
    sq_packet_free(pkt);
    sq_buf_done(&uri);
    return e;
}

sq_err api_totp_begin(struct api *a)
{
    struct sq_db_user user;
    uint8_t proof[ID];
    const char *name = json_object_get(a->body, "name") ? body_text(a, "name", 100) : "authenticator";
    sq_err e = name ? reauthenticate(a, "password", &user, proof) : sq_fail(SQ_EFIELD);
    if (!e)
        e = factor_has_room(a->r, a->caller.user);
    struct sq_db_factor row = {.kind = SQ_DB_factor_kind_totp, .state = SQ_DB_factor_state_begun, .created_s = sq_clock_now_s()};
    struct sq_span text = sq_span_str(name);
    struct opened o = {.n = 0};
    const struct sq_db_sealed *account = &user.name_sealed;
    memcpy(row.user_id, a->caller.user, ID);
    if (!e)
        e = id_new(row.id);
    if (!e)
        e = fields_seal(a->r, row.user_id, &text, 1, &row.name_sealed);
    if (!e)
        e = fields_open(a->r, &a->caller, &account, 1, &o);
    if (!e)
        e = make_totp(a, &row, proof, o.at[0]);
    opened_done(&o);
    return e;
}

struct adding {
    const struct caller *by;
    struct sq_db_factor row;
    bool is_new; /* no row yet */
    uint8_t hashes[SQ_RECOVERY_CODES][SQ_SHA256_BYTES];
    size_t n_hash;
};

static sq_err tx_recovery(struct tx *tx, const struct caller *by, const uint8_t (*hashes)[SQ_SHA256_BYTES], size_t n)
{
    int64_t gone;
    sq_err e = sq_db_factor_delete_kind(tx->db, by->user, SQ_DB_factor_kind_recovery, &gone);
    for (size_t i = 0; i < n && !e; i++) {
        struct sq_db_factor row = {.kind = SQ_DB_factor_kind_recovery, .state = SQ_DB_factor_state_live, .created_s = sq_clock_now_s()};
        memcpy(row.user_id, by->user, ID);
        row.secret_sealed.n = SQ_SHA256_BYTES;
        memcpy(row.secret_sealed.p, hashes[i], SQ_SHA256_BYTES);
        e = id_new(row.id);
        if (!e)
            e = sq_db_factor_insert(tx->db, &row);
    }
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_recovery_made, .by = by, .subject = by->user, .a = n});
}

static sq_err tx_added(struct tx *tx, void *ctx)
{
    struct adding *x = ctx;
    int64_t n = 0;
    sq_err e = x->is_new ? sq_db_factor_insert(tx->db, &x->row) : sq_db_factor_live(tx->db, x->row.id, x->row.counter, sq_clock_now_s());
    if (!e)
        e = sq_db_factor_count(tx->db, x->row.user_id, 0, &n);
    if (!e && n > MAX_FACTORS)
        e = sq_fail(SQ_ECONFLICT);
    if (!e && n > 1)
        x->n_hash = 0; /* another one came first meanwhile, and its codes are the ones that were shown */
    if (!e)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_factor_added, .by = x->by, .subject = x->by->user, .object = x->row.id});
    if (!e && x->n_hash)
        e = tx_recovery(tx, x->by, (const uint8_t(*)[SQ_SHA256_BYTES])x->hashes, x->n_hash);
    return e ? e : tx_account_notice(tx, SQ_DB_notice_kind_factor_changed, x->by->user, NULL);
}

/* keeper's codes as a JSON list, and their hashes */
static sq_err make_recovery(struct registrar *r, const uint8_t owner[ID], const uint8_t proof[ID], uint8_t out[SQ_RECOVERY_CODES][SQ_SHA256_BYTES], size_t *out_n, json_t *list)
{
    struct sq_packet *pkt = sq_packet_new();
    struct sq_msg ask = sq_msg_bare(recovery_make), m;
    memcpy(ask.u.recovery_make.owner_id, owner, ID);
    memcpy(ask.u.recovery_make.proof, proof, ID);
    sq_err e = pkt ? sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m) : sq_fail(SQ_ENOMEM);
    if (!e && m.u.recovery_is.hashes.n != sizeof(uint8_t[SQ_RECOVERY_CODES][SQ_SHA256_BYTES]))
        e = sq_fail(SQ_EPROTO);
    if (!e) {
        memcpy(out, m.u.recovery_is.hashes.p, m.u.recovery_is.hashes.n);
        *out_n = SQ_RECOVERY_CODES;
        struct sq_span codes = m.u.recovery_is.codes;
        for (size_t at = 0; at < codes.n;) {
            const uint8_t *end = memchr(codes.p + at, '\n', codes.n - at);
            size_t n = end ? (size_t)(end - (codes.p + at)) : codes.n - at;
            json_array_append_new(list, json_stringn((const char *)codes.p + at, n));
            at += n + 1;
        }
    }
    sq_packet_free(pkt);
    return e;
}

static sq_err own_factor(struct api *a, const char *hex, struct sq_db_factor *out)
{
    uint8_t id[ID];
    if (!hex || strlen(hex) != 2 * ID || sq_hex_decode(hex, 2 * ID, id, ID))
        return sq_fail(SQ_ENOTFOUND);
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_factor_get(db, id, out);
    db_unlock(a->r);
    if (!e && memcmp(out->user_id, a->caller.user, ID)) {
        e = record(a->r, &(struct event){.no = SQ_AUDIT_denied, .result = SQ_ENOTFOUND, .by = &a->caller, .subject = out->user_id, .object = id, .a = a->route->route});
        return e ? e : sq_fail(SQ_ENOTFOUND);
    }
    return e || out->kind != SQ_DB_factor_kind_recovery ? e : sq_fail(SQ_ENOTFOUND);
}

sq_err factor_mark(struct registrar *r, const uint8_t user[ID])
{
    struct sq_msg m = sq_msg_bare(factor_needed);
    int64_t n = 0;
    memcpy(m.u.factor_needed.owner_id, user, ID);
    pthread_mutex_lock(&marking);
    sq_err e = factor_count(r, user, &n);
    if (!e && n)
        e = keeper_do(r, &m);
    pthread_mutex_unlock(&marking);
    return e;
}

sq_err factor_add(struct api *a, struct sq_db_factor *row, const uint8_t proof[ID], bool is_new)
{
    struct adding x = {.by = &a->caller, .row = *row, .is_new = is_new};
    int64_t n = 0;
    json_t *codes = json_array();
    sq_err e = factor_count(a->r, a->caller.user, &n);
    if (!e && !n)
        e = make_recovery(a->r, a->caller.user, proof, x.hashes, &x.n_hash, codes);
    if (!e)
        e = sq_fault("factor.add");
    if (!e)
        e = commit(a->r, tx_added, &x);
    if (!e)
        e = sq_fault("factor.mark");
    if (!e) {
        sq_err kept = factor_mark(a->r, a->caller.user);
        (void)kept; /* it is added, and its codes must be shown: the next sign-in says it again */
    }
    a->is_audited = true;
    if (!e && !x.n_hash)
        json_array_clear(codes);
    if (e)
        json_decref(codes);
    else
        a->answer = json_pack("{s:o, s:o}", "id", view_id(row->id), "recovery", codes);
    return e == SQ_EEXISTS ? sq_fail(SQ_ECONFLICT) : e; /* this very passkey is somebody's already */
}

sq_err api_totp_confirm(struct api *a)
{
    struct sq_db_factor row;
    struct sq_db_user user;
    uint8_t proof[ID];
    const char *id = body_text(a, "id", 2 * ID), *code = id ? body_text(a, "code", 16) : NULL;
    if (!code)
        return sq_fail(SQ_EFIELD);
    sq_err e = own_factor(a, id, &row);
    if (!e && (row.state != SQ_DB_factor_state_begun || row.kind != SQ_DB_factor_kind_totp))
        e = sq_fail(SQ_ECONFLICT);
    if (!e)
        e = user_load(a->r, a->caller.user, &user);
    if (!e)
        e = factor_may_try(a->r, &a->caller, &user);
    if (!e) {
        e = ask_totp(a->r, &row, code, no_id, proof, &row.counter);
        sq_err kept = factor_tried(a->r, &a->caller, &user, e);
        e = e ? e : kept;
    }
    return e ? e : factor_add(a, &row, proof, false);
}

struct renewing {
    const struct caller *by;
    uint8_t hashes[SQ_RECOVERY_CODES][SQ_SHA256_BYTES];
    size_t n;
};

static sq_err tx_renew(struct tx *tx, void *ctx)
{
    struct renewing *x = ctx;
    return tx_recovery(tx, x->by, (const uint8_t(*)[SQ_SHA256_BYTES])x->hashes, x->n);
}

sq_err api_recovery_new(struct api *a)
{
    struct renewing x = {.by = &a->caller};
    struct sq_db_user user;
    uint8_t proof[ID];
    int64_t n = 0;
    if (!body_text(a, "password", 1024))
        return sq_fail(SQ_EFIELD);
    json_t *codes = json_array();
    sq_err e = factor_count(a->r, a->caller.user, &n);
    if (!e && !n)
        e = sq_fail(SQ_ECONFLICT); /* nothing to recover from */
    if (!e)
        e = reauthenticate(a, "password", &user, proof);
    if (!e)
        e = make_recovery(a->r, a->caller.user, proof, x.hashes, &x.n, codes);
    if (!e)
        e = commit(a->r, tx_renew, &x);
    a->is_audited = true;
    if (e)
        json_decref(codes);
    else
        a->answer = json_pack("{s:o}", "recovery", codes);
    return e;
}

/* ---- list, remove ---- */

bool factor_is_required(const struct registrar *r, int role)
{
    return r->is_factor_required || role == SQ_DB_role_operator || role == SQ_DB_role_security;
}

sq_err api_me_factors(struct api *a)
{
    struct factors *f = calloc(1, sizeof *f);
    const struct sq_db_sealed *name[64];
    struct opened o = {.n = 0};
    json_t *data = json_array();
    int64_t n_code = 0;
    sq_err e = f ? load(a->r, a->caller.user, 0, SQ_DB_factor_state_live, f) : sq_fail(SQ_ENOMEM);
    for (size_t i = 0; !e && i < f->n; i++)
        name[i] = &f->row[i].name_sealed;
    if (!e)
        e = fields_open(a->r, &a->caller, name, f->n, &o);
    for (size_t i = 0; !e && i < f->n; i++) {
        if (f->row[i].kind == SQ_DB_factor_kind_recovery)
            n_code++;
        else
            json_array_append_new(data, json_pack("{s:o, s:s, s:s, s:o, s:o}", "id", view_id(f->row[i].id), "kind", sq_db_name(SQ_DB_factor_kind, f->row[i].kind), "name", o.at[i],
                                                  "created", view_time(f->row[i].created_s), "last_used", view_time(f->row[i].used_s)));
    }
    a->n_row = json_array_size(data);
    a->answer = json_pack("{s:o, s:I, s:b}", "data", data, "recovery_left", (json_int_t)n_code, "required", (int)factor_is_required(a->r, a->caller.role));
    opened_done(&o);
    free(f);
    return e;
}

struct removing {
    const struct caller *by;
    struct sq_db_factor row;
    bool is_last, must_stay;
};

static sq_err tx_remove(struct tx *tx, void *ctx)
{
    struct removing *x = ctx;
    int64_t n = 0, gone;
    sq_err e = sq_db_factor_delete(tx->db, x->row.id);
    if (!e)
        e = sq_db_factor_count(tx->db, x->by->user, 0, &n);
    x->is_last = !n;
    if (!e && x->is_last && x->must_stay)
        e = sq_fail(SQ_ELAST);
    if (!e && x->is_last) /* nothing is left to recover */
        e = sq_db_factor_delete_kind(tx->db, x->by->user, 0, &gone);
    if (!e)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_factor_removed, .by = x->by, .subject = x->by->user, .object = x->row.id});
    return e ? e : tx_account_notice(tx, SQ_DB_notice_kind_factor_changed, x->by->user, NULL);
}

sq_err factor_forget(struct registrar *r, const uint8_t user[ID], const uint8_t proof[ID], const uint8_t link_proof[ID])
{
    struct sq_msg m = sq_msg_bare(factor_forget);
    memcpy(m.u.factor_forget.owner_id, user, ID);
    memcpy(m.u.factor_forget.proof, proof, ID);
    memcpy(m.u.factor_forget.link_proof, link_proof, ID);
    return keeper_do(r, &m);
}

/* keeper first: a crash behind it leaves a factor that is still asked for, and can be removed again */
static sq_err remove_one(struct registrar *r, struct removing *x, const uint8_t proof[ID])
{
    int64_t n = 0;
    pthread_mutex_lock(&marking);
    sq_err e = factor_count(r, x->by->user, &n);
    bool is_last = n <= 1 && x->row.state == SQ_DB_factor_state_live;
    if (!e && is_last && x->must_stay)
        e = sq_fail(SQ_ELAST);
    if (!e && is_last)
        e = factor_forget(r, x->by->user, proof, no_id);
    if (!e)
        e = sq_fault("factor.remove");
    if (!e)
        e = commit(r, tx_remove, x);
    pthread_mutex_unlock(&marking);
    return e;
}

sq_err api_factor_remove(struct api *a)
{
    struct removing x = {.by = &a->caller, .must_stay = factor_is_required(a->r, a->caller.role)};
    struct sq_db_user user;
    uint8_t proof[ID];
    int64_t n = 0;
    sq_err e = own_factor(a, a->param, &x.row);
    if (!e)
        e = factor_count(a->r, a->caller.user, &n);
    if (!e && n <= 1 && x.row.state == SQ_DB_factor_state_live && x.must_stay)
        e = sq_fail(SQ_ELAST);
    if (!e)
        e = reauthenticate(a, "password", &user, proof);
    if (!e)
        e = remove_one(a->r, &x, proof);
    a->is_audited = true;
    return e;
}

/* ---- another name ---- */

struct renaming {
    const struct caller *by;
    struct sq_db_factor row;
};

static sq_err tx_rename(struct tx *tx, void *ctx)
{
    struct renaming *x = ctx;
    sq_err e = sq_db_factor_rename(tx->db, x->row.id, &x->row.name_sealed);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_factor_renamed, .by = x->by, .subject = x->by->user, .object = x->row.id});
}

sq_err api_factor_rename(struct api *a)
{
    struct renaming x = {.by = &a->caller};
    struct sq_db_user user;
    uint8_t proof[ID]; /* of no further use */
    const char *name = body_text(a, "name", 100);
    struct sq_span text = sq_span_str(name);
    sq_err e = name ? own_factor(a, a->param, &x.row) : sq_fail(SQ_EFIELD);
    if (!e)
        e = reauthenticate(a, "password", &user, proof);
    if (!e)
        e = fields_seal(a->r, user.id, &text, 1, &x.row.name_sealed);
    if (!e)
        e = commit(a->r, tx_rename, &x);
    a->is_audited = true;
    return e;
}
