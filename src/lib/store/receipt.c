#include "lib/store/receipt.h"

#include "lib/core/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LAST_SECOND 253402300799LL /* 9999-12-31T23:59:59Z */

/* What every receipt says, word for word: part of the format, see docs/formats/receipt.md. */
static const char *const limits[] = {
    "The key was destroyed first: from then on no process, journal, replica or kept backup of this site can open the object.",
    "A copy of the key slab kept against the rules, or an old disk image with its root key, still could: the operator answers "
    "for that.",
    "Flash drives, thin volumes, RAID and snapshots below the file system can keep old blocks that overwriting does not reach; "
    "there the destroyed key is the protection.",
    "What was downloaded or claimed before is not covered.",
};
#define N_LIMIT (sizeof limits / sizeof limits[0])

/* ---- writing ---- */
static bool is_word(const char *s, size_t max)
{
    size_t n = strnlen(s, max + 1);
    return n && n <= max && strspn(s, "abcdefghijklmnopqrstuvwxyz_") == n;
}

static bool is_printable(const char *s, size_t max)
{
    size_t n = strnlen(s, max + 1);
    for (size_t i = 0; i < n; i++)
        if (s[i] < ' ' || s[i] > '~')
            return false;
    return n && n <= max && s[0] != ' ' && s[n - 1] != ' ';
}

static sq_err add_id(struct sq_buf *out, const char *key, const uint8_t *id, size_t n)
{
    char hex[65];
    sq_hex(id, n, hex);
    return sq_buf_addf(out, "%s %s\n", key, hex);
}

static sq_err add_time(struct sq_buf *out, const char *key, int64_t s)
{
    char text[21] = "-";
    if (s < 0 || s > LAST_SECOND)
        return sq_fail(SQ_ERANGE);
    if (s)
        sq_clock_text(s, text);
    return sq_buf_addf(out, "%s %s\n", key, text);
}

static sq_err add_object(struct sq_buf *out, const struct sq_receipt_object *o)
{
    const char *method = sq_erase_word(o->erased.method);
    if (!is_word(o->kind, SQ_RECEIPT_KIND_BYTES - 1) || !method ||
        !is_printable(o->erased.filesystem, SQ_STORE_FILESYSTEM_BYTES - 1))
        return sq_fail(SQ_ERANGE);
    sq_err e = add_id(out, "object", o->object, sizeof o->object);
    if (!e)
        e = sq_buf_addf(out, "kind %s\nplain-bytes %llu\nsealed-bytes %llu\n", o->kind, (unsigned long long)o->plain_bytes,
                        (unsigned long long)o->sealed_bytes);
    if (!e)
        e = o->has_sha256 ? add_id(out, "sealed-sha256", o->sha256, sizeof o->sha256) : sq_buf_addf(out, "sealed-sha256 -\n");
    if (!e)
        e = add_time(out, "created", o->created_s);
    if (!e)
        e = add_time(out, "key-destroyed", o->key_destroyed_s);
    if (!e)
        e = sq_buf_addf(out, "key-generation %u\nmethod %s\npasses %u\nextents %u\nextents-moved %s\nread-back %s\nfilesystem %s\n",
                        o->key_generation, method, o->erased.n_pass, o->erased.n_extent, o->erased.is_moved ? "yes" : "no",
                        o->erased.is_verified ? "yes" : "no", o->erased.filesystem);
    return e;
}

static sq_err add_meanings(struct sq_buf *out, const struct sq_receipt *r)
{
    for (unsigned method = 1; sq_erase_word(method); method++)
        for (uint32_t i = 0; i < r->n_object; i++)
            if ((unsigned)r->object[i].erased.method == method) {
                sq_err e = sq_buf_addf(out, "meaning %s: %s\n", sq_erase_word(method), sq_erase_sentence(method));
                if (e)
                    return e;
                break;
            }
    return SQ_OK;
}

/* what both kinds begin with; @job NULL: of no job */
static sq_err add_head(struct sq_buf *out, const char *first_line, int64_t made_s, const uint8_t owner[SQ_STORE_ID_BYTES], const uint8_t *job)
{
    sq_err e = sq_buf_addf(out, "%s", first_line);
    if (!e)
        e = add_time(out, "made", made_s);
    if (!e)
        e = add_id(out, "owner", owner, SQ_STORE_ID_BYTES);
    if (!e)
        e = job ? add_id(out, "job", job, SQ_STORE_ID_BYTES) : sq_buf_addf(out, "job -\n");
    return e;
}

/* what both kinds end with */
static sq_err add_tail(struct sq_buf *out)
{
    sq_err e = SQ_OK;
    for (size_t i = 0; !e && i < N_LIMIT; i++)
        e = sq_buf_addf(out, "limit %s\n", limits[i]);
    return e;
}

