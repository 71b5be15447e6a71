/*
 * Sealed objects, by the commit protocol of DESIGN §2a. Numbers in comments are the steps there; each has a fault hook.
 */
#include "daemon/registrar/survey.h"

#include "lib/store/receipt.h"
#include "lib/store/store.h"

#include <stdlib.h>
#include <unistd.h>

#define RETRY_MOST_S 300      /* an erasure that keeps failing is tried again this often */
#define LEARN_TRIES 4         /* keys are replaced meanwhile */
#define OPENING_S (24 * 3600) /* an object that isn't closed by then is swept */

/* ---- keeper ---- */

sq_err keeper_do(struct registrar *r, const struct sq_msg *m)
{
    return sq_node_do(r->node, SQ_ROLE_KEEPER, m, CALL_MS);
}

void keys_forget(struct registrar *r)
{
    pthread_mutex_lock(&r->key_lock);
    r->is_key_known = false;
    r->n_forgotten++;
    pthread_mutex_unlock(&r->key_lock);
}

/* Stores what @is says of keys; false: they were forgotten since @n_forgotten, so it may be of the time before. */
static bool keys_store(struct registrar *r, const struct sq_msg_keeper_state_is *is, uint64_t n_forgotten)
{
    pthread_mutex_lock(&r->key_lock);
    bool is_new = r->n_forgotten == n_forgotten;
    if (is_new) {
        r->n_token_public = is->token_publics.n / sizeof r->token_publics[0];
        memcpy(r->token_publics, is->token_publics.p, r->n_token_public * sizeof r->token_publics[0]);
        memcpy(r->note_public, is->note_public, sizeof r->note_public);
        r->is_key_known = true;
    }
    pthread_mutex_unlock(&r->key_lock);
    return is_new;
}

sq_err keeper_learn(struct registrar *r, bool *out_is_unsealed, uint64_t *out_tree_size)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_bare(keeper_state), m;
    sq_err e = SQ_OK;
    bool is_done = false;
    for (int i = 0; i < LEARN_TRIES && !e && !is_done; i++) {
        pthread_mutex_lock(&r->key_lock);
        uint64_t n_forgotten = r->n_forgotten;
        pthread_mutex_unlock(&r->key_lock);
        e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
        if (!e)
            e = sq_fault("registrar.learned");
        if (e)
            break;
        *out_is_unsealed = m.u.keeper_state_is.is_unsealed;
        *out_tree_size = m.u.keeper_state_is.tree_size;
        is_done = !m.u.keeper_state_is.is_unsealed || keys_store(r, &m.u.keeper_state_is, n_forgotten);
    }
    sq_packet_free(pkt);
    return e || is_done ? e : sq_fail(SQ_EDOWN);
}

sq_err grant(struct registrar *r, const uint8_t task[ID], int64_t fence, const uint8_t owner[ID], int64_t for_s,
             const uint8_t (*reads)[ID], size_t n_read, const uint8_t (*writes)[ID], size_t n_write)
{
    struct sq_msg m = sq_msg_of(grant, .fence = (uint32_t)fence, .expires_s = (uint64_t)(sq_clock_now_s() + for_s),
                                .reads = {(const uint8_t *)reads, (uint32_t)n_read},
                                .writes = {(const uint8_t *)writes, (uint32_t)n_write});
    memcpy(m.u.grant.task_id, task, ID);
    memcpy(m.u.grant.owner_id, owner, ID);
    return keeper_do(r, &m);
}

void grant_end(struct registrar *r, const uint8_t task[ID])
{
    struct sq_msg m = sq_msg_bare(grant_end);
    memcpy(m.u.grant_end.task_id, task, ID);
    sq_err e = keeper_do(r, &m); /* a keeper that is away has forgotten it anyway */
    (void)e;
}

/* ---- sealed fields: u16 BE length | bytes, repeated ---- */

