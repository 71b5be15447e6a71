#include "lib/audit/audit_internal.h"

/* The tree of RFC 9162 section 2.1, in O(log n) memory. Subtrees are never recomputed from leaves: every complete one
 * stands in the tree file, so a proof is a few reads. */

static sq_err node_hash(const uint8_t *left, const uint8_t *right, uint8_t *out)
{
    uint8_t b[1 + 2 * SQ_AUDIT_HASH_BYTES];
    b[0] = 1;
    memcpy(b + 1, left, SQ_AUDIT_HASH_BYTES);
    memcpy(b + 1 + SQ_AUDIT_HASH_BYTES, right, SQ_AUDIT_HASH_BYTES);
    return sq_sha256_of(b, sizeof b, out);
}

sq_err sq_audit_leaf_hash(struct sq_span bytes, uint8_t out[SQ_AUDIT_HASH_BYTES])
{
    uint8_t b[1 + SQ_AUDIT_ENTRY_MAX_BYTES];
    if (bytes.n > SQ_AUDIT_ENTRY_MAX_BYTES)
        return sq_fail(SQ_ERANGE);
    b[0] = 0;
    if (bytes.n)
        memcpy(b + 1, bytes.p, bytes.n);
    return sq_sha256_of(b, 1 + (size_t)bytes.n, out);
}

sq_err sq_audit_root_empty(uint8_t out[SQ_AUDIT_HASH_BYTES])
{
    return sq_sha256_of("", 0, out);
}

sq_err sq_frontier_add(struct sq_frontier *f, const uint8_t leaf[SQ_AUDIT_HASH_BYTES], struct sq_tree_nodes *out)
{
    sq_assert(f->size < UINT64_MAX / 4);
    memcpy(out->hash[0], leaf, SQ_AUDIT_HASH_BYTES);
    unsigned level = 0;
    for (; f->size >> level & 1; level++) {
        sq_err e = node_hash(f->hash[level], out->hash[level], out->hash[level + 1]);
        if (e)
            return e;
    }
    memcpy(f->hash[level], out->hash[level], SQ_AUDIT_HASH_BYTES);
    f->size++;
    out->n = level + 1;
    return SQ_OK;
}

sq_err sq_frontier_root(const struct sq_frontier *f, uint8_t out[SQ_AUDIT_HASH_BYTES])
{
    if (!f->size)
        return sq_audit_root_empty(out);
    uint8_t r[SQ_AUDIT_HASH_BYTES];
    bool is_first = true;
    for (unsigned level = 0; level < 64; level++) {
        if (!(f->size >> level & 1))
            continue;
        if (is_first)
            memcpy(r, f->hash[level], sizeof r);
        sq_err e = is_first ? SQ_OK : node_hash(f->hash[level], r, r);
        if (e)
            return e;
        is_first = false;
    }
    memcpy(out, r, sizeof r);
    return SQ_OK;
}

uint64_t sq_tree_count(uint64_t n_leaf)
{
    return 2 * n_leaf - (uint64_t)__builtin_popcountll(n_leaf);
}

uint64_t sq_tree_place(unsigned level, uint64_t index)
{
    uint64_t last_leaf = ((index + 1) << level) - 1;
    return sq_tree_count(last_leaf) + level;
}

uint64_t sq_tree_leaves(uint64_t n_hash)
{
    uint64_t n = n_hash / 2; /* count(n) <= 2n, and grows by at least one a leaf: at most 64 steps more */
    while (sq_tree_count(n + 1) <= n_hash)
        n++;
    return n;
}

sq_err sq_tree_frontier(sq_tree_reader read, void *ctx, uint64_t size, struct sq_frontier *out)
{
    struct sq_frontier f = {.size = size};
    for (unsigned level = 0; level < 64; level++) {
        if (!(size >> level & 1))
            continue;
        sq_err e = read(ctx, level, (size >> level) - 1, f.hash[level]);
        if (e)
            return e;
    }
    *out = f;
    return SQ_OK;
}

sq_err sq_tree_range(sq_tree_reader read, void *ctx, uint64_t from, uint64_t to, uint8_t out[SQ_AUDIT_HASH_BYTES])
{
    uint64_t n = to - from;
    sq_assert(n > 0);
    uint8_t r[SQ_AUDIT_HASH_BYTES];
    bool is_first = true;
    for (unsigned level = 0; level < 64; level++) { /* the rightmost, smallest complete subtree first */
        if (!(n >> level & 1))
            continue;
        uint64_t start = from + (n >> level << level) - ((uint64_t)1 << level);
        uint8_t h[SQ_AUDIT_HASH_BYTES];
        sq_err e = read(ctx, level, start >> level, h);
        if (!e && is_first)
            memcpy(r, h, sizeof r);
        else if (!e)
            e = node_hash(h, r, r);
        if (e)
            return e;
        is_first = false;
    }
    memcpy(out, r, sizeof r);
    return SQ_OK;
}

static uint64_t split(uint64_t n) /* largest power of two below n; n >= 2 */
{
    return (uint64_t)1 << (63 - __builtin_clzll(n - 1));
}

static void reverse(struct sq_audit_proof *p) /* the recursion of the RFC lists the innermost hash first */
{
    for (uint32_t i = 0; i < p->n / 2; i++) {
        uint8_t h[SQ_AUDIT_HASH_BYTES];
        memcpy(h, p->hash[i], sizeof h);
        memcpy(p->hash[i], p->hash[p->n - 1 - i], sizeof h);
        memcpy(p->hash[p->n - 1 - i], h, sizeof h);
    }
}

