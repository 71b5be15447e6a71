/*
 * The certificate that new connections are shown, and how another takes its place. GnuTLS asks for it at each handshake, and looks at
 * what it was given until that handshake is over: so one that was replaced is freed only when no handshake can be under way with it.
 */
#include "lib/http/http_internal.h"

#include "lib/core/clock.h"

#include <gnutls/gnutls.h>
#include <stdlib.h>

#define CHAIN_MAX 10
#define KEPT_MS 120000 /* a handshake has ended after head_s */

struct identity {
    gnutls_pcert_st cert[CHAIN_MAX];
    unsigned n_cert;
    gnutls_privkey_t key;
    int64_t replaced_ms;
    struct identity *next; /* replaced before this one */
};

static struct {
    pthread_mutex_t lock;
    struct identity *present;
} served = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void identity_free(struct identity *id)
{
    for (unsigned i = 0; i < id->n_cert; i++)
        gnutls_pcert_deinit(&id->cert[i]);
    if (id->key)
        gnutls_privkey_deinit(id->key);
    free(id);
}

/* also says whether they belong together */
static bool identity_fill(struct identity *id, const gnutls_datum_t *cert, const gnutls_datum_t *key)
{
    gnutls_certificate_credentials_t credentials = NULL;
    unsigned n = CHAIN_MAX;
    bool is_ok = gnutls_certificate_allocate_credentials(&credentials) >= 0 &&
                 gnutls_certificate_set_x509_key_mem(credentials, cert, key, GNUTLS_X509_FMT_PEM) >= 0;
    if (credentials)
        gnutls_certificate_free_credentials(credentials);
    is_ok = is_ok && gnutls_pcert_list_import_x509_raw(id->cert, &n, cert, GNUTLS_X509_FMT_PEM, 0) >= 0;
    id->n_cert = is_ok ? n : 0;
    return is_ok && n && gnutls_privkey_init(&id->key) >= 0 && gnutls_privkey_import_x509_raw(id->key, key, GNUTLS_X509_FMT_PEM, NULL, 0) >= 0;
}

sq_err sq_http_set_certificate(const char *certificate_pem, const char *key_pem)
{
    const gnutls_datum_t cert = {(unsigned char *)(uintptr_t)certificate_pem, (unsigned)strlen(certificate_pem)};
    const gnutls_datum_t key = {(unsigned char *)(uintptr_t)key_pem, (unsigned)strlen(key_pem)};
    struct identity *id = calloc(1, sizeof *id), *gone = NULL;
    if (!id)
        return sq_fail(SQ_ENOMEM);
    if (!identity_fill(id, &cert, &key)) {
        identity_free(id);
        return sq_fail(SQ_ECONFIG);
    }
    int64_t now = sq_clock_steady_ms();
    pthread_mutex_lock(&served.lock);
    id->next = served.present;
    if (id->next)
        id->next->replaced_ms = now;
    served.present = id;
    struct identity **at = &id->next;
    while (*at && now - (*at)->replaced_ms < KEPT_MS)
        at = &(*at)->next;
    gone = *at;
    *at = NULL;
    pthread_mutex_unlock(&served.lock);
    while (gone) {
        struct identity *next = gone->next;
        identity_free(gone);
        gone = next;
    }
    return SQ_OK;
}

int http_certificate(gnutls_session_t session, const struct gnutls_cert_retr_st *info, gnutls_pcert_st **certs, unsigned *n_cert,
                     gnutls_ocsp_data_st **ocsp, unsigned *n_ocsp, gnutls_privkey_t *key, unsigned *flags)
{
    (void)session, (void)info;
    pthread_mutex_lock(&served.lock);
    *certs = served.present->cert;
    *n_cert = served.present->n_cert;
    *key = served.present->key;
    pthread_mutex_unlock(&served.lock);
    *ocsp = NULL;
    *n_ocsp = 0;
    *flags = 0; /* all stays ours */
    return 0;
}
