/* The receipt's text: the bytes that the page shows, the largest one, and every change of a byte refused. */
#include "lib/store/receipt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define OK(x) assert_int_equal((x), SQ_OK)

static void example(struct sq_receipt *r)
{
    memset(r, 0, sizeof *r);
    r->made_s = 1795341600;
    memset(r->owner, 0x0a, 16);
    memset(r->job, 0x0b, 16);
    r->part = r->n_part = 1;
    r->n_object = 2;
    struct sq_receipt_object *o = r->object;
    memset(o[0].object, 0x01, 16);
    snprintf(o[0].kind, sizeof o[0].kind, "upload");
    o[0].plain_bytes = 1048576;
    o[0].sealed_bytes = 1049160;
    o[0].has_sha256 = true;
    memset(o[0].sha256, 0xab, 32);
    o[0].created_s = 1794736800;
    o[0].key_destroyed_s = 1795341590;
    o[0].key_generation = 3;
    o[0].erased = (struct sq_erased){.method = SQ_ERASE_overwritten_verified, .n_pass = 3, .n_extent = 2, .is_verified = true,
                                     .filesystem = "ext4"};
    o[1] = o[0];
    memset(o[1].object, 0x02, 16);
    snprintf(o[1].kind, sizeof o[1].kind, "package");
    o[1].has_sha256 = false;
    memset(o[1].sha256, 0, 32);
    o[1].created_s = 0;
    o[1].erased = (struct sq_erased){.method = SQ_ERASE_already_gone, .is_verified = true, .filesystem = "ext4"};
}

static void test_golden(void **state)
{
    (void)state;
    struct sq_receipt r, again;
    struct sq_buf text;
    char golden[SQ_RECEIPT_MAX_BYTES];
    const char *path = getenv("RECEIPT_GOLDEN");
    assert_non_null(path);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    size_t n = fread(golden, 1, sizeof golden, f);
    fclose(f);
    example(&r);
    sq_buf_init(&text, 0);
    OK(sq_receipt_text(&r, &text));
    assert_int_equal(text.n, n);
    assert_memory_equal(text.p, golden, n);
    OK(sq_receipt_read((const char *)text.p, text.n, &again, NULL));
    assert_memory_equal(&again, &r, sizeof r);
    sq_buf_done(&text);
}

static void test_largest_fits(void **state)
{
    (void)state;
    struct sq_receipt r, again;
    struct sq_buf text;
    example(&r);
    r.n_object = SQ_RECEIPT_MAX_OBJECTS;
    r.part = r.n_part = UINT32_MAX;
    for (uint32_t i = 0; i < r.n_object; i++) {
        struct sq_receipt_object *o = &r.object[i];
        *o = r.object[0];
        memset(o->kind, 'k', SQ_RECEIPT_KIND_BYTES - 1);
        o->plain_bytes = o->sealed_bytes = UINT64_MAX;
        o->key_generation = o->erased.n_extent = UINT32_MAX;
        o->erased.n_pass = UINT8_MAX;
        o->erased.is_moved = true;
        o->erased.method = i < 4 ? (enum sq_erase_method)(i + 1) : SQ_ERASE_overwritten_extents_moved;
        memset(o->erased.filesystem, 'f', SQ_STORE_FILESYSTEM_BYTES - 1);
    }
    sq_buf_init(&text, 0);
    OK(sq_receipt_text(&r, &text));
    print_message("# largest receipt: %zu of %d bytes\n", text.n, SQ_RECEIPT_MAX_BYTES);
    assert_true(text.n <= SQ_RECEIPT_MAX_BYTES);
    OK(sq_receipt_read((const char *)text.p, text.n, &again, NULL));
    assert_int_equal(again.object[3].plain_bytes, UINT64_MAX);
    sq_buf_done(&text);
}

static void test_refuses_to_write(void **state)
{
    (void)state;
    struct sq_receipt r;
    struct sq_buf text;
    sq_buf_init(&text, 0);
#define REFUSED(change)                                       \
    do {                                                      \
        example(&r);                                          \
        change;                                               \
        assert_int_equal(sq_receipt_text(&r, &text), SQ_ERANGE); \
        assert_int_equal(text.n, 0);                          \
    } while (0)
    REFUSED(r.n_object = 0);
    REFUSED(r.n_object = SQ_RECEIPT_MAX_OBJECTS + 1);
    REFUSED(r.part = 2);
    REFUSED(r.part = 0);
    REFUSED(r.made_s = 0);
    REFUSED(r.made_s = INT64_MAX);
    REFUSED(r.object[1].created_s = -1);
    REFUSED(snprintf(r.object[0].kind, sizeof r.object[0].kind, "Up load"));
    REFUSED(r.object[0].kind[0] = 0);
    REFUSED(r.object[0].erased.method = (enum sq_erase_method)9);
    REFUSED(snprintf(r.object[0].erased.filesystem, sizeof r.object[0].erased.filesystem, "a\nb"));
    REFUSED(r.object[0].erased.filesystem[0] = 0);
#undef REFUSED
    sq_buf_done(&text);
}

