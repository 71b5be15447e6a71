/* Addresses, networks, files of rules; rates and their buckets. */
#include "lib/core/networks.h"
#include "lib/core/rates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define N(a) (sizeof(a) / sizeof(a)[0])

static struct sq_ip ip(const char *text)
{
    struct sq_ip out;
    assert_true(sq_ip_read(text, strlen(text), &out));
    return out;
}

static void addresses(void **state)
{
    static const char *const bad[] = {"", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "0x7f.1", "127.1", " 1.2.3.4", "1.2.3.4 ", "::g", "1:2", "[::1]", "::1%lo", "1.2.3.4:80", ":::", "1::2::3",
                                      "1:2:3:4:5:6:7:8:9", "::1.2.3.400"};
    struct sq_ip a;
    char text[SQ_NETWORKS_ADDRESS_MAX];
    for (size_t i = 0; i < N(bad); i++)
        assert_false(sq_ip_read(bad[i], strlen(bad[i]), &a));
    assert_false(sq_ip_read("1.2.3.4\0", 8, &a));
    a = ip("::ffff:192.0.2.7");
    assert_true(sq_ip_is_v4(&a));
    sq_ip_text(&a, text);
    assert_string_equal(text, "192.0.2.7"); /* one client, one name */
    sq_ip_source(&a, text);
    assert_string_equal(text, "192.0.2.7");
    a = ip("2001:DB8:1:2:3:4:5:6");
    sq_ip_text(&a, text);
    assert_string_equal(text, "2001:db8:1:2:3:4:5:6");
    sq_ip_source(&a, text);
    assert_string_equal(text, "2001:db8:1:2::/64");
    a = ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    sq_ip_source(&a, text);
    assert_string_equal(text, "ffff:ffff:ffff:ffff::/64");
}

