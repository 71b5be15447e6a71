/* Which keys follow from one that is trusted: forward as each names the next, backward as the newest says; and what a thief of one key can't make of it. */
#include "lib/audit/audit.h"
#include "lib/core/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define ORIGIN "hub.example.org/log"
#define N_KEY 6

static struct sq_key *seed[N_KEY];
static uint8_t public_half[N_KEY][SQ_ED25519_PUBLIC_BYTES];

static void ok(sq_err err)
{
    assert_int_equal(err, SQ_OK);
}

static int start(void **state)
{
    (void)state;
    bool is_bad = sq_crypt_start() != SQ_OK;
    for (int i = 0; i < N_KEY && !is_bad; i++)
        is_bad = sq_key_new(&seed[i]) || sq_ed25519_public(seed[i], public_half[i]);
    return is_bad ? -1 : 0;
}

static int stop(void **state)
{
    (void)state;
    for (int i = 0; i < N_KEY; i++)
        sq_key_free(seed[i]);
    return 0;
}

static const char *vkey_of(int key, const char *name)
{
    static char vkey[SQ_VKEY_BYTES];
    ok(sq_vkey_encode(name, public_half[key], vkey));
    return vkey;
}

/* A record: from @from to @to at @size, signed by each of @signers (-1 ends). */
static void change(struct sq_buf *out, int from, int to, uint64_t size, const int *signers)
{
    struct sq_key_change c = {.origin = ORIGIN, .size = size, .time_s = 1800000000};
    uint8_t sig[SQ_ED25519_SIG_BYTES];
    size_t at = out->n;
    memcpy(c.from, public_half[from], sizeof c.from);
    memcpy(c.to, public_half[to], sizeof c.to);
    ok(sq_key_change_text(&c, out));
    size_t n = out->n - at;
    ok(sq_buf_add(out, "\n", 1));
    for (; *signers >= 0; signers++) {
        ok(sq_ed25519_sign(seed[*signers], out->p + at, n, sig));
        ok(sq_note_add_signature(ORIGIN, public_half[*signers], sig, out));
    }
    ok(sq_buf_add(out, "\n", 1));
}
#define BY(...) ((const int[]){__VA_ARGS__, -1})

/* 0 -> 1 at 10, 1 -> 2 at 20: as keeper writes it, each signed by the key before and by the present one */
static void honest(struct sq_buf *out)
{
    change(out, 0, 1, 10, BY(0, 2));
    change(out, 1, 2, 20, BY(1, 2));
}

static bool believes_under(const struct sq_buf *changes, int key, const char *name, int other)
{
    struct sq_note_keys keys;
    char want[SQ_VKEY_BYTES];
    snprintf(want, sizeof want, "%s", vkey_of(other, name));
    ok(sq_note_keys_from(vkey_of(key, name), (const char *)changes->p, changes->n, &keys));
    for (size_t i = 0; i < keys.n; i++)
        if (!strcmp(keys.key[i].vkey, want))
            return true;
    return false;
}

static bool believes(const struct sq_buf *changes, int key, int other)
{
    return believes_under(changes, key, ORIGIN, other);
}

/* A checkpoint of @size by @signer, to whoever trusts @key. */
static bool takes(const struct sq_buf *changes, int key, int signer, uint64_t size)
{
    struct sq_note_keys keys;
    struct sq_note_head head;
    struct sq_buf text, note;
    const uint8_t root[SQ_AUDIT_HASH_BYTES] = {1};
    sq_buf_init(&text, 0);
    sq_buf_init(&note, 0);
    ok(sq_note_keys_from(vkey_of(key, ORIGIN), (const char *)changes->p, changes->n, &keys));
    ok(sq_note_text(ORIGIN, size, root, &text));
    ok(sq_note_sign(seed[signer], ORIGIN, (const char *)text.p, text.n, &note));
    bool is_taken = sq_note_verify_any(&keys, (const char *)note.p, note.n, &head) == SQ_OK;
    sq_buf_done(&text);
    sq_buf_done(&note);
    return is_taken;
}

/* A kept checkpoint that isn't believed: what verifying says of it. */
static void kept_and_not_believed(void **state)
{
    (void)state;
    static const struct {
        const char *origin;
        int signer;
        uint64_t size, want_size, want_bound;
    } kept[] = {{ORIGIN, 0, 11, 11, 10}, {ORIGIN, 1, 900, 900, 20}, {ORIGIN, 3, 5, 5, UINT64_MAX}, {"another.example.org/log", 0, 5, 0, 0}};
    const uint8_t root[SQ_AUDIT_HASH_BYTES] = {1};
    char path[] = "/tmp/sq-audit-kept-XXXXXX";
    struct sq_buf b;
    sq_buf_init(&b, 0);
    honest(&b);
    assert_non_null(mkdtemp(path));
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ok(sq_file_write(dir, "keys", b.p, b.n, 0600)); /* no log: it isn't come to that */
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        struct sq_buf text, note;
        struct sq_audit_report *r = calloc(1, sizeof *r);
        assert_non_null(r);
        sq_buf_init(&text, 0);
        sq_buf_init(&note, 0);
        ok(sq_note_text(kept[i].origin, kept[i].size, root, &text));
        ok(sq_note_sign(seed[kept[i].signer], kept[i].origin, (const char *)text.p, text.n, &note));
        ok(sq_buf_add(&note, "", 1));
        for (int key = 0; key < 3; key++) {
            assert_int_equal(sq_audit_verify(dir, vkey_of(key, ORIGIN), (const char *)note.p, r), SQ_EFIELD);
            assert_int_equal(r->kept_size, kept[i].want_size);
            assert_int_equal(r->kept_bound, kept[i].want_bound);
        }
        free(r);
        sq_buf_done(&text);
        sq_buf_done(&note);
    }
    assert_int_equal(unlinkat(dir, "keys", 0), 0);
    close(dir);
    assert_int_equal(rmdir(path), 0);
    sq_buf_done(&b);
}

