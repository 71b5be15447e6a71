/* Mails, addresses, URLs, webhook signatures and syslog lines: what leaves the site is what the templates say, and no more. */
#include "lib/core/address.h"
#include "lib/core/config.h"
#include "lib/crypt/crypt.h"
#include "lib/mail/mail.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void addresses(void **state)
{
    (void)state;
    static const char *const good[] = {"ada@example.org", "a.b+c_d-e@sub.example.org", "root@localhost", "x@1.example", "o'brien@example.org", "a@b-c.de"};
    static const char *const bad[] = {
        "", "ada", "@example.org", "ada@", "a@b@c", "ada@example..org", "ada@.example.org", "ada@example.org.", "ada@-example.org", "ada@example-.org", ".ada@example.org",
        "ada.@example.org", "a..b@example.org", "-ada@example.org", "ada @example.org", "ada@exam ple.org", "ada@example.org\r\nBcc: eve@example.org", "ada\n@example.org",
        "ada@example.org\n", "\"ada\"@example.org", "ada@[127.0.0.1]", "ada@example.org,eve@example.org", "<ada@example.org>", "ada;@example.org", "ad\xc3\xa4@example.org",
        "ada@ex\xc3\xa4mple.org", "ada\t@example.org", "ada(x)@example.org", "ada\\@example.org", "ada:b@example.org", "ada@example.org\x7f"};
    struct sq_why why;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        if (sq_mail_check(good[i], &why))
            fail_msg("refused: %s: %s", good[i], why.detail);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (sq_mail_check(bad[i], NULL) != SQ_EFIELD)
            fail_msg("accepted: %s", bad[i]);
    char local[80] = "", domain[300];
    memset(local, 'a', 65);
    strcpy(local + 65, "@b.de");
    assert_int_equal(sq_mail_check(local, NULL), SQ_EFIELD);
    assert_int_equal(sq_mail_check(local + 1, NULL), SQ_OK);
    strcpy(domain, "a@");
    for (int i = 0; i < 4; i++)
        strcat(domain, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa."); /* 62 and a dot */
    strcat(domain, "org");
    assert_int_equal(sq_mail_check(domain, NULL), SQ_EFIELD); /* 257 bytes */
}

static void urls(void **state)
{
    (void)state;
    struct sq_url u;
    assert_int_equal(sq_url_read("https://hub.example.org:8443/a/b?c=d", &u, NULL), SQ_OK);
    assert_string_equal(u.scheme, "https");
    assert_string_equal(u.host, "hub.example.org");
    assert_int_equal(u.port, 8443);
    assert_string_equal(u.path, "/a/b?c=d");
    assert_false(u.is_loopback);
    assert_int_equal(sq_url_read("smtp+plain://[::1]:25", &u, NULL), SQ_OK);
    assert_true(u.is_ipv6 && u.is_loopback);
    assert_string_equal(u.host, "::1");
    assert_int_equal(sq_url_read("http://127.8.9.10", &u, NULL), SQ_OK);
    assert_true(u.is_loopback);
    assert_int_equal(sq_url_read("http://localhost", &u, NULL), SQ_OK);
    assert_false(u.is_loopback); /* a name could lead elsewhere */
    assert_int_equal(sq_url_read("http://127.0.0.1.example.org", &u, NULL), SQ_OK);
    assert_false(u.is_loopback);
    assert_int_equal(sq_url_read("unix:///dev/log", &u, NULL), SQ_OK);
    assert_string_equal(u.path, "/dev/log");
    static const char *const bad[] = {"", "mail.example.org", "://x", "smtp://", "smtp://user@host", "smtp://user:pw@host", "smtp://host:0", "smtp://host:65536", "smtp://host:",
                                      "smtp://host:x", "smtp://host:25x", "smtp://ho st", "smtp://host\r\n", "smtp://host/\nx", "smtp://[::1", "smtp://[zz]", "https://host#x", "https://host/a b",
                                      "https://host/\x01", "http s://h", "https://-h", "https://h..x", "https://h\xc3\xa4.org"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (sq_url_read(bad[i], &u, NULL) != SQ_EFIELD)
            fail_msg("accepted: %s", bad[i]);
}

static void config_keys(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value;
        bool is_good;
    } cases[] = {
        {"smtp_url", "", true},
        {"smtp_url", "smtps://mail.example.org", true},
        {"smtp_url", "smtp://mail.example.org:2525", true},
        {"smtp_url", "smtp+plain://127.0.0.1:25", true},
        {"smtp_url", "smtp+plain://[::1]", true},
        {"smtp_url", "smtp+plain://mail.example.org", false},
        {"smtp_url", "smtp+plain://localhost", false},
        {"smtp_url", "https://mail.example.org", false},
        {"smtp_url", "plain://127.0.0.1", false},
        {"webhook_url", "https://hooks.example.org/x", true},
        {"webhook_url", "http://127.0.0.1:8080/x", true},
        {"webhook_url", "http://hooks.example.org/x", false},
        {"webhook_url", "ftp://hooks.example.org/x", false},
        {"syslog_url", "tls://log.example.org", true},
        {"syslog_url", "udp://127.0.0.1:514", true},
        {"syslog_url", "tcp://[::1]", true},
        {"syslog_url", "udp://log.example.org:514", false},
        {"syslog_url", "tcp://log.example.org", false},
        {"syslog_url", "tcp://192.0.2.7:601", false},
        {"syslog_url", "http://127.0.0.1", false},
        {"syslog_url", "unix:///dev/log", true},
        {"public_url", "https://hub.example.org", true},
        {"public_url", "http://hub.example.org", false},
        {"mail_from", "hub@example.org", true},
        {"mail_from", "hub", false},
        {"peer_rsa_bits", "2048", true},
        {"peer_rsa_bits", "3072", true},
        {"peer_rsa_bits", "4096", false},
        {"peer_rsa_bits", "1024", false},
        {"peer_rsa_bits", "0", false},
        {"rsa_bits", "4096", true},
        {"mail_from", "hub@example.org\nBcc: x@example.org", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sq_why why;
        sq_err e = sq_key_check(sq_key_row_of(cases[i].key), cases[i].value, &why);
        if ((e == SQ_OK) != cases[i].is_good)
            fail_msg("%s = %s: %s", cases[i].key, cases[i].value, sq_err_name(e));
    }
}

/* ---- mails ---- */

static struct sq_mail mail_of(enum sq_template no)
{
    return (struct sq_mail){.no = no, .id = {0xab, 0xcd}, .from = "hub@example.org", .to = "ada@example.com", .service = "https://hub.example.org",
                            .job = "job-20261122-101500-3f9a1c0d5e7b2846", .now_s = 1795000000, .until_s = 1795604800, .why = SQ_ENOOVERLAP};
}

static char *write_mail(const struct sq_mail *m)
{
    struct sq_buf b;
    sq_buf_init(&b, 0);
    assert_int_equal(sq_mail_write(m, &b), SQ_OK);
    assert_int_equal(sq_buf_add(&b, "", 1), SQ_OK);
    char *text = strdup((const char *)b.p);
    sq_buf_done(&b);
    return text;
}

/* Every line ends with CR LF, is short, and is printable; what must stand in every mail does. */
static void check_lines(const char *text)
{
    size_t line = 0;
    for (const char *p = text; *p; p++) {
        if (*p == '\r') {
            assert_int_equal(p[1], '\n');
            assert_true(line <= 120); /* ids lengthen a line */
            line = 0;
            p++;
        } else {
            assert_true(*p >= 0x20 && *p <= 0x7e);
            line++;
        }
    }
    assert_int_equal(line, 0);
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what))
        n++;
    return n;
}

