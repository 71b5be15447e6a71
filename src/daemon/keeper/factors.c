/*
 * Second factors and mailed links: secrets sealed under their owner's key, each with associated data of its own, so that none
 * passes for another's or for another kind. What was checked here is said by a proof (proofs.h).
 */
#include "daemon/keeper/keeper.h"

#include "lib/core/address.h"
#include "lib/core/clock.h"
#include "lib/identity/totp.h"

#include <stdio.h>

#define LINK_SECRET_BYTES 16
enum { LINK_REGISTER = 1, LINK_RESET = 2, LINK_FACTORS = 3 }; /* db/states.def, link_kind; 4 proves an address, which is nothing to sign or change by */

struct keeper_aad keeper_aad_of(const char kind[4], const uint8_t *owner, const uint8_t *id, uint8_t link, uint64_t expires_s)
{
    struct keeper_aad a = {.n = sizeof a.bytes};
    memcpy(a.bytes, kind, 4);
    memcpy(a.bytes + 4, owner, SQ_ID_BYTES);
    memcpy(a.bytes + 4 + SQ_ID_BYTES, id, SQ_ID_BYTES);
    a.bytes[4 + 2 * SQ_ID_BYTES] = link;
    sq_put_be64(a.bytes + 5 + 2 * SQ_ID_BYTES, expires_s);
    return a;
}

/* ---- TOTP ---- */

void on_totp_make(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_totp_make *q = &m->u.totp_make;
    size_t n = k->is_totp_sha256 ? SQ_TOTP_SHA256_BYTES : SQ_TOTP_SHA1_BYTES;
    uint8_t secret[SQ_TOTP_SECRET_MAX], sealed[SQ_TOTP_SECRET_MAX + SQ_BOX_EXTRA_BYTES];
    char base32[SQ_TOTP_BASE32_BYTES] = "";
    struct keeper_aad aad = keeper_aad_of("totp", q->owner_id, q->factor_id, 0, 0);
    struct sq_key *key = NULL;
    sq_err err = keeper_may_change(k, q->owner_id, q->proof, false);
    if (!err)
        err = keeper_owner_key(k, q->owner_id, "sequester totp v1", &key);
    if (!err)
        err = sq_random(secret, n);
    if (!err)
        err = sq_box_seal(key, aad.bytes, aad.n, secret, n, sealed);
    if (err) {
        sq_ask_fail(ask, err);
    } else {
        sq_totp_base32(secret, n, base32);
        struct sq_msg is = sq_msg_of(totp_is, .sealed = sq_span_of(sealed, n + SQ_BOX_EXTRA_BYTES), .secret = sq_span_str(base32), .is_sha256 = k->is_totp_sha256);
        sq_ask_reply(ask, &is);
    }
    sq_key_free(key);
    sq_wipe(secret, sizeof secret);
    sq_wipe(base32, sizeof base32);
}

/* A proof with a second factor: what @before (zero: nothing) proved, and that. Right first, so that a wrong code uses up no proof. */
void keeper_answer_factor(struct keeper *k, struct sq_ask *ask, const uint8_t *owner, const uint8_t *before, uint8_t more, uint64_t counter)
{
    static const uint8_t none[SQ_ID_BYTES];
    uint8_t means = 0;
    sq_err err = memcmp(before, none, sizeof none) ? keeper_proof_take(&k->proofs, before, owner, &means) : SQ_OK;
    struct sq_msg is = sq_msg_of(factor_is, .means = means | KEEPER_FACTOR | more, .counter = counter);
    if (!err)
        err = keeper_proof_make(&k->proofs, owner, is.u.factor_is.means, is.u.factor_is.proof);
    sq_ask_end(ask, err, &is);
}

static sq_err check_totp(struct keeper *k, const struct sq_msg_totp_check *q, uint64_t *out_step)
{
    uint8_t secret[SQ_TOTP_SECRET_MAX];
    size_t n = q->sealed.n == SQ_TOTP_SHA256_BYTES + SQ_BOX_EXTRA_BYTES ? SQ_TOTP_SHA256_BYTES : SQ_TOTP_SHA1_BYTES; /* what was sealed is authentic, and so is how long it was */
    char code[17];
    struct keeper_aad aad = keeper_aad_of("totp", q->owner_id, q->factor_id, 0, 0);
    sq_err err = keeper_clock_ok(k);
    if (!err && q->sealed.n != n + SQ_BOX_EXTRA_BYTES)
        err = sq_fail(SQ_ETAMPERED);
    if (!err)
        err = sq_span_copy(q->code, code, sizeof code);
    if (!err)
        err = keeper_box_open(k, q->owner_id, &(struct keeper_box){"sequester totp v1", aad.bytes, aad.n, q->sealed}, secret, NULL);
    if (!err)
        err = sq_totp_check(secret, n, sq_clock_now_s(), k->totp_beside, q->counter, code, out_step);
    if (!err)
        err = keeper_step_take(&k->proofs, q->factor_id, *out_step);
    sq_wipe(secret, sizeof secret);
    return err;
}

