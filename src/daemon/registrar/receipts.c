/*
 * Receipts: one signed note an object, made when it is erased (objects.c), and one for a whole job, made when its last
 * object has its own. That one says how many they are and binds them by a digest; it is small however many they are.
 */
#include "daemon/registrar/registrar.h"

#include "lib/store/receipt.h"

#include <stdlib.h>

#define PAGE 100               /* receipts that one answer may hold */
#define PAGE_BYTES (48 * 1024) /* of them in one answer: api_is takes 56 KiB, and JSON writes a line's end in two bytes */

sq_err receipt_sign(struct registrar *r, const struct sq_buf *text, struct sq_buf *out)
{
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    struct sq_msg ask = sq_msg_of(receipt_sign, .text = sq_span_of(text->p, text->n)), m;
    sq_err e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    if (!e)
        e = sq_buf_add(out, m.u.note_is.note.p, m.u.note_is.note.n);
    if (!e)
        e = sq_buf_add(out, "", 1);
    sq_packet_free(pkt);
    return e;
}

struct page {
    uint8_t id[PAGE][ID];
    size_t n;
};

static sq_err take_id(void *ctx, const struct sq_db_object *row)
{
    struct page *p = ctx;
    memcpy(p->id[p->n++], row->id, ID);
    return SQ_OK;
}

/* ---- of a whole job ---- */

struct adding {
    struct sq_job_receipt sum;
    struct sq_sha256 *digest;
};

static sq_err add_one(struct adding *a, const struct sq_buf *note)
{
    struct sq_receipt *one = calloc(1, sizeof *one);
    uint8_t sha256[SQ_SHA256_BYTES];
    char line[SQ_JOB_RECEIPT_LINE_BYTES];
    size_t n = sq_receipt_text_bytes((const char *)note->p, note->n);
    sq_err e = one ? sq_receipt_read((const char *)note->p, n, one, NULL) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = sq_job_receipt_add(&a->sum, one);
    if (!e)
        e = sq_sha256_of(note->p, n, sha256);
    if (!e) {
        sq_job_receipt_line(one, sha256, line);
        e = sq_sha256_add(a->digest, line, strlen(line));
    }
    free(one);
    return e;
}

static sq_err add_page(struct registrar *r, const char *job_id, const uint8_t *after, struct page *p, struct adding *a)
{
    p->n = 0;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_job_receipts(db, job_id, after, PAGE, take_id, p);
    for (size_t i = 0; i < p->n && !e; i++) {
        struct sq_buf note;
        sq_buf_init(&note, SQ_DB_RECEIPT_MAX_BYTES + 1);
        e = sq_db_object_receipt(db, p->id[i], &note);
        if (!e)
            e = add_one(a, &note);
        sq_buf_done(&note);
    }
    db_unlock(r);
    return e;
}

static sq_err add_all(struct registrar *r, const char *job_id, struct adding *a)
{
    struct page p = {.n = 0};
    uint8_t after[ID];
    sq_err e = add_page(r, job_id, NULL, &p, a);
    while (!e && p.n == PAGE) {
        memcpy(after, p.id[PAGE - 1], ID);
        e = add_page(r, job_id, after, &p, a);
    }
    return e ? e : sq_sha256_end(a->digest, a->sum.receipts_sha256);
}

sq_err job_receipt_make(struct registrar *r, const struct sq_db_job *job, bool *out_is_ready, struct sq_buf *out)
{
    int64_t n = 0, n_missing = 0, n_erasing = 0;
    struct sq_db *db = db_lock(r);
    sq_err e = sq_db_job_receipt_count(db, job->id, &n, &n_missing, &n_erasing);
    db_unlock(r);
    *out_is_ready = !e && !n_erasing;
    if (e || n_erasing || !n)
        return e;
    struct adding a = {.sum = {.made_s = sq_clock_now_s()}};
    struct sq_buf text;
    sq_buf_init(&text, SQ_RECEIPT_MAX_BYTES);
    memcpy(a.sum.owner, job->owner_id, ID);
    job_audit_id(job->id, a.sum.job);
    e = sq_sha256_new(&a.digest);
    if (!e)
        e = add_all(r, job->id, &a);
    if (!e)
        e = sq_job_receipt_text(&a.sum, &text);
    if (!e)
        e = receipt_sign(r, &text, out);
    sq_sha256_free(a.digest);
    sq_buf_done(&text);
    return e;
}

/* ---- what the owner asks ---- */

