/* Lists of stolen passwords: the built-in one, and an operator's as sorted hashes or as words. */
#include "lib/identity/breached.h"

#include "lib/core/buf.h"
#include "lib/crypt/crypt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static bool has(const struct sq_breached *list, const char *password)
{
    bool is = false;
    assert_int_equal(sq_breached_has(list, password, strlen(password), &is), SQ_OK);
    return is;
}

static int file_of(const char *text, size_t n)
{
    int fd = memfd_create("list", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, n), (ssize_t)n);
    return fd;
}

static void test_built_in(void **state)
{
    (void)state;
    FILE *f = fopen(getenv("BREACHED_PASSWORDS"), "r");
    char line[512];
    size_t n = 0;
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (*line == '#')
            continue;
        n++;
        if (strlen(line) < 12 || !has(NULL, line))
            fail_msg("line %zu isn't in the table, or is too short", n);
        line[0] = line[0] >= 'a' && line[0] <= 'z' ? (char)(line[0] - 32) : line[0];
        assert_true(has(NULL, line));
        strcat(line, "x");
    }
    fclose(f);
    assert_true(n >= 3000); /* ASVS 5.0 V6.2.4 */
    assert_int_equal(n, sq_breached_n_built_in());
    assert_false(has(NULL, "korb flut zange 9 mast"));
    assert_false(has(NULL, ""));
}

static void hash(const char *password, bool is_upper, char out[41])
{
    uint8_t sha[SQ_SHA1_BYTES];
    assert_int_equal(sq_sha1_of(password, strlen(password), sha), SQ_OK);
    for (int i = 0; i < SQ_SHA1_BYTES; i++)
        snprintf(out + 2 * i, 3, is_upper ? "%02X" : "%02x", sha[i]);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* @n hashes of "list-0", "list-1", ..., with counts of different lengths */
static char *hashes(size_t n, const char *end, bool is_upper, size_t *out_n)
{
    char (*line)[64] = calloc(n ? n : 1, sizeof *line), *all = calloc(n + 1, sizeof *line), word[32];
    for (size_t i = 0; i < n; i++) {
        snprintf(word, sizeof word, "list-%zu", i);
        hash(word, is_upper, line[i]);
        if (i % 3)
            snprintf(line[i] + 40, 20, ":%zu", i * i * (i % 7 ? 1 : 90001));
        strcat(line[i], end);
    }
    qsort(line, n, sizeof *line, by_text);
    *out_n = 0;
    for (size_t i = 0; i < n; i++) {
        size_t k = strlen(line[i]);
        memcpy(all + *out_n, line[i], k);
        *out_n += k;
    }
    free(line);
    return all;
}

static void test_hashes(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 3, 4, 7, 100, 5000};
    for (size_t s = 0; s < 2 * sizeof sizes / sizeof sizes[0]; s++) {
        size_t n = sizes[s / 2], n_byte;
        char *text = hashes(n, s & 1 ? "\r\n" : "\n", s & 1, &n_byte), word[32];
        for (unsigned cut = 0; cut < 2; cut++) { /* with and without the last end of a line */
            int fd = file_of(text, n_byte - (cut ? 1 + (s & 1) : 0));
            struct sq_breached *list = NULL;
            assert_int_equal(sq_breached_open(fd, &list, NULL), SQ_OK);
            for (size_t i = 0; i < n + 200; i++) {
                snprintf(word, sizeof word, "list-%zu", i);
                if (has(list, word) != (i < n))
                    fail_msg("%s in a list of %zu", word, n);
            }
            assert_true(has(list, "LIST-0")); /* in lower case too */
            assert_true(has(list, "1qaz2wsx3edc4rfv"));
            sq_breached_free(list);
            close(fd);
        }
        free(text);
    }
}

static void refused(const char *text, size_t n, const char *says)
{
    struct sq_breached *list = NULL;
    struct sq_why why = {.line = 0};
    int fd = file_of(text, n);
    assert_int_equal(sq_breached_open(fd, &list, &why), SQ_ECONFIG);
    if (!strstr(why.detail, says))
        fail_msg("told \"%s\"", why.detail);
    close(fd);
}

static void test_bad_lists(void **state)
{
    (void)state;
    size_t n;
    char *text = hashes(300, "\n", true, &n);
    char *swapped = malloc(n);
    const char *half = (char *)memchr(text + n / 2, '\n', n / 2) + 1;
    memcpy(swapped, half, n - (size_t)(half - text)); /* the second half before the first */
    memcpy(swapped + n - (size_t)(half - text), text, (size_t)(half - text));
    refused(swapped, n, "ascending order");
    memcpy(swapped, text, n);
    memset(swapped + n / 2, 'x', 200);
    refused(swapped, n, "no hash near byte");
    refused("one\ntwo\0three\n", 14, "zero byte");
    /* found out when it is searched: what changed under us is an error, not "no" */
    int fd = file_of(text, n);
    struct sq_breached *list = NULL;
    bool is;
    assert_int_equal(sq_breached_open(fd, &list, NULL), SQ_OK);
    memset(swapped, 'x', n);
    assert_int_equal(pwrite(fd, swapped, n, 0), (ssize_t)n);
    assert_int_equal(sq_breached_has(list, "list-1", 6, &is), SQ_EIO);
    sq_breached_free(list);
    close(fd);
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_int_equal(sq_breached_open(pipes[0], &list, NULL), SQ_ECONFIG);
    close(pipes[0]);
    close(pipes[1]);
    free(swapped);
    free(text);
}

static void test_words(void **state)
{
    (void)state;
    static const char text[] = "Bergsteiger Verein 1904\r\n\nzweite zeile\nlast without end";
    int fd = file_of(text, sizeof text - 1);
    struct sq_breached *list = NULL;
    assert_int_equal(sq_breached_open(fd, &list, NULL), SQ_OK);
    assert_true(has(list, "bergsteiger verein 1904"));
    assert_true(has(list, "ZWEITE ZEILE"));
    assert_true(has(list, "last without end"));
    assert_false(has(list, ""));
    assert_false(has(list, "zweite zeile "));
    sq_breached_free(list);
    close(fd);
    fd = file_of("", 0);
    assert_int_equal(sq_breached_open(fd, &list, NULL), SQ_OK);
    assert_false(has(list, "zweite zeile"));
    sq_breached_free(list);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_in), cmocka_unit_test(test_hashes), cmocka_unit_test(test_bad_lists), cmocka_unit_test(test_words),
    };
    if (sq_crypt_start())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
