/*
 * Keys of parts and of package entries. Gateway and runner ask; each is taken for hostile: gateway gets fresh keys of
 * objects that are open for it and nothing else, runner only what the live grant of the very task says.
 */
#include "daemon/keeper/keeper.h"

#include "lib/core/clock.h"
#include "lib/identity/otp.h"
#include "lib/vault/vault.h"

#define ENTRY_ROUNDS 1000 /* of PBKDF2: fixed by the AE-2 format; the password has 128 bits and more by itself */
#define ENTRY_KEY_BYTES 66

/* The object's key and slot, when @role may seal it now. */
static sq_err open_for(struct keeper *k, const uint8_t *object, enum sq_role role, struct sq_slab_slot *out_slot,
                       struct sq_key **out_key)
{
    sq_err err = sq_slab_look(k->slab, SQ_SLAB_OBJECT, object, sq_clock_now_s(), out_slot);
    if (!err && (out_slot->state != SQ_SLAB_OPEN || out_slot->for_role != role))
        err = sq_fail(SQ_EGRANT);
    if (!err)
        err = sq_slab_key(k->slab, SQ_SLAB_OBJECT, object, sq_clock_now_s(), out_slot, out_key);
    if (!err && out_slot->state != SQ_SLAB_OPEN) { /* closed between the two looks */
        sq_key_free(*out_key);
        *out_key = NULL;
        err = sq_fail(SQ_EGRANT);
    }
    return err;
}

static sq_err derive(const struct sq_key *key, const uint8_t salt[32], const uint8_t *object, uint32_t part_no, uint8_t out[32])
{
    struct sq_key *derived = NULL;
    sq_err err = sq_vault_derive(key, salt, object, part_no, &derived);
    if (!err)
        memcpy(out, sq_key_bytes(derived), SQ_KEY_BYTES);
    sq_key_free(derived);
    return err;
}

/* A salt that nobody chose, and with it a key that no part before has. */
static sq_err fresh_part_key(struct keeper *k, const struct sq_key *key, const uint8_t *object, uint32_t part_no,
                             uint8_t out_salt[32], uint8_t out_key[32])
{
    sq_err err = keeper_part_take(&k->grants, object, part_no);
    if (!err)
        err = sq_random(out_salt, SQ_VAULT_SALT_BYTES);
    return err ? err : derive(key, out_salt, object, part_no, out_key);
}

void on_part_key(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_part_key *q = &m->u.part_key;
    struct sq_slab_slot slot;
    struct sq_key *key = NULL;
    struct sq_msg is = sq_msg_bare(part_key_is);
    sq_err err = keeper_clock_ok(k);
    if (!err)
        err = open_for(k, q->object_id, SQ_ROLE_GATEWAY, &slot, &key);
    if (!err)
        err = fresh_part_key(k, key, q->object_id, q->part_no, is.u.part_key_is.salt, is.u.part_key_is.derived_key);
    sq_key_free(key);
    sq_ask_end(ask, err, &is);
    sq_wipe(&is, sizeof is);
}

void on_task_seal_key(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_task_seal_key *q = &m->u.task_seal_key;
    uint8_t owner[SQ_ID_BYTES];
    struct sq_slab_slot slot;
    struct sq_key *key = NULL;
    struct sq_msg is = sq_msg_bare(task_key_is);
    sq_err err = keeper_clock_ok(k);
    if (!err)
        err = keeper_grant_covers(&k->grants, q->task_id, q->fence, q->object_id, true, sq_clock_now_s(), owner);
    if (!err)
        err = open_for(k, q->object_id, SQ_ROLE_RUNNER, &slot, &key);
    if (!err && memcmp(slot.owner, owner, SQ_ID_BYTES))
        err = sq_fail(SQ_EGRANT);
    if (!err)
        err = fresh_part_key(k, key, q->object_id, q->part_no, is.u.task_key_is.salt, is.u.task_key_is.derived_key);
    sq_key_free(key);
    sq_ask_end(ask, err, &is);
    sq_wipe(&is, sizeof is);
}

static bool is_readable_by(const struct sq_slab_slot *slot, const uint8_t *owner)
{
    return !memcmp(slot->owner, owner, SQ_ID_BYTES) || !memcmp(slot->owner, sq_slab_site_owner, SQ_ID_BYTES);
}

void on_task_open_key(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_task_open_key *q = &m->u.task_open_key;
    uint8_t owner[SQ_ID_BYTES];
    struct sq_slab_slot slot;
    struct sq_key *key = NULL;
    struct sq_msg is = sq_msg_bare(task_key_is);
    sq_err err = keeper_clock_ok(k);
    if (!err)
        err = keeper_grant_covers(&k->grants, q->task_id, q->fence, q->object_id, false, sq_clock_now_s(), owner);
    if (!err)
        err = sq_slab_key(k->slab, SQ_SLAB_OBJECT, q->object_id, sq_clock_now_s(), &slot, &key);
    if (!err && !is_readable_by(&slot, owner))
        err = sq_fail(SQ_EGRANT);
    memcpy(is.u.task_key_is.salt, q->salt, sizeof q->salt);
    if (!err)
        err = derive(key, q->salt, q->object_id, q->part_no, is.u.task_key_is.derived_key);
    sq_key_free(key);
    sq_ask_end(ask, err, &is);
    sq_wipe(&is, sizeof is);
}

