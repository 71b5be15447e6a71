/* A private CA and server certificates, for `sequester init`. ECDSA P-256 with SHA-256, RFC 5280 profile. */
#include "lib/core/clock.h"
#include "lib/crypt/crypt_internal.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <time.h>

#define MAX_DAYS 36500u
#define MAX_HOSTS_BYTES 4096u
#define PEM_MAX_BYTES 65536u

static bool set_serial(X509 *x)
{
    uint8_t serial[16];
    if (sq_random(serial, sizeof serial))
        return false;
    serial[0] = (uint8_t)((serial[0] & 0x7f) | 0x40); /* positive, never short */
    BIGNUM *n = BN_bin2bn(serial, sizeof serial, NULL);
    bool ok = n && BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
    BN_free(n);
    return ok;
}

static bool set_life(X509 *x, unsigned days)
{
    time_t now = (time_t)sq_clock_now_s();
    /* an hour back: clients whose clock is a little slow may connect at once; both ends count, so that it is @days and not a second more */
    return X509_time_adj_ex(X509_getm_notBefore(x), 0, -3600, &now) &&
           X509_time_adj_ex(X509_getm_notAfter(x), (int)days, -3601, &now);
}

static bool add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX v3;
    X509V3_set_ctx_nodb(&v3);
    X509V3_set_ctx(&v3, issuer, x, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &v3, nid, value);
    bool ok = e && X509_add_ext(x, e, -1) == 1;
    X509_EXTENSION_free(e);
    return ok;
}

static bool set_subject(X509 *x, const char *name)
{
    X509_NAME *subject = X509_get_subject_name(x);
    const unsigned char *cn = crypt_unconst(name);
    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, cn, -1, -1, 0) == 1;
}

/* an unsigned v3 certificate with a fresh key, serial, name and dates */
static bool fresh(const char *name, unsigned days, X509 **out_x, EVP_PKEY **out_key)
{
    *out_x = X509_new_ex(crypt_get()->ctx, NULL);
    *out_key = EVP_PKEY_Q_keygen(crypt_get()->ctx, NULL, "EC", "P-256");
    X509 *x = *out_x;
    return x && *out_key && X509_set_version(x, X509_VERSION_3) == 1 && set_serial(x) && set_life(x, days) &&
           set_subject(x, name) && X509_set_pubkey(x, *out_key) == 1;
}

static sq_err bio_to_buf(BIO *bio, struct sq_buf *out)
{
    char *p = NULL;
    long n = BIO_get_mem_data(bio, &p);
    return n > 0 ? sq_buf_add(out, p, (size_t)n) : crypt_fail(SQ_ECRYPTO);
}

static sq_err to_pem(X509 *x, EVP_PKEY *key, struct sq_x509_pair *out)
{
    sq_err err = SQ_OK;
    struct sq_x509_pair pair;
    sq_buf_init(&pair.cert_pem, PEM_MAX_BYTES);
    sq_buf_init(&pair.key_pem, PEM_MAX_BYTES);
    BIO *cert = BIO_new(BIO_s_mem()), *secret = BIO_new(BIO_s_mem()); /* both are wiped when freed */
    if (!cert || !secret || PEM_write_bio_X509(cert, x) != 1 ||
        PEM_write_bio_PrivateKey_ex(secret, key, NULL, NULL, 0, NULL, NULL, crypt_get()->ctx, NULL) != 1)
        err = crypt_fail(SQ_ECRYPTO);
    if (!err)
        err = bio_to_buf(cert, &pair.cert_pem);
    if (!err)
        err = bio_to_buf(secret, &pair.key_pem);
    BIO_free(cert);
    BIO_free(secret);
    if (err)
        sq_x509_pair_done(&pair);
    else
        *out = pair;
    return err;
}

