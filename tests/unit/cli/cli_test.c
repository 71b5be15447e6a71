/* Parsing and formatting: what needs no file and no server. */
#include "cli/cli.h"

#include "lib/crypt/crypt.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char name_[] = "sequester";

/* the words as a writable argv */
static int parse(struct cli *c, const char *const *words)
{
    static char text[16][200];
    static char *argv[18];
    int n = 0;
    argv[n++] = name_;
    for (; words[n - 1]; n++) {
        snprintf(text[n - 1], sizeof text[0], "%s", words[n - 1]);
        argv[n] = text[n - 1];
    }
    argv[n] = NULL;
    return cli_parse(c, n, argv);
}
#define PARSE(c, ...) parse((c), (const char *const[]){__VA_ARGS__, NULL})

static void test_commands(void **state)
{
    (void)state;
    struct cli c;
    assert_int_equal(PARSE(&c, "status", "job-1", "--watch"), 0);
    assert_string_equal(c.command->name, "status");
    assert_int_equal(c.n_arg, 1);
    assert_string_equal(c.arg[0], "job-1");
    assert_non_null(c.opt[OPT_watch]);
    /* the longest name wins; options may stand anywhere */
    assert_int_equal(PARSE(&c, "receipt", "verify", "f"), 0);
    assert_string_equal(c.command->name, "receipt verify");
    assert_int_equal(PARSE(&c, "receipt", "job-1"), 0);
    assert_string_equal(c.command->name, "receipt");
    assert_int_equal(PARSE(&c, "admin", "--run-dir", "/r", "user", "add", "--role=operator", "ada"), 0);
    assert_string_equal(c.command->name, "admin user add");
    assert_string_equal(c.opt[OPT_run_dir], "/r");
    assert_string_equal(c.opt[OPT_role], "operator");
    assert_string_equal(c.arg[0], "ada");
    assert_int_equal(PARSE(&c, "admin", "clock-confirm"), 0);
    assert_string_equal(c.command->name, "admin clock confirm");
    assert_int_equal(PARSE(&c, "download", "job-1", "-o", "x", "--json"), 0);
    assert_string_equal(c.opt[OPT_out], "x");
    assert_non_null(c.opt[OPT_json]);
    assert_int_equal(PARSE(&c, "upload", "--", "-odd-name"), 0);
    assert_string_equal(c.arg[0], "-odd-name");
    /* these have options of their own */
    assert_int_equal(PARSE(&c, "impute", "--panel", "p", "--threads", "2"), 0);
    assert_string_equal(c.command->name, "impute");
    assert_int_equal(PARSE(&c, "panel", "verify", "--help"), 0);
    assert_string_equal(c.command->name, "panel verify");
    assert_non_null(c.opt[OPT_help]);
    assert_int_equal(PARSE(&c, "--help"), 0);
    assert_null(c.command);
}

static void test_misuse(void **state)
{
    (void)state;
    struct cli c;
    assert_int_equal(PARSE(&c, "nosuch"), EXIT_USAGE);
    assert_int_equal(PARSE(&c, "status"), EXIT_USAGE);
    assert_int_equal(PARSE(&c, "status", "a", "b"), EXIT_USAGE);
    assert_int_equal(PARSE(&c, "status", "a", "--nosuch"), EXIT_USAGE);
    assert_int_equal(PARSE(&c, "status", "a", "--wat"),
                     EXIT_USAGE); /* no abbreviations: a new option must not change an old script */
    assert_int_equal(PARSE(&c, "status", "a", "--panel", "x"), EXIT_USAGE);
    assert_int_equal(PARSE(&c, "status", "a", "--watch=yes"), EXIT_USAGE);
    assert_int_equal(PARSE(&c, "status", "a", "--session"), EXIT_USAGE);
    assert_int_equal(PARSE(&c, "status", "a", "--watch", "--watch"), EXIT_USAGE);
    assert_int_equal(PARSE(&c, "login", "--password", "x"), EXIT_USAGE);
    assert_int_equal(PARSE(&c, "admin"), EXIT_USAGE);
}

static void test_number(void **state)
{
    (void)state;
    struct cli c;
    long v;
    assert_int_equal(PARSE(&c, "jobs"), 0);
    assert_int_equal(cli_number(&c, OPT_limit, 50, 1, 50, &v), 0);
    assert_int_equal(v, 50);
    static const char *const bad[] = {"", "0", "51", "-1", "5x", "x", "99999999999999999999", " "};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        c.opt[OPT_limit] = bad[i];
        assert_int_equal(cli_number(&c, OPT_limit, 50, 1, 50, &v), EXIT_USAGE);
    }
    c.opt[OPT_limit] = "7";
    assert_int_equal(cli_number(&c, OPT_limit, 50, 1, 50, &v), 0);
    assert_int_equal(v, 7);
}

