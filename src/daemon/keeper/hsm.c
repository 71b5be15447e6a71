/* PKCS#11 v2.40 through p11-kit's client module, which only speaks with `p11-kit server` over a Unix socket. */
#include "daemon/keeper/hsm.h"

#include "lib/core/file.h"

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>

#define PIN_MAX_BYTES 256
#define MAX_SLOTS 64

struct sq_hsm {
    CK_FUNCTION_LIST *p11;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE public_key, private_key;
};

/* Debian keeps the module in the architecture's directory, which is not on the loader's path. */
static void *load_client(void)
{
    static const char *const at[] = {"p11-kit-client.so", "/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so",
                                     "/usr/lib/aarch64-linux-gnu/pkcs11/p11-kit-client.so", "/usr/lib64/pkcs11/p11-kit-client.so",
                                     "/usr/lib/pkcs11/p11-kit-client.so"};
    void *so = NULL;
    for (size_t i = 0; i < sizeof at / sizeof at[0] && !so; i++)
        so = dlopen(at[i], RTLD_NOW | RTLD_LOCAL);
    return so;
}

static bool connect_to(struct sq_hsm *h, const char *server)
{
    char address[300];
    if ((size_t)snprintf(address, sizeof address, "unix:path=%s", server) >= sizeof address || setenv("P11_KIT_SERVER_ADDRESS", address, 1))
        return false;
    void *so = load_client();
    CK_C_GetFunctionList list = NULL;
    void *symbol = so ? dlsym(so, "C_GetFunctionList") : NULL;
    memcpy(&list, &symbol, sizeof list); /* ISO C has no cast from an object's pointer to a function's */
    bool is_ok = list && list(&h->p11) == CKR_OK && h->p11->C_Initialize(NULL) == CKR_OK;
    unsetenv("P11_KIT_SERVER_ADDRESS");
    return is_ok;
}

/* token labels are padded with blanks to 32 bytes */
static bool is_label(const CK_UTF8CHAR have[32], const char *want)
{
    char padded[33];
    snprintf(padded, sizeof padded, "%-32s", want);
    return strlen(want) <= 32 && !memcmp(have, padded, 32);
}

static bool open_token(struct sq_hsm *h, const char *token)
{
    CK_SLOT_ID slot[MAX_SLOTS];
    CK_ULONG n = MAX_SLOTS;
    if (h->p11->C_GetSlotList(CK_TRUE, slot, &n) != CKR_OK)
        return false;
    for (CK_ULONG i = 0; i < n; i++) {
        CK_TOKEN_INFO info;
        if (h->p11->C_GetTokenInfo(slot[i], &info) == CKR_OK && is_label(info.label, token))
            return h->p11->C_OpenSession(slot[i], CKF_SERIAL_SESSION, NULL, NULL, &h->session) == CKR_OK;
    }
    return false;
}

static sq_err log_in(struct sq_hsm *h, int pin_fd)
{
    uint8_t *pin;
    size_t n = 0;
    sq_err err = sq_secret_new(PIN_MAX_BYTES, &pin);
    if (err)
        return err;
    err = sq_pread_full(pin_fd, pin, PIN_MAX_BYTES, 0, &n);
    const uint8_t *end = memchr(pin, '\n', n);
    n = end ? (size_t)(end - pin) : n;
    CK_RV rv = err ? CKR_GENERAL_ERROR : h->p11->C_Login(h->session, CKU_USER, pin, n);
    sq_secret_free(pin, PIN_MAX_BYTES);
    if (err)
        return err;
    return rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN ? SQ_OK : sq_fail(rv == CKR_PIN_INCORRECT || rv == CKR_PIN_LOCKED || rv == CKR_PIN_LEN_RANGE ? SQ_EPASSWORD : SQ_EDOWN);
}

static bool find_key(struct sq_hsm *h, CK_OBJECT_CLASS class, const char *label, CK_OBJECT_HANDLE *out)
{
    CK_KEY_TYPE type = CKK_RSA;
    char text[64];
    snprintf(text, sizeof text, "%s", label);
    CK_ATTRIBUTE want[] = {{CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type}, {CKA_LABEL, text, strlen(text)}};
    CK_ULONG n = 0;
    if (h->p11->C_FindObjectsInit(h->session, want, 3) != CKR_OK)
        return false;
    CK_RV rv = h->p11->C_FindObjects(h->session, out, 1, &n);
    h->p11->C_FindObjectsFinal(h->session);
    return rv == CKR_OK && n == 1;
}

/* 0: the token doesn't say. A modulus begins with a 1 bit, so its bytes tell its bits. */
static size_t modulus_bytes(struct sq_hsm *h)
{
    CK_ATTRIBUTE modulus = {CKA_MODULUS, NULL, 0};
    bool is_known = h->p11->C_GetAttributeValue(h->session, h->public_key, &modulus, 1) == CKR_OK && modulus.ulValueLen <= SQ_SLAB_HSM_BOX_MAX;
    return is_known ? modulus.ulValueLen : 0;
}

