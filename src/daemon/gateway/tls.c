/*
 * Certificate and key: read from the descriptors that parent opened, at start and when the operator says that there are new ones; held in
 * locked memory until GnuTLS has them. New ones that aren't good are refused, and the old stay.
 */
#include "daemon/gateway/gateway.h"

#include "lib/core/clock.h"
#include "lib/core/file.h"
#include "lib/core/log.h"
#include "lib/crypt/crypt.h"

#define PEM_MAX 65536u

static sq_err read_pem(int fd, uint8_t **out)
{
    uint8_t *pem = NULL;
    size_t n = 0;
    sq_err e = fd < 0 ? sq_fail(SQ_ECONFIG) : sq_secret_new(PEM_MAX, &pem);
    if (!e)
        e = sq_read_full(fd, pem, PEM_MAX, &n);
    if (!e && (n == 0 || n == PEM_MAX))
        e = sq_fail(SQ_ECONFIG);
    sq_close(&fd);
    if (e) {
        sq_secret_free(pem, pem ? PEM_MAX : 0);
        return e;
    }
    pem[n] = 0;
    *out = pem;
    return SQ_OK;
}

static void look(struct gateway *gw, const struct tls_files *tls, struct sq_x509_seen *out)
{
    sq_x509_check(&(struct sq_x509_question){.chain_pem = (const char *)tls->certificate, .key_pem = (const char *)tls->key, .hosts = gw->hosts, .rsa_bits = gw->rsa_bits, .now_s = sq_clock_now_s()}, out);
}

sq_err tls_read(struct gateway *gw, struct tls_files *out)
{
    struct sq_x509_seen seen;
    int cert = sq_node_take(gw->node, "tls_cert"), key = sq_node_take(gw->node, "tls_key");
    sq_err e = read_pem(cert, &out->certificate);
    if (!e)
        e = read_pem(key, &out->key);
    else
        sq_close(&key);
    if (!e)
        look(gw, out, &seen);
    if (!e && seen.found & SQ_X509_BIT(SQ_X509_weak_key)) { /* what has ended may go on serving until it is replaced; a weak key is a choice */
        sq_log(SQ_LOG_failed, SQ_LW("what", "tls_key_is_weak_see_rsa_bits"), SQ_LW("code", sq_err_name(SQ_ECONFIG)));
        e = sq_fail(SQ_ECONFIG);
    }
    if (!e)
        tls_serves(gw, &seen);
    return e;
}

void tls_serves(struct gateway *gw, const struct sq_x509_seen *seen)
{
    pthread_mutex_lock(&gw->tls_lock);
    gw->tls_not_after_s = (uint64_t)seen->not_after_s;
    memcpy(gw->tls_fingerprint, seen->fingerprint, sizeof gw->tls_fingerprint);
    pthread_mutex_unlock(&gw->tls_lock);
}

/* registrar was started, or there is a new certificate */
void tls_tell(struct gateway *gw)
{
    struct sq_msg m = sq_msg_of(tls_state, .not_after_s = 0);
    pthread_mutex_lock(&gw->tls_lock);
    m.u.tls_state.not_after_s = gw->tls_not_after_s;
    memcpy(m.u.tls_state.fingerprint, gw->tls_fingerprint, sizeof gw->tls_fingerprint);
    pthread_mutex_unlock(&gw->tls_lock);
    sq_err e = sq_node_do(gw->node, SQ_ROLE_REGISTRAR, &m, 10000);
    (void)e; /* it is away: it is told when it comes up */
}

void tls_on_parent(void *ctx, struct sq_packet *pkt, const struct sq_msg *m)
{
    struct gateway *gw = ctx;
    struct tls_files tls = {0};
    struct sq_x509_seen seen = {.found = 0};
    sq_packet_keep_fd(pkt, m->u.tls_files.certificate);
    sq_packet_keep_fd(pkt, m->u.tls_files.key);
    sq_err e = read_pem(m->u.tls_files.certificate, &tls.certificate);
    int key = m->u.tls_files.key;
    if (!e)
        e = read_pem(key, &tls.key);
    else
        sq_close(&key);
    if (!e)
        look(gw, &tls, &seen);
    if (!e)
        e = sq_x509_is_refused(seen.found) ? sq_fail(SQ_ECONFIG) : sq_http_set_certificate((const char *)tls.certificate, (const char *)tls.key);
    tls_wipe(&tls);
    sq_log(SQ_LOG_tls_reload, SQ_LW("result", e ? "refused" : "taken"), SQ_LW("code", sq_err_name(e)), SQ_LN("ends", seen.not_after_s));
    if (!e) {
        tls_serves(gw, &seen);
        tls_tell(gw);
    }
    struct sq_msg taken = sq_msg_of(tls_taken, .code = (uint16_t)e, .found = seen.found);
    sq_err told = sq_node_tell(gw->node, SQ_ROLE_PARENT, &taken);
    (void)told; /* parent is gone, and soon we are */
}

void tls_wipe(struct tls_files *tls)
{
    if (tls->certificate)
        sq_secret_free(tls->certificate, PEM_MAX);
    if (tls->key)
        sq_secret_free(tls->key, PEM_MAX);
    tls->certificate = tls->key = NULL;
}
