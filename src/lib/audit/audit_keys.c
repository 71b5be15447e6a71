#include "lib/audit/audit_internal.h"

#include "lib/core/clock.h"

#include <stdio.h>

/* Another key signs from here on: said by the key before it, and by the newest one. docs/formats/audit-log.md, "Keys that were replaced". */

#define FIRST_LINE "sequester-key-change/v1\n"

sq_err sq_key_change_text(const struct sq_key_change *c, struct sq_buf *out)
{
    char from[SQ_VKEY_BYTES], to[SQ_VKEY_BYTES], when[21];
    sq_err e = sq_vkey_encode(c->origin, c->from, from);
    if (!e)
        e = sq_vkey_encode(c->origin, c->to, to);
    if (e)
        return e;
    sq_clock_text(c->time_s, when);
    return sq_buf_addf(out, FIRST_LINE "from %s\nto %s\nentries %llu\ntime %s\n", from, to, (unsigned long long)c->size, when);
}

/* The value of the line that begins with @label; *p goes behind it. */
static bool take_value(const char **p, const char *end, const char *label, char *out, size_t size)
{
    size_t n_label = strlen(label);
    const char *lf = *p < end ? memchr(*p, '\n', (size_t)(end - *p)) : NULL;
    if (!lf || (size_t)(lf - *p) <= n_label || memcmp(*p, label, n_label) != 0 || (size_t)(lf - *p) - n_label >= size)
        return false;
    size_t n = (size_t)(lf - *p) - n_label;
    memcpy(out, *p + n_label, n);
    out[n] = 0;
    *p = lf + 1;
    return true;
}

/* Strict: what we would have written for these values, byte for byte. */
static sq_err read_text(struct sq_span text, struct sq_key_change *out)
{
    char from[SQ_VKEY_BYTES], to[SQ_VKEY_BYTES], size[21], when[21], other[SQ_NOTE_NAME_BYTES];
    const char *p = (const char *)text.p, *end = p + text.n;
    struct sq_key_change c = {.size = 0};
    if (text.n < sizeof FIRST_LINE || memcmp(p, FIRST_LINE, sizeof FIRST_LINE - 1) != 0)
        return sq_fail(SQ_EAUDIT);
    p += sizeof FIRST_LINE - 1;
    if (!take_value(&p, end, "from ", from, sizeof from) || !take_value(&p, end, "to ", to, sizeof to) || !take_value(&p, end, "entries ", size, sizeof size) ||
        !take_value(&p, end, "time ", when, sizeof when) || sq_vkey_decode(from, c.origin, NULL, c.from) || sq_vkey_decode(to, other, NULL, c.to) || strcmp(c.origin, other) != 0 ||
        sq_audit_decimal(size, strlen(size), &c.size) || !sq_clock_read(when, &c.time_s))
        return sq_fail(SQ_EAUDIT);
    struct sq_buf again;
    sq_buf_init(&again, SQ_NOTE_MAX_BYTES);
    sq_err e = sq_key_change_text(&c, &again);
    if (!e && (again.n != text.n || memcmp(again.p, text.p, text.n) != 0))
        e = sq_fail(SQ_EAUDIT);
    sq_buf_done(&again);
    if (!e)
        *out = c;
    return e;
}

/* @public_key has signed this change. */
static bool is_signed_by(const uint8_t public_key[SQ_ED25519_PUBLIC_BYTES], const char *origin, const char *note, size_t n, struct sq_key_change *out)
{
    char vkey[SQ_VKEY_BYTES];
    struct sq_span text;
    return !sq_vkey_encode(origin, public_key, vkey) && !sq_note_open(vkey, note, n, &text) && !read_text(text, out) && !strcmp(out->origin, origin);
}

/* ---- who is believed ---- */

static bool knows(const struct sq_note_keys *keys, const uint8_t public_key[SQ_ED25519_PUBLIC_BYTES])
{
    for (size_t i = 0; i < keys->n; i++)
        if (!memcmp(keys->key[i].public_key, public_key, SQ_ED25519_PUBLIC_BYTES))
            return true;
    return false;
}

