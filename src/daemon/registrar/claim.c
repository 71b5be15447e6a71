/*
 * The claim: the owner signs in again, with his second factor when he has one, keeper makes a one-time password and shows it once, runner packs the result under it.
 * Until the owner confirms that he can open the package, the vault keeps its copy and he may claim again (the old package
 * goes first). Once he confirms, the copy is destroyed: from then on only the holder of the password can read the result.
 */
#include "daemon/registrar/package.h"

#include <stdlib.h>

#define CHECK_BYTES 16

struct claim {
    struct packing p;
    const struct caller *by;
    uint8_t check_sha256[32];
    char check[2 * CHECK_BYTES + 1];
};

/* the task row is inserted and started at once: packages don't wait for a sandbox */
static sq_err tx_claim(struct tx *tx, void *ctx)
{
    struct claim *c = ctx;
    struct sq_db_job now;
    uint8_t id[ID];
    job_audit_id(c->p.job.id, id);
    sq_err e = sq_db_job_get(tx->db, c->p.job.id, &now);
    if (!e && (now.state != SQ_DB_job_state_done || now.claim_state == SQ_DB_claim_state_confirmed || now.claims != c->p.job.claims))
        return sq_fail(SQ_ECONFLICT); /* also: somebody claimed meanwhile */
    int64_t n;
    if (!e) /* of an earlier claim: sealing tasks that still run, and its package */
        e = sq_db_task_cancel(tx->db, c->p.job.id, NULL, SQ_ECANCELLED, sq_clock_now_ms(), &n);
    if (!e)
        e = tx_object_erase(tx, now.package_object_id, c->by);
    if (!e)
        e = sq_db_job_claimed(tx->db, c->p.job.id, c->p.package, c->check_sha256);
    if (!e)
        e = tx_task_add(tx, c->p.job.id, NULL, WORK_PACKAGE, c->p.task);
    struct sq_db_task task;
    if (!e)
        e = sq_db_task_start(tx->db, c->p.task, sq_clock_now_ms(), &task);
    if (!e) {
        c->p.fence = task.fence;
        e = tx_packing_port(tx, &c->p);
    }
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_result_claimed, .by = c->by, .subject = c->p.job.owner_id, .object = id, .a = (uint64_t)now.claims + 1});
}

static sq_err ask_password(struct registrar *r, const struct claim *c, char out[65])
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(one_time_password, .fence = (uint32_t)c->p.fence), m;
    memcpy(ask.u.one_time_password.task_id, c->p.task, ID);
    sq_err e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e)
        e = sq_span_copy(m.u.one_time_password_is.password, out, 65);
    sq_packet_free(pkt);
    return e;
}

static sq_err claim(struct registrar *r, struct claim *c, char out_password[65])
{
    uint8_t random[CHECK_BYTES];
    sq_err e = sq_random(random, sizeof random);
    sq_hex(random, sizeof random, c->check);
    if (!e)
        e = sq_sha256_of(c->check, strlen(c->check), c->check_sha256);
    if (!e)
        e = packing_open(r, &c->p, c->p.job.expires_s, c->by);
    if (!e)
        e = sq_fault("claim.1");
    if (!e)
        e = commit(r, tx_claim, c);
    if (!e && c->p.job.claims)
        tasks_stop(r, c->p.job.id, NULL); /* the earlier claim's package: its task, its grant, its password */
    if (!e)
        e = packing_grant(r, &c->p);
    if (!e)
        e = ask_password(r, c, out_password);
    if (!e)
        e = sq_fault("claim.2");
    if (!e)
        e = packing_send(r, &c->p, c->check);
    if (!e)
        e = sq_fault("claim.3");
    return e;
}