/* every prefix length, the addresses on both sides of its ends */
static void prefixes(void **state)
{
    for (unsigned v6 = 0; v6 < 2; v6++)
        for (unsigned bits = 0; bits <= (v6 ? 128 : 32); bits++) {
            struct sq_ip first = ip(v6 ? "2001:db8:85a3:8d3:1319:8a2e:370:7348" : "203.0.113.177"), last, out;
            unsigned from = v6 ? bits : bits + 96;
            last = first;
            for (unsigned i = from; i < 128; i++) {
                first.b[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
                last.b[i / 8] |= (uint8_t)(0x80 >> i % 8);
            }
            char text[SQ_NETWORKS_ADDRESS_MAX], cidr[80];
            sq_ip_text(&first, text);
            snprintf(cidr, sizeof cidr, "%s/%u", text, bits);
            struct sq_net net;
            assert_int_equal(sq_net_read(cidr, strlen(cidr), &net, NULL), SQ_OK);
            assert_true(sq_net_has(&net, &first));
            assert_true(sq_net_has(&net, &last));
            if (from == (v6 ? 0u : 96u))
                continue;
            out = first;
            out.b[(from - 1) / 8] ^= (uint8_t)(0x80 >> (from - 1) % 8);
            assert_false(sq_net_has(&net, &out));
            out = last;
            out.b[(from - 1) / 8] ^= (uint8_t)(0x80 >> (from - 1) % 8);
            assert_false(sq_net_has(&net, &out));
            if (from < 128) { /* the same length with a bit beyond it */
                sq_ip_text(&last, text);
                snprintf(cidr, sizeof cidr, "%s/%u", text, bits);
                assert_int_equal(sq_net_read(cidr, strlen(cidr), &net, NULL), SQ_EFIELD);
            }
        }
    static const char *const bad[] = {"", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/08", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/+8", "::/129", "::/0x1", "10.0.0.0/1e1", "10/8", "::ffff:10.0.0.0/104", "10.0.0.0/ 8"};
    struct sq_net net;
    struct sq_why why;
    for (size_t i = 0; i < N(bad); i++) {
        assert_int_equal(sq_net_read(bad[i], strlen(bad[i]), &net, &why), SQ_EFIELD);
        assert_true(strlen(why.detail) > 10);
    }
    struct sq_ip four = ip("1.2.3.4"), six = ip("::1");
    assert_int_equal(sq_net_read("::/0", 4, &net, NULL), SQ_OK);
    assert_false(sq_net_has(&net, &four)); /* all of IPv6 isn't IPv4 too */
    assert_true(sq_net_has(&net, &six));
    assert_int_equal(sq_net_read("0.0.0.0/0", 9, &net, NULL), SQ_OK);
    assert_true(sq_net_has(&net, &four));
    assert_false(sq_net_has(&net, &six));
}

static bool may(const struct sq_networks *nets, const char *text)
{
    struct sq_ip a = ip(text);
    return sq_networks_may(nets, &a);
}

static bool may_operate(const struct sq_networks *nets, const char *text)
{
    struct sq_ip a = ip(text);
    return sq_networks_may_operate(nets, &a);
}

static struct sq_networks *rules(const char *text)
{
    struct sq_networks *nets = NULL;
    assert_int_equal(sq_networks_read(text, strlen(text), &nets, NULL), SQ_OK);
    return nets;
}

static void files(void **state)
{
    struct sq_networks *nets = rules("# who may come\n\n allow 10.0.0.0/8\t# inside\r\nALLOW 2001:db8::/32\ndeny 10.9.0.0/16\noperator-allow 10.1.0.0/16\noperator-deny 10.1.1.0/24\nproxy 10.2.0.1 forwarded\n"
                                     "proxy 10.2.0.2 X-Forwarded-For");
    assert_int_equal(sq_networks_count(nets), 7);
    assert_true(may(nets, "10.1.2.3") && may(nets, "2001:db8::1") && may(nets, "::ffff:10.0.0.1"));
    assert_false(may(nets, "10.9.1.1") || may(nets, "11.0.0.1") || may(nets, "2001:db9::1") || may(nets, "127.0.0.1"));
    assert_true(may_operate(nets, "10.1.2.3"));
    assert_false(may_operate(nets, "10.1.1.3") || may_operate(nets, "10.2.0.1"));
    struct sq_ip a = ip("10.2.0.1"), b = ip("10.2.0.2"), c = ip("10.2.0.3");
    assert_int_equal(sq_networks_proxy(nets, &a), SQ_NET_PROXY_FORWARDED);
    assert_int_equal(sq_networks_proxy(nets, &b), SQ_NET_PROXY_XFF);
    assert_int_equal(sq_networks_proxy(nets, &c), 0);
    assert_int_equal(sq_networks_proxy(NULL, &c), 0);
    sq_networks_free(nets);
    nets = rules("deny 192.0.2.0/24\n");
    assert_true(may(nets, "192.0.3.1") && may_operate(nets, "192.0.2.1") && may(NULL, "192.0.2.1"));
    assert_false(may(nets, "192.0.2.1"));
    sq_networks_free(nets);
    nets = rules("");
    assert_int_equal(sq_networks_count(nets), 0);
    assert_true(may(nets, "192.0.2.1"));
    sq_networks_free(nets);

    static const struct {
        const char *text;
        unsigned line;
    } bad[] = {{"allow", 1}, {"\nallow 10.0.0.0/8 x", 2}, {"permit 10.0.0.0/8", 1}, {"allow 10.0.0.1/8", 1}, {"proxy 10.0.0.1", 1}, {"# a\n# b\nproxy 10.0.0.1 via", 3}, {"allow 10.0.0.0/8,11.0.0.0/8", 1},
               {"proxy 10.0.0.1 forwarded x-forwarded-for", 1}, {"allow 1.2.3.4\nallow \x01", 2}, {"allow10.0.0.1", 1}};
    for (size_t i = 0; i < N(bad); i++) {
        struct sq_why why = {.line = 0};
        struct sq_networks *none = NULL;
        assert_int_equal(sq_networks_read(bad[i].text, strlen(bad[i].text), &none, &why), SQ_ECONFIG);
        assert_null(none);
        assert_int_equal(why.line, bad[i].line);
    }
    static char many[SQ_NETWORKS_MAX_BYTES + 2];
    struct sq_networks *none = NULL;
    memset(many, '\n', sizeof many);
    assert_int_equal(sq_networks_read(many, sizeof many, &none, NULL), SQ_ECONFIG);
    size_t n = 0;
    for (unsigned i = 0; i <= SQ_NETWORKS_MAX_RULES; i++)
        n += (size_t)snprintf(many + n, sizeof many - n, "deny 10.%u.%u.0/24\n", i / 256, i % 256);
    struct sq_why why = {.line = 0};
    assert_int_equal(sq_networks_read(many, n, &none, &why), SQ_ECONFIG);
    assert_int_equal(why.line, SQ_NETWORKS_MAX_RULES + 1);
}

static void rates(void **state)
{
    struct sq_rates r;
    assert_int_equal(sq_rates_read(" address=10  all=300/h\ttoken=5/m", &r, NULL), SQ_OK);
    assert_int_equal(r.of[SQ_RATE_ADDRESS].quota, 10);
    assert_int_equal(r.of[SQ_RATE_ADDRESS].window_s, 60);
    assert_int_equal(r.of[SQ_RATE_ALL].quota, 300);
    assert_int_equal(r.of[SQ_RATE_ALL].window_s, 3600);
    assert_int_equal(r.of[SQ_RATE_TOKEN].window_s, 60);
    assert_int_equal(r.of[SQ_RATE_USER].quota, 0);
    assert_int_equal(sq_rates_read("", &r, NULL), SQ_OK);
    assert_int_equal(r.of[SQ_RATE_ALL].quota, 0);
    static const char *const bad[] = {"address", "address=", "address=0", "address=-1", "address=1x", "address=1000001", "address=99999999999", "address=1/d", "address=/h", "ip=1", "address=1 address=2", "address=1,all=2", "address= 1"};
    for (size_t i = 0; i < N(bad); i++)
        assert_int_equal(sq_rates_read(bad[i], &r, NULL), SQ_ECONFIG);
}

/* q at once, q in a window in the long run, and no more, whatever the pace of asking */
static void buckets(void **state)
{
    static const struct sq_rate_limit limits[] = {{10, 60}, {600, 60}, {5, 3600}, {1, 60}, {1000000, 60}, {7, 3600}, {1000000, 3600}};
    for (size_t i = 0; i < N(limits); i++)
        for (int64_t step = 1; step < 100000; step = step * 7 + 3) {
            const struct sq_rate_limit *limit = &limits[i];
            struct sq_bucket b;
            int64_t start = 1000000, now = start, end = start + (int64_t)limit->window_s * 1000, n = 0;
            if (limit->quota > 1000 && step < 50)
                continue;
            sq_bucket_fill(&b, limit, now);
            for (; now < end; now += step) {
                sq_bucket_flow(&b, limit, now);
                while (!sq_bucket_wait_s(&b, limit, 0)) {
                    b.level -= 1000;
                    n++;
                }
            }
            assert_in_range(n, limit->quota, 2 * (int64_t)limit->quota);
            if (step < (int64_t)limit->window_s * 1000 / 10)
                assert_true(n >= 2 * (int64_t)limit->quota - (int64_t)limit->quota / 5 - 2);
            /* what it says is true: after wait_s there is one, a second before there was none */
            b.level = 0;
            b.last_ms = now;
            unsigned wait = sq_bucket_wait_s(&b, limit, 0), full = sq_bucket_full_s(&b, limit);
            assert_int_equal(full, limit->window_s);
            struct sq_bucket later = b;
            sq_bucket_flow(&later, limit, now + (int64_t)wait * 1000);
            assert_true(sq_bucket_left(&later) >= 1);
            later = b;
            sq_bucket_flow(&later, limit, now + ((int64_t)wait - 1) * 1000);
            assert_int_equal(sq_bucket_left(&later), 0);
            assert_true(sq_bucket_wait_s(&b, limit, limit->quota / 4) >= wait);
        }
    struct sq_bucket b = {.last_ms = INT64_MAX / 2, .level = INT64_MAX / 4};
    sq_bucket_flow(&b, &limits[0], 1000); /* a clock that went back, a level that can't be */
    assert_int_equal(b.last_ms, 1000);
    assert_int_equal(sq_bucket_left(&b), 10);
    b.level = -5000;
    sq_bucket_flow(&b, &limits[0], 1001);
    assert_int_equal(sq_bucket_left(&b), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(addresses), cmocka_unit_test(prefixes), cmocka_unit_test(files), cmocka_unit_test(rates), cmocka_unit_test(buckets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
