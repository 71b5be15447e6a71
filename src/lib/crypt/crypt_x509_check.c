/* What is wrong with a certificate, its chain and its key: asked by operators, by clients that were refused, and before files are loaded. */
#include "lib/crypt/crypt_internal.h"

#include <openssl/bio.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <time.h>

#define PEM_MAX_BYTES 65536u
#define CHAIN_MAX 10
#define SOON_S (INT64_C(21) * 86400)

static const struct sq_x509_finding_row findings[] = {
#define SQ_FINDING(name, grade, text, mend) [SQ_X509_##name - 1] = {#name, SQ_X509_GRADE_##grade, text, mend},
#include "lib/crypt/x509_findings.def"
#undef SQ_FINDING
};

const struct sq_x509_finding_row *sq_x509_finding(unsigned no)
{
    return no >= 1 && no <= sizeof findings / sizeof findings[0] ? &findings[no - 1] : NULL;
}

bool sq_x509_is_refused(uint32_t found)
{
    for (unsigned no = 1; sq_x509_finding(no); no++)
        if (found & SQ_X509_BIT(no) && sq_x509_finding(no)->grade == SQ_X509_GRADE_REFUSE)
            return true;
    return false;
}

/* never ask a terminal for the password of an encrypted key: there is none */
static int no_password(char *buf, int size, int rwflag, void *ctx)
{
    (void)buf, (void)size, (void)rwflag, (void)ctx;
    return -1;
}

static size_t read_chain(const char *pem, X509 *chain[CHAIN_MAX])
{
    size_t n_pem = pem ? strlen(pem) : 0, n = 0;
    BIO *bio = n_pem && n_pem <= PEM_MAX_BYTES ? BIO_new_mem_buf(pem, (int)n_pem) : NULL;
    while (bio && n < CHAIN_MAX && (chain[n] = X509_new_ex(crypt_get()->ctx, NULL))) {
        if (!PEM_read_bio_X509(bio, &chain[n], no_password, NULL)) {
            X509_free(chain[n]);
            break;
        }
        n++;
    }
    BIO_free(bio);
    ERR_clear_error();
    return n;
}

static int64_t seconds_of(const ASN1_TIME *t)
{
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

/* What http_server.c offers: ECDSA with P-256 or P-384, Ed25519, RSA-PSS. */
static bool is_good_key(X509 *x, unsigned rsa_bits, char out_kind[32])
{
    EVP_PKEY *key = X509_get0_pubkey(x);
    char group[32] = "";
    int type = key ? EVP_PKEY_get_base_id(key) : 0, bits = key ? EVP_PKEY_get_bits(key) : 0;
    if (type == EVP_PKEY_EC)
        EVP_PKEY_get_group_name(key, group, sizeof group, NULL);
    snprintf(out_kind, 32, "%s %.16s%.0d", type == EVP_PKEY_EC ? "ECDSA" : type == EVP_PKEY_RSA ? "RSA" : type == EVP_PKEY_ED25519 ? "Ed25519" : "other",
             group, type == EVP_PKEY_RSA ? bits : 0);
    return type == EVP_PKEY_ED25519 || (type == EVP_PKEY_RSA && bits >= (int)(rsa_bits ? rsa_bits : 2048)) ||
           (type == EVP_PKEY_EC && (!strcmp(group, "prime256v1") || !strcmp(group, "secp384r1")));
}

static bool is_self_issued(X509 *x)
{
    return X509_NAME_cmp(X509_get_subject_name(x), X509_get_issuer_name(x)) == 0;
}

/* Of those who issued it, the root apart, which is trusted for itself. */
static bool is_weak_issuer(X509 *x, unsigned rsa_bits)
{
    char kind[32];
    EVP_PKEY *key = X509_get0_pubkey(x);
    return !is_self_issued(x) && key && EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && !is_good_key(x, rsa_bits, kind);
}

static uint32_t look_at_chain(X509 *const chain[], size_t n, unsigned rsa_bits)
{
    uint32_t found = 0;
    for (size_t i = 0; i < n; i++) {
        int hash = NID_undef;
        if (i && is_weak_issuer(chain[i], rsa_bits))
            found |= SQ_X509_BIT(SQ_X509_weak_issuer);
        bool is_root = is_self_issued(chain[i]) && i; /* its own signature says nothing */
        X509_get_signature_info(chain[i], &hash, NULL, NULL, NULL);
        if (!is_root && (hash == NID_md5 || hash == NID_sha1 || hash == NID_md5_sha1))
            found |= SQ_X509_BIT(SQ_X509_weak_signature);
        if (i + 1 < n && (X509_check_issued(chain[i + 1], chain[i]) != X509_V_OK || X509_verify(chain[i], X509_get0_pubkey(chain[i + 1])) != 1))
            found |= SQ_X509_BIT(SQ_X509_broken_chain);
    }
    if (n == 1 && is_self_issued(chain[0]))
        found |= SQ_X509_BIT(SQ_X509_self_signed);
    return found;
}

static bool is_named(X509 *x, const char *host)
{
    size_t n = strlen(host);
    char plain[256];
    if (n > 2 && n < sizeof plain && host[0] == '[' && host[n - 1] == ']') {
        memcpy(plain, host + 1, n - 2);
        plain[n - 2] = 0;
        host = plain;
    }
    return X509_check_ip_asc(x, host, 0) == 1 || X509_check_host(x, host, strlen(host), 0, NULL) == 1;
}

static uint32_t look_at_names(X509 *x, const char *hosts, char out_missing[256])
{
    char copy[4096], *rest = NULL;
    size_t n = 0, n_named = 0;
    if (!hosts || strlen(hosts) >= sizeof copy)
        return 0;
    memcpy(copy, hosts, strlen(hosts) + 1);
    for (char *host = strtok_r(copy, ", ", &rest); host; host = strtok_r(NULL, ", ", &rest)) {
        bool is = is_named(x, host);
        n++;
        n_named += is;
        if (!is && !*out_missing)
            snprintf(out_missing, 256, "%s", host);
    }
    return !n || n == n_named ? 0 : n_named ? SQ_X509_BIT(SQ_X509_name_missing) : SQ_X509_BIT(SQ_X509_no_name);
}

/* Leads it to one of @ca_pem? Time is looked at elsewhere, by our clock. */
static bool is_trusted(X509 *const chain[], size_t n, const char *ca_pem)
{
    X509 *ca[CHAIN_MAX];
    size_t n_ca = read_chain(ca_pem, ca);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    STACK_OF(X509) *between = sk_X509_new_null();
    bool ok = store && ctx && between && n_ca;
    for (size_t i = 0; i < n_ca && ok; i++)
        ok = X509_STORE_add_cert(store, ca[i]) == 1;
    for (size_t i = 1; i < n && ok; i++)
        ok = sk_X509_push(between, chain[i]) > 0;
    ok = ok && X509_STORE_CTX_init(ctx, store, chain[0], between) == 1;
    if (ok)
        X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_NO_CHECK_TIME | X509_V_FLAG_PARTIAL_CHAIN);
    ok = ok && X509_verify_cert(ctx) == 1;
    sk_X509_free(between);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    for (size_t i = 0; i < n_ca; i++)
        X509_free(ca[i]);
    return ok;
}