sq_err api_job_claim(struct api *a)
{
    struct claim *c = calloc(1, sizeof *c);
    if (!c)
        return sq_fail(SQ_ENOMEM);
    c->by = &a->caller;
    packing_init(&c->p);
    struct sq_db_user user;
    char password[65] = "";
    uint8_t proof[ID]; /* of no further use: the claim itself is recorded */
    sq_err e = body_text(a, "password", 1024) ? job_by_param(a, &c->p.job) : sq_fail(SQ_EFIELD);
    if (!e && c->p.job.has_seal_key && c->p.job.state < SQ_DB_job_state_erasing) {
        a->why = &a->why_store;
        e = sq_why_set(&a->why_store, SQ_ECONFLICT, 0, 0, "seal_to", "this result is sealed to your own key: there is no password and nothing to claim; download the package");
    }
    if (!e)
        e = reauthenticate(a, "password", &user, proof);
    if (!e && c->p.job.state != SQ_DB_job_state_done)
        e = sq_fail(c->p.job.state == SQ_DB_job_state_erasing || c->p.job.state == SQ_DB_job_state_erased ? SQ_EGONE : SQ_ECONFLICT);
    if (!e && (c->p.job.claim_state == SQ_DB_claim_state_confirmed || !strcmp(c->p.job.mode, "qc")))
        e = sq_fail(c->p.job.claim_state == SQ_DB_claim_state_confirmed ? SQ_EGONE : SQ_ECONFLICT);
    if (!e) {
        e = claim(a->r, c, password);
        if (e)
            packing_undo(a->r, &c->p, e);
    }
    if (!e) {
        a->is_audited = true;
        a->answer = json_pack("{s:s, s:s, s:s, s:s}", "id", c->p.job.id, "password", password, "package", "building", "note",
                              "This password is shown once and kept nowhere. Download the package, open sequester-check.txt in it with this password,"
                              " and confirm with its text: then the server's own copy is destroyed.");
        erase_wake(a->r);
    }
    sq_wipe(password, sizeof password);
    packing_done(&c->p);
    free(c);
    return e;
}

/* ---- confirm ---- */

struct confirming {
    struct sq_db_job job;
    const struct caller *by;
};

static sq_err tx_confirm(struct tx *tx, void *ctx)
{
    struct confirming *c = ctx;
    struct sq_db_job now;
    uint8_t id[ID];
    job_audit_id(c->job.id, id);
    sq_err e = sq_db_job_get(tx->db, c->job.id, &now);
    if (!e && (now.claim_state != SQ_DB_claim_state_claimed || !sq_equal_ct(now.check_sha256, c->job.check_sha256, 32)))
        return sq_fail(SQ_ECONFLICT);
    if (!e)
        e = sq_db_job_set_claim(tx->db, c->job.id, SQ_DB_claim_state_confirmed);
    if (!e)
        e = tx_vault_copy_erase(tx, &now, c->by);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_claim_confirmed, .by = c->by, .subject = c->job.owner_id, .object = id});
}

sq_err api_job_confirm(struct api *a)
{
    struct confirming c = {.by = &a->caller};
    uint8_t sha[32];
    const char *check = body_text(a, "check", 128);
    sq_err e = check ? job_by_param(a, &c.job) : sq_fail(SQ_EFIELD);
    if (!e && (c.job.claim_state == SQ_DB_claim_state_none || c.job.has_seal_key))
        e = sq_fail(SQ_ECONFLICT);
    size_t n = e ? 0 : strlen(check);
    while (n && (check[n - 1] == '\n' || check[n - 1] == '\r'))
        n--; /* as `7z x -so` and a shell hand it over */
    if (!e)
        e = sq_sha256_of(check, n, sha);
    if (!e && (!c.job.has_check || !sq_equal_ct(sha, c.job.check_sha256, 32)))
        e = sq_why_set(&a->why_store, SQ_EFIELD, 0, 0, "check", "is not the text of sequester-check.txt in the newest package");
    if (e == SQ_EFIELD)
        a->why = &a->why_store;
    if (!e && c.job.claim_state != SQ_DB_claim_state_confirmed)
        e = commit(a->r, tx_confirm, &c);
    if (e)
        return e;
    a->is_audited = true;
    destroy_keys_now(a->r, a->caller.user);
    a->answer = json_pack("{s:s, s:s}", "id", c.job.id, "claim", "confirmed");
    return SQ_OK;
}
