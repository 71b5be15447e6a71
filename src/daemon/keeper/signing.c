/* What keeper signs: tokens, checkpoints of the audit log, receipts. */
#include "daemon/keeper/keeper.h"

#include "lib/audit/audit.h"
#include "lib/core/clock.h"
#include "lib/core/fault.h"
#include "lib/core/log.h"
#include "lib/identity/jwt.h"

#include <stdio.h>

#define NOTE_MAX_BYTES 12288

static sq_err site_key(struct keeper *k, enum sq_slab_type type, struct sq_key **out)
{
    return sq_slab_key(k->slab, type, sq_slab_site_owner, sq_clock_now_s(), NULL, out);
}

/* Tokens of a former key live until it ends: registrar said when, and nothing is signed with it any more. One that is damaged verifies nothing; the service goes on. */
static sq_err draw_former(struct keeper *k, struct keeper_publics *p, uint8_t number, int64_t now_s)
{
    struct sq_slab_slot slot;
    struct sq_key *key = NULL;
    sq_err err = sq_slab_former(k->slab, SQ_SLAB_TOKEN_KEY, sq_slab_site_owner, number, now_s, &slot, &key);
    if (err == SQ_ENOTFOUND || err == SQ_EKEYGONE)
        return SQ_OK;
    if (err == SQ_ETAMPERED) {
        sq_log(SQ_LOG_failed, SQ_LW("what", "former_token_key"), SQ_LW("code", sq_err_name(err)));
        return SQ_OK;
    }
    if (!err)
        err = sq_es256_public(key, p->token[p->n_token]);
    if (!err) {
        p->n_token++;
        if (!p->until_s || (int64_t)slot.not_after_s < p->until_s)
            p->until_s = (int64_t)slot.not_after_s;
    }
    sq_key_free(key);
    return err;
}

static sq_err draw_publics(struct keeper *k, struct keeper_publics *p, int64_t now_s)
{
    struct sq_key *token = NULL, *note = NULL;
    struct sq_slab_slot slot = {.number = 0};
    p->n_token = 0;
    p->until_s = 0;
    sq_err err = sq_slab_key(k->slab, SQ_SLAB_TOKEN_KEY, sq_slab_site_owner, now_s, &slot, &token);
    if (!err)
        err = sq_es256_public(token, p->token[0]);
    p->n_token = !err;
    for (unsigned no = slot.number; no-- > 0 && !err && p->n_token < SQ_JWT_MAX_KEYS;)
        err = draw_former(k, p, (uint8_t)no, now_s);
    if (!err)
        err = site_key(k, SQ_SLAB_NOTE_KEY, &note);
    if (!err)
        err = sq_ed25519_public(note, p->note);
    sq_key_free(token);
    sq_key_free(note);
    p->is_known = !err;
    return err;
}

sq_err keeper_public_keys(struct keeper *k, uint8_t out_token[SQ_JWT_MAX_KEYS][SQ_ES256_PUBLIC_BYTES], size_t *out_n_token, uint8_t out_note[SQ_ED25519_PUBLIC_BYTES])
{
    struct keeper_publics *p = &k->publics;
    int64_t now_s = sq_clock_now_s();
    pthread_mutex_lock(&p->lock);
    sq_err err = p->is_known && (!p->until_s || now_s < p->until_s) ? SQ_OK : draw_publics(k, p, now_s);
    if (!err) {
        memcpy(out_token, p->token, sizeof p->token);
        *out_n_token = p->n_token;
        memcpy(out_note, p->note, sizeof p->note);
    }
    pthread_mutex_unlock(&p->lock);
    return err;
}

/* ---- tokens ---- */

/* Keeper's own clock must agree with what it signs: registrar can't have a token made out for later. */
static sq_err check_times(const struct sq_jwt_claims *c)
{
    int64_t now_s = sq_clock_now_s();
    return c->issued_s > now_s + SQ_JWT_LEEWAY_S || c->issued_s < now_s - 600 || c->expires_s <= now_s ? sq_fail(SQ_ERANGE) : SQ_OK;
}

