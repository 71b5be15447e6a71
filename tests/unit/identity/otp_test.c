/* One-time passwords: the rule, and statistics over many. Password strength; waiting after failures. */
#include "lib/crypt/crypt.h"
#include "lib/identity/identity.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const unsigned class_start[5] = {0, 25, 49, 57, 64};

static int by_text(const void *a, const void *b)
{
    return memcmp(a, b, SQ_OTP_CHARS);
}

/* Within a class and place every character must be as likely as another: chi-square per class, over places 1..23. */
static void check_uniform(uint64_t n_char[SQ_OTP_ALPHABET_CHARS])
{
    for (unsigned c = 0; c < 4; c++) {
        unsigned k = class_start[c + 1] - class_start[c];
        double total = 0, chi = 0;
        for (unsigned i = class_start[c]; i < class_start[c + 1]; i++)
            total += (double)n_char[i];
        for (unsigned i = class_start[c]; i < class_start[c + 1]; i++) {
            double off = (double)n_char[i] - total / k;
            chi += off * off / (total / k);
        }
        /* mean k-1; 3k+20 lies beyond p = 1e-6 for every k here. A modulo bias of one in 256 would give thousands. */
        assert_true(chi < 3.0 * k + 20);
    }
}

static void test_many(void **state)
{
    (void)state;
    const char *wanted = getenv("SQ_OTP_SAMPLES");
    size_t n = wanted ? strtoul(wanted, NULL, 10) : 200000;
    uint64_t n_char[SQ_OTP_ALPHABET_CHARS] = {0};
    char *all = malloc(n * SQ_OTP_CHARS), one[SQ_OTP_BYTES];
    assert_non_null(all);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(sq_otp_make(one), SQ_OK);
        assert_int_equal(strlen(one), SQ_OTP_CHARS);
        assert_true(sq_otp_is_good(one));
        for (unsigned p = 0; p < SQ_OTP_CHARS; p++) {
            const char *at = strchr(sq_otp_alphabet, one[p]);
            assert_non_null(at);
            n_char[at - sq_otp_alphabet] += p > 0; /* the first is a letter by rule */
        }
        memcpy(all + i * SQ_OTP_CHARS, one, SQ_OTP_CHARS);
    }
    check_uniform(n_char);
    qsort(all, n, SQ_OTP_CHARS, by_text);
    for (size_t i = 1; i < n; i++)
        assert_int_not_equal(memcmp(all + (i - 1) * SQ_OTP_CHARS, all + i * SQ_OTP_CHARS, SQ_OTP_CHARS), 0);
    free(all);
}

/* How many uniform draws pass: with it the entropy that remains, log2(64^24 * p). Must be above 128 bits. */
static void test_entropy(void **state)
{
    (void)state;
    unsigned n_good = 0, n_draw = 100000;
    for (unsigned i = 0; i < n_draw; i++) {
        char s[SQ_OTP_BYTES] = {0};
        uint8_t raw[SQ_OTP_CHARS];
        assert_int_equal(sq_random(raw, sizeof raw), SQ_OK);
        for (unsigned p = 0; p < SQ_OTP_CHARS; p++)
            s[p] = sq_otp_alphabet[raw[p] & 63];
        n_good += sq_otp_is_good(s);
    }
    print_message("# %u of %u draws pass\n", n_good, n_draw);
    assert_true(n_good * 16 > n_draw); /* at most 4 of the 144 bits are lost */
}

static void test_rule(void **state)
{
    (void)state;
    assert_true(sq_otp_is_good("abcdeABCDE23456_.:+@fghj"));
    assert_false(sq_otp_is_good("2bcdeABCDE23456_.:+@fghj")); /* starts with a digit */
    assert_false(sq_otp_is_good("abcdeABCDEFGHJK2_.:+@fgh")); /* one digit */
    assert_false(sq_otp_is_good("abcdeABCDE23456789fghjk_")); /* one special */
    assert_true(sq_otp_is_good("aabbccABCDE23456_.:+@fgh"));  /* three repeats */
    assert_false(sq_otp_is_good("aabbccddABCDE23456_.:+@f")); /* four */
    assert_false(sq_otp_is_good("aaaaabABCDE23456_.:+@fgh")); /* four, of one character */
    for (unsigned i = 0; i < SQ_OTP_ALPHABET_CHARS; i++) {
        assert_ptr_equal(strchr(sq_otp_alphabet, sq_otp_alphabet[i]), sq_otp_alphabet + i);
        assert_null(strchr("lIO01 '\"\\$`!&|;<>(){}[]*?~#^%=/", sq_otp_alphabet[i]));
    }
}

/* @says: what the sentence has; NULL: the password is good */
static void judge(const struct sq_password_rules *rules, const char *password, const char *says)
{
    struct sq_why why = {.line = 0};
    sq_err e = sq_password_strength(rules, password, strlen(password), "ada.lovelace", "Alice.Miller@example.org", &why);
    if (e != (says ? SQ_EWEAK : SQ_OK))
        fail_msg("%s: %s", password, says ? "accepted" : why.detail);
    if (!says)
        return;
    if (!strstr(why.detail, says) || strcmp(why.field, "password"))
        fail_msg("%s: told \"%s\", expected \"%s\"", password, why.detail, says);
    if (*password && strstr(why.detail, password))
        fail_msg("%s: echoed", password);
}