static void each_key_leads_to_all(void **state)
{
    (void)state;
    struct sq_buf b;
    sq_buf_init(&b, 0);
    assert_true(believes(&b, 0, 0) && !believes(&b, 0, 1)); /* never replaced */
    honest(&b);
    for (int key = 0; key < 3; key++)
        for (int other = 0; other < 3; other++) {
            assert_true(believes(&b, key, other) && believes_under(&b, key, ORIGIN "/receipt", other));
            const uint64_t last[] = {10, 20, 1000};
            assert_true(takes(&b, key, other, last[other])); /* a former key's checkpoint up to the tree that it last signed */
            assert_int_equal(takes(&b, key, other, last[other] + 1), other == 2);
        }
    assert_false(believes(&b, 0, 3) || believes_under(&b, 0, "another.example.org/log", 1));
    sq_buf_done(&b);
}

/* `audit key --changes >> file` after each replacement: what was there stands there again, with the signature of a later key. */
static void added_twice(void **state)
{
    (void)state;
    struct sq_buf b;
    sq_buf_init(&b, 0);
    change(&b, 0, 1, 10, BY(0, 1));
    honest(&b);
    honest(&b);
    for (int key = 0; key < 3; key++)
        for (int other = 0; other < 3; other++)
            assert_true(believes(&b, key, other));
    const uint64_t last[] = {10, 20};
    for (int key = 0; key < 2; key++)
        assert_true(takes(&b, 0, key, last[key]) && !takes(&b, 0, key, last[key] + 1));
    assert_true(takes(&b, 0, 2, 1000));
    /* another tree, or another key: it can't be said which is right */
    size_t n = b.n;
    change(&b, 0, 1, 11, BY(0));
    assert_false(believes(&b, 0, 1));
    b.n = n;
    change(&b, 0, 3, 10, BY(0));
    assert_false(believes(&b, 0, 1) || believes(&b, 0, 3));
    sq_buf_done(&b);
}

static void nothing_else_does(void **state)
{
    (void)state;
    struct sq_buf b;
    sq_buf_init(&b, 0);
    honest(&b);
    size_t n = b.n;
    /* a thief of key 0 names another next one: whoever trusts key 0 goes neither way, whoever trusts a later one isn't touched */
    change(&b, 0, 3, 10, BY(0, 3));
    assert_false(believes(&b, 0, 3) || believes(&b, 0, 1));
    assert_true(believes(&b, 2, 0) && believes(&b, 1, 2) && !believes(&b, 2, 3) && !believes(&b, 1, 3));
    b.n = n;
    /* ... or one before it: it isn't the newest, and isn't asked */
    change(&b, 4, 0, 5, BY(0, 4));
    assert_false(believes(&b, 0, 4) || believes(&b, 1, 4) || believes(&b, 2, 4));
    b.n = n;
    /* a key that became known backward names nobody */
    change(&b, 1, 5, 15, BY(5));
    change(&b, 5, 1, 15, BY(5));
    assert_false(believes(&b, 2, 5) || believes(&b, 0, 5));
    b.n = n;
    /* nobody signed, only the new key, another's text, cut off, changed */
    change(&b, 2, 3, 30, BY(3));
    assert_false(believes(&b, 2, 3));
    b.n = n;
    change(&b, 2, 3, 30, BY(2));
    assert_true(believes(&b, 2, 3));
    for (size_t cut = n + 1; cut < b.n; cut++) {
        struct sq_buf part = b;
        part.n = cut;
        assert_false(believes(&part, 2, 3));
    }
    for (size_t at = n; at < b.n - 1; at += 3) {
        b.p[at] ^= 1;
        assert_false(believes(&b, 2, 3));
        b.p[at] ^= 1;
    }
    sq_buf_done(&b);
}

/* A circle ends, and so does a list without an end. */
static void it_ends(void **state)
{
    (void)state;
    struct sq_buf b;
    sq_buf_init(&b, 0);
    change(&b, 0, 1, 1, BY(0));
    change(&b, 1, 2, 2, BY(1));
    change(&b, 2, 0, 3, BY(2));
    assert_true(believes(&b, 0, 2) && believes(&b, 1, 0));
    b.n = 0;
    for (int i = 0; i < 200; i++)
        change(&b, 1, 2, (uint64_t)i, BY(0));
    assert_true(believes(&b, 0, 1));
    struct sq_note_keys keys;
    assert_int_equal(sq_note_keys_from("no key", (const char *)b.p, b.n, &keys), SQ_EAUDIT);
    sq_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(each_key_leads_to_all), cmocka_unit_test(kept_and_not_believed), cmocka_unit_test(added_twice), cmocka_unit_test(nothing_else_does), cmocka_unit_test(it_ends)};
    return cmocka_run_group_tests(tests, start, stop);
}
