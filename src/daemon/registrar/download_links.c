/*
 * Download links: by one, whoever holds it downloads one job's package, without an account, until the link ends or is revoked. What is downloaded is
 * encrypted: a link is no more than the way to it. A link is a token's row of a kind of its own, so that whatever ends an account's tokens ends its links;
 * what makes it good is a MAC of keeper's, which is kept nowhere.
 *
 *     /share/<number of the link, 32 hex digits><MAC, 32 hex digits>
 */
#include "daemon/registrar/registrar.h"

#include <stdio.h>
#include <stdlib.h>

#define MAX_LINKS 100
#define MAX_MINUTES (24 * 60)
#define DEFAULT_MINUTES 60

/* ---- make ---- */

struct linking {
    const struct caller *by;
    struct sq_db_job job;
    struct sq_db_object package;
    struct sq_db_token row;
    uint8_t secret[ID];
};

/* The package that there is now: SQ_ECONFLICT when there is none yet, SQ_EGONE when it went. */
static sq_err package_of(struct api *a, const struct sq_db_job *job, struct sq_db_object *out)
{
    if (is_zero(job->package_object_id)) {
        if (job->state >= SQ_DB_job_state_erasing)
            return sq_fail(SQ_EGONE);
        a->why = &a->why_store;
        return sq_why_set(&a->why_store, SQ_ECONFLICT, 0, 0, "", "there is no package yet: claim the result first");
    }
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_object_get(db, job->package_object_id, out);
    db_unlock(a->r);
    if (!e && out->state == SQ_DB_object_state_opening) {
        a->why = &a->why_store;
        return sq_why_set(&a->why_store, SQ_ECONFLICT, 0, 0, "", "the package is still being built");
    }
    if (!e && (out->state != SQ_DB_object_state_live || out->not_after_s <= sq_clock_now_s()))
        e = sq_fail(out->state == SQ_DB_object_state_damaged ? SQ_ETAMPERED : SQ_EGONE);
    return e;
}

static sq_err sign(struct registrar *r, struct linking *l)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(download_link_make, .token = l->by->token, .expires_s = (uint64_t)l->row.expires_s), m;
    memcpy(ask.u.download_link_make.owner_id, l->job.owner_id, ID);
    memcpy(ask.u.download_link_make.link_id, l->row.jti, ID);
    memcpy(ask.u.download_link_make.object_id, l->package.id, ID);
    sq_err e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e)
        memcpy(l->secret, m.u.download_link_is.secret, ID);
    sq_packet_free(pkt);
    return e;
}

static sq_err tx_make(struct tx *tx, void *ctx)
{
    struct linking *l = ctx;
    struct sq_db_job now;
    struct sq_db_object package;
    struct sq_db_token by;
    uint8_t id[ID];
    uint64_t lives_s = (uint64_t)(l->row.expires_s - l->row.issued_s);
    job_audit_id(l->job.id, id);
    sq_err e = sq_db_job_get(tx->db, l->job.id, &now);
    if (!e)
        e = sq_db_object_get(tx->db, l->package.id, &package);
    if (!e && (memcmp(now.package_object_id, l->package.id, ID) != 0 || package.state != SQ_DB_object_state_live))
        e = sq_fail(SQ_ECONFLICT); /* claimed anew or erased meanwhile */
    if (!e)
        e = sq_db_token_get(tx->db, l->by->jti, &by);
    if (!e && by.revoked_s) /* the session that asks was ended meanwhile, and its links with it */
        e = sq_fail(SQ_EAUTH);
    if (!e)
        e = sq_db_token_insert(tx->db, &l->row);
    if (!e)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_token_issued, .by = l->by, .subject = l->job.owner_id, .object = l->row.jti, .a = lives_s});
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_download_link_made, .by = l->by, .subject = l->job.owner_id, .object = id, .a = lives_s});
}

static sq_err wanted_minutes(struct api *a, int64_t *out)
{
    json_t *minutes = a->body ? json_object_get(a->body, "minutes") : NULL;
    *out = minutes ? json_integer_value(minutes) : DEFAULT_MINUTES;
    if (*out >= 1 && *out <= MAX_MINUTES)
        return SQ_OK;
    a->why = &a->why_store;
    return sq_why_set(&a->why_store, SQ_EFIELD, 0, 0, "minutes", "must be a number from 1 to %d", MAX_MINUTES);
}

static sq_err have_room(struct api *a)
{
    int64_t n = 0;
    struct sq_db *db = db_lock(a->r);
    sq_err e = sq_db_token_count(db, a->caller.user, SQ_DB_token_kind_download, sq_clock_now_s(), &n);
    db_unlock(a->r);
    if (e || n < MAX_LINKS)
        return e;
    a->why = &a->why_store;
    return sq_why_set(&a->why_store, SQ_ECONFLICT, 0, 0, "", "you have %d download links: revoke one that you no longer need", MAX_LINKS);
}

static void answer_link(struct api *a, const struct linking *l)
{
    char path[sizeof "/share/" + 4 * ID], url[sizeof path + 512];
    memcpy(path, "/share/", 7);
    sq_hex(l->row.jti, ID, path + 7);
    sq_hex(l->secret, ID, path + 7 + 2 * ID);
    size_t n = strlen(a->r->public_url);
    while (n && a->r->public_url[n - 1] == '/')
        n--;
    snprintf(url, sizeof url, "%.*s%s", (int)n, a->r->public_url, path);
    a->status = 201;
    snprintf(a->location, sizeof a->location, "/api/v1/jobs/%s/links", l->job.id); /* never the link itself: addresses get written down */
    a->answer = json_pack("{s:o, s:s, s:o, s:o}", "id", view_id(l->row.jti), "path", path, "url", n ? json_string(url) : json_null(), "expires", view_time(l->row.expires_s));
    sq_wipe(path, sizeof path);
    sq_wipe(url, sizeof url);
}

