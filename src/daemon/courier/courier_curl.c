/* What goes for every connection that leaves this site. */
#include "daemon/courier/courier.h"

#include <stdio.h>

CURL *courier_curl(struct courier *c, const char *protocols, char error[CURL_ERROR_SIZE])
{
    CURL *h = curl_easy_init();
    if (!h)
        return NULL;
    *error = 0;
    curl_easy_setopt(h, CURLOPT_ERRORBUFFER, error);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, protocols);
    curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L); /* only configured hosts */
    curl_easy_setopt(h, CURLOPT_PROXY, "");
    curl_easy_setopt(h, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, CONNECT_S);
    curl_easy_setopt(h, CURLOPT_TIMEOUT, SEND_S);
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L);
    curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L);
    curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(h, CURLOPT_CAPATH, NULL);
    curl_easy_setopt(h, CURLOPT_CAINFO, c->has_ca ? "ca.pem" : "/dev/null"); /* in our own directory, made at start */
    return h;
}

enum sq_send_end courier_end_of(CURLcode code, long answer)
{
    switch (code) {
    case CURLE_OK:
        return SQ_SEND_sent;
    case CURLE_COULDNT_RESOLVE_HOST:
        return SQ_SEND_resolve;
    case CURLE_COULDNT_CONNECT:
        return SQ_SEND_connect;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return SQ_SEND_certificate;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_USE_SSL_FAILED:
        return SQ_SEND_tls;
    case CURLE_LOGIN_DENIED:
        return SQ_SEND_login;
    case CURLE_OPERATION_TIMEDOUT:
        return SQ_SEND_timeout;
    case CURLE_OUT_OF_MEMORY:
    case CURLE_FAILED_INIT:
        return SQ_SEND_internal;
    default: /* SMTP: 550 to 559 are about this mail or its address (RFC 5321 §4.2.3); other refusals may be mended */
        return answer >= 550 && answer <= 559 ? SQ_SEND_refused : answer >= 400 && answer <= 599 ? SQ_SEND_busy : SQ_SEND_protocol;
    }
}

void courier_url(const struct sq_url *u, const char *scheme, unsigned port, const char *path, char out[1024])
{
    snprintf(out, 1024, "%s://%s%s%s:%u%s", scheme, u->is_ipv6 ? "[" : "", u->host, u->is_ipv6 ? "]" : "", u->port ? u->port : port, path);
}

void courier_clean(const char *in, size_t n, char out[ANSWER_BYTES + 1])
{
    size_t n_out = 0;
    for (size_t i = 0; i < n && n_out < ANSWER_BYTES; i++)
        if (in[i] >= 0x20 && in[i] <= 0x7e)
            out[n_out++] = in[i];
        else if (n_out && out[n_out - 1] != ' ')
            out[n_out++] = ' ';
    while (n_out && out[n_out - 1] == ' ')
        n_out--;
    out[n_out] = 0;
}

void courier_answer(struct sq_ask *ask, const struct ending *end, bool with_text)
{
    struct sq_msg is = sq_msg_of(sent_is, .end = (uint8_t)end->end, .code = (uint16_t)(end->code > 0 && end->code < 1000 ? end->code : 0),
                                 .detail = sq_span_str(with_text ? end->text : ""));
    sq_ask_reply(ask, &is);
}