static void test_strength(void **state)
{
    (void)state;
    const struct sq_password_rules rules = {.min_score = SQ_PASSWORD_MIN_SCORE, .site = "hub.biocentre.example,localhost"};
    static const char *const weak[][2] = {
        {"", "has 0 characters, and 12 are the least"}, {"elevenchars", "has 11 characters"}, {"\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9fkqzjwx", "has 10 characters"},
        {"password1234", "stolen"}, {"Password123!", "common words"}, {"P@ssw0rd2024!!", "of 4, 3 needed"},
        {"QWERTYuiop!!1", "common words"}, {"aaaaaaaaaaaa", "stolen"}, {"zzzzzzzzzzzzzzzzzzzz#1", "of 4"}, {"abababababab", "of 4"}, {"abcabcabcabcabc", "of 4"}, {"123456789012", "stolen"},
        {"abcdefghijkl", "stolen"}, {"iloveyou2023", "of 4"}, {"Welcome2Welcome2", "of 4"}, {"sequester2025!", "this site's"}, {"Biocentre-2031", "your name, this site's"},
        {"Lovelace1815ada", "your name"}, {"alice.miller2025", "your name"}, {"4lice.m1ller!?", "your name"}, {"genomegenome1", "words of its trade"}, {"zyxwvutsrqpo", "runs like"},
        {"correcthorsebatterystaple", "of 4"}, {"administrator1", "of 4"},
        {"1qaz2wsx3edc4rfv", "stolen"}, {"1Qaz2wSX3edc4RFV", "stolen"}, {"xxo8g386u7cuq", "stolen"}, {"Fyutkbyf2005", "stolen"},
    };
    static const char *const strong[] = {
        "korb flut zange 9 mast", "Xk7#pQ2vLm9w", "my dog ate 3 green ladders", "tundra-violin-cobalt-eave", "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9fkqzjwxvptr",
    };
    for (size_t i = 0; i < sizeof weak / sizeof weak[0]; i++)
        judge(&rules, weak[i][0], weak[i][1]);
    for (size_t i = 0; i < sizeof strong / sizeof strong[0]; i++)
        judge(&rules, strong[i], NULL);
    char huge[1100];
    for (size_t i = 0; i < sizeof huge; i++)
        huge[i] = (char)('!' + i * i * 31 % 90);
    assert_int_equal(sq_password_strength(&rules, huge, sizeof huge, NULL, NULL, NULL), SQ_EWEAK);
    assert_int_equal(sq_password_strength(&rules, huge, SQ_PASSWORD_MAX_BYTES, NULL, NULL, NULL), SQ_OK);
    const struct sq_password_rules strict = {.min_score = 4}, lax = {.min_score = 2};
    judge(&strict, "MondayBlue.19", "(3 of 4, 4 needed)");
    judge(&rules, "MondayBlue.19", NULL);
    judge(&rules, "Welcome2Welcome2", "2 of 4, 3 needed");
    judge(&lax, "Welcome2Welcome2", NULL);
}

static bool lies_about(const char *p, size_t n) /* in the heap or on this thread's stack, forward or turned round */
{
    FILE *maps = fopen("/proc/self/maps", "r");
    static char turned[128];
    char line[512];
    bool is = false;
    for (size_t i = 0; i < n; i++)
        turned[i] = p[n - 1 - i];
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        if ((!strstr(line, "[heap]") && !strstr(line, "[stack]")) || sscanf(line, "%lx-%lx", &from, &to) != 2)
            continue;
        is = is || memmem((const void *)from, to - from, p, n) || memmem((const void *)from, to - from, turned, n);
    }
    if (maps)
        fclose(maps);
    return is;
}

static void test_strength_leaves_nothing(void **state)
{
    (void)state;
    const struct sq_password_rules rules = {.min_score = SQ_PASSWORD_MIN_SCORE};
    static const char masked[] = "\x1f\x7d\x33\x2b\x5e\x0c\x61\x3f\x14\x29\x38\x72\x47\x55\x66\x2a\x1c\x0d\x3e\x71\x21\x32\x4b\x5c\x6d\x7e\x12\x23\x34\x45\x56\x67\x78\x0a\x1b\x2c\x3d\x4e\x5f\x60";
    static char password[sizeof masked], tail[17]; /* heap and stack are what is looked at */
    for (size_t i = 0; i + 1 < sizeof masked; i++)
        password[i] = (char)(33 + (masked[i] * 7 + (int)i * 13) % 90);
    password[sizeof masked - 1] = 0;
    memcpy(tail, password + 20, 16);
    assert_int_equal(sq_password_strength(&rules, password, strlen(password), "ada", NULL, NULL), SQ_OK);
    assert_false(lies_about(tail, 16));
    char *kept = strdup(password); /* and it would have been seen */
    assert_true(lies_about(tail, 16));
    free(kept);
}

static void test_accounts(void **state)
{
    (void)state;
    assert_int_equal(sq_account_wait_s(0), 0);
    assert_int_equal(sq_account_wait_s(4), 0);
    assert_int_equal(sq_account_wait_s(5), 60);
    assert_int_equal(sq_account_wait_s(6), 120);
    assert_int_equal(sq_account_wait_s(4000000000u), 1800);
    assert_true(sq_account_may_sign_in(SQ_ACCOUNT_ACTIVE));
    assert_false(sq_account_may_sign_in(SQ_ACCOUNT_DISABLED));
    assert_string_equal(sq_account_state_name(SQ_ACCOUNT_DELETED), "deleted");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rule),     cmocka_unit_test(test_many),     cmocka_unit_test(test_entropy),
        cmocka_unit_test(test_strength), cmocka_unit_test(test_strength_leaves_nothing), cmocka_unit_test(test_accounts),
    };
    assert_int_equal(sq_crypt_start(), SQ_OK);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