sq_err sq_receipt_text(const struct sq_receipt *r, struct sq_buf *out)
{
    static const uint8_t no_job[SQ_STORE_ID_BYTES];
    if (r->n_object < 1 || r->n_object > SQ_RECEIPT_MAX_OBJECTS || r->part < 1 || r->part > r->n_part || r->made_s <= 0)
        return sq_fail(SQ_ERANGE);
    struct sq_buf b;
    sq_buf_init(&b, SQ_RECEIPT_MAX_BYTES);
    sq_err e = add_head(&b, SQ_RECEIPT_FIRST_LINE, r->made_s, r->owner, memcmp(r->job, no_job, sizeof no_job) ? r->job : NULL);
    if (!e)
        e = sq_buf_addf(&b, "part %u\nparts %u\nobjects %u\n", r->part, r->n_part, r->n_object);
    for (uint32_t i = 0; !e && i < r->n_object; i++)
        e = add_object(&b, &r->object[i]);
    if (!e)
        e = add_meanings(&b, r);
    if (!e)
        e = add_tail(&b);
    if (!e)
        e = sq_buf_add(out, b.p, b.n);
    sq_buf_done(&b);
    return e;
}

/* ---- reading: leniently line by line, then the strictness comes from writing it again ---- */
struct reading {
    const char *at, *end;
    uint64_t line;
    const char *key;   /* expected in this line */
    char value[256];
    bool is_bad;
};

/* The value of the next line, whose key must be @key. Once bad, always bad: the values are then empty. */
static const char *next_value(struct reading *r, const char *key)
{
    r->value[0] = 0;
    if (r->is_bad)
        return r->value;
    r->line++;
    r->key = key;
    size_t n_key = strlen(key), left = (size_t)(r->end - r->at);
    const char *lf = memchr(r->at, '\n', left);
    size_t n = lf ? (size_t)(lf - r->at) : 0;
    r->is_bad = !lf || n <= n_key + 1 || memcmp(r->at, key, n_key) != 0 || r->at[n_key] != ' ' ||
                n - n_key - 1 >= sizeof r->value || memchr(r->at, 0, n);
    if (r->is_bad)
        return r->value;
    memcpy(r->value, r->at + n_key + 1, n - n_key - 1);
    r->value[n - n_key - 1] = 0;
    r->at = lf + 1;
    return r->value;
}

static void read_id(struct reading *r, const char *key, uint8_t *out, size_t n, bool *out_is_there)
{
    const char *v = next_value(r, key);
    bool is_dash = !strcmp(v, "-");
    if (out_is_there)
        *out_is_there = !is_dash;
    if (!r->is_bad && (is_dash ? !out_is_there : sq_hex_decode(v, strlen(v), out, n) != SQ_OK))
        r->is_bad = true;
}

static uint64_t read_number(struct reading *r, const char *key, uint64_t max)
{
    const char *v = next_value(r, key);
    uint64_t x = 0;
    for (const char *p = v; *p; p++) {
        unsigned digit = (unsigned)(*p - '0');
        if (digit > 9 || x > (UINT64_MAX - digit) / 10) {
            r->is_bad = true;
            return 0;
        }
        x = x * 10 + digit;
    }
    if (x > max)
        r->is_bad = true;
    return x;
}

static int64_t read_time(struct reading *r, const char *key)
{
    const char *v = next_value(r, key);
    if (r->is_bad || !strcmp(v, "-"))
        return 0;
    struct tm tm = {0};
    const char *end = strlen(v) == 20 ? strptime(v, "%Y-%m-%dT%H:%M:%SZ", &tm) : NULL;
    if (!end || *end) {
        r->is_bad = true;
        return 0;
    }
    return (int64_t)timegm(&tm);
}

static bool read_yes(struct reading *r, const char *key)
{
    const char *v = next_value(r, key);
    bool is_yes = !strcmp(v, "yes");
    if (!is_yes && strcmp(v, "no") != 0)
        r->is_bad = true;
    return is_yes;
}

static void read_text(struct reading *r, const char *key, char *out, size_t out_size)
{
    const char *v = next_value(r, key);
    if (strlen(v) >= out_size)
        r->is_bad = true;
    else
        memcpy(out, v, strlen(v) + 1);
}

