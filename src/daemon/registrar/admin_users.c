/* `sequester admin user ...` at the local socket: accounts by name, which the operator knows; none is ever shown to him. */
#include "daemon/registrar/admin.h"

#include <stdlib.h>

static sq_err role_arg(struct admin *a, const char *role, int *out_no)
{
    *out_no = role ? sq_db_named(SQ_DB_role, role) : 0;
    if (!role)
        return sq_fail(SQ_EFIELD);
    return *out_no ? SQ_OK : sq_why_set(&a->why, SQ_EFIELD, 0, 0, "role", "must be user, operator, security, auditor or support");
}

sq_err admin_user_add(struct admin *a)
{
    const char *name = admin_arg(a, "name"), *role = name ? admin_arg(a, "role") : NULL, *password = role ? admin_arg(a, "password") : NULL;
    int no;
    if (!password)
        return sq_fail(SQ_EFIELD);
    sq_err e = role_arg(a, role, &no);
    if (!e && strlen(name) > 200)
        e = sq_why_set(&a->why, SQ_EFIELD, 0, 0, "name", "must have at most 200 bytes");
    uint8_t id[ID];
    const char *mail = json_string_value(json_object_get(a->args, "mail"));
    if (!e)
        e = user_add(a->r, &a->by, name, no, sq_span_str(password), mail, &a->why, id);
    if (!e)
        a->answer = json_pack("{s:o, s:s}", "id", view_id(id), "role", role);
    return e;
}

static sq_err change(struct admin *a, struct account_change *x)
{
    const char *name = admin_arg(a, "name");
    x->by = &a->by;
    x->is_local = true;
    sq_err e = name ? user_by_name(a->r, name, &x->user) : sq_fail(SQ_EFIELD);
    if (!e)
        e = account_change(a->r, x);
    if (!e) {
        a->answer = account_json(a->r, &x->user);
        json_object_set_new(a->answer, "tokens_revoked", json_integer((json_int_t)x->n));
    }
    return e;
}

sq_err admin_user_revoke(struct admin *a)
{
    return change(a, &(struct account_change){.revoke = true});
}

sq_err admin_user_disable(struct admin *a)
{
    return change(a, &(struct account_change){.set_disabled = true, .is_disabled = true});
}

sq_err admin_user_enable(struct admin *a)
{
    return change(a, &(struct account_change){.set_disabled = true});
}

sq_err admin_user_role(struct admin *a)
{
    struct account_change x = {.n = 0};
    sq_err e = role_arg(a, admin_arg(a, "role"), &x.role);
    return e ? e : change(a, &x);
}

sq_err admin_user_expire(struct admin *a)
{
    struct account_change x = {.set_expires = true};
    json_t *when = json_object_get(a->args, "expires");
    if (!json_is_null(when) && (!json_is_string(when) || !sq_clock_read(json_string_value(when), &x.expires_s)))
        return sq_why_set(&a->why, SQ_EFIELD, 0, 0, "expires", "must be a time like 2027-01-31T00:00:00Z, or null for no end");
    return change(a, &x);
}

sq_err admin_user_networks(struct admin *a)
{
    struct account_change x = {.set_networks = true};
    const json_t *networks = json_object_get(a->args, "networks");
    sq_err e = networks ? account_networks(networks, &x, &a->why) : sq_fail(SQ_EFIELD);
    return e ? e : change(a, &x);
}

/* Whoever lost his authenticator and his recovery codes. His password stays, and is asked for. */
sq_err admin_user_factors_reset(struct admin *a)
{
    return change(a, &(struct account_change){.reset_factors = true, .revoke = true});
}

sq_err admin_user_show(struct admin *a)
{
    struct sq_db_user user;
    const char *name = admin_arg(a, "name");
    sq_err e = name ? user_by_name(a->r, name, &user) : sq_fail(SQ_EFIELD);
    if (!e)
        a->answer = account_json(a->r, &user);
    return e;
}

struct listed {
    struct sq_db_user row[100];
    size_t n;
};

static sq_err take(void *ctx, const struct sq_db_user *row)
{
    struct listed *l = ctx;
    l->row[l->n++] = *row;
    return SQ_OK;
}

sq_err admin_user_list(struct admin *a)
{
    uint8_t after[ID];
    const char *hex = json_string_value(json_object_get(a->args, "after"));
    if (hex && (strlen(hex) != 2 * ID || sq_hex_decode(hex, 2 * ID, after, ID)))
        return sq_why_set(&a->why, SQ_EFIELD, 0, 0, "after", "must be an id");
    struct listed *l = calloc(1, sizeof *l);
    if (!l)
        return sq_fail(SQ_ENOMEM);
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_user_list(db, hex ? after : NULL, 100, take, l);
    db_unlock(a->r);
    json_t *data = json_array();
    for (size_t i = 0; i < l->n && !e; i++)
        json_array_append_new(data, account_json(a->r, &l->row[i]));
    a->answer = json_pack("{s:o, s:o}", "data", data, "next", l->n == 100 ? view_id(l->row[99].id) : json_null());
    free(l);
    return e;
}

sq_err admin_sessions_revoke(struct admin *a)
{
    int64_t n = 0;
    sq_err e = revoke_everybody(a->r, &a->by, &n);
    a->answer = json_pack("{s:I}", "tokens_revoked", (json_int_t)n);
    return e;
}
