/* Argon2id. Arenas are mappings of their own: left out of core dumps, wiped, not locked (they exceed any lock limit). */
#include "lib/crypt/crypt_internal.h"

#include <argon2.h>
#include <stdio.h>
#include <sys/mman.h>

#define SALT_BYTES 16
#define HASH_BYTES 32
#define PASSWORD_MAX_BYTES 4096
#define MAX_MEM_KIB (1u << 20)
#define MAX_PASSES 16u
#define MAX_LANES 8u

static int arena_new(uint8_t **out, size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return ARGON2_MEMORY_ALLOCATION_ERROR;
    if (madvise(p, n, MADV_DONTDUMP)) {
        munmap(p, n);
        return ARGON2_MEMORY_ALLOCATION_ERROR;
    }
    *out = p;
    return ARGON2_OK;
}

static void arena_free(uint8_t *p, size_t n)
{
    sq_wipe(p, n);
    munmap(p, n);
}

static bool costs_ok(const struct crypt_argon2_in *in)
{
    return in->lanes >= 1 && in->lanes <= MAX_LANES && in->passes >= 1 && in->passes <= MAX_PASSES &&
           in->mem_kib >= 8 * in->lanes && in->mem_kib <= MAX_MEM_KIB;
}

sq_err crypt_argon2id(const struct crypt_argon2_in *in, uint8_t *out, size_t n_out)
{
    if (in->n_password > PASSWORD_MAX_BYTES)
        return sq_fail(SQ_ERANGE);
    if (!costs_ok(in))
        return sq_fail(SQ_ECRYPTO);
    argon2_context context = {
        .out = out,
        .outlen = (uint32_t)n_out,
        .pwd = crypt_unconst(in->password),
        .pwdlen = (uint32_t)in->n_password,
        .salt = crypt_unconst(in->salt),
        .saltlen = (uint32_t)in->n_salt,
        .secret = crypt_unconst(in->secret),
        .secretlen = (uint32_t)in->n_secret,
        .ad = crypt_unconst(in->data),
        .adlen = (uint32_t)in->n_data,
        .t_cost = in->passes,
        .m_cost = in->mem_kib,
        .lanes = in->lanes,
        .threads = 1, /* in this thread: the caller's pool decides how many run at once */
        .version = ARGON2_VERSION_13,
        .allocate_cbk = arena_new,
        .free_cbk = arena_free,
        .flags = ARGON2_DEFAULT_FLAGS,
    };
    int rc = argon2_ctx(&context, Argon2_id);
    if (rc == ARGON2_MEMORY_ALLOCATION_ERROR)
        return sq_fail(SQ_ENOMEM);
    return rc == ARGON2_OK ? SQ_OK : sq_fail(SQ_ECRYPTO);
}

/* the usual case: password and salt, one lane */
static sq_err hash_simple(const void *password, size_t n, const uint8_t salt[SALT_BYTES], uint32_t mem_kib,
                          uint32_t passes, uint8_t out[HASH_BYTES])
{
    struct crypt_argon2_in in = {.password = password, .n_password = n, .salt = salt, .n_salt = SALT_BYTES,
                                 .mem_kib = mem_kib, .passes = passes, .lanes = 1};
    return crypt_argon2id(&in, out, HASH_BYTES);
}

/* PHC strings use standard base64 without its padding */
static sq_err add_base64(const uint8_t *p, size_t n, struct sq_buf *out)
{
    sq_err err = sq_base64(p, n, false, out);
    while (!err && out->n && out->p[out->n - 1] == '=')
        out->n--;
    return err;
}

