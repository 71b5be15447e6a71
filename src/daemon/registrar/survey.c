/* Lists of keeper, storer and database, page by page. About 150 bytes an object while it is held. */
#include "daemon/registrar/survey.h"

#include <stdlib.h>

#define MAX_SEEN (1u << 24)
#define PAGE 1000 /* rows a list gives at most */
#define LISTED_BYTES 40 /* of a slot in slot_list_is, of a file in file_list_is */

sq_err survey_grow(void *p, size_t n, size_t size)
{
    if (n && (n & (n - 1))) /* full only at powers of two */
        return SQ_OK;
    if (n >= MAX_SEEN)
        return sq_fail(SQ_ELIMIT);
    void *old;
    memcpy(&old, p, sizeof old);
    void *more = realloc(old, (n ? 2 * n : 1) * size);
    if (!more)
        return sq_fail(SQ_ENOMEM);
    memcpy(p, &more, sizeof more);
    return SQ_OK;
}

static int by_id(const void *a, const void *b) /* the id is the first member of all three */
{
    return memcmp(a, b, ID);
}

static sq_err list_slots(struct registrar *r, struct survey *s, struct sq_packet *pkt)
{
    sq_err e = SQ_OK;
    uint32_t from = 0;
    do {
        struct sq_msg ask = sq_msg_of(slot_list, .from_slot = from), m;
        e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
        from = e ? 0 : m.u.slot_list_is.next_slot;
        for (size_t at = 0; !e && at + LISTED_BYTES <= m.u.slot_list_is.slots.n; at += LISTED_BYTES) {
            const uint8_t *p = m.u.slot_list_is.slots.p + at;
            e = survey_grow(&s->slot, s->n_slot, sizeof *s->slot);
            if (e)
                break;
            struct seen_slot *x = &s->slot[s->n_slot++];
            memcpy(x->id, p, ID);
            memcpy(x->owner, p + ID, ID);
            x->not_after_s = (int64_t)sq_get_be64(p + 2 * ID);
        }
        if (!e)
            s->n_slot_damaged = m.u.slot_list_is.n_damaged;
    } while (!e && from);
    return e;
}

static sq_err list_files(struct registrar *r, struct survey *s, struct sq_packet *pkt)
{
    struct sq_msg ask = sq_msg_bare(file_list), m;
    for (;;) {
        sq_err e = sq_node_call(r->node, SQ_ROLE_STORER, &ask, CALL_MS, pkt, &m);
        if (e)
            return e;
        const struct sq_msg_file_list_is *is = &m.u.file_list_is;
        for (size_t at = 0; at + LISTED_BYTES <= is->files.n; at += LISTED_BYTES) {
            e = survey_grow(&s->file, s->n_file, sizeof *s->file);
            if (e)
                return e;
            struct seen_file *x = &s->file[s->n_file++];
            memcpy(x->id, is->files.p + at, ID);
            memcpy(x->owner, is->files.p + at + ID, ID);
            x->n_bytes = sq_get_be64(is->files.p + at + 2 * ID);
        }
        if (!is->files.n)
            return SQ_OK;
        ask.u.file_list.owner_at = is->owner_at;
        ask.u.file_list.object_at = is->object_at;
        memcpy(ask.u.file_list.owner, is->owner, ID);
    }
}

static sq_err take_row(void *ctx, const struct sq_db_object *row)
{
    struct survey *s = ctx;
    sq_err e = survey_grow(&s->row, s->n_row, sizeof *s->row);
    if (e)
        return e;
    struct seen_row *x = &s->row[s->n_row++];
    *x = (struct seen_row){.state = (uint8_t)row->state, .kind = (uint8_t)row->kind, .has_receipt = row->has_receipt,
                           .not_after_s = row->not_after_s, .opening_expires_s = row->opening_expires_s,
                           .erase_failures = row->erase_failures, .sealed_bytes = row->sealed_bytes};
    memcpy(x->id, row->id, ID);
    memcpy(x->owner, row->owner_id, ID);
    return SQ_OK;
}

static sq_err list_rows(struct registrar *r, struct survey *s)
{
    sq_err e;
    uint8_t after[ID];
    size_t before;
    do {
        before = s->n_row;
        if (before)
            memcpy(after, s->row[before - 1].id, ID);
        struct sq_db *db = db_lock(r);
        e = sq_db_object_list(db, NULL, 0, 0, before ? after : NULL, PAGE, take_row, s);
        db_unlock(r);
    } while (!e && s->n_row == before + PAGE);
    return e;
}