static sq_err batch_add(struct sq_buf *b, const void *p, size_t n)
{
    uint8_t len[2] = {(uint8_t)(n >> 8), (uint8_t)(n & 0xff)};
    sq_err e = sq_buf_add(b, len, 2);
    return e ? e : sq_buf_add(b, p, n);
}

static sq_err batch_next(struct sq_span batch, size_t *at, struct sq_span *out)
{
    if (batch.n - *at < 2)
        return sq_fail(SQ_EPROTO);
    uint32_t n = (uint32_t)batch.p[*at] << 8 | batch.p[*at + 1];
    if (batch.n - *at - 2 < n)
        return sq_fail(SQ_EPROTO);
    *out = (struct sq_span){batch.p + *at + 2, n};
    *at += 2 + n;
    return SQ_OK;
}

sq_err fields_seal(struct registrar *r, const uint8_t owner[ID], const struct sq_span *text, size_t n, struct sq_db_sealed *out)
{
    struct sq_buf batch;
    sq_buf_init(&batch, 24576);
    struct sq_packet *pkt = sq_packet_new();
    sq_err e = pkt ? SQ_OK : sq_fail(SQ_ENOMEM);
    for (size_t i = 0; i < n && !e; i++)
        e = batch_add(&batch, text[i].p, text[i].n);
    struct sq_msg ask = sq_msg_of(fields_seal, .batch = sq_span_of(batch.p, batch.n)), m;
    memcpy(ask.u.fields_seal.owner_id, owner, ID);
    if (!e)
        e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    size_t at = 0;
    for (size_t i = 0; i < n && !e; i++) {
        struct sq_span s = {0};
        e = batch_next(m.u.fields_is.batch, &at, &s);
        if (!e && s.n > SQ_DB_SEALED_MAX_BYTES)
            e = sq_fail(SQ_EPROTO);
        if (!e) {
            out[i].n = (uint16_t)s.n;
            memcpy(out[i].p, s.p, s.n);
        }
    }
    sq_packet_free(pkt);
    sq_buf_done(&batch);
    return e;
}

sq_err fields_open(struct registrar *r, const struct caller *by, const struct sq_db_sealed *const *sealed, size_t n, struct opened *out)
{
    struct sq_buf batch;
    sq_buf_init(&batch, 49152);
    sq_buf_init(&out->text, 0);
    out->n = 0;
    struct sq_packet *pkt = sq_packet_new();
    sq_err e = pkt ? SQ_OK : sq_fail(SQ_ENOMEM);
    sq_assert(n <= 256);
    size_t n_ask = 0;
    for (size_t i = 0; i < n && !e; i++)
        if (sealed[i]->n) {
            e = batch_add(&batch, sealed[i]->p, sealed[i]->n);
            n_ask++;
        }
    struct sq_msg ask = sq_msg_of(fields_open, .token = by->token, .batch = sq_span_of(batch.p, batch.n)), m = {0};
    memcpy(ask.u.fields_open.owner_id, by->user, ID);
    if (!e && n_ask)
        e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    size_t at = 0, start[256];
    for (size_t i = 0; i < n && !e; i++) {
        struct sq_span s = {0};
        if (sealed[i]->n)
            e = batch_next(m.u.fields_is.batch, &at, &s);
        start[i] = out->text.n;
        if (!e)
            e = sq_buf_add(&out->text, s.p, s.n);
        if (!e)
            e = sq_buf_add(&out->text, "", 1);
    }
    for (size_t i = 0; i < n && !e; i++)
        out->at[i] = (const char *)out->text.p + start[i];
    out->n = e ? 0 : n;
    sq_packet_free(pkt);
    sq_buf_done(&batch);
    return e;
}

void opened_done(struct opened *o)
{
    sq_buf_done(&o->text);
    o->n = 0;
}

/* ---- create ---- */

struct opening {
    struct sq_db_object row;
    const struct caller *by;
};

static sq_err tx_opening(struct tx *tx, void *ctx)
{
    struct opening *o = ctx;
    sq_err e = sq_db_object_insert(tx->db, &o->row);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_object_opening, .by = o->by, .subject = o->row.owner_id, .object = o->row.id});
}

