/* `sequester admin key ...`: how the root key is locked. The work is keeper's; here it is asked for and recorded. */
#include "daemon/registrar/admin.h"

#define REKEY_MS (3600 * 1000) /* one durable write for each owner */

static const char *const backend_name[] = {"none", "passphrase", "file", "shares", "pkcs11"};

static const char *name_of(uint8_t backend)
{
    return backend < sizeof backend_name / sizeof backend_name[0] ? backend_name[backend] : "unknown";
}

static struct sq_span secret_arg(struct admin *a, const char *key)
{
    const char *s = json_string_value(json_object_get(a->args, key));
    return sq_span_str(s ? s : "");
}

sq_err admin_key_status(struct admin *a)
{
    struct sq_msg ask = sq_msg_bare(key_state), m;
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    sq_err e = sq_node_call(a->r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e) {
        const struct sq_msg_key_state_is *s = &m.u.key_state_is;
        a->answer = json_pack("{s:s, s:s, s:i, s:b, s:i, s:i, s:i}", "locked_by", name_of(s->backend), "configured", name_of(s->wanted), "root_key", (int)s->root_no,
                              "rotation_under_way", (int)s->is_rotating, "shares", (int)s->n_share, "threshold", (int)s->threshold, "shares_given", (int)s->n_given);
    }
    sq_packet_free(pkt);
    return e;
}

static sq_err rekey(struct admin *a, const struct sq_msg *ask)
{
    struct sq_msg m;
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    sq_err e = sq_node_call(a->r->node, SQ_ROLE_KEEPER, ask, REKEY_MS, pkt, &m);
    uint32_t root_no = e ? 0 : m.u.key_rotated_is.root_no, n = e ? 0 : m.u.key_rotated_is.n_slot;
    sq_packet_free(pkt);
    sq_err kept = record(a->r, &(struct event){.no = SQ_AUDIT_key_rotated, .result = e, .by = &a->by, .a = root_no});
    if (!e)
        a->answer = json_pack("{s:i, s:i}", "root_key", (int)root_no, "keys_wrapped_anew", (int)n);
    return e ? e : kept;
}

sq_err admin_key_rotate(struct admin *a)
{
    struct sq_msg m = sq_msg_of(key_rotate, .passphrase = secret_arg(a, "passphrase"));
    sq_err e = rekey(a, &m);
    return e == SQ_ECONFLICT ? sq_why_set(&a->why, SQ_ECONFLICT, 0, 0, "shares", "the key is in shares: rotate by making new ones (sequester admin key split)") : e;
}

/* ---- keys that the root key wraps ---- */

enum { REPLACE_TOKENS = 1, REPLACE_NOTES = 2, REPLACE_OWNERS = 3 }; /* message key_replace */

/* What it signed verifies as long as any of it lives; or no more at all. */
static sq_err last_token_end(struct registrar *r, uint64_t *out_s)
{
    int64_t last_s = 0;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_token_last_end(db, &last_s);
    db_unlock(r);
    *out_s = last_s > 0 ? (uint64_t)last_s : 1; /* 0 would mean at once */
    return e;
}

static sq_err ask_replace(struct admin *a, const struct sq_msg *ask, struct sq_msg_key_replaced_is *out)
{
    struct sq_msg m;
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    sq_err e = sq_node_call(a->r->node, SQ_ROLE_KEEPER, ask, REKEY_MS, pkt, &m);
    if (!e)
        *out = m.u.key_replaced_is;
    sq_packet_free(pkt);
    keys_forget(a->r); /* whatever the answer: it may have been done and the answer lost */
    return e;
}

static sq_err busy(struct admin *a, const char *which)
{
    return sq_why_set(&a->why, SQ_EBUSY, 0, 0, which, "another key is being replaced, or this one was so often that it is done once a day at most: see docs/keys.md");
}

static sq_err replace_tokens(struct admin *a, bool is_now)
{
    struct sq_msg ask = sq_msg_of(key_replace, .which = REPLACE_TOKENS, .passphrase = secret_arg(a, "passphrase"));
    struct sq_msg_key_replaced_is is = {.number = 0};
    int64_t n_ended = 0;
    char until[21] = "";
    sq_err e = is_now ? SQ_OK : last_token_end(a->r, &ask.u.key_replace.until_s);
    if (!e)
        e = ask_replace(a, &ask, &is);
    if (e == SQ_EBUSY)
        return busy(a, "tokens");
    if (e == SQ_ECONFLICT)
        return sq_why_set(&a->why, SQ_ECONFLICT, 0, 0, "tokens", "as many former keys as there may be still verify tokens: wait until one has ended (key status), or end all sessions with --now");
    sq_err kept = record(a->r, &(struct event){.no = SQ_AUDIT_keys_replaced, .result = e, .by = &a->by, .a = REPLACE_TOKENS, .b = is.number});
    if (!e && is_now) /* nothing verifies them any more: their rows say so too */
        e = revoke_everybody(a->r, &a->by, &n_ended);
    if (e || kept)
        return e ? e : kept;
    sq_clock_text((int64_t)is.until_s, until);
    a->answer = json_pack("{s:s, s:I, s:o, s:I}", "replaced", "tokens", "number", (json_int_t)is.number, "former_until", is_now ? json_null() : json_string(until), "ended", (json_int_t)n_ended);
    return SQ_OK;
}

