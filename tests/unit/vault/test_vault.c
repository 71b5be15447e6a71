/* Sealed objects: every boundary, every kind of damage, random access, Tink's own vectors. */
#include "lib/core/file.h"
#include "lib/vault/vault_open.h"
#include "lib/vault/vault_open_internal.h"
#include "lib/vault/vault_seal.h"
#include "vault_keys.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)
#define S SQ_VAULT_SEGMENT_BYTES
#define PART SQ_VAULT_PART_SEALED_BYTES

static struct test_keeper keeper;

static uint8_t byte_at(uint64_t i)
{
    return (uint8_t)(i % 251 + (i >> 24));
}

static uint8_t *pattern(uint64_t n)
{
    uint8_t *p = malloc(n ? n : 1);
    assert_non_null(p);
    for (uint64_t i = 0; i < n; i++)
        p[i] = byte_at(i);
    return p;
}

/* sealed in steps of @step bytes into a memory file */
static int sealed_file(uint64_t n, uint64_t step, struct sq_vault_sum *sum)
{
    int fd = memfd_create("sealed", MFD_CLOEXEC);
    assert_true(fd >= 0);
    uint8_t *plain = pattern(n);
    struct sq_vault_sealer *s = NULL;
    assert_int_equal(sq_vault_sealer_new(keeper.object_id, fd, test_key_seal, &keeper, &s), SQ_OK);
    for (uint64_t at = 0; at < n; at += step)
        assert_int_equal(sq_vault_seal(s, plain + at, n - at < step ? n - at : step), SQ_OK);
    assert_int_equal(sq_vault_seal_close(s, sum), SQ_OK);
    assert_int_equal(sq_vault_seal(s, "x", 1), SQ_ECONFLICT);
    sq_vault_sealer_free(s);
    uint8_t sha[SQ_SHA256_BYTES];
    assert_int_equal(sq_sha256_of(plain, n, sha), SQ_OK);
    assert_memory_equal(sha, sum->sha256, sizeof sha);
    free(plain);
    return fd;
}

static sq_err opener(int fd, uint64_t sealed, struct sq_vault_opener **out)
{
    return sq_vault_opener_new(keeper.object_id, fd, sealed, test_key_open, &keeper, out);
}

/* what a full read of @fd says, whatever its length now is */
static sq_err read_all(int fd)
{
    struct sq_vault_opener *o = NULL;
    sq_err err = opener(fd, (uint64_t)lseek(fd, 0, SEEK_END), &o);
    if (!err)
        err = sq_vault_verify(o);
    sq_vault_opener_free(o);
    return err;
}

static void check_range(struct sq_vault_opener *o, uint64_t offset, size_t n)
{
    uint8_t *out = malloc(n + 1);
    assert_non_null(out);
    size_t got = 12345;
    uint64_t total = sq_vault_opener_plain_bytes(o);
    uint64_t want = offset >= total ? 0 : total - offset < n ? total - offset : n;
    out[n] = 0x5a;
    assert_int_equal(sq_vault_read(o, offset, out, n, &got), SQ_OK);
    assert_int_equal(got, want);
    for (size_t i = 0; i < got; i++)
        if (out[i] != byte_at(offset + i))
            fail_msg("wrong byte at %llu", (unsigned long long)(offset + i));
    assert_int_equal(out[n], 0x5a);
    free(out);
}

static void round_trip(uint64_t n, uint64_t step)
{
    struct sq_vault_sum sum;
    int fd = sealed_file(n, step, &sum);
    assert_int_equal(sum.plain_bytes, n);
    assert_int_equal(sum.n_part, (n + 16 * MIB - 1) / (16 * MIB));
    assert_int_equal(sum.sealed_bytes, sq_vault_sealed_bytes(n));
    assert_int_equal(sum.sealed_bytes, lseek(fd, 0, SEEK_END));
    struct sq_vault_opener *o = NULL;
    assert_int_equal(opener(fd, sum.sealed_bytes, &o), SQ_OK);
    assert_int_equal(sq_vault_opener_plain_bytes(o), n);
    assert_memory_equal(sq_vault_opener_sum(o)->sha256, sum.sha256, 32);
    for (uint64_t at = 0; at < n || at == 0; at += 3 * MIB + 7)
        check_range(o, at, 3 * MIB + 7);
    assert_int_equal(sq_vault_verify(o), SQ_OK);
    check_range(o, n, 10);
    check_range(o, n + 5, 10);
    check_range(o, n ? n - 1 : 0, 10);
    uint64_t seed = n * 2654435761u + 1;
    for (int i = 0; i < 40; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        check_range(o, n ? (seed >> 20) % n : 0, (size_t)(seed >> 48));
    }
    sq_vault_opener_free(o);
    close(fd);
}