sq_err object_open(struct registrar *r, const uint8_t owner[ID], int kind, int64_t not_after_s, enum sq_role writer,
                   const struct caller *by, uint8_t out_id[ID], int *out_fd)
{
    int64_t now = sq_clock_now_s();
    struct opening o = {.row = {.kind = kind, .state = SQ_DB_object_state_opening, .created_s = now, .not_after_s = not_after_s,
                                .opening_expires_s = now + OPENING_S}, .by = by};
    memcpy(o.row.owner_id, owner, ID);
    struct sq_packet *pkt = sq_packet_new();
    sq_err e = pkt ? id_new(o.row.id) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = commit(r, tx_opening, &o); /* 1 */
    if (!e)
        e = sq_fault("create.1");
    struct sq_msg slot = sq_msg_of(slot_create, .not_after_s = (uint64_t)not_after_s, .for_role = (uint8_t)writer);
    memcpy(slot.u.slot_create.object_id, o.row.id, ID);
    memcpy(slot.u.slot_create.owner_id, owner, ID);
    if (!e)
        e = keeper_do(r, &slot); /* 2 */
    if (!e)
        e = sq_fault("create.2");
    struct sq_msg file = sq_msg_bare(file_create), m;
    memcpy(file.u.file_create.object_id, o.row.id, ID);
    memcpy(file.u.file_create.owner_id, owner, ID);
    if (!e)
        e = sq_node_call(r->node, SQ_ROLE_STORER, &file, CALL_MS, pkt, &m); /* 3, begun */
    if (!e) {
        sq_packet_keep_fd(pkt, m.u.file_is.file);
        *out_fd = m.u.file_is.file;
        memcpy(out_id, o.row.id, ID);
    } else {
        object_abandon(r, o.row.id); /* whichever step failed, the ones before it leave nothing */
    }
    sq_packet_free(pkt);
    return e;
}

static sq_err tx_abandon(struct tx *tx, void *ctx)
{
    struct sq_db_object row;
    sq_err e = sq_db_object_get(tx->db, ctx, &row);
    if (e || row.state != SQ_DB_object_state_opening)
        return e == SQ_ENOTFOUND ? SQ_OK : e;
    return tx_object_erase(tx, ctx, NULL);
}

void object_abandon(struct registrar *r, const uint8_t id[ID])
{
    uint8_t copy[ID];
    memcpy(copy, id, ID);
    if (is_zero(copy))
        return;
    sq_err e = commit(r, tx_abandon, copy);
    if (e) /* its opening runs out by itself */
        sq_log(SQ_LOG_failed, SQ_LW("what", "abandon"), SQ_LW("code", sq_err_name(e)), SQ_LID("id", copy, ID));
    erase_wake(r);
}

sq_err object_settle(struct registrar *r, const uint8_t id[ID], const uint8_t owner[ID], uint64_t sealed_bytes)
{
    struct sq_msg m = sq_msg_of(file_commit, .n_bytes = sealed_bytes);
    memcpy(m.u.file_commit.object_id, id, ID);
    memcpy(m.u.file_commit.owner_id, owner, ID);
    sq_err e = sq_node_do(r->node, SQ_ROLE_STORER, &m, SETTLE_MS); /* 3 */
    if (e == SQ_ENOTFOUND)
        e = SQ_EDOWN; /* storer died meanwhile, and the file that had no name yet with it */
    if (!e)
        e = sq_fault("create.3");
    struct sq_msg close_slot = sq_msg_bare(slot_close);
    memcpy(close_slot.u.slot_close.object_id, id, ID);
    return e ? e : keeper_do(r, &close_slot);
}

sq_err tx_object_live(struct tx *tx, const uint8_t id[ID], const uint8_t owner[ID], const struct object_sum *sum)
{
    sq_err e = sq_db_object_live(tx->db, id, sum->plain_bytes, sum->sealed_bytes, sum->sha256); /* 4 */
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_object_created, .subject = owner, .object = id, .a = sum->plain_bytes, .b = sum->n_part});
}