void on_totp_check(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_totp_check *q = &m->u.totp_check;
    uint64_t step = 0;
    sq_err err = check_totp(k, q, &step);
    if (err)
        sq_ask_fail(ask, err);
    else
        keeper_answer_factor(k, ask, q->owner_id, q->proof, 0, step);
}

void on_factor_needed(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    struct sq_slab_slot slot;
    sq_err err = sq_slab_look(k->slab, SQ_SLAB_OWNER, m->u.factor_needed.owner_id, sq_clock_now_s(), &slot);
    if (!err && !(slot.for_role & SQ_SLAB_NEEDS_FACTOR))
        err = sq_slab_mark(k->slab, m->u.factor_needed.owner_id, SQ_SLAB_NEEDS_FACTOR, true, sq_clock_now_s());
    sq_ask_end(ask, err, NULL);
}

/* Its owner shows that he had it; or, when it is lost, that the mail which said so came to him and that he knows the password. Registrar's word is
 * enough only where nothing can be mailed. */
static sq_err may_forget(struct keeper *k, const struct sq_msg_factor_forget *q)
{
    static const uint8_t none[SQ_ID_BYTES];
    uint8_t means = 0, linked = 0;
    if (!memcmp(q->proof, none, sizeof none))
        return k->sends_mail ? sq_fail(SQ_EPROOF) : SQ_OK;
    sq_err err = keeper_proof_take(&k->proofs, q->proof, q->owner_id, &means);
    if (!err && memcmp(q->link_proof, none, sizeof none) != 0)
        err = keeper_proof_take(&k->proofs, q->link_proof, q->owner_id, &linked);
    bool is_enough = (means & KEEPER_PASSWORD) && ((means & KEEPER_FACTOR) || (linked & KEEPER_RESET));
    return err || is_enough ? err : sq_fail(SQ_EPROOF);
}

void on_factor_forget(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_factor_forget *q = &m->u.factor_forget;
    sq_err err = may_forget(k, q);
    if (!err)
        err = sq_slab_mark(k->slab, q->owner_id, SQ_SLAB_NEEDS_FACTOR, false, sq_clock_now_s());
    sq_ask_end(ask, err, NULL);
}

/* ---- recovery codes ---- */

void on_recovery_make(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_recovery_make *q = &m->u.recovery_make;
    char codes[SQ_RECOVERY_CODES * SQ_RECOVERY_CODE_BYTES], one[SQ_RECOVERY_CODE_BYTES];
    uint8_t hashes[SQ_RECOVERY_CODES][SQ_SHA256_BYTES], means = 0;
    struct sq_key *key = NULL;
    size_t n = 0;
    sq_err err = keeper_proof_take(&k->proofs, q->proof, q->owner_id, &means);
    if (!err && !(means & KEEPER_FACTOR))
        err = sq_fail(SQ_EPROOF);
    if (!err)
        err = keeper_owner_key(k, q->owner_id, "sequester recovery v1", &key);
    for (size_t i = 0; i < SQ_RECOVERY_CODES && !err; i++) {
        err = sq_recovery_make(one);
        if (!err)
            err = sq_recovery_hash(key, q->owner_id, one, hashes[i]);
        n += err ? 0 : (size_t)snprintf(codes + n, sizeof codes - n, "%s%s", one, i + 1 < SQ_RECOVERY_CODES ? "\n" : "");
    }
    if (err) {
        sq_ask_fail(ask, err);
    } else {
        struct sq_msg is = sq_msg_of(recovery_is, .codes = sq_span_of(codes, n), .hashes = sq_span_of(hashes, sizeof hashes));
        sq_ask_reply(ask, &is);
    }
    sq_key_free(key);
    sq_wipe(codes, sizeof codes);
    sq_wipe(one, sizeof one);
}

/* Codes that were made under a former key count too. *out: which of @hashes; UINT64_MAX: none. */
static sq_err find_recovery(struct keeper *k, const uint8_t *owner_id, const char *code, struct sq_span hashes, uint64_t *out)
{
    uint8_t hash[SQ_SHA256_BYTES];
    sq_err err = SQ_OK;
    *out = UINT64_MAX;
    for (unsigned back = 0; !err && *out == UINT64_MAX; back++) {
        struct sq_key *key = NULL;
        err = keeper_owner_key_back(k, owner_id, "sequester recovery v1", back, &key);
        if (!err)
            err = sq_recovery_hash(key, owner_id, code, hash);
        for (size_t i = 0; !err && i < hashes.n / SQ_SHA256_BYTES; i++)
            if (sq_equal_ct(hashes.p + i * SQ_SHA256_BYTES, hash, SQ_SHA256_BYTES))
                *out = i;
        sq_key_free(key);
    }
    return err == SQ_ERANGE ? sq_fail(SQ_ECODE) : err;
}