/* Any other byte at any place, any cut, any line more: refused or, as digits may change, read as something else. */
static void test_every_change_is_seen(void **state)
{
    (void)state;
    struct sq_receipt r, got;
    struct sq_buf text, again;
    example(&r);
    sq_buf_init(&text, 0);
    sq_buf_init(&again, 0);
    OK(sq_receipt_text(&r, &text));
    for (size_t n = 0; n < text.n; n++)
        assert_int_equal(sq_receipt_read((const char *)text.p, n, &got, NULL), SQ_EFIELD);
    static const uint8_t bits[] = {0x01, 0x10, 0x20, 0x80};
    for (size_t i = 0; i < text.n; i++)
        for (size_t k = 0; k < sizeof bits; k++) {
            text.p[i] ^= bits[k];
            struct sq_why why = {0};
            sq_err e = sq_receipt_read((const char *)text.p, text.n, &got, &why);
            if (e) {
                assert_int_equal(e, SQ_EFIELD);
            } else { /* another receipt, then, and a canonical one */
                sq_buf_clear(&again);
                OK(sq_receipt_text(&got, &again));
                assert_int_equal(again.n, text.n);
                assert_memory_equal(again.p, text.p, text.n);
            }
            text.p[i] ^= bits[k];
        }
    OK(sq_buf_addf(&text, "limit none\n"));
    struct sq_why why = {0};
    assert_int_equal(sq_receipt_read((const char *)text.p, text.n, &got, &why), SQ_EFIELD);
    sq_buf_done(&text);
    sq_buf_done(&again);
}

static void test_says_where(void **state)
{
    (void)state;
    struct sq_receipt got;
    struct sq_why why = {0};
    static const char text[] = "sequester-receipt/v1\nmade 2026-11-22T10:00:00Z\nowner zz\n";
    assert_int_equal(sq_receipt_read(text, strlen(text), &got, &why), SQ_EFIELD);
    assert_int_equal(why.line, 3);
    assert_string_equal(why.field, "owner");
    static const char other[] = "sequester-receipt/v2\n";
    assert_int_equal(sq_receipt_read(other, strlen(other), &got, &why), SQ_EFIELD);
    assert_int_equal(why.line, 1);
}

/* ---- of a job ---- */

static void job_example(struct sq_job_receipt *j)
{
    struct sq_receipt r;
    memset(j, 0, sizeof *j);
    example(&r);
    OK(sq_job_receipt_add(j, &r));
    r.object[0].key_destroyed_s -= 100;
    r.object[1].key_destroyed_s = 0;
    OK(sq_job_receipt_add(j, &r));
    j->made_s = 1795341700;
    memset(j->owner, 0x0a, 16);
    memset(j->job, 0x0b, 16);
    memset(j->receipts_sha256, 0xcd, 32);
}

static void test_job_golden(void **state)
{
    (void)state;
    struct sq_job_receipt j, again;
    struct sq_buf text;
    char golden[SQ_RECEIPT_MAX_BYTES], line[SQ_JOB_RECEIPT_LINE_BYTES];
    const char *path = getenv("JOB_RECEIPT_GOLDEN");
    assert_non_null(path);
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    size_t n = fread(golden, 1, sizeof golden, f);
    fclose(f);
    job_example(&j);
    assert_true(j.n_object == 4 && j.plain_bytes == 4 * 1048576 && j.first_key_s == 1795341490 && j.last_key_s == 1795341590);
    assert_true(j.n_method[SQ_ERASE_overwritten_verified] == 2 && j.n_method[SQ_ERASE_already_gone] == 2);
    sq_buf_init(&text, 0);
    OK(sq_job_receipt_text(&j, &text));
    assert_int_equal(text.n, n);
    assert_memory_equal(text.p, golden, n);
    OK(sq_job_receipt_read((const char *)text.p, text.n, &again, NULL));
    assert_memory_equal(&again, &j, sizeof j);
    for (size_t i = 0; i < text.n; i++)
        assert_int_equal(sq_job_receipt_read((const char *)text.p, i, &again, NULL), SQ_EFIELD);
    text.p[text.n - 2] ^= 1; /* the last sentence */
    assert_int_equal(sq_job_receipt_read((const char *)text.p, text.n, &again, NULL), SQ_EFIELD);
    struct sq_receipt r;
    example(&r);
    sq_job_receipt_line(&r, j.receipts_sha256, line);
    assert_int_equal(strlen(line), SQ_JOB_RECEIPT_LINE_BYTES - 1);
    assert_memory_equal(line, "01010101010101010101010101010101 cdcd", 37);
    sq_buf_done(&text);
}

static void test_job_refuses(void **state)
{
    (void)state;
    struct sq_job_receipt j;
    struct sq_receipt r;
    struct sq_buf text;
    sq_buf_init(&text, 0);
    job_example(&j);
    j.n_object++; /* the methods no longer add up */
    assert_int_equal(sq_job_receipt_text(&j, &text), SQ_ERANGE);
    memset(&j, 0, sizeof j);
    j.made_s = 1;
    assert_int_equal(sq_job_receipt_text(&j, &text), SQ_ERANGE); /* of nothing */
    example(&r);
    j.plain_bytes = UINT64_MAX;
    assert_int_equal(sq_job_receipt_add(&j, &r), SQ_ERANGE);
    assert_int_equal(sq_receipt_text_bytes("a\nb\n\n-- sig\n", 12), 4);
    assert_int_equal(sq_receipt_text_bytes("a\nb\n", 4), 0);
    sq_buf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),           cmocka_unit_test(test_largest_fits), cmocka_unit_test(test_refuses_to_write),
        cmocka_unit_test(test_every_change_is_seen), cmocka_unit_test(test_job_golden), cmocka_unit_test(test_job_refuses), cmocka_unit_test(test_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