/* The owner's password was checked here just now, and his second factor when he has one; or a passkey that stands for both; or, of a token of his that lives, a second factor alone. */
static sq_err check_proof(struct keeper *k, const struct sq_msg_token_sign *q, const struct sq_slab_slot *owner)
{
    uint8_t means = 0;
    sq_err err = keeper_proof_take(&k->proofs, q->proof, q->owner_id, &means);
    if (err)
        return err;
    bool has_factor = means & KEEPER_FACTOR, has_password = means & (KEEPER_PASSWORD | KEEPER_ALONE);
    if (q->previous.n) {
        struct sq_jwt_claims before;
        err = keeper_token_claims(k, q->owner_id, q->previous, &before);
        if (!err && (!has_factor || (int64_t)q->expires_s > before.expires_s))
            err = sq_fail(SQ_EPROOF);
        return err;
    }
    return has_password && (has_factor || !(owner->for_role & SQ_SLAB_NEEDS_FACTOR)) ? SQ_OK : sq_fail(SQ_EPROOF);
}

/* One at a time, and none while the key is replaced: it is known until when a former key has to verify. */
static sq_err sign_token(struct keeper *k, const struct sq_jwt_claims *c, struct sq_buf *out)
{
    struct sq_key *key = NULL;
    pthread_mutex_lock(&k->publics.lock);
    sq_err err = site_key(k, SQ_SLAB_TOKEN_KEY, &key);
    if (!err)
        err = sq_jwt_make(key, k->origin, c, out);
    if (!err && c->expires_s > k->publics.last_token_s)
        k->publics.last_token_s = c->expires_s;
    pthread_mutex_unlock(&k->publics.lock);
    sq_key_free(key);
    return err;
}

void on_token_sign(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_token_sign *q = &m->u.token_sign;
    struct sq_jwt_claims c = {.epoch = q->epoch};
    struct sq_slab_slot owner;
    struct sq_buf token;
    sq_buf_init(&token, SQ_JWT_MAX_BYTES);
    memcpy(c.sub, q->owner_id, sizeof c.sub);
    memcpy(c.jti, q->jti, sizeof c.jti);
    sq_err err = keeper_clock_ok(k);
    if (!err && (q->issued_s > INT64_MAX / 2 || q->expires_s > INT64_MAX / 2))
        err = sq_fail(SQ_ERANGE);
    c.issued_s = (int64_t)q->issued_s;
    c.expires_s = (int64_t)q->expires_s;
    if (!err)
        err = sq_span_copy(q->role, c.role, sizeof c.role);
    if (!err)
        err = sq_span_copy(q->scope, c.scope, sizeof c.scope);
    if (!err)
        err = check_times(&c);
    if (!err) /* nobody signs in whose key is gone */
        err = sq_slab_look(k->slab, SQ_SLAB_OWNER, q->owner_id, sq_clock_now_s(), &owner);
    if (!err)
        err = check_proof(k, q, &owner);
    if (!err)
        err = sign_token(k, &c, &token);
    if (err) {
        sq_ask_fail(ask, err);
    } else {
        struct sq_msg is = sq_msg_of(token_is, .token = sq_span_of(token.p, token.n));
        sq_ask_reply(ask, &is);
    }
    sq_buf_done(&token);
}

/* ---- notes ---- */

static void answer_note(struct sq_ask *ask, sq_err err, struct sq_buf *note)
{
    if (err) {
        sq_ask_fail(ask, err);
    } else {
        struct sq_msg is = sq_msg_of(note_is, .note = sq_span_of(note->p, note->n));
        sq_ask_reply(ask, &is);
    }
    sq_buf_done(note);
}

static sq_err sign_note(struct keeper *k, const char *name, const void *text, size_t n, struct sq_buf *out)
{
    struct sq_key *key = NULL;
    sq_err err = site_key(k, SQ_SLAB_NOTE_KEY, &key);
    if (!err)
        err = sq_note_sign(key, name, text, n, out);
    sq_key_free(key);
    return err;
}