sq_err object_read(struct registrar *r, const struct sq_db_object *object, int *out_fd)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_bare(file_open), m;
    memcpy(ask.u.file_open.object_id, object->id, ID);
    memcpy(ask.u.file_open.owner_id, object->owner_id, ID);
    sq_err e = sq_node_call(r->node, SQ_ROLE_STORER, &ask, CALL_MS, pkt, &m);
    if (e == SQ_ENOTFOUND)
        e = SQ_ETRUNCATED; /* its row is live, its file is gone */
    if (!e && m.u.file_is.n_bytes != object->sealed_bytes)
        e = sq_fail(m.u.file_is.n_bytes < object->sealed_bytes ? SQ_ETRUNCATED : SQ_ETAMPERED);
    if (!e) {
        sq_packet_keep_fd(pkt, m.u.file_is.file);
        *out_fd = m.u.file_is.file;
    }
    sq_packet_free(pkt);
    return e;
}

/* ---- destroy ---- */

sq_err tx_object_erase(struct tx *tx, const uint8_t id[ID], const struct caller *by)
{
    if (is_zero(id))
        return SQ_OK;
    struct sq_db_object row;
    sq_err e = sq_db_object_get(tx->db, id, &row);
    if (e == SQ_ENOTFOUND)
        return SQ_OK;
    if (e || row.state == SQ_DB_object_state_erasing || row.state == SQ_DB_object_state_erased)
        return e;
    e = sq_db_object_set_state(tx->db, id, SQ_DB_object_state_erasing);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_erase_started, .by = by, .subject = row.owner_id, .object = id, .a = row.plain_bytes});
}

struct to_erase {
    struct sq_db_object row[64];
    size_t n;
};

static sq_err take_row(void *ctx, const struct sq_db_object *row)
{
    struct to_erase *t = ctx;
    t->row[t->n++] = *row;
    return SQ_OK;
}

static sq_err destroy_key(struct registrar *r, const uint8_t id[ID], uint64_t *out_s, uint32_t *out_generation)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_bare(slot_destroy), m;
    memcpy(ask.u.slot_destroy.object_id, id, ID);
    sq_err e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e) {
        *out_s = m.u.slot_destroyed_is.destroyed_s;
        *out_generation = m.u.slot_destroyed_is.generation;
    }
    sq_packet_free(pkt);
    return e;
}

/* every key of @owner's (NULL: anyone's) objects that are to go; what fails here the eraser does again */
static void destroy_keys(struct registrar *r, const uint8_t *owner)
{
    struct to_erase *t = calloc(1, sizeof *t);
    sq_assert(t);
    uint8_t after[ID];
    uint64_t when;
    uint32_t generation;
    bool is_first = true;
    sq_err e;
    do {
        t->n = 0;
        struct sq_db *db = db_lock(r);
        e = sq_db_objects_erasing(db, owner, sq_clock_now_s(), is_first ? NULL : after, 64, take_row, t);
        db_unlock(r);
        is_first = false;
        for (size_t i = 0; i < t->n && !e; i++) {
            sq_err failed = destroy_key(r, t->row[i].id, &when, &generation);
            (void)failed;
            memcpy(after, t->row[i].id, ID);
        }
    } while (!e && t->n == 64);
    free(t);
}

void destroy_keys_now(struct registrar *r, const uint8_t owner[ID])
{
    destroy_keys(r, owner);
    erase_wake(r);
}

struct erased {
    const struct sq_db_object *row;
    const char *receipt;
    struct sq_msg_erased_is file;
    char filesystem[SQ_STORE_FILESYSTEM_BYTES];
    int64_t at_s;
};

