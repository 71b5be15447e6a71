/* Certificate and key: read once from the descriptors that parent opened, held in locked memory until GnuTLS has them. */
#include "daemon/gateway/gateway.h"

#include "lib/core/file.h"
#include "lib/crypt/crypt.h"

#define PEM_MAX 65536u

static sq_err read_pem(struct sq_node *node, const char *name, uint8_t **out)
{
    uint8_t *pem = NULL;
    size_t n = 0;
    int fd = sq_node_take(node, name);
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

sq_err tls_read(struct sq_node *node, struct tls_files *out)
{
    sq_err e = read_pem(node, "tls_cert", &out->certificate);
    return e ? e : read_pem(node, "tls_key", &out->key);
}

void tls_wipe(struct tls_files *tls)
{
    if (tls->certificate)
        sq_secret_free(tls->certificate, PEM_MAX);
    if (tls->key)
        sq_secret_free(tls->key, PEM_MAX);
    tls->certificate = tls->key = NULL;
}