/* An extension of the last tree, or that very tree again. */
static sq_err check_tree(struct keeper *k, const struct sq_msg_checkpoint *q)
{
    uint64_t size;
    uint8_t root[SQ_SHA256_BYTES];
    sq_slab_tree(k->slab, &size, root);
    if (q->size < size)
        return sq_fail(SQ_EROLLBACK);
    if (q->proof.n % SQ_AUDIT_HASH_BYTES)
        return sq_fail(SQ_EAUDIT);
    if (!size) { /* nothing signed yet: nothing to be consistent with, so the empty tree's own root stands in */
        sq_err err = sq_audit_root_empty(root);
        if (err)
            return err;
    }
    return sq_audit_check_consistency(size, root, q->size, q->root, q->proof.p, q->proof.n / SQ_AUDIT_HASH_BYTES);
}

/* Remembered durably first, signed then: a signature that left this process is never ahead of what keeper knows. */
void on_checkpoint(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_checkpoint *q = &m->u.checkpoint;
    struct sq_buf text, note;
    sq_buf_init(&text, 1024);
    sq_buf_init(&note, NOTE_MAX_BYTES);
    pthread_mutex_lock(&k->signing);
    uint64_t size;
    uint8_t root[SQ_SHA256_BYTES];
    sq_slab_tree(k->slab, &size, root);
    sq_err err = check_tree(k, q);
    if (!err && (q->size != size || memcmp(root, q->root, sizeof root)))
        err = sq_slab_set_tree(k->slab, q->size, q->root, keeper_clock_is_held(&k->clock) ? 0 : keeper_clock_wall_s());
    if (!err)
        err = sq_fault("keeper.before_sign");
    if (!err)
        err = sq_note_text(k->origin, q->size, q->root, &text);
    if (!err)
        err = sign_note(k, k->origin, text.p, text.n, &note);
    pthread_mutex_unlock(&k->signing);
    if (err == SQ_EROLLBACK || err == SQ_EAUDIT)
        sq_log(SQ_LOG_failed, SQ_LW("what", "checkpoint"), SQ_LW("code", sq_err_name(err)));
    sq_buf_done(&text);
    answer_note(ask, err, &note);
}

/* Registrar asks for this on the operator's word alone; it names the tree that is given up, so that a late repetition does nothing. */
void on_tree_reset(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_tree_reset *q = &m->u.tree_reset;
    uint64_t size;
    uint8_t root[SQ_SHA256_BYTES];
    pthread_mutex_lock(&k->signing);
    sq_slab_tree(k->slab, &size, root);
    sq_err err = size == q->from_size ? sq_slab_reset_tree(k->slab, q->size, q->root) : sq_fail(SQ_ECONFLICT);
    pthread_mutex_unlock(&k->signing);
    sq_log(SQ_LOG_tree_reset, SQ_LN("from", q->from_size), SQ_LN("to", q->size), SQ_LW("code", sq_err_name(err)));
    sq_ask_end(ask, err, NULL);
}

/* receipts and attestations: one key, told apart by their first line */
static bool is_receipt(struct sq_span text)
{
    static const char *const first[] = {"sequester-receipt/v1\n", "sequester-job-receipt/v1\n", "sequester-attestation/v1\n"};
    for (size_t i = 0; i < sizeof first / sizeof first[0]; i++)
        if (text.n > strlen(first[i]) && !memcmp(text.p, first[i], strlen(first[i])))
            return true;
    return false;
}

void on_receipt_sign(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    struct sq_span text = m->u.receipt_sign.text;
    char name[SQ_NOTE_NAME_BYTES];
    struct sq_buf note;
    sq_buf_init(&note, NOTE_MAX_BYTES);
    sq_err err = is_receipt(text) ? SQ_OK : sq_fail(SQ_ERANGE);
    int n = snprintf(name, sizeof name, "%s/receipt", k->origin);
    if (!err && (n < 0 || (size_t)n >= sizeof name))
        err = sq_fail(SQ_ECONFIG);
    if (!err)
        err = sign_note(k, name, text.p, text.n, &note);
    answer_note(ask, err, &note);
}