static sq_err tx_erased(struct tx *tx, void *ctx)
{
    struct erased *x = ctx;
    const uint8_t *who = x->row->owner_id, *id = x->row->id;
    sq_err e = sq_db_object_erased(tx->db, id, x->at_s, x->receipt);
    if (!e)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_key_destroyed, .subject = who, .object = id});
    if (!e)
        e = tx_event(tx, &(struct event){.no = SQ_AUDIT_object_erased, .subject = who, .object = id, .a = x->file.n_bytes, .b = x->file.method == SQ_ERASE_overwritten_extents_moved || x->file.method == SQ_ERASE_crypto_only});
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_receipt_issued, .subject = who, .object = id});
}

static sq_err receipt_of(struct registrar *r, const struct erased *x, uint64_t key_s, uint32_t generation, struct sq_buf *out)
{
    const struct sq_db_object *row = x->row;
    struct sq_receipt receipt = {.made_s = x->at_s, .part = 1, .n_part = 1, .n_object = 1};
    struct sq_receipt_object *o = &receipt.object[0];
    *o = (struct sq_receipt_object){ /* the row's digest is of the plaintext: that stays here */
        .plain_bytes = row->plain_bytes, .sealed_bytes = x->file.n_bytes,
        .created_s = row->created_s, .key_destroyed_s = (int64_t)key_s, .key_generation = generation,
        .erased = {.method = (enum sq_erase_method)x->file.method, .n_pass = x->file.n_pass, .n_bytes = x->file.n_bytes,
                   .n_extent = x->file.n_extent, .is_moved = x->file.extents_moved, .is_verified = x->file.is_verified}};
    memcpy(receipt.owner, row->owner_id, ID);
    char job[SQ_DB_JOB_ID_BYTES];
    struct sq_db *db = db_lock(r);
    if (!sq_db_object_job(db, row->id, job)) /* the same id as in the audit log; without one the receipt says `-` */
        job_audit_id(job, receipt.job);
    db_unlock(r);
    memcpy(o->object, row->id, ID);
    snprintf(o->kind, sizeof o->kind, "%s", sq_db_name(SQ_DB_object_kind, row->kind));
    snprintf(o->erased.filesystem, sizeof o->erased.filesystem, "%s", x->filesystem);
    struct sq_buf text;
    sq_buf_init(&text, SQ_RECEIPT_MAX_BYTES);
    sq_err e = sq_receipt_text(&receipt, &text);
    if (!e)
        e = receipt_sign(r, &text, out);
    sq_buf_done(&text);
    return e;
}

static sq_err erase_file(struct registrar *r, const struct sq_db_object *row, struct sq_packet *pkt, struct sq_msg *out)
{
    struct sq_msg erase = sq_msg_bare(file_erase);
    memcpy(erase.u.file_erase.object_id, row->id, ID);
    memcpy(erase.u.file_erase.owner_id, row->owner_id, ID);
    return sq_node_call(r->node, SQ_ROLE_STORER, &erase, ERASE_MS, pkt, out);
}

static void erase_failed(struct registrar *r, const uint8_t id[ID], sq_err code);

