/* The tree against the published Certificate Transparency vectors, and against the recursion of RFC 9162 for every
 * pair of sizes up to 64. */
#include "lib/audit/audit_internal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define N 64

static uint8_t leaves[N][32];
static uint8_t nodes[2 * N][32]; /* as in the tree file */
static uint8_t roots[N + 1][32];

/* ---- the oracle: MTH, PROOF and PATH as the RFC writes them ---- */

static void hash_node(const uint8_t *l, const uint8_t *r, uint8_t *out)
{
    uint8_t b[65] = {1};
    memcpy(b + 1, l, 32);
    memcpy(b + 33, r, 32);
    assert_int_equal(sq_sha256_of(b, sizeof b, out), SQ_OK);
}

static unsigned half(unsigned n)
{
    unsigned k = 1;
    while (2 * k < n)
        k *= 2;
    return k;
}

static void mth(unsigned lo, unsigned hi, uint8_t *out)
{
    uint8_t l[32], r[32];
    if (hi - lo == 0) {
        assert_int_equal(sq_sha256_of("", 0, out), SQ_OK);
    } else if (hi - lo == 1) {
        memcpy(out, leaves[lo], 32);
    } else {
        unsigned k = half(hi - lo);
        mth(lo, lo + k, l);
        mth(lo + k, hi, r);
        hash_node(l, r, out);
    }
}

static void subproof(unsigned m, unsigned lo, unsigned hi, bool b, struct sq_audit_proof *p)
{
    if (m == hi - lo) {
        if (!b)
            mth(lo, hi, p->hash[p->n++]);
        return;
    }
    unsigned k = half(hi - lo);
    if (m <= k) {
        subproof(m, lo, lo + k, b, p);
        mth(lo + k, hi, p->hash[p->n++]);
    } else {
        subproof(m - k, lo + k, hi, false, p);
        mth(lo, lo + k, p->hash[p->n++]);
    }
}

static void path(unsigned m, unsigned lo, unsigned hi, struct sq_audit_proof *p)
{
    if (hi - lo == 1)
        return;
    unsigned k = half(hi - lo);
    if (m < k) {
        path(m, lo, lo + k, p);
        mth(lo + k, hi, p->hash[p->n++]);
    } else {
        path(m - k, lo + k, hi, p);
        mth(lo, lo + k, p->hash[p->n++]);
    }
}

/* ---- ---- */

static sq_err read_node(void *ctx, unsigned level, uint64_t index, uint8_t out[32])
{
    (void)ctx;
    memcpy(out, nodes[sq_tree_place(level, index)], 32);
    return SQ_OK;
}

static int build(void **state)
{
    (void)state;
    struct sq_frontier f = {0};
    if (sq_crypt_start())
        return -1;
    for (unsigned i = 0; i < N; i++) {
        uint8_t data[3] = {(uint8_t)i, 7, (uint8_t)(i * i & 0xff)};
        struct sq_tree_nodes t;
        if (sq_frontier_root(&f, roots[i]) || sq_audit_leaf_hash(sq_span_of(data, 3), leaves[i])
            || sq_frontier_add(&f, leaves[i], &t))
            return -1;
        memcpy(nodes[sq_tree_count(i)], t.hash, (size_t)t.n * 32);
        if (sq_tree_count(i + 1) - sq_tree_count(i) != t.n)
            return -1;
    }
    return sq_frontier_root(&f, roots[N]) ? -1 : 0;
}

static void published_vectors(void **state)
{
    (void)state;
    static const char *const data[] = {"", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                       "606162636465666768696a6b6c6d6e6f"};
    static const char *const want[] = {
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    };
    struct sq_frontier f = {0};
    uint8_t got[9][32];
    for (size_t i = 0; i <= 8; i++) {
        uint8_t raw[16], w[32], leaf[32];
        struct sq_tree_nodes t;
        assert_int_equal(sq_frontier_root(&f, got[i]), SQ_OK);
        assert_int_equal(sq_hex_decode(want[i], 64, w, 32), SQ_OK);
        assert_memory_equal(got[i], w, 32);
        if (i == 8)
            break;
        size_t n = strlen(data[i]) / 2;
        assert_int_equal(sq_hex_decode(data[i], 2 * n, raw, n), SQ_OK);
        assert_int_equal(sq_audit_leaf_hash(sq_span_of(raw, n), leaf), SQ_OK);
        assert_int_equal(sq_frontier_add(&f, leaf, &t), SQ_OK);
    }
    /* consistency 6 -> 8, as published */
    static const char proof_hex[] = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
                                    "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
                                    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
    uint8_t proof[96];
    assert_int_equal(sq_hex_decode(proof_hex, 192, proof, 96), SQ_OK);
    assert_int_equal(sq_audit_check_consistency(6, got[6], 8, got[8], proof, 3), SQ_OK);
    assert_int_equal(sq_audit_check_consistency(6, got[5], 8, got[8], proof, 3), SQ_EAUDIT);
    /* inclusion of leaf 5 in 8 */
    static const char incl_hex[] = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
                                   "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
                                   "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
    uint8_t leaf5[32], raw[4] = {0x40, 0x41, 0x42, 0x43};
    assert_int_equal(sq_hex_decode(incl_hex, 192, proof, 96), SQ_OK);
    assert_int_equal(sq_audit_leaf_hash(sq_span_of(raw, 4), leaf5), SQ_OK);
    assert_int_equal(sq_audit_check_inclusion(6, leaf5, 8, got[8], proof, 3), SQ_OK);
    assert_int_equal(sq_audit_check_inclusion(7, leaf5, 8, got[8], proof, 3), SQ_EAUDIT);
}