static void sizes(void **state)
{
    static const uint64_t n[] = {0, 1, 15, 16, 17, 65479, 65480, 65481, S - 56 - 1, S - 56, S - 56 + 1, 65480 + 65519, 65480 + 65520,
                                 65480 + 65521, 3 * S, MIB};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        round_trip(n[i], n[i] ? n[i] : 1);
        round_trip(n[i], 4099);
    }
    round_trip(66000, 1);
}

static void large_sizes(void **state)
{
    round_trip(16 * MIB - 1, 16 * MIB);
    round_trip(16 * MIB, 65536);
    round_trip(16 * MIB + 1, 1000003);
    round_trip(33 * MIB, 33 * MIB);
    assert_int_equal(sq_vault_sealed_bytes(16 * MIB), 16781368 + 136);
}

static void put(int fd, uint64_t at, const void *p, size_t n)
{
    assert_int_equal(sq_pwrite_all(fd, p, n, (off_t)at), SQ_OK);
}

static void get(int fd, uint64_t at, void *p, size_t n)
{
    size_t got = 0;
    assert_int_equal(sq_pread_full(fd, p, n, (off_t)at, &got), SQ_OK);
    assert_int_equal(got, n);
}

static void flips(void **state)
{
    struct sq_vault_sum sum;
    /* every byte of a small object: header, salt, prefix, ciphertext, tag, closing part */
    int fd = sealed_file(12, 12, &sum);
    assert_int_equal(read_all(fd), SQ_OK);
    for (uint64_t at = 0; at < sum.sealed_bytes; at++) {
        uint8_t old, bad;
        get(fd, at, &old, 1);
        for (int bit = 0; bit < 8; bit += 7) {
            bad = (uint8_t)(old ^ 1 << bit);
            put(fd, at, &bad, 1);
            assert_int_equal(read_all(fd), SQ_ETAMPERED);
        }
        put(fd, at, &old, 1);
    }
    assert_int_equal(read_all(fd), SQ_OK);
    close(fd);

    /* every kind of place in an object of two parts, read through random access too */
    fd = sealed_file(16 * MIB + 200000, MIB, &sum);
    static const uint64_t places[] = {0,        1,        33,          40,           65519,       65520,          65535,
                                      65536,    131071,   8000000,     PART - 1,     PART,        PART + 1,       PART + 40,
                                      PART + S, PART + 3 * S - 1, PART + 200103};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        uint8_t old, bad;
        get(fd, places[i], &old, 1);
        bad = old ^ 0x10;
        put(fd, places[i], &bad, 1);
        assert_int_equal(read_all(fd), SQ_ETAMPERED);
        put(fd, places[i], &old, 1);
    }
    uint8_t bad = 0, old;
    struct sq_vault_opener *o = NULL;
    get(fd, 8000000, &old, 1);
    bad = old ^ 1;
    put(fd, 8000000, &bad, 1);
    assert_int_equal(opener(fd, sum.sealed_bytes, &o), SQ_OK);
    uint8_t out[100];
    size_t got = 7;
    memset(out, 0x33, sizeof out);
    uint64_t plain = 8000000 - 8000000 / S * 16 - 40;
    assert_int_equal(sq_vault_read(o, plain, out, sizeof out, &got), SQ_ETAMPERED);
    assert_int_equal(got, 7);
    check_range(o, plain + S, 1000); /* the next segment is whole */
    check_range(o, 0, 1000);
    assert_int_equal(sq_vault_verify(o), SQ_ETAMPERED);
    sq_vault_opener_free(o);
    close(fd);
}

