/*
 * task_package: results become one file that only its owner can open: a zip under the one-time password, or a tar sealed to
 * the public key that he chose (age, Crypt4GH). Either is written straight into a sealer, so the package rests in the vault
 * as an object like others.
 *
 * Runner never sees the password: keeper gives the AE-2 keys of one entry after another. The zip's first entry proves to the
 * owner's program that the password fits before anything else is opened. A tar has none: who has the key knows it. The last
 * entry, the manifest, says what the others must be. What seals to a public key is drawn here and wiped with the package.
 */
#include "daemon/runner/runner.h"

#include "lib/core/clock.h"
#include "lib/core/fault.h"
#include "lib/crypt/crypt.h"
#include "lib/vault/seal_to.h"
#include "lib/vault/tar.h"
#include "lib/vault/zip_ae2.h"

#include <stdlib.h>

#define MAX_ENTRIES 64
#define MAX_PIECES 256
#define CHECK_NAME "sequester-check.txt"
#define MANIFEST_NAME "manifest.json"
#define MANIFEST_MAX_BYTES (64U << 10)

/* ---- the plan: lines `entry NAME`, each followed by lines `object INDEX` ---- */

struct plan_entry {
    const char *name;
    size_t first_piece, n_piece;
};

struct plan {
    size_t n_entry, n_piece;
    struct plan_entry entry[MAX_ENTRIES];
    uint8_t piece[MAX_PIECES]; /* index of the object */
    char text[4097];
};

static sq_err plan_add_entry(struct plan *plan, const char *name)
{
    if (plan->n_entry == MAX_ENTRIES || !sq_zip_name_ok(name) || !strcmp(name, CHECK_NAME) || !strcmp(name, MANIFEST_NAME))
        return sq_fail(SQ_EPROTO);
    for (size_t i = 0; i < plan->n_entry; i++)
        if (!strcmp(plan->entry[i].name, name))
            return sq_fail(SQ_EPROTO);
    plan->entry[plan->n_entry++] = (struct plan_entry){.name = name, .first_piece = plan->n_piece};
    return SQ_OK;
}

/* an index of one or two digits, written one way only */
static sq_err plan_add_piece(struct plan *plan, const char *number, size_t n_object)
{
    size_t n = strlen(number), index = 0;
    if (!plan->n_entry || plan->n_piece == MAX_PIECES || n < 1 || n > 2 || (n == 2 && number[0] == '0'))
        return sq_fail(SQ_EPROTO);
    for (size_t i = 0; i < n; i++) {
        if (number[i] < '0' || number[i] > '9')
            return sq_fail(SQ_EPROTO);
        index = index * 10 + (size_t)(number[i] - '0');
    }
    if (index >= n_object)
        return sq_fail(SQ_EPROTO);
    plan->piece[plan->n_piece++] = (uint8_t)index;
    plan->entry[plan->n_entry - 1].n_piece++;
    return SQ_OK;
}

static sq_err plan_read(struct sq_span text, size_t n_object, struct plan *plan)
{
    sq_err e = sq_span_copy(text, plan->text, sizeof plan->text);
    for (char *line = plan->text, *end; !e && *line; line = end + 1) {
        end = strchr(line, '\n');
        if (!end)
            return sq_fail(SQ_EPROTO);
        *end = 0;
        if (!strncmp(line, "entry ", 6))
            e = plan_add_entry(plan, line + 6);
        else if (!strncmp(line, "object ", 7))
            e = plan_add_piece(plan, line + 7, n_object);
        else
            e = sq_fail(SQ_EPROTO);
    }
    for (size_t i = 0; !e && i < plan->n_entry; i++)
        if (!plan->entry[i].n_piece)
            e = sq_fail(SQ_EPROTO);
    return e ? SQ_EPROTO : plan->n_entry ? SQ_OK : sq_fail(SQ_EPROTO);
}

/* ---- writing ---- */