void on_recovery_check(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_recovery_check *q = &m->u.recovery_check;
    char code[65];
    uint64_t found = UINT64_MAX;
    sq_err err = keeper_clock_ok(k);
    if (!err)
        err = sq_span_copy(q->code, code, sizeof code);
    if (!err)
        err = find_recovery(k, q->owner_id, code, q->hashes, &found);
    sq_wipe(code, sizeof code);
    if (err)
        sq_ask_fail(ask, err);
    else
        keeper_answer_factor(k, ask, q->owner_id, q->proof, 0, found);
}

/* ---- mailed links: registrar keeps them, but only courier, which mails them, gets to see what is in one ---- */

void on_link_make(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_link_make *q = &m->u.link_make;
    uint8_t secret[LINK_SECRET_BYTES], sealed[LINK_SECRET_BYTES + SQ_BOX_EXTRA_BYTES];
    struct keeper_aad aad = keeper_aad_of("link", q->owner_id, q->link_id, q->kind, q->expires_s);
    struct sq_key *key = NULL;
    sq_err err = keeper_owner_key(k, q->owner_id, "sequester link v1", &key);
    if (!err)
        err = sq_random(secret, sizeof secret);
    if (!err)
        err = sq_box_seal(key, aad.bytes, aad.n, secret, sizeof secret, sealed);
    sq_key_free(key);
    sq_wipe(secret, sizeof secret);
    if (err) {
        sq_ask_fail(ask, err);
        return;
    }
    struct sq_msg is = sq_msg_of(sealed_is, .sealed = sq_span_of(sealed, sizeof sealed));
    sq_ask_reply(ask, &is);
}

static sq_err open_link(struct keeper *k, const uint8_t *owner, const uint8_t *id, uint8_t kind, uint64_t expires_s, struct sq_span sealed, uint8_t out[LINK_SECRET_BYTES])
{
    struct keeper_aad aad = keeper_aad_of("link", owner, id, kind, expires_s);
    sq_err err = keeper_clock_ok(k);
    if (!err && (sealed.n != LINK_SECRET_BYTES + SQ_BOX_EXTRA_BYTES || expires_s <= (uint64_t)sq_clock_now_s()))
        err = sq_fail(SQ_ELINK);
    return err ? err : keeper_box_open(k, owner, &(struct keeper_box){"sequester link v1", aad.bytes, aad.n, sealed}, out, NULL);
}

void on_link_open(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_link_open *q = &m->u.link_open;
    struct sq_msg is = sq_msg_bare(link_is);
    sq_err err = open_link(ctx, q->owner_id, q->link_id, q->kind, q->expires_s, q->sealed, is.u.link_is.secret);
    sq_ask_end(ask, err, &is);
    sq_wipe(&is, sizeof is);
}

/* Whoever has the secret had the mail: he knows the address, and the name is on his screen. A new password mustn't be made of either. */
static void answer_right(struct keeper *k, struct sq_ask *ask, const struct sq_msg_link_check *q)
{
    char name[257] = "", mail[SQ_MAIL_MAX_BYTES + 1] = "";
    struct sq_msg is = sq_msg_of(link_right, .means = q->kind == LINK_RESET || q->kind == LINK_REGISTER ? KEEPER_LINK : q->kind == LINK_FACTORS ? KEEPER_RESET : 0);
    sq_err err = q->name.n ? keeper_field_text(k, q->owner_id, q->name, name, sizeof name) : SQ_OK;
    if (!err && q->mail.n)
        err = keeper_mail_text(k, q->owner_id, q->mail, mail);
    if (!err)
        err = keeper_proof_make(&k->proofs, q->owner_id, is.u.link_right.means, is.u.link_right.proof);
    is.u.link_right.name = sq_span_str(name);
    is.u.link_right.mail = sq_span_str(mail);
    sq_ask_end(ask, err, &is);
    sq_wipe(name, sizeof name);
    sq_wipe(mail, sizeof mail);
}

void on_link_check(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_link_check *q = &m->u.link_check;
    uint8_t secret[LINK_SECRET_BYTES];
    sq_err err = open_link(ctx, q->owner_id, q->link_id, q->kind, q->expires_s, q->sealed, secret);
    if (!err && !sq_equal_ct(secret, q->secret, sizeof secret))
        err = sq_fail(SQ_ELINK);
    sq_wipe(secret, sizeof secret);
    if (err)
        sq_ask_fail(ask, err);
    else
        answer_right(ctx, ask, q);
}