sq_err sq_x509_ca(const char *name, unsigned days, struct sq_x509_pair *out)
{
    X509 *x = NULL;
    EVP_PKEY *key = NULL;
    if (days < 1 || days > MAX_DAYS || !name[0] || strlen(name) > 64)
        return sq_fail(SQ_ERANGE);
    bool ok = fresh(name, days, &x, &key) && X509_set_issuer_name(x, X509_get_subject_name(x)) == 1 &&
              add_extension(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
              add_extension(x, x, NID_key_usage, "critical,keyCertSign,cRLSign") &&
              add_extension(x, x, NID_subject_key_identifier, "hash") &&
              add_extension(x, x, NID_authority_key_identifier, "keyid:always") &&
              X509_sign(x, key, crypt_get()->sha256) > 0;
    sq_err err = ok ? to_pem(x, key, out) : crypt_fail(SQ_ECRYPTO);
    X509_free(x);
    EVP_PKEY_free(key);
    return err;
}

static bool is_ip(const char *host)
{
    uint8_t address[16];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* letters, digits, dots and hyphens, and one leading "*.": nothing that the extension's own syntax could read */
static bool is_dns(const char *host)
{
    size_t n = strlen(host);
    if (strncmp(host, "*.", 2) == 0)
        host += 2;
    return n >= 1 && n <= 253 && host[0] != '.' && host[0] != '-' && host[0] &&
           strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == strlen(host);
}

/* "a.example,127.0.0.1" -> "DNS:a.example,IP:127.0.0.1", and the first host for the subject */
static sq_err san_text(const char *hosts, struct sq_buf *san, char first[64])
{
    char copy[MAX_HOSTS_BYTES];
    char *rest = NULL;
    if (strlen(hosts) >= sizeof copy)
        return sq_fail(SQ_ERANGE);
    memcpy(copy, hosts, strlen(hosts) + 1);
    first[0] = 0;
    for (char *host = strtok_r(copy, ", ", &rest); host; host = strtok_r(NULL, ", ", &rest)) {
        bool ip = is_ip(host);
        if (!ip && !is_dns(host))
            return sq_fail(SQ_ERANGE);
        sq_err err = sq_buf_addf(san, "%s%s:%s", san->n ? "," : "", ip ? "IP" : "DNS", host);
        if (err)
            return err;
        if (!first[0] && strlen(host) < 64)
            memcpy(first, host, strlen(host) + 1);
    }
    return first[0] ? sq_buf_add(san, "", 1) : sq_fail(SQ_ERANGE);
}

/* never ask a terminal for the password of an encrypted key: there is none */
static int no_password(char *buf, int size, int rwflag, void *ctx)
{
    return -1;
}

static X509 *cert_from_pem(const void *pem, size_t n)
{
    BIO *bio = n && n <= PEM_MAX_BYTES ? BIO_new_mem_buf(pem, (int)n) : NULL;
    X509 *x = X509_new_ex(crypt_get()->ctx, NULL);
    if (!bio || !x || !PEM_read_bio_X509(bio, &x, no_password, NULL)) {
        X509_free(x);
        x = NULL;
    }
    BIO_free(bio);
    return x;
}

static EVP_PKEY *key_from_pem(const struct sq_buf *pem)
{
    BIO *bio = pem->n && pem->n <= PEM_MAX_BYTES ? BIO_new_mem_buf(pem->p, (int)pem->n) : NULL;
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey_ex(bio, NULL, no_password, NULL, crypt_get()->ctx, NULL) : NULL;
    BIO_free(bio);
    return key;
}

sq_err sq_x509_server(const struct sq_x509_pair *ca, const char *hosts, unsigned days, struct sq_x509_pair *out)
{
    char first[64];
    X509 *x = NULL, *ca_cert = NULL;
    EVP_PKEY *key = NULL, *ca_key = NULL;
    struct sq_buf san;
    sq_buf_init(&san, 2 * MAX_HOSTS_BYTES);
    sq_err err = days < 1 || days > MAX_DAYS ? sq_fail(SQ_ERANGE) : san_text(hosts, &san, first);
    if (err)
        goto out;
    ca_cert = cert_from_pem(ca->cert_pem.p, ca->cert_pem.n);
    ca_key = key_from_pem(&ca->key_pem);
    bool ok = ca_cert && ca_key && X509_check_private_key(ca_cert, ca_key) == 1 && fresh(first, days, &x, &key) &&
              X509_set_issuer_name(x, X509_get_subject_name(ca_cert)) == 1 &&
              add_extension(x, ca_cert, NID_basic_constraints, "critical,CA:FALSE") &&
              add_extension(x, ca_cert, NID_key_usage, "critical,digitalSignature") &&
              add_extension(x, ca_cert, NID_ext_key_usage, "serverAuth") &&
              add_extension(x, ca_cert, NID_subject_alt_name, (const char *)san.p) &&
              add_extension(x, ca_cert, NID_subject_key_identifier, "hash") &&
              add_extension(x, ca_cert, NID_authority_key_identifier, "keyid:always") &&
              X509_sign(x, ca_key, crypt_get()->sha256) > 0;
    err = ok ? to_pem(x, key, out) : crypt_fail(SQ_ECRYPTO);
out:
    sq_buf_done(&san);
    X509_free(x);
    X509_free(ca_cert);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    return err;
}

void sq_x509_pair_done(struct sq_x509_pair *pair)
{
    if (!pair)
        return;
    sq_buf_done(&pair->cert_pem);
    sq_buf_done(&pair->key_pem);
}

sq_err sq_x509_look(const void *pem, size_t n, uint8_t out_fingerprint[SQ_SHA256_BYTES], int64_t *out_not_after)
{
    struct tm end;
    uint8_t sha[SQ_SHA256_BYTES];
    unsigned n_sha = 0;
    X509 *x = cert_from_pem(pem, n);
    bool ok = x && X509_digest(x, crypt_get()->sha256, sha, &n_sha) == 1 && n_sha == sizeof sha &&
              ASN1_TIME_to_tm(X509_get0_notAfter(x), &end) == 1;
    X509_free(x);
    if (!ok)
        return crypt_fail(SQ_ECRYPTO);
    memcpy(out_fingerprint, sha, sizeof sha);
    *out_not_after = timegm(&end);
    return SQ_OK;
}