static void templates(void **state)
{
    (void)state;
    static const enum sq_template all[] = {
#define SQ_TEMPLATE(name, no, hook, state_, subject, body) SQ_TEMPLATE_##name,
#include "lib/mail/templates.def"
#undef SQ_TEMPLATE
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct sq_mail m = mail_of(all[i]);
        if (all[i] == SQ_TEMPLATE_job_erased || all[i] == SQ_TEMPLATE_upload_erased)
            m.n_receipt_all = 3;
        char *text = write_mail(&m);
        check_lines(text);
        assert_null(strchr(text, '{'));
        static const char *const each[] = {"Date: Wed, 18 Nov 2026 ", "From: Sequester <hub@example.org>\r\n", "To: <ada@example.com>\r\n", "\r\nSubject: ",
                                           "Message-ID: <abcd0000000000000000000000000000@example.org>\r\n", "Auto-Submitted: auto-generated\r\n", "MIME-Version: 1.0\r\n"};
        for (size_t k = 0; k < sizeof each / sizeof each[0]; k++)
            if (count(text, each[k]) != 1)
                fail_msg("template %d: %s", (int)all[i], each[k]);
        assert_non_null(strstr(text, "Where is my data"));
        assert_non_null(strcasestr(text, "when is it gone"));
        assert_non_null(strstr(text, "What to do?"));
        assert_non_null(strstr(text, "https://hub.example.org"));
        if (all[i] != SQ_TEMPLATE_test && all[i] < SQ_TEMPLATE_account_verify) /* these are of a job or an upload */
            assert_non_null(strstr(text, m.job));
        free(text);
    }
}

