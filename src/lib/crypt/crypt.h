/**
 * crypt - the one room that knows OpenSSL, libargon2 and libgfshare. Thin, typed doors over EVP; no construction of our own.
 *
 * What it may touch: memory and the kernel's random source. It opens no file and no socket. All calls are
 * thread-safe; sq_crypt_start() must have run once in the process (it makes our own OSSL_LIB_CTX, loads no
 * configuration file, and touches every algorithm so that a later seccomp list need not allow opening files).
 *
 * Sources: AES-GCM NIST SP 800-38D; HKDF RFC 5869; Argon2id RFC 9106; ECDSA P-256 FIPS 186-5, as ES256 in RFC 7518;
 * Ed25519 RFC 8032; PBKDF2 RFC 8018.
 */
#ifndef SQ_CRYPT_CRYPT_H
#define SQ_CRYPT_CRYPT_H

#include "lib/core/buf.h"

#define SQ_KEY_BYTES 32
#define SQ_GCM_NONCE_BYTES 12
#define SQ_GCM_TAG_BYTES 16
#define SQ_SHA256_BYTES 32
#define SQ_SHA1_BYTES 20
#define SQ_ED25519_PUBLIC_BYTES 32
#define SQ_ED25519_SIG_BYTES 64
#define SQ_ES256_PUBLIC_BYTES 65 /* uncompressed point, 0x04 | x | y */
#define SQ_ES256_SIG_BYTES 64    /* r | s, as in JWS */

sq_err sq_crypt_start(void) SQ_MUST_CHECK;

/* ---- random: getrandom through the library's generator ---- */
sq_err sq_random(void *out, size_t n) SQ_MUST_CHECK;

/* ---- keys ------------------------------------------------------------------------------------------
 * Key bytes live only here: own pages between two guard pages, locked, not dumped, wiped on free.
 * Many keys share a page set (slots of 32 bytes), so that locked memory stays far below 4 MiB a process. */
struct sq_key;
sq_err sq_key_new(struct sq_key **out_key) SQ_MUST_CHECK;                          /* random */
sq_err sq_key_from(const uint8_t bytes[SQ_KEY_BYTES], struct sq_key **out_key) SQ_MUST_CHECK; /* copies */
const uint8_t *sq_key_bytes(const struct sq_key *key);                            /* borrowed, 32 bytes */
void sq_key_free(struct sq_key *key);                                             /* wipes; NULL allowed */

/* A locked, guarded, undumpable block for secrets of other sizes (passwords, PEM keys). Wiped on free. */
sq_err sq_secret_new(size_t n, uint8_t **out_p) SQ_MUST_CHECK;
void sq_secret_free(uint8_t *p, size_t n);

/* ---- hashes ---- */
struct sq_sha256;
sq_err sq_sha256_new(struct sq_sha256 **out) SQ_MUST_CHECK;
sq_err sq_sha256_add(struct sq_sha256 *h, const void *p, size_t n) SQ_MUST_CHECK;
sq_err sq_sha256_end(struct sq_sha256 *h, uint8_t out[SQ_SHA256_BYTES]) SQ_MUST_CHECK; /* and starts anew */
void sq_sha256_free(struct sq_sha256 *h);
sq_err sq_sha256_of(const void *p, size_t n, uint8_t out[SQ_SHA256_BYTES]) SQ_MUST_CHECK;
/** For looking a password up in lists that others made with it; for nothing that must be safe. */
sq_err sq_sha1_of(const void *p, size_t n, uint8_t out[SQ_SHA1_BYTES]) SQ_MUST_CHECK;
sq_err sq_hmac_sha256(const struct sq_key *key, const void *p, size_t n, uint8_t out[SQ_SHA256_BYTES]) SQ_MUST_CHECK;
/** With a key that others made, of any length (webhooks). */
sq_err sq_hmac_sha256_with(const void *key, size_t n_key, const void *p, size_t n, uint8_t out[SQ_SHA256_BYTES]) SQ_MUST_CHECK;

/* running HMAC-SHA1, for AE-2 only (the WinZip format fixes it) */
struct sq_hmac_sha1;
sq_err sq_hmac_sha1_new(const void *key, size_t n_key, struct sq_hmac_sha1 **out) SQ_MUST_CHECK;
sq_err sq_hmac_sha1_add(struct sq_hmac_sha1 *h, const void *p, size_t n) SQ_MUST_CHECK;
sq_err sq_hmac_sha1_end(struct sq_hmac_sha1 *h, uint8_t out[SQ_SHA1_BYTES]) SQ_MUST_CHECK;
void sq_hmac_sha1_free(struct sq_hmac_sha1 *h);

/* ---- derivation ---- */
/** HKDF-SHA256 (extract and expand), 32 bytes out, straight into a key. */
sq_err sq_hkdf(const struct sq_key *ikm, const void *salt, size_t n_salt, const void *info, size_t n_info,
               struct sq_key **out_key) SQ_MUST_CHECK;