struct package {
    struct sq_task *task;
    struct sq_zip *zip;         /* either this */
    struct sq_seal_to *seal_to; /* or a tar into this */
    int64_t begun_s;
    struct sq_sha256 *hash; /* of the present entry's plaintext */
    struct sq_buf manifest;
    uint32_t n_entry; /* begun so far: the number that keeper counts */
    uint8_t *copy;
    struct sq_task_keys keys[SQ_RUNNER_MAX_FILES];
    struct sq_vault_opener *opener[SQ_RUNNER_MAX_FILES];
};

static sq_err to_sealer(void *sealer, const void *p, size_t n)
{
    return sq_vault_seal(sealer, p, n);
}

static sq_err ask_entry_keys(struct sq_task *t, uint32_t entry_no, struct sq_zip_keys *out_keys)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg m = sq_msg_of(entry_keys, .fence = t->fence, .entry_no = entry_no), is;
    memcpy(m.u.entry_keys.task_id, t->id, SQ_ID_BYTES);
    sq_err e = sq_task_is_stopped(t) ? SQ_ECANCELLED
                                     : sq_node_call(t->runner->node, SQ_ROLE_KEEPER, &m, SQ_RUNNER_KEY_WAIT_MS, pkt, &is);
    if (!e) {
        const struct sq_msg_entry_keys_is *k = &is.u.entry_keys_is;
        memcpy(out_keys->salt, k->salt, sizeof out_keys->salt);
        memcpy(out_keys->aes, k->aes, sizeof out_keys->aes);
        memcpy(out_keys->mac, k->mac, sizeof out_keys->mac);
        memcpy(out_keys->verifier, k->verifier, sizeof out_keys->verifier);
        sq_wipe(&is, sizeof is);
    }
    sq_packet_free(pkt);
    return e;
}

static sq_err tar_begin(struct package *p, const char *name, uint64_t plain_bytes)
{
    uint8_t header[SQ_TAR_BLOCK_BYTES];
    sq_err e = sq_tar_header(name, plain_bytes, p->begun_s, header);
    return e ? e : sq_seal_to_write(p->seal_to, header, sizeof header);
}

static sq_err entry_begin(struct package *p, const char *name, uint64_t plain_bytes)
{
    p->n_entry++;
    if (p->seal_to)
        return tar_begin(p, name, plain_bytes);
    struct sq_zip_keys keys;
    sq_err e = ask_entry_keys(p->task, p->n_entry - 1, &keys);
    if (!e)
        e = sq_zip_entry_begin(p->zip, name, &keys, plain_bytes);
    sq_wipe(&keys, sizeof keys);
    return e;
}

static sq_err entry_put(struct package *p, const void *bytes, size_t n)
{
    return p->seal_to ? sq_seal_to_write(p->seal_to, bytes, n) : sq_zip_write(p->zip, bytes, n);
}

static sq_err entry_write(struct package *p, const void *bytes, size_t n)
{
    sq_err e = sq_sha256_add(p->hash, bytes, n);
    return e ? e : entry_put(p, bytes, n);
}

static const uint8_t zeros[2 * SQ_TAR_BLOCK_BYTES]; /* pad an entry of a tar, and end it */

static sq_err entry_close(struct package *p, uint64_t plain_bytes)
{
    return p->seal_to ? sq_seal_to_write(p->seal_to, zeros, sq_tar_padding(plain_bytes)) : sq_zip_entry_end(p->zip);
}

/* ends the entry and notes it in the manifest; names are of [A-Za-z0-9._/-], so need no escapes */
static sq_err entry_end(struct package *p, const char *name, uint64_t plain_bytes)
{
    uint8_t sha256[SQ_SHA256_BYTES];
    char hex[2 * SQ_SHA256_BYTES + 1];
    sq_err e = entry_close(p, plain_bytes);
    if (!e)
        e = sq_sha256_end(p->hash, sha256);
    if (e)
        return e;
    sq_hex(sha256, sizeof sha256, hex);
    return sq_buf_addf(&p->manifest, "%s\n    {\"name\": \"%s\", \"bytes\": %llu, \"sha256\": \"%s\"}", p->n_entry > 1 ? "," : "", name,
                       (unsigned long long)plain_bytes, hex);
}