static void attachment(void **state)
{
    (void)state;
    static const char receipts[] = "sequester-receipt/v1\nmade 2026-11-22T10:00:00Z\n\n\xe2\x80\x94 hub/receipt AAAA\n";
    struct sq_mail m = mail_of(SQ_TEMPLATE_job_erased);
    m.receipts = sq_span_of(receipts, sizeof receipts - 1);
    m.n_receipt = m.n_receipt_all = 1;
    char *text = write_mail(&m);
    check_lines(text);
    assert_non_null(strstr(text, "Content-Type: multipart/mixed; boundary=\"part-abcd"));
    assert_non_null(strstr(text, "filename=\"receipts.txt\""));
    char *b64 = strstr(text, "base64\r\n\r\n");
    assert_non_null(b64);
    b64 += strlen("base64\r\n\r\n");
    char joined[512] = "";
    for (size_t n = 0; strncmp(b64, "--part-", 7) && n + 1 < sizeof joined; b64++)
        if (*b64 != '\r' && *b64 != '\n')
            joined[n++] = *b64;
    struct sq_buf back;
    sq_buf_init(&back, 0);
    assert_int_equal(sq_base64_decode(joined, strlen(joined), false, &back), SQ_OK);
    assert_int_equal(back.n, sizeof receipts - 1);
    assert_memory_equal(back.p, receipts, back.n);
    sq_buf_done(&back);
    free(text);
}

static void nothing_gets_into_a_header(void **state)
{
    (void)state;
    static const char *const evil[] = {"ada@example.com\r\nBcc: eve@example.org", "ada@example.com\nX: y", "ada@example.com>\r\n\r\nbody", "ada"};
    struct sq_buf b;
    sq_buf_init(&b, 0);
    for (size_t i = 0; i < sizeof evil / sizeof evil[0]; i++) {
        struct sq_mail m = mail_of(SQ_TEMPLATE_job_finished);
        m.to = evil[i];
        assert_int_equal(sq_mail_write(&m, &b), SQ_EFIELD);
        m = mail_of(SQ_TEMPLATE_job_finished);
        m.from = evil[i];
        assert_int_equal(sq_mail_write(&m, &b), SQ_EFIELD);
    }
    struct sq_mail m = mail_of(SQ_TEMPLATE_job_finished);
    m.job = "job\r\n.\r\nMAIL FROM:<x@y.z>";
    assert_int_equal(sq_mail_write(&m, &b), SQ_EFIELD);
    m = mail_of(SQ_TEMPLATE_job_finished);
    m.service = "https://hub\n";
    assert_int_equal(sq_mail_write(&m, &b), SQ_EFIELD);
    m = mail_of((enum sq_template)77);
    assert_int_equal(sq_mail_write(&m, &b), SQ_EFIELD);
    assert_int_equal(b.n, 0);
    sq_buf_done(&b);
}

/* ---- webhooks ---- */