static sq_err add(struct sq_note_keys *keys, const char *name, const uint8_t public_key[SQ_ED25519_PUBLIC_BYTES], uint64_t last_size)
{
    if (keys->n == SQ_NOTE_MAX_KEYS || knows(keys, public_key))
        return SQ_OK;
    struct sq_note_key *k = &keys->key[keys->n];
    memcpy(k->public_key, public_key, sizeof k->public_key);
    k->last_size = last_size;
    sq_err e = sq_vkey_encode(name, public_key, k->vkey);
    keys->n += !e;
    return e;
}

/* The record at *at; *at goes behind it. NULL: the end. */
static const char *next_note(const char *changes, size_t n, size_t *at, size_t *out_n)
{
    size_t len = *at < n ? sq_checkpoint_record(changes + *at, n - *at) : 0;
    const char *note = changes + *at;
    *at += len;
    *out_n = len ? len - 1 : 0; /* without the empty line */
    return len ? note : NULL;
}

/* The same change: its file was added twice, or signed anew by a later key. */
static bool is_same(const struct sq_key_change *a, const struct sq_key_change *b)
{
    return !memcmp(a->to, b->to, sizeof a->to) && a->size == b->size && a->time_s == b->time_s;
}

/* The change from @newest to another key, if it has signed exactly one; however often that one stands there. */
static bool follow(const char *origin, const char *changes, size_t n, const struct sq_note_key *newest, struct sq_key_change *out)
{
    size_t at = 0, n_note;
    bool is_found = false;
    for (const char *note; (note = next_note(changes, n, &at, &n_note));) {
        struct sq_key_change c;
        if (is_signed_by(newest->public_key, origin, note, n_note, &c) && !memcmp(c.from, newest->public_key, sizeof c.from)) {
            if (is_found && !is_same(&c, out))
                return false;
            is_found = true;
            *out = c;
        }
    }
    return is_found;
}

sq_err sq_note_keys_from(const char *vkey, const char *changes, size_t n, struct sq_note_keys *out)
{
    static const char receipt[] = "/receipt";
    char name[SQ_NOTE_NAME_BYTES], origin[SQ_NOTE_NAME_BYTES];
    uint8_t public_key[SQ_ED25519_PUBLIC_BYTES];
    struct sq_key_change c;
    *out = (struct sq_note_keys){.n = 0};
    sq_err e = sq_vkey_decode(vkey, name, NULL, public_key);
    if (e)
        return e;
    memcpy(origin, name, sizeof origin);
    size_t n_name = strlen(name);
    if (n_name > sizeof receipt - 1 && !strcmp(name + n_name - (sizeof receipt - 1), receipt))
        origin[n_name - (sizeof receipt - 1)] = 0;
    e = add(out, name, public_key, UINT64_MAX);
    /* forward: each key names the next; who was believed is a former key from there on */
    while (!e && out->n < SQ_NOTE_MAX_KEYS && follow(origin, changes, n, &out->key[out->n - 1], &c) && !knows(out, c.to)) {
        out->key[out->n - 1].last_size = c.size;
        e = add(out, name, c.to, UINT64_MAX);
    }
    /* backward: what the newest says of keys before it; those name nobody */
    size_t at = 0, n_note;
    struct sq_note_key newest = out->key[out->n ? out->n - 1 : 0];
    for (const char *note; !e && (note = next_note(changes, n, &at, &n_note));)
        if (is_signed_by(newest.public_key, origin, note, n_note, &c) && memcmp(c.from, newest.public_key, sizeof c.from) != 0)
            e = add(out, name, c.from, c.size);
    return e;
}

sq_err sq_note_open_any(const struct sq_note_keys *keys, const char *note, size_t n, struct sq_span *out_text)
{
    sq_err e = SQ_EAUDIT;
    for (size_t i = 0; i < keys->n && e; i++)
        e = sq_note_open(keys->key[i].vkey, note, n, out_text);
    return e;
}

sq_err sq_note_verify_any(const struct sq_note_keys *keys, const char *note, size_t n, struct sq_note_head *out)
{
    for (size_t i = 0; i < keys->n; i++)
        if (!sq_note_verify(keys->key[i].vkey, note, n, out) && out->size <= keys->key[i].last_size)
            return SQ_OK;
    return sq_fail(SQ_EAUDIT);
}