sq_err sq_hsm_open(const char *server, const char *token, const char *key, unsigned rsa_bits, int pin_fd, struct sq_hsm **out, const char **out_why)
{
    struct sq_hsm *h = calloc(1, sizeof *h);
    if (!h)
        return sq_fail(SQ_ENOMEM);
    sq_err err = SQ_OK;
    if (!connect_to(h, server)) {
        *out_why = "pkcs11_client_module_does_not_load";
        err = sq_fail(SQ_EDOWN);
    } else if (!open_token(h, token)) {
        *out_why = "pkcs11_token_not_found";
        err = sq_fail(SQ_EDOWN);
    } else if ((err = log_in(h, pin_fd))) {
        *out_why = "pkcs11_login";
    } else if (!find_key(h, CKO_PUBLIC_KEY, key, &h->public_key) || !find_key(h, CKO_PRIVATE_KEY, key, &h->private_key)) {
        *out_why = "pkcs11_key_not_found";
        err = sq_fail(SQ_EDOWN);
    } else if (8 * modulus_bytes(h) < rsa_bits) {
        *out_why = "pkcs11_key_is_weak_see_rsa_bits";
        err = sq_fail(SQ_ECONFIG);
    }
    if (err)
        sq_hsm_close(h);
    else
        *out = h;
    return err;
}

static CK_RSA_PKCS_OAEP_PARAMS oaep = {CKM_SHA_1, CKG_MGF1_SHA1, CKZ_DATA_SPECIFIED, NULL, 0};

/* @plain encrypted by the token's public key. Such a text is as long as the modulus; not every module says how long it was (tpm2-pkcs11 1.9 doesn't). */
static sq_err encrypt(struct sq_hsm *h, uint8_t *plain, struct sq_slab_lock *out_lock)
{
    CK_MECHANISM how = {CKM_RSA_PKCS_OAEP, &oaep, sizeof oaep};
    CK_ULONG n = sizeof out_lock->hsm_box;
    size_t n_modulus = modulus_bytes(h);
    if (!n_modulus)
        return sq_fail(SQ_EDOWN);
    if (h->p11->C_EncryptInit(h->session, &how, h->public_key) != CKR_OK ||
        h->p11->C_Encrypt(h->session, plain, SQ_KEY_BYTES, out_lock->hsm_box, &n) != CKR_OK || n < n_modulus)
        return sq_fail(SQ_EDOWN);
    memset(out_lock->hsm_box + n_modulus, 0, sizeof out_lock->hsm_box - n_modulus);
    out_lock->hsm_box_bytes = (uint16_t)n_modulus;
    return SQ_OK;
}

sq_err sq_hsm_new_kek(struct sq_hsm *h, struct sq_slab_lock *out_lock, struct sq_key **out_kek)
{
    struct sq_slab_lock lock = {.backend = SQ_SLAB_PKCS11};
    struct sq_key *kek = NULL, *again = NULL;
    uint8_t *plain;
    sq_err err = sq_secret_new(SQ_KEY_BYTES, &plain);
    if (err)
        return err;
    err = sq_key_new(&kek);
    if (!err) {
        memcpy(plain, sq_key_bytes(kek), SQ_KEY_BYTES);
        err = encrypt(h, plain, &lock);
    }
    sq_secret_free(plain, SQ_KEY_BYTES);
    /* nothing is locked by what the token doesn't open: that would be the end of every key */
    if (!err && (sq_hsm_kek(h, &lock, &again) || !sq_equal_ct(sq_key_bytes(again), sq_key_bytes(kek), SQ_KEY_BYTES)))
        err = sq_fail(SQ_EDOWN);
    sq_key_free(again);
    if (err) {
        sq_key_free(kek);
        return err;
    }
    lock.kek = kek;
    *out_lock = lock;
    *out_kek = kek;
    return SQ_OK;
}

sq_err sq_hsm_kek(struct sq_hsm *h, const struct sq_slab_lock *lock, struct sq_key **out_kek)
{
    CK_MECHANISM how = {CKM_RSA_PKCS_OAEP, &oaep, sizeof oaep};
    uint8_t *plain, box[SQ_SLAB_HSM_BOX_MAX];
    CK_ULONG n = SQ_SLAB_HSM_BOX_MAX;
    sq_err err = sq_secret_new(SQ_SLAB_HSM_BOX_MAX, &plain);
    if (err)
        return err;
    memcpy(box, lock->hsm_box, sizeof box);
    if (h->p11->C_DecryptInit(h->session, &how, h->private_key) != CKR_OK)
        err = sq_fail(SQ_EDOWN);
    else if (h->p11->C_Decrypt(h->session, box, lock->hsm_box_bytes, plain, &n) != CKR_OK || n != SQ_KEY_BYTES)
        err = sq_fail(SQ_EPASSWORD);
    if (!err)
        err = sq_key_from(plain, out_kek);
    sq_secret_free(plain, SQ_SLAB_HSM_BOX_MAX);
    return err;
}

void sq_hsm_close(struct sq_hsm *h)
{
    if (!h)
        return;
    if (h->session)
        h->p11->C_CloseSession(h->session);
    if (h->p11)
        h->p11->C_Finalize(NULL);
    free(h);
}
