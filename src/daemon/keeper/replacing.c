/*
 * Other keys in the place of those that the root key wraps, while everything goes on being used (slab_former.c has the bytes). The new key counts from the next
 * signature on; who knows the old one's public half goes on verifying what it signed.
 */
#include "daemon/keeper/keeper.h"

#include "lib/audit/audit.h"
#include "lib/core/clock.h"
#include "lib/core/log.h"

enum { REPLACE_TOKEN_KEY = 1, REPLACE_NOTE_KEY = 2, REPLACE_OWNERS = 3 }; /* message key_replace */
#define OWNERS_PAGE 256
#define REST_S (24 * 3600)

/* Numbers of former keys are used up. Whoever has captured registrar shan't use up all of them in an hour: behind the first half it is once a day. (Dropping
 * a token key's former ones takes no number, and always works.) */
static sq_err is_due(struct keeper *k, const struct sq_msg_key_replace *q)
{
    enum sq_slab_type type = q->which == REPLACE_TOKEN_KEY ? SQ_SLAB_TOKEN_KEY : q->which == REPLACE_NOTE_KEY ? SQ_SLAB_NOTE_KEY : SQ_SLAB_OWNER;
    unsigned most = type == SQ_SLAB_NOTE_KEY ? SQ_NOTE_MAX_FORMER : SQ_SLAB_MAX_NUMBER;
    struct sq_slab_slot slot;
    int64_t now_s = sq_clock_now_s();
    if (type == SQ_SLAB_TOKEN_KEY && !q->until_s)
        return SQ_OK;
    sq_err err = sq_slab_look(k->slab, type, sq_slab_site_owner, now_s, &slot);
    return !err && slot.number >= most / 2 && slot.number < most && now_s - (int64_t)slot.created_s < REST_S ? sq_fail(SQ_EBUSY) : err;
}

/* Until when a former key verifies: as long as registrar knows a token, or a token lives that was signed since the start, whose row may not be written yet. */
static uint64_t end_of_former(const struct keeper *k, uint64_t wanted_s, int64_t now_s)
{
    uint64_t least = (uint64_t)(k->publics.last_token_s > now_s ? k->publics.last_token_s : now_s + SQ_JWT_LEEWAY_S), most = (uint64_t)(now_s + SQ_JWT_MAX_LIFE_S);
    uint64_t until_s = wanted_s > least ? wanted_s : least;
    return until_s < most ? until_s : most;
}

static sq_err replace_token_key(struct keeper *k, uint64_t until_s, struct sq_msg_key_replaced_is *out)
{
    uint8_t token[SQ_JWT_MAX_KEYS][SQ_ES256_PUBLIC_BYTES], note[SQ_ED25519_PUBLIC_BYTES], number = 0;
    struct sq_slab_replacing how = {.type = SQ_SLAB_TOKEN_KEY, .id = sq_slab_site_owner, .is_dropped = !until_s};
    int64_t now_s = sq_clock_now_s();
    size_t n = 0;
    sq_err err = how.is_dropped ? SQ_OK : keeper_public_keys(k, token, &n, note); /* dropped, whatever is known of them */
    if (!err && n >= SQ_JWT_MAX_KEYS)
        err = sq_fail(SQ_ECONFLICT); /* one more, and the oldest couldn't be offered any more */
    pthread_mutex_lock(&k->publics.lock);
    how.not_after_s = how.is_dropped ? 0 : end_of_former(k, until_s, now_s);
    if (!err)
        err = sq_slab_replace(k->slab, &how, now_s, &number);
    k->publics.is_known = false;
    pthread_mutex_unlock(&k->publics.lock);
    *out = (struct sq_msg_key_replaced_is){.number = number, .n_key = 1, .until_s = how.not_after_s};
    return err;
}

/* ---- the key that signs notes: the old one names the new one, and nothing of it stays but its public half ---- */

static sq_err draw_successor(struct keeper *k, const struct sq_key *old, struct sq_key_change *c, struct sq_key **fresh, struct sq_key **kept, uint8_t sig[SQ_ED25519_SIG_BYTES])
{
    struct sq_buf text;
    sq_buf_init(&text, SQ_NOTE_MAX_BYTES);
    sq_err err = sq_ed25519_public(old, c->from);
    if (!err)
        err = sq_key_new(fresh);
    if (!err)
        err = sq_ed25519_public(*fresh, c->to);
    if (!err)
        err = sq_span_copy(sq_span_str(k->origin), c->origin, sizeof c->origin);
    if (!err)
        err = sq_key_change_text(c, &text);
    if (!err)
        err = sq_ed25519_sign(old, text.p, text.n, sig);
    if (!err)
        err = sq_key_from(c->from, kept);
    sq_buf_done(&text);
    return err;
}

