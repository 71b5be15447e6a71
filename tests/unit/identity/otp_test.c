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

static void test_strength(void **state)
{
    (void)state;
    const char *const weak[] = {
        "", "short", "elevenchars", "password1234", "Password123!", "P@ssw0rd2024!!", "qwertyuiop123", "QWERTYuiop!!1",
        "aaaaaaaaaaaa", "abababababab", "abcabcabcabcabc", "123456789012", "abcdefghijkl", "1qaz2wsx3edc4rfv", "iloveyou2023",
        "correcthorsebatterystaple", "Welcome2Welcome2", "sequester2025!", "alice.miller2025", "genomegenome1", "zyxwvutsrqpo",
        "administrator1",
    };
    const char *const strong[] = {
        "korb flut zange 9 mast", "Xk7#pQ2vLm9w", "my dog ate 3 green ladders", "tundra-violin-cobalt-eave", "\xc3\xa4\xc3\xb6\xc3\xbc\xc3\x9fkqzjwxvptr",
    };
    for (size_t i = 0; i < sizeof weak / sizeof weak[0]; i++)
        if (sq_password_strength(weak[i], strlen(weak[i]), "Alice.Miller@example.org") != SQ_EWEAK)
            fail_msg("accepted: %s", weak[i]);
    for (size_t i = 0; i < sizeof strong / sizeof strong[0]; i++)
        if (sq_password_strength(strong[i], strlen(strong[i]), "Alice.Miller@example.org") != SQ_OK)
            fail_msg("refused: %s", strong[i]);
    assert_int_equal(sq_password_strength("Xk7#pQ2vLm9w", 12, NULL), SQ_OK);
    char huge[1100];
    memset(huge, 'x', sizeof huge);
    assert_int_equal(sq_password_strength(huge, sizeof huge, NULL), SQ_EWEAK);
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
        cmocka_unit_test(test_strength), cmocka_unit_test(test_accounts),
    };
    assert_int_equal(sq_crypt_start(), SQ_OK);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