sq_err api_job_link_new(struct api *a)
{
    struct linking l = {.by = &a->caller, .row = {.kind = SQ_DB_token_kind_download, .issued_s = sq_clock_now_s()}};
    int64_t minutes;
    sq_err e = job_by_param(a, &l.job);
    if (!e)
        e = wanted_minutes(a, &minutes);
    if (!e)
        e = package_of(a, &l.job, &l.package);
    if (!e)
        e = have_room(a);
    if (!e)
        e = id_new(l.row.jti);
    if (e)
        return e;
    memcpy(l.row.user_id, l.job.owner_id, ID);
    memcpy(l.row.object_id, l.package.id, ID);
    l.row.expires_s = l.row.issued_s + 60 * minutes;
    if (l.row.expires_s > l.package.not_after_s)
        l.row.expires_s = l.package.not_after_s;
    e = sign(a->r, &l);
    if (!e)
        e = commit(a->r, tx_make, &l);
    if (!e) {
        a->is_audited = true;
        answer_link(a, &l);
    }
    sq_wipe(l.secret, sizeof l.secret);
    return e;
}

/* ---- list ---- */

struct links {
    json_t *data;
    const uint8_t *object;
    uint64_t n;
};

static sq_err take_link(void *ctx, const struct sq_db_token *row)
{
    struct links *l = ctx;
    if (memcmp(row->object_id, l->object, ID))
        return SQ_OK;
    l->n++;
    json_array_append_new(l->data, json_pack("{s:o, s:o, s:o, s:o}", "id", view_id(row->jti), "created", view_time(row->issued_s), "last_used", view_time(row->used_s),
                                             "expires", view_time(row->expires_s)));
    return SQ_OK;
}

sq_err api_job_links(struct api *a)
{
    struct sq_db_job job;
    struct links l = {.object = job.package_object_id};
    sq_err e = job_by_param(a, &job);
    if (e)
        return e;
    l.data = json_array();
    if (!is_zero(job.package_object_id)) {
        struct sq_db *db = db_lock(a->r);
        e = sq_db_token_list(db, a->caller.user, SQ_DB_token_kind_download, sq_clock_now_s(), MAX_LINKS, take_link, &l);
        db_unlock(a->r);
    }
    a->n_row = l.n;
    a->answer = json_pack("{s:o}", "data", l.data);
    return e;
}

/* ---- revoke ---- */

struct unlinking {
    const struct caller *by;
    struct sq_db_token row;
};

static sq_err tx_unlink(struct tx *tx, void *ctx)
{
    struct unlinking *x = ctx;
    sq_err e = sq_db_token_revoke(tx->db, x->row.jti, sq_clock_now_s());
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_download_link_revoked, .by = x->by, .subject = x->row.user_id, .object = x->row.jti});
}

sq_err api_link_revoke(struct api *a)
{
    struct unlinking x = {.by = &a->caller};
    sq_err e = token_by_param(a, SQ_DB_token_kind_download, &x.row);
    if (!e)
        e = commit(a->r, tx_unlink, &x);
    if (e)
        return e;
    a->is_audited = true;
    streams_stop_by(a->r, x.row.jti);
    return SQ_OK;
}

/* ---- use ---- */

static bool is_good(const struct sq_db_token *row, const struct sq_db_user *user)
{
    return row->kind == SQ_DB_token_kind_download && !row->revoked_s && row->expires_s > sq_clock_now_s() && user_is_able(user);
}

/* One answer for whatever is wrong with it: an unknown link looks like an ended one. */
sq_err download_link_follow(struct registrar *r, const char *text, const char *address, struct sq_db_job *out_job, uint8_t out_link[ID])
{
    uint8_t both[2 * ID];
    struct sq_db_token row;
    struct sq_db_user user;
    if (strlen(text) != 4 * ID || sq_hex_decode(text, 4 * ID, both, sizeof both))
        return sq_fail(SQ_ELINK);
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_token_get(db, both, &row);
    if (!e)
        e = sq_db_user_get(db, row.user_id, &user);
    db_unlock(r);
    if (!e && (!is_good(&row, &user) || !sq_cidr_list_holds(user.networks, address)))
        e = SQ_ENOTFOUND;
    if (e)
        return e == SQ_ENOTFOUND ? sq_fail(SQ_ELINK) : e;
    struct sq_msg m = sq_msg_of(download_link_check, .expires_s = (uint64_t)row.expires_s);
    memcpy(m.u.download_link_check.owner_id, row.user_id, ID);
    memcpy(m.u.download_link_check.link_id, row.jti, ID);
    memcpy(m.u.download_link_check.object_id, row.object_id, ID);
    memcpy(m.u.download_link_check.secret, both + ID, ID);
    e = keeper_do(r, &m);
    sq_wipe(&m, sizeof m);
    sq_wipe(both, sizeof both);
    if (!e) {
        db = db_lock(r);
        e = sq_db_job_by_package(db, row.object_id, out_job);
        db_unlock(r);
        memcpy(out_link, row.jti, ID);
    }
    return e == SQ_ENOTFOUND || e == SQ_EKEYGONE ? sq_fail(SQ_ELINK) : e; /* the package went, or another took its place */
}

/* Still good, in the transaction that lets the bytes go. */
sq_err tx_download_link_used(struct tx *tx, const uint8_t link[ID])
{
    struct sq_db_token row;
    sq_err e = sq_db_token_get(tx->db, link, &row);
    if (!e && row.revoked_s)
        e = sq_fail(SQ_ELINK);
    return e ? e : sq_db_token_used(tx->db, link, sq_clock_now_s());
}
