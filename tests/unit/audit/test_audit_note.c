/* Signed notes against published vectors of other implementations, entries against their own strictness. */
#include "lib/audit/audit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* golang.org/x/mod/sumdb/note */
static const char go_vkey[] = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
static const char go_skey[] = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
static const char go_text[] = "If you think cryptography is the answer to your problem,\n"
                              "then you don't know what your problem is.\n";
static const char go_note[] = "If you think cryptography is the answer to your problem,\n"
                              "then you don't know what your problem is.\n"
                              "\n"
                              "\xe2\x80\x94 PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
static const char go_enoch_line[] = "\xe2\x80\x94 EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";
/* C2SP signed-note */
static const char c2sp_vkey[] = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
static const char c2sp_note[] = "This is an example message.\n"
                                "\n"
                                "\xe2\x80\x94 example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

static struct sq_key *seed;

static int start(void **state)
{
    (void)state;
    struct sq_buf raw;
    sq_buf_init(&raw, 0);
    if (sq_crypt_start() || sq_base64_decode(go_skey, strlen(go_skey), false, &raw) || raw.n != 33
        || sq_key_from(raw.p + 1, &seed))
        return -1;
    sq_buf_done(&raw);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    sq_key_free(seed);
    return 0;
}

static sq_err open_note(const char *vkey, const char *note)
{
    struct sq_span text;
    return sq_note_open(vkey, note, strlen(note), &text);
}

static void published_notes(void **state)
{
    (void)state;
    struct sq_span text;
    struct sq_buf note;
    sq_buf_init(&note, 0);
    assert_int_equal(sq_note_open(go_vkey, go_note, strlen(go_note), &text), SQ_OK);
    assert_int_equal(text.n, strlen(go_text));
    assert_memory_equal(text.p, go_text, text.n);
    assert_int_equal(open_note(c2sp_vkey, c2sp_note), SQ_OK);
    assert_int_equal(open_note(c2sp_vkey, go_note), SQ_EAUDIT); /* not signed by this key */
    /* Ed25519 is deterministic, so our note is theirs, byte for byte */
    assert_int_equal(sq_note_sign(seed, "PeterNeumann", go_text, strlen(go_text), &note), SQ_OK);
    assert_int_equal(note.n, strlen(go_note));
    assert_memory_equal(note.p, go_note, note.n);
    sq_buf_done(&note);
}

static void several_signatures(void **state)
{
    (void)state;
    char note[SQ_NOTE_MAX_BYTES];
    snprintf(note, sizeof note, "%s%s", go_note, go_enoch_line); /* an unknown key is ignored */
    assert_int_equal(open_note(go_vkey, note), SQ_OK);
    snprintf(note, sizeof note, "%s\n%s%s", go_text, go_enoch_line, strstr(go_note, "\xe2\x80\x94"));
    assert_int_equal(open_note(go_vkey, note), SQ_OK);
    /* a second, wrong signature of the known key spoils it */
    snprintf(note, sizeof note, "%s%s", go_note, strstr(go_note, "\xe2\x80\x94"));
    char *second = strrchr(note, ' ');
    second[12] = second[12] == 'A' ? 'B' : 'A';
    assert_int_equal(open_note(go_vkey, note), SQ_EAUDIT);
    /* sixteen others and ours are fine, beyond the limit is not */
    for (int n = 16; n <= 40; n += 24) {
        size_t at = (size_t)snprintf(note, sizeof note, "%s\n", go_text);
        for (int i = 0; i < n; i++)
            at += (size_t)snprintf(note + at, sizeof note - at, "%s", go_enoch_line);
        snprintf(note + at, sizeof note - at, "%s", strstr(go_note, "\xe2\x80\x94"));
        assert_int_equal(open_note(go_vkey, note), n == 16 ? SQ_OK : SQ_EAUDIT);
    }
}