/** The same from key material of another length (age's file keys have 16 bytes). @ikm is secret and the caller's to wipe. */
sq_err sq_hkdf_short(const uint8_t *ikm, size_t n_ikm, const void *salt, size_t n_salt, const void *info, size_t n_info,
                     struct sq_key **out_key) SQ_MUST_CHECK;
sq_err sq_pbkdf2_sha1(const void *password, size_t n_password, const void *salt, size_t n_salt, uint32_t rounds,
                      uint8_t *out, size_t n_out) SQ_MUST_CHECK;

/** Argon2id, as a PHC string ($argon2id$v=19$m=47104,t=3,p=1$...). Arena is not dumped, and wiped. 163 ms at 64 MiB with 3 passes. */
#define SQ_PHC_MAX_BYTES 128
sq_err sq_password_hash(const void *password, size_t n, uint32_t mem_kib, uint32_t passes,
                        char out_phc[SQ_PHC_MAX_BYTES]) SQ_MUST_CHECK;
/** SQ_OK or SQ_EPASSWORD. A PHC string of another kind or with costs above 1 GiB / 16 passes is SQ_ECRYPTO. */
sq_err sq_password_check(const void *password, size_t n, const char *phc) SQ_MUST_CHECK;
/** Argon2id straight to a key (passphrase of the key slab). @salt 16 bytes. */
sq_err sq_password_key(const void *password, size_t n, const uint8_t salt[16], uint32_t mem_kib, uint32_t passes,
                       struct sq_key **out_key) SQ_MUST_CHECK;

/* ---- a key in shares ---- */
#define SQ_SPLIT_MAX_SHARES 16
/** Shamir: any @threshold (>= 2) of @n_share shares give the key, fewer say nothing. @out_shares: 32 bytes each, secret; share i has number i + 1. */
sq_err sq_key_split(const struct sq_key *key, unsigned n_share, unsigned threshold, uint8_t *out_shares) SQ_MUST_CHECK;
/** The key of exactly the shares given (no check: wrong or too few shares give a wrong key). @numbers differ, none is 0. */
sq_err sq_key_join(const uint8_t *numbers, const uint8_t *shares, unsigned n, struct sq_key **out_key) SQ_MUST_CHECK;

/* ---- AES-256-GCM ---- */
struct sq_gcm; /* one key scheduled once; not shared between threads */
sq_err sq_gcm_new(const uint8_t key[SQ_KEY_BYTES], struct sq_gcm **out) SQ_MUST_CHECK;
void sq_gcm_free(struct sq_gcm *g);
/** @out has n + 16 bytes: ciphertext, then tag. @in may equal @out. */
sq_err sq_gcm_seal(struct sq_gcm *g, const uint8_t nonce[SQ_GCM_NONCE_BYTES], const void *aad, size_t n_aad,
                   const uint8_t *in, size_t n, uint8_t *out) SQ_MUST_CHECK;
/** @n counts the tag. @out has n - 16 bytes. SQ_ETAMPERED when the tag is wrong; @out is then wiped. */
sq_err sq_gcm_open(struct sq_gcm *g, const uint8_t nonce[SQ_GCM_NONCE_BYTES], const void *aad, size_t n_aad,
                   const uint8_t *in, size_t n, uint8_t *out) SQ_MUST_CHECK;

/** One-shot box with a fresh random nonce: nonce(12) | ciphertext | tag(16), so 28 bytes longer than the plaintext. */
#define SQ_BOX_EXTRA_BYTES 28
sq_err sq_box_seal(const struct sq_key *key, const void *aad, size_t n_aad, const void *in, size_t n, uint8_t *out)
    SQ_MUST_CHECK;
sq_err sq_box_open(const struct sq_key *key, const void *aad, size_t n_aad, const void *in, size_t n, uint8_t *out)
    SQ_MUST_CHECK; /* @n counts nonce and tag; @out has n - 28 bytes */

/** AES-256 in ECB over whole 16-byte blocks: only for building the little-endian counter mode of AE-2. */
struct sq_aes_blocks;
sq_err sq_aes_blocks_new(const uint8_t key[32], struct sq_aes_blocks **out) SQ_MUST_CHECK;
sq_err sq_aes_blocks_encrypt(struct sq_aes_blocks *a, const uint8_t *in, size_t n_bytes, uint8_t *out) SQ_MUST_CHECK;
void sq_aes_blocks_free(struct sq_aes_blocks *a);

/* ---- signatures. Private keys are 32 raw bytes (Ed25519 seed; P-256 scalar) held in an sq_key. ---- */
sq_err sq_ed25519_public(const struct sq_key *seed, uint8_t out_public[SQ_ED25519_PUBLIC_BYTES]) SQ_MUST_CHECK;
sq_err sq_ed25519_sign(const struct sq_key *seed, const void *p, size_t n, uint8_t out_sig[SQ_ED25519_SIG_BYTES]) SQ_MUST_CHECK;
sq_err sq_ed25519_verify(const uint8_t public_key[SQ_ED25519_PUBLIC_BYTES], const void *p, size_t n,
                         const uint8_t sig[SQ_ED25519_SIG_BYTES]) SQ_MUST_CHECK; /* SQ_OK or SQ_ETAMPERED */