static void truncation(void **state)
{
    struct sq_vault_sum sum;
    int fd = sealed_file(12, 12, &sum);
    struct sq_vault_opener *o = NULL;
    for (uint64_t n = 0; n < sum.sealed_bytes; n++) {
        assert_int_equal(ftruncate(fd, (off_t)n), 0);
        assert_int_equal(opener(fd, sum.sealed_bytes, &o), SQ_ETRUNCATED); /* the database knows the length */
    }
    close(fd);
    fd = sealed_file(12, 12, &sum);
    for (uint64_t n = 0; n < sum.sealed_bytes; n++) { /* and when it doesn't, the closing part tells */
        int copy = memfd_create("cut", MFD_CLOEXEC);
        uint8_t all[512];
        get(fd, 0, all, n);
        put(copy, 0, all, n);
        sq_err err = read_all(copy);
        assert_true(err == SQ_ETRUNCATED || err == SQ_ETAMPERED);
        close(copy);
    }
    put(fd, sum.sealed_bytes, "x", 1);
    assert_int_equal(opener(fd, sum.sealed_bytes, &o), SQ_ETAMPERED);
    assert_int_equal(opener(fd, sum.sealed_bytes + 1, &o), SQ_ETAMPERED);
    close(fd);
}

/* parts of an object of three, put together anew */
static sq_err recombined(int fd, uint64_t sealed, const uint32_t *parts, int n_part)
{
    int copy = memfd_create("parts", MFD_CLOEXEC);
    uint64_t at = 0, last = sealed - 2 * PART - SQ_VAULT_CLOSING_BYTES;
    uint8_t *buf = malloc(PART);
    assert_non_null(buf);
    for (int i = 0; i < n_part; i++) {
        size_t n = parts[i] == SQ_VAULT_CLOSING_PART ? SQ_VAULT_CLOSING_BYTES : parts[i] == 2 ? last : PART;
        get(fd, parts[i] == SQ_VAULT_CLOSING_PART ? sealed - SQ_VAULT_CLOSING_BYTES : parts[i] * PART, buf, n);
        put(copy, at, buf, n);
        at += n;
    }
    sq_err err = read_all(copy);
    free(buf);
    close(copy);
    return err;
}

static void parts(void **state)
{
    struct sq_vault_sum sum;
    int fd = sealed_file(32 * MIB + 100, MIB, &sum);
    const uint32_t c = SQ_VAULT_CLOSING_PART;
    assert_int_equal(recombined(fd, sum.sealed_bytes, (uint32_t[]){0, 1, 2, c}, 4), SQ_OK);
    assert_int_equal(recombined(fd, sum.sealed_bytes, (uint32_t[]){1, 0, 2, c}, 4), SQ_ETAMPERED); /* swapped */
    assert_int_equal(recombined(fd, sum.sealed_bytes, (uint32_t[]){0, 0, 2, c}, 4), SQ_ETAMPERED); /* repeated */
    assert_int_equal(recombined(fd, sum.sealed_bytes, (uint32_t[]){0, 2, c}, 3), SQ_ETRUNCATED);   /* dropped */
    assert_int_equal(recombined(fd, sum.sealed_bytes, (uint32_t[]){0, 1, c}, 3), SQ_ETRUNCATED);
    assert_int_equal(recombined(fd, sum.sealed_bytes, (uint32_t[]){c}, 1), SQ_ETRUNCATED);
    assert_int_equal(recombined(fd, sum.sealed_bytes, (uint32_t[]){0, 1, 1, 2, c}, 5), SQ_ETAMPERED); /* added */
    assert_int_equal(recombined(fd, sum.sealed_bytes, (uint32_t[]){0, 1, 2}, 3), SQ_ETRUNCATED); /* never closed */
    close(fd);
}

