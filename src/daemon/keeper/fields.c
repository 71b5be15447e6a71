/* What persons supplied, sealed under their owner's key; and HMACs by which the database finds a name it can't read. */
#include "daemon/keeper/keeper.h"

#include "lib/core/clock.h"
#include "lib/identity/jwt.h"

#define MAX_ITEMS 256
#define BATCH_MAX_BYTES 49152

#define PURPOSE "sequester field v1"

struct field_aad {
    uint8_t bytes[5 + SQ_ID_BYTES]; /* "field" | owner id */
};

static struct field_aad aad_of(const uint8_t *owner_id)
{
    struct field_aad aad;
    memcpy(aad.bytes, "field", 5);
    memcpy(aad.bytes + 5, owner_id, SQ_ID_BYTES);
    return aad;
}

/* The next item of a batch: u16 BE length | bytes. */
static sq_err next_item(struct sq_span batch, uint32_t *at, struct sq_span *out)
{
    if (batch.n - *at < 2)
        return sq_fail(SQ_ERANGE);
    uint32_t n = (uint32_t)batch.p[*at] << 8 | batch.p[*at + 1];
    if (batch.n - *at - 2 < n)
        return sq_fail(SQ_ERANGE);
    *out = sq_span_of(batch.p + *at + 2, n);
    *at += 2 + n;
    return SQ_OK;
}

/* An item of @n bytes behind what @out holds; *out_at is where they are to be written. */
static sq_err room_for_item(struct sq_buf *out, uint32_t n, uint8_t **out_at)
{
    if (n > UINT16_MAX)
        return sq_fail(SQ_ERANGE);
    const uint8_t head[2] = {(uint8_t)(n >> 8), (uint8_t)(n & 0xff)};
    sq_err err = sq_buf_reserve(out, n + 2);
    if (!err)
        err = sq_buf_add(out, head, sizeof head);
    if (err)
        return err == SQ_ETOOBIG ? sq_fail(SQ_ERANGE) : err;
    *out_at = out->p + out->n;
    out->n += n;
    return SQ_OK;
}

struct fields_of { /* whose */
    struct keeper *k;
    const uint8_t *owner_id;
    struct sq_key *key; /* the present one */
};

static sq_err seal_item(const struct fields_of *f, struct sq_span item, struct sq_buf *out)
{
    uint8_t *at;
    struct field_aad aad = aad_of(f->owner_id);
    sq_err err = room_for_item(out, item.n + SQ_BOX_EXTRA_BYTES, &at);
    return err ? err : sq_box_seal(f->key, aad.bytes, sizeof aad.bytes, item.p, item.n, at);
}

static sq_err open_item(const struct fields_of *f, struct sq_span item, struct sq_buf *out)
{
    uint8_t *at;
    struct field_aad aad = aad_of(f->owner_id);
    if (item.n < SQ_BOX_EXTRA_BYTES)
        return sq_fail(SQ_ETAMPERED);
    sq_err err = room_for_item(out, item.n - SQ_BOX_EXTRA_BYTES, &at);
    if (!err)
        err = sq_box_open(f->key, aad.bytes, sizeof aad.bytes, item.p, item.n, at);
    if (err == SQ_ETAMPERED) /* older than his present key */
        err = keeper_box_open(f->k, f->owner_id, &(struct keeper_box){PURPOSE, aad.bytes, sizeof aad.bytes, item}, at, NULL);
    return err;
}

static sq_err each_item(struct keeper *k, const uint8_t *owner_id, struct sq_span batch, sq_err (*one)(const struct fields_of *, struct sq_span, struct sq_buf *), struct sq_buf *out)
{
    struct fields_of f = {.k = k, .owner_id = owner_id};
    sq_err err = keeper_owner_key(k, owner_id, PURPOSE, &f.key);
    uint32_t at = 0;
    for (unsigned n = 0; !err && at < batch.n; n++) {
        struct sq_span item = {0};
        err = n < MAX_ITEMS ? next_item(batch, &at, &item) : sq_fail(SQ_ERANGE);
        if (!err)
            err = one(&f, item, out);
    }
    sq_key_free(f.key);
    return err;
}

static void answer_fields(struct sq_ask *ask, sq_err err, struct sq_buf *out)
{
    if (err) {
        sq_ask_fail(ask, err);
    } else {
        struct sq_msg is = sq_msg_of(fields_is, .batch = sq_span_of(out->p, out->n));
        sq_ask_reply(ask, &is);
    }
    sq_buf_done(out);
}

/* Goes on while the clock is held: audit entries have sealed fields too. */
void on_fields_seal(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_fields_seal *q = &m->u.fields_seal;
    struct sq_buf out;
    sq_buf_init(&out, BATCH_MAX_BYTES);
    answer_fields(ask, each_item(ctx, q->owner_id, q->batch, seal_item, &out), &out);
}

/* Checked here again, whatever registrar has checked. */
sq_err keeper_token_claims(struct keeper *k, const uint8_t *owner_id, struct sq_span token, struct sq_jwt_claims *out)
{
    uint8_t token_public[SQ_JWT_MAX_KEYS][SQ_ES256_PUBLIC_BYTES], note_public[SQ_ED25519_PUBLIC_BYTES];
    size_t n_key = 0;
    sq_err err = keeper_clock_ok(k);
    if (!err)
        err = keeper_public_keys(k, token_public, &n_key, note_public);
    if (!err)
        err = sq_jwt_verify_any(token_public[0], n_key, k->origin, token, sq_clock_now_s(), out);
    if (!err && memcmp(out->sub, owner_id, SQ_ID_BYTES))
        err = sq_fail(SQ_EDENIED);
    return err;
}

sq_err keeper_is_owner(struct keeper *k, const uint8_t *owner_id, struct sq_span token)
{
    struct sq_jwt_claims claims;
    return keeper_token_claims(k, owner_id, token, &claims);
}

/* Registrar alone can't read what a person supplied: it takes that person's own live token. */
void on_fields_open(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_fields_open *q = &m->u.fields_open;
    struct sq_buf out;
    sq_buf_init(&out, BATCH_MAX_BYTES);
    sq_err err = keeper_is_owner(ctx, q->owner_id, q->token);
    if (!err)
        err = each_item(ctx, q->owner_id, q->batch, open_item, &out);
    answer_fields(ask, err, &out);
}

sq_err keeper_field_text(struct keeper *k, const uint8_t *owner_id, struct sq_span sealed, char *out, size_t n_out)
{
    struct field_aad aad = aad_of(owner_id);
    if (sealed.n < SQ_BOX_EXTRA_BYTES || sealed.n - SQ_BOX_EXTRA_BYTES >= n_out)
        return sq_fail(SQ_ETAMPERED);
    sq_err err = keeper_box_open(k, owner_id, &(struct keeper_box){PURPOSE, aad.bytes, sizeof aad.bytes, sealed}, (uint8_t *)out, NULL);
    if (!err)
        out[sealed.n - SQ_BOX_EXTRA_BYTES] = 0;
    return err;
}

void on_lookup(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    struct sq_key *key = NULL;
    struct sq_msg is = sq_msg_bare(lookup_is);
    sq_err err = sq_slab_key(k->slab, SQ_SLAB_LOOKUP_KEY, sq_slab_site_owner, sq_clock_now_s(), NULL, &key);
    if (!err)
        err = sq_hmac_sha256(key, m->u.lookup.text.p, m->u.lookup.text.n, is.u.lookup_is.hmac);
    sq_key_free(key);
    sq_ask_end(ask, err, &is);
}
