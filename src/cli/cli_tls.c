/* Whom do we speak with? What a server shows of itself, and why a certificate was not trusted, in words. */
#include "cli/cli.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/crypt/crypt.h"

#include <curl/curl.h>
#include <fcntl.h>

#define PEM_MAX_BYTES (64u << 10)

/* libcurl hands over "Cert:-----BEGIN..." among other fields, for each of the chain */
static sq_err add_chain(CURL *curl, struct sq_buf *out)
{
    struct curl_certinfo *info = NULL;
    sq_err e = curl_easy_getinfo(curl, CURLINFO_CERTINFO, &info) || !info ? sq_fail(SQ_ESYS) : SQ_OK;
    for (int i = 0; !e && i < info->num_of_certs; i++)
        for (struct curl_slist *s = info->certinfo[i]; s && !e; s = s->next)
            if (!strncmp(s->data, "Cert:", 5))
                e = sq_buf_addf(out, "%s\n", s->data + 5);
    if (!e && !out->n)
        e = sq_fail(SQ_ESYS);
    return e ? e : sq_buf_add(out, "", 1);
}

bool tls_served(const char *url, struct sq_buf *out_pem, char why[256])
{
    char reason[CURL_ERROR_SIZE] = "";
    curl_global_init(CURL_GLOBAL_DEFAULT);
    CURL *curl = curl_easy_init();
    if (!curl)
        return false;
    /* not verified, because it is to be looked at; so nothing is sent but the handshake */
    bool is_set = !curl_easy_setopt(curl, CURLOPT_URL, url) && !curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https") &&
                  !curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3) && !curl_easy_setopt(curl, CURLOPT_CONNECT_ONLY, 1L) &&
                  !curl_easy_setopt(curl, CURLOPT_CERTINFO, 1L) && !curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, 0L) &&
                  !curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, 0L) && !curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 20L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, reason);
    CURLcode code = is_set ? curl_easy_perform(curl) : CURLE_FAILED_INIT;
    bool is_ok = !code && !add_chain(curl, out_pem);
    if (!is_ok)
        out_clean(*reason ? reason : code ? curl_easy_strerror(code) : "it shows no certificate", why, 256);
    curl_easy_cleanup(curl);
    return is_ok;
}

static bool host_of(const char *url, char out[256])
{
    char *host = NULL;
    CURLU *u = curl_url();
    bool is = u && !curl_url_set(u, CURLUPART_URL, url, 0) && !curl_url_get(u, CURLUPART_HOST, &host, 0) && strlen(host) < 256;
    if (is)
        memcpy(out, host, strlen(host) + 1);
    curl_free(host);
    curl_url_cleanup(u);
    return is;
}

bool tls_why_not(const char *url, const char *cacert, char out[400])
{
    static const unsigned causes[] = {SQ_X509_expired, SQ_X509_not_yet, SQ_X509_no_name, SQ_X509_self_signed, SQ_X509_broken_chain, SQ_X509_not_trusted};
    struct sq_buf pem, ca;
    struct sq_x509_seen seen;
    char host[256], why[256];
    sq_buf_init(&pem, PEM_MAX_BYTES);
    sq_buf_init(&ca, 1u << 20);
    bool is_ok = host_of(url, host) && tls_served(url, &pem, why);
    bool has_ca = is_ok && *cacert && !sq_file_read(AT_FDCWD, cacert, &ca) && !sq_buf_add(&ca, "", 1);
    if (is_ok)
        sq_x509_check(&(struct sq_x509_question){.chain_pem = (const char *)pem.p, .hosts = host, .ca_pem = has_ca ? (const char *)ca.p : NULL, .now_s = sq_clock_now_s()}, &seen);
    unsigned cause = 0;
    for (size_t i = 0; is_ok && i < sizeof causes / sizeof causes[0] && !cause; i++)
        if (seen.found & SQ_X509_BIT(causes[i]))
            cause = causes[i];
    if (is_ok && cause == SQ_X509_no_name)
        snprintf(out, 400, "its certificate is for other hosts, not for %s", host);
    else if (is_ok && (cause == SQ_X509_not_trusted || !cause))
        snprintf(out, 400, "its certificate isn't signed by %s", has_ca ? "the CA of --cacert" : "a CA that this machine trusts");
    else if (is_ok)
        snprintf(out, 400, "%s", sq_x509_finding(cause)->text);
    sq_buf_done(&pem);
    sq_buf_done(&ca);
    return is_ok;
}