/* One at a time from asking until it is written: of two replacements at one moment the later list stays. */
static pthread_mutex_t taking = PTHREAD_MUTEX_INITIALIZER;

sq_err note_keys_take(struct registrar *r)
{
    struct sq_msg ask = sq_msg_bare(note_keys), m;
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    pthread_mutex_lock(&taking);
    sq_err e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e) {
        struct sq_span changes = m.u.note_keys_is.changes;
        pthread_mutex_lock(&r->lock);
        e = sq_audit_keys_set(r->log, (const char *)changes.p, changes.n);
        pthread_mutex_unlock(&r->lock);
    }
    pthread_mutex_unlock(&taking);
    sq_packet_free(pkt);
    return e;
}

static sq_err replace_notes(struct admin *a)
{
    struct sq_msg ask = sq_msg_of(key_replace, .which = REPLACE_NOTES, .passphrase = secret_arg(a, "passphrase"));
    struct sq_msg_key_replaced_is is = {.number = 0};
    bool is_unsealed;
    uint64_t size;
    sq_err e = ask_replace(a, &ask, &is);
    if (e == SQ_EBUSY)
        return busy(a, "notes");
    if (e == SQ_EFULL)
        return sq_why_set(&a->why, SQ_ECONFLICT, 0, 0, "notes", "the key was replaced as often as it may be (%d times)", SQ_NOTE_MAX_FORMER);
    if (!e)
        e = keeper_learn(a->r, &is_unsealed, &size);
    if (!e)
        e = note_keys_take(a->r);
    sq_err kept = record(a->r, &(struct event){.no = SQ_AUDIT_keys_replaced, .result = e, .by = &a->by, .a = REPLACE_NOTES, .b = is.number});
    if (!e && !kept)
        a->answer = json_pack("{s:s, s:I}", "replaced", "notes", "number", (json_int_t)is.number);
    return e ? e : kept;
}

static sq_err replace_owners(struct admin *a)
{
    struct sq_msg ask = sq_msg_of(key_replace, .which = REPLACE_OWNERS, .passphrase = secret_arg(a, "passphrase"));
    struct sq_msg_key_replaced_is is = {.number = 0};
    struct resealed done = {.n = 0};
    sq_err e = ask_replace(a, &ask, &is);
    sq_err kept = record(a->r, &(struct event){.no = SQ_AUDIT_keys_replaced, .result = e, .by = &a->by, .a = REPLACE_OWNERS, .b = is.n_key});
    if (e == SQ_EBUSY)
        return busy(a, "owners");
    if (e == SQ_EFULL)
        return sq_why_set(&a->why, SQ_ECONFLICT, 0, 0, "owners", "a key was replaced as often as it may be (255 times)");
    if (!e)
        e = reseal_all(a->r, &done);
    if (e || kept)
        return e ? e : kept;
    a->answer = json_pack("{s:s, s:I, s:I, s:I}", "replaced", "owners", "keys", (json_int_t)is.n_key, "sealed_anew", (json_int_t)done.n, "not_opened", (json_int_t)done.n_left);
    return SQ_OK;
}

sq_err admin_key_replace(struct admin *a)
{
    const char *which = admin_arg(a, "which");
    if (!which)
        return sq_fail(SQ_EFIELD);
    if (!strcmp(which, "tokens"))
        return replace_tokens(a, json_is_true(json_object_get(a->args, "now")));
    if (!strcmp(which, "owners"))
        return replace_owners(a);
    if (!strcmp(which, "notes"))
        return replace_notes(a);
    return sq_why_set(&a->why, SQ_EFIELD, 0, 0, "which", "must be tokens, notes or owners");
}

sq_err admin_key_passphrase(struct admin *a)
{
    struct sq_msg m = sq_msg_of(key_passphrase, .present = secret_arg(a, "present"), .passphrase = secret_arg(a, "passphrase"));
    sq_err e = rekey(a, &m);
    return e == SQ_ECONFLICT ? sq_why_set(&a->why, SQ_ECONFLICT, 0, 0, "key_backend", "the configuration says another key_backend: set it to passphrase and restart first") : e;
}

sq_err admin_key_split(struct admin *a)
{
    json_int_t shares = json_integer_value(json_object_get(a->args, "shares")), threshold = json_integer_value(json_object_get(a->args, "threshold"));
    if (shares < 2 || shares > SQ_SPLIT_MAX_SHARES || threshold < 2 || threshold > shares)
        return sq_why_set(&a->why, SQ_EFIELD, 0, 0, "shares", "2 to 16 shares, of which 2 or more, and at most all, are needed");
    struct sq_msg ask = sq_msg_of(key_split, .present = secret_arg(a, "present"), .n_share = (uint8_t)shares, .threshold = (uint8_t)threshold), m;
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    sq_err e = sq_node_call(a->r->node, SQ_ROLE_KEEPER, &ask, REKEY_MS, pkt, &m);
    if (!e) {
        struct sq_span text = m.u.key_shares_is.shares;
        a->answer = json_pack("{s:s#}", "shares", (const char *)text.p, text.n);
    }
    sq_packet_free(pkt);
    sq_err kept = record(a->r, &(struct event){.no = SQ_AUDIT_key_rotated, .result = e, .by = &a->by, .b = (uint64_t)shares});
    return e ? e : kept;
}