sq_err survey_take(struct registrar *r, struct survey *out)
{
    struct sq_packet *pkt = sq_packet_new();
    *out = (struct survey){.n_slot = 0};
    sq_err e = pkt ? list_slots(r, out, pkt) : sq_fail(SQ_ENOMEM);
    if (!e)
        e = list_files(r, out, pkt);
    if (!e)
        e = list_rows(r, out); /* sorted already */
    if (out->n_slot)
        qsort(out->slot, out->n_slot, sizeof *out->slot, by_id);
    if (out->n_file)
        qsort(out->file, out->n_file, sizeof *out->file, by_id);
    sq_packet_free(pkt);
    if (e)
        survey_done(out);
    return e;
}

void survey_done(struct survey *s)
{
    free(s->slot);
    free(s->file);
    free(s->row);
    *s = (struct survey){.n_slot = 0};
}

const struct seen_slot *survey_slot(const struct survey *s, const uint8_t id[ID])
{
    return s->n_slot ? bsearch(id, s->slot, s->n_slot, sizeof *s->slot, by_id) : NULL;
}

const struct seen_file *survey_file(const struct survey *s, const uint8_t id[ID])
{
    return s->n_file ? bsearch(id, s->file, s->n_file, sizeof *s->file, by_id) : NULL;
}

const struct seen_row *survey_row(const struct survey *s, const uint8_t id[ID])
{
    return s->n_row ? bsearch(id, s->row, s->n_row, sizeof *s->row, by_id) : NULL;
}

/* ---- what is done about it ---- */

sq_err destroy_orphan_slot(struct registrar *r, const uint8_t id[ID])
{
    struct sq_msg m = sq_msg_bare(slot_destroy), is;
    memcpy(m.u.slot_destroy.object_id, id, ID);
    struct sq_packet *pkt = sq_packet_new();
    sq_err e = pkt ? sq_node_call(r->node, SQ_ROLE_KEEPER, &m, CALL_MS, pkt, &is) : sq_fail(SQ_ENOMEM);
    sq_packet_free(pkt);
    return e;
}

sq_err erase_orphan_file(struct registrar *r, const struct seen_file *f)
{
    struct sq_msg m = sq_msg_bare(file_erase), is;
    memcpy(m.u.file_erase.object_id, f->id, ID);
    memcpy(m.u.file_erase.owner_id, f->owner, ID);
    struct sq_packet *pkt = sq_packet_new();
    sq_err e = pkt ? sq_node_call(r->node, SQ_ROLE_STORER, &m, ERASE_MS, pkt, &is) : sq_fail(SQ_ENOMEM);
    sq_packet_free(pkt);
    return e;
}

struct deadline {
    const uint8_t *id;
    int64_t not_after_s;
};

static sq_err tx_deadline(struct tx *tx, void *ctx)
{
    const struct deadline *x = ctx;
    return sq_db_object_set_not_after(tx->db, x->id, x->not_after_s);
}

sq_err agree_deadline(struct registrar *r, const struct seen_row *row, const struct seen_slot *slot)
{
    if (slot->not_after_s && slot->not_after_s < row->not_after_s)
        return commit(r, tx_deadline, &(struct deadline){.id = row->id, .not_after_s = slot->not_after_s});
    struct sq_msg m = sq_msg_of(slot_extend, .not_after_s = (uint64_t)row->not_after_s);
    memcpy(m.u.slot_extend.object_id, row->id, ID);
    return keeper_do(r, &m);
}

static sq_err tx_damaged(struct tx *tx, void *ctx)
{
    struct sq_db_object row;
    sq_err e = sq_db_object_get(tx->db, ctx, &row);
    if (e || row.state != SQ_DB_object_state_live) /* erased or found by another one meanwhile */
        return e;
    e = sq_db_object_set_state(tx->db, ctx, SQ_DB_object_state_damaged);
    return e ? e : tx_event(tx, &(struct event){.no = SQ_AUDIT_damaged, .subject = row.owner_id, .object = row.id});
}

sq_err mark_damaged(struct registrar *r, const uint8_t id[ID], const char *reason)
{
    uint8_t copy[ID];
    memcpy(copy, id, ID);
    sq_log(SQ_LOG_object_damaged, SQ_LID("object", copy, ID), SQ_LW("reason", reason));
    return commit(r, tx_damaged, copy);
}
