/* Result packages: misuse of the writer, and every kind of damage against the reader. Other programs: zip_test.py. */
#include "lib/core/file.h"
#include "lib/vault/zip_ae2.h"
#include "lib/vault/zip_ae2_internal.h"
#include "lib/vault/zip_ae2_read.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define TIME_S INT64_C(1795341600)
static const char password[] = "Kq7-mB2_zX9.rT4w";

static sq_err to_buf(void *ctx, const void *p, size_t n)
{
    return sq_buf_add(ctx, p, n);
}

static sq_err to_nowhere(void *ctx, const void *p, size_t n)
{
    return sq_fail(SQ_EFULL);
}

static struct sq_zip_keys keys_of(uint8_t no)
{
    struct sq_zip_keys keys;
    uint8_t salt[SQ_ZIP_SALT_BYTES];
    memset(salt, no, sizeof salt);
    assert_int_equal(sq_zip_entry_keys(password, sizeof password - 1, salt, &keys), SQ_OK);
    return keys;
}

static void add(struct sq_zip *z, const char *name, const void *p, size_t n, bool is_known, uint8_t no)
{
    struct sq_zip_keys keys = keys_of(no);
    assert_int_equal(sq_zip_entry_begin(z, name, &keys, is_known ? n : SQ_ZIP_UNKNOWN_BYTES), SQ_OK);
    for (size_t at = 0; at < n; at += 777)
        assert_int_equal(sq_zip_write(z, (const uint8_t *)p + at, n - at < 777 ? n - at : 777), SQ_OK);
    assert_int_equal(sq_zip_entry_end(z), SQ_OK);
}

static void package(struct sq_buf *out)
{
    struct sq_zip *z = NULL;
    uint64_t n = 0;
    sq_buf_init(out, 0);
    assert_int_equal(sq_zip_new(to_buf, out, TIME_S, &z), SQ_OK);
    add(z, "check.txt", "sequester\n", 10, true, 1);
    add(z, "chr22/data.bin", "0123456789abcdefghij", 20, false, 2);
    assert_int_equal(sq_zip_close(z, &n), SQ_OK);
    assert_int_equal(n, out->n);
    sq_zip_free(z);
}