static sq_err write_check(struct package *p)
{
    size_t n = strlen(p->task->check);
    sq_err e = entry_begin(p, CHECK_NAME, n + 1);
    if (!e)
        e = entry_write(p, p->task->check, n);
    if (!e)
        e = entry_write(p, "\n", 1);
    return e ? e : entry_end(p, CHECK_NAME, n + 1);
}

static sq_err write_piece(struct package *p, struct sq_vault_opener *opener)
{
    uint64_t n_bytes = sq_vault_opener_plain_bytes(opener);
    sq_err e = SQ_OK;
    for (uint64_t at = 0; !e && at < n_bytes;) {
        size_t want = n_bytes - at < SQ_RUNNER_COPY_BYTES ? (size_t)(n_bytes - at) : SQ_RUNNER_COPY_BYTES;
        e = sq_task_is_stopped(p->task) ? SQ_ECANCELLED : sq_task_read(opener, at, p->copy, want);
        if (!e)
            e = entry_write(p, p->copy, want);
        at += want;
        sq_task_sign(p->task);
    }
    return e;
}

static sq_err write_entry(struct package *p, const struct plan *plan, const struct plan_entry *entry)
{
    const uint8_t *piece = plan->piece + entry->first_piece;
    uint64_t plain_bytes = 0;
    for (size_t i = 0; i < entry->n_piece; i++)
        plain_bytes += sq_vault_opener_plain_bytes(p->opener[piece[i]]);
    sq_err e = entry_begin(p, entry->name, plain_bytes);
    for (size_t i = 0; !e && i < entry->n_piece; i++)
        e = write_piece(p, p->opener[piece[i]]);
    return e ? e : entry_end(p, entry->name, plain_bytes);
}

static sq_err write_manifest(struct package *p)
{
    sq_err e = sq_buf_addf(&p->manifest, "\n  ]\n}\n");
    if (!e)
        e = entry_begin(p, MANIFEST_NAME, p->manifest.n);
    if (!e)
        e = entry_put(p, p->manifest.p, p->manifest.n);
    return e ? e : entry_close(p, p->manifest.n);
}

static sq_err close_all(struct package *p)
{
    if (!p->seal_to)
        return sq_zip_close(p->zip, NULL);
    sq_err e = sq_seal_to_write(p->seal_to, zeros, sizeof zeros);
    return e ? e : sq_seal_to_close(p->seal_to);
}

static sq_err write_all(struct package *p, const struct plan *plan)
{
    sq_err e = sq_buf_addf(&p->manifest, "{\n  \"format\": \"sequester-package/1\",\n  \"files\": [");
    if (!e && p->zip)
        e = write_check(p);
    for (size_t i = 0; !e && i < plan->n_entry; i++)
        e = write_entry(p, plan, &plan->entry[i]);
    if (!e)
        e = write_manifest(p);
    return e ? e : close_all(p);
}