static void wrong_object(void **state)
{
    struct sq_vault_sum sum;
    int fd = sealed_file(1000, 1000, &sum);
    struct sq_vault_opener *o = NULL;
    struct test_keeper other = keeper;
    other.object_id[3] ^= 1;
    /* another id: another key. And even a keeper who gave the right key: the trailer names the object */
    assert_int_equal(sq_vault_opener_new(other.object_id, fd, sum.sealed_bytes, test_key_open, &other, &o), SQ_ETAMPERED);
    assert_int_equal(sq_vault_opener_new(other.object_id, fd, sum.sealed_bytes, test_key_open, &keeper, &o), SQ_ETAMPERED);
    other = keeper;
    assert_int_equal(sq_key_new(&other.object_key), SQ_OK);
    assert_int_equal(sq_vault_opener_new(other.object_id, fd, sum.sealed_bytes, test_key_open, &other, &o), SQ_ETAMPERED);
    sq_key_free(other.object_key);
    other = keeper;
    other.refuse = SQ_EKEYGONE;
    assert_int_equal(sq_vault_opener_new(other.object_id, fd, sum.sealed_bytes, test_key_open, &other, &o), SQ_EKEYGONE);
    assert_null(o);
    close(fd);
}

/* whoever holds all keys could write a wrong digest: a read in order finds it */
static sq_err lying_key(void *ctx, uint32_t part_no, const uint8_t salt[SQ_VAULT_SALT_BYTES], struct sq_key **out)
{
    return test_key_open(ctx, part_no, salt, out);
}

static void wrong_digest(void **state)
{
    struct sq_vault_sum sum;
    int fd = sealed_file(200000, 200000, &sum);
    uint8_t closing[SQ_VAULT_CLOSING_BYTES], trailer[SQ_VAULT_CLOSING_BYTES], nonce[12];
    struct sq_key *derived = NULL;
    struct sq_gcm *gcm = NULL;
    size_t n = 0;
    get(fd, sum.sealed_bytes - sizeof closing, closing, sizeof closing);
    assert_int_equal(sq_vault_derive(keeper.object_key, closing + 1, keeper.object_id, SQ_VAULT_CLOSING_PART, &derived), SQ_OK);
    assert_int_equal(vault_stream_open(sq_key_bytes(derived), S, closing, sizeof closing, trailer, &n), SQ_OK);
    assert_int_equal(n, SQ_VAULT_TRAILER_BYTES);
    vault_nonce(closing + 33, 0, true, nonce);
    assert_int_equal(sq_gcm_new(sq_key_bytes(derived), &gcm), SQ_OK);
    for (size_t at = 0; at < SQ_VAULT_TRAILER_BYTES; at++) { /* every field of the trailer is looked at */
        trailer[at] ^= 1;
        assert_int_equal(sq_gcm_seal(gcm, nonce, NULL, 0, trailer, n, closing + 40), SQ_OK);
        put(fd, sum.sealed_bytes - sizeof closing, closing, sizeof closing);
        struct sq_vault_opener *o = NULL;
        sq_err err = sq_vault_opener_new(keeper.object_id, fd, sum.sealed_bytes, lying_key, &keeper, &o);
        if (at < 48) {
            assert_true(err == SQ_ETAMPERED || (err == SQ_ETRUNCATED && at >= 16 && at < 24));
        } else {
            uint8_t *out = malloc(200000);
            size_t got = 0;
            assert_int_equal(err, SQ_OK);
            assert_int_equal(sq_vault_read(o, 0, out, 100000, &got), SQ_OK);
            assert_int_equal(sq_vault_read(o, 100000, out, 100000, &got), SQ_ETAMPERED);
            for (size_t i = 0; i < 100000; i++)
                assert_int_equal(out[i], 0);
            assert_int_equal(sq_vault_verify(o), SQ_ETAMPERED);
            free(out);
        }
        sq_vault_opener_free(o);
        trailer[at] ^= 1;
    }
    sq_gcm_free(gcm);
    sq_key_free(derived);
    close(fd);
}

static void one_key_a_part(void **state)
{
    struct sq_vault_sum sum;
    keeper.n_asked = 0;
    int fd = sealed_file(17 * MIB, 1000003, &sum);
    assert_int_equal(keeper.n_asked, 3); /* two parts and the closing one */
    struct sq_vault_opener *o = NULL;
    keeper.n_asked = 0;
    assert_int_equal(opener(fd, sum.sealed_bytes, &o), SQ_OK);
    assert_int_equal(sq_vault_verify(o), SQ_OK);
    assert_int_equal(keeper.n_asked, 3);
    sq_vault_opener_free(o);
    close(fd);
}

