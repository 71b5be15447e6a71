/*
 * Who may come from where, and who a request comes from: the operator's file of rules, and the headers that proxies and strangers write.
 * Input, cut by lines "%%": rules | address of the connection | lines of X-Forwarded-For | lines of Forwarded | a key rate_*.
 *
 * Rules that were taken are held against themselves: a network has its own address and is written back as it was read; `deny` wins. Whom a
 * request comes from is looked up a second time by hand for X-Forwarded-For: the right-most address that is no proxy of ours.
 */
#include "lib/core/rates.h"
#include "lib/http/http_forwarded.h"

#include "fuzz_file.h"

#include <stdio.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The lines of @text, cut in place */
static struct sq_http_lines lines_of(char *text)
{
    struct sq_http_lines l = {.n = 0};
    for (char *at = strtok(text, "\n"); at; at = strtok(NULL, "\n")) {
        if (l.n < SQ_HTTP_FORWARDED_LINES)
            l.line[l.n] = at;
        l.n++;
    }
    return l;
}

static void check_address(const char *text)
{
    struct sq_ip ip, again;
    char out[SQ_NETWORKS_ADDRESS_MAX], source[SQ_NETWORKS_ADDRESS_MAX];
    if (!sq_ip_read(text, strlen(text), &ip))
        return;
    sq_ip_text(&ip, out);
    sq_assert(sq_ip_read(out, strlen(out), &again) && !memcmp(&ip, &again, sizeof ip));
    sq_ip_source(&ip, source);
    sq_assert(*source);
    sq_assert(!sq_ip_is_v4(&ip) || !strcmp(source, out));
}

static void check_net(const char *text)
{
    struct sq_net net;
    if (sq_net_read(text, strlen(text), &net, NULL))
        return;
    sq_assert(net.n_bit <= 128 && sq_net_has(&net, &net.ip));
    if (net.n_bit < 128) { /* its last address is in it, and the first of the next network isn't */
        struct sq_ip last = net.ip, out = net.ip;
        last.b[15] |= 1;
        sq_assert(sq_net_has(&net, &last));
        if (net.n_bit > (sq_ip_is_v4(&net.ip) ? 96 : 0)) {
            unsigned bit = net.n_bit - 1u;
            out.b[bit / 8] ^= (uint8_t)(0x80 >> bit % 8);
            sq_assert(!sq_net_has(&net, &out) || sq_ip_is_v4(&net.ip) != sq_ip_is_v4(&out));
        }
    }
}

/* X-Forwarded-For alone, from the right, by hand */
static void check_client(const struct sq_networks *nets, const struct sq_ip *peer, const struct sq_http_lines *xff, const struct sq_ip *got)
{
    char all[8192] = "";
    if (!sq_networks_proxy(nets, peer)) {
        sq_assert(!memcmp(peer, got, sizeof *peer)); /* a stranger's headers say nothing */
        return;
    }
    if (sq_networks_proxy(nets, peer) != SQ_NET_PROXY_XFF || xff->n > SQ_HTTP_FORWARDED_LINES)
        return;
    for (unsigned i = 0; i < xff->n; i++) {
        if (strlen(all) + strlen(xff->line[i]) + 2 > sizeof all)
            return;
        strcat(strcat(all, i ? "," : ""), xff->line[i]);
    }
    struct sq_ip at = *peer;
    while (sq_networks_proxy(nets, &at) == SQ_NET_PROXY_XFF && *all) {
        char *comma = strrchr(all, ','), *word = comma ? comma + 1 : all;
        word += strspn(word, " \t");
        size_t n = strcspn(word, " \t:[]\"");
        struct sq_ip ip;
        if (word[n] || !sq_ip_read(word, n, &ip))
            return; /* with a port, a name, or nothing: the reader's own business */
        at = ip;
        *(comma ? comma : all) = 0;
    }
    if (!sq_networks_proxy(nets, &at) || !*all)
        sq_assert(sq_networks_proxy(nets, &at) == SQ_NET_PROXY_FORWARDED || !memcmp(&at, got, sizeof at));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sq_span rest = sq_span_of(data, (uint32_t)size);
    struct sq_span file = fuzz_piece(&rest);
    char *peer = fuzz_string(fuzz_bytes(&rest)), *a = fuzz_string(fuzz_bytes(&rest)), *b = fuzz_string(fuzz_bytes(&rest)), *rate = fuzz_string(fuzz_bytes(&rest));
    struct sq_networks *nets = NULL;
    struct sq_why why = {.line = 0};
    struct sq_rates rates;
    sq_err e = sq_networks_read((const char *)file.p, file.n, &nets, &why);
    sq_assert(e == SQ_OK || (e == SQ_ECONFIG && *why.detail));
    sq_assert(e || sq_networks_count(nets) <= SQ_NETWORKS_MAX_RULES);
    check_address(peer);
    check_net(peer);
    if (!sq_rates_read(rate, &rates, NULL))
        for (int s = 0; s < SQ_RATE_N_SCOPE; s++) {
            struct sq_bucket bucket;
            sq_assert(rates.of[s].quota <= SQ_RATE_MAX);
            if (!rates.of[s].quota)
                continue;
            sq_bucket_fill(&bucket, &rates.of[s], 0);
            sq_bucket_flow(&bucket, &rates.of[s], (int64_t)size * 1000003);
            sq_assert(sq_bucket_left(&bucket) == rates.of[s].quota);
        }
    struct sq_ip from, client;
    struct sq_http_lines xff = lines_of(a), forwarded = lines_of(b);
    if (!e && sq_ip_read(peer, strlen(peer), &from)) {
        bool may = sq_networks_may(nets, &from), may_operate = sq_networks_may_operate(nets, &from);
        sq_assert(may == sq_networks_may(nets, &from) && may_operate == sq_networks_may_operate(nets, &from));
        e = sq_http_client_of(nets, &from, &forwarded, &xff, &client);
        sq_assert(e == SQ_OK || e == SQ_EREQUEST);
        if (!e)
            check_client(nets, &from, &xff, &client);
        e = sq_http_client_of(NULL, &from, &forwarded, &xff, &client);
        sq_assert(!e && !memcmp(&from, &client, sizeof from));
    }
    sq_networks_free(nets);
    free(peer);
    free(a);
    free(b);
    free(rate);
    return 0;
}