sq_err sq_tree_consistency(sq_tree_reader read, void *ctx, uint64_t old_size, uint64_t new_size,
                           struct sq_audit_proof *out)
{
    struct sq_audit_proof p = {0};
    uint64_t from = 0, to = new_size, m = old_size; /* SUBPROOF(m, D[from:to], b), RFC 9162 section 2.1.4.1 */
    bool is_known = true;                           /* b: the verifier knows the root of D[0:old_size] */
    if (old_size == 0) {
        *out = p;
        return SQ_OK;
    }
    while (m != to - from) {
        uint64_t k = split(to - from);
        sq_err e = m <= k ? sq_tree_range(read, ctx, from + k, to, p.hash[p.n])
                          : sq_tree_range(read, ctx, from, from + k, p.hash[p.n]);
        if (e)
            return e;
        p.n++;
        if (m <= k) {
            to = from + k;
        } else {
            from += k;
            m -= k;
            is_known = false;
        }
    }
    if (!is_known) {
        sq_err e = sq_tree_range(read, ctx, from, to, p.hash[p.n]);
        if (e)
            return e;
        p.n++;
    }
    reverse(&p);
    *out = p;
    return SQ_OK;
}

sq_err sq_tree_inclusion(sq_tree_reader read, void *ctx, uint64_t index, uint64_t size, struct sq_audit_proof *out)
{
    struct sq_audit_proof p = {0};
    uint64_t from = 0, to = size; /* PATH(index, D[from:to]), RFC 9162 section 2.1.3.1 */
    while (to - from > 1) {
        uint64_t k = split(to - from);
        bool is_left = index < from + k;
        sq_err e = is_left ? sq_tree_range(read, ctx, from + k, to, p.hash[p.n])
                           : sq_tree_range(read, ctx, from, from + k, p.hash[p.n]);
        if (e)
            return e;
        p.n++;
        if (is_left)
            to = from + k;
        else
            from += k;
    }
    reverse(&p);
    *out = p;
    return SQ_OK;
}

sq_err sq_audit_check_inclusion(uint64_t number, const uint8_t leaf[SQ_AUDIT_HASH_BYTES], uint64_t size,
                                const uint8_t root[SQ_AUDIT_HASH_BYTES], const uint8_t *hashes, size_t n_hash)
{
    if (number == 0 || number > size)
        return sq_fail(SQ_EAUDIT);
    uint64_t fn = number - 1, sn = size - 1;
    uint8_t r[SQ_AUDIT_HASH_BYTES];
    memcpy(r, leaf, sizeof r);
    for (size_t i = 0; i < n_hash; i++) {
        const uint8_t *p = hashes + i * SQ_AUDIT_HASH_BYTES;
        if (sn == 0)
            return sq_fail(SQ_EAUDIT);
        bool is_right = (fn & 1) || fn == sn;
        sq_err e = is_right ? node_hash(p, r, r) : node_hash(r, p, r);
        if (e)
            return e;
        if (is_right)
            while (!(fn & 1) && fn) {
                fn >>= 1;
                sn >>= 1;
            }
        fn >>= 1;
        sn >>= 1;
    }
    return sn == 0 && memcmp(r, root, sizeof r) == 0 ? SQ_OK : sq_fail(SQ_EAUDIT);
}

sq_err sq_audit_check_consistency(uint64_t old_size, const uint8_t old_root[SQ_AUDIT_HASH_BYTES], uint64_t new_size,
                                  const uint8_t new_root[SQ_AUDIT_HASH_BYTES], const uint8_t *hashes, size_t n_hash)
{
    uint8_t fr[SQ_AUDIT_HASH_BYTES], sr[SQ_AUDIT_HASH_BYTES];
    if (old_size > new_size)
        return sq_fail(SQ_EAUDIT);
    if (old_size == 0) { /* outside the RFC's algorithm: the empty tree is a prefix of every tree */
        sq_err e = sq_audit_root_empty(fr);
        if (e)
            return e;
        bool is_same = memcmp(fr, old_root, sizeof fr) == 0 && (new_size || memcmp(fr, new_root, sizeof fr) == 0);
        return n_hash == 0 && is_same ? SQ_OK : sq_fail(SQ_EAUDIT);
    }
    if (old_size == new_size)
        return n_hash == 0 && memcmp(old_root, new_root, sizeof fr) == 0 ? SQ_OK : sq_fail(SQ_EAUDIT);
    size_t i = 0;
    if ((old_size & (old_size - 1)) == 0) { /* a complete subtree: its root, which we know, comes first */
        memcpy(fr, old_root, sizeof fr);
    } else {
        if (n_hash == 0)
            return sq_fail(SQ_EAUDIT);
        memcpy(fr, hashes, sizeof fr);
        i = 1;
    }
    memcpy(sr, fr, sizeof sr);
    uint64_t fn = old_size - 1, sn = new_size - 1;
    while (fn & 1) {
        fn >>= 1;
        sn >>= 1;
    }
    for (; i < n_hash; i++) {
        const uint8_t *c = hashes + i * SQ_AUDIT_HASH_BYTES;
        if (sn == 0)
            return sq_fail(SQ_EAUDIT);
        sq_err e = SQ_OK;
        if ((fn & 1) || fn == sn) {
            e = node_hash(c, fr, fr);
            if (!e)
                e = node_hash(c, sr, sr);
            while (!(fn & 1) && fn) {
                fn >>= 1;
                sn >>= 1;
            }
        } else {
            e = node_hash(sr, c, sr);
        }
        if (e)
            return e;
        fn >>= 1;
        sn >>= 1;
    }
    bool is_good = sn == 0 && memcmp(fr, old_root, sizeof fr) == 0 && memcmp(sr, new_root, sizeof sr) == 0;
    return is_good ? SQ_OK : sq_fail(SQ_EAUDIT);
}