sq_err sq_es256_new(struct sq_key **out_scalar) SQ_MUST_CHECK;
sq_err sq_es256_public(const struct sq_key *scalar, uint8_t out_public[SQ_ES256_PUBLIC_BYTES]) SQ_MUST_CHECK;
/** ECDSA has two signatures for each: (r, s) and (r, order - s). What we make has the lower s; who wants one spelling asks
 *  sq_es256_is_low() besides sq_es256_verify(), which takes both, as authenticators send both. */
sq_err sq_es256_sign(const struct sq_key *scalar, const void *p, size_t n, uint8_t out_sig[SQ_ES256_SIG_BYTES]) SQ_MUST_CHECK;
bool sq_es256_is_low(const uint8_t sig[SQ_ES256_SIG_BYTES]);
sq_err sq_es256_verify(const uint8_t public_key[SQ_ES256_PUBLIC_BYTES], const void *p, size_t n,
                       const uint8_t sig[SQ_ES256_SIG_BYTES]) SQ_MUST_CHECK; /* SQ_OK or SQ_ETAMPERED */

/* ---- for sealing to somebody's public key: X25519 (RFC 7748), ChaCha20-Poly1305 (RFC 8439), BLAKE2b-512 (RFC 7693) ---- */
#define SQ_X25519_BYTES 32
#define SQ_CHACHA_TAG_BYTES 16
sq_err sq_x25519_public(const struct sq_key *secret, uint8_t out_public[SQ_X25519_BYTES]) SQ_MUST_CHECK;
/** SQ_ECRYPTO also when their point has small order. */
sq_err sq_x25519(const struct sq_key *secret, const uint8_t their_public[SQ_X25519_BYTES], struct sq_key **out_shared) SQ_MUST_CHECK;
sq_err sq_blake2b_512_of(const void *p, size_t n, uint8_t out[64]) SQ_MUST_CHECK;
struct sq_chacha; /* one key; not shared between threads */
sq_err sq_chacha_new(const struct sq_key *key, struct sq_chacha **out) SQ_MUST_CHECK;
/** @out has n + 16 bytes. Never the same nonce twice with one key. */
sq_err sq_chacha_seal(struct sq_chacha *c, const uint8_t nonce[12], const void *in, size_t n, uint8_t *out) SQ_MUST_CHECK;
void sq_chacha_free(struct sq_chacha *c);

/* ---- X.509, for `sequester init`: a private CA and a server certificate, both ECDSA P-256, as PEM ---- */
struct sq_x509_pair {
    struct sq_buf cert_pem, key_pem; /* key_pem is secret */
};
/** Self-made CA, valid @days. */
sq_err sq_x509_ca(const char *name, unsigned days, struct sq_x509_pair *out) SQ_MUST_CHECK;
/** Server certificate signed by @ca for @hosts (DNS names and IP addresses, comma separated). */
sq_err sq_x509_server(const struct sq_x509_pair *ca, const char *hosts, unsigned days, struct sq_x509_pair *out) SQ_MUST_CHECK;
void sq_x509_pair_done(struct sq_x509_pair *pair);
/* What is wrong with a server's certificate: x509_findings.def. A set of findings has bit SQ_X509_BIT(finding). */
enum sq_x509_no {
    SQ_X509_none,
#define SQ_FINDING(name, grade, text, mend) SQ_X509_##name,
#include "lib/crypt/x509_findings.def"
#undef SQ_FINDING
};
enum sq_x509_grade { SQ_X509_GRADE_REFUSE, SQ_X509_GRADE_WARN };
struct sq_x509_finding_row {
    const char *name;
    enum sq_x509_grade grade;
    const char *text, *mend;
};
#define SQ_X509_BIT(no) (UINT32_C(1) << ((unsigned)(no) - 1))
const struct sq_x509_finding_row *sq_x509_finding(unsigned no); /* NULL: no such */
bool sq_x509_is_refused(uint32_t found);
struct sq_x509_question {
    const char *chain_pem;
    const char *key_pem, *hosts, *ca_pem; /* each may be NULL: not looked at */
    unsigned rsa_bits; /* least; 0: 2048 */
    int64_t now_s;
};
struct sq_x509_seen {
    uint32_t found;
    unsigned n_certificate;
    int64_t not_before_s, not_after_s; /* not_after: of the first that ends, roots aside */
    uint8_t fingerprint[SQ_SHA256_BYTES]; /* of the server's own certificate */
    char key[32];                         /* "ECDSA prime256v1" */
    char missing_host[256];               /* the first of hosts that isn't named, or "" */
};
void sq_x509_check(const struct sq_x509_question *q, struct sq_x509_seen *out);
/** SHA-256 fingerprint of the first certificate in @pem, and its last day (Unix seconds). */
sq_err sq_x509_look(const void *pem, size_t n, uint8_t out_fingerprint[SQ_SHA256_BYTES], int64_t *out_not_after) SQ_MUST_CHECK;

#endif