/* No tree is signed meanwhile: the old key says how large the last one was. */
static sq_err replace_note_key(struct keeper *k, struct sq_msg_key_replaced_is *out)
{
    uint8_t root[SQ_SHA256_BYTES], sig[SQ_ED25519_SIG_BYTES], number = 0;
    struct sq_key *old = NULL, *fresh = NULL, *kept = NULL;
    struct sq_slab_slot slot;
    struct sq_key_change c = {.time_s = sq_clock_now_s()};
    pthread_mutex_lock(&k->signing);
    sq_slab_tree(k->slab, &c.size, root);
    sq_err err = sq_slab_key(k->slab, SQ_SLAB_NOTE_KEY, sq_slab_site_owner, c.time_s, &slot, &old);
    if (!err && slot.number >= SQ_NOTE_MAX_FORMER)
        err = sq_fail(SQ_EFULL);
    if (!err)
        err = draw_successor(k, old, &c, &fresh, &kept, sig);
    struct sq_slab_replacing how = {.type = SQ_SLAB_NOTE_KEY, .id = sq_slab_site_owner, .fresh = fresh, .kept = kept, .sig = sig};
    sq_put_be64(how.note, c.size);
    if (!err)
        err = sq_slab_replace(k->slab, &how, c.time_s, &number);
    pthread_mutex_lock(&k->publics.lock);
    k->publics.is_known = false;
    pthread_mutex_unlock(&k->publics.lock);
    pthread_mutex_unlock(&k->signing);
    sq_key_free(old);
    sq_key_free(fresh);
    sq_key_free(kept);
    *out = (struct sq_msg_key_replaced_is){.number = number, .n_key = 1};
    return err;
}

/* What is known of key @number: its public half, and when it began. */
static sq_err note_key_public(struct keeper *k, uint8_t number, uint8_t present, struct sq_slab_slot *slot, uint8_t out[SQ_ED25519_PUBLIC_BYTES])
{
    struct sq_key *key = NULL;
    int64_t now_s = sq_clock_now_s();
    sq_err err = number == present ? sq_slab_key(k->slab, SQ_SLAB_NOTE_KEY, sq_slab_site_owner, now_s, slot, &key)
                                   : sq_slab_former(k->slab, SQ_SLAB_NOTE_KEY, sq_slab_site_owner, number, now_s, slot, &key);
    if (!err && number == present)
        err = sq_ed25519_public(key, out);
    else if (!err)
        memcpy(out, sq_key_bytes(key), SQ_ED25519_PUBLIC_BYTES);
    sq_key_free(key);
    return err;
}

/* The change from @number to the next: as the old key signed it then, and signed by the present one now. */
static sq_err add_change(struct keeper *k, uint8_t number, uint8_t present, const struct sq_key *seed, struct sq_buf *out)
{
    struct sq_slab_slot from, to;
    struct sq_key_change c = {.size = 0};
    uint8_t sig[SQ_ED25519_SIG_BYTES], public_key[SQ_ED25519_PUBLIC_BYTES];
    size_t before = out->n;
    sq_err err = note_key_public(k, number, present, &from, c.from);
    if (!err)
        err = note_key_public(k, (uint8_t)(number + 1), present, &to, c.to);
    if (err)
        return err;
    c.size = sq_get_be64(from.owner);
    c.time_s = (int64_t)to.created_s;
    err = sq_span_copy(sq_span_str(k->origin), c.origin, sizeof c.origin);
    if (!err)
        err = sq_key_change_text(&c, out);
    if (!err)
        err = sq_ed25519_sign(seed, out->p + before, out->n - before, sig);
    if (!err)
        err = sq_buf_add(out, "\n", 1);
    if (!err)
        err = sq_note_add_signature(k->origin, c.from, from.sig, out);
    if (!err)
        err = sq_ed25519_public(seed, public_key);
    if (!err)
        err = sq_note_add_signature(k->origin, public_key, sig, out);
    return err ? err : sq_buf_add(out, "\n", 1);
}