static uint32_t look_at_key(X509 *x, const char *pem)
{
    BIO *bio = BIO_new_mem_buf(pem, (int)strnlen(pem, PEM_MAX_BYTES));
    EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey_ex(bio, NULL, no_password, NULL, crypt_get()->ctx, NULL) : NULL;
    uint32_t found = !key ? SQ_X509_BIT(SQ_X509_no_key) : X509_check_private_key(x, key) != 1 ? SQ_X509_BIT(SQ_X509_other_key) : 0;
    EVP_PKEY_free(key);
    BIO_free(bio);
    return found;
}

void sq_x509_check(const struct sq_x509_question *q, struct sq_x509_seen *out)
{
    X509 *chain[CHAIN_MAX];
    unsigned n_sha = 0;
    *out = (struct sq_x509_seen){.n_certificate = (unsigned)read_chain(q->chain_pem, chain)};
    if (!out->n_certificate) {
        out->found = SQ_X509_BIT(SQ_X509_no_certificate);
        return;
    }
    X509 *x = chain[0];
    out->not_before_s = seconds_of(X509_get0_notBefore(x));
    out->not_after_s = seconds_of(X509_get0_notAfter(x));
    for (size_t i = 1; i < out->n_certificate; i++) /* a chain ends when the first of it does */
        if (!is_self_issued(chain[i]) && seconds_of(X509_get0_notAfter(chain[i])) < out->not_after_s)
            out->not_after_s = seconds_of(X509_get0_notAfter(chain[i]));
    if (X509_digest(x, crypt_get()->sha256, out->fingerprint, &n_sha) != 1)
        out->found |= SQ_X509_BIT(SQ_X509_no_certificate);
    if (q->now_s >= out->not_after_s)
        out->found |= SQ_X509_BIT(SQ_X509_expired);
    else if (q->now_s + SOON_S >= out->not_after_s)
        out->found |= SQ_X509_BIT(SQ_X509_ends_soon);
    if (q->now_s < out->not_before_s)
        out->found |= SQ_X509_BIT(SQ_X509_not_yet);
    if (!is_good_key(x, q->rsa_bits, out->key))
        out->found |= SQ_X509_BIT(SQ_X509_weak_key);
    if (X509_get_extension_flags(x) & EXFLAG_XKUSAGE && !(X509_get_extended_key_usage(x) & XKU_SSL_SERVER))
        out->found |= SQ_X509_BIT(SQ_X509_not_for_servers);
    out->found |= look_at_chain(chain, out->n_certificate, q->rsa_bits) | look_at_names(x, q->hosts, out->missing_host);
    if (q->key_pem)
        out->found |= look_at_key(x, q->key_pem);
    if (q->ca_pem && !is_trusted(chain, out->n_certificate, q->ca_pem))
        out->found |= SQ_X509_BIT(SQ_X509_not_trusted);
    for (size_t i = 0; i < out->n_certificate; i++)
        X509_free(chain[i]);
    ERR_clear_error();
}