sq_err sq_password_hash(const void *password, size_t n, uint32_t mem_kib, uint32_t passes, char out_phc[SQ_PHC_MAX_BYTES])
{
    uint8_t salt[SALT_BYTES], hash[HASH_BYTES];
    struct sq_buf phc;
    sq_buf_init(&phc, SQ_PHC_MAX_BYTES - 1);
    sq_err err = sq_random(salt, sizeof salt);
    if (!err)
        err = hash_simple(password, n, salt, mem_kib, passes, hash);
    if (!err)
        err = sq_buf_addf(&phc, "$argon2id$v=19$m=%u,t=%u,p=1$", mem_kib, passes);
    if (!err)
        err = add_base64(salt, sizeof salt, &phc);
    if (!err)
        err = sq_buf_add(&phc, "$", 1);
    if (!err)
        err = add_base64(hash, sizeof hash, &phc);
    if (!err) {
        memcpy(out_phc, phc.p, phc.n);
        out_phc[phc.n] = 0;
    }
    sq_wipe(hash, sizeof hash);
    sq_buf_done(&phc);
    return err;
}

/* "@label" then digits without leading zeros then @end; moves *at behind it */
static bool take_number(const char **at, const char *label, char end, uint32_t *out)
{
    size_t n = strlen(label);
    const char *p = *at;
    if (strncmp(p, label, n))
        return false;
    p += n;
    if (*p < '1' || *p > '9')
        return false;
    uint64_t v = 0;
    for (; *p >= '0' && *p <= '9'; p++)
        if ((v = v * 10 + (uint64_t)(*p - '0')) > UINT32_MAX)
            return false;
    if (*p != end)
        return false;
    *out = (uint32_t)v;
    *at = p + 1;
    return true;
}

static bool take_base64(const char **at, char end, struct sq_buf *out)
{
    char text[SQ_PHC_MAX_BYTES + 4];
    size_t n = 0;
    for (; (*at)[n] && (*at)[n] != end; n++) {
        if (n >= SQ_PHC_MAX_BYTES || (*at)[n] == '=')
            return false;
        text[n] = (*at)[n];
    }
    if ((*at)[n] != end)
        return false;
    *at += n + (end ? 1 : 0);
    while (n % 4)
        text[n++] = '=';
    return sq_base64_decode(text, n, false, out) == SQ_OK;
}

sq_err sq_password_check(const void *password, size_t n, const char *phc)
{
    struct crypt_argon2_in in = {.password = password, .n_password = n};
    struct sq_buf salt, hash;
    uint8_t made[64];
    sq_buf_init(&salt, 64);
    sq_buf_init(&hash, sizeof made);
    const char *at = phc;
    sq_err err;
    const char kind[] = "$argon2id$v=19$";
    if (strnlen(phc, SQ_PHC_MAX_BYTES) >= SQ_PHC_MAX_BYTES || strncmp(at, kind, sizeof kind - 1)) {
        err = sq_fail(SQ_ECRYPTO);
        goto out;
    }
    at += sizeof kind - 1;
    if (!take_number(&at, "m=", ',', &in.mem_kib) || !take_number(&at, "t=", ',', &in.passes) ||
        !take_number(&at, "p=", '$', &in.lanes) || !take_base64(&at, '$', &salt) || !take_base64(&at, 0, &hash) ||
        salt.n < 8 || hash.n < 16 || !costs_ok(&in)) {
        err = sq_fail(SQ_ECRYPTO);
        goto out;
    }
    in.salt = salt.p;
    in.n_salt = salt.n;
    err = crypt_argon2id(&in, made, hash.n);
    if (!err && !sq_equal_ct(made, hash.p, hash.n))
        err = sq_fail(SQ_EPASSWORD);
out:
    sq_wipe(made, sizeof made);
    sq_buf_done(&salt);
    sq_buf_done(&hash);
    return err;
}

sq_err sq_password_key(const void *password, size_t n, const uint8_t salt[16], uint32_t mem_kib, uint32_t passes,
                       struct sq_key **out_key)
{
    uint8_t *slot;
    struct sq_key *key;
    sq_err err = crypt_key_slot(&slot, &key);
    if (err)
        return err;
    if ((err = hash_simple(password, n, salt, mem_kib, passes, slot))) {
        sq_key_free(key);
        return err;
    }
    *out_key = key;
    return SQ_OK;
}
