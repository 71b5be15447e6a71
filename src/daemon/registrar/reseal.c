/*
 * After owners' keys were replaced: what the database holds sealed is sealed anew by keeper, value by value, while everything goes on. Cut short, the rest
 * stays readable under the former keys, and the next time does it. The audit log isn't touched: it never changes.
 */
#include "daemon/registrar/registrar.h"

#include <stdlib.h>

#define PAGE 128

struct page {
    struct sq_db_sealed_at row[PAGE];
    struct sq_db_sealed anew[PAGE]; /* n = 0: as it is */
    size_t n;
};

static sq_err take(void *ctx, const struct sq_db_sealed_at *row)
{
    struct page *p = ctx;
    p->row[p->n++] = *row;
    return SQ_OK;
}

static sq_err ask_keeper(struct registrar *r, const struct sq_db_sealed_at *row, struct sq_db_sealed *out)
{
    struct sq_msg m, ask = sq_msg_of(reseal, .kind = (uint8_t)row->kind, .sealed = sq_span_of(row->sealed.p, row->sealed.n));
    struct sq_packet *pkt = sq_packet_new();
    if (!pkt)
        return sq_fail(SQ_ENOMEM);
    memcpy(ask.u.reseal.owner_id, row->owner_id, ID);
    sq_err e = strlen(row->key) == 2 * ID ? sq_hex_decode(row->key, 2 * ID, ask.u.reseal.id, ID) : SQ_OK; /* of a job: text, and not asked for */
    if (!e)
        e = sq_node_call(r->node, SQ_ROLE_KEEPER, &ask, CALL_MS, pkt, &m);
    out->n = 0;
    if (!e && m.u.sealed_is.sealed.n <= sizeof out->p) {
        out->n = (uint16_t)m.u.sealed_is.sealed.n;
        memcpy(out->p, m.u.sealed_is.sealed.p, out->n);
    }
    sq_packet_free(pkt);
    return e;
}

static sq_err tx_page(struct tx *tx, void *ctx)
{
    const struct page *p = ctx;
    sq_err e = SQ_OK;
    for (size_t i = 0; i < p->n && !e; i++)
        if (p->anew[i].n)
            e = sq_db_sealed_set(tx->db, &p->row[i], &p->anew[i]);
    return e;
}

/* It is this value's fault, not keeper's: a text that no key of his opens, that is no box, or whose key is gone. It is counted and left as it is. */
static bool is_left(sq_err e)
{
    return e == SQ_EKEYGONE || e == SQ_ENOTFOUND || e == SQ_ETAMPERED || e == SQ_ERANGE || e == SQ_EREQUEST || e == SQ_ECRYPTO;
}

static sq_err one_page(struct registrar *r, struct page *p, struct resealed *out)
{
    sq_err e = SQ_OK;
    uint64_t before = out->n;
    for (size_t i = 0; i < p->n && !e; i++) {
        e = ask_keeper(r, &p->row[i], &p->anew[i]);
        out->n += !e && p->anew[i].n;
        if (is_left(e)) {
            out->n_left++;
            e = SQ_OK;
        }
    }
    return e || out->n == before ? e : commit(r, tx_page, p);
}

sq_err reseal_all(struct registrar *r, struct resealed *out)
{
    struct page *p = malloc(sizeof *p);
    sq_err e = p ? SQ_OK : sq_fail(SQ_ENOMEM);
    *out = (struct resealed){.n = 0};
    for (int what = 1; what <= SQ_DB_SEALED_WHATS && !e; what++) {
        char after[sizeof p->row[0].key] = "";
        do {
            p->n = 0;
            struct sq_db *db = db_lock(r);
            e = sq_db_sealed_list(db, what, after, PAGE, take, p);
            db_unlock(r);
            if (!e)
                e = one_page(r, p, out);
            if (!e && p->n)
                memcpy(after, p->row[p->n - 1].key, sizeof after);
            if (!e)
                e = sq_fault("registrar.resealed_page");
        } while (!e && p->n == PAGE);
    }
    free(p);
    return e;
}