static void roots_of_all_sizes(void **state)
{
    (void)state;
    for (unsigned n = 0; n <= N; n++) {
        uint8_t want[32], got[32];
        struct sq_frontier f;
        mth(0, n, want);
        assert_memory_equal(roots[n], want, 32);
        assert_int_equal(sq_tree_frontier(read_node, NULL, n, &f), SQ_OK);
        assert_int_equal(sq_frontier_root(&f, got), SQ_OK);
        assert_memory_equal(got, want, 32);
    }
}

static void consistency_of_all_pairs(void **state)
{
    (void)state;
    for (unsigned n = 0; n <= N; n++) {
        for (unsigned m = 0; m <= n; m++) {
            struct sq_audit_proof got, want = {0};
            assert_int_equal(sq_tree_consistency(read_node, NULL, m, n, &got), SQ_OK);
            if (m)
                subproof(m, 0, n, true, &want);
            assert_int_equal(got.n, want.n);
            assert_memory_equal(got.hash, want.hash, (size_t)want.n * 32);
            assert_int_equal(sq_audit_check_consistency(m, roots[m], n, roots[n], got.hash[0], got.n), SQ_OK);
            /* nothing else passes */
            uint8_t other[32];
            memcpy(other, roots[m], 32);
            other[31] ^= 1;
            assert_int_equal(sq_audit_check_consistency(m, other, n, roots[n], got.hash[0], got.n), SQ_EAUDIT);
            memcpy(other, roots[n], 32);
            other[0] ^= 0x80;
            if (m) /* from nothing, everything follows */
                assert_int_equal(sq_audit_check_consistency(m, roots[m], n, other, got.hash[0], got.n), SQ_EAUDIT);
            assert_int_equal(sq_audit_check_consistency(m, roots[m], n, roots[n], got.hash[0], got.n + 1), SQ_EAUDIT);
            if (got.n) {
                assert_int_equal(sq_audit_check_consistency(m, roots[m], n, roots[n], got.hash[0], got.n - 1), SQ_EAUDIT);
                got.hash[got.n / 2][5] ^= 4;
                assert_int_equal(sq_audit_check_consistency(m, roots[m], n, roots[n], got.hash[0], got.n), SQ_EAUDIT);
            }
            if (m < n)
                assert_int_equal(sq_audit_check_consistency(n, roots[n], m, roots[m], got.hash[0], got.n), SQ_EAUDIT);
        }
    }
}

static void inclusion_of_all(void **state)
{
    (void)state;
    for (unsigned n = 1; n <= N; n++) {
        for (unsigned i = 0; i < n; i++) {
            struct sq_audit_proof got, want = {0};
            assert_int_equal(sq_tree_inclusion(read_node, NULL, i, n, &got), SQ_OK);
            path(i, 0, n, &want);
            assert_int_equal(got.n, want.n);
            assert_memory_equal(got.hash, want.hash, (size_t)want.n * 32);
            assert_int_equal(sq_audit_check_inclusion(i + 1, leaves[i], n, roots[n], got.hash[0], got.n), SQ_OK);
            assert_int_equal(sq_audit_check_inclusion(i + 1, leaves[(i + 1) % N], n, roots[n], got.hash[0], got.n), SQ_EAUDIT);
            assert_int_equal(sq_audit_check_inclusion(i + 2, leaves[i], n, roots[n], got.hash[0], got.n), SQ_EAUDIT);
            assert_int_equal(sq_audit_check_inclusion(0, leaves[i], n, roots[n], got.hash[0], got.n), SQ_EAUDIT);
        }
    }
}

static void places_in_the_tree_file(void **state)
{
    (void)state;
    for (uint64_t n = 0; n < 3000; n++) {
        assert_true(sq_tree_leaves(sq_tree_count(n)) == n);
        if (sq_tree_count(n + 1) - sq_tree_count(n) > 1)
            assert_true(sq_tree_leaves(sq_tree_count(n + 1) - 1) == n);
    }
    assert_true(sq_tree_place(0, 0) == 0);
    assert_true(sq_tree_place(1, 0) == 2);
    assert_true(sq_tree_place(2, 0) == 6);
    assert_true(sq_tree_place(0, 4) == 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors),
        cmocka_unit_test(roots_of_all_sizes),
        cmocka_unit_test(consistency_of_all_pairs),
        cmocka_unit_test(inclusion_of_all),
        cmocka_unit_test(places_in_the_tree_file),
    };
    return cmocka_run_group_tests(tests, build, NULL);
}