static void read_object(struct reading *r, struct sq_receipt_object *o)
{
    read_id(r, "object", o->object, sizeof o->object, NULL);
    read_text(r, "kind", o->kind, sizeof o->kind);
    o->plain_bytes = read_number(r, "plain-bytes", UINT64_MAX);
    o->sealed_bytes = read_number(r, "sealed-bytes", UINT64_MAX);
    read_id(r, "sealed-sha256", o->sha256, sizeof o->sha256, &o->has_sha256);
    o->created_s = read_time(r, "created");
    o->key_destroyed_s = read_time(r, "key-destroyed");
    o->key_generation = (uint32_t)read_number(r, "key-generation", UINT32_MAX);
    o->erased.method = (enum sq_erase_method)sq_erase_named(next_value(r, "method"));
    if (!sq_erase_word(o->erased.method))
        r->is_bad = true;
    o->erased.n_pass = (uint8_t)read_number(r, "passes", UINT8_MAX);
    o->erased.n_extent = (uint32_t)read_number(r, "extents", UINT32_MAX);
    o->erased.is_moved = read_yes(r, "extents-moved");
    o->erased.is_verified = read_yes(r, "read-back");
    read_text(r, "filesystem", o->erased.filesystem, sizeof o->erased.filesystem);
}

static void read_all(struct reading *r, struct sq_receipt *out)
{
    bool has_job = false;
    out->made_s = read_time(r, "made");
    read_id(r, "owner", out->owner, sizeof out->owner, NULL);
    read_id(r, "job", out->job, sizeof out->job, &has_job);
    out->part = (uint32_t)read_number(r, "part", UINT32_MAX);
    out->n_part = (uint32_t)read_number(r, "parts", UINT32_MAX);
    out->n_object = (uint32_t)read_number(r, "objects", SQ_RECEIPT_MAX_OBJECTS);
    for (uint32_t i = 0; !r->is_bad && i < out->n_object; i++)
        read_object(r, &out->object[i]);
}

/* Line in which @a and @b part company. */
static uint64_t first_difference(const char *a, size_t n_a, const char *b, size_t n_b)
{
    uint64_t line = 1;
    for (size_t i = 0; i < n_a && i < n_b && a[i] == b[i]; i++)
        line += a[i] == '\n';
    return line;
}

/* What was read of @text, written again into @again, must be @text to the byte; @written: how writing went. */
static sq_err same_again(const struct reading *r, sq_err written, const struct sq_buf *again, const char *text, size_t n, struct sq_why *why)
{
    if (r->is_bad)
        return sq_why_set(why, SQ_EFIELD, r->line, 0, r->key, "this line should have this key and a valid value");
    if (written == SQ_ERANGE)
        return sq_why_set(why, SQ_EFIELD, 0, 0, "", "a value is outside of what a receipt can say");
    if (!written && (again->n != n || memcmp(again->p, text, n) != 0))
        return sq_why_set(why, SQ_EFIELD, first_difference(text, n, (const char *)again->p, again->n), 0, "", "this line is not as a receipt has it");
    return written;
}

sq_err sq_receipt_read(const char *text, size_t n, struct sq_receipt *out, struct sq_why *why)
{
    size_t n_first = strlen(SQ_RECEIPT_FIRST_LINE);
    if (n > SQ_RECEIPT_MAX_BYTES || n < n_first || memcmp(text, SQ_RECEIPT_FIRST_LINE, n_first) != 0)
        return sq_why_set(why, SQ_EFIELD, 1, 0, "sequester-receipt/v1", "this is not a receipt of a version known here");
    struct sq_receipt *got = calloc(1, sizeof *got);
    if (!got)
        return sq_fail(SQ_ENOMEM);
    struct reading r = {.at = text + n_first, .end = text + n, .line = 1, .key = ""};
    struct sq_buf again;
    sq_buf_init(&again, SQ_RECEIPT_MAX_BYTES);
    read_all(&r, got);
    sq_err e = same_again(&r, r.is_bad ? SQ_OK : sq_receipt_text(got, &again), &again, text, n, why);
    if (!e)
        *out = *got;
    sq_buf_done(&again);
    free(got);
    return e;
}

/* ---- of a job ---- */

sq_err sq_job_receipt_add(struct sq_job_receipt *sum, const struct sq_receipt *one)
{
    for (uint32_t i = 0; i < one->n_object; i++) {
        const struct sq_receipt_object *o = &one->object[i];
        if (o->plain_bytes > UINT64_MAX - sum->plain_bytes || o->sealed_bytes > UINT64_MAX - sum->sealed_bytes ||
            (unsigned)o->erased.method >= SQ_JOB_RECEIPT_METHODS)
            return sq_fail(SQ_ERANGE);
        sum->n_object++;
        sum->plain_bytes += o->plain_bytes;
        sum->sealed_bytes += o->sealed_bytes;
        sum->n_method[o->erased.method]++;
        if (o->key_destroyed_s && (!sum->first_key_s || o->key_destroyed_s < sum->first_key_s))
            sum->first_key_s = o->key_destroyed_s;
        if (o->key_destroyed_s > sum->last_key_s)
            sum->last_key_s = o->key_destroyed_s;
    }
    return SQ_OK;
}