/* The vector of the Standard Webhooks specification's reference libraries. */
static void signature(void **state)
{
    (void)state;
    static const char secret[] = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n", body[] = "{\"test\": 2432232314}";
    struct sq_buf key, sig;
    sq_buf_init(&key, 0);
    sq_buf_init(&sig, 0);
    assert_int_equal(sq_hook_secret(secret, sizeof secret - 1, &key), SQ_OK);
    assert_int_equal(key.n, 24);
    assert_int_equal(sq_hook_sign(sq_span_of(key.p, key.n), "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, sq_span_of(body, sizeof body - 1), &sig), SQ_OK);
    assert_int_equal(sq_buf_add(&sig, "", 1), SQ_OK);
    assert_string_equal((char *)sig.p, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    static const char *const bad[] = {"", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAA", "whsec_!!!!", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw extra"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(sq_hook_secret(bad[i], strlen(bad[i]), &key), SQ_EFIELD);
    uint8_t id[16] = {0xff};
    char text[40];
    sq_hook_id(id, text);
    assert_string_equal(text, "msg_ff000000000000000000000000000000");
    sq_buf_done(&key);
    sq_buf_done(&sig);
}

static void hook_body(void **state)
{
    (void)state;
    struct sq_buf b;
    sq_buf_init(&b, 0);
    assert_int_equal(sq_hook_body(SQ_TEMPLATE_job_finished, "job-1", 1795000000, 1795604800, &b), SQ_OK);
    assert_int_equal(sq_buf_add(&b, "", 1), SQ_OK);
    assert_string_equal((char *)b.p, "{\"type\":\"job.finished\",\"timestamp\":\"2026-11-18T11:06:40Z\",\"data\":{\"job\":\"job-1\",\"state\":\"done\",\"erased_at_the_latest\":\"2026-11-25T11:06:40Z\"}}");
    sq_buf_clear(&b);
    assert_int_equal(sq_hook_body(SQ_TEMPLATE_upload_erased, "00ff", 1795000000, 0, &b), SQ_OK);
    assert_int_equal(sq_buf_add(&b, "", 1), SQ_OK);
    assert_string_equal((char *)b.p, "{\"type\":\"upload.erased\",\"timestamp\":\"2026-11-18T11:06:40Z\",\"data\":{\"upload\":\"00ff\",\"state\":\"erased\",\"erased_at\":null}}");
    assert_int_equal(sq_hook_body(SQ_TEMPLATE_test, "x", 1, 1, &b), SQ_ERANGE);
    assert_int_equal(sq_hook_body(SQ_TEMPLATE_job_failed, "a\"b", 1, 1, &b), SQ_ERANGE);
    sq_buf_done(&b);
}

static void syslog_line(void **state)
{
    (void)state;
    struct sq_buf b;
    sq_buf_init(&b, 0);
    assert_int_equal(sq_syslog_line(SQ_SYSLOG_INFO, INT64_C(1795000000007), "hub.example.org", "login_ok", "{\"entry\":1}", &b), SQ_OK);
    assert_int_equal(sq_buf_add(&b, "", 1), SQ_OK);
    assert_string_equal((char *)b.p, "<110>1 2026-11-18T11:06:40.007Z hub.example.org sequester - login_ok - {\"entry\":1}\n");
    assert_int_equal(sq_syslog_line(SQ_SYSLOG_INFO, 0, "h", "x", "a\nb", &b), SQ_ERANGE);
    sq_buf_done(&b);
}

static void ends(void **state)
{
    (void)state;
    assert_int_equal(sq_send_then(SQ_SEND_sent), SQ_THEN_DONE);
    assert_int_equal(sq_send_then(SQ_SEND_refused), SQ_THEN_NEVER);
    assert_int_equal(sq_send_then(SQ_SEND_certificate), SQ_THEN_AGAIN);
    assert_int_equal(sq_send_then(200), SQ_THEN_AGAIN); /* unknown */
    assert_string_equal(sq_send_name(SQ_SEND_timeout), "timeout");
}

int main(void)
{
    if (sq_crypt_start())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses),  cmocka_unit_test(urls),       cmocka_unit_test(config_keys),
        cmocka_unit_test(templates),  cmocka_unit_test(attachment), cmocka_unit_test(nothing_gets_into_a_header),
        cmocka_unit_test(signature),  cmocka_unit_test(hook_body),  cmocka_unit_test(syslog_line),
        cmocka_unit_test(ends),
    };
    return cmocka_run_group_tests_name("mail", tests, NULL, NULL);
}