static sq_err package(struct sq_task *t)
{
    const size_t n_input = t->n_file - 1;
    struct sq_task_keys keys;
    struct sq_vault_sealer *sealer = NULL;
    struct sq_vault_sum sum;
    struct package *p = calloc(1, sizeof *p);
    if (!p)
        return sq_fail(SQ_ENOMEM);
    p->task = t;
    p->begun_s = sq_clock_now_s();
    sq_buf_init(&p->manifest, MANIFEST_MAX_BYTES);
    p->copy = malloc(SQ_RUNNER_COPY_BYTES);
    sq_err e = p->copy ? sq_sha256_new(&p->hash) : sq_fail(SQ_ENOMEM);
    for (size_t i = 0; !e && i < n_input; i++)
        e = sq_task_opener(&p->keys[i], t, &t->file[i], &p->opener[i]);
    if (!e)
        e = sq_task_sealer(&keys, t, &t->file[n_input], &sealer);
    if (!e)
        e = t->recipient.kind ? sq_seal_to_new(&t->recipient, to_sealer, sealer, &p->seal_to) : sq_zip_new(to_sealer, sealer, p->begun_s, &p->zip);
    if (!e)
        e = sq_fault_at("runner.mid_task", "package");
    if (!e)
        e = write_all(p, t->plan);
    if (!e)
        e = sq_fault("runner.before_seal");
    if (!e)
        e = sq_vault_seal_close(sealer, &sum);
    if (!e)
        sq_task_add_sum(t, &sum);
    sq_zip_free(p->zip);
    sq_seal_to_free(p->seal_to);
    sq_vault_sealer_free(sealer);
    for (size_t i = 0; i < n_input; i++)
        sq_vault_opener_free(p->opener[i]);
    sq_sha256_free(p->hash);
    sq_buf_done(&p->manifest);
    if (p->copy)
        sq_wipe(p->copy, SQ_RUNNER_COPY_BYTES);
    free(p->copy);
    free(p);
    return e;
}

/* ---- the request ---- */

/* a check text and no key, or a key and no check text */
static sq_err take_recipient(struct sq_task *t, const struct sq_msg_task_package *a)
{
    static const uint8_t none[32];
    t->recipient.kind = (enum sq_recipient_kind)a->recipient_kind;
    memcpy(t->recipient.x25519, a->recipient, sizeof t->recipient.x25519);
    bool is_key = a->recipient_kind == SQ_RECIPIENT_AGE || a->recipient_kind == SQ_RECIPIENT_CRYPT4GH;
    bool is_none = !a->recipient_kind && !memcmp(a->recipient, none, sizeof none);
    return (is_key && !a->check.n) || (is_none && a->check.n) ? sq_span_copy(a->check, t->check, sizeof t->check) : sq_fail(SQ_EPROTO);
}

/* inputs as in other tasks, then the package's own id and file */
static sq_err take_request(struct sq_task *t, struct sq_ask *ask, const struct sq_msg_task_package *a)
{
    uint8_t ids[SQ_RUNNER_MAX_FILES * SQ_ID_BYTES], lengths[SQ_RUNNER_MAX_FILES * 8] = {0};
    bool is_input[SQ_RUNNER_MAX_FILES];
    const uint32_t n = a->objects.n;
    if (n < 1 || n >= SQ_RUNNER_MAX_FILES || a->sealed_bytes.n != n * 8)
        return sq_fail(SQ_EPROTO);
    memcpy(ids, a->objects.p, (size_t)n * SQ_ID_BYTES);
    memcpy(ids + (size_t)n * SQ_ID_BYTES, a->package_id, SQ_ID_BYTES);
    memcpy(lengths, a->sealed_bytes.p, a->sealed_bytes.n);
    for (uint32_t i = 0; i <= n; i++)
        is_input[i] = i < n;
    sq_err e = take_recipient(t, a);
    struct plan *plan = calloc(1, sizeof *plan);
    t->plan = plan; /* the task frees it */
    if (!e)
        e = plan ? plan_read(a->plan, n, plan) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = sq_task_take_files(t, ask, (struct sq_ids){ids, n + 1}, sq_span_of(lengths, ((size_t)n + 1) * 8), &a->files, is_input);
    return e;
}

void on_task_package(void *ctx, struct sq_ask *ask, const struct sq_msg *m)
{
    const struct sq_msg_task_package *a = &m->u.task_package;
    struct sq_task *t = NULL;
    sq_err e = sq_task_new(ctx, SQ_TASK_PACKAGE, a->task_id, a->fence, &t);
    if (!e)
        e = take_request(t, ask, a);
    if (!e)
        e = sq_task_begin_take(t, package);
    if (e) {
        sq_task_free(t);
        sq_ask_fail(ask, e);
    } else {
        sq_ask_ok(ask);
    }
}