void on_note_keys(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    (void)m;
    struct sq_slab_slot slot = {.number = 0};
    struct sq_key *seed = NULL;
    struct sq_buf notes;
    sq_buf_init(&notes, SQ_KEY_CHANGES_MAX_BYTES);
    pthread_mutex_lock(&k->signing); /* no replacement between one change and the next */
    sq_err err = sq_slab_key(k->slab, SQ_SLAB_NOTE_KEY, sq_slab_site_owner, sq_clock_now_s(), &slot, &seed);
    for (unsigned no = 0; no < slot.number && !err; no++)
        err = add_change(k, (uint8_t)no, slot.number, seed, &notes);
    pthread_mutex_unlock(&k->signing);
    sq_key_free(seed);
    if (err) {
        sq_ask_fail(ask, err);
    } else {
        struct sq_msg is = sq_msg_of(note_keys_is, .changes = sq_span_of(notes.p, notes.n));
        sq_ask_reply(ask, &is);
    }
    sq_buf_done(&notes);
}

/* SQ_EKEYGONE and SQ_ENOTFOUND of an owner who lives aren't his end: something stands where his former key would. */
static sq_err replace_owner(struct keeper *k, const uint8_t *id, struct sq_msg_key_replaced_is *out)
{
    uint8_t number = 0;
    int64_t now_s = sq_clock_now_s();
    struct sq_slab_slot slot;
    sq_err err = sq_slab_replace(k->slab, &(struct sq_slab_replacing){.type = SQ_SLAB_OWNER, .id = id}, now_s, &number);
    out->n_key += !err;
    out->number = number > out->number ? number : out->number;
    if (err != SQ_EKEYGONE && err != SQ_ENOTFOUND)
        return err;
    err = sq_slab_look(k->slab, SQ_SLAB_OWNER, id, now_s, &slot);
    return err == SQ_EKEYGONE || err == SQ_ENOTFOUND ? SQ_OK : sq_fail(SQ_ETAMPERED); /* his end came meanwhile, or not */
}

/* Each owner by himself: cut short, some have another key and some don't yet, and all is readable. One that fails holds up nobody else; the first error is told. */
static sq_err replace_owners(struct keeper *k, struct sq_msg_key_replaced_is *out)
{
    uint8_t listed[OWNERS_PAGE * SQ_SLAB_LISTED_BYTES];
    uint32_t n = 0, from = 0;
    sq_err err, first = SQ_OK;
    do {
        err = sq_slab_list(k->slab, SQ_SLAB_OWNER, from, listed, OWNERS_PAGE, &n, &from);
        for (uint32_t i = 0; i < n && !err; i++) {
            sq_err one = replace_owner(k, listed + (size_t)i * SQ_SLAB_LISTED_BYTES, out);
            first = first ? first : one;
        }
    } while (!err && from);
    return first ? first : err;
}

static sq_err replace_one(struct keeper *k, const struct sq_msg_key_replace *q, struct sq_msg_key_replaced_is *out)
{
    if (pthread_mutex_trylock(&k->relocking))
        return sq_fail(SQ_EBUSY);
    pthread_mutex_lock(&k->backoff.lock);
    sq_err err = keeper_may_relock(k, q->passphrase);
    pthread_mutex_unlock(&k->backoff.lock);
    if (!err)
        err = is_due(k, q);
    if (!err && q->which == REPLACE_TOKEN_KEY)
        err = replace_token_key(k, q->until_s, out);
    else if (!err && q->which == REPLACE_NOTE_KEY)
        err = replace_note_key(k, out);
    else if (!err)
        err = q->which == REPLACE_OWNERS ? replace_owners(k, out) : sq_fail(SQ_ERANGE);
    pthread_mutex_unlock(&k->relocking);
    return err;
}

void on_key_replace(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    struct keeper *k = ctx;
    const struct sq_msg_key_replace *q = &m->u.key_replace;
    struct sq_msg is = sq_msg_bare(key_replaced_is);
    sq_err err = keeper_clock_ok(k);
    if (!err)
        err = replace_one(k, q, &is.u.key_replaced_is);
    if (err) {
        sq_log(SQ_LOG_failed, SQ_LW("what", "key_replace"), SQ_LW("code", sq_err_name(err)));
        sq_ask_fail(ask, err);
        return;
    }
    sq_log(SQ_LOG_key_replaced, SQ_LN("which", q->which), SQ_LN("number", is.u.key_replaced_is.number), SQ_LN("keys", is.u.key_replaced_is.n_key));
    sq_ask_reply(ask, &is);
}