static sq_err destroy_one(struct registrar *r, const struct sq_db_object *row)
{
    int64_t start_ms = sq_clock_steady_ms();
    uint64_t key_s = 0;
    uint32_t generation = 0;
    struct sq_packet *pkt = sq_packet_new();
    struct sq_buf receipt;
    sq_buf_init(&receipt, SQ_DB_RECEIPT_MAX_BYTES);
    struct sq_msg m;
    sq_err e = pkt ? sq_fault("destroy.2") : sq_fail(SQ_ENOMEM);
    if (!e)
        e = destroy_key(r, row->id, &key_s, &generation); /* 3 */
    if (!e)
        e = sq_fault("destroy.3");
    bool is_unsealed = true;
    uint64_t size;
    if (!e) /* nobody could sign what is done to the file: it waits, without its key */
        e = keeper_learn(r, &is_unsealed, &size);
    if (!e && !is_unsealed)
        e = SQ_ESEALED;
    if (!e)
        e = erase_file(r, row, pkt, &m); /* 4 */
    if (!e)
        e = sq_fault("destroy.4");
    struct erased x = {.row = row, .at_s = sq_clock_now_s()};
    if (!e) {
        x.file = m.u.erased_is;
        e = sq_span_copy(x.file.filesystem, x.filesystem, sizeof x.filesystem);
    }
    if (!e)
        e = receipt_of(r, &x, key_s, generation, &receipt);
    if (!e) {
        x.receipt = (const char *)receipt.p;
        e = commit(r, tx_erased, &x); /* 5, 6 */
    }
    if (!e)
        sq_log(SQ_LOG_object_erased, SQ_LID("object", row->id, ID), SQ_LW("method", sq_erase_word(x.file.method)), SQ_LN("ms", sq_clock_steady_ms() - start_ms));
    else if (e == SQ_EERASE || e == SQ_EIO || e == SQ_ETAMPERED)
        erase_failed(r, row->id, e);
    else if (e != SQ_EDOWN && e != SQ_ESEALED && e != SQ_ETIMEOUT)
        sq_log(SQ_LOG_failed, SQ_LW("what", "erase"), SQ_LW("code", sq_err_name(e)), SQ_LID("id", row->id, ID));
    sq_buf_done(&receipt);
    sq_packet_free(pkt);
    return e;
}

/* ---- an erasure that fails ---- */

struct erase_failure {
    const uint8_t *id;
    int64_t retry_s;
    sq_err code;
    bool is_first;
};

static sq_err tx_erase_failed(struct tx *tx, void *ctx)
{
    struct erase_failure *x = ctx;
    struct sq_db_object row;
    sq_err e = sq_db_object_get(tx->db, x->id, &row);
    if (e || row.state != SQ_DB_object_state_erasing)
        return e;
    int64_t wait_s = row.erase_failures < 8 ? INT64_C(2) << row.erase_failures : RETRY_MOST_S;
    x->is_first = row.erase_failures == 0;
    e = sq_db_object_erase_failed(tx->db, x->id, sq_clock_now_s() + (wait_s < RETRY_MOST_S ? wait_s : RETRY_MOST_S));
    return e || !x->is_first ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_erase_failed, .result = x->code, .subject = row.owner_id, .object = row.id});
}

/* The alarm: once in the audit log, each time in the operator's log, counted in status and check until it is done. */
static void erase_failed(struct registrar *r, const uint8_t id[ID], sq_err code)
{
    struct erase_failure x = {.id = id, .code = code};
    sq_log(SQ_LOG_erase_failed, SQ_LID("object", id, ID), SQ_LW("code", sq_err_name(code)));
    sq_err e = commit(r, tx_erase_failed, &x);
    if (e) /* not even that could be written: tried again at the next turn */
        sq_log(SQ_LOG_failed, SQ_LW("what", "erase"), SQ_LW("code", sq_err_name(e)), SQ_LID("id", id, ID));
}

/* jobs in state erasing whose objects are all gone are erased */
struct jobs_erasing {
    struct sq_db_job job[16];
    size_t n;
};

static sq_err take_job(void *ctx, const struct sq_db_job *job)
{
    struct jobs_erasing *j = ctx;
    if (j->n < 16)
        j->job[j->n++] = *job;
    return SQ_OK;
}

struct job_left {
    uint64_t n, n_left;
};

static sq_err count_left(void *ctx, const struct sq_db_object *row)
{
    struct job_left *l = ctx;
    l->n++;
    /* only what is being erased holds the job up: panels and maps that its tasks named stay */
    l->n_left += row->state == SQ_DB_object_state_erasing;
    return SQ_OK;
}

struct job_ending {
    const struct sq_db_job *job;
    const char *receipt; /* NULL: nothing of it was ever kept */
};

