/* Who a request comes from, when proxies stand in front, and when somebody only says so. */
#include "lib/http/http_forwarded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define N(a) (sizeof(a) / sizeof(a)[0])
#define RULES "proxy 10.0.0.0/24 x-forwarded-for\nproxy 10.0.1.0/24 forwarded\nproxy 2001:db8:f::/48 forwarded\nproxy 2001:db8:e::/48 x-forwarded-for\n"

/* lines of a header, cut at | */
static struct sq_http_lines lines(char *text)
{
    struct sq_http_lines l = {.n = 0};
    for (char *p = text; p; l.n++) {
        if (l.n < SQ_HTTP_FORWARDED_LINES)
            l.line[l.n] = p;
        p = strchr(p, '|');
        if (p)
            *p++ = 0;
    }
    return l;
}

static void ask(const char *peer, const char *forwarded, const char *xff, const char *want)
{
    struct sq_networks *nets = NULL;
    struct sq_ip from, out;
    char a[1024], b[1024], text[SQ_NETWORKS_ADDRESS_MAX];
    assert_int_equal(sq_networks_read(RULES, strlen(RULES), &nets, NULL), SQ_OK);
    assert_true(sq_ip_read(peer, strlen(peer), &from));
    snprintf(a, sizeof a, "%s", forwarded ? forwarded : "");
    snprintf(b, sizeof b, "%s", xff ? xff : "");
    struct sq_http_lines none = {.n = 0}, f = forwarded ? lines(a) : none, x = xff ? lines(b) : none;
    sq_err e = sq_http_client_of(nets, &from, &f, &x, &out);
    sq_networks_free(nets);
    if (!want) {
        assert_int_equal(e, SQ_EREQUEST);
        return;
    }
    assert_int_equal(e, SQ_OK);
    sq_ip_text(&out, text);
    if (strcmp(text, want) != 0)
        fail_msg("peer %s, Forwarded %s, X-Forwarded-For %s: %s, not %s", peer, forwarded ? forwarded : "-", xff ? xff : "-", text, want);
}

static void strangers_are_not_believed(void **state)
{
    static const char *const peers[] = {"192.0.2.1", "10.0.2.1", "::1", "2001:db8:d::1", "127.0.0.1"};
    for (size_t i = 0; i < N(peers); i++) {
        ask(peers[i], NULL, NULL, peers[i]);
        ask(peers[i], "for=198.51.100.9", "198.51.100.9", peers[i]);
        ask(peers[i], "\"", ",,,", peers[i]); /* nor looked at */
        ask(peers[i], NULL, "1|2|3|4|5|6|7|8|9|10", peers[i]);
    }
}

static void x_forwarded_for(void **state)
{
    const char *p = "10.0.0.1";
    ask(p, NULL, NULL, p); /* its own question: is it alive? */
    ask(p, NULL, "198.51.100.9", "198.51.100.9");
    ask(p, NULL, "1.1.1.1, 198.51.100.9", "198.51.100.9"); /* the left is the client's own claim */
    ask(p, NULL, "1.1.1.1|198.51.100.9", "198.51.100.9");  /* as one header a line */
    ask(p, NULL, "198.51.100.9, 10.0.0.7", "198.51.100.9"); /* two proxies */
    ask(p, NULL, "127.0.0.1, 198.51.100.9, 10.0.0.7 , 10.0.0.8", "198.51.100.9");
    ask(p, NULL, "10.0.0.9, 10.0.0.7", "10.0.0.9"); /* a proxy that asks for itself */
    ask(p, NULL, "198.51.100.9, 10.0.1.7", "10.0.1.7"); /* one that writes the other header wrote nothing here */
    ask(p, NULL, "198.51.100.9:1234", "198.51.100.9");
    ask(p, NULL, "2001:db8::9", "2001:db8::9");
    ask(p, NULL, "[2001:db8::9]", "2001:db8::9");
    ask(p, NULL, "[2001:db8::9]:443", "2001:db8::9");
    ask(p, NULL, "::ffff:198.51.100.9", "198.51.100.9");
    ask(p, NULL, "198.51.100.9, unknown", p);
    ask(p, "for=1.1.1.1", "198.51.100.9", "198.51.100.9"); /* this proxy doesn't write Forwarded: a client did */
    ask(p, "for=1.1.1.1", NULL, p);
    ask("2001:db8:e::1", NULL, "1.1.1.1, 2001:db8::9", "2001:db8::9");
    ask("::ffff:10.0.0.1", NULL, "198.51.100.9", "198.51.100.9");
    static const char *const bad[] = {"", ",", "198.51.100.9,", "x", "198.51.100.999", "198.51.100.9, evil", "[198.51.100.9]", "[::1", "::1]", "198.51.100.9:", "198.51.100.9:x", "198.51.100.9:123456",
                                      "1.1.1.1, 10.0.0.7,", "198.51.100.9 1.1.1.1", "<script>", "fe80::1%eth0", "[2001:db8::9]443"};
    for (size_t i = 0; i < N(bad); i++)
        ask(p, NULL, bad[i], NULL);
    ask(p, NULL, "evil, 198.51.100.9", "198.51.100.9"); /* what is left of the client isn't looked at */
    ask(p, NULL, "1.1.1.1|2|3|4|5|6|7|8|198.51.100.9", NULL); /* more lines than are kept */
}

