/*
 * Mail addresses: sealed under their owner's key with a purpose and associated data of their own, so that no other sealed
 * field can be opened as one. Two get to see one: courier, to write on an envelope what registrar gave it sealed; and the
 * owner himself, with his own live token. Registrar alone never does.
 */
#include "daemon/keeper/keeper.h"

#include "lib/core/address.h"
#include "lib/core/clock.h"

struct mail_aad {
    uint8_t bytes[4 + SQ_ID_BYTES]; /* "mail" | owner id */
};

static struct mail_aad aad_of(const uint8_t *owner_id)
{
    struct mail_aad aad;
    memcpy(aad.bytes, "mail", 4);
    memcpy(aad.bytes + 4, owner_id, SQ_ID_BYTES);
    return aad;
}

void on_mail_seal(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_mail_seal *q = &m->u.mail_seal;
    char address[SQ_MAIL_MAX_BYTES + 1];
    uint8_t sealed[SQ_MAIL_MAX_BYTES + SQ_BOX_EXTRA_BYTES];
    struct mail_aad aad = aad_of(q->owner_id);
    struct sq_key *key = NULL;
    sq_err err = sq_span_copy(q->address, address, sizeof address);
    if (!err)
        err = sq_mail_check(address, NULL);
    if (!err) /* a link that sets a password goes there */
        err = keeper_may_change(ctx, q->owner_id, q->proof, false);
    if (!err)
        err = keeper_owner_key(ctx, q->owner_id, "sequester mail v1", &key);
    if (!err)
        err = sq_box_seal(key, aad.bytes, sizeof aad.bytes, q->address.p, q->address.n, sealed);
    sq_key_free(key);
    sq_wipe(address, sizeof address);
    if (err) {
        sq_ask_fail(ask, err);
        return;
    }
    struct sq_msg is = sq_msg_of(sealed_is, .sealed = sq_span_of(sealed, q->address.n + SQ_BOX_EXTRA_BYTES));
    sq_ask_reply(ask, &is);
}

sq_err keeper_mail_text(struct keeper *k, const uint8_t *owner_id, struct sq_span sealed, char *out)
{
    if (sealed.n <= SQ_BOX_EXTRA_BYTES || sealed.n > SQ_MAIL_MAX_BYTES + SQ_BOX_EXTRA_BYTES)
        return sq_fail(SQ_ETAMPERED);
    struct mail_aad aad = aad_of(owner_id);
    sq_err err = keeper_clock_ok(k);
    if (!err)
        err = keeper_box_open(k, owner_id, &(struct keeper_box){"sequester mail v1", aad.bytes, sizeof aad.bytes, sealed}, (uint8_t *)out, NULL);
    if (!err)
        out[sealed.n - SQ_BOX_EXTRA_BYTES] = 0;
    return err;
}

void on_mail_open(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    char address[SQ_MAIL_MAX_BYTES + 1];
    sq_err err = keeper_mail_text(ctx, m->u.mail_open.owner_id, m->u.mail_open.sealed, address);
    if (err) {
        sq_ask_fail(ask, err);
        return;
    }
    struct sq_msg is = sq_msg_of(mail_is, .address = sq_span_str(address));
    sq_ask_reply(ask, &is);
    sq_wipe(address, sizeof address);
}

void on_mail_show(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_mail_show *q = &m->u.mail_show;
    char address[SQ_MAIL_MAX_BYTES + 1];
    sq_err err = keeper_is_owner(ctx, q->owner_id, q->token);
    if (!err)
        err = keeper_mail_text(ctx, q->owner_id, q->sealed, address);
    if (err) {
        sq_ask_fail(ask, err);
        return;
    }
    struct sq_msg is = sq_msg_of(mail_shown, .address = sq_span_str(address));
    sq_ask_reply(ask, &is);
    sq_wipe(address, sizeof address);
}
