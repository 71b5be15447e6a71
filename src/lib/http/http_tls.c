#include "lib/http/http_internal.h"

#include "lib/core/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

/*
 * Said in full and not by a level: TLS 1.3, ephemeral groups of FIPS 186-5 and RFC 7748, certificates only. No pre-shared
 * keys, no tickets (a stolen ticket key would open old traffic; so there is no ticket key to rotate either), and no early
 * data: it can be replayed.
 */
static const char priorities[] = "NONE:+VERS-TLS1.3:+AES-256-GCM:+CHACHA20-POLY1305:+AEAD:+COMP-NULL:+CTYPE-X509:"
                                 "+GROUP-X25519:+GROUP-SECP256R1:+SIGN-ECDSA-SECP256R1-SHA256:+SIGN-ECDSA-SECP384R1-SHA384:"
                                 "+SIGN-EDDSA-ED25519:+SIGN-RSA-PSS-RSAE-SHA256:+SIGN-RSA-PSS-RSAE-SHA384:%NO_TICKETS";

#define HELLO_MAX 16384     /* of a handshake message */
#define LINGER_MS 2000      /* for the client to take the last answer and to go */
#define LINGER_BYTES (UINT64_C(1) << 20)
#define DRAIN_MS 10000      /* while it still sends a body that we refused */

static gnutls_priority_t priority; /* set once, then read by all */

sq_err tls_start(void)
{
    if (priority)
        return SQ_OK;
    return gnutls_global_init() < 0 || gnutls_priority_init(&priority, priorities, NULL) < 0 ? sq_fail(SQ_ECRYPTO) : SQ_OK;
}

sq_err credentials_new(const char *certificate_pem, const char *key_pem, struct credentials **out)
{
    const gnutls_datum_t cert = {(unsigned char *)(uintptr_t)certificate_pem, (unsigned)strlen(certificate_pem)};
    const gnutls_datum_t key = {(unsigned char *)(uintptr_t)key_pem, (unsigned)strlen(key_pem)};
    struct credentials *c = calloc(1, sizeof *c);
    if (!c)
        return sq_fail(SQ_ENOMEM);
    if (gnutls_certificate_allocate_credentials(&c->tls) < 0) {
        free(c);
        return sq_fail(SQ_ENOMEM);
    }
    if (gnutls_certificate_set_x509_key_mem(c->tls, &cert, &key, GNUTLS_X509_FMT_PEM) < 0) {
        credentials_free(c);
        return sq_fail(SQ_ECONFIG);
    }
    c->n_user = 1;
    *out = c;
    return SQ_OK;
}

void credentials_free(struct credentials *c)
{
    if (c)
        gnutls_certificate_free_credentials(c->tls);
    free(c);
}

/* ---- a socket that pays for its waits ---- */

static sq_err wire_wait(struct wire *w, short events)
{
    int64_t from = sq_clock_steady_ms();
    struct pollfd p = {.fd = w->fd, .events = events};
    int r = w->left_ms > 0 ? poll(&p, 1, w->left_ms < 3600000 ? (int)w->left_ms : 3600000) : 0;
    w->left_ms -= sq_clock_steady_ms() - from;
    return r > 0 ? SQ_OK : r < 0 && errno == EINTR ? SQ_OK : w->left_ms > 0 ? SQ_OK : sq_fail(SQ_ESLOW);
}

/* What GnuTLS says short of success: wait and go on, or the end. */
static sq_err wire_again(struct wire *w, ssize_t r)
{
    if (r == GNUTLS_E_INTERRUPTED || r == GNUTLS_E_WARNING_ALERT_RECEIVED)
        return SQ_OK;
    if (r != GNUTLS_E_AGAIN)
        return sq_fail(SQ_EDOWN);
    return wire_wait(w, gnutls_record_get_direction(w->tls) ? POLLOUT : POLLIN);
}

sq_err wire_handshake(struct wire *w, const struct credentials *c)
{
    static const gnutls_datum_t http1 = {(unsigned char *)(uintptr_t) "http/1.1", 8};
    if (gnutls_init(&w->tls, GNUTLS_SERVER | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL) < 0) {
        w->tls = NULL;
        return sq_fail(SQ_ENOMEM);
    }
    gnutls_handshake_set_max_packet_length(w->tls, HELLO_MAX);
    gnutls_handshake_set_timeout(w->tls, GNUTLS_INDEFINITE_TIMEOUT); /* the purse says how long */
    gnutls_transport_set_int(w->tls, w->fd);
    /* a client that offers protocols, but not this one, would speak another: refused (RFC 7301, and the ALPACA attack) */
    if (gnutls_priority_set(w->tls, priority) < 0 || gnutls_credentials_set(w->tls, GNUTLS_CRD_CERTIFICATE, c->tls) < 0 ||
        gnutls_alpn_set_protocols(w->tls, &http1, 1, GNUTLS_ALPN_MANDATORY) < 0)
        return sq_fail(SQ_ECRYPTO);
    for (;;) {
        int r = gnutls_handshake(w->tls);
        if (r >= 0)
            return SQ_OK;
        if (gnutls_error_is_fatal(r))
            gnutls_alert_send_appropriate(w->tls, r);
        sq_err e = wire_again(w, r);
        if (e)
            return e;
    }
}

sq_err wire_read(struct wire *w, void *p, size_t max, size_t *out_n)
{
    for (;;) {
        ssize_t r = gnutls_record_recv(w->tls, p, max);
        if (r > 0) {
            *out_n = (size_t)r;
            return SQ_OK;
        }
        sq_err e = r == 0 ? SQ_EDOWN : wire_again(w, r);
        if (e)
            return e;
    }
}

sq_err wire_write(struct wire *w, const void *p, size_t n)
{
    const uint8_t *at = p;
    while (n) {
        ssize_t r = gnutls_record_send(w->tls, at, n);
        if (r > 0) {
            at += r;
            n -= (size_t)r;
            continue;
        }
        sq_err e = wire_again(w, r);
        if (e)
            return e;
    }
    return SQ_OK;
}

void wire_end(struct wire *w, bool is_polite, uint64_t n_drain)
{
    if (w->tls && is_polite) {
        w->left_ms = n_drain > LINGER_BYTES ? DRAIN_MS : LINGER_MS;
        gnutls_bye(w->tls, GNUTLS_SHUT_WR); /* tried once: a client whose buffer is full learns it from the FIN */
        shutdown(w->fd, SHUT_WR);
        /* closing on unread bytes would make TCP throw our answer away, so what still comes is read, and not even decrypted */
        char waste[16384];
        uint64_t n = 0;
        while (n <= (n_drain > LINGER_BYTES ? n_drain : LINGER_BYTES) && wire_wait(w, POLLIN) == SQ_OK) {
            ssize_t r = recv(w->fd, waste, sizeof waste, 0);
            if (r == 0 || (r < 0 && errno != EAGAIN && errno != EINTR))
                break;
            n += r > 0 ? (uint64_t)r : 0;
        }
    }
    if (w->tls)
        gnutls_deinit(w->tls);
    w->tls = NULL;
}