/* ---- grants ---- */

/* Each object must live and be the owner's (or the site's, to read); what is written must be open for runner. */
static sq_err check_objects(struct keeper *k, const struct keeper_grant *g)
{
    struct sq_slab_slot slot;
    for (uint32_t i = 0; i < g->n_read; i++) {
        sq_err err = sq_slab_look(k->slab, SQ_SLAB_OBJECT, g->reads[i], sq_clock_now_s(), &slot);
        if (err)
            return err;
        if (!is_readable_by(&slot, g->owner))
            return sq_fail(SQ_EGRANT);
    }
    for (uint32_t i = 0; i < g->n_write; i++) {
        sq_err err = sq_slab_look(k->slab, SQ_SLAB_OBJECT, g->writes[i], sq_clock_now_s(), &slot);
        if (err)
            return err;
        if (slot.state != SQ_SLAB_OPEN || slot.for_role != SQ_ROLE_RUNNER || memcmp(slot.owner, g->owner, SQ_ID_BYTES))
            return sq_fail(SQ_EGRANT);
    }
    return SQ_OK;
}

void on_grant(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_grant *q = &m->u.grant;
    struct keeper_grant g = {.fence = q->fence, .n_read = q->reads.n, .n_write = q->writes.n};
    sq_err err = keeper_clock_ok(k);
    if (!err && (q->reads.n > KEEPER_MAX_READS || q->writes.n > KEEPER_MAX_WRITES || q->expires_s > (uint64_t)INT64_MAX / 2))
        err = sq_fail(SQ_ERANGE);
    if (!err) {
        g.expires_s = (int64_t)q->expires_s;
        memcpy(g.task, q->task_id, SQ_ID_BYTES);
        memcpy(g.owner, q->owner_id, SQ_ID_BYTES);
        if (q->reads.n)
            memcpy(g.reads, q->reads.p, (size_t)q->reads.n * SQ_ID_BYTES);
        if (q->writes.n)
            memcpy(g.writes, q->writes.p, (size_t)q->writes.n * SQ_ID_BYTES);
        err = check_objects(k, &g);
    }
    if (!err)
        err = keeper_grant_put(&k->grants, &g, sq_clock_now_s());
    sq_ask_end(ask, err, NULL);
}

void on_grant_end(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    keeper_grant_end(&k->grants, m->u.grant_end.task_id);
    sq_ask_ok(ask);
}

/* ---- the one-time password and the keys made from it ---- */

void on_one_time_password(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_one_time_password *q = &m->u.one_time_password;
    uint8_t *password = NULL;
    sq_err err = keeper_clock_ok(k);
    if (!err)
        err = sq_secret_new(SQ_OTP_BYTES, &password);
    if (!err)
        err = keeper_password_make(&k->grants, q->task_id, q->fence, sq_clock_now_s(), (char *)password);
    if (err) {
        sq_ask_fail(ask, err);
    } else {
        struct sq_msg is = sq_msg_of(one_time_password_is, .password = sq_span_of(password, SQ_OTP_CHARS));
        sq_ask_reply(ask, &is);
    }
    sq_secret_free(password, SQ_OTP_BYTES);
}

void on_entry_keys(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_entry_keys *q = &m->u.entry_keys;
    struct sq_msg is = sq_msg_bare(entry_keys_is);
    struct sq_msg_entry_keys_is *e = &is.u.entry_keys_is;
    uint8_t *secret = NULL; /* password, then the derived bytes behind it */
    sq_err err = keeper_clock_ok(k);
    if (!err)
        err = sq_secret_new(SQ_OTP_BYTES + ENTRY_KEY_BYTES, &secret);
    if (!err)
        err = keeper_password_for_entry(&k->grants, q->task_id, q->fence, q->entry_no, sq_clock_now_s(), (char *)secret);
    if (!err)
        err = sq_random(e->salt, sizeof e->salt);
    if (!err)
        err = sq_pbkdf2_sha1(secret, SQ_OTP_CHARS, e->salt, sizeof e->salt, ENTRY_ROUNDS, secret + SQ_OTP_BYTES, ENTRY_KEY_BYTES);
    if (!err) {
        memcpy(e->aes, secret + SQ_OTP_BYTES, 32);
        memcpy(e->mac, secret + SQ_OTP_BYTES + 32, 32);
        memcpy(e->verifier, secret + SQ_OTP_BYTES + 64, 2);
        sq_ask_reply(ask, &is);
    } else {
        sq_ask_fail(ask, err);
    }
    sq_secret_free(secret, SQ_OTP_BYTES + ENTRY_KEY_BYTES);
    sq_wipe(&is, sizeof is);
}