static int file_of(const struct sq_buf *b)
{
    int fd = memfd_create("package", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(sq_pwrite_all(fd, b->p, b->n, 0), SQ_OK);
    return fd;
}

/* open and extract everything; *out_given: bytes that reached the sink */
static sq_err read_all(int fd, const char *pass, size_t *out_given)
{
    struct sq_unzip *z = NULL;
    struct sq_buf got;
    sq_buf_init(&got, 0);
    sq_err err = sq_unzip_open(fd, &z);
    for (size_t i = 0; !err && i < sq_unzip_n_entry(z); i++)
        err = sq_unzip_extract(z, i, pass, strlen(pass), to_buf, &got);
    if (!err) {
        assert_int_equal(got.n, 30);
        assert_memory_equal(got.p, "sequester\n0123456789abcdefghij", 30);
    }
    *out_given = got.n;
    sq_buf_done(&got);
    sq_unzip_free(z);
    return err;
}

static void round_trip(void **state)
{
    struct sq_buf b;
    size_t given = 0, i = 9;
    package(&b);
    int fd = file_of(&b);
    assert_int_equal(read_all(fd, password, &given), SQ_OK);
    assert_int_equal(read_all(fd, "wrong", &given), SQ_EPASSWORD);
    assert_int_equal(given, 0);
    struct sq_unzip *z = NULL;
    assert_int_equal(sq_unzip_open(fd, &z), SQ_OK);
    assert_int_equal(sq_unzip_n_entry(z), 2);
    assert_string_equal(sq_unzip_entry(z, 1).name, "chr22/data.bin");
    assert_int_equal(sq_unzip_entry(z, 1).plain_bytes, 20);
    assert_int_equal(sq_unzip_find(z, "chr22/data.bin", &i), SQ_OK);
    assert_int_equal(i, 1);
    assert_int_equal(sq_unzip_find(z, "chr22", &i), SQ_ENOTFOUND);
    assert_int_equal(sq_unzip_extract(z, 0, password, sizeof password - 1, to_nowhere, NULL), SQ_EFULL);
    sq_unzip_free(z);
    close(fd);
    struct sq_buf again;
    package(&again);
    assert_int_equal(again.n, b.n); /* a function of keys, names, contents and time */
    assert_memory_equal(again.p, b.p, b.n);
    sq_buf_done(&again);
    sq_buf_done(&b);
}

static void every_flip_is_found(void **state)
{
    struct sq_buf b;
    size_t given = 0;
    package(&b);
    int fd = file_of(&b);
    for (size_t at = 0; at < b.n; at++) {
        uint8_t bad = b.p[at] ^ 1;
        assert_int_equal(sq_pwrite_all(fd, &bad, 1, (off_t)at), SQ_OK);
        if (read_all(fd, password, &given) == SQ_OK)
            fail_msg("flip at %zu not found", at);
        assert_int_equal(sq_pwrite_all(fd, b.p + at, 1, (off_t)at), SQ_OK);
    }
    assert_int_equal(read_all(fd, password, &given), SQ_OK);
    for (size_t n = 0; n < b.n; n++) { /* every cut, and something behind the end */
        assert_int_equal(ftruncate(fd, (off_t)(b.n - 1 - n)), 0);
        assert_int_not_equal(read_all(fd, password, &given), SQ_OK);
    }
    close(fd);
    assert_int_equal(sq_buf_add(&b, "\0", 1), SQ_OK);
    fd = file_of(&b);
    assert_int_not_equal(read_all(fd, password, &given), SQ_OK);
    close(fd);
    sq_buf_done(&b);
}

static void nothing_before_the_mac(void **state)
{
    struct sq_buf b;
    size_t given = 1;
    package(&b);
    b.p[ZIP_LOCAL_BYTES + 9 + ZIP_AES_EXTRA_BYTES + 18 + 9] ^= 1; /* last byte of ciphertext of the first entry */
    int fd = file_of(&b);
    assert_int_equal(read_all(fd, password, &given), SQ_ETAMPERED);
    assert_int_equal(given, 0);
    close(fd);
    sq_buf_done(&b);
}

static void replace(struct sq_buf *b, const char *from, const char *to)
{
    for (size_t at = 0; at + strlen(from) <= b->n; at++)
        if (memcmp(b->p + at, from, strlen(from)) == 0)
            memcpy(b->p + at, to, strlen(from));
}

static void path_tricks(void **state)
{
    static const char *names[] = {"../xx/data.bin", "/hr22/data.bin", "chr22//ata.bin", "chr22/../a.bin", "./r22/data.bin",
                                  "chr22/data.bi/", "chr22\\data.bin", "chr22/data bin", ("chr22/\x01" "ata.bin"), "-hr22/data.bin",
                                  "chr22/\xc3\xa4ta.bin", "chr22/....../..", "chr22/-ata.bin"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct sq_buf b;
        size_t given = 0;
        package(&b);
        replace(&b, "chr22/data.bin", names[i]); /* in both records alike */
        int fd = file_of(&b);
        assert_int_equal(read_all(fd, password, &given), SQ_ETAMPERED);
        assert_int_equal(given, 0);
        close(fd);
        sq_buf_done(&b);
        assert_false(sq_zip_name_ok(names[i]));
    }
    struct sq_buf b;
    size_t given = 0;
    package(&b);
    replace(&b, "chr22/data.bin", "chr22/data\0bin");
    int fd = file_of(&b);
    assert_int_equal(read_all(fd, password, &given), SQ_ETAMPERED);
    close(fd);
    sq_buf_done(&b);
    assert_false(sq_zip_name_ok(""));
    assert_true(sq_zip_name_ok("a/b.c-d_e"));
    assert_true(sq_zip_name_ok("..a"));
}

static void misuse(void **state)
{
    struct sq_buf b;
    struct sq_zip *z = NULL;
    struct sq_zip_keys keys = keys_of(1);
    sq_buf_init(&b, 0);
    static const char *bad[] = {"", "/a", "../a", "a b", "a/"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(sq_zip_new(to_buf, &b, TIME_S, &z), SQ_OK);
        assert_int_equal(sq_zip_entry_begin(z, bad[i], &keys, 1), SQ_ERANGE);
        assert_int_equal(sq_zip_close(z, NULL), SQ_ERANGE); /* the first error stays */
        sq_zip_free(z);
    }
    assert_int_equal(sq_zip_new(to_buf, &b, TIME_S, &z), SQ_OK);
    add(z, "a", "x", 1, true, 1);
    assert_int_equal(sq_zip_entry_begin(z, "a", &keys, 1), SQ_EEXISTS);
    sq_zip_free(z);
    assert_int_equal(sq_zip_new(to_buf, &b, TIME_S, &z), SQ_OK);
    assert_int_equal(sq_zip_entry_begin(z, "a", &keys, 2), SQ_OK);
    assert_int_equal(sq_zip_write(z, "xyz", 3), SQ_ERANGE);
    sq_zip_free(z);
    assert_int_equal(sq_zip_new(to_buf, &b, TIME_S, &z), SQ_OK);
    assert_int_equal(sq_zip_entry_begin(z, "a", &keys, 2), SQ_OK);
    assert_int_equal(sq_zip_write(z, "x", 1), SQ_OK);
    assert_int_equal(sq_zip_entry_end(z), SQ_ERANGE);
    sq_zip_free(z);
    assert_int_equal(sq_zip_new(to_buf, &b, TIME_S, &z), SQ_OK);
    assert_int_equal(sq_zip_write(z, "x", 1), SQ_ECONFLICT);
    sq_zip_free(z);
    assert_int_equal(sq_zip_new(to_nowhere, NULL, TIME_S, &z), SQ_OK);
    assert_int_equal(sq_zip_entry_begin(z, "a", &keys, 2), SQ_EFULL);
    assert_int_equal(sq_zip_close(z, NULL), SQ_EFULL);
    sq_zip_free(z);
    assert_int_equal(sq_zip_new(to_buf, &b, 0, &z), SQ_ERANGE); /* before 1980 */
    sq_buf_done(&b);
}

static void many_entries(void **state)
{
    struct sq_buf b;
    struct sq_zip *z = NULL;
    struct sq_unzip *r = NULL;
    struct sq_zip_keys keys = keys_of(1);
    sq_buf_init(&b, 0);
    assert_int_equal(sq_zip_new(to_buf, &b, TIME_S, &z), SQ_OK);
    for (unsigned i = 0; i < SQ_ZIP_MAX_ENTRIES; i++) {
        char name[16] = "e0000";
        for (unsigned k = 0, v = i; k < 4; k++, v /= 10)
            name[4 - k] = (char)('0' + v % 10);
        assert_int_equal(sq_zip_entry_begin(z, name, &keys, 0), SQ_OK);
        assert_int_equal(sq_zip_entry_end(z), SQ_OK);
    }
    assert_int_equal(sq_zip_close(z, NULL), SQ_OK);
    int fd = file_of(&b);
    assert_int_equal(sq_unzip_open(fd, &r), SQ_OK);
    assert_int_equal(sq_unzip_n_entry(r), SQ_ZIP_MAX_ENTRIES);
    sq_unzip_free(r);
    sq_zip_free(z);
    close(fd);
    assert_int_equal(sq_zip_new(to_buf, &b, TIME_S, &z), SQ_OK);
    sq_zip_free(z);
    sq_buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),  cmocka_unit_test(every_flip_is_found), cmocka_unit_test(nothing_before_the_mac),
        cmocka_unit_test(path_tricks), cmocka_unit_test(misuse),              cmocka_unit_test(many_entries),
    };
    if (sq_crypt_start())
        return 1;
    return cmocka_run_group_tests_name("zip", tests, NULL, NULL);
}