static void forwarded(void **state)
{
    const char *p = "10.0.1.1";
    ask(p, "for=198.51.100.9", NULL, "198.51.100.9");
    ask(p, "For=198.51.100.9;proto=https;by=10.0.1.1;host=\"a, b; c\"", NULL, "198.51.100.9");
    ask(p, "proto=https; for=198.51.100.9", NULL, "198.51.100.9");
    ask(p, "for=\"[2001:db8:cafe::17]:4711\"", NULL, "2001:db8:cafe::17");
    ask(p, "for=\"[2001:db8:cafe::17]\"", NULL, "2001:db8:cafe::17");
    ask(p, "for=\"198.51.100.9:80\"", NULL, "198.51.100.9");
    ask(p, "for=198.51.100.9:80", NULL, "198.51.100.9");
    ask(p, "for=1.1.1.1, for=198.51.100.9", NULL, "198.51.100.9");
    ask(p, "for=1.1.1.1, for=198.51.100.9 ,for=10.0.1.2", NULL, "198.51.100.9");
    ask(p, "for=1.1.1.1|for=198.51.100.9", NULL, "198.51.100.9");
    ask(p, "for=\"1.1.1.1, for=2.2.2.2\", for=198.51.100.9", NULL, "198.51.100.9"); /* a comma in quotes cuts nothing */
    ask(p, "for=\"\\1.1.1.1\"", NULL, "1.1.1.1");
    ask(p, "for=198.51.100.9, for=unknown", NULL, p);
    ask(p, "for=198.51.100.9, for=_hidden", NULL, p);
    ask(p, "for=198.51.100.9, for=\"_hidden:_port\"", NULL, p);
    ask(p, "for=198.51.100.9, proto=https", NULL, p);
    ask(p, "for=198.51.100.9, for=10.0.1.2, for=unknown", NULL, p);
    ask(p, "for=unknown, for=10.0.1.2", NULL, "10.0.1.2");
    ask(p, "for=198.51.100.9", "1.1.1.1", "198.51.100.9");
    ask(p, NULL, "1.1.1.1", p);
    ask("2001:db8:f::1", "for=\"[2001:db8::1]\"", NULL, "2001:db8::1");
    static const char *const bad[] = {"for=", "for", "for=\"198.51.100.9", "for=198.51.100.9 x", "for=198.51.100.9, \"", "for=198.51.100.9;for=1.1.1.1", "for=[2001:db8::1", "for=2001:db8::1", "for=evil", "for=\"\"",
                                      "for =1.1.1.1", "for=1.1.1.1 proto=https", "for=\"1.1.1.1\\", "=1.1.1.1", "for=[198.51.100.9]",
                                      "for=\"00000000000000000000000000000000000000000000000000000000000000000000000000000000000001.1.1.1\""};
    for (size_t i = 0; i < N(bad); i++)
        ask(p, bad[i], NULL, NULL);
    char many[4000] = "for=1.1.1.1";
    for (int i = 0; i < 64; i++)
        strcat(many, ",for=1.1.1.1");
    char *whole = many;
    struct sq_networks *nets = NULL;
    struct sq_ip from, out;
    assert_int_equal(sq_networks_read(RULES, strlen(RULES), &nets, NULL), SQ_OK);
    assert_true(sq_ip_read(p, strlen(p), &from));
    struct sq_http_lines f = {.n = 1, .line = {whole}}, x = {.n = 0};
    assert_int_equal(sq_http_client_of(nets, &from, &f, &x, &out), SQ_EREQUEST);
    sq_networks_free(nets);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(strangers_are_not_believed), cmocka_unit_test(x_forwarded_for), cmocka_unit_test(forwarded)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