void sq_job_receipt_line(const struct sq_receipt *one, const uint8_t sha256[32], char out[SQ_JOB_RECEIPT_LINE_BYTES])
{
    char id[33], digest[65];
    sq_hex(one->object[0].object, SQ_STORE_ID_BYTES, id);
    sq_hex(sha256, 32, digest);
    snprintf(out, SQ_JOB_RECEIPT_LINE_BYTES, "%s %s\n", id, digest);
}

sq_err sq_job_receipt_text(const struct sq_job_receipt *r, struct sq_buf *out)
{
    uint64_t n = 0;
    for (unsigned m = 1; m < SQ_JOB_RECEIPT_METHODS; m++)
        n += r->n_method[m];
    if (!r->n_object || r->n_method[0] || n != r->n_object || r->made_s <= 0 || r->first_key_s > r->last_key_s)
        return sq_fail(SQ_ERANGE);
    struct sq_buf b;
    sq_buf_init(&b, SQ_RECEIPT_MAX_BYTES);
    sq_err e = add_head(&b, SQ_JOB_RECEIPT_FIRST_LINE, r->made_s, r->owner, r->job);
    if (!e)
        e = sq_buf_addf(&b, "objects %llu\nplain-bytes %llu\nsealed-bytes %llu\n", (unsigned long long)r->n_object,
                        (unsigned long long)r->plain_bytes, (unsigned long long)r->sealed_bytes);
    if (!e)
        e = add_time(&b, "first-key-destroyed", r->first_key_s);
    if (!e)
        e = add_time(&b, "last-key-destroyed", r->last_key_s);
    for (unsigned m = 1; !e && m < SQ_JOB_RECEIPT_METHODS; m++)
        e = sq_buf_addf(&b, "%s %llu\n", sq_erase_word(m), (unsigned long long)r->n_method[m]);
    if (!e)
        e = add_id(&b, "receipts-sha256", r->receipts_sha256, sizeof r->receipts_sha256);
    for (unsigned m = 1; !e && m < SQ_JOB_RECEIPT_METHODS; m++)
        if (r->n_method[m])
            e = sq_buf_addf(&b, "meaning %s: %s\n", sq_erase_word(m), sq_erase_sentence(m));
    if (!e)
        e = add_tail(&b);
    if (!e)
        e = sq_buf_add(out, b.p, b.n);
    sq_buf_done(&b);
    return e;
}

sq_err sq_job_receipt_read(const char *text, size_t n, struct sq_job_receipt *out, struct sq_why *why)
{
    size_t n_first = strlen(SQ_JOB_RECEIPT_FIRST_LINE);
    if (n > SQ_RECEIPT_MAX_BYTES || n < n_first || memcmp(text, SQ_JOB_RECEIPT_FIRST_LINE, n_first) != 0)
        return sq_why_set(why, SQ_EFIELD, 1, 0, "sequester-job-receipt/v1", "this is not a job's receipt of a version known here");
    struct sq_job_receipt got = {.made_s = 0};
    struct reading r = {.at = text + n_first, .end = text + n, .line = 1, .key = ""};
    struct sq_buf again;
    sq_buf_init(&again, SQ_RECEIPT_MAX_BYTES);
    got.made_s = read_time(&r, "made");
    read_id(&r, "owner", got.owner, sizeof got.owner, NULL);
    read_id(&r, "job", got.job, sizeof got.job, NULL);
    got.n_object = read_number(&r, "objects", UINT32_MAX);
    got.plain_bytes = read_number(&r, "plain-bytes", UINT64_MAX);
    got.sealed_bytes = read_number(&r, "sealed-bytes", UINT64_MAX);
    got.first_key_s = read_time(&r, "first-key-destroyed");
    got.last_key_s = read_time(&r, "last-key-destroyed");
    for (unsigned m = 1; m < SQ_JOB_RECEIPT_METHODS; m++)
        got.n_method[m] = read_number(&r, sq_erase_word(m), UINT32_MAX);
    read_id(&r, "receipts-sha256", got.receipts_sha256, sizeof got.receipts_sha256, NULL);
    sq_err e = same_again(&r, r.is_bad ? SQ_OK : sq_job_receipt_text(&got, &again), &again, text, n, why);
    if (!e)
        *out = got;
    sq_buf_done(&again);
    return e;
}

size_t sq_receipt_text_bytes(const char *note, size_t n)
{
    for (size_t i = 1; i < n; i++)
        if (note[i] == '\n' && note[i - 1] == '\n')
            return i;
    return 0;
}