static void failures_stick(void **state)
{
    struct sq_vault_sealer *s = NULL;
    struct sq_vault_sum sum;
    uint8_t *big = pattern(MIB);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_int_equal(sq_vault_sealer_new(keeper.object_id, full, test_key_seal, &keeper, &s), SQ_OK);
    assert_int_equal(sq_vault_seal(s, big, MIB), SQ_EFULL);
    assert_int_equal(sq_vault_seal(s, "x", 1), SQ_EFULL);
    assert_int_equal(sq_vault_seal_close(s, &sum), SQ_EFULL);
    sq_vault_sealer_free(s);
    close(full);
    struct test_keeper gone = keeper;
    gone.refuse = SQ_ESEALED;
    int fd = memfd_create("none", MFD_CLOEXEC);
    assert_int_equal(sq_vault_sealer_new(keeper.object_id, fd, test_key_seal, &gone, &s), SQ_OK);
    assert_int_equal(sq_vault_seal(s, NULL, 0), SQ_OK); /* no byte, no part, no key */
    assert_int_equal(sq_vault_seal(s, "x", 1), SQ_ESEALED);
    gone.refuse = SQ_OK;
    assert_int_equal(sq_vault_seal(s, "x", 1), SQ_ESEALED);
    sq_vault_sealer_free(s);
    close(fd);
    free(big);
}

/* streams made by Tink itself (AesGcmHkdfStreamingTestUtil.java, vectors 5 and 7). They use HKDF with SHA-1, so the
 * derived keys stand here; tests/unit/vault/oracle_test.py derives them again from Tink's key and salt. */
static void tink(void **state)
{
    static const struct {
        const char *derived, *sealed, *plain;
        uint32_t segment;
    } v[] = {
        {"61596fadc06dcd479c13694f7b7abad692e58e7479127629dd53f2c2f1cd4ca9",
         "28fae780c70a82d1256c8303a1261ac6a98cf557b4e173967a62f3c149517ba5b2431da93b3c6e90f508b34dc14bfda59bab05681c6ad3fa",
         "", 64},
        {"d8a2efbc6f264b4c3ad17298e0405d087bf27e7724792b5cdb21b99b60042de8",
         "28782994617714a80fa085e15051a16854522330d6d0f26c049b2192f09cdd98b2eb90c753bfff277a29e54fa4afb15d648c28477eb07f0125"
         "35c767f5fdce24ffffae318480c1d37357d6d3c511159318afa09ef38aa3f5456fd7817c5c02dd6e1a7fef174c8bd24e38b5982ac105497c01"
         "01ac5581fe5b",
         "BLOCK 1.BLOCK 2.BLOCK 3.BLOCK 4.BLOCK 5.BLOCK 6.BLOCK 7.BLOCK 8.", 120}};
    for (int i = 0; i < 2; i++) {
        uint8_t derived[32], sealed[128], out[128];
        size_t n_sealed = strlen(v[i].sealed) / 2, n = 0;
        assert_int_equal(sq_hex_decode(v[i].derived, 64, derived, 32), SQ_OK);
        assert_int_equal(sq_hex_decode(v[i].sealed, 2 * n_sealed, sealed, n_sealed), SQ_OK);
        assert_int_equal(vault_stream_open(derived, v[i].segment, sealed, n_sealed, out, &n), SQ_OK);
        assert_int_equal(n, strlen(v[i].plain));
        assert_memory_equal(out, v[i].plain, n);
        sealed[0] = 0x18;
        assert_int_equal(vault_stream_open(derived, v[i].segment, sealed, n_sealed, out, &n), SQ_ETAMPERED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),        cmocka_unit_test(large_sizes),    cmocka_unit_test(flips),
        cmocka_unit_test(truncation),   cmocka_unit_test(parts),          cmocka_unit_test(wrong_object),
        cmocka_unit_test(wrong_digest), cmocka_unit_test(one_key_a_part), cmocka_unit_test(failures_stick),
        cmocka_unit_test(tink),
    };
    if (sq_crypt_start() || test_keeper_init(&keeper))
        return 1;
    int rc = cmocka_run_group_tests_name("vault", tests, NULL, NULL);
    sq_key_free(keeper.object_key);
    return rc;
}