static sq_err tx_job_erased(struct tx *tx, void *ctx)
{
    const struct job_ending *x = ctx;
    const struct sq_db_job *job = x->job;
    struct job_left l = {0};
    struct sq_db_upload u;
    sq_err e = sq_db_job_objects(tx->db, job->id, count_left, &l);
    if (!e && !is_zero(job->upload_id)) { /* its upload goes with it, though no task of the job may name those objects */
        e = sq_db_upload_get(tx->db, job->upload_id, &u);
        const uint8_t *id[] = {u.object_id, u.ids_object_id, u.genotypes_object_id};
        struct sq_db_object row;
        for (size_t i = 0; i < 3 && !e; i++)
            if (!is_zero(id[i]) && !sq_db_object_get(tx->db, id[i], &row))
                l.n_left += row.state == SQ_DB_object_state_erasing;
    }
    if (e || l.n_left)
        return e;
    uint8_t id[ID];
    job_audit_id(job->id, id);
    if (x->receipt)
        e = sq_db_job_set_receipt(tx->db, job->id, x->receipt);
    if (!e)
        e = tx_job_state(tx, job, SQ_DB_job_state_erased, NULL);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_job_erased, .subject = job->owner_id, .object = id, .a = l.n});
}

/* The receipt of the whole is made when the last object has its own; until then the job isn't erased. */
static sq_err finish_job(struct registrar *r, const struct sq_db_job *job)
{
    struct job_ending x = {.job = job};
    struct sq_buf receipt;
    sq_buf_init(&receipt, SQ_DB_RECEIPT_MAX_BYTES + 1);
    bool is_ready = false;
    sq_err e = job_receipt_make(r, job, &is_ready, &receipt);
    if (!e && is_ready) {
        x.receipt = receipt.n ? (const char *)receipt.p : NULL;
        e = commit(r, tx_job_erased, &x);
    }
    sq_buf_done(&receipt);
    return e;
}

static void finish_jobs(struct registrar *r)
{
    static struct jobs_erasing j; /* only the eraser's thread comes here */
    j.n = 0;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_job_list(db, NULL, SQ_DB_job_state_erasing, NULL, 16, take_job, &j);
    db_unlock(r);
    for (size_t i = 0; i < j.n && !e; i++)
        e = finish_job(r, &j.job[i]);
    if (e && e != SQ_EDOWN && e != SQ_ESEALED && e != SQ_ETIMEOUT)
        sq_log(SQ_LOG_failed, SQ_LW("what", "job_receipt"), SQ_LW("code", sq_err_name(e)));
}

static pthread_mutex_t erase_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t erase_cond = PTHREAD_COND_INITIALIZER;
static bool is_erase_wanted;

void erase_wake(struct registrar *r)
{
    (void)r;
    pthread_mutex_lock(&erase_lock);
    is_erase_wanted = true;
    pthread_cond_signal(&erase_cond);
    pthread_mutex_unlock(&erase_lock);
}

void *eraser_main(void *arg)
{
    struct registrar *r = arg;
    struct to_erase *t = calloc(1, sizeof *t);
    sq_assert(t);
    for (;;) {
        pthread_mutex_lock(&erase_lock);
        while (!is_erase_wanted)
            pthread_cond_wait(&erase_cond, &erase_lock);
        is_erase_wanted = false;
        pthread_mutex_unlock(&erase_lock);
        destroy_keys(r, NULL); /* keys first: they don't wait behind hours of overwriting */
        uint8_t after[ID] = {0};
        bool is_first = true;
        do {
            t->n = 0;
            struct sq_db *db = db_lock(r);
            sq_err e = sq_db_objects_erasing(db, NULL, sq_clock_now_s(), is_first ? NULL : after, 64, take_row, t);
            db_unlock(r);
            is_first = false;
            for (size_t i = 0; i < t->n && !e; i++) {
                sq_err failed = destroy_one(r, &t->row[i]); /* stays `erasing`: tried again by the clock, ever more rarely */
                (void)failed;
                memcpy(after, t->row[i].id, ID);
            }
        } while (t->n == 64);
        finish_jobs(r);
    }
    return NULL;
}