static void test_texts(void **state)
{
    (void)state;
    char t[64];
    static const struct {
        uint64_t n;
        const char *text;
    } sizes[] = {{0, "0 B"}, {1023, "1023 B"}, {1024, "1.0 KiB"}, {1536, "1.5 KiB"}, {5ULL << 30, "5.0 GiB"}, {3ULL << 50, "3072.0 TiB"}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        out_bytes(sizes[i].n, t);
        assert_string_equal(t, sizes[i].text);
    }
    out_duration(59, t);
    assert_string_equal(t, "59 s");
    out_duration(200, t);
    assert_string_equal(t, "3 min 20 s");
    out_duration(7260, t);
    assert_string_equal(t, "2 h 1 min");
}

static void test_bar(void **state)
{
    (void)state;
    char t[64];
    out_bar(0, 10, 10, t, sizeof t);
    assert_string_equal(t, "[          ]   0 %");
    out_bar(5, 10, 10, t, sizeof t);
    assert_string_equal(t, "[#####     ]  50 %");
    out_bar(99, 10, 10, t, sizeof t);
    assert_string_equal(t, "[##########] 100 %");
    out_bar(5, 0, 10, t, sizeof t);
    assert_string_equal(t, "[          ]");
    out_bar(UINT64_MAX - 1, UINT64_MAX, 10, t, sizeof t);
    assert_int_equal(strlen(t), 18);
    out_bar(1, 2, 30, t, 20); /* doesn't fit: nothing */
    assert_string_equal(t, "");
}

static void test_estimate(void **state)
{
    (void)state;
    assert_int_equal(out_estimate_s(0, 50, 100, 0, 10000), 10);
    assert_int_equal(out_estimate_s(20, 40, 100, 5000, 15000), 30); /* the rate since 20, not since 0 */
    assert_int_equal(out_estimate_s(0, 100, 100, 0, 10000), 0);
    assert_int_equal(out_estimate_s(0, 0, 100, 0, 10000), -1);
    assert_int_equal(out_estimate_s(0, 5, 0, 0, 10000), -1);
    assert_int_equal(out_estimate_s(0, 5, 10, 0, 500), -1);
    assert_int_equal(out_estimate_s(0, 15, 10, 0, 5000), -1);
}

static void test_clean(void **state)
{
    (void)state;
    char t[12];
    out_clean("a\033[2Jb\r\nc", t, sizeof t);
    assert_string_equal(t, "a?[2Jb??c");
    out_clean("\xc2\x9b"
              "1m \x7f",
              t, sizeof t); /* U+009B is a control too */
    assert_null(strstr(t, "\xc2\x9b"));
    assert_null(strchr(t, 0x7f));
    out_clean("\xc3\xa9\xc2\xb5", t, sizeof t); /* letters stay */
    assert_string_equal(t, "\xc3\xa9\xc2\xb5");
    out_clean("0123456789abcdef", t, sizeof t);
    assert_string_equal(t, "0123456789a");
}

/* no option takes a secret: what stands on a command line is seen by every process */
static void test_no_secret_option(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
    } rows[] = {
#define SQ_OPT(name, letter, value, text) {#name, value},
#include "cli/options.def"
#undef SQ_OPT
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        bool is_about = strstr(rows[i].name, "pass") || strstr(rows[i].name, "token") || strstr(rows[i].name, "secret");
        if (is_about)
            assert_true(!rows[i].value || !strcmp(rows[i].value, "FILE"));
        assert_null(strstr(rows[i].name, "insecure"));
    }
}

static void test_secret(void **state)
{
    (void)state;
    struct cli c;
    struct secret s = {NULL};
    char path[] = "/tmp/sequester-cli-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "one two\r\nrest\n", 14), 14);
    close(fd);
    assert_int_equal(PARSE(&c, "login", "--password-file", path), 0);
    assert_int_equal(secret_ask(&c, "?", false, &s), 0);
    assert_string_equal(s.text, "one two");
    secret_done(&s);
    assert_null(s.text);
    assert_int_equal(secret_set(&c, "", &s), EXIT_REFUSED);
    char *large = malloc(SECRET_MAX_BYTES + 2);
    assert_non_null(large);
    memset(large, 'x', SECRET_MAX_BYTES + 1);
    large[SECRET_MAX_BYTES + 1] = 0;
    assert_int_equal(secret_set(&c, large, &s), EXIT_REFUSED);
    large[SECRET_MAX_BYTES] = 0;
    assert_int_equal(secret_set(&c, large, &s), 0);
    assert_int_equal(strlen(s.text), SECRET_MAX_BYTES);
    free(large);
    secret_done(&s);
    assert_int_equal(PARSE(&c, "login", "--password-file", path, "--password-stdin"), 0);
    assert_int_equal(secret_ask(&c, "?", false, &s), EXIT_USAGE);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands),
        cmocka_unit_test(test_misuse),
        cmocka_unit_test(test_number),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_bar),
        cmocka_unit_test(test_estimate),
        cmocka_unit_test(test_clean),
        cmocka_unit_test(test_no_secret_option),
        cmocka_unit_test(test_secret),
    };
    secret_json_start();
    assert_int_equal(sq_crypt_start(), SQ_OK);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