/* every single byte changed, and every truncation, is refused */
static void nothing_else_opens(void **state)
{
    (void)state;
    size_t n = strlen(go_note);
    char note[512];
    struct sq_span text;
    for (size_t i = 0; i < n; i++) {
        memcpy(note, go_note, n + 1);
        note[i] = (char)(note[i] ^ 1);
        assert_int_equal(sq_note_open(go_vkey, note, n, &text), SQ_EAUDIT);
        assert_int_equal(sq_note_open(go_vkey, go_note, i, &text), SQ_EAUDIT);
    }
    static const char *const bad[] = {"", "\n", "\n\n", "a\n", "a\n\n", "a\n\nb\n", "\n\n\xe2\x80\x94 a AAAA\n", "a\r\n\n\xe2\x80\x94 x AAAAAAA=\n",
                                      "a\xff\n\n\xe2\x80\x94 x AAAAAAA=\n", "a\xed\xa0\x80\n\n\xe2\x80\x94 x AAAAAAA=\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(open_note(go_vkey, bad[i]), SQ_EAUDIT);
}

static void vkeys(void **state)
{
    (void)state;
    char name[SQ_NOTE_NAME_BYTES], out[SQ_VKEY_BYTES], cut[128];
    uint8_t id[4], public_key[32];
    assert_int_equal(sq_vkey_decode(go_vkey, name, id, public_key), SQ_OK);
    assert_string_equal(name, "PeterNeumann");
    assert_int_equal(sq_vkey_encode(name, public_key, out), SQ_OK);
    assert_string_equal(out, go_vkey);
    assert_int_equal(sq_vkey_decode(c2sp_vkey, name, id, public_key), SQ_OK);
    assert_int_equal(sq_vkey_encode(name, public_key, out), SQ_OK);
    assert_string_equal(out, c2sp_vkey);
    size_t n = strlen(go_vkey);
    for (size_t i = 0; i <= n; i++)
        for (size_t k = i; k <= n; k++) {
            if (i == 0 && k == n)
                continue;
            memcpy(cut, go_vkey + i, k - i);
            cut[k - i] = 0;
            assert_int_equal(sq_vkey_decode(cut, NULL, NULL, NULL), SQ_EAUDIT);
        }
    for (size_t i = 0; i < n; i++) {
        memcpy(cut, go_vkey, n + 1);
        cut[i]++;
        assert_int_equal(sq_vkey_decode(cut, NULL, NULL, NULL), SQ_EAUDIT);
    }
    static const char *const bad[] = {"PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
                                      "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
                                      "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(sq_vkey_decode(bad[i], NULL, NULL, NULL), SQ_EAUDIT);
    assert_int_equal(sq_vkey_encode("", public_key, out), SQ_ERANGE);
    assert_int_equal(sq_vkey_encode("a b", public_key, out), SQ_ERANGE);
    assert_int_equal(sq_vkey_encode("a+b", public_key, out), SQ_ERANGE);
    assert_int_equal(sq_vkey_encode("a\nb", public_key, out), SQ_ERANGE);
}

static void checkpoints(void **state)
{
    (void)state;
    struct sq_note_head h;
    struct sq_buf text, note;
    char vkey[SQ_VKEY_BYTES], root64[] = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=", line[256];
    uint8_t public_key[32];
    sq_buf_init(&text, 0);
    sq_buf_init(&note, 0);
    snprintf(line, sizeof line, "example.com/behind-the-sofa\n20852163\n%s\n", root64);
    assert_int_equal(sq_note_text_read(line, strlen(line), &h), SQ_OK);
    assert_true(h.size == 20852163);
    assert_string_equal(h.origin, "example.com/behind-the-sofa");
    assert_int_equal(sq_note_text(h.origin, h.size, h.root, &text), SQ_OK);
    assert_int_equal(text.n, strlen(line));
    assert_memory_equal(text.p, line, text.n);
    static const char *const bad[] = {"o\n01\n%s\n", "o\n-1\n%s\n", "o\n\n%s\n", "o\n1\n%s\nextension\n", "o\n1\n%s", "o\n1\n",
                                      "\n1\n%s\n", "o o\n1\n%s\n", "o+o\n1\n%s\n", "o\n18446744073709551616\n%s\n", "o\n1\n %s\n", "o\n1\nAAAA\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        size_t n = 0;
        const char *p = strstr(bad[i], "%s");
        n = p ? (size_t)snprintf(line, sizeof line, "%.*s%s%s", (int)(p - bad[i]), bad[i], root64, p + 2)
              : (size_t)snprintf(line, sizeof line, "%s", bad[i]);
        assert_int_equal(sq_note_text_read(line, n, &h), SQ_EAUDIT);
    }
    assert_int_equal(sq_ed25519_public(seed, public_key), SQ_OK);
    assert_int_equal(sq_vkey_encode("example.com/behind-the-sofa", public_key, vkey), SQ_OK);
    assert_int_equal(sq_note_sign(seed, "example.com/behind-the-sofa", (const char *)text.p, text.n, &note), SQ_OK);
    assert_int_equal(sq_note_verify(vkey, (const char *)note.p, note.n, &h), SQ_OK);
    assert_true(h.size == 20852163);
    assert_int_equal(sq_note_head_read((const char *)note.p, note.n, &h), SQ_OK);
    /* signed by the right key, but for another origin */
    assert_int_equal(sq_vkey_encode("example.com/other", public_key, vkey), SQ_OK);
    note.n = 0;
    assert_int_equal(sq_note_sign(seed, "example.com/other", (const char *)text.p, text.n, &note), SQ_OK);
    assert_int_equal(open_note(vkey, "x"), SQ_EAUDIT);
    assert_int_equal(sq_note_verify(vkey, (const char *)note.p, note.n, &h), SQ_EAUDIT);
    assert_int_equal(sq_note_sign(seed, "n", "no line feed", 12, &note), SQ_ERANGE);
    assert_int_equal(sq_note_sign(seed, "n", "\n", 1, &note), SQ_ERANGE); /* found by fuzz_audit: sq_note_open refuses it */
    assert_int_equal(sq_note_sign(seed, "n", "tab\there\n", 9, &note), SQ_ERANGE);
    sq_buf_done(&text);
    sq_buf_done(&note);
}

/* ---- entries ---- */

static struct sq_audit_entry some_entry(void)
{
    struct sq_audit_entry x = {.number = 17, .time_ms = 1700000000123, .event = SQ_AUDIT_download_ended, .result = SQ_EGONE,
                               .role = SQ_AUDIT_ROLE_USER, .count_a = UINT64_MAX, .count_b = 1, .n_field = 2};
    memset(x.actor, 0xaa, 16);
    memset(x.subject, 0xbb, 16);
    x.field[0].no = SQ_AUDIT_FIELD_address;
    x.field[0].sealed = sq_span_str("sealed address here, opaque");
    x.field[1].no = SQ_AUDIT_FIELD_user_agent;
    x.field[1].sealed = sq_span_str("sealed agent");
    return x;
}

static void entries_round_trip(void **state)
{
    (void)state;
    struct sq_audit_entry x = some_entry(), y;
    struct sq_buf a, b;
    sq_buf_init(&a, 0);
    sq_buf_init(&b, 0);
    assert_int_equal(sq_audit_entry_encode(&x, &a), SQ_OK);
    assert_int_equal(a.n, 96 + 20 + 27 + 20 + 12);
    assert_int_equal(sq_audit_entry_decode(sq_span_of(a.p, a.n), &y), SQ_OK);
    assert_int_equal(sq_audit_entry_encode(&y, &b), SQ_OK);
    assert_true(sq_span_eq(sq_span_of(a.p, a.n), sq_span_of(b.p, b.n)));
    assert_int_equal(y.event, SQ_AUDIT_download_ended);
    assert_true(y.count_a == UINT64_MAX);
    for (size_t n = 0; n < a.n; n++)
        assert_int_equal(sq_audit_entry_decode(sq_span_of(a.p, n), &y), SQ_EAUDIT);
    /* a changed byte either is refused or means another entry with the same, only encoding */
    for (size_t i = 0; i < a.n; i++)
        for (unsigned bit = 1; bit < 256; bit *= 2) {
            a.p[i] ^= (uint8_t)bit;
            if (sq_audit_entry_decode(sq_span_of(a.p, a.n), &y) == SQ_OK) {
                b.n = 0;
                assert_int_equal(sq_audit_entry_encode(&y, &b), SQ_OK);
                assert_true(sq_span_eq(sq_span_of(a.p, a.n), sq_span_of(b.p, b.n)));
            }
            a.p[i] ^= (uint8_t)bit;
        }
    sq_buf_done(&a);
    sq_buf_done(&b);
}

static void entries_tell_rows(void **state)
{
    (void)state;
    struct sq_audit_entry x = some_entry(), y;
    struct sq_audit_rows rows = {1, 2, UINT64_MAX, 4}, got = {0};
    uint8_t bytes[SQ_AUDIT_ROWS_BYTES];
    struct sq_buf a, line;
    sq_buf_init(&a, 0);
    sq_buf_init(&line, 0);
    assert_false(sq_audit_rows_get(&x, &got));
    sq_audit_rows_put(&rows, bytes);
    x.field[2] = (struct sq_audit_field){.no = SQ_AUDIT_FIELD_rows, .sealed = sq_span_of(bytes, sizeof bytes)};
    x.n_field = 3;
    assert_int_equal(sq_audit_entry_encode(&x, &a), SQ_OK);
    assert_int_equal(sq_audit_entry_decode(sq_span_of(a.p, a.n), &y), SQ_OK);
    assert_true(sq_audit_rows_get(&y, &got));
    assert_memory_equal(&got, &rows, sizeof got);
    assert_int_equal(sq_audit_entry_print(&y, false, &line), SQ_OK);
    assert_int_equal(sq_buf_add(&line, "", 1), SQ_OK);
    assert_non_null(strstr((const char *)line.p, " rows=read:1,inserted:2,changed:18446744073709551615,deleted:4 sealed=address,user_agent"));
    line.n = 0;
    y.field[0] = y.field[2];
    y.n_field = 1;
    assert_int_equal(sq_audit_entry_print(&y, true, &line), SQ_OK);
    assert_int_equal(sq_buf_add(&line, "", 1), SQ_OK);
    assert_non_null(strstr((const char *)line.p, "\"rows\":{\"read\":1,\"inserted\":2,\"changed\":18446744073709551615,\"deleted\":4}}"));
    assert_null(strstr((const char *)line.p, "sealed"));
    x.field[2].owner[15] = 1; /* it isn't anybody's */
    assert_int_equal(sq_audit_entry_encode(&x, &a), SQ_ERANGE);
    x.field[2].owner[15] = 0;
    x.field[2].sealed.n = 31;
    assert_int_equal(sq_audit_entry_encode(&x, &a), SQ_ERANGE);
    sq_buf_done(&a);
    sq_buf_done(&line);
}

static void entries_refused(void **state)
{
    (void)state;
    struct sq_buf b;
    sq_buf_init(&b, 0);
    struct sq_audit_entry x = some_entry();
    x.number = 0;
    assert_int_equal(sq_audit_entry_encode(&x, &b), SQ_ERANGE);
    x = some_entry();
    x.field[1].no = x.field[0].no; /* not ascending */
    assert_int_equal(sq_audit_entry_encode(&x, &b), SQ_ERANGE);
    x = some_entry();
    x.field[0].sealed.n = 0;
    assert_int_equal(sq_audit_entry_encode(&x, &b), SQ_ERANGE);
    x = some_entry();
    x.n_field = 9;
    assert_int_equal(sq_audit_entry_encode(&x, &b), SQ_ERANGE);
    x = some_entry();
    x.time_ms = -1;
    assert_int_equal(sq_audit_entry_encode(&x, &b), SQ_ERANGE);
    x = some_entry();
    x.role = SQ_AUDIT_ROLE_SUPPORT + 1;
    assert_int_equal(sq_audit_entry_encode(&x, &b), SQ_ERANGE);
    assert_int_equal(b.n, 0);
    sq_buf_done(&b);
}

static void entries_printed(void **state)
{
    (void)state;
    struct sq_audit_entry x = some_entry();
    struct sq_buf b;
    sq_buf_init(&b, 0);
    assert_int_equal(sq_audit_entry_print(&x, false, &b), SQ_OK);
    assert_int_equal(sq_buf_add(&b, "", 1), SQ_OK);
    assert_string_equal((const char *)b.p, "17 2023-11-14T22:13:20.123Z download_ended EGONE role=user actor=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa "
                                           "subject=bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb a=18446744073709551615 b=1 sealed=address,user_agent");
    assert_null(strstr((const char *)b.p, "opaque"));
    x.event = 60000; /* from a newer program */
    x.result = 9999;
    x.field[1].no = 500;
    b.n = 0;
    assert_int_equal(sq_audit_entry_print(&x, true, &b), SQ_OK);
    assert_int_equal(sq_buf_add(&b, "", 1), SQ_OK);
    assert_non_null(strstr((const char *)b.p, "\"event\":\"event_60000\",\"result\":\"E9999\""));
    assert_non_null(strstr((const char *)b.p, "\"sealed\":[\"address\",\"field_500\"]}"));
    sq_buf_done(&b);
}

static void events_are_one_to_one(void **state)
{
    (void)state;
    unsigned n = 0;
    for (unsigned no = 0; no < 1000; no++) {
        const char *name = sq_audit_event_name(no);
        if (!name)
            continue;
        n++;
        assert_int_equal(sq_audit_event_named(name), no);
        assert_true(sq_audit_event_class(no) == SQ_AUDIT_ROUTINE || sq_audit_event_class(no) == SQ_AUDIT_ERASURE);
        assert_non_null(sq_audit_event_text(no));
    }
    static const unsigned all[] = {
#define SQ_EVENT(name, no, class, text) no,
#include "lib/audit/events.def"
#undef SQ_EVENT
    };
    assert_int_equal(n, sizeof all / sizeof *all); /* no number twice */
    assert_int_equal(sq_audit_event_class(SQ_AUDIT_key_destroyed), SQ_AUDIT_ERASURE);
    assert_int_equal(sq_audit_event_class(SQ_AUDIT_login_ok), SQ_AUDIT_ROUTINE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_notes), cmocka_unit_test(several_signatures), cmocka_unit_test(nothing_else_opens),
        cmocka_unit_test(vkeys), cmocka_unit_test(checkpoints), cmocka_unit_test(entries_round_trip),
        cmocka_unit_test(entries_tell_rows), cmocka_unit_test(entries_refused), cmocka_unit_test(entries_printed), cmocka_unit_test(events_are_one_to_one),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
