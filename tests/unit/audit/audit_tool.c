/* Makes and verifies logs for audit_oracle_test.py.
 *
 *     audit_tool make DIR N SEGMENT_BYTES SIZE...   entries 1..N, a checkpoint at each SIZE (ascending); prints the vkey
 *     audit_tool verify DIR VKEY [NOTE_FILE]        prints the findings as `kind first last signed`, then a verdict
 *     audit_tool open DIR                           opens for writing; prints error name, size and torn bytes
 *     audit_tool print DIR text|json                the entries
 */
#include "lib/audit/audit.h"
#include "lib/core/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ORIGIN "log.example/sequester"

static sq_err encode_entry(uint64_t number, struct sq_buf *out)
{
    static const uint16_t events[] = {SQ_AUDIT_login_ok, SQ_AUDIT_upload_closed, SQ_AUDIT_job_submitted, SQ_AUDIT_key_destroyed};
    uint8_t sealed[300];
    for (size_t i = 0; i < sizeof sealed; i++)
        sealed[i] = (uint8_t)((number * 7 + i) & 0xff);
    struct sq_audit_entry x = {
        .number = number,
        .time_ms = 1700000000000 + (int64_t)number * 1001,
        .event = events[number % 4],
        .result = number % 5 ? 0 : SQ_EDENIED,
        .role = (uint8_t)(number % 4),
        .count_a = number * 1000,
        .count_b = number,
        .n_field = (uint8_t)(number % 3),
    };
    memset(x.actor, (int)(number & 0xff), sizeof x.actor);
    memset(x.subject, number % 2 ? 0x5a : 0, sizeof x.subject);
    sq_put_be64(x.request, number);
    for (unsigned i = 0; i < x.n_field; i++) {
        x.field[i].no = (uint16_t)(i ? SQ_AUDIT_FIELD_file_name : SQ_AUDIT_FIELD_address);
        memset(x.field[i].owner, 0x77, sizeof x.field[i].owner);
        x.field[i].sealed = sq_span_of(sealed, 29 + number % 200);
    }
    return sq_audit_entry_encode(&x, out);
}

static sq_err append_one(struct sq_audit *log, uint64_t number)
{
    struct sq_buf b;
    sq_buf_init(&b, 0);
    sq_err e = encode_entry(number, &b);
    struct sq_span s = sq_span_of(b.p, b.n);
    if (!e)
        e = sq_audit_append(log, &s, 1);
    sq_buf_done(&b);
    return e;
}

static sq_err sign_now(struct sq_audit *log, const struct sq_key *seed)
{
    uint8_t root[32];
    struct sq_buf text, note;
    sq_buf_init(&text, 0);
    sq_buf_init(&note, 0);
    sq_err e = sq_audit_root(log, root);
    if (!e)
        e = sq_note_text(ORIGIN, sq_audit_size(log), root, &text);
    if (!e)
        e = sq_note_sign(seed, ORIGIN, (const char *)text.p, text.n, &note);
    if (!e)
        e = sq_audit_checkpoint_add(log, (const char *)note.p, note.n);
    sq_buf_done(&text);
    sq_buf_done(&note);
    return e;
}

static sq_err make(int dir, uint64_t n, uint64_t segment_bytes, char **sizes)
{
    uint8_t seed_bytes[32], public_key[32];
    for (unsigned i = 0; i < 32; i++)
        seed_bytes[i] = (uint8_t)i;
    struct sq_key *seed = NULL;
    struct sq_audit *log = NULL;
    char vkey[SQ_VKEY_BYTES];
    struct sq_audit_options options = {.segment_bytes = segment_bytes, .reserve_bytes = 4096};
    sq_err e = sq_key_from(seed_bytes, &seed);
    if (!e)
        e = sq_audit_open(dir, &options, &log, NULL);
    for (uint64_t i = 1; !e && i <= n; i++) {
        e = append_one(log, i);
        if (!e && *sizes && strtoull(*sizes, NULL, 10) == i) {
            e = sign_now(log, seed);
            sizes++;
        }
    }
    if (!e)
        e = sq_ed25519_public(seed, public_key);
    if (!e)
        e = sq_vkey_encode(ORIGIN, public_key, vkey);
    if (!e)
        printf("%s\n", vkey);
    sq_audit_close(log);
    sq_key_free(seed);
    return e;
}

static sq_err verify(int dir, const char *vkey, const char *note_path)
{
    struct sq_audit_report r;
    struct sq_buf note;
    sq_buf_init(&note, SQ_NOTE_MAX_BYTES);
    sq_err e = note_path ? sq_file_read(AT_FDCWD, note_path, &note) : SQ_OK;
    if (!e && note_path)
        e = sq_buf_add(&note, "", 1);
    if (!e)
        e = sq_audit_verify(dir, vkey, note_path ? (const char *)note.p : NULL, &r);
    sq_buf_done(&note);
    if (e && e != SQ_EAUDIT)
        return e;
    for (uint64_t i = 0; i < r.n_finding && i < SQ_AUDIT_MAX_FINDINGS; i++) {
        const struct sq_audit_finding *f = &r.finding[i];
        printf("%s %llu %llu %llu\n", sq_audit_damage_name(f->damage), (unsigned long long)f->entry,
               (unsigned long long)f->last_entry, (unsigned long long)f->signed_size);
    }
    char root[65];
    sq_hex(r.root, 32, root);
    printf("%s entries=%llu checkpoints=%llu signed=%llu torn=%llu root=%s\n", e ? "BAD" : "OK",
           (unsigned long long)r.n_entry, (unsigned long long)r.n_checkpoint, (unsigned long long)r.signed_size,
           (unsigned long long)r.n_torn_bytes, e ? "-" : root);
    return SQ_OK;
}

static sq_err on_print(void *ctx, const struct sq_audit_entry *entry, struct sq_span bytes)
{
    (void)bytes;
    struct sq_buf line;
    sq_buf_init(&line, 0);
    sq_err e = sq_audit_entry_print(entry, *(bool *)ctx, &line);
    if (!e)
        printf("%.*s\n", (int)line.n, (const char *)line.p);
    sq_buf_done(&line);
    return e;
}

int main(int argc, char **argv)
{
    if (argc < 3 || sq_crypt_start())
        return 2;
    int dir = open(argv[2], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    sq_err e = SQ_EREQUEST;
    if (dir < 0)
        return 2;
    if (strcmp(argv[1], "make") == 0 && argc >= 5) {
        e = make(dir, strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10), argv + 5);
    } else if (strcmp(argv[1], "verify") == 0 && argc >= 4) {
        e = verify(dir, argv[3], argc > 4 ? argv[4] : NULL);
    } else if (strcmp(argv[1], "open") == 0) {
        struct sq_audit *log = NULL;
        struct sq_audit_opened how = {0};
        struct sq_audit_options options = {.reserve_bytes = 4096};
        e = sq_audit_open(dir, &options, &log, &how);
        printf("%s size=%llu torn=%llu\n", sq_err_name(e), (unsigned long long)how.size, (unsigned long long)how.n_torn_bytes);
        sq_audit_close(log);
        e = SQ_OK;
    } else if (strcmp(argv[1], "print") == 0 && argc >= 4) {
        bool is_json = strcmp(argv[3], "json") == 0;
        e = sq_audit_walk(dir, 1, 0, on_print, &is_json);
    }
    if (e)
        fprintf(stderr, "audit_tool: %s\n", sq_err_name(e));
    return e ? 1 : 0;
}
