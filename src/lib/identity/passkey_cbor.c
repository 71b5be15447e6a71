/*
 * The walk before libfido2: libcbor makes room for as many members as the header of a map or list promises, before it has seen one, so
 * nine bytes of a stranger's could ask for gigabytes. libcbor's streaming decoder tells each header without making room for anything.
 * Each promised item takes a byte at least, so what is owed may never be more than the bytes that are left.
 *
 * CTAP's canonical form is asked for as far as sizes go: definite lengths, four levels, the promised items and nothing behind them.
 */
#include "lib/identity/passkey_internal.h"

#include <cbor.h>

#define HEAD_BYTES (SQ_SHA256_BYTES + 1 + 4) /* of the site | flags | counter */
#define NEW_BYTES (16 + 2)                   /* make of the authenticator | length of its id */
#define FLAG_NEW 0x40
#define FLAG_EXTENSIONS 0x80
#define MAX_LEVEL 4

struct walk {
    uint64_t owed[MAX_LEVEL + 1]; /* items, of each level that is open */
    uint64_t n_inside;            /* the item that was just read is a list or map of so many */
    bool is_outer, is_refused;    /* a list or map; of unknown length, or a tag */
};

static void on_list(void *ctx, size_t n)
{
    struct walk *w = ctx;
    w->is_outer = true;
    w->n_inside = n;
}

static void on_map(void *ctx, size_t n)
{
    struct walk *w = ctx;
    w->is_outer = true;
    w->is_refused = n > SIZE_MAX / 2;
    w->n_inside = 2 * (uint64_t)n;
}

static void on_unbounded(void *ctx)
{
    ((struct walk *)ctx)->is_refused = true;
}

static void on_tag(void *ctx, uint64_t tag)
{
    (void)tag;
    ((struct walk *)ctx)->is_refused = true;
}

static bool is_bounded(const uint8_t *p, size_t n, uint64_t n_item)
{
    struct cbor_callbacks calls = cbor_empty_callbacks;
    calls.array_start = on_list;
    calls.map_start = on_map;
    calls.indef_array_start = calls.indef_map_start = calls.byte_string_start = calls.string_start = calls.indef_break = on_unbounded;
    calls.tag = on_tag;
    struct walk w = {.owed = {n_item}};
    uint64_t all_owed = n_item; /* on all levels */
    unsigned level = 0;
    while (all_owed) {
        w.is_outer = false;
        w.n_inside = 0;
        struct cbor_decoder_result is = cbor_stream_decode(p, n, &calls, &w);
        if (is.status != CBOR_DECODER_FINISHED || w.is_refused || !is.read || is.read > n)
            return false;
        p += is.read;
        n -= is.read;
        w.owed[level]--;
        all_owed--;
        if (w.n_inside > n || all_owed + w.n_inside > n)
            return false;
        all_owed += w.n_inside;
        if (w.n_inside && ++level > MAX_LEVEL)
            return false;
        if (w.n_inside)
            w.owed[level] = w.n_inside;
        while (level && !w.owed[level])
            level--;
    }
    return !n;
}

sq_err passkey_cbor_bounded(struct sq_span auth_data)
{
    const uint8_t *p = auth_data.p;
    size_t n = auth_data.n, at = HEAD_BYTES;
    if (n < HEAD_BYTES)
        return sq_fail(SQ_EPASSKEY);
    uint8_t flags = p[SQ_SHA256_BYTES];
    if (flags & FLAG_NEW) {
        if (n - at < NEW_BYTES)
            return sq_fail(SQ_EPASSKEY);
        size_t n_id = (size_t)p[at + 16] << 8 | p[at + 17];
        at += NEW_BYTES;
        if (n - at < n_id)
            return sq_fail(SQ_EPASSKEY);
        at += n_id;
    }
    bool is_good = is_bounded(p + at, n - at, (uint64_t)((flags & FLAG_NEW) != 0) + ((flags & FLAG_EXTENSIONS) != 0));
    return is_good ? SQ_OK : sq_fail(SQ_EPASSKEY);
}