static sq_err add_text(struct sq_db *db, const uint8_t id[ID], json_t *list, size_t *n_bytes)
{
    struct sq_buf text;
    sq_buf_init(&text, SQ_DB_RECEIPT_MAX_BYTES + 1);
    sq_err e = sq_db_object_receipt(db, id, &text);
    if (!e && json_array_append_new(list, json_stringn((const char *)text.p, text.n)))
        e = sq_fail(SQ_EINTERNAL);
    if (!e)
        *n_bytes += text.n;
    sq_buf_done(&text);
    return e;
}

struct asked {
    int limit;
    bool has_after;
    uint8_t after[ID];
};

static sq_err asked_for(struct api *a, struct asked *out)
{
    char after[2 * ID + 1];
    int64_t limit = query_number(a->query, "limit", PAGE, PAGE);
    out->has_after = query_text(a->query, "after", after, sizeof after);
    bool is_bad = out->has_after && sq_hex_decode(after, strlen(after), out->after, ID);
    a->why = &a->why_store;
    if (is_bad)
        return sq_why_set(&a->why_store, SQ_EFIELD, 0, 0, "after", "must be `next` of the page before");
    if (limit < 1)
        return sq_why_set(&a->why_store, SQ_EFIELD, 0, 0, "limit", "must lie in 1..100");
    a->why = NULL;
    out->limit = (int)limit;
    return SQ_OK;
}

/* one page, lock held; *out_next: zero when it is the last */
static sq_err page_of(struct sq_db *db, const char *job_id, const struct asked *q, json_t *list, uint8_t out_next[ID])
{
    struct page p = {.n = 0};
    size_t n_bytes = 0, i = 0;
    sq_err e = sq_db_job_receipts(db, job_id, q->has_after ? q->after : NULL, q->limit, take_id, &p);
    for (; i < p.n && !e && n_bytes < PAGE_BYTES - SQ_DB_RECEIPT_MAX_BYTES; i++)
        e = add_text(db, p.id[i], list, &n_bytes);
    if (!e && i && (i < p.n || p.n == (size_t)q->limit))
        memcpy(out_next, p.id[i - 1], ID);
    return e;
}

sq_err api_job_receipt(struct api *a)
{
    struct sq_db_job job;
    struct asked q;
    sq_err e = job_by_param(a, &job);
    if (!e)
        e = asked_for(a, &q);
    if (e)
        return e;
    int64_t n = 0, n_missing = 0, n_erasing = 0;
    uint8_t next[ID] = {0};
    struct sq_buf whole;
    sq_buf_init(&whole, SQ_DB_RECEIPT_MAX_BYTES + 1);
    json_t *list = json_array();
    struct sq_db *db = db_lock(a->r);
    e = sq_db_job_receipt_count(db, job.id, &n, &n_missing, &n_erasing);
    if (!e)
        e = page_of(db, job.id, &q, list, next);
    if (!e)
        e = sq_db_job_receipt(db, job.id, &whole);
    bool has_whole = !e;
    db_unlock(a->r);
    if (e == SQ_ENOTFOUND) /* not erased yet */
        e = SQ_OK;
    if (e) {
        json_decref(list);
    } else {
        a->n_row = json_array_size(list);
        a->answer = json_pack("{s:s, s:s, s:o, s:o, s:I, s:o, s:b}", "id", job.id, "state", sq_db_name(SQ_DB_job_state, job.state), "job_receipt",
                              has_whole ? json_stringn((const char *)whole.p, whole.n) : json_null(), "receipts", list, "count", (json_int_t)n, "next",
                              is_zero(next) ? json_null() : view_id(next), "complete", n_missing == 0);
    }
    sq_buf_done(&whole);
    return e;
}

/* An upload is three objects at most: one answer holds their receipts. */
sq_err api_upload_receipt(struct api *a)
{
    struct sq_db_upload u;
    sq_err e = upload_by_param(a, &u);
    if (e)
        return e;
    const uint8_t *id[] = {u.object_id, u.genotypes_object_id, u.ids_object_id};
    unsigned n_missing = 0;
    size_t n_bytes = 0;
    json_t *list = json_array();
    struct sq_db *db = db_lock(a->r);
    for (size_t i = 0; i < 3 && !e; i++) {
        e = is_zero(id[i]) ? SQ_OK : add_text(db, id[i], list, &n_bytes);
        n_missing += e == SQ_ENOTFOUND;
        if (e == SQ_ENOTFOUND)
            e = SQ_OK;
    }
    db_unlock(a->r);
    if (e)
        json_decref(list);
    else
        a->answer = json_pack("{s:o, s:b}", "receipts", list, "complete", n_missing == 0);
    return e;
}
